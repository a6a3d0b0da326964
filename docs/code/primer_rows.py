"""What sharing gains, and what it can cost, against the rows of a task."""

import matplotlib.pyplot as plt
import numpy as np

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressorCV

N_TASKS, N_FEATURES, N_DRAWS = 30, 5, 4
sizes = [4, 8, 16, 32, 64]
models = {
    "one model for all": PerTaskRegressorCV(
        relation="pooled", fit_intercept="shared", alphas=10
    ),
    "a model for each": PerTaskRegressorCV(
        relation="independent", fit_intercept="free", alphas=10
    ),
    "learned together": MultiTaskBayesianRidge(),
}
styles = dict(zip(models, [("0.45", "s--"), ("#d1602f", "^-"), ("#2a6f97", "o-")]))


def errors(common, n_rows, rng):
    """Root mean squared distance from the truth of each model, new rows."""
    coef = common + 0.5 * rng.normal(size=(N_TASKS, N_FEATURES))
    task = np.repeat(np.arange(N_TASKS), n_rows)
    X = rng.normal(size=(len(task), N_FEATURES))
    y = (X * coef[task]).sum(axis=1) + rng.normal(size=len(task))
    new = np.repeat(np.arange(N_TASKS), 50)
    X_new = rng.normal(size=(len(new), N_FEATURES))
    truth = (X_new * coef[new]).sum(axis=1)
    fitted = (model.fit(X, y, task=task) for model in models.values())
    return [
        np.sqrt(np.mean((one.predict(X_new, task=new) - truth) ** 2)) for one in fitted
    ]


figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), sharey=True, layout="constrained")
panels = {"related tasks": 1.0, "tasks with nothing in common": 0.0}
for ax, (title, common) in zip(axes, panels.items()):
    rng = np.random.default_rng(0)
    curves = [
        np.mean([errors(common, n, rng) for _ in range(N_DRAWS)], axis=0) for n in sizes
    ]
    for name, curve in zip(models, np.transpose(curves)):
        colour, style = styles[name]
        ax.plot(sizes, curve, style, color=colour, label=name, markersize=5)
    ax.set_title(title, fontsize="medium")
    ax.set(xscale="log", xlabel="rows of each task (logarithmic scale)", ylim=(0, None))
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.set_xticks([], minor=True)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("error beyond the noise")
figure.legend(
    *axes[0].get_legend_handles_labels(),
    ncols=3,
    frameon=False,
    loc="outside upper center",
)
