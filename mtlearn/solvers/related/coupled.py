"""The linear systems (alpha A kron I + blockdiag(H_t)) D = G, by the structure of A.

Each solver keeps the factors of the blocks that did not change since the last call, and
takes an optional border: unpenalised unknowns that all tasks share (an intercept).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import linalg

from ...problem.forms import ArrowForm, ComposedForm, MatrixForm
from ...problem.intercepts import NONE
from ...problem.threads import WORTH, in_threads, task_ranges
from ..linalg import (
    _SMALL,
    conjugate_gradient,
    factor_spd,
    ground,
    ground_whole,
    invert_blocks,
    solve_spd,
)

_DIRECT = 1500  # unknowns up to which a dense factorisation is the simplest
_GRADED = (
    1e10  # ratio of scales beyond which an eigendecomposition loses the small ones
)
_TINY = 1e-6  # b^2 below which differences of inverses lose too many digits
_CAREFUL = 1e-6  # squared pivots, relative, below which inverses are too coarse


class Change(NamedTuple):
    """How blocks differ from the last call's: block t gained sum_i delta_i x_i x_i'
    over its rows (`constant` appended where blocks are wider).

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    place : ndarray of shape (n,)
        Row of `X` of each observation, task after task.
    starts : ndarray of shape (n_tasks + 1,)
    delta : ndarray of shape (n,)
    count : ndarray of shape (n_tasks,)
        How many deltas of a task are not zero; -1 where the rows do not tell.
    constant : float
    refresh : callable
        Brings the blocks marked in a bool array of shape (n_tasks,) up to date: a
        solver that follows the rows needs few of them.
    """

    X: np.ndarray
    place: np.ndarray
    starts: np.ndarray
    delta: np.ndarray
    count: np.ndarray
    constant: float
    refresh: Callable


class Blocks:
    """The Hessians of the tasks: `hessian[which[t]]` belongs to task t.

    Attributes
    ----------
    hessian : ndarray of shape (n_blocks, p + own, p + own)
    own : int
        How many trailing unknowns are unpenalised and the task's own (a free
        intercept): they are eliminated together with the task.
    border : ndarray of shape (n_blocks, p, q)
        Mixed derivatives in the coefficients and the shared intercepts; q may be 0.
    corner : ndarray of shape (n_blocks, q, q)
        Second derivatives in the shared intercepts.
    which : ndarray of shape (n_tasks,), int, or None
        None where every task has its own block, in order.
    rules : csr_array of shape (n_tasks, n_free), or None
        How composed tasks' intercepts depend on the border's unknowns, of which there
        are n_free times q then; None where there are none.
    """

    def __init__(
        self, hessian, border=None, corner=None, which=None, own=0, rules=None
    ):
        n_blocks, p = hessian.shape[:2]
        self.hessian, self.which, self.own, self.rules = hessian, which, own, rules
        self.border = np.zeros((n_blocks, p, 0)) if border is None else border
        self.corner = np.zeros((n_blocks, 0, 0)) if corner is None else corner
        self.n_tasks = n_blocks if which is None else len(which)
        self.times = None if which is None else np.bincount(which, minlength=n_blocks)

    @property
    def p(self):
        """Number of penalised unknowns of a task."""
        return self.hessian.shape[1] - self.own

    def reduced(self):
        """Hessians with the tasks' own unpenalised unknowns minimised out."""
        if not self.own:
            return self.hessian
        p = self.p
        cross = self.hessian[:, :p, p:]
        swept = np.linalg.solve(
            ground(self.hessian[:, p:, p:]), cross.transpose(0, 2, 1)
        )
        return self.hessian[:, :p, :p] - np.matmul(cross, swept)

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
    return _SOLVERS[type(form)](form, alpha)


