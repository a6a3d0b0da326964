"""Folds of tasks: what a model learns from and is tested on, in rows or in moments.

The rows are read once: moments of the test folds add up to those of the training parts.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..moments import TaskMoments, same_rows
from ..problem.intercepts import weighted_mean
from ..problem.tasks import TaskData

_FOLDS_BYTES = 1 << 30  # of the moments of all folds, if they are to be kept
_EXACT = 1e-8  # squared errors, relative, below which moments cancel too much


# ---------------------------------------------------------------- what is learned from


@dataclass(frozen=True)
class Part:
    """Rows that a model learns from, or their moments.

    Attributes
    ----------
    rows : TaskData
        All rows and tasks, without task weights.
    index : ndarray of shape (n_rows,), int
        Those of `rows` that belong here.
    task_ids : ndarray of shape (n_tasks,)
    task_weight : ndarray of shape (n_tasks,) or None
    part, labelled : ndarray of shape (n_tasks,), bool
        Tasks of the problem, and those with labels here (or with a rule that makes them
        of others).
    intercept : Intercepts
    moments : TaskMoments or None
        Of the tasks of the problem; None where the rows are to be used.
    """

    rows: TaskData
    index: np.ndarray
    task_ids: np.ndarray
    task_weight: np.ndarray | None
    part: np.ndarray
    labelled: np.ndarray
    intercept: str
    moments: TaskMoments | None = None

    @property
    def tasks(self):
        """Ids of the tasks of the problem."""
        return self.task_ids[self.part]

    @property
    def n_known(self):
        """How many tasks an estimator fitted to these rows would know."""
        rows = self.rows
        return rows.n_tasks if rows.wide else len(np.unique(rows.codes[self.index]))

    @cached_property
    def data(self):
        """The rows themselves, taken when first asked for."""
        everything = np.array_equal(self.index, np.arange(self.rows.X.shape[0]))
        data = self.rows if everything else take(self.rows, self.index)
        data = replace(data, task_weight=self.task_weight, _shared={})
        return data if self.part.all() else data.only(self.part)

    def with_moments(self, moments):
        """The same part with moments of all its rows and all tasks."""
        if self.task_weight is not None:
            moments = replace(moments, scale=self.task_weight)
        return replace(self, moments=_only(moments, self.part))

    def fill(self, coef, intercept):
        """Give tasks without a model of their own the mean of the others'.

        Parameters
        ----------
        coef : ndarray of shape (..., n_part, n_features)
        intercept : ndarray of shape (..., n_part)

        Returns
        -------
        coef : ndarray of shape (..., n_tasks, n_features)
        intercept : ndarray of shape (..., n_tasks)
        """
        own = self.labelled if self.intercept.own else self.part
        if self.part.all() and own.all():
            return coef, intercept
        shape = (*coef.shape[:-2], len(self.part), coef.shape[-1])
        all_coef, all_intercept = np.empty(shape), np.empty(shape[:-1])
        all_coef[..., self.part, :] = coef
        all_coef[..., ~self.part, :] = coef.mean(axis=-2, keepdims=True)
        all_intercept[..., self.part] = intercept
        level = all_intercept[..., own].mean(axis=-1, keepdims=True)
        all_intercept[..., ~own] = level
        return all_coef, all_intercept


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


def take(rows, index):
    """Some of the rows, in either layout."""
    codes, weight = rows.codes, rows.sample_weight
    return TaskData(
        rows.X[index],
        rows.y[index],
        rows.n_tasks,
        None if codes is None else codes[index],
        None if weight is None else weight[index],
    )


def _only(moments, part):
    """Moments of some of the tasks, marked in `part`."""
    if part.all():
        return moments
    used, group = np.unique(moments.group[part], return_inverse=True)
    return TaskMoments(
        moments.weight[used],
        moments.mean[used],
        moments.gram[used],
        group.ravel(),
        moments.scale[part],
        moments.y_mean[part],
        moments.y_square[part],
        moments.cross[part],
    )


# ---------------------------------------------------------------- what is tested


class HeldOut:
    """Rows to be predicted, unweighted: from their moments if that is less work.

    Parameters
    ----------
    rows : TaskData
        All rows and tasks.
    index : ndarray of shape (n_rows,), int
    moments : TaskMoments or None
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
            self.moments = TaskMoments.from_data(self.data)

    @cached_property
    def data(self):
        """The rows themselves, taken when first asked for."""
        # a row counts here or does not: those of weight zero are gone already
        return replace(take(self._rows, self._index), sample_weight=None)

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
            z = self.data.scores(coef[k], intercept[k])
            total[k] = np.sum((self.data.labels - z) ** 2)
        return total / self.n_labels


def _squares(moments, coef, intercept):
    """Sums of squared residuals by moments, and whether they lost digits."""
    u = moments.group
    if len(moments.weight) == len(u):
        product = np.matmul(coef.transpose(1, 0, 2), moments.gram[u]).transpose(1, 0, 2)
    else:
        product = np.empty_like(coef)
        for block, gram in enumerate(moments.gram):
            tasks = np.flatnonzero(u == block)
            product[:, tasks] = coef[:, tasks] @ gram
    offset = moments.y_mean - intercept
    offset -= np.einsum("tj,ktj->kt", moments.mean[u], coef)
    product -= 2.0 * moments.cross
    total = moments.y_square.sum() + np.einsum("ktj,ktj->k", product, coef)
    total += offset**2 @ moments.weight[u]
    # what the terms of the sums above amount to before they cancel
    diagonal = np.einsum("ujj->uj", moments.gram)
    squares = np.square(coef).reshape(len(coef), -1)
    size = squares @ diagonal[u].ravel() * coef.shape[2]
    return total, ~(total > _EXACT * (moments.y_square.sum() + size))


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
        self.parted = _part_the_rows(folds, rows.X.shape[0])
        self._kept = None
        if self.parted:
            n_groups = len(self.alike[1]) if rows.wide else rows.n_tasks
            size = 8.0 * n_groups * rows.n_features**2
            if 2 * len(folds) * size <= _FOLDS_BYTES:
                self._kept = [self._gather(test) for _, test in folds]
            self.total = self._sum(0, len(folds))
        else:
            self.total = self._gather(np.arange(rows.X.shape[0]))

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
            return TaskMoments.merge(self._kept[low:high])
        tests = [test for _, test in self.folds[low:high]]
        return self._gather(np.concatenate(tests))

    def _gather(self, index):
        moments = TaskMoments.from_data(take(self.rows, index))
        if self.alike is None or np.array_equal(moments.group, self.alike[0]):
            return moments
        # tasks that are alike in all rows are alike here: all folds in the same groups
        group, first = self.alike
        u = moments.group[first]
        return replace(
            moments,
            weight=moments.weight[u],
            mean=moments.mean[u],
            gram=moments.gram[u],
            group=group,
        )


def _plus(one, two):
    return two if one is None else one + two


def _part_the_rows(folds, n_rows):
    """Whether every row is tested once, and trained on by all other folds."""
    times = np.zeros(n_rows, dtype=np.int64)
    for train, test in folds:
        here = np.bincount(train, minlength=n_rows)
        here[test] += 1
        if len(train) + len(test) != n_rows or not np.all(here == 1):
            return False
        times[test] += 1
    return len(folds) > 1 and bool(np.all(times == 1))
