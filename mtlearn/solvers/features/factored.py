"""Trust-region Newton steps on the factors of W = A B, whatever the loss.

The linear systems are solved by conjugate gradients, preconditioned with the two blocks
that alternating least squares would solve; from moments in compiled code.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ..linalg import factor_spd, solve_spd
from .smooth import MomentLoss

WHITEN = 700  # features up to which an eigendecomposition of their Gram pays
_MODEL = 128  # features up to which moments are made at every step
CG_STEPS = 300
_DENSE = 1500  # unknowns of B up to which a dense system is solved
_TRIES = 15
_SURE = 0.1  # of a bound, where the blocks of the step before will do


def average(loss):
    """Mean curvature of the tasks: (d, d), or its diagonal where d is large."""
    if isinstance(loss, MomentLoss) and loss.n_features <= WHITEN:
        share = np.bincount(loss.block, weights=loss.scale, minlength=len(loss.hessian))
        return np.tensordot(share, loss.hessian, axes=1) / loss.n_rows
    return loss.diagonal.mean(axis=0)


class Factored:
    """L(A B) + 1/2 alpha (|A|^2 + |B|^2) as a function of one long vector."""

    def __init__(self, loss, alpha, k):
        self.loss, self.alpha, self.k = loss, alpha, k
        self.cut = loss.n_rows * k
        self._spectrum = None

        self.moments = isinstance(loss, MomentLoss)
        # from rows, moments of the rows as weighted at every place
        self.models = loss.n_features <= (WHITEN if self.moments else _MODEL)
        self.models &= self.moments or not loss.data.sparse
        # with more than two classes those are no more than a bound
        self.compiles = self.models and (self.moments or loss.q == 1)

    def pack(self, A, B):
        """Both factors as one vector."""
        return np.concatenate([A.ravel(), B.ravel()])

    def unpack(self, x):
        """The factors of a vector."""
        A = x[: self.cut].reshape(self.loss.n_rows, self.k)
        return A, x[self.cut :].reshape(self.k, self.loss.n_features)

    def product(self, x):
        """The coefficients that the factors make."""
        A, B = self.unpack(x)
        return A @ B

    def at(self, x):
        """Point of the loss with the value and gradient of the whole."""
        A, B = self.unpack(x)
        point = self.loss.at(A @ B)
        value = point.value + 0.5 * self.alpha * float(x @ x)
        G = point.gradient
        gradient = self.pack(G @ B.T, A.T @ G) + self.alpha * x
        return _Place(x, value, gradient, point)

    def bend(self, place, v):
        """Second derivative along v."""
        A, B = self.unpack(place.x)
        dA, dB = self.unpack(v)
        G = place.point.gradient
        H = self.loss.bend(dA @ B + A @ dB, place.point)
        return self.pack(H @ B.T + G @ dB.T, A.T @ H + dA.T @ G) + self.alpha * v

    @property
    def settles(self):
        """Whether B can be minimised exactly with A held."""
        small = self.k * self.loss.n_features <= _DENSE
        return small and isinstance(self.loss, MomentLoss)

    def settle(self, place):
        """The place with the best B for its A: one system of k * d unknowns."""
        A, _ = self.unpack(place.x)
        loss, size = self.loss, self.k * self.loss.n_features
        pairs = (A * loss.scale[:, None])[:, :, None] * A[:, None, :]
        mixed = np.zeros((len(loss.hessian), self.k, self.k))
        np.add.at(mixed, loss.block, pairs)
        H = np.einsum("ukl,uij->kilj", mixed, loss.hessian, optimize=True)
        H = H.reshape(size, size)
        if loss.coupling is not None:
            tied = (A.T @ loss.coupling).ravel()
            H -= np.outer(tied, tied)
        H[np.diag_indices(size)] += self.alpha + 1e-14 * np.abs(np.diag(H)).max()
        B = solve_spd(factor_spd(H), (A.T @ loss.target).ravel())
        return self.at(self.pack(A, B.reshape(self.k, -1)))

    def model(self, place):
        """The loss, or its second-order model, from moments; None where that costs."""
        if self.moments or not self.models:
            return self.loss if self.moments else None
        if place.model is None:
            every = np.arange(self.loss.n_features)
            place.model = self.loss.quadratic(place.point, every)
        return place.model

    def preconditioner(self, place):
        """The inverses of the two blocks of alternating least squares."""
        A, B = self.unpack(place.x)
        left = self._left_blocks(B, place)
        spread, turn = np.linalg.eigh(A.T @ A)
        if self.models:
            if self._spectrum is None or not self.moments:
                self._spectrum = np.linalg.eigh(average(self.model(place)))
            level, basis = self._spectrum
        else:
            level, basis = self._diagonal(place).mean(axis=0), None
        bottom = np.maximum(spread, 0.0)[:, None] * np.maximum(level, 0.0) + self.alpha
        bottom += max(1e-12 * bottom.max(initial=0.0), 1e-300)
        return Inverse(left, turn, bottom, basis)

    def invert(self, inverse, v):
        """Apply what `preconditioner` returned."""
        dA, dB = self.unpack(v)
        dA = np.matmul(inverse.left, dA[:, :, None])[:, :, 0]
        dB = inverse.turn.T @ dB
        if inverse.basis is None:
            dB = dB / inverse.bottom
        else:
            dB = ((dB @ inverse.basis) / inverse.bottom) @ inverse.basis.T
        return self.pack(dA, inverse.turn @ dB)

    def curvature(self, place):
        """What compiled code needs for `bend`."""
        A, B = self.unpack(place.x)
        loss = self.model(place)
        coupling = loss.coupling
        coupling = np.empty((0, 1, 1)) if coupling is None else coupling[None]
        parts = loss.hessian, loss.block, loss.scale, coupling
        return Curvature(A, B, place.point.gradient, *parts, self.alpha)

    def _diagonal(self, place):
        if isinstance(self.loss, MomentLoss):
            return self.loss.diagonal
        return self.loss.diagonal_at(place.point)

    def _left_blocks(self, B, place):
        """Inverses of B H_t B' + alpha, (n_rows, k, k)."""
        loss = self.model(place)
        if loss is not None:
            inner = np.matmul(np.matmul(B, loss.hessian), B.T)
            M = loss.scale[:, None, None] * inner[loss.block]
        else:
            M = np.einsum("kj,tj,lj->tkl", B, self._diagonal(place), B, optimize=True)
        index = np.arange(self.k)
        M[:, index, index] += self.alpha
        level = np.abs(M[:, index, index]).max(axis=1, initial=0.0)
        M[:, index, index] += np.maximum(1e-12 * level, 1e-300)[:, None]
        return np.linalg.inv(M)


