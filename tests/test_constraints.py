"""Constraints on the coefficients: their twin, their prices, what they refuse."""

import pickle
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from cases import LAYOUTS, MODES, RELATIONS, WEIGHTS, Case, pairwise, signs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import MultiTaskSVM, MultiTaskSVR, PerTaskRegressor, SharedMean
from mtlearn.compose import features_only
from mtlearn.constraints import (
    Bounds,
    Close,
    Monotone,
    NonNegative,
    SharedCoefficients,
    SumTo,
)

# every fourth combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(4)

C = 0.7
EPSILON = 0.3
KINDS = (
    "nonnegative",
    "bounds",
    "shared",
    "close",
    "equal",
    "monotone",
    "sum",
    "callable",
    "many",
)


def limit_effects(W, b):
    """A callable: an effect no larger than another, and a sum of intercepts."""
    return [W[:, 0] <= W[:, 1], cp.sum(W[0]) >= 0.1]


def demands(kind, tasks):
    """Constraints of a kind on five tasks, and the same in plain cvxpy."""
    order = [tasks[3], tasks[0], tasks[4]]
    o = [3, 0, 4]
    lower, upper = np.array([-0.1, 0.2, -np.inf]), np.array([0.4, 0.3, 0.5])
    mean = np.full((1, 5), 0.2)
    ours, plain = {
        "nonnegative": ([NonNegative()], lambda W, b: [W >= 0]),
        "bounds": (
            [Bounds(lower, upper, features=[0, 1, -1])],
            lambda W, b: [
                W[:, 0] >= -0.1,
                W[:, 0] <= 0.4,
                W[:, 1] >= 0.2,
                W[:, 1] <= 0.3,
                W[:, -1] <= 0.5,
            ],
        ),
        "shared": (
            [SharedCoefficients([1, 2])],
            lambda W, b: [W[:-1, 1:3] == W[1:, 1:3]],
        ),
        "close": (
            [Close(0.4)],
            lambda W, b: [cp.norm(W - np.ones((5, 1)) @ (mean @ W), 2, axis=1) <= 0.4],
        ),
        "equal": ([Close(0)], lambda W, b: [W[:-1] == W[1:]]),
        "monotone": (
            [Monotone(None, order)],
            lambda W, b: [W[o[0]] <= W[o[1]], W[o[1]] <= W[o[2]]],
        ),
        "sum": (
            [SumTo(0.8), SumTo(0.1, features=1)],
            lambda W, b: [cp.sum(W, axis=1) == 0.8, W[:, 1] == 0.1],
        ),
        "callable": ([limit_effects], limit_effects),
        "many": (
            [NonNegative(0), Close(0.6), Monotone([2], order), SumTo(1.0)],
            lambda W, b: [
                W[:, 0] >= 0,
                cp.norm(W - np.ones((5, 1)) @ (mean @ W), 2, axis=1) <= 0.6,
                W[o[0], 2] <= W[o[1], 2],
                W[o[1], 2] <= W[o[2], 2],
                cp.sum(W, axis=1) == 1.0,
            ],
        ),
    }[kind]
    return ours, plain


def violation(kind, tasks, coef, intercept):
    """How far a model is from what a kind demands, by the plain constraints."""
    W, b = cp.Variable(coef.shape), cp.Variable(len(intercept))
    plain = demands(kind, tasks)[1](W, b)
    W.value, b.value = coef, intercept
    return max(float(np.max(c.violation())) for c in plain)


def tasks_of(layout, long):
    return np.arange(5) if layout == "wide" else long.tasks


def check(case, kind, model, loss, mode, strength, labels=None, epsilon=0.0, rtol=1e-6):
    """The objective is the twin's, and the model obeys."""
    X, y, codes, weight = case.rows
    y = y if labels is None else labels(y)
    args = X, y, codes, weight, strength, case.K
    plain = demands(kind, model.tasks_)[1]
    value = reference.constrained_twin(loss, *args, plain, mode, epsilon)[2]
    zero = reference.data_loss(loss, 0 * y, y, codes, weight, 5, epsilon)
    found = reference.objective(
        loss, model.coef_, model.intercept_, *args, mode, epsilon=epsilon
    )
    assert abs(found - value) <= rtol * value + 1e-8 * zero
    assert found - value <= model.optimality_ * zero + 1e-8 * zero
    assert violation(kind, model.tasks_, model.coef_, model.intercept_) <= 1e-8
    assert model.optimality_ <= model._tolerance()
    return value


