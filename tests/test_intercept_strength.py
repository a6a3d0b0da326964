"""`intercept_strength`: a strength of their own for shrunken intercepts, everywhere."""

import cvxpy as cp
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import (
    SOLVERS,
    C,
    Case,
    check_objective,
    cover,
    positions,
    related,
    signs,
)
from numpy.testing import assert_allclose
from sklearn.base import clone

from mtlearn import (
    Composition,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMappingRegressor,
    SharedMean,
)
from mtlearn.constraints import NonNegative

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

STRENGTHS = (0.05, 30.0)
RELATIONS = ("independent", "SharedMean(0.6)", "pooled", "graph", "covariance")
LAYOUTS = ("column", "task", "wide")
EPSILON = 0.3
MARGINS = {
    "squared_hinge": MultiTaskSVM(C=C),
    "hinge": MultiTaskSVM(C=C, loss="hinge", tol=1e-9),
    "squared_epsilon_insensitive": MultiTaskSVR(C=C, epsilon=EPSILON),
    "epsilon_insensitive": MultiTaskSVR(
        C=C, epsilon=EPSILON, loss="epsilon_insensitive", tol=1e-9
    ),
}
every_strength = pytest.mark.parametrize("strength", STRENGTHS)


def shrunken(model, strength, **params):
    return clone(model).set_params(
        fit_intercept="shrunk", intercept_strength=strength, **params
    )


def options(loss):
    return {"epsilon": EPSILON} if "epsilon" in loss else {}


def labels_of(loss):
    if loss == "softmax":
        return positions
    return None if "epsilon" in loss or loss == "squared" else signs


def check_against_the_twin(loss, model, case, strength):
    """The fitted model is the minimum of the objective with that strength."""
    more = {"intercept_strength": strength, **options(loss)}
    value = case.twin(loss, "shrunk", labels_of(loss), **more)[2]
    model = model.set_params(**case.params).fit(case.X, case.y, **case.fit)
    case.check(loss, model, "shrunk", value, labels_of(loss), **more)
    # and the strength matters
    other = clone(model).set_params(intercept_strength=1.0)
    other.fit(case.X, case.y, **case.fit)
    if case.params["relation"] != "pooled":
        assert np.abs(other.intercept_ - model.intercept_).max() > 1e-3


# ---------------------------------------------------------------- against the twins


@every_strength
@pytest.mark.parametrize("name, layout", cover(RELATIONS, LAYOUTS))
def test_ridge(long_regression, wide_regression, matrices, name, layout, strength):
    case = Case(long_regression, wide_regression, name, layout, "rows", matrices)
    model = shrunken(PerTaskRegressor(), strength)
    check_against_the_twin("squared", model, case, strength)


@every_strength
@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "graph"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_way_to_solve(long_regression, matrices, solver, name, build, strength):
    p = long_regression
    case = Case(p, None, name, "task", "rows", matrices)
    case.X = build(p.X)
    model = shrunken(PerTaskRegressor(solver=solver), strength)
    check_against_the_twin("squared", model, case, strength)


@every_strength
@pytest.mark.parametrize("name, layout", cover(RELATIONS, LAYOUTS))
def test_classes(
    long_classification, wide_classification, matrices, name, layout, strength
):
    data = long_classification, wide_classification
    case = Case(*data, name, layout, "rows", matrices, C)
    model = shrunken(PerTaskClassifier(C), strength)
    check_against_the_twin("logistic", model, case, strength)


@every_strength
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "graph"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_newton_step(long_classification, matrices, solver, name, strength):
    case = Case(long_classification, None, name, "task", "rows", matrices, C)
    model = shrunken(PerTaskClassifier(C, solver=solver), strength)
    check_against_the_twin("logistic", model, case, strength)


@every_strength
@pytest.mark.parametrize("solver", ["newton-cholesky", "newton-cg"])
def test_several_classes(long_multiclass, matrices, solver, strength):
    case = Case(long_multiclass, None, "SharedMean(0.6)", "task", "rows", matrices, C)
    model = shrunken(PerTaskClassifier(C, solver=solver), strength)
    check_against_the_twin("softmax", model, case, strength)


@every_strength
@pytest.mark.parametrize("loss, name", cover(tuple(MARGINS), RELATIONS))
def test_margins(long_classification, long_regression, matrices, loss, name, strength):
    p = long_classification if loss.endswith("hinge") else long_regression
    case = Case(p, None, name, "task", "rows", matrices, C)
    model = shrunken(MARGINS[loss], strength)
    check_against_the_twin(loss, model, case, strength)


