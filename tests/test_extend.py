"""The code that the documentation extends the library with does what it says."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtlearn import PerTaskRegressor

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
