"""Constraints on data with more features than rows: short systems against long ones."""

import numpy as np
import pytest
import scipy.sparse as sp
from cases import INTERCEPTS, limits_of, solve
from numpy.testing import assert_allclose

from mtlearn import MultiTaskSVM, PerTaskRegressor
from mtlearn.constraints import (
    Bounds,
    Close,
    Monotone,
    NonNegative,
    SharedCoefficients,
    SumTo,
)
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.losses import Squared, SquaredHinge
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.relations import Composition, Independent, SharedMean, TaskGraph
from mtlearn.solvers.constrained import active_set, conic, squares
from mtlearn.solvers.constrained.active_set import Merged, Short, Sparse
from mtlearn.solvers.constrained.balls import solve_close
from mtlearn.solvers.constrained.quadratic import SparseRows, Unknowns, factorise
from mtlearn.solvers.constrained.structured import is_short

# every fourth combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(4)

T, D, N = 4, 60, 28
TASKS = np.arange(T)
PATH = np.diag(np.ones(T - 1), 1)
FORMS = {
    "independent": Independent(),
    "shared": SharedMean(0.5),
    "nearly pooled": SharedMean(1 - 1e-8),
    "graph": TaskGraph(PATH + PATH.T, 2.0),
    "composed": Composition({3: {0: 1.5, 1: -0.5}}, "shared_mean"),
}
CONSTRAINTS = {
    "nonnegative": [NonNegative()],
    "bounds": [Bounds(-0.05, 0.05), SharedCoefficients([1, 2])],
    "sum": [SumTo(1.0), NonNegative()],
    "monotone": [Monotone(None, [2, 0, 1, 3])],
    "degenerate": [Monotone([0, 1, 2, 3], [2, 0, 1, 3]), NonNegative()],
    "close": [Close(0.2)],
}


def rows_of(seed=0, sparse=False, hinge=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) + 0.5
    if sparse:
        X = np.where(rng.random(X.shape) < 0.15, X, 0.0)
    y = X @ rng.normal(size=D) * 0.3 + rng.normal(size=N) + 2.0
    y = np.sign(y - np.median(y)) if hinge else y
    X = sp.csr_array(X) if sparse else X
    return TaskData(X, y, T, rng.permutation(N) % T, rng.uniform(0.5, 2.0, N))


def system_of(kind, name, intercept, alpha=0.3, explicit=False):
    """A quadratic and its merged constraints."""
    limits = limits_of(CONSTRAINTS[kind], T, D)
    unknowns = Unknowns(FORMS[name].form(TASKS), INTERCEPTS[intercept], D, explicit)
    quadratic = unknowns.quadratic(factorise(rows_of()), alpha)
    C = (limits.rows @ unknowns.lift).tocsr()
    return quadratic, Merged(C, limits.lower, limits.upper)


@pytest.fixture
def short(monkeypatch):
    """Short systems however few the unknowns are."""
    monkeypatch.setattr(active_set, "_SMALL", 0)


# ---------------------------------------------------------------- one system


