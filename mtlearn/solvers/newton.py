"""Smooth loss + relation: semismooth Newton; the squared loss is its one-step case.

    minimise  L(X W + b) + 1/2 alpha Omega(W)  over W and the intercepts b,

L a weighted sum over observations. The certificate bounds the distance from the
minimum: Omega makes the objective strongly convex, so with g the gradient in the
coordinates of the form and the intercepts minimised out to second order,

    objective - minimum <= |g|_*^2 / (2 alpha) + 1/2 g_b' H_bb^-1 g_b.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import linalg

from ..losses import Logistic, Squared
from ..moments import TaskMoments
from ..relations import ArrowForm
from ..solution import Solution, Status
from ..tasks import gram_chunk
from .coupled import (
    Blocks,
    Change,
    conjugate_gradient,
    coupled_solver,
    factor_spd,
    ground,
    solve_spd,
)
from .least_squares import solve_augmented, solve_least_norm

INTERCEPTS = ("free", "shrunk", "shared", "none")
SOLVERS = ("auto", "newton-cholesky", "newton-dual", "newton-cg")

_GRAM_BYTES = 1 << 31  # blocks larger than this are never formed
_DUAL_ROWS = 6000
_COLLINEAR = 1e-11  # 1 - R^2 of a feature given others, at which moments are too coarse
_DEPENDENT = 1e-8  # the same without a penalty, which would hide what is lost
_REFINEMENTS = 4
_SEARCH_STEPS = 40


@dataclass
class State:
    """What changes from step to step.

    theta are the coordinates of the form; beta the intercepts that no penalty sees:
    (n_tasks, q) when free, (1, q) when shared or shrunk towards a common one.
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


# ---------------------------------------------------------------- the problem


