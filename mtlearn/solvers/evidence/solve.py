"""Variances by marginal likelihood, and the coefficients that follow from them."""

from dataclasses import dataclass, replace

import numpy as np

from ...problem.solution import Solution
from .columns import gather_labels, gather_rows
from .growth import grow
from .hyperprior import Hyperprior
from .laplace import LaplaceEvidence
from .partial import PartialEvidence
from .posterior import Posterior
from .profile import LEAST_NOISE, Evidence
from .quadrature import MOST_LABELS, QuadratureEvidence
from .scoring import Diagonal, Shared, Unstructured, maximise

_FEW_LABELS = 20.0  # of a task: Laplace's approximation is poor for its level
_LARGE = 3e6  # squares of the columns, for a task each, that are slow by quadrature
_BOLD = 10.0  # variance of scores up to which it is not far too high
_DOUBT = 2.0  # times its error for levels alone that it may be too low by for slopes
_INSIDE = 1e-9  # of a column's variance, within the tasks, that is rounding
_FEW = 0.5  # part of the columns that vary, up to which steps of their own are cheap


@dataclass(frozen=True)
class LearnedSolution(Solution):
    """A `Solution` whose strengths were learned.

    `objective` is minus the log-likelihood, with the noise's prior if it has one;
    `certificate` its largest derivative in the logarithms of the variances, divided by
    the number of labels.

    Attributes
    ----------
    log_likelihood : float
    posterior : Posterior
    means : ndarray of shape (n_tasks + 1, n_features + 1) or None
        Posterior means of the coefficients, where they are not their modes; the
        intercept last, and the shared ones last.
    covariance : ndarray of shape (n_features + 1, n_features + 1)
        Of the tasks' deviations, the intercept last.
    shared_variance : ndarray of shape (n_groups,)
        Infinite where it is flat.
    pooled : ndarray of shape (n_features + 1,)
        Mean over the tasks of a deviation's posterior variance over the prior's.
    noiseless : bool
        Whether next to nothing is left of the labels.
    """

    log_likelihood: float = np.nan
    posterior: Posterior | None = None
    means: np.ndarray | None = None
    covariance: np.ndarray | None = None
    shared_variance: np.ndarray | None = None
    pooled: np.ndarray | None = None
    noiseless: bool = False

    @property
    def parts(self):
        """One model; several classes have more."""
        return (self,)


def solve_evidence(
    moments,
    *,
    covariance="diag",
    varying=None,
    optional=None,
    groups=None,
    flat=False,
    own_noise=False,
    restricted=True,
    constant=True,
    least_noise=LEAST_NOISE,
    variance_cost=0.0,
    start=None,
    tol=1e-6,
    max_iter=200,
):
    r"""Learn the variances of a mixed model from per-task moments.

    Maximises over tau, D and s2 the (restricted) likelihood of

    .. math:: y_i = x_i \cdot (m + v_t) + b + a_t + e_i, \quad m_g \sim N(0, \tau_g I),
              \quad (v_t, a_t) \sim N(0, D), \quad e_i \sim N(0, \sigma^2 / s_i)

    with b flat. Weights count labels: a row of weight two is two rows. Where every task
    has a single label, levels and noise are not told apart: half is given to each.

    Parameters
    ----------
    moments : Moments
    covariance : {"diag", "scalar", "intercept", "full"}
        D: a variance per group and one for the levels; one for all slopes and one for
        the levels; levels only; any.
    varying : ndarray of shape (n_features,), bool, default=None
        Features whose coefficients differ between tasks; None: all.
    optional : ndarray of shape (n_features,), default=None
        Features that differ, too, group by group, where the likelihood gains enough by
        it: so many times what a variance is worth; 0 where they must not.
    groups : ndarray of shape (n_features,), int, default=None
        Group of each feature; None: each is one.
    flat : bool
        Whether the shared coefficients have a flat prior.
    own_noise : bool
        Whether each task has a noise variance of its own.
    restricted : bool
        Whether flat coefficients are integrated out (REML) or maximised (ML).
    constant : bool
        Whether there are intercepts.
    least_noise : float
        Part of the labels' squares that is added to what is left of them.
    variance_cost : float
        Labels that the noise is not judged by, for each of the variances to be learned.
        A prior: many variances do not take few rows for noiseless.
    start : tuple of ndarray of shapes (n_features + 1,) and (n_groups,), default=None
        Variances over s2 to begin with: of the deviations, and the shared ones.
    tol : float
        What the certificate must reach.
    max_iter : int
        Most steps.

    Returns
    -------
    LearnedSolution
    """
    rows, columns = gather_rows(moments, constant)
    rows = rows.weighted(np.ones(len(rows.counts))) if own_noise else rows
    settings = covariance, groups, flat, own_noise, restricted, least_noise
    model = _Model(rows, columns, *settings)
    model.variance_cost = variance_cost
    return model.solution(_learn(model, varying, optional, start, tol, max_iter))


