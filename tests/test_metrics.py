"""Scores per task in both layouts, their reductions, and the scorer in scikit-learn."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context, metrics
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn.metrics import (
    TaskScorer,
    TaskScores,
    average_relative_rmse,
    task_scores,
    within_task_r2,
)
from mtlearn.model_selection import LeaveTasksOut, TaskStratifiedKFold


class NeedsTask(ClassifierMixin, BaseEstimator):
    """Predicts from the first feature; refuses to without `task`, as our models do."""

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}

    def fit(self, X, y, task=None):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X, task=None):
        if task is None:
            raise ValueError("`task` is needed")
        return self.classes_[(X[:, 0] > 0).astype(int)]


@pytest.fixture
def rows():
    """y, y_pred, ids and weights of 40 rows, ids not sorted."""
    rng = np.random.default_rng(0)
    task = rng.permutation(np.repeat(["a", "b", "c"], [20, 13, 7]))
    y = rng.normal(size=40)
    return y, y + rng.normal(size=40), task, rng.uniform(0.5, 2.0, size=40)


@pytest.fixture
def columns():
    """Y with missing labels, Y_pred and weights, of shape (30, 4)."""
    rng = np.random.default_rng(1)
    Y = rng.normal(size=(30, 4))
    Y_pred = Y + rng.normal(size=(30, 4))
    Y[rng.uniform(size=Y.shape) < 0.3] = np.nan
    return Y, Y_pred, rng.uniform(0.5, 2.0, size=(30, 4))


def as_rows(Y, Y_pred):
    """The wide layout in the long one."""
    row, task = np.nonzero(~np.isnan(Y))
    return Y[row, task], Y_pred[row, task], task


# ---------------------------------------------------------------- task_scores


@pytest.mark.parametrize(
    "metric", [metrics.r2_score, metrics.mean_absolute_error, "root_mean_squared_error"]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_long_layout_against_a_loop(rows, metric, weighted):
    y, y_pred, task, weight = rows
    function = getattr(metrics, metric) if isinstance(metric, str) else metric
    scores = task_scores(
        metric, y, y_pred, task, sample_weight=weight if weighted else None
    )
    assert list(scores) == ["a", "b", "c"]
    assert scores.n_samples.tolist() == [20, 13, 7]
    for t in scores:
        own = task == t
        kw = {"sample_weight": weight[own]} if weighted else {}
        assert scores[t] == pytest.approx(function(y[own], y_pred[own], **kw))


def test_layouts_agree(columns):
    Y, Y_pred, weight = columns
    wide = task_scores("r2", Y, Y_pred)
    long = task_scores("r2", *as_rows(Y, Y_pred))
    np.testing.assert_allclose(wide.scores, long.scores)
    np.testing.assert_array_equal(wide.n_samples, long.n_samples)
    np.testing.assert_array_equal(wide.tasks, np.arange(4))
    assert within_task_r2(Y, Y_pred) == pytest.approx(
        within_task_r2(*as_rows(Y, Y_pred))
    )
    # one weight per row, and the same in every column
    np.testing.assert_allclose(
        task_scores("r2", Y, Y_pred, sample_weight=weight[:, 0]).scores,
        task_scores(
            "r2", Y, Y_pred, sample_weight=np.tile(weight[:, :1], (1, 4))
        ).scores,
    )


def test_a_column_of_labels_with_ids_is_the_long_layout(rows):
    y, y_pred, task, _ = rows
    scores = task_scores("r2", y[:, None], y_pred[:, None], task)
    assert scores == task_scores("r2", y, y_pred, task)


def test_complete_wide_target_agrees_with_scikit_learn(columns):
    Y, Y_pred, _ = columns
    Y = np.nan_to_num(Y)
    scores = task_scores("r2", Y, Y_pred)
    raw = metrics.r2_score(Y, Y_pred, multioutput="raw_values")
    np.testing.assert_allclose(scores.scores, raw)
    assert scores.macro() == pytest.approx(metrics.r2_score(Y, Y_pred))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_of_a_frame_name_the_tasks(columns, frame):
    Y, Y_pred, _ = columns
    scores = task_scores("r2", frame(dict(zip("wxyz", Y.T))), Y_pred)
    assert list(scores) == ["w", "x", "y", "z"]
    np.testing.assert_allclose(scores.scores, task_scores("r2", Y, Y_pred).scores)


def test_object_labels_with_missing_ones():
    Y = np.array([["yes", None], ["no", "yes"], ["no", "no"]], dtype=object)
    Y_pred = np.array([["yes", "yes"], ["no", "yes"], ["yes", "yes"]])
    scores = task_scores("accuracy", Y, Y_pred)
    assert scores.scores.tolist() == pytest.approx([2 / 3, 1 / 2])
    nullable = pd.DataFrame({"t": pd.array([1, None, 0], dtype="Int64")})
    assert task_scores("accuracy", nullable, np.array([[1], [1], [1]])).macro() == 0.5


def test_probabilities_of_several_classes(rows):
    task = rows[2]
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, size=40)
    proba = rng.dirichlet(np.ones(3), size=40)
    metric = partial(metrics.log_loss, labels=[0, 1, 2])
    scores = task_scores(metric, label, proba, task)
    assert scores["b"] == pytest.approx(metric(label[task == "b"], proba[task == "b"]))
    assert scores.greater_is_better is False


def test_rows_of_weight_zero_are_as_if_absent(rows):
    y, y_pred, task, weight = rows
    weight[::3] = 0
    kept = weight > 0
    scores = task_scores("r2", y, y_pred, task, sample_weight=weight)
    assert scores.n_samples.sum() == kept.sum()
    absent = task_scores(
        "r2", y[kept], y_pred[kept], task[kept], sample_weight=weight[kept]
    )
    np.testing.assert_allclose(scores.scores, absent.scores)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("r2", metrics.r2_score),
        ("accuracy", metrics.accuracy_score),
        ("accuracy_score", metrics.accuracy_score),
        ("mean_absolute", metrics.mean_absolute_error),
        ("log", metrics.log_loss),
        ("mean_poisson", metrics.mean_poisson_deviance),
    ],
)
def test_names_of_metrics(name, function):
    y = np.array([1, 0, 1, 1])
    y_pred = np.array([0.5, 0.7, 0.9, 0.6])
    if function is metrics.accuracy_score:
        y_pred = y_pred.round()
    expected = function(y, y_pred)
    scores = task_scores(name, y, y_pred, ["t"] * 4)
    assert scores["t"] == pytest.approx(expected)
    assert scores.greater_is_better == function.__name__.endswith("_score")


# ---------------------------------------------------------------- where it is undefined


def test_undefined_tasks_are_nan_with_one_warning():
    y = [0, 1, 1, 1, 0, 1]
    y_pred = [0.2, 0.7, 0.1, 0.9, 0.8, 0.3]
    task = ["two", "two", "one", "one", "wrong", "wrong"]
    with pytest.warns(UndefinedMetricWarning, match=r"1 of 3 tasks \(one\)") as caught:
        scores = task_scores("roc_auc", y, y_pred, task)
    assert len(caught) == 1
    assert np.isnan(scores["one"])
    assert scores.macro() == scores.weighted() == 0.5
    assert scores.worst() == 0.0


def test_a_metric_that_refuses_some_tasks():
    y, y_pred = [0, 1, 1, 1], [0.5, 0.5, 0.9, 0.9]
    with pytest.warns(UndefinedMetricWarning, match="It said: y_true contains only"):
        scores = task_scores(metrics.log_loss, y, y_pred, ["a", "a", "b", "b"])
    assert scores.worst() == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="y_true contains only one label"):
        task_scores(metrics.log_loss, y, y_pred, [0, 1, 2, 3])


def test_a_column_without_labels_is_undefined():
    Y = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]])
    with pytest.warns(UndefinedMetricWarning, match=r"1 of 2 tasks \(1\)"):
        scores = task_scores("r2", Y, np.zeros((3, 2)))
    assert scores.n_samples.tolist() == [3, 0]
    assert scores.macro() == scores[0]


def test_reductions_of_nothing_are_nan():
    scores = TaskScores(["a", "b"], [np.nan, np.nan], [3, 0])
    assert np.isnan([scores.macro(), scores.weighted(), scores.worst()]).all()


# ---------------------------------------------------------------- TaskScores


def test_mapping_pandas_and_pickle():
    scores = TaskScores([10, 20], [1.0, 3.0], [1, 3], greater_is_better=False)
    assert dict(scores) == {10: 1.0, 20: 3.0}
    assert scores[np.int64(20)] == 3.0 and 30 not in scores
    pd.testing.assert_series_equal(
        pd.Series(scores), pd.Series([1.0, 3.0], index=[10, 20])
    )
    assert (scores.macro(), scores.weighted(), scores.worst()) == (2.0, 2.5, 3.0)
    assert pickle.loads(pickle.dumps(scores)) == scores
    assert repr(scores) == "TaskScores(2 tasks: macro=2, weighted=2.5, worst=3)"
    with pytest.raises(KeyError):
        scores[30]


def test_size_weighted_mean_squared_error_is_the_overall_one(rows):
    y, y_pred, task, weight = rows
    scores = task_scores("mean_squared_error", y, y_pred, task, sample_weight=weight)
    overall = metrics.mean_squared_error(y, y_pred, sample_weight=weight)
    assert scores.weighted() == pytest.approx(overall)


# ---------------------------------------------------------------- regression scores


def test_within_task_r2_does_not_count_the_offsets():
    """Trap: the pooled R2 of a model can be all differences between tasks."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(20), 10)
    y = 100.0 * task + rng.normal(size=200)
    means = np.repeat(y.reshape(20, 10).mean(axis=1), 10)
    assert metrics.r2_score(y, means) > 0.99
    assert within_task_r2(y, means, task) == pytest.approx(0.0)
    assert within_task_r2(y, y, task) == 1.0
    assert within_task_r2(y, means + rng.normal(size=200), task) < -0.5