class ArrowSolver:
    """Common part and private parts: eliminate each task, solve for the common part.

    With M_t = alpha I + b^2 H_t the Schur complement of the common part is
    alpha I + a^2 sum_t alpha M_t^-1 H_t, a sum of positive terms. As b^2 M_t^-1 H_t =
    I - alpha M_t^-1, the inverses alone give every product. Where M_t is so badly
    conditioned that an explicit inverse loses the answer (columns far from zero without
    an intercept of the task's own), its Cholesky factor is used instead.
    """

    def __init__(self, form, alpha):
        self.form, self.alpha = form, alpha
        self.full = None
        self.factors = None
        self.pivot = 1.0

    def update(self, blocks, change=None):
        """Take new blocks; `change` tells how they differ from the last call's."""
        head = self.eliminate(blocks, change)
        self.head = None if head is None else factor_spd(head)
        if head is not None and self.form.private == 0:
            cholesky = self.head[1]
            lowest = 0.0 if cholesky is None else float(np.diag(cholesky).min())
            self.pivot = lowest * lowest

    def eliminate(self, blocks, change=None):
        """What is left for the common part and the border, a matrix; None without.

        Of tasks apart such matrices add up, but for the alpha on their diagonals.
        """
        self.blocks = blocks
        a, b = self.form.shared, self.form.private
        p, q = blocks.p, blocks.border.shape[2]
        if b > 0:
            self._invert(blocks, change)
        self.plain = b * b > _TINY and self.factors is None
        if not self.plain:
            if change is not None:
                change.refresh(change.count != 0)
            self.hessian = blocks.reduced()
        if a == 0 and q == 0:
            return None
        head = np.zeros((p + q, p + q))
        head[:p, :p] = self._common(p)
        if q:
            head[:p, p:] = a * blocks.total(self._damped(blocks.border))
            head[p:, :p] = head[:p, p:].T
            head[p:, p:] = self._corner()
        return head

    def _invert(self, blocks, change):
        """(alpha I + b^2 H_t)^-1, bordered by the task's own intercept, if any."""
        n_blocks, p, b = len(blocks.hessian), blocks.p, self.form.private
        todo = np.ones(n_blocks, dtype=np.bool_)
        if self.full is None:
            self.full = np.empty_like(blocks.hessian)
        elif change is not None:
            todo = change.count != 0
            if p + blocks.own <= _SMALL and blocks.which is None:
                self._follow(change, blocks.own, p // 4, todo)
        if change is not None:
            change.refresh(todo)
        shift = np.full(n_blocks, self.alpha)
        pivot = invert_blocks(blocks.hessian, shift, b, blocks.own, todo, self.full)
        self.pivot = min(self.pivot, pivot)
        self.inverse = self.full[:, :p, :p]
        self.factors = None
        if self.pivot < _CAREFUL:
            if change is not None:
                change.refresh(change.count != 0)
            eye = self.alpha * np.eye(p)
            self.factors = [factor_spd(eye + b * b * H) for H in blocks.reduced()]

    def _follow(self, change, own, most, todo):
        """Bring inverses up to date where few rows changed; the others stay to do."""
        X, place, starts, delta, count, constant, _ = change
        b, full = self.form.private, self.full

        def some(tasks):
            part = slice(*tasks)
            rows = X, place, starts[part.start : part.stop + 1], delta, count[part]
            _shift_inverses(*rows, constant, own, b, most, full[part], todo[part])

        worth = len(delta) * X.shape[1] > WORTH
        in_threads(some, task_ranges(starts, worth))

    def _invert_dot(self, V):
        """M_t^-1 v_t for every task; V of shape (n_tasks, p)."""
        if self.factors is None:
            return self.blocks.dot(self.inverse, V)
        which = self.blocks.which
        which = range(self.blocks.n_tasks) if which is None else which
        solved = [solve_spd(self.factors[u], v) for u, v in zip(which, V, strict=True)]
        return np.array(solved)

    def _invert_columns(self, columns):
        """M_u^-1 times a matrix per block, of shape (n_blocks, p, q)."""
        if self.factors is None:
            return np.matmul(self.inverse, columns)
        pairs = zip(self.factors, columns, strict=True)
        return np.array([solve_spd(factor, B) for factor, B in pairs])

    def _common(self, p):
        a, b = self.form.shared, self.form.private
        alpha, blocks = self.alpha, self.blocks
        if a == 0:
            return alpha * np.eye(p)
        if b == 0:
            return alpha * np.eye(p) + a * a * blocks.total(self.hessian)
        if self.plain:
            total = -alpha * blocks.total(self.inverse)
            total[np.diag_indices(p)] += blocks.n_tasks
            return alpha * np.eye(p) + (a * a * alpha / (b * b)) * total
        damped = blocks.total(self._invert_columns(self.hessian))
        damped = 0.5 * (damped + damped.T)
        return alpha * np.eye(p) + a * a * alpha * damped

    def _damped(self, columns):
        """(I - b^2 H M^-1) columns = alpha M^-1 columns, per block."""
        if self.form.private == 0:
            return columns
        return self.alpha * self._invert_columns(columns)

    def _corner(self):
        blocks, b = self.blocks, self.form.private
        corner = blocks.corner
        if b > 0:
            inner = self._invert_columns(blocks.border)
            corner = corner - b * b * np.matmul(blocks.border.transpose(0, 2, 1), inner)
        return ground(blocks.total(corner))

    def solve(self, rhs, rhs_border):
        """Solve for theta (n_tasks + 1, p) and the border unknowns (q,)."""
        theta, head = self.forward(rhs, rhs_border)
        if self.head is None:
            return theta, np.zeros(0)
        return self.back(theta, solve_spd(self.head, head))

    def forward(self, rhs, rhs_border):
        """Private parts as if nothing were common, and the other unknowns' sides."""
        a, b, blocks = self.form.shared, self.form.private, self.blocks
        theta = np.zeros_like(rhs)
        if b > 0:
            theta[1:] = self._invert_dot(rhs[1:])
        p = rhs.shape[1]
        head = np.concatenate([rhs[0], rhs_border])
        if b > 0 and a > 0:
            head[:p] -= a * b * self._hessian_total(rhs[1:], theta[1:])
        if b > 0 and len(rhs_border):
            border = blocks.each(blocks.border)
            head[p:] -= b * np.einsum("tpq,tp->q", border, theta[1:])
        return theta, head

    def back(self, theta, head):
        """All unknowns, once those of the common part and the border are known."""
        a, b, blocks = self.form.shared, self.form.private, self.blocks
        p = theta.shape[1]
        theta[0] = head[:p]
        if b > 0 and a > 0:
            theta[1:] -= a * b * self._inverse_hessian_dot(theta[0])
        if b > 0 and len(head) > p:
            lifted = np.einsum("tpq,q->tp", blocks.each(blocks.border), head[p:])
            theta[1:] -= b * self._invert_dot(lifted)
        return theta, head[p:]

    def _hessian_total(self, rhs, solved):
        """sum_t H_t s_t where M_t s_t = rhs_t."""
        if not self.plain:
            return self.blocks.dot(self.hessian, solved).sum(axis=0)
        rest = rhs.sum(axis=0) - self.alpha * solved.sum(axis=0)
        return rest / self.form.private**2

    def _inverse_hessian_dot(self, v):
        """M_t^-1 H_t v for every task."""
        blocks = self.blocks
        if not self.plain:
            common = np.broadcast_to(v, (blocks.n_tasks, len(v)))
            return self._invert_dot(blocks.dot(self.hessian, common))
        kept = v - self.alpha * (self.inverse @ v)
        return blocks.each(kept) / self.form.private**2


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

    def update(self, blocks, change=None):
        """Take new blocks."""
        if change is not None:
            change.refresh(change.count != 0)
        if blocks.own:
            blocks = Blocks(blocks.reduced(), which=blocks.which)
        self.blocks = blocks
        n, p = blocks.n_tasks, blocks.p
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
        todo = np.ones(len(hessian), dtype=np.bool_)
        self.pivot = invert_blocks(hessian, shift, 1.0, 0, todo, inverse)
        return lambda r: np.matmul(inverse, r[:, :, None])[:, :, 0]


class ComposedSolver:
    """Tasks that are combinations of others couple the blocks of their components.

    With G and B the matrices that make coefficients and intercepts of the unknowns, the
    system is alpha A kron I + sum_t g_t g_t' kron H_t, bordered by the intercepts.
    Small ones are factorised as they are. Others are solved by conjugate gradients,
    preconditioned by the same without the blocks that couple free tasks.
    """

    def __init__(self, form, alpha):
        self.form, self.alpha = form, alpha
        self.pivot = 1.0
        self.lift = form.lift_matrix()

    def update(self, blocks, change=None):
        """Take new blocks; the border has one column per score and task."""
        if change is not None:
            change.refresh(change.count != 0)
        self.n_theta, self.p = self.lift.shape[1], blocks.p
        self.hessian = blocks.each(blocks.hessian)
        self.border = blocks.each(blocks.border)
        self.corner = blocks.each(blocks.corner)
        self.rules = blocks.rules
        if self.rules is None:
            self.rules = self.form.intercept_map(NONE)
        q = self.border.shape[2]
        size = self.n_theta * self.p + self.rules.shape[1] * q
        self._direct = size <= _DIRECT
        corner = sum_blocks(self.rules, self.rules, self.corner)
        if len(corner):
            corner = ground_whole(corner)
        if self._direct:
            self._factor = self._factorise(corner)
        else:
            self._corner = factor_spd(corner) if len(corner) else None
            self._base = self._preconditioner(q)

    def _factorise(self, corner):
        """Factor of the whole system."""
        size = self.n_theta * self.p
        M = np.zeros((size + len(corner), size + len(corner)))
        M[:size, :size] = sum_blocks(self.lift, self.lift, self.hessian)
        root = self.form.root()
        metric = (root.T @ root).toarray()
        M[:size, :size] += self.alpha * np.kron(metric, np.eye(self.p))
        if len(corner):
            M[:size, size:] = sum_blocks(self.lift, self.rules, self.border)
            M[size:, :size] = M[:size, size:].T
            M[size:, size:] = corner
        factor = factor_spd(M)
        if self.alpha == 0:
            cholesky = factor[1]
            lowest = 0.0 if cholesky is None else float(np.diag(cholesky).min())
            self.pivot = lowest * lowest
        return factor

    def _preconditioner(self, q):
        """The system of the free tasks, each with the rows in which it has a part."""
        squares = self.form.mix.multiply(self.form.mix).tocsr()
        own = self.hessian
        if q:
            swept = np.linalg.solve(ground(self.corner), self.border.transpose(0, 2, 1))
            own = own - np.matmul(self.border, swept)
        free = (squares.T @ own.reshape(len(own), -1)).reshape(-1, self.p, self.p)
        base = coupled_solver(self.form.base, self.alpha)
        base.update(Blocks(free))
        return base

    def solve(self, rhs, rhs_border):
        """Solve for theta (n_theta, p) and the border unknowns."""
        if self._direct:
            x = solve_spd(self._factor, np.concatenate([rhs.ravel(), rhs_border]))
            return x[: rhs.size].reshape(rhs.shape), x[rhs.size :]
        none = np.zeros(0)
        if self._corner is None:
            theta = conjugate_gradient(
                self._dot, rhs, lambda r: self._base.solve(r, none)[0]
            )
            return theta, none

        def reduced(theta):
            beta = solve_spd(self._corner, self._across(theta))
            return self._dot(theta) - self._back(beta)

        start = rhs - self._back(solve_spd(self._corner, rhs_border))
        theta = conjugate_gradient(
            reduced, start, lambda r: self._base.solve(r, none)[0]
        )
        return theta, solve_spd(self._corner, rhs_border - self._across(theta))

    def _dot(self, theta):
        W = self.form.lift(theta)
        curved = np.matmul(self.hessian, W[:, :, None])[:, :, 0]
        return self.alpha * self.form.metric(theta) + self.form.adjoint(curved)

    def _across(self, theta):
        """Border part of the system times theta."""
        W = self.form.lift(theta)
        return (self.rules.T @ np.einsum("tpq,tp->tq", self.border, W)).ravel()

    def _back(self, beta):
        """Its transpose times border unknowns."""
        each = self.rules @ beta.reshape(self.rules.shape[1], -1)
        return self.form.adjoint(np.einsum("tpq,tq->tp", self.border, each))


_SOLVERS = {
    ArrowForm: ArrowSolver,
    MatrixForm: MatrixSolver,
    ComposedForm: ComposedSolver,
}


def sum_blocks(left, right, blocks):
    """Sum over tasks of l_t r_t' kron blocks_t.

    Parameters
    ----------
    left, right : csr_array of shape (n_tasks, m), (n_tasks, k)
    blocks : ndarray of shape (n_tasks, p, q)

    Returns
    -------
    total : ndarray of shape (m * p, k * q)
    """
    (_, m), (_, k), (_, p, q) = left.shape, right.shape, blocks.shape
    total = np.zeros((m, p, k, q))
    _sum_blocks(
        left.indptr,
        left.indices,
        left.data,
        right.indptr,
        right.indices,
        right.data,
        np.ascontiguousarray(blocks),
        total,
    )
    return total.reshape(m * p, k * q)


@njit(cache=True)
def _sum_blocks(lptr, lindex, ldata, rptr, rindex, rdata, blocks, total):
    for t in range(blocks.shape[0]):
        for i in range(lptr[t], lptr[t + 1]):
            for j in range(rptr[t], rptr[t + 1]):
                c = ldata[i] * rdata[j]
                for k in range(blocks.shape[1]):
                    target = total[lindex[i], k, rindex[j]]
                    for m in range(blocks.shape[2]):
                        target[m] += c * blocks[t, k, m]


@njit(cache=True, nogil=True)
def _shift_inverses(
    X, place, starts, delta, count, constant, own, scale, most, P, todo
):
    """Sherman-Morrison row by row where at most `most` rows of a block changed.

    Marks in `todo` what is left to invert afresh.
    """
    d, p = X.shape[1], P.shape[1]
    x = np.full(p, constant)
    u = np.empty(p)
    for t in range(starts.shape[0] - 1):
        if count[t] <= 0 or count[t] > most:
            continue
        M = P[t]
        sound = True
        for j in range(p):
            # an unknown that was taken out has to come back by a fresh inversion
            sound &= M[j, j] > 1e-200
        for i in range(starts[t], starts[t + 1] if sound else starts[t]):
            if delta[i] == 0.0:
                continue
            row = X[place[i]]
            for j in range(d):
                x[j] = scale * row[j]
            if p > d and own == 0:
                x[d] = scale * constant
            for k in range(p):
                u[k] = 0.0
            for j in range(p):
                c = x[j]
                for k in range(p):
                    u[k] += c * M[j, k]
            bottom = 1.0
            for j in range(p):
                bottom += delta[i] * x[j] * u[j]
            if not bottom > 1e-6:
                # a row that alone holds a direction: invert afresh
                sound = False
                break
            c = delta[i] / bottom
            for j in range(p):
                f = c * u[j]
                for k in range(p):
                    M[j, k] -= f * u[k]
        todo[t] = not sound
