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

import numpy as np
from scipy import linalg

from ...problem.logistic import normal_site
from .columns import Rows
from .passes import (
    find_effects,
    gather_adjoint,
    gather_working,
    label_variances,
    reduce_tasks,
    score_rows,
)
from .profile import Point, shared_posterior

_FLAT = 1e4  # variance of a flat prior, in units of the columns' deviations
_LEVEL = 1e12  # and of the constant's

_MODE = 1e-13  # decrease of a Newton step for a label that is rounding
_STEPS = 60
_HALVINGS = 30
_WIDE = 2.5**2  # variance of a score for a standard deviation of a feature: large
_MOST = 1e8  # variance of a score
_FAR = 100.0  # a level's, as good as boundless
_LEAST = 0.15  # of a level's variance: below it there is little to tell


@dataclass(frozen=True)
class Hyperprior:
    """Weak priors of the variances of scores, for what labels leave open.

    They are of the columns U: of a level at the features' means, and of slopes for a
    standard deviation of the feature. A level's variance D is worth some two tasks' of
    about 0.35: its deviance is 2 log(0.15 + D) + 1 / (0.15 + D), which zero costs
    little more, and (D / 100)^2, so that there is an end to it where each task has one
    class only. Where every task has a single label, nothing else says how much the
    levels vary. The others have log(1 + D / w) times a weight, a Cauchy distribution of
    the deviation's size, for an end where the classes can be separated.

    Attributes
    ----------
    level : ndarray of shape (q,), bool
        The constant.
    own, shared : ndarray of shape (q,)
        One over the number of columns that have the variance in common; zero where
        there is none.
    single : float
        Share of the tasks with a single label: of slopes it tells by the shape of the
        logistic function alone, so that the prior of theirs is to weigh more.
    """

    level: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    single: float = 0.0

    def value(self, F, prior):
        """Deviance of the variances, of the deviations F F' and the shared `prior`."""
        D = (F**2).sum(axis=1)
        near = _LEAST + D
        level = 2 * np.log(near) + 1 / near + (D / _FAR) ** 2
        own = np.where(self.level, level, self._slope_weight * np.log1p(D))
        return float(self.own @ own + self.shared @ np.log1p(prior / _WIDE))

    def own_slope(self, F):
        """Derivatives in the variances of the deviations, (q,)."""
        D = (F**2).sum(axis=1)
        near = _LEAST + D
        level = 2 / near - 1 / near**2 + 2 * D / _FAR**2
        slope = np.where(self.level, level, self._slope_weight / (1.0 + D))
        return self.own * slope

    def shared_slope(self, prior):
        """Derivatives in the variances of the shared coefficients, (q,)."""
        return self.shared / (_WIDE + prior)

    def refuse(self, F, prior):
        """Raise where a step has gone so far out that rounding is all there is."""
        D = (F**2).sum(axis=1)
        if max(D.max(initial=0.0), prior.max(initial=0.0)) > _MOST:
            raise linalg.LinAlgError("the variances of scores are beyond reason")

    @property
    def _slope_weight(self):
        return 1.0 + 7.0 * self.single


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
    """

    # the noise is known, and the information that of a linear model: steps are learned
    # from, and need not tell variances apart that it hardly does
    freedom, secants, ridge = np.inf, True, 1e-5

    def __init__(self, labels, basis, flat, restricted, hyper):
        self.labels, self.restricted = labels, restricted
        self.basis = self.lift = basis
        self.hyper, self.flat = hyper, flat
        self.wide = np.where(np.all(labels.U == 1.0, axis=0), _LEVEL, _FLAT)
        q, n_tasks = len(basis), len(labels.starts) - 1
        counts, Z = labels.counts, labels.U[labels.place] @ basis
        self.raw = 0.25 * labels.weight @ Z**2
        each = np.arange(n_tasks)
        self.rows = Rows(
            np.zeros((n_tasks, q, q)), each, np.zeros((n_tasks, q)), counts, counts
        )
        self._last, self._rounding = None, _MODE * (1.0 + self.rows.count)
        self._single = labels.task[labels.single]
        self._several = np.ones(n_tasks, dtype=bool)
        self._several[self._single] = False

    # ------------------------------------------------------------ the mode

    def at(self, root, prior, log_noise=None):
        """The likelihood where Theta = root root' and shared variances are `prior`."""
        F = np.ascontiguousarray(self.basis @ root)
        self.hyper.refuse(F, prior)
        prior = np.where(self.flat, self.wide, prior)
        mode = self._mode(F, prior)
        return self._point(mode, F, root, prior)

    def _mode(self, F, prior):
        """Newton's method from the last mode, or from zero."""
        q, n_tasks, k = len(self.basis), len(self.rows.counts), F.shape[1]
        zero = self._tried(np.zeros(q), np.zeros((n_tasks, k)), F, prior)
        here = zero
        if self._last is not None:
            start = self._solved(F, prior, self._last, self._sites(self._last, F))
            if start.value < zero.value:
                here = start
        for _ in range(_STEPS):
            there = self._searched(here, F, prior)
            if there is None:
                break
            gain, here = here.value - there.value, there
            if gain <= self._rounding:
                break
        self._last = here.eta
        return here

    def _searched(self, here, F, prior):
        """The Newton step, halved until it gains; None if none does."""
        there = self._solved(F, prior, here.eta, here.sites)
        for _ in range(_HALVINGS):
            if there.value <= here.value + self._rounding:
                return there
            there = self._tried(
                0.5 * (here.beta + there.beta),
                0.5 * (here.effects + there.effects),
                F,
                prior,
            )
        return None

    def _solved(self, F, prior, eta, sites):
        """Coefficients of the working linear model."""
        rows = self._working(eta, sites, F)
        n_tasks, k = len(rows.counts), F.shape[1]
        inner, pulled = np.empty_like(rows.gram), np.empty_like(rows.cross)
        self._reduce(rows, F, inner, pulled)
        spread, _ = self._spread(inner.sum(axis=0), prior)
        beta = spread.T @ (spread @ pulled.sum(axis=0))
        effects, left = np.empty((n_tasks, k)), np.zeros((k, k))
        find_effects(
            rows.gram, rows.starts, rows.members, rows.cross, F, beta, effects, left
        )
        return self._tried(beta, effects, F, prior)

    def _reduce(self, rows, F, inner, pulled):
        return reduce_tasks(
            rows.gram, rows.starts, rows.members, rows.cross, F, inner, pulled
        )[0]

    def _spread(self, total, prior):
        """Root of the posterior covariance of beta, and its logarithm."""
        return shared_posterior(total, prior, np.zeros_like(self.flat), prior > 0)

    def _tried(self, beta, effects, F, prior):
        """The objective at given coefficients."""
        labels = self.labels
        eta = np.empty(len(labels.sign))
        effects = np.ascontiguousarray(effects)
        shifts = effects @ F.T
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
        sites = self._sites(eta, F)
        if sites is not None:
            own = labels.single
            value -= float(
                sites.value.sum() + np.logaddexp(0, -labels.sign[own] * eta[own]).sum()
            )
        return Mode(beta, effects, eta, value, sites)

    def _sites(self, eta, F):
        """What single labels say of their scores, with deviations integrated out."""
        own, labels = self.labels.single, self.labels
        if not len(own):
            return None
        z = labels.U[labels.place[own]] @ F
        return normal_site(labels.sign[own] * eta[own], (z**2).sum(axis=1))

    def _working(self, eta, sites, F):
        """`Rows` of the working linear model at given scores."""
        labels, shape = self.labels, self.rows.gram.shape
        gram, cross = np.zeros(shape), np.zeros(shape[:2])
        gather_working(
            labels.U,
            labels.place,
            labels.starts,
            labels.sign,
            labels.weight,
            eta,
            gram,
            cross,
        )
        if sites is not None:
            own, task = labels.single, self._single
            u = labels.U[labels.place[own]]
            # a normal label with the exact mean and variance of the deviation
            left = 1.0 + ((u @ F) ** 2).sum(axis=1) * sites.second
            w = -sites.second / left
            gram[task] = w[:, None, None] * u[:, :, None] * u[:, None, :]
            residual = labels.sign[own] * sites.first / left
            cross[task] = (w * eta[own] + residual)[:, None] * u
        return Rows(gram, self.rows.group, cross, self.rows.squares, self.rows.counts)

    # ------------------------------------------------------------ the likelihood

    def _point(self, mode, F, root, prior):
        """The approximation at the mode."""
        rows = self._working(mode.eta, mode.sites, F)
        inner, pulled = np.empty_like(rows.gram), np.empty_like(rows.cross)
        logs = self._reduce(rows, F, inner, pulled)
        if mode.sites is not None:
            logs += self._exact_logs(mode.sites, F)
        total, target = inner.sum(axis=0), pulled.sum(axis=0)
        spread, log_det = self._spread(total, prior)
        lent = spread
        if self.restricted:
            # as if the flat prior had the density one
            log_det -= float(np.log(2 * np.pi * self.wide[self.flat]).sum())
        else:
            lent, log_det = shared_posterior(
                total, prior, np.zeros_like(self.flat), (prior > 0) & ~self.flat
            )
        value = 2.0 * mode.value + logs + log_det
        deviance = value + self.hyper.value(F, prior)
        return LaplacePoint(
            self,
            rows,
            root,
            deviance,
            1e-12 * max(abs(deviance), rows.count),
            1.0,
            mode.beta,
            spread,
            lent,
            total,
            target,
            inner,
            pulled,
            prior,
            mode,
            value,
        )

    def single_rows(self):
        """Rows and signs of the single labels."""
        own, labels = self.labels.single, self.labels
        return labels.U[labels.place[own]], labels.sign[own]

    def _exact_logs(self, sites, F):
        """What takes the determinants of single labels out again."""
        u = self.labels.U[self.labels.place[self.labels.single]]
        return float(np.log1p(((u @ F) ** 2).sum(axis=1) * sites.second).sum())


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
        evidence, F = self.evidence, self._lift
        lift, extra = self._adjoint(F)
        mixed = lift.T @ self.pulled
        self.drift = lift.sum(axis=0) * self.pulled.sum(axis=0)
        outer = outer - 0.5 * (mixed + mixed.T) - extra
        return star, outer - np.diag(evidence.hyper.own_slope(F))

    @property
    def _lift(self):
        return np.ascontiguousarray(self.evidence.basis @ self.root)

    def shared_squares(self):
        """Squares of the shared scores, less what the moving mode adds."""
        e = self.target - self.total @ self.beta
        slope = self.evidence.hyper.shared_slope(self.prior)
        return e**2 - self.drift - slope

    def _adjoint(self, F):
        """Derivatives of the determinants in the scores, with the tasks eliminated.

        Returns
        -------
        lift : ndarray of shape (n_tasks, q)
        extra : ndarray of shape (q, q)
            What single labels take from the outer product beside that.
        """
        evidence, rows, sites = self.evidence, self.rows, self.mode.sites
        inner, lift = np.empty_like(rows.gram), np.empty_like(rows.cross)
        evidence._reduce(self._bending(F, self.factor), F, inner, lift)
        shift = self.spread.T @ (self.spread @ lift.sum(axis=0))
        extra = np.zeros((len(self.beta), len(self.beta)))
        if sites is not None:
            u, sign = evidence.single_rows()
            lent = ((u @ self.factor.T) ** 2).sum(axis=1)
            bend = sign * sites.third * (u @ shift) - sites.fourth * lent
            extra = (u * (0.5 * bend)[:, None]).T @ u
        return lift - inner @ shift, extra

    def _bending(self, F, factor):
        """`Rows` with the derivatives of the determinants in the scores for labels."""
        evidence, rows, mode = self.evidence, self.rows, self.mode
        labels, sites = evidence.labels, mode.sites
        lent, cross = np.empty(len(labels.sign)), np.zeros_like(rows.cross)
        where = labels.U, labels.place, labels.starts
        label_variances(*where, rows.gram, F, factor, lent)
        gather_adjoint(*where, labels.weight, mode.eta, lent, cross)
        if sites is not None:
            u, sign = evidence.single_rows()
            left = 1.0 + ((u @ F) ** 2).sum(axis=1) * sites.second
            lent = ((u @ factor.T) ** 2).sum(axis=1)
            bend = -sign * sites.third * lent / left
            cross[labels.task[labels.single]] = bend[:, None] * u
        return replace(rows, cross=cross)

    def means(self):
        """What turns modes into means: `Rows` and beta of the working linear model.

        To second order the mean of all coefficients is half the derivative of the
        determinants away from the mode: where a task has a single class, further out.
        """
        F, rows = self._lift, self.rows
        bent = self._bending(F, self.spread)
        inner, lift = np.empty_like(rows.gram), np.empty_like(rows.cross)
        self.evidence._reduce(bent, F, inner, lift)
        shift = self.spread.T @ (self.spread @ lift.sum(axis=0))
        moved = replace(rows, cross=rows.cross - 0.5 * bent.cross)
        return moved, self.beta - 0.5 * shift
