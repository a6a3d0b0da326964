"""Levels: the best intercepts where every coefficient is zero.

`tol` is relative to the objective there, the least without features. Regressors solve
for targets from which the levels are taken away: no digits are lost to them, and the
zero model is the best one without features. Classes have no levels to take away, but
the objective at the best ones in closed form.
"""

import numpy as np
from scipy.sparse.linalg import lsqr

from .gap import best_shifts, excess, zero_objective


def best_levels(data, form, intercept, margin=None):
    """Intercepts that fit the targets best without features, obeying the form's rules.

    Shrunken intercepts are at the best common one: their deviations are penalised, as
    coefficients are.

    Parameters
    ----------
    data : TaskData
    form : ArrowForm, MatrixForm or ComposedForm
    intercept : Intercepts
    margin : MarginLoss, default=None
        By default the loss is the squared one. Where tasks are made of others the
        levels are those of the squared loss, whatever it is; with squared tubes means
        will do where a better level takes little away.

    Returns
    -------
    levels : ndarray of shape (n_tasks,)
        Zero without intercepts, and where a task of a free one has no labels.
    """
    if not intercept.present:
        return np.zeros(data.n_tasks)
    levels = mean_levels(*_means(data), form, intercept)
    if form.composed:
        return levels
    if margin is not None and not margin.is_square:
        starts = intercept.stretches(data.starts)
        left = data.labels - np.repeat(levels, data.sizes)
        if not _suits(margin, left, data.weights, starts):
            levels = levels + _shifts(margin.box(left, data.weights), starts)
    return levels


def mean_levels(mass, means, form, intercept):
    """The best levels for the squared loss, by weight and mean of the tasks' labels."""
    if not intercept.present:
        return np.zeros(len(means))
    levels = intercept.best(means, mass)
    return _by_rules(form, intercept, levels, mass, means) if form.composed else levels


def _shifts(dual, starts):
    """The best levels of stretches of rows; zero where nothing is lost by that."""
    zeros = np.zeros_like(dual.linear)
    b = best_shifts(dual, zeros, starts)
    value, _ = excess(dual, np.repeat(b, np.diff(starts)), zeros)
    return b if value < zero_objective(dual) else 0.0 * b


def _suits(margin, left, weight, starts):
    """Whether zero is about as good as the best level of every stretch of labels."""
    if not margin.squared:
        return False
    loss = margin.smooth()
    value, g, h = loss.evaluate(left, np.zeros_like(left), weight)
    first = starts[:-1][np.diff(starts) > 0]
    g, h = np.add.reduceat(g, first), np.add.reduceat(h, first)
    # to second order, what the best level would take away
    return np.sum(g * g / np.maximum(h, 1e-300)) <= 0.1 * value


def _means(data):
    """Weight and weighted mean of each task's labels; of equal ones, that number."""
    y, weight = data.y, data.sample_weight
    if data.wide or data.n_tasks == 1:
        # a single task is a table of one column, to the last bit
        y = y if data.wide else y[:, None]
        mass, sums, origin = _column_sums(
            y, data.observed if data.wide else True, weight
        )
    else:
        origin = y[0]
        rest = y - origin if weight is None else weight * (y - origin)
        mass = np.bincount(data.codes, weight, data.n_tasks).astype(float)
        sums = np.bincount(data.codes, rest, data.n_tasks)
    filled = mass > 0
    means = np.zeros(data.n_tasks)
    means[filled] = origin + sums[filled] / mass[filled]
    return mass if data.task_weight is None else mass * data.task_weight, means


def _column_sums(y, seen, weight):
    """Weight of each column of a table, and its sum above an origin, with that."""
    seen = np.broadcast_to(seen, y.shape)
    origin = y.flat[np.argmax(seen)]
    # one memory order, so that rounding does not depend on the container
    rest = np.subtract(y, origin, order="C")
    if not seen.all():
        rest[~seen] = 0.0
    if weight is None:
        return np.count_nonzero(seen, axis=0).astype(float), rest.sum(axis=0), origin
    weight = weight[:, None] if weight.ndim == 1 else weight
    rest *= weight
    return (weight * seen).sum(axis=0), rest.sum(axis=0), origin


def _by_rules(form, intercept, levels, mass, means):
    """Levels of which a composed task has the combination of its parts'."""
    rules = form.intercept_map(intercept)
    root = np.sqrt(mass)
    own = levels[form.free] if intercept.own else levels[:1]
    short = root * (means - rules @ own)
    return rules @ (own + lsqr(rules.multiply(root[:, None]).tocsr(), short)[0])
