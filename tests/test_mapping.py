"""The solver of shared mappings: gradients, both ways to move the heads, early ends."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import INTERCEPTS, pairwise
from cases_heads import MODES, NAMES, case
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.mapping import solve as mapping
from mtlearn.solvers.mapping.heads import Heads
from mtlearn.solvers.mapping.layers import ACTIVATIONS, Layers
from mtlearn.solvers.mapping.solve import Network, Stop, solve_mapping

LAYOUTS = ("wide", "holes", "long")
KINDS = ("projected", "squared", "binary", "softmax")
DEPTHS = ((3,), (4, 3))
ALPHA = 0.3


def loss_of(kind):
    return "squared" if kind == "projected" else kind


def build(kind, layout, activation, hidden, mode, weights="none", alpha=ALPHA):
    """A network and its problem."""
    c = case(layout, loss_of(kind), weights)
    layers = Layers((c.data.n_features, *hidden), activation)
    heads = Heads.of(c.data, c.own, alpha, INTERCEPTS[mode])
    decay = np.zeros(layers.n_params)
    for W, _ in layers.unpack(decay):
        W[:] = alpha
    X = np.ascontiguousarray(c.data.X)
    return Network(layers, heads, X, decay, kind == "projected"), c


def start(network, mode, seed=1):
    """A point with heads that are not zero, where the intercepts may be."""
    rng = np.random.default_rng(seed)
    theta = network.layers.draw(rng)
    if network.projected:
        return theta
    heads = network.heads
    V = rng.normal(size=heads.n_columns * network.layers.sizes[-1])
    b = rng.normal(size=heads.n_columns)
    b = {"none": 0 * b, "shared": np.full(len(b), 0.4)}.get(mode, b)
    if mode == "shrunk":
        # one that has nothing to learn stands where the others of its kind do
        idle = ~heads.weight.any(axis=0) if heads.data.wide else np.zeros(5, bool)
        if not heads.data.wide:
            idle = np.bincount(heads.data.codes, heads.weight) == 0
        for c in np.flatnonzero(idle[heads.task_of_column]):
            group = np.flatnonzero(heads.label_of == heads.label_of[c])
            b[c] = b[group[group != c]].mean()
    return np.concatenate([theta, V, b])


def objective(network, c, x, mode, alpha=ALPHA):
    """The reference's objective of a network's weights."""
    loss, *rows = c.twin
    coefs, intercepts = network.model(x)
    return reference.mapping_objective(
        loss,
        coefs,
        intercepts,
        network.layers.activation,
        *rows,
        alpha,
        NAMES[mode],
        5,
    )


every_pair = pytest.mark.parametrize(
    "activation, hidden, layout, kind, mode",
    pairwise(ACTIVATIONS, DEPTHS, LAYOUTS, KINDS, MODES),
)


@every_pair
def test_the_value_is_that_of_loops(activation, hidden, layout, kind, mode):
    weights = "tasks" if kind in ("projected", "binary") else "rows"
    network, c = build(kind, layout, activation, hidden, mode, weights)
    x = start(network, mode)
    assert_allclose(network(x)[0], objective(network, c, x, mode), rtol=1e-9)


@every_pair
def test_the_gradient_is_that_of_differences(activation, hidden, layout, kind, mode):
    weights = "labels" if layout != "long" else "rows"
    network, _ = build(kind, layout, activation, hidden, mode, weights)
    x = start(network, mode)
    gradient = network(x)[1]
    expected = reference.finite_difference(lambda x: network(x)[0], x, 1e-5)
    n = network.heads.n_columns
    if not network.projected:
        expected[-n:] = network.heads.confine(expected[-n:])
    size = np.abs(expected).max()
    assert size > 0.1
    assert_allclose(gradient, expected, atol=1e-6 * size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_and_its_weights(kind):
    network, _ = build(kind, "holes", "tanh", (4, 3), "free")
    x = start(network, "free")
    coefs, intercepts = network.model(x)
    n = network.heads.n_columns
    assert [W.shape for W in coefs] == [(4, 4), (4, 3), (3, n)]
    assert [b.shape for b in intercepts] == [(4,), (3,), (n,)]
    assert_array_equal(network.there(coefs, intercepts), x)
    coefs[0][:] = 9.0
    assert np.abs(x).max() < 9


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_rows_have_gradients_too(kind):
    network, _ = build(kind, "holes", "tanh", (4, 3), "free", "labels")
    x = start(network, "free")
    part = network.rows(np.arange(1, 12, 2), np.float64)
    expected = reference.finite_difference(lambda x: part(x)[0], x, 1e-5)
    assert_allclose(part(x)[1], expected, atol=1e-6 * np.abs(expected).max())
    single = network.rows(None, np.float32)
    value, gradient = single(x)
    assert gradient.dtype == np.float64
    assert_allclose(value, network(x)[0], rtol=1e-4)
    size = np.abs(network(x)[1]).max()
    assert_allclose(gradient, network(x)[1], atol=1e-4 * size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [sp.csr_array, sp.csc_array, sp.csr_matrix])
def test_sparse_rows_are_the_same_function(kind, make):
    network, _ = build(kind, "wide", "tanh", (4, 3), "free")
    network.X[np.abs(network.X) < 0.5] = 0.0
    x = start(network, "free")
    value, gradient = network(x)
    network.X = make(network.X)
    assert_allclose(network(x)[0], value, rtol=1e-10)
    assert_allclose(network(x)[1], gradient, atol=1e-8 * np.abs(gradient).max())


# ---------------------------------------------------------------- from start to end


def solve(c, hidden=(4,), activation="tanh", alpha=ALPHA, mode="free", **options):
    options = {"tol": 1e-8, "max_iter": 3000, **options}
    options.setdefault("rng", np.random.default_rng(0))
    return solve_mapping(
        c.data, c.own, hidden, activation, alpha, intercept=INTERCEPTS[mode], **options
    )


def value_of(c, solution, activation="tanh", alpha=ALPHA, mode="free", **options):
    loss, *rows = c.twin
    return reference.mapping_objective(
        loss,
        solution.coef,
        solution.intercept,
        activation,
        *rows,
        alpha,
        NAMES[mode],
        5,
        **options,
    )


@pytest.mark.parametrize(
    "layout, kind, mode, hidden", pairwise(LAYOUTS, KINDS, MODES, DEPTHS)
)
def test_the_objective_is_that_of_the_model(layout, kind, mode, hidden):
    c = case(layout, loss_of(kind), "rows")
    # other units, far from zero: scales and centres inside change nothing
    c.data.X[:] = c.data.X * [1e-3, 1.0, 20.0, 1.0] + [0.0, 5.0, -30.0, 0.0]
    if layout == "long":
        c.twin[1][:] = c.data.X
    else:
        rows = reference.to_long(c.data.X, c.data.y, c.data.sample_weight)
        c.twin[1][:] = rows[0]
    solver = "projection" if kind == "projected" else "lbfgs"
    solution = solve(c, hidden, mode=mode, solver=solver, tol=1e-6)
    assert solution.status is Status.CONVERGED
    if kind == "softmax" and mode == "shrunk":
        # the level of a task that has nothing to learn is wherever it costs nothing
        value = value_of(c, solution, mode=mode)
        assert_allclose(solution.objective, value, rtol=1e-5)
    else:
        assert_allclose(solution.objective, value_of(c, solution, mode=mode), rtol=1e-8)
    values = [value for value, _ in solution.history]
    assert (np.diff(values) <= 0).all() and values[-1] == solution.objective
    assert 0 <= solution.certificate <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_small_step_goes_down(kind, layout):
    c = case(layout, loss_of(kind))
    solver = "projection" if kind == "projected" else "lbfgs"
    solution = solve(c, (3,), solver=solver, tol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(10):
        steps = [
            1e-3 * rng.normal(size=part.shape)
            for part in [*solution.coef, *solution.intercept]
        ]
        for sign in (-1, 1):
            k = len(solution.coef)
            near = replace(
                solution,
                coef=[W + sign * s for W, s in zip(solution.coef, steps[:k])],
                intercept=[b + sign * s for b, s in zip(solution.intercept, steps[k:])],
            )
            assert value_of(c, near) >= solution.objective * (1 - 1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
def test_with_and_without_elimination(layout, mode):
    # no unit is bent, and there are enough of them: every minimum is the least
    c = case(layout, "squared", "rows")
    ends = [
        solve(c, (4,), "identity", 0.03, mode, solver=solver, tol=1e-9)
        for solver in ("projection", "lbfgs")
    ]
    assert_allclose(ends[0].objective, ends[1].objective, rtol=1e-4)
    values = [value_of(c, end, "identity", 0.03, mode) for end in ends]
    assert_allclose(values[0], values[1], rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_with_and_without_elimination_from_one_start(layout):
    c = case(layout, "squared", "rows")
    first = solve(c, (3,), solver="projection", tol=1e-9)
    again = solve(
        c,
        (3,),
        solver="lbfgs",
        tol=1e-9,
        start=(first.coef, first.intercept),
    )
    assert again.n_iter < 30
    assert_allclose(again.objective, first.objective, rtol=1e-6)
    back = solve(
        c, (3,), solver="projection", start=(first.coef, first.intercept), tol=1e-9
    )
    assert back.objective <= first.objective * (1 + 1e-9)
    assert_allclose(back.history[0][0], first.objective, rtol=1e-9)


def some_rows_first(monkeypatch):
    """400 rows count as many; what every step saw, in a list."""
    monkeypatch.setattr(mapping, "_MANY", 100)
    monkeypatch.setattr(mapping, "_PART", 25)
    seen, inner = [], Network.__call__

    def spy(self, x):
        seen.append((self.X.shape[0], self.X.dtype.name))
        return inner(self, x)

    monkeypatch.setattr(Network, "__call__", spy)
    return seen


def many_rows(layout, classes):
    """Data of 400 rows, and their classes or None."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    codes = np.repeat(np.arange(5), 80)
    f = np.sin(X[:, 0]) * (1 + codes) + X[:, 1]
    y = (f > 0.5).astype(float) if classes else f
    if layout == "wide":
        data = TaskData(X, np.column_stack([y, 1 - y if classes else -y]), 2)
    else:
        data = TaskData(X, y, 5, codes)
    return data, np.ones((data.n_tasks, 2), bool) if classes else None


