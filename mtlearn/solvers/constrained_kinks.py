"""Losses with kinks + relation + constraints: few rows at a time in a conic solver.

Far from its kinks a row's loss is a line, whatever the coefficients nearby. Such rows
are summed to one linear term; only those near a kink, as a loss with rounded kinks
places them, are handed over one by one. Where a row of the sum turns out to lie on
another line than was assumed, it joins the others. A line is never above the loss, so
that every problem on the way bounds the minimum from below: the certificate is the
objective less that bound.
"""

import numpy as np
import scipy.sparse as sp

from ..problem.baseline import base_objective
from ..problem.solution import Status, goal
from .conic import Pieces, Slope, Unbounded, solve_pieces
from .constrained import ConstrainedSolution, Inner, solve_margins, stay_sparse
from .quadratic import Unknowns

_LOOSE = 1e-4  # tolerance of the rounded losses that place the rows
_SHARPER = 3  # rounded losses, each with a parabola narrower than the last
_STEP = 8.0  # how much narrower
_LENT = 1e-3  # curvature of rows on a slope, relative to those in a parabola


def solve_constrained_kinks(
    data, loss, epsilon, form, alpha, limits, *, intercept, tol, max_iter, options
):
    """Minimise the hinge or epsilon-insensitive loss + relation under constraints.

    Parameters
    ----------
    data : TaskData
    loss : {"hinge", "epsilon_insensitive"}
    epsilon : float
        Errors up to this size cost nothing; not used by the hinge.
    form : ArrowForm or MatrixForm
    alpha : float
        Greater than 0.
    limits : Limits
    intercept : {"free", "shrunk", "shared", "none"}
    tol : float
        What the certificate must reach, relative to the best model without
        features.
    max_iter : int
        Most conic problems.
    options : dict
        Keywords of cvxpy's ``Problem.solve``.

    Returns
    -------
    ConstrainedSolution

    Raises
    ------
    Infeasible
        If no coefficients obey the constraints.
    """
    lines = _Lines(data, loss, epsilon)
    sparse = stay_sparse(data, form, limits)
    inner = Inner(form, intercept, data.n_features, alpha, limits, options, sparse)
    z, near = _place(inner, data, lines, max_iter)
    unknowns = Unknowns(form, intercept, data.n_features, explicit=True)
    scale = base_objective(data, loss, form, intercept, lines.zero)
    single, history, status = lines.near(z, near), [], Status.MAX_ITER
    for _ in range(max_iter):
        # 1) a lower bound: the marked rows as they are, the others on a line
        answer = _lower_bound(lines, unknowns, z, single, alpha, limits, options)
        if answer is None:
            single = np.ones_like(single)
            continue
        # 2) the objective itself at its solution
        coef = (unknowns.lift @ answer.x).reshape(data.n_tasks, -1)
        b = unknowns.shift @ answer.x
        ahead = data.scores(coef, b)
        penalty = 0.5 * alpha * float(answer.x @ (unknowns.omega @ answer.x))
        value = lines.value(ahead) + penalty
        bound = max(value - answer.value, 0.0) + answer.gap
        history.append((value, bound / scale))
        if bound <= goal(tol, scale, value):
            status = Status.CONVERGED
            break
        # 3) mark the rows that are not on the line where they were put
        astray = (lines.zone(ahead) != lines.zone(z)) & ~single
        if not np.any(astray):
            status = Status.STALLED
            break
        single |= astray
        z = np.where(single, z, ahead)
    return ConstrainedSolution(
        coef,
        b,
        *history[-1],
        len(history),
        status,
        history=history,
        prices=0.0 - answer.multipliers,
        pulls=answer.pulls,
        calls=answer.calls,
    )


def _place(inner, data, lines, max_iter):
    """Scores near the solution, and how near: by ever sharper rounded kinks."""
    start, width = None, lines.level
    for _ in range(_SHARPER):
        found = solve_margins(
            inner, data, _Rounded(lines, width), _LOOSE, max_iter, start, _LENT
        )
        start, width = (found.x, found.intercept), width / _STEP
    return data.scores(found.coef, found.intercept), _STEP * width


