"""Shared mappings against their twin, what they reduce to, and as transformers."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from cases import (
    LAYOUTS,
    MODES,
    WEIGHTS,
    Case,
    cover,
    learnt,
    positions,
    signs,
    wide_multiclass,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    PerTaskClassifier,
    PerTaskRegressor,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedMappingClassifier,
    SharedMappingRegressor,
)
from mtlearn.compose import features_only
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.mapping import strength

ESTIMATORS = (SharedMappingRegressor, SharedMappingClassifier)
LOSSES = ("squared", "logistic", "softmax")
ACTIVATIONS = ("tanh", "relu", "logistic", "softplus", "identity")
ALPHA = 0.3

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
every_loss = pytest.mark.parametrize("loss", LOSSES)
both_layouts = pytest.mark.parametrize("layout", ["task", "wide"])


def make(estimator, hidden=(4,), **params):
    """A small model that is the same every time."""
    return estimator(hidden, **{"alpha": ALPHA, "random_state": 0, **params})


@pytest.fixture
def problems(
    long_regression,
    wide_regression,
    long_classification,
    wide_classification,
    long_multiclass,
):
    """(estimator, long problem, wide problem, labels for `reference`) by loss."""
    three = wide_multiclass(long_multiclass)
    return {
        "squared": (
            SharedMappingRegressor,
            long_regression,
            wide_regression,
            np.asarray,
        ),
        "logistic": (
            SharedMappingClassifier,
            long_classification,
            wide_classification,
            signs,
        ),
        "softmax": (SharedMappingClassifier, long_multiclass, three, positions),
    }


@pytest.fixture
def p(request, long_regression, long_classification):
    """The long problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return (
        long_regression if estimator is SharedMappingRegressor else long_classification
    )


