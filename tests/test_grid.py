"""Grids from fold moments, against a plain loop over folds and strengths."""

import pickle
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cases import N_FEATURES, N_ROWS, N_TASKS, TASKS, P, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.compose import features_only
from mtlearn.fitting import grid
from mtlearn.fitting.choice import best_point, within_one_standard_error
from mtlearn.metrics import TaskScorer
from mtlearn.model_selection import (
    LeaveTasksOut,
    TaskShuffleSplit,
    TaskStratifiedKFold,
)
from mtlearn.moments import gather_moments
from mtlearn.problem.tasks import TaskData

# the whole grid at the intercepts as they are, and the plain best of it
fixed = partial(
    PerTaskRegressorCV, fit_intercept=True, intercept_strength=1.0, margin=0.0
)
ALPHAS = np.array([0.05, 300.0, 4.0])  # in no order
FOLDS = TaskStratifiedKFold(5, shuffle=True, random_state=0)


def plain(base, alphas, folds, X, y, weight=None, task=None):
    """Mean squared errors (n_alphas, n_folds), one fit for each."""
    errors = np.empty((len(alphas), len(folds)))
    for (i, alpha), (k, (train, test)) in product(enumerate(alphas), enumerate(folds)):
        ids = {} if task is None else {"task": task[train]}
        model = clone(base).set_params(alpha=alpha)
        model.fit(X[train], y[train], None if weight is None else weight[train], **ids)
        ids = {} if task is None else {"task": task[test]}
        residual = y[test] - model.predict(X[test], **ids)
        counts = ~np.isnan(y[test])
        if weight is not None:
            own = weight[test]
            counts &= (own if own.ndim == counts.ndim else own[:, None]) > 0
        errors[i, k] = np.mean(residual[counts] ** 2)
    return errors


def split(cv, y, **ids):
    """The folds as the estimators ask for them."""
    by_task = isinstance(cv, (LeaveTasksOut, TaskStratifiedKFold))
    return list(cv.split(P.X, y, groups=ids.get("task") if by_task else None))


# ---------------------------------------------------------------- the same as plain

RELATIONS = {
    "independent": "independent",
    "pooled": "pooled",
    "mean": SharedMean(0.6),
    "graph": TaskGraph(1.0 - np.eye(N_TASKS)),
    "covariance": TaskCovariance(np.eye(N_TASKS) + 0.5),
}
LAYOUTS = ("long", "sparse", "wide", "missing", "patterns")
MODES = (True, "shrunk", "shared", False)
WEIGHTS = ("none", "rows", "zeros", "labels")
TASK_WEIGHTS = (None, "balanced", "array")
CVS = {
    "default": None,
    "shuffle": ShuffleSplit(3, random_state=0),
    "consecutive": KFold(4),
    "repeated": RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    "tasks": LeaveTasksOut(3),
}


def possible(relation, layout, intercept, weight, task_weight, cv):
    """Whether a plain loop can do the same, too."""
    long = layout in ("long", "sparse")
    if (long and weight == "labels") or (not long and cv == "tasks"):
        return False
    # its folds may lack a task, and then it has no place for what names all of them
    lacking = cv in ("tasks", "shuffle", "repeated", "consecutive") or weight == "zeros"
    named = relation in ("graph", "covariance") or task_weight == "array"
    # with zeros, the default folds part the rows that count
    return not (long and lacking and named) and (cv != "default" or weight != "zeros")


CASES = [
    case
    for case in pairwise(RELATIONS, LAYOUTS, MODES, WEIGHTS, TASK_WEIGHTS, CVS)
    if possible(*case)
]


