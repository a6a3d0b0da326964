"""Dask: rows in partitions, a function of each, sums of what they return.

Nothing else in the package knows Dask, and nothing imports this file before a Dask
collection is there. It knows nothing of estimators: functions of a partition come from
those who need them.
"""

import contextlib
import os
import uuid
import warnings

import dask
import dask.array
import numpy as np

_WIDTH = 8  # results that are added by one task of a tree
_SHARE = 0.4  # of the workers' memory, that rows may take which are kept there


class Partitions:
    """Rows in partitions, or what was made of each of them.

    Parameters
    ----------
    parts : list of Delayed
    sizes : tuple of int, default=None
        Rows of each partition, where they are known.
    nbytes : int, default=None
        Memory of all rows, where it is known.
    """

    def __init__(self, parts, sizes=None, nbytes=None):
        self.parts, self.sizes, self.nbytes = parts, sizes, nbytes

    @classmethod
    def of(cls, **collections):
        """Rows of Dask collections that lie side by side.

        Parameters
        ----------
        **collections : Dask data frame, series or array, or None
            By what messages call them; the first says how the rows are cut.

        Returns
        -------
        partitions : Partitions
            Of tuples, one entry for each collection.
        """
        for name, value in collections.items():
            _check(name, value)
        first = next(iter(collections.values()))
        columns = [_blocks(value, first) for value in collections.values()]
        lengths = [len(blocks) for blocks in columns if blocks is not None]
        for name, blocks in zip(collections, columns, strict=True):
            if blocks is not None and len(blocks) != lengths[0]:
                raise ValueError(
                    f"`{name}` has {len(blocks)} partitions, but "
                    f"{next(iter(collections))} has {lengths[0]}: partitions must "
                    "match, row by row (`repartition`, `rechunk`)."
                )
        columns = [[None] * lengths[0] if c is None else c for c in columns]
        sizes, nbytes = _known(first)
        return cls(list(zip(*columns, strict=True)), sizes, nbytes)

    def __len__(self):
        return len(self.parts)

    def map(self, function, *shared):
        """What a function makes of every partition, not computed yet.

        Parameters
        ----------
        function : callable
            Of a partition and of what is shared. If it raises, the message names the
            partition.
        *shared : object
            The same for all.
        """
        call = dask.delayed(_Named(function), pure=False)
        shared = [_share(value) for value in shared]
        parts = [call(k, part, *shared) for k, part in enumerate(self.parts)]
        return Partitions(parts, self.sizes, self.nbytes)

    def persist(self):
        """The same, computed once and kept by the workers, where memory allows.

        What a worker that dies has kept is computed again by another.
        """
        nbytes = self.nbytes
        if nbytes is None:
            # the first stands for all
            nbytes = len(self) * _compute(self.parts[0]).nbytes
        if nbytes > _SHARE * _memory():
            return Partitions(self.parts, self.sizes, nbytes)
        with _large_graphs():
            return Partitions(list(dask.persist(*self.parts)), self.sizes, nbytes)

    def beside(self, values):
        """The same, each of them with a value of its own."""
        parts = list(zip(self.parts, values, strict=True))
        return Partitions(parts, self.sizes, self.nbytes)

    def shuffle(self, split, add, n_parts, nbytes, *shared):
        """Other partitions, of what each of these has for them.

        Parameters
        ----------
        split : callable
            From a partition and what is shared to a list of `n_parts` things.
        add : callable
            From a list of such things to the new partition.
        n_parts : int
        nbytes : int
            Memory of all new partitions.
        *shared : object
            The same for all.
        """
        split = self.map(split, *shared).parts
        add = dask.delayed(add, pure=False)
        parts = [add([part[j] for part in split]) for j in range(n_parts)]
        return Partitions(parts, nbytes=nbytes)

    def total(self, function, add, *shared):
        """The sum of what a function makes of every partition.

        Parameters
        ----------
        function : callable
            As in `map`.
        add : callable
            From a list of results to their sum; it must not change them.
        *shared : object
            The same for all.
        """
        level = self.map(function, *shared).parts
        add = dask.delayed(add, pure=False)
        while len(level) > 1:
            level = [add(level[k : k + _WIDTH]) for k in range(0, len(level), _WIDTH)]
        return _compute(level[0])

    def arrays(self, like):
        """Results that are arrays, one row for each of a partition, end to end.

        Parameters
        ----------
        like : ndarray, or tuple of ndarray
            A result of a single row.

        Returns
        -------
        arrays : Dask array, or tuple of these
        """
        if isinstance(like, tuple):
            return tuple(
                Partitions([part[j] for part in self.parts], self.sizes).arrays(one)
                for j, one in enumerate(like)
            )
        sizes = [np.nan] * len(self) if self.sizes is None else self.sizes
        blocks = [
            dask.array.from_delayed(part, (n, *like.shape[1:]), like.dtype)
            for part, n in zip(self.parts, sizes, strict=True)
        ]
        return dask.array.concatenate(blocks)