@pytest.fixture
def wide(request, wide_regression, wide_classification):
    """The wide problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return (
        wide_regression if estimator is SharedMappingRegressor else wide_classification
    )


def frame(p):
    df = pd.DataFrame(p.X, columns=list("abcde"))
    df.insert(2, "school", p.task)
    return df


def shared_case(long, wide, layout, weights):
    """The problem of `Case` for models without a relation."""
    case = Case(long, wide, "independent", layout, weights, (None, None))
    del case.params["relation"]
    return case


def outputs(model, X, **ids):
    """Predictions before they are rounded to labels."""
    if hasattr(model, "decision_function"):
        return model.decision_function(X, **ids)
    return model.predict(X, **ids)


# ---------------------------------------------------------------- against the twin


@pytest.mark.parametrize(
    "loss, layout, mode, weights", cover(LOSSES, LAYOUTS, MODES, WEIGHTS)
)
def test_the_twin(problems, loss, layout, mode, weights):
    estimator, long, wide, labels = problems[loss]
    case = shared_case(long, wide, layout, weights)
    model = make(estimator, (3,), fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    X, y, codes, weight = case.rows
    value = reference.mapping_objective(
        loss,
        model.coefs_,
        model.intercepts_,
        "tanh",
        X,
        labels(y),
        codes,
        weight,
        ALPHA,
        mode,
        5,
    )
    # nothing but rounding, and in the level of a task of one class, which costs nothing
    rtol = 1e-4 if loss == "softmax" and mode == "shrunk" else 1e-8
    assert_allclose(model.loss_, value, rtol=rtol)
    assert 0 <= model.optimality_ <= model.tol
    assert (np.diff(model.loss_curve_) <= 0).all()
    assert model.loss_curve_[-1] == model.loss_


@pytest.mark.parametrize(
    "activation, hidden, loss", cover(ACTIVATIONS, ((3,), (4, 3), 3), LOSSES)
)
def test_the_twin_of_every_activation(problems, activation, hidden, loss):
    estimator, long, _, labels = problems[loss]
    model = estimator(hidden, activation, ALPHA, random_state=1)
    model.fit(long.X, long.y, task=long.task)
    value = reference.mapping_objective(
        loss,
        model.coefs_,
        model.intercepts_,
        activation,
        long.X,
        labels(long.y),
        long.codes,
        np.ones(len(long.y)),
        ALPHA,
    )
    assert_allclose(model.loss_, value, rtol=1e-8)
    H = reference.mapped(model.coefs_, model.intercepts_, activation, long.X)
    assert_allclose(model.transform(long.X), H, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "layout, mode, weights", cover(LAYOUTS, MODES, ("none", "rows", "array"))
)
def test_heads_are_separate_ridge_regressions(
    long_regression, wide_regression, layout, mode, weights
):
    case = shared_case(long_regression, wide_regression, layout, weights)
    model = make(SharedMappingRegressor, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    H = model.transform(case.X)
    case.params.pop("task_column", None)
    fit = dict(case.fit, task=long_regression.task) if layout == "column" else case.fit
    heads = PerTaskRegressor(ALPHA, fit_intercept=mode, **case.params)
    heads.fit(H, case.y, **fit)
    assert_allclose(model.coefs_[-1].T, heads.coef_, atol=1e-5)
    assert_allclose(model.intercepts_[-1], heads.intercept_, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES[1:])
@pytest.mark.parametrize("mode", MODES)
def test_heads_are_separate_logistic_regressions(problems, loss, mode):
    estimator, p, _, labels = problems[loss]
    # every task has every class
    rows = np.isin(p.task, ["east", "north"] + ["west"] * (loss == "logistic"))
    X, y, task = p.X[rows], p.y[rows], p.task[rows]
    model = make(estimator, fit_intercept=mode, tol=1e-9).fit(X, y, task=task)
    H = model.transform(X)
    heads = PerTaskClassifier(1 / ALPHA, fit_intercept=mode, tol=1e-10)
    heads.fit(H, y, task=task)
    codes = np.unique(task, return_inverse=True)[1]
    args = H, labels(y), codes, np.ones(len(y)), ALPHA, "independent", mode
    coef, intercept = model.coefs_[-1].T, model.intercepts_[-1]
    coef = coef.reshape(heads.coef_.shape)
    intercept = intercept.reshape(heads.intercept_.shape)
    found = reference.objective(loss, coef, intercept, *args)
    least = reference.objective(loss, heads.coef_, heads.intercept_, *args)
    assert_allclose(found, least, rtol=1e-6)
    assert_allclose(coef, heads.coef_, atol=1e-2)


@pytest.mark.parametrize("loss", LOSSES[:2])
@both_layouts
def test_straight_units_are_shared_features(problems, loss, layout):
    # enough of them: the same objective without local minima
    _, long, wide, _ = problems[loss]
    case = shared_case(long, wide, layout, "rows")
    kind = loss == "squared"
    shared = SharedMappingRegressor if kind else SharedMappingClassifier
    model = shared((5,), "identity", 2.0, tol=1e-8, max_iter=3000, random_state=0)
    model.fit(case.X, case.y, **case.fit)
    for penalty in ("rank", "nuclear"):
        other = SharedFeatureRegressor if kind else SharedFeatureClassifier
        other = other(alpha=2.0, penalty=penalty).fit(case.X, case.y, **case.fit)
        X, y, codes, weight = case.rows
        y = y if kind else signs(y)
        value = reference.objective(
            loss,
            other.coef_,
            other.intercept_,
            X,
            y,
            codes,
            weight,
            2.0,
            "independent",
            penalty=penalty,
        )
        assert_allclose(model.loss_, value, rtol=1e-4)
    coef = (model.coefs_[0] @ model.coefs_[1]).T
    assert_allclose(coef, other.coef_, atol=0.02)


def test_one_task_is_a_network_of_scikit_learn():
    # the penalty there is alpha / n / 2, the loss a mean
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    alpha = 0.5
    theirs = MLPRegressor(
        hidden_layer_sizes=(6,),
        activation="tanh",
        alpha=alpha,
        solver="lbfgs",
        tol=1e-8,
        max_iter=5000,
        random_state=0,
    ).fit(X, y)
    args = "tanh", X, y, np.zeros(60, dtype=int), np.ones(60), alpha
    value = reference.mapping_objective(
        "squared", theirs.coefs_, theirs.intercepts_, *args
    )
    model = SharedMappingRegressor((6,), alpha=alpha, n_init=5, random_state=0)
    model.fit(X, y)
    assert model.loss_ <= value * 1.02
    for name in ("coefs_", "intercepts_"):
        ours, others = getattr(model, name), getattr(theirs, name)
        assert [part.shape for part in ours] == [part.shape for part in others]
    # their predictions from our weights
    theirs.coefs_, theirs.intercepts_ = model.coefs_, model.intercepts_
    assert_allclose(theirs.predict(X), model.predict(X))


def test_solvers_agree(wide_complete):
    p = wide_complete
    for mode in (True, "shrunk"):
        models = [
            SharedMappingRegressor(
                (5,),
                "identity",
                0.1,
                fit_intercept=mode,
                solver=solver,
                tol=1e-9,
                random_state=0,
                max_iter=5000,
            ).fit(p.X, p.Y)
            for solver in ("projection", "lbfgs", "auto")
        ]
        losses = [model.loss_ for model in models]
        assert_allclose(losses, losses[0], rtol=1e-5)
        fitted = models[0].predict(p.X)
        assert_allclose(models[1].predict(p.X), fitted, atol=0.02)
        assert_allclose(models[2].predict(p.X), fitted, atol=1e-4)


# ---------------------------------------------------------------- data


@every_estimator
def test_both_layouts_agree(estimator, wide):
    long = reference.to_long(wide.X, wide.Y, wide.weights)
    table = make(estimator, tol=1e-8).fit(wide.X, wide.Y, wide.weights)
    X, y, codes, weight = long
    rows = make(estimator, tol=1e-8).fit(X, y, weight, task=codes)
    assert_allclose(rows.loss_, table.loss_, rtol=1e-4)
    fitted = outputs(table, wide.X)
    scale = np.abs(fitted).max()
    for t in range(5):
        one = outputs(rows, wide.X, task=np.full(len(wide.X), t))
        assert_allclose(one, fitted[:, t], atol=0.02 * scale)


@every_estimator
def test_order_and_names_change_nothing(estimator, p):
    model = make(estimator, tol=1e-8).fit(p.X, p.y, task=p.task)
    fitted = outputs(model, p.X, task=p.task)
    order = np.random.default_rng(0).permutation(len(p.y))
    mixed = make(estimator, tol=1e-8)
    mixed.fit(p.X[order], p.y[order], task=p.task[order])
    assert_allclose(mixed.loss_, model.loss_, rtol=1e-4)
    atol = 0.02 * np.abs(fitted).max()
    assert_allclose(outputs(mixed, p.X, task=p.task), fitted, atol=atol)
    names = {"east": "z", "mid": "b", "north": "y", "south": "a", "west": "c"}
    ids = np.array([names[name] for name in p.task])
    named = make(estimator, tol=1e-8).fit(p.X, p.y, task=ids)
    assert named.tasks_.tolist() == ["a", "b", "c", "y", "z"]
    assert_allclose(named.loss_, model.loss_, rtol=1e-4)
    assert_allclose(outputs(named, p.X, task=ids), fitted, atol=atol)
    place = [named.tasks_.tolist().index(names[name]) for name in p.tasks]
    heads = named.coefs_[-1][:, place]
    assert_allclose(heads, model.coefs_[-1], atol=0.05 * np.abs(heads).max())


@every_estimator
def test_weights_are_repeated_rows(estimator, p):
    weight = np.arange(len(p.y)) % 3 + 1
    model = make(estimator, tol=1e-8).fit(p.X, p.y, weight, task=p.task)
    rows = np.repeat(np.arange(len(p.y)), weight)
    other = make(estimator, tol=1e-8)
    other.fit(p.X[rows], p.y[rows], task=p.task[rows])
    assert_allclose(other.loss_, model.loss_, rtol=1e-4)
    fitted = outputs(model, p.X, task=p.task)
    atol = 0.02 * np.abs(fitted).max()
    assert_allclose(outputs(other, p.X, task=p.task), fitted, atol=atol)


@every_estimator
def test_weights_of_tasks_are_weights_of_their_rows(estimator, p, wide):
    lam = np.array([2.0, 0.5, 1.0, 1.5, 0.3])
    model = make(estimator, task_weight=lam).fit(p.X, p.y, task=p.task)
    other = make(estimator).fit(p.X, p.y, lam[p.codes], task=p.task)
    assert_allclose(learnt(other), learnt(model), rtol=1e-6, atol=1e-8)
    model = make(estimator, task_weight=lam).fit(wide.X, wide.Y)
    other = make(estimator).fit(wide.X, wide.Y, np.tile(lam, (len(wide.X), 1)))
    assert_allclose(other.loss_, model.loss_, rtol=1e-4)
    plain = make(estimator).fit(wide.X, wide.Y)
    assert abs(plain.loss_ / model.loss_ - 1) > 0.01


@every_estimator
def test_weights_of_zero_are_absent(estimator, p, wide):
    weight = p.weight.copy()
    weight[(p.task == "west") | (np.arange(len(p.y)) % 5 == 0)] = 0
    kept = weight > 0
    model = make(estimator, task_weight="balanced")
    model.fit(p.X, p.y, weight, task=p.task)
    other = make(estimator, task_weight="balanced")
    other.fit(p.X[kept], p.y[kept], weight[kept], task=p.task[kept])
    assert model.tasks_.tolist() == ["east", "mid", "north", "south"]
    assert_array_equal(learnt(other), learnt(model))
    weight = wide.weights.copy()
    weight[::3, 1] = 0.0
    Y = np.where(weight > 0, wide.Y, np.nan)
    model = make(estimator).fit(wide.X, wide.Y, weight)
    other = make(estimator).fit(wide.X, Y, weight)
    assert_allclose(learnt(other), learnt(model), rtol=1e-9, atol=1e-12)


@every_estimator
def test_a_missing_label_hides_a_head_not_a_row(estimator, wide):
    # a row with one label left teaches the layers and that task
    few = np.full(wide.Y.shape, np.nan)
    few[:, 0] = wide.Y[:, 0]
    few[:20, 1:] = wide.Y[:20, 1:]
    model = make(estimator).fit(wide.X, few)
    dropped = make(estimator).fit(wide.X[:20], few[:20])
    assert np.abs(model.coefs_[0] - dropped.coefs_[0]).max() > 1e-3
    # and what stands behind a hole is nobody's business
    rows = np.isnan(few[:, 1])
    other = wide.X.copy()
    residual = outputs(model, other)[rows, 1]
    assert np.isfinite(residual).all()
    one = make(estimator).fit(wide.X, few[:, :1])
    assert one.loss_ < model.loss_


@every_estimator
def test_a_task_without_labels_warns_and_gets_the_mean_head(estimator, wide):
    Y = wide.Y.copy()
    Y[:, 2] = np.nan
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels.*shared.*2"):
        model = make(estimator).fit(wide.X, Y)
    others = [0, 1, 3, 4]
    rest = make(estimator).fit(wide.X, Y[:, others])
    assert model.coefs_[-1].shape == (4, 5)
    assert_allclose(model.coefs_[0], rest.coefs_[0], rtol=1e-9)
    assert_allclose(model.coefs_[-1][:, others], rest.coefs_[-1], rtol=1e-9)
    # of a task of one class the intercept would run away under a log-loss
    two = np.array([len(set(y[y == y])) > 1 for y in Y[:, others].T])
    assert_allclose(model.coefs_[-1][:, 2], rest.coefs_[-1][:, two].mean(axis=1))
    assert_allclose(model.intercepts_[-1][2], rest.intercepts_[-1][two].mean())
    assert_allclose(model.loss_, rest.loss_)
    assert model.predict(wide.X).shape == Y.shape


@every_estimator
def test_an_unseen_task_gets_the_mean_head(estimator, p):
    model = make(estimator).fit(p.X, p.y, task=p.task)
    ids = np.where(p.task == "east", "nowhere", p.task)
    z = outputs(model, p.X, task=ids)
    known = ids == p.task
    assert_array_equal(z[known], outputs(model, p.X, task=p.task)[known])
    H = model.transform(p.X)[~known]
    # "south" has one class: its intercept would run away under a log-loss
    own = (p.tasks != "south") | (not hasattr(model, "predict_proba"))
    V, b = model.coefs_[-1][:, own], model.intercepts_[-1][own]
    mean = H @ V.mean(axis=1) + b.mean()
    assert_allclose(z[~known], mean, atol=1e-10)
    model = make(estimator, handle_unknown="error").fit(p.X, p.y, task=p.task)
    words = "18 rows belong to tasks that fit never saw: \\['nowhere'\\]"
    with pytest.raises(ValueError, match=words):
        model.predict(p.X, task=ids)
    model = make(estimator, task_column="school", handle_unknown="error")
    model.fit(frame(p), p.y)
    with pytest.raises(ValueError, match=words):
        model.transform(frame(p).assign(school=ids))


def test_a_task_of_one_class_is_predicted_as_such(long_classification):
    p = long_classification
    model = make(SharedMappingClassifier).fit(p.X, p.y, task=p.task)
    south = p.task == "south"
    proba = model.predict_proba(p.X[south], task=p.task[south])
    assert proba[:, 1].min() > 0.99
    assert [c.tolist() for c in model.task_classes_][3] == ["yes"]
    assert np.isfinite(learnt(model)).all()


@every_estimator
@both_layouts
def test_tasks_of_two_rows(estimator, layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    codes = np.arange(60) // 2
    y = X[:, 0] + (codes % 2) + 0.1 * rng.normal(size=60)
    if estimator is SharedMappingClassifier:
        y = (np.arange(60) % 2 == 0).astype(float)
    if layout == "task":
        model = make(estimator).fit(X, y, task=codes)
        assert model.predict(X, task=codes).shape == (60,)
    else:
        Y = np.full((60, 30), np.nan)
        Y[np.arange(60), codes] = y
        model = make(estimator).fit(X, Y)
        assert model.predict(X).shape == Y.shape
    assert model.coefs_[-1].shape == (4, 30)
    assert np.isfinite(learnt(model)).all()


@every_estimator
def test_a_single_task(estimator, p):
    model = make(estimator).fit(p.X, p.y)
    assert model.tasks_.tolist() == [0]
    assert [W.shape for W in model.coefs_] == [(5, 4), (4, 1)]
    assert model.predict(p.X).shape == p.y.shape
    named = make(estimator).fit(p.X, p.y, task=np.full(len(p.y), "all"))
    assert_allclose(learnt(named), learnt(model), rtol=1e-9)
    y = p.y if estimator is SharedMappingRegressor else (p.sign + 1) / 2
    table = make(estimator).fit(p.X, y[:, None])
    assert_allclose(learnt(table), learnt(model), rtol=1e-9)
    assert table.predict(p.X).shape == (len(y), 1)
    assert_array_equal(outputs(table, p.X)[:, 0], outputs(model, p.X))


@every_estimator
def test_two_thousand_tasks(estimator):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(2000), 3)
    X = rng.normal(size=(6000, 3))
    f = np.sin(2 * X[:, 0]) * (1 + codes % 2) + X[:, 1]
    y = f if estimator is SharedMappingRegressor else (f > 0).astype(int)
    model = make(estimator, (5,), alpha=0.1, max_iter=60, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, task=codes)
    assert model.coefs_[-1].shape == (5, 2000)
    assert model.score(X, y, task=codes) > 0.9
    assert model.predict(X[:4], task=[3, 1999, 0, 5000]).shape == (4,)


@every_estimator
def test_constant_columns_weigh_nothing(estimator, p):
    model = make(estimator, tol=1e-7).fit(p.X, p.y, task=p.task)
    for level in (0.0, 1.0, -1e6, 0.1):
        X = np.column_stack([p.X, np.full(len(p.y), level)])
        other = make(estimator, tol=1e-7).fit(X, p.y, task=p.task)
        assert np.isfinite(learnt(other)).all()
        assert_allclose(other.coefs_[0][5], 0, atol=1e-12)
        assert other.loss_ < 1.2 * model.loss_


@every_estimator
def test_only_constant_columns(estimator, p):
    # the heads are left with their intercepts
    model = make(estimator).fit(np.ones((len(p.y), 2)), p.y, task=p.task)
    fitted = outputs(model, np.ones((5, 2)), task=p.tasks)
    for t, name in enumerate(p.tasks):
        rows = p.task == name
        if estimator is SharedMappingRegressor:
            assert_allclose(fitted[t], p.y[rows].mean(), atol=1e-3)
        elif name != "south":
            odds = (p.y[rows] == "yes").mean()
            assert_allclose(1 / (1 + np.exp(-fitted[t])), odds, atol=1e-3)


@every_estimator
@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
def test_units_of_the_features(estimator, p, unit):
    # all of them: with the penalty it is the same problem only in the limit
    model = make(estimator).fit(unit * p.X, p.y, task=p.task)
    assert np.isfinite(learnt(model)).all()
    assert model.optimality_ <= model.tol
    value = reference.mapping_objective(
        "squared" if estimator is SharedMappingRegressor else "logistic",
        model.coefs_,
        model.intercepts_,
        "tanh",
        unit * p.X,
        p.y if estimator is SharedMappingRegressor else p.sign,
        p.codes,
        np.ones(len(p.y)),
        ALPHA,
    )
    assert_allclose(model.loss_, value, rtol=1e-7)
    # not worse than no features at all
    none = make(estimator).fit(0 * p.X, p.y, task=p.task)
    assert model.loss_ <= none.loss_ * (1 + 1e-5)
    if unit > 1:
        # the penalty of the first layer is next to nothing
        assert model.loss_ < 0.9 * none.loss_


@pytest.mark.parametrize("unit", [1e-6, 1e-2, 1e6])
def test_units_of_the_labels(long_regression, unit):
    # of straight units: alpha times the unit is the same problem times its square
    p = long_regression
    params = {"tol": 1e-9, "random_state": 0, "max_iter": 3000}
    one = SharedMappingRegressor((5,), "identity", 1.0, **params)
    one.fit(p.X, p.y, task=p.task)
    model = SharedMappingRegressor((5,), "identity", unit, **params)
    model.fit(p.X, unit * p.y, task=p.task)
    assert_allclose(model.loss_, unit**2 * one.loss_, rtol=1e-3)


@every_estimator
@both_layouts
def test_more_features_than_rows(estimator, layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 80))
    Y = np.column_stack([X[:, 0] + X[:, 1], X[:, 0], X[:, 1]])
    codes, y = np.arange(30) % 3, Y[np.arange(30), np.arange(30) % 3]
    if estimator is SharedMappingClassifier:
        Y, y = (Y > 0).astype(int), (y > 0).astype(int)
    model = make(estimator)
    if layout == "wide":
        assert model.fit(X, Y).score(X, Y) > 0.9
    else:
        assert model.fit(X, y, task=codes).score(X, y, task=codes) > 0.9
    assert model.coefs_[0].shape == (80, 4)
    assert model.optimality_ <= model.tol


@every_estimator
@pytest.mark.parametrize(
    "build", [sp.csr_array, sp.csc_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array]
)
def test_sparse_features(estimator, p, build):
    X = np.where(np.abs(p.X) < 0.6, 0.0, p.X)
    dense = make(estimator, tol=1e-7).fit(X, p.y, task=p.task)
    model = make(estimator, tol=1e-7).fit(build(X), p.y, task=p.task)
    loss = "squared" if estimator is SharedMappingRegressor else "logistic"
    y = p.y if loss == "squared" else p.sign
    rows = X, y, p.codes, np.ones(len(y)), ALPHA
    value = reference.mapping_objective(
        loss, model.coefs_, model.intercepts_, "tanh", *rows
    )
    assert_allclose(model.loss_, value, rtol=1e-8)
    assert_allclose(
        outputs(model, build(X), task=p.task), outputs(model, X, task=p.task)
    )
    assert_allclose(model.transform(build(X)), model.transform(X))
    # begun where the other ended it has nothing to do
    dense.set_params(warm_start=True)
    before = dense.loss_
    dense.fit(build(X), p.y, task=p.task)
    assert_allclose(dense.loss_curve_[0], before, rtol=1e-8)
    assert_allclose(dense.loss_, before, rtol=1e-4)
    column = make(estimator, tol=1e-7, task_column=0)
    column.fit(build(np.column_stack([p.codes, X])), p.y)
    assert_allclose(learnt(column), learnt(model), rtol=1e-9)


@every_estimator
def test_frames_with_ids(estimator, p):
    model = make(estimator, task_column="school").fit(frame(p), p.y)
    assert_array_equal(model.tasks_, p.tasks)
    assert model.n_features_in_ == 6
    assert model.feature_names_in_.tolist() == ["a", "b", "school", "c", "d", "e"]
    keyword = make(estimator).fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(keyword), learnt(model))
    assert_array_equal(model.predict(frame(p)), keyword.predict(p.X, task=p.task))
    assert model.score(frame(p), p.y) == keyword.score(p.X, p.y, task=p.task)
    assert_array_equal(model.transform(frame(p)), keyword.transform(p.X))
    ids = make(estimator, task_column=2).fit(frame(p).to_numpy(dtype=object), p.y)
    assert_array_equal(learnt(ids), learnt(model))
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame(p).rename(columns={"a": "z"}))


@every_estimator
def test_named_columns_of_labels(estimator, wide):
    names = ["v", "u", "z", "x", "y"]
    Y = pd.DataFrame(wide.Y, columns=names)
    model = make(estimator).fit(wide.X, Y)
    assert model.tasks_.tolist() == names
    expected = make(estimator).fit(wide.X, wide.Y)
    assert_allclose(learnt(model), learnt(expected), rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- classes


def test_own_classes_of_every_task(long_multiclass):
    p = long_multiclass
    model = make(SharedMappingClassifier).fit(p.X, p.y, task=p.task)
    own = [["a", "b", "c"], ["a", "c"], ["a", "b", "c"], ["b"], ["a", "b"]]
    assert [classes.tolist() for classes in model.task_classes_] == own
    assert_array_equal(model.classes_, p.classes)
    assert [W.shape for W in model.coefs_] == [(5, 4), (4, 3 + 1 + 3 + 1 + 1)]
    assert [b.shape for b in model.intercepts_] == [(4,), (9,)]
    proba = model.predict_proba(p.X, task=p.task)
    assert_allclose(proba.sum(axis=1), 1)
    z = model.decision_function(p.X, task=p.task)
    assert z.shape == proba.shape == (len(p.y), 3)
    for t, name in enumerate(p.tasks):
        rows = p.task == name
        missing = ~np.isin(p.classes, own[t])
        assert_array_equal(proba[rows][:, missing], 0)
        assert (z[rows][:, missing] == -np.inf).all()
        assert proba[rows][:, ~missing].min() > 0
        assert set(model.predict(p.X[rows], task=p.task[rows])) <= set(own[t])
    assert_allclose(np.exp(model.predict_log_proba(p.X, task=p.task)), proba)
    # the columns of the heads by hand
    H = model.transform(p.X)
    scores = H @ model.coefs_[-1] + model.intercepts_[-1]
    expected = np.zeros_like(proba)
    first = 0
    for t, classes in enumerate(own):
        rows, places = p.task == p.tasks[t], np.searchsorted(p.classes, classes)
        width = 1 if len(classes) == 2 else len(classes)
        some = scores[rows, first : first + width]
        if len(classes) == 2:
            some = np.column_stack([0 * some, some])
        e = np.exp(some - some.max(axis=1, keepdims=True))
        expected[np.ix_(rows, places)] = e / e.sum(axis=1, keepdims=True)
        first += width
    assert first == 9
    assert_allclose(proba, expected, atol=1e-10)
    # a new task may have any class
    unseen = model.predict_proba(p.X, task=np.full(len(p.y), "nowhere"))
    assert unseen.min() > 0
    assert_allclose(unseen.sum(axis=1), 1)


@pytest.mark.parametrize("mode", MODES)
def test_levels_of_four_classes_that_not_all_tasks_have(mode):
    # two tasks with three and four classes: what one intercept is for all stays one
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    codes = np.repeat([0, 1, 2], 30)
    y = np.digitize(X[:, 0] + rng.logistic(size=90), [-1.5, -0.3, 0.8])
    y[(codes == 1) & (y == 3)] = 0
    y[(codes == 2) & (y == 0)] = 2
    model = make(SharedMappingClassifier, (2,), fit_intercept=mode, tol=1e-8)
    model.fit(X, y, task=codes)
    assert [len(c) for c in model.task_classes_] == [4, 3, 3]
    value = reference.mapping_objective(
        "softmax",
        model.coefs_,
        model.intercepts_,
        "tanh",
        X,
        y,
        codes,
        np.ones(90),
        ALPHA,
        mode,
    )
    assert_allclose(model.loss_, value, rtol=1e-7)


def test_own_labels_of_every_column():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    Y = np.empty((60, 3), dtype=object)
    Y[:, 0] = np.where(X[:, 0] > 0, "cat", "dog")
    Y[:, 1] = np.array(["x", "y", "z"])[np.digitize(X[:, 1], [-0.5, 0.5])]
    Y[:, 2] = np.where(X[:, 0] * X[:, 1] > 0, "x", "cat")
    Y[:7, 0] = None
    own = [["cat", "dog"], ["x", "y", "z"], ["cat", "x"]]
    model = make(SharedMappingClassifier, (8,), alpha=0.05).fit(X, Y)
    for name in ("classes_", "task_classes_"):
        assert [c.tolist() for c in getattr(model, name)] == own
    assert model.coefs_[-1].shape == (8, 1 + 3 + 1)
    fitted, z = model.predict(X), model.decision_function(X)
    proba = model.predict_proba(X)
    for t, classes in enumerate(own):
        assert set(fitted[:, t]) <= set(classes)
        assert proba[t].shape == (60, len(classes))
        assert_allclose(proba[t].sum(axis=1), 1)
        assert z[t].shape == ((60,) if len(classes) == 2 else (60, 3))
        assert_array_equal(np.array(classes)[proba[t].argmax(axis=1)], fitted[:, t])
    assert model.score(X, Y) > 0.9


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], [2, 7], [False, True], [-1.0, 1.0]],
    ids=["strings", "integers", "bools", "signs"],
)
def test_two_labels_of_any_kind(wide_classification, labels):
    p = wide_classification
    Y = np.array(labels)[np.nan_to_num(p.Y).astype(int)]
    expected = make(SharedMappingClassifier).fit(p.X, np.nan_to_num(p.Y))
    model = make(SharedMappingClassifier).fit(p.X, Y)
    assert_array_equal(model.classes_, np.arange(5))
    assert_array_equal(learnt(model), learnt(expected))
    z, fitted = model.decision_function(p.X), model.predict(p.X)
    assert_array_equal(fitted == labels[1], z > 0)
    assert_allclose(model.predict_proba(p.X), 1 / (1 + np.exp(-z)))


def test_one_label_is_refused(long_regression):
    p = long_regression
    with pytest.raises(ValueError, match="needs at least two classes"):
        make(SharedMappingClassifier).fit(p.X, np.ones(len(p.y), int), task=p.task)


# ---------------------------------------------------------------- attributes


@every_estimator
def test_shapes(estimator, p, wide):
    model = make(estimator, (7, 3)).fit(p.X, p.y, task=p.task)
    assert [W.shape for W in model.coefs_] == [(5, 7), (7, 3), (3, 5)]
    assert [b.shape for b in model.intercepts_] == [(7,), (3,), (5,)]
    assert model.transform(p.X).shape == (len(p.y), 3)
    assert isinstance(model.n_iter_, int) and model.n_iter_ >= 1
    assert isinstance(model.loss_, float)
    assert len(model.loss_curve_) == model.n_iter_ + 1
    assert not hasattr(model, "validation_curve_")
    assert not hasattr(model, "coef_")
    model.fit(wide.X, wide.Y)
    assert [W.shape for W in model.coefs_] == [(6, 7), (7, 3), (3, 5)]
    assert model.transform(wide.X).shape == (30, 3)
    assert_array_equal(model.tasks_, np.arange(5))
    H, z = model.transform(wide.X), outputs(model, wide.X)
    assert_allclose(H @ model.coefs_[-1] + model.intercepts_[-1], z, atol=1e-10)


@every_estimator
def test_names_of_the_representation(estimator, p):
    model = make(estimator, task_column="school").set_output(transform="pandas")
    model.fit(frame(p), p.y)
    names = [f"{estimator.__name__.lower()}{j}" for j in range(4)]
    assert model.get_feature_names_out().tolist() == names
    H = model.transform(frame(p))
    assert H.columns.tolist() == names
    assert_array_equal(H.index, frame(p).index)
    with pytest.raises(NotFittedError):
        make(estimator).transform(p.X)
    with pytest.raises(NotFittedError):
        make(estimator).get_feature_names_out()


@every_estimator
def test_the_seed_decides(estimator, p):
    fits = [
        make(estimator, random_state=seed, max_iter=1000).fit(p.X, p.y, task=p.task)
        for seed in (0, 0, 1, np.random.RandomState(0))
    ]
    assert_array_equal(learnt(fits[0]), learnt(fits[1]))
    assert np.abs(learnt(fits[0]) - learnt(fits[2])).max() > 1e-3
    assert_array_equal(learnt(fits[0]), learnt(fits[3]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(2):
            make(estimator, random_state=None, max_iter=2).fit(p.X, p.y, task=p.task)


@every_estimator
@pytest.mark.parametrize("layout", ["task", "wide"])
@pytest.mark.parametrize("mode", MODES)
def test_warm_starts(estimator, p, wide, layout, mode):
    X, y, fit = p.X, p.y, {"task": p.task}
    if layout == "wide":
        X, y, fit = wide.X, wide.Y, {}
    params = {"fit_intercept": mode, "random_state": 0}
    cold = make(estimator, **params).fit(X, y, **fit)
    model = make(estimator, warm_start=True, **params).fit(X, y, **fit)
    assert_array_equal(learnt(cold), learnt(model))
    before = model.loss_
    model.fit(X, y, **fit)
    assert model.n_iter_ < cold.n_iter_
    assert_allclose(model.loss_curve_[0], before, rtol=1e-9)
    assert model.loss_ <= before * (1 + 1e-12)
    # a neighbour of the same problem
    model.set_params(alpha=1.1 * ALPHA).fit(X, y, **fit)
    cold.set_params(alpha=1.1 * ALPHA).fit(X, y, **fit)
    assert model.n_iter_ < cold.n_iter_
    # and what is another problem is begun anew
    fresh = make(estimator, (3,), **params).fit(X[:, :4], y, **fit)
    model.set_params(hidden_layer_sizes=(3,), alpha=ALPHA).fit(X[:, :4], y, **fit)
    assert_array_equal(learnt(fresh), learnt(model))


@every_estimator
def test_warm_starts_of_other_intercepts(estimator, p):
    model = make(estimator, warm_start=True, tol=1e-3)
    for before, after in pairwise((True, "shared", "shrunk", False, True, False)):
        model.set_params(fit_intercept=before).fit(p.X, p.y, task=p.task)
        model.set_params(fit_intercept=after).fit(p.X, p.y, task=p.task)
        if after == "shared":
            assert np.ptp(model.intercepts_[-1]) < 1e-10
        elif after is False:
            assert_array_equal(model.intercepts_[-1], 0)
        else:
            assert np.ptp(model.intercepts_[-1]) > 1e-3


@every_estimator
def test_warm_starts_with_fewer_labels(estimator, wide):
    model = make(estimator, warm_start=True).fit(wide.X, wide.Y)
    Y = wide.Y.copy()
    Y[:, 2] = np.nan
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 5 tasks have no labels"):
            model.fit(wide.X, Y)
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels"):
        fresh = make(estimator).fit(wide.X, Y)
    assert_allclose(model.loss_, fresh.loss_, rtol=1e-3)
    assert model.n_iter_ < fresh.n_iter_
    model.fit(wide.X, wide.Y)
    assert_array_equal(learnt(model), learnt(make(estimator).fit(wide.X, wide.Y)))


def test_warm_starts_of_many_classes(long_multiclass):
    p = long_multiclass
    model = make(SharedMappingClassifier, warm_start=True).fit(p.X, p.y, task=p.task)
    before, n_iter = model.loss_, model.n_iter_
    model.fit(p.X, p.y, task=p.task)
    assert_allclose(model.loss_curve_[0], before, rtol=1e-9)
    assert model.n_iter_ < n_iter
    # other classes of the same tasks
    y = np.where((p.task == "west") & (p.y == "a"), "c", p.y)
    fresh = make(SharedMappingClassifier).fit(p.X, y, task=p.task)
    assert_array_equal(learnt(model.fit(p.X, y, task=p.task)), learnt(fresh))


@pytest.fixture
def noisy():
    """X, codes, f, y: little to learn and much to remember, forty rows of ten tasks."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(10), 40)
    X = rng.normal(size=(400, 6))
    f = np.tanh(X[:, 0] + X[:, 1])
    return X, codes, f, f + rng.normal(size=400)


