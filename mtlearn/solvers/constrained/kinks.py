"""Losses with kinks + relation + constraints: a method of multipliers.

An outer step minimises the envelope of the loss around the current multipliers of its
rows (`mtlearn.solvers.margins.envelope`), smooth and piecewise quadratic, by semismooth
Newton steps under the constraints. Only rows at a kink bend: each step is a quadratic
of these few, and a linear term for all others.

The certificate is a duality gap. With beta the rows' multipliers and r what is left of
the Lagrangian's gradient, alpha Omega(W) - X' beta + what the constraints give back,

    objective - minimum <= sum loss(z) + conjugate(-beta) + beta z + sum |y| slack
                           + r' (alpha Omega)^-1 r / 2

if beta adds up to zero over the rows of every intercept.
"""

from dataclasses import replace

import numpy as np

from ...problem.baseline import base_objective
from ...problem.solution import Status, goal
from ...problem.tasks import TaskData
from ..margins.envelope import Envelope
from ..margins.multipliers import Levels
from ..related.newton import Problem, State
from .squares import Inner, search, stay_sparse, weighted

_INNER = 0.3  # share of an outer step's progress that its inner problem may lack
_STEPS = 60  # Newton steps of one inner problem, at most
# growth of the penalties after an inner problem of at most so many steps
_PACE = ((4, 8.0), (10, 4.0), (20, 2.0), (_STEPS, 0.7))
_SHARP = 4.0  # first penalty over weight, times the size of the scores
_SHARPEST = 1e7  # penalties, over the first ones, beyond which rounding is felt
_TIRED = 6  # outer steps without a better gap after which nothing is to be hoped for
_LENT = 1e-3  # of the penalty, to the rows of intercepts that nothing bends
_BEYOND = 0.1  # share of the tolerance that is aimed at: the last digits are cheap
_FEW = 5_000  # rows of which they cost next to nothing


def solve_constrained_kinks(
    data, loss, form, alpha, limits, *, intercept, tol, max_iter, options
):
    """Minimise the hinge or epsilon-insensitive loss + relation under constraints.

    Parameters
    ----------
    data : TaskData
    loss : MarginLoss
    form : ArrowForm or MatrixForm
    alpha : float
        Greater than 0.
    limits : Limits
    intercept : Intercepts
    tol : float
        What the certificate must reach, relative to the best model without
        features.
    max_iter : int
        Most updates of the multipliers.
    options : dict
        Keywords of cvxpy's ``Problem.solve``, where it is needed.

    Returns
    -------
    ConstrainedSolution

    Raises
    ------
    Infeasible
        If no coefficients obey the constraints.
    """
    sparse = stay_sparse(data, form, limits)
    inner = Inner(
        form, intercept, data.n_features, alpha, limits, options, sparse, explicit=True
    )
    box = loss.box(data.labels, data.weights)
    zeros = np.zeros(len(box.linear))
    zero = max(Envelope(box, zeros, zeros).excess(zeros, zeros)[0], 1e-300)
    scale = base_objective(data, loss, form, intercept, zero)
    level = 1.0 if loss.of_classes else np.sqrt(np.mean(data.labels**2)) or 1.0
    run = _Run(inner, data, box, _SHARP / level)
    status = run.solve(tol, scale, max_iter)
    coef, b = run.model()
    return inner.solution(
        run.point,
        coef,
        b,
        run.value,
        run.gap / scale,
        len(run.history),
        status,
        [(value, gap / scale) for value, gap in run.history],
        run.x,
    )


