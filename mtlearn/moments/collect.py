"""A sum of moments whose tasks come and go: new ids arrive with every part."""

from dataclasses import replace

import numpy as np

from ..problem.ids import index_tasks
from .sums import Moments, pool_into

_OF_TASKS = [name for name in Moments.__dataclass_fields__ if name != "group"]


class Collector:
    """Moments of tasks with rows of their own, added up part by part, in place.

    A part costs what its own tasks cost, however many there are in all.
    """

    def __init__(self):
        self._place = {}
        self._counts = np.zeros(0, dtype=np.int64)
        self._sums = None

    def add(self, tasks, counts, sums, sign=1.0):
        """Add the moments of some tasks, or take them away where `sign` is -1.

        Parameters
        ----------
        tasks : ndarray of shape (n_part,)
        counts : ndarray of shape (n_part,), int
        sums : Moments
            With a group for every task, in the order of `tasks`.
        sign : float
        """
        place = self._place
        where = [place.setdefault(one, len(place)) for one in tasks.tolist()]
        where = np.array(where, dtype=np.int64)
        if self._sums is None:
            self._counts = counts.copy()
            self._sums = _changed(sums, np.copy)
            return
        self._grow(len(place))
        self._counts[where] += int(sign) * counts
        pool_into(self._sums, where, sums, sign)

    def _grow(self, size):
        """Make room for so many tasks, and some more."""
        have = len(self._counts)
        if size <= have:
            return
        more = max(size, have + have // 2) - have

        def longer(values):
            return np.concatenate([values, np.zeros((more, *values.shape[1:]))])

        self._counts = np.append(self._counts, np.zeros(more, dtype=np.int64))
        self._sums = _changed(self._sums, longer)

    def result(self):
        """Ids, sorted, of all tasks that have labels, their counts and moments."""
        ids = np.empty(len(self._place), dtype=object)
        ids[:] = list(self._place)
        tasks, rank = index_tasks(ids)
        order = np.empty_like(rank)
        order[rank] = np.arange(len(rank))
        filled = self._counts[order] > 0
        if not filled.all():
            tasks, order = tasks[filled], order[filled]
        counts, sums = self._counts, self._sums
        if len(order) < len(counts) or np.any(np.diff(order) != 1):
            counts, sums = counts[order], _changed(sums, lambda values: values[order])
        return tasks, counts, replace(sums, scale=np.ones(len(order)))


def _changed(sums, change):
    """Moments with every array changed alike."""
    arrays = {name: getattr(sums, name) for name in _OF_TASKS}
    arrays = {k: None if one is None else change(one) for k, one in arrays.items()}
    group = np.arange(len(arrays["weight"]))
    return Moments(group=group, **arrays)
