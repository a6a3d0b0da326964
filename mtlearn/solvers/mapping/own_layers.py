"""An input layer for every task, below an output layer that all tasks share.

With M free, weights V_t (n_features, n_units) cost

    min_M |M|^2 + sum_t |V_t - M|^2 = sum_t |V_t|^2 - |sum_t V_t|^2 / (n_tasks + 1)

In the coordinates of this file they cost a plain sum of squares. The first is that of
the mean over tasks, stretched, as what all tasks have in common is cheap.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from ...problem.tasks import TaskData, sort_codes
from .layers import Layers, activate, fold

_SMALL = 1000  # entries of the rows of a task


class TaskRows:
    """Rows in the order of their tasks, to be multiplied by a matrix of the task's own.

    Parameters
    ----------
    X : {ndarray, csr_array} of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)
        Sorted.
    n_tasks : int
    """

    def __init__(self, X, codes, n_tasks):
        self.X, self.codes, self.n_tasks = X, codes, n_tasks
        self.starts = np.searchsorted(codes, np.arange(n_tasks + 1))
        self.shape, self.dtype = X.shape, X.dtype
        self._present = np.flatnonzero(np.diff(self.starts))
        self._blocks = self._diagonal() if sp.issparse(X) else None
        # calls of BLAS for a few rows each would take longer than they work
        size = X.shape[0] * X.shape[1] / max(len(self._present), 1)
        self._small = size <= _SMALL

    def _diagonal(self):
        """Sparse rows with the features of every task in columns of their own."""
        X, d = self.X, self.shape[1]
        columns = np.repeat(self.codes * d, np.diff(X.indptr)) + X.indices
        shape = len(self.codes), self.n_tasks * d
        return sp.csr_array((X.data, columns, X.indptr), shape=shape)

    def __getitem__(self, index):
        return TaskRows(self.X[index], self.codes[index], self.n_tasks)

    def astype(self, dtype, copy=False):
        """The same in another precision."""
        return TaskRows(self.X.astype(dtype, copy=copy), self.codes, self.n_tasks)

    def times(self, V):
        """Products x_i V_t, (n_samples, h), for V of shape (n_tasks, n_features, h)."""
        if self._blocks is not None:
            return np.asarray(self._blocks @ V.reshape(-1, V.shape[2]))
        if self._small:
            Z = np.zeros((len(self.codes), V.shape[2]), dtype=self.dtype)
            _multiply(self.X, self.codes, V, Z)
            return Z
        Z = np.empty((len(self.codes), V.shape[2]), dtype=self.dtype)
        for t in self._present:
            rows = slice(*self.starts[t : t + 2])
            np.matmul(self.X[rows], V[t], out=Z[rows])
        return Z

    def adjoint(self, D):
        """Sums of x_i d_i' over each task's rows, (n_tasks, n_features, h)."""
        d, h = self.shape[1], D.shape[1]
        if self._blocks is not None:
            return np.asarray(self._blocks.T @ D).reshape(self.n_tasks, d, h)
        total = np.zeros((self.n_tasks, d, h), dtype=D.dtype)
        if self._small:
            _multiply_back(self.X, self.codes, D, total)
            return total
        for t in self._present:
            rows = slice(*self.starts[t : t + 2])
            np.matmul(self.X[rows].T, D[rows], out=total[t])
        return total

    def sums(self, D):
        """Sums of d_i over each task's rows, (n_tasks, h)."""
        total = np.zeros((self.n_tasks, D.shape[1]), dtype=D.dtype)
        total[self._present] = np.add.reduceat(D, self.starts[self._present])
        return total