@pytest.mark.parametrize("kind", [kind for kind in CONSTRAINTS if kind != "close"])
@pytest.mark.parametrize("name", [name for name in FORMS if name != "nearly pooled"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_a_short_system_solves_the_equations(kind, name, intercept):
    quadratic, rows = system_of(kind, name, intercept, explicit=True)
    assert is_short(quadratic, rows.C)
    system = Short(quadratic, rows.C)
    rng = np.random.default_rng(1)
    n_rows = rows.C.shape[0]
    some = np.sort(rng.choice(n_rows, n_rows // 3, replace=False))
    x = rng.normal(size=quadratic.size)
    C = system.C[some]
    H = (system.F.T @ system.F + system.Q).toarray()
    # a right side that can be met, though rows may depend on each other
    descent, short = H @ x + C.T @ rng.normal(size=len(some)), C @ x
    dx, dy = system.prepare(some)(descent, short)
    size = np.abs(descent).max()
    assert_allclose(H @ dx + C.T @ dy, descent, atol=1e-7 * size)
    assert_allclose(C @ dx, short, atol=1e-8 * np.abs(x).max())


# ---------------------------------------------------------------- whole problems


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("loss", [Squared(), SquaredHinge()], ids=["squared", "hinge"])
def test_the_same_as_by_long_systems(kind, name, sparse, loss, short):
    data = rows_of(sparse=sparse, hinge=isinstance(loss, SquaredHinge))
    limits = limits_of(CONSTRAINTS[kind], T, D)
    form = FORMS[name].form(TASKS)
    for intercept in ("free", "shrunk") if name == "shared" else ("free",):
        with pytest.MonkeyPatch.context() as patch:
            calls = []
            make = Short.__init__

            def count(self, *args, make=make, calls=calls):
                calls.append(self)
                make(self, *args)

            patch.setattr(Short, "__init__", count)
            found = solve(data, loss, form, 0.3, limits, intercept)
            assert calls
        assert found.status is Status.CONVERGED
        reach = limits.rows @ found.coef.ravel()
        size = 1e-8 * max(np.abs(found.coef).max(), 1.0)
        assert np.all(reach <= limits.upper + size)
        assert np.all(reach >= limits.lower - size)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(active_set, "is_short", lambda *args: False)
            patch.setattr(squares, "are_few", lambda *args: False)
            other = solve(data, loss, form, 0.3, limits, intercept)
        assert_allclose(found.objective, other.objective, rtol=1e-7)
        assert_allclose(found.coef, other.coef, atol=1e-4 * np.abs(other.coef).max())
        # the certificate is no less than what the other route found to be missing
        missing = found.objective - other.objective
        zero = loss.value(data.labels, np.zeros(N), data.weights)
        assert missing <= found.certificate * zero + 1e-12 * zero


def test_without_a_penalty(short):
    data, limits = rows_of(), limits_of([NonNegative()], T, D)
    found = solve(data, Squared(), FORMS["shared"].form(TASKS), 0.0, limits)
    assert found.status is Status.CONVERGED
    assert found.coef.min() >= -1e-9
    sparse = TaskData(sp.csr_array(data.X), data.y, T, data.codes, data.sample_weight)
    again = solve(sparse, Squared(), FORMS["shared"].form(TASKS), 0.0, limits)
    zero = 0.5 * data.weights @ data.labels**2
    assert abs(found.objective - again.objective) <= 1e-8 * zero


def test_sparse_rows_are_the_rows(short):
    data = rows_of(sparse=True)
    rows = SparseRows.from_data(data)
    unknowns = Unknowns(FORMS["shared"].form(TASKS), FREE, D, explicit=True)
    one = unknowns.quadratic(rows, 0.7)
    two = unknowns.quadratic(factorise(data), 0.7)
    x = np.random.default_rng(2).normal(size=one.size)
    assert_allclose(one.value(x), two.value(x))
    assert_allclose(one.gradient(x), two.gradient(x), atol=1e-9)
    assert_allclose(rows.squares, data.squared().adjoint(data.weights).sum(axis=0))


@pytest.mark.parametrize("layout", ["long", "wide"])
def test_estimators_on_sparse_data_of_many_features(layout):
    rng = np.random.default_rng(0)
    X = sp.random(60, 900, 0.02, random_state=0, format="csr")
    Y = X @ rng.normal(size=(900, 3)) + 0.1 * rng.normal(size=(60, 3))
    if layout == "wide":
        Y[rng.random(Y.shape) < 0.3] = np.nan
        dense, sparse = (X.toarray(), Y), (X, Y)
        task = {}
    else:
        codes = np.arange(60) % 3
        y = Y[np.arange(60), codes]
        dense, sparse, task = (X.toarray(), y), (X, y), {"task": codes}
    model = PerTaskRegressor(0.1, "shared_mean", constraints=[NonNegative()])
    one = model.fit(*sparse, **task).coef_
    assert model.optimality_ <= 1e-8
    two = model.fit(*dense, **task).coef_
    assert_allclose(one, two, atol=1e-7)
    assert one.min() >= 0 and np.mean(one > 0) > 0.1


def test_classes_on_sparse_data_of_many_features():
    rng = np.random.default_rng(0)
    X = sp.random(80, 500, 0.05, random_state=0, format="csr")
    y, codes = rng.integers(0, 3, 80), np.arange(80) % 4
    model = MultiTaskSVM(constraints=[Bounds(-0.1, 0.1), SharedCoefficients([3])])
    one = model.fit(X, y, task=codes).coef_
    assert model.optimality_ <= 1e-6
    two = model.fit(X.toarray(), y, task=codes).coef_
    assert_allclose(one, two, atol=1e-5)
    assert np.abs(one).max() <= 0.1


# ---------------------------------------------------------------- many unknowns


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("name", ["independent", "shared"])
@pytest.mark.parametrize("intercept", ["free", "shared"])
@pytest.mark.parametrize("loss", [Squared(), SquaredHinge()], ids=["squared", "hinge"])
def test_the_same_as_by_sparse_systems(kind, name, intercept, loss, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 9)) + 0.5
    y = X @ rng.normal(size=9) + 3 * rng.normal(size=400)
    y = np.sign(y) if isinstance(loss, SquaredHinge) else y
    data = TaskData(X, y, T, np.arange(400) % T)
    limits = limits_of(CONSTRAINTS[kind], T, 9)
    args = data, loss, FORMS[name].form(TASKS), 30.0, limits, intercept
    dense = solve(*args)
    monkeypatch.setattr(active_set, "_DENSE", 0)
    calls, make = [], Sparse.__init__

    def count(self, *args):
        calls.append(self)
        make(self, *args)

    monkeypatch.setattr(Sparse, "__init__", count)
    found = solve(*args)
    assert calls
    assert found.status is Status.CONVERGED
    assert_allclose(found.objective, dense.objective, rtol=1e-9)
    assert_allclose(found.coef, dense.coef, atol=1e-6)
    # rows that say the same share a multiplier in more than one way
    push, other = limits.rows.T @ found.prices, limits.rows.T @ dense.prices
    assert_allclose(push, other, atol=1e-5 * (1 + np.abs(other).max()))


# ---------------------------------------------------------------- tasks near a centre


@pytest.mark.parametrize("name", ["independent", "shared"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("loss", [Squared(), SquaredHinge()], ids=["squared", "hinge"])
@pytest.mark.parametrize("radius", [0.05, 0.5, 5.0])
def test_many_tasks_near_their_centre(name, intercept, loss, radius, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4)) + 0.5
    y = X @ rng.normal(size=4) + 2 * rng.normal(size=90)
    y = np.sign(y) if isinstance(loss, SquaredHinge) else y
    data = TaskData(X, y, 7, np.arange(90) % 7, rng.uniform(0.5, 2.0, 90))
    relation = Independent() if name == "independent" else SharedMean(0.3)
    limits = limits_of([Close(radius)], 7, 4)
    args = data, loss, relation.form(np.arange(7)), 0.5, limits, intercept
    dense = solve(*args, tol=1e-10)
    monkeypatch.setattr("mtlearn.solvers.constrained.balls._DENSE", 0)
    monkeypatch.setattr(conic, "run", lambda *args: pytest.fail("cvxpy was called"))
    found = solve(*args, tol=1e-10)
    assert found.status is Status.CONVERGED
    assert_allclose(found.objective, dense.objective, rtol=1e-9)
    assert_allclose(found.coef, dense.coef, atol=1e-6)
    assert_allclose(
        found.tensions, dense.tensions, atol=1e-4 * (1 + dense.tensions.max())
    )
    distance = np.linalg.norm(found.coef - found.coef.mean(axis=0), axis=1)
    assert distance.max() <= radius * (1 + 1e-9)
    assert np.any(found.tensions > 0) == (radius < 5.0)


def test_many_tasks_near_their_centre_without_a_penalty(monkeypatch):
    data = TaskData(rows_of().X[:, :3], rows_of().y, T, np.arange(N) % T)
    limits = limits_of([Close(0.1)], T, 3)
    args = data, Squared(), FORMS["shared"].form(TASKS), 0.0, limits
    dense = solve(*args)
    monkeypatch.setattr("mtlearn.solvers.constrained.balls._DENSE", 0)
    monkeypatch.setattr(conic, "run", lambda *args: pytest.fail("cvxpy was called"))
    assert_allclose(solve(*args).coef, dense.coef, atol=1e-6)


def test_tasks_tied_otherwise_go_the_conic_way(monkeypatch):
    for name in ("graph", "nearly pooled", "composed"):
        unknowns = Unknowns(FORMS[name].form(TASKS), FREE, D)
        quadratic = unknowns.quadratic(factorise(rows_of()), 0.3)
        limits = limits_of([Close(0.2)], T, D)
        balls, centre = limits.balls @ unknowns.lift, limits.centre @ unknowns.lift
        assert solve_close(quadratic, balls, centre, limits.radius, None) is None


@pytest.mark.parametrize("more", [[], [NonNegative()], [SumTo(1.0)]])
@pytest.mark.parametrize("name", FORMS)
def test_balls_on_many_features(more, name, short, monkeypatch):
    limits = limits_of([Close(0.2), *more], T, D)
    args = rows_of(), Squared(), FORMS[name].form(TASKS), 0.3, limits
    dense = solve(*args)
    monkeypatch.setattr("mtlearn.solvers.constrained.balls._DENSE", 0)
    monkeypatch.setattr(conic, "run", lambda *args: pytest.fail("cvxpy was called"))
    found = solve(*args)
    assert found.status is Status.CONVERGED
    assert_allclose(found.objective, dense.objective, rtol=1e-8)
    assert_allclose(found.coef, dense.coef, atol=1e-6)
    assert_allclose(
        found.tensions, dense.tensions, atol=1e-4 * (1 + dense.tensions.max())
    )
    distance = np.linalg.norm(found.coef - found.coef.mean(axis=0), axis=1)
    assert distance.max() <= 0.2 * (1 + 1e-8)


def test_a_kinked_loss_on_sparse_data_of_many_features():
    rng = np.random.default_rng(0)
    X = sp.random(60, 150, 0.1, random_state=0, format="csr")
    y, codes = rng.choice([-1, 1], 60), np.arange(60) % 3
    model = MultiTaskSVM(loss="hinge", constraints=[NonNegative()])
    one = model.fit(X, y, task=codes).coef_
    assert model.optimality_ <= 1e-6
    two = model.fit(X.toarray(), y, task=codes).coef_
    assert_allclose(one, two, atol=1e-4)
