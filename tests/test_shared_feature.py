"""Shared features against their twins, what they reduce to, and as transformers."""

import pickle
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from cases import (
    LAYOUTS,
    MODES,
    WEIGHTS,
    Case,
    check_objective,
    cover,
    positions,
    signs,
    wide_multiclass,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Lasso, LogisticRegression, MultiTaskLasso, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import PerTaskRegressor, SharedFeatureClassifier, SharedFeatureRegressor
from mtlearn.compose import features_only

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

PENALTIES = ("rank", "nuclear", "l21", "dirty")
CONVEX = PENALTIES[1:]
ESTIMATORS = (SharedFeatureRegressor, SharedFeatureClassifier)
ALPHA, ALPHA_PRIVATE = 4.0, 2.1  # the private part neither vanishes nor is all
LOSSES = ("squared", "logistic", "softmax")
# where coefficients are compared: how far down to go, and how close they are then
TOL = {SharedFeatureRegressor: 1e-10, SharedFeatureClassifier: 1e-8}
ATOL = {SharedFeatureRegressor: 1e-5, SharedFeatureClassifier: 3e-3}

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
every_mode = pytest.mark.parametrize("mode", MODES)
every_loss = pytest.mark.parametrize("loss", LOSSES)
both_layouts = pytest.mark.parametrize("layout", ["task", "wide"])


def own(penalty, alpha=ALPHA):
    """Parameters of an estimator with this penalty."""
    params = {"penalty": penalty, "alpha": alpha}
    if penalty == "dirty":
        params["alpha_private"] = alpha * ALPHA_PRIVATE / ALPHA
    return params


def words(penalty, alpha=ALPHA):
    """The same for `reference`."""
    private = own(penalty, alpha).get("alpha_private")
    return {"penalty": penalty, "private": private}


def shared_case(long, wide, layout, weights):
    """The problem of `Case` for models without a relation."""
    case = Case(long, wide, "independent", layout, weights, (None, None))
    del case.params["relation"]
    return case


@pytest.fixture
def problems(
    long_regression,
    wide_regression,
    long_classification,
    wide_classification,
    long_multiclass,
):
    """(estimator, long problem, wide problem, labels for `reference`) by loss."""
    wide_of_three = wide_multiclass(long_multiclass)
    return {
        "squared": (
            SharedFeatureRegressor,
            long_regression,
            wide_regression,
            np.asarray,
        ),
        "logistic": (
            SharedFeatureClassifier,
            long_classification,
            wide_classification,
            signs,
        ),
        "softmax": (
            SharedFeatureClassifier,
            long_multiclass,
            wide_of_three,
            positions,
        ),
    }


def strength(loss):
    return ALPHA if loss == "squared" else ALPHA / 4


@pytest.fixture
def p(request, long_regression, long_classification):
    """The long problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return (
        long_regression if estimator is SharedFeatureRegressor else long_classification
    )


@pytest.fixture
def wide(request, wide_regression, wide_classification):
    """The wide problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return (
        wide_regression if estimator is SharedFeatureRegressor else wide_classification
    )


def frame(p):
    df = pd.DataFrame(p.X, columns=list("abcde"))
    df.insert(2, "school", p.task)
    return df


# ---------------------------------------------------------------- against the twins


@pytest.mark.parametrize(
    "loss, penalty, layout, mode, weights",
    cover(LOSSES, PENALTIES, LAYOUTS, MODES, WEIGHTS),
)
def test_the_twin(problems, loss, penalty, layout, mode, weights):
    # without n_components "rank" is convex, too
    estimator, long, wide, labels = problems[loss]
    case = shared_case(long, wide, layout, weights)
    alpha = strength(loss)
    model = estimator(fit_intercept=mode, **own(penalty, alpha), **case.params)
    model.fit(case.X, case.y, **case.fit)
    X, y, codes, weight = case.rows
    args = X, labels(y), codes, weight, alpha, "independent", mode
    value = reference.twin(loss, *args, **words(penalty, alpha))[2]
    # a task of one class is left where its loss is next to nothing
    precision = 1e-9 if loss == "squared" else 5e-9
    check_objective(
        loss, model, value, *args, precision=precision, **words(penalty, alpha)
    )
    bound = reference.dual_value(
        loss, model.coef_, model.intercept_, *args[:5], mode, **words(penalty, alpha)
    )
    assert value - bound <= 1e-4 * value


@pytest.mark.parametrize("loss, mode, layout", cover(LOSSES, MODES, ("task", "wide")))
def test_the_default_private_strength(problems, loss, layout, mode):
    estimator, long, wide, labels = problems[loss]
    case = shared_case(long, wide, layout, "none")
    alpha = strength(loss)
    model = estimator(alpha=alpha, penalty="dirty", fit_intercept=mode)
    model.fit(case.X, case.y, **case.fit)
    X, y, codes, weight = case.rows
    args = X, labels(y), codes, weight, alpha, "independent", mode
    options = {"penalty": "dirty", "private": alpha / 5**0.25}
    value = reference.twin(loss, *args, **options)[2]
    check_objective(loss, model, value, *args, **options)


@pytest.mark.parametrize(
    "loss, layout, mode, n_components",
    cover(LOSSES, ("task", "wide"), (True, "shrunk"), (1, 2)),
)
def test_few_components_are_close_to_the_best_local_minimum(
    problems, loss, layout, mode, n_components
):
    estimator, long, wide, labels = problems[loss]
    case = shared_case(long, wide, layout, "rows")
    alpha, q = strength(loss), 3 if loss == "softmax" else 1
    model = estimator(n_components, alpha, fit_intercept=mode)
    model.fit(case.X, case.y, **case.fit)
    X, y, codes, weight = case.rows
    args = X, labels(y), codes, weight, alpha
    best = reference.low_rank(loss, *args, n_components, mode, n_outputs=q, n_starts=2)[
        2
    ]
    found = reference.objective(
        loss, model.coef_, model.intercept_, *args, "independent", mode, penalty="rank"
    )
    least = reference.twin(loss, *args, "independent", mode, penalty="rank")[2]
    assert found >= least * (1 - 1e-7)
    assert found <= best * 1.03
    assert np.linalg.matrix_rank(model.coef_.reshape(5 * q, -1)) <= n_components
    assert model.optimality_ <= model.tol
    # stationary: no small step in the factors goes down
    A, B = model.task_components_, model.components_
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = 1e-3 * rng.normal(size=A.shape), 1e-3 * rng.normal(size=B.shape)
        for sign in (-1, 1):
            coef = (A + sign * step[0]) @ (B + sign * step[1])
            at = reference.objective(
                loss, coef, model.intercept_, *args, "independent", mode, penalty="rank"
            )
            assert at >= found * (1 - 1e-7)


@pytest.mark.parametrize("n_components", [1, 2, 4, None])
@pytest.mark.parametrize("mode", [True, "free", "shrunk", False])
@pytest.mark.parametrize("weights", ["none", "rows", "balanced", "dict", "array"])
def test_without_penalty_complete_labels_have_a_closed_form(
    wide_complete, n_components, mode, weights
):
    p, fit, params, s, lam = wide_complete, {}, {}, None, None
    if weights != "none":
        s = fit["sample_weight"] = p.weight
    if weights == "dict":
        params["task_weight"], lam = {1: 3.0}, np.array([1.0, 3.0, 1.0, 1.0, 1.0])
    if weights == "array":
        lam = params["task_weight"] = np.array([2.0, 0.5, 1.0, 1.5, 0.3])
    if weights == "balanced":
        params["task_weight"] = "balanced"
    model = SharedFeatureRegressor(n_components, 0, fit_intercept=mode, **params)
    model.fit(p.X, p.Y, **fit)
    k = 5 if n_components is None else n_components
    coef, intercept, value = reference.reduced_rank(
        p.X, p.Y, k, s, lam, centre=mode is not False
    )
    if mode is False:
        intercept = 0 * intercept
    assert_allclose(model.coef_, coef, atol=1e-8)
    assert_allclose(model.intercept_, intercept, atol=1e-8)
    X, y, codes, c = reference.to_long(p.X, p.Y, s)
    c = c if lam is None else c * lam[codes]
    args = X, y, codes, c, 0.0, "independent", mode
    model_at = model.coef_, model.intercept_
    found = reference.objective("squared", *model_at, *args, penalty="rank")
    assert_allclose(found, value, rtol=1e-9)
    assert model.rank_ == k


@pytest.mark.parametrize("n_components", [1, 2])
def test_without_penalty_and_with_holes(wide_regression, n_components):
    p = wide_regression
    model = SharedFeatureRegressor(n_components, 0).fit(p.X, p.Y, p.weights)
    args = *reference.to_long(p.X, p.Y, p.weights), 0.0
    best = reference.low_rank("squared", *args, n_components, n_starts=3)[2]
    found = reference.objective(
        "squared", model.coef_, model.intercept_, *args, "independent", penalty="rank"
    )
    assert best * (1 - 1e-6) - 1e-9 <= found <= best * 1.2 + 1e-9
    assert model.rank_ <= n_components


# ---------------------------------------------------------------- attributes


@every_estimator
@every_penalty
def test_attributes_of_a_long_fit(estimator, p, penalty):
    model = estimator(task_column="school", **own(penalty)).fit(frame(p), p.y)
    assert_array_equal(model.tasks_, p.tasks)
    assert model.coef_.shape == (5, 5) and model.intercept_.shape == (5,)
    # "south" has one class: its intercept would run away under a log-loss
    two = (p.tasks != "south") | (not hasattr(model, "predict_proba"))
    assert_allclose(model.shared_coef_, model.coef_[two].mean(axis=0))
    assert model.n_features_in_ == 6
    assert isinstance(model.n_iter_, int) and model.n_iter_ >= 1
    assert 0 <= model.optimality_ <= model.tol
    check_attributes(model, penalty)


@every_penalty
def test_attributes_of_three_classes(long_multiclass, penalty):
    p = long_multiclass
    model = SharedFeatureClassifier(**own(penalty, 1.0)).fit(p.X, p.y, task=p.task)
    assert model.coef_.shape == (5, 3, 5) and model.intercept_.shape == (5, 3)
    assert model.shared_coef_.shape == (3, 5)
    check_attributes(model, penalty)


def check_attributes(model, penalty):
    """What every fit of this penalty has, and what it has not."""
    coef = model.coef_.reshape(-1, model.coef_.shape[-1])
    assert isinstance(model.rank_, int)
    assert model.rank_ == np.linalg.matrix_rank(coef)
    selected = np.flatnonzero(coef.any(axis=0))
    assert_array_equal(model.selected_features_, selected)
    assert model.selected_features_.dtype.kind == "i"
    if penalty in ("rank", "nuclear"):
        k = len(model.components_)
        assert model.components_.shape == (k, coef.shape[1])
        assert model.task_components_.shape == (*model.coef_.shape[:-1], k)
        product = model.task_components_ @ model.components_
        assert_allclose(product, model.coef_, atol=1e-8)
        # balanced: both factors pay the same
        squares = [(v**2).sum() for v in (model.components_, model.task_components_)]
        assert_allclose(*squares, rtol=1e-3)
    else:
        assert not hasattr(model, "components_")
        assert not hasattr(model, "task_components_")
    if penalty == "dirty":
        S, P = model.shared_part_, model.private_part_
        assert S.shape == P.shape == model.coef_.shape
        assert_allclose(S + P, model.coef_, atol=1e-12)
        cost = reference.shared_penalty("l21", S, model.alpha)
        cost += model.alpha_private * np.abs(P).sum()
        expected = reference.shared_penalty(
            "dirty", coef, model.alpha, model.alpha_private
        )
        assert_allclose(cost, expected, rtol=1e-6)
    else:
        assert not hasattr(model, "shared_part_")
        assert not hasattr(model, "private_part_")
    if penalty == "rank":
        assert not hasattr(model, "dual_gap_")
    else:
        assert model.dual_gap_ >= 0


@every_loss
@pytest.mark.parametrize("penalty", CONVEX)
def test_the_gap_is_the_certificate_times_no_features(problems, loss, penalty):
    estimator, p, _, labels = problems[loss]
    alpha = strength(loss)
    model = estimator(**own(penalty, alpha), tol=1e-4).fit(p.X, p.y, task=p.task)
    args = p.X, labels(p.y), p.codes, np.ones(len(p.y)), alpha, "independent"
    y, n_tasks = labels(p.y), len(model.tasks_)
    classes = [np.unique(y[p.codes == t]) for t in range(n_tasks)]
    fixed = np.zeros((len(y), *model.intercept_.shape[1:]))
    b = reference.best_intercepts(loss, fixed, y, p.codes, args[3], 0.0, classes)
    b = b.reshape(model.intercept_.shape)
    zero = reference.objective(loss, 0 * model.coef_, b, *args, penalty="l21")
    assert_allclose(model.dual_gap_, model.optimality_ * zero, rtol=1e-6)
    found = reference.objective(
        loss, model.coef_, model.intercept_, *args, **words(penalty, alpha)
    )
    value = reference.twin(loss, *args, **words(penalty, alpha))[2]
    assert found - value <= model.dual_gap_ + 1e-8 * zero


@every_estimator
def test_attributes_of_another_penalty_disappear(estimator, p):
    model = estimator(**own("dirty")).fit(p.X, p.y, task=p.task)
    model.set_params(penalty="nuclear", alpha_private=None).fit(p.X, p.y, task=p.task)
    check_attributes(model, "nuclear")
    model.set_params(penalty="l21").fit(p.X, p.y, task=p.task)
    check_attributes(model, "l21")


@every_estimator
@every_penalty
def test_a_single_task_and_a_table_of_one_column(estimator, p, penalty):
    one = estimator(**own(penalty)).fit(p.X, p.y)
    assert one.coef_.shape == (1, 5) and one.predict(p.X).shape == p.y.shape
    two = estimator(**own(penalty)).fit(p.X, p.y[:, None])
    assert_allclose(two.coef_, one.coef_, atol=1e-6)
    assert two.predict(p.X).shape == (len(p.y), 1)


# ---------------------------------------------------------------- what they reduce to


@pytest.mark.parametrize("mode", [True, False])
def test_l21_on_complete_labels_is_the_multitask_lasso(wide_complete, mode):
    p = wide_complete
    lasso = MultiTaskLasso(
        alpha=5.0 / len(p.X), fit_intercept=mode, tol=1e-13, max_iter=100_000
    )
    lasso.fit(p.X, p.Y)
    model = SharedFeatureRegressor(
        penalty="l21", alpha=5.0, fit_intercept=mode, tol=1e-13
    )
    model.fit(p.X, p.Y)
    assert_allclose(model.coef_, lasso.coef_, atol=1e-5)
    assert_allclose(model.predict(p.X), lasso.predict(p.X), atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_one_task_is_a_lasso_or_a_group_of_all(long_regression, mode):
    p = long_regression
    lasso = Lasso(alpha=5.0 / p.weight.sum(), fit_intercept=mode, tol=1e-12)
    lasso.fit(p.X, p.y, p.weight)
    model = SharedFeatureRegressor(
        penalty="l21", alpha=5.0, fit_intercept=mode, tol=1e-12
    )
    model.fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_[0], lasso.coef_, atol=1e-5)
    # the nuclear norm of a row is its length
    for penalty in ("nuclear", "rank"):
        model.set_params(penalty=penalty).fit(p.X, p.y, p.weight)
        w = model.coef_[0]
        ridge = Ridge(alpha=5.0 / np.linalg.norm(w), fit_intercept=mode)
        ridge.fit(p.X, p.y, p.weight)
        assert_allclose(w, ridge.coef_, atol=1e-4)


def test_one_task_of_two_classes_is_a_sparse_logistic_regression(long_classification):
    p = long_classification
    sklearn = LogisticRegression(
        l1_ratio=1.0,
        solver="saga",
        C=0.5,
        fit_intercept=False,
        tol=1e-10,
        max_iter=100_000,
    )
    sklearn.fit(p.X, p.y, p.weight)
    model = SharedFeatureClassifier(
        penalty="l21", alpha=2.0, fit_intercept=False, tol=1e-12
    )
    model.fit(p.X, p.y, p.weight)
    assert_allclose(model.coef_, sklearn.coef_, atol=1e-4)
    assert_allclose(model.predict_proba(p.X), sklearn.predict_proba(p.X), atol=1e-4)
    assert_array_equal(model.predict(p.X), sklearn.predict(p.X))


@every_loss
@pytest.mark.parametrize("mode", [True, False])
def test_all_components_are_the_nuclear_norm(problems, loss, mode):
    estimator, p, _, _ = problems[loss]
    alpha = strength(loss)
    models = [
        estimator(n, alpha, penalty, fit_intercept=mode, tol=TOL[estimator])
        for n, penalty in [(None, "rank"), (5, "rank"), (None, "nuclear")]
    ]
    one, two, three = (m.fit(p.X, p.y, task=p.task).coef_ for m in models)
    assert_allclose(one, three, atol=ATOL[estimator])
    assert_allclose(two, three, atol=ATOL[estimator])


@every_estimator
@every_mode
def test_an_expensive_private_part_is_not_used(estimator, p, mode):
    options = {"alpha": 2.0, "fit_intercept": mode}
    one = estimator(penalty="l21", **options).fit(p.X, p.y, task=p.task)
    two = estimator(penalty="dirty", alpha_private=2.0, **options)
    two.fit(p.X, p.y, task=p.task)
    assert_allclose(two.coef_, one.coef_, atol=ATOL[estimator])
    assert_array_equal(two.private_part_, 0)


def test_a_cheap_private_part_is_a_lasso_per_task(long_regression):
    p = long_regression
    model = SharedFeatureRegressor(penalty="dirty", alpha=4.0, alpha_private=1.7)
    model.set_params(tol=1e-12).fit(p.X, p.y, task=p.task)
    assert_array_equal(model.shared_part_, 0)
    for t in (0, 2, 3, 4):
        rows = p.codes == t
        lasso = Lasso(alpha=1.7 / rows.sum(), tol=1e-12).fit(p.X[rows], p.y[rows])
        assert_allclose(model.coef_[t], lasso.coef_, atol=1e-5)


def test_no_penalty_and_all_components_are_least_squares(long_regression):
    p = long_regression
    rows = p.codes != 1  # two rows: more than one minimum
    X, y, task = p.X[rows], p.y[rows], p.task[rows]
    model = SharedFeatureRegressor(alpha=0).fit(X, y, task=task)
    plain = PerTaskRegressor(alpha=0).fit(X, y, task=task)
    assert_allclose(model.coef_, plain.coef_, atol=1e-7)
    assert_allclose(model.intercept_, plain.intercept_, atol=1e-7)


# ---------------------------------------------------------------- strengths


@pytest.mark.parametrize(
    "loss, penalty, mode, layout",
    cover(LOSSES, CONVEX, (True, "shared", False), ("task", "wide")),
)
def test_everything_is_zero_from_the_right_strength_on(
    problems, loss, penalty, mode, layout
):
    estimator, long, wide, labels = problems[loss]
    case = shared_case(long, wide, layout, "rows")
    X, y, codes, weight = case.rows
    q = 3 if loss == "softmax" else 1
    # the gauge of the gradient at zero, the intercepts at their best
    coef = np.zeros((5, q, X.shape[1])) if q > 1 else np.zeros((5, X.shape[1]))
    args = loss, coef, coef[..., 0], X, labels(y), codes, weight
    alpha = zero_strength(*args, mode, penalty)
    for share in (1.001, 0.98):
        params = own(penalty, share * alpha)
        model = estimator(fit_intercept=mode, **params)
        model.fit(case.X, case.y, **case.fit)
        if share > 1:
            assert_allclose(model.coef_, 0, atol=1e-12)
            assert model.rank_ == 0 and len(model.selected_features_) == 0
        else:
            assert np.abs(model.coef_).max() > 1e-6
            assert model.rank_ >= 1 and len(model.selected_features_)


def zero_strength(loss, coef, intercept, X, y, codes, weight, mode, penalty):
    """Alpha at which no coefficient is worth its price, alpha_private in proportion."""
    classes = reference.task_classes(y, codes, weight, 5)
    free = mode is True
    keep = reference.rows_that_matter(loss, codes, weight, classes, free)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    fixed = reference.predict(coef, intercept, X, codes)
    b = reference.best_intercepts(loss, fixed, y, codes, weight, 1.0, classes, mode)
    G = np.zeros((5, b.shape[1], X.shape[1]))
    for x, label, t, c in zip(X, y, codes, weight):
        f = b[t] if loss == "softmax" else b[t, 0]
        slope = reference.row_slope(loss, label, f, classes[t])
        G[t] += c * np.multiply.outer(np.atleast_1d(slope), x)
    return reference.shared_gauge(
        penalty, G.reshape(-1, X.shape[1]), 1.0, ALPHA_PRIVATE / ALPHA
    )


@every_estimator
@every_penalty
def test_a_huge_strength_leaves_intercepts_only(estimator, p, penalty):
    model = estimator(penalty=penalty, alpha=1e8).fit(p.X, p.y, task=p.task)
    assert_allclose(model.coef_, 0, atol=1e-6)
    assert model.rank_ == 0
    if penalty != "rank":
        assert not model.coef_.any()
    if estimator is SharedFeatureRegressor:
        means = [p.y[p.codes == t].mean() for t in range(5)]
        assert_allclose(model.intercept_, means, atol=1e-6)


@every_estimator
@pytest.mark.parametrize("penalty", ["rank", "nuclear", "l21"])
def test_a_weaker_penalty_fits_better_and_uses_more(estimator, p, penalty):
    losses, sizes = [], []
    loss = "squared" if estimator is SharedFeatureRegressor else "logistic"
    y = p.y if loss == "squared" else p.sign
    for alpha in (6.0, 3.0, 1.0, 0.3, 0.1):
        model = estimator(penalty=penalty, alpha=alpha, fit_intercept=False)
        model.fit(p.X, p.y, task=p.task)
        f = reference.predict(model.coef_, model.intercept_, p.X, p.codes)
        losses.append(reference.data_loss(loss, f, y, p.codes, np.ones(len(y)), 5))
        sizes.append(np.linalg.svd(model.coef_, compute_uv=False).sum())
    assert np.all(np.diff(losses) < 0)
    assert np.all(np.diff(sizes) > 0)


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("loss, penalty, mode", cover(LOSSES, PENALTIES, MODES))
def test_both_layouts_agree(problems, loss, penalty, mode):
    estimator, _, p, _ = problems[loss]
    X, y, codes, weight = reference.to_long(p.X, p.Y, p.weights)
    options = {"fit_intercept": mode, "task_weight": "balanced", "tol": TOL[estimator]}
    options |= own(penalty, strength(loss))
    wide = estimator(**options).fit(p.X, p.Y, p.weights)
    long = estimator(**options).fit(X, y, weight, task=codes)
    assert_array_equal(wide.tasks_, long.tasks_)
    assert_allclose(wide.coef_, long.coef_, atol=ATOL[estimator])


@every_estimator
@every_penalty
class TestSymmetries:
    def fit(self, estimator, penalty, *args, task=None, **params):
        model = estimator(**own(penalty, 2.0), tol=TOL[estimator], **params)
        return model.fit(*args, task=task)

    def test_the_order_of_rows_does_not_matter(self, estimator, penalty, p):
        order = np.random.default_rng(0).permutation(len(p.y))
        one = self.fit(estimator, penalty, p.X, p.y, task=p.codes)
        two = self.fit(estimator, penalty, p.X[order], p.y[order], task=p.codes[order])
        assert_allclose(one.coef_, two.coef_, atol=ATOL[estimator])

    def test_relabelling_the_tasks_permutes_the_rows(self, estimator, penalty, p):
        order = np.array([3, 1, 4, 0, 2])
        one = self.fit(estimator, penalty, p.X, p.y, task=p.codes)
        two = self.fit(estimator, penalty, p.X, p.y, task=np.argsort(order)[p.codes])
        assert_allclose(two.coef_, one.coef_[order], atol=ATOL[estimator])

    def test_the_order_of_features_permutes_the_columns(self, estimator, penalty, p):
        order = np.array([3, 1, 4, 0, 2])
        one = self.fit(estimator, penalty, p.X, p.y, task=p.codes)
        two = self.fit(estimator, penalty, p.X[:, order], p.y, task=p.codes)
        assert_allclose(two.coef_, one.coef_[:, order], atol=ATOL[estimator])

    def test_a_weight_of_two_is_the_row_twice(self, estimator, penalty, p):
        times = np.random.default_rng(1).integers(0, 3, size=len(p.y))
        times[p.codes == 1] = 1
        copies = np.repeat(np.arange(len(p.y)), times)
        one = self.fit(estimator, penalty, p.X, p.y, 1.0 * times, task=p.codes)
        two = self.fit(
            estimator, penalty, p.X[copies], p.y[copies], task=p.codes[copies]
        )
        assert_allclose(one.coef_, two.coef_, atol=ATOL[estimator])

    def test_rows_of_weight_zero_are_absent(self, estimator, penalty, p):
        weight = p.weight.copy()
        weight[::5] = 0.0
        X = p.X.copy()
        X[::5] = 1e6
        keep = weight > 0
        one = self.fit(estimator, penalty, X, p.y, weight, task=p.task)
        two = self.fit(
            estimator, penalty, X[keep], p.y[keep], weight[keep], task=p.task[keep]
        )
        assert_array_equal(one.coef_, two.coef_)
        assert_array_equal(one.intercept_, two.intercept_)

    def test_weights_of_the_loss_are_strengths_of_the_penalty(
        self, estimator, penalty, p
    ):
        one = self.fit(estimator, penalty, p.X, p.y, task=p.codes)
        two = estimator(**own(penalty, 8.0), tol=TOL[estimator])
        two.fit(p.X, p.y, np.full(len(p.y), 4.0), task=p.codes)
        assert_allclose(one.coef_, two.coef_, atol=ATOL[estimator])

    def test_task_weights_are_weights_of_their_rows(self, estimator, penalty, p):
        lam = np.array([2.0, 0.5, 1.0, 1.5, 0.3])
        one = self.fit(estimator, penalty, p.X, p.y, task=p.codes, task_weight=lam)
        two = self.fit(estimator, penalty, p.X, p.y, lam[p.codes], task=p.codes)
        assert_allclose(one.coef_, two.coef_, atol=ATOL[estimator])

    def test_signs_of_features_do_not_matter(self, estimator, penalty, p):
        sign = np.array([1, -1, -1, 1, -1])
        one = self.fit(estimator, penalty, p.X, p.y, task=p.codes)
        two = self.fit(estimator, penalty, sign * p.X, p.y, task=p.codes)
        assert_allclose(two.coef_, sign * one.coef_, atol=ATOL[estimator])


@pytest.mark.parametrize("penalty", ["rank", "nuclear"])
@every_estimator
def test_turning_the_features_turns_the_coefficients(estimator, penalty, p):
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    options = {**own(penalty, 2.0), "tol": TOL[estimator]}
    one = estimator(**options).fit(p.X, p.y, task=p.task)
    two = estimator(**options).fit(p.X @ Q, p.y, task=p.task)
    assert_allclose(two.coef_, one.coef_ @ Q, atol=ATOL[estimator])


@every_penalty
@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_units_of_the_labels(long_regression, penalty, factor):
    p = long_regression
    one = SharedFeatureRegressor(**own(penalty)).fit(p.X, p.y, task=p.task)
    # the squared loss has the square of the factor; the penalties grow with one of it
    two = SharedFeatureRegressor(**own(penalty, ALPHA * factor))
    two.fit(p.X, factor * p.y, task=p.task)
    assert_allclose(two.coef_, factor * one.coef_, rtol=1e-4, atol=1e-5 * factor)


@every_penalty
def test_a_constant_on_the_labels_moves_intercepts_only(long_regression, penalty):
    p = long_regression
    for mode in (True, "shrunk", "shared"):
        options = {**own(penalty), "fit_intercept": mode, "tol": 1e-10}
        one = SharedFeatureRegressor(**options).fit(p.X, p.y, task=p.task)
        two = SharedFeatureRegressor(**options).fit(p.X, p.y + 100, task=p.task)
        assert_allclose(two.coef_, one.coef_, atol=1e-4)
        assert_allclose(two.intercept_, one.intercept_ + 100, atol=1e-4)


# ---------------------------------------------------------------- hard data


def quiet(model, *args, **kwargs):
    """Fit, and expect that it reached its tolerance."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return model.fit(*args, **kwargs)


@every_estimator
@every_penalty
@pytest.mark.parametrize("mode", [True, "shared"])
def test_constant_and_repeated_columns(estimator, penalty, p, mode):
    X = np.column_stack([p.X, p.X[:, 0], np.full(len(p.X), 3.0), np.zeros(len(p.X))])
    model = estimator(**own(penalty, 2.0), fit_intercept=mode)
    quiet(model, X, p.y, task=p.task)
    assert np.isfinite(model.coef_).all()
    assert_allclose(model.coef_[:, -1], 0, atol=1e-12)
    if mode is True:
        assert_allclose(model.coef_[:, -2], 0, atol=1e-9)
    plain = estimator(**own(penalty, 2.0), fit_intercept=mode)
    quiet(plain, p.X, p.y, task=p.task)
    if penalty in ("l21", "dirty") and mode is True:
        fitted = [m._scores(Z, p.task)[0] for m, Z in ((model, X), (plain, p.X))]
        assert_allclose(*fitted, atol=1e-2 * np.abs(fitted[0]).max())


@every_estimator
@pytest.mark.parametrize("penalty", CONVEX)
def test_features_in_wildly_different_units(estimator, penalty, p):
    units = 10.0 ** np.array([-4, 4, 0, 2, -2])
    if penalty == "nuclear":
        units = units**0.25  # it mixes them all, and warns in worse units
    loss = "squared" if estimator is SharedFeatureRegressor else "logistic"
    y = p.y if loss == "squared" else p.sign
    # no scaling repairs this: the penalty is in units of the coefficients
    for alpha in (0.1, 10.0):
        model = estimator(**own(penalty, alpha))
        quiet(model, p.X * units, p.y, task=p.task)
        args = p.X * units, y, p.codes, np.ones(len(y)), alpha
        model_at = model.coef_, model.intercept_
        found = reference.objective(
            loss, *model_at, *args, "independent", **words(penalty, alpha)
        )
        bound = reference.dual_value(loss, *model_at, *args, **words(penalty, alpha))
        zero = reference.objective(
            loss, *(0 * m for m in model_at), *args, "independent", penalty="l21"
        )
        assert found - bound <= 1e-5 * found + 1e-7 * zero


@every_estimator
@every_penalty
@both_layouts
@pytest.mark.parametrize("mode", [True, False])
def test_more_features_than_rows(estimator, penalty, layout, mode):
    rng = np.random.default_rng(0)
    n, d = (30, 200) if layout == "wide" else (60, 150)
    X = rng.normal(size=(n, d))
    W = np.zeros((4, d))
    W[:, :6] = rng.normal(size=(4, 6))
    F = X @ W.T
    codes = np.arange(n) % 4
    fit = {} if layout == "wide" else {"task": codes}
    f = F if layout == "wide" else F[np.arange(n), codes]
    y = f + rng.normal(size=f.shape)
    y = y if estimator is SharedFeatureRegressor else (y > 0).astype(int)
    alpha = 5.0 if estimator is SharedFeatureRegressor else 1.0
    model = estimator(**own(penalty, alpha), fit_intercept=mode)
    quiet(model, X, y, **fit)
    assert model.optimality_ <= 1e-8
    if layout == "wide":
        y, codes, X = y.T.ravel(), np.repeat(np.arange(4), n), np.tile(X, (4, 1))
    loss = "squared" if estimator is SharedFeatureRegressor else "logistic"
    y = y if loss == "squared" else 2 * y - 1
    args = X, y, codes, np.ones(len(y)), alpha
    model_at = model.coef_, model.intercept_
    found = reference.objective(
        loss, *model_at, *args, "independent", mode, **words(penalty, alpha)
    )
    bound = reference.dual_value(loss, *model_at, *args, mode, **words(penalty, alpha))
    assert found - bound <= 2e-4 * found
    if penalty in ("l21", "dirty"):
        assert len(model.selected_features_) < d


@pytest.mark.parametrize(
    "estimator, penalty, make, mode",
    cover(
        ESTIMATORS,
        PENALTIES,
        (sp.csr_array, sp.csc_matrix, sp.coo_array),
        (True, "shared"),
    ),
)
def test_sparse_features(estimator, penalty, p, make, mode):
    X = np.where(np.abs(p.X) > 0.7, p.X, 0.0)
    options = {**own(penalty, 2.0), "fit_intercept": mode, "tol": TOL[estimator]}
    one = estimator(**options).fit(X, p.y, task=p.task)
    two = estimator(**options).fit(make(X), p.y, task=p.task)
    assert_allclose(one.coef_, two.coef_, atol=ATOL[estimator])
    fitted = one._scores(X, p.task)[0], two._scores(make(X), p.task)[0]
    # a task of one class has any large intercept
    fitted = (np.clip(f, -15, 15) for f in fitted)
    assert_allclose(*fitted, atol=3 * ATOL[estimator])
    transformed = two.transform(make(X))
    if sp.issparse(transformed):
        transformed = transformed.toarray()
    assert transformed.shape[0] == len(X)


@pytest.mark.parametrize(
    "estimator, penalty, layout", cover(ESTIMATORS, PENALTIES, ("task", "wide"))
)
def test_wide_sparse_features(estimator, penalty, layout):
    rng = np.random.default_rng(0)
    X = sp.random_array((150, 3000), density=0.01, rng=rng, format="csr")
    f = X[:, :20] @ rng.normal(size=(20, 3)) * 3
    codes = np.arange(150) % 3
    fit = {} if layout == "wide" else {"task": codes}
    f = f if layout == "wide" else f[np.arange(150), codes]
    y = f + 0.3 * rng.normal(size=f.shape)
    y = y if estimator is SharedFeatureRegressor else (y > 0).astype(int)
    alpha = 0.5 if estimator is SharedFeatureRegressor else 0.3
    model = estimator(**own(penalty, alpha))
    quiet(model, X, y, **fit)
    assert model.coef_.shape == (3, 3000)
    dense = estimator(**own(penalty, alpha))
    quiet(dense, X.toarray(), y, **fit)
    scale = np.abs(dense.coef_).max()
    assert_allclose(model.coef_, dense.coef_, atol=2e-2 * scale)


def test_two_thousand_tasks():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(2000), 4)
    X = rng.normal(size=(8000, 6))
    W = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 6))
    y = (X * W[codes]).sum(axis=1) + rng.normal(size=8000)
    for penalty in CONVEX:
        model = SharedFeatureRegressor(penalty=penalty, alpha=30.0)
        quiet(model, X, y, task=codes)
        assert model.coef_.shape == (2000, 6)
    model = quiet(SharedFeatureRegressor(2, 3.0), X, y, task=codes)
    assert model.rank_ == 2
    assert model.score(X, y, task=codes) > 0.6


@pytest.mark.parametrize("penalty", ["nuclear", "l21"])
def test_many_tasks_of_two_classes(penalty):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(300), 6)
    X = rng.normal(size=(1800, 6))
    y = np.where(X[:, 0] + X[:, 1] + rng.logistic(size=1800) > 0, "a", "b")
    model = SharedFeatureClassifier(penalty=penalty, alpha=4.0)
    quiet(model, X, y, task=codes)
    assert model.coef_.shape == (300, 6)


@every_penalty
def test_a_task_of_one_class_predicts_it(long_classification, penalty):
    p = long_classification
    model = SharedFeatureClassifier(penalty=penalty, alpha=1.0)
    quiet(model, p.X, p.y, task=p.task)
    rows = p.task == "south"
    assert set(model.predict(p.X[rows], task=p.task[rows])) == {"yes"}
    assert model.task_classes_[3].tolist() == ["yes"]
    assert_allclose(model.coef_[3], 0, atol=1e-5)
    proba = model.predict_proba(p.X[rows], task=p.task[rows])
    assert_allclose(proba[:, 1], 1, atol=1e-6)


@every_penalty
def test_every_task_of_one_class(penalty):
    X = np.random.default_rng(0).normal(size=(12, 2))
    task = np.repeat([0, 1, 2], 4)
    model = SharedFeatureClassifier(penalty=penalty)
    quiet(model, X, task % 2, task=task)
    assert_array_equal(model.predict(X, task=task), task % 2)
    assert np.isfinite(model.intercept_).all()
    model = SharedFeatureClassifier(penalty=penalty)
    quiet(model, X, task, task=task)
    assert_array_equal(model.predict(X, task=task), task)


@every_penalty
def test_separable_tasks_have_finite_coefficients(penalty):
    X = np.column_stack([np.linspace(-1, 1, 20), np.tile([1.0, -1.0], 10)])
    y = (X[:, 0] > 0).astype(int)
    task = np.tile([0, 1], 10)
    model = SharedFeatureClassifier(penalty=penalty, alpha=1e-3)
    quiet(model, X, y, task=task)
    assert model.score(X, y, task=task) == 1
    assert np.abs(model.coef_).max() < 1e4


@every_estimator
@every_penalty
def test_a_task_without_labels_gets_the_mean_of_the_others(estimator, penalty, wide):
    Y = wide.Y.copy()
    Y[:, 2] = np.nan
    model = estimator(**own(penalty, 2.0))
    with pytest.warns(UserWarning, match="1 of 5 tasks have no labels.*shared model"):
        model.fit(wide.X, Y)
    others = estimator(**own(penalty, 2.0)).fit(wide.X, np.delete(Y, 2, axis=1))
    assert_allclose(np.delete(model.coef_, 2, axis=0), others.coef_, atol=1e-6)
    assert_allclose(model.coef_[2], others.shared_coef_, atol=1e-6)
    if penalty in ("rank", "nuclear"):
        product = model.task_components_ @ model.components_
        assert_allclose(product, model.coef_, atol=1e-8)
    if penalty == "dirty":
        parts = model.shared_part_ + model.private_part_
        assert_allclose(parts, model.coef_, atol=1e-10)


@every_estimator
@every_penalty
def test_unseen_tasks(estimator, penalty, p):
    model = estimator(**own(penalty), task_column="school").fit(frame(p), p.y)
    new = frame(p).assign(school="elsewhere")
    scores = p.X @ model.shared_coef_ + model.shared_intercept_
    if estimator is SharedFeatureRegressor:
        assert_allclose(model.predict(new), scores)
    else:
        assert_allclose(model.decision_function(new), scores)
    # the features are shared, so that they are those of any task
    assert_allclose(model.transform(new), model.transform(frame(p)))
    model.set_params(handle_unknown="error").fit(frame(p), p.y)
    with pytest.raises(ValueError, match="tasks that fit never saw: 'elsewhere'|never"):
        model.predict(new)


# ---------------------------------------------------------------- as transformers


@every_estimator
@every_penalty
def test_transform(estimator, penalty, p):
    model = estimator(**own(penalty), task_column="school")
    df = frame(p)
    Z = model.fit(df, p.y).transform(df)
    if penalty in ("rank", "nuclear"):
        assert_allclose(Z, p.X @ model.components_.T)
    else:
        assert_array_equal(Z, p.X[:, model.selected_features_])
    assert Z.shape[1] == len(model.get_feature_names_out())
    again = estimator(**own(penalty), task_column="school")
    assert_array_equal(again.fit_transform(df, p.y), Z)
    with pytest.raises(NotFittedError):
        estimator().transform(df)


@every_estimator
@every_penalty
def test_transform_with_ids_by_keyword_and_in_tables(estimator, penalty, p, wide):
    one = estimator(**own(penalty)).fit(p.X, p.y, task=p.task)
    two = estimator(**own(penalty), task_column="school").fit(frame(p), p.y)
    assert_allclose(one.transform(p.X), two.transform(frame(p)))
    Z = estimator(**own(penalty)).fit_transform(p.X, p.y, task=p.task)
    assert_array_equal(Z, one.transform(p.X))
    model = estimator(**own(penalty)).fit(wide.X, wide.Y)
    Z = model.transform(wide.X)
    if penalty in ("rank", "nuclear"):
        scores = Z @ model.task_components_.T + model.intercept_
        if estimator is SharedFeatureRegressor:
            assert_allclose(scores, model.predict(wide.X))
        else:
            assert_allclose(scores, model.decision_function(wide.X))


@every_estimator
def test_names_of_the_features(estimator, p):
    df, prefix = frame(p), estimator.__name__.lower()
    model = estimator(penalty="nuclear", alpha=1.0, task_column="school").fit(df, p.y)
    names = model.get_feature_names_out()
    k = len(model.components_)
    assert names.tolist() == [f"{prefix}{i}" for i in range(k)]
    model.set_params(penalty="l21", alpha=ALPHA).fit(df, p.y)
    columns = np.array(list("abcde"))
    expected = columns[model.selected_features_].tolist()
    assert model.get_feature_names_out().tolist() == expected
    assert model.get_feature_names_out(df.columns).tolist() == expected
    with pytest.raises(ValueError, match="feature_names_in_|input_features"):
        model.get_feature_names_out(["x"] * 6)
    model = estimator(penalty="l21", alpha=ALPHA).fit(p.X, p.y, task=p.task)
    expected = [f"x{j}" for j in model.selected_features_]
    assert model.get_feature_names_out().tolist() == expected


@every_estimator
@every_penalty
def test_frames_come_out_if_asked_for(estimator, penalty, p):
    df = frame(p)
    model = estimator(**own(penalty), task_column="school")
    model.set_output(transform="pandas").fit(df, p.y)
    Z = model.transform(df)
    assert isinstance(Z, pd.DataFrame)
    assert Z.columns.tolist() == model.get_feature_names_out().tolist()
    assert_array_equal(Z.index, df.index)


@every_penalty
@pytest.mark.parametrize("last", [Ridge(), LogisticRegression()], ids=repr)
def test_as_a_step_of_a_pipeline(long_regression, penalty, last):
    p = long_regression
    y = p.y if isinstance(last, Ridge) else p.y > p.y.mean()
    kind = SharedFeatureRegressor if isinstance(last, Ridge) else None
    step = (kind or SharedFeatureClassifier)(**own(penalty, 1.0), task_column="school")
    model = make_pipeline(
        features_only(StandardScaler(), task_column="school"), step, clone(last)
    )
    df = frame(p)
    assert model.fit(df, y).predict(df).shape == y.shape
    assert model.score(df, y) > 0.3
    assert len(cross_val_score(model, df, y, cv=KFold(3))) == 3


@every_penalty
def test_a_table_of_labels_in_a_pipeline(wide_complete, penalty):
    p = wide_complete
    model = make_pipeline(
        StandardScaler(), SharedFeatureRegressor(**own(penalty, 1.0)), Ridge()
    )
    assert model.fit(p.X, p.Y).predict(p.X).shape == p.Y.shape
    scores = cross_val_score(model, p.X, p.Y, cv=3)
    assert scores.min() > 0.3


def test_the_last_step_of_a_pipeline(long_regression):
    p = long_regression
    model = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        SharedFeatureRegressor(task_column="school", penalty="l21"),
    )
    model.fit(frame(p), p.y)
    assert model.score(frame(p), p.y) > 0.5
    assert model[:-1].transform(frame(p)).shape == (len(p.y), 6)


# ---------------------------------------------------------------- parameters


@every_estimator
@pytest.mark.parametrize(
    "params, error, match",
    [
        ({"penalty": "l12"}, ValueError, "`penalty` must be one of 'rank'.*got 'l12'"),
        ({"penalty": None}, ValueError, "`penalty` must be one of"),
        ({"n_components": 0}, ValueError, "`n_components` must be .*>= 1, got 0"),
        ({"n_components": -3}, ValueError, "`n_components`.*-3"),
        ({"n_components": 2.5}, TypeError, "`n_components` must be an integer.*2.5"),
        ({"n_components": "two"}, TypeError, "`n_components`.*'two'"),
        ({"n_components": 6}, ValueError, "`n_components` must be at most 5.* got 6"),
        ({"alpha": -1.0}, ValueError, "`alpha` must be finite and >=? 0, got -1.0"),
        ({"alpha": np.nan}, ValueError, "`alpha` must be finite"),
        ({"alpha": "strong"}, TypeError, "`alpha` must be a number"),
        (
            {"penalty": "dirty", "alpha_private": -0.1},
            ValueError,
            "`alpha_private` must be",
        ),
        (
            {"penalty": "dirty", "alpha_private": "auto"},
            TypeError,
            "`alpha_private` must be a number",
        ),
        ({"solver": "newton"}, ValueError, "`solver` must be one of 'auto'"),
        ({"tol": 0.0}, ValueError, "`tol`"),
        ({"max_iter": 0}, ValueError, "`max_iter`"),
        ({"fit_intercept": "each"}, ValueError, "`fit_intercept`"),
    ],
    ids=str,
)
def test_bad_parameters(estimator, p, params, error, match):
    with pytest.raises(error, match=match):
        estimator(**params).fit(p.X, p.y, task=p.task)


@every_estimator
def test_arguments_by_position(estimator):
    model = estimator(2, 0.5, "nuclear")
    assert (model.n_components, model.alpha, model.penalty) == (2, 0.5, "nuclear")
    assert estimator().get_params() == {
        "n_components": None,
        "alpha": 1.0,
        "penalty": "rank",
        "alpha_private": None,
        "task_column": None,
        "task_weight": None,
        "fit_intercept": True,
        "intercept_strength": 1.0,
        "handle_unknown": "shared",
        "solver": "auto",
        "tol": 1e-8,
        "max_iter": 1000,
        "warm_start": False,
        "verbose": 0,
    }


@every_estimator
@every_penalty
def test_too_few_iterations_warn(estimator, penalty):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 20)) @ (np.eye(20) + 0.5 * rng.normal(size=(20, 20)))
    codes = np.arange(100) % 4
    y = X[:, :5] @ rng.normal(size=5) + codes + rng.normal(size=100)
    y = y if estimator is SharedFeatureRegressor else (y > y.mean()).astype(int)
    model = estimator(penalty=penalty, alpha=0.1, max_iter=1, tol=1e-12)
    if penalty == "rank":
        model.set_params(n_components=2)
    name = estimator.__name__
    with pytest.warns(ConvergenceWarning, match=f"{name} did not converge in 1 iter"):
        model.fit(X, y, task=codes)
    assert model.optimality_ > 1e-12
    assert np.isfinite(model.coef_).all()
    model.set_params(max_iter=1000, tol=1e-8)
    quiet(model, X, y, task=codes)


@every_estimator
@every_penalty
def test_warm_start(estimator, penalty, p):
    params = own(penalty, 1.0)
    if penalty == "rank":
        params["n_components"] = 2
    cold = estimator(**params).fit(p.X, p.y, task=p.task)
    model = estimator(**params, warm_start=True).fit(p.X, p.y, task=p.task)
    model.fit(p.X, p.y, task=p.task)
    assert model.n_iter_ < cold.n_iter_ or cold.n_iter_ == 1
    assert_allclose(model.coef_, cold.coef_, atol=1e-3)
    # from a neighbour it ends where a cold one does
    model.set_params(**own(penalty, 1.2)).fit(p.X, p.y, task=p.task)
    cold.set_params(**own(penalty, 1.2)).fit(p.X, p.y, task=p.task)
    assert_allclose(model.coef_, cold.coef_, atol=1e-2)
    # and with other data it does not stumble
    model.fit(p.X[:, :3], p.y, task=p.task)
    assert model.coef_.shape == (5, 3)
    model.set_params(penalty="l21", n_components=None, alpha_private=None)
    model.fit(p.X, p.y, task=p.task)


@every_estimator
def test_grid_search_over_penalty_and_strength(estimator, p):
    grid = {"penalty": ["rank", "l21"], "alpha": [1.0, 5.0]}
    search = GridSearchCV(
        estimator(task_column="school"), grid, cv=KFold(2, shuffle=True, random_state=0)
    )
    search.fit(frame(p), p.y)
    assert search.best_params_["penalty"] in PENALTIES
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(frame(p)).shape == p.y.shape


@every_estimator
@every_penalty
def test_copies_predict_and_transform_the_same(estimator, penalty, p):
    model = estimator(**own(penalty)).fit(p.X, p.y, task=p.task)
    other = pickle.loads(pickle.dumps(model))
    assert_array_equal(other.predict(p.X, task=p.task), model.predict(p.X, task=p.task))
    assert_array_equal(other.transform(p.X), model.transform(p.X))
    fresh = clone(model)
    assert not hasattr(fresh, "coef_") and repr(fresh) == repr(model)


@every_estimator
@every_penalty
def test_fitting_twice_gives_the_same(estimator, penalty, p):
    for X in (p.X, sp.csr_array(p.X)):
        models = [
            estimator(**own(penalty)).fit(X, p.y, task=p.task).coef_ for _ in range(2)
        ]
        assert_array_equal(*models)


@every_estimator
@every_penalty
def test_verbose_prints_every_step(estimator, penalty, p, capsys):
    model = estimator(**own(penalty), verbose=1).fit(p.X, p.y, task=p.task)
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(line.startswith(estimator.__name__) for line in lines)
    objectives = [float(line.split("objective ")[1].split(",")[0]) for line in lines]
    assert np.all(np.diff(objectives) <= 1e-6 * objectives[0])
    estimator(**own(penalty)).fit(p.X, p.y, task=p.task)
    assert capsys.readouterr().out == ""
    assert model.verbose == 1


# ---------------------------------------------------------------- labels


@every_penalty
def test_outputs_of_classifiers(long_multiclass, wide_classification, penalty):
    p = long_multiclass
    model = SharedFeatureClassifier(**own(penalty, 1.0)).fit(p.X, p.y, task=p.task)
    proba = model.predict_proba(p.X, task=p.task)
    assert proba.shape == (len(p.y), 3)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(proba[p.task == "west", 2], 0)
    log_proba = model.predict_log_proba(p.X, task=p.task)
    assert_allclose(np.exp(log_proba), proba)
    assert model.decision_function(p.X, task=p.task).shape == (len(p.y), 3)
    q = wide_classification
    model = SharedFeatureClassifier(**own(penalty, 1.0)).fit(q.X, q.Y)
    assert_array_equal(model.classes_, np.arange(5))
    for method in ("predict", "predict_proba", "decision_function"):
        assert getattr(model, method)(q.X).shape == q.Y.shape
    assert 0.5 < model.score(q.X, q.Y) <= 1


def test_classes_share_their_features():
    # only the first two of eight features matter, each for another pair of classes
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 8))
    codes = np.arange(300) % 3
    scores = np.column_stack([X[:, 0], X[:, 1], -X[:, 0]]) * 3
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    model = SharedFeatureClassifier(penalty="l21", alpha=12.0)
    model.fit(X, y, task=codes)
    assert model.selected_features_.tolist() == [0, 1]
    model = SharedFeatureClassifier(2, 1.0).fit(X, y, task=codes)
    assert model.rank_ == 2
    assert model.task_components_.shape == (3, 3, 2)
    span = np.linalg.svd(model.components_, full_matrices=False)[2]
    assert np.linalg.norm(span[:, :2]) > 0.98 * np.sqrt(2)


def test_features_that_matter_are_found():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 30))
    codes = np.arange(400) % 10
    W = np.zeros((10, 30))
    W[:, [3, 7, 20]] = rng.normal(size=(10, 3))
    W[4, 11] = 4.0  # of one task only
    y = (X * W[codes]).sum(axis=1) + 0.3 * rng.normal(size=400)
    model = SharedFeatureRegressor(penalty="l21", alpha=12.0).fit(X, y, task=codes)
    assert {3, 7, 20} <= set(model.selected_features_.tolist())
    model = SharedFeatureRegressor(penalty="dirty", alpha=25.0, alpha_private=14.0)
    model.fit(X, y, task=codes)
    shared = set(np.flatnonzero(model.shared_part_.any(axis=0)).tolist())
    private = {tuple(place) for place in np.argwhere(model.private_part_)}
    assert {3, 7, 20} <= shared and 11 not in shared
    assert (4, 11) in private


def test_real_data(real_data):
    with np.load(real_data / "school.npz", allow_pickle=False) as file:
        X, y, task = file["X"].astype(float), file["y"].astype(float), file["task"]
    for penalty, alpha in product(PENALTIES, (3.0, 100.0)):
        model = SharedFeatureRegressor(penalty=penalty, alpha=alpha)
        quiet(model, X, y, task=task)
        assert model.score(X, y, task=task) > 0.3
