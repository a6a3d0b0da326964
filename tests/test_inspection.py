"""The comparison: reproducible, leak-free, the same in every layout; the pictures."""

import functools
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, get_scorer, r2_score
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedMean,
)
from mtlearn.compose import features_only
from mtlearn.constraints import Bounds
from mtlearn.datasets import make_task_classification, make_task_regression
from mtlearn.fitting.scoring import check_scoring
from mtlearn.inspection import (
    STRATEGIES,
    SharingDisplay,
    TaskSimilarityDisplay,
    compare_sharing,
)
from mtlearn.model_selection import LeaveTasksOut, TaskStratifiedKFold
from mtlearn.sharing import comparison as tables
from mtlearn.sharing import search
from mtlearn.sharing.contenders import make_contenders
from mtlearn.sharing.door import open_problem
from mtlearn.sharing.gains import FEW
from mtlearn.sharing.paired import HeldOut

GRIDS = {
    name: getattr(search, name) for name in ("_PENALTIES", "_CORRELATIONS", "_OFFSETS")
}
SIZES = [30, 1, 18, 24, 9, 12]


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """A few grid points and two inner folds: the tests are about the rest."""
    monkeypatch.setattr(search, "_PENALTIES", (3.0, 0.03))
    monkeypatch.setattr(search, "_CORRELATIONS", (1.0, 0.7, 0.0))
    monkeypatch.setattr(search, "_OFFSETS", (3.0,))
    monkeypatch.setattr(search, "_INNER_SPLITS", 2)


@pytest.fixture
def finer(monkeypatch, coarse):
    """Grids as for users, two inner folds."""
    for name, grid in GRIDS.items():
        monkeypatch.setattr(search, name, grid)


def regression(**changed):
    """X, y and ids of six related tasks, one of them with a single row."""
    options = {"correlation": 0.8, "noise": 0.7, "random_state": 0, **changed}
    return make_task_regression(6, SIZES, 4, return_X_y=True, **options)


def classification(**changed):
    options = {"correlation": 0.8, "random_state": 1, **changed}
    return make_task_classification(5, 30, 3, return_X_y=True, **options)


def scores(comparison):
    """Per-task scores of all strategies, (n_tasks, n_strategies)."""
    names = comparison.strategies
    return np.column_stack([np.asarray(comparison.table[name]) for name in names])


def overall(comparison):
    return comparison.summary.loc["overall"].to_dict()


def random_folds(n, k=2):
    """The rows of k folds, as an iterable `cv`."""
    return list(KFold(k, shuffle=True, random_state=3).split(np.zeros(n)))


# ---------------------------------------------------------------- what it returns


def test_tables():
    X, y, task = regression()
    ids = np.array(list("fedcba"))[task]
    comparison = compare_sharing(PerTaskRegressor(), X, y, task=ids, cv=3)
    table = comparison.table
    judged = ["gain", "standard_error", "expected_gain", "verdict"]
    assert list(table.columns) == ["task", "n_samples", *STRATEGIES, *judged]
    assert table["task"].tolist() == list("abcdef")
    assert table["n_samples"].tolist() == SIZES[::-1]
    assert comparison.summary.index.tolist() == ["overall", "task_mean"]
    assert list(comparison.summary.columns) == list(STRATEGIES)
    np.testing.assert_allclose(
        comparison.summary.loc["task_mean"], table[list(STRATEGIES)].mean()
    )
    # every row is held out once: the overall error is the tasks' errors, pooled
    squares = (table["n_samples"].to_numpy()[:, None] * scores(comparison) ** 2).sum(0)
    np.testing.assert_allclose(
        comparison.summary.loc["overall"], np.sqrt(squares / len(y))
    )
    assert comparison.metric == "RMSE" and not comparison.greater_is_better
    parameters = comparison.parameters
    assert parameters["strategy"].tolist() == 3 * list(STRATEGIES)
    assert {"fold", "alpha", "correlation"} <= set(parameters.columns)
    assert repr(comparison).startswith("SharingComparison(6 tasks, RMSE: multitask=")


def test_gain_is_over_independent_tasks():
    X, y, task = regression()
    comparison = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2)
    summary = overall(comparison)
    assert comparison.baseline == "independent"
    assert comparison.best == min(summary, key=summary.get)
    table, judged = comparison.table, comparison.judged
    assert judged in (comparison.winner, comparison.best) and judged != "independent"
    np.testing.assert_array_equal(comparison.gain, table["independent"] - table[judged])
    best, worst = comparison.extremes(2)
    ranked = table[table["verdict"] != FEW].sort_values("gain")["gain"]
    assert best["gain"].tolist() == [g for g in ranked[::-1] if g > 0][:2]
    assert worst["gain"].tolist() == [g for g in ranked if g < 0][:2]


