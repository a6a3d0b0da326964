"""The models of the command `fit`, of rows in memory or in batches."""

import numpy as np
from sklearn.pipeline import Pipeline

from .. import (
    MultiTaskAdditiveClassifier,
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    PerTaskClassifier,
    PerTaskClassifierCV,
    PerTaskRegressor,
    PerTaskRegressorCV,
    TaskMoments,
)
from ..compose.columns import CategoryColumn
from .batches import stream

_OF_NUMBERS = {
    "additive": MultiTaskAdditiveRegressor,
    "bayesian": MultiTaskBayesianRidge,
    "pertask": PerTaskRegressorCV,
}
_OF_CLASSES = {
    "additive": MultiTaskAdditiveClassifier,
    "bayesian": MultiTaskBayesianClassifier,
    "pertask": PerTaskClassifierCV,
}
MODELS = tuple(_OF_NUMBERS)

_TARGET = "(target)"  # a name that no column of a prepared table has
_FOLDS = 5
_KNOTS = 6  # inner ones of a curve


def categories_of(name):
    """How the model of that name takes categories."""
    return "keep" if name == "additive" else "onehot"


def make_pipeline(table, name):
    """The steps of a model, unfitted.

    Parameters
    ----------
    table : Table
    name : str
        One of `MODELS`.

    Returns
    -------
    Pipeline
    """
    kinds = _OF_CLASSES if table.target.classes else _OF_NUMBERS
    steps = [
        ("table", table.make_preparer(categories_of(name))),
        (name, kinds[name](task_column=table.task)),
    ]
    return Pipeline(steps)


def to_compare(table):
    """The pipeline whose model `compare_sharing` replaces by its strategies."""
    model = PerTaskClassifier if table.target.classes else PerTaskRegressor
    steps = [
        ("table", table.make_preparer()),
        ("model", model(task_column=table.task)),
    ]
    return Pipeline(steps)


def fit_batches(source, table, name):
    """Fit a model to all rows of a file that are more than memory.

    Parameters
    ----------
    source : Source
    table : Table
        Of a sample, by which the columns are made ready and curves get their knots.
    name : str
        One of `MODELS`.

    Returns
    -------
    Pipeline
        Fitted.
    """
    if table.target.classes:
        raise ValueError(
            f"{source.path}: classes cannot be learned from batches, and not all rows "
            "fit into memory: raise --memory, fit to a sample of the rows, or use Dask "
            "(see the guide, Streams)."
        )
    (first, preparer), (_, model) = make_pipeline(table, name).steps
    sample = preparer.fit_transform(table.X)
    if name == "additive":
        knots = find_knots(preparer, sample)
        model.set_params(knots=knots, interactions=False)
        total = None
        for X, y in stream(source, table):
            part = model.term_moments(preparer.transform(X), y)
            total = part if total is None else total + part
    else:
        batches = (
            preparer.transform(X).assign(**{_TARGET: y})
            for X, y in stream(source, table)
        )
        folds = _FOLDS if name == "pertask" else None
        total = TaskMoments.from_batches(
            batches, target=_TARGET, task=table.task, folds=folds
        )
    return Pipeline([(first, preparer), (name, model.fit_moments(total))])


def find_knots(preparer, sample):
    """Knots of every feature at quantiles of a sample; levels of the categories.

    Parameters
    ----------
    preparer : TablePreparer
        Fitted.
    sample : DataFrame
        Rows that are ready.

    Returns
    -------
    dict
        The parameter `knots` of an additive model.
    """
    knots = {}
    for column in preparer.columns_.values():
        for name in column.names():
            if isinstance(column, CategoryColumn):
                knots[name] = column.all_levels()
                continue
            values = np.unique(sample[name])
            at = np.quantile(values, np.linspace(0.0, 1.0, _KNOTS + 2))
            knots[name] = _apart(values if len(values) < len(at) else at)
    return knots


def _apart(knots):
    """Those that are not all but equal to the one before, in a list."""
    least = 1e-3 * (knots[-1] - knots[0]) / len(knots)
    inner = [knots[0]]
    for knot in knots[1:-1]:
        if knot - inner[-1] > least and knots[-1] - knot > least:
            inner.append(knot)
    return [float(knot) for knot in [*inner, knots[-1]]]
