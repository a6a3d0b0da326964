"""The twins of ``reference`` against each other, closed forms and scikit-learn."""

import numpy as np
import pytest
from cases import cover
from numpy.testing import assert_allclose, assert_array_equal
from reference import (
    LOSSES,
    arrmse,
    covariance,
    data_dir,
    data_loss,
    dual_value,
    factor,
    finite_difference,
    graph,
    independent,
    intercept_maps,
    intercept_penalty,
    kernel,
    least_norm,
    least_squares,
    low_rank,
    objective,
    omega,
    pooled,
    precision,
    predict,
    reduced_rank,
    row_loss,
    row_weights,
    scores_by_task,
    shared_mean,
    shared_penalty,
    task_classes,
    to_long,
    twin,
    within_task_r2,
)
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    MultiTaskLasso,
    Ridge,
)
from sklearn.svm import LinearSVC, LinearSVR

RELATIONS = ("independent", "shared_mean", "graph", "covariance", "pooled")
MODES = ("free", "shrunk", "shared", False)
EPSILON = 0.3
SMOOTH = [loss for loss in LOSSES if loss not in ("hinge", "epsilon_insensitive")]
SHARED = ("squared", "logistic", "softmax")  # the losses of shared features
CONVEX = ("nuclear", "l21", "dirty")


@pytest.fixture
def kernels(adjacency, task_covariance):
    """Task kernels by name."""
    return {
        "independent": independent(5),
        "shared_mean": shared_mean(0.7, 5),
        "graph": graph(adjacency, 2.0),
        "covariance": covariance(task_covariance),
        "pooled": pooled(5),
    }


@pytest.fixture
def problems(long_regression, long_classification, long_multiclass):
    """(X, y, codes, weight) by loss, y as the losses of ``reference`` want it."""

    def rows(problem, y):
        return problem.X, y, problem.codes, problem.weight

    regression = rows(long_regression, long_regression.y)
    signs = rows(long_classification, long_classification.sign)
    return {
        "squared": regression,
        "squared_epsilon_insensitive": regression,
        "logistic": signs,
        "squared_hinge": signs,
        "hinge": signs,
        "epsilon_insensitive": regression,
        "softmax": rows(long_multiclass, long_multiclass.label),
    }


# The data


def test_fixtures_keep_their_promises(
    long_regression, long_classification, long_multiclass, wide_regression
):
    sizes = np.bincount(long_regression.codes)
    assert len(set(sizes)) == 5 and sizes.min() == 2
    assert_array_equal(
        long_regression.tasks[long_regression.codes], long_regression.task
    )
    p = long_classification
    assert task_classes(p.sign, p.codes, p.weight, 5) == [
        [-1, 1],
        [-1, 1],
        [-1, 1],
        [1],
        [-1, 1],
    ]
    p = long_multiclass
    classes = task_classes(p.label, p.codes, p.weight, 5)
    assert classes == [[0, 1, 2], [0, 2], [0, 1, 2], [1], [0, 1]]
    observed = ~np.isnan(wide_regression.Y)
    assert observed[:, 0].all() and observed[:, 4].sum() == 2
    assert_array_equal(observed[:, 1], observed[:, 2])


def test_wide_classification_has_a_task_of_one_class(wide_classification):
    _, y, codes, weight = to_long(wide_classification.X, wide_classification.Y)
    sizes = [len(c) for c in task_classes(y, codes, weight, 5)]
    assert sizes == [2, 2, 2, 1, 2]


def test_to_long_leaves_out_missing_labels():
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    Y = np.array([[np.nan, 5.0], [6.0, 7.0]])
    long_X, y, codes, weight = to_long(X, Y, np.array([10.0, 20.0]))
    assert_array_equal(long_X, [[3, 4], [1, 2], [3, 4]])
    assert_array_equal(y, [6, 5, 7])
    assert_array_equal(codes, [0, 1, 1])
    assert_array_equal(weight, [20, 10, 20])
    weight = to_long(X, Y, np.array([[1.0, 2.0], [3.0, 4.0]]))[3]
    assert_array_equal(weight, [3, 2, 4])


def test_to_long_takes_strings_with_none():
    _, y, codes, weight = to_long(
        np.eye(2), np.array([["a", None], ["b", "c"]], object)
    )
    assert_array_equal(y, ["a", "b", "c"])
    assert_array_equal(codes, [0, 0, 1])
    assert_array_equal(weight, [1, 1, 1])