def test_the_better_the_greater_for_a_score():
    X, y, task = classification()
    comparison = compare_sharing(PerTaskClassifier(), X, y, task=task, cv=2)
    assert comparison.metric == "accuracy" and comparison.greater_is_better
    summary = overall(comparison)
    assert comparison.best == max(summary, key=summary.get)
    table = comparison.table
    np.testing.assert_array_equal(
        comparison.gain, table[comparison.judged] - table["independent"]
    )


def test_without_pandas(monkeypatch):
    X, y, task = regression()
    expected = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pandas", None)
        bare = tables._frame({"a": np.arange(2), "b": np.array(["x", "yy"])}, index="b")
        columns = {
            name: expected.table[name].to_numpy()
            for name in expected.table
            if name != "verdict"
        }
        table = tables._frame(columns)
    assert bare.dtype.names == ("a", "b") and bare["b"].tolist() == ["x", "yy"]
    np.testing.assert_array_equal(table["multitask"], expected.table["multitask"])
    assert tables._take(table, [2, 0])["task"].tolist() == [2, 0]


def test_progress():
    X, y, task = regression()
    seen = []
    compare_sharing(
        PerTaskRegressor(verbose=1),
        X,
        y,
        task=task,
        cv=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k, 12) for k in range(1, 13)]


def test_silent(capsys):
    X, y, task = regression()
    compare_sharing(PerTaskRegressor(verbose=1), X, y, task=task, cv=2)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- what it computes


def refit(row, X, y, task, X_test, task_test):
    """Predictions of the model that a row of `parameters` describes."""
    simple = {"True": True}
    model = PerTaskRegressor(
        row["alpha"],
        SharedMean(row["correlation"]),
        fit_intercept=simple.get(row["fit_intercept"], row["fit_intercept"]),
    )
    return model.fit(X, y, task=task).predict(X_test, task=task_test)


LEARNED = {
    "learned": MultiTaskBayesianRidge(),
    "additive": MultiTaskAdditiveRegressor(),
    "pooled_offset": MultiTaskBayesianRidge("intercept"),
}


def test_parameters_reproduce_the_scores():
    X, y, task = regression(intercept_scale=2.0)
    folds = list(TaskStratifiedKFold(2).split(X, groups=task))
    comparison = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=folds)
    held = {name: np.empty_like(y) for name in STRATEGIES}
    for row in comparison.parameters.to_dict("records"):
        train, test = folds[row["fold"]]
        data = X[train], y[train], task[train], X[test], task[test]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            if row["strategy"] in LEARNED:
                model = clone(LEARNED[row["strategy"]])
                model.fit(X[train], y[train], task=task[train])
                z = model.predict(X[test], task=task[test])
            else:
                z = refit(row, *data)
        held[row["strategy"]][test] = z
    for name, z in held.items():
        errors = [np.sqrt(np.mean((y - z)[task == t] ** 2)) for t in range(6)]
        np.testing.assert_allclose(comparison.table[name], errors, rtol=1e-4)
        assert overall(comparison)[name] == pytest.approx(
            np.sqrt(np.mean((y - z) ** 2)), rel=1e-4
        )


def ridge_with_offsets(pipeline, X, y, task, X_test, task_test, n_tasks):
    """One pooled ridge on the features and the scaled one-hot tasks."""
    (_, constant), (_, model) = pipeline.steps
    size = constant.size * np.sqrt(search._TIED)
    one_hot = size * np.eye(n_tasks)
    alpha = 1.0 / (2.0 * model.C)  # of losses that are not halved
    ridge = Ridge(alpha).fit(np.hstack([X, one_hot[task]]), y)
    return ridge.predict(np.hstack([X_test, one_hot[task_test]]))


