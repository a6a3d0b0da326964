"""Low-rank factors: the nuclear norm, a given rank, the closed form; certificates."""

import numpy as np
import pytest
import reference
from cases import INTERCEPTS, cover
from cases_features import (
    FORMS,
    LAYOUTS,
    MODES,
    TASK_WEIGHT,
    build,
    never_up,
    random_problem,
)
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.intercepts import FREE
from mtlearn.problem.losses import Logistic
from mtlearn.problem.penalties import Nuclear
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.low_rank import solve_low_rank, solve_nuclear
from mtlearn.solvers.features.reduced_rank import solve_reduced_rank
from mtlearn.solvers.features.smooth import RowLoss

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

LOSSES = ("logistic", "softmax")


def word(mode):
    return False if mode == "none" else mode


def check(loss, solution, minimum, args, tol=1e-8, goal=1e-5):
    """Objective close to the minimum, and the certificate a bound; args as objective's.

    The goal is that of the nuclear norm; what is reached is better.
    """
    coef = solution.coef
    if loss == "softmax":
        coef = coef.reshape(5, 3, -1)
    model = coef, solution.intercept
    found = reference.objective(loss, *model, *args, penalty="nuclear")
    zero = reference.objective(loss, *(0 * m for m in model), *args, penalty="nuclear")
    assert solution.status is Status.CONVERGED
    assert_allclose(solution.objective, found, rtol=1e-7)
    assert -1e-8 * zero <= found - minimum <= goal * minimum + 1e-9 * zero
    assert found - minimum <= solution.certificate * zero + 1e-8 * zero
    assert solution.certificate <= tol
    X, y, codes, weight, alpha, _, mode = args
    bound = reference.dual_value(
        loss, *model, X, y, codes, weight, alpha, mode, penalty="nuclear"
    )
    assert found - bound <= 1e-5 * found + 1e-7 * zero


# ---------------------------------------------------------------- nuclear norm


@pytest.mark.parametrize(
    "layout, mode, share, form", cover(LAYOUTS, MODES, (0.5, 0.05, 0.002), FORMS)
)
def test_squared_loss_against_the_twin(problems, layout, mode, share, form):
    data, args = problems[layout]
    zero = build("moments", data, mode, 1.0).at(np.zeros((5, data.n_features)))
    alpha = share * Nuclear(1.0).zero_strength(zero.gradient)
    solution = solve_nuclear(build(form, data, mode, alpha), Nuclear(alpha))
    args = *args, alpha, "independent", word(mode)
    minimum = reference.twin("squared", *args, penalty="nuclear")[2]
    check("squared", solution, minimum, args)


@pytest.mark.parametrize("loss, mode, alpha", cover(LOSSES, MODES, (3.0, 0.3)))
def test_log_losses_against_the_twin(rows, loss, mode, alpha):
    made, data, args = rows[loss]
    solution = solve_nuclear(
        RowLoss(data, made, INTERCEPTS[mode], alpha), Nuclear(alpha)
    )
    args = *args, alpha, "independent", word(mode)
    minimum = reference.twin(loss, *args, penalty="nuclear")[2]
    check(loss, solution, minimum, args)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_the_certificate_is_a_bound(problems, mode, form):
    data, args = problems["wide"]
    smooth, penalty = build(form, data, mode, 2.0), Nuclear(2.0)
    best = solve_nuclear(smooth, penalty)
    zero = smooth.zero_objective
    for max_iter in (1, 2, 4, 1000):
        solution = solve_nuclear(smooth, penalty, max_iter=max_iter)
        distance = solution.objective - best.objective
        assert distance <= solution.certificate * zero + 1e-8 * zero
        model = solution.coef, solution.intercept
        bound = reference.dual_value(
            "squared", *model, *args, 2.0, word(mode), penalty="nuclear"
        )
        gap = solution.objective - bound
        assert solution.certificate * zero <= gap * (1 + 1e-5) + 1e-8 * zero
        assert solution.history[-1] == (solution.objective, solution.certificate)
        if max_iter == 1:
            assert solution.status is Status.MAX_ITER