@pytest.mark.filterwarnings("ignore:.*have no labels in this fit:UserWarning")
@pytest.mark.parametrize("relation, layout, intercept, weight, task_weight, cv", CASES)
def test_per_task(relation, layout, intercept, weight, task_weight, cv):
    params = {"fit_intercept": intercept, "task_weight": task_weight, "tol": 1e-13}
    if task_weight == "array":
        params["task_weight"] = [1.0, 2.0, 0.5, 1.0, 3.0, 0.2]
    params["relation"] = RELATIONS[relation]
    weight, splitter = P.weight[weight], CVS[cv]
    X, y, ids = P.X, P.y, {"task": P.task}
    if layout == "sparse":
        X = sp.csr_array(X)
    elif layout != "long":
        y, ids = P.wide[layout], {}
    table = weight is not None and weight.ndim == 2
    counted = np.where(weight > 0, y, np.nan) if table else y
    folds = split(splitter or FOLDS, counted, **ids)
    model = fixed(ALPHAS, cv=splitter, **params).fit(X, y, weight, **ids)
    base = PerTaskRegressor(**params)
    expected = plain(base, model.alphas_, folds, X, y, weight, **ids)
    assert_array_equal(model.alphas_, [300.0, 4.0, 0.05])
    assert_allclose(model.mse_path_, expected, rtol=1e-6)
    assert model.best_index_ == np.argmin(expected.mean(axis=1))
    assert model.alpha_ == model.alphas_[model.best_index_]
    base.set_params(alpha=model.alpha_).fit(X, y, weight, **ids)
    assert_allclose(model.coef_, base.coef_, rtol=1e-6, atol=1e-8)
    assert_allclose(model.intercept_, base.intercept_, rtol=1e-6, atol=1e-7)
    assert_allclose(model.coef_path_[model.best_index_], base.coef_, atol=1e-6)
    assert_allclose(
        model.predict(X[:9], **{k: v[:9] for k, v in ids.items()}),
        (base.predict(X[:9], **{k: v[:9] for k, v in ids.items()})),
        rtol=1e-6,
    )


@pytest.mark.parametrize("layout", ["long", "missing"])
@pytest.mark.parametrize("intercept", MODES)
def test_per_task_with_more_features_than_rows(layout, intercept):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(N_ROWS, 150))
    y, ids = (P.y, {"task": P.task}) if layout == "long" else (P.wide[layout], {})
    folds = list(FOLDS.split(X, y, groups=ids.get("task")))
    for relation in ("independent", SharedMean(0.6)):
        params = {"relation": relation, "fit_intercept": intercept, "tol": 1e-13}
        model = fixed([50.0, 0.5], **params).fit(X, y, **ids)
        base = PerTaskRegressor(**params)
        expected = plain(base, model.alphas_, folds, X, y, **ids)
        assert_allclose(model.mse_path_, expected, rtol=1e-6)
        base.set_params(alpha=model.alpha_).fit(X, y, **ids)
        assert_allclose(model.coef_, base.coef_, atol=1e-8)
        assert_allclose(model.coef_path_[model.best_index_], base.coef_, atol=1e-7)


@pytest.mark.parametrize("solver", ["newton-cholesky", "newton-dual", "newton-cg"])
def test_per_task_by_every_solver(solver):
    params = {"relation": SharedMean(0.6), "solver": solver, "tol": 1e-12}
    model = fixed(ALPHAS, **params).fit(P.X, P.y, task=P.task)
    auto = fixed(ALPHAS, relation=SharedMean(0.6))
    auto.fit(P.X, P.y, task=P.task)
    assert_allclose(model.mse_path_, auto.mse_path_, rtol=1e-6)
    assert_allclose(model.coef_, auto.coef_, rtol=1e-5, atol=1e-7)


def test_strengths_that_moments_cannot_bear():
    # two columns alike to nine digits, and no penalty at all
    X = np.column_stack([P.X, P.X[:, 0] + 1e-9 * P.X[:, 1]])
    alphas = [1.0, 1e-9, 0.0]
    model = fixed(alphas, relation="pooled", fit_intercept="shared")
    model.fit(X, P.y, task=P.task)
    folds = list(FOLDS.split(X, P.y, groups=P.task))
    base = PerTaskRegressor(relation="pooled", fit_intercept="shared")
    expected = plain(base, alphas, folds, X, P.y, task=P.task)
    assert_allclose(model.mse_path_, expected, rtol=1e-6)


PENALTIES = (("l21", None), ("dirty", None), ("nuclear", None), ("rank", None))