def test_offsets_of_other_losses():
    # with epsilon=0 the loss is that of ridge regression
    X, y, task = regression(intercept_scale=2.0)
    machine, names = MultiTaskSVR(tol=1e-10), ["pooled_offset"]
    chosen = make_contenders(machine, check_scoring(None, machine), names)
    pipeline = chosen["pooled_offset"].fit(X, y, task)
    expected = ridge_with_offsets(pipeline, X, y, task, X, task, 6)
    found = pipeline.predict(X, task=task)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_strategies_are_what_they_are_called():
    X, y, task = regression()
    for model in (PerTaskRegressor(), MultiTaskSVR()):
        chosen = compare_sharing(model, X, y, task=task, cv=2).parameters
        of = dict(tuple(chosen.groupby("strategy")))
        assert (of["pooled"]["correlation"] == 1.0).all()
        assert (of["pooled"]["fit_intercept"] == "shared").all()
        assert (of["independent"]["fit_intercept"] == "free").all()
        assert of["multitask"]["correlation"].between(0, 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_multitask_starts_at_the_better_simple_model(seed):
    X, y, task = regression(random_state=seed, correlation=seed / 3)
    machine = MultiTaskSVR()
    problem = open_problem(machine, X, y, task)
    found = search.Search(problem, check_scoring(None, machine))
    best = {
        name: found.score(found.best(name))
        for name in ("multitask", "pooled", "independent")
    }
    assert best["multitask"] >= max(best["pooled"], best["independent"])


def test_held_out_labels_choose_nothing():
    X, y, task = regression()
    ((train, test),) = random_folds(len(y))[:1]
    other = y.copy()
    other[test] += np.random.default_rng(0).normal(size=len(test))
    one, two = (
        compare_sharing(PerTaskRegressor(), X, labels, task=task, cv=[(train, test)])
        for labels in (y, other)
    )
    pd.testing.assert_frame_equal(one.parameters, two.parameters)
    assert not np.allclose(scores(one), scores(two))


def test_units_do_not_matter():
    X, y, task = regression()
    expected = scores(compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2))
    target = compare_sharing(PerTaskRegressor(), X, 50.0 * y, task=task, cv=2)
    np.testing.assert_allclose(scores(target), 50.0 * expected, rtol=1e-5)
    # but shrunken intercepts are penalised like coefficients
    simple = compare_sharing(PerTaskRegressor(), 1e3 * X, y, task=task, cv=2)
    np.testing.assert_allclose(scores(simple)[:, 1:], expected[:, 1:], rtol=1e-5)


def test_the_estimator_is_left_alone():
    X, y, task = regression()
    model = PerTaskRegressor(7.0, "independent", warm_start=True, verbose=1)
    before = model.get_params()
    compare_sharing(model, X, y, task=task, cv=2)
    assert model.get_params() == before and not hasattr(model, "coef_")


def test_one_function_for_all():
    X, y, task = regression(correlation=1.0, intercept_scale=0.0)
    same = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=3)
    assert same.winner == "pooled"
    assert overall(same)["multitask"] < 1.1 * overall(same)["pooled"]


def test_unrelated_tasks_with_much_data():
    X, y, task = make_task_regression(
        5, 80, 3, correlation=0.0, return_X_y=True, random_state=0
    )
    alone = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2)
    assert alone.winner == "independent"
    assert overall(alone)["multitask"] < 1.02 * overall(alone)["independent"]


def test_related_tasks_with_little_data():
    X, y, task = make_task_regression(
        25, 9, 5, correlation=0.8, return_X_y=True, random_state=0
    )
    related = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=3)
    assert overall(related)["multitask"] < 0.95 * overall(related)["independent"]
    assert related.verdict().startswith("Yes, learning the tasks together helps: RMSE")


def test_tasks_that_differ_in_level_alone(finer):
    X, y, task = make_task_regression(
        12, 15, 6, correlation=1.0, return_X_y=True, random_state=0
    )
    y = y + 3.0 * np.random.default_rng(0).normal(size=12)[task]
    comparison = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=3)
    summary = overall(comparison)
    assert summary["pooled_offset"] < 0.5 * summary["pooled"]
    assert summary["pooled_offset"] < 0.9 * summary["independent"]


def test_undefined_scores():
    X, y, task = regression()
    with pytest.warns(UndefinedMetricWarning, match="undefined in 1 of 6") as caught:
        comparison = compare_sharing(
            PerTaskRegressor(), X, y, task=task, cv=2, scoring="r2"
        )
    assert len([w for w in caught if w.category is UndefinedMetricWarning]) == 1
    assert np.isnan(comparison.gain).tolist() == [n == 1 for n in SIZES]
    best, worst = comparison.extremes(10)
    assert len(best) + len(worst) <= 5
    assert np.isfinite(comparison.summary.to_numpy()).all()
    assert "Of 6 tasks" in comparison.verdict()