class _Named:
    """A function of partitions whose errors name the partition."""

    def __init__(self, function):
        self.function = function
        self.__name__ = getattr(function, "__name__", "partition")

    def __call__(self, number, part, *shared):
        try:
            return self.function(part, *shared)
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"Partition {number}: {error}") from None


# ---------------------------------------------------------------- collections


def _is_frame(value):
    return hasattr(value, "divisions") and hasattr(value, "to_delayed")


def _check(name, value):
    """Refuse what is not in partitions of rows."""
    if value is None or _is_frame(value):
        return
    if not isinstance(value, dask.array.Array):
        raise TypeError(
            f"`{name}` must be a Dask data frame, series or array, as the other "
            f"arguments are, got {type(value).__name__}: "
            f"dask.array.from_array({name}, chunks) makes one."
        )
    if value.ndim not in (1, 2):
        raise ValueError(f"`{name}` must have one or two dimensions, got {value.ndim}.")


def _blocks(value, first):
    """The partitions of a collection, cut as `first` where that is known."""
    if value is None:
        return None
    if _is_frame(value):
        return list(value.to_delayed())
    if value.ndim == 2 and value.numblocks[1] > 1:
        value = value.rechunk({1: -1})
    if isinstance(first, dask.array.Array):
        known = not np.isnan(value.shape[0]) and not np.isnan(first.shape[0])
        same_length = known and value.shape[0] == first.shape[0]
        if same_length and value.chunks[0] != first.chunks[0]:
            value = value.rechunk({0: first.chunks[0]})
    return value.to_delayed().ravel().tolist()


def _known(first):
    """Rows of each partition and bytes of all, None where they are not known."""
    if not isinstance(first, dask.array.Array) or np.isnan(first.shape[0]):
        return None, None
    return first.chunks[0], 8 * first.size


def without_rows(X):
    """A frame or an array as the partitions of `X` are, of no rows."""
    return X._meta if _is_frame(X) else np.empty((0, *X.shape[1:]), X.dtype)


# ---------------------------------------------------------------- the scheduler


def _share(value):
    """A value that goes to the workers once, whatever the number of partitions."""
    name = f"mtlearn-{type(value).__name__}-{uuid.uuid4().hex}"
    return dask.delayed(value, name=name, traverse=False)


def _compute(part):
    with _large_graphs():
        return dask.compute(part)[0]


@contextlib.contextmanager
def _large_graphs():
    """Models travel with the graphs, so that no worker's death takes them away."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        yield


def _memory():
    """Bytes of memory of all workers together."""
    try:
        from distributed import get_client

        workers = get_client().scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["memory_limit"] or np.inf for worker in workers)
    except (ImportError, ValueError):  # one process
        pages = getattr(os, "sysconf", lambda name: np.inf)
        return pages("SC_PAGE_SIZE") * pages("SC_PHYS_PAGES")
