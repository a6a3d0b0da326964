from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor
from mtlearn.datasets import load_exam
from mtlearn.inspection import compare_sharing
from mtlearn.report import make_report

X, y = load_exam(return_X_y=True)
comparison = compare_sharing(PerTaskRegressor(task_column="school"), X, y)
model = MultiTaskBayesianRidge(task_column="school").fit(X, y)
report = make_report(model, X, y, comparison=comparison, title="65 London schools")
