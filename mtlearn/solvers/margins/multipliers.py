"""Margin loss + relation: a method of multipliers over semismooth Newton steps.

    minimise  sum_i loss_i(x_i . w_t + b_t) + 1/2 alpha Omega(W)

for losses that are given by the five arrays of their dual (`solvers.margins.envelope`),
kinks or not. An outer step minimises the envelope of the loss around the current
multipliers: a smooth problem of the same shape, piecewise quadratic, whose Hessian
counts only the rows at a kink (the free support vectors). Minus its gradient are the
next multipliers. This is the proximal point method on the dual (Rockafellar 1976); with
growing penalties it converges superlinearly, by semismooth Newton steps (Li, Sun and
Toh 2018). The certificate is the duality gap.
"""

import numpy as np

from ...problem.solution import Status
from ..linalg import factor_spd, solve_spd
from ..linesearch import find_step
from ..related.newton import Gradient, Problem, RowsStep, line_search
from ..related.steps import STEPPERS, Point, choose_solver
from .envelope import Envelope, balance

_INNER = 0.3  # share of an outer step's progress that its inner problem may lack
_STEPS = 60  # Newton steps of one inner problem, at most
# growth of the penalties after an inner problem of at most so many steps: the sharper
# the kinks, the more steps
_PACE = ((4, 8.0), (10, 4.0), (20, 2.0), (_STEPS, 0.7))
_SHORT = 1e-5  # a step that shows that the curvature told little of what is ahead
_LENT = 1e-4  # of the penalty, to rows that do not bend, after such a step
_BLUNTER = 0.03  # where rounding let no step descend
_SHARPEST = 1e8  # penalties, over the first ones, beyond which rounding is felt
_TIRED = 6  # outer steps without a better gap after which nothing is to be hoped for
_FRESH = 10  # steps after which scores are summed up afresh: rounding must not pile up


class Multipliers:
    """The method of multipliers on one set of rows, from given multipliers on.

    Parameters
    ----------
    data : TaskData
    box : BoxDual
    weight : ndarray of shape (n,)
        In proportion to which the rows are penalised.
    form, alpha, intercept
        As in `solve_newton`.
    solver : str
    beta : ndarray of shape (n,)
        Multipliers to begin with.
    state : State or None
        Coefficients to begin with; None for the zero model.
    sharpness : float
        First penalty over weight: one over the width in which kinks are rounded.
    habits : (lent, by_rows, boldness)
        Of a run before: how much curvature rows are lent that have none, whether steps
        are solved by a QR of the rows, and the power of the penalties' growth.

    Attributes
    ----------
    state, z, beta
        Best coefficients, their scores, and multipliers that fulfil the intercepts'
        equations.
    value, gap : float
        Objective, and how far it is above the dual objective.
    n_outer, n_steps : int
        Multiplier updates and Newton steps so far.
    """

    def __init__(
        self,
        data,
        box,
        weight,
        form,
        alpha,
        intercept,
        solver,
        *,
        beta,
        state=None,
        sharpness=1.0,
        habits=(0.0, False, 1.0),
    ):
        envelope = Envelope(box, beta, sharpness * weight)
        self.problem = Problem(data, envelope, form, alpha, intercept)
        if solver == "auto":
            solver = choose_solver(data, 1, intercept)
        self.stepper = STEPPERS[solver](self.problem)
        self.stuck = False
        self.lent, self.by_rows, self.boldness = habits
        if self.by_rows:
            self._turn_to_rows()
        self.weight = weight
        self.sharpness = self._first = sharpness
        self.levels = Levels(self.problem)
        self.state = self.problem.start() if state is None else state
        self.z = self.problem.scores(self.state)
        self.n_outer = self.n_steps = 0
        self._look()

    @property
    def habits(self):
        """What a run after this one should begin with."""
        return self.lent, self.by_rows, self.boldness

    def run(self, goal, max_outer):
        """Outer steps until the gap is at most `goal`; returns a Status."""
        best, idle = np.inf, 0
        while not self.gap <= goal:
            if self.n_outer >= max_outer:
                return Status.MAX_ITER
            self.n_outer += 1
            steps = self._minimise(goal)
            if self.gap <= goal:
                break
            idle = 0 if self.gap < 0.9 * best else idle + 1
            best = min(best, self.gap)
            if idle >= _TIRED and not self._turn_to_rows():
                return Status.STALLED
            idle = 0 if idle >= _TIRED else idle
            self._update(steps)
        return Status.CONVERGED

    def _minimise(self, goal):
        """Newton steps on the envelope, as exactly as the outer step deserves.

        Returns how many.
        """
        problem, first, self.stuck = self.problem, self.n_steps, False
        while self.n_steps < first + _STEPS:
            bound = self.gradient.bound(problem)
            moved = self.beta - problem.loss.centre
            progress = 0.5 * float(moved @ (moved / problem.loss.penalty))
            if self.gap <= goal or bound <= max(_INNER * progress, 1e-4 * goal):
                break
            accuracy = bound / max(self.value, 1e-300)
            g = -self.beta
            point = Point(self.state, self.z, g, self.h, self.gradient, accuracy)
            direction = self.stepper.direction(problem, point)
            dz = self.levels.follow(direction, problem.scores(direction), self.h)
            left = -0.5 * self.gradient.slope(direction)
            # farther out the envelope is flat, where multipliers are still wrong
            step = line_search(
                problem, self.state, direction, self.z, dz, self.gradient, 0.05, 1.0
            )
            if step == 0.0:
                if self._lend_more() or self._turn_to_rows():
                    continue
                self.stuck = True
                break
            self.n_steps += 1
            self.state = self.state.move(step, direction)
            fresh = self.n_steps % _FRESH == 0
            self.z = problem.scores(self.state) if fresh else self.z + step * dz
            self._lend(step)
            self._look()
            if 0.5 <= step <= 2.0 and left <= _INNER * progress:
                break
        return self.n_steps - first

    def _look(self):
        """Best intercepts of the envelope; multipliers, curvature, duality gap."""
        problem = self.problem
        self.z = self.levels.balance(self.state, self.z)
        _, g, self.h = problem.loss.evaluate(problem.y, self.z, problem.weight)
        self.beta = -g
        if self.lent:
            self.h = np.maximum(self.h, self.lent * problem.loss.penalty)
        self.gradient = Gradient(problem, self.state, g, self.h)
        loss, apart = problem.loss.excess(self.z, self.beta)
        self.value = loss + problem.penalty(self.state)
        own = problem.form.dual_norm2(self.gradient.coef) / (2 * problem.alpha)
        self.gap = apart + own

    def _update(self, steps):
        """The next multipliers, and penalties that suit the effort of these."""
        growth = next(factor for most, factor in _PACE if steps <= most)
        growth = _BLUNTER if self.stuck else growth**self.boldness
        self.sharpness = min(self.sharpness * growth, _SHARPEST * self._first)
        penalty = self.sharpness * self.weight
        self.problem.loss = Envelope(self.problem.loss.box, self.beta, penalty)
        self.z = self.problem.scores(self.state)
        self._look()

    def _lend(self, step):
        """Let rows that do not bend bend a little while steps are far too long.

        Where fewer rows bend than there are unknowns, and the penalty is next to
        nothing beside the rows, Newton's direction is determined by that penalty.
        """
        if step < (0.1 if self.lent else _SHORT):
            self.lent = min(max(10.0 * self.lent, _LENT), 1.0)
        elif step > 0.5:
            self.lent = 0.3 * self.lent if self.lent > 0.01 * _LENT else 0.0

    def _lend_more(self):
        """Lend more where no step descends; returns whether that was possible."""
        if self.lent >= 1.0:
            return False
        self.lent = min(max(10.0 * self.lent, _LENT), 1.0)
        self._look()
        return True

    def _turn_to_rows(self):
        """Take steps by a QR of the rows, where the problem is small enough."""
        stepper = RowsStep.instead_of(self.stepper, self.problem)
        self.stepper = stepper or self.stepper
        self.by_rows = isinstance(self.stepper, RowsStep)
        return stepper is not None


