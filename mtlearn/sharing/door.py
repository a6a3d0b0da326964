"""The door of a comparison: data of either layout, the estimator taken apart, folds."""

import numbers
import warnings
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import _num_samples, validate_data

from ..constraints import by_position
from ..fitting import checks
from ..fitting.judge import among_counted
from ..learned import MultiTaskBayesianRidge
from ..learned_classifier import MultiTaskBayesianClassifier
from ..model_selection import TaskStratifiedKFold
from ..per_task import PerTaskClassifier, PerTaskRegressor
from ..problem.demands import Scope
from ..problem.ids import (
    column_names,
    feature_names,
    index_tasks,
    refuse_two_ids,
    shorten,
    split_task_column,
)
from ..problem.values import check_sample_weight, check_targets
from ..svm import MultiTaskSVM, MultiTaskSVR

KINDS = (
    PerTaskRegressor,
    PerTaskClassifier,
    MultiTaskSVM,
    MultiTaskSVR,
    MultiTaskBayesianRidge,
    MultiTaskBayesianClassifier,
)


@dataclass(frozen=True)
class Problem:
    """Data of either layout, and the estimator taken apart.

    Attributes
    ----------
    head : Pipeline or None
        The steps before the model.
    model : estimator
        Unfitted, quiet; its `task_column` is that of what comes out of the head.
    given : array-like, sparse matrix or data frame
        X as the user passed it.
    X : ndarray or csr_array
        Features as the model sees them, without ids; with a head, one that was fitted
        to all rows.
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
    observed : ndarray of the shape of `y`, bool
    tasks : ndarray of shape (n_tasks,)
    codes : ndarray of shape (n_samples,) or None
    task_weight : ndarray of shape (n_tasks,) or None
        Where the estimator's parameter is an array or a dict.
    named : bool
        Whether the tasks are more than all rows taken as one.
    """

    head: object
    model: object
    given: object
    X: object
    y: np.ndarray
    observed: np.ndarray
    tasks: np.ndarray
    codes: np.ndarray | None
    task_weight: np.ndarray | None = None
    named: bool = True

    @property
    def layout(self):
        """ "long", "wide", or "single" where no row names a task."""
        if not self.named:
            return "single"
        return "wide" if self.codes is None else "long"

    def sizes(self):
        """Labelled rows of each task."""
        if self.codes is None:
            return self.observed.sum(axis=0)
        return np.bincount(self.codes, minlength=len(self.tasks))

    def ids(self, rows):
        """Ids of some rows; None where the tasks are columns of `y`."""
        return None if self.codes is None else self.tasks[self.codes[rows]]

    def keyword(self, rows):
        """Ids of some rows, where no column of `given` holds them; else None."""
        outside = self.named and self.model.task_column is None
        return self.ids(rows) if outside else None

    def task_weights(self, rows):
        """The parameter `task_weight` where it must follow the tasks of some rows."""
        if self.task_weight is None:
            return {}
        among = np.arange(len(self.tasks))
        if self.codes is not None:
            among = np.unique(self.codes[rows])
        return {"task_weight": self.task_weight[among]}

    def split(self, train, test):
        """Both parts of X, through the steps before the model, fitted to the first."""
        X, X_test = take_rows(self.given, train), take_rows(self.given, test)
        if self.head is None:
            return X, X_test
        head = clone(self.head)
        return head.fit_transform(X, self.y[train]), head.transform(X_test)


def open_problem(estimator, X, y, task, least_tasks=2):
    """Check what the user passed and take it apart."""
    head, model = _take_apart(estimator)
    # the ids are where the model looks for them: behind the head
    seen = X if head is None else clone(head).fit_transform(X, y)
    probe = clone(model)
    features, ids = checks.check_features(probe, seen, task, reset=True)
    _refuse_precomputed(model)
    if getattr(model, "constraints", None):
        # the search is in arrays, which have no names
        scope = Scope(None, feature_names(probe), features.shape[1])
        model.set_params(constraints=by_position(model.constraints, scope))
    y, names = checks.check_labels(model, features, y, long=ids is not None)
    if is_classifier(model):
        observed = ~np.isnan(checks.check_classes(y)[0])
    else:
        y = check_targets(y)
        observed = ~np.isnan(y)
    tasks, codes = _name_tasks(ids, y, names, least_tasks)
    problem = Problem(head, model, X, features, y, observed, tasks, codes)
    if model.task_weight is None or isinstance(model.task_weight, str):
        return problem
    weight = checks.check_task_weight(model.task_weight, tasks, problem.sizes())
    return replace(problem, task_weight=weight)


def bare_problem(model, X, y, task):
    """The data alone, for estimators of any kind, which check features themselves.

    Parameters
    ----------
    model : estimator
        Whose `task_column` says where the ids are, and whose tags what labels are.
    """
    column, ids = model.task_column, task
    if column is not None:
        refuse_two_ids(column, task)
        _, ids = split_task_column(X, column)
    rows = np.empty((_num_samples(X), 0))
    y, names = checks.check_labels(model, rows, y, long=ids is not None)
    if is_classifier(model):
        observed = ~np.isnan(checks.check_classes(y)[0])
    else:
        y = check_targets(y)
        observed = ~np.isnan(y)
    tasks, codes = _name_tasks(ids, y, names, 1)
    if codes is not None and len(codes) != len(y):
        raise ValueError(
            f"`task` has {len(codes)} ids, but X has {len(y)} rows: expected one id "
            "per row."
        )
    named = ids is not None or y.ndim == 2
    return Problem(None, model, X, rows, y, observed, tasks, codes, None, named)


