"""Squared loss + relation, for a whole grid of strengths and correlations.

With H_t = V_t diag(e_t) V_t' the Hessian of task t, the inverse of a block of the
arrowhead system, (alpha I + b^2 H_t)^-1, is a division by alpha + b^2 e_t: one
eigendecomposition per task serves all strengths, and all correlations.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from ..linalg import invert_blocks
from .squared import from_extended, normal_equations

_ACCURATE = 1e-10  # strengths, in units of the largest curvature, that keep the digits
_ROUNDING = 1e-16  # error of an eigenvalue, in units of the largest
_BATCH_BYTES = 1 << 25  # of the coefficients that are worked on at once
_DENSITY = 3  # nodes of the interpolation in a factor of ten
_REFINEMENTS = 5
_REFINED = 1e-7  # relative size of a step after which no other is needed


@dataclass(frozen=True)
class _Diagonal:
    """Normal equations in the coordinates of their eigenvectors.

    Attributes
    ----------
    values : ndarray of shape (n_blocks, p)
    vectors : ndarray of shape (n_blocks, p, p)
        An eigenvector in every row.
    which : ndarray of shape (n_tasks,), int
        The block of each task.
    times : ndarray of shape (n_blocks,)
        How many tasks a block has.
    target : ndarray of shape (n_tasks, p)
    border : ndarray of shape (n_blocks, p), or None
        Mixed derivatives in the coefficients and the one shared intercept.
    twin : ndarray of shape (n_blocks, p), or None
        With shrunken intercepts, the last unit vector over their unit: that unknown
        moves the predictions as the shared intercept does.
    corner, border_target : float
        Curvature and right-hand side of the shared intercept.
    nodes : dict
        What `_heads` has computed.
    """

    values: np.ndarray
    vectors: np.ndarray
    which: np.ndarray
    times: np.ndarray
    target: np.ndarray
    border: np.ndarray | None
    twin: np.ndarray | None
    corner: float
    border_target: float
    nodes: dict = field(default_factory=dict)

    @property
    def flat(self):
        """The eigenvectors of all blocks, of shape (n_blocks * p, p)."""
        return self.vectors.reshape(-1, self.vectors.shape[2])

    @cached_property
    def curved(self):
        """Numbers of the eigenvectors with curvature: few in tasks of few rows."""
        return np.flatnonzero(self.values)

    @cached_property
    def basis(self):
        """Those eigenvectors."""
        whole = len(self.curved) == self.values.size
        return self.flat if whole else self.flat[self.curved]

    @cached_property
    def products(self):
        """Each of them times itself, (n_curved, p * p)."""
        n, p = self.basis.shape
        return (self.basis[:, :, None] * self.basis[:, None, :]).reshape(n, p * p)


class MomentSpectrum:
    """Normal equations of all tasks, to be solved for any strength.

    Parameters
    ----------
    moments : Moments
    intercept : Intercepts
    """

    def __init__(self, moments, intercept):
        self.moments, self.intercept = moments, intercept
        self._blocks, self._target, border = normal_equations(moments, intercept)
        self._border_target = float(border.sum())
        trace = np.einsum("ujj->u", self._blocks.hessian)
        self._scale = float(self._blocks.total(trace))

    def lowest(self, form):
        """Smaller strengths lose digits, or are solved one by one as fast."""
        one = len(self._blocks.hessian) == 1 and not form.composed
        suits = form.arrow is not None or (one and not form.learned)
        return _ACCURATE * self._scale if suits else np.inf

    def path(self, form, alphas):
        """Minimise the squared loss plus 1/2 alpha Omega(W) for many strengths.

        Parameters
        ----------
        form : ArrowForm or MatrixForm
        alphas : ndarray of shape (n_alphas,)
            None below `lowest`.

        Yields
        ------
        coef : ndarray of shape (n_batch, n_tasks, n_features)
            For the next strengths, as many as memory allows.
        intercept : ndarray of shape (n_batch, n_tasks)
        """
        n_tasks, p = self.moments.cross.shape
        step = max(1, _BATCH_BYTES // (8 * n_tasks * p))
        for low in range(0, len(alphas), step):
            some = np.asarray(alphas[low : low + step], dtype=np.float64)
            if form.arrow is None:
                W, beta = _solve_kronecker(self.tasks, form, some)
            elif form.pooled:
                W, beta = _solve_arrow(self.pooled, 0.0, form.shared, some)
                W = np.repeat(W, n_tasks, axis=1)
            else:
                W, beta = _solve_arrow(self.tasks, form.shared, form.private, some)
            yield from_extended(self.moments, W, beta, self.intercept)

    @cached_property
    def tasks(self):
        """Every task as it is."""
        blocks, n_tasks = self._blocks, len(self._target)
        hessian, border, which = blocks.hessian, blocks.border, blocks.which
        if len(hessian) == n_tasks:
            hessian, border = blocks.each(hessian), blocks.each(border)
            which = np.arange(n_tasks)
        times = np.bincount(which).astype(np.float64)
        return self._diagonalise(hessian, border, which, times, self._target)

    @cached_property
    def pooled(self):
        """All tasks as one, for coefficients that they have in common."""
        blocks = self._blocks
        return self._diagonalise(
            blocks.total(blocks.hessian)[None],
            blocks.total(blocks.border)[None],
            np.zeros(1, dtype=np.int64),
            np.ones(1),
            self._target.sum(axis=0, keepdims=True),
        )

    def _diagonalise(self, hessian, border, which, times, target):
        values, columns = np.linalg.eigh(hessian)
        # what rounding leaves of no curvature is none
        noise = _ROUNDING * values.shape[1] * values[:, -1:]
        values = np.where(values > noise, values, 0.0)
        bordered, shrunk = border.shape[2] > 0, self.intercept.shrunk
        return _Diagonal(
            values,
            np.ascontiguousarray(columns.transpose(0, 2, 1)),
            which,
            times,
            _rotate(target[:, None], columns, which)[:, 0],
            np.einsum("upq,up->uq", columns, border[:, :, 0]) if bordered else None,
            columns[:, -1] / self.intercept.unit if shrunk else None,
            float(self._blocks.total(self._blocks.corner).sum()),
            self._border_target,
        )


# ---------------------------------------------------------------- arrowheads


def _solve_arrow(system, a, b, alphas):
    """W (n_alphas, n_tasks, p) and beta (n_alphas, q) of W_t = a u_0 + b u_t."""
    inverse = 1.0 / (alphas[:, None, None] + b * b * system.values)
    common, beta = _solve_common(system, a, b, alphas, inverse)
    # a u_0 + b u_t, as I - b^2 H_t M_t^-1 = alpha M_t^-1 in every block M_t
    which, n_blocks = system.which, len(system.values)
    own = (lambda blocks: blocks) if n_blocks == len(which) else lambda x: x[:, which]
    W = np.broadcast_to((b * b) * system.target, (len(alphas), *system.target.shape))
    if beta.shape[1]:
        W = W - (b * b) * beta[:, :, None] * own(system.border[None])
    if a > 0:
        lifted = ((a * alphas[:, None]) * common) @ system.flat.T
        W = W + own(lifted.reshape(inverse.shape))
    W = W * own(inverse)
    W = _rotate(W.transpose(1, 0, 2), system.vectors, which)
    return W.transpose(1, 0, 2), beta


def _solve_common(system, a, b, alphas, inverse):
    """u_0 (n_alphas, p) and the shared intercept (n_alphas, q), tasks eliminated.

    Their equations are divided by alpha. `inverse` is (n_alphas, n_blocks, p).
    """
    n_alphas, bordered = len(alphas), system.border is not None
    target = np.zeros(system.values.shape)
    np.add.at(target, system.which, system.target)
    if a > 0:
        rhs = [a * (inverse * target).reshape(n_alphas, -1) @ system.flat]
        if bordered:
            mixed = inverse * (system.times[:, None] * system.border)
            rhs.append(a * mixed.reshape(n_alphas, -1) @ system.flat)
        rhs = np.stack(rhs, axis=1)
        solved = _solve_head(system, a, b, alphas, inverse, rhs)
        common = solved[:, 0]
    if not bordered:
        return common if a > 0 else None, np.zeros((n_alphas, 0))
    corner, right = _reduced_corner(system, b, alphas, inverse, target)
    if a == 0:
        return None, (right / corner)[:, None]
    corner = corner - np.einsum("kp,kp->k", rhs[:, 1], solved[:, 1])
    beta = (right - np.einsum("kp,kp->k", rhs[:, 1], common)) / corner
    return common - beta[:, None] * solved[:, 1], beta[:, None]


def _solve_head(system, a, b, alphas, inverse, rhs):
    """Solve (I + a^2 sum_t H_t (alpha I + b^2 H_t)^-1) x = rhs for every strength.

    rhs (n_alphas, m, p). The matrices are interpolated; refinement with the exact ones,
    which are never formed, gives the digits back.
    """
    curved = (a * a) * inverse * (system.times[:, None] * system.values)
    if len(system.values) == 1:
        return (rhs @ system.vectors[0].T / (1.0 + curved)) @ system.vectors[0]
    curved = curved.reshape(len(alphas), -1)[:, system.curved]
    M = _heads(system, alphas / (b * b))
    M *= (a * a) / (b * b)
    everything = np.ones(len(M), dtype=np.bool_)
    invert_blocks(M, np.ones(len(M)), 1.0, 0, everything, M)
    x, basis = rhs @ M, system.basis
    curved = np.repeat(curved, rhs.shape[1], axis=0)
    for _ in range(_REFINEMENTS):
        # two products of matrices, all strengths at once
        flat = x.reshape(-1, basis.shape[1])
        product = ((flat @ basis.T) * curved) @ basis
        step = (rhs - x - product.reshape(x.shape)) @ M
        x += step
        # an error e becomes about e^2 by a step of size e
        if np.abs(step).max() <= _REFINED * np.abs(x).max():
            break
    return x


def _heads(system, alphas):
    """sum_t H_t (alpha I + H_t)^-1 for every strength, of shape (n_alphas, p, p).

    As a function of alpha each is a sum of terms e / (alpha + e), and those are
    combinations of their values at nodes, with a relative error of at most
    prod_s |alpha - alpha_s| / (alpha + alpha_s) for all e at once. The nodes form a
    lattice, so that other correlations find them computed.
    """
    low, high = np.log10([alphas.min(), alphas.max()]) * _DENSITY
    lattice = range(int(low) - _DENSITY, int(np.ceil(high)) + _DENSITY + 1)
    missing = [i for i in lattice if i not in system.nodes]
    if len(missing) >= 2 * len(alphas):
        return _each_head(system, alphas)
    new = _each_head(system, 10.0 ** (np.array(missing) / _DENSITY))
    system.nodes.update(zip(missing, new, strict=True))
    at = 10.0 ** (np.array(lattice) / _DENSITY)
    factor = (at - alphas[:, None]) / (at + alphas[:, None])
    others = np.where(np.eye(len(at), dtype=bool), 1.0, factor[:, None, :]).prod(axis=2)
    scale = (at - at[:, None]) / (at + at[:, None]) + np.eye(len(at))
    shares = 2.0 * at / (at + alphas[:, None]) * others / scale.prod(axis=1)
    return np.tensordot(shares, np.array([system.nodes[i] for i in lattice]), 1)


def _each_head(system, alphas):
    """sum_t H_t (alpha I + H_t)^-1 for every strength: at once where that is small."""
    n, p = system.basis.shape
    if 8 * n * p * p > _BATCH_BYTES:
        return np.array([_head(system, alpha) for alpha in alphas])
    values = system.values.ravel()[system.curved]
    times = np.repeat(system.times, p)[system.curved]
    weights = times * values / (alphas[:, None] + values)
    return (weights @ system.products).reshape(len(alphas), p, p)


def _head(system, alpha):
    """The same for one strength."""
    weights = system.times[:, None] * system.values / (alpha + system.values)
    rows = np.sqrt(weights.ravel()[system.curved])[:, None] * system.basis
    if not len(rows):
        return np.zeros((rows.shape[1], rows.shape[1]))
    upper = linalg.blas.dsyrk(1.0, rows.T)  # zeros below the diagonal
    both = upper + upper.T
    both[np.diag_indices(len(both))] *= 0.5
    return both


def _reduced_corner(system, b, alphas, inverse, target):
    """Curvature and right-hand side of the shared intercept, over alpha."""
    inverse = inverse.reshape(len(alphas), -1)
    border = system.times[:, None] * system.border
    side = system.border if system.twin is None else system.twin
    both = np.stack([(side * border).ravel(), (side * target).ravel()], axis=1)
    curvature, right = (inverse @ both).T
    if system.twin is not None:
        # border = H twin: what is left is a sum of positive terms, nothing cancels
        return curvature, right
    curvature = system.corner - (b * b) * curvature
    return curvature / alphas, (system.border_target - (b * b) * right) / alphas


# ---------------------------------------------------------------- rows in common


def _solve_kronecker(system, form, alphas):
    """The same for any task precision, where all tasks share one Hessian."""
    A = form.precision
    A = A.toarray() if hasattr(A, "toarray") else A
    precision, Q = linalg.eigh(A)
    values, vectors = system.values[0], system.vectors[0]
    target, ones = Q.T @ system.target, Q.sum(axis=0)
    shrink = alphas[:, None, None] * precision[:, None]
    inverse = 1.0 / (shrink + values)
    beta = np.zeros((len(alphas), 0))
    if system.border is not None:
        spread = ones[:, None] * system.border[0]
        if system.twin is not None:
            left = shrink * inverse * (ones[:, None] * system.twin[0])
            curvature, rhs = (
                np.sum(left * spread, (1, 2)),
                np.sum(left * target, (1, 2)),
            )
        else:
            curvature = system.corner - np.sum(inverse * spread**2, (1, 2))
            rhs = system.border_target - np.sum(inverse * spread * target, (1, 2))
        beta = (rhs / curvature)[:, None]
        target = target - beta[:, :, None] * spread
    W = np.matmul(Q, inverse * target)
    return W @ vectors, beta


def _rotate(V, vectors, which):
    """V[t] @ vectors[which[t]] for every task; V of shape (n_tasks or 1, m, p)."""
    if len(vectors) == len(which):
        return np.matmul(V, vectors)
    if len(vectors) == 1:
        return V @ vectors[0]
    out = np.empty_like(V)
    for u, matrix in enumerate(vectors):
        tasks = which == u
        out[tasks] = V[tasks] @ matrix
    return out


# ---------------------------------------------------------------- many features


class RowSpectrum:
    """Inner products of the rows, to be solved for any strength: for wide features.

    With M = K[s, t] x_i . x_j and the intercepts projected out, the dual variables are
    (M + alpha I)^-1 y; an eigendecomposition of M serves all strengths of a form.

    Parameters
    ----------
    data : TaskData
    intercept : Intercepts
    """

    def __init__(self, data, intercept):
        self.means = None
        if intercept.own and not data.sparse:
            data, self.means = data.centred()
        self.data, self.intercept = data, intercept
        X, self.root = data.features[data.place], np.sqrt(data.weights)
        gram = X @ X.T
        gram = gram.toarray() if data.sparse else gram
        gram += intercept.square
        gram = gram * self.root * self.root[:, None]
        self._level = _TaskLevels.of(data, intercept)
        self.gram = self._lowered(self._lowered(gram).T)
        self.labels = self._lowered(self.root * data.labels)
        # orthonormal columns of the unpenalised intercepts
        columns = intercept.map(data.n_tasks).toarray()[data.task_of]
        columns = self._lowered(columns * self.root[:, None])
        size = np.sqrt(np.einsum("ij,ij->j", columns, columns))
        self.size = np.where(size > 0, size, 1.0)
        self.columns = columns / self.size

    def _lowered(self, rows):
        """Rows without what a priced deviation takes of their task's level."""
        return rows if self._level is None else self._level.taken_from(rows)

    def lowest(self, form):
        """Smaller strengths lose digits, or are solved one by one."""
        if form.composed or form.learned:
            return np.inf
        variances = np.diag(form.kernel())[self.data.task_of]
        return _ACCURATE * float(variances @ np.diag(self.gram))

    def path(self, form, alphas):
        """As that of `MomentSpectrum`."""
        kernel, codes = form.kernel(), self.data.task_of
        M, Q = kernel[codes][:, codes] * self.gram, self.columns
        MQ = M @ Q
        middle = MQ - 0.5 * Q @ (Q.T @ MQ)
        values, vectors = linalg.eigh(M - middle @ Q.T - Q @ middle.T)
        target = vectors.T @ (self.labels - Q @ (Q.T @ self.labels))
        for alpha in alphas:
            dual = vectors @ (target / (np.maximum(values, 0.0) + alpha))
            dual -= Q @ (Q.T @ dual)
            beta = (Q.T @ self.labels - MQ.T @ dual) / self.size
            yield self._model(kernel, self.root * self._lowered(dual), beta)

    def _model(self, kernel, dual, beta):
        """Coefficients and intercepts, an axis of length 1 in front."""
        coef = kernel @ self.data.adjoint(dual)
        b = np.zeros(len(coef)) + (beta if len(beta) else 0.0)
        if self._level is not None:
            mass = self.data.sums(self.data.weights)
            rest = self.data.weights * (self.data.labels - self.data.forward(coef))
            mean = self.data.sums(rest) / np.where(mass > 0, mass, 1.0)
            b = self.intercept.best(mean, mass)
        if self.intercept.shrunk:
            b += self.intercept.square * (kernel @ self.data.sums(dual))
        if self.means is not None:
            b -= np.einsum("tj,tj->t", self.means, coef)
        return coef[None], b[None]


class _TaskLevels:
    """What deviations at a price take of the level of each task's rows.

    Minimised over them, the squares of rows times the roots of their weights r lose the
    share of their part along r: those of S v, where S = I - shares u u', u = r / |r|.
    """

    def __init__(self, units, shares):
        self.units, self.shares = units, shares

    @classmethod
    def of(cls, data, intercept):
        """Those of the intercepts, None where deviations have no price."""
        if intercept.price == np.inf:
            return None
        root, mass = np.sqrt(data.weights), data.sums(data.weights)
        units = root / np.sqrt(np.where(mass > 0, mass, 1.0))[data.task_of]
        where = np.arange(len(root)), data.task_of
        units = sp.csr_array((units, where), shape=(len(root), data.n_tasks))
        left = intercept.left(mass, np.inf)
        kept = np.divide(left, mass, out=np.ones_like(mass), where=mass > 0)
        return cls(units, 1.0 - np.sqrt(kept))

    def taken_from(self, rows):
        """S times an array whose first axis are the rows."""
        level = self.units.T @ rows
        return rows - self.units @ (self.shares * level.T).T