def test_within_task_r2_of_one_task_is_r2(rows):
    y, y_pred, _, weight = rows
    ours = within_task_r2(y, y_pred, np.zeros(40, int), sample_weight=weight)
    assert ours == pytest.approx(metrics.r2_score(y, y_pred, sample_weight=weight))


def test_within_task_r2_without_variation():
    with pytest.warns(UndefinedMetricWarning, match="no task has two different"):
        assert np.isnan(within_task_r2([1.0, 2.0], [1.0, 2.0], ["a", "b"]))


def test_average_relative_rmse_by_its_formula(columns):
    Y, Y_pred, _ = columns
    Y_train = np.random.default_rng(2).normal(size=(9, 4))
    Y_train[0, 1] = np.nan
    expected = np.mean(
        [
            np.sqrt(
                np.nansum((Y[:, t] - Y_pred[:, t]) ** 2)
                / np.nansum((Y[:, t] - np.nanmean(Y_train[:, t])) ** 2)
            )
            for t in range(4)
        ]
    )
    ours = average_relative_rmse(Y, Y_pred, y_train=Y_train)
    assert ours == pytest.approx(expected)
    assert average_relative_rmse(pd.DataFrame(Y), Y_pred, y_train=Y_train) == ours
    train, _, task_train = as_rows(Y_train, Y_train)
    y, y_pred, task = as_rows(Y, Y_pred)
    long = average_relative_rmse(y, y_pred, task, y_train=train, task_train=task_train)
    assert long == pytest.approx(expected)
    # units do not matter
    scale = np.array([1.0, 10.0, 100.0, 0.1])
    assert average_relative_rmse(
        Y * scale, Y_pred * scale, y_train=Y_train * scale
    ) == pytest.approx(ours)


