"""Quadratics under linear constraints from the inside, where guessing did not end.

    minimise 1/2 x' H x - f' x   over   lower <= C x <= upper

by Mehrotra's predictor-corrector method (SIAM J. Optimization 2, 1992). Slower than a
right guess of the binding rows, but nothing is too degenerate for it; what it finds is
the next guess.
"""

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog
from scipy.sparse.linalg import splu

_ROUNDS = 80
_ENOUGH = 1e-12  # gap and residuals, relative, at which to stop
_TINY = 1e-200  # what slacks and multipliers keep
_BACK = 0.995  # share of the way to the boundary


def solve_interior(H, f, C, lower, upper, prepare=None):
    """Minimise a convex quadratic under linear constraints.

    Parameters
    ----------
    H : csr_array or LinearOperator of shape (n, n)
        Scaled to about one on its diagonal.
    f : ndarray of shape (n,)
    C : csr_array of shape (n_rows, n)
    lower, upper : ndarray of shape (n_rows,)
    prepare : callable, default=None
        Of chosen rows of C and their slacks: makes a function that solves H x + C' y =
        p, C x - slack y = q for (p, q), where H is not a matrix.

    Returns
    -------
    x : ndarray of shape (n,)
    multipliers : ndarray of shape (n_rows,)
        Positive at an upper limit, negative at a lower one.
    accuracy : float
        The largest relative residual.
    """
    fixed = np.flatnonzero(lower == upper)
    above = np.flatnonzero((lower < upper) & np.isfinite(upper))
    below = np.flatnonzero((lower < upper) & np.isfinite(lower))
    G = sp.vstack([C[above], -C[below]]).tocsr()
    h = np.concatenate([upper[above], -lower[below]])
    E = C[fixed]
    if prepare is None:

        def factor(slack):
            return _factor(H, E, G, slack)
    else:
        rows = np.concatenate([fixed, above, below])
        signs = np.repeat([1.0, -1.0], [len(fixed) + len(above), len(below)])

        def factor(slack):
            solve = prepare(rows, np.concatenate([np.zeros(len(fixed)), slack]))
            return _signed(solve, signs)

    x, y, z, accuracy = _walk(factor, H, f, E, lower[fixed], G, h)
    multipliers = np.zeros(len(lower))
    multipliers[fixed] = y
    multipliers[above] += z[: len(above)]
    multipliers[below] -= z[len(above) :]
    return x, multipliers, accuracy


def _signed(solve, signs):
    """The solver for rows times their signs."""

    def signed(f, *limits):
        x, y = solve(f, signs * np.concatenate(limits))
        return np.concatenate([x, signs * y])

    return signed


def _walk(factor, H, f, E, e, G, h):
    """Predictor-corrector steps for E x = e, G x <= h; keeps the best point."""
    n, n_in = len(f), len(h)
    solve = factor(np.ones(n_in))
    x, y, z = np.split(solve(f, e, h), [n, n + len(e)])
    # both must be positive, and not by too little
    s, z = _inside(h - G @ x), _inside(z)
    scale = 1.0 + max(np.abs(f).max(initial=0), np.abs(h).max(initial=0))
    best = (np.inf, x, y, z)
    for _ in range(_ROUNDS):
        dual = f - H @ x - E.T @ y - G.T @ z
        equal, inside = e - E @ x, h - G @ x - s
        mu = float(s @ z) / max(n_in, 1)
        worst = max(np.abs(part).max(initial=0.0) for part in (dual, equal, inside))
        worst = max(worst, mu) / scale
        if worst < best[0]:
            best = (worst, x, y, z)
        if worst <= _ENOUGH or not np.isfinite(worst):
            break
        try:
            solve = factor(s / z)
        except (RuntimeError, np.linalg.LinAlgError):
            # a singular matrix (SuperLU, LAPACK): the limits leave no inside
            break
        step = _direction(solve, n, len(e), dual, equal, inside, s, z, s * z)
        reach = _reach(s, step[3], z, step[2])
        ahead = float((s + reach * step[3]) @ (z + reach * step[2])) / max(n_in, 1)
        target = s * z + step[3] * step[2] - mu * (ahead / mu) ** 3 if n_in else s
        step = _direction(solve, n, len(e), dual, equal, inside, s, z, target)
        reach = min(1.0, _BACK * _reach(s, step[3], z, step[2]))
        x, y = x + reach * step[0], y + reach * step[1]
        z = np.maximum(z + reach * step[2], _TINY)
        s = np.maximum(s + reach * step[3], _TINY)
    return best[1], best[2], best[3], best[0]


def _direction(solve, n, n_equal, dual, equal, inside, s, z, target):
    """Newton step for the complementarities s z = s z - target."""
    dx, dy, dz = np.split(solve(dual, equal, inside + target / z), [n, n + n_equal])
    return dx, dy, dz, -(target + s * dz) / z


def _factor(H, E, G, slack):
    """Solver of the Newton system with G x - slack z on the last rows."""
    tiny = -1e-13 * sp.eye_array(E.shape[0])
    near = H + 1e-13 * sp.eye_array(H.shape[0])
    blocks = [[near, E.T, G.T], [E, tiny, None], [G, None, -sp.diags_array(slack)]]
    system = sp.csc_matrix(sp.block_array(blocks))
    factor = splu(system)
    return lambda *parts: factor.solve(np.concatenate(parts))


def _inside(v):
    """Move an array well into the positive."""
    if not len(v):
        return v
    v = v + max(0.0, -1.5 * v.min())
    return v + max(0.5 * np.abs(v).mean(), 1e-3)


def _reach(s, ds, z, dz):
    """Longest step, up to one, that keeps both positive."""
    reach = 1.0
    for value, change in ((s, ds), (z, dz)):
        down = change < 0
        if down.any():
            reach = min(reach, float((-value[down] / change[down]).min()))
    return reach


def is_feasible(C, lower, upper):
    """Whether some x has lower <= C x <= upper, by linear programming."""
    fixed = lower == upper
    above, below = ~fixed & np.isfinite(upper), ~fixed & np.isfinite(lower)
    A = sp.vstack([C[above], -C[below]])
    found = linprog(
        np.zeros(C.shape[1]),
        A_ub=sp.csc_matrix(A),
        b_ub=np.concatenate([upper[above], -lower[below]]),
        A_eq=sp.csc_matrix(C[fixed]),
        b_eq=lower[fixed],
        bounds=(None, None),
        method="highs",
    )
    return found.status != 2