def test_row_weights():
    codes = np.array([0, 0, 0, 1])
    s = np.array([1.0, 2.0, 0.0, 1.0])
    assert_allclose(row_weights(codes), [1, 1, 1, 1])
    assert_allclose(row_weights(codes, s, [3.0, 5.0], C=2.0), [6, 12, 0, 10])
    # three labelled rows, two tasks: lambda = 3 / (2 n_t)
    assert_allclose(row_weights(codes, s, "balanced"), [0.75, 1.5, 0, 1.5])


def test_data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLEARN_DATA", str(tmp_path))
    assert data_dir() == tmp_path
    monkeypatch.setenv("MTLEARN_DATA", str(tmp_path / "absent"))
    assert data_dir() is None
    monkeypatch.delenv("MTLEARN_DATA")
    assert data_dir() is None


# Penalties and losses


@pytest.mark.parametrize("name", RELATIONS)
def test_factor_and_precision(kernels, name):
    K = kernels[name]
    F = factor(K)
    assert_allclose(F @ F.T, K, atol=1e-12)
    assert_allclose(K @ precision(K) @ K, K, atol=1e-12)
    U = np.random.default_rng(0).normal(size=(F.shape[1], 3))
    assert_allclose(omega(F @ U, K), (U**2).sum())


def test_shared_mean_at_zero_and_one():
    assert_array_equal(shared_mean(0.0, 4), independent(4))
    assert_array_equal(shared_mean(1.0, 4), pooled(4))
    assert_array_equal(kernel("shared_mean", 4), shared_mean(0.5, 4))


def test_omega_of_the_shared_mean_is_evgeniou_and_pontil():
    # min over w_0 of |w_0|^2 / rho + sum_t |w_t - w_0|^2 / (1 - rho)
    W, rho = np.random.default_rng(0).normal(size=(4, 3)), 0.3
    w0 = W.sum(axis=0) / (1 - rho) / (1 / rho + 4 / (1 - rho))
    expected = (w0**2).sum() / rho + ((W - w0) ** 2).sum() / (1 - rho)
    assert_allclose(omega(W, shared_mean(rho, 4)), expected)


def test_omega_of_a_graph_counts_its_edges(adjacency):
    W = np.random.default_rng(0).normal(size=(5, 3))
    expected = (W**2).sum()
    for s in range(5):
        for t in range(s):
            expected += 2.0 * adjacency[s, t] * ((W[s] - W[t]) ** 2).sum()
    assert_allclose(omega(W, graph(adjacency + np.eye(5), 2.0)), expected)


def test_omega_of_one_common_vector():
    w = np.array([1.0, 2.0])
    assert_allclose(omega(np.array([w, w, w]), pooled(3)), 5.0)
    assert omega(np.array([w, w, 2 * w]), pooled(3)) == np.inf


def test_omega_sums_over_classes(kernels):
    W = np.random.default_rng(0).normal(size=(5, 3, 2))
    K = kernels["covariance"]
    assert_allclose(omega(W, K), sum(omega(W[:, k], K) for k in range(3)))


@pytest.mark.parametrize("name", RELATIONS[:-1])
def test_shrunk_intercepts_are_a_minimum_over_their_centre(kernels, name):
    b, K = np.array([1.0, 3.0, -2.0, 0.5, 0.0]), kernels[name]

    def shifted(b0):
        return (b - b0) @ np.linalg.inv(K) @ (b - b0)

    value = intercept_penalty(b, K, "shrunk")
    grid = np.linspace(-3, 3, 6001)
    assert_allclose(min(shifted(b0) for b0 in grid), value, rtol=1e-5)
    assert_allclose(intercept_penalty(b + 7, K, "shrunk"), value)


def test_shrunk_intercepts_of_the_shared_mean():
    b = np.array([1.0, 3.0, -2.0])
    expected = ((b - b.mean()) ** 2).sum() / (1 - 0.6)
    assert_allclose(intercept_penalty(b, shared_mean(0.6, 3), "shrunk"), expected)
    assert intercept_penalty(b, pooled(3), "shrunk") == np.inf
    assert_allclose(
        intercept_penalty(np.full(3, 4.0), pooled(3), "shrunk"), 0, atol=1e-20
    )


def test_intercept_modes_forbid_what_they_must():
    b, same, K = np.array([1.0, 2.0]), np.array([2.0, 2.0]), independent(2)
    assert intercept_penalty(b, K, True) == intercept_penalty(b, K, "free") == 0
    assert intercept_penalty(b, K, "shared") == np.inf
    assert intercept_penalty(same, K, "shared") == 0
    assert intercept_penalty(same, K, False) == np.inf
    assert intercept_penalty(0 * b, K, False) == 0


