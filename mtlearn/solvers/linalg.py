"""Symmetric systems: factors, inverses of many blocks, conjugate gradients."""

import numpy as np
from numba import njit
from scipy import linalg

from ..problem.threads import WORTH, in_threads, inner, task_ranges

_SMALL = 64  # up to this size our own loops beat a LAPACK call per block
_CG_TOL = 1e-12
_CG_STEPS = 2000


def conjugate_gradient(dot, rhs, precondition, tol=_CG_TOL, max_iter=_CG_STEPS):
    """Preconditioned conjugate gradients for dot(x) = rhs, arrays of any shape."""
    x, residual = np.zeros_like(rhs), rhs.copy()
    limit = tol * inner(rhs, rhs) ** 0.5
    direction, last = None, 1.0
    for _ in range(max_iter):
        if inner(residual, residual) ** 0.5 <= limit:
            break
        z = precondition(residual)
        now = inner(residual, z)
        if not 0 < now < np.inf:
            break
        direction = z if direction is None else z + (now / last) * direction
        product = dot(direction)
        bend = inner(direction, product)
        if not bend > 0:
            break
        step = now / bend
        x += step * direction
        # not in place: a preconditioner may return the residual itself
        residual = residual - step * product
        last = now
    return x


def svd(W):
    """Thin singular value decomposition."""
    try:
        return np.linalg.svd(W, full_matrices=False)
    except np.linalg.LinAlgError:
        # the faster driver may fail where the slower does not
        return linalg.svd(W, full_matrices=False, lapack_driver="gesvd")


def ground(corner):
    """Make the curvature of unpenalised unknowns definite where it has none.

    A task without active rows has no curvature in its intercept, nor has a class that
    the task does not have; softmax has none in the direction in which all intercepts
    rise. The gradient vanishes there too, so any positive number gives the step zero.
    """
    corner = np.array(corner)
    q = corner.shape[-1]
    diagonal = np.arange(q)
    flat = corner[..., diagonal, diagonal]
    level = flat.sum(axis=-1, keepdims=True) / max(q, 1)
    empty = flat <= 1e-14 * np.maximum(level, 1e-300)
    if q > 1:
        rise = np.where(empty, 0.0, 1.0)
        corner += (level / q)[..., None] * rise[..., :, None] * rise[..., None, :]
    corner[..., diagonal, diagonal] += np.where(empty, 1.0, 0.0)
    return corner


def ground_whole(corner):
    """The same for one matrix whose flat directions may be any: they get curvature."""
    size = len(corner)
    level = float(np.trace(corner)) / max(size, 1)
    if level <= 0:
        return np.eye(size)
    factor, info = linalg.lapack.dpotrf(corner, lower=1)
    if info == 0 and np.diag(factor).min() ** 2 > 1e-12 * level:
        return corner
    values, vectors = linalg.eigh(corner)
    return corner + (vectors * np.where(values > 1e-12 * level, 0.0, level)) @ vectors.T


def factor_spd(M):
    """Cholesky factor, or the eigendecomposition where M is not safely definite."""
    diagonal = np.diag(M)
    # rounding may leave nothing, or less, of a diagonal entry: take the unknown out
    scale = np.where(diagonal > 0.0, 1.0 / np.sqrt(np.maximum(diagonal, 1e-300)), 0.0)
    M = M * scale * scale[:, None]
    # LAPACK directly: the checks of the SciPy wrappers cost more than a small system
    factor, info = linalg.lapack.dpotrf(M, lower=1)
    if info == 0 and np.diag(factor).min() > 1e-8:
        return scale, factor, None
    values, vectors = linalg.eigh(M)
    keep = values > 1e-14 * len(values) * max(values[-1], 1e-300)
    inverse = np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)
    return scale, None, (inverse, vectors)


def solve_spd(factor, rhs):
    """Solve with what `factor_spd` returned; rhs of shape (n,) or (n, m)."""
    scale, cholesky, spectrum = factor
    scale = scale if rhs.ndim == 1 else scale[:, None]
    if cholesky is not None:
        return scale * linalg.lapack.dpotrs(cholesky, scale * rhs, lower=1)[0]
    inverse, vectors = spectrum
    inverse = inverse if rhs.ndim == 1 else inverse[:, None]
    return scale * (vectors @ (inverse * (vectors.T @ (scale * rhs))))


def invert_blocks(H, shift, scale, own, todo, out, small=_SMALL):
    """Write (diag(shift_t) + S H_t S)^-1 into `out` for the blocks marked in `todo`.

    The last `own` unknowns are not shifted and S is 1 for them, `scale` for the others.
    Up to the size `small` the loops are our own.

    Returns the smallest ratio of a squared pivot to its diagonal entry: 1 - R^2 of the
    feature that the ones before it explain best, whatever the units.
    """
    p = H.shape[1]
    if p <= small:
        worth = len(H) * p**3 > WORTH

        def some(blocks):
            part = slice(*blocks)
            rest = scale, own, todo[part], out[part]
            return _invert_small(H[part], shift[part], *rest)

        return min(in_threads(some, task_ranges(np.arange(len(H) + 1), worth)))
    lowest = 1.0
    diagonal = np.arange(p)
    factors = np.where(diagonal < p - own, scale, 1.0)
    for t in np.flatnonzero(todo):
        M = H[t] * factors * factors[:, None]
        M[diagonal[: p - own], diagonal[: p - own]] += shift[t]
        if own:
            M[p - own :, p - own :] = ground(M[p - own :, p - own :])
        full = np.maximum(M[diagonal, diagonal], 1e-300)
        factor, info = linalg.lapack.dpotrf(M, lower=1)
        if info == 0:
            ratio = np.min(np.diag(factor)[: p - own] ** 2 / full[: p - own])
            out[t], info = invert_factor(factor)
        if info != 0:
            ratio, inverse = 0.0, linalg.pinvh(M)
            lower = np.tril(inverse)
            out[t] = lower + np.tril(inverse, -1).T
        lowest = min(lowest, ratio)
    return lowest


