"""A linear head per task on features that all tasks share.

Heads lie side by side as columns: one for a number or for two classes, one per class of
the task otherwise. With the squared loss the best heads for given features are those of
independent ridge regressions, and are found exactly.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numba import njit

from ...problem.intercepts import SATURATED, SHARED
from ...problem.tasks import TaskData, score_dense
from ...relations import Independent
from ..linalg import factor_spd, solve_spd
from ..related.squared import solve_squared
from .ridge import ridge_heads

SQUARED, LOG = 0, 1
_EXACT = 1e-12  # tolerance of the heads that are solved for
_CHUNK = 1 << 19  # products of pairs of features held at once


@dataclass(frozen=True)
class Heads:
    """Labels, weights and penalty of all heads; knows nothing of the layers below.

    Attributes
    ----------
    data : TaskData
        Rows in the order of their tasks in the long layout.
    own : ndarray of shape (n_tasks, n_labels), bool, or None
        Classes of each task, for the log-loss; None for the squared loss.
    alpha : float
    intercept : Intercepts
    y, weight : ndarray of shape (n_samples, n_tasks) or (n_samples,)
        Labels as the heads count them, and what they count for.
    row_weight : ndarray of shape (n_samples,) or None
        Weights of the rows, where all tasks have the same ones.
    alike : bool
        Whether all tasks have the same rows and weights.
    plain : bool
        Whether all weights are one.
    """

    data: TaskData
    own: np.ndarray | None
    alpha: float
    intercept: object
    y: np.ndarray
    weight: np.ndarray
    row_weight: np.ndarray | None
    alike: bool
    plain: bool

    @classmethod
    def of(cls, data, own, alpha, intercept):
        """Heads of all observations."""
        weight = _weights(data)
        plain = bool(np.all(weight == 1.0))
        y = np.where(weight > 0, data.y, 0.0)
        if own is not None:
            y = np.where(weight > 0, _own_codes(y, own, data.codes), 0.0)
        if own is not None and own.shape[1] > 2:
            # a task with one class among several has nothing to learn
            single = own.sum(axis=1) < 2
            weight = weight * ~(single if data.wide else single[data.codes])
        # one memory order, so that rounding does not depend on the container
        y, weight = np.ascontiguousarray(y), np.ascontiguousarray(weight)
        row = data.sample_weight if data.common else None
        return cls(data, own, alpha, intercept, y, weight, row, data.common, plain)

    @property
    def kind(self):
        return SQUARED if self.own is None else LOG

    @cached_property
    def _sizes(self):
        return head_sizes(self.own, self.data.n_tasks)

    @property
    def label_of(self):
        """A number for the label of every column."""
        return self._sizes[1]

    @cached_property
    def starts(self):
        """First column of every task, and the number of columns."""
        return np.concatenate([[0], np.cumsum(self._sizes[0])])

    @property
    def n_columns(self):
        return int(self.starts[-1])

    @property
    def task_of_column(self):
        return np.repeat(np.arange(self.data.n_tasks), self._sizes[0])

    @property
    def mass(self):
        """Weight of all labels that every column sees."""
        if self.data.wide:
            total = self.weight.sum(axis=0, dtype=np.float64)
        else:
            n_tasks = self.data.n_tasks
            total = np.bincount(self.data.codes, self.weight, minlength=n_tasks)
        return total[self.task_of_column]

    @property
    def task_weight(self):
        given = self.data.task_weight
        return np.ones(self.data.n_tasks) if given is None else given

    @property
    def _fast(self):
        return self.data.wide and self.alpha > 0 and not self.intercept.common

    def rows(self, index, dtype):
        """The same heads on some of the rows, which count for all; other precision."""

        def take(values):
            return values if index is None else values[index]

        there = take(self.weight).sum()
        # a part without labels counts for nothing
        scale = self.weight.sum() / there if there > 0 else 1.0
        row = self.row_weight
        if self.alike and (row is not None or index is not None):
            row = np.ones(len(self.y)) if row is None else row
            row = (scale * take(row)).astype(dtype)
        return replace(
            self,
            data=self.data if self._fast else self._narrow(take, scale),
            y=np.ascontiguousarray(take(self.y), dtype=dtype),
            weight=np.ascontiguousarray(scale * take(self.weight), dtype=dtype),
            row_weight=row,
            plain=self.plain and scale == 1.0,
        )

    def part(self, rows, scale):
        """The heads on a slice of the rows, as `evaluate` wants them.

        Rows may be in any order; all of them weigh `scale` times as much.
        """
        data = self.data
        if not data.wide:
            data = replace(data, codes=data.codes[rows], _shared={})
        weight = self.weight[rows] * self.weight.dtype.type(scale)
        kept = {"y": self.y[rows], "weight": weight, "row_weight": None}
        return replace(self, data=data, plain=False, **kept)

    def _narrow(self, take, scale):
        """What the general solver wants to see of some of the rows."""
        data, ones = self.data, np.ones(len(self.data.y))
        weight = ones if data.sample_weight is None else data.sample_weight
        y = take(data.y)
        return TaskData(
            np.empty((len(y), 0)),
            y,
            data.n_tasks,
            None if data.wide else take(data.codes),
            scale * take(weight),
            data.task_weight,
        )

    # -------------------------------------------------------- the function

    def zero_objective(self):
        """The loss where all heads are zero."""
        Z = np.zeros((len(self.y), self.n_columns if self.data.wide else self._most))
        return self._loss(Z)

    @property
    def _most(self):
        return int(np.diff(self.starts).max())

    def _loss(self, Z):
        """Loss at scores Z, which its gradient overwrites."""
        if self.data.wide and self.kind == SQUARED:
            Z -= self.y
            if self.plain:
                return 0.5 * float(np.vdot(Z, Z))
            residual = Z.copy()
            Z *= self.weight
            return 0.5 * float(np.vdot(Z, residual))
        codes, y, weight = self.data.codes, self.y, self.weight
        if self.data.wide:
            codes = np.empty(0, dtype=np.int64)
        else:
            y, weight = y[:, None], weight[:, None]
        return _sum_losses(self.kind, y, weight, codes, self.starts, Z)

    def evaluate(self, H, V, b, best=False):
        """Loss of heads V (n_columns, h) with intercepts b (n_columns,).

        Where the heads are the best ones their derivatives, not needed, are None.

        Returns
        -------
        value : float
        dV, db : ndarray
        D : ndarray of the shape of H
            Derivatives in the shared features.
        """
        V, b = V.astype(H.dtype, copy=False), b.astype(H.dtype, copy=False)
        if self.data.wide:
            Z = H @ V.T
            Z += b
            value = self._loss(Z)
            if best:
                return value, None, None, Z @ V
            return value, Z.T @ H, Z.sum(axis=0), Z @ V
        Z = np.zeros((len(H), self._most), dtype=H.dtype)
        D, codes = np.zeros_like(H), self.data.codes
        score_dense(H, codes, self.starts, V, b, Z)
        value = self._loss(Z)
        dV, db = np.zeros(V.shape), np.zeros(len(V))
        _carry(H, codes, self.starts, V, Z, dV, db, D)
        return value, dV, db, D

    def mean_loss(self, H, V, b):
        """The loss of heads per label."""
        return self.evaluate(H, V, b)[0] / max(float(self.weight.sum()), 1e-300)

    def spread(self):
        """Units of the columns: the standard deviations of the labels, or one."""
        if self.kind == LOG:
            return np.ones(self.n_columns)
        total, data = self.weight.sum(axis=0), self.data
        if data.wide:
            total = np.maximum(total, 1e-300)
            mean = (self.weight * self.y).sum(axis=0) / total
            square = (self.weight * (self.y - mean) ** 2).sum(axis=0) / total
        else:
            square = np.full(self.n_columns, np.cov(self.y, aweights=self.weight))
        return np.where(square > 0, np.sqrt(square), 1.0)

    def penalty(self, V, b):
        """1/2 alpha times the squares, and its derivatives in V and b."""
        value, db = 0.5 * self.alpha * float(np.vdot(V, V)), np.zeros(len(b))
        if self.intercept.shrunk:
            db = self.alpha * self.intercept.strength * (b - self._level(b))
            value += 0.5 * float(db @ (b - self._level(b)))
        return value, self.alpha * V, db

    def _level(self, b):
        """Mean intercept of the columns of the same label, at every column."""
        count = np.bincount(self.label_of)
        mean = np.bincount(self.label_of, weights=b) / np.maximum(count, 1)
        return mean[self.label_of]

    def confine(self, db):
        """The gradient of intercepts that may move, as a direction for all of them."""
        if self.intercept == SHARED:
            return self._level(db)
        return db if self.intercept.present else np.zeros_like(db)

    # -------------------------------------------------------- the best heads

    def start(self):
        """Zero heads, with intercepts that fit the labels' frequencies."""
        b = np.zeros(self.n_columns)
        if self.kind == LOG and self.intercept.present:
            b = _log_odds(self.y, self.weight, self.starts, self.data.codes)
            b = self.confine(b)
        return b

    def project(self, H):
        """The best heads for the squared loss: V (n_columns, h) and b (n_columns,)."""
        data = self.data
        if self._fast:
            return self._by_one_gram(H) if self.alike else self._by_grams(H)
        if not data.wide and self.alpha > 0 and not self.intercept.common:
            starts = np.searchsorted(data.codes, np.arange(data.n_tasks + 1))
            rows = H, self.y, self.weight, starts
            found = ridge_heads(*rows, self.alpha, self.intercept.own)
            if found is not None:
                return found
        data = replace(data, X=np.asarray(H, dtype=np.float64), _shared={})
        form = Independent().form(np.arange(data.n_tasks))
        solution = solve_squared(
            data,
            form,
            self.alpha,
            intercept=self.intercept,
            tol=_EXACT,
            max_iter=50,
            solver="auto",
            start=None,
        )
        return solution.coef, solution.intercept

    def _by_one_gram(self, H):
        """The same where all tasks have one Gram matrix, up to a factor."""
        weight, free = self.row_weight, self.intercept.own
        heavy = H if weight is None else H * weight[:, None]
        C, G = heavy.T @ self.y, heavy.T @ H
        C, G = C.astype(np.float64), G.astype(np.float64)
        if free:
            total = float(len(H)) if weight is None else float(weight.sum())
            # sums by BLAS, which is much faster
            row = np.ones(len(H), H.dtype) if weight is None else weight
            mean = (row @ H).astype(np.float64) / total
            y_mean = (row @ self.y).astype(np.float64) / total
            G -= total * np.outer(mean, mean)
            C -= total * np.outer(mean, y_mean)
        V = np.empty((len(C.T), len(G)))
        for strength in np.unique(self.task_weight):
            tasks = self.task_weight == strength
            M = G + (self.alpha / strength) * np.eye(len(G))
            V[tasks] = solve_spd(factor_spd(M), C[:, tasks]).T
        return V, y_mean - V @ mean if free else np.zeros(len(V))

    def _by_grams(self, H):
        """The same with a Gram matrix for every task, all made by one product."""
        h, free = H.shape[1], self.intercept.own
        heavy = self.weight * self.y
        C = (heavy.T @ H).astype(np.float64)
        G = _weighted_grams(H, self.weight)
        if free:
            total = self.weight.sum(axis=0, dtype=np.float64)
            total = np.where(total > 0, total, 1.0)[:, None]
            mean = (self.weight.T @ H) / total
            y_mean = heavy.sum(axis=0, dtype=np.float64) / total[:, 0]
            G -= total[:, :, None] * mean[:, :, None] * mean[:, None, :]
            C -= total * mean * y_mean[:, None]
        G[:, np.arange(h), np.arange(h)] += self.alpha
        V = np.linalg.solve(G, C[:, :, None])[:, :, 0]
        if not free:
            return V, np.zeros(len(V))
        return V, y_mean - np.einsum("tj,tj->t", V, mean)


