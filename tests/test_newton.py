"""Newton's method where it is hard; its certificate, computed again from outside."""

import warnings

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import FEATURES, INTERCEPTS, RELATION_FIXTURES, cover, hard_features
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from mtlearn import (
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.losses import LOSSES, Logistic, Softmax, Squared, SquaredHinge
from mtlearn.problem.solution import Status, goal
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related.newton import solve_newton
from mtlearn.solvers.related.squared import solve_moments, solve_squared
from mtlearn.solvers.related.steps import choose_solver

MODES = (True, "shrunk", "shared", False)
SOLVERS = ("newton-cholesky", "newton-dual", "newton-cg")
EPSILON = 0.3
LOSS_NAMES = (
    "squared",
    "logistic",
    "squared_hinge",
    "squared_epsilon_insensitive",
)


every_relation = pytest.mark.parametrize("relation", RELATION_FIXTURES, indirect=True)
every_loss = pytest.mark.parametrize("loss", LOSS_NAMES)
every_mode = pytest.mark.parametrize("mode", MODES)
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def estimator(loss, strength=1.0, **params):
    """The estimator that minimises C loss + 1/2 Omega, C the strength."""
    if loss == "squared":
        return PerTaskRegressor(1 / strength, **params)
    if loss == "logistic":
        return PerTaskClassifier(strength, **params)
    if loss == "squared_hinge":
        return MultiTaskSVM(strength, **params)
    return MultiTaskSVR(strength, EPSILON, **params)


# ---------------------------------------------------------------- a bound from outside


def derivatives(loss, y, z):
    """Value, first and second derivative of each row's loss, in long doubles."""
    if loss == "squared":
        return 0.5 * (y - z) ** 2, z - y, np.ones_like(z)
    if loss == "logistic":
        m = y * z
        e = np.exp(-np.abs(m))
        p = np.where(m > 0, e / (1 + e), 1 / (1 + e))
        return np.log1p(e) + np.maximum(-m, 0), -y * p, p * (1 - p)
    if loss == "squared_hinge":
        slack = np.maximum(1 - y * z, 0)
        return slack**2, -2 * y * slack, 2.0 * (slack > 0)
    over = np.maximum(np.abs(y - z) - EPSILON, 0)
    return over**2, 2 * over * np.sign(z - y), 2.0 * (over > 0)


def distance_bound(loss, model, X, y, codes, weight, K, mode):
    """(objective, at most its distance from the minimum), with strength 1.

    For any w of the form F u the objective less 1/2 |u|^2 is convex, so that with the
    free intercepts at their best and g the gradient in u its minimum is at least
    objective - 1/2 |g|^2. What the intercepts of the model are above the best ones is
    added. All in long doubles: the features may be in any units.
    """
    X, y, weight, K = (np.asarray(v, dtype=np.longdouble) for v in (X, y, weight, K))
    W, b = model.coef_.astype(np.longdouble), model.intercept_.astype(np.longdouble)
    A = reference.precision(K.astype(float)).astype(np.longdouble)
    fixed, free = (X * W[codes]).sum(axis=1), b
    penalty = np.vdot(W, A @ W) / 2
    if mode == "shrunk":
        # an own part that is penalised, and the common one
        common = A.sum(axis=0) @ b / A.sum()
        fixed = fixed + (b - common)[codes]
        penalty += (b - common) @ A @ (b - common) / 2
        free = np.full(len(b), common)

    def value(free):
        return weight @ derivatives(loss, y, fixed + free[codes])[0]

    best = free
    if mode is not False:
        best = best_intercepts(loss, y, fixed, codes, weight, free, mode is True)
    slope = weight * derivatives(loss, y, fixed + best[codes])[1]
    rows = np.column_stack([X, np.ones(len(y))]) if mode == "shrunk" else X
    G = np.zeros((len(W), rows.shape[1]), dtype=np.longdouble)
    np.add.at(G, codes, slope[:, None] * rows)
    if mode == "shrunk":
        W = np.column_stack([W, b - common])
    # gradient in u is F'(G + A W): its squared length is that of G + A W under K
    G = G + A @ W
    bound = np.vdot(G, K @ G) / 2 + value(free) - value(best)
    return float(value(free) + penalty), float(bound)


def best_intercepts(loss, y, fixed, codes, weight, free, own):
    """Intercepts of least loss, the scores without them given: one, or one per task."""
    best = free.copy()
    groups = [codes == t for t in np.unique(codes)] if own else [codes >= 0]
    for rows in groups:
        tasks = np.unique(codes[rows]) if own else slice(None)
        z, s = fixed[rows], weight[rows]
        high = np.abs(z).max() + np.abs(y).max() + 60
        low, b = -high, free[codes[rows][0]]
        if loss in ("logistic", "squared_hinge") and np.ptp(y[rows]) == 0:
            # one class: as good as the infimum, which is zero
            best[tasks] = high * y[rows][0]
            continue
        for _ in range(200):
            _, g, h = derivatives(loss, y[rows], z + b)
            slope, bend = s @ g, s @ h
            if slope == 0:
                break
            low, high = (b, high) if slope < 0 else (low, b)
            step = b - slope / bend if bend > 0 else high
            last, b = b, step if low < step < high else (low + high) / 2
            if b == last:
                break
        best[tasks] = b
    return best


def labels_of(loss, p, q):
    """Numbers of one problem, or signs of the other."""
    if loss in ("logistic", "squared_hinge"):
        return q.X, q.sign, q.codes, q.weight
    return p.X, p.y, p.codes, p.weight


def check_bound(loss, model, X, y, codes, weight, K, mode, goal=1e-6):
    """The objective is within `goal` of its minimum, and the certificate said so."""
    value, bound = distance_bound(loss, model, X, y, codes, weight, K, mode)
    zero = float(weight @ derivatives(loss, y * 1.0, np.zeros(len(y)))[0])
    assert bound <= goal * value + 1e-13 * zero
    assert model.optimality_ <= model._tolerance()
    return value, bound, zero


# ---------------------------------------------------------------- the certificate


@pytest.mark.parametrize(
    "relation, loss, mode",
    cover(RELATION_FIXTURES, LOSS_NAMES, MODES),
    indirect=["relation"],
)
def test_the_certificate_is_a_bound(
    long_regression, long_classification, relation, loss, mode
):
    # after one step, after two, and at the end: never below the true distance
    X, y, codes, weight = labels_of(loss, long_regression, long_classification)
    K = relation.kernel(5)
    args = X, y, codes, weight, 1.0, K, mode
    minimum = reference.twin(loss, *args, epsilon=EPSILON)[2]
    for max_iter in (1, 2, 100):
        model = estimator(
            loss, relation=relation, fit_intercept=mode, max_iter=max_iter
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y, weight, task=codes)
        found = reference.objective(
            loss, model.coef_, model.intercept_, *args, epsilon=EPSILON
        )
        zero = reference.objective(
            loss, 0 * model.coef_, 0 * model.intercept_, *args, epsilon=EPSILON
        )
        assert found - minimum <= model.optimality_ * zero + 1e-8 * zero
        value, bound = distance_bound(loss, model, X, y, codes, weight, K, mode)
        assert_allclose(value, found, rtol=1e-12)
        assert found - minimum <= bound + 1e-8 * zero
    assert bound <= 1e-6 * value
    assert model.optimality_ <= model._tolerance()


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8, 1e-12])
@every_loss
def test_a_smaller_tol_is_a_smaller_certificate(
    long_regression, long_classification, loss, tol
):
    X, y, codes, weight = labels_of(loss, long_regression, long_classification)
    model = estimator(loss, relation="shared_mean", tol=tol)
    model.fit(X, y, weight, task=codes)
    assert model.optimality_ <= tol
    K = reference.shared_mean(0.5, 5)
    value, bound = distance_bound(loss, model, X, y, codes, weight, K, True)
    if tol <= 1e-8:
        assert bound <= 1e-6 * value
    else:
        # a larger one is what it says: relative to the model of zeros
        zero = weight @ derivatives(loss, y * 1.0, np.zeros(len(y)))[0]
        assert bound <= 2 * tol * zero


