"""Per-task regression and classification against their twins, and their limits."""

from itertools import product

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import (
    MODES,
    RELATIONS,
    SOLVERS,
    C,
    Case,
    every_case,
    every_pair,
    positions,
    related,
    signs,
    wide_multiclass,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from mtlearn import (
    Independent,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

# ---------------------------------------------------------------- against the twins


@every_case
def test_regressor(
    long_regression, wide_regression, matrices, name, layout, mode, weights
):
    case = Case(long_regression, wide_regression, name, layout, weights, matrices)
    model = PerTaskRegressor(alpha=0.3, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    coef, intercept, value = reference.least_squares(*case.rows, 0.3, case.K, mode)
    case.check("squared", model, mode, value, strength=0.3, precision=1e-12)
    assert_allclose(model.coef_, coef, atol=1e-6)
    X, _, codes, _ = case.rows
    fitted = model.predict(case.X, **case.predict)
    if layout == "wide":
        assert_allclose(fitted, case.X @ coef.T + intercept, atol=1e-5)
    else:
        expected = reference.predict(coef, intercept, X, codes)
        assert_allclose(fitted, expected, atol=1e-5)


@every_pair
def test_classifier_of_two_classes(
    long_classification, wide_classification, matrices, name, layout, mode, weights
):
    case = Case(
        long_classification, wide_classification, name, layout, weights, matrices, C
    )
    model = PerTaskClassifier(C=C, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    value = case.twin("logistic", mode, signs)[2]
    case.check("logistic", model, mode, value, signs)


@every_pair
def test_classifier_of_three_classes(
    long_multiclass, matrices, name, layout, mode, weights
):
    wide = wide_multiclass(long_multiclass)
    case = Case(long_multiclass, wide, name, layout, weights, matrices, C)
    model = PerTaskClassifier(C=C, fit_intercept=mode, **case.params)
    model.fit(case.X, case.y, **case.fit)
    assert model.coef_.shape == (5, 3, 5)
    value = case.twin("softmax", mode, positions)[2]
    case.check("softmax", model, mode, value, positions)


@pytest.mark.parametrize("layout", ["task", "wide"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RELATIONS[2:])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_of_the_regressor(
    long_regression, wide_regression, matrices, solver, name, mode, layout
):
    case = Case(long_regression, wide_regression, name, layout, "labels", matrices)
    value = reference.least_squares(*case.rows, 1.0, case.K, mode)[2]
    for X in (case.X, sp.csr_array(case.X)):
        model = PerTaskRegressor(fit_intercept=mode, solver=solver, **case.params)
        model.fit(X, case.y, **case.fit)
        case.check("squared", model, mode, value, precision=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "pooled", "graph"])
def test_every_solver_of_the_classifier(
    long_classification, wide_classification, matrices, name, mode
):
    for layout in ("task", "wide"):
        case = Case(
            long_classification, wide_classification, name, layout, "rows", matrices
        )
        value = case.twin("logistic", mode, signs)[2]
        for solver, build in product(SOLVERS, (np.asarray, sp.csr_array)):
            model = PerTaskClassifier(fit_intercept=mode, solver=solver, **case.params)
            model.fit(build(case.X), case.y, **case.fit)
            case.check("logistic", model, mode, value, signs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "pooled", "covariance"])
def test_every_solver_of_the_softmax(long_multiclass, matrices, name, mode):
    case = Case(long_multiclass, None, name, "task", "rows", matrices)
    value = case.twin("softmax", mode, positions)[2]
    for solver, build in product(
        ("newton-cholesky", "newton-cg"), (np.asarray, sp.csr_array)
    ):
        model = PerTaskClassifier(fit_intercept=mode, solver=solver, **case.params)
        model.fit(build(case.X), case.y, **case.fit)
        case.check("softmax", model, mode, value, positions)


# ---------------------------------------------------------------- what they reduce to


@pytest.mark.filterwarnings("ignore:.* ties tasks, but")
@pytest.mark.parametrize("alpha", [0.1, 10.0])
@pytest.mark.parametrize("mode", [True, False])
def test_one_task_is_a_ridge(long_regression, alpha, mode):
    p = long_regression
    ridge = Ridge(alpha=alpha, fit_intercept=mode).fit(p.X, p.y, p.weight)
    for relation in ("independent", "shared_mean", "pooled"):
        model = PerTaskRegressor(alpha, relation, fit_intercept=mode)
        model.fit(p.X, p.y, p.weight)
        assert_allclose(model.coef_, ridge.coef_[None], atol=1e-9)
        assert_allclose(model.intercept_, np.atleast_1d(ridge.intercept_), atol=1e-9)
        assert model.predict(p.X).shape == p.y.shape
        assert_allclose(model.predict(p.X), ridge.predict(p.X), atol=1e-9)
        assert_allclose(model.score(p.X, p.y), ridge.score(p.X, p.y), atol=1e-9)


def test_one_task_without_penalty_is_ordinary_least_squares(long_regression):
    p = long_regression
    ols = LinearRegression().fit(p.X, p.y, p.weight)
    model = PerTaskRegressor(alpha=0).fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_[0], ols.coef_, atol=1e-10)
    assert_allclose(model.predict(p.X), ols.predict(p.X), atol=1e-10)


@pytest.mark.parametrize("mode", [True, False])
def test_complete_labels_are_a_ridge_of_many_outputs(wide_complete, mode):
    p = wide_complete
    ridge = Ridge(alpha=2.0, fit_intercept=mode).fit(p.X, p.Y, p.weight)
    model = PerTaskRegressor(alpha=2.0, fit_intercept=mode).fit(p.X, p.Y, p.weight)
    assert_allclose(model.coef_, ridge.coef_, atol=1e-9)
    assert_allclose(model.predict(p.X), ridge.predict(p.X), atol=1e-9)
    assert_allclose(model.score(p.X, p.Y), ridge.score(p.X, p.Y), atol=1e-9)


@pytest.mark.parametrize("mode", [True, False])
def test_one_task_is_a_logistic_regression(long_classification, mode):
    p = long_classification
    sklearn = LogisticRegression(C=C, fit_intercept=mode, tol=1e-10, max_iter=10_000)
    sklearn.fit(p.X, p.y, p.weight)
    model = PerTaskClassifier(C=C, fit_intercept=mode).fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_, sklearn.coef_, atol=1e-4)
    assert_allclose(model.predict_proba(p.X), sklearn.predict_proba(p.X), atol=1e-4)
    assert_array_equal(model.predict(p.X), sklearn.predict(p.X))
    assert_array_equal(model.classes_, sklearn.classes_)
    assert model.score(p.X, p.y) == sklearn.score(p.X, p.y)


def test_one_task_of_three_classes_is_a_multinomial_regression(long_multiclass):
    p = long_multiclass
    sklearn = LogisticRegression(C=C, tol=1e-10, max_iter=10_000)
    sklearn.fit(p.X, p.y, p.weight)
    model = PerTaskClassifier(C=C).fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_[0], sklearn.coef_, atol=1e-4)
    assert_allclose(model.predict_proba(p.X), sklearn.predict_proba(p.X), atol=1e-4)


