"""Smooth loss of many narrow rows: read where they lie, by passes that keep nothing.

A row of few features costs less to read again than what is known of it costs to keep:
scores, derivatives, a copy of the rows in the order of their tasks. One compiled pass
centres a row, scores it and adds its share of gradient and Hessian to its task's; the
Newton steps are those of `passes.py`.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from ...problem.baseline import base_objective
from ...problem.intercepts import FREE
from ...problem.losses import point_loss
from ...problem.tasks import TaskData
from ...problem.threads import WORTH, in_threads, row_blocks, task_ranges
from .newton import solve_newton
from .passes import Look, TaskSums, solve_by_passes
from .steps import choose_solver

_NARROW = 6  # features up to which reading rows again is faster than keeping things
_CACHED = 300_000  # numbers that tasks may gather in: with more, each row misses caches


def solve_smooth(
    data,
    loss,
    form,
    alpha,
    *,
    intercept=FREE,
    tol=1e-8,
    max_iter=100,
    solver="auto",
    start=None,
):
    """Minimise a smooth loss plus 1/2 alpha Omega(W), by what suits the rows.

    Parameters
    ----------
    data, loss, form, alpha, intercept, tol, max_iter, solver, start
        As in `solve_newton`.

    Returns
    -------
    Solution
    """
    if solver == "auto":
        solver = choose_solver(data, loss.n_scores, intercept)
    how = {"intercept": intercept, "tol": tol, "max_iter": max_iter, "start": start}
    if solver != "newton-cholesky" or not are_many(data, loss):
        return solve_newton(data, loss, form, alpha, solver=solver, **how)
    rows = NarrowRows.of(data, loss, intercept, together=form.composed)
    at_zero = rows.sums(_zero_model(data))
    how["scale"] = base_objective(data, loss, form, intercept, at_zero.value)
    means = rows.means if intercept.own else None

    def sweep(look):
        same = not (look.coef.any() or look.intercept.any())
        return at_zero if same else rows.sums(look)

    labels = _one_of_each(data)
    return solve_by_passes(sweep, labels, loss, form, alpha, means=means, **how)


def are_many(data, loss):
    """Whether the rows are worth passes: many and narrow, with a compiled loss."""
    n, d = data.X.shape
    compiled = hasattr(loss, "code") and not (data.wide or data.sparse)
    few = d <= _NARROW and data.n_tasks * _width(d) <= _CACHED
    return compiled and few and n * d >= WORTH


def _width(d):
    """Numbers that a pass leaves of a task: gradient, half the Hessian, loss."""
    return (d + 1) * (d + 4) // 2 + 1


def _zero_model(data):
    shape = data.n_tasks, data.n_features
    return Look(np.zeros(shape), np.zeros((data.n_tasks, 1)))


def _one_of_each(data):
    """A row for each sign of the labels of each task, all zero."""
    seen = np.zeros((data.n_tasks, 3), dtype=bool)
    for tasks, labels, _ in data.pieces():
        seen[tasks, np.sign(labels).astype(np.intp) + 1] = True
    codes, sign = np.nonzero(seen)
    X = np.zeros((len(codes), data.n_features))
    return TaskData(X, sign - 1.0, data.n_tasks, codes)


@dataclass(frozen=True, eq=False)
class NarrowRows:
    """Rows in any order, and what a pass needs beside a model.

    Attributes
    ----------
    data : TaskData
    loss : object of `mtlearn.problem.losses`
    present : bool
        Whether there are intercepts.
    means : ndarray of shape (n_tasks, n_features)
        What is subtracted from the rows of each task.
    """

    data: TaskData
    loss: object
    present: bool
    means: np.ndarray

    @classmethod
    def of(cls, data, loss, intercept, together):
        """Rows of which the means are taken out where intercepts allow it."""
        n_tasks, d = data.n_tasks, data.n_features
        means = np.zeros((n_tasks, d))
        if intercept.own:
            total = _in_blocks(data, d + 1, _add_rows)
            if together:
                total[:] = total.sum(axis=0)
            means = total[:, :d] / np.maximum(total[:, d:], 1.0)
        return cls(data, loss, intercept.present, means)

    def sums(self, look):
        """What a pass at a model brings back.

        Parameters
        ----------
        look : Look

        Returns
        -------
        TaskSums
        """
        data, d = self.data, self.data.n_features
        weight = data.task_weight
        weight = np.ones(data.n_tasks) if weight is None else weight
        model = np.column_stack([self.means, look.coef, look.intercept, weight])
        weights = np.ones(1) if data.sample_weight is None else data.sample_weight
        code, width = self.loss.code, self.loss.width

        def pass_over(X, codes, rows, low, high, out):
            own = weights if len(weights) == 1 else weights[rows]
            y = data.y[rows]
            _pass(code, width, X, y, own, codes, low, high, model, out)

        total = _in_blocks(data, _width(d), pass_over)
        return self._unpack(total, d + self.present)

    def _unpack(self, total, size):
        n_tasks, at = len(total), self.data.n_features + 1
        hessian = np.empty((n_tasks, size, size))
        for j in range(size):
            for k in range(j + 1):
                hessian[:, j, k] = hessian[:, k, j] = total[:, at + k]
            at += j + 1
        value, every = float(total[:, -1].sum()), np.arange(n_tasks)
        return TaskSums(value, every, total[:, :size].copy(), hessian)


def _in_blocks(data, width, pass_over):
    """Sums by task, (n_tasks, width): of blocks of rows, or by ranges of tasks.

    Either way no number depends on how many threads there are.
    """
    n, d = data.X.shape
    n_tasks, X, codes = data.n_tasks, data.X, data.codes
    blocks = row_blocks(n, d, n_tasks * width)

    def block(rows):
        out = np.zeros((n_tasks, width))
        pass_over(X[rows], codes[rows], rows, 0, n_tasks, out)
        return out

    if len(blocks) > 1:
        parts = in_threads(block, blocks)
        for part in parts[1:]:
            parts[0] += part
        return parts[0]
    out = np.zeros((n_tasks, width))

    def some(tasks):
        low, high = tasks
        pass_over(X, codes, slice(None), low, high, out[low:high])

    in_threads(some, task_ranges(np.arange(n_tasks + 1)))
    return out


# ---------------------------------------------------------------- compiled passes


def _add_rows(X, codes, rows, low, high, out):
    _sum_rows(X, codes, low, high, out)


@njit(cache=True, nogil=True)
def _sum_rows(X, codes, low, high, out):
    """Add the rows of the tasks from `low` to `high`, and their number."""
    n, d = X.shape
    for i in range(n):
        t = codes[i] - low
        if t < 0 or t >= high - low:
            continue
        for j in range(d):
            out[t, j] += X[i, j]
        out[t, d] += 1.0


@njit(cache=True, nogil=True)
def _pass(code, width, X, y, weights, codes, low, high, model, out):
    """Add gradient, Hessian and loss of every row to those of its task.

    Parameters
    ----------
    model : ndarray of shape (n_tasks, 2 * n_features + 2)
        Means, coefficients, intercept and weight of each task.
    out : ndarray of shape (high - low, ...)
        Gradient, the intercept's last; lower triangle of the Hessian; loss.
    """
    n, d = X.shape
    weighted = weights.shape[0] == n
    last = out.shape[1] - 1
    x = np.ones(d + 1)
    for i in range(n):
        s = codes[i]
        t = s - low
        if t < 0 or t >= high - low:
            continue
        z = model[s, 2 * d]
        for j in range(d):
            x[j] = X[i, j] - model[s, j]
            z += x[j] * model[s, d + j]
        v, g, h = point_loss(code, width, y[i], z)
        if g == 0.0 and h == 0.0:
            continue  # and no loss
        w = model[s, 2 * d + 1]
        if weighted:
            w *= weights[i]
        out[t, last] += w * v
        g *= w
        h *= w
        at = d + 1
        for j in range(d + 1):
            out[t, j] += g * x[j]
            c = h * x[j]
            for k in range(j + 1):
                out[t, at + k] += c * x[k]
            at += j + 1
