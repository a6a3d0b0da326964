"""Batches of rows, one at a time, out of whatever brings them.

Nothing is imported for it: a batch says by its methods what it is.
"""

import os
from typing import NamedTuple

import numpy as np

from ..problem.ids import column_names, shorten


class Batch(NamedTuple):
    """One batch, apart: features, labels, ids and weights of its rows.

    Attributes
    ----------
    columns : list of str or None
        Names of the features, with that of the ids in its place.
    task_column : int or None
        That place.
    targets : list of str or None
        Names of the columns of labels, where there are several.
    """

    X: object
    y: object
    task: object
    weight: object
    columns: list | None = None
    task_column: int | None = None
    targets: list | None = None


class Columns(NamedTuple):
    """Which columns of a frame are what."""

    target: object
    task: str | None
    features: list | None
    weight: str | None

    def wanted(self):
        """All columns that are read; None where the features are all that is left."""
        if self.features is None:
            return None
        return [*self.features, *self.others()]

    def others(self):
        """Those that are no features."""
        target = [self.target] if isinstance(self.target, str) else [*self.target]
        beside = [self.task, self.weight]
        return target + [name for name in beside if name is not None]


def read_batches(source, columns):
    """Yield every batch of a source, apart.

    Parameters
    ----------
    source : iterable, data frame, or Arrow data set
    columns : Columns

    Yields
    ------
    Batch
    """
    for batch in _batches(source, columns.wanted()):
        yield _apart(batch, columns)


def _batches(source, wanted):
    if isinstance(source, (str, bytes, os.PathLike)):
        raise TypeError(
            f"`batches` must be an iterable of batches, got the path {source!r}: open "
            "it as a stream, such as pyarrow.dataset.dataset(path)."
        )
    if hasattr(source, "iter_batches"):  # a Parquet file
        return source.iter_batches(columns=wanted)
    if hasattr(source, "fragments") and not callable(source.fragments):
        parts = source.fragments  # a Parquet data set
        return (batch for part in parts for batch in part.to_batches(columns=wanted))
    if hasattr(source, "scanner"):  # an Arrow data set
        ahead = {"batch_readahead": 1, "fragment_readahead": 1}
        return source.to_batches(columns=wanted, **ahead)
    for reader in ("to_arrow_reader", "fetch_record_batch"):  # a query of DuckDB
        if hasattr(source, reader):
            return getattr(source, reader)()
    if column_names(source) is not None:  # a single frame
        return [source]
    if not hasattr(source, "__iter__"):
        raise TypeError(
            "`batches` must be an iterable of data frames, Arrow record batches or "
            f"tuples (X, y, task), got {type(source).__name__}."
        )
    return source


def _apart(batch, columns):
    names = column_names(batch)
    if names is not None:
        return _of_frame(batch, names, columns)
    if isinstance(batch, (tuple, list)) and len(batch) in (2, 3, 4):
        X, y, task, weight = [*batch, None, None][:4]
        return Batch(X, y, task, weight, column_names(X), None, column_names(y))
    raise TypeError(
        "expected a data frame, an Arrow record batch, or a tuple (X, y, task) or "
        f"(X, y, task, weight), got {type(batch).__name__}."
    )


def _of_frame(frame, names, columns):
    for parameter, name in _named(columns):
        if name not in names:
            raise ValueError(
                f"`{parameter}` names {name!r}, which is no column: the columns are "
                f"{shorten(names)}."
            )
    features, others = columns.features, columns.others()
    if features is None:
        order = [name for name in names if name not in others or name == columns.task]
        features = [name for name in order if name != columns.task]
    else:
        order = [*features, *([] if columns.task is None else [columns.task])]
    if not features:
        raise ValueError("no column is left for the features.")
    return Batch(
        _select(frame, features),
        _labels(frame, columns.target),
        None if columns.task is None else frame[columns.task],
        None if columns.weight is None else np.asarray(frame[columns.weight]),
        order,
        None if columns.task is None else order.index(columns.task),
        None if isinstance(columns.target, str) else [*columns.target],
    )


def _named(columns):
    """Pairs of a parameter and a column that it names."""
    target, task, features, weight = columns
    for name in [target] if isinstance(target, str) else target:
        yield "target", name
    for name in features or []:
        yield "features", name
    if task is not None:
        yield "task", task
    if weight is not None:
        yield "sample_weight", weight


def _select(frame, names):
    return frame[names] if hasattr(frame, "iloc") else frame.select(names)


def _labels(frame, target):
    """One column, or a table of several."""
    if isinstance(target, str):
        return np.asarray(frame[target])
    return np.column_stack([np.asarray(frame[name]) for name in target])
