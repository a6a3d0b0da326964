"""Losses in prediction space: they see labels and scores, never `X`.

A loss is a sum over observations, each times its weight. Binary labels are -1 and +1,
classes of `Softmax` are 0, 1, ...
"""

import numpy as np
from numba import njit
from scipy.special import logsumexp, softmax, xlogy

from .threads import in_threads, inner, row_blocks

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
        columns = y, z, weight, gradient, curvature

        def some(rows):
            own = [column[rows] for column in columns]
            return _evaluate(self.code, self.width, *own)

        value = sum(in_threads(some, row_blocks(len(y), 1, 1)))
        return value, gradient, curvature

    def along(self, y, z, dz, weight, step):
        """Value, slope and curvature at `step` along the line z + step * dz."""
        columns = y, z, dz, weight

        def some(rows):
            own = [column[rows] for column in columns]
            return _along(self.code, self.width, *own, step)

        parts = in_threads(some, row_blocks(len(y), 1, 1))
        value, slope, bend = map(sum, zip(*parts, strict=True))
        return value, slope, bend

    def __repr__(self):
        return f"{type(self).__name__}()"


class Squared(_ScalarLoss):
    """1/2 (y - z)^2."""

    code = _SQUARED

    def each(self, y, z, weight):
        """The loss of each observation, times its weight."""
        return 0.5 * weight * (y - z) ** 2

    def conjugate(self, y, g, weight):
        """Sum of g^2 / (2 weight) + g y."""
        return float(np.sum(g * g / (2.0 * weight) + g * y))


class SquaredHinge(_ScalarLoss):
    """max(0, 1 - y z)^2, labels -1 and +1."""

    code = _SQUARED_HINGE

    def conjugate(self, y, g, weight):
        """Sum of g^2 / (4 weight) + g y, where g y is not positive."""
        return float(np.sum(g * g / (4.0 * weight) + np.minimum(g * y, 0.0)))


class Logistic(_ScalarLoss):
    """log(1 + exp(-y z)), labels -1 and +1."""

    code = _LOGISTIC

    def each(self, y, z, weight):
        """The loss of each observation, times its weight."""
        return weight * np.logaddexp(0.0, -y * z)

    def conjugate(self, y, g, weight):
        """Negative entropy of the probabilities that g is the gradient of."""
        p = np.clip(-y * g / weight, 0.0, 1.0)
        return float(weight @ (xlogy(p, p) + xlogy(1.0 - p, 1.0 - p)))


class SquaredEpsilonInsensitive(_ScalarLoss):
    """max(0, |y - z| - epsilon)^2."""

    code = _SQUARED_EPSILON

    def __init__(self, epsilon=0.0):
        self.width = float(epsilon)

    def conjugate(self, y, g, weight):
        """Sum of g^2 / (4 weight) + g y + epsilon |g|."""
        rest = g * y + self.width * np.abs(g)
        return float(np.sum(g * g / (4.0 * weight) + rest))

    def __repr__(self):
        return f"SquaredEpsilonInsensitive(epsilon={self.width})"


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
        value = inner(weight, logsumexp(z, axis=1) - z[rows, classes])
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
        value = inner(weight, logsumexp(z, axis=1) - z[rows, classes])
        mean = np.sum(p * dz, axis=1)
        slope = inner(weight, mean - dz[rows, classes])
        curvature = inner(weight, np.sum(p * (dz - mean[:, None]) ** 2, axis=1))
        return value, slope, curvature

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
def point_loss(code, width, y, z):
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


@njit(cache=True, nogil=True)
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
        v, g, h = point_loss(code, width, y[i], z[i])
        total += weight[i] * v
        gradient[i] = weight[i] * g
        curvature[i] = weight[i] * h
    return total


@njit(cache=True, nogil=True)
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
        v, g, h = point_loss(code, width, y[i], z[i] + step * dz[i])
        value += weight[i] * v
        slope += weight[i] * g * dz[i]
        bend += weight[i] * h * dz[i] * dz[i]
    return value, slope, bend
