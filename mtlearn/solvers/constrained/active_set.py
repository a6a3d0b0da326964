"""Quadratics under linear constraints, exactly, by guessing which of them bind.

    minimise 1/2 |F x - g|^2 + 1/2 x' Q x - c' x   over   lower <= C x <= upper.

Block principal pivoting (Judice and Pires, Computers and Operations Research 21, 1994):
solve with the rows that are thought to bind as equations, let go of those that push the
wrong way, take up those that are violated, all at once; one at a time where that does
not lead on. It ends after a handful of systems, at the solution itself. Where rows are
too degenerate for guesses, a conic solver makes a better one.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.sparse.linalg import splu

from .conic import solve_rows
from .structured import ShortEquations, cholesky, is_short

_DENSE = 1500  # most unknowns, and most rows, of a dense system
_SMALL = 400  # unknowns up to which a dense system is always best
_ROUNDS = 60
_PATIENCE = 4  # rounds without progress after which one row changes at a time
_ROUNDING = 1e-10  # violations and wrong signs below this (relative) are rounding
_DEPENDENT = 1e-11  # 1 - R^2 of a row given the other binding ones
_REFINEMENTS = 3
_BORDER = 1500  # rows of several unknowns up to which they do not fill up an arrowhead


@dataclass(frozen=True)
class Binding:
    """A candidate: the unknowns, the rows' multipliers, and whether it is optimal.

    A multiplier is positive where the upper limit binds, negative at a lower one; with
    it the gradient plus C' multipliers is zero.
    """

    x: np.ndarray
    multipliers: np.ndarray
    optimal: bool
    n_iter: int
    state: np.ndarray
    system: object


def solve_binding(quadratic, C, lower, upper, state=None):
    """Minimise a quadratic under linear constraints.

    Parameters
    ----------
    quadratic : Quadratic
    C : csr_array of shape (n_rows, n_unknowns)
    lower, upper : ndarray of shape (n_rows,)
        Equal where the row is an equation; infinite where there is no limit.
    state : ndarray of shape (n_rows,), int8, default=None
        Which rows are thought to bind: -1 below, 1 above, 0 not at all.

    Returns
    -------
    Binding
        Not optimal where no guess was right: the constraints may contradict each other,
        or depend on each other.
    """
    system = _system(quadratic, C)
    fixed = lower == upper
    state = np.zeros(len(lower), dtype=np.int8) if state is None else state.copy()
    state[fixed] = 1
    first = _pivot(system, state, lower, upper, fixed)
    if first.optimal:
        return first
    inside = solve_rows(system, lower, upper)
    if inside is None:
        return first
    x, y = inside
    reach = system.C @ x
    with np.errstate(invalid="ignore"):
        slack = np.where(y > 0, upper - reach, reach - lower)
    near = np.abs(y) * np.ones_like(system.length) > slack / system.length
    state = (np.sign(y) * (near & (y != 0))).astype(np.int8)
    state[fixed] = 1
    second = _pivot(system, state, lower, upper, fixed)
    if second.optimal:
        return second
    return Binding(x / system.size, y, True, second.n_iter, state, system)


def _pivot(system, state, lower, upper, fixed):
    """Change rows whose state is wrong until none is."""
    best, patience = len(lower) + 1, _PATIENCE
    for n_iter in range(1, _ROUNDS + 1):
        at = np.where(state > 0, upper, lower)
        x, y = system.solve(np.flatnonzero(state), at)
        wrong, there = _wrong(system, x, y, state, lower, upper, fixed)
        n_wrong = int(wrong.sum())
        if n_wrong == 0:
            y = np.where(fixed | (y * state > 0), y, 0.0)
            optimal = system.settled(x, state, at)
            return Binding(x / system.size, y, optimal, n_iter, state, system)
        if n_wrong < best:
            best, patience = n_wrong, _PATIENCE
        else:
            patience -= 1
        if patience < 0:
            last = np.flatnonzero(wrong)[-1]
            wrong = np.arange(len(wrong)) == last
        state = np.where(wrong, there, state).astype(np.int8)
    return Binding(x / system.size, y, False, n_iter, state, system)


def _system(quadratic, C):
    """Short where the rows are few, dense where that is small, or sparse."""
    if quadratic.size > _SMALL and is_short(quadratic, C):
        return Short(quadratic, C)
    if max(quadratic.size, C.shape[0]) <= _DENSE:
        return Dense(quadratic, C)
    return Sparse(quadratic, C)


def remainder(quadratic, system, r):
    """1/2 r' H^-1 r, H the Hessian of a quadratic.

    Parameters
    ----------
    quadratic : Quadratic
    system : Short, Dense, Sparse or None
        Its system where there is one already.
    r : ndarray of shape (n_unknowns,)

    Returns
    -------
    bound : float
    """
    if system is None:
        system = _system(quadratic, sp.csr_array((0, quadratic.size)))
    scaled = r / system.size
    step = system.prepare(np.zeros(0, dtype=np.intp))(scaled, np.zeros(0))[0]
    return 0.5 * abs(float(scaled @ step))


def _wrong(system, x, y, state, lower, upper, fixed):
    """Rows whose state is wrong, and the state that they should have."""
    reach = system.C @ x
    slack = _ROUNDING * (system.length * np.linalg.norm(x) + 1e-300)
    above, below = reach > upper + slack, reach < lower - slack
    small = _ROUNDING * max(np.abs(y / system.price).max(initial=0.0), 1e-300)
    pushes = np.sign(y) * (np.abs(y / system.price) > small)
    leave = (state != 0) & ~fixed & (pushes * state < 0)
    enter = (state == 0) & (above | below)
    there = np.where(enter, np.where(above, 1, -1), 0)
    return leave | enter, there


class _System:
    """The quadratic in unknowns scaled to curvature one."""

    def __init__(self, quadratic, C):
        F, Q = quadratic.F, quadratic.Q
        curve = F.multiply(F).sum(axis=0) + Q.diagonal()
        self.size = np.sqrt(np.where(curve > 0, curve, 1.0))
        unit = sp.diags_array(1.0 / self.size)
        self.F, self.g = (F @ unit).tocsr(), quadratic.g
        self.Q = (unit @ Q @ unit).tocsr()
        self.c, self.C = quadratic.c / self.size, (C @ unit).tocsr()
        self.length = np.sqrt(self.C.multiply(self.C).sum(axis=1))
        self.length = np.where(self.length > 0, self.length, 1.0)
        self.price = 1.0 / self.length

    def descent(self, x):
        """Minus the gradient; by F and not by its square, which would lose digits."""
        return self.c - self.F.T @ (self.F @ x - self.g) - self.Q @ x

    def settled(self, x, state, at):
        """Whether the binding rows are where they should be."""
        rows = np.flatnonzero(state)
        if not len(rows):
            return True
        gap = np.abs((self.C @ x)[rows] - at[rows])
        reach = np.linalg.norm(x) * self.length[rows] + np.abs(at[rows])
        return bool(np.all(gap <= 10 * _ROUNDING * reach + 1e-300))

    def solve(self, rows, at):
        """Unknowns and multipliers with the given rows as equations."""
        solver = self.prepare(rows)
        C, b = self.C[rows], at[rows]
        x, y = np.zeros(len(self.size)), np.zeros(len(rows))
        for _ in range(1 + _REFINEMENTS):
            dx, dy = solver(self.descent(x) - C.T @ y, b - C @ x)
            x, y = x + dx, y + dy
        full = np.zeros(len(at))
        full[rows] = y
        return x, full


class Dense(_System):
    """By the Cholesky factor of the Hessian, and one of the binding rows in its metric.

    Rows that depend on others of them are left out.
    """

    def __init__(self, quadratic, C):
        super().__init__(quadratic, C)
        F = self.F.toarray()
        H = F.T @ F + self.Q.toarray()
        np.fill_diagonal(H, H.diagonal() * (1.0 + 1e-15))
        self.L = cholesky(H)
        self.Y = linalg.solve_triangular(self.L, self.C.T.toarray(), lower=True)
        self.S = self.Y.T @ self.Y
        self.price = 1.0 / np.sqrt(np.maximum(np.diag(self.S), 1e-300))

    def prepare(self, rows):
        """A function that solves the equations' system with these rows."""
        norm = np.sqrt(np.maximum(np.diag(self.S)[rows], 1e-300))
        S = self.S[np.ix_(rows, rows)] / np.outer(norm, norm)
        R, order, rank = np.zeros((0, 0)), np.zeros(0, dtype=int), 0
        if len(rows):
            R, order, rank, _ = linalg.lapack.dpstrf(S, tol=_DEPENDENT)
            R, order = R[:rank, :rank], order[:rank] - 1
        Y, norm = self.Y[:, rows[order]], norm[order]

        def solver(descent, short):
            v = linalg.solve_triangular(self.L, descent, lower=True)
            dy = np.zeros(len(short))
            if rank:
                right = (Y.T @ v - short[order]) / norm
                dy[order] = linalg.cho_solve((R, False), right) / norm
                v = v - Y @ dy[order]
            return linalg.solve_triangular(self.L, v, lower=True, trans="T"), dy

        return solver


