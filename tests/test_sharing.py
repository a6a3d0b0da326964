"""Verdicts: right where the truth is planted, few where there is nothing to say."""

import functools
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
)
from mtlearn.compose import features_only
from mtlearn.constraints import NonNegative
from mtlearn.fitting.scoring import check_scoring
from mtlearn.inspection import compare_sharing
from mtlearn.model_selection import TaskStratifiedKFold
from mtlearn.problem.verdicts import VERDICTS
from mtlearn.sharing import gains as g
from mtlearn.sharing.folds import inner_folds
from mtlearn.sharing.paired import HeldOut

CODE = Path(__file__).parents[1] / "docs" / "code"
SHARED = ["learned", "pooled_offset"]


def planted(kind, n_tasks=20, n_rows=30, d=3, seed=0):
    """Rows of tasks whose relation is known; the first is the odd one."""
    rng = np.random.default_rng(seed)
    sizes = np.broadcast_to(n_rows, n_tasks)
    common = rng.choice([-1.0, 1.0], size=d)
    W = common + 0.05 * rng.normal(size=(n_tasks, d))
    level = 0.3 * rng.normal(size=n_tasks)
    if kind == "unrelated":
        W, level = rng.normal(size=(2, n_tasks, d))[0], rng.normal(size=n_tasks)
    if kind == "outlier":
        W[0] = -2.0 * common
    task = np.repeat(np.arange(n_tasks), sizes)
    X = rng.normal(size=(len(task), d))
    y = (X * W[task]).sum(axis=1) + level[task] + rng.normal(size=len(task))
    return X, y, task


def judged(X, y, task, strategies=SHARED, estimator=None, **options):
    estimator = PerTaskRegressor() if estimator is None else estimator
    return compare_sharing(estimator, X, y, task=task, strategies=strategies, **options)


def share(comparison, verdict):
    return float(np.mean(comparison.table["verdict"] == verdict))


# ---------------------------------------------------------------- planted cases


@pytest.mark.parametrize("seed", range(4))
def test_an_outlier_is_found(seed):
    X, y, task = planted("outlier", n_tasks=60, n_rows=25, seed=seed)
    found = judged(X, y, task, ["pooled_offset"])
    verdicts = found.table["verdict"]
    assert verdicts[0] == g.HURT
    assert (verdicts[1:] != g.HURT).all()
    assert "hurt by sharing (0)" in found.verdict()
    assert "BestSharing" in found.verdict()


@pytest.mark.parametrize("seed", range(4))
def test_an_outlier_is_never_said_to_gain(seed):
    X, y, task = planted("outlier", n_tasks=60, n_rows=25, seed=seed)
    assert judged(X, y, task).table["verdict"][0] != g.GAINS


@pytest.mark.parametrize("seed", range(4))
def test_unrelated_tasks_are_not_called_related(seed):
    X, y, task = planted("unrelated", n_tasks=50, n_rows=40, seed=seed)
    found = judged(X, y, task)
    assert share(found, g.GAINS) == 0.0
    assert not found.verdict().startswith("Yes")
    assert found.winner in ("independent", "learned")


@pytest.mark.parametrize("seed", range(3))
def test_one_strategy_for_unrelated_tasks_hurts_all(seed):
    X, y, task = planted("unrelated", n_tasks=30, n_rows=60, seed=seed)
    found = judged(X, y, task, ["pooled_offset"])
    assert found.winner == "independent" and found.judged == "pooled_offset"
    assert share(found, g.HURT) > 0.6 and share(found, g.GAINS) == 0.0
    assert found.verdict().startswith("No, learning the tasks together does not help")


@pytest.mark.parametrize("seed", range(3))
def test_related_tasks_with_few_rows_gain(seed):
    X, y, task = planted("related", n_tasks=40, n_rows=12, d=5, seed=seed)
    found = judged(X, y, task)
    assert found.verdict().startswith("Yes, learning the tasks together helps: RMSE")
    assert "closer to the target on average" in found.verdict()
    assert share(found, g.GAINS) > 0.3 and share(found, g.HURT) == 0.0


def test_too_few_rows_say_so():
    sizes = np.r_[1, 2, 4, np.full(17, 30)]
    X, y, task = planted("related", n_rows=sizes)
    verdicts = judged(X, y, task).table["verdict"]
    assert (verdicts[:3] == g.FEW).all()
    assert "have too few rows to say" in judged(X, y, task).verdict()


