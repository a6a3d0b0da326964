"""What a column of a table becomes: numbers, years, levels, or nothing.

It is decided once, by the rows of the fit, and then applied to any rows.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from ..problem.ids import shorten
from .values import (
    DATES,
    MARKS,
    Dates,
    Numbers,
    find_dates,
    find_numbers,
    is_missing,
    levels_of,
)

MISSING, OTHER = "(missing)", "(other)"  # levels of no value, of one never seen

_LONG_SPAN = 2.0  # years from which the season of a date is a feature of its own


@dataclass(frozen=True)
class Filled:
    """Numbers with the median for missing ones, on the scale of the fit."""

    median: float
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, values, scaled):
        """Learned from the values of the fit, of which one at least is a number."""
        median = float(np.nanmedian(values))
        if not scaled:
            return cls(median)
        values = np.where(np.isnan(values), median, values)
        return cls(median, float(values.mean()), float(values.std()) or 1.0)

    def ready(self, values):
        """Numbers without missing ones."""
        values = np.where(np.isnan(values), self.median, values)
        return (values - self.mean) / self.deviation


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers."""

    name: object
    numbers: Numbers
    filled: Filled
    n_missing: int
    words: dict

    kind = "number"

    def names(self):
        """Names of the columns that come out."""
        return [str(self.name)]

    def ready(self, column):
        """The columns that come out, by name."""
        values, words = self.numbers.read(column)
        _refuse_infinite(self.name, values)
        _tell_words(self, column, words)
        return {str(self.name): self.filled.ready(values)}


@dataclass(frozen=True)
class DateColumn:
    """A column of dates: years, and where they span enough of them the season."""

    name: object
    dates: Dates
    filled: tuple
    n_missing: int
    words: dict

    kind = "date"

    def names(self):
        """Names of the columns that come out."""
        endings = ("year", "day_of_year")[: len(self.filled)]
        return [f"{self.name}_{ending}" for ending in endings]

    def ready(self, column):
        """The columns that come out, by name."""
        *values, words = self.dates.read(column)
        _tell_words(self, column, words)
        parts = zip(self.names(), self.filled, values)
        return {name: filled.ready(part) for name, filled, part in parts}

    def said(self):
        """How the dates are read, and that the season counts."""
        how = [DATES.get(self.dates.format, "")]
        how += ["and the day of the year"] * (len(self.filled) - 1)
        return ", ".join(word for word in how if word)


@dataclass(frozen=True)
class CategoryColumn:
    """A column of levels."""

    name: object
    levels: tuple
    n_missing: int
    onehot: bool

    kind = "category"

    def all_levels(self):
        """The levels, and that of missing values where the fit saw some."""
        return [*self.levels, *([MISSING] if self.n_missing else [])]

    def names(self):
        """Names of the columns that come out."""
        if not self.onehot:
            return [str(self.name)]
        return [f"{self.name}_{level}" for level in self.all_levels()]

    def ready(self, column):
        """The columns that come out, by name: zeros, or "(other)", for new levels."""
        import pandas as pd

        found = levels_of(column)
        place = {level: k for k, level in enumerate(self.all_levels())}
        codes = [place.get(name, len(place)) for name in found.names]
        codes = found.spread(codes, place.get(MISSING, len(place)))
        if self.onehot:
            hot = codes[:, None] == np.arange(len(place))
            return dict(zip(self.names(), hot.T.astype(float), strict=True))
        levels = pd.Index([*place, OTHER], dtype=object)
        return {str(self.name): pd.Categorical.from_codes(codes, categories=levels)}


def _refuse_infinite(name, values):
    if np.isinf(values).any():
        raise ValueError(f"X has infinite values in the column {name!r}.")


def _tell_words(known, column, words):
    """Refuse texts in most rows of a column of numbers; warn of words not yet seen."""
    if not words:
        return
    some = shorten(list(words), most=3)
    n_words, n_rows = sum(words.values()), int((~is_missing(column)).sum())
    new = [w for w in words if w not in known.words and w.casefold() not in MARKS]
    if not new:
        return
    held = f"{known.kind}s"
    if n_words > 0.5 * n_rows:
        raise ValueError(
            f"The column {known.name!r} of X held {held} in fit, and now {n_words} of "
            f"{n_rows} values are none: {some}."
        )
    warnings.warn(
        f"The column {known.name!r} of X holds {held}, and {n_words} of {n_rows} "
        f"values are none, taken as missing: {some}.",
        UserWarning,
        stacklevel=5,
    )


# ---------------------------------------------------------------- the decision


@dataclass(frozen=True)
class Rules:
    """What the user asked for.

    Attributes
    ----------
    onehot : bool
        Whether categories become columns and numbers are scaled.
    max_levels : int
    asked : bool
        Whether the column was asked for by name, so that only an empty one goes.
    """

    onehot: bool
    max_levels: int
    asked: bool = False


def decide(column, rules):
    """What one column becomes, and if it is left out why.

    Parameters
    ----------
    column : Series
        Its rows in the fit.
    rules : Rules

    Returns
    -------
    decision : NumberColumn, DateColumn, CategoryColumn or None
    reason : str
        Empty unless it is left out.
    """
    missing = is_missing(column)
    if missing.all():
        return None, "empty"
    for find, make in ((find_numbers, _numbers), (find_dates, _dates)):
        reading = find(column)
        if reading is not None:
            return make(column, reading, rules)
    return _category(column, rules, int(missing.sum()))


def _numbers(column, reading, rules):
    values, words = reading.read(column)
    _refuse_infinite(column.name, values)
    if not rules.asked and len(values) > 1:
        if len(np.unique(values[~np.isnan(values)])) < 2:
            return None, "constant"
        if _numbers_rows(values):
            return None, "numbers the rows"
    n_missing = int(np.isnan(values).sum())
    filled = Filled.of(values, rules.onehot)
    return NumberColumn(column.name, reading, filled, n_missing, words), ""


def _numbers_rows(values):
    """Whether whole numbers count the rows, in their order or in any other."""
    whole = len(values) > 2 and bool(np.all(values == np.rint(values)))
    if not whole:
        return False
    rises = bool(np.all(np.diff(values) > 0))
    counts = np.ptp(values) == len(values) - 1
    return rises or bool(counts and len(np.unique(values)) == len(values))


def _dates(column, reading, rules):
    year, day, words = reading.read(column)
    known = year[~np.isnan(year)]
    if not rules.asked and len(np.unique(known)) < 2:
        return None, "constant"
    parts = (year, day) if np.ptp(known) > _LONG_SPAN else (year,)
    filled = tuple(Filled.of(part, rules.onehot) for part in parts)
    return (
        DateColumn(column.name, reading, filled, int(np.isnan(year).sum()), words),
        "",
    )


def _category(column, rules, n_missing):
    levels = levels_of(column).names
    if not rules.asked and len(levels) > rules.max_levels:
        return None, f"{len(levels):,} different texts"
    if not rules.asked and len(levels) == len(column):
        return None, "another text in every row"
    if not rules.asked and len(levels) + bool(n_missing) < 2:
        return None, "constant"
    return CategoryColumn(column.name, tuple(levels), n_missing, rules.onehot), ""