class OwnLayers:
    """An input layer for every task, with what `Layers` offers, on one long vector.

    The vector holds coordinates in which the penalty is a sum of squares: first the
    direction of the mean over tasks, then the others, for the weights and for the
    biases.

    Parameters
    ----------
    sizes : (n_features, n_units)
    activation : str
        One of `layers.ACTIVATIONS`.
    n_tasks : int
    intercept : Intercepts
        Which biases the tasks have: their own, one for all, or none.
    """

    def __init__(self, sizes, activation, n_tasks, intercept):
        self.sizes, self.activation = tuple(sizes), activation
        self.n_tasks, self.intercept = n_tasks, intercept
        self._n_weights = n_tasks * self.sizes[0] * self.sizes[1]
        self.n_params = self._n_weights + n_tasks * self.sizes[1]

    def read(self, data, X):
        """The rows of `data` with features X as `forward` wants them."""
        return TaskRows(X, data.codes, self.n_tasks)

    def _split(self, theta):
        """Views of the coordinates of weights (n_tasks, d, h), biases (n_tasks, h)."""
        A, a = theta[: self._n_weights], theta[self._n_weights :]
        return A.reshape(self.n_tasks, *self.sizes), a.reshape(self.n_tasks, -1)

    def _confine(self, a):
        """Set coordinates of biases that are not there to zero, in place."""
        if not self.intercept.present:
            a[:] = 0.0
        elif not (self.intercept.own or self.intercept.shrunk):
            a[1:] = 0.0

    def unpack(self, theta):
        """Weights (n_tasks, n_features, n_units), biases (n_tasks, n_units); a list."""
        A, a = self._split(theta)
        return [(_spread(A), _spread(a))]

    def pack(self, weights, biases):
        """The vector of given weights and biases, the opposite of `unpack`."""
        a = _gather(biases[0])
        self._confine(a)
        return np.concatenate([_gather(weights[0]).ravel(), a.ravel()])

    def first(self, theta):
        """A view of what a draw says of the features."""
        return self._split(theta)[0][0]

    def draw(self, rng):
        """To begin with: one random layer for all tasks."""
        layers = Layers(self.sizes, self.activation)
        [(W, b)] = layers.unpack(layers.draw(rng))
        every = np.ones((self.n_tasks, 1))
        return self.pack([every[:, :, None] * W], [every * b])

    def decay(self, alpha, first):
        """Penalty of every coordinate; that of the features is in `first`."""
        decay = np.zeros(self.n_params)
        A, a = self._split(decay)
        A[:] = first[:, None]
        if self.intercept.shrunk:
            a[1:] = alpha * self.intercept.strength
        return decay

    def forward(self, theta, X):
        """X itself, and the units of every row by the layer of its task."""
        [(V, c)] = self.unpack(theta)
        return [X, _units(V, c, self.activation, X)]

    def backward(self, theta, outputs, D):
        """Gradient of a function with derivatives D, overwritten, in the units."""
        X, H = outputs
        fold(self.activation, H, D)
        a = _spread_adjoint(X.sums(D))
        self._confine(a)
        A = _spread_adjoint(X.adjoint(D))
        return np.concatenate([A.ravel(), a.ravel()])


# ---------------------------------------------------------------- coordinates


def _reflect(A):
    """Exchange the first axis with that of the mean, over tasks; its own inverse."""
    n_tasks = len(A)
    if n_tasks == 1:
        return A.copy()
    part = n_tasks**-0.5
    step = (A[0] - part * A.sum(axis=0)) / (1.0 - part)
    A = A + part * step
    A[0] -= step
    return A


def _stretched(A, power):
    A = A.copy()
    A[0] *= (len(A) + 1.0) ** (0.5 * power)
    return A


def _spread(A):
    """Values of the tasks by their coordinates."""
    return _reflect(_stretched(A, 1))


def _gather(V):
    """The opposite."""
    return _stretched(_reflect(V), -1)


def _spread_adjoint(G):
    """Derivatives in the coordinates by those in the tasks' values."""
    return _stretched(_reflect(G), 1)


# ---------------------------------------------------------------- rows and units


def in_rows(data):
    """The observations one by one, task after task, each with all of its weight."""
    X = data.features
    X = X[data.rows] if data.wide else X
    weight = data.weights
    weight = None if np.all(weight == 1.0) else weight
    return TaskData(X, data.labels, data.n_tasks, data.task_of, weight)


def as_one_task(data):
    """The same observations, of a single task, without their features."""
    X, y = np.empty((len(data.y), 0)), data.y[:, None]
    return TaskData(X, y, 1, None, data.sample_weight)


def _units(V, c, activation, X):
    Z = X.times(V)
    Z += c[X.codes]
    return activate(activation, Z)


def own_units(V, c, activation, X, codes):
    """Units of rows by the layers of their tasks, (n_samples, h).

    Parameters
    ----------
    V : ndarray of shape (n_tasks, n_features, h)
    c : ndarray of shape (n_tasks, h)
    activation : str
    X : {ndarray, csr_array} of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)
        Task of every row, in any order.
    """
    rows, _ = sort_codes(codes, len(V))
    H = np.empty((len(codes), V.shape[2]))
    H[rows] = _units(V, c, activation, TaskRows(X[rows], codes[rows], len(V)))
    return H


def own_scores(weights, biases, activation, X, codes):
    """Scores of rows, (n_samples,) or (n_samples, n_columns).

    Without codes those of every task, (n_samples, n_tasks) and an axis of columns.
    """
    (V, U), (c, b) = weights, biases
    if codes is not None:
        H = own_units(V, c, activation, X, codes)
    else:
        H = np.empty((X.shape[0], len(V), V.shape[2]))
        for t in range(len(V)):
            H[:, t] = activate(activation, np.asarray(X @ V[t]) + c[t])
    Z = H @ U + b
    return Z[..., 0] if len(b) == 1 else Z


# ---------------------------------------------------------------- compiled passes


@njit(cache=True)
def _multiply(X, codes, V, Z):
    """Add x_i V_t to every row of Z."""
    for i in range(X.shape[0]):
        t = codes[i]
        for j in range(X.shape[1]):
            x = X[i, j]
            for k in range(Z.shape[1]):
                Z[i, k] += x * V[t, j, k]


@njit(cache=True)
def _multiply_back(X, codes, D, total):
    """Add x_i d_i' to the matrix of the row's task."""
    for i in range(X.shape[0]):
        t = codes[i]
        for j in range(X.shape[1]):
            x = X[i, j]
            for k in range(D.shape[1]):
                total[t, j, k] += x * D[i, k]
