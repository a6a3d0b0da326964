"""The logistic mixed model with all matrices written out: slow and plain."""

import numpy as np
from scipy.linalg import block_diag
from scipy.special import expit, log_expit

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class DenseLabels:
    """Laplace's approximation at given variances, single labels integrated.

    Parameters
    ----------
    U : ndarray of shape (n, q)
    codes : ndarray of shape (n,)
    sign, weight : ndarray of shape (n,)
    B : ndarray of shape (q, r)
        The tasks' own columns are U B.
    flat : ndarray of shape (q,), bool
    """

    def __init__(self, U, codes, sign, weight, B, flat):
        self.U, self.B, self.flat = U, B, flat
        self.sign, self.weight = sign, weight
        sizes = np.bincount(codes)
        self.single = (sizes[codes] == 1) & (weight == 1.0)
        self.own = [
            np.where((codes == t) & ~self.single, 1.0, 0.0)[:, None] * (U @ B)
            for t in range(len(sizes))
        ]

    def losses(self, eta, s2):
        """Loss of each label, and its first two derivatives in the score."""
        z = self.sign * eta
        p = expit(-z)
        value = -self.weight * log_expit(z)
        first, second = -self.weight * self.sign * p, self.weight * p * (1 - p)
        for i in np.flatnonzero(self.single):
            x = z[i] + np.sqrt(s2[i]) * _NODES
            f = expit(x)
            L = _WEIGHTS @ f
            one = _WEIGHTS @ (f * (1 - f)) / L
            two = _WEIGHTS @ (f * (1 - f) * (1 - 2 * f)) / L
            value[i], first[i], second[i] = (
                -np.log(L),
                -self.sign[i] * one,
                one**2 - two,
            )
        return value, first, second

    def mode(self, Theta, prior):
        """Coefficients (beta, v_1, ...) that minimise the objective, and more.

        Returns
        -------
        x, value, hessian : of the loss alone, covariance of the prior
        """
        A = np.hstack([self.U, *self.own])
        P = block_diag(np.diag(prior), *[Theta] * len(self.own))
        s2 = np.einsum("ij,jk,ik->i", self.U @ self.B, Theta, self.U @ self.B)
        root = np.linalg.cholesky(P + 1e-300 * np.eye(len(P)))
        R, y = A @ root, np.zeros(len(P))
        for _ in range(200):
            value, first, second = self.losses(R @ y, s2)
            g, H = R.T @ first + y, (R.T * second) @ R + np.eye(len(y))
            step = np.linalg.solve(H, g)
            size = min(1.0, 5.0 / np.abs(R @ step).max(initial=1e-9))
            y = y - size * step
            if np.abs(step).max() < 1e-12:
                break
        return root @ y, value.sum() + 0.5 * y @ y, H

    def deviance(self, Theta, prior, restricted=True):
        """Minus twice the approximate log-likelihood."""
        _, value, H = self.mode(Theta, prior)
        flat = np.flatnonzero(self.flat)
        if restricted:
            rest = -np.log(2 * np.pi * prior[flat]).sum()
        else:
            keep = np.setdiff1d(np.arange(len(H)), flat)
            H, rest = H[np.ix_(keep, keep)], 0.0
        return 2 * value + np.linalg.slogdet(H)[1] + rest
