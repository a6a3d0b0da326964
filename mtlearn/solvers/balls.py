"""The last digits where balls bind: Newton's method on the optimality conditions.

A conic solver leaves the binding rows and balls known and everything else right to a
few digits less than asked for. With binding rows as equations and binding balls as
|B_k x|^2 = r_k^2, a few Newton steps leave only rounding.
"""

import numpy as np
from scipy import linalg

_DENSE = 1500  # most unknowns of a dense system
_STEPS = 8
_ENOUGH = 1e-13  # relative residual at which to stop
_ACCEPT = 1e-9  # relative residual above which the answer is not taken


def polish(quadratic, rows, balls, radius, x, multipliers, pulls):
    """Solve the optimality conditions from a point near their solution.

    Parameters
    ----------
    quadratic : Quadratic
    rows : object with `C`, `lower`, `upper`
        Linear constraints.
    balls : csr_array of shape (n_balls * size, n_unknowns)
    radius : ndarray of shape (n_balls,)
    x, multipliers, pulls : ndarray
        The point: unknowns, multipliers of the rows and of the balls.

    Returns
    -------
    (x, multipliers, pulls) or None
        None where the steps did not end at a solution.
    """
    if quadratic.size > _DENSE or rows.C.shape[0] > 4 * _DENSE:
        return None
    conditions = _Conditions(quadratic, rows, balls, radius, x, multipliers, pulls)
    return conditions.solve()


class _Conditions:
    """Stationarity and the binding constraints, in scaled unknowns."""

    def __init__(self, quadratic, rows, balls, radius, x, multipliers, pulls):
        F, Q = quadratic.F.toarray(), quadratic.Q.toarray()
        self.size = np.sqrt(np.einsum("ij,ij->j", F, F) + np.diag(Q))
        self.size[self.size <= 0] = 1.0
        self.F, self.g = F / self.size, quadratic.g
        self.Q = Q / np.outer(self.size, self.size)
        self.c, self.x = quadratic.c / self.size, x * self.size
        self.H = self.F.T @ self.F + self.Q
        self.rows, self.radius = rows, radius
        reach = rows.C @ x
        slack = np.minimum(np.abs(rows.upper - reach), np.abs(reach - rows.lower))
        fixed = rows.lower == rows.upper
        level = max(
            np.abs(multipliers).max(initial=0.0), pulls.max(initial=0.0), 1e-300
        )
        span = max(np.abs(reach).max(initial=0.0), radius.max(initial=0.0), 1e-300)
        near = slack / span < np.abs(multipliers) / level
        self.binding = np.flatnonzero(fixed | near)
        self.at = np.where(multipliers > 0, rows.upper, rows.lower)[self.binding]
        self.C = rows.C[self.binding].toarray() / self.size
        n = len(radius)
        self.B = balls.toarray().reshape(n, -1, len(x)) / self.size
        length = np.linalg.norm(self.B @ self.x, axis=1)
        self.tight = np.flatnonzero((radius - length) / span < pulls / level)
        self.y, self.mu = multipliers[self.binding], pulls[self.tight]

    def residual(self):
        """Stationarity, rows and balls; also the balls' gradients."""
        parts = self.B[self.tight] @ self.x
        r = self.radius[self.tight]
        J = np.einsum("kij,ki->kj", self.B[self.tight], parts) / r[:, None]
        left = self.F.T @ (self.F @ self.x - self.g) + self.Q @ self.x - self.c
        left += self.C.T @ self.y + J.T @ self.mu
        off = 0.5 * (np.einsum("ki,ki->k", parts, parts) / r - r)
        return left, self.C @ self.x - self.at, off, J

    def solve(self):
        """Newton steps; None where they lead nowhere."""
        scale = np.abs(self.F.T @ self.g + self.c).max(initial=0.0) + 1e-300
        n, n_rows = len(self.x), len(self.binding)
        for _ in range(_STEPS):
            left, short, off, J = self.residual()
            r = self.radius[self.tight]
            B = (
                self.B[self.tight]
                * np.sqrt(np.maximum(self.mu, 0.0) / r)[:, None, None]
            )
            B = B.reshape(-1, n)
            A = np.vstack([self.C, J])
            K = np.block([[self.H + B.T @ B, A.T], [A, np.zeros((len(A), len(A)))]])
            try:
                step = linalg.solve(K, -np.concatenate([left, short, off]))
            except (linalg.LinAlgError, linalg.LinAlgWarning):
                return None
            self.x = self.x + step[:n]
            self.y = self.y + step[n : n + n_rows]
            self.mu = self.mu + step[n + n_rows :]
            if np.abs(step[:n]).max(initial=0.0) <= _ENOUGH * np.abs(self.x).max():
                break
        left, short, off, _ = self.residual()
        return self._answer() if self._holds(left, short, off, scale) else None

    def _holds(self, left, short, off, scale):
        """Whether this is the solution: conditions, signs, and everybody else."""
        if not np.all(np.isfinite(self.x)):
            return False
        rows, x = self.rows, self.x / self.size
        reach = rows.C @ x
        span = max(np.abs(reach).max(initial=0.0), self.radius.max(initial=0.0))
        out = np.maximum(reach - rows.upper, rows.lower - reach).max(initial=0.0)
        length = np.linalg.norm(self.B @ self.x, axis=1)
        out = max(out, (length - self.radius).max(initial=0.0))
        fixed = (rows.lower == rows.upper)[self.binding]
        upper = self.at == rows.upper[self.binding]
        wrong = np.where(upper, -self.y, self.y)[~fixed].max(initial=0.0)
        wrong = max(wrong, (-self.mu).max(initial=0.0))
        level = max(np.abs(self.y).max(initial=0.0), self.mu.max(initial=0.0), 1e-300)
        return (
            np.abs(left).max(initial=0.0) <= _ACCEPT * scale
            and out <= _ACCEPT * max(span, 1e-300)
            and wrong <= _ACCEPT * level
        )

    def _answer(self):
        y, mu = np.zeros(self.rows.C.shape[0]), np.zeros(len(self.radius))
        fixed = (self.rows.lower == self.rows.upper)[self.binding]
        upper = self.at == self.rows.upper[self.binding]
        signed = np.where(upper, np.maximum(self.y, 0), np.minimum(self.y, 0))
        y[self.binding] = np.where(fixed, self.y, signed)
        mu[self.tight] = np.maximum(self.mu, 0.0)
        return self.x / self.size, y, mu
