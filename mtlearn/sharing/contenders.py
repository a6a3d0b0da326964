"""The strategies of a comparison: which there are, and how each is fitted."""

import inspect
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline

from ..additive import MultiTaskAdditiveRegressor
from ..additive_classifier import MultiTaskAdditiveClassifier
from ..fitting.grid import GridFit
from ..learned import MultiTaskBayesianRidge
from ..learned_classifier import MultiTaskBayesianClassifier
from ..per_task import PerTaskClassifier, PerTaskRegressor, PerTaskRegressorCV
from ..per_task_classes import PerTaskClassifierCV
from ..problem.ids import shorten
from .search import search

STRATEGIES = (
    "multitask",
    "learned",
    "additive",
    "pooled",
    "pooled_offset",
    "independent",
)
SIMPLEST_FIRST = (
    "pooled",
    "pooled_offset",
    "independent",
    "learned",
    "multitask",
    "additive",
)
LABELS = {
    "multitask": "one strength of sharing for all coefficients",
    "learned": "learned strengths of sharing",
    "additive": "curves with learned strengths of sharing",
    "pooled": "one model for all tasks",
    "pooled_offset": "one model with an offset for each task",
    "independent": "a model of its own for each task",
}

# whether the labels are classes: models with nothing to choose
_LEARNED = {False: MultiTaskBayesianRidge, True: MultiTaskBayesianClassifier}
_ADDITIVE = {False: MultiTaskAdditiveRegressor, True: MultiTaskAdditiveClassifier}
_PLAIN = {False: PerTaskRegressor, True: PerTaskClassifier}
_GRIDS = {False: PerTaskRegressorCV, True: PerTaskClassifierCV}

# what a grid chooses, whatever the given estimator says
_CHOSEN = ("relation", "fit_intercept", "intercept_strength", "warm_start")
_FOLDS = 5  # of that choice, if there are as many rows
# somewhat coarser grids than the defaults
_COARSE = {False: {"alphas": 30}, True: {"Cs": 6}}
_SEARCH = {
    False: {},
    True: {"correlations": (0.0, 0.5, 0.9, 0.99), "fit_intercept": ["free", "shrunk"]},
}
_MOST_WORK = 5e8  # tasks times cubed columns, up to which learned models are affordable
_MOST_FEATURES = 1000  # of which a dense square matrix is affordable
_CURVE = 7  # columns of a curve
_FEW_VALUES = 5  # of a feature, up to which its curve costs next to nothing
_SHOWN = 1000  # rows by which that is guessed


@dataclass(frozen=True)
class Contender:
    """A strategy as an estimator that chooses for itself what there is to choose."""

    estimator: object

    def fit(self, X, y, task=None, sample_weight=None, folds=None, **changed):
        """A fitted clone, some of its parameters changed; it may choose by `folds`."""
        model = clone(self.estimator)
        names = model.get_params(deep=False)
        model.set_params(**{k: v for k, v in changed.items() if k in names})
        given = getattr(model, "cv", None)
        if isinstance(model, GridFit) and given is None:
            model.set_params(cv=folds or max(2, min(_FOLDS, len(y))))
        extra = {"task": task, "sample_weight": sample_weight}
        last, prefix = _last_step(model)
        extra = {
            prefix + name: value
            for name, value in extra.items()
            if value is not None and _takes(last.fit, name)
        }
        model.fit(X, y, **extra)
        # these folds are of these rows, and nothing for the next fit
        if isinstance(model, GridFit):
            model.set_params(cv=given)
        return model


@dataclass(frozen=True)
class Searched(Contender):
    """A strategy whose strengths are searched from fit to fit, whatever the loss.

    `last` holds the last search, for all strategies of one model.
    """

    strategy: str
    scoring: object
    last: dict

    def fit(self, X, y, task=None, sample_weight=None, folds=None, **changed):
        """The estimator with the strengths that inner folds prefer, fitted."""
        model = clone(self.estimator).set_params(**changed)
        data = X, y, task, sample_weight
        return search(model, self.strategy, self.scoring, data, folds, self.last)


def _last_step(model):
    """What gets the keywords of a fit, and the prefix by which it does."""
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return last, f"{name}__"
    return model, ""


def _takes(method, name):
    return name in inspect.signature(method).parameters


def call(model, method, X, task=None, **keywords):
    """Call a method of a fitted model, with the ids if it takes any."""
    last, _ = _last_step(model)
    if task is None or not _takes(getattr(last, method), "task"):
        return getattr(model, method)(X, **keywords)
    if isinstance(model, Pipeline):
        # of its methods only `predict` passes keywords on without metadata routing
        X = model[:-1].transform(X) if len(model) > 1 else X
    return getattr(last, method)(X, task=task, **keywords)


# ---------------------------------------------------------------- which there are


def base_model(model):
    """The estimator whose strengths are searched: the given one, or of its kind."""
    if not isinstance(model, (*_LEARNED.values(), *_GRIDS.values())):
        return model
    names = ("task_column", "handle_unknown", "task_weight")
    given = model.get_params(deep=False)
    kind = _PLAIN[is_classifier(model)]
    return kind(**{name: given[name] for name in names if name in given})