class Problem:
    """Loss, rows, relation and intercept of one fit; knows no iteration.

    Coefficients are carried as W of shape (n_tasks, p): the q * d coefficients (class
    after class), then with shrunken intercepts the q deviations from the common one.
    """

    def __init__(self, data, loss, form, alpha, intercept):
        self.data, self.loss, self.form, self.alpha = data, loss, form, alpha
        self.intercept = intercept
        self.q, self.d = loss.n_scores, data.n_features
        self.y, self.weight = data.labels, data.weights
        self.n_coef = self.q * self.d
        self.p = self.n_coef + (self.q if intercept == "shrunk" else 0)
        self.n_free = {"free": data.n_tasks, "none": 0}.get(intercept, 1)

    def start(self, coef=None, intercept=None):
        """State of a given model, by default the zero model."""
        n = self.data.n_tasks
        W = np.zeros((n, self.p))
        beta = np.zeros((self.n_free, self.q))
        if coef is not None:
            W[:, : self.n_coef] = coef.reshape(n, -1)
            b = intercept.reshape(n, self.q)
            beta = b.copy() if self.intercept == "free" else b[:0]
            if self.n_free == 1 and self.intercept != "free":
                beta = b.mean(axis=0, keepdims=True)
                W[:, self.n_coef :] = (b - beta)[:, : self.p - self.n_coef]
        elif self.intercept == "free" and not isinstance(self.loss, Squared):
            beta = self._one_sided(beta)
        return State(self.form.coordinates(W), beta)

    def _one_sided(self, beta):
        """Start tasks with one class where the logistic loss is practically zero.

        Their loss has no minimum in a free intercept, only an infimum; from zero,
        Newton's method would walk there in unit steps.
        """
        if isinstance(self.loss, Logistic):
            total, size = self.data.sums(self.y), self.data.sizes
            one = (np.abs(total) == size) & (size > 0)
            beta[one, 0] = 20.0 * np.sign(total[one])
        return beta

    def model(self, state):
        """Coefficients (n_tasks, q * d) and intercepts (n_tasks, q) of a state."""
        W = self.form.lift(state.theta)
        b = W[:, self.n_coef :] if self.intercept == "shrunk" else 0.0
        if self.n_free:
            b = b + state.beta
        return W[:, : self.n_coef], np.broadcast_to(b, (self.data.n_tasks, self.q))

    def zeros(self):
        """Scores of the zero model."""
        return np.zeros(len(self.y) if self.q == 1 else (len(self.y), self.q))

    def scores(self, state):
        """Scores of all observations; linear in the state."""
        return self.apply(*self.model(state))

    def apply(self, W, b):
        """X W + b, of shape (n,) or (n, q)."""
        data, d = self.data, self.d
        columns = [data.forward(W[:, k * d : (k + 1) * d]) for k in range(self.q)]
        if self.intercept != "none":
            for k, z in enumerate(columns):
                z += np.repeat(b[:, k], data.sizes)
        return columns[0] if self.q == 1 else np.column_stack(columns)

    def carry(self, g):
        """Adjoint of `scores`: (n_tasks, p), and (n_tasks, q) for the intercepts."""
        columns = self._columns(g)
        G = np.concatenate([self.data.adjoint(column) for column in columns], axis=1)
        gb = self.sums(g)
        if self.intercept == "shrunk":
            G = np.concatenate([G, gb], axis=1)
        return G, gb

    def sums(self, g):
        """Sums over each task, (n_tasks, q); zero without intercepts."""
        if self.intercept == "none":
            return np.zeros((self.data.n_tasks, self.q))
        return np.column_stack([self.data.sums(column) for column in self._columns(g)])

    def _columns(self, g):
        if self.q == 1:
            return [g]
        return [np.ascontiguousarray(g[:, k]) for k in range(self.q)]

    def gather(self, per_task):
        """Per-task intercept quantities summed to the free unknowns they belong to."""
        if self.intercept in ("free", "none"):
            return per_task[: self.n_free]
        return per_task.sum(axis=0, keepdims=True)

    def bend(self, h, u):
        """Curvature times a change of the scores."""
        return h * u if self.q == 1 else np.einsum("ikl,il->ik", h, u)

    def intercept_curvature(self, h):
        """H_bb, one (q, q) block per free unknown, made definite."""
        q, data = self.q, self.data
        if self.n_free == 0:
            return np.zeros((0, q, q))
        flat = h.reshape(len(h), -1)
        sums = np.column_stack([data.sums(column) for column in flat.T])
        return ground(self.gather(sums.reshape(-1, q, q)))

    def penalty(self, state):
        """1/2 alpha Omega."""
        return 0.5 * self.alpha * np.vdot(state.theta, self.form.metric(state.theta))


# ---------------------------------------------------------------- from moments


def solve_moments(moments, form, alpha, *, intercept="free", tol=1e-8):
    """Minimise the squared loss plus 1/2 alpha Omega(W): one linear system.

    Parameters
    ----------
    moments : TaskMoments
    form, alpha, intercept, tol
        As in `solve_newton`; alpha may be 0.

    Returns
    -------
    Solution
        Its status is STALLED where the moments have lost the answer (columns collinear
        to eleven digits); solve from the rows then.
    """
    blocks, target, border_target = _normal_equations(moments, intercept)
    solver = coupled_solver(form, alpha)
    solver.update(blocks)
    border = blocks.each(blocks.border) if len(border_target) else None
    corner = blocks.total(blocks.corner)
    scale = moments.objective(np.zeros_like(moments.cross), 0.0)
    theta, beta = solver.solve(form.pull(target), border_target)
    history = []
    for n_iter in range(1, _REFINEMENTS + 1):
        W = form.lift(theta)
        pull = target - blocks.dot(blocks.hessian, W)
        if border is not None:
            pull -= border @ beta
        descent = form.pull(pull) - alpha * form.metric(theta)
        short, reduced, bound = border_target, descent, 0.0
        if border is not None:
            short = short - np.einsum("tpq,tp->q", border, W) - corner @ beta
            shift = np.linalg.solve(ground(corner), short)
            reduced = descent - form.pull(border @ shift)
            bound = 0.5 * float(short @ shift)
        step, beta_step = solver.solve(descent, short)
        if alpha > 0:
            bound += form.dual_norm2(reduced) / (2 * alpha)
        else:
            bound = 0.5 * float(np.vdot(descent, step) + short @ beta_step)
        coef, b = _from_extended(moments, W, beta, intercept)
        penalty = 0.5 * alpha * np.vdot(theta, form.metric(theta))
        value = moments.objective(coef, b) + float(penalty)
        history.append((value, bound / max(scale, 1e-300)))
        enough = goal(tol, scale, value)
        if bound <= 1e-3 * enough or n_iter == _REFINEMENTS:
            break
        theta, beta = theta + step, beta + beta_step
    coarse = _COLLINEAR if alpha > 0 else _DEPENDENT
    lost = solver.pivot < coarse or not bound <= enough
    status = Status.STALLED if lost else Status.CONVERGED
    certificate = bound / max(scale, 1e-300)
    return Solution(coef, b, value, certificate, n_iter, status, history=history)