# ---------------------------------------------------------------- ways to pass data


def test_ways_of_the_ids():
    X, y, task = regression()
    ids = np.array([f"t{t}" for t in range(6)])[task]
    frame = pd.DataFrame(X, columns=list("abcd")).assign(school=ids)
    whole = compare_sharing(PerTaskRegressor(), X, y, task=ids, cv=2).table
    by_name, by_place = (PerTaskRegressor(task_column=c) for c in ("school", 0))
    ways = [
        (by_name, frame, y),
        (by_name, frame, pd.Series(y, index=range(5, 5 + len(y)))),
        (by_name, pl.from_pandas(frame), y),
        (by_name, pl.from_pandas(frame).to_arrow(), y),
        (by_place, np.column_stack([task, X]), y),
        (by_place, sp.csr_array(np.column_stack([task, X])), y),
    ]
    for model, data, labels in ways:
        found = compare_sharing(model, data, labels, cv=2)
        # sparse features have no curves
        assert len(found.strategies) == 6 - sp.issparse(data)
        expected = whole[list(found.strategies)]
        np.testing.assert_allclose(scores(found), expected, rtol=1e-7)
        assert found.best_estimator_.predict(data).shape == y.shape
    lists = compare_sharing(
        PerTaskRegressor(), X.tolist(), y.tolist(), task=ids.tolist(), cv=2
    )
    expected = whole[list(lists.strategies)]
    np.testing.assert_allclose(scores(lists), expected, rtol=1e-7)


def test_layouts_agree():
    # nothing that inner folds choose: those of rows are not those of labels
    names = ["learned", "additive", "pooled_offset"]
    X, Y = make_task_regression(
        4, 30, 3, layout="shared", return_X_y=True, random_state=0
    )
    rows, cols = np.arange(30).repeat(4), np.tile(np.arange(4), 30)
    wide = compare_sharing(
        PerTaskRegressor(), X, Y, strategies=names, cv=random_folds(30)
    )
    folds = [
        (np.flatnonzero(np.isin(rows, a)), np.flatnonzero(np.isin(rows, b)))
        for a, b in random_folds(30)
    ]
    long = compare_sharing(
        PerTaskRegressor(),
        X[rows],
        Y[rows, cols],
        task=cols,
        strategies=names,
        cv=folds,
    )
    np.testing.assert_allclose(wide.table[names], long.table[names], rtol=1e-6)
    assert wide.judged == long.judged
    assert wide.table["n_samples"].tolist() == [30] * 4


def test_wide_with_missing_labels():
    X, Y = make_task_regression(
        5, 40, 3, layout="shared", missing=0.4, return_X_y=True, random_state=0
    )
    frame = pd.DataFrame(Y, columns=list("vwxyz"))
    comparison = compare_sharing(PerTaskRegressor(), X, frame, cv=2)
    assert comparison.table["task"].tolist() == list("vwxyz")
    np.testing.assert_array_equal(
        comparison.table["n_samples"], (~np.isnan(Y)).sum(axis=0)
    )
    again = compare_sharing(PerTaskRegressor(), sp.csr_array(X), Y, cv=2)
    expected = comparison.table[list(again.strategies)]
    np.testing.assert_allclose(scores(again), expected, rtol=1e-6)
    assert comparison.best_estimator_.predict(X).shape == Y.shape


def test_pipelines():
    X, y, task = regression()
    X = X * [1.0, 100.0, 0.01, 1.0] + 5.0
    frame = pd.DataFrame(X, columns=list("abcd")).assign(school=task)
    model = PerTaskRegressor(task_column="school")
    scaled = make_pipeline(features_only(StandardScaler(), "school"), model)
    expected = scores(compare_sharing(scaled, frame, y, cv=2))
    by_columns = ColumnTransformer(
        [("task", "passthrough", ["school"])],
        remainder=StandardScaler(),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    found = compare_sharing(make_pipeline(by_columns, model), frame, y, cv=2)
    np.testing.assert_allclose(scores(found), expected, rtol=1e-7)
    outside = make_pipeline(StandardScaler(), PerTaskRegressor())
    found = compare_sharing(outside, X, y, task=task, cv=2)
    np.testing.assert_allclose(scores(found), expected, rtol=1e-7)
    lists = compare_sharing(outside, X.tolist(), y, task=task, cv=2)
    np.testing.assert_allclose(scores(lists), expected, rtol=1e-7)
    bare = compare_sharing(make_pipeline(model), frame, y, cv=2)
    np.testing.assert_allclose(
        scores(bare), scores(compare_sharing(model, frame, y, cv=2))
    )


@pytest.mark.parametrize("as_dict", [True, False])
def test_task_weight(as_dict):
    X, y, task = regression()
    heavy = np.array([1.0, 50.0, 1.0, 1.0, 1.0, 1.0])
    weight = dict(enumerate(heavy)) if as_dict else heavy
    plain = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2)
    for given in (weight, "balanced"):
        found = compare_sharing(
            PerTaskRegressor(task_weight=given), X, y, task=task, cv=2
        )
        assert not np.allclose(scores(found), scores(plain))


