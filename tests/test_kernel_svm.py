"""Kernel machines against their twins, against libsvm, and against linear models."""

import copy
import pickle
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from cases import (
    LAYOUTS,
    MODES,
    RELATIONS,
    WEIGHTS,
    C,
    Case,
    cover,
    signs,
    wide_multiclass,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels, rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC, SVR
from sklearn.utils import get_tags

from mtlearn import MultiTaskSVM, MultiTaskSVR, SharedMean, TaskGraph
from mtlearn.constraints import NonNegative

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

EPSILON = 0.3
HINGES = ("hinge", "squared_hinge")
TUBES = ("epsilon_insensitive", "squared_epsilon_insensitive")
GAMMA = 0.3


def machine(loss, **params):
    """The estimator of a loss, with a kernel."""
    params = {"kernel": "rbf", "gamma": GAMMA, "C": C, **params}
    if loss in HINGES:
        return MultiTaskSVM(loss=loss, **params)
    return MultiTaskSVR(loss=loss, epsilon=EPSILON, **params)


def scores(model, X, **keywords):
    """Real scores of a classifier or regressor."""
    name = "decision_function" if hasattr(model, "decision_function") else "predict"
    return getattr(model, name)(X, **keywords)


def check_machine(model, case, mode, loss, k=None):
    """Predictions follow from the dual; the objective is the twin's, and certified."""
    X, y, codes, weight = case.rows
    y = signs(y) if loss in HINGES else y
    k = rbf_kernel(X, gamma=GAMMA) if k is None else k
    f, beta = scores(model, case.X, **case.predict), np.zeros(len(y))
    if f.ndim == 2:
        place = observed(case)
        table = np.zeros(f.T.shape)
        table[:, model.support_] = model.dual_coef_
        f, beta = f[place], table.T[place]
    else:
        beta[model.support_] = model.dual_coef_[0]
    G = reference.kernel_gram(k, codes, case.K, mode)
    seen = weight > 0
    assert not beta[~seen].any()
    plain = reference.kernel_gram(k, codes, case.K)
    assert_allclose(f, plain @ beta + model.intercept_[codes], atol=1e-9)
    args = y[seen], weight[seen], EPSILON
    inner = G[np.ix_(seen, seen)]
    ends = reference.kernel_ends(codes[seen], 5, mode)
    _, value = reference.kernel_twin(loss, inner, ends, *args)
    found = reference.kernel_objective(loss, f[seen], beta[seen], inner, *args)
    zero = reference.kernel_objective(loss, 0 * f[seen], 0 * beta[seen], inner, *args)
    slack = 1e-8 * zero
    assert found - value >= -slack
    assert found - value <= model.optimality_ * zero + slack
    assert model.optimality_ <= model._tolerance()


def observed(case):
    """(rows, tasks) of the long form of a wide case, in its order."""
    seen = ~np.isnan(case.y)
    weight = case.fit.get("sample_weight")
    if weight is not None:
        seen &= (weight if weight.ndim == 2 else weight[:, None]) > 0
    tasks, rows = np.nonzero(seen.T)
    return rows, tasks


# ---------------------------------------------------------------- against the twins


@pytest.mark.parametrize(
    "loss, name, layout, mode, weights",
    cover(HINGES, RELATIONS, LAYOUTS, MODES, WEIGHTS),
)
def test_classifier(
    long_classification,
    wide_classification,
    matrices,
    loss,
    name,
    layout,
    mode,
    weights,
):
    case = Case(
        long_classification, wide_classification, name, layout, weights, matrices, C
    )
    model = machine(loss, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    check_machine(model, case, mode, loss)


@pytest.mark.parametrize(
    "loss, name, layout, mode, weights",
    cover(TUBES, RELATIONS, LAYOUTS, MODES, WEIGHTS),
)
def test_regressor(
    long_regression, wide_regression, matrices, loss, name, layout, mode, weights
):
    case = Case(long_regression, wide_regression, name, layout, weights, matrices, C)
    model = machine(loss, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    check_machine(model, case, mode, loss)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
@pytest.mark.parametrize("strength", [1e-3, 1e3])
def test_weak_and_strong(
    long_classification, long_regression, matrices, loss, mode, strength
):
    p = long_classification if loss in HINGES else long_regression
    case = Case(p, None, "SharedMean(0.6)", "task", "rows", matrices, strength)
    model = machine(loss, fit_intercept=mode, **case.params, C=strength)
    model.fit(case.X, case.y, **case.fit)
    check_machine(model, case, mode, loss)


@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
@pytest.mark.parametrize("layout", ["task", "wide"])
@pytest.mark.parametrize(
    "kernel, params",
    [
        ("poly", {"degree": 2, "coef0": 1.0}),
        ("poly", {"degree": 3, "coef0": 0.5, "gamma": "auto"}),
        ("rbf", {"gamma": "scale"}),
        (lambda X, Z: 1.0 + X @ Z.T, {}),
    ],
    ids=["square", "cube", "scale", "function"],
)
def test_other_kernels(
    long_classification,
    wide_classification,
    long_regression,
    wide_regression,
    matrices,
    loss,
    layout,
    kernel,
    params,
):
    pair = long_classification, wide_classification
    if loss in TUBES:
        pair = long_regression, wide_regression
    case = Case(*pair, "graph", layout, "rows", matrices, C)
    model = machine(loss, kernel=kernel, **params, **case.params)
    model.fit(case.X, case.y, **case.fit)
    X = case.rows[0]
    # a weight of two is two rows, one of zero none
    weight = case.fit["sample_weight"]
    mean = np.average(case.X, axis=0, weights=weight).mean()
    spread = np.average((case.X - mean) ** 2, axis=0, weights=weight)
    scale = spread.mean() * X.shape[1]
    if params.get("gamma", GAMMA) != GAMMA:
        params = {
            **params,
            "gamma": 1 / {"scale": scale, "auto": X.shape[1]}[params["gamma"]],
        }
    else:
        params = {"gamma": GAMMA, **params}
    known = {} if callable(kernel) else params
    k = pairwise_kernels(X, metric=kernel, **known) if known else kernel(X, X)
    check_machine(model, case, True, loss, k)


# ---------------------------------------------------------------- against libsvm


@pytest.mark.filterwarnings("ignore:.* ties tasks, but")
@pytest.mark.parametrize("relation", ["independent", "shared_mean", "pooled"])
@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid"])
def test_one_task_is_an_svc(long_classification, relation, kernel):
    p = long_classification
    params = {"kernel": kernel, "gamma": 0.05, "coef0": 0.1, "C": C}
    svc = SVC(tol=1e-10, **params).fit(p.X, p.y, p.weight)
    model = MultiTaskSVM(loss="hinge", relation=relation, tol=1e-12, **params)
    model.fit(p.X, p.y, p.weight)
    assert_allclose(model.decision_function(p.X), svc.decision_function(p.X), atol=1e-5)
    assert_allclose(model.intercept_, svc.intercept_, atol=1e-5)
    order = np.argsort(svc.support_)
    assert_array_equal(model.support_, svc.support_[order])
    assert_allclose(model.dual_coef_, svc.dual_coef_[:, order], atol=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "poly"])
def test_one_task_is_an_svr(long_regression, kernel):
    p = long_regression
    params = {"kernel": kernel, "gamma": "scale", "coef0": 0.1, "C": C}
    svr = SVR(tol=1e-10, epsilon=EPSILON, **params).fit(p.X, p.y)
    model = MultiTaskSVR(
        loss="epsilon_insensitive", epsilon=EPSILON, tol=1e-12, **params
    )
    model.fit(p.X, p.y)
    assert_allclose(model.predict(p.X), svr.predict(p.X), atol=1e-4)


def test_independent_tasks_are_machines_of_their_own(long_classification):
    p = long_classification
    params = {"kernel": "rbf", "gamma": 0.2, "C": 2.0}
    model = MultiTaskSVM(loss="hinge", relation="independent", tol=1e-12, **params)
    model.fit(p.X, p.y, task=p.task)
    f = model.decision_function(p.X, task=p.task)
    for t, task in enumerate(p.tasks):
        own = p.task == task
        if len(set(p.y[own])) == 1:
            # nothing to decide: no part of its own, and every row beyond its margin
            assert not np.isin(np.flatnonzero(own), model.support_).any()
            assert_allclose(model.intercept_[t], 1.0)
            continue
        svc = SVC(tol=1e-10, **params).fit(p.X[own], p.y[own])
        assert_allclose(f[own], svc.decision_function(p.X[own]), atol=1e-5)


def test_shared_intercept_is_an_svc_on_the_multitask_gram(long_classification):
    p = long_classification
    K = SharedMean(0.6).kernel(5)
    G = rbf_kernel(p.X, gamma=0.2) * K[np.ix_(p.codes, p.codes)]
    svc = SVC(kernel="precomputed", C=3.0, tol=1e-10).fit(G, p.y)
    model = MultiTaskSVM(3.0, SharedMean(0.6), "hinge", "rbf", gamma=0.2, tol=1e-12)
    model.set_params(fit_intercept="shared").fit(p.X, p.y, task=p.task)
    f = model.decision_function(p.X, task=p.task)
    assert_allclose(f, svc.decision_function(G), atol=1e-5)


# ---------------------------------------------------------------- against linear models


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "pooled", "graph", "covariance"])
@pytest.mark.parametrize("layout", ["task", "wide"])
@pytest.mark.parametrize("loss", ["squared_hinge", "squared_epsilon_insensitive"])
def test_inner_products_give_the_linear_model(
    long_classification,
    wide_classification,
    long_regression,
    wide_regression,
    matrices,
    loss,
    mode,
    name,
    layout,
):
    pair = long_classification, wide_classification
    if loss in TUBES:
        pair = long_regression, wide_regression
    case = Case(*pair, name, layout, "rows", matrices, C)
    params = {"fit_intercept": mode, "tol": 1e-12, **case.params}
    linear = machine(loss, kernel="linear", **params)
    linear.fit(case.X, case.y, **case.fit)
    model = machine(loss, kernel="precomputed", **params)
    model.fit(case.X @ case.X.T, case.y, **case.fit)
    # an intercept may be anything in an interval; the rest is unique
    new, tasks = np.random.default_rng(0).normal(size=case.X.shape), slice(None)
    if layout == "task":
        tasks = np.searchsorted(np.unique(case.predict["task"]), case.predict["task"])
    slopes = [
        scores(one, X, **case.predict) - one.intercept_[tasks]
        for one, X in [(model, new @ case.X.T), (linear, new)]
    ]
    assert_allclose(*slopes, atol=1e-4)
    if mode is not True:
        assert_allclose(model.intercept_, linear.intercept_, atol=1e-4)


