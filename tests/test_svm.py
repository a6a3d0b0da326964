"""Support vector machines against their twins, and what they reduce to."""

from itertools import product

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import (
    LAYOUTS,
    MODES,
    RELATIONS,
    SOLVERS,
    WEIGHTS,
    C,
    Case,
    check_objective,
    every_pair,
    related,
    signs,
    wide_multiclass,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.svm import LinearSVC, LinearSVR

from mtlearn import (
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

EPSILON = 0.3


# ---------------------------------------------------------------- against the twins


@every_pair
def test_classifier(
    long_classification, wide_classification, matrices, name, layout, mode, weights
):
    case = Case(
        long_classification, wide_classification, name, layout, weights, matrices, C
    )
    model = MultiTaskSVM(C=C, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    value = case.twin("squared_hinge", mode, signs)[2]
    case.check("squared_hinge", model, mode, value, signs)


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
@every_pair
def test_regressor(
    long_regression, wide_regression, matrices, name, layout, mode, weights, epsilon
):
    case = Case(long_regression, wide_regression, name, layout, weights, matrices, C)
    model = MultiTaskSVR(C=C, epsilon=epsilon, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    loss = "squared_epsilon_insensitive"
    if epsilon == 0.0:
        # twice the squared loss
        rows, y, codes, weight = case.rows
        args = rows, y, codes, 2 * weight, 1.0, case.K, mode
        value = reference.least_squares(*args)[2]
    else:
        value = case.twin(loss, mode, epsilon=epsilon)[2]
    case.check(loss, model, mode, value, epsilon=epsilon)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "pooled", "graph"])
@pytest.mark.parametrize("layout", ["task", "wide"])
def test_every_solver(
    long_classification,
    wide_classification,
    long_regression,
    wide_regression,
    matrices,
    name,
    mode,
    layout,
):
    problems = {
        "squared_hinge": (long_classification, wide_classification, MultiTaskSVM()),
        "squared_epsilon_insensitive": (
            long_regression,
            wide_regression,
            MultiTaskSVR(epsilon=EPSILON),
        ),
    }
    for loss, (long, wide, model) in problems.items():
        case = Case(long, wide, name, layout, "rows", matrices)
        hinge = loss == "squared_hinge"
        labels = signs if hinge else None
        options = {} if hinge else {"epsilon": EPSILON}
        value = case.twin(loss, mode, labels, **options)[2]
        for solver, build in product(SOLVERS, (np.asarray, sp.csr_array)):
            model.set_params(fit_intercept=mode, solver=solver, **case.params)
            model.fit(build(case.X), case.y, **case.fit)
            case.check(loss, model, mode, value, labels, **options)


@pytest.mark.parametrize("name", RELATIONS[:5])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_dual_descent(long_classification, matrices, name, weights):
    case = Case(long_classification, None, name, "task", weights, matrices, C)
    options = {"fit_intercept": False, "solver": "dual-descent", **case.params}
    model = MultiTaskSVM(C=C, **options)
    model.fit(sp.csr_array(case.X), case.y, **case.fit)
    value = case.twin("squared_hinge", False, signs)[2]
    case.check("squared_hinge", model, False, value, signs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0)", "SharedMean(0.6)", "pooled"])
def test_wide_sparse_rows(name, mode):
    # 40 rows with a tenth of 80 columns: what "auto" hands to dual descent
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=40)
    X = sp.csr_array(np.where(rng.random((40, 80)) < 0.1, rng.random((40, 80)), 0.0))
    y = np.where(X @ rng.normal(size=80) + 0.3 * codes - 0.5 > 0, 1, -1)
    relation, K = related(name, np.arange(4), None, None)
    args = X.toarray(), y, codes, np.full(40, 10.0), 1.0, K, mode
    value = reference.twin("squared_hinge", *args)[2]
    for solver in ("auto", *SOLVERS):
        model = MultiTaskSVM(10, relation, fit_intercept=mode, solver=solver)
        model.fit(X, y, task=codes)
        check_objective("squared_hinge", model, value, *args)


def test_dual_descent_says_what_it_is_for(long_classification, wide_classification):
    p, wide = long_classification, wide_classification
    X = sp.csr_array(p.X)
    for model, args in [
        (MultiTaskSVM(fit_intercept=False), (p.X, p.y)),
        (MultiTaskSVM(), (X, p.y)),
        (MultiTaskSVM(relation=TaskGraph(np.ones((5, 5)))), (X, p.y)),
    ]:
        with pytest.raises(ValueError, match="'dual-descent' is for sparse X"):
            model.set_params(solver="dual-descent").fit(*args, task=p.task)
    model = MultiTaskSVM(solver="dual-descent", fit_intercept=False)
    with pytest.raises(ValueError, match="'dual-descent' is for sparse X"):
        model.fit(sp.csr_array(wide.X), wide.Y)
    with pytest.raises(ValueError, match="`solver` must be one of"):
        PerTaskRegressor(solver="dual-descent").fit(p.X, p.codes)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "pooled", "covariance"])
