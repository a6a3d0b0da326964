"""Coefficients as frames: names, classes, the shared model."""

import numpy as np
import pandas as pd
import pytest
from cases import ESTIMATORS, quick
from numpy.testing import assert_array_equal
from sklearn.base import is_regressor
from sklearn.exceptions import NotFittedError

from mtlearn import (
    MultiTaskAdditiveRegressor,
    MultiTaskSVM,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedMappingRegressor,
)

LINEAR = [c for c in ESTIMATORS if hasattr(c, "coef_frame")]
every_linear = pytest.mark.parametrize("estimator", LINEAR, ids=lambda c: c.__name__)


def test_which_have_it():
    without = {c.__name__ for c in ESTIMATORS} - {c.__name__ for c in LINEAR}
    names = {c.__name__ for c in ESTIMATORS}
    assert without == {name for name in names if name.startswith("SharedMapping")}


@every_linear
def test_a_row_for_each_task(estimator, long_regression, long_classification):
    p = long_regression if is_regressor(estimator()) else long_classification
    df = pd.DataFrame(p.X, columns=list("abcde"))
    df.insert(1, "school", p.task)
    model = quick(estimator, task_column="school").fit(df, p.y)
    frame = model.coef_frame()
    assert frame.index.name == "school" and frame.index.tolist() == p.tasks.tolist()
    assert frame.columns[-1] == "intercept"
    assert_array_equal(frame.iloc[:, :-1], model.coef_)
    assert_array_equal(frame["intercept"], model.intercept_)
    terms = getattr(model, "term_names_", list("abcde"))
    assert frame.columns[:-1].tolist() == list(terms)
    both = model.coef_frame(shared=True)
    assert_array_equal(both.iloc[:-1], frame)
    assert_array_equal(both.loc["shared"].iloc[:-1], model.shared_coef_)
    assert both.loc["shared", "intercept"] == model.shared_intercept_


def test_features_without_names(long_regression):
    p = long_regression
    frame = PerTaskRegressor().fit(p.X, p.y, task=p.codes).coef_frame()
    assert frame.columns.tolist() == ["x0", "x1", "x2", "x3", "x4", "intercept"]
    assert frame.index.name == "task" and frame.index.dtype.kind == "i"
    # the column of ids is at a position, and no feature
    X = np.column_stack([p.codes, p.X])
    frame = PerTaskRegressor(task_column=0).fit(X, p.y).coef_frame(shared="new")
    assert frame.shape == (6, 6) and frame.index[-1] == "new"
    assert frame.index.name == "task"


def test_the_columns_of_y(wide_complete):
    Y = pd.DataFrame(wide_complete.Y, columns=list("vwxyz"))
    frame = PerTaskRegressor().fit(wide_complete.X, Y).coef_frame()
    assert frame.index.tolist() == list("vwxyz")


def test_a_row_for_each_task_and_class(long_multiclass):
    p = long_multiclass
    model = PerTaskClassifier().fit(p.X, p.y, task=p.task)
    frame = model.coef_frame(shared=True)
    assert frame.index.names == ["task", "class"]
    one = frame.loc[("north", "c")]
    k = p.tasks.tolist().index("north")
    assert_array_equal(one.iloc[:-1], model.coef_[k, 2])
    assert one["intercept"] == model.intercept_[k, 2]
    assert_array_equal(frame.loc["shared"].iloc[:, :-1], model.shared_coef_)


def test_names_of_terms(long_regression):
    p = long_regression
    df = pd.DataFrame(p.X[:, :2], columns=["a", "b"])
    model = MultiTaskAdditiveRegressor(n_knots=2, interactions=[("a", "b")])
    names = model.fit(df, p.y, task=p.task).coef_frame().columns
    assert {"a", "a (curve 1)", "b", "a:b"} < set(names)


def test_what_has_no_coefficients(long_regression, long_classification):
    p, q = long_regression, long_classification
    machine = MultiTaskSVM(kernel="rbf").fit(q.X, q.y, task=q.task)
    for method in (machine.coef_frame, lambda: machine.contributions(q.X, task=q.task)):
        with pytest.raises(AttributeError, match="only available with kernel='linear'"):
            method()
    mapping = SharedMappingRegressor((4,), random_state=0).fit(p.X, p.y, task=p.task)
    assert not hasattr(mapping, "coef_frame") and not hasattr(mapping, "contributions")


def test_what_is_refused(long_regression, monkeypatch):
    p = long_regression
    with pytest.raises(NotFittedError):
        PerTaskRegressor().coef_frame()
    task = np.where(p.task == "west", "shared", p.task)
    model = PerTaskRegressor().fit(p.X, p.y, task=task)
    with pytest.raises(ValueError, match="a task is called 'shared', too"):
        model.coef_frame(shared=True)
    assert model.coef_frame(shared="all").index[-1] == "all"
    with pytest.raises(TypeError, match="`shared` must be a bool or a name, got 3"):
        model.coef_frame(shared=3)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="coef_frame needs pandas"):
        model.coef_frame()
    with pytest.raises(ImportError, match="contributions needs pandas"):
        model.contributions(p.X, task=task)
