"""Truth and estimates of three patterns of coefficients, for the guide."""

import matplotlib.pyplot as plt
import numpy as np

from mtlearn import PerTaskRegressorCV, SharedFeatureRegressorCV

N_TASKS, N_FEATURES, N_ROWS = 12, 20, 25


def patterns(rng):
    """True coefficients of shape (n_tasks, n_features) for each penalty."""
    columns = np.zeros((N_TASKS, N_FEATURES))
    columns[:, [2, 5, 11, 12, 17]] = rng.normal(size=(N_TASKS, 5))
    mixed = columns.copy()
    mixed[rng.integers(N_TASKS, size=9), rng.integers(N_FEATURES, size=9)] = 3.0
    hidden = rng.normal(size=(N_TASKS, 2)) @ rng.normal(size=(2, N_FEATURES)) / 2
    return {"l21": columns, "dirty": mixed, "nuclear": hidden}


rng = np.random.default_rng(3)
_, axes = plt.subplots(3, 3, figsize=(9.0, 6.0), layout="constrained")
for (penalty, truth), panels in zip(patterns(rng).items(), axes.T):
    X = rng.normal(size=(N_ROWS, N_FEATURES))
    Y = X @ truth.T + 1.5 * rng.normal(size=(N_ROWS, N_TASKS))
    together = SharedFeatureRegressorCV(
        penalty=penalty, alphas=30, one_standard_error=penalty != "nuclear"
    )
    alone = PerTaskRegressorCV(relation="independent")
    shown = (truth, together.fit(X, Y).coef_, alone.fit(X, Y).coef_)
    for ax, coef in zip(panels, shown):
        ax.imshow(coef, cmap="RdBu", vmin=-2.5, vmax=2.5)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("0.7")
    panels[0].set_title(f'"{penalty}"', family="monospace", fontsize="medium")
    panels[2].set_xlabel("features")
for ax, name in zip(axes[:, 0], ("truth", "together", "alone")):
    ax.set_ylabel(f"{name}\n(tasks)")
