"""Quasi-Newton steps: known minima, monotone values, ends of every kind."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import rosen, rosen_der

from mtlearn.solvers.mapping.lbfgs import Memory, minimise


def rosenbrock(x):
    return rosen(x), rosen_der(x)


def bowl(scale, centre):
    """1/2 sum scale (x - centre)^2."""

    def function(x):
        r = x - centre
        return 0.5 * float(scale @ (r * r)), scale * r

    return function


def below(bound):
    return lambda value: bound


def test_a_quadratic_of_unequal_curvature():
    rng = np.random.default_rng(0)
    scale, centre = np.logspace(-3, 3, 12), rng.normal(size=12)
    end = minimise(bowl(scale, centre), np.zeros(12), below(1e-14), 500)
    assert end.converged and not end.stopped
    assert_allclose(end.x, centre, atol=1e-4)
    assert end.value <= 1e-11
    assert end.promised <= 1e-14


@pytest.mark.parametrize("n", [2, 10])
def test_a_bent_valley(n):
    end = minimise(rosenbrock, np.full(n, -1.2), below(1e-16), 1000)
    assert end.converged and end.n_iter > 10
    # beside the minimum there is another stationary point for n > 3
    assert_allclose(rosen_der(end.x), 0, atol=1e-5)
    assert end.value == rosen(end.x)


def test_what_is_told_of_every_step():
    x = np.array([-1.2, 1.0])
    end = minimise(rosenbrock, x, below(1e-12), 1000)
    values = [value for value, _ in end.history]
    assert len(values) == end.n_iter + 1
    assert values[0] == rosen(x) and values[-1] == end.value
    assert (np.diff(values) < 0).all()
    promises = [promised for _, promised in end.history]
    assert min(promises) >= 0 and promises[-1] == end.promised


def test_a_metric_takes_the_place_of_a_memory():
    rng = np.random.default_rng(0)
    scale, centre = np.logspace(-3, 3, 12), rng.normal(size=12)
    known = Memory(12, lambda g: g / scale)
    end = minimise(bowl(scale, centre), np.zeros(12), below(1e-14), 50, memory=known)
    assert end.n_iter <= 3 and end.converged
    assert_allclose(end.x, centre, atol=1e-8)
    # what it does not know the steps find out
    rough = Memory(12, lambda g: g / scale**0.8)
    end = minimise(bowl(scale, centre), np.zeros(12), below(1e-14), 500, memory=rough)
    plain = minimise(bowl(scale, centre), np.zeros(12), below(1e-14), 500)
    assert_allclose(end.x, centre, atol=1e-4)
    assert end.n_iter < plain.n_iter


def test_a_start_is_left_alone():
    x = np.array([-1.2, 1.0])
    minimise(rosenbrock, x, below(1e-12), 20)
    assert_array_equal(x, [-1.2, 1.0])


def test_as_many_steps_as_are_allowed():
    x, values = np.array([-1.2, 1.0]), []
    for max_iter in (0, 1, 3):
        end = minimise(rosenbrock, x, below(0.0), max_iter)
        assert end.n_iter == max_iter and not end.converged
        values.append(end.value)
    assert values[0] == rosen(x) and values == sorted(values, reverse=True)


def test_a_minimum_is_a_good_start():
    end = minimise(rosenbrock, np.ones(3), below(1e-12), 100)
    assert end.converged and end.n_iter == 0
    assert end.value == 0.0 and end.promised == 0.0


def test_looser_demands_need_fewer_steps():
    steps = []
    for bound in (1.0, 1e-4, 1e-12):
        end = minimise(rosenbrock, np.full(6, -1.2), below(bound), 1000)
        assert end.converged and end.promised <= bound
        steps.append(end.n_iter)
    assert steps[0] < steps[1] < steps[2]


def test_the_caller_may_stop():
    seen = []

    def watch(x):
        seen.append(x.copy())
        return len(seen) == 4

    end = minimise(rosenbrock, np.array([-1.2, 1.0]), below(0.0), 100, watch)
    assert end.stopped and not end.converged
    assert end.n_iter == 4
    assert_array_equal(seen[-1], end.x)
    assert end.value == rosen(end.x)
    values = [value for value, _ in end.history]
    assert [rosen(x) for x in seen[:3]] == values[1:4]


def test_a_function_that_is_not_defined_everywhere():
    # x - log x, infinite where x <= 0; the first step from 50 leads there

    def function(x):
        if x[0] <= 0:
            return np.nan, np.full(1, np.nan)
        return float(x[0] - np.log(x[0])), 1.0 - 1.0 / x

    def steep(x):
        value, gradient = function(x / 100.0)
        return value, gradient / 100.0

    end = minimise(function, np.array([1e-3]), below(1e-14), 100)
    assert end.converged
    assert_allclose(end.x, 1.0, atol=1e-5)
    end = minimise(steep, np.array([1e-1]), below(1e-14), 200)
    assert_allclose(end.x, 100.0, rtol=1e-4)


def test_a_kink_is_an_end():
    # |x| has no small gradient; steps end at its kink all the same

    def function(x):
        return float(np.abs(x).sum()), np.sign(x) + (x == 0)

    end = minimise(function, np.array([3.3, -1.7]), below(1e-12), 200)
    assert end.value < 5.0 and np.isfinite(end.x).all()
    assert (np.diff([value for value, _ in end.history]) <= 0).all()


def test_a_gradient_that_lies_is_not_followed():
    end = minimise(lambda x: (float(x @ x), -2 * x), np.ones(2), below(1e-12), 50)
    assert end.value == 2.0 and end.n_iter == 0 and not end.converged
    assert_array_equal(end.x, np.ones(2))


def test_the_same_in_other_units_of_the_function():
    ends = [
        minimise(
            lambda x, k=k: (k * rosen(x), k * rosen_der(x)),
            np.full(4, -1.2),
            below(1e-10 * k),
            1000,
        )
        for k in (1e-8, 1.0, 1e8)
    ]
    for end in ends:
        assert end.converged
        assert_allclose(rosen_der(end.x), 0, atol=1e-3)
