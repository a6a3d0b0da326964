"""Block descent against its twins, its gap from outside, and where it is hard."""

import numpy as np
import pytest
import reference
from cases import cover
from cases_features import (
    FORMS,
    LAYOUTS,
    MODES,
    build,
    never_up,
    outside,
    random_problem,
    solve,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Lasso, MultiTaskLasso

from mtlearn.problem.penalties import L21, Dirty
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.columns import smooth_penalty

PENALTIES = {
    "l21": L21(1.0),
    "dirty": Dirty(1.0, 0.65),
    "rather private": Dirty(1.0, 0.5),
    "lasso": Dirty(1.0, 0.3),
}
SHARES = (0.7, 0.1, 0.005)  # of the strength from which on all is zero


def strength(data, penalty, mode, share):
    """The penalty at a share of the strength at which W is zero.

    Where intercepts are shrunk that strength is in the loss as well: found by halving.
    """
    alpha = 1.0
    for _ in range(60 if mode == "shrunk" else 1):
        zero = build("moments", data, mode, alpha).at(
            np.zeros((data.n_tasks, data.n_features))
        )
        found = penalty.zero_strength(zero.gradient)
        if mode == "shrunk" and abs(found - alpha) <= 1e-13 * alpha:
            break
        alpha = found
    return penalty.scaled(share * alpha)


# ---------------------------------------------------------------- against the twins


@pytest.mark.parametrize(
    "layout, name, mode, share, form", cover(LAYOUTS, PENALTIES, MODES, SHARES, FORMS)
)
def test_the_twin_and_the_gap_agree(problems, layout, name, mode, share, form):
    data, rows = problems[layout]
    penalty = strength(data, PENALTIES[name], mode, share)
    solution = solve(form, data, penalty, mode)
    mode, options = outside(mode, penalty)
    args = *rows, penalty.alpha, "independent", mode
    minimum = reference.twin("squared", *args, **options)[2]
    model = solution.coef, solution.intercept
    found = reference.objective("squared", *model, *args, **options)
    zero = reference.objective("squared", *(0 * m for m in model), *args, **options)
    assert solution.status is Status.CONVERGED
    assert_allclose(solution.objective, found, rtol=1e-9, atol=1e-13 * zero)
    assert -1e-9 * zero <= found - minimum <= 1e-6 * minimum + 1e-9 * zero
    base = build(form, data, mode or "none", penalty.alpha).zero_objective
    assert found - minimum <= solution.certificate * base + 1e-9 * zero
    assert solution.certificate <= 1e-8
    assert never_up(solution.history)
    bound = reference.dual_value(
        "squared", *model, *rows, penalty.alpha, mode, **options
    )
    assert found - bound <= 1e-6 * found + 1e-8 * zero


@pytest.mark.parametrize(
    "layout, name, mode, form", cover(LAYOUTS, PENALTIES, MODES, FORMS)
)
def test_the_certificate_is_a_bound(problems, layout, name, mode, form):
    # after one pass, after two, ...: never below the true distance
    data, rows = problems[layout]
    penalty = strength(data, PENALTIES[name], mode, 0.02)
    best = solve(form, data, penalty, mode, tol=1e-12)
    word, options = outside(mode, penalty)
    args = *rows, penalty.alpha, word
    zero = reference.objective(
        "squared", 0 * best.coef, 0 * best.intercept, *args[:-1], "independent", word
    )
    base = build(form, data, mode, penalty.alpha).zero_objective
    for max_iter in (1, 2, 3, 5, 100):
        solution = solve(form, data, penalty, mode, max_iter=max_iter)
        model = solution.coef, solution.intercept
        distance = solution.objective - best.objective
        assert -1e-11 * zero <= distance <= solution.certificate * base + 1e-12 * zero
        bound = reference.dual_value("squared", *model, *args, **options)
        gap = solution.objective - bound
        # on its line the dual point is the best one, so that it may be better
        assert solution.certificate * base <= gap * (1 + 1e-6) + 1e-9 * zero
        assert solution.history[-1] == (solution.objective, solution.certificate)
        assert 1 <= solution.n_iter <= max_iter
        if max_iter == 1:
            assert solution.status is Status.MAX_ITER


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_everything_is_zero_from_the_right_strength_on(problems, name, mode, form):
    for data, _ in problems.values():
        penalty = strength(data, PENALTIES[name], mode, 1.0)
        above = solve(form, data, penalty.scaled(1.0001 * penalty.alpha), mode)
        below = solve(form, data, penalty.scaled(0.999 * penalty.alpha), mode)
        assert not above.coef.any() and above.n_iter == 1
        assert below.coef.any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_dual_is_the_gradient(problems, mode, form):
    data, rows = problems["wide"]
    penalty = strength(data, PENALTIES["dirty"], mode, 0.1)
    solution = solve(form, data, penalty, mode, tol=1e-12)
    X, y, codes, weight = rows
    f = reference.predict(solution.coef, solution.intercept, X, codes)
    G = np.zeros_like(solution.coef)
    np.add.at(G, codes, (weight * (f - y))[:, None] * X)
    assert_allclose(solution.dual, G, atol=1e-6 * np.abs(G).max())
    assert penalty.gauge(solution.dual) <= 1 + 1e-5
    gap = penalty.value(solution.coef) + np.vdot(solution.dual, solution.coef)
    assert_allclose(gap, 0, atol=1e-6 * solution.objective)


# ---------------------------------------------------------------- what it reduces to


def test_complete_labels_are_the_multitask_lasso(wide_complete):
    p = wide_complete
    lasso = MultiTaskLasso(alpha=5.0 / len(p.X), tol=1e-13, max_iter=100_000)
    lasso.fit(p.X, p.Y)
    for form in FORMS:
        found = solve(form, TaskData(p.X, p.Y, 5), L21(5.0), tol=1e-14)
        assert_allclose(found.coef, lasso.coef_, atol=1e-5)
        assert_allclose(found.intercept, lasso.intercept_, atol=1e-5)


def test_one_task_is_the_lasso(long_regression):
    p = long_regression
    lasso = Lasso(alpha=5.0 / len(p.X), tol=1e-13).fit(p.X, p.y)
    data = TaskData(p.X, p.y, 1, np.zeros(len(p.y), dtype=np.int64))
    for penalty in (L21(5.0), Dirty(5.0, 5.0), Dirty(9.0, 5.0)):
        for form in FORMS:
            found = solve(form, data, penalty, tol=1e-13)
            assert_allclose(found.coef[0], lasso.coef_, atol=1e-6)


def test_a_cheap_private_part_is_a_lasso_per_task(long_regression):
    p = long_regression
    data = TaskData(p.X, p.y, 5, p.codes)
    found = solve("moments", data, Dirty(3.0, 1.3), tol=1e-13)
    for t in range(5):
        rows = p.codes == t
        lasso = Lasso(alpha=1.3 / rows.sum(), tol=1e-13).fit(p.X[rows], p.y[rows])
        if t != 1:  # two rows: more than one minimum
            assert_allclose(found.coef[t], lasso.coef_, atol=1e-5)


# ---------------------------------------------------------------- larger problems

SIZES = [(400, 150, 12, True), (400, 150, 12, False), (60, 400, 8, True)]
SIZES += [(300, 100, 12, "missing"), (120, 300, 6, False)]


@pytest.mark.parametrize("name", ["l21", "dirty"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_working_sets_find_the_minimum(size, form, name):
    data = random_problem(*size)
    for share in (0.3, 0.02):
        zero = build(form, data).at(np.zeros((size[2], size[1])))
        penalty = PENALTIES[name]
        penalty = penalty.scaled(share * penalty.zero_strength(zero.gradient))
        solution = solve(form, data, penalty)
        assert solution.status is Status.CONVERGED
        assert solution.certificate <= 1e-8
        assert never_up(solution.history)
        assert penalty.gauge(solution.dual) <= 1 + 1e-2
        if share == 0.3:
            assert np.count_nonzero(solution.coef.any(axis=0)) < 40


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_moments_and_rows_agree(size):
    data = random_problem(*size)
    for mode in ("free", "shrunk"):
        penalty = Dirty(20.0, 13.0)
        one, two = (solve(form, data, penalty, mode, tol=1e-12) for form in FORMS)
        assert_allclose(one.objective, two.objective, rtol=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["l21", "dirty"])
def test_a_warm_start_is_shorter(form, name):
    data = random_problem(400, 150, 12, False)
    penalty = PENALTIES[name].scaled(10.0)
    cold = solve(form, data, penalty)
    near = solve(form, data, penalty.scaled(10.5))
    warm = solve(form, data, penalty, start=near.coef)
    again = solve(form, data, penalty, start=cold.coef)
    assert warm.n_iter < cold.n_iter
    assert again.n_iter == 1
    assert_array_equal(again.coef, cold.coef)
    assert_allclose(warm.objective, cold.objective, rtol=1e-7)


def test_a_start_is_left_alone():
    data = random_problem(100, 30, 4, False)
    start = np.random.default_rng(0).normal(size=(4, 30))
    before = start.copy()
    solution = solve("moments", data, L21(5.0), start=start)
    assert_array_equal(start, before)
    cold = solve("moments", data, L21(5.0))
    assert_allclose(solution.objective, cold.objective, rtol=1e-7)


# ---------------------------------------------------------------- where it is hard


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("wide", [True, False])
def test_twice_the_same_and_constant_features(form, name, wide):
    data = random_problem(60, 12, 4, wide)
    X = np.column_stack([data.X, data.X[:, 3], np.full(60, 7.0), np.zeros(60)])
    hard = TaskData(X, data.y, 4, data.codes)
    for share in (0.3, 0.01):
        zero = build(form, data).at(np.zeros((4, 12)))
        penalty = PENALTIES[name]
        penalty = penalty.scaled(share * penalty.zero_strength(zero.gradient))
        one, two = solve(form, data, penalty), solve(form, hard, penalty)
        assert two.status is Status.CONVERGED
        assert_allclose(one.objective, two.objective, rtol=1e-6)
        assert_allclose(two.coef[:, -2:], 0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["l21", "dirty"])
def test_features_in_very_different_units(form, name):
    data = random_problem(200, 20, 5, False)
    units = 10.0 ** np.random.default_rng(0).uniform(-4, 4, size=20)
    hard = TaskData(data.X * units, data.y, 5, data.codes)
    zero = build(form, hard).at(np.zeros((5, 20)))
    penalty = PENALTIES[name]
    penalty = penalty.scaled(1e-3 * penalty.zero_strength(zero.gradient))
    solution = solve(form, hard, penalty)
    assert solution.status is Status.CONVERGED
    assert solution.certificate <= 1e-8


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("form", FORMS)
def test_units_of_the_labels_do_not_matter(form, factor):
    data = random_problem(200, 20, 5, False)
    penalty = Dirty(5.0, 3.0)
    one = solve(form, data, penalty, tol=1e-10)
    other = TaskData(data.X, factor * data.y, 5, data.codes)
    two = solve(form, other, penalty.scaled(5.0 * factor), tol=1e-10)
    assert_allclose(two.coef, factor * one.coef, rtol=1e-5, atol=1e-7 * factor)
    assert one.n_iter == two.n_iter


@pytest.mark.parametrize("form", FORMS)
def test_a_weak_penalty_comes_close_to_least_squares(form):
    data = random_problem(300, 20, 5, False)
    solution = solve(form, data, L21(1e-6))
    assert solution.status is Status.CONVERGED
    rows = data.X, data.y, data.codes, np.ones(300)
    least = reference.least_squares(*rows, 0.0, "independent")
    assert_allclose(solution.coef, least[0], atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_all_zero_or_constant(form):
    data = random_problem(50, 10, 3, False)
    for y in (np.zeros(50), np.full(50, 4.0)):
        solution = solve(form, TaskData(data.X, y, 3, data.codes), L21(0.1))
        assert solution.status is Status.CONVERGED
        assert_allclose(solution.coef, 0, atol=1e-12)
        assert_allclose(solution.intercept, y[:3], atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_many_tasks_of_few_rows(form):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(500), 3)
    X = rng.normal(size=(1500, 15))
    y = X[:, :3].sum(axis=1) + rng.normal(size=1500) + codes % 7
    data = TaskData(X, y, 500, codes)
    for penalty in (L21(30.0), Dirty(30.0, 6.0)):
        solution = solve(form, data, penalty)
        assert solution.status is Status.CONVERGED
        assert never_up(solution.history)


def levels(layout, seed=0, n=1500, n_tasks=12):
    """Indicators of six categories: within each, one column follows from the others."""
    rng = np.random.default_rng(seed)
    X = [np.eye(k)[rng.integers(k, size=n)] for k in (2, 3, 4, 2, 6, 3)]
    X = np.concatenate(X, axis=1)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    Y = X @ rng.normal(size=(X.shape[1], n_tasks)) + 3.0 * rng.normal(size=(n, n_tasks))
    if layout == "long":
        codes = rng.integers(n_tasks, size=n)
        return TaskData(X, Y[np.arange(n), codes], n_tasks, codes)
    if layout == "missing":
        Y[rng.uniform(size=Y.shape) < 0.3] = np.nan
    return TaskData(X, Y, n_tasks)


@pytest.mark.parametrize("share", [0.02, 0.005, 0.001])
@pytest.mark.parametrize("name", ["l21", "dirty"])
@pytest.mark.parametrize("layout", ["long", "missing", "wide"])
def test_the_end_is_quadratic(layout, name, share):
    # columns at the edge of the set, opposite ones, gains below rounding: each of them
    # used to leave the end to passes alone, hundreds of them
    data = levels(layout)
    penalty = strength(data, PENALTIES[name], "free", share)
    found = solve("moments", data, penalty, tol=1e-12)
    assert found.status is Status.CONVERGED and found.certificate <= 1e-12
    assert found.n_iter < 200


def test_all_but_vanished_columns_are_left_to_passes():
    V = np.array([[1.0, 1e-14, 0.5], [2.0, 1e-14, -0.5]])
    for penalty in (L21(1.0), Dirty(1.0, 0.8)):
        here = smooth_penalty(penalty, V, 1e8 * np.ones(3))
        assert here.moving[:, [0, 2]].all() and not here.moving[:, 1].any()
        whole = smooth_penalty(penalty, V)
        assert whole.moving.all()
        for held, free in zip(here, whole):
            assert_array_equal(held[..., [0, 2]], free[..., [0, 2]])
