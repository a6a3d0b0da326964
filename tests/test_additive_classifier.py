"""Curves of log-odds: planted ones, a slow twin, calibration, layouts, odd data."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cases_curves import shops, waves
from numpy.testing import assert_allclose, assert_array_equal
from reference.laplace import DenseLabels
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from mtlearn import MultiTaskAdditiveClassifier, MultiTaskBayesianClassifier
from mtlearn.inspection import CurveDisplay


def drawn(T=30, n=40, *, new=0, own=0.0, level=1.0, seed=0):
    """Rows, labels, tasks and true probabilities of waves in the log-odds."""
    X, _, task, truth = waves(T, n, new=new, own=own, level=level, seed=seed)
    p = expit(2.0 * truth)
    y = (np.random.default_rng(seed + 100).uniform(size=len(p)) < p).astype(int)
    return X, y, task, p


# ---------------------------------------------------------------- what is found


def test_planted_curves_are_found():
    X, y, task, p = drawn(40, 80, own=1.0, seed=1)
    model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    assert model.own_curves_ == [1] and model.optimality_ <= 1e-6
    found = model.predict_proba(X, task=task)[:, 1]
    assert np.mean((found - p) ** 2) < 0.01
    shared = model.curve(0, np.linspace(-0.9, 0.9, 50))
    wave = 2.0 * np.sin(3.0 * shared.values)
    assert_allclose(shared.shared - shared.shared.mean(), wave, atol=0.45)
    # what is not there has no variance, or next to none
    assert model.shared_variance_[-2:].sum() < 0.05


def test_own_curves_where_the_likelihood_gains():
    X, y, task, p = drawn(40, 60, own=1.0)
    fits = {
        own: MultiTaskAdditiveClassifier(own_curves=own).fit(X, y, task=task)
        for own in ("auto", True, False)
    }
    assert fits[False].own_curves_ == [] and fits["auto"].own_curves_ == [1]
    errors = {
        own: np.mean((model.predict_proba(X, task=task)[:, 1] - p) ** 2)
        for own, model in fits.items()
    }
    assert errors["auto"] < 0.5 * errors[False]
    assert errors["auto"] < 1.1 * errors[True]
    named = MultiTaskAdditiveClassifier(own_curves=[1]).fit(X, y, task=task)
    assert_allclose(named.log_likelihood_, fits["auto"].log_likelihood_, rtol=1e-4)
    plain = drawn(40, 60)
    model = MultiTaskAdditiveClassifier().fit(*plain[:2], task=plain[2])
    assert model.own_curves_ == []


def test_better_than_lines():
    X, y, task, p = drawn(new=1)
    lines = MultiTaskBayesianClassifier().fit(X, y, task=task)
    curves = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    errors = [
        np.mean((model.predict_proba(X, task=task)[:, 1] - p) ** 2)
        for model in (lines, curves)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_the_likelihood_is_that_of_the_slow_twin():
    X, y, task, _ = drawn(8, 40, own=1.5)
    task[:3] = 8, 9, 10  # tasks of a single label
    model = MultiTaskAdditiveClassifier(own_curves=[1]).fit(X, y, task=task)
    assert model.own_curves_ == [1]
    codes = np.unique(task, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    C = np.column_stack([model._terms.columns(X), np.ones(len(y))])[order]
    tau = np.append(model.shared_variance_[model._terms.groups], 1e12)
    flat = np.append(np.zeros(C.shape[1] - 1, dtype=bool), True)
    sign = np.where(y == 1, 1.0, -1.0)[order]
    weight, every = np.ones(len(y)), np.eye(C.shape[1])
    twin = DenseLabels(C, codes[order], sign, weight, every, flat)
    deviance = twin.deviance(model.covariance_, tau)
    assert_allclose(model.log_likelihood_, -0.5 * deviance, rtol=1e-6)
    mode = twin.mode(model.covariance_, tau)[0]
    assert_allclose(model.shared_coef_, mode[: C.shape[1] - 1], atol=1e-4)


def test_levels_alone_are_integrated():
    # small tasks, of which no slope is found to differ: as if nothing else could
    for seed in range(4):
        X, y, task, _ = drawn(400, 4, level=1.0, seed=seed)
        lines = MultiTaskBayesianClassifier().fit(X, y, task=task)
        if not np.diag(lines.covariance_)[:-1].any():
            levels = MultiTaskBayesianClassifier("intercept").fit(X, y, task=task)
            assert_allclose(lines.covariance_, levels.covariance_, rtol=1e-3)
            assert_allclose(lines.log_likelihood_, levels.log_likelihood_, rtol=1e-6)
            return
    pytest.fail("a slope differs in every draw")


def test_what_is_constant_in_every_task_has_no_slopes():
    X, y, task, _ = drawn(60, 10)
    X = np.column_stack([X, np.random.default_rng(0).normal(size=60)[task]])
    model = MultiTaskAdditiveClassifier(own_curves=True).fit(X, y, task=task)
    own = model._terms.feature == 3
    assert_array_equal(np.diag(model.covariance_)[:-1][own], 0.0)
    assert np.any(np.diag(model.covariance_)[:-1][~own] > 0)


# ---------------------------------------------------------------- probabilities


def test_probabilities_are_calibrated_for_old_and_new_tasks():
    X, y, task, _ = drawn(150, 24, new=150, own=0.7, level=0.8, seed=2)
    old, first = task < 150, np.arange(len(y)) % 24 < 12
    model = MultiTaskAdditiveClassifier()
    model.fit(X[old & first], y[old & first], task=task[old & first])
    for rows in (old & ~first, ~old):
        z = model.decision_function(X[rows], task=task[rows])
        p = model.predict_proba(X[rows], task=task[rows])
        assert_allclose(expit(z), p[:, 1])
        assert_array_equal(model.predict(X[rows], task=task[rows]), (z > 0).astype(int))
        slope = LogisticRegression(C=1e4).fit(z[:, None], y[rows])
        assert abs(slope.coef_[0, 0] - 1.0) < 0.2
        assert abs(slope.intercept_[0]) < 0.2
    # a new task has its own variance to be averaged over
    sharp = model._represent(X[~old]) @ model.shared_coef_ + model.shared_intercept_
    assert log_loss(y[~old], p) < log_loss(y[~old], expit(sharp))


def test_one_row_per_task_is_not_worse_than_one_model():
    for level in (0.0, 0.8):
        X, y, task, _ = drawn(1200, 5, level=level, seed=3)
        first = np.arange(len(y)) % 5 == 0
        model = MultiTaskAdditiveClassifier()
        model.fit(X[first], y[first], task=task[first])
        assert 0.05 < model.covariance_[-1, -1] < 4.0
        own = model.predict_proba(X[~first], task=task[~first])[:, 1]
        one = MultiTaskAdditiveClassifier().fit(X[first], y[first])
        alone = one.predict_proba(X[~first])[:, 1]
        gain = roc_auc_score(y[~first], own) - roc_auc_score(y[~first], alone)
        assert gain > (0.01 if level else -0.01)


# ---------------------------------------------------------------- data


def test_both_layouts_agree():
    rng = np.random.default_rng(3)
    X = rng.uniform(size=(80, 2))
    z = 3 * np.sin(5 * X[:, :1]) + rng.normal(size=4)
    Y = (rng.uniform(size=z.shape) < expit(z)).astype(float)
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    wide = MultiTaskAdditiveClassifier(tol=1e-8).fit(X, Y)
    row, column = np.nonzero(~np.isnan(Y))
    long = MultiTaskAdditiveClassifier(tol=1e-8)
    long.fit(X[row], Y[row, column], task=column)
    p = wide.predict_proba(X)
    assert p.shape == wide.predict(X).shape == (80, 4)
    for t in range(4):
        alone = long.predict_proba(X, task=np.full(80, t))
        assert_allclose(p[:, t], alone[:, 1], atol=1e-5)


def test_weights_count_rows():
    X, y, task, _ = drawn(12, 20)
    weight = np.random.default_rng(1).integers(0, 3, size=len(y))
    model = MultiTaskAdditiveClassifier(own_curves=[1], tol=1e-8)
    first = model.fit(X, y, weight, task=task).predict_proba(X, task=task)
    value = model.log_likelihood_
    again = [np.repeat(part, weight, axis=0) for part in (X, y, task)]
    model.fit(*again[:2], task=again[2])
    assert_allclose(first, model.predict_proba(X, task=task), atol=1e-5)
    assert_allclose(value, model.log_likelihood_, rtol=1e-7)


def test_frames_with_string_ids_and_categories():
    X, value = shops()
    y = np.where(value > np.median(value), "high", "low")
    before = X.copy(deep=True)
    model = MultiTaskAdditiveClassifier(task_column="shop").fit(X, y)
    pd.testing.assert_frame_equal(X, before)
    assert model.score(X, y) > 0.9
    assert_array_equal(model.classes_, ["high", "low"])
    assert_array_equal(model.tasks_, list("abcde"))
    assert model.term_names_[3] == "town=y"
    assert "kind=tea" in model.summary().coefficients["effect"].tolist()
    rows = X.iloc[:4].copy()
    rows["kind"], rows["shop"] = "water", "new"
    assert np.all(np.isfinite(model.predict_proba(rows)))
    assert np.all(np.isfinite(model.decision_function(rows)))
    with pytest.raises(ValueError, match=r"with the category columns \['kind', 'town'"):
        model.predict_proba(np.zeros((3, 5)))


def test_sparse_features_are_made_dense():
    X, y, task, _ = drawn(10, 30)
    X[X < -0.5] = 0.0
    dense = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    sparse = MultiTaskAdditiveClassifier().fit(sp.csr_array(X), y, task=task)
    assert_allclose(
        sparse.predict_proba(sp.csr_array(X), task=task),
        dense.predict_proba(X, task=task),
    )


def test_units_do_not_matter():
    X, y, task, _ = drawn(10, 40)
    base = MultiTaskAdditiveClassifier(tol=1e-8).fit(X, y, task=task)
    other = X * [1e9, 1e-9, 1.0] + [1e10, 0.0, 5.0]
    model = MultiTaskAdditiveClassifier(tol=1e-8).fit(other, y, task=task)
    assert_allclose(
        model.predict_proba(other, task=task),
        base.predict_proba(X, task=task),
        atol=1e-3,
    )


def test_awkward_data():
    rng = np.random.default_rng(6)
    X = np.column_stack(
        [rng.normal(size=80), np.full(80, 3.0), rng.integers(2, size=80)]
    )
    y = (X[:, 0] + rng.normal(size=80) > 0).astype(int)
    some = np.arange(80) % 4
    for task in (np.arange(80), np.arange(80) // 2, some):
        model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
        assert np.all(np.isfinite(model.predict_proba(X, task=task)))
        assert_array_equal(model.coef_[:, model._terms.feature == 1], 0.0)
    few = MultiTaskAdditiveClassifier().fit(X[:4], [0, 1, 1, 0], task=[0, 0, 1, 1])
    assert np.all(np.isfinite(few.predict_proba(X, task=np.full(80, 9))))
    none = MultiTaskAdditiveClassifier(fit_intercept=False).fit(X, y, task=some)
    assert_array_equal(none.intercept_, 0.0)
    assert len(none.summary().coefficients) == 3
    with pytest.warns(UserWarning, match="no labels in this fit"):
        MultiTaskAdditiveClassifier().fit(X, np.c_[y, np.full(80, np.nan)])


def test_tasks_of_one_class():
    X, y, task, _ = drawn(60, 16, level=1.5, seed=4)
    y[task < 4] = 1
    model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    found = model.predict_proba(np.zeros((4, 3)), task=np.arange(4))[:, 1]
    assert np.all((found > 0.7) & (found < 0.998))
    # nothing but such tasks
    y = (np.arange(60) % 3 > 0).astype(int)[task]
    model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    assert model.optimality_ <= 1e-6 and model.covariance_[-1, -1] < 2000
    assert log_loss(y, model.predict_proba(X, task=task)) < 0.1


@pytest.mark.parametrize("n", [30, 300])
def test_classes_that_can_be_separated(n):
    X, _, task, _ = drawn(10, 30)
    y = (X[:, 0] > 0.1).astype(int)
    X, y, task = X[:n], y[:n], task[:n]
    model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    assert model.score(X, y, task=task) > 0.95
    assert np.abs(model.decision_function(X, task=task)).max() < 200


def test_more_than_two_classes():
    X, y, task, _ = drawn(20, 30)
    words = np.where(X[:, 2] > 0.4, "c", np.where(y == 1, "b", "a"))
    model = MultiTaskAdditiveClassifier().fit(X, words, task=task)
    p = model.predict_proba(X, task=task)
    assert p.shape == (600, 3) and model.coef_.shape[:2] == (20, 3)
    assert_allclose(p.sum(axis=1), 1.0)
    assert model.score(X, words, task=task) > 0.75
    one = MultiTaskAdditiveClassifier().fit(X, words == "c", task=task)
    z = model.decision_function(X, task=task)[:, 2]
    assert_allclose(z, one.decision_function(X, task=task), rtol=1e-3, atol=1e-2)
    effects = model.summary().variances
    assert effects["class"].tolist()[:: len(effects) // 3] == ["a", "b", "c"]
    curves = model.curve(2, label="c")
    assert curves.tasks.shape == (20, 100) and np.ptp(curves.shared) > 3
    with pytest.raises(ValueError, match=r"`label` must be one of the classes \['a'"):
        model.curve(2)


# ---------------------------------------------------------------- reports


def test_reports():
    X, y, task, _ = drawn(20, 30, own=1.0)
    model = MultiTaskAdditiveClassifier(own_curves=[1]).fit(X, y, task=task)
    summary, effects = model.summary(), model.task_effects()
    assert summary.coefficients["effect"].tolist() == ["x0", "x1", "x2", "intercept"]
    kinds = ["x0", "x0 (curve)", "x1", "x1 (curve)", "x2", "x2 (curve)", "intercept"]
    assert summary.variances["effect"].tolist() == kinds
    assert set(effects["effect"]) <= {"x0", "x1", "x2", "intercept"}
    level = effects[effects["effect"] == "intercept"].set_index("task")
    assert_allclose(
        level.loc[model.tasks_, "estimate"],
        model.intercept_ - model.shared_intercept_,
        atol=1e-9,
    )
    assert model.sharing_.shape == (len(model.term_names_) + 1,)
    assert np.all((model.sharing_ >= 0) & (model.sharing_ <= 1 + 1e-12))


def test_curves_are_log_odds(canvas):
    X, y, task, _ = drawn(20, 30)
    labels = np.where(y == 1, "yes", "no")
    model = MultiTaskAdditiveClassifier().fit(X, labels, task=task)
    curves, other = model.curve(0), model.curve(0, label="no")
    assert_allclose(curves.tasks, -other.tasks)
    assert_allclose(curves.shared, model.curve(0, label="yes").shared)
    # at the mean of the others: differences are those of the modes' log-odds
    rows = np.zeros((2, 3))
    rows[:, 0] = curves.values[[10, 80]]
    z = model._represent(rows) @ model.coef_[3] + model.intercept_[3]
    assert_allclose(np.diff(z), curves.tasks[3, 80] - curves.tasks[3, 10])
    display = CurveDisplay.from_estimator(model, 0)
    assert_allclose(display.line_.get_ydata(), curves.shared)
    with pytest.raises(ValueError, match="`label` must be one of the classes"):
        model.curve(0, label="maybe")


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_knots": 0}, "`n_knots`"),
        ({"own_curves": "all"}, "`own_curves` must be 'auto'"),
        ({"own_curves": ["age"]}, "`own_curves` names 'age'"),
        ({"fit_intercept": "shrunk"}, "`fit_intercept` must be True or False"),
        ({"tol": 0}, "`tol`"),
    ],
)
def test_bad_parameters(params, message):
    X, y, task, _ = drawn(5, 8)
    model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    before = model.coef_
    with pytest.raises((ValueError, TypeError), match=message):
        model.set_params(**params).fit(X, y, task=task)
    assert model.coef_ is before


def test_bad_labels_and_unknown_tasks():
    X, y, task, _ = drawn(5, 8)
    with pytest.raises(ValueError, match="at least two classes over all tasks"):
        MultiTaskAdditiveClassifier().fit(X, np.ones(40), task=task)
    model = MultiTaskAdditiveClassifier(handle_unknown="error").fit(X, y, task=task)
    with pytest.raises(ValueError, match="never saw"):
        model.predict_proba(X[:1], task=[9])