class Short(_System):
    """By a matrix of the size of the rows, where the unknowns are far more."""

    def __init__(self, quadratic, C):
        super().__init__(quadratic, C)
        equations = ShortEquations(self.F, self.Q, self.C, quadratic.shape)
        self.prepare = equations.prepare


class Sparse(_System):
    """By a sparse factorisation of the whole system, for very many unknowns.

    A binding row of a single unknown settles it: both leave the system.
    """

    def __init__(self, quadratic, C):
        super().__init__(quadratic, C)
        q, n = self.F.shape
        near = 1e-14 * sp.eye_array(n)
        wide = q < n // 2
        self.wide = wide
        self.K = None if wide else (self.F.T @ self.F + self.Q + near).tocsr()
        if wide:
            # with the residuals as unknowns nothing is squared
            parts = [[self.Q + near, self.F.T], [self.F, -sp.eye_array(q)]]
            self.K = sp.block_array(parts).tocsr()

    def prepare(self, rows):
        """A function that solves the equations' system with these rows."""
        C, n, size = self.C[rows], len(self.size), self.K.shape[0]
        single = np.diff(C.indptr) == 1
        alone, others = np.flatnonzero(single), np.flatnonzero(~single)
        fixed, scale = C[alone].indices, C[alone].data
        free = np.setdiff1d(np.arange(size), fixed)
        rest = sp.hstack([C[others], sp.csr_array((len(others), size - n))]).tocsr()
        inner, A = self.K[free][:, free], rest[:, free]
        corner = -1e-14 * sp.eye_array(len(others))
        # COLAMD fills up an arrowhead of tasks; the other order many chains of rows
        order = "COLAMD" if self.wide or len(others) > _BORDER else "MMD_AT_PLUS_A"
        system = sp.csc_matrix(sp.block_array([[inner, A.T], [A, corner]]))
        if order == "COLAMD":
            factor = splu(system, permc_spec=order)
        else:
            symmetric = {"SymmetricMode": True}
            factor = splu(system, order, diag_pivot_thresh=0.01, options=symmetric)

        def solver(descent, short):
            dx, dy = np.zeros(size), np.zeros(len(short))
            dx[fixed] = short[alone] / scale
            right = np.concatenate([descent, np.zeros(size - n)])
            known = right - self.K @ dx
            solved = factor.solve(
                np.concatenate([known[free], short[others] - rest @ dx])
            )
            dx[free], dy[others] = solved[: len(free)], solved[len(free) :]
            left = (right - self.K @ dx - rest.T @ dy[others])[fixed]
            dy[alone] = left / scale
            return dx[:n], dy

        return solver


