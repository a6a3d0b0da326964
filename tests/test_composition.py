"""Tasks made of others: the rules, elimination against the twins, layouts, refusals."""

import pickle
import warnings
from types import SimpleNamespace

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from mtlearn import (
    Composition,
    Independent,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.constraints import Bounds, Close, Monotone, NonNegative, SumTo
from mtlearn.model_selection import TaskStratifiedKFold

# every fourth combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(4)

# free tasks come first, in the order of the twins; "all" is a chain of two rules
FREE = ["east", "north", "south", "west"]
RULES = {
    "all": {"pair": 1, "south": 0.5, "west": -1.0},
    "pair": {"east": 1, "north": 1},
}
TASKS = [*FREE, "pair", "all"]
MIX = np.array([*np.eye(4), [1, 1, 0, 0], [1, 1, 0.5, -1]])
# rules whose factors are zero, negative, or cancel in the intercept that all share
ODD = {
    "zero": (
        {"pair": {"east": 0, "north": 0}, "all": {"south": 1, "west": 0}},
        [[0, 0, 0, 0], [0, 0, 1, 0]],
    ),
    "cancelling": (
        {
            "pair": {"east": 0.1, "north": 0.2, "west": -0.3},
            "all": {"south": 1, "west": -1},
        },
        [[0.1, 0.2, 0, -0.3], [0, 0, 1, -1]],
    ),
    "negative": (
        {"pair": {"east": -2}, "all": {"south": -1, "west": -0.5}},
        [[-2, 0, 0, 0], [0, 0, -1, -0.5]],
    ),
}
ADJACENCY = np.array([[0, 1, 0, 2], [1, 0, 1, 0], [0, 1, 0, 1], [2, 0, 1, 0]])

BASES = {
    "independent": ("independent", np.eye(4)),
    "shared_mean": ("shared_mean", reference.shared_mean(0.5, 4)),
    "pooled": ("pooled", reference.pooled(4)),
    "graph": (TaskGraph(ADJACENCY, tasks=FREE), reference.graph(ADJACENCY)),
    "covariance": (
        TaskCovariance(np.eye(4) + 0.3, tasks=FREE),
        reference.covariance(np.eye(4) + 0.3),
    ),
}
LOSSES = {
    "squared": PerTaskRegressor(),
    "logistic": PerTaskClassifier(),
    "squared_hinge": MultiTaskSVM(),
    "squared_epsilon_insensitive": MultiTaskSVR(epsilon=0.1),
    "hinge": MultiTaskSVM(loss="hinge", tol=1e-10),
    "epsilon_insensitive": MultiTaskSVR(
        epsilon=0.1, loss="epsilon_insensitive", tol=1e-10
    ),
}
MODES = [True, "shrunk", "shared", False]
SOLVERS = ["newton-cholesky", "newton-dual", "newton-cg"]


def draw(seed=0, sizes=(12, 7, 9, 4, 8, 10), d=3, noise=0.3, at=1.0):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(6), sizes))
    X = rng.normal(size=(len(codes), d)) + at
    W, b = rng.normal(size=(4, d)), rng.normal(size=4)
    f = (X * (MIX @ W)[codes]).sum(axis=1) + (MIX @ b)[codes]
    y = f + noise * rng.normal(size=len(f))
    sign = np.where(y > np.median(y), 1, -1)
    for t in range(6):
        # no task of one class: there the twins have nothing to say
        rows = np.flatnonzero(codes == t)[:2]
        sign[rows] = [1, -1][: len(rows)]
    return SimpleNamespace(
        X=X,
        y=y,
        sign=sign,
        codes=codes,
        task=np.array(TASKS)[codes],
        weight=rng.uniform(0.5, 2.0, size=len(f)),
    )


@pytest.fixture
def p():
    return draw()


def in_order(model):
    """Coefficients and intercepts in the order of TASKS."""
    place = [model.tasks_.tolist().index(task) for task in TASKS]
    return model.coef_[place], model.intercept_[place]


def labels(p, loss):
    return p.sign if loss in reference.ONE_SIDED else p.y