class Levels:
    """Puts the unpenalised intercepts where the envelope is least.

    There the multipliers add up to zero over every intercept's rows, which makes them
    feasible for the dual.
    """

    def __init__(self, problem):
        self.problem = problem
        self.map = problem.free.rules
        # where tasks are made of others, an observation may have parts of several
        plain = problem.intercept.stretches(problem.data.starts)
        self.starts = plain if self.map is None else None

    def balance(self, state, z):
        """Move `state.beta` to the best intercepts; returns the scores there."""
        if not self.problem.free:
            return z
        if self.starts is None:
            return self._balance_mixed(state, z)
        loss, z = self.problem.loss, z.copy()
        moved = balance(loss.box, loss.centre, loss.penalty, self.starts, z)
        state.beta = state.beta + moved[:, None]
        return z

    def follow(self, direction, dz, h):
        """Let intercepts whose rows do not bend go along with the mean of their rows.

        Nothing else would move them while the coefficients change.
        """
        if self.starts is None or not self.problem.free:
            return dz
        sizes = np.diff(self.starts)
        filled = sizes > 0
        first = self.starts[:-1][filled]
        still = np.zeros(len(sizes))
        still[filled] = np.add.reduceat(h, first) == 0.0
        if not still.any():
            return dz
        mean = np.zeros(len(sizes))
        mean[filled] = np.add.reduceat(dz, first) / sizes[filled]
        mean *= still
        direction.beta = direction.beta - mean[:, None]
        return dz - np.repeat(mean, sizes)

    def _balance_mixed(self, state, z):
        """Intercepts that several tasks share in parts: Newton steps in them alone."""
        problem, M = self.problem, self.map
        data, loss = problem.data, problem.loss
        _, g, h = loss.evaluate(problem.y, z, problem.weight)
        for _ in range(200):
            slope = M.T @ data.sums(g)
            if np.all(np.abs(slope) <= 1e-14 * (abs(M).T @ data.sums(np.abs(g)))):
                break
            # rows without curvature are lent some, or nothing would limit the step
            bends = data.sums(np.maximum(h, 1e-6 * loss.penalty))
            bends = (M.T @ M.multiply(bends[:, None])).toarray()
            step = -solve_spd(factor_spd(bends), slope)
            dz = np.repeat(M @ step, data.sizes)

            def along(taken, z=z, dz=dz):
                return loss.along(problem.y, z, dz, problem.weight, taken)[1:]

            taken = find_step(along, float(slope @ step), 1e-3, 60)
            if taken == 0.0:
                break
            state.beta = state.beta + taken * step.reshape(state.beta.shape)
            z = z + taken * dz
            _, g, h = loss.evaluate(problem.y, z, problem.weight)
            # steep penalties turn the rounding of scores into slopes that stay
            if np.abs(taken * dz).max() <= 1e-15 * np.abs(z).max():
                break
        return z
