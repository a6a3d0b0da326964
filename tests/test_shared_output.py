"""An input layer per task below a shared output layer: twin, data, classes, tasks."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from cases import (
    INTERCEPTS,
    LAYOUTS,
    MODES,
    WEIGHTS,
    Case,
    cover,
    learnt,
    positions,
    signs,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtlearn import (
    SharedMappingClassifier,
    SharedMappingClassifierCV,
    SharedMappingRegressor,
)
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.mapping import own_layers
from mtlearn.solvers.mapping.layers import ACTIVATIONS
from mtlearn.solvers.mapping.solve import _build, solve_mapping

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

LOSSES = ("squared", "logistic", "softmax")
ESTIMATORS = (SharedMappingRegressor, SharedMappingClassifier)
ALPHA = 0.5
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def make(estimator, hidden=(3,), **params):
    """A small model that is the same every time."""
    given = {"alpha": ALPHA, "shared": "output", "random_state": 0, **params}
    return estimator(hidden, **given)


def outputs(model, X, **ids):
    """Predictions before they are rounded to labels."""
    if hasattr(model, "decision_function"):
        return model.decision_function(X, **ids)
    return model.predict(X, **ids)


@pytest.fixture
def problems(
    long_regression,
    wide_regression,
    long_classification,
    wide_classification,
    long_multiclass,
):
    """(estimator, long problem, wide problem, labels for `reference`) by loss."""
    long, wide = long_classification, wide_classification
    return {
        "squared": (
            SharedMappingRegressor,
            long_regression,
            wide_regression,
            np.asarray,
        ),
        "logistic": (SharedMappingClassifier, long, wide, signs),
        "softmax": (SharedMappingClassifier, long_multiclass, None, positions),
    }


@pytest.fixture
def p(request, long_regression, long_classification):
    """The long problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return (
        long_regression if estimator is SharedMappingRegressor else long_classification
    )


