"""Passes over narrow rows: the numbers of `solve_newton`, whatever the threads."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.forms import ArrowForm, MatrixForm
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK
from mtlearn.problem.losses import (
    Logistic,
    Softmax,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related import narrow
from mtlearn.solvers.related.newton import solve_newton

INTERCEPTS = [FREE, SHRUNK, replace(SHRUNK, strength=9.0), SHARED, NONE]
LOSSES = [SquaredHinge(), Logistic(), SquaredEpsilonInsensitive(0.2)]


def make_rows(loss, n=900, d=3, n_tasks=8, weighted=True, seed=0):
    """Rows in no order, far from zero; a task of one class, one of two rows."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + np.array([100.0, -3.0, 0.0])[:d]
    codes = rng.integers(0, n_tasks - 1, n)
    codes[:2] = n_tasks - 1
    W = rng.normal(size=(n_tasks, d))
    z = np.einsum("ij,ij->i", X - X.mean(axis=0), W[codes]) + rng.normal(size=n)
    y = z if isinstance(loss, SquaredEpsilonInsensitive) else np.where(z > 0, 1.0, -1.0)
    y[codes == 2] = 1.0
    weight = rng.uniform(0.5, 2.0, n) if weighted else None
    task_weight = rng.uniform(0.5, 2.0, n_tasks) if weighted else None
    return TaskData(X, y, n_tasks, codes, weight, task_weight)


def forms(n_tasks):
    rng = np.random.default_rng(1)
    K = rng.normal(size=(n_tasks, n_tasks))
    K = K @ K.T + np.eye(n_tasks)
    return {
        "independent": ArrowForm(n_tasks, 0.0, 1.0),
        "shared mean": ArrowForm(n_tasks, 0.6, 0.8),
        "pooled": ArrowForm(n_tasks, 1.0, 0.0),
        "covariance": MatrixForm(np.linalg.inv(K), K),
    }


@pytest.mark.parametrize("intercept", INTERCEPTS, ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("form", list(forms(2)))
def test_same_model_as_newton(loss, form, intercept, monkeypatch):
    monkeypatch.setattr(narrow, "WORTH", 0)
    data = make_rows(loss, weighted=form != "covariance")
    how = {"intercept": intercept, "tol": 1e-12, "solver": "newton-cholesky"}
    form = forms(data.n_tasks)[form]
    assert narrow.are_many(data, loss)
    found = narrow.solve_smooth(data, loss, form, 0.5, **how)
    expected = solve_newton(data, loss, form, 0.5, **how)
    scale = np.abs(expected.coef).max()
    assert found.status.name == "CONVERGED"
    assert_allclose(found.objective, expected.objective, rtol=1e-10)
    assert_allclose(found.coef, expected.coef, atol=1e-7 * scale)
    moved = np.einsum("tj,j->t", found.coef - expected.coef, data.X.mean(axis=0))
    b = found.intercept - expected.intercept
    several = np.arange(data.n_tasks) != 2  # a single class leaves its intercept open
    assert_allclose((b + moved)[several], 0.0, atol=1e-5 * (1 + scale))
    warm = narrow.solve_smooth(
        data, loss, form, 0.5, start=(found.coef, found.intercept), **how
    )
    assert warm.n_iter <= 2
    assert_allclose(warm.objective, found.objective, rtol=1e-10)


@pytest.mark.parametrize("n_tasks", [8, 3000])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_not_a_bit_depends_on_threads(loss, n_tasks, monkeypatch):
    data = make_rows(loss, n=120_000, n_tasks=n_tasks)
    assert narrow.are_many(data, loss)
    found = []
    for n_threads in (1, 2, 5):
        counted = "mtlearn.problem.threads.count_threads"
        monkeypatch.setattr(counted, lambda k=n_threads: k)
        form = ArrowForm(n_tasks, 0.6, 0.8)
        found.append(narrow.solve_smooth(data, loss, form, 1.0))
    for other in found[1:]:
        assert_array_equal(other.coef, found[0].coef)
        assert_array_equal(other.intercept, found[0].intercept)
        assert other.objective == found[0].objective


def test_few_wide_or_uncompiled_rows_go_the_other_way():
    many = make_rows(LOSSES[0], n=200_000)
    assert narrow.are_many(many, SquaredHinge())
    assert not narrow.are_many(many, Softmax(3))
    assert not narrow.are_many(make_rows(LOSSES[0]), SquaredHinge())
    rng = np.random.default_rng(0)
    wide = TaskData(rng.normal(size=(200_000, 3)), rng.normal(size=(200_000, 2)), 2)
    assert not narrow.are_many(wide, SquaredHinge())
    X = rng.normal(size=(40_000, 7))
    broad = TaskData(X, X[:, 0], 1, np.zeros(len(X), dtype=int))
    assert not narrow.are_many(broad, SquaredHinge())
