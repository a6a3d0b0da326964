"""Variances by marginal likelihood, and the coefficients that follow from them."""

from dataclasses import dataclass

import numpy as np

from ...problem.solution import Solution
from .columns import gather_labels, gather_rows
from .laplace import Hyperprior, LaplaceEvidence
from .posterior import Posterior
from .profile import Evidence
from .scoring import Diagonal, Shared, Unstructured, maximise


@dataclass(frozen=True)
class LearnedSolution(Solution):
    """A `Solution` whose strengths were learned.

    `objective` is minus the log-likelihood, `certificate` its largest derivative in the
    logarithms of the variances, divided by the number of labels.

    Attributes
    ----------
    posterior : Posterior
    covariance : ndarray of shape (n_features + 1, n_features + 1)
        Of the tasks' deviations, the intercept last.
    shared_variance : ndarray of shape (n_groups,)
        Infinite where it is flat.
    pooled : ndarray of shape (n_features + 1,)
        Mean over the tasks of a deviation's posterior variance over the prior's.
    """

    posterior: Posterior | None = None
    covariance: np.ndarray | None = None
    shared_variance: np.ndarray | None = None
    pooled: np.ndarray | None = None


def solve_evidence(
    moments,
    *,
    covariance="diag",
    varying=None,
    groups=None,
    flat=False,
    own_noise=False,
    restricted=True,
    constant=True,
    tol=1e-6,
    max_iter=200,
):
    r"""Learn the variances of a mixed model from per-task moments.

    Maximises over tau, D and s2 the (restricted) likelihood of

    .. math:: y_i = x_i \cdot (m + v_t) + b + a_t + e_i, \quad m_g \sim N(0, \tau_g I),
              \quad (v_t, a_t) \sim N(0, D), \quad e_i \sim N(0, \sigma^2 / s_i)

    with b flat. Weights count labels: a row of weight two is two rows.

    Parameters
    ----------
    moments : TaskMoments
    covariance : {"diag", "scalar", "intercept", "full"}
        D: a variance per group and one for the levels; one for all slopes and one for
        the levels; levels only; any.
    varying : ndarray of shape (n_features,), bool, default=None
        Features whose coefficients differ between tasks; None: all.
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
    tol : float
        What the certificate must reach.
    max_iter : int
        Most steps.

    Returns
    -------
    LearnedSolution
    """
    rows, columns = gather_rows(moments, constant)
    if own_noise:
        rows = rows.weighted(np.ones(len(rows.counts)))
    form = _form(columns, len(rows.counts), covariance, varying, groups, flat)
    evidence = Evidence(rows, form.basis, form.free, restricted)
    _check_freedom(evidence, flat)
    evidence.open &= evidence.flat | (form.place >= 0)
    best = maximise(
        evidence,
        form.shape,
        form.shared,
        own_noise=own_noise,
        tol=tol,
        max_iter=max_iter,
    )
    return _solution(best, form, columns)


def solve_laplace(
    data,
    *,
    covariance="diag",
    varying=None,
    groups=None,
    flat=False,
    restricted=True,
    constant=True,
    tol=1e-6,
    max_iter=200,
):
    r"""Learn the variances of a logistic mixed model by Laplace's approximation.

    The model is that of `solve_evidence` for the scores, with labels of -1 and +1:

    .. math:: \log p(y_i = 1) = \log \sigma(x_i \cdot (m + v_t) + b + a_t)

    Parameters
    ----------
    data : TaskData
        With labels -1 and +1; weights count labels.
    covariance, varying, groups, flat, restricted, constant, tol, max_iter
        As in `solve_evidence`.

    Returns
    -------
    LearnedSolution
    """
    labels, columns = gather_labels(data, constant)
    form = _form(columns, data.n_tasks, covariance, varying, groups, flat)
    evidence = LaplaceEvidence(
        labels, form.basis, form.free, restricted, form.hyperprior(columns)
    )
    best = maximise(evidence, form.shape, form.shared, tol=tol, max_iter=max_iter)
    return _solution(best, form, columns)


