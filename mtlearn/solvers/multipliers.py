"""Kinked loss + relation: a method of multipliers over semismooth Newton steps.

    minimise  sum_i loss_i(x_i . w_t + b_t) + 1/2 alpha Omega(W)

for the losses of `solvers.box`. An outer step minimises the envelope of the loss around
the current multipliers: a smooth problem of the same shape, piecewise quadratic, whose
Hessian counts only the rows at the kink (the free support vectors). Its gradient are
the next multipliers. This is the proximal point method on the dual (Rockafellar 1976);
with growing penalties it converges superlinearly, and the inner problem is solved by
semismooth Newton steps (Li, Sun and Toh 2018). The certificate is the duality gap.
"""

import numpy as np
from numba import njit

from ..losses import Envelope
from ..solution import Solution, Status
from .box import box_dual
from .newton import Gradient, Problem, RowsStep, as_user, goal, line_search
from .newton import shift_intercepts
from .steps import STEPPERS, Point, State, choose_solver

_GROWTH = 5.0  # of the penalties from one outer step to the next
_SHARP = 1e7  # penalties, over their start, beyond which rounding would be felt
_INNER = 0.1  # share of the outer step's progress that the inner problem may lack


def solve_multipliers(
    data,
    loss,
    form,
    alpha,
    *,
    epsilon=0.0,
    intercept="free",
    tol=1e-6,
    max_iter=100,
    solver="auto",
    start=None,
    trace=None,
):
    means = None
    if intercept == "free" and not data.sparse:
        data, means = data.centred()
    box = box_dual(loss, data.labels, data.weights, epsilon)
    envelope = Envelope(box, np.zeros(len(data.labels)), data.weights)
    problem = Problem(data, envelope, form, alpha, intercept)
    if solver == "auto":
        solver = choose_solver(data, 1, intercept)
    if start is not None:
        start = shift_intercepts(start, means, 1.0, 1)
    run = _Run(problem, STEPPERS[solver](problem), start, tol)
    status = run.iterate(max_iter)
    if trace is not None:
        trace.append(run)
    coef, b = problem.model(run.state)
    coef, b = shift_intercepts((coef, b), means, -1.0, 1)
    return Solution(
        *as_user(coef, b, problem),
        run.value,
        run.gap / max(run.scale, 1e-300),
        max(run.n_steps, 1),
        status,
        dual=run.beta,
        history=run.history,
    )


class _Run:
    def __init__(self, problem, stepper, start, tol):
        self.problem, self.stepper, self.tol = problem, stepper, tol
        self.levels = _Levels(problem)
        zeros = problem.zeros()
        self.scale = problem.loss.excess(zeros, zeros)[0]
        self.state = problem.start(*(start or ()))
        self.z = problem.scores(self.state)
        self.history, self.n_steps = [], 0
        self.sharpness = self._first_penalty(start)
        self.first = self.sharpness
        self._set_penalty()
        self._look()

    def _first_penalty(self, start):
        return 1.0

    def _set_penalty(self):
        problem = self.problem
        problem.loss = Envelope(
            problem.loss.box, problem.loss.centre, self.sharpness * problem.weight
        )

    def _look(self):
        """Best intercepts of the envelope, derivatives, duality gap."""
        problem = self.problem
        self.z = self.levels.balance(problem, self.state, self.z)
        _, self.g, self.h = problem.loss.evaluate(problem.y, self.z, problem.weight)
        self.beta = -self.g
        self.gradient = Gradient(problem, self.state, self.g, self.h)
        loss, apart = problem.loss.excess(self.z, self.beta)
        self.value = loss + problem.penalty(self.state)
        own = problem.form.dual_norm2(self.gradient.coef) / (2 * problem.alpha)
        self.gap = apart + own
        self.history.append((self.value, self.gap / max(self.scale, 1e-300)))

    @property
    def done(self):
        return self.gap <= goal(self.tol, self.scale, self.value)

    def iterate(self, max_iter):
        while not self.done:
            best = self.gap
            self._minimise(max_iter)
            if self.n_steps >= max_iter or self.done:
                break
            self._raise()
        return Status.CONVERGED if self.done else Status.MAX_ITER

    def _minimise(self, max_iter):
        problem = self.problem
        n=0
        while not self.done and self.n_steps < max_iter:
            loss = problem.loss
            moved = self.beta - loss.centre
            progress = 0.5 * float(moved @ (moved / loss.penalty))
            bound = self.gradient.bound(problem)
            if bound <= _INNER * progress or bound <= 1e-3*goal(self.tol, self.scale, self.value):
                break
            accuracy = bound / max(self.value, 1e-300)
            point = Point(self.state, self.z, self.g, self.h, self.gradient, accuracy)
            direction = self.stepper.direction(problem, point)
            dz = problem.scores(direction)
            step = line_search(
                problem, self.state, direction, self.z, dz, self.gradient
            )
            self.n_steps += 1
            n+=1
            if step == 0.0:
                break
            self.state = self.state.move(step, direction)
            self.z = self.z + step * dz
            if self.n_steps % 10 == 9:
                self.z = problem.scores(self.state)
            self._look()
        self.inner=getattr(self,'inner',[])+[n]

    def _raise(self):
        problem = self.problem
        self.sharpness = min(self.sharpness * _GROWTH, _SHARP * self.first)
        problem.loss = Envelope(
            problem.loss.box, self.beta.copy(), self.sharpness * problem.weight
        )
        self._look()


