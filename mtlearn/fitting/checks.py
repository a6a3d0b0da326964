"""The door: what users pass becomes clean arrays here, or one clear sentence."""

import numbers
import warnings
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ..problem.ids import (
    LARGEST,
    as_floats,
    column_names,
    factorize_integers,
    id_array,
    missing_labels,
    refuse_two_ids,
    shorten,
    split_task_column,
)
from ..problem.intercepts import FREE, NONE, SHARED, SHRUNK, shrunken
from ..problem.values import MISSING_LABEL, as_matrix, require_a_label

# ---------------------------------------------------------------- parameters


def check_number(name, value, low=None, high=None, *, strict=False, whole=False):
    """Check a numeric parameter and return it.

    Raises
    ------
    TypeError
        If it is not a (whole) number.
    ValueError
        If it is outside [low, high], or at `low` where `strict`.
    """
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, (bool, np.bool_)):
        what = "an integer" if whole else "a number"
        raise TypeError(
            f"`{name}` must be {what}, got {value!r} of type {type(value).__name__}."
        )
    below = low is not None and (value <= low if strict else value < low)
    if below or (high is not None and value > high) or not np.isfinite(value):
        sign = ">" if strict else ">="
        limits = [f"{sign} {low}"] if low is not None else []
        limits += [f"<= {high}"] if high is not None else []
        raise ValueError(
            f"`{name}` must be finite and {' and '.join(limits)}, got {value!r}."
        )
    return value


def check_choice(name, value, choices):
    """Check a parameter that is one of a few values and return it."""
    # a grid in an array has NumPy's strings
    plain = value.item() if isinstance(value, np.generic) else value
    same = [c for c in choices if type(c) is type(plain) and c == plain]
    if not same:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}."
        )
    return value


_INTERCEPTS = {
    True: FREE,
    "free": FREE,
    "shrunk": SHRUNK,
    "shared": SHARED,
    False: NONE,
}


def check_intercept(value, strength=1.0):
    """Return the `Intercepts` that the parameter `fit_intercept` names.

    Parameters
    ----------
    value : {True, "free", "shrunk", "shared", False}
    strength : float, default=1.0
        The parameter `intercept_strength`, which concerns shrunken ones.
    """
    if isinstance(value, np.bool_):
        value = bool(value)
    mode = _INTERCEPTS[check_choice("fit_intercept", value, tuple(_INTERCEPTS))]
    strength = float(check_strength("intercept_strength", strength, strict=True))
    if strength < 1.0 / LARGEST:
        raise ValueError(
            f"`intercept_strength` must be at least {1.0 / LARGEST:g}, got "
            f"{strength!r}: use `fit_intercept`='free' instead."
        )
    return shrunken(strength) if mode.shrunk else mode


def check_strength(name, value, *, strict=False):
    """Check the strength of a loss or penalty: finite, >= 0, no more than `LARGEST`."""
    check_number(name, value, 0, strict=strict)
    if value > LARGEST:
        raise ValueError(
            f"`{name}` must be no larger than {LARGEST:g}, got {value!r}: products of "
            "such numbers overflow."
        )
    return value


# ---------------------------------------------------------------- X and the ids


def check_features(estimator, X, task, *, reset):
    """Split off the ids, check the features.

    Returns
    -------
    X : ndarray (C order) or csr_array of shape (n_samples, n_features), float64
    ids : ndarray of shape (n_samples,), as found, or None
    """
    _check_table(estimator, X)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    column, ids = estimator.task_column, task
    if column is not None:
        refuse_two_ids(column, task)
        if getattr(X, "shape", (0, 2))[1] < 2:
            raise ValueError(
                f"Found array with {X.shape[1]} feature(s) (shape={X.shape}) while a "
                "minimum of 1 is required beside the column of ids "
                f"`task_column`={column!r}."
            )
        X, ids = split_task_column(X, column)
    X = as_matrix(X, estimator)
    if ids is None:
        return X, None
    ids = id_array(ids, "task" if column is None else f"X[{column!r}]")
    if len(ids) != X.shape[0]:
        raise ValueError(
            f"`task` has {len(ids)} ids, but X has {X.shape[0]} rows: expected one id "
            "per row."
        )
    return X, ids


def _check_table(estimator, X):
    """Refuse what is no table of real numbers, in scikit-learn's own words."""
    dtype = getattr(X, "dtype", None)
    listed = hasattr(X, "__len__") and not hasattr(X, "shape")
    bare = listed and (isinstance(X, Mapping) or len(X) == 0)
    if bare or getattr(X, "ndim", 2) != 2 or getattr(dtype, "kind", "") == "c":
        check_array(X, estimator=estimator, input_name="X")


# ---------------------------------------------------------------- y and its weights