# ---------------------------------------------------------------- against the twin


@pytest.mark.parametrize(
    "kind, name, layout, mode, weights",
    pairwise(KINDS, RELATIONS, LAYOUTS, MODES, WEIGHTS),
)
def test_regressor(
    long_regression, wide_regression, matrices, kind, name, layout, mode, weights
):
    case = Case(long_regression, wide_regression, name, layout, weights, matrices)
    constraints = demands(kind, tasks_of(layout, long_regression))[0]
    model = PerTaskRegressor(
        alpha=0.3, constraints=constraints, fit_intercept=mode, **case.params
    )
    model.fit(case.X, case.y, **case.fit)
    check(case, kind, model, "squared", mode, 0.3)


@pytest.mark.parametrize(
    "kind, name, layout, mode, weights, loss",
    pairwise(KINDS, RELATIONS, LAYOUTS, MODES, WEIGHTS, ("squared_hinge", "hinge")),
)
def test_svm(
    long_classification,
    wide_classification,
    matrices,
    kind,
    name,
    layout,
    mode,
    weights,
    loss,
):
    case = Case(
        long_classification, wide_classification, name, layout, weights, matrices, C
    )
    constraints = demands(kind, tasks_of(layout, long_classification))[0]
    model = MultiTaskSVM(
        C=C, loss=loss, constraints=constraints, fit_intercept=mode, **case.params
    )
    model.fit(case.X, case.y, **case.fit)
    check(case, kind, model, loss, mode, 1.0, signs)


@pytest.mark.parametrize(
    "kind, name, layout, mode, weights, loss, epsilon",
    pairwise(
        KINDS,
        RELATIONS,
        LAYOUTS,
        MODES,
        WEIGHTS,
        ("squared_epsilon_insensitive", "epsilon_insensitive"),
        (0.0, EPSILON),
    ),
)
def test_svr(
    long_regression,
    wide_regression,
    matrices,
    kind,
    name,
    layout,
    mode,
    weights,
    loss,
    epsilon,
):
    case = Case(long_regression, wide_regression, name, layout, weights, matrices, C)
    constraints = demands(kind, tasks_of(layout, long_regression))[0]
    model = MultiTaskSVR(
        C=C,
        epsilon=epsilon,
        loss=loss,
        constraints=constraints,
        fit_intercept=mode,
        **case.params,
    )
    model.fit(case.X, case.y, **case.fit)
    check(case, kind, model, loss, mode, 1.0, epsilon=epsilon)


# ---------------------------------------------------------------- prices


def shifted(kind):
    """A constraint, the shape of its price, and its plain form with limits moved."""
    mean = np.full((1, 5), 0.2)
    order = [3, 0, 4]
    return {
        "lower": (NonNegative(), (5, 5), lambda W, D: [W >= D]),
        "upper": (Bounds(upper=0.3), (5, 5), lambda W, D: [W <= 0.3 + D]),
        "shared": (
            SharedCoefficients(None),
            (5, 5),
            lambda W, D: [(W - D)[:-1] == (W - D)[1:]],
        ),
        "close": (
            Close(0.4),
            (5,),
            lambda W, D: [
                cp.norm(W - np.ones((5, 1)) @ (mean @ W), 2, axis=1) <= 0.4 + D
            ],
        ),
        "monotone": (
            Monotone(None, ["south", "east", "west"]),
            (2, 5),
            lambda W, D: [W[order[1:]] - W[order[:-1]] >= D],
        ),
        "sum": (SumTo(1.0), (5,), lambda W, D: [cp.sum(W, axis=1) == 1.0 + D]),
    }[kind]


