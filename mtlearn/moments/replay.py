"""Rows that have given moments: for solvers that want rows where moments are kept."""

import numpy as np

from ..problem.tasks import TaskData

_DEPENDENT = 1e-14  # eigenvalue of the correlations that is rounding, for each feature


def replay(moments):
    """Make rows of the same moments, two for each feature of a task and two more.

    Every squared loss has the same value on them as on the rows that the moments come
    from, but for rounding. Directions that those rows leave open are open here.

    Parameters
    ----------
    moments : Moments

    Returns
    -------
    TaskData
        In the wide layout where all tasks share their rows, else in the long one.
    """
    if len(moments.weight) == 1 and moments.n_tasks > 1:
        return _shared(moments)
    moments = moments.expand()
    filled = np.flatnonzero(moments.weight > 0)
    away, moved, left = _spread(moments, moments.cross[:, None])
    pairs = moments.n_features + 1
    apart = np.sqrt(pairs / moments.weight[filled])[:, None]
    X = _pairs(moments.mean[filled, None], apart[..., None] * away[filled], 1)
    aim = np.concatenate([moved[filled, 0], np.sqrt(left[filled])], axis=1)
    y = _pairs(moments.y_mean[filled, None], apart * aim, 1)
    size = 2 * pairs
    return TaskData(
        X.reshape(-1, moments.n_features),
        y.ravel(),
        moments.n_tasks,
        np.repeat(filled, size),
        np.repeat(moments.weight[filled] / size, size),
        _task_weight(moments),
    )


def _shared(moments):
    """Rows that all tasks have in common."""
    away, moved, left = _spread(moments, moments.cross[None])
    pairs = moments.n_features + 1
    apart = np.sqrt(pairs / moments.weight[0])
    X = _pairs(moments.mean, apart * away[0], 0)
    aim = np.vstack([moved[0].T, np.sqrt(left[0])])
    Y = _pairs(moments.y_mean[None], apart * aim, 0)
    weight = np.full(len(X), moments.weight[0] / len(X))
    return TaskData(X, Y, moments.n_tasks, None, weight, _task_weight(moments))


def _spread(moments, cross):
    """Directions whose squares add up to each Gram, and what labels do along them.

    Returns
    -------
    away : ndarray of shape (n_groups, n_features + 1, n_features)
        The last one, without features, is for what is left of the labels.
    moved : ndarray of shape (n_groups, n_labels, n_features)
    left : ndarray of shape (n_groups, n_labels)
    """
    d = moments.n_features
    size = np.sqrt(np.einsum("ujj->uj", moments.gram))
    unit = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    # equal units, so that a small feature is not taken for none
    values, vectors = np.linalg.eigh(unit[:, :, None] * moments.gram * unit[:, None, :])
    seen = values > _DEPENDENT * max(d, 1)
    root = np.sqrt(np.where(seen, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=seen)
    away = np.zeros((len(root), d + 1, d))
    away[:, :d] = (root[:, None, :] * vectors).transpose(0, 2, 1) * size[:, None, :]
    moved = ((cross * unit[:, None, :]) @ vectors) * inverse[:, None, :]
    squares = moments.y_square.reshape(moved.shape[:2])
    return away, moved, np.maximum(squares - np.sum(moved**2, axis=2), 0.0)


def _pairs(mean, away, axis):
    """Rows on both sides of a mean."""
    return np.concatenate([mean + away, mean - away], axis=axis)


def _task_weight(moments):
    return None if np.all(moments.scale == 1.0) else moments.scale
