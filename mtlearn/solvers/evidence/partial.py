r"""The likelihood where few of many columns differ between tasks.

Of a task no more is needed then than what its own columns Z_t have to do with all of
them: H_t = Z_t' U_t. With Theta = R R' and P_t = I + R' Z_t' Z_t R,

    sum_t Q_t = sum_t G_t - sum_t X_t' X_t,   X_t = P_t^-1/2 R' H_t,

so that a step costs r q^2 a task, not q^3.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .profile import Evidence, Point, sum_by_group


class OwnMoments(NamedTuple):
    """Moments of the tasks in their own columns Z = U B, and of all rows in U."""

    half: np.ndarray  # B' G_t, (n_groups, r, q)
    own: np.ndarray  # B' G_t B, (n_groups, r, r)
    cross: np.ndarray  # Z_t' y_t, (n_tasks, r)
    total: np.ndarray  # (q, q)
    target: np.ndarray  # (q,)


class Eliminated(NamedTuple):
    """What is left of `OwnMoments` when the tasks' deviations are taken out."""

    logs: float  # sum of log |P_t|
    total: np.ndarray  # sum of the Q_t, (q, q)
    target: np.ndarray  # sum of the q_t, (q,)
    inverse: np.ndarray  # P_t^-1/2, (n_groups, k, k)
    lower: np.ndarray  # P_t^-1/2 R', (n_groups, k, r)
    taken: np.ndarray  # X_t, (n_groups, k, q)
    z: np.ndarray  # P_t^-1/2 R' Z_t' y_t, (n_tasks, k)


def eliminate(moments, rows, root):
    """The `Eliminated` of `OwnMoments` whose matrices have the groups of `rows`."""
    eye, q = np.eye(root.shape[1]), len(moments.total)
    P = np.linalg.cholesky(root.T @ moments.own @ root + eye)
    logs = 2.0 * float(rows.times @ np.log(np.einsum("ukk->uk", P)).sum(axis=1))
    inverse = np.linalg.inv(P)
    lower = inverse @ root.T
    taken = lower @ moments.half
    scaled = taken
    if len(rows.times) < len(rows.group):  # tasks that have a matrix in common
        scaled = taken * np.sqrt(rows.times)[:, None, None]
    scaled = scaled.reshape(-1, q)
    total = moments.total - scaled.T @ scaled
    found = Eliminated(logs, total, None, inverse, lower, taken, None)
    return again(moments, rows, found)


def again(moments, rows, found):
    """What is left of other labels of the same rows."""
    z = np.einsum("tkr,tr->tk", found.lower[rows.group], moments.cross)
    target = moments.target - np.tensordot(sum_by_group(z, rows), found.taken, 2)
    return found._replace(target=target, z=z)


class PartialEvidence(Evidence):
    """`Evidence` with steps that are cheap in the columns that are shared.

    Parameters
    ----------
    rows : Rows
    lift : ndarray of shape (q, r)
        B: the columns that differ between tasks, by those of U.
    half : ndarray of shape (n_groups, r, q)
        B' G_t.
    settings : as `Evidence` has them
    """

    def __init__(self, rows, lift, half, *settings):
        super().__init__(rows, lift, *settings)
        own, cross, sums = _times(half, lift), rows.cross @ lift, rows.cross.sum(axis=0)
        self.moments = OwnMoments(half, own, cross, rows.total, sums)

    def at(self, root, prior, log_noise=None):
        """The likelihood where Theta = root root' and shared variances are `prior`.

        Parameters
        ----------
        root : ndarray of shape (r, k)
        prior : ndarray of shape (q,)
        log_noise : None

        Returns
        -------
        PartialPoint
        """
        found = eliminate(self.moments, self.rows, root)
        explained = float((found.z**2).sum())
        left = found.logs, explained, found.total, found.target
        inner = self.moments, found
        return self._profile(PartialPoint, self.rows, root, prior, *left, inner, None)


@dataclass
class PartialPoint(Point):
    """`Point` of a `PartialEvidence`.

    Before `scores` `inner` has the `OwnMoments` and what is left of them.
    """

    def scores(self):
        """Sums over the tasks of Q*_t and of e_t e_t', (r, r) each; called once."""
        rows, (moments, found) = self.rows, self.inner
        lent = (found.lower @ moments.own).transpose(0, 2, 1)
        # coefficients that the prior holds at zero have no part in the others' errors
        alive = np.flatnonzero(self.factor.any(axis=0) | (self.beta != 0))
        half = moments.half[:, :, alive] - lent @ found.taken[:, :, alive]
        root = self.factor[:, alive]
        known = _times(half, root[root.any(axis=1)].T)
        star = moments.own - lent @ lent.transpose(0, 2, 1)
        star -= known @ known.transpose(0, 2, 1)
        e = moments.cross - np.einsum("trk,tk->tr", lent[rows.group], found.z)
        e -= (half @ self.beta[alive])[rows.group]
        self.inner, self.pulled = star, e
        return np.tensordot(rows.times, star, 1), e.T @ e


def _times(blocks, matrix):
    """All blocks times one matrix, in a single product."""
    n, r, q = blocks.shape
    return (blocks.reshape(n * r, q) @ matrix).reshape(n, r, -1)