def solve_laplace(
    data,
    *,
    covariance="diag",
    varying=None,
    optional=None,
    groups=None,
    flat=False,
    restricted=True,
    constant=True,
    start=None,
    tol=1e-6,
    max_iter=200,
):
    r"""Learn the variances of a logistic mixed model by Laplace's approximation.

    The model is that of `solve_evidence` for the scores of labels of -1 and +1:

    .. math:: \Pr(y_i = 1) = \sigma(x_i \cdot (m + v_t) + b + a_t)

    Where only levels vary and the tasks are small, they are integrated by quadrature.

    Parameters
    ----------
    data : TaskData
        With labels -1 and +1; weights count labels.
    covariance, varying, optional, groups, flat, restricted, constant, start, tol,
    max_iter
        As in `solve_evidence`.

    Returns
    -------
    LearnedSolution
        Its `log_likelihood` is without what the variances' weak priors add.
    """
    labels, columns = gather_labels(data, constant)
    model = _LabelModel(labels, columns, covariance, groups, flat, restricted)
    trial = _learn(model, varying, optional, start, tol, max_iter)
    solution = model.solution(trial)
    rows, beta = trial.best.point.means()
    centre = replace(solution.posterior, rows=rows, beta=beta)
    shared = centre.shared()[0]
    means = np.vstack([shared + centre.effects()[0], shared])
    return replace(solution, means=means)


def _learn(model, varying, optional, start, tol, max_iter):
    """The best variances of columns that differ, and of those for which it pays."""
    d = len(model.columns.scale)
    varying = np.ones(d, dtype=bool) if varying is None else varying
    model.spent = model.variance_cost * model.count_variances(varying)
    trial = model.fit(varying, model.begin(varying, start), tol, max_iter)
    if optional is not None:
        trial = grow(model, trial, varying, optional, tol, max_iter)
    return model.refined(trial, tol, max_iter)


@dataclass
class _Trial:
    """The best variances where some columns differ between tasks.

    Attributes
    ----------
    own : ndarray of shape (r,), int
        These columns.
    kinds : ndarray of shape (r,), int
        Group of each of them.
    shape : Diagonal or Unstructured
    best : Optimum
    """

    own: np.ndarray
    kinds: np.ndarray
    shape: object
    best: object


