"""Newton steps of the squared loss + L21 whose factors serve several strengths.

Along a path the Hessian changes little from one strength to the next. A chord step
solves with the one of an earlier strength: two products with inverses, where a Newton
step has them to compute. Such steps converge linearly, and the faster the nearer the
factors are.
"""

import numpy as np
from numba import njit

from ..linalg import invert_blocks

_RIDGE = 1e-14  # of the largest curvature
# what new factors cost, in steps: at least, and features that cost another one
_PRICE, _OWN, _COMMON = 3.0, 10.0, 50.0
_DEAR = 40.0  # steps: dearer factors are not made
_LOOPS = 128  # features up to which our own loops beat LAPACK


class Chord:
    """The Hessian around one solution, inverted, and steps with it.

    Parameters
    ----------
    loss : MomentLoss
        Without coupled intercepts.
    W : ndarray of shape (n_rows, n_features)
        Columns that are zero stay so.
    alpha : float
        Strength there.
    old : Chord, default=None
        No longer needed: its memory is used again, as fresh pages take longer to come
        by than the numbers to go into them.
    """

    def __init__(self, loss, W, alpha, old=None):
        self.used = W.any(axis=0)
        self.whole = bool(self.used.all())
        V = np.ascontiguousarray(W[:, self.used])
        norms = np.sqrt(np.einsum("tj,tj->j", V, V))
        self._nu = alpha / norms
        self._spokes = V * (np.sqrt(self._nu) / norms)
        self._room = None if old is None else old._room
        self._inverse = self._inverses(loss, np.flatnonzero(self.used))
        core = np.eye(len(norms))[None] - _inner(self._inverse, self._spokes)
        self._core = np.empty_like(core)
        ratio = _invert(core, self._core)
        self.sound = ratio > _RIDGE and bool(np.isfinite(self._core).all())
        self._spent = 0

    def _inverses(self, loss, chosen):
        """Inverses of the tasks' blocks with `nu` added, one where all are alike."""
        alike = len(loss.hessian) == 1 and np.all(loss.scale == loss.scale[0])
        shape = 1 if alike else loss.n_rows, len(chosen), len(chosen)
        size = int(np.prod(shape))
        if self._room is None or self._room.shape[1] < size:
            self._room = np.empty((2, size))
        M, inverse = self._room[:, :size].reshape(2, *shape)
        _fill(loss.hessian, loss.block, loss.scale, chosen, self._nu, M)
        _invert(M, inverse)
        return inverse

    def serves(self, used, times):
        """Whether steps with these factors cost less than new ones.

        Parameters
        ----------
        used : ndarray of bool of shape (n_features,)
            The columns in use.
        times : int
            Steps that it would take.
        """
        price = _price(len(self._nu), len(self._inverse))
        return max(times, self._spent) <= price and np.array_equal(self.used, used)

    def step(self, W, gradient, alpha, times):
        """W after some steps; None where a column would turn round.

        Parameters
        ----------
        W, gradient : ndarray of shape (n_rows, n_features)
            The gradient is that of the loss at W.
        alpha : float
        times : int
        """
        self._spent += times - 1
        V = W.copy() if self.whole else np.ascontiguousarray(W[:, self.used])
        G = gradient.copy() if self.whole else gradient[:, self.used]
        G = np.ascontiguousarray(G)
        arrays = self._inverse, self._core[0], self._spokes, self._nu
        for _ in range(times):
            if not _step(*arrays, alpha, V, G):
                return None
        if self.whole:
            return V
        moved = np.zeros_like(W)
        moved[:, self.used] = V
        return moved


def affordable(loss, size):
    """Whether chords are for that many features."""
    return _price(size, len(loss.hessian)) <= _DEAR


def _price(size, n_blocks):
    """What new factors cost, in steps."""
    return _PRICE + size / (_OWN if n_blocks > 1 else _COMMON)


@njit(cache=True)
def _fill(hessian, block, scale, chosen, nu, M):
    """Write the chosen features' blocks, `nu` and a little added, into M."""
    for t in range(M.shape[0]):
        square, most = hessian[block[t]], 0.0
        for j in range(len(chosen)):
            row = square[chosen[j]]
            for k in range(len(chosen)):
                M[t, j, k] = scale[t] * row[chosen[k]]
            M[t, j, j] += nu[j]
            most = max(most, M[t, j, j])
        for j in range(len(chosen)):
            M[t, j, j] += _RIDGE * most


def _invert(M, out):
    n = len(M)
    todo = np.ones(n, dtype=bool)
    return invert_blocks(M, np.zeros(n), 1.0, 0, todo, out, small=_LOOPS)


def _inner(inverse, spokes):
    """sum_t spokes[t, j] inverse[t][j, k] spokes[t, k]."""
    if len(inverse) == 1:
        return (spokes.T @ spokes) * inverse[0]
    out = np.zeros(inverse.shape[1:])
    _add_inner(inverse, spokes, out)
    return out


@njit(cache=True)
def _add_inner(inverse, spokes, out):
    """Add the above to `out`."""
    n, size = spokes.shape
    for t in range(n):
        for j in range(size):
            factor = spokes[t, j]
            for k in range(size):
                out[j, k] += factor * inverse[t, j, k] * spokes[t, k]


@njit(cache=True)
def _apply(inverse, R):
    """Every row's system."""
    if inverse.shape[0] == 1:
        return np.dot(R, inverse[0])
    out = np.empty_like(R)
    for t in range(R.shape[0]):
        out[t] = np.dot(inverse[t], R[t])
    return out


@njit(cache=True)
def _columns(A, B, out):
    """Inner products of the columns of A and B."""
    out[:] = 0.0
    for t in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[j] += A[t, j] * B[t, j]


@njit(cache=True, error_model="numpy")
def _step(inverse, core, spokes, nu, alpha, V, G):
    """One step from V in place, the gradient G after it; False if a column turns round.

    M X = -R with M = H + nu - spokes spokes' gives H X, the change of the gradient,
    without a product.
    """
    n, size = V.shape
    square, along = np.empty(size), np.empty(size)
    _columns(V, V, square)
    R = np.empty_like(V)
    for t in range(n):
        for j in range(size):
            R[t, j] = -(G[t, j] + alpha * V[t, j] / np.sqrt(square[j]))
    X = _apply(inverse, R)
    _columns(spokes, X, along)
    along = np.dot(core, along)
    X += _apply(inverse, spokes * along)
    _columns(V, X, along)
    for j in range(size):
        if not along[j] > -square[j]:
            return False
    _columns(spokes, X, along)
    for t in range(n):
        for j in range(size):
            V[t, j] += X[t, j]
            G[t, j] += R[t, j] - nu[j] * X[t, j] + spokes[t, j] * along[j]
    return True
