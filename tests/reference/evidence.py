"""The mixed model as one dense normal distribution of all labels: slow and plain."""

import numpy as np
from scipy.linalg import block_diag


class DenseModel:
    """y ~ N(F beta, s2 V) with all matrices written out.

    Parameters
    ----------
    U : list of ndarray of shape (n_t, q)
        Columns of the shared coefficients, task by task.
    y : list of ndarray of shape (n_t,)
    B : ndarray of shape (q, r)
        The tasks' own columns are U B.
    flat : ndarray of shape (q,), bool
    """

    def __init__(self, U, y, B, flat):
        self.blocks, self.B, self.flat = U, B, flat
        self.U, self.y = np.vstack(U), np.concatenate(y)

    def covariance(self, Theta, prior, log_noise=None):
        """V."""
        rho = np.zeros(len(self.blocks)) if log_noise is None else log_noise
        own = [
            np.exp(r) * np.eye(len(U)) + U @ self.B @ Theta @ self.B.T @ U.T
            for U, r in zip(self.blocks, rho)
        ]
        W = self.U[:, ~self.flat]
        return block_diag(*own) + (W * prior[~self.flat]) @ W.T

    def projection(self, V):
        """P = V^-1 less what the flat columns take."""
        inverse, F = np.linalg.inv(V), self.U[:, self.flat]
        if F.shape[1] == 0:
            return inverse
        return inverse - inverse @ F @ np.linalg.solve(F.T @ inverse @ F, F.T @ inverse)

    def deviance(self, Theta, prior, restricted=True, log_noise=None):
        """Minus twice the log-likelihood at the best s2, and that s2."""
        V, F = self.covariance(Theta, prior, log_noise), self.U[:, self.flat]
        left = self.y @ self.projection(V) @ self.y
        freedom, value = len(self.y), np.linalg.slogdet(V)[1]
        if restricted:
            freedom -= F.shape[1]
            value += np.linalg.slogdet(F.T @ np.linalg.solve(V, F))[1]
        noise = left / freedom
        return value + freedom * (np.log(2 * np.pi * noise) + 1.0), noise

    def within(self, P):
        """Each task's block of P, between the tasks' own columns."""
        edges = np.cumsum([0] + [len(U) for U in self.blocks])
        return [
            self.B.T @ U.T @ P[a:b, a:b] @ U @ self.B
            for U, a, b in zip(self.blocks, edges[:-1], edges[1:])
        ]


def differences(function, x, step=1e-5):
    """Central differences of a function of a vector."""
    out = np.empty(len(x))
    for j in range(len(x)):
        move = np.zeros(len(x))
        move[j] = step
        out[j] = (function(x + move) - function(x - move)) / (2 * step)
    return out
