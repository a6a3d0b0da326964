"""Which tasks are higher or lower than their rows explain."""

import numpy as np

from ..inspection import TaskEffectsDisplay
from .files import is_picture, write_table
from .models import make_pipeline

_COVERAGE = 0.95
_LEVEL = "intercept"


def write_effects(path, table, estimator, style=None):
    """Write the levels of the tasks, with intervals, as a table or a picture.

    Parameters
    ----------
    path : str
    table : Table
    estimator : Pipeline
        Fitted.
    style : dict, default=None
        Of a CSV file.

    Returns
    -------
    str
        A sentence.
    """
    chosen, note = _with_effects(table, estimator)
    effects = chosen[-1].task_effects(_COVERAGE)
    effects = effects[effects["effect"] == _LEVEL]
    if not len(effects):
        return f"{path} is not written: the level is the same in all tasks."
    if is_picture(path):
        label = table.y.max() if "class" in effects else None
        display = TaskEffectsDisplay.from_estimator(
            chosen, _LEVEL, label=label, coverage=_COVERAGE
        )
        display.ax_.set_xlabel(_what(table, label))
        display.figure_.savefig(path, dpi=150)
        return f"Drawn: {path} (levels of the tasks{note})"
    effects = effects.drop(columns="effect").assign(verdict=_verdicts(effects))
    write_table(effects, path, style)
    return f"Written: {path} (levels of the tasks{note})"


def _with_effects(table, estimator):
    """The model, or one of learned strengths in its place."""
    if hasattr(estimator[-1], "task_effects"):
        return estimator, ""
    learned = make_pipeline(table, "bayesian").fit(table.X, table.y)
    return learned, ", by learned strengths of sharing"


def _what(table, label):
    name = table.target.name
    if not table.target.classes:
        return f"{name} of the task, less what its rows explain"
    label = np.unique(table.y)[-1] if label is None else label
    return f"log-odds of {name} = {label} in the task, less what its rows explain"


def _verdicts(effects):
    """Whether the interval is above or below zero, in words."""
    above, below = effects["lower"] > 0, effects["upper"] < 0
    words = ["higher than expected", "lower than expected"]
    return np.select([above, below], words, "as expected")