@pytest.mark.parametrize("estimator", [PerTaskRegressor, PerTaskClassifier])
@pytest.mark.parametrize("mode", MODES)
class TestMembersThatCoincide:
    def models(self, estimator, p, mode, *relations):
        return [
            estimator(relation=relation, fit_intercept=mode).fit(p.X, p.y, task=p.codes)
            for relation in relations
        ]

    @pytest.fixture
    def problem(self, estimator, long_regression, long_classification):
        if estimator is PerTaskRegressor:
            return long_regression
        return long_classification

    def test_correlation_zero_is_independent_exactly(self, estimator, problem, mode):
        one, *others = self.models(
            estimator, problem, mode, "independent", Independent(), SharedMean(0.0)
        )
        for other in others:
            assert_array_equal(one.coef_, other.coef_)
            assert_array_equal(one.intercept_, other.intercept_)

    def test_correlation_one_is_pooled_exactly(self, estimator, problem, mode):
        one, two = self.models(estimator, problem, mode, "pooled", SharedMean(1.0))
        assert_array_equal(one.coef_, two.coef_)
        assert_array_equal(one.intercept_, two.intercept_)
        assert np.ptp(one.coef_, axis=0).max() == 0

    def test_a_graph_of_strength_zero_is_independent(
        self, estimator, problem, mode, adjacency
    ):
        one, two = self.models(
            estimator, problem, mode, "independent", TaskGraph(adjacency, 0.0)
        )
        assert_allclose(one.coef_, two.coef_, atol=1e-6)

    def test_a_covariance_of_shared_mean_is_shared_mean(self, estimator, problem, mode):
        K = SharedMean(0.6).kernel(5)
        one, two = self.models(
            estimator, problem, mode, SharedMean(0.6), TaskCovariance(K)
        )
        assert_allclose(one.coef_, two.coef_, atol=1e-4)
        if problem.y.dtype.kind == "f":
            assert_allclose(one.coef_, two.coef_, atol=1e-8)
            assert_allclose(one.intercept_, two.intercept_, atol=1e-8)

    def test_relabelling_the_tasks_permutes_the_rows(
        self, estimator, problem, mode, task_covariance
    ):
        p, order = problem, np.array([3, 1, 4, 0, 2])
        place = np.argsort(order)
        relation = TaskCovariance(task_covariance)
        (one,) = self.models(estimator, p, mode, relation)
        mixed = TaskCovariance(task_covariance[np.ix_(order, order)])
        two = estimator(relation=mixed, fit_intercept=mode)
        two.fit(p.X, p.y, task=place[p.codes])
        assert_allclose(two.coef_, one.coef_[order], atol=1e-4)
        if p.y.dtype.kind == "f":
            assert_allclose(two.coef_, one.coef_[order], atol=1e-8)

    def test_the_order_of_rows_does_not_matter(self, estimator, problem, mode):
        p = problem
        order = np.random.default_rng(0).permutation(len(p.y))
        (one,) = self.models(estimator, p, mode, "shared_mean")
        two = estimator(relation="shared_mean", fit_intercept=mode)
        two.fit(p.X[order], p.y[order], task=p.codes[order])
        assert_allclose(one.coef_, two.coef_, atol=1e-7)
        fitted = one.predict(p.X, task=p.codes)
        assert_array_equal(fitted[order], one.predict(p.X[order], task=p.codes[order]))

    def test_a_weight_of_two_is_the_row_twice(self, estimator, problem, mode):
        p = problem
        times = np.random.default_rng(1).integers(0, 3, size=len(p.y))
        times[p.codes == 1] = 1
        copies = np.repeat(np.arange(len(p.y)), times)
        options = {"relation": "shared_mean", "fit_intercept": mode}
        one = estimator(**options).fit(p.X, p.y, 1.0 * times, task=p.codes)
        two = estimator(**options).fit(p.X[copies], p.y[copies], task=p.codes[copies])
        assert_allclose(one.coef_, two.coef_, atol=1e-6)

    def test_weights_of_the_loss_are_strengths_of_the_penalty(
        self, estimator, problem, mode
    ):
        p = problem
        name = "alpha" if estimator is PerTaskRegressor else "C"
        options = {"relation": "shared_mean", "fit_intercept": mode}
        one = estimator(**{name: 4.0}, **options)
        two = estimator(**{name: 1.0}, **options)
        weight = np.full(len(p.y), 0.25 if name == "alpha" else 4.0)
        one.fit(p.X, p.y, task=p.codes)
        two.fit(p.X, p.y, weight, task=p.codes)
        assert_allclose(one.coef_, two.coef_, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "pooled", "graph"])
