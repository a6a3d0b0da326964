"""The linear systems (alpha A kron I + blockdiag(H_t)) D = G, by the structure of A.

Each solver keeps the factors of the blocks that did not change since the last call, and
takes an optional border: unpenalised unknowns that all tasks share (an intercept).
"""

import numpy as np
from numba import njit
from scipy import linalg

from ..relations import ArrowForm

_SMALL = 64  # up to this size our own loops beat a LAPACK call per block
_DIRECT = 1500  # unknowns up to which a dense factorisation is the simplest
_GRADED = (
    1e10  # ratio of scales beyond which an eigendecomposition loses the small ones
)
_CG_TOL = 1e-12
_CG_STEPS = 2000


class Blocks:
    """The Hessians of the tasks: `hessian[which[t]]` belongs to task t.

    Attributes
    ----------
    hessian : ndarray of shape (n_blocks, p, p)
    border : ndarray of shape (n_blocks, p, q)
        Mixed derivatives in the coefficients and the shared intercepts; q may be 0.
    corner : ndarray of shape (n_blocks, q, q)
        Second derivatives in the shared intercepts.
    which : ndarray of shape (n_tasks,), int, or None
        None where every task has its own block, in order.
    """

    def __init__(self, hessian, border=None, corner=None, which=None):
        n_blocks, p = hessian.shape[:2]
        self.hessian, self.which = hessian, which
        self.border = np.zeros((n_blocks, p, 0)) if border is None else border
        self.corner = np.zeros((n_blocks, 0, 0)) if corner is None else corner
        self.n_tasks = n_blocks if which is None else len(which)
        self.times = None if which is None else np.bincount(which, minlength=n_blocks)

    def total(self, blocks):
        """Sum over tasks of what is stored per block."""
        if self.times is None:
            return blocks.sum(axis=0)
        return np.tensordot(self.times.astype(float), blocks, axes=1)

    def each(self, blocks):
        """What is stored per block, for every task."""
        return blocks if self.which is None else blocks[self.which]

    def dot(self, blocks, V):
        """blocks[which[t]] @ V[t] for every task; V of shape (n_tasks, p)."""
        if self.which is None:
            return np.matmul(blocks, V[:, :, None])[:, :, 0]
        product = np.empty((self.n_tasks, blocks.shape[1]))
        for u in range(len(blocks)):
            tasks = self.which == u
            product[tasks] = V[tasks] @ blocks[u].T
        return product


def coupled_solver(form, alpha):
    """Return the solver that suits the form: `update(blocks)`, then `solve(rhs)`."""
    if isinstance(form, ArrowForm):
        return ArrowSolver(form, alpha)
    return MatrixSolver(form, alpha)


class ArrowSolver:
    """Common part and private parts: eliminate each task, solve for the common part.

    With M_t = alpha I + b^2 H_t the Schur complement of the common part is
    alpha I + a^2 sum_t alpha M_t^-1 H_t, a sum of positive terms.
    """

    def __init__(self, form, alpha):
        self.form, self.alpha = form, alpha
        self.inverse = None
        self.pivot = 1.0

    def update(self, blocks, changed=None):
        """Take new blocks; `changed` marks those that differ from the last call's."""
        self.blocks = blocks
        a, b, alpha = self.form.shared, self.form.private, self.alpha
        n_blocks, p, _ = blocks.hessian.shape
        if b > 0:
            if self.inverse is None:
                self.inverse = np.empty_like(blocks.hessian)
                changed = None
            shift = np.full(n_blocks, alpha)
            self.pivot = invert_blocks(
                blocks.hessian, shift, b * b, changed, self.inverse
            )
        self.head = None
        q = blocks.border.shape[2]
        if a == 0 and q == 0:
            return
        head = np.zeros((p + q, p + q))
        head[:p, :p] = self._common(p)
        if q:
            head[:p, p:] = a * blocks.total(self._damped(blocks.border))
            head[p:, :p] = head[:p, p:].T
            head[p:, p:] = self._corner()
        self.head = factor_spd(head)

    def _common(self, p):
        a, b, alpha, blocks = (
            self.form.shared,
            self.form.private,
            self.alpha,
            self.blocks,
        )
        if a == 0:
            return alpha * np.eye(p)
        if b == 0:
            return alpha * np.eye(p) + a * a * blocks.total(blocks.hessian)
        if b * b > 1e-6:
            # alpha M^-1 H = (I - alpha M^-1) alpha / b^2 needs no product
            total = -alpha * blocks.total(self.inverse)
            total[np.diag_indices(p)] += blocks.n_tasks
            return alpha * np.eye(p) + (a * a * alpha / (b * b)) * total
        damped = blocks.total(np.matmul(self.inverse, blocks.hessian))
        damped = 0.5 * (damped + damped.T)
        return alpha * np.eye(p) + a * a * alpha * damped

    def _damped(self, columns):
        """(I - b^2 H M^-1) columns = alpha M^-1 columns, per block."""
        if self.form.private == 0:
            return columns
        return self.alpha * np.matmul(self.inverse, columns)

    def _corner(self):
        blocks, b = self.blocks, self.form.private
        corner = blocks.corner
        if b > 0:
            inner = np.matmul(self.inverse, blocks.border)
            corner = corner - b * b * np.matmul(blocks.border.transpose(0, 2, 1), inner)
        return ground(blocks.total(corner))

    def solve(self, rhs, rhs_border):
        """Solve for theta (n_tasks + 1, p) and the border unknowns (q,)."""
        a, b, blocks = self.form.shared, self.form.private, self.blocks
        theta = np.zeros_like(rhs)
        if b > 0:
            theta[1:] = blocks.dot(self.inverse, rhs[1:])
        if self.head is None:
            return theta, np.zeros(0)
        p = rhs.shape[1]
        border = blocks.each(blocks.border)
        head = np.concatenate([rhs[0], rhs_border])
        if b > 0:
            if a > 0:
                head[:p] -= a * b * blocks.dot(blocks.hessian, theta[1:]).sum(axis=0)
            head[p:] -= b * np.einsum("tpq,tp->q", border, theta[1:])
        head = solve_spd(self.head, head)
        theta[0] = head[:p]
        if b > 0:
            pull = np.einsum("tpq,q->tp", border, head[p:])
            if a > 0:
                common = np.broadcast_to(theta[0], (blocks.n_tasks, p))
                pull = pull + a * blocks.dot(blocks.hessian, common)
            theta[1:] -= b * blocks.dot(self.inverse, pull)
        return theta, head[p:]