@every_estimator
def test_early_stopping_of_rows(estimator, noisy):
    X, codes, f, y = noisy
    if estimator is SharedMappingClassifier:
        y, f = (y > 0).astype(int), (f > 0).astype(int)
    params = {"alpha": 1e-3, "n_iter_no_change": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain = make(estimator, (20,), **params, max_iter=80).fit(X, y, task=codes)
    model = make(estimator, (20,), **params, early_stopping=True).fit(X, y, task=codes)
    curve = model.validation_curve_
    assert len(curve) == model.n_iter_ < plain.n_iter_
    assert curve.argmin() == len(curve) - 6
    score = accuracy_score if estimator is SharedMappingClassifier else r2_score
    scores = [score(f, m.predict(X, task=codes)) for m in (model, plain)]
    assert scores[0] > scores[1]
    # every task is held out: a fourth of forty rows of each
    model.set_params(validation_fraction=0.25).fit(X, y, task=codes)
    assert_array_equal(model.coefs_[-1].shape, (20, 10))
    assert not np.array_equal(curve, model.validation_curve_)
    # and the curve goes with the next fit
    model.set_params(early_stopping=False, alpha=10.0).fit(X, y, task=codes)
    assert not hasattr(model, "validation_curve_")


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_rows_that_are_held_out_are_those_of_the_split(noisy, fraction):
    X, codes, _, y = noisy
    held = []
    model = make(
        SharedMappingRegressor, early_stopping=True, validation_fraction=fraction
    )
    inner = model._hold_out

    def spy(data, seed):
        parts = inner(data, seed)
        held.append([np.bincount(part.codes, minlength=10) for part in parts])
        return parts

    model._hold_out = spy
    model.fit(X, y, task=codes)
    learnt, watched = held[0]
    assert_array_equal(learnt + watched, 40)
    assert_array_equal(watched, 40 * fraction)


@every_estimator
@both_layouts
def test_what_is_held_out_is_weighed_as_the_rest(estimator, p, wide, layout):
    lam = np.array([2.0, 0.5, 1.0, 1.5, 0.3])
    params = {"validation_fraction": 0.3, "n_iter_no_change": 4, "task_weight": lam}
    model, parts = make(estimator, early_stopping=True, alpha=0.01, **params), []
    inner, solved, levels = model._hold_out, model._solved, []
    model._hold_out = lambda *args: parts.extend(inner(*args)) or parts
    model._solved = lambda fit, start: levels.append(fit.level) or solved(fit, start)
    if layout == "wide":
        model.fit(wide.X, wide.Y, wide.weights)
    else:
        model.fit(p.X, p.y, p.weight, task=p.task)
    found, (level,) = [], levels
    # the parts have targets above their level
    heads = model.intercepts_[-1] - (0.0 if level is None else level)
    for part, alpha in zip(parts, (0.01, 0.0)):
        rows = part.X, part.y, part.codes, part.sample_weight
        if layout == "wide":
            rows = reference.to_long(part.X, part.y, part.sample_weight)
        X, y, codes, s = rows
        loss = "squared" if estimator is SharedMappingRegressor else "logistic"
        y = y if loss == "squared" else 2 * y - 1
        weight = reference.row_weights(codes, s, lam)
        value = reference.mapping_objective(
            loss,
            model.coefs_,
            [*model.intercepts_[:-1], heads],
            "tanh",
            X,
            y,
            codes,
            weight,
            alpha,
            n_tasks=5,
        )
        found.append((value, weight.sum()))
    assert_allclose(model.loss_, found[0][0], rtol=1e-8)
    value, total = found[1]
    assert_allclose(model.validation_curve_.min(), value / total, rtol=1e-8)


@every_estimator
def test_early_stopping_of_tables(estimator, noisy):
    X, codes, _, y = noisy
    if estimator is SharedMappingClassifier:
        y = (y > 0).astype(float)
    Y = np.full((400, 10), np.nan)
    Y[np.arange(400), codes] = y
    model = make(estimator, (20,), alpha=1e-3, early_stopping=True, task_weight={3: 2})
    model.fit(X, Y, np.linspace(0.5, 1.5, 400))
    curve = model.validation_curve_
    assert curve.argmin() == len(curve) - 11
    again = clone(model).fit(X, Y, np.linspace(0.5, 1.5, 400))
    assert_array_equal(learnt(again), learnt(model))


@every_estimator
def test_early_stopping_leaves_every_column_something_to_learn_from(estimator):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    Y = np.column_stack([X[:, 0], X[:, 1], X[:, 0] + 5.0])
    if estimator is SharedMappingClassifier:
        Y = (Y > [0.0, 0.0, 5.0]).astype(float)
    Y[2:, 2] = np.nan
    for seed in range(20):
        held = []
        model = make(estimator, early_stopping=True, random_state=seed)
        inner = model._hold_out

        def spy(data, seed, inner=inner, held=held):
            held.extend(part.observed.sum(axis=0) for part in inner(data, seed))
            return inner(data, seed)

        model._hold_out = spy
        model.fit(X, Y)
        assert held[0].min() > 0 and held[1][:2].min() > 0
        assert_array_equal(held[0] + held[1], [40, 40, 2])


@every_estimator
@both_layouts
def test_nothing_to_hold_out(estimator, p, wide, layout):
    # one row of each task
    model = make(estimator, early_stopping=True)
    words = "^`early_stopping` finds no rows to hold out: [^\n]+$"
    with pytest.raises(ValueError, match=words):
        if layout == "wide":
            model.fit(wide.X[:2], np.where(np.eye(2) > 0, [1.0, 0.0], np.nan))
        else:
            first = np.unique(p.task, return_index=True)[1]
            y = p.y[first]
            if estimator is SharedMappingClassifier:
                y = np.arange(5) % 2
            model.fit(p.X[first], y, task=p.task[first])


@every_estimator
def test_early_stopping_keeps_the_best_where_the_end_comes_first(estimator, noisy):
    X, codes, _, y = noisy
    y = y if estimator is SharedMappingRegressor else (y > 0).astype(int)
    params = {"alpha": 0.01, "early_stopping": True, "max_iter": 60}
    with pytest.warns(ConvergenceWarning):
        model = make(estimator, (20,), n_iter_no_change=10**6, **params)
        model.fit(X, y, task=codes)
    curve = model.validation_curve_
    assert curve.argmin() < len(curve) - 1
    patient = make(estimator, (20,), n_iter_no_change=15, **params)
    patient.fit(X, y, task=codes)
    assert patient.n_iter_ < model.n_iter_
    assert patient.validation_curve_.min() == curve.min()
    assert_array_equal(learnt(patient), learnt(model))
    assert model.loss_ > model.loss_curve_[-1]


@every_estimator
def test_more_starts_are_not_worse(estimator, p):
    gains = []
    for seed in range(4):
        losses = [
            make(estimator, (3,), random_state=seed, n_init=n)
            .fit(p.X, p.y, task=p.task)
            .loss_
            for n in (1, 5)
        ]
        assert losses[1] <= losses[0] * (1 + 1e-2)
        gains.append(1 - losses[1] / losses[0])
    assert max(gains) > 1e-3


@every_estimator
def test_too_few_iterations_warn(estimator, p):
    name = estimator.__name__
    model = make(estimator, max_iter=1)
    with pytest.warns(ConvergenceWarning, match=f"{name} did not converge in 1 iter"):
        model.fit(p.X, p.y, task=p.task)
    assert model.n_iter_ == 1
    assert np.isfinite(learnt(model)).all()
    assert model.optimality_ > model.tol
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(max_iter=1000).fit(p.X, p.y, task=p.task)


@every_estimator
def test_without_penalty(estimator, wide):
    # more heads and units than the rows can tell apart
    model = make(estimator, (40,), alpha=0, max_iter=50, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(wide.X, wide.Y)
    assert np.isfinite(learnt(model)).all()
    assert model.score(wide.X, wide.Y) > 0.9


@every_estimator
def test_a_strong_penalty_leaves_the_intercepts(estimator, p):
    model = make(estimator, alpha=1e6, tol=1e-9).fit(p.X, p.y, task=p.task)
    assert_allclose(np.concatenate([W.ravel() for W in model.coefs_]), 0, atol=1e-3)
    if estimator is SharedMappingRegressor:
        means = [p.y[p.task == name].mean() for name in p.tasks]
        assert_allclose(model.intercepts_[-1], means, atol=1e-3)


def test_bends_are_learnt():
    # what no linear features tell: circles, of other signs and sizes in every task
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 3))
    codes = np.arange(300) % 6
    r = X[:, 0] ** 2 + X[:, 1] ** 2
    y = r * np.array([1, -1, 2, 0.5, -2, 1])[codes] + codes
    for activation in ("tanh", "relu", "logistic", "softplus"):
        model = SharedMappingRegressor((12,), activation, 1e-3, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(max_iter=150).fit(X, y, task=codes)
        residual = y - model.predict(X, task=codes)
        assert np.var(residual) < 0.05 * np.var(
            y - PerTaskRegressor().fit(X, y, task=codes).predict(X, task=codes)
        )


# ---------------------------------------------------------------- parameters


@every_estimator
@pytest.mark.parametrize(
    "params, error, match",
    [
        (
            {"hidden_layer_sizes": ()},
            ValueError,
            "`hidden_layer_sizes` must.*got \\(\\)",
        ),
        ({"hidden_layer_sizes": 0}, ValueError, "`hidden_layer_sizes`.*got 0"),
        ({"hidden_layer_sizes": (3, -1)}, ValueError, "`hidden_layer_sizes`.*-1"),
        ({"hidden_layer_sizes": 2.5}, ValueError, "`hidden_layer_sizes`.*got 2.5"),
        ({"hidden_layer_sizes": True}, ValueError, "`hidden_layer_sizes`.*got True"),
        ({"hidden_layer_sizes": "two"}, ValueError, "`hidden_layer_sizes`.*'two'"),
        ({"activation": "sine"}, ValueError, "`activation` must be one of.*'sine'"),
        ({"alpha": -1.0}, ValueError, "`alpha` must be.*got -1.0"),
        ({"alpha": np.nan}, ValueError, "`alpha` must be finite"),
        ({"alpha": "strong"}, TypeError, "`alpha` must be a number"),
        ({"n_init": 0}, ValueError, "`n_init` must be.*got 0"),
        ({"n_init": 1.5}, TypeError, "`n_init` must be an integer.*1.5"),
        ({"early_stopping": "yes"}, TypeError, "`early_stopping` must be a bool.*yes"),
        ({"validation_fraction": 0.0}, ValueError, "`validation_fraction`.*0.0"),
        ({"validation_fraction": 1.0}, ValueError, "`validation_fraction`.*1.0"),
        ({"validation_fraction": 3}, ValueError, "`validation_fraction`.*3"),
        ({"n_iter_no_change": 0}, ValueError, "`n_iter_no_change`.*got 0"),
        ({"solver": "sgd"}, ValueError, "`solver` must be one of 'auto'.*'sgd'"),
        ({"tol": 0.0}, ValueError, "`tol`"),
        ({"max_iter": 0}, ValueError, "`max_iter`"),
        ({"warm_start": 2}, TypeError, "`warm_start`"),
        ({"fit_intercept": "each"}, ValueError, "`fit_intercept`"),
        ({"handle_unknown": "ignore"}, ValueError, "`handle_unknown`"),
        ({"task_weight": {"nowhere": 2.0}}, ValueError, "`task_weight`.*nowhere"),
        ({"random_state": "seed"}, ValueError, "'seed' cannot be used to seed"),
    ],
    ids=str,
)
def test_bad_parameters(estimator, p, params, error, match):
    with pytest.raises(error, match=match) as told:
        estimator(**params).fit(p.X, p.y, task=p.task)
    assert "\n" not in str(told.value)


def test_only_squares_can_be_eliminated(long_classification):
    p = long_classification
    model = SharedMappingClassifier(solver="projection")
    with pytest.raises(ValueError, match="`solver` must be one of 'auto', 'lbfgs'"):
        model.fit(p.X, p.y, task=p.task)


@every_estimator
def test_arguments_by_position(estimator):
    model = estimator((3, 2), "relu", 0.5)
    assert (model.hidden_layer_sizes, model.activation) == ((3, 2), "relu")
    assert model.alpha == 0.5
    assert estimator().get_params() == {
        "hidden_layer_sizes": (64,),
        "activation": "tanh",
        "alpha": "auto",
        "shared": "hidden",
        "n_init": 1,
        "early_stopping": False,
        "validation_fraction": 0.1,
        "n_iter_no_change": 10,
        "task_column": None,
        "task_weight": None,
        "fit_intercept": True,
        "intercept_strength": 1.0,
        "handle_unknown": "shared",
        "solver": "auto",
        "tol": 1e-5,
        "max_iter": 3000,
        "warm_start": False,
        "random_state": None,
        "verbose": 0,
    }


@every_estimator
def test_sizes_of_any_kind(estimator, p):
    expected = make(estimator, (4,)).fit(p.X, p.y, task=p.task)
    for sizes in (4, [4], np.array([4]), np.int64(4)):
        model = make(estimator, sizes).fit(p.X, p.y, task=p.task)
        assert_array_equal(learnt(model), learnt(expected))
        assert model.hidden_layer_sizes is sizes


# ---------------------------------------------------------------- scikit-learn


@every_estimator
def test_grid_search_in_a_pipeline(estimator, p):
    model = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        make(estimator, task_column="school", tol=1e-3),
    )
    name = estimator.__name__.lower()
    grid = {f"{name}__alpha": [0.3, 3.0], f"{name}__hidden_layer_sizes": [(2,), (4, 3)]}
    search = GridSearchCV(model, grid, cv=KFold(2, shuffle=True, random_state=0))
    search.fit(frame(p), p.y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) > 2
    assert search.predict(frame(p)).shape == p.y.shape
    assert search.score(frame(p), p.y) > 0.5
    best = search.best_estimator_[-1]
    assert best.hidden_layer_sizes == search.best_params_[f"{name}__hidden_layer_sizes"]


