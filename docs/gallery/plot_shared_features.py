"""
Which features are shared: a dozen facts about a person and 18 opinions
=======================================================================

Does the state spend too much or too little on science, on welfare, on roads? The
General Social Survey asked 2,348 people about 18 topics [1]_. A topic is a task; its
model says how a person's age, party or work goes with the answer. Which of these facts
matter, to all topics together? Joint selection keeps a feature for every task or drops
it for every task."""

# %%
# Select features for all tasks at once
# -------------------------------------
#
# One answer in twenty is missing: a ``NaN`` in ``Y``, and no row is dropped for it. The
# features are standardised, because the penalty counts them alike. The strength is the
# largest whose error is within one standard error of the best: it selects less, and
# predicts as well as can be told from these data.

from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import SharedFeatureRegressorCV
from mtlearn.datasets import load_gss_spending

X, Y = load_gss_spending(return_X_y=True)
model = make_pipeline(
    SimpleImputer(),
    StandardScaler(),
    SharedFeatureRegressorCV(penalty="l21", one_standard_error=True),
)
model.set_output(transform="pandas").fit(X, Y)
joint = model[-1]
print(
    f"{len(joint.selected_features_)} of {X.shape[1]} features, "
    f"alpha={joint.alpha_:.0f}"
)

# %%
# Along the path of strengths the features come in one after the other, each for all
# topics, the more important the sooner.

from mtlearn.inspection import PathDisplay

display = PathDisplay.from_estimator(model)

# %%
# The picture of what is shared
# -----------------------------
#
# On the left the jointly selected coefficients, a column per topic: a row is used or it
# is not. On the right the same data with each topic learned alone, by a lasso whose
# strength is chosen in the same way; every topic picks features of its own, and what
# they have in common is hard to see. Blue: the more of the feature, the more should be
# spent.

import matplotlib.pyplot as plt
import numpy as np

alone = np.zeros_like(joint.coef_)
prepared = model[:-1].transform(X)
lasso = SharedFeatureRegressorCV(penalty="l21", one_standard_error=True)
for t, topic in enumerate(Y):
    known = Y[topic].notna()
    alone[t] = lasso.fit(prepared[known], Y.loc[known, topic]).coef_[0]

strength = np.linalg.norm(joint.coef_, axis=0)
rows = np.lexsort((-np.linalg.norm(alone, axis=0), -strength))
columns = np.argsort(joint.coef_[:, rows[0]])
names = [name.replace("wrkstat_", "").replace("_", ", ") for name in X.columns[rows]]

_, axes = plt.subplots(1, 2, figsize=(9.6, 5.6), sharey=True, layout="constrained")
largest = max(np.abs(joint.coef_).max(), np.abs(alone).max())
colours = plt.get_cmap("RdBu").with_extremes(bad="0.93")
titles = "learned together: one choice for all", "learned alone: 18 choices"
for ax, coef, title in zip(axes, (joint.coef_, alone), titles):
    shown = np.ma.masked_equal(coef[np.ix_(columns, rows)].T, 0)
    image = ax.imshow(shown, cmap=colours, vmin=-largest, vmax=largest, aspect="auto")
    ax.set_title(title, fontsize="medium")
    ax.set_xticks(range(len(columns)), Y.columns[columns], rotation=90)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
axes[0].set_yticks(range(len(rows)), names)
bar = plt.colorbar(image, ax=axes, shrink=0.6)
bar.set_label("coefficient (grey: not selected)")
bar.outline.set_visible(False)
