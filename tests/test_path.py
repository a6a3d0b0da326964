"""Paths of falling strengths, against one solution after the other from zero."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold

from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK
from mtlearn.problem.losses import Squared
from mtlearn.problem.penalties import L21, Dirty, Nuclear
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.block_descent import solve_block_descent
from mtlearn.solvers.features.columns import Chord
from mtlearn.solvers.features.low_rank import solve_low_rank, solve_nuclear
from mtlearn.solvers.features.path import (
    Trail,
    follow_features,
    follow_low_rank,
    follow_nuclear,
)
from mtlearn.solvers.features.smooth import MomentLoss, RowLoss

N_TASKS = 4


def problem(layout, n=60, d=12, used=4):
    """TaskData of which a few features matter."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) + rng.normal(size=(n, 1))
    W = np.zeros((N_TASKS, d))
    W[:, :used] = rng.normal(size=(N_TASKS, used))
    Y = X @ W.T + rng.normal(size=(n, N_TASKS))
    if layout == "long":
        codes = rng.integers(N_TASKS, size=n)
        return TaskData(X, Y[np.arange(n), codes], N_TASKS, codes)
    if layout == "missing":
        Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    return TaskData(X, Y, N_TASKS)


MODES = (FREE, SHRUNK, SHARED, NONE)


def moment_losses(data, intercept, alphas):
    """The loss of every strength; the same but for shrunken intercepts."""
    moments = gather_moments(data)
    one = MomentLoss(moments, intercept, 1.0)
    return [
        MomentLoss(moments, intercept, a) if intercept.shrunk else one for a in alphas
    ]


def strengths(data, make, n=12, least=1e-3):
    loss = MomentLoss(gather_moments(data))
    return make(1.0).zero_strength(loss.target) * np.geomspace(1.0, least, n)


def dirty(alpha):
    return Dirty(alpha, 0.7 * alpha)


@pytest.mark.parametrize(
    "intercept", [FREE, SHRUNK, SHARED, NONE], ids=lambda mode: mode.name
)
@pytest.mark.parametrize("make", [L21, dirty])
@pytest.mark.parametrize("layout", ["long", "wide", "missing"])
def test_features(layout, make, intercept):
    data = problem(layout)
    alphas = strengths(data, make)
    losses = moment_losses(data, intercept, alphas)
    penalties = [make(alpha) for alpha in alphas]
    path = list(follow_features(losses, penalties, tol=1e-12))
    assert len(path) == len(alphas)
    for loss, penalty, found in zip(losses, penalties, path):
        assert found.status is Status.CONVERGED and found.certificate <= 1e-12
        cold = solve_block_descent(loss, penalty, tol=1e-12)
        assert found.objective == pytest.approx(cold.objective, rel=1e-10)
        assert_allclose(found.coef, cold.coef, atol=1e-4 * np.abs(cold.coef).max())
        assert_allclose(found.intercept, cold.intercept, atol=1e-4)
    # solutions are the caller's, not what the path works on
    assert len({id(found.coef) for found in path}) == len(path)
    if intercept.own:
        assert not path[0].coef.any() and path[-1].coef.any(axis=0).all()


def test_features_from_rows():
    data = problem("wide", n=20, d=40)
    alphas = strengths(data, L21, 6, 1e-2)
    loss = RowLoss(data, Squared())
    path = follow_features([loss] * 6, [L21(a) for a in alphas], tol=1e-11)
    for alpha, found in zip(alphas, path):
        cold = solve_block_descent(loss, L21(alpha), tol=1e-11)
        assert found.objective == pytest.approx(cold.objective, rel=1e-9)


def test_warm_starts_pay():
    data = problem("long", n=400, d=40)
    alphas = strengths(data, L21, 60)
    loss = MomentLoss(gather_moments(data))
    path = list(follow_features([loss] * 60, [L21(a) for a in alphas]))
    cold = [solve_block_descent(loss, L21(alpha)) for alpha in alphas]
    passes = sum(one.n_iter for one in path)
    assert passes < 0.8 * sum(one.n_iter for one in cold)


