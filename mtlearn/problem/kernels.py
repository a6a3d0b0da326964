"""Kernels of the features, as scikit-learn's support vector machines have them."""

from dataclasses import dataclass
from math import factorial

import numpy as np
import scipy.sparse as sp
from numba import njit

from .ids import shorten

KERNELS = ("rbf", "poly", "sigmoid", "precomputed")


@dataclass(frozen=True)
class Kernel:
    """A kernel with its parameters settled.

    Attributes
    ----------
    kind : str or callable
        One of `KERNELS`, "linear", or a function of (X, Z) that returns a matrix.
    gamma, degree, coef0 : float
        As in scikit-learn's ``pairwise_kernels``.
    """

    kind: object
    gamma: float = 1.0
    degree: float = 3
    coef0: float = 0.0

    @property
    def precomputed(self):
        """Whether the features are the kernel's values already."""
        return self.kind == "precomputed"

    def between(self, X, Z):
        """Kernel of every row of `X` with every row of `Z`.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n, n_features)
        Z : ndarray or csr_array of shape (m, n_features)

        Returns
        -------
        values : ndarray of shape (n, m)

        Raises
        ------
        ValueError
            If the values are not finite, or a callable returns something else than
            such a matrix.
        """
        out = np.empty((X.shape[0], Z.shape[0]))
        Rows(self, Z).fill(X, out)
        return out


class Rows:
    """Kernel values against fixed rows `Z`; what they share is computed once.

    Parameters
    ----------
    kernel : Kernel
    Z : ndarray or csr_array of shape (m, n_features)
    columns : ndarray of shape (m,), default=None
        Precomputed kernels: the columns of `X` that belong to the rows of `Z`.
    """

    def __init__(self, kernel, Z, columns=None):
        self.kernel, self.Z, self.columns = kernel, Z, columns
        self.sparse, self.centre = sp.issparse(Z), 0.0
        if kernel.kind == "rbf":
            # distances lose digits far from the origin: dense rows move there
            if not self.sparse:
                self.centre = Z.mean(axis=0)
                self.Z = Z - self.centre
            self.square = kernel.gamma * _squares(self.Z)

    def fill(self, X, out):
        """Write the kernel of the rows of `X` with those of `Z` to `out`, (n, m)."""
        kind, gamma = self.kernel.kind, self.kernel.gamma
        if callable(kind):
            out[:] = _called(kind, X, self.Z)
        elif kind == "precomputed":
            part = X[:, self.columns]
            out[:] = part.toarray() if sp.issparse(part) else part
        elif kind == "rbf":
            X = X - self.centre if not sp.issparse(X) else X
            self._products(X, 2.0 * gamma, out)
            _exponentials(out, gamma * _squares(X), self.square)
        elif kind == "linear":
            self._products(X, 1.0, out)
        else:
            self._products(X, gamma, out)
            out += self.kernel.coef0
            if kind == "sigmoid":
                np.tanh(out, out=out)
            else:
                self._power(out)
        # the sum is finite unless an entry is not (or they are absurdly large)
        with np.errstate(over="ignore", invalid="ignore"):
            total = out.sum()
        if not np.isfinite(total):
            raise ValueError(
                f"`kernel`={kind!r} gives values that are not finite, or too large to "
                "be added; scale the features or choose other parameters."
            )

    def diagonal(self, X):
        """Kernel of every row of `X` with itself; for precomputed ones `X` is `Z`."""
        if self.kernel.kind == "rbf":
            return np.ones(X.shape[0])
        if self.kernel.precomputed:
            rows = np.arange(X.shape[0])
            values = X[rows, self.columns]
            return np.asarray(
                values.todense() if sp.issparse(values) else values
            ).ravel()
        if callable(self.kernel.kind):
            return _own_values(self.kernel.kind, X)
        values = _squares(X)
        if self.kernel.kind == "linear":
            return values
        values = self.kernel.gamma * values + self.kernel.coef0
        if self.kernel.kind == "sigmoid":
            return np.tanh(values)
        self._power(values)
        return values

    def _products(self, X, factor, out):
        """Write factor times the inner products to `out`."""
        if sp.issparse(X) or self.sparse:
            product = X @ self.Z.T
            out[:] = product.toarray() if sp.issparse(product) else product
            out *= factor
        else:
            np.matmul(factor * X, self.Z.T, out=out)

    def _power(self, values):
        """Raise to the degree in place; powers of small integers by products."""
        degree = self.kernel.degree
        with np.errstate(over="ignore", invalid="ignore"):
            if degree == 2:
                np.square(values, out=values)
            elif degree == 3:
                values *= np.square(values)
            else:
                np.power(values, degree, out=values)


