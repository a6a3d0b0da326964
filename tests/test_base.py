"""What all estimators share: ids in, shapes out, unknown tasks, scores, tools."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from cases import learnt
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from mtlearn import (
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedMappingClassifier,
    SharedMappingRegressor,
    SharedMean,
    TaskGraph,
)
from mtlearn.compose import features_only
from mtlearn.metrics import TaskScorer
from mtlearn.model_selection import TaskStratifiedKFold

LINEAR_REGRESSORS = (PerTaskRegressor, MultiTaskSVR, SharedFeatureRegressor)
LINEAR_CLASSIFIERS = (PerTaskClassifier, MultiTaskSVM, SharedFeatureClassifier)
LINEAR = LINEAR_REGRESSORS + LINEAR_CLASSIFIERS
# small, and the same every time
SMALL = {"hidden_layer_sizes": (4,), "alpha": 0.1, "random_state": 0}
REGRESSORS = (*LINEAR_REGRESSORS, partial(SharedMappingRegressor, **SMALL))
CLASSIFIERS = (*LINEAR_CLASSIFIERS, partial(SharedMappingClassifier, **SMALL))
ESTIMATORS = REGRESSORS + CLASSIFIERS


def name_of(estimator):
    return getattr(estimator, "func", estimator).__name__


def with_each(estimators):
    return pytest.mark.parametrize("estimator", estimators, ids=name_of)


every_estimator = with_each(ESTIMATORS)
every_linear = with_each(LINEAR)
every_classifier = with_each(CLASSIFIERS)
every_regressor = with_each(REGRESSORS)
every_linear_regressor = with_each(LINEAR_REGRESSORS)


@pytest.fixture
def p(request, long_regression, long_classification):
    """The long problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return long_regression if estimator in REGRESSORS else long_classification


