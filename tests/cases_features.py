"""Cases of penalties on features: problems, losses, and what their files share."""

import numpy as np
import pytest
import reference
from cases import INTERCEPTS

from mtlearn.moments import gather_moments
from mtlearn.problem.losses import Logistic, Softmax, Squared
from mtlearn.problem.penalties import L21
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.block_descent import solve_block_descent
from mtlearn.solvers.features.smooth import MomentLoss, RowLoss

MODES = ("free", "shrunk", "shared", "none")


LAYOUTS = ("long", "wide", "complete")


FORMS = ("moments", "rows")


TASK_WEIGHT = np.array([2.0, 0.5, 1.0, 1.5, 0.3])


@pytest.fixture
def problems(long_regression, wide_regression, wide_complete):
    """(TaskData, rows for `reference`) by layout, with both kinds of weights."""
    p, found = long_regression, {}
    weight = reference.row_weights(p.codes, p.weight, TASK_WEIGHT)
    data = TaskData(p.X, p.y, 5, p.codes, p.weight, TASK_WEIGHT)
    found["long"] = data, (p.X, p.y, p.codes, weight)
    for name, p in (("wide", wide_regression), ("complete", wide_complete)):
        s = p.weights if name == "wide" else p.weight
        X, y, codes, weight = reference.to_long(p.X, p.Y, s)
        data = TaskData(p.X, p.Y, 5, None, s, TASK_WEIGHT)
        found[name] = data, (X, y, codes, weight * TASK_WEIGHT[codes])
    return found


def build(form, data, mode="free", shrinkage=0.0):
    """The squared loss of the data, from its moments or from its rows."""
    if form == "moments":
        return MomentLoss(gather_moments(data), INTERCEPTS[mode], shrinkage)
    return RowLoss(data, Squared(), INTERCEPTS[mode], shrinkage)


def outside(mode, penalty):
    """Words of `reference` for a mode and a penalty."""
    mode = False if mode == "none" else mode
    if isinstance(penalty, L21):
        return mode, {"penalty": "l21"}
    return mode, {"penalty": "dirty", "private": penalty.alpha_private}


def solve(form, data, penalty, mode="free", **options):
    return solve_block_descent(
        build(form, data, mode, penalty.alpha), penalty, **options
    )


def never_up(history):
    values = np.array([value for value, _ in history])
    return np.all(np.diff(values) <= 1e-12 * values[0])


def random_problem(n, d, n_tasks, wide, seed=0, noise=1.0):
    """Rows with ten features that matter; a tenth of the labels missing if not long."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)) / d**0.5)
    W = np.zeros((n_tasks, d))
    W[:, rng.choice(d, 10, replace=False)] = rng.normal(size=(n_tasks, 10))
    if wide:
        Y = X @ W.T + noise * rng.normal(size=(n, n_tasks)) + 5.0
        if wide == "missing":
            Y[rng.uniform(size=Y.shape) < 0.1] = np.nan
        return TaskData(X, Y, n_tasks)
    codes = rng.integers(n_tasks, size=n)
    y = (X * W[codes]).sum(axis=1) + noise * rng.normal(size=n) + codes
    return TaskData(X, y, n_tasks, codes)


@pytest.fixture
def rows(long_regression, long_classification, long_multiclass):
    """(loss, rows for `reference`, RowLoss by mode) by name."""
    p, q, r = long_regression, long_classification, long_multiclass
    allowed = np.array([np.isin([0, 1, 2], r.label[r.codes == t]) for t in range(5)])
    order = np.argsort(r.codes, kind="stable")
    made = {
        "squared": (Squared(), p, p.y),
        "logistic": (Logistic(), q, q.sign),
        "softmax": (Softmax(3, allowed[r.codes[order]]), r, r.label),
    }
    found = {}
    for name, (loss, problem, y) in made.items():
        data = TaskData(
            problem.X, y * 1.0, 5, problem.codes, problem.weight, TASK_WEIGHT
        )
        weight = problem.weight * TASK_WEIGHT[problem.codes]
        found[name] = loss, data, (problem.X, y, problem.codes, weight)
    return found
