"""The mode of all coefficients of a logistic mixed model, by Newton's method.

A step solves a linear model with the labels' curvatures as weights, in which a task
needs no more than the moments of its own columns Z = U B with all of them, as in
`partial`: the squares of all columns are those of all rows together. Near the mode the
squares of the last step will do.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...problem.logistic import normal_site
from .columns import Rows
from .partial import OwnMoments, again, eliminate
from .passes import gather_cross, gather_own, gather_squares, score_rows, work
from .profile import shared_posterior

_ENOUGH = 1e-22  # gain of a step, for a label, that is not worth it
_ROUNDING = 1e-13  # of the objective, for a label
_STEPS = 60
_HALVINGS = 30
_CLOSE = 0.1  # gain of a step from which the next ones may keep its squares,
_QUICK = 0.1  # as long as each gains so much less than the one before it


@dataclass
class Mode:
    """The mode of all coefficients, or a point on the way there.

    Attributes
    ----------
    beta : ndarray of shape (q,)
    effects : ndarray of shape (n_tasks, k)
        In the columns of the root.
    eta : ndarray of shape (n_labels,)
    value : float
        What is minimised.
    sites : Site or None
        Of the labels that are their task's only one; their `eta` is the shared score.
    """

    beta: np.ndarray
    effects: np.ndarray
    eta: np.ndarray
    value: float
    sites: object


class Deviations(NamedTuple):
    """The tasks' deviations: root of their covariance, and the same by U's columns."""

    root: np.ndarray  # (r, k)
    lift: np.ndarray  # (q, k)


def left_open(sites, spread):
    """Posterior over prior variance of the deviations that single labels see."""
    return np.maximum(1.0 + spread * sites.second, 1e-12)


class ModeSearch:
    """What is needed of labels to find modes.

    Parameters
    ----------
    labels : Labels
    lift : ndarray of shape (q, r)
        B: the columns that differ between tasks, by those of U.
    start : ndarray of shape (n_labels,), default=None
        Scores from which the first mode is looked for.
    """

    def __init__(self, labels, lift, start=None):
        self.labels, self.lift = labels, lift
        self.own = np.flatnonzero(lift.any(axis=1))  # columns of U that Z is made of
        self.Z = np.ascontiguousarray(labels.U[:, self.own] @ lift[self.own])
        n_tasks, counts = len(labels.starts) - 1, labels.counts
        none = np.zeros((n_tasks, 0, 0)), np.arange(n_tasks), np.zeros((n_tasks, 0))
        self.rows = Rows(*none, counts, counts)  # without moments: they have modes
        self._last, self._rounding = start, _ROUNDING * (1.0 + self.rows.count)
        self._last_linear = None
        self._gathered = None
        self._single = labels.task[labels.single]
        self._several = np.ones(n_tasks, dtype=bool)
        self._several[self._single] = False

    # ------------------------------------------------------------ Newton's method

    def _mode(self, own, prior):
        """Newton's method from the last mode, or from zero."""
        here, size = None, np.inf
        if self._last is not None:
            start = self._solved(own, prior, self._last, self.sites(self._last, own))
            if start.value < self._zero_value(own):
                here, size = start, self._size(start.eta - self._last)
        if here is None:
            effects = np.zeros((len(self.rows.counts), own.root.shape[1]))
            here = self._tried(np.zeros(len(prior)), effects, own, prior)
        near, least = size < _CLOSE, _ENOUGH * (1.0 + self.rows.count)
        for _ in range(_STEPS):
            there = self._searched(here, own, prior, near)
            if there is None:
                break
            last, size = size, self._size(there.eta - here.eta)
            here, quick = there, size / max(last, 1e-300)
            # what the next step would be at this speed; of the first it is not known
            if size * (quick if 0 < quick < 1 else 1.0) <= least:
                break
            near = size < _CLOSE and quick < _QUICK
        self._last = here.eta
        return here

    def _zero_value(self, own):
        """The objective where all coefficients are zero."""
        sites = self.sites(np.zeros(len(self.labels.sign)), own)
        if sites is None:
            return np.log(2.0) * self.rows.count
        several = self.rows.count - len(self.labels.single)
        return np.log(2.0) * several - float(sites.value.sum())

    def _size(self, change):
        """About what a step of the scores gains."""
        return 0.125 * float(self.labels.weight @ change**2)

    def _searched(self, here, own, prior, near):
        """The Newton step, halved until it gains; None if none does."""
        there = self._solved(own, prior, here.eta, here.sites, near)
        for _ in range(_HALVINGS):
            if there.value <= here.value + self._rounding:
                return there
            there = self._tried(
                0.5 * (here.beta + there.beta),
                0.5 * (here.effects + there.effects),
                own,
                prior,
            )
        return None

    def _solved(self, own, prior, eta, sites, near=False):
        """Coefficients of the working linear model; if `near`, of the last squares."""
        found, spread = self._linear(own, prior, eta, sites, near)
        beta = spread.T @ (spread @ found.target)
        effects = np.einsum("tkl,tk->tl", found.inverse, found.z - found.taken @ beta)
        return self._tried(beta, effects, own, prior)

    def _linear(self, own, prior, eta, sites, near):
        """What tasks leave of the working linear model; root of the covariance of beta.

        Its squares are most of the work, and those of a near mode will do.
        """
        if near:
            w, moments, found, spread = self._last_linear
            cross, target = self.sums(self.working(eta, sites, own, w)[1])
            moments = moments._replace(cross=cross, target=target)
            return again(moments, self.rows, found), spread
        w, moments = self.gathered_at(eta, sites, own)
        found = eliminate(moments, self.rows, own.root)
        spread = self.spread(found.total, prior)[0]
        self._last_linear = w, moments, found, spread
        return found, spread

    def spread(self, total, prior):
        """Root of the posterior covariance of beta, and its logarithm."""
        none = np.zeros(len(prior), dtype=bool)
        return shared_posterior(total, prior, none, prior > 0)

    def _tried(self, beta, effects, own, prior):
        """The objective at given coefficients."""
        labels = self.labels
        eta = np.empty(len(labels.sign))
        effects = np.ascontiguousarray(effects)
        shifts = effects @ own.lift.T
        shifts[self._single] = 0.0
        shifts += beta
        value = score_rows(
            labels.U,
            labels.place,
            labels.starts,
            labels.sign,
            labels.weight,
            shifts,
            eta,
        )
        value += 0.5 * float(np.sum(effects[self._several] ** 2))
        seen = prior > 0
        value += 0.5 * float(np.sum(beta[seen] ** 2 / prior[seen]))
        sites = self.sites(eta, own)
        if sites is not None:
            one = labels.single
            value -= float(
                sites.value.sum() + np.logaddexp(0, -labels.sign[one] * eta[one]).sum()
            )
        return Mode(beta, effects, eta, value, sites)

    def sites(self, eta, own):
        """What single labels say of their scores, with deviations integrated out."""
        u, sign = self.single_rows()
        if not len(sign):
            return None
        spread = ((u @ own.lift) ** 2).sum(axis=1)
        return normal_site(sign * eta[self.labels.single], spread)

    def working(self, eta, sites, own, kept=None):
        """Curvature and weighted target of each label in the working linear model.

        The curvatures may be `kept` from other scores.
        """
        labels, one = self.labels, self.labels.single
        w, target = np.empty_like(eta), np.empty_like(eta)
        work(labels.sign, labels.weight, eta, w, target)
        if sites is not None:
            # a normal label with the exact mean and variance of the deviation
            spread = ((self.single_rows()[0] @ own.lift) ** 2).sum(axis=1)
            w[one] = np.maximum(-sites.second, 0.0) / left_open(sites, spread)
        if kept is not None:
            target += (kept - w) * eta
            w = kept
        if sites is not None:
            pull = labels.sign[one] * sites.first * (1.0 + spread * w[one])
            target[one] = w[one] * eta[one] + pull
        return w, target

    # ------------------------------------------------------------ moments

    def gathered_at(self, eta, sites, own):
        """Curvatures at some scores, and `OwnMoments`.

        They are kept: from a mode the next search begins. Those of single labels depend
        on the variances, too.
        """
        if sites is None and self._gathered is not None and self._gathered[0] is eta:
            return self._gathered[1:]
        w, target = self.working(eta, sites, own)
        self._gathered = eta, w, self.gathered(w, target)
        return self._gathered[1:]

    def gathered(self, w, target):
        """`OwnMoments` of labels with curvatures and weighted targets."""
        labels, U, Z = self.labels, self.labels.U, self.Z
        half = np.zeros((len(self.rows.counts), Z.shape[1], U.shape[1]))
        gather_own(U, Z, labels.place, labels.starts, w, half)
        own = half[:, :, self.own] @ self.lift[self.own]
        scaled = U * np.sqrt(labels.of_rows(w))[:, None]
        cross, sums = self.sums(target)
        return OwnMoments(half, own, cross, scaled.T @ scaled, sums)

    def sums(self, values):
        """Sums of Z' values of each task, (n_tasks, r), and of U' values, (q,)."""
        labels, Z = self.labels, self.Z
        cross = np.zeros((len(self.rows.counts), Z.shape[1]))
        gather_cross(Z, labels.place, labels.starts, values, cross)
        return cross, labels.of_rows(values) @ labels.U

    def full_rows(self, w, target):
        """`Rows` with all moments of each task."""
        labels, counts = self.labels, self.rows.counts
        n_tasks, q = len(counts), labels.U.shape[1]
        gram, cross = np.zeros((n_tasks, q, q)), self.cross(target)
        gather_squares(labels.U, labels.place, labels.starts, w, gram)
        return Rows(gram, np.arange(n_tasks), cross, counts, counts)

    def cross(self, values):
        """Sums of U' values of each task, (n_tasks, q)."""
        labels = self.labels
        cross = np.zeros((len(self.rows.counts), labels.U.shape[1]))
        gather_cross(labels.U, labels.place, labels.starts, values, cross)
        return cross

    def single_rows(self):
        """Rows and signs of the single labels."""
        own, labels = self.labels.single, self.labels
        return labels.U[labels.place[own]], labels.sign[own]
