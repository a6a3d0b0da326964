"""Hinge and epsilon-insensitive loss against their twins, libsvm and LIBLINEAR."""

import warnings
from itertools import product

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import (
    FEATURES,
    INTERCEPTS,
    MODES,
    RELATION_FIXTURES,
    SOLVERS,
    C,
    Case,
    check_objective,
    cover,
    every_pair,
    hard_features,
    signs,
    wide_multiclass,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC, SVR, LinearSVC

from mtlearn import MultiTaskSVM, MultiTaskSVR, SharedMean, TaskCovariance, TaskGraph
from mtlearn.problem.margins import margin_loss
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.margins.kinked import solve_kinked

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

EPSILON = 0.3
LOSSES = ("hinge", "epsilon_insensitive")
TOL = 1e-8

every_loss = pytest.mark.parametrize("loss", LOSSES)
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def problems(
    long_regression, wide_regression, long_classification, wide_classification
):
    """The long and the wide problem of each loss."""
    return {
        "hinge": (long_classification, wide_classification),
        "epsilon_insensitive": (long_regression, wide_regression),
    }


def estimator(loss, strength=C, epsilon=EPSILON, tol=TOL, **params):
    """The estimator of a loss, tight enough for 1e-6 of the objective."""
    if loss == "hinge":
        return MultiTaskSVM(strength, loss=loss, tol=tol, **params)
    return MultiTaskSVR(strength, epsilon, loss=loss, tol=tol, **params)


def labels(loss):
    return signs if loss == "hinge" else None


def options(loss, epsilon=EPSILON):
    return {} if loss == "hinge" else {"epsilon": epsilon}


def rows(loss, problems):
    """X, y, codes, weight of the long problem, y as the reference wants it."""
    p = problems[loss][0]
    return p.X, p.sign if loss == "hinge" else p.y, p.codes, p.weight


def check(loss, model, K, mode, X, y, codes, weight, epsilon=EPSILON):
    """The model is as good as cvxpy's, and as it says itself."""
    args = X, y, codes, model.C * weight, 1.0, K, mode
    value = reference.twin(loss, *args, **options(loss, epsilon))[2]
    check_objective(loss, model, value, *args, **options(loss, epsilon))


# ---------------------------------------------------------------- against the twins


@every_pair
def test_classifier(problems, matrices, name, layout, mode, weights):
    case = Case(*problems["hinge"], name, layout, weights, matrices, C)
    model = estimator("hinge", fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    value = case.twin("hinge", mode, signs)[2]
    case.check("hinge", model, mode, value, signs)


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
@every_pair
def test_regressor(problems, matrices, name, layout, mode, weights, epsilon):
    loss = "epsilon_insensitive"
    case = Case(*problems[loss], name, layout, weights, matrices, C)
    model = estimator(loss, epsilon=epsilon, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    value = case.twin(loss, mode, epsilon=epsilon)[2]
    case.check(loss, model, mode, value, epsilon=epsilon)


@pytest.mark.parametrize(
    "loss, name, mode, layout",
    cover(LOSSES, ["SharedMean(0.6)", "pooled", "graph"], MODES, ["task", "wide"]),
)
def test_every_solver(problems, matrices, loss, name, mode, layout):
    case = Case(*problems[loss], name, layout, "rows", matrices, C)
    value = case.twin(loss, mode, labels(loss), **options(loss))[2]
    for solver, build in product(SOLVERS, (np.asarray, sp.csr_array)):
        model = estimator(loss, fit_intercept=mode, solver=solver, **case.params)
        model.fit(build(case.X), case.y, **case.fit)
        case.check(loss, model, mode, value, labels(loss), **options(loss))


@pytest.mark.parametrize("loss, name", cover(LOSSES, ["SharedMean(0.6)", "pooled"]))
def test_dual_descent(problems, matrices, loss, name):
    case = Case(*problems[loss], name, "task", "array", matrices, C)
    model = estimator(loss, fit_intercept=False, solver="dual-descent", max_iter=3000)
    model.set_params(**case.params).fit(sp.csr_array(case.X), case.y, **case.fit)
    value = case.twin(loss, False, labels(loss), **options(loss))[2]
    case.check(loss, model, False, value, labels(loss), **options(loss))


@pytest.mark.parametrize("loss, mode", cover(LOSSES, MODES))
def test_wide_sparse_rows(loss, mode):
    # 40 rows with a tenth of 80 columns: what "auto" hands to dual descent
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=40)
    X = sp.csr_array(np.where(rng.random((40, 80)) < 0.1, rng.random((40, 80)), 0.0))
    y = X @ rng.normal(size=80) + 0.3 * codes - 0.5
    y = np.where(y > 0, 1, -1) if loss == "hinge" else y
    for strength in (0.1, 30.0):
        for solver in ("auto", *SOLVERS):
            model = estimator(loss, strength, 0.05, fit_intercept=mode, solver=solver)
            model.fit(X, y, task=codes)
            K = reference.shared_mean(0.5, 4)
            args = X.toarray(), y, codes, np.ones(40)
            check(loss, model, K, mode, *args, epsilon=0.05)


@pytest.mark.parametrize("layout, mode", cover(["task", "wide"], MODES))
def test_three_classes_are_one_against_the_rest(
    long_multiclass, matrices, layout, mode
):
    wide = wide_multiclass(long_multiclass)
    case = Case(long_multiclass, wide, "SharedMean(0.6)", layout, "rows", matrices, C)
    model = estimator("hinge", fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    assert model.coef_.shape == (5, 3, 5) and model.intercept_.shape == (5, 3)
    X, y, codes, weight = case.rows
    for k, label in enumerate("abc"):
        part = estimator("hinge", 1.0)
        part.coef_, part.intercept_ = model.coef_[:, k], model.intercept_[:, k]
        part.optimality_ = model.optimality_
        one = np.where(y == label, 1, -1)
        check("hinge", part, case.K, mode, X, one, codes, weight)


# ---------------------------------------------------------------- the certificate


@pytest.mark.parametrize(
    "relation, loss, mode",
    cover(RELATION_FIXTURES, LOSSES, MODES),
    indirect=["relation"],
)
def test_the_certificate_is_a_bound(problems, relation, loss, mode):
    X, y, codes, weight = rows(loss, problems)
    args = X, y, codes, weight, 1.0, relation.kernel(5), mode
    minimum = reference.twin(loss, *args, **options(loss))[2]
    for max_iter in (1, 2, 100):
        model = estimator(loss, 1.0, relation=relation, fit_intercept=mode)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(max_iter=max_iter).fit(X, y, weight, task=codes)
        ends = model.coef_, model.intercept_
        found = reference.objective(loss, *ends, *args, **options(loss))
        ends = 0 * model.coef_, 0 * model.intercept_
        zero = reference.objective(loss, *ends, *args, **options(loss))
        assert found - minimum <= model.optimality_ * zero + 1e-9 * zero
    assert model.optimality_ <= TOL


@pytest.mark.parametrize("tol", [1e-2, 1e-4, None, 1e-8, 1e-10, 1e-12])
@every_mode
@every_loss
def test_a_smaller_tol_is_a_smaller_certificate(problems, loss, mode, tol):
    X, y, codes, weight = rows(loss, problems)
    model = estimator(loss, tol=tol, fit_intercept=mode).fit(X, y, weight, task=codes)
    assert model.optimality_ <= (1e-6 if tol is None else tol)


@every_mode
@every_loss
def test_few_rows_are_solved_to_the_end(problems, loss, mode):
    X, y, codes, weight = rows(loss, problems)
    model = estimator(loss, tol=1e-3, fit_intercept=mode)
    assert model.fit(X, y, weight, task=codes).optimality_ <= 1e-11


def solve(loss, X, y, codes, weight, alpha, mode, tol):
    """The solver's own answer, with its dual, for SharedMean(0.6)."""
    kind = {True: "free", False: "none"}.get(mode, mode)
    data = TaskData(X, y * 1.0, 5, codes, weight)
    form = SharedMean(0.6).form(np.arange(5))
    return solve_kinked(
        data,
        margin_loss(loss, EPSILON),
        form,
        alpha,
        intercept=INTERCEPTS[kind],
        tol=tol,
    )


def from_outside(loss, solution, X, y, codes, weight, alpha, mode):
    """Primal and dual objective, W = K X' beta / alpha, and the sums of beta per task.

    In long doubles: the features may be in any units.
    """
    K = reference.shared_mean(0.6, 5)
    A = np.linalg.inv(K)
    order = np.argsort(codes, kind="stable")
    X, y, weight, beta = (
        np.asarray(v, dtype=np.longdouble)
        for v in (X[order], y[order], weight[order], solution.dual)
    )
    codes = codes[order]
    side = beta * y if loss == "hinge" else np.abs(beta)
    assert np.all(side >= 0) and np.all(side <= weight * (1 + 1e-14))
    G = np.zeros((5, X.shape[1]), dtype=np.longdouble)
    np.add.at(G, codes, beta[:, None] * X)
    sums = np.bincount(codes, beta.astype(float), 5)
    W, b = solution.coef, solution.intercept
    f = (X * W[codes]).sum(axis=1) + b[codes]
    error = 1 - y * f if loss == "hinge" else np.abs(y - f) - EPSILON
    omega = np.vdot(W, A @ W)
    dual = beta @ y - np.vdot(G, K @ G) / (2 * alpha)
    if loss != "hinge":
        dual -= EPSILON * np.abs(beta).sum()
    if mode == "shrunk":
        omega += reference.intercept_penalty(b, K, mode)
        dual -= sums @ K @ sums / (2 * alpha)
    primal = weight @ np.maximum(error, 0) + alpha * omega / 2
    return float(primal), float(dual), (K @ G / alpha).astype(float), sums


@every_mode
@every_loss
def test_the_dual_gives_the_model_and_its_objective(problems, loss, mode):
    X, y, codes, weight = rows(loss, problems)
    solution = solve(loss, X, y, codes, weight, 0.4, mode, 1e-11)
    args = X, y, codes, weight, 0.4, mode
    primal, dual, W, sums = from_outside(loss, solution, *args)
    assert_allclose(solution.objective, primal, rtol=1e-12)
    assert_allclose(solution.coef, W, atol=1e-5)
    zero = reference.data_loss(loss, 0 * y, y, codes, weight, 5, EPSILON)
    assert -1e-11 * zero <= primal - dual <= (solution.certificate + 1e-11) * zero
    if mode is True:
        assert_allclose(sums, 0, atol=1e-9 * weight.sum())
    elif mode in ("shared", "shrunk"):
        assert abs(sums.sum()) <= 1e-9 * weight.sum()


# ---------------------------------------------------------------- what they reduce to


@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_one_task_is_a_linear_svc(long_classification, strength):
    p = long_classification
    model = estimator("hinge", strength, tol=1e-11)
    svc = LinearSVC(
        C=strength, loss="hinge", fit_intercept=False, tol=1e-9, max_iter=1_000_000
    )
    model.set_params(fit_intercept=False).fit(p.X, p.y, p.weight)
    svc.fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_, svc.coef_, atol=1e-4)
    assert_array_equal(model.predict(p.X), svc.predict(p.X))
    model.set_params(fit_intercept=True).fit(p.X, p.y, p.weight)
    svc = SVC(C=strength, kernel="linear", tol=1e-9).fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_, svc.coef_, atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_one_task_is_an_svr(long_regression, strength, epsilon):
    p = long_regression
    model = estimator("epsilon_insensitive", strength, epsilon, tol=1e-11)
    model.fit(p.X, p.y, p.weight)
    svr = SVR(C=strength, epsilon=epsilon, kernel="linear", tol=1e-9)
    svr.fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_, svr.coef_, atol=1e-4)
    # without penalty the intercept may have room
    assert_allclose(model.predict(p.X), svr.predict(p.X), atol=0.5)


def test_shared_mean_is_a_linear_svc_on_augmented_features(long_classification):
    p, rho = long_classification, 0.7
    private = np.zeros((len(p.y), 5, p.X.shape[1]))
    private[np.arange(len(p.y)), p.codes] = np.sqrt(1 - rho) * p.X
    Z = np.hstack([np.sqrt(rho) * p.X, private.reshape(len(p.y), -1)])
    svc = LinearSVC(C=C, loss="hinge", fit_intercept=False, tol=1e-9, max_iter=10**6)
    svc.fit(Z, p.y)
    model = estimator("hinge", relation=SharedMean(rho), fit_intercept=False, tol=1e-11)
    model.fit(p.X, p.y, task=p.task)
    w, V = svc.coef_[0, :5], svc.coef_[0, 5:].reshape(5, 5)
    expected = np.sqrt(rho) * w + np.sqrt(1 - rho) * V
    assert_allclose(model.coef_, expected, atol=1e-4)


@every_mode
@every_loss
class TestMembersThatCoincide:
    @pytest.fixture
    def p(self, loss, problems):
        return problems[loss][0]

    def test_a_covariance_of_shared_mean_is_shared_mean(self, loss, p, mode):
        K = SharedMean(0.6).kernel(5)
        one, two = (
            estimator(loss, relation=relation, fit_intercept=mode, tol=1e-11)
            for relation in (SharedMean(0.6), TaskCovariance(K))
        )
        one.fit(p.X, p.y, task=p.task)
        two.fit(p.X, p.y, task=p.task)
        assert_allclose(one.coef_, two.coef_, atol=1e-4)

    def test_the_order_of_rows_does_not_matter(self, loss, p, mode):
        order = np.random.default_rng(0).permutation(len(p.y))
        one = estimator(loss, fit_intercept=mode, tol=1e-11)
        two = estimator(loss, fit_intercept=mode, tol=1e-11)
        one.fit(p.X, p.y, task=p.task)
        two.fit(p.X[order], p.y[order], task=p.task[order])
        assert_allclose(one.coef_, two.coef_, atol=1e-4)

    def test_a_weight_of_two_is_the_row_twice(self, loss, p, mode):
        times = np.random.default_rng(1).integers(0, 3, size=len(p.y))
        times[p.codes == 1] = 1
        copies = np.repeat(np.arange(len(p.y)), times)
        one = estimator(loss, fit_intercept=mode, tol=1e-11)
        two = estimator(loss, fit_intercept=mode, tol=1e-11)
        one.fit(p.X, p.y, 1.0 * times, task=p.task)
        two.fit(p.X[copies], p.y[copies], task=p.task[copies])
        assert_allclose(one.coef_, two.coef_, atol=1e-4)

    def test_a_warm_start_is_the_same_model(self, loss, p, mode):
        model = estimator(loss, fit_intercept=mode, warm_start=True)
        first = model.fit(p.X, p.y, task=p.task).coef_
        again = model.fit(p.X, p.y, task=p.task)
        assert_allclose(again.coef_, first, atol=1e-3)
        other = model.set_params(C=2 * C).fit(p.X, p.y, task=p.task).coef_
        fresh = estimator(loss, 2 * C, fit_intercept=mode).fit(p.X, p.y, task=p.task)
        assert_allclose(other, fresh.coef_, atol=1e-3)

    def test_the_same_numbers_twice(self, loss, p, mode):
        one, two = (
            estimator(loss, fit_intercept=mode).fit(p.X, p.y, task=p.task)
            for _ in range(2)
        )
        assert_array_equal(one.coef_, two.coef_)
        assert_array_equal(one.intercept_, two.intercept_)


@pytest.mark.parametrize("scale", [1e-5, 1e5])
@every_mode
def test_the_units_of_the_labels_do_not_matter(long_regression, mode, scale):
    p, loss = long_regression, "epsilon_insensitive"
    one = estimator(loss, 1.0, EPSILON, tol=1e-10, fit_intercept=mode)
    two = estimator(loss, scale, EPSILON * scale, tol=1e-10, fit_intercept=mode)
    one.fit(p.X, p.y, task=p.task)
    two.fit(p.X, scale * p.y, task=p.task)
    assert_allclose(two.coef_, scale * one.coef_, atol=1e-3 * scale)


# ---------------------------------------------------------------- hard problems


@pytest.mark.parametrize(
    "loss, features, mode, strength",
    cover(LOSSES, FEATURES, MODES, [1e-3, 1.0, 1e3]),
)
def test_hard_features(problems, loss, features, mode, strength):
    X, y, codes, weight = rows(loss, problems)
    X = hard_features(features, X, codes)
    zero = reference.data_loss(loss, 0 * y, y, codes, weight, 5, EPSILON)
    # sparse rows are not centred: a column of years under a strong loss may stall there
    stalls = features == "a year" and strength == 1e3
    for build in (np.asarray,) if stalls else (np.asarray, sp.csr_array):
        solution = solve(loss, build(X), y, codes, weight, 1 / strength, mode, tol=1e-6)
        assert solution.certificate <= 1e-6
        args = X, y, codes, weight, 1 / strength, mode
        primal, dual, _, _ = from_outside(loss, solution, *args)
        assert primal - dual <= 1e-4 * primal + 1e-8 * zero


@every_mode
def test_separable_rows_under_a_large_strength(mode):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), 10)
    X = rng.normal(size=(40, 3))
    y = np.where(X[:, 0] > 0, 1, -1)
    X[:, 0] += y
    model = estimator("hinge", 1e6, fit_intercept=mode).fit(X, y, task=codes)
    margins = y * model.decision_function(X, task=codes)
    assert margins.min() >= 1 - 1e-4
    check("hinge", model, reference.shared_mean(0.5, 4), mode, X, y, codes, np.ones(40))


