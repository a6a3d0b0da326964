"""Constraints on the coefficients: their twin, their prices, what they refuse."""

import pickle
import subprocess
import sys
import warnings

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_per_task import LAYOUTS, MODES, RELATIONS, WEIGHTS, Case, pairwise, signs

from mtlearn import MultiTaskSVM, MultiTaskSVR, PerTaskRegressor, SharedMean, TaskGraph
from mtlearn.compose import features_only
from mtlearn.constraints import (
    Bounds,
    Close,
    Monotone,
    NonNegative,
    SharedCoefficients,
    SumTo,
)

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


@pytest.fixture
def matrices(adjacency, task_covariance):
    return adjacency, task_covariance


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
