"""Shared mappings chosen by cross-validation: against fits of every fold by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from mtlearn import (
    SharedMappingClassifier,
    SharedMappingClassifierCV,
    SharedMappingRegressor,
    SharedMappingRegressorCV,
)
from mtlearn.model_selection import TaskStratifiedKFold

BOTH = (SharedMappingRegressorCV, SharedMappingClassifierCV)
every_estimator = pytest.mark.parametrize("estimator", BOTH)


def make(estimator, hidden=(4,), **params):
    """A small search that is the same every time."""
    return estimator(hidden, **{"alphas": 4, "cv": 2, "random_state": 0, **params})


@pytest.fixture
def p(request, long_regression, long_classification):
    """The long problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    numbers = estimator is SharedMappingRegressorCV
    return long_regression if numbers else long_classification


@pytest.fixture
def wide(request, wide_regression, wide_classification):
    """The wide problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    numbers = estimator is SharedMappingRegressorCV
    return wide_regression if numbers else wide_classification


def errors(model):
    """The path of errors."""
    numbers = isinstance(model, SharedMappingRegressor)
    return model.mse_path_ if numbers else model.log_loss_path_


@every_estimator
def test_errors_are_those_of_fits_of_every_fold(estimator, p):
    # those of the strongest penalty, which all begin at the same draw
    numbers = estimator is SharedMappingRegressorCV
    single = SharedMappingRegressor if numbers else SharedMappingClassifier
    y = p.y / np.std(p.y) if numbers else p.y
    folds = list(
        TaskStratifiedKFold(2, shuffle=True, random_state=0).split(
            p.X, y, groups=p.task
        )
    )
    options = {"tol": 1e-8, "fit_intercept": "shrunk"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtlearn.shared_mapping_cv._TOL", 1e-8)
        alphas = np.array([0.5, 2.0])
        model = make(estimator, alphas=alphas, cv=folds, **options)
        model.fit(p.X, y, task=p.task)
    assert_array_equal(model.alphas_, alphas[::-1])
    for k, (train, test) in enumerate(folds):
        one = single((4,), alpha=model.alphas_[0], random_state=0, **options)
        one.fit(p.X[train], y[train], task=p.task[train])
        if numbers:
            left = y[test] - one.predict(p.X[test], task=p.task[test])
            expected = np.mean(left**2)
        else:
            shares = one.predict_proba(p.X[test], task=p.task[test])
            expected = log_loss(y[test], shares, labels=one.classes_)
        assert_allclose(errors(model)[0, k], expected, rtol=1e-6)


@every_estimator
@pytest.mark.parametrize("layout", ["task", "wide"])
def test_what_is_chosen_is_the_best(estimator, p, wide, layout):
    X, y = (wide.X, wide.Y) if layout == "wide" else (p.X, p.y)
    ids = {} if layout == "wide" else {"task": p.task}
    model = make(estimator, [(2,), (5, 3)]).fit(X, y, **ids)
    numbers = estimator is SharedMappingRegressorCV
    grid = model.mse_grid_ if numbers else model.log_loss_grid_
    assert grid.shape == (2, 4, 2)
    chosen, best = np.unravel_index(grid.mean(axis=-1).argmin(), (2, 4))
    assert model.hidden_layer_sizes_ == [(2,), (5, 3)][chosen]
    assert model.best_index_ == best
    assert model.alpha_ == model.alphas_[best]
    assert_array_equal(errors(model), grid[chosen])
    assert (np.diff(model.alphas_) < 0).all()
    assert [W.shape[1] for W in model.coefs_[:-1]] == list(model.hidden_layer_sizes_)
    again = clone(model).fit(X, y, **ids)
    assert_array_equal(errors(again), errors(model))
    assert_array_equal(again.coefs_[0], model.coefs_[0])
    # the strongest penalty there is leaves the layers without weights
    flat = make(estimator, alphas=[1e8]).fit(X, y, **ids)
    assert np.abs(flat.transform(X) - flat.transform(X)[:1]).max() < 1e-3


@every_estimator
def test_the_variance_of_the_labels_is_the_unit(estimator, p):
    model = make(estimator, alphas=3).fit(p.X, p.y, task=p.task)
    unit = np.var(p.y) if estimator is SharedMappingRegressorCV else 1.0
    # their variance around a level of every task
    assert model.alphas_[0] <= 100.0 * unit * 1.01
    assert_allclose(model.alphas_, model.alphas_[0] * np.array([1.0, 1e-2, 1e-4]))


@every_estimator
def test_a_scorer_decides(estimator, p):
    rows, nothing = [], make(estimator, scoring=lambda model, X, y: 0.0)
    nothing.fit(p.X, p.y, task=p.task)
    assert nothing.best_index_ == 0

    def largest(model, X, y):
        rows.append(len(y))
        return -model.model.alpha

    model = make(estimator, scoring=largest).fit(p.X, p.y, task=p.task)
    assert model.best_index_ == 3
    assert_array_equal(model.score_path_[:, 0], -model.alphas_)
    assert sum(rows) == 4 * len(p.y)


@every_estimator
def test_one_standard_error_takes_more(estimator, p):
    plain = make(estimator, cv=3).fit(p.X, p.y, task=p.task)
    careful = make(estimator, cv=3, one_standard_error=True)
    careful.fit(p.X, p.y, task=p.task)
    assert careful.best_index_ <= plain.best_index_
    assert_array_equal(errors(careful), errors(plain))


def test_more_than_two_classes(long_multiclass):
    p = long_multiclass
    model = make(SharedMappingClassifierCV).fit(p.X, p.y, task=p.task)
    assert np.isfinite(model.log_loss_path_).all()
    assert model.predict_proba(p.X, task=p.task).shape == (
        len(p.y),
        len(model.classes_),
    )


@every_estimator
def test_tasks_that_a_training_part_does_not_have(estimator, p):
    # the only rows of a task are tested: the mean head predicts them
    task = p.task.astype(object)
    task[:2] = "alone"
    test = np.arange(2)
    folds = [(np.arange(2, len(p.y)), test)]
    model = make(estimator, cv=folds, handle_unknown="error")
    model.fit(p.X, p.y, task=task)
    assert np.isfinite(errors(model)).all()
    assert "alone" in model.tasks_


@every_estimator
def test_too_few_steps_are_said(estimator, p):
    with pytest.warns(ConvergenceWarning):
        make(estimator, max_iter=1, alphas=[0.01]).fit(p.X, p.y, task=p.task)


@every_estimator
@pytest.mark.parametrize(
    "params, match",
    [
        ({"alphas": 0}, "`alphas`"),
        ({"alphas": [-1.0]}, "`alphas`"),
        ({"cv": 1}, "`cv`"),
        ({"scoring": 3}, "`scoring`"),
        ({"activation": "sine"}, "`activation`"),
        ({"hidden_layer_sizes": [(4,), ()]}, "`hidden_layer_sizes`"),
    ],
)
def test_bad_parameters(estimator, p, params, match):
    model = make(estimator).set_params(**params)
    with pytest.raises((ValueError, TypeError), match=match):
        model.fit(p.X, p.y, task=p.task)
    assert not hasattr(model, "tasks_")
