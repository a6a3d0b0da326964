"""Strategies fitted to training parts, and what they respond to held-out labels."""

import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from .contenders import call
from .paired import HeldOut
from .search import of_labels

_LEAST_INNER = 2  # folds that are enough to choose by
_ALIKE = 0.5  # of the folds' overlap, what shows in the variance of a mean


def held_out(problem, contenders, scoring, folds, progress=None, sample_weight=None):
    """Fit every strategy to every training part, and collect the responses.

    Parameters
    ----------
    problem : Problem
    contenders : dict of Contender
    scoring : Scoring
    folds : list of (train, test)
    progress : callable, default=None
    sample_weight : ndarray, default=None

    Returns
    -------
    held : HeldOut
    parameters : dict of ndarray
        A column each of what was chosen; a row for each fold and strategy.
    """
    chosen, parts = [], []
    strength = "C" if hasattr(problem.model, "C") else "alpha"
    with quietly():
        for fold, (train, test) in enumerate(folds):
            part = Fold(problem, train, test, sample_weight)
            part.inner = inner_folds(folds, train, len(problem.y))
            responses = {}
            for name, contender in contenders.items():
                model = part.fit(contender)
                chosen.append(
                    {"fold": fold, "strategy": name, **_strengths(model, strength)}
                )
                responses[name] = part.response(model, scoring)
                if progress is not None:
                    progress(len(chosen), len(folds) * len(contenders))
            parts.append((part, responses))
    responses = {
        name: np.concatenate([found[name] for _, found in parts]) for name in contenders
    }
    held = HeldOut(
        scoring,
        np.concatenate([part.labels for part, _ in parts]),
        np.concatenate([part.codes for part, _ in parts]),
        np.concatenate([part.numbers for part, _ in parts]),
        responses,
        len(problem.tasks),
        _inflation(folds),
        None if sample_weight is None else np.concatenate([p.counts for p, _ in parts]),
        np.repeat(np.arange(len(parts)), [len(part.labels) for part, _ in parts]),
    )
    return held, {key: np.array([row[key] for row in chosen]) for key in chosen[0]}


@contextmanager
def quietly():
    """Fits to parts of the rows, which say less than the one that is used."""
    with warnings.catch_warnings():
        # a task whose rows are all held out is predicted by the shared model
        warnings.filterwarnings("ignore", ".* have no labels in this fit", UserWarning)
        # models are compared as they are; the one that is used says so itself
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def inner_folds(folds, rows, n_rows):
    """Folds of some rows, for what is chosen inside; None where it may choose its own.

    They follow the outer folds: rows that are held out together there are so here.

    Parameters
    ----------
    folds : list of (train, test)
        The outer ones.
    rows : ndarray of int
        Rows to train on.
    n_rows : int
        Of the data.
    """
    fold = np.full(n_rows, -1)
    for k, (_, test) in enumerate(folds):
        if (fold[test] >= 0).any():
            return None
        fold[test] = k
    fold = fold[rows]
    used = np.unique(fold)
    if len(used) < _LEAST_INNER or used[0] < 0:
        return None
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in used]


class Fold:
    """Rows to train on, and the labels of those that are held out.

    labels, codes, numbers (n_labels,): observed labels, their tasks, and which labels
    of the data they are.
    """

    def __init__(self, problem, train, test, sample_weight=None):
        self.X, self.X_test = problem.split(train, test)
        self.y = problem.y[train]
        self.task, self.task_test = problem.keyword(train), problem.keyword(test)
        self.weight = None if sample_weight is None else sample_weight[train]
        # a task may have all its rows in the test part; that must not end it all
        self.changed = {"handle_unknown": "shared", **problem.task_weights(train)}
        self.seen = problem.observed[test]
        self.labels = problem.y[test][self.seen]
        if problem.codes is None:
            row, self.codes = np.nonzero(self.seen)
            self.numbers = test[row] * len(problem.tasks) + self.codes
        else:
            row, self.codes, self.numbers = slice(None), problem.codes[test], test
        if sample_weight is not None:
            counts = sample_weight[test]
            self.counts = counts[self.seen] if counts.ndim == 2 else counts[row]

    def fit(self, contender):
        """The contender, fitted to the rows to train on."""
        how = {"folds": self.inner, **self.changed}
        return contender.fit(self.X, self.y, self.task, self.weight, **how)

    def response(self, model, scoring):
        """What the metric takes, for every held-out label."""
        z = call(model, scoring.method(model), self.X_test, self.task_test)
        return of_labels(z, self.seen)


def _inflation(folds):
    """By which held-out means vary more than if the folds' models were independent.

    The models of two folds share most of their rows. Nadeau and Bengio count with one
    and the number of folds times the rows to test over those to train on; simulations
    with known truth show about half of what that adds.
    """
    shares = [len(test) / max(len(train), 1) for train, test in folds]
    return 1.0 + _ALIKE * float(np.sum(shares))


def _strengths(model, name):
    """What a fitted strategy chose; NaN for what it does not have."""
    model = model[-1] if isinstance(model, Pipeline) else model
    strength = getattr(model, f"{name}_", getattr(model, name, np.nan))
    correlation = getattr(model, "correlation_", None)
    if correlation is None:
        relation = getattr(model, "relation", None)
        alone = isinstance(relation, str) and relation == "independent"
        correlation = 0.0 if alone else getattr(relation, "correlation", np.nan)
    return {
        name: strength,
        "correlation": correlation,
        "fit_intercept": str(
            getattr(model, "fit_intercept_", getattr(model, "fit_intercept", ""))
        ),
        "intercept_strength": _number(getattr(model, "intercept_strength_", None)),
    }


def _number(value):
    """NaN for None."""
    return np.nan if value is None else float(value)
