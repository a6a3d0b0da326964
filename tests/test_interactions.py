"""Features that act together: planted pairs, promises and labels left out, reports."""

import numpy as np
import pytest
from cases_curves import shops, waves
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone

from mtlearn import MultiTaskAdditiveClassifier, MultiTaskAdditiveRegressor
from mtlearn.fitting.interactions import Rows
from mtlearn.problem.terms import PRODUCT, WIGGLE, Pair, make_terms


def crossed(T=20, n=40, d=4, *, both=1.0, noise=0.5, seed=0):
    """Rows, labels, ids and truth of two features of `d` that act together."""
    rng = np.random.default_rng(seed)
    X, task = rng.normal(size=(T * n, d)), np.repeat(np.arange(T), n)
    truth = X[:, 0] + both * X[:, 1] * X[:, 2] + rng.normal(size=T)[task]
    return X, truth + noise * rng.normal(size=T * n), task, truth


# ---------------------------------------------------------------- what is found


def test_a_planted_pair_is_found():
    X, y, task, truth = crossed()
    model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    assert model.interactions_ == [(1, 2)]
    alone = MultiTaskAdditiveRegressor(interactions=False).fit(X, y, task=task)
    assert alone.interactions_ == []
    error, other = (
        np.sqrt(np.mean((one.predict(X, task=task) - truth) ** 2))
        for one in (model, alone)
    )
    assert error < 0.25 and other > 3.0 * error
    assert model.log_likelihood_ > alone.log_likelihood_ + 100.0
    named = MultiTaskAdditiveRegressor(interactions=[(2, 1)]).fit(X, y, task=task)
    assert named.interactions_ == [(1, 2)]
    apart = named.predict(X, task=task) - model.predict(X, task=task)
    assert np.std(apart) < 0.1


def test_pairs_that_are_not_there_are_seldom_found():
    found = []
    for seed in range(20):
        X, y, task, _ = crossed(T=10, n=20, both=0.0, seed=seed)
        found += MultiTaskAdditiveRegressor().fit(X, y, task=task).interactions_
    assert len(found) <= 2  # of 120 pairs


def test_levels_with_curves_of_their_own():
    rng = np.random.default_rng(1)
    pd = pytest.importorskip("pandas")
    n, kind = 600, rng.integers(3, size=600)
    time = rng.uniform(0.0, 6.0, n)
    y = np.where(kind == 0, np.sin(time), np.where(kind == 1, np.cos(time), 0.0))
    X = pd.DataFrame({"time": time, "kind": np.array(list("abc"))[kind]})
    X["site"] = rng.integers(12, size=n).astype(str)
    y = y + 0.2 * rng.normal(size=n)
    model = MultiTaskAdditiveRegressor(task_column="site").fit(X, y)
    assert model.interactions_ == [("time", "kind")]
    assert np.std(y - model.predict(X)) < 0.25
    assert "time:kind (curve 1)" in model.term_names_
    effects = list(model.summary().variances["effect"])
    assert "time:kind (curve)" in effects and len(effects) == len(set(effects))
    names = list(model.summary().coefficients["effect"])
    assert not any("curve" in name for name in names)


def test_classes():
    X, _, task, _ = crossed(T=30, n=40, seed=3)
    rng = np.random.default_rng(3)
    y = (rng.uniform(size=len(X)) < expit(1.5 * X[:, 1] * X[:, 2])).astype(int)
    model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    assert model.interactions_ == [(1, 2)]
    plain = clone(model).set_params(interactions=False).fit(X, y, task=task)
    assert model.score(X, y, task=task) > plain.score(X, y, task=task) + 0.05
    three = np.where(X[:, 0] > 1.0, 2, y)
    several = MultiTaskAdditiveClassifier().fit(X, three, task=task)
    assert (1, 2) in several.interactions_