@every_mode
@every_loss
def test_a_tiny_strength_leaves_all_rows_at_their_bounds(problems, loss, mode):
    X, y, codes, weight = rows(loss, problems)
    model = estimator(loss, 1e-7, fit_intercept=mode).fit(X, y, weight, task=codes)
    check(loss, model, reference.shared_mean(0.5, 5), mode, X, y, codes, weight)


def test_a_tube_of_zero_width_is_the_median():
    # no features to speak of: each task's intercept is a median of its labels
    rng = np.random.default_rng(3)
    codes = np.repeat([0, 1, 2], [5, 7, 9])
    y = rng.normal(size=21) + 10.0 * codes
    X = np.zeros((21, 1))
    model = estimator("epsilon_insensitive", epsilon=0.0).fit(X, y, task=codes)
    medians = [np.median(y[codes == t]) for t in range(3)]
    assert_allclose(model.intercept_, medians, atol=1e-6)


@every_mode
@every_loss
def test_duplicated_rows_and_ties(loss, mode):
    rng = np.random.default_rng(4)
    X = rng.integers(-1, 2, size=(40, 2)).astype(float)
    codes = np.repeat([0, 1], 20)
    y = np.sign(X[:, 0] + X[:, 1] + 0.5)
    y = y if loss == "hinge" else np.round(3 * X[:, 0] - X[:, 1])
    model = estimator(loss, 3.0, 1.0, fit_intercept=mode).fit(X, y, task=codes)
    K = reference.shared_mean(0.5, 2)
    check(loss, model, K, mode, X, y, codes, np.ones(40), epsilon=1.0)


