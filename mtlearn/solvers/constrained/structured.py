"""The equations of an active set where the unknowns are far more than the rows.

    minimise 1/2 |F x - g|^2 + 1/2 x' Q x - c' x   over   C x = at.

A relation ties the coefficients of one feature only, so that Q and the rows of C that
concern one feature are inverted feature by feature: P. With the residuals and the
multipliers of the other rows as unknowns, the matrix that is left, I + F P F', has the
size of the rows of the data (the identity of Woodbury).
"""

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.sparse.csgraph import connected_components

_ROWS = 4000  # most rows of F, and of C that concern several features
_BLOCKS = 20_000_000  # most entries of all features' blocks
_DEPENDENT = 1e-11  # 1 - R^2 of a row given the other binding ones
_TINY = 1e-13  # curvature lent to multipliers of rows that nothing can move
_FILLED = 0.2  # share of nonzeros above which rows are dense


def is_short(quadratic, C):
    """Whether the rows are few, and Q ties the coefficients of one feature only.

    Parameters
    ----------
    quadratic : Quadratic
    C : csr_array of shape (n_rows, n_unknowns)

    Returns
    -------
    short : bool
    """
    if quadratic.shape is None:
        return False
    n_slots, width = quadratic.shape
    n_rows = quadratic.F.shape[0] + int(_is_wide(C, width).sum())
    if not are_few(n_rows, n_slots, width):
        return False
    Q = quadratic.Q.tocoo()
    inside = (Q.row < n_slots * width) | (Q.col < n_slots * width)
    return bool(np.all((Q.row % width == Q.col % width)[inside]))


def are_few(n_rows, n_slots, width):
    """Whether rows are few enough beside (n_slots, width) unknowns.

    Parameters
    ----------
    n_rows, n_slots, width : int

    Returns
    -------
    few : bool
    """
    small = n_rows <= _ROWS and width * n_slots**2 <= _BLOCKS
    return small and 2 * n_rows <= n_slots * width


def _is_wide(C, width):
    """Rows that concern several features."""
    wide = np.zeros(C.shape[0], dtype=bool)
    filled = np.flatnonzero(np.diff(C.indptr))
    if len(filled):
        feature, starts = C.indices % width, C.indptr[:-1][filled]
        first = np.minimum.reduceat(feature, starts)
        wide[filled] = first != np.maximum.reduceat(feature, starts)
    return wide


class ShortEquations:
    """What all systems of one quadratic have in common.

    Parameters
    ----------
    F, Q : csr_array
        Of the scaled unknowns.
    C : csr_array of shape (n_rows, n_unknowns)
    shape : (n_slots, width)
        The unknowns are (n_slots, width), a column per feature, and the intercepts.
    """

    def __init__(self, F, Q, C, shape):
        self.n_slots, self.width = shape
        n = self.n = self.n_slots * self.width
        F = F.copy()
        F.eliminate_zeros()
        F = F[np.diff(F.indptr) > 0]
        self.C, self.wide = C, _is_wide(C, self.width)
        self.F, self.Q = F[:, :n], Q[:n, :n]
        corner = Q[n:, n:].toarray()
        self.G = sp.vstack([self.F, C[self.wide][:, :n]]).tocsr()
        self.place = F.shape[0] + np.cumsum(self.wide) - 1
        self.B, self.corner = F[:, n:].toarray(), corner
        self.blocks = np.zeros((self.width, self.n_slots, self.n_slots))
        Q = self.Q.tocoo()
        one, two = np.divmod(Q.row, self.width), np.divmod(Q.col, self.width)
        self.blocks[one[1], one[0], two[0]] = Q.data
        self.slots, self.concerns = self._slots()

    def _slots(self):
        """Rows that see each slot, and their part in it; and which rows see which."""
        by_column, slots = self.G.tocsc(), []
        seen = np.zeros((self.G.shape[0], self.n_slots), dtype=bool)
        for k in range(self.n_slots):
            part = by_column[:, k * self.width : (k + 1) * self.width].tocsr()
            rows = np.flatnonzero(np.diff(part.indptr))
            part, seen[rows, k] = part[rows], True
            filled = part.nnz > _FILLED * part.shape[0] * part.shape[1]
            slots.append((rows, part.toarray() if filled else part))
        return slots, seen

    def prepare(self, rows):
        """A function that solves the system with these rows of C as equations."""
        return _Prepared(self, rows).solve

    def squared(self, P):
        """G P G', and groups of rows that have to do with each other."""
        S = np.zeros((self.G.shape[0], self.G.shape[0]))
        tied = np.any(P != 0, axis=0)
        for k, (rows, part) in enumerate(self.slots):
            for m in np.flatnonzero(tied[k, k:]) + k:
                others, other = self.slots[m]
                if not len(rows) or not len(others):
                    continue
                if sp.issparse(part):
                    left = part @ sp.diags_array(P[:, k, m])
                else:
                    left = part * P[:, k, m]
                product = left @ other.T
                product = product.toarray() if sp.issparse(product) else product
                S[np.ix_(rows, others)] += product
                if m > k:
                    S[np.ix_(others, rows)] += product.T
        seen = sp.csr_array(self.concerns)
        graph = sp.block_array([[None, seen], [seen.T, sp.csr_array(tied)]])
        return S, connected_components(graph, directed=False)[1][: len(S)]

    def columns(self, v):
        """A flat array of the unknowns, a row per feature."""
        return v.reshape(self.n_slots, self.width).T