def test_average_relative_rmse_without_training_labels(columns):
    Y, Y_pred, _ = columns
    r2 = task_scores("r2", Y, Y_pred).scores
    assert average_relative_rmse(Y, Y_pred) == pytest.approx(np.sqrt(1 - r2).mean())
    y_train, task_train = [1.0, 2.0], ["a", "a"]
    with pytest.warns(UndefinedMetricWarning, match=r"1 of 2 tasks \(new\)"):
        error = average_relative_rmse(
            [0.5, 3.0], [1.0, 2.0], ["a", "new"], y_train=y_train, task_train=task_train
        )
    assert error == pytest.approx(0.5)
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(average_relative_rmse([[1.0], [1.0]], [[1.0], [1.0]]))


# ---------------------------------------------------------------- bad input

BAD_INPUT = [
    (("r2", [1.0, 2.0], [1.0, 2.0]), "1-D `y` needs `task`"),
    (("r2", [1.0, 2.0], [1.0], ["a", "a"]), "`y` has 2 rows, but `y_pred` has 1"),
    (("r2", [1.0, 2.0], [1.0, 2.0], ["a"]), "`task` must have one value per row"),
    (("r2", [1.0, 2.0], [1.0, 2.0], ["a", None]), "`task` has missing ids"),
    (("r2", [1.0, np.nan], [1.0, 2.0], ["a", "a"]), "1-D `y` must not have missing"),
    (("r2", [1.0, 2.0], [1.0, np.inf], ["a", "a"]), "`y_pred` has missing or infinite"),
    (("r2", np.eye(2), np.eye(3)[:2]), r"\(2, 2\), but `y_pred` has \(2, 3\)"),
    (("r2", np.eye(2), np.eye(2), ["a", "b"]), "in a 2-D `y` the columns are the"),
    (("rmse", [1.0], [1.0], ["a"]), "no function called 'rmse_score' or 'rmse_error'"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_INPUT)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        task_scores(*arguments)


def test_more_bad_input(rows):
    y, y_pred, task, weight = rows
    with pytest.raises(TypeError, match="must be a function of .* got 3"):
        task_scores(3, y, y_pred, task)
    with pytest.raises(ValueError, match="`sample_weight` must have one value per row"):
        task_scores("r2", y, y_pred, task, sample_weight=weight[1:])
    with pytest.raises(ValueError, match="one prediction per label"):
        within_task_r2(y, np.column_stack([y, y]), task)
    with pytest.raises(ValueError, match="`y_train` has 3 tasks, but `y` has 2"):
        average_relative_rmse(np.eye(2), np.eye(2), y_train=np.eye(3))


# ---------------------------------------------------------------- TaskScorer


@pytest.fixture
def schools():
    """A frame with a school column, and a target."""
    rng = np.random.default_rng(0)
    school = rng.permutation(np.repeat([3, 5, 9, 12], [20, 15, 15, 10]))
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["u", "v"])
    y = X["u"] + 0.1 * school + rng.normal(size=60)
    return X.assign(school=school), y