@pytest.mark.parametrize("layout", ["wide", "long"])
@pytest.mark.parametrize("classes", [False, True])
def test_batches_of_the_rows_come_first(layout, classes, monkeypatch):
    data, own = many_rows(layout, classes)

    def fit():
        rng = np.random.default_rng(0)
        return solve_mapping(data, own, (4,), "tanh", 0.1, rng=rng, tol=1e-6)

    plain = fit()
    seen = some_rows_first(monkeypatch)
    solution = fit()
    steps = [step for step, _ in groupby(seen)]
    assert steps[-2:] == [(400, "float32"), (400, "float64")]
    assert {n for n, dtype in steps[:-2] if dtype == "float32"} == {256, 400}
    assert seen.count((256, "float32")) >= mapping._PASSES
    assert solution.status is Status.CONVERGED
    # another minimum, and none that is much worse
    gain = plain.history[0][0] - plain.objective
    assert abs(solution.objective - plain.objective) < 0.2 * gain


def test_batches_leave_little_to_do(monkeypatch):
    data, own = many_rows("wide", False)
    rng = np.random.default_rng(0)
    network, units = mapping._build(
        data, own, ((4,), "tanh"), 0.1, INTERCEPTS["free"], "auto"
    )
    start = network.begin(rng, units)
    x, spent = mapping._naturally(network, [start], rng, 100)
    end = solve_mapping(data, own, (4,), "tanh", 0.1, rng=rng, tol=1e-8)
    assert spent == mapping._PASSES
    first, there = network(start)[0], network(x)[0]
    assert there - end.objective < 0.3 * (first - end.objective)