@every_estimator
def test_held_out_predictions(estimator, p, wide_complete):
    model = make(estimator, task_column="school", tol=1e-3)
    cv = KFold(3, shuffle=True, random_state=0)
    fitted = cross_val_predict(model, frame(p), p.y, cv=cv)
    assert fitted.shape == p.y.shape
    q = wide_complete
    Y = q.Y if estimator is SharedMappingRegressor else (q.Y > 3).astype(int)
    fitted = cross_val_predict(make(estimator, tol=1e-3), q.X, Y, cv=cv)
    assert fitted.shape == Y.shape


@pytest.mark.parametrize("last", [Ridge(), LogisticRegression()], ids=repr)
def test_as_a_step_of_a_pipeline(long_regression, last):
    p = long_regression
    y = p.y if isinstance(last, Ridge) else p.y > p.y.mean()
    kind = ESTIMATORS[isinstance(last, LogisticRegression)]
    model = make_pipeline(make(kind, task_column="school"), clone(last))
    assert model.fit(frame(p), y).predict(frame(p)).shape == y.shape
    assert model[:-1].transform(frame(p)).shape == (len(y), 4)
    assert model.score(frame(p), y) > 0.3


@every_estimator
def test_copies_predict_and_transform_the_same(estimator, p, wide):
    model = make(estimator).fit(p.X, p.y, task=p.task)
    other = pickle.loads(pickle.dumps(model))
    assert_array_equal(other.predict(p.X, task=p.task), model.predict(p.X, task=p.task))
    assert_array_equal(other.transform(p.X), model.transform(p.X))
    fresh = clone(model)
    assert not hasattr(fresh, "coefs_") and repr(fresh) == repr(model)
    model.fit(wide.X, wide.Y)
    other = pickle.loads(pickle.dumps(model))
    assert_array_equal(other.predict(wide.X), model.predict(wide.X))


