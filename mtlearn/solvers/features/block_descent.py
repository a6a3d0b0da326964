"""Squared loss + penalties of single features: block coordinate descent and Newton.

    minimise  L(W) + sum_j penalty(W[:, j]),  L a quadratic,

over working sets of features. Within a working set everything happens on second
moments: compiled passes find which features are in, Newton steps on those finish. The
certificate is a duality gap; the dual point is the residual, scaled into the dual ball
(Massias, Gramfort and Salmon, Celer, ICML 2018).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ...problem.penalties import L21, shrink
from ...problem.solution import Solution, Status, goal
from .columns import _DAMPINGS, NewtonStep
from .lengths import solve_lengths
from .smooth import (
    MomentLoss,
    Point,
    RowLoss,
    dense_columns,
    duality_gap,
    residual_dual,
)

_BLOCK = 32  # features whose gradients are kept up to date one by one
_FIRST = 64  # features of the first working set
_EASE = 0.3  # accuracy of a working set's problem, in gaps of the whole
_DEAR = 20  # passes, from which a Newton step is not the only way to be quick
_TRAIL = 5  # passes that are extrapolated from
_TRIFLE = 1e4  # flops that take less time than to ask for them
_EXACT = 1e-13  # a gap, relative to the objective, that is rounding


def solve_block_descent(loss, penalty, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise the squared loss plus a penalty of single features.

    Parameters
    ----------
    loss : MomentLoss or RowLoss
        With the squared loss.
    penalty : L21 or Dirty
    tol : float
        The duality gap is compared with tol times the objective of the best model
        without features, or a hundred times the objective itself, whichever is smaller.
    max_iter : int
        Most passes over the features, of all working sets together.
    start : ndarray of shape (n_rows, n_features), default=None

    Returns
    -------
    Solution
        `dual` holds the gradient of the loss.
    """
    n_rows, d = loss.n_rows, loss.n_features
    if isinstance(loss, RowLoss) and isinstance(penalty, L21) and _flat(loss):
        how = {"tol": tol, "max_iter": max_iter, "start": start}
        solution = solve_lengths(loss, penalty, **how)
        if solution is not None:
            return solution
    W = np.zeros((n_rows, d)) if start is None else np.array(start, dtype=np.float64)
    scale, n_iter, history = loss.zero_objective, 0, []
    best = (np.inf, np.inf)
    status = Status.MAX_ITER
    while True:
        # 1) gradient, gap
        point = loss.at(W)
        gauges = penalty.gauges(point.gradient)
        value, gap = duality_gap(loss, penalty, point, gauges.max(initial=0.0))
        history.append((value, gap / max(scale, 1e-300)))
        enough = goal(tol, scale, value)
        if gap <= enough:
            status = Status.CONVERGED
            break
        if not (gap < best[0] or value < best[1]):
            status = Status.STALLED
            break
        best = min(gap, best[0]), value
        if n_iter >= max_iter:
            break
        # 2) the features that are in, and those whose gauges are largest
        chosen = working_set(W, gauges)
        # 3) solve for those
        W[:, chosen], used = solve_part(
            _part(loss, chosen),
            penalty,
            W[:, chosen],
            enough if len(chosen) == d else max(_EASE * gap, 0.3 * enough),
            max_iter - n_iter,
        )
        n_iter += used
    b = loss.intercepts(W, point)
    certificate = history[-1][1]
    return Solution(
        W,
        b,
        value,
        certificate,
        max(n_iter, 1),
        status,
        dual=point.gradient,
        history=history,
    )


def _flat(loss):
    """Whether there are more features than rows, which all tasks have in common."""
    data = loss.data
    return data.wide and data.X.shape[0] < loss.n_features


def _part(loss, chosen):
    """The problem of a working set, on moments or on residuals, by what is smaller."""
    if isinstance(loss, RowLoss) and not loss.intercept.common:
        data = loss.data
        rows = data.X.shape[0] if data.wide else 2 * len(data.rows) // data.n_tasks
        if len(chosen) > max(rows, _FIRST):
            return RowPart(loss, chosen)
    whole = isinstance(loss, MomentLoss) and len(chosen) == loss.n_features
    return GramPart(loss if whole else loss.columns(chosen))


def working_set(W, gauges):
    """Features in use, and at most as many again of those whose gauges are largest."""
    in_use = W.any(axis=0)
    wanted = in_use | (gauges > 1.0)
    size = min(max(_FIRST, 2 * int(in_use.sum())), int(wanted.sum()))
    if size == len(gauges):
        return np.arange(size)
    gauges = np.where(in_use, np.inf, gauges)
    return np.sort(np.argpartition(-gauges, size - 1)[:size])


