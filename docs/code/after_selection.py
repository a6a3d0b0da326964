"""Select features for all tasks together, then model every task on those."""

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import PerTaskRegressorCV, SharedFeatureRegressorCV
from mtlearn.compose import features_only
from mtlearn.datasets import load_exam

X, y = load_exam(return_X_y=True)
shared = SharedFeatureRegressorCV(penalty="l21", task_column="school")
columns = ColumnTransformer(
    [("task", "passthrough", ["school"]), ("shared", shared, list(X))],
    verbose_feature_names_out=False,
).set_output(transform="pandas")
model = make_pipeline(
    features_only(StandardScaler(), task_column="school"),
    columns,
    PerTaskRegressorCV(task_column="school"),
)
model.fit(X, y)
print(model[-1].feature_names_in_)
