"""What may be wrong: checks of rows, tasks and models, each with a code."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ..problem.alike import likely_typos
from ..problem.verdicts import LEAST_ROWS
from .rows import MOST_COLUMNS
from .words import count, listed, number, plain

SEVERITIES = ("problem", "warning", "info")

_TELLING = 0.999  # correlation, or share of pairs in order, that no honest feature has
_ENOUGH = 10  # rows from which that is no chance
_MANY_ROWS = 3.0  # rows of each level of a text that may tell the label
_PACE = 0.5  # share of steps that go up in a column that follows the rows
_LARGE = 20.0  # times the rows of the middle task


@dataclass(frozen=True)
class Seen:
    """What the checks look at; None where a report has none.

    rows : Rows; models : list of fitted estimators; ids : list of plain ids;
    counts : ndarray of shape (n_tasks,), rows of each.
    """

    rows: object
    models: list
    ids: list | None
    counts: np.ndarray | None


def look(seen):
    """Every check for which there is something to look at.

    Returns
    -------
    found : list of dict
        `code`, `severity`, `sentence`, `guide` (a page of the documentation) and
        `about`, the names that it is about; the gravest first.
    checked : list of str
        Codes of all that were looked at.
    """
    found, checked = [], []
    for code, (severity, page, needs, check) in CHECKS.items():
        if not all(_has(seen, what) for what in needs):
            continue
        checked.append(code)
        told = check(seen)
        if told is not None:
            sentence, about = told
            found.append(
                {
                    "code": code,
                    "severity": severity,
                    "sentence": sentence,
                    "guide": page,
                    "about": [plain(name) for name in about],
                }
            )
    found.sort(key=lambda one: SEVERITIES.index(one["severity"]))
    return found, checked


def _has(seen, what):
    value = getattr(seen, what)
    return value is not None and len(value) > 0 if what != "rows" else value is not None


# ---------------------------------------------------------------- tasks


def _few_rows(seen):
    few = [t for t, n in zip(seen.ids, seen.counts) if n < LEAST_ROWS]
    if not few:
        return None
    return (
        f"{count(len(few), 'task has', 'tasks have')} fewer than {LEAST_ROWS} labelled "
        f"rows ({listed(few)}): what is said of one so small is mostly what is known "
        "of the others."
    ), few


def _imbalanced(seen):
    middle, most = np.median(seen.counts), seen.counts.max()
    if most < _LARGE * max(middle, 1.0):
        return None
    largest = seen.ids[int(seen.counts.argmax())]
    return (
        f"Task {listed([largest])} has {number(int(most))} rows, {most / middle:,.0f} "
        "times as many as the middle one: scores of all rows are mostly scores of the "
        "large tasks; task_weight='balanced' and the means over tasks count each alike."
        if middle > 0
        else f"Task {listed([largest])} has {number(int(most))} rows, and at least "
        "half of the tasks have none."
    ), [largest]


def _one_class(seen):
    rows = seen.rows
    if not rows.classes:
        return None
    known = ~np.isnan(rows.y)
    if rows.codes is None:
        low, high = (f(np.where(known, rows.y, g), axis=0) for f, g in _ENDS)
    else:
        low, high = np.full(len(rows.tasks), np.inf), np.full(len(rows.tasks), -np.inf)
        np.minimum.at(low, rows.codes[known], rows.y[known])
        np.maximum.at(high, rows.codes[known], rows.y[known])
    single = [plain(task) for task in rows.tasks[low == high].tolist()]
    if not single:
        return None
    return (
        f"{count(len(single), 'task has', 'tasks have')} labels of one class only "
        f"({listed(single)}): with free intercepts they would predict it with "
        "certainty; fit_intercept='shrunk' and the learned models borrow from the "
        "others."
    ), single


_ENDS = ((np.min, np.inf), (np.max, -np.inf))


def _suspicious_id(seen):
    pairs = likely_typos(seen.ids, seen.counts)
    if not pairs:
        return None
    told = listed([f"“{a}” (“{b}”?)" for a, b in pairs], 3)
    return (
        f"{count(len(pairs), 'id looks', 'ids look')} like a misspelling of another, "
        f"and would be a task of its own: {told}."
    ), [a for a, _ in pairs]


# ---------------------------------------------------------------- features


def _leakage(seen):
    rows = seen.rows
    told = [name for name, values, text in rows.columns() if _tells(rows, values, text)]
    if not told:
        return None
    return (
        f"{listed(told)} {'predicts' if len(told) == 1 else 'predict'} the label "
        "almost perfectly alone: is it known before the label is, or made from it?"
    ), told


def _tells(rows, x, text):
    """Whether a feature predicts the label almost perfectly, alone."""
    if rows.codes is None:
        return not text and _tells_a_column(x, rows.y)
    known = ~np.isnan(rows.y)
    x, y, codes = x[known], rows.y[known], rows.codes[known]
    if len(y) < _ENOUGH:
        return False
    if text:
        return _levels_tell(x, y, rows.classes)
    if rows.classes:
        return any(_in_order(x, y == k) for k in range(len(rows.classes)))
    return _alike(x, y) or _alike(*(_without_means(v, codes) for v in (x, y)))


def _alike(x, y):
    """Whether two columns are the same but for unit and origin."""
    a, b = x - x.mean(), y - y.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    if size <= 1e-10 * np.linalg.norm(x) * np.linalg.norm(y):
        return False
    return abs(a @ b) > _TELLING * size


def _without_means(x, codes):
    """A column less the means of the tasks, of those with more rows than one."""
    n = np.bincount(codes)
    left = x - (np.bincount(codes, weights=x) / np.maximum(n, 1))[codes]
    # each task's mean has taken a row with it
    return left if (n > 0).sum() + _ENOUGH <= len(x) else np.zeros(len(x))


def _in_order(x, positive):
    """Whether nearly all pairs of a label and another one are in order of `x`."""
    n, p = len(x), int(positive.sum())
    if min(p, n - p) < LEAST_ROWS or np.ptp(x) == 0:
        return False
    above = (rankdata(x)[positive].sum() - p * (p + 1) / 2) / (p * (n - p))
    return max(above, 1.0 - above) > _TELLING


def _levels_tell(x, y, classes):
    """Whether the means of a text's levels leave next to nothing of the labels."""
    level = x.astype(np.int64)
    n = np.bincount(level)
    if (n > 0).sum() * _MANY_ROWS > len(x):
        return False
    columns = [y == k for k in range(len(classes))] if classes else [y]
    for column in columns:
        column = column.astype(np.float64)
        left = column - (np.bincount(level, weights=column) / np.maximum(n, 1))[level]
        total = np.sum((column - column.mean()) ** 2)
        if total > 0 and np.sum(left**2) < (1.0 - _TELLING**2) * total:
            return True
    return False


