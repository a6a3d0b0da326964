"""Columns of data frames that hold categories, and the codes that stand for them."""

import sys

import numpy as np

from ..problem.ids import column_names, column_position, missing_labels, shorten

_WORDS = ("categor", "enum", "str", "large_str", "utf8", "dictionary", "object")


def find_categories(X, task_column):
    """Levels of the columns of a data frame that hold categories or strings.

    Parameters
    ----------
    X : data frame, or anything else, which has none
    task_column : str, int or None
        The column of ids, which is left out.

    Returns
    -------
    levels : dict
        From the names of these columns to lists of their levels, in order.
    names : list
        Of all columns but that of the ids; empty where there are no names.

    Raises
    ------
    ValueError
        If a level is missing.
    """
    names = column_names(X)
    if names is None or len(set(names)) < len(names):  # the latter is refused later
        return {}, []
    kinds = list(X.dtypes if hasattr(X, "dtypes") else X.schema.types)
    if task_column is not None:
        position = column_position(task_column, names, len(names))
        del names[position], kinds[position]
    return {
        name: _levels(name, _values(X, name))
        for name, kind in zip(names, kinds, strict=True)
        if _is_categorical(X, name, kind)
    }, names


def encode_categories(X, levels):
    """The same frame with the positions of the levels, -1 for others.

    Parameters
    ----------
    X : data frame; anything where there are no `levels`
    levels : dict
        As `find_categories` returns it.
    """
    if not levels:
        return X
    known = column_names(X)
    absent = [name for name in levels if known is None or name not in known]
    if absent:
        raise ValueError(
            f"X must be a data frame with the category columns {shorten(absent)} that "
            "fit has seen."
        )
    codes = {}
    for name, seen in levels.items():
        place, values = {v: i for i, v in enumerate(seen)}, _values(X, name)
        _refuse_missing(name, values)
        codes[name] = np.array([place.get(v, -1) for v in values.tolist()], dtype=float)
    return _replaced(X, known, codes)


def _replaced(X, known, codes):
    """The frame with other columns of the same names."""
    if hasattr(X, "iloc"):
        X = X.copy(deep=False)
        for name, column in codes.items():
            X[name] = column
        return X
    library = sys.modules[type(X).__module__.split(".")[0]]
    for name, column in codes.items():
        if hasattr(X, "set_column"):
            X = X.set_column(known.index(name), name, library.array(column))
        else:
            X = X.with_columns(library.Series(name, column))
    return X


def _is_categorical(X, name, kind):
    """Whether a column has a type of strings or categories, or objects with strings."""
    word = str(kind).lower()
    if not word.startswith(_WORDS):
        return False
    return word != "object" or any(isinstance(v, str) for v in _values(X, name))


def _values(X, name):
    """A column as an array of objects."""
    column = X[name]
    if hasattr(column, "to_pylist"):
        column = column.to_pylist()
    elif hasattr(column, "to_list"):
        column = column.to_list()
    out = np.empty(len(column), dtype=object)
    out[:] = column
    return out


def _levels(name, values):
    """The distinct values in their order; of several types, in that of their names."""
    _refuse_missing(name, values)
    found = list(dict.fromkeys(values.tolist()))
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def _refuse_missing(name, values):
    if missing_labels(values).any():
        raise ValueError(
            f"The category column {name!r} of X has missing values (NaN or None): give "
            "them a level of their own."
        )
