"""Newton steps of the squared loss plus a penalty, on columns that are not zero.

The Hessian is block diagonal by tasks up to one rank-one term a feature: an inverse per
task and one system of the size of the support. Along a path it changes little from one
strength to the next: a chord step solves with the factors of an earlier one. Such steps
converge linearly, and the faster the nearer the factors are.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ...problem.penalties import L21
from ..linalg import invert_blocks

_RIDGE = 1e-14  # of the largest curvature
_SOUND = 1e-15  # of a diagonal entry: a lesser pivot is none
# what new factors cost, in steps: at least, and features that cost another one
_PRICE, _OWN, _COMMON = 3.0, 10.0, 50.0
_DEAR = 40.0  # steps: dearer factors are not made
_LOOPS = 128  # features up to which our own loops beat LAPACK
_RATE = 5.0  # flops of LAPACK in the time of one of a compiled pass
_TRIES = 8  # halvings of a Newton step
_STIFF = 1e8  # curvature of the penalty, in that of the loss, that passes deal with
_DAMPINGS = np.array([0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-2])  # of the largest curvature


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
        used, V, part, here, slope = self._around(W, gradient)
        if len(used) == 0:
            return None
        gradient, base = gradient[:, used], self.penalty.value(V)
        best, chosen, least = -1e-14 * base, None, self.damping
        for damping in self._dampings():
            direction = _Factors(part, here, damping).solve(-slope)
            if direction is None:
                continue
            D, change = self._along(part, V, here, gradient, base, direction)
            if change < best:
                best, chosen, least = change, D, damping
            if change <= 0.1 * float(np.vdot(slope, direction)):
                break
        self.damping = least
        if chosen is None:
            return None
        moved = W.copy()
        moved[:, used] = V + chosen
        return moved

    def plain(self, W, gradient, damping):
        """W after a full step, None if there is none; what would turn round is zero."""
        used, V, part, here, slope = self._around(W, gradient)
        if len(used) == 0:
            return None
        step = _Factors(part, here, damping).solve(-slope)
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


def turning_points(V, here, direction):
    """Steps at which a column, or a private entry, would turn round: it vanishes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        against = np.einsum("tj,tj->j", V, direction)
        column = -np.einsum("tj,tj->j", V, V) / against
        column = np.where(against < 0, column, np.inf)
        entry = np.where(V * direction < 0, -V / direction, np.inf)
    single = here.moving & (here.unit == 0)
    return np.where(single, entry, np.where(single.any(axis=0), np.inf, column))


# ---------------------------------------------------------------- linear systems


class _Factors:
    """Inverses of what H + diag - sum_j nu_j e_j e_j' - coupling coupling' is made of.

    Parameters
    ----------
    part : MomentLoss
        Of the columns alone.
    here : SmoothPenalty
    damping : float
        Added to the diagonal, relative to the largest entry of the task.
    small : int
        Features up to which our own loops invert, which a single fit need not compile.
    """

    def __init__(self, part, here, damping=0.0, small=0):
        self.sound, self.core, self._small = True, None, small
        # entries that do not move have no part in the system
        self._held = None if here.moving.all() else ~here.moving
        self.inverse = self._invert(part, here.diagonal, damping)
        self.spokes, coupling = here.unit * np.sqrt(here.nu), part.coupling
        self._coupling = coupling if coupling is None else coupling * here.moving
        if self.sound:
            self._invert_core()

    def _invert(self, part, diagonal, damping):
        """Inverses of H_t + diag_t, one where all tasks are alike."""
        index, held = np.arange(part.n_features), self._held
        alike = len(part.hessian) == 1 and np.all(part.scale == part.scale[0])
        if alike and held is None and diagonal.ndim == 1:
            M = part.scale[0] * part.hessian
        else:
            hessian = part.hessian if part.ordered else part.hessian[part.block]
            M = part.scale[:, None, None] * hessian
        M[:, index, index] += diagonal
        if held is not None:
            M *= ~(held[:, :, None] | held[:, None, :])
            M[:, index, index] += held
        level = np.abs(M[:, index, index]).max(axis=1, initial=0.0)
        M[:, index, index] += (_RIDGE + damping) * level[:, None]
        return self._inverses(M)

    def _inverses(self, M):
        """Inverses of blocks; notes where one is not definite."""
        n, out = len(M), np.empty_like(M)
        every = np.ones(n, dtype=bool)
        pivot = invert_blocks(M, np.zeros(n), 1.0, 0, every, out, small=self._small)
        self.sound = pivot > _SOUND
        return out

    def _invert_core(self):
        """The inverse of I less the inner products of the rank-one terms."""
        spokes, size = self.spokes, self.spokes.shape[1]
        border = self._coupling is not None
        core = np.eye(size + border)
        core[:size, :size] -= self._inner(spokes)
        if border:
            self._reply = self._solve_blocks(self._coupling)
            core[:size, size] = core[size, :size] = -_dots(spokes, self._reply)
            core[size, size] -= np.vdot(self._coupling, self._reply)
        core[np.diag_indices(len(core))] += _RIDGE
        self.core = self._inverses(core[None])[0]

    def _solve_blocks(self, rhs):
        if len(self.inverse) == 1:
            return rhs @ self.inverse[0]
        return np.matmul(rhs[:, None, :], self.inverse)[:, 0]

    def _inner(self, spokes):
        """sum_t spokes[t, j] inverse[t][j, k] spokes[t, k]."""
        if len(self.inverse) == 1:
            return (spokes.T @ spokes) * self.inverse[0]
        out = np.zeros(self.inverse.shape[1:])
        _add_inner(self.inverse, spokes, out)
        return out

    def solve(self, rhs):
        """The solution, of the shape of the right-hand side; None if there is none."""
        if not self.sound:
            return None
        step, size = self._solve_blocks(rhs), self.spokes.shape[1]
        right = _dots(self.spokes, step)
        if self._coupling is not None:
            right = np.append(right, np.vdot(self._coupling, step))
        y = self.core @ right
        step = step + self._solve_blocks(self.spokes * y[:size])
        if self._coupling is not None:
            step = step + y[size] * self._reply
        return step if np.all(np.isfinite(step)) else None