@pytest.fixture
def wide(request, wide_regression, wide_classification):
    """The wide problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return wide_regression if estimator in REGRESSORS else wide_classification


def frame(p, column="school"):
    """Features and ids in one table."""
    df = pd.DataFrame(p.X, columns=list("abcde"))
    df.insert(2, column, p.task)
    return df


# ---------------------------------------------------------------- attributes


@every_linear
def test_attributes_of_a_long_fit(estimator, p):
    model = estimator(task_column="school").fit(frame(p), p.y)
    assert_array_equal(model.tasks_, p.tasks)
    assert model.coef_.shape == (5, 5) and model.intercept_.shape == (5,)
    assert model.n_features_in_ == 6
    assert model.feature_names_in_.tolist() == ["a", "b", "school", "c", "d", "e"]
    # "south" has one class: its intercept would run away under a log-loss
    own = (p.tasks != "south") | (not hasattr(model, "predict_proba"))
    assert_allclose(model.shared_coef_, model.coef_[own].mean(axis=0))
    assert_allclose(model.shared_intercept_, model.intercept_[own].mean())
    assert np.ndim(model.shared_intercept_) == 0
    assert isinstance(model.n_iter_, int) and model.n_iter_ >= 1
    assert 0 <= model.optimality_ <= model._tolerance()


@every_linear
def test_attributes_of_a_wide_fit(estimator, wide):
    model = estimator().fit(wide.X, wide.Y)
    assert_array_equal(model.tasks_, np.arange(5))
    assert model.coef_.shape == (5, 6) and model.intercept_.shape == (5,)
    assert model.n_features_in_ == 6
    assert not hasattr(model, "feature_names_in_")
    names = list("vwxyz")
    model.fit(wide.X, pd.DataFrame(wide.Y, columns=names))
    assert model.tasks_.tolist() == names


@every_estimator
def test_without_ids_there_is_a_single_task(estimator, p):
    model = estimator().fit(p.X, p.y)
    assert model.tasks_.tolist() == [0]
    if estimator in LINEAR:
        assert model.coef_.shape == (1, 5)
    assert model.predict(p.X).shape == (len(p.y),)
    same = estimator().fit(p.X, p.y, task=np.full(len(p.y), "all"))
    assert_allclose(learnt(same), learnt(model))


def test_attributes_of_three_classes(long_multiclass):
    p = long_multiclass
    for model in (PerTaskClassifier(), MultiTaskSVM()):
        model.fit(p.X, p.y, task=p.task)
        assert model.coef_.shape == (5, 3, 5) and model.intercept_.shape == (5, 3)
        assert model.shared_coef_.shape == (3, 5)
        assert model.shared_intercept_.shape == (3,)
        assert_array_equal(model.classes_, p.classes)
        own = [classes.tolist() for classes in model.task_classes_]
        assert own == [["a", "b", "c"], ["a", "c"], ["a", "b", "c"], ["b"], ["a", "b"]]


# ---------------------------------------------------------------- ids in fit, predict


@every_estimator
def test_column_and_keyword_are_the_same(estimator, p):
    by_name = estimator(task_column="school").fit(frame(p), p.y)
    by_place = estimator(task_column=2).fit(frame(p), p.y)
    negative = estimator(task_column=-4).fit(frame(p), p.y)
    keyword = estimator().fit(p.X, p.y, task=p.task)
    for model in (by_name, by_place, negative):
        assert_allclose(learnt(model), learnt(keyword), rtol=1e-12)
        fitted = model.predict(frame(p))
        assert_array_equal(fitted, keyword.predict(p.X, task=p.task))


@every_estimator
def test_rows_come_back_in_the_order_of_the_caller(estimator, p):
    model = estimator().fit(p.X, p.y, task=p.task)
    fitted = model.predict(p.X, task=p.task)
    one_by_one = [
        model.predict(x[None], task=[name])[0] for x, name in zip(p.X, p.task)
    ]
    if estimator in REGRESSORS and estimator not in LINEAR:
        # one row at a time BLAS rounds otherwise
        assert_allclose(fitted, one_by_one, atol=1e-10)
    else:
        assert_array_equal(fitted, one_by_one)
    order = np.random.default_rng(0).permutation(len(p.y))
    assert_array_equal(model.predict(p.X[order], task=p.task[order]), fitted[order])


CONTAINERS = {
    "pandas": lambda X, task: frame_of(X, task),
    "polars": lambda X, task: pl.from_pandas(frame_of(X, task)),
    "pyarrow": lambda X, task: pa.table(frame_of(X, task)),
    "categorical": lambda X, task: frame_of(X, pd.Categorical(task)),
    "object array": lambda X, task: frame_of(X, task).to_numpy(dtype=object),
    "list": lambda X, task: frame_of(X, task).to_numpy(dtype=object).tolist(),
    "odd index": lambda X, task: frame_of(X, task).set_index(np.arange(len(X)) + 9),
}


def frame_of(X, task):
    df = pd.DataFrame(X, columns=list("abcde"))
    df.insert(0, "school", task)
    return df


@pytest.mark.parametrize("container", CONTAINERS)
@every_estimator
def test_containers_with_a_column_of_ids(estimator, p, container):
    X = CONTAINERS[container](p.X, p.task)
    column = 0 if container in ("object array", "list") else "school"
    model = estimator(task_column=column).fit(X, p.y)
    keyword = estimator().fit(p.X, p.y, task=p.task)
    assert model.tasks_.tolist() == keyword.tasks_.tolist()
    assert_allclose(learnt(model), learnt(keyword), rtol=1e-12)
    fitted = keyword.predict(p.X, task=p.task)
    assert_array_equal(model.predict(X), fitted)
    assert model.score(X, p.y) == keyword.score(p.X, p.y, task=p.task)


@pytest.mark.parametrize(
    "build", [list, np.array, pd.Series, pd.Categorical, pl.Series, pa.array]
)
@every_estimator
def test_containers_of_features_labels_and_ids(estimator, p, build):
    keyword = estimator().fit(p.X, p.y, p.weight, task=p.task)
    tables = {
        list: lambda X: X.tolist(),
        np.array: np.asfortranarray,
        pd.Series: lambda X: pd.DataFrame(X, columns=list("abcde")),
        pd.Categorical: lambda X: X.astype(np.float64),
        pl.Series: lambda X: pl.DataFrame(X, schema=list("abcde")),
        pa.array: lambda X: pa.table({c: X[:, j] for j, c in enumerate("abcde")}),
    }
    labels = np.array if build is pd.Categorical else build
    X = tables[build](p.X)
    args = labels(p.y.tolist()), labels(p.weight.tolist())
    model = estimator().fit(X, *args, task=build(p.task.tolist()))
    assert_allclose(learnt(model), learnt(keyword), rtol=1e-12)
    assert_array_equal(
        model.predict(X, task=build(p.task.tolist())),
        keyword.predict(p.X, task=p.task),
    )


@pytest.mark.parametrize("build", [sp.csr_array, sp.csc_matrix, sp.coo_array])
@every_estimator
def test_sparse_features_with_a_column_of_codes(estimator, p, build):
    X = build(np.column_stack([p.codes, p.X]))
    model = estimator(task_column=0).fit(X, p.y)
    assert_array_equal(model.tasks_, np.arange(5))
    keyword = estimator().fit(build(p.X), p.y, task=p.task)
    assert_allclose(learnt(keyword), learnt(model), rtol=1e-10)
    if estimator not in LINEAR:
        # not centred, from another start, at another minimum
        return
    dense = estimator().fit(p.X, p.y, task=p.codes)
    assert_allclose(model.coef_, dense.coef_, rtol=1e-4, atol=1e-6)
    fitted = dense.predict(p.X, task=p.codes)
    if estimator in REGRESSORS:
        assert_allclose(model.predict(X), fitted, atol=1e-4)
    else:
        assert_array_equal(model.predict(X), fitted)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64, object, "category"]
)
def test_integer_ids_of_any_dtype(long_regression, dtype):
    p = long_regression
    ids = pd.Series(7 * p.codes - 3 if dtype is not np.uint16 else p.codes + 5)
    model = PerTaskRegressor().fit(p.X, p.y, task=ids.astype(dtype))
    expected = PerTaskRegressor().fit(p.X, p.y, task=p.codes)
    assert_array_equal(model.tasks_, np.unique(ids))
    assert_array_equal(model.coef_, expected.coef_)
    # what fit saw as one kind of number may come back as another
    for other in (np.int64, np.float64, object):
        assert_array_equal(
            model.predict(p.X, task=ids.astype(other)),
            expected.predict(p.X, task=p.codes),
        )


@every_estimator
def test_float32_and_integer_features(estimator, p):
    X = np.rint(10 * p.X)
    model = estimator().fit(X, p.y, task=p.task)
    for dtype in (np.float32, np.int64, np.int8, np.int16):
        other = estimator().fit(X.astype(dtype), p.y, task=p.task)
        assert_allclose(learnt(other), learnt(model), rtol=1e-12)


def as_lists(Y, hole=None):
    """Nested lists with `hole` where a label is missing."""
    return [[hole if v is None or v != v else v for v in row] for row in Y.tolist()]


TABLES = {
    "list with None": as_lists,
    "list with NaN": lambda Y: as_lists(Y, np.nan),
    "object array": lambda Y: np.array(as_lists(Y), dtype=object),
    "pandas": pd.DataFrame,
    "pandas with NA": lambda Y: pd.DataFrame(as_lists(Y)).convert_dtypes(),
    "polars": lambda Y: pl.DataFrame(as_lists(Y), schema=list("vwxyz"), orient="row"),
    "pyarrow": lambda Y: pa.table(
        {name: [row[j] for row in as_lists(Y)] for j, name in enumerate("vwxyz")}
    ),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["numbers", "whole numbers", "strings"])
def test_tables_of_labels_in_any_container(
    wide_regression, wide_classification, table, kind
):
    estimator = PerTaskRegressor if kind == "numbers" else PerTaskClassifier
    p = wide_regression if kind == "numbers" else wide_classification
    expected = estimator().fit(p.X, p.Y)
    Y = p.Y
    if kind == "strings":
        Y = np.where(np.isnan(Y), None, np.where(Y == 1, "yes", "no")).astype(object)
    elif kind == "whole numbers" and table not in ("pandas", "list with NaN"):
        whole = [[None if v != v else int(v) for v in row] for row in Y.tolist()]
        Y = np.array(whole, dtype=object)
    model = estimator().fit(p.X, TABLES[table](Y))
    assert_allclose(model.coef_, expected.coef_, rtol=1e-12)
    names = list("vwxyz") if table in ("polars", "pyarrow") else list(range(5))
    assert model.tasks_.tolist() == names
    assert_allclose(model.score(p.X, TABLES[table](Y)), expected.score(p.X, p.Y))


@pytest.mark.parametrize(
    "build",
    [
        pd.Series,
        lambda y: pd.Series(y, index=range(9, 9 + len(y))),
        pd.Categorical,
        lambda y: pd.Series(y).convert_dtypes(),
        lambda y: pl.Series(y.tolist()),
        lambda y: pl.Series(y.tolist(), dtype=pl.Categorical),
        lambda y: pa.array(y.tolist()),
        lambda y: pa.array(y.tolist()).dictionary_encode(),
        lambda y: y.astype(object),
        lambda y: y.tolist(),
    ],
)
def test_strings_are_labels_and_ids_in_any_container(long_classification, build):
    p = long_classification
    expected = MultiTaskSVM().fit(p.X, p.y, task=p.task)
    model = MultiTaskSVM().fit(p.X, build(p.y), task=build(p.task))
    assert_array_equal(model.coef_, expected.coef_)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.score(p.X, build(p.y), task=build(p.task)) == expected.score(
        p.X, p.y, task=p.task
    )


@pytest.mark.parametrize(
    "build", [pd.DataFrame, pl.DataFrame, np.asfortranarray, lambda w: w.tolist()]
)
def test_weights_of_labels_in_any_container(wide_regression, build):
    p = wide_regression
    expected = PerTaskRegressor().fit(p.X, p.Y, p.weights)
    model = PerTaskRegressor().fit(p.X, p.Y, build(p.weights))
    assert_array_equal(model.coef_, expected.coef_)


# ---------------------------------------------------------------- unknown tasks


@every_linear
def test_an_unseen_task_gets_the_plain_mean(estimator, p):
    model = estimator().fit(p.X, p.y, task=p.task)
    ids = np.where(p.task == "east", "nowhere", p.task)
    fitted = model.predict(p.X, task=ids)
    known = ids == p.task
    assert_array_equal(fitted[known], model.predict(p.X, task=p.task)[known])
    # "south" has one class: its intercept would run away under a log-loss
    own = (p.tasks != "south") | (not hasattr(model, "predict_proba"))
    z = p.X[~known] @ model.coef_[own].mean(axis=0) + model.intercept_[own].mean()
    if estimator in REGRESSORS:
        assert_allclose(fitted[~known], z, atol=1e-12)
    else:
        assert_array_equal(fitted[~known], np.where(z > 0, "yes", "no"))
        assert_allclose(model.decision_function(p.X, task=ids)[~known], z, atol=1e-12)


def test_an_unseen_task_may_have_every_class(long_multiclass):
    p = long_multiclass
    model = PerTaskClassifier().fit(p.X, p.y, task=p.task)
    proba = model.predict_proba(p.X, task=np.full(len(p.y), "nowhere"))
    assert proba.min() > 0
    # of each class, the mean over the tasks that have it and another one
    has = np.array([np.isin(p.classes, own) for own in model.task_classes_])
    has &= has.sum(axis=1, keepdims=True) > 1
    coef = [model.coef_[has[:, k], k].mean(axis=0) for k in range(3)]
    level = [model.intercept_[has[:, k], k].mean() for k in range(3)]
    z = p.X @ np.array(coef).T + level
    e = np.exp(z - z.max(axis=1, keepdims=True))
    assert_allclose(proba, e / e.sum(axis=1, keepdims=True), atol=1e-12)


@every_estimator
def test_unseen_tasks_may_be_refused(estimator, p):
    model = estimator(handle_unknown="error").fit(p.X, p.y, task=p.task)
    model.predict(p.X, task=p.task)
    ids = np.where(p.task == "east", "nowhere", p.task)
    words = "18 rows belong to tasks that fit never saw: \\['nowhere'\\]"
    for call in (
        lambda: model.predict(p.X, task=ids),
        lambda: model.score(p.X, p.y, task=ids),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# ---------------------------------------------------------------- ids that fail


@every_estimator
def test_predict_without_the_ids_of_fit_raises(estimator, p):
    model = estimator().fit(p.X, p.y, task=p.task)
    methods = ["predict", "decision_function", "predict_proba", "predict_log_proba"]
    for name in methods:
        if hasattr(model, name):
            with pytest.raises(ValueError, match="`task` is missing"):
                getattr(model, name)(p.X)
    with pytest.raises(ValueError, match="`task` is missing"):
        model.score(p.X, p.y)


@every_estimator
def test_ids_by_both_ways_raise(estimator, p):
    model = estimator(task_column="school")
    with pytest.raises(ValueError, match="came twice.*`task_column`='school'"):
        model.fit(frame(p), p.y, task=p.task)
    model.fit(frame(p), p.y)
    with pytest.raises(ValueError, match="came twice"):
        model.predict(frame(p), task=p.task)


@every_estimator
def test_ids_for_a_model_without_raise(estimator, p, wide):
    model = estimator().fit(p.X, p.y)
    with pytest.raises(ValueError, match="fitted without task ids on a single task"):
        model.predict(p.X, task=p.task)
    model.fit(wide.X, wide.Y)
    with pytest.raises(ValueError, match="every column of its `y` is a task"):
        model.predict(wide.X, task=np.zeros(len(wide.X), dtype=int))


def test_a_scaler_over_the_ids_is_refused(long_regression):
    p = long_regression
    X = np.column_stack([p.codes, p.X])
    model = make_pipeline(StandardScaler(), PerTaskRegressor(task_column=0))
    with pytest.raises(ValueError, match="not integers.*scaler"):
        model.fit(X, p.y)
    with pytest.raises(ValueError, match="not integers.*scaler"):
        PerTaskRegressor().fit(p.X, p.y, task=p.codes + 0.5)


@every_estimator
def test_feature_names_must_match(estimator, p):
    df = frame(p)
    model = estimator(task_column="school").fit(df, p.y)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(df[df.columns[::-1]])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(df.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(df.drop(columns="a"))
    with pytest.raises(ValueError, match="5 features.*expecting 6"):
        estimator(task_column=2).fit(df.to_numpy(), p.y).predict(df.to_numpy()[:, :5])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator(task_column=2).fit(df, p.y).predict(df.to_numpy())


# ---------------------------------------------------------------- labels


@every_estimator
def test_rows_of_weight_zero_are_absent(estimator, p):
    weight = p.weight.copy()
    weight[(p.task == "west") | (np.arange(len(p.y)) % 5 == 0)] = 0
    kept = weight > 0
    model = estimator(task_weight="balanced")
    model.fit(p.X, p.y, weight, task=p.task)
    absent = estimator(task_weight="balanced")
    absent.fit(p.X[kept], p.y[kept], weight[kept], task=p.task[kept])
    assert model.tasks_.tolist() == ["east", "mid", "north", "south"]
    assert_array_equal(model.tasks_, absent.tasks_)
    assert_array_equal(learnt(model), learnt(absent))


def test_classes_of_weight_zero_are_absent(long_multiclass):
    p = long_multiclass
    for model in (PerTaskClassifier(), MultiTaskSVM()):
        model.fit(p.X, p.y, (p.y != "c").astype(float), task=p.task)
        assert model.classes_.tolist() == ["a", "b"]
        assert model.coef_.shape == (5, 5)


@every_estimator
def test_a_weight_of_zero_hides_nonsense(estimator, p):
    # the label of a row that does not count may be anything finite
    y = p.y.copy()
    weight = np.ones(len(y))
    weight[:3] = 0
    y[:3] = "what" if y.dtype.kind == "U" else 1e300
    model = estimator().fit(p.X, y, weight, task=p.task)
    expected = estimator().fit(p.X, p.y, weight, task=p.task)
    assert_array_equal(learnt(model), learnt(expected))


@every_estimator
def test_a_wide_weight_of_zero_is_a_missing_label(estimator, wide):
    weight = wide.weights.copy()
    weight[::3, 1] = 0.0
    Y = np.where(weight > 0, wide.Y, np.nan)
    model = estimator(task_weight="balanced").fit(wide.X, wide.Y, weight)
    expected = estimator(task_weight="balanced").fit(wide.X, Y, weight)
    assert_allclose(learnt(model), learnt(expected), rtol=1e-12)


@every_linear
def test_a_task_without_labels_warns_and_gets_the_shared_model(estimator, wide):
    Y = wide.Y.copy()
    Y[:, 2] = np.nan
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels.*shared.*2"):
        model = estimator().fit(wide.X, Y)
    others = [0, 1, 3, 4]
    rest = estimator().fit(wide.X, Y[:, others])
    assert_allclose(model.coef_[others], rest.coef_, rtol=1e-12)
    assert_allclose(model.coef_[2], rest.shared_coef_)
    assert_allclose(model.intercept_[2], rest.shared_intercept_)
    assert_allclose(model.shared_coef_, rest.shared_coef_)
    assert model.predict(wide.X).shape == Y.shape


@every_linear
def test_a_task_of_weight_zero_gets_the_shared_model(estimator, p):
    model = estimator(task_weight={"west": 0.0})
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels.*'west'"):
        model.fit(p.X, p.y, task=p.task)
    rows = p.task != "west"
    rest = estimator().fit(p.X[rows], p.y[rows], task=p.task[rows])
    assert model.tasks_.tolist() == p.tasks.tolist()
    assert_allclose(model.coef_[:4], rest.coef_, rtol=1e-9)
    assert_allclose(model.coef_[4], rest.shared_coef_, rtol=1e-9)


def test_a_column_vector_of_labels_with_ids_warns(long_regression):
    p = long_regression
    with pytest.warns(Warning, match="column-vector y"):
        model = PerTaskRegressor().fit(p.X, p.y[:, None], task=p.task)
    assert model.predict(p.X, task=p.task).ndim == 1


@every_estimator
def test_one_column_of_labels_is_one_task_in_two_dimensions(estimator, p):
    model = estimator().fit(p.X, np.c_[p.y])
    assert model.predict(p.X).shape == (len(p.y), 1)
    assert_allclose(learnt(model), learnt(estimator().fit(p.X, p.y)), rtol=1e-9)


# ---------------------------------------------------------------- outputs


@every_linear_regressor
def test_outputs_of_regressors(estimator, p, wide):
    model = estimator().fit(p.X, p.y, task=p.task)
    assert model.predict(p.X, task=p.task).shape == (len(p.y),)
    model.fit(wide.X, wide.Y)
    fitted = model.predict(wide.X)
    assert fitted.shape == wide.Y.shape
    assert_allclose(fitted, wide.X @ model.coef_.T + model.intercept_)


@every_classifier
@pytest.mark.parametrize("single", [True, False])
def test_outputs_of_two_classes(estimator, long_classification, single):
    p = long_classification
    ids = {} if single else {"task": p.task}
    model = estimator().fit(p.X, p.y, **ids)
    assert model.classes_.tolist() == ["no", "yes"]
    z = model.decision_function(p.X, **ids)
    assert z.shape == (len(p.y),)
    fitted = model.predict(p.X, **ids)
    assert_array_equal(fitted, model.classes_[(z > 0).astype(int)])
    if estimator is not MultiTaskSVM:
        proba = model.predict_proba(p.X, **ids)
        assert proba.shape == (len(p.y), 2)
        assert_allclose(proba[:, 1], 1 / (1 + np.exp(-z)))
        assert_allclose(proba.sum(axis=1), 1)
        assert_allclose(model.predict_log_proba(p.X, **ids), np.log(proba))
    else:
        assert not hasattr(model, "predict_proba")


@every_classifier
@pytest.mark.parametrize("single", [True, False])
def test_outputs_of_three_classes(estimator, long_multiclass, single):
    p = long_multiclass
    ids = {} if single else {"task": p.task}
    model = estimator().fit(p.X, p.y, **ids)
    assert_array_equal(model.classes_, p.classes)
    z = model.decision_function(p.X, **ids)
    assert z.shape == (len(p.y), 3)
    assert_array_equal(model.predict(p.X, **ids), model.classes_[z.argmax(axis=1)])
    absent = np.zeros(z.shape, dtype=bool)
    if not single:
        absent[p.task == "mid", 1] = True
        absent[p.task == "south"] = [True, False, True]
        absent[p.task == "west", 2] = True
    assert_array_equal(np.isneginf(z), absent)
    if estimator is not MultiTaskSVM:
        proba = model.predict_proba(p.X, **ids)
        assert_array_equal(proba == 0, absent)
        assert_allclose(proba.sum(axis=1), 1)
        assert_array_equal(np.isneginf(model.predict_log_proba(p.X, **ids)), absent)


TWO_LABELS = {
    "0 and 1": (0.0, 1.0),
    "-1 and 1": (-1.0, 1.0),
    "strings": ("no", "yes"),
    "3 and 7": (3.0, 7.0),
}


@every_classifier
@pytest.mark.parametrize("labels", TWO_LABELS)
@pytest.mark.parametrize("holes", [False, True])
def test_outputs_of_tables_of_two_labels(estimator, wide_classification, labels, holes):
    p = wide_classification
    Y = np.array(TWO_LABELS[labels], dtype=object)[np.nan_to_num(p.Y).astype(int)]
    if holes:
        Y[np.isnan(p.Y)] = np.nan if labels != "strings" else None
    if labels != "strings":
        Y = Y.astype(float)
    elif not holes:
        Y = Y.astype(str)
    model = estimator().fit(p.X, Y)
    assert_array_equal(model.classes_, np.arange(5))
    z = model.decision_function(p.X)
    assert isinstance(z, np.ndarray) and z.shape == Y.shape
    fitted = model.predict(p.X)
    assert fitted.shape == Y.shape
    assert_array_equal(fitted == TWO_LABELS[labels][1], z > 0)
    assert set(fitted.ravel().tolist()) <= set(TWO_LABELS[labels])
    if estimator is not MultiTaskSVM:
        proba = model.predict_proba(p.X)
        assert isinstance(proba, np.ndarray) and proba.shape == Y.shape
        assert_allclose(proba, 1 / (1 + np.exp(-z)))
    numbers = estimator().fit(p.X, p.Y if holes else np.nan_to_num(p.Y))
    assert_allclose(learnt(model), learnt(numbers), rtol=1e-12)
    assert 0.5 < model.score(p.X, Y) <= 1


@every_classifier
@pytest.mark.parametrize("kind", ["multiclass", "different labels"])
def test_outputs_of_tables_of_many_labels(estimator, kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    if kind == "multiclass":
        Y = rng.integers(3, size=(40, 2)).astype(float)
        own = [[0, 1, 2], [0, 1, 2]]
    else:
        Y = np.column_stack([rng.integers(2, size=40), rng.integers(5, 8, size=40)])
        Y = Y.astype(float)
        own = [[0, 1], [5, 6, 7]]
    Y[:5, 0] = np.nan
    model = estimator().fit(X, Y)
    for name in ("classes_", "task_classes_"):
        assert [c.tolist() for c in getattr(model, name)] == own
    z = model.decision_function(X)
    assert isinstance(z, list)
    shapes = [(40,) if len(c) == 2 else (40, len(c)) for c in own]
    assert [one.shape for one in z] == shapes
    fitted = model.predict(X)
    assert fitted.shape == Y.shape
    for t, classes in enumerate(own):
        place = (z[t] > 0).astype(int) if len(classes) == 2 else z[t].argmax(axis=1)
        assert_array_equal(fitted[:, t], np.array(classes)[place])
    if estimator is not MultiTaskSVM:
        proba = model.predict_proba(X)
        assert isinstance(proba, list)
        assert [one.shape for one in proba] == [(40, len(c)) for c in own]
        for one in proba:
            assert_allclose(one.sum(axis=1), 1)
        assert_allclose(model.predict_log_proba(X)[1], np.log(proba[1]))


def test_labels_come_back_as_they_came(long_classification):
    p = long_classification
    for labels in (
        np.array([True, False]),
        np.array([1, 0]),
        np.array([2.0, 5.0]),
        np.array(["b", "a"]),
        np.array(["b", "a"], dtype=object),
    ):
        y = labels[(p.sign > 0).astype(int)]
        model = MultiTaskSVM().fit(p.X, y, task=p.task)
        assert_array_equal(model.classes_, np.unique(y))
        assert model.predict(p.X, task=p.task).dtype == np.unique(y).dtype
    y = pd.Categorical(p.y)
    model = MultiTaskSVM().fit(p.X, y, task=p.task)
    assert model.classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize(
    "estimator, relation",
    [
        (estimator, relation)
        for estimator in ESTIMATORS
        for relation in (None, "shared_mean", "graph")
        if relation is None or hasattr(estimator(), "relation")
    ],
)
def test_columns_keep_their_order(estimator, wide, adjacency, relation):
    names = ["v", "u", "z", "x", "y"]
    Y = pd.DataFrame(wide.Y, columns=names)
    named, plain = estimator(), estimator()
    if relation == "graph":
        named.set_params(relation=TaskGraph(pd.DataFrame(adjacency, names, names)))
        plain.set_params(relation=TaskGraph(adjacency))
    if relation == "shared_mean":
        named.set_params(relation=relation)
        plain.set_params(relation=relation)
    model, expected = named.fit(wide.X, Y), plain.fit(wide.X, wide.Y)
    assert model.tasks_.tolist() == names
    assert_allclose(learnt(model), learnt(expected), atol=1e-9)
    assert_allclose(model.predict(wide.X), expected.predict(wide.X), atol=1e-9)
    assert_allclose(model.score(wide.X, Y), expected.score(wide.X, wide.Y))
    if hasattr(model, "predict_proba"):
        proba = model.predict_proba(wide.X)
        assert_allclose(proba, expected.predict_proba(wide.X), atol=1e-9)


# ---------------------------------------------------------------- scores


@every_regressor
def test_the_score_of_regressors_is_r2(estimator, p, wide):
    model = estimator().fit(p.X, p.y, task=p.task)
    fitted = model.predict(p.X, task=p.task)
    for weight in (None, p.weight):
        expected = r2_score(p.y, fitted, sample_weight=weight)
        assert model.score(p.X, p.y, weight, task=p.task) == expected
    model.fit(wide.X, wide.Y)
    fitted = model.predict(wide.X)
    expected = []
    for t in range(5):
        seen = ~np.isnan(wide.Y[:, t])
        expected.append(r2_score(wide.Y[seen, t], fitted[seen, t]))
    assert_allclose(model.score(wide.X, wide.Y), np.mean(expected))


@every_classifier
def test_the_score_of_classifiers_is_accuracy(estimator, p, wide):
    model = estimator().fit(p.X, p.y, task=p.task)
    fitted = model.predict(p.X, task=p.task)
    for weight in (None, p.weight):
        expected = accuracy_score(p.y, fitted, sample_weight=weight)
        assert model.score(p.X, p.y, weight, task=p.task) == expected
    model.fit(wide.X, wide.Y)
    seen = ~np.isnan(wide.Y)
    right = (model.predict(wide.X) == wide.Y)[seen]
    assert_allclose(model.score(wide.X, wide.Y), right.mean())
    weight = np.broadcast_to(wide.weight[:, None], seen.shape)[seen]
    expected = np.average(right, weights=weight)
    assert_allclose(model.score(wide.X, wide.Y, wide.weight), expected)


@every_regressor
def test_scores_of_tables_leave_out_what_is_missing(estimator, wide):
    model = estimator().fit(wide.X, wide.Y)
    Y = wide.Y.copy()
    Y[:, 2] = np.nan
    score = model.score(wide.X, Y)
    fitted = model.predict(wide.X)
    expected = []
    for t in (0, 1, 3, 4):
        seen = ~np.isnan(Y[:, t])
        expected.append(r2_score(Y[seen, t], fitted[seen, t]))
    assert_allclose(score, np.mean(expected))


@every_estimator
def test_scores_weigh_entries_or_say_why_not(estimator, wide):
    # fit takes a weight for every label
    model = estimator().fit(wide.X, wide.Y, wide.weights)
    try:
        score = model.score(wide.X, wide.Y, wide.weights)
    except ValueError as error:
        assert "`sample_weight`" in str(error)
        return
    fitted, seen = model.predict(wide.X), ~np.isnan(wide.Y)
    if estimator in CLASSIFIERS:
        right = (fitted == wide.Y)[seen]
        assert_allclose(score, np.average(right, weights=wide.weights[seen]))
    else:
        expected = [
            r2_score(wide.Y[s, t], fitted[s, t], sample_weight=wide.weights[s, t])
            for t, s in enumerate(seen.T)
        ]
        assert_allclose(score, np.mean(expected))


# ---------------------------------------------------------------- scikit-learn


@pytest.fixture
def schools():
    """df, y, w, X, school: 12 schools of 10 pupils, sorted by school."""
    rng = np.random.default_rng(7)
    codes = np.repeat(np.arange(12), 10)
    X = rng.normal(3.0, 2.0, size=(120, 3))
    W = rng.normal(size=3) + 0.3 * rng.normal(size=(12, 3))
    y = (X * W[codes]).sum(axis=1) + codes + 0.1 * rng.normal(size=120)
    school = np.array([f"school-{c:02d}" for c in codes])
    df = pd.DataFrame(X, columns=["u", "v", "w"])
    df.insert(1, "school", school)
    return df, y, rng.uniform(0.5, 2.0, size=120), X, school


def test_user_code_word_for_word(schools):
    df, y, w, X, school = schools
    pipe = make_pipeline(
        ColumnTransformer(
            [("task", "passthrough", ["school"])],
            remainder=StandardScaler(),
            verbose_feature_names_out=False,
        ).set_output(transform="pandas"),
        PerTaskRegressor(task_column="school", relation=SharedMean()),
    )
    cv = TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0)
    search = GridSearchCV(
        pipe,
        {"pertaskregressor__relation__correlation": [0, 0.5, 0.9, 1]},
        cv=cv,
        scoring="r2",
    ).fit(df, y)
    scores = cross_val_score(
        pipe, df, y, cv=cv, scoring=TaskScorer(r2_score, task_column="school")
    )
    # unseen schools
    unseen = cross_val_score(pipe, df, y, cv=GroupKFold(5), groups=df["school"])
    # no routing needed
    pipe.fit(df, y, pertaskregressor__sample_weight=w)
    # the second way
    fitted = PerTaskRegressor().fit(X, y, task=school).predict(X, task=school)
    short = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        PerTaskRegressor(task_column="school"),
    )
    assert search.best_score_ > 0.95
    assert search.best_params_["pertaskregressor__relation__correlation"] in (0.5, 0.9)
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    assert search.predict(df).shape == y.shape
    assert scores.shape == (5,) and np.isfinite(scores).all()
    assert unseen.shape == (5,) and np.isfinite(unseen).all()
    assert pipe.score(df, y) > 0.95
    assert r2_score(y, fitted) > 0.95
    weighted = pipe[-1].coef_.copy()
    assert np.abs(pipe.fit(df, y)[-1].coef_ - weighted).max() > 1e-6
    pipe.set_params(pertaskregressor__relation="independent").fit(df, y)
    assert_allclose(short.fit(df, y).predict(df), pipe.predict(df), atol=1e-8)


def test_a_pipeline_that_drops_the_ids_raises(schools):
    # without routing Pipeline.score drops `task` silently; predict must not guess
    _, y, _, X, school = schools
    pipe = make_pipeline(StandardScaler(), PerTaskRegressor())
    pipe.fit(X, y, pertaskregressor__task=school)
    with pytest.raises(ValueError, match="`task` is missing"):
        pipe.score(X, y)


@pytest.mark.parametrize("relation", ["independent", SharedMean(0.5)])
def test_metadata_routing(schools, relation):
    _, y, w, X, school = schools
    with config_context(enable_metadata_routing=True):
        model = PerTaskRegressor(relation=relation)
        pipe = make_pipeline(StandardScaler(), model)
        pipe.fit(X, y, task=school)
        fitted = pipe.predict(X, task=school)
        assert pipe.score(X, y, task=school) == r2_score(y, fitted)
        cv = TaskStratifiedKFold(3, shuffle=True, random_state=0)
        search = GridSearchCV(pipe, {"pertaskregressor__alpha": [0.1, 1.0]}, cv=cv)
        search.fit(X, y, task=school)
        assert search.best_score_ > 0.9
        search = GridSearchCV(clone(model), {"alpha": [0.1, 1.0]}, cv=3)
        search.fit(X, y, task=school)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        weighted = model.set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(scaler, weighted)
        pipe.fit(X, y, task=school, sample_weight=w)
        other = PerTaskRegressor(relation=relation)
        other.fit(StandardScaler().fit_transform(X), y, w, task=school)
        assert_allclose(pipe[-1].coef_, other.coef_, atol=1e-9)


def test_metadata_routing_of_classifiers(long_classification):
    p = long_classification
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), PerTaskClassifier())
        pipe.fit(p.X, p.y, task=p.task)
        assert pipe.predict_proba(p.X, task=p.task).shape == (len(p.y), 2)
        assert pipe.decision_function(p.X, task=p.task).shape == (len(p.y),)
        assert 0.5 < pipe.score(p.X, p.y, task=p.task) <= 1
        search = GridSearchCV(PerTaskClassifier(), {"C": [0.1, 1.0]}, cv=3)
        search.fit(p.X, p.y, task=p.task)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_tools_that_know_nothing_of_tasks(schools):
    df, y, _, X, _ = schools
    model = PerTaskRegressor(task_column="school", relation=SharedMean(0.5))
    cv = KFold(5, shuffle=True, random_state=0)
    fitted = cross_val_predict(model, df, y, cv=cv)
    assert r2_score(y, fitted) > 0.9
    scores = cross_validate(
        model, df, y, cv=cv, scoring=["r2", "neg_mean_absolute_error"]
    )
    assert scores["test_r2"].min() > 0.5
    _, _, test = learning_curve(model, df, y, cv=cv, train_sizes=[0.5, 1.0])
    assert np.isfinite(test).all()
    model.fit(df, y)
    found = permutation_importance(model, df, y, n_repeats=2, random_state=0)
    assert found.importances_mean[1] > 0.01
    by_place = PerTaskRegressor(task_column=0, relation=SharedMean(0.5))
    table = np.column_stack([np.repeat(np.arange(12), 10), X])
    bagging = BaggingRegressor(by_place, n_estimators=3, random_state=0)
    assert bagging.fit(table, y).score(table, y) > 0.9


def test_string_ids_beside_sparse_features(schools):
    df, y, _, _, _ = schools
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    pipe = make_pipeline(
        ColumnTransformer([("task", encoder, ["school"])], remainder="passthrough"),
        PerTaskRegressor(task_column=0),
    )
    pipe.fit(df, y)
    new = df.assign(school="nowhere")
    model = pipe[-1]
    X = df[["u", "v", "w"]].to_numpy()
    expected = X @ model.shared_coef_ + model.shared_intercept_
    assert_allclose(pipe.predict(new), expected)


def test_tools_with_holes_in_the_labels(wide_regression):
    p = wide_regression
    model = PerTaskRegressor(relation=SharedMean(0.5))
    X, X_test, Y, Y_test = train_test_split(p.X, p.Y, random_state=0)
    assert np.isfinite(model.fit(X, Y).score(X_test, Y_test))
    with warnings.catch_warnings():
        # a fold may leave a task without labels
        warnings.filterwarnings("ignore", ".*have no labels in this fit")
        search = GridSearchCV(model, {"relation__correlation": [0.1, 0.9]}, cv=3)
        search.fit(p.X, p.Y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert cross_val_predict(model, p.X, p.Y, cv=3).shape == p.Y.shape


def test_a_fold_that_leaves_a_task_without_labels_is_scored(wide_regression):
    p = wide_regression
    with pytest.warns(UserWarning, match="have no labels in this fit.*4"):
        scores = cross_val_score(PerTaskRegressor(), p.X, p.Y, cv=KFold(10))
    assert np.isfinite(scores).all()


@every_classifier
def test_tables_of_labels_in_cross_validation(estimator, wide_classification):
    p = wide_classification
    Y = np.nan_to_num(p.Y)
    scores = cross_val_score(estimator(), p.X, Y, cv=KFold(3))
    assert np.isfinite(scores).all()
    if estimator is not MultiTaskSVM:
        proba = cross_val_predict(
            estimator(), p.X, Y, cv=KFold(3), method="predict_proba"
        )
        assert proba.shape == Y.shape


@every_estimator
def test_a_model_is_fitted_anew(estimator, p, wide):
    # wide, then long, then single: nothing of the last fit is left
    model = estimator().fit(wide.X, wide.Y)
    model.fit(p.X, p.y, task=p.task)
    fresh = estimator().fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(model), learnt(fresh))
    assert model.n_features_in_ == 5
    model.fit(p.X, p.y)
    assert model.predict(p.X).shape == p.y.shape
