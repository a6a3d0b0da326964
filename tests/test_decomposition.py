"""The box dual under a Gram matrix: its pieces, and intercepts that are mixed."""

import gc
import weakref

import numpy as np
import pytest
import reference
from cases import INTERCEPTS
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

from mtlearn.problem.forms import ComposedForm
from mtlearn.problem.intercepts import SHARED
from mtlearn.problem.kernels import Kernel, Rows
from mtlearn.problem.margins import MARGIN_LOSSES as LOSSES
from mtlearn.problem.margins import margin_loss
from mtlearn.problem.solution import Status
from mtlearn.relations import SharedMean
from mtlearn.solvers.kernels import decomposition
from mtlearn.solvers.kernels.decomposition import (
    BoxPoint,
    BoxProblem,
    solve_box,
    solve_kernel_dual,
)
from mtlearn.solvers.kernels.finish import _ActiveSet, finish
from mtlearn.solvers.kernels.gram import LongGram, RowCache, WideGram
from mtlearn.solvers.margins.envelope import Envelope, excess
from mtlearn.solvers.margins.gap import duality_gap, zero_objective

EPSILON = 0.3
sharpen = _ActiveSet.sharpen
every_loss = pytest.mark.parametrize("loss", LOSSES)


def labels(loss, n, rng):
    """Labels that suit a loss."""
    y = rng.normal(size=n)
    return np.where(y > 0, 1.0, -1.0) if loss.endswith("hinge") else 2.0 * y


def long_problem(n=60, n_tasks=4, seed=0, limit=1 << 30, least=256):
    """Rows of tasks in order, and their Gram matrix for a given E."""
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(n_tasks, size=n))
    X = rng.normal(size=(n, 3))
    starts = np.searchsorted(codes, np.arange(n_tasks + 1))
    K = SharedMean(0.6).kernel(n_tasks)

    def make(E):
        rows = Rows(Kernel("rbf", 0.4), X)
        return LongGram(rows, X, K, E, starts, limit, least)

    return X, codes, K, make, rng


# ---------------------------------------------------------------- losses of the dual


@every_loss
def test_five_arrays_are_the_loss(loss):
    rng = np.random.default_rng(0)
    y, z, weight = labels(loss, 50, rng), 2 * rng.normal(size=50), rng.random(50) + 0.1
    dual = margin_loss(loss, EPSILON).box(y, weight)
    value, _ = excess(dual, z, np.zeros(50))
    expected = sum(
        weight[i] * reference.kernel_loss(loss, y[i], z[i], EPSILON) for i in range(50)
    )
    assert_allclose(value, expected)
    zero = sum(
        weight[i] * reference.kernel_loss(loss, y[i], 0.0, EPSILON) for i in range(50)
    )
    assert_allclose(zero_objective(dual), zero)
    # the multiplier is minus the slope, and attains the loss
    beta = Envelope(dual, np.zeros(50), np.ones(50)).steepest(z)
    up, down = (excess(dual, z + h, beta)[0] for h in (1e-6, -1e-6))
    assert_allclose((up - down) / 2e-6, -beta.sum(), rtol=1e-5)
    assert_allclose(excess(dual, z, beta)[1], 0.0, atol=1e-12)


@every_loss
@pytest.mark.parametrize("one_class", [False, True])
def test_intercepts_are_best(loss, one_class):
    rng = np.random.default_rng(1)
    y = labels(loss, 40, rng)
    y = np.abs(y) if one_class else y
    f, weight = rng.normal(size=40), rng.random(40) + 0.1
    dual = margin_loss(loss, EPSILON).box(y, weight)
    order, starts = np.arange(40), np.array([0, 25, 25, 40])
    found = duality_gap(dual, np.zeros(40), f, order, starts)
    assert np.isfinite(found.b).all() and found.b[1] == 0.0
    total = 0.0
    for k, rows in ((0, slice(0, 25)), (2, slice(25, 40))):
        part = type(dual)(*(values[rows] for values in dual))

        def value(b, part=part, rows=rows):
            return excess(part, f[rows] + b, np.zeros(len(part.linear)))[0]

        grid = np.linspace(-6, 6, 2001)
        start = grid[np.argmin([value(b) for b in grid])]
        best = optimize.minimize_scalar(value, (start - 0.01, start + 0.01)).fun
        assert value(found.b[k]) <= best + 1e-9
        total += value(found.b[k])
    assert_allclose(found.value, total)


def test_the_middle_of_the_best_intercepts():
    # scores 0 of labels -1 and +1: every intercept in [-1, 1] is as good
    dual = margin_loss("hinge").box(np.array([-1.0, 1.0]), np.ones(2))
    found = duality_gap(dual, np.zeros(2), np.zeros(2), np.arange(2), np.array([0, 2]))
    assert found.b.tolist() == [0.0]


