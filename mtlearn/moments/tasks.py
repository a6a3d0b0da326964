"""What the rows of many tasks leave behind: added, taken apart, kept in a file."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ..problem.ids import (
    LARGEST,
    column_names,
    column_position,
    id_array,
    index_tasks,
    positions,
    refuse_two_ids,
    shorten,
    split_task_column,
)
from ..problem.tasks import TaskData, some_rows
from ..problem.values import (
    as_matrix,
    check_sample_weight,
    check_size,
    check_targets,
    drop_weightless,
    shape_labels,
)
from .batches import Batch, Columns, read_batches
from .collect import Collector
from .deal import Deal, check_n_folds, unweighted
from .gather import gather_moments
from .store import load_arrays, save_arrays
from .sums import Moments

_ROUNDING = 1e-9  # of a task's weight, by which a difference may miss zero


class Origin(NamedTuple):
    """What features were made of that are not the columns of `X` themselves.

    Attributes
    ----------
    columns : ndarray of str or None
        Names of the columns of `X`, that of the ids included.
    task_column : int or None
        Position of the ids among them.
    """

    columns: np.ndarray | None
    task_column: int | None


@dataclass(frozen=True, eq=False, repr=False)
class TaskMoments:
    """All that a squared loss ever sees of the rows of many tasks.

    Weights, means, and second moments about the means, for every task: a few numbers
    that add up. Rows that do not fit into memory, or that are on several machines, or
    that come next month, leave theirs, and every estimator with `fit_moments` learns
    from their sum what it would have learned from the rows.

    Make one with `from_rows` or `from_batches`; add more rows with ``+``, take rows
    away again with ``-``, and keep it with `save`. Memory is that of n_tasks matrices
    of (n_features, n_features), whatever the number of rows.

    Parameters
    ----------
    tasks : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    counts : ndarray of shape (n_tasks,), int
        Labelled rows of each task.
    n_samples : int
        Rows, those of weight zero not counted.
    layout : {"long", "wide", "single"}
        Whether each row named its task, `y` had a column for each, or there is one.
    columns : ndarray of str or None
        Names of the columns of `X`, that of the ids included.
    task_column : int or None
        Position of the ids among them; None where they came beside `X`.
    sums : Moments
        The numbers.
    weighted : bool, default=False
        Whether rows had weights.
    plain : Moments or None
        The numbers of the same rows, all of weight one: by these a held-out fold is
        judged. Kept only where rows have weights and are dealt into folds.
    origin : Origin or None
        What the features were made of, if they are not the columns of `X`.

    Attributes
    ----------
    n_tasks, n_features : int
        How many there are.

    Notes
    -----
    Every task's moments are taken about its own means and merged by the formulas of
    Chan, Golub and LeVeque, so that features and targets far from zero lose no digits,
    in whatever order the rows come. A difference is exact only up to the rounding of
    the larger side.

    References
    ----------
    Chan, T. F., Golub, G. H. and LeVeque, R. J., Algorithms for computing the sample
    variance: analysis and recommendations, The American Statistician 37, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor, TaskMoments
    >>> rng = np.random.default_rng(0)
    >>> X, site = rng.normal(size=(90, 2)), np.repeat(["a", "b", "c"], 30)
    >>> y = X @ [1.0, 2.0]
    >>> early = TaskMoments.from_rows(X[:50], y[:50], site[:50])
    >>> late = TaskMoments.from_rows(X[50:], y[50:], site[50:])
    >>> early + late
    TaskMoments(n_tasks=3, n_features=2, n_samples=90)
    >>> PerTaskRegressor(alpha=0).fit_moments(early + late).coef_.round(6)
    array([[1., 2.],
           [1., 2.],
           [1., 2.]])
    """

    tasks: np.ndarray
    counts: np.ndarray
    n_samples: int
    layout: str
    columns: np.ndarray | None
    task_column: int | None
    sums: Moments
    weighted: bool = False
    plain: Moments | None = None
    origin: Origin | None = None

    # ------------------------------------------------------------ where they come from

    @classmethod
    def from_rows(
        cls, X, y, task=None, sample_weight=None, *, task_column=None, folds=None
    ):
        """Gather the moments of rows in memory.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            Features; one column may hold the task ids (`task_column`).
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            One label per row, or one column per task with NaN where a label was not
            observed.
        task : array-like of shape (n_samples,), default=None
            Task ids, if no column of `X` holds them.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Non-negative weights; rows with weight zero are ignored.
        task_column : str or int, default=None
            Name or position of the column of `X` that holds the task ids.
        folds : int or array-like of shape (n_samples,), default=None
            Into how many folds the rows are dealt, by a hash of their positions; or the
            fold of each row, numbered from 0.

        Returns
        -------
        moments : TaskMoments
            With `folds` a list of them, for the estimators with cross-validation.
        """
        columns, place = column_names(X), None
        if task_column is not None:
            refuse_two_ids(task_column, task)
            width = X.shape[1] if hasattr(X, "shape") else np.shape(X)[1]
            place = column_position(task_column, columns, width)
            X, task = split_task_column(X, task_column)
        names = column_names(y)
        batch = Batch(X, y, task, sample_weight, columns, place, names)
        return cls._of_batch(batch, folds if isinstance(folds, Deal) else Deal(folds))

    @classmethod
    def from_batches(
        cls,
        batches,
        *,
        target,
        task,
        features=None,
        sample_weight=None,
        folds=None,
    ):
        """Gather the moments of a stream of rows, one batch after the other.

        Parameters
        ----------
        batches : iterable, or a source of batches
            Of pandas or Polars data frames, of Arrow tables or record batches, or of
            tuples (X, y), (X, y, task) or (X, y, task, weight). A source is an Arrow
            reader or data set, a Parquet file, a query of DuckDB, or a single frame.
        target : str or list of str
            The column of the labels; several where every row has a label for each of
            several tasks (NaN: not observed). Not looked at in tuples.
        task : str or None
            The column of the task ids; None without one. Not looked at in tuples.
        features : list of str, default=None
            The columns of the features; by default all others.
        sample_weight : str, default=None
            The column of the weights.
        folds : int, default=None
            Into how many folds the rows are dealt, by a hash of their positions in the
            stream.

        Returns
        -------
        moments : TaskMoments
            With `folds` a list of them, for the estimators with cross-validation.
        """
        wanted = Columns(target, task, features, sample_weight)
        if folds is not None:
            check_n_folds(folds)
        deal = Deal(folds)
        totals = [_Sum() for _ in range(folds or 1)]
        for number, batch in enumerate(_numbered(read_batches(batches, wanted))):
            with _InBatch(number):
                found = cls._of_batch(batch, deal)
                for total, one in zip(totals, found if folds else [found]):
                    total.add(one)
        if totals[0].last is None:
            raise ValueError("`batches` is empty: expected at least one batch.")
        results = [total.result() for total in totals]
        return results if folds else results[0]

    @classmethod
    def _of_batch(cls, batch, deal):
        """Check rows, and gather their moments; a list of them, if they are dealt."""
        X, ids = batch.X, batch.task
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        X = as_matrix(X, at_least=0)
        if batch.y is None:
            raise ValueError("`y` is missing: every row needs a label.")
        y = shape_labels(np.asarray(batch.y), n_rows, ids is not None)
        names = None if batch.targets is None else np.asarray(batch.targets)
        weight = check_sample_weight(batch.weight, y.shape, some=False)
        if ids is not None:
            ids = id_array(ids)
            if len(ids) != n_rows:
                raise ValueError(
                    f"`task` has {len(ids)} ids, but X has {n_rows} rows: expected one "
                    "id per row."
                )
        X, y, ids, weight, kept = drop_weightless(X, y, ids, weight)
        check_size("X", X.data if sp.issparse(X) else X, 1.0 / LARGEST)
        y = check_targets(y, some=False)
        columns = batch.columns
        if columns is not None and not all(isinstance(c, str) for c in columns):
            columns = None
        what = X, y, ids, weight, names, columns, batch.task_column
        return cls._of_rows(*what, deal.folds(n_rows, kept))

    @classmethod
    def _of_rows(cls, X, y, ids, weight, names, columns, task_column, folds):
        """Gather the moments of checked rows."""
        if y.ndim == 2:
            tasks, codes = np.arange(y.shape[1]) if names is None else names, None
        elif ids is None:
            tasks, codes = np.arange(1), np.zeros(len(y), dtype=np.int64)
        else:
            tasks, codes = index_tasks(ids)
        data = TaskData(X, y, len(tasks), codes, weight)
        layout = "wide" if codes is None else "single" if ids is None else "long"
        columns = None if columns is None else np.asarray(columns, dtype=object)
        what = tasks, layout, columns, task_column
        if folds is None:
            return cls.from_data(data, *what)
        return cls.folds_from_data(data, *what, *folds)

    @classmethod
    def from_data(cls, data, tasks, layout, columns=None, task_column=None):
        """Gather the moments of rows that are sorted into tasks.

        Parameters
        ----------
        data : TaskData
            Without task weights.
        tasks : ndarray of shape (n_tasks,)
            Their ids.
        layout : {"long", "wide", "single"}
            Whether each row named its task, `y` had a column for each, or there is one.
        columns : ndarray of str, default=None
            Names of the columns of `X`, that of the ids included.
        task_column : int, default=None
            Position of the ids among them.

        Returns
        -------
        moments : TaskMoments
        """
        counts = (
            data.observed.sum(axis=0)
            if data.wide
            else np.bincount(data.codes, minlength=data.n_tasks)
        )
        n, sums = data.X.shape[0], gather_moments(data)
        weighted = data.sample_weight is not None
        what = layout, columns, task_column, sums, weighted
        return cls(tasks, counts, n, *what)

    @classmethod
    def folds_from_data(cls, data, tasks, layout, columns, task_column, fold, n_folds):
        """Gather the moments of every fold of rows that are sorted into tasks.

        Parameters
        ----------
        data : TaskData
            As in `from_data`, with all that follows.
        tasks : ndarray of shape (n_tasks,)
            Their ids.
        layout : {"long", "wide", "single"}
            How rows name their tasks.
        columns : ndarray of str or None
            Names of the columns.
        task_column : int or None
            Position of the ids.
        fold : ndarray of shape (n_samples,), int
            Fold of each row.
        n_folds : int
            How many there are.

        Returns
        -------
        moments : list of TaskMoments
            Those of weighted rows know what they are without weights, too.
        """
        out = []
        for k in range(n_folds):
            rows = some_rows(data, np.flatnonzero(fold == k))
            one = cls.from_data(rows, tasks, layout, columns, task_column)
            if one.weighted:
                one = replace(one, plain=gather_moments(unweighted(rows)))
            out.append(one)
        return out

    # ------------------------------------------------------------ what they are

    @property
    def n_tasks(self):
        """Number of tasks."""
        return len(self.tasks)

    @property
    def n_features(self):
        """Number of features, the ids not counted."""
        return self.sums.n_features

    @property
    def feature_names(self):
        """Names of the features, or None."""
        if self.columns is None or self.task_column is None:
            return self.columns
        return np.delete(self.columns, self.task_column)

    def __repr__(self):
        return (
            f"TaskMoments(n_tasks={self.n_tasks}, n_features={self.n_features}, "
            f"n_samples={self.n_samples})"
        )

    @property
    def unweighted(self):
        """The numbers of the rows without their weights, None where not known."""
        return self.plain if self.weighted else self.sums

    # ------------------------------------------------------------ arithmetic

    def __add__(self, other):
        """Moments of the rows of both sides; each may have tasks of its own."""
        if not isinstance(other, TaskMoments):
            return NotImplemented
        return add_moments([self, other])

    def __radd__(self, other):
        """So that ``sum(parts)`` works, which begins with 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other):
        """Moments of the rows that are left when those of `other` are taken away."""
        if not isinstance(other, TaskMoments):
            return NotImplemented
        columns, place = _agree(self, other)
        where = _all_positions(self.tasks, other.tasks)
        _refuse_debts(self, other, where)
        kept = replace(self, columns=columns, task_column=place)
        n_samples = self.n_samples - other.n_samples
        tasks, counts, sums = _difference(self, other, where, self.sums, other.sums)
        weighted, plain = self.weighted or other.weighted, None
        both = self.unweighted, other.unweighted
        if weighted and both[0] is not None and both[1] is not None:
            plain = _difference(self, other, where, *both)[2]
        return replace(
            kept,
            tasks=tasks,
            counts=counts,
            n_samples=n_samples,
            sums=sums,
            weighted=weighted,
            plain=plain,
        )

    # ------------------------------------------------------------ files

    def save(self, path):
        """Write to a file of NumPy's ``npz`` format, which any machine can read.

        Parameters
        ----------
        path : str, path or file
            Written as it is: no ending is added.
        """
        arrays = _numbers(self.sums)
        if self.plain is not None:
            arrays |= _numbers(self.plain, _PLAIN)
        about = {"counts": self.counts, "n_samples": self.n_samples}
        save_arrays(
            path,
            arrays | about | {"weighted": self.weighted},
            tasks=self.tasks,
            layout=self.layout,
            columns=self.columns,
            task_column=self.task_column,
            origin=self.origin,
        )

    @classmethod
    def load(cls, path):
        """Read what `save` has written. Nothing in the file is ever executed.

        Parameters
        ----------
        path : str, path or file
            What `save` was given.

        Returns
        -------
        moments : TaskMoments
        """
        names = *_NUMBERS, "counts", "n_samples", "weighted"
        found = load_arrays(path, names, [_PLAIN + name for name in _NUMBERS])
        sums = Moments(*(found[name] for name in _NUMBERS))
        plain = None
        if _PLAIN + _NUMBERS[0] in found:
            plain = Moments(*(found[_PLAIN + name] for name in _NUMBERS))
        return cls(
            found["tasks"],
            found["counts"],
            int(found["n_samples"]),
            found["layout"],
            found["columns"],
            found["task_column"],
            sums,
            bool(found["weighted"]),
            plain,
            None if found["origin"] is None else Origin(*found["origin"]),
        )