@pytest.mark.parametrize("average", ["macro", "weighted", "worst"])
@pytest.mark.parametrize("sign", [1, -1])
def test_scorer_against_task_scores(schools, average, sign):
    X, y = schools
    model = Ridge().fit(X, y)
    metric = metrics.r2_score if sign > 0 else metrics.mean_squared_error
    scorer = TaskScorer(
        metric, task_column="school", average=average, greater_is_better=sign > 0
    )
    scores = task_scores(metric, y, model.predict(X), X["school"])
    assert scorer(model, X, y) == sign * getattr(scores, average)()
    assert dict(scorer.by_task(model, X, y)) == dict(scores)


def test_scorer_in_the_tools_of_scikit_learn(schools):
    X, y = schools
    scorer = TaskScorer("r2", task_column="school")
    cv = TaskStratifiedKFold(3, task_column="school", shuffle=True, random_state=0)
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), Ridge())
    assert np.isfinite(cross_val_score(pipe, X, y, cv=cv, scoring=scorer)).all()
    unseen = LeaveTasksOut(2, task_column="school")
    several = {"macro": scorer, "r2": "r2"}
    result = cross_validate(pipe, X, y, cv=unseen, scoring=several)
    assert np.isfinite(result["test_macro"]).all()
    search = GridSearchCV(pipe, {"ridge__alpha": [0.1, 1.0]}, cv=cv, scoring=scorer)
    search.fit(X, y)
    assert search.score(X, y) == scorer(search, X, y)
    assert clone(search).scoring.get_params() == scorer.get_params()
    weighted = GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring=several, refit="macro")
    weighted.set_params(cv=cv).fit(X, y, sample_weight=np.ones(60))
    assert np.isfinite(weighted.best_score_)


