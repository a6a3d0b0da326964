"""The objective that `tol` is relative to: the least without features."""

import numpy as np
from scipy.special import xlogy

from .losses import Logistic, Softmax, SquaredHinge
from .margins import MarginLoss

_LEAST = 1e-3  # of the zero model's objective: where nearly all have the same class


def base_objective(data, loss, form, intercept, zero):
    """The objective that `tol` is relative to, of labels as a solver gets them.

    Parameters
    ----------
    data : TaskData
    loss : MarginLoss or object of `mtlearn.problem.losses`
    form : ArrowForm, MatrixForm or ComposedForm
        Or None for tasks of their own.
    intercept : Intercepts
    zero : float
        The objective of the zero model: the answer for numbers, whose levels have been
        taken away, without intercepts, and where those of tasks follow from others.

    Returns
    -------
    objective : float
        For classes that of the best intercepts alone, and never less than a thousandth
        of the zero model's. Shrunken ones are at the best common one.
    """
    least = _of_counts(loss)
    composed = form is not None and form.composed
    if least is None or not intercept.present or composed:
        return zero
    counts = _masses(data, loss)
    if not intercept.own:
        counts = counts.sum(axis=0, keepdims=True)
    found = least(counts)
    return max(min(float(found), zero), _LEAST * zero)


def _masses(data, loss):
    """Weights of the classes in each task, (n_tasks, n_classes)."""
    n_classes = max(getattr(loss, "n_scores", 1), 2)
    codes, size = isinstance(loss, Softmax), data.n_tasks * n_classes
    counts = np.zeros(size)
    for tasks, labels, weight in data.pieces():
        classes = (labels if codes else labels > 0).astype(np.intp)
        counts += np.bincount(tasks * n_classes + classes, weight, size)
    counts = counts.reshape(data.n_tasks, n_classes)
    return counts if data.task_weight is None else counts * data.task_weight[:, None]


def _of_counts(loss):
    """The least loss of constant scores by the weights of the classes, or None."""
    of_classes = isinstance(loss, MarginLoss) and loss.of_classes
    if of_classes and not loss.squared:
        return lambda counts: 2.0 * np.sum(counts.min(axis=1))
    if of_classes or isinstance(loss, SquaredHinge):
        return lambda counts: np.sum(
            4.0 * counts.prod(axis=1) / np.maximum(counts.sum(axis=1), 1e-300)
        )
    if isinstance(loss, (Logistic, Softmax)):
        return lambda counts: (
            np.sum(xlogy(counts.sum(axis=1), counts.sum(axis=1)))
            - np.sum(xlogy(counts, counts))
        )
    return None
