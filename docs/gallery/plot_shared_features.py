"""
Which features are shared: party, age and schooling, and 18 opinions
====================================================================

Does the state spend too little or too much on science, on welfare, on roads? The
General Social Survey asked 2,348 people about 18 topics [1]_. A topic is a task; its
model says how a person's age, party or work goes with the answer. Which of these facts
matter to all topics together? Joint selection takes a feature for every task or for
none.
"""

# %%
# Select features for all tasks at once
# -------------------------------------
#
# One answer in twenty is missing: a ``NaN`` in ``Y``, and no row is dropped for it. The
# features are standardised, because the penalty counts them alike. The strength is the
# largest whose error is within one standard error of the best: fewer features, and an
# error that these data cannot tell from the best one.

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import SharedFeatureRegressorCV
from mtlearn.datasets import load_gss_spending

X, Y = load_gss_spending(return_X_y=True)
X = X.rename(
    columns={
        "sex": "woman",
        "educ": "years of school",
        "partyid": "Republican",
        "partyid_other": "another party",
        "polviews": "conservative",
        "xnorcsiz": "rural",
        "race_black": "black",
        "race_other": "neither black nor white",
        "wrkstat_other": "other work",
    }
)
X.columns = X.columns.str.removeprefix("wrkstat_")

model = make_pipeline(
    SimpleImputer(),
    StandardScaler(),
    SharedFeatureRegressorCV(penalty="l21", one_standard_error=True),
)
model.set_output(transform="pandas").fit(X, Y)
joint = model[-1]
print(f"alpha {joint.alpha_:.0f}, {len(joint.selected_features_)} of {X.shape[1]}:")
print(", ".join(X.columns[joint.selected_features_]))

# %%
# From right to left, as the penalty weakens, the features come in one after the other,
# each for all topics; those that matter most come first.

from mtlearn.inspection import PathDisplay

display = PathDisplay.from_estimator(model)

# %%
# What is shared, and what each topic would choose alone
# ------------------------------------------------------
#
# On the left the coefficients of the joint model, a column per topic: a row is in use
# or it is not. On the right every topic alone, with the same penalty (for one task it
# is the lasso) and a strength chosen in the same way, but a choice of its own. Both
# show the party, and how conservative somebody is, at work in most topics, with defence
# against the rest. The weaker features of the left picture are invisible to most topics
# alone.

alone = np.zeros_like(joint.coef_)
prepared = model[:-1].transform(X)
lasso = SharedFeatureRegressorCV(penalty="l21", one_standard_error=True)
for t, topic in enumerate(Y):
    known = Y[topic].notna()
    alone[t] = lasso.fit(prepared[known], Y.loc[known, topic]).coef_[0]

import matplotlib.pyplot as plt

size = np.linalg.norm(joint.coef_, axis=0)
rows = np.lexsort((-np.linalg.norm(alone, axis=0), -size))
columns = np.argsort(joint.coef_[:, rows[0]])
largest = max(np.abs(joint.coef_).max(), np.abs(alone).max())
colours = plt.get_cmap("RdBu").with_extremes(bad="0.93")
panels = {"learned together: one choice for all": joint.coef_}
panels["learned alone: a choice for each topic"] = alone
_, axes = plt.subplots(1, 2, figsize=(10.0, 5.8), sharey=True, layout="constrained")
for ax, (title, coef) in zip(axes, panels.items()):
    cells = np.ma.masked_equal(coef[np.ix_(columns, rows)].T, 0)
    image = ax.imshow(cells, cmap=colours, vmin=-largest, vmax=largest, aspect="auto")
    ax.set_title(title, fontsize="medium")
    ax.set_xticks(range(len(columns)), Y.columns[columns], rotation=90)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
axes[0].set_yticks(range(len(rows)), X.columns[rows])
bar = plt.colorbar(image, ax=axes, shrink=0.6)
bar.set_label("coefficient per standard deviation (grey: not in use)")
bar.outline.set_visible(False)

# %%
# Blue is "spend more": older people want more spent on roads and less on foreign aid
# than younger ones do, all else equal.
#
# Does it predict better?
# -----------------------
#
# With thousands of answers any model finds its coefficients. With those of 150 people
# it is harder: what share of the variance of other people's answers is explained, over
# six draws? The strength with the smallest error predicts best; the one that is chosen
# for a short list of features pays for it where rows are few.

from sklearn.model_selection import ShuffleSplit

from mtlearn import PerTaskRegressorCV


def lasso_of_each(X, Y, X_new):
    """Predictions of a lasso for every topic by itself."""
    predicted = np.empty((len(X_new), Y.shape[1]))
    for t, y in enumerate(Y.T):
        known = ~np.isnan(y)
        lasso = SharedFeatureRegressorCV(penalty="l21", alphas=20)
        predicted[:, t] = lasso.fit(X[known], y[known]).predict(X_new)
    return predicted


joint = SharedFeatureRegressorCV(penalty="l21", alphas=20)
short = SharedFeatureRegressorCV(penalty="l21", alphas=20, one_standard_error=True)
ridge = PerTaskRegressorCV(relation="independent")
strategies = {
    "joint selection": lambda X, Y, X_new: joint.fit(X, Y).predict(X_new),
    "within one standard error": lambda X, Y, X_new: short.fit(X, Y).predict(X_new),
    "a lasso for each topic": lasso_of_each,
    "a ridge for each topic": lambda X, Y, X_new: ridge.fit(X, Y).predict(X_new),
}

draws = ShuffleSplit(6, train_size=150, test_size=0.5, random_state=0)
answers = Y.to_numpy()
scores = {name: [] for name in strategies}
for train, test in draws.split(X):
    prepare = make_pipeline(SimpleImputer(), StandardScaler()).fit(X.iloc[train])
    few, others = prepare.transform(X.iloc[train]), prepare.transform(X.iloc[test])
    known, truth = answers[train], answers[test]
    total = np.nansum((truth - np.nanmean(known, axis=0)) ** 2)
    for name, strategy in strategies.items():
        error = np.nansum((truth - strategy(few, known, others)) ** 2)
        scores[name].append(100 * (1 - error / total))

for name, values in scores.items():
    less = np.subtract(scores["joint selection"], values)
    error = less.std(ddof=1) / np.sqrt(len(less))
    print(
        f"{name:26s}{np.mean(values):4.1f} %, less by {less.mean():.1f} +- {error:.1f}"
    )

# %%
# .. rubric:: References
#
# .. [1] Smith, T. W., Davern, M., Freese, J. and Morgan, S. L.: General Social Surveys,
#    1972-2018. NORC, Chicago, 2019.
