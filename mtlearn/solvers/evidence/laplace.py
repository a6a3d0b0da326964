r"""The likelihood of labels of -1 and +1 by Laplace's approximation.

    log p(y_i = +1) = log sigma(eta_i),   eta_t = U_t beta + U_t B v_t,
    v_t ~ N(0, Theta),   beta_j ~ N(0, prior_j), or flat.

At the mode of all coefficients the labels are those of a linear model with working
moments, U' W U and U' (W eta + residuals), and a noise of one: its determinants are
Laplace's. That the mode, and W with it, moves with the variances costs one more
elimination of the tasks, of the derivatives of the determinants in the scores.

A task of a single label is integrated exactly instead, whatever varies: its score is
one normal variable. Laplace's approximation would make its deviations worthless, which
a thousand such tasks would take for a proof that there are none.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...problem.logistic import normal_site
from .columns import Rows
from .passes import (
    bend,
    find_effects,
    gather_cross,
    gather_squares,
    label_variances,
    reduce_tasks,
    score_rows,
    work,
)
from .profile import Point, shared_posterior

_FLAT = 1e4  # variance of a flat prior, in units of the columns' deviations
_LEVEL = 1e12  # and of the constant's

_MODE = 1e-22  # gain of a step, for a label, that is not worth it
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


class Reduced(NamedTuple):
    """What the tasks leave of their moments; `inner` and `pulled` as in `Point`."""

    logs: float
    total: np.ndarray
    target: np.ndarray
    inner: object
    pulled: object


class LaplaceEvidence:
    """Laplace's likelihood as a function of the variances; as `Evidence`.

    Parameters
    ----------
    labels : Labels
    basis : ndarray of shape (q, r)
        B: the columns that differ between tasks, by those of U.
    flat : ndarray of shape (q,), bool
        Columns whose shared coefficients have no prior; it is next to flat, so that
        they are finite where the classes can be separated.
    restricted : bool
        Whether flat coefficients are integrated out or maximised.
    hyper : Hyperprior
        What is added to the deviance for the variances.
    start : ndarray of shape (n_labels,), default=None
        Scores from which the first mode is looked for.
    """

    # the noise is known, and the information that of a linear model: steps are learned
    # from, and need not tell variances apart that it hardly does
    freedom, secants, ridge = np.inf, True, 1e-5

    def __init__(self, labels, basis, flat, restricted, hyper, start=None):
        self.labels, self.restricted = labels, restricted
        self.basis = self.lift = basis
        self.hyper, self.flat = hyper, flat
        self.wide = np.where(np.all(labels.U == 1.0, axis=0), _LEVEL, _FLAT)
        n_tasks = len(labels.starts) - 1
        self.raw = 0.25 * labels.of_rows(labels.weight) @ (labels.U @ basis) ** 2
        self.rows = self._frame(n_tasks, labels.counts)
        self._last, self._rounding = start, _ROUNDING * (1.0 + self.rows.count)
        self._single = labels.task[labels.single]
        self._several = np.ones(n_tasks, dtype=bool)
        self._several[self._single] = False

    def _frame(self, n_tasks, counts):
        """`Rows` without moments, which are those of a mode."""
        q = len(self.lift)
        gram, cross = np.zeros((n_tasks, q, q)), np.zeros((n_tasks, q))
        return Rows(gram, np.arange(n_tasks), cross, counts, counts)

    # ------------------------------------------------------------ the mode

    def at(self, root, prior, log_noise=None):
        """The likelihood where Theta = root root' and shared variances are `prior`."""
        own = Deviations(root, np.ascontiguousarray(self.lift @ root))
        self.hyper.refuse(own.lift, prior)
        prior = np.where(self.flat, self.wide, prior)
        mode = self._mode(own, prior)
        return self._point(mode, own, prior)

    def _mode(self, own, prior):
        """Newton's method from the last mode, or from zero."""
        q, n_tasks, k = len(prior), len(self.rows.counts), own.root.shape[1]
        zero = self._tried(np.zeros(q), np.zeros((n_tasks, k)), own, prior)
        here, size = zero, np.inf
        if self._last is not None:
            start = self._solved(own, prior, self._last, self._sites(self._last, own))
            if start.value < zero.value:
                here, size = start, self._size(start.eta - self._last)
        near, least = size < _CLOSE, _MODE * (1.0 + self.rows.count)
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
        rows, found, spread = self._linear(own, prior, eta, sites, near)
        beta = spread.T @ (spread @ found.target)
        return self._tried(beta, self._effects(rows, own, found, beta), own, prior)

    def _linear(self, own, prior, eta, sites, near):
        """The working linear model, what tasks leave of it, root of the covariance."""
        rows = self._gathered(*self._working(eta, sites, own))
        found = self._eliminated(rows, own)
        return rows, found, self._spread(found.total, prior)[0]

    def _eliminated(self, rows, own):
        """What the tasks leave of their moments."""
        inner, pulled = np.empty_like(rows.gram), np.empty_like(rows.cross)
        logs, _ = reduce_tasks(
            rows.gram, rows.starts, rows.members, rows.cross, own.lift, inner, pulled
        )
        total, target = inner.sum(axis=0), pulled.sum(axis=0)
        return Reduced(logs, total, target, inner, pulled)

    def _effects(self, rows, own, found, beta):
        """Deviations, (n_tasks, k) in the columns of the root."""
        k = own.root.shape[1]
        effects, left = np.empty((len(rows.counts), k)), np.zeros((k, k))
        moments = rows.gram, rows.starts, rows.members, rows.cross
        find_effects(*moments, own.lift, beta, effects, left)
        return effects

    def _spread(self, total, prior):
        """Root of the posterior covariance of beta, and its logarithm."""
        return shared_posterior(total, prior, np.zeros_like(self.flat), prior > 0)

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
        sites = self._sites(eta, own)
        if sites is not None:
            one = labels.single
            value -= float(
                sites.value.sum() + np.logaddexp(0, -labels.sign[one] * eta[one]).sum()
            )
        return Mode(beta, effects, eta, value, sites)

    def _sites(self, eta, own):
        """What single labels say of their scores, with deviations integrated out."""
        u, sign = self.single_rows()
        if not len(sign):
            return None
        spread = ((u @ own.lift) ** 2).sum(axis=1)
        return normal_site(sign * eta[self.labels.single], spread)

    def _working(self, eta, sites, own, kept=None):
        """Curvature and weighted target of each label in the working linear model.

        The curvatures may be `kept` from other scores.
        """
        labels, one = self.labels, self.labels.single
        w, target = np.empty_like(eta), np.empty_like(eta)
        work(labels.sign, labels.weight, eta, w, target)
        if sites is not None:
            # a normal label with the exact mean and variance of the deviation
            spread = ((self.single_rows()[0] @ own.lift) ** 2).sum(axis=1)
            w[one] = -sites.second / (1.0 + spread * sites.second)
        if kept is not None:
            target += (kept - w) * eta
            w = kept
        if sites is not None:
            pull = labels.sign[one] * sites.first * (1.0 + spread * w[one])
            target[one] = w[one] * eta[one] + pull
        return w, target

    def _gathered(self, w, target):
        """Moments of the working linear model, as the elimination wants them."""
        return self.full_rows(w, target)

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

    # ------------------------------------------------------------ the likelihood

    def _point(self, mode, own, prior):
        """The approximation at the mode."""
        rows = self._gathered(*self._working(mode.eta, mode.sites, own))
        found, logs = self._eliminated(rows, own), 0.0
        if mode.sites is not None:
            logs = self._exact_logs(mode.sites, own)
        spread, log_det = self._spread(found.total, prior)
        lent = spread
        if self.restricted:
            # as if the flat prior had the density one
            log_det -= float(np.log(2 * np.pi * self.wide[self.flat]).sum())
        else:
            open_ = (prior > 0) & ~self.flat
            none = np.zeros_like(self.flat)
            lent, log_det = shared_posterior(found.total, prior, none, open_)
        value = 2.0 * mode.value + found.logs + logs + log_det
        deviance = value + self.hyper.value(own.lift, prior)
        return self._make(
            rows,
            own.root,
            deviance,
            1e-12 * max(abs(deviance), self.rows.count),
            1.0,
            mode.beta,
            spread,
            lent,
            found.total,
            found.target,
            found.inner,
            found.pulled,
            prior,
            mode,
            value,
        )

    def _make(self, rows, *facts):
        return LaplacePoint(self, rows, *facts)

    def single_rows(self):
        """Rows and signs of the single labels."""
        own, labels = self.labels.single, self.labels
        return labels.U[labels.place[own]], labels.sign[own]

    def _exact_logs(self, sites, own):
        """What takes the determinants of single labels out again."""
        u = self.single_rows()[0]
        return float(np.log1p(((u @ own.lift) ** 2).sum(axis=1) * sites.second).sum())