# ---------------------------------------------------------------- the same data twice


@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
@pytest.mark.parametrize("mode", MODES)
def test_both_layouts_are_one_problem(wide_complete, mode, loss):
    Y = wide_complete.Y
    Y = np.where(np.median(Y, axis=0) < Y, 1, 0) if loss in HINGES else Y
    n, n_tasks = Y.shape
    wide = machine(loss, fit_intercept=mode, tol=1e-10).fit(wide_complete.X, Y)
    X, task = np.tile(wide_complete.X, (n_tasks, 1)), np.repeat(np.arange(n_tasks), n)
    long = machine(loss, fit_intercept=mode, tol=1e-10)
    long.fit(X, Y.T.ravel(), task=task)
    f = scores(long, X, task=task).reshape(n_tasks, n).T
    assert_allclose(scores(wide, wide_complete.X), f, atol=1e-5)
    assert wide.dual_coef_.shape == (n_tasks, len(wide.support_))
    assert long.dual_coef_.shape == (1, len(long.support_))


@pytest.mark.parametrize("kernel", ["rbf", "poly"])
@pytest.mark.parametrize("layout", ["task", "wide"])
def test_sparse_is_dense(
    long_classification, wide_classification, matrices, kernel, layout
):
    pair = long_classification, wide_classification
    case = Case(*pair, "graph", layout, "rows", matrices)
    X = np.where(np.abs(case.X) > 0.5, case.X, 0.0)
    params = {"kernel": kernel, "coef0": 0.3, "gamma": "scale", **case.params}
    dense = MultiTaskSVM(**params).fit(X, case.y, **case.fit)
    sparse = MultiTaskSVM(**params).fit(sp.csr_array(X), case.y, **case.fit)
    assert_allclose(
        scores(sparse, sp.csr_array(X), **case.predict),
        scores(dense, X, **case.predict),
        atol=1e-9,
    )
    assert sp.issparse(sparse._support)
    assert_array_equal(sparse.support_, dense.support_)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
