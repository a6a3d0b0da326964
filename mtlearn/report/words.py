"""Plain values and plain words: what a report is made of, and how it names things."""

import datetime
import math
import re
import unicodedata

import numpy as np

from ..problem.documentation import documentation

# Pages of the documentation that a report names, and their titles.
GUIDE = {
    "data": "My data has tasks: how do I pass them?",
    "troubleshooting": "Troubleshooting",
    "guide/curves": "Curves",
    "guide/grids": "Cross-validation of whole grids",
    "guide/learned": "Learned strengths of sharing",
    "guide/per_task": "Per-task weights",
    "guide/report": "The report",
    "guide/should_i_share": "Should I share?",
}

MINUS, DASH = "\u2212", "\u2013"
_DIGITS = 6  # of the numbers in a report
# what no file of text should hold: controls, halves of letters
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NAMED = 5  # tasks or columns that a sentence names
_CUT, _SHORT = 60, 36  # letters of a name, in a table and in a sentence


def link(page):
    """The address of a page of the documentation, or None where it has none."""
    return f"{documentation()}{page}.html" if documentation() else None


def plain(value):
    """A value as JSON has it: finite numbers to six digits, texts, None, True, False.

    Ids that are neither numbers nor texts become texts.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.datetime)):
        value = value.isoformat()
    return _UNFIT.sub("\ufffd", str(value))


def plain_list(values):
    """The same of each."""
    return [plain(value) for value in np.asarray(values).tolist()]


def cut(name, most=_CUT):
    """A name of at most so many places: wide letters take two, the middle goes."""
    name, ends = str(name), []
    if width(name) <= most:
        return name
    for letters, share in ((name, most // 2), (name[::-1], (most - 1) // 2)):
        taken, used = "", 0
        for letter in letters:
            used += _places(letter)
            if used > share:
                break
            taken += letter
        ends.append(taken)
    return f"{ends[0]}…{ends[1][::-1]}"


def width(text):
    """Places that a text takes."""
    return len(text) if text.isascii() else sum(map(_places, text))


def _places(letter):
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def listed(names, most=_NAMED):
    """Names in a sentence: "a, b and c", "a, b and 3 more"."""
    names = [cut(name, _SHORT) for name in names]
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def count(n, one, many=None):
    """A number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def number(value, digits=3):
    """A number for a sentence or a label; a dash where there is none."""
    if value is None:
        return DASH
    if isinstance(value, int) or (abs(value) >= 1000 and value == round(value)):
        return f"{int(value):,}".replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS).replace("e+", "e")


def decimals(values):
    """Decimals with which the numbers of a column are told apart."""
    sizes = [abs(v) for v in values if v]
    if not sizes:
        return 0
    middle = float(np.median(sizes))
    return int(np.clip(2 - math.floor(math.log10(middle)), 0, 6))


def fixed(value, places):
    """A number of a column; one that is far larger than the others in short."""
    if value is None:
        return DASH
    text = f"{value:.{places}f}" if abs(value) < 1e9 else f"{value:.3g}"
    return text.replace("-", MINUS)
