"""Strengths and correlations of a strategy, chosen by cross-validation."""

import warnings
from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ..compose import features_only
from ..model_selection import TaskStratifiedKFold
from ..problem.ids import column_names
from ..relations import SharedMean
from .door import open_problem

# What the inner cross-validation chooses from, the simplest first: it wins ties.
# Penalties are in units of the features' summed variance, those of offsets in rows.
_PENALTIES = tuple((10.0 ** np.arange(2.0, -3.0, -0.5)).tolist())
_CORRELATIONS = (1.0, 0.999, 0.99, 0.97, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0)
_INTERCEPTS = ("shrunk", "free")
_OFFSETS = tuple((10.0 ** np.arange(3.0, -1.5, -0.5)).tolist())
_INNER_SPLITS = 5

# 1 - correlation of coefficients that are to be the same in all tasks: between tasks of
# n rows they differ by about this times n / penalty. A power of two, so that the
# correlation is exact.
_TIED = 2.0**-40


class Setting(NamedTuple):
    """A point of the grids.

    penalty is alpha, or 1 / C; offset, of pooled_offset alone, the penalty of a squared
    offset over that of a squared residual.
    """

    penalty: float
    correlation: float
    intercept: str
    offset: float | None = None


def search(model, strategy, scoring, data, folds, last):
    """Choose the strengths of a strategy, and fit the model with them.

    Parameters
    ----------
    model : estimator
        Its own strength, relation and intercept do not matter.
    strategy : str
    scoring : Scoring
    data : tuple
        X, y, task and sample_weight, as for the model's `fit`.
    folds : list of (train, test) or None
        By which the strengths are chosen; None: five that have their share of every
        task.
    last : dict
        The last search is kept there: that of the next strategy for the same data goes
        on with its scores.

    Returns
    -------
    estimator or Pipeline
        Fitted; a pipeline where a constant feature carries the offsets.
    """
    X, y, task, weight = data
    known = last.get("data", (None,) * 4)
    if not all(one is two for one, two in zip(known, data, strict=True)):
        problem = open_problem(model, X, y, task, least_tasks=1)
        last.update(data=data, search=Search(problem, scoring, folds, weight))
    setting = last["search"].best(strategy)
    final = clone(model).set_params(**_parameters(model, setting))
    extra = _keyword(task) if weight is None else {"sample_weight": weight}
    extra |= _keyword(task)
    if setting.offset is None:
        return final.fit(X, y, **extra)
    carrier = AppendConstant(_size(setting))
    if model.task_column is not None:
        carrier = features_only(carrier, model.task_column)
    final.fit(carrier.fit_transform(X), y, **extra)
    return Pipeline([("offsets", carrier), ("model", final)])


class Search:
    """Cross-validation on some rows; a point is scored once."""

    def __init__(self, problem, scoring, folds=None, weight=None):
        self.scoring, self.known = scoring, {}
        model = problem.model
        linear = getattr(model, "kernel", "linear") == "linear"
        self.carries_offsets = linear and not getattr(model, "constraints", None)
        variance = _variance(problem.X, weight)
        self.penalties = tuple(variance * penalty for penalty in _PENALTIES)
        folds = list(folds or _inner_folds(problem))
        taught = [fold for fold in folds if _teaches(problem, fold[0])]
        self.parts = [
            Part(problem, train, test, scoring, weight)
            for train, test in taught or folds
        ]
        self.labels = np.concatenate([part.labels for part in self.parts])
        self.counts = None
        if weight is not None:
            self.counts = np.concatenate([part.counts for part in self.parts])

    def score(self, setting):
        """Score of the inner held-out rows, the greater the better."""
        if setting not in self.known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                z = np.concatenate([part.respond(setting) for part in self.parts])
                found = self.scoring.overall(self.labels, z, self.counts)
            self.sign = 1.0 if found.greater_is_better else -1.0
            score = self.sign * found.macro()
            self.known[setting] = -np.inf if np.isnan(score) else score
        return self.known[setting]

    def best(self, strategy):
        """The chosen setting of a strategy."""
        strongest, grid = self.penalties[0], {"penalty": self.penalties}
        if strategy == "pooled":
            return self._climb(Setting(strongest, 1.0, "shared"), grid)
        if strategy == "independent":
            return self._climb(Setting(strongest, 0.0, "free"), grid)
        pooled = self.best("pooled")
        if strategy == "pooled_offset" and not self.carries_offsets:
            return self._climb(pooled._replace(intercept="free"), grid)
        if strategy == "pooled_offset":
            start = pooled._replace(intercept="offset", offset=_OFFSETS[0])
            return self._climb(start, {"offset": _OFFSETS, **grid})
        # strength and correlation trade off: lines alone could end on a ridge
        coarse = [
            Setting(*point)
            for point in product(self.penalties[::2], _CORRELATIONS[::2], _INTERCEPTS)
        ]
        # with correlation 1 shrunken intercepts are all the same, as pooled ones are
        simple = [self.best("independent"), pooled._replace(intercept="shrunk")]
        grid |= {"intercept": _INTERCEPTS, "correlation": _CORRELATIONS}
        return self._climb(max(simple + coarse, key=self.score), grid)

    def _climb(self, at, grid):
        """Line searches, one parameter after the other, until none improves."""
        before = None
        while at != before:
            before = at
            for name, values in grid.items():
                line = [at, *(at._replace(**{name: value}) for value in values)]
                at = max(line, key=self.score)
        return at