def test_derivatives_of_the_losses():
    f, eps = np.array([-2.0, -0.4, 0.7, 1.8]), EPSILON

    def derivative(loss, y):
        total = finite_difference(
            lambda z: sum(row_loss(loss, y, z_i, eps) for z_i in z), f
        )
        return total

    for y in (-1, 1):
        expected = -y / (1 + np.exp(y * f))
        assert_allclose(derivative("logistic", y), expected, atol=1e-9)
        expected = -2 * y * np.maximum(0, 1 - y * f)
        assert_allclose(derivative("squared_hinge", y), expected, atol=1e-9)
    assert_allclose(derivative("squared", 0.5), f - 0.5, atol=1e-9)
    r = 0.5 - f
    expected = -2 * np.sign(r) * np.maximum(0, abs(r) - eps)
    got = derivative("squared_epsilon_insensitive", 0.5)
    assert_allclose(got, expected, atol=1e-9)

    p = np.exp(f[[0, 2, 3]]) / np.exp(f[[0, 2, 3]]).sum()
    got = finite_difference(lambda z: row_loss("softmax", 2, z, classes=[0, 2, 3]), f)
    assert_allclose(got, [p[0], 0, p[1] - 1, p[2]], atol=1e-9)


def test_softmax_of_two_classes_is_logistic():
    for f in (-50.0, -3.0, 0.2, 5.0):
        z = np.array([0.0, f])
        softmax = row_loss("softmax", 1, z, classes=[0, 1])
        assert_allclose(softmax, row_loss("logistic", 1, f))
    assert row_loss("softmax", 1, z, classes=[1]) == 0


def test_objective_by_hand():
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 0.0, 2.0])
    codes, weight = np.array([0, 1, 1]), np.array([1.0, 2.0, 0.0])
    coef, intercept = np.array([[1.0], [2.0]]), np.array([1.0, -1.0])
    # f = 2, 3; losses 1/2 and 2 * 9/2; Omega = 5; sum (b - 0)^2 = 2
    args = ("squared", coef, intercept, X, y, codes, weight, 4.0, "independent")
    assert_allclose(objective(*args), 9.5 + 2 * 5)
    assert_allclose(objective(*args, "shrunk"), 9.5 + 2 * 7)
    assert objective(*args, "shared") == np.inf


# Minimisers


@pytest.mark.parametrize("fit_intercept", MODES)
@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_twin_is_a_minimum_of_the_objective(
    problems, kernels, loss, name, fit_intercept
):
    X, y, codes, weight = problems[loss]
    K, strength = kernels[name], 0.5
    coef, intercept, value = twin(
        loss, X, y, codes, weight, strength, K, fit_intercept, epsilon=EPSILON
    )

    def at(W, b):
        return objective(
            loss, W, b, X, y, codes, weight, strength, K, fit_intercept, EPSILON
        )

    zero = at(0 * coef, 0 * intercept)
    # the value that cvxpy gives is the objective in plain NumPy
    assert abs(at(coef, intercept) - value) < 1e-8 * zero

    # no step within the model goes down: W = F U, b = B beta + V v
    rng = np.random.default_rng(0)
    F = factor(K)
    B, V = intercept_maps(F, fit_intercept)
    ends = coef.shape[1:], intercept.shape[1:]
    for size in (1e-3, 1e-2, 1e-1):
        dW = np.tensordot(F, rng.normal(size=(F.shape[1], *ends[0])), 1)
        db = np.tensordot(B, rng.normal(size=(B.shape[1], *ends[1])), 1)
        db = db + np.tensordot(V, rng.normal(size=(V.shape[1], *ends[1])), 1)
        for step in (-size, size):
            assert at(coef + step * dW, intercept + step * db) > value - 1e-8 * zero


@pytest.mark.parametrize("loss", SMOOTH)
def test_gradient_at_the_twin_is_zero(problems, kernels, loss):
    X, y, codes, weight = problems[loss]
    args = (X, y, codes, weight, 0.5, kernels["shared_mean"], "shrunk", EPSILON)
    coef, intercept, _ = twin(loss, *args[:-1], epsilon=EPSILON)

    def gradients(W, b):
        return (
            finite_difference(lambda Z: objective(loss, Z, b, *args), W, 1e-4),
            finite_difference(lambda c: objective(loss, W, c, *args), b, 1e-4),
        )

    scale = np.abs(gradients(0 * coef, 0 * intercept)[0]).max()
    for gradient in gradients(coef, intercept):
        assert_allclose(gradient, 0, atol=1e-4 * scale)