def test_a_given_start_is_followed_on_parts_of_the_rows(monkeypatch):
    data, own = many_rows("wide", False)
    first = solve_mapping(data, own, (4,), "tanh", 0.1, tol=1e-2)
    seen = some_rows_first(monkeypatch)
    start = first.coef, first.intercept
    again = solve_mapping(data, own, (4,), "tanh", 0.1, tol=1e-6, start=start)
    steps = [step for step, _ in groupby(seen)]
    assert steps[0] == (25, "float32") and steps[-1] == (400, "float64")
    assert [n for n, _ in steps] == sorted(n for n, _ in steps)
    assert again.status is Status.CONVERGED


def test_steps_of_all_parts_are_counted(monkeypatch):
    monkeypatch.setattr(mapping, "_MANY", 100)
    monkeypatch.setattr(mapping, "_PART", 25)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    data = TaskData(X, np.sin(X), 3, None, None, None)
    for max_iter in (1, 5, 40):
        solution = solve_mapping(
            data, None, (4,), "tanh", 0.1, max_iter=max_iter, rng=rng, tol=1e-14
        )
        assert solution.n_iter <= max_iter + 1
        assert solution.status is Status.MAX_ITER


def test_the_best_of_several_starts_is_followed():
    c = case("wide", "squared")
    values = {}
    for n_init in (1, 4):
        ends = [
            solve(c, (3,), rng=np.random.default_rng(seed), n_init=n_init, tol=1e-7)
            for seed in range(6)
        ]
        values[n_init] = np.array([end.objective for end in ends])
    assert np.ptp(values[1]) > 1e-3 * min(values[1])
    assert (values[4] <= values[1] * (1 + 1e-4)).all()
    assert values[4].max() < values[1].max()