def test_uneven_and_equal_strengths():
    data = problem("wide")
    highest = strengths(data, L21)[0]
    alphas = highest * np.array([2.0, 1.0, 0.5, 0.5, 0.49, 1e-3, 1e-3, 1e-6, 9e-7])
    loss = MomentLoss(gather_moments(data))
    path = list(follow_features([loss] * 9, [L21(a) for a in alphas], tol=1e-11))
    for alpha, found in zip(alphas, path):
        cold = solve_block_descent(loss, L21(alpha), tol=1e-11)
        assert found.status is Status.CONVERGED
        assert found.objective == pytest.approx(cold.objective, rel=1e-9)
    assert not path[1].coef.any()
    assert_allclose(path[2].coef, path[3].coef, atol=1e-6)


@pytest.mark.parametrize("layout", ["long", "wide", "missing"])
@pytest.mark.parametrize("n, d", [(60, 12), (30, 25)])
def test_features_that_come_and_go(layout, n, d):
    # hardly more rows than features, a fine grid: supports change, and back
    data = problem(layout, n=n, d=d)
    alphas = strengths(data, L21, 80, 1e-4)
    loss = MomentLoss(gather_moments(data))
    path = list(follow_features([loss] * 80, [L21(a) for a in alphas]))
    for alpha, found in zip(alphas, path):
        assert found.status is Status.CONVERGED
        point, penalty = loss.at(found.coef), L21(alpha)
        value = point.value + penalty.value(found.coef)
        assert found.objective == pytest.approx(value, rel=1e-9)
        gap = value - loss.dual(point, 1.0 / penalty.gauge(point.gradient))
        assert gap <= 1e-8 * loss.zero_objective + 1e-12 * value
    cold = solve_block_descent(loss, L21(alphas[40]), tol=1e-11)
    assert path[40].objective == pytest.approx(cold.objective, rel=1e-6)


@pytest.mark.parametrize("layout", ["long", "wide"])
def test_chords(layout):
    data = problem(layout, n=200)
    alpha = strengths(data, L21)[6]
    loss = MomentLoss(gather_moments(data))
    least = solve_block_descent(loss, L21(alpha), tol=1e-14).coef
    chord = Chord(loss, least, 1.2 * alpha)
    used = least.any(axis=0)
    assert chord.sound and chord.serves(used, 1) and not chord.serves(~used, 1)
    assert not chord.serves(used, 1000)
    near = least * (1.0 + 0.01 * np.cos(np.arange(least.size)).reshape(least.shape))
    gradient = loss.at(near).gradient
    errors = [np.abs(near - least).max()]
    for times in (1, 2, 4, 8):
        # from one gradient: the steps bring it up to date themselves
        moved = chord.step(near, gradient, alpha, times)
        errors.append(np.abs(moved - least).max())
        assert not moved[:, ~used].any()
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 * errors[0]
    # a column that would turn round
    assert chord.step(near, gradient, 100.0 * alpha, 1) is None
    assert_array_equal(near[:, ~used], 0.0)


def test_the_trail_is_a_polynomial():
    rng = np.random.default_rng(0)
    H, powers = rng.normal(size=(5, 5)), rng.normal(size=(4, 3, 5))

    def solution(alpha):
        return sum(alpha**k * power for k, power in enumerate(powers))

    trail = Trail(3, 5)
    assert trail.last(7.0) == 7.0
    for alpha in (3.0, 2.5, 2.5, 2.1, 1.8, 1.6):
        trail.add(alpha, solution(alpha), solution(alpha) @ H - 1.0)
    assert trail.last(7.0) == 1.6
    W, gradient = trail.ahead(1.5)
    assert_allclose(W, solution(1.5), rtol=1e-10)
    assert_allclose(gradient, solution(1.5) @ H - 1.0, rtol=1e-9)
    # too far
    assert trail.ahead(0.7)[1] is None
    # a feature that has just come in stays where it is, the gradient is not known
    trail = Trail(3, 5)
    for alpha in (3.0, 2.5, 2.1, 1.8):
        W = solution(alpha)
        W[:, 2] *= alpha == 1.8
        trail.add(alpha, W, W @ H)
    ahead, gradient = trail.ahead(1.6)
    assert_array_equal(ahead[:, 2], W[:, 2])
    assert gradient is None
    others = [0, 1, 3, 4]
    assert_allclose(ahead[:, others], solution(1.6)[:, others], rtol=0.1)


