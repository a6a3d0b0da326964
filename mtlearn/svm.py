"""Multitask support vector machines: large margins, tied by a relation."""

import numbers
from dataclasses import replace

import numpy as np

from .fitting import checks
from .fitting.base import TaskRegressor
from .fitting.classifiers import TaskClassifier, against_the_rest
from .fitting.coefficients import LinearReports
from .fitting.constrained import Constrained
from .fitting.elsewhere import FromPartitions, refuse_margins
from .fitting.machine import KernelMachine
from .problem.margins import margin_loss
from .problem.solution import stack_classes
from .solvers.features.covariance import solve_learned
from .solvers.margins.kinked import solve_margin
from .solvers.related.steps import SOLVERS


class _Margins(FromPartitions, KernelMachine, Constrained):
    """What both machines do: check, and solve for one number or sign per label."""

    def _check_margins(self, losses):
        """Check the parameters that both have."""
        checks.check_strength("C", self.C, strict=True)
        checks.check_choice("solver", self.solver, (*SOLVERS, "dual-descent"))
        self._check_kernel()
        checks.check_choice("loss", self.loss, losses)

    def _tolerance(self):
        """The parameter `tol`; by default what the loss can reach without effort."""
        if self.tol is not None:
            return self.tol
        return 1e-8 if self._margin.squared else 1e-6

    def _loss_strength(self):
        return float(self.C)

    def _loss_under_constraints(self):
        return self._margin, 1.0

    def _refuse_partitions(self, relation):
        super()._refuse_partitions(relation)
        refuse_margins(self)

    def _solve_one(self, fit, start, signs=None):
        if fit.elsewhere is not None:
            return self._solve_partitions(fit, self._margin.smooth(), start, signs)
        if fit.form.learned:
            return self._solve_learned(fit, start)
        if self._is_machine:
            return self._solve_kernel(fit)
        return solve_margin(
            fit.data,
            self._margin,
            fit.form,
            1.0,
            intercept=fit.intercept,
            tol=self._tolerance(),
            max_iter=self.max_iter,
            solver=self.solver,
            start=start,
        )

    def _solve_learned(self, fit, start):
        """Solve under a covariance of the tasks that is learned."""
        if self._is_machine or not self._margin.squared:
            what = (
                f"`kernel`={self.kernel!r}"
                if self._is_machine
                else f"`loss`={self.loss!r}"
            )
            raise ValueError(
                "`relation`='learned' is for the linear kernel and squared losses, got "
                f"{what}."
            )
        how = {"tol": self._tolerance(), "max_iter": self.max_iter}
        return solve_learned(fit, self._margin.smooth(), 1.0, start=start, **how)


