"""
Schools: what sharing gains, and for which schools
==================================================

How well does a pupil do at sixteen, given what is known at eleven? Every school
answers a little differently, and some schools have too few pupils to be learned alone.
Learned together, most schools are predicted better, on average the smaller ones more
than the larger.

The data are the examination results of pupils of inner London [1]_, a task per school.
"""

# %%
# Learn the schools together
# --------------------------
#
# With one feature, the reading test at eleven, a school's model is a line. How much the
# lines have in common (the correlation) and the strength of the penalty are chosen by
# cross-validation.

from sklearn.model_selection import GridSearchCV

from mtlearn import PerTaskRegressor, SharedMean
from mtlearn.datasets import load_exam
from mtlearn.model_selection import TaskStratifiedKFold

X, y = load_exam(return_X_y=True)
X = X[["school", "standLRT"]]  # the task, and the reading test at eleven

search = GridSearchCV(
    PerTaskRegressor(task_column="school", relation=SharedMean()),
    {
        "alpha": [1, 3, 10, 30, 100],
        "relation__correlation": [0, 0.5, 0.7, 0.9, 0.97, 1],
    },
    cv=TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0),
    scoring="neg_root_mean_squared_error",
)
search.fit(X, y)
shared = search.best_estimator_
print(search.best_params_)

# %%
# How do the slopes change? A grey line leads from the slope that a school has alone
# (least squares) to the one that it has when all are learned together. A school with
# many pupils keeps most of its own slope; a school with few is pulled towards the mean
# of all, the dashed line. The model is not told the sizes of the schools: a sum over
# more rows simply weighs more against the same penalty.

import matplotlib.pyplot as plt

alone = PerTaskRegressor(alpha=0, task_column="school").fit(X, y)
pupils = X["school"].value_counts()[shared.tasks_].to_numpy()
before, after = alone.coef_[:, 0], shared.coef_[:, 0]
enough = pupils >= 5  # a line through two pupils says nothing
figure, ax = plt.subplots(figsize=(7.0, 4.8), layout="constrained")
ax.vlines(pupils[enough], before[enough], after[enough], color="0.75", linewidth=1.2)
ax.scatter(
    pupils[enough], before[enough], s=22, color="#d1602f", label="alone", zorder=3
)
ax.scatter(pupils, after, s=22, color="#2a6f97", label="together", zorder=4)
ax.axhline(
    shared.shared_coef_[0],
    color="0.4",
    linewidth=0.8,
    linestyle="--",
    zorder=1,
    label="mean of the schools",
)
ax.set(xscale="log", xlabel="pupils of the school (logarithmic scale)")
ax.set_ylabel("slope of the reading test\n(both scores in standard deviations)")
ax.set(ylim=(0, 1.2))
ax.set_xticks(ticks := [2, 5, 10, 20, 50, 100, 200], [str(tick) for tick in ticks])
ax.set_xticks([], minor=True)
figure.legend(frameon=False, ncols=3, loc="outside upper center")
for n, slope in zip(pupils[~enough], before[~enough]):
    print(f"not drawn: a school of {n} pupils, slope alone {slope:.1f}")
ax.spines[["top", "right"]].set_visible(False)

# %%
# Does it help?
# -------------
#
# :func:`~mtlearn.inspection.compare_sharing` learns the schools together in three ways,
# as one, as one with an offset for each school, and each alone. What there is to
# choose is chosen inside the training rows; the scores are of pupils that none of them
# has seen. Now with all features, some of them of the pupil, some of the school; words
# become a column for each value. ``python -m mtlearn compare`` prepares the data in the
# same way and finds the same scores.

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mtlearn.compose import features_only
from mtlearn.inspection import compare_sharing

X, y = load_exam(encode=False, return_X_y=True)
columns = make_column_transformer(
    ("passthrough", make_column_selector(dtype_include="number")),
    (OneHotEncoder(sparse_output=False), make_column_selector(dtype_exclude="number")),
)
model = make_pipeline(
    features_only(make_pipeline(columns, StandardScaler()), task_column="school"),
    PerTaskRegressor(task_column="school"),
)
comparison = compare_sharing(model, X, y)
comparison.summary.round(4)

# %%
print(comparison.verdict())

# %%
# For which schools?
# ------------------
#
# A dot is a school; above zero it is predicted better together. A school with few
# pupils has few held-out pupils, too, and its dot may lie anywhere. Its colour is what
# can be said of it in the light of all schools (:ref:`should_i_share`), and the line is
# the mean of schools of about the same size. It is highest among the smaller schools.

from mtlearn.inspection import SharingDisplay

display = SharingDisplay.from_comparison(comparison)

# %%
# .. rubric:: References
#
# .. [1] Goldstein, H., Rasbash, J. et al.: A multilevel analysis of school examination
#    results. Oxford Review of Education 19, 1993.
