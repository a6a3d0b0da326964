"""Smooth functions: planted curves, a slow twin, intervals, layouts, frames."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cases_curves import shops, waves
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mtlearn import MultiTaskAdditiveRegressor, MultiTaskBayesianRidge
from mtlearn.inspection import CurveDisplay


def root_mean_square(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


# ---------------------------------------------------------------- what is found


def test_planted_curves_are_found():
    X, y, task, truth = waves(own=1.0)
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    assert model.own_curves_ == [1]
    assert root_mean_square(model.predict(X, task=task), truth) < 0.15
    shared = model.curve(0, np.linspace(-0.9, 0.9, 50))
    wave = np.sin(3.0 * shared.values)
    assert_allclose(shared.shared - shared.shared.mean(), wave, atol=0.1)
    assert_allclose(model.noise_variance_, 0.09, rtol=0.15)
    # what is not there has no variance, or next to none
    assert model.shared_variance_[-2:].sum() < 1e-3


def test_own_curves_where_the_likelihood_gains():
    X, y, task, truth = waves(own=1.0)
    fits = {
        own: MultiTaskAdditiveRegressor(own_curves=own).fit(X, y, task=task)
        for own in ("auto", True, False)
    }
    fits["named"] = MultiTaskAdditiveRegressor(own_curves=[1]).fit(X, y, task=task)
    assert fits[False].own_curves_ == [] and fits["named"].own_curves_ == [1]
    assert_allclose(fits["auto"].coef_, fits["named"].coef_, atol=2e-3)
    errors = {
        own: root_mean_square(model.predict(X, task=task), truth)
        for own, model in fits.items()
    }
    assert errors["auto"] < 0.5 * errors[False] and errors["auto"] < 1.1 * errors[True]
    plain = waves(own=0.0)
    assert MultiTaskAdditiveRegressor().fit(*plain[:2], task=task).own_curves_ == []


def test_curves_beat_lines_and_lines_are_not_spoilt():
    X, y, task, truth = waves()
    lines = MultiTaskBayesianRidge().fit(X, y, task=task).predict(X, task=task)
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    curves = model.predict(X, task=task)
    assert root_mean_square(curves, truth) < 0.6 * root_mean_square(lines, truth)
    # a line in the data: the wiggles have variance zero, or next to none
    y = 2.0 * X[:, 0] + waves(noise=0.3, seed=1)[1] * 0.1
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    wiggles = model.shared_variance_[[1, 3, 5]]
    assert wiggles.max() < 1e-2 * model.shared_variance_[0]


def test_functions_that_turn_often_get_more_knots():
    X, _, task, _ = waves(T=20, n=50)
    truth = np.sin(16.0 * X[:, 0]) + (task % 5)
    y = truth + 0.3 * np.random.default_rng(4).normal(size=len(truth))
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    assert root_mean_square(model.predict(X, task=task), truth) < 0.12
    widths = np.bincount(model._terms.feature)
    assert widths[0] > 12 and np.all(widths[1:] == 7)
    # also where they are those of the tasks
    truth = np.sin(9.0 * X[:, 0]) * (task - 9.5) / 5.0
    y = truth + 0.3 * np.random.default_rng(4).normal(size=len(truth))
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    assert model.own_curves_ == [0]
    assert root_mean_square(model.predict(X, task=task), truth) < 0.25


def test_long_tails_do_no_harm():
    rng = np.random.default_rng(3)
    task = np.repeat(np.arange(20), 20)
    X = np.exp(2.0 * rng.normal(size=(400, 2)))
    truth = np.log(X[:, 0]) + rng.normal(size=20)[task]
    model = MultiTaskAdditiveRegressor().fit(
        X, truth + 0.3 * rng.normal(size=400), task=task
    )
    assert root_mean_square(model.predict(X, task=task), truth) < 0.15


# ---------------------------------------------------------------- the slow twin


def twin(model, C, y, tau, noise, spent):
    """Deviance and fit of y ~ N(b, sum tau_g C_g C_g' + noise I), all written out."""
    V = (C * tau[model._terms.groups]) @ C.T + noise * np.eye(len(y))
    one = np.ones((len(y), 1))
    inverse = np.linalg.inv(V)
    weight = one.T @ inverse @ one
    b = np.linalg.solve(weight, one.T @ inverse @ y)
    left = inverse @ (y - one @ b)
    deviance = np.linalg.slogdet(V)[1] + np.linalg.slogdet(weight)[1]
    deviance += (y - one @ b) @ left + (len(y) - 1) * np.log(2 * np.pi)
    return deviance, deviance - spent * np.log(noise), y - noise * left


def test_without_tasks_it_is_a_plain_additive_model():
    X, y, _, _ = waves(T=4, n=25, level=0.0, seed=2)
    model = MultiTaskAdditiveRegressor(tol=1e-9).fit(X, y)
    C = model._terms.columns(X)
    # six variances of lines and wiggles, and the noise, at half a label each; the
    # level of a single task is its fourth
    tau, noise = model.shared_variance_, model.noise_variance_
    deviance, best, fitted = twin(model, C, y, tau, noise, 4.0)
    assert_allclose(model.log_likelihood_, -0.5 * deviance, rtol=1e-4)
    assert_allclose(model.predict(X), fitted, atol=1e-5)
    for g in range(len(tau)):
        for factor in (0.9, 1.1):
            other = np.where(np.arange(len(tau)) == g, factor * tau, tau)
            assert twin(model, C, y, other, noise, 4.0)[1] >= best - 1e-6
    for factor in (0.97, 1.03):
        assert twin(model, C, y, tau, factor * noise, 4.0)[1] >= best - 1e-4


# ---------------------------------------------------------------- what is not known


def test_intervals_of_old_and_new_tasks_cover():
    inside = {"old": [], "new": []}
    for seed in range(4):
        X, y, task, _ = waves(T=200, n=16, new=200, own=0.7, seed=seed)
        old, first = task < 200, np.arange(len(y)) % 16 < 10
        model = MultiTaskAdditiveRegressor()
        model.fit(X[old & first], y[old & first], task=task[old & first])
        for name, rows in (("old", old & ~first), ("new", ~old)):
            ends = model.predict_interval(X[rows], 0.9, task=task[rows])
            inside[name].append((ends[:, 0] <= y[rows]) & (y[rows] <= ends[:, 1]))
    assert 0.87 < np.mean(inside["old"]) < 0.93
    assert 0.87 < np.mean(inside["new"]) < 0.93


def test_rows_of_large_weight_are_not_taken_for_noiseless():
    X, y, task, _ = waves(T=5, n=12)
    model = MultiTaskAdditiveRegressor().fit(X, y, np.full(60, 100.0), task=task)
    assert model.noise_variance_ > 0.01


def test_few_rows_and_many_features_are_not_taken_for_noiseless():
    inside = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, task = rng.normal(size=(400, 20)), rng.integers(0, 20, size=400)
        y = X[:, 0] + np.sin(2.0 * X[:, 1]) + rng.normal(size=20)[task]
        y += 0.7 * rng.normal(size=400)
        model = MultiTaskAdditiveRegressor().fit(X[:100], y[:100], task=task[:100])
        ends = model.predict_interval(X[100:], task=task[100:])
        inside.append((ends[:, 0] <= y[100:]) & (y[100:] <= ends[:, 1]))
    assert 0.84 < np.mean(inside) < 0.95


# ---------------------------------------------------------------- data


def test_both_layouts_agree():
    rng = np.random.default_rng(3)
    X = rng.uniform(size=(60, 2))
    Y = np.sin(5 * X[:, :1]) + rng.normal(size=4) + 0.2 * rng.normal(size=(60, 4))
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    Y[0] = np.nan  # a row without labels is none
    wide = MultiTaskAdditiveRegressor(tol=1e-8).fit(X, Y)
    row, column = np.nonzero(~np.isnan(Y))
    long = MultiTaskAdditiveRegressor(tol=1e-8).fit(X[row], Y[row, column], task=column)
    mean, std = wide.predict(X, return_std=True)
    assert mean.shape == std.shape == (60, 4)
    assert wide.predict_interval(X).shape == (60, 4, 2)
    for t in range(4):
        alone = long.predict(X, return_std=True, task=np.full(60, t))
        assert_allclose(mean[:, t], alone[0], atol=1e-5)
        assert_allclose(std[:, t], alone[1], rtol=1e-5)


def test_weights_count_rows():
    X, y, task, _ = waves(T=12, n=20)
    weight = np.random.default_rng(1).integers(0, 3, size=len(y))
    model = MultiTaskAdditiveRegressor(own_curves=False, tol=1e-8)
    weighted = clone(model).fit(X, y, weight, task=task)
    again = [np.repeat(part, weight, axis=0) for part in (X, y, task)]
    repeated = model.fit(*again[:2], task=again[2])
    assert_allclose(
        weighted.predict(X, task=task), repeated.predict(X, task=task), atol=1e-5
    )
    assert_allclose(weighted.log_likelihood_, repeated.log_likelihood_, rtol=1e-7)


@pytest.mark.parametrize("library", [None, "polars", "pyarrow"])
def test_frames_with_categories(library):
    X, y = shops(library)
    model = MultiTaskAdditiveRegressor(task_column="shop").fit(X, y)
    assert model.score(X, y) > 0.98
    assert model.term_names_[:4].tolist() == [
        "kind=coffee",
        "kind=milk",
        "kind=tea",
        "town=y",
    ]
    pandas = MultiTaskAdditiveRegressor(task_column="shop").fit(*shops())
    assert_allclose(model.predict(X), pandas.predict(shops()[0]), atol=1e-8)
    assert_array_equal(model.tasks_, list("abcde"))


def test_categories_that_fit_did_not_see_are_level_zero():
    X, y = shops()
    before = X.copy(deep=True)
    model = MultiTaskAdditiveRegressor(task_column="shop").fit(X, y)
    pd.testing.assert_frame_equal(X, before)
    rows = X.iloc[:6].copy()
    rows["kind"] = "water"
    known = model._terms.kind == 2
    known &= model._terms.feature == 0
    found = model.predict(X.iloc[:6])
    place = pd.Categorical(X["kind"][:6], categories=["coffee", "milk", "tea"]).codes
    codes = np.searchsorted(model.tasks_, X["shop"][:6].to_numpy(dtype=str))
    own = model.coef_[codes][:, known][np.arange(6), place]
    assert_allclose(model.predict(rows), found - own, atol=1e-10)
    assert np.all(np.isfinite(model.predict(rows, return_std=True)[1]))
    rows["shop"] = "new"
    assert np.all(np.isfinite(model.predict(rows)))


def test_frames_of_other_types_and_names():
    X, y = shops()
    names = MultiTaskAdditiveRegressor(task_column="shop").fit(X, y).predict(X)
    # names that are numbers, an id column in the middle, strings as objects
    other = X[["kind", "town", "shop", "open", "size"]].set_axis(range(5), axis=1)
    other[0] = other[0].astype(object)
    other[4] = other[4].astype("Float64")
    model = MultiTaskAdditiveRegressor(task_column=2, own_curves=[3]).fit(other, y)
    assert model.own_curves_ in ([], [3])
    assert model.term_names_[:5].tolist()[-2:] == ["x1=y", "x2"]
    auto = MultiTaskAdditiveRegressor(task_column=2).fit(other, y)
    assert_allclose(auto.predict(other), names, atol=1e-6)
    assert auto.curve(0).values.tolist() == ["coffee", "milk", "tea"]
    # categories that are numbers stay categories
    other[1] = pd.Categorical((other[1] == "x").astype(int))
    numbers = MultiTaskAdditiveRegressor(task_column=2).fit(other, y)
    assert_allclose(numbers.predict(other), names, atol=1e-6)
    assert "x1=1" in numbers.term_names_


def test_frames_that_do_not_fit():
    X, y = shops()
    hole = X.copy()
    hole["town"] = hole["town"].where(np.arange(len(X)) > 0, None)
    with pytest.raises(ValueError, match="category column 'town' of X has missing"):
        MultiTaskAdditiveRegressor(task_column="shop").fit(hole, y)
    model = MultiTaskAdditiveRegressor(task_column="shop").fit(X, y)
    with pytest.raises(ValueError, match="category column 'town' of X has missing"):
        model.predict(hole)
    with pytest.raises(ValueError, match=r"with the category columns \['kind', 'town'"):
        model.predict(np.zeros((3, 5)))


def test_sparse_features_are_made_dense():
    X, y, task, _ = waves(T=10, n=20)
    X[X < -0.5] = 0.0
    dense = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    sparse = MultiTaskAdditiveRegressor().fit(sp.csr_array(X), y, task=task)
    assert_allclose(
        sparse.predict(sp.csr_array(X), task=task), dense.predict(X, task=task)
    )


def test_units_do_not_matter():
    X, y, task, _ = waves(T=10, n=20)
    base = MultiTaskAdditiveRegressor(tol=1e-8).fit(X, y, task=task)
    other = X * [1e9, 1e-9, 1.0] + [1e10, 0.0, 5.0]
    model = MultiTaskAdditiveRegressor(tol=1e-8).fit(other, 1e4 * y + 1e6, task=task)
    found = (model.predict(other, task=task) - 1e6) / 1e4
    assert_allclose(found, base.predict(X, task=task), atol=1e-3)


def test_awkward_data():
    rng = np.random.default_rng(6)
    X = np.column_stack(
        [rng.normal(size=80), np.full(80, 3.0), rng.integers(2, size=80)]
    )
    y = X[:, 0] + rng.normal(size=80)
    # one row each, a constant feature, and a task of its own for the last ones
    alone = MultiTaskAdditiveRegressor().fit(X, y, task=np.arange(80))
    assert np.all(np.isfinite(alone.predict(X, task=np.arange(80))))
    few = MultiTaskAdditiveRegressor().fit(X[:3], y[:3], task=[0, 0, 1])
    assert np.all(np.isfinite(few.predict(X, task=np.full(80, 9))))
    same = MultiTaskAdditiveRegressor().fit(X, np.full(80, 2.0), task=np.arange(80) % 4)
    assert_allclose(same.predict(X, task=np.zeros(80, dtype=int)), 2.0)
    none = MultiTaskAdditiveRegressor(fit_intercept=False).fit(
        X, y, task=np.arange(80) % 4
    )
    assert_array_equal(none.intercept_, 0.0)
    assert len(none.summary().coefficients) == 3
    with pytest.warns(UserWarning, match="no labels in this fit"):
        MultiTaskAdditiveRegressor().fit(X, np.c_[y, np.full(80, np.nan)])


def test_two_thousand_tasks():
    X, y, task, truth = waves(T=2000, n=5)
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    assert root_mean_square(model.predict(X, task=task), truth) < 0.2
    assert model.optimality_ <= 1e-6


# ---------------------------------------------------------------- reports


def test_reports():
    X, y = shops()
    model = MultiTaskAdditiveRegressor(task_column="shop", own_curves=["size"])
    model.fit(X, y)
    assert len(model.term_names_) == model.coef_.shape[1] == 4 + 1 + 7
    summary = model.summary()
    assert summary.coefficients["effect"].tolist() == [
        *model.term_names_[:6],
        "intercept",
    ]
    assert summary.variances["effect"].tolist() == [
        "kind=coffee",
        "town=y",
        "open",
        "size",
        "size (curve)",
        "intercept",
        "noise",
    ]
    assert_allclose(
        summary.variances["shared_variance"].iloc[:5], model.shared_variance_
    )
    effects = model.task_effects()
    assert set(effects["effect"]) == {"open", "size", "intercept"}
    assert len(effects) == 15


def test_curves_of_a_feature():
    X, y = shops()
    model = MultiTaskAdditiveRegressor(task_column="shop").fit(X, y)
    curves = model.curve("size")
    assert curves.values[[0, -1]].tolist() == [X["size"].min(), X["size"].max()]
    assert curves.tasks.shape == (5, 100) and np.all(curves.standard_error > 0)
    # differences along the curve are those of predictions
    rows = X.iloc[[0, 0]].copy()
    rows["size"] = [0.2, 0.7]
    at = model.curve("size", [0.2, 0.7])
    t = list(model.tasks_).index(X["shop"].iloc[0])
    assert_allclose(np.diff(at.tasks[t]), np.diff(model.predict(rows)))
    kinds = model.curve("kind")
    assert kinds.values.tolist() == ["coffee", "milk", "tea"]
    assert_allclose(np.diff(kinds.shared)[0], -2.0, atol=0.1)
    with pytest.raises(ValueError, match="`feature` names 'depth', but the features"):
        model.curve("depth")
    with pytest.raises(ValueError, match="`feature` must hold names, or positions"):
        model.curve(4)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_knots": 0}, "`n_knots` must be finite and >= 1"),
        ({"n_knots": 2.5}, "`n_knots` must be an integer"),
        ({"own_curves": "all"}, "`own_curves` must be 'auto', True, False, or a list"),
        ({"own_curves": 3}, "`own_curves` must be 'auto', True, False, or a list"),
        ({"own_curves": ["age"]}, "`own_curves` names 'age', but X has no column"),
        ({"own_curves": [3]}, "`own_curves` must hold names, or positions"),
        ({"fit_intercept": "shrunk"}, "`fit_intercept` must be True or False"),
        ({"tol": 0}, "`tol`"),
    ],
)
def test_bad_parameters(params, message):
    X, y, task, _ = waves(T=5, n=10)
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    before = vars(model).copy()
    with pytest.raises((ValueError, TypeError), match=message):
        model.set_params(**params).fit(X, y, task=task)
    # a fit that fails leaves the last one as it was
    assert model.coef_ is before["coef_"] and model._terms is before["_terms"]


