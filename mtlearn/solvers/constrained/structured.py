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


# ---------------------------------------------------------------- in common

# What systems of an active set share: rows of C that are equations, or give way.


class Equations:
    """What all systems of one quadratic have in common.

    A subclass writes `_system`, which makes an object with a method `solve` of the
    chosen rows of C and their slacks.
    """

    def prepare(self, rows, slack=None):
        """A function that solves the system with these rows of C as equations.

        Parameters
        ----------
        rows : ndarray of int
        slack : ndarray of shape (n_chosen_rows,), default=None
            At least 0: by how much a row gives way per unit of its multiplier.

        Returns
        -------
        solver : callable
            Of what the gradient and the rows lack.
        """
        slack = np.zeros(len(rows)) if slack is None else slack
        return self._system(rows, slack).solve


class SingleRows:
    """Rows of C that concern one unknown: it is fixed by them, or held.

    Parameters
    ----------
    C : csr_array of shape (n_chosen_rows, n_unknowns)
    slack : ndarray of shape (n_chosen_rows,)

    Attributes
    ----------
    all : ndarray of shape (n_chosen_rows,), bool
    fixed : ndarray of int
        The unknowns that rows without slack settle.
    """

    def __init__(self, C, slack):
        self.all = np.diff(C.indptr) == 1
        self.hard = np.flatnonzero(self.all & (slack == 0))
        self.soft = np.flatnonzero(self.all & (slack > 0))
        self.fixed, self.scale = C[self.hard].indices, C[self.hard].data
        held = C[self.soft]
        self.held, self.by, self.stiff = held.indices, held.data, 1.0 / slack[self.soft]

    def gather(self, values, size):
        """What values, one per soft row, do to the first `size` unknowns."""
        values = self.by * values * self.stiff
        return np.bincount(self.held, weights=values, minlength=size)

    def settle(self, short):
        """The fixed unknowns where their rows lack `short`."""
        return short[self.hard] / self.scale

    def price(self, dy, left, x, short):
        """Write the multipliers of these rows, where the gradient lacks `left`."""
        dy[self.hard] = left[self.fixed] / self.scale
        dy[self.soft] = self.stiff * (self.by * x[self.held] - short[self.soft])


# ---------------------------------------------------------------- many unknowns


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


class ShortEquations(Equations):
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

    def _system(self, rows, slack):
        return _Prepared(self, rows, slack)

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
    """The system with certain rows of C as equations, C x - slack y = short.

    Without slack a row holds; a positive one lets it give way.
    """

    def __init__(self, equations, rows, slack):
        self.eq, C = equations, equations.C[rows]
        self.single, wide = SingleRows(C, slack), equations.wide[rows]
        self.across = np.flatnonzero(wide)
        self.inside = np.flatnonzero(~self.single.all & ~wide)
        self._invert(self.single.gather(self.single.by, equations.n))
        self.A = None
        if len(self.inside):
            self._project(C[self.inside], slack[self.inside])
        q = self.q = equations.F.shape[0]
        chosen = np.concatenate([np.arange(q), equations.place[rows[self.across]]])
        self.G = equations.G[chosen]
        give = np.maximum(slack[self.across], _TINY)
        self._factor(chosen, np.concatenate([np.ones(q), give]))

    def _invert(self, bend):
        """P: the inverse of Q + `bend` where fixed unknowns are out."""
        eq = self.eq
        free = np.ones(eq.n)
        free[self.single.fixed] = 0.0
        self.free = free = eq.columns(free)
        blocks = eq.blocks * (free[:, :, None] * free[:, None, :])
        diagonal = np.arange(eq.n_slots)
        blocks[:, diagonal, diagonal] += 1.0 - free + eq.columns(bend)
        self.P = np.linalg.inv(blocks)
        self.P[:, diagonal, diagonal] *= free

    def _project(self, C, slack):
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
        give = np.zeros(square.shape[:2])
        give[self.at] = slack
        square[:, every, every] += give
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
        eq, n, single = self.eq, self.eq.n, self.single
        settled, b = np.zeros(n), np.zeros(len(descent) - n)
        settled[single.fixed] = single.settle(short)
        right = descent[:n] + single.gather(short[single.soft], n)
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
        pull = self.G.T @ z
        x = x - self._move(pull)
        # 3) multipliers inside features
        dy = np.zeros(len(short))
        dy[self.across] = z[self.q :]
        left = right - pull
        if self.A is not None:
            price = eq.columns(free - pull)[self.features]
            price = np.einsum("fmk,fk->fm", self.reach, price) - miss
            price = np.einsum("fmn,fn->fm", self.W, price)
            dy[self.inside] = price[self.at]
            forced = np.einsum("fmk,fm->fk", self.A, price)
            eq.columns(left)[self.features] -= forced
        single.price(dy, left - eq.Q @ x, x, short)
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


