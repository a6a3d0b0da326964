"""One set of coefficients and an offset for each task: the ways to it agree."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtlearn import (
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    PerTaskClassifier,
    PerTaskRegressor,
)
from mtlearn.sharing.contenders import make_contenders


def with_offsets(X, codes, scale=1.0):
    """Features, and a column of 0 and 1 for each task."""
    return np.hstack([X, scale * (codes[:, None] == np.unique(codes))])


def test_free_offsets_are_columns_without_a_penalty(long_regression):
    p = long_regression
    model = PerTaskRegressor(2.0, "pooled").fit(p.X, p.y, task=p.task)
    assert np.ptp(model.coef_, axis=0).max() < 1e-9 and np.ptp(model.intercept_) > 1
    Z = with_offsets(p.X, p.codes)
    penalty = 2.0 * np.diag(np.arange(Z.shape[1]) < p.X.shape[1])
    w = np.linalg.solve(Z.T @ Z + penalty, Z.T @ p.y)
    assert_allclose(model.coef_[0], w[:5], rtol=1e-6)
    assert_allclose(model.intercept_, w[5:], rtol=1e-6)


def test_learned_offsets_are_columns_with_one(long_regression):
    p = long_regression
    model = MultiTaskBayesianRidge("intercept", shared_prior="flat")
    model.fit(p.X, p.y, task=p.task)
    ratio = model.noise_variance_ / model.covariance_[-1, -1]
    assert np.ptp(model.coef_, axis=0).max() == 0 and 1e-3 < ratio < 10
    Z = np.column_stack([with_offsets(p.X, p.codes), np.ones(len(p.X))])
    penalty = np.zeros(11)
    penalty[5:10] = ratio
    w = np.linalg.solve(Z.T @ Z + np.diag(penalty), Z.T @ p.y)
    assert_allclose(model.coef_[0], w[:5], rtol=1e-6)
    assert_allclose(model.intercept_, w[5:10] + w[10], rtol=1e-6)
    assert_allclose(model.shared_intercept_, w[10], rtol=1e-6)


def test_shrunken_offsets_of_a_pooled_model_are_one(long_regression):
    p = long_regression
    model = PerTaskRegressor(relation="pooled", fit_intercept="shrunk")
    model.fit(p.X, p.y, task=p.task)
    assert np.ptp(model.intercept_) < 1e-9


def test_with_many_rows_all_agree():
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(20_000, 2)), np.arange(20_000) % 5
    y = X @ [1.0, -2.0] + task + 0.1 * rng.normal(size=20_000)
    free = PerTaskRegressor(1e-3, "pooled").fit(X, y, task=task)
    learned = MultiTaskBayesianRidge("intercept").fit(X, y, task=task)
    assert_allclose(learned.coef_, free.coef_, atol=1e-5)
    assert_allclose(learned.intercept_, free.intercept_, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (PerTaskRegressor(), MultiTaskBayesianRidge),
        (PerTaskClassifier(), MultiTaskBayesianClassifier),
    ],
)
def test_the_strategy_is_that_model(given, kind):
    made = make_contenders(given, None, ["pooled_offset"])["pooled_offset"].estimator
    assert type(made) is kind and made.covariance == "intercept"


def test_machines_have_free_ones(long_classification):
    p = long_classification
    model = MultiTaskSVM(relation="pooled").fit(p.X, p.y, task=p.task)
    assert np.ptp(model.coef_, axis=0).max() < 1e-9 and np.ptp(model.intercept_) > 0.1
