"""Quadratics under linear constraints and balls |B_k x| <= r_k, by Newton's method.

With multipliers of the balls given (their tensions), a quadratic under linear rows is
left. The secular equation finds which balls bind; Newton steps on the optimality
conditions then leave only rounding. They also serve an answer of a conic solver.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from .active_set import solve_binding

_DENSE = 1500  # most unknowns of a dense system
_STEPS = 8
_ENOUGH = 1e-13  # relative residual at which to stop
_ROUNDS = 30  # most Newton steps in the multipliers
_NEAR = 1e-5  # relative distance from the balls from which the last steps converge
_THERE = 1e-10  # the same at which to stop where there are no last steps
_ACCEPT = 1e-9  # relative residual above which the answer is not taken


def fits(quadratic, rows):
    """Whether a problem is small enough for the dense systems of this file."""
    return quadratic.size <= _DENSE and rows.C.shape[0] <= 4 * _DENSE


def solve_balls(quadratic, rows, balls, radius, state, tensions, polished=True):
    """Minimise a quadratic under linear constraints and balls.

    Parameters
    ----------
    quadratic : Quadratic
    rows : object with `C`, `lower`, `upper`
        Linear constraints.
    balls : csr_array of shape (n_balls * size, n_unknowns)
    radius : ndarray of shape (n_balls,)
        Greater than 0.
    state : ndarray of shape (n_rows,), int8, or None
        Which rows are thought to bind.
    tensions : ndarray of shape (n_balls,) or None
        First guess of the balls' multipliers.
    polished : bool
        Whether the last steps are those of `polish`; without them Newton's method in
        the multipliers goes on to the end.

    Returns
    -------
    (x, multipliers, tensions, state, n_iter) or None
        None where it did not end at the solution.
    """
    secular = _Secular(quadratic, rows, balls, radius, state)
    tensions = np.zeros(len(radius)) if tensions is None else tensions
    here = secular.at(tensions)
    for n_iter in range(1, _ROUNDS + 1):
        if here is None:
            return None
        if here.near(radius, _NEAR if polished else _THERE):
            found = here.x, here.multipliers, here.tensions
            if not polished or not np.any(here.tensions):
                return (*found, secular.state, n_iter)
            # rows that depend on other ones have no multiplier
            binding = here.multipliers != 0
            better = polish(quadratic, rows, balls, radius, *found, binding)
            if better is not None:
                return (*better, secular.state, n_iter)
        here = climb(secular, here, _STEPS)
    return None


class _Secular:
    """The minimum of a quadratic under rows as a function of the balls' multipliers."""

    def __init__(self, quadratic, rows, balls, radius, state):
        self.quadratic, self.rows, self.state = quadratic, rows, state
        self.balls, self.radius = balls.tocsr(), radius
        self.balls.data[np.abs(self.balls.data) < 1e-15] = 0.0
        self.balls.eliminate_zeros()
        self.width = balls.shape[0] // len(radius)

    def at(self, tensions):
        """The minimum at some multipliers; None where there is none."""
        each = np.repeat(tensions / self.radius, self.width)
        bend = self.balls.T @ (sp.diags_array(each) @ self.balls)
        bent = replace(self.quadratic, Q=(self.quadratic.Q + bend).tocsr())
        rows = self.rows
        binding = solve_binding(bent, rows.C, rows.lower, rows.upper, self.state)
        if not binding.optimal:
            return None
        self.state = binding.state
        parts = (self.balls @ binding.x).reshape(len(tensions), -1)
        value = bent.value(binding.x) - 0.5 * float(tensions @ self.radius)
        return _Moment(binding, parts, tensions, value)

    def step(self, here):
        """Newton's change of the multipliers for r / |B x| = 1."""
        length = np.linalg.norm(here.parts, axis=1)
        tight, change = take_part(length, self.radius, here.tensions)
        if not len(tight):
            return change
        system, state = here.binding.system, here.binding.state
        solver = system.prepare(np.flatnonzero(state))
        short = np.zeros(np.count_nonzero(state))
        B = self.balls @ sp.diags_array(1.0 / system.size)
        ways = np.zeros((len(tight), len(system.size)))
        for i, k in enumerate(tight):
            own = B[k * self.width : (k + 1) * self.width]
            ways[i] = own.T @ here.parts[k]
        moved = np.array([solver(way, short)[0] for way in ways])
        # |B_k x|^2 falls by 2 ways . moved / r per unit of a multiplier
        slope = ways @ moved.T / self.radius[tight]
        slope *= (self.radius[tight] / length[tight] ** 3)[:, None]
        miss = self.radius[tight] / length[tight] - 1.0
        change[tight] = -np.linalg.lstsq(slope, miss, rcond=1e-12)[0]
        return change


