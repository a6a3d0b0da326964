"""Kinked loss + relation: sweeps over the dual, then multipliers where rows are close.

Coordinate descent tells quickly which rows lie far from a kink of their loss. Their
dual variables stay where they are while the method of multipliers solves for the
others: what is fixed only moves the point around which Omega is measured. The duality
gap over all rows then says which of them have to join, and the sharper the answer, the
fewer rows are near. The certificate is that gap.
"""

import numpy as np
import scipy.sparse as sp

from ...problem.baseline import base_objective
from ...problem.intercepts import FREE
from ...problem.margins import BoxDual
from ...problem.solution import Solution, Status, goal
from ...problem.tasks import TaskData
from ..related.narrow import solve_smooth
from ..related.newton import Problem, as_user, shift_intercepts
from ..related.steps import State, choose_solver
from .dual import penalised_start, solve_dual
from .envelope import Envelope
from .gap import best_shifts
from .multipliers import Levels, Multipliers
from .sweeps import Sweeps

_BATCH = 10  # sweeps from one look at the gap to the next, at most
_BLIND = 1e-4  # what a sweep gains, over the zero model's objective, at a first look
_BATCHES = 40
_STEPS_PER_DIGIT = 6.0  # Newton steps that the gap costs by experience
_ROUNDS = 100  # sets of rows that are tried
_UPDATES = 2  # of the multipliers for one set of rows
_SHARE = 0.6  # of the rows from which on all of them are taken
_SMALL = 1000  # rows that are always taken all, and to the end
_END = 1e-13  # the tolerance of that end
_DOUBT = 2  # rounds without a better gap after which all rows are taken
_REACH = 2.0  # how far rows are near, over the mean distance of those in the wrong
_FIRST = 0.05  # sharpness over that at which kinks are as wide as the gap allows
_AIM = 0.1  # what a round is to make of the gap
_RUINED = 1e3  # growth of the gap that only rounding explains
_TIRED = 8  # rounds without a better gap after which nothing is to be hoped for


def solve_kinked(
    data,
    loss,
    form,
    alpha,
    *,
    intercept=FREE,
    tol=1e-6,
    max_iter=100,
    solver="auto",
    start=None,
    dual=None,
):
    """Minimise the hinge or the epsilon-insensitive loss plus 1/2 alpha Omega(W).

    Parameters
    ----------
    data : TaskData
        With labels -1 and +1 for losses of classes.
    loss : MarginLoss
        Squared ones are accepted too.
    form : ArrowForm or MatrixForm
    alpha : float
    intercept : Intercepts
    tol : float
        The duality gap at which to stop, as in `solve_newton`.
    max_iter : int
        Most updates of the multipliers.
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}
        How a Newton step is solved.
    start : (coef, intercept), default=None
        Where to begin.
    dual : ndarray of shape (n,), default=None
        Multipliers that go with `start`.

    Returns
    -------
    Solution
        Its dual has one number per observation: W = K X' dual / alpha.
    """
    means = None
    if form.separates(intercept) and not data.sparse:
        data, means = data.centred()
    if start is not None:
        start = shift_intercepts(start, means, 1.0, 1)
    fit = _Fit(data, loss, form, alpha, intercept)
    fit.begin(start, None if dual is None else dual / alpha, tol)
    status = fit.solve(tol, max_iter, solver)
    fit.settle()
    coef, b = fit.problem.model(fit.state)
    coef, b = shift_intercepts((coef, b), means, -1.0, 1)
    scale = max(fit.scale, 1e-300)
    return Solution(
        *as_user(coef, b, fit.problem),
        alpha * fit.value,
        fit.gap / scale,
        max(fit.n_iter, 1),
        status,
        dual=alpha * fit.beta,
        history=[(alpha * value, gap / scale) for value, gap in fit.history],
    )


