"""Compiled parts of the decomposition: which observations to work on, and the work.

A group is what shares one unpenalised intercept: its beta sum to a constant, and a step
moves one up and one down. Without groups (-1) a step moves one alone.
"""

import numpy as np
from numba import njit

_FLAT = 1e-12  # a curvature below this share of its terms counts as this share


@njit(cache=True)
def _rise(beta, g, width):
    """Slope of the dual's objective if beta grows."""
    return g + (width if beta >= 0.0 else -width)


@njit(cache=True)
def _fall(beta, g, width):
    """Slope, with the sign of growth, if beta shrinks."""
    return g + (width if beta > 0.0 else -width)


@njit(cache=True)
def violations(dual, beta, f, group, low, high, rise, fall):
    """How much every observation wants to move up and down; -inf where it cannot.

    Writes to low, high (least slope up and largest slope down of each group), rise and
    fall (violations); returns the largest sum of two that can be moved together.
    """
    lower, upper, diagonal, linear, width = dual
    low[:], high[:] = np.inf, -np.inf
    for i in range(beta.shape[0]):
        g = f[i] + diagonal[i] * beta[i] - linear[i]
        rise[i] = _rise(beta[i], g, width[i]) if beta[i] < upper[i] else np.inf
        fall[i] = _fall(beta[i], g, width[i]) if beta[i] > lower[i] else -np.inf
        if group[i] >= 0:
            low[group[i]] = min(low[group[i]], rise[i])
            high[group[i]] = max(high[group[i]], fall[i])
    worst = 0.0
    for i in range(beta.shape[0]):
        if group[i] >= 0:
            rise[i] = high[group[i]] - rise[i]
            fall[i] = fall[i] - low[group[i]]
        else:
            rise[i] = -rise[i]
        worst = max(worst, rise[i], fall[i])
    return worst


@njit(cache=True)
def descend_pairs(sub, beta, g, lower, upper, width, starts, eps, most):
    """Pair steps of largest gain, group after group, until none violates by `eps`.

    `sub` is the Gram matrix with the losses' diagonal, g the gradient without the
    widths; both beta and g are updated. Returns the number of steps.
    """
    n, done, busy = beta.shape[0], 0, True
    while busy and done < most:
        busy = False
        for k in range(starts.shape[0] - 1):
            first, last = starts[k], starts[k + 1]
            while done < most:
                i, j, slope, bend = _best_pair(
                    sub, beta, g, lower, upper, width, first, last, eps
                )
                if j < 0:
                    break
                busy = starts.shape[0] > 2
                done += 1
                step = slope / bend
                up, down = upper[i] - beta[i], beta[j] - lower[j]
                if width[i] > 0.0 and beta[i] < 0.0:
                    up = min(up, -beta[i])
                if width[j] > 0.0 and beta[j] > 0.0:
                    down = min(down, beta[j])
                step = min(step, up, down)
                beta[i] = _moved(beta[i], step, up, upper[i])
                beta[j] = -_moved(-beta[j], step, down, -lower[j])
                p, q = sub[i], sub[j]
                for m in range(n):
                    g[m] += step * (p[m] - q[m])
    return done


@njit(cache=True)
def _moved(beta, step, most, upper):
    """Place of beta after a step up: exactly on a bound or on zero if it ends there."""
    if step < most:
        return beta + step
    return upper if upper - beta <= most else 0.0


@njit(cache=True)
def _best_pair(sub, beta, g, lower, upper, width, first, last, eps):
    """Most violating i that goes up, and the j that gains most beside it; -1: none."""
    least, most, i = np.inf, -np.inf, -1
    for k in range(first, last):
        if beta[k] < upper[k]:
            slope = _rise(beta[k], g[k], width[k])
            if slope < least:
                least, i = slope, k
        if beta[k] > lower[k]:
            most = max(most, _fall(beta[k], g[k], width[k]))
    j, gain, best, bend = -1, 0.0, 0.0, 1.0
    if i < 0 or most - least <= eps:
        return i, j, best, bend
    row, own = sub[i], sub[i, i]
    for k in range(first, last):
        if beta[k] > lower[k]:
            slope = _fall(beta[k], g[k], width[k]) - least
            if slope > 0.0:
                curve = own + sub[k, k]
                curve = max(curve - 2.0 * row[k], _FLAT * curve + 1e-300)
                if slope * slope > gain * curve:
                    gain, j = slope * slope / curve, k
                    best, bend = slope, curve
    return i, j, best, bend


@njit(cache=True)
def descend_alone(sub, beta, g, lower, upper, width, eps, most):
    """Steps of largest gain in single beta until none violates by `eps`."""
    n = beta.shape[0]
    for done in range(most):
        i, gain, best, bend = -1, 0.0, 0.0, 1.0
        for k in range(n):
            slope = 0.0
            if beta[k] < upper[k]:
                slope = max(-_rise(beta[k], g[k], width[k]), 0.0)
            if beta[k] > lower[k]:
                down = _fall(beta[k], g[k], width[k])
                slope = -down if down > slope else slope
            curve = max(sub[k, k], 1e-300)
            if abs(slope) > eps and slope * slope > gain * curve:
                gain, i = slope * slope / curve, k
                best, bend = slope, curve
        if i < 0:
            return done
        before = beta[i]
        if best > 0.0:
            most_up = upper[i] - before
            if width[i] > 0.0 and before < 0.0:
                most_up = min(most_up, -before)
            beta[i] = _moved(before, min(best / bend, most_up), most_up, upper[i])
        else:
            most_down = before - lower[i]
            if width[i] > 0.0 and before > 0.0:
                most_down = min(most_down, before)
            step = min(-best / bend, most_down)
            beta[i] = -_moved(-before, step, most_down, -lower[i])
        step, row = beta[i] - before, sub[i]
        for m in range(n):
            g[m] += step * row[m]
    return most