@pytest.fixture
def wide(request, wide_regression, wide_classification):
    """The wide problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return (
        wide_regression if estimator is SharedMappingRegressor else wide_classification
    )


# ---------------------------------------------------------------- against the twin


@pytest.mark.parametrize(
    "loss, layout, mode, weights", cover(LOSSES[:2], LAYOUTS, MODES, WEIGHTS)
)
def test_the_twin(problems, loss, layout, mode, weights):
    estimator, long, wide, labels = problems[loss]
    case = Case(long, wide, "independent", layout, weights, (None, None))
    del case.params["relation"]
    model = make(estimator, fit_intercept=mode, tol=1e-4, **case.params)
    model.fit(case.X, case.y, **case.fit)
    X, y, codes, weight = case.rows
    kept = weight > 0
    rows = X[kept], labels(y)[kept], codes[kept], weight[kept]
    args = "tanh", *rows, ALPHA, mode
    value = reference.shared_output_objective(
        loss, model.coefs_, model.intercepts_, *args
    )
    assert_allclose(model.loss_, value, rtol=1e-8)
    assert 0 <= model.optimality_ <= model.tol
    assert (np.diff(model.loss_curve_) <= 0).all()
    shapes = [part.shape for part in [*model.coefs_, *model.intercepts_]]
    assert shapes == [(5, X.shape[1], 3), (3, 1), (5, 3), (1,)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_twin_of_several_classes(long_multiclass, activation):
    p = long_multiclass
    model = make(SharedMappingClassifier, activation=activation, tol=1e-4)
    model.set_params(fit_intercept="shrunk", intercept_strength=2.0)
    model.fit(p.X, p.y, task=p.task)
    rows = p.X, positions(p.y), p.codes, np.ones(len(p.y))
    value = reference.shared_output_objective(
        "softmax",
        model.coefs_,
        model.intercepts_,
        activation,
        *rows,
        ALPHA,
        "shrunk",
        2.0,
    )
    assert_allclose(model.loss_, value, rtol=1e-8)
    # every task knows all classes, those that it does not have among them
    assert_allclose(model.predict_proba(p.X, task=p.task).sum(axis=1), 1)
    assert (model.predict_proba(p.X, task=p.task) > 0).all()
    assert all(own.tolist() == list(model.classes_) for own in model.task_classes_)


def network(p, mode, activation="tanh", solver="lbfgs", labels=None, own=None):
    """The function that is minimised, and the units of its features."""
    y = p.y if labels is None else labels
    data = TaskData(np.ascontiguousarray(p.X), y, 5, p.codes, p.weight)
    problem = data, own, ((3,), activation), ALPHA, INTERCEPTS[mode]
    return _build(*problem, solver, shared="output")


@pytest.mark.parametrize(
    "mode, activation, solver, loss",
    cover(
        INTERCEPTS,
        [a for a in ACTIVATIONS if a != "relu"],
        ("lbfgs", "projection"),
        ("squared", "softmax"),
    ),
)
def test_gradients_against_differences(problems, mode, activation, solver, loss):
    _, p, _, _ = problems[loss]
    labels = own = None
    if loss == "softmax":
        labels, own, solver = (
            positions(p.y).astype(float),
            np.ones((5, 3), bool),
            "lbfgs",
        )
    function, units = network(p, mode, activation, solver, labels, own)
    rng = np.random.default_rng(0)
    x = function.begin(rng, units)
    x += 0.3 * rng.normal(size=len(x))
    # what may not move is where it belongs
    x = function.there(*function.model(x))
    _, gradient = function(x)
    expected = reference.finite_difference(lambda x: function(x)[0], x)
    moves = np.abs(gradient) > 0
    assert_allclose(gradient[moves], expected[moves], rtol=1e-4, atol=1e-4)
    still = {"free": 0, "shrunk": 0, "shared": 4 * 3, "none": 5 * 3}[mode]
    assert (~moves).sum() == still


@pytest.mark.parametrize("mode", INTERCEPTS)
def test_coordinates_lead_back(long_regression, mode):
    function, units = network(long_regression, mode)
    rng = np.random.default_rng(0)
    x = function.begin(rng, units) + rng.normal(size=len(function.begin(rng, units)))
    x = function.there(*function.model(x))
    assert_allclose(function.there(*function.model(x)), x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_never_worse_than_brute_force_from_the_same_start(long_regression, seed):
    p, rng = long_regression, np.random.default_rng(seed)
    start = [
        [np.tile(rng.normal(size=(5, 2)), (5, 1, 1)), rng.normal(size=(2, 1))],
        [np.zeros((5, 2)), np.zeros(1)],
    ]
    shapes = [part.shape for part in [*start[0], *start[1]]]
    cuts = np.cumsum([np.prod(shape) for shape in shapes])[:-1]

    def apart(x):
        parts = [a.reshape(s) for a, s in zip(np.split(x, cuts), shapes, strict=True)]
        return parts[:2], parts[2:]

    def objective(x):
        # all rows at once: the twin proper is slow, and looked at once, at the end
        (V, U), (c, b) = apart(x)
        H = np.tanh(np.einsum("ij,ijk->ik", p.X, V[p.codes]) + c[p.codes])
        M = V.sum(axis=0) / 6
        squares = np.sum(M**2) + np.sum((V - M) ** 2) + np.sum(U**2)
        return 0.5 * np.sum((p.y - H @ U[:, 0] - b) ** 2) + 0.5 * 8.0 * squares

    x = np.concatenate([part.ravel() for part in [*start[0], *start[1]]])
    brute = minimize(objective, x, method="L-BFGS-B", options={"maxfun": 30_000})
    args = "tanh", p.X, p.y, p.codes, np.ones(len(p.y)), 8.0
    twin = reference.shared_output_objective("squared", *apart(brute.x), *args)
    assert_allclose(twin, brute.fun)
    data = TaskData(p.X, p.y, 5, p.codes)
    for solver in ("projection", "lbfgs"):
        solution = solve_mapping(
            data,
            None,
            (2,),
            "tanh",
            8.0,
            tol=1e-8,
            start=start,
            solver=solver,
            shared="output",
        )
        assert solution.objective <= brute.fun * (1 + 1e-4)


def test_one_task_pays_half_for_its_layer(long_regression):
    # min_M |M|^2 + |V - M|^2 is |V|^2 / 2
    p = long_regression
    model = make(SharedMappingRegressor).fit(p.X, p.y)
    value = reference.shared_output_objective(
        "squared",
        model.coefs_,
        model.intercepts_,
        "tanh",
        p.X,
        p.y,
        np.zeros(len(p.y), dtype=int),
        np.ones(len(p.y)),
        ALPHA,
    )
    assert_allclose(model.loss_, value, rtol=1e-8)
    (V, U), _ = model.coefs_, model.intercepts_
    residual = p.y - model.predict(p.X)
    own = 0.5 * residual @ residual + 0.5 * ALPHA * (0.5 * (V**2).sum() + (U**2).sum())
    assert_allclose(model.loss_, own, rtol=1e-8)


def test_a_large_alpha_makes_all_tasks_alike(long_regression):
    p = long_regression
    apart = []
    for alpha in (0.1, 10.0, 1e5):
        model = make(SharedMappingRegressor, alpha=alpha, fit_intercept="shrunk")
        model.fit(p.X, p.y, task=p.task)
        V, c = model.coefs_[0], model.intercepts_[0]
        apart.append([np.abs(A - A.mean(axis=0)).max() for A in (V, c)])
    apart = np.array(apart)
    assert (apart[0] > 10 * apart[2]).all() and (apart[2] < 1e-3).all()
    # nothing is left but the common level
    assert_allclose(model.predict(p.X, task=p.task), p.y.mean(), atol=0.05)


# ---------------------------------------------------------------- data


@every_estimator
def test_both_layouts_are_the_same_problem(estimator, wide):
    X, y, codes, weight = reference.to_long(wide.X, wide.Y, wide.weights)
    table = make(estimator).fit(wide.X, wide.Y, wide.weights)
    rows = make(estimator).fit(X, y, weight, task=codes)
    assert_allclose(rows.loss_, table.loss_, rtol=1e-10)
    assert_allclose(learnt(rows), learnt(table), rtol=1e-8, atol=1e-10)
    fitted = outputs(table, wide.X)
    for t in range(5):
        one = outputs(rows, wide.X, task=np.full(len(wide.X), t))
        assert_allclose(one, fitted[:, t], rtol=1e-8, atol=1e-8)


def test_three_classes_in_columns(long_multiclass):
    p = long_multiclass
    rng = np.random.default_rng(0)
    Y = rng.choice(p.classes, size=(len(p.X), 3))
    model = make(SharedMappingClassifier).fit(p.X, Y)
    assert [part.shape for part in model.predict_proba(p.X)] == [(len(p.X), 3)] * 3
    assert model.predict(p.X).shape == Y.shape
    assert model.score(p.X, Y) > 0.4


@every_estimator
def test_weights_are_repeated_rows(estimator, p):
    weight = np.arange(len(p.y)) % 3 + 1
    model = make(estimator).fit(p.X, p.y, weight, task=p.task)
    rows = np.repeat(np.arange(len(p.y)), weight)
    rows = np.random.default_rng(0).permutation(rows)
    other = make(estimator).fit(p.X[rows], p.y[rows], task=p.task[rows])
    assert_allclose(learnt(other), learnt(model), rtol=1e-6, atol=1e-8)


@every_estimator
@pytest.mark.parametrize("mode", MODES)
def test_sparse_features(estimator, p, mode):
    X = np.where(np.abs(p.X) < 0.5, 0.0, p.X)
    tight = {"fit_intercept": mode, "activation": "identity", "tol": 1e-9}
    dense = make(estimator, **tight).fit(X, p.y, task=p.task)
    sparse = make(estimator, **tight).fit(sp.csr_array(X), p.y, task=p.task)
    assert_allclose(sparse.loss_, dense.loss_, rtol=1e-3)
    fitted = outputs(dense, sp.csr_array(X), task=p.task)
    assert_allclose(fitted, outputs(dense, X, task=p.task))


def test_products_of_many_rows_and_of_few(monkeypatch):
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(40, 3)), np.sort(rng.choice([0, 2, 3], size=40))
    V, D = rng.normal(size=(5, 3, 2)), rng.normal(size=(40, 2))
    few = own_layers.TaskRows(X, codes, 5)
    monkeypatch.setattr(own_layers, "_SMALL", 0)
    many = own_layers.TaskRows(X, codes, 5)
    sparse = own_layers.TaskRows(sp.csr_array(X), codes, 5)
    for rows in (few, many, sparse):
        expected = np.einsum("ij,ijk->ik", X, V[codes])
        assert_allclose(rows.times(V), expected, atol=1e-14)
        total = np.array([X[codes == t].T @ D[codes == t] for t in range(5)])
        assert_allclose(rows.adjoint(D), total, atol=1e-13)
        assert_allclose(rows.sums(D), [D[codes == t].sum(axis=0) for t in range(5)])
    assert few._small and not many._small


@every_estimator
def test_an_unseen_task_gets_the_mean_layer(estimator, p):
    model = make(estimator).fit(p.X, p.y, task=p.task)
    found = outputs(model, p.X, task=np.full(len(p.X), "elsewhere"))
    V, c = model.coefs_[0].mean(axis=0), model.intercepts_[0].mean(axis=0)
    expected = np.tanh(p.X @ V + c) @ model.coefs_[1] + model.intercepts_[1]
    assert_allclose(found, expected[:, 0])
    model.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match="tasks that fit never saw"):
        model.predict(p.X, task=np.full(len(p.X), "elsewhere"))


@every_estimator
def test_a_task_without_labels_gets_the_mean_layer(estimator, wide):
    Y = wide.Y.copy()
    Y[:, 2] = np.nan
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels"):
        model = make(estimator).fit(wide.X, Y)
    others = [0, 1, 3, 4]
    rest = make(estimator).fit(wide.X, Y[:, others])
    assert_allclose(model.coefs_[0][others], rest.coefs_[0])
    assert_allclose(model.coefs_[0][2], rest.coefs_[0].mean(axis=0))
    assert_allclose(model.intercepts_[0][2], rest.intercepts_[0].mean(axis=0))


def test_a_task_of_one_class(long_classification):
    p = long_classification
    rare = p.y == np.unique(p.y)[1]
    y = np.where((p.task == "south") & ~rare, np.unique(p.y)[1], p.y)
    model = make(SharedMappingClassifier).fit(p.X, y, task=p.task)
    shares = model.predict_proba(p.X, task=p.task)
    assert np.isfinite(shares).all()
    assert (model.predict(p.X, task=p.task) == y)[p.task == "south"].all()


@every_estimator
def test_many_small_tasks(estimator):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(2000), 2)
    X = rng.normal(size=(4000, 2))
    X = np.column_stack([X, np.ones(4000)])
    y = X[:, 0] + 0.3 * rng.normal(size=4000)
    y = y if estimator is SharedMappingRegressor else (y > 0).astype(int)
    model = make(estimator, (2,), alpha=3.0, tol=1e-2, fit_intercept="shrunk")
    model.fit(X, y, task=codes)
    assert model.coefs_[0].shape == (2000, 3, 2)
    assert model.score(X, y, task=codes) > 0.7


def test_a_frame_with_a_column_of_ids(long_regression):
    p = long_regression
    df = pd.DataFrame(p.X, columns=list("abcde")).assign(school=p.task)
    model = make(SharedMappingRegressor, task_column="school").fit(df, p.y)
    plain = make(SharedMappingRegressor).fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(model), learnt(plain))
    H = model.transform(df)
    V, c = model.coefs_[0], model.intercepts_[0]
    assert_allclose(H, reference.own_units(V, c, "tanh", p.X, p.codes))
    assert_allclose(H @ model.coefs_[1][:, 0] + model.intercepts_[1], model.predict(df))
    assert len(model.get_feature_names_out()) == 3
    with pytest.raises(ValueError, match="`transform` with shared='output' needs"):
        plain.transform(p.X)


# ---------------------------------------------------------------- parameters


@every_estimator
def test_the_strength_is_found(estimator, p):
    model = make(estimator, alpha="auto", tol=1e-3).fit(p.X, p.y, task=p.task)
    assert model.alpha_ > 0
    again = make(estimator, alpha=model.alpha_, tol=1e-3).fit(p.X, p.y, task=p.task)
    assert again.alpha_ == model.alpha_


@every_estimator
def test_warm_starts(estimator, p):
    model = make(estimator, warm_start=True, tol=1e-4).fit(p.X, p.y, task=p.task)
    loss, n_iter = model.loss_, model.n_iter_
    model.fit(p.X, p.y, task=p.task)
    assert model.loss_ <= loss * (1 + 1e-10) and model.n_iter_ < n_iter / 2
    # of layers that were something else nothing is kept
    model.set_params(shared="hidden").fit(p.X, p.y, task=p.task)
    cold = make(estimator, shared="hidden", tol=1e-4).fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(model), learnt(cold))


@every_estimator
def test_other_ways_to_go_down(estimator, p):
    for params in ({"early_stopping": True}, {"solver": "adam"}, {"n_init": 3}):
        model = make(estimator, **params).fit(p.X, p.y, task=p.task)
        assert np.isfinite(learnt(model)).all()
        assert model.loss_ > 0


def test_a_fit_that_is_cut_short_warns(long_regression):
    p = long_regression
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 iterations"):
        make(SharedMappingRegressor, max_iter=2).fit(p.X, p.y, task=p.task)


@every_estimator
def test_copies(estimator, p):
    model = make(estimator).fit(p.X, p.y, task=p.task)
    fitted = outputs(model, p.X, task=p.task)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(outputs(other, p.X, task=p.task), fitted)


def test_what_there_is_not(long_regression):
    p = long_regression
    with pytest.raises(ValueError, match=r"a single layer.*\(4, 3\)"):
        make(SharedMappingRegressor, (4, 3)).fit(p.X, p.y, task=p.task)
    with pytest.raises(ValueError, match="`shared` must be one of 'hidden', 'output'"):
        make(SharedMappingRegressor, shared="input").fit(p.X, p.y, task=p.task)
    with pytest.raises(TypeError, match="shared"):
        SharedMappingClassifierCV(shared="output")


def quick(estimator):
    return estimator((4,), alpha=0.1, shared="output", random_state=0)


@parametrize_with_checks([quick(estimator) for estimator in ESTIMATORS])
def test_checks(estimator, check):
    check(estimator)
