r"""The likelihood where few of many columns differ between tasks.

Of a task no more is needed then than what its own columns Z_t have to do with all of
them: H_t = Z_t' U_t. With Theta = R R' and P_t = I + R' Z_t' Z_t R,

    sum_t Q_t = sum_t G_t - sum_t X_t' X_t,   X_t = P_t^-1/2 R' H_t,

so that a step costs r q^2 a task, not q^3.
"""

from dataclasses import dataclass

import numpy as np

from .profile import Evidence, Point, _products


class PartialEvidence(Evidence):
    """`Evidence` with steps that are cheap in the columns that are shared.

    Scores and information are those of the tasks' own columns: the basis of these is
    the identity.

    Parameters
    ----------
    rows : Rows
    lift : ndarray of shape (q, r)
        The columns that differ between tasks, by those of U.
    flat : ndarray of shape (q,), bool
    restricted : bool
    """

    def __init__(self, rows, lift, flat, restricted=True):
        super().__init__(rows, lift, flat, restricted)
        self.basis = np.eye(lift.shape[1])
        self.whole = np.tensordot(rows.times, rows.gram, 1)
        self.half = np.matmul(lift.T, rows.gram)
        self.own, self.own_cross = self.half @ lift, rows.cross @ lift

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
        rows, eye = self.rows, np.eye(root.shape[1])
        lower = np.linalg.cholesky(root.T @ self.own @ root + eye)
        logs = 2.0 * rows.times @ np.log(np.einsum("ukk->uk", lower)).sum(axis=1)
        lower = np.linalg.inv(lower) @ root.T
        taken = lower @ self.half
        z = np.einsum("tkr,tr->tk", lower[rows.group], self.own_cross)
        scaled = (taken * np.sqrt(rows.times)[:, None, None]).reshape(-1, len(prior))
        total = self.whole - scaled.T @ scaled
        target = rows.cross.sum(axis=0)
        target -= np.tensordot(_by_group(z, rows), taken, 2)
        found = z, lower, taken
        logs, explained = float(logs), float((z**2).sum())
        return self._profile(
            PartialPoint, rows, root, prior, logs, explained, total, target, found, None
        )


@dataclass
class PartialPoint(Point):
    """`Point` of a `PartialEvidence`.

    `inner` has each task's z = P_t^-1/2 R' Z_t' y_t, and each matrix's P^-1/2 R' and
    X; after `scores` `inner` are the Q*_t of the tasks' own columns and `pulled` their
    residuals.
    """

    def scores(self):
        """Sums over the tasks of Q*_t and of e_t e_t', (r, r) each; called once."""
        rows, evidence = self.rows, self.evidence
        z, lower, taken = self.inner
        lent = (lower @ evidence.own).transpose(0, 2, 1)
        half = evidence.half - lent @ taken
        known = half @ self.factor.T
        star = evidence.own - lent @ lent.transpose(0, 2, 1)
        star -= known @ known.transpose(0, 2, 1)
        e = evidence.own_cross - np.einsum("trk,tk->tr", lent[rows.group], z)
        e -= (half @ self.beta)[rows.group]
        self.inner, self.pulled = star, e
        return np.tensordot(rows.times, star, 1), e.T @ e

    def informations(self, B, near, pairs=None):
        """Expected and observed information of variances; after `scores`."""
        rows, blocks = self.rows, B.T @ self.inner @ B
        squares = _products(blocks, blocks, rows.times, pairs)
        if not near:
            return 0.5 * squares, None
        e = self.pulled @ B
        outers = _by_group(e[:, :, None] * e[:, None, :], rows)
        mixed = _products(blocks, outers, np.ones(len(blocks)), pairs) / self.noise
        return 0.5 * squares, mixed - 0.5 * squares


def _by_group(values, rows):
    """Sums over the tasks of each Gram matrix."""
    if len(values) == len(rows.gram):
        return values[rows.members]
    return np.add.reduceat(values[rows.members], rows.starts[:-1], axis=0)
