"""Kinked loss + relation: sweeps over the dual, then multipliers where rows are close.

Coordinate descent tells quickly which rows lie far from a kink of their loss. Their
dual variables stay where they are while the method of multipliers solves for the
others: the fixed ones only move the point around which Omega is measured. The duality
gap of all rows then says which others have to join.
"""

import numpy as np

from ..losses import Envelope
from ..relations import ArrowForm
from ..solution import Solution, Status
from ..tasks import TaskData
from .box import BoxDual, box_dual
from .multipliers import Levels, Multipliers
from .newton import Problem, as_user, goal, shift_intercepts
from .steps import State
from .sweeps import Sweeps

_SWEEPS = 40
_ROUNDS = 30


def solve_kinked(
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
    if start is not None:
        start = shift_intercepts(start, means, 1.0, 1)
    run = _Kinked(data, loss, epsilon, form, alpha, intercept, tol)
    status = run.solve(solver, max_iter, start)
    if trace is not None: trace.append(run)
    coef, b = run.problem.model(run.state)
    coef, b = shift_intercepts((coef, b), means, -1.0, 1)
    return Solution(
        *as_user(coef, b, run.problem),
        alpha * run.value,
        run.gap / max(run.scale, 1e-300),
        max(run.n_iter, 1),
        status,
        dual=alpha * run.beta,
        history=run.history,
    )


class _Kinked:
    """Everything over alpha, so that Omega has the factor 1/2."""

    def __init__(self, data, loss, epsilon, form, alpha, intercept, tol):
        self.weight = data.weights / alpha
        self.box = box_dual(loss, data.labels, self.weight, epsilon)
        self.data, self.form, self.intercept = data, form, intercept
        n = len(self.weight)
        self.beta = np.zeros(n)
        self.envelope = Envelope(self.box, self.beta, self.weight)
        self.problem = Problem(data, self.envelope, form, 1.0, intercept)
        self.levels = Levels(self.problem)
        zeros = np.zeros(n)
        self.scale = self.envelope.excess(zeros, zeros)[0]
        self.tol, self.history, self.n_iter = tol, [], 0
        self.state = None
        self.typical = 1.0
        if loss.startswith("eps"):
            self.typical = max(self._spread(), 1e-300)
        self.log = []

    def _spread(self):
        """Size of the errors of the best constants: what a width is measured in."""
        size = float(self.weight @ np.abs(self.box.linear)) / self.weight.sum()
        if size == 0.0: return 1.0
        problem = self.problem
        problem.loss = Envelope(self.box, np.zeros(len(self.weight)), self.weight / size)
        z = self.levels.balance(problem.start(), problem.zeros())
        problem.loss = self.envelope
        errors = np.abs(self.box.linear - z) 
        s = float(self.weight @ errors) / self.weight.sum()
        return s or size

    @property
    def goal(self):
        return goal(self.tol, self.scale, self.value)

    def _close(self, z, beta):
        """Rows that are on the wrong side of a kink, and how far all are from one."""
        box = self.box
        error = box.linear - z
        self.distance = np.abs(np.abs(error) - box.width)

    def look(self):
        problem = self.problem
        self.z = problem.scores(self.state)
        loss, apart = self.envelope.excess(self.z, self.beta)
        self.value = loss + problem.penalty(self.state)
        G, gb = problem.carry(-self.beta)
        slope = problem.form.metric(self.state.theta) + problem.form.pull(G)
        self.gap = apart + problem.form.dual_norm2(slope) / 2
        self.history.append((self.value, self.gap / max(self.scale, 1e-300)))

    def sweep(self):
        """Sweeps while they pay; feasible only without intercepts."""
        import time
        t0 = time.process_time()
        sweeps = Sweeps(self.data, self.box, self.form, self.intercept)
        n = len(self.weight)
        visited = 0
        for k in range(_SWEEPS):
            gain = sweeps.sweep()
            visited += sweeps.active.sum()
            if visited > _BUDGET * n: break
            if k % 4==3: sweeps.settle() if self.intercept!='none' else None
        self.beta = sweeps.beta
        coef, b = sweeps.model()
        self.state = self.problem.start(coef, b)
        if self.form.__class__ is ArrowForm:
            a, c = self.form.shared, self.form.private
            theta = np.vstack([sweeps.common / a if a else 0*sweeps.common, c*sweeps.own])
            self.state.theta[:, :self.data.n_features] = theta
        self.log.append(('sweeps',k+1, visited/n, time.process_time()-t0))

    def solve(self, solver, max_iter, start):
        import time
        data = self.data
        self.state = self.problem.start(*(start or ()))
        chosen = np.zeros(len(self.weight), dtype=bool)
        if _BUDGET: self.sweep()
        self.look()
        feasible = self.intercept == "none"
        for k in range(_ROUNDS):
            if feasible and self.gap <= self.goal: return Status.CONVERGED
            t0 = time.process_time()
            self._close(self.z, self.beta)
            wrong = self._wrong()
            d = self.distance[wrong]
            reach = _REACH * d.mean() if d.size else 0.0
            chosen |= wrong | (self.distance <= reach)
            if self.intercept != "none": self._make_feasible(chosen)
            if chosen.mean() > 0.6 : chosen[:] = True
            if not _BUDGET: chosen[:]=True
            part = Part(self, chosen)
            c = self.weight[wrong].sum()
            sharp = min(max(_SHARP * c / max(self.gap, 1e-300), 1.0 / self.typical), 1e4 / self.typical) if _BUDGET else 1/self.typical
            t1 = time.process_time()
            run = Multipliers(part.data, part.box, part.weight, self.form, 1.0, self.intercept, solver, beta=part.beta, state=part.state, sharpness=sharp)
            aim = max(0.5 * self.goal, 0.01 * self.gap if feasible else 0)
            status = run.run(aim, max_iter - self.n_iter)
            self.n_iter += run.n_outer
            part.give_back(run)
            feasible = True
            self.look()
            self.log.append((int(chosen.sum()), run.n_outer, run.n_steps, '%.0e'%sharp, '%.1e'%(run.gap/self.scale), '%.1e'%(self.gap/self.scale), '%.4f'%(time.process_time()-t1), '%.4f'%(t1-t0)))
            if self.gap <= self.goal: return Status.CONVERGED
            if self.n_iter >= max_iter: return Status.MAX_ITER
            if status is Status.STALLED: return status
        return Status.MAX_ITER

    def _wrong(self):
        """Rows whose multiplier does not fit to the score."""
        box = self.box
        error = box.linear - self.z
        best = np.where(error > box.width, box.upper, np.where(error < -box.width, box.lower, 0.0))
        return best != self.beta

    def _make_feasible(self, chosen):
        starts = self.levels.starts
        if starts is None:
            chosen[:] = True
            return
        low = np.where(chosen, self.box.lower, self.beta)
        high = np.where(chosen, self.box.upper, self.beta)
        keep = np.diff(starts) > 0
        s = starts[:-1][keep]
        bad = np.zeros(len(keep), bool)
        bad[keep] = (np.add.reduceat(low, s) > 0) | (np.add.reduceat(high, s) < 0)
        for t in np.flatnonzero(bad):
            chosen[starts[t]:starts[t+1]] = True


class Part:
    def __init__(self, whole, chosen):
        self.whole, self.chosen = whole, chosen
        self.rows = rows = np.flatnonzero(chosen)
        data = whole.data
        fixed = np.where(chosen, 0.0, whole.beta)
        self.whole_part = bool(chosen.all())
        if self.whole_part:
            self.data, self.box, self.weight = data, whole.box, whole.weight
            self.beta, self.state = whole.beta, whole.state
            return
        X = data.features[data.place[rows]]
        codes = data.task_of[rows]
        problem = whole.problem
        form = problem.form
        # 1) what the fixed rows add to the coefficients, and to the scores
        G = np.zeros((data.n_tasks, problem.p))
        G[:, : problem.d] = data.adjoint(fixed)
        self.theta = form.pull(G)
        if not isinstance(form, ArrowForm):
            self.theta = form.kernel_dot(self.theta)
        # 2) the chosen rows; and one of fixed multipliers per task for the intercepts
        sums = data.sums(fixed)
        extra = data.n_tasks if whole.intercept != "none" else 0
        zero = np.zeros(extra)
        codes = np.concatenate([codes, np.arange(extra)])
        import scipy.sparse as sp
        if sp.issparse(X):
            X = sp.vstack([X, sp.csr_array((extra, X.shape[1]))]).tocsr()
        else:
            X = np.vstack([X, np.zeros((extra, X.shape[1]))])
        order = np.argsort(codes, kind="stable")
        self.back = np.empty(len(order), dtype=np.intp)
        self.back[order] = np.arange(len(order))
        self.back = self.back[: len(rows)]
        sub = TaskData(X[order], np.zeros(len(order)), data.n_tasks, codes[order])
        W, _ = problem.model(State(self.theta, np.zeros((problem.n_free, 1))))
        shift = sub.forward(np.ascontiguousarray(W))
        sums = sums[:extra]
        def pick(values, rest):
            return np.concatenate([values[rows], rest])[order]
        box = whole.box
        self.box = BoxDual(pick(box.lower, sums), pick(box.upper, sums), pick(box.diagonal, zero), pick(box.linear, zero) - shift, pick(box.width, zero))
        self.beta = pick(whole.beta, sums)
        self.weight = pick(whole.weight, np.ones(extra))
        self.data = sub
        self.state = State(whole.state.theta - self.theta, whole.state.beta.copy())

    def give_back(self, run):
        whole = self.whole
        if self.whole_part:
            whole.beta, whole.state = run.beta, run.state
            return
        whole.beta = whole.beta.copy()
        whole.beta[self.rows] = run.beta[self.back]
        whole.state = State(run.state.theta + self.theta, run.state.beta)


_BUDGET = 12
_REACH = 2.0
_SHARP = 1.0