@dataclass(frozen=True)
class _Form:
    """What varies, in which groups, and how the variances are bound to them.

    Attributes
    ----------
    own : ndarray of shape (r,), int
        The columns that differ between tasks; n_features is the constant.
    own_group : ndarray of shape (r,), int
    basis : ndarray of shape (q, r)
    free : ndarray of shape (q,), bool
        Whether the shared coefficients have a flat prior.
    place : ndarray of shape (q,), int
        Their group; -1 where there is none.
    shape : Diagonal or Unstructured
    shared : Shared
    groups : ndarray of shape (n_features,), int
    flat : bool
    """

    own: np.ndarray
    own_group: np.ndarray
    basis: np.ndarray
    free: np.ndarray
    place: np.ndarray
    shape: object
    shared: Shared
    groups: np.ndarray
    flat: bool

    def hyperprior(self, columns):
        """`Hyperprior` of these variances."""
        scale = np.append(columns.scale, [1.0] * columns.constant) ** 2
        times = np.bincount(self.own_group, minlength=1)
        shared = np.where(self.place >= 0, self.place, self.place.max(initial=-1) + 1)
        share = np.where(self.place >= 0, 1.0 / np.bincount(shared)[shared], 0.0)
        return Hyperprior(
            self.own == len(columns.scale),
            scale[self.own],
            1.0 / times[self.own_group],
            share,
        )


def _form(columns, n_tasks, covariance, varying, groups, flat):
    """`_Form` of the model that the parameters describe."""
    d, constant = len(columns.scale), columns.constant
    groups = np.arange(d) if groups is None else groups
    varying = np.ones(d, dtype=bool) if varying is None else varying
    # a single task's deviations are its shared coefficients; a constant is a level
    varying = varying & (covariance != "intercept") & columns.moves & (n_tasks > 1)
    # a single task has no level of its own either: its column is unknown, held at zero
    own = np.append(np.flatnonzero(varying), [d] * constant).astype(np.intp)
    own_group = _groups_of(own, groups, covariance)
    full = covariance == "full"
    place = np.where(columns.moves & (not flat), groups, -1)
    place = np.append(place, [-1] * constant).astype(np.intp)
    units = np.append(columns.scale, [1.0] * constant)
    n_groups = 0 if flat else int(groups.max(initial=-1)) + 1
    return _Form(
        own,
        np.arange(len(own)) if full else own_group,
        columns.basis(varying),
        np.append(np.full(d, flat), [True] * constant).astype(bool),
        place,
        Unstructured() if full else Diagonal(own_group),
        Shared(place, units, n_groups),
        groups,
        flat,
    )


def _check_freedom(evidence, flat):
    """Labels must be left to judge the noise by."""
    if evidence.freedom <= 0 or evidence.rows.count <= evidence.n_flat - 0.5:
        raise ValueError(
            f"`y` has too few labels, n_samples = {evidence.rows.count:.6g} by weight, "
            f"beside {evidence.n_flat} coefficients that have no prior"
            + (": use shared_prior='learned'." if flat else ".")
        )


def _groups_of(own, groups, covariance):
    """Group of each varying column, numbered from 0; the constant is the last one."""
    if covariance == "scalar":
        groups = np.zeros_like(groups)
    kind = np.append(groups, groups.max(initial=-1) + 1)[own]
    return np.unique(kind, return_inverse=True)[1]


def _solution(best, form, columns):
    """The model at the variances that were found."""
    point, d, own = best.point, len(columns.scale), form.own
    ratio = np.ones(len(point.rows.counts))
    if best.log_noise is not None:
        ratio = np.exp(best.log_noise)
    posterior = Posterior(
        point.rows,
        columns,
        own,
        point.evidence.basis,
        form.shape.root(best.theta),
        point.beta,
        point.spread,
        point.noise,
        ratio,
    )
    shared, _ = posterior.shared()
    effects, pooled = posterior.effects()
    whole = shared + effects
    D = np.zeros((d + 1, d + 1))
    D[np.ix_(own, own)] = point.noise * form.shape.matrix(best.theta)
    # the determinant of the flat coefficients is that of the features as they are
    scale = np.append(columns.scale, [1.0] * columns.constant)[point.evidence.flat]
    shift = 2.0 * float(np.log(scale).sum()) * point.evidence.restricted
    history = [(0.5 * (one + shift), gap) for one, gap in best.history]
    tau = np.full(int(form.groups.max(initial=-1)) + 1, np.inf)
    return LearnedSolution(
        coef=whole[:, :d],
        intercept=whole[:, d],
        objective=0.5 * (point.likelihood + shift),
        certificate=best.certificate,
        n_iter=max(best.n_iter, 1),
        status=best.status,
        history=history,
        posterior=posterior,
        covariance=D,
        shared_variance=tau if form.flat else point.noise * best.tau,
        pooled=pooled,
    )
