"""A squared loss and its relation as one least squares system in all unknowns."""

import numpy as np
import pytest
import reference
from cases import INTERCEPTS
from numpy.testing import assert_allclose

from mtlearn import SharedMean, TaskGraph
from mtlearn.problem.intercepts import NONE
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.constrained.quadratic import Unknowns, factorise
from mtlearn.solvers.related.squared import solve_squared

T, D, ALPHA = 5, 3, 0.7
MODES = ("free", "shrunk", "shared", "none")


@pytest.fixture
def data(long_regression):
    p = long_regression
    X = np.ascontiguousarray(p.X[:, :D])
    return TaskData(X, p.y, T, p.codes, p.weight, np.array([2.0, 0.5, 1.0, 1.5, 0.3]))


@pytest.fixture(params=["independent", "shared_mean", "near one", "pooled", "graph"])
def form(request, adjacency):
    rho = {"independent": 0.0, "shared_mean": 0.5, "near one": 1 - 1e-8, "pooled": 1.0}
    if request.param == "graph":
        return TaskGraph(adjacency, 2.0).form(np.arange(T))
    return SharedMean(rho[request.param]).form(np.arange(T))


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_the_loss_is_that_of_the_model(data, form, mode, explicit):
    unknowns = Unknowns(form, INTERCEPTS[mode], D, explicit)
    quadratic = unknowns.quadratic(factorise(data), ALPHA)
    x = np.random.default_rng(0).normal(size=quadratic.size)
    W, b = quadratic.model(x)
    z = (data.features * W[data.task_of]).sum(axis=1) + b[data.task_of]
    direct = 0.5 * data.weights @ (data.labels - z) ** 2
    assert_allclose(quadratic.loss(x), direct, rtol=1e-9)
    numeric = reference.finite_difference(quadratic.value, x, 1e-4)
    size = np.abs(numeric).max()
    assert_allclose(quadratic.gradient(x), numeric, atol=1e-6 * size)


@pytest.mark.parametrize("mode", MODES)
def test_the_least_of_it_is_the_answer_without_constraints(data, form, mode):
    quadratic = Unknowns(form, INTERCEPTS[mode], D).quadratic(factorise(data), ALPHA)
    H = (quadratic.F.T @ quadratic.F + quadratic.Q).toarray()
    x = np.linalg.solve(H, quadratic.F.T @ quadratic.g + quadratic.c)
    way = {"tol": 1e-10, "max_iter": 50, "solver": "auto", "start": None}
    plain = solve_squared(data, form, ALPHA, intercept=INTERCEPTS[mode], **way)
    W, b = quadratic.model(x)
    assert_allclose(quadratic.value(x), plain.objective, rtol=1e-7)
    assert_allclose(W, plain.coef, atol=1e-5)
    assert_allclose(b, plain.intercept, atol=1e-5)


def test_what_nothing_determines_stays_where_it_was(data):
    X = data.X.copy()
    X[:, 1] = 0.0
    empty = TaskData(X, data.y, T, data.codes)
    unknowns = Unknowns(SharedMean(0.0).form(np.arange(T)), NONE, D)
    start = np.arange(1.0, 1.0 + T * D)
    quadratic = unknowns.quadratic(factorise(empty), 0.0, x=start)
    H = (quadratic.F.T @ quadratic.F + quadratic.Q).toarray()
    x = np.linalg.solve(H, quadratic.F.T @ quadratic.g + quadratic.c)
    assert_allclose(x.reshape(T, D)[:, 1], start.reshape(T, D)[:, 1])
