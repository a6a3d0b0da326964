"""Constrained models against the plain cvxpy model that a user would write."""

from dataclasses import dataclass
from functools import lru_cache, partial
from statistics import median

import cvxpy as cp
import numpy as np
from races import Run, timed
from report import Table, mean_ratio

from mtlearn import MultiTaskSVM, PerTaskRegressor, SharedMean
from mtlearn.constraints import (
    Bounds,
    Close,
    Monotone,
    NonNegative,
    SharedCoefficients,
    SumTo,
)

TITLE = "Constraints against plain cvxpy models"
NOTE = """\
Seconds of processor time. The plain model has the variables w_0, V and b, a sum of
squares per task over its rows, and the constraint as one would write it in cvxpy; its
solver is the one that cvxpy chooses (Clarabel), at its own tolerances. Compiling by
cvxpy is part of its time, and of ours where we need it: "first" is a first fit, with
the compiled problem of the last fits thrown away, "again" one of another strength.
Numba's compilation is left out by a first call. "ratio" is plain over "first".

"objective" is ours less the plain model's, relative to the plain one; both from the
coefficients by one function. "violation" is the largest of the constraints, ours first,
in the units of the coefficients: where ours is higher in "objective", the plain answer
violates the constraint. Relation SharedMean(0.5), a free intercept per task.
"""

RHO = 0.5
HEAD = (
    "problem",
    "constraint",
    "first",
    "again",
    "plain",
    "ratio",
    "objective",
    "violation",
)


@dataclass(frozen=True, eq=False)
class Limited:
    """Rows of several tasks and what is demanded of their coefficients."""

    title: str
    kind: str
    loss: str
    n_tasks: int
    X: np.ndarray
    y: np.ndarray
    codes: np.ndarray


def limit_first(W, b):
    """The first effect is at most the second."""
    return [W[:, 0] <= W[:, 1]]


def demanded(kind, n_tasks):
    """Our constraints, and the same in cvxpy."""
    ones = np.ones((n_tasks, 1))
    return {
        "NonNegative": ([NonNegative()], lambda W, b: [W >= 0]),
        "Bounds": ([Bounds(-0.2, 0.5)], lambda W, b: [W >= -0.2, W <= 0.5]),
        "SharedCoefficients": (
            [SharedCoefficients([0, 1, 2])],
            lambda W, b: [W[1:, :3] == W[:-1, :3]],
        ),
        "SumTo": ([SumTo(1.0)], lambda W, b: [cp.sum(W, axis=1) == 1.0]),
        "Monotone": (
            [Monotone([0, 1], list(range(n_tasks)))],
            lambda W, b: [W[:-1, :2] <= W[1:, :2]],
        ),
        "Close": (
            [Close(0.8)],
            lambda W, b: [
                cp.norm(W - ones @ cp.mean(W, axis=0, keepdims=True), 2, axis=1) <= 0.8
            ],
        ),
        "NonNegative, SumTo": (
            [NonNegative(), SumTo(2.0)],
            lambda W, b: [W >= 0, cp.sum(W, axis=1) == 2.0],
        ),
        "Monotone, NonNegative, SumTo": (
            [Monotone(None, list(range(n_tasks))), NonNegative(), SumTo(2.0)],
            lambda W, b: [W[:-1] <= W[1:], W >= 0, cp.sum(W, axis=1) == 2.0],
        ),
        "callable": ([limit_first], limit_first),
    }[kind]


KINDS = (
    "NonNegative",
    "Bounds",
    "SharedCoefficients",
    "SumTo",
    "Monotone",
    "Close",
    "NonNegative, SumTo",
    "callable",
)
SHAPES = {
    "squares, n=100,000": (100_000, 20, 20, "squared", KINDS),
    "squares, n=500": (500, 5, 10, "squared", ("NonNegative", "Close", "callable")),
    "squares, 500 features": (300, 500, 5, "squared", ("NonNegative", "Close")),
    "squares, 5,000 features": (300, 5_000, 5, "squared", ("NonNegative",)),
    "squares, 40 x 200": (20_000, 40, 200, "squared", ("NonNegative", "Monotone")),
    "squares, 2,000 tasks": (
        40_000,
        8,
        2_000,
        "squared",
        ("NonNegative", "Monotone", "Close"),
    ),
    "squares, degenerate": (
        20_000,
        20,
        20,
        "squared",
        ("Monotone, NonNegative, SumTo",),
    ),
    "SVM, n=20,000": (20_000, 20, 20, "squared_hinge", ("NonNegative", "Close")),
    "hinge, n=20,000": (20_000, 20, 20, "hinge", ("NonNegative", "Close", "callable")),
    "hinge, n=500": (500, 5, 10, "hinge", ("NonNegative", "Close", "callable")),
}


