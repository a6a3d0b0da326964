"""The page: HTML that needs nothing from anywhere else."""

import html
from functools import cache
from importlib.resources import files

from ..canvas import BLUE, RED
from ..problem.extras import need
from ..problem.verdicts import FEW, GAINS, HURT, SAME
from .model import say_effects
from .pictures import bar, curve, extremes, forest
from .words import DASH, GUIDE, count, cut, decimals, fixed, link, listed, number

TONES = {GAINS: "up", HURT: "down", SAME: "same", FEW: "few"}

_AT_EITHER_END = 8  # tasks that a picture shows
_PRINTED = 6  # tasks at either end of the table on paper
_MOST_COEFFICIENTS = 20  # in a picture
_MOST_EFFECTS = 2  # with a picture
_FRAME = 640  # pixels, in a notebook
# columns of the table that have the decimals of another
_UNIT = {"standard_error": "gain", "level_lower": "level", "level_upper": "level"}


def render(contents):
    """The whole page, as a string."""
    return _template().render(_views(contents))


def framed(page, title):
    """The page in a frame of its own, so that styles stay inside."""
    return (
        f'<iframe title="{html.escape(title)}" sandbox="allow-scripts allow-popups" '
        f'style="width:100%;height:{_FRAME}px;border:0" '
        f'srcdoc="{html.escape(page)}"></iframe>'
    )


@cache
def _template():
    jinja2 = need("jinja2", "A report as HTML needs", "report")
    folder = files("mtlearn.report")
    room = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda n: (folder / n).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    room.filters |= {
        "cut": cut,
        "fixed": fixed,
        "listed": listed,
        "number": number,
        "count": count,
    }
    room.globals |= {"guide": GUIDE, "link": link, "blue": BLUE, "red": RED}
    return room.get_template("page.html")


def _views(contents):
    """What the template shows: the contents, and pictures and tables of them."""
    return {
        **contents,
        **_lead(contents),
        "tones": TONES,
        "bar": bar(contents["sharing"]["counts"]) if contents["sharing"] else [],
        "strategies": _strategies(contents["sharing"]),
        "gains": _gains(contents),
        "effects_told": say_effects(contents["effects"]),
        "effect_pictures": [
            _effect(one) for one in contents["effects"] if one["deviation"] > 0
        ][:_MOST_EFFECTS],
        "coefficient_picture": _coefficients(contents["coefficients"]),
        "curve_pictures": [(one, curve(one)) for one in contents["curves"]],
        "table": _table(contents),
    }


def _lead(contents):
    """What stands on top, and what follows: an answer before its figures."""
    first, *others = contents["verdict"]
    if contents["sharing"] is not None and ": " in first:
        first, figures = first.split(": ", 1)
        first, others = f"{first}.", [figures[0].upper() + figures[1:], *others]
    return {"lead": first, "others": others}


# ---------------------------------------------------------------- pictures


def _strategies(sharing):
    """Rows of the strategies, the best first."""
    if sharing is None:
        return []
    columns = sharing["strategies"]
    places = decimals(columns["overall"] + columns["task_mean"])
    places += places > 0  # strategies differ little
    rows = [
        {
            "name": name,
            "label": label,
            "overall": fixed(overall, places),
            "task_mean": fixed(mean, places),
            "order": -(overall or 0.0) if sharing["greater_is_better"] else overall,
        }
        for name, label, overall, mean in zip(
            *(columns[k] for k in ("strategy", "label", "overall", "task_mean"))
        )
    ]
    return sorted(rows, key=lambda row: (row["order"] is None, row["order"]))


