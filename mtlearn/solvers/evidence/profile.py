r"""The profiled likelihood of a linear mixed model, from per-task moments.

    y_t = U_t beta + Z_t v_t + e_t,   v_t ~ N(0, s2 Theta),   e_t ~ N(0, s2 r_t),
    beta_j ~ N(0, s2 prior_j), or flat,

where the columns of Z_t are combinations of those of U_t: Z_t = U_t B. With
Theta = R R', F = B R and P_t = I + F' G_t F, all that the likelihood needs of a task
is

    Q_t = U_t' V_t^-1 U_t = G_t - G_t F P_t^-1 F' G_t,   q_t = U_t' V_t^-1 y_t

of its moments G_t = U_t' U_t / r_t and c_t = U_t' y_t / r_t. A variance of zero is an
absent column of R: exact, and no special case.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from .columns import Rows
from .passes import pair_products, project, reduce_tasks

_DEPENDENT = 1e-9  # 1 - R^2 of a flat column given others, below which it has no say
LEAST_NOISE = 1e-8  # of the labels' squares: added to what is left of them
_NOISELESS = 10.0  # of what is always added
_ROUNDING = 1e-15  # of the labels' squares, in what is left of them
_TINY = 1e-300  # labels that are all alike leave nothing
OWN_NOISE = 4.0  # labels' worth of the common noise in every task's own


class Evidence:
    """Marginal likelihood as a function of the variances.

    Parameters
    ----------
    rows : Rows
    basis : ndarray of shape (q, r)
        B: the columns that differ between tasks, by those of U.
    flat : ndarray of shape (q,), bool
        Columns whose shared coefficients have no prior.
    restricted : bool
        Whether flat coefficients are integrated out (REML) or maximised (ML).

    least_noise : float
        Part of the labels' squares that is added to what is left of them.
    spent : float
        Labels that the noise is not judged by, at most half of them: a prior, by which
        a model of many variances is not taken in by few rows.

    Attributes
    ----------
    lift : ndarray of shape (q, r)
        The basis that was given.
    basis : ndarray of shape (r, r)
        That of scores and informations, which are of the tasks' own columns.
    raw : ndarray of shape (r,)
        Squares of the columns that differ between tasks, over all rows.
    """

    secants = False  # whether the information leaves something to learn from steps
    ridge = 1e-9  # of the information in a step, where variances cannot be told apart

    def __init__(
        self, rows, basis, flat, restricted=True, least_noise=LEAST_NOISE, spent=0.0
    ):
        self.rows, self.restricted, self.least_noise = rows, restricted, least_noise
        self.lift, self.basis = basis, np.eye(basis.shape[1])
        total = rows.total
        self.raw = np.einsum("ij,ij->j", basis, total @ basis)
        self.flat = flat & _independent(total, flat)
        self.open = self.flat | ~flat
        self.n_flat = int(self.flat.sum())
        freedom = rows.count - (self.n_flat if restricted else 0)
        self.spent = min(spent, 0.5 * max(freedom, 0.0))
        self.freedom = freedom - self.spent

    def at(self, root, prior, log_noise=None):
        """The likelihood where Theta = root root' and shared variances are `prior`.

        Parameters
        ----------
        root : ndarray of shape (r, k)
        prior : ndarray of shape (q,)
            Variances of the shared coefficients, not used where they are flat.
        log_noise : ndarray of shape (n_tasks,), default=None
            Logarithms of the r_t.

        Returns
        -------
        Point
        """
        rows, logs = self.rows, 0.0
        if log_noise is not None:
            rows = rows.weighted(np.exp(-log_noise))
            apart = OWN_NOISE * (log_noise + np.expm1(-log_noise))
            logs = float(rows.counts @ log_noise + apart.sum())
        inner, pulled = np.empty_like(rows.gram), np.empty_like(rows.cross)
        F = np.ascontiguousarray(self.lift @ root)
        more, explained = reduce_tasks(
            rows.gram, rows.starts, rows.members, rows.cross, F, inner, pulled
        )
        total, target = np.tensordot(rows.times, inner, 1), pulled.sum(axis=0)
        logs += more
        return self._profile(
            Point, rows, root, prior, logs, explained, total, target, inner, pulled
        )

    def _profile(
        self, kind, rows, root, prior, logs, explained, total, target, inner, pulled
    ):
        """The point of what the tasks leave: shared coefficients and the noise."""
        spread, log_det = shared_posterior(total, prior, self.flat, self.open)
        beta = spread.T @ (spread @ target)
        left = rows.square - explained - float(target @ beta)
        left = max(left, 0.0) + self.least_noise * self.rows.square + _TINY
        noise = left / self.freedom
        rounding = _ROUNDING * (self.freedom * self.rows.square / left)
        lent = spread
        if not self.restricted:
            lent, log_det = shared_posterior(
                total, prior, np.zeros_like(self.flat), ~self.flat
            )
        deviance = logs + log_det
        deviance += self.freedom * (np.log(2 * np.pi * noise) + 1.0)
        return kind(
            self,
            rows,
            root,
            deviance,
            rounding + 1e-13 * max(abs(deviance), rows.count),
            noise,
            beta,
            spread,
            lent,
            total,
            target,
            inner,
            pulled,
        )


@dataclass
class Point:
    """The likelihood at given variances.

    Attributes
    ----------
    rows : Rows
        Those of the evidence, each divided by its r_t.
    root : ndarray of shape (r, k)
    deviance : float
        Minus twice the log-likelihood, all constants included.
    rounding : float
        What the deviance may be wrong by.
    noise : float
        s2.
    beta : ndarray of shape (q,)
    spread : ndarray of shape (m, q)
        N; the posterior covariance of beta is s2 N' N.
    factor : ndarray of shape (m, q)
        The same; without REML of the coefficients that have a prior, the others given.
    total : ndarray of shape (q, q)
        Sum of the Q_t.
    target : ndarray of shape (q,)
        Sum of the q_t.
    inner : ndarray of shape (n_groups, q, q)
        Q_t; after `scores` the Q*_t of the tasks' own columns, (n_groups, r, r).
    pulled : ndarray of shape (n_tasks, q)
        q_t; after `scores` the residuals of the same, (n_tasks, r).
    """

    evidence: Evidence
    rows: Rows
    root: np.ndarray
    deviance: float
    rounding: float
    noise: float
    beta: np.ndarray
    spread: np.ndarray
    factor: np.ndarray
    total: np.ndarray
    target: np.ndarray
    inner: np.ndarray
    pulled: np.ndarray

    @property
    def full_rows(self):
        """`Rows` with all moments of each task."""
        return self.rows

    @property
    def likelihood(self):
        """Minus twice the log-likelihood, where the deviance has a prior in it."""
        return self.deviance + self.evidence.spent * np.log(2 * np.pi * self.noise)

    @property
    def noiseless(self):
        """Whether next to nothing is left of the labels but what is always added."""
        least = self.evidence.least_noise * self.evidence.rows.square
        return self.noise * self.evidence.freedom < _NOISELESS * least

    def scores(self):
        """Sums over the tasks of Q*_t and of e_t e_t', (r, r) each; called once.

        Of B' Q*_t B, Q*_t = Q_t - Q_t N' N Q_t, and e_t = B' (q_t - Q_t beta).
        """
        rows, inner, lift = self.rows, self.inner, self.evidence.lift
        residuals = self.pulled - (inner @ self.beta)[rows.group]
        own = np.empty((len(inner), lift.shape[1], lift.shape[1]))
        project(inner, self.factor, np.ascontiguousarray(lift.T), own)
        self.inner, self.pulled = own, residuals @ lift
        return np.tensordot(rows.times, own, 1), self.pulled.T @ self.pulled

    def shared_squares(self):
        """Squares of the shared coefficients' scores, (q,)."""
        return (self.target - self.total @ self.beta) ** 2 / self.noise

    def informations(self, B, near, pairs=None):
        """Expected and observed information of variances; after `scores`.

        Parameters
        ----------
        B : ndarray of shape (r, m)
            Columns whose variances they are, by the tasks' own.
        near : bool
            Whether the observed one is wanted.
        pairs : tuple of ndarray, default=None
            Moves of a whole covariance, as `pair_products` wants them.

        Returns
        -------
        expected, observed : ndarray of shape (m, m), or None
            Half the curvature of the deviance, in the mean and as it is, where s2 is
            held.
        """
        rows, blocks, e = self.rows, self.inner, self.pulled
        if B is not self.evidence.basis:
            blocks, e = B.T @ blocks @ B, e @ B
        squares = _products(blocks, blocks, rows.times, pairs)
        if not near:
            return 0.5 * squares, None
        outers = sum_by_group(e[:, :, None] * e[:, None, :], rows)
        mixed = _products(blocks, outers, np.ones(len(blocks)), pairs) / self.noise
        return 0.5 * squares, mixed - 0.5 * squares