class _Run:
    """Unknowns x with scores z, multipliers beta of the rows, and the gap of both."""

    def __init__(self, inner, data, box, sharpness):
        self.inner, self.data, self.box = inner, data, box
        self.y, self.weight = data.labels, data.weights
        self.sharpness = self.first = sharpness
        # a row that weighs nothing has no multiplier, whatever its penalty
        self.unit = np.where(self.weight > 0, self.weight, 1.0)
        self.loss = Envelope(box, np.zeros(len(self.y)), sharpness * self.unit)
        problem = Problem(data, self.loss, inner.form, inner.alpha, inner.intercept)
        self.levels, self.history = Levels(problem), []
        # the least squares fit of the labels is a start that obeys the constraints
        start = weighted(data, self.y, self.weight)
        self.point = inner.solve(inner.factors(start))
        self.x = self.point.x
        self.modelled, self.whole, self.stuck = np.zeros(len(self.y)), False, False
        self._look()

    def model(self):
        """Coefficients and intercepts."""
        return self.point.quadratic.model(self.x)

    def solve(self, tol, scale, max_iter):
        """Outer steps until the gap is small enough; returns a Status.

        Of few rows the last digits cost next to nothing: they are had, as far as
        rounding allows.
        """
        best, idle = None, 0
        cheap = len(self.y) <= _FEW and not self.inner.limits.callables
        beyond = 1e-3 if cheap else _BEYOND
        for _ in range(max_iter):
            aim = goal(tol, scale, self.value)
            steps = self._minimise(beyond * aim)
            self.history.append((self.value, self.gap))
            idle = 0 if best is None or self.gap < 0.9 * best[0] else idle + 1
            if best is None or self.gap <= best[0]:
                best = self.gap, self.value, self.x, self.point
            if self.gap <= beyond * aim or idle >= _TIRED:
                break
            self._update(steps)
        self.gap, self.value, self.x, self.point = best
        if self.gap <= goal(tol, scale, self.value):
            return Status.CONVERGED
        return Status.STALLED if idle >= _TIRED else Status.MAX_ITER

    def _update(self, steps):
        """The next multipliers, and penalties that suit the effort of these."""
        growth = next(factor for most, factor in _PACE if steps <= most)
        growth = 0.1 if self.stuck else growth
        self.sharpness = min(self.sharpness * growth, _SHARPEST * self.first)
        self.loss = Envelope(self.box, self.beta, self.sharpness * self.unit)
        self.levels.problem.loss = self.loss
        self._look()

    def _minimise(self, aim):
        """Newton steps on the envelope; returns how many."""
        moves = True
        for steps in range(_STEPS):
            moved = self.beta - self.loss.centre
            progress = 0.5 * float(moved @ (moved / self.loss.penalty))
            enough = self.left <= max(_INNER * progress, 1e-4 * aim)
            self.stuck = not moves and not enough
            if self.gap <= aim or enough or not moves:
                return steps
            moves = self._step()
        return _STEPS

    def _step(self):
        """A Newton step; returns whether it descends."""
        inner, data, h = self.inner, self.data, self._bends()
        g, b = -self.beta, self.model()[1]
        bent = h > 0
        straight = np.where(bent, 0.0, g)
        aims = self.z - g / np.where(bent, h, 1.0)
        slope = inner.unknowns.gradient(data.adjoint(straight), data.sums(straight))
        rows = inner.factors(_some(data, aims, h))
        self.point = inner.solve(rows, b, self.x, slope=slope)
        ahead = self.point.x - self.x
        dz = data.forward(*self.point.quadratic.model(self.point.x)) - self.z
        args = inner, self.loss, self.y, self.z, dz, self.weight, self.x, ahead, 1e-3
        step = search(*args)
        moves = step > 0.0
        if not moves and inner.limits.callables:
            # here up to rounding: the quadratic's own solution has its certificate
            step = 1.0
        self.modelled, self.whole = g + h * dz, step == 1.0
        self.x = self.x + step * ahead
        self._look()
        return moves

    def _bends(self):
        """Curvatures, some of it lent where nothing else would move an intercept."""
        h, maps = self.h, self.inner.unknowns.maps
        still = maps.T @ self.data.sums(h) == 0
        if not np.any(still):
            return h
        tasks = (abs(maps) @ still.astype(float)) > 0
        rows = tasks[self.data.task_of] & (self.weight > 0)
        return np.where(rows, np.maximum(h, _LENT * self.loss.penalty), h)

    def _look(self):
        """Scores, multipliers, curvatures, objective, and the two gaps."""
        data, inner = self.data, self.inner
        self.z = data.forward(*self.model())
        free = inner.unknowns.maps.shape[1]
        if free and not inner.limits.callables:
            n = inner.unknowns.n_theta
            state = State(None, np.zeros(self.levels.problem.free.shape))
            self.z = self.levels.balance(state, self.z)
            self.x = np.concatenate([self.x[:n], self.x[n:] + state.beta.ravel()])
        _, g, self.h = self.loss.evaluate(self.y, self.z, self.weight)
        self.beta = -g
        omega = inner.unknowns.omega @ self.x
        push = inner.alpha * omega
        here, loose = replace(self.point, x=self.x), 0.0
        if inner.limits.callables:
            # the solver's gap, and the loss's gradient less the quadratic's, X'(g - m)
            loose = self.point.gap if self.whole else np.inf
            g, push = g - self.modelled, 0.0 * omega
        g, beta = self._balanced(g)
        value, apart = self.loss.excess(self.z, beta)
        self.value = value + 0.5 * float(self.x @ (inner.alpha * omega))
        full, more = inner.residual(here, push)
        r = inner.unknowns.gradient(data.adjoint(g), data.sums(g)) + full
        theta = inner.unknowns.full_theta(r[: inner.unknowns.n_theta])
        self.left = loose + more + inner.form.dual_norm2(theta) / (2 * inner.alpha)
        self.gap = self.left + apart

    def _balanced(self, g):
        """Let gradients add up to zero over every intercept, and beta follow."""
        beta, maps = self.beta, self.inner.unknowns.maps
        if not self.inner.limits.callables or not maps.shape[1]:
            return g, beta
        sums = self.data.sums(self._bends())
        corner = (maps.T @ (maps.multiply(sums[:, None]))).toarray()
        shift = np.linalg.lstsq(corner, maps.T @ self.data.sums(g), rcond=1e-12)[0]
        shift = self._bends() * np.repeat(maps @ shift, self.data.sizes)
        moved = np.clip(beta + shift, self.box.lower, self.box.upper)
        return g - (moved - beta), moved


def _some(data, aims, h):
    """The rows that bend, as a weighted squared loss towards `aims`."""
    bent = np.flatnonzero(h > 0)
    if 2 * len(bent) > len(h):
        return weighted(data, aims, h)
    X = data.features[data.place[bent]]
    return TaskData(X, aims[bent], data.n_tasks, data.task_of[bent], h[bent])
