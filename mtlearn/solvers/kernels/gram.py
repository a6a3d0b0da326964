"""Rows of the Gram matrix under a task kernel, computed when they are asked for.

G[i, j] = K[t_i, t_j] k(x_i, x_j) + E[t_i, t_j], with K the task kernel and E what
penalised intercepts add. Rows stay in memory; where all of them do not fit, those that
were not used for longest make room.
"""

import numpy as np
from numba import njit

from ..linalg import take

GRAM_BYTES = 1 << 30  # memory that rows may take
_CHUNK = 1 << 18  # entries of the rows that are computed at once: they stay in cache


class RowCache:
    """Rows of a square matrix by number, in a slab of memory; the oldest leave.

    Parameters
    ----------
    n : int
        Size of the matrix.
    fill : callable
        From (rows, out): writes the rows to `out` of shape (len(rows), n).
    limit : int
        Bytes that the slab may take; it holds `least` rows at least.
    least : int
    """

    def __init__(self, n, fill, limit, least):
        self.n, self.fill = n, fill
        self.capacity = int(min(n, max(limit // (8 * n), least)))
        self.slab = np.empty((self.capacity, n))
        self.slot = np.full(n, -1, dtype=np.int64)
        self.owner = np.full(self.capacity, -1, dtype=np.int64)
        self.used = np.zeros(self.capacity, dtype=np.int64)
        self.size, self.time, self.computed = 0, 0, 0

    def slots(self, rows):
        """Slots of `rows` in the slab, no more than its capacity of them."""
        self.time += 1
        here = self.slot[rows]
        missing = rows[here < 0]
        self.used[here[here >= 0]] = self.time
        if len(missing):
            self._bring(missing)
            here = self.slot[rows]
        return here

    def _bring(self, rows):
        """Compute rows that are not here."""
        step = max(1, _CHUNK // self.n)
        places = self._make_room(len(rows))
        for s in range(0, len(rows), step):
            part, place = rows[s : s + step], places[s : s + step]
            if place[-1] - place[0] == len(place) - 1 and np.all(np.diff(place) == 1):
                self.fill(part, self.slab[place[0] : place[-1] + 1])
            else:
                block = np.empty((len(part), self.n))
                self.fill(part, block)
                self.slab[place] = block
            self.slot[part], self.owner[place] = place, part
            self.used[place] = self.time
        self.computed += len(rows)

    def _make_room(self, n):
        """Slots for `n` new rows: unused ones, then the oldest."""
        fresh = np.arange(self.size, min(self.size + n, self.capacity))
        self.size += len(fresh)
        if len(fresh) == n:
            return fresh
        # rows of this request have the newest time and are never among the oldest
        age = np.where(np.isin(np.arange(self.capacity), fresh), self.time, self.used)
        oldest = np.argsort(age, kind="stable")[: n - len(fresh)]
        self.slot[self.owner[oldest]] = -1
        return np.concatenate([fresh, np.sort(oldest)])


class _Gram:
    """What both layouts share."""

    @property
    def at_once(self):
        """How many observations may be worked on without computing rows twice."""
        whole = self.cache.capacity == self.cache.n
        return self.n if whole else self.cache.capacity

    def sub(self, rows):
        """Square part of the matrix, (len(rows), len(rows))."""
        return self.block(rows, rows)

    def below(self, rows, dtype):
        """The same with nothing above its diagonal, in a precision of one's own."""
        return self.block(rows, rows).astype(dtype, copy=False)


class LongGram(_Gram):
    """Gram matrix of observations with rows of their own.

    Parameters
    ----------
    kernel_rows : Rows
        The kernel against all observations, task after task.
    X : ndarray or csr_array of shape (n, n_features)
        The observations.
    K, E : ndarray of shape (n_tasks, n_tasks)
    starts : ndarray of shape (n_tasks + 1,)
        Where each task's observations begin.
    limit : int
        Bytes of memory for rows.
    """

    def __init__(self, kernel_rows, X, K, E, starts, limit=GRAM_BYTES, least=256):
        n = X.shape[0]
        self.X, self.E, self.n = X, E, n
        task_of = np.repeat(np.arange(len(K)), np.diff(starts))

        # knows nothing of this object: a circle would keep the slab after its last use
        def fill(rows, out):
            kernel_rows.fill(X[rows], out)
            _tie(out, task_of[rows], starts, K, E)

        self.cache = RowCache(n, fill, limit, least)
        own = K[task_of, task_of] * kernel_rows.diagonal(X)
        self.diagonal = own + E[task_of, task_of]

    def sub(self, rows):
        """Square part of the matrix, (len(rows), len(rows))."""
        if len(rows) > self.cache.capacity:
            return super().sub(rows)
        out = np.empty((len(rows), len(rows)))
        take(self.cache.slab, self.cache.slots(rows), rows, out, True)
        return out

    def below(self, rows, dtype):
        """The same with nothing above its diagonal, in a precision of one's own."""
        if len(rows) > self.cache.capacity:
            return super().below(rows, dtype)
        out = np.empty((len(rows), len(rows)), dtype)
        _take_below(self.cache.slab, self.cache.slots(rows), rows, out)
        return out

    def block(self, rows, columns):
        """Part of the matrix, (len(rows), len(columns))."""
        out = np.empty((len(rows), len(columns)))
        for s in range(0, len(rows), self.cache.capacity):
            part = slice(s, s + self.cache.capacity)
            take(
                self.cache.slab, self.cache.slots(rows[part]), columns, out[part], False
            )
        return out

    def push(self, rows, step, f):
        """Add G[:, rows] step to `f`."""
        for s in range(0, len(rows), self.cache.capacity):
            part = slice(s, s + self.cache.capacity)
            _add_rows(self.cache.slab, self.cache.slots(rows[part]), step[part], f)


class WideGram(_Gram):
    """Gram matrix of observations that share the rows of `X` between the tasks.

    Only the kernel of the rows of `X` is kept, which all tasks use. Parameters are
    those of `LongGram`, with row of `X` and task of every observation.
    """

    def __init__(
        self, kernel_rows, X, K, E, row_of, task_of, limit=GRAM_BYTES, least=256
    ):
        self.X, self.K, self.E = X, K, E
        self.row_of, self.task_of, self.n = row_of, task_of, len(row_of)

        def fill(rows, out):  # as in `LongGram`
            kernel_rows.fill(X[rows], out)

        self.cache = RowCache(X.shape[0], fill, limit, least)
        own = kernel_rows.diagonal(X)[row_of]
        self.diagonal = K[task_of, task_of] * own + E[task_of, task_of]

    def block(self, rows, columns):
        """Part of the matrix, (len(rows), len(columns))."""
        above, place = np.unique(self.row_of[rows], return_inverse=True)
        below, beside = np.unique(self.row_of[columns], return_inverse=True)
        inner = np.empty((len(above), len(below)))
        for s in range(0, len(above), self.cache.capacity):
            part = slice(s, s + self.cache.capacity)
            slots = self.cache.slots(above[part])
            take(self.cache.slab, slots, below, inner[part], False)
        out = np.empty((len(rows), len(columns)))
        tasks = self.task_of[rows], self.task_of[columns]
        take(inner, place, beside, out, False)
        tie = np.empty_like(out)
        take(self.K, *tasks, tie, False)
        out *= tie
        if self.E.any():
            take(self.E, *tasks, tie, False)
            out += tie
        return out

    def push(self, rows, step, f):
        """Add G[:, rows] step to `f`."""
        base, task = self.row_of[rows], self.task_of[rows]
        distinct, place = np.unique(base, return_inverse=True)
        table = np.zeros((len(distinct), len(self.K)))
        np.add.at(table, (place, task), step)
        sums = table.sum(axis=0)
        reach = np.ascontiguousarray((table @ self.K).T)
        scores = np.zeros((len(self.K), self.X.shape[0]))
        for s in range(0, len(distinct), self.cache.capacity):
            part = slice(s, s + self.cache.capacity)
            slots = self.cache.slots(distinct[part])
            scores += reach[:, part] @ self.cache.slab[slots]
        f += scores[self.task_of, self.row_of] + (self.E @ sums)[self.task_of]


@njit(cache=True)
def _take_below(slab, slots, columns, out):
    for a in range(slots.shape[0]):
        row, part = slab[slots[a]], out[a]
        for b in range(a + 1):
            part[b] = row[columns[b]]


@njit(cache=True)
def _tie(out, task, starts, K, E):
    """Multiply kernel values by the task kernel, add what intercepts add."""
    for a in range(out.shape[0]):
        for t in range(starts.shape[0] - 1):
            factor, plus = K[task[a], t], E[task[a], t]
            for j in range(starts[t], starts[t + 1]):
                out[a, j] = out[a, j] * factor + plus


# Reassociation lets four rows be added at once in vector registers.
@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_rows(slab, slots, step, f):
    n, k = slots.shape[0], 0
    while k + 4 <= n:
        p, q = slab[slots[k]], slab[slots[k + 1]]
        r, s = slab[slots[k + 2]], slab[slots[k + 3]]
        for j in range(f.shape[0]):
            f[j] += (
                step[k] * p[j]
                + step[k + 1] * q[j]
                + step[k + 2] * r[j]
                + step[k + 3] * s[j]
            )
        k += 4
    while k < n:
        p = slab[slots[k]]
        for j in range(f.shape[0]):
            f[j] += step[k] * p[j]
        k += 1
