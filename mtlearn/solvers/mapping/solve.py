"""Shared nonlinear mapping: hidden layers for all tasks, a linear head for each.

    minimise  sum_t L_t(V_t h(x) + b_t) + 1/2 alpha (all weights squared)

or the other way round, an input layer for each below one head for all: to the head all
rows are then of one task.

With the squared loss the heads are eliminated exactly (variable projection; Golub and
Pereyra, SIAM Journal on Numerical Analysis 10, 1973): quasi-Newton steps see the shared
weights alone, and the gradient is that of the whole at the best heads. With the
log-loss they see the heads too. Many rows are begun with a part of them, in single
precision; the end is on all of them in double precision.
"""

from dataclasses import dataclass

import numpy as np

from ...problem.baseline import base_objective
from ...problem.intercepts import FREE
from ...problem.losses import Softmax
from ...problem.solution import Solution, Status, goal
from ...problem.tasks import TaskData
from ..linalg import factor_spd, solve_spd
from .distinct import distinct
from .heads import SQUARED, Heads
from .layers import KINKED, Layers
from .lbfgs import Memory, descend, minimise
from .natural import Metric, descend_naturally
from .own_layers import OwnLayers, as_one_task, in_rows
from .units import Units

_MANY = 1000  # rows from which the first steps are in single precision
_PART = 2048  # rows of the smallest part, at least: parts come first where they fit
_GROWTH = 4
_ROUGH = 1e-3  # tolerance on parts of the rows, relative to the objective
_FINE = 1e-5  # the same, of the last steps in single precision
_PASSES = 15  # over the rows, in natural gradient steps on batches
_SHORT = 100  # iterations on the first part, or of every start, at most
_EPOCHS = 30  # passes over the rows in batches
_DEAR = 20.0  # times the work of a step, from which heads are not eliminated


@dataclass
class Stop:
    """When to stop early.

    Attributes
    ----------
    data : TaskData
        Held-out rows.
    patience : int
        Iterations without a smaller loss there.
    """

    data: TaskData
    patience: int


def solve_mapping(
    data,
    own,
    hidden,
    activation,
    alpha,
    *,
    intercept=FREE,
    tol=1e-6,
    max_iter=1000,
    rng=None,
    n_init=1,
    start=None,
    shake=0.0,
    solver="auto",
    stop=None,
    shared="hidden",
):
    """Fit shared layers and a head per task, or layers per task and a shared head.

    Parameters
    ----------
    data : TaskData
    own : ndarray of shape (n_tasks, n_labels), bool, or None
        Classes of each task for the log-loss, `data.y` numbering the labels; None for
        the squared loss.
    hidden : tuple of int
        Sizes of the shared layers, at least one.
    activation : str
        One of `layers.ACTIVATIONS`.
    alpha : float
        At least 0.
    intercept : Intercepts
    tol : float
        What a quasi-Newton step promises and brings, twice in a row, is compared
        with tol times the objective of the best model without features, or a hundred
        times the objective itself, whichever is smaller. Not a bound on the distance
        from the minimum: the problem is not convex.
    max_iter : int
    rng : numpy.random.Generator
    n_init : int
        Starts, of which the best after a few iterations is followed.
    start : (list of weights, list of biases), default=None
        As in the solution; takes the place of all random starts.
    shake : float, default=0.0
        Part of a random start that is added to the shared weights of `start`.
    solver : {"auto", "projection", "lbfgs", "adam"}
        Whether heads are eliminated (squared loss only); "adam" takes random batches
        before the steps on all rows.
    stop : Stop, default=None
    shared : {"hidden", "output"}
        What the tasks have in common. With "output" there is one hidden layer, and
        `intercept` says which of its biases each task has.

    Returns
    -------
    Solution
        `coef` is a list of weights (fan_in, fan_out), the last of all heads side by
        side, `intercept` the list of biases; layers of the tasks' own have an axis of
        tasks in front. `dual` are the losses of the held-out rows after every
        iteration where there are such.
    """
    rng = np.random.default_rng() if rng is None else rng
    shape, early = (hidden, activation), stop is not None
    problem = data, own, shape, alpha, intercept
    network, units = _build(*problem, solver, early, shared)
    heads = network.heads
    zero = heads.zero_objective()
    if own is not None:
        loss = Softmax(own.shape[1])
        zero = base_objective(heads.data, loss, None, heads.intercept, zero)

    def enough(value):
        return goal(tol, zero, value)

    watch = None if stop is None else _Watch(network, stop, units, shared)
    if start:
        x = network.there(*units.there(*start))
        if shake:
            theta = x[: network.layers.n_params]
            theta += shake * network.begin(rng, units)[: len(theta)]
        starts = [x]
    else:
        starts = [network.begin(rng, units) for _ in range(n_init)]
    if solver == "adam":
        x, memory, spent = _by_batches(network, starts, rng, max_iter - 1)
    else:
        fresh, early = not start, stop is not None
        how = rng, max_iter - 1, enough, fresh, early
        x, memory, spent = _grow(network, starts, *how)
    end = minimise(network, x, enough, max_iter - spent, watch, memory)
    n_iter = end.n_iter + spent
    promised, status = _judge(network, end, enough, n_iter >= max_iter)
    x, value = end.x, end.value
    if watch is not None and watch.best is not None:
        x, value = watch.best, network(watch.best)[0]
    weights, biases = units.back(*network.model(x))
    return Solution(
        weights,
        biases,
        value,
        promised / max(zero, 1e-300),
        max(n_iter, 1),
        status,
        dual=None if watch is None else np.array(watch.losses),
        history=[(v, p / max(zero, 1e-300)) for v, p in end.history],
    )


