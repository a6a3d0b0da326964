"""Levels: the best intercepts where every coefficient is zero.

`tol` is relative to the objective there, the least without features. Regressors solve
for targets from which the levels are taken away: no digits are lost to them, and the
zero model is the best one without features. Classes have no levels to take away, but
the objective at the best ones in closed form.
"""

import numpy as np
from scipy.sparse.linalg import lsqr
from scipy.special import xlogy

from ..losses import Logistic, Softmax, SquaredHinge
from .box import box_dual
from .gap import best_shifts

_LEAST = 1e-3  # of the zero model's objective: where nearly all have the same class


def base_objective(data, loss, form, intercept, zero):
    """The objective that `tol` is relative to, of labels as a solver gets them.

    Parameters
    ----------
    data : TaskData
    loss : object of `mtlearn.losses`, or the name of one of `mtlearn.solvers.box`
    form : ArrowForm, MatrixForm or ComposedForm, or None for tasks of their own
    intercept : {"free", "shrunk", "shared", "none"}
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
    if least is None or intercept == "none" or composed:
        return zero
    classes = data.labels if isinstance(loss, Softmax) else data.labels > 0
    classes = classes.astype(np.intp)
    n_classes = max(getattr(loss, "n_scores", 1), 2)
    n_groups = data.n_tasks if intercept == "free" else 1
    place = data.task_of * n_classes + classes if n_groups > 1 else classes
    counts = np.bincount(place, data.weights, n_groups * n_classes)
    found = least(counts.reshape(n_groups, n_classes))
    return max(min(float(found), zero), _LEAST * zero)


def _of_counts(loss):
    """The least loss of constant scores by the weights of the classes, or None."""
    if loss == "hinge":
        return lambda counts: 2.0 * np.sum(counts.min(axis=1))
    if loss == "squared_hinge" or isinstance(loss, SquaredHinge):
        return lambda counts: np.sum(
            4.0 * counts.prod(axis=1) / np.maximum(counts.sum(axis=1), 1e-300)
        )
    if isinstance(loss, (Logistic, Softmax)):
        return lambda counts: (
            np.sum(xlogy(counts.sum(axis=1), counts.sum(axis=1)))
            - np.sum(xlogy(counts, counts))
        )
    return None


def best_levels(data, form, intercept, margin=None):
    """Intercepts that fit the targets best without features, obeying the form's rules.

    Shrunken intercepts are at the best common one: their deviations are penalised, as
    coefficients are.

    Parameters
    ----------
    data : TaskData
    form : ArrowForm, MatrixForm or ComposedForm
    intercept : {"free", "shrunk", "shared", "none"}
    margin : (loss, epsilon), default=None
        A loss of `mtlearn.solvers.box`; by default the squared one. Where tasks are
        made of others the levels are those of the squared loss, whatever it is.

    Returns
    -------
    levels : ndarray of shape (n_tasks,)
        Zero without intercepts, and where a task of a free one has no labels.
    """
    if intercept == "none" or not len(data.rows):
        return np.zeros(data.n_tasks)
    free = intercept == "free"
    starts = data.starts if free else data.starts[[0, -1]]
    means = _means(data.labels, data.weights, starts)
    levels = np.broadcast_to(means, data.n_tasks)
    if form.composed:
        return _by_rules(data, form, intercept, levels)
    if margin is not None and margin != ("squared_epsilon_insensitive", 0.0):
        left = data.labels - np.repeat(means, np.diff(starts))
        dual = box_dual(margin[0], left, data.weights, margin[1])
        levels = levels + best_shifts(dual, starts)
    return levels


def _means(y, weight, starts):
    """Weighted mean of every stretch of labels; of equal ones, that number exactly."""
    sizes = np.diff(starts)
    filled = np.flatnonzero(sizes > 0)
    first = starts[:-1][filled]
    base = np.zeros(len(sizes))
    base[filled] = y[first]
    rest = weight * (y - np.repeat(base, sizes))
    base[filled] += np.add.reduceat(rest, first) / np.add.reduceat(weight, first)
    return base


def _by_rules(data, form, intercept, levels):
    """Levels of which a composed task has the combination of its parts'."""
    rules = form.intercept_map(intercept)
    root = np.sqrt(data.sums(data.weights))
    own = levels[form.free] if intercept == "free" else levels[:1]
    mean = _means(data.labels, data.weights, data.starts)
    short = root * (mean - rules @ own)
    return rules @ (own + lsqr(rules.multiply(root[:, None]).tocsr(), short)[0])
