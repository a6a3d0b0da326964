"""Squared loss + nuclear norm: Newton steps on the metric of a ridge.

    min over W of L(W) + alpha |W|_*
        = min over Q >= 0, W of L(W) + alpha / 2 (tr W Q^+ W' + tr Q)

(Argyriou, Evgeniou and Pontil, Convex multi-task feature learning, Machine Learning
73, 2008): what `lengths` does for single features. For a given Q the best W is a ridge
solution, W = Z Q with Z = -gradient / alpha. What is left is smooth and convex in Q, a
singular one included: its derivative is alpha / 2 (1 - Z'Z), its Hessian

    <D, H D> = alpha sum_i z_i' D M_i D z_i,    M_i = (alpha + H_i Q)^-1 H_i

over the rows i of W. As Z'Z is the identity on the range of the solution, the mean of
the M_i makes a good preconditioner there. Semidefinite are all iterates, by Newton
steps on Q = positive part of (Q - sigma derivative): where that takes a direction out
it leaves the range, where it lets one in the range grows, and a range that turns has
the curvature of what it turns into (Qi and Sun, SIAM J. Matrix Anal. Appl. 28, 2006).

Q belongs to the features, or to the tasks where these have their rows in common and
are fewer: the rows of W are then its columns along the eigenvectors of the Hessian.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...problem.solution import goal
from ..linalg import conjugate_gradient, invert_blocks, svd

_STEPS = 50
_AIM = 0.1  # of the gap to reach
_TRIES = 5  # multiples of the identity
_NEAR = 0.2  # of the best one
_EASE = 1e-2  # accuracy of a step
_CG_STEPS = 60
_HALVINGS = 12
_ROUNDING = 1e-12  # of the objective, by which it may rise
_HONEST = 1e-6  # of the constant, by which rounding may have changed the loss
_SEEN = 1e-13  # eigenvalue of a Hessian, relative to the largest, that counts
_INSIDE = 1e-14  # the same of Q


# rounding may leave nothing of a penalty that is far too weak
@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def descend(loss, alpha, W, tol, max_iter):
    """Minimise the squared loss plus the nuclear norm, as far as rounding allows.

    Parameters
    ----------
    loss : MomentLoss
        Without a coupling.
    alpha : float
    W : ndarray of shape (n_rows, n_features), or None
        Where to begin; None for a ridge's.
    tol : float
        Steps end when the last was expected to gain a tenth of what `goal` makes of it:
        what is left then is far less.
    max_iter : int

    Returns
    -------
    W : ndarray of shape (n_rows, n_features)
    n_iter : int
    """
    side = loss.keep("side", lambda: _side(loss))
    place = _begin(side, alpha) if W is None else _at(side, side.inward(W), alpha)
    n_iter = 0
    if not 0.0 <= place.bound <= 2.0 * loss.constant:
        return W, n_iter
    while n_iter < min(_STEPS, max_iter):
        place, gain = _step(side, place)
        n_iter += 1
        if not gain > _AIM * goal(tol, loss.zero_objective, place.bound):
            break
    found = side.outward(place.W)
    honest = loss.at(found).value <= place.bound + _HONEST * loss.constant
    return (found if honest else W), n_iter


def _begin(side, alpha):
    """The ridge whose metric is the best multiple of the identity, and its own metric.

    There |Z|^2 is the size of Q. Its root has an inverse that is nearly linear.
    """
    size = side.target.shape[1]
    place, aim = side.at(np.zeros((size, 0)), alpha), np.sqrt(size)
    length = np.linalg.norm(place.Z)
    if length <= aim:
        return place
    bend = float(np.vdot(place.Z, side.bend(place, place.Z))) / length**2
    last, spread = (0.0, 1.0 / length), (length / aim - 1.0) / max(bend, 1e-300)
    for _ in range(_TRIES):
        place = side.at(np.sqrt(spread) * np.eye(size), alpha)
        if not np.isfinite(place.bound):
            return place
        here = spread, 1.0 / np.linalg.norm(place.Z)
        slope = (here[1] - last[1]) / (here[0] - last[0])
        spread += (1.0 / aim - here[1]) / slope if slope > 0 else 0.0
        if abs(spread - here[0]) <= _NEAR * here[0] or not spread > 0:
            break
        last = here
    return _at(side, place.W, alpha)


def _at(side, W, alpha):
    """The place of the metric that W has."""
    _, sizes, basis = svd(W)
    return side.at(basis.T * np.sqrt(sizes), alpha)


class _Place(NamedTuple):
    """Where a metric leads.

    Attributes
    ----------
    alpha : float
    root : ndarray of shape (size, rank)
        Q = root root'.
    W, Z : ndarray of shape (n, size)
    bound : float
        What Q makes of the objective, from above.
    curvature : object
        What `bend` and `mean` of its side need.
    """

    alpha: float
    root: np.ndarray
    W: np.ndarray
    Z: np.ndarray
    bound: float
    curvature: object


def _place(side, alpha, root, W, Z, curvature):
    """The `_Place` of what solves the ridge."""
    bound = side.constant - 0.5 * float(np.vdot(side.target, W))
    bound += 0.5 * alpha * float(np.vdot(root, root))
    return _Place(alpha, root, W, Z, bound, curvature)


def _side(loss):
    """Where the metric lives: with the tasks, or with the features."""
    if len(loss.hessian) > 1:
        return _Own(loss)
    if loss.n_rows > loss.n_features:
        return _Alike(loss.hessian[0], loss.scale, loss.target, loss.constant)
    squares, basis = np.linalg.eigh(loss.hessian[0])
    target = np.ascontiguousarray((loss.target @ basis).T)
    scale = np.diag(loss.scale)
    return _Alike(scale, np.maximum(squares, 0.0), target, loss.constant, basis)


class _Alike:
    """Rows whose Hessians are multiples of one.

    Parameters
    ----------
    hessian : ndarray of shape (size, size)
    scale : ndarray of shape (n,)
    target : ndarray of shape (n, size)
    constant : float
    basis : ndarray of shape (n, n), default=None
        Where these are columns of the coefficients in a basis of the features.
    """

    def __init__(self, hessian, scale, target, constant, basis=None):
        squares, turn = np.linalg.eigh(hessian)
        seen = squares > _SEEN * squares[-1]
        half = np.sqrt(squares[seen])
        self.target, self.constant = target, constant
        self._half, self._scale, self._basis = turn[:, seen] * half, scale, basis
        self._reduced = target @ (turn[:, seen] / half)

    def inward(self, W):
        """Coefficients as this side has them."""
        return W if self._basis is None else (W @ self._basis).T

    def outward(self, W):
        """And back."""
        return W if self._basis is None else W.T @ self._basis.T

    def at(self, root, alpha):
        """Solve the ridge: all its systems are diagonal in one basis."""
        part = self._half.T @ root
        squares, turn = np.linalg.eigh(part @ part.T)
        inverse = np.maximum(squares, 0.0) * self._scale[:, None] + alpha
        np.divide(1.0, inverse, out=inverse)
        turn, half = self._reduced @ turn, self._half @ turn
        Z = (turn * inverse) @ half.T
        W = (Z @ root) @ root.T
        inverse *= self._scale[:, None]
        return _place(self, alpha, root, W, Z, (half, inverse))

    def bend(self, place, Y):
        """M_i y_i of every row."""
        half, inverse = place.curvature
        return ((Y @ half) * inverse) @ half.T

    def mean(self, place, weights):
        """Weighted mean of the M_i."""
        half, inverse = place.curvature
        return (half * (weights @ inverse)) @ half.T


@dataclass
class _Dense:
    """Curvature of rows with Hessians of their own, made when it is asked for."""

    hessian: np.ndarray
    beside: np.ndarray
    inverse: np.ndarray
    alpha: float

    @cached_property
    def whole(self):
        """The M_i, of shape (n, size, size)."""
        reply = np.matmul(self.inverse, self.beside)
        M = np.matmul(self.beside.transpose(0, 2, 1), reply)
        np.subtract(self.hessian, M, out=M)
        M /= self.alpha
        return M


class _Own:
    """Rows with Hessians of their own.

    Parameters
    ----------
    loss : MomentLoss
    """

    def __init__(self, loss):
        self.target, self.constant = loss.target, loss.constant
        self._hessian = loss.hessian
        if not (loss.ordered and np.all(loss.scale == 1.0)):
            self._hessian = loss.scale[:, None, None] * loss.hessian[loss.block]

    def inward(self, W):
        """Coefficients as this side has them: as they are."""
        return W

    outward = inward

    def at(self, root, alpha):
        """Solve the ridge: a system of the rank of Q for every row."""
        beside = np.matmul(root.T, self._hessian)
        inner = np.matmul(beside, root)
        inverse = np.empty_like(inner)
        every, shift = np.ones(len(inner), dtype=bool), np.full(len(inner), alpha)
        invert_blocks(inner, shift, 1.0, 0, every, inverse)
        right = (self.target @ root)[:, :, None]
        part = np.matmul(inverse, right)
        # an inverse is less exact than a solution, until that is refined
        part += np.matmul(inverse, right - alpha * part - np.matmul(inner, part))
        W = part[:, :, 0] @ root.T
        Z = (self.target - np.matmul(self._hessian, W[:, :, None])[:, :, 0]) / alpha
        curvature = _Dense(self._hessian, beside, inverse, alpha)
        return _place(self, alpha, root, W, Z, curvature)

    def bend(self, place, Y):
        """M_i y_i of every row."""
        return np.matmul(place.curvature.whole, Y[:, :, None])[:, :, 0]

    def mean(self, place, weights):
        """Weighted mean of the M_i."""
        return np.tensordot(weights, place.curvature.whole, axes=1)


def _step(side, place):
    """A Newton step, halved until the objective does not rise.

    Returns
    -------
    place : _Place
    gain : float
        What the whole step promised, to first order.
    """
    square = place.Z.T @ place.Z
    squares, turn = np.linalg.eigh(square)
    sizes = np.sqrt(np.maximum(squares, 0.0))
    # of Newton's methods that for 1 / |Z| - 1, which is linear for one direction alone
    over = sizes * sizes * (sizes - 1.0)
    descent = np.where(sizes > 1.0, over, 0.5 * (squares - 1.0))
    Q = place.root @ place.root.T
    step = _direction(side, place, Q, (turn * descent) @ turn.T)
    gain = 0.5 * place.alpha * float(np.vdot(square, step) - np.trace(step))
    most = place.bound + _ROUNDING * abs(place.bound)
    for _ in range(_HALVINGS):
        there = side.at(_root(Q + step), place.alpha)
        if 0.0 <= there.bound <= most:
            return there, gain
        step = 0.5 * step
    return place, 0.0


def _root(Q):
    """A root of the positive part."""
    sizes, basis = np.linalg.eigh(Q)
    inside = sizes > _INSIDE * max(sizes[-1], 0.0)
    return basis[:, inside] * np.sqrt(sizes[inside])


def _direction(side, place, Q, descent):
    """Newton step for Q = positive part of (Q + sigma descent).

    In the eigenvectors of what is on the right its derivative multiplies entries by a
    share: one within the range, none outside it, and between them what lies between.
    """
    weights = np.einsum("ij,ij->i", place.Z, place.Z)
    mean = side.mean(place, weights / max(weights.sum(), 1e-300))
    level = np.trace(mean) / len(mean)
    sigma = 1.0 / level if level > 0 else 1.0
    sizes, basis = np.linalg.eigh(Q + sigma * descent)
    kept = np.maximum(sizes, 0.0)
    apart = np.abs(sizes[:, None] - sizes)
    share = np.abs(kept[:, None] - kept) / np.where(apart > 0, apart, 1.0)
    inside = sizes > 0
    share[np.ix_(inside, inside)] = 1.0
    free = share > 0
    tied = np.where(free, share, 1.0)
    extra = np.where(free, (1.0 - share) / (sigma * tied), 0.0)
    missing = basis.T @ Q @ basis
    missing[np.diag_indices(len(kept))] -= kept

    Z = place.Z @ basis

    def bend(D):
        X = (side.bend(place, (Z @ D) @ basis.T) @ basis).T @ Z
        return np.where(free, 0.5 * (X + X.T), 0.0)

    # what leaves the range is known, and moves the others
    fixed = np.where(free, 0.0, -missing)
    right = np.where(free, -missing / (sigma * tied), 0.0)
    if fixed.any():
        right -= bend(fixed)
    curves = np.einsum("ki,ki->i", basis, mean @ basis)
    masses = np.einsum("ti,ti->i", Z, Z)
    diagonal = 0.5 * (np.outer(curves, masses) + np.outer(masses, curves)) + extra
    diagonal = np.where(diagonal > 0, diagonal, 1.0)
    step = conjugate_gradient(
        lambda D: bend(D) + extra * D,
        right,
        lambda R: R / diagonal,
        tol=_EASE,
        max_iter=_CG_STEPS,
    )
    return basis @ (step + fixed) @ basis.T