@pytest.mark.parametrize(
    "variant, layout, intercept, weight, task_weight",
    [
        case
        for case in pairwise(PENALTIES, LAYOUTS, MODES, WEIGHTS[:3], TASK_WEIGHTS[:2])
        if case[1] in ("long", "missing", "wide", "sparse")
    ],
)
def test_shared_features(variant, layout, intercept, weight, task_weight):
    params = {"fit_intercept": intercept, "task_weight": task_weight, "tol": 1e-11}
    params["penalty"], params["n_components"] = variant
    X = P.X / P.X.std(axis=0)
    y, ids, cv = P.y, {"task": P.task}, KFold(3)
    weight = P.weight[weight]
    if layout == "sparse":
        X = sp.csr_array(X)
    elif layout != "long":
        y, ids = P.wide[layout], {}
    alphas = [30.0, 3.0]
    model = SharedFeatureRegressorCV(alphas=alphas, cv=cv, **params)
    model.fit(X, y, weight, **ids)
    base = SharedFeatureRegressor(**params)
    folds = list(cv.split(P.X))
    expected = plain(base, alphas, folds, X, y, weight, **ids)
    assert_allclose(model.mse_path_, expected, rtol=1e-5)
    base.set_params(alpha=model.alpha_).fit(X, y, weight, **ids)
    assert_allclose(model.coef_, base.coef_, atol=1e-5)
    assert_allclose(model.transform(X).shape, base.transform(X).shape)
    assert model.penalty_ == params["penalty"]


# ---------------------------------------------------------------- the other dimension


def test_correlations():
    correlations = (0.0, 0.6, 1.0)
    model = fixed(ALPHAS, correlations).fit(P.X, P.y, task=P.task)
    assert model.mse_grid_.shape == (3, 3, 5)
    for k, correlation in enumerate(correlations):
        relation = SharedMean(correlation)
        one = fixed(ALPHAS, relation=relation)
        one.fit(P.X, P.y, task=P.task)
        assert_allclose(model.mse_grid_[k], one.mse_path_, rtol=1e-10)
        assert one.correlation_ == correlation
        assert_array_equal(one.correlations_, [correlation])
    chosen = model.mse_grid_.mean(axis=2).min(axis=1).argmin()
    assert model.correlation_ == correlations[chosen]
    assert_array_equal(model.correlations_, correlations)
    assert_array_equal(model.mse_path_, model.mse_grid_[chosen])
    single = fixed(ALPHAS, 0.6).fit(P.X, P.y, task=P.task)
    assert_allclose(single.mse_path_, model.mse_grid_[1])
    as_it_is = fixed(ALPHAS, None).fit(P.X, P.y, task=P.task)
    assert as_it_is.correlation_ == 0.5
    other = fixed(ALPHAS, relation="independent")
    other.fit(P.X, P.y, task=P.task)
    assert other.correlation_ is None and other.correlations_ is None


def test_penalties_and_ranks():
    X, Y = P.X / P.X.std(axis=0), P.wide["missing"]
    params = {"alphas": [30.0, 3.0, 0.3], "tol": 1e-9}
    names = ["l21", "rank", "nuclear"]
    model = SharedFeatureRegressorCV((1, 3), penalty=names, **params).fit(X, Y)
    variants = [("l21", None), ("rank", 1), ("rank", 3), ("nuclear", None)]
    assert model.variants_ == variants
    assert model.mse_grid_.shape == (4, 3, 5)
    for k, (penalty, rank) in enumerate(variants):
        one = SharedFeatureRegressorCV(rank, penalty=penalty, **params).fit(X, Y)
        assert_allclose(model.mse_grid_[k], one.mse_path_, rtol=1e-4)
    chosen = model.mse_grid_.mean(axis=2).min(axis=1).argmin()
    assert (model.penalty_, model.n_components_) == variants[chosen]
    base = model._base(variants[chosen], model.alpha_).fit(X, Y)
    assert_allclose(model.coef_, base.coef_, atol=1e-6)


def test_ranks_follow_a_path():
    X, Y = P.X / P.X.std(axis=0), P.wide["wide"]
    model = SharedFeatureRegressorCV(2, alphas=12, tol=1e-10).fit(X, Y)
    assert model.rank_ <= 2 and model.components_.shape == (2, N_FEATURES)
    ranks = [np.linalg.matrix_rank(W, tol=1e-6) for W in model.coef_path_]
    assert ranks[0] == 0 and max(ranks) == 2
    folds = list(FOLDS.split(X, Y))
    base = SharedFeatureRegressor(2, tol=1e-10)
    expected = plain(base, model.alphas_, folds, X, Y)
    assert_allclose(model.mse_path_, expected, rtol=1e-4)


def test_no_penalty_at_all():
    X, Y = P.X, P.wide["wide"]
    folds = list(KFold(3).split(X))
    for penalty, rank in (("l21", None), ("rank", 2)):
        model = SharedFeatureRegressorCV(rank, [1.0, 0.0], penalty, cv=KFold(3))
        model.fit(X, Y)
        base = SharedFeatureRegressor(rank, penalty=penalty)
        expected = plain(base, [0.0], folds, X, Y)
        assert_allclose(model.mse_path_[1:], expected, rtol=1e-6)


