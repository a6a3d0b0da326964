"""Losses in prediction space: they see labels and scores, never `X`.

A loss is a sum over observations, each times its weight. Binary labels are -1 and +1,
classes of `Softmax` are 0, 1, ...
"""

import numpy as np
from numba import njit
from scipy.special import logsumexp, softmax, xlogy

_SQUARED, _SQUARED_HINGE, _LOGISTIC, _SQUARED_EPSILON = range(4)


class _Loss:
    """What follows from `evaluate`."""

    def value(self, y, z, weight):
        """Weighted sum of the loss."""
        return self.evaluate(y, z, weight)[0]

    def gradient(self, y, z, weight):
        """First derivative in the scores, times the weight."""
        return self.evaluate(y, z, weight)[1]

    def curvature(self, y, z, weight):
        """Second derivative in the scores, times the weight."""
        return self.evaluate(y, z, weight)[2]

    def conjugate(self, y, g, weight):
        """Convex conjugate of the weighted sum: the largest <g, z> - value(z).

        Only for losses whose duality gaps are asked for.
        """
        raise NotImplementedError(f"{type(self).__name__} has no conjugate here.")


class _ScalarLoss(_Loss):
    """A loss of one score per observation, computed by one compiled pass."""

    n_scores = 1
    width = 0.0

    def evaluate(self, y, z, weight):
        """Return the weighted sum, and each observation's gradient and curvature.

        Parameters
        ----------
        y, z, weight : ndarray of shape (n,)
            Labels, scores and weights.

        Returns
        -------
        value : float
        gradient, curvature : ndarray of shape (n,)
            First and (generalised) second derivative in the score, times the weight.
        """
        gradient, curvature = np.empty_like(z), np.empty_like(z)
        value = _evaluate(self._code, self.width, y, z, weight, gradient, curvature)
        return value, gradient, curvature

    def along(self, y, z, dz, weight, step):
        """Value, slope and curvature at `step` along the line z + step * dz."""
        return _along(self._code, self.width, y, z, dz, weight, step)

    def __repr__(self):
        return f"{type(self).__name__}()"


class Squared(_ScalarLoss):
    """1/2 (y - z)^2."""

    _code = _SQUARED

    def conjugate(self, y, g, weight):
        """Sum of g^2 / (2 weight) + g y."""
        return float(np.sum(g * g / (2.0 * weight) + g * y))


class SquaredHinge(_ScalarLoss):
    """max(0, 1 - y z)^2, labels -1 and +1."""

    _code = _SQUARED_HINGE


class Logistic(_ScalarLoss):
    """log(1 + exp(-y z)), labels -1 and +1."""

    _code = _LOGISTIC

    def conjugate(self, y, g, weight):
        """Negative entropy of the probabilities that g is the gradient of."""
        p = np.clip(-y * g / weight, 0.0, 1.0)
        return float(weight @ (xlogy(p, p) + xlogy(1.0 - p, 1.0 - p)))


class SquaredEpsilonInsensitive(_ScalarLoss):
    """max(0, |y - z| - epsilon)^2."""

    _code = _SQUARED_EPSILON

    def __init__(self, epsilon=0.0):
        self.width = float(epsilon)

    def __repr__(self):
        return f"SquaredEpsilonInsensitive(epsilon={self.width})"


class Envelope(_Loss):
    """A smooth stand-in for a margin loss, exact at the right multipliers.

    With the five arrays of the loss's dual (`solvers.box`), one multiplier (centre) and
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
        best = np.empty_like(z)
        _steepest(self.box, z, best)
        return best

    def __repr__(self):
        return f"Envelope(n={len(self.centre)})"


class Softmax(_Loss):
    """log sum_k exp(z_k) - z_y over the classes that an observation may have.

    Parameters
    ----------
    n_classes : int
    allowed : ndarray of bool of shape (n, n_classes), default=None
        Classes of each observation's task; the others are left out of its sum.
    """

    def __init__(self, n_classes, allowed=None):
        self.n_scores = n_classes
        self.allowed = allowed

    def _masked(self, z):
        return z if self.allowed is None else np.where(self.allowed, z, -np.inf)

    def evaluate(self, y, z, weight):
        """Return the weighted sum, gradient (n, K) and curvature (n, K, K)."""
        rows = np.arange(len(y))
        classes = y.astype(np.intp)
        z = self._masked(z)
        value = float(weight @ (logsumexp(z, axis=1) - z[rows, classes]))
        p = softmax(z, axis=1)
        gradient = p * weight[:, None]
        curvature = -gradient[:, :, None] * p[:, None, :]
        diagonal = np.arange(self.n_scores)
        curvature[:, diagonal, diagonal] += gradient
        gradient[rows, classes] -= weight
        return value, gradient, curvature

    def conjugate(self, y, g, weight):
        """Negative entropy of the probabilities that g is the gradient of."""
        p = g / weight[:, None]
        p[np.arange(len(y)), y.astype(np.intp)] += 1.0
        p = np.clip(p, 0.0, 1.0)
        return float(weight @ xlogy(p, p).sum(axis=1))

    def along(self, y, z, dz, weight, step):
        """Value, slope and curvature at `step` along the line z + step * dz."""
        rows = np.arange(len(y))
        classes = y.astype(np.intp)
        z = self._masked(z + step * dz)
        p = softmax(z, axis=1)
        value = weight @ (logsumexp(z, axis=1) - z[rows, classes])
        mean = np.sum(p * dz, axis=1)
        slope = weight @ (mean - dz[rows, classes])
        curvature = weight @ np.sum(p * (dz - mean[:, None]) ** 2, axis=1)
        return float(value), float(slope), float(curvature)

    def __repr__(self):
        return f"Softmax(n_classes={self.n_scores})"


LOSSES = [
    Squared(),
    SquaredHinge(),
    Logistic(),
    SquaredEpsilonInsensitive(0.0),
    SquaredEpsilonInsensitive(0.3),
    Softmax(3),
]


@njit(cache=True)
def _point(code, width, y, z):
    """Value, first and second derivative of one observation's loss."""
    if code == _SQUARED:
        r = z - y
        return 0.5 * r * r, r, 1.0
    if code == _SQUARED_HINGE:
        slack = 1.0 - y * z
        if slack > 0.0:
            return slack * slack, -2.0 * y * slack, 2.0
        return 0.0, 0.0, 0.0
    if code == _SQUARED_EPSILON:
        r = z - y
        over = abs(r) - width
        if over > 0.0:
            return over * over, 2.0 * over * np.sign(r), 2.0
        # without a tube the kink at zero is none: the curvature is that of the square
        return 0.0, 0.0, 2.0 if width == 0.0 else 0.0
    m = y * z
    e = np.exp(-abs(m))
    p = e / (1.0 + e)  # probability of the less likely side
    wrong = p if m > 0.0 else 1.0 - p
    value = np.log1p(e) + (0.0 if m > 0.0 else -m)
    return value, -y * wrong, p * (1.0 - p)