def head_sizes(own, n_tasks):
    """Columns of each task's head, and a number for the label of every column."""
    if own is None or own.shape[1] == 2:
        return np.ones(n_tasks, dtype=np.int64), np.zeros(n_tasks, dtype=np.int64)
    sizes = own.sum(axis=1)
    sizes = np.where(sizes > 2, sizes, 1)
    labels = [np.flatnonzero(row) if row.sum() > 2 else [0] for row in own]
    # a single column stands for a pair of labels, not for a label
    shift = [row.sum() > 2 for row in own]
    numbers = [np.asarray(part) + int(more) for part, more in zip(labels, shift)]
    return sizes, np.concatenate(numbers).astype(np.int64)


def _weights(data):
    """Weight of every label: (n_samples, n_tasks), zero if missing; or (n_samples,)."""
    if data.wide:
        weight = data.observed.astype(np.float64)
        if data.sample_weight is not None:
            own = data.sample_weight
            weight *= own if own.ndim == 2 else own[:, None]
        return weight if data.task_weight is None else weight * data.task_weight
    weight = np.ones(len(data.y)) if data.sample_weight is None else data.sample_weight
    return weight if data.task_weight is None else weight * data.task_weight[data.codes]


def _own_codes(y, own, codes):
    """Labels as the heads count them: -1 and +1, or a position among the task's own."""
    rank = np.cumsum(own, axis=1) - 1.0
    several = own.sum(axis=1) > 2
    if own.shape[1] == 2:
        return 2.0 * y - 1.0
    label = y.astype(np.intp)
    task = np.arange(len(own)) if codes is None else codes
    place = rank[np.broadcast_to(task, y.shape), label]
    return np.where(several[task], place, 2.0 * place - 1.0)


