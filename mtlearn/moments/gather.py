"""Moments of rows: one pass over each task's own, or one for all that share theirs."""

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.linalg import blas

from ..problem.tasks import gram_chunk
from .sums import Moments

_DENSE_BYTES = 1 << 26  # sparse rows are made dense in batches of this size
_CHUNK = 1024  # rows that are centred at once


def gather_moments(data):
    """Gather the moments of `TaskData` in one pass over its rows."""
    return _from_wide(data) if data.wide else _from_rows(data)


# ---------------------------------------------------------------- rows of their own


def _from_rows(data):
    """Moments of tasks that each have rows of their own, block by block."""
    n_tasks, d = data.n_tasks, data.n_features
    rows, starts = data.rows, data.starts
    labels, weight = data.take(data.y), data.sample_weight
    weights = np.ones(len(rows)) if weight is None else data.take(weight)
    out = Moments(
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
    out = Moments(
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
