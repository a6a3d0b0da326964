"""Compiled passes over the tasks: what one evaluation of the likelihood costs.

Loops serve small blocks, BLAS large ones: a call of BLAS costs as much as a product of
some ten by ten numbers. Shapes: n_groups Gram matrices of q columns; n_tasks tasks, of
which members[starts[u]:starts[u + 1]] have the matrix u; k columns of the root.
"""

import numpy as np
from numba import njit

from ..linalg import add_scaled

_SMALL = 24  # unknowns of a block up to which loops are faster than BLAS


@njit(cache=True)
def copy_scaled(A, factor, out):
    """factor A into out."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[i, j] = factor * A[i, j]


@njit(cache=True)
def multiply(A, B, out):
    """A B."""
    n, m, p = A.shape[0], A.shape[1], B.shape[1]
    if max(n, m) > _SMALL:
        np.dot(A, B, out)
        return
    for i in range(n):
        for j in range(p):
            out[i, j] = 0.0
        for k in range(m):
            a = A[i, k]
            for j in range(p):
                out[i, j] += a * B[k, j]


@njit(cache=True)
def take_squares(A, out):
    """out - A' A, both triangles."""
    k, q = A.shape
    if q > _SMALL:
        add_scaled(np.dot(A.T, A), -1.0, out)
        return
    for m in range(k):
        for i in range(q):
            a = A[m, i]
            for j in range(i, q):
                out[i, j] -= a * A[m, j]
    for i in range(q):
        for j in range(i):
            out[i, j] = out[j, i]


@njit(cache=True)
def factor(P):
    """Lower Cholesky factor in place; returns the logarithm of the determinant."""
    k, total = P.shape[0], 0.0
    if k > _SMALL:
        copy_scaled(np.linalg.cholesky(P), 1.0, P)
        for i in range(k):
            total += np.log(P[i, i])
        return 2.0 * total
    for j in range(k):
        for m in range(j):
            a = P[j, m]
            for i in range(j, k):
                P[i, j] -= a * P[i, m]
        root = np.sqrt(P[j, j])
        total += np.log(root)
        for i in range(j, k):
            P[i, j] /= root
    return 2.0 * total


@njit(cache=True)
def solve_lower(L, A):
    """L^-1 A in place."""
    k, q = A.shape
    for i in range(k):
        for m in range(i):
            a = L[i, m]
            for j in range(q):
                A[i, j] -= a * A[m, j]
        a = 1.0 / L[i, i]
        for j in range(q):
            A[i, j] *= a


@njit(cache=True)
def reduce_tasks(gram, starts, members, cross, root, inner, pulled):
    """Q_t = U' V_t^-1 U and q_t = U' V_t^-1 y of all tasks.

    Parameters
    ----------
    gram : ndarray of shape (n_groups, q, q)
    starts, members : ndarray of shape (n_groups + 1,) and (n_tasks,)
    cross : ndarray of shape (n_tasks, q)
    root : ndarray of shape (q, k)
        F.
    inner : ndarray of shape (n_groups, q, q)
        Q_t, written.
    pulled : ndarray of shape (n_tasks, q)
        q_t, written.

    Returns
    -------
    logs : float
        Sum of log |P_t|.
    explained : float
        Sum of y' y - y' V_t^-1 y.
    """
    q, k = root.shape
    Ft = np.ascontiguousarray(root.T)
    X, E, P = np.empty((k, q)), np.empty((k, q)), np.empty((k, k))
    z = np.empty(k)
    logs, explained = 0.0, 0.0
    for u in range(len(gram)):
        multiply(Ft, gram[u], X)
        multiply(X, root, P)
        for i in range(k):
            P[i, i] += 1.0
        logs += factor(P) * (starts[u + 1] - starts[u])
        solve_lower(P, X)
        copy_scaled(Ft, 1.0, E)
        solve_lower(P, E)
        copy_scaled(gram[u], 1.0, inner[u])
        take_squares(X, inner[u])
        for s in range(starts[u], starts[u + 1]):
            t = members[s]
            c, left = cross[t], pulled[t]
            for j in range(q):
                left[j] = c[j]
            for i in range(k):
                a = 0.0
                for j in range(q):
                    a += E[i, j] * c[j]
                z[i] = a
                explained += a * a
                for j in range(q):
                    left[j] -= a * X[i, j]
    return logs, explained


