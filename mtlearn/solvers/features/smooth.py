"""The loss as a function of W alone: intercepts are minimised out, rows or moments in.

`MomentLoss` is the squared loss from second moments, a quadratic; `RowLoss` any loss
from the rows. Both know what the solvers above them ask of a smooth function: value,
gradient, curvature along a direction, and the dual value that goes with a gradient.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ...moments import gather_moments, moments_pay
from ...problem.baseline import base_objective
from ...problem.intercepts import FREE, SHARED, saturated
from ...problem.losses import Logistic, Squared
from ...problem.tasks import TaskData
from ..linalg import ground, take

_ROUNDING = 1e-14
_HUGE = 1e150  # of an entry whose square is no number
_ROUNDS = 30  # between the residuals there are and the dual ball
_INTERCEPT_STEPS = 50
_REACH = 2.0  # longest step of an intercept
_PRACTICALLY_ZERO = 3e-9  # loss of a saturated observation
# least curvature of an observation, relative to its weight; with more than two classes
# the model is a bound only, and a bold step would not be found out
_FLOOR = {True: 1e-9, False: 1e-4}


@dataclass
class Point:
    """A smooth function at W.

    Attributes
    ----------
    W : ndarray of shape (n_rows, n_features)
    value : float
    gradient : ndarray of shape (n_rows, n_features)
    state : object
        What the function keeps for `bend`, `dual` and `intercepts` at this point.
    """

    W: np.ndarray
    value: float
    gradient: np.ndarray
    state: object = None


# ---------------------------------------------------------------- from moments


class Quadratic:
    """1/2 <W, H W> - <target, W> + constant.

    H has a block per task, `scale[t] * hessian[block[t]]`, and loses the outer product
    of `coupling` (None without one).

    Parameters
    ----------
    hessian : ndarray of shape (n_blocks, n_features, n_features)
    block : ndarray of shape (n_rows,), int
    scale : ndarray of shape (n_rows,)
    target : ndarray of shape (n_rows, n_features)
    coupling : ndarray of shape (n_rows, n_features), or None
    constant : float
    zero_objective : float
        Objective of the best model without features.
    """

    squared = True  # whether it is all of a squared loss

    def __init__(
        self, hessian, block, scale, target, coupling, constant, zero_objective
    ):
        self.n_rows, self.n_features = target.shape
        self.hessian, self.block, self.scale = hessian, block, scale
        self.target, self.coupling, self.constant = target, coupling, constant
        self.zero_objective = zero_objective
        # every task has its own block, in the order of the tasks
        self.ordered = np.array_equal(block, np.arange(len(hessian)))
        self._cache = {}

    def keep(self, name, make):
        """What `make` returns, made once for this function."""
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    def columns(self, chosen):
        """The same function of the chosen features only, the others zero."""
        size, coupling = len(chosen), self.coupling
        hessian = np.empty((len(self.hessian), size, size))
        chosen = np.asarray(chosen)
        for square, part in zip(self.hessian, hessian):
            take(square, chosen, chosen, part, True)
        target = np.ascontiguousarray(self.target[:, chosen])
        if coupling is not None:
            coupling = np.ascontiguousarray(coupling[:, chosen])
        values = coupling, self.constant, self.zero_objective
        return Quadratic(hessian, self.block, self.scale, target, *values)

    @property
    def diagonal(self):
        """Curvatures of the single coefficients, of shape (n_rows, n_features)."""
        diagonal = np.einsum("ujj->uj", self.hessian)
        return self.scale[:, None] * diagonal[self.block]

    def bend(self, V, point=None):
        """H V."""
        if len(self.hessian) == 1:
            product = V @ self.hessian[0]
        elif len(self.hessian) == self.n_rows:
            # a copy of all blocks would cost more than the product
            hessian = self.hessian if self.ordered else self.hessian[self.block]
            product = np.matmul(V[:, None, :], hessian)[:, 0]
        else:
            product = np.empty_like(V)
            for u, block in enumerate(self.hessian):
                tasks = self.block == u
                product[tasks] = V[tasks] @ block
        product *= self.scale[:, None]
        if self.coupling is not None:
            # pairwise: of features far from zero little is left
            product -= np.sum(self.coupling * V) * self.coupling
        return product

    def at(self, W):
        """Value and gradient at W."""
        used = np.flatnonzero(W.any(axis=0))
        if len(self.hessian) == 1 and 2 * len(used) < self.n_features:
            gradient = W[:, used] @ self.hessian[0][used]
            gradient *= self.scale[:, None]
            if self.coupling is not None:
                gradient -= np.vdot(self.coupling, W) * self.coupling
        else:
            gradient = self.bend(W)
        gradient -= self.target
        value = self.constant + 0.5 * (np.vdot(W, gradient) - np.vdot(W, self.target))
        return Point(W, max(float(value), 0.0), gradient)

    def dual(self, point, most):
        """Dual value of the residual, shrunk into the dual ball.

        The residual r of the least squares problem behind the moments has |r|^2 = 2
        value, and <y, r> = 2 constant - <target, W>.
        """
        inner = 2.0 * self.constant - float(np.vdot(self.target, point.W))
        return residual_dual(2.0 * point.value, inner, most)

    @property
    def largest_curvature(self):
        """A bound of the eigenvalues of H."""

        def largest():
            sizes = np.linalg.eigvalsh(self.hessian)[:, -1]
            return float((self.scale * sizes[self.block]).max())

        return self.keep("largest", largest)

    def with_gradient(self, point, gradient):
        """The point whose gradient is the given one, where the Hessian allows it."""
        W = point.W + self._invert(gradient - point.gradient)
        return self.at(W)

    def _invert(self, R):
        """Solve with H, of which nothing is left in directions that it does not see."""
        S = self._invert_blocks(R)
        if self.coupling is None:
            return S
        reply = self.keep("reply", lambda: self._invert_blocks(self.coupling))
        left = 1.0 - float(np.vdot(self.coupling, reply))
        # where nothing is left, R has nothing along the reply but rounding
        share = float(np.vdot(reply, R)) / left if left > 1e-8 else 0.0
        return S + share * reply

    def _invert_blocks(self, R):
        inverses = self.keep("inverses", lambda: _pseudo_inverses(self.hessian))
        if len(inverses) == 1:
            S = R @ inverses[0]
        else:
            S = np.matmul(R[:, None, :], inverses[self.block])[:, 0]
        return S / np.where(self.scale > 0, self.scale, 1.0)[:, None]


class MomentLoss(Quadratic):
    """Squared loss from moments, the intercepts at their best.

    Where tasks share an intercept it couples them.

    Parameters
    ----------
    moments : Moments
    intercept : Intercepts
    shrinkage : float
        Strength of 1/2 sum_t (b_t - mean b)^2, times the intercepts' own, where they
        are shrunk.
    tied : bool
        False leaves the coupling out: a bound of the Hessian from above.
    """

    def __init__(self, moments, intercept=FREE, shrinkage=0.0, *, tied=True):
        self.moments, self.intercept, self.shrinkage = moments, intercept, shrinkage
        mass, mean = moments.task_weights, moments.mean[moments.group]
        # what is left of each task's squared mean residual: nothing once its
        # intercept is free, all of it without one
        left = intercept.left(mass, shrinkage)
        total = left.sum() if tied and intercept.common else 0.0
        level = left @ moments.y_mean / total if total > 0 else 0.0
        column = left[:, None] * mean
        target = moments.scale[:, None] * moments.cross
        target = target + column * (moments.y_mean - level)[:, None]
        squares = moments.scale @ moments.y_square
        squares += left @ (moments.y_mean - level) ** 2
        super().__init__(
            *_blocks(moments, left),
            target,
            column / np.sqrt(total) if total > 0 else None,
            0.5 * float(squares),
            moments.base_objective(intercept.at(shrinkage)),
        )

    def intercepts(self, W, point=None):
        """The best intercepts, of shape (n_rows,)."""
        mean = self.moments.mean[self.moments.group]
        free = self.moments.y_mean - np.einsum("tj,tj->t", mean, W)
        mass = self.moments.task_weights
        return self.intercept.best(free, mass, self.shrinkage)


def _blocks(moments, left):
    """Hessian, block and scale: one for all tasks of like rows, weights, intercepts."""
    if not left.any():
        return moments.gram, moments.group, moments.scale
    pairs = np.column_stack([moments.group, moments.scale])
    _, first, block = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    group = moments.group[first]
    mean = moments.mean[group]
    hessian = moments.scale[first, None, None] * moments.gram[group]
    hessian += (left[first, None] * mean)[:, :, None] * mean[:, None, :]
    return hessian, block.ravel(), np.ones(len(block))


# ---------------------------------------------------------------- from the rows


class RowLoss:
    """Any loss from the rows, by products with X and its transpose only.

    Coefficients have a row per task, or per task and class (class after class within
    the task).

    Parameters
    ----------
    data : TaskData
    loss : object of `mtlearn.problem.losses`
    intercept : Intercepts
    shrinkage : float
        Strength of 1/2 sum_t (b_t - mean b)^2, times the intercepts' own, where they
        are shrunk.
    """

    def __init__(self, data, loss, intercept=FREE, shrinkage=0.0):
        self.means = None
        if intercept.own and not data.sparse:
            data, self.means = data.centred()
        self.data, self.loss = data, loss
        self.intercept, self.shrinkage = intercept.at(shrinkage), shrinkage
        self.price = intercept.strength * shrinkage  # of the intercepts' deviations
        self.q, self.n_features = loss.n_scores, data.n_features
        self.n_rows = data.n_tasks * self.q
        self.y, self.weight = data.labels, data.weights
        zeros = np.zeros(len(self.y) if self.q == 1 else (len(self.y), self.q))
        zero = loss.value(self.y, zeros, self.weight)
        self.zero_objective = base_objective(data, loss, None, self.intercept, zero)
        # squared residuals of large labels would leave the gap without digits
        self._shift = None
        if isinstance(loss, Squared) and intercept.present:
            self._shift = self._level(self.y)
        if self._shift is not None:
            self.y = self.y - self.spread(self._shift)
            self.zero_objective = loss.value(self.y, zeros, self.weight)
        self._first = self._last = self._first_intercepts()
        self._last_level = 0.0

    @property
    def squared(self):
        """Whether the loss is the squared one."""
        return isinstance(self.loss, Squared)

    def _level(self, z):
        """Mean of each task's labels or scores, or of all where intercepts are tied."""
        z = z.reshape(len(z), -1)
        mass = self._sums(self.weight)
        sums, total = self._sums(self.weight[:, None] * z), mass[:, None]
        means = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
        return self.intercept.best(means, mass)

    def _first_intercepts(self):
        """Zero; saturated for tasks of one class, which have no finite best one."""
        b, self._mass = np.zeros((self.data.n_tasks, self.q)), None
        if isinstance(self.loss, Logistic) and self.intercept.own:
            b[:, 0] = saturated(self.data, self.y)
            if b.any():
                self._one_sided, self._mass = b[:, 0] != 0, self.data.sums(self.weight)
        return b

    def columns(self, chosen):
        """The squared loss of the chosen features only, from their moments."""
        return MomentLoss(
            gather_moments(self.narrow(chosen)), self.intercept, self.shrinkage
        )

    def narrow(self, chosen):
        """The same observations with the chosen features only."""
        data = self.data
        shared = {"blocks": data._blocks}
        if not data.wide:
            shared["features"] = data.features[:, chosen]
            if not data.sparse:
                shared["features"] = np.ascontiguousarray(shared["features"])
        return replace(data, X=data.X[:, chosen], _shared=shared)

    def quadratic(self, point, chosen):
        """Second-order model of the loss at a point, over the chosen features.

        The classes of a task are taken apart: with twice their curvature, which bounds
        what ties them.

        Returns
        -------
        MomentLoss
        """
        state, q = point.state, self.q
        g = state.g.reshape(-1, q)
        h = np.einsum("ikk->ik", state.h.reshape(-1, q, q))
        weight = self.weight[:, None]
        if q > 1:
            hits = self.y[:, None] == np.arange(q)
            h = np.minimum(2.0 * h, g + weight * hits)
        h = np.maximum(h, _FLOOR[q == 1] * weight)
        aim = (state.z + self.spread(state.b)).reshape(-1, q) - g / h
        # what ties the intercepts of one class over the tasks has no place in moments
        moments = gather_moments(self._working_rows(chosen, aim, h))
        model = MomentLoss(moments, self.intercept, self.shrinkage, tied=q == 1)
        W = point.W[:, chosen]
        model.target = model.bend(W) - point.gradient[:, chosen]
        model.constant = 0.5 * float(np.sum(g * g / h))
        model.constant += float(np.vdot(W, model.target))
        model.constant -= 0.5 * float(np.vdot(W, model.bend(W)))
        return model

    def _working_rows(self, chosen, aim, h):
        """Observations with the labels `aim` and weights `h`, a task for each class."""
        data, q = self.data, self.q
        narrow = self.narrow(chosen)
        if not data.wide:
            codes = (data.task_of[:, None] * q + np.arange(q)).ravel()
            X = narrow.features
            X = X if q == 1 else X[np.repeat(np.arange(X.shape[0]), q)]
            return TaskData(X, aim.ravel(), data.n_tasks * q, codes, h.ravel())
        table = np.full((data.n_tasks, q, data.X.shape[0]), np.nan)
        weights = np.zeros(table.shape)
        for k in range(q):
            table[data.task_of, k, data.rows] = aim[:, k]
            weights[data.task_of, k, data.rows] = h[:, k]
        shape = (data.n_tasks * q, -1)
        table, weights = table.reshape(shape).T, weights.reshape(shape).T
        return TaskData(narrow.X, table, data.n_tasks * q, None, weights)

    # -------------------------------------------------------- forward and adjoint

    def forward(self, W):
        """X W without intercepts, (n,) or (n, q); columns of zeros cost nothing."""
        data, q = self.data, self.q
        used = np.flatnonzero(W.any(axis=0))
        if 4 * len(used) < self.n_features:
            data, W = self.narrow(used), W[:, used]
        columns = [data.forward(np.ascontiguousarray(W[k::q])) for k in range(q)]
        return columns[0] if q == 1 else np.column_stack(columns)

    def adjoint(self, g):
        """X' g, of shape (n_rows, n_features)."""
        if self.q == 1:
            return self.data.adjoint(g)
        parts = [
            self.data.adjoint(np.ascontiguousarray(g[:, k])) for k in range(self.q)
        ]
        return np.stack(parts, axis=1).reshape(self.n_rows, self.n_features)

    def _sums(self, g):
        """Sums over each task, (n_tasks, ...)."""
        flat = g.reshape(len(g), -1)
        sums = np.column_stack([self.data.sums(column) for column in flat.T])
        return sums.reshape(self.data.n_tasks, *g.shape[1:])

    def spread(self, b):
        """One number per task (and class) at every observation."""
        u = np.repeat(b, self.data.sizes, axis=0)
        return u[:, 0] if self.q == 1 else u

    def _curve(self, h, u):
        """Curvature of the observations times a change of their scores."""
        return h * u if self.q == 1 else np.einsum("ikl,il->ik", h, u)

    # -------------------------------------------------------- intercepts

    def _shrinking(self, b):
        """Gradient of the penalty of the intercepts."""
        if not self.intercept.shrunk:
            return 0.0
        return self.price * (b - b.mean(axis=0))

    def _move_intercepts(self, h, descent):
        """Newton step of the intercepts for a negative gradient, (n_tasks, q)."""
        q, mode = self.q, self.intercept
        H = self._sums(h).reshape(-1, q, q)
        if not mode.shrunk:
            H, descent = ground(mode.gather(H)), mode.gather(descent)
            step = np.linalg.solve(H, descent[:, :, None])[:, :, 0]
            return mode.spread(step, self.data.n_tasks)
        H = H + self.price * np.eye(q)
        mixed = np.linalg.solve(
            H,
            np.concatenate(
                [descent[:, :, None], np.broadcast_to(np.eye(q), H.shape)], axis=2
            ),
        )
        own, reply = mixed[:, :, 0], self.price * mixed[:, :, 1:]
        level = np.linalg.solve(
            ground(np.sum(np.eye(q) - reply, axis=0)), own.sum(axis=0)
        )
        return own + reply @ level

    def _nearest(self, z):
        """Where to begin: the last intercepts, unless a trial far out spoilt them.

        They follow the mean of the scores, which moves far where features are far from
        zero.
        """
        if isinstance(self.loss, Squared) or not self.intercept.present:
            return self._first
        level = self._level(z)
        starts = self._last + self._last_level - level, self._first - level
        self._last_level = level
        values = [
            self.loss.value(self.y, z + self.spread(b), self.weight) for b in starts
        ]
        return starts[0] if values[0] <= values[1] else starts[1]

    def _fit_intercepts(self, z, b):
        """Minimise over the intercepts with the rest of the scores held fast.

        Returns
        -------
        b : ndarray of shape (n_tasks, q)
        value : float
        g, h : ndarray
            Derivatives of the loss at the observations.
        bound : float
            How far the value is from the least over the intercepts, to second order.
        """
        last = np.inf
        for _ in range(_INTERCEPT_STEPS):
            value, g, h = self.loss.evaluate(self.y, z + self.spread(b), self.weight)
            value += 0.5 * float(np.vdot(b, self._shrinking(b) * np.ones_like(b)))
            if not self.intercept.present:
                return b, value, g, h, 0.0
            descent = -(self._sums(g).reshape(-1, self.q) + self._shrinking(b))
            if self.intercept == SHARED:
                descent = np.broadcast_to(
                    descent.sum(axis=0) / len(descent), descent.shape
                )
            descent, done = self._leave_saturated(descent)
            step = self._move_intercepts(h, descent)
            bound = 0.5 * float(np.vdot(descent, step)) + done
            # the end of what rounding allows is where steps no longer shrink
            rounding = bound <= 1e-14 * self.zero_objective and bound > 0.1 * last
            if rounding or not bound > 1e-24 * self.zero_objective:
                break
            last = bound
            moved = self._damped(z, b, step, value, descent)
            if moved is None:
                break
            b = b + moved
        return b, value, g, h, max(bound, 0.0)

    def _leave_saturated(self, descent):
        """No descent for tasks of one class with next to no loss, and that loss.

        Their best intercept is infinite.
        """
        if self._mass is None:
            return descent, 0.0
        done = self._one_sided & (
            np.abs(descent[:, 0]) <= _PRACTICALLY_ZERO * self._mass
        )
        return np.where(done[:, None], 0.0, descent), float(np.abs(descent[done]).sum())

    def _damped(self, z, b, step, value, descent):
        """The step, halved until the loss falls; None where it does not."""
        close = float(np.vdot(descent, step)) <= 1e-10 * value
        if close or isinstance(self.loss, Squared):
            return step
        # saturated scores have next to no curvature, and would step out of reach
        longest = np.abs(step).max(axis=1, keepdims=True)
        if self.intercept.common:
            longest = longest.max()
        step = step * np.minimum(1.0, _REACH / np.maximum(longest, 1e-300))
        slope = float(np.vdot(descent, step))
        size = 1.0
        for _ in range(30):
            new = b + size * step
            now = self.loss.value(self.y, z + self.spread(new), self.weight)
            now += 0.5 * float(np.vdot(new, self._shrinking(new) * np.ones_like(new)))
            if now <= value - 0.25 * size * slope:
                return size * step
            size *= 0.5
        return None

    # -------------------------------------------------------- the function

    def at(self, W):
        """Value and gradient at W, the intercepts at their best."""
        z = self.forward(W)
        b, value, g, h, bound = self._fit_intercepts(z, self._nearest(z))
        self._last = b
        return Point(W, value, self.adjoint(g), _RowState(z, b, g, h, bound))

    def bend(self, V, point):
        """Second derivative along V, the intercepts following."""
        state = point.state
        u = self._curve(state.h, self.forward(V))
        if self.intercept.present:
            descent = -self._sums(u).reshape(-1, self.q)
            b = self._move_intercepts(state.h, descent)
            u = u + self._curve(state.h, self.spread(b))
        return self.adjoint(u)

    def dual(self, point, most):
        """Dual value of the loss's gradient, shrunk into the dual ball."""
        state = point.state
        if isinstance(self.loss, Squared) and not self.intercept.common:
            inner = -float(np.vdot(state.g, self.y))
            return residual_dual(2.0 * point.value, inner, most)
        theta = min(1.0, most)
        value = -self.loss.conjugate(self.y, theta * state.g, self.weight)
        if self.intercept.shrunk:
            sums = theta * self.price * (state.b - state.b.mean(axis=0))
            value -= 0.5 * float(np.vdot(sums, sums)) / self.price
        return value - state.bound

    def intercepts(self, W, point=None):
        """The best intercepts, of shape (n_tasks,) or (n_tasks, q)."""
        b = (self.at(W) if point is None else point).state.b
        if self._shift is not None:
            b = b + self._shift
        if self.means is not None:
            coef = W.reshape(self.data.n_tasks, self.q, -1)
            b = b - np.einsum("tkd,td->tk", coef, self.means)
        return b[:, 0].copy() if self.q == 1 else b.copy()

    @property
    def target(self):
        """Minus the gradient at zero."""
        return -self.at(np.zeros((self.n_rows, self.n_features))).gradient

    def diagonal_at(self, point):
        """Curvatures of the single coefficients, intercepts held, (n_rows, d)."""
        h = point.state.h
        squared = self.data.squared()
        if self.q == 1:
            return squared.adjoint(h)
        parts = [
            squared.adjoint(np.ascontiguousarray(h[:, k, k])) for k in range(self.q)
        ]
        return np.stack(parts, axis=1).reshape(self.n_rows, self.n_features)

    @property
    def diagonal(self):
        """Curvatures of the single coefficients at zero."""
        return self.diagonal_at(self.at(np.zeros((self.n_rows, self.n_features))))