def test_both_layouts_agree(wide_regression, matrices, name, mode):
    p = wide_regression
    relation, _ = related(name, np.arange(5), *matrices)
    X, y, codes, weight = reference.to_long(p.X, p.Y, p.weights)
    options = {"relation": relation, "fit_intercept": mode, "task_weight": "balanced"}
    wide = PerTaskRegressor(**options).fit(p.X, p.Y, p.weights)
    long = PerTaskRegressor(**options).fit(X, y, weight, task=codes)
    assert_array_equal(wide.tasks_, long.tasks_)
    assert_allclose(wide.coef_, long.coef_, atol=1e-9)
    assert_allclose(wide.intercept_, long.intercept_, atol=1e-9)
    fitted = np.column_stack(
        [long.predict(p.X, task=np.full(len(p.X), t)) for t in range(5)]
    )
    assert_allclose(wide.predict(p.X), fitted, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("solver", SOLVERS)
def test_scaling_the_labels_scales_the_coefficients(long_regression, solver, factor):
    p = long_regression
    options = {"relation": "shared_mean", "solver": solver}
    one = PerTaskRegressor(**options).fit(p.X, p.y, task=p.task)
    two = PerTaskRegressor(**options).fit(p.X, factor * p.y, task=p.task)
    assert_allclose(two.coef_, factor * one.coef_, rtol=1e-5, atol=1e-6 * factor)
    assert one.n_iter_ == two.n_iter_


def test_adding_a_constant_to_the_labels_moves_free_intercepts_only(long_regression):
    p = long_regression
    for mode in (True, "shrunk", "shared"):
        options = {"relation": "shared_mean", "fit_intercept": mode}
        one = PerTaskRegressor(**options).fit(p.X, p.y, task=p.task)
        two = PerTaskRegressor(**options).fit(p.X, p.y + 100, task=p.task)
        assert_allclose(two.coef_, one.coef_, atol=1e-8)
        assert_allclose(two.intercept_, one.intercept_ + 100, atol=1e-7)


# ---------------------------------------------------------------- classes of tasks


def test_softmax_of_two_of_three_classes_is_their_own_model(long_multiclass):
    # independent tasks: "west" has "a" and "b" only; the cheapest pair of scores with
    # difference f is (-f / 2, f / 2), at half the penalty of f alone
    p = long_multiclass
    model = PerTaskClassifier(C=C).fit(p.X, p.y, task=p.task)
    X, y, task = (v[p.task == "west"] for v in (p.X, p.y, p.task))
    alone = LogisticRegression(C=2 * C, tol=1e-10, max_iter=10_000).fit(X, y)
    a, b, c = model.coef_[4]
    assert_allclose(b - a, alone.coef_[0], atol=1e-4)
    assert_allclose(c, 0, atol=1e-9)
    proba = model.predict_proba(X, task=task)
    assert_allclose(proba[:, :2], alone.predict_proba(X), atol=1e-4)
    assert_array_equal(proba[:, 2], 0)
    assert_array_equal(model.decision_function(X, task=task)[:, 2], -np.inf)
    assert set(model.predict(X, task=task)) <= {"a", "b"}
    assert model.task_classes_[4].tolist() == ["a", "b"]


def test_a_task_of_one_class_predicts_it_and_borrows_coefficients(long_classification):
    p = long_classification
    model = PerTaskClassifier(relation="shared_mean").fit(p.X, p.y, task=p.task)
    rows = p.task == "south"
    assert set(model.predict(p.X[rows], task=p.task[rows])) == {"yes"}
    assert model.task_classes_[3].tolist() == ["yes"]
    # its own part is zero: w_t = w_0 = rho / (1 - rho + T' rho) sum of the others
    others = model.coef_[[0, 1, 2, 4]].sum(axis=0)
    assert_allclose(model.coef_[3], 0.5 / (0.5 + 4 * 0.5) * others, atol=1e-4)


def test_a_shrunken_intercept_of_a_task_of_one_class_is_finite(long_classification):
    p = long_classification
    options = {"relation": "shared_mean", "fit_intercept": "shrunk"}
    model = PerTaskClassifier(**options).fit(p.X, p.y, task=p.task)
    assert np.abs(model.intercept_).max() < 5


def test_every_task_of_one_class():
    X = np.random.default_rng(0).normal(size=(12, 2))
    task = np.repeat([0, 1, 2], 4)
    y = task % 2
    for estimator in (PerTaskClassifier(), PerTaskClassifier(relation="shared_mean")):
        model = estimator.fit(X, y, task=task)
        assert_array_equal(model.predict(X, task=task), y)
        assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()


def test_separable_tasks_have_finite_coefficients():
    X = np.linspace(-1, 1, 20)[:, None]
    y = (X[:, 0] > 0).astype(int)
    task = np.tile([0, 1], 10)
    model = PerTaskClassifier(C=1e4).fit(X, y, task=task)
    assert model.score(X, y, task=task) == 1
    assert np.abs(model.coef_).max() < 1e3


def test_newton_dual_is_for_two_classes(long_multiclass):
    p = long_multiclass
    with pytest.raises(ValueError, match="`solver`='newton-dual' is for two classes"):
        PerTaskClassifier(solver="newton-dual").fit(p.X, p.y, task=p.task)
