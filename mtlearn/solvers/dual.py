"""Squared hinge + common and private parts: coordinate descent on the box dual.

With c_i the weight of row i over alpha, K the task kernel and x_i the features,

    maximise  sum_i a_i - 1/2 sum_ij a_i a_j y_i y_j K[t_i, t_j] x_i . x_j
              - 1/4 sum_i a_i^2 / c_i   over a >= 0.

For wide sparse rows: a step touches the nonzeros of one row, and the rows of a task are
visited together, so that only the columns of that task are at hand. The certificate is
the duality gap.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numba import njit
from sklearn.utils import check_random_state

from ..losses import SquaredHinge
from ..relations import ArrowForm
from ..solution import Solution, Status
from ..tasks import sort_codes
from .newton import choose_solver, goal, solve_newton

_PASSES_PER_STEP = 3  # passes that one step of `max_iter` stands for
_PATIENCE = 30  # fewer passes than this are a user's wish to stop early
_START_PASSES = 12


def solve_squared_hinge(
    data, form, alpha, *, intercept, tol, max_iter, solver, start=None
):
    """Squared hinge plus 1/2 alpha Omega(W), by what suits the data.

    Wide sparse rows go to `solve_dual`: alone without intercepts, otherwise (and where
    it is slow) to give Newton's method a start.

    Parameters
    ----------
    data, form, alpha, intercept, tol, max_iter, start
        As in `solve_newton`.
    solver : {"auto", "dual-descent", "newton-cholesky", "newton-dual", "newton-cg"}

    Returns
    -------
    Solution
    """
    suits = data.sparse and not data.wide and isinstance(form, ArrowForm)
    if solver == "dual-descent" and not (suits and intercept == "none"):
        raise ValueError(
            "`solver`='dual-descent' is for sparse X in the long layout with "
            "fit_intercept=False and a relation that is 'independent', 'shared_mean' "
            "or 'pooled'; use 'auto'."
        )
    if solver == "auto":
        solver = choose_solver(data, 1, intercept)
        solver = "dual-descent" if suits and solver == "newton-cg" else solver
    options = {"tol": tol, "max_iter": max_iter, "intercept": intercept}
    loss = SquaredHinge()
    if solver == "dual-descent" and intercept == "none":
        passes = _PASSES_PER_STEP * max_iter
        solution = solve_dual(data, form, alpha, tol=tol, max_iter=passes)
        if solution.status is Status.CONVERGED or passes < _PATIENCE:
            return solution
        start, solver = (solution.coef, solution.intercept), "newton-cg"
    elif solver == "dual-descent":
        if start is None:
            start = _penalised_start(data, form, alpha)
        solver = "newton-cg"
    return solve_newton(data, loss, form, alpha, solver=solver, start=start, **options)


def _penalised_start(data, form, alpha):
    """A start for a problem with intercepts: a few passes with them penalised."""
    ones = sp.csr_array(np.ones((data.X.shape[0], 1)))
    extended = replace(data, X=sp.hstack([data.X, ones]).tocsr(), _shared={})
    solution = solve_dual(extended, form, alpha, tol=1e-4, max_iter=_START_PASSES)
    return solution.coef[:, :-1], solution.coef[:, -1]


def solve_dual(data, form, alpha, *, tol=1e-8, max_iter=300, seed=0):
    """Minimise the squared hinge plus 1/2 alpha Omega(W), without intercepts.

    Parameters
    ----------
    data : TaskData
        Sparse features, long layout, labels -1 and +1.
    form : ArrowForm
    alpha : float
    tol : float
        Duality gap at which to stop, relative to the objective of the zero model (and
        to a millionth of the objective itself, whichever is smaller).
    max_iter : int
        Most passes over the rows.
    seed : int
        Of the order in which tasks and their rows are visited.

    Returns
    -------
    Solution
        Its dual has one number per observation.
    """
    state = _State(data, form, alpha)
    rng = check_random_state(seed)
    scale = float(data.weights.sum())
    history, status, due = [], Status.MAX_ITER, tol * scale
    for n_iter in range(1, max_iter + 1):
        # 1) one pass in random order
        gain = alpha * state.descend(rng)
        # 2) the gap costs half a pass: look only when little was left to gain
        if gain > due and n_iter < max_iter:
            continue
        W = state.coef()
        value, gap = state.certify(W)
        history.append((value, gap / scale))
        aim = goal(tol, scale, value)
        if gap <= aim:
            status = Status.CONVERGED
            break
        due = gain * max(0.03, min(0.5, aim / gap))
    b = np.zeros(data.n_tasks)
    return Solution(
        W, b, value, gap / scale, n_iter, status, dual=state.a, history=history
    )


class _State:
    """Dual variables and the weights they imply, kept per task on its own columns.

    Sets: a (n,), common (n_features,), private (n_local,) where the columns of task t
    are `columns[bounds[t]:bounds[t + 1]]`.
    """

    def __init__(self, data, form, alpha):
        X = data.features
        self.data, self.form, self.alpha, self.X = data, form, alpha, X
        self.y, self.inverse = data.labels, alpha / (2.0 * data.weights)
        self.local = np.empty_like(X.indices)
        columns = np.empty(X.nnz, dtype=X.indices.dtype)
        self.bounds = np.zeros(data.n_tasks + 1, dtype=np.int64)
        mark = np.full(X.shape[1], -1, dtype=np.int64)
        _localise(
            X.indices, X.indptr, data.starts, mark, self.local, columns, self.bounds
        )
        self.columns = columns[: self.bounds[-1]].copy()
        self.a = np.zeros(len(self.y))
        self.common = np.zeros(X.shape[1])
        self.private = np.zeros(len(self.columns))
        self.square = np.add.reduceat(
            np.append(X.data**2, 0.0), np.minimum(X.indptr[:-1], X.nnz)
        )
        self.square[np.diff(X.indptr) == 0] = 0.0

    def descend(self, rng):
        """One pass; returns what the dual objective gained (for alpha = 1)."""
        starts = self.data.starts
        mixed = rng.permutation(len(self.y))
        order = mixed[sort_codes(self.data.task_of[mixed], self.data.n_tasks)[0]]
        return _pass(
            self.X.data,
            self.local,
            self.X.indptr,
            starts,
            self.columns,
            self.bounds,
            rng.permutation(self.data.n_tasks),
            order,
            self.y,
            self.inverse,
            self.square,
            self.form.shared**2,
            self.form.private**2,
            self.a,
            self.common,
            self.private,
        )

    def coef(self):
        """W of shape (n_tasks, n_features)."""
        W = np.repeat(self.common[None], self.data.n_tasks, axis=0)
        task = np.repeat(np.arange(self.data.n_tasks), np.diff(self.bounds))
        W[task, self.columns] += self.private
        return W

    def certify(self, W):
        """Objective and duality gap."""
        z = self.data.forward(W)
        loss = SquaredHinge().value(self.y, z, self.data.weights)
        # sum a y z = |theta|^2 at the weights that a implies
        norm2 = float(self.a @ (self.y * z))
        dual = self.a.sum() - 0.5 * norm2 - 0.5 * float(self.a**2 @ self.inverse)
        value = loss + 0.5 * self.alpha * norm2
        return value, max(value - self.alpha * dual, 0.0)


@njit(cache=True)
def _localise(indices, indptr, starts, mark, local, columns, bounds):
    """Number the columns of every task in the order of their appearance."""
    size = 0
    for t in range(starts.shape[0] - 1):
        first = size
        for k in range(indptr[starts[t]], indptr[starts[t + 1]]):
            j = indices[k]
            if mark[j] < first:
                mark[j] = size
                columns[size] = j
                size += 1
            local[k] = mark[j] - first
        bounds[t + 1] = size


@njit(cache=True)
def _pass(
    values,
    local,
    indptr,
    starts,
    columns,
    bounds,
    tasks,
    order,
    y,
    inverse,
    square,
    a2,
    b2,
    a,
    common,
    private,
):
    """Exact steps in single dual variables, task after task."""
    w = np.empty(common.shape[0])
    gain = 0.0
    own = a2 + b2
    for t in tasks:
        first, last = bounds[t], bounds[t + 1]
        for j in range(first, last):
            w[j - first] = common[columns[j]] + private[j]
        for k in range(starts[t], starts[t + 1]):
            i = order[k]
            z = 0.0
            for e in range(indptr[i], indptr[i + 1]):
                z += values[e] * w[local[e]]
            bend = own * square[i] + inverse[i]
            slope = 1.0 - y[i] * z - inverse[i] * a[i]
            step = max(slope / bend, -a[i])
            if step == 0.0:
                continue
            a[i] += step
            gain += step * (slope - 0.5 * bend * step)
            push = own * step * y[i]
            for e in range(indptr[i], indptr[i + 1]):
                w[local[e]] += push * values[e]
        for j in range(first, last):
            moved = (w[j - first] - common[columns[j]] - private[j]) / own
            common[columns[j]] += a2 * moved
            private[j] += b2 * moved
    return gain