_NUMBERS = tuple(Moments.__dataclass_fields__)
_PLAIN = "plain_"  # before the names of what unweighted rows leave, in a file


def _numbers(sums, before=""):
    """All arrays of moments by their names."""
    sums = sums.with_rests()
    return {before + name: getattr(sums, name) for name in _NUMBERS}


# ---------------------------------------------------------------- sums


def add_moments(parts):
    """The sum of several `TaskMoments`, at least one."""
    total = _Sum()
    for part in parts:
        total.add(part)
    return total.result()


def some_tasks(moments, chosen):
    """Moments of the tasks marked in a bool array, of rows of their own; None of none.

    Parameters
    ----------
    moments : TaskMoments
    chosen : ndarray of shape (n_tasks,), bool
    """
    if not chosen.any():
        return None
    counts = moments.counts[chosen]
    return replace(
        moments,
        tasks=moments.tasks[chosen],
        counts=counts,
        n_samples=int(counts.sum()),
        sums=moments.sums.only(chosen),
    )


class _Sum:
    """A running sum of `TaskMoments`; the long layout in place."""

    def __init__(self):
        self.last, self._run, self._plain = None, _Run(), None
        self._n_samples, self._weighted = 0, False

    def add(self, moments):
        """Add those of some rows."""
        columns, place = moments.columns, moments.task_column
        if self.last is not None:
            columns, place = _agree(self.last, moments)
        self._n_samples += moments.n_samples
        self._add_plain(moments)
        self._run.add(moments, moments.sums)
        self.last = replace(moments, columns=columns, task_column=place)

    def _add_plain(self, moments):
        """Go on with the sums of rows without weights, from the first that have one."""
        if moments.weighted and not self._weighted:
            until = None if self.last is None else self.result()
            self._weighted, self._plain = True, _Run()
            if until is not None:
                self._plain.add(until, until.sums)
        if self._plain is not None and moments.unweighted is not None:
            self._plain.add(moments, moments.unweighted)
        else:
            self._plain = None

    def result(self):
        """The sum."""
        tasks, counts, sums = self._run.result()
        return replace(
            self.last,
            tasks=tasks,
            counts=counts,
            n_samples=self._n_samples,
            sums=sums,
            weighted=self._weighted,
            plain=None if self._plain is None else self._plain.result()[2],
        )