def test_held_out_rows_end_it():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    Y = X[:, :1] + rng.normal(size=(80, 5))
    data, held = (
        TaskData(X[rows], Y[rows], 5, None, None, None)
        for rows in (slice(0, 40), slice(40, 80))
    )
    plain = solve_mapping(
        data, None, (20,), "tanh", 1e-3, rng=np.random.default_rng(0), max_iter=200
    )
    solution = solve_mapping(
        data,
        None,
        (20,),
        "tanh",
        1e-3,
        rng=np.random.default_rng(0),
        stop=Stop(held, 5),
    )
    losses = solution.dual
    assert solution.n_iter < plain.n_iter
    assert len(losses) == solution.n_iter
    assert losses.argmin() == len(losses) - 6
    rows = reference.to_long(held.X, held.y)

    def mean_loss(solution):
        value = reference.mapping_objective(
            "squared", solution.coef, solution.intercept, "tanh", *rows, 0.0
        )
        return value / held.y.size

    assert_allclose(mean_loss(solution), losses.min(), rtol=1e-9)
    assert mean_loss(solution) < mean_loss(plain)
    # and the objective told is that of the weights that are kept
    rows = reference.to_long(data.X, data.y)
    value = reference.mapping_objective(
        "squared", solution.coef, solution.intercept, "tanh", *rows, 1e-3
    )
    assert_allclose(solution.objective, value, rtol=1e-9)


def test_held_out_rows_count_where_the_end_comes_first():
    # many iterations of patience: the end is that of the tolerance
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    Y = X[:, :1] + rng.normal(size=(60, 5))
    data, held = (
        TaskData(X[rows], Y[rows], 5, None, None, None)
        for rows in (slice(0, 30), slice(30, 60))
    )
    for max_iter in (30, 2000):
        solution = solve_mapping(
            data,
            None,
            (5,),
            "tanh",
            0.1,
            rng=np.random.default_rng(0),
            stop=Stop(held, 10**6),
            max_iter=max_iter,
        )
        assert solution.dual.argmin() < len(solution.dual) - 1
        value = reference.mapping_objective(
            "squared",
            solution.coef,
            solution.intercept,
            "tanh",
            *reference.to_long(held.X, held.y),
            0.0,
        )
        assert_allclose(value / held.y.size, solution.dual.min(), rtol=1e-9)


