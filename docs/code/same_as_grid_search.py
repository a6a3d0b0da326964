"""The errors of a whole grid are those of a grid search."""

import numpy as np
from sklearn.model_selection import GridSearchCV

from mtlearn import PerTaskRegressor, PerTaskRegressorCV
from mtlearn.datasets import load_exam
from mtlearn.model_selection import TaskStratifiedKFold

X, y = load_exam(return_X_y=True)
alphas = np.geomspace(1000, 0.1, 30)
folds = TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0)

grid = PerTaskRegressorCV(
    alphas, relation="pooled", fit_intercept="free", task_column="school", cv=folds
)
search = GridSearchCV(
    PerTaskRegressor(relation="pooled", task_column="school"),
    {"alpha": alphas},
    cv=folds,
    scoring="neg_mean_squared_error",
)
grid.fit(X, y), search.fit(X, y)
errors = -search.cv_results_["mean_test_score"]
assert np.allclose(grid.mse_path_.mean(axis=1), errors, rtol=1e-6)
assert grid.alpha_ == search.best_params_["alpha"]
print(grid.alpha_, search.best_params_)
