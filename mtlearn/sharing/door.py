"""The door of a comparison: data of either layout, the estimator taken apart, folds."""

import numbers
import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline

from ..constraints import by_position
from ..fitting import checks
from ..fitting.constrained import feature_names
from ..model_selection import TaskStratifiedKFold
from ..problem.demands import Scope
from ..problem.ids import index_tasks, shorten
from ..problem.values import check_targets


@dataclass(frozen=True)
class Problem:
    """Data of either layout, and the estimator taken apart.

    Attributes
    ----------
    head : Pipeline or None
        The steps before the model.
    model : estimator
        Unfitted, quiet; its `task_column` is that of what comes out of the head.
    X : ndarray, csr_array or, with a head, as given
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
    observed : ndarray of the shape of `y`, bool
    tasks : ndarray of shape (n_tasks,)
    codes : ndarray of shape (n_samples,) or None
    task_weight : ndarray of shape (n_tasks,) or None
        Where the estimator's parameter is an array or a dict.
    """

    head: object
    model: object
    X: object
    y: np.ndarray
    observed: np.ndarray
    tasks: np.ndarray
    codes: np.ndarray | None
    task_weight: np.ndarray | None = None

    def sizes(self):
        """Labelled rows of each task."""
        if self.codes is None:
            return self.observed.sum(axis=0)
        return np.bincount(self.codes, minlength=len(self.tasks))

    def among(self, rows):
        """Positions of the tasks that an estimator finds in these rows."""
        if self.codes is None:
            return np.arange(len(self.tasks))
        return np.unique(self.codes[rows])

    def task(self, rows):
        """The keyword `task` of fit and predict, if the layout has ids."""
        return {} if self.codes is None else {"task": self.tasks[self.codes[rows]]}

    def features(self, train, test):
        """Numeric features of both parts, through a head fitted to the first."""
        X, X_test = _rows(self.X, train), _rows(self.X, test)
        if self.head is None:
            return X, X_test
        head, model = clone(self.head), clone(self.model)
        X, X_test = head.fit_transform(X, self.y[train]), head.transform(X_test)
        X, _ = checks.check_features(model, X, None, reset=True)
        return X, checks.check_features(model, X_test, None, reset=False)[0]


def open_problem(estimator, X, y, task):
    """Check what the user passed and take it apart."""
    head, model = _take_apart(estimator)
    # the ids are where the model looks for them: behind the head
    seen = X if head is None else clone(head).fit_transform(X, y)
    probe = clone(model)
    features, ids = checks.check_features(probe, seen, task, reset=True)
    _refuse_precomputed(model)
    if getattr(model, "constraints", None):
        # the folds are arrays, which have no names
        scope = Scope(None, feature_names(probe), features.shape[1])
        model.set_params(constraints=by_position(model.constraints, scope))
    y, names = checks.check_labels(model, features, y, long=ids is not None)
    if is_classifier(model):
        observed = ~np.isnan(checks.check_classes(y)[0])
    else:
        y = check_targets(y)
        observed = ~np.isnan(y)
    tasks, codes = _name_tasks(ids, y, names)
    X = features if head is None else X
    problem = Problem(head, model, X, y, observed, tasks, codes)
    if model.task_weight is None or isinstance(model.task_weight, str):
        return problem
    weight = checks.check_task_weight(model.task_weight, tasks, problem.sizes())
    return replace(problem, task_weight=weight)


def _refuse_precomputed(model):
    if getattr(model, "kernel", None) == "precomputed":
        raise ValueError(
            "compare_sharing needs the features, to take parts of the rows, got "
            "`kernel`='precomputed': pass the features and the kernel as a function."
        )


def _name_tasks(ids, y, names):
    """The tasks, and in the long layout the code of each row; at least two."""
    if ids is not None:
        tasks, codes = index_tasks(ids)
    elif y.ndim == 2:
        tasks, codes = np.arange(y.shape[1]) if names is None else names, None
    else:
        raise ValueError(
            "compare_sharing needs tasks: name the column of ids in the estimator's "
            "`task_column`, pass `task=`, or give a `y` with one column per task."
        )
    if len(tasks) < 2:
        raise ValueError(
            "compare_sharing needs at least two tasks to compare, got "
            f"{shorten(tasks)}."
        )
    return tasks, codes


def _take_apart(estimator):
    """The steps before the model (or None), and the model, unfitted and quiet."""
    head, model = None, estimator
    if isinstance(estimator, Pipeline):
        head = estimator[:-1] if len(estimator) > 1 else None
        model = estimator[-1]
    needed = ("relation", "fit_intercept", "task_column", "warm_start")
    if isinstance(model, type) or not all(hasattr(model, name) for name in needed):
        raise TypeError(
            "`estimator` must be a PerTaskRegressor, PerTaskClassifier, MultiTaskSVM "
            f"or MultiTaskSVR, or a Pipeline that ends in one, got {model!r}."
        )
    # a task may have all its rows in the test part; that must not end the comparison
    model = clone(model).set_params(verbose=0, handle_unknown="shared")
    return head, model


def outer_folds(cv, X, problem):
    """Row numbers (train, test) of the outer folds."""
    if cv is None or (isinstance(cv, numbers.Integral) and not isinstance(cv, bool)):
        splits = 5 if cv is None else cv
        cv = TaskStratifiedKFold(splits, shuffle=True, random_state=0)
    cv = check_cv(cv)
    finds_ids = getattr(cv, "task_column", None) is not None
    groups = None if finds_ids else problem.codes
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(cv.split(X, problem.y, groups=groups))
    rows = np.arange(len(problem.y))
    folds = [(rows[train], rows[test]) for train, test in folds]
    if not folds:
        raise ValueError("`cv` gives no fold: expected at least one.")
    return folds


def _rows(X, rows):
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "take") and hasattr(X, "column_names"):
        return X.take(rows)
    return X[rows] if hasattr(X, "shape") else [X[i] for i in rows]