@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "hinge"])
@pytest.mark.parametrize(
    "kind", ["lower", "upper", "shared", "close", "monotone", "sum"]
)
def test_prices_are_derivatives(long_regression, long_classification, kind, loss):
    p = long_regression if loss == "squared" else long_classification
    y = p.y if loss == "squared" else signs(p.y)
    constraint, shape, plain = shifted(kind)
    if loss == "squared":
        model = PerTaskRegressor(1.0, SharedMean(0.5), constraints=[constraint])
    else:
        model = MultiTaskSVM(1.0, SharedMean(0.5), loss, constraints=[constraint])
    model.fit(p.X, p.y, task=p.task)
    dual = model.constraint_duals_[0]
    assert dual.constraint is constraint
    assert dual.price.shape == shape
    assert_array_equal(
        dual.binding, np.abs(dual.price) > 1e-6 * np.abs(dual.price).max()
    )
    K = reference.shared_mean(0.5, 5)
    args = loss, p.X, y, p.codes, np.ones(len(y)), 1.0, K

    def least(D):
        return reference.constrained_twin(*args, lambda W, b: plain(W, D))[2]

    step = 1e-4
    slope = reference.finite_difference(least, np.zeros(shape), step)
    assert np.abs(slope).max() > 0.01
    # where a limit begins to bind the derivative jumps
    kink = 0.03 if loss == "hinge" else 2e-3
    assert_allclose(dual.price, slope, atol=kink * np.abs(slope).max())


def test_prices_of_a_bound_that_all_tasks_share(long_regression):
    p = long_regression
    model = PerTaskRegressor(1.0, "pooled", constraints=[Bounds(upper=0.1)])
    model.fit(p.X, p.y, task=p.task)
    price = model.constraint_duals_[0].price
    # one coefficient, five equal limits: each holds a fifth
    assert_allclose(price, np.broadcast_to(price[0], price.shape), rtol=1e-9)
    args = "squared", p.X, p.y, p.codes, np.ones(len(p.y)), 1.0, reference.pooled(5)

    def least(upper):
        return reference.constrained_twin(
            *args, lambda W, b: [W <= np.tile(upper, (5, 1))]
        )[2]

    slope = reference.finite_difference(least, np.full(5, 0.1), 1e-4)
    assert_allclose(price.sum(axis=0), slope, rtol=1e-4, atol=1e-5)


def test_prices_of_a_callable_are_cvxpys(long_regression):
    p = long_regression
    model = PerTaskRegressor(constraints=[lambda W, b: [W >= 0]])
    model.fit(p.X, p.y, task=p.task)
    ours = PerTaskRegressor(constraints=[NonNegative()]).fit(p.X, p.y, task=p.task)
    assert_allclose(model.coef_, ours.coef_, atol=1e-6)
    prices = model.constraint_duals_[0].price
    assert len(prices) == 1
    price = ours.constraint_duals_[0].price
    assert_allclose(prices[0], price, atol=1e-5 * price.max())


def test_a_dual_tells_what_it_is(long_regression):
    p = long_regression
    model = PerTaskRegressor(constraints=[NonNegative([0]), limit_effects])
    model.fit(p.X, p.y, task=p.task)
    text = repr(model.constraint_duals_)
    assert "NonNegative(features=[0]): binds in" in text
    assert "limit_effects(W, b): binds in" in text


# ---------------------------------------------------------------- many classes, layouts


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_three_classes_each_obey(long_multiclass, loss):
    p = long_multiclass
    model = MultiTaskSVM(
        C, loss=loss, constraints=[NonNegative([0, 1]), SumTo(0.5)]
    ).fit(p.X, p.y, task=p.task)
    assert model.coef_.shape == (5, 3, 5)
    assert model.coef_[:, :, :2].min() >= 0
    assert_allclose(model.coef_.sum(axis=2), 0.5, atol=1e-8)
    duals = model.constraint_duals_
    assert duals[0].price.shape == (5, 3, 5)
    assert duals[1].price.shape == (5, 3)
    for k, label in enumerate(p.classes):
        y = np.where(p.y == label, 1, -1)
        one = clone(model).fit(p.X, y, task=p.task)
        assert_allclose(model.coef_[:, k], one.coef_, atol=1e-6)
        assert_allclose(duals[0].price[:, k], one.constraint_duals_[0].price, atol=1e-4)