def test_precomputed_is_rbf(
    long_classification, wide_classification, matrices, layout, build
):
    pair = long_classification, wide_classification
    case = Case(*pair, "SharedMean(0.6)", layout, "rows", matrices)
    X = np.asarray(case.X.drop(columns="school")) if layout == "column" else case.X
    k = rbf_kernel(X, gamma=GAMMA)
    new = np.random.default_rng(0).normal(size=(7, X.shape[1]))
    k_new, task = rbf_kernel(new, X, gamma=GAMMA), {}
    known, given, k_given = new, k_new, k
    if layout == "task":
        task = {"task": np.array(["mid", "new", "east", "west", "mid", "mid", "south"])}
    if layout == "column":
        if build is not np.asarray:
            pytest.skip("sparse rows with string ids in a column do not exist")
        ids = ["mid", "new", "east", "west", "mid", "mid", "south"]
        known = pd.DataFrame(new, columns=list("abcde"))
        known.insert(2, "school", ids)
        names = [f"k{i}" for i in range(len(k))]
        given = pd.DataFrame(k_new, columns=names).assign(school=ids)
        k_given = pd.DataFrame(k, columns=names).assign(school=case.X["school"])
    else:
        given, k_given = build(k_new), build(k)
    rbf = machine("hinge", tol=1e-12, **case.params).fit(case.X, case.y, **case.fit)
    pre = machine("hinge", tol=1e-12, kernel="precomputed", **case.params)
    pre.fit(k_given, case.y, **case.fit)
    assert_array_equal(pre.support_, rbf.support_)
    assert_allclose(scores(pre, given, **task), scores(rbf, known, **task), atol=1e-5)


