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
def multiply(A, B, out):
    """A B; what is zero in A costs nothing."""
    n, m, p = A.shape[0], A.shape[1], B.shape[1]
    if max(n, m) > _SMALL:
        full = 0
        for i in range(n):
            for k in range(m):
                full += A[i, k] != 0.0
        if 4 * full > n * m:
            np.dot(A, B, out)
            return
    for i in range(n):
        for j in range(p):
            out[i, j] = 0.0
        for k in range(m):
            a = A[i, k]
            if a == 0.0:
                continue
            for j in range(p):
                out[i, j] += a * B[k, j]


@njit(cache=True)
def turn(A, out):
    """A' into out."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[j, i] = A[i, j]


@njit(cache=True)
def take_squares(B, A, out):
    """B - A' A into out, both triangles."""
    k, q = A.shape
    if q > _SMALL:
        np.dot(A.T, A, out)
        for i in range(q):
            for j in range(q):
                out[i, j] = B[i, j] - out[i, j]
        return
    for i in range(q):
        for j in range(i, q):
            out[i, j] = B[i, j]
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
        root = np.linalg.cholesky(P)
        for i in range(k):
            for j in range(k):
                P[i, j] = root[i, j]
            total += np.log(P[i, i])
        return 2.0 * total
    # the upper factor, whose rows are contiguous, then turned
    for j in range(k):
        root = np.sqrt(P[j, j])
        total += np.log(root)
        for i in range(j, k):
            P[j, i] /= root
        for i in range(j + 1, k):
            a = P[j, i]
            P[i, j] = a
            for m in range(i, k):
                P[i, m] -= a * P[j, m]
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
    X, P = np.empty((k, q)), np.empty((k, k))
    z, turned = np.empty(k), np.empty((q, k))
    logs, explained = 0.0, 0.0
    for u in range(len(gram)):
        multiply(Ft, gram[u], X)
        turn(X, turned)
        multiply(Ft, turned, P)
        for i in range(k):
            P[i, i] += 1.0
        logs += factor(P) * (starts[u + 1] - starts[u])
        solve_lower(P, X)
        take_squares(gram[u], X, inner[u])
        for s in range(starts[u], starts[u + 1]):
            t = members[s]
            c, left = cross[t], pulled[t]
            for j in range(q):
                left[j] = c[j]
            for i in range(k):
                a = 0.0
                for j in range(q):
                    a += Ft[i, j] * c[j]
                for m in range(i):
                    a -= P[i, m] * z[m]
                z[i] = a = a / P[i, i]
                explained += a * a
                for j in range(q):
                    left[j] -= a * X[i, j]
    return logs, explained


@njit(cache=True)
def project(inner, spread, basis, blocks):
    """B' Q*_t B of every matrix, Q*_t = Q_t - Q_t N' N Q_t.

    Parameters
    ----------
    inner : ndarray of shape (n_groups, q, q)
        Q_t.
    spread : ndarray of shape (m, q)
        N.
    basis : ndarray of shape (r, q)
        B'.
    blocks : ndarray of shape (n_groups, r, r)
        Written.
    """
    q, r, m = inner.shape[1], basis.shape[0], spread.shape[0]
    half, turned = np.empty((r, q)), np.empty((q, r))
    lent, own = np.empty((m, r)), np.empty((r, r))
    for u in range(len(inner)):
        multiply(basis, inner[u], half)
        turn(half, turned)
        multiply(spread, turned, lent)
        multiply(basis, turned, own)
        take_squares(own, lent, blocks[u])