# ---------------------------------------------------------------- one working set


def solve_part(part, penalty, W, enough, max_iter):
    """Passes and Newton steps until the gap of these features alone is small.

    Returns
    -------
    W : ndarray of shape (n_rows, n_chosen)
    n_iter : int
        Passes made.
    """
    newton = NewtonStep(part, penalty)
    part.put(W)
    spent, before, n_iter = 0.0, np.inf, 0
    trail = [part.where()]
    while n_iter < max_iter:
        for _ in range(part.rhythm):
            part.descend(penalty.alpha, penalty.beta)
            trail.append(part.where())
        n_iter += part.rhythm
        spent += part.rhythm * part.pass_cost
        dear = newton.cost(part.W) > _DEAR * part.pass_cost
        if dear and len(trail) > _TRAIL:
            _extrapolate(part, penalty, trail)
        point = part.point()
        value, gap = duality_gap(part, penalty, point, penalty.gauge(point.gradient))
        if gap <= enough:
            cheap = newton.cost(part.W) <= max(part.pass_cost, _TRIFLE)
            if cheap and np.isfinite(enough) and gap > _EXACT * value:
                _polish(newton, point, gap)
            return part.W, n_iter
        if spent >= newton.cost(part.W) and n_iter > 1:
            spent = 0.0
            moved = newton.improve(part.W, point.gradient)
            if moved is not None:
                part.put(moved)
            # near the minimum rounding hides what a step gains, but not in the gap
            elif not _polish(newton, point, gap) and not value < before:
                break
            before = value
        if not dear or len(trail) > _TRAIL:
            trail = [part.where()]
    return part.W, n_iter


def _polish(newton, point, gap):
    """A plain Newton step, which squares the error; whether the gap falls by it."""
    part, penalty = newton.part, newton.penalty
    W, kept = part.W, part.where()
    # a little damping, where the Hessian does not see some direction
    for damping in _DAMPINGS[[0, 2]]:
        moved = newton.plain(W, point.gradient, damping)
        if moved is None:
            continue
        part.put(moved)
        there = part.point()
        _, closer = duality_gap(part, penalty, there, penalty.gauge(there.gradient))
        if closer < gap:
            return True
    part.move(kept)
    return False


def _extrapolate(part, penalty, trail):
    """Anderson's combination of the last passes, kept if it lowers the objective.

    Where a Newton step costs many passes (Bertrand and Massias, Anderson acceleration
    of coordinate descent, AISTATS 2021). Residuals and gradients are affine in W: they
    are combined with it.
    """
    steps = np.diff(np.array([W for W, *_ in trail]).reshape(len(trail), -1), axis=0)
    gram = steps @ steps.T
    gram[np.diag_indices(len(gram))] += 1e-12 * np.trace(gram)
    try:
        weight = np.linalg.solve(gram, np.ones(len(gram)))
    except np.linalg.LinAlgError:
        return
    weight /= weight.sum()
    here, base = trail[-1], part.value() + penalty.value(part.W)
    part.move([np.tensordot(weight, column, 1) for column in zip(*trail[1:])])
    if not part.value() + penalty.value(part.W) < base:
        part.move(here)