def _dots(A, B):
    """Inner products of the columns of A and B."""
    return np.einsum("tj,tj->j", A, B)


# ---------------------------------------------------------------- kept factors


class Chord:
    """Newton steps of L21 with the factors around one solution.

    Parameters
    ----------
    loss : MomentLoss
        Without coupled intercepts.
    W : ndarray of shape (n_rows, n_features)
        Columns that are zero stay so.
    alpha : float
        Strength there.
    """

    def __init__(self, loss, W, alpha):
        self.used = W.any(axis=0)
        whole = bool(self.used.all())
        self._columns = slice(None) if whole else np.flatnonzero(self.used)
        here = smooth_penalty(L21(alpha), np.ascontiguousarray(W[:, self._columns]))
        part = loss if whole else loss.columns(self._columns)
        self._nu, self._factors, self._spent = (
            here.nu,
            _Factors(part, here, small=_LOOPS),
            0,
        )
        self.sound = self._factors.sound

    def serves(self, used, times):
        """Whether steps with these factors cost less than new ones.

        Parameters
        ----------
        used : ndarray of bool of shape (n_features,)
            The columns in use.
        times : int
            Steps that it would take.
        """
        price = _price(len(self._nu), len(self._factors.inverse))
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
        factors = self._factors
        # copies, as the steps are made in place
        V, G = (np.array(A[:, self._columns], order="C") for A in (W, gradient))
        arrays = factors.inverse, factors.core, factors.spokes, self._nu
        for _ in range(times):
            if not _step(*arrays, alpha, V, G):
                return None
        moved = np.zeros_like(W)
        moved[:, self._columns] = V
        return moved


def affordable(loss, size):
    """Whether chords are for that many features."""
    return _price(size, len(loss.hessian)) <= _DEAR


def _price(size, n_blocks):
    """What new factors cost, in steps."""
    return _PRICE + size / (_OWN if n_blocks > 1 else _COMMON)


@njit(cache=True, error_model="numpy")
def _step(inverse, core, spokes, nu, alpha, V, G):
    """One step from V in place, the gradient G after it; False if a column turns round.

    M X = -R with M = H + nu - spokes spokes' gives H X, the change of the gradient,
    without a product.
    """
    n, size = V.shape
    square, along, share = np.empty(size), np.empty(size), np.empty(size)
    R, X, Y = np.empty((n, size)), np.empty((n, size)), np.empty((n, size))
    _sum_columns(V, V, square)
    for t in range(n):
        for j in range(size):
            R[t, j] = -(G[t, j] + alpha * V[t, j] / np.sqrt(square[j]))
    _solve_blocks(inverse, R, X)
    _sum_columns(spokes, X, along)
    np.dot(core, along, share)
    for t in range(n):
        for j in range(size):
            R[t, j] = spokes[t, j] * share[j]
    _solve_blocks(inverse, R, Y)
    for t in range(n):
        for j in range(size):
            X[t, j] += Y[t, j]
    _sum_columns(V, X, along)
    for j in range(size):
        if not along[j] > -square[j]:
            return False
    _sum_columns(spokes, X, along)
    for t in range(n):
        for j in range(size):
            inward = alpha * V[t, j] / np.sqrt(square[j])
            G[t, j] = -inward - nu[j] * X[t, j] + spokes[t, j] * along[j]
            V[t, j] += X[t, j]
    return True


@njit(cache=True)
def _solve_blocks(inverse, R, out):
    """Every row's system."""
    if inverse.shape[0] == 1:
        np.dot(R, inverse[0], out)
        return
    for t in range(R.shape[0]):
        np.dot(inverse[t], R[t], out[t])


@njit(cache=True)
def _sum_columns(A, B, out):
    """Inner products of the columns of A and B."""
    for j in range(A.shape[1]):
        out[j] = 0.0
    for t in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[j] += A[t, j] * B[t, j]


@njit(cache=True)
def _add_inner(inverse, spokes, out):
    for t in range(spokes.shape[0]):
        for j in range(spokes.shape[1]):
            factor = spokes[t, j]
            for k in range(spokes.shape[1]):
                out[j, k] += factor * inverse[t, j, k] * spokes[t, k]