def check_against_the_twin(model, loss, p, K, mode, precision=1e-7, mix=MIX):
    coef, intercept = in_order(model)
    y = labels(p, loss)
    options = {"epsilon": 0.1, "rules": mix}
    args = p.X, y, p.codes, p.weight, 1.0, K, mode
    value = reference.twin(loss, *args, **options)[2]
    found = reference.objective(loss, coef, intercept, *args, **options)
    assert np.isfinite(found)
    assert abs(found - value) <= precision * value
    return coef, intercept


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_the_minimum_and_the_rules_hold(p, loss, base, mode):
    relation, K = BASES[base]
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(RULES, relation), fit_intercept=mode
    )
    model.fit(p.X, labels(p, loss), p.weight, task=p.task)
    coef, intercept = check_against_the_twin(model, loss, p, K, mode)
    assert_allclose(coef, MIX @ coef[:4], rtol=0, atol=1e-12)
    assert_allclose(intercept, MIX @ intercept[:4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("loss", LOSSES)
def test_any_factors(p, loss, kind, mode):
    rules, rows = ODD[kind]
    mix = np.vstack([np.eye(4), rows])
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(rules, "shared_mean"), fit_intercept=mode
    )
    model.fit(p.X, labels(p, loss), p.weight, task=p.task)
    K = reference.shared_mean(0.5, 4)
    coef, intercept = check_against_the_twin(model, loss, p, K, mode, mix=mix)
    assert_allclose(coef, mix @ coef[:4], rtol=0, atol=1e-12)
    assert_allclose(intercept, mix @ intercept[:4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_solver(p, loss, mode, solver):
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(RULES, "shared_mean"), fit_intercept=mode, solver=solver
    )
    model.fit(p.X, labels(p, loss), p.weight, task=p.task)
    check_against_the_twin(model, loss, p, reference.shared_mean(0.5, 4), mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("base", ["independent", "shared_mean", "pooled", "graph"])
@pytest.mark.parametrize("full_rank", [True, False], ids=["full rank", "open"])
def test_without_a_penalty(base, mode, full_rank):
    p = draw() if full_rank else draw(sizes=(2, 1, 2, 1, 2, 1), d=4)
    relation, K = BASES[base]
    model = PerTaskRegressor(
        alpha=0, relation=Composition(RULES, relation), fit_intercept=mode
    ).fit(p.X, p.y, p.weight, task=p.task)
    expected = reference.least_squares(
        p.X, p.y, p.codes, p.weight, 0.0, K, mode, rules=MIX, n_tasks=6
    )
    coef, intercept = in_order(model)
    assert_allclose(coef, expected[0], atol=1e-8)
    assert_allclose(intercept, expected[1], atol=1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_more_than_two_classes(p, mode):
    y = np.digitize(p.y, np.quantile(p.y, [0.35, 0.7]))
    for t in range(6):
        y[np.flatnonzero(p.codes == t)[:3]] = 0, 1, 2
    model = PerTaskClassifier(
        relation=Composition(RULES, "shared_mean"), fit_intercept=mode
    ).fit(p.X, y, p.weight, task=p.task)
    coef, intercept = in_order(model)
    K = reference.shared_mean(0.5, 4)
    args = p.X, y, p.codes, p.weight, 1.0, K, mode
    value = reference.twin("softmax", *args, rules=MIX)[2]
    found = reference.objective("softmax", coef, intercept, *args, rules=MIX)
    assert abs(found - value) <= 1e-7 * value


def test_svm_one_against_the_rest(p):
    y = np.digitize(p.y, np.quantile(p.y, [0.35, 0.7]))
    relation = Composition(RULES)
    model = MultiTaskSVM(relation=relation).fit(p.X, y, task=p.task)
    for k in range(3):
        one = MultiTaskSVM(relation=relation).fit(p.X, y == k, task=p.task)
        assert_allclose(model.coef_[:, k], one.coef_, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", LOSSES)
def test_iterations_give_what_factorising_gives(p, loss, mode, monkeypatch):
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(RULES, "shared_mean"),
        fit_intercept=mode,
        solver="newton-cholesky",
    )
    y = labels(p, loss)
    direct = clone(model).fit(p.X, y, task=p.task)
    monkeypatch.setattr("mtlearn.solvers.related.coupled._DIRECT", 0)
    model.fit(p.X, y, task=p.task)
    assert_allclose(model.coef_, direct.coef_, atol=1e-6)
    assert_allclose(model.intercept_, direct.intercept_, atol=1e-6)


# ---------------------------------------------------------------- rows or none


def test_without_rows_it_is_the_fit_of_the_others(p):
    keep = p.codes < 4
    X, y, task = p.X[keep], p.y[keep], p.task[keep]
    for mode in MODES:
        plain = PerTaskRegressor(relation="shared_mean", fit_intercept=mode)
        plain.fit(X, y, task=task)
        model = clone(plain).set_params(relation=Composition(RULES, "shared_mean"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X, y, task=task)
        assert model.tasks_.tolist() == sorted(TASKS)
        coef, intercept = in_order(model)
        assert_allclose(coef, MIX @ plain.coef_, rtol=1e-12)
        assert_allclose(intercept, MIX @ plain.intercept_, rtol=1e-12, atol=1e-12)


def test_rows_of_a_total_speak_for_its_parts():
    # the parts have one row each, the total all the rest: exact without noise
    rng = np.random.default_rng(0)
    w = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, -1.0])}
    task = np.array(["a"] * 3 + ["total"] * 6)
    X = rng.normal(size=(9, 2))
    w["total"] = w["a"] + w["b"]
    y = np.array([x @ w[t] for x, t in zip(X, task, strict=True)])
    # nobody has seen b: it would need rows of its own
    relation = Composition({"total": {"a": 1, "b": 1}})
    model = PerTaskRegressor(alpha=0, relation=relation, fit_intercept=False)
    with pytest.raises(ValueError, match=r"'total' of \['b'\], which neither have"):
        model.fit(X, y, task=task)
    X, y = np.vstack([X, np.eye(2)[:1]]), np.append(y, w["b"][0])
    model.fit(X, y, task=np.append(task, "b"))
    assert_allclose(model.coef_, [w["a"], w["b"], w["total"]], atol=1e-10)


def test_a_covariance_gives_a_part_without_rows_a_model(p):
    relation = Composition(
        {"sum": {"east": 1, "west": 1}},
        TaskCovariance(np.eye(4) + 0.5, tasks=FREE),
    )
    keep = np.isin(p.task, FREE[:3])
    model = PerTaskRegressor(relation=relation)
    with (
        pytest.warns(UserWarning, match="unseen|no labels")
        if False
        else (warnings.catch_warnings())
    ):
        warnings.simplefilter("ignore")
        model.fit(p.X[keep], p.y[keep], task=p.task[keep])
    names = model.tasks_.tolist()
    coef = dict(zip(names, model.coef_, strict=True))
    level = dict(zip(names, model.intercept_, strict=True))
    assert np.any(coef["west"] != 0)
    assert_allclose(coef["sum"], coef["east"] + coef["west"])
    assert_allclose(level["sum"], level["east"] + level["west"])


def test_unlabelled_tasks_get_the_shared_model_and_composed_ones_their_rule(p):
    Y = np.full((20, 4), np.nan)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    Y[:, :2] = X[:, :2] + 1
    frame = pd.DataFrame(Y, columns=["a", "b", "empty", "total"])
    relation = Composition({"total": {"a": 2, "b": -1}})
    with pytest.warns(UserWarning, match=r"1 of 4 tasks have no labels.*'empty'"):
        model = PerTaskRegressor(relation=relation).fit(X, frame)
    assert_allclose(model.coef_[3], 2 * model.coef_[0] - model.coef_[1])
    assert_allclose(model.coef_[2], model.coef_[[0, 1, 3]].mean(axis=0))
    assert_allclose(model.shared_coef_, model.coef_.mean(axis=0))


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "missing"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", LOSSES)
def test_shared_inputs_say_the_same(loss, mode, complete):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(15, 3)) + 2
    W, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    Y = X @ (MIX @ W).T + MIX @ b + 0.3 * rng.normal(size=(15, 6))
    if loss in reference.ONE_SIDED:
        Y = np.where(np.median(Y, axis=0) < Y, 1.0, -1.0)
    if not complete:
        Y[rng.uniform(size=Y.shape) < 0.3] = np.nan
    frame = pd.DataFrame(Y, columns=TASKS)
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(RULES, "shared_mean"), fit_intercept=mode
    )
    wide = clone(model).fit(X, frame)
    assert wide.tasks_.tolist() == TASKS
    rows, tasks = np.nonzero(~np.isnan(Y))
    model.fit(X[rows], Y[rows, tasks], task=np.array(TASKS)[tasks])
    coef, intercept = in_order(model)
    assert_allclose(wide.coef_, coef, atol=2e-5 if "hinge" in loss else 1e-6)
    assert_allclose(wide.intercept_, intercept, atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_features(p, loss, mode):
    X = np.where(np.abs(p.X) > 1, p.X, 0)
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(RULES, "shared_mean"), fit_intercept=mode
    )
    y = labels(p, loss)
    dense = clone(model).fit(X, y, task=p.task)
    model.fit(sp.csr_array(X), y, task=p.task)
    assert_allclose(model.coef_, dense.coef_, atol=1e-4)
    assert_allclose(model.intercept_, dense.intercept_, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_wide_data(loss):
    p = draw(d=80, noise=0.1)
    model = clone(LOSSES[loss]).set_params(relation=Composition(RULES, "shared_mean"))
    model.fit(p.X, labels(p, loss), p.weight, task=p.task)
    check_against_the_twin(model, loss, p, reference.shared_mean(0.5, 4), True, 1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_features_in_wild_units_and_far_from_zero(loss):
    p = draw()
    model = clone(LOSSES[loss]).set_params(relation=Composition(RULES))
    p.X = p.X * [1e4, 1.0, 1e-3] + [1e6, 0, 1]
    model.fit(p.X, labels(p, loss), p.weight, task=p.task)
    coef, _ = in_order(model)
    assert_allclose(coef, MIX @ coef[:4], atol=1e-10 * np.abs(coef).max())
    # the same problem with the mean taken out, which changes the intercepts only
    q = SimpleNamespace(**vars(p))
    q.X = p.X - p.X.mean(axis=0)
    again = clone(model).fit(q.X, labels(p, loss), p.weight, task=p.task)
    scale = np.array([1e4, 1.0, 1e-3])
    assert_allclose(coef * scale, in_order(again)[0] * scale, atol=1e-4)


def test_integer_ids_and_a_column_of_them(p):
    rules = {10: {0: 1, 1: 1}}
    keep = p.codes < 4
    X = np.column_stack([p.codes[keep], p.X[keep]])
    model = PerTaskRegressor(relation=Composition(rules), task_column=0)
    model.fit(X, p.y[keep])
    assert model.tasks_.tolist() == [0, 1, 2, 3, 10]
    X = np.tile(p.X[:5], (3, 1))
    ids = np.repeat([0, 1, 10], 5)
    z = model.predict(np.column_stack([ids, X])).reshape(3, 5)
    assert_allclose(z[0] + z[1], z[2])


# ---------------------------------------------------------------- constraints

# what is demanded, and the same of W in the order of TASKS
DEMANDS = {
    "nonnegative": ([NonNegative()], lambda W: [W >= 0]),
    "bounds": ([Bounds(-0.5, 0.7, [1, 2])], lambda W: [cp.abs(W[:, 1:] - 0.1) <= 0.6]),
    "monotone": (
        [Monotone([0, 1], ["east", "pair", "all"])],
        lambda W: [W[0, :2] <= W[4, :2], W[4, :2] <= W[5, :2]],
    ),
    "sum": ([SumTo(0.0)], lambda W: [cp.sum(W, axis=1) == 0]),
    "close": (
        [Close(0.5)],
        lambda W: [cp.norm(W - np.ones((6, 6)) / 6 @ W, 2, axis=1) <= 0.5],
    ),
    "callable": ([lambda W, b: [W[0] >= 0.1, b[0] >= 2]], None),
}


def constrained_twin(p, kind, mode):
    """Smallest objective of a squared loss, shared mean 0.5, under a demand."""
    V, beta = cp.Variable((4, 3)), cp.Variable(4)
    W, b = MIX @ V, MIX @ beta
    precision = np.linalg.inv(reference.shared_mean(0.5, 4))
    root = np.linalg.cholesky(precision).T
    demand = DEMANDS[kind][1]
    # in the order of `tasks_` the first is "all"
    limits = demand(W) if demand else [W[5] >= 0.1, b[5] >= 2]
    penalty = cp.sum_squares(root @ V)
    if mode is False:
        limits = [*limits, beta == 0]
    f = cp.sum(cp.multiply(p.X, W[p.codes]), axis=1) + b[p.codes]
    loss = cp.sum(cp.multiply(p.weight, cp.square(p.y - f)))
    problem = cp.Problem(cp.Minimize(0.5 * loss + 0.5 * penalty), limits)
    return problem.solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("kind", DEMANDS)
@pytest.mark.parametrize("rows", ["all rows", "no rows of composed tasks"])
@pytest.mark.parametrize("mode", [True, False])
def test_constraints_hold_for_composed_tasks(p, kind, rows, mode):
    if kind == "callable" and mode is False:
        pytest.skip("it speaks of an intercept")
    if rows != "all rows":
        keep = p.codes < 4
        for name in ("X", "y", "sign", "codes", "task", "weight"):
            setattr(p, name, getattr(p, name)[keep])
    model = PerTaskRegressor(
        relation=Composition(RULES, "shared_mean"),
        constraints=DEMANDS[kind][0],
        fit_intercept=mode,
    ).fit(p.X, p.y, p.weight, task=p.task)
    coef, intercept = in_order(model)
    assert_allclose(coef, MIX @ coef[:4], atol=1e-14)
    assert_allclose(intercept, MIX @ intercept[:4], atol=1e-13)
    value = reference.objective(
        "squared",
        coef,
        intercept,
        p.X,
        p.y,
        p.codes,
        p.weight,
        1.0,
        reference.shared_mean(0.5, 4),
        mode,
        rules=MIX,
    )
    assert_allclose(value, constrained_twin(p, kind, mode), rtol=1e-6)
    if DEMANDS[kind][1] is None:
        assert coef[5].min() >= 0.1 - 1e-7 and intercept[5] >= 2 - 1e-7
        return
    W = cp.Variable((6, 3), value=coef)
    for limit in DEMANDS[kind][1](W):
        assert np.max(limit.violation()) <= 1e-8


@pytest.mark.parametrize("mode", ["shrunk", "shared"])
@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "epsilon_insensitive"])
def test_constraints_and_rules_with_every_loss(p, loss, mode):
    keep = p.codes < 4
    model = clone(LOSSES[loss]).set_params(
        relation=Composition(RULES, "shared_mean"),
        constraints=[NonNegative([0]), Monotone([1], ["east", "all"])],
        fit_intercept=mode,
    )
    model.fit(p.X[keep], labels(p, loss)[keep], task=p.task[keep])
    coef, intercept = in_order(model)
    assert_allclose(coef, MIX @ coef[:4], atol=1e-14)
    assert_allclose(intercept, MIX @ intercept[:4], atol=1e-13)
    assert coef[:, 0].min() >= -1e-14 and coef[0, 1] <= coef[5, 1] + 1e-14


