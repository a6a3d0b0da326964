"""Classes with learned strengths: probabilities, reports, layouts, awkward data."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from mtlearn import MultiTaskBayesianClassifier


def drawn(T, n, d, *, slopes=0.5, level=1.0, seed=0):
    """Labels of tasks with slopes N(1, slopes^2) / 2 and levels, and their truth."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(T), n)
    X = rng.normal(size=(len(task), d))
    W = 0.5 * (1.0 + 2 * slopes * rng.normal(size=(T, d)))
    z = (X * W[task]).sum(axis=1) + level * rng.normal(size=T)[task] - 0.3
    y = (rng.uniform(size=len(task)) < expit(z)).astype(int)
    return X, y, task, expit(z)


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize("covariance", ["diag", "full", "scalar", "intercept"])
def test_probabilities_are_calibrated(covariance):
    slopes = 0.0 if covariance == "intercept" else 0.5
    X, y, task, p = drawn(150, 24, 3, slopes=slopes, level=1.2, seed=1)
    first = np.arange(len(y)) % 24 < 12
    model = MultiTaskBayesianClassifier(covariance)
    model.fit(X[first], y[first], task=task[first])
    found = model.predict_proba(X[~first], task=task[~first])[:, 1]
    # the truth knows all coefficients
    assert log_loss(y[~first], found) < log_loss(y[~first], p[~first]) + 0.1
    for low in (0.0, 0.25, 0.5, 0.75):
        some = (found >= low) & (found < low + 0.25)
        assert abs(found[some].mean() - p[~first][some].mean()) < 0.05
    pooled = MultiTaskBayesianClassifier("intercept").fit(X[first], y[first])
    alone = pooled.predict_proba(X[~first])[:, 1]
    assert log_loss(y[~first], found) < log_loss(y[~first], alone) - 0.02


def test_new_tasks_are_calibrated():
    X, y, task, _ = drawn(600, 12, 3, level=2.0, seed=2)
    old = task < 200
    model = MultiTaskBayesianClassifier().fit(X[old], y[old], task=task[old])
    found = model.predict_proba(X[~old], task=task[~old])[:, 1]
    sharp = expit(X[~old] @ model.shared_coef_ + model.shared_intercept_)
    assert log_loss(y[~old], found) < log_loss(y[~old], sharp) - 0.001
    slope = LogisticRegression(C=1e4).fit(
        model.decision_function(X[~old], task=task[~old])[:, None], y[~old]
    )
    assert abs(slope.coef_[0, 0] - 1.0) < 0.25


def test_probabilities_are_averages_over_the_score():
    X, y, task, _ = drawn(40, 10, 2)
    model = MultiTaskBayesianClassifier("intercept").fit(X, y, task=task)
    D, u = model.covariance_, np.append(X[0], 1.0)
    C = model._posteriors[0].shared()[1]
    spread = np.sqrt(u @ (D + C) @ u)
    mean = model._means[0][-1] @ X[0] + model._means[1][-1]
    expected = quad(lambda z: expit(mean + spread * z) * norm.pdf(z), -10, 10)[0]
    found = model.predict_proba(X[:1], task=[99])[0, 1]
    assert_allclose(found, expected, rtol=1e-6)
    z = model.decision_function(X, task=task)
    assert_allclose(expit(z), model.predict_proba(X, task=task)[:, 1])
    assert_array_equal(model.predict(X, task=task), (z > 0).astype(int))
    assert_array_equal(model.predict(X, task=task) == 1, z > 0)


def test_tasks_of_one_class():
    X, y, task, _ = drawn(80, 16, 2, level=2.5, seed=3)
    y[task < 5] = 1
    for covariance in ("diag", "intercept"):
        model = MultiTaskBayesianClassifier(covariance).fit(X, y, task=task)
        own = model.intercept_[:5] - model.shared_intercept_
        assert np.all((own > 0.5) & (own < 15.0))
        found = model.predict_proba(np.zeros((5, 2)), task=np.arange(5))[:, 1]
        assert np.all((found > 0.8) & (found < 0.995))
        assert len(model.task_classes_[0]) == 1


def test_nothing_but_tasks_of_one_class():
    rng = np.random.default_rng(4)
    task = np.repeat(np.arange(40), 8)
    y = (rng.normal(size=40) > 0).astype(int)[task]
    X = rng.normal(size=(320, 2))
    for covariance in ("diag", "intercept", "full"):
        model = MultiTaskBayesianClassifier(covariance).fit(X, y, task=task)
        assert model.optimality_ < 1e-6 and np.all(np.isfinite(model.coef_))
        assert model.covariance_[-1, -1] < 2000
        found = model.predict_proba(X, task=task)
        assert log_loss(y, found) < 0.15


