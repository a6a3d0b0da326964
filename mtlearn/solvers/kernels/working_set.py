"""Compiled parts of the decomposition: which observations to work on, and the work.

A group is what shares one unpenalised intercept: its beta sum to a constant, and a step
moves one up and one down. Without groups (-1) a step moves one alone.
"""

import numpy as np
from numba import njit

_FLAT = 1e-12  # a curvature below this share of its terms counts as this share
_ROUNDING = 2.3e-16


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
    # what the slopes up and down have beside g; infinite where beta cannot go there
    up, down = np.empty(n), np.empty(n)
    own, gain = np.empty(n), np.empty(n)
    widest = np.max(width)
    for k in range(n):
        own[k] = sub[k, k]
        _mark(k, beta, lower, upper, width, up, down)
    while busy and done < most:
        busy = False
        for k in range(starts.shape[0] - 1):
            first, last = starts[k], starts[k + 1]
            least, worst = _extremes(g, up, down, first, last)
            while done < most and worst - least > eps:
                i = _find(g, up, least, first, last)
                # where neither bends, what rounding leaves of a slope would be a gain
                over = least + _ROUNDING * (abs(least) + abs(worst) + widest)
                best = _gains(g, down, over, sub[i], own, own[i], gain, first, last)
                j = first
                while j < last and gain[j] != best:
                    j += 1
                if j == last or not best > 0.0:
                    break
                busy = starts.shape[0] > 2
                done += 1
                curve = own[i] + own[j]
                curve = max(curve - 2.0 * sub[i, j], _FLAT * abs(curve) + 1e-300)
                step = (g[j] + down[j] - least) / curve
                _step_pair(i, j, step, sub, beta, g, lower, upper, width)
                _mark(i, beta, lower, upper, width, up, down)
                _mark(j, beta, lower, upper, width, up, down)
                least, worst = _extremes(g, up, down, first, last)
    return done


@njit(cache=True)
def _mark(k, beta, lower, upper, width, up, down):
    """Note what beta[k] adds to its slopes."""
    up[k] = _rise(beta[k], 0.0, width[k]) if beta[k] < upper[k] else np.inf
    down[k] = _fall(beta[k], 0.0, width[k]) if beta[k] > lower[k] else -np.inf


# In the next three, reassociation (and no NaN, which cannot be) gives vector registers.
@njit(cache=True, fastmath={"reassoc", "nnan", "nsz", "contract"})
def _extremes(g, up, down, first, last):
    """Least slope up and largest slope down."""
    least, worst = np.inf, -np.inf
    for k in range(first, last):
        least = min(least, g[k] + up[k])
        worst = max(worst, g[k] + down[k])
    return least, worst


@njit(cache=True, fastmath={"reassoc", "nnan", "nsz", "contract"})
def _gains(g, down, least, row, own, mine, gain, first, last):
    """Gain of a step with every other; returns the largest."""
    best = 0.0
    for k in range(first, last):
        slope = max(g[k] + down[k] - least, 0.0)
        curve = mine + own[k]
        curve = max(curve - 2.0 * row[k], _FLAT * abs(curve) + 1e-300)
        gain[k] = slope * slope / curve
        best = max(best, gain[k])
    return best


@njit(cache=True, fastmath={"reassoc", "nsz", "contract"})
def _carry(g, step, p, q):
    """Gradient after a step in two beta."""
    for m in range(g.shape[0]):
        g[m] += step * (p[m] - q[m])


@njit(cache=True)
def _find(g, up, least, first, last):
    """Where the least slope up is; the comparison repeats the same sum."""
    at, value = first, np.inf
    for k in range(first, last):
        if g[k] + up[k] <= least:
            return k
        if g[k] + up[k] < value:
            at, value = k, g[k] + up[k]
    return at


@njit(cache=True)
def _step_pair(i, j, step, sub, beta, g, lower, upper, width):
    """Move beta[i] up and beta[j] down, to an edge or to zero at most."""
    most_up, most_down = upper[i] - beta[i], beta[j] - lower[j]
    if width[i] > 0.0 and beta[i] < 0.0:
        most_up = min(most_up, -beta[i])
    if width[j] > 0.0 and beta[j] > 0.0:
        most_down = min(most_down, beta[j])
    step = min(step, most_up, most_down)
    beta[i] = _moved(beta[i], step, most_up, upper[i])
    beta[j] = -_moved(-beta[j], step, most_down, -lower[j])
    _carry(g, step, sub[i], sub[j])


@njit(cache=True)
def _moved(beta, step, most, upper):
    """Place of beta after a step up: exactly on a bound or on zero if it ends there."""
    if step < most:
        return beta + step
    return upper if upper - beta <= most else 0.0


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