def test_names_positions_and_ids(long_regression):
    p = long_regression
    frame = pd.DataFrame(p.X, columns=list("abcde"))
    frame.insert(2, "school", p.task)
    frame = frame.astype({"school": "string"})
    order = ["west", "east"]
    by_name = PerTaskRegressor(
        task_column="school",
        constraints=[NonNegative("c"), SumTo(1.0, ["a", "e"]), Monotone("b", order)],
    ).fit(frame, p.y)
    by_position = PerTaskRegressor(
        constraints=[NonNegative(2), SumTo(1.0, [0, -1]), Monotone([1], order)],
    ).fit(p.X, p.y, task=p.task)
    assert_allclose(by_name.coef_, by_position.coef_, rtol=1e-9)
    assert by_name.coef_[:, 2].min() == 0.0
    assert_allclose(by_name.coef_[:, [0, 4]].sum(axis=1), 1.0)


@pytest.mark.parametrize("container", [sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "hinge"])
def test_sparse_is_dense(long_regression, long_classification, container, loss):
    p = long_regression if loss == "squared" else long_classification
    X = np.where(np.abs(p.X) < 0.7, 0.0, p.X)
    constraints = [NonNegative(), SumTo(1.0)]
    if loss == "squared":
        model = PerTaskRegressor(constraints=constraints)
    else:
        model = MultiTaskSVM(loss=loss, constraints=constraints)
    dense = clone(model).fit(X, p.y, task=p.task)
    sparse = clone(model).fit(container(X), p.y, task=p.task)
    assert_allclose(sparse.coef_, dense.coef_, atol=1e-6)


def test_a_task_without_labels_has_the_mean(wide_regression):
    p = wide_regression
    Y = p.Y.copy()
    Y[:, 2] = np.nan
    constraints = [Monotone([0, 1], [0, 2, 1]), Close(0.3)]
    model = PerTaskRegressor(0.5, SharedMean(0.5), constraints=constraints)
    with pytest.warns(UserWarning, match="no labels"):
        model.fit(p.X, Y)
    W, others = model.coef_, [0, 1, 3, 4]
    assert_allclose(W[2], W[others].mean(axis=0), rtol=1e-12)
    assert np.all(np.diff(W[[0, 2, 1], :2], axis=0) >= -1e-9)
    X, y, codes, weight = reference.to_long(p.X, Y[:, others])
    spread = np.insert(np.eye(4), 2, 0.25, axis=0)
    ones = np.ones((5, 1))

    def plain(W, b):
        W = spread @ W
        near = cp.norm(W - ones @ cp.mean(W, axis=0, keepdims=True), 2, axis=1) <= 0.3
        return [W[0, :2] <= W[2, :2], W[2, :2] <= W[1, :2], near]

    args = X, y, codes, weight, 0.5, reference.shared_mean(0.5, 4)
    value = reference.constrained_twin("squared", *args, plain)[2]
    found = reference.objective("squared", W[others], model.intercept_[others], *args)
    assert_allclose(found, value, rtol=1e-7)


def test_a_callable_sees_all_tasks_in_order(wide_regression):
    p = wide_regression
    Y = p.Y.copy()
    Y[:, 2] = np.nan
    shapes = []

    def both(W, b):
        shapes.append((W.shape, b.shape))
        return [b[2] == 1.0, W[2, 0] == 0.25]

    model = PerTaskRegressor(constraints=[both])
    with pytest.warns(UserWarning, match="no labels"):
        model.fit(p.X, Y)
    assert set(shapes) == {((5, 6), (5,))}
    assert_allclose(model.intercept_[2], 1.0, rtol=1e-8)
    assert_allclose(model.coef_[2, 0], 0.25, rtol=1e-8)
    assert_allclose(model.intercept_[[0, 1, 3, 4]].mean(), 1.0, rtol=1e-8)


@pytest.mark.parametrize("mode", [True, "shrunk", "shared"])
def test_a_callable_may_bind_intercepts(long_regression, mode):
    p = long_regression

    def level(W, b):
        return [cp.sum(b) == 1.0, b >= -2.0]

    model = PerTaskRegressor(0.3, SharedMean(0.6), constraints=[level])
    model.set_params(fit_intercept=mode).fit(p.X, p.y, task=p.task)
    assert_allclose(model.intercept_.sum(), 1.0, rtol=1e-8)
    K = reference.shared_mean(0.6, 5)
    args = p.X, p.y, p.codes, np.ones(len(p.y)), 0.3, K
    value = reference.constrained_twin("squared", *args, level, mode)[2]
    found = reference.objective("squared", model.coef_, model.intercept_, *args, mode)
    assert_allclose(found, value, rtol=1e-7)


