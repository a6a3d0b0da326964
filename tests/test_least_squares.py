"""Least squares without a penalty: the fit, and of all that fit the least Omega."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import INTERCEPTS, cover
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression

from mtlearn import PerTaskRegressor, SharedMean, TaskCovariance, TaskGraph
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related.least_squares import solve_least_norm

T = 5
MODES = {"free": "free", "shrunk": "shrunk", "shared": "shared", "none": False}
RELATIONS = ["independent", "shared_mean", "pooled", "graph", "covariance"]


@pytest.fixture
def relation(request, adjacency, task_covariance):
    return {
        "independent": SharedMean(0.0),
        "shared_mean": SharedMean(0.6),
        "pooled": SharedMean(1.0),
        "graph": TaskGraph(adjacency, 2.0),
        "covariance": TaskCovariance(task_covariance),
    }[request.param]


every_relation = pytest.mark.parametrize("relation", RELATIONS, indirect=True)
every_mode = pytest.mark.parametrize("mode", MODES)


def check_least_norm(X, y, codes, weight, relation, mode, n_tasks=T):
    """The residual of `reference.least_norm`, and its Omega."""
    K, word = relation.kernel(n_tasks), MODES[mode]
    data = TaskData(X, y, n_tasks, codes, weight)
    solution = solve_least_norm(
        data, relation.form(np.arange(n_tasks)), intercept=INTERCEPTS[mode]
    )
    W, b = solution.coef, solution.intercept
    dense = X.toarray() if sp.issparse(X) else X
    args = dense, y, codes, weight
    coef, intercept, value = reference.least_norm(*args, K, word)
    found = reference.objective("squared", W, b, *args, 0.0, K, word)
    zero = 0.5 * weight @ y**2
    assert abs(found - value) <= 1e-9 * value + 1e-13 * zero
    assert abs(solution.objective - found) <= 1e-9 * value + 1e-13 * zero
    assert solution.certificate <= 1e-13
    assert solution.status is Status.CONVERGED
    penalties = [
        reference.omega(w, K)
        + (reference.intercept_penalty(c, K, word) if mode == "shrunk" else 0.0)
        for w, c in ((W, b), (coef, intercept))
    ]
    assert_allclose(*penalties, rtol=1e-6, atol=1e-12)
    return solution


def tables(p):
    """Features that leave something open, or are hard to tell apart."""
    rng = np.random.default_rng(0)
    n = len(p.X)
    X = {"plain": p.X}
    X["constant column"] = np.column_stack([p.X, np.full(n, 7.3)])
    X["zero column"] = np.column_stack([p.X, np.zeros(n)])
    X["duplicated"] = np.column_stack([p.X, p.X[:, 0]])
    X["sum of two"] = np.column_stack([p.X, p.X[:, 0] - 3 * p.X[:, 1]])
    X["wide"] = rng.normal(size=(n, 12))
    X["constant in a task"] = np.where((p.codes == 0)[:, None], 2.0, p.X)
    X["nothing in a task"] = np.where((p.codes == 0)[:, None], 0.0, p.X)
    X["one-hot"] = np.column_stack([p.X, np.eye(3)[rng.integers(3, size=n)]])
    return X


NAMES = [
    "plain",
    "constant column",
    "zero column",
    "duplicated",
    "sum of two",
    "wide",
    "constant in a task",
    "nothing in a task",
    "one-hot",
]


@pytest.mark.parametrize(
    "relation, mode, name", cover(RELATIONS, MODES, NAMES), indirect=["relation"]
)
def test_least_norm(long_regression, relation, mode, name):
    p = long_regression
    check_least_norm(tables(p)[name], p.y, p.codes, p.weight, relation, mode)


@every_mode
@every_relation
def test_more_features_than_rows_of_all_tasks(long_regression, relation, mode):
    p = long_regression
    rows = np.arange(0, len(p.y), 4)
    X = np.random.default_rng(2).normal(size=(len(rows), len(rows) + 3))
    solution = check_least_norm(
        X, p.y[rows], p.codes[rows], p.weight[rows], relation, mode
    )
    assert solution.objective < 1e-20


@every_mode
@every_relation
def test_a_task_without_rows(long_regression, relation, mode):
    p = long_regression
    rows = p.codes != 3
    check_least_norm(
        p.X[rows], p.y[rows], p.codes[rows], p.weight[rows], relation, mode
    )


@every_mode
@every_relation
def test_sparse_rows_are_dense_rows(long_regression, relation, mode):
    p = long_regression
    X = np.where(np.abs(p.X) > 0.5, p.X, 0.0)
    args = p.y, p.codes, p.weight, relation, mode
    dense = check_least_norm(X, *args)
    sparse = check_least_norm(sp.csr_array(X), *args)
    assert_allclose(sparse.coef, dense.coef, atol=1e-9)


@every_mode
@every_relation
def test_wide_layout_is_its_long_form(wide_regression, relation, mode):
    p = wide_regression
    data = TaskData(p.X, p.Y, T, None, p.weights)
    form = relation.form(np.arange(T))
    solution = solve_least_norm(data, form, intercept=INTERCEPTS[mode])
    X, y, codes, weight = reference.to_long(p.X, p.Y, p.weights)
    expected = check_least_norm(X, y, codes, weight, relation, mode)
    assert_allclose(solution.coef, expected.coef, atol=1e-8)
    assert_allclose(solution.intercept, expected.intercept, atol=1e-8)


# Exact answers


@pytest.mark.parametrize("units", [1.0, 1e3, 1e6])
@every_mode
def test_features_in_any_units_give_the_same_fit(long_regression, mode, units):
    # tasks without what is open: the fit does not depend on the units at all
    p = long_regression
    rows = p.codes != 1
    scale = units ** np.linspace(-1, 1, 5)
    args = p.y[rows], p.codes[rows], T, p.weight[rows]
    fits = []
    for X in (p.X[rows], p.X[rows] * scale):
        data = TaskData(X, args[0], T, args[1], args[3])
        form = SharedMean(0.0).form(np.arange(T))
        fits.append(solve_least_norm(data, form, intercept=INTERCEPTS[mode]))
    present = [0, 2, 3, 4]
    assert_allclose(
        (fits[1].coef * scale)[present], fits[0].coef[present], rtol=1e-8, atol=1e-10
    )
    assert_allclose(fits[1].objective, fits[0].objective, rtol=1e-10)


def test_columns_far_from_zero_with_free_intercepts(long_regression):
    p = long_regression
    X = np.round(p.X * 2**20) / 2**20
    models = [PerTaskRegressor(alpha=0).fit(Z, p.y, task=p.task) for Z in (X, X + 1e9)]
    assert_allclose(models[1].coef_, models[0].coef_, rtol=1e-6, atol=1e-8)
    assert_allclose(
        models[1].predict(X + 1e9, task=p.task),
        models[0].predict(X, task=p.task),
        atol=1e-5,
    )


def test_collinear_to_nine_digits(long_regression):
    # the second feature is told from the first by its tenth digit, but it is told
    p = long_regression
    rows = p.codes == 0
    rng = np.random.default_rng(1)
    X = p.X[rows]
    X[:, 1] = X[:, 0] + 1e-9 * rng.normal(size=rows.sum())
    w = np.array([2.0, 0.0, 1.0, -1.0, 0.5])
    model = PerTaskRegressor(alpha=0).fit(X, X @ w + 3.0)
    assert_allclose(model.predict(X), X @ w + 3.0, atol=1e-9)


def test_independent_tasks_are_ordinary_least_squares(long_regression):
    p = long_regression
    model = PerTaskRegressor(alpha=0).fit(p.X, p.y, p.weight, task=p.task)
    for t, name in enumerate(model.tasks_):
        rows = p.task == name
        ols = LinearRegression().fit(p.X[rows], p.y[rows], p.weight[rows])
        assert_allclose(model.coef_[t], ols.coef_, atol=1e-9)
        assert_allclose(model.intercept_[t], ols.intercept_, atol=1e-9)


@pytest.mark.parametrize("relation", ["shared_mean", "graph"], indirect=True)
def test_related_tasks_agree_where_the_rows_say_everything(long_regression, relation):
    p = long_regression
    rows = p.codes != 1
    data = TaskData(p.X[rows], p.y[rows], T, p.codes[rows], p.weight[rows])
    solution = solve_least_norm(data, relation.form(np.arange(T)))
    plain = solve_least_norm(data, SharedMean(0.0).form(np.arange(T)))
    present = [0, 2, 3, 4]
    assert_allclose(solution.coef[present], plain.coef[present], atol=1e-9)


@every_mode
@every_relation
def test_it_is_the_limit_of_small_strengths(long_regression, relation, mode):
    p = long_regression
    word = MODES[mode]
    args = {"relation": relation, "fit_intercept": word}
    least = PerTaskRegressor(alpha=0, **args).fit(p.X, p.y, task=p.codes)
    near = PerTaskRegressor(alpha=1e-7, **args).fit(p.X, p.y, task=p.codes)
    assert_allclose(near.coef_, least.coef_, atol=2e-5)
    assert_allclose(near.intercept_, least.intercept_, atol=2e-5)
    assert least.n_iter_ == 1