def test_weights_that_are_not_in_common_units_start_as_they_are():
    # `start` is in the units of the caller
    c = case("long", "binary")
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=(4, 3)), rng.normal(size=(3, 5))]
    intercepts = [rng.normal(size=3), rng.normal(size=5)]
    c.data.X[:] = 3.0 * c.data.X + 7.0
    c.twin[1][:] = c.data.X
    solution = solve(c, (3,), start=(coefs, intercepts), max_iter=1)
    loss, *rows = c.twin
    value = reference.mapping_objective(loss, coefs, intercepts, "tanh", *rows, ALPHA)
    assert_allclose(solution.history[0][0], value, rtol=1e-10)


@pytest.mark.parametrize("mode", ["shared", "none"])
def test_a_start_of_other_intercepts_is_made_one_of_these(mode):
    c = case("long", "binary")
    first = solve(c, (3,))
    assert np.ptp(first.intercept[-1]) > 1e-3
    solution = solve(c, (3,), mode=mode, start=(first.coef, first.intercept))
    value = value_of(c, solution, mode=mode)
    assert np.isfinite(value)
    assert_allclose(solution.objective, value, rtol=1e-9)


@pytest.mark.parametrize(
    "layout, loss, mode", pairwise(LAYOUTS, ("squared", "binary", "softmax"), MODES)
)
@pytest.mark.parametrize("n_init", [1, 3])
def test_steps_on_batches_come_first(layout, loss, mode, n_init):
    c = case(layout, loss, "rows")
    if loss == "squared":
        # columns in units of their own
        c.data.y[:] *= 100.0 if layout == "long" else [1.0, 100.0, 1e-3, 1.0, 10.0]
        rows = c.data.X, c.data.y, c.data.codes, c.data.sample_weight
        if layout != "long":
            rows = reference.to_long(c.data.X, c.data.y, c.data.sample_weight)
        c.twin[2][:] = rows[1]
    solution = solve(c, (4, 3), mode=mode, solver="adam", n_init=n_init, tol=1e-5)
    assert solution.status is Status.CONVERGED
    # 30 passes over the rows before it
    assert solution.n_iter == len(solution.history) - 1 + 30
    rtol = 1e-3 if (loss, mode) == ("softmax", "shrunk") else 1e-8
    assert_allclose(solution.objective, value_of(c, solution, mode=mode), rtol=rtol)
    values = [value for value, _ in solution.history]
    assert (np.diff(values) <= 0).all()
    zero = reference.mapping_objective(
        c.twin[0],
        [0 * W for W in solution.coef],
        [0 * b for b in solution.intercept],
        "tanh",
        *c.twin[1:],
        ALPHA,
        NAMES[mode],
        5,
    )
    assert values[0] < zero


def test_steps_on_batches_go_down():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 3))
    codes = np.repeat(np.arange(2), 350)
    f = np.sin(2 * X[:, 0]) + X[:, 1]
    for own, y in ((None, f), (np.ones((2, 2), bool), (f > 0).astype(float))):
        data = TaskData(X, y, 2, codes, None, None)
        firsts = []
        for max_iter in (3, 31):
            solution = solve_mapping(
                data,
                own,
                (6,),
                "tanh",
                0.1,
                solver="adam",
                max_iter=max_iter,
                rng=np.random.default_rng(0),
                tol=1e-14,
            )
            assert solution.n_iter == max_iter
            assert solution.status is Status.MAX_ITER
            firsts.append(solution.history[0][0])
        assert firsts[1] < firsts[0]


@pytest.mark.parametrize("mode", MODES)
def test_steps_on_batches_keep_intercepts_as_they_must_be(monkeypatch, mode):
    # heads that move with the shared weights, each in the units of its labels
    monkeypatch.setattr(mapping, "_worth_projecting", lambda heads, layers: False)
    c = case("holes", "squared")
    c.data.y[:] *= [1.0, 100.0, 1e-3, 1.0, 10.0]
    c.twin[2][:] = reference.to_long(c.data.X, c.data.y)[1]
    solution = solve(c, mode=mode, solver="adam", tol=1e-5)
    assert_allclose(solution.objective, value_of(c, solution, mode=mode), rtol=1e-8)