class _Place:
    """Where a step starts: x, value, gradient, and the loss's own point."""

    def __init__(self, x, value, gradient, point):
        self.x, self.value, self.gradient, self.point = x, value, gradient, point
        self.model = None


def minimise(problem, x, enough, max_iter):
    """Trust-region Newton steps; the objective never rises.

    Returns
    -------
    x : ndarray
    n_iter : int
    bound : float
        The decrease that a preconditioned step promises, 1/2 g' P^-1 g.
    history : list of (objective, bound)
    """
    place, radius, history = problem.at(x), None, []
    n_iter, inverse = 0, problem.preconditioner(place)
    while True:
        z = problem.invert(inverse, place.gradient)
        bound = 0.5 * float(place.gradient @ z)
        if n_iter and bound > _SURE * enough:
            inverse = problem.preconditioner(place)
            z = problem.invert(inverse, place.gradient)
            bound = 0.5 * float(place.gradient @ z)
        history.append((place.value, bound))
        if bound <= enough or n_iter >= max_iter or not np.isfinite(bound):
            break
        n_iter += 1
        if radius is None:
            radius = 3.0 * np.sqrt(2.0 * max(bound, 0.0))
        place, radius, moved = _trust_region_step(problem, place, inverse, z, radius)
        if not moved:
            break
    return place.x, n_iter, bound, history


