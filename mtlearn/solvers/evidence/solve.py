"""Variances by marginal likelihood, and the coefficients that follow from them."""

from dataclasses import dataclass

import numpy as np

from ...problem.solution import Solution
from .columns import gather_rows
from .partial import PartialEvidence
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
    d, n_tasks = len(columns.scale), len(rows.counts)
    groups = np.arange(d) if groups is None else groups
    varying = np.ones(d, dtype=bool) if varying is None else varying
    # a single task's deviations are its shared coefficients; a constant is a level
    varying = varying & (covariance != "intercept") & columns.moves & (n_tasks > 1)
    # a single task has no level of its own either: its column is unknown, held at zero
    basis = columns.basis(varying)
    own = np.append(np.flatnonzero(varying), [d] * constant).astype(np.intp)
    free = np.append(np.full(d, flat), [True] * constant).astype(bool)
    few = not own_noise and 2 * basis.shape[1] <= len(basis)
    evidence = (PartialEvidence if few else Evidence)(rows, basis, free, restricted)
    _check_freedom(evidence, flat)
    shape = (
        Unstructured()
        if covariance == "full"
        else Diagonal(_groups_of(own, groups, covariance))
    )
    n_groups = 0 if flat else int(groups.max(initial=-1)) + 1
    place = np.where(columns.moves & (not flat), groups, -1)
    place, units = (
        np.append(place, [-1] * constant).astype(np.intp),
        np.append(columns.scale, [1.0] * constant),
    )
    evidence.open &= evidence.flat | (place >= 0)
    best = maximise(
        evidence,
        shape,
        Shared(place, units, n_groups),
        own_noise=own_noise,
        tol=tol,
        max_iter=max_iter,
    )
    return _solution(best, shape, columns, own, groups, flat)


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


def _solution(best, shape, columns, own, groups, flat):
    """The model at the variances that were found."""
    point, d = best.point, len(columns.scale)
    ratio = np.ones(len(point.rows.counts))
    if best.log_noise is not None:
        ratio = np.exp(best.log_noise)
    posterior = Posterior(
        point.rows,
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
        certificate=best.certificate,
        n_iter=max(best.n_iter, 1),
        status=best.status,
        history=history,
        posterior=posterior,
        covariance=D,
        shared_variance=tau if flat else point.noise * best.tau,
        pooled=pooled,
    )