class _Moment:
    """The minimum at some multipliers of the balls."""

    def __init__(self, binding, parts, tensions, value):
        self.binding, self.parts = binding, parts
        self.x, self.multipliers = binding.x, binding.multipliers
        self.tensions, self.value = tensions, value

    def near(self, radius, off_by):
        """Whether all balls are where they should be, nearly."""
        length = np.linalg.norm(self.parts, axis=1)
        return are_there(length, radius, self.tensions, off_by)


def polish(quadratic, rows, balls, radius, x, multipliers, tensions, binding=None):
    """Solve the optimality conditions from a point near their solution.

    Parameters
    ----------
    quadratic : Quadratic
    rows : object with `C`, `lower`, `upper`
        Linear constraints.
    balls : csr_array of shape (n_balls * size, n_unknowns)
    radius : ndarray of shape (n_balls,)
    x, multipliers, tensions : ndarray
        The point: unknowns, multipliers of the rows and of the balls.
    binding : ndarray of shape (n_rows,), bool, default=None
        Which rows bind; then those balls do that have a tension. By default what is
        nearer to its limit than its multiplier is to zero.

    Returns
    -------
    (x, multipliers, tensions) or None
        None where the steps did not end at a solution.
    """
    conditions = _Conditions(
        quadratic, rows, balls, radius, x, multipliers, tensions, binding
    )
    return conditions.solve()


class _Conditions:
    """Stationarity and the binding constraints, in scaled unknowns."""

    def __init__(
        self, quadratic, rows, balls, radius, x, multipliers, tensions, binding
    ):
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
            np.abs(multipliers).max(initial=0.0), tensions.max(initial=0.0), 1e-300
        )
        span = max(np.abs(reach).max(initial=0.0), radius.max(initial=0.0), 1e-300)
        near = slack / span < np.abs(multipliers) / level
        self.binding = np.flatnonzero(fixed | near if binding is None else binding)
        self.at = np.where(multipliers > 0, rows.upper, rows.lower)[self.binding]
        self.C = rows.C[self.binding].toarray() / self.size
        n = len(radius)
        self.B = balls.toarray().reshape(n, -1, len(x)) / self.size
        length = np.linalg.norm(self.B @ self.x, axis=1)
        tight = (radius - length) / span < tensions / level
        self.tight = np.flatnonzero(tight if binding is None else tensions > 0)
        self.y, self.mu = multipliers[self.binding], tensions[self.tight]

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
            here = np.concatenate([self.x, self.y, self.mu])
            step = _solve(K, -np.concatenate([left, short, off]), here)
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


def _solve(K, right, here):
    """Solve a system for a step from `here`, the shortest where it leaves some open.

    That is where balls, or rows and balls, say the same.
    """
    try:
        step = np.linalg.solve(K, right)
    except np.linalg.LinAlgError:
        step = np.full(len(right), np.nan)
    off = np.linalg.norm(K @ step - right)
    if off <= 1e-9 * np.linalg.norm(right) and not np.linalg.norm(
        step
    ) > 1e3 * np.linalg.norm(here):
        return step
    return np.linalg.lstsq(K, right, rcond=1e-14)[0]


# ---------------------------------------------------------------- the secular equation

# The minimum of a quadratic as a function of the multipliers of balls |v_k| <= r_k.
#
# It is concave, and Newton's method on r_k / |v_k| = 1, nearly linear in the
# multipliers, climbs it (the secular equation of More and Sorensen, SIAM J. Scientific
# and Statistical Computing 4, 1983).