@pytest.mark.parametrize("fit_intercept", MODES)
@pytest.mark.parametrize("name", RELATIONS)
def test_squared_loss_without_cvxpy(problems, kernels, name, fit_intercept):
    args = (*problems["squared"], 0.5, kernels[name], fit_intercept)
    coef, intercept, value = twin("squared", *args)
    coef_, intercept_, value_ = least_squares(*args)
    assert_allclose(value, value_, rtol=1e-9)
    assert_allclose(coef, coef_, atol=1e-5)
    assert_allclose(intercept, intercept_, atol=1e-5)


def test_squared_epsilon_insensitive_at_zero_is_twice_the_squared_loss(
    problems, kernels
):
    X, y, codes, weight = problems["squared"]
    K = kernels["graph"]
    args = (X, y, codes, weight, 1.0, K)
    value = twin("squared_epsilon_insensitive", *args, epsilon=0.0)[2]
    assert_allclose(value, least_squares(X, y, codes, 2 * weight, 1.0, K)[2], rtol=1e-8)


def test_softmax_of_two_classes_is_logistic_at_half_the_strength(problems, kernels):
    # f_1 - f_0 = f, and the cheapest such pair is (-f / 2, f / 2)
    X, sign, codes, weight = problems["logistic"]
    rows = codes != 3  # one class: a loss of its own in one model, none in the other
    X, sign, codes, weight = X[rows], sign[rows], codes[rows], weight[rows]
    args = codes, weight
    K = kernels["shared_mean"]
    W2, b2, value2 = twin("softmax", X, (sign + 1) // 2, *args, 2.0, K)
    W1, b1, value1 = twin("logistic", X, sign, *args, 1.0, K)
    assert_allclose(value1, value2, rtol=1e-7)
    assert_allclose(W2[:, 1] - W2[:, 0], W1, atol=1e-4)
    assert_allclose(b2[:, 1] - b2[:, 0], b1, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_nearly_equal_correlations_have_nearly_equal_values(problems, loss):
    args = problems[loss]
    for limit, near in ((0.0, 1e-6), (1.0, 1 - 1e-6)):
        values = [twin(loss, *args, 1.0, shared_mean(r, 5))[2] for r in (limit, near)]
        assert_allclose(*values, rtol=1e-3)


def test_scaling_weights_and_strength_scales_the_value(problems, kernels):
    X, y, codes, weight = problems["squared_hinge"]
    K = kernels["covariance"]
    coef, _, value = twin("squared_hinge", X, y, codes, weight, 0.2, K)
    coef_, _, value_ = twin("squared_hinge", X, y, codes, 500 * weight, 100.0, K)
    assert_allclose(500 * value, value_, rtol=1e-8)
    assert_allclose(coef, coef_, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_of_weight_zero_are_absent_and_weights_are_copies(problems, kernels, loss):
    X, y, codes, _ = problems[loss]
    times = np.random.default_rng(0).integers(0, 3, size=len(y))
    K = kernels["shared_mean"]
    n_classes = 3 if loss == "softmax" else None
    coef, _, value = twin(loss, X, y, codes, 1.0 * times, 1.0, K, n_classes=n_classes)
    copies = np.repeat(np.arange(len(y)), times)
    one = np.ones(len(copies))
    coef_, _, value_ = twin(
        loss, X[copies], y[copies], codes[copies], one, 1.0, K, n_classes=n_classes
    )
    assert_allclose(value, value_, rtol=1e-7)
    assert_allclose(coef, coef_, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_relabelling_the_tasks_permutes_the_rows(problems, kernels, loss):
    X, y, codes, weight = problems[loss]
    K, order = kernels["covariance"], np.array([3, 1, 4, 0, 2])
    position = np.argsort(order)
    coef, intercept, value = twin(loss, X, y, codes, weight, 1.0, K)
    coef_, intercept_, value_ = twin(
        loss, X, y, position[codes], weight, 1.0, K[np.ix_(order, order)]
    )
    assert_allclose(value, value_, rtol=1e-7)
    assert_allclose(coef[order], coef_, atol=1e-4)
    assert_allclose(intercept[order], intercept_, atol=1e-4)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "hinge"])
def test_a_task_of_one_class_costs_nothing_with_its_own_intercept(
    problems, kernels, loss
):
    X, y, codes, weight = problems[loss]
    K = kernels["shared_mean"]
    coef, intercept, value = twin(loss, X, y, codes, weight, 1.0, K)
    others = codes != 3
    args = (X[others], y[others], codes[others], weight[others], 1.0, K)
    assert_allclose(value, twin(loss, *args)[2], rtol=1e-9)
    assert intercept[3] > 10
    assert_allclose(precision(K)[3] @ coef, 0, atol=1e-6)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "hinge", "softmax"])