# ---------------------------------------------------------------- the rest of the house


def test_a_grid_reaches_the_inner_relation(p):
    X = pd.DataFrame(p.X).assign(task=p.task)
    X.columns = X.columns.astype(str)
    model = PerTaskRegressor(
        relation=Composition(RULES, SharedMean(0.5)), task_column="task"
    )
    grid = GridSearchCV(
        model,
        {"relation__relation__correlation": [0.0, 0.5, 1.0], "alpha": [0.1, 1.0]},
        cv=TaskStratifiedKFold(3, task_column="task", shuffle=True, random_state=0),
        error_score="raise",
    ).fit(X, p.y)
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
    again = pickle.loads(pickle.dumps(grid.best_estimator_))
    assert_array_equal(again.predict(X), grid.predict(X))


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_grid_is_that_of_single_fits(p, mode):
    relation = Composition(RULES, "shared_mean")
    cv = TaskStratifiedKFold(3, shuffle=True, random_state=0)
    alphas = [0.1, 1.0, 10.0]
    model = PerTaskRegressorCV(alphas, relation=relation, cv=cv, fit_intercept=mode)
    model.fit(p.X, p.y, task=p.task)
    errors = np.empty((3, 3))
    for k, (train, test) in enumerate(cv.split(p.X, p.y, groups=p.task)):
        for j, alpha in enumerate(model.alphas_):
            one = PerTaskRegressor(alpha, relation=relation, fit_intercept=mode)
            one.fit(p.X[train], p.y[train], task=p.task[train])
            z = one.predict(p.X[test], task=p.task[test])
            errors[j, k] = np.mean((p.y[test] - z) ** 2)
    assert_allclose(model.mse_path_, errors, rtol=1e-6)