@njit(cache=True)
def gather_scores(inner, starts, members, pulled, beta, spread, star):
    """Add up over the tasks what the derivatives in Theta need.

    With Q*_t = Q_t - Q_t N' N Q_t and e_t = q_t - Q_t beta, which overwrites q_t, star
    gains the sum of Q*_t.

    Parameters
    ----------
    spread : ndarray of shape (m, q)
        N, a root of the covariance of beta.

    Returns
    -------
    outer : ndarray of shape (q, q)
        Sum of e_t e_t'.
    """
    q, m = inner.shape[1], spread.shape[0]
    lent, outer = np.empty((m, q)), np.zeros((q, q))
    block = np.empty((q, q))
    for u in range(len(inner)):
        multiply(spread, inner[u], lent)
        copy_scaled(inner[u], 1.0, block)
        take_squares(lent, block)
        add_scaled(block, float(starts[u + 1] - starts[u]), star)
        for s in range(starts[u], starts[u + 1]):
            e = pulled[members[s]]
            for i in range(q):
                a = 0.0
                for j in range(q):
                    a += inner[u, i, j] * beta[j]
                e[i] -= a
            for i in range(q):
                for j in range(q):
                    outer[i, j] += e[i] * e[j]
    return outer


@njit(cache=True)
def _project(inner, spread, basis, B, lent, star, half, block):
    """B' (Q - Q N' N Q) B into block; basis is B' of shape (r, q)."""
    multiply(spread, inner, lent)
    copy_scaled(inner, 1.0, star)
    take_squares(lent, star)
    multiply(basis, star, half)
    multiply(half, B, block)


@njit(cache=True)
def _outer_of(members, start, end, pulled, basis, f, K):
    """Sum over some tasks of f_t f_t', f_t = B' e_t, into K."""
    copy_scaled(K, 0.0, K)
    for s in range(start, end):
        t = members[s]
        for i in range(len(f)):
            a = 0.0
            for j in range(basis.shape[1]):
                a += basis[i, j] * pulled[t, j]
            f[i] = a
        for i in range(len(f)):
            for j in range(len(f)):
                K[i, j] += f[i] * f[j]


@njit(cache=True)
def gather_squares(
    inner, starts, members, pulled, spread, basis, noise, observe, squares, mixed
):
    """Entrywise products that make up the information of variances, over all tasks.

    With Q = B' Q*_t B and f = B' e_t, squares gains Q^2 and, if asked to `observe`,
    mixed gains Q * f f' / s2, where the noise is s2.

    Parameters
    ----------
    inner : ndarray of shape (n_groups, q, q)
    pulled : ndarray of shape (n_tasks, q)
        e_t.
    spread : ndarray of shape (m, q)
    basis : ndarray of shape (r, q)
        B'.
    """
    q, r, m = inner.shape[1], basis.shape[0], spread.shape[0]
    lent, star, half = np.empty((m, q)), np.empty((q, q)), np.empty((r, q))
    block, K, f = np.empty((r, r)), np.empty((r, r)), np.empty(r)
    B = np.ascontiguousarray(basis.T)
    for u in range(len(inner)):
        _project(inner[u], spread, basis, B, lent, star, half, block)
        times = starts[u + 1] - starts[u]
        for i in range(r):
            for j in range(r):
                squares[i, j] += times * block[i, j] * block[i, j]
        if not observe:
            continue
        _outer_of(members, starts[u], starts[u + 1], pulled, basis, f, K)
        for i in range(r):
            for j in range(r):
                mixed[i, j] += block[i, j] * K[i, j] / noise


@njit(cache=True)
def _pair_products(Q, K, first, second, factors, out):
    """Add tr(E_a Q E_b K) of unit symmetric moves to the upper triangle of out."""
    for a in range(len(first)):
        i, j = first[a], second[a]
        for b in range(a, len(first)):
            k, n = first[b], second[b]
            value = Q[i, k] * K[j, n] + Q[i, n] * K[j, k]
            value += K[i, k] * Q[j, n] + K[i, n] * Q[j, k]
            out[a, b] += 0.5 * factors[a] * factors[b] * value