def test_every_task_of_one_class(problems, loss):
    X, _, codes, weight = problems[loss]
    y = np.where(codes % 2, 1, 0 if loss == "softmax" else -1)
    coef, intercept, value = twin(loss, X, y, codes, weight, 1.0, "shared_mean")
    assert_allclose(coef, 0, atol=1e-9)
    assert_allclose(value, 0, atol=1e-9)
    f = predict(coef, intercept, X, codes)
    assert_allclose(data_loss(loss, f, y, codes, weight, 5), 0, atol=1e-9)


def test_a_task_without_rows_follows_its_neighbours(problems, adjacency):
    X, y, codes, weight = problems["squared"]
    rows, K = codes != 2, graph(adjacency)
    args = (X[rows], y[rows], codes[rows], weight[rows], 1.0, K)
    for coef, intercept, _ in (twin("squared", *args), least_squares(*args)):
        # w_t (1 + degree) = sum of adjacency times the neighbours
        expected = adjacency[2] @ coef / (1 + adjacency[2].sum())
        assert_allclose(coef[2], expected, atol=1e-6)
        assert_allclose(intercept[2], 0, atol=1e-12)


def test_wide_problems_of_complete_labels_split_into_columns(wide_complete):
    p = wide_complete
    args = to_long(p.X, p.Y, p.weight)
    coef, intercept, _ = least_squares(*args, 2.0, "independent")
    ridge = Ridge(alpha=2.0).fit(p.X, p.Y, sample_weight=p.weight)
    assert_allclose(coef, ridge.coef_, atol=1e-8)
    assert_allclose(intercept, ridge.intercept_, atol=1e-8)


# Against scikit-learn


def test_pooled_is_one_ridge(problems):
    X, y, codes, weight = problems["squared"]
    for fit_intercept in ("shared", "shrunk", False):
        ridge = Ridge(alpha=0.5, fit_intercept=fit_intercept is not False)
        ridge.fit(X, y, sample_weight=weight)
        args = (X, y, codes, weight, 0.5, "pooled", fit_intercept)
        coef, intercept, _ = least_squares(*args)
        assert_allclose(coef, np.tile(ridge.coef_, (5, 1)), atol=1e-8)
        assert_allclose(intercept, np.full(5, ridge.intercept_), atol=1e-8)


def test_independent_is_a_ridge_per_task(problems):
    X, y, codes, weight = problems["squared"]
    coef, intercept, _ = twin("squared", X, y, codes, weight, 0.5, "independent")
    for t in range(5):
        rows = codes == t
        ridge = Ridge(alpha=0.5).fit(X[rows], y[rows], sample_weight=weight[rows])
        assert_allclose(coef[t], ridge.coef_, atol=1e-5)
        assert_allclose(intercept[t], ridge.intercept_, atol=1e-5)