@pytest.mark.parametrize("mode", MODES)
def test_the_certificate_of_softmax_is_a_bound(long_multiclass, mode):
    p, K = long_multiclass, reference.shared_mean(0.5, 5)
    args = p.X, p.label, p.codes, p.weight, 1.0, K, mode
    minimum = reference.twin("softmax", *args)[2]
    for max_iter in (1, 2, 100):
        model = PerTaskClassifier(
            relation="shared_mean", fit_intercept=mode, max_iter=max_iter
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(p.X, p.label, p.weight, task=p.codes)
        found = reference.objective("softmax", model.coef_, model.intercept_, *args)
        zero = reference.objective(
            "softmax", 0 * model.coef_, 0 * model.intercept_, *args
        )
        assert found - minimum <= model.optimality_ * zero + 1e-8 * zero
    assert model.optimality_ <= model._tolerance()


# ---------------------------------------------------------------- hard problems


def check_hard(loss, problems, features, relation, mode, solver, strength=1.0):
    X, y, codes, weight = labels_of(loss, *problems)
    X = hard_features(features, X, codes)
    K = relation.kernel(5)
    for build in (np.asarray, sp.csr_array):
        model = estimator(
            loss, strength, relation=relation, fit_intercept=mode, solver=solver
        )
        model.fit(build(X), y, weight, task=codes)
        check_bound(loss, model, X, y, codes, strength * weight, K, mode)


# A system of the size of the rows is for wide data; on tall data in large units it may
# stall, and says so.
HARD = [
    case
    for case in cover(LOSS_NAMES, FEATURES, MODES, SOLVERS)
    if not ("newton-dual" in case.values and {"units", "large"} & {*case.values})
]


@pytest.mark.parametrize("loss, features, mode, solver", HARD)
def test_hard_features(
    long_regression, long_classification, loss, features, mode, solver
):
    problems = long_regression, long_classification
    check_hard(loss, problems, features, SharedMean(0.6), mode, solver)


@pytest.mark.parametrize(
    "loss, relation, features, mode, strength",
    cover(
        LOSS_NAMES,
        RELATION_FIXTURES,
        ["units", "duplicated", "wide", "a year"],
        MODES,
        [1e-4, 1e4],
    ),
    indirect=["relation"],
)
def test_weak_and_strong_penalties(
    long_regression, long_classification, loss, relation, features, mode, strength
):
    problems = long_regression, long_classification
    check_hard(loss, problems, features, relation, mode, "auto", strength)


@pytest.mark.parametrize(
    "features, solver, relation, loss",
    cover(["far", "one far"], SOLVERS, RELATION_FIXTURES, LOSS_NAMES),
    indirect=["relation"],
)
def test_columns_far_from_zero_with_free_intercepts(
    long_regression, long_classification, relation, loss, features, solver
):
    X, y, codes, weight = labels_of(loss, long_regression, long_classification)
    X = hard_features(features, X, codes)
    near = X - np.round(X.mean(axis=0))
    models = [
        estimator(loss, relation=relation, solver=solver).fit(Z, y, weight, task=codes)
        for Z in (X, near)
    ]
    assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-4, atol=1e-4)
    fitted = models[0].predict(X, task=codes), models[1].predict(near, task=codes)
    if y.dtype.kind == "i":
        assert_array_equal(*fitted)
    else:
        assert_allclose(*fitted, atol=1e-4)