def _log_odds(y, weight, starts, codes):
    """Intercepts of the labels' frequencies."""
    b = np.zeros(starts[-1])
    for t, (first, last) in enumerate(pairwise(starts)):
        labels, w = (y[:, t], weight[:, t]) if codes is None else (y, weight)
        if codes is not None:
            rows = slice(*np.searchsorted(codes, [t, t + 1]))
            labels, w = y[rows], weight[rows]
        total = w.sum()
        if not total > 0:
            continue
        if last - first == 1:
            up = w[labels > 0].sum()
            odds = np.log(max(up, 1e-300)) - np.log(max(total - up, 1e-300))
            b[first] = np.clip(odds, -SATURATED, SATURATED)
        else:
            count = np.bincount(labels.astype(np.intp), w, minlength=last - first)
            b[first:last] = np.log(np.maximum(count, 1e-3 * total) / total)
            b[first:last] -= b[first:last].mean()
    return b


def _weighted_grams(H, weight):
    """sum_i weight[i, t] h_i h_i' for every task, (n_tasks, h, h)."""
    n, h = H.shape
    pairs = h * (h + 1) // 2
    step = max(16, _CHUNK // pairs)
    products = np.empty((min(step, n), pairs), dtype=H.dtype)
    total = np.zeros((weight.shape[1], pairs))
    for low in range(0, n, step):
        part = H[low : low + step]
        at = 0
        for j in range(h):
            pair = products[: len(part), at : at + h - j]
            np.multiply(part[:, j : j + 1], part[:, j:], out=pair)
            at += h - j
        total += weight[low : low + step].T @ products[: len(part)]
    grams = np.empty((len(total), h, h))
    upper = np.triu_indices(h)
    grams[:, upper[0], upper[1]] = total
    grams[:, upper[1], upper[0]] = total
    return grams


# ---------------------------------------------------------------- compiled passes


@njit(cache=True)
def _observation(kind, y, w, z, first, last):
    """Loss of one label at z[first:last], which its gradient overwrites."""
    if w == 0.0:
        for c in range(first, last):
            z[c] = 0.0
        return 0.0
    if kind == 0:
        r = z[first] - y
        z[first] = w * r
        return 0.5 * w * r * r
    if last - first == 1:
        m = y * z[first]
        e = np.exp(-abs(m))
        p = e / (1.0 + e)
        z[first] = -w * y * (p if m > 0.0 else 1.0 - p)
        return w * (np.log1p(e) + (0.0 if m > 0.0 else -m))
    top = z[first]
    for c in range(first + 1, last):
        top = max(top, z[c])
    hit = first + int(y)
    value, total = top - z[hit], 0.0
    for c in range(first, last):
        z[c] = np.exp(z[c] - top)
        total += z[c]
    for c in range(first, last):
        z[c] = w * z[c] / total
    z[hit] -= w
    return w * (value + np.log(total))


@njit(cache=True)
def _sum_losses(kind, Y, weight, codes, starts, Z):
    """Loss of scores Z, which its gradient overwrites; no codes in the wide layout."""
    total = 0.0
    for i in range(Z.shape[0]):
        for k in range(Y.shape[1]):
            t = codes[i] if len(codes) else k
            first = 0 if len(codes) else starts[k]
            last = first + starts[t + 1] - starts[t]
            total += _observation(kind, Y[i, k], weight[i, k], Z[i], first, last)
    return total


@njit(cache=True)
def _carry(H, codes, starts, V, G, dV, db, D):
    """Adjoint of `score_dense`: everything is added to."""
    for i in range(H.shape[0]):
        first = starts[codes[i]]
        for c in range(first, starts[codes[i] + 1]):
            g = G[i, c - first]
            db[c] += g
            for j in range(H.shape[1]):
                dV[c, j] += g * H[i, j]
                D[i, j] += g * V[c, j]