def invert_factor(factor):
    """Inverse of L L' and LAPACK's info, for a lower triangle L with zeros above it.

    Not by `dpotri`: OpenBLAS starts its threads there for a matrix of any size, and on
    a busy machine they wait for each other a thousand times as long as the work takes.
    """
    root, info = linalg.lapack.dtrtri(factor, lower=1)
    return root.T @ root, info


@njit(cache=True)
def take(A, rows, columns, out, symmetric):
    """A[rows][:, columns]; of a symmetric part half is read, by rows, and mirrored."""
    for a in range(rows.shape[0]):
        row = A[rows[a]]
        for b in range(a + 1 if symmetric else columns.shape[0]):
            out[a, b] = row[columns[b]]
    for a in range(rows.shape[0] if symmetric else 0):
        for b in range(a):
            out[b, a] = out[a, b]


# whole-array assignments bring broadcasting along, which takes seconds to compile
@njit(cache=True)
def add_scaled(A, factor, out):
    """out + factor A."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[i, j] += factor * A[i, j]


@njit(cache=True, nogil=True)
def _invert_small(H, shift, scale, own, todo, out):
    """Cholesky, inverse of the factor, its square, for every block marked in `todo`.

    Inner loops run along rows and take four of them at once: a short loop is bound by
    loading and storing its target.
    """
    p = H.shape[1]
    L = np.zeros((p, p))
    R = np.zeros((p, p))
    full = np.empty(p)
    lowest = 1.0
    for t in range(H.shape[0]):
        if not todo[t]:
            continue
        for i in range(p):
            s = scale if i < p - own else 1.0
            for j in range(i + 1):
                L[i, j] = s * (scale if j < p - own else 1.0) * H[t, i, j]
            if i < p - own:
                L[i, i] += shift[t]
            full[i] = L[i, i]
        lowest = min(lowest, _factor_small(L, full, p - own))
        _invert_factor(L, R, out[t])
    return lowest


@njit(cache=True)
def _factor_small(L, full, n_shifted):
    """Cholesky in place, four columns at a time; returns the smallest pivot ratio."""
    p = L.shape[0]
    C = np.empty((4, p))
    lowest = 1.0
    for first in range(0, p, 4):
        size = min(4, p - first)
        for q in range(size):
            j = first + q
            pivot = L[j, j]
            if full[j] > 0.0 and j < n_shifted:
                lowest = min(lowest, max(pivot, 0.0) / full[j])
            if not pivot > 1e-15 * full[j]:
                # numerically dependent on the features before it: take it out
                pivot = 1e300
            root = np.sqrt(pivot)
            L[j, j] = root
            for i in range(j + 1, p):
                L[i, j] /= root
                C[q, i] = L[i, j]
            for k in range(j + 1, first + size):
                c = C[q, k]
                for i in range(k, p):
                    L[i, k] -= c * C[q, i]
        for i in range(first + 4, p):
            c0, c1, c2, c3 = C[0, i], C[1, i], C[2, i], C[3, i]
            for k in range(first + 4, i + 1):
                L[i, k] -= c0 * C[0, k] + c1 * C[1, k] + c2 * C[2, k] + c3 * C[3, k]
    return lowest


@njit(cache=True)
def _invert_factor(L, R, P):
    """R = L^-1, both lower triangular, and P = R' R."""
    p = L.shape[0]
    for i in range(p):
        for j in range(i):
            R[i, j] = 0.0
        R[i, i] = 1.0
        whole = i - i % 4
        for k in range(0, whole, 4):
            c0, c1, c2, c3 = L[i, k], L[i, k + 1], L[i, k + 2], L[i, k + 3]
            for j in range(k + 4):
                R[i, j] -= (
                    c0 * R[k, j]
                    + c1 * R[k + 1, j]
                    + c2 * R[k + 2, j]
                    + c3 * R[k + 3, j]
                )
        for k in range(whole, i):
            c = L[i, k]
            for j in range(k + 1):
                R[i, j] -= c * R[k, j]
        c = 1.0 / L[i, i]
        for j in range(i + 1):
            R[i, j] *= c
    for i in range(p):
        for j in range(i + 1):
            P[i, j] = 0.0
        whole = i + (p - i) // 4 * 4
        for k in range(i, whole, 4):
            c0, c1, c2, c3 = R[k, i], R[k + 1, i], R[k + 2, i], R[k + 3, i]
            for j in range(i + 1):
                P[i, j] += (
                    c0 * R[k, j]
                    + c1 * R[k + 1, j]
                    + c2 * R[k + 2, j]
                    + c3 * R[k + 3, j]
                )
        for k in range(whole, p):
            c = R[k, i]
            for j in range(i + 1):
                P[i, j] += c * R[k, j]
        for j in range(i):
            P[j, i] = P[i, j]