class _Model:
    """A mixed model of given rows; which columns differ between tasks is left open."""

    # labels that the noise is not judged by, for each variance and in all
    variance_cost = spent = 0.0

    def __init__(
        self,
        rows,
        columns,
        covariance,
        groups,
        flat,
        own_noise,
        restricted,
        least_noise=LEAST_NOISE,
    ):
        d, constant = len(columns.scale), columns.constant
        self.rows, self.columns = rows, columns
        self.groups = np.arange(d) if groups is None else groups
        self.covariance, self.constant = covariance, constant
        self.flat, self.own_noise, self.restricted = flat, own_noise, restricted
        self.least_noise = least_noise
        place = np.where(columns.moves & (not flat), self.groups, -1)
        n_groups = 0 if flat else int(self.groups.max(initial=-1)) + 1
        self.place = np.append(place, [-1] * constant).astype(np.intp)
        units = np.append(self.columns.scale, [1.0] * constant)
        self.shared = Shared(self.place, units, n_groups)

    def may_vary(self, varying):
        """Those of the columns that can differ between tasks.

        A single task's deviations are its shared coefficients; a constant is a level.
        """
        several = len(self.rows.counts) > 1 and self.covariance != "intercept"
        return varying & self.columns.moves & several

    def own(self, varying):
        """The columns that differ between tasks, and the group of each.

        A single task has no level of its own either: its column is unknown, held at
        zero.
        """
        d = len(self.columns.scale)
        own = np.append(np.flatnonzero(varying), [d] * self.constant).astype(np.intp)
        groups = self.groups
        if self.covariance == "scalar":
            groups = np.zeros_like(groups)
        return own, np.append(groups, groups.max(initial=-1) + 1)[own]

    def begin(self, varying, start):
        """The start of `solve_evidence` by groups of the columns that differ."""
        if start is None:
            return None
        own, kinds = self.own(self.may_vary(varying))
        return start[0][own[np.unique(kinds, return_index=True)[1]]], start[1]

    def count_variances(self, varying):
        """How many variances there are, that of the noise included."""
        own = np.unique(self.own(self.may_vary(varying))[1])
        shared = np.unique(self.place[self.place >= 0])
        return len(own) + len(shared) + 1

    def evidence(self, varying, partial=False, tasks=None):
        """The likelihood of all tasks or some, in the form that suits the columns."""
        rows = self.rows if tasks is None else self.rows.only(tasks)
        lift, d = self.columns.basis(varying), len(self.columns.scale)
        free = np.append(np.full(d, self.flat), [True] * self.constant).astype(bool)
        settings = free, self.restricted, self.least_noise, self.spent
        few = not self.own_noise and lift.shape[1] <= _FEW * len(lift)
        if partial or few:
            half = self.columns.pulled(varying, rows.gram)
            evidence = PartialEvidence(rows, lift, half, *settings)
        else:
            evidence = Evidence(rows, lift, *settings)
        _check_freedom(evidence, self.flat)
        evidence.open &= evidence.flat | (self.place >= 0)
        return evidence

    def fit(self, varying, start, tol, max_iter, tried=False):
        """The best variances, from a start or the usual ones; `tried` as `maximise`."""
        varying = self.may_vary(varying)
        own, kinds = self.own(varying)
        shape = Diagonal(np.unique(kinds, return_inverse=True)[1])
        if self.covariance == "full" and len(own) > 1:
            shape = Unstructured()
        best = maximise(
            self.evidence(varying),
            shape,
            self.shared,
            own_noise=self.own_noise,
            start=start,
            tried=tried,
            tol=tol,
            max_iter=max_iter,
        )
        return _Trial(own, kinds, shape, best)

    def refined(self, trial, tol, max_iter):
        """The same with what this likelihood cannot tell.

        Where every task has a single label it knows the sum of the levels' variance and
        the noise alone: half is given to each.
        """
        shape, best = trial.shape, trial.best
        level = np.flatnonzero(trial.own == len(self.columns.scale))
        single = len(self.rows.counts) > 1 and (self.rows.counts == 1.0).all()
        if not single or self.own_noise or not len(level) or self.covariance == "full":
            return trial
        place = shape.groups[level[0]]
        share = 2.0 / (1.0 + best.theta[place])
        theta, tau = share * best.theta, share * best.tau
        theta[place] = 1.0
        point = best.point.evidence.at(shape.root(theta), self.shared.prior(tau))
        return replace(trial, best=replace(best, theta=theta, tau=tau, point=point))

    def solution(self, trial):
        """The model at the variances that were found."""
        return _solution(trial, self.columns, self.groups, self.flat)


