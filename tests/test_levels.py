"""Targets and features far from zero: the same model, and the same promise."""

import warnings

import numpy as np
import pytest
import reference
from cases import INTERCEPTS
from sklearn.exceptions import ConvergenceWarning

from mtlearn import (
    Composition,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMappingRegressor,
    SharedMean,
)
from mtlearn.constraints import NonNegative
from mtlearn.moments import gather_moments
from mtlearn.problem.baseline import base_objective
from mtlearn.problem.forms import ArrowForm
from mtlearn.problem.intercepts import FREE, NONE
from mtlearn.problem.losses import Logistic, Softmax, SquaredHinge
from mtlearn.problem.margins import margin_loss
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.margins.level import best_levels

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

N_TASKS, MODES = 4, ("free", "shrunk", "shared")
ROW_LOSS = np.vectorize(reference.row_loss)
TUBES = ("squared_epsilon_insensitive", "epsilon_insensitive")


def _data(seed=0, n=120, d=3):
    rng = np.random.default_rng(seed)
    X, task = rng.normal(size=(n, d)), np.arange(n) % N_TASKS
    W = rng.normal(size=d) + 0.5 * rng.normal(size=(N_TASKS, d))
    y = np.einsum("ij,ij->i", X, W[task]) + rng.normal(size=N_TASKS)[task]
    return X, y + 0.5 * rng.normal(size=n), task, rng.uniform(0.5, 2.0, n)


def _regressors():
    for loss in TUBES:
        for epsilon in (0.0, 0.1):
            yield MultiTaskSVR(epsilon=epsilon, loss=loss)
        yield MultiTaskSVR(epsilon=0.1, loss=loss, kernel="rbf")
        yield MultiTaskSVR(epsilon=0.1, loss=loss, constraints=[NonNegative([0])])
    yield MultiTaskSVR(epsilon=0.1, relation="pooled")
    yield PerTaskRegressor(relation=SharedMean(0.5))
    yield PerTaskRegressor(solver="newton-cg")
    yield PerTaskRegressor(alpha=0.0)
    yield PerTaskRegressor(constraints=[NonNegative([0])])
    yield PerTaskRegressorCV(alphas=4, correlations=[0.5])
    for penalty in ("rank", "nuclear", "l21", "dirty"):
        yield SharedFeatureRegressor(penalty=penalty, alpha=5.0)
    yield SharedFeatureRegressor(penalty="l21", alpha=5.0, solver="rows")
    yield SharedFeatureRegressorCV(alphas=4, penalty="l21")
    yield SharedFeatureRegressorCV(alphas=4, penalty="l21", solver="rows")
    yield SharedMappingRegressor((4,), random_state=0)


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize("intercept", MODES)
@pytest.mark.parametrize("model", list(_regressors()), ids=repr)
def test_a_level_of_the_targets_moves_the_intercepts_alone(model, intercept):
    X, y, task, weight = _data()
    model.set_params(fit_intercept=intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        here = model.fit(X, y, weight, task=task).predict(X, task=task)
        for level in (1e5, 1e8):
            there = model.fit(X, y + level, weight, task=task).predict(X, task=task)
            # what the labels themselves lose by rounding, and what steps make of it
            room = 1e-14 * level * (1e4 if hasattr(model, "loss_") else 1.0)
            np.testing.assert_allclose(there - level, here, atol=10 * room + 1e-9)


def test_a_callable_sees_the_intercepts_of_the_targets_as_they_are():
    X, y, task, _ = _data()
    model = PerTaskRegressor(constraints=[lambda W, b: [b >= 1000.5]])
    model.fit(X, y + 1000.0, task=task)
    assert model.intercept_.min() == pytest.approx(1000.5, abs=1e-4)
    free = PerTaskRegressor().fit(X, y + 1000.0, task=task)
    above = free.intercept_ > 1000.6
    np.testing.assert_allclose(
        model.intercept_[above], free.intercept_[above], atol=1e-3
    )


@pytest.mark.parametrize("intercept", MODES)
def test_a_total_is_still_the_sum_of_its_parts(intercept):
    X, y, task, _ = _data()
    total = {3: {0: 1.0, 1: 1.0}}
    model = PerTaskRegressor(
        relation=Composition(total), fit_intercept=intercept, alpha=1e-3
    )
    lifted = y + np.array([1e5, 1e5, 1e5, 2e5])[task]
    here = model.fit(X, y, task=task).predict(X, task=task)
    there = model.fit(X, lifted, task=task)
    b = there.intercept_
    assert b[3] == pytest.approx(b[0] + b[1], rel=1e-12)
    if intercept == "free":
        np.testing.assert_allclose(
            there.predict(X, task=task) - lifted, here - y, atol=1e-8
        )


@pytest.mark.parametrize("level", [0.0, 0.1, 1e8 / 3.0])
@pytest.mark.parametrize("model", list(_regressors()), ids=repr)
def test_constant_targets_are_met_exactly(model, level):
    X, _, task, weight = _data()
    if getattr(model, "alpha", None) == 0.0 or hasattr(model, "cv"):
        pytest.skip("least squares has rounding to tell, cross-validation no choice")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, np.full(len(X), level), weight, task=task)
    # everywhere within the tube is as good
    tube = getattr(model, "epsilon", 0.0)
    np.testing.assert_allclose(
        model.predict(X, task=task), level, rtol=1e-15, atol=tube + 1e-12
    )