# ---------------------------------------------------------------- the Gram matrix


@pytest.mark.parametrize("limit, least", [(1 << 30, 256), (0, 7)])
def test_long_gram(limit, least):
    _, codes, K, make, rng = long_problem(limit=limit, least=least)
    E = 0.5 * K
    gram = make(E)
    whole = make(E).sub(np.arange(60)) if least == 256 else None
    X = gram.X
    plain = Kernel("rbf", 0.4).between(X, X)
    expected = K[np.ix_(codes, codes)] * (plain + 0.5)
    rows, columns = rng.permutation(60)[:20], rng.permutation(60)[:11]
    assert_allclose(gram.block(rows, columns), expected[np.ix_(rows, columns)])
    assert_allclose(gram.sub(rows), expected[np.ix_(rows, rows)])
    below = np.tril(gram.below(rows, np.float32))
    assert_allclose(below, np.tril(expected[np.ix_(rows, rows)]), rtol=1e-6)
    step, f = rng.normal(size=20), np.zeros(60)
    gram.push(rows, step, f)
    assert_allclose(f, expected[:, rows] @ step, atol=1e-12)
    assert_allclose(gram.diagonal, np.diag(expected))
    assert whole is None or np.allclose(whole, expected)


@pytest.mark.parametrize("limit, least", [(1 << 30, 256), (0, 7)])
def test_wide_gram(limit, least):
    rng = np.random.default_rng(0)
    X, K = rng.normal(size=(15, 3)), SharedMean(0.6).kernel(4)
    row_of, task_of = np.tile(np.arange(15), 4), np.repeat(np.arange(4), 15)
    seen = rng.random(60) < 0.8
    row_of, task_of = row_of[seen], task_of[seen]
    n, E = len(row_of), 0.5 * K
    rows = Rows(Kernel("rbf", 0.4), X)
    gram = WideGram(rows, X, K, E, row_of, task_of, limit, least)
    plain = Kernel("rbf", 0.4).between(X, X)[np.ix_(row_of, row_of)]
    expected = K[np.ix_(task_of, task_of)] * (plain + 0.5)
    some, columns = rng.permutation(n)[:20], rng.permutation(n)[:11]
    assert_allclose(gram.block(some, columns), expected[np.ix_(some, columns)])
    assert_allclose(gram.sub(some), expected[np.ix_(some, some)])
    below = np.tril(gram.below(some, np.float32))
    assert_allclose(below, np.tril(expected[np.ix_(some, some)]), rtol=1e-6)
    step, f = rng.normal(size=20), np.zeros(n)
    gram.push(some, step, f)
    assert_allclose(f, expected[:, some] @ step, atol=1e-12)
    assert_allclose(gram.diagonal, np.diag(expected))


def test_the_matrix_leaves_with_its_last_use():
    _, _, K, make, rng = long_problem()
    place = np.tile(np.arange(15), 4), np.repeat(np.arange(4), 15)
    X, slabs = rng.normal(size=(15, 3)), []
    gc.disable()  # what only a search for circles would find, would stay
    try:
        for build in (
            lambda: make(K),
            lambda: WideGram(Rows(Kernel("rbf", 0.4), X), X, K, 0.5 * K, *place),
        ):
            gram = build()
            gram.block(np.arange(3), np.arange(3))
            slabs.append(weakref.ref(gram.cache.slab))
            del gram
        assert [slab() for slab in slabs] == [None, None]
    finally:
        gc.enable()


def test_the_oldest_rows_leave():
    asked = []

    def fill(rows, out):
        asked.append(rows.tolist())
        out[:] = rows[:, None]

    cache = RowCache(10, fill, 0, 3)
    for rows in ([0, 1], [2], [0], [3], [1, 0]):
        slots = cache.slots(np.array(rows))
        assert_array_equal(cache.slab[slots, 5], rows)
    # 3 took the place of 1, then 1 that of 2
    assert asked == [[0, 1], [2], [3], [1]]
    assert cache.computed == 5


# ---------------------------------------------------------------- the solution


@every_loss
@pytest.mark.parametrize("n_groups", [0, 1, 4])
def test_working_sets_alone_and_the_exact_end(loss, n_groups, monkeypatch):
    _, codes, _, make, rng = long_problem()
    dual = margin_loss(loss, EPSILON).box(labels(loss, 60, rng), np.full(60, 2.0))
    group = {0: np.full(60, -1), 1: np.zeros(60, np.int64), 4: codes}[n_groups]
    problem = BoxProblem(make(np.zeros((4, 4))), dual, group, n_groups)
    scale = zero_objective(dual)
    monkeypatch.setattr(decomposition, "finish", lambda *_: False)
    monkeypatch.setattr(decomposition, "WORKING_SET", 16)
    point, found, _, status, history = solve_box(problem, 1e-6, 1000, scale)
    assert status is Status.CONVERGED and len(history) > 1
    assert np.all(dual.lower <= point.beta) and np.all(point.beta <= dual.upper)
    for k in range(n_groups):
        assert abs(point.beta[group == k].sum()) <= 1e-12
    ended = BoxPoint(point.beta.copy(), point.f.copy())
    assert finish(problem, ended)
    exact = problem.gap(ended.beta, ended.f)
    assert exact.gap <= 1e-13 * scale
    assert found.value - found.gap <= exact.value + 1e-12 * scale
    assert exact.value <= found.value + 1e-12 * scale
    G = problem.gram.sub(np.arange(60))
    assert_allclose(ended.f, G @ ended.beta, atol=1e-10)


