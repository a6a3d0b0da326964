"""Intercepts: four choices, each against what the words of the contract say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from mtlearn import Composition, SharedMean
from mtlearn.problem.intercepts import (
    FREE,
    NONE,
    SHARED,
    SHRUNK,
    FreeUnknowns,
    priced,
    saturated,
    shrunken,
    weighted_mean,
)
from mtlearn.problem.tasks import TaskData

MODES = (FREE, SHRUNK, shrunken(4.0), SHARED, NONE)
N = 4
every_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)


def forms():
    tasks = np.arange(N)
    total = Composition({3: {0: 1.0, 1: 1.0}}, relation=SharedMean(0.5))
    return {
        "plain": SharedMean(0.5).form(tasks),
        "composed": total.form(tasks),
    }


def cost(b, aim, mass, strength):
    return 0.5 * mass @ (b - aim) ** 2 + 0.5 * strength * np.sum((b - b.mean()) ** 2)


@every_mode
@pytest.mark.parametrize("strength", [0.0, 0.3, 20.0, np.inf])
def test_the_best_ones_are_those_of_a_general_solver(mode, strength):
    rng = np.random.default_rng(0)
    aim, mass = rng.normal(size=N), rng.uniform(0.5, 2.0, N)
    found = mode.best(aim, mass, strength)
    plain = mode.at(strength)
    if plain.own:
        expected = aim
    elif not plain.present:
        expected = np.zeros(N)
    elif plain.shrunk:
        args = aim, mass, mode.strength * strength
        expected = minimize(cost, aim, args, tol=1e-12).x
    else:
        expected = np.full(N, np.average(aim, weights=mass))
    assert_allclose(found, expected, atol=1e-6)


@every_mode
def test_what_is_left_is_what_the_own_parts_do_not_take(mode):
    mass = np.array([0.5, 1.0, 2.0, 0.0])
    for strength in (0.0, 0.7, np.inf):
        left = mode.left(mass, strength)
        plain = mode.at(strength)
        for t in range(N):
            # 1/2 m (1 - d)^2 + 1/2 s d^2 at the best deviation d of those allowed
            if plain.own:
                expected = 0.0
            elif plain.shrunk:
                d = np.linspace(0.0, 1.0, 100_001)
                price = mode.strength * strength
                expected = np.min(mass[t] * (1 - d) ** 2 + price * d**2)
            else:
                expected = mass[t]
            assert left[t] == pytest.approx(expected, abs=1e-8)


@every_mode
@pytest.mark.parametrize("name", ["plain", "composed"])
@pytest.mark.parametrize("q", [1, 3])
def test_spread_is_the_adjoint_of_gather(mode, name, q):
    form, rng = forms()[name], np.random.default_rng(1)
    free = FreeUnknowns(mode, form, q)
    beta, per_task = rng.normal(size=free.shape), rng.normal(size=(N, q))
    spread = free.spread(beta)
    assert spread.shape == (N, q)
    assert np.vdot(spread, per_task) == pytest.approx(
        np.vdot(beta, free.gather(per_task))
    )
    rules = form.intercept_map(mode)
    assert_allclose(spread, rules @ beta.reshape(-1, q) if rules.shape[1] else 0.0)
    assert_allclose(free.of(spread), beta, atol=1e-12)


@every_mode
def test_stretches_hold_the_rows_of_an_unknown(mode):
    starts = np.array([0, 3, 3, 5, 9])
    stretches = mode.stretches(starts)
    assert len(stretches) - 1 == mode.n_free(N) == mode.map(N).shape[1]
    if mode.present:
        assert (stretches[0], stretches[-1]) == (0, 9)


def test_only_shrunken_ones_have_limits():
    assert SHRUNK.at(0.0) == FREE and SHRUNK.at(np.inf) == SHARED
    assert SHRUNK.at(2.0) == SHRUNK
    for mode in (FREE, SHARED, NONE):
        assert mode.at(0.0) == mode.at(1.0) == mode.at(np.inf) == mode


def test_deviations_at_a_price_cost_it_whatever_the_strength():
    rng = np.random.default_rng(0)
    aim, mass = rng.normal(size=N), rng.uniform(0.5, 2.0, N)
    mode = priced(3.0)
    assert priced(0.0) == FREE and priced(np.inf) == SHARED
    for strength in (0.0, 0.1, np.inf):
        assert_allclose(mode.best(aim, mass, strength), SHRUNK.best(aim, mass, 3.0))
        assert_allclose(mode.left(mass, strength), SHRUNK.left(mass, 3.0))


def test_a_deviation_is_a_coefficient_of_a_constant_feature():
    mode, X = shrunken(4.0), np.zeros((2, 1))
    assert_array_equal(mode.with_constant(X), [[0.0, 0.5], [0.0, 0.5]])
    assert mode.square == 0.25 and SHRUNK.square == 1.0 and SHARED.square == 0.0
    assert_array_equal(SHARED.with_constant(X), X)


def test_the_mean_of_equal_rows_is_that_row():
    values = np.full((3, 2), 0.1)
    assert_array_equal(weighted_mean(values, np.array([0.3, 0.0, 0.7])), values[0])
    assert_array_equal(weighted_mean(values, np.zeros(3)), [0.0, 0.0])
    # what has no mass has no say, whatever it is
    values[1] = np.nan_to_num(np.inf)
    assert_array_equal(weighted_mean(values, np.array([0.3, 0.0, 0.7])), [0.1, 0.1])


def test_only_tasks_of_one_class_are_saturated():
    y = np.array([1.0, 1.0, -1.0, 1.0, -1.0])
    data = TaskData(np.zeros((5, 1)), y, 4, np.array([0, 0, 1, 2, 2]))
    b = saturated(data, data.labels)
    assert b[0] > 10.0 and b[1] < -10.0
    assert_array_equal(b[2:], 0.0)
