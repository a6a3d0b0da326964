"""One Newton step, three ways: by blocks of features, of rows, or matrix-free."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import linalg

from ...moments import GRAM_BYTES
from ...problem.losses import Logistic, Softmax
from ...problem.tasks import gram_chunk
from ...problem.threads import OWN_THREADS, WORTH, in_threads, task_ranges
from ..linalg import add_scaled, conjugate_gradient, factor_spd, solve_spd
from .coupled import Blocks, Change, coupled_solver

SOLVERS = ("auto", "newton-cholesky", "newton-dual", "newton-cg")
_DUAL_ROWS = 6000
_DEAR = 96  # unknowns of a task from which blocks are dearer than products with rows
_FEW, _MANY = 8, 14  # products after which other blocks are made next time, or at once


@dataclass
class State:
    """What changes from step to step.

    theta are the coordinates of the form; beta the intercepts that no penalty sees, as
    `FreeUnknowns` has them.
    """

    theta: np.ndarray
    beta: np.ndarray

    def move(self, step, direction):
        """Return the state after `step` times the direction."""
        return State(
            self.theta + step * direction.theta, self.beta + step * direction.beta
        )


class Point(NamedTuple):
    """What a step may look at: where we are, and the derivatives there."""

    state: State
    z: np.ndarray
    g: np.ndarray
    h: np.ndarray
    gradient: object
    accuracy: float


def choose_solver(data, q, intercept, squared=False):
    """Pick the way to solve a step by what it costs in flops and memory.

    Parameters
    ----------
    data : TaskData
    q : int
        Scores per observation.
    intercept : Intercepts
    squared : bool
        Whether curvature is constant, so that tasks with common rows share a block.
    """
    n_rows, d = data.X.shape
    n = n_rows * data.n_tasks if data.wide else n_rows
    p = q * (d + intercept.shrunk)
    filled = data.X.nnz / max(1, n_rows) if data.sparse else d
    # passes over the rows run at the speed of memory, products at that of the processor
    cost = {"newton-cg": 20_000.0 * filled * n * q}
    blocks, reads = (1, n_rows) if squared and data.common else (data.n_tasks, n)
    dense_copy = 8.0 * n_rows * d if data.sparse else 0.0
    if 8.0 * blocks * p * p + dense_copy <= GRAM_BYTES:
        cost["newton-cholesky"] = float(reads) * p * p + float(blocks) * p**3
    if q == 1 and n <= _DUAL_ROWS:
        cost["newton-dual"] = n**3 / 3.0 + float(n) * n * min(filled, n) / 5
    return min(cost, key=cost.get)


class CholeskyStep:
    """Blocks of the size of the features, kept where no row changed its curvature."""

    def __init__(self, problem):
        self.hessians = RowHessians(problem)
        self.solver = coupled_solver(problem.form, problem.alpha)

    def direction(self, problem, point):
        """Newton direction."""
        return fresh_step(self.hessians, self.solver, problem, point)


def fresh_step(hessians, solver, problem, point):
    """Newton direction by the `RowHessians` as they are at a point."""
    change = hessians.compare(problem, point.h)
    return block_step(solver, problem, point.gradient, hessians.full, change)


def block_step(solver, problem, gradient, full, change=None):
    """Newton direction by the Hessians of the tasks.

    Parameters
    ----------
    solver : object of `coupled_solver`
    problem : Unknowns
    gradient : Gradient
    full : ndarray of shape (n_tasks, size, size)
        Coefficients class after class, then intercepts.
    change : Change, default=None
        How the Hessians differ from the last call's; None where nothing is kept.
    """
    n_coef, form, intercept = problem.n_coef, problem.form, problem.intercept
    if not intercept.present:
        solver.update(Blocks(full), change)
        theta, _ = solver.solve(-gradient.coef, np.zeros(0))
        return State(theta, np.zeros_like(gradient.beta))
    if change is not None:
        change.refresh(change.count != 0)
    border = np.ascontiguousarray(full[:, :n_coef, n_coef:])
    if problem.free.separate:
        solver.update(Blocks(full, own=problem.q), change)
        swept = np.linalg.solve(gradient.corner, border.transpose(0, 2, 1))
        shift = np.einsum("tpq,tq->tp", border, gradient.shift)
        theta, _ = solver.solve(form.adjoint(shift) - gradient.coef, np.zeros(0))
        moved = np.einsum("tqp,tp->tq", swept, form.lift(theta))
        return State(theta, -gradient.shift - moved)
    unit = intercept.unit
    corner = full[:, n_coef:, n_coef:] / unit**2
    if intercept.shrunk:
        border = np.ascontiguousarray(full[:, :, n_coef:] / unit)
    else:
        full = np.ascontiguousarray(full[:, :n_coef, :n_coef])
    rules = problem.free.rules
    solver.update(Blocks(full, border, corner, rules=rules), change)
    theta, beta = solver.solve(-gradient.coef, -gradient.beta[0])
    return State(theta, beta[None, :])


class RowHessians:
    """X_t' D_t X_t per task (bordered by the constant), updated row by row.

    Sparse features are made dense once: this way is only taken where that is small.
    """

    def __init__(self, problem):
        data, q = problem.data, problem.q
        self.q, self.d = q, problem.d
        self.width = problem.d + problem.intercept.present
        self.place, self.starts = data.place, data.starts
        self.X = data.features.toarray() if data.sparse else data.features
        self.n_tasks = data.n_tasks
        self.pairs = [(k, m) for k in range(q) for m in range(k + 1)]
        n_pairs, n = len(self.pairs), len(self.place)
        self.parts = np.zeros((n_pairs, data.n_tasks, self.width, self.width))
        self.now = np.zeros((n_pairs, n))
        self.built = np.zeros((n_pairs, n))
        self.delta = np.empty(n) if q == 1 else None
        entries = n * self.width if self.width <= OWN_THREADS else 0
        self.ranges = task_ranges(self.starts, entries > WORTH)
        self.constant = problem.intercept.unit
        size = q * self.width
        self.full = self.parts[0] if q == 1 else np.zeros((data.n_tasks, size, size))

    def compare(self, problem, h):
        """Take curvature `h`; return the `Change` since the last call."""
        last = self.now[0]
        if self.q == 1:
            self.now = h[None]
            delta = np.subtract(h, last, out=self.delta)
            count = self._count(delta != 0.0)
        else:
            self.now = np.array([h[:, k, m] for k, m in self.pairs])
            delta, count = last, np.full(self.n_tasks, -1)
        rows = self.X, self.place, self.starts
        return Change(*rows, delta, count, self.constant, self.refresh)

    def _count(self, changed):
        """How many are true of each task."""
        count, some = np.zeros(self.n_tasks, dtype=np.int64), np.diff(self.starts) > 0
        begins = self.starts[:-1][some]
        count[some] = np.add.reduceat(changed, begins, dtype=np.int64)
        return count

    def refresh(self, todo):
        """Bring the blocks marked in `todo` to the curvature of the last `compare`."""
        if not todo.any():
            return
        for part, now, built in zip(self.parts, self.now, self.built, strict=True):

            def some(tasks, now=now, built=built, part=part):
                own = slice(*tasks)
                rows = self.X, self.place, self.starts[own.start : own.stop + 1]
                shape = 2, gram_chunk(self.width), self.width
                buffer = np.full(shape, self.constant)
                _update_blocks(*rows, buffer, now, built, part[own], todo[own])

            in_threads(some, self.ranges)
        if self.q > 1:
            self._assemble()

    def _assemble(self):
        """Blocks of all classes: coefficients class after class, then intercepts."""
        q, d = self.q, self.d
        one = [
            np.r_[k * d : (k + 1) * d, np.arange(q * d + k, q * d + k + self.width - d)]
            for k in range(q)
        ]
        for part, (k, m) in zip(self.parts, self.pairs, strict=True):
            self.full[:, one[k][:, None], one[m]] = part
            self.full[:, one[m][:, None], one[k]] = part


class DualStep:
    """A system of the size of the rows with curvature: for wide dense data.

    With Q = X K X' / alpha the step ends at weights K X' a / alpha where, on the rows
    with curvature h,

        (Q + 1 / h) a + b = z - g / h - Q_rest a_rest,   a_rest = -g_rest,

    and a sums to zero over every unpenalised intercept b. The weights are computed from
    `a` afresh, not as a correction, so that a tiny alpha costs no digits.
    """

    def __init__(self, problem):
        data = problem.data
        X = data.features
        rows = X @ X.T
        rows = rows.toarray() if data.sparse else rows
        place, task = data.place, data.task_of
        kernel = problem.form.kernel()
        gram = rows[np.ix_(place, place)] if data.wide else rows
        if problem.intercept.shrunk:
            gram = gram + problem.intercept.square
        self.gram = gram * kernel[np.ix_(task, task)] / problem.alpha
        self.rules = problem.form.intercept_map(problem.intercept)
        self.last, self.factor = None, None

    def direction(self, problem, point):
        """Newton direction."""
        form, state = problem.form, point.state
        a, beta = self._target(problem, point)
        pulled = form.inverse_metric(form.adjoint(problem.carry(a)[0])) / problem.alpha
        return State(pulled - state.theta, beta - state.beta)

    def _target(self, problem, point):
        """Dual variables and intercepts at the end of the step."""
        g, h, beta = point.g, point.h, point.state.beta.copy()
        if self.last is None or not np.array_equal(h, self.last):
            self.last, self.factor = h, self._factorise(problem, h)
        active, rest, solve, groups, B, lent, swept, corner = self.factor
        a = -g
        right = point.z[active] - g[active] / h[active]
        if np.any(a[rest]):
            right = right - self.gram[np.ix_(active, rest)] @ a[rest]
        a[active] = solve(right)
        if groups is None:
            return a, beta
        task = problem.data.task_of
        idle = self.rules[:, groups].T @ np.bincount(
            task[rest], a[rest], problem.data.n_tasks
        )
        level = solve_spd(corner, B.T @ a[active] + idle)
        a[active] -= swept @ level
        beta.ravel()[groups] = level - lent * idle
        return a, beta

    def _factorise(self, problem, h):
        """What depends on the curvature alone."""
        # saturated rows (logistic) have a gradient, but no curvature to speak of
        bends = h > 1e-13 * h.max(initial=0.0)
        active, rest = np.flatnonzero(bends), np.flatnonzero(~bends)
        M = self.gram[np.ix_(active, active)]
        M[np.diag_indices(len(active))] += 1.0 / h[active]
        if not problem.free or not len(active):
            return active, rest, _definite_solver(M), None, None, 0.0, None, None
        B = self.rules[problem.data.task_of[active]]
        groups = np.unique(B.indices)
        B = B[:, groups].toarray()
        # centred rows leave Q no curvature along B; B'a is known, so lend it some
        lent = float(np.mean(np.diag(self.gram)))
        solve = _definite_solver(M + lent * (B @ B.T))
        swept = solve(B)
        corner = factor_spd(B.T @ swept)
        return active, rest, solve, groups, B, lent, swept, corner


def _definite_solver(M):
    """Solve with a matrix that is positive definite up to rounding."""
    jitter = 0.0
    diagonal = np.diag_indices(len(M))
    while True:
        try:
            factor = linalg.cho_factor(M, lower=True, check_finite=False)
            break
        except linalg.LinAlgError:
            jitter = max(10 * jitter, 1e-15 * len(M) * float(M[diagonal].max()))
            M[diagonal] += jitter
    return lambda rhs: linalg.cho_solve(factor, rhs, check_finite=False)


class ConjugateStep:
    """Matrix-free: conjugate gradients to the accuracy that the step deserves.

    The preconditioner is the system of the Hessians' diagonals: an arrowhead for every
    feature by itself, eliminated exactly.
    """

    def __init__(self, problem):
        self.squares = problem.data.squared()

    def direction(self, problem, point):
        """Inexact Newton direction, the more exact the closer the minimum is."""
        return self.follow(problem, point, self._diagonal(problem, point.h))

    def follow(self, problem, point, precondition, max_iter=1000):
        """The direction that conjugate gradients find with a preconditioner.

        Sets `n_products`, how many products with the rows that took.
        """
        gradient, h, accuracy = point.gradient, point.h, point.accuracy
        still, self.n_products = np.zeros_like(gradient.beta), 0

        def curvature(theta):
            self.n_products += 1
            u = problem.scores(State(theta, still))
            if problem.free:
                u = u - problem.spread(self._shift(problem, gradient, h, u))
            G, _ = problem.carry(problem.bend(h, u))
            return problem.alpha * problem.form.metric(theta) + problem.form.adjoint(G)

        forcing = max(1e-12, min(0.1, 0.3 * accuracy**0.5))
        rhs = -gradient.reduced
        theta = conjugate_gradient(curvature, rhs, precondition, forcing, max_iter)
        u = problem.scores(State(theta, still))
        moved = self._shift(problem, gradient, h, u)
        return State(theta, -gradient.shift - moved)

    def _shift(self, problem, gradient, h, u):
        """Change of the intercepts that cancels a change u of the scores best."""
        if not problem.free:
            return np.zeros_like(gradient.beta)
        moved = problem.free.gather(problem.sums(problem.bend(h, u)))
        return np.linalg.solve(gradient.corner, moved[:, :, None])[:, :, 0]

    def _diagonal(self, problem, h):
        """Preconditioner: the system of every feature by itself."""
        q = problem.q
        diagonal = (
            [h] if q == 1 else [np.ascontiguousarray(h[:, k, k]) for k in range(q)]
        )
        bends = [self.squares.adjoint(column) for column in diagonal]
        if problem.intercept.shrunk:
            square = problem.intercept.square
            sums = self.squares.sums
            bends += [square * sums(column)[:, None] for column in diagonal]
        H = np.concatenate(bends, axis=1)
        return problem.form.solve_features(problem.alpha, H)


class LazyStep(ConjugateStep):
    """Conjugate gradients, preconditioned by the blocks of an earlier step.

    Blocks of many features cost more than several products with the rows. Those of an
    earlier step of the same rows serve as long as few products do: along a path of
    strengths, too, where this goes on from fit to fit.
    """

    def __init__(self):
        self.hessians = self.arrow = None
        self.stale = True

    @staticmethod
    def suits(data, loss, form):
        """Whether curvatures change smoothly, and blocks are dear."""
        smooth = isinstance(loss, Logistic | Softmax) and form.arrow is not None
        return smooth and not data.wide and loss.n_scores * data.n_features > _DEAR

    def direction(self, problem, point):
        """Newton direction, exact with new blocks."""
        if self.stale or problem.form.arrow != self.arrow:
            return self._renew(problem, point)
        found = self.follow(problem, point, self._earlier(problem), _MANY)
        if self.n_products == _MANY:
            return self._renew(problem, point)
        self.stale = self.n_products > _FEW
        return found

    def _earlier(self, problem):
        """Preconditioner: the earlier blocks, intercepts in the unit of now."""
        blocks, none = self.solver, np.zeros(self.solver.blocks.border.shape[2])
        scale = np.ones(problem.p)
        scale[problem.n_coef :] = self.hessians.constant / problem.intercept.unit
        return lambda r: scale * blocks.solve(scale * r, none)[0]

    def _renew(self, problem, point):
        unit = problem.intercept.unit
        if self.hessians is None or unit != self.hessians.constant:
            self.hessians = RowHessians(problem)
        self.stale, self.arrow = False, problem.form.arrow
        self.solver = coupled_solver(problem.form, problem.alpha)
        return fresh_step(self.hessians, self.solver, problem, point)


STEPPERS = {
    "newton-cholesky": CholeskyStep,
    "newton-dual": DualStep,
    "newton-cg": ConjugateStep,
}


# ---------------------------------------------------------------- one compiled pass


@njit(cache=True, nogil=True)
def _update_blocks(X, place, starts, buffer, now, built, blocks, todo):
    """Add the rows whose curvature changed, or build the block anew from all rows.

    A last column is added where the blocks are wider than `X`: the constant in that of
    `buffer`. `built` holds the curvature that the blocks stand for, and becomes `now`.
    """
    d, width = X.shape[1], blocks.shape[1]
    rows, scaled, one = buffer[0], buffer[1], buffer[0, 0, -1]
    chunk, product = rows.shape[0], np.empty((width, width))
    for t in range(starts.shape[0] - 1):
        if not todo[t]:
            continue
        s, e = starts[t], starts[t + 1]
        different, active = 0, 0
        for i in range(s, e):
            different += now[i] != built[i]
            active += now[i] != 0.0
        if different == 0:
            continue
        block = blocks[t]
        rebuild = different >= active
        if rebuild:
            for j in range(width):
                for k in range(width):
                    block[j, k] = 0.0
        even = rebuild and width == d
        for i in range(s, e if even else s):
            even = even and place[i] == i and now[i] == now[s]
        if even:
            # the rows as they lie, without a copy: the first step of every fit
            for low in range(s, e, chunk):
                part = X[low : min(low + chunk, e)]
                np.dot(part.T, part, product)
                add_scaled(product, now[s], block)
            for i in range(s, e):
                built[i] = now[i]
            continue
        few = width <= 16 or (not rebuild and 3 * different <= width)
        size = 0
        for i in range(s, e):
            c = now[i] if rebuild else now[i] - built[i]
            built[i] = now[i]
            if c == 0.0:
                continue
            row = X[place[i]]
            if few:
                # short or few rows: a product of their own costs less than a buffer
                for j in range(d):
                    f = c * row[j]
                    for k in range(d):
                        block[j, k] += f * row[k]
                    if width > d:
                        block[j, d] += one * f
                        block[d, j] += one * f
                if width > d:
                    block[d, d] += one * one * c
                continue
            for j in range(d):
                rows[size, j] = row[j]
                scaled[size, j] = c * row[j]
            if width > d:
                scaled[size, d] = one * c
            size += 1
            if size == chunk:
                np.dot(scaled.T, rows, product)
                add_scaled(product, 1.0, block)
                size = 0
        if size > 0:
            np.dot(scaled[:size].T, rows[:size], product)
            add_scaled(product, 1.0, block)
