"""Squared losses of a kernel machine: Newton's method on the observations with a loss.

At scores z = G beta + b the active observations are those whose response is not zero
(inside their box). A step solves for their beta and the intercepts as if none became
active or inactive,

    (G + diagonal) beta + b = linear - width sign(beta),   sum of beta per group = 0,

and an exact line search in the primal objective goes as far as it pays. When a whole
step changes no side, the answer is exact.

Chapelle, O., Training a support vector machine in the primal, Neural Computation 19,
2007.
"""

import numpy as np
from numba import njit
from scipy import linalg

from .margins import respond

_STEPS = 25
_SEARCH = 40


def newton(problem, point):
    """Take Newton steps until the active observations stay the same.

    Parameters
    ----------
    problem : BoxProblem
        All diagonals above zero.
    point : BoxPoint
        Where to begin; where to end, if that is a point of the dual.

    Returns
    -------
    done : bool
        Whether the point was changed.
    """
    dual, group = problem.dual, problem.group
    beta, f, b = point.beta, point.f, problem.gap(point.beta, point.f).b
    for _ in range(_STEPS):
        z = f + _spread(b, group)
        response = respond(dual, z)
        active = np.flatnonzero(response)
        step = _solve_active(problem, active, np.sign(response[active]), b)
        if step is None:
            return False
        new_beta, new_b = step
        new_f = np.zeros(problem.n)
        problem.gram.push(active, new_beta[active], new_f)
        new_z = new_f + _spread(new_b, group)
        side = np.flatnonzero(respond(dual, new_z))
        length = 1.0
        if len(side) != len(active) or np.any(side != active):
            length = _search(dual, beta, f, z, new_beta, new_f, new_z)
        if not length > 0.0:
            return False
        if length == 1.0:
            beta, f, b = new_beta, new_f, new_b
            inside = np.all((beta >= dual.lower) & (beta <= dual.upper))
            if inside and len(side) == len(active) and np.all(side == active):
                point.beta, point.f = beta, f
                return True
        else:
            beta = beta + length * (new_beta - beta)
            f = f + length * (new_f - f)
            b = b + length * (new_b - b)
    return False


def _spread(b, group):
    """Intercept of every observation; groups of -1 have none."""
    return np.append(b, 0.0)[group]


def _solve_active(problem, active, sign, b):
    """Beta (zero elsewhere) and intercepts for given active observations.

    None where the matrix is not definite in double precision.
    """
    dual, n_groups = problem.dual, problem.n_groups
    beta, new_b = np.zeros(problem.n), b.copy()
    if len(active) == 0:
        return beta, new_b
    H = problem.gram.sub(active)
    H[np.diag_indices(len(active))] += dual.diagonal[active]
    try:
        factor = linalg.cho_factor(H, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    aim = dual.linear[active] - dual.width[active] * sign
    if n_groups == 0:
        beta[active] = linalg.cho_solve(factor, aim, check_finite=False)
        return beta, new_b
    groups, place = np.unique(problem.group[active], return_inverse=True)
    ends = np.zeros((len(active), len(groups)))
    ends[np.arange(len(active)), place] = 1.0
    solved = linalg.cho_solve(factor, np.column_stack([aim, ends]), check_finite=False)
    corner = ends.T @ solved[:, 1:]
    own = linalg.solve(corner, ends.T @ solved[:, 0], assume_a="sym")
    beta[active] = solved[:, 0] - solved[:, 1:] @ own
    new_b[groups] = own
    return beta, new_b


def _search(dual, beta, f, z, new_beta, new_f, new_z):
    """Minimise the primal objective along a step; 0 where it does not descend."""
    move, carried, dz = new_beta - beta, new_f - f, new_z - z
    first, second = float(move @ f), float(move @ carried)
    slope, _ = _along(dual, z, dz, 0.0)
    slope0 = slope + first
    if not slope0 < 0.0:
        return 0.0
    low, high, step = 0.0, np.inf, 1.0
    for _ in range(_SEARCH):
        slope, bend = _along(dual, z, dz, step)
        slope += first + step * second
        bend += second
        if abs(slope) <= 1e-2 * abs(slope0):
            return step
        low, high = (step, high) if slope < 0.0 else (low, step)
        step -= slope / bend if bend > 0.0 else 0.0
        if not low < step < high:
            step = 2.0 * low if high == np.inf else 0.5 * (low + high)
    return step


@njit(cache=True)
def _along(dual, z, dz, step):
    """Slope and curvature of the loss along a change of the scores."""
    lower, upper, diagonal, linear, width = dual
    slope, bend = 0.0, 0.0
    for i in range(z.shape[0]):
        rest = linear[i] - z[i] - step * dz[i]
        over = abs(rest) - width[i]
        if over > 0.0:
            beta = (over if rest > 0.0 else -over) / diagonal[i]
            if lower[i] < beta < upper[i]:
                bend += dz[i] * dz[i] / diagonal[i]
            slope -= min(max(beta, lower[i]), upper[i]) * dz[i]
    return slope, bend
