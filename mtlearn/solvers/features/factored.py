"""Trust-region Newton steps on the factors of W = A B, whatever the loss.

The linear systems are solved by conjugate gradients, preconditioned with the two blocks
that alternating least squares would solve.
"""

from typing import NamedTuple

import numpy as np

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
        self.exact = self.models and (self.moments or loss.q == 1)

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
        loss = self.model(place) if self.exact else self.loss
        H = loss.bend(dA @ B + A @ dB, place.point)
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


class Inverse(NamedTuple):
    """Inverses of the two blocks of alternating least squares.

    Attributes
    ----------
    left : ndarray of shape (n_rows, k, k)
    turn : ndarray of shape (k, k)
    bottom : ndarray of shape (k, n_features)
    basis : ndarray of shape (n_features, n_features), or None
        The block of B has the eigenvalues `bottom` along `turn` and `basis`.
    """

    left: np.ndarray
    turn: np.ndarray
    bottom: np.ndarray
    basis: np.ndarray | None


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