def _normal_equations(moments, intercept):
    """Blocks and right-hand sides: (n_tasks, p) for the tasks, (q,) for the border."""
    first, which = np.arange(moments.n_tasks), None
    if len(moments.weight) < moments.n_tasks:
        # tasks with the same rows and the same weight share one block
        pairs = np.column_stack([moments.group, moments.scale])
        _, first, which = np.unique(
            pairs, axis=0, return_index=True, return_inverse=True
        )
        which = which.ravel()
    group, scale = moments.group[first], moments.scale[first]
    gram = (
        moments.gram
        if np.array_equal(group, np.arange(len(moments.gram)))
        else (moments.gram[group])
    )
    H = gram if np.all(scale == 1.0) else scale[:, None, None] * gram
    target = moments.scale[:, None] * moments.cross
    if intercept == "free":
        return Blocks(H, which=which), target, np.zeros(0)
    mass = scale * moments.weight[group]
    mean = moments.mean[group]
    column = mass[:, None] * mean
    H = H + column[:, :, None] * mean[:, None, :]
    each = moments.task_weights * moments.y_mean
    target = target + each[:, None] * moments.mean[moments.group]
    if intercept == "none":
        return Blocks(H, which=which), target, np.zeros(0)
    border, corner = column[:, :, None], mass[:, None, None]
    if intercept == "shrunk":
        H = np.block([[H, border], [border.transpose(0, 2, 1), corner]])
        border = np.concatenate([border, corner], axis=1)
        target = np.column_stack([target, each])
    return Blocks(H, border, corner, which), target, np.array([each.sum()])


def _from_extended(moments, W, beta, intercept):
    """Coefficients and intercepts of the unknowns of `_normal_equations`."""
    d = moments.cross.shape[1]
    coef = W[:, :d]
    if intercept == "free":
        mean = moments.mean[moments.group]
        return coef, moments.y_mean - np.einsum("tj,tj->t", mean, coef)
    b = np.zeros(len(W)) + (beta[0] if len(beta) else 0.0)
    return coef, b + W[:, d] if intercept == "shrunk" else b


# ---------------------------------------------------------------- which way


def in_row_space(solve, data, start):
    """Solve with features that are coordinates in the span of the rows, if fewer.

    The best coefficients of every loss and relation lie in that span, so nothing is
    lost; with fewer rows than features, and those rows common to all tasks, much is
    saved.

    Parameters
    ----------
    solve : callable
        From (data, start) to a Solution.
    data : TaskData
    start : (coef, intercept) or None

    Returns
    -------
    Solution
    """
    if data.sparse or not data.wide or data.X.shape[0] >= data.n_features:
        return solve(data, start)
    basis = linalg.qr(data.X.T, mode="economic")[0]
    if start is not None:
        start = np.ascontiguousarray(start[0] @ basis), start[1]
    reduced = replace(data, X=np.ascontiguousarray(data.X @ basis), _shared={})
    solution = solve(reduced, start)
    return replace(solution, coef=solution.coef @ basis.T)


