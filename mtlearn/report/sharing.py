"""What a comparison says: strategies, gains, who is hurt."""

import numpy as np

from ..problem.verdicts import HURT, VERDICTS
from .words import plain, plain_list

METRICS = {"rmse": "RMSE"}


def describe_sharing(comparison):
    """Scores of the strategies, and how many tasks have which verdict."""
    summary = _summary(comparison)
    verdicts = np.asarray(comparison.table["verdict"])
    tasks = plain_list(comparison.table["task"])
    hurt = np.flatnonzero(verdicts == HURT)
    hurt = hurt[np.argsort(comparison.gain[hurt], kind="stable")]
    return {
        "metric": plain(comparison.metric),
        "greater_is_better": bool(comparison.greater_is_better),
        "winner": comparison.winner,
        "best": comparison.best,
        "judged": comparison.judged,
        "baseline": comparison.baseline,
        "strategies": {
            "strategy": list(comparison.strategies),
            "label": [comparison.labels[name] for name in comparison.strategies],
            **summary,
        },
        "counts": {name: int(np.sum(verdicts == name)) for name in VERDICTS},
        "hurt": [tasks[i] for i in hurt],
    }


def _summary(comparison):
    """Both averages of each strategy."""
    table = comparison.summary
    if hasattr(table, "loc"):
        return {
            average: plain_list(table.loc[average, list(comparison.strategies)])
            for average in ("overall", "task_mean")
        }
    return {
        str(row["average"]): [plain(row[name]) for name in comparison.strategies]
        for row in table
    }


def task_columns(comparison):
    """The table of a comparison, column by column."""
    table = comparison.table
    scores = {name: plain_list(table[name]) for name in comparison.strategies}
    return {
        "task": plain_list(table["task"]),
        "rows": [int(n) for n in table["n_samples"]],
        "gain": plain_list(comparison.gain),
        "standard_error": plain_list(comparison.standard_error),
        "expected_gain": plain_list(table["expected_gain"]),
        "verdict": plain_list(table["verdict"]),
        **{f"score_{name}": values for name, values in scores.items()},
    }
