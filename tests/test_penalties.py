"""Every penalty of the registry by what defines it: prox, gauge, strength of zero."""

import copy
import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.penalties import L21, PENALTIES, Dirty, Nuclear, shrink

NAMES = {L21: "l21", Dirty: "dirty", Nuclear: "nuclear"}
SHAPES = [(6, 9), (9, 6), (1, 5), (5, 1), (1, 1)]

every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
rowwise = pytest.mark.parametrize(
    "penalty", [p for p in PENALTIES if not isinstance(p, Nuclear)], ids=repr
)


def matrices(shape, n=1, seed=0):
    """Random matrices: dense, with empty columns, and of rank one, in turn."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        W = rng.normal(size=shape)
        if i % 3 == 1:
            W[:, 1:] *= rng.uniform(size=shape[1] - 1) < 0.5
        if i % 3 == 2:
            W = np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1]))
        yield W * 10.0 ** rng.uniform(-2, 2)


def test_the_registry_has_every_penalty():
    assert {type(penalty) for penalty in PENALTIES} == set(NAMES)
    assert len({repr(penalty) for penalty in PENALTIES}) == len(PENALTIES)


# ---------------------------------------------------------------- value


@every_penalty
@every_shape
def test_value_is_that_of_the_reference(penalty, shape):
    private = getattr(penalty, "alpha_private", None)
    for W in matrices(shape, 9):
        expected = reference.shared_penalty(
            NAMES[type(penalty)], W, penalty.alpha, private
        )
        assert_allclose(penalty.value(W), expected, rtol=1e-12)


@every_penalty
def test_value_is_a_norm(penalty):
    U, V, *_ = matrices((6, 9), 2)
    assert penalty.value(0 * U) == 0
    assert penalty.value(U) > 0
    assert_allclose(penalty.value(-3 * U), 3 * penalty.value(U))
    assert penalty.value(U + V) <= penalty.value(U) + penalty.value(V)


@every_penalty
def test_rows_and_columns_have_no_order_or_sign(penalty):
    rng = np.random.default_rng(1)
    (W,) = matrices((6, 9))
    mixed = W[rng.permutation(6)][:, rng.permutation(9)] * rng.choice([-1, 1], (6, 1))
    assert_allclose(penalty.value(mixed), penalty.value(W))
    assert_allclose(penalty.gauge(mixed), penalty.gauge(W))


@rowwise
def test_parts_are_the_cheapest(penalty):
    rng = np.random.default_rng(0)
    for W in matrices((6, 9), 6):
        S, P = penalty.split(W)
        assert_allclose(S + P, W, atol=1e-14 * np.abs(W).max())
        value = penalty.value_of_parts(S, P)
        assert_allclose(value, penalty.value(W), rtol=1e-14)
        if np.isinf(penalty.beta):
            assert_array_equal(P, 0)
            continue
        for size in (1e-4, 1e-2, 1.0):
            for _ in range(20):
                step = size * np.abs(W).max() * rng.normal(size=W.shape)
                step *= rng.uniform(size=W.shape) < 0.3
                moved = penalty.value_of_parts(S + step, P - step)
                assert moved >= value * (1 - 1e-14)


# ---------------------------------------------------------------- prox


@every_penalty
@every_shape
@pytest.mark.parametrize("step", [1e-3, 0.3, 1.0, 20.0])
def test_prox_by_its_inequality(penalty, shape, step):
    # the prox objective at any U is that at the prox plus 1/2 |U - V|^2, at least
    rng = np.random.default_rng(1)
    for Z in matrices(shape, 6):
        V = penalty.prox(Z, step)
        least = 0.5 * ((V - Z) ** 2).sum() + step * penalty.value(V)
        slack = 1e-13 * (Z**2).sum()
        points = [0 * Z, Z, 0.5 * V, 1.1 * V, *matrices(shape, 3, seed=2)]
        for size in (1e-6, 1e-3, 1e-1, 1.0):
            points += [V + size * np.abs(Z).max() * rng.normal(size=shape)]
            points += [V + size * np.abs(Z).max() * rng.normal(size=shape) * (V != 0)]
        for U in points:
            at = 0.5 * ((U - Z) ** 2).sum() + step * penalty.value(U)
            assert at >= least + 0.5 * ((U - V) ** 2).sum() - slack


@every_penalty
@every_shape
def test_what_the_prox_takes_away_is_a_subgradient(penalty, shape):
    for Z in matrices(shape, 9):
        for step in (0.01, 0.3, 2.0):
            V = penalty.prox(Z, step)
            G, noise = (Z - V) / step, 1e-14 * np.linalg.norm(Z) / step
            assert penalty.gauge(G) <= 1 + 1e-12 + 3 * noise
            if V.any():
                assert_allclose(penalty.gauge(G), 1, atol=1e-12 + 3 * noise)
            at = np.vdot(G, V), penalty.value(V)
            assert_allclose(*at, atol=noise * np.linalg.norm(V), rtol=1e-12)


@every_penalty
def test_prox_keeps_its_hands_off_its_input(penalty):
    (Z,) = matrices((6, 9))
    for given in (Z, np.asfortranarray(Z), np.repeat(Z, 2, axis=1)[:, ::2]):
        before = given.copy()
        given.flags.writeable = False
        assert_allclose(penalty.prox(given, 0.3), penalty.prox(Z, 0.3), atol=1e-13)
        assert_allclose(penalty.value(given), penalty.value(Z))
        assert_allclose(penalty.gauge(given), penalty.gauge(Z))
        assert_array_equal(given, before)


@every_penalty
def test_prox_of_nothing_and_of_no_step(penalty):
    (Z,) = matrices((6, 9))
    assert_allclose(penalty.prox(Z, 0.0), Z, atol=1e-14 * np.abs(Z).max())
    assert_array_equal(penalty.prox(0 * Z, 1.0), 0)
    assert_array_equal(penalty.prox(Z), penalty.prox(Z, 1.0))


@every_penalty
@pytest.mark.parametrize("factor", [1e-100, 1e-8, 1e8, 1e100])
def test_units_do_not_matter(penalty, factor):
    (Z,) = matrices((6, 9))
    V = penalty.prox(Z, 0.3)
    assert_allclose(penalty.prox(factor * Z, 0.3 * factor), factor * V, rtol=1e-10)
    assert_allclose(penalty.gauge(factor * Z), factor * penalty.gauge(Z))
    assert_allclose(penalty.value(factor * Z), factor * penalty.value(Z))


# ---------------------------------------------------------------- gauge, zero strength


@every_penalty
@every_shape
def test_gauge_is_the_largest_ratio(penalty, shape):
    # sup over W of <G, W> / value(W): never above, and reached close to the prox
    for G in matrices(shape, 6):
        gauge = penalty.gauge(G)
        for W in matrices(shape, 50, seed=3):
            assert np.vdot(G, W) <= gauge * penalty.value(W) * (1 + 1e-12)
        W = penalty.prox(G, gauge * (1 - 1e-6))
        assert_allclose(np.vdot(G, W) / penalty.value(W), gauge, rtol=1e-5)
    assert penalty.gauge(np.zeros(shape)) == 0


@every_penalty
@every_shape
def test_strength_of_zero_is_exact(penalty, shape):
    for G in matrices(shape, 6):
        alpha = penalty.zero_strength(G)
        assert_allclose(alpha, penalty.gauge(G) * penalty.alpha, rtol=1e-12)
        assert not penalty.scaled(1.0001 * alpha).prox(G).any()
        assert penalty.scaled(0.999 * alpha).prox(G).any()
        # the strength in use does not matter, only the ratio of the two
        assert_allclose(penalty.scaled(7.0).zero_strength(G), alpha, rtol=1e-12)


@every_penalty
def test_scaled_multiplies_the_value(penalty):
    (W,) = matrices((6, 9))
    other = penalty.scaled(3 * penalty.alpha)
    assert type(other) is type(penalty)
    assert_allclose(other.value(W), 3 * penalty.value(W))
    assert_allclose(other.gauge(W), penalty.gauge(W) / 3)
    assert_allclose(other.prox(W, 0.1), penalty.prox(W, 0.3), atol=1e-13)


@rowwise
def test_columns_have_gauges_of_their_own(penalty):
    (G,) = matrices((6, 9))
    gauges = penalty.gauges(G)
    assert gauges.shape == (9,)
    for j in range(9):
        assert_allclose(gauges[j], penalty.gauge(G[:, [j]]))


# ---------------------------------------------------------------- what they reduce to


def test_an_expensive_private_part_is_not_used():
    l21, free = L21(0.7), matrices((6, 9), 6)
    for Z in free:
        for private in (0.7, 0.9, 1e6):
            dirty = Dirty(0.7, private)
            assert_array_equal(dirty.split(Z)[1], 0)
            assert_allclose(dirty.value(Z), l21.value(Z), rtol=1e-14)
            assert_allclose(dirty.gauge(Z), l21.gauge(Z), rtol=1e-14)
            for step in (0.1, 1.0):
                assert_allclose(dirty.prox(Z, step), l21.prox(Z, step), atol=1e-14)


def test_a_cheap_private_part_is_all_there_is():
    for private in (0.1, 0.999 * 0.7 / np.sqrt(6)):
        dirty = Dirty(0.7, private)
        for Z in matrices((6, 9), 6):
            assert_allclose(dirty.split(Z)[0], 0, atol=1e-14 * np.abs(Z).max())
            assert_allclose(dirty.value(Z), private * np.abs(Z).sum(), rtol=1e-13)
            soft = np.sign(Z) * np.maximum(np.abs(Z) - 0.5 * private, 0)
            assert_allclose(dirty.prox(Z, 0.5), soft, atol=1e-14 * np.abs(Z).max())


@pytest.mark.parametrize("penalty", [L21(0.7), Dirty(0.7, 0.7), Dirty(9.0, 0.7)])
def test_one_row_is_the_lasso(penalty):
    (z,) = matrices((1, 9))
    soft = np.sign(z) * np.maximum(np.abs(z) - 0.7, 0)
    assert_allclose(penalty.prox(z), soft, atol=1e-15)
    assert_allclose(penalty.value(z), 0.7 * np.abs(z).sum())


def test_nuclear_shrinks_singular_values():
    for Z in matrices((6, 9), 3):
        s = np.linalg.svd(Z, compute_uv=False)
        shrunk = np.linalg.svd(Nuclear(0.7).prox(Z, 0.5), compute_uv=False)
        assert_allclose(shrunk, np.maximum(s - 0.35, 0), atol=1e-13 * s[0])
        assert_allclose(Nuclear(0.7).zero_strength(Z), s[0])


def test_one_row_or_column_is_a_plain_norm_for_all():
    (z,) = matrices((1, 9))
    size = np.linalg.norm(z)
    expected = z * max(0, 1 - 0.7 / size)
    assert_allclose(Nuclear(0.7).prox(z), expected, atol=1e-14)
    for penalty in (Nuclear(0.7), L21(0.7), Dirty(0.7, 0.7)):
        assert_allclose(penalty.prox(z.T), expected.T, atol=1e-14)
        assert_allclose(penalty.value(z.T), 0.7 * size)


# ---------------------------------------------------------------- one column, curved


@pytest.mark.parametrize("alpha, beta", [(0.7, np.inf), (0.7, 0.4), (0.7, 0.2)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 6.0])
def test_a_column_whose_rows_have_different_curvatures(alpha, beta, spread):
    # optimal where z - h w is a subgradient at w
    rng = np.random.default_rng(0)
    penalty = L21(alpha) if np.isinf(beta) else Dirty(alpha, beta)
    for _ in range(200):
        n = rng.integers(1, 7)
        z = rng.normal(size=n) * 10.0 ** rng.uniform(-1, 2)
        h = 10.0 ** rng.uniform(-spread, spread, size=n)
        w = np.empty(n)
        shrink(z, h, alpha, beta, w)
        G = (z - h * w)[:, None]
        assert penalty.gauge(G) <= 1 + 1e-10
        cost = 0.5 * (h * w**2).sum() - z @ w + penalty.value(w[:, None])
        gap = penalty.value(w[:, None]) - np.vdot(G, w)
        assert abs(gap) <= 1e-10 * max(abs(cost), 1e-3)


@pytest.mark.parametrize("alpha, beta", [(0.7, np.inf), (0.7, 0.4)])
def test_rows_without_curvature_stay_zero(alpha, beta):
    z, h = np.array([3.0, 0.0, -2.0, 0.0]), np.array([1.0, 0.0, 0.5, 0.0])
    w, short = np.empty(4), np.empty(2)
    shrink(z, h, alpha, beta, w)
    shrink(z[::2].copy(), h[::2].copy(), alpha, beta, short)
    assert_allclose(w, [short[0], 0, short[1], 0], atol=1e-15)
    shrink(0 * z, 0 * h, alpha, beta, w)
    assert_array_equal(w, 0)


# ---------------------------------------------------------------- objects


@every_penalty
def test_copies_and_representation(penalty):
    (W,) = matrices((6, 9))
    for other in (pickle.loads(pickle.dumps(penalty)), copy.deepcopy(penalty)):
        assert repr(other) == repr(penalty)
        assert other.value(W) == penalty.value(W)
    assert f"alpha={penalty.alpha}" in repr(penalty)
    assert repr(eval(repr(penalty))) == repr(penalty)
