"""Compiled conjugate gradients for factors W = A B and a squared loss from moments.

The same steps as those of `factored.py`, for small problems, where calls from Python
would take most of the time.
"""

from typing import NamedTuple

import numpy as np
from numba import njit


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
    r, direction, step = gradient.copy(), -z, np.zeros_like(gradient)
    bent, reply = np.empty_like(r), np.empty_like(r)
    promised, rz = 0.0, np.dot(r, z)
    whole, along, mixed = 0.0, rz, 0.0
    for _ in range(max_iter):
        _bend(curvature, direction, bent)
        curved = np.dot(direction, bent)
        size = rz / curved if curved > 0.0 else np.inf
        out = size == np.inf
        if not out:
            out = whole + 2.0 * size * mixed + size * size * along >= radius**2
        if out:
            root = np.sqrt(max(mixed * mixed + along * (radius**2 - whole), 0.0))
            size = (root - mixed) / along
        promised += size * rz - 0.5 * size * size * curved
        step += size * direction
        whole += 2.0 * size * mixed + size * size * along
        if out:
            break
        r += size * bent
        _precondition(inverse, r, reply)
        now = np.dot(r, reply)
        if now <= limit:
            break
        turn = now / rz
        for i in range(r.shape[0]):
            direction[i] = turn * direction[i] - reply[i]
        mixed = turn * (mixed + size * along)
        along = now + turn * turn * along
        rz = now
    return step, np.sqrt(max(whole, 0.0)), promised


@njit(cache=True, error_model="numpy")
def _bend(c, v, out):
    """Second derivative along v, written to `out`."""
    n_rows, k = c.A.shape
    d, cut = c.B.shape[1], c.A.size
    dA, dB = v[:cut].reshape(n_rows, k), v[cut:].reshape(k, d)
    V = np.dot(dA, c.B) + np.dot(c.A, dB)
    H = np.empty_like(V)
    if c.hessian.shape[0] == 1:
        np.dot(V, c.hessian[0], H)
    else:
        for t in range(n_rows):
            np.dot(V[t], c.hessian[c.block[t]], H[t])
    for t in range(n_rows):
        H[t] *= c.scale[t]
    for coupling in c.coupling:
        H -= np.sum(coupling * V) * coupling
    out[:cut] = (np.dot(H, c.B.T) + np.dot(c.G, dB.T)).ravel()
    out[cut:] = (np.dot(c.A.T, H) + np.dot(dA.T, c.G)).ravel()
    out += c.alpha * v


@njit(cache=True, error_model="numpy")
def _precondition(p, v, out):
    """The inverses of the two blocks applied to v, written to `out`."""
    n_rows, k = p.left.shape[:2]
    d, cut = p.basis.shape[0], n_rows * k
    dA, left = v[:cut].reshape(n_rows, k), out[:cut].reshape(n_rows, k)
    for t in range(n_rows):
        np.dot(p.left[t], dA[t], left[t])
    dB = np.dot(np.dot(p.turn.T, v[cut:].reshape(k, d)), p.basis)
    dB /= p.bottom
    out[cut:] = np.dot(p.turn, np.dot(dB, p.basis.T)).ravel()
