"""Newton steps of the squared loss + L21 whose factors serve several strengths.

Along a path the Hessian changes little from one strength to the next. A chord step
solves with the one of an earlier strength: two products with inverses, where a Newton
step has them to compute. Such steps converge linearly, and the faster the nearer the
factors are.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import linalg

from ..linalg import invert_blocks, invert_factor

_RIDGE = 1e-14  # of the largest curvature
# what new factors cost, in steps: at least, and features that cost another one
_PRICE, _OWN, _COMMON = 3.0, 10.0, 50.0
_DEAR = 40.0  # steps: dearer factors are not made
_LOOPS = 128  # features up to which our own loops beat LAPACK
_RATE = 5.0  # flops of LAPACK in the time of one of a compiled pass
_TRIES = 8  # halvings of a Newton step
_STIFF = 1e8  # curvature of the penalty, in that of the loss, that passes deal with
_DAMPINGS = np.array([0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-2])  # of the largest curvature


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


# ---------------------------------------------------------------- Newton steps


class SmoothPenalty(NamedTuple):
    """The penalty around columns that are not zero, where it has two derivatives.

    Attributes
    ----------
    moving : ndarray of bool of shape (n_rows, n_columns)
        Entries that are not held at zero; the derivatives are along these.
    gradient : ndarray of shape (n_rows, n_columns)
    nu : ndarray of shape (n_columns,)
    diagonal : ndarray of shape (n_columns,) or (n_rows, n_columns)
    unit : ndarray of shape (n_rows, n_columns)
        The Hessian of column j is diag(diagonal[:, j]) - nu_j unit_j unit_j'.
    """

    moving: np.ndarray
    gradient: np.ndarray
    nu: np.ndarray
    diagonal: np.ndarray
    unit: np.ndarray


def smooth_penalty(penalty, V, most=np.inf):
    """Derivatives of the penalty at V, whose columns are not zero.

    Where nu exceeds `most`, (n_columns,), the shared part is all but zero and stays as
    it is: beside such curvatures nothing would be left of the loss but rounding.

    A column with the shared part s, |s| = alpha / nu, has the gradient nu s where its
    entries are not cut, and its Hessian there is nu (I - e e'), e their unit vector;
    cut entries have the gradient +-beta and no curvature.
    """
    shared, private = penalty.split(V)
    norms = np.sqrt(np.einsum("tj,tj->j", shared, shared))
    alive = norms > np.divide(penalty.alpha, most)
    nu = np.divide(penalty.alpha, norms, out=np.zeros_like(norms), where=alive)
    if not np.isfinite(penalty.beta):
        unit = np.divide(V, norms, out=np.zeros_like(V), where=alive)
        moving = np.broadcast_to(alive, V.shape)
        return SmoothPenalty(moving, nu * V, nu, nu, unit)
    cut = private != 0
    smooth = alive & ~cut
    spokes = np.where(smooth, shared, 0.0)
    length = np.sqrt(np.einsum("tj,tj->j", spokes, spokes))
    unit = np.divide(spokes, length, out=np.zeros_like(spokes), where=length > 0)
    gradient = np.where(cut, penalty.beta * np.sign(V), nu * shared)
    return SmoothPenalty(smooth | cut, gradient, nu, np.where(smooth, nu, 0.0), unit)


class NewtonStep:
    """Newton's method on the coefficients that are not zero.

    The Hessian is block diagonal by tasks up to one rank-one term a feature: solved by
    a factorisation per task and one system of the size of the support.
    """

    def __init__(self, part, penalty):
        self.part, self.penalty, self.damping = part, penalty, 0.0

    def cost(self, W):
        """What a step costs, in the units of `pass_cost`."""
        used = float(np.count_nonzero(W.any(axis=0)))
        n_rows, part = self.part.n_rows, self.part
        shared = part.n_blocks == 1 and not np.isfinite(self.penalty.beta)
        blocks = 1 if shared else n_rows
        solving = (blocks + 0.5) * used**3 / _RATE
        return solving + (4.0 * n_rows + part.build_cost / _RATE) * used * used

    def improve(self, W, gradient):
        """W after a step that lowers the objective, None where none does.

        More features than rows leave directions without curvature, in which a column
        shrinks until it vanishes. So the Hessian is damped where a plain step fails,
        and what would turn round on the way is set to zero.
        """
        used, V, part, here, pull = self._around(W, gradient)
        if len(used) == 0:
            return None
        gradient, base = gradient[:, used], self.penalty.value(V)
        best, chosen, least = -1e-14 * base, None, self.damping
        for damping in self._dampings():
            direction = self._solve(part, -pull, here, damping)
            if direction is None:
                continue
            D, change = self._along(part, V, here, gradient, base, direction)
            if change < best:
                best, chosen, least = change, D, damping
            if change <= 0.1 * float(np.vdot(pull, direction)):
                break
        self.damping = least
        if chosen is None:
            return None
        moved = W.copy()
        moved[:, used] = V + chosen
        return moved

    def plain(self, W, gradient, damping):
        """W after a full step, None if there is none; what would turn round is zero."""
        used, V, part, here, pull = self._around(W, gradient)
        if len(used) == 0:
            return None
        step = self._solve(part, -pull, here, damping)
        if step is None:
            return None
        moved = W.copy()
        moved[:, used] = V + np.where(turning_points(V, here, step) <= 1.0, -V, step)
        return moved

    def _around(self, W, gradient):
        """Columns that take part; there W, the loss, penalty and gradient of both."""
        used = np.flatnonzero(W.any(axis=0))
        here = smooth_penalty(self.penalty, W[:, used], _STIFF * self.part.most[used])
        moving = here.moving.any(axis=0)
        if not moving.all():
            used = used[moving]
            here = SmoothPenalty(*(part[..., moving] for part in here))
        V, part = np.ascontiguousarray(W[:, used]), self.part.columns(used)
        return used, V, part, here, (gradient[:, used] + here.gradient) * here.moving

    def _dampings(self):
        """What to try, the weakest first, from a little below what was best last."""
        return _DAMPINGS[max(int(np.searchsorted(_DAMPINGS, self.damping)) - 1, 0) :]

    def _along(self, part, V, here, gradient, base, direction):
        """A change of V on the line, and that of the objective; (None, 0) if none."""
        stops = turning_points(V, here, direction)
        first = np.unique(stops[stops < 1.0])
        doubling = 2 ** np.arange(len(first).bit_length()) - 1
        steps = np.append(0.5 ** np.arange(_TRIES), first[doubling])
        for step in np.unique(steps)[::-1]:
            plain = step * direction
            trials = [plain, np.where(stops <= step, -V, plain)]
            changes = []
            for D in trials[: 1 + bool(np.any(stops <= step))]:
                change = np.vdot(gradient, D) + 0.5 * np.vdot(D, part.bend(D))
                changes.append(change + self.penalty.value(V + D) - base)
            if min(changes) < -1e-14 * base:
                return trials[int(np.argmin(changes))], min(changes)
        return None, 0.0

    def _solve(self, part, rhs, here, damping):
        """Solve (H + diag - sum_j nu_j e_j e_j' - coupling) step = rhs."""
        moving, nu = here.moving, here.nu
        solver = _Factors.of(part, here.diagonal, moving, damping)
        if solver is None:
            return None
        step = solver.solve(rhs)
        root = np.sqrt(nu)
        spokes = here.unit * root
        size = len(nu)
        coupling = part.coupling
        if coupling is not None:
            coupling = np.where(moving, coupling, 0.0)
        border = coupling is not None
        core = np.eye(size + border)
        core[:size, :size] -= solver.inner(spokes)
        right = np.einsum("tj,tj->j", spokes, step)
        if border:
            reply = solver.solve(coupling)
            core[:size, size] = core[size, :size] = -np.einsum(
                "tj,tj->j", spokes, reply
            )
            core[size, size] -= np.vdot(coupling, reply)
            right = np.append(right, np.vdot(coupling, step))
        core[np.diag_indices(size + border)] += 1e-14
        # LAPACK directly: SciPy would warn of what the damping is there for
        _, y, info = linalg.lapack.dposv(core, right, lower=1)
        if info:
            return None
        correction = solver.solve(spokes * y[:size])
        step = step + correction
        if border:
            step = step + y[size] * reply
        return step if np.all(np.isfinite(step)) else None


def turning_points(V, here, direction):
    """Steps at which a column, or a private entry, would turn round: it vanishes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        against = np.einsum("tj,tj->j", V, direction)
        column = -np.einsum("tj,tj->j", V, V) / against
        column = np.where(against < 0, column, np.inf)
        entry = np.where(V * direction < 0, -V / direction, np.inf)
    single = here.moving & (here.unit == 0)
    return np.where(single, entry, np.where(single.any(axis=0), np.inf, column))


class _Factors:
    """Inverses of H_t + diag_t, one for all rows or one for each."""

    def __init__(self, inverse):
        self.inverse = inverse

    @classmethod
    def of(cls, part, diagonal, moving, damping):
        """Factorise; None where a block is not definite."""
        size = part.n_features
        index = np.arange(size)
        alike = len(part.hessian) == 1 and np.all(part.scale == part.scale[0])
        if alike and moving.all() and diagonal.ndim == 1:
            M = part.scale[0] * part.hessian
            M[:, index, index] += diagonal
        else:
            M = part.scale[:, None, None] * part.hessian[part.block]
            M[:, index, index] += diagonal
            M *= moving[:, :, None] & moving[:, None, :]
            M[:, index, index] += ~moving
        level = np.abs(M[:, index, index]).max(axis=1)
        M[:, index, index] += (1e-14 + damping) * level[:, None]
        try:
            return cls(_inverses(M))
        except np.linalg.LinAlgError:
            return None

    def solve(self, rhs):
        """Every row's system."""
        if len(self.inverse) == 1:
            return rhs @ self.inverse[0]
        return np.matmul(rhs[:, None, :], self.inverse)[:, 0]

    def inner(self, spokes):
        """sum_t spokes[t, j] inverse[t][j, k] spokes[t, k]."""
        if len(self.inverse) == 1:
            return (spokes.T @ spokes) * self.inverse[0]
        return np.einsum("tj,tjk,tk->jk", spokes, self.inverse, spokes, optimize=True)


def _inverses(M):
    """Inverses of symmetric definite matrices, (n, p, p)."""
    out = np.empty_like(M)
    for t, block in enumerate(M):
        factor, info = linalg.lapack.dpotrf(block, lower=1)
        if info:
            raise np.linalg.LinAlgError("not positive definite")
        out[t], info = invert_factor(factor)
        if info:
            raise np.linalg.LinAlgError("not positive definite")
    return out
