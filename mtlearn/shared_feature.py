"""Shared features: tasks that use the same features, or the same few combinations."""

from dataclasses import replace
from itertools import tee

import numpy as np

from .fitting import checks
from .fitting.base import TaskRegressor
from .fitting.classifiers import LogisticClassifier
from .fitting.fold_streams import FromFolds
from .fitting.grid import GridFit, in_batches
from .fitting.shared_features import SharedFeatureEstimator, scores_of
from .fitting.streams import FromMoments
from .moments import moments_pay
from .problem.intercepts import SHARED
from .problem.losses import Squared
from .solvers.features.lazy import grows, lazy_loss
from .solvers.features.path import follow_features, follow_low_rank, follow_nuclear
from .solvers.features.reduced_rank import solve_reduced_rank
from .solvers.features.smooth import MomentLoss, RowLoss, squared_loss
from .solvers.related.squared import solve_squared

SOLVERS = ("auto", "moments", "rows")


class SharedFeatureRegressor(FromMoments, TaskRegressor, SharedFeatureEstimator):
    r"""Linear regression of many tasks on shared features.

    Minimises over the coefficients (a row per task) and the intercepts b

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i (y_i - x_i \cdot w_t - b_t)^2
              + \text{penalty}

    The loss is a sum, not a mean: with more rows the same `alpha` shrinks less. The
    penalty says what the tasks share:

    - "rank": :math:`w_t = W^T \phi_t` with `n_components` hidden features W x, and
      :math:`\frac{\alpha}{2} (\|W\|_F^2 + \|\Phi\|_F^2)`; with `alpha=0` reduced-rank
      regression;
    - "nuclear": few hidden features, their number found by the penalty
      :math:`\alpha \|\mathrm{coef}\|_*`, the sum of the singular values;
    - "l21": the same features, :math:`\alpha \sum_j \|\mathrm{coef}_{:, j}\|_2`
      (scikit-learn's MultiTaskLasso at alpha / n_samples);
    - "dirty": mostly the same, coef = S + P,
      :math:`\alpha \sum_j \|S_{:, j}\|_2 + \alpha_{private} \sum_{tj} |P_{tj}|`.

    Parameters
    ----------
    n_components : int, default=None
        "rank" only: number of hidden features, at most min(n_features, n_tasks), which
        None stands for; there the result is that of "nuclear".
    alpha : float, default=1.0
        Strength of the penalty, at least 0. With 0 and without a limit on the rank,
        ordinary least squares (of minimum norm).
    penalty : {"rank", "nuclear", "l21", "dirty"}, default="rank"
    alpha_private : float, default=None
        "dirty" only: strength of the private part, greater than 0. None is
        alpha / n_tasks^(1/4), midway between alpha / sqrt(n_tasks), up to which the
        shared part vanishes, and alpha, from which the private part does.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that all tasks
        have the same total weight; a dict by id (1 for absent ids); an array in the
        order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task. "shrunk": adds
        alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error.
    solver : {"auto", "moments", "rows"}, default="auto"
        What the solver works on: the tasks' second moments (more rows than features),
        or the rows.
    tol : float, default=1e-8
        The duality gap at which to stop, relative to the objective of the best model
        without features (or to 100 times the objective, if that is smaller). With
        `n_components` below full rank the decrease that a Newton step still promises,
        which is weaker.
    max_iter : int, default=1000
        Most passes over the features ("l21", "dirty") or Newton steps.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
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
    components_ : ndarray of shape (n_components, n_features)
        "rank" and "nuclear": the shared features W, largest first, balanced with Phi.
    task_components_ : ndarray of shape (n_tasks, n_components)
        "rank" and "nuclear": Phi, what each task makes of them; `coef_` = Phi W.
    rank_ : int
        Rank of the coefficients, singular values below 1e-6 of the largest not counted.
    selected_features_ : ndarray of shape (n_selected,), int
        Positions of the features with a coefficient that is not zero.
    shared_part_ : ndarray of the shape of `coef_`
        "dirty": S.
    private_part_ : ndarray of the shape of `coef_`
        "dirty": P.
    dual_gap_ : float
        Bound on the distance from the minimum, in units of the objective; not for
        "rank".
    shared_coef_ : ndarray of shape (n_features,)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`.
    shared_intercept_ : float
        Intercept for tasks that were not in `fit`.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate, in the same units as `tol`.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    PerTaskRegressor : Tasks tied by a quadratic relation, all features in use.

    Notes
    -----
    Penalties depend on the units of the features: scale them (StandardScaler).

    "l21" and "dirty" are solved by block coordinate descent over working sets, on
    second moments where there are more rows than features, with Newton steps on the
    features in use; "l21" with complete labels, where there are fewer rows than
    features or many features come and go along a grid, by Newton steps on the norms of
    the features' coefficients; "nuclear" from moments by Newton steps on the matrix
    that Argyriou et al. alternate over; "rank" and what is left by a trust-region
    Newton method on the factors, the rank of which grows until the duality gap closes.
    The objective is within 1e-6 (relative) of its minimum, for "rank" below full rank
    at a stationary point: it starts from the truncated solution of "nuclear" and from a
    path of falling strengths, and keeps the better end. On complete labels, `alpha=0`
    is solved in closed form for any task weights.

    References
    ----------
    Izenman, A., Reduced-rank regression for the multivariate linear model, Journal of
    Multivariate Analysis 5, 1975.

    Argyriou, A., Evgeniou, T. and Pontil, M., Convex multi-task feature learning,
    Machine Learning 73, 2008.

    Obozinski, G., Taskar, B. and Jordan, M., Joint covariate selection and joint
    subspace selection for multiple classification problems, Statistics and Computing
    20, 2010.

    Jalali, A., Ravikumar, P., Sanghavi, S. and Ruan, C., A dirty model for multi-task
    learning, NIPS 2010.

    Massias, M., Gramfort, A. and Salmon, J., Celer: a fast solver for the lasso with
    dual extrapolation, ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedFeatureRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 5))
    >>> Y = X[:, [1, 3]] @ np.array([[1.0, 2.0, -1.0], [1.0, 0.0, 1.0]])
    >>> model = SharedFeatureRegressor(alpha=5.0, penalty="l21").fit(X, Y)
    >>> model.selected_features_.tolist(), model.coef_.shape
    ([1, 3], (3, 5))
    >>> model.transform(X).shape
    (100, 2)
    """

    def __init__(
        self,
        n_components=None,
        alpha=1.0,
        penalty="rank",
        *,
        alpha_private=None,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=1000,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.penalty = penalty
        self.alpha_private = alpha_private
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
        checks.check_strength("alpha", self.alpha)
        checks.check_choice("solver", self.solver, SOLVERS)

    def _solve(self, fit, start):
        alpha = float(self.alpha)
        if fit.moments is not None and alpha > 0 and self.solver != "rows":
            return self._minimise(MomentLoss(fit.moments, fit.intercept, alpha), start)
        data = fit.data
        if alpha == 0 and self.penalty != "rank":
            how = {"tol": self.tol, "max_iter": self.max_iter, "solver": "auto"}
            how |= {"intercept": fit.intercept, "start": None}
            solution = solve_squared(data, fit.form, 0.0, **how)
            zero = 0.5 * float(data.weights @ data.labels**2)
            return replace(solution, gap=solution.certificate * zero)
        loss = self._loss(data, fit.intercept)
        if alpha == 0:
            exact = solve_reduced_rank(
                data, fit.intercept, self.n_components or data.n_tasks
            )
            if exact is not None:
                return exact
        return self._minimise(loss, start)

    def _loss(self, data, intercept):
        """The squared loss, in the form that the penalty's solver asks least of."""
        if self._selects():
            loss = lazy_loss(data, intercept, self._penalty(len(self.tasks_)))
            if loss is not None:
                return loss
        return squared_loss(data, intercept, float(self.alpha), self.solver)

    def _selects(self):
        """Whether few features may be in use, and products of others be saved."""
        return self.penalty in ("l21", "dirty") and self.solver == "auto"

    def _gather(self, fit):
        data = fit.data
        if self.alpha == 0 or self.solver == "rows":
            return fit
        if data.X.shape[0] < data.n_features:
            return fit
        if self._selects() and grows(data, fit.intercept):
            return fit
        pays = self.solver == "moments" or moments_pay(data, copies=2)
        return fit.with_moments() if pays else fit


class SharedFeatureClassifier(LogisticClassifier, SharedFeatureEstimator):
    r"""Logistic regression of many tasks on shared features.

    Minimises over the coefficients and the intercepts b, with labels -1 and +1,

    .. math:: \sum_t \lambda_t \sum_{i \in t} s_i
              \log(1 + \exp(-y_i (x_i \cdot w_t + b_t))) + \text{penalty}

    with the penalties of `SharedFeatureRegressor`. With more than two classes the loss
    is the softmax cross-entropy over the classes that the task has, and the rows of the
    penalised matrix are the pairs of task and class: a feature is shared by all tasks
    and all classes. The loss is a sum, not a mean.

    Parameters
    ----------
    n_components : int, default=None
        "rank" only: number of hidden features, at most min(n_features, n_tasks) (times
        classes where there are more than two), which None stands for; there the result
        is that of "nuclear".
    alpha : float, default=1.0
        Strength of the penalty, greater than 0.
    penalty : {"rank", "nuclear", "l21", "dirty"}, default="rank"
        Hidden features, few of them; the same features; mostly the same features.
    alpha_private : float, default=None
        "dirty" only: strength of the private part, greater than 0. None is
        alpha / n_tasks^(1/4), midway between alpha / sqrt(n_tasks), up to which the
        shared part vanishes, and alpha, from which the private part does.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that all tasks
        have the same total weight; a dict by id (1 for absent ids); an array in the
        order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task (and class). "shrunk": adds
        alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error.
    solver : {"auto", "rows"}, default="auto"
        The same: the rows are needed at every step.
    tol : float, default=1e-8
        The duality gap at which to stop, relative to the objective of the best model
        without features (or to 100 times the objective, if that is smaller). With
        `n_components` below full rank the decrease that a Newton step still promises,
        which is weaker.
    max_iter : int, default=1000
        Most passes over the features ("l21", "dirty") or Newton steps.
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
    components_ : ndarray of shape (n_components, n_features)
        "rank" and "nuclear": the shared features W, largest first, balanced with Phi.
    task_components_ : ndarray of shape (n_tasks, [n_classes,] n_components)
        "rank" and "nuclear": Phi, what each task makes of them; `coef_` = Phi W.
    rank_ : int
        Rank of the coefficients, singular values below 1e-6 of the largest not counted.
    selected_features_ : ndarray of shape (n_selected,), int
        Positions of the features with a coefficient that is not zero.
    shared_part_ : ndarray of the shape of `coef_`
        "dirty": S.
    private_part_ : ndarray of the shape of `coef_`
        "dirty": P.
    dual_gap_ : float
        Bound on the distance from the minimum, in units of the objective; not for
        "rank".
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`. With free
        intercepts over those of two classes or more.
    shared_intercept_ : float or ndarray of shape (n_classes,)
        Intercept for tasks that were not in `fit`.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate, in the same units as `tol`.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    SharedFeatureRegressor : The same penalties with the squared loss.

    Notes
    -----
    Penalties depend on the units of the features: scale them (StandardScaler).

    "l21" and "dirty" are solved by proximal Newton steps over working sets of features,
    "rank" and "nuclear" by a trust-region Newton method on the factors, intercepts
    minimised out in both. The certificate is a duality gap (for "rank" below full rank
    only the decrease that a step still promises).

    A task with one class has no finite best intercept when it is free: it gets one at
    which its loss is practically zero, and predicts its class with certainty. It does
    not enter the model of new tasks, nor does, with more than two classes, a task enter
    that of a class it does not have. With `fit_intercept="shrunk"` it borrows from the
    others, and its probabilities stay moderate.

    References
    ----------
    Obozinski, G., Taskar, B. and Jordan, M., Joint covariate selection and joint
    subspace selection for multiple classification problems, Statistics and Computing
    20, 2010.

    Lee, J., Sun, Y. and Saunders, M., Proximal Newton-type methods for minimizing
    composite functions, SIAM Journal on Optimization 24, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedFeatureClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 5))
    >>> Y = np.where(X[:, [1, 3]] @ np.array([[1, 2, -1], [1, 0, 1]]) > 0, "yes", "no")
    >>> model = SharedFeatureClassifier(alpha=8.0, penalty="l21").fit(X, Y)
    >>> model.selected_features_.tolist()
    [1, 3]
    """

    def __init__(
        self,
        n_components=None,
        alpha=1.0,
        penalty="rank",
        *,
        alpha_private=None,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=1000,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.penalty = penalty
        self.alpha_private = alpha_private
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
        checks.check_strength("alpha", self.alpha, strict=True)
        checks.check_choice("solver", self.solver, ("auto", "rows"))

    def _solve(self, fit, start):
        rows, loss = self._log_loss(fit)
        smooth = RowLoss(rows, loss, fit.intercept, float(self.alpha))
        solution = self._minimise(smooth, start)
        if scores_of(fit) == 1:
            return solution
        coef = solution.coef.reshape(*solution.intercept.shape, -1)
        return replace(solution, coef=coef)


class SharedFeatureRegressorCV(FromFolds, GridFit, SharedFeatureRegressor):
    r"""`SharedFeatureRegressor` with strength, rank and penalty by cross-validation.

    Minimises over W (a row per task) and the intercepts b

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i (y_i - x_i \cdot w_t - b_t)^2
              + \alpha P(W)

    with the alpha, and of several penalties P and ranks those, whose models of the
    training parts predict the held-out rows best. The loss is a sum, not a mean.

    Parameters
    ----------
    n_components : int, sequence of int or None, default=None
        The rank for "rank", or the ranks to try. None: no limit but the numbers of
        features and tasks.
    alphas : int or array-like, default=100
        The strengths to try, in any order; or how many. Then they form a geometric grid
        for every penalty, from the strength at which W is zero down to a thousandth.
    penalty : {"rank", "nuclear", "l21", "dirty"} or sequence of these, default="rank"
        What the tasks share, as in `SharedFeatureRegressor`; of several, the best is
        chosen by the same folds.
    alpha_private : float, default=None
        "dirty" only: strength of the private part, greater than 0. None is
        alpha / n_tasks^(1/4), midway between alpha / sqrt(n_tasks), up to which the
        shared part vanishes, and alpha, from which the private part does.
    cv : None, int, splitter or iterable, default=None
        The folds. None means 5; an integer gives that many folds, each with its share
        of every task, ``TaskStratifiedKFold(cv, shuffle=True, random_state=0)``;
        splitters and (train, test) pairs refer to the rows as passed, and splitters get
        the ids as groups.
    scoring : str, callable or None, default=None
        The name of a scikit-learn scorer, or a callable ``scorer(estimator, X, y)``
        such as `TaskScorer`; larger is better. None: the mean squared error.
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
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        True or "free": one unpenalised intercept per task. "shrunk": adds
        alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error. (Within the folds it is always predicted.)
    solver : {"auto", "moments", "rows"}, default="auto"
        What the solver works on: the tasks' second moments (more rows than features),
        or the rows.
    tol : float, default=1e-8
        The duality gap at which to stop, relative to the objective of the best model
        without features (or to 100 times the objective, if that is smaller). With
        `n_components` below full rank the decrease that a Newton step still promises,
        which is weaker.
    max_iter : int, default=1000
        Most steps of the solver, for every strength.
    warm_start : bool, default=False
        Begin at the last fit's coefficients when all rows are fitted.
    verbose : int, default=0
        1 prints the objective and the certificate of each step of the final fit.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    penalty_ : str
        The chosen penalty.
    n_components_ : int or None
        The chosen rank; None without a limit, or where the penalty has none.
    variants_ : list of (str, int or None)
        Penalties and ranks that were tried.
    alphas_ : ndarray of shape (n_alphas,)
        The strengths for the chosen penalty, the largest first.
    best_index_ : int
        Position of `alpha_` in `alphas_`.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        With the chosen penalty and rank, the mean squared error of each fold: the plain
        mean over its observed labels, whatever their weights.
    mse_grid_ : ndarray of shape (n_variants, n_alphas, n_folds)
        The same for all of `variants_`.
    score_path_ : ndarray of shape (n_alphas, n_folds)
        Only with `scoring`: the scores, for the chosen penalty and rank.
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
    components_ : ndarray of shape (n_components, n_features)
        "rank" and "nuclear": the shared features W, largest first, balanced with Phi.
    task_components_ : ndarray of shape (n_tasks, n_components)
        "rank" and "nuclear": Phi, what each task makes of them; `coef_` = Phi W.
    rank_ : int
        Rank of the coefficients, singular values below 1e-6 of the largest not counted.
    selected_features_ : ndarray of shape (n_selected,), int
        Positions of the features with a coefficient that is not zero.
    shared_part_ : ndarray of the shape of `coef_`
        "dirty": S.
    private_part_ : ndarray of the shape of `coef_`
        "dirty": P.
    dual_gap_ : float
        Bound on the distance from the minimum, in units of the objective; not for
        "rank".
    shared_coef_ : ndarray of shape (n_features,)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`.
    shared_intercept_ : float
        Intercept for tasks that were not in `fit`.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate of the final fit, in the same units as `tol`.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    SharedFeatureRegressor : With given strength, rank and penalty.
    mtlearn.inspection.PathDisplay : Draws the path and the errors along it.

    Notes
    -----
    The results are those of ``GridSearchCV(SharedFeatureRegressor(...))`` on the same
    folds, scored by the mean squared error, to the accuracy of `tol`. A training part's
    moments are the sum of those of the other folds, and every strength starts from the
    solution of the next larger one. Below full rank, where there are local minima, that
    may end in another one.

    References
    ----------
    Obozinski, Taskar and Jordan, Joint covariate selection and joint subspace selection
    for multiple classification problems, Statistics and Computing 20, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedFeatureRegressorCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> Y = X[:, :2] @ rng.normal(size=(2, 5)) + rng.normal(size=(60, 5))
    >>> model = SharedFeatureRegressorCV(penalty=("l21", "nuclear")).fit(X, Y)
    >>> model.penalty_ in model.penalty, model.mse_path_.shape
    (True, (100, 5))
    """

    _own_rows = True

    def __init__(
        self,
        n_components=None,
        alphas=100,
        penalty="rank",
        *,
        alpha_private=None,
        cv=None,
        scoring=None,
        one_standard_error=False,
        n_jobs=None,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=1000,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.alphas = alphas
        self.penalty = penalty
        self.alpha_private = alpha_private
        self.cv = cv
        self.scoring = scoring
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

    # ------------------------------------------------------------ the grid

    def _check_parameters(self):
        GridFit._check_parameters(self)
        for variant in self._variants():
            self._base(variant, 1.0)._check_parameters()

    def _variants(self):
        """Pairs of a penalty and a number of components."""
        penalty, ranks = self.penalty, self.n_components
        names = list(penalty) if isinstance(penalty, (list, tuple)) else [penalty]
        ranks = list(ranks) if np.ndim(ranks) == 1 else [ranks]
        if not names or not ranks:
            empty = "n_components" if names else "penalty"
            raise ValueError(f"`{empty}` is empty: expected at least one to try.")
        return [(n, k) for n in names for k in (ranks if n == "rank" else [None])]

    def _base(self, variant, alpha):
        return self._of_base(
            SharedFeatureRegressor,
            penalty=variant[0],
            n_components=variant[1],
            alpha=alpha,
        )

    def _check_fit(self, fit):
        for variant in self._variants():
            self._base(variant, 1.0)._rank_limit(fit)

    def _keep_choice(self, variants, chosen):
        self.variants_ = variants
        self.penalty_, self.n_components_ = variants[chosen]

    def _turns(self):
        return not {"l21", "dirty"} & {name for name, _ in self._variants()}

    def _taking_part(self, labelled):
        return labelled, labelled

    def _by_moments(self, rows):
        # as `squared_loss` decides, for rows without a task's weights
        if self.solver != "auto":
            return self.solver == "moments"
        return moments_pay(rows, copies=8)

    def _largest(self, whole, variant):
        losses = [_loss(whole, 0.0)]
        if whole.intercept.shrunk:
            # of the intercepts between those two, none asks for more
            losses.append(_loss(replace(whole, intercept=SHARED), 0.0))
        penalty = self._base(variant, 1.0)._penalty(whole.n_known)
        return max(penalty.zero_strength(loss.target) for loss in losses) or 1.0

    # ------------------------------------------------------------ the paths

    def _paths(self, part, variants, grids):
        convex = {}
        for variant, alphas in zip(variants, grids):
            yield in_batches(self._follow(part, variant, alphas, convex), self.tol)

    def _follow(self, part, variant, alphas, convex):
        """Solutions along the strengths; `convex` keeps those of the nuclear norm."""
        positive = alphas[alphas > 0].tolist()
        how = {"tol": self.tol, "max_iter": self.max_iter}
        name, rank = variant
        if name in ("l21", "dirty"):
            penalties = self._penalties(variant, positive, part.n_known)
            yield from follow_features(_losses(part, positive), penalties, **how)
        else:
            key = tuple(positive)
            if key not in convex:
                convex[key] = follow_nuclear(_losses(part, positive), positive, **how)
            convex[key], nuclear = tee(convex[key])
            full = min(part.n_part, part.n_features)
            if name == "nuclear" or rank is None or rank >= full:
                yield from nuclear
            else:
                losses = _losses(part, positive)
                yield from follow_low_rank(losses, positive, rank, nuclear, **how)
        for _ in alphas[alphas == 0]:
            model = self._base(variant, 0.0)
            model.tasks_ = part.tasks
            form = model._relation().form(part.part_ids)
            yield model._solution(replace(part, form=form), None)

    def _penalties(self, variant, alphas, n_tasks):
        model = self._base(variant, 1.0)
        for alpha in alphas:
            model.alpha = alpha
            yield model._penalty(n_tasks)

    def _solve_whole(self, model, fit, whole, space, start):
        if whole.moments is None or model.alpha == 0:
            return super()._solve_whole(model, fit, whole, space, start)
        if start is not None:
            start = space.start(start)
        elif self.coef_path_ is not None and model.penalty != "rank":
            # the minimum is the only one, and the path has been there
            start = space.there(self.coef_path_[self.best_index_][whole.part]), None
        solution = model._minimise(_loss(whole, model.alpha), start)
        return replace(solution, coef=space.back(solution.coef))


def _losses(part, alphas):
    """The loss for every strength: the same, but for shrunken intercepts."""
    loss = None
    for alpha in alphas:
        if loss is None or part.intercept.shrunk:
            loss = _loss(part, alpha)
        yield loss


def _loss(part, shrinkage):
    if part.moments is not None:
        return MomentLoss(part.moments, part.intercept, shrinkage)
    return RowLoss(part.data, Squared(), part.intercept, shrinkage)
