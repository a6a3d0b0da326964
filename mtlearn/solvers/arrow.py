"""The equations of an active set where tasks meet in few unknowns only.

    minimise 1/2 |F x - g|^2 + 1/2 x' Q x - c' x   over   C x = at.

Given a common part and the intercepts, the coefficients of one task know nothing of
those of another: an arrowhead, whose blocks are inverted one by one. What is left has
the size of the common part and of the rows of C that concern several coefficients.
"""

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from .equations import Equations, SingleRows

_BLOCKS = 20_000_000  # most entries of all tasks' blocks
_BORDER = 1500  # most unknowns in which tasks meet, and most rows of C that do so
_WIDTH = 40  # features below which a sparse factorisation is as fast
_TINY = 1e-13  # curvature lent to multipliers of rows that depend on others


def find_head(quadratic, C):
    """The slots in which the others meet.

    Parameters
    ----------
    quadratic : Quadratic
    C : csr_array of shape (n_rows, n_unknowns)

    Returns
    -------
    head : ndarray of int or None
        None where there is no arrowhead, or this file's way would not be faster.
    """
    if quadratic.shape is None:
        return None
    n_slots, width = quadratic.shape
    across = np.count_nonzero(np.diff(C.indptr) > 1)
    too_many = n_slots * width**2 > _BLOCKS or across > _BORDER
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
        return _Prepared(self, rows, slack)


class _Prepared:
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
        self._border(bend[equations.head], np.maximum(slack[self.across], _TINY))

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
