"""Parts of predictions: they sum, their mean is the baseline; one rule for means."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cases import ESTIMATORS, quick, wide_multiclass
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import is_regressor

from mtlearn import (
    MultiTaskAdditiveClassifier,
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedFeatureRegressor,
    TaskMoments,
)

LINEAR = [c for c in ESTIMATORS if hasattr(c, "contributions")]
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def scores(model, X, **task):
    method = model.predict if is_regressor(model) else model.decision_function
    return method(X, **task)


@pytest.mark.parametrize("estimator", LINEAR, ids=lambda c: c.__name__)
def test_they_sum_to_the_prediction(estimator, long_regression, long_classification):
    p = long_regression if is_regressor(estimator()) else long_classification
    df = pd.DataFrame(p.X + 5.0, columns=list("abcde"), index=np.arange(52) + 100)
    df.insert(1, "school", p.task)
    model = quick(estimator, task_column="school").fit(df, p.y, p.weight)
    new = pd.concat([df, df.iloc[:3].assign(school="another")])
    parts = model.contributions(new)
    assert_allclose(parts.sum(axis=1), scores(model, new), **CLOSE)
    assert parts.index.equals(new.index)
    assert parts.columns[:5].tolist() == list("abcde")
    assert parts.columns[-1] == "baseline"
    # a task's baseline is the mean of its function over all training rows
    linear = parts.drop(columns="averaging", errors="ignore")
    for task, rows in linear.groupby(new["school"].to_numpy()):
        all_rows = model.contributions(df.assign(school=task))
        mean = np.average(all_rows[linear.columns], axis=0, weights=p.weight)
        assert_allclose(mean[:-1], 0.0, atol=1e-9)
        assert_allclose(rows["baseline"], mean[-1])


def test_by_hand(long_regression):
    p = long_regression
    model = PerTaskRegressor().fit(p.X, p.y, task=p.task)
    parts = model.contributions(p.X, task=p.task)
    expected = model.coef_[p.codes] * (p.X - p.X.mean(axis=0))
    assert_allclose(parts.iloc[:, :-1], expected, **CLOSE)
    assert parts.columns.tolist() == ["x0", "x1", "x2", "x3", "x4", "baseline"]
    single = PerTaskRegressor().fit(p.X, p.y)
    assert_allclose(single.contributions(p.X).sum(axis=1), single.predict(p.X))


def test_as_shap_has_it(long_regression):
    shap = pytest.importorskip("shap")
    p = long_regression
    model = PerTaskRegressor().fit(p.X, p.y, task=p.task)
    parts = model.contributions(p.X, task=["west"] * len(p.X))
    k = p.tasks.tolist().index("west")
    linear = model.coef_[k], model.intercept_[k]
    found = shap.LinearExplainer(linear, shap.maskers.Independent(p.X, 1000))(p.X)
    assert_allclose(parts.iloc[:, :-1], found.values, **CLOSE)
    assert_allclose(parts["baseline"], found.base_values)


# ---------------------------------------------------------------- classes, columns of y


@pytest.mark.parametrize("estimator", [PerTaskClassifier, MultiTaskBayesianClassifier])
def test_several_classes(estimator, long_multiclass):
    p = long_multiclass
    model = estimator().fit(p.X, p.y, task=p.task)
    parts = model.contributions(p.X, task=p.task)
    assert parts.columns.names == ["class", "part"]
    decision = model.decision_function(p.X, task=p.task)
    for k, label in enumerate(p.classes):
        assert_allclose(parts[label].sum(axis=1), decision[:, k], **CLOSE)
    if estimator is PerTaskClassifier:
        # "west" has no "c": minus infinity, whatever the features are
        west = parts["c"][p.task == "west"]
        assert np.all(west["baseline"] == -np.inf) and np.all(west["x0"] == 0.0)


@pytest.mark.parametrize("weights", ["weight", "weights"])
def test_a_frame_for_each_column(wide_regression, weights):
    p = wide_regression
    Y, weight = pd.DataFrame(p.Y, columns=list("vwxyz")), getattr(p, weights)
    model = SharedFeatureRegressor().fit(p.X, Y, weight)
    frames = model.contributions(p.X)
    assert list(frames) == list("vwxyz")
    each = np.column_stack([frame.sum(axis=1) for frame in frames.values()])
    assert_allclose(each, model.predict(p.X), **CLOSE)
    # every label counts
    seen = ~np.isnan(p.Y) * (weight if weight.ndim == 2 else weight[:, None])
    mean = seen.sum(axis=1) @ p.X / seen.sum()
    assert_allclose(frames["v"]["x2"], model.coef_[0, 2] * (p.X[:, 2] - mean[2]))


@pytest.mark.parametrize("estimator", [PerTaskClassifier, MultiTaskBayesianClassifier])
def test_several_classes_in_columns(estimator, long_multiclass):
    p = wide_multiclass(long_multiclass)
    model = estimator().fit(p.X, p.Y)
    frames, decision = model.contributions(p.X), model.decision_function(p.X)
    for t, own in enumerate(model.task_classes_):
        if len(own) == 2:
            assert_allclose(frames[t].sum(axis=1), decision[t], **CLOSE)
        else:
            each = [frames[t][label].sum(axis=1) for label in own]
            assert_allclose(np.column_stack(each), decision[t], **CLOSE)


def test_two_classes_in_columns(wide_classification):
    p = wide_classification
    model = MultiTaskBayesianClassifier().fit(p.X, p.Y)
    frames = model.contributions(p.X)
    each = np.column_stack([frame.sum(axis=1) for frame in frames.values()])
    assert_allclose(each, model.decision_function(p.X), **CLOSE)
    assert np.any(frames[0]["averaging"] != 0)


# ---------------------------------------------------------------- one rule for means


def test_rows_batches_and_moments_have_the_same(long_regression):
    p = long_regression
    whole = PerTaskRegressor().fit(p.X, p.y, p.weight, task=p.task)
    half = [slice(0, 26), slice(26, None)]
    stream = PerTaskRegressor()
    for rows in half:
        stream.partial_fit(p.X[rows], p.y[rows], p.weight[rows], task=p.task[rows])
    moments = TaskMoments.from_rows(p.X, p.y, p.task, p.weight)
    from_moments = PerTaskRegressor().fit_moments(moments)
    sparse = PerTaskRegressor(solver="newton-cg", tol=1e-14)
    sparse.fit(sp.csr_array(p.X), p.y, p.weight, task=p.task)
    expected = whole.contributions(p.X, task=p.task)
    for other in (stream, from_moments, sparse):
        found = other.contributions(sp.csr_array(p.X), task=p.task)
        assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_weights_of_tasks_and_classes_do_not_count(long_regression):
    p = long_regression
    y = np.where(p.y > np.median(p.y), 1, 0)
    plain = MultiTaskSVM().fit(p.X, y, p.weight, task=p.task)
    for params in ({"class_weight": "balanced"}, {"task_weight": "balanced"}):
        model = MultiTaskSVM(**params).fit(p.X, y, p.weight, task=p.task)
        assert_allclose(model._centre, plain._centre)
    # but a task without weight is absent
    some = p.task != "west"
    model = PerTaskRegressor(task_weight={"west": 0.0})
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels"):
        model.fit(p.X, p.y, task=p.task)
    assert_allclose(model._centre, p.X[some].mean(axis=0))


@pytest.mark.parametrize("kind", [MultiTaskBayesianRidge, MultiTaskAdditiveRegressor])
def test_without_intercepts(kind, long_regression):
    p = long_regression
    model = kind(fit_intercept=False).fit(p.X, p.y, task=p.task)
    parts = model.contributions(p.X, task=["north"] * len(p.X))
    assert_allclose(parts.iloc[:, :-1].mean(), 0.0, atol=1e-9)


# ---------------------------------------------------------------- curves


def curved():
    rng = np.random.default_rng(0)
    X, task = rng.uniform(size=(240, 3)), np.repeat(np.arange(6), 40)
    z = 4 * np.sin(6 * X[:, 0]) + 3 * (X[:, 1] - 0.5) * (X[:, 2] - 0.5) + task
    return X, z + 0.2 * rng.normal(size=240), task


def test_a_feature_has_its_line_and_its_curves():
    X, y, task = curved()
    model = MultiTaskAdditiveRegressor(interactions=False).fit(X, y, task=task)
    parts = model.contributions(X, task=task)
    assert parts.columns.tolist() == ["x0", "x1", "x2", "baseline"]
    curves = model.curve(0, X[:40, 0]).tasks[0]
    found = parts["x0"].to_numpy()[:40]
    assert np.ptp(found) > 4
    assert_allclose(found - found[0], curves - curves[0], **CLOSE)


def test_products_are_the_pairs():
    X, y, task = curved()
    pairs = [("x1", "x2")]
    df = pd.DataFrame(X, columns=["x0", "x1", "x2"])
    model = MultiTaskAdditiveRegressor(interactions=pairs).fit(df, y, task=task)
    parts = model.contributions(df, task=task)
    assert parts.columns.tolist() == ["x0", "x1", "x2", "x1:x2", "baseline"]
    assert np.ptp(parts["x1:x2"]) > 0.5
    assert_allclose(parts.sum(axis=1), model.predict(df, task=task), **CLOSE)


def test_levels_and_classes():
    X, y, task = curved()
    colour = np.array(["red", "green", "blue"])[np.arange(240) % 3]
    df = pd.DataFrame(X, columns=["x0", "x1", "x2"]).assign(colour=colour)
    z = y + 2.0 * (colour == "red")
    label = np.digitize(z, np.quantile(z, [0.3, 0.7]))
    model = MultiTaskAdditiveClassifier(interactions=False).fit(df, label, task=task)
    parts = model.contributions(df, task=task)
    decision = model.decision_function(df, task=task)
    for k in range(3):
        assert_allclose(parts[k].sum(axis=1), decision[:, k], **CLOSE)
    assert parts[2]["colour"].nunique() == 3


# ---------------------------------------------------------------- what is refused


def test_what_cannot_be(long_regression, monkeypatch):
    p = long_regression
    model = PerTaskRegressor(handle_unknown="error").fit(p.X, p.y, task=p.task)
    with pytest.raises(ValueError, match="tasks that fit never saw"):
        model.contributions(p.X[:1], task=["another"])
    with pytest.raises(ValueError, match="`task` is missing"):
        model.contributions(p.X)
    X = p.X.copy()
    model.contributions(X, task=p.task)
    assert_array_equal(X, p.X)
    monkeypatch.setattr("mtlearn.fitting.coefficients._MOST", 10)
    with pytest.raises(ValueError, match="Parts of predictions are dense"):
        model.contributions(sp.csr_array(p.X), task=p.task)


def test_dask_collections(long_regression):
    da = pytest.importorskip("dask.array")
    p = long_regression
    model = PerTaskRegressor().fit(p.X, p.y, task=p.task)
    with pytest.raises(TypeError, match="must be in one place for contributions"):
        model.contributions(da.from_array(p.X), task=da.from_array(p.task))
