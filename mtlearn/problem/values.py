"""Values that users pass, as clean arrays: features, targets and weights of rows."""

import numbers

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from .ids import LARGEST, as_floats, column_names, missing_labels, refuse_dates, shorten

MISSING_LABEL = (
    "Input y contains NaN: every row needs a label. (In a 2-D `y`, with a column for "
    "each task, NaN marks a label that was not observed.)"
)

_IMPUTE = (
    "Impute first: features_only(SimpleImputer(), task_column=...), or "
    "mtlearn.compose.TablePreparer."
)
_PIECE = 1 << 18  # numbers that are looked at together


# ---------------------------------------------------------------- features


def as_matrix(X, estimator=None, at_least=1):
    """Finite numbers of two dimensions, dense or sparse, out of any container.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
    estimator : estimator, default=None
        Whom messages are about.
    at_least : int
        Fewest rows.

    Returns
    -------
    X : ndarray (C order) or csr_array of shape (n_samples, n_features), float64
    """
    _refuse_date_columns(X)
    if hasattr(X, "column_names") and hasattr(X, "to_pandas"):
        X = np.column_stack([np.asarray(c) for c in X.columns])
    try:
        X = check_array(
            X,
            accept_sparse="csr",
            dtype=np.float64,
            order="C",
            estimator=estimator,
            input_name="X",
            ensure_min_samples=at_least,
        )
    except (TypeError, ValueError) as error:
        raise _with_hint(error, X) from error.__cause__
    if sp.issparse(X):
        X = _canonical(X)
    return X


def _refuse_date_columns(X):
    """Name the columns of a frame that hold dates or durations."""
    names = column_names(X)
    if names is None:
        if isinstance(X, np.ndarray):
            refuse_dates("X", X)
        return
    kinds = X.dtypes if hasattr(X, "dtypes") else [np.asarray(c).dtype for c in X]
    dates = [name for name, kind in zip(names, kinds, strict=False) if _temporal(kind)]
    if dates:
        raise ValueError(
            "X must be numeric beside the task ids, but the columns "
            f"{shorten(dates)} hold dates or durations: turn them into numbers, such "
            "as days since a date."
        )


def _temporal(kind):
    check = getattr(kind, "is_temporal", None)
    return check() if check is not None else getattr(kind, "kind", "O") in "mM"


