"""A noise of its own for every task."""

import numpy as np

from .profile import OWN_NOISE

_LONGEST = 2.0  # step of a logarithm
_RIDGE = 1e-9


class OwnNoise:
    """The likelihood around the logarithms of the tasks' noise variances.

    Every task counts `OWN_NOISE` labels of the common noise beside its own: few labels
    say little of a variance, and the likelihood of a single one has no maximum.

    Parameters
    ----------
    point : Point
        After its `scores`.
    log_noise : ndarray of shape (n_tasks,)
        Logarithms of the tasks' variances over the common one.
    """

    def __init__(self, point, log_noise):
        self.log_noise = log_noise
        freedom, squares = _residuals(point)
        prior = OWN_NOISE * np.exp(-log_noise)
        self.slope = freedom - squares / point.noise + OWN_NOISE - prior
        self.own, self.prior = 0.5 * np.maximum(freedom, 0.0), 0.5 * prior
        self.common = 0.5 * point.evidence.freedom
        self.slack = float(np.abs(self.slope).max())

    def move(self, damping):
        """New logarithms, and what the deviance gains by them to first order."""
        info = (self.own + self.prior) * (1.0 + damping)
        step, shift = -0.5 * self.slope / info, self.own / info
        # if all rise together, s2 falls by as much: what is left is the prior
        step += (
            shift
            * (self.own @ step)
            / max(self.common - self.own @ shift, _RIDGE * self.common)
        )
        step = np.clip(step, -_LONGEST, _LONGEST)
        return self.log_noise + step, float(self.slope @ step)


def _residuals(point):
    """Freedom and squares of each task's residuals: what its noise is judged by.

    With r_t = y_t - U_t beta: tr V_t^-1 - tr M U_t' V_t^-2 U_t and r_t' V_t^-2 r_t, in
    units of the task's noise.
    """
    rows, N = point.rows, point.factor
    F = point.evidence.lift @ point.root
    X = F.T @ rows.gram
    P = X @ F + np.eye(F.shape[1])
    inverse = np.linalg.inv(P)
    lent = X @ N.T
    halved = inverse @ lent
    shared = np.einsum("mi,tij,mj->t", N, rows.gram, N, optimize=True)
    shared -= (lent * halved).sum(axis=(1, 2)) + (halved**2).sum(axis=(1, 2))
    traces = np.einsum("tii->t", inverse)
    freedom = rows.counts - F.shape[1] + traces - shared
    Gb = rows.gram @ point.beta
    squares = rows.squares + np.einsum("tq,q->t", Gb - 2.0 * rows.cross, point.beta)
    z = (rows.cross - Gb) @ F
    solved = np.einsum("tij,tj->ti", inverse, z)
    return freedom, squares - (z * solved).sum(axis=1) - (solved**2).sum(axis=1)
