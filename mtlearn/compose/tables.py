"""A table made ready for the models, and what was done to it in plain sentences."""

import difflib

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..fitting import checks
from ..fitting.whole import WholeFit
from ..problem.extras import need
from ..problem.ids import shorten
from .columns import CategoryColumn, Rules, decide

_MOST_NAMED = 12  # columns in one sentence


class TablePreparer(WholeFit, TransformerMixin, BaseEstimator):
    """Makes a table as it was exported ready for the models.

    For the step before a model: ``make_pipeline(TablePreparer("school"),
    MultiTaskAdditiveRegressor(task_column="school"))``. Every column is looked at once,
    in `fit`, and `describe` says what was done to it:

    - numbers stay numbers, with the median for missing ones; so do numbers with decimal
      commas, and those in which a few words stand ("unknown", "n/a", "-"), which count
      as missing; true and false are 1 and 0;
    - dates become years, with fractions, and where they span more than two years the
      day of the year is a second column;
    - texts and categories are levels, missing ones a level of their own;
    - left out is what says nothing: empty and constant columns, those that number the
      rows, free texts.

    The column of task ids is passed on unchanged.

    Parameters
    ----------
    task_column : str, default=None
        Name of the column of task ids; None without one.
    features : list of str, default=None
        The columns that are used, and none of them is left out unless it is empty.
        None: all that say something.
    drop : list of str, default=None
        Columns that are left out.
    categories : {"keep", "onehot"}, default="keep"
        What levels become: one column of type category for each, as the additive models
        take them; or a column of zeros and ones for each level, with all numbers scaled
        to mean zero and variance one, for models of lines.
    max_levels : int, default=30
        Texts of more different values are left out as free texts.

    Attributes
    ----------
    columns_ : dict
        From names of the columns that are used to what they become.
    features_ : list
        Their names.
    left_out_ : dict
        From names of the others to the reason.
    n_features_in_ : int
        Number of columns in `fit`, that of the ids included.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names.

    Raises
    ------
    TypeError
        If a parameter has the wrong type.
    ValueError
        If a column that is needed is not there (in `transform`, one that `fit` used),
        if one of numbers or dates has become one of texts, if a value is infinite, or
        if no column is left.

    See Also
    --------
    features_only : Applies any transformer of scikit-learn beside the ids.

    Notes
    -----
    Data frames of pandas, Polars and Arrow are taken, and arrays, whose columns are
    called "x0", "x1" and so on; a pandas frame comes out. In
    `transform` other columns than those of `fit` do not matter. A level that `fit` did
    not see is zero in every column with ``categories="onehot"``; else it is "(other)",
    of which no model knows anything. Missing levels are such, too, where `fit` saw
    none. A word in a column of numbers that is neither a usual mark of missing values
    nor was in `fit` is taken as missing with a warning.

    Dates with slashes are read with the day first unless that makes no dates. Durations
    are days. Commas are thousands where each has three digits behind it, else decimals.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame(
    ...     {
    ...         "school": ["a", "a", "b", "b"],
    ...         "row": [1, 2, 3, 4],
    ...         "sex": ["F", "M", "F", "F"],
    ...         "hours": ["2,5", "unknown", "4", "3,5"],
    ...     }
    ... )
    >>> preparer = TablePreparer("school").fit(X)
    >>> preparer.transform(X)
      school sex  hours
    0      a   F    2.5
    1      a   M    3.5
    2      b   F    4.0
    3      b   F    3.5
    >>> for sentence in preparer.describe():
    ...     print(sentence)
    Left out: row (numbers the rows).
    Read with decimal commas: hours.
    Words in numbers or dates, taken as missing: hours ('unknown').
    Categories: sex (2 levels).
    Missing values, filled in with the median of the training rows: hours (1).
    """

    def __init__(
        self,
        task_column=None,
        *,
        features=None,
        drop=None,
        categories="keep",
        max_levels=30,
    ):
        self.task_column = task_column
        self.features = features
        self.drop = drop
        self.categories = categories
        self.max_levels = max_levels

    def fit(self, X, y=None):
        """Decide what each column becomes.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_columns)
            Features and task ids.
        y : object, default=None
            Not used.

        Returns
        -------
        TablePreparer
            Fitted.
        """
        model = self._unfitted()
        model._decide(model._as_frame(X, reset=True))
        return self._become(model)

    def transform(self, X):
        """Make rows ready.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_columns)
            With the columns that `fit` used; others do not matter.

        Returns
        -------
        DataFrame of shape (n_samples, n_columns_out)
            The ids, where there are any, and the features.
        """
        check_is_fitted(self)
        frame = self._as_frame(X, reset=False)
        self._refuse_absent(frame)
        ready = {}
        if self.task_column is not None:
            ready[self.task_column] = frame[self.task_column]
        for name, column in self.columns_.items():
            ready |= column.ready(frame[name])
        return type(frame)(ready, index=frame.index)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that come out, the id column's included.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, which are known; checked if given.

        Returns
        -------
        ndarray of shape (n_columns_out,)
            Names.
        """
        check_is_fitted(self)
        given = input_features
        known = getattr(self, "feature_names_in_", given)
        if given is not None and list(given) != list(known):
            raise ValueError("`input_features` is not equal to feature_names_in_.")
        ids = [] if self.task_column is None else [self.task_column]
        names = [name for column in self.columns_.values() for name in column.names()]
        return np.array([*ids, *names], dtype=object)

    def describe(self):
        """Say what was done to the columns.

        Returns
        -------
        list of str
            Plain sentences.
        """
        check_is_fitted(self)
        scaled = self.categories == "onehot"
        return list(_sentences(self.columns_.values(), self.left_out_, scaled))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _as_frame(self, X, reset):
        """A pandas frame; columns of arrays are x0, x1, and so on."""
        pd = need("pandas", "TablePreparer needs", "examples")
        if isinstance(X, pd.DataFrame) or hasattr(X, "to_pandas"):
            frame = X if isinstance(X, pd.DataFrame) else X.to_pandas()
            if reset:
                self.n_features_in_ = frame.shape[1]
                self.feature_names_in_ = np.array(frame.columns, dtype=object)
            return _unambiguous(frame)
        how = {"dtype": None, "ensure_all_finite": "allow-nan"}
        X = validate_data(self, X, reset=reset, **how)
        frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
        return frame.infer_objects()

    # ------------------------------------------------------------ fit

    def _decide(self, frame):
        checks.check_choice("categories", self.categories, ("keep", "onehot"))
        checks.check_number("max_levels", self.max_levels, 1, whole=True)
        if not len(frame):
            raise ValueError("X has no rows: at least one is needed to fit.")
        self.columns_, self.left_out_ = {}, {}
        asked, onehot = self.features is not None, self.categories == "onehot"
        rules = Rules(onehot, int(self.max_levels), asked)
        for name in self._wanted(list(frame.columns)):
            column, reason = decide(frame[name], rules)
            if column is None:
                self.left_out_[name] = reason
            else:
                self.columns_[name] = column
        self.features_ = list(self.columns_)
        if not self.features_:
            raise ValueError(
                f"No column is left to predict from; left out: "
                f"{_named(self.left_out_) or 'all'}."
            )
        self._refuse_same(self.get_feature_names_out().tolist())

    def _wanted(self, columns):
        """Names of the features that are looked at, in their order."""
        task = self.task_column
        if task is not None:
            _refuse_unknown("task_column", [task], columns)
        for parameter in ("features", "drop"):
            names = getattr(self, parameter)
            if isinstance(names, str) or not hasattr(names or [], "__iter__"):
                raise TypeError(
                    f"`{parameter}` must be a list of column names or None, got "
                    f"{names!r}."
                )
            _refuse_unknown(parameter, list(names or []), columns)
        wanted = columns if self.features is None else list(self.features)
        out = {task, *(self.drop or [])}
        return [name for name in dict.fromkeys(wanted) if name not in out]

    def _refuse_same(self, names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(
                f"Two columns of the name {twice[0]!r} would come out: rename a column "
                "of X."
            )

    # ------------------------------------------------------------ transform

    def _refuse_absent(self, frame):
        needed = list(self.columns_)
        if self.task_column is not None:
            needed.insert(0, self.task_column)
        columns = list(frame.columns)
        absent = [name for name in needed if name not in columns]
        if absent:
            verb = "columns that fit used are" if len(absent) > 1 else "column that fit"
            verb = verb if len(absent) > 1 else f"{verb} used is"
            raise ValueError(
                f"X lacks {shorten(absent)}: the {verb} not there"
                f"{_nearest(absent[0], columns)}."
            )


def _unambiguous(frame):
    """The frame, whose columns must have different names."""
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise ValueError(f"X has two columns of the name {twice[0]!r}.")
    return frame


def _refuse_unknown(parameter, names, columns):
    unknown = [name for name in names if name not in columns]
    if unknown:
        raise ValueError(
            f"`{parameter}` names {unknown[0]!r}, which is no column of X"
            f"{_nearest(unknown[0], columns)}; there are "
            f"{shorten(columns, most=_MOST_NAMED)}."
        )


def nearest_name(name, names):
    """The name that was probably meant, or None."""
    known = {str(one).casefold(): str(one) for one in names}
    found = difflib.get_close_matches(str(name).casefold(), known, n=1, cutoff=0.7)
    return known[found[0]] if found else None


def _nearest(name, columns):
    meant = nearest_name(name, columns)
    return "" if meant is None else f" (did you mean {meant!r}?)"


# ---------------------------------------------------------------- in sentences


def _sentences(columns, left_out, scaled):
    columns = list(columns)
    levels = [c for c in columns if isinstance(c, CategoryColumn)]
    numbers = [c for c in columns if c not in levels]
    for what, some in (
        ("Left out", left_out),
        ("Read with decimal commas", _with_comma(numbers, "decimal")),
        ("Read with commas between thousands", _with_comma(numbers, "thousands")),
        (
            "Words in numbers or dates, taken as missing",
            {c.name: _quoted(c.words) for c in numbers if c.words},
        ),
        (
            "Dates, taken as years",
            {c.name: c.said() for c in numbers if c.kind == "date"},
        ),
        (
            "One-hot encoded" if levels and levels[0].onehot else "Categories",
            {c.name: f"{len(c.all_levels())} levels" for c in levels},
        ),
        (
            "Missing values, filled in with the median of the training rows",
            _with_missing(numbers),
        ),
        ("Missing values, taken as a level of their own", _with_missing(levels)),
    ):
        if some:
            yield f"{what}: {_named(some)}."
    if scaled:
        yield "All numbers scaled to mean zero and variance one."


def _with_comma(numbers, comma):
    dates = [c for c in numbers if c.kind != "date"]
    return {c.name: "" for c in dates if c.numbers.comma == comma}


def _quoted(words, most=3):
    more = ", ..." if len(words) > most else ""
    return ", ".join(map(repr, list(words)[:most])) + more


def _with_missing(columns):
    return {c.name: f"{c.n_missing:,}" for c in columns if c.n_missing}


def _named(some):
    """Columns with a word on each, cut short."""
    words = [f"{name} ({why})" if why else str(name) for name, why in some.items()]
    more = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    return ", ".join(words[:_MOST_NAMED]) + more
