"""
One law, many sensors: an output layer for all
==============================================

Forty sensors measure the same two quantities, each with gains, crosstalk and offsets of
its own that nobody wrote down, and one law says what follows from the true values. What
tasks share is not what they see but what comes *after*: ``shared="output"`` learns an
input layer for every sensor, which is its calibration, and one output layer, which is
the law. The data are simulated, so that it is known who should win: here, and in the
mirror image, where the same model is the wrong one.
"""

# %%
# Sensors that are calibrated badly
# ---------------------------------
#
# A reading is a linear map of the truth, the sensor's own, and an offset. The label is
# a wave along one true quantity and a slope along the other, with noise.

import numpy as np

n_sensors = 40
rng = np.random.default_rng(0)
gains = np.eye(2) + 0.35 * rng.normal(size=(n_sensors, 2, 2))
offsets = 0.6 * rng.normal(size=(n_sensors, 2))
shares = rng.normal(size=(n_sensors, 2))


def waves(Z):
    """What the labels are made of."""
    return np.column_stack([np.sin(2 * Z[:, 0]), 0.5 * Z[:, 1]])


def measure(n_rows, own, seed):
    """Features, labels and the sensor of each row; what is `own` differs by sensor."""
    rng = np.random.default_rng(seed)
    sensor = np.repeat(np.arange(n_sensors), n_rows)
    truth = rng.uniform(-2, 2, size=(len(sensor), 2))
    X, mix = truth, np.ones((len(sensor), 2))
    if own == "calibration":
        X = np.einsum("ijk,ik->ij", gains[sensor], truth) + offsets[sensor]
    else:
        mix = shares[sensor]
    y = (mix * waves(truth)).sum(axis=1) + 0.2 * rng.normal(size=len(sensor))
    return X, y, sensor


# %%
# Three ways to share
# -------------------
#
# One network for all rows, whatever their sensor; shared hidden units with a head for
# every sensor, the default; and an input layer for every sensor with one head. All have
# twelve units and find their strength on held-out rows of the training data. With 10 to
# 40 rows of every sensor, how much of 100 new rows of each do they explain?

from sklearn.metrics import r2_score

from mtlearn import SharedMappingRegressor

models = {
    "one network for all": {},
    "shared hidden units": {"shared": "hidden"},
    "shared output": {"shared": "output"},
}
sizes = [10, 20, 40]
scores = {}
for own in ("calibration", "mixture"):
    X_new, y_new, sensor_new = measure(100, own, seed=1)
    for n_rows in sizes:
        X, y, sensor = measure(n_rows, own, seed=2)
        for name, params in models.items():
            model = SharedMappingRegressor((12,), random_state=0, **params)
            model.fit(X, y, task=sensor if params else None)
            fitted = model.predict(X_new, task=sensor_new if params else None)
            scores.setdefault((own, name), []).append(r2_score(y_new, fitted))

for (own, name), values in scores.items():
    print(f"own {own:12s}{name:22s}", *(f"{value:5.2f}" for value in values))

# %%
# Left, what the sensors own is their calibration; right, they see the truth, and own a
# mixture of the two effects.

import matplotlib.pyplot as plt

_, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True, layout="constrained")
titles = {
    "calibration": "one law, calibrations of their own",
    "mixture": "one view, laws of their own",
}
colours = dict(zip(models, ["0.6", "#d1602f", "#2a6f97"]))
for ax, (own, title) in zip(axes, titles.items()):
    for name, colour in colours.items():
        ax.plot(sizes, scores[own, name], "o-", color=colour, label=name)
    ax.set(title=title, xlabel="rows of each sensor", xscale="log", ylim=(-0.05, 1))
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("explained of new rows (R2)")
axes[0].legend(frameon=False, loc="lower right", fontsize="small")

# %%
# With calibrations of their own, a network for all rows blurs sensors into each other,
# and shared units have to serve forty distorted views at once: they need more rows, and
# with 40 of each they get there. Where the views are the same and the laws differ it is
# the other way round: a head of twelve numbers is learned from few rows, an input layer
# of thirty-six is not. An input layer for every task is the wrong model wherever
# features mean the same in all tasks; compare both on held-out rows.