class MatrixSolver:
    """Any task precision A: dense factorisation, or conjugate gradients.

    A preconditioner is exact where it can be: with one common block the system is
    alpha A kron I + I kron H, two eigendecompositions. Otherwise it is the blocks on
    the diagonal (sparse A, or features in very different units), or the same two
    eigendecompositions with the mean block.
    """

    def __init__(self, form, alpha):
        self.form, self.alpha = form, alpha
        self.pivot = 1.0
        self._spectrum = None

    def update(self, blocks, changed=None):
        """Take new blocks."""
        self.blocks = blocks
        n, p = blocks.n_tasks, blocks.hessian.shape[1]
        if n * p <= _DIRECT:
            self._precondition = self._direct(n, p)
        else:
            mean = blocks.total(blocks.hessian) / n
            scale = self.alpha + np.diag(mean)
            dense = not hasattr(self.form.precision, "tocsr")
            even = scale.max() <= _GRADED * scale.min()
            if even and (dense or blocks.which is not None) and n <= 4000:
                self._precondition = self._kronecker(mean)
            else:
                self._precondition = self._diagonal_blocks()
        border = blocks.each(blocks.border)
        self._border = np.ascontiguousarray(border.transpose(2, 0, 1))
        self._swept = np.array([self._solve(column) for column in self._border])
        corner = blocks.total(blocks.corner)
        if len(self._border):
            corner = corner - np.tensordot(self._border, self._swept, ([1, 2], [1, 2]))
            self._corner = factor_spd(ground(0.5 * (corner + corner.T)))

    def solve(self, rhs, rhs_border):
        """Solve for theta (n_tasks, p) and the border unknowns (q,)."""
        theta = self._solve(rhs)
        if not len(self._border):
            return theta, np.zeros(0)
        short = rhs_border - np.tensordot(self._border, theta, ([1, 2], [0, 1]))
        beta = solve_spd(self._corner, short)
        return theta - np.tensordot(beta, self._swept, 1), beta

    def _dot(self, theta):
        product = self.alpha * self.form.metric(theta)
        return product + self.blocks.dot(self.blocks.hessian, theta)

    def _solve(self, rhs):
        return conjugate_gradient(self._dot, rhs, self._precondition)

    def _direct(self, n, p):
        A = self.form.precision
        A = A.toarray() if hasattr(A, "toarray") else A
        M = self.alpha * np.kron(A, np.eye(p))
        hessian = self.blocks.each(self.blocks.hessian)
        for t in range(n):
            M[t * p : (t + 1) * p, t * p : (t + 1) * p] += hessian[t]
        factor = factor_spd(M)
        return lambda r: solve_spd(factor, r.ravel()).reshape(n, p)

    def _kronecker(self, mean):
        if self._spectrum is None:
            A = self.form.precision
            self._spectrum = linalg.eigh(A.toarray() if hasattr(A, "toarray") else A)
        values, Q = self._spectrum
        curvature, V = linalg.eigh(mean)
        bottom = self.alpha * values[:, None] + np.maximum(curvature, 0.0)
        return lambda r: Q @ ((Q.T @ r @ V) / bottom) @ V.T

    def _diagonal_blocks(self):
        hessian = np.ascontiguousarray(self.blocks.each(self.blocks.hessian))
        inverse = np.empty_like(hessian)
        shift = self.alpha * self.form.precision.diagonal()
        self.pivot = invert_blocks(hessian, shift, 1.0, None, inverse)
        return lambda r: np.matmul(inverse, r[:, :, None])[:, :, 0]