@every_strength
@pytest.mark.parametrize("loss", MARGINS)
def test_the_kernel_of_linear_features_is_the_linear_machine(
    long_classification, long_regression, loss, strength
):
    p = long_classification if loss.endswith("hinge") else long_regression
    how = {"relation": SharedMean(0.6), "tol": 1e-10}
    one = shrunken(MARGINS[loss], strength, **how).fit(p.X, p.y, task=p.task)
    two = shrunken(MARGINS[loss], strength, **how, kernel="precomputed")
    two.fit(p.X @ p.X.T, p.y, task=p.task)
    name = "decision_function" if loss.endswith("hinge") else "predict"
    found = getattr(two, name)(p.X @ p.X.T, task=p.task)
    assert_allclose(found, getattr(one, name)(p.X, task=p.task), atol=2e-3)
    plain = shrunken(MARGINS[loss], 1.0, **how).fit(p.X, p.y, task=p.task)
    assert np.abs(getattr(plain, name)(p.X, task=p.task) - found).max() > 1e-2


@every_strength
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("inner", ["independent", "shared_mean"])
def test_tasks_made_of_others(inner, alpha, strength):
    rng = np.random.default_rng(0)
    codes, X = np.arange(40) % 4, rng.normal(size=(40, 3)) + 1.0
    y = X.sum(axis=1) + codes + rng.normal(size=40)
    rules = np.vstack([np.eye(3), [1.0, 0.5, 0.0]])
    relation = Composition({3: {0: 1.0, 1: 0.5}}, inner)
    model = shrunken(PerTaskRegressor(alpha, relation), strength)
    model.fit(X, y, task=codes)
    K = reference.kernel(inner, 3)
    args = X, y, codes, np.ones(40), alpha, K, "shrunk"
    more = {"rules": rules, "intercept_strength": strength}
    _, intercept, value = reference.least_squares(*args, n_tasks=4, **more)
    found = reference.objective("squared", model.coef_, model.intercept_, *args, **more)
    assert found == pytest.approx(value, rel=1e-7)
    if alpha:
        assert_allclose(model.intercept_, intercept, atol=1e-5)


@every_strength
@pytest.mark.parametrize("name", ["SharedMean(0.6)", "graph", "independent"])
def test_without_a_penalty_omega_is_least(matrices, name, strength):
    # fewer rows than unknowns: what they leave open is for Omega to say
    rng = np.random.default_rng(0)
    codes, X = np.arange(20) % 5, rng.normal(size=(20, 6))
    y = X[:, 0] + codes + rng.normal(size=20)
    relation, K = related(name, np.arange(5), *matrices)
    model = shrunken(PerTaskRegressor(0.0, relation), strength).fit(X, y, task=codes)
    coef, intercept, _ = reference.least_norm(
        X, y, codes, np.ones(20), K, "shrunk", intercept_strength=strength
    )
    assert_allclose(model.coef_, coef, atol=1e-6)
    assert_allclose(model.intercept_, intercept, atol=1e-6)


@every_strength
@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "hinge"])
def test_under_constraints(long_classification, long_regression, loss, strength):
    p = long_classification if loss.endswith("hinge") else long_regression
    y = signs(p.y) if loss.endswith("hinge") else p.y
    model = PerTaskRegressor(0.5) if loss == "squared" else MARGINS[loss]
    more = {"relation": SharedMean(0.6), "constraints": [NonNegative()]}
    model = shrunken(model, strength, **more).fit(p.X, p.y, task=p.task)
    scale, alpha = (1.0, 0.5) if loss == "squared" else (C, 1.0)
    K = reference.shared_mean(0.6, 5)
    args = p.X, y, p.codes, scale * np.ones(len(y)), alpha, K
    value = reference.constrained_twin(
        loss, *args, lambda W, b: [W >= 0], "shrunk", intercept_strength=strength
    )[2]
    own = model.coef_, model.intercept_
    found = reference.objective(
        loss, *own, *args, "shrunk", intercept_strength=strength
    )
    assert found == pytest.approx(value, rel=1e-5)