# ---------------------------------------------------------------- hard data


CONSTRAINTS = {
    "nonnegative": [NonNegative()],
    "close": [Close(0.4)],
    "mixed": [NonNegative(), SumTo(2.0)],
}


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("relation", ["independent", "shared_mean", "pooled"])
def test_hardly_any_penalty(long_regression, alpha, kind, relation):
    p = long_regression  # a task has two rows, so that coefficients are open
    model = PerTaskRegressor(alpha, relation, constraints=CONSTRAINTS[kind])
    model.fit(p.X, p.y, task=p.task)
    ones = np.ones((5, 1))
    plain = {
        "nonnegative": lambda W, b: [W >= 0],
        "close": lambda W, b: [
            cp.norm(W - ones @ cp.mean(W, axis=0, keepdims=True), 2, axis=1) <= 0.4
        ],
        "mixed": lambda W, b: [W >= 0, cp.sum(W, axis=1) == 2.0],
    }[kind]
    K = reference.kernel(relation, 5)
    args = p.X, p.y, p.codes, np.ones(len(p.y)), alpha, K
    value = reference.constrained_twin("squared", *args, plain)[2]
    found = reference.objective("squared", model.coef_, model.intercept_, *args)
    assert abs(found - value) <= 1e-6 * value


@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
def test_tasks_at_their_centre(loss):
    # on the way no row is near a kink, and all tasks are where the balls' centre is
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, codes = rng.standard_normal((30, 3)), np.arange(30) % 3
        y = np.where(rng.random(30) < 0.5, 1, -1)
        kind = MultiTaskSVM if loss == "hinge" else MultiTaskSVR
        model = kind(loss=loss, constraints=[Close(0.1)]).fit(X, y, task=codes)
        K = reference.shared_mean(0.5, 3)
        args = X, y, codes, np.ones(30), 1.0, K

        def close(W, b):
            return [cp.norm(W - np.ones((3, 3)) / 3 @ W, 2, axis=1) <= 0.1]

        value = reference.constrained_twin(loss, *args, close)[2]
        found = reference.objective(loss, model.coef_, model.intercept_, *args)
        assert abs(found - value) <= 1e-5 * value
        assert model.optimality_ <= model._tolerance()


def test_units_do_not_matter(long_regression):
    p = long_regression
    size = np.array([1e6, 1e-6, 1.0, 1e3, 1e-4])
    one = PerTaskRegressor(0, constraints=[NonNegative()]).fit(p.X, p.y, task=p.task)
    two = clone(one).fit(p.X * size, p.y, task=p.task)
    rows = p.task != "mid"  # two rows leave its coefficients open
    assert_allclose(
        two.predict(p.X[rows] * size, task=p.task[rows]),
        one.predict(p.X[rows], task=p.task[rows]),
        atol=1e-6,
    )
    assert two.coef_.min() >= 0


def test_constant_and_collinear_columns(long_regression):
    p = long_regression
    X = np.column_stack([p.X, np.full(len(p.y), 7.0), p.X[:, 0] + 1e-9 * p.X[:, 1]])
    plain = PerTaskRegressor(0.1, constraints=[NonNegative([0, 1])])
    model = clone(plain).fit(X, p.y, task=p.task)
    assert model.optimality_ <= 1e-8
    assert_allclose(model.coef_[:, 5], 0.0, atol=1e-9)
    assert np.all(np.isfinite(model.coef_))
    args = X, p.y, p.codes, np.ones(len(p.y)), 0.1, np.eye(5)
    value = reference.constrained_twin("squared", *args, lambda W, b: [W[:, :2] >= 0])[
        2
    ]
    found = reference.objective("squared", model.coef_, model.intercept_, *args)
    assert_allclose(found, value, rtol=1e-6)