class _Run:
    """A running sum of tasks, counts, and moments of one kind."""

    def __init__(self):
        self._collector, self._wide = None, None

    def add(self, moments, sums):
        """Add the sums of the tasks of `moments`."""
        if moments.layout == "wide":
            self._wide = _add_wide(self._wide, replace(moments, sums=sums))
        else:
            self._collector = self._collector or Collector()
            self._collector.add(moments.tasks, moments.counts, sums)

    def result(self):
        """Tasks, counts and sums."""
        return self._collector.result() if self._wide is None else self._wide


def _difference(one, two, where, sums, others):
    """Tasks, counts and moments that are left; `where` are the tasks of `two`."""
    if one.layout != "wide":
        left = Collector()
        left.add(one.tasks, one.counts, sums)
        left.add(two.tasks, two.counts, others, -1.0)
        return left.result()
    back = np.full(one.n_tasks, -1)
    back[where] = np.arange(len(where))
    counts = one.counts.copy()
    counts[where] -= two.counts
    return one.tasks, counts, sums - others.at(back)


def _add_wide(total, moments):
    """Add moments of columns, of which some may be new."""
    if total is None:
        return moments.tasks, moments.counts, moments.sums
    tasks, counts, sums = total
    if np.array_equal(tasks, moments.tasks):
        return tasks, counts + moments.counts, sums + moments.sums
    if tasks.dtype.kind == "i" and moments.tasks.dtype.kind == "i":
        raise ValueError(
            f"`y` must have a column for each of the {len(tasks)} tasks, got "
            f"{len(moments.tasks)}; only columns with names may come and go."
        )
    known = set(tasks.tolist())
    new = [one for one in moments.tasks.tolist() if one not in known]
    every = np.concatenate([tasks, np.array(new, dtype=moments.tasks.dtype)])
    one, two = positions(tasks, every), positions(moments.tasks, every)
    counts = np.where(one >= 0, counts[one], 0)
    counts += np.where(two >= 0, moments.counts[two], 0)
    return every, counts, sums.at(one) + moments.sums.at(two)


