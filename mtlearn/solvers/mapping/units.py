"""Units and axes of the features that suit steps which know no curvature at first."""

import numpy as np
import scipy.sparse as sp
from scipy import linalg

_TURNED = 600  # features up to which their axes are turned
_LEAST = 1e-8  # curvature, of the features' own, that a direction is given at least


class Units:
    """Features centred and in units in which all directions are about as curved.

    A change of variables that leaves the objective as it is: what a bias takes up costs
    nothing, and the penalty of the first layer is one number per axis. With C the
    second moments of the scaled features and P their penalty, the axes T have T' (C +
    P) T = I and T' P T diagonal. Features too faint to be worth their penalty stay
    faint.

    Parameters
    ----------
    X : {ndarray, csr_array} of shape (n_samples, n_features)
    mass : ndarray of shape (n_samples,)
        Weight of every row.
    alpha : float
    centred : bool
        False where a bias may not take up the means of the features.
    turned : bool
        False keeps the features' own axes: for steps that are stopped early, before
        faint directions have had their turn.
    """

    def __init__(self, X, mass, alpha, centred=True, turned=True):
        total = max(float(mass.sum()), 1e-300)
        self.centre = np.zeros(X.shape[1])
        if sp.issparse(X):
            squares = X.multiply(X).T @ mass / total
        else:
            if centred:
                self.centre = mass @ X / total
            squares = mass @ (X - self.centre) ** 2 / total
            # what rounding leaves of a constant column is none
            level = 1e-13 * np.abs(self.centre)
            squares = np.where(squares > level * level, squares, 0.0)
        self.constant = squares == 0
        size = squares + alpha / total
        self.size = np.sqrt(np.where(size > 0, size, 1.0))
        self.penalty, self.axes, self._metric = alpha / self.size**2, None, None
        if turned and not sp.issparse(X) and 1 < X.shape[1] <= _TURNED:
            self._turn(X, mass / total, self.penalty / total)

    def _turn(self, X, share, penalty):
        """Find the axes; `penalty` is that of a row's share."""
        Z = self._scaled(X)
        metric = (Z * share[:, None]).T @ Z
        metric[np.diag_indices(len(metric))] += penalty + _LEAST
        ratio, self.axes = linalg.eigh(np.diag(penalty), metric)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(penalty > 0, self.penalty / penalty, 0.0).max()
        self.penalty, self._metric = factor * np.maximum(ratio, 0.0), metric

    def _scaled(self, X):
        rows = np.ascontiguousarray((X - self.centre) / self.size)
        rows[:, self.constant] = 0.0
        return rows

    def rows(self, X):
        """The rows in these units."""
        if sp.issparse(X):
            return sp.csr_array(X.multiply(1.0 / self.size))
        rows = self._scaled(X)
        return rows if self.axes is None else rows @ self.axes

    def turn(self, W):
        """Weights of scaled features (n_features, ...) as weights along the axes."""
        return W if self.axes is None else self.axes.T @ (self._metric @ W)

    def back(self, weights, biases):
        """Weights and biases of all layers for the features as they came."""
        first = weights[0] if self.axes is None else self.axes @ weights[0]
        first = first / self.size[:, None]
        return [first, *weights[1:]], [biases[0] - self.centre @ first, *biases[1:]]

    def there(self, weights, biases):
        """The opposite of `back`."""
        first = self.turn(weights[0] * self.size[:, None])
        moved = biases[0] + self.centre @ weights[0]
        return [first, *weights[1:]], [moved, *biases[1:]]
