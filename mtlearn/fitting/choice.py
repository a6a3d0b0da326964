"""The choice among points of a grid by what they scored in every fold."""

import numpy as np


def best_point(quality):
    """Position of the best variant and strength, the first of equals.

    Parameters
    ----------
    quality : ndarray of shape (n_variants, n_alphas, n_folds)
        The larger the better; NaN in folds that tell nothing.

    Returns
    -------
    variant, best : int
    """
    mean = _over_folds(quality)
    if np.isnan(mean).all():
        raise ValueError(
            "No fold of `cv` has a score: expected at least one test part with labels."
        )
    variant, best = np.unravel_index(np.nanargmax(mean), mean.shape)
    return int(variant), int(best)


def within_one_standard_error(quality, best, paired=False):
    """Position of the largest strength that is as good as the best, about.

    Its mean quality is at most one standard error (over the folds) below that of the
    best one.

    Parameters
    ----------
    quality : ndarray of shape (n_alphas, n_folds)
        The larger the better; strengths descend.
    best : int
        Position of the best strength.
    paired : bool, default=False
        Whether the standard error is that of the difference from the best, fold by
        fold, not that of the best one's own quality.

    Returns
    -------
    position : int
    """
    known = ~np.isnan(quality[best])
    n_folds = known.sum()
    if n_folds < 2:
        return best
    behind = quality[best, known] - quality[: best + 1, known]
    spread = behind if paired else np.broadcast_to(quality[best, known], behind.shape)
    error = spread.std(axis=1, ddof=1) / np.sqrt(n_folds)
    return int(np.flatnonzero(behind.mean(axis=1) <= error)[0])


def best_strength(quality):
    """Position of the best strength of (n_alphas, n_folds), None if none is known."""
    mean = _over_folds(quality)
    return None if np.isnan(mean).all() else int(np.nanargmax(mean))


def is_ahead(one, other, margin):
    """Whether one model is better than another by more than chance.

    Parameters
    ----------
    one, other : ndarray of shape (n_folds,)
        The larger the better.
    margin : float
        In standard errors of the difference, fold by fold.

    Returns
    -------
    ahead : bool
    """
    gain = (one - other)[~np.isnan(one - other)]
    if len(gain) < 2:
        return bool(np.all(gain >= 0))
    return bool(gain.mean() >= margin * gain.std(ddof=1) / np.sqrt(len(gain)))


def _over_folds(quality):
    """Mean over the folds that tell something."""
    known = ~np.isnan(quality)
    total = np.where(known, quality, 0.0).sum(axis=-1)
    count = known.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
