"""Constrained solvers: the exact routes against the conic one, and their parts."""

import cvxpy as cp
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import INTERCEPTS, D, T, limits_of, solve
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

from mtlearn.constraints import (
    Bounds,
    Close,
    Monotone,
    NonNegative,
    SharedCoefficients,
    SumTo,
)
from mtlearn.problem.forms import ArrowForm, ComposedForm
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.losses import Squared, SquaredHinge
from mtlearn.problem.margins import margin_loss
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.relations import Independent, SharedMean, TaskGraph
from mtlearn.solvers.constrained import conic
from mtlearn.solvers.constrained.active_set import (
    Dense,
    Merged,
    remainder,
    solve_binding,
)
from mtlearn.solvers.constrained.conic import (
    CACHE,
    Infeasible,
    is_feasible,
    solve_conic,
    solve_rows,
)
from mtlearn.solvers.constrained.kinks import solve_constrained_kinks
from mtlearn.solvers.constrained.quadratic import Quadratic, Unknowns, factorise
from mtlearn.solvers.constrained.squares import Inner

# every fourth combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(4)

CONSTRAINTS = {
    "nonnegative": [NonNegative()],
    "bounds": [Bounds(-0.2, 0.3, [0, 2])],
    "shared": [SharedCoefficients([1])],
    "sum": [SumTo(1.0)],
    "monotone": [Monotone(None, [4, 2, 0, 1])],
    "close": [Close(0.4)],
    "many": [NonNegative([0, 1]), SumTo(1.0), Close(0.5), Monotone([3], [0, 1])],
}


def rows_of(seed=0, n=80, n_tasks=T, n_features=D):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_tasks, n)
    X = rng.normal(size=(n, n_features)) + 1.0
    W = rng.normal(size=n_features) + 0.5 * rng.normal(size=(n_tasks, n_features))
    y = np.einsum("ij,ij->i", X, W[codes]) + rng.normal(size=n)
    return TaskData(X, y, n_tasks, codes, rng.uniform(0.5, 2.0, n))


def forms():
    adjacency = np.diag(np.ones(T - 1), 1)
    tasks = np.arange(T)
    return {
        "independent": Independent().form(tasks),
        "shared": SharedMean(0.5).form(tasks),
        "pooled": SharedMean(1.0).form(tasks),
        "graph": TaskGraph(adjacency + adjacency.T, 2.0).form(tasks),
    }


def kinked(data, form, limits, intercept="free", tol=1e-8):
    """The hinge loss under constraints."""
    return solve_constrained_kinks(
        data,
        margin_loss("hinge"),
        form,
        1.0,
        limits,
        intercept=INTERCEPTS[intercept],
        tol=tol,
        max_iter=100,
        options={},
    )


