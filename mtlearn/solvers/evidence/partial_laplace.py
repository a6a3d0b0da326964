"""Laplace's likelihood where few of many columns differ between tasks.

As in `partial`, a task has the moments of its own columns with all of them; the squares
of all columns are those of all rows together, which is a single product.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .columns import Rows
from .laplace import LaplaceEvidence, LaplacePoint, Reduced
from .partial import OwnMoments, PartialPoint, again, eliminate
from .passes import gather_cross, gather_own, gather_squares, take_deviations

_CHUNK = 1 << 22  # numbers that are held at once


class PartialLaplaceEvidence(LaplaceEvidence):
    """`LaplaceEvidence` with steps that are cheap in the columns that are shared.

    Scores and information are those of the tasks' own columns.
    """

    def __init__(self, labels, lift, flat, restricted, hyper, start=None):
        super().__init__(labels, lift, flat, restricted, hyper, start)
        self.basis = np.eye(lift.shape[1])
        self.own = np.flatnonzero(lift.any(axis=1))  # columns of U that Z is made of
        self.turn = lift[self.own].T
        self.Z = np.ascontiguousarray(labels.U[:, self.own] @ lift[self.own])
        self._last_linear = None

    def _frame(self, n_tasks, counts):
        none = np.zeros((n_tasks, 0, 0)), np.arange(n_tasks), np.zeros((n_tasks, 0))
        return Rows(*none, counts, counts)

    def _gathered(self, w, target):
        labels, U, Z = self.labels, self.labels.U, self.Z
        n_tasks, r = len(self.rows.counts), Z.shape[1]
        half, own = np.zeros((n_tasks, r, U.shape[1])), np.zeros((n_tasks, r, r))
        where = labels.place, labels.starts, w
        gather_own(U, Z, *where, half)
        gather_squares(Z, *where, own)
        scaled = U * np.sqrt(labels.of_rows(w))[:, None]
        cross, sums = self.sums(target)
        return OwnMoments(half, own, cross, scaled.T @ scaled, sums)

    def sums(self, values):
        """Sums of Z' values of each task, (n_tasks, r), and of U' values, (q,)."""
        labels, Z = self.labels, self.Z
        cross = np.zeros((len(self.rows.counts), Z.shape[1]))
        gather_cross(Z, labels.place, labels.starts, values, cross)
        return cross, labels.of_rows(values) @ labels.U

    def _linear(self, own, prior, eta, sites, near):
        if near:
            # squares are most of the work, and those of a near mode will do
            w, rows, found, spread = self._last_linear
            cross, sums = self.sums(self._working(eta, sites, own, w)[1])
            rows = rows._replace(cross=cross, target=sums)
            left = again(rows, self.rows, found.inner[1])
            return rows, self._reduced(rows, left), spread
        w, target = self._working(eta, sites, own)
        rows = self._gathered(w, target)
        found = self._eliminated(rows, own)
        spread = self._spread(found.total, prior)[0]
        self._last_linear = w, rows, found, spread
        return rows, found, spread

    def _eliminated(self, rows, own):
        return self._reduced(rows, eliminate(rows, self.rows, own.root))

    def _reduced(self, rows, found):
        return Reduced(found.logs, found.total, found.target, (rows, found), None)

    def _effects(self, rows, own, found, beta):
        left = found.inner[1]
        rest = left.z - left.taken @ beta
        return np.einsum("tkl,tk->tl", left.inverse, rest)

    def _make(self, rows, *facts):
        return PartialLaplacePoint(self, self.rows, *facts)


@dataclass
class PartialLaplacePoint(LaplacePoint, PartialPoint):
    """`LaplacePoint` of a `PartialLaplaceEvidence`."""

    def __post_init__(self):
        self.moments, self.found = self.inner

    @cached_property
    def full_rows(self):
        """`Rows` with all moments of each task."""
        mode, evidence = self.mode, self.evidence
        return evidence.full_rows(*evidence._working(mode.eta, mode.sites, self.own))

    def _lifted(self, values):
        lower, taken = self.found.lower, self.found.taken
        cross, target = self.evidence.sums(values)
        z = np.einsum("tkr,tr->tk", lower, cross)
        back = np.einsum("tkr,tk->tr", lower, z)
        lift = cross - np.einsum("trs,ts->tr", self.moments.own, back)
        return lift, target - np.tensordot(z, taken, 2)

    def _held(self, shift):
        back = np.einsum("tkr,tk->tr", self.found.lower, self.found.taken @ shift)
        held = np.einsum("trs,ts->tr", self.moments.own, back)
        return self.moments.half @ shift - held

    def _of_own(self, matrix):
        lift = self.evidence.lift
        return lift.T @ matrix @ lift

    def _score_variances(self, factor):
        evidence, labels = self.evidence, self.evidence.labels
        lower = self.found.lower @ evidence.turn
        lent = np.zeros_like(self.mode.eta)
        alive = factor.any(axis=1)
        root, step = factor[alive].T, max(1, _CHUNK // labels.U.shape[1])
        for low in range(0, len(lent), step):
            part = slice(low, low + step)
            left = labels.U[labels.place[part]]
            tasks, taken = labels.task[part], self.found.taken
            take_deviations(left, tasks, evidence.own, lower, taken, lent[part])
            lent[part] += ((left @ root) ** 2).sum(axis=1)
        return lent
