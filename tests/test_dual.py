"""Coordinate descent on the dual: all four losses, sparse rows and dense sweeps."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import INTERCEPTS, cover
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn import SharedMean, TaskGraph
from mtlearn.problem.intercepts import NONE
from mtlearn.problem.margins import MARGIN_LOSSES as LOSSES
from mtlearn.problem.margins import margin_loss
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.margins.dual import penalised_start, solve_dual
from mtlearn.solvers.margins.envelope import Envelope, best_dual
from mtlearn.solvers.margins.sweeps import Sweeps

EPSILON, ALPHA = 0.2, 0.7
CORRELATIONS = (0.0, 0.6, 1.0)


def sparse(X):
    """A third of the entries, and a row without any."""
    X = np.where(np.random.default_rng(0).random(X.shape) < 0.3, X, 0.0)
    X[5] = 0.0
    return sp.csr_array(X)


@pytest.mark.parametrize("loss, correlation", cover(LOSSES, CORRELATIONS))
def test_sparse_rows_against_the_twin(margin_problems, loss, correlation):
    X, y, codes, weight = margin_problems[loss]
    X = sparse(X)
    data = TaskData(X, y, 5, codes, weight)
    form = SharedMean(correlation).form(np.arange(5))
    solution = solve_dual(
        data, margin_loss(loss, EPSILON), form, ALPHA, tol=1e-9, max_iter=20_000
    )
    assert solution.status is Status.CONVERGED
    K = reference.shared_mean(correlation, 5)
    args = X.toarray(), y, codes, weight, ALPHA, K, False
    value = reference.twin(loss, *args, epsilon=EPSILON)[2]
    found = reference.objective(
        loss, solution.coef, solution.intercept, *args, epsilon=EPSILON
    )
    zero = reference.data_loss(loss, 0 * y, y, codes, weight, 5, EPSILON)
    assert_allclose(solution.objective, found, rtol=1e-10)
    assert -1e-8 * zero <= found - value <= solution.certificate * zero + 1e-8 * zero
    # the dual, in the order of the observations, gives the coefficients
    G = np.zeros((5, X.shape[1]))
    np.add.at(G, codes[data.rows], solution.dual[:, None] * X.toarray()[data.rows])
    assert_allclose(solution.coef, K @ G / ALPHA, atol=1e-9)
    box = margin_loss(loss, EPSILON).box(data.labels, data.weights)
    slack = 1e-12 * np.maximum(1, data.weights)
    assert np.all(solution.dual >= box.lower - slack)
    assert np.all(solution.dual <= box.upper + slack)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_in_one_variable_is_exact(loss):
    rng = np.random.default_rng(1)
    y = rng.choice([-1.0, 1.0], size=50)
    box = margin_loss(loss, 0.3).box(y, rng.uniform(0.5, 2.0, size=50))
    for i in range(50):
        pull, bend = rng.normal(scale=3), rng.uniform(0.2, 3.0)
        grid = np.linspace(max(box.lower[i], -20), min(box.upper[i], 20), 4001)
        value = pull * grid - bend * grid**2 / 2 - box.width[i] * np.abs(grid)
        best = best_dual(box, i, pull, 1.0 / bend)
        assert box.lower[i] <= best <= box.upper[i]
        own = pull * best - bend * best**2 / 2 - box.width[i] * abs(best)
        assert own >= value.max() - 1e-12


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_that_rest_are_woken_again(margin_problems, loss):
    # a pass over few rows only, then the gap: the answer is that of all rows
    X, y, codes, weight = margin_problems[loss]
    data = TaskData(sparse(X), y, 5, codes, 0.01 * weight)
    form = SharedMean(0.5).form(np.arange(5))
    args = data, margin_loss(loss, EPSILON), form, ALPHA
    loose = solve_dual(*args, tol=1e-2, max_iter=5000)
    tight = solve_dual(*args, tol=1e-12, max_iter=5000)
    assert loose.n_iter <= tight.n_iter and tight.certificate <= 1e-12
    assert tight.objective <= loose.objective * (1 + 1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_as_they_come_and_copied_ones(margin_problems, loss):
    # with more columns than nonzeros the rows are copied, and numbered by task
    X, y, codes, weight = margin_problems[loss]
    form, X = SharedMean(0.5).form(np.arange(5)), sparse(X)
    wide = sp.hstack([X, sp.csr_array((X.shape[0], X.nnz))]).tocsr()
    short, long = (
        solve_dual(
            TaskData(rows, y, 5, codes, weight),
            margin_loss(loss, EPSILON),
            form,
            ALPHA,
            tol=1e-12,
            max_iter=20_000,
        )
        for rows in (X, wide)
    )
    assert_allclose(long.objective, short.objective, rtol=1e-10)
    assert_allclose(long.coef[:, : X.shape[1]], short.coef, atol=1e-4)
    assert not long.coef[:, X.shape[1] :].any()


def test_the_start_has_multipliers_that_fit(margin_problems):
    X, y, codes, weight = margin_problems["hinge"]
    data = TaskData(sparse(X), y, 5, codes, weight)
    form = SharedMean(0.5).form(np.arange(5))
    (coef, intercept), dual = penalised_start(data, margin_loss("hinge"), form, ALPHA)
    assert coef.shape == (5, X.shape[1]) and intercept.shape == (5,)
    K = reference.shared_mean(0.5, 5)
    sums = np.bincount(codes[data.rows], dual, 5)
    assert_allclose(intercept, K @ sums / ALPHA, atol=1e-10)


# ---------------------------------------------------------------- dense sweeps


@pytest.mark.parametrize(
    "loss, kind", cover(LOSSES, ["SharedMean(0)", "SharedMean(0.6)", "pooled", "graph"])
)
def test_sweeps_end_at_the_minimum(margin_problems, adjacency, loss, kind):
    X, y, codes, weight = margin_problems[loss]
    if kind == "graph":
        relation, K = TaskGraph(adjacency), reference.graph(adjacency)
    else:
        rho = {"SharedMean(0)": 0.0, "SharedMean(0.6)": 0.6, "pooled": 1.0}[kind]
        relation, K = SharedMean(rho), reference.shared_mean(rho, 5)
    form = relation.form(np.arange(5))
    data = TaskData(X, y, 5, codes, 0.1 * weight)
    box = margin_loss(loss, EPSILON).box(data.labels, data.weights)
    sweeps = Sweeps(data, box, form, NONE)
    gains = []
    for k in range(3000):
        gains.append(sweeps.sweep()[1])
        if k % 20 == 19:
            sweeps.wake(data.forward(sweeps.model()[0]))
    assert min(gains) >= -1e-9
    args = X, y, codes, 0.1 * weight, 1.0, K, False
    value = reference.twin(loss, *args, epsilon=EPSILON)[2]
    W, b = sweeps.model()
    found = reference.objective(loss, W, b, *args, epsilon=EPSILON)
    assert_allclose(found, value, rtol=1e-5)
    # W stays K X' beta, and its coordinates are those of least penalty
    G = data.adjoint(sweeps.beta)
    assert_allclose(W, K @ G, atol=1e-9)
    theta = sweeps.coordinates(form)
    assert_allclose(form.lift(theta), W, atol=1e-9)
    penalty = np.vdot(theta, form.metric(theta))
    assert_allclose(penalty, np.vdot(G, K @ G), rtol=1e-8)
    # with no intercepts the gap of the rows is that of the problem
    envelope = Envelope(box, sweeps.beta, data.weights)
    gap = envelope.excess(data.forward(W), sweeps.beta)[1]
    assert found - value <= gap + 1e-6 * value


@pytest.mark.parametrize("intercept", ["free", "shared", "shrunk"])
@pytest.mark.parametrize("kind", ["SharedMean", "graph"])
def test_levels_follow_the_multipliers(margin_problems, adjacency, intercept, kind):
    X, y, codes, weight = margin_problems["hinge"]
    relation = SharedMean(0.6) if kind == "SharedMean" else TaskGraph(adjacency)
    form = relation.form(np.arange(5))
    data = TaskData(X, y, 5, codes, weight)
    box = margin_loss("hinge").box(data.labels, data.weights)
    sweeps = Sweeps(data, box, form, INTERCEPTS[intercept])
    for _ in range(5):
        sweeps.sweep()
    W, b = sweeps.model()
    assert_allclose(W, form.kernel() @ data.adjoint(sweeps.beta), atol=1e-9)
    M = form.intercept_map(INTERCEPTS[intercept]).toarray()
    spread = 0.1 * np.mean(np.sum(X**2, axis=1))
    S = spread * M @ M.T + (form.kernel() if intercept == "shrunk" else 0.0)
    assert_allclose(b, S @ data.sums(sweeps.beta), atol=1e-9)
    sweeps.settle()
    assert_allclose(sweeps.model()[1], 2 * b, atol=1e-9)


def test_the_same_seed_gives_the_same_sweeps(margin_problems):
    X, y, codes, weight = margin_problems["hinge"]
    data = TaskData(X, y, 5, codes, weight)
    box = margin_loss("hinge").box(data.labels, data.weights)
    form = SharedMean(0.5).form(np.arange(5))
    runs = [Sweeps(data, box, form, NONE) for _ in range(2)]
    for run in runs:
        for _ in range(7):
            run.sweep()
    assert_array_equal(runs[0].beta, runs[1].beta)