class _Fit:
    """All rows; everything is over alpha, so that Omega has the factor 1/2.

    Sets: state, beta, z, value, gap (only a bound once `feasible`), sharpness.
    """

    def __init__(self, data, loss, form, alpha, intercept):
        self.data, self.form, self.intercept = data, form, intercept
        self.weight = data.weights / alpha
        self.box = loss.box(data.labels, self.weight)
        zeros = np.zeros(len(self.weight))
        self.envelope = Envelope(self.box, zeros, self.weight)
        self.problem = Problem(data, self.envelope, form, 1.0, intercept)
        self.levels = Levels(self.problem)
        self.zero = self.envelope.excess(zeros, zeros)[0]
        base = base_objective(data, loss, form, intercept, alpha * self.zero)
        self.scale = base / alpha
        self.width = 1.0 if loss.of_classes else self._spread()
        self.history, self.n_iter = [], 0

    def _spread(self):
        """Mean size of the errors of constant predictions: what widths compare with."""
        total = float(self.weight.sum())
        size = float(self.weight @ np.abs(self.box.linear)) / total or 1.0
        problem = self.problem
        problem.loss = Envelope(self.box, self.envelope.centre, self.weight / size)
        z = self.levels.balance(problem.start(), problem.zeros())
        problem.loss = self.envelope
        return float(self.weight @ np.abs(self.box.linear - z)) / total or size

    # ------------------------------------------------------------ start

    def begin(self, start, beta, tol):
        """Coefficients and multipliers: as given, by sweeps, or zero."""
        self.state = self.problem.start(*(start or ()))
        self.feasible = not self.intercept.present
        self.beta = np.zeros(len(self.weight))
        self.rough, self.habits = False, (0.0, False, 1.0)
        sharpness = 1.0 / self.width
        if beta is not None:
            self.beta = np.clip(beta, self.box.lower, self.box.upper)
        elif start is not None:
            sharpness *= 10.0
            penalty = sharpness * self.weight
            rounded = Envelope(self.box, self.beta, penalty)
            z = self.problem.scores(self.state)
            self.beta = -rounded.gradient(None, z, None)
        else:
            self.rough = True
            if self._sweeps_pay():
                self._sweep(tol)
        self.look()
        self.sharpness = max(sharpness, self._sharpness())

    def _sweeps_pay(self):
        """Dense rows, and not too many tasks that all have to hear of each other."""
        if self.data.sparse:
            return False
        few = self.data.n_tasks**2 <= 4 * len(self.weight)
        return few or self.form.arrow is not None

    def _sweep(self, tol):
        """Sweeps for as long as they earn digits faster than Newton steps would."""
        sweeps = Sweeps(self.data, self.box, self.form, self.intercept)
        last, due = np.inf, max(tol, _BLIND) * self.zero
        for _ in range(_BATCHES):
            visits, gain = self._batch(sweeps, due)
            self._take(sweeps)
            left = self.gap + sweeps.held()
            aim = 0.5 * goal(tol, self.scale, self.value)
            if left <= aim or not np.isfinite(left):
                break
            digits = np.log10(last / left) if last > left > 0 else 0.0
            needed = np.log10(left / aim)
            n_active = int(sweeps.active.sum())
            newton = self._entry_cost() + needed * self._digit_cost(n_active)
            if last < np.inf and self._sweep_cost(visits) * needed > digits * newton:
                break
            moved = sweeps.settle() if left < last else 0.0
            sweeps.wake(self.z + moved)
            last, due = left, gain * max(0.03, min(0.5, aim / left))
        self.rough = not self.value <= 1e3 * self.zero
        if self.rough:
            # rounding, or features in very different units: better from zero
            self.state, self.beta = self.problem.start(), np.zeros(len(self.weight))

    def _batch(self, sweeps, due):
        """Sweeps until one gains at most `due`; visits, and the last one's gain."""
        visits = 0
        for _ in range(_BATCH):
            visited, gain = sweeps.sweep()
            visits += visited
            if gain <= due:
                break
        return visits, gain

    def _take(self, sweeps):
        """The model of the sweeps; its gap is one with the intercepts held."""
        self.beta = sweeps.beta
        self.state = self.problem.start(*sweeps.model())
        self.state.theta[:, : self.data.n_features] = sweeps.coordinates(self.form)
        self.z = self.problem.scores(self.state)
        loss, self.gap = self.envelope.excess(self.z, self.beta)
        self.value = loss + self.problem.penalty(self.state)

    def _sweep_cost(self, visits):
        """Seconds of a batch, about."""
        d, n_tasks = self.data.n_features, self.data.n_tasks
        cost = visits * (2e-8 + 2e-9 * d) + len(self.weight) * (1e-8 + 5e-10 * d)
        if self.form.arrow is None:
            cost += _BATCH * 3e-10 * d * n_tasks**2
        return cost

    def _entry_cost(self):
        """Seconds before the first of the Newton steps, about."""
        return 1e-3 + 5e-8 * len(self.weight)

    def _digit_cost(self, n_rows):
        """Seconds of the Newton steps that gain one digit, about."""
        n_tasks = self.data.n_tasks
        d = min(self.data.n_features, len(self.weight) / n_tasks)
        step = 2.5e-4 + n_rows * (6e-8 + 4e-9 * d) + 2e-10 * n_tasks * d**3
        return _STEPS_PER_DIGIT * step

    def _sharpness(self):
        """One over the width of the kinks that the gap stands for."""
        if self.rough:
            return 0.0
        wrong = float(self.weight[self._wrong()].sum())
        most = 1e4 if self.feasible else 10.0
        return min(_FIRST * wrong / max(self.gap, 1e-300), most / self.width)

    # ------------------------------------------------------------ rounds

    def look(self):
        """Scores, objective and duality gap of all rows."""
        problem = self.problem
        self.z = problem.scores(self.state)
        loss, apart = self.envelope.excess(self.z, self.beta)
        self.value = loss + problem.penalty(self.state)
        G, _ = problem.carry(-self.beta)
        slope = problem.form.metric(self.state.theta) + problem.form.adjoint(G)
        self.gap = apart + problem.form.dual_norm2(slope) / 2.0
        self.history.append((self.value, self.gap))

    def solve(self, tol, max_iter, solver):
        """Rounds on the rows that are near a kink; returns a Status.

        Of few rows the last digits cost next to nothing: they are had, as far as
        rounding allows.
        """
        near, last, lowest, idle, self.best = None, np.inf, np.inf, 0, None
        asked, tol = tol, min(tol, _END) if len(self.z) <= _SMALL else tol
        while not self._within(tol):
            enough = 1 if self._within(asked) else _TIRED
            if self.n_iter >= max_iter or idle >= enough:
                status = self._give_up(idle)
                return Status.CONVERGED if self._within(asked) else status
            fresh = near is None or self.gap < 0.5 * last
            near = self._near() if fresh else self._near() | near
            if idle >= _DOUBT:
                near[:] = True
            last = self.gap if self.feasible else np.inf
            self._round(self._complete(near), tol, max_iter, solver)
            idle = 0 if self.gap < 0.9 * lowest else idle + 1
            lowest = min(lowest, self.gap)
            self._keep_best()
        return Status.CONVERGED

    def settle(self):
        """Put each intercept into the middle of the interval that the loss leaves it.

        The optimum leaves one where as many rows pull up as down.
        """
        starts = self.levels.starts
        if starts is None or not self.intercept.present:
            return
        levels = best_shifts(self.box, self.z, starts)
        self.state.beta = self.state.beta + levels[:, None]
        self.look()

    def _within(self, tol):
        """Whether the gap is what `tol` asks for."""
        return self.feasible and self.gap <= goal(tol, self.scale, self.value)

    def _give_up(self, idle):
        """Take the best answer that there was."""
        if self.best is not None and self.best[0] < self.gap:
            _, self.state, self.beta = self.best
            self.look()
        return Status.STALLED if idle >= _TIRED else Status.MAX_ITER

    def _keep_best(self):
        """Remember the best answer; go back to it where rounding ruined the last."""
        if self.best is None or self.gap < self.best[0]:
            self.best = self.gap, self.state, self.beta
        elif self.gap > _RUINED * self.best[0]:
            _, self.state, self.beta = self.best
            lent, by_rows, boldness = self.habits
            self.habits = lent, by_rows, 0.5 * boldness
            self.sharpness *= 0.03
            self.look()

    def _round(self, rows, tol, max_iter, solver):
        """A few updates of the multipliers of some rows."""
        part = _Part(self, rows)
        run = Multipliers(
            part.data,
            part.box,
            part.weight,
            self.form,
            1.0,
            self.intercept,
            solver,
            beta=part.beta,
            state=part.state,
            sharpness=self.sharpness,
            habits=self.habits,
        )
        aim = 0.5 * goal(tol, self.scale, self.value)
        if self.feasible:
            aim = max(aim, _AIM * self.gap)
        run.run(aim, min(max_iter - self.n_iter, _UPDATES))
        self.n_iter += max(run.n_outer, 1)
        self.sharpness, self.habits = run.sharpness, run.habits
        self.state, self.beta = part.give_back(run)
        self.feasible, self.rough = True, False
        self.look()

    def _wrong(self):
        """Rows whose multiplier is not the one that their score asks for."""
        best = self.envelope.steepest(self.z)
        return best != self.beta

    def _near(self):
        """Rows in the wrong, and those about as near to a kink."""
        if self.rough or len(self.z) <= _SMALL:
            return np.ones(len(self.z), dtype=bool)
        wrong = self._wrong()
        distance = np.abs(np.abs(self.box.linear - self.z) - self.box.width)
        n_wrong = int(wrong.sum())
        reach = _REACH * float(distance[wrong].mean()) if n_wrong else 0.0
        more = max(n_wrong // 5, 2 * self.data.n_tasks)
        least = min(n_wrong + more, len(distance) - 1)
        reach = max(reach, float(np.partition(distance, least)[least]))
        return wrong | (distance <= reach)

    def _complete(self, rows):
        """Add what the intercepts' equations need to have a solution."""
        rows = rows.copy()
        if self.levels.starts is None:
            rows[:] = True
        elif self.intercept.present:
            starts = self.levels.starts
            filled = np.flatnonzero(np.diff(starts))
            first = starts[filled]
            low = np.add.reduceat(np.where(rows, self.box.lower, self.beta), first)
            high = np.add.reduceat(np.where(rows, self.box.upper, self.beta), first)
            for t in filled[(low > 0.0) | (high < 0.0)]:
                rows[starts[t] : starts[t + 1]] = True
        if rows.mean() > _SHARE:
            rows[:] = True
        return rows


class _Part:
    """The problem of some rows, the multipliers of the others held fixed.

    With theta_0 the coordinates that the fixed rows alone would give, the unknown is
    theta - theta_0 under the same penalty, and the labels lose the scores of theta_0.
    In the intercepts' equations a row without features stands for the fixed rows of
    each task: its multiplier is their sum.
    """

    def __init__(self, fit, rows):
        self.fit, self.rows = fit, None
        if rows.all():
            self.data, self.box, self.weight = fit.data, fit.box, fit.weight
            self.beta, self.state = fit.beta, fit.state
            return
        self.rows = np.flatnonzero(rows)
        fixed = np.where(rows, 0.0, fit.beta)
        self.theta = self._coordinates(fixed)
        sums = fit.data.sums(fixed) if fit.intercept.present else np.zeros(0)
        self._take(sums)
        self.state = State(fit.state.theta - self.theta, fit.state.beta.copy())

    def _coordinates(self, fixed):
        """theta_0: intercepts are left to the rows that stand for the fixed ones."""
        fit = self.fit
        G = np.zeros((fit.data.n_tasks, fit.problem.p))
        G[:, : fit.problem.d] = fit.data.adjoint(fixed)
        return fit.form.inverse_metric(fit.form.adjoint(G))

    def _take(self, sums):
        """The rows, and one more per task where there are sums."""
        data, problem, rows = self.fit.data, self.fit.problem, self.rows
        codes = np.concatenate([data.task_of[rows], np.arange(len(sums))])
        order = np.argsort(codes, kind="stable")
        X = data.features[data.place[rows]]
        empty = (len(sums), data.n_features)
        if sp.issparse(X):
            X = sp.vstack([X, sp.csr_array(empty)]).tocsr()
        else:
            X = np.vstack([X, np.zeros(empty)])
        y = np.zeros(len(order))
        self.data = TaskData(X[order], y, data.n_tasks, codes[order])
        still = State(self.theta, np.zeros(problem.free.shape))
        W = np.ascontiguousarray(problem.model(still)[0])

        def pick(values, rest):
            rest = np.broadcast_to(rest, sums.shape)
            return np.concatenate([values[rows], rest])[order]

        box = self.fit.box
        self.box = BoxDual(
            pick(box.lower, sums),
            pick(box.upper, sums),
            pick(box.diagonal, 0.0),
            pick(box.linear, 0.0) - self.data.forward(W),
            pick(box.width, 0.0),
        )
        self.beta, self.weight = pick(self.fit.beta, sums), pick(self.fit.weight, 1.0)
        self.back = np.empty(len(order), dtype=np.intp)
        self.back[order] = np.arange(len(order))

    def give_back(self, run):
        """State and multipliers of all rows."""
        if self.rows is None:
            return run.state, run.beta
        beta = self.fit.beta.copy()
        beta[self.rows] = run.beta[self.back[: len(self.rows)]]
        return State(run.state.theta + self.theta, run.state.beta), beta


# ---------------------------------------------------------------- which solver

# Margin losses + relation: which solver suits the loss and the data.

_PASSES_PER_STEP = 3  # passes that one step of `max_iter` stands for
_FEW, _MANY = 12, 60  # passes for a start, by what they save afterwards
_PATIENCE = 30  # fewer passes than this are a user's wish to stop early


def solve_margin(
    data,
    loss,
    form,
    alpha,
    *,
    intercept,
    tol,
    max_iter,
    solver,
    start=None,
):
    """Minimise a margin loss plus 1/2 alpha Omega(W), by what suits the data.

    Smooth losses go to `solve_smooth`, kinked ones to `solve_kinked`. Wide sparse rows
    go to `solve_dual` before: alone without intercepts, otherwise (and where it is
    slow) to give the others a start.

    Parameters
    ----------
    data : TaskData
        With labels -1 and +1 for losses of classes.
    loss : MarginLoss
    form, alpha, intercept, tol, max_iter, start
        As in `solve_newton`.
    solver : {"auto", "dual-descent", "newton-cholesky", "newton-dual", "newton-cg"}

    Returns
    -------
    Solution
    """
    suits = data.sparse and not data.wide and form.arrow is not None
    if solver == "dual-descent" and (not suits or intercept.present):
        raise ValueError(
            "`solver`='dual-descent' is for sparse X in the long layout with "
            "fit_intercept=False and a relation that is 'independent', 'shared_mean' "
            "or 'pooled'; use 'auto'."
        )
    chosen = choose_solver(data, 1, intercept) if solver == "auto" else solver
    descend = solver == "dual-descent" or (
        solver == "auto" and suits and chosen == "newton-cg"
    )
    chosen = "newton-cg" if descend else chosen
    dual = None
    if descend and not intercept.present:
        passes = _PASSES_PER_STEP * max_iter
        solution = solve_dual(data, loss, form, alpha, tol=tol, max_iter=passes)
        if solution.status is Status.CONVERGED or passes < _PATIENCE:
            return solution
        start, dual = (solution.coef, solution.intercept), solution.dual
    elif descend and start is None:
        passes = _FEW if loss.squared else _MANY
        start, dual = penalised_start(data, loss, form, alpha, max_iter=passes)
    options = {"intercept": intercept, "tol": tol, "max_iter": max_iter}
    options |= {"solver": chosen, "start": start}
    if loss.squared:
        return solve_smooth(data, loss.smooth(), form, alpha, **options)
    # of the rows that it works on there may be few enough for another way
    options["solver"] = "auto" if solver == "dual-descent" else solver
    return solve_kinked(data, loss, form, alpha, dual=dual, **options)