def ridge_value(X, y, codes, weight, alpha, K, mode):
    """Minimum of the squared loss by a QR of rows and penalty, columns scaled alike."""
    F = reference.factor(K)
    B, V = reference.intercept_maps(F, mode)
    root = np.sqrt(weight)[:, None]
    D = root * np.hstack([reference.design(X, codes, F), V[codes], B[codes]])
    penalised = D.shape[1] - B.shape[1]
    stacked = np.vstack([D, np.sqrt(alpha) * np.eye(penalised, D.shape[1])])
    stacked /= np.linalg.norm(stacked, axis=0)
    target = np.concatenate([root[:, 0] * y, np.zeros(penalised)])
    Q = np.linalg.qr(stacked)[0]
    return 0.5 * np.sum((target - Q @ (Q.T @ target)) ** 2)


@pytest.mark.parametrize(
    "mode, solver, features, alpha",
    cover(
        MODES,
        SOLVERS,
        ["plain", "duplicated", "wide", "units"],
        [1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e9],
    ),
)
def test_any_strength_of_a_ridge(long_regression, mode, solver, features, alpha):
    p, relation = long_regression, SharedMean(0.6)
    rows = slice(None, None, 2)
    X = hard_features(features, p.X[rows], p.codes[rows])
    args = X, p.y[rows], p.codes[rows], p.weight[rows], alpha, relation.kernel(5), mode
    model = PerTaskRegressor(alpha, relation, fit_intercept=mode, solver=solver)
    with warnings.catch_warnings():
        if features == "units" and alpha < 1e-6:
            # the answer is good, but its certificate drowns in rounding
            warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, args[1], args[3], task=args[2])
    found = reference.objective("squared", model.coef_, model.intercept_, *args)
    value, zero = ridge_value(*args), args[3] @ args[1] ** 2
    assert abs(found - value) <= 1e-6 * value + 1e-12 * zero