def test_shared_mean_is_a_ridge_on_augmented_features(problems):
    X, y, codes, weight = problems["squared"]
    rho, n, d = 0.7, *X.shape
    private = np.zeros((n, 5, d))
    private[np.arange(n), codes] = np.sqrt(1 - rho) * X
    Z = np.hstack([np.sqrt(rho) * X, private.reshape(n, -1)])
    ridge = Ridge(alpha=0.5).fit(Z, y, sample_weight=weight)
    W = np.sqrt(rho) * ridge.coef_[:d] + np.sqrt(1 - rho) * ridge.coef_[d:].reshape(
        5, d
    )
    args = (X, y, codes, weight, 0.5, shared_mean(rho, 5), "shared")
    coef, intercept, _ = least_squares(*args)
    assert_allclose(coef, W, atol=1e-8)
    assert_allclose(intercept, np.full(5, ridge.intercept_), atol=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_independent_is_a_logistic_regression_per_task(problems, loss):
    X, y, codes, weight = problems[loss]
    coef, intercept, _ = twin(loss, X, y, codes, weight, 0.5, "independent")
    classes = task_classes(y, codes, weight, 5)
    for t in range(5):
        if len(classes[t]) < (3 if loss == "softmax" else 2):
            continue
        rows = codes == t
        model = LogisticRegression(C=2.0, tol=1e-10, max_iter=5000)
        model.fit(X[rows], y[rows], sample_weight=weight[rows])
        shape = coef[t].shape
        assert_allclose(coef[t], model.coef_.reshape(shape), atol=1e-4)
        b = model.intercept_.reshape(intercept[t].shape)
        assert_allclose(intercept[t] - b, (intercept[t] - b).mean(), atol=1e-4)


def test_softmax_leaves_out_the_classes_of_others(problems):
    X, y, codes, weight = problems["softmax"]
    coef, intercept, _ = twin("softmax", X, y, codes, weight, 1.0, "independent")
    assert_allclose(coef[3], 0, atol=1e-6)
    assert_allclose(coef[4, 2], 0, atol=1e-6)
    assert_allclose(coef[1, 1], 0, atol=1e-6)
    absent = [intercept[3, 0], intercept[4, 2], intercept[1, 1]]
    assert_allclose(absent, 0, atol=1e-9)


def test_pooled_is_one_support_vector_machine(problems):
    X, y, codes, weight = problems["squared_hinge"]
    args = (X, y, codes, weight, 1.0, "pooled", False)
    svc = LinearSVC(fit_intercept=False, tol=1e-10, max_iter=100_000)
    svc.fit(X, y, sample_weight=weight)
    assert_allclose(twin("squared_hinge", *args)[0][0], svc.coef_[0], atol=1e-5)

    loss = "squared_epsilon_insensitive"
    X, y, codes, weight = problems[loss]
    args = (X, y, codes, weight, 1.0, "pooled", False)
    svr = LinearSVR(
        loss=loss, epsilon=EPSILON, fit_intercept=False, tol=1e-10, max_iter=100_000
    )
    svr.fit(X, y, sample_weight=weight)
    coef = twin(loss, *args, epsilon=EPSILON)[0]
    assert_allclose(coef[0], svr.coef_, atol=1e-5)


# Strength zero


@pytest.mark.parametrize("fit_intercept", MODES)
@pytest.mark.parametrize("name", RELATIONS)
def test_least_norm_is_the_limit_of_small_strengths(
    problems, kernels, name, fit_intercept
):
    args, K = problems["squared"], kernels[name]
    coef, intercept, value = least_norm(*args, K, fit_intercept)
    coef_, intercept_, _ = least_squares(*args, 1e-8, K, fit_intercept)
    assert_allclose(coef, coef_, atol=1e-5)
    assert_allclose(intercept, intercept_, atol=1e-5)
    # least squares: the residual is orthogonal to whatever the model can do
    X, y, codes, weight = args
    residual = weight * (y - predict(coef, intercept, X, codes))
    F = factor(K)
    B, V = intercept_maps(F, fit_intercept)
    moments = np.array([residual[codes == t] @ X[codes == t] for t in range(5)])
    sums = np.array([residual[codes == t].sum() for t in range(5)])
    assert_allclose(F.T @ moments, 0, atol=1e-8)
    assert_allclose(np.hstack([B, V]).T @ sums, 0, atol=1e-8)
    assert_allclose(value, twin("squared", *args, 0.0, K, fit_intercept)[2], rtol=1e-7)


def test_least_norm_of_independent_tasks_is_that_of_each(problems):
    X, y, codes, weight = problems["squared"]
    coef, intercept, _ = least_norm(X, y, codes, weight, "independent")
    for t in range(5):
        rows = codes == t
        ols = LinearRegression().fit(X[rows], y[rows], sample_weight=weight[rows])
        assert_allclose(coef[t], ols.coef_, atol=1e-8)
        assert_allclose(intercept[t], ols.intercept_, atol=1e-8)


def test_least_norm_has_the_smallest_omega_of_all_that_fit_as_well(problems, kernels):
    X, y, codes, weight = problems["squared"]
    K = kernels["covariance"]
    coef, intercept, value = least_norm(X, y, codes, weight, K)
    # "mid" has two rows and a free intercept: its row may move along four directions
    apart = np.diff(X[codes == 1], axis=0)
    directions = np.linalg.svd(apart)[2][1:]
    for direction in directions:
        for step in (-0.1, 0.1):
            moved_coef, moved_intercept = coef.copy(), intercept.copy()
            moved_coef[1] += step * direction
            moved_intercept[1] -= step * direction @ X[codes == 1][0]
            moved = objective(
                "squared", moved_coef, moved_intercept, X, y, codes, weight, 0.0, K
            )
            assert_allclose(moved, value, rtol=1e-9)
            assert omega(moved_coef, K) > omega(coef, K)


# Shared features


@pytest.mark.parametrize("loss, fit_intercept, penalty", cover(SHARED, MODES, CONVEX))
def test_twin_of_shared_features_is_a_minimum(problems, loss, fit_intercept, penalty):
    # no step goes down, be it dense, of one column or of rank one
    args = *problems[loss], 1.5, "independent", fit_intercept
    options = {"penalty": penalty, "private": 0.8}
    coef, intercept, value = twin(loss, *args, **options)

    def at(W, b):
        return objective(loss, W, b, *args, **options)

    zero = at(0 * coef, 0 * intercept)
    assert abs(at(coef, intercept) - value) < 1e-8 * zero
    rng = np.random.default_rng(0)
    fixed = intercept_maps(np.eye(5), fit_intercept)[0].shape[1]
    for size in (1e-3, 1e-2, 1e-1):
        dW = size * rng.normal(size=coef.shape)
        db = size * rng.normal(size=(min(fixed, 5), *coef.shape[1:-1]))
        db = np.resize(db, intercept.shape) if fixed else 0.0
        one = dW * (np.arange(coef.shape[-1]) == 2)
        rank = size * np.multiply.outer(
            rng.normal(size=coef.shape[:-1]), rng.normal(size=coef.shape[-1])
        )
        for step in (dW, one, rank, -coef * size, coef * size):
            for W, b in ((step, db), (-step, -db), (step, 0.0)):
                assert at(coef + W, intercept + b) > value - 1e-8 * zero


@pytest.mark.parametrize("loss, fit_intercept, penalty", cover(SHARED, MODES, CONVEX))
def test_dual_value_is_below_the_minimum_and_meets_it(
    problems, loss, fit_intercept, penalty
):
    X, y, codes, weight = problems[loss]
    args, options = (X, y, codes, weight, 1.5), {"penalty": penalty, "private": 0.8}
    coef, intercept, value = twin(loss, *args, "independent", fit_intercept, **options)
    zero = data_loss(loss, 0 * predict(coef, intercept, X, codes), y, codes, weight, 5)
    bound = dual_value(loss, coef, intercept, *args, fit_intercept, **options)
    assert abs(value - bound) < 1e-5 * zero
    rng, last = np.random.default_rng(0), bound
    for size in (0.01, 0.1, 1.0):
        moved = coef + size * rng.normal(size=coef.shape)
        bound = dual_value(loss, moved, intercept, *args, fit_intercept, **options)
        assert bound < min(value, last) + 1e-9 * zero
        last = bound


@pytest.mark.parametrize("mode", MODES)
def test_one_column_of_shared_features_is_the_plain_norm(problems, mode):
    # every matrix of one column has rank one and its norm as its only singular value
    X, y, codes, weight = problems["squared"]
    args = X[:, :1], y, codes, weight, 3.0, "independent", mode
    values = [twin("squared", *args, penalty=p)[2] for p in ("nuclear", "l21", "rank")]
    assert_allclose(values, values[0], rtol=1e-8)


def test_dirty_costs_between_the_norms_that_it_mixes():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(6, 4)) * (rng.uniform(size=(6, 4)) < 0.6)
    l21, l1 = shared_penalty("l21", W, 2.0), np.abs(W).sum()
    assert_allclose(shared_penalty("dirty", W, 2.0, 2.0), l21)
    assert_allclose(shared_penalty("dirty", W, 2.0, 2.0 / np.sqrt(6)), l1 * 2 / 6**0.5)
    value = shared_penalty("dirty", W, 2.0, 1.2)
    assert value < min(l21, 1.2 * l1) * (1 - 1e-3)
    # by its definition: the least over any part
    parts = [np.clip(W, -c, c) for c in rng.uniform(0, 3, size=(2000, 4))]
    cost = [shared_penalty("l21", S, 2.0) + 1.2 * np.abs(W - S).sum() for S in parts]
    assert value < min(cost) < 1.05 * value


