"""Ridge regressions of many tasks, each on rows of its own: by rows or by features.

A task of fewer rows than features is solved in the space of its rows.
"""

import numpy as np
from numba import njit

from ..linalg import factor_spd, solve_spd

_FEW = 48  # rows up to which a compiled loop is faster than a call of BLAS
_SOUND = 1e-11  # least pivot of a factorisation, relative to its diagonal


def ridge_heads(H, y, weight, starts, alpha, free):
    """Minimisers of 1/2 sum w (y - v_t.h - b_t)^2 + 1/2 alpha |v_t|^2, for every task.

    Parameters
    ----------
    H : ndarray of shape (n_samples, h)
        Rows in the order of their tasks.
    y, weight : ndarray of shape (n_samples,)
    starts : ndarray of shape (n_tasks + 1,)
        First row of every task.
    alpha : float
        Greater than 0.
    free : bool
        Whether there are intercepts.

    Returns
    -------
    V : ndarray of shape (n_tasks, h)
    b : ndarray of shape (n_tasks,)
        None of both where rounding would tell in a factorisation.
    """
    sizes, h = np.diff(starts), H.shape[1]
    Z, r = H.astype(np.float64), y.astype(np.float64)
    means, levels = np.zeros((len(sizes), h)), np.zeros(len(sizes))
    _weigh(Z, r, weight.astype(np.float64), starts, free, means, levels)
    V = np.zeros((len(sizes), h))
    few = sizes <= min(_FEW, h)
    most = int(sizes[few].max(initial=0))
    sound = _by_rows(Z, r, starts, few, alpha, np.empty((most, most)), V)
    for t in np.flatnonzero(~few):
        rows, own = Z[starts[t] : starts[t + 1]], r[starts[t] : starts[t + 1]]
        wide = len(rows) <= h
        G = rows @ rows.T if wide else rows.T @ rows
        sound = sound and alpha > _SOUND * np.trace(G)
        G[np.diag_indices(len(G))] += alpha
        known = own if wide else own @ rows
        found = solve_spd(factor_spd(G), known)
        V[t] = found @ rows if wide else found
    if not sound:
        return None
    return V, levels - np.einsum("tj,tj->t", V, means)


@njit(cache=True)
def _weigh(Z, r, weight, starts, free, means, levels):
    """Rows and labels less their task's means, times the roots of the weights."""
    n_tasks, h = means.shape
    for t in range(n_tasks):
        total = 0.0
        for i in range(starts[t], starts[t + 1]):
            total += weight[i]
            levels[t] += weight[i] * r[i]
            for j in range(h):
                means[t, j] += weight[i] * Z[i, j]
        shrink = 1.0 / total if free and total > 0.0 else 0.0
        levels[t] *= shrink
        for j in range(h):
            means[t, j] *= shrink
        for i in range(starts[t], starts[t + 1]):
            root = np.sqrt(weight[i])
            r[i] = root * (r[i] - levels[t])
            for j in range(h):
                Z[i, j] = root * (Z[i, j] - means[t, j])


@njit(cache=True)
def _by_rows(Z, r, starts, few, alpha, K, V):
    """V_t = Z_t' (Z_t Z_t' + alpha I)^-1 r_t of the tasks in `few`; whether it went."""
    h = Z.shape[1]
    for t in range(len(few)):
        if not few[t]:
            continue
        first, n = starts[t], starts[t + 1] - starts[t]
        for i in range(n):
            for k in range(i + 1):
                total = alpha if i == k else 0.0
                for j in range(h):
                    total += Z[first + i, j] * Z[first + k, j]
                K[i, k] = total
        if not _solve(K, r, first, n):
            return False
        for i in range(n):
            for j in range(h):
                V[t, j] += r[first + i] * Z[first + i, j]
    return True


@njit(cache=True)
def _solve(K, r, first, n):
    """r[first:first + n] becomes K^-1 times that, K its factor; whether that went."""
    for i in range(n):
        for k in range(i):
            total = K[i, k]
            for j in range(k):
                total -= K[i, j] * K[k, j]
            K[i, k] = total / K[k, k]
        pivot = K[i, i]
        for j in range(i):
            pivot -= K[i, j] * K[i, j]
        if not pivot > _SOUND * K[i, i]:
            return False
        K[i, i] = np.sqrt(pivot)
        total = r[first + i]
        for j in range(i):
            total -= K[i, j] * r[first + j]
        r[first + i] = total / K[i, i]
    for i in range(n - 1, -1, -1):
        total = r[first + i]
        for j in range(i + 1, n):
            total -= K[j, i] * r[first + j]
        r[first + i] = total / K[i, i]
    return True