def conjugate_gradient(dot, rhs, precondition, tol=_CG_TOL, max_iter=_CG_STEPS):
    """Preconditioned conjugate gradients for dot(x) = rhs, arrays of any shape."""
    x, residual = np.zeros_like(rhs), rhs.copy()
    limit = tol * np.linalg.norm(rhs)
    direction, last = None, 1.0
    for _ in range(max_iter):
        if np.linalg.norm(residual) <= limit:
            break
        z = precondition(residual)
        now = np.vdot(residual, z)
        direction = z if direction is None else z + (now / last) * direction
        product = dot(direction)
        bend = np.vdot(direction, product)
        if not bend > 0:
            break
        step = now / bend
        x += step * direction
        residual -= step * product
        last = now
    return x


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


def factor_spd(M):
    """Cholesky factor, or the eigendecomposition where M is not safely definite."""
    scale = np.sqrt(np.maximum(np.diag(M), 1e-300))
    try:
        factor = linalg.cho_factor(M / scale / scale[:, None], lower=True)
        if np.diag(factor[0]).min() > 1e-8:
            return scale, factor, None
    except linalg.LinAlgError:
        pass
    values, vectors = linalg.eigh(M / scale / scale[:, None])
    keep = values > 1e-14 * len(values) * max(values[-1], 1e-300)
    inverse = np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)
    return scale, None, (inverse, vectors)


def solve_spd(factor, rhs):
    """Solve with what `factor_spd` returned; rhs of shape (n,)."""
    scale, cholesky, spectrum = factor
    if cholesky is not None:
        return linalg.cho_solve(cholesky, rhs / scale) / scale
    inverse, vectors = spectrum
    return vectors @ (inverse * (vectors.T @ (rhs / scale))) / scale


def invert_blocks(H, shift, scale, changed, out):
    """Write (shift_t I + scale H_t)^-1 into `out` for the changed blocks.

    Returns the smallest ratio of a squared pivot to its diagonal entry: 1 - R^2 of the
    feature that the ones before it explain best, whatever the units.
    """
    n_blocks, p, _ = H.shape
    if changed is None:
        changed = np.ones(n_blocks, dtype=np.bool_)
    if p <= _SMALL:
        return _invert_small(H, shift, scale, changed, out)
    lowest = 1.0
    diagonal = np.arange(p)
    for t in np.flatnonzero(changed):
        M = scale * H[t]
        M[diagonal, diagonal] += shift[t]
        factor, info = linalg.lapack.dpotrf(M, lower=1)
        if info == 0:
            ratio = np.min(
                np.diag(factor) ** 2 / np.maximum(M[diagonal, diagonal], 1e-300)
            )
            inverse, info = linalg.lapack.dpotri(factor, lower=1)
        if info != 0:
            ratio, inverse = 0.0, linalg.pinvh(M)
        lower = np.tril(inverse)
        out[t] = lower + np.tril(inverse, -1).T
        lowest = min(lowest, ratio)
    return lowest


@njit(cache=True)
def _invert_small(H, shift, scale, changed, out):
    """Cholesky, inverse of the factor, its square; inner loops run along rows."""
    p = H.shape[1]
    L = np.empty((p, p))
    R = np.empty((p, p))
    column = np.empty(p)
    lowest = 1.0
    for t in range(H.shape[0]):
        if not changed[t]:
            continue
        for i in range(p):
            for j in range(i + 1):
                L[i, j] = scale * H[t, i, j]
            L[i, i] += shift[t]
        for j in range(p):
            full = scale * H[t, j, j] + shift[t]
            pivot = L[j, j]
            floor = 1e-15 * full
            if full > 0.0:
                lowest = min(lowest, max(pivot, 0.0) / full)
            if not pivot > floor:
                # numerically dependent on the features before it: take it out
                pivot = 1e300
            root = np.sqrt(pivot)
            L[j, j] = root
            for i in range(j + 1, p):
                L[i, j] /= root
                column[i] = L[i, j]
            for i in range(j + 1, p):
                c = column[i]
                for k in range(j + 1, i + 1):
                    L[i, k] -= c * column[k]
        for i in range(p):
            for j in range(p):
                R[i, j] = 0.0
            R[i, i] = 1.0
            for k in range(i):
                c = L[i, k]
                for j in range(k + 1):
                    R[i, j] -= c * R[k, j]
            c = 1.0 / L[i, i]
            for j in range(i + 1):
                R[i, j] *= c
        for i in range(p):
            for j in range(p):
                out[t, i, j] = 0.0
        for k in range(p):
            for i in range(k + 1):
                c = R[k, i]
                for j in range(i + 1):
                    out[t, i, j] += c * R[k, j]
        for i in range(p):
            for j in range(i):
                out[t, j, i] = out[t, i, j]
    return lowest