@pytest.mark.parametrize("kind", ["graph", "covariance"])
@every_mode
@every_loss
def test_a_task_named_without_rows_follows_its_neighbours(
    long_regression, long_classification, adjacency, task_covariance, loss, mode, kind
):
    X, y, codes, weight = labels_of(loss, long_regression, long_classification)
    X, y, codes, weight = (v[codes != 2] for v in (X, y, codes, weight))
    if kind == "graph":
        relation = TaskGraph(adjacency, 2.0, tasks=np.arange(5))
    else:
        relation = TaskCovariance(task_covariance, tasks=np.arange(5))
    model = estimator(loss, relation=relation, fit_intercept=mode)
    model.fit(X, y, weight, task=codes)
    assert model.tasks_.tolist() == [0, 1, 2, 3, 4]
    K = relation.kernel(5)
    check_bound(loss, model, X, y, codes, weight, K, mode)
    # its own part of A W is zero: nothing but the others determines it
    pull = reference.precision(K)[2] @ model.coef_
    assert_allclose(pull, 0, atol=1e-4)
    if mode is True:
        # a log-loss leaves the intercept of a task of one class open
        own = [t for t in (0, 1, 3, 4) if loss != "logistic" or np.ptp(y[codes == t])]
        assert_allclose(model.intercept_[2], model.intercept_[own].mean())


@pytest.mark.parametrize(
    "loss, mode, kind", cover(LOSS_NAMES, [True, "shrunk"], ["shared_mean", "chain"])
)
def test_three_hundred_tasks(loss, mode, kind):
    rng = np.random.default_rng(1)
    n_tasks, n, d = 300, 1500, 6
    codes = np.concatenate([np.arange(n_tasks), rng.integers(n_tasks, size=n)])
    X = rng.normal(size=(len(codes), d))
    f = (X * rng.normal(1.0, 0.5, size=(n_tasks, d))[codes]).sum(axis=1)
    y = f + rng.normal(size=len(codes))
    if loss in ("logistic", "squared_hinge"):
        y = np.where(y > 0, 1, -1)
    edges = np.ones(n_tasks - 1)
    chain = sp.diags_array([edges, edges], offsets=[-1, 1]).tocsr()
    relation = SharedMean(0.8) if kind == "shared_mean" else TaskGraph(chain, 5.0)
    model = estimator(loss, relation=relation, fit_intercept=mode)
    model.fit(X, y, task=[f"task {c:03d}" for c in codes])
    K = relation.kernel(n_tasks)
    check_bound(loss, model, X, y, codes, np.ones(len(y)), K, mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_covariance_of_many_tasks_and_one_gram(mode):
    # complete labels, more unknowns than are factorised at once
    rng = np.random.default_rng(2)
    n_tasks, d = 70, 25
    X = rng.normal(size=(40, d))
    Y = X @ rng.normal(size=(d, n_tasks)) + rng.normal(size=(40, n_tasks))
    K = 0.9 ** np.abs(np.subtract.outer(np.arange(n_tasks), np.arange(n_tasks)))
    model = PerTaskRegressor(relation=TaskCovariance(K), fit_intercept=mode)
    model.fit(X, Y)
    rows = np.tile(X, (n_tasks, 1)), Y.T.ravel(), np.repeat(np.arange(n_tasks), 40)
    check_bound("squared", model, *rows, np.ones(len(rows[1])), K, mode)


@every_solver
def test_softmax_of_hard_features(long_multiclass, solver):
    if solver == "newton-dual":
        return  # for two classes
    p, K = long_multiclass, reference.shared_mean(0.5, 5)
    scale = np.array([1e-4, 1e-2, 1.0, 1e2, 1e4])
    for mode in MODES:
        model = PerTaskClassifier(
            relation="shared_mean", fit_intercept=mode, solver=solver
        )
        model.fit(p.X * scale, p.label, p.weight, task=p.codes)
        assert model.optimality_ <= model._tolerance()
        # no step along a feature, in its own units, goes down
        args = p.X * scale, p.label, p.codes, p.weight, 1.0, K, mode
        value = reference.objective("softmax", model.coef_, model.intercept_, *args)
        rng = np.random.default_rng(3)
        for size in (1e-3, 1e-2):
            step = size * rng.normal(size=model.coef_.shape) / scale
            for sign in (-1, 1):
                moved = reference.objective(
                    "softmax", model.coef_ + sign * step, model.intercept_, *args
                )
                assert moved >= value * (1 - 1e-6)


# ---------------------------------------------------------------- steps


@every_loss
def test_running_out_of_iterations_warns(long_regression, long_classification, loss):
    X, y, codes, _ = labels_of(loss, long_regression, long_classification)
    model = estimator(loss, relation="shared_mean", max_iter=1, tol=1e-15)
    if loss == "squared":
        model.fit(X, y, task=codes)
        assert model.n_iter_ == 1
        return
    words = "did not converge in 1 iterations: certificate .*, asked for 1e-15"
    with pytest.warns(ConvergenceWarning, match=words) as caught:
        model.fit(X, y, task=codes)
    assert len(caught) == 1
    assert type(model).__name__ in str(caught[0].message)
    assert model.n_iter_ == 1
    assert model.optimality_ > model._tolerance()


@pytest.mark.parametrize("max_iter", [1, 2, 3])
@every_solver
def test_the_number_of_steps_is_that_of_max_iter(long_classification, solver, max_iter):
    p = long_classification
    model = PerTaskClassifier(solver=solver, max_iter=max_iter, tol=1e-12)
    with pytest.warns(ConvergenceWarning):
        model.fit(p.X, p.y, task=p.task)
    assert model.n_iter_ == max_iter
    model.set_params(max_iter=100).fit(p.X, p.y, task=p.task)
    assert 3 < model.n_iter_ < 20


@every_solver
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_a_warm_start_takes_fewer_steps(
    long_regression, long_classification, loss, solver
):
    X, y, codes, _ = labels_of(loss, long_regression, long_classification)
    model = estimator(loss, relation="shared_mean", solver=solver, warm_start=True)
    cold = model.fit(X, y, task=codes).n_iter_
    coef = model.coef_.copy()
    model.fit(X, y, task=codes)
    assert model.n_iter_ == 1 <= cold
    assert_allclose(model.coef_, coef, rtol=1e-3, atol=1e-3)
    # a little further on: fewer steps than from zero
    name = "alpha" if loss == "squared" else "C"
    model.set_params(**{name: 1.1}).fit(X, y, task=codes)
    fresh = estimator(loss, relation="shared_mean", solver=solver)
    fresh.set_params(**{name: 1.1}).fit(X, y, task=codes)
    assert model.n_iter_ <= fresh.n_iter_
    if loss == "logistic":
        assert model.n_iter_ < fresh.n_iter_
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-3, atol=1e-3)


