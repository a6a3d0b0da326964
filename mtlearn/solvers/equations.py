"""What systems of an active set share: rows of C that are equations, or give way."""

import numpy as np


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
