"""Ids: the column that holds them, codes of what callers pass, names in messages."""

import datetime
import numbers
import reprlib
import sys
from collections.abc import Mapping, Set

import numpy as np
import scipy.sparse as sp
from numba import njit

from .threads import in_threads

UNKNOWN = -1
# Of weights, features and labels up to here the products have finite squares.
LARGEST = 1e50
_MANY = 1 << 18  # ids that are worth threads
_PARTS = 8
_DATES = (np.datetime64, np.timedelta64, datetime.date, datetime.timedelta)


def split_task_column(X, task_column):
    """Take the column of task ids out of `X`, whatever container it is.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
        NumPy, pandas, polars, pyarrow, nested lists or SciPy sparse.
    task_column : str or int
        Column name (containers with names only) or position.

    Returns
    -------
    features : same kind of container, of shape (n_samples, n_columns - 1)
    ids : sequence of length n_samples
        As found; `index_tasks` and `find_tasks` check it.

    Raises
    ------
    ValueError
        If `X` has no such column, or no names at all where a name was given.
    TypeError
        If `task_column` is neither a name nor a position.

    Examples
    --------
    >>> features, ids = split_task_column([["a", 1.0], ["b", 2.0]], 0)
    >>> list(ids), features.tolist()
    (['a', 'b'], [[1.0], [2.0]])
    """
    names = column_names(X)
    if names is None and not sp.issparse(X):
        X = _as_table(X)
    position = column_position(task_column, names, X.shape[1])
    if sp.issparse(X):
        X = X.tocsc()
        ids = X[:, [position]].toarray().ravel()
        return X[:, np.arange(X.shape[1]) != position].tocsr(), ids
    if names is None:
        return np.delete(X, position, axis=1), X[:, position]
    if hasattr(X, "iloc"):
        others = [j for j in range(X.shape[1]) if j != position]
        return X.iloc[:, others], X.iloc[:, position]
    if hasattr(X, "remove_column"):
        return X.remove_column(position), X.column(position)
    return X.drop(names[position]), X[names[position]]


def column_names(X):
    """Return the column names of a frame (pandas, polars, pyarrow), else None."""
    for attribute in ("column_names", "columns"):
        names = getattr(X, attribute, None)
        if names is not None and not callable(names):
            return list(names)
    return None


def _as_table(X):
    table = np.asarray(X)
    if table.dtype.kind in "US":
        # a mixed nested list: keep the numbers numbers, and the ids strings
        table = np.asarray(X, dtype=object)
    if table.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {table.ndim}D array instead: X must have one row "
            "per sample and one column per feature. Reshape your data."
        )
    return table


def column_position(task_column, names, n_columns):
    """Position of the column of ids, given by name or by position."""
    if isinstance(task_column, numbers.Integral) and not isinstance(task_column, bool):
        if not -n_columns <= task_column < n_columns:
            raise ValueError(
                f"`task_column`={task_column} is out of range: X has {n_columns} "
                "columns."
            )
        return int(task_column) % n_columns
    if not isinstance(task_column, str):
        raise TypeError(
            "`task_column` must be a column name or an integer position, got "
            f"{task_column!r}."
        )
    if names is None:
        raise ValueError(
            f"`task_column`={task_column!r} is a column name, but X has no column "
            "names. Pass a data frame or an integer position; a transformer before "
            "this estimator keeps the names with .set_output(transform='pandas')."
        )
    if task_column in names:
        return names.index(task_column)
    renamed = [
        n for n in names if isinstance(n, str) and n.endswith("__" + task_column)
    ]
    hint = (
        f" It seems to have been renamed to {renamed[0]!r}: set "
        "verbose_feature_names_out=False."
        if renamed
        else f" The columns are {shorten(names)}."
    )
    raise ValueError(f"`task_column`={task_column!r} is not a column of X.{hint}")