_CENTRE = 1e-9  # share of the radius below which a point is at its ball's centre


def climb(problem, here, most):
    """A Newton step in the multipliers, shortened until the minimum does not fall.

    Parameters
    ----------
    problem : object
        `at(tensions)` is the minimum at some multipliers, or None; `step(here)`
        Newton's change of them.
    here : object with `tensions` and `value`
        As `at` returns it.
    most : int
        Most lengths that are tried.

    Returns
    -------
    ahead : as `at` returns it
    """
    change, ahead = problem.step(here), None
    for _ in range(most):
        ahead = problem.at(np.maximum(here.tensions + change, 0.0))
        if ahead is None or ahead.value >= here.value - 1e-10 * abs(here.value):
            break
        change = 0.3 * change
    return ahead


def take_part(length, radius, tensions):
    """Which balls a Newton step is about, and the change of the others' multipliers.

    What is at the centre has no direction in which to be held: a multiplier that is
    left from another quadratic goes to zero.

    Returns
    -------
    tight : ndarray of int
    change : ndarray of shape (n_balls,)
    """
    centred = length <= _CENTRE * radius
    tight = ((tensions > 0) | (length > radius)) & ~centred
    return np.flatnonzero(tight), np.where(centred, -tensions, 0.0)


def are_there(length, radius, tensions, off_by):
    """Whether all balls are where they should be: on the edge under a tension."""
    off = length / radius - 1.0
    return np.all(np.where(tensions > 0, np.abs(off), off) <= off_by)


# ---------------------------------------------------------------- tasks near a centre

# Quadratics of very many tasks none of which is far from a centre: |w_t - c| <= r_t.
#
# The secular equation, task by task: with the multipliers of the balls given, and the
# common part, the centre c and its equation kept apart, nothing ties the tasks. A
# Newton step in the multipliers is then a diagonal and what the few shared unknowns
# add.

_BORDER = 400  # most unknowns that are shared
_CLOSE_ROUNDS = 60
_CLOSE_STEPS = 12
_CLOSE_NEAR = 1e-11  # relative distance from the balls at which to stop


def solve_close(quadratic, balls, centre, radius, tensions):
    """Minimise a quadratic under |w_t - centre| <= radius_t for every task t.

    Parameters
    ----------
    quadratic : Quadratic
    balls : csr_array of shape (n_tasks * n_features, n_unknowns)
        The w_t.
    centre : csr_array of shape (n_features, n_unknowns)
    radius : ndarray of shape (n_tasks,)
        Greater than 0.
    tensions : ndarray of shape (n_tasks,) or None
        First guess of the multipliers.

    Returns
    -------
    (x, tensions, n_iter) or None
        None where the w_t are not unknowns themselves, or it did not end.
    """
    tails = _own_slots(quadratic, balls, len(radius))
    if tails is None:
        return None
    problem = _Close(quadratic, tails, centre, radius)
    tensions = np.zeros(len(radius)) if tensions is None else tensions
    here = problem.at(tensions)
    for n_iter in range(1, _CLOSE_ROUNDS + 1):
        if here.near(radius):
            return here.x, here.tensions, n_iter
        here = climb(problem, here, _CLOSE_STEPS)
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

    def at(self, tensions):
        """The minimum at some multipliers."""
        n, d, every = self.n, self.d, np.arange(self.d)
        stiff = tensions / self.radius
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
        return _CloseMoment(x, tensions, parts, length, value, P, PE, K)

    def step(self, here):
        """Newton's change of the multipliers for r / |w - c| = 1."""
        d, n = self.d, self.n
        tight, change = take_part(here.length, self.radius, here.tensions)
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


class _CloseMoment:
    """The minimum at some multipliers."""

    def __init__(self, x, tensions, parts, length, value, P, PE, K):
        self.x, self.tensions, self.value = x, tensions, value
        self.parts, self.length = parts, length
        self.P, self.PE, self.K = P, PE, K

    def near(self, radius):
        """Whether all tasks are where they should be."""
        return are_there(self.length, radius, self.tensions, _CLOSE_NEAR)
