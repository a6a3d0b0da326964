"""The report as Markdown."""

import re

from .model import say_effects
from .pictures import extremes
from .words import GUIDE, count, cut, decimals, fixed, link, listed, number

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
_SHOWN = 10  # tasks at either end


def to_markdown(contents):
    """All sections, of the same contents as the page."""
    parts = [
        f"# {_safe(contents['title'])}",
        _paragraph(contents["verdict"]),
        *_checks(contents),
        *_sharing(contents["sharing"]),
        *_tasks(contents["tasks"]),
        *_effects(contents["effects"]),
        *_variances(contents["variances"]),
        *_coefficients(contents["coefficients"]),
        *_curves(contents["curves"]),
        *_data(contents),
        f"*mtlearn {contents['version']}, {contents['date']}*",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _safe(text):
    """Text that Markdown and HTML take as it is, on one line."""
    text = " ".join(str(text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)


def _paragraph(sentences):
    return " ".join(map(_safe, sentences))


def _grid(heads, rows):
    """A table; numbers are on the right."""
    lines = [heads, *([_safe(cell) for cell in row] for row in rows)]
    sides = [":--" if i == 0 else "--:" for i in range(len(heads))]
    lines.insert(1, sides)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _checks(contents):
    if not contents["checked"]:
        return
    yield "## Checks"
    if not contents["checks"]:
        yield f"Nothing was found by {count(len(contents['checked']), 'check')}."
        return
    lines = []
    for one in contents["checks"]:
        page, address = GUIDE[one["guide"]], link(one["guide"])
        told = f"Guide: {page}" if address is None else f"[{page}]({address})"
        lines.append(
            f"* **{one['severity']}** `{one['code']}`: {_safe(one['sentence'])} "
            f"({told})"
        )
    yield "\n".join(lines)


def _sharing(sharing):
    if sharing is None:
        return
    yield "## Strategies"
    columns, rows = sharing["strategies"], []
    places = decimals(columns["overall"]) + 1
    for name, label, overall, mean in zip(
        *(columns[key] for key in ("strategy", "label", "overall", "task_mean"))
    ):
        mark = "recommended" if name == sharing["winner"] else ""
        mark = mark or ("best" if name == sharing["best"] else "")
        said = f"{label} ({name})"
        rows.append((said, fixed(overall, places), fixed(mean, places), mark))
    metric = _safe(sharing["metric"])
    yield _grid(("strategy", f"{metric}, all rows", "mean over tasks", ""), rows)
    if sharing["hurt"]:
        yield f"Hurt by sharing: {_safe(listed(sharing['hurt'], 20))}."


def _tasks(tasks):
    keys = ("rows", "gain", "standard_error", "verdict", "level", "strategy")
    keys = [key for key in keys if key in tasks]
    n = len(tasks["task"])
    at = [i for i in extremes(n, _SHOWN) if i is not None]
    texts = []
    for key in keys:
        values = tasks[key]
        sizes = [v for v in values if isinstance(v, float)]
        places = decimals(sizes)
        texts.append([_cell(values[i], places) for i in at])
    yield "## Tasks"
    rows = zip([cut(tasks["task"][i]) for i in at], *texts)
    yield _grid(("task", *(key.replace("_", " ") for key in keys)), rows)
    if len(at) < n:
        yield f"The {len(at)} at both ends of {n:,}; JSON and HTML have all."


def _cell(value, places):
    if isinstance(value, str):
        return value
    return fixed(value, places) if isinstance(value, float) else number(value)


def _effects(effects):
    if effects:
        yield "## What is each task's own"
        yield "\n".join(f"* {_safe(one)}" for one in say_effects(effects))


def _variances(variances):
    if variances:
        yield "## How much the tasks differ"
        yield "\n".join(f"* {_safe(one)}" for one in variances["sentences"])


def _coefficients(columns):
    if columns is None:
        return
    yield "## Shared coefficients"
    keys = [k for k in ("estimate", "standard_error", "lower", "upper") if k in columns]
    keys += [key for key in ("tasks_low", "tasks_high") if key in columns]
    classes = columns.get("class")
    names = columns["effect"]
    if classes:
        names = [f"{label}: {name}" for label, name in zip(classes, names)]
    numbers = ([number(v) for v in columns[key]] for key in keys)
    heads = ("effect", *(key.replace("_", " ") for key in keys))
    yield _grid(heads, zip(map(cut, names), *numbers))


def _curves(curves):
    if not curves:
        return
    yield "## Shared curves"
    lines = []
    for one in curves:
        values = one["shared"]
        low, high = values.index(min(values)), values.index(max(values))
        name = one["feature"] if one["class"] is None else _of_class(one)
        lines.append(
            f"* {_safe(name)}: from {number(values[low])} at {_where(one['x'][low])} "
            f"to {number(values[high])} at {_where(one['x'][high])}"
        )
    yield "\n".join(lines)


def _of_class(one):
    return f"{one['feature']} (class {one['class']})"


def _where(value):
    return _safe(value) if isinstance(value, str) else number(value)


def _data(contents):
    told = [contents["data"]["sentence"]] if contents["data"] else []
    told += contents["reading"]
    if told:
        yield "## Data"
        yield _paragraph(told)
    model = contents["model"]
    if model:
        pairs = {**model["parameters"], **model["chosen"]}
        given = ", ".join(f"{k}={v}" for k, v in pairs.items())
        yield f"Model: {_safe(model['estimator'])}({_safe(given)})"
