"""What sharing does: strategies compared on held-out rows, similar tasks, pictures."""

import numbers
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from . import checks
from .metrics import task_scores
from .model_selection import TaskStratifiedKFold
from .relations import SharedMean
from .tasks import index_tasks

STRATEGIES = ("multitask", "pooled", "pooled_offset", "independent")

# Every grid begins at the simplest model: where scores tie, that one is chosen.
_CORRELATIONS = (1.0, 0.999, 0.99, 0.97, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0)
_PENALTIES = 10.0 ** np.arange(2.0, -3.0, -0.5)  # in units of the features' variance
_OFFSET_PENALTIES = 10.0 ** np.arange(3.0, -1.5, -0.5)  # in rows
_INNER_SPLITS = 5
_TIED = 1e-10  # 1 - correlation of coefficients that are to be the same in all tasks


def compare_sharing(
    estimator, X, y, *, task=None, cv=None, scoring=None, progress=None
):
    scoring = _check_scoring(scoring, estimator)
    problem = _open(estimator, X, y, task)
    folds = _outer_folds(cv, X, problem)
    report = _Progress(progress, len(folds))
    held = {name: [] for name in STRATEGIES}
    chosen = []
    for number, (train, test) in enumerate(folds):
        whole = _Part(problem, train, test)
        parts = [_Part(problem, *rows) for rows in _inner_folds(problem, train)]
        for name in STRATEGIES:
            candidates = _candidates(name, problem.model, whole.variance)
            best, score = _choose(parts, candidates, scoring, report)
            chosen.append((number, name, score, best))
            held[name].append(whole.respond(best, scoring))
    return held, chosen, folds, problem


class _Candidate(NamedTuple):
    params: dict
    offset: float | None = None


def _candidates(strategy, model, variance):
    name = "alpha" if "alpha" in model.get_params(deep=False) else "C"
    penalties = variance * _PENALTIES
    strengths = [{name: p if name == "alpha" else 1.0 / p} for p in penalties]
    if strategy == "pooled":
        fixed = {"relation": SharedMean(1.0), "fit_intercept": "shared"}
        return [_Candidate(fixed | s) for s in strengths]
    if strategy == "independent":
        fixed = {"relation": SharedMean(0.0), "fit_intercept": "free"}
        return [_Candidate(fixed | s) for s in strengths]
    if strategy == "pooled_offset":
        fixed = {"relation": SharedMean(1.0 - _TIED), "fit_intercept": False}
        return [
            _Candidate(fixed | s, np.sqrt(p / gamma))
            for gamma in _OFFSET_PENALTIES
            for s, p in zip(strengths, penalties)
        ]
    return [
        _Candidate({"relation": SharedMean(rho), "fit_intercept": b} | s)
        for rho in _CORRELATIONS
        for b in ("shrunk", "free")
        for s in strengths
    ]


@dataclass(frozen=True)
class _Problem:
    head: object
    model: object
    X: object
    y: np.ndarray
    tasks: np.ndarray
    codes: np.ndarray | None

    @property
    def ids(self):
        return None if self.codes is None else self.tasks[self.codes]


def _open(estimator, X, y, task):
    head, model = None, estimator
    if isinstance(estimator, Pipeline):
        head, model = estimator[:-1], estimator[-1]
    seen = X if head is None else clone(head).fit_transform(X, y)
    features, ids = checks.check_features(clone(model), seen, task, reset=True)
    y, names = checks.check_labels(model, features, y, long=ids is not None)
    if not is_classifier(model):
        y = checks.check_targets(y)
    if ids is None:
        tasks, codes = np.arange(y.shape[1]) if names is None else names, None
    else:
        tasks, codes = index_tasks(ids)
    return _Problem(head, model, features if head is None else X, y, tasks, codes)


def _outer_folds(cv, X, problem):
    if cv is None or isinstance(cv, numbers.Integral):
        cv = TaskStratifiedKFold(5 if cv is None else cv, shuffle=True, random_state=0)
    cv = check_cv(cv)
    return list(cv.split(X, problem.y, groups=problem.codes))


def _inner_folds(problem, train):
    cv = TaskStratifiedKFold(_INNER_SPLITS, shuffle=True, random_state=0)
    groups = None if problem.codes is None else problem.codes[train]
    for one, two in cv.split(train, problem.y[train], groups=groups):
        yield train[one], train[two]


def _rows(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


class _Part:
    def __init__(self, problem, train, test):
        self.model = clone(problem.model)
        X, X_test = _rows(problem.X, train), _rows(problem.X, test)
        if problem.head is not None:
            head = clone(problem.head)
            X = head.fit_transform(X, problem.y[train])
            X_test = head.transform(X_test)
            X, _ = checks.check_features(self.model, X, None, reset=True)
            X_test, _ = checks.check_features(self.model, X_test, None, reset=False)
        self.X, self.X_test = X, X_test
        self.y, self.y_test = problem.y[train], problem.y[test]
        ids = problem.ids
        self.ids = {} if ids is None else {"task": ids[train]}
        self.ids_test = {} if ids is None else {"task": ids[test]}
        self.model.set_params(task_column=None, warm_start=True)

    @property
    def variance(self):
        return StandardScaler(with_mean=False).fit(self.X).var_.sum()

    def respond(self, candidate, scoring):
        model = self.model.set_params(**candidate.params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(_beside(self.X, candidate.offset), self.y, **self.ids)
        for method in scoring.methods:
            if hasattr(model, method):
                return getattr(model, method)(
                    _beside(self.X_test, candidate.offset), **self.ids_test
                )


def _beside(X, offset):
    if offset is None:
        return X
    column = np.full((X.shape[0], 1), offset / np.sqrt(_TIED))
    if sp.issparse(X):
        return sp.hstack([X, column], format="csr")
    return np.hstack([X, column])


class _Scoring(NamedTuple):
    metric: object
    methods: tuple = ("predict",)
    sign: float = 1.0

    def overall(self, y, z):
        if y.ndim == 2:
            seen = ~np.isnan(y)
            y, z = y[seen], z[seen]
        return task_scores(self.metric, y, z, np.zeros(len(y), dtype=np.int64))[0]


def _check_scoring(scoring, estimator):
    if scoring is None:
        return (
            _Scoring("accuracy")
            if is_classifier(estimator)
            else _Scoring("root_mean_squared_error", sign=-1.0)
        )
    if scoring == "roc_auc":
        return _Scoring("roc_auc", ("decision_function",))
    if scoring == "log_loss":
        return _Scoring("log_loss", ("predict_proba",), -1.0)
    raise ValueError


def _choose(parts, candidates, scoring, report):
    truth = np.concatenate([p.y_test for p in parts])
    best, top = None, -np.inf
    table = []
    for candidate in candidates:
        z = np.concatenate([p.respond(candidate, scoring) for p in parts])
        score = scoring.sign * scoring.overall(truth, z)
        table.append(score)
        if best is None or score > top + 1e-12 * abs(top):
            best, top = candidate, score
    report.last = (candidates, table)
    return best, scoring.sign * top


class _Progress:
    def __init__(self, *a):
        pass
