"""What a column of a table holds, and the numbers or levels that it becomes.

A reading is decided once, by the rows of the fit, and then applied to any rows.
"""

import re
import warnings
from dataclasses import dataclass

import numpy as np

from ..problem.ids import shorten

MISSING, OTHER = "(missing)", "(other)"  # levels of no value, of one never seen

_FEW_WORDS = 0.1  # of the values, that may be words in a column of numbers or dates
_DATES = {  # format: how it is said
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
_LONG_SPAN = 2.0  # years from which the season of a date is a feature of its own
_YES_NO = {"true": 1.0, "false": 0.0}
_MARKS = {
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
    absent = column.isna().to_numpy(dtype=bool)
    if is_number(column) or _is_date(column):
        return absent
    blank = [isinstance(value, str) and not value.strip() for value in column]
    return absent | np.array(blank, dtype=bool)


def texts(column):
    """The values as texts, whole numbers without a point, and where there is one."""
    known = ~is_missing(column)
    return np.array([_text(v) for v in column[known]], dtype=object), known


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
        said, known = texts(column)
        levels, place, count = _levels(said)
        comma = self.comma or _meaning_of_commas(levels)
        numbers = np.array([_number(level, comma) for level in levels], dtype=float)
        values = np.full(len(column), np.nan)
        values[known] = numbers[place] if len(levels) else []
        some = zip(levels, count, numbers, strict=True)
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


def _levels(said):
    """Different texts, where each is among them, how often each."""
    if not len(said):
        return [], np.zeros(0, dtype=int), []
    levels, place, count = np.unique(said, return_inverse=True, return_counts=True)
    return levels.tolist(), place, count


def find_numbers(column):
    """The `Numbers` that read a column, or None where it holds something else."""
    if is_number(column) or getattr(column.dtype, "kind", "O") == "m":
        return Numbers()
    if _is_date(column) or _is_category(column):
        return None
    said, known = texts(column)
    reading = Numbers(_meaning_of_commas(_levels(said)[0]))
    values, words = reading.read(column)
    n_numbers, n_known = int((~np.isnan(values)).sum()), int(known.sum())
    marked = all(word.casefold() in _MARKS for word in words)
    few = sum(words.values()) <= _FEW_WORDS * n_known
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
            said, known = texts(column)
            levels, place, count = _levels(said)
            found = self._parsed(levels)
            some = zip(levels, count, found.isna(), strict=True)
            words = {word: int(n) for word, n, bad in some if bad}
            whole = np.full(len(column), np.datetime64("NaT"), dtype="datetime64[ns]")
            whole[known] = found.to_numpy()[place] if len(levels) else []
            column = pd.Series(whole)
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
    said, _ = texts(column)
    levels, _, count = _levels(said)
    few = _FEW_WORDS * sum(count)
    like = np.array([bool(_LIKE_A_DATE.fullmatch(level)) for level in levels])
    if not len(levels) or np.sum(np.asarray(count)[~like]) > few:
        return None
    strange = {
        form: np.sum(np.asarray(count)[Dates(form)._parsed(levels).isna()])
        for form in _DATES
    }
    best = min(strange, key=strange.get)
    return Dates(best) if strange[best] <= few else None


# ---------------------------------------------------------------- what it becomes


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
        how = [_DATES.get(self.dates.format, "")]
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

        said, known = texts(column)
        place = {level: k for k, level in enumerate(self.all_levels())}
        missing = place.get(MISSING, len(place))
        codes = np.full(len(column), missing)
        codes[known] = [place.get(text, len(place)) for text in said]
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
    new = [w for w in words if w not in known.words and w.casefold() not in _MARKS]
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
    if not rules.asked:
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
    levels = _levels(texts(column)[0])[0]
    if not rules.asked and len(levels) > rules.max_levels:
        return None, f"{len(levels):,} different texts"
    if not rules.asked and len(levels) == len(column):
        return None, "another text in every row"
    if not rules.asked and len(levels) + bool(n_missing) < 2:
        return None, "constant"
    return CategoryColumn(column.name, tuple(levels), n_missing, rules.onehot), ""