def test_a_warm_start_of_another_problem_is_a_cold_one(long_classification):
    p = long_classification
    model = PerTaskClassifier(warm_start=True).fit(p.X, p.y, task=p.task)
    rows = p.task != "west"
    cold = PerTaskClassifier().fit(p.X[rows], p.y[rows], task=p.task[rows])
    model.fit(p.X[rows], p.y[rows], task=p.task[rows])
    assert_array_equal(model.coef_, cold.coef_)
    model.fit(p.X[:, :3], p.y, task=p.task)
    cold = PerTaskClassifier().fit(p.X[:, :3], p.y, task=p.task)
    assert_array_equal(model.coef_, cold.coef_)


@pytest.mark.parametrize("mode", MODES)
def test_a_warm_start_of_three_classes(long_multiclass, mode):
    p = long_multiclass
    for model in (
        PerTaskClassifier(warm_start=True, fit_intercept=mode),
        MultiTaskSVM(warm_start=True, fit_intercept=mode),
    ):
        model.fit(p.X, p.y, task=p.task)
        coef = model.coef_.copy()
        model.fit(p.X, p.y, task=p.task)
        assert model.n_iter_ == 1
        assert_allclose(model.coef_, coef, atol=1e-3)


def test_the_history_goes_down(long_classification):
    p = long_classification
    data = TaskData(p.X, p.sign.astype(float), 5, p.codes, p.weight)
    form = SharedMean(0.5).form(np.arange(5))
    for loss in (Logistic(), SquaredHinge()):
        solution = solve_newton(data, loss, form, 1.0)
        objectives, certificates = np.transpose(solution.history)
        assert np.all(np.diff(objectives) <= 1e-12 * objectives[0])
        assert certificates[-1] == solution.certificate
        assert objectives[-1] == solution.objective
        assert len(objectives) == solution.n_iter + 1
        assert solution.status is Status.CONVERGED