@every_estimator
def test_verbose_prints_every_step(estimator, p, capsys):
    make(estimator, verbose=1).fit(p.X, p.y, task=p.task)
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(line.startswith(estimator.__name__) for line in lines)
    objectives = [float(line.split("objective ")[1].split(",")[0]) for line in lines]
    assert np.all(np.diff(objectives) <= 1e-6 * objectives[0])
    make(estimator).fit(p.X, p.y, task=p.task)
    assert capsys.readouterr().out == ""


@every_loss
@both_layouts
def test_scores(problems, loss, layout):
    estimator, long, wide, _ = problems[loss]
    p = wide if layout == "wide" else long
    fit = {} if layout == "wide" else {"task": p.task}
    y = p.Y if layout == "wide" else p.y
    model = make(estimator).fit(p.X, y, **fit)
    fitted = model.predict(p.X, **fit)
    if layout != "wide":
        metric = r2_score if loss == "squared" else accuracy_score
        assert model.score(p.X, y, **fit) == metric(y, fitted)
        return
    observed = ~pd.isna(y)
    if loss == "squared":
        pairs = [(y[s, t], fitted[s, t]) for t, s in enumerate(observed.T)]
        expected = np.mean([r2_score(*pair) for pair in pairs])
    else:
        expected = (fitted == y)[observed].mean()
    assert_allclose(model.score(p.X, y), expected)


