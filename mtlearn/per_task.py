"""Per-task weights: every task has its own coefficients, tied by a relation."""

import numpy as np
from scipy.special import expit, softmax

from . import checks
from .base import TaskClassifier, TaskRegressor, present_classes
from .losses import Logistic, Softmax
from .solvers.newton import solve_newton
from .solvers.squared import solve_squared
from .solvers.steps import SOLVERS


class PerTaskRegressor(TaskRegressor):
    r"""Ridge regression with coefficients of its own for every task.

    Minimises over W (a row per task) and the intercepts b

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i (y_i - x_i \cdot w_t - b_t)^2
              + \frac{\alpha}{2} \Omega(W)

    where the relation's :math:`\Omega` says how the tasks are tied. The loss is a sum,
    not a mean: with more rows the same `alpha` shrinks less.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty, at least 0. With 0, ordinary least squares; where the
        rows leave coefficients open, those of smallest Omega.
    relation : str or relation, default="independent"
        How the tasks are tied: "independent", "shared_mean", "pooled" (which is
        `SharedMean(1.0)`), or an object: `Independent`, `SharedMean`, `TaskGraph`,
        `TaskCovariance`.
    task_column : str or int, default=None
        Column of `X` that holds the task ids, by name or position.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that every task
        counts the same; a dict by id (absent ids count 1); an array in the order of
        `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task. "shrunk": a free common one,
        deviations from it penalised like a coefficient. "shared": one for all tasks.
    handle_unknown : {"shared", "error"}, default="shared"
        A task that `fit` never saw is predicted by the mean of the tasks' models, or
        refused.
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}, default="auto"
        How the linear system is solved: from per-task moments (n large against d), from
        the rows' inner products (wide data), or matrix-free (wide and sparse).
    tol : float, default=1e-8
        A bound on the distance from the minimum, relative to the objective of the zero
        model, at which to stop.
    max_iter : int, default=100
        Most steps of the solver.
    warm_start : bool, default=False
        Begin at the last fit's coefficients where a solver iterates.
    verbose : int, default=0
        1 prints objective and certificate of every step.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted ids; with a two-dimensional `y` the columns' names or 0, 1, ...
    coef_ : ndarray of shape (n_tasks, n_features)
        The column of ids is not counted.
    intercept_ : ndarray of shape (n_tasks,)
    shared_coef_ : ndarray of shape (n_features,)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`.
    shared_intercept_ : float
    n_iter_ : int
    optimality_ : float
        The certificate, in the units of `tol`.
    n_features_in_ : int
        Columns of `X`, that of the ids included.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only where `X` has string column names.

    See Also
    --------
    MultiTaskSVR : The same with an epsilon-insensitive loss.

    Notes
    -----
    The rows are read once, for centred second moments of every task; the coupled linear
    system is then solved by its structure (batched Cholesky, elimination of an
    arrowhead, two eigendecompositions, conjugate gradients) and its solution certified
    by a bound on the distance from the minimum. Where moments are too coarse
    (collinear columns) the answer comes from the rows. The objective is within 1e-6
    (relative) of its minimum.

    References
    ----------
    Evgeniou, T. and Pontil, M., Regularized multi-task learning, KDD 2004.

    Evgeniou, T., Micchelli, C. and Pontil, M., Learning multiple tasks with kernel
    methods, JMLR 6, 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor, SharedMean
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0]])
    >>> y = np.array([1.0, 3.0, 5.0, 0.0, 2.5])
    >>> school = ["a", "a", "a", "b", "b"]
    >>> model = PerTaskRegressor(alpha=0.1, relation=SharedMean(0.9))
    >>> model.fit(X, y, task=school).coef_.round(2)
    array([[1.98],
           [2.13]])
    >>> model.predict([[3.0]], task=["b"]).round(1)
    array([6.6])
    """

    def __init__(
        self,
        alpha=1.0,
        relation="independent",
        *,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.alpha = alpha
        self.relation = relation
        self.task_column = task_column
        self.task_weight = task_weight
        self.fit_intercept = fit_intercept
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_parameters(self):
        checks.check_number("alpha", self.alpha, 0)
        checks.check_choice("solver", self.solver, SOLVERS)

    def _solve(self, fit, start):
        return solve_squared(
            fit.data,
            fit.form,
            float(self.alpha),
            intercept=fit.intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            solver=self.solver,
            start=start,
        )


class PerTaskClassifier(TaskClassifier):
    r"""Logistic regression with coefficients of its own for every task.

    Minimises over W (a row per task) and the intercepts b, with labels -1 and +1,

    .. math:: C \sum_t \lambda_t \sum_{i \in t} s_i
              \log(1 + \exp(-y_i (x_i \cdot w_t + b_t))) + \frac12 \Omega(W)

    With more than two classes the loss is the softmax cross-entropy over the classes
    that the task has, and each class's coefficients are coupled across tasks on their
    own. The loss is a sum, not a mean.

    Parameters
    ----------
    C : float, default=1.0
        Strength of the loss, greater than 0; the smaller, the stronger the penalty.
    relation : str or relation, default="independent"
        How the tasks are tied: "independent", "shared_mean", "pooled" (which is
        `SharedMean(1.0)`), or an object: `Independent`, `SharedMean`, `TaskGraph`,
        `TaskCovariance`.
    task_column : str or int, default=None
        Column of `X` that holds the task ids, by name or position.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that every task
        counts the same; a dict by id (absent ids count 1); an array in the order of
        `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task (and class). "shrunk": a free
        common one, deviations from it penalised like a coefficient. "shared": one for
        all tasks.
    handle_unknown : {"shared", "error"}, default="shared"
        A task that `fit` never saw is predicted by the mean of the tasks' models, or
        refused.
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}, default="auto"
        How a Newton step is solved: by blocks of the size of the features, of the size
        of the rows (wide data, two classes only), or matrix-free (wide and sparse).
    tol : float, default=1e-8
        A bound on the distance from the minimum, relative to the objective of the zero
        model, at which to stop.
    max_iter : int, default=100
        Most Newton steps.
    warm_start : bool, default=False
        Begin at the last fit's coefficients.
    verbose : int, default=0
        1 prints objective and certificate of every step.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted ids; with a two-dimensional `y` the columns' names or 0, 1, ...
    classes_ : ndarray or list of ndarray
        The union of the labels over all tasks; with a two-dimensional `y`
        ``arange(n_tasks)`` if all tasks share two labels, else a list with each task's.
    task_classes_ : list of ndarray
        The labels that each task has.
    coef_ : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        The second with more than two classes.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`.
    shared_intercept_ : float or ndarray of shape (n_classes,)
    n_iter_ : int
    optimality_ : float
        The certificate, in the units of `tol`.
    n_features_in_ : int
        Columns of `X`, that of the ids included.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only where `X` has string column names.

    See Also
    --------
    MultiTaskSVM : The same with a squared hinge loss.

    Notes
    -----
    Newton's method with an exact line search; the certificate bounds the distance from
    the minimum. The objective is within 1e-6 (relative) of its minimum. A task with one
    class has no finite best intercept when it is free: it gets one at which its loss is
    practically zero. With `fit_intercept="shrunk"` it borrows the others'.

    References
    ----------
    Evgeniou, T. and Pontil, M., Regularized multi-task learning, KDD 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskClassifier
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [0.0], [3.0]])
    >>> y = ["no", "no", "yes", "yes", "no", "yes"]
    >>> site = ["a", "a", "a", "a", "b", "b"]
    >>> model = PerTaskClassifier(relation="shared_mean").fit(X, y, task=site)
    >>> model.predict([[2.5], [0.5]], task=["b", "b"]).tolist()
    ['yes', 'no']
    """

    __metadata_request__predict_proba = {"task": True}
    __metadata_request__predict_log_proba = {"task": True}

    def __init__(
        self,
        C=1.0,
        relation="independent",
        *,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.C = C
        self.relation = relation
        self.task_column = task_column
        self.task_weight = task_weight
        self.fit_intercept = fit_intercept
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_parameters(self):
        checks.check_number("C", self.C, 0, strict=True)
        checks.check_choice("solver", self.solver, SOLVERS)

    def _loss_strength(self):
        return float(self.C)

    def _solve(self, fit, start):
        data, n_labels = fit.data, len(fit.labels)
        if n_labels == 2:
            data, loss = data.relabel(2.0 * data.y - 1.0), Logistic()
        else:
            allowed = present_classes(data, n_labels)[data.task_of]
            loss = Softmax(n_labels, allowed)
        solver = self.solver
        if solver == "newton-dual" and n_labels > 2:
            raise ValueError(
                "`solver`='newton-dual' is for two classes, got "
                f"{n_labels}: use 'newton-cg' or 'auto'."
            )
        return solve_newton(
            data,
            loss,
            fit.form,
            1.0,
            intercept=fit.intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            solver=solver,
            start=start,
        )

    def predict_proba(self, X, *, task=None):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, the column of ids included.
        task : array-like of shape (n_samples,), default=None
            Task ids, if `fit` had them in `task`.

        Returns
        -------
        p : ndarray or list of ndarray
            (n_samples, n_classes), 0 for classes that the row's task does not have.
            With a two-dimensional `y` of two labels (n_samples, n_tasks), the
            probability of the second; of more labels a list with an array per task over
            its own classes.
        """
        z = self._masked_scores(X, task)
        if len(self._labels) == 2:
            p = expit(z)
            return p if self._layout == "wide" else np.column_stack([1.0 - p, p])
        p = softmax(z, axis=-1)
        if self._layout != "wide":
            return p
        return [p[:, t][:, own] for t, own in enumerate(self._own)]

    def predict_log_proba(self, X, *, task=None):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, the column of ids included.
        task : array-like of shape (n_samples,), default=None
            Task ids, if `fit` had them in `task`.

        Returns
        -------
        log_p : ndarray or list of ndarray
            In the shape of `predict_proba`; minus infinity where that is 0.
        """
        p = self.predict_proba(X, task=task)
        with np.errstate(divide="ignore"):
            return [np.log(one) for one in p] if isinstance(p, list) else np.log(p)