def _canonical(X):
    """Sorted and without duplicates; a copy where the caller's buffers are not."""
    X = sp.csr_array(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def _gaps(X):
    """Where the missing values of a frame are, in words."""
    names = column_names(X)
    if names is None:
        return ""
    with_gaps = [name for name in names if missing_labels(np.asarray(X[name])).any()]
    return f" in the columns {shorten(with_gaps)}" if with_gaps else ""


def _with_hint(error, X):
    """Name the columns that hold texts, or nothing; say what to do about it."""
    if str(error).startswith("Input X contains NaN"):
        return ValueError(f"Input X contains NaN{_gaps(X)}. {_IMPUTE}")
    text = "could not convert" in str(error) or isinstance(error, TypeError)
    if not text or not hasattr(X, "dtypes"):
        return error
    text = [
        name
        for name, kind in zip(column_names(X), X.dtypes, strict=False)
        if not _numeric(kind)
    ]
    return ValueError(
        f"{error}. X must be numeric beside the task ids, but the columns "
        f"{shorten(text)} are not: encode them (OneHotEncoder), or name the column of "
        "ids in `task_column`."
    )


def _numeric(kind):
    check = getattr(kind, "is_numeric", None)
    if check is not None:
        return check()
    return getattr(kind, "kind", "O") in "iufb"


def check_size(name, values, least=0.0):
    """Refuse numbers whose products would overflow, or all vanish; NaN may be.

    Parameters
    ----------
    name : str
    values : ndarray
    least : float
        What the largest must reach, unless all are zero.
    """
    # one pass without a copy; the sum of squares of large numbers may be infinite
    flat = values.ravel()
    if least**2 <= np.vdot(flat, flat) <= LARGEST**2 or not values.size:
        return
    starts = range(0, flat.size, _PIECE)
    most = max(np.fmax.reduce(np.abs(flat[k : k + _PIECE])) for k in starts)
    if most > LARGEST or 0 < most < least:
        limit = f"larger than {LARGEST:g}" if most > 1 else f"smaller than {least:g}"
        raise ValueError(
            f"The largest value of {name} must be no {limit}, got {most:.3g}: squares "
            "of such numbers overflow or vanish. Choose another unit."
        )


# ---------------------------------------------------------------- targets, weights


def shape_labels(y, n_rows, long):
    """Labels of some rows in one dimension, or in two where no row names its task."""
    if y.ndim == 2 and y.shape[1] == 1 and long:
        y = y[:, 0]
    if y.ndim not in (1, 2) or (y.ndim == 2 and (long or y.shape[1] == 0)):
        raise ValueError(
            "`y` must have shape (n_samples,), or (n_samples, n_tasks) where rows name "
            f"no task, got {y.shape}."
        )
    if len(y) != n_rows:
        raise ValueError(
            f"X and y have inconsistent numbers of samples: {n_rows} and {len(y)}."
        )
    return y


def check_targets(y, some=True):
    """Numbers for a regression: finite in one dimension, NaN allowed in two.

    With `some` there must be a label.
    """
    wide = y.ndim == 2
    if y.dtype.kind == "O":
        # pandas' own types bring pandas.NA, which is no float
        y = as_floats("y", np.where(missing_labels(y), np.nan, y))
    if y.dtype.kind in "US":
        raise ValueError(
            "`y` must be numeric for a regression, got strings such as "
            f"{str(y.flat[0])!r}."
        )
    refuse_dates("`y`", y)
    if not wide and missing_labels(y).any():
        raise ValueError(MISSING_LABEL)
    y = check_array(
        y,
        ensure_2d=False,
        dtype=np.float64,
        input_name="y",
        ensure_min_samples=int(some),
        ensure_all_finite="allow-nan" if wide else True,
    )
    # most often the first row says it, and the others need not be looked at
    if some and np.isnan(y[:1]).all():
        require_a_label(~np.isnan(y))
    check_size("`y`", y)
    return y


def is_complete(y):
    """Whether no label is NaN, by a sum over all of them that it would spoil."""
    flat = y.ravel(order="K")
    return not np.isnan(np.vdot(flat, flat))


def require_a_label(observed):
    """Refuse labels of which none is observed."""
    if not observed.any():
        raise ValueError(
            "`y` has no label at all: expected at least one entry that is not NaN."
        )


def check_sample_weight(weight, shape, some=True):
    """Non-negative finite weights of shape (n_samples,), or of `y`'s in two dimensions.

    Returns
    -------
    ndarray or None
    """
    if weight is None:
        return None
    if isinstance(weight, numbers.Number):
        weight = np.full(shape[0], float(weight))
    weight = as_floats("sample_weight", weight)
    allowed = [shape[:1], shape] if len(shape) == 2 else [shape]
    if weight.shape not in allowed:
        expected = " or ".join(map(str, allowed))
        raise ValueError(
            f"`sample_weight` must have shape {expected}, got {weight.shape}."
        )
    if not np.all(np.isfinite(weight)):
        raise ValueError("`sample_weight` must be finite, got NaN or infinity.")
    if weight.size and weight.min() < 0:
        raise ValueError(
            f"`sample_weight` must be non-negative, got {weight.min():.3g}."
        )
    if some and not weight.any():
        raise ValueError("`sample_weight` is zero everywhere: there is nothing to fit.")
    return weight


def drop_weightless(X, y, ids, weight):
    """Remove rows of weight zero before anyone sees their ids or labels.

    Also returns the numbers of the rows that are left, None if all are.
    """
    if weight is None or weight.ndim == 2 or weight.all():
        return X, y, ids, weight, None
    keep = np.flatnonzero(weight)
    ids = None if ids is None else ids[keep]
    return X[keep], y[keep], ids, weight[keep], keep
