"""Envelopes of the margin losses: derivatives, limits, duality, levels."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import finite_difference, row_loss
from scipy import optimize

from mtlearn.problem.margins import MARGIN_LOSSES as LOSSES
from mtlearn.problem.margins import margin_loss
from mtlearn.solvers.margins.envelope import Envelope, balance

N = 60
CASES = [
    (loss, eps)
    for loss in LOSSES
    for eps in ((0.0,) if "hinge" in loss else (0.0, 0.4))
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def problem(request):
    """loss, epsilon, y, z, weight, box; z far and near, on both sides of all kinks."""
    loss, epsilon = request.param
    rng = np.random.default_rng(0)
    y = rng.choice([-1.0, 1.0], size=N) if "hinge" in loss else 2 * rng.normal(size=N)
    weight = rng.uniform(0.5, 2.0, size=N)
    z = 2 * rng.normal(size=N)
    return loss, epsilon, y, z, weight, margin_loss(loss, epsilon).box(y, weight)


def centred(problem, sharpness=2.0):
    """The envelope around random multipliers of the box."""
    *_, weight, box = problem
    rng = np.random.default_rng(1)
    centre = np.clip(rng.normal(size=N), box.lower, box.upper)
    return Envelope(box, centre, sharpness * weight)


def losses(problem, z):
    loss, epsilon, y, _, weight, _ = problem
    rows = [row_loss(loss, a, f, epsilon) for a, f in zip(y, z, strict=True)]
    return weight * np.array(rows)


def test_the_multiplier_maximises_what_the_envelope_is(problem):
    _, _, _, z, _, box = problem
    envelope = centred(problem)
    value, g, _ = envelope.evaluate(None, z, None)

    def rows(beta):
        moved = beta - envelope.centre
        return (
            beta * (box.linear - z)
            - box.width * np.abs(beta)
            - box.diagonal * beta**2 / 2
            - moved**2 / (2 * envelope.penalty)
        )

    assert_allclose(value, rows(-g).sum(), rtol=1e-12)
    assert np.all((-g >= box.lower) & (-g <= box.upper))
    for size in (1e-3, 0.1, 1.0):
        for beta in (-g - size, -g + size):
            beta = np.clip(beta, box.lower, box.upper)
            assert np.all(rows(beta) <= rows(-g) + 1e-12)


def test_derivatives_equal_finite_differences(problem):
    _, _, _, z, _, _ = problem
    envelope = centred(problem)
    _, g, h = envelope.evaluate(None, z, None)
    numeric = finite_difference(lambda s: envelope.value(None, s, None), z, 1e-5)
    assert_allclose(g, numeric, atol=1e-6)
    rise = envelope.gradient(None, z + 1e-6, None)
    fall = envelope.gradient(None, z - 1e-6, None)
    smooth = np.abs(h - (rise - fall) / 2e-6) < 1e-4
    assert smooth.mean() > 0.95
    assert np.all(h >= 0) and np.any(h > 0)


def test_along_is_evaluate_on_the_line(problem):
    _, _, _, z, _, _ = problem
    envelope = centred(problem)
    dz = np.random.default_rng(2).normal(size=N)
    for step in (0.0, 0.3, 2.0):
        value, g, h = envelope.evaluate(None, z + step * dz, None)
        expected = value, g @ dz, h @ dz**2
        assert_allclose(envelope.along(None, z, dz, None, step), expected, rtol=1e-10)


def test_it_rises_to_the_loss_as_the_penalty_grows(problem):
    z = problem[3]
    total, last = losses(problem, z).sum(), -np.inf
    for sharpness in (0.1, 1.0, 1e2, 1e4, 1e8):
        value = centred(problem, sharpness).value(None, z, None)
        assert last <= value <= total * (1 + 1e-12)
        last = value
    assert_allclose(value, total, rtol=1e-6)


def test_it_meets_the_loss_at_the_right_multipliers(problem):
    _, _, _, z, weight, box = problem
    envelope = Envelope(box, np.zeros(N), weight)
    right = Envelope(box, envelope.steepest(z), 3.0 * weight)
    assert_allclose(right.value(None, z, None), losses(problem, z).sum(), rtol=1e-12)
    assert_allclose(-right.gradient(None, z, None), right.centre, atol=1e-12)


def test_excess_is_the_loss_and_what_duality_lacks(problem):
    *_, z, weight, box = problem
    envelope = Envelope(box, np.zeros(N), weight)
    rng = np.random.default_rng(3)
    for _ in range(5):
        beta = np.clip(rng.normal(size=N), box.lower, box.upper)
        value, gap = envelope.excess(z, beta)
        assert_allclose(value, losses(problem, z).sum(), rtol=1e-12)
        dual = beta * box.linear - box.width * np.abs(beta) - box.diagonal * beta**2 / 2
        assert_allclose(gap, value - (dual - beta * z).sum(), rtol=1e-10)
        assert gap > 0
    value, gap = envelope.excess(z, envelope.steepest(z))
    assert gap == 0


@pytest.mark.parametrize("sharpness", [1e-3, 1.0, 1e5])
def test_levels_balance_the_multipliers(problem, sharpness):
    _, _, _, z, _, box = problem
    envelope = centred(problem, sharpness)
    starts = np.array([0, 0, 7, 8, 40, N])
    moved = z.copy()
    levels = balance(box, envelope.centre, envelope.penalty, starts, moved)
    assert_allclose(moved, z + np.repeat(levels, np.diff(starts)), atol=1e-12)
    beta = -envelope.gradient(None, moved, None)
    for s, e in pairwise(starts):
        total, size = beta[s:e].sum(), np.abs(beta[s:e]).sum()
        assert abs(total) <= 1e-9 * size + 1e-12 * sharpness
    assert levels[0] == 0.0
    # the levels minimise the envelope
    best = envelope.value(None, moved, None)
    for shift in (-1e-2, 1e-2):
        assert envelope.value(None, moved + shift, None) >= best - 1e-12


def test_a_block_of_one_class_ends_beyond_its_margin():
    y = np.ones(5)
    box = margin_loss("hinge").box(y, np.ones(5))
    z = np.array([-3.0, 0.0, 0.5, 2.0, -1.0])
    levels = balance(box, np.full(5, 0.3), np.full(5, 2.0), np.array([0, 5]), z)
    assert z.min() >= 1.0 and np.isfinite(levels).all()


def test_the_level_of_the_absolute_loss_is_a_median():
    y = np.random.default_rng(4).normal(size=11)
    box = margin_loss("epsilon_insensitive", 0.0).box(y, np.ones(11))
    z = np.zeros(11)
    level = balance(box, np.zeros(11), np.full(11, 1e9), np.array([0, 11]), z)
    assert_allclose(level, np.median(y), atol=1e-8)
    assert_allclose(
        level,
        optimize.minimize_scalar(
            lambda b: np.abs(y - b).sum(), options={"xtol": 1e-9}
        ).x,
        atol=1e-6,
    )


def test_the_representation_names_the_size():
    box = margin_loss("hinge").box(np.ones(3), np.ones(3))
    assert repr(Envelope(box, np.zeros(3), np.ones(3))) == "Envelope(n=3)"
    assert_array_equal(box.width, 0)
