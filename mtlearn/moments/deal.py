"""Folds of a stream: a row's fold follows from its position, whatever the batches."""

import numbers

import numpy as np

from ..problem.ids import shorten
from ..problem.tasks import TaskData

# splitmix64: neighbours, and rows a period apart, have nothing to do with each other
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)


def stream_folds(n_rows, n_folds=5, start=0):
    """Fold of every row of a stream: a hash of its position.

    Parameters
    ----------
    n_rows : int
        Rows of positive weight; others have no position.
    n_folds : int, default=5
    start : int, default=0
        Position of the first row: how many have come before.

    Returns
    -------
    fold : ndarray of shape (n_rows,), int
        Numbers from 0 to n_folds - 1.

    Examples
    --------
    >>> from mtlearn.moments import stream_folds
    >>> stream_folds(4, start=2).tolist() == stream_folds(6)[2:].tolist()
    True
    """
    z = np.arange(start, start + n_rows, dtype=np.uint64)
    z = (z + np.uint64(1)) * _STEP
    for shift, factor in _MIX:
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    return (z % np.uint64(n_folds)).astype(np.int64)


def check_n_folds(folds):
    """Check the number of folds of a stream."""
    whole = isinstance(folds, numbers.Integral) and not isinstance(folds, bool)
    if not whole or folds < 2:
        raise ValueError(
            f"`folds` must be a whole number of at least 2, got {folds!r}."
        )


class Deal:
    """Deals rows into folds: by a hash of their positions, or as the caller says.

    Parameters
    ----------
    folds : int, array-like of int, or None
    n_seen : int, default=0
        Position of the first row.
    """

    def __init__(self, folds, n_seen=0):
        self.given, self.n_folds, self.n_seen = None, folds, n_seen
        if folds is None:
            return
        if not np.ndim(folds):
            check_n_folds(folds)
            return
        self.given = np.asarray(folds)
        whole = self.given.ndim == 1 and self.given.dtype.kind in "iu"
        if not whole or not len(self.given) or self.given.min() < 0:
            raise ValueError(
                "`folds` must be a number of folds, or the fold of each row, numbered "
                f"from 0, got {shorten(self.given.ravel())}."
            )
        self.n_folds = max(int(self.given.max()) + 1, 2)

    def folds(self, n_rows, kept):
        """Fold of each row of positive weight, and how many there are; or None.

        Parameters
        ----------
        n_rows : int
        kept : ndarray of int, or None
            Numbers of the rows of positive weight; None if all are.
        """
        if self.n_folds is None:
            return None
        if self.given is not None:
            if len(self.given) != n_rows:
                raise ValueError(
                    f"`folds` has {len(self.given)} numbers, but X has {n_rows} rows: "
                    "expected one number per row."
                )
            return self.given if kept is None else self.given[kept], self.n_folds
        n = n_rows if kept is None else len(kept)
        found = stream_folds(n, self.n_folds, self.n_seen)
        self.n_seen += n
        return found, self.n_folds


def unweighted(data):
    """The same rows, all of weight one; labels of weight zero are not there."""
    y, weight = data.y, data.sample_weight
    if weight.ndim == 2:
        y = np.where(weight > 0, y, np.nan)
    return TaskData(data.X, y, data.n_tasks, data.codes)
