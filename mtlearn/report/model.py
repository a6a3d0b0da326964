"""What a fitted model says: coefficients, effects, curves, variances."""

import inspect
import reprlib
from itertools import product

import numpy as np

from ..problem.ids import feature_names
from .words import count, cut, listed, number, plain, plain_list

COVERAGE = 0.95  # of all intervals

_MOST_COEFFICIENTS = 200
_MOST_EXTREME = 6  # tasks at either end of an effect
_SPREAD = (0.1, 0.9)  # quantiles of the tasks where there are no intervals
_MOST_CURVES = 4
_MOST_LOOKED_AT = 200  # curves of which those are taken
_POINTS = 50  # of a curve
_MOST_LEVELS = 12  # of a category in a picture
_ABSENT = 1e-10  # variance, relative to the largest, that is none
_HALF = 1.959964  # standard errors of half an interval


def describe_model(model, steps):
    """Name, parameters that are not the defaults, and what the fit chose."""
    defaults = inspect.signature(type(model)).parameters
    given = {
        name: reprlib.repr(value)
        for name, value in model.get_params(deep=False).items()
        if reprlib.repr(value) != reprlib.repr(defaults[name].default)
    }
    names = (
        "alpha",
        "C",
        "correlation",
        "fit_intercept",
        "intercept_strength",
        "penalty",
        "n_components",
        "winner",
    )
    found = {name: getattr(model, f"{name}_", None) for name in names}
    chosen = {name: plain(v) for name, v in found.items() if v is not None}
    return {
        "estimator": type(model).__name__,
        "parameters": {name: plain(value) for name, value in given.items()},
        "chosen": chosen,
        "steps_before": [type(step).__name__ for step in steps],
        "scale": "log-odds" if hasattr(model, "classes_") else "label",
        "likelihood": plain(getattr(model, "log_likelihood_", None)),
    }


# ---------------------------------------------------------------- coefficients