def _build(data, own, shape, alpha, intercept, solver, early=False, shared="hidden"):
    """The function to be minimised, and the units of its features."""
    data = distinct(arranged(data, shared))
    hidden, activation = shape
    sizes, centred = (data.n_features, *hidden), True
    if shared == "output":
        layers = OwnLayers(sizes, activation, data.n_tasks, intercept)
        centred = intercept.own
    else:
        layers = Layers(sizes, activation)
    heads = heads_of(data, own, alpha, intercept, shared)
    mass = heads.weight.sum(axis=1) if heads.data.wide else heads.weight
    units = Units(data.X, mass, alpha, centred, turned=not early)
    projected = solver == "projection"
    if solver in ("auto", "adam") and heads.kind == SQUARED:
        projected = _worth_projecting(heads, layers)
    decay = layers.decay(alpha, units.penalty)
    X = layers.read(data, units.rows(data.X))
    return Network(layers, heads, X, decay, projected), units


def _judge(network, end, enough, cut):
    """What is still promised at the end, and how to call that end."""
    if end.stopped:
        return end.promised, Status.CONVERGED
    promised, converged = end.promised, end.converged
    if network.layers.activation in KINKED:
        # between kinks a step of all weights promises what it need not keep
        promised = network.head_promise(end.x)
        converged = converged or (not cut and promised <= enough(end.value))
    if converged:
        return promised, Status.CONVERGED
    return promised, Status.MAX_ITER if cut else Status.STALLED


def _worth_projecting(heads, layers):
    """Whether the best heads cost no more than some forward and backward passes."""
    if not heads.data.wide or heads.alike:
        return True
    n, h = len(heads.y), layers.sizes[-1]
    passes = 6.0 * n * (layers.n_params + heads.n_columns * h)
    return heads.n_columns * n * h * h <= _DEAR * passes


def arranged(data, shared):
    """Rows in the order of their tasks; a single task as a table of one column.

    With a layer for every task, the observations one by one.
    """
    if shared == "output":
        return in_rows(data)
    if data.wide:
        return data
    weight = data.sample_weight
    if data.n_tasks == 1:
        y = data.y[:, None]
        return TaskData(data.X, y, 1, None, weight, data.task_weight)
    weight = None if weight is None else weight[data.rows]
    y, codes = data.y[data.rows], data.task_of
    return TaskData(data.features, y, data.n_tasks, codes, weight, data.task_weight)


def heads_of(data, own, alpha, intercept, shared):
    """The heads of rows in that order: of every task, or one for all."""
    if shared == "output":
        data, own, intercept = as_one_task(data), own if own is None else own[:1], FREE
    return Heads.of(data, own, alpha, intercept)


# ---------------------------------------------------------------- the function