def test_three_classes_are_one_against_the_rest(
    long_multiclass, matrices, name, mode, layout
):
    wide = wide_multiclass(long_multiclass)
    case = Case(long_multiclass, wide, name, layout, "rows", matrices, C)
    model = MultiTaskSVM(C=C, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    assert model.coef_.shape == (5, 3, 5) and model.intercept_.shape == (5, 3)
    X, y, codes, weight = case.rows
    for k, label in enumerate("abc"):
        one = np.where(y == label, 1, -1)
        args = X, one, codes, weight, 1.0, case.K, mode
        value = reference.twin("squared_hinge", *args)[2]
        part = MultiTaskSVM()
        part.coef_, part.intercept_ = model.coef_[:, k], model.intercept_[:, k]
        part.optimality_ = model.optimality_
        check_objective("squared_hinge", part, value, *args)


# ---------------------------------------------------------------- what they reduce to


@pytest.mark.filterwarnings("ignore:.* ties tasks, but")
@pytest.mark.parametrize("relation", ["independent", "shared_mean", "pooled"])
def test_one_task_is_a_linear_svc(long_classification, relation):
    p = long_classification
    svc = LinearSVC(C=C, fit_intercept=False, tol=1e-10, max_iter=100_000)
    svc.fit(p.X, p.y, p.weight)
    model = MultiTaskSVM(C, relation, fit_intercept=False).fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_, svc.coef_, atol=1e-5)
    assert_array_equal(model.predict(p.X), svc.predict(p.X))
    scores = model.decision_function(p.X)
    assert_allclose(scores, svc.decision_function(p.X), atol=1e-4)


def test_one_task_of_three_classes_is_a_linear_svc(long_multiclass):
    p = long_multiclass
    svc = LinearSVC(C=C, fit_intercept=False, tol=1e-10, max_iter=100_000)
    svc.fit(p.X, p.y)
    model = MultiTaskSVM(C, fit_intercept=False).fit(p.X, p.y)
    assert_allclose(model.coef_[0], svc.coef_, atol=1e-5)
    assert_array_equal(model.predict(p.X), svc.predict(p.X))


