"""Quadratics under rows and balls: the answer meets the conditions of an optimum."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.solvers.constrained.balls import polish, solve_balls
from mtlearn.solvers.constrained.quadratic import Quadratic

N, SIZE = 10, 3


def problem(seed, radius):
    """A quadratic, rows between limits, and three balls, zero inside of all."""
    rng = np.random.default_rng(seed)
    F, Q = sp.csr_array(rng.normal(size=(2 * N, N))), sp.eye_array(N).tocsr()
    none = sp.csr_array((0, N))
    g = 3.0 * rng.normal(size=2 * N)
    quadratic = Quadratic(F, g, Q, np.zeros(N), 0.0, none, none, none)
    C = sp.csr_array(rng.normal(size=(4, N)))
    lower, upper = np.array([0.0, -np.inf, -0.3, -1.0]), np.array([0.0, 0.2, 0.3, 1.0])
    rows = SimpleNamespace(C=C, lower=lower, upper=upper)
    balls = sp.csr_array(rng.normal(size=(3 * SIZE, N)))
    return quadratic, rows, balls, np.full(3, radius)


def check_optimal(quadratic, rows, balls, radius, found):
    x, y, mu = found
    parts = (balls @ x).reshape(3, SIZE)
    push = (mu / radius)[:, None] * parts
    left = quadratic.gradient(x) + rows.C.T @ y + balls.T @ push.ravel()
    assert_allclose(left, 0.0, atol=1e-7 * np.abs(quadratic.F.T @ quadratic.g).max())
    reach, length = rows.C @ x, np.linalg.norm(parts, axis=1)
    assert np.all(reach <= rows.upper + 1e-8) and np.all(reach >= rows.lower - 1e-8)
    assert np.all(length <= radius * (1.0 + 1e-8)) and np.all(mu >= 0.0)
    free = rows.lower < rows.upper
    assert_allclose(reach[free & (y > 0)], rows.upper[free & (y > 0)], atol=1e-8)
    assert_allclose(reach[free & (y < 0)], rows.lower[free & (y < 0)], atol=1e-8)
    assert_allclose(length[mu > 0], radius[mu > 0], rtol=1e-8)


@pytest.mark.parametrize("polished", [True, False])
@pytest.mark.parametrize("radius", [0.05, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_conditions_of_an_optimum_hold(seed, radius, polished):
    given = problem(seed, radius)
    *found, _, _ = solve_balls(*given, None, None, polished)
    check_optimal(*given, found)
    assert np.any(found[2] > 0)


def test_wide_balls_pull_nowhere():
    given = problem(0, 1e3)
    *found, _, n_iter = solve_balls(*given, None, None)
    check_optimal(*given, found)
    assert_array_equal(found[2], 0.0)
    assert n_iter == 1


def test_a_start_that_is_right_takes_fewer_rounds():
    given = problem(1, 0.5)
    *_, ball_prices, state, n_iter = solve_balls(*given, None, None)
    again = solve_balls(*given, state, ball_prices)
    assert again[-1] == 1 < n_iter


def test_last_steps_from_nearby():
    given = problem(2, 0.5)
    x, y, mu, _, _ = solve_balls(*given, None, None)
    near = 1.0 + 1e-5 * np.random.default_rng(0).normal(size=N)
    found = polish(*given, x * near, y, mu)
    check_optimal(*given, found)
    assert_allclose(found[0], x, atol=1e-9)