class _LabelModel(_Model):
    """A mixed model of the scores of labels of two classes."""

    _scores = None  # at the mode of the last fit

    def __init__(self, labels, columns, covariance, groups, flat, restricted):
        super().__init__(labels, columns, covariance, groups, flat, False, restricted)
        self._inside = labels.spread_inside()[: len(columns.scale)] > _INSIDE

    def may_vary(self, varying):
        """As of numbers; what is constant in every task is a level, too.

        A slope in it would show by nothing but levels of different spread.
        """
        return super().may_vary(varying) & self._inside

    def evidence(self, varying, partial=False, tasks=None):
        """The approximate likelihood."""
        small = self.rows.count <= MOST_LABELS * len(self.rows.counts)
        levels = self.constant and not varying.any() and len(self.rows.counts) > 1
        kind = QuadratureEvidence if levels and small else LaplaceEvidence
        return kind(*self._likelihood(varying, tasks), self._start(tasks))

    def _likelihood(self, varying, tasks=None):
        """What the likelihood is of: labels, columns, priors."""
        columns, labels = self.columns, self.rows
        labels = labels if tasks is None else labels.only(tasks)
        free = np.append(columns.moves & self.flat, [True] * columns.constant)
        hyper = self._hyperprior(*self.own(varying))
        basis = columns.basis(varying)
        return labels, basis, free.astype(bool), self.restricted, hyper

    def fit(self, varying, start, tol, max_iter, tried=False):
        """As of numbers; the next fit begins at this one's mode."""
        trial = super().fit(varying, start, tol, max_iter, tried)
        mode = trial.best.point.mode
        self._scores = self._scores if mode is None else mode.eta
        return trial

    def refined(self, trial, tol, max_iter):
        """Levels alone, by quadrature, where tasks are small and nothing else is there.

        Nor is it where the approximation is wrong by more than slopes gain: for a few
        labels it may take boundless variances for likely.
        """
        few = self.rows.count <= _FEW_LABELS * len(self.rows.counts)
        if not (few and self.constant and len(trial.own) > 1):
            return trial
        point, tau = trial.best.point, trial.best.tau
        root = trial.shape.root(trial.best.theta)
        spread = self._spread(point.evidence.lift @ root)
        slopes = bool(root[:-1].any())
        large = len(self.rows.counts) * len(self.place) ** 2 > _LARGE
        if spread < _BOLD if slopes else large:
            return trial
        start = None if slopes else (trial.best.theta[-1:], tau)
        there = self.fit(np.zeros(len(self.groups), dtype=bool), start, tol, max_iter)
        there.best.n_iter += trial.best.n_iter
        if slopes:
            error = self._error(spread, self.shared.prior(tau))
            if point.deviance + _DOUBT * error < there.best.point.deviance:
                return trial
        return there

    def _spread(self, lift):
        """Mean variance of the tasks' deviations over the labels."""
        mass = self.rows.of_rows(self.rows.weight)
        return float(mass @ ((self.rows.U @ lift) ** 2).sum(axis=1) / self.rows.count)

    def _error(self, spread, prior):
        """What Laplace's deviance is too low by, were all that differs levels."""
        settings = self._likelihood(np.zeros(len(self.groups), dtype=bool))
        level = np.array([[np.sqrt(spread)]])
        try:
            exact = QuadratureEvidence(*settings).at(level, prior).deviance
        except np.linalg.LinAlgError:  # too far out to be told
            return np.inf
        return max(exact - LaplaceEvidence(*settings).at(level, prior).deviance, 0.0)

    def _start(self, tasks):
        """Scores of the last fit."""
        if tasks is None or self._scores is None:
            return self._scores
        return self._scores[np.isin(self.rows.task, tasks)]

    def _hyperprior(self, own, kinds):
        """What the variances' weak priors are of: columns, and how many have one."""
        q = len(self.place)
        kinds = np.arange(len(own)) if self.covariance == "full" else kinds
        share = np.zeros(q)
        share[own] = 1.0 / np.bincount(kinds, minlength=1)[kinds]
        # the groups of shared coefficients begin at -1: none
        shared = np.bincount(self.place + 1, minlength=1)[self.place + 1]
        shared = np.where(self.place >= 0, 1.0 / shared, 0.0)
        level = np.arange(q) == len(self.columns.scale)
        single = len(self.rows.single) / len(self.rows.counts)
        return Hyperprior(level, share, shared, single)


def _check_freedom(evidence, flat):
    """Labels must be left to judge the noise by."""
    if evidence.freedom <= 0 or evidence.rows.count <= evidence.n_flat - 0.5:
        raise ValueError(
            f"`y` has too few labels, n_samples = {evidence.rows.count:.6g} by weight, "
            f"beside {evidence.n_flat} coefficients that have no prior"
            + (": use shared_prior='learned'." if flat else ".")
        )


def _solution(trial, columns, groups, flat):
    """The model at the variances that were found."""
    own, shape, best = trial.own, trial.shape, trial.best
    point, d = best.point, len(columns.scale)
    ratio = np.ones(len(point.rows.counts))
    if best.log_noise is not None:
        ratio = np.exp(best.log_noise)
    posterior = Posterior(
        point.full_rows,
        columns,
        own,
        point.evidence.lift,
        shape.root(best.theta),
        point.beta,
        point.spread,
        point.noise,
        ratio,
    )
    shared, _ = posterior.shared()
    effects, pooled = posterior.effects()
    whole = shared + effects
    D = np.zeros((d + 1, d + 1))
    D[np.ix_(own, own)] = point.noise * shape.matrix(best.theta)
    # the determinant of the flat coefficients is that of the features as they are
    scale = np.append(columns.scale, [1.0] * columns.constant)[point.evidence.flat]
    shift = 2.0 * float(np.log(scale).sum()) * point.evidence.restricted
    history = [(0.5 * (one + shift), gap) for one, gap in best.history]
    tau = np.full(int(groups.max(initial=-1)) + 1, np.inf)
    return LearnedSolution(
        coef=whole[:, :d],
        intercept=whole[:, d],
        objective=0.5 * (point.deviance + shift),
        log_likelihood=-0.5 * (point.likelihood + shift),
        certificate=best.certificate,
        n_iter=max(best.n_iter, 1),
        status=best.status,
        history=history,
        posterior=posterior,
        covariance=D,
        shared_variance=tau if flat else point.noise * best.tau,
        pooled=pooled,
        noiseless=point.noiseless,
    )
