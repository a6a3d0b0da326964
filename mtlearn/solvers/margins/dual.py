"""Margin losses + common and private parts: coordinate descent on the box dual.

For wide sparse rows: a step touches the nonzeros of one row. The rows are copied once
in random order and visited in random blocks, near to a fresh permutation in every pass
but without its cache misses. Where the rows have as many nonzeros as there are
coefficients, or more, blocks of the rows as they come serve as well, and nothing is
copied. Rows that sit at a bound with room to spare are left out until the others are
done (Hsieh et al. 2008). `solvers.margins.envelope` states the problem. The certificate
is the duality gap.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit
from sklearn.utils import check_random_state

from ...problem.margins import BoxDual
from ...problem.solution import Solution, Status, goal
from .envelope import Envelope, best_dual, of_rows, spare_slope

_BLOCK = 16  # rows that are visited one after the other


def penalised_start(data, loss, form, alpha, *, max_iter=12):
    """A start for a problem with intercepts: a few passes with them penalised.

    Returns
    -------
    start : (coef, intercept)
    dual : ndarray of shape (n,)
    """
    ones = sp.csr_array(np.ones((data.X.shape[0], 1)))
    extended = replace(data, X=sp.hstack([data.X, ones]).tocsr(), _shared={})
    solution = solve_dual(extended, loss, form, alpha, tol=1e-4, max_iter=max_iter)
    start = solution.coef[:, :-1].copy(), solution.coef[:, -1].copy()
    return start, solution.dual


def solve_dual(data, loss, form, alpha, *, tol=1e-8, max_iter=300, seed=0):
    """Minimise a margin loss plus 1/2 alpha Omega(W), without intercepts.

    Parameters
    ----------
    data : TaskData
        Sparse features, long layout, labels -1 and +1 for losses of classes.
    loss : MarginLoss
    form : ArrowForm
    alpha : float
    tol : float
        Duality gap at which to stop, relative to the objective without features (and
        to a millionth of the objective itself, whichever is smaller).
    max_iter : int
        Most passes over the rows.
    seed : int
        Of the order in which the rows are visited.

    Returns
    -------
    Solution
        Its dual has one number per observation: W = K X' dual / alpha.
    """
    descent = _Descent(
        data,
        form,
        alpha,
        loss.box(data.labels, data.weights / alpha),
        check_random_state(seed),
    )
    zeros = np.zeros(len(data.rows))
    scale = descent.envelope.excess(zeros, zeros)[0]
    history, status, due = [], Status.MAX_ITER, tol * scale
    for n_iter in range(1, max_iter + 1):
        gain = descent.sweep()
        # the gap costs half a pass: look only when little was left to gain
        if gain > due and n_iter < max_iter:
            continue
        value, gap = descent.look()
        history.append((alpha * value, gap / max(scale, 1e-300)))
        aim = goal(tol, scale, value)
        if gap <= aim:
            status = Status.CONVERGED
            break
        due = gain * max(0.03, min(0.5, aim / gap))
    return Solution(
        descent.coefficients(),
        np.zeros(data.n_tasks),
        *history[-1],
        n_iter,
        status,
        dual=alpha * descent.multipliers(),
        history=history,
    )


class _Descent:
    """The state of a descent: everything over alpha, `order` the rows to be visited."""

    def __init__(self, data, form, alpha, box, rng):
        self.data, self.rng = data, rng
        n, nnz = len(data.rows), int(np.diff(data.X.indptr)[data.rows].sum())
        if data.n_tasks * data.n_features <= nnz:
            self.order = np.argsort(data.rows, kind="stable")
            self.at, self.own = slice(None), None
            self.problem = _in_place(data, form, box)
            n_private = data.n_tasks * data.n_features
        else:
            self.order, self.at = np.arange(n), rng.permutation(n)
            shuffled = _shuffled(data, form, box, self.at, nnz)
            self.problem, self.own, self.bounds = shuffled
            n_private = len(self.own)
        self.beta, self.z = np.zeros(n), np.zeros(n)
        self.common = np.zeros(data.n_features)
        self.private = np.zeros(n_private)
        self.envelope = Envelope(self.problem.box, self.beta, np.ones(n))
        self.wake()

    def wake(self):
        """Visit all rows again."""
        self.active, self.limit = self.order, np.inf

    def sweep(self):
        """One pass over blocks of rows in random order; returns what the dual gained.

        Rows at a bound, further from leaving it than any row moved in the last pass,
        are left out from then on.
        """
        n_blocks = -(-len(self.active) // _BLOCK)
        awake = np.ones(len(self.order), dtype=np.bool_)
        gain, self.limit = _pass(
            self.problem,
            self.active,
            self.rng.permutation(n_blocks),
            self.limit,
            self.beta,
            self.common,
            self.private,
            awake,
        )
        if not awake.all():
            self.active = self.active[awake[self.active]]
        return gain

    def look(self):
        """Objective and duality gap; after it all rows are visited again."""
        _scores(self.problem, self.common, self.private, self.z)
        loss, gap = self.envelope.excess(self.z, self.beta)
        self.wake()
        return loss + 0.5 * float(self.beta @ self.z), gap

    def multipliers(self):
        """beta of every observation."""
        return self.beta[self.at]

    def coefficients(self):
        """W of shape (n_tasks, n_features)."""
        n_tasks = self.data.n_tasks
        if self.own is None:
            return self.private.reshape(n_tasks, -1) + self.common
        W = np.repeat(self.common[None], n_tasks, axis=0)
        task = np.repeat(np.arange(n_tasks), np.diff(self.bounds))
        W[task, self.own] += self.private
        return W


class _Rows(NamedTuple):
    """What never changes in a fit: sparse rows, and the dual's terms.

    values, columns and place are per nonzero: the entry, its column, and the place of
    its (task, column) pair among the private weights, from the row's offset on. first
    and last are the rows' ends.
    """

    values: np.ndarray
    columns: np.ndarray
    place: np.ndarray
    first: np.ndarray
    last: np.ndarray
    offset: np.ndarray
    square: np.ndarray
    box: BoxDual
    shared2: float
    private2: float


def _in_place(data, form, box):
    """Rows as they are; every task has all columns."""
    X = data.X
    first = X.indptr[data.rows].astype(np.int64)
    last = X.indptr[data.rows + 1].astype(np.int64)
    values, square = X.data.astype(np.float64, copy=False), np.empty(len(first))
    _add_squares(values, first, last, square)
    offset = data.task_of * np.int64(data.n_features)
    coupling = form.shared**2, form.private**2
    place = X.indices, X.indices, first, last, offset
    return _Rows(values, *place, square, box, *coupling)


def _shuffled(data, form, box, at, nnz):
    """Shuffle the rows; number the columns that each task has.

    Parameters
    ----------
    at : ndarray of shape (n,)
        Shuffled position of every observation.
    nnz : int
        Nonzeros of the observations.

    Returns
    -------
    problem : _Rows
    own : ndarray
        Column of every private weight.
    bounds : ndarray of shape (n_tasks + 1,)
        Where each task's private weights start.
    """
    X, n = data.X, len(data.rows)
    back = np.empty(n, dtype=np.int64)
    back[at] = np.arange(n)
    ptr = np.zeros(n + 1, dtype=np.int64)
    problem = _Rows(
        np.empty(nnz),
        np.empty(nnz, X.indices.dtype),
        np.empty(nnz, X.indices.dtype),
        ptr[:-1],
        ptr[1:],
        np.zeros(n, dtype=np.int64),
        np.empty(n),
        of_rows(box, back),
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
        ptr,
        own,
        bounds,
    )
    return problem, own[: bounds[-1]].copy(), bounds


@njit(cache=True)
def _add_squares(values, first, last, square):
    for i in range(first.shape[0]):
        total = 0.0
        for e in range(np.uint64(first[i]), np.uint64(last[i])):
            total += values[e] * values[e]
        square[i] = total


@njit(cache=True)
def _copy_rows(
    data, indices, indptr, rows, starts, at, mark, problem, ptr, own, bounds
):
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


# Reassociation lets the short sums run in vector registers, a third off each pass;
# unsigned positions spare the check for negative ones.
@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _pass(p, active, blocks, limit, beta, common, private, awake):
    """Exact steps in single dual variables; what the dual gained, the largest slope."""
    gain, largest = 0.0, 0.0
    box = p.box
    n = active.shape[0]
    for block in blocks:
        for k in range(block * _BLOCK, min(n, (block + 1) * _BLOCK)):
            i = active[k]
            z, o = 0.0, p.offset[i]
            for e in range(np.uint64(p.first[i]), np.uint64(p.last[i])):
                z += p.values[e] * (
                    common[np.uint64(p.columns[e])] + private[np.uint64(o + p.place[e])]
                )
            bend = (p.shared2 + p.private2) * p.square[i] + box.diagonal[i]
            slope = box.linear[i] - z - box.diagonal[i] * beta[i]
            # a row without features, under a kinked loss: straight to a bound
            inverse = 1.0 / max(bend, 1e-300)
            best = best_dual(box, i, slope + bend * beta[i], inverse)
            step = best - beta[i]
            if step == 0.0:
                awake[i] = spare_slope(box, i, beta[i], slope) <= limit
                continue
            gain += step * (slope - 0.5 * bend * step)
            gain -= box.width[i] * (abs(best) - abs(beta[i]))
            largest = max(largest, abs(step) * bend)
            beta[i] = best
            for e in range(np.uint64(p.first[i]), np.uint64(p.last[i])):
                moved = step * p.values[e]
                common[np.uint64(p.columns[e])] += p.shared2 * moved
                private[np.uint64(o + p.place[e])] += p.private2 * moved
    return gain, largest


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _scores(p, common, private, z):
    for i in range(z.shape[0]):
        total, o = 0.0, p.offset[i]
        for e in range(np.uint64(p.first[i]), np.uint64(p.last[i])):
            total += p.values[e] * (
                common[np.uint64(p.columns[e])] + private[np.uint64(o + p.place[e])]
            )
        z[i] = total
