"""Symmetric systems: conjugate gradients, factors, inverses of many blocks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.solvers.linalg import (
    conjugate_gradient,
    factor_spd,
    ground,
    ground_whole,
    invert_blocks,
    invert_factor,
    solve_spd,
)


def test_conjugate_gradients_solve_a_system_of_any_shape():
    rng = np.random.default_rng(16)
    M = rng.normal(size=(6, 6))
    M = M @ M.T + np.eye(6)
    rhs = rng.normal(size=(2, 3))

    def dot(x):
        return (M @ x.ravel()).reshape(2, 3)

    for precondition in (
        lambda r: r,
        lambda r: r / np.diag(M).reshape(2, 3),
        lambda r: np.linalg.solve(M, r.ravel()).reshape(2, 3),
    ):
        x = conjugate_gradient(dot, rhs, precondition)
        assert_allclose(dot(x), rhs, atol=1e-9)
    assert_array_equal(conjugate_gradient(dot, 0 * rhs, lambda r: r), 0)


def test_conjugate_gradients_end_after_as_many_steps_as_unknowns():
    # also where the preconditioner hands back what it is given
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    M, rhs = (Q * np.geomspace(1, 1e3, 6)) @ Q.T, rng.normal(size=6)
    for precondition in (lambda r: r, lambda r: r.copy()):
        x = conjugate_gradient(lambda v: M @ v, rhs, precondition, max_iter=8)
        assert_allclose(M @ x, rhs, atol=1e-9)


def test_conjugate_gradients_stop_where_they_are_told():
    M = np.diag(np.arange(1.0, 51.0))
    rhs = np.ones(50)
    x = conjugate_gradient(lambda v: M @ v, rhs, lambda r: r, tol=1e-3)
    error = np.linalg.norm(M @ x - rhs)
    assert 1e-9 < error <= 1e-3 * np.linalg.norm(rhs)
    first = conjugate_gradient(lambda v: M @ v, rhs, lambda r: r, max_iter=1)
    assert np.linalg.norm(M @ first - rhs) > error


def test_ground_leaves_what_is_definite():
    corner = np.array([[[2.0]], [[5.0]]])
    assert_array_equal(ground(corner), corner)


def test_ground_fills_what_has_no_curvature():
    assert_array_equal(ground(np.zeros((3, 1, 1))), np.ones((3, 1, 1)))
    # softmax of three classes, the second of which the task does not have
    p = np.array([0.3, 0.0, 0.7])
    corner = (np.diag(p) - np.outer(p, p))[None]
    grounded = ground(corner)
    assert np.linalg.eigvalsh(grounded)[0].min() > 1e-3
    # the step for a gradient that sums to zero is the one without the filling
    g = np.array([0.2, 0.0, -0.2])
    step = np.linalg.solve(grounded[0], g)
    assert_allclose(corner[0] @ step, g, atol=1e-15)


@pytest.mark.parametrize("units", [1.0, 1e8])
def test_spd_systems(units):
    rng = np.random.default_rng(17)
    A = rng.normal(size=(9, 6))
    scale = units ** np.linspace(-1, 1, 6)
    M = (A.T @ A) * scale * scale[:, None]
    x = rng.normal(size=6) / scale
    assert_allclose(solve_spd(factor_spd(M), M @ x) * scale, x * scale, rtol=1e-8)


def test_singular_systems_that_have_a_solution_get_one():
    rng = np.random.default_rng(18)
    A = rng.normal(size=(9, 6))
    A[:, 3] = A[:, 0] - A[:, 1]
    M = A.T @ A
    rhs = M @ rng.normal(size=6)
    assert_allclose(M @ solve_spd(factor_spd(M), rhs), rhs, atol=1e-8)
    assert_array_equal(solve_spd(factor_spd(np.zeros((2, 2))), np.zeros(2)), 0)


@pytest.mark.parametrize("p", [3, 70])
def test_inverses_of_blocks(p):
    rng = np.random.default_rng(19)
    rows = rng.normal(size=(3, p + 2, p))
    H = np.matmul(rows.transpose(0, 2, 1), rows)
    shift = np.array([0.5, 1.0, 2.0])
    out = np.zeros_like(H)
    todo = np.array([True, False, True])
    invert_blocks(H, shift, 0.3, 0, todo, out)
    for t in (0, 2):
        expected = np.linalg.inv(shift[t] * np.eye(p) + 0.09 * H[t])
        assert_allclose(out[t], expected, atol=1e-10)
        assert_array_equal(out[t], out[t].T)
    assert_array_equal(out[1], 0)


@pytest.mark.parametrize("p", [4, 70])
def test_inverses_with_an_intercept_that_is_not_shifted(p):
    rng = np.random.default_rng(20)
    rows = np.concatenate([rng.normal(size=(2, p, p - 1)), np.ones((2, p, 1))], axis=2)
    H = np.matmul(rows.transpose(0, 2, 1), rows)
    out = np.zeros_like(H)
    invert_blocks(H, np.ones(2), 0.5, 1, np.ones(2, dtype=bool), out)
    S = np.append(np.full(p - 1, 0.5), 1.0)
    for t in range(2):
        M = H[t] * S * S[:, None] + np.diag(np.append(np.ones(p - 1), 0.0))
        assert_allclose(out[t], np.linalg.inv(M), atol=1e-8)


@pytest.mark.parametrize("p", [5, 70])
def test_the_pivot_tells_of_collinear_features(p):
    rng = np.random.default_rng(21)
    X = rng.normal(size=(3 * p, p)) * 10.0 ** rng.integers(-3, 4, size=p)
    todo, out = np.ones(1, dtype=bool), np.zeros((1, p, p))
    good = invert_blocks((X.T @ X)[None], np.zeros(1), 1.0, 0, todo, out)
    assert 1e-4 < good <= 1.0
    X[:, 2] = X[:, 0] + 1e-5 * X[:, 2] * np.abs(X[:, 0]).max() / np.abs(X[:, 2]).max()
    bad = invert_blocks((X.T @ X)[None], np.zeros(1), 1.0, 0, todo, out)
    assert bad < 1e-8


def test_conjugate_gradients_stop_where_a_matrix_bends_down():
    M = np.diag([2.0, -1.0])
    x = conjugate_gradient(lambda v: M @ v, np.array([1.0, 2.0]), lambda r: r)
    assert_array_equal(x, 0)


def test_one_corner_whose_flat_direction_is_any():
    rng = np.random.default_rng(22)
    A = rng.normal(size=(3, 4))
    corner = A.T @ A
    flat = np.linalg.svd(A)[2][-1]
    grounded = ground_whole(corner)
    assert_allclose(flat @ grounded @ flat, np.trace(corner) / 4)
    assert_allclose(grounded @ A.T, corner @ A.T, atol=1e-12)
    definite = corner + np.eye(4)
    assert ground_whole(definite) is definite
    assert_array_equal(ground_whole(np.zeros((2, 2))), np.eye(2))


@pytest.mark.parametrize("p", [1, 5, 40])
def test_inverse_of_a_factor(p):
    A = np.random.default_rng(23).normal(size=(p + 2, p))
    inverse, info = invert_factor(np.linalg.cholesky(A.T @ A))
    assert info == 0
    assert_allclose(inverse @ (A.T @ A), np.eye(p), atol=1e-8)
    assert invert_factor(np.zeros((p, p)))[1] != 0