def test_tasks_of_one_class_cost_nothing(long_classification):
    p = long_classification
    model = estimator("hinge").fit(p.X, p.y, task=p.task)
    south = p.task == "south"
    margins = model.decision_function(p.X, task=p.task)[south]
    assert margins.min() >= 1 - 1e-6
    assert np.isfinite(model.intercept_).all() and model.intercept_.max() < 100
    others = estimator("hinge").fit(p.X[~south], p.y[~south], task=p.task[~south])
    keep = np.array([0, 1, 2, 4])
    assert_allclose(model.coef_[keep], others.coef_, atol=1e-4)
    # with nothing but such tasks the model is zero, and the loss too
    y = np.where(p.codes % 2, "yes", "no")
    model.fit(p.X, y, task=p.task)
    assert_allclose(model.coef_, 0, atol=1e-8)
    assert_array_equal(model.predict(p.X, task=p.task), y)


@every_loss
def test_rows_in_the_tube_or_beyond_the_margin_leave_nothing_to_do(problems, loss):
    X, y, codes, _ = rows(loss, problems)
    if loss == "hinge":
        model = estimator(loss, 1.0, fit_intercept=False)
        model.fit(np.zeros_like(X), y, task=codes)
    else:
        model = estimator(loss, epsilon=1e3).fit(X, y, task=codes)
    assert_array_equal(model.coef_, 0)
    assert model.optimality_ == 0