def problems(quick=False):
    """The makers of the problems, a constraint each."""
    return {
        f"{title}, {kind}": partial(_problem, title, kind, quick)
        for title, (*_, kinds) in SHAPES.items()
        for kind in kinds
    }


def _problem(title, kind, quick):
    n, d, n_tasks, loss, _ = SHAPES[title]
    X, y, codes = draw(n // 10 if quick else n, d, n_tasks)
    y = y if loss == "squared" else np.sign(y - 2.0)
    return Limited(title, kind, loss, n_tasks, X, y, codes)


@lru_cache(maxsize=1)
def draw(n, d, n_tasks):
    """Rows, numbers and tasks."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, n_tasks, n)
    X = rng.normal(size=(n, d))
    W = 0.3 * (rng.normal(size=d) + rng.normal(size=(n_tasks, d)))
    return X, np.einsum("ij,ij->i", X, W[codes]) + rng.normal(size=n) + 2.0, codes


def estimator(problem, strength=1.0):
    """Our estimator."""
    constraints = demanded(problem.kind, problem.n_tasks)[0]
    relation = SharedMean(RHO)
    if problem.loss == "squared":
        return PerTaskRegressor(strength, relation, constraints=constraints)
    return MultiTaskSVM(strength, relation, problem.loss, constraints=constraints)


def ours(problem, strength=1.0):
    """Fit with the compiled problem of the last fits thrown away."""
    from mtlearn.solvers.constrained.conic import CACHE

    CACHE.kept.clear()
    return again(problem, strength)


def again(problem, strength):
    """Fit with what the last fits left."""
    model = estimator(problem, strength)
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.codes)
    return Run(seconds, model.coef_, model.intercept_)


def plain(problem):
    """Write the plain model and solve it."""
    (W, b), seconds = timed(_plain, problem)
    return Run(seconds, W.value, b.value)


def _plain(problem):
    T, d = problem.n_tasks, problem.X.shape[1]
    common, own, b = cp.Variable((1, d)), cp.Variable((T, d)), cp.Variable(T)
    W = np.sqrt(RHO) * (np.ones((T, 1)) @ common) + np.sqrt(1 - RHO) * own
    losses = []
    for t in range(T):
        rows = problem.codes == t
        f = problem.X[rows] @ W[t] + b[t]
        losses.append(plain_loss(problem.loss, problem.y[rows], f))
    omega = cp.sum_squares(common) + cp.sum_squares(own)
    limits = demanded(problem.kind, T)[1](W, b)
    cp.Problem(cp.Minimize(sum(losses) + 0.5 * omega), limits).solve()
    return W, b


def plain_loss(loss, y, f):
    """The loss of one task's rows."""
    if loss == "squared":
        return 0.5 * cp.sum_squares(y - f)
    excess = cp.pos(1 - cp.multiply(y, f))
    return cp.sum(excess) if loss == "hinge" else cp.sum_squares(excess)


def value(problem, run):
    """The objective of given coefficients."""
    W, b = run.coef, run.intercept
    f = np.einsum("ij,ij->i", problem.X, W[problem.codes]) + b[problem.codes]
    if problem.loss == "squared":
        loss = 0.5 * np.sum((problem.y - f) ** 2)
    else:
        excess = np.maximum(0.0, 1.0 - problem.y * f)
        loss = np.sum(excess if problem.loss == "hinge" else excess**2)
    return loss + 0.5 * SharedMean(RHO).omega(W)


def violation(problem, run):
    """The largest violation of the plain constraints."""
    W, b = cp.Variable(run.coef.shape), cp.Variable(len(run.intercept))
    limits = demanded(problem.kind, problem.n_tasks)[1](W, b)
    W.value, b.value = run.coef, run.intercept
    return max(float(np.max(limit.violation())) for limit in limits)


def race(problem, repeats):
    """Cells of a row, and the ratio."""
    again(problem, 1.0)  # compiles
    first, later = [], []
    for _ in range(repeats):
        first.append(ours(problem))
        later.append(again(problem, 1.5).seconds)
    runs = first[-1], plain(problem)
    own, best = (value(problem, run) for run in runs)
    seconds = median(run.seconds for run in first)
    ratio = runs[1].seconds / seconds
    cells = [
        f"{seconds:.3f}",
        f"{median(later):.3f}",
        f"{runs[1].seconds:.2f}",
        f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}",
        f"{(own - best) / best:.0e}",
        ", ".join(f"{violation(problem, run):.0e}" for run in runs),
    ]
    return cells, ratio


def tables(problems, args):
    """Time constrained fits against plain cvxpy models."""
    table, ratios = Table(HEAD), {}
    for problem in problems:
        cells, ratio = race(problem, args.repeats)
        ratios.setdefault(problem.title, []).append(ratio)
        table.add(problem.title, problem.kind, *cells)
    table.say("Geometric means of the ratios:", "")
    table.say(*(f"* {title}: {mean_ratio(own)}" for title, own in ratios.items()))
    yield table