def test_the_curve_of_losses_never_rises(noisy):
    X, codes, _, y = noisy
    for estimator, labels in zip(ESTIMATORS, (y, (y > 0).astype(int))):
        for activation in ACTIVATIONS:
            model = estimator((6,), activation, 1.0, random_state=0)
            model.fit(X, labels, task=codes)
            assert all(after <= before for before, after in pairwise(model.loss_curve_))
            assert 0 <= model.optimality_ <= model.tol


# ---------------------------------------------------------------- the strength


@every_estimator
@both_layouts
def test_the_strength_is_found(estimator, p, wide, layout):
    X, y = (wide.X, wide.Y) if layout == "wide" else (p.X, p.y)
    ids = {} if layout == "wide" else {"task": p.task}
    if estimator is SharedMappingRegressor:
        y = y / np.nanstd(y)
    auto = make(estimator, alpha="auto").fit(X, y, **ids)
    given = make(estimator, alpha=auto.alpha_).fit(X, y, **ids)
    assert given.alpha_ == auto.alpha_ > 0
    assert_array_equal(outputs(auto, X, **ids), outputs(given, X, **ids))
    # rows in another order tell the same
    order = np.random.default_rng(1).permutation(len(X))
    ids = {} if layout == "wide" else {"task": p.task[order]}
    again = make(estimator, alpha="auto").fit(X[order], y[order], **ids)
    assert_allclose(again.alpha_, auto.alpha_, rtol=1e-9)