def test_verbose_prints_every_step(long_classification, capsys):
    p = long_classification
    model = PerTaskClassifier(verbose=1).fit(p.X, p.y, task=p.task)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_ + 1
    assert all(line.startswith("PerTaskClassifier: step ") for line in lines)
    PerTaskClassifier().fit(p.X, p.y, task=p.task)
    assert capsys.readouterr().out == ""


def test_the_goal_is_tol_and_by_default_a_millionth_of_the_objective():
    assert_allclose(goal(1e-2, 100.0, 50.0), 1.0)
    for value in (100.0, 10.0, 1.0, 1e-2, 1e-4):
        assert goal(1e-8, 100.0, value) <= 1e-6 * value * (1 + 1e-12)
    # an interpolating model has no objective to speak of
    assert_allclose(goal(1e-8, 100.0, 0.0), 1e-13)


# ---------------------------------------------------------------- functions


@pytest.mark.parametrize("mode", ["free", "shrunk", "shared", "none"])
@every_relation
def test_moments_and_rows_give_the_same_solution(wide_regression, relation, mode):
    p = wide_regression
    data = TaskData(p.X, p.Y, 5, None, p.weights, np.array([1.0, 2.0, 0.5, 1.0, 3.0]))
    form = relation.form(np.arange(5))
    one = solve_moments(gather_moments(data), form, 0.5, intercept=INTERCEPTS[mode])
    two = solve_newton(data, Squared(), form, 0.5, intercept=INTERCEPTS[mode])
    assert one.status is two.status is Status.CONVERGED
    assert_allclose(one.coef, two.coef, atol=1e-8)
    assert_allclose(one.intercept, two.intercept, atol=1e-8)
    assert_allclose(one.objective, two.objective, rtol=1e-9)


def test_moments_say_when_they_have_lost_the_answer(long_regression):
    p = long_regression
    X = hard_features("nearly duplicated", p.X, p.codes)
    X = np.column_stack([X, X[:, 1] + 1e-9 * X[:, 2]])
    data = TaskData(X, p.y, 5, p.codes)
    form = SharedMean(0.5).form(np.arange(5))
    solution = solve_moments(gather_moments(data), form, 1e-14)
    assert solution.status is Status.STALLED
    options = {"tol": 1e-8, "max_iter": 100, "start": None, "solver": "auto"}
    rows = solve_squared(data, form, 1e-14, intercept=FREE, **options)
    assert rows.status is Status.CONVERGED


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("mode", ["free", "shrunk", "shared", "none"])
def test_every_loss_of_the_registry_is_solved(loss, mode):
    rng = np.random.default_rng(4)
    X, codes = rng.normal(size=(40, 3)), rng.integers(4, size=40)
    if isinstance(loss, Softmax):
        y = rng.integers(3, size=40).astype(float)
    elif isinstance(loss, (SquaredHinge, Logistic)):
        y = rng.choice([-1.0, 1.0], size=40)
    else:
        y = rng.normal(size=40)
    data = TaskData(X, y, 4, codes)
    form = SharedMean(0.5).form(np.arange(4))
    intercept = INTERCEPTS[mode]
    solution = solve_newton(data, loss, form, 1.0, intercept=intercept)
    assert solution.status is Status.CONVERGED
    assert solution.certificate <= 1e-8
    cg = solve_newton(data, loss, form, 1.0, intercept=intercept, solver="newton-cg")
    assert_allclose(cg.objective, solution.objective, rtol=1e-6)


def test_the_choice_of_a_solver_follows_the_shape():
    rng = np.random.default_rng(5)

    def data(n, d, sparse=False, n_tasks=10):
        X = rng.normal(size=(n, d))
        X = sp.csr_array(np.where(X > 2.5, X, 0.0)) if sparse else X
        return TaskData(X, np.zeros(n), n_tasks, rng.integers(n_tasks, size=n))

    assert choose_solver(data(2000, 5), 1, FREE) == "newton-cholesky"
    assert choose_solver(data(40, 500), 1, FREE) == "newton-dual"
    assert choose_solver(data(3000, 2000, sparse=True), 1, FREE) == "newton-cg"
    # the dual way is for one score a row
    assert choose_solver(data(40, 500), 3, FREE) != "newton-dual"
