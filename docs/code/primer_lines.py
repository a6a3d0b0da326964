"""One line for all schools, a line for each, and lines learned together."""

import matplotlib.pyplot as plt
import numpy as np

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor
from mtlearn.datasets import load_exam

X, y = load_exam(return_X_y=True)
X = X[["school", "standLRT"]]
models = {
    "one model for all": PerTaskRegressor(
        relation="pooled", fit_intercept="shared", task_column="school"
    ),
    "a model for each": PerTaskRegressor(alpha=0, task_column="school"),
    "learned together": MultiTaskBayesianRidge("full", task_column="school"),
}
styles = dict(zip(models, [("0.45", "--"), ("#d1602f", "-"), ("#2a6f97", "-")]))
for model in models.values():
    model.fit(X, y)

pupils = X["school"].value_counts().sort_values(kind="stable")
chosen = [pupils.index[pupils.searchsorted(size)] for size in (5, 20, 40, 150)]
ends = np.array([-2.5, 2.5])
figure, axes = plt.subplots(
    1, 4, figsize=(10.0, 3.3), sharex=True, sharey=True, layout="constrained"
)
for ax, school in zip(axes, chosen):
    own = X["school"] == school
    ax.plot(X["standLRT"][own], y[own], "o", color="0.7", markersize=3, label="a pupil")
    for name, model in models.items():
        rows = X.iloc[[0, 0]].assign(school=school, standLRT=ends)
        colour, dashes = styles[name]
        ax.plot(ends, model.predict(rows), dashes, color=colour, label=name)
    ax.set_title(f"school {school}: {pupils[school]} pupils", fontsize="medium")
    ax.set(xlabel="test at eleven", ylim=(-3.2, 3.2))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("score at sixteen")
figure.legend(
    *axes[0].get_legend_handles_labels(),
    ncols=4,
    frameon=False,
    loc="outside upper center",
)
