"""Dual problems of the margin losses, and smooth functions below them.

The dual of  min_W,b  sum_i loss_i(z_i) + 1/2 Omega(W)  has one number per observation,
the weight beta_i of its row in the model (signed: beta_i = y_i a_i for a label y_i and
the usual a_i >= 0 of a classifier). With G the Gram matrix under the task kernel,

    minimise  1/2 beta' G beta + 1/2 sum diagonal beta^2 - sum linear beta
              + sum width |beta|    over   lower <= beta <= upper,

where beta sums to zero over the rows of every unpenalised intercept.
"""

import numpy as np
from numba import njit

from ...problem.losses import _Loss
from ...problem.margins import BoxDual

# Without branches, and with sums in any order, the loops run in vector registers.
_FAST = {"reassoc", "contract", "nsz"}


def of_rows(box, rows):
    """The part of a dual problem that belongs to some of the rows."""
    return BoxDual(*(values[rows] for values in box))


@njit(cache=True, fastmath=_FAST)
def best_dual(box, i, slope, inverse):
    """Best beta of row i alone, for the smooth part slope beta - 1/2 beta^2 / inverse.

    That part includes linear and diagonal of the row, but not its width.
    """
    room = box.width[i]
    slope = max(slope - room, 0.0) + min(slope + room, 0.0)
    return min(max(slope * inverse, box.lower[i]), box.upper[i])


@njit(cache=True)
def spare_slope(box, i, beta, slope):
    """By how much the slope may change before a row moves that rests where it is."""
    if beta == 0.0 and box.lower[i] < 0.0 < box.upper[i]:
        return box.width[i] - abs(slope)
    if beta == box.upper[i]:
        return slope - box.width[i]
    return -slope - box.width[i]