def solve_squared(data, form, alpha, *, intercept, tol, max_iter, solver, start):
    """Squared loss: without a penalty, from moments, or from the rows.

    Parameters
    ----------
    data, form, alpha, intercept, tol, max_iter, solver, start
        As in `solve_newton`; alpha may be 0.

    Returns
    -------
    Solution
    """
    if alpha == 0:
        return _solve_unpenalised(data, form, intercept, tol)
    if solver == "auto":
        solver = choose_solver(data, 1, intercept, squared=True)
    if solver == "newton-cholesky":
        moments = TaskMoments.from_data(data)
        solution = solve_moments(moments, form, alpha, intercept=intercept, tol=tol)
        if solution.status is Status.CONVERGED:
            return solution
    options = {"intercept": intercept, "tol": tol, "solver": solver}
    solution = solve_newton(
        data, Squared(), form, alpha, max_iter=max_iter, start=start, **options
    )
    if solution.status is Status.CONVERGED:
        return solution
    start = solve_augmented(data, form, alpha, intercept=intercept)
    if start is None:
        return solution
    again = solve_newton(
        data, Squared(), form, alpha, max_iter=max_iter, start=start, **options
    )
    return min(solution, again, key=lambda s: s.objective)


def _solve_unpenalised(data, form, intercept, tol):
    """Least squares from moments, if they leave nothing open; else from the rows.

    Where every task's columns are independent the relation has no say.
    """
    pooled = isinstance(form, ArrowForm) and form.private == 0
    plain = "shared" if pooled else "free"
    if 8.0 * data.n_tasks * data.n_features**2 <= _GRAM_BYTES:
        solution = solve_moments(
            TaskMoments.from_data(data),
            ArrowForm(data.n_tasks, float(pooled), float(not pooled)),
            0.0,
            intercept=plain if intercept == "shrunk" else intercept,
            tol=tol,
        )
        if solution.status is Status.CONVERGED:
            return solution
    return solve_least_norm(data, form, intercept=intercept)


def choose_solver(data, q, intercept, squared=False):
    """Pick the way to solve a step by what it costs in flops and memory.

    Parameters
    ----------
    data : TaskData
    q : int
        Scores per observation.
    intercept : str
    squared : bool
        Whether curvature is constant, so that tasks with common rows share a block.
    """
    n_rows, d = data.X.shape
    n = n_rows * data.n_tasks if data.wide else n_rows
    p = q * (d + (intercept == "shrunk"))
    filled = data.X.nnz / max(1, n_rows) if data.sparse else d
    # passes over the rows run at the speed of memory, products at that of the processor
    cost = {"newton-cg": 20_000.0 * filled * n * q}
    common = squared and data.wide and bool(data.observed.all())
    blocks, reads = (1, n_rows) if common else (data.n_tasks, n)
    dense_copy = 8.0 * n_rows * d if data.sparse else 0.0
    if 8.0 * blocks * p * p + dense_copy <= _GRAM_BYTES:
        cost["newton-cholesky"] = float(reads) * p * p + float(blocks) * p**3
    if q == 1 and n <= _DUAL_ROWS:
        cost["newton-dual"] = n**3 / 3.0 + float(n) * n * min(filled, n) / 5
    return min(cost, key=cost.get)


# ---------------------------------------------------------------- the loop