def test_a_limit_of_passes():
    data = problem("long")
    loss = MomentLoss(gather_moments(data))
    alphas = strengths(data, L21, 4, 1e-4)
    path = follow_features([loss] * 4, [L21(a) for a in alphas], max_iter=1, tol=1e-14)
    states = [found.status for found in path]
    assert Status.MAX_ITER in states


@pytest.mark.parametrize("layout", ["long", "missing"])
def test_nuclear(layout):
    data = problem(layout)
    alphas = strengths(data, Nuclear, 8)
    losses = moment_losses(data, FREE, alphas)
    for alpha, found in zip(alphas, follow_nuclear(losses, alphas, tol=1e-9)):
        cold = solve_nuclear(losses[0], Nuclear(alpha), tol=1e-9)
        assert found.objective == pytest.approx(cold.objective, rel=1e-7)


def test_the_nuclear_norm_is_extrapolated():
    data = problem("long", n=200)
    alphas = strengths(data, Nuclear, 40, 1e-2)
    loss = moment_losses(data, FREE, alphas)[0]
    path = list(follow_nuclear([loss] * 40, alphas))
    start, plain = None, []
    for alpha in alphas:
        plain.append(solve_nuclear(loss, Nuclear(alpha), start=start))
        start = plain[-1].coef
    assert all(found.status is Status.CONVERGED for found in path)
    steps = [sum(one.n_iter for one in way) for way in (path, plain)]
    assert steps[0] < 0.8 * steps[1]
    for found, other in zip(path, plain):
        assert_allclose(found.coef, other.coef, atol=1e-5 * np.abs(start).max())


def test_low_rank():
    data = problem("missing")
    alphas = strengths(data, Nuclear, 20)
    loss = MomentLoss(gather_moments(data))
    convex = list(follow_nuclear([loss] * 20, alphas, tol=1e-10))
    asked = iter(convex)
    path = list(follow_low_rank([loss] * 20, alphas, 2, asked, tol=1e-10))
    ranks = [np.linalg.matrix_rank(found.coef, tol=1e-5) for found in path]
    assert ranks[0] == 0 and max(ranks) == 2
    # nothing is asked for once the rank binds
    left = list(asked)
    assert 0 < len(left) < 19
    for alpha, found, whole in zip(alphas, path, convex):
        cold = solve_low_rank(loss, 2, alpha, tol=1e-10)
        assert found.objective <= cold.objective * (1.0 + 1e-7)
        assert found.objective >= whole.objective * (1.0 - 1e-7)
    assert_array_equal(path[1].coef, convex[1].coef)


@pytest.mark.parametrize("tol", [1e-6, 1e-9, 1e-10, 1e-12])
@pytest.mark.parametrize("every", [1, 5])
def test_chords_that_lead_astray_are_taken_back(every, tol):
    # few strengths far apart: with the factors of one the objective may rise
    rng = np.random.default_rng(0)
    E = rng.normal(size=(400, 30))
    X = E.copy()
    for j in range(1, 30):
        X[:, j] = 0.5 * X[:, j - 1] + 0.75**0.5 * E[:, j]
    B = np.zeros((30, 5))
    B[: 6 * every : every] = rng.normal(size=(6, 5))
    Y = X @ B + 3.0 * rng.normal(size=(400, 5))
    Y[np.random.default_rng(1).random(Y.shape) < 0.3] = np.nan
    filled = np.where(np.isnan(Y), 0.0, Y - np.nanmean(Y, axis=0))
    largest = L21(1.0).zero_strength(filled.T @ (X - X.mean(axis=0)))
    for train, _ in KFold(5, shuffle=True, random_state=0).split(X):
        loss = MomentLoss(gather_moments(TaskData(X[train], Y[train], 5)))
        penalties = [L21(share * largest) for share in (0.2, 0.05, 0.01)]
        path = follow_features([loss] * 3, penalties, tol=tol)
        for penalty, found in zip(penalties, path):
            assert found.status is Status.CONVERGED and found.certificate <= tol
            cold = solve_block_descent(loss, penalty, tol=1e-12)
            excess = found.objective - cold.objective
            assert excess <= (tol + 2e-12) * loss.zero_objective
