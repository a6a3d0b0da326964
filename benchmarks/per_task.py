"""The squared loss: PerTaskRegressor against Ridge and NumPy."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from statistics import median

import numpy as np
from data import Tied, half_squares, scores
from peers import (
    numpy_arrow,
    numpy_batched,
    sklearn_augmented,
    sklearn_loop,
    sklearn_multioutput,
)
from races import Run, suboptimality, timed
from report import Table

from mtlearn import PerTaskRegressor, SharedMean

TITLE = "PerTaskRegressor against Ridge"
NOTE = """\
Seconds of `fit` of PerTaskRegressor, medians over repeats in which the libraries take
turns. Ours gets the rows in no order and its time includes checks and sorting; a loop
of scikit-learn's Ridge and plain batched NumPy (equal tasks as one three-dimensional
array, nothing checked: the physical limit) get them sorted beforehand, and the
augmented features of the tied problem are made beforehand. "ratio" is the peer's time
over ours: above 1, ours is faster. "objective" is the relative distance from the lowest
objective of the row's problem.
"""


@dataclass(frozen=True, eq=False)
class RidgeProblem(Tied):
    """1/2 sum (y - x.w_t - b_t)^2 + 1/2 alpha Omega(W).

    Long rows with `task`, or a two-dimensional `y` and no `task`. `correlation` None is
    independent tasks; `intercept` says whether each task has a free one.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray | None = None
    alpha: float = 1.0
    correlation: float | None = None
    intercept: bool = True

    @cached_property
    def blocks(self):
        """Rows sorted into tasks of one size: X (T, m, d) and y (T, m)."""
        order = np.argsort(self.task, kind="stable")
        n_tasks = int(self.task.max()) + 1
        d = self.X.shape[1]
        X = self.X[order].reshape(n_tasks, -1, d)
        return X, self.y[order].reshape(n_tasks, -1)


def problems(quick=False):
    """The makers of all problems."""
    T, n, outputs = (200, 20_000, 50) if quick else (2000, 200_000, 500)
    own = f"{T} tasks, {n // 1000}k x 20"
    return {
        own: partial(many_tasks, own, T, n),
        f"{own}, SharedMean(0.5)": partial(tied_tasks, f"{own}, SharedMean(0.5)", T, n),
        f"{outputs} outputs, 20k x 200": partial(many_outputs, outputs),
    }


def many_tasks(name, n_tasks, n_rows, d=20):
    """Tasks of equally many rows (so that NumPy can batch them), rows shuffled."""
    rng = np.random.default_rng(0)
    task = rng.permutation(np.repeat(np.arange(n_tasks), n_rows // n_tasks))
    X = rng.standard_normal((n_rows, d)) + rng.standard_normal(d)
    W = rng.standard_normal(d) + 0.5 * rng.standard_normal((n_tasks, d))
    y = scores(X, task, W) + rng.standard_normal(n_rows) + task % 7
    return RidgeProblem(name, X, y, task)


def tied_tasks(name, n_tasks, n_rows):
    """The same rows with tasks tied by SharedMean(0.5); no intercepts."""
    problem = many_tasks(name, n_tasks, n_rows)
    return replace(problem, correlation=0.5, intercept=False)


def many_outputs(n_outputs, n_rows=20_000, d=200):
    """Complete Y: every task sees the same rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, d))
    Y = X @ rng.standard_normal((d, n_outputs))
    Y += rng.standard_normal((n_rows, n_outputs))
    return RidgeProblem(f"{n_outputs} outputs, {n_rows // 1000}k x {d}", X, Y)


def ours(problem):
    """Fit PerTaskRegressor on the rows as they come, or on complete Y."""
    tied = problem.correlation is not None
    model = PerTaskRegressor(
        alpha=problem.alpha,
        relation=SharedMean(problem.correlation) if tied else "independent",
        fit_intercept=problem.intercept,
    )
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.coef_, model.intercept_)


def peers(problem):
    """The functions that fit the problem's objective, by library."""
    if problem.task is None:
        return {"scikit-learn Ridge": sklearn_multioutput}
    if problem.correlation is not None:
        own = {"scikit-learn Ridge, augmented": sklearn_augmented}
        return own | {"batched NumPy": numpy_arrow}
    own = {"loop of scikit-learn Ridge": sklearn_loop}
    return own | {"batched NumPy": numpy_batched}


def objective(problem, run):
    """Value of the objective, for every library."""
    omega = SharedMean(problem.correlation or 0.0).omega(run.coef)
    return half_squares(problem, run) + 0.5 * problem.alpha * omega


def tables(problems, args):
    """Time the squared loss against its peers."""
    table = Table(["problem", "library", "seconds", "ratio", "objective"])
    for problem in problems:
        for cells in rows(problem, args.repeats):
            table.add(problem.name, *cells)
    yield table


def rows(problem, repeats):
    """Cells of every library on one problem."""
    fits = {"mtlearn": ours} | peers(problem)
    runs = {name: fit(problem) for name, fit in fits.items()}  # compiles
    values = {name: objective(problem, run) for name, run in runs.items()}
    turns = [[fit(problem).seconds for fit in fits.values()] for _ in range(repeats)]
    times = [median(spent) for spent in zip(*turns)]
    for seconds, (name, value) in zip(times, values.items()):
        gap = suboptimality(value, min(values.values()))
        yield name, f"{seconds:.4f}", f"{seconds / times[0]:.2f}", f"{gap:.0e}"
