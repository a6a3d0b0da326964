"""The contents of a report: one dict, of which every form is rendered."""

import datetime
import sys

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .checks import Seen, look
from .model import (
    describe_model,
    say_effect,
    shared_coefficients,
    shared_curves,
    task_effects,
    variance_components,
)
from .rows import read_rows
from .sharing import describe_sharing, task_columns
from .words import count, listed, number, plain, plain_list

FORMAT = 1  # of the dict; a greater number where what there was has changed


def collect(estimator, X, y, task, comparison, reading, title):
    """All that a report says, in plain types."""
    model, steps = _take_apart(estimator)
    _check_comparison(comparison)
    if model is None and comparison is None:
        raise ValueError(
            "A report needs a fitted `estimator` or a `comparison`, got neither."
        )
    if (X is None) != (y is None):
        raise ValueError(f"{'y' if y is None else 'X'} is missing: pass X and y.")
    rows = None if X is None else read_rows(estimator, X, y, task)
    effects, levels = task_effects(model) if model is not None else ([], None)
    tasks = _tasks(model, rows, comparison, levels)
    found, checked = look(_seen(model, rows, tasks))
    contents = {
        "format": FORMAT,
        "title": _title(title, rows),
        "date": datetime.date.today().isoformat(),
        "version": getattr(sys.modules["mtlearn"], "__version__", None),
        "verdict": [],
        "data": None if rows is None else _describe_rows(rows),
        "reading": _sentences(reading),
        "checks": found,
        "checked": checked,
        "sharing": None if comparison is None else describe_sharing(comparison),
        "model": None if model is None else describe_model(model, steps),
        "coefficients": None if model is None else shared_coefficients(model),
        "curves": [] if model is None else shared_curves(model),
        "effects": effects,
        "variances": None if model is None else variance_components(model),
        "tasks": tasks,
    }
    contents["verdict"] = _verdict(contents, comparison, rows)
    return contents


# ---------------------------------------------------------------- what was passed


def _take_apart(estimator):
    """The fitted model, and the steps before it."""
    if estimator is None:
        return None, []
    model, steps = estimator, []
    if isinstance(estimator, Pipeline):
        *steps, model = [step for _, step in estimator.steps]
    if not hasattr(type(model), "report"):
        raise TypeError(
            "`estimator` must be a fitted estimator of mtlearn or a Pipeline that ends "
            f"in one, got {estimator!r}."
        )
    check_is_fitted(model)
    return model, [step for step in steps if not isinstance(step, str)]


def _check_comparison(comparison):
    names = ("table", "verdict", "gain", "strategies", "labels")
    if comparison is None or all(hasattr(comparison, name) for name in names):
        return
    raise TypeError(
        "`comparison` must be what compare_sharing returns, got "
        f"{type(comparison).__name__}."
    )


def _sentences(reading):
    if reading is None:
        return []
    if isinstance(reading, (str, bytes)) or not hasattr(reading, "__iter__"):
        raise TypeError(f"`reading` must be a list of sentences, got {reading!r}.")
    return [plain(str(one)) for one in reading]


def _title(title, rows):
    if title is not None:
        return plain(str(title))
    if rows is None or rows.target is None:
        return "Tasks learned together"
    return plain(f"{rows.target}, learned together")


# ---------------------------------------------------------------- tasks


def _tasks(model, rows, comparison, levels):
    """A row for each task, whatever is known of it, column by column."""
    parts = []
    if comparison is not None:
        parts.append(task_columns(comparison))
    if levels is not None:
        parts.append(levels)
    if rows is not None:
        parts.append({"task": plain_list(rows.tasks), "rows": rows.counts.tolist()})
    if model is not None:
        own = {"task": plain_list(model.tasks_)}
        if hasattr(model, "choice_"):
            own["strategy"] = plain_list(model.choice_)
        parts.append(own)
    ids = list(dict.fromkeys(id for part in parts for id in part["task"]))
    columns = {"task": ids}
    for part in parts:
        place = {id: i for i, id in enumerate(part["task"])}
        at = [place.get(id) for id in ids]
        for name, values in part.items():
            new = [None if i is None else values[i] for i in at]
            known = columns.get(name)
            columns[name] = new if known is None else _either(known, new)
    return _sorted(columns)


def _either(first, second):
    return [b if a is None else a for a, b in zip(first, second)]


def _sorted(columns):
    """The largest gain first; else the highest level, or the most rows."""
    key = next((k for k in ("gain", "level", "rows") if k in columns), None)
    if key is None:
        return columns
    values = np.array([-np.inf if v is None else v for v in columns[key]], dtype=float)
    order = np.argsort(-values, kind="stable")
    return {name: [column[i] for i in order] for name, column in columns.items()}


def _seen(model, rows, tasks):
    """What the checks may look at."""
    models = [] if model is None else [model]
    if hasattr(model, "estimators_"):
        every = model.estimators_.values()
        models = [one[-1] if isinstance(one, Pipeline) else one for one in every]
    ids = counts = None
    if rows is not None:
        ids, counts = plain_list(rows.tasks), rows.counts
    elif "rows" in tasks:
        known = [(t, n) for t, n in zip(tasks["task"], tasks["rows"]) if n is not None]
        ids, counts = [t for t, _ in known], np.array([n for _, n in known])
    return Seen(rows, models, ids, counts)


def _describe_rows(rows):
    """How many rows, tasks and features there are."""
    counts = rows.counts
    sentence = (
        f"{count(len(rows.y), 'row')} of {count(len(rows.tasks), 'task')}, "
        f"{count(len(rows.names), 'feature')}; a task has {number(int(counts.min()))} "
        f"to {number(int(counts.max()))} labels, the middle one "
        f"{number(float(np.median(counts)))}."
    )
    return {
        "rows": len(rows.y),
        "labels": int(counts.sum()),
        "tasks": len(rows.tasks),
        "features": len(rows.names),
        "smallest": int(counts.min()),
        "median": plain(np.median(counts)),
        "largest": int(counts.max()),
        "target": plain(rows.target),
        "classes": [plain(one) for one in rows.classes],
        "sentence": sentence,
    }


# ---------------------------------------------------------------- the verdict


def _verdict(contents, comparison, rows):
    """Sentences, the most important first."""
    if comparison is not None:
        target = None if rows is None else rows.target
        given = {} if target is None else {"target": target}
        return [plain(one) for one in comparison.sentences(**given)]
    told, effects = [], contents["effects"]
    levels = [one for one in effects if one["effect"] == "intercept"]
    told += [say_effect(one) for one in levels]
    chosen = contents["model"]["chosen"]
    if not told:
        name, n = contents["model"]["estimator"], len(contents["tasks"]["task"])
        told.append(f"{count(n, 'task')} learned by {name}.")
        if chosen:
            pairs = [
                f"{key}={number(v) if isinstance(v, float) else v}"
                for key, v in chosen.items()
            ]
            told.append(f"Chosen by held-out rows: {listed(pairs, 8)}.")
    told.append(
        "Whether learning the tasks together helps, compare_sharing tells; this report "
        "was made without a comparison."
    )
    return [plain(one) for one in told]
