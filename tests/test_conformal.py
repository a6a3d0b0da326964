"""TaskConformal: as many labels inside as asked, in small, large and new tasks."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor, TaskConformal
from mtlearn.model_selection import TaskStratifiedKFold
from mtlearn.solvers.evidence.spreads import Calibration, covering, find_spreads

SIZES = np.array([2, 5, 20, 100])
RIDGE = PerTaskRegressor(relation="shared_mean")


@parametrize_with_checks(
    [
        TaskConformal(PerTaskRegressor(), cv=2),
        TaskConformal(Ridge(), method="split", new_tasks=False),
    ]
)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([TaskConformal(), TaskConformal(normalize=True)])
def test_checks_of_learned_models(estimator, check):
    check(estimator)


def draw(seed=0, n_tasks=10, sizes=SIZES, noise=0.8):
    """Rows of tasks of several sizes, noise that differs, and new rows of each."""
    rng = np.random.default_rng(seed)
    n = np.repeat(sizes, n_tasks)
    W = rng.normal(size=2) + 0.3 * rng.normal(size=(len(n), 2))
    b, scale = rng.normal(size=len(n)), np.exp(noise * rng.normal(size=len(n)))

    def rows(size):
        task = np.repeat(np.arange(len(n)), size)
        X = rng.normal(size=(len(task), 2))
        y = (X * W[task]).sum(axis=1) + b[task]
        return X, y + scale[task] * rng.normal(size=len(task)), task

    return n, rows(n), rows(np.full(len(n), 50))


def inside(interval, y):
    return (interval[..., 0] <= y) & (y <= interval[..., 1])


# ---------------------------------------------------------------- spreads


@pytest.mark.parametrize("kind", ["normal", "heavy", "alike"])
def test_shares_of_every_size(kind):
    """Errors whose spreads differ, of tasks of all sizes, new ones of each."""
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = np.repeat(SIZES, 30)
        scale = np.exp(0.7 * rng.normal(size=len(n)) * (kind != "alike"))

        def errors(size, scale=scale, rng=rng):
            codes = np.repeat(np.arange(len(size)), size)
            normal = kind != "heavy"
            e = (
                rng.normal(size=len(codes))
                if normal
                else rng.standard_t(3, size=len(codes))
            )
            return e * scale[codes], codes

        e, codes = errors(n)
        new, place = errors(np.full(len(n), 40))
        calibration = Calibration(find_spreads(e, codes, n), e, codes, np.ones(len(e)))
        hit = np.abs(new) <= calibration.half_widths(0.9)[place]
        shares.append([hit[n[place] == size].mean() for size in SIZES])
    assert_allclose(np.mean(shares, axis=0), 0.9, atol=0.03)


def test_spreads_are_found():
    rng = np.random.default_rng(0)
    n = np.full(400, 6)
    # scaled inverse chi-squares with 8 degrees
    scale = np.sqrt(8.0 / rng.chisquare(8, size=400))
    codes = np.repeat(np.arange(400), 6)
    e = 1e3 * scale[codes] * rng.normal(size=len(codes))
    spreads = find_spreads(e, codes, n)
    assert 5 < spreads.degrees < 13
    assert_allclose(spreads.common, 1e6, rtol=0.15)
    raw = np.sqrt(spreads.squares / 6)
    error = [np.mean(np.log(s / (1e3 * scale)) ** 2) for s in (spreads.scale(), raw)]
    assert error[0] < 0.7 * error[1]


def test_small_tasks_may_have_larger_errors():
    rng = np.random.default_rng(0)
    n = np.repeat([1, 50], 100)
    codes = np.repeat(np.arange(200), n)
    e = np.where(n == 1, 3.0, 1.0)[codes] * rng.normal(size=n.sum())
    common = find_spreads(e, codes, n).common
    assert 4 < common[0] / common[-1] < 16


def test_covering():
    values, ones = np.arange(1.0, 10.0), np.ones(9)
    assert covering(values, ones, 0.9, 1.0) == 9.0
    assert covering(values, ones, 0.5, 1.0) == 5.0
    assert covering(values[::-1], ones, 0.5, 1.0) == 5.0
    assert covering(values, ones, 0.91, 1.0) == np.inf
    assert covering(values, np.arange(9.0, 0.0, -1.0), 0.5, 0.0) == 3.0


def test_errors_that_vanish():
    codes = np.repeat([0, 1], [3, 30])
    calibration = Calibration(
        find_spreads(np.zeros(33), codes, np.array([3, 30])),
        np.zeros(33),
        codes,
        np.ones(33),
    )
    assert_array_equal(calibration.half_widths(0.9), 0.0)


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    "model",
    [
        TaskConformal(RIDGE, new_tasks=False),
        TaskConformal(RIDGE, method="split", new_tasks=False),
        TaskConformal(normalize=True, new_tasks=False),
    ],
    ids=["cv", "split", "normalize"],
)
def test_coverage_of_every_size(model):
    found = []
    for seed in range(3):
        n, (X, y, task), (X_new, y_new, new) = draw(seed, n_tasks=16)
        model.fit(X, y, task=task)
        hit = inside(model.predict_interval(X_new, 0.8, task=new), y_new)
        found.append([hit[n[new] == size].mean() for size in SIZES])
    # 48 tasks of each size
    assert_allclose(np.mean(found, axis=0), 0.8, atol=0.08)
    # quiet tasks have short intervals
    low, high = model.predict_interval(X, task=task).T
    width = (high - low)[n[task] == 100]
    assert np.quantile(width, 0.9) > 2 * np.quantile(width, 0.1)


def test_new_tasks():
    _, (X, y, task), (X_new, y_new, new) = draw(1, n_tasks=15, sizes=(5, 20, 20))
    known = task < 30
    model = TaskConformal(RIDGE).fit(X[known], y[known], task=task[known])
    interval = model.predict_interval(X_new, task=new)
    low, high = interval.T
    unseen = new >= 30
    # they share one width, wider than most, as their level is not known
    assert np.ptp((high - low)[unseen]) < 1e-9
    assert (high - low)[unseen][0] > np.median((high - low)[~unseen])
    assert abs(inside(interval, y_new)[unseen].mean() - 0.9) < 0.12
    with pytest.raises(ValueError, match="tasks that fit never saw"):
        model = TaskConformal(RIDGE, new_tasks=False).fit(X, y, task=task)
        model.predict_interval(X[:2], task=[0, 99])
    # eight tasks and a ninth
    few = task < 8
    model = TaskConformal(RIDGE).fit(X[few], y[few], task=task[few])
    assert np.all(np.isinf(model.predict_interval(X[:1], 0.9, task=[99])))
    assert np.all(np.isfinite(model.predict_interval(X[:1], 0.8, task=[99])))


def test_any_regressor_and_any_container():
    _, (X, y, task), _ = draw(0, n_tasks=3)
    names = np.array([f"t{t}" for t in task])
    df = pd.DataFrame({"a": X[:, 0], "school": names, "b": X[:, 1]})
    model = TaskConformal(PerTaskRegressor(), task_column="school", cv=3).fit(df, y)
    expected = model.predict_interval(df)
    assert expected.shape == (len(y), 2)
    assert model.tasks_.tolist() == sorted(set(names))
    assert model.feature_names_in_.tolist() == list(df)
    frame = pl.DataFrame({name: df[name].to_list() for name in df})
    same = clone(model).fit(frame, y).predict_interval(frame)
    assert_allclose(same, expected)
    by_task = TaskConformal(PerTaskRegressor(), cv=3).fit(X, y, task=names)
    assert_allclose(by_task.predict_interval(X, task=names), expected)
    sparse = TaskConformal(PerTaskRegressor(), cv=3)
    sparse.fit(sp.csr_array(X), y, task=names)
    assert_allclose(sparse.predict_interval(sp.csr_array(X), task=names), expected)
    # one that knows no tasks, which only the widths do
    plain = TaskConformal(make_pipeline(StandardScaler(), Ridge()), cv=3)
    plain.fit(X, y, task=names)
    assert_allclose(plain.predict(X, task=names), plain.estimator_.predict(X))
    assert len(np.unique(np.diff(plain.predict_interval(X, task=names)).round(9))) > 5
    assert plain.score(X, y, task=names) == plain.estimator_.score(X, y)


def test_columns_of_y(wide_regression):
    p = wide_regression
    model = TaskConformal(PerTaskRegressor()).fit(p.X, p.Y, p.weights)
    interval = model.predict_interval(p.X, 0.7)
    assert interval.shape == (30, 5, 2)
    assert_allclose(interval.mean(axis=-1), model.predict(p.X))
    assert len(model.errors_) == (~np.isnan(p.Y)).sum()
    # and without tasks it is one width for all
    single = TaskConformal(Ridge()).fit(p.X, p.Y[:, 0])
    assert np.ptp(np.diff(single.predict_interval(p.X), axis=1)) < 1e-9


def test_weights():
    _, (X, y, task), _ = draw(0, n_tasks=3)
    keep = np.arange(len(y)) % 3 > 0
    cv = list(TaskStratifiedKFold(3).split(X, groups=task))
    whole = TaskConformal(RIDGE, cv=cv).fit(X, y, 1.0 * keep, task=task)
    among = np.cumsum(keep) - 1
    cv = [(among[a[keep[a]]], among[b[keep[b]]]) for a, b in cv]
    some = TaskConformal(RIDGE, cv=cv).fit(X[keep], y[keep], task=task[keep])
    assert_allclose(
        whole.predict_interval(X, task=task), some.predict_interval(X, task=task)
    )
    # all the weight on rows of small errors
    errors = np.zeros(len(y))
    order = np.concatenate(
        [test for _, test in TaskStratifiedKFold(3).split(y, groups=task)]
    )
    plain = TaskConformal(RIDGE, cv=list(TaskStratifiedKFold(3).split(X, groups=task)))
    plain.fit(X, y, task=task)
    errors[order] = plain.errors_
    weight = np.where(np.abs(errors) < np.median(np.abs(errors)), 1.0, 0.01)
    heavy = clone(plain).fit(X, y, weight, task=task)
    large = np.bincount(task)[task] == 100
    widths = [np.diff(m.predict_interval(X, task=task))[large] for m in (heavy, plain)]
    assert np.mean(widths[0]) < 0.8 * np.mean(widths[1])


def test_extremes():
    rng = np.random.default_rng(0)
    # two thousand tasks, many of a single row, and a constant column
    task = np.concatenate([np.arange(2000), rng.integers(0, 500, 1500)])
    X = np.column_stack([rng.normal(size=3500), np.ones(3500)])
    y = X[:, 0] + rng.normal(size=3500)
    model = TaskConformal(RIDGE, cv=2, new_tasks=False).fit(X, y, task=task)
    hit = inside(model.predict_interval(X, task=task), y)
    assert hit.mean() > 0.9 and model.task_scale_.shape == (2000,)
    # two rows: nothing finite can be said
    model = TaskConformal(Ridge()).fit(X[:2], y[:2])
    assert np.all(np.isinf(model.predict_interval(X[:1])))


def test_in_the_tools_of_scikit_learn():
    _, (X, y, task), _ = draw(0, n_tasks=3)
    X = np.column_stack([task, X])
    model = TaskConformal(PerTaskRegressor(task_column=0), cv=2, new_tasks=False)
    cv = TaskStratifiedKFold(2, task_column=0)
    assert len(cross_val_score(model, X, y, cv=cv)) == 2
    search = GridSearchCV(model, {"estimator__alpha": [0.1, 10.0]}, cv=cv).fit(X, y)
    assert search.best_estimator_.predict_interval(X).shape == (len(y), 2)


def test_a_fit_that_fails_leaves_the_model():
    _, (X, y, task), _ = draw(0, n_tasks=3)
    model = TaskConformal(RIDGE, cv=2, new_tasks=False).fit(X, y, task=task)
    before = model.predict_interval(X, task=task)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X > 2, np.nan, X), y, task=task)
    assert_array_equal(model.predict_interval(X, task=task), before)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": LogisticRegression()}, TypeError, "must be a regressor"),
        ({"estimator": Ridge}, TypeError, "must be a regressor"),
        ({"method": "jackknife"}, ValueError, "`method` must be one of"),
        ({"normalize": "yes"}, ValueError, "`normalize` must be one of"),
        ({"new_tasks": 2}, ValueError, "`new_tasks` must be one of"),
        ({"estimator": Ridge(), "normalize": True}, ValueError, "`return_std`"),
    ],
)
def test_what_is_refused(params, error, message):
    _, (X, y, task), _ = draw(0, n_tasks=3)
    with pytest.raises(error, match=message):
        TaskConformal(**params).fit(X, y, task=task)


def test_calls_that_are_refused():
    _, (X, y, task), _ = draw(0, n_tasks=3)
    model = TaskConformal(Ridge(), new_tasks=False).fit(X, y, task=task)
    with pytest.raises(ValueError, match="`task` is missing"):
        model.predict_interval(X)
    for coverage in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="`coverage` must be"):
            model.predict_interval(X, coverage, task=task)
    assert isinstance(model.estimator, Ridge)
    assert isinstance(TaskConformal().fit(X, y).estimator_, MultiTaskBayesianRidge)


def test_two_paths_to_one_class():
    from mtlearn import model_selection

    assert model_selection.TaskConformal is TaskConformal
    with pytest.raises(AttributeError, match="no attribute 'TaskConformall'"):
        _ = model_selection.TaskConformall