def test_nuclear_norm_is_half_the_squares_of_its_best_factors():
    W = np.random.default_rng(0).normal(size=(4, 6))
    U, s, V = np.linalg.svd(W, full_matrices=False)
    A, B = U * np.sqrt(s), np.sqrt(s)[:, None] * V
    assert_allclose(A @ B, W)
    value = shared_penalty("nuclear", W, 3.0)
    assert_allclose(1.5 * ((A**2).sum() + (B**2).sum()), value)
    assert_allclose(shared_penalty("rank", W.reshape(2, 2, 6), 3.0), value)


@pytest.mark.parametrize("fit_intercept", [True, "shrunk"])
@pytest.mark.parametrize("loss", SHARED)
def test_factors_of_full_rank_are_the_nuclear_norm(problems, loss, fit_intercept):
    X, y, codes, weight = problems[loss]
    args = loss, X[:, :3], y, codes, weight, 2.0
    value = twin(*args, "independent", fit_intercept, penalty="nuclear")[2]
    q = 3 if loss == "softmax" else 1
    coef, intercept, found = low_rank(*args, 3, fit_intercept, n_outputs=q, n_starts=1)
    assert_allclose(found, value, rtol=1e-8)
    at = objective(
        loss,
        coef,
        intercept,
        *args[1:],
        "independent",
        fit_intercept,
        penalty="nuclear",
    )
    assert_allclose(at, value, rtol=1e-8)
    one = low_rank(*args, 1, fit_intercept, n_outputs=q, n_starts=2)[2]
    assert one > value * (1 - 1e-9)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("n_components", [1, 2, 5])