@every_strength
def test_under_a_constraint_for_the_conic_solver(long_regression, strength):
    p = long_regression

    def level(W, b):
        return [cp.sum(b) == 1.0, W[0] >= 0]

    model = PerTaskRegressor(0.3, SharedMean(0.6), constraints=[level])
    model = shrunken(model, strength).fit(p.X, p.y, task=p.task)
    K, weight = reference.shared_mean(0.6, 5), np.ones(len(p.y))
    args, more = (p.X, p.y, p.codes, weight, 0.3, K), {"intercept_strength": strength}
    value = reference.constrained_twin("squared", *args, level, "shrunk", **more)[2]
    own = model.coef_, model.intercept_
    found = reference.objective("squared", *own, *args, "shrunk", **more)
    assert found == pytest.approx(value, rel=1e-6)


@every_strength
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("penalty", ["rank", "nuclear", "l21", "dirty"])
@pytest.mark.parametrize("solver", ["auto", "rows"])
def test_shared_features(
    long_regression, long_classification, loss, penalty, solver, strength
):
    if loss == "squared":
        p, y = long_regression, long_regression.y
        model = SharedFeatureRegressor(alpha=2.0, penalty=penalty, solver=solver)
    elif solver == "auto":
        p, y = long_classification, signs(long_classification.y)
        model = SharedFeatureClassifier(alpha=2.0, penalty=penalty)
    else:
        pytest.skip("classes are solved from the rows")
    model = shrunken(model, strength).fit(p.X, p.y, task=p.task)
    args = p.X, y, p.codes, np.ones(len(y)), 2.0, "independent", "shrunk"
    more = {"penalty": penalty, "intercept_strength": strength}
    value = reference.twin(loss, *args, **more)[2]
    check_objective(loss, model, value, *args, precision=1e-7, **more)


@every_strength
def test_a_shared_mapping(long_regression, strength):
    p = long_regression
    model = SharedMappingRegressor((3,), alpha=0.3, random_state=0, max_iter=2000)
    model = shrunken(model, strength, tol=1e-8).fit(p.X, p.y, task=p.task)
    args = "tanh", p.X, p.y, p.codes, np.ones(len(p.y)), 0.3, "shrunk"
    more = {"intercept_strength": strength}

    def value(b):
        heads = model.coefs_, [*model.intercepts_[:-1], b]
        return reference.mapping_objective("squared", *heads, *args, **more)

    # stationary in the intercepts of the heads
    b, h = model.intercepts_[-1], 1e-4
    slopes = [(value(b + h * e) - value(b - h * e)) / (2 * h) for e in np.eye(len(b))]
    assert_allclose(slopes, 0.0, atol=1e-2 * value(b) ** 0.5)


@every_strength
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_covariance_that_is_learned(loss, strength):
    rng = np.random.default_rng(0)
    codes, X = np.arange(80) % 5, rng.normal(size=(80, 3))
    y = X[:, 0] * (1 + codes) + codes + rng.normal(size=80)
    model = PerTaskRegressor(1.0, "learned")
    if loss == "logistic":
        y, model = np.where(y > np.median(y), 1, -1), PerTaskClassifier(1.0, "learned")
    model = shrunken(model, strength, tol=1e-9).fit(X, y, task=codes)

    W, own, common = cp.Variable((5, 3)), cp.Variable((5, 1)), cp.Variable()

    def total(W, own, common):
        f = cp.sum(cp.multiply(X, W[codes]), axis=1) + own[codes, 0] + common
        fit = 0.5 * cp.sum_squares(y - f)
        if loss == "logistic":
            fit = cp.sum(cp.logistic(-cp.multiply(y, f)))
        tied = cp.hstack([W, np.sqrt(strength) * own])
        return fit + 0.5 * cp.square(cp.normNuc(tied)) / 5

    goal = cp.Problem(cp.Minimize(total(W, own, common)))
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-7)
    least = goal.solve(solver=cp.CLARABEL, **tight)
    W, b = cp.Constant(model.coef_), model.intercept_[:, None]
    rest = cp.Problem(cp.Minimize(total(W, b - common, common)))
    assert rest.solve(solver=cp.CLARABEL, **tight) == pytest.approx(least, rel=3e-6)


# ---------------------------------------------------------------- what it means


