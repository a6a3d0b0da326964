"""Moments of folds and errors from them, against the rows."""

import numpy as np
import pytest
from cases import N_FEATURES, N_ROWS, N_TASKS, P
from numpy.testing import assert_allclose
from sklearn.model_selection import KFold, LeaveOneOut, ShuffleSplit

from mtlearn.fitting import folds as module
from mtlearn.fitting.folds import FoldMoments, HeldOut
from mtlearn.moments import gather_moments
from mtlearn.problem.tasks import TaskData, some_rows


def data_of(layout):
    if layout == "long":
        return TaskData(P.X, P.y, N_TASKS, P.codes, P.weight["rows"])
    return TaskData(P.X, P.wide[layout], N_TASKS, None, P.weight["rows"])


def assert_same_moments(one, two, rtol=1e-10):
    one, two = one.expand(), two.expand()
    for name in ("weight", "mean", "gram", "y_mean", "y_square", "cross"):
        a, b = getattr(one, name), getattr(two, name)
        assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-300))


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("layout", ["long", "wide", "missing", "patterns"])
@pytest.mark.parametrize("cv", [KFold(2), KFold(7), LeaveOneOut(), ShuffleSplit(3)])
def test_moments_of_training_parts(cv, layout, kept, monkeypatch):
    if not kept:
        monkeypatch.setattr(module, "grams_fit", lambda *args, **kwargs: False)
    rows, folds = data_of(layout), list(cv.split(P.X))
    found = FoldMoments(rows, folds)
    assert found.parted == (not isinstance(cv, ShuffleSplit))
    assert_same_moments(found.total, gather_moments(rows))
    for (train, test), (inner, outer) in zip(folds, found, strict=True):
        assert_same_moments(inner, gather_moments(some_rows(rows, train)))
        assert_same_moments(outer, gather_moments(some_rows(rows, test)))
        if layout == "patterns":
            # two patterns of missing labels, in every fold
            assert len(inner.weight) == 2


def test_an_outlier_in_one_fold_does_not_hurt_the_others():
    X = P.X.copy()
    X[7] *= 1e5
    rows = TaskData(X, P.y, N_TASKS, P.codes)
    folds = list(KFold(5).split(X))
    for k, ((train, _), (inner, _)) in enumerate(zip(folds, FoldMoments(rows, folds))):
        if k == 0:
            assert_same_moments(inner, gather_moments(some_rows(rows, train)), 1e-12)


def test_folds_that_do_not_part_the_rows():
    rows = np.arange(6)
    halves = [(rows[3:], rows[:3]), (rows[:3], rows[3:])]
    assert module.part_the_rows(halves, 6)
    assert not module.part_the_rows(halves[:1], 6)
    assert not module.part_the_rows([(rows[4:], rows[:3]), halves[1]], 6)
    assert not module.part_the_rows([(rows, rows[:3]), halves[1]], 6)
    assert not module.part_the_rows([(rows[[3, 3, 4]], rows[:3]), halves[1]], 6)
    assert not module.part_the_rows([halves[0], halves[0]], 6)


@pytest.mark.parametrize("layout", ["long", "wide", "missing", "patterns"])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_by_moments_and_by_rows(layout, weighted):
    rng = np.random.default_rng(0)
    rows = data_of(layout)
    if not weighted:
        rows = TaskData(rows.X, rows.y, N_TASKS, rows.codes)
    coef = rng.normal(size=(4, N_TASKS, N_FEATURES))
    intercept = rng.normal(size=(4, N_TASKS))
    index = np.arange(0, N_ROWS, 2)
    by_moments = HeldOut(rows, index, gather_moments(some_rows(rows, index)))
    by_rows = HeldOut(rows, index, None)
    assert by_moments.moments is not None and by_rows.moments is None
    expected = by_rows.errors(coef, intercept)
    assert_allclose(by_moments.errors(coef, intercept), expected, rtol=1e-10)


def test_errors_of_a_perfect_fit():
    # moments would find the difference of two large numbers
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(40, 3)), rng.normal(size=(2, 3))
    rows = TaskData(X, X @ W.T + 1e-9 * rng.normal(size=(40, 2)), 2)
    index = np.arange(40)
    found = HeldOut(rows, index, gather_moments(rows))
    expected = HeldOut(rows, index, None).errors(W[None], np.zeros((1, 2)))
    assert found.moments is not None
    assert_allclose(found.errors(W[None], np.zeros((1, 2))), expected, rtol=1e-12)
