"""The code that the documentation extends the library with does what it says."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from mtlearn import PerTaskRegressor, TaskGraph

CODE = Path(__file__).parents[1] / "docs" / "code"


@pytest.mark.parametrize("mode", [True, "shrunk", "shared", False])
def test_a_solver_by_gradient_descent(long_regression, mode):
    p = long_regression
    slow = runpy.run_path(str(CODE / "gradient.py"))["SlowRegressor"]
    model = slow(fit_intercept=mode, max_iter=10_000)
    model.fit(p.X, p.y, p.weight, task=p.task)
    exact = PerTaskRegressor(fit_intercept=mode).fit(p.X, p.y, p.weight, task=p.task)
    assert model.optimality_ <= 1e-8
    assert_allclose(model.coef_, exact.coef_, atol=1e-2)
    assert model.score(p.X, p.y, task=p.task) == pytest.approx(
        exact.score(p.X, p.y, task=p.task), abs=1e-4
    )


@pytest.mark.parametrize("layout", ["task", "sparse", "wide"])
@pytest.mark.parametrize("tie", ["pooled", "graph"])
def test_its_step_suits_all_relations_and_rows(
    layout, tie, long_regression, wide_regression, adjacency
):
    p, q = long_regression, wide_regression
    args, ids = (p.X, p.y), {"task": p.task}
    if layout == "sparse":
        args = sp.csr_array(p.X), p.y
    elif layout == "wide":
        args, ids = (q.X, q.Y), {}
    relation = TaskGraph(adjacency, 1e3) if tie == "graph" else tie
    slow = runpy.run_path(str(CODE / "gradient.py"))["SlowRegressor"]
    params = {"alpha": 10.0, "relation": relation, "fit_intercept": "shrunk"}
    model = slow(**params, max_iter=10_000).fit(*args, **ids)
    exact = PerTaskRegressor(**params).fit(*args, **ids)
    assert model.optimality_ <= 1e-8
    assert_allclose(model.coef_, exact.coef_, atol=1e-2)


def test_a_chain_of_years(long_regression):
    p = long_regression
    chain = runpy.run_path(str(CODE / "chain.py"))["Chain"]
    loose, tight = (
        PerTaskRegressor(relation=chain(strength)).fit(p.X, p.y, task=p.task)
        for strength in (0.0, 1e4)
    )
    alone = PerTaskRegressor(relation="independent").fit(p.X, p.y, task=p.task)
    assert_allclose(loose.coef_, alone.coef_, atol=1e-8)
    steps = np.abs(np.diff(tight.coef_, axis=0)).max()
    assert steps < 0.05 * np.abs(np.diff(loose.coef_, axis=0)).max()


def test_a_year_without_labels_keeps_its_place(wide_regression):
    p = wide_regression
    chain = runpy.run_path(str(CODE / "chain.py"))["Chain"]
    Y = np.where(np.arange(5) == 2, np.nan, p.Y)
    with pytest.warns(UserWarning, match="get the model of their neighbours"):
        model = PerTaskRegressor(relation=chain(2.0), fit_intercept=False).fit(p.X, Y)
    expected = 2.0 * (model.coef_[1] + model.coef_[3]) / 5.0
    assert_allclose(model.coef_[2], expected, atol=1e-7)


def test_the_strength_of_a_chain_is_checked(wide_regression):
    chain = runpy.run_path(str(CODE / "chain.py"))["Chain"]
    with pytest.raises(ValueError, match="`strength` must be at least 0"):
        PerTaskRegressor(relation=chain(-1.0)).fit(wide_regression.X, wide_regression.Y)