class _Rounded:
    """The loss with its kinks replaced by parabolas of a given width."""

    def __init__(self, lines, width):
        self.lines, self.width = lines, width

    def evaluate(self, y, z, weight):
        """Weighted sum, and each observation's slope and curvature."""
        heights, width = self.lines.heights(z), self.width
        zone = heights.argmax(axis=1)
        over = heights.max(axis=1)
        slope = self.lines.slopes[np.arange(len(z)), zone]
        bent = (over > 0) & (over < width)
        value = np.where(bent, 0.5 * over**2 / width, over - 0.5 * width * (over > 0))
        g = weight * slope * np.minimum(over / width, 1.0)
        return float(weight @ value), g, np.where(bent, weight / width, 0.0)

    def value(self, y, z, weight):
        """Weighted sum."""
        return self.evaluate(y, z, weight)[0]

    def along(self, y, z, dz, weight, step):
        """Value, slope and curvature along the line z + step * dz."""
        value, g, h = self.evaluate(y, z + step * dz, weight)
        return value, float(g @ dz), float(h @ dz**2)


def _lower_bound(lines, unknowns, z, single, alpha, limits, options):
    """The conic problem of the marked rows; None if it is unbounded, but not all are.

    Where all are marked there is nothing left to be unbounded.
    """
    pieces, slope = lines.split(z, single)
    sizes = lines.units, lines.level, lines.zero
    try:
        return solve_pieces(unknowns, pieces, slope, alpha, limits, options, *sizes)
    except Unbounded:
        if single.all():
            raise
        return None


class _Lines:
    """The loss of every observation as the largest of its lines and zero."""

    def __init__(self, data, loss, epsilon):
        self.data = data
        y, self.weight = data.labels, data.weights
        if loss == "hinge":
            self.slope, self.height = -y[:, None], np.ones((len(y), 1))
        else:
            self.slope = np.tile([-1.0, 1.0], (len(y), 1))
            self.height = np.column_stack([y, -y]) - epsilon
        # zero's line first
        self.slopes = np.column_stack([np.zeros(len(y)), self.slope])
        self.units = _units(data)
        self.zero = max(self.value(np.zeros(len(y))), 1e-300)
        self.level = 1.0 if loss == "hinge" else max(np.sqrt(np.mean(y**2)), 1e-300)

    def heights(self, z):
        """Value of every line at the scores, zero's first."""
        lines = self.slope * z[:, None] + self.height
        return np.column_stack([np.zeros(len(z)), lines])

    def value(self, z):
        """Weighted sum of the loss."""
        return float(self.weight @ self.heights(z).max(axis=1))

    def zone(self, z):
        """The line on which each observation is."""
        return self.heights(z).argmax(axis=1)

    def near(self, z, width):
        """Observations that near to a kink, of each task some in any case."""
        heights = np.sort(self.heights(z), axis=1)
        distance = heights[:, -1] - heights[:, -2]
        data, single = self.data, distance <= width
        count = data.n_features + 1
        for s, size in zip(data.starts[:-1], data.sizes, strict=True):
            part = distance[s : s + size]
            if count >= size:
                single[s : s + size] = True
            else:
                single[s + np.argpartition(part, count)[:count]] = True
        return single

    def split(self, z, single):
        """The marked observations one by one, and the sum of the others' lines."""
        data, rest = self.data, np.flatnonzero(~single)
        X = data.features[data.place[single]]
        pieces = Pieces(
            X,
            data.task_of[single],
            self.weight[single],
            self.slope[single],
            self.height[single],
        )
        zone = self.zone(z)
        slope = self.slopes
        height = np.column_stack([np.zeros(len(z)), self.height])
        g = np.zeros(len(z))
        g[rest] = self.weight[rest] * slope[rest, zone[rest]]
        level = float(self.weight[rest] @ height[rest, zone[rest]])
        return pieces, Slope(data.adjoint(g), data.sums(g), level)


def _units(data):
    """Root mean square of every feature, one where it is zero."""
    X = data.X
    square = X.multiply(X).mean(axis=0) if sp.issparse(X) else np.mean(X * X, axis=0)
    units = np.sqrt(np.asarray(square).ravel())
    return np.where(units > 0, units, 1.0)