def solve_newton(
    data,
    loss,
    form,
    alpha,
    *,
    intercept="free",
    tol=1e-8,
    max_iter=100,
    solver="auto",
    start=None,
):
    """Minimise a smooth loss plus 1/2 alpha Omega(W) by (semismooth) Newton steps.

    Parameters
    ----------
    data : TaskData
    loss : object of `mtlearn.losses`
    form : ArrowForm or MatrixForm
    alpha : float
        Strength, greater than 0.
    intercept : {"free", "shrunk", "shared", "none"}
    tol : float
        The certificate, a bound on the distance from the minimum, is compared with
        tol times the objective of the zero model, or a hundred times the objective
        itself, whichever is smaller.
    max_iter : int
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}
        How the linear system of a step is solved: blocks of the size of the features,
        of the rows, or matrix-free.
    start : (coef, intercept), default=None
        Where to begin; the zero model by default.

    Returns
    -------
    Solution
    """
    means = None
    if intercept == "free" and not data.sparse:
        data, means = data.centred()
    problem = Problem(data, loss, form, alpha, intercept)
    if solver == "auto":
        solver = choose_solver(data, problem.q, intercept)
    stepper = _STEPPERS[solver](problem)
    if start is not None:
        start = _shift(start, means, 1.0, problem.q)
    state = problem.start(*(start or ()))
    scale = loss.value(problem.y, problem.zeros(), problem.weight)
    state, value, bound, n_iter, status, history = _iterate(
        problem, stepper, state, scale, tol, max_iter
    )
    coef, b = problem.model(state)
    coef, b = _shift((coef, b), means, -1.0, problem.q)
    return Solution(
        *_shapes(coef, b, problem),
        value,
        bound / max(scale, 1e-300),
        n_iter,
        status,
        history=history,
    )


def _iterate(problem, stepper, state, scale, tol, max_iter):
    """Evaluate, certify, step, search, until the certificate says enough."""
    loss, y, weight = problem.loss, problem.y, problem.weight
    z, history, status = problem.scores(state), [], Status.MAX_ITER
    for n_iter in range(max_iter + 1):
        # 1) value, gradient, certificate
        value, g, h = loss.evaluate(y, z, weight)
        value += problem.penalty(state)
        gradient = _Gradient(problem, state, g, h)
        bound = gradient.bound(problem, h)
        history.append((value, bound / max(scale, 1e-300)))
        if bound <= goal(tol, scale, value):
            status = Status.CONVERGED
            break
        if n_iter == max_iter:
            break
        # 2) direction, and the exact minimum along it
        accuracy = bound / max(value, 1e-300)
        point = Point(state, z, g, h, gradient, accuracy)
        direction = stepper.direction(problem, point)
        dz = problem.scores(direction)
        step = line_search(problem, state, direction, z, dz, gradient)
        if step == 0.0:
            status = Status.STALLED
            break
        state = state.move(step, direction)
        # scores are summed up afresh now and then: rounding must not pile up
        z = problem.scores(state) if n_iter % 10 == 9 else z + step * dz
    return state, value, bound, max(n_iter, 1), status, history


def goal(tol, scale, value):
    """What the bound must reach.

    That is `tol` times the objective of the zero model; less where the objective itself
    is below a hundredth of that, so that the default is a millionth of it at most.
    """
    return tol * max(min(scale, 100.0 * value), 1e-7 * scale)


class _Gradient:
    """Gradient in all unknowns, and reduced to those of the form.

    Sets: coef (theta), beta (intercepts), corner (H_bb), shift (H_bb^-1 g_b).
    """

    def __init__(self, problem, state, g, h):
        G, gb = problem.carry(g)
        self.coef = problem.alpha * problem.form.metric(state.theta)
        self.coef += problem.form.pull(G)
        self.beta = problem.gather(gb)
        self.corner = problem.intercept_curvature(h)
        self.shift = np.zeros_like(self.beta)
        if problem.n_free:
            self.shift = np.linalg.solve(self.corner, self.beta[:, :, None])[:, :, 0]

    def reduced(self, problem, h):
        """Gradient in theta once the intercepts are minimised out."""
        if not problem.n_free or not np.any(self.shift):
            return self.coef
        per_task = np.broadcast_to(self.shift, (problem.data.n_tasks, problem.q))
        u = np.repeat(per_task, problem.data.sizes, axis=0)
        G, _ = problem.carry(problem.bend(h, u[:, 0] if problem.q == 1 else u))
        return self.coef - problem.form.pull(G)

    def bound(self, problem, h):
        """Distance from the minimum, at most (see the module's head)."""
        g = self.reduced(problem, h)
        inner = problem.form.dual_norm2(g) / (2 * problem.alpha)
        return inner + 0.5 * float(np.vdot(self.beta, self.shift))


