"""Rows in Dask partitions: what estimators ask of one, and predictions for all.

Functions of a partition run on the workers. Dask itself is known to `distributed` only,
which is imported when a collection of Dask is there.
"""

import functools
import sys
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted, validate_data

from ..moments import TaskMoments
from ..moments.deal import Deal
from ..moments.tasks import add_moments
from ..problem.ids import (
    LARGEST,
    column_names,
    column_position,
    id_array,
    index_tasks,
    missing_labels,
    refuse_two_ids,
    shorten,
    split_task_column,
)
from ..problem.values import (
    as_matrix,
    check_sample_weight,
    check_size,
    check_targets,
    drop_weightless,
    shape_labels,
)
from . import checks


def is_collection(*values):
    """Whether one of them is a collection of Dask; Dask need not be installed."""
    return "dask" in sys.modules and any(
        hasattr(type(value), "__dask_graph__") for value in values
    )


def refuse_partitions(estimator):
    """Say what there is instead."""
    raise TypeError(
        f"{type(estimator).__name__} needs all rows in one place, but got a Dask "
        "collection: pass what its compute() returns, or use PerTaskRegressor, "
        "SharedFeatureRegressor (both with cross-validation, too), PerTaskClassifier, "
        "MultiTaskBayesianRidge, MultiTaskAdditiveRegressor with `knots`, or "
        "MultiTaskSVM and MultiTaskSVR with a linear kernel and a squared loss."
    )


def in_memory(*values):
    """The same, collections as arrays: one number for each row has room."""
    return [np.asarray(one) if is_collection(one) else one for one in values]


# ---------------------------------------------------------------- predictions


def by_partition(method):
    """Let a method of rows and their `task` take Dask collections, lazily."""

    @functools.wraps(method)
    def lazy(self, X, *args, task=None, **options):
        if not is_collection(X, task):
            return method(self, X, *args, task=task, **options)
        from ..distributed import Partitions, without_rows

        def call(model, X, task):
            return method(model, X, *args, task=task, **options)

        like = call(self, *_one_row(self, without_rows(X), task))
        if isinstance(like, list):
            raise ValueError(
                f"`{method.__name__}` of more than two classes and a two-dimensional "
                "`y` has an array for each task, of other columns each: it is not "
                "there for Dask collections."
            )
        name = method.__name__
        rows = Partitions.of(X=X, task=task)
        return rows.map(_predict, self, name, args, options, like).arrays(like)

    return lazy


def _predict(part, model, name, args, options, like):
    """What a method says of the rows of a partition."""
    X, task = part
    if not len(X):
        several = isinstance(like, tuple)
        return tuple(one[:0] for one in like) if several else like[:0]
    return getattr(model, name)(X, *args, task=task, **options)


def _one_row(model, X, task):
    """A row of zeros of a known task, in the container of `X`, which has no rows."""
    check_is_fitted(model)
    column, known = model.task_column, model.tasks_[:1]
    names = column_names(X)
    if names is None:
        row = np.zeros((1, *X.shape[1:]), object if column is not None else float)
        if column is not None and row.ndim == 2 and -row.shape[1] <= column:
            row[:, column] = known
        return row, None if task is None else known
    row = X.reindex([0]).astype(object)
    row.iloc[:] = 0.0
    if column is not None:
        row[names[column] if not isinstance(column, str) else column] = known
    return row, None if task is None else known


# ---------------------------------------------------------------- rows


@dataclass(frozen=True, eq=False)
class Wanted:
    """What every partition must look like.

    Attributes
    ----------
    columns : list or None
        Names of the columns of `X`.
    n_columns : int
    task_column : str, int or None
    classes : bool
        Whether labels are classes.
    """

    columns: list | None
    n_columns: int
    task_column: object
    classes: bool = False

    def check(self, X):
        """Refuse the features of a partition that has other columns."""
        names = column_names(X)
        if self.columns is not None and names != self.columns:
            raise ValueError(
                f"its columns are {shorten(names)}, expected {shorten(self.columns)}."
            )
        if X.ndim != 2 or X.shape[1] != self.n_columns:
            raise ValueError(
                f"X has shape {X.shape}, expected {self.n_columns} columns."
            )