def test_scorer_clones_pickles_and_prints():
    scorer = TaskScorer(metrics.r2_score, task_column="school", average="worst")
    for copy in (clone(scorer), pickle.loads(pickle.dumps(scorer))):
        assert copy.get_params() == scorer.get_params()
    assert "average='worst'" in repr(scorer)


def test_scorer_of_a_wide_target(columns):
    Y, _, _ = columns
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = Ridge().fit(X, np.nan_to_num(Y))
    scores = task_scores("r2", Y, model.predict(X))
    assert TaskScorer("r2")(model, X, Y) == scores.macro()


@pytest.mark.parametrize(
    "method",
    ["decision_function", "predict_proba", ["absent", "decision_function"]],
)
def test_scorer_of_a_threshold_metric(schools, method):
    X, y = schools
    label = np.where(y > y.median(), "high", "low")
    model = LogisticRegression(solver="newton-cholesky").fit(X, label)
    scorer = TaskScorer("roc_auc", task_column="school", response_method=method)
    expected = task_scores("roc_auc", label, model.decision_function(X), X["school"])
    assert scorer(model, X, label) == pytest.approx(expected.macro())


def test_scorer_routes_the_task():
    """Without this, scoring an estimator that needs `task` gives NaN."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y, task = (X[:, 0] > 0).astype(int), np.tile(["a", "b"], 20)
    weight = rng.uniform(size=40)
    with config_context(enable_metadata_routing=True):
        for scorer, params in [
            (TaskScorer("accuracy"), {"task": task}),
            (
                TaskScorer("accuracy").set_score_request(sample_weight=True),
                {"task": task, "sample_weight": weight},
            ),
        ]:
            scores = cross_val_score(
                NeedsTask(),
                X,
                y,
                cv=TaskStratifiedKFold(2),
                scoring=scorer,
                params=params,
                error_score="raise",
            )
            np.testing.assert_array_equal(scores, 1.0)


def test_scorer_refuses(schools):
    X, y = schools
    model = DummyRegressor().fit(X, y)
    with pytest.raises(ValueError, match=r"task_column=.* or route `task=...`"):
        TaskScorer("r2")(model, X, y)
    with pytest.raises(ValueError, match=r"`task` as well as `task_column`='school'"):
        TaskScorer("r2", task_column="school")(model, X, y, task=X["school"])
    with pytest.raises(ValueError, match=r"`average` must be one of .* got 'mean'"):
        TaskScorer("r2", task_column="school", average="mean")(model, X, y)
    with pytest.raises(AttributeError, match="DummyRegressor has no 'predict_proba'"):
        TaskScorer("r2", task_column="school", response_method="predict_proba")(
            model, X, y
        )


def test_regressor_that_takes_the_id_column_is_scored_without_configuration(schools):
    """The column way works with routing off, also for `predict` of a search."""

    class PerSchoolMean(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            self.means_ = y.groupby(X["school"]).mean()
            return self

        def predict(self, X):
            return X["school"].map(self.means_).to_numpy()

    X, y = schools
    cv = TaskStratifiedKFold(3, task_column="school")
    scorer = TaskScorer(
        metrics.mean_squared_error, task_column="school", greater_is_better=False
    )
    scores = cross_val_score(PerSchoolMean(), X, y, cv=cv, scoring=scorer)
    assert (scores < 0).all()