def make_contenders(model, scoring, strategies=None, n_tasks=1, X=None):
    """The strategies for a kind of model.

    Parameters
    ----------
    model : estimator
        As given by the user, without the steps before it.
    scoring : Scoring
    strategies : sequence of str, default=None
        Names; None: all that the model's kind has and that are affordable.
    n_tasks : int, default=1
    X : ndarray or sparse matrix, default=None
        Features, by whose number and kind costs are guessed.

    Returns
    -------
    dict of Contender
        In the order of `STRATEGIES`.
    """
    every = _Maker(model, scoring, n_tasks, X)
    if strategies is None:
        chosen = [
            name for name in STRATEGIES if every.has(name) and every.affords(name)
        ]
    else:
        chosen = _check_strategies(strategies)
        missing = [
            name for name in STRATEGIES if name in chosen and not every.has(name)
        ]
        if missing:
            raise ValueError(
                f"`strategies`: there is no {missing[0]!r} for "
                f"{type(model).__name__} with `constraints`, which learned models do "
                "not obey."
            )
        # what the tasks gain is measured against it
        chosen = {*chosen, "independent"}
    return {name: every.make(name) for name in STRATEGIES if name in chosen}


def _check_strategies(strategies):
    if isinstance(strategies, str) or not hasattr(strategies, "__iter__"):
        raise TypeError(
            f"`strategies` must be a sequence of names, got {strategies!r}."
        )
    chosen = list(strategies)
    unknown = [name for name in chosen if name not in STRATEGIES]
    if unknown:
        raise ValueError(
            f"`strategies` must be among {shorten(STRATEGIES)}, got {unknown[0]!r}."
        )
    if not set(chosen) - {"independent"}:
        raise ValueError(
            "`strategies` must name one beside 'independent' to compare with it, got "
            f"{shorten(chosen)}."
        )
    return set(chosen)


class _Maker:
    """Makes the strategies for one model."""

    def __init__(self, model, scoring, n_tasks, X):
        self.given, self.scoring, self.n_tasks = model, scoring, n_tasks
        self.X, self.sparse = X, sp.issparse(X)
        self.n_features = 0 if X is None else X.shape[1]
        self.base, self.classes = base_model(model), is_classifier(model)
        self.bound = bool(getattr(model, "constraints", None))
        self.last = {}

    def has(self, name):
        """Whether there is such a strategy."""
        return name not in ("learned", "additive") or not self.bound

    def affords(self, name):
        """Whether a strategy is worth its time unless it is asked for."""
        if name not in ("learned", "additive"):
            return True
        if name == "additive" and self.sparse:
            return False
        columns = self.n_features
        if name == "additive" and self.n_tasks * float(columns) ** 3 <= _MOST_WORK:
            columns += (_CURVE - 1) * self._curves()
        return self.n_tasks * float(columns) ** 3 <= _MOST_WORK

    def _curves(self):
        """Features that have more than a few values, as far as some rows show."""
        X = [] if self.X is None else self.X[:_SHOWN].T
        return sum(len(np.unique(column)) > _FEW_VALUES for column in X)

    def make(self, name):
        """The contender of that name."""
        if name == "additive":
            return Contender(self._of(_ADDITIVE[self.classes]))
        if name == "learned":
            return Contender(self._of(_LEARNED[self.classes]))
        if name == "pooled_offset" and self._random_intercepts():
            return Contender(_LEARNED[self.classes]("intercept", **self._common()))
        has_grid = isinstance(self.base, _PLAIN[self.classes]) and not self.bound
        if has_grid and name != "pooled_offset":
            return Contender(self._cross_validated(name))
        return Searched(self.base, name, self.scoring, self.last)

    def _of(self, kind):
        """A learned model of that kind: the given one if it is."""
        if type(self.given) is kind:
            return self.given
        return kind(**self._common())

    def _common(self):
        return {
            "task_column": self.base.task_column,
            "handle_unknown": self.base.handle_unknown,
        }

    def _random_intercepts(self):
        """Whether a model with learned strengths has the loss of the given one."""
        plain = type(self.base) in _PLAIN.values() and not self.bound
        plain = plain and self.base.task_weight is None
        return plain and self.n_features <= _MOST_FEATURES

    def _cross_validated(self, name):
        """The model whose grid costs about as much as a few fits."""
        grid = _GRIDS[self.classes]
        if name == "multitask" and isinstance(self.given, grid):
            return self.given
        ours, theirs = (one.get_params(deep=False) for one in (self.base, grid()))
        kept = {k: v for k, v in ours.items() if k in theirs and k not in _CHOSEN}
        kept |= _COARSE[self.classes]
        settings = {
            "multitask": _SEARCH[self.classes],
            "pooled": {"relation": "pooled", "fit_intercept": "shared"},
            "independent": {"relation": "independent", "fit_intercept": "free"},
        }
        return grid(**settings[name], **kept)