@pytest.mark.parametrize("loss", ["squared", "squared_hinge"])
@pytest.mark.parametrize("relation", ["independent", "shared_mean"])
def test_more_features_than_rows(relation, loss):
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(40, 120)), np.repeat([0, 1, 2, 3], 10)
    y = X[:, 0] + 0.5 * rng.normal(size=40)
    y = y if loss == "squared" else np.sign(y)
    if loss == "squared":
        model = PerTaskRegressor(1.0, relation, constraints=[NonNegative()])
    else:
        model = MultiTaskSVM(1.0, relation, constraints=[NonNegative()])
    model.fit(X, y, task=task)
    K = reference.kernel(relation, 4)
    args = X, y, task, np.ones(40), 1.0, K
    value = reference.constrained_twin(loss, *args, lambda W, b: [W >= 0])[2]
    found = reference.objective(loss, model.coef_, model.intercept_, *args)
    assert_allclose(found, value, rtol=1e-6)
    assert model.coef_.min() == 0.0


def test_a_wide_table_has_its_features_not_rotated():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(12, 30)), rng.normal(size=(12, 3))
    model = PerTaskRegressor(constraints=[NonNegative()]).fit(X, Y)
    assert model.coef_.min() == 0.0
    x, y, codes, weight = reference.to_long(X, Y)
    args = x, y, codes, weight, 1.0, np.eye(3)
    value = reference.constrained_twin("squared", *args, lambda W, b: [W >= 0])[2]
    found = reference.objective("squared", model.coef_, model.intercept_, *args)
    assert_allclose(found, value, rtol=1e-6)


@pytest.mark.parametrize("relation", [SharedMean(0.5), "independent"])
def test_two_thousand_tasks(relation):
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat(np.arange(2000), 6))
    X = rng.normal(size=(12_000, 4))
    y = X @ [1.0, 0.2, -0.1, 0.0] + rng.normal(size=12_000)
    constraints = [NonNegative(), Monotone([0], list(range(2000)))]
    model = PerTaskRegressor(1.0, relation, constraints=constraints)
    model.fit(X, y, task=codes)
    assert model.optimality_ <= 1e-8
    assert model.coef_.min() >= 0
    assert np.diff(model.coef_[:, 0]).min() >= -1e-9