# ---------------------------------------------------------------- arrowheads

# The equations of an active set where tasks meet in few unknowns only.
#
#     minimise 1/2 |F x - g|^2 + 1/2 x' Q x - c' x   over   C x = at.
#
# Given a common part and the intercepts, the coefficients of one task know nothing of
# those of another: an arrowhead, whose blocks are inverted one by one. What is left has
# the size of the common part and of the rows of C that concern several coefficients.

_TASK_BLOCKS = 20_000_000  # most entries of all tasks' blocks
_BORDER = 1500  # most unknowns in which tasks meet, and most rows of C that do so
_WIDTH = 40  # features below which a sparse factorisation is as fast
_TASK_TINY = 1e-13  # curvature lent to multipliers of rows that depend on others


def find_head(quadratic, C):
    """The slots in which the others meet.

    Parameters
    ----------
    quadratic : Quadratic
    C : csr_array of shape (n_rows, n_unknowns)

    Returns
    -------
    head : ndarray of int or None
        None where there is no arrowhead, or this way would not be faster.
    """
    if quadratic.shape is None:
        return None
    n_slots, width = quadratic.shape
    across = np.count_nonzero(np.diff(C.indptr) > 1)
    too_many = n_slots * width**2 > _TASK_BLOCKS or across > _BORDER
    if too_many or width < _WIDTH or n_slots < 3:
        return None
    n = n_slots * width
    F, Q = quadratic.F[:, :n].tocoo(), quadratic.Q[:n, :n].tocoo()
    shape = F.shape[0], n_slots
    seen = sp.csr_array((np.ones(F.nnz), (F.row, F.col // width)), shape=shape)
    tied = (seen.T @ seen).toarray()
    tied[Q.row // width, Q.col // width] = 1.0
    np.fill_diagonal(tied, 0.0)
    head = np.flatnonzero(np.count_nonzero(tied, axis=0) > 1)
    rest = np.setdiff1d(np.arange(n_slots), head)
    apart = not np.any(tied[np.ix_(rest, rest)])
    small = len(head) * width + quadratic.size - n <= _BORDER
    return head if apart and small and len(rest) > 1 else None


class ArrowEquations(Equations):
    """What all systems of one quadratic have in common.

    Parameters
    ----------
    F, Q : csr_array
        Of the scaled unknowns.
    C : csr_array of shape (n_rows, n_unknowns)
    shape : (n_slots, width)
        The unknowns are (n_slots, width), and the intercepts.
    head : ndarray of int
        The slots in which the others meet.
    """

    def __init__(self, F, Q, C, shape, head):
        self.C, self.size, (n_slots, width) = C, F.shape[1], shape
        tails = np.setdiff1d(np.arange(n_slots), head)
        places = np.arange(n_slots * width).reshape(n_slots, width)
        self.tails = places[tails]
        rest = np.arange(n_slots * width, self.size)
        self.head = np.concatenate([places[head].ravel(), rest])
        by_column = F.tocsc()
        self.blocks = np.empty((len(tails), width, width))
        for k, place in enumerate(self.tails):
            own = by_column[:, place].tocsr()
            own = own[np.diff(own.indptr) > 0].toarray()
            self.blocks[k] = own.T @ own + Q[place][:, place].toarray()
        heads = by_column[:, self.head]
        self.corner = (heads.T @ heads + Q[self.head][:, self.head]).toarray()
        self.H_dot = lambda x: F.T @ (F @ x) + Q @ x
        self.meet = (heads.T @ by_column + Q[self.head]).tocsc()

    def _system(self, rows, slack):
        return _PreparedArrow(self, rows, slack)


class _PreparedArrow:
    """The system with certain rows of C as equations, C x - slack y = short."""

    def __init__(self, equations, rows, slack):
        self.eq, C = equations, equations.C[rows]
        self.single = SingleRows(C, slack)
        self.across = np.flatnonzero(~self.single.all)
        self.A = C[self.across]
        self.free = np.ones(equations.size)
        self.free[self.single.fixed] = 0.0
        bend = self.single.gather(self.single.by, equations.size) + 1.0 - self.free
        self._invert(bend)
        self._border(bend[equations.head], np.maximum(slack[self.across], _TASK_TINY))

    def _invert(self, bend):
        """P: the inverses of the blocks where fixed unknowns are out."""
        tails, every = self.eq.tails, np.arange(self.eq.tails.shape[1])
        self.P = np.empty_like(self.eq.blocks)
        for k, place in enumerate(tails):
            free = self.free[place]
            block = self.eq.blocks[k] * free[:, None] * free
            block[every, every] += bend[place]
            self.P[k] = np.linalg.inv(block)
            self.P[k, every, every] *= free

    def _border(self, bend, give):
        """Factor of what is left: the head, and rows of C across coefficients."""
        eq, A = self.eq, self.A
        n = len(eq.head)
        # what a free head and the rows say of all unknowns
        free = self.free[eq.head]
        self.E = sp.vstack([sp.diags_array(free) @ eq.meet, A]).tocsc()
        K = np.zeros((self.E.shape[0], self.E.shape[0]))
        K[:n, :n] = eq.corner * free[:, None] * free + np.diag(bend)
        across = A.tocsc()[:, eq.head].toarray() * free
        K[n:, :n], K[:n, n:] = across, across.T
        K[np.arange(n, len(K)), np.arange(n, len(K))] -= give
        for k, place in enumerate(eq.tails):
            own = self.E[:, place].tocsr()
            rows = np.flatnonzero(np.diff(own.indptr))
            own = own[rows]
            K[np.ix_(rows, rows)] -= own @ (own @ self.P[k]).T
        self.K = linalg.lu_factor(K) if len(K) else None

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
        eq, head, single = self.eq, self.eq.head, self.single
        x = np.zeros(eq.size)
        x[single.fixed] = single.settle(short)
        right = descent + single.gather(short[single.soft], eq.size)
        known = (right - eq.H_dot(x)) * self.free
        miss = short[self.across] - self.A @ x
        push = np.concatenate([known[head], miss]) - self.E @ self._move(known)
        z = linalg.lu_solve(self.K, push) if len(push) else push
        pull = self.E.T @ z
        x = x + self._move(known - pull)
        # of fixed unknowns of the head nothing is left to add
        x[head] += z[: len(head)] * self.free[head]
        dy = np.zeros(len(short))
        dy[self.across] = z[len(head) :]
        left = right - eq.H_dot(x) - self.A.T @ dy[self.across]
        single.price(dy, left, x, short)
        return x, dy

    def _move(self, v):
        """P v on the tails, zero at the head."""
        tails, out = self.eq.tails, np.zeros(self.eq.size)
        out[tails] = (self.P @ v[tails][:, :, None])[:, :, 0]
        return out
