"""Gains of many tasks, each judged in the light of the others.

A task's own rows say little: of twenty rows the standard error of a gain is often
larger than any gain. But where most tasks gain, one more task probably does, too. So
gains are drawn towards their mean over the tasks, each as far as it is uncertain; a
task that does not fit among the others is judged by its own rows alone.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from ..problem.verdicts import FEW, GAINS, HURT, LEAST_ROWS, SAME

_LEVEL = 0.05  # share of tasks that are falsely taken out of the others
_SURE = 0.95  # probability of a gain, less that of a loss, that counts
_LEAST = 0.1  # gains of less than this share of the margin are none
_TELLING = 4.0  # margins within which a task's own rows must know its gain
_WIDTH = 2.0  # standard deviations within which a gain is
_PRIOR_ROWS = 4.0  # by which a task's variance is drawn to the others'
_POINTS = 60  # of the true differences between gains, over which is averaged
_MANY = 10  # tasks from which their sizes may matter
_VARIED = 0.1  # range of one over the sizes, relative, from which they may
_TINY = 1e-12  # variance of a row's difference, in units of the losses


class Gains(NamedTuple):
    """Mean differences of the tasks, and how sure they are.

    Attributes
    ----------
    mean : ndarray of shape (n_tasks,)
        Positive is better; NaN where nothing is known.
    variance : ndarray of shape (n_tasks,)
        Of one row's difference; NaN where it cannot be told.
    n_rows : ndarray of shape (n_tasks,)
        Rows (or groups of rows) that the means were taken over.
    inflation : float
        By which the variance of a mean is larger than that of independent rows.
    """

    mean: np.ndarray
    variance: np.ndarray
    n_rows: np.ndarray
    inflation: float = 1.0


class Shrunk(NamedTuple):
    """Gains in the light of all tasks.

    mean, deviation (n_tasks,): of what is then known of each; sure (n_tasks,): how
    probable a gain is less how probable a loss; alone (n_tasks,), bool: judged by its
    own rows.
    """

    mean: np.ndarray
    deviation: np.ndarray
    sure: np.ndarray
    alone: np.ndarray


def shrink(gains):
    """Draw the gains of the tasks towards their mean.

    Parameters
    ----------
    gains : Gains

    Returns
    -------
    Shrunk
        NaN for tasks of which nothing is known.
    """
    known = ~np.isnan(gains.mean) & (gains.n_rows > 0)
    shape = known.shape
    shrunk = Shrunk(*(np.full(shape, np.nan) for _ in range(3)), np.zeros(shape, bool))
    if known.any():
        some = gains._replace(
            mean=gains.mean[known],
            variance=gains.variance[known],
            n_rows=gains.n_rows[known],
        )
        for whole, part in zip(shrunk, _shrink(some), strict=True):
            whole[known] = part
    return shrunk


def judge(gains, shrunk, n_rows, margin):
    """Say in words of each task whether it gains.

    Parameters
    ----------
    gains : Gains
    shrunk : Shrunk
        What `shrink` makes of them.
    n_rows : ndarray of shape (n_tasks,)
        Rows of each task.
    margin : float
        How well a gain must be known to be called none.

    Returns
    -------
    ndarray of shape (n_tasks,), str
        Of `mtlearn.problem.verdicts.VERDICTS`.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.sqrt(gains.inflation * gains.variance / gains.n_rows)
        # the other tasks may make a gain sure, but not turn it round
        least = _LEAST * margin
        better = (shrunk.sure > _SURE) & (shrunk.mean > least) & (gains.mean > 0)
        worse = (shrunk.sure < -_SURE) & (shrunk.mean < -least) & (gains.mean < 0)
        # nor tell of a task that looks quite different that it is like them
        odd = np.abs(gains.mean) > margin + own
        same = ~better & ~worse & ~odd & (_WIDTH * shrunk.deviation <= margin)
        # one whose own rows could not tell even a large gain from a loss is not judged
        mute = (_WIDTH * own > _TELLING * margin) & (np.abs(gains.mean) < _WIDTH * own)
    verdict = np.select([better, worse, same], [GAINS, HURT, SAME], FEW)
    return np.where(mute | (n_rows < LEAST_ROWS), FEW, verdict)