class GramPart:
    """A working set on its second moments; the gradient follows every change.

    Parameters
    ----------
    loss : MomentLoss
        Of the S features of the set.
    """

    rhythm = 1

    def __init__(self, loss):
        self.loss, self.n_rows = loss, loss.n_rows
        n_blocks, size = self.n_blocks, _ = loss.hessian.shape[:2]
        width = 1 if n_blocks == 1 else loss.n_rows
        corners = _corners(size, width)
        for k, (s, e) in _groups(size):
            square = loss.hessian[:, s:e, s:e].transpose(1, 2, 0)
            square = square if width == 1 else square[..., loss.block]
            corners[k, : e - s, : e - s] = square
        coupling = np.zeros((0, size)) if loss.coupling is None else loss.coupling
        self._hessian = np.ascontiguousarray(loss.hessian)
        self._block = loss.block.astype(np.int64)
        curvature = np.ascontiguousarray(loss.diagonal)
        scale = np.ascontiguousarray(loss.scale, dtype=np.float64)
        coupling = np.ascontiguousarray(coupling)
        self._square = _Square(corners, curvature, scale, coupling)
        self.most = curvature.max(axis=0, initial=0.0)
        self.pass_cost = float(loss.n_rows) * size * size * _rate(n_blocks)

    def put(self, W):
        """Set W and compute the gradient afresh."""
        self.W = np.ascontiguousarray(W)
        coupling = self.loss.coupling
        self.gradient = self.loss.bend(self.W) - self.loss.target
        self.shared = np.zeros(1)
        if coupling is not None:
            # the kernel carries the part that couples the intercepts as one number
            self.shared[0] = np.vdot(coupling, self.W)
            self.gradient += self.shared[0] * coupling

    def where(self):
        """W and what follows it, as they are now."""
        return self.W.copy(), self.gradient.copy(), self.shared.copy()

    def move(self, place):
        """Go where `where` has been, or to an affine combination of such places."""
        self.W, self.gradient, self.shared = place

    def descend(self, alpha, beta):
        """One pass over the features."""
        fixed, place = (self._hessian, self._block), (self.gradient, self.shared)
        _descend_gram(*fixed, self._square, *place, self.W, alpha, beta)

    def point(self):
        """Value and gradient where we are."""
        loss, gradient = self.loss, self.gradient
        if loss.coupling is not None:
            gradient = gradient - self.shared[0] * loss.coupling
        value = np.vdot(self.W, gradient) - np.vdot(self.W, loss.target)
        value = loss.constant + 0.5 * float(value)
        return Point(self.W, max(value, 0.0), gradient)

    def value(self):
        """Value of the loss where we are."""
        return self.point().value

    def dual(self, point, most):
        """As that of the loss."""
        return self.loss.dual(point, most)

    def columns(self, used):
        """The loss of some of the features, from moments."""
        return self.loss.columns(used)

    build_cost = 0.0


class RowPart:
    """A working set on the residuals: for more features than rows.

    Blocks of features see their part of the Gram only; between blocks the residual
    moves, by products of matrices. Intercepts are free, or there are none.

    Parameters
    ----------
    loss : RowLoss
        With the squared loss.
    chosen : ndarray of shape (S,), int
    """

    rhythm = 5

    def __init__(self, loss, chosen):
        self.loss, self.chosen = loss, chosen
        data, size = loss.data, len(chosen)
        self.n_rows, self.n_features = loss.n_rows, size
        self._centre = loss.intercept.own
        self._X = np.ascontiguousarray(dense_columns(data.features, chosen).T)
        self._weight = self._table(loss.weight)
        self._y = self._table(loss.y)
        # centred features, all labels seen, one weight: the residual stays centred
        weight = self._weight
        self._even = data.wide and bool(weight.min() == weight.max())
        self._even &= not self._centre or loss.means is not None
        corners = self._blocks_of_gram()
        self.n_blocks = corners.shape[-1]
        curvature = self._diagonal(corners)
        ones, none = np.ones(self.n_rows), np.zeros((0, size))
        self._square = _Square(corners, curvature, ones, none)
        self.most = curvature.max(axis=0, initial=0.0)
        self.pass_cost = 2.0 * self._y.size * size * _rate(1 if data.wide else 2)
        self.build_cost = float(data.X.shape[0])

    def _table(self, values):
        """Values per observation, (n_samples, n_tasks) in the wide layout."""
        data = self.loss.data
        if not data.wide:
            return values.copy()
        table = np.zeros((data.n_tasks, data.X.shape[0]))
        table.ravel()[data._flat] = values
        return np.ascontiguousarray(table.T)

    def _blocks_of_gram(self):
        """Blocks of the diagonal of every task's Gram, intercepts taken out."""
        X, n_tasks, weight = self._X, self.n_rows, self._weight
        plain = self.loss.data.wide and bool(np.all(weight == weight[:1]))
        plain = plain and bool(np.all(weight == weight[:, :1]))
        corners = _corners(len(X), 1 if plain else n_tasks)
        for k, (s, e) in _groups(len(X)):
            for t in range(1 if plain else n_tasks):
                rows, w = self._rows_of(t)
                part = X[s:e, rows]
                heavy = part * w
                block = heavy @ part.T
                if self._centre and w.sum() > 0:
                    total = heavy.sum(axis=1)
                    block -= np.outer(total, total) / w.sum()
                corners[k, : e - s, : e - s, t] = block
        return corners

    def _rows_of(self, t):
        """Rows of a task in X, and their weights."""
        data = self.loss.data
        if data.wide:
            return slice(None), self._weight[:, t]
        part = slice(data.starts[t], data.starts[t + 1])
        return part, self._weight[part]

    def _diagonal(self, corners):
        size, width = len(self._X), corners.shape[-1]
        diagonal = np.einsum("kjjt->tkj", corners).reshape(width, -1)[:, :size]
        return np.ascontiguousarray(np.broadcast_to(diagonal, (self.n_rows, size)))

    def put(self, W):
        """Set W and compute the residuals afresh."""
        self.W = np.ascontiguousarray(W)
        data = self.loss.data
        if data.wide:
            self._residual = self._y - self._X.T @ self.W.T
            if self._even:
                return
        else:
            self._residual = self._y - np.einsum(
                "ji,ij->i", self._X, self.W[data.task_of]
            )
        if self._centre:
            if data.wide:
                total = np.maximum(self._weight.sum(axis=0), 1e-300)
                self._residual -= (self._weight * self._residual).sum(axis=0) / total
            else:
                for t in range(self.n_rows):
                    rows, w = self._rows_of(t)
                    if w.sum() > 0:
                        self._residual[rows] -= np.average(
                            self._residual[rows], weights=w
                        )

    def descend(self, alpha, beta):
        """One pass over the features."""
        arrays = self._square, self._weight, self._residual, self._centre
        if self.loss.data.wide:
            even = float(self._weight[0, 0]) if self._even else 0.0
            _descend_table(self._X, *arrays, even, self.W, alpha, beta)
        else:
            starts = self.loss.data.starts
            _descend_rows(self._X, starts, *arrays, self.W, alpha, beta)

    def where(self):
        """W and what follows it, as they are now."""
        return self.W.copy(), self._residual.copy()

    def move(self, place):
        """Go where `where` has been, or to an affine combination of such places."""
        self.W, self._residual = place

    def value(self):
        """Value of the loss where we are."""
        return 0.5 * float(np.vdot(self._weight * self._residual, self._residual))

    def point(self):
        """Value and gradient where we are."""
        data, heavy = self.loss.data, self._weight * self._residual
        value = 0.5 * float(np.vdot(heavy, self._residual))
        if data.wide:
            gradient = -np.ascontiguousarray((self._X @ heavy).T)
        else:
            gradient = -np.array(
                [
                    self._X[:, rows] @ heavy[rows]
                    for rows, _ in map(self._rows_of, range(self.n_rows))
                ]
            )
        return Point(self.W, value, gradient, float(np.vdot(heavy, self._y)))

    def dual(self, point, most):
        """As that of the loss."""
        return residual_dual(2.0 * point.value, point.state, most)

    def columns(self, used):
        """The loss of some of the features, from moments."""
        return self.loss.columns(self.chosen[used])