def test_reduced_rank_regression_is_the_best_of_its_rank(
    wide_complete, n_components, centre
):
    p, lam = wide_complete, np.array([2.0, 0.5, 1.0, 1.5, 0.3])
    coef, intercept, value = reduced_rank(
        p.X, p.Y, n_components, p.weight, lam, centre=centre
    )
    assert np.linalg.matrix_rank(coef) == n_components
    X, y, codes, weight = to_long(p.X, p.Y, p.weight)
    args = X, y, codes, weight * lam[codes]
    at = objective("squared", coef, intercept, *args, 0.0, "independent", centre)
    assert_allclose(at, value)
    if n_components == 1:
        other = low_rank("squared", *args, 0.0, 1, centre, n_starts=2)[2]
        assert_allclose(value, other, rtol=1e-7)
    if n_components == 5:
        assert_allclose(
            value, least_squares(*args, 0.0, "independent", centre)[2], rtol=1e-9
        )


def test_l21_is_the_multitask_lasso_of_scikit_learn(wide_complete):
    p = wide_complete
    lasso = MultiTaskLasso(alpha=5.0 / len(p.X), tol=1e-12, max_iter=10_000)
    lasso.fit(p.X, p.Y)
    args = *to_long(p.X, p.Y), 5.0, "independent"
    coef, intercept, _ = twin("squared", *args, penalty="l21")
    assert_allclose(coef, lasso.coef_, atol=1e-4)
    assert_allclose(intercept, lasso.intercept_, atol=1e-4)


# Metrics


def test_arrmse(wide_regression):
    Y = wide_regression.Y
    mean = np.nanmean(Y, axis=0)
    assert_allclose(arrmse(Y, np.tile(mean, (len(Y), 1))), 1)
    assert_allclose(arrmse(Y, Y), 0)
    Y = np.array([[0.0, 1.0], [2.0, np.nan], [np.nan, 3.0]])
    Y_pred = np.array([[1.0, 1.0], [2.0, 9.0], [9.0, 4.0]])
    # SSE 1 and 1; of the training means 0 and 1: 4 and 4
    assert_allclose(arrmse(Y, Y_pred, train_mean=[0.0, 1.0]), 0.5)


def test_within_task_r2():
    y, task = np.array([0.0, 2.0, 10.0, 14.0]), ["a", "a", "b", "b"]
    assert_allclose(within_task_r2(y, y, task), 1)
    assert_allclose(within_task_r2(y, np.array([1.0, 1, 12, 12]), task), 0)
    # residuals 1, 0, 0, 2 of 1 + 1 + 4 + 4
    y_pred = np.array([1.0, 2.0, 10.0, 12.0])
    assert_allclose(within_task_r2(y, y_pred, task), 1 - 5 / 10)
    copies = [0, 1, 1, 1, 2, 2, 3]
    weighted = within_task_r2(y, y_pred, task, np.array([1.0, 3.0, 2.0, 1.0]))
    expected = within_task_r2(y[copies], y_pred[copies], [task[i] for i in copies])
    assert_allclose(weighted, expected)


def test_scores_by_task():
    def error(y, y_pred):
        return np.abs(y - y_pred).mean()

    scores = scores_by_task(error, [1.0, 2.0, 3.0], [1.0, 4.0, 4.0], ["b", "a", "a"])
    assert scores == {"a": 1.5, "b": 0.0}