def test_a_warm_start_ends_at_once(p):
    model = MultiTaskSVM(relation=Composition(RULES, "shared_mean"), warm_start=True)
    for mode in MODES:
        model.set_params(fit_intercept=mode)
        model.fit(p.X, p.sign, task=p.task).fit(p.X, p.sign, task=p.task)
        assert model.n_iter_ == 1
    keep = p.codes < 4
    model.fit(p.X[keep], p.sign[keep], task=p.task[keep])
    model.fit(p.X[keep], p.sign[keep], task=p.task[keep])
    assert model.n_iter_ == 1


def test_max_iter_warns(p):
    model = MultiTaskSVM(relation=Composition(RULES), max_iter=1)
    with pytest.warns(ConvergenceWarning, match="ran out of iterations"):
        model.fit(p.X, p.sign, task=p.task)


def test_hundreds_of_parts():
    rng = np.random.default_rng(0)
    n_parts, d = 300, 5
    rules = {
        "total": {f"region {k}": 1 for k in range(10)},
        **{
            f"region {k}": {f"shop {j}": 1 for j in range(k, n_parts, 10)}
            for k in range(10)
        },
    }
    shops = [f"shop {j}" for j in range(n_parts)]
    task = np.repeat([*shops, *rules], 6)
    X = rng.normal(size=(len(task), d))
    y = rng.normal(size=len(task))
    for estimator, labels in (
        (PerTaskRegressor(), y),
        (MultiTaskSVM(), y > 0),
    ):
        estimator.set_params(relation=Composition(rules, "shared_mean"))
        estimator.fit(X, labels, task=task)
        coef = dict(zip(estimator.tasks_.tolist(), estimator.coef_, strict=True))
        total = sum(coef[shop] for shop in shops)
        assert_allclose(coef["total"], total, atol=1e-8)