class Network:
    """Objective and gradient as a function of one long vector.

    The shared weights and, unless heads are eliminated, the heads and their intercepts.
    """

    def __init__(self, layers, heads, X, decay, projected):
        self.layers, self.heads, self.X = layers, heads, X
        self.decay, self.projected = decay, projected

    def rows(self, index, dtype):
        """The same on some of the rows, in another precision."""
        X = self.X if index is None else self.X[index]
        X = X.astype(dtype, copy=False)
        heads = self.heads.rows(index, dtype)
        return Network(self.layers, heads, X, self.decay, self.projected)

    def part(self, rows, scale):
        """The same on a slice of the rows, which weigh `scale` times as much."""
        heads = self.heads.part(rows, scale)
        return Network(self.layers, heads, self.X[rows], self.decay, False)

    def with_heads(self, x):
        """The same with the heads as unknowns, and its vector to begin with."""
        if self.projected:
            b = self.heads.start()
            x = np.concatenate([x, np.zeros(len(b) * self.layers.sizes[-1]), b])
        return Network(self.layers, self.heads, self.X, self.decay, False), x

    def begin(self, rng, units):
        """Random shared weights; heads at zero, or the best."""
        theta = self.layers.draw(rng)
        first = self.layers.first(theta)
        first[units.constant] = 0.0  # a constant tells nothing
        first[:] = units.turn(first)
        if self.projected:
            return theta
        b = self.heads.start()
        return np.concatenate([theta, np.zeros(len(b) * self.layers.sizes[-1]), b])

    def there(self, weights, biases):
        """The vector of given weights and biases."""
        theta = self.layers.pack(weights[:-1], biases[:-1])
        if self.projected:
            return theta
        b = self.heads.confine(biases[-1])
        return np.concatenate([theta, weights[-1].T.ravel(), b])

    def _split(self, x):
        cut, h = self.layers.n_params, self.layers.sizes[-1]
        n = self.heads.n_columns
        return x[:cut], x[cut : cut + n * h].reshape(n, h), x[cut + n * h :]

    def model(self, x):
        """Lists of weights and of biases, the heads last."""
        pairs = self.layers.unpack(x[: self.layers.n_params])
        _, V, b = self.outputs(x) if self.projected else self._split(x)
        weights = [W.copy() for W, _ in pairs]
        return [*weights, V.T.copy()], [*(b.copy() for _, b in pairs), b.copy()]

    def head_promise(self, x):
        """Decrease that a step of the heads alone promises: 1/2 g' H^-1 g."""
        heads = self.heads
        (*_, H), V, b = self.outputs(x)
        _, dV, db, _ = heads.evaluate(H, V, b)
        _, pV, pb = heads.penalty(V, b)
        g = np.column_stack([dV + pV, heads.confine(db + pb)])
        rows = np.column_stack([H, np.ones(len(H))])
        curvature = rows.T @ rows
        curvature[np.diag_indices(len(curvature))] += heads.alpha
        step = solve_spd(factor_spd(curvature), g.T)
        return 0.5 * float(np.sum(g.T * step))

    def outputs(self, x):
        """What every layer makes of the rows; the heads and their intercepts."""
        theta = x[: self.layers.n_params].astype(self.X.dtype, copy=False)
        outputs = self.layers.forward(theta, self.X)
        if self.projected:
            return outputs, *self.heads.project(outputs[-1])
        return outputs, *self._split(x)[1:]

    def __call__(self, x):
        """Value and gradient."""
        heads, cut = self.heads, self.layers.n_params
        outputs, V, b = self.outputs(x)
        value, dV, db, D = heads.evaluate(outputs[-1], V, b, best=self.projected)
        theta = x[:cut].astype(self.X.dtype, copy=False)
        gradient = self.layers.backward(theta, outputs, D).astype(np.float64)
        push = self.decay * x[:cut]
        value = float(value) + 0.5 * float(push @ x[:cut])
        more, pV, pb = heads.penalty(V, b)
        gradient += push
        if self.projected:
            return value + more, gradient
        db = heads.confine(db + pb)
        parts = gradient, (dV + pV).ravel(), db
        return value + more, np.concatenate(parts).astype(np.float64)


# ---------------------------------------------------------------- rows by and by


