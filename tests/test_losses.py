"""Every loss of the registry: derivatives, weights, lines, minimisers, pickles."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import finite_difference, row_loss
from scipy.special import logit, softmax

from mtlearn.problem.losses import (
    LOSSES,
    Logistic,
    Softmax,
    Squared,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)

N = 40
NAMES = {
    Squared: "squared",
    SquaredHinge: "squared_hinge",
    Logistic: "logistic",
    SquaredEpsilonInsensitive: "squared_epsilon_insensitive",
    Softmax: "softmax",
}


def labels(loss, rng, n=N):
    """Labels that the loss understands, as floats."""
    if isinstance(loss, Softmax):
        return rng.integers(loss.n_scores, size=n).astype(float)
    if isinstance(loss, (SquaredHinge, Logistic)):
        return rng.choice([-1.0, 1.0], size=n)
    return 2 * rng.normal(size=n)


def scores(loss, rng, n=N):
    return 2 * rng.normal(size=n if loss.n_scores == 1 else (n, loss.n_scores))


@pytest.fixture(params=LOSSES, ids=repr)
def problem(request):
    """loss, y, z, weight; no score is within 1e-3 of a kink."""
    loss, rng = request.param, np.random.default_rng(0)
    return loss, labels(loss, rng), scores(loss, rng), rng.uniform(0.5, 2.0, size=N)


def test_the_registry_has_every_loss():
    assert {type(loss) for loss in LOSSES} == set(NAMES)
    assert len({repr(loss) for loss in LOSSES}) == len(LOSSES)


def test_value_is_the_weighted_sum_of_the_reference(problem):
    loss, y, z, weight = problem
    classes = range(loss.n_scores)
    rows = [
        row_loss(
            NAMES[type(loss)],
            int(label) if loss.n_scores > 1 else label,
            score,
            epsilon=getattr(loss, "width", 0.0),
            classes=classes,
        )
        for label, score in zip(y, z)
    ]
    assert_allclose(loss.value(y, z, weight), weight @ rows, rtol=1e-13)


def test_gradient_equals_finite_differences(problem):
    loss, y, z, weight = problem
    numeric = finite_difference(lambda s: loss.value(y, s, weight), z, 1e-5)
    gradient = loss.gradient(y, z, weight)
    assert gradient.shape == z.shape
    assert_allclose(gradient, numeric, atol=1e-7)


def test_curvature_equals_finite_differences(problem):
    loss, y, z, weight = problem
    curvature = loss.curvature(y, z, weight)
    if loss.n_scores == 1:
        assert curvature.shape == z.shape
        numeric = [
            finite_difference(lambda s, i=i: loss.gradient(y, s, weight)[i], z)[i]
            for i in range(N)
        ]
    else:
        assert curvature.shape == (N, loss.n_scores, loss.n_scores)
        numeric = [
            [
                finite_difference(
                    lambda s, i=i, k=k: loss.gradient(
                        y[i : i + 1], s[None], weight[i : i + 1]
                    )[0, k],
                    z[i],
                )
                for k in range(loss.n_scores)
            ]
            for i in range(N)
        ]
    assert_allclose(curvature, numeric, atol=1e-6)


def test_evaluate_is_value_gradient_and_curvature(problem):
    loss, y, z, weight = problem
    value, gradient, curvature = loss.evaluate(y, z, weight)
    assert value == loss.value(y, z, weight)
    assert_array_equal(gradient, loss.gradient(y, z, weight))
    assert_array_equal(curvature, loss.curvature(y, z, weight))


def test_conjugate_by_its_inequality(problem):
    # <g, z> <= value + conjugate for every pair, with equality at the gradient
    loss, y, z, weight = problem
    value, gradient, _ = loss.evaluate(y, z, weight)
    for shrink in (0.0, 0.4, 1.0):
        g = shrink * gradient
        conjugate = loss.conjugate(y, g, weight)
        rng = np.random.default_rng(1)
        for _ in range(20):
            other = scores(loss, rng)
            product = np.vdot(g, other)
            assert product <= loss.value(y, other, weight) + conjugate + 1e-12 * N
    assert_allclose(np.vdot(gradient, z), value + conjugate, rtol=1e-12)
    rows = loss.conjugate(y, gradient, weight)
    assert_allclose(loss.conjugate(y, 3 * gradient, 3 * weight), 3 * rows)


def test_weights_multiply(problem):
    loss, y, z, weight = problem
    ones = loss.evaluate(y, z, np.ones(N))
    factor = weight.reshape(-1, *[1] * (z.ndim - 1))
    assert_allclose(loss.gradient(y, z, weight), factor * ones[1], rtol=1e-13)
    factor = weight.reshape(-1, *[1] * (ones[2].ndim - 1))
    assert_allclose(
        loss.curvature(y, z, weight), factor * ones[2], rtol=1e-13, atol=1e-16
    )
    assert_allclose(loss.value(y, z, 3 * weight), 3 * loss.value(y, z, weight))


def test_a_weight_of_two_is_the_row_twice(problem):
    loss, y, z, _ = problem
    times = np.random.default_rng(1).integers(0, 3, size=N)
    copies = np.repeat(np.arange(N), times)
    assert_allclose(
        loss.value(y, z, 1.0 * times),
        loss.value(y[copies], z[copies], np.ones(len(copies))),
        rtol=1e-13,
    )


@pytest.mark.parametrize("step", [0.0, 0.3, -1.5])
def test_along_agrees_with_evaluate(problem, step):
    loss, y, z, weight = problem
    dz = scores(loss, np.random.default_rng(2))
    value, slope, bend = loss.along(y, z, dz, weight, step)
    expected, gradient, curvature = loss.evaluate(y, z + step * dz, weight)
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(slope, np.vdot(gradient, dz), rtol=1e-11)
    if loss.n_scores == 1:
        expected = curvature @ dz**2
    else:
        expected = np.einsum("ikl,ik,il->", curvature, dz, dz)
    assert_allclose(bend, expected, rtol=1e-11)


def test_the_loss_is_convex(problem):
    loss, y, z, weight = problem
    other = scores(loss, np.random.default_rng(3))
    ends = loss.value(y, z, weight), loss.value(y, other, weight)
    middle = loss.value(y, 0.5 * (z + other), weight)
    assert middle < 0.5 * sum(ends)
    curvature = loss.curvature(y, z, weight)
    if loss.n_scores == 1:
        assert curvature.min() >= 0
    else:
        assert np.linalg.eigvalsh(curvature).min() >= -1e-15


def test_a_perfect_prediction_costs_nothing():
    one = np.ones(1)
    y = np.array([1.3])
    for loss in (Squared(), SquaredEpsilonInsensitive(), SquaredEpsilonInsensitive(1)):
        assert loss.value(y, y, one) == 0
        assert loss.gradient(y, y, one) == 0
    y = np.array([-1.0])
    assert SquaredHinge().value(y, np.array([-1.0]), one) == 0
    assert Logistic().value(y, np.array([-800.0]), one) == 0
    z = np.array([[0.0, 800.0, 0.0]])
    assert Softmax(3).value(one, z, one) == 0


def test_extreme_scores_overflow_nowhere(problem):
    loss, y, z, weight = problem
    for factor in (1e3, 1e8):
        value, gradient, curvature = loss.evaluate(y, factor * z, weight)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all() and np.isfinite(curvature).all()


def test_logistic_keeps_its_digits_in_the_tail():
    y, one = np.ones(1), np.ones(1)
    value, gradient, curvature = Logistic().evaluate(y, np.array([40.0]), one)
    assert_allclose(value, np.exp(-40.0), rtol=1e-12)
    assert_allclose(gradient, -np.exp(-40.0), rtol=1e-12)
    assert_allclose(curvature, np.exp(-40.0), rtol=1e-12)


# The constant model: argmin over one score c of sum_i weight_i loss(y_i, c)


def constant_gradient(loss, y, c, weight):
    z = np.full(len(y), c) if np.ndim(c) == 0 else np.tile(c, (len(y), 1))
    return loss.gradient(y, z, weight).sum(axis=0)


def test_the_constant_of_squared_losses_is_the_mean():
    rng = np.random.default_rng(4)
    y, weight = rng.normal(size=N), rng.uniform(0.5, 2.0, size=N)
    mean = np.average(y, weights=weight)
    for loss in (Squared(), SquaredEpsilonInsensitive(0.0)):
        assert_allclose(constant_gradient(loss, y, mean, weight), 0, atol=1e-12)


def test_the_constant_of_a_tube_is_the_midrange_of_two():
    loss, y = SquaredEpsilonInsensitive(0.3), np.array([-1.0, 3.0])
    assert_allclose(constant_gradient(loss, y, 1.0, np.ones(2)), 0, atol=1e-15)
    # all of a tube's width around labels that lie in it costs nothing
    y = np.array([0.0, 0.2, 0.5])
    assert loss.value(y, np.full(3, 0.25), np.ones(3)) == 0


def test_the_constant_of_logistic_is_the_log_odds():
    rng = np.random.default_rng(5)
    y, weight = rng.choice([-1.0, 1.0], size=N), rng.uniform(0.5, 2.0, size=N)
    c = logit(weight[y > 0].sum() / weight.sum())
    assert_allclose(constant_gradient(Logistic(), y, c, weight), 0, atol=1e-12)


def test_the_constant_of_the_squared_hinge_is_the_difference_of_shares():
    rng = np.random.default_rng(6)
    y, weight = rng.choice([-1.0, 1.0], size=N), rng.uniform(0.5, 2.0, size=N)
    # p (1 - c) = (1 - p) (1 + c)
    c = 2 * weight[y > 0].sum() / weight.sum() - 1
    assert_allclose(constant_gradient(SquaredHinge(), y, c, weight), 0, atol=1e-12)


def test_the_constant_of_softmax_are_the_log_shares():
    rng = np.random.default_rng(7)
    y, weight = rng.integers(3, size=N).astype(float), rng.uniform(0.5, 2.0, size=N)
    c = np.log(np.bincount(y.astype(int), weights=weight) / weight.sum())
    assert_allclose(constant_gradient(Softmax(3), y, c, weight), 0, atol=1e-12)


# Particulars


def test_the_tube_of_zero_width_has_the_curvature_of_its_square_everywhere():
    y, one = np.zeros(1), np.ones(1)
    assert SquaredEpsilonInsensitive(0.0).curvature(y, y, one) == 2
    assert SquaredEpsilonInsensitive(0.1).curvature(y, y, one) == 0


def test_softmax_leaves_out_classes_that_are_not_allowed():
    rng = np.random.default_rng(8)
    allowed = np.tile([True, False, True], (N, 1))
    y, z = rng.choice([0.0, 2.0], size=N), rng.normal(size=(N, 3))
    weight = rng.uniform(0.5, 2.0, size=N)
    loss = Softmax(3, allowed)
    value, gradient, curvature = loss.evaluate(y, z, weight)
    two = Softmax(2).evaluate(y / 2, z[:, [0, 2]], weight)
    assert_allclose(value, two[0], rtol=1e-13)
    assert_array_equal(gradient[:, 1], 0)
    assert_allclose(gradient[:, [0, 2]], two[1], rtol=1e-12)
    assert_array_equal(curvature[:, 1], 0)
    assert_array_equal(curvature[:, :, 1], 0)
    dz = rng.normal(size=(N, 3))
    line = loss.along(y, z, dz, weight, 0.4)
    assert_allclose(line[0], loss.value(y, z + 0.4 * dz, weight), rtol=1e-13)
    assert_allclose(
        line[1], np.vdot(loss.gradient(y, z + 0.4 * dz, weight), dz), rtol=1e-11
    )


def test_softmax_does_not_see_a_common_shift():
    rng = np.random.default_rng(9)
    y, z = rng.integers(3, size=N).astype(float), rng.normal(size=(N, 3))
    one = np.ones(N)
    loss = Softmax(3)
    assert_allclose(loss.value(y, z, one), loss.value(y, z + 7.0, one), rtol=1e-13)
    assert_allclose(loss.gradient(y, z, one).sum(axis=1), 0, atol=1e-15)
    p = softmax(z, axis=1)
    assert_allclose(loss.gradient(y, z, one) + np.eye(3)[y.astype(int)], p)


def test_losses_pickle(problem):
    loss, y, z, weight = problem
    copy = pickle.loads(pickle.dumps(loss))
    assert repr(copy) == repr(loss)
    assert copy.value(y, z, weight) == loss.value(y, z, weight)


def test_losses_leave_their_arguments_alone(problem):
    loss, y, z, weight = problem
    before = y.copy(), z.copy(), weight.copy()
    for array in (y, z, weight):
        array.flags.writeable = False
    loss.evaluate(y, z, weight)
    loss.along(y, z, z, weight, 0.5)
    for array, old in zip((y, z, weight), before):
        assert_array_equal(array, old)