# ---------------------------------------------------------------- two routes


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("name", ["independent", "shared", "pooled", "graph"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_the_conic_solver_agrees(kind, name, intercept):
    factors, limits = factorise(rows_of()), limits_of(CONSTRAINTS[kind])
    inner = Inner(forms()[name], INTERCEPTS[intercept], D, 0.7, limits, {})
    exact = inner.solve(factors)
    answer = solve_conic(inner.unknowns, factors, 0.7, limits, {})
    value = exact.quadratic.value
    assert_allclose(value(answer.x), value(exact.x), rtol=1e-8)
    assert value(answer.x) >= value(exact.x) * (1 - 1e-9)
    # of the multipliers only the sum is settled where rows say the same
    push = inner.C.T @ answer.multipliers
    size = np.abs(push).max(initial=1e-6)
    assert_allclose(push, inner.C.T @ exact.multipliers, atol=1e-4 * size)
    assert_allclose(answer.tensions, exact.tensions, atol=1e-4 * max(size, 1.0))


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_the_exact_route_needs_no_cvxpy(kind, monkeypatch):
    monkeypatch.setattr(conic, "run", lambda *args: pytest.fail("cvxpy was called"))
    for loss in (Squared(), SquaredHinge()):
        data = rows_of()
        data = data if isinstance(loss, Squared) else data.relabel(np.sign(data.y))
        limits = limits_of(CONSTRAINTS[kind])
        solution = solve(data, loss, forms()["shared"], 1.0, limits)
        assert solution.status is Status.CONVERGED
    assert kinked(data, forms()["shared"], limits).status is Status.CONVERGED


@pytest.mark.parametrize("kind", ["close", "many"])
def test_where_the_exact_route_fails_the_conic_one_steps_in(kind, monkeypatch):
    limits, form = limits_of(CONSTRAINTS[kind]), forms()["shared"]
    exact = solve(rows_of(), Squared(), form, 1.0, limits)
    monkeypatch.setattr(
        "mtlearn.solvers.constrained.squares.solve_balls", lambda *args: None
    )
    other = solve(rows_of(), Squared(), form, 1.0, limits)
    assert_allclose(other.coef, exact.coef, atol=1e-8)
    assert_allclose(other.tensions, exact.tensions, rtol=1e-6, atol=1e-6)
    assert other.certificate <= 1e-8


def test_a_grid_compiles_once():
    CACHE.kept.clear()
    limits = limits_of(CONSTRAINTS["many"])
    unknowns = Unknowns(forms()["shared"], FREE, D)
    before, values = CACHE.n_compiled, []
    for seed in (0, 1):
        factors = factorise(rows_of(seed))
        for alpha in (0.1, 1.0, 10.0):
            answer = solve_conic(unknowns, factors, alpha, limits, {})
            quadratic = unknowns.quadratic(factors, alpha)
            values.append(quadratic.value(answer.x))
            exact = Inner(forms()["shared"], FREE, D, alpha, limits, {})
            point = exact.solve(factors)
            assert_allclose(values[-1], point.quadratic.value(point.x), rtol=1e-8)
    assert CACHE.n_compiled == before + 1
    assert len(set(values)) == 6
    # another value of a limit is the same structure, another feature is not
    other = [NonNegative([0, 1]), SumTo(2.0), Close(0.7), Monotone([3], [0, 1])]
    solve_conic(unknowns, factors, 1.0, limits_of(other), {})
    assert CACHE.n_compiled == before + 1
    other[0] = NonNegative([0, 2])
    solve_conic(unknowns, factors, 1.0, limits_of(other), {})
    assert CACHE.n_compiled == before + 2


def test_the_cache_forgets_the_oldest():
    CACHE.kept.clear()
    unknowns, factors = Unknowns(forms()["shared"], FREE, D), factorise(rows_of())
    for j in range(12):
        limits = limits_of([Bounds(-0.1, None, [j % D]), SumTo(1.0, [j // D])])
        solve_conic(unknowns, factors, 1.0, limits, {})
    assert len(CACHE.kept) == 8


def test_rows_never_reach_cvxpy():
    unknowns, limits = Unknowns(forms()["shared"], FREE, D), limits_of([Close(0.4)])
    CACHE.kept.clear()
    for n in (80, 8000):
        solve_conic(unknowns, factorise(rows_of(n=n)), 1.0, limits, {})
    (program,) = CACHE.kept.values()
    sizes = [p.size for p in program.problem.parameters()]
    assert max(sizes) <= T * (D + 1)


# ---------------------------------------------------------------- certificates


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_the_certificate_bounds_the_distance(kind):
    data, limits = rows_of(), limits_of(CONSTRAINTS[kind])
    inner = Inner(forms()["shared"], FREE, D, 1.0, limits, {})
    best = inner.solve(factorise(data))
    rng = np.random.default_rng(0)
    other = Inner(forms()["shared"], FREE, D, 1.3, limits, {}).solve(factorise(data))
    # any obedient point with any multipliers of the right sign
    for share in (1.0, 0.3, 1e-3):
        x = best.x + share * (other.x - best.x)
        factor = rng.uniform(0.5, 1.5)
        point = type(best)(
            best.quadratic, x, factor * best.multipliers, best.tensions, [], 1
        )
        r, loose = inner.residual(point, best.quadratic.gradient(x))
        bound = loose + remainder(best.quadratic, None, r)
        distance = best.quadratic.value(x) - best.quadratic.value(best.x)
        assert 0 <= distance <= bound * (1 + 1e-9)


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_the_certificate_of_a_margin_loss(intercept):
    data = rows_of()
    data = data.relabel(np.sign(data.y))
    limits, form = limits_of([NonNegative(), Close(0.5)]), forms()["shared"]
    best = solve(data, SquaredHinge(), form, 1.0, limits, intercept, tol=1e-13)
    loose = solve(data, SquaredHinge(), form, 1.0, limits, intercept, tol=0.5)
    zero = float(data.weights.sum())
    assert best.certificate <= 1e-12 < loose.certificate
    assert loose.objective - best.objective <= loose.certificate * zero


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_the_certificate_of_a_loss_with_kinks(intercept):
    data = rows_of()
    data = data.relabel(np.sign(data.y))
    limits, form = limits_of([NonNegative(), Close(0.5)]), forms()["shared"]
    best = kinked(data, form, limits, intercept, tol=1e-9)
    loose = kinked(data, form, limits, intercept, tol=30.0)
    zero = float(data.weights.sum())
    assert best.certificate <= 1e-8 < loose.certificate
    assert 0 < loose.objective - best.objective <= loose.certificate * zero


def test_kinks_of_features_in_very_different_units():
    data, units = rows_of(n=200), np.array([1e-3, 1.0, 1e3, 1e2])
    data = TaskData(data.X * np.resize(units, D), np.sign(data.y), T, data.codes)
    demands = [NonNegative(), SumTo(1.0), Monotone([0, 1], list(range(T)))]
    found = kinked(data, forms()["shared"], limits_of(demands))
    assert found.status is Status.CONVERGED
    assert found.certificate <= 1e-8


# ---------------------------------------------------------------- composed tasks


@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "hinge"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("kind", ["nonnegative", "close", "many"])
def test_composed_tasks(loss, intercept, kind):
    M = np.vstack([np.eye(4), [0.5, 0.8, 0.0, -0.3]])
    base = ArrowForm(4, np.sqrt(0.5), np.sqrt(0.5))
    form, data = ComposedForm(base, M, np.arange(4)), rows_of()
    data = data if loss == "squared" else data.relabel(np.sign(data.y))
    limits = limits_of(CONSTRAINTS[kind])
    if loss == "hinge":
        solution = kinked(data, form, limits, intercept)
    else:
        one = Squared() if loss == "squared" else SquaredHinge()
        solution = solve(data, one, form, 1.0, limits, intercept)
    assert solution.status is Status.CONVERGED
    assert_allclose(solution.coef[4], M[4] @ solution.coef[:4], atol=1e-9)
    # in plain cvxpy
    theta, beta = cp.Variable((5, D + 1)), cp.Variable(4)
    Z = form.lift_matrix() @ theta
    W, maps = Z[:, :D], form.intercept_map(INTERCEPTS[intercept])
    b = cp.Constant(np.zeros(T))
    if maps.shape[1]:
        b = maps @ beta[: maps.shape[1]]
    if intercept == "shrunk":
        b = b + Z[:, D]
    f = cp.sum(cp.multiply(data.X, W[data.codes]), axis=1) + b[data.codes]
    if loss == "squared":
        fit = 0.5 * cp.sum(cp.multiply(data.sample_weight, (data.y - f) ** 2))
    else:
        miss = cp.pos(1 - cp.multiply(data.y, f))
        fit = data.sample_weight @ (miss if loss == "hinge" else miss**2)
    flat = cp.reshape(W, (T * D,), order="C")
    demands = [limits.rows @ flat >= limits.lower]
    above = np.isfinite(limits.upper)
    demands.append(limits.rows[above] @ flat <= limits.upper[above])
    if len(limits.radius):
        away = W - np.ones((T, 1)) @ cp.mean(W, axis=0, keepdims=True)
        demands.append(cp.norm(away, 2, axis=1) <= limits.radius)
    zero = data.sample_weight.sum()
    goal = cp.Minimize((fit + 0.5 * cp.sum_squares(theta)) / zero)
    value = zero * reference.solved(cp.Problem(goal, demands))
    assert_allclose(solution.objective, value, rtol=1e-7)


# ---------------------------------------------------------------- parts


def random_quadratic(rng, n=12, m=30):
    """A strictly convex quadratic and rows between limits around a point inside."""
    F, Q = rng.normal(size=(2 * n, n)), sp.eye_array(n).tocsr()
    none = sp.csr_array((0, n))
    quadratic = Quadratic(
        sp.csr_array(F), rng.normal(size=2 * n), Q, np.zeros(n), 0.0, none, none, none
    )
    C, middle = rng.normal(size=(m, n)), 0.3 * rng.normal(size=n)
    lower, upper = C @ middle - rng.uniform(0, 0.3, m), C @ middle + 0.3
    lower[::3] = -np.inf
    lower[:2] = upper[:2] = C[:2] @ middle
    return quadratic, sp.csr_array(C), lower, upper


@pytest.mark.parametrize("seed", range(10))
def test_binding_and_conic_agree(seed):
    quadratic, C, lower, upper = random_quadratic(np.random.default_rng(seed))
    binding = solve_binding(quadratic, C, lower, upper)
    assert binding.optimal
    x, y = solve_rows(binding.system, lower, upper)
    assert_allclose(x / binding.system.size, binding.x, atol=1e-6)
    assert_allclose(y, binding.multipliers, atol=1e-4)
    # stationarity, feasibility, signs, complementarity
    r = quadratic.gradient(binding.x) + C.T @ binding.multipliers
    assert np.abs(r).max() <= 1e-10
    reach = C @ binding.x
    assert np.all(reach <= upper + 1e-9) and np.all(reach >= lower - 1e-9)
    y = binding.multipliers
    assert_allclose(reach[y > 0], upper[y > 0], atol=1e-9)
    assert_allclose(reach[y < 0], lower[y < 0], atol=1e-9)


def test_a_guess_that_is_right_takes_one_system(monkeypatch):
    quadratic, C, lower, upper = random_quadratic(np.random.default_rng(0))
    cold = solve_binding(quadratic, C, lower, upper)
    calls, solve = [], Dense.solve
    monkeypatch.setattr(conic, "run", lambda *args: pytest.fail("cvxpy was called"))
    monkeypatch.setattr(
        Dense, "solve", lambda *args: calls.append("solve") or solve(*args)
    )
    warm = solve_binding(quadratic, C, lower, upper, cold.state)
    assert calls == ["solve"] and warm.n_iter == 1
    assert_array_equal(warm.state, cold.state)
    assert_allclose(warm.x, cold.x, atol=1e-9)


def test_one_at_a_time_where_all_at_once_goes_round(monkeypatch):
    monkeypatch.setattr("mtlearn.solvers.constrained.active_set._PATIENCE", 0)
    for seed in range(5):
        problem = random_quadratic(np.random.default_rng(seed))
        assert solve_binding(*problem).optimal


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_depend_on_each_other(seed):
    quadratic, C, lower, upper = random_quadratic(np.random.default_rng(seed), m=8)
    C = sp.vstack([C, C[2:5] + C[5:8], 2.0 * C[3:4]]).tocsr()
    lower = np.append(lower, [-np.inf] * 4)
    upper = np.append(upper, [*(upper[2:5] + upper[5:8]), 2.0 * upper[3]])
    binding = solve_binding(quadratic, C, lower, upper)
    assert binding.optimal
    found = optimize.minimize(
        quadratic.value,
        binding.x,
        jac=quadratic.gradient,
        method="trust-constr",
        constraints=optimize.LinearConstraint(C.toarray(), lower, upper),
        options={"gtol": 1e-10, "xtol": 1e-12},
    )
    assert quadratic.value(binding.x) <= found.fun + 1e-6


def test_contradictions_are_no_solution():
    quadratic, C, lower, upper = random_quadratic(np.random.default_rng(0), m=6)
    C = sp.vstack([C, -C[2:3]]).tocsr()
    lower, upper = np.append(lower, 1.0 - lower[3]), np.append(upper, np.inf)
    lower[2], upper[2] = 5.0, 6.0
    lower[6], upper[6] = 5.0, np.inf
    assert not solve_binding(quadratic, C, lower, upper).optimal
    assert not is_feasible(C, lower, upper)
    assert is_feasible(C[:6], lower[:6], upper[:6])


def test_rows_of_one_kind_are_merged():
    C = sp.csr_array(
        [[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]
    )
    lower = np.array([0.0, 0.5, -3.0, -1.0, -np.inf, 0.25])
    upper = np.array([9.0, np.inf, -0.1, 1.0, 4.0, 8.0])
    merged = Merged(C, lower, upper)
    assert merged.C.shape == (2, 2)
    assert len(merged.empty) == 0
    place = int(merged.which[0])
    scale = merged.C[[place]].toarray()[0, 0]
    assert_allclose(
        sorted([merged.lower[place] / scale, merged.upper[place] / scale]), [0.25, 3.0]
    )
    y = np.zeros(2)
    y[place] = -scale  # the lower limit 0.25 in units of the first coordinate
    y[place] = -abs(scale) if scale > 0 else abs(scale)
    full = merged.spread(y)
    # 2 x >= 0.5 and x >= 0.25 hold it together
    assert_array_equal(np.flatnonzero(full), [1, 5])
    assert_allclose(C.T @ full, merged.C.T @ y)
    assert_allclose(merged.gather(full), y)


def test_rows_that_nothing_can_satisfy():
    C = sp.csr_array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert_array_equal(
        Merged(C, np.array([1.0, 0.0, -1.0]), np.array([2.0, 1.0, 1.0])).empty, [0]
    )
    crossed = Merged(C, np.array([0.0, 2.0, -1.0]), np.array([0.0, 3.0, 1.0])).empty
    assert_array_equal(crossed, [1, 2])
    limits = limits_of([SumTo(1.0), SumTo(2.0)])
    with pytest.raises(Infeasible):
        solve(rows_of(), Squared(), forms()["shared"], 1.0, limits)


@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("n", [12, 80])
def test_short_factors_are_the_rows(n, collinear):
    data = rows_of(n=n)
    if collinear:
        X = data.X.copy()
        X[:, 3] = X[:, 0] + 1e-9 * X[:, 1]
        data = TaskData(X, data.y, T, data.codes, data.sample_weight)
    factors = factorise(data)
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(T, D)), rng.normal(size=T)
    z = np.einsum("ij,ij->i", data.X, W[data.codes]) + b[data.codes]
    direct = 0.5 * data.sample_weight @ (data.y - z) ** 2
    left = np.einsum("tqj,tj->tq", factors.R[factors.group], W) - factors.r
    mean = np.einsum("tj,tj->t", factors.mean[factors.group], W)
    offset = factors.mass * (b + mean - factors.y_mean) ** 2
    short = 0.5 * (np.sum(left**2) + offset.sum()) + factors.rest
    assert_allclose(short, direct, rtol=1e-10)
    assert_allclose(factors.zero, 0.5 * data.sample_weight @ data.y**2, rtol=1e-10)
    assert factors.full == (n == 80 and not collinear) or n == 12