def feature_names(estimator):
    """Names of the features in the order of `coef_`, or None."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return None
    names = list(names)
    if estimator.task_column is not None:
        del names[column_position(estimator.task_column, names, len(names))]
    return names


def shorten(values, most=8):
    """Print a list for a message, cut after `most` values."""
    values = list(values)
    text = ", ".join(repr(getattr(v, "item", lambda v=v: v)()) for v in values[:most])
    return f"[{text}{', ...' if len(values) > most else ''}]"


def as_floats(name, values):
    """Turn array-like numbers into a new float64 array, or name what they are not."""
    try:
        given = np.asarray(values)
        floats = np.array(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` must hold numbers: {error}.") from None
    refuse_dates(f"`{name}`", given)
    return floats


def refuse_dates(name, values):
    """Dates and durations, which NumPy would count in a unit of its own choice."""
    kind = values.dtype.kind
    found = values.ravel() if kind in "mM" else []
    if kind == "O":
        found = [v for v in values.flat if isinstance(v, _DATES)]
    if len(found):
        raise ValueError(
            f"{name} must hold numbers, got dates or durations such as "
            f"{str(found[0])!r}: turn them into numbers, such as days since a date."
        )


def index_tasks(ids, name="task"):
    """Check task ids and turn them into codes.

    Parameters
    ----------
    ids : array-like of shape (n_samples,)
        Strings, integers, categoricals or any hashable, sortable objects.
    name : str
        What the caller calls them; used in messages.

    Returns
    -------
    tasks : ndarray of shape (n_tasks,)
        The sorted ids.
    codes : ndarray of shape (n_samples,), int64
        Position in `tasks` of each row's id.

    Raises
    ------
    ValueError
        On missing ids, on float ids that are not integers, and on ids that are not
        one-dimensional.
    TypeError
        On ids that cannot be sorted together.

    Examples
    --------
    >>> tasks, codes = index_tasks(["north", "south", "north"])
    >>> tasks.tolist(), codes.tolist()
    (['north', 'south'], [0, 1, 0])
    """
    found, codes = _factorize(ids, name)
    try:
        tasks, place = np.unique(found, return_inverse=True)
    except TypeError:
        kinds = sorted({type(value).__name__ for value in found})
        raise TypeError(
            f"`{name}` holds ids of types that cannot be sorted together: "
            f"{', '.join(kinds)}. Use one type."
        ) from None
    if np.array_equal(place, np.arange(len(place))):  # integers come sorted
        return tasks, codes
    return tasks, place.astype(np.int64)[codes]


def refuse_two_ids(column, task):
    """Refuse ids in `task` beside those of a column."""
    if task is not None:
        raise ValueError(
            "The task ids came twice: in `task` and in the column "
            f"`task_column`={column!r}. Give one of them."
        )


def find_tasks(tasks, ids, name="task"):
    """Return the position in `tasks` of every id, `UNKNOWN` (-1) where it has none.

    Parameters
    ----------
    tasks : ndarray of shape (n_tasks,)
        The known ids.
    ids : array-like of shape (n_samples,)

    Returns
    -------
    codes : ndarray of shape (n_samples,), int64

    Raises
    ------
    ValueError
        On missing or non-integer float ids, and on ids of another kind than `tasks`
        (numbers against strings), which would otherwise all pass as unknown.
    """
    found, codes = _factorize(ids, name)
    known = np.asarray(tasks)
    if found.size and known.size:
        ours, theirs = _kind(known), _kind(found)
        if "other" not in (ours, theirs) and ours != theirs:
            raise ValueError(
                f"`{name}` holds {theirs} but the tasks of the fit are {ours}: "
                f"expected ids such as {shorten(known, 3)}, got {shorten(found, 3)}."
            )
    return positions(known, found)[codes] if codes.size else codes


def positions(tasks, ids):
    """Position in `tasks` of each of the ids, `UNKNOWN` of one that is not there.

    Both are arrays of ids that have been checked, each of them once.
    """
    place = {task: position for position, task in enumerate(tasks.tolist())}
    return np.array([place.get(one, UNKNOWN) for one in ids.tolist()], dtype=np.int64)


def _kind(values):
    if values.dtype.kind in "iub":
        return "numbers"
    if values.dtype.kind in "US" or all(isinstance(v, str) for v in values):
        return "strings"
    return "other"


def _factorize(ids, name):
    """Distinct ids in no particular order, and the code of each row."""
    values = id_array(ids, name)
    if values.dtype.kind == "f":
        values = _integer_ids(values, name)
    if values.dtype.kind in "iu":
        return factorize_integers(values)
    try:
        found, codes = _factorize_objects(values)
    except TypeError as error:
        raise TypeError(
            f"`{name}` holds an id that cannot be one ({error}): the argument must be "
            "a string or a number, or another hashable object."
        ) from None
    _refuse_missing(np.sum(codes < 0) + sum(_is_missing(v) for v in found), name)
    return _plain_dtype(found, name), np.asarray(codes, dtype=np.int64)


def _factorize_objects(values):
    """Distinct objects and codes, by hashing; pandas marks missing ones by -1."""
    if "pandas" in sys.modules:
        codes, found = sys.modules["pandas"].factorize(values)
        return np.asarray(found, dtype=object), codes
    place = {}
    listed = values.tolist()
    codes = np.fromiter(
        (place.setdefault(v, len(place)) for v in listed), np.int64, len(listed)
    )
    found = np.empty(len(place), dtype=object)
    found[:] = list(place)
    return found, codes


def id_array(ids, name="task"):
    """The ids as a one-dimensional NumPy array that still holds them as they are."""
    unfit = isinstance(ids, (str, bytes, Mapping, Set)) or not hasattr(ids, "__len__")
    if unfit or getattr(ids, "shape", None) == ():
        raise TypeError(
            f"`{name}` must be array-like with one id per row, got "
            f"{reprlib.repr(ids)} of type {type(ids).__name__}."
        )
    if hasattr(ids, "to_pylist"):
        ids = _from_arrow(ids)
    elif hasattr(ids, "to_numpy"):
        ids = ids.to_numpy()
    elif not isinstance(ids, np.ndarray) and not hasattr(ids, "__array__"):
        ids = _from_list(list(ids))
    values = np.asarray(ids)
    if values.dtype == "M8[ns]":  # as objects these would be bare integers
        values = values.astype("M8[us]")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values.ravel()
    if values.ndim != 1:
        raise ValueError(
            f"`{name}` must be one-dimensional, one id per row, got an array of shape "
            f"{values.shape}."
        )
    if values.dtype.kind == "c":
        raise ValueError(f"`{name}` must hold task ids, got complex numbers.")
    return values


def _from_arrow(ids):
    """An Arrow array, or one in chunks; strings and integers without Python's own."""
    if str(ids.type).startswith("dictionary"):
        ids = ids.cast(ids.type.value_type)
    kind = str(ids.type)
    if kind in ("string", "large_string") or (
        kind.lstrip("u").startswith("int") and not ids.null_count
    ):
        return ids.to_numpy(zero_copy_only=False)
    return np.array([*ids.to_pylist(), None], dtype=object)[:-1]


