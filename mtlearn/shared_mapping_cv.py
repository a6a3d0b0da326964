"""Shared mappings whose strength and layers are chosen by cross-validation."""

from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import check_random_state

from .fitting.class_grid import ClassGrid
from .fitting.grid import Batch, GridFit
from .fitting.judge import Given, Judge
from .problem.solution import Solution, Status, reached
from .problem.tasks import some_rows
from .shared_mapping import (
    SharedMappingClassifier,
    SharedMappingRegressor,
    check_layers,
)
from .solvers.mapping.strength import along, solve_in_units, unit_strength

_STRONGEST, _WEAKEST = 100.0, 0.01  # of a default grid, in units of the labels
_TOL = 1e-3  # of solutions that are only compared, at least
# what a model needs to predict, beside its weights
_KNOWN = ("tasks_", "n_features_in_", "feature_names_in_", "_layout", "_n_columns")
_LEAST = float(np.finfo(float).eps)  # probability below which none is counted


class MappingGrid(GridFit):
    """Choice of strength and layers; goes before the base estimator."""

    early_stopping, shared = False, "hidden"
    _span = _WEAKEST / _STRONGEST

    def __init__(
        self,
        hidden_layer_sizes=(64,),
        activation="tanh",
        alphas=9,
        *,
        cv=None,
        scoring=None,
        one_standard_error=False,
        n_jobs=None,
        n_init=1,
        task_column=None,
        task_weight=None,
        fit_intercept=True,
        intercept_strength=1.0,
        handle_unknown="shared",
        solver="auto",
        tol=1e-5,
        max_iter=3000,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.n_jobs = n_jobs
        self.n_init = n_init
        self.task_column = task_column
        self.task_weight = task_weight
        self.fit_intercept = fit_intercept
        self.intercept_strength = intercept_strength
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self):
        GridFit._check_parameters(self)
        self._check_network()

    def _variants(self):
        """The layers to try, each a tuple of sizes."""
        given = self.hidden_layer_sizes
        several = isinstance(given, (tuple, list)) and any(
            isinstance(one, (tuple, list, np.ndarray)) for one in given
        )
        return [check_layers(one) for one in (given if several else [given])]

    def _layers(self):
        # the chosen ones, as soon as there are
        chosen = getattr(self, "hidden_layer_sizes_", None)
        return self._variants()[0] if chosen is None else chosen

    def _strength(self, problem, seed, options):
        return self.alpha_, solve_in_units

    def _largest(self, whole, variant):
        unit = unit_strength(whole.data, self._own_classes(whole))
        # digits that no order of summation changes
        return _STRONGEST * float(f"{unit:.3g}")

    def _taking_part(self, labelled):
        return labelled, labelled

    def _search(self, X, y, sample_weight, task, warm_model):
        """Choose strength and layers and keep the model of all rows."""
        fit, rows = self._prepare(X, y, sample_weight, task)
        # 1) the folds, 2) the grid, 3) every fold along it
        given = Given(self, X, y, sample_weight, task)
        folds = given.folds(self.cv, rows, partial(self._dealt, rows, fit.labels))
        self._seed = check_random_state(self.random_state).randint(2**31 - 1)
        table = self._table(self._lowered(fit, rows)[0])
        parts = partial(self._fold_parts, rows, folds, None, fit.labels)
        results = self._fill(table, parts, _Judge(self, given, None, 0.0))
        # 4) the choice, 5) the model of all rows
        _, chosen = self._choose(table, results)
        self.hidden_layer_sizes_ = table.variants[chosen]
        solution = self._solution(fit, warm_model(fit))
        self._keep(fit, solution)
        return solution

    def _tested(self, rows, index, moments):
        return some_rows(rows, index)

    def _paths(self, part, variants, grids):
        """Yield for each variant its models, each a batch of its own."""
        part = part.tied(self._relation())
        level = self._level_of(part)
        lowered = part.lowered(level) if level is not None else part
        tol = max(self.tol, _TOL)
        options = {"intercept": part.intercept, "max_iter": self.max_iter, "tol": tol}
        options |= {"solver": self.solver, "n_init": self.n_init, "seed": self._seed}
        for hidden, alphas in zip(variants, grids, strict=True):
            problem = lowered.data, self._own_classes(part), hidden, self.activation
            path = along(*problem, alphas, **options)
            yield (_alone(solution, level, tol) for solution in path)

    def _fitted(self, part, point, coef, intercept):
        hidden, alpha = point
        chosen = {"hidden_layer_sizes": hidden, "alpha": float(alpha)}
        model = self._of_base(self._single, **chosen, handle_unknown="shared")
        for name in _KNOWN:
            if hasattr(self, name):
                setattr(model, name, getattr(self, name))
        model.alpha_ = model.alpha
        found = Solution(coef, intercept, 0.0, 0.0, 1, Status.CONVERGED)
        model._keep(part.tied(self._relation()), found)
        return model

    def _errors(self, fold, part, point, batch):
        test = fold.test
        model = self._fitted(part, point, batch.coef[0], batch.intercept[0])
        if not len(test.rows):
            return np.array([np.nan])
        z = model._evaluate(test.X, test.codes)
        z = z[test.rows, test.task_of] if test.wide and z.ndim > 1 else z[test.rows]
        return np.array([self._losses(model, z, test).mean()])