class _Prepared:
    """The system with certain rows of C as equations, C x = short.

    A row of a single unknown fixes it.
    """

    def __init__(self, equations, rows):
        self.eq, C = equations, equations.C[rows]
        single, wide = np.diff(C.indptr) == 1, equations.wide[rows]
        self.alone = np.flatnonzero(single)
        self.fixed, self.scale = C[self.alone].indices, C[self.alone].data
        self.across = np.flatnonzero(wide)
        self.inside = np.flatnonzero(~single & ~wide)
        self._invert()
        self.A = None
        if len(self.inside):
            self._project(C[self.inside])
        q = self.q = equations.F.shape[0]
        chosen = np.concatenate([np.arange(q), equations.place[rows[self.across]]])
        self.G = equations.G[chosen]
        give = np.full(len(self.across), _TINY)
        self._factor(chosen, np.concatenate([np.ones(q), give]))

    def _invert(self):
        """P: the inverse of Q where fixed unknowns are out."""
        eq = self.eq
        free = np.ones(eq.n)
        free[self.fixed] = 0.0
        self.free = free = eq.columns(free)
        blocks = eq.blocks * (free[:, :, None] * free[:, None, :])
        diagonal = np.arange(eq.n_slots)
        blocks[:, diagonal, diagonal] += 1.0 - free
        self.P = np.linalg.inv(blocks)
        self.P[:, diagonal, diagonal] *= free

    def _project(self, C):
        """Take from P what rows inside a feature forbid.

        Rows that depend on others share what they push with them.
        """
        eq = self.eq
        # 1) the rows of every feature that has some, padded
        feature = C.indices[C.indptr[:-1]] % eq.width
        self.features, which = np.unique(feature, return_inverse=True)
        order, count = np.argsort(which, kind="stable"), np.bincount(which)
        rank = np.empty(len(which), dtype=np.intp)
        rank[order] = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        self.at = which, rank
        self.A = np.zeros((len(count), count.max(), eq.n_slots))
        of = np.repeat(np.arange(len(which)), np.diff(C.indptr))
        self.A[which[of], rank[of], C.indices // eq.width] = C.data
        # 2) their matrix in the metric of P, scaled to a diagonal of ones
        inner = self.P[self.features]
        self.reach = (self.A * self.free[self.features][:, None]) @ inner
        square = self.reach @ self.A.transpose(0, 2, 1)
        every = np.arange(square.shape[1])
        size = np.sqrt(np.maximum(square[:, every, every], 0.0))
        size[size == 0] = 1.0
        size = size[:, :, None] * size[:, None, :]
        W = np.linalg.pinv(square / size, rcond=_DEPENDENT, hermitian=True)
        self.W = W / size
        self.P[self.features] = inner - self.reach.transpose(0, 2, 1) @ (
            self.W @ self.reach
        )

    def _factor(self, chosen, give):
        """Factors of what is left, for each group of rows."""
        S, group = self.eq.squared(self.P)
        if len(chosen) != len(S) or np.any(chosen != np.arange(len(S))):
            S, group = S[np.ix_(chosen, chosen)], group[chosen]
        diagonal = np.arange(len(S))
        S[diagonal, diagonal] += give
        self.factors = []
        order = np.argsort(group, kind="stable")
        ends = np.flatnonzero(np.diff(group[order])) + 1
        for part in np.split(order, ends):
            own = S if len(part) == len(S) else S[np.ix_(part, part)]
            self.factors.append((part, cholesky(own)))
        self.B = np.zeros((len(S), self.eq.B.shape[1]))
        self.B[: self.q] = self.eq.B
        self.SB = self._apply(self.B)
        corner = self.B.T @ self.SB + self.eq.corner
        self.corner = cholesky(corner) if len(corner) else None

    def _apply(self, right):
        """The inverse of D + G P G'."""
        out = np.empty_like(right)
        for part, L in self.factors:
            out[part] = linalg.cho_solve((L, True), right[part], check_finite=False)
        return out

    def solve(self, descent, short):
        """Change of the unknowns and multipliers of the rows.

        Parameters
        ----------
        descent : ndarray of shape (n_unknowns,)
            What the gradient of the Lagrangian lacks.
        short : ndarray of shape (n_chosen_rows,)
            What the rows lack.

        Returns
        -------
        dx, dy : ndarray
        """
        eq, n = self.eq, self.eq.n
        settled, b = np.zeros(n), np.zeros(len(descent) - n)
        settled[self.fixed] = short[self.alone] / self.scale
        right = descent[:n]
        free = right - eq.Q @ settled
        # 1) as if no rows were across features, nor rows of data
        x = settled + self._move(free)
        if self.A is not None:
            miss = np.zeros(self.A.shape[:2])
            miss[self.at] = short[self.inside]
            known = eq.columns(settled)[self.features]
            miss -= np.einsum("fmk,fk->fm", self.A, known)
            push = np.einsum("fmn,fn->fm", self.W, miss)
            moved = np.einsum("fmk,fm->fk", self.reach, push)
            eq.columns(x)[self.features] += moved
        # 2) those: their residuals and multipliers, and the intercepts
        h = self.G @ x
        h[self.q :] -= short[self.across]
        z = self._apply(h)
        if len(b):
            b = linalg.cho_solve((self.corner, True), descent[n:] - self.B.T @ z)
            z = z + self.SB @ b
        given = self.G.T @ z
        x = x - self._move(given)
        # 3) multipliers inside features
        dy = np.zeros(len(short))
        dy[self.across] = z[self.q :]
        left = right - given
        if self.A is not None:
            price = eq.columns(free - given)[self.features]
            price = np.einsum("fmk,fk->fm", self.reach, price) - miss
            price = np.einsum("fmn,fn->fm", self.W, price)
            dy[self.inside] = price[self.at]
            forced = np.einsum("fmk,fm->fk", self.A, price)
            eq.columns(left)[self.features] -= forced
        dy[self.alone] = (left - eq.Q @ x)[self.fixed] / self.scale
        return np.concatenate([x, b]), dy

    def _move(self, v):
        """P v."""
        return (self.P @ self.eq.columns(v)[:, :, None])[:, :, 0].T.ravel()


def cholesky(H):
    """Lower factor; a definite neighbour's where rounding made H indefinite."""
    for lift in (0.0, 1e-14, 1e-12, 1e-10):
        try:
            return linalg.cholesky(H + lift * np.eye(len(H)), lower=True)
        except linalg.LinAlgError:
            continue
    raise linalg.LinAlgError(
        "The Hessian of the quadratic is not definite, not even nearly."
    )
