"""Splines: line and wiggle apart, curvature for a penalty, lines beyond the data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.splines import find_axis, make_curve, place_knots
from mtlearn.problem.terms import LEVEL, LINE, WIGGLE, make_terms


def features(n=400, seed=0):
    """A normal, a skewed, and a feature of few values."""
    rng = np.random.default_rng(seed)
    return {
        "normal": rng.normal(3.0, 2.0, size=n),
        "skewed": np.exp(2.0 * rng.normal(size=n)),
        "both tails": rng.standard_t(1.5, size=n),
        "days": rng.integers(0, 12, size=n).astype(float),
    }


every_feature = pytest.mark.parametrize("name", features())


@every_feature
def test_line_and_wiggles_are_apart(name):
    x = features()[name]
    mass = np.random.default_rng(1).uniform(0.5, 2.0, size=len(x))
    C = make_curve(x, mass, 8).columns(x)
    moments = (C * mass[:, None]).T @ C / mass.sum()
    assert_allclose(mass @ C / mass.sum(), 0.0, atol=1e-10)
    assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-9)
    assert_allclose(moments[0, 0], 1.0)
    assert_allclose(np.diag(moments)[1:].sum(), 1.0)
    assert np.all(np.diff(np.diag(moments)[1:]) < 0)


@pytest.mark.parametrize("n_knots", [3, 5, 8])
def test_the_penalty_is_the_integrated_squared_curvature(n_knots):
    x = features()["normal"]
    curve = make_curve(x, np.ones(len(x)), n_knots)
    z = np.linspace(curve.knots[0], curve.knots[-1], 40001)
    C = curve.columns(curve.center + curve.scale * z)
    step = z[1] - z[0]
    bends = np.diff(C, 2, axis=0) / step**2
    assert_allclose(bends[:, 0], 0.0, atol=1e-5)
    energy = bends.T @ bends * step
    assert_allclose(energy[1:, 1:] / energy[1, 1], np.eye(n_knots - 2), atol=1e-3)


@every_feature
def test_lines_beyond_the_data(name):
    x = features()[name]
    curve = make_curve(x, np.ones(len(x)), 8)
    step = 0.1 * (x.max() - x.min())
    for end, sign in ((x.min(), -1.0), (x.max(), 1.0)):
        far = curve.columns(end + sign * step * np.arange(6))
        assert_allclose(np.diff(far, 2, axis=0), 0.0, atol=1e-9 * np.abs(far).max())
        # and they go on as the curve ends
        h = 1e-6 * (np.abs(end) or 1.0)
        near = curve.columns(end + h * np.array([-1.0, 0.0, 1.0]))
        slopes = np.diff(near, axis=0) / h
        assert_allclose(slopes[0], slopes[1], rtol=1e-3, atol=1e-4)


def test_scales_of_long_tails():
    found = {name: find_axis(np.unique(x)).kind for name, x in features().items()}
    assert found == {
        "normal": "plain",
        "skewed": "log",
        "both tails": "asinh",
        "days": "plain",
    }
    for name in ("skewed", "both tails"):
        x = np.unique(features()[name])
        wide = np.linspace(x[0] - 10.0, x[-1] + 10.0, 10000)
        assert np.all(np.diff(find_axis(x).read(wide)) > 0)


def test_knots():
    assert_array_equal(place_knots(np.arange(5.0), 9), np.arange(5.0))
    close = np.concatenate([np.linspace(0, 1e-7, 900), np.linspace(0.5, 1, 100)])
    knots = place_knots(close, 8)
    assert 2 <= len(knots) < 8 and np.diff(knots).min() > 1e-6
    # weights say nothing where the knots are
    x = features()["normal"]
    one, other = (make_curve(x, m, 8) for m in (np.ones(400), np.arange(1.0, 401)))
    assert_allclose(
        one.center + one.scale * one.knots, other.center + other.scale * other.knots
    )


def test_weights_are_repeated_values():
    x = features()["days"][:50]
    mass = np.random.default_rng(2).integers(1, 4, size=50)
    weighted = make_curve(x, mass.astype(float), 6)
    again = np.repeat(x, mass)
    repeated = make_curve(again, np.ones(len(again)), 6)
    # each wiggle but for its sign
    a, b = weighted.columns(x), repeated.columns(x)
    assert_allclose(np.abs(a), np.abs(b), rtol=1e-8, atol=1e-10)


def test_constant_features_and_features_of_few_values():
    assert make_curve(np.full(9, 7.0), np.ones(9), 8).width == 1
    assert_array_equal(
        make_curve(np.full(9, 7.0), np.ones(9), 8).columns(np.array([7.0])), 0.0
    )
    # no more knots than values: two are a line, of three any function is possible
    X = np.column_stack([np.arange(30) % 2, np.arange(30) % 3, np.arange(30) % 3])
    categorical = np.array([False, False, True])
    terms = make_terms(X.astype(float), np.ones(30), categorical, [8, 8, 8])
    assert_array_equal(terms.kind, [LINE, LINE, WIGGLE, *[LEVEL] * 3])
    assert_array_equal(terms.groups, [0, 1, 2, 3, 3, 3])
    assert terms.of(1) == slice(1, 3)
    assert np.linalg.matrix_rank(terms.columns(X[:3])[:, 1:3]) == 2


def test_levels():
    X = np.array([[0.0], [1.0], [1.0], [2.0]])
    three = make_terms(X, np.ones(4), np.array([True]), [8])
    assert_array_equal(three.columns(np.array([[2.0], [-1.0]])), [[0, 0, 1], [0, 0, 0]])
    # a row that does not count has no level of its own, and two are one contrast
    two = make_terms(X, np.array([1.0, 1.0, 1.0, 0.0]), np.array([True]), [8])
    codes = np.array([[0.0], [1.0], [2.0], [-1.0]])
    assert_array_equal(two.columns(codes), [[-0.5], [0.5], [0.0], [0.0]])
    many = np.concatenate([np.arange(150), np.arange(50, 150)])[:, None].astype(float)
    kept = make_terms(many, np.ones(250), np.array([True]), [8]).parts[0].codes
    assert_array_equal(kept, np.arange(50, 150))