def test_hundreds_of_tasks_give_no_list_of_false_alarms():
    """Of tasks that are truly alike hardly one is said to be hurt."""
    X, y, task = planted("related", n_tasks=300, n_rows=15, d=4)
    found = judged(X, y, task)
    assert share(found, g.HURT) == 0.0


def test_levels_alone():
    X, y, task = planted("related", n_tasks=30, n_rows=20)
    y = y + 3.0 * np.random.default_rng(1).normal(size=30)[task]
    found = judged(X, y, task, ["pooled", "pooled_offset", "learned"])
    assert found.winner == "pooled_offset"
    summary = found.summary.loc["overall"]
    assert summary["pooled_offset"] < 0.6 * summary["pooled"]


def test_curves_are_not_taken_for_sharing():
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(12), 100)
    X = rng.uniform(-2, 2, size=(1200, 2))
    slopes, level = 2.0 * rng.normal(size=(12, 2)), rng.normal(size=12)
    y = (X * slopes[task]).sum(axis=1) + level[task] + 2.0 * np.cos(3 * X[:, 0])
    y += rng.normal(size=1200)
    found = judged(X, y, task, ["learned", "additive"])
    assert found.winner == "additive"
    assert "no clear difference as long as features count in straight lines" in (
        found.verdict()
    )


def test_the_example_of_the_guide(capsys):
    runpy.run_path(str(CODE / "should_i_share.py"))
    out = capsys.readouterr().out
    assert out.startswith("Learning the tasks together helps most of them, but costs")
    assert "1 is hurt by sharing (0)" in out
    assert out.splitlines()[-1].split() == [
        "independent",
        "independent",
        "pooled_offset",
        "pooled_offset",
    ]


# ---------------------------------------------------------------- what is recommended


@pytest.mark.parametrize("kind", ["related", "unrelated", "outlier"])
def test_the_winner_is_that_of_the_table(kind):
    X, y, task = planted(kind)
    found = compare_sharing(PerTaskRegressor(), X, y, task=task)
    scores = found.summary.loc["overall"]
    assert found.best == scores.idxmin()
    # of two within noise the simpler one, and then it says so
    assert scores[found.winner] <= 1.02 * scores.min()
    assert f"({found.winner})" in found.verdict()
    assert (found.winner == found.best) == (
        "which has the best score" in found.verdict()
    )
    assert (found.winner != found.best) == ("more than noise" in found.verdict())


def test_the_best_estimator_predicts_what_was_compared():
    X, y, task = planted("related")
    frame = pd.DataFrame(10.0 * X + 3.0, columns=list("abc")).assign(
        shop=np.array([f"s{t:02}" for t in task])
    )
    pipeline = make_pipeline(
        features_only(StandardScaler(), "shop"), PerTaskRegressor(task_column="shop")
    )
    for strategies in (["pooled_offset"], ["multitask"], ["additive"]):
        found = compare_sharing(pipeline, frame, y, strategies=strategies)
        model = found.best_estimator_
        assert model is found.best_estimator_
        assert model.steps[0][0] == "featuresonly"
        assert np.mean((model.predict(frame) - y) ** 2) < 1.5
        again = compare_sharing(pipeline, frame, y, strategies=strategies)
        np.testing.assert_array_equal(
            again.best_estimator_.predict(frame), model.predict(frame)
        )


@pytest.mark.parametrize("model", [MultiTaskSVR(), PerTaskRegressor(), MultiTaskSVM()])
@pytest.mark.parametrize("way", ["task", "column", "wide"])
def test_the_best_estimator_in_every_layout(model, way):
    X, y, task = planted("related", n_tasks=6, n_rows=20)
    y = y + 4.0 * (task % 3)
    if isinstance(model, MultiTaskSVM):
        y = (y > np.median(y)).astype(int)
    options, known, data = {}, {}, X
    if way == "task":
        options = known = {"task": task}
    elif way == "column":
        data = pd.DataFrame(X, columns=list("abc")).assign(shop=task)
        model = type(model)(task_column="shop")
    else:
        data = X[:20]
        y = np.where(np.arange(20)[:, None] % 7 == 3, np.nan, y.reshape(6, 20).T)
    found = compare_sharing(
        model, data, y, strategies=["pooled_offset"], cv=3, **options
    )
    assert found.best_estimator_.predict(data, **known).shape == y.shape
    offsets = found._refit("pooled_offset")
    assert offsets.predict(data, **known).shape == y.shape