@njit(cache=True)
def pair_products(blocks, others, times, pairs, out):
    """Add times_u tr(E_a Q_u E_b K_u) of symmetric moves to the upper triangle of out.

    Parameters
    ----------
    blocks, others : ndarray of shape (n_groups, k, k)
        Q and K.
    times : ndarray of shape (n_groups,)
    pairs : tuple of ndarray
        Rows, columns and factors (the root of 1/2 on the diagonal, else 1) of the moves
        E_a.
    """
    first, second, factors = pairs
    for u in range(len(blocks)):
        Q, K = blocks[u], others[u]
        for a in range(len(first)):
            i, j = first[a], second[a]
            for b in range(a, len(first)):
                k, n = first[b], second[b]
                value = Q[i, k] * K[j, n] + Q[i, n] * K[j, k]
                value += K[i, k] * Q[j, n] + K[i, n] * Q[j, k]
                out[a, b] += 0.5 * times[u] * factors[a] * factors[b] * value


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
        multiply(Ft, gram[u], X)
        multiply(X, root, P)
        for i in range(k):
            P[i, i] += 1.0
        factor(P)
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
    out : ndarray of shape (len(order),)
        Written, in that order.
    """
    q, k = root.shape
    Ft = np.ascontiguousarray(root.T)
    X, P, a, h = np.empty((k, q)), np.empty((k, k)), np.empty(k), np.empty(q)
    turned, lent = np.ascontiguousarray(spread.T), np.empty(len(spread))
    for t in range(len(gram)):
        if starts[t] == starts[t + 1]:
            continue
        multiply(Ft, gram[t], X)
        multiply(X, root, P)
        for i in range(k):
            P[i, i] += 1.0
        factor(P)
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
            for i in range(len(lent)):
                lent[i] = 0.0
            for j in range(q):
                value, row = h[j], turned[j]
                for i in range(len(lent)):
                    lent[i] += value * row[i]
            for i in range(len(lent)):
                total += lent[i] * lent[i]
            out[s] = total


@njit(cache=True)
def score_rows(U, place, starts, sign, weight, shifts, eta):
    """Scores of all labels, written to `eta`; returns their logistic loss.

    Parameters
    ----------
    U : ndarray of shape (n_rows, q)
    place : ndarray of shape (n_labels,), int
        Row of each label; the labels of task t are starts[t]:starts[t + 1].
    sign, weight : ndarray of shape (n_labels,)
    shifts : ndarray of shape (n_tasks, q)
        Coefficients of every task.
    """
    q, total = U.shape[1], 0.0
    for t in range(len(shifts)):
        for i in range(starts[t], starts[t + 1]):
            u, w = U[place[i]], shifts[t]
            # four sums at a time: each waits for itself alone
            a, b, c, z, j = 0.0, 0.0, 0.0, 0.0, 0
            while j + 4 <= q:
                z += u[j] * w[j]
                a += u[j + 1] * w[j + 1]
                b += u[j + 2] * w[j + 2]
                c += u[j + 3] * w[j + 3]
                j += 4
            while j < q:
                z += u[j] * w[j]
                j += 1
            z = (z + a) + (b + c)
            eta[i] = z
            z *= sign[i]
            loss = np.log1p(np.exp(-abs(z)))
            total += weight[i] * (loss if z > 0 else loss - z)
    return total


@njit(cache=True)
def work(sign, weight, eta, w, target):
    """Curvatures of all labels, and curvature times score plus residual, written."""
    for i in range(len(eta)):
        e = np.exp(-abs(eta[i]))
        w[i] = weight[i] * e / (1.0 + e) ** 2
        # the residual is the label's probability of being the other one
        p = 1.0 / (1.0 + e) if eta[i] * sign[i] < 0 else e / (1.0 + e)
        target[i] = w[i] * eta[i] + weight[i] * sign[i] * p


@njit(cache=True)
def bend(weight, eta, lent, out):
    """Derivatives of the curvatures times `lent`, written."""
    for i in range(len(eta)):
        e = np.exp(-abs(eta[i]))
        slope = weight[i] * e * (e - 1.0) / (1.0 + e) ** 3
        out[i] = slope * (lent[i] if eta[i] > 0 else -lent[i])


@njit(cache=True)
def gather_squares(U, place, starts, w, gram):
    """Add U' W U of each task to `gram`, (n_tasks, q, q); both triangles."""
    q = U.shape[1]
    for t in range(len(gram)):
        G = gram[t]
        for i in range(starts[t], starts[t + 1]):
            u = U[place[i]]
            for j in range(q):
                a = w[i] * u[j]
                for k in range(j + 1):
                    G[j, k] += a * u[k]
        for j in range(q):
            for k in range(j):
                G[k, j] = G[j, k]


@njit(cache=True)
def gather_cross(U, place, starts, values, cross):
    """Add U' values of each task to `cross`, (n_tasks, q)."""
    q = U.shape[1]
    for t in range(len(cross)):
        for i in range(starts[t], starts[t + 1]):
            for j in range(q):
                cross[t, j] += values[i] * U[place[i], j]


@njit(cache=True)
def gather_own(U, Z, place, starts, w, half):
    """Z' W U of each task into `half`, (n_tasks, r, q), which is zero."""
    q, r = U.shape[1], Z.shape[1]
    if r > _SMALL:
        most = 0
        for t in range(len(half)):
            most = max(most, starts[t + 1] - starts[t])
        left, right = np.empty((most, r)), np.empty((most, q))
        for t in range(len(half)):
            n = starts[t + 1] - starts[t]
            for i in range(n):
                p, a = place[starts[t] + i], w[starts[t] + i]
                for j in range(r):
                    left[i, j] = a * Z[p, j]
                for j in range(q):
                    right[i, j] = U[p, j]
            np.dot(left[:n].T, right[:n], half[t])
        return
    for t in range(len(half)):
        H = half[t]
        for i in range(starts[t], starts[t + 1]):
            u, z = U[place[i]], Z[place[i]]
            for j in range(r):
                a = w[i] * z[j]
                for k in range(q):
                    H[j, k] += a * u[k]


@njit(cache=True)
def take_deviations(left, task, own, upper, taken, known):
    """Take what the tasks know of their deviations out of rows of U.

    Parameters
    ----------
    left : ndarray of shape (n_labels, q)
        Rows u of U, of which u - X_t' a is left, a = P_t^-1/2 F' u.
    task : ndarray of shape (n_labels,), int
    own : ndarray of shape (s,), int
        Columns of U that F has rows of.
    upper : ndarray of shape (n_tasks, s, k)
        F P_t^-1/2'.
    taken : ndarray of shape (n_tasks, k, q)
        X_t.
    known : ndarray of shape (n_labels,)
        Gains the squares of a.
    """
    k = upper.shape[2]
    a = np.empty(k)
    for i in range(len(left)):
        h, X, E = left[i], taken[task[i]], upper[task[i]]
        for m in range(k):
            a[m] = 0.0
        for j in range(len(own)):
            u, row = h[own[j]], E[j]
            for m in range(k):
                a[m] += u * row[m]
        for m in range(k):
            b, row = a[m], X[m]
            known[i] += b * b
            for j in range(len(h)):
                h[j] -= b * row[j]