def _trust_region_step(problem, place, inverse, z, radius):
    """Shrink the region until the objective falls as the model says.

    Returns
    -------
    place : _Place
    radius : float
    moved : bool
    """
    noise = 1e-14 * abs(place.value)
    for _ in range(_TRIES):
        step, length, promised = _truncated_cg(problem, place, inverse, z, radius)
        new = problem.at(place.x + step)
        gain = place.value - new.value
        if promised <= noise:
            # the objective has no digits left to judge by: the gradient has
            before = float(place.gradient @ z)
            after = float(new.gradient @ problem.invert(inverse, new.gradient))
            better = gain >= -noise and after < 0.5 * before
            return (new if better else place), radius, better
        ratio = gain / promised
        if ratio < 0.5 and problem.settles:
            # the valley of good factors is curved: back to its floor
            new = problem.settle(new)
            ratio = (place.value - new.value) / promised
        if ratio > 0.75:
            radius = max(radius, 2.0 * length)
        elif not ratio > 0.25:
            radius = 0.25 * length
        if ratio > 1e-4:
            return new, radius, True
    return place, radius, False


def _truncated_cg(problem, place, inverse, z, radius):
    """Steihaug's conjugate gradients: stop at negative curvature or at the radius.

    Lengths are in the norm of the preconditioner, so that units do not matter.

    Returns
    -------
    step : ndarray
    length : float
    promised : float
        Decrease of the quadratic model.
    """
    rz = float(place.gradient @ z)
    limit = min(0.1, np.sqrt(rz / max(abs(place.value), 1e-300))) ** 2 * rz
    if problem.compiles:
        given = problem.curvature(place), inverse, place.gradient, z
        return truncated_cg(*given, radius, limit, CG_STEPS)
    r, direction = place.gradient.copy(), -z
    step, promised = np.zeros_like(r), 0.0
    # squared lengths of the step and of the direction, and their product
    whole, along, mixed = 0.0, rz, 0.0
    for _ in range(CG_STEPS):
        bent = problem.bend(place, direction)
        curvature = float(direction @ bent)
        size = rz / curvature if curvature > 0 else np.inf
        out = size == np.inf
        out = out or whole + 2.0 * size * mixed + size * size * along >= radius**2
        if out:
            root = np.sqrt(max(mixed * mixed + along * (radius**2 - whole), 0.0))
            size = (root - mixed) / along
        promised += size * rz - 0.5 * size * size * curvature
        step = step + size * direction
        whole += 2.0 * size * mixed + size * size * along
        if out:
            break
        r = r + size * bent
        z = problem.invert(inverse, r)
        now = float(r @ z)
        if now <= limit:
            break
        turn = now / rz
        direction = -z + turn * direction
        mixed = turn * (mixed + size * along)
        along = now + turn * turn * along
        rz = now
    return step, np.sqrt(max(whole, 0.0)), promised


# ---------------------------------------------------------------- compiled steps

# Compiled conjugate gradients for factors W = A B and a squared loss from moments.
#
# The same steps as above, for small problems, where calls from Python would take most
# of the time.


class Curvature(NamedTuple):
    """What the second derivative of the objective along a change of A and B needs.

    Attributes
    ----------
    A : ndarray of shape (n_rows, k)
    B : ndarray of shape (k, n_features)
    G : ndarray of shape (n_rows, n_features)
        Gradient of the loss at A B.
    hessian, block, scale
        Of a `MomentLoss`.
    coupling : ndarray of shape (0 or 1, n_rows, n_features)
    alpha : float
    """

    A: np.ndarray
    B: np.ndarray
    G: np.ndarray
    hessian: np.ndarray
    block: np.ndarray
    scale: np.ndarray
    coupling: np.ndarray
    alpha: float


class Inverse(NamedTuple):
    """Inverses of the two blocks of alternating least squares.

    Attributes
    ----------
    left : ndarray of shape (n_rows, k, k)
    turn : ndarray of shape (k, k)
    bottom : ndarray of shape (k, n_features)
    basis : ndarray of shape (n_features, n_features)
        The block of B has the eigenvalues `bottom` along `turn` and `basis`.
    """

    left: np.ndarray
    turn: np.ndarray
    bottom: np.ndarray
    basis: np.ndarray


