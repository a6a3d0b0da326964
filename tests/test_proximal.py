"""Proximal Newton against its twins; its gap from outside; where it is hard."""

import numpy as np
import pytest
import reference
from cases import INTERCEPTS, cover
from cases_features import (
    MODES,
    never_up,
    outside,
    solve,
)
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.losses import Logistic, Softmax, Squared
from mtlearn.problem.penalties import L21, Dirty
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.proximal import solve_proximal
from mtlearn.solvers.features.smooth import RowLoss

LOSSES = ("logistic", "softmax")
PENALTIES = {
    "l21": L21(1.0),
    "dirty": Dirty(1.0, 0.55),
    "lasso": Dirty(1.0, 0.2),
}


def shaped(loss, solution):
    """Coefficients as `reference` wants them."""
    q = 3 if loss == "softmax" else 1
    coef = solution.coef.reshape(5, q, -1)
    return (coef if q > 1 else coef[:, 0]), solution.intercept


@pytest.mark.parametrize(
    "loss, name, mode, alpha", cover(LOSSES, PENALTIES, MODES, (5.0, 1.0, 0.05))
)
def test_the_twin_and_the_gap_agree(rows, loss, name, mode, alpha):
    made, data, args = rows[loss]
    penalty = PENALTIES[name].scaled(alpha)
    solution = solve_proximal(RowLoss(data, made, INTERCEPTS[mode], alpha), penalty)
    word, options = outside(mode, penalty)
    args = *args, alpha, "independent", word
    model = shaped(loss, solution)
    minimum = reference.twin(loss, *args, **options)[2]
    found = reference.objective(loss, *model, *args, **options)
    zero = reference.objective(loss, *(0 * m for m in model), *args, **options)
    assert solution.status is Status.CONVERGED
    assert_allclose(solution.objective, found, rtol=1e-7)
    assert -1e-8 * zero <= found - minimum <= 1e-6 * minimum + 1e-9 * zero
    assert found - minimum <= solution.certificate * zero + 1e-8 * zero
    assert solution.certificate <= 1e-8
    assert never_up(solution.history)
    bound = reference.dual_value(loss, *model, *args[:5], word, **options)
    assert found - bound <= 1e-5 * found + 1e-7 * zero


@pytest.mark.parametrize("loss, name, mode", cover(LOSSES, PENALTIES, MODES))
def test_the_certificate_is_a_bound(rows, loss, name, mode):
    made, data, _ = rows[loss]
    smooth, penalty = (
        RowLoss(data, made, INTERCEPTS[mode], 0.5),
        PENALTIES[name].scaled(0.5),
    )
    best = solve_proximal(smooth, penalty)
    zero = smooth.zero_objective
    for max_iter in (1, 2, 3, 1000):
        solution = solve_proximal(
            RowLoss(data, made, INTERCEPTS[mode], 0.5), penalty, max_iter=max_iter
        )
        distance = solution.objective - best.objective
        assert distance <= solution.certificate * zero + 1e-8 * zero
        assert solution.history[-1] == (solution.objective, solution.certificate)
        if max_iter == 1:
            assert solution.status is Status.MAX_ITER
            assert solution.n_iter == 1


def test_the_squared_loss_is_block_descent(long_regression):
    p = long_regression
    data = TaskData(p.X, p.y, 5, p.codes, p.weight)
    for penalty in (L21(4.0), Dirty(4.0, 2.1)):
        for mode in MODES:
            smooth = RowLoss(data, Squared(), INTERCEPTS[mode], penalty.alpha)
            one = solve_proximal(smooth, penalty)
            two = solve("moments", data, penalty, mode)
            assert one.status is Status.CONVERGED
            assert_allclose(one.objective, two.objective, rtol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("mode", ["free", "shared", "none"])
def test_everything_is_zero_from_the_right_strength_on(rows, loss, name, mode):
    made, data, _ = rows[loss]
    smooth = RowLoss(data, made, INTERCEPTS[mode])
    gradient = smooth.at(np.zeros((smooth.n_rows, 5))).gradient
    alpha = PENALTIES[name].zero_strength(gradient)
    above = solve_proximal(smooth, PENALTIES[name].scaled(1.0001 * alpha))
    below = solve_proximal(smooth, PENALTIES[name].scaled(0.98 * alpha))
    assert not above.coef.any() and above.n_iter == 1
    assert below.coef.any()


def large(loss, n=250, d=60, n_tasks=5, seed=0):
    """Rows of which ten features matter, and their loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    codes = rng.integers(n_tasks, size=n)
    q = 3 if loss == "softmax" else 1
    W = np.zeros((n_tasks, q, d))
    W[:, :, :10] = rng.normal(size=(n_tasks, q, 10))
    z = np.einsum("id,ikd->ik", X, W[codes])
    if q == 1:
        y = np.where(z[:, 0] + rng.logistic(size=n) > 0, 1.0, -1.0)
        return TaskData(X, y, n_tasks, codes), Logistic()
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1) * 1.0
    return TaskData(X, y, n_tasks, codes), Softmax(3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["l21", "dirty"])
@pytest.mark.parametrize("share", [0.3, 0.05])
def test_working_sets_find_the_minimum(loss, name, share):
    smooth = RowLoss(*large(loss))
    gradient = smooth.at(np.zeros((smooth.n_rows, 60))).gradient
    penalty = PENALTIES[name]
    penalty = penalty.scaled(share * penalty.zero_strength(gradient))
    solution = solve_proximal(smooth, penalty)
    assert solution.status is Status.CONVERGED
    assert never_up(solution.history)
    assert penalty.gauge(solution.dual) <= 1 + 1e-2
    assert_allclose(solution.dual, smooth.at(solution.coef).gradient, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["l21", "dirty"])
def test_a_warm_start_is_shorter(loss, name):
    smooth, penalty = RowLoss(*large(loss)), PENALTIES[name].scaled(4.0)
    cold = solve_proximal(smooth, penalty)
    near = solve_proximal(smooth, penalty.scaled(4.2))
    start = near.coef.copy()
    warm = solve_proximal(smooth, penalty, start=start)
    assert_array_equal(start, near.coef)
    again = solve_proximal(smooth, penalty, start=cold.coef)
    assert warm.n_iter <= cold.n_iter
    assert again.n_iter == 1
    assert_allclose(warm.objective, cold.objective, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["l21", "dirty"])
@pytest.mark.parametrize("mode", ["free", "shared"])
def test_twice_the_same_and_constant_features(loss, name, mode):
    data, made = large(loss, 200, 12, 4)
    X = np.column_stack([data.X, data.X[:, 3], np.full(200, 7.0), np.zeros(200)])
    hard = TaskData(X, data.y, 4, data.codes)
    one, two = (
        solve_proximal(RowLoss(d, made, INTERCEPTS[mode]), PENALTIES[name].scaled(2.0))
        for d in (data, hard)
    )
    assert two.status is Status.CONVERGED
    assert_allclose(two.coef[:, -1], 0, atol=1e-12)
    if mode == "free":
        assert_allclose(one.objective, two.objective, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["l21", "dirty"])
def test_separable_rows_under_a_weak_penalty(loss, name):
    data, made = large(loss, 60, 40, 3)
    solution = solve_proximal(RowLoss(data, made), PENALTIES[name].scaled(1e-2))
    assert solution.status is Status.CONVERGED
    assert np.isfinite(solution.coef).all()
