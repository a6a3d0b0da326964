"""Small problems in one compiled call, steps by earlier blocks: as `solve_newton`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtlearn.fitting.folds import _squares_by_blocks, _squares_by_tasks
from mtlearn.moments import gather_moments
from mtlearn.problem.forms import ArrowForm
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK, shrunken
from mtlearn.problem.losses import (
    Logistic,
    Softmax,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related import compact, narrow
from mtlearn.solvers.related.compact import CompactRows
from mtlearn.solvers.related.newton import solve_newton
from mtlearn.solvers.related.steps import LazyStep

FORMS = {
    "related": ArrowForm(5, 0.8, 0.6),
    "independent": ArrowForm(5, 0.0, 1.0),
    "pooled": ArrowForm(5, 1.0, 0.0),
}
INTERCEPTS = [FREE, SHARED, SHRUNK, shrunken(0.3), NONE]


def rows(loss, n=80, d=3, wide=False, seed=0):
    """Rows of five tasks; the last has two rows of one class."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 2.0
    codes = np.concatenate([rng.integers(0, 4, n - 2), [4, 4]])
    z = (X - 2.0).sum(axis=1) + rng.standard_normal(n)
    if isinstance(loss, Softmax):
        y = np.digitize(z, [-1.0, 1.0]).astype(float)
        y[-2:] = 2.0
        present = np.array([[True] * 3] * 4 + [[False, False, True]])
        data = TaskData(X, y, 5, codes, rng.uniform(0.5, 2.0, n))
        return data, Softmax(3, present[data.task_of])
    y = z if isinstance(loss, SquaredEpsilonInsensitive) else np.where(z > 0, 1.0, -1.0)
    y[-2:] = 1.0
    if wide:
        Y = np.where(rng.random((n, 5)) < 0.5, y[:, None], np.nan)
        return TaskData(X, Y, 5), loss
    return TaskData(X, y, 5, codes, rng.uniform(0.5, 2.0, n)), loss


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("intercept", INTERCEPTS, ids=str)
@pytest.mark.parametrize(
    "loss", [Logistic(), SquaredHinge(), SquaredEpsilonInsensitive(0.2), Softmax(3)]
)
def test_the_solution_is_that_of_newton_steps(loss, intercept, form):
    data, loss = rows(loss)
    how = {"intercept": intercept, "tol": 1e-12}
    expected = solve_newton(data, loss, FORMS[form], 0.5, **how)
    compiled = CompactRows(data, loss, intercept)
    found, solved = compiled.solve(FORMS[form], 0.5, intercept, 1e-12, 100)
    assert solved
    assert found.status is Status.CONVERGED
    assert found.n_iter == len(found.history) - 1 >= 1
    assert_allclose(found.objective, expected.objective, rtol=1e-10)
    assert_allclose(found.coef, expected.coef, atol=1e-5)
    # at the zero model both have the same certificate
    assert_allclose(found.history[0], expected.history[0], rtol=1e-8)
    start = expected.coef, expected.intercept
    warm, _ = compiled.solve(FORMS[form], 0.5, intercept, 1e-9, 100, start)
    assert_allclose(warm.history[0][0], expected.objective, rtol=1e-10)


def test_columns_of_labels():
    data, loss = rows(Logistic(), wide=True)
    how = {"intercept": SHRUNK, "tol": 1e-12}
    expected = solve_newton(data, loss, FORMS["related"], 2.0, **how)
    compiled = CompactRows(data, loss, SHRUNK)
    found, _ = compiled.solve(FORMS["related"], 2.0, SHRUNK, 1e-12, 100)
    assert_allclose(found.coef, expected.coef, atol=1e-6)
    assert_allclose(found.intercept, expected.intercept, atol=1e-6)


def test_what_is_not_solved_well_is_handed_back(monkeypatch):
    data, loss = rows(Logistic())
    form, how = FORMS["related"], {"intercept": FREE, "tol": 1e-11}
    expected = solve_newton(data, loss, form, 0.5, **how)
    real = compact._iterate

    def give_up(*args):
        value, bound, n_iter, _ = real(*args)
        return value, bound, n_iter, compact._HANDED_BACK

    monkeypatch.setattr(compact, "_iterate", give_up)
    found = narrow.solve_smooth(data, loss, form, 0.5, **how)
    assert found.status is Status.CONVERGED
    assert_allclose(found.objective, expected.objective, rtol=1e-9)


def test_few_steps_are_told():
    data, loss = rows(Logistic())
    compiled = CompactRows(data, loss, FREE)
    found, solved = compiled.solve(FORMS["related"], 1e-3, FREE, 1e-12, 1)
    assert solved
    assert found.status is Status.MAX_ITER
    assert found.n_iter == 1


@pytest.mark.parametrize("loss", [Logistic(), Softmax(3)])
@pytest.mark.parametrize("kind", ["free", "priced", "none"])
def test_earlier_blocks_serve_along_a_path(loss, kind, monkeypatch):
    data, loss = rows(loss, n=150, d=12)
    lazy, renewed = LazyStep(), []
    renew = lazy._renew
    monkeypatch.setattr(lazy, "_renew", lambda *a: renewed.append(1) or renew(*a))
    start, n_steps = None, 0
    form = FORMS["related"]
    for alpha in (30.0, 20.0, 10.0, 5.0):
        intercept = {"free": FREE, "none": NONE}.get(kind)
        if intercept is None:
            intercept = shrunken(3.0 * form.private**2 / alpha)
        how = {"intercept": intercept, "tol": 1e-9, "solver": "newton-cholesky"}
        monkeypatch.setattr(LazyStep, "suits", staticmethod(lambda *a: True))
        found = solve_newton(data, loss, form, alpha, start=start, lazy=lazy, **how)
        monkeypatch.setattr(LazyStep, "suits", staticmethod(lambda *a: False))
        expected = solve_newton(data, loss, form, alpha, **how)
        assert found.status is Status.CONVERGED
        assert_allclose(found.coef, expected.coef, atol=1e-4)
        start, n_steps = (found.coef, found.intercept), n_steps + found.n_iter
    assert 1 <= len(renewed) < n_steps


def test_which_problems_are_worth_earlier_blocks():
    data, loss = rows(Logistic(), n=60, d=100)
    assert LazyStep.suits(data, loss, FORMS["related"])
    assert not LazyStep.suits(data, SquaredHinge(), FORMS["related"])
    assert not LazyStep.suits(rows(Logistic())[0], loss, FORMS["related"])


def test_squares_by_tasks_are_those_of_blas():
    data, _ = rows(SquaredEpsilonInsensitive(0.0))
    moments = gather_moments(data)
    coef = np.random.default_rng(1).standard_normal((4, 5, 3))
    total, size = np.empty(4), np.empty(4)
    _squares_by_tasks(moments.gram, moments.group, moments.cross, coef, total, size)
    expected = _squares_by_blocks(moments, coef)
    assert_allclose(total, expected[0], rtol=1e-10)
    assert_allclose(size, expected[1], rtol=1e-10)
