"""Relations and their forms: kernel, Omega, coordinates, ids, refusals."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from mtlearn import (
    Independent,
    PerTaskRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.relations import RELATIONS, ArrowForm, MatrixForm, check_relation

T, P = 5, 4
IDS = np.array(["a", "b", "c", "d", "e"])

NAMES = [
    *(repr(relation) for relation in RELATIONS),
    "graph",
    "sparse graph",
    "graph without edges",
    "covariance",
]


@pytest.fixture
def relation(request, adjacency, task_covariance):
    return {
        **{repr(relation): relation for relation in RELATIONS},
        "graph": TaskGraph(adjacency, strength=2.0),
        "sparse graph": TaskGraph(sp.csr_array(adjacency), strength=0.5),
        "graph without edges": TaskGraph(np.zeros((T, T))),
        "covariance": TaskCovariance(task_covariance),
    }[request.param]


every_relation = pytest.mark.parametrize("relation", NAMES, indirect=True)


def expected_kernel(relation):
    """Task kernel by `reference`."""
    if isinstance(relation, Independent):
        return reference.independent(T)
    if isinstance(relation, SharedMean):
        return reference.shared_mean(relation.correlation, T)
    if isinstance(relation, TaskGraph):
        adjacency = relation.adjacency
        dense = adjacency.toarray() if sp.issparse(adjacency) else adjacency
        return reference.graph(dense, relation.strength)
    return reference.covariance(relation.covariance)


def random_theta(form, rng):
    rows = T + 1 if isinstance(form, ArrowForm) else T
    return rng.normal(size=(rows, P))


# Kernel and Omega


@every_relation
def test_kernel_matches_the_reference_and_is_positive_semidefinite(relation):
    K = relation.kernel(T)
    assert_allclose(K, expected_kernel(relation), atol=1e-12)
    assert_array_equal(K, relation.kernel(IDS))
    assert_allclose(K, K.T, atol=1e-15)
    assert np.linalg.eigvalsh(K).min() > -1e-14


@every_relation
def test_omega_matches_the_reference(relation):
    rng = np.random.default_rng(0)
    K = relation.kernel(T)
    W = reference.factor(K) @ rng.normal(size=(np.linalg.matrix_rank(K), P))
    assert_allclose(relation.omega(W), reference.omega(W, K), rtol=1e-9)
    assert_allclose(relation.omega(W, IDS), reference.omega(W, K), rtol=1e-9)
    assert_allclose(relation.omega(-3 * W), 9 * relation.omega(W), rtol=1e-12)


def test_omega_of_rows_that_a_pooled_model_cannot_have_is_infinite():
    W = np.ones((T, P))
    assert_allclose(SharedMean(1.0).omega(W), P)
    W[0, 0] = 2.0
    assert SharedMean(1.0).omega(W) == np.inf


def test_the_mean_of_shared_mean_is_the_best_one():
    # Omega(W) = min over w0 of |w0|^2 / rho + sum |w_t - w0|^2 / (1 - rho)
    rng, rho = np.random.default_rng(1), 0.3
    W = rng.normal(size=(T, P))

    def at(w0):
        return w0 @ w0 / rho + ((W - w0) ** 2).sum() / (1 - rho)

    w0 = rho * W.sum(axis=0) / (1 - rho + T * rho)
    assert_allclose(SharedMean(rho).omega(W), at(w0), rtol=1e-12)
    assert_allclose(reference.finite_difference(at, w0), 0, atol=1e-8)


def test_the_graph_penalises_differences_of_neighbours(adjacency):
    W = np.random.default_rng(2).normal(size=(T, P))
    expected = (W**2).sum()
    for s in range(T):
        for t in range(T):
            expected += 0.5 * 3.0 * adjacency[s, t] * ((W[s] - W[t]) ** 2).sum()
    assert_allclose(TaskGraph(adjacency, 3.0).omega(W), expected, rtol=1e-12)


def test_the_diagonal_of_an_adjacency_is_ignored(adjacency):
    loops = adjacency + np.diag([5.0, 0, 1, 2, 3])
    assert_allclose(TaskGraph(loops).kernel(T), TaskGraph(adjacency).kernel(T))


# Members that coincide


@pytest.mark.parametrize("n_tasks", [1, 2, 5])
def test_the_ends_of_shared_mean_are_exact(n_tasks):
    assert_array_equal(SharedMean(0.0).kernel(n_tasks), np.eye(n_tasks))
    assert_array_equal(SharedMean(0).kernel(n_tasks), Independent().kernel(n_tasks))
    ones = np.ones((n_tasks, n_tasks))
    assert_array_equal(SharedMean(1.0).kernel(n_tasks), ones)
    assert_array_equal(check_relation("pooled").kernel(n_tasks), ones)


def test_strength_zero_is_independent(adjacency):
    assert_array_equal(TaskGraph(adjacency, 0.0).kernel(T), np.eye(T))


def test_names_are_relations():
    assert isinstance(check_relation("independent"), Independent)
    assert check_relation("shared_mean").correlation == 0.5
    assert check_relation("pooled").correlation == 1.0
    relation = SharedMean(0.2)
    assert check_relation(relation) is relation


# Forms


@every_relation
def test_lift_and_pull_are_adjoint(relation):
    rng = np.random.default_rng(3)
    form = relation.form(IDS)
    theta, G = random_theta(form, rng), rng.normal(size=(T, P))
    assert_allclose(np.vdot(form.lift(theta), G), np.vdot(theta, form.adjoint(G)))


@every_relation
def test_coordinates_lift_back_and_cost_omega(relation):
    rng = np.random.default_rng(4)
    form = relation.form(IDS)
    W = form.lift(random_theta(form, rng))
    theta = form.coordinates(W)
    assert_allclose(form.lift(theta), W, atol=1e-12)
    cost = np.vdot(theta, form.metric(theta))
    assert_allclose(cost, reference.omega(W, relation.kernel(T)), rtol=1e-9)
    assert_allclose(form.omega(W), cost, rtol=1e-12)


@every_relation
def test_lift_and_omega_as_matrices(relation):
    form = relation.form(IDS)
    theta = np.random.default_rng(0).normal(size=(form.root().shape[1], 2))
    assert_allclose(form.lift_matrix() @ theta, form.lift(theta), atol=1e-12)
    omega = np.vdot(theta, form.metric(theta))
    assert_allclose(np.sum((form.root() @ theta) ** 2), omega, rtol=1e-10)


@every_relation
def test_coordinates_are_the_cheapest(relation):
    rng = np.random.default_rng(5)
    form = relation.form(IDS)
    theta = random_theta(form, rng)
    best = form.coordinates(form.lift(theta))
    least = np.vdot(best, form.metric(best))
    assert least <= np.vdot(theta, form.metric(theta)) * (1 + 1e-12)


@every_relation
def test_coordinates_are_not_a_view(relation):
    form = relation.form(IDS)
    W = form.lift(random_theta(form, np.random.default_rng(6)))
    before = W.copy()
    form.coordinates(W)[:] = 0.0
    assert_array_equal(W, before)


@every_relation
def test_dual_norm_is_the_conjugate(relation):
    # max over theta of 2 <g, theta> - theta' M theta, M the metric
    rng = np.random.default_rng(7)
    form = relation.form(IDS)
    g = random_theta(form, rng)

    def gain(theta):
        return 2 * np.vdot(g, theta) - np.vdot(theta, form.metric(theta))

    best = g if isinstance(form, ArrowForm) else relation.kernel(T) @ g
    assert_allclose(form.metric(best), g, atol=1e-10)
    assert_allclose(form.dual_norm2(g), gain(best), rtol=1e-10)
    for _ in range(5):
        assert gain(best + 0.1 * random_theta(form, rng)) < form.dual_norm2(g)


@pytest.mark.parametrize(
    "relation", [n for n in NAMES if "1.0" not in n], indirect=True
)
def test_precision_dot_is_the_inverse_of_the_kernel(relation):
    W = np.random.default_rng(8).normal(size=(T, P))
    form = relation.form(IDS)
    assert_allclose(form.kernel() @ form.precision_dot(W), W, atol=1e-11)


def test_the_kernel_of_a_sparse_precision_is_not_formed(adjacency):
    form = TaskGraph(adjacency).form(IDS)
    assert sp.issparse(form.precision)
    g = np.random.default_rng(9).normal(size=(T, P))
    assert_allclose(form.kernel_dot(g), reference.graph(adjacency) @ g, atol=1e-12)


def test_matrix_form_without_a_kernel_is_one_with():
    A = np.array([[2.0, -1.0], [-1.0, 3.0]])
    g = np.random.default_rng(10).normal(size=(2, P))
    without, given = MatrixForm(A), MatrixForm(A, np.linalg.inv(A))
    assert_allclose(without.kernel(), given.kernel(), atol=1e-15)
    assert_allclose(without.dual_norm2(g), given.dual_norm2(g), rtol=1e-13)


# Ids


def test_tasks_give_the_order_of_the_matrix(task_covariance):
    order = np.array([3, 1, 4, 0, 2])
    mixed = TaskCovariance(task_covariance[np.ix_(order, order)], tasks=IDS[order])
    assert_array_equal(mixed.model_tasks(IDS), IDS)
    assert_allclose(mixed.kernel(IDS), task_covariance)


@pytest.mark.parametrize("kind", ["graph", "covariance"])
def test_a_frame_brings_its_own_ids(kind, adjacency, task_covariance):
    matrix = adjacency if kind == "graph" else task_covariance
    build = TaskGraph if kind == "graph" else TaskCovariance
    order = [3, 1, 4, 0, 2]
    frame = pd.DataFrame(matrix, index=IDS, columns=IDS).iloc[order, order]
    relation = build(frame)
    assert_array_equal(relation.model_tasks(IDS[:2]), IDS)
    assert_allclose(relation.kernel(IDS), build(matrix).kernel(T), atol=1e-14)


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("build", [sp.csr_array, sp.csr_matrix])
def test_a_graph_comes_in_any_sparse_format(build, format, adjacency):
    graph = build(adjacency).asformat(format)
    K = reference.graph(adjacency)
    assert_allclose(TaskGraph(graph).kernel(T), K, atol=1e-14)
    assert_allclose(TaskGraph(graph, tasks=IDS).kernel(IDS), K, atol=1e-14)


def test_ids_may_be_integers(adjacency):
    ids = np.array([30, 10, 50, 20, 40])
    relation = TaskGraph(adjacency, tasks=ids)
    sorted_ids = relation.model_tasks(np.array([10]))
    assert_array_equal(sorted_ids, np.sort(ids))
    order = np.argsort(ids)
    expected = reference.graph(adjacency)[np.ix_(order, order)]
    assert_allclose(relation.kernel(sorted_ids), expected, atol=1e-14)


@pytest.mark.parametrize("sparse", [False, True])
def test_named_sparse_and_dense_graphs_agree(sparse, adjacency):
    order = np.array([3, 1, 4, 0, 2])
    mixed = adjacency[np.ix_(order, order)]
    mixed = sp.coo_array(mixed) if sparse else mixed.tolist()
    relation = TaskGraph(mixed, tasks=list(IDS[order]))
    assert_allclose(relation.kernel(IDS), reference.graph(adjacency), atol=1e-14)


def test_relations_without_names_keep_the_tasks_of_the_data(adjacency):
    for relation in (*RELATIONS, TaskGraph(adjacency)):
        assert_array_equal(relation.model_tasks(IDS[:3]), IDS[:3])


# In a fit


def test_a_task_named_without_rows_is_in_the_model(long_regression, adjacency):
    p = long_regression
    rows = p.task != "north"
    relation = TaskGraph(adjacency, strength=2.0, tasks=p.tasks)
    model = PerTaskRegressor(relation=relation).fit(
        p.X[rows], p.y[rows], task=p.task[rows]
    )
    assert_array_equal(model.tasks_, p.tasks)
    # w_t (1 + strength degree) = strength times the sum of its neighbours
    pull = 2.0 * adjacency[2]
    assert_allclose(model.coef_[2], pull @ model.coef_ / (1 + pull.sum()), atol=1e-7)
    K = reference.graph(adjacency, 2.0)
    args = p.X[rows], p.y[rows], p.codes[rows], np.ones(rows.sum()), 1.0, K
    coef, intercept, value = reference.least_squares(*args)
    assert_allclose(model.coef_, coef, atol=1e-7)
    assert_allclose(model.intercept_[[0, 1, 3, 4]], intercept[[0, 1, 3, 4]], atol=1e-7)
    found = reference.objective("squared", model.coef_, model.intercept_, *args)
    assert_allclose(found, value, rtol=1e-9)
    # nothing determines its free intercept: it is the mean of the others'
    expected = model.intercept_[[0, 1, 3, 4]].mean()
    assert_allclose(model.intercept_[2], expected, atol=1e-12)
    assert_allclose(
        model.predict(p.X[~rows], task=p.task[~rows]),
        p.X[~rows] @ model.coef_[2] + expected,
        atol=1e-12,
    )


def test_a_task_named_without_rows_borrows_a_shrunken_intercept(
    long_regression, task_covariance
):
    p = long_regression
    rows = p.task != "north"
    relation = TaskCovariance(task_covariance, tasks=p.tasks)
    model = PerTaskRegressor(relation=relation, fit_intercept="shrunk").fit(
        p.X[rows], p.y[rows], task=p.task[rows]
    )
    args = p.X[rows], p.y[rows], p.codes[rows], np.ones(rows.sum())
    coef, intercept, _ = reference.least_squares(*args, 1.0, task_covariance, "shrunk")
    assert_allclose(model.coef_, coef, atol=1e-7)
    assert_allclose(model.intercept_, intercept, atol=1e-7)


@pytest.mark.parametrize("kind", ["graph", "covariance"])
def test_a_task_of_the_data_that_is_not_named_is_refused(
    kind, long_regression, adjacency, task_covariance
):
    p = long_regression
    names = ["east", "mid", "north", "south", "nowhere"]
    if kind == "graph":
        relation = TaskGraph(adjacency, tasks=names)
    else:
        relation = TaskCovariance(task_covariance, tasks=names)
    with pytest.raises(ValueError, match="does not name.*'west'"):
        PerTaskRegressor(relation=relation).fit(p.X, p.y, task=p.task)


def test_wide_columns_are_matched_by_name(wide_regression, adjacency):
    p = wide_regression
    names = ["v", "u", "z", "x", "y"]
    order = [3, 4, 1, 0, 2]
    Y = pd.DataFrame(p.Y, columns=names)
    frame = pd.DataFrame(adjacency, index=names, columns=names).iloc[order, order]
    named = PerTaskRegressor(relation=TaskGraph(frame)).fit(p.X, Y)
    plain = PerTaskRegressor(relation=TaskGraph(adjacency)).fit(p.X, p.Y)
    # the columns stay where they are, whatever the order of the graph
    assert named.tasks_.tolist() == names
    assert_allclose(named.coef_, plain.coef_, atol=1e-9)
    assert_allclose(named.predict(p.X), plain.predict(p.X), atol=1e-9)
    assert_allclose(named.score(p.X, Y), plain.score(p.X, p.Y))


def test_a_task_named_without_a_column_comes_after_the_columns(
    wide_regression, adjacency
):
    p = wide_regression
    names = ["v", "u", "a", "x", "y"]
    present = [0, 1, 3, 4]
    Y = pd.DataFrame(p.Y, columns=names)[[names[t] for t in present]]
    relation = TaskGraph(adjacency, 2.0, tasks=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a task without labels
        model = PerTaskRegressor(relation=relation, fit_intercept=False).fit(p.X, Y)
        holes = np.where(np.arange(T) == 2, np.nan, p.Y)
        plain = PerTaskRegressor(
            relation=TaskGraph(adjacency, 2.0), fit_intercept=False
        ).fit(p.X, holes)
    assert model.tasks_.tolist() == ["v", "u", "x", "y", "a"]
    assert_allclose(model.coef_, plain.coef_[[*present, 2]], atol=1e-9)
    assert_allclose(model.score(p.X, Y), plain.score(p.X, holes))


# Parameters and refusals


@every_relation
def test_relations_clone_pickle_and_print(relation):
    for other in (
        clone(relation),
        pickle.loads(pickle.dumps(relation)),
        copy.deepcopy(relation),
    ):
        assert type(other) is type(relation)
        assert_allclose(other.kernel(T), relation.kernel(T))
    assert type(relation).__name__ in repr(relation)


def test_parameters_are_reached_by_name(adjacency):
    relation = SharedMean().set_params(correlation=0.25)
    assert relation.get_params() == {"correlation": 0.25}
    graph = TaskGraph(adjacency)
    assert set(graph.get_params()) == {"adjacency", "strength", "tasks"}
    assert graph.set_params(strength=4.0).strength == 4.0


@pytest.mark.parametrize("correlation", [-0.1, 1.1, np.nan, "0.5", None, True, [0.5]])
def test_correlation_must_be_a_number_between_zero_and_one(correlation):
    with pytest.raises(ValueError, match=r"`correlation` of SharedMean.*\[0, 1\]"):
        SharedMean(correlation).kernel(3)


@pytest.mark.parametrize("strength", [-1.0, np.nan, np.inf, "1", None])
def test_strength_must_be_a_number_at_least_zero(strength, adjacency):
    with pytest.raises(ValueError, match="`strength` of TaskGraph.*>= 0"):
        TaskGraph(adjacency, strength=strength).kernel(T)


def broken(matrix, kind):
    matrix = np.array(matrix, dtype=float)
    if kind == "not square":
        return matrix[:, :4]
    if kind == "not symmetric":
        matrix[0, 1] += 0.5
    if kind == "NaN":
        matrix[2, 3] = matrix[3, 2] = np.nan
    if kind == "infinite":
        matrix[2, 3] = matrix[3, 2] = np.inf
    if kind == "too small":
        return matrix[:4, :4]
    if kind == "negative":
        matrix[1, 2] = matrix[2, 1] = -0.5
    if kind == "indefinite":
        return matrix - 2 * np.eye(T)
    if kind == "singular":
        return np.ones((T, T))
    if kind == "one-dimensional":
        return matrix[0]
    return matrix


@pytest.mark.parametrize(
    "kind, words",
    [
        ("not square", "must be a square matrix"),
        ("one-dimensional", "must be a square matrix"),
        ("not symmetric", "must be symmetric"),
        ("NaN", "must be finite"),
        ("infinite", "must be finite"),
        ("too small", "has 4 rows, but there are 5 tasks"),
    ],
)
@pytest.mark.parametrize("build", [TaskGraph, TaskCovariance])
def test_matrices_are_checked(build, kind, words, adjacency, task_covariance):
    matrix = adjacency if build is TaskGraph else task_covariance
    name = "adjacency" if build is TaskGraph else "covariance"
    with pytest.raises(ValueError, match=f"`{name}` of {build.__name__}.*{words}"):
        build(broken(matrix, kind)).kernel(T)


def test_negative_adjacency_is_refused(adjacency):
    for matrix in (broken(adjacency, "negative"), -sp.csr_array(adjacency)):
        with pytest.raises(ValueError, match="`adjacency` of TaskGraph.*>= 0"):
            TaskGraph(matrix).kernel(T)


@pytest.mark.parametrize("kind", ["indefinite", "singular"])
def test_a_covariance_that_is_not_positive_definite_is_refused(kind, task_covariance):
    with pytest.raises(ValueError, match="`covariance`.*positive definite"):
        TaskCovariance(broken(task_covariance, kind)).kernel(T)


@pytest.mark.parametrize("build", [TaskGraph, TaskCovariance])
def test_names_are_checked(build):
    eye = np.eye(2)
    with pytest.raises(ValueError, match="names a task twice"):
        build(eye, tasks=["a", "a"]).model_tasks(np.array(["a"]))
    with pytest.raises(ValueError, match="has 2 rows, but there are 3 tasks"):
        build(eye, tasks=["a", "b", "c"]).kernel(np.array(["a", "b", "c"]))
    frame = pd.DataFrame(eye, index=["a", "b"], columns=["b", "a"])
    with pytest.raises(ValueError, match="same tasks in its rows and columns"):
        build(frame).model_tasks(np.array(["a"]))
    with pytest.raises(TypeError, match="cannot be sorted"):
        build(eye, tasks=["a", 1]).model_tasks(np.array(["a"]))


def test_what_is_no_relation_is_refused():
    with pytest.raises(ValueError, match="`relation` must be one of.*'shared_maen'"):
        check_relation("shared_maen")
    with pytest.raises(TypeError, match="Did you forget the parentheses"):
        check_relation(SharedMean)
    with pytest.raises(TypeError, match="`relation` must be a string or a relation"):
        check_relation(0.5)