def line_search(problem, state, direction, z, dz, gradient):
    """Minimise the convex objective along the direction by safeguarded Newton steps.

    Returns
    -------
    step : float
        0 where the direction does not descend in double precision.
    """
    loss, y, weight, alpha = problem.loss, problem.y, problem.weight, problem.alpha
    metric = problem.form.metric(direction.theta)
    omega1 = alpha * np.vdot(state.theta, metric)
    omega2 = alpha * np.vdot(direction.theta, metric)
    slope0 = np.vdot(gradient.coef, direction.theta) + np.vdot(
        gradient.beta, direction.beta
    )
    if not slope0 < 0:
        return 0.0
    low, high, step = 0.0, np.inf, 1.0
    for _ in range(_SEARCH_STEPS):
        _, slope, bend = loss.along(y, z, dz, weight, step)
        slope += omega1 + step * omega2
        bend += omega2
        if abs(slope) <= 0.05 * abs(slope0):
            return step
        low, high = (step, high) if slope < 0 else (low, step)
        step -= slope / bend if bend > 0 else 0.0
        if not low < step < high:
            step = 2 * low if high == np.inf else 0.5 * (low + high)
        if high - low <= 1e-12 * high:
            break
    return low


def _shift(model, means, sign, q):
    """Move intercepts between features as given and features with means taken out."""
    coef, b = model
    if means is None:
        return coef, b
    n, d = means.shape
    moved = np.einsum("tkd,td->tk", np.reshape(coef, (n, q, d)), means)
    return coef, np.reshape(b, (n, q)) + sign * moved


def _shapes(coef, b, problem):
    """coef_ and intercept_ as the user sees them."""
    n, q = problem.data.n_tasks, problem.q
    if q == 1:
        return coef.copy(), b[:, 0].copy()
    return coef.reshape(n, q, problem.d).copy(), b.copy()


# ---------------------------------------------------------------- a step, three ways


class CholeskyStep:
    """Blocks of the size of the features, kept where no row changed its curvature."""

    def __init__(self, problem):
        self.hessians = RowHessians(problem)
        self.solver = coupled_solver(problem.form, problem.alpha)

    def direction(self, problem, point):
        """Newton direction."""
        gradient = point.gradient
        change = self.hessians.compare(problem, point.h)
        full = self.hessians.full
        n_coef, form, intercept = problem.n_coef, problem.form, problem.intercept
        if intercept == "none":
            self.solver.update(Blocks(full), change)
            theta, _ = self.solver.solve(-gradient.coef, np.zeros(0))
            return State(theta, np.zeros_like(gradient.beta))
        change.refresh(change.count != 0)
        border = np.ascontiguousarray(full[:, :n_coef, n_coef:])
        if intercept == "free":
            self.solver.update(Blocks(full, own=problem.q), change)
            swept = np.linalg.solve(gradient.corner, border.transpose(0, 2, 1))
            shift = np.einsum("tpq,tq->tp", border, gradient.shift)
            theta, _ = self.solver.solve(form.pull(shift) - gradient.coef, np.zeros(0))
            moved = np.einsum("tqp,tp->tq", swept, form.lift(theta))
            return State(theta, -gradient.shift - moved)
        corner = full[:, n_coef:, n_coef:]
        if intercept == "shared":
            full = np.ascontiguousarray(full[:, :n_coef, :n_coef])
        else:
            border = np.ascontiguousarray(full[:, :, n_coef:])
        self.solver.update(Blocks(full, border, corner), change)
        theta, beta = self.solver.solve(-gradient.coef, -gradient.beta[0])
        return State(theta, beta[None, :])