def test_a_learned_model_stands_for_itself():
    X, y, task = planted("related")
    model = MultiTaskBayesianRidge("full")
    found = compare_sharing(model, X, y, task=task, cv=3)
    assert found._refit("learned").covariance == "full"
    additive = MultiTaskAdditiveRegressor(n_knots=3)
    found = compare_sharing(additive, X, y, task=task, cv=3, strategies=["additive"])
    assert found._refit("additive").n_knots == 3
    tuned = PerTaskRegressorCV(5, 0.5)
    found = compare_sharing(tuned, X, y, task=task, cv=3, strategies=["multitask"])
    assert (found.parameters["correlation"].iloc[0::2] == 0.5).all()


def test_strategies_can_be_chosen():
    X, y, task = planted("related")
    found = judged(X, y, task, ["pooled"])
    assert found.strategies == ("pooled", "independent")
    assert list(found.summary.columns) == ["pooled", "independent"]
    for bad, words in (
        (["shared"], "must be among .*got 'shared'"),
        (["independent"], "one beside 'independent'"),
        ([], "one beside 'independent'"),
    ):
        with pytest.raises(ValueError, match=words):
            judged(X, y, task, bad)
    with pytest.raises(TypeError, match="sequence of names"):
        judged(X, y, task, "pooled")


def test_strategies_that_there_are_not():
    X, y, task = planted("related")
    bound = PerTaskRegressor(constraints=[NonNegative()])
    with pytest.raises(ValueError, match="which learned models do not obey"):
        judged(X, y, task, ["learned"], bound)
    found = compare_sharing(bound, X, y, task=task, cv=2, strategies=["pooled"])
    assert set(found.strategies) == {"pooled", "independent"}
    with pytest.raises(TypeError, match="a learned model such as"):
        compare_sharing(Ridge(), X, y, task=task)


# ---------------------------------------------------------------- how it counts


@pytest.mark.parametrize(
    "scoring",
    [None, "mean_squared_error", mean_absolute_error, "r2", "median_absolute"],
)
def test_metrics_agree_on_a_clear_case(scoring):
    X, y, task = planted("outlier", n_tasks=30, n_rows=60)
    found = judged(X, y, task, ["pooled_offset"], scoring=scoring)
    assert found.table["verdict"][0] == g.HURT
    assert (found.table["verdict"][1:] != g.HURT).all()


def test_classes_and_rankings():
    X, y, task = planted("related", n_tasks=15, n_rows=40)
    y = np.where(y + np.random.default_rng(5).logistic(size=len(y)) > 0, "yes", "no")
    model = PerTaskClassifier()
    f1 = functools.partial(f1_score, pos_label="yes")
    for scoring in (None, "roc_auc", f1):
        found = judged(X, y, task, SHARED, model, scoring=scoring, cv=3)
        assert set(found.table["verdict"]) <= set(VERDICTS)
        assert share(found, g.HURT) == 0.0
    assert "of 100 rows are right" in judged(X, y, task, SHARED, model).verdict() or (
        "no clear difference" in judged(X, y, task, SHARED, model).verdict()
    )


def test_gain_and_error_are_in_the_metric():
    rng = np.random.default_rng(0)
    y, codes = rng.normal(size=4000), np.repeat([0, 1], 2000)
    z = {
        "pooled": y + rng.normal(size=4000),
        "independent": y + 2 * rng.normal(size=4000),
    }
    scoring = check_scoring(None, PerTaskRegressor())
    held = HeldOut(scoring, y, codes, np.arange(4000), z, 2, 1.0)
    error = held.errors("pooled", "independent")
    # of the difference between two independent roots of mean squares
    expected = np.sqrt((1.0**2 + 2.0**2) / (2 * 2000))
    np.testing.assert_allclose(error, expected, rtol=0.3)


def test_equal_predictions_are_no_difference():
    rng = np.random.default_rng(0)
    y, codes = rng.normal(size=200), np.repeat(np.arange(10), 20)
    z = {name: np.zeros(200) for name in ("learned", "independent")}
    held = HeldOut(
        check_scoring(None, PerTaskRegressor()), y, codes, np.arange(200), z, 10, 1.5
    )
    found = held.gains("learned", "independent")
    verdicts = g.judge(found, g.shrink(found), np.full(10, 20), 0.25)
    assert (verdicts == g.SAME).all()