def squared_loss(data, intercept, shrinkage, solver="auto"):
    """The squared loss from moments or from the rows, by their cost.

    Parameters
    ----------
    data : TaskData
    intercept : Intercepts
    shrinkage : float
    solver : {"auto", "moments", "rows"}

    Returns
    -------
    MomentLoss or RowLoss
    """
    if solver == "auto":
        solver = "moments" if moments_pay(data, copies=2) else "rows"
    if solver == "moments":
        return MomentLoss(gather_moments(data), intercept, shrinkage)
    return RowLoss(data, Squared(), intercept, shrinkage)


@dataclass
class _RowState:
    z: np.ndarray
    b: np.ndarray
    g: np.ndarray
    h: np.ndarray
    bound: float


def duality_gap(loss, penalty, point, gauge):
    """Objective, and its distance from the dual value of the scaled residual."""
    value = point.value + penalty.value(point.W)
    most = 1.0 / gauge if gauge > 0 else np.inf
    return value, max(value - loss.dual(point, most), 0.0)


def aligned_gap(loss, penalty, point, value, inside, enough):
    """The duality gap of a point with a subgradient of the penalty there, from moments.

    The residual of another W has minus that subgradient as its gradient, and needs next
    to no scaling: the gap is of second order in what the optimality condition lacks,
    where scaling the residual of W itself makes it one of first order.

    Parameters
    ----------
    loss : MomentLoss
    penalty : object with a `gauge`
    point : Point
    value : float
        Objective there, the penalty included.
    inside : ndarray of shape (n_rows, n_features)
        The subgradient.
    enough : float
        A gap that need not be sharpened.

    Returns
    -------
    gap : float
        Infinite where rounding has left nothing of it.
    """
    gap = np.inf
    for _ in range(_ROUNDS):
        other = loss.with_gradient(point, -inside)
        if not np.abs(other.gradient).max(initial=0.0) < _HUGE:
            break
        gauge = penalty.gauge(other.gradient)
        dual = loss.dual(other, 1.0 / gauge if gauge > 0 else np.inf)
        # where the Hessian is nearly singular that W is huge, and its value rounding
        terms = np.abs(other.W * other.gradient), np.abs(other.W * loss.target)
        noise = _ROUNDING * (loss.constant + float(terms[0].sum() + terms[1].sum()))
        if dual <= value + noise:
            gap = min(gap, value - dual + noise)
        # what scaling costs, at most
        if gap <= enough or (gauge - 1.0) * value <= 0.1 * gap:
            break
        # no residual has that gradient: go to and fro between those and the ball
        inside = penalty.prox(other.gradient) - other.gradient
        point = other
    return gap


def _pseudo_inverses(blocks):
    """Inverses of symmetric blocks, with nothing in directions without curvature."""
    size = np.sqrt(np.einsum("ujj->uj", blocks))
    # a feature that a task never moves has the square of a rounding error left
    moves = size > 1e-13 * size.max(initial=0.0)
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=moves)
    squares, basis = np.linalg.eigh(blocks * scale[:, :, None] * scale[:, None, :])
    seen = squares > 1e-12 * squares[:, -1:]
    inverse = np.divide(1.0, squares, out=np.zeros_like(squares), where=seen)
    basis = scale[:, :, None] * basis
    return np.matmul(basis * inverse[:, None, :], basis.transpose(0, 2, 1))


def residual_dual(square, inner, most):
    """Largest dual value among the multiples of the residual r up to `most`.

    square is |r|^2, inner <y, r>: the value at theta r is theta <y, r> - theta^2 |r|^2
    / 2.
    """
    theta = min(max(inner / square, -most), most) if square > 0 else 0.0
    return theta * inner - 0.5 * theta * theta * square


def dense_columns(X, chosen):
    """The chosen columns of X as a dense array."""
    part = X[:, chosen]
    return part.toarray() if sp.issparse(part) else np.ascontiguousarray(part)