def _from_list(ids):
    """A list as an array, of objects unless its numbers stay what they are."""
    if all(isinstance(v, numbers.Number) for v in ids):
        values = np.asarray(ids)
        # integers that no integer dtype holds together would become floats
        if values.dtype.kind != "f" or np.all(np.abs(values) < 2**53):
            return values
    return np.array([*ids, None], dtype=object)[:-1]


def _refuse_missing(n_missing, name):
    if n_missing:
        raise ValueError(
            f"`{name}` has missing ids (NaN or None): every row needs to name its "
            "task. Drop the rows, or give them an id of their own."
        )


def _is_missing(value):
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA has no truth value
        return True


def missing_labels(Y):
    """Which entries are NaN, None or pandas.NA, of the shape of `Y`."""
    if hasattr(Y, "isna"):
        return Y.isna().to_numpy()
    Y = np.asarray(Y)
    if Y.dtype.kind == "f":
        return np.isnan(Y)
    if Y.dtype.kind in "mM":
        return np.isnat(Y)
    if Y.dtype.kind != "O":
        return np.zeros(Y.shape, dtype=bool)
    flat = np.fromiter((_is_missing(v) for v in Y.ravel()), bool, Y.size)
    return flat.reshape(Y.shape)


def _integer_ids(values, name):
    """Float ids that are integers, as integers; others are refused."""
    finite = np.isfinite(values)
    if not finite.all():
        _refuse_missing(int(np.isnan(values).sum()), name)
        raise ValueError(f"`{name}` holds infinite values; expected task ids.")
    whole = np.rint(values)
    if not np.array_equal(whole, values):
        example = values[whole != values][0]
        raise ValueError(
            f"`{name}` holds floats that are not integers, such as {example:.6g}. Did "
            "a scaler or another transformer run over the column of ids? Expected "
            "strings, integers or categories."
        )
    digits = np.finfo(values.dtype).nmant + 1
    if whole.size and abs(whole).max() >= 2.0**digits:
        raise ValueError(
            f"`{name}` holds floats such as {whole[abs(whole).argmax()]:.6g}: from "
            f"2**{digits} on {values.dtype} does not tell all integers apart, so that "
            "tasks would be merged. Expected integers or strings."
        )
    return whole.astype(np.int64)


def _plain_dtype(found, name):
    """Objects that are all strings, or all numbers, in an array of that dtype."""
    values = found.tolist()
    if values and all(isinstance(v, str) for v in values):
        return np.array(values)
    if values and all(isinstance(v, numbers.Integral) for v in values):
        low, high = min(values), max(values)
        if -(2**63) <= low and high < 2**63:
            return np.array(values, dtype=np.int64)
        return np.array(values, dtype=np.uint64) if low >= 0 and high < 2**64 else found
    if values and all(isinstance(v, (numbers.Real, np.bool_)) for v in values):
        return _integer_ids(np.array(values, dtype=np.float64), name)
    return found


def factorize_integers(values):
    """Distinct integers and codes; by counting where their range is short."""
    if values.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * values.size + 1024 or high >= 2**63:
        found, codes = np.unique(values, return_inverse=True)
        return found, codes.astype(np.int64)
    values = np.ascontiguousarray(values, dtype=np.int64)
    present = np.zeros(high - low + 1, dtype=bool)
    codes = np.empty(len(values), dtype=np.int64)
    if len(values) < _MANY:
        codes = values - low
        present[codes] = True
        return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[codes]
    ends = np.linspace(0, len(values), _PARTS + 1).astype(int).tolist()
    parts = [slice(*ends[k : k + 2]) for k in range(_PARTS)]
    in_threads(lambda part: _mark(values[part], low, present), parts)
    table = np.cumsum(present) - 1
    in_threads(lambda part: _look_up(values[part], low, table, codes[part]), parts)
    return np.flatnonzero(present) + low, codes


@njit(cache=True, nogil=True)
def _mark(values, low, present):
    for i in range(values.shape[0]):
        present[values[i] - low] = True


@njit(cache=True, nogil=True)
def _look_up(values, low, table, codes):
    for i in range(values.shape[0]):
        codes[i] = table[values[i] - low]
