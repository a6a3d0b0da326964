"""Compiled parts of the decomposition: which observations to work on, and the work.

A group is what shares one unpenalised intercept: its beta sum to a constant, and a step
moves one up and one down. Without groups (-1) a step moves one alone.
"""

import numpy as np
from numba import njit

_FLAT = 1e-12  # a curvature below this share of its terms counts as this share
_ROUNDING = 2.3e-16


@njit(cache=True)
def _sides(i, beta, lower, upper, width):
    """What the slopes up and down have beside the gradient, for beta[i].

    Both with the sign of growth; infinite where beta cannot go there.
    """
    up, down = np.inf, -np.inf
    if beta[i] < upper[i]:
        up = width[i] if beta[i] >= 0.0 else -width[i]
    if beta[i] > lower[i]:
        down = width[i] if beta[i] > 0.0 else -width[i]
    return up, down


@njit(cache=True)
def violations(dual, beta, f, group, low, high, rise, fall):
    """How much every observation wants to move up and down; -inf where it cannot.

    Writes to low, high (least slope up and largest slope down of each group), rise and
    fall (violations); returns the largest sum of two that can be moved together.
    """
    lower, upper, diagonal, linear, width = dual
    for k in range(low.shape[0]):
        low[k], high[k] = np.inf, -np.inf
    for i in range(beta.shape[0]):
        g = f[i] + diagonal[i] * beta[i] - linear[i]
        up, down = _sides(i, beta, lower, upper, width)
        rise[i], fall[i] = g + up, g + down
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
    up, down = np.empty(n), np.empty(n)
    own, gain = np.empty(n), np.empty(n)
    widest = 0.0
    for k in range(n):
        own[k], widest = sub[k, k], max(widest, width[k])
        up[k], down[k] = _sides(k, beta, lower, upper, width)
    while busy and done < most:
        busy = False
        for t in range(starts.shape[0] - 1):
            first, last = starts[t], starts[t + 1]
            least, worst = _extremes(g, up, down, first, last)
            while done < most and worst - least > eps:
                # the comparison repeats a sum that may have been rounded otherwise
                i, lowest = first, np.inf
                for k in range(first, last):
                    if g[k] + up[k] < lowest:
                        i, lowest = k, g[k] + up[k]
                    if lowest <= least:
                        break
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
                up[i], down[i] = _sides(i, beta, lower, upper, width)
                up[j], down[j] = _sides(j, beta, lower, upper, width)
                least, worst = _extremes(g, up, down, first, last)
    return done


# In the next two, reassociation (and no NaN, which cannot be) gives vector registers.
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
    p, q = sub[i], sub[j]
    for m in range(g.shape[0]):
        g[m] += step * (p[m] - q[m])


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
            up, down = _sides(k, beta, lower, upper, width)
            slope = max(-(g[k] + up), 0.0)
            if g[k] + down > slope:
                slope = -(g[k] + down)
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
