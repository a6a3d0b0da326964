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
    b, z = _best_shifts(dual, f, order, starts), f.copy()
    if len(b):
        z[order[starts[0] : starts[-1]]] += np.repeat(b, np.diff(starts))
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
    return _best_shifts(dual, z, np.arange(len(z)), starts)


def zero_objective(dual):
    """Loss of the scores zero."""
    zeros = np.zeros_like(dual.linear)
    return excess(dual, zeros, zeros)[0]


def _best_shifts(dual, f, order, starts):
    """Intercepts of the groups at which their multipliers sum to zero."""
    b = np.zeros(len(starts) - 1)
    find = _find_roots if np.any(dual.diagonal) else _find_medians
    find(dual, f, order, starts, b)
    return b


@njit(cache=True)
def _find_medians(dual, f, order, starts, b):
    """Best intercepts of kinked losses: where a sum of multipliers jumps past zero.

    It is zero over a whole interval often: the middle, or the end that is finite.
    """
    lower, upper, _, linear, width = dual
    place, jump = np.empty(2 * len(order)), np.empty(2 * len(order))
    for t in range(len(b)):
        size, total, little = 0, 0.0, 0.0
        for i in order[starts[t] : starts[t + 1]]:
            if upper[i] > 0.0:
                place[size], jump[size] = linear[i] - width[i] - f[i], upper[i]
                total += upper[i]
                size += 1
            if lower[i] < 0.0:
                place[size], jump[size] = linear[i] + width[i] - f[i], -lower[i]
                size += 1
        for k in range(size):
            little += _ZERO * jump[k]
        little += _ZERO * total
        at = np.argsort(place[:size])
        for k in range(size):
            b[t] = place[at[k]]
            if total <= little:
                break
            total -= jump[at[k]]
            if total <= little:
                if total >= -little and k + 1 < size:
                    b[t] = 0.5 * (b[t] + place[at[k + 1]])
                break


@njit(cache=True)
def _find_roots(dual, f, order, starts, b):
    """Best intercepts of squared losses: Newton's method between two bounds."""
    lower, upper, diagonal, linear, width = dual
    for t in range(len(b)):
        rows = order[starts[t] : starts[t + 1]]
        low, high = np.inf, -np.inf
        for i in rows:
            low = min(low, linear[i] - width[i] - f[i])
            high = max(high, linear[i] + width[i] - f[i])
        level = low if len(rows) else 0.0
        for _ in range(_ROOT_STEPS if len(rows) else 0):
            total, size, slope = 0.0, 0.0, 0.0
            for i in rows:
                beta = loss_multiplier(dual, i, f[i] + level)
                total += beta
                size += abs(beta)
                if lower[i] < beta < upper[i] and beta != 0.0:
                    slope += 1.0 / diagonal[i]
            if abs(total) <= _ZERO * size:
                break
            if total > 0.0:
                low = level
            else:
                high = level
            if high - low <= 1e-15 * max(abs(high), abs(low)):
                break
            step = level + total / slope if slope > 0.0 else high
            level = step if low < step < high else 0.5 * (low + high)
        b[t] = level