def test_support_holds_the_row_numbers_of_the_caller(long_classification):
    p = long_classification
    p.weight[::3] = 0.0
    model = machine("hinge", task_weight={"east": 0.0})
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels"):
        model.fit(p.X, p.y, p.weight, task=p.task)
    seen = (p.weight > 0) & (p.task != "east")
    assert seen[model.support_].all()
    assert_array_equal(model._support, p.X[model.support_])
    east = model.decision_function(p.X, task=["east"] * len(p.X))
    others = [
        model.decision_function(p.X, task=[t] * len(p.X))
        for t in p.tasks
        if t != "east"
    ]
    assert_allclose(east, np.mean(others, axis=0))


def test_a_task_of_weight_zero_in_a_graph(long_classification, adjacency):
    p = long_classification
    graph = TaskGraph(adjacency, tasks=p.tasks)
    for loss in HINGES:
        weighed = machine(loss, relation=graph, task_weight={"east": 0.0})
        weighed.fit(p.X, p.y, task=p.task)
        absent = machine(loss, relation=graph)
        rest = p.task != "east"
        absent.fit(p.X[rest], p.y[rest], task=p.task[rest])
        assert_allclose(
            scores(weighed, p.X, task=p.task),
            scores(absent, p.X, task=p.task),
            atol=1e-6,
        )


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
def test_three_classes_are_one_against_the_rest(
    long_multiclass, matrices, mode, layout
):
    wide = wide_multiclass(long_multiclass)
    case = Case(long_multiclass, wide, "SharedMean(0.6)", layout, "rows", matrices, C)
    model = machine("hinge", fit_intercept=mode, tol=1e-10, **case.params)
    model.fit(case.X, case.y, **case.fit)
    assert model.intercept_.shape == (5, 3)
    n_support = len(model.support_)
    if layout == "wide":
        assert model.dual_coef_.shape == (5, 3, n_support)
    else:
        assert model.dual_coef_.shape == (3, n_support)
    f = model._scores(case.X, case.predict.get("task"))[0]
    for k, label in enumerate("abc"):
        if layout == "wide":
            y = np.where(case.y == label, 1.0, 0.0)
            y[pd.isna(case.y)] = np.nan
        else:
            y = (case.y == label).astype(int)
        one = machine("hinge", fit_intercept=mode, tol=1e-10, **case.params)
        one.fit(case.X, y, **case.fit)
        assert_allclose(f[..., k], scores(one, case.X, **case.predict), atol=1e-4)