@njit(cache=True, error_model="numpy")
def truncated_cg(curvature, inverse, gradient, z, radius, limit, max_iter):
    """Steihaug's conjugate gradients: stop at negative curvature or at the radius.

    Parameters
    ----------
    curvature : Curvature
    inverse : Inverse
    gradient, z : ndarray of shape (size,)
        Gradient of the objective, and the preconditioner applied to it.
    radius : float
        In the norm of the preconditioner.
    limit : float
        Where to stop: <r, P^-1 r> of the residual r.
    max_iter : int

    Returns
    -------
    step : ndarray of shape (size,)
    length, promised : float
        Length of the step, and decrease of the quadratic model.
    """
    size = gradient.shape[0]
    r, direction, step = gradient.copy(), np.empty(size), np.zeros(size)
    bent, reply = np.empty(size), np.empty(size)
    for i in range(size):
        direction[i] = -z[i]
    promised, rz = 0.0, np.dot(r, z)
    whole, along, mixed = 0.0, rz, 0.0
    for _ in range(max_iter):
        _bend(curvature, direction, bent)
        curved = np.dot(direction, bent)
        length = rz / curved if curved > 0.0 else np.inf
        out = length == np.inf
        if not out:
            reached = whole + 2.0 * length * mixed + length * length * along
            out = reached >= radius * radius
        if out:
            left = radius * radius - whole
            root = np.sqrt(max(mixed * mixed + along * left, 0.0))
            length = (root - mixed) / along
        promised += length * rz - 0.5 * length * length * curved
        for i in range(size):
            step[i] += length * direction[i]
        whole += 2.0 * length * mixed + length * length * along
        if out:
            break
        for i in range(size):
            r[i] += length * bent[i]
        _precondition(inverse, r, reply)
        now = np.dot(r, reply)
        if now <= limit:
            break
        turn = now / rz
        for i in range(size):
            direction[i] = turn * direction[i] - reply[i]
        mixed = turn * (mixed + length * along)
        along = now + turn * turn * along
        rz = now
    return step, np.sqrt(max(whole, 0.0)), promised


@njit(cache=True, error_model="numpy")
def _bend(c, v, out):
    """Second derivative along v, written to `out`."""
    n_rows, k = c.A.shape
    d, cut = c.B.shape[1], c.A.size
    dA, dB = v[:cut].reshape(n_rows, k), v[cut:].reshape(k, d)
    V, H = np.empty((n_rows, d)), np.empty((n_rows, d))
    np.dot(dA, c.B, V)
    np.dot(c.A, dB, H)
    for t in range(n_rows):
        for j in range(d):
            V[t, j] += H[t, j]
    if c.hessian.shape[0] == 1:
        np.dot(V, c.hessian[0], H)
    else:
        for t in range(n_rows):
            np.dot(V[t], c.hessian[c.block[t]], H[t])
    for t in range(n_rows):
        for j in range(d):
            H[t, j] *= c.scale[t]
    for u in range(c.coupling.shape[0]):
        along, coupling = 0.0, c.coupling[u]
        for t in range(n_rows):
            for j in range(d):
                along += coupling[t, j] * V[t, j]
        for t in range(n_rows):
            for j in range(d):
                H[t, j] -= along * coupling[t, j]
    left, right = np.empty((2, n_rows, k)), np.empty((2, k, d))
    np.dot(H, c.B.T, left[0])
    np.dot(c.G, dB.T, left[1])
    np.dot(c.A.T, H, right[0])
    np.dot(dA.T, c.G, right[1])
    for t in range(n_rows):
        for j in range(k):
            i = t * k + j
            out[i] = left[0, t, j] + left[1, t, j] + c.alpha * v[i]
    for t in range(k):
        for j in range(d):
            i = cut + t * d + j
            out[i] = right[0, t, j] + right[1, t, j] + c.alpha * v[i]


@njit(cache=True, error_model="numpy")
def _precondition(p, v, out):
    """The inverses of the two blocks applied to v, written to `out`."""
    n_rows, k = p.left.shape[:2]
    d, cut = p.basis.shape[0], n_rows * k
    dA, left = v[:cut].reshape(n_rows, k), out[:cut].reshape(n_rows, k)
    for t in range(n_rows):
        np.dot(p.left[t], dA[t], left[t])
    first, second = np.empty((k, d)), np.empty((k, d))
    np.dot(p.turn.T, v[cut:].reshape(k, d), first)
    np.dot(first, p.basis, second)
    for j in range(k):
        for i in range(d):
            second[j, i] /= p.bottom[j, i]
    np.dot(second, p.basis.T, first)
    np.dot(p.turn, first, out[cut:].reshape(k, d))