@dataclass
class LabelPoint(Point):
    """`Point` of labels of two classes.

    Attributes
    ----------
    prior : ndarray of shape (q,)
    mode : Mode or None
    value : float
        The deviance without that of the hyperprior.
    """

    prior: np.ndarray
    mode: Mode | None
    value: float

    noiseless = False  # classes have no noise that could leave no digits

    @property
    def likelihood(self):
        """Minus twice the approximate log-likelihood."""
        return self.value


class LaplacePoint(LabelPoint):
    """That of a working linear model whose weights move with the variances."""

    def scores(self):
        """As `Point.scores`, with what the moving mode adds taken from the second."""
        star, outer = super().scores()
        lift, moved = self._lifted(self._bending(self.factor))
        shift = self.spread.T @ (self.spread @ moved)
        lift -= self._held(shift)
        mixed = lift.T @ self.pulled
        self.drift = (moved - self.total @ shift) * self._rest
        outer = outer - 0.5 * (mixed + mixed.T)
        return star, outer - self._of_own(self._own_slope(shift))

    @property
    def own(self):
        """`Deviations` at their variances."""
        lift = np.ascontiguousarray(self.evidence.lift @ self.root)
        return Deviations(self.root, lift)

    @property
    def _rest(self):
        """Scores of the shared coefficients, but for their prior."""
        return self.target - self.total @ self.beta

    def shared_squares(self):
        """Squares of the shared scores, less what the moving mode adds."""
        slope = self.evidence.hyper.shared_slope(self.prior)
        return self._rest**2 - self.drift - slope

    def _lifted(self, values):
        """What is left of U' values of each task without its deviations; their sum."""
        rows, cross = self.rows, self.evidence.cross(values)
        lift, inner = np.empty_like(cross), np.empty_like(rows.gram)
        reduce_tasks(
            rows.gram, rows.starts, rows.members, cross, self.own.lift, inner, lift
        )
        return lift, lift.sum(axis=0)

    def _held(self, shift):
        """What a shift of the shared coefficients takes from each task."""
        return self.inner @ shift

    def _of_own(self, matrix):
        """A matrix of the columns U in those of the scores."""
        return matrix

    def _own_slope(self, shift):
        """What the variances' priors, and single labels, take from the outer product.

        Of the columns U, (q, q).
        """
        slope = np.diag(self.evidence.hyper.own_slope(self.own.lift))
        sites, (u, sign) = self.mode.sites, self.evidence.single_rows()
        if sites is None:
            return slope
        lent = ((u @ self.factor.T) ** 2).sum(axis=1)
        bent = sign * sites.third * (u @ shift) - sites.fourth * lent
        return slope + (u * (0.5 * bent)[:, None]).T @ u

    def _bending(self, factor):
        """Derivative of the determinants in the score of each label."""
        labels, mode = self.evidence.labels, self.mode
        bent = np.empty_like(mode.eta)
        bend(labels.weight, mode.eta, self._score_variances(factor), bent)
        if mode.sites is not None:
            sites, (u, sign) = mode.sites, self.evidence.single_rows()
            left = 1.0 + ((u @ self.own.lift) ** 2).sum(axis=1) * sites.second
            lent = ((u @ factor.T) ** 2).sum(axis=1)
            bent[labels.single] = -sign * sites.third * lent / left
        return bent

    def _score_variances(self, factor):
        """Of all labels, where `factor` is a root of the shared coefficients'."""
        labels, rows = self.evidence.labels, self.rows
        lent = np.empty_like(self.mode.eta)
        where = labels.U, labels.place, labels.starts
        label_variances(*where, rows.gram, self.own.lift, factor, lent)
        return lent

    def means(self):
        """What turns modes into means: `Rows` and beta of the working linear model.

        To second order the mean of all coefficients is half the derivative of the
        determinants away from the mode: where a task has a single class, further out.
        """
        bent, rows = self._bending(self.spread), self.full_rows
        shift = self.spread.T @ (self.spread @ self._lifted(bent)[1])
        moved = replace(rows, cross=rows.cross - 0.5 * self.evidence.cross(bent))
        return moved, self.beta - 0.5 * shift