def test_classes_share_one_gram(long_multiclass, monkeypatch):
    p, asked = long_multiclass, []

    def kernel(X, Z):
        asked.append((len(X), len(Z)))
        return rbf_kernel(X, Z, gamma=0.2)

    MultiTaskSVM(kernel=kernel, loss="hinge").fit(p.X, p.y, task=p.task)
    # once for the diagonal, once for the rows; never again for another class
    n = len(p.y)
    assert asked == [(n, n), (n, n)]


@pytest.mark.parametrize("loss", HINGES)
def test_class_weights_multiply_the_rows(long_classification, loss):
    p = long_classification
    weight = np.where(p.y == "yes", 3.0, 1.0)
    one = machine(loss, class_weight={"yes": 3.0}).fit(p.X, p.y, task=p.task)
    two = machine(loss).fit(p.X, p.y, weight, task=p.task)
    assert_array_equal(one.dual_coef_, two.dual_coef_)


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("loss", HINGES)
@pytest.mark.parametrize("mode", MODES)
def test_tiny_problems(loss, mode):
    X, y, task = [[0.0], [1.0]], [0, 1], ["a", "b"]
    model = machine(loss, fit_intercept=mode).fit(X, y, task=task)
    assert np.isfinite(model.intercept_).all()
    if mode in (True, "shrunk"):
        assert_array_equal(model.predict(X, task=task), y)
    one = machine(loss, fit_intercept=mode).fit([[0.0], [1.0]], [0, 1])
    assert_array_equal(one.predict([[-1.0], [2.0]]), [0, 1])


@pytest.mark.parametrize("loss", TUBES)
def test_a_tube_around_every_label_leaves_nothing_to_do(long_regression, loss):
    p = long_regression
    model = machine(loss).set_params(epsilon=1e3).fit(p.X, p.y, task=p.task)
    assert model.support_.size == 0 and model.dual_coef_.shape == (1, 0)
    f = model.predict(p.X, task=p.task)
    assert np.isfinite(f).all() and (np.abs(f - p.y) <= 1e3).all()


@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
def test_constant_features_and_repeated_rows(
    long_classification, long_regression, loss
):
    p = long_classification if loss in HINGES else long_regression
    X = np.ones_like(p.X)
    model = machine(loss, gamma="scale", C=100.0).fit(X, p.y, task=p.task)
    assert np.isfinite(scores(model, X, task=p.task)).all()
    twice = machine(loss, tol=1e-10).fit(
        np.r_[p.X, p.X], np.r_[p.y, p.y], task=np.r_[p.task, p.task]
    )
    heavy = machine(loss, tol=1e-10).fit(p.X, p.y, 2.0 * np.ones(len(p.y)), task=p.task)
    assert_allclose(
        scores(twice, p.X, task=p.task), scores(heavy, p.X, task=p.task), atol=1e-4
    )


@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
def test_the_mean_of_the_tasks_for_an_unknown_one(
    long_classification, long_regression, loss
):
    p = long_classification if loss in HINGES else long_regression
    model = machine(loss).fit(p.X, p.y, task=p.task)
    known = [scores(model, p.X, task=[t] * len(p.X)) for t in p.tasks]
    new = scores(model, p.X, task=["new"] * len(p.X))
    assert_allclose(new, np.mean(known, axis=0), atol=1e-12)
    assert_allclose(model.shared_intercept_, model.intercept_.mean())
    model.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match="belong to tasks that fit never saw"):
        model.predict(p.X, task=["new"] * len(p.X))