def test_folds():
    X, y, task = regression()
    model = PerTaskRegressor()
    default = compare_sharing(model, X, y, task=task)
    spelled = TaskStratifiedKFold(5, shuffle=True, random_state=0)
    for cv in (spelled, 5, list(spelled.split(X, groups=task))):
        found = compare_sharing(model, X, y, task=task, cv=cv)
        np.testing.assert_array_equal(scores(found), scores(default))
    half = ShuffleSplit(1, test_size=10, random_state=0)
    few = compare_sharing(model, X, y, task=task, cv=half)
    assert np.isnan(scores(few)).any() and np.isfinite(scores(few)).any()
    new = compare_sharing(model, X, y, task=task, cv=LeaveTasksOut(3))
    assert np.isfinite(scores(new)).all()
    own = TaskStratifiedKFold(2, task_column=0)
    with_ids = np.column_stack([task, X])
    found = compare_sharing(PerTaskRegressor(task_column=0), with_ids, y, cv=own)
    assert np.isfinite(scores(found)).all()


# ---------------------------------------------------------------- estimators, scores


@pytest.mark.parametrize(
    "model", [MultiTaskSVR(), MultiTaskSVR(epsilon=0.2), PerTaskRegressor()], ids=repr
)
def test_regressors(model):
    X, y, task = regression()
    comparison = compare_sharing(model, X, y, task=task, cv=2)
    assert np.isfinite(scores(comparison)).all()
    assert (scores(comparison) > 0).all()


@pytest.mark.parametrize("model", [PerTaskClassifier(), MultiTaskSVM()], ids=repr)
@pytest.mark.sampled(2)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers(model, n_classes):
    X, y, task = classification(n_classes=n_classes)
    labels = np.array(["no", "so", "yes"])[y]
    comparison = compare_sharing(model, X, labels, task=task, cv=2)
    assert ((scores(comparison) >= 0) & (scores(comparison) <= 1)).all()
    assert overall(comparison)["multitask"] > 0.5
    same = compare_sharing(
        model, X, labels, task=task, cv=2, scoring=lambda y, z: accuracy_score(y, z)
    )
    np.testing.assert_array_equal(scores(same), scores(comparison))
    assert same.metric == "<lambda>"


def test_wide_classifiers():
    X, Y = make_task_classification(
        4, 40, 3, layout="shared", missing=0.2, return_X_y=True, random_state=0
    )
    for scoring in (None, "roc_auc"):
        found = compare_sharing(PerTaskClassifier(), X, Y, cv=2, scoring=scoring)
        assert np.isfinite(scores(found)).all()
    words = np.array(["no", "yes", None], dtype=object)
    objects = words[np.where(np.isnan(Y), 2, Y).astype(int)]
    found = compare_sharing(PerTaskClassifier(), X, objects, cv=2)
    numbers = compare_sharing(PerTaskClassifier(), X, Y, cv=2)
    np.testing.assert_array_equal(scores(found), scores(numbers))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision_score"])
def test_rankings_get_decisions(scoring):
    X, y, task = classification()
    found = compare_sharing(PerTaskClassifier(), X, y, task=task, cv=2, scoring=scoring)
    assert found.greater_is_better and found.metric == scoring
    # a few labels can tell few ranks: decisions make other values
    assert len(np.unique(scores(found))) > 10


@pytest.mark.sampled(2)
@pytest.mark.parametrize("scoring", ["neg_log_loss", "brier_score_loss"])
def test_losses_get_probabilities(scoring):
    X, y, task = classification()
    found = compare_sharing(PerTaskClassifier(), X, y, task=task, cv=2, scoring=scoring)
    assert not found.greater_is_better and (scores(found) > 0).all()
    assert found.metric == scoring.removeprefix("neg_")