def test_a_model_of_another_penalty_leaves_nothing_behind():
    model = SharedFeatureRegressorCV(alphas=5, penalty="nuclear")
    model.fit(P.X, P.wide["wide"])
    assert hasattr(model, "components_")
    model.set_params(penalty="l21", scoring="r2").fit(P.X, P.wide["wide"])
    assert not hasattr(model, "components_") and hasattr(model, "score_path_")
    model.set_params(penalty="dirty", scoring=None).fit(P.X, P.wide["wide"])
    assert hasattr(model, "private_part_") and not hasattr(model, "score_path_")


# ---------------------------------------------------------------- default grids


@pytest.mark.parametrize("intercept", MODES)
def test_the_grid_of_a_ridge_begins_where_nothing_is_left(intercept):
    for relation in ("independent", "pooled"):
        model = fixed(30, relation=relation, fit_intercept=intercept)
        model.fit(P.X, P.y, task=P.task)
        assert len(model.alphas_) == 30 and np.all(np.diff(model.alphas_) < 0)
        assert model.alphas_[0] / model.alphas_[-1] == pytest.approx(1e9)
        unpenalised = PerTaskRegressor(1e-9, relation, fit_intercept=intercept)
        unpenalised.fit(P.X, P.y, task=P.task)
        size = np.linalg.norm(model.coef_path_, axis=(1, 2))
        assert size[0] < 0.1 * np.linalg.norm(unpenalised.coef_)


def test_the_grid_of_a_ridge_follows_units_and_weights():
    ids = {"task": P.task}
    model = fixed(3, 0.5).fit(P.X, P.y, **ids)
    moments = gather_moments(TaskData(P.X, P.y, N_TASKS, P.codes))
    total = sum(np.trace(gram) for gram in moments.gram)
    assert model.alphas_[0] == pytest.approx(10.0 * total)
    scaled = fixed(3, 0.5).fit(100.0 * P.X, P.y, **ids)
    assert_allclose(scaled.alphas_, 1e4 * model.alphas_)
    twice = fixed(3, 0.5).fit(P.X, P.y, np.full(N_ROWS, 2.0), **ids)
    assert_allclose(twice.alphas_, 2.0 * model.alphas_)
    by_rows = fixed(3, 0.5, solver="newton-dual").fit(P.X, P.y, **ids)
    assert_allclose(by_rows.alphas_, model.alphas_)
    flat = fixed(3, 0.5).fit(np.ones((N_ROWS, 2)), P.y, **ids)
    assert flat.alphas_[0] == 1.0 and not flat.coef_.any()


@pytest.mark.parametrize("penalty", ["l21", "dirty", "nuclear", "rank"])
@pytest.mark.parametrize("intercept", MODES)
def test_the_grid_of_shared_features_begins_at_zero(penalty, intercept):
    model = SharedFeatureRegressorCV(
        alphas=4, penalty=penalty, fit_intercept=intercept, cv=2
    ).fit(P.X, P.wide["missing"])
    assert model.alphas_[0] / model.alphas_[-1] == pytest.approx(1e3)
    assert np.abs(model.coef_path_[0]).max() < 1e-6 * np.abs(model.coef_path_[-1]).max()
    if intercept != "shrunk":
        assert model.coef_path_[1].any()


# ---------------------------------------------------------------- folds


def test_numbers_and_splitters_and_pairs():
    ids = {"task": P.task}
    default = fixed(ALPHAS, 0.5).fit(P.X, P.y, **ids)
    pairs = list(FOLDS.split(P.X, groups=P.task))
    for cv in (5, FOLDS, pairs, iter(pairs)):
        model = fixed(ALPHAS, 0.5, cv=cv).fit(P.X, P.y, **ids)
        assert_array_equal(model.mse_path_, default.mse_path_)
    masks = [
        (np.isin(np.arange(N_ROWS), a), np.isin(np.arange(N_ROWS), b)) for a, b in pairs
    ]
    model = fixed(ALPHAS, 0.5, cv=masks).fit(P.X, P.y, **ids)
    assert_array_equal(model.mse_path_, default.mse_path_)
    three = fixed(ALPHAS, 0.5, cv=3).fit(P.X, P.y, **ids)
    assert three.mse_path_.shape == (3, 3)
    # a single task, and the wide layout
    alone = fixed(ALPHAS, 0.5).fit(P.X, P.y)
    folds = list(KFold(5, shuffle=True, random_state=0).split(P.X))
    assert alone.mse_path_.shape == (3, len(folds))
    wide = fixed(ALPHAS, 0.5).fit(P.X, P.wide["missing"])
    same = fixed(ALPHAS, 0.5, cv=list(FOLDS.split(P.X, P.wide["missing"]))).fit(
        P.X, P.wide["missing"]
    )
    assert_array_equal(wide.mse_path_, same.mse_path_)


