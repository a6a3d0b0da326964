"""Fits to moments: to what other rows have left behind, and to rows batch by batch."""

from dataclasses import replace
from functools import partial

import numpy as np

from ..moments import TaskMoments
from ..problem.ids import column_position, positions, shorten
from ..problem.tasks import TaskData
from .base import model_tasks
from .compiling import tell_when_compiling
from .part import Part
from .partitions import (
    Counts,
    count_dealt,
    is_collection,
    open_partitions,
    read_folds,
    read_moments,
    refuse_partitions,
    sum_folds,
    sum_moments,
)

MOST_BYTES = 1 << 30  # matrices of moments that leave the workers
SMALL = 1 << 24  # bytes of moments that a fit keeps, however few its rows are


class FromMoments:
    """What an estimator adds whose loss sees its rows through their moments only."""

    __metadata_request__partial_fit = {"task": True}

    def fit_moments(self, moments):
        """Fit the model to the moments of rows that need not be there any more.

        Parameters
        ----------
        moments : TaskMoments
            Of all rows.

        Returns
        -------
        self : object
            The fitted estimator, as `fit` would leave it after all those rows.

        Raises
        ------
        ValueError
            If the moments or a parameter are not as described; the message names it.
        TypeError
            If a parameter has the wrong type.
        """
        tell_when_compiling()
        return self._learn(self._unfitted(), moments)

    def partial_fit(self, X, y, sample_weight=None, *, task=None):
        """Go on from the rows that were seen already: fit the model to all of them.

        The first call is like `fit`; new tasks may come with every call. What is kept
        of the rows are their moments.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            Features; in the long layout one column may hold the task ids
            (`task_column`).
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            One label per row (long layout, or a single task), or one column per task
            with NaN where a label was not observed.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Non-negative weights; rows with weight zero are ignored. Two-dimensional
            only with a two-dimensional `y`.
        task : array-like of shape (n_samples,), default=None
            Task ids, if no column of `X` holds them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or a parameter are not as described, or the last `fit` has kept
            no moments; the message names it.
        TypeError
            If a parameter has the wrong type.
        """
        tell_when_compiling()
        seen = getattr(self, "_moments", None)
        if seen is None and hasattr(self, "tasks_"):
            raise ValueError(
                f"The last fit of this {type(self).__name__} kept no moments to go on "
                f"from, {self._kept_none}: begin with partial_fit, or with fit_moments."
            )
        model = self._unfitted()
        if seen is not None:
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(self, name):
                    setattr(model, name, getattr(self, name))
        moments = model._moments_with(seen, X, y, sample_weight, task)
        return self._learn(model, moments)

    _kept_none = "as they are larger than its rows or not what it was solved by"

    def _fit_partitions(self, X, y, sample_weight, task):
        if not hasattr(self, "fit_moments"):
            refuse_partitions(self)
        model = self._unfitted()
        return self._learn(model, model._moments_with(None, X, y, sample_weight, task))

    def _learn(self, model, moments):
        """Fit `model` to moments, keep them there, and take it over."""
        fit = model._prepare_moments(moments)
        model._moments = moments
        return self._fit_to(model, fit)

    def _moments_with(self, seen, X, y, sample_weight, task):
        """Moments of rows, all tasks counted alike, added to those that were seen."""
        new = self._moments_of(X, y, sample_weight, task, reset=seen is None)
        return new if seen is None else seen + new

    def _moments_of(self, X, y, sample_weight, task, reset):
        """Moments of rows, all tasks counted alike."""
        if is_collection(X, y, task, sample_weight):
            rows, wanted = open_partitions(self, X, y, sample_weight, task, reset)
            return whole_moments(total_moments(rows, wanted))
        rows = self._read(X, y, sample_weight, task, reset)
        data = TaskData(rows.X, rows.y, len(rows.tasks), rows.codes, rows.weight)
        return TaskMoments.from_data(data, rows.tasks, self._layout, *self._columns())

    def _columns(self):
        """Names of the columns of `X`, and the place of the ids among them."""
        names = getattr(self, "feature_names_in_", None)
        if self.task_column is None:
            return names, None
        listed = None if names is None else names.tolist()
        place = column_position(self.task_column, listed, self.n_features_in_)
        return names, place

    # ------------------------------------------------------------ prepare

    def _prepare_moments(self, moments):
        """Check everything; as `_prepare` does, where there are rows."""
        self._check_parameters()
        self._check_common()
        if not isinstance(moments, TaskMoments):
            raise TypeError(
                "`moments` must be TaskMoments, got an object of type "
                f"{type(moments).__name__}."
            )
        if not moments.counts.any():
            raise ValueError("`moments` are of no row: there is nothing to fit.")
        self._take_columns(moments)
        relation = self._relation()
        intercept = self._intercepts()
        wide = moments.layout == "wide"
        self._layout, self._n_columns = moments.layout, moments.n_tasks
        tasks = self.tasks_ = model_tasks(relation, moments.tasks, wide)
        where, counts, sums = _where(moments, tasks)
        weight, labelled = self._weigh_tasks(relation, counts, wide)
        part = relation.taking_part(tasks, labelled)
        if where is not None or not part.all():
            where = np.arange(len(tasks)) if where is None else where
            sums = sums.at(where[part])
        if weight is not None:
            sums = replace(sums, scale=weight[part])
        form = relation.form(tasks[part])
        what = form, intercept, tasks, part, labelled
        return Part(None, *what, moments=sums, counts=counts)

    def _take_columns(self, moments):
        """Set `n_features_in_` and `feature_names_in_` as rows would."""
        names, d = moments.feature_names, moments.n_features
        if self.task_column is not None:
            names, d = self._with_ids(moments), d + 1
        self.n_features_in_ = d
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)

    def _with_ids(self, moments):
        """Names of the columns, that of the ids included."""
        column, place, names = self.task_column, moments.task_column, moments.columns
        listed = None if names is None else names.tolist()
        d = moments.n_features + 1
        if moments.layout != "long":
            raise ValueError(
                f"`task_column`={column!r} names a column of ids, but the moments are "
                "of rows without ids."
            )
        if place is None:
            if isinstance(column, str):
                known = "no names" if names is None else f"the columns {shorten(names)}"
                raise ValueError(
                    f"`task_column`={column!r} is a column name, but the moments are "
                    f"of ids beside {known}: name the column where the moments are "
                    "made, or pass task= to predict."
                )
            column_position(column, None, d)
            return None
        if column_position(column, listed, d) != place:
            raise ValueError(
                f"`task_column`={column!r} is not the column that the ids of the "
                f"moments came from, {place if names is None else names[place]!r}."
            )
        return names

    # ------------------------------------------------------------ keep

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        if fit.moments is not None and fit.rows is not None:
            self._keep_moments(fit)

    def _keep_moments(self, fit):
        """Keep the moments of a fit to rows, if they are no larger than those."""
        counted = fit.counts > 0
        X = fit.data.X
        dense = 8.0 * X.shape[0] * X.shape[1]
        if fit.moments.gram.nbytes > max(SMALL, dense) or np.any(counted & ~fit.part):
            return
        wide = self._layout == "wide"
        chosen = np.arange(len(fit.tasks)) < self._n_columns if wide else counted
        where = np.where(fit.part, np.cumsum(fit.part) - 1, -1)[chosen]
        sums = fit.moments
        if len(where) < sums.n_tasks or np.any(where != np.arange(len(where))):
            sums = sums.at(where)
        sums = replace(sums, scale=np.ones(len(where)))
        columns = self._columns()
        self._moments = TaskMoments(
            fit.tasks[chosen],
            fit.counts[chosen],
            X.shape[0],
            self._layout,
            *columns,
            sums,
            fit.data.sample_weight is not None,
        )


