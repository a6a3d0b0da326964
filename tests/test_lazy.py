"""The loss with a growing Gram is the loss from all moments, made of fewer rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE, SHARED
from mtlearn.problem.penalties import L21
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.lazy import LazyLoss, lazy_loss
from mtlearn.solvers.features.smooth import MomentLoss

N, D, T = 90, 70, 3


def table(weighted=True, missing=False, n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D)) + 3.0
    Y = X[:, :4] @ rng.normal(size=(4, T)) + rng.normal(size=(n, T)) - 5.0
    if missing:
        Y[0, 0] = np.nan
    weight = rng.uniform(0.5, 2.0, size=n) if weighted else None
    return TaskData(X, Y, T, None, weight, np.array([2.0, 0.5, 1.0]))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_function_as_from_all_moments(weighted):
    data = table(weighted)
    lazy, whole = LazyLoss(data), MomentLoss(gather_moments(data))
    rng = np.random.default_rng(1)
    for used in ([], [3], [3, 10], list(range(60))):
        W = np.zeros((T, D))
        W[:, used] = rng.normal(size=(T, len(used)))
        here, there = lazy.at(W), whole.at(W)
        assert_allclose(here.value, there.value, rtol=1e-9)
        size = np.abs(there.gradient).max()
        assert_allclose(here.gradient, there.gradient, atol=1e-9 * size)
        assert_allclose(lazy.intercepts(W), whole.intercepts(W), rtol=1e-9)
    assert_allclose(lazy.zero_objective, whole.zero_objective)


def test_columns_are_those_of_the_whole():
    data, chosen = table(), np.array([5, 2, 40])
    part, whole = (
        loss.columns(chosen)
        for loss in (LazyLoss(data), MomentLoss(gather_moments(data)))
    )
    V = np.random.default_rng(2).normal(size=(T, 3))
    assert_allclose(part.at(V).value, whole.at(V).value, rtol=1e-9)
    assert_allclose(part.at(V).gradient, whole.at(V).gradient, rtol=1e-7)
    assert_allclose(part.diagonal, whole.diagonal, rtol=1e-9)


def test_rows_of_the_gram_are_made_once_for_the_features_in_use():
    lazy, W = LazyLoss(table()), np.zeros((T, D))
    lazy.at(W)
    assert len(lazy._gram) == 0
    W[:, [7, 9]] = 1.0
    lazy.at(W)
    assert len(lazy._gram) == 2
    before = lazy._gram
    lazy.columns(np.array([9, 7]))
    assert lazy._gram is before
    assert_array_equal(np.flatnonzero(lazy._place >= 0), [7, 9])


def test_it_is_chosen_where_it_may_save_work():
    strong, weak = L21(1e3), L21(1e-3)
    chosen = lazy_loss(table(), FREE, strong)
    assert isinstance(chosen, LazyLoss) and len(chosen._gram) == 0
    assert len(lazy_loss(table(), FREE, weak)._gram) == D  # nearly all will be in use
    assert lazy_loss(table(), SHARED, strong) is None
    assert lazy_loss(table(missing=True), FREE, strong) is None
    assert lazy_loss(table(n=D - 1), FREE, strong) is None