def _refuse_precomputed(model):
    if getattr(model, "kernel", None) == "precomputed":
        raise ValueError(
            "compare_sharing needs the features, to take parts of the rows, got "
            "`kernel`='precomputed': pass the features and the kernel as a function."
        )


def _name_tasks(ids, y, names, least):
    """The tasks, and in the long layout the code of each row."""
    if ids is not None:
        tasks, codes = index_tasks(ids)
    elif y.ndim == 2:
        tasks, codes = np.arange(y.shape[1]) if names is None else names, None
    elif least < 2:
        tasks, codes = np.arange(1), np.zeros(len(y), dtype=np.int64)
    else:
        raise ValueError(
            "compare_sharing needs tasks: name the column of ids in the estimator's "
            "`task_column`, pass `task=`, or give a `y` with one column per task."
        )
    if len(tasks) < least:
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
    if not isinstance(model, KINDS):
        raise TypeError(
            "`estimator` must be a PerTaskRegressor, PerTaskClassifier, MultiTaskSVM "
            "or MultiTaskSVR, a learned model such as MultiTaskBayesianRidge, or a "
            f"Pipeline that ends in one, got {model!r}."
        )
    return head, clone(model).set_params(verbose=0)


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


def counted_folds(cv, whole, problem, kept):
    """Those among the rows that count, of all rows of `whole`; by default five or less.

    Parameters
    ----------
    cv : None, int, splitter or iterable
        A splitter sees all rows.
    whole, problem : Problem
    kept : ndarray of int or None
        Rows of `whole` in `problem`; None for all.
    """
    cv = min(5, len(problem.y)) if cv is None else cv
    if kept is None or isinstance(cv, numbers.Integral):
        return outer_folds(cv, problem.given, problem)
    return among_counted(outer_folds(cv, whole.given, whole), len(whole.y), kept)


def take_rows(X, rows):
    """Some rows of any container."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "take") and hasattr(X, "column_names"):
        return X.take(rows)
    return X[rows] if hasattr(X, "shape") else [X[i] for i in rows]


class Door(BaseEstimator):
    """What the checks of data want to know of an estimator."""

    def __init__(self, task_column, like):
        self.task_column, self.like = task_column, like

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = get_tags(self.like).estimator_type
        return tags


def column_of_ids(estimators):
    """The `task_column` that estimators, or the last steps of pipelines, agree on."""
    found = {}
    for one in estimators:
        one = one[-1] if isinstance(one, Pipeline) else one
        column = getattr(one, "task_column", None)
        found[repr(column)] = column
    found.pop("None", None)
    if len(found) > 1:
        raise ValueError(
            "`estimators` name several columns of ids, "
            f"{shorten(found.values())}: expected one."
        )
    return next(iter(found.values()), None)


def enter(model, estimators, X, y):
    """X and y as they are looked at; keeps the column of ids and what columns X has.

    Parameters
    ----------
    model : estimator
        Holds the others; its own `task_column` goes before theirs.
    estimators : list of estimator
    X, y : as in `fit`
    """
    model._column = model.task_column
    if model._column is None:
        model._column = column_of_ids(estimators)
    X, y = as_arrays(X), y if y is None or hasattr(y, "iloc") else as_arrays(y)
    validate_data(model, X, skip_check_array=True)
    return X, y


def told(model, parameters):
    """The model with those of the parameters that it has and that are not set."""
    last = model[-1] if isinstance(model, Pipeline) else model
    known = last.get_params(deep=False)
    last.set_params(
        **{k: v for k, v in parameters.items() if k in known and known[k] is None}
    )
    return model


def as_arrays(X):
    """Lists and the like as arrays; what has rows of its own as it is."""
    if sp.issparse(X):
        return X.tocsr()
    if hasattr(X, "shape") or column_names(X) is not None:
        return X
    table = np.asarray(X)
    return np.asarray(X, dtype=object) if table.dtype.kind in "US" else table


def without_weightless(problem, sample_weight):
    """The rows that count, their weights, and which they are; None for all."""
    if sample_weight is None:
        return problem, None, None
    weight = check_sample_weight(sample_weight, problem.y.shape)
    if weight.ndim == 2:
        problem = replace(problem, observed=problem.observed & (weight > 0))
        return problem, weight, None
    if weight.all():
        return problem, weight, None
    kept = np.flatnonzero(weight)
    if problem.codes is None:
        tasks, codes = problem.tasks, None
    else:
        present, codes = np.unique(problem.codes[kept], return_inverse=True)
        tasks = problem.tasks[present]
    some = replace(
        problem,
        given=take_rows(problem.given, kept),
        y=problem.y[kept],
        observed=problem.observed[kept],
        tasks=tasks,
        codes=codes,
    )
    return some, weight[kept], kept
