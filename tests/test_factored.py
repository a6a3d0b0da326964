"""The objective of two factors: derivatives, exact halves, steps that never go up."""

import numpy as np
import pytest
import reference
from cases_features import FORMS, LAYOUTS, build
from numpy.testing import assert_allclose

from mtlearn.solvers.features.factored import Factored, minimise

ALPHA, K = 0.7, 2


def factored(problems, layout, form, mode="free"):
    data = problems[layout][0]
    loss = build(form, data, mode, ALPHA)
    x = np.random.default_rng(0).normal(size=(loss.n_rows + loss.n_features) * K)
    return Factored(loss, ALPHA, K), 0.5 * x


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value_and_derivatives(problems, layout, form):
    problem, x = factored(problems, layout, form)
    place, v = problem.at(x), np.cos(np.arange(len(x)))
    A, B = problem.unpack(x)
    squares = 0.5 * ALPHA * (np.sum(A**2) + np.sum(B**2))
    assert_allclose(place.value, problem.loss.at(A @ B).value + squares)
    numeric = reference.finite_difference(lambda x: problem.at(x).value, x, 1e-5)
    assert_allclose(place.gradient, numeric, atol=1e-5 * np.abs(numeric).max())
    ends = (problem.at(x + s * 1e-4 * v).gradient for s in (1, -1))
    bend = (next(ends) - next(ends)) / 2e-4
    assert_allclose(problem.bend(place, v), bend, atol=1e-4 * np.abs(bend).max())


@pytest.mark.parametrize("mode", ["free", "shared"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_factor_is_settled_exactly(problems, layout, mode):
    problem, x = factored(problems, layout, "moments", mode)
    assert problem.settles
    there = problem.settle(problem.at(x))
    size = np.abs(problem.at(x).gradient).max()
    assert_allclose(there.gradient[problem.cut :], 0.0, atol=1e-9 * size)
    assert_allclose(there.x[: problem.cut], x[: problem.cut])


@pytest.mark.parametrize("form", FORMS)
def test_the_preconditioner_is_symmetric_and_definite(problems, form):
    problem, x = factored(problems, "long", form)
    inverse = problem.preconditioner(problem.at(x))
    P = np.array([problem.invert(inverse, e) for e in np.eye(len(x))])
    assert_allclose(P, P.T, atol=1e-10 * np.abs(P).max())
    assert np.linalg.eigvalsh(P).min() > 0.0


@pytest.mark.parametrize("form", FORMS)
def test_steps_end_at_a_minimum_and_never_go_up(problems, form):
    problem, x = factored(problems, "long", form)
    enough = 1e-10 * problem.at(0 * x).value
    found, n_iter, bound, history = minimise(problem, x, enough, 200)
    assert bound <= enough and n_iter == len(history) - 1 < 200
    values = np.array([value for value, _ in history])
    assert np.all(np.diff(values) <= 1e-12 * values[0])
    place, size = problem.at(found), np.abs(problem.at(x).gradient).max()
    assert_allclose(place.gradient, 0.0, atol=1e-4 * size)
    H = np.array([problem.bend(place, e) for e in np.eye(len(x))])
    assert np.linalg.eigvalsh(H).min() > -1e-6 * np.abs(H).max()


def test_no_more_steps_than_asked_for(problems):
    problem, x = factored(problems, "long", "moments")
    assert minimise(problem, x, 0.0, 2)[1] == 2
