"""Features as coordinates in the span of the rows: nothing is lost, much is saved."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from mtlearn import SharedMean
from mtlearn.problem.losses import Squared
from mtlearn.problem.span import in_row_space
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related.newton import solve_newton

N, D, T = 8, 30, 3


def data(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D)) + 1.0
    if kind == "wide":
        return TaskData(X, rng.normal(size=(N, T)), T)
    X = sp.csr_array(X) if kind == "sparse" else X
    return TaskData(X, rng.normal(size=N), T, np.arange(N) % T)


def solver(widths, solve):
    """A solve that notes how many features it sees."""

    def noted(data, start):
        widths.append(data.n_features)
        return solve(data, start)

    return noted


def newton(data, start):
    form, options = SharedMean(0.5).form(np.arange(T)), {"tol": 1e-10, "max_iter": 50}
    way = {"intercept": "free", "solver": "newton-cholesky", "start": start}
    return solve_newton(data, Squared(), form, 0.3, **way, **options)


@pytest.mark.parametrize("kind, own_rows", [("wide", False), ("long", True)])
def test_the_answer_is_that_of_all_features(kind, own_rows):
    widths, given = [], data(kind)
    found = in_row_space(solver(widths, newton), given, None, own_rows=own_rows)
    plain = newton(given, None)
    assert widths == [N]
    assert found.coef.shape == (T, D)
    assert_allclose(found.coef, plain.coef, atol=1e-8)
    assert_allclose(found.intercept, plain.intercept, atol=1e-8)
    assert_allclose(found.objective, plain.objective, rtol=1e-9)


def test_a_start_is_turned_with_the_features():
    given = data("wide")
    end = newton(given, None)
    again = in_row_space(newton, given, (end.coef, end.intercept))
    assert again.n_iter < in_row_space(newton, given, None).n_iter or again.n_iter <= 1
    assert_allclose(again.coef, end.coef, atol=1e-8)


@pytest.mark.parametrize("kind", ["long", "sparse"])
def test_tasks_with_rows_of_their_own_are_left_as_they_are(kind):
    widths = []
    in_row_space(solver(widths, newton), data(kind), None)
    assert widths == [D]


def test_many_rows_are_left_as_they_are():
    rng, widths = np.random.default_rng(1), []
    many = TaskData(rng.normal(size=(40, D)), rng.normal(size=(40, T)), T)
    in_row_space(solver(widths, newton), many, None)
    assert widths == [D]
