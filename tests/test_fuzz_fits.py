"""Random problems of what `fuzz` does not draw: constraints, paths, new tasks."""

import cvxpy as cp
import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from mtlearn import (
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMean,
)
from mtlearn.constraints import (
    Bounds,
    Close,
    Monotone,
    NonNegative,
    SharedCoefficients,
    SumTo,
)

T, D = 3, 4
MODES = ("free", "shrunk", "shared", False)


def apart(W):
    """Distances of the rows from their mean."""
    return cp.norm(W - np.full((T, T), 1 / T) @ W, 2, axis=1)


DEMANDS = {
    "nonnegative": (NonNegative(), lambda W, b: [W >= 0]),
    "bounds": (Bounds(-0.1, 0.4), lambda W, b: [W >= -0.1, W <= 0.4]),
    "shared": (SharedCoefficients([1, 2]), lambda W, b: [W[:-1, 1:3] == W[1:, 1:3]]),
    "close": (Close(0.1), lambda W, b: [apart(W) <= 0.1]),
    "monotone": (
        Monotone([0, 3], [2, 0, 1]),
        lambda W, b: [W[2, [0, 3]] <= W[0, [0, 3]], W[0, [0, 3]] <= W[1, [0, 3]]],
    ),
    "sum": (SumTo(0.5), lambda W, b: [cp.sum(W, axis=1) == 0.5]),
}
CONSTRAINED = {
    "squared": PerTaskRegressor(),
    "squared_hinge": MultiTaskSVM(),
    "hinge": MultiTaskSVM(loss="hinge"),
    "squared_epsilon_insensitive": MultiTaskSVR(epsilon=0.1),
    "epsilon_insensitive": MultiTaskSVR(epsilon=0.1, loss="epsilon_insensitive"),
}


def rows(rng, n=36):
    """Features, scores with noise, and tasks that are never empty."""
    X, codes = rng.normal(size=(n, D)), rng.permutation(np.arange(n) % T)
    W = rng.normal(size=D) + 0.5 * rng.normal(size=(T, D))
    f = (X * W[codes]).sum(axis=1) + rng.normal(size=T)[codes] + rng.normal(size=n)
    return X, f, codes


def check_constrained(loss, kind, seed):
    """The objective is the twin's, and the model obeys."""
    rng = np.random.default_rng([seed, *map(ord, kind)])
    X, y, codes = rows(rng)
    y = np.where(y > 0, 1, -1) if loss.endswith("hinge") else y
    y[:2] = 1, -1
    weight = rng.uniform(0.2, 3.0, len(y)) * (rng.uniform(size=len(y)) < 0.9)
    weight[:6] = 1.0
    strength, rho = 10.0 ** rng.uniform(-2, 2), (0.0, 0.5, 0.9)[rng.integers(3)]
    mode, (ours, plain) = MODES[rng.integers(4)], DEMANDS[kind]
    model = clone(CONSTRAINED[loss])
    squared, epsilon = loss == "squared", getattr(model, "epsilon", 0.0)
    model.set_params(**({"alpha": strength} if squared else {"C": 1 / strength}))
    model.set_params(
        relation=SharedMean(rho), fit_intercept=mode, constraints=[ours]
    ).fit(X, y, task=codes, sample_weight=weight)
    K = (1 - rho) * np.eye(T) + rho
    args = X, y, codes, weight, strength, K
    least = reference.constrained_twin(loss, *args, plain, mode, epsilon)[2]
    W, b = model.coef_, model.intercept_
    found = reference.objective(loss, W, b, *args, mode, epsilon=epsilon)
    zero = reference.data_loss(loss, 0 * y, y, codes, weight, T, epsilon)
    rtol = 1e-6 if loss.startswith("squared") else 1e-4
    assert abs(found - least) <= rtol * zero + 1e-6 * least, (kind, seed, found, least)
    at = cp.Variable(W.shape)
    at.value = W
    assert max(float(np.max(c.violation())) for c in plain(at, b)) <= 1e-7, (kind, seed)


@pytest.mark.parametrize("kind", DEMANDS)
@pytest.mark.parametrize("loss", CONSTRAINED)
def test_random_constraints(loss, kind):
    for seed in range(2):
        check_constrained(loss, kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEMANDS)
@pytest.mark.parametrize("loss", CONSTRAINED)
def test_many_random_constraints(loss, kind):
    for seed in range(2, 60):
        check_constrained(loss, kind, seed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "model",
    [
        PerTaskClassifier(relation=SharedMean(0.9)),
        PerTaskClassifier(relation="pooled"),
        SharedFeatureClassifier(alpha=3.0, penalty="l21"),
    ],
    ids=["mean", "pooled", "l21"],
)
def test_a_new_task_has_about_the_rate_of_events(model, seed):
    rng = np.random.default_rng(seed)
    X, codes = rng.normal(size=(1500, D)), np.repeat(np.arange(50), 30)
    y = np.zeros(1500, dtype=int)
    y[rng.choice(1500, 45, replace=False)] = 1
    model = clone(model).fit(X, y, task=codes)
    rate = model.predict_proba(X, task=np.full(1500, 99))[:, 1].mean()
    assert 0.5 * y.mean() <= rate <= 2 * y.mean()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("penalty", [None, "l21", "nuclear", "dirty"])
def test_every_point_of_a_path_is_the_point_alone(penalty, seed):
    rng = np.random.default_rng(seed)
    X, y, codes = rows(rng, 48)
    X = np.column_stack([X, codes])
    alphas = np.sort(10.0 ** rng.uniform(-2, 2, size=4))[::-1]
    params = {"fit_intercept": MODES[seed], "tol": 1e-12, "task_column": D}
    if penalty is None:
        one, many = PerTaskRegressor, PerTaskRegressorCV
        params["relation"] = SharedMean((0.0, 0.5, 0.9, 1.0)[seed])
        params["intercept_strength"] = (1.0, 0.2, 1.0, 1.0)[seed]
    else:
        one, many = SharedFeatureRegressor, SharedFeatureRegressorCV
        params["penalty"] = penalty
    cv = KFold(3, shuffle=True, random_state=seed)
    path = many(alphas=alphas, cv=cv, **params).fit(X, y)
    search = GridSearchCV(
        one(**params), {"alpha": alphas}, scoring="neg_mean_squared_error", cv=cv
    )
    search.fit(X, y)
    own = [search.cv_results_[f"split{k}_test_score"] for k in range(3)]
    np.testing.assert_allclose(path.mse_path_, -np.column_stack(own), rtol=1e-5)
    assert path.alpha_ == search.best_params_["alpha"]
    for alpha, coef in zip(path.alphas_, path.coef_path_):
        alone = one(alpha=alpha, **params).fit(X, y)
        np.testing.assert_allclose(coef, alone.coef_, rtol=0, atol=1e-5)
