"""Rows of a problem in an order of their own, equal ones as one.

Quasi-Newton steps on a problem that is not convex carry every rounding along, and two
orders of summation can end at two models. Here the order in which rows came, and
whether one stands there twice or once with twice the weight, cease to be part of the
problem: what is left is the same to the last bit.
"""

import numpy as np
import scipy.sparse as sp

from ...problem.tasks import TaskData

# the finaliser of splitmix64
_STEP, _FIRST, _SECOND = (
    np.uint64(number)
    for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def distinct(data):
    """The same problem with every distinct row once, of all its weight.

    Parameters
    ----------
    data : TaskData

    Returns
    -------
    TaskData
        Rows in the order of their tasks in the long layout; none without a label in
        the wide one, as long as there are others.
    """
    y, codes = data.y, data.codes
    if data.wide:
        y = np.where(data.observed, y, np.nan)
    labels = y if data.wide else y[:, None]
    key = digest(data.X) ^ (digest(labels) * _STEP)
    order = np.lexsort((key,) if data.wide else (key, codes))
    if data.wide and data.observed.any():
        order = order[data.observed.any(axis=1)[order]]
    twin = key[order[1:]] == key[order[:-1]]
    if not data.wide:
        twin &= codes[order[1:]] == codes[order[:-1]]
    pairs = np.flatnonzero(twin)
    after, before = order[pairs + 1], order[pairs]
    twin[pairs] = _equal(data.X, after, before) & _equal(labels, after, before)
    starts = np.flatnonzero(np.append(True, ~twin)[: len(order)])
    kept = order[starts]
    return TaskData(
        data.X[kept],
        y[kept],
        data.n_tasks,
        None if data.wide else codes[kept],
        _add(data.sample_weight, order, starts),
        data.task_weight,
    )


def _add(weight, order, starts):
    """Weights of the groups that begin at `starts`; None where all are one."""
    if weight is None:
        weight = np.diff(np.append(starts, len(order))).astype(np.float64)
    else:
        weight = np.add.reduceat(weight[order], starts, axis=0)
    return None if np.all(weight == 1.0) else weight


def _equal(values, these, those):
    """Whether pairs of rows hold the same, NaN being NaN."""
    if sp.issparse(values):
        return np.diff((values[these] != values[those]).tocsr().indptr) == 0
    these, those = values[these], values[those]
    return ((these == those) | (np.isnan(these) & np.isnan(those))).all(axis=1)


def digest(values):
    """A number of 64 bits for every row (n,), by what it holds and not by how.

    Integer sums are exact, so that their order does not matter; zeros count for
    nothing, stored or not.
    """
    if sp.issparse(values):
        mixed = np.append(np.uint64(0), _mix(values.data, values.indices))
        total = np.cumsum(mixed, dtype=np.uint64)
        return total[values.indptr[1:]] - total[values.indptr[:-1]]
    total = np.zeros(len(values), dtype=np.uint64)
    for j, column in enumerate(values.T):
        total += _mix(column, j)
    return total


def _mix(values, column):
    """Numbers of 64 bits for entries of a column, 0 for zero."""
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 is 0.0
    z = bits + (np.atleast_1d(column).astype(np.uint64) + np.uint64(1)) * _STEP
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return np.where(bits == 0, np.uint64(0), z ^ (z >> np.uint64(31)))