def test_exact_without_limits_that_bind(long_regression):
    p = long_regression
    free = PerTaskRegressor(0.3, SharedMean(0.5)).fit(p.X, p.y, task=p.task)
    wide = clone(free).set_params(constraints=[Bounds(-100, 100), Close(1e3)])
    wide.fit(p.X, p.y, task=p.task)
    assert_allclose(wide.coef_, free.coef_, rtol=1e-8)
    assert_allclose(wide.intercept_, free.intercept_, rtol=1e-8)
    assert not any(np.any(dual.binding) for dual in wide.constraint_duals_)
    none = clone(free).set_params(constraints=[]).fit(p.X, p.y, task=p.task)
    assert_array_equal(none.coef_, free.coef_)
    assert none.constraint_duals_ == free.constraint_duals_ == []


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "constraint, words",
    [
        (NonNegative("price"), "names 'price', but X has no column names"),
        (NonNegative([7]), "has position 7, but `coef_` has 5 columns"),
        (NonNegative([-6]), "has position -6"),
        (NonNegative([]), "names no feature"),
        (NonNegative([0, -5]), "names a feature twice"),
        (Bounds(1.0, 0.0), "`lower` of Bounds must not exceed `upper`, got 1 > 0"),
        (Bounds(np.nan), "must be a number or -inf"),
        (Bounds(np.inf), "must be a number or -inf"),
        (Bounds(upper=-np.inf), "must be a number or inf"),
        (Bounds([0.0, 1.0]), r"one per listed feature \(5\), got shape \(2,\)"),
        (Bounds("low"), "must hold numbers"),
        (Close(-1.0), "`radius` of Close must be >= 0, got -1"),
        (Close(np.nan), "`radius` of Close must be finite"),
        (Monotone([0], ["east", "nowhere"]), r"unknown tasks \['nowhere'\]"),
        (Monotone([0], ["east"]), "two different tasks or more"),
        (Monotone([0], ["east", "mid", "east"]), "two different tasks or more"),
        (SumTo(np.inf), "`value` of SumTo must be finite"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_values_that_are_refused(long_regression, constraint, words):
    p = long_regression
    with pytest.raises(ValueError, match=words):
        PerTaskRegressor(constraints=[constraint]).fit(p.X, p.y, task=p.task)


@pytest.mark.parametrize(
    "constraints, words",
    [
        (NonNegative(), "must be a list"),
        ([NonNegative], "forget the parentheses"),
        (["nonnegative"], "must hold objects"),
        ([NonNegative(1.5)], "must be names or positions"),
        ([NonNegative([True])], "names or integer positions"),
        ([Close("wide")], "must be a number"),
        ([Monotone([0], "east")], "list of task ids"),
        ([lambda W, b: True], "must return a list of cvxpy constraints, got bool"),
    ],
    ids=range(8),
)
def test_types_that_are_refused(long_regression, constraints, words):
    p = long_regression
    with pytest.raises(TypeError, match=words):
        PerTaskRegressor(constraints=constraints).fit(p.X, p.y, task=p.task)


def test_an_unknown_name_is_told_with_the_known_ones(long_regression):
    p = long_regression
    frame = pd.DataFrame(p.X, columns=list("abcde")).assign(school=p.task)
    model = PerTaskRegressor(task_column="school", constraints=[NonNegative("school")])
    with pytest.raises(ValueError, match=r"features are \['a', 'b', 'c', 'd', 'e'\]"):
        model.fit(frame, p.y)


@pytest.mark.parametrize("model", [MultiTaskSVM, MultiTaskSVR])
def test_kernels_are_refused(model):
    model = model(kernel="rbf", constraints=[NonNegative()])
    with pytest.raises(ValueError, match="need the linear kernel, got `kernel`='rbf'"):
        model.fit([[0.0], [1.0]], [0, 1])


CONTRADICTIONS = {
    "rows": [NonNegative(), Bounds(upper=1.0), SumTo(-1.0, [0, 1])],
    "balls": [SumTo(0.0, 0), Bounds(lower=-9), Close(0.1), "apart"],
    "callable": [NonNegative([0]), lambda W, b: [W[0, 0] <= -1.0], SumTo(1.0)],
}


@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "hinge"])
@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_contradictions_are_named(long_regression, long_classification, kind, loss):
    p = long_regression if loss == "squared" else long_classification

    def apart(W, b):
        return [W[0, 1] >= W[1, 1] + 5.0]

    constraints = [apart if one == "apart" else one for one in CONTRADICTIONS[kind]]
    if loss == "squared":
        model = PerTaskRegressor(constraints=constraints)
    else:
        model = MultiTaskSVM(loss=loss, constraints=constraints)
    with pytest.raises(ValueError, match="infeasible") as caught:
        model.fit(p.X, p.y, task=p.task)
    told = str(caught.value)
    assert told.count(".") <= 4 and "\n" not in told
    named = {
        "rows": ({"NonNegative(", "SumTo("}, {"Bounds("}),
        "balls": ({"Close(", "apart(W, b)"}, {"Bounds(", "SumTo("}),
        "callable": ({"NonNegative(", "<lambda>(W, b)"}, {"SumTo("}),
    }[kind]
    assert all(word in told for word in named[0])
    assert not any(word in told for word in named[1])


def test_what_the_relation_contradicts(long_regression):
    p = long_regression

    def apart(W, b):
        return [W[0] >= W[1] + 1.0]

    for relation, possible in [("pooled", False), ("shared_mean", True)]:
        model = PerTaskRegressor(relation=relation, constraints=[apart])
        if possible:
            model.fit(p.X, p.y, task=p.task)
        else:
            with pytest.raises(ValueError, match=r"no coefficients obey apart\(W, b\)"):
                model.fit(p.X, p.y, task=p.task)


# ---------------------------------------------------------------- scikit-learn's tools