class RowHessians:
    """X_t' D_t X_t per task (bordered by the intercept), updated row by row.

    Sparse features are made dense once: this way is only taken where that is small.
    """

    def __init__(self, problem):
        data, q = problem.data, problem.q
        self.q, self.d = q, problem.d
        self.width = problem.d + (problem.intercept != "none")
        self.place, self.starts = data.place, data.starts
        self.X = data.features.toarray() if data.sparse else data.features
        self.n_tasks = data.n_tasks
        self.pairs = [(k, m) for k in range(q) for m in range(k + 1)]
        n_pairs, n = len(self.pairs), len(self.place)
        self.parts = np.zeros((n_pairs, data.n_tasks, self.width, self.width))
        self.now = np.zeros((n_pairs, n))
        self.built = np.zeros((n_pairs, n))
        size = q * self.width
        self.full = self.parts[0] if q == 1 else np.zeros((data.n_tasks, size, size))

    def compare(self, problem, h):
        """Take curvature `h`; return the `Change` since the last call."""
        last = self.now[0]
        if self.q == 1:
            self.now = h[None]
            delta = h - last
            count = np.zeros(self.n_tasks, dtype=np.int64)
            _count_changes(delta, self.starts, count)
        else:
            self.now = np.array([h[:, k, m] for k, m in self.pairs])
            delta, count = last, np.full(self.n_tasks, -1)
        return Change(self.X, self.place, self.starts, delta, count, self.refresh)

    def refresh(self, todo):
        """Bring the blocks marked in `todo` to the curvature of the last `compare`."""
        if not todo.any():
            return
        for part, now, built in zip(self.parts, self.now, self.built, strict=True):
            _update_blocks(self.X, self.place, self.starts, now, built, part, todo)
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
        if problem.intercept == "shrunk":
            gram = gram + 1.0
        self.gram = gram * kernel[np.ix_(task, task)] / problem.alpha
        self.last, self.factor = None, None

    def direction(self, problem, point):
        """Newton direction."""
        form, state = problem.form, point.state
        a, beta = self._target(problem, point)
        pulled = form.pull(problem.carry(a)[0]) / problem.alpha
        if not isinstance(form, ArrowForm):
            pulled = form.kernel_dot(pulled)
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
        if not problem.n_free:
            return a, beta
        idle = np.bincount(self._owner(problem)[rest], a[rest], problem.n_free)[groups]
        level = solve_spd(corner, B.T @ a[active] + idle)
        a[active] -= swept @ level
        beta[groups, 0] = level - lent * idle
        return a, beta

    def _factorise(self, problem, h):
        """What depends on the curvature alone."""
        # saturated rows (logistic) have a gradient, but no curvature to speak of
        bends = h > 1e-13 * h.max()
        active, rest = np.flatnonzero(bends), np.flatnonzero(~bends)
        M = self.gram[np.ix_(active, active)]
        M[np.diag_indices(len(active))] += 1.0 / h[active]
        if not problem.n_free:
            return active, rest, _definite_solver(M), None, None, 0.0, None, None
        groups, group = np.unique(self._owner(problem)[active], return_inverse=True)
        B = np.zeros((len(active), len(groups)))
        B[np.arange(len(active)), group] = 1.0
        # centred rows leave Q no curvature along B; B'a is known, so lend it some
        lent = float(np.mean(np.diag(self.gram)))
        solve = _definite_solver(M + lent * (B @ B.T))
        swept = solve(B)
        corner = factor_spd(B.T @ swept)
        return active, rest, solve, groups, B, lent, swept, corner

    @staticmethod
    def _owner(problem):
        """Which unpenalised intercept each observation has."""
        if problem.intercept == "free":
            return problem.data.task_of
        return np.zeros(len(problem.y), dtype=np.intp)


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
        gradient, h, accuracy = point.gradient, point.h, point.accuracy
        precondition = self._diagonal(problem, h)
        still = np.zeros_like(gradient.beta)

        def curvature(theta):
            u = problem.scores(State(theta, still))
            u = u - self._level(problem, gradient, h, u)
            G, _ = problem.carry(problem.bend(h, u))
            return problem.alpha * problem.form.metric(theta) + problem.form.pull(G)

        forcing = max(1e-12, min(0.1, 0.3 * accuracy**0.5))
        rhs = -gradient.reduced(problem, h)
        theta = conjugate_gradient(
            curvature, rhs, precondition, tol=forcing, max_iter=1000
        )
        u = problem.scores(State(theta, still))
        moved = self._shift(problem, gradient, h, u)
        return State(theta, -gradient.shift - moved)

    def _shift(self, problem, gradient, h, u):
        """Change of the intercepts that cancels a change u of the scores best."""
        if not problem.n_free:
            return np.zeros_like(gradient.beta)
        moved = problem.gather(problem.sums(problem.bend(h, u)))
        return np.linalg.solve(gradient.corner, moved[:, :, None])[:, :, 0]

    def _level(self, problem, gradient, h, u):
        if not problem.n_free:
            return 0.0
        shift = self._shift(problem, gradient, h, u)
        per_task = np.broadcast_to(shift, (problem.data.n_tasks, problem.q))
        level = np.repeat(per_task, problem.data.sizes, axis=0)
        return level[:, 0] if problem.q == 1 else level

    def _diagonal(self, problem, h):
        """Preconditioner: every feature's own arrowhead, or diagonal of A."""
        form, alpha, q = problem.form, problem.alpha, problem.q
        diagonal = (
            [h] if q == 1 else [np.ascontiguousarray(h[:, k, k]) for k in range(q)]
        )
        bends = [self.squares.adjoint(column) for column in diagonal]
        if problem.intercept == "shrunk":
            bends += [self.squares.sums(column)[:, None] for column in diagonal]
        H = np.concatenate(bends, axis=1)
        if not isinstance(form, ArrowForm):
            bottom = alpha * form.precision.diagonal()[:, None] + H
            return lambda r: r / bottom
        a, b = form.shared, form.private
        bottom = alpha + b * b * H
        damped = alpha * H / bottom
        head = alpha + a * a * damped.sum(axis=0)

        def solve(r):
            out = np.empty_like(r)
            out[0] = (r[0] - a * b * (H / bottom * r[1:]).sum(axis=0)) / head
            out[1:] = (r[1:] - a * b * H * out[0]) / bottom
            return out

        return solve


