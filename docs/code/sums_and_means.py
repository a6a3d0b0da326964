"""The same strengths, folds and errors as scikit-learn's MultiTaskLassoCV."""

import numpy as np
from sklearn.linear_model import MultiTaskLassoCV
from sklearn.model_selection import KFold

from mtlearn import SharedFeatureRegressor, SharedFeatureRegressorCV

rng = np.random.default_rng(0)
n, k = 100, 5
X = rng.normal(size=(n, 20))
Y = X[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(size=(n, 4))
alphas = np.geomspace(1, 0.01, 20)  # in scikit-learn's scale, a mean over rows

theirs = MultiTaskLassoCV(alphas=alphas, cv=KFold(k), tol=1e-8).fit(X, Y)
ours = SharedFeatureRegressorCV(
    penalty="l21", alphas=alphas * n * (k - 1) / k, cv=KFold(k), tol=1e-10
).fit(X, Y)

final = SharedFeatureRegressor(
    penalty="l21", alpha=ours.alpha_ * k / (k - 1), tol=1e-10
)
final.fit(X, Y)

assert np.allclose(final.alpha, theirs.alpha_ * n)
assert np.allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-4)
assert np.allclose(final.coef_, theirs.coef_, atol=1e-4)
