"""
Every patient's own curve
=========================

Forty patients are seen eight times each within a year, at times of their own. What is
measured rises and falls with time, in a way that they have in common and in ways of
their own; it depends on age, and on the clinic. Eight points are few for a curve: drawn
towards the shared one, it can be found all the same, and it comes with intervals.

The data are simulated, so that the truth is known.
"""

# %%
# Simulate the visits
# -------------------

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mtlearn import MultiTaskAdditiveRegressor
from mtlearn.inspection import CurveDisplay

rng = np.random.default_rng(3)
n_patients, n_visits = 40, 8
patient = np.repeat(np.arange(n_patients), n_visits)
X = pd.DataFrame(
    {
        "patient": [f"p{t:02d}" for t in patient],
        "month": rng.uniform(0, 12, size=len(patient)),
        "age": rng.uniform(20, 80, size=n_patients)[patient],
        "clinic": rng.choice(["A", "B", "C"], size=n_patients)[patient],
    }
)
height, phase, level = rng.normal(size=(3, n_patients))


def truth(X, t):
    """What would be measured without noise."""
    wave = (1.5 + 0.6 * height[t]) * np.sin(X["month"] / 2 + 0.5 * phase[t])
    age = 0.0015 * (X["age"] - 45.0) ** 2
    return wave + age + level[t] + (X["clinic"] == "B")


y = truth(X, patient) + 0.4 * rng.normal(size=len(X))

# %%
# Fit, with nothing to choose
# ---------------------------
# The likelihood decides that the patients have curves of their own in the month, and
# none in their age, which does not change within a patient.

model = MultiTaskAdditiveRegressor(task_column="patient").fit(X, y)
print(model.own_curves_)
print(model.summary().variances.round(3))

# %%
# Look at the curves
# ------------------

figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for feature, ax in zip(["month", "age", "clinic"], axes, strict=True):
    display = CurveDisplay.from_estimator(model, feature, ax=ax)
    ax.set_title("")
parts = {
    "shared": display.line_,
    "its 95 % band": display.band_,
    "a patient": display.task_lines_,
}
figure.legend(parts.values(), parts, ncols=3, frameon=False, loc="outside upper center")

# %%
# One patient, with intervals for what would be measured
# ------------------------------------------------------

months = np.linspace(0, 12, 100)
rows = X[patient == 5].iloc[[0] * len(months)].assign(month=months)
low, high = model.predict_interval(rows, coverage=0.9).T
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.fill_between(months, low, high, alpha=0.2, linewidth=0, label="90 % interval")
ax.plot(months, model.predict(rows), label="prediction")
ax.plot(months, truth(rows, np.full(len(rows), 5)), "k--", label="truth")
ax.plot(X["month"][patient == 5], y[patient == 5], "ko", label="measured")
ax.set(xlabel="month", ylabel="value")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