def frame():
    return pd.DataFrame(P.X, columns=list("wxyz")).assign(school=P.task)


@pytest.mark.parametrize(
    "cv",
    [
        LeaveTasksOut(3, task_column="school"),
        TaskStratifiedKFold(3, task_column="school"),
        TaskShuffleSplit(3, task_column="school", random_state=0),
        GroupKFold(3),
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_splitters_find_the_ids(cv):
    model = fixed(ALPHAS, 0.5, task_column="school", cv=cv)
    model.fit(frame(), P.y)
    folds = list(
        cv.split(
            frame(), P.y, groups=None if cv.__dict__.get("task_column") else P.task
        )
    )
    expected = plain(
        PerTaskRegressor(relation=SharedMean(0.5)),
        model.alphas_,
        folds,
        P.X,
        P.y,
        task=P.task,
    )
    assert_allclose(model.mse_path_, expected, rtol=1e-6)


def test_rows_of_weight_zero_are_as_if_absent():
    weight = P.weight["zeros"]
    keep = weight > 0
    model = fixed(ALPHAS, 0.5).fit(P.X, P.y, weight, task=P.task)
    other = fixed(ALPHAS, 0.5)
    other.fit(P.X[keep], P.y[keep], weight[keep], task=P.task[keep])
    assert_array_equal(model.mse_path_, other.mse_path_)
    assert_array_equal(model.coef_, other.coef_)
    # given folds name the rows as they were passed
    folds = list(KFold(3).split(P.X))
    place = np.cumsum(keep) - 1
    fewer = [(place[a[keep[a]]], place[b[keep[b]]]) for a, b in folds]
    model = fixed(ALPHAS, 0.5, cv=folds).fit(P.X, P.y, weight, task=P.task)
    other = fixed(ALPHAS, 0.5, cv=fewer)
    other.fit(P.X[keep], P.y[keep], weight[keep], task=P.task[keep])
    assert_array_equal(model.mse_path_, other.mse_path_)
    table = P.weight["labels"]
    model = fixed(ALPHAS, 0.5).fit(P.X, P.wide["wide"], table)
    other = fixed(ALPHAS, 0.5)
    other.fit(P.X, np.where(table > 0, P.wide["wide"], np.nan), table)
    assert_allclose(model.mse_path_, other.mse_path_, rtol=1e-12)


def test_tiny_folds_and_folds_that_tell_nothing():
    Y = P.wide["missing"][:12].copy()
    Y[0] = np.nan
    model = fixed(ALPHAS, 0.5, cv=LeaveOneOut()).fit(P.X[:12], Y)
    assert np.isnan(model.mse_path_[:, 0]).all()
    assert np.isfinite(model.mse_path_[:, 1:]).all()
    mean = np.nanmean(model.mse_path_, axis=1)
    assert model.best_index_ == mean.argmin()
    with pytest.raises(ValueError, match=r"No fold of `cv` has a score"):
        fixed(ALPHAS, cv=[(np.arange(1, 12), [0])]).fit(P.X[:12], Y)
    with pytest.raises(ValueError, match=r"`cv` has a fold with nothing to train on"):
        fixed(ALPHAS, cv=[([0], np.arange(1, 12))]).fit(P.X[:12], Y)
    with pytest.raises(ValueError, match=r"`cv` gives no fold"):
        fixed(ALPHAS, cv=[]).fit(P.X, P.y)
    with pytest.raises(
        ValueError, match=r"5 folds need at least as many rows, got n_s"
    ):
        fixed(ALPHAS).fit(P.X[:4], P.y[:4])


def test_tasks_that_only_the_relation_names():
    names = [*TASKS, "g"]
    relation = TaskGraph(1.0 - np.eye(7), tasks=names)
    model = fixed(ALPHAS, relation=relation)
    model.fit(P.X, P.y, task=P.task)
    folds = list(FOLDS.split(P.X, groups=P.task))
    base = PerTaskRegressor(relation=relation)
    expected = plain(base, model.alphas_, folds, P.X, P.y, task=P.task)
    assert_allclose(model.mse_path_, expected, rtol=1e-6)
    assert model.coef_path_.shape == (3, 7, N_FEATURES)
    Y = pd.DataFrame(P.wide["missing"], columns=TASKS)
    with pytest.warns(UserWarning, match=r"get the model of their neighbours: \['g'\]"):
        model.fit(P.X, Y)
    assert_array_equal(model.tasks_, names)


def test_a_task_without_labels_warns_once():
    Y = P.wide["missing"].copy()
    Y[:, 2] = np.nan
    with pytest.warns(UserWarning, match="1 of 6 tasks have no labels") as caught:
        model = fixed(ALPHAS, 0.5).fit(P.X, Y)
    assert len(caught) == 1
    assert_allclose(model.coef_[2], np.delete(model.coef_, 2, axis=0).mean(axis=0))
    assert_allclose(
        model.coef_path_[:, 2], model.coef_path_[:, [0, 1, 3, 4, 5]].mean(1)
    )


# ---------------------------------------------------------------- scores


SCORERS = {
    "r2": "r2",
    "neg_mean_absolute_error": "neg_mean_absolute_error",
    "tasks": TaskScorer(r2_score, task_column="school", average="weighted"),
    "callable": lambda estimator, X, y: -np.abs(estimator.predict(X) - y).max(),
}


@pytest.mark.filterwarnings("ignore:R.2 score is not well-defined")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_those_of_a_grid_search(name):
    scoring, cv = SCORERS[name], TaskStratifiedKFold(3, task_column="school")
    base = PerTaskRegressor(task_column="school", relation=SharedMean(0.6))
    search = GridSearchCV(base, {"alpha": ALPHAS}, cv=cv, scoring=scoring)
    search.fit(frame(), P.y)
    model = fixed(ALPHAS, 0.6, task_column="school", cv=cv, scoring=scoring)
    model.fit(frame(), P.y)
    found = [search.cv_results_[f"split{k}_test_score"][[1, 2, 0]] for k in range(3)]
    assert_allclose(model.score_path_, np.transpose(found), rtol=1e-7)
    assert model.alpha_ == search.best_params_["alpha"]
    # ids beside X
    if name == "tasks":
        scoring = TaskScorer(r2_score, average="weighted")
    cv = list(cv.split(frame()))
    other = fixed(ALPHAS, 0.6, cv=cv, scoring=scoring)
    other.fit(P.X, P.y, task=P.task)
    assert_allclose(other.score_path_, model.score_path_)


def test_scores_in_the_wide_layout():
    scorer = TaskScorer(mean_absolute_error, greater_is_better=False)
    model = fixed(ALPHAS, 0.6, scoring=scorer).fit(P.X, P.wide["missing"])
    folds = FOLDS.split(P.X, P.wide["missing"])
    for k, (train, test) in enumerate(folds):
        base = PerTaskRegressor(4.0, SharedMean(0.6)).fit(
            P.X[train], P.wide["missing"][train]
        )
        score = scorer(base, P.X[test], P.wide["missing"][test])
        assert model.score_path_[1, k] == pytest.approx(score)
    assert model.best_index_ == model.score_path_.mean(axis=1).argmax()
    wide = np.random.default_rng(0).normal(size=(20, 30))
    other = SharedFeatureRegressorCV(alphas=4, penalty="nuclear", scoring="r2", cv=2)
    other.fit(wide, P.wide["wide"][:20])
    by_error = SharedFeatureRegressorCV(alphas=4, penalty="nuclear", cv=2)
    by_error.fit(wide, P.wide["wide"][:20])
    assert_allclose(other.mse_path_, by_error.mse_path_)


def test_one_standard_error():
    quality = -np.array([[9.0, 9.5], [3.0, 5.0], [3.1, 4.1], [3.0, 4.0], [5.0, 6.0]])
    assert best_point(quality[None]) == (0, 3)
    assert within_one_standard_error(quality, 3) == 1
    assert within_one_standard_error(quality[:, :1], 3) == 3
    holes = np.where(quality == -9.5, np.nan, quality)
    assert within_one_standard_error(holes, 3) == 1
    plainly = fixed(40).fit(P.X, P.y, task=P.task)
    simply = fixed(40, one_standard_error=True).fit(P.X, P.y, task=P.task)
    assert simply.correlation_ == plainly.correlation_
    assert simply.alpha_ > plainly.alpha_
    mean = plainly.mse_path_.mean(axis=1)
    at = plainly.best_index_
    limit = mean[at] + plainly.mse_path_[at].std(ddof=1) / np.sqrt(5)
    assert mean[simply.best_index_] <= limit < mean[simply.best_index_ - 1]


def test_one_standard_error_of_the_difference():
    # a hard fold is hard for every strength: it says nothing about their differences
    quality = -np.array([[9.5, 1.5, 2.5], [9.1, 1.2, 2.1], [9.0, 1.0, 2.0]])
    assert best_point(quality[None]) == (0, 2)
    assert within_one_standard_error(quality, 2) == 0
    assert within_one_standard_error(quality, 2, paired=True) == 2
    quality[1, 2] = -1.9
    assert within_one_standard_error(quality, 2, paired=True) == 1
    assert within_one_standard_error(quality[:, :1], 2, paired=True) == 2
    empty = np.column_stack([quality, np.full(3, np.nan)])
    assert within_one_standard_error(empty, 2, paired=True) == 1


@pytest.mark.parametrize("scoring", [None, "neg_root_mean_squared_error"])
def test_paired_choice_of_the_estimator(scoring):
    how = {"penalty": "l21", "alphas": 20, "scoring": scoring}
    best, paired, simple = (
        SharedFeatureRegressorCV(one_standard_error=rule, **how).fit(
            P.X, P.wide["wide"]
        )
        for rule in (False, "paired", True)
    )
    assert best.alpha_ <= paired.alpha_ <= simple.alpha_
    scores = -best.mse_path_ if scoring is None else best.score_path_
    behind = scores[best.best_index_] - scores
    error = behind.std(axis=1, ddof=1) / np.sqrt(5)
    fine = np.flatnonzero(behind.mean(axis=1) <= error)
    assert paired.best_index_ == fine[0]


def test_the_first_of_equals_is_chosen():
    quality = np.zeros((2, 3, 4))
    assert best_point(quality) == (0, 0)
    quality[1, 2] = 1.0
    assert best_point(quality) == (1, 2)
    quality[1, 2] = np.nan
    quality[0] = -1.0
    assert best_point(quality) == (1, 0)


# ---------------------------------------------------------------- as estimators


@pytest.mark.slow
def test_jobs_and_pickles():
    for X, params in ((frame(), {"task_column": "school"}), (P.X, {})):
        ids = {} if params else {"task": P.task}
        one = fixed(5, scoring="r2", cv=3, **params)
        two = clone(one).set_params(n_jobs=2)
        one.fit(X, P.y, **ids)
        two.fit(X, P.y, **ids)
        assert_array_equal(one.mse_grid_, two.mse_grid_)
        assert_array_equal(one.score_path_, two.score_path_)
        copied = pickle.loads(pickle.dumps(two))
        assert_array_equal(copied.predict(X, **ids), one.predict(X, **ids))


def test_in_a_pipeline_inside_a_search():
    pipe = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        fixed(5, task_column="school"),
    )
    modes = {"pertaskregressorcv__fit_intercept": [True, "shrunk"]}
    cv = TaskStratifiedKFold(3, task_column="school")
    search = GridSearchCV(pipe, modes, cv=cv, scoring="r2").fit(frame(), P.y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_[-1].alphas_.shape == (5,)


def test_warm_start():
    model = SharedFeatureRegressorCV(alphas=6, penalty="l21", warm_start=True)
    coef = model.fit(P.X, P.wide["wide"]).coef_
    assert_allclose(model.fit(P.X, P.wide["wide"]).coef_, coef, atol=1e-6)


def test_large_paths_are_not_kept(monkeypatch):
    monkeypatch.setattr(grid, "_PATH_BYTES", 100)
    model = fixed(5).fit(P.X, P.y, task=P.task)
    assert model.coef_path_ is None


def test_solves_that_do_not_converge_are_counted():
    model = SharedFeatureRegressorCV(
        alphas=3, penalty="dirty", max_iter=1, cv=2, tol=1e-15
    )
    told = r"SharedFeatureRegressorCV: at \d+ of 6 points of the grid and its folds"
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(P.X, P.wide["missing"])
    assert any(pd.Series([str(w.message)]).str.match(told)[0] for w in caught)


def test_verbose(capsys):
    fixed(5, verbose=1).fit(P.X, P.y, task=P.task)
    assert "PerTaskRegressorCV: step 0, objective" in capsys.readouterr().out


BAD = [
    ({"alphas": 0}, ValueError, "`alphas` must be finite and >= 1, got 0"),
    ({"alphas": 2.5}, TypeError, "`alphas` must be an integer, got 2.5"),
    ({"alphas": True}, TypeError, "`alphas` must be an integer"),
    ({"alphas": []}, ValueError, "`alphas` must be a number of strengths or"),
    ({"alphas": [[1.0]]}, ValueError, "`alphas` must be a number of strengths or"),
    ({"alphas": [1.0, -1.0]}, ValueError, "`alphas` must be finite, at least 0"),
    ({"alphas": [1.0, np.nan]}, ValueError, "`alphas` must be finite, at least 0"),
    ({"alphas": "many"}, ValueError, "`alphas` must"),
    ({"cv": 1}, ValueError, "`cv` must be finite and >= 2, got 1"),
    ({"cv": 2.5}, TypeError, "`cv` must be an integer, got 2.5"),
    ({"cv": True}, TypeError, "`cv` must be an integer"),
    (
        {"cv": "five"},
        ValueError,
        "Expected `cv` as an integer|Expected cv as an integer",
    ),
    ({"scoring": 3}, TypeError, "`scoring` must be None, the name of a scorer or"),
    ({"scoring": "nothing"}, ValueError, "nothing"),
    ({"one_standard_error": 1.5}, TypeError, "`one_standard_error` must be a bool"),
    ({"one_standard_error": "half"}, TypeError, "must be a bool or 'paired', got"),
    ({"tol": 0}, ValueError, "`tol` must be finite and > 0"),
]
PER_TASK = [
    ({"correlations": []}, ValueError, "`correlations` must be a number, a sequence"),
    ({"correlations": [0.5, 1.5]}, ValueError, "`correlations` must be between 0 and"),
    ({"correlations": [0.5, np.nan]}, ValueError, "`correlations` must be between 0"),
    ({"correlations": "all"}, ValueError, "`correlations` must hold numbers"),
    ({"relation": "dependent"}, ValueError, "`relation` must be one of"),
    ({"solver": "qr"}, ValueError, "`solver` must be one of"),
]
SHARED = [
    ({"penalty": "l1"}, ValueError, "`penalty` must be one of 'rank'"),
    ({"penalty": ("l21", "l1")}, ValueError, "`penalty` must be one of 'rank'"),
    ({"penalty": ()}, ValueError, "`penalty` is empty"),
    ({"n_components": []}, ValueError, "`n_components` is empty"),
    ({"n_components": [2, 0]}, ValueError, "`n_components` must be finite and >= 1"),
    ({"n_components": [2, 5]}, ValueError, "`n_components` must be at most 4"),
    ({"alpha_private": -1.0}, ValueError, "`alpha_private` must be finite and > 0"),
    ({"solver": "newton-cg"}, ValueError, "`solver` must be one of"),
]


@pytest.mark.parametrize(
    "estimator, params, error, message",
    [
        (estimator, *case)
        for estimator, own in (
            (PerTaskRegressorCV, PER_TASK),
            (SharedFeatureRegressorCV, SHARED),
        )
        for case in BAD + own
    ],
)
def test_bad_parameters(estimator, params, error, message):
    with pytest.raises(error, match=message):
        estimator(**params).fit(P.X, P.wide["wide"])


def test_moments_are_used_where_they_are_less_work():
    by = fixed(relation="independent")._by_moments

    def rows(n, d, n_tasks=5):
        return TaskData(np.zeros((n, d)), np.zeros(n), n_tasks, np.arange(n) % n_tasks)

    assert by(rows(100, 10)) and by(rows(2000, 100))
    assert not by(rows(100, 200)) and not by(rows(10, 20_000))
    other = fixed(solver="newton-cg")
    assert not other._by_moments(rows(100, 10))
    # three thousand tasks of 300 features: two gigabytes, and as much for every fold
    assert not by(rows(900_000, 300, 3000))


def test_an_outlier_in_one_fold():
    X = P.X.copy()
    X[7] *= 1e5
    folds = list(KFold(5).split(X))
    model = fixed(ALPHAS, 0.5, cv=folds).fit(X, P.y, task=P.task)
    base = PerTaskRegressor(relation=SharedMean(0.5))
    expected = plain(base, model.alphas_, folds[:1], X, P.y, task=P.task)
    assert_allclose(model.mse_path_[:, :1], expected, rtol=1e-6)
