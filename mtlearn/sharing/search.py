"""Strengths and correlations of a strategy, chosen by cross-validation."""

import warnings
from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from ..model_selection import TaskStratifiedKFold
from ..relations import SharedMean

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


class Search:
    """Cross-validation inside one training fold; a point is scored once."""

    def __init__(self, problem, train, whole, scoring):
        self.scoring, self.known = scoring, {}
        model = problem.model
        linear = getattr(model, "kernel", "linear") == "linear"
        self.carries_offsets = linear and not getattr(model, "constraints", None)
        variance = whole.variance()
        self.penalties = tuple(variance * penalty for penalty in _PENALTIES)
        self.parts = [
            Part(problem, train[inner], train[outer], scoring)
            for inner, outer in _inner_folds(problem, train)
        ]
        self.labels = np.concatenate([part.labels for part in self.parts])

    def score(self, setting):
        """Score of the inner held-out rows, the greater the better."""
        if setting not in self.known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                z = np.concatenate([part.respond(setting) for part in self.parts])
                found = self.scoring.overall(self.labels, z)
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


def _inner_folds(problem, train):
    """Positions in `train` to fit to and to score on."""
    cv = TaskStratifiedKFold(_INNER_SPLITS, shuffle=True, random_state=0)
    groups = None if problem.codes is None else problem.codes[train]
    return cv.split(train, problem.y[train], groups=groups)


class Part:
    """Rows to train on and rows to predict, ready for many fits.

    Attributes
    ----------
    labels : ndarray of shape (n_labels,)
        Observed labels of the rows to predict, in either layout.
    codes : ndarray of shape (n_labels,), int
        Their tasks.
    """

    def __init__(self, problem, train, test, scoring):
        self.methods = scoring.methods
        self.model = clone(problem.model).set_params(task_column=None, warm_start=True)
        if problem.task_weight is not None:
            self.model.set_params(task_weight=problem.task_weight[problem.among(train)])
        self.X, self.X_test = problem.features(train, test)
        self.y = problem.y[train]
        self.task, self.task_test = problem.task(train), problem.task(test)
        self.seen = problem.observed[test]
        self.labels = problem.y[test][self.seen]
        if problem.codes is None:
            self.codes = np.nonzero(self.seen)[1]
        else:
            self.codes = problem.codes[test]

    def variance(self):
        """Summed variance of the features, of the rows to train on."""
        total = StandardScaler(with_mean=False).fit(self.X).var_.sum()
        return float(total) if total > 0 else 1.0

    def respond(self, setting):
        """Fit the model with this setting and return its response to each label."""
        model = self.model.set_params(**_parameters(self.model, setting))
        X, X_test = _beside(self.X, setting), _beside(self.X_test, setting)
        model.fit(X, self.y, **self.task)
        z = getattr(model, self.methods[0])(X_test, **self.task_test)
        if isinstance(z, list):
            raise ValueError(
                "`scoring` by probabilities or decisions is not possible with a 2-D "
                "`y` of more than two classes: choose one by predictions."
            )
        if z.ndim == 2 and self.seen.ndim == 1 and z.shape[1] == 2:
            z = z[:, 1]
        return z[self.seen]


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
    """The features, and for offsets the constant one that carries them.

    With K = (1 - e) I + e' 11' (here e = `_TIED`, e' = 1 - e) a task's own part of a
    coefficient v costs penalty v^2 / e. On a constant feature of size s / sqrt(e) an
    offset d costs penalty d^2 / s^2, and the common level next to nothing.
    """
    if setting.offset is None:
        return X
    size = np.sqrt(setting.penalty / setting.offset / _TIED)
    column = np.full((X.shape[0], 1), size)
    return sp.hstack([X, column], "csr") if sp.issparse(X) else np.hstack([X, column])