def test_a_partial_as_scoring():
    X, y, task = classification()
    f1 = functools.partial(f1_score, average="macro")
    found = compare_sharing(MultiTaskSVM(), X, y, task=task, cv=2, scoring=f1)
    assert found.metric == "f1_score" and found.greater_is_better


def test_the_default_by_its_name():
    X, y, task = regression()
    name = "neg_root_mean_squared_error"
    one = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2)
    two = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=2, scoring=name)
    np.testing.assert_allclose(scores(two), scores(one))
    assert not two.greater_is_better


def test_one_class_tasks():
    X, y, task = classification()
    y[task == 2] = 1
    comparison = compare_sharing(PerTaskClassifier(), X, y, task=task, cv=2)
    assert np.isfinite(scores(comparison)).all()


# ---------------------------------------------------------------- bad input

X6, Y6, TASK6 = np.zeros((6, 2)), np.arange(6.0), np.array(list("aabbcc"))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: compare_sharing(Ridge(), X6, Y6), TypeError, "must be a PerTaskReg"),
        (
            lambda: compare_sharing(make_pipeline(LinearRegression()), X6, Y6),
            TypeError,
            "Pipeline that ends in one, got LinearRegression",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor, X6, Y6),
            TypeError,
            "`estimator` must be",
        ),
        (lambda: compare_sharing(PerTaskRegressor(), X6, Y6), ValueError, "pass `task"),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6, task=["a"] * 6),
            ValueError,
            "at least two tasks",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6[:, None]),
            ValueError,
            "at least two tasks",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6, task=TASK6[:3]),
            ValueError,
            "3 ids, but X has 6 rows",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6[:4], task=TASK6),
            ValueError,
            "inconsistent numbers of samples",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6 * np.nan, task=TASK6),
            ValueError,
            "contains NaN",
        ),
        (
            lambda: compare_sharing(
                PerTaskRegressor(task_weight={"z": 2.0}), X6, Y6, task=TASK6
            ),
            ValueError,
            "names unknown tasks",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6, task=TASK6, cv=[]),
            ValueError,
            "`cv` gives no fold",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6, task=TASK6, cv="5"),
            ValueError,
            "cv",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6, task=TASK6, cv=9),
            ValueError,
            "at least as many rows",
        ),
        (
            lambda: compare_sharing(
                PerTaskRegressor(), X6, Y6, task=TASK6, cv=2, scoring="rsme"
            ),
            ValueError,
            "rsme",
        ),
        (
            lambda: compare_sharing(PerTaskRegressor(), X6, Y6, task=TASK6, scoring=3),
            TypeError,
            "`scoring` must be",
        ),
        (
            lambda: compare_sharing(
                PerTaskRegressor(), X6, Y6, task=TASK6, scoring=get_scorer("r2")
            ),
            TypeError,
            "is a scorer",
        ),
        (
            lambda: compare_sharing(
                MultiTaskSVM(), X6, TASK6, task=TASK6, scoring="neg_log_loss"
            ),
            TypeError,
            "log_loss needs probabilities",
        ),
        (
            lambda: compare_sharing(
                PerTaskRegressor(), X6, Y6, task=TASK6, scoring="roc_auc"
            ),
            TypeError,
            "roc_auc needs probabilities or decisions",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_decisions_of_many_classes_in_columns():
    X, Y = make_task_classification(
        3, 30, 2, n_classes=3, layout="shared", return_X_y=True, random_state=0
    )
    with pytest.raises(ValueError, match="not possible with a 2-D `y` of more than"):
        compare_sharing(PerTaskClassifier(), X, Y, cv=2, scoring="roc_auc")


# ---------------------------------------------------------------- pictures


def held_out_errors(judged, alone, sizes, **others):
    """A comparison with errors of given size: those of learned and independent."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    y, noise = np.zeros(len(codes)), rng.normal(size=len(codes))
    z = {
        "learned": noise * np.asarray(judged)[codes],
        "independent": noise * np.asarray(alone)[codes],
    }
    z |= {name: noise * np.asarray(size)[codes] for name, size in others.items()}
    scoring = check_scoring(None, PerTaskRegressor())
    held = HeldOut(scoring, y, codes, np.arange(len(y)), z, len(sizes), 1.625)
    return tables.SharingComparison(
        np.arange(len(sizes)), np.asarray(sizes), held, {"fold": np.array([0])}
    )


def test_sharing_display(canvas):
    X, y, task = regression()
    model = PerTaskRegressor()
    display = SharingDisplay.from_estimator(
        model, X, y, task=task, cv=2, scoring="mean_absolute_error", n_labels=1
    )
    comparison = display.comparison
    drawn = display.points_.get_offsets()
    known = comparison.table["verdict"] != FEW
    np.testing.assert_array_equal(drawn[known, 0], comparison.table["n_samples"][known])
    np.testing.assert_array_equal(drawn[known, 1], comparison.gain[known])
    assert display.ax_.get_xscale() == "log" and display.line_ is None
    assert len(display.texts_) <= 2 and display.bars_ is not None
    assert display.figure_ is display.ax_.figure
    assert (
        display.ax_.get_ylabel()
        == "gain in mean_absolute_error over a model of its own"
    )
    assert comparison.judged in display.ax_.get_title()
    _, ax = canvas.subplots()
    again = SharingDisplay.from_comparison(comparison, ax=ax)
    assert again.ax_ is ax
    display.figure_.canvas.draw()


def test_tasks_of_a_row_do_not_stretch_the_axis(canvas):
    comparison = held_out_errors(
        20 * [0.8] + [1.0], 20 * [1.0] + [500.0], 20 * [40] + [1]
    )
    assert comparison.table["verdict"].iloc[-1] == FEW
    assert comparison.gain[-1] > 50
    display = SharingDisplay.from_comparison(comparison)
    assert max(np.abs(display.ax_.get_ylim())) < 1
    assert 30 < display.ax_.get_xlim()[0] < display.ax_.get_xlim()[1] < 50
    display.figure_.canvas.draw()


def test_labels_do_not_cover_each_other(canvas):
    comparison = held_out_errors(np.linspace(0.899, 0.901, 30), np.ones(30), 30 * [40])
    display = SharingDisplay.from_comparison(comparison, n_labels=10)
    renderer = display.figure_.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in display.texts_]
    assert len(boxes) >= 1
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_labels_do_not_cover_dots(canvas):
    comparison = held_out_errors(
        np.linspace(0.8, 1.1, 30), np.ones(30), 20 + np.arange(30) % 7
    )
    display = SharingDisplay.from_comparison(comparison, n_labels=10)
    renderer, ax = display.figure_.canvas.get_renderer(), display.ax_
    x, y = ax.transData.transform(display.points_.get_offsets()).T
    assert len(display.texts_) >= 4
    for text in display.texts_:
        box = text.get_window_extent(renderer)
        assert not ((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any()
        assert ax.get_window_extent(renderer).contains(box.x1, box.y1)


def test_sharing_display_of_equal_and_of_many_tasks(canvas):
    equal = held_out_errors([0.8, 1.2, 0.7, 1.0], np.ones(4), 4 * [60])
    display = SharingDisplay.from_comparison(equal)
    order = display.points_.get_offsets()[:, 0]
    np.testing.assert_array_equal(np.argsort(order), np.argsort(-equal.gain))
    assert "order" in display.ax_.get_xlabel()
    # the labels at the ends that lose and that gain, not the task in between
    assert {text.get_text() for text in display.texts_} <= {"0", "1", "2"}
    rng = np.random.default_rng(0)
    many = held_out_errors(
        rng.uniform(1, 2, 300), rng.uniform(1, 2, 300), rng.integers(1, 100, 300)
    )
    display = SharingDisplay.from_comparison(many)
    x, mean = display.line_.get_data()
    assert len(x) == len(mean) > 200 and (np.diff(x) >= 0).all()
    assert display.bars_ is None
    display.figure_.canvas.draw()


def two_clusters(n_tasks=10):
    """A fitted model whose odd tasks have the opposite coefficients of the even."""
    rng = np.random.default_rng(0)
    W = np.where(np.arange(n_tasks) % 2, 1.0, -1.0)[:, None] * [1.0, -2.0, 0.5]
    task = np.repeat(np.arange(n_tasks), 20)
    X = rng.normal(size=(len(task), 3))
    y = (X * W[task]).sum(axis=1) + 0.3 * rng.normal(size=len(task))
    return make_pipeline(StandardScaler(), PerTaskRegressor()).fit(
        X, y, pertaskregressor__task=task
    )


@pytest.mark.parametrize("measure", ["cosine", "correlation", "deviation"])
def test_similarity_display(canvas, measure):
    model = two_clusters()
    display = TaskSimilarityDisplay.from_estimator(model, measure=measure)
    S = display.similarity
    np.testing.assert_allclose(S, S.T)
    np.testing.assert_array_equal(np.diag(S), 1.0)
    even = np.arange(10) % 2 == 0
    assert (S[np.ix_(even, even)] > 0.8).all()
    assert (S[np.ix_(even, ~even)] < -0.8).all()
    order = display.order_
    assert sorted(order) == list(range(10))
    assert np.sum(np.diff(order % 2) != 0) == 1  # one cluster, then the other
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == [str(t) for t in order]
    assert display.colorbar_.ax.get_ylabel()
    display.figure_.canvas.draw()


def test_similarity_of_many_alike_and_of_few(canvas):
    display = TaskSimilarityDisplay(similarity=np.full((50, 50), 0.5), tasks=range(50))
    display.plot(cmap="magma")
    assert len(display.ax_.get_xticks()) == 0
    assert display.image_.get_clim() == (0.5, 1.0)
    _, ax = canvas.subplots()
    X, y, task = make_task_classification(
        2, 30, 3, n_classes=3, return_X_y=True, random_state=0
    )
    model = PerTaskClassifier().fit(X, y, task=task)
    few = TaskSimilarityDisplay.from_estimator(model, ax=ax)
    assert few.ax_ is ax and few.similarity.shape == (2, 2)


def test_similarity_without_coefficients(canvas):
    with pytest.raises(NotFittedError):
        TaskSimilarityDisplay.from_estimator(PerTaskRegressor())
    with pytest.raises(ValueError, match=r"`measure` must be one of 'cosine'"):
        TaskSimilarityDisplay.from_estimator(two_clusters(), measure="distance")
    X = np.zeros((6, 2))
    flat = PerTaskRegressor().fit(X, Y6, task=TASK6)
    similarity = TaskSimilarityDisplay.from_estimator(flat).similarity
    np.testing.assert_array_equal(similarity, np.eye(3))


def test_pictures_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "scikit-multitask\[plot\]"'):
        SharingDisplay.from_estimator(PerTaskRegressor(), X6, Y6, task=TASK6)


def test_r2_is_not_needed_to_be_positive():
    X, y, task = regression(noise=50.0)
    found = compare_sharing(
        PerTaskRegressor(),
        X[task != 1],
        y[task != 1],
        task=task[task != 1],
        cv=2,
        scoring=r2_score,
    )
    assert found.greater_is_better
    assert (scores(found) <= 0.2).all()


# ---------------------------------------------------------------- kernels, constraints


def _offsets_and_curves():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 2)), columns=["price", "promotion"])
    X["shop"] = rng.choice(["a", "b", "c"], len(X))
    level = X["shop"].map({"a": 0.0, "b": 3.0, "c": -3.0})
    y = X["promotion"] - X["price"] ** 2 + level + 0.2 * rng.normal(size=len(X))
    return X, y


def test_kernel_machines_with_offsets_of_their_own():
    X, y = _offsets_and_curves()
    machine = MultiTaskSVR(kernel="rbf", task_column="shop")
    summary = compare_sharing(machine, X, y, cv=2).summary.loc["overall"]
    # the tasks differ in level only
    assert summary["pooled_offset"] < 0.5 * summary["pooled"]
    linear = compare_sharing(machine.set_params(kernel="linear"), X, y, cv=2)
    assert summary["multitask"] < linear.summary.loc["overall", "multitask"]


def test_constraints_by_name_hold_in_every_fold():
    X, y = _offsets_and_curves()
    free = PerTaskRegressor(task_column="shop")
    held = clone(free).set_params(constraints=[Bounds(0, 0, "promotion")])
    gone = compare_sharing(free, X.drop(columns="promotion"), y, cv=2).summary
    under = compare_sharing(held, X, y, cv=2).summary
    for name in ("multitask", "independent"):
        assert under.loc["overall", name] == pytest.approx(
            gone.loc["overall", name], rel=0.1
        )
    assert under.loc["overall", "multitask"] > 0.9


def test_precomputed_kernels_are_refused():
    X, y = _offsets_and_curves()
    K = X[["price", "promotion"]].to_numpy() @ X[["price", "promotion"]].to_numpy().T
    with pytest.raises(ValueError, match="needs the features.*'precomputed'"):
        compare_sharing(MultiTaskSVR(kernel="precomputed"), K, y, task=X["shop"])