def total_moments(rows, wanted, read=read_moments, *shared):
    """Moments of all partitions; `Counts` where they are too large for one place."""
    add = partial(sum_moments, most=MOST_BYTES)
    found = rows.total(read, add, wanted, *shared)
    if found is None:
        raise ValueError("`X` has no row: there is nothing to fit.")
    return found


def total_folds(rows, wanted, n_folds, start):
    """Moments of the folds of all partitions, dealt as a stream that is in its order.

    Parameters
    ----------
    rows : Partitions
    wanted : Wanted
    n_folds : int
    start : int
        How many rows have come before.
    """
    sizes = rows.total(count_dealt, _end_to_end)
    starts = start + np.cumsum([0, *sizes[:-1]])
    add = partial(sum_folds, most=MOST_BYTES)
    found = rows.beside(starts.tolist()).total(read_folds, add, wanted, n_folds)
    if found is None:
        raise ValueError("`X` has no row: there is nothing to fit.")
    return [whole_moments(one) for one in found]


def _end_to_end(parts):
    return [size for part in parts for size in part]


def whole_moments(found):
    """Moments in one place, or say that there is no such place."""
    if isinstance(found, Counts):
        raise ValueError(
            f"The moments of {len(found.tasks)} tasks take more than "
            f"{MOST_BYTES / 2**30:g} GB: only PerTaskRegressor leaves them with the "
            "workers, with alpha > 0, no constraints, and the relation 'independent', "
            "'shared_mean' or 'pooled'."
        )
    return found


def placed(moments, tasks):
    """Counts and moments of the tasks of the model, in their order."""
    where, counts, sums = _where(moments, tasks)
    return counts, sums if where is None else sums.at(where)


def _where(moments, tasks):
    """Where in the moments the tasks of the model are, None if they are the same."""
    if np.array_equal(tasks, moments.tasks):
        return None, moments.counts, moments.sums
    where = positions(moments.tasks, tasks)
    counts = np.zeros(len(tasks), dtype=np.int64)
    counts[where >= 0] = moments.counts[where[where >= 0]]
    return where, counts, moments.sums
