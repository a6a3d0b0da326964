"""BestSharing: each task's strategy by its own rows, as far as they tell."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_sharing import planted

from mtlearn import (
    BestSharing,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
)
from mtlearn.compose import features_only
from mtlearn.model_selection import TaskStratifiedKFold

FEW = {"strategies": ["pooled_offset"], "cv": 3}
CLASSES = [
    ("learned", MultiTaskBayesianClassifier()),
    ("offset", MultiTaskBayesianClassifier("intercept")),
]
QUICK_CLASSES = [
    ("weak", PerTaskClassifier(C=10.0)),
    ("strong", PerTaskClassifier(C=0.1)),
]


@parametrize_with_checks([BestSharing(strategies=["pooled_offset"], cv=2)])
def test_checks(estimator, check):
    check(estimator)


@parametrize_with_checks([BestSharing(QUICK_CLASSES, cv=2)])
def test_checks_of_classifiers(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([BestSharing(), BestSharing(PerTaskClassifier(), cv=2)])
def test_checks_of_all_strategies(estimator, check):
    check(estimator)


def outlier(seed=0):
    return planted("outlier", n_tasks=40, n_rows=25, seed=seed)


# ---------------------------------------------------------------- what is chosen


def test_the_outlier_goes_alone():
    X, y, task = outlier()
    model = BestSharing(**FEW).fit(X, y, task=task)
    # its errors are so large that independent tasks win, but not for the others
    assert model.winner_ == "independent" and model.choice_[0] == "independent"
    assert np.mean(model.choice_[1:] == "pooled_offset") > 0.8
    assert set(model.estimators_) == {"pooled_offset", "independent"}
    assert model.scores_["pooled_offset"] > model.scores_["independent"]


def test_predictions_are_those_of_the_strategies():
    X, y, task = outlier()
    model = BestSharing(**FEW).fit(X, y, task=task)
    each = {n: one.predict(X, task=task) for n, one in model.estimators_.items()}
    alone = model.choice_[task] == "independent"
    expected = np.where(alone, each["independent"], each["pooled_offset"])
    np.testing.assert_array_equal(model.predict(X, task=task), expected)
    # a new task gets the winner
    new = model.predict(X[:3], task=[99, 99, 0])
    winner = model.estimators_[model.winner_].predict(X[:2], task=[99, 99])
    np.testing.assert_array_equal(new[:2], winner)
    assert new[2] == each["independent"][2]


@pytest.mark.parametrize("seed", range(3))
def test_transfer_costs_little_and_negative_transfer_is_bounded(seed):
    """Held-out error of new rows, against the strategies one by one."""
    X, y, task = planted("outlier", n_tasks=40, n_rows=50, seed=seed)
    learn = np.arange(len(y)) % 2 == 0
    model = BestSharing(**FEW).fit(X[learn], y[learn], task=task[learn])

    def errors(one):
        square = (one.predict(X[~learn], task=task[~learn]) - y[~learn]) ** 2
        return np.bincount(task[~learn], square) / np.bincount(task[~learn])

    shared = MultiTaskBayesianRidge("intercept").fit(
        X[learn], y[learn], task=task[learn]
    )
    assert errors(model).mean() < 0.95 * errors(shared).mean()
    assert errors(model)[0] < 0.3 * errors(shared)[0]
    assert errors(model)[1:].mean() < 1.02 * errors(shared)[1:].mean()


@pytest.mark.parametrize("seed", range(3))
def test_few_rows_do_not_choose_at_random(seed):
    X, y, task = planted("related", n_tasks=100, n_rows=6, seed=seed)
    model = BestSharing(strategies=["learned", "pooled_offset"]).fit(X, y, task=task)
    assert np.mean(model.choice_ != "independent") > 0.97


def test_a_skewed_loser_is_no_choice():
    """Most tasks are a bit better pooled, a few much worse: rows cannot tell who."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(120), 12)
    level = rng.exponential(1.0, 120) ** 1.5
    X = rng.normal(size=(len(task), 2))
    y = X[:, 0] + level[task] + 2.0 * rng.normal(size=len(task))
    learn = np.arange(len(y)) % 12 < 8
    model = BestSharing(strategies=["pooled", "pooled_offset"])
    model.fit(X[learn], y[learn], task=task[learn])
    winner = model.estimators_[model.winner_]

    def error(one):
        return np.mean((one.predict(X[~learn], task=task[~learn]) - y[~learn]) ** 2)

    assert error(model) < 1.02 * error(winner)


# ---------------------------------------------------------------- ways to pass data


