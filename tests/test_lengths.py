"""Steps on the lengths of columns, against block descent and against differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK
from mtlearn.problem.losses import Logistic, Squared
from mtlearn.problem.penalties import L21
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.block_descent import solve_block_descent
from mtlearn.solvers.features.lengths import Lengths, solve_lengths, square_of
from mtlearn.solvers.features.path import follow_features
from mtlearn.solvers.features.smooth import MomentLoss, RowLoss


def problem(n, d, n_tasks=4, task_weight=None, sample_weight=None, copies=0):
    """TaskData of correlated features of which a few matter and some are copies."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) + rng.normal(size=(n, 1))
    X[:, d - copies :] = X[:, :copies]
    X[:, 5] = 1.0
    W = np.zeros((n_tasks, d))
    W[:, :4] = rng.normal(size=(n_tasks, 4))
    Y = X @ W.T + rng.normal(size=(n, n_tasks)) + 3.0
    return TaskData(X, Y, n_tasks, None, sample_weight, task_weight)


def squared(data, kind, intercept=FREE):
    if kind == "gram":
        return MomentLoss(gather_moments(data), intercept, 1.0)
    return RowLoss(data, Squared(), intercept)


def largest(loss):
    return L21(1.0).zero_strength(loss.target)


@pytest.mark.parametrize("kind", ["gram", "rows"])
def test_derivatives(kind):
    loss = squared(problem(60 if kind == "gram" else 20, 30), kind)
    square, alpha = square_of(loss), 0.2 * largest(loss)
    eta = np.abs(np.random.default_rng(1).normal(size=30)) * 0.1
    eta[[2, 5, 9, 17]] = 0.0  # the constant feature among them
    place = square.at(eta, alpha)
    assert_allclose(loss.at(place.W).gradient, -alpha * place.Z, atol=1e-9 * alpha)
    value = loss.at(place.W).value + L21(alpha).value(place.W)
    assert place.value == pytest.approx(value, rel=1e-11)
    assert place.gap >= 0.0 and place.bound >= place.value
    slopes = 0.5 * alpha * (1.0 - place.sizes**2)
    for j in (0, 2, 17, 20):
        moved = eta.copy()
        moved[j] += 1e-5
        rise = (square.at(moved, alpha).bound - place.bound) / 1e-5
        assert rise == pytest.approx(slopes[j], abs=1e-3 * alpha)
    # what solves with the Hessian: the step towards slopes that a small move makes
    free = (eta > 0) | (place.sizes > 1.0)
    core = square.core(place, free)
    step = np.where(core.columns % 2, 1e-6, 2e-6)
    moved = eta.copy()
    moved[core.columns] += step
    there = 0.5 * (1.0 - square.at(moved, alpha).sizes ** 2)
    right = there[core.columns] - slopes[core.columns] / alpha
    every = np.ones(len(step), dtype=bool)
    found = core.solve(right, every)
    if kind == "gram":
        assert_allclose(found, step, atol=1e-3 * step.max())
    # conjugate gradients end early, below the energy of the whole step
    assert 0.8 < (found @ right) / (step @ right) < 1.01


@pytest.mark.parametrize(
    "kind, n, weight, intercept, copies",
    [
        ("gram", 70, None, FREE, 0),
        ("gram", 30, 2.5, FREE, 3),
        ("gram", 70, None, NONE, 3),
        ("rows", 20, None, FREE, 0),
        ("rows", 20, 2.5, NONE, 0),
        ("rows", 20, None, FREE, 3),
    ],
)
def test_paths(kind, n, weight, intercept, copies):
    task_weight = None if weight is None else np.full(4, weight)
    data = problem(n, 40, task_weight=task_weight, copies=copies)
    loss = squared(data, kind, intercept)
    lengths = Lengths(square_of(loss), np.zeros((4, 40)))
    for alpha in largest(loss) * np.geomspace(1.0, 1e-3, 8):
        found = lengths.solve(loss, L21(alpha), 1e-10, 200)
        assert found.status is Status.CONVERGED and found.certificate <= 1e-10
        cold = solve_block_descent(
            squared(data, "gram", intercept), L21(alpha), tol=1e-11
        )
        assert found.objective == pytest.approx(cold.objective, rel=1e-8)
        if not copies:
            assert_allclose(found.intercept, cold.intercept, atol=1e-3)


def test_from_nothing_and_from_the_answer():
    loss = squared(problem(20, 50), "rows")
    alpha = 0.01 * largest(loss)
    cold = solve_lengths(loss, L21(alpha), tol=1e-11)
    warm = solve_lengths(loss, L21(alpha), tol=1e-10, start=cold.coef)
    assert warm.n_iter <= 2 < cold.n_iter
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)
    short = solve_lengths(loss, L21(alpha), tol=1e-14, max_iter=1)
    assert short.status is Status.MAX_ITER and short.n_iter == 1
    assert not solve_lengths(loss, L21(2.0 * largest(loss))).coef.any()


def test_only_where_tasks_are_alike():
    data, rng = problem(20, 50), np.random.default_rng(0)
    uneven = problem(20, 50, task_weight=np.arange(1.0, 5.0))
    rows = problem(20, 50, sample_weight=rng.uniform(size=20))
    for loss in (
        squared(uneven, "rows"),
        squared(uneven, "gram"),
        squared(rows, "rows"),
        squared(data, "rows", SHARED),
        squared(data, "gram", SHRUNK),
        RowLoss(data.relabel(np.sign(data.y - 3.0)), Logistic(), FREE),
    ):
        assert square_of(loss) is None
    assert square_of(squared(data, "rows")) and square_of(squared(data, "gram"))


@pytest.mark.parametrize("unit", [1e-40, 1e40])
def test_units(unit):
    data = problem(20, 50)
    plain, other = squared(data, "rows"), None
    scaled = TaskData(data.X * unit, data.y, 4)
    other = squared(scaled, "rows")
    alpha = 0.05 * largest(plain)
    found = [
        solve_lengths(loss, L21(strength), tol=1e-10)
        for loss, strength in ((plain, alpha), (other, alpha * unit))
    ]
    assert_allclose(found[1].coef * unit, found[0].coef, atol=1e-6)


def test_many_features_that_come_and_go():
    data = problem(120, 110)
    loss = squared(data, "gram")
    alphas = largest(loss) * np.geomspace(1.0, 1e-4, 20)
    for alpha, found in zip(
        alphas, follow_features([loss] * 20, [L21(a) for a in alphas])
    ):
        assert found.status is Status.CONVERGED
        cold = solve_block_descent(loss, L21(alpha), tol=1e-10)
        assert found.objective == pytest.approx(cold.objective, rel=1e-6)
