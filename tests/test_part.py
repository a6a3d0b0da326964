"""What is learned from: rows or moments, and which tasks have a model of their own."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor
from mtlearn.fitting.part import Part, take_part
from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.tasks import TaskData


def of(part, labelled):
    return Part(None, None, FREE, np.arange(3), part, labelled)


def test_models_of_tasks_without_labels():
    labelled = np.array([True, False, True])
    coef, intercept = np.arange(8.0).reshape(1, 4, 2)[:, :2], np.array([[1.0, 3.0]])
    filled, levels = of(labelled, labelled).fill_models(coef, intercept)
    assert_array_equal(filled[0], [[0, 1], [1, 2], [2, 3]])
    assert_array_equal(levels, [[1.0, 2.0, 3.0]])
    everyone = np.ones(3, dtype=bool)
    # a relation gives the second coefficients, and nothing a free intercept
    coef, intercept = np.arange(6.0).reshape(1, 3, 2), np.array([[1.0, 9.0, 3.0]])
    filled, levels = of(everyone, labelled).fill_models(coef, intercept)
    assert_array_equal(filled, coef)
    assert_array_equal(levels, [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("mode", [True, "shrunk", "shared", False])
@pytest.mark.parametrize(
    "model", [PerTaskRegressor(2.0), PerTaskRegressor(0.0), MultiTaskBayesianRidge()]
)
def test_a_fit_needs_no_rows_where_moments_are_known(long_regression, model, mode):
    if isinstance(model, MultiTaskBayesianRidge) and mode in ("shrunk", "shared"):
        pytest.skip("its intercepts have no such choice")
    p = long_regression
    model.set_params(fit_intercept=mode)
    # without a penalty the moments of two rows do not tell
    several = p.task != "mid"
    X, y, task = p.X[several], p.y[several], p.task[several]
    fit = model._unfitted()._prepare(X, y, None, task)
    moments = gather_moments(fit.data)
    alone = replace(fit, rows=None, moments=moments)
    assert alone.n_features == X.shape[1]
    one, two = model._solution(fit, None), model._solution(alone, None)
    assert_allclose(two.coef, one.coef, rtol=1e-7, atol=1e-9)
    assert_allclose(two.intercept, one.intercept, rtol=1e-7, atol=1e-9)


def test_rows_are_taken_when_they_are_asked_for():
    X, y = np.arange(8.0).reshape(4, 2), np.arange(4.0)
    rows = TaskData(X, y, 3, np.array([0, 1, 2, 1]))
    part = np.array([True, True, False])
    asked = []

    def taken():
        asked.append(True)
        return take_part(rows, np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]), part)

    training = Part(taken, None, FREE, np.arange(3), part, part)
    assert not asked
    assert_array_equal(training.data.X, X[[1, 3]])
    assert_array_equal(training.data.task_weight, [1.0, 2.0])
    assert training.data is training.data and len(asked) == 1


def test_moments_follow_the_targets_and_are_forgotten_with_the_rows():
    data = TaskData(np.eye(3), np.arange(3.0), 3, np.arange(3))
    everyone = np.ones(3, dtype=bool)
    part = Part(data, None, FREE, np.arange(3), everyone, everyone)
    part = replace(part, moments=gather_moments(data))
    lowered = part.lowered(np.arange(3.0))
    assert_array_equal(lowered.moments.y_mean, 0.0)
    assert_array_equal(lowered.data.y, 0.0)
    assert_array_equal(data.y, np.arange(3.0))
    assert part.with_rows(lowered.data).moments is None