@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
def test_many_tasks(loss):
    rng = np.random.default_rng(0)
    n, n_tasks = 2500, 2000
    task, X = rng.integers(n_tasks, size=n), rng.normal(size=(n, 3))
    y = X[:, 0] + 0.1 * rng.normal(size=n)
    y = np.where(y > 0, 1, 0) if loss in HINGES else y
    model = machine(loss, fit_intercept="shrunk", relation=SharedMean(0.9))
    model.fit(X, y, task=task)
    assert model.score(X, y, task=task) > 0.8
    free = machine(loss, relation=SharedMean(0.9)).fit(X, y, task=task)
    assert free.optimality_ <= free._tolerance()


def test_sigmoid_ends_sanely(long_classification, long_regression):
    for gamma, coef0 in product((0.01, 1.0), (-1.0, 0.0, 1.0)):
        for loss in (*HINGES, *TUBES):
            p = long_classification if loss in HINGES else long_regression
            params = {"kernel": "sigmoid", "gamma": gamma, "coef0": coef0}
            model = machine(loss, **params)
            try:
                model.fit(p.X, p.y, task=p.task)
            except ConvergenceWarning:
                continue
            assert np.isfinite(scores(model, p.X, task=p.task)).all()


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("layout", ["task", "wide"])
@pytest.mark.parametrize("loss", [*HINGES, *TUBES])
def test_few_rows_in_memory_give_the_same(matrices, loss, layout, monkeypatch):
    rng = np.random.default_rng(0)
    n, n_tasks = 700, 3
    X, task = rng.normal(size=(n, 4)), rng.integers(n_tasks, size=n)
    f = np.sin(2 * X[:, :1]) + 0.3 * np.arange(n_tasks) + rng.normal(size=(n, 1)) / 2
    f = np.where(f > 0.3, 1.0, 0.0) if loss in HINGES else f
    y, keywords = (
        (f, {}) if layout == "wide" else (f[np.arange(n), task], {"task": task})
    )
    model = machine(loss, tol=1e-8).fit(X, y, **keywords)
    expected = scores(model, X, **keywords)
    monkeypatch.setattr(MultiTaskSVM, "_gram_bytes", 1000)
    monkeypatch.setattr(MultiTaskSVR, "_gram_bytes", 1000)
    little = machine(loss, tol=1e-8).fit(X, y, **keywords)
    assert_allclose(scores(little, X, **keywords), expected, atol=2e-3)
    assert little.optimality_ <= 1e-8


def test_predictions_by_blocks(long_classification, monkeypatch):
    p = long_classification
    model = machine("hinge").fit(p.X, p.y, task=p.task)
    expected = model.decision_function(p.X, task=p.task)
    monkeypatch.setattr("mtlearn.fitting.machine._BLOCK", 5 * len(model.support_))
    assert_allclose(model.decision_function(p.X, task=p.task), expected, atol=1e-12)


# ---------------------------------------------------------------- as an estimator