def _groups(size):
    """Numbers and ranges of the blocks of features."""
    return [
        (k, (s, min(s + _BLOCK, size))) for k, s in enumerate(range(0, size, _BLOCK))
    ]


def _rate(n_blocks):
    """Time of a multiplication in a pass: by products of matrices, or of vectors."""
    return 0.5 if n_blocks == 1 else 1.0


def _corners(size, width):
    return np.zeros((-(-size // _BLOCK), _BLOCK, _BLOCK, width))


# ---------------------------------------------------------------- compiled passes


class _Square(NamedTuple):
    """What a pass reads of the quadratic.

    Attributes
    ----------
    corners : ndarray of shape (n_blocks, _BLOCK, _BLOCK, 1 or n_rows)
        Blocks of the diagonal of the Hessian, those of all rows side by side.
    curvature : ndarray of shape (n_rows, S)
    scale : ndarray of shape (n_rows,)
        Factors of the corners.
    coupling : ndarray of shape (0 or n_rows, S)
    """

    corners: np.ndarray
    curvature: np.ndarray
    scale: np.ndarray
    coupling: np.ndarray


@njit(cache=True)
def _descend_block(square, k, W, local, change, shared, alpha, beta):
    """Minimise over the columns of block k in turn; returns whether any moved.

    local (width, n): the gradient of the block's columns; change (n, width): what was
    added to W.
    """
    width, n = local.shape
    corner, coupling = square.corners[k], square.coupling
    coupled = coupling.shape[0] > 0
    z, h, w, delta = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    moved = False
    for j in range(width):
        column = k * _BLOCK + j
        for t in range(n):
            h[t] = square.curvature[t, column]
            z[t] = h[t] * W[t, column] - local[j, t]
        if coupled:
            for t in range(n):
                z[t] += shared[0] * coupling[t, column]
        shrink(z, h, alpha, beta, w)
        same = True
        for t in range(n):
            delta[t] = w[t] - W[t, column]
            change[t, j] = delta[t]
            same = same and delta[t] == 0.0
        if same:
            continue
        moved = True
        for t in range(n):
            W[t, column] = w[t]
            if coupled:
                shared[0] += coupling[t, column] * delta[t]
            delta[t] *= square.scale[t]
        # what comes before has had its turn
        if corner.shape[2] == 1:
            for i in range(j + 1, width):
                factor = corner[j, i, 0]
                for t in range(n):
                    local[i, t] += factor * delta[t]
        else:
            for i in range(j + 1, width):
                for t in range(n):
                    local[i, t] += corner[j, i, t] * delta[t]
    return moved


@njit(cache=True)
def _descend_gram(hessian, block, square, gradient, shared, W, alpha, beta):
    """One pass on moments, in place; the gradient (n_rows, S) follows."""
    n, size = W.shape
    turn, scale = np.empty((n, size)), square.scale
    for k in range(square.corners.shape[0]):
        s = k * _BLOCK
        width = min(_BLOCK, size - s)
        local, change = np.empty((width, n)), np.zeros((n, width))
        for t in range(n):
            for j in range(width):
                local[j, t] = gradient[t, s + j]
        if not _descend_block(square, k, W, local, change, shared, alpha, beta):
            continue
        if hessian.shape[0] == 1:
            np.dot(change, hessian[0, s : s + width], turn)
        else:
            for t in range(n):
                np.dot(change[t], hessian[block[t], s : s + width], turn[t])
        for t in range(n):
            for j in range(size):
                gradient[t, j] += scale[t] * turn[t, j]


@njit(cache=True)
def _descend_table(X, square, weight, residual, centre, even, W, alpha, beta):
    """One pass on residuals (n_samples, n_tasks), tasks with rows in common.

    even: the weight of all labels where there is but one (and X is centred), else 0.
    """
    n, size = W.shape
    shared, table = np.zeros(1), np.empty(residual.shape)
    for k in range(square.corners.shape[0]):
        s = k * _BLOCK
        width = min(_BLOCK, size - s)
        part = X[s : s + width]
        local, change = np.empty((width, n)), np.zeros((n, width))
        if even > 0.0:
            np.dot(part, residual, local)
        else:
            for i in range(residual.shape[0]):
                for t in range(n):
                    table[i, t] = weight[i, t] * residual[i, t]
            np.dot(part, table, local)
        for j in range(width):
            for t in range(n):
                local[j, t] *= -even if even > 0.0 else -1.0
        if not _descend_block(square, k, W, local, change, shared, alpha, beta):
            continue
        np.dot(part.T, change.T, table)
        for i in range(residual.shape[0]):
            for t in range(n):
                residual[i, t] -= table[i, t]
        if centre and even == 0.0:
            mean, total = np.zeros(n), np.zeros(n)
            for i in range(residual.shape[0]):
                for t in range(n):
                    mean[t] += weight[i, t] * residual[i, t]
                    total[t] += weight[i, t]
            for t in range(n):
                mean[t] /= max(total[t], 1e-300)
            for i in range(residual.shape[0]):
                for t in range(n):
                    residual[i, t] -= mean[t]


@njit(cache=True)
def _descend_rows(X, starts, square, weight, residual, centre, W, alpha, beta):
    """One pass on residuals (n_observations,), tasks with rows of their own."""
    n, size = W.shape
    shared = np.zeros(1)
    for k in range(square.corners.shape[0]):
        s = k * _BLOCK
        width = min(_BLOCK, size - s)
        local, change = np.empty((width, n)), np.zeros((n, width))
        for j in range(width):
            row = X[s + j]
            for t in range(n):
                total = 0.0
                for i in range(starts[t], starts[t + 1]):
                    total += row[i] * weight[i] * residual[i]
                local[j, t] = -total
        if not _descend_block(square, k, W, local, change, shared, alpha, beta):
            continue
        for t in range(n):
            first, last = starts[t], starts[t + 1]
            for j in range(width):
                if change[t, j] != 0.0:
                    for i in range(first, last):
                        residual[i] -= change[t, j] * X[s + j, i]
            if centre:
                total, mean = 0.0, 0.0
                for i in range(first, last):
                    total += weight[i]
                    mean += weight[i] * residual[i]
                mean /= max(total, 1e-300)
                for i in range(first, last):
                    residual[i] -= mean