def open_partitions(estimator, X, y, sample_weight, task, reset, classes=False):
    """Collections as partitions, and what is wanted of each.

    Sets `n_features_in_` and `feature_names_in_`, if `reset`; else compares with them.
    """
    from ..distributed import Partitions, without_rows

    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is "
            "None."
        )
    column = estimator.task_column
    if column is not None:
        refuse_two_ids(column, task)
    rows = Partitions.of(X=X, y=y, task=task, sample_weight=sample_weight)
    bare = without_rows(X)
    if bare.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {bare.ndim}D array instead: X must have one row "
            "per sample and one column per feature."
        )
    validate_data(estimator, bare, reset=reset, skip_check_array=True)
    names = column_names(bare)
    if column is not None:
        column_position(column, names, bare.shape[1])
    return rows, Wanted(names, bare.shape[1], column, classes)


def read_moments(part, wanted, deal=None):
    """Moments of the rows of a partition, with `deal` of folds; None without rows."""
    X, y, task, weight = part
    wanted.check(X)
    if not len(X):
        return None
    how = {"task_column": wanted.task_column, "folds": deal}
    return TaskMoments.from_rows(X, y, task, weight, **how)


def count_dealt(part):
    """In a list how many rows of a partition are dealt into folds."""
    X, _, _, weight = part
    weight = None if weight is None else np.asarray(weight)
    if weight is None or weight.ndim == 2:
        return [len(X)]
    return [np.count_nonzero(weight)]


def read_folds(part, wanted, n_folds):
    """Moments of the rows of a partition fold by fold; None without rows.

    Parameters
    ----------
    part : (rows, start)
        With how many rows have come before.
    wanted : Wanted
    n_folds : int
    """
    rows, start = part
    return read_moments(rows, wanted, Deal(n_folds, start))


def sum_folds(parts, most):
    """Sums of moments fold by fold, of which some may be None; as `sum_moments`."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    return [sum_moments(fold, most / len(fold)) for fold in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Counts:
    """What is left of moments that are too large for one place.

    Attributes
    ----------
    tasks : ndarray of shape (n_tasks,)
    counts : ndarray of shape (n_tasks,), int
    mass, y_sum : ndarray of shape (n_tasks,)
        Weight, and weighted sum of the labels.
    layout : str
        As in `TaskMoments`.
    """

    tasks: np.ndarray
    counts: np.ndarray
    mass: np.ndarray
    y_sum: np.ndarray
    layout: str

    @classmethod
    def of(cls, moments):
        """Those of moments; of counts, themselves."""
        if isinstance(moments, cls):
            return moments
        sums = moments.sums
        mass = sums.weight[sums.group]
        y_sum = mass * sums.y_mean
        return cls(moments.tasks, moments.counts, mass, y_sum, moments.layout)

    @classmethod
    def add(cls, parts):
        """Counts of all rows."""
        parts = [cls.of(part) for part in parts]
        tasks, places = _unite([part.tasks for part in parts], "task")
        n = len(tasks)
        counts, mass, y_sum = np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros(n)
        for part, place in zip(parts, places, strict=True):
            counts[place] += part.counts
            mass[place] += part.mass
            y_sum[place] += part.y_sum
        return cls(tasks, counts, mass, y_sum, parts[0].layout)


def sum_moments(parts, most):
    """Sum of moments, of which some may be None; `Counts` where it is too large.

    Parameters
    ----------
    parts : list of TaskMoments, Counts or None
    most : float
        Bytes that matrices of moments may take in one place.
    """
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    large = any(isinstance(part, Counts) for part in parts)
    if not large and parts[0].layout == "long":
        most_tasks = max(1.0, most / (8.0 * max(1, parts[0].n_features) ** 2))
        large = max(part.n_tasks for part in parts) > most_tasks
        if not large and sum(part.n_tasks for part in parts) > most_tasks:
            union = _unite([part.tasks for part in parts], "task")[0]
            large = len(union) > most_tasks
    return Counts.add(parts) if large else add_moments(parts)


@dataclass(frozen=True, eq=False)
class PartRows:
    """Checked rows of a partition, in the order of their tasks.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,) or (n, n_tasks)
        Numbers, or codes of classes.
    weight : ndarray of shape (n,) or (n, n_tasks), or None
    tasks : ndarray of shape (n_tasks,)
    codes : ndarray of shape (n,) or None
        None in the wide layout.
    labels : ndarray or None
        The classes that there are.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    tasks: np.ndarray
    codes: np.ndarray | None
    labels: np.ndarray | None

    @property
    def nbytes(self):
        """Memory, about."""
        return self.X.nbytes + self.y.nbytes + 16 * len(self.X)