# ---------------------------------------------------------------- the relation itself


def test_kernel_omega_and_form():
    relation = Composition(RULES, "shared_mean")
    tasks = np.array(TASKS)
    K = relation.kernel(tasks)
    assert_allclose(K, MIX @ reference.shared_mean(0.5, 4) @ MIX.T)
    V = np.random.default_rng(0).normal(size=(4, 2))
    assert_allclose(relation.omega(MIX @ V, tasks), SharedMean().omega(V))
    assert relation.omega(np.ones((6, 2)), tasks) == np.inf
    form = relation.form(tasks)
    theta = np.random.default_rng(1).normal(size=(5, 2))
    assert_allclose(form.lift_matrix() @ theta, form.lift(theta))
    W = form.lift(theta)
    assert_allclose(form.lift(form.coordinates(W)), W)
    G = np.random.default_rng(2).normal(size=(6, 2))
    assert_allclose(np.vdot(G, W), np.vdot(form.adjoint(G), theta))


def test_diamonds_and_long_chains():
    # a rule that is reached in two ways counts twice; chains may be long
    rules = {"b": {"a": 2}, "c": {"a": 3}, "d": {"b": 1, "c": 1}}
    form = Composition(rules).form(np.array(["a", "b", "c", "d"]))
    assert_allclose(form.mix.toarray().ravel(), [1, 2, 3, 5])
    rules = {k: {k - 1: 1, k - 2: 1} for k in range(2, 3000)}
    mix = Composition(rules).form(np.arange(60)).mix
    assert mix[10].toarray().ravel().tolist() == [34.0, 55.0]


