"""How far the levels of tasks are apart, by a restricted likelihood from moments."""

import numpy as np

_PRICES = np.geomspace(1e-3, 1e3, 61)  # in units of the mean weight of a task
_RANK = 1e-10  # eigenvalues below this share of the largest are none


def level_price(moments, n_labels):
    r"""The price of a deviation at which tasks' levels are most likely.

    In y = x . m + b + a_t + e with one m for all tasks it is the variance of e over
    that of a; m and b are flat. Minimised over m, b and the variance of e, minus twice
    the logarithm of the restricted likelihood at a price s is

    .. math:: \sum_t \log(1 + m_t / s) + \log \sum_t w_t + \log |A_s|
              + (n - p) \log r_s ,

    with w_t = m_t s / (m_t + s), A_s the curvature in m, and r_s the squares left.

    Parameters
    ----------
    moments : TaskMoments
    n_labels : int
        How many there are; weights that add up to more count as many.

    Returns
    -------
    price : float or None
        Infinite where the levels do not differ; None where the rows are too few to
        tell.
    """
    mass = moments.task_weights
    seen = mass > 0
    if seen.sum() < 2:
        return None
    unit = float(mass[seen].mean())
    value = np.array([_criterion(moments, unit * s, n_labels) for s in _PRICES])
    if not np.isfinite(value).all():
        return None
    best = int(value.argmin())
    if best == len(_PRICES) - 1:
        return np.inf
    step = 0.0
    if best > 0:
        below, here, above = value[best - 1 : best + 2]
        step = 0.5 * (below - above) / max(below - 2.0 * here + above, 1e-300)
    ratio = np.log(_PRICES[1] / _PRICES[0])
    return unit * float(_PRICES[best] * np.exp(ratio * np.clip(step, -1.0, 1.0)))


def _criterion(moments, price, n_labels):
    """Minus twice the logarithm of the likelihood, infinite where rows are too few."""
    mass, u = moments.task_weights, moments.group
    left = mass * price / (mass + price)
    total = left.sum()
    x = moments.mean[u] - left @ moments.mean[u] / total
    y = moments.y_mean - left @ moments.y_mean / total
    within = np.bincount(u, moments.scale, minlength=len(moments.gram))
    A = np.tensordot(within, moments.gram, 1) + (left * x.T) @ x
    r = moments.scale @ moments.cross + (left * y) @ x
    values, vectors = np.linalg.eigh(A)
    known = values > _RANK * max(values.max(initial=0.0), 1e-300)
    solved = vectors[:, known].T @ r
    squares = moments.scale @ moments.y_square + left @ y**2
    rest = squares - float(solved**2 @ (1.0 / values[known]))
    free = max(n_labels, mass.sum()) - known.sum() - 1
    if not (rest > 1e-10 * squares and free > 0):
        return np.inf
    return (
        np.log1p(mass / price).sum()
        + np.log(total)
        + np.log(values[known]).sum()
        + free * np.log(rest)
    )
