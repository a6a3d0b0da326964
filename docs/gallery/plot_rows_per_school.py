"""
The fewer rows per task, the more sharing gains
===============================================

How much should tasks share? Here a support vector machine says whether a pupil is in
the upper half in mathematics, from the pupil's and the school's background: the survey
High School and Beyond [1]_, a task per school. The same curve, accuracy against
correlation, is drawn for schools of which few, some, or many pupils are known.
"""

# %%
# The experiment
# --------------
#
# :class:`~mtlearn.model_selection.TaskShuffleSplit` trains on a given number of rows of
# every task and tests on others. For each correlation the strength ``C`` is chosen anew
# by cross-validation inside the training rows, so that no correlation suffers from a
# ``C`` that suits another.

import numpy as np
from sklearn.model_selection import GridSearchCV, validation_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import MultiTaskSVM, SharedMean
from mtlearn.compose import features_only
from mtlearn.datasets import load_hsb82
from mtlearn.model_selection import TaskShuffleSplit, TaskStratifiedKFold

X, y = load_hsb82(return_X_y=True)
upper_half = (y > y.median()).astype(int)

svm = MultiTaskSVM(
    relation=SharedMean(), task_column="school", fit_intercept="shrunk", tol=1e-6
)
search = GridSearchCV(
    make_pipeline(features_only(StandardScaler(), "school"), svm),
    {"multitasksvm__C": [0.001, 0.01, 0.1]},
    cv=TaskStratifiedKFold(3, task_column="school", shuffle=True, random_state=0),
)

correlations = [0, 0.3, 0.6, 0.9, 0.97, 1]
accuracy = {}
for rows in (5, 15, 40):
    _, accuracy[rows] = validation_curve(
        search,
        X,
        upper_half,
        param_name="estimator__multitasksvm__relation__correlation",
        param_range=correlations,
        cv=TaskShuffleSplit(
            5, train_size=rows, test_size=0.3, task_column="school", random_state=0
        ),
    )

# %%
# The answer
# ----------
#
# Accuracy is compared with that of one common model (correlation 1) on the same split,
# and the error bars are standard errors of this difference over the splits: how hard a
# split happens to be is the same for both and cancels.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7.0, 5.0), layout="constrained")
place = np.arange(len(correlations))
colours = ["#a9cce0", "#5b9bc0", "#17496b"]
for shift, colour, (rows, scores) in zip((-0.06, 0, 0.06), colours, accuracy.items()):
    gain = 100 * (scores - scores[-1])
    error = gain.std(axis=1, ddof=1) / np.sqrt(gain.shape[1])
    label = f"{rows} rows per school (pooled: {100 * scores[-1].mean():.1f} %)"
    ax.errorbar(
        place + shift,
        gain.mean(axis=1),
        error,
        color=colour,
        marker="o",
        markersize=4,
        label=label,
    )
line = {"color": "0.4", "linewidth": 0.8, "linestyle": "--", "zorder": 1}
ax.axhline(0, label="the pooled model", **line)
ax.set_xticks(place, [str(rho) for rho in correlations])
ax.set_xlabel("correlation (0: each school alone, 1: one model for all)")
ax.set_ylabel("accuracy over the pooled model, in points")
figure.legend(frameon=False, loc="outside upper center")
ax.spines[["top", "right"]].set_visible(False)

# %%
# The left end, each school alone, is worst, and the fewer rows there are, the worse it
# is. Whether schools share at all matters most; how much matters little, because ``C``
# makes up for it. With few rows the common model on the right is about as good as any
# other; with many rows the schools' differences begin to show, and the models between
# the two ends are better than either.

# %%
# .. rubric:: References
#
# .. [1] Raudenbush, S. W. and Bryk, A. S.: Hierarchical linear models. 2nd edition,
#    Sage, 2002.