def test_what_a_machine_keeps(long_classification):
    p = long_classification
    model = MultiTaskSVM().fit(p.X, p.y, task=p.task)
    assert hasattr(model, "coef_") and not hasattr(model, "support_")
    model.set_params(kernel="rbf").fit(p.X, p.y, task=p.task)
    for name in ("coef_", "shared_coef_"):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match="only available with kernel='linear'"):
            getattr(model, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        model.nonsense  # noqa: B018
    model.set_params(kernel="linear").fit(p.X, p.y, task=p.task)
    linear = MultiTaskSVM().fit(p.X, p.y, task=p.task)
    assert vars(model).keys() == vars(linear).keys()
    assert_array_equal(
        model.predict(p.X, task=p.task), linear.predict(p.X, task=p.task)
    )


@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
@pytest.mark.parametrize("kernel", ["rbf", "precomputed"])
def test_copies_predict_the_same(long_classification, duplicate, kernel):
    if duplicate == "pickle":

        def duplicate(model):
            return pickle.loads(pickle.dumps(model))

    p = long_classification
    X = p.X if kernel == "rbf" else p.X @ p.X.T
    model = machine("hinge", kernel=kernel).fit(X, p.y, task=p.task)
    f = model.decision_function(X, task=p.task)
    assert_array_equal(duplicate(model).decision_function(X, task=p.task), f)
    assert not hasattr(clone(model), "support_")


def test_a_fitted_model_is_small(long_regression):
    p = long_regression
    big = np.random.default_rng(0).normal(size=(3000, 5))
    y = np.r_[p.y, np.zeros(3000)]
    model = machine("epsilon_insensitive").set_params(epsilon=0.5)
    model.fit(np.r_[p.X, big], y, task=np.r_[p.task, np.full(3000, "east")])
    assert len(model.support_) < 1500
    assert len(pickle.dumps(model)) < 100 * len(model.support_) + 10_000


def test_grid_search(long_classification):
    p = long_classification
    df = pd.DataFrame(p.X, columns=list("abcde")).assign(school=p.task)
    grid = {
        "C": [0.1, 10.0],
        "gamma": [0.01, "scale"],
        "relation__correlation": [0.3, 1],
    }
    model = MultiTaskSVM(
        kernel="rbf", relation=SharedMean(), task_column="school", loss="hinge"
    )
    search = GridSearchCV(model, grid, cv=3).fit(df, p.y)
    assert search.best_score_ > 0.6
    k = rbf_kernel(p.X, gamma=0.1)
    search = GridSearchCV(MultiTaskSVM(kernel="precomputed"), {"C": [0.1, 1.0]}, cv=3)
    assert search.fit(k, p.y).best_score_ > 0.5


def test_pairwise_only_where_rows_and_columns_are_the_same():
    assert get_tags(MultiTaskSVM(kernel="precomputed")).input_tags.pairwise
    assert not get_tags(MultiTaskSVM(kernel="rbf")).input_tags.pairwise
    assert not get_tags(MultiTaskSVR(kernel=np.dot)).input_tags.pairwise
    model = MultiTaskSVM(kernel="precomputed", task_column="school")
    assert not get_tags(model).input_tags.pairwise


def test_out_of_iterations_warns(long_classification):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    y = (X[:, 0] + rng.normal(size=1500) > 0).astype(int)
    model = MultiTaskSVM(1e4, loss="hinge", kernel="rbf", max_iter=1)
    with pytest.warns(ConvergenceWarning, match="did not converge in 1 iterations"):
        model.fit(X, y)
    assert model.n_iter_ == 1 and np.isfinite(model.decision_function(X)).all()


def test_verbose_prints(long_classification, capsys):
    p = long_classification
    machine("hinge", verbose=1).fit(p.X, p.y, task=p.task)
    assert "MultiTaskSVM: step 0, objective" in capsys.readouterr().out


# ---------------------------------------------------------------- bad input

BAD = SimpleNamespace(X=np.zeros((4, 2)), y=[0, 1, 0, 1])


@pytest.mark.parametrize(
    "params, error, words",
    [
        ({"kernel": "rfb"}, ValueError, "`kernel` must be one of .*got 'rfb'"),
        ({"gamma": "wide"}, ValueError, "`gamma` must be one of .*got 'wide'"),
        ({"gamma": -1.0}, ValueError, "`gamma` must be .*got -1.0"),
        ({"degree": -1}, ValueError, "`degree` must be .*got -1"),
        ({"coef0": "one"}, TypeError, "`coef0` must be .*got 'one'"),
        (
            {"solver": "newton-cg"},
            ValueError,
            "`solver`='newton-cg' is for",
        ),
        ({"constraints": [NonNegative()]}, ValueError, "need the linear kernel, got"),
        ({"loss": "hinges"}, ValueError, "`loss` must be one of"),
        ({"kernel": lambda X, Z: np.zeros((3, 3))}, ValueError, "expected shape"),
        ({"kernel": lambda X, Z: (X @ Z.T).astype(str)}, ValueError, "real numbers"),
        ({"kernel": lambda X, Z: X @ Z.T * np.nan}, ValueError, "not finite"),
    ],
    ids=[
        "kernel",
        "gamma",
        "negative gamma",
        "degree",
        "coef0",
        "solver",
        "constraints",
        "loss",
        "shape",
        "text",
        "nan",
    ],
)
def test_bad_parameters(params, error, words):
    for estimator in (MultiTaskSVM, MultiTaskSVR):
        model = estimator(**{"kernel": "rbf", **params})
        with pytest.raises(error, match=words):
            model.fit(BAD.X + np.arange(4)[:, None], BAD.y)


def test_powers_that_overflow():
    X = 1e3 * np.arange(8.0).reshape(4, 2)
    model = MultiTaskSVM(kernel="poly", degree=100, gamma=1.0)
    with pytest.raises(ValueError, match="'poly' gives values that are not finite"):
        model.fit(X, BAD.y)


def test_precomputed_of_the_wrong_shape():
    model = MultiTaskSVM(kernel="precomputed")
    with pytest.raises(ValueError, match=r"square matrix .* got shape \[4, 2\]"):
        model.fit(BAD.X, BAD.y)
    model.fit(np.eye(4), BAD.y)
    with pytest.raises(ValueError, match="is expecting 4 features"):
        model.predict(np.zeros((2, 3)))
    k = np.eye(4)
    k[0, 0] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(k, BAD.y)


# ---------------------------------------------------------------- open intercepts


def symmetric(seed):
    """Few rows on a grid, each with its mirror image: ties, and open intercepts."""
    rng = np.random.default_rng(seed)
    A = rng.integers(-2, 3, size=(rng.integers(2, 7), rng.integers(1, 3)))
    y = rng.integers(-2, 3, size=len(A))
    C, epsilon = rng.choice([0.01, 0.1, 1.0, 10.0]), rng.choice([0.0, 0.1, 0.5])
    return np.vstack([A, -A]).astype(float), np.append(y, -y) + 3.0, C, epsilon


every_kernel = pytest.mark.parametrize(
    "kernel", ["linear", lambda X, Z: X @ Z.T], ids=["linear", "machine"]
)


@every_kernel
@pytest.mark.parametrize("mode", [True, "shared"])
def test_an_open_intercept_is_the_middle_as_in_libsvm(kernel, mode):
    for seed in [2, *range(20, 50)]:
        X, y, C, epsilon = symmetric(seed)
        model = MultiTaskSVR(
            C=C,
            epsilon=epsilon,
            loss="epsilon_insensitive",
            kernel=kernel,
            fit_intercept=mode,
            tol=1e-10,
        ).fit(X, y)
        svr = SVR(kernel="linear", C=C, epsilon=epsilon, tol=1e-9).fit(X, y)
        assert model.optimality_ <= 1e-10
        assert_allclose(model.predict(X), svr.predict(X), atol=1e-3)


@every_kernel
def test_each_task_has_the_middle_of_its_own_interval(kernel):
    # with hardly any slope the median of an even number of labels is open
    rng = np.random.default_rng(0)
    y, task = rng.integers(0, 9, 24).astype(float), np.repeat([0, 1, 2], 8)
    X = rng.standard_normal((24, 2))
    model = MultiTaskSVR(
        C=1e-9, epsilon=0.0, loss="epsilon_insensitive", kernel=kernel
    ).fit(X, y, task=task)
    medians = [np.median(y[task == t]) for t in range(3)]
    assert_allclose(model.intercept_, medians, atol=1e-6)


@every_kernel
def test_where_one_end_is_infinite_the_other_is_taken(kernel):
    X = np.arange(8.0)[:, None] / 8
    y, task = np.array([1, -1, 1, -1, 1, 1, 1, 1]), np.repeat([0, 1], 4)
    model = MultiTaskSVM(loss="hinge", kernel=kernel, tol=1e-10).fit(X, y, task=task)
    least = scores(model, X[4:], task=task[4:]).min()
    assert_allclose(least, 1.0, atol=1e-6)