def test_copies_and_parameters():
    order = ["a", "b"]
    several = [
        NonNegative(["a"]),
        Bounds(0, [1.0, 2.0]),
        SharedCoefficients([0]),
        Close(0.5),
        Monotone("dose", order),
        SumTo(1),
    ]
    model = PerTaskRegressor(constraints=several)
    again = pickle.loads(pickle.dumps(clone(model)))
    for one, two in zip(several, again.constraints, strict=True):
        assert type(one) is type(two)
        assert repr(one) == repr(two)
        assert one.get_params() == two.get_params()
    assert Close(0.5).set_params(radius=0.2).radius == 0.2
    assert (
        repr(Monotone("dose", order)) == "Monotone(features='dose', order=['a', 'b'])"
    )


def test_a_grid_in_a_pipeline(long_regression):
    p = long_regression
    frame = pd.DataFrame(p.X, columns=list("abcde")).assign(school=p.task)
    model = make_pipeline(
        features_only(StandardScaler(), task_column="school").set_output(
            transform="pandas"
        ),
        PerTaskRegressor(task_column="school", constraints=[NonNegative("b")]),
    )
    grid = {
        "pertaskregressor__alpha": [0.1, 1.0],
        "pertaskregressor__constraints": [None, [NonNegative("b")], [Close(0.2)]],
    }
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(frame, p.y)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert_array_equal(again.predict(frame), search.predict(frame))


def test_warm_start_changes_nothing(long_classification):
    p = long_classification
    model = MultiTaskSVM(constraints=[NonNegative()], warm_start=True)
    first = model.fit(p.X, p.y, task=p.task).coef_
    assert_array_equal(model.fit(p.X, p.y, task=p.task).coef_, first)


@pytest.mark.parametrize(
    "solver", sorted(set(cp.installed_solvers()) & {"SCS", "CLARABEL"})
)
def test_other_solvers(long_regression, solver):
    p = long_regression
    options = {"solver": solver}
    if solver == "SCS":
        options |= {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 100_000}
    model = PerTaskRegressor(constraints=[limit_effects], solver_options=options)
    model.fit(p.X, p.y, task=p.task)
    base = PerTaskRegressor(constraints=[limit_effects]).fit(p.X, p.y, task=p.task)
    assert_allclose(model.coef_, base.coef_, atol=1e-5)


def test_options_are_a_dict(long_regression):
    p = long_regression
    model = PerTaskRegressor(constraints=[NonNegative()], solver_options="SCS")
    with pytest.raises(TypeError, match="`solver_options` must be a dict"):
        model.fit(p.X, p.y, task=p.task)


def test_a_solver_that_cannot_do_it(long_regression):
    p = long_regression
    model = PerTaskRegressor(
        constraints=[limit_effects], solver_options={"solver": "NOSUCH"}
    )
    with pytest.raises(ValueError, match="`solver_options`"):
        model.fit(p.X, p.y, task=p.task)


def test_no_cvxpy_where_it_is_not_needed():
    code = """
import sys
import numpy as np
from mtlearn import MultiTaskSVM, PerTaskRegressor, constraints as c

rng = np.random.default_rng(0)
X, task = rng.normal(size=(60, 3)), np.repeat([0, 1, 2], 20)
y = X @ [1.0, -1.0, 0.5] + rng.normal(size=60)
several = [c.NonNegative(), c.SharedCoefficients([0]), c.SumTo(1), c.Close(0.5)]
several.append(c.Monotone([1], [2, 1, 0]))
PerTaskRegressor(constraints=several).fit(X, y, task=task)
MultiTaskSVM(constraints=several).fit(X, y > 0, task=task)
try:
    PerTaskRegressor(constraints=[*several, c.SumTo(2)]).fit(X, y, task=task)
except ValueError as error:
    print("infeasible" in str(error))
print("cvxpy" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


def test_the_guides_code_runs():
    page = Path(__file__).parents[1] / "docs" / "guide" / "constraints.rst"
    blocks = page.read_text().split(".. code-block:: python\n")[1:]
    space = {}
    for block in blocks:
        lines = block.split("\n")
        code = [line[3:] for line in takewhile(lambda x: x[:3].strip() == "", lines)]
        exec("\n".join(code), space)
    model = space["model"]
    assert str(model.coef_.round(2)[0]) == "[0.68 0.32 0.  ]"
    told = page.read_text().split("print(dual)\n")[1].split("\n\n")[0]
    found = "\n".join(map(repr, model.constraint_duals_))
    assert found.split() == told.split()
