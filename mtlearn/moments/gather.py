"""Moments of rows: one pass over each task's own, or one for all that share theirs."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.linalg import blas

from ..problem.tasks import gram_chunk, some_rows
from ..problem.threads import OWN_THREADS, WORTH, in_threads, row_blocks, task_ranges
from .sums import Moments, pool_into, two_sum

_NARROW = 12  # features up to which products of rows are faster than those of matrices
_CORRECTED = 1 << 17  # entries of Gram matrices that are corrected at once
_DENSE_BYTES = 1 << 26  # sparse rows are made dense in batches of this size
_COLUMNS = 1 << 18  # entries of labels that are looked at together
_CHUNK = 1024  # rows that are centred at once, at most
_CACHE = 3 << 18  # bytes of rows and labels that are centred at once
_SAMPLE = 512  # rows whose mean is near enough to be taken off


def gather_moments(data):
    """Gather the moments of `TaskData` in one pass over its rows."""
    return _from_wide(data) if data.wide else _from_rows(data)


# ---------------------------------------------------------------- rows of their own


def _from_rows(data):
    """Moments of tasks that each have rows of their own."""
    n, d = data.X.shape
    if data.sparse and not data.wide and d <= _NARROW and 8 * n * d <= _DENSE_BYTES:
        data = replace(data, X=data.X.toarray())
    blocks = _blocks(data)
    if len(blocks) == 1:
        return _one_block(data, threaded=True)
    parts = in_threads(lambda rows: _one_block(some_rows(data, rows)), blocks)
    total, every = parts[0], np.arange(data.n_tasks)
    for part in parts[1:]:
        pool_into(total, every, part)
    return total


def _blocks(data):
    """Slices of the rows that are read by themselves."""
    n, d = data.X.shape
    if data.wide or data.sparse or d > OWN_THREADS:
        return [slice(0, n)]
    return row_blocks(n, d, data.n_tasks * (d + 2) ** 2)


def _one_block(data, threaded=False):
    n_tasks, d = data.n_tasks, data.n_features
    out = Moments(
        weight=np.zeros(n_tasks),
        mean=np.zeros((n_tasks, d)),
        gram=np.zeros((n_tasks, d, d)),
        group=np.arange(n_tasks),
        scale=np.ones(n_tasks) if data.task_weight is None else data.task_weight,
        y_mean=np.zeros(n_tasks),
        y_square=np.zeros(n_tasks),
        cross=np.zeros((n_tasks, d)),
        mean_rest=np.zeros((n_tasks, d)),
        y_rest=np.zeros(n_tasks),
    )
    narrow = d <= _NARROW and not data.wide and not data.sparse
    gather = _in_order if narrow else _sorted
    gather(data, out, threaded and data.X.shape[0] * d > WORTH and d <= OWN_THREADS)
    _correct(out)
    return out


def _in_order(data, out, threaded):
    """Narrow rows, in the order in which they are; each thread has some tasks."""
    weight = np.ones(1) if data.sample_weight is None else data.sample_weight
    numbers = _numbers(out)

    def some(tasks):
        _gather_narrow(data.X, data.y, weight, data.codes, *tasks, *numbers)

    in_threads(some, task_ranges(np.arange(data.n_tasks + 1), threaded))


def _sorted(data, out, threaded):
    """Task after task, by matrix products."""
    if data.wide and not data.sparse:
        _by_columns(data, out, threaded)
        return
    rows, starts = data.rows, data.starts
    labels, weight = data.take(data.y), data.sample_weight
    weights = np.ones(len(rows)) if weight is None else data.take(weight)
    for first, last, X, places in _dense_batches(data, rows, starts):
        s, e = starts[first], starts[last]
        numbers = [one[first:last] for one in _numbers(out)]
        begins = starts[first : last + 1] - s
        observed = X, places, labels[s:e], weights[s:e]

        def some(tasks, begins=begins, observed=observed, numbers=numbers):
            low, high = tasks
            own = [one[low:high] for one in numbers]
            _gather_some(observed, begins[low : high + 1], own)

        in_threads(some, task_ranges(begins, threaded))


def _by_columns(data, out, threaded):
    """A few columns of labels at a time: the numbers of all their rows may be many."""
    step = max(1, _COLUMNS // max(1, len(data.y)))
    parts = [slice(low, low + step) for low in range(0, data.n_tasks, step)]
    numbers = _numbers(out)

    def some(part):
        tasks, rows = np.nonzero(data.observed[:, part].T)
        labels, weights = data.y[:, part][rows, tasks], data.sample_weight
        if weights is None:
            weights = np.ones(len(rows))
        else:
            own = weights.ndim == 2
            weights = weights[:, part][rows, tasks] if own else weights[rows]
        starts = np.searchsorted(tasks, np.arange(len(out.weight[part]) + 1))
        rows = data.X, rows, labels, weights
        _gather_some(rows, starts, [one[part] for one in numbers])

    if threaded:
        in_threads(some, parts)
        return
    for part in parts:
        some(part)


def _gather_some(observed, starts, numbers):
    d = observed[0].shape[1]
    _gather(*observed, starts, np.empty((gram_chunk(d), d)), *numbers)


def _numbers(out):
    """The arrays that the compiled passes fill."""
    return (
        out.weight,
        out.mean,
        out.mean_rest,
        out.gram,
        out.y_mean,
        out.y_rest,
        out.y_square,
        out.cross,
    )


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


@njit(cache=True, nogil=True)
def _gather_narrow(
    X,
    y,
    weights,
    codes,
    low,
    high,
    weight,
    mean,
    mean_rest,
    gram,
    y_mean,
    y_rest,
    y_square,
    cross,
):
    """Means, then products of centred rows, of the tasks from `low` to `high`.

    All that a task adds to lies side by side: its sums in `first`, then, with the label
    as the last of the features, sums of the centred rows and their products in
    `second`.
    """
    n, d = X.shape
    weighted = weights.shape[0] == n
    first = np.zeros((high - low, d + 2))
    for i in range(n):
        t = codes[i] - low
        if t < 0 or t >= high - low:
            continue
        w = weights[i] if weighted else 1.0
        for j in range(d):
            first[t, j] += w * X[i, j]
        first[t, d] += w * y[i]
        first[t, d + 1] += w
    for t in range(high - low):
        if first[t, d + 1] > 0.0:
            for j in range(d + 1):
                first[t, j] /= first[t, d + 1]
    second = np.zeros((high - low, (d + 1) * (d + 4) // 2))
    centred = np.empty(d + 1)
    for i in range(n):
        t = codes[i] - low
        if t < 0 or t >= high - low:
            continue
        w = weights[i] if weighted else 1.0
        for j in range(d):
            centred[j] = X[i, j] - first[t, j]
        centred[d] = y[i] - first[t, d]
        at = d + 1
        for j in range(d + 1):
            scaled = w * centred[j]
            second[t, j] += scaled
            for k in range(j + 1):
                second[t, at + k] += scaled * centred[k]
            at += j + 1
    for s in range(low, high):
        t, at = s - low, d + 1
        weight[s] = first[t, d + 1]
        for j in range(d):
            mean[s, j], mean_rest[s, j] = first[t, j], second[t, j]
            for k in range(j + 1):
                gram[s, j, k] = gram[s, k, j] = second[t, at + k]
            at += j + 1
        for j in range(d):
            cross[s, j] = second[t, at + j]
        y_mean[s], y_rest[s], y_square[s] = first[t, d], second[t, d], second[t, at + d]


@njit(cache=True, nogil=True)
def _gather(
    X,
    rows,
    y,
    weights,
    starts,
    buffer,
    weight,
    mean,
    mean_rest,
    gram,
    y_mean,
    y_rest,
    y_square,
    cross,
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
                y_rest[t] += root * label[k]
                for j in range(d):
                    buffer[k, j] = root * (row[j] - m[j])
                    mean_rest[t, j] += root * buffer[k, j]
            part = buffer[:size]
            # loops, as whole-array sums bring NumPy's broadcasting, seconds to compile
            np.dot(part.T, part, product)
            for i in range(d):
                for j in range(d):
                    gram[t, i, j] += product[i, j]
            np.dot(label[:size], part, product[0])
            for j in range(d):
                cross[t, j] += product[0, j]


def _correct(out):
    """Take out what the means were off by: the rests are sums of centred rows here."""
    weight = np.where(out.weight > 0, out.weight, 1.0)
    rest, y_rest = out.mean_rest, out.y_rest
    step = max(1, _CORRECTED // (rest.shape[1] + 1) ** 2)
    for low in range(0, len(rest), step):
        part = slice(low, low + step)
        shift, mass = rest[part], weight[part, None]
        gram = out.gram[part]
        gram -= shift[:, :, None] * shift[:, None, :] / mass[:, :, None]
        diagonal = np.einsum("tjj->tj", gram)
        np.maximum(diagonal, 0.0, out=diagonal)
        out.cross[part] -= shift * y_rest[part, None] / mass
    out.y_square[:] = np.maximum(out.y_square - y_rest**2 / weight, 0.0)
    out.mean[:], rest[:] = two_sum(out.mean, rest / weight[:, None])
    out.y_mean[:], y_rest[:] = two_sum(out.y_mean, y_rest / weight)


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
        mean_rest=np.zeros((n_groups, d)),
        y_rest=np.zeros(n_tasks),
    )
    if alone.any() and n_tasks > 1:
        _place(_from_rows(data.only(alone)), group[alone], np.flatnonzero(alone), out)
    for u in np.unique(group[~alone] if n_tasks > 1 else group):
        _one_group(data, u, first[u], np.flatnonzero(group == u), out)
    return out


def _place(part, groups, tasks, out):
    """Copy moments of some tasks, each a group of its own, into those of all."""
    out.weight[groups], out.mean[groups] = part.weight, part.mean
    out.gram[groups], out.mean_rest[groups] = part.gram, part.mean_rest
    out.y_rest[tasks] = part.y_rest
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
    products up where they belong, and no second copy of X is made. Where all weigh the
    same, the mean of some is near enough; what it is off by is taken off the sums.
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
    some = slice(None, None, 1 if weight is not None else 1 + len(rows) // _SAMPLE)
    out.mean[u] = _mean(X, rows[some], average[some])
    y_mean = average[some] @ Y[some] / average[some].sum()
    root = None if weight is None else np.sqrt(weight)[:, None]
    step = max(_CHUNK // 8, min(_CHUNK, _CACHE // (8 * max(1, d + len(tasks)))))
    step = max(1, min(step, len(rows), _DENSE_BYTES // (8 * max(1, d))))
    buffer, label = np.empty((step, d)), np.empty((step, len(tasks)))
    # the transposes are the Fortran arrays that BLAS adds to in place
    gram, cross = out.gram[u].T, np.zeros((len(tasks), d)).T
    y_square, y_rest = np.zeros(len(tasks)), np.zeros(len(tasks))
    rest = np.zeros(d)
    for low in range(0, len(rows), step):
        part = slice(low, low + step)
        Xc = _centre(X, part if complete else rows[part], out.mean[u], buffer)
        Yc = np.subtract(Y[part], y_mean, out=label[: len(Xc)])
        rest += average[part] @ Xc
        y_rest += average[part] @ Yc
        if root is not None:
            Xc *= root[part]
            Yc *= root[part]
        blas.dsyrk(1.0, Xc.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
        blas.dgemm(1.0, Xc.T, Yc.T, beta=1.0, c=cross, trans_b=1, overwrite_c=1)
        y_square += np.einsum("ij,ij->j", Yc, Yc)
    _mirror(out.gram[u])
    # what the means were off by
    out.gram[u] -= np.outer(rest, rest) / total
    np.fill_diagonal(out.gram[u], np.maximum(np.diag(out.gram[u]), 0.0))
    cross -= np.outer(rest, y_rest) / total
    out.cross[tasks] = cross.T
    out.y_square[tasks] = np.maximum(y_square - y_rest**2 / total, 0.0)
    out.mean[u], out.mean_rest[u] = two_sum(out.mean[u], rest / total)
    out.y_mean[tasks], out.y_rest[tasks] = two_sum(y_mean, y_rest / total)


def _mean(X, rows, weight):
    """Weighted mean of some rows of `X`, dense or sparse, few or in one product."""
    if 2 * len(rows) < X.shape[0]:
        return weight @ X[rows] / weight.sum()
    spread = np.zeros(X.shape[0])
    spread[rows] = weight
    return spread @ X / weight.sum()


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
