"""Levels: the best intercepts where every coefficient is zero.

Regressors solve for targets from which they are taken away: no digits are lost to a
level, and the zero model is then the best one without features, to which `tol` is
relative.
"""

import numpy as np
from scipy.sparse.linalg import lsqr

from .box import box_dual
from .gap import best_shifts


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