def test_shared_mean_is_a_linear_svc_on_augmented_features(long_classification):
    p, rho = long_classification, 0.7
    private = np.zeros((len(p.y), 5, p.X.shape[1]))
    private[np.arange(len(p.y)), p.codes] = np.sqrt(1 - rho) * p.X
    Z = np.hstack([np.sqrt(rho) * p.X, private.reshape(len(p.y), -1)])
    svc = LinearSVC(C=C, fit_intercept=False, tol=1e-10, max_iter=1_000_000)
    svc.fit(Z, p.y)
    model = MultiTaskSVM(C, SharedMean(rho), fit_intercept=False)
    model.fit(p.X, p.y, task=p.task)
    w, V = svc.coef_[0, :5], svc.coef_[0, 5:].reshape(5, 5)
    expected = np.sqrt(rho) * w + np.sqrt(1 - rho) * V
    assert_allclose(model.coef_, expected, atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
def test_one_task_is_a_linear_svr(long_regression, epsilon):
    p = long_regression
    svr = LinearSVR(
        C=C,
        epsilon=epsilon,
        loss="squared_epsilon_insensitive",
        fit_intercept=False,
        tol=1e-10,
        max_iter=100_000,
    )
    svr.fit(p.X, p.y, p.weight)
    model = MultiTaskSVR(C, epsilon, fit_intercept=False).fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_[0], svr.coef_, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_tube_of_zero_width_is_a_ridge_of_half_the_strength(long_regression, mode):
    p = long_regression
    options = {"relation": SharedMean(0.6), "fit_intercept": mode}
    svr = MultiTaskSVR(C=2.0, **options).fit(p.X, p.y, task=p.task)
    ridge = PerTaskRegressor(alpha=0.25, **options).fit(p.X, p.y, task=p.task)
    assert_allclose(svr.coef_, ridge.coef_, atol=1e-8)
    assert_allclose(svr.intercept_, ridge.intercept_, atol=1e-8)
    assert svr.n_iter_ == 1


def test_a_tube_around_every_label_leaves_nothing_to_do(long_regression):
    p = long_regression
    model = MultiTaskSVR(epsilon=1e3).fit(p.X, p.y, task=p.task)
    assert_array_equal(model.coef_, 0)
    assert model.optimality_ == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("estimator", [MultiTaskSVM, MultiTaskSVR])
class TestMembersThatCoincide:
    @pytest.fixture
    def p(self, estimator, long_classification, long_regression):
        return long_classification if estimator is MultiTaskSVM else long_regression

    def test_ends_of_the_correlation(self, estimator, p, mode):
        for name, rho in (("independent", 0.0), ("pooled", 1.0)):
            one, two = (
                estimator(relation=relation, fit_intercept=mode)
                for relation in (name, SharedMean(rho))
            )
            one.fit(p.X, p.y, task=p.task)
            two.fit(p.X, p.y, task=p.task)
            assert_array_equal(one.coef_, two.coef_)
            assert_array_equal(one.intercept_, two.intercept_)

    def test_a_covariance_of_shared_mean_is_shared_mean(self, estimator, p, mode):
        one, two = (
            estimator(relation=relation, fit_intercept=mode)
            for relation in (SharedMean(0.6), TaskCovariance(SharedMean(0.6).kernel(5)))
        )
        one.fit(p.X, p.y, task=p.task)
        two.fit(p.X, p.y, task=p.task)
        assert_allclose(one.coef_, two.coef_, atol=1e-5)

    def test_the_order_of_rows_does_not_matter(self, estimator, p, mode):
        order = np.random.default_rng(0).permutation(len(p.y))
        one, two = estimator(fit_intercept=mode), estimator(fit_intercept=mode)
        one.fit(p.X, p.y, task=p.task)
        two.fit(p.X[order], p.y[order], task=p.task[order])
        assert_allclose(one.coef_, two.coef_, atol=1e-6)

    def test_a_weight_of_two_is_the_row_twice(self, estimator, p, mode):
        times = np.random.default_rng(1).integers(0, 3, size=len(p.y))
        times[p.codes == 1] = 1
        copies = np.repeat(np.arange(len(p.y)), times)
        one, two = estimator(fit_intercept=mode), estimator(fit_intercept=mode)
        one.fit(p.X, p.y, 1.0 * times, task=p.task)
        two.fit(p.X[copies], p.y[copies], task=p.task[copies])
        assert_allclose(one.coef_, two.coef_, atol=1e-6)


@pytest.mark.parametrize("mode", [True, "shared", False])
@pytest.mark.parametrize("estimator", [MultiTaskSVM, MultiTaskSVR])
def test_scaling_features_and_strength_is_the_same_model(
    estimator, mode, long_classification, long_regression
):
    p = long_classification if estimator is MultiTaskSVM else long_regression
    one = estimator(1.0, fit_intercept=mode).fit(p.X, p.y, task=p.task)
    two = estimator(1e-6, fit_intercept=mode).fit(1e3 * p.X, p.y, task=p.task)
    assert_allclose(1e3 * two.coef_, one.coef_, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- class weights


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("class_weight", ["balanced", "dict"])
def test_class_weights_multiply_the_rows(
    long_classification, wide_classification, matrices, layout, class_weight
):
    case = Case(
        long_classification,
        wide_classification,
        "SharedMean(0.6)",
        layout,
        "labels",
        matrices,
        C,
    )
    X, y, codes, weight = case.rows
    first, second = np.unique(y)
    if class_weight == "dict":
        class_weight = {second: 3.0}
        factor = np.where(y == second, 3.0, 1.0)
    else:
        share = {k: weight.sum() / (2 * weight[y == k].sum()) for k in (first, second)}
        factor = np.array([share[label] for label in y])
    model = MultiTaskSVM(C, SharedMean(0.6), class_weight=class_weight)
    model.set_params(**case.params).fit(case.X, case.y, **case.fit)
    args = X, signs(y), codes, weight * factor, 1.0, case.K
    value = reference.twin("squared_hinge", *args)[2]
    check_objective("squared_hinge", model, value, *args)


def test_class_weights_of_three_classes(long_multiclass):
    p = long_multiclass
    weight = np.array([1.0, 2.0, 0.5])[p.label]
    one = MultiTaskSVM(class_weight={"b": 2.0, "c": 0.5}).fit(p.X, p.y, task=p.task)
    two = MultiTaskSVM().fit(p.X, p.y, weight, task=p.task)
    assert_allclose(one.coef_, two.coef_, atol=1e-9)
    balanced = len(p.y) / (3 * np.bincount(p.label))
    one = MultiTaskSVM(class_weight="balanced").fit(p.X, p.y, task=p.task)
    two = MultiTaskSVM().fit(p.X, p.y, balanced[p.label], task=p.task)
    assert_allclose(one.coef_, two.coef_, atol=1e-9)
