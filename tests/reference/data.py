"""Rows, weights and classes as the references want them."""

import os
from pathlib import Path

import numpy as np


def data_dir():
    """Folder of optional real data sets, from the variable MTLEARN_DATA, or None."""
    folder = os.environ.get("MTLEARN_DATA", "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def to_long(X, Y, weight=None):
    """Long form of shared inputs; a NaN or None in ``Y`` is a label not observed.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples, n_tasks)
    weight : None, ndarray of shape (n_samples,) or (n_samples, n_tasks)

    Returns
    -------
    X, y, codes, weight : task after task, the rows of a task in the order of ``X``.
    """
    X, Y = np.asarray(X), np.asarray(Y)
    rows, labels, codes, weights = [], [], [], []
    for t in range(Y.shape[1]):
        for i in range(Y.shape[0]):
            label = Y[i, t]
            if label is None or label != label:
                continue
            rows.append(X[i])
            labels.append(label)
            codes.append(t)
            if weight is None:
                weights.append(1.0)
            else:
                weights.append(weight[i] if np.ndim(weight) == 1 else weight[i, t])
    return (
        np.array(rows, dtype=float).reshape(-1, X.shape[1]),
        np.array(labels),
        np.array(codes, dtype=int),
        np.array(weights, dtype=float),
    )


def row_weights(codes, sample_weight=None, task_weight=None, C=1.0):
    """c_i = C s_i lambda_t, the factor of each row's loss.

    ``task_weight`` is None, an array with lambda_t by code, or "balanced": lambda_t =
    n / (T n_t), counted in rows of positive weight, T the tasks that have any.
    """
    n = len(codes)
    s = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    counts = {}
    for i in range(n):
        if s[i] > 0:
            counts[codes[i]] = counts.get(codes[i], 0) + 1
    c = np.zeros(n)
    for i in range(n):
        if s[i] == 0:
            continue
        if task_weight is None:
            lam = 1.0
        elif isinstance(task_weight, str) and task_weight == "balanced":
            lam = sum(counts.values()) / (len(counts) * counts[codes[i]])
        else:
            lam = task_weight[codes[i]]
        c[i] = C * s[i] * lam
    return c


def task_classes(y, codes, weight, n_tasks):
    """Classes of each task, sorted, among its rows of positive weight."""
    classes = [set() for _ in range(n_tasks)]
    for i in range(len(y)):
        if weight[i] > 0:
            classes[codes[i]].add(y[i])
    return [sorted(c) for c in classes]
