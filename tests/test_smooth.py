"""The loss as a function of W alone: derivatives, intercepts, both ways to build it."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import INTERCEPTS
from cases_features import LAYOUTS, MODES, TASK_WEIGHT, build
from numpy.testing import assert_allclose

from mtlearn.problem.losses import Squared
from mtlearn.problem.penalties import L21
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.features.block_descent import duality_gap
from mtlearn.solvers.features.smooth import RowLoss

ALPHA = 0.7


def points(n_rows, d, n=3):
    rng = np.random.default_rng(0)
    return [0.5 * rng.normal(size=(n_rows, d)) for _ in range(n)]


def value_of(name, loss, args, W, b, mode):
    """The loss and the penalty of the intercepts, by the twins' objective."""
    q = loss.n_scores
    coef = W.reshape(5, q, -1) if q > 1 else W
    word = False if mode == "none" else mode
    args = *args, ALPHA, "independent", word
    return reference.objective(
        name, coef, b, *args, penalty="l21"
    ) - reference.shared_penalty("l21", W, ALPHA)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["squared", "logistic", "softmax"])
def test_value_and_gradient_at_the_best_intercepts(rows, name, mode):
    loss, data, args = rows[name]
    smooth = RowLoss(data, loss, INTERCEPTS[mode], ALPHA)
    W = points(smooth.n_rows, 5)[0]
    point = smooth.at(W)
    b = smooth.intercepts(W, point)
    assert_allclose(point.value, value_of(name, loss, args, W, b, mode), rtol=1e-7)
    numeric = reference.finite_difference(lambda V: smooth.at(V).value, W, 1e-5)
    assert_allclose(point.gradient, numeric, atol=1e-5 * np.abs(numeric).max())
    if mode == "none":
        assert not b.any()
        return
    if mode == "shared":
        assert_allclose(b, np.broadcast_to(b[0], b.shape))
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-1, 1.0):
        step = size * rng.normal(size=b.shape)
        if mode == "shared":
            step = np.broadcast_to(step[0], b.shape)
        at = value_of(name, loss, args, W, b + step, mode)
        assert at >= point.value * (1 - 1e-7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["squared", "logistic", "softmax"])
def test_bend_is_the_derivative_of_the_gradient(rows, name, mode):
    loss, data, _ = rows[name]
    smooth = RowLoss(data, loss, INTERCEPTS[mode], ALPHA)
    W, V, _ = points(smooth.n_rows, 5)
    bend = smooth.bend(V, smooth.at(W))
    step = 1e-3  # the intercepts at both ends are best to 1e-7
    numeric = smooth.at(W + step * V).gradient - smooth.at(W - step * V).gradient
    numeric = numeric / (2 * step)
    assert_allclose(bend, numeric, atol=1e-4 * np.abs(numeric).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_and_rows_are_the_same_function(problems, layout, mode):
    data, args = problems[layout]
    one, two = (build(form, data, mode, ALPHA) for form in ("moments", "rows"))
    assert_allclose(one.zero_objective, two.zero_objective)
    for W in points(5, data.n_features):
        at, also = one.at(W), two.at(W)
        assert_allclose(at.value, also.value)
        assert_allclose(
            at.gradient, also.gradient, atol=1e-9 * np.abs(at.gradient).max()
        )
        b = one.intercepts(W, at)
        assert_allclose(b, two.intercepts(W, also), atol=1e-8)
        expected = value_of("squared", Squared(), args, W, b, mode)
        assert_allclose(at.value, expected)
        V = points(5, data.n_features)[1]
        assert_allclose(one.bend(V, at), two.bend(V, also), atol=1e-8)
    assert_allclose(one.target, two.target, atol=1e-9 * np.abs(one.target).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["moments", "rows"])
def test_columns_are_the_function_with_the_others_at_zero(
    problems,
    layout,
    mode,
    form,
):
    data, _ = problems[layout]
    whole = build(form, data, mode, ALPHA)
    chosen = np.array([0, 2, 3])
    part = whole.columns(chosen)
    (V, *_) = points(5, 3)
    W = np.zeros((5, data.n_features))
    W[:, chosen] = V
    assert_allclose(part.at(V).value, whole.at(W).value)
    assert_allclose(part.at(V).gradient, whole.at(W).gradient[:, chosen], atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["squared", "logistic", "softmax"])
def test_dual_values_are_below_every_value(rows, name, mode):
    loss, data, _ = rows[name]
    smooth, penalty = RowLoss(data, loss, INTERCEPTS[mode], ALPHA), L21(ALPHA)
    duals, values = [], []
    for W in [np.zeros((smooth.n_rows, 5)), *points(smooth.n_rows, 5)]:
        point = smooth.at(W)
        value, gap = duality_gap(smooth, penalty, point, penalty.gauge(point.gradient))
        assert gap >= 0
        duals.append(value - gap)
        values.append(value)
    assert max(duals) <= min(values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["squared", "logistic", "softmax"])
def test_sparse_rows_are_the_same_function(rows, name, mode):
    loss, data, _ = rows[name]
    X = np.where(np.abs(data.X) > 1, data.X, 0.0)
    made = [
        RowLoss(
            TaskData(kind(X), data.y, 5, data.codes, data.sample_weight, TASK_WEIGHT),
            loss,
            INTERCEPTS[mode],
            ALPHA,
        )
        for kind in (np.asarray, sp.csr_array)
    ]
    for W in points(made[0].n_rows, 5):
        one, two = (smooth.at(W) for smooth in made)
        assert_allclose(one.value, two.value, rtol=1e-9)
        assert_allclose(one.gradient, two.gradient, atol=1e-6)
