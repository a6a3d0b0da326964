import numpy as np

from mtlearn import BestSharing, PerTaskRegressor
from mtlearn.inspection import compare_sharing

rng = np.random.default_rng(0)
common = np.array([1.0, -1.0, 1.0])
coef = common + 0.05 * rng.normal(size=(60, 3))
coef[0] = -2.0 * common  # the odd one
shop = np.repeat(np.arange(60), 25)
X = rng.normal(size=(1500, 3))
y = (X * coef[shop]).sum(axis=1) + rng.normal(size=1500)

comparison = compare_sharing(
    PerTaskRegressor(), X, y, task=shop, strategies=["pooled_offset"]
)
print(comparison.verdict())
columns = ["task", "n_samples", "pooled_offset", "independent", "gain", "verdict"]
print(comparison.table[columns].head(3).round(2))

model = BestSharing(strategies=["pooled_offset"]).fit(X, y, task=shop)
print(model.winner_, *model.choice_[:3])
