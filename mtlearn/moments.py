"""Per-task second moments: all that a squared loss ever sees of the rows.

They are centred task by task, so that an intercept costs no digits, and they add,
subtract and merge: a fold is the total less its own rows.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.linalg import blas

from .problem.tasks import gram_chunk

_DENSE_BYTES = 1 << 26  # sparse rows are made dense in batches of this size
GRAM_BYTES = 1 << 31  # Gram matrices of all tasks are never larger than this
_FEW = 128  # features up to which moments are cheap even of few rows
_CHUNK = 1024  # rows that are centred at once


# ---------------------------------------------------------------- moments or rows?


def grams_fit(data, copies=1):
    """Whether Gram matrices of the tasks fit into memory.

    Parameters
    ----------
    data : TaskData
    copies : int
        How many sets of them there are to be at once, and how much else beside them.
    """
    blocks = 1 if data.common else data.n_tasks
    return 8.0 * copies * blocks * data.n_features**2 <= GRAM_BYTES


def moments_pay(data, copies=1):
    """Whether a squared loss asks less of moments than of rows, over many passes."""
    d = data.n_features
    rows = data.X.shape[0] if data.wide else len(data.rows) / data.n_tasks
    return (d <= rows or d <= _FEW) and grams_fit(data, copies=copies)


# ---------------------------------------------------------------- moments


@dataclass(frozen=True)
class TaskMoments:
    """Centred second moments of each task.

    Tasks that see the same rows with the same weights share one entry of `weight`,
    `mean` and `gram` (complete `Y` has a single one). With sample weights s and the
    weighted means taken out, task t of group u has

        gram[u] = sum_i s_i (x_i - mean[u]) (x_i - mean[u])',
        cross[t] = sum_i s_i (x_i - mean[u]) (y_i - y_mean[t]),
        y_square[t] = sum_i s_i (y_i - y_mean[t])^2,

    and its task weight stands beside them in `scale`, not inside.

    Attributes
    ----------
    weight : ndarray of shape (n_groups,)
        Sum of the sample weights.
    mean : ndarray of shape (n_groups, n_features)
    gram : ndarray of shape (n_groups, n_features, n_features)
    group : ndarray of shape (n_tasks,), int
        The group of each task.
    scale : ndarray of shape (n_tasks,)
        Task weights.
    y_mean, y_square : ndarray of shape (n_tasks,)
    cross : ndarray of shape (n_tasks, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn.problem.tasks import TaskData
    >>> X, y = np.array([[0.0], [2.0], [5.0]]), np.array([1.0, 3.0, 2.0])
    >>> both = TaskMoments.from_data(TaskData(X, y, 2, codes=np.array([0, 0, 1])))
    >>> both.gram.ravel().tolist(), both.cross.ravel().tolist()
    ([2.0, 0.0], [2.0, 0.0])
    """

    weight: np.ndarray
    mean: np.ndarray
    gram: np.ndarray
    group: np.ndarray
    scale: np.ndarray
    y_mean: np.ndarray
    y_square: np.ndarray
    cross: np.ndarray

    @classmethod
    def from_data(cls, data):
        """Gather the moments of `TaskData` in one pass over its rows."""
        return _from_wide(data) if data.wide else _from_rows(data)

    @property
    def n_tasks(self):
        return len(self.group)

    @property
    def n_features(self):
        return self.cross.shape[1]

    @property
    def task_weights(self):
        """Total weight of each task's rows, task weight included."""
        return self.scale * self.weight[self.group]

    @property
    def zero_objective(self):
        """`objective` of the zero model."""
        return self._constant(0.0)

    def base_objective(self, intercept):
        """`objective` of the best intercepts alone, shrunken ones all alike."""
        return self._constant(intercept.best(self.y_mean, self.task_weights))

    def _constant(self, level):
        """`objective` of constants."""
        raw = self.y_square + self.weight[self.group] * (self.y_mean - level) ** 2
        return 0.5 * float(self.scale @ raw)

    def expand(self):
        """Return the same moments with a group for every task."""
        if len(self.weight) == self.n_tasks and np.all(
            self.group == np.arange(self.n_tasks)
        ):
            return self
        u = self.group
        return TaskMoments(
            self.weight[u],
            self.mean[u],
            self.gram[u],
            np.arange(self.n_tasks),
            self.scale,
            self.y_mean,
            self.y_square,
            self.cross,
        )

    def with_constant(self, value=1.0):
        """The same moments with a last feature of one value."""
        one = ((0, 0), (0, 1))
        return TaskMoments(
            self.weight,
            np.pad(self.mean, one, constant_values=value),
            np.pad(self.gram, ((0, 0), (0, 1), (0, 1))),
            self.group,
            self.scale,
            self.y_mean,
            self.y_square,
            np.pad(self.cross, one),
        )

    def __add__(self, other):
        """Moments of both sets of rows of the same tasks."""
        return _combine(self, other, 1.0)

    def __sub__(self, other):
        """Moments of the rows that are left when `other`'s are taken away."""
        return _combine(self, other, -1.0)

    @classmethod
    def merge(cls, parts):
        """Moments of all rows of several sets: streams, files, workers."""
        parts = list(parts)
        if not parts:
            raise ValueError("`parts` is empty: expected at least one TaskMoments.")
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def objective(self, coef, intercept):
        """1/2 sum_t lambda_t sum_i s_i (y_i - x_i . w_t - b_t)^2."""
        u = self.group
        fitted = np.einsum("tj,tj->t", self._gram_dot(coef), coef)
        spread = self.y_square - 2 * np.einsum("tj,tj->t", self.cross, coef) + fitted
        offset = self.y_mean - intercept - np.einsum("tj,tj->t", self.mean[u], coef)
        return 0.5 * float(
            self.scale @ (np.maximum(spread, 0.0) + self.weight[u] * offset**2)
        )

    def gradient(self, coef, intercept):
        """Gradient of `objective`: (n_tasks, n_features) and (n_tasks,)."""
        u = self.group
        mean = self.mean[u]
        offset = intercept + np.einsum("tj,tj->t", mean, coef) - self.y_mean
        g_intercept = self.scale * self.weight[u] * offset
        g_coef = self.scale[:, None] * (self._gram_dot(coef) - self.cross)
        return g_coef + g_intercept[:, None] * mean, g_intercept

    def _gram_dot(self, coef):
        """gram[group[t]] @ coef[t] for every task."""
        if len(self.weight) == 1:
            return coef @ self.gram[0]
        if len(self.weight) == self.n_tasks:
            return np.matmul(self.gram[self.group], coef[:, :, None])[:, :, 0]
        product = np.empty_like(coef)
        for u in range(len(self.weight)):
            tasks = self.group == u
            product[tasks] = coef[tasks] @ self.gram[u]
        return product


def _combine(one, two, sign):
    """Pool (sign 1) or take apart (sign -1) two sets of moments, group by group."""
    if one.cross.shape != two.cross.shape:
        raise ValueError(
            "Moments of different problems: expected the same n_tasks and n_features, "
            f"got {one.cross.shape} and {two.cross.shape}."
        )
    if not np.array_equal(one.group, two.group):
        one, two = one.expand(), two.expand()
    u = one.group
    weight = np.maximum(one.weight + sign * two.weight, 0.0)
    # rows left over from rounding only are no rows
    weight[weight <= 1e-12 * np.maximum(one.weight, two.weight)] = 0.0
    share = np.divide(
        sign * two.weight, weight, out=np.zeros_like(weight), where=weight > 0
    )
    shift, y_shift = two.mean - one.mean, two.y_mean - one.y_mean
    # with m the new mean, the pooled scatter gains w1 w2 / w times the squared shift
    between = one.weight * share
    alive, alive_t = weight > 0, (weight > 0)[u]
    gram = one.gram + sign * two.gram
    gram += between[:, None, None] * shift[:, :, None] * shift[:, None, :]
    cross = one.cross + sign * two.cross + (between[u] * y_shift)[:, None] * shift[u]
    y_square = one.y_square + sign * two.y_square + between[u] * y_shift**2
    return TaskMoments(
        weight,
        np.where(alive[:, None], one.mean + share[:, None] * shift, 0.0),
        np.where(alive[:, None, None], gram, 0.0),
        u,
        np.maximum(one.scale, two.scale),
        np.where(alive_t, one.y_mean + share[u] * y_shift, 0.0),
        np.where(alive_t, np.maximum(y_square, 0.0), 0.0),
        np.where(alive_t[:, None], cross, 0.0),
    )


# ---------------------------------------------------------------- rows of their own


def _from_rows(data):
    """Moments of tasks that each have rows of their own, block by block."""
    n_tasks, d = data.n_tasks, data.n_features
    rows, starts = data.rows, data.starts
    labels, weight = data.take(data.y), data.sample_weight
    weights = np.ones(len(rows)) if weight is None else data.take(weight)
    out = TaskMoments(
        weight=np.zeros(n_tasks),
        mean=np.zeros((n_tasks, d)),
        gram=np.zeros((n_tasks, d, d)),
        group=np.arange(n_tasks),
        scale=np.ones(n_tasks) if data.task_weight is None else data.task_weight,
        y_mean=np.zeros(n_tasks),
        y_square=np.zeros(n_tasks),
        cross=np.zeros((n_tasks, d)),
    )
    buffer = np.empty((gram_chunk(d), d))
    for first, last, X, places in _dense_batches(data, rows, starts):
        s, e = starts[first], starts[last]
        _gather(
            X,
            places,
            starts[first : last + 1] - s,
            labels[s:e],
            weights[s:e],
            buffer,
            out.weight[first:last],
            out.mean[first:last],
            out.gram[first:last],
            out.y_mean[first:last],
            out.y_square[first:last],
            out.cross[first:last],
        )
    return out


def _dense_batches(data, rows, starts):
    """Yield (first task, last task, dense rows, their places) over all tasks."""
    if not sp.issparse(data.X):
        yield 0, data.n_tasks, data.X, rows
        return
    most = max(1, _DENSE_BYTES // (8 * max(1, data.n_features)))
    first = 0
    while first < data.n_tasks:
        last = int(np.searchsorted(starts, starts[first] + most, side="right")) - 1
        last = min(max(last, first + 1), data.n_tasks)
        block = data.X[rows[starts[first] : starts[last]]]
        yield first, last, block.toarray(), np.arange(block.shape[0])
        first = last


@njit(cache=True)
def _gather(
    X, rows, starts, y, weights, buffer, weight, mean, gram, y_mean, y_square, cross
):
    """Means first, then centred rows in a buffer, chunk by chunk, for every task."""
    chunk, d = buffer.shape
    label, product = np.empty(chunk), np.empty((d, d))
    for t in range(starts.shape[0] - 1):
        s, e = starts[t], starts[t + 1]
        total = 0.0
        m = mean[t]
        for i in range(s, e):
            w = weights[i]
            row = X[rows[i]]
            total += w
            y_mean[t] += w * y[i]
            for j in range(d):
                m[j] += w * row[j]
        weight[t] = total
        if total <= 0.0:
            continue
        y_mean[t] /= total
        for j in range(d):
            m[j] /= total
        for low in range(s, e, chunk):
            size = min(chunk, e - low)
            for k in range(size):
                root = np.sqrt(weights[low + k])
                row = X[rows[low + k]]
                label[k] = root * (y[low + k] - y_mean[t])
                y_square[t] += label[k] * label[k]
                for j in range(d):
                    buffer[k, j] = root * (row[j] - m[j])
            part = buffer[:size]
            # loops, as whole-array sums bring NumPy's broadcasting, seconds to compile
            np.dot(part.T, part, product)
            for i in range(d):
                for j in range(d):
                    gram[t, i, j] += product[i, j]
            np.dot(label[:size], part, product[0])
            for j in range(d):
                cross[t, j] += product[0, j]


# ---------------------------------------------------------------- rows in common


def _from_wide(data):
    n_tasks, d = data.n_tasks, data.n_features
    group, first = same_rows(data)
    n_groups = len(first)
    alone = np.bincount(group)[group] == 1
    if alone.all() and n_tasks > 1:
        return _from_rows(data)
    out = TaskMoments(
        weight=np.zeros(n_groups),
        mean=np.zeros((n_groups, d)),
        gram=np.zeros((n_groups, d, d)),
        group=group,
        scale=np.ones(n_tasks) if data.task_weight is None else data.task_weight,
        y_mean=np.zeros(n_tasks),
        y_square=np.zeros(n_tasks),
        cross=np.zeros((n_tasks, d)),
    )
    if alone.any() and n_tasks > 1:
        _place(_from_rows(data.only(alone)), group[alone], np.flatnonzero(alone), out)
    for u in np.unique(group[~alone] if n_tasks > 1 else group):
        _one_group(data, u, first[u], np.flatnonzero(group == u), out)
    return out


def _place(part, groups, tasks, out):
    """Copy moments of some tasks, each a group of its own, into those of all."""
    out.weight[groups], out.mean[groups] = part.weight, part.mean
    out.gram[groups] = part.gram
    out.y_mean[tasks], out.y_square[tasks] = part.y_mean, part.y_square
    out.cross[tasks] = part.cross


def same_rows(data):
    """Group the tasks whose labels are observed on the same rows, equally weighted."""
    key = data.observed
    if data.sample_weight is not None and data.sample_weight.ndim == 2:
        key = np.where(key, data.sample_weight, 0.0)
    elif key.all():
        return np.zeros(data.n_tasks, dtype=np.int64), [0]
    seen, first = {}, []
    group = np.empty(data.n_tasks, dtype=np.int64)
    for t in range(data.n_tasks):
        name = np.ascontiguousarray(key[:, t]).tobytes()
        if name not in seen:
            seen[name] = len(first)
            first.append(t)
        group[t] = seen[name]
    return group, first


def _one_group(data, u, first, tasks, out):
    """Moments of the tasks that share the rows of task `first`.

    Rows are centred chunk by chunk in a buffer that stays in the cache: BLAS adds their
    products up where they belong, and no second copy of X is made.
    """
    X, d = data.X, data.n_features
    rows = np.flatnonzero(data.observed[:, first])
    complete = len(rows) == X.shape[0]
    Y = data.y if complete else data.y[rows]
    Y = Y if len(tasks) == data.n_tasks else Y[:, tasks]
    weight = data.sample_weight
    if weight is not None:
        weight = (weight[:, first] if weight.ndim == 2 else weight)[rows]
    total = float(len(rows)) if weight is None else float(weight.sum())
    if total <= 0:
        return
    average = np.ones(len(rows)) if weight is None else weight
    out.weight[u] = total
    out.mean[u] = _weighted_sum(X, rows, average) / total
    y_mean = average @ Y / total
    root = None if weight is None else np.sqrt(weight)[:, None]
    step = max(1, min(_CHUNK, len(rows), _DENSE_BYTES // (8 * max(1, d))))
    buffer, label = np.empty((step, d)), np.empty((step, len(tasks)))
    # the transposes are the Fortran arrays that BLAS adds to in place
    gram, cross = out.gram[u].T, np.zeros((len(tasks), d)).T
    y_square = np.zeros(len(tasks))
    for low in range(0, len(rows), step):
        part = slice(low, low + step)
        Xc = _centre(X, part if complete else rows[part], out.mean[u], buffer)
        Yc = np.subtract(Y[part], y_mean, out=label[: len(Xc)])
        if root is not None:
            Xc *= root[part]
            Yc *= root[part]
        blas.dsyrk(1.0, Xc.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
        blas.dgemm(1.0, Xc.T, Yc.T, beta=1.0, c=cross, trans_b=1, overwrite_c=1)
        y_square += np.einsum("ij,ij->j", Yc, Yc)
    _mirror(out.gram[u])
    out.cross[tasks] = cross.T
    out.y_mean[tasks], out.y_square[tasks] = y_mean, y_square


def _weighted_sum(X, rows, weight):
    """Sum of some rows of `X`, dense or sparse, none of them copied."""
    spread = np.zeros(X.shape[0])
    spread[rows] = weight
    return spread @ X


def _centre(X, rows, mean, buffer):
    """Dense rows of `X` less `mean`, in the buffer; `rows` a slice or numbers."""
    if sp.issparse(X):
        return X[rows].toarray() - mean
    if isinstance(rows, slice):
        part = X[rows]
        return np.subtract(part, mean, out=buffer[: len(part)])
    # without checks "clip" writes straight into the buffer
    part = X.take(rows, axis=0, out=buffer[: len(rows)], mode="clip")
    return np.subtract(part, mean, out=part)


def _mirror(A, tile=256):
    """Copy the upper triangle of a square array to the lower one, tile by tile."""
    for first in range(0, len(A), tile):
        last = min(first + tile, len(A))
        corner = A[first:last, first:last]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
        A[last:, first:last] = A[first:last, last:].T