def _alone(solution, level, tol):
    """A batch of one model, of labels from which a level was taken."""
    *b, heads = solution.intercept
    heads = heads if level is None else heads + level
    return Batch([solution.coef], [[*b, heads]], int(not reached(solution, tol)))


class _Judge(Judge):
    """The scorer, for models that are fitted to the rows as they are."""

    def score(self, model, index):
        """Score of a model on some rows."""
        return self.score_as_it_is(model, index)


class SharedMappingRegressorCV(MappingGrid, SharedMappingRegressor):
    r"""`SharedMappingRegressor` with strength and layers chosen by cross-validation.

    Minimises over shared layers h and a linear head (v_t, b_t) for every task

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i
              (y_i - v_t \cdot h(x_i) - b_t)^2
              + \frac{\alpha}{2} (\text{sum of all squared weights})

    with the biases of the layers and heads free of penalty, and with the alpha, and of
    several `hidden_layer_sizes` those, whose models of the training parts predict
    the held-out rows best. The loss is a sum, not a mean. The problem is not
    convex: another `random_state` ends elsewhere, and `n_init` looks at several starts.

    Parameters
    ----------
    hidden_layer_sizes : int, tuple of int or list of tuples, default=(64,)
        Number of units of every shared layer, at least one layer; or several of these
        to choose from, such as ``[(8,), (32,), (32, 16)]``.
    activation : {"tanh", "relu", "logistic", "softplus", "identity"}, default="tanh"
        Of the shared layers. "softplus" is a relu without the kink.
    alphas : int or array-like, default=9
        The strengths to try, in any order; or how many. Then they form a geometric grid
        of four decades, down from a hundred times the variance of the labels.
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
    n_init : int, default=1
        Number of random starts. All run for a few iterations (on a part of the rows if
        there are many), and the best one continues to convergence.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows (of the training
        part), so that all tasks have the same total weight; a dict by id (1 for absent
        ids); an array in the order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        Biases of the heads. True or "free": one per task, unpenalised. "shrunk": adds
        alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks. False: none; the
        shared layers keep theirs.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        A task that `fit` never saw gets the mean of the tasks' heads, or is refused.
        (Within the folds it is always predicted.)
    solver : {"auto", "projection", "lbfgs", "adam"}, default="auto"
        "projection" eliminates the heads exactly at every step, "lbfgs" moves them with
        the shared weights. "auto" eliminates them unless many tasks with missing labels
        make that dear. "adam" begins with 30 passes over the rows in random batches,
        for data on which a pass over all rows is expensive.
    tol : float, default=1e-5
        When to stop: two steps in a row have lowered the objective by less than this,
        and promised no more; relative to the objective of the best model without
        features (or to a hundred times the objective itself, if that is smaller).
    max_iter : int, default=3000
        Maximum number of quasi-Newton steps, including those on parts of the rows and
        the passes over random batches.
    warm_start : bool, default=False
        Begin at the last fit's weights when all rows are fitted.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of the parts of the rows and of the held-out rows.
    verbose : int, default=0
        1 prints the objective and the certificate of each step of the final fit.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    hidden_layer_sizes_ : tuple of int
        The chosen layers.
    alphas_ : ndarray of shape (n_alphas,)
        The strengths in decreasing order.
    best_index_ : int
        Position of `alpha_` in `alphas_`.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        With the chosen layers, the mean squared error of each fold: the plain mean over
        its observed labels, whatever their weights.
    mse_grid_ : ndarray of shape (n_layers, n_alphas, n_folds)
        The same for all candidates of `hidden_layer_sizes`.
    score_path_ : ndarray of shape (n_alphas, n_folds)
        Only with `scoring`: the scores, for the chosen layers.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of the layers, as in scikit-learn's MLP; the last are all heads side by
        side in the order of `tasks_`.
    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of the layers.
    loss_ : float
        The objective at the end.
    loss_curve_ : ndarray of shape (n_steps,)
        The objective after every step on all rows.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate, in the units of `tol`: the decrease that the last step
        promised. With "relu", which has kinks, that of a step of the heads alone.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    SharedMappingRegressor : With given strength, or one found on held-out rows.
    PerTaskRegressorCV : The same for linear tasks.

    Notes
    -----
    In every fold the strengths are followed from strong to weak, each from where the
    last one ended and a tenth of a fresh draw (shrink and perturb), so that units which
    a strong penalty put to sleep wake up. Folds are fitted to a `tol` of 1e-3 at least:
    enough to tell strengths apart. The model of all rows begins at random.

    References
    ----------
    Ash, J. and Adams, R., On warm-starting neural network training, NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedMappingRegressorCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(120, 2))
    >>> bumps = np.column_stack([np.sin(2 * X[:, 0]), np.cos(2 * X[:, 1])])
    >>> Y = bumps @ np.array([[1.0, -1.0, 2.0], [0.5, 1.0, 0.0]])
    >>> model = SharedMappingRegressorCV((20,), alphas=4, random_state=0).fit(X, Y)
    >>> bool(model.alpha_ == model.alphas_[-1]), model.mse_path_.shape
    (True, (4, 5))
    """

    _single = SharedMappingRegressor

    def _level_of(self, part):
        level = self._common_level(part)
        return level if level.any() else None

    def _losses(self, model, z, test):
        return (z - test.labels) ** 2