def settle_kernel(kernel, X, gamma, degree, coef0, weight=None):
    """Settle what "scale" and "auto" mean for the features `X`.

    Parameters
    ----------
    kernel : str or callable
    X : ndarray or csr_array of shape (n_samples, n_features)
    gamma : {"scale", "auto"} or float
    degree, coef0 : float
    weight : ndarray of shape (n_samples,), default=None
        What the rows count in "scale", so that a weight of two is two rows.

    Returns
    -------
    Kernel
    """
    if callable(kernel) or kernel == "precomputed":
        return Kernel(kernel)
    if gamma == "auto":
        gamma = 1.0 / X.shape[1]
    elif gamma == "scale":
        variance = _variance(X, weight)
        gamma = 1.0 / (X.shape[1] * variance) if variance > 0 else 1.0
    return Kernel(kernel, float(gamma), degree, float(coef0))


def _variance(X, weight):
    """Variance of all entries."""
    if weight is None:
        weight = np.ones(X.shape[0])
    size = weight.sum() * X.shape[1]
    if not sp.issparse(X):
        rest = X - float(weight @ X.sum(axis=1) / size)
        return float(weight @ np.einsum("ij,ij->i", rest, rest) / size)
    weight = np.repeat(weight, np.diff(X.indptr))
    mean = float(weight @ X.data / size)
    # the entries that are not stored lie at -mean
    stored = float(weight @ (X.data - mean) ** 2)
    return (stored + (size - weight.sum()) * mean**2) / size


def _squares(X):
    """|x|^2 of every row."""
    if sp.issparse(X):
        return np.asarray(X.multiply(X).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", X, X)


# exp by Cody and Waite: the exponent's bits from a sum with _SHIFTER, ln 2 in two parts
_LOG2_E, _SHIFTER = 1.4426950408889634, 6755399441055744.0
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_FAR = -690.0  # the exponential of less is zero
_TERMS = tuple(1.0 / factorial(k) for k in range(14))
_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12, _E13 = _TERMS[2:]


# A library's exp would be called entry by entry; this runs in vector registers.
@njit(cache=True, fastmath={"contract"})
def _exponentials(out, own, square):
    """exp(min(out - own - square, 0)) in place; own is by row, square by column."""
    for a in range(out.shape[0]):
        row, centre = out[a], own[a]
        for j in range(square.shape[0]):
            x = min(row[j] - centre - square[j], 0.0)
            y = max(x, _FAR)
            shifted = y * _LOG2_E + _SHIFTER
            k = shifted - _SHIFTER
            r = y - k * _LN2_HIGH
            r = r - k * _LN2_LOW
            r2 = r * r
            r4 = r2 * r2
            low = (_E4 + r * _E5) + r2 * (_E6 + r * _E7)
            high = (_E8 + r * _E9) + r2 * (_E10 + r * _E11) + r4 * (_E12 + r * _E13)
            value = (1.0 + r) + r2 * (_E2 + r * _E3) + r4 * (low + r4 * high)
            power = (np.float64(shifted).view(np.int64) + 1023) << 52
            value *= np.int64(power).view(np.float64)
            row[j] = 0.0 if x <= _FAR else value


def _called(function, X, Z):
    """The matrix that a callable kernel returns, checked."""
    values = function(X, Z)
    if sp.issparse(values):
        values = values.toarray()
    values, expected = np.asarray(values), (X.shape[0], Z.shape[0])
    if values.shape != expected:
        raise ValueError(
            "`kernel` is a function that must return a matrix with a row for every row "
            "of its first argument and a column for every row of its second: expected "
            f"shape {expected}, got {values.shape}."
        )
    if values.dtype.kind not in "fiub":
        raise ValueError(
            "`kernel` is a function that must return real numbers, got an array of "
            f"type {values.dtype}."
        )
    return values


def _own_values(function, X, most=64):
    """Diagonal of a callable kernel, by small squares along it."""
    parts = [
        np.diag(_called(function, X[s : s + most], X[s : s + most]))
        for s in range(0, X.shape[0], most)
    ]
    return np.concatenate(parts).astype(np.float64)


def check_square(X):
    """Check the shape of a precomputed kernel in `fit`.

    Raises
    ------
    ValueError
        If it is not square.
    """
    if X.shape[0] != X.shape[1]:
        raise ValueError(
            "`kernel`='precomputed' expects X in fit to be a square matrix of the "
            f"kernel between its rows, got shape {shorten(X.shape)} (the column of "
            "ids not counted)."
        )