def test_one_row_per_task_is_not_worse_than_one_model():
    gain = []
    for level in (0.0, 1.2):
        for seed in range(2):
            X, y, task, _ = drawn(800, 6, 4, slopes=0.0, level=level, seed=seed)
            first = np.arange(len(y)) % 6 == 0
            pooled = LogisticRegression(C=0.1).fit(X[first], y[first])
            one = pooled.predict_proba(X[~first])[:, 1]
            for covariance in ("diag", "intercept"):
                model = MultiTaskBayesianClassifier(covariance)
                model.fit(X[first], y[first], task=task[first])
                assert 0.1 < model.covariance_[-1, -1] < 2.0
                own = model.predict_proba(X[~first], task=task[~first])[:, 1]
                auc = [roc_auc_score(y[~first], p) for p in (own, one)]
                gain.append((level, auc[0] - auc[1]))
    # where tasks are alike it costs next to nothing, else it gains
    gain = np.array(gain)
    assert gain[gain[:, 0] == 0, 1].mean() > -0.008
    assert gain[gain[:, 0] > 0, 1].mean() > 0.008


def test_one_row_per_task_of_tasks_that_are_alike():
    # nothing but levels can differ, and they do not
    X, y, task, _ = drawn(300, 1, 3, slopes=0.0, level=0.0)
    found = [
        MultiTaskBayesianClassifier(covariance).fit(X, y, task=task).covariance_
        for covariance in ("diag", "full", "intercept")
    ]
    assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-8)
    assert_allclose(found[0], found[2], rtol=1e-4, atol=1e-8)


def test_better_than_separate_and_pooled_models():
    X, y, task, _ = drawn(80, 30, 5, level=1.0, seed=5)
    first = np.arange(len(y)) % 30 < 10
    model = MultiTaskBayesianClassifier().fit(X[first], y[first], task=task[first])
    own = log_loss(y[~first], model.predict_proba(X[~first], task=task[~first]))
    E = np.eye(80)[task]
    for Z in (X, np.hstack([X, E])):
        for C in (0.01, 0.1, 1.0):  # the best of them, as if it were known
            peer = LogisticRegression(C=C).fit(Z[first], y[first])
            assert own < log_loss(y[~first], peer.predict_proba(Z[~first]))


# ---------------------------------------------------------------- several classes


def three_classes(seed=6):
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(30), 12)
    X = rng.normal(size=(360, 3))
    z = X @ rng.normal(size=(3, 3)) + rng.normal(size=(30, 3))[task]
    y = np.array(["u", "v", "w"])[np.argmax(z + rng.gumbel(size=z.shape), axis=1)]
    return X, y, np.array([f"s{t}" for t in task])


def test_more_than_two_classes():
    X, y, task = three_classes()
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    p, z = (f(X, task=task) for f in (model.predict_proba, model.decision_function))
    assert model.coef_.shape == (30, 3, 3) and model.intercept_.shape == (30, 3)
    assert model.shared_coef_.shape == (3, 3) and model.shared_intercept_.shape == (3,)
    assert model.covariance_.shape == (3, 4, 4) and model.sharing_.shape == (3, 4)
    assert model.shared_variance_.shape == (3, 3)
    assert_allclose(p.sum(axis=1), 1.0)
    assert_allclose(p, expit(z) / expit(z).sum(axis=1, keepdims=True))
    assert_array_equal(model.predict(X, task=task), model.classes_[p.argmax(axis=1)])
    assert model.score(X, y, task=task) > 0.6
    one = MultiTaskBayesianClassifier().fit(X, y == "v", task=task)
    assert_allclose(model.coef_[:, 1], one.coef_, rtol=1e-9)
    assert_allclose(z[:, 1], one.decision_function(X, task=task))


def test_a_task_may_have_classes_that_it_has_not_shown():
    X, y, task = three_classes()
    lone = task == "s3"
    y[lone] = "u"
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    p = model.predict_proba(X[lone], task=task[lone])
    assert np.all(p > 0) and p[:, 0].mean() > 0.5
    assert_array_equal(model.task_classes_[model.tasks_.tolist().index("s3")], ["u"])