class SharedMappingClassifierCV(ClassGrid, MappingGrid, SharedMappingClassifier):
    r"""`SharedMappingClassifier` with strength and layers chosen by cross-validation.

    Minimises over shared layers h and a linear head (v_t, b_t) for every task, with
    labels -1 and +1,

    .. math:: \sum_t \lambda_t \sum_{i \in t} s_i
              \log(1 + \exp(-y_i (v_t \cdot h(x_i) + b_t)))
              + \frac{\alpha}{2} (\text{sum of all squared weights})

    with the biases of the layers and heads free of penalty, and with the alpha, and of
    several `hidden_layer_sizes` those, whose models of the training parts give held-out
    labels the highest probabilities. The loss is a sum, not a mean. The problem is not
    convex: another `random_state` ends elsewhere, and `n_init` looks at several starts.

    Parameters
    ----------
    hidden_layer_sizes : int, tuple of int or list of tuples, default=(64,)
        Number of units of every shared layer, at least one layer; or several of these
        to choose from, such as ``[(8,), (32,), (32, 16)]``.
    activation : {"tanh", "relu", "logistic", "softplus", "identity"}, default="tanh"
        Of the shared layers. "softplus" is a relu without the kink.
    alphas : int or array-like, default=9
        The strengths to try, in any order; or how many. Then they form a geometric grid
        of four decades, down from 100.
    cv : None, int, splitter or iterable, default=None
        The folds. None means 5; an integer gives that many folds, each with its share
        of every task, and, where rows belong to tasks, of the classes within it;
        splitters and (train, test) pairs refer to the rows as passed, and splitters get
        the ids as groups.
    scoring : str, callable or None, default=None
        The name of a scikit-learn scorer, or a callable ``scorer(estimator, X, y)``
        such as `TaskScorer`; larger is better. None: the log-loss.
    one_standard_error : bool or "paired", default=False
        Take the largest alpha that is at most one standard error (over the folds) worse
        than the best. True: the standard error of the best one's own score. "paired":
        that of the difference between the two, fold by fold. It is smaller, because a
        difficult fold is difficult for both.
    n_jobs : int, default=None
        Number of folds processed in parallel.
    n_init : int, default=1
        Number of random starts. All run for a few iterations (on a part of the rows if
        there are many), and the best one continues to convergence.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows (of the training
        part), so that all tasks have the same total weight; a dict by id (1 for absent
        ids); an array in the order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        Biases of the heads. True or "free": one per task (and class), unpenalised.
        "shrunk": adds alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks.
        False: none; the shared layers keep theirs.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        A task that `fit` never saw gets the mean of the tasks' heads, or is refused.
        (Within the folds it is always predicted.)
    solver : {"auto", "lbfgs", "adam"}, default="auto"
        "auto" and "lbfgs" are the same, quasi-Newton steps of all weights; "adam"
        begins with 30 passes over the rows in random batches, for data on which a pass
        over all rows is expensive.
    tol : float, default=1e-5
        When to stop: two steps in a row have lowered the objective by less than this,
        and promised no more; relative to the objective of the best model without
        features (or to a hundred times the objective itself, if that is smaller).
    max_iter : int, default=3000
        Maximum number of quasi-Newton steps, including those on parts of the rows and
        the passes over random batches.
    warm_start : bool, default=False
        Begin at the last fit's weights when all rows are fitted.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of the parts of the rows and of the held-out rows.
    verbose : int, default=0
        1 prints the objective and the certificate of each step of the final fit.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    hidden_layer_sizes_ : tuple of int
        The chosen layers.
    alphas_ : ndarray of shape (n_alphas,)
        The strengths in decreasing order.
    best_index_ : int
        Position of `alpha_` in `alphas_`.
    log_loss_path_ : ndarray of shape (n_alphas, n_folds)
        With the chosen layers, the log-loss of each fold: the plain mean over its
        observed labels, whatever their weights. NaN for a fold without labels, or
        with a single class to learn from.
    log_loss_grid_ : ndarray of shape (n_layers, n_alphas, n_folds)
        The same for all candidates of `hidden_layer_sizes`.
    score_path_ : ndarray of shape (n_alphas, n_folds)
        Only with `scoring`: the scores, for the chosen layers.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    classes_ : ndarray or list of ndarray
        The union of the labels over all tasks; with a two-dimensional `y`
        ``arange(n_tasks)`` if all tasks share two labels, else a list with each task's.
    task_classes_ : list of ndarray
        The labels that occur in each task.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of the layers, as in scikit-learn's MLP; the last are all heads side by
        side in the order of `tasks_`, one column for two classes (the score of the
        second), one per class for more.
    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of the layers.
    loss_ : float
        The objective at the end.
    loss_curve_ : ndarray of shape (n_steps,)
        The objective after every step on all rows.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate, in the units of `tol`: the decrease that the last step
        promised. With "relu", which has kinks, that of a step of the heads alone.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    SharedMappingClassifier : With given strength, or one found on held-out rows.
    PerTaskClassifierCV : The same for linear tasks.

    Notes
    -----
    In every fold the strengths are followed from strong to weak, each from where the
    last one ended and a tenth of a fresh draw (shrink and perturb), so that units which
    a strong penalty put to sleep wake up. Folds are fitted to a `tol` of 1e-3 at least:
    enough to tell strengths apart. The model of all rows begins at random. A label
    to which a model gives no probability at all, such as a class that the task did not
    have in the training part, counts as one of 2e-16.

    References
    ----------
    Ash, J. and Adams, R., On warm-starting neural network training, NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedMappingClassifierCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(200, 2))
    >>> inside = X[:, 0] ** 2 + X[:, 1] ** 2 < 0.5
    >>> Y = np.column_stack([inside, inside & (X[:, 0] > 0)]).astype(int)
    >>> model = SharedMappingClassifierCV((16,), alphas=4, random_state=0).fit(X, Y)
    >>> model.score(X, Y) > 0.95, model.log_loss_path_.shape
    (True, (4, 5))
    """

    _single = SharedMappingClassifier
    # strengths are those of the penalty
    _strengths_name, _strength_name, _strict = "alphas", "alpha", False
    _strengths, _tested = MappingGrid._strengths, MappingGrid._tested
    _errors, _fitted = MappingGrid._errors, MappingGrid._fitted

    def _level_of(self, part):
        return None

    def _losses(self, model, z, test):
        labels = test.labels.astype(np.intp)
        if z.ndim == 1:
            loss = np.logaddexp(0.0, np.where(labels > 0, -z, z))
        else:
            z = np.where(model._own[test.task_of], z, -np.inf)
            loss = -log_softmax(z, axis=1)[np.arange(len(labels)), labels]
        return np.minimum(loss, -np.log(_LEAST))