def read_rows(part, wanted):
    """Check the rows of a partition and sort them into tasks.

    Parameters
    ----------
    part : (X, y, task, weight)
    wanted : Wanted

    Returns
    -------
    PartRows
    """
    X, y, ids, weight = part
    wanted.check(X)
    names = column_names(y)
    if wanted.task_column is not None:
        X, ids = split_task_column(X, wanted.task_column)
    X = as_matrix(X, at_least=0)
    X = X.toarray() if sp.issparse(X) else X
    y = shape_labels(checks.as_table(y), len(X), ids is not None)
    if ids is not None:
        ids = id_array(ids)
        if len(ids) != len(X):
            raise ValueError(f"`task` has {len(ids)} ids, but X has {len(X)} rows.")
    weight = check_sample_weight(weight, y.shape, some=False)
    X, y, ids, weight, _ = drop_weightless(X, y, ids, weight)
    check_size("X", X, 1.0 / LARGEST)
    labels = None
    if wanted.classes:
        y, labels = _codes(y)
    else:
        y = check_targets(y, some=False) if len(y) else y.astype(np.float64)
    if y.ndim == 2:
        names = np.arange(y.shape[1]) if names is None else np.asarray(names)
        return PartRows(X, y, weight, names, None, labels)
    if ids is None:
        tasks, codes = np.arange(1), np.zeros(len(y), dtype=np.int64)
    elif not len(ids):
        tasks, codes = np.zeros(0, dtype=object), np.zeros(0, dtype=np.int64)
    else:
        tasks, codes = index_tasks(ids)
    order = np.argsort(codes, kind="stable")
    if np.any(np.diff(order) != 1):
        X, y, codes = X[order], y[order], codes[order]
        weight = None if weight is None else weight[order]
    return PartRows(X, y, weight, tasks, codes, labels)


def _codes(y):
    """Classes as codes, NaN where a label is missing, and the classes."""
    if not y.size or (y.ndim == 2 and missing_labels(y).all()):
        return np.full(y.shape, np.nan), y.ravel()[:0]
    return checks.check_classes(y)


# ---------------------------------------------------------------- what they count


