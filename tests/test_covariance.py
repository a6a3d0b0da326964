"""A covariance of the tasks that is learned with the coefficients."""

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
from cases import MODES, cover
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from mtlearn import (
    Composition,
    LearnedCovariance,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
    TaskCovariance,
)
from mtlearn.constraints import NonNegative
from mtlearn.moments import gather_moments
from mtlearn.problem.forms import LearnedForm
from mtlearn.problem.tasks import TaskData

T, D, N, EPSILON = 5, 4, 90, 0.2
MODELS = {
    "squared": PerTaskRegressor(2.0, "learned"),
    "logistic": PerTaskClassifier(1.5, "learned"),
    "squared_hinge": MultiTaskSVM(1.5, "learned"),
    "squared_epsilon_insensitive": MultiTaskSVR(1.5, EPSILON, "learned"),
}
CLASSES = ("logistic", "squared_hinge")
every_loss = pytest.mark.parametrize("loss", MODELS)


def problem(seed=0):
    """Tasks that need two directions, one of them against the others."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D))
    codes = np.r_[np.arange(T), rng.integers(T, size=N - T)]
    W = rng.normal(size=(T, 2)) @ rng.normal(size=(2, D))
    z = np.einsum("ij,ij->i", X, W[codes]) + rng.normal(size=T)[codes]
    y = z + rng.normal(size=N)
    signs = np.where(z + rng.logistic(size=N) > 0, 1, -1)
    return X, y, signs, codes, rng.uniform(0.5, 2.0, N)


def row_losses(loss, f, y):
    if loss == "squared":
        return 0.5 * cp.square(y - f)
    if loss == "logistic":
        return cp.logistic(-cp.multiply(y, f))
    if loss == "squared_hinge":
        return cp.square(cp.pos(1 - cp.multiply(y, f)))
    return cp.square(cp.pos(y - f - EPSILON)) + cp.square(cp.pos(f - y - EPSILON))


def twin(loss, mode, X, y, codes, weight, alpha):
    """The minimum over W, K and the intercepts, as a squared nuclear norm."""
    W, own, common = cp.Variable((T, D)), cp.Variable(T), cp.Variable()
    tied, b = (
        W,
        {True: own, "shared": common * np.ones(T), False: np.zeros(T)}.get(mode),
    )
    if mode == "shrunk":
        b, tied = common + own, cp.hstack([W, cp.reshape(own, (T, 1), order="C")])
    f = cp.sum(cp.multiply(X, W[codes]), axis=1) + b[codes]
    omega = cp.square(cp.norm(tied, "nuc")) / T
    value = weight @ row_losses(loss, f, y) + 0.5 * alpha * omega
    found = cp.Problem(cp.Minimize(value))
    # a tenth of what is compared; some processors do not reach the solver's default
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-7)
    found.solve(solver=cp.CLARABEL, **tight)
    return found.value


def value_of(loss, model, X, y, codes, weight, alpha, mode):
    """The objective of a model at its best covariance."""
    W, b = model.coef_, model.intercept_
    f = np.einsum("ij,ij->i", X, W[codes]) + b[codes]
    total = float(weight @ row_losses(loss, cp.Constant(f), y).value)
    size = np.linalg.norm(W, "nuc")
    if mode == "shrunk":
        # the centre is not kept: the one that leaves the least
        tied = [np.column_stack([W, b - c]) for c in np.linspace(-3.0, 3.0, 60_001)]
        size = np.linalg.svd(np.array(tied), compute_uv=False).sum(axis=1).min()
    return total + 0.5 * alpha * size**2 / T


@pytest.mark.parametrize("loss, mode", cover(tuple(MODELS), MODES))
def test_it_is_the_minimum_over_coefficients_and_covariance(loss, mode):
    X, y, signs, codes, weight = problem()
    y = signs if loss in CLASSES else y
    model = clone(MODELS[loss]).set_params(fit_intercept=mode, tol=1e-9)
    model.fit(X, y, weight, task=codes)
    alpha, strength = getattr(model, "alpha", 1.0), getattr(model, "C", 1.0)
    args = X, y, codes, strength * weight, alpha
    least = twin(loss, mode, *args)
    assert value_of(loss, model, *args, mode) == pytest.approx(least, rel=2e-6)
    K = model.task_covariance_
    assert np.trace(K) == pytest.approx(T)
    assert np.linalg.eigvalsh(K).min() > -1e-9
    assert_allclose(K, K.T)
    if mode != "shrunk":
        within = np.linalg.lstsq(K, model.coef_, rcond=1e-9)[0]
        size = np.linalg.norm(model.coef_, "nuc")
        assert np.sum(model.coef_ * within) == pytest.approx(size**2 / T, rel=1e-6)


@every_loss
def test_the_certificate_is_a_bound(loss):
    X, y, signs, codes, weight = problem(1)
    y = signs if loss in CLASSES else y
    model = clone(MODELS[loss]).set_params(fit_intercept=False, tol=1e-10)
    alpha, strength = getattr(model, "alpha", 1.0), getattr(model, "C", 1.0)
    args = X, y, codes, strength * weight, alpha
    zero = float(
        (strength * weight) @ row_losses(loss, cp.Constant(0 * X[:, 0]), y).value
    )
    best = value_of(loss, model.fit(X, y, weight, task=codes), *args, False)
    for tol in (0.1, 1e-2, 1e-4):
        loose = model.set_params(tol=tol).fit(X, y, weight, task=codes)
        found = value_of(loss, loose, *args, False)
        assert -1e-8 * zero <= found - best <= loose.optimality_ * zero + 1e-8 * zero


def test_with_its_own_covariance_nothing_changes():
    X, y, _, codes, weight = problem()
    learned = (
        clone(MODELS["squared"]).set_params(tol=1e-12).fit(X, y, weight, task=codes)
    )
    K = learned.task_covariance_ + 1e-9 * np.eye(T)
    given = PerTaskRegressor(2.0, TaskCovariance(K)).fit(X, y, weight, task=codes)
    assert_allclose(given.coef_, learned.coef_, atol=1e-4)


def test_opposites_are_found():
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(200, 5)), np.arange(200) % 4
    w, side = rng.normal(size=5), np.array([1.0, 1.0, -1.0, 0.0])[codes]
    y = side * (X @ w) + 0.3 * rng.normal(size=200)
    K = PerTaskRegressor(1.0, "learned").fit(X, y, task=codes).task_covariance_
    scale = np.sqrt(np.diag(K))
    R = K / np.outer(scale, scale)
    assert R[0, 1] > 0.9 and R[0, 2] < -0.9
    assert K[3, 3] < 0.1 * K[0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_layouts_containers_and_moments_agree(wide_complete, mode):
    p = wide_complete
    Y = p.Y[:, :4]
    model = PerTaskRegressor(1.0, "learned", fit_intercept=mode, tol=1e-11)
    wide = clone(model).fit(p.X, Y)
    X, task = np.tile(p.X, (4, 1)), np.repeat(np.arange(4), len(p.X))
    for build in (np.asarray, sp.csr_array):
        long = clone(model).fit(build(X), Y.T.ravel(), task=task)
        assert_allclose(long.coef_, wide.coef_, atol=1e-6)
        assert_allclose(long.task_covariance_, wide.task_covariance_, atol=1e-5)


def test_a_feature_of_ones_beside_the_moments():
    X, y, _, codes, weight = problem()
    data = TaskData(X, y, T, codes, weight, np.linspace(1.0, 2.0, T))
    one = gather_moments(data.with_constant())
    two = gather_moments(data).with_constant()
    for name in ("weight", "mean", "gram", "cross", "y_square"):
        assert_allclose(getattr(two, name), getattr(one, name), atol=1e-10)
    assert data.with_constant().n_features == D + 1 and data.n_features == D


def test_tasks_without_labels_have_no_covariance():
    X, y, _, codes, _ = problem()
    Y = np.full((N, T + 1), np.nan)
    Y[np.arange(N), codes] = y
    with pytest.warns(UserWarning, match="get the shared model"):
        model = PerTaskRegressor(1.0, "learned").fit(X, Y)
    K = model.task_covariance_
    assert np.isnan(K[T]).all() and np.isnan(K[:, T]).all()
    assert np.trace(K[:T, :T]) == pytest.approx(T)
    assert_allclose(model.coef_[T], model.coef_[:T].mean(axis=0))


def test_more_than_two_classes():
    X, y, _, codes, _ = problem()
    labels = np.digitize(y, [-1.0, 1.0])
    model = MultiTaskSVM(1.0, "learned").fit(X, labels, task=codes)
    assert model.task_covariance_.shape == (3, T, T)
    assert_allclose(np.trace(model.task_covariance_, axis1=1, axis2=2), T)
    with pytest.raises(ValueError, match="is for two classes, got 3"):
        PerTaskClassifier(relation="learned").fit(X, labels, task=codes)


@every_loss
def test_a_warm_start_begins_where_the_last_fit_ended(loss):
    X, y, signs, codes, _ = problem()
    y = signs if loss in CLASSES else y
    model = clone(MODELS[loss]).set_params(warm_start=True).fit(X, y, task=codes)
    cold, coef = model.n_iter_, model.coef_
    model.fit(X, y, task=codes)
    assert model.n_iter_ < cold
    assert_allclose(model.coef_, coef, atol=1e-3)


def test_searches():
    X, y, _, codes, _ = problem()
    model = PerTaskRegressorCV([1.0, 10.0], relation="learned", cv=3)
    model.fit(X, y, task=codes)
    alone = PerTaskRegressor(model.alpha_, "learned").fit(X, y, task=codes)
    assert_allclose(model.coef_, alone.coef_, atol=1e-5)
    table = np.column_stack([codes, X])
    grid = {"relation": ["independent", "learned", "shared_mean"]}
    search = GridSearchCV(PerTaskRegressor(task_column=0), grid, cv=3).fit(table, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_without_a_penalty_the_covariance_has_no_say():
    X, y, _, codes, _ = problem()
    learned = PerTaskRegressor(0.0, "learned").fit(X, y, task=codes)
    alone = PerTaskRegressor(0.0).fit(X, y, task=codes)
    assert_allclose(learned.coef_, alone.coef_, atol=1e-8)


@pytest.mark.parametrize(
    "model, message",
    [
        (MultiTaskSVM(relation="learned", loss="hinge"), "squared losses.*'hinge'"),
        (MultiTaskSVM(relation="learned", kernel="rbf"), "linear kernel.*'rbf'"),
        (PerTaskRegressor(relation="learned", constraints=[NonNegative()]), "known"),
        (PerTaskRegressor(relation=Composition({9: {0: 1}}, "learned")), "before"),
    ],
)
def test_what_it_is_not_for(model, message):
    X, y, signs, codes, _ = problem()
    y = signs if isinstance(model, MultiTaskSVM) else y
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, y, task=codes)


def test_before_a_fit_there_is_no_kernel():
    with pytest.raises(ValueError, match="`task_covariance_`"):
        LearnedCovariance().kernel(3)
    assert LearnedCovariance().omega(np.diag([3.0, 1.0])) == pytest.approx(8.0)
    assert isinstance(LearnedCovariance().form(np.arange(3)), LearnedForm)


def test_out_of_iterations_warns():
    X, _, signs, codes, _ = problem()
    model = MultiTaskSVM(100.0, "learned", max_iter=1, tol=1e-12)
    with pytest.warns(ConvergenceWarning):
        model.fit(100 * X, signs, task=codes)
    assert np.isfinite(model.coef_).all()
