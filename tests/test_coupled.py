"""The coupled linear systems against one dense solve, for every structure."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from mtlearn import SharedMean, TaskCovariance, TaskGraph
from mtlearn.relations import ArrowForm, MatrixForm
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
        top = alpha * form.metric(theta) + form.adjoint(G)
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


def test_forms_choose_their_solver():
    arrow = coupled_solver(ArrowForm(3, 0.5, 0.5), 1.0)
    matrix = coupled_solver(MatrixForm(np.eye(3)), 1.0)
    assert type(arrow) is not type(matrix)
