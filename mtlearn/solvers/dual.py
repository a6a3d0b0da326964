"""Squared hinge + common and private parts: coordinate descent on the box dual.

With c_i the weight of row i over alpha, K the task kernel and x_i the features,

    maximise  sum_i a_i - 1/2 sum_ij a_i a_j y_i y_j K[t_i, t_j] x_i . x_j
              - 1/4 sum_i a_i^2 / c_i   over a >= 0.

For wide sparse rows: a step touches the nonzeros of one row. The rows are copied once
in random order and visited in random blocks, near to a fresh permutation in every pass
but without its cache misses. The certificate is the duality gap.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit
from sklearn.utils import check_random_state

from ..forms import ArrowForm
from ..losses import SquaredHinge
from ..solution import Solution, Status
from .newton import goal, solve_newton
from .steps import choose_solver

_BLOCK = 16  # rows that are visited one after the other
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
        Of the order in which the rows are visited.

    Returns
    -------
    Solution
        Its dual has one number per observation.
    """
    rng = check_random_state(seed)
    problem, own, bounds, at = _shuffled(data, form, alpha, rng)
    a, common = np.zeros(len(at)), np.zeros(data.n_features)
    private = np.zeros(len(own))
    n_blocks = -(-len(at) // _BLOCK)
    scale = float(data.weights.sum())
    history, status, due = [], Status.MAX_ITER, tol * scale
    for n_iter in range(1, max_iter + 1):
        # 1) one pass over blocks of rows in random order
        gain = alpha * _pass(problem, rng.permutation(n_blocks), a, common, private)
        # 2) the gap costs half a pass: look only when little was left to gain
        if gain > due and n_iter < max_iter:
            continue
        loss, norm2, plain = _parts(problem, a, common, private)
        value = alpha * (loss + 0.5 * norm2)
        gap = max(value - alpha * (plain - 0.5 * norm2), 0.0)
        history.append((value, gap / scale))
        aim = goal(tol, scale, value)
        if gap <= aim:
            status = Status.CONVERGED
            break
        due = gain * max(0.03, min(0.5, aim / gap))
    W = np.repeat(common[None], data.n_tasks, axis=0)
    W[np.repeat(np.arange(data.n_tasks), np.diff(bounds)), own] += private
    b = np.zeros(data.n_tasks)
    return Solution(
        W, b, value, gap / scale, n_iter, status, dual=a[at], history=history
    )


class _Rows(NamedTuple):
    """What never changes in a fit: sparse rows in shuffled order, and the dual's terms.

    values, columns and place are per nonzero: the entry, its column, and the place of
    its (task, column) pair among the private weights.
    """

    values: np.ndarray
    columns: np.ndarray
    place: np.ndarray
    ptr: np.ndarray
    square: np.ndarray
    y: np.ndarray
    inverse: np.ndarray
    shared2: float
    private2: float


def _shuffled(data, form, alpha, rng):
    """Shuffle the rows; number the columns that each task has.

    Returns
    -------
    problem : _Rows
    own : ndarray
        Column of every private weight.
    bounds : ndarray of shape (n_tasks + 1,)
        Where each task's private weights start.
    at : ndarray of shape (n,)
        Shuffled position of every observation.
    """
    X, n = data.X, len(data.rows)
    at = rng.permutation(n)
    nnz = int(np.diff(X.indptr)[data.rows].sum())
    y, inverse = np.empty(n), np.empty(n)
    y[at], inverse[at] = data.labels, alpha / (2.0 * data.weights)
    problem = _Rows(
        np.empty(nnz),
        np.empty(nnz, X.indices.dtype),
        np.empty(nnz, X.indices.dtype),
        np.zeros(n + 1, dtype=np.int64),
        np.empty(n),
        y,
        inverse,
        form.shared**2,
        form.private**2,
    )
    own = np.empty(nnz, X.indices.dtype)
    bounds = np.zeros(data.n_tasks + 1, dtype=np.int64)
    mark = np.full(X.shape[1], -1, dtype=np.int64)
    _copy_rows(
        X.data,
        X.indices,
        X.indptr,
        data.rows,
        data.starts,
        at,
        mark,
        problem,
        own,
        bounds,
    )
    return problem, own[: bounds[-1]].copy(), bounds, at


@njit(cache=True)
def _copy_rows(data, indices, indptr, rows, starts, at, mark, problem, own, bounds):
    ptr = problem.ptr
    for k in range(rows.shape[0]):
        ptr[at[k] + 1] = indptr[rows[k] + 1] - indptr[rows[k]]
    for k in range(rows.shape[0]):
        ptr[k + 1] += ptr[k]
    size = 0
    for t in range(starts.shape[0] - 1):
        first = size
        for k in range(starts[t], starts[t + 1]):
            o = ptr[at[k]]
            total = 0.0
            for e in range(indptr[rows[k]], indptr[rows[k] + 1]):
                j = indices[e]
                if mark[j] < first:
                    mark[j] = size
                    own[size] = j
                    size += 1
                problem.values[o] = data[e]
                problem.columns[o] = j
                problem.place[o] = mark[j]
                total += data[e] * data[e]
                o += 1
            problem.square[at[k]] = total
        bounds[t + 1] = size


# Reassociation lets the short sums run in vector registers: a third off each pass.
@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _score(p, i, common, private):
    """x_i . w_t; unsigned positions spare the check for negative ones."""
    z = 0.0
    for e in range(np.uint64(p.ptr[i]), np.uint64(p.ptr[i + 1])):
        z += p.values[e] * (
            common[np.uint64(p.columns[e])] + private[np.uint64(p.place[e])]
        )
    return z


@njit(cache=True)
def _pass(p, blocks, a, common, private):
    """Exact steps in single dual variables; returns what the dual gained."""
    gain = 0.0
    n = p.y.shape[0]
    for block in blocks:
        for i in range(block * _BLOCK, min(n, (block + 1) * _BLOCK)):
            z = _score(p, i, common, private)
            bend = (p.shared2 + p.private2) * p.square[i] + p.inverse[i]
            slope = 1.0 - p.y[i] * z - p.inverse[i] * a[i]
            step = max(slope / bend, -a[i])
            if step == 0.0:
                continue
            a[i] += step
            gain += step * (slope - 0.5 * bend * step)
            push = step * p.y[i]
            for e in range(np.uint64(p.ptr[i]), np.uint64(p.ptr[i + 1])):
                moved = push * p.values[e]
                common[np.uint64(p.columns[e])] += p.shared2 * moved
                private[np.uint64(p.place[e])] += p.private2 * moved
    return gain


@njit(cache=True)
def _parts(p, a, common, private):
    """Loss over alpha, |theta|^2, and the dual's linear less its diagonal part."""
    loss, norm2, plain = 0.0, 0.0, 0.0
    for i in range(p.y.shape[0]):
        z = _score(p, i, common, private)
        slack = max(0.0, 1.0 - p.y[i] * z)
        loss += 0.5 * slack * slack / p.inverse[i]
        norm2 += a[i] * p.y[i] * z
        plain += a[i] - 0.5 * a[i] * a[i] * p.inverse[i]
    return loss, norm2, plain
