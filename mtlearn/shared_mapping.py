"""Shared mapping: hidden layers or an output layer that all tasks share."""

import numbers
from dataclasses import replace

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .fitting import checks
from .fitting.base import TaskEstimator, TaskRegressor
from .fitting.classifiers import LogisticClassifier
from .fitting.shared_model import mean_where, present_classes
from .model_selection import TaskShuffleSplit
from .problem.intercepts import SHARED
from .problem.tasks import some_rows
from .relations import Independent
from .solvers.mapping.heads import head_sizes
from .solvers.mapping.layers import ACTIVATIONS, represent
from .solvers.mapping.own_layers import own_scores, own_units
from .solvers.mapping.solve import Stop, solve_mapping
from .solvers.mapping.strength import choose_strength, solve_in_units


class SharedMappingEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, TaskEstimator
):
    """What both estimators share: layers, heads, restarts, the representation."""

    def __init__(
        self,
        hidden_layer_sizes=(64,),
        activation="tanh",
        alpha="auto",
        *,
        shared="hidden",
        n_init=1,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
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
        self.alpha = alpha
        self.shared = shared
        self.n_init = n_init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
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

    def _relation(self):
        return Independent()

    def _check_parameters(self):
        self._check_strengths()
        self._check_network()
        if self.early_stopping not in (False, True):
            raise TypeError(
                f"`early_stopping` must be a bool, got {self.early_stopping!r}."
            )
        fraction = self.validation_fraction
        checks.check_number("validation_fraction", fraction, 0, strict=True)
        if fraction >= 1:
            raise ValueError(
                "`validation_fraction` must be a share of the rows, greater than 0 and "
                f"less than 1, got {fraction!r}."
            )
        checks.check_number("n_iter_no_change", self.n_iter_no_change, 1, whole=True)

    def _check_network(self):
        checks.check_choice("activation", self.activation, ACTIVATIONS)
        checks.check_choice("solver", self.solver, self._solvers)
        checks.check_choice("shared", self.shared, ("hidden", "output"))
        checks.check_number("n_init", self.n_init, 1, whole=True)
        if len(self._layers()) > 1 and self.shared == "output":
            raise ValueError(
                "`hidden_layer_sizes` must be a single layer with shared='output', got "
                f"{self.hidden_layer_sizes!r}."
            )

    def _layers(self):
        """Sizes of the shared layers."""
        return check_layers(self.hidden_layer_sizes)

    def _check_strengths(self):
        if not isinstance(self.alpha, str):
            checks.check_strength("alpha", self.alpha)
        elif self.alpha != "auto":
            raise TypeError(f"`alpha` must be a number or 'auto', got {self.alpha!r}.")

    def _own_classes(self, fit):
        """Classes that each task's head tells apart; None for numbers."""
        return None

    def _solved(self, fit, start):
        state = check_random_state(self.random_state)
        seed = state.randint(np.iinfo(np.int32).max)
        data, stop = fit.data, None
        if self.early_stopping:
            data, held = self._hold_out(data, seed)
            stop = Stop(held, self.n_iter_no_change)
        problem = (
            data,
            self._own_classes(fit),
            self._layers(),
            self.activation,
        )
        options = {
            "intercept": fit.intercept,
            "max_iter": self.max_iter,
            "solver": self.solver,
            "shared": self.shared,
        }
        self.alpha_, solve = self._strength(problem, seed, options)
        return solve(
            *problem,
            self.alpha_,
            tol=self.tol,
            rng=np.random.default_rng(seed),
            n_init=self.n_init,
            start=start,
            stop=stop,
            **options,
        )

    def _strength(self, problem, seed, options):
        """The strength of the penalty, and what solves for it."""
        if not isinstance(self.alpha, str):
            return float(self.alpha), solve_mapping
        return choose_strength(*problem, seed=seed, **options), solve_in_units

    def _hold_out(self, data, seed):
        """Rows to learn from, some of every task, and rows to stop by."""
        split = ShuffleSplit if data.wide else TaskShuffleSplit
        split = split(1, test_size=self.validation_fraction, random_state=seed)
        none = "`early_stopping` finds no rows to hold out"
        try:
            learnt, held = next(split.split(data.y, groups=data.codes))
        except ValueError as error:
            raise ValueError(f"{none}: {error}") from error
        if data.wide:
            bare = ~data.observed[learnt].any(axis=0)
            back = data.observed[held][:, bare].any(axis=1)
            learnt, held = np.append(learnt, held[back]), held[~back]
            if not data.observed[held].any():
                raise ValueError(f"{none}: tasks would be left without labels.")
        return [some_rows(data, part) for part in (learnt, held)]

    def _warm_model(self, fit):
        if not self.warm_start or not hasattr(self, "coefs_"):
            return None
        same = np.array_equal(self.tasks_, fit.tasks)
        sizes = (fit.data.n_features, *self._layers())
        own = self._own_classes(fit)
        same = same and sizes == tuple(W.shape[-2] for W in self.coefs_)
        same = same and self._shares_output == (self.shared == "output")
        same = same and np.array_equal(self._trained[0], fit.part)
        if not same or not np.array_equal(self._trained[1], own):
            return None
        return self._trained[2]

    @property
    def _shares_output(self):
        """Whether the fitted layers are the tasks' own."""
        return self.coefs_[0].ndim == 3

    # ------------------------------------------------------------ keep

    def _keep(self, fit, solution):
        """Store the layers; a task without labels gets the mean of what others own."""
        found = solution.coef, solution.intercept
        self._trained = fit.part, self._own_classes(fit), found
        keep = self._keep_layers if self.shared == "output" else self._keep_heads
        keep(fit, solution)
        self.loss_ = solution.objective
        self.loss_curve_ = np.array([value for value, _ in solution.history])
        self.n_iter_, self.optimality_ = solution.n_iter, solution.certificate
        if self.early_stopping:
            self.validation_curve_ = solution.dual

    def _keep_layers(self, fit, solution):
        (V, U), (c, b) = solution.coef, solution.intercept
        self.coefs_ = [fit.fill(V, V.mean(axis=0)), U]
        self.intercepts_ = [fit.fill(c, c.mean(axis=0)), b]

    def _keep_heads(self, fit, solution):
        own, n_tasks = self._own_classes(fit), fit.data.n_tasks
        V, b = solution.coef[-1].T, solution.intercept[-1]
        free = fit.intercept.own
        models, levels, present = _by_label(V, b, own, n_tasks, free)
        present = present & self._determined(fit)
        shared = mean_where(models, present, models.mean(axis=0))
        level = mean_where(levels, present, self._featureless(fit))
        shape = len(fit.part) + 1, *shared.shape
        self._heads = np.broadcast_to(shared, shape).copy()
        self._levels = np.broadcast_to(level, shape[:-1]).copy()
        self._heads[:-1][fit.part], self._levels[:-1][fit.part] = models, levels
        sides = _side_by_side(self._heads[:-1], self._levels[:-1], fit.part, own)
        self.coefs_ = [*solution.coef[:-1], sides[0]]
        self.intercepts_ = [*solution.intercept[:-1], sides[1]]

    @property
    def _n_features_out(self):
        return self.coefs_[-1].shape[0]

    # ------------------------------------------------------------ predict

    def _represent(self, X):
        return represent(self.coefs_[:-1], self.intercepts_[:-1], self.activation, X)

    def _evaluate(self, X, codes):
        if not self._shares_output:
            return super()._evaluate(X, codes)
        if codes is None and self._layout == "single":
            codes = np.zeros(X.shape[0], dtype=np.int64)
        V, c = self._input_layers()
        if codes is None:
            V, c = V[:-1], c[:-1]
        weights, biases = [V, self.coefs_[1]], [c, self.intercepts_[1]]
        return own_scores(weights, biases, self.activation, X, codes)

    def _input_layers(self):
        """Weights and biases of the tasks' layers, the mean for unknown ones last."""
        every = self.coefs_[0], self.intercepts_[0]
        part = self._trained[0]
        return [np.concatenate([A, A[part].mean(axis=0)[None]]) for A in every]

    def _models(self):
        return self._heads, self._levels

    def transform(self, X):
        """Return the outputs of the last hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`. With ``shared="hidden"`` the task of a row does not matter, and
            a column of ids is dropped. With ``shared="output"`` units are those of the
            task that the column names; several tasks without such a column are refused.

        Returns
        -------
        H : ndarray of shape (n_samples, n_hidden)
            Their columns are as many as the last of `hidden_layer_sizes`.
        """
        check_is_fitted(self)
        X, ids = checks.check_features(self, X, None, reset=False)
        if self._shares_output and ids is None and len(self.tasks_) > 1:
            raise ValueError(
                "`transform` with shared='output' needs the task of every row, whose "
                "units are its own, in a column of X: name it in `task_column`."
            )
        codes = None if ids is None else self._codes(ids, X.shape[0])
        if not self._shares_output:
            return self._represent(X)
        codes = np.zeros(X.shape[0], dtype=np.int64) if codes is None else codes
        return own_units(*self._input_layers(), self.activation, X, codes)


def check_layers(sizes):
    """The sizes as a tuple."""
    several = isinstance(sizes, (tuple, list, np.ndarray))
    values = list(sizes) if several else [sizes]
    if not values or not all(
        isinstance(v, numbers.Integral) and not isinstance(v, bool) and v > 0
        for v in values
    ):
        raise ValueError(
            "`hidden_layer_sizes` must be a sequence of at least one integer greater "
            f"than 0, got {sizes!r}."
        )
    return tuple(int(v) for v in values)


def _by_label(V, b, own, n_tasks, free):
    """Heads as one linear score per task, or per task and label.

    A softmax leaves the level of its scores open; where intercepts are `free` of each
    other it is made zero, so that means over tasks mean something.

    Returns
    -------
    models : ndarray of shape (n_tasks, h) or (n_tasks, n_labels, h)
    levels : ndarray of the same shape without the last axis
    present : ndarray of bool, of the shape of `levels`
        Scores that a head has.
    """
    if own is None or own.shape[1] == 2:
        return V, b, np.ones(n_tasks, dtype=bool)
    sizes = head_sizes(own, n_tasks)[0]
    models, levels = np.zeros((*own.shape, V.shape[1])), np.zeros(own.shape)
    for t, first in enumerate(np.cumsum(sizes) - sizes):
        labels = np.flatnonzero(own[t])
        if len(labels) > 2:
            part = slice(first, first + len(labels))
            level = b[part].mean() if free else 0.0
            models[t, labels], levels[t, labels] = V[part], b[part] - level
        elif len(labels) == 2:
            # one logistic score is the difference of two
            for label, share in zip(labels, (-0.5, 0.5)):
                models[t, label], levels[t, label] = share * V[first], share * b[first]
    return models, levels, own & (own.sum(axis=1, keepdims=True) > 1)


def _side_by_side(models, levels, part, own):
    """All heads as columns (h, n_columns) and their intercepts (n_columns,)."""
    if models.ndim == 2:
        return models.T.copy(), levels.copy()
    every = np.ones((len(part), own.shape[1]), dtype=bool)
    every[part] = own
    columns, places = [], []
    for t, row in enumerate(every):
        labels = np.flatnonzero(row)
        if len(labels) == 2:
            columns.append(models[t, labels[1]] - models[t, labels[0]])
            places.append(levels[t, labels[1]] - levels[t, labels[0]])
        else:
            columns.extend(models[t, labels])
            places.extend(levels[t, labels])
    return np.array(columns).T.copy(), np.array(places)


class SharedMappingRegressor(TaskRegressor, SharedMappingEstimator):
    r"""Nonlinear regression of many tasks through layers that they share.

    Minimises over shared layers h and a linear head (v_t, b_t) for every task

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i
              (y_i - v_t \cdot h(x_i) - b_t)^2
              + \frac{\alpha}{2} (\text{sum of all squared weights})

    with the biases of the layers and heads free of penalty. The loss is a sum, not a
    mean: with more rows the same `alpha` shrinks less. For tasks that are nonlinear in
    the features and need the same few combinations of them; a head is a few numbers, so
    there may be thousands of tasks. The problem is not convex: another `random_state`
    ends elsewhere, and `n_init` looks at several starts.

    With ``shared="output"``, the mirror image, every task sees the features through an
    input layer of its own, below one output layer for all:

    .. math:: \frac12 \sum_t \lambda_t \sum_{i \in t} s_i
              (y_i - u \cdot \sigma(V_t x_i + c_t) - b)^2
              + \frac{\alpha}{2} \Bigl(\|u\|^2
              + \min_M \|M\|^2 + \sum_t \|V_t - M\|^2\Bigr)

    with the biases c_t and b free. For tasks in which one law holds of features that
    each of them measures in another way. At its best M is the sum of the V_t over
    n_tasks + 1; many that are all alike pay about what a single layer does.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default=(64,)
        Number of units of every hidden layer, at least one layer; with a shared output
        exactly one.
    activation : {"tanh", "relu", "logistic", "softplus", "identity"}, default="tanh"
        Of the hidden layers. "softplus" is a relu without the kink.
    alpha : float or "auto", default="auto"
        Strength of the penalty, at least 0. It depends on the units of the features:
        scale them (StandardScaler). "auto": of strengths half a decade apart the one of
        least loss on a quarter of the rows (of 2,000 at most) that the others are to
        predict; what is then minimised is the objective at that strength.
    shared : {"hidden", "output"}, default="hidden"
        What the tasks have in common. "output": every task has an input layer of its
        own, shrunk towards their mean, and one output layer serves all.
    n_init : int, default=1
        Number of random starts. All run for a few iterations (on a part of the rows if
        there are many), and the best one continues to convergence.
    early_stopping : bool, default=False
        Hold out some rows of every task, stop when their loss no longer falls, and keep
        the weights of where it was smallest.
    validation_fraction : float, default=0.1
        Share of the rows that `early_stopping` holds out.
    n_iter_no_change : int, default=10
        Iterations without a smaller held-out loss after which `early_stopping` stops.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that all tasks
        have the same total weight; a dict by id (1 for absent ids); an array in the
        order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        Biases of the heads. True or "free": one per task, unpenalised. "shrunk": adds
        alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks. False: none; the
        shared layers keep theirs. With a shared output all of this is said of
        the biases of the tasks' input layers.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        A task that `fit` never saw gets the mean of the tasks' heads (with a shared
        output of their input layers), or is refused.
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
        Begin at the last fit's weights.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of the parts of the rows and of the held-out rows.
    verbose : int, default=0
        1 prints the objective and the certificate of each step.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of the layers, as in scikit-learn's MLP; the last are all heads side by
        side in the order of `tasks_`. With a shared output two: the input layers
        (n_tasks, n_features, n_units), and the output layer (n_units, 1).
    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of the layers; of input layers (n_tasks, n_units).
    alpha_ : float
        The strength of the penalty, given or chosen.
    loss_ : float
        The objective at the end; with `early_stopping` that of the rows that were
        learnt from.
    loss_curve_ : ndarray of shape (n_steps,)
        The objective after every step on all rows.
    validation_curve_ : ndarray of shape (n_steps,)
        Only with `early_stopping`: mean loss of the held-out labels.
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
    SharedFeatureRegressor : Tasks that share linear features.
    sklearn.neural_network.MLPRegressor : Complete labels, one penalty per mean loss.

    Notes
    -----
    With the heads at their best for the shared layers, the objective is a function of
    the shared weights alone (variable projection), and its gradient that of the whole
    at those heads; limited-memory quasi-Newton steps need no learning rate. From 1,000
    rows on most steps are in single precision, the last ones in double precision. From
    8,192 on 15 passes over random batches of the rows come first: natural gradient
    steps in Kronecker factors of the Gauss-Newton matrix, whose length follows from the
    noise of the batches. (With `early_stopping` or a warm start it is a growing share
    of the rows instead, without batches.) The end is a point at which a step promises
    next to nothing: a stationary point, not a bound on the distance from the minimum.
    The strengths that "auto" tries are followed from strong to weak until two in a row
    (with a shared output four) are no better. Features are centred, scaled and turned
    inside, which changes nothing of the objective.

    References
    ----------
    Golub, G. and Pereyra, V., The differentiation of pseudo-inverses and nonlinear
    least squares problems whose variables separate, SIAM Journal on Numerical Analysis
    10, 1973.

    Caruana, R., Multitask learning, Machine Learning 28, 1997.

    Liu, D. and Nocedal, J., On the limited memory BFGS method for large scale
    optimization, Mathematical Programming 45, 1989.

    Martens, J. and Grosse, R., Optimizing neural networks with Kronecker-factored
    approximate curvature, ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedMappingRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(200, 2))
    >>> bumps = np.column_stack([np.sin(2 * X[:, 0]), np.cos(2 * X[:, 1])])
    >>> Y = bumps @ np.array([[1.0, -1.0, 2.0], [0.5, 1.0, 0.0]])
    >>> Y[::3, 1] = np.nan
    >>> model = SharedMappingRegressor((20,), alpha=0.01, random_state=0).fit(X, Y)
    >>> model.score(X, Y) > 0.99, model.coefs_[-1].shape
    (True, (20, 3))
    """

    _solvers = ("auto", "projection", "lbfgs", "adam")

    def _best_levels(self, fit):
        if self.shared == "output":
            return replace(fit, intercept=SHARED).levels()
        return super()._best_levels(fit)

    def _raised(self, intercept, fit, level):
        level = level[0] if self.shared == "output" else level
        return [*intercept[:-1], intercept[-1] + level]


class SharedMappingClassifier(LogisticClassifier, SharedMappingEstimator):
    r"""Nonlinear classification of many tasks through layers that they share.

    Minimises over shared layers h and a linear head (v_t, b_t) for every task, with
    labels -1 and +1,

    .. math:: \sum_t \lambda_t \sum_{i \in t} s_i
              \log(1 + \exp(-y_i (v_t \cdot h(x_i) + b_t)))
              + \frac{\alpha}{2} (\text{sum of all squared weights})

    with the biases of the layers and heads free of penalty. A task with more than two
    classes has a softmax over its own classes, one column of its head for each. The
    loss is a sum, not a mean. The problem is not convex: another `random_state` ends
    elsewhere, and `n_init` looks at several starts.

    With ``shared="output"``, the mirror image, every task sees the features through an
    input layer of its own, below one output layer for all: scores are u . sigma(V_t x +
    c_t) + b, a softmax over the classes of all tasks where there are more than two, and
    the penalty is

    .. math:: \frac{\alpha}{2} \Bigl(\|u\|^2
              + \min_M \|M\|^2 + \sum_t \|V_t - M\|^2\Bigr)

    with the biases c_t and b free; M at its best is the sum of V_t over n_tasks + 1.
    For tasks in which one rule holds of features that each of them measures in another
    way.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default=(64,)
        Number of units of every hidden layer, at least one layer; with a shared output
        exactly one.
    activation : {"tanh", "relu", "logistic", "softplus", "identity"}, default="tanh"
        Of the hidden layers. "softplus" is a relu without the kink.
    alpha : float or "auto", default="auto"
        Strength of the penalty, at least 0. It depends on the units of the features:
        scale them (StandardScaler). "auto": of strengths half a decade apart the one of
        least loss on a quarter of the rows (of 2,000 at most) that the others are to
        predict; what is then minimised is the objective at that strength.
    shared : {"hidden", "output"}, default="hidden"
        What the tasks have in common. "output": every task has an input layer of its
        own, shrunk towards their mean, and one output layer serves all.
    n_init : int, default=1
        Number of random starts. All run for a few iterations (on a part of the rows if
        there are many), and the best one continues to convergence.
    early_stopping : bool, default=False
        Hold out some rows of every task, stop when their loss no longer falls, and keep
        the weights of where it was smallest.
    validation_fraction : float, default=0.1
        Share of the rows that `early_stopping` holds out.
    n_iter_no_change : int, default=10
        Iterations without a smaller held-out loss after which `early_stopping` stops.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows, so that all tasks
        have the same total weight; a dict by id (1 for absent ids); an array in the
        order of `tasks_`.
    fit_intercept : {True, "free", "shrunk", "shared", False}, default=True
        Biases of the heads. True or "free": one per task (and class), unpenalised.
        "shrunk": adds alpha / 2 sum_t (b_t - mean b)^2. "shared": one for all tasks.
        False: none; the shared layers keep theirs. With a shared output all of this is
        said of the biases of the tasks' input layers.
    intercept_strength : float, default=1.0
        With shrunken intercepts, a factor of the penalty on their deviations, greater
        than 0: near 0 they are almost free, a larger value makes them more alike.
    handle_unknown : {"shared", "error"}, default="shared"
        A task that `fit` never saw gets the mean of the tasks' heads (with a shared
        output of their input layers), or is refused.
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
        Begin at the last fit's weights.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of the parts of the rows and of the held-out rows.
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
        The labels that each task has; with a shared output those of all.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of the layers, as in scikit-learn's MLP; the last are all heads side by
        side in the order of `tasks_`, one column for two classes (the score of the
        second), one per class for more. With a shared output two: the input layers
        (n_tasks, n_features, n_units), and the output layer (n_units, n_columns).
    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of the layers; of input layers (n_tasks, n_units).
    alpha_ : float
        The strength of the penalty, given or chosen.
    loss_ : float
        The objective at the end; with `early_stopping` that of the rows that were
        learnt from.
    loss_curve_ : ndarray of shape (n_steps,)
        The objective after every step on all rows.
    validation_curve_ : ndarray of shape (n_steps,)
        Only with `early_stopping`: mean loss of the held-out labels.
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
    SharedFeatureClassifier : Tasks that share linear features.
    sklearn.neural_network.MLPClassifier : One task.

    Notes
    -----
    Limited-memory quasi-Newton steps of all weights from heads that are zero but for
    the frequencies of the classes; they need no learning rate. From 1,000 rows on most
    steps are in single precision, and from 8,192 on natural gradient steps on random
    batches of the rows come first, as in the regressor. The end is a point at which a
    step promises next to nothing: a stationary point, not a bound on the distance from
    the minimum. The strengths that "auto" tries are followed from strong to weak until
    two in a row (with a shared output four) are no better. With shared hidden layers a
    task that has one class of several predicts it with certainty (of two only where
    intercepts are free), and does not enter the mean head then. Where there are more
    than two classes in all, a task with two of them still has a single logistic score,
    and pays for its coefficients as such.

    References
    ----------
    Caruana, R., Multitask learning, Machine Learning 28, 1997.

    Liu, D. and Nocedal, J., On the limited memory BFGS method for large scale
    optimization, Mathematical Programming 45, 1989.

    Martens, J. and Grosse, R., Optimizing neural networks with Kronecker-factored
    approximate curvature, ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import SharedMappingClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(300, 2))
    >>> inside = X[:, 0] ** 2 + X[:, 1] ** 2 < 0.5
    >>> Y = np.column_stack([inside, inside & (X[:, 0] > 0)]).astype(int)
    >>> model = SharedMappingClassifier((16,), alpha=0.01, random_state=0).fit(X, Y)
    >>> model.score(X, Y) > 0.97, model.predict_proba(X).shape
    (True, (300, 2))
    """

    _solvers = ("auto", "lbfgs", "adam")

    def _own_classes(self, fit):
        if self.shared == "output":
            return np.ones((fit.data.n_tasks, len(fit.labels)), dtype=bool)
        if len(fit.labels) == 2:
            return np.ones((fit.data.n_tasks, 2), dtype=bool)
        return present_classes(fit.data, len(fit.labels))

    def _classes_of(self, fit):
        if self.shared == "output":
            return self._own_classes(fit)
        return super()._classes_of(fit)
