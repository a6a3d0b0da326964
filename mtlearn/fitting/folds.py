"""Folds of tasks: what a model learns from and is tested on, in rows or in moments.

The rows are read once: moments of the test folds add up to those of the training parts.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
from numba import njit

from ..moments import Moments, gather_moments, grams_fit, replay, same_rows
from ..problem.intercepts import weighted_mean
from ..problem.tasks import some_rows

_NARROW = 32  # features up to which BLAS per task is slower than our own loops
_EXACT = 1e-8  # squared errors, relative, below which moments cancel too much


def scatter(part):
    """Weighted squared distance of the rows from the mean, or from zero.

    From each task's own mean where its intercept is free; from zero without intercepts.
    """
    moments = part.moments
    if moments is not None:
        mass, mean = moments.task_weights, moments.mean[moments.group]
        within = moments.scale @ np.einsum("ujj->u", moments.gram)[moments.group]
    else:
        data = part.data
        mass, squares = data.sums(data.weights), data.squared().adjoint(data.weights)
        mean = data.adjoint(data.weights) / np.where(mass > 0, mass, 1.0)[:, None]
        within = max(float(squares.sum() - mass @ np.sum(mean**2, axis=1)), 0.0)
    left = part.intercept.left(mass, np.inf)
    centre = weighted_mean(mean, left) if part.intercept.common else 0.0
    return float(within + left @ np.sum((mean - centre) ** 2, axis=1))


def moments_of(moments, part):
    """Moments of some of the tasks, marked in `part`."""
    return moments.only(part)


# ---------------------------------------------------------------- what is tested


class HeldOut:
    """Rows to be predicted, unweighted: from their moments if that is less work.

    Parameters
    ----------
    rows : TaskData
        All rows and tasks.
    index : ndarray of shape (n_rows,), int
    moments : Moments or None
        Of these rows, if they are known; None where moments are not wanted.
    """

    def __init__(self, rows, index, moments):
        self._rows, self._index = rows, index
        self.n_labels = len(index)
        if rows.wide:
            self.n_labels = int(np.count_nonzero(~np.isnan(rows.y[index])))
        self.moments = None
        size = rows.n_tasks * rows.n_features
        if moments is not None and rows.sample_weight is None:
            self.moments = moments if size <= 4 * self.n_labels else None
        elif moments is not None and size <= self.n_labels:
            self.moments = gather_moments(self.data)

    @cached_property
    def data(self):
        """The rows themselves, taken when first asked for."""
        # a row counts here or does not: those of weight zero are gone already
        return replace(some_rows(self._rows, self._index), sample_weight=None)

    def errors(self, coef, intercept):
        """Mean squared error of every one of several models, of shape (n_models,).

        Parameters
        ----------
        coef : ndarray of shape (n_models, n_tasks, n_features)
        intercept : ndarray of shape (n_models, n_tasks)
        """
        if self.n_labels == 0:
            return np.full(len(coef), np.nan)
        if self.moments is None:
            total, poor = np.zeros(len(coef)), np.ones(len(coef), dtype=bool)
        else:
            total, poor = _squares(self.moments, coef, intercept)
        for k in np.flatnonzero(poor):
            z = self.data.forward(coef[k], intercept[k])
            total[k] = np.sum((self.data.labels - z) ** 2)
        return total / self.n_labels


class HeldOutMoments:
    """Rows to be predicted, unweighted, of which moments are all that is left.

    Parameters
    ----------
    moments : Moments
        Of all tasks.
    n_labels : int
    """

    def __init__(self, moments, n_labels):
        self.moments, self.n_labels = moments, n_labels

    def errors(self, coef, intercept):
        """As `HeldOut.errors`."""
        if self.n_labels == 0:
            return np.full(len(coef), np.nan)
        total, poor = _squares(self.moments, coef, intercept)
        if poor.any():
            data = replay(self.moments)  # where nothing cancels
            for k in np.flatnonzero(poor):
                left = data.labels - data.forward(coef[k], intercept[k])
                total[k] = data.weights @ left**2
        return total / self.n_labels


def _squares(moments, coef, intercept):
    """Sums of squared residuals by moments, and whether they lost digits."""
    total, size = np.empty(len(coef)), np.empty(len(coef))
    if len(moments.weight) < len(moments.group) or coef.shape[2] > _NARROW:
        total, size = _squares_by_blocks(moments, coef)
    else:
        coef = np.ascontiguousarray(coef)
        _squares_by_tasks(moments.gram, moments.group, moments.cross, coef, total, size)
    u = moments.group
    offset = moments.y_mean - intercept
    offset -= np.einsum("tj,ktj->kt", moments.mean[u], coef)
    total += moments.y_square.sum() + offset**2 @ moments.weight[u]
    # what the terms of the sums above amount to before they cancel
    return total, ~(total > _EXACT * (moments.y_square.sum() + size))


def _squares_by_blocks(moments, coef):
    """sum_t w_t' G_t w_t - 2 w_t' c_t, and the size of its terms, by BLAS."""
    u = moments.group
    if len(moments.weight) == len(u):
        product = np.matmul(coef.transpose(1, 0, 2), moments.gram[u]).transpose(1, 0, 2)
    else:
        product = np.empty_like(coef)
        for block, gram in enumerate(moments.gram):
            tasks = np.flatnonzero(u == block)
            product[:, tasks] = coef[:, tasks] @ gram
    product -= 2.0 * moments.cross
    total = np.einsum("ktj,ktj->k", product, coef)
    diagonal = np.einsum("ujj->uj", moments.gram)
    squares = np.square(coef).reshape(len(coef), -1)
    return total, squares @ diagonal[u].ravel() * coef.shape[2]


@njit(cache=True, nogil=True)
def _squares_by_tasks(gram, group, cross, coef, total, size):
    """The same where tasks have few features, and no two of them the same rows."""
    n_models, n_tasks, d = coef.shape
    for k in range(n_models):
        both, terms = 0.0, 0.0
        for t in range(n_tasks):
            G, w, c = gram[group[t]], coef[k, t], cross[t]
            for i in range(d):
                product = 0.5 * G[i, i] * w[i] - c[i]
                for j in range(i):
                    product += G[i, j] * w[j]
                both += 2.0 * w[i] * product
                terms += w[i] * w[i] * G[i, i]
        total[k], size[k] = both, d * terms


# ---------------------------------------------------------------- moments of folds


class FoldMoments:
    """Moments of the training part of every fold, without a subtraction.

    Where the test folds part the rows, a training part is all folds but one. The total
    less a fold would lose digits where that fold holds an outlier, so the others are
    added up: those outside a half of the folds once, for all folds of that half, and so
    on down. If the moments of all folds do not fit into memory, they are gathered anew
    on every level, of which there are few.

    Parameters
    ----------
    rows : TaskData
    folds : list of (train, test)
        Row numbers.
    """

    def __init__(self, rows, folds):
        self.rows, self.folds = rows, folds
        self.alike = same_rows(rows) if rows.wide else None
        self.parted = part_the_rows(folds, rows.X.shape[0])
        self._kept = None
        if self.parted:
            if grams_fit(rows, copies=4 * len(folds)):
                self._kept = [self._gather(test) for _, test in folds]
            self.total = self._sum(0, len(folds))
        else:
            self.total = self._gather(np.arange(rows.X.shape[0]))

    def raised(self, level):
        """Moments of the folds as their targets were before a level was taken away.

        None if they are not all in memory.
        """
        kept = self._kept
        return None if kept is None else [one.lowered(-level) for one in kept]

    def __iter__(self):
        """Yield (training, test) moments of every fold in turn."""
        if self.parted:
            yield from self._without(0, len(self.folds), None)
            return
        for train, test in self.folds:
            yield self._gather(train), self._gather(test)

    def _without(self, low, high, outside):
        """Of the folds low to high; `outside` are the moments of all others."""
        if high - low == 1:
            yield outside, self._sum(low, high)
            return
        middle = (low + high) // 2
        left, right = self._sum(low, middle), self._sum(middle, high)
        yield from self._without(low, middle, _plus(outside, right))
        yield from self._without(middle, high, _plus(outside, left))

    def _sum(self, low, high):
        if self._kept is not None:
            return Moments.merge(self._kept[low:high])
        tests = [test for _, test in self.folds[low:high]]
        return self._gather(np.concatenate(tests))

    def _gather(self, index):
        moments = gather_moments(some_rows(self.rows, index))
        if self.alike is None or np.array_equal(moments.group, self.alike[0]):
            return moments
        # tasks that are alike in all rows are alike here: all folds in the same groups
        group, first = self.alike
        return moments.regrouped(moments.group[first], group)


class KnownFolds(FoldMoments):
    """The same of folds of which moments are all that is left.

    Parameters
    ----------
    moments : list of Moments
        Of the same tasks.
    """

    def __init__(self, moments):
        self.folds = self._kept = moments
        self.parted = True
        self.total = self._sum(0, len(moments))


def _plus(one, two):
    return two if one is None else one + two


def part_the_rows(folds, n_rows):
    """Whether every row is tested once, and trained on by all other folds."""
    times = np.zeros(n_rows, dtype=np.int64)
    for train, test in folds:
        here = np.bincount(train, minlength=n_rows)
        here[test] += 1
        if len(train) + len(test) != n_rows or not np.all(here == 1):
            return False
        times[test] += 1
    return len(folds) > 1 and bool(np.all(times == 1))