def test_rows_that_several_folds_test_count_once():
    rng = np.random.default_rng(0)
    y, codes = rng.normal(size=60), np.repeat([0, 1, 2], 20)
    z = {name: y + rng.normal(size=60) for name in ("learned", "independent")}
    scoring = check_scoring(None, PerTaskRegressor())
    once = HeldOut(scoring, y, codes, np.arange(60), z, 3, 1.0)
    twice = HeldOut(
        scoring,
        np.tile(y, 2),
        np.tile(codes, 2),
        np.tile(np.arange(60), 2),
        {name: np.tile(one, 2) for name, one in z.items()},
        3,
        1.0,
    )
    for one, two in zip(
        once.gains("learned", "independent")[:3],
        twice.gains("learned", "independent")[:3],
        strict=True,
    ):
        np.testing.assert_allclose(one, two)


def test_weights_are_repeated_rows():
    rng = np.random.default_rng(0)
    y, codes = rng.normal(size=60), np.repeat([0, 1, 2], 20)
    z = {name: y + rng.normal(size=60) for name in ("learned", "independent")}
    times = rng.integers(1, 4, 60)
    for scoring in (None, "mean_absolute_error"):
        scoring = check_scoring(scoring, PerTaskRegressor())
        few = HeldOut(scoring, y, codes, np.arange(60), z, 3, 1.0, times.astype(float))
        many = HeldOut(
            scoring,
            y.repeat(times),
            codes.repeat(times),
            np.arange(times.sum()),
            {name: one.repeat(times) for name, one in z.items()},
            3,
            1.0,
        )
        assert few.overall == pytest.approx(many.overall)
        for one, two in zip(
            few.gains("learned", "independent")[:3],
            many.gains("learned", "independent")[:3],
            strict=True,
        ):
            np.testing.assert_allclose(one, two)


def test_inner_folds_follow_the_outer_ones():
    X, _, task = planted("related")
    folds = list(TaskStratifiedKFold(5).split(X, groups=task))
    train, test = folds[2]
    inner = inner_folds(folds, train, len(X))
    assert len(inner) == 4
    held = [set(train[part]) for _, part in inner]
    assert held == [set(part) for k, (_, part) in enumerate(folds) if k != 2]
    assert not set(test) & set.union(*held)
    assert inner_folds(folds[:2], folds[0][0], len(X)) is None


# ---------------------------------------------------------------- many tasks at once


def test_gains_are_drawn_to_their_mean():
    rng = np.random.default_rng(0)
    truth = 0.3 + 0.1 * rng.normal(size=200)
    seen = g.Gains(
        truth + 0.4 * rng.normal(size=200), np.full(200, 0.16 * 25), np.full(200, 25.0)
    )
    found = g.shrink(seen)
    assert np.mean((found.mean - truth) ** 2) < 0.2 * np.mean((seen.mean - truth) ** 2)
    inside = np.abs(found.mean - truth) < 2 * found.deviation
    assert 0.9 < inside.mean() <= 1.0
    assert not found.alone.any()


def test_a_task_that_does_not_fit_is_judged_alone():
    rng = np.random.default_rng(0)
    mean = 0.2 + 0.1 * rng.normal(size=30)
    mean[7] = -3.0
    seen = g.Gains(mean, np.full(30, 0.25), np.full(30, 25.0))
    found = g.shrink(seen)
    assert np.flatnonzero(found.alone).tolist() == [7]
    assert found.mean[7] == -3.0
    verdicts = g.judge(seen, found, np.full(30, 25), 0.25)
    assert verdicts[7] == g.HURT and np.sum(verdicts == g.GAINS) > 20


def test_small_tasks_may_gain_more():
    rng = np.random.default_rng(0)
    n = rng.integers(5, 400, 200).astype(float)
    truth = 4.0 / n
    seen = g.Gains(truth + rng.normal(size=200) / np.sqrt(n), np.ones(200), n)
    found = g.shrink(seen)
    large = n > 200
    assert np.abs(found.mean[large]).mean() < 0.05
    assert found.mean[n < 15].mean() > 0.25


def test_false_discoveries():
    p = np.array([0.001, 0.02, 0.03, 0.2, 0.9])
    assert g.false_discoveries(p, 0.05).tolist() == [True, True, True, False, False]
    rng = np.random.default_rng(0)
    found = [g.false_discoveries(rng.uniform(size=200), 0.05).any() for _ in range(400)]
    assert 0.02 < np.mean(found) < 0.09


def test_of_nothing_nothing_is_known():
    nothing = g.Gains(np.full(3, np.nan), np.full(3, np.nan), np.zeros(3))
    found = g.shrink(nothing)
    assert np.isnan(found.mean).all()
    assert (g.judge(nothing, found, np.zeros(3), 0.25) == g.FEW).all()