@pytest.mark.parametrize("n_iter_of", [MultiTaskSVR(epsilon=0.1), PerTaskRegressor()])
def test_a_warm_start_knows_the_level(n_iter_of):
    X, y, task, _ = _data()
    model = n_iter_of.set_params(warm_start=True).fit(X, y + 1e6, task=task)
    cold, coef = model.n_iter_, model.coef_
    model.fit(X, y + 1e6, task=task)
    assert model.n_iter_ <= cold
    np.testing.assert_allclose(model.coef_, coef, atol=1e-9)


# ---------------------------------------------------------------- what tol refers to


@pytest.mark.parametrize("intercept", MODES)
@pytest.mark.parametrize("loss", ["squared", *TUBES])
@pytest.mark.parametrize("epsilon", [0.0, 0.7])
def test_the_levels_are_the_best_intercepts_without_features(loss, epsilon, intercept):
    _, y, task, weight = _data()
    data = TaskData(np.zeros((len(y), 1)), y + 30.0, N_TASKS, task, weight)
    form = ArrowForm(N_TASKS, 0.0, 1.0)
    margin = None if loss == "squared" else margin_loss(loss, epsilon)
    levels = best_levels(data, form, INTERCEPTS[intercept], margin)

    def cost(shift):
        f = (levels + shift)[task]
        return weight @ ROW_LOSS(loss, y + 30.0, f, epsilon)

    # means will do for squared tubes where they cost about a tenth
    most = 1.0 if loss == "squared_epsilon_insensitive" and epsilon else 0.0
    if intercept != "free":
        assert np.ptp(levels) == 0.0
    for size in (1e-3, 0.1, 3.0):
        for moved in np.vstack([np.eye(N_TASKS), np.ones((1, N_TASKS))]):
            if intercept == "free" or moved.all():
                assert cost(0.0) <= (1.0 + 0.15 * most) * cost(size * moved) + 1e-9
                assert cost(0.0) <= (1.0 + 0.15 * most) * cost(-size * moved) + 1e-9


def test_without_intercepts_nothing_is_taken_away():
    _, y, task, weight = _data()
    data = TaskData(np.zeros((len(y), 1)), y, N_TASKS, task, weight)
    form = ArrowForm(N_TASKS, 0.0, 1.0)
    assert not best_levels(data, form, NONE).any()
    moments = gather_moments(data)
    assert moments.base_objective(NONE) == moments.zero_objective
    for intercept in ("free", "shared"):
        left = y - best_levels(data, form, INTERCEPTS[intercept])[task]
        assert moments.base_objective(INTERCEPTS[intercept]) == pytest.approx(
            0.5 * weight @ left**2
        )