def test_both_layouts_agree():
    X, y, task, _ = crossed(T=6, n=60, seed=2)
    Y = np.full((len(X), 6), np.nan)
    Y[np.arange(len(X)), task] = y
    long = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    wide = MultiTaskAdditiveRegressor().fit(X, Y)
    assert wide.interactions_ == long.interactions_ == [(1, 2)]
    assert_allclose(wide.coef_, long.coef_, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------- by which it is found


def restricted(y, F, V, noise):
    """Log-likelihood of labels of covariance noise * V, freed of the columns F."""
    inverse = np.linalg.inv(V)
    within = F.T @ inverse @ F
    P = inverse - inverse @ F @ np.linalg.solve(within, F.T @ inverse)
    value = np.linalg.slogdet(V)[1] + np.linalg.slogdet(within)[1]
    return -0.5 * (value + y @ P @ y / noise)


def fitted(cls=MultiTaskAdditiveRegressor, **params):
    """A model without pairs, what it was fitted with, and its judge."""
    X, y, task, _ = crossed(T=5, n=16, d=3, both=0.4, seed=4)
    if cls is MultiTaskAdditiveClassifier:
        y = (y > 0).astype(int)
    seen = {}

    class Spy(cls):
        def _with_curves(self, fit, X, mass):
            solution = super()._with_curves(fit, X, mass)
            rows = Rows(X, fit.data, list(self._problems(fit)), self._loss)
            seen.update(solution=solution, rows=rows)
            return solution

    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    model = Spy(interactions=False, own_curves=False, **params)
    model.fit(X, y, weight, task=task)
    return model, (X, y, weight, task), seen["solution"], seen["rows"]


def covariance(model, C, task, weight):
    """The labels' covariance over the noise, with all matrices written out."""
    tau = model.shared_variance_[model._terms.groups] / model.noise_variance_
    D, alike = model.covariance_ / model.noise_variance_, task[:, None] == task
    own = np.column_stack([C, np.ones(len(C))])
    return np.diag(1.0 / weight) + (C * tau) @ C.T + alike * (own @ D @ own.T)


def test_promises_are_gains_of_the_likelihood():
    model, (X, y, weight, task), solution, rows = fitted(tol=1e-8)
    (judged,) = rows.judged(model._terms, solution)
    pair = Pair(1, 2, False)
    Z = model._terms.products(pair, model._terms.blocks(rows.X))
    gain, strength = judged.gains(model._loss, Z, np.zeros(1, dtype=int))
    C, noise = model._terms.columns(X), model.noise_variance_
    V, one = covariance(model, C, task, weight), np.ones((len(y), 1))
    z = model._terms.products(pair, model._terms.blocks(X))
    before = restricted(y, one, V, noise)
    after = [
        restricted(y, one, V + factor * strength[0] * z @ z.T, noise)
        for factor in (1.0, 0.5, 2.0)
    ]
    assert gain[0] > 1.0
    assert_allclose(gain[0], after[0] - before, rtol=1e-6)
    assert after[0] >= max(after)


def test_labels_left_out():
    model, (X, y, weight, task), solution, rows = fitted()
    C, one = model._terms.columns(X), np.ones((len(y), 1))
    V = covariance(model, C, task, weight)
    order = rows.place  # the ids are in order
    loss = rows.left_out(rows.judged(model._terms, solution))
    for i in range(0, len(y), 11):
        rest = np.arange(len(y)) != i
        inverse = np.linalg.inv(V[np.ix_(rest, rest)])
        F = one[rest]
        b = np.linalg.solve(F.T @ inverse @ F, F.T @ inverse @ y[rest])
        guess = b[0] + V[i, rest] @ inverse @ (y[rest] - F @ b)
        assert_allclose(
            loss[order == i][0], 0.5 * weight[i] * (y[i] - guess) ** 2, rtol=1e-6
        )


def test_labels_of_classes_left_out():
    model, (X, y, weight, task), solution, rows = fitted(MultiTaskAdditiveClassifier)
    loss = rows.left_out(rows.judged(model._terms, solution))
    # further out than those of the model itself, and the nearer the more certain
    z = np.einsum("ij,ij->i", model._terms.columns(X), model.coef_[task])
    z += model.intercept_[task]
    own = weight * np.logaddexp(0.0, -(2 * y - 1) * z)
    assert (loss > own).all() and loss.mean() < 3.0 * own.mean()


# ---------------------------------------------------------------- terms and reports


def test_products_of_terms():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(50, 2)), rng.integers(3, size=50)])
    categorical = np.array([False, False, True])
    terms = make_terms(X, np.ones(50), categorical, [7, 4, 8])
    pairs = Pair(0, 1, False), Pair(0, 1, True), Pair(0, 2, False), Pair(0, 2, True)
    more = terms.with_pairs(pairs)
    assert [more.width(pair) for pair in pairs] == [1, 3 + 2 + 3 * 2, 3, 9]
    C, blocks = more.columns(X), terms.blocks(X)
    plain = len(terms.feature)
    assert_array_equal(C[:, :plain], terms.columns(X))
    assert_array_equal(C[:, plain], blocks[0][:, 0] * blocks[1][:, 0])
    assert_array_equal(
        more.kind[plain:], [PRODUCT, *[WIGGLE] * 11, *[PRODUCT] * 3, *[WIGGLE] * 9]
    )
    assert len(np.unique(more.groups)) == len(np.unique(terms.groups)) + 4
    assert_array_equal(more.with_pairs(()).feature, terms.feature)
    # two lines have no wiggles to multiply
    lines = make_terms(X, np.ones(50), categorical, [2, 2, 8])
    assert lines.width(Pair(0, 1, True)) == 0


def test_reports_and_curves():
    X, y = shops()
    model = MultiTaskAdditiveRegressor(
        task_column="shop", interactions=[("kind", "size")]
    ).fit(X, y)
    names = [str(name) for name in model.term_names_]
    assert len(names) == len(set(names)) == model.coef_.shape[1]
    both = set(model.interactions_[0])
    assert both == {"kind", "size"}
    assert any(":" in name and "curve" not in name for name in names)
    # the others at their mean, their products with the feature, too
    curves = model.curve("size")
    low, high = (model.curve("size", [v]).shared[0] for v in curves.values[[0, -1]])
    assert_allclose([low, high], curves.shared[[0, -1]])
    assert set(model.task_effects()["effect"]) <= set(names) | {"intercept"}


@pytest.mark.parametrize(
    "given, message",
    [
        (True, "`interactions` must be 'auto', False, or a list of pairs"),
        ("all", "`interactions` must be 'auto', False, or a list of pairs"),
        ([(1, 2, 0)], "`interactions` must be 'auto', False, or a list of pairs"),
        ([1, 2], "`interactions` must be 'auto', False, or a list of pairs"),
        ([(0, "age")], "`interactions` names 'age', but X has no column"),
        ([(0, 7)], "`interactions` must hold names, or positions"),
        ([(1, 1)], "`interactions` must be pairs of two features"),
    ],
)
def test_bad_parameters(given, message):
    X, y, task, _ = waves(T=5, n=10)
    with pytest.raises((ValueError, TypeError), match=message):
        MultiTaskAdditiveRegressor(interactions=given).fit(X, y, task=task)