def check_labels(estimator, X, y, *, long):
    """Return `y` as an array of one or two dimensions, with the names of its columns.

    Parameters
    ----------
    long : bool
        Whether ids came with the rows; a two-dimensional `y` is refused then.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
    names : ndarray of shape (n_tasks,) or None
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is "
            "None."
        )
    if sp.issparse(y):
        raise TypeError(
            "Sparse `y` is not supported: an absent entry could mean zero or not "
            "observed. Pass y.toarray(), with NaN where a label is missing."
        )
    names = column_names(y)
    table = as_table(y)
    if table.dtype.kind == "c":
        raise ValueError("Complex data not supported: `y` must be real.")
    if table.ndim not in (1, 2) or (table.ndim == 2 and table.shape[1] == 0):
        raise ValueError(
            "`y` must have shape (n_samples,) or (n_samples, n_tasks), got "
            f"{table.shape}."
        )
    if table.shape[0] != X.shape[0]:
        raise ValueError(
            f"X and y have inconsistent numbers of samples: {X.shape[0]} and "
            f"{table.shape[0]}."
        )
    if table.ndim == 2 and long:
        if table.shape[1] != 1:
            raise ValueError(
                f"`y` has {table.shape[1]} columns, but every row of X names its task "
                "(`task` or `task_column`): expected one label per row. Drop the ids "
                "if each column of `y` is a task."
            )
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Use y.ravel() "
            "to silence this.",
            DataConversionWarning,
            stacklevel=4,
        )
        table = table.ravel()
    if table.ndim == 1 or names is None:
        return table, None
    return table, np.asarray(names)


def as_table(y):
    """Labels as an array; a list with strings and NaN keeps them apart."""
    table = np.asarray(y)
    if table.dtype.kind in "US" and not hasattr(y, "dtype"):
        objects = np.asarray(y, dtype=object)
        return objects if missing_labels(objects).any() else table
    return table


def check_classes(y):
    """Labels of a classification as codes.

    Returns
    -------
    codes : ndarray of the shape of `y`, float64
        Position of each label in `labels`, NaN where it is missing.
    labels : ndarray of shape (n_labels,)
        The sorted union over all tasks.
    """
    missing = missing_labels(y)
    if y.ndim == 1 and missing.any():
        raise ValueError(MISSING_LABEL)
    require_a_label(~missing)
    complete = not missing.any()
    labels, place = sort_labels(y.ravel() if complete else y[~missing])
    if complete:
        return place.reshape(y.shape).astype(np.float64), labels
    codes = np.full(y.shape, np.nan)
    codes[~missing] = place
    return codes, labels


def sort_labels(found):
    """The distinct labels, sorted, and the position of each entry among them."""
    if found.dtype.kind == "O" and all(isinstance(v, numbers.Real) for v in found):
        found = _plain_labels(found)
    if found.dtype.kind in "iu":
        return factorize_integers(found)
    if found.dtype.kind == "f":
        if not np.all(np.isfinite(found)):
            raise ValueError("Input y contains infinity; expected class labels.")
        if np.any(found != np.rint(found)):
            raise ValueError(
                "Unknown label type: continuous. `y` must hold classes, got numbers "
                f"such as {found[found != np.rint(found)][0]:.6g}; for those use a "
                "regressor."
            )
        if np.all(abs(found) < 2**53):
            labels, place = factorize_integers(found.astype(np.int64))
            return labels.astype(found.dtype), place
    try:
        return np.unique(found, return_inverse=True)
    except TypeError:
        raise TypeError("`y` holds labels of types that cannot be sorted.") from None


def _plain_labels(found):
    """Numbers in an array of objects; integers stay what they are."""
    if not all(isinstance(v, numbers.Integral) for v in found):
        floats = as_floats("y", found)
        whole = np.all(abs(floats) < 2**53) and np.all(floats == np.rint(floats))
        return floats.astype(np.int64) if whole else floats
    try:
        return found.astype(np.int64)
    except (OverflowError, TypeError):
        return found


def check_row_weights(sample_weight, task_weight):
    """Refuse weights that are fine one by one and overflow together.

    Parameters
    ----------
    sample_weight : ndarray or None
    task_weight : ndarray of shape (n_tasks,) or None
        Times the strength of the loss.
    """
    most = 1.0
    for weight in (sample_weight, task_weight):
        with np.errstate(over="ignore"):
            most = most if weight is None else most * weight.max()
    if most > LARGEST:
        raise ValueError(
            "The weight of a row, `sample_weight` times `task_weight` times the "
            f"strength of the loss, must be no larger than {LARGEST:g}, got {most:.3g}."
        )


def check_task_weight(task_weight, tasks, counts):
    """The lambda_t in the order of `tasks`.

    Parameters
    ----------
    task_weight : None, "balanced", dict or array-like of shape (n_tasks,)
    tasks : ndarray of shape (n_tasks,)
    counts : ndarray of shape (n_tasks,)
        Labelled rows of each task.

    Returns
    -------
    ndarray of shape (n_tasks,), or None for all ones
    """
    if task_weight is None:
        return None
    if isinstance(task_weight, str):
        check_choice("task_weight", task_weight, ("balanced",))
        labelled = counts > 0
        share = counts.sum() / max(labelled.sum(), 1)
        return np.where(labelled, share / np.maximum(counts, 1), 1.0)
    if isinstance(task_weight, dict):
        known = tasks.tolist()
        unknown = [key for key in task_weight if key not in set(known)]
        if unknown:
            raise ValueError(
                f"`task_weight` names unknown tasks {shorten(unknown)}; the tasks are "
                f"{shorten(known)}."
            )
        weights = np.array([task_weight.get(task, 1.0) for task in known], dtype=float)
    else:
        weights = as_floats("task_weight", task_weight)
        if weights.shape != (len(tasks),):
            raise ValueError(
                f"`task_weight` must have one entry for each of the {len(tasks)} "
                f"tasks, got shape {weights.shape}."
            )
    if not np.all(np.isfinite(weights)) or weights.min() < 0 or not weights.any():
        raise ValueError(
            "`task_weight` must be finite, non-negative and not zero everywhere, got "
            f"{shorten(weights)}."
        )
    return weights
