"""Sums over rows: what a Newton step needs of them, for each task, at one model.

They add up over blocks of rows, over files and over machines. Where rows are narrow one
compiled pass over them, in any order, finds them all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from ...problem.losses import point_loss
from ...problem.tasks import TaskData
from ...problem.threads import in_threads, row_blocks, task_ranges


class Look(NamedTuple):
    """Where a pass looks: a model of all tasks.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, q * d)
    intercept : ndarray of shape (n_tasks, q)
    """

    coef: np.ndarray
    intercept: np.ndarray


# ---------------------------------------------------------------- what adds up


@dataclass(frozen=True, eq=False)
class TaskSums:
    """What a pass brings back of some rows.

    Attributes
    ----------
    value : float
        The loss.
    place : ndarray of shape (n,), int
        Which tasks the other arrays are of, sorted.
    gradient : ndarray of shape (n, q * (d + own))
        In coefficients, class after class, then in intercepts, if there are any.
    hessian : ndarray of shape (n, q * (d + own), q * (d + own))
    """

    value: float
    place: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray

    @classmethod
    def add(cls, parts):
        """Sums of the rows of all parts."""
        place = parts[0].place
        if any(not np.array_equal(part.place, place) for part in parts):
            place = np.unique(np.concatenate([part.place for part in parts]))
        return cls(
            sum(part.value for part in parts),
            place,
            _add_at(place, [(part.place, part.gradient) for part in parts]),
            _add_at(place, [(part.place, part.hessian) for part in parts]),
        )

    def of_all(self, n_tasks):
        """The same, with zeros for tasks without rows."""
        if len(self.place) == n_tasks:
            return self
        place, every = self.place, np.arange(n_tasks)
        gradient = _add_at(every, [(place, self.gradient)])
        hessian = _add_at(every, [(place, self.hessian)])
        return TaskSums(self.value, every, gradient, hessian)


def _add_at(place, parts):
    """Sum arrays that belong to some of the sorted places."""
    total = np.zeros((len(place), *parts[0][1].shape[1:]))
    for where, values in parts:
        if len(where) == len(place):
            total += values
        else:
            total[np.searchsorted(place, where)] += values
    return total


# ---------------------------------------------------------------- of narrow rows


def n_numbers(d):
    """Numbers that a pass leaves of a task: gradient, half the Hessian, loss."""
    return (d + 1) * (d + 4) // 2 + 1


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

        total = _in_blocks(data, n_numbers(d), pass_over)
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