@dataclass(frozen=True, eq=False)
class Census:
    """Counts and sums of the rows of each task: what a fit must know beforehand.

    Attributes
    ----------
    wide : bool
    n_samples : int
    tasks : ndarray of shape (n_tasks,)
    labels : ndarray of shape (n_labels,), or None
    counts : ndarray of shape (n_tasks,), int
        Labelled rows.
    mass : ndarray of shape (n_tasks, n_labels), or (n_tasks, 1) for numbers
        Weight of the labels.
    y_sum : ndarray of shape (n_tasks,)
        Weighted sum of the labels that are numbers.
    x_sum : ndarray of shape (n_tasks, n_features)
        Of the features, not weighted; in the wide layout all tasks' are the same.
    heaviest : float
        Largest weight of a row.
    """

    wide: bool
    n_samples: int
    tasks: np.ndarray
    labels: np.ndarray | None
    counts: np.ndarray
    mass: np.ndarray
    y_sum: np.ndarray
    x_sum: np.ndarray
    heaviest: float

    @classmethod
    def of(cls, rows):
        """Counts and sums of the rows of a partition."""
        X, y, weight = rows.X, rows.y, rows.weight
        n_tasks, n_labels = len(rows.tasks), 1
        w = np.ones(y.shape)
        if weight is not None:
            w *= weight if weight.ndim == y.ndim else weight[:, None]
        seen = ~np.isnan(y) & (w > 0)
        code = np.arange(n_tasks) if rows.codes is None else rows.codes
        code = np.broadcast_to(code, y.shape)[seen]
        y, w = y[seen], w[seen]
        place = code
        if rows.labels is not None:
            n_labels = len(rows.labels)
            place, y = code * n_labels + y.astype(np.int64), np.zeros(len(y))
        mass = np.bincount(place, w, n_tasks * n_labels).reshape(n_tasks, n_labels)
        wide = rows.codes is None
        x_sum = np.tile(X.sum(axis=0), (n_tasks, 1)) if wide else _sums(rows)
        return cls(
            wide,
            len(X),
            rows.tasks,
            rows.labels,
            np.bincount(code, minlength=n_tasks),
            mass,
            np.bincount(code, w * y, n_tasks),
            x_sum,
            float(w.max(initial=0.0)),
        )

    @classmethod
    def add(cls, parts):
        """Counts and sums of the rows of several partitions."""
        first = parts[0]
        tasks, places = _unite([part.tasks for part in parts], "task")
        if first.wide:
            tasks, places = first.tasks, [slice(None)] * len(parts)
            if any(not np.array_equal(part.tasks, tasks) for part in parts):
                raise ValueError("partitions of `y` have different columns.")
        labels, columns = None, [np.zeros(1, dtype=np.int64)] * len(parts)
        if first.labels is not None:
            labels, columns = _unite([part.labels for part in parts], "y")
        n, k = len(tasks), 1 if labels is None else len(labels)
        counts, mass = np.zeros(n, dtype=np.int64), np.zeros((n, k))
        y_sum, x_sum = np.zeros(n), np.zeros((n, first.x_sum.shape[1]))
        every = np.arange(n)
        for part, place, column in zip(parts, places, columns, strict=True):
            counts[place] += part.counts
            mass[np.ix_(every[place], column)] += part.mass
            y_sum[place] += part.y_sum
            x_sum[place] += part.x_sum
        n_samples = sum(part.n_samples for part in parts)
        heaviest = max(part.heaviest for part in parts)
        what = tasks, labels, counts, mass, y_sum, x_sum, heaviest
        return cls(first.wide, n_samples, *what)


def _sums(rows):
    """Sums of the features of each task, of rows in their order."""
    out = np.zeros((len(rows.tasks), rows.X.shape[1]))
    if len(rows.codes):
        starts = np.flatnonzero(np.diff(rows.codes, prepend=-1))
        out[rows.codes[starts]] = np.add.reduceat(rows.X, starts, axis=0)
    return out


def _unite(arrays, name):
    """The sorted union of ids or classes, and where those of each array are in it."""
    filled = [one for one in arrays if len(one)]
    if not filled:
        return arrays[0], [np.zeros(0, dtype=np.int64)] * len(arrays)
    if len({"n" if one.dtype.kind in "iuf" else one.dtype.kind for one in filled}) > 1:
        filled = [one.astype(object) for one in filled]
    together = np.concatenate(filled)
    if name == "task":
        union, codes = index_tasks(together)
    else:
        union, codes = checks.sort_labels(together)
    ends = np.cumsum([len(one) for one in arrays])
    places = [codes[end - len(one) : end] for one, end in zip(arrays, ends)]
    return union, places