MODELS = {
    "ridge": PerTaskRegressor(),
    "logistic": PerTaskClassifier(),
    "squared_hinge": MultiTaskSVM(),
    "l21": SharedFeatureRegressor(penalty="l21"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("strength, mode", [(1e-6, "free"), (1e8, "shared")])
def test_it_leads_from_free_intercepts_to_shared_ones(name, strength, mode):
    rng = np.random.default_rng(0)
    codes, X = np.arange(120) % 4, rng.normal(size=(120, 2)) + 0.5
    y = X[:, 0] + codes + 2 * rng.normal(size=120)
    if name in ("logistic", "squared_hinge"):
        y = y > np.median(y)
    model = shrunken(MODELS[name], strength).fit(X, y, task=codes)
    plain = clone(MODELS[name]).set_params(fit_intercept=mode).fit(X, y, task=codes)
    assert_allclose(model.intercept_, plain.intercept_, atol=2e-3)
    assert_allclose(model.coef_, plain.coef_, atol=2e-3)


@pytest.mark.parametrize("name", ["ridge", "logistic", "squared_hinge"])
def test_it_is_the_strength_of_other_units(name):
    # features twice as large, with a quarter of the strength: deviations for themselves
    rng = np.random.default_rng(0)
    codes, X = np.arange(60) % 4, rng.normal(size=(60, 3))
    y = X[:, 0] + codes + rng.normal(size=60)
    y = y if name == "ridge" else y > np.median(y)
    how = {"relation": "shared_mean", "tol": 1e-12}
    kind = "alpha" if name == "ridge" else "C"
    one = shrunken(MODELS[name], 4.0, **how).fit(X, y, task=codes)
    two = shrunken(MODELS[name], 1.0, **how, **{kind: 4.0 if kind == "alpha" else 0.25})
    two.fit(2 * X, y, task=codes)
    assert_allclose(one.intercept_, two.intercept_, atol=1e-5)
    assert_allclose(one.coef_, 2 * two.coef_, atol=1e-5)


@pytest.mark.parametrize("strength", [1.0, 1e-4])
def test_what_all_classes_have_in_common_is_not_left_to_rounding(
    long_multiclass, strength
):
    p = long_multiclass
    model = shrunken(PerTaskClassifier(30.0), strength).fit(p.X, p.y, task=p.task)
    assert np.abs(model.intercept_.sum(axis=1)).max() < 1e-12


@pytest.mark.parametrize("mode", [True, "shared", False])
def test_it_concerns_shrunken_ones_only(long_regression, mode):
    p = long_regression
    models = [
        PerTaskRegressor(fit_intercept=mode, intercept_strength=strength)
        for strength in (1.0, 7.0)
    ]
    one, two = (model.fit(p.X, p.y, task=p.task) for model in models)
    assert_allclose(one.coef_, two.coef_, rtol=0)
    assert_allclose(one.intercept_, two.intercept_, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        PerTaskClassifier(relation="shared_mean", solver="newton-cg"),
        MultiTaskSVM(),
        SharedFeatureClassifier(penalty="l21"),
        PerTaskClassifier(relation="learned"),
    ],
    ids=repr,
)
def test_a_warm_start_is_where_the_last_fit_ended(long_classification, model):
    p = long_classification
    model = shrunken(model, 9.0, warm_start=True).fit(p.X, p.y, task=p.task)
    first = model.n_iter_
    again = model.fit(p.X, p.y, task=p.task)
    assert again.n_iter_ < 0.8 * first


def test_a_path_of_shared_features_has_it_too(long_regression):
    p = long_regression
    how = {"fit_intercept": "shrunk", "intercept_strength": 20.0, "penalty": "l21"}
    chosen = SharedFeatureRegressorCV(alphas=8, cv=3, **how).fit(p.X, p.y, task=p.task)
    alone = SharedFeatureRegressor(alpha=chosen.alpha_, **how)
    alone.fit(p.X, p.y, task=p.task)
    assert_allclose(chosen.intercept_, alone.intercept_, atol=1e-4)


@pytest.mark.parametrize(
    "value, error, words",
    [
        (0.0, ValueError, "`intercept_strength` must be finite and > 0"),
        (-1.0, ValueError, "`intercept_strength` must be finite and > 0"),
        (np.inf, ValueError, "`intercept_strength` must be"),
        (np.nan, ValueError, "`intercept_strength` must be"),
        (1e-60, ValueError, "`intercept_strength` must be at least"),
        ("strong", TypeError, "`intercept_strength` must be"),
        (None, TypeError, "`intercept_strength` must be"),
        (True, TypeError, "`intercept_strength` must be"),
    ],
)
@pytest.mark.parametrize("mode", ["shrunk", True])
def test_bad_values(long_regression, value, error, words, mode):
    p = long_regression
    model = PerTaskRegressor(fit_intercept=mode, intercept_strength=value)
    with pytest.raises(error, match=words):
        model.fit(p.X, p.y, task=p.task)