def test_reports_of_several_classes():
    X, y, task = three_classes()
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    summary, effects = model.summary(), model.task_effects()
    assert summary.coefficients["class"].tolist() == ["u"] * 4 + ["v"] * 4 + ["w"] * 4
    assert_allclose(
        summary.variances["variance"],
        np.diagonal(model.covariance_, axis1=1, axis2=2).ravel(),
    )
    assert len(effects) == 3 * 4 * 30


# ---------------------------------------------------------------- reports


def test_reports():
    X, y, task, _ = drawn(25, 12, 2)
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(school=task.astype(str))
    labels = np.where(y == 1, "yes", "no")
    model = MultiTaskBayesianClassifier(task_column="school").fit(frame, labels)
    assert_array_equal(model.classes_, ["no", "yes"])
    summary = model.summary()
    assert summary.coefficients["effect"].tolist() == ["a", "b", "intercept"]
    assert summary.variances["effect"].tolist() == ["a", "b", "intercept"]
    assert_allclose(summary.coefficients["estimate"][:2], model.shared_coef_)
    assert np.all(summary.coefficients["standard_error"] > 0)
    effects = model.task_effects()
    assert effects.columns.tolist()[:3] == ["task", "rows", "effect"]
    level = effects[effects["effect"] == "intercept"].set_index("task")
    assert_allclose(
        level.loc[model.tasks_, "estimate"],
        model.intercept_ - model.shared_intercept_,
        atol=1e-9,
    )
    assert np.all(effects["rows"] == 12)
    assert model.log_likelihood_ < 0 and model.optimality_ <= 1e-6


def test_what_varies():
    X, y, task, _ = drawn(60, 12, 3)
    one = MultiTaskBayesianClassifier(varying=[1]).fit(X, y, task=task)
    assert_array_equal(np.ptp(one.coef_, axis=0) > 1e-12, [False, True, False])
    grouped = MultiTaskBayesianClassifier(groups=["a", "a", "b"]).fit(X, y, task=task)
    D = np.diag(grouped.covariance_)
    assert D[0] == D[1] and grouped.shared_variance_.shape == (2,)
    none = MultiTaskBayesianClassifier(varying=[]).fit(X, y, task=task)
    levels = MultiTaskBayesianClassifier("intercept").fit(X, y, task=task)
    assert_array_equal(none.coef_, levels.coef_)
    bare = MultiTaskBayesianClassifier(fit_intercept=False).fit(X, y, task=task)
    assert_array_equal(bare.intercept_, 0.0)
    assert len(bare.summary().coefficients["effect"]) == 3


# ---------------------------------------------------------------- data


def test_weights_count_rows():
    X, y, task, _ = drawn(15, 6, 2)
    weight = np.random.default_rng(1).integers(0, 4, size=len(y))
    for covariance in ("diag", "full", "intercept"):
        model = MultiTaskBayesianClassifier(covariance, tol=1e-8)
        first = model.fit(X, y, weight, task=task).predict_proba(X, task=task)
        value = model.log_likelihood_
        again = [np.repeat(part, weight, axis=0) for part in (X, y, task)]
        model.fit(*again[:2], task=again[2])
        assert_allclose(first, model.predict_proba(X, task=task), rtol=1e-5)
        assert_allclose(model.log_likelihood_, value, rtol=1e-8)


def test_the_log_likelihood_is_without_the_priors_of_the_variances():
    X, y, task, _ = drawn(15, 6, 2)
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    fit = model._unfitted()._prepare(X, y, None, task)
    (part,) = model._solution(fit, None).parts
    assert model.log_likelihood_ == pytest.approx(part.log_likelihood)
    # the objective, which they are part of, is higher
    assert part.objective > -part.log_likelihood + 1e-3


def test_both_layouts_agree():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 2))
    Y = (rng.uniform(size=(40, 5)) < expit(X @ rng.normal(size=(2, 5)))).astype(float)
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    row, column = np.nonzero(~np.isnan(Y))
    for covariance in ("diag", "intercept"):
        wide = MultiTaskBayesianClassifier(covariance, tol=1e-8).fit(X, Y)
        long = MultiTaskBayesianClassifier(covariance, tol=1e-8)
        long.fit(X[row], Y[row, column], task=column)
        assert_allclose(wide.coef_, long.coef_, rtol=1e-4, atol=1e-6)
        p = wide.predict_proba(X)
        assert p.shape == wide.decision_function(X).shape == Y.shape
        alone = long.predict_proba(X, task=np.full(40, 2))[:, 1]
        assert_allclose(p[:, 2], alone, rtol=1e-4)
        assert wide.score(X, Y) > 0.5
    with pytest.warns(UserWarning, match="no labels in this fit"):
        empty = MultiTaskBayesianClassifier().fit(X, np.c_[Y, np.full(40, np.nan)])
    assert_array_equal(empty.coef_[5], empty.shared_coef_)
    assert np.all(np.isfinite(empty.predict_proba(X)))
    assert len(empty.task_effects()["task"]) == 15


