"""Pictures as numbers: where each mark stands, for the page to draw as SVG."""

import math

import numpy as np

from .words import MINUS, cut, number, width

_WIDTH = 400.0
_LETTER = 6.1
_LETTERS = 20  # of the names at the left
_END = 58.0  # of the numbers at the right
_ROW = 17.0
_TOP, _FOOT = 6.0, 26.0
_HEIGHT = 190.0  # of a curve
_EDGE = 44.0
_TICKS = 5


def forest(rows, zero=True, limits=None):
    """A dot with a line of its interval for each row, one below the other.

    Parameters
    ----------
    rows : list of dict or None
        `name`, `value`, `lower`, `upper`, `tone`, `text` (at the right); None is a gap.
    zero : bool
        Whether zero is on the axis, with a line.
    limits : (low, high), default=None
        Of the axis; what goes beyond is cut. None: of the intervals.

    Returns
    -------
    dict
    """
    some = [row for row in rows if row is not None]
    low, high = limits or _range(some, zero)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    names = [cut(row["name"], _LETTERS) for row in some]
    left = 16.0 + _LETTER * max([width(name) for name in names], default=0)
    right = _WIDTH - _END

    def place(value):
        share = (value - low) / (high - low)
        return round(left + min(max(share, 0.0), 1.0) * (right - left), 1)

    marks = []
    for i, row in enumerate(rows):
        y = round(_TOP + (i + 0.5) * _ROW, 1)
        if row is None:
            marks.append({"gap": True, "y": y})
            continue
        marks.append(
            {
                "gap": False,
                "y": y,
                "name": cut(row["name"], _LETTERS),
                "x": place(row["value"]),
                "from": place(row["lower"]),
                "to": place(row["upper"]),
                "tone": row["tone"],
                "text": row["text"],
            }
        )
    bottom = _TOP + len(rows) * _ROW
    return {
        "width": _WIDTH,
        "height": bottom + _FOOT,
        "bottom": bottom,
        "rows": marks,
        "label": left - 8.0,
        "end": _WIDTH - 2,
        "ticks": _tick_marks(ticks, place),
        "zero": place(0.0) if zero else None,
    }


def _range(rows, zero):
    """From the lowest to the highest, zero in between if it is to be."""
    ends = [row[side] for row in rows for side in ("lower", "upper", "value")]
    ends = [*ends, 0.0] if zero or not ends else ends
    return _apart(min(ends), max(ends))


def _apart(low, high):
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-300):
        return low, high
    wide = abs(low) or 1.0
    return low - wide, high + wide


def _ticks(low, high):
    """A few round numbers from about `low` to about `high`."""
    raw = (high - low) / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # six digits: 3 * 0.1 is to be 0.3
    return [float(f"{k * step:.6g}") for k in range(first, last + 1)]


def _tick_marks(ticks, place):
    """Places and texts; the same number of decimals on all."""
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else abs(ticks[0]) or 1.0
    whole = (k for k in range(7) if abs(step * 10**k - round(step * 10**k)) < 1e-6)
    digits = next((k for k in whole if step * 10**k > 0.5), None)
    large = max(map(abs, ticks)) >= 1e6 or digits is None
    texts = [
        f"{t:.2g}" if large else f"{t:,.{digits}f}".replace("-", MINUS) for t in ticks
    ]
    return [{"at": place(t), "text": text} for t, text in zip(ticks, texts)]


def curve(one):
    """A shared curve with its band, and where most tasks are.

    Parameters
    ----------
    one : dict
        As in `curves` of the contents.

    Returns
    -------
    dict
    """
    numeric = one["kind"] == "curve"
    x = one["x"] if numeric else list(range(len(one["x"])))
    left, right, bottom = _EDGE, _WIDTH - 10.0, _HEIGHT - _FOOT
    names = ("shared", "lower", "upper", "tasks_low", "tasks_high")
    values = np.array([one[name] for name in names], dtype=float)
    low, high = _apart(values.min(), values.max())
    ticks = _ticks(low, high)
    pad = 0.0 if numeric else 0.5
    x_low, x_high = _apart(min(x) - pad, max(x) + pad)

    def across(value):
        return round(left + (value - x_low) / (x_high - x_low) * (right - left), 1)

    def up(value):
        return round(bottom - (value - low) / (high - low) * (bottom - _TOP), 1)

    points = {n: [up(v) for v in row] for n, row in zip(names, values)}
    places = [across(v) for v in x]
    picture = {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": left,
        "right": right,
        "bottom": bottom,
        "yticks": _tick_marks(ticks, up),
        "levels": None,
    }
    if numeric:
        return picture | {
            "line": _path(places, points["shared"]),
            "band": _between(places, points["lower"], points["upper"]),
            "tasks": _between(places, points["tasks_low"], points["tasks_high"]),
            "xticks": _tick_marks(_ticks(x_low, x_high), across),
        }
    room = int((right - left) / max(len(x), 1) / 6.0)
    levels = [
        {"x": at, "name": cut(name, max(room, 4)), **{n: points[n][i] for n in names}}
        for i, (at, name) in enumerate(zip(places, one["x"]))
    ]
    return picture | {"levels": levels, "xticks": []}


def _path(x, y):
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in zip(x, y))


def _between(x, low, high):
    """The outline of a band."""
    return f"{_path([*x, *x[::-1]], [*low, *high[::-1]])}Z"


def extremes(n, most):
    """Positions of rows at both ends, None between them; all where they are few."""
    if n <= 2 * most + 1:
        return list(range(n))
    return [*range(most), None, *range(n - most, n)]


def bar(counts):
    """Shares of a bar, in percent: name, number, where it begins, how wide it is."""
    total, at, parts = sum(counts.values()), 0.0, []
    for name, n in counts.items():
        if n:
            wide = 100.0 * n / total
            parts.append(
                {"name": name, "n": number(n), "from": round(at, 2), "wide": wide}
            )
            at += wide
    return parts