class Envelope(_Loss):
    """A smooth stand-in for a margin loss, exact at the right multipliers.

    With the five arrays of the loss's `BoxDual`, one multiplier (centre) and
    one penalty > 0 per observation,

        max over lower <= beta <= upper of  beta (linear - z) - width |beta|
            - 1/2 diagonal beta^2 - (beta - centre)^2 / (2 penalty),

    the augmented Lagrangian of the loss with its scores split off (Rockafellar 1976).
    It is below the loss and meets it as the penalty grows. Minus the best beta is the
    gradient; it bends only where beta is inside its box. Labels and weights are part of
    the arrays: those that are passed are not read.

    Parameters
    ----------
    box : NamedTuple of ndarray of shape (n,)
        lower, upper, diagonal, linear, width.
    centre, penalty : ndarray of shape (n,)
    """

    n_scores = 1

    def __init__(self, box, centre, penalty):
        self.box, self.centre, self.penalty = box, centre, penalty

    def evaluate(self, y, z, weight):
        """Return the sum, and each observation's gradient and curvature.

        Parameters
        ----------
        y, z, weight : ndarray of shape (n,)
            Only the scores `z` are read.

        Returns
        -------
        value : float
        gradient, curvature : ndarray of shape (n,)
            First and (generalised) second derivative in the score.
        """
        gradient, curvature = np.empty_like(z), np.empty_like(z)
        value = _evaluate_envelope(
            self.box, self.centre, self.penalty, z, gradient, curvature
        )
        return value, gradient, curvature

    def along(self, y, z, dz, weight, step):
        """Value, slope and curvature at `step` along the line z + step * dz."""
        return _along_envelope(self.box, self.centre, self.penalty, z, dz, step)

    def excess(self, z, beta):
        """Loss at the scores, and what loss and conjugate are apart at `beta`.

        Returns
        -------
        value : float
            Of the loss itself, not of its envelope.
        gap : float
            Sum of loss(z) + conjugate(-beta) + beta z, in terms that are >= 0.
        """
        return excess(self.box, z, beta)

    def steepest(self, z):
        """The multiplier that the loss itself asks for at each score.

        At a kink it is one of several.
        """
        box = self.box
        over = box.linear - z
        rest = np.sign(over) * np.maximum(np.abs(over) - box.width, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            free = np.where(rest == 0.0, 0.0, rest / box.diagonal)
        return np.clip(free, box.lower, box.upper)

    def __repr__(self):
        return f"Envelope(n={len(self.centre)})"


# ---------------------------------------------------------------- envelopes


@njit(cache=True, fastmath=_FAST)
def _best_multiplier(box, centre, penalty, i, z):
    """The beta that the envelope's maximum is taken at, curvature and value there."""
    slope = centre[i] + penalty[i] * (box.linear[i] - z)
    room = penalty[i] * box.width[i]
    beyond = slope - min(max(slope, -room), room)
    bottom = 1.0 + penalty[i] * box.diagonal[i]
    free = beyond / bottom
    beta = min(max(free, box.lower[i]), box.upper[i])
    bends = (free > box.lower[i]) & (free < box.upper[i])
    bends &= (beyond != 0.0) | (room == 0.0)
    moved = beta - centre[i]
    value = beta * (box.linear[i] - z) - box.width[i] * abs(beta)
    value -= 0.5 * (box.diagonal[i] * beta * beta + moved * moved / penalty[i])
    return beta, penalty[i] / bottom if bends else 0.0, value


@njit(cache=True, fastmath=_FAST)
def _evaluate_envelope(box, centre, penalty, z, gradient, curvature):
    total = 0.0
    for i in range(z.shape[0]):
        beta, bend, value = _best_multiplier(box, centre, penalty, i, z[i])
        total += value
        gradient[i] = -beta
        curvature[i] = bend
    return total


@njit(cache=True, fastmath=_FAST)
def _along_envelope(box, centre, penalty, z, dz, step):
    value = 0.0
    slope = 0.0
    bend = 0.0
    for i in range(z.shape[0]):
        now = z[i] + step * dz[i]
        beta, h, least = _best_multiplier(box, centre, penalty, i, now)
        value += least
        slope -= beta * dz[i]
        bend += h * dz[i] * dz[i]
    return value, slope, bend


@njit(cache=True)
def loss_multiplier(box, i, z):
    """The beta of the loss at a score, without an envelope."""
    over = box.linear[i] - z
    rest = abs(over) - box.width[i]
    if rest <= 0.0:
        return 0.0
    if box.diagonal[i] > 0.0:
        best = np.sign(over) * rest / box.diagonal[i]
        return min(max(best, box.lower[i]), box.upper[i])
    return box.upper[i] if over > 0.0 else box.lower[i]


@njit(cache=True)
def excess(box, z, beta):
    """Sum of the losses at z, and of what separates each from the dual at beta."""
    value = 0.0
    gap = 0.0
    for i in range(z.shape[0]):
        best = loss_multiplier(box, i, z[i])
        over = box.linear[i] - z[i]
        half = 0.5 * box.diagonal[i]
        value += best * (over - half * best) - box.width[i] * abs(best)
        # the same at beta is less: the difference as a product loses no digits
        moved = best - beta[i]
        tube = box.width[i] * (abs(best) - abs(beta[i]))
        gap += max(moved * (over - half * (best + beta[i])) - tube, 0.0)
    return value, gap


def balance(box, centre, penalty, starts, z):
    """Levels, one per block of rows, at which the best multipliers add up to zero.

    Parameters
    ----------
    box, centre, penalty
        Of an `Envelope`.
    starts : ndarray of shape (n_blocks + 1,)
    z : ndarray of shape (n,)
        Scores; raised by the levels in place.

    Returns
    -------
    levels : ndarray of shape (n_blocks,)
    """
    levels = np.zeros(len(starts) - 1)
    _balance(box, centre, penalty, starts, z, levels)
    return levels


@njit(cache=True)
def _balance(box, centre, penalty, starts, z, levels):
    for t in range(starts.shape[0] - 1):
        s, e = starts[t], starts[t + 1]
        low, high, b, largest = -np.inf, np.inf, 0.0, 0.0
        total, bend = 0.0, 0.0
        for i in range(s, e):
            largest = max(largest, abs(z[i]))
        # the sum falls along the level, in straight pieces: Newton steps in a bracket
        for _ in range(200):
            total, size, bend = 0.0, 0.0, 0.0
            for i in range(s, e):
                beta, h, _ = _best_multiplier(box, centre, penalty, i, z[i] + b)
                total += beta
                size += abs(beta)
                bend += h
            if abs(total) <= max(1e-15 * size, 2e-16 * bend * largest):
                break
            if total > 0.0:
                low = b
            else:
                high = b
            last = b
            if bend > 0.0:
                b += total / bend
            else:
                b += _to_kink(box, centre, penalty, s, e, z, b, total > 0.0)
            if not low < b < high:
                b = 0.5 * (low + high)
            if b == last or b == low or b == high or abs(b) == np.inf:
                b = last
                break
        if bend == 0.0 and total == 0.0 and s < e:
            # nothing tells levels apart between two kinks: stay away from both
            up = _to_kink(box, centre, penalty, s, e, z, b, True)
            down = _to_kink(box, centre, penalty, s, e, z, b, False)
            if abs(up) < np.inf and abs(down) < np.inf:
                b += 0.5 * (up + down)
        for i in range(s, e):
            z[i] += b
        levels[t] = b


@njit(cache=True)
def _to_kink(box, centre, penalty, s, e, z, b, up):
    """Step of the level to where the first of the rows begins to bend."""
    nearest = np.inf
    for i in range(s, e):
        slope = centre[i] + penalty[i] * (box.linear[i] - z[i] - b)
        room = penalty[i] * box.width[i]
        # slopes between which beta changes: those of its bounds, and of the tube
        top = box.upper[i] + (room if box.upper[i] > 0.0 else -room)
        bottom = box.lower[i] + (room if box.lower[i] > 0.0 else -room)
        for kink in (top, room, -room, bottom):
            far = (slope - kink if up else kink - slope) / penalty[i]
            if 0.0 < far < nearest:
                nearest = far
    # a little further, so that the row is on its slope
    far = nearest * (1.0 + 1e-9)
    return far if up else -far