def test_several_classes_with_a_column_for_each_task():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(60, 2))
    Y = np.stack([rng.integers(0, 3, size=60), rng.integers(1, 3, size=60)], axis=1)
    model = MultiTaskBayesianClassifier().fit(X, Y)
    p = model.predict_proba(X)
    assert [one.shape for one in p] == [(60, 3), (60, 2)]
    for one in p:
        assert_allclose(one.sum(axis=1), 1.0)
    assert set(np.unique(model.predict(X)[:, 1])) <= {1, 2}


def test_sparse_features():
    X, y, task, _ = drawn(20, 8, 3)
    X[X < 0] = 0.0
    dense = MultiTaskBayesianClassifier().fit(X, y, task=task)
    sparse = MultiTaskBayesianClassifier().fit(sp.csr_array(X), y, task=task)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-7)
    assert_allclose(
        sparse.predict_proba(sp.csr_array(X), task=task),
        dense.predict_proba(X, task=task),
    )


def test_awkward_features():
    X, y, task, _ = drawn(30, 10, 2)
    X = np.c_[X * [1e6, 1e-6], np.full(300, 5.0), X[:, 0] + 3e3, np.zeros(300)]
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    assert_array_equal(model.coef_[:, [2, 4]], 0.0)
    assert np.all(np.isfinite(model.predict_proba(X, task=task)))
    assert model.optimality_ < 1e-6


def test_classes_that_can_be_separated():
    X, _, task, _ = drawn(30, 10, 2)
    y = (X[:, 0] > 0).astype(int)
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    assert model.score(X, y, task=task) > 0.98 and np.all(np.isfinite(model.coef_))
    with pytest.warns(UserWarning, match=r"do not determine .*'x0'.*'learned'"):
        model.set_params(shared_prior="flat").fit(X, y, task=task)
    assert np.abs(model.coef_).max() < 1e4


def test_many_tasks():
    X, y, task, _ = drawn(2000, 20, 5, slopes=0.3)
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    assert model.n_iter_ <= 20
    assert_allclose(np.diag(model.covariance_), [0.09] * 5 + [1.0], atol=0.13)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariance": "any"}, "`covariance` must be one of 'diag', 'full'"),
        ({"shared_prior": None}, "`shared_prior` must be one of"),
        ({"method": "REML"}, "`method` must be one of"),
        ({"fit_intercept": "shrunk"}, "`fit_intercept` must be True or False"),
        ({"varying": ["age"]}, "`varying` names 'age', but X has no column names"),
        ({"groups": [0]}, "a label for each of the 2 features, got shape"),
        ({"tol": 0}, "`tol`"),
        ({"max_iter": 0}, "`max_iter`"),
    ],
)
def test_bad_parameters(params, message):
    X, y, task, _ = drawn(5, 6, 2)
    model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    before = model.coef_
    with pytest.raises((ValueError, TypeError), match=message):
        model.set_params(**params).fit(X, y, task=task)
    assert model.coef_ is before


def test_bad_labels_and_unknown_tasks():
    X, y, task, _ = drawn(5, 6, 2)
    with pytest.raises(ValueError, match="at least two classes over all tasks"):
        MultiTaskBayesianClassifier().fit(X, np.ones(30), task=task)
    model = MultiTaskBayesianClassifier(handle_unknown="error").fit(X, y, task=task)
    with pytest.raises(ValueError, match="never saw"):
        model.predict_proba(X[:1], task=[9])
    with pytest.raises(ValueError, match="`coverage`"):
        model.summary(coverage=95)


def test_steps_that_run_out_are_told():
    X, y, task, _ = drawn(30, 8, 3)
    with pytest.warns(ConvergenceWarning, match="MultiTaskBayesianClassifier"):
        MultiTaskBayesianClassifier(max_iter=1).fit(X, y, task=task)