@njit(cache=True)
def gather_pairs(
    inner, starts, members, pulled, spread, lift, noise, observe, pairs, squares, mixed
):
    """The same for symmetric moves of a covariance, pair by pair.

    Parameters
    ----------
    lift : ndarray of shape (k, q)
    pairs : tuple of ndarray
        Rows, columns and factors (the root of 1/2 on the diagonal, else 1) of the moves
        E_a.
    squares, mixed : ndarray of shape (m, m)
        Gain tr(E_a Q E_b Q) and tr(E_a Q E_b f f') / s2.
    """
    q, k, m = inner.shape[1], lift.shape[0], spread.shape[0]
    lent, star, half = np.empty((m, q)), np.empty((q, q)), np.empty((k, q))
    block, K, f = np.empty((k, k)), np.empty((k, k)), np.empty(k)
    B = np.ascontiguousarray(lift.T)
    first, second, factors = pairs
    for u in range(len(inner)):
        _project(inner[u], spread, lift, B, lent, star, half, block)
        copy_scaled(block, float(starts[u + 1] - starts[u]), K)
        _pair_products(block, K, first, second, factors, squares)
        if not observe:
            continue
        _outer_of(members, starts[u], starts[u + 1], pulled, lift, f, K)
        copy_scaled(K, 1.0 / noise, K)
        _pair_products(block, K, first, second, factors, mixed)


@njit(cache=True)
def _factor_task(gram, root, Ft, X, P):
    """F' G into X and the Cholesky factor of I + F' G F into P."""
    multiply(Ft, gram, X)
    multiply(X, root, P)
    for i in range(P.shape[0]):
        P[i, i] += 1.0
    factor(P)


@njit(cache=True)
def find_effects(gram, starts, members, cross, root, beta, found, left):
    """Posterior means of the tasks' effects, in the columns of the root.

    Parameters
    ----------
    found : ndarray of shape (n_tasks, k)
        P_t^-1 F' (c_t - G_t beta), written.
    left : ndarray of shape (k, k)
        Gains the sum of P_t^-1.
    """
    q, k = root.shape
    Ft = np.ascontiguousarray(root.T)
    X, P, E = np.empty((k, q)), np.empty((k, k)), np.empty((k, k))
    z, block = np.empty(k), np.empty((k, k))
    for u in range(len(gram)):
        _factor_task(gram[u], root, Ft, X, P)
        for i in range(k):
            for j in range(k):
                E[i, j] = 1.0 if i == j else 0.0
        solve_lower(P, E)
        multiply(E.T.copy(), E, block)
        add_scaled(block, float(starts[u + 1] - starts[u]), left)
        for s in range(starts[u], starts[u + 1]):
            t = members[s]
            for i in range(k):
                a = 0.0
                for j in range(q):
                    a += Ft[i, j] * cross[t, j] - X[i, j] * beta[j]
                z[i] = a
            for i in range(k):
                a = 0.0
                for j in range(k):
                    a += block[i, j] * z[j]
                found[t, i] = a


@njit(cache=True)
def label_variances(U, order, starts, gram, root, spread, out):
    """Variances of the tasks' functions at rows, in units of the noise.

    Parameters
    ----------
    U : ndarray of shape (n_rows, q)
    order, starts : ndarray of int
        The rows of task t are order[starts[t]:starts[t + 1]].
    gram : ndarray of shape (n_tasks, q, q)
        Zero for a task without labels.
    root : ndarray of shape (q, k)
    spread : ndarray of shape (m, q)
        A root of the covariance of the shared coefficients.
    out : ndarray of shape (n_rows,)
        Written.
    """
    q, k = root.shape
    Ft = np.ascontiguousarray(root.T)
    X, P, a, h = np.empty((k, q)), np.empty((k, k)), np.empty(k), np.empty(q)
    for t in range(len(gram)):
        if starts[t] == starts[t + 1]:
            continue
        _factor_task(gram[t], root, Ft, X, P)
        solve_lower(P, X)
        for s in range(starts[t], starts[t + 1]):
            u, total = U[order[s]], 0.0
            for j in range(q):
                h[j] = u[j]
            for i in range(k):
                value = 0.0
                for j in range(q):
                    value += Ft[i, j] * u[j]
                for j in range(i):
                    value -= P[i, j] * a[j]
                a[i] = value / P[i, i]
                total += a[i] * a[i]
                for j in range(q):
                    h[j] -= a[i] * X[i, j]
            for i in range(len(spread)):
                value = 0.0
                for j in range(q):
                    value += spread[i, j] * h[j]
                total += value * value
            out[order[s]] = total
