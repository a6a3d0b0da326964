"""Features as coordinates in the span of the rows: nothing is lost, much is saved."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn import SharedMean
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.losses import Squared
from mtlearn.problem.span import RowSpan
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


def newton(data, start=None):
    form, options = SharedMean(0.5).form(np.arange(T)), {"tol": 1e-10, "max_iter": 50}
    way = {"intercept": FREE, "solver": "newton-cholesky", "start": start}
    return solve_newton(data, Squared(), form, 0.3, **way, **options)


@pytest.mark.parametrize("kind", ["wide", "long"])
def test_the_answer_is_that_of_all_features(kind):
    span = RowSpan(data(kind), own_rows=True)
    assert span.rows.n_features == N and span.n_features == D
    found, plain = newton(span.rows), newton(data(kind))
    assert_allclose(span.back(found.coef), plain.coef, atol=1e-8)
    assert_allclose(found.intercept, plain.intercept, atol=1e-8)
    assert_allclose(found.objective, plain.objective, rtol=1e-9)


def test_a_start_is_turned_with_the_features():
    span, end = RowSpan(data("wide")), newton(data("wide"))
    coef, b = span.start((end.coef, end.intercept))
    assert_allclose(span.rows.forward(coef, b), data("wide").forward(end.coef, b))
    assert newton(span.rows, (coef, b)).n_iter <= 1
    assert span.start(None) is None


@pytest.mark.parametrize(
    "kind, turns", [("long", True), ("sparse", True), ("wide", False)]
)
def test_what_gains_nothing_is_left_as_it_is(kind, turns):
    given, coef = data(kind), np.ones((T, D))
    span = RowSpan(given, turns)
    assert span.basis is None and span.rows is given
    assert_array_equal(span.there(coef), coef)
    assert_array_equal(span.back(coef), coef)


def test_many_rows_are_left_as_they_are():
    rng = np.random.default_rng(1)
    many = TaskData(rng.normal(size=(40, D)), rng.normal(size=(40, T)), T)
    assert RowSpan(many, own_rows=True).rows is many