def test_features_that_are_not_numbers():
    X, y, task, _ = waves(T=5, n=10)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        MultiTaskAdditiveRegressor().fit(X, y, task=task)


# ---------------------------------------------------------------- the picture


def test_picture_of_a_curve(canvas):
    X, y, task, _ = waves(T=12, n=20, own=0.5)
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    picture = CurveDisplay.from_estimator(model, 0)
    curves = model.curve(0)
    assert_array_equal(picture.line_.get_ydata(), curves.shared)
    lines = picture.task_lines_.get_segments()
    assert_array_equal([line[:, 1] for line in lines], curves.tasks)
    ends = picture.band_.get_paths()[0].vertices[:, 1]
    width = 1.6449 * curves.standard_error
    assert_allclose(ends.max(), (curves.shared + width).max(), rtol=1e-3)
    assert picture.ax_.get_xlabel() == "x0" and "90 % band" in picture.ax_.get_title()
    ax = canvas.subplots()[1]
    few = CurveDisplay.from_estimator(model, 1, ax=ax, max_tasks=5)
    assert few.ax_ is ax and len(few.task_lines_.get_segments()) == 5
    assert "5 of 12 tasks" in ax.get_title()


def test_picture_of_levels(canvas):
    X, y = shops()
    model = MultiTaskAdditiveRegressor(task_column="shop").fit(X, y)
    picture = CurveDisplay.from_estimator(
        make_pipeline(FunctionTransformer(), model), "kind"
    )
    labels = [label.get_text() for label in picture.ax_.get_xticklabels()]
    assert labels == ["coffee", "milk", "tea"]
    with pytest.raises(TypeError, match="must be an additive model"):
        CurveDisplay.from_estimator(MultiTaskBayesianRidge(), 0)
    with pytest.raises(ValueError, match="`coverage`"):
        CurveDisplay.from_estimator(model, "kind", coverage=90)
