"""The coupled linear systems against one dense solve, for every structure."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn import SharedMean, TaskCovariance, TaskGraph
from mtlearn.relations import ArrowForm, MatrixForm
from mtlearn.solvers.linalg import (
    conjugate_gradient,
    factor_spd,
    ground,
    invert_blocks,
    solve_spd,
)
from mtlearn.solvers.related import coupled
from mtlearn.solvers.related.coupled import Blocks, coupled_solver

T, P, ALPHA = 5, 4, 0.7

FORMS = ["independent", "shared_mean", "0.999", "pooled", "graph", "covariance"]


@pytest.fixture
def form(request, adjacency, task_covariance):
    return {
        "independent": SharedMean(0.0),
        "shared_mean": SharedMean(0.6),
        "0.999": SharedMean(0.999),
        "pooled": SharedMean(1.0),
        "graph": TaskGraph(adjacency, 2.0),
        "covariance": TaskCovariance(task_covariance),
    }[request.param].form(np.arange(T))


every_form = pytest.mark.parametrize("form", FORMS, indirect=True)


def some_blocks(seed=0, q=0, shared=None, p=P, n_tasks=T, n_rows=7, own=0):
    """Blocks [[H, B], [B', C]] of rows (x, 1): positive semidefinite together.

    `shared` gives the block of each task; the first block has a single row.
    """
    rng = np.random.default_rng(seed)
    n_blocks = n_tasks if shared is None else max(shared) + 1
    full = np.zeros((n_blocks, p + q, p + q))
    for u in range(n_blocks):
        rows = rng.normal(size=(1 if u == 0 else n_rows, p + q))
        full[u] = rows.T @ rows
    which = None if shared is None else np.array(shared)
    border = np.ascontiguousarray(full[:, :p, p:])
    corner = np.ascontiguousarray(full[:, p:, p:])
    H = np.ascontiguousarray(full[:, :p, :p])
    return Blocks(H, border, corner, which)


def dense_matrix(form, blocks, alpha=ALPHA):
    """The whole symmetric matrix over (theta, border unknowns), by lift and pull."""
    n_theta = T + 1 if isinstance(form, ArrowForm) else T
    p, q = blocks.hessian.shape[1], blocks.border.shape[2]
    size = n_theta * p + q

    def dot(v):
        theta, beta = v[: n_theta * p].reshape(n_theta, p), v[n_theta * p :]
        W = form.lift(theta)
        H, B = blocks.each(blocks.hessian), blocks.each(blocks.border)
        G = np.array([H[t] @ W[t] + B[t] @ beta for t in range(T)])
        bottom = sum(B[t].T @ W[t] for t in range(T))
        bottom = bottom + sum(blocks.each(blocks.corner)) @ beta
        top = alpha * form.metric(theta) + form.pull(G)
        return np.concatenate([top.ravel(), bottom])

    return np.column_stack([dot(e) for e in np.eye(size)]), n_theta


def right_hand_side(form, blocks, seed=1):
    """A random one; zero for unknowns that an end of the arrow does not have."""
    rng = np.random.default_rng(seed)
    p, q = blocks.hessian.shape[1] - blocks.own, blocks.border.shape[2]
    if not isinstance(form, ArrowForm):
        return rng.normal(size=(T, p)), rng.normal(size=q)
    rhs = rng.normal(size=(T + 1, p))
    rhs[0] *= form.shared > 0
    rhs[1:] *= form.private > 0
    return rhs, rng.normal(size=q)


def check_against_dense(form, blocks, alpha=ALPHA, rtol=1e-9, solver=None):
    """`solve` gives what the dense matrix gives."""
    M, _ = dense_matrix(form, blocks, alpha)
    assert_allclose(M, M.T, rtol=1e-9, atol=1e-10)
    if solver is None:
        solver = coupled_solver(form, alpha)
        solver.update(blocks)
    rhs, bottom = right_hand_side(form, blocks)
    theta, beta = solver.solve(rhs, bottom)
    assert theta.shape == rhs.shape and beta.shape == bottom.shape
    target = np.concatenate([rhs.ravel(), bottom])
    found = np.concatenate([theta.ravel(), beta])
    expected = np.linalg.solve(M, target)
    assert_allclose(found, expected, atol=rtol * np.abs(expected).max())


# ---------------------------------------------------------------- the solvers


@pytest.mark.parametrize("q", [0, 1])
@pytest.mark.parametrize("shared", [None, [0, 1, 0, 1, 2], [0, 0, 0, 0, 0]])
@every_form
def test_solve_is_the_dense_solve(form, shared, q):
    check_against_dense(form, some_blocks(2, q, shared))


@every_form
def test_intercepts_of_several_classes_that_may_rise_together(form):
    # softmax: the curvature of n rows is X' (diag p - p p') X, singular in the rise
    rng, q, n = np.random.default_rng(3), 3, 9
    full = []
    for _ in range(T):
        X = np.column_stack([rng.normal(size=(n, 2)), np.ones(n)])
        probability = rng.dirichlet(np.ones(q), size=n)
        full.append(
            sum(
                np.kron(np.diag(c) - np.outer(c, c), np.outer(x, x))
                for c, x in zip(probability, X)
            )
        )
    last = np.arange(3 * q) % 3 == 2
    full = np.array(full)
    blocks = Blocks(
        full[:, ~last][:, :, ~last],
        full[:, ~last][:, :, last],
        full[:, last][:, :, last],
    )
    M, _ = dense_matrix(form, blocks)
    solver = coupled_solver(form, ALPHA)
    solver.update(blocks)
    rhs, bottom = right_hand_side(form, blocks)
    bottom -= bottom.mean()
    theta, beta = solver.solve(rhs, bottom)
    target = np.concatenate([rhs.ravel(), bottom])
    assert_allclose(M @ np.concatenate([theta.ravel(), beta]), target, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-9, 1e-6, 1e-3, 1e3])
@every_form
def test_any_strength(form, alpha):
    blocks = some_blocks(4, q=1)
    M, _ = dense_matrix(form, blocks, alpha)
    solver = coupled_solver(form, alpha)
    solver.update(blocks)
    rhs, bottom = right_hand_side(form, blocks)
    theta, beta = solver.solve(rhs, bottom)
    found = np.concatenate([theta.ravel(), beta])
    residual = M @ found - np.concatenate([rhs.ravel(), bottom])
    assert np.abs(residual).max() < 1e-12 * np.abs(M).max() * np.abs(found).max()


@every_form
def test_own_unknowns_are_minimised_out(form):
    # the last row and column of each block: an intercept that no penalty sees
    whole = some_blocks(6, q=1)
    full = np.concatenate(
        [
            np.concatenate([whole.hessian, whole.border], axis=2),
            np.concatenate([whole.border.transpose(0, 2, 1), whole.corner], axis=2),
        ],
        axis=1,
    )
    reduced = whole.hessian - whole.border @ whole.border.transpose(0, 2, 1) / (
        whole.corner
    )
    solver = coupled_solver(form, ALPHA)
    solver.update(Blocks(full, own=1))
    check_against_dense(form, Blocks(reduced), solver=solver)


@every_form
def test_a_second_update_forgets_the_first(form):
    solver = coupled_solver(form, ALPHA)
    solver.update(some_blocks(7, q=1))
    other = some_blocks(8, q=1)
    solver.update(other)
    check_against_dense(form, other, solver=solver)


@every_form
def test_blocks_of_zero_leave_the_penalty(form):
    solver = coupled_solver(form, ALPHA)
    solver.update(Blocks(np.zeros((T, P, P))))
    rhs, _ = right_hand_side(form, some_blocks())
    theta, _ = solver.solve(rhs, np.zeros(0))
    assert_allclose(ALPHA * form.metric(theta), rhs, atol=1e-9)


@pytest.mark.parametrize("p", [1, 3, 63, 64, 65, 80])
def test_small_and_large_blocks_agree(p):
    form = SharedMean(0.5).form(np.arange(T))
    check_against_dense(form, some_blocks(10, 1, p=p, n_rows=p + 3))


@pytest.mark.parametrize("kind", ["graph", "covariance"])
@pytest.mark.parametrize("shared", [None, [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("units", ["even", "uneven"])
def test_iterative_solves_agree_with_direct_ones(
    kind, shared, units, adjacency, task_covariance, monkeypatch
):
    if kind == "graph":
        form = TaskGraph(adjacency).form(np.arange(T))
    else:
        form = TaskCovariance(task_covariance).form(np.arange(T))
    blocks = some_blocks(11, 1, shared, n_rows=9)
    if units == "uneven":
        s = np.array([1e-4, 1.0, 1e2, 1e5])
        blocks = Blocks(
            blocks.hessian * s * s[:, None],
            blocks.border * s[:, None],
            blocks.corner,
            blocks.which,
        )
    rhs, bottom = right_hand_side(form, blocks)
    answers = []
    for limit in (10_000, 0):
        monkeypatch.setattr(coupled, "_DIRECT", limit)
        solver = coupled_solver(form, ALPHA)
        solver.update(blocks)
        answers.append(solver.solve(rhs, bottom))
    for direct, iterative in zip(*answers):
        assert_allclose(iterative, direct, rtol=1e-6, atol=1e-9)


def test_many_tasks_in_a_chain():
    n = 1200
    edges = np.ones(n - 1), np.ones(n - 1)
    chain = sp.diags_array(edges, offsets=[-1, 1]).tocsr()
    form = TaskGraph(chain, strength=3.0).form(np.arange(n))
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(n, 3, 2))
    blocks = Blocks(np.matmul(rows.transpose(0, 2, 1), rows))
    solver = coupled_solver(form, ALPHA)
    solver.update(blocks)
    rhs = rng.normal(size=(n, 2))
    theta, _ = solver.solve(rhs, np.zeros(0))
    product = ALPHA * form.metric(theta) + blocks.dot(blocks.hessian, theta)
    assert_allclose(product, rhs, atol=1e-9)


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("shared", [None, [0, 1, 0, 1, 2]])
def test_blocks_give_every_task_its_own(shared):
    blocks = some_blocks(14, 1, shared)
    H = blocks.each(blocks.hessian)
    assert H.shape == (T, P, P)
    assert_allclose(blocks.total(blocks.hessian), H.sum(axis=0))
    V = np.random.default_rng(15).normal(size=(T, P))
    expected = [H[t] @ V[t] for t in range(T)]
    assert_allclose(blocks.dot(blocks.hessian, V), expected, atol=1e-12)
    assert blocks.n_tasks == T


# ---------------------------------------------------------------- pieces


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


def test_forms_choose_their_solver():
    arrow = coupled_solver(ArrowForm(3, 0.5, 0.5), 1.0)
    matrix = coupled_solver(MatrixForm(np.eye(3)), 1.0)
    assert type(arrow) is not type(matrix)