def test_ways_of_the_ids():
    X, y, task = outlier()
    ids = np.array([f"s{t:02}" for t in task])
    frame = pd.DataFrame(X, columns=list("abc")).assign(shop=ids)
    expected = BestSharing(**FEW).fit(X, y, task=ids).predict(X, task=ids)
    by_name = BestSharing(task_column="shop", **FEW)
    told = BestSharing(PerTaskRegressor(task_column="shop"), **FEW)
    for model in (by_name, told):
        for data in (frame, pl.from_pandas(frame), pl.from_pandas(frame).to_arrow()):
            found = model.fit(data, y).predict(data)
            np.testing.assert_allclose(found, expected, rtol=1e-7)
    first = BestSharing(task_column=0, **FEW)
    for data in (
        np.column_stack([task, X]),
        sp.csr_array(np.column_stack([task, X])),
        np.column_stack([task, X]).tolist(),
    ):
        found = first.fit(data, y).predict(data)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    lists = BestSharing(**FEW).fit(X.tolist(), y.tolist(), task=ids.tolist())
    found = lists.predict(X.tolist(), task=ids.tolist())
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_wide_labels():
    X, y, task = outlier()
    Y = np.full((len(y), 40), np.nan)
    Y[np.arange(len(y)), task] = y
    names = [f"t{t}" for t in range(40)]
    model = BestSharing(**FEW).fit(X, pd.DataFrame(Y, columns=names))
    assert model.tasks_.tolist() == names and model.choice_[0] == "independent"
    Z = model.predict(X)
    assert Z.shape == Y.shape
    for t, name in enumerate(model.choice_[:3]):
        column = model.estimators_[name].predict(X)[:, t]
        np.testing.assert_array_equal(Z[:, t], column)
    mean, std = (
        BestSharing([("r", MultiTaskBayesianRidge())])
        .fit(X, Y)
        .predict(X, return_std=True)
    )
    assert mean.shape == std.shape == Y.shape and (std > 0).all()
    assert np.isfinite(model.score(X, np.where(np.isnan(Y), 0.0, Y)))


def test_single_task():
    X, y, _ = outlier()
    model = BestSharing(**FEW).fit(X, y)
    assert model.predict(X).shape == y.shape and len(model.estimators_) == 1


def test_weights_of_zero_are_absent():
    X, y, task = outlier()
    weight = np.ones(len(y))
    weight[::5] = 0
    weight[task == 3] = 0
    used = weight > 0
    cv = TaskStratifiedKFold(3, shuffle=True, random_state=0)
    one = BestSharing(**FEW).fit(X[used], y[used], task=task[used])
    two = BestSharing(**FEW | {"cv": 3}).fit(X, y, weight, task=task)
    np.testing.assert_allclose(one.predict(X, task=task), two.predict(X, task=task))
    assert 3 not in two.tasks_ and cv.n_splits == 3
    whole = BestSharing(**FEW).fit(X, y, 2.0 * np.ones(len(y)), task=task)
    assert whole.choice_[0] == "independent"


def test_the_callers_data_stay():
    X, y, task = outlier()
    before = X.copy(), y.copy(), task.copy()
    BestSharing(**FEW).fit(X, y, task=task).predict(X, task=task)
    for one, two in zip(before, (X, y, task), strict=True):
        np.testing.assert_array_equal(one, two)


# ---------------------------------------------------------------- what it wraps


def test_any_estimators():
    X, y, task = outlier()
    frame = pd.DataFrame(X, columns=list("abc")).assign(shop=task)
    scaled = make_pipeline(
        features_only(StandardScaler(), "shop"),
        MultiTaskBayesianRidge("intercept", task_column="shop"),
    )
    named = {
        "trees": HistGradientBoostingRegressor(max_iter=20),
        "ridge": Ridge(),
        "offsets": scaled,
    }
    model = BestSharing(named, task_column="shop").fit(frame, y)
    assert model.winner_ == "offsets" and model.score(frame, y) > 0.5
    assert set(model.choice_) <= set(named)
    with pytest.raises(ValueError, match=r"`return_std`: \w+, which some tasks chose"):
        BestSharing({"ridge": Ridge()}).fit(X, y).predict(X, return_std=True)


@pytest.mark.parametrize("layout", ["task", "wide"])
def test_classifiers(layout):
    X, y, task = planted("outlier", n_tasks=12, n_rows=25, seed=0)
    labels = np.where(y > 0, "yes", "no")
    named = dict(CLASSES)
    ids = {"task": task}
    if layout == "wide":
        labels = np.full((len(y), 12), np.nan)
        labels[np.arange(len(y)), task] = y > 0
        ids = {}
    model = BestSharing(named, cv=3).fit(X, labels, **ids)
    assert is_classifier(model) and not is_regressor(model)
    p = model.predict_proba(X, **ids)
    assert len(p) in (len(X), 12)
    z = model.predict(X, **ids)
    assert z.shape == labels.shape
    if layout == "task":
        assert model.classes_.tolist() == ["no", "yes"]
        np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], z)
        assert model.score(X, labels, task=task) > 0.75
        assert model.decision_function(X, task=task).shape == y.shape
    chosen = BestSharing(named, cv=3, scoring="log_loss")
    if layout == "task":
        assert set(chosen.fit(X, labels, **ids).scores_) == set(named)


