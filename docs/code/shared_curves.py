"""Curves that 40 tasks share, and what three of them make of it, for the guide."""

import matplotlib.pyplot as plt
import numpy as np

from mtlearn import SharedMappingRegressor

N_TASKS, N_ROWS = 40, 8


def truth(x):
    """Two curves (n, 2) of which every task is a combination."""
    return np.column_stack([np.tanh(4 * x), np.exp(-8 * (x - 0.3) ** 2)])


rng = np.random.default_rng(1)
mixtures, levels = rng.normal(size=(N_TASKS, 2)), rng.normal(size=N_TASKS)
task = np.repeat(np.arange(N_TASKS), N_ROWS)
x = rng.uniform(-1, 1, size=len(task))
y = (truth(x) * mixtures[task]).sum(axis=1) + levels[task]
y += 0.15 * rng.normal(size=len(y))

model = SharedMappingRegressor((12,), alpha=0.1, n_init=5, random_state=0)
together = model.fit(x[:, None], y, task=task)
grid = np.linspace(-1, 1, 201)
_, axes = plt.subplots(1, 4, figsize=(10.4, 3.0), layout="constrained")
axes[0].plot(grid, together.transform(grid[:, None]), color="#2a6f97", linewidth=1.0)
axes[0].set_title("the units that all tasks share", fontsize="medium")
alone = SharedMappingRegressor((12,), alpha=0.1, n_init=5, random_state=0)
for ax, t in zip(axes[1:], (3, 5, 11)):
    own = task == t
    everywhere = np.full(len(grid), t)
    ax.plot(grid, truth(grid) @ mixtures[t] + levels[t], color="0.75", linewidth=5)
    alone.fit(x[own, None], y[own])
    ax.plot(grid, alone.predict(grid[:, None]), color="#d1602f", label="alone")
    joint = together.predict(grid[:, None], task=everywhere)
    ax.plot(grid, joint, color="#2a6f97", label="together")
    ax.plot(x[own], y[own], "o", color="0.2", markersize=4)
    ax.set_title(f"task {t}", fontsize="medium")
axes[1].legend(frameon=False, fontsize="small")
for ax in axes:
    ax.set(xticks=[], yticks=[], xlabel="x")
    ax.spines[["top", "right"]].set_visible(False)
