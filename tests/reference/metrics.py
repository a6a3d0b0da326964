"""Scores, in loops."""

import numpy as np


def arrmse(Y, Y_pred, train_mean=None):
    """aRRMSE = mean over targets of sqrt(SSE_t / SSE_t of the training mean).

    Unobserved (NaN) entries of ``Y`` are left out, and so are targets without any.
    ``train_mean`` has one entry per target; by default the mean of ``Y`` itself.
    """
    ratios = []
    for t in range(Y.shape[1]):
        observed = [i for i in range(len(Y)) if not np.isnan(Y[i, t])]
        if not observed:
            continue
        if train_mean is None:
            mean = sum(Y[i, t] for i in observed) / len(observed)
        else:
            mean = train_mean[t]
        model = sum((Y[i, t] - Y_pred[i, t]) ** 2 for i in observed)
        constant = sum((Y[i, t] - mean) ** 2 for i in observed)
        ratios.append(np.sqrt(model / constant))
    return sum(ratios) / len(ratios)


def within_task_r2(y, y_pred, task, sample_weight=None):
    """1 - sum_t sum_i s_i (y - y_pred)^2 / sum_t sum_i s_i (y - ybar_t)^2.

    ybar_t is the weighted mean of the labels of task t that are scored.
    """
    s = np.ones(len(y)) if sample_weight is None else sample_weight
    residual, total = 0.0, 0.0
    for name in set(task):
        rows = [i for i in range(len(y)) if task[i] == name]
        mean = sum(s[i] * y[i] for i in rows) / sum(s[i] for i in rows)
        residual += sum(s[i] * (y[i] - y_pred[i]) ** 2 for i in rows)
        total += sum(s[i] * (y[i] - mean) ** 2 for i in rows)
    return 1 - residual / total


def scores_by_task(metric, y, y_pred, task):
    """{id: metric(y, y_pred) over the rows of that task}."""
    scores = {}
    for name in sorted(set(task)):
        rows = [i for i in range(len(y)) if task[i] == name]
        scores[name] = metric(
            np.array([y[i] for i in rows]), np.array([y_pred[i] for i in rows])
        )
    return scores