def _inner_folds(problem):
    """Rows to fit to and to score on."""
    cv = TaskStratifiedKFold(_INNER_SPLITS, shuffle=True, random_state=0)
    return cv.split(np.arange(len(problem.y)), problem.y, groups=problem.codes)


def _teaches(problem, rows):
    """Whether a classifier can be fitted to some rows: they have two classes."""
    if not is_classifier(problem.model):
        return True
    seen = problem.observed[rows]
    return len(set(problem.y[rows][seen].tolist())) > 1


def _variance(X, weight=None):
    """Summed variance of the features."""
    weight = weight.sum(axis=1) if weight is not None and weight.ndim == 2 else weight
    scaler = StandardScaler(with_mean=False).fit(X, sample_weight=weight)
    total = scaler.var_.sum()
    return float(total) if total > 0 else 1.0


class Part:
    """Rows to train on and rows to predict, ready for many fits.

    Attributes
    ----------
    labels : ndarray of shape (n_labels,)
        Observed labels of the rows to predict, in either layout.
    """

    def __init__(self, problem, train, test, scoring, weight=None):
        self.method = scoring.method(problem.model)
        self.model = clone(problem.model).set_params(
            task_column=None, warm_start=True, **problem.task_weights(train)
        )
        self.X, self.X_test = problem.X[train], problem.X[test]
        self.y = problem.y[train]
        self.ids = [_keyword(problem.ids(rows)) for rows in (train, test)]
        self.weight = {} if weight is None else {"sample_weight": weight[train]}
        self.seen = problem.observed[test]
        self.labels = problem.y[test][self.seen]
        if weight is not None:
            counts = weight[test]
            if self.seen.ndim > counts.ndim:
                counts = np.repeat(counts[:, None], self.seen.shape[1], axis=1)
            self.counts = counts[self.seen]

    def respond(self, setting):
        """Fit the model with this setting and return its response to each label."""
        model = self.model.set_params(**_parameters(self.model, setting))
        X, X_test = _beside(self.X, setting), _beside(self.X_test, setting)
        model.fit(X, self.y, **self.ids[0], **self.weight)
        return of_labels(getattr(model, self.method)(X_test, **self.ids[1]), self.seen)


def _keyword(ids):
    return {} if ids is None else {"task": ids}


def of_labels(z, seen):
    """What a model responds to the labels that were observed."""
    if isinstance(z, list):
        raise ValueError(
            "`scoring` by probabilities or decisions is not possible with a 2-D "
            "`y` of more than two classes: choose one by predictions."
        )
    if z.ndim == 2 and seen.ndim == 1 and z.shape[1] == 2:
        z = z[:, 1]
    return z[seen]


def _parameters(model, setting):
    """The model's parameters for a setting."""
    name, value = strength_of(model, setting)
    if setting.intercept == "offset":
        relation, intercept = SharedMean(1.0 - _TIED), False
    else:
        relation, intercept = SharedMean(setting.correlation), setting.intercept
    return {name: value, "relation": relation, "fit_intercept": intercept}


def strength_of(model, setting):
    """Name and value of the model's strength."""
    if hasattr(model, "alpha"):
        return "alpha", float(setting.penalty)
    return "C", float(1.0 / setting.penalty)


def _beside(X, setting):
    """The features, and for offsets the constant one that carries them."""
    return X if setting.offset is None else AppendConstant(_size(setting)).transform(X)


def _size(setting):
    """Size of the constant feature that carries the offsets.

    With K = (1 - e) I + e' 11' (here e = `_TIED`, e' = 1 - e) a task's own part of a
    coefficient v costs penalty v^2 / e. On a constant feature of size s / sqrt(e) an
    offset d costs penalty d^2 / s^2, and the common level next to nothing.
    """
    return float(np.sqrt(setting.penalty / setting.offset / _TIED))


class AppendConstant(TransformerMixin, BaseEstimator):
    """The features, and after them a constant one.

    Parameters
    ----------
    size : float
        Of the constant.
    """

    def __init__(self, size):
        self.size = size

    def fit(self, X, y=None):
        """Nothing to learn."""
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        """Features and the constant, as an array or a sparse matrix."""
        if not sp.issparse(X):
            X = np.asarray(X if column_names(X) is None else _to_numpy(X), dtype=float)
            return np.hstack([X, np.full((len(X), 1), self.size)])
        return sp.hstack([X, np.full((X.shape[0], 1), self.size)], "csr")

    def get_feature_names_out(self, input_features):
        """Names of the features, and "offset"."""
        return np.array([*input_features, "offset"], dtype=object)


def _to_numpy(frame):
    """Values of a frame; of pyarrow's tables column by column."""
    if hasattr(frame, "to_numpy"):
        return frame.to_numpy()
    return np.column_stack([column.to_numpy() for column in frame.columns])