def _gains(contents):
    """The tasks that gain and lose most, with a standard error to either side."""
    tasks, sharing = contents["tasks"], contents["sharing"]
    if sharing is None:
        return None
    rows = [
        (task, gain, error or 0.0, verdict)
        for task, gain, error, verdict in zip(
            *(tasks[k] for k in ("task", "gain", "standard_error", "verdict"))
        )
        if gain is not None
    ]
    rows = [row for row in rows if row[3] != FEW] or rows
    if not rows:
        return None
    chosen = extremes(len(rows), _AT_EITHER_END)
    shown = [rows[i] for i in chosen if i is not None]
    errors = sorted(row[2] for row in shown)
    most = errors[(9 * len(errors)) // 10]  # a few that are unsure do not stretch it
    places = decimals([row[1] for row in rows])
    limits = min(0.0, *(r[1] for r in shown)) - most, max(r[1] for r in shown) + most
    marks = [None if i is None else _gain_mark(*rows[i], places=places) for i in chosen]
    first, last = rows[0], rows[-1]
    picture = forest(marks, limits=(limits[0], max(limits[1], 0.0)) if most else None)
    picture["alt"] = (
        f"Gain in {sharing['metric']} of {count(len(rows), 'task')}, from "
        f"{fixed(first[1], places)} ({cut(first[0])}) to {fixed(last[1], places)} "
        f"({cut(last[0])}), each with a standard error to either side."
    )
    picture["left_out"] = len(rows) - len(shown)
    return picture


def _gain_mark(task, gain, error, verdict, places):
    return {
        "name": task,
        "value": gain,
        "lower": gain - error,
        "upper": gain + error,
        "tone": TONES[verdict],
        "text": fixed(gain, places),
    }


def _effect(effect):
    """The tasks at both ends of an effect."""
    columns = [effect[k] for k in ("task", "estimate", "lower", "upper")]
    rows = list(zip(*columns))[::-1]
    chosen = list(range(len(rows)))
    if effect["n_tasks"] > len(rows):
        chosen.insert(len(rows) // 2, None)
    places = decimals(effect["estimate"])
    picture = forest(
        [None if i is None else _interval(*rows[i], places) for i in chosen]
    )
    level = effect["effect"] == "intercept"
    what = "Levels" if level else f"Slopes of {effect['effect']}"
    first, last = rows[0], rows[-1]
    picture["alt"] = (
        f"{what} of {count(effect['n_tasks'], 'task')} beside the shared one, from "
        f"{fixed(first[1], places)} ({cut(first[0])}) to {fixed(last[1], places)} "
        f"({cut(last[0])}), with {100 * effect['coverage']:.0f} % intervals."
    )
    picture["left_out"] = effect["n_tasks"] - len(rows)
    return effect, picture


def _interval(name, value, lower, upper, places):
    """A mark that is in colour where the interval leaves out zero."""
    apart = lower > 0 or upper < 0
    return {
        "name": name,
        "value": value,
        "lower": lower,
        "upper": upper,
        "tone": "up" if apart else "same",
        "text": fixed(value, places),
    }


def _coefficients(columns):
    """The largest coefficients; the level has a scale of its own."""
    if columns is None:
        return None
    ends = ("lower", "upper") if "lower" in columns else ("tasks_low", "tasks_high")
    classes = columns.get("class", [None] * len(columns["effect"]))
    rows = [
        (effect if label is None else f"{label}: {effect}", *numbers)
        for effect, label, *numbers in zip(
            columns["effect"],
            classes,
            columns["estimate"],
            *(columns[end] for end in ends),
        )
        if effect != "intercept" and None not in numbers
    ]
    rows.sort(key=lambda row: -abs(row[1]))
    shown = rows[:_MOST_COEFFICIENTS]
    if not shown:
        return None
    places = decimals([row[1] for row in shown])
    picture = forest([_interval(*row, places) for row in shown])
    picture["alt"] = "Shared coefficients: " + ", ".join(
        f"{cut(name)} {fixed(value, places)}" for name, value, *_ in shown
    )
    picture["left_out"] = len(rows) - len(shown) + columns["left_out"]
    picture["intervals"] = ends[0] == "lower"
    return picture


# ---------------------------------------------------------------- the table


def _table(contents):
    """Heads and cells of all tasks; which rows paper leaves out."""
    tasks, sharing = contents["tasks"], contents["sharing"]
    columns = [("rows", "rows", "number")]
    order = next((k for k in ("gain", "level", "rows") if k in tasks), None)
    if sharing is not None:
        judged, metric = sharing["judged"], sharing["metric"]
        columns += [
            (f"score_{judged}", f"{metric}, {judged}", "number"),
            (f"score_{sharing['baseline']}", f"{metric}, alone", "number"),
            ("gain", "gain", "number"),
            ("standard_error", "± s.e.", "number"),
            ("verdict", "verdict", "text"),
        ]
    columns += [
        ("level", "level", "number"),
        ("level_lower", "from", "number"),
        ("level_upper", "to", "number"),
        ("strategy", "strategy", "text"),
    ]
    columns = [one for one in columns if one[0] in tasks]
    cells = [
        _cells(tasks[key], tasks[_UNIT.get(key, key)], kind) for key, _, kind in columns
    ]
    rows = list(zip(tasks["task"], *cells))
    printed = set(extremes(len(rows), _PRINTED)) - {None}
    return {
        "heads": [(title, kind, key == order) for key, title, kind in columns],
        "rows": rows,
        "on_paper": [i in printed for i in range(len(rows))],
        "printed": len(printed),
        "order": order,
    }


def _cells(values, unit, kind):
    """Texts of a column, with as many decimals as another one has."""
    if kind == "text":
        return [DASH if v is None else v for v in values]
    if all(v is None or isinstance(v, int) for v in values):
        return [number(v) for v in values]
    places = decimals([v for v in unit if v is not None])
    return [fixed(v, places) for v in values]