def _all_positions(tasks, others):
    """Position in `tasks` of each of the others, all of which must be there."""
    where = positions(tasks, others)
    if np.any(where < 0):
        raise ValueError(
            "The moments that are taken away have tasks that the others do not: "
            f"{shorten(others[where < 0])}."
        )
    return where


def _refuse_debts(moments, other, where):
    """Refuse to take away rows that are not there."""
    short = moments.counts[where] < other.counts
    weight = moments.sums.weight[moments.sums.group][where]
    short |= weight * (1 + _ROUNDING) < other.sums.weight[other.sums.group]
    if short.any() or moments.n_samples < other.n_samples:
        raise ValueError(
            "The moments that are taken away have more rows, or more weight, than the "
            f"others: in tasks {shorten(other.tasks[short])}. Only rows that were "
            "added can be taken away."
        )


def _agree(one, two):
    """Names of columns and the place of the ids, where both sides have the same."""
    if one.layout != two.layout:
        raise ValueError(
            f"Moments of different layouts: {_LAYOUTS[one.layout]}, and "
            f"{_LAYOUTS[two.layout]}."
        )
    if one.n_features != two.n_features:
        raise ValueError(
            f"Moments of different features: expected {one.n_features}, got "
            f"{two.n_features}."
        )
    names, others = one.feature_names, two.feature_names
    if names is not None and others is not None and not np.array_equal(names, others):
        raise ValueError(
            f"Moments of different features: expected {shorten(names)}, got "
            f"{shorten(others)}; the order counts."
        )
    # of the side that knows more
    more = two if one.columns is None and two.columns is not None else one
    return more.columns, more.task_column


_LAYOUTS = {
    "long": "one side has an id for every row",
    "wide": "one side has a column of labels for each task",
    "single": "one side is of a single task without ids",
}


# ---------------------------------------------------------------- checks


def _numbered(batches):
    """The batches; what is wrong with one of them says which it is."""
    batches, number = iter(batches), 0
    while True:
        with _InBatch(number):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch
        number += 1


class _InBatch:
    """Adds to an error the number of the batch that it is about."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind in (ValueError, TypeError):
            raise kind(f"Batch {self.number}: {error}") from error
