"""Per-task weights: every task has its own coefficients, tied by a relation."""

from dataclasses import replace

import numpy as np

from .constraints import check_constraints
from .fitting import checks
from .fitting.base import TaskRegressor
from .fitting.classifiers import LogisticClassifier
from .fitting.coefficients import LinearReports
from .fitting.constrained import Constrained
from .fitting.elsewhere import FromPartitions
from .fitting.fold_streams import FromFolds
from .fitting.folds import scatter
from .fitting.grid import Batch, in_batches
from .fitting.related_search import RelatedSearch
from .fitting.shards import FromShards
from .moments import grams_fit, moments_pay
from .problem.losses import Squared
from .problem.solution import Status
from .solvers.features.covariance import solve_learned
from .solvers.related.narrow import solve_smooth
from .solvers.related.spectral import MomentSpectrum, RowSpectrum
from .solvers.related.squared import (
    moments_serve,
    solve_moments,
    solve_rows,
    solve_squared,
)
from .solvers.related.steps import SOLVERS

_DUAL_ROWS = 3000  # rows up to which their inner products are an alternative


class PerTaskRegressor(LinearReports, FromShards, Constrained, TaskRegressor):
    r"""Ridge regression with separate coefficients for each task.

    Minimises over W (a row per task) and the intercepts b

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i (y_i - x_i \cdot w_t - b_t)^2
              + \frac{\alpha}{2} \Omega(W)

    where the relation's :math:`\Omega` couples the tasks. The loss is a sum, not a
    mean: with more rows the same `alpha` shrinks less.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty, at least 0. With 0, ordinary least squares; if the rows
        do not determine the coefficients, the solution with the smallest Omega.
    relation : str or relation, default="independent"
        How the tasks are related: "independent", "shared_mean", "pooled" (which is
        `SharedMean(1.0)`), "learned" (`LearnedCovariance`), or an object:
        `Independent`, `SharedMean`, `TaskGraph`, `TaskCovariance`, `Composition`.
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
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}, default="auto"
        How to solve the linear system: from per-task moments (more rows than features),
        from inner products of rows (wide data), or matrix-free (wide and sparse data).
    tol : float, default=1e-8
        Stop when the objective is certified to be within this distance of its minimum,
        relative to the objective of the best model without features.
    max_iter : int, default=100
        Maximum number of solver steps.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit, where the solver is iterative.
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
    n_iter_ : int
        Iterations of the solver.
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
    MultiTaskSVR : The same with an epsilon-insensitive loss, and with kernels: with
        ``epsilon=0`` it is kernel ridge regression.
    MultiTaskBayesianRidge : Strengths that are learned; with "intercept" one set of
        coefficients, and an offset for each task that is shrunk.

    Notes
    -----
    The rows are read once, for centred second moments of every task; the coupled linear
    system is then solved by its structure (batched Cholesky, elimination of an
    arrowhead, two eigendecompositions, conjugate gradients) and its solution certified
    by a bound on the distance from the minimum. Where moments lose too many digits
    (collinear columns) the rows are used instead. The objective is within 1e-6
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
        constraints=None,
        solver_options=None,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.alpha = alpha
        self.relation = relation
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
        checks.check_strength("alpha", self.alpha)
        checks.check_choice("solver", self.solver, SOLVERS)

    def _loss_under_constraints(self):
        return Squared(), float(self.alpha)

    def _solve(self, fit, start):
        alpha = float(self.alpha)
        if fit.elsewhere is not None:
            return fit.elsewhere.solve(fit, alpha, self.tol)
        if fit.form.learned and alpha > 0:
            how = {"tol": self.tol, "max_iter": self.max_iter, "start": start}
            return solve_learned(fit, None, alpha, **how)
        fit = replace(fit, form=fit.form.untied()) if fit.form.learned else fit
        options = {"intercept": fit.intercept, "tol": self.tol}
        rest = {"max_iter": self.max_iter, "solver": self.solver, "start": start}
        if fit.moments is None:
            return solve_squared(fit.data, fit.form, alpha, **options, **rest)
        solution = solve_moments(fit.moments, fit.form, alpha, **options)
        if solution.status is Status.CONVERGED:
            return solution
        return solve_rows(fit.data, fit.form, alpha, **options, **rest)

    def _gather(self, fit):
        data, alpha = fit.data, float(self.alpha)
        if data.X.shape[0] < data.n_features:
            return fit
        if check_constraints(self.constraints) or (fit.form.learned and alpha > 0):
            serve = moments_pay(data, copies=2)
        else:
            serve = moments_serve(data, alpha, fit.intercept, self.solver)
        return fit.with_moments() if serve else fit


class PerTaskRegressorCV(FromFolds, RelatedSearch, PerTaskRegressor):
    r"""`PerTaskRegressor` with everything chosen by cross-validation.

    Minimises over W (a row per task) and the intercepts b

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i (y_i - x_i \cdot w_t - b_t)^2
              + \frac{\alpha}{2} \Omega(W)

    with the alpha, the correlation of the relation `SharedMean`, and the intercepts
    whose models of the training parts predict the held-out rows best. The loss is a
    sum, not a mean. A whole grid takes about as long as a few fits: the rows are read
    once for all folds, and for every kind of intercept one eigendecomposition per task
    and fold serves all strengths and correlations.

    Parameters
    ----------
    alphas : int or array-like, default=100
        The strengths to try, in any order; or how many. Then they form a geometric grid
        of nine decades, down from ten times the scatter of the features: their
        variances, summed, times the weighted number of rows. There every coefficient is
        below a tenth of its unpenalised size.
    correlations : array-like, float or None
        The correlations of `SharedMean` to try, from 0 (independent tasks) to 1 (one
        common model), where `relation` is "shared_mean". None: only the relation as it
        is.
    relation : str or relation, default="shared_mean"
        "shared_mean" tries all `correlations`; everything else ("independent",
        "pooled", "learned", `SharedMean(0.7)`, `TaskGraph`, `TaskCovariance`) is taken
        as it is.
    cv : None, int, splitter or iterable, default=None
        The folds. None means 5; an integer gives that many folds, each with its share
        of every task, ``TaskStratifiedKFold(cv, shuffle=True, random_state=0)``;
        splitters and (train, test) pairs refer to the rows as passed, and splitters get
        the ids as groups.
    scoring : str, callable or None, default=None
        The name of a scikit-learn scorer, or a callable ``scorer(estimator, X, y)``
        such as `TaskScorer`; larger is better. None: the mean squared error.
    margin : float, default=1.0
        Independent tasks, with free intercepts where those are tried, are taken unless
        the best model is ahead of them by this many standard errors of the difference,
        fold by fold. 0: the best is taken.
    one_standard_error : bool or "paired", default=False
        Take the largest alpha that is at most one standard error (over the folds) worse
        than the best. True: the standard error of the best one's own score. "paired":
        that of the difference between the two, fold by fold. It is smaller, because a
        difficult fold is difficult for both.
    n_jobs : int, default=None
        Number of folds processed in parallel.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows (of the training
        part), so that all tasks have the same total weight; a dict by id (1 for absent
        ids); an array in the order of `tasks_`.
    fit_intercept : {"auto", True, "free", "shrunk", "shared", False}, or a list
        True or "free": one unpenalised intercept per task (and class). "shrunk": a free
        common one, deviations from it penalised. "shared": one for all tasks. A list:
        all of these are tried. "auto": the first three; free ones only, where the
        relation is learned or tasks are made of others.
    intercept_strength : "auto", float or array-like, default="auto"
        With shrunken intercepts, the factor of the penalty on their deviations, or
        several to try. "auto": with independent tasks and `SharedMean` that at which
        the tasks' levels are most likely in a random-intercept model, whatever the
        strength of the penalty; with other relations 0.1, 1 and 10.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error. (Within the folds it is always predicted.)
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}, default="auto"
        How to solve the linear system: from per-task moments (more rows than features),
        from inner products of rows (wide data), or matrix-free (wide and sparse data).
    tol : float, default=1e-8
        Stop when the objective is certified to be within this distance of its minimum,
        relative to the objective of the best model without features.
    max_iter : int, default=100
        Maximum number of solver steps.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit, where the solver is iterative.
    verbose : int, default=0
        1 prints the objective and the certificate of each step of the final fit.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    correlation_ : float or None
        The chosen correlation; None where the relation is not `SharedMean`.
    fit_intercept_ : {"free", "shrunk", "shared", False}
        The chosen intercepts.
    intercept_strength_ : float or None
        Their strength as the base estimator has it; None unless they are shrunken.
    fit_intercepts_ : list of str
        The intercepts that were tried, in words.
    alphas_ : ndarray of shape (n_alphas,)
        The strengths in decreasing order.
    correlations_ : ndarray of shape (n_correlations,) or None
        The correlations, in the order in which they were given.
    best_index_ : int
        Position of `alpha_` in `alphas_`.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        With the chosen correlation and intercepts, the mean squared error of each fold:
        the plain mean over its observed labels, whatever their weights.
    mse_grid_ : ndarray of shape (n_correlations, n_alphas, n_folds)
        The same with every correlation.
    score_path_ : ndarray of shape (n_alphas, n_folds)
        Only with `scoring`: the scores, along the chosen correlation and intercepts.
    coef_path_ : ndarray of shape (n_alphas, n_tasks, n_features) or None
        Coefficients of all rows along `alphas_`; None where they would take more than
        256 MB.
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
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate of the final fit, in the same units as `tol`.
    task_covariance_ : ndarray of shape (n_tasks, n_tasks)
        Only with `relation` "learned": the estimated covariance, scaled so that its
        trace is the number of tasks with labels; NaN for tasks without labels.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    PerTaskRegressor : With given strength, relation and intercepts.
    MultiTaskBayesianRidge : Strengths by the likelihood, one for every feature.
    mtlearn.inspection.PathDisplay : Draws the path and the errors along it.

    Notes
    -----
    The results are those of ``GridSearchCV(PerTaskRegressor(...))`` on the same folds,
    scored by the mean squared error. A training part's moments are the sum of those of
    the other folds. Independent tasks, `SharedMean`, and any relation on a complete
    two-dimensional `y` are solved in the eigenvectors of the tasks' Hessians, other
    relations one strength after the other. Strengths so small that moments could lose
    digits, and data with more features than moments are good for, are solved from the
    rows.

    References
    ----------
    Evgeniou, T. and Pontil, M., Regularized multi-task learning, KDD 2004.

    Examples
    --------
    >>> from mtlearn import PerTaskRegressorCV
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(
    ...     20, 20, 5, correlation=0.8, noise=2.0, return_X_y=True, random_state=0
    ... )
    >>> model = PerTaskRegressorCV(alphas=50).fit(X, y, task=task)
    >>> model.correlation_, model.fit_intercept_, model.mse_path_.shape
    (0.99, 'shared', (50, 5))
    """

    _span = 1e-9

    def __init__(
        self,
        alphas=100,
        correlations=(0.0, 0.2, 0.5, 0.8, 0.9, 0.97, 0.99, 1.0),
        *,
        relation="shared_mean",
        cv=None,
        scoring=None,
        margin=1.0,
        one_standard_error=False,
        n_jobs=None,
        task_column=None,
        task_weight=None,
        fit_intercept="auto",
        intercept_strength="auto",
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.alphas = alphas
        self.correlations = correlations
        self.relation = relation
        self.cv = cv
        self.scoring = scoring
        self.margin = margin
        self.one_standard_error = one_standard_error
        self.n_jobs = n_jobs
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
        super()._check_parameters()
        checks.check_choice("solver", self.solver, SOLVERS)

    def _base(self, relation, alpha):
        chosen = {"relation": relation, "alpha": alpha, "intercept_strength": 1.0}
        return self._of_base(PerTaskRegressor, fit_intercept=True, **chosen)

    def _penalty_at(self, alpha):
        return alpha

    def _largest(self, whole, relation):
        return 10.0 * scatter(whole) or 1.0

    def _by_moments(self, rows):
        """Whether Grams of the features fit, and cost less than those of the rows."""
        if self.solver not in ("auto", "newton-cholesky"):
            return False
        n_rows, d = rows.X.shape
        n_blocks = 1 if rows.common else rows.n_tasks
        n = n_rows * rows.n_tasks if rows.wide else n_rows
        forms = len(self._variants())
        by_rows = forms * float(n) ** 3 < 5.0 * n_blocks * float(d) ** 3
        return grams_fit(rows, copies=8) and not (n <= _DUAL_ROWS and by_rows)

    def _paths(self, part, variants, grids):
        spectra = {}
        for relation, alphas in zip(variants, grids):
            tied = self._tied(part, relation)
            if tied.intercept not in spectra:
                spectra[tied.intercept] = self._spectrum(tied)
            yield self._path(tied, spectra[tied.intercept], relation, alphas)

    def _spectrum(self, part):
        if part.moments is not None:
            return MomentSpectrum(part.moments, part.intercept)
        if self.solver in ("auto", "newton-dual") and len(part.data.rows) <= _DUAL_ROWS:
            return RowSpectrum(part.data, part.intercept)
        return None

    def _path(self, part, spectrum, relation, alphas):
        fast, start = 0, None
        if spectrum is not None:
            fast = int(np.sum(alphas >= max(spectrum.lowest(part.form), 1e-300)))
        if fast:
            for coef, intercept in spectrum.path(part.form, alphas[:fast]):
                start = coef[-1], intercept[-1]
                yield Batch(coef, intercept)
        one_by_one = self._one_by_one(part, relation, alphas[fast:], start)
        yield from in_batches(one_by_one, self.tol)

    def _one_by_one(self, part, relation, alphas, start):
        for alpha in alphas:
            mode = self._as_shrunken(part.intercept, part.form, alpha)
            model = self._base(relation, float(alpha))
            solution = model._solve(replace(part, intercept=mode), start)
            start = solution.coef, solution.intercept
            yield solution

    def _solve_whole(self, model, fit, whole, space, start):
        whole = replace(whole.tied(model._relation()), intercept=fit.intercept)
        solution = model._solve(whole, space.start(start))
        return replace(solution, coef=space.back(solution.coef))


class PerTaskClassifier(LinearReports, FromPartitions, LogisticClassifier):
    r"""Logistic regression with separate coefficients for each task.

    Minimises over W (a row per task) and the intercepts b, with labels -1 and +1,

    .. math:: C \sum_t \lambda_t \sum_{i \in t} s_i
              \log(1 + \exp(-y_i (x_i \cdot w_t + b_t))) + \frac12 \Omega(W)

    With more than two classes the loss is the softmax cross-entropy over the classes
    that the task has, and each class's coefficients are coupled across tasks on their
    own. The loss is a sum, not a mean.

    Parameters
    ----------
    C : float, default=1.0
        Strength of the loss, greater than 0; a smaller value means a stronger penalty.
    relation : str or relation, default="independent"
        How the tasks are related: "independent", "shared_mean", "pooled" (which is
        `SharedMean(1.0)`), "learned" (`LearnedCovariance`), or an object:
        `Independent`, `SharedMean`, `TaskGraph`, `TaskCovariance`, `Composition`.
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
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}, default="auto"
        How to solve for a Newton step: with one block per task of the number of
        features, of the number of rows (wide data, two classes only), or matrix-free
        (wide and sparse data).
    tol : float, default=1e-8
        Stop when the objective is certified to be within this distance of its minimum,
        relative to the objective of the best model without features.
    max_iter : int, default=100
        Maximum number of solver steps.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
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
        Mean of `coef_` over tasks: the model of a task not seen in `fit`. With free
        intercepts over those of two classes or more.
    shared_intercept_ : float or ndarray of shape (n_classes,)
        Intercept for tasks that were not in `fit`.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate, in the same units as `tol`.
    task_covariance_ : ndarray of shape (n_tasks, n_tasks)
        Only with `relation` "learned": the estimated covariance, scaled so that its
        trace is the number of tasks with labels; NaN for tasks without labels.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    MultiTaskSVM : The same with a squared hinge loss.
    MultiTaskBayesianClassifier : Strengths that are learned; with "intercept" one set
        of coefficients, and an offset for each task that is shrunk.

    Notes
    -----
    Newton's method with an exact line search; the certificate bounds the distance from
    the minimum. The objective is within 1e-6 (relative) of its minimum.

    A task with one class has no finite best intercept when it is free: it gets one at
    which its loss is practically zero, and predicts its class with certainty. It does
    not enter the model of new tasks, nor does, with more than two classes, a task enter
    that of a class it does not have. With `fit_intercept="shrunk"` it borrows from the
    others, and its probabilities stay moderate.

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

    def __init__(
        self,
        C=1.0,
        relation="independent",
        *,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
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
        self.intercept_strength = intercept_strength
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_parameters(self):
        checks.check_strength("C", self.C, strict=True)
        checks.check_choice("solver", self.solver, SOLVERS)

    def _loss_strength(self):
        return float(self.C)

    def _solve(self, fit, start, alpha=1.0, lazy=None):
        data, loss = self._log_loss(fit)
        solver = self.solver
        if fit.form.learned:
            if loss.n_scores > 1:
                raise ValueError(
                    "`relation`='learned' is for two classes, got "
                    f"{loss.n_scores}: use MultiTaskSVM, or another relation."
                )
            how = {"tol": self.tol, "max_iter": self.max_iter, "start": start}
            return solve_learned(fit.with_rows(data), loss, alpha, **how)
        if solver == "newton-dual" and loss.n_scores > 1:
            raise ValueError(
                "`solver`='newton-dual' is for two classes, got "
                f"{loss.n_scores}: use 'newton-cg' or 'auto'."
            )
        if fit.elsewhere is not None:
            signs = np.array([-1.0, 1.0]) if loss.n_scores == 1 else None
            return self._solve_partitions(fit.with_rows(data), loss, start, signs)
        return solve_smooth(
            data,
            loss,
            fit.form,
            alpha,
            intercept=fit.intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            solver=solver,
            start=start,
            lazy=lazy,
        )
