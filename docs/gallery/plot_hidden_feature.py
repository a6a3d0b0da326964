"""
One hidden feature is enough for 65 schools
===========================================

Schools differ, but do they differ in everything? Here the coefficients of all schools
are combinations of a few hidden features, themselves combinations of what is known of a
pupil. Cross-validation asks for one: the schools read a pupil alike, and differ in how
much it counts, and in their level. The data are the examination results of pupils of
inner London [1]_, a task per school.
"""

# %%
# Choose how many
# ---------------
#
# ``penalty="rank"`` with the numbers of hidden features to try. With a strength of its
# own for each of them, the whole grid is one estimator: the rows are read once, and
# every training part knows their second moments.

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import SharedFeatureRegressorCV
from mtlearn.compose import features_only
from mtlearn.datasets import load_exam

X, y = load_exam(return_X_y=True)
# the source calls band 3 of intake "top 25%", but its pupils read worst at eleven
print(X.groupby(["intake_mid 50%", "intake_top 25%"])["standLRT"].mean().round(2))
X = X.rename(
    columns={"intake_mid 50%": "intake band 2", "intake_top 25%": "intake band 3"}
)

model = make_pipeline(
    features_only(StandardScaler(), task_column="school"),
    SharedFeatureRegressorCV(
        [1, 2, 3, 4], alphas=30, task_column="school", fit_intercept="shrunk"
    ),
)
model.fit(X, y)
schools = model[-1]
for (_, rank), errors in zip(schools.variants_, schools.mse_grid_.mean(axis=2)):
    print(f"{rank} hidden: mean squared error {errors.min():.4f}")
print(schools.n_components_)

# %%
# What the schools share, and how they differ
# -------------------------------------------
#

import matplotlib.pyplot as plt
import numpy as np

prepared = model[:-1].transform(X)
hidden = schools.transform(prepared)[:, 0]
names = prepared.columns.drop("school")
_, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.6), layout="constrained")

weights = schools.components_[0]
order = np.argsort(np.abs(weights))
left.barh(names[order], weights[order], color="#2a6f97")
left.axvline(0, color="0.4", linewidth=0.8)
left.set_title("the hidden feature: weights of a pupil's features", fontsize="medium")
left.tick_params(axis="y", length=0)

slopes, levels = schools.task_components_[:, 0], schools.intercept_
for school, slope, level in zip(schools.tasks_, slopes, levels):
    own = hidden[X["school"] == school]
    ends = np.array([own.min(), own.max()])
    right.plot(ends, level + slope * ends, color="#2a6f97", alpha=0.6, linewidth=1.0)
right.set(xlabel="hidden feature of a pupil", ylabel="predicted score at sixteen")
right.set_title("65 schools: a slope and a level each", fontsize="medium")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)

# %%
# Does it help?
# -------------
#
# (The scores differ a little from those in :doc:`plot_schools`: there a word becomes a
# column for each of its values, here one value of each is left out.)

from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import cross_val_predict

from mtlearn import PerTaskRegressor
from mtlearn.inspection import compare_sharing
from mtlearn.model_selection import TaskStratifiedKFold

folds = TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0)
rivals = make_pipeline(model[0], PerTaskRegressor(task_column="school"))
table = compare_sharing(rivals, X, y, cv=folds).summary.loc["overall"].to_dict()
predicted = cross_val_predict(model, X, y, cv=folds)
table["one hidden feature"] = root_mean_squared_error(y, predicted)
for name, error in sorted(table.items(), key=lambda item: item[1]):
    print(f"{name:20s}{error:.4f}")

# %%
# .. rubric:: References
#
# .. [1] Goldstein, H., Rasbash, J. et al.: A multilevel analysis of school examination
#    results. Oxford Review of Education 19, 1993.