def test_margins():
    X, y, task = planted("related", n_tasks=6, n_rows=20)
    machine = BestSharing(MultiTaskSVM(), **FEW).fit(X, y > 0, task=task)
    assert not hasattr(machine, "predict_proba")
    assert machine.decision_function(X, task=task).shape == y.shape
    assert (
        BestSharing(MultiTaskSVR(), **FEW).fit(X, y, task=task).score(X, y, task=task)
        > 0.5
    )


def test_standard_deviations():
    X, y, task = outlier()
    named = [
        ("learned", MultiTaskBayesianRidge()),
        ("offsets", MultiTaskBayesianRidge("intercept")),
    ]
    model = BestSharing(named).fit(X, y, task=task)
    mean, std = model.predict(X, return_std=True, task=task)
    np.testing.assert_array_equal(mean, model.predict(X, task=task))
    assert std.shape == mean.shape and (std > 0).all()


# ---------------------------------------------------------------- scikit-learn's tools


def test_parameters():
    model = BestSharing([("learned", MultiTaskBayesianRidge()), ("ridge", Ridge())])
    params = model.get_params()
    assert params["learned__covariance"] == "diag" and params["ridge__alpha"] == 1.0
    model.set_params(learned__covariance="full", ridge=Ridge(3.0), cv=4)
    assert dict(model.estimators)["ridge"].alpha == 3.0 and model.cv == 4
    assert dict(clone(model).estimators)["learned"].covariance == "full"
    single = BestSharing(PerTaskRegressor())
    single.set_params(estimators__task_column="shop")
    assert single.get_params()["estimators__task_column"] == "shop"


def test_in_a_pipeline_a_grid_and_a_pickle():
    X, y, task = outlier()
    frame = pd.DataFrame(X, columns=list("abc")).assign(shop=task)
    pipeline = make_pipeline(
        features_only(StandardScaler(), "shop"), BestSharing(task_column="shop", **FEW)
    )
    assert cross_val_score(pipeline, frame, y, cv=2).shape == (2,)
    grid = GridSearchCV(
        pipeline, {"bestsharing__strategies": [["pooled"], ["learned"]]}, cv=2
    ).fit(frame, y)
    z = grid.predict(frame)
    again = pickle.loads(pickle.dumps(grid.best_estimator_))
    np.testing.assert_array_equal(again.predict(frame), z)


def test_ids_by_routing():
    X, y, task = outlier()
    with config_context(enable_metadata_routing=True):
        grid = GridSearchCV(BestSharing(**FEW), {"cv": [2, 3]}, cv=2)
        grid.fit(X, y, task=task)
        assert grid.best_estimator_.predict(X, task=task).shape == y.shape


def test_a_failed_fit_changes_nothing():
    X, y, task = outlier()
    model = BestSharing(**FEW).fit(X, y, task=task)
    before = model.predict(X, task=task)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), y, task=task)
    np.testing.assert_array_equal(model.predict(X, task=task), before)


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (BestSharing(Ridge()), TypeError, "an estimator such as PerTaskRegressor"),
        (BestSharing([]), ValueError, "pairs of a name"),
        (BestSharing([Ridge()]), ValueError, "pairs of a name"),
        (BestSharing([("a", Ridge()), ("a", Ridge())]), ValueError, "each another"),
        (
            BestSharing([("a", Ridge()), ("b", PerTaskClassifier())]),
            ValueError,
            "all be regressors or all classifiers",
        ),
        (
            BestSharing([("a", Ridge())], strategies=["pooled"]),
            ValueError,
            "those of one estimator",
        ),
        (BestSharing(strategies=["best"]), ValueError, "must be among"),
        (BestSharing(scoring="rsme"), ValueError, "rsme"),
        (BestSharing(task_column="shop"), ValueError, "no column names"),
        (
            BestSharing(
                [
                    ("a", PerTaskRegressor(task_column=0)),
                    ("b", PerTaskRegressor(task_column=1)),
                ]
            ),
            ValueError,
            "several columns of ids",
        ),
    ],
)
def test_bad_parameters(model, error, words):
    X, y, _ = planted("related", n_tasks=3, n_rows=8)
    with pytest.raises(error, match=words):
        model.fit(X, y)


def test_bad_data():
    X, y, task = planted("related", n_tasks=3, n_rows=8)
    for options, words in (
        ({"task": task[:5]}, "ids, but X has"),
        ({"task": np.where(task == 1, np.nan, task)}, "missing ids"),
    ):
        with pytest.raises(ValueError, match=words):
            BestSharing(**FEW).fit(X, y, **options)
    with pytest.raises(ValueError, match="came twice"):
        BestSharing(task_column=0, **FEW).fit(X, y, task=task)
    model = BestSharing(**FEW).fit(X, y, task=task)
    with pytest.raises(ValueError, match="`task` is missing"):
        model.predict(X)
