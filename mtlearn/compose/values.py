"""Values of a column, read as texts, numbers or dates, whatever their type."""

import re
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_FEW_WORDS = 0.1  # of the values, that may be words in a column of numbers or dates
DATES = {  # format: how it is said
    "ISO8601": "",
    "%Y/%m/%d": "year/month/day",
    "%d.%m.%Y": "day.month.year",
    "%d.%m.%Y %H:%M": "day.month.year",
    "%d/%m/%Y": "day/month/year",
    "%m/%d/%Y": "month/day/year",
    "%d-%m-%Y": "day-month-year",
}
_LIKE_A_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}([-./]\d{1,4})?([ T].*)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_YES_NO = {"true": 1.0, "false": 0.0}
MARKS = {
    *("", "-", "--", ".", "?", "n/a", "na", "n.a.", "nan", "nat", "none", "null"),
    *("unknown", "missing", "not available", "not known", "not reported", "no data"),
    *("k.a.", "keine angabe", "unbekannt", "inconnu", "#n/a", "<na>", "suppressed"),
}


# ---------------------------------------------------------------- reading values


def is_number(column):
    """Whether the type of a column is that of numbers or of true and false."""
    return getattr(column.dtype, "kind", "O") in "iufb"


def is_missing(column):
    """Which values are none; blank texts are none, too."""
    if is_number(column) or _is_date(column):
        return column.isna().to_numpy(dtype=bool)
    return levels_of(column).place < 0


class Levels(NamedTuple):
    """The different texts of a column.

    Attributes
    ----------
    names : list of str
        Sorted; whole numbers without a point.
    place : ndarray of shape (n_rows,)
        Which one each row has; -1 where there is none.
    count : ndarray of shape (n_levels,)
        Rows of each.
    """

    names: list
    place: np.ndarray
    count: np.ndarray

    def spread(self, values, missing):
        """The value of its level for each row."""
        each = np.empty(len(self.names) + 1, dtype=np.asarray([missing]).dtype)
        each[:-1], each[-1] = values, missing
        return each[self.place]


def levels_of(column):
    """The `Levels` of a column."""
    import pandas as pd

    place, values = pd.factorize(column)
    said = [_text(value) for value in values]
    names = sorted({text for text in said if text})
    number = {text: k for k, text in enumerate(names)}
    place = np.array([*(number.get(text, -1) for text in said), -1])[place]
    return Levels(names, place, np.bincount(place[place >= 0], minlength=len(names)))


def _text(value):
    if isinstance(value, (float, np.floating)) and value == np.rint(value):
        return str(int(value))
    return str(value).strip()


def _is_date(column):
    return getattr(column.dtype, "kind", "O") == "M"


def _is_category(column):
    return str(column.dtype) == "category"


@dataclass(frozen=True)
class Numbers:
    """How texts are read as numbers.

    Attributes
    ----------
    comma : {"", "decimal", "thousands"}
        What a comma means; "" where the fit saw none: the rows tell.
    """

    comma: str = ""

    def read(self, column):
        """Floats, NaN where there is none; and the words, with their numbers of rows.

        Parameters
        ----------
        column : Series

        Returns
        -------
        values : ndarray of shape (n_rows,)
        words : dict
        """
        if is_number(column):
            return column.to_numpy(dtype=float, na_value=np.nan), {}
        if getattr(column.dtype, "kind", "O") == "m":
            return column.dt.total_seconds().to_numpy() / 86400.0, {}
        levels = levels_of(column)
        comma = self.comma or _meaning_of_commas(levels.names)
        numbers = [_number(name, comma) for name in levels.names]
        values = levels.spread(numbers, np.nan)
        some = zip(levels.names, levels.count, numbers, strict=True)
        words = {
            word: int(n)
            for word, n, number in some
            if np.isnan(number) and word.casefold() != "nan"
        }
        return values, words


def _number(text, comma):
    """A text as a number, NaN if it is none."""
    if text.casefold() in _YES_NO:
        return _YES_NO[text.casefold()]
    if comma == "thousands":
        text = text.replace(",", "")
    elif "," in text and comma == "decimal":
        text = text.replace(".", "").replace(",", ".")
    if "_" in text:
        return np.nan
    try:
        return float(text)
    except ValueError:
        return np.nan


def _meaning_of_commas(levels):
    """Thousands, where all have three digits behind them; "" where there are none."""
    commas = [text for text in levels if "," in text]
    if not commas:
        return ""
    whole = all(_THOUSANDS.fullmatch(text) for text in commas)
    return "thousands" if whole else "decimal"


def find_numbers(column):
    """The `Numbers` that read a column, or None where it holds something else."""
    if is_number(column) or getattr(column.dtype, "kind", "O") == "m":
        return Numbers()
    if _is_date(column) or _is_category(column):
        return None
    levels = levels_of(column)
    reading = Numbers(_meaning_of_commas(levels.names))
    values, words = reading.read(column)
    n_numbers = int((~np.isnan(values)).sum())
    marked = all(word.casefold() in MARKS for word in words)
    few = sum(words.values()) <= _FEW_WORDS * levels.count.sum()
    return reading if n_numbers and (few or marked) else None


@dataclass(frozen=True)
class Dates:
    """How texts are read as dates: a format, or "" for a column of that type."""

    format: str = ""

    def read(self, column):
        """Years and days of the year as floats, NaN where there is none; and words."""
        import pandas as pd

        words = {}
        if not _is_date(column):
            levels = levels_of(column)
            found = self._parsed(levels.names)
            some = zip(levels.names, levels.count, found.isna(), strict=True)
            words = {word: int(n) for word, n, bad in some if bad}
            none = np.datetime64("NaT", "ns")
            column = pd.Series(levels.spread(found.to_numpy(), none))
        elif getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        when = column.dt
        seconds = (column - when.normalize()).dt.total_seconds()
        day = when.day_of_year - 1 + seconds / 86400.0
        year = when.year + day / (365.0 + when.is_leap_year)
        return year.to_numpy(dtype=float), (day + 1).to_numpy(dtype=float), words

    def _parsed(self, levels):
        import pandas as pd

        utc = self.format == "ISO8601"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pd.to_datetime(
                pd.Series(levels, dtype=object),
                format=self.format or "ISO8601",
                errors="coerce",
                utc=utc,
            )
        found = found.dt.tz_localize(None) if utc else found
        return found.astype("datetime64[ns]")


def find_dates(column):
    """The `Dates` that read a column, or None where it holds something else."""
    if _is_date(column):
        return Dates()
    if is_number(column) or _is_category(column):
        return None
    names, _, count = levels_of(column)
    few = _FEW_WORDS * count.sum()
    like = np.array([bool(_LIKE_A_DATE.fullmatch(name)) for name in names], dtype=bool)
    if not names or count[~like].sum() > few:
        return None
    strange = {
        form: count[Dates(form)._parsed(names).isna().to_numpy()].sum()
        for form in DATES
    }
    best = min(strange, key=strange.get)
    return Dates(best) if strange[best] <= few else None