@njit(cache=True)
def _evaluate(code, width, y, z, weight, gradient, curvature):
    total = 0.0
    if code == _SQUARED_HINGE:
        # the same as below without branches, which half of the rows would miss
        for i in range(y.shape[0]):
            slack = max(0.0, 1.0 - y[i] * z[i])
            double = 2.0 * weight[i]
            total += weight[i] * slack * slack
            gradient[i] = -double * y[i] * slack
            curvature[i] = double if slack > 0.0 else 0.0
        return total
    for i in range(y.shape[0]):
        v, g, h = _point(code, width, y[i], z[i])
        total += weight[i] * v
        gradient[i] = weight[i] * g
        curvature[i] = weight[i] * h
    return total


@njit(cache=True)
def _along(code, width, y, z, dz, weight, step):
    value = 0.0
    slope = 0.0
    bend = 0.0
    if code == _SQUARED_HINGE:
        for i in range(y.shape[0]):
            slack = max(0.0, 1.0 - y[i] * (z[i] + step * dz[i]))
            push = weight[i] * slack
            value += push * slack
            slope -= 2.0 * push * y[i] * dz[i]
            bend += (2.0 * weight[i] if slack > 0.0 else 0.0) * dz[i] * dz[i]
        return value, slope, bend
    for i in range(y.shape[0]):
        v, g, h = _point(code, width, y[i], z[i] + step * dz[i])
        value += weight[i] * v
        slope += weight[i] * g * dz[i]
        bend += weight[i] * h * dz[i] * dz[i]
    return value, slope, bend


# ---------------------------------------------------------------- envelopes


# Without branches, and with sums in any order, the loops run in vector registers.
_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, fastmath=_FAST)
def _best_multiplier(box, centre, penalty, i, z):
    """The beta that the envelope's maximum is taken at, and the curvature there."""
    pull = centre[i] + penalty[i] * (box.linear[i] - z)
    room = penalty[i] * box.width[i]
    beyond = pull - min(max(pull, -room), room)
    bottom = 1.0 + penalty[i] * box.diagonal[i]
    free = beyond / bottom
    beta = min(max(free, box.lower[i]), box.upper[i])
    bends = (free > box.lower[i]) & (free < box.upper[i])
    bends &= (beyond != 0.0) | (room == 0.0)
    return beta, penalty[i] / bottom if bends else 0.0


@njit(cache=True, fastmath=_FAST)
def _envelope_value(box, centre, penalty, i, z, beta):
    moved = beta - centre[i]
    plain = beta * (box.linear[i] - z) - box.width[i] * abs(beta)
    return plain - 0.5 * (box.diagonal[i] * beta * beta + moved * moved / penalty[i])


@njit(cache=True, fastmath=_FAST)
def _evaluate_envelope(box, centre, penalty, z, gradient, curvature):
    total = 0.0
    for i in range(z.shape[0]):
        beta, bend = _best_multiplier(box, centre, penalty, i, z[i])
        total += _envelope_value(box, centre, penalty, i, z[i], beta)
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
        beta, h = _best_multiplier(box, centre, penalty, i, now)
        value += _envelope_value(box, centre, penalty, i, now, beta)
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
def _steepest(box, z, best):
    for i in range(z.shape[0]):
        best[i] = loss_multiplier(box, i, z[i])


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
                beta, h = _best_multiplier(box, centre, penalty, i, z[i] + b)
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
        pull = centre[i] + penalty[i] * (box.linear[i] - z[i] - b)
        room = penalty[i] * box.width[i]
        # pulls between which beta changes: those of its bounds, and of the tube
        top = box.upper[i] + (room if box.upper[i] > 0.0 else -room)
        bottom = box.lower[i] + (room if box.lower[i] > 0.0 else -room)
        for kink in (top, room, -room, bottom):
            far = (pull - kink if up else kink - pull) / penalty[i]
            if 0.0 < far < nearest:
                nearest = far
    # a little further, so that the row is on its slope
    far = nearest * (1.0 + 1e-9)
    return far if up else -far
