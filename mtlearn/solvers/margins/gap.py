"""Duality gap of a box dual at given scores, at the intercepts that are best there."""

from typing import NamedTuple

import numpy as np
from numba import njit

from .envelope import excess, loss_multiplier

_ZERO = 1e-14  # sums below this share of their terms are rounding
_ROOT_STEPS = 200


class Gap(NamedTuple):
    """Primal value, duality gap, and the scores' intercepts by group."""

    value: float
    gap: float
    b: np.ndarray


def duality_gap(dual, beta, f, order, starts):
    """Primal value at f with its best intercepts, and the gap to the dual at `beta`.

    Parameters
    ----------
    dual : BoxDual
    beta, f : ndarray of shape (n,)
        A point of the box that sums to zero in every group, and G beta.
    order, starts : ndarray
        Observations by group, and where each group starts; no groups, no intercepts.

    Returns
    -------
    Gap
    """
    b = np.zeros(len(starts) - 1)
    z = f.copy()
    if len(b):
        kinked = not np.any(dual.diagonal)
        _shift_groups(dual, f, order, starts, kinked, b, z)
    value, gap = excess(dual, z, beta)
    return Gap(value + 0.5 * float(beta @ f), gap, b)


def best_shifts(dual, z, starts):
    """What to add to the scores of each block of rows, so that their loss is least.

    Where that is so over an interval, it is the middle, or the end that is finite.

    Parameters
    ----------
    dual : BoxDual
    z : ndarray of shape (n,)
    starts : ndarray of shape (n_blocks + 1,)

    Returns
    -------
    levels : ndarray of shape (n_blocks,)
    """
    levels = np.zeros(len(starts) - 1)
    order = np.arange(len(z))
    kinked = not np.any(dual.diagonal)
    _shift_groups(dual, z, order, starts, kinked, levels, z.copy())
    return levels


def zero_objective(dual):
    """Loss of the scores zero."""
    zeros = np.zeros_like(dual.linear)
    return excess(dual, zeros, zeros)[0]


@njit(cache=True)
def _shift_groups(dual, f, order, starts, kinked, b, z):
    """Find the intercept of every group at which its multipliers sum to zero."""
    for k in range(starts.shape[0] - 1):
        rows = order[starts[k] : starts[k + 1]]
        if rows.shape[0] == 0:
            continue
        b[k] = _median(dual, f, rows) if kinked else _root(dual, f, rows)
        for i in rows:
            z[i] += b[k]


@njit(cache=True)
def _median(dual, f, rows):
    """Best intercept of kinked losses: where the sum of multipliers jumps past zero.

    It is zero over a whole interval often: the middle, or the end that is finite.
    """
    lower, upper, _, linear, width = dual
    m = rows.shape[0]
    place, jump = np.empty(2 * m), np.empty(2 * m)
    size, total = 0, 0.0
    for i in rows:
        if upper[i] > 0.0:
            place[size], jump[size] = linear[i] - width[i] - f[i], upper[i]
            total += upper[i]
            size += 1
        if lower[i] < 0.0:
            place[size], jump[size] = linear[i] + width[i] - f[i], -lower[i]
            size += 1
    if size == 0:
        return 0.0
    order = np.argsort(place[:size])
    little = _ZERO * (total + np.sum(jump[:size]))
    if total <= little:
        return place[order[0]]
    for k in range(size):
        total -= jump[order[k]]
        if total <= little:
            here = place[order[k]]
            if total >= -little and k + 1 < size:
                return 0.5 * (here + place[order[k + 1]])
            return here
    return place[order[size - 1]]


@njit(cache=True)
def _root(dual, f, rows):
    """Best intercept of squared losses: Newton's method between two bounds."""
    lower, upper, diagonal, linear, width = dual
    low, high = np.inf, -np.inf
    for i in rows:
        low = min(low, linear[i] - width[i] - f[i])
        high = max(high, linear[i] + width[i] - f[i])
    b = low
    for _ in range(_ROOT_STEPS):
        total, size, slope = 0.0, 0.0, 0.0
        for i in rows:
            beta = loss_multiplier(dual, i, f[i] + b)
            total += beta
            size += abs(beta)
            if lower[i] < beta < upper[i] and beta != 0.0:
                slope += 1.0 / diagonal[i]
        if abs(total) <= _ZERO * size:
            return b
        if total > 0.0:
            low = b
        else:
            high = b
        if high - low <= 1e-15 * max(abs(high), abs(low)):
            return b
        step = b + total / slope if slope > 0.0 else high
        b = step if low < step < high else 0.5 * (low + high)
    return b
