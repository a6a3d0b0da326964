"""Solutions of falling strengths, and the polynomial that leads on from them."""

import numpy as np
from numba import njit

_ORDER = 5  # of the polynomial, at most
_NEAR = 0.5  # of the last strength: smaller ones are too far to be extrapolated to
_FALL = 0.5  # of a term's square: a next one above it tells nothing


class Trail:
    """Divided differences of the solutions passed and of their gradients.

    Newton's polynomial through the last ones is followed as far as its terms fall. A
    gradient is affine in W: that of a combination of solutions is that of theirs.

    Attributes
    ----------
    W : ndarray of shape (n_rows, n_features)
        The last solution.
    used : ndarray of bool of shape (n_features,)
        Features that it uses.
    """

    def __init__(self, n_rows, n_features):
        self.W = np.zeros((n_rows, n_features))
        self.used = np.zeros(n_features, dtype=bool)
        # strengths for which a feature has been in, or out
        self._since = np.zeros(n_features, dtype=np.int64)
        self._alphas = np.zeros(0)
        self._differences = np.zeros((_ORDER + 1, 2, n_rows, n_features))

    def last(self, alpha):
        """The last strength, or the given one if there is none."""
        return self._alphas[0] if len(self._alphas) else alpha

    def add(self, alpha, W, gradient):
        """Go on to the solution of the next strength."""
        self.W = W
        if len(self._alphas) and alpha == self._alphas[0]:
            return
        used = W.any(axis=0)
        self._since = np.where(used == self.used, self._since + 1, 0)
        self.used = used
        _add(self._differences, alpha - self._alphas[:_ORDER], W, gradient)
        self._alphas = np.append(alpha, self._alphas[:_ORDER])

    def ahead(self, alpha):
        """W at another strength, and its gradient where that is known."""
        if not len(self._alphas) or alpha < _NEAR * self._alphas[0]:
            return self.W, None
        ahead = np.empty(self._differences.shape[1:])
        order = _follow(self._differences, alpha - self._alphas, self._since, ahead)
        return ahead[0], ahead[1] if order <= self._since.min() else None


@njit(cache=True)
def _add(differences, steps, W, gradient):
    """Bring the differences (order, 2, n_rows, n_features) up to a new point."""
    n, d = W.shape
    value = np.empty(d)
    for part in range(2):
        for t in range(n):
            value[:] = W[t] if part == 0 else gradient[t]
            for q in range(len(steps)):
                inverse, old = 1.0 / steps[q], differences[q, part, t]
                for j in range(d):
                    before = old[j]
                    old[j] = value[j]
                    value[j] = inverse * (value[j] - before)
            differences[len(steps), part, t] = value


@njit(cache=True)
def _follow(differences, steps, since, out):
    """Write the polynomial's value; returns its order.

    A feature that came in or went out on the way takes part in as many terms as there
    are strengths since.
    """
    out[:] = differences[0]
    _, n, d = out.shape
    factor, last = 1.0, np.inf
    for q in range(1, len(steps)):
        factor *= steps[q - 1]
        size = 0.0
        for t in range(n):
            for j in range(d):
                if since[j] >= q:
                    size += (factor * differences[q, 0, t, j]) ** 2
        if not size < _FALL * last:
            return q - 1
        last = size
        for t in range(n):
            for j in range(d):
                if since[j] >= q:
                    out[0, t, j] += factor * differences[q, 0, t, j]
                out[1, t, j] += factor * differences[q, 1, t, j]
    return max(len(steps) - 1, 0)
