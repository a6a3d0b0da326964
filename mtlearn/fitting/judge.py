"""What the caller of a cross-validated estimator passed: its folds, and its scorer."""

import inspect
import numbers
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if

from ..problem.ids import id_array, split_task_column


class Given:
    """What the caller passed, as splitters and scorers want it."""

    def __init__(self, estimator, X, y, sample_weight, task):
        self.X, self.y, self.task = X, y, task
        self.column, self.n_columns = estimator.task_column, estimator._n_columns
        self.counted = None  # numbers of the rows that count
        weight = None if sample_weight is None else np.asarray(sample_weight)
        if weight is not None and weight.ndim == 1:
            self.n_rows, self.counted = len(weight), np.flatnonzero(weight)

    def folds(self, cv, rows, dealt):
        """Pairs (train, test) of row numbers of `rows`; a number of them by `dealt`."""
        if cv is None or isinstance(cv, numbers.Number):
            n_splits = 5 if cv is None else int(cv)
            if n_splits > rows.X.shape[0]:
                raise ValueError(
                    f"`cv`: {n_splits} folds need at least as many rows, got "
                    f"n_samples={rows.X.shape[0]}."
                )
            return dealt(n_splits)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
            groups = self._groups(cv)
            folds = list(check_cv(cv).split(self.X, self.y, groups=groups))
        if not folds:
            raise ValueError("`cv` gives no fold: expected at least one.")
        n_rows = rows.X.shape[0] if self.counted is None else self.n_rows
        return among_counted(folds, n_rows, self.counted)

    def _groups(self, cv):
        """The ids, for splitters that do not find them by themselves."""
        if getattr(cv, "task_column", None) is not None:
            return None
        if self.column is not None:
            return id_array(split_task_column(self.X, self.column)[1])
        return None if self.task is None else id_array(self.task)

    def take(self, index):
        """Features, labels and ids of some of the rows that count."""
        index = index if self.counted is None else self.counted[index]
        task = None if self.task is None else id_array(self.task)[index]
        return _safe_indexing(self.X, index), _safe_indexing(self.y, index), task


def among_counted(folds, n_rows, counted):
    """Folds of all rows as those of the rows that count, by their numbers there.

    Parameters
    ----------
    folds : list of (train, test)
        Numbers of rows, negative ones from the end.
    n_rows : int
    counted : ndarray of int, or None
        Numbers of the rows that count; None if all do.
    """
    place = np.arange(n_rows)
    if counted is not None:
        place[:] = -1
        place[counted] = np.arange(len(counted))
    folds = [(place[train], place[test]) for train, test in folds]
    return [(train[train >= 0], test[test >= 0]) for train, test in folds]


class Judge:
    """The scorer, if there is one, and what it needs."""

    def __init__(self, estimator, given, space, level):
        self.given, self.space, self.level, self.scorer = given, space, level, None
        if estimator.scoring is not None:
            self.scorer = check_scoring(estimator, scoring=estimator.scoring)
            known = inspect.signature(self.scorer).parameters
            self.passes_ids = "task" in known and given.task is not None

    def score(self, model, index):
        """Score of a model of the rows in their space, on some rows as given."""
        for name in ("coef_", "shared_coef_"):
            setattr(model, name, self.space.back(getattr(model, name)))
        model.intercept_ = model.intercept_ + self.level
        model.shared_intercept_ = model.shared_intercept_ + self.level
        return self.score_as_it_is(model, index)

    def score_as_it_is(self, model, index):
        """Score of a model of the rows as given, on some of them."""
        X, y, task = self.given.take(index)
        model.set_params(handle_unknown="shared")
        if task is not None:
            model = _WithIds(model, task)
        ids = {"task": task} if self.passes_ids else {}
        return self.scorer(model, X, y, **ids)


def _has(name):
    """Whether the model inside has a method of that name."""
    return lambda self: hasattr(self.model, name)


class _WithIds(BaseEstimator):
    """A fitted model that knows the ids of the rows it is to predict."""

    def __init__(self, model, task):
        self.model, self.task = model, task

    def __sklearn_tags__(self):
        return self.model.__sklearn_tags__()

    @property
    def classes_(self):
        """Those of a classifier."""
        return self.model.classes_

    def predict(self, X, task=None):
        """Predict, with the ids that are known."""
        return self.model.predict(X, task=self.task)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X, task=None):
        """Probabilities, with the ids that are known."""
        return self.model.predict_proba(X, task=self.task)

    @available_if(_has("decision_function"))
    def decision_function(self, X, task=None):
        """Scores of the classes, with the ids that are known."""
        return self.model.decision_function(X, task=self.task)
