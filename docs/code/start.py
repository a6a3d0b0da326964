"""The first lines of the documentation."""

from mtlearn import MultiTaskBayesianRidge
from mtlearn.datasets import load_exam

X, y = load_exam(return_X_y=True)  # a data frame, with a column "school"
model = MultiTaskBayesianRidge(task_column="school").fit(X, y)
mean, std = model.predict(X, return_std=True)
low, high = model.predict_interval(X, coverage=0.9).T