@pytest.mark.parametrize("mode, shift, wide", cover(MODES, (0.0, 100.0), (True, False)))
def test_the_certificate_holds_for_fewer_rows_than_features(mode, shift, wide):
    # the Hessian of a task is singular, or nearly so
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = shift + rng.normal(size=(5, 8)) * 10.0 ** rng.uniform(-3, 3, size=8)
        W = rng.normal(size=(8, 3))
        if wide:
            data = TaskData(X, (X - shift) @ W + rng.normal(size=(5, 3)), 3)
            rows = reference.to_long(data.X, data.y)
        else:
            codes = np.array([0, 1, 2, 0, 1])
            y = ((X - shift) @ W)[np.arange(5), codes]
            data = TaskData(X, y, 3, codes)
            rows = X, y, codes, np.ones(5)
        for alpha in (0.1, 10.0):
            solution = solve_nuclear(
                build("moments", data, mode, alpha), Nuclear(alpha)
            )
            args = *rows, alpha, "independent", word(mode)
            minimum = reference.twin("squared", *args, penalty="nuclear")[2]
            model = solution.coef, solution.intercept
            found = reference.objective("squared", *model, *args, penalty="nuclear")
            zero = build("moments", data, mode, alpha).zero_objective
            slack = 1e-8 * minimum + 1e-9 * zero
            assert found - minimum <= solution.certificate * zero + slack
            assert found - minimum >= -slack


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["free", "shared", "none"])
def test_everything_is_zero_from_the_right_strength_on(problems, mode, form):
    for data, _ in problems.values():
        smooth = build(form, data, mode)
        gradient = smooth.at(np.zeros((5, data.n_features))).gradient
        alpha = Nuclear(1.0).zero_strength(gradient)
        above = solve_nuclear(smooth, Nuclear(1.0001 * alpha))
        below = solve_nuclear(smooth, Nuclear(0.98 * alpha))
        assert not above.coef.any() and above.n_iter == 1
        assert np.linalg.matrix_rank(below.coef) >= 1