@pytest.mark.parametrize("intercept", ["free", "shared", "none"])
@pytest.mark.parametrize(
    ("loss", "solver_loss"),
    [
        ("logistic", Logistic()),
        ("squared_hinge", SquaredHinge()),
        ("hinge", margin_loss("hinge")),
        ("logistic", Softmax(2)),
    ],
)
def test_classes_are_measured_by_their_best_intercepts(loss, solver_loss, intercept):
    _, y, task, weight = _data()
    signs = np.where(y > 0.8, 1.0, -1.0)
    labels = (signs > 0) * 1.0 if isinstance(solver_loss, Softmax) else signs
    data = TaskData(np.zeros((len(y), 1)), labels, N_TASKS, task, weight)
    form = ArrowForm(N_TASKS, 0.0, 1.0)

    def cost(rows, b):
        f = np.full(rows.sum(), b)
        return weight[rows] @ ROW_LOSS(loss, signs[rows], f)

    every = np.ones(len(y), dtype=bool)
    zero = cost(every, 0.0)
    groups = [task == t for t in range(N_TASKS)] if intercept == "free" else [every]
    grid = np.linspace(-6, 6, 2401) if intercept != "none" else [0.0]
    least = sum(min(cost(rows, b) for b in grid) for rows in groups)
    found = base_objective(data, solver_loss, form, INTERCEPTS[intercept], zero)
    assert found == pytest.approx(least, rel=1e-4)


def test_one_class_per_task_leaves_a_thousandth_of_the_zero_model():
    task = np.arange(20) % 2
    data = TaskData(np.zeros((20, 1)), np.where(task > 0, 1.0, -1.0), 2, task)
    form = ArrowForm(2, 0.0, 1.0)
    assert base_objective(data, Logistic(), form, FREE, 5.0) == 5e-3


# ---------------------------------------------------------------- features


def _classes():
    X, y, task, _ = _data()
    return X, (y > np.median(y)) * 1, task


@pytest.mark.parametrize(
    "model",
    [
        PerTaskClassifier(),
        MultiTaskSVM(),
        MultiTaskSVM(loss="hinge"),
        MultiTaskSVM(kernel="rbf"),
        SharedFeatureClassifier(penalty="l21"),
        SharedFeatureClassifier(penalty="nuclear"),
    ],
    ids=repr,
)
def test_features_far_from_zero_with_free_intercepts(model):
    X, y, task = _classes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here = model.fit(X, y, task=task).decision_function(X, task=task)
        far = X + 1e4
        there = model.fit(far, y, task=task).decision_function(far, task=task)
    np.testing.assert_allclose(there, here, atol=1e-3)


@pytest.mark.parametrize("intercept", ["shrunk", "shared"])
@pytest.mark.parametrize("penalty", ["l21", "nuclear"])
@pytest.mark.parametrize("mean", [1e2, 1e4])
def test_features_far_from_zero_with_tied_intercepts(penalty, intercept, mean):
    # all tasks must agree where the features are: another model, nearly as good
    X, y, task = _classes()
    model = SharedFeatureClassifier(penalty=penalty, fit_intercept=intercept)
    here = model.fit(X, y, task=task).score(X, y, task=task)
    gaps = []
    with warnings.catch_warnings():
        # features of mean m cost the certificate m^2 of its digits, now and then more
        warnings.simplefilter("ignore", ConvergenceWarning)
        for shift in 1e-4 * mean * np.arange(4, -1, -1):
            gaps.append(model.fit(X + mean + shift, y, task=task).optimality_)
    assert np.median(gaps) < 1e-11 * max(mean, 3e2) ** 2
    assert model.score(X + mean, y, task=task) > here - 0.05


@pytest.mark.parametrize("intercept", [*MODES, False])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_a_kernel_machine_is_never_worse_than_no_features(loss, intercept):
    X, y, task = _classes()
    model = MultiTaskSVM(kernel="poly", loss=loss, fit_intercept=intercept, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[:60] + 1e4, y[:60], task=task[:60])
    assert model.optimality_ <= 1.0 + 1e-9