@pytest.mark.parametrize("kind", ["graph", "covariance"])
@every_mode
@every_loss
def test_a_task_named_without_rows_follows_its_neighbours(
    problems, adjacency, task_covariance, loss, mode, kind
):
    X, y, codes, weight = rows(loss, problems)
    X, y, codes, weight = (v[codes != 2] for v in (X, y, codes, weight))
    if kind == "graph":
        relation = TaskGraph(adjacency, 2.0, tasks=np.arange(5))
    else:
        relation = TaskCovariance(task_covariance, tasks=np.arange(5))
    model = estimator(loss, relation=relation, fit_intercept=mode)
    model.fit(X, y, weight, task=codes)
    check(loss, model, relation.kernel(5), mode, X, y, codes, weight)
    pull = reference.precision(relation.kernel(5))[2] @ model.coef_
    assert_allclose(pull, 0, atol=1e-3)


@pytest.mark.parametrize(
    "loss, mode, kind", cover(LOSSES, [True, "shrunk"], ["shared_mean", "chain"])
)
def test_two_thousand_tasks(loss, mode, kind):
    rng = np.random.default_rng(1)
    n_tasks, n, d = 2000, 6000, 3
    codes = np.concatenate([np.arange(n_tasks), rng.integers(n_tasks, size=n)])
    X = rng.normal(size=(len(codes), d))
    f = (X * rng.normal(1.0, 0.5, size=(n_tasks, d))[codes]).sum(axis=1)
    y = f + rng.normal(size=len(codes))
    y = np.where(y > 0, 1, -1) if loss == "hinge" else y
    edges = np.ones(n_tasks - 1)
    chain = sp.diags_array([edges, edges], offsets=[-1, 1]).tocsr()
    relation = SharedMean(0.8) if kind == "shared_mean" else TaskGraph(chain, 5.0)
    model = estimator(loss, relation=relation, fit_intercept=mode, tol=None)
    model.fit(X, y, task=codes)
    assert model.optimality_ <= 1e-6
