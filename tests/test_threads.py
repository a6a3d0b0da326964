"""Fits and predictions: not a bit depends on how many threads there are."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from threadpoolctl import threadpool_limits

from mtlearn import MultiTaskSVM, MultiTaskSVR, PerTaskClassifier, PerTaskRegressor
from mtlearn.problem.threads import in_threads, inner, row_blocks, task_ranges

COUNTED = "mtlearn.problem.threads.count_threads"


def make_rows(n=40_000, d=20, n_tasks=60, n_classes=2):
    """Rows in no order; the first task has half of them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    task = np.where(rng.random(n) < 0.5, 0, rng.integers(0, n_tasks, n))
    W = rng.normal(size=d) + rng.normal(size=(n_tasks, d))
    z = np.einsum("ij,ij->i", X, W[task]) + rng.normal(size=n)
    return X, np.digitize(z, np.linspace(-3, 3, n_classes + 1)[1:-1]), task


@pytest.mark.parametrize(
    "model, n_classes",
    [
        (MultiTaskSVM(), 2),
        (MultiTaskSVM(relation="independent", fit_intercept="shared"), 3),
        (MultiTaskSVM(solver="newton-cg"), 2),
        (MultiTaskSVR(), 9),
        (PerTaskClassifier(relation="shared_mean"), 2),
        (PerTaskClassifier(), 3),
    ],
    ids=repr,
)
def test_models_do_not_depend_on_threads(model, n_classes, monkeypatch):
    X, y, task = make_rows(n_classes=n_classes)
    found = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(COUNTED, lambda k=n_threads: k)
        with threadpool_limits(min(n_threads, 2)):
            fitted = model.fit(X, y, task=task)
            found.append(
                (fitted.coef_, fitted.intercept_, fitted.predict(X, task=task))
            )
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert_array_equal(one, two)


def test_wide_labels_do_not_depend_on_threads(monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30_000, 12)), rng.normal(size=(30_000, 40))
    Y[rng.random(Y.shape) < 0.3] = np.nan
    weight = rng.uniform(0.5, 2.0, Y.shape)
    found = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(COUNTED, lambda k=n_threads: k)
        model = PerTaskRegressor(relation="shared_mean").fit(X, Y, weight)
        found.append((model.coef_, model.intercept_))
    for other in found[1:]:
        assert_array_equal(found[0][0], other[0])
        assert_array_equal(found[0][1], other[1])
    for t in (0, 39):
        seen = ~np.isnan(Y[:, t])
        alone = PerTaskRegressor(alpha=0.0).fit(X[seen], Y[seen, t], weight[seen, t])
        every = PerTaskRegressor(alpha=0.0).fit(X, Y, weight)
        np.testing.assert_allclose(alone.coef_[0], every.coef_[t], atol=1e-10)


def test_how_work_is_cut(monkeypatch):
    assert row_blocks(1000, 10, 1) == [slice(0, 1000)]
    blocks = row_blocks(1_000_000, 5, 100)
    assert 1 < len(blocks) <= 8
    assert blocks[0].start == 0 and blocks[-1].stop == 1_000_000
    assert all(a.stop == b.start for a, b in pairwise(blocks))
    assert len(row_blocks(1_000_000, 5, 5_000_000)) == 1
    monkeypatch.setattr(COUNTED, lambda: 3)
    starts = np.array([0, 0, 90, 90, 95, 100, 100])
    ranges = task_ranges(starts)
    assert ranges[0][0] == 0 and ranges[-1][1] == 6
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    assert task_ranges(starts, threaded=False) == [(0, 6)]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda k: 1 // k, [2, 1, 0])


def test_inner_products_do_not_depend_on_blas():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 401)), rng.normal(size=(300, 401))
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(inner(a, b))
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0], np.sum(a * b), rtol=1e-10)
