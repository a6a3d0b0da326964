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
from functools import cached_property

import numpy as np

from .mode import Deviations, Mode, ModeSearch, left_open
from .partial import PartialPoint, eliminate
from .passes import bend, take_deviations
from .profile import Point, shared_posterior

_FLAT = 1e4  # variance of a flat prior, in units of the columns' deviations
_LEVEL = 1e12  # and of the constant's
_CHUNK = 1 << 22  # numbers that are held at once


class LaplaceEvidence(ModeSearch):
    """Laplace's likelihood as a function of the variances; as `Evidence`.

    Parameters
    ----------
    labels : Labels
    lift : ndarray of shape (q, r)
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

    def __init__(self, labels, lift, flat, restricted, hyper, start=None):
        super().__init__(labels, lift, start)
        self.restricted, self.hyper, self.flat = restricted, hyper, flat
        self.basis = np.eye(lift.shape[1])  # scores are those of the tasks' own columns
        self.wide = np.where(np.all(labels.U == 1.0, axis=0), _LEVEL, _FLAT)
        self.raw = 0.25 * labels.of_rows(labels.weight) @ self.Z**2

    def at(self, root, prior, log_noise=None):
        """The likelihood where Theta = root root' and shared variances are `prior`."""
        own = Deviations(root, np.ascontiguousarray(self.lift @ root))
        self.hyper.refuse(own.lift, prior)
        prior = np.where(self.flat, self.wide, prior)
        mode = self._mode(own, prior)
        return self._point(mode, own, prior)

    def _point(self, mode, own, prior):
        """The approximation at the mode."""
        moments = self.gathered_at(mode.eta, mode.sites, own)[1]
        found, logs = eliminate(moments, self.rows, own.root), 0.0
        if mode.sites is not None:
            logs = self._exact_logs(mode.sites, own)
        spread, log_det = self.spread(found.total, prior)
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
        return LaplacePoint(
            self,
            self.rows,
            own.root,
            deviance,
            1e-12 * max(abs(deviance), self.rows.count),
            1.0,
            mode.beta,
            spread,
            lent,
            found.total,
            found.target,
            (moments, found),
            None,
            prior,
            mode,
            value,
        )

    def _exact_logs(self, sites, own):
        """What takes the determinants of single labels out again."""
        spread = ((self.single_rows()[0] @ own.lift) ** 2).sum(axis=1)
        return float(np.log(left_open(sites, spread)).sum())


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


@dataclass
class LaplacePoint(LabelPoint, PartialPoint):
    """That of a working linear model whose weights move with the variances."""

    def __post_init__(self):
        self.moments, self.found = self.inner

    def scores(self):
        """As `Point.scores`, with what the moving mode adds taken from the second."""
        (star, outer), B = super().scores(), self.evidence.lift
        lift, moved = self._lifted(self._bending(self.factor))
        shift = self.spread.T @ (self.spread @ moved)
        lift -= self._held(shift)
        mixed = lift.T @ self.pulled
        self.drift = (moved - self.total @ shift) * self._rest
        outer = outer - 0.5 * (mixed + mixed.T)
        return star, outer - B.T @ self._own_slope(shift) @ B

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
        """What is left of Z' values of each task, and of U' values in all."""
        lower, taken = self.found.lower, self.found.taken
        cross, target = self.evidence.sums(values)
        z = np.einsum("tkr,tr->tk", lower, cross)
        back = np.einsum("tkr,tk->tr", lower, z)
        lift = cross - np.einsum("trs,ts->tr", self.moments.own, back)
        return lift, target - np.tensordot(z, taken, 2)

    def _held(self, shift):
        """What a shift of the shared coefficients takes from each task."""
        back = np.einsum("tkr,tk->tr", self.found.lower, self.found.taken @ shift)
        held = np.einsum("trs,ts->tr", self.moments.own, back)
        return self.moments.half @ shift - held

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
            left = left_open(sites, ((u @ self.own.lift) ** 2).sum(axis=1))
            lent = ((u @ factor.T) ** 2).sum(axis=1)
            bent[labels.single] = -sign * sites.third * lent / left
        return bent

    def _score_variances(self, factor):
        """Of all labels, where `factor` is a root of the shared coefficients'."""
        evidence, labels = self.evidence, self.evidence.labels
        lower = self.found.lower @ evidence.lift[evidence.own].T
        upper = np.ascontiguousarray(lower.transpose(0, 2, 1))
        lent = np.zeros_like(self.mode.eta)
        alive = factor.any(axis=1)
        root, step = factor[alive].T, max(1, _CHUNK // labels.U.shape[1])
        for low in range(0, len(lent), step):
            part = slice(low, low + step)
            left = labels.U[labels.place[part]]
            tasks, taken = labels.task[part], self.found.taken
            take_deviations(left, tasks, evidence.own, upper, taken, lent[part])
            lent[part] += ((left @ root) ** 2).sum(axis=1)
        return lent

    @cached_property
    def full_rows(self):
        """`Rows` with all moments of each task."""
        mode, evidence = self.mode, self.evidence
        return evidence.full_rows(*evidence.working(mode.eta, mode.sites, self.own))

    def means(self):
        """What turns modes into means: `Rows` and beta of the working linear model.

        To second order the mean of all coefficients is half the derivative of the
        determinants away from the mode: where a task has a single class, further out.
        """
        bent, rows = self._bending(self.spread), self.full_rows
        shift = self.spread.T @ (self.spread @ self._lifted(bent)[1])
        moved = replace(rows, cross=rows.cross - 0.5 * self.evidence.cross(bent))
        return moved, self.beta - 0.5 * shift