def shared_coefficients(model):
    """The shared coefficients: with intervals, or with the spread of the tasks.

    Returns
    -------
    dict of columns, or None where the model has none
    """
    if hasattr(model, "summary"):
        table = _columns(model.summary(COVERAGE).coefficients)
        return _largest({name: plain_list(values) for name, values in table.items()})
    try:
        coef, shared = model.coef_, model.shared_coef_
    except AttributeError:  # a kernel machine, or a network
        return None
    names = feature_names(model) or [f"x{j}" for j in range(coef.shape[-1])]
    low, high = np.quantile(coef, _SPREAD, axis=0)
    columns = {
        "effect": [str(name) for name in names] * (shared.size // len(names)),
        "estimate": plain_list(shared.ravel()),
        "tasks_low": plain_list(low.ravel()),
        "tasks_high": plain_list(high.ravel()),
    }
    if coef.ndim == 3:
        classes = plain_list(model.classes_)
        columns = {"class": np.repeat(classes, len(names)).tolist(), **columns}
    return _largest(columns)


def _columns(table):
    """Columns of a frame, or of what stands for it without pandas."""
    return {str(name): np.asarray(table[name]) for name in table}


def _largest(columns):
    """The largest coefficients, in their order, where there are very many."""
    sizes = -abs(np.array([v or 0.0 for v in columns["estimate"]]))
    if len(sizes) <= _MOST_COEFFICIENTS:
        return columns | {"left_out": 0}
    kept = np.sort(np.argsort(sizes, kind="stable")[:_MOST_COEFFICIENTS])
    some = {name: [values[i] for i in kept] for name, values in columns.items()}
    return some | {"left_out": len(sizes) - len(kept)}


# ---------------------------------------------------------------- effects of tasks


def task_effects(model):
    """What is each task's own: effects, the levels first, and levels of all tasks.

    Returns
    -------
    effects : list of dict
    levels : dict of columns by task, or None
    """
    if not hasattr(model, "task_effects"):
        return [], None
    table = _columns(model.task_effects(COVERAGE))
    effects, levels = [], None
    classes = dict.fromkeys(table["class"].tolist()) if "class" in table else [None]
    for label, effect in product(classes, dict.fromkeys(table["effect"].tolist())):
        mine = table["effect"] == effect
        if label is not None:
            mine &= table["class"] == label
        if not mine.any():
            continue
        part = {name: values[mine] for name, values in table.items()}
        effects.append(_effect(label, effect, part))
        if effect == "intercept" and label is None:
            levels = {
                "task": plain_list(part["task"]),
                "rows": [round(float(n)) for n in part["rows"]],
                "level": plain_list(part["estimate"]),
                "level_lower": plain_list(part["lower"]),
                "level_upper": plain_list(part["upper"]),
            }
    effects.sort(key=lambda one: (one["effect"] != "intercept", -one["deviation"]))
    return effects, levels


def _effect(label, effect, part):
    """One effect: who lies apart, and the tasks at both ends."""
    above, below = part["lower"] > 0, part["upper"] < 0
    n = len(part["task"])
    ends = np.arange(n)
    if n > 2 * _MOST_EXTREME:
        ends = np.r_[ends[:_MOST_EXTREME], ends[-_MOST_EXTREME:]]
    names = plain_list(part["task"])
    return {
        "class": plain(label),
        "effect": plain(effect),
        "n_tasks": n,
        "coverage": COVERAGE,
        "deviation": plain(np.std(part["estimate"])),
        "above": [names[i] for i in np.flatnonzero(above)[::-1]],
        "below": [names[i] for i in np.flatnonzero(below)],
        "task": [names[i] for i in ends],
        **{
            name: plain_list(part[name][ends])
            for name in ("estimate", "lower", "upper")
        },
    }


def say_effects(effects):
    """Sentences on who lies apart; one for all effects in which nobody does."""
    told = [one for one in effects if one["above"] or one["below"]]
    quiet = [one for one in effects if one not in told]
    sentences = [say_effect(one) for one in told]
    if len(quiet) == 1:
        sentences.append(say_effect(quiet[0]))
    elif quiet:
        names = list(dict.fromkeys(one["effect"] for one in quiet))
        level = "intercept" in names
        slopes = [name for name in names if name != "intercept"]
        where = ["its level"] * level + ["its slope of " + listed(slopes, 8)]
        sentences.append(f"No task lies clearly apart in {' or '.join(where)}.")
    return sentences


def say_effect(effect):
    """A sentence on who lies apart."""
    above, below = effect["above"], effect["below"]
    n, chance = effect["n_tasks"], round((1 - COVERAGE) * effect["n_tasks"])
    of = "" if effect["class"] is None else f" (class {effect['class']})"
    level = effect["effect"] == "intercept"
    what = (
        "what the features of their rows lead to expect"
        if level
        else f"the shared slope of {effect['effect']}"
    )
    if not above and not below:
        return f"None of {count(n, 'task')} lies clearly above or below {what}{of}."
    sides = [
        f"{len(side)} {'lies' if len(side) == 1 else 'lie'} {where} ({listed(side)})"
        for side, where in ((above, "above"), (below, "below"))
        if side
    ]
    luck = f"; about {chance} of {n:,} would by chance alone" if chance else ""
    return f"Of {count(n, 'task')} {' and '.join(sides)} {what}{of}{luck}."


# ---------------------------------------------------------------- curves


def shared_curves(model):
    """The shared curves of the features that count most, each with its band."""
    if not hasattr(model, "curve"):
        return []
    names = feature_names(model)
    features = names or list(range(model.n_features_in_ - _has_column(model)))
    labels = [None]
    if len(getattr(model, "classes_", ())) > 2:
        labels = list(model.classes_)
    found = []
    for feature, label in list(product(features, labels))[:_MOST_LOOKED_AT]:
        curves = model.curve(feature, **({} if label is None else {"label": label}))
        found.append((float(np.std(curves.shared)), label, curves))
    found.sort(key=lambda one: -one[0])
    largest = found[0][0] if found else 0.0
    return [
        _curve(label, curves)
        for size, label, curves in found[:_MOST_CURVES]
        if size > 1e-6 * max(largest, 1e-12)
    ]


def _has_column(model):
    return model.task_column is not None


def _curve(label, curves):
    """A curve's points, its band, and where most tasks are."""
    n, numeric = len(curves.values), curves.values.dtype.kind in "iuf"
    most = _POINTS if numeric else _MOST_LEVELS
    at = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    if not numeric and n > most:  # the levels that differ most
        ends = np.argsort(curves.shared, kind="stable")
        at = np.sort(np.r_[ends[: most // 2], ends[-most // 2 :]])
    width = _HALF * curves.standard_error
    low, high = np.quantile(curves.tasks, _SPREAD, axis=0)
    columns = {
        "x": curves.values,
        "shared": curves.shared,
        "lower": curves.shared - width,
        "upper": curves.shared + width,
        "tasks_low": low,
        "tasks_high": high,
    }
    return {
        "feature": plain(curves.feature),
        "class": plain(label),
        "kind": "curve" if numeric else "levels",
        **{name: plain_list(values[at]) for name, values in columns.items()},
    }


# ---------------------------------------------------------------- variances


def variance_components(model):
    """Variances with their roots and shares, and what they say in words."""
    if not hasattr(model, "summary"):
        return None
    table = _columns(model.summary(COVERAGE).variances)
    sentences = []
    classes = dict.fromkeys(table["class"].tolist()) if "class" in table else [None]
    for label in classes:
        mine = np.ones(len(table["effect"]), bool)
        if label is not None:
            mine = table["class"] == label
        part = {name: values[mine] for name, values in table.items()}
        if label is not None:
            sentences.append(f"Class {label}, in log-odds:")
        sentences += _say_variances(part, hasattr(model, "classes_"))
    columns = {name: plain_list(values) for name, values in table.items()}
    return {**columns, "sentences": sentences}


def _say_variances(part, classes):
    """Yield sentences on levels, slopes, and what is the same or absent."""
    variance = {str(e): float(v) for e, v in zip(part["effect"], part["variance"])}
    shared = {str(e): float(v) for e, v in zip(part["effect"], part["shared_variance"])}
    noise, level = variance.pop("noise", None), variance.pop("intercept", None)
    least = _ABSENT * max([*variance.values(), level or 0.0, noise or 0.0, 0.0])
    if level is not None:
        yield _say_level(level, noise, least, classes)
    apart = {name: v for name, v in variance.items() if v > least}
    if apart:
        largest = sorted(apart, key=apart.get, reverse=True)
        told = [f"{cut(name)} ({number(apart[name] ** 0.5)})" for name in largest]
        yield f"Slopes that differ, and by how much in a typical task: {listed(told)}."
    alike = [n for n in variance if n not in apart and shared.get(n, 0.0) > least]
    if alike:
        yield f"The same in all tasks: {listed(alike, 8)}."
    gone = [n for n in variance if n not in apart and not shared.get(n, 0.0) > least]
    if gone:
        yield f"Of no use beside the others: {listed(gone, 8)}."


def _say_level(level, noise, least, classes):
    """The level's variance in words."""
    if level <= least:
        return "The tasks do not differ in level."
    unit = " on the scale of log-odds" if classes else ""
    told = f"A typical task lies {number(level**0.5)} above or below the others{unit}"
    if noise is None:
        return f"{told}."
    share = level / (level + noise)
    return (
        f"{told}; single rows scatter by {number(noise**0.5)} around that. So "
        f"{number(100 * share, 2)} % of what the features leave unexplained lies "
        "between the tasks' levels."
    )
