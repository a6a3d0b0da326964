"""Levels of schools: as their own pupils say, and drawn towards the others."""

import matplotlib.pyplot as plt

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor
from mtlearn.datasets import load_exam

X, y = load_exam(return_X_y=True)
X = X[["school", "standLRT"]]
own = PerTaskRegressor(alpha=0, relation="pooled", task_column="school").fit(X, y)
partial = MultiTaskBayesianRidge("intercept", task_column="school").fit(X, y)
pupils = X["school"].value_counts()[partial.tasks_].to_numpy()

figure, ax = plt.subplots(figsize=(7.0, 4.4), layout="constrained")
ax.vlines(pupils, own.intercept_, partial.intercept_, color="0.75", linewidth=1.2)
dots = {"s": 22, "zorder": 3}
ax.scatter(pupils, own.intercept_, color="#d1602f", label="its own pupils say", **dots)
ax.scatter(pupils, partial.intercept_, color="#2a6f97", label="shrunk", **dots)
ax.axhline(
    partial.shared_intercept_, color="0.4", linewidth=0.8, ls="--", label="shared level"
)
ax.set(xscale="log", xlabel="pupils of the school (logarithmic scale)")
ax.set_ylabel("level of the school\n(standard deviations of the score)")
ax.set_xticks(ticks := [2, 5, 10, 20, 50, 100, 200], [str(tick) for tick in ticks])
ax.set_xticks([], minor=True)
ax.spines[["top", "right"]].set_visible(False)
figure.legend(frameon=False, ncols=3, loc="outside upper center")