SIZES = [(200, 40, 20, True), (300, 30, 15, False), (50, 120, 15, True)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_larger_problems_of_low_rank(size, form):
    data = random_problem(*size)
    smooth = build(form, data)
    zero = smooth.at(np.zeros((smooth.n_rows, smooth.n_features)))
    for share in (0.3, 0.05):
        penalty = Nuclear(share * Nuclear(1.0).zero_strength(zero.gradient))
        solution = solve_nuclear(smooth, penalty)
        assert solution.status is Status.CONVERGED
        assert never_up(solution.history)
        # optimal: the gradient has norm alpha, reached on the solution
        gradient = smooth.at(solution.coef).gradient
        assert penalty.gauge(gradient) <= 1 + 1e-4
        product = -np.vdot(gradient, solution.coef)
        assert_allclose(product, penalty.value(solution.coef), rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_warm_start_is_shorter(form):
    smooth, penalty = build(form, random_problem(200, 40, 15, True)), Nuclear(40.0)
    cold = solve_nuclear(smooth, penalty)
    near = solve_nuclear(smooth, Nuclear(42.0))
    warm = solve_nuclear(smooth, penalty, start=near.coef)
    again = solve_nuclear(smooth, penalty, start=cold.coef)
    assert warm.n_iter < cold.n_iter
    assert again.n_iter == 1
    assert_allclose(warm.objective, cold.objective, rtol=1e-7)


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("form", FORMS)
def test_units_of_the_labels_do_not_matter(form, factor):
    data = random_problem(200, 20, 5, False)
    one = solve_nuclear(build(form, data), Nuclear(5.0))
    other = TaskData(data.X, factor * data.y, 5, data.codes)
    two = solve_nuclear(build(form, other), Nuclear(5.0 * factor))
    assert_allclose(two.objective, factor**2 * one.objective, rtol=1e-6)
    assert_allclose(two.coef, factor * one.coef, atol=1e-3 * factor)


@pytest.mark.parametrize("form", FORMS)
def test_features_twice_and_constant(form):
    data = random_problem(60, 12, 4, False)
    X = np.column_stack([data.X, data.X[:, 3], np.full(60, 7.0), np.zeros(60)])
    solution = solve_nuclear(
        build(form, TaskData(X, data.y, 4, data.codes)), Nuclear(3)
    )
    assert solution.status is Status.CONVERGED
    assert_allclose(solution.coef[:, -2:], 0, atol=1e-9)
    assert_allclose(solution.coef[:, 3], solution.coef[:, 12], atol=1e-3)


@pytest.mark.parametrize("wide", [True, False])
def test_features_in_wildly_different_units(wide):
    data = random_problem(60, 12, 4, wide)
    units = np.geomspace(1e-3, 1e3, 12)
    data = TaskData(data.X * units, data.y, 4, data.codes)
    smooth = build("moments", data)
    strongest = Nuclear(1.0).zero_strength(smooth.target)
    for share in (0.1, 1e-3, 1e-5):
        solution = solve_nuclear(smooth, Nuclear(share * strongest))
        assert solution.status is Status.CONVERGED
        assert solution.certificate <= 1e-8


def test_logistic_loss_of_features_far_from_their_origin():
    # one direction of the features is a thousand times as long as all others
    data = random_problem(60, 10, 4, True)
    X, y = data.X + np.linspace(-1e3, 1e3, 10), np.where(data.y > 0, 1.0, -1.0)
    for mode in ("none", "shared", "shrunk"):
        smooth = RowLoss(TaskData(X, y, 4), Logistic(), INTERCEPTS[mode], 1.0)
        strength = 1e-3 * Nuclear(1.0).zero_strength(smooth.target)
        solution = solve_nuclear(smooth, Nuclear(strength))
        # of the last digits rounding leaves some or none, from strength to strength
        assert solution.certificate <= 1e-6


def test_a_feature_that_a_task_never_moves():
    # its variance is the square of a rounding error, and no curvature
    rng = np.random.default_rng(0)
    X = rng.normal(size=(14, 5)) + 30.0
    codes = np.repeat([0, 1, 2], [4, 4, 6])
    X[codes == 1, 3:] = [0.1, 123.4]
    y = rng.normal(size=14)
    for mode in ("free", "shrunk", "shared"):
        smooth = build("moments", TaskData(X, y, 3, codes), mode, 0.1)
        solution = solve_nuclear(smooth, Nuclear(0.1))
        assert solution.status is Status.CONVERGED


def test_coefficients_are_closer_than_the_gap_asks_for():
    smooth = build("moments", random_problem(200, 20, 5, False))
    exact = solve_nuclear(smooth, Nuclear(5.0), tol=1e-13).coef
    found = solve_nuclear(smooth, Nuclear(5.0)).coef
    assert_allclose(found, exact, atol=1e-6 * np.abs(exact).max())


def test_labels_that_are_all_zero_or_constant():
    data = random_problem(50, 10, 3, False)
    for y in (np.zeros(50), np.full(50, 4.0)):
        smooth = build("moments", TaskData(data.X, y, 3, data.codes))
        for solution in (
            solve_nuclear(smooth, Nuclear(0.1)),
            solve_low_rank(smooth, 2, 0.1),
            solve_low_rank(smooth, 2, 0.0),
        ):
            assert solution.status is Status.CONVERGED
            assert_allclose(solution.coef, 0, atol=1e-9)


def test_a_task_of_one_class_does_not_run_away(long_classification):
    p = long_classification
    data = TaskData(p.X, p.sign * 1.0, 5, p.codes)
    for alpha in (0.01, 1.0, 2.0, 5.0):
        solution = solve_nuclear(RowLoss(data, Logistic()), Nuclear(alpha))
        assert solution.status is Status.CONVERGED
        assert_allclose(solution.coef[3], 0, atol=1e-5)
        assert np.abs(solution.intercept).max() < 100


# ---------------------------------------------------------------- a given rank


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("alpha", [0.5, 5.0])
def test_few_components(problems, form, k, alpha):
    for layout in LAYOUTS:
        smooth = build(form, problems[layout][0])
        solution = solve_low_rank(smooth, k, alpha)
        assert solution.status is Status.CONVERGED
        assert never_up(solution.history)
        assert np.linalg.matrix_rank(solution.coef, 1e-8) <= k
        convex = solve_nuclear(smooth, Nuclear(alpha))
        assert solution.objective >= convex.objective * (1 - 1e-6)
        if np.linalg.matrix_rank(convex.coef, 1e-6) <= k:
            # the global minimum
            assert_allclose(solution.objective, convex.objective, rtol=1e-6)
        # not above the truncation it starts from
        U, s, V = np.linalg.svd(convex.coef, full_matrices=False)
        start = (U[:, :k] * s[:k]) @ V[:k]
        value = smooth.at(start).value + alpha * s[:k].sum()
        assert solution.objective <= value * (1 + 1e-9)


def test_more_components_fit_better(problems):
    smooth = build("moments", problems["complete"][0])
    for alpha in (0.0, 0.5):
        values = [solve_low_rank(smooth, k, alpha).objective for k in range(1, 6)]
        assert np.all(np.diff(values) <= 1e-8 * values[0])


def test_a_start_is_used_where_it_is_better(problems):
    smooth = build("moments", problems["wide"][0])
    cold = solve_low_rank(smooth, 2, 0.5)
    warm = solve_low_rank(smooth, 2, 0.5, start=cold.coef)
    assert warm.n_iter <= cold.n_iter
    assert warm.objective <= cold.objective * (1 + 1e-9)


def test_running_out_of_iterations(problems):
    smooth = build("moments", problems["wide"][0])
    solution = solve_low_rank(smooth, 2, 0.1, max_iter=1)
    assert solution.status is Status.MAX_ITER
    assert np.isfinite(solution.coef).all()


# ---------------------------------------------------------------- closed form


@pytest.mark.parametrize("mode", ["free", "none"])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_closed_form(wide_complete, mode, k):
    p = wide_complete
    data = TaskData(p.X, p.Y, 5, None, p.weight, TASK_WEIGHT)
    solution = solve_reduced_rank(data, INTERCEPTS[mode], k)
    coef, intercept, value = reference.reduced_rank(
        p.X, p.Y, k, p.weight, TASK_WEIGHT, centre=mode == "free"
    )
    assert_allclose(solution.coef, coef, atol=1e-10)
    assert_allclose(solution.objective, value, rtol=1e-10)
    if mode == "free":
        assert_allclose(solution.intercept, intercept, atol=1e-10)
    else:
        assert_array_equal(solution.intercept, 0)
    assert solution.status is Status.CONVERGED
    # the factors of an iterative solve end at the same point
    iterated = solve_low_rank(build("moments", data, mode), k, 0.0)
    assert_allclose(iterated.objective, value, rtol=1e-6)


def test_where_there_is_no_closed_form(wide_regression, wide_complete, long_regression):
    p, q, r = wide_regression, wide_complete, long_regression
    for data, mode in [
        (TaskData(p.X, p.Y, 5), "free"),
        (TaskData(q.X, q.Y, 5, None, q.weights), "free"),
        (TaskData(q.X, q.Y, 5), "shared"),
        (TaskData(r.X, r.y, 5, r.codes), "free"),
    ]:
        assert solve_reduced_rank(data, INTERCEPTS[mode], 2) is None


def test_more_features_than_rows_in_closed_form():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 50)), rng.normal(size=(20, 4))
    solution = solve_reduced_rank(TaskData(X, Y, 4), FREE, 2)
    coef, _, value = reference.reduced_rank(X, Y, 2)
    assert_allclose(solution.coef, coef, atol=1e-9)
    assert_allclose(solution.objective, value, rtol=1e-10)
    # with four components every label is met exactly
    exact = solve_reduced_rank(TaskData(X, Y, 4), FREE, 4)
    assert_allclose(exact.objective, 0, atol=1e-12)