class _Levels:
    def __init__(self, problem):
        data, n = problem.data, len(problem.y)
        kind = problem.intercept
        self.starts = data.starts if kind == "free" else np.array([0, n])
        self.none = problem.n_free == 0

    def balance(self, problem, state, z):
        if self.none:
            return z
        loss = problem.loss
        shift = np.zeros(len(self.starts) - 1)
        z = z.copy()
        _balance(loss.box, loss.centre, loss.penalty, self.starts, z, shift)
        state.beta = state.beta + shift[:, None]
        return z


from ..losses import _best_multiplier

@njit(cache=True)
def _balance(box, centre, penalty, starts, z, shift):
    for t in range(starts.shape[0] - 1):
        s, e = starts[t], starts[t + 1]
        if s == e:
            continue
        low, high, b = -np.inf, np.inf, 0.0
        for _ in range(100):
            total, size, bend = 0.0, 0.0, 0.0
            for i in range(s, e):
                beta, h = _best_multiplier(box, centre, penalty, i, z[i] + b)
                total += beta
                size += abs(beta)
                bend += h
            if abs(total) <= 1e-15 * size:
                break
            if total > 0.0:
                low = b
            else:
                high = b
            if bend > 0.0:
                step = total / bend
            else:
                step = _to_kink(box, centre, penalty, s, e, z, b, total > 0.0)
            last = b
            b = b + step
            if not low < b < high:
                b = 0.5 * (low + high)
            if b == last or b == low or b == high:
                break
        for i in range(s, e):
            z[i] += b
        shift[t] = b

@njit(cache=True)
def _to_kink(box, centre, penalty, s, e, z, b, up):
    """How far the nearest row is from bending."""
    nearest = np.inf
    for i in range(s, e):
        # pull at which beta leaves its bound when the level rises (falls)
        edge = box.upper[i] if up else box.lower[i]
        # rising levels lower beta: next kinks of pull are upper', +room, -room, lower'
        pull = centre[i] + penalty[i] * (box.linear[i] - z[i] - b)
        room = penalty[i] * box.width[i]
        bottom = 1.0 + penalty[i] * box.diagonal[i]
        for kink in (
            box.upper[i] * bottom + (room if box.upper[i] > 0 else -room),
            room,
            -room,
            box.lower[i] * bottom + (room if box.lower[i] > 0 else -room),
        ):
            far = (pull - kink) / penalty[i] if up else (kink - pull) / penalty[i]
            if 0.0 < far < nearest:
                nearest = far
    # a little beyond, so that the row bends
    return (1.0 if up else -1.0) * nearest * (1.0 + 1e-9)