@pytest.mark.parametrize(
    "rules, error, words",
    [
        ({"a": {"a": 1}}, ValueError, "circle, got 'a' <- 'a'"),
        (
            {"a": {"b": 1}, "b": {"c": 1}, "c": {"a": 1}},
            ValueError,
            "`composition` must not go in a circle, got '",
        ),
        ({"total": {"nowhere": 1}}, ValueError, r"of \['nowhere'\], which neither"),
        ({"total": {}}, ValueError, "at least one entry, got {}"),
        ({"total": ["east"]}, ValueError, "dict of components and factors"),
        ({"total": {"east": np.nan}}, ValueError, "finite factors, got nan for 'east'"),
        ({"total": {"east": "1"}}, ValueError, "finite factors, got '1'"),
        ({"total": {"east": True}}, ValueError, "finite factors, got True"),
        (["total"], TypeError, "must be a dict by composed task"),
        (None, TypeError, "must be a dict by composed task"),
        ({7: {"east": 1}}, TypeError, "use ids of one type"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_refusals(p, rules, error, words):
    with pytest.raises(error, match=words):
        PerTaskRegressor(relation=Composition(rules)).fit(p.X, p.y, task=p.task)


def test_the_inner_relation_is_checked(p):
    def fit(relation):
        PerTaskRegressor(relation=relation).fit(p.X, p.y, task=p.task)

    with pytest.raises(TypeError, match="cannot be a Composition itself"):
        fit(Composition(RULES, Composition(RULES)))
    with pytest.raises(ValueError, match="`relation` must be one of"):
        fit(Composition(RULES, "sharedmean"))
    with pytest.raises(TypeError, match="Did you forget the parentheses"):
        fit(Composition(RULES, Independent))
    with pytest.raises(ValueError, match="does not name"):
        fit(Composition(RULES, TaskGraph(ADJACENCY[:3, :3], tasks=FREE[:3])))


def test_an_empty_composition_is_its_relation(p):
    plain = PerTaskRegressor(relation="shared_mean").fit(p.X, p.y, task=p.task)
    model = PerTaskRegressor(relation=Composition({}, "shared_mean"))
    model.fit(p.X, p.y, task=p.task)
    assert_allclose(model.coef_, plain.coef_, rtol=1e-12)


# ---------------------------------------------------------------- kernels


every_machine = pytest.mark.parametrize(
    "model",
    [
        MultiTaskSVM(loss="hinge"),
        MultiTaskSVM(),
        MultiTaskSVR(loss="epsilon_insensitive", epsilon=0.1),
        MultiTaskSVR(epsilon=0.1),
    ],
    ids=lambda model: model.loss,
)


@every_machine
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ODD)
def test_kernel_machines_with_any_factors(model, kind, mode):
    p = draw(sizes=(15, 9, 12, 8, 10, 12))
    y = p.sign if isinstance(model, MultiTaskSVM) else p.y
    relation = Composition(ODD[kind][0], "shared_mean")
    linear = clone(model).set_params(relation=relation, fit_intercept=mode, tol=1e-9)
    machine = clone(linear).set_params(kernel=lambda X, Z: X @ Z.T)
    scores = []
    for one in (linear, machine):
        one.fit(p.X, y, p.weight, task=p.task)
        assert one.optimality_ <= 1e-9
        scores.append(getattr(one, "decision_function", one.predict)(p.X, task=p.task))
    assert_allclose(scores[1], scores[0], atol=2e-4)
    if kind == "zero":
        assert not scores[1][p.task == "pair"].any()


@every_machine
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "no rows"])
@pytest.mark.parametrize("mode", MODES)
def test_a_kernel_machine_says_what_the_linear_model_says(model, mode, rows):
    p = draw(sizes=(15, 9, 12, 8, 10, 12))
    keep = np.full(len(p.y), True) if rows else p.codes < 4
    y = p.sign if isinstance(model, MultiTaskSVM) else p.y
    linear = clone(model).set_params(
        relation=Composition(RULES, "shared_mean"), fit_intercept=mode, tol=1e-10
    )
    machine = clone(linear).set_params(kernel=lambda X, Z: X @ Z.T)
    tasks = np.repeat([*TASKS, "new"], len(p.X))
    X = np.tile(p.X, (7, 1))
    scores = []
    for one in (linear, machine):
        one.fit(p.X[keep], y[keep], p.weight[keep], task=p.task[keep])
        predict = getattr(one, "decision_function", one.predict)
        scores.append(predict(X, task=tasks))
    assert_allclose(scores[1], scores[0], atol=1e-5)
    table = dict(zip([*TASKS, "new"], scores[1].reshape(7, -1), strict=True))
    assert_allclose(table["pair"], table["east"] + table["north"], atol=1e-9)