def _tells_a_column(x, Y):
    """Whether a feature is the same as one of several columns of labels."""
    known = ~np.isnan(Y)
    n = np.maximum(known.sum(axis=0), 1)
    a = np.where(known, x[:, None], 0.0)
    a = np.where(known, a - a.sum(axis=0) / n, 0.0)
    b = np.where(known, Y, 0.0)
    b = np.where(known, b - b.sum(axis=0) / n, 0.0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    told = abs((a * b).sum(axis=0)) > _TELLING * size
    return bool(np.any(told & (n >= _ENOUGH) & (size > 1e-10 * abs(x).max())))


def _constant(seen):
    rows = seen.rows
    same = [name for name, x, _ in rows.columns() if np.ptp(x) == 0]
    if not same:
        return None
    return (
        f"{listed(same)} {'has' if len(same) == 1 else 'have'} the same value in every "
        "row: nothing can be learned from that."
    ), same


def _constant_within(seen):
    rows = seen.rows
    if rows.codes is None or len(rows.tasks) < 2:
        return None
    order, starts = rows.by_task
    if len(starts) == len(order):  # of one row each nothing differs
        return None
    found = []
    for name, x, _ in rows.columns():
        x = x[order]
        low, high = (f.reduceat(x, starts) for f in (np.minimum, np.maximum))
        if np.array_equal(low, high) and np.ptp(x) > 0:
            found.append(name)
    if not found:
        return None
    many = len(found) > 1
    return (
        f"{listed(found)} {'are' if many else 'is'} the same in all rows of a task, "
        f"and {'tell' if many else 'tells'} tasks apart, not rows: there are "
        f"{count(len(starts), 'task')} to learn that from, not "
        f"{count(len(order), 'row')}."
    ), found


def _time_like(seen):
    rows = seen.rows
    found = list(rows.dated)
    for name, x, _ in rows.columns():
        if _follows(x, rows) and name not in found:
            found.append(name)
    if not found:
        return None
    many = len(found) > 1
    return (
        f"{listed(found)} {'follow' if many else 'follows'} time or the order of the "
        "rows: if the model is to predict what comes later, folds at random are too "
        "optimistic; hold out the last rows of each task."
    ), found


def _follows(x, rows):
    """Whether a column goes up, or down, with the rows: all, or those of each task."""
    steps = [np.diff(x)]
    if rows.codes is not None and len(rows.tasks) > 1:
        order = rows.by_task[0]
        steps.append(np.diff(x[order])[np.diff(rows.codes[order]) == 0])
    return any(
        len(step) >= 2 * _ENOUGH
        and (np.all(step >= 0) or np.all(step <= 0))
        and np.mean(step != 0) >= _PACE
        for step in steps
    )


def _not_all(seen):
    rows = seen.rows
    n = len(rows.names)
    if n <= MOST_COLUMNS:
        return None
    return f"The checks looked at the first {MOST_COLUMNS:,} of {n:,} features.", []


# ---------------------------------------------------------------- models


def _grid_edge(seen):
    found = []
    for model in seen.models:
        for name in ("alpha", "C"):
            grid = np.unique(getattr(model, f"{name}s_", []))
            chosen = getattr(model, f"{name}_", None)
            if len(grid) > 1 and chosen in (grid[0], grid[-1]):
                end = "smallest" if chosen == grid[0] else "largest"
                found.append((name, chosen, end, len(grid)))
    if not found:
        return None
    name, chosen, end, n = found[0]
    return (
        f"The chosen {name}={number(float(chosen))} is the {end} of {n} that were "
        f"tried: a {'smaller' if end == 'smallest' else 'larger'} one may be better; "
        f"widen `{name}s`."
    ), [name]


def _not_converged(seen):
    for model in seen.models:
        reached = getattr(model, "optimality_", None)
        tol = model._tolerance() if hasattr(model, "_tolerance") else None
        if reached is None or tol is None or not reached > tol:
            continue
        return (
            f"{type(model).__name__} did not converge: its certificate is "
            f"{number(float(reached), 2)}, asked for {number(float(tol), 2)}; scale "
            "the features, or increase max_iter."
        ), [type(model).__name__]
    return None


# code: severity, page of the documentation, what is looked at, the check
CHECKS = {
    "leakage": ("problem", "guide/report", ("rows",), _leakage),
    "not_converged": ("warning", "troubleshooting", ("models",), _not_converged),
    "suspicious_id": ("warning", "data", ("ids", "counts"), _suspicious_id),
    "grid_edge": ("warning", "guide/grids", ("models",), _grid_edge),
    "time_like": ("warning", "data", ("rows",), _time_like),
    "few_rows": ("warning", "guide/should_i_share", ("ids", "counts"), _few_rows),
    "one_class": ("warning", "guide/per_task", ("rows",), _one_class),
    "imbalanced_tasks": ("info", "data", ("ids", "counts"), _imbalanced),
    "constant_feature": ("info", "guide/report", ("rows",), _constant),
    "constant_within_tasks": ("info", "guide/report", ("rows",), _constant_within),
    "many_features": ("info", "guide/report", ("rows",), _not_all),
}