class MultiTaskSVM(LinearReports, _Margins, TaskClassifier):
    r"""Support vector classifier with a function of its own for every task.

    Minimises over W (a row per task) and the intercepts b, with labels -1 and +1,

    .. math:: C \sum_t \lambda_t \sum_{i \in t} s_i
              \max(0, 1 - y_i (x_i \cdot w_t + b_t))^2 + \frac12 \Omega(W)

    where the relation's :math:`\Omega` couples the tasks; by default they vary around a
    common model. With ``loss="hinge"`` the loss is not squared. More than two classes
    are fitted one against the rest. The loss is a sum, not a mean.

    With a kernel other than "linear" the same is minimised in the feature space of
    K[s, t] k(x, z), K the task kernel of the relation: the function of task t is

    .. math:: f_t(x) = \sum_i K_{t, t(i)} \, \beta_i \, k(x_i, x) + b_t ,

    with shrunken intercepts in that space too.

    Parameters
    ----------
    C : float, default=1.0
        Strength of the loss, greater than 0; a smaller value means a stronger penalty.
    relation : str or relation, default="shared_mean"
        How the tasks are related: "independent", "shared_mean", "pooled" (which is
        `SharedMean(1.0)`), "learned" (`LearnedCovariance`), or an object:
        `Independent`, `SharedMean`, `TaskGraph`, `TaskCovariance`, `Composition`.
    loss : {"squared_hinge", "hinge"}, default="squared_hinge"
        The loss of one margin: max(0, 1 - y f)^2, or without the square. The hinge
        minds rows that are far on the wrong side less, and has fewer support vectors;
        it takes a few times as long.
    kernel : str or callable, default="linear"
        The kernel k of the features: "linear", "rbf", "poly", "sigmoid" (with `gamma`,
        `degree`, `coef0` as in scikit-learn's ``SVC``), "precomputed" (`X` holds the
        values: square in `fit`, a column for each of those rows in `predict`), or a
        function of two arrays that returns the matrix between their rows.
    degree : int, default=3
        Degree of the kernel "poly", at least 0.
    gamma : {"scale", "auto"} or float, default="scale"
        Factor of the kernels "rbf", "poly" and "sigmoid". "scale": 1 / (n_features
        times the variance of all entries of `X`, rows by their weights); "auto": 1 /
        n_features. The column of ids does not count.
    coef0 : float, default=0.0
        Constant term of the kernels "poly" and "sigmoid".
    class_weight : None, "balanced" or dict, default=None
        Factor of the weight of each class's rows. "balanced": total weight over
        (n_classes times the class's weight), over all tasks together.
    constraints : list, default=None
        Constraints on the coefficients: objects of `mtlearn.constraints`, or callables
        that take cvxpy expressions W (rows in the order of `tasks_`) and b, and return
        a list of cvxpy constraints. With more than two classes they hold for each of
        the one-against-the-rest models.
    solver_options : dict, default=None
        Keyword arguments of cvxpy's ``Problem.solve``, used where the constraints need
        cvxpy, such as ``{"solver": "CLARABEL"}``.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that all tasks
        have the same total weight; a dict by id (1 for absent ids); an array in the
        order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task (and class). "shrunk": a free
        common one, deviations from it penalised like a coefficient. "shared": one for
        all tasks.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error.
    solver : str, default="auto"
        How a Newton step is solved, whatever the loss: "newton-cholesky" by blocks of
        the size of the features, "newton-dual" of the size of the rows (wide data),
        "newton-cg" matrix-free (wide and sparse). "dual-descent": coordinate descent on
        the dual, for sparse `X` without intercepts; "auto" takes it there, and as a
        start where there are intercepts. Kernels other than "linear" have "auto" only.
    tol : float, default=None
        Stop when the objective is certified to be within this distance of its minimum,
        relative to the objective of the best model without features. None: 1e-8 for a
        squared loss, 1e-6 for the others. Up to a thousand rows cost little: losses
        without a square are then solved to the limits of rounding, whatever `tol`.
    max_iter : int, default=100
        Maximum number of Newton steps; with a kinked loss, of updates of its
        multipliers; with a kernel, tens of passes over the rows.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit; not with a kernel.
    verbose : int, default=0
        1 prints the objective and the certificate of each step.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    classes_ : ndarray or list of ndarray
        The union of the labels over all tasks; with a two-dimensional `y`
        ``arange(n_tasks)`` if all tasks share two labels, else a list with each task's.
    task_classes_ : list of ndarray
        The labels that occur in each task.
    coef_ : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        The task column is not counted. The second with more than two classes.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`.
    shared_intercept_ : float or ndarray of shape (n_classes,)
        Intercept for tasks that were not in `fit`.
    support_ : ndarray of shape (n_support,)
        Kernels other than "linear": positions, in the rows given to `fit`, of the
        support vectors of any task. `coef_` and `shared_coef_` do not exist then.
    dual_coef_ : ndarray of shape (1, n_support) or (n_classes, n_support)
        Kernels other than "linear": the coefficients beta of these rows. With a
        two-dimensional `y` of shape (n_tasks, n_support) or (n_tasks, n_classes,
        n_support).
    n_iter_ : int
        Newton steps, updates of the multipliers, or passes over the rows of
        "dual-descent"; with a kernel, tens of passes.
    optimality_ : float
        The certificate, in the units of `tol`; the largest over one-vs-rest problems.
    constraint_duals_ : list of ConstraintDual
        In the order of `constraints`: where each binds (`binding`) and what it costs
        (`price`), the derivative of the smallest objective by its limit; each
        constraint's page gives the shape, to which more than two classes add a
        second axis. Empty without constraints.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    PerTaskClassifier : The same with the logistic loss, which gives probabilities.
    MultiTaskBayesianClassifier : Strengths that are learned; with "intercept" one set
        of coefficients, and an offset for each task that is shrunk.

    Notes
    -----
    The squared hinge is piecewise quadratic: a semismooth Newton method with an exact
    line search ends after a handful of steps. A step solves a coupled linear system by
    the structure of the relation; only the blocks of tasks in which a row changed sides
    are updated. The objective is within 1e-6 (relative) of its minimum.

    The hinge has a kink instead of curvature. Sweeps of coordinate descent over the
    dual find the rows that are near it; a method of multipliers solves for those: each
    of its steps is a smooth problem of the kind above, in which only the free support
    vectors have curvature. The certificate is the duality gap; the default puts the
    objective within 1e-4 (relative) of its minimum, ``tol=1e-8`` within 1e-6.
    With a kernel the box dual is solved by working sets of a few hundred rows, each by
    steps in pairs, and ends, where that is cheaper, by guessing which rows are free and
    solving for them. Rows of the Gram matrix are computed when they are needed; where
    all that are needed do not fit into a gigabyte, the oldest leave. The certificate is
    the duality gap.

    References
    ----------
    Evgeniou, T. and Pontil, M., Regularized multi-task learning, KDD 2004.

    Mangasarian, O. L., A finite Newton method for classification, Optimization Methods
    and Software 17, 2002.

    Keerthi, S. S. and DeCoste, D., A modified finite Newton method for fast solution of
    large scale linear SVMs, JMLR 6, 2005.

    Hsieh, C.-J. et al., A dual coordinate descent method for large-scale linear SVM,
    ICML 2008.

    Rockafellar, R. T., Augmented Lagrangians and applications of the proximal point
    algorithm in convex programming, Mathematics of Operations Research 1, 1976.

    Li, X., Sun, D. and Toh, K.-C., A highly efficient semismooth Newton augmented
    Lagrangian method for solving Lasso problems, SIAM Journal on Optimization 28, 2018.
    Fan, R.-E., Chen, P.-H. and Lin, C.-J., Working set selection using second order
    information for training support vector machines, JMLR 6, 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import MultiTaskSVM, SharedMean
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [0.0], [3.0]])
    >>> y = np.array([0, 0, 1, 1, 0, 1])
    >>> site = ["a", "a", "a", "a", "b", "b"]
    >>> model = MultiTaskSVM(relation=SharedMean(0.5)).fit(X, y, task=site)
    >>> model.predict([[2.5], [0.5]], task=["b", "b"])
    array([1, 0])

    Only the middle is of class 1: no line separates it, a kernel does.

    >>> machine = MultiTaskSVM(C=10.0, kernel="rbf").fit(
    ...     X, [0, 1, 1, 0, 0, 0], task=site
    ... )
    >>> machine.predict([[1.5], [1.5], [3.0]], task=["a", "b", "a"])
    array([1, 1, 0])
    """

    def __init__(
        self,
        C=1.0,
        relation="shared_mean",
        loss="squared_hinge",
        kernel="linear",
        *,
        degree=3,
        gamma="scale",
        coef0=0.0,
        class_weight=None,
        constraints=None,
        solver_options=None,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=None,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.C = C
        self.relation = relation
        self.loss = loss
        self.kernel = kernel
        self.degree = degree
        self.gamma = gamma
        self.coef0 = coef0
        self.class_weight = class_weight
        self.constraints = constraints
        self.solver_options = solver_options
        self.task_column = task_column
        self.task_weight = task_weight
        self.fit_intercept = fit_intercept
        self.intercept_strength = intercept_strength
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_parameters(self):
        self._check_margins(("squared_hinge", "hinge"))

    @property
    def _margin(self):
        return margin_loss(self.loss)

    def _weigh(self, fit):
        if self.class_weight is not None and not self._is_machine:
            self._keep_centre(fit)
        return _weigh_classes(fit, self.class_weight)

    def _solve(self, fit, start):
        solutions = []
        for k, data in enumerate(against_the_rest(fit)):
            begin = start
            if start is not None and len(fit.labels) > 2:
                begin = start[0][:, k], start[1][:, k]
            signs = _against(k, len(fit.labels))
            solutions.append(self._solve_one(fit.with_rows(data), begin, signs))
        return solutions[0] if len(solutions) == 1 else stack_classes(solutions)


class MultiTaskSVR(LinearReports, _Margins, TaskRegressor):
    r"""Support vector regression with a separate function for each task.

    Minimises over W (a row per task) and the intercepts b

    .. math:: C \sum_t \lambda_t \sum_{i \in t} s_i
              \max(0, |y_i - x_i \cdot w_t - b_t| - \epsilon)^2 + \frac12 \Omega(W)

    where the relation's :math:`\Omega` couples the tasks; by default they vary around a
    common model. With ``loss="epsilon_insensitive"`` the loss is not squared. The loss
    is a sum, not a mean.

    With a kernel other than "linear" the same is minimised in the feature space of
    K[s, t] k(x, z), K the task kernel of the relation: the function of task t is

    .. math:: f_t(x) = \sum_i K_{t, t(i)} \, \beta_i \, k(x_i, x) + b_t ,

    with shrunken intercepts in that space too.

    Parameters
    ----------
    C : float, default=1.0
        Strength of the loss, greater than 0; a smaller value means a stronger penalty.
    epsilon : float, default=0.0
        Errors up to this size cost nothing, in the units of `y`. With 0 the loss is the
        plain square (twice that of `PerTaskRegressor`), or the absolute error.
    relation : str or relation, default="shared_mean"
        How the tasks are related: "independent", "shared_mean", "pooled" (which is
        `SharedMean(1.0)`), "learned" (`LearnedCovariance`), or an object:
        `Independent`, `SharedMean`, `TaskGraph`, `TaskCovariance`, `Composition`.
    loss : str, default="squared_epsilon_insensitive"
        The loss of one error e: "squared_epsilon_insensitive", the square of
        max(0, abs(e) - epsilon), or "epsilon_insensitive", without the square. The
        second minds outliers less; with an `epsilon` of 0 it fits medians.
    kernel : str or callable, default="linear"
        The kernel k of the features: "linear", "rbf", "poly", "sigmoid" (with `gamma`,
        `degree`, `coef0` as in scikit-learn's ``SVC``), "precomputed" (`X` holds the
        values: square in `fit`, a column for each of those rows in `predict`), or a
        function of two arrays that returns the matrix between their rows.
    degree : int, default=3
        Degree of the kernel "poly", at least 0.
    gamma : {"scale", "auto"} or float, default="scale"
        Factor of the kernels "rbf", "poly" and "sigmoid". "scale": 1 / (n_features
        times the variance of all entries of `X`, rows by their weights); "auto": 1 /
        n_features. The column of ids does not count.
    coef0 : float, default=0.0
        Constant term of the kernels "poly" and "sigmoid".
    constraints : list, default=None
        Constraints on the coefficients: objects of `mtlearn.constraints`, or callables
        that take cvxpy expressions W (rows in the order of `tasks_`) and b, and return
        a list of cvxpy constraints.
    solver_options : dict, default=None
        Keyword arguments of cvxpy's ``Problem.solve``, used where the constraints need
        cvxpy, such as ``{"solver": "CLARABEL"}``.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that all tasks
        have the same total weight; a dict by id (1 for absent ids); an array in the
        order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task. "shrunk": a free common one,
        deviations from it penalised like a coefficient. "shared": one for all tasks.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error.
    solver : str, default="auto"
        How a Newton step is solved, whatever the loss: "newton-cholesky" by blocks of
        the size of the features, "newton-dual" of the size of the rows (wide data),
        "newton-cg" matrix-free (wide and sparse). "dual-descent": coordinate descent on
        the dual, for sparse `X` without intercepts; "auto" takes it there, and as a
        start where there are intercepts. Kernels other than "linear" have "auto" only.
    tol : float, default=None
        Stop when the objective is certified to be within this distance of its minimum,
        relative to the objective of the best model without features. None: 1e-8 for a
        squared loss, 1e-6 for the others. Up to a thousand rows cost little: losses
        without a square are then solved to the limits of rounding, whatever `tol`.
    max_iter : int, default=100
        Maximum number of Newton steps; with a kinked loss, of updates of its
        multipliers; with a kernel, tens of passes over the rows.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit; not with a kernel.
    verbose : int, default=0
        1 prints the objective and the certificate of each step.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coef_ : ndarray of shape (n_tasks, n_features)
        The task column is not counted.
    intercept_ : ndarray of shape (n_tasks,)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_features,)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`.
    shared_intercept_ : float
        Intercept for tasks that were not in `fit`.
    support_ : ndarray of shape (n_support,)
        Kernels other than "linear": positions, in the rows given to `fit`, of the
        support vectors of any task. `coef_` and `shared_coef_` do not exist then.
    dual_coef_ : ndarray of shape (1, n_support)
        Kernels other than "linear": the coefficients beta of these rows. With a
        two-dimensional `y` of shape (n_tasks, n_support).
    n_iter_ : int
        Newton steps, updates of the multipliers, or passes over the rows of
        "dual-descent"; with a kernel, tens of passes.
    optimality_ : float
        The certificate, in the same units as `tol`.
    task_covariance_ : ndarray of shape (n_tasks, n_tasks)
        Only with `relation` "learned": the estimated covariance, scaled so that its
        trace is the number of tasks with labels; NaN for tasks without labels.
    constraint_duals_ : list of ConstraintDual
        In the order of `constraints`: where each binds (`binding`) and what it costs
        (`price`), the derivative of the smallest objective by its limit; each
        constraint's page gives the shape. Empty without constraints.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    PerTaskRegressor : The same with the plain squared loss, solved in one step.
    MultiTaskBayesianRidge : Strengths that are learned; with "intercept" one set of
        coefficients, and an offset for each task that is shrunk.

    Notes
    -----
    Semismooth Newton with an exact line search for the squared loss, sweeps over the
    dual and a method of multipliers for the other, as in `MultiTaskSVM`; kernels too
    are as there. The objective is within 1e-6 (relative) of its minimum, within 1e-4
    for the loss without a square.

    With ``epsilon=0`` and the squared loss this is kernel ridge regression of strength
    1 / (2 C).

    References
    ----------
    Evgeniou, T. and Pontil, M., Regularized multi-task learning, KDD 2004.

    Ho, C.-H. and Lin, C.-J., Large-scale linear support vector regression, JMLR 13,
    2012.

    Rockafellar, R. T., Augmented Lagrangians and applications of the proximal point
    algorithm in convex programming, Mathematics of Operations Research 1, 1976.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import MultiTaskSVR
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0]])
    >>> y = np.array([1.0, 3.0, 5.0, 0.0, 2.0])
    >>> model = MultiTaskSVR(C=10.0, epsilon=0.1)
    >>> model = model.fit(X, y, task=["a", "a", "a", "b", "b"])
    >>> model.predict([[3.0]], task=["b"]).round(1)
    array([5.2])
    """

    def __init__(
        self,
        C=1.0,
        epsilon=0.0,
        relation="shared_mean",
        loss="squared_epsilon_insensitive",
        kernel="linear",
        *,
        degree=3,
        gamma="scale",
        coef0=0.0,
        constraints=None,
        solver_options=None,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=None,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.C = C
        self.epsilon = epsilon
        self.relation = relation
        self.loss = loss
        self.kernel = kernel
        self.degree = degree
        self.gamma = gamma
        self.coef0 = coef0
        self.constraints = constraints
        self.solver_options = solver_options
        self.task_column = task_column
        self.task_weight = task_weight
        self.fit_intercept = fit_intercept
        self.intercept_strength = intercept_strength
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_parameters(self):
        checks.check_strength("epsilon", self.epsilon)
        self._check_margins(("squared_epsilon_insensitive", "epsilon_insensitive"))

    @property
    def _margin(self):
        return margin_loss(self.loss, float(self.epsilon))

    def _solve(self, fit, start):
        return self._solve_one(fit, start)


def _against(k, n_labels):
    """-1 or +1 for each class in the k-th problem of one against the rest."""
    return np.where(np.arange(n_labels) == (1 if n_labels == 2 else k), 1.0, -1.0)


def _weigh_classes(fit, class_weight):
    """Multiply the sample weights by the weights of the labels' classes."""
    if class_weight is None:
        return fit
    data, labels = fit.data, fit.labels
    factor = _class_factors(class_weight, data, labels)
    seen = ~np.isnan(data.y)
    weight = np.ones(data.y.shape)
    weight[seen] = factor[data.y[seen].astype(np.intp)]
    if data.sample_weight is not None:
        given = data.sample_weight
        weight *= given if given.ndim == weight.ndim else given[:, None]
    if fit.elsewhere is not None:
        fit = replace(fit, elsewhere=replace(fit.elsewhere, factor=factor))
    return fit.with_rows(replace(data, sample_weight=weight))


def _class_factors(class_weight, data, labels):
    """Factor of each label."""
    if isinstance(class_weight, str):
        checks.check_choice("class_weight", class_weight, ("balanced",))
        weight = np.ones(len(data.rows))
        if data.sample_weight is not None:
            weight = data.take(data.sample_weight)
        codes = data.labels.astype(np.intp)
        counts = np.bincount(codes, weights=weight, minlength=len(labels))
        counts = np.where(counts > 0, counts, np.inf)
        return weight.sum() / (len(labels) * counts)
    if not isinstance(class_weight, dict):
        raise TypeError(
            "`class_weight` must be None, 'balanced' or a dict by class, got "
            f"{class_weight!r}."
        )
    known = labels.tolist()
    unknown = [key for key in class_weight if key not in known]
    if unknown:
        raise ValueError(
            f"`class_weight` names unknown classes {unknown}; the classes are {known}."
        )
    factor = np.array([class_weight.get(label, 1.0) for label in known])
    for label, value in zip(known, factor.tolist(), strict=True):
        if not isinstance(value, numbers.Real) or not 0 < value < np.inf:
            raise ValueError(
                f"`class_weight` must be finite and > 0, got {value!r} for {label!r}."
            )
    return factor