def test_the_exact_end_where_single_precision_does_not_do(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.choice([-1.0, 1.0], size=60)
    dual = margin_loss("squared_hinge").box(y, np.full(60, 1e9))
    rows = Rows(Kernel("rbf", 0.01), X)
    gram = LongGram(rows, X, np.eye(1), np.zeros((1, 1)), np.array([0, 60]))
    problem = BoxProblem(gram, dual, np.zeros(60, np.int64), 1)
    monkeypatch.setattr(decomposition, "finish", lambda *_: False)
    point, found, *_ = solve_box(problem, 1e-3, 1000, zero_objective(dual))
    tried = []
    monkeypatch.setattr(_ActiveSet, "sharpen", lambda s: tried.append(1) or sharpen(s))
    assert finish(problem, point) and tried
    assert problem.gap(point.beta, point.f).gap <= 1e-5 * found.gap


def test_out_of_iterations():
    _, _, _, make, rng = long_problem(n=600)
    dual = margin_loss("hinge").box(labels("hinge", 600, rng), np.full(600, 1e4))
    problem = BoxProblem(make(np.zeros((4, 4))), dual, np.zeros(600, np.int64), 1)
    scale = zero_objective(dual)
    _, found, n_iter, status, _ = solve_box(problem, 1e-12, 1, scale)
    assert status is Status.MAX_ITER and n_iter == 1 and found.gap > 0


@every_loss
@pytest.mark.parametrize("intercept", ["free", "shrunk", "shared", "none"])
@pytest.mark.parametrize("last", [[0.5, 1.5, -0.3], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
def test_mixed_intercepts(loss, intercept, last):
    X, codes, _, _, rng = long_problem()
    M = np.vstack([np.eye(3), last])
    form = ComposedForm(SharedMean(0.6).form(np.arange(3)), M, np.arange(3))
    K, y = form.kernel(), labels(loss, 60, rng)
    starts, weight = np.searchsorted(codes, np.arange(5)), rng.random(60) + 0.5
    rows, limit = Rows(Kernel("rbf", 0.4), X), {"tol": 1e-7, "max_iter": 1000}

    def make(E, unit):
        units = np.outer(unit, unit)
        return LongGram(rows, X, K / units, E / units, starts)

    dual = margin_loss(loss, EPSILON).box(y, weight)
    found = solve_kernel_dual(make, dual, codes, form, INTERCEPTS[intercept], **limit)
    assert found.status is Status.CONVERGED
    mode = {"none": False}.get(intercept, intercept)
    k = Kernel("rbf", 0.4).between(X, X)
    G = reference.kernel_gram(k, codes, K, mode)
    ends = form.intercept_map(INTERCEPTS[intercept]).toarray()[codes]
    _, value = reference.kernel_twin(loss, G, ends, y, weight, EPSILON)
    f = reference.kernel_gram(k, codes, K) @ found.dual + found.intercept[codes]
    args = loss, f, found.dual, G, y, weight, EPSILON
    scale = zero_objective(dual)
    reached = reference.kernel_objective(*args)
    assert -1e-8 * scale <= reached - value <= found.certificate * scale + 1e-8 * scale
    assert found.certificate <= 1e-7


def test_a_kernel_that_is_not_definite_warns_rather_than_runs_away():
    X, codes, K, _, rng = long_problem()
    rows = Rows(Kernel("sigmoid", 1.0, coef0=-2.0), X)
    starts = np.searchsorted(codes, np.arange(5))
    form = SharedMean(0.6).form(np.arange(4))
    for loss in LOSSES:
        dual = margin_loss(loss, EPSILON).box(labels(loss, 60, rng), np.full(60, 1e3))
        found = solve_kernel_dual(
            lambda E, u: LongGram(
                rows, X, K / np.outer(u, u), E / np.outer(u, u), starts
            ),
            dual,
            codes,
            form,
            SHARED,
            tol=1e-6,
            max_iter=50,
        )
        assert np.isfinite(found.dual).all() and np.isfinite(found.intercept).all()
        if loss.startswith("squared"):
            assert found.status is not Status.CONVERGED
