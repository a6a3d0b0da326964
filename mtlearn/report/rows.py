"""The rows as a report looks at them: columns, ids and labels of any container."""

import datetime
import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from ..problem.ids import (
    column_names,
    index_tasks,
    missing_labels,
    refuse_two_ids,
    split_task_column,
)

MOST_COLUMNS = 1000  # that are looked at
_DATES = (datetime.date, np.datetime64)


@dataclass(frozen=True)
class Rows:
    """Rows, as the model sees them.

    Attributes
    ----------
    names : list of str
        Of the features.
    X : array, sparse matrix or data frame of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,) or (n_rows, n_tasks)
        Numbers; of classes their codes; NaN where there is no label.
    classes : list
        Empty for numbers.
    target : str or None
        Name of the labels.
    tasks : ndarray of shape (n_tasks,)
    codes : ndarray of shape (n_rows,) or None
        None where each column of `y` is a task.
    dated : list of str
        Columns of dates, among those that were passed.
    """

    names: list
    X: object
    y: np.ndarray
    classes: list
    target: str | None
    tasks: np.ndarray
    codes: np.ndarray | None
    dated: list

    @property
    def counts(self):
        """Labelled rows of each task."""
        seen = ~np.isnan(self.y)
        if self.codes is None:
            return seen.sum(axis=0)
        return np.bincount(self.codes[seen], minlength=len(self.tasks))

    @cached_property
    def by_task(self):
        """Rows in the order of their tasks, and where each task begins."""
        order = np.argsort(self.codes, kind="stable")
        starts = np.flatnonzero(np.diff(self.codes[order], prepend=-1))
        return order, starts

    def columns(self):
        """Yield name and numbers of the features; codes and True for texts."""
        X = self.X.tocsc() if sp.issparse(self.X) else self.X
        for j, name in enumerate(self.names[:MOST_COLUMNS]):
            values, text = as_numbers(take_column(X, j))
            if values is not None:
                yield name, values, text


def read_rows(estimator, X, y, task):
    """Read what the user passed.

    Parameters
    ----------
    estimator : fitted estimator, Pipeline or None
        Whose steps before the last are applied, and whose last says where the ids are.
    X, y, task : object
        As for its `fit`.

    Returns
    -------
    Rows
    """
    if "dask" in sys.modules and any(hasattr(v, "__dask_graph__") for v in (X, y)):
        raise TypeError(
            "A report looks at rows in memory, but got a Dask collection: pass a "
            "sample of the rows, or none."
        )
    model, seen = estimator, X
    if isinstance(estimator, Pipeline):
        model = estimator[-1]
        seen = estimator[:-1].transform(X) if len(estimator) > 1 else X
    column = getattr(model, "task_column", None)
    column = getattr(model, "_column", None) if column is None else column
    ids = task
    if column is not None:
        refuse_two_ids(column, task)
        seen, ids = split_task_column(seen, column)
    if column_names(seen) is None and not sp.issparse(seen):
        seen = np.asarray(seen)
    target = _name(y)
    names = column_names(y) if target is None else None
    y, classes = _labels(y, model)
    if seen.shape[0] != len(y):
        raise ValueError(f"X has {seen.shape[0]} rows, but y has {len(y)} labels.")
    tasks, codes = _tasks(ids, y, names)
    features = column_names(seen) or [f"x{j}" for j in range(seen.shape[1])]
    features = [str(name) for name in features]
    return Rows(features, seen, y, classes, target, tasks, codes, _dates(X))


def _name(y):
    name = getattr(y, "name", None)
    return name if isinstance(name, str) and name else None


def _labels(y, model):
    """Labels as numbers, and the classes."""
    y = np.asarray(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim not in (1, 2):
        raise ValueError(
            f"y must have shape (n_samples,) or (n_samples, n_tasks), got {y.shape}."
        )
    missing = missing_labels(y)
    if not (is_classifier(model) if model is not None else y.dtype.kind not in "iuf"):
        return np.where(missing, np.nan, y).astype(np.float64), []
    classes, place = np.unique(y[~missing], return_inverse=True)
    codes = np.full(y.shape, np.nan)
    codes[~missing] = place
    return codes, classes.tolist()


def _tasks(ids, y, names):
    """The tasks, and in the long layout the code of each row."""
    if ids is not None:
        tasks, codes = index_tasks(ids)
        if len(codes) != len(y):
            raise ValueError(f"`task` has {len(codes)} ids for {len(y)} rows.")
        return tasks, codes
    if y.ndim == 2:
        return np.arange(y.shape[1]) if names is None else np.asarray(names), None
    return np.arange(1), np.zeros(len(y), dtype=np.int64)


# ---------------------------------------------------------------- columns


def take_column(X, j):
    """A column of any container, as an array."""
    if sp.issparse(X):
        return X[:, [j]].toarray().ravel()
    if hasattr(X, "iloc"):
        return X.iloc[:, j].to_numpy()
    names = column_names(X)
    if names is None:
        return X[:, j]
    column = X.column(j) if hasattr(X, "column") else X[names[j]]
    return np.asarray(column)


def as_numbers(values):
    """A column as numbers, and whether these are codes of texts; None for dates."""
    if values.dtype.kind in "biuf":
        values = values.astype(np.float64)
        known = np.isfinite(values)
        if not known.all():
            values = np.where(known, values, values[known].mean() if known.any() else 0)
        return values, False
    if _has_dates(values):
        return None, False
    try:
        return as_numbers(values.astype(np.float64))
    except (TypeError, ValueError):
        texts = np.array([str(value) for value in values.tolist()])
        return np.unique(texts, return_inverse=True)[1].astype(np.float64), True


def _has_dates(values):
    if values.dtype.kind == "M":
        return True
    if values.dtype.kind != "O":
        return False
    return isinstance(next((v for v in values if v is not None), None), _DATES)


def _dates(X):
    """Names of the columns of dates in the table that was passed."""
    names = column_names(X)
    if names is None:
        return []
    known = enumerate(names[:MOST_COLUMNS])
    return [str(name) for j, name in known if _has_dates(take_column(X, j))]