def _shrink(gains):
    """The same where all means are known: means, deviations, whether alone."""
    variance, freedom = _steady(gains)
    mu, tau = _robust_prior(gains.mean, variance)
    distance = np.abs(gains.mean - mu) / np.sqrt(variance + tau)
    alone = false_discoveries(2.0 * stats.t.sf(distance, freedom), _LEVEL)
    if alone.all():
        return gains.mean, np.sqrt(variance), alone
    mean, deviation, sure = _among_others(gains.mean, variance, gains.n_rows, ~alone)
    own = np.sqrt(variance)
    sure_alone = 2.0 * stats.t.cdf(gains.mean / own, freedom) - 1.0
    return (
        np.where(alone, gains.mean, mean),
        np.where(alone, own, deviation),
        np.where(alone, sure_alone, sure),
        alone,
    )


def _among_others(mean, variance, size, part):
    """Posterior means and deviations of gains that are normal around a common mean.

    The common mean may be another for small tasks: it is linear in one over the rows.
    How much the gains differ truly is not estimated but averaged over, as it is known
    poorly where tasks are few: flat priors of the deviation and of the mean's
    coefficients.
    """
    Z = _size_columns(size, part)
    top = 2.0 * np.std(mean[part]) + np.sqrt(np.median(variance[part]))
    grid = np.linspace(0.0, top, _POINTS) ** 2
    each = [_given_spread(tau, mean, variance, Z, part) for tau in grid]
    log_p, centre, spread = map(np.array, zip(*each, strict=True))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    after = p @ centre
    deviation = np.sqrt(p @ (spread + (centre - after) ** 2))
    sure = 2.0 * (p @ stats.norm.cdf(centre / np.sqrt(spread))) - 1.0
    return after, deviation, sure


def _size_columns(size, part):
    """What the common mean depends on: nothing, and one over the size."""
    inverse = 1.0 / np.maximum(size, LEAST_ROWS)
    columns = [np.ones(len(size)), inverse / inverse.mean()]
    varied = np.ptp(inverse[part]) > _VARIED * inverse[part].mean()
    return np.column_stack(columns if varied and part.sum() > _MANY else columns[:1])


def _given_spread(tau, mean, variance, Z, part):
    """Log-likelihood, posterior means and variances at one variance of the gains."""
    weight = 1.0 / (variance[part] + tau)
    A = Z[part].T @ (weight[:, None] * Z[part])
    inverse = np.linalg.inv(A)
    coef = inverse @ (Z[part].T @ (weight * mean[part]))
    away = mean[part] - Z[part] @ coef
    log_p = 0.5 * (np.log(weight).sum() - np.linalg.slogdet(A)[1] - weight @ away**2)
    own = tau / (tau + variance)
    error = np.einsum("ti,ij,tj->t", Z, inverse, Z)
    spread = own * variance + (1.0 - own) ** 2 * error
    return log_p, own * mean + (1.0 - own) * (Z @ coef), spread


def _steady(gains):
    """Variance of each mean, drawn to the others', and its degrees of freedom."""
    own = np.maximum(gains.n_rows - 1.0, 0.0)
    own = np.where(np.isnan(gains.variance), 0.0, own)
    each = np.where(own > 0, gains.variance, 0.0)
    common = each @ own / own.sum() if own.sum() > 0 else np.nan
    row = (own * each + _PRIOR_ROWS * common) / (own + _PRIOR_ROWS)
    # equal predictions have no variance at all
    return gains.inflation * np.maximum(row, _TINY) / gains.n_rows, own + _PRIOR_ROWS


def _robust_prior(mean, variance):
    """Centre and variance of the gains, that a few strange ones do not change."""
    mu = np.median(mean)
    spread = 1.4826 * np.median(np.abs(mean - mu))
    return mu, max(spread**2 - np.median(variance), 0.0)


def false_discoveries(p, level):
    """Which of many tests count, so that few of those are false.

    Benjamini and Hochberg's rule: on the average at most a share `level` of what counts
    is due to chance.

    Parameters
    ----------
    p : ndarray of shape (n_tests,)
        Probabilities of what was seen, by chance alone.
    level : float

    Returns
    -------
    ndarray of shape (n_tests,), bool
    """
    order = np.argsort(p)
    passes = np.flatnonzero(p[order] <= level * np.arange(1, len(p) + 1) / len(p))
    found = np.zeros(len(p), dtype=bool)
    if len(passes):
        found[order[: passes[-1] + 1]] = True
    return found