def test_noise_asks_for_a_stronger_penalty():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6))
    signal = np.tanh(X @ rng.normal(size=(6, 3))) @ rng.normal(size=(3, 4))
    noise = rng.normal(size=signal.shape)
    clean, noisy = (
        make(SharedMappingRegressor, (16,), alpha="auto").fit(X, signal + share * noise)
        for share in (0.01, 2.0)
    )
    assert clean.alpha_ * 100 < noisy.alpha_
    # in the units of the labels
    scaled = make(SharedMappingRegressor, (16,), alpha="auto")
    scaled.fit(X, 1024.0 * (signal + 2.0 * noise))
    assert_allclose(scaled.alpha_, 1024.0**2 * noisy.alpha_, rtol=1e-9)


@every_estimator
def test_a_strength_where_rows_are_too_few_to_tell(estimator, p):
    y = np.array([0.0, 1.0]) if estimator is SharedMappingRegressor else [0, 1]
    model = make(estimator, alpha="auto").fit(p.X[:2], y)
    unit = 0.25 if estimator is SharedMappingRegressor else 1.0
    assert_allclose(model.alpha_, unit)


def test_many_rows_are_told_by_some_of_them(monkeypatch):
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(600, 4)), rng.integers(30, size=600)
    y = np.tanh(X[:, 0]) * (1 + task / 30) + 0.1 * rng.normal(size=600)
    seen = []
    whole = strength.along

    def along(data, *args, **options):
        seen.append(np.bincount(data.codes))
        return whole(data, *args, **options)

    monkeypatch.setattr(strength, "along", along)
    monkeypatch.setattr(strength, "_ENOUGH", 100)
    make(SharedMappingRegressor, alpha="auto").fit(X, y, task=task)
    (sizes,) = seen
    # whole tasks rather than a row of each
    assert 70 <= sizes.sum() <= 100
    assert sizes.min() >= 8


def test_units_that_a_strong_penalty_put_to_sleep_wake_up():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    Y = np.tanh(X @ rng.normal(size=(4, 3)))
    data = TaskData(X, Y, 3)
    options = {"seed": 0, "tol": 1e-6, "max_iter": 1000}
    path = strength.along(data, None, (8,), "tanh", [1e4, 0.1], **options)
    strong, weak = path
    assert np.abs(strong.coef[-1]).max() < 1e-3
    (fresh,) = strength.along(data, None, (8,), "tanh", [0.1], **options)
    assert weak.objective < 1.1 * fresh.objective
