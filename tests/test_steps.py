"""Hessian blocks that are updated row by row are those of all rows."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.intercepts import FREE, NONE
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related.steps import RowHessians

T = 3


def problem(d, sparse=False, intercept=FREE):
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(60, d)), rng.integers(T, size=60)
    data = TaskData(sp.csr_array(X) if sparse else X, rng.normal(size=60), T, codes)
    return SimpleNamespace(data=data, q=1, d=d, intercept=intercept)


def blocks(problem, h):
    """X_t' D_t X_t of every task, a column of ones beside X."""
    data = problem.data
    X = data.X.toarray() if data.sparse else data.X
    X = X[data.rows]
    if problem.intercept.present:
        X = np.column_stack([X, np.ones(len(X))])
    own = [slice(*data.starts[t : t + 2]) for t in range(T)]
    return np.array([(X[s] * h[s, None]).T @ X[s] for s in own])


@pytest.mark.parametrize("intercept", [FREE, NONE], ids=lambda mode: mode.name)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("d", [4, 40])
def test_a_few_rows_change_and_then_many(d, sparse, intercept):
    own = problem(d, sparse, intercept)
    hessians, rng = RowHessians(own), np.random.default_rng(1)
    h = np.ones(60)
    for n_changed in (0, 2, 2, 55, 1):
        h = h.copy()
        h[rng.choice(60, n_changed, replace=False)] = rng.choice([0.0, 0.3, 2.0])
        hessians.compare(own, h)
        hessians.refresh(np.ones(T, dtype=bool))
        assert_allclose(hessians.full, blocks(own, h), atol=1e-10)


def test_only_what_is_marked_is_brought_up_to_date():
    own = problem(4)
    hessians, todo = RowHessians(own), np.array([True, False, True])
    hessians.compare(own, np.ones(60))
    hessians.refresh(todo)
    assert_array_equal(hessians.full[1], 0.0)
    h = np.where(own.data.task_of == 2, 0.5, 1.0)
    change = hessians.compare(own, h)
    assert_array_equal(change.count > 0, [False, False, True])
    hessians.refresh(np.ones(T, dtype=bool))
    assert_allclose(hessians.full, blocks(own, h), atol=1e-10)