# ---------------------------------------------------------------- one row of a kind


class Merged:
    """Constraints without the rows that say nothing, and each direction only once.

    Where several rows say the same, the tightest limits count, and the rows that hold
    them share the multiplier.

    Parameters
    ----------
    C : csr_array of shape (n_rows, n_unknowns)
    lower, upper : ndarray of shape (n_rows,)

    Attributes
    ----------
    C, lower, upper
        What is left.
    empty : ndarray of int
        Rows that no choice of the unknowns can satisfy.
    """

    def __init__(self, C, lower, upper):
        C = sp.csr_array(C)
        C.eliminate_zeros()
        length = np.sqrt(C.multiply(C).sum(axis=1))
        big = np.abs(C).max(axis=1).toarray().ravel() if C.nnz else length
        alive = length > 1e-13 * max(big.max(initial=0.0), 1e-300)
        off = (lower > 1e-12) | (upper < -1e-12)
        self.empty = np.flatnonzero(~alive & off)
        self.n_rows, self.rows = len(lower), np.flatnonzero(alive)
        rng = np.random.default_rng(0)
        probe = (C @ rng.normal(size=(C.shape[1], 2)))[self.rows]
        probe /= length[self.rows, None]
        sign = np.where(probe[:, 0] < 0, -1.0, 1.0)
        key = np.round(probe * sign[:, None], 11)
        _, first, self.which = np.unique(
            key, axis=0, return_index=True, return_inverse=True
        )
        self.which = self.which.ravel()
        # a row in units of the first of its kind
        kept = self.rows[first]
        self.factor = sign * sign[first][self.which]
        self.factor *= length[self.rows] / length[kept][self.which]
        one, two = lower[self.rows] / self.factor, upper[self.rows] / self.factor
        self.low, self.high = np.minimum(one, two), np.maximum(one, two)
        self.C = C[kept]
        self.lower, self.upper = np.full(len(kept), -np.inf), np.full(len(kept), np.inf)
        np.maximum.at(self.lower, self.which, self.low)
        np.minimum.at(self.upper, self.which, self.high)
        level = 1e-12 * (1.0 + np.abs(self.lower))
        crossed = self.lower > self.upper
        near = crossed & (self.lower - self.upper <= level)
        self.upper = np.where(near, self.lower, self.upper)
        crossed = np.isin(self.which, np.flatnonzero(crossed & ~near))
        self.empty = np.concatenate([self.empty, self.rows[crossed]])

    def spread(self, multipliers):
        """Multipliers of all rows as they were given."""
        y = multipliers[self.which]
        limit = np.where(y > 0, self.upper[self.which], self.lower[self.which])
        own = np.where(y > 0, self.high, self.low)
        with np.errstate(invalid="ignore"):
            holds = np.abs(own - limit) <= 1e-12 * (1.0 + np.abs(limit))
        holds &= y != 0
        count = np.bincount(self.which, weights=holds, minlength=len(multipliers))
        full = np.zeros(self.n_rows)
        share = np.where(holds, y / np.maximum(count[self.which], 1.0), 0.0)
        full[self.rows] = share / self.factor
        return full

    def gather(self, full):
        """Multipliers of what is left, from those of all rows."""
        own = full[self.rows] * self.factor
        return np.bincount(self.which, weights=own, minlength=self.C.shape[0])