def _grow(network, starts, rng, max_iter, enough, fresh, early):
    """Where to begin on all rows in double precision: after most of the way.

    Parameters
    ----------
    fresh, early : bool
        Whether starts are random; whether held-out rows may end it before that.

    Returns
    -------
    x : ndarray
    memory : Memory or None
    n_iter : int
    """
    n = network.X.shape[0]
    low = n >= _MANY and isinstance(network.X, np.ndarray)
    if not low:
        parts = []
    elif fresh and not early and n >= _GROWTH * _PART:
        x, spent = _naturally(network, starts, rng, max_iter)
        return _nearly(network, x, max_iter, spent, enough)
    else:
        parts = _parts(network, rng)
    if not parts and len(starts) == 1:
        return starts[0], None, 0
    spent, (first, *parts) = 0, parts or [network]
    ends = [minimise(first, x, _rough, min(_SHORT, max_iter)) for x in starts]
    end = min(ends, key=lambda end: end.value)
    for part in parts:
        spent += end.n_iter
        left = max(max_iter - spent, 0)
        end = minimise(part, end.x, _rough, left, memory=end.memory)
    spent += end.n_iter
    if early or not low:
        return end.x, end.memory, spent
    return _nearly(network, end.x, max_iter, spent, enough)


def _naturally(network, starts, rng, max_iter):
    """The best start after natural gradient steps on batches of rows."""
    n_epochs, ends = min(_PASSES, max_iter), []
    for start in starts:
        x = descend_naturally(*network.with_heads(start), rng, n_epochs)
        ends.append(x[: len(start)])
    if len(ends) > 1:
        ends = [min(ends, key=lambda x: network(x)[0])]
    return ends[0], n_epochs


def _nearly(network, x, max_iter, spent, enough):
    """Quasi-Newton steps in single precision, nearly to the end."""
    low, metric = network.rows(None, np.float32), Metric()
    metric.update(low, x)

    def nearly(value):
        return max(enough(value), _FINE * value)

    left, memory = max(max_iter - spent, 0), Memory(len(x), metric)
    end = minimise(low, x, nearly, left, memory=memory)
    return end.x, end.memory, spent + end.n_iter


def _by_batches(network, starts, rng, max_iter):
    """The same after steps on random batches."""
    whole = Network(network.layers, network.heads, network.X, network.decay, False)
    cut, heads = network.layers.n_params, network.heads
    n_epochs = min(_EPOCHS, max_iter)
    ends = []
    for start in starts:
        x = start
        if network.projected:
            V, b = heads.project(network.layers.forward(x, network.X)[-1])
            x = np.concatenate([x, V.ravel(), b])
        units = np.ones(len(x))
        spread = heads.spread()
        heights = np.repeat(spread, network.layers.sizes[-1])
        # intercepts that are one move as one
        units[cut:] = np.append(heights, heads.confine(spread))
        x = descend(
            lambda rows, x: whole.rows(rows, np.float32)(x),
            x,
            units,
            network.X.shape[0],
            rng,
            n_epochs,
        )
        x = x[: len(start)]
        ends.append((network(x)[0] if len(starts) > 1 else 0.0, len(ends), x))
    return min(ends)[2], None, n_epochs


def _rough(value):
    return _ROUGH * value


def _parts(network, rng):
    """Problems on growing shares of the rows, in single precision."""
    n = network.X.shape[0]
    order, parts, size = rng.permutation(n), [], n
    while size >= _GROWTH * _PART:
        size //= _GROWTH
        parts.insert(0, network.rows(np.sort(order[:size]), np.float32))
    return [*parts, network.rows(None, np.float32)]


class _Watch:
    """The loss of held-out rows; remembers where it was smallest."""

    def __init__(self, network, stop, units, shared):
        self.network, self.patience = network, stop.patience
        data, heads = arranged(stop.data, shared), network.heads
        self.heads = heads_of(data, heads.own, 0.0, heads.intercept, shared)
        self.X = network.layers.read(data, units.rows(data.X))
        self.losses, self.best, self._at = [], None, 0

    def __call__(self, x):
        weights, biases = self.network.model(x)
        theta = x[: self.network.layers.n_params]
        H = self.network.layers.forward(theta, self.X)[-1]
        self.losses.append(self.heads.mean_loss(H, weights[-1].T, biases[-1]))
        if self.best is None or self.losses[-1] < self.losses[self._at]:
            self.best, self._at = x.copy(), len(self.losses) - 1
        return len(self.losses) - 1 - self._at >= self.patience