_STEPPERS = {
    "newton-cholesky": CholeskyStep,
    "newton-dual": DualStep,
    "newton-cg": ConjugateStep,
}


# ---------------------------------------------------------------- one compiled pass


@njit(cache=True)
def _is_even(place, now, s, e):
    """Whether the rows s to e lie side by side and have one curvature."""
    for i in range(s, e):
        if place[i] != i or now[i] != now[s]:
            return False
    return True


@njit(cache=True)
def _count_changes(delta, starts, count):
    for t in range(starts.shape[0] - 1):
        for i in range(starts[t], starts[t + 1]):
            count[t] += delta[i] != 0.0


@njit(cache=True)
def _update_blocks(X, place, starts, now, built, blocks, todo):
    """Add the rows whose curvature changed, or build the block anew from all rows.

    A last column of ones is added where the blocks are wider than `X`. `built` holds
    the curvature that the blocks stand for, and becomes `now`.
    """
    d, width = X.shape[1], blocks.shape[1]
    chunk = gram_chunk(width)
    rows = np.ones((chunk, width))
    scaled = np.empty((chunk, width))
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
            block[:, :] = 0.0
        if rebuild and _is_even(place, now, s, e) and width == d:
            # the rows as they lie, without a copy: the first step of every fit
            for low in range(s, e, chunk):
                part = X[low : min(low + chunk, e)]
                block += now[s] * np.dot(part.T, part)
            built[s:e] = now[s:e]
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
                        block[j, d] += f
                        block[d, j] += f
                if width > d:
                    block[d, d] += c
                continue
            for j in range(d):
                rows[size, j] = row[j]
                scaled[size, j] = c * row[j]
            if width > d:
                scaled[size, d] = c
            size += 1
            if size == chunk:
                block += np.dot(scaled.T, rows)
                size = 0
        if size > 0:
            block += np.dot(scaled[:size].T, rows[:size])
