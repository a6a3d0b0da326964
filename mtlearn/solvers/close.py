"""Quadratics of very many tasks none of which is far from a centre: |w_t - c| <= r_t.

The secular equation (`secular`), task by task: with the multipliers of the balls given,
and the common part, the centre c and its equation kept apart, nothing ties the tasks. A
Newton step in the multipliers is then a diagonal and what the few shared unknowns add.
"""

import numpy as np
import scipy.sparse as sp

from .secular import are_there, climb, take_part

_BORDER = 400  # most unknowns that are shared
_ROUNDS = 60
_STEPS = 12
_NEAR = 1e-11  # relative distance from the balls at which to stop


def solve_close(quadratic, balls, centre, radius, pulls):
    """Minimise a quadratic under |w_t - centre| <= radius_t for every task t.

    Parameters
    ----------
    quadratic : Quadratic
    balls : csr_array of shape (n_tasks * n_features, n_unknowns)
        The w_t.
    centre : csr_array of shape (n_features, n_unknowns)
    radius : ndarray of shape (n_tasks,)
        Greater than 0.
    pulls : ndarray of shape (n_tasks,) or None
        First guess of the multipliers.

    Returns
    -------
    (x, pulls, n_iter) or None
        None where the w_t are not unknowns themselves, or it did not end.
    """
    tails = _own_slots(quadratic, balls, len(radius))
    if tails is None:
        return None
    problem = _Close(quadratic, tails, centre, radius)
    pulls = np.zeros(len(radius)) if pulls is None else pulls
    here = problem.at(pulls)
    for n_iter in range(1, _ROUNDS + 1):
        if here.near(radius):
            return here.x, here.pulls, n_iter
        here = climb(problem, here, _STEPS)
        if not np.isfinite(here.value):
            return None
    return None


def _own_slots(quadratic, balls, n_balls):
    """Unknowns of each task, where the balls speak of those; else None."""
    if quadratic.shape is None:
        return None
    n_slots, width = quadratic.shape
    first = n_slots - n_balls
    shared = first * width + quadratic.size - n_slots * width
    if first < 0 or shared + 2 * width > _BORDER:
        return None
    tails = np.arange(first * width, n_slots * width).reshape(n_balls, width)
    n_features = balls.shape[0] // n_balls
    balls = sp.csr_array(balls)
    balls.eliminate_zeros()
    single = np.all(np.diff(balls.indptr) == 1) and np.all(balls.data == 1.0)
    if not single or not np.array_equal(balls.indices, tails[:, :n_features].ravel()):
        return None
    return tails if _apart(quadratic, tails) else None


def _apart(quadratic, tails):
    """Whether neither rows nor Omega tie one task to another."""
    width, start, stop = tails.shape[1], tails[0, 0], tails[-1, -1] + 1
    Q = quadratic.Q[start:stop, start:stop].tocoo()
    if np.any(Q.row // width != Q.col // width):
        return False
    F = quadratic.F[:, start:stop]
    slot, filled = F.indices // width, np.flatnonzero(np.diff(F.indptr))
    starts = F.indptr[:-1][filled]
    least = np.minimum.reduceat(slot, starts) if len(filled) else slot
    most = np.maximum.reduceat(slot, starts) if len(filled) else slot
    return bool(np.all(least == most))


class _Close:
    """The minimum of the quadratic as a function of the balls' multipliers."""

    def __init__(self, quadratic, tails, centre, radius):
        self.quadratic, self.tails, self.radius = quadratic, tails, radius
        self.centre, self.d = centre, centre.shape[0]
        n_tasks, width = tails.shape
        self.head = np.setdiff1d(np.arange(quadratic.size), tails.ravel())
        H = (quadratic.F.T @ quadratic.F + quadratic.Q).tocsr()
        start, stop = tails[0, 0], tails[-1, -1] + 1
        inner = H[start:stop, start:stop].tocoo()
        self.blocks = np.zeros((n_tasks, width, width))
        at = inner.row // width, inner.row % width, inner.col % width
        self.blocks[at] = inner.data
        # shared unknowns: the head, the centre, and the price of its equation
        n = self.n = len(self.head)
        m = n + 2 * self.d
        self.E = np.zeros((n_tasks, width, m))
        meet = H[self.head][:, start:stop].toarray().reshape(n, n_tasks, width)
        self.E[:, :, :n] = meet.transpose(1, 2, 0)
        own = centre[:, start:stop].toarray().reshape(self.d, n_tasks, width)
        self.E[:, :, n + self.d :] = own.transpose(1, 2, 0)
        self.K = np.zeros((m, m))
        self.K[:n, :n] = H[self.head][:, self.head].toarray()
        across, every = centre[:, self.head].toarray(), np.arange(self.d)
        self.K[n + self.d :, :n], self.K[:n, n + self.d :] = across, across.T
        self.K[n + self.d + every, n + every] = -1.0
        self.K[n + every, n + self.d + every] = -1.0
        self.f = quadratic.F.T @ quadratic.g + quadratic.c

    def at(self, pulls):
        """The minimum at some multipliers."""
        n, d, every = self.n, self.d, np.arange(self.d)
        stiff = pulls / self.radius
        blocks, E, K = self.blocks.copy(), self.E.copy(), self.K.copy()
        blocks[:, every, every] += stiff[:, None]
        E[:, every, n + every] = -stiff[:, None]
        K[n + every, n + every] = stiff.sum()
        P = np.linalg.inv(blocks)
        PE = P @ E
        K -= np.einsum("tij,tik->jk", E, PE, optimize=True)
        f = self.f[self.tails]
        right = np.zeros(len(K))
        right[:n] = self.f[self.head]
        right -= np.einsum("tij,ti->j", PE, f)
        z = np.linalg.solve(K, right)
        x = np.zeros(len(self.f))
        x[self.head] = z[:n]
        x[self.tails] = (P @ f[:, :, None])[:, :, 0] - PE @ z
        parts = x[self.tails][:, :d] - self.centre @ x
        length = np.linalg.norm(parts, axis=1)
        value = self.quadratic.value(x)
        value += 0.5 * float(stiff @ (length**2 - self.radius**2))
        return _Moment(x, pulls, parts, length, value, P, PE, K)

    def step(self, here):
        """Newton's change of the multipliers for r / |w - c| = 1."""
        d, n = self.d, self.n
        tight, change = take_part(here.length, self.radius, here.pulls)
        parts, length = here.parts[tight], here.length[tight]
        P = here.P[tight][:, :d, :d]
        own = np.einsum("ti,tij,tj->t", parts, P, parts, optimize=True)
        shared = np.einsum("tij,ti->tj", here.PE[tight][:, :d], parts)
        shared[:, n : n + d] += parts
        radius = self.radius[tight]
        right = -(radius / length - 1.0) * length**3 / radius
        # the diagonal, and what the shared unknowns add (Woodbury)
        scaled = shared / own[:, None]
        push = np.linalg.solve(here.K + shared.T @ scaled, scaled.T @ right)
        change[tight] = (right / own - scaled @ push) * radius
        return change


class _Moment:
    """The minimum at some multipliers."""

    def __init__(self, x, pulls, parts, length, value, P, PE, K):
        self.x, self.pulls, self.value = x, pulls, value
        self.parts, self.length = parts, length
        self.P, self.PE, self.K = P, PE, K

    def near(self, radius):
        """Whether all tasks are where they should be."""
        return are_there(self.length, radius, self.pulls, _NEAR)