def sum_by_group(values, rows):
    """Sums over the tasks of each Gram matrix."""
    if len(values) == len(rows.gram):
        return values[rows.members]
    return np.add.reduceat(values[rows.members], rows.starts[:-1], axis=0)


def _products(blocks, others, times, pairs):
    """Sums of times_u tr(E_a Q_u E_b K_u), E_a the moves of variances or of pairs."""
    if pairs is None:
        return np.einsum("u,uij,uij->ij", times, blocks, others)
    out = np.zeros((len(pairs[0]), len(pairs[0])))
    pair_products(blocks, others, times, pairs, out)
    return np.triu(out) + np.triu(out, 1).T


def shared_posterior(total, prior, flat, open_):
    """Root of the covariance of the shared coefficients, and log |its scaled inverse|.

    In units of the prior's standard deviations, so that a variance of zero holds its
    coefficient at zero; `open_` are the coefficients that take part.
    """
    scale = np.where(flat, 1.0, np.sqrt(np.where(open_, prior, 0.0)))
    H = scale[:, None] * total * scale + np.diag(np.where(flat, 0.0, 1.0))
    if not np.all(np.diag(H) > 0):
        raise linalg.LinAlgError("rounding is all that is left of a column")
    size = np.sqrt(np.diag(H))
    lower = linalg.cholesky(H / np.outer(size, size), lower=True)
    N = linalg.solve_triangular(lower, np.diag(scale / size), lower=True)
    N = np.ascontiguousarray(N)  # one memory order, one compiled pass
    return N, 2.0 * float(np.log(np.diag(lower)).sum() + np.log(size).sum())


def _independent(total, flat):
    """Flat columns that are no combinations of those before them, the last one first.

    The last column is the constant: what does not vary depends on it.
    """
    size = np.sqrt(np.diag(total))
    scaled = total / np.maximum(np.outer(size, size), 1e-300)
    chosen = np.zeros(len(total), dtype=bool)
    for j in np.flatnonzero(flat & (size > 0))[::-1]:
        rest = 1.0
        if chosen.any():
            block, side = scaled[np.ix_(chosen, chosen)], scaled[chosen, j]
            rest -= side @ linalg.solve(block, side, assume_a="pos")
        chosen[j] = rest > _DEPENDENT
    return chosen
