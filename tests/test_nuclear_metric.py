"""Newton steps on the metric of a ridge: the nuclear norm, against other solvers."""

import numpy as np
import pytest
from cases_features import TASK_WEIGHT
from numpy.testing import assert_allclose

from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.penalties import Nuclear
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features import low_rank, metric
from mtlearn.solvers.features.path import follow_nuclear
from mtlearn.solvers.features.smooth import MomentLoss, duality_gap

KINDS = {
    "fewer tasks": (80, 12, 5, {}),
    "more tasks": (80, 6, 15, {}),
    "weighted tasks": (80, 12, 5, {"task_weight": TASK_WEIGHT}),
    "more features than rows": (20, 40, 6, {}),
    "own rows": (150, 8, 5, {"long": True, "task_weight": TASK_WEIGHT}),
    "labels missing": (80, 10, 6, {"missing": True}),
}


def problem(kind):
    """A loss of three hidden features; the units differ, one feature is constant."""
    n, d, n_tasks, options = KINDS[kind]
    options = dict(options)
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d)) + rng.normal(size=(n, 1))
    X *= 10.0 ** rng.uniform(-1, 1, size=d)
    X[:, 2] = 1.0
    W = rng.normal(size=(n_tasks, 3)) @ rng.normal(size=(3, d))
    Y, codes = X @ W.T + 5.0 * rng.normal(size=(n, n_tasks)), None
    if options.pop("missing", False):
        Y[rng.random(Y.shape) < 0.2] = np.nan
    if options.pop("long", False):
        codes = np.sort(rng.integers(0, n_tasks, n))
        codes[:2] = 0, 0
        Y = Y[np.arange(n), codes]
    data = TaskData(X, Y, n_tasks, codes, None, options.get("task_weight"))
    return MomentLoss(gather_moments(data), FREE)


def strengths(loss, *shares):
    return [share * Nuclear(1.0).zero_strength(loss.target) for share in shares]


def gap(loss, alpha, W):
    """Of the better certificate, relative to the objective of the zero model."""
    return low_rank._look_closely(loss, Nuclear(alpha), W).gap / loss.zero_objective


@pytest.mark.parametrize("kind", KINDS)
def test_steps_alone_reach_the_minimum(kind):
    loss = problem(kind)
    for alpha in strengths(loss, 0.7, 0.1, 0.005):
        W, n_iter = metric.descend(loss, alpha, None, 1e-8, 100)
        assert n_iter < 20
        assert gap(loss, alpha, W) <= 1e-10
        # the certificate that needs no inverse of the Hessian agrees, as far as it goes
        point, penalty = loss.at(W), Nuclear(alpha)
        rough = duality_gap(loss, penalty, point, penalty.gauge(point.gradient))[1]
        assert rough <= 1e-4 * loss.zero_objective
        again, n_iter = metric.descend(loss, alpha, W, 1e-8, 100)
        assert n_iter <= 2
        assert_allclose(again, W, atol=1e-5 * np.abs(W).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_factors_find_the_same(kind, monkeypatch):
    loss = problem(kind)
    (alpha,) = strengths(loss, 0.05)
    found = low_rank.solve_nuclear(loss, Nuclear(alpha))
    monkeypatch.setattr(low_rank, "descend", lambda loss, alpha, W, *_: (W, 0))
    factors = low_rank.solve_nuclear(loss, Nuclear(alpha), tol=1e-10)
    assert found.objective == pytest.approx(factors.objective, rel=1e-8)
    assert_allclose(found.coef, factors.coef, atol=1e-4 * np.abs(factors.coef).max())
    assert np.linalg.matrix_rank(found.coef) == np.linalg.matrix_rank(
        factors.coef, tol=1e-6 * np.abs(factors.coef).max()
    )


@pytest.mark.parametrize("kind", ["fewer tasks", "more tasks", "own rows"])
def test_derivatives(kind):
    loss = problem(kind)
    side = metric._side(loss)
    size = side.target.shape[1]
    rng = np.random.default_rng(0)
    root = rng.normal(size=(size, 2)) * 0.3
    (alpha,) = strengths(loss, 0.2)
    place = side.at(root, alpha)
    W = side.outward(place.W)
    assert_allclose(side.inward(W), place.W, atol=1e-12 * np.abs(W).max())
    gradient = side.inward(loss.at(W).gradient)
    assert_allclose(gradient, -alpha * place.Z, atol=1e-9 * alpha)
    # what Q makes of the objective, and how that and its slope move with Q
    ridge = np.linalg.norm(root) ** 2 + np.vdot(place.W, place.Z)
    assert place.bound == pytest.approx(loss.at(W).value + 0.5 * alpha * ridge)
    turn = rng.normal(size=(size, size))
    move = 1e-6 * turn @ turn.T
    there = side.at(metric._root(root @ root.T + move), alpha)
    slope = 0.5 * alpha * (np.eye(size) - place.Z.T @ place.Z)
    rise = there.bound - place.bound
    assert rise == pytest.approx(float(np.vdot(slope, move)), rel=1e-2)
    bent = side.bend(place, place.Z @ move)
    assert_allclose(there.Z - place.Z, -bent, atol=1e-2 * np.abs(bent).max())
    weights = rng.random(len(place.Z))
    unit = np.eye(size)
    columns = [
        weights @ side.bend(place, np.tile(column, (len(weights), 1)))
        for column in unit
    ]
    assert_allclose(side.mean(place, weights), columns, atol=1e-9 * np.abs(bent).max())


def test_nothing_to_find():
    data = TaskData(np.ones((6, 3)), np.ones((6, 2)), 2)
    loss = MomentLoss(gather_moments(data), FREE)
    W, _ = metric.descend(loss, 1.0, None, 1e-8, 100)
    assert not W.any()
    assert not low_rank.solve_nuclear(loss, Nuclear(1.0)).coef.any()


def test_steps_are_counted():
    loss = problem("own rows")
    (alpha,) = strengths(loss, 0.05)
    for most in (1, 2):
        assert metric.descend(loss, alpha, None, 1e-8, most)[1] == most


@pytest.mark.parametrize("kind", ["fewer tasks", "own rows"])
def test_many_features_are_inverted_for_a_path_only(kind, monkeypatch):
    loss = problem(kind)
    alphas = strengths(loss, 0.5, 0.3, 0.1)
    expected = list(follow_nuclear([loss] * 3, alphas))
    calls = []

    def counted(*args):
        calls.append(args)
        return metric.descend(*args)

    monkeypatch.setattr(low_rank, "descend", counted)
    monkeypatch.setattr(low_rank, "WHITEN", 2)
    monkeypatch.setattr(low_rank, "_PER_TASK", 1)
    found = list(follow_nuclear([loss] * 3, alphas))
    assert len(calls) == (2 if kind == "fewer tasks" else 3)
    for one, other in zip(found, expected, strict=True):
        assert one.objective == pytest.approx(other.objective, rel=1e-7)


@pytest.mark.parametrize("kind", ["fewer tasks", "own rows", "more features than rows"])
def test_a_penalty_that_rounding_swallows(kind):
    loss = problem(kind)
    for alpha in strengths(loss, 1e-14, 1e-18, 1e-30):
        W, _ = metric.descend(loss, alpha, None, 1e-8, 100)
        assert W is None or np.all(np.isfinite(W))
        found = low_rank.solve_nuclear(loss, Nuclear(alpha))
        assert np.all(np.isfinite(found.coef))
        assert 0.0 <= found.objective <= loss.zero_objective
