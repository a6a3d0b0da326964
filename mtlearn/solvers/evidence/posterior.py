"""What the rows say of coefficients and new labels, given the variances."""

from dataclasses import dataclass

import numpy as np

from ...problem.tasks import sort_codes
from .columns import Columns, Rows
from .passes import find_effects, label_variances


@dataclass(frozen=True)
class Posterior:
    """Coefficients of the tasks as normal variables, given the variances.

    Attributes
    ----------
    rows : Rows
        In units of each task's noise.
    columns : Columns
    varying : ndarray of shape (r,), int
        The raw columns that differ between tasks; n_features is the constant.
    basis : ndarray of shape (q, r)
    root : ndarray of shape (r, k)
        A root of the covariance of the deviations, over s2.
    beta : ndarray of shape (q,)
    spread : ndarray of shape (m, q)
        A root of the posterior covariance of beta, over s2.
    noise : float
        s2.
    ratio : ndarray of shape (n_tasks,)
        Noise variances of the tasks over s2.
    """

    rows: Rows
    columns: Columns
    varying: np.ndarray
    basis: np.ndarray
    root: np.ndarray
    beta: np.ndarray
    spread: np.ndarray
    noise: float
    ratio: np.ndarray

    @property
    def _lift(self):
        return np.ascontiguousarray(self.basis @ self.root)

    def effects(self):
        """Means of the deviations of all raw columns, and how much they are pooled.

        Returns
        -------
        effects : ndarray of shape (n_tasks, n_features + 1)
        pooled : ndarray of shape (n_features + 1,)
            Mean over the tasks of the posterior variance over the prior's; 1 where
            there is none.
        """
        rows, k = self.rows, self.root.shape[1]
        found, left = np.empty((len(rows.counts), k)), np.zeros((k, k))
        find_effects(
            rows.gram,
            rows.starts,
            rows.members,
            rows.cross,
            self._lift,
            self.beta,
            found,
            left,
        )
        width = len(self.columns.scale) + 1
        effects, pooled = np.zeros((len(found), width)), np.ones(width)
        effects[:, self.varying] = found @ self.root.T
        prior = (self.root**2).sum(axis=1)
        after = np.einsum("ik,kl,il->i", self.root, left, self.root) / len(found)
        some = prior > 0
        pooled[self.varying[some]] = after[some] / prior[some]
        return effects, pooled

    def effect_errors(self):
        """Standard errors of the deviations, (n_tasks, r), given the variances.

        They count that the shared coefficients are estimates, too.
        """
        rows, F = self.rows, self._lift
        out = np.empty((len(rows.gram), len(self.root)))
        for u, G in enumerate(rows.gram):
            X = F.T @ G
            half = np.linalg.solve(
                X @ F + np.eye(F.shape[1]), np.hstack([self.root.T, X @ self.spread.T])
            )
            own = np.einsum("ik,ki->i", self.root, half[:, : len(self.root)])
            lent = self.root @ half[:, len(self.root) :]
            out[u] = own + (lent**2).sum(axis=1)
        return np.sqrt(self.noise * out)[rows.group]

    def shared(self):
        """Means and covariance of the shared raw coefficients, the intercept last."""
        back = self.columns.back()
        m, lent = back @ self.beta, self.spread @ back.T
        m[-1] += self.columns.level
        return m, self.noise * lent.T @ lent

    def label_variance(self, X, codes):
        """Variances of new labels, (n_rows,).

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        codes : ndarray of shape (n_rows,), int
            Position of each row's task; n_tasks for a new one.
        """
        ratio = np.append(self.ratio, 1.0)[codes]
        return self.noise * ratio + self.score_variance(X, codes)

    def score_variance(self, X, codes):
        """Variances of the tasks' functions at rows, as `label_variance`."""
        rows, n_tasks = self.rows, len(self.ratio)
        seen, codes = np.unique(codes, return_inverse=True)
        order, starts = sort_codes(codes.astype(np.int64), len(seen))
        old = seen < n_tasks
        q = len(self.beta)
        gram = np.zeros((len(seen), q, q))
        gram[old] = rows.gram[rows.group[seen[old]]]
        sorted_, out = np.empty(len(X)), np.empty(len(X))
        U = np.ascontiguousarray(self.columns.of(X))
        label_variances(U, order, starts, gram, self._lift, self.spread, sorted_)
        out[order] = self.noise * sorted_
        return out
