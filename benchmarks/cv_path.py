"""A whole grid of strengths and folds: the CV estimators against GridSearchCV."""

from dataclasses import dataclass
from functools import cached_property, partial
from statistics import median

import numpy as np
from data import Rows, complete, open_data, own_rows, rows_name
from races import timed
from report import Table, mean_ratio
from sklearn.model_selection import GridSearchCV

from mtlearn import (
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMean,
)
from mtlearn.model_selection import TaskStratifiedKFold

TITLE = "A whole grid against GridSearchCV"
NOTE = """\
Seconds of `fit` of a CV estimator over 100 strengths and 5 folds, and of scikit-learn's
GridSearchCV over the same estimator with the same strengths and the same folds, the
last fit to all rows included in both. "ratio" is how many times longer the latter
takes. "difference" is the largest relative difference of the held-out mean squared
errors, over the whole grid and all folds. GridSearchCV is run once, the other takes the
median over repeats; both estimators have their default tolerances. "l21" is
SharedFeatureRegressorCV(penalty="l21") down to a thousandth of the largest strength,
"nuclear" the same with that penalty; "ridge" is PerTaskRegressorCV, over rows of their
own with 3 correlations as well: 300 points of a grid. osales has sales of products with
collinear features, most of them zero for most rows; the last has more features than
rows.
"""


@dataclass(frozen=True, eq=False)
class GridProblem:
    """100 strengths on 5 folds: complete Y, or the ids of the tasks as column 0 of X.

    `penalty` None is ridge, with each of the `correlations` of SharedMean.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    alphas: np.ndarray
    penalty: str | None = None
    correlations: tuple = ()

    @property
    def task_column(self):
        """Position of the column of ids."""
        return 0 if self.y.ndim == 1 else None

    @cached_property
    def folds(self):
        """Pairs (train, test) of row numbers; every task in all of them."""
        cv = TaskStratifiedKFold(5, task_column=0, shuffle=True, random_state=0)
        ids = np.zeros(len(self.y)) if self.task_column is None else self.X[:, 0]
        return list(cv.split(np.column_stack([ids, ids]), self.y))


@dataclass(frozen=True)
class GridRun:
    """Seconds of one search, and held-out mean squared errors (..., alpha, fold)."""

    seconds: float
    errors: np.ndarray


def problems(quick=False):
    """The makers of all grids."""
    table, own = (
        ((200, 20, 5), (5, 40, 10)) if quick else ((5000, 100, 20), (50, 200, 50))
    )
    return {
        f"{kind}, {rows_name(make is own_rows, *size, 0.6)}": partial(
            _problem, kind, make, size
        )
        for make, size in ((complete, table), (own_rows, own))
        for kind in ("ridge", "l21", "nuclear")
    } | ({} if quick else _more())


def _more():
    """Grids of hard paths: collinear features of a real set, more than rows."""
    wide = 400, 1000, 10
    return {
        f"l21, {REAL}": _real,
        f"l21, {rows_name(False, *wide, 0.6)}": partial(
            _problem, "l21", complete, wide
        ),
    }


REAL = "osales, 639 x 401, 12 tasks"


def _real():
    """Sales of products, missing features at their means, features standardised."""
    with open_data("osales") as file:
        X, Y = file["X"].astype(float), file["Y"].astype(float)
    X = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    spread = X.std(axis=0)
    rows = Rows(REAL, (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0), Y)
    return GridProblem(f"l21, {REAL}", rows.X, Y, _falling(rows, "l21"), "l21")


def _falling(rows, penalty):
    """A hundred strengths, from the one from which on all is zero."""
    largest = rows.largest if penalty == "l21" else rows.largest_nuclear
    return largest * np.geomspace(1.0, 1e-3, 100)


def _problem(kind, make, size):
    rows = make(*size, 0.6)
    X = rows.X if rows.task is None else np.column_stack([rows.task, rows.X])
    name = f"{kind}, {rows.name}"
    if kind != "ridge":
        return GridProblem(name, X, rows.y, _falling(rows, kind), kind)
    tied = () if rows.task is None else (0.0, 0.5, 0.9)
    return GridProblem(name, X, rows.y, np.geomspace(1e5, 1e-2, 100), None, tied)


def ours(problem):
    """Fit the CV estimator."""
    options = {
        "alphas": problem.alphas,
        "cv": problem.folds,
        "task_column": problem.task_column,
    }
    if problem.penalty:
        model = SharedFeatureRegressorCV(penalty=problem.penalty, **options)
    else:
        own = {"correlations": problem.correlations} if problem.correlations else {}
        relation = "shared_mean" if own else "independent"
        # what the grid search tries: the intercepts as they are
        own |= {"fit_intercept": "free", "margin": 0.0}
        model = PerTaskRegressorCV(relation=relation, **own, **options)
    model, seconds = timed(model.fit, problem.X, problem.y)
    grid = model.mse_grid_ if problem.correlations else model.mse_path_
    return GridRun(seconds, grid)


def sklearn_grid(problem):
    """Fit scikit-learn's GridSearchCV over the estimator with one strength."""
    grid = {"alpha": problem.alphas}
    if problem.penalty:
        model = SharedFeatureRegressor(penalty=problem.penalty)
    else:
        model = PerTaskRegressor()
    if problem.correlations:
        grid["relation"] = [SharedMean(rho) for rho in problem.correlations]
    model.set_params(task_column=problem.task_column)
    search = GridSearchCV(
        model, grid, cv=problem.folds, scoring="neg_mean_squared_error"
    )
    search, seconds = timed(search.fit, problem.X, problem.y)
    folds = range(len(problem.folds))
    scores = [search.cv_results_[f"split{k}_test_score"] for k in folds]
    errors = -np.stack(scores, axis=-1)
    if problem.correlations:
        errors = errors.reshape(len(problem.alphas), -1, len(folds)).swapaxes(0, 1)
    return GridRun(seconds, errors)


def tables(problems, args):
    """Time whole grids against GridSearchCV."""
    table = Table(["problem", "CV estimator", "GridSearchCV", "ratio", "difference"])
    ratios = []
    for problem in problems:
        runs = [ours(problem) for _ in range(args.repeats + 1)]
        search = sklearn_grid(problem)
        own = median(run.seconds for run in runs[1:])  # the first compiles
        ratios.append(search.seconds / own)
        difference = np.abs(runs[0].errors / search.errors - 1.0).max()
        times = f"{own:.4f}", f"{search.seconds:.2f}", f"{ratios[-1]:.0f}"
        table.add(problem.name, *times, f"{difference:.0e}")
    if ratios:
        table.say(f"Geometric mean of the ratios: {mean_ratio(ratios)}.")
    yield table
