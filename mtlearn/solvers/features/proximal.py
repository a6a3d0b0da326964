"""Smooth loss + penalties of single features: proximal Newton steps.

    minimise  L(W) + sum_j penalty(W[:, j])

The loss is replaced by a quadratic around the current W, the penalised quadratic is
solved by block descent on the moments of the reweighted rows, and the step is searched
along the line (Lee, Sun and Saunders, SIAM Journal on Optimization 24, 2014). Only a
working set of features is looked at; the duality gap is that of the whole problem.
"""

import numpy as np

from ...problem.solution import Solution, Status, goal
from ..linalg import conjugate_gradient
from .block_descent import GramPart, solve_part, working_set
from .columns import smooth_penalty, turning_points
from .smooth import duality_gap

_EASE = 0.1  # accuracy of a step's problem, in gaps
_MARGIN = 1e-2  # a step more costs little, and squares the error of the coefficients
_TRIES = 30
_PATIENCE = 8  # steps without a smaller gap
_FEW_TRIES = 4
_DAMPINGS = 3
_LEAST = 1e-10  # damping of the Newton steps, of the largest curvature
_FIRST = 2  # steps before those of all classes together
_CG_TOL = 1e-3
_CG_STEPS = 200
_PASSES = 200  # of block descent within one step


def solve_proximal(loss, penalty, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise a smooth loss plus a penalty of single features.

    Parameters
    ----------
    loss : RowLoss
    penalty : L21 or Dirty
    tol : float
        The duality gap is compared with tol times the objective of the best model
        without features, or a hundred times the objective itself, whichever is smaller.
    max_iter : int
        Most Newton steps.
    start : ndarray of shape (n_rows, n_features), default=None

    Returns
    -------
    Solution
        `dual` holds the gradient of the loss.
    """
    W = np.zeros((loss.n_rows, loss.n_features)) if start is None else start.copy()
    scale, history, end = loss.zero_objective, [], Status.MAX_ITER
    least, stuck, damping = np.inf, 0, _LEAST
    point = loss.at(W)
    for n_iter in range(max_iter + 1):
        # 1) gap
        gauges = penalty.gauges(point.gradient)
        value, gap = duality_gap(loss, penalty, point, gauges.max(initial=0.0))
        history.append((value, gap / max(scale, 1e-300)))
        enough = goal(tol, scale, value)
        stuck = 0 if gap < 0.9 * least else stuck + 1
        least = min(gap, least)
        if stuck > _PATIENCE:
            end = Status.STALLED
        if gap <= _MARGIN * enough or stuck > _PATIENCE or n_iter == max_iter:
            break
        # 2) minimise the quadratic around W over a working set
        chosen = working_set(point.W, gauges)
        aim, _ = solve_part(
            GramPart(loss.quadratic(point, chosen)),
            penalty,
            point.W[:, chosen],
            _EASE * gap,
            _PASSES,
        )
        # 3) the objective along the line
        direction = np.zeros_like(point.W)
        direction[:, chosen] = aim - point.W[:, chosen]
        point, moved = _search(loss, penalty, point, direction)
        if not moved:
            end = Status.STALLED
            break
        # 4) classes were taken apart: together on what is not zero
        if loss.q > 1 and n_iter >= _FIRST:
            point, damping = _newton_step(loss, penalty, point, damping)
    W = point.W
    return Solution(
        W,
        loss.intercepts(W, point),
        value,
        history[-1][1],
        max(n_iter, 1),
        Status.CONVERGED if gap <= enough else end,
        dual=point.gradient,
        history=history,
    )


def _search(loss, penalty, point, direction, tries=_TRIES):
    """Halve the step until the objective falls by a part of what the model promises."""
    base = penalty.value(point.W)
    value = point.value + base
    slope = float(np.vdot(point.gradient, direction))
    slope += penalty.value(point.W + direction) - base
    step = 1.0
    for _ in range(tries):
        new = loss.at(point.W + step * direction)
        gain = value - new.value - penalty.value(new.W)
        if gain > 0 and gain >= -1e-4 * step * slope:
            return new, True
        # what is promised has no digits in the objective any more: the gap will tell
        if -slope <= 1e-11 * value and gain >= -1e-13 * value:
            return new, True
        step *= 0.5
    return point, False


def _newton_step(loss, penalty, point, damping):
    """Newton's method on the coefficients that are not zero, damped until it helps.

    Returns
    -------
    point : Point
    damping : float
        What to begin with next time.
    """
    for _ in range(_DAMPINGS):
        direction, stopped = _newton_direction(loss, penalty, point, damping)
        if not direction.any():
            break
        for trial in (stopped, direction):
            new, moved = _search(loss, penalty, point, trial, _FEW_TRIES)
            if moved:
                return new, max(0.01 * damping, _LEAST)
        damping *= 100.0
    return point, min(damping, 1.0)


def _newton_direction(loss, penalty, point, damping):
    """Newton's direction on the coefficients that are not zero, matrix-free.

    Returns
    -------
    direction : ndarray of shape (n_rows, n_features)
    stopped : ndarray of shape (n_rows, n_features)
        The same, but what would turn round ends at zero.
    """
    used = np.flatnonzero(point.W.any(axis=0))
    direction = np.zeros_like(point.W)
    if len(used) == 0:
        return direction, direction
    here = smooth_penalty(penalty, point.W[:, used])
    slope = (point.gradient[:, used] + here.gradient) * here.moving
    diagonal = loss.diagonal_at(point)[:, used] + here.diagonal
    floor = damping * diagonal.max()
    full = np.zeros_like(point.W)

    def dot(V):
        full[:, used] = V
        along = np.einsum("tj,tj->j", here.unit, V)
        bent = loss.bend(full, point)[:, used] + floor * V
        return (bent + here.diagonal * V - here.nu * along * here.unit) * here.moving

    direction[:, used] = conjugate_gradient(
        dot, -slope, lambda R: R / (diagonal + floor), tol=_CG_TOL, max_iter=_CG_STEPS
    )
    stopped = direction.copy()
    V, D = point.W[:, used], direction[:, used]
    stopped[:, used] = np.where(turning_points(V, here, D) <= 1.0, -V, D)
    return direction, stopped
