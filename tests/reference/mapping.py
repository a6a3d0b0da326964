"""The shared nonlinear mapping."""

import numpy as np

from .data import task_classes
from .losses import row_loss


def activate(name, z):
    """The activation of one number."""
    if name == "tanh":
        return np.tanh(z)
    if name == "relu":
        return max(z, 0.0)
    if name == "logistic":
        return 1.0 / (1.0 + np.exp(-z))
    if name == "softplus":
        return np.log(1.0 + np.exp(z))
    if name == "identity":
        return z
    raise ValueError(f"no activation {name!r}")


def mapped(coefs, intercepts, activation, X):
    """Outputs of the last shared layer, (n_samples, h), unit by unit."""
    H = []
    for x in X:
        for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
            units = range(W.shape[1])
            x = np.array([activate(activation, sum(x * W[:, j]) + b[j]) for j in units])
        H.append(x)
    return np.array(H)


def head_columns(classes):
    """Which columns of all heads side by side belong to each task.

    ``classes`` are those of every task, None where all have one score: a number, or two
    labels over all tasks. Else two classes have one column, more one for each, one of
    several a column that counts for nothing.
    """
    columns, at = [], 0
    for own in classes:
        width = 1 if own is None or len(own) == 2 else len(own)
        columns.append(list(range(at, at + width)))
        at += width
    return columns


def mapping_objective(
    loss,
    coefs,
    intercepts,
    activation,
    X,
    y,
    codes,
    weight,
    alpha,
    fit_intercept=True,
    n_tasks=None,
    intercept_strength=1.0,
):
    """sum_i c_i loss(y_i, V_t h(x_i) + b_t) + 1/2 alpha (all weights squared).

    The biases of layers and heads are free, but for "shrunk": 1/2 alpha times the
    intercept strength, sum (b - mean b)^2 over the columns that stand for the same
    label, or for a pair of labels.

    Parameters
    ----------
    loss : "squared", "logistic" (labels -1 and +1) or "softmax" (of the task's classes)
    coefs : list of ndarray of shape (fan_in, fan_out), the heads side by side last
    intercepts : list of ndarray of shape (fan_out,)
    weight : ndarray of shape (n_samples,), c_i = s_i lambda_t
    n_tasks : int or None, the largest of ``codes`` and one more

    Returns
    -------
    float, infinite where the intercepts of the heads break an equality
    """
    n_tasks = max(codes) + 1 if n_tasks is None else n_tasks
    classes = [None] * n_tasks
    if loss == "softmax":
        y = np.asarray(y, dtype=int)
        classes = task_classes(y, codes, weight, n_tasks)
    columns = head_columns(classes)
    V, b = coefs[-1].T, intercepts[-1]
    if len(b) != sum(map(len, columns)) or V.shape[0] != len(b):
        raise ValueError("the heads have other columns")
    H, total = mapped(coefs, intercepts, activation, X), 0.0
    for i, t in enumerate(codes):
        if weight[i] == 0:
            continue
        f = [sum(V[c] * H[i]) + b[c] for c in columns[t]]
        if loss != "softmax":
            total += weight[i] * row_loss(loss, y[i], f[0])
        elif len(classes[t]) == 2:
            sign = 1 if y[i] == classes[t][1] else -1
            total += weight[i] * row_loss("logistic", sign, f[0])
        elif len(classes[t]) > 2:
            place = list(classes[t]).index(y[i])
            total += weight[i] * row_loss("softmax", place, f, classes=range(len(f)))
    for W in coefs:
        total += 0.5 * alpha * sum(W.ravel() ** 2)
    groups = {}
    for own, places in zip(classes, columns, strict=True):
        if own is None or len(own) == 2:
            groups.setdefault("score", []).append(b[places[0]])
        elif len(own) > 2:
            for label, place in zip(own, places, strict=True):
                groups.setdefault(label, []).append(b[place])
    for group in groups.values():
        apart = np.array(group) - (0.0 if fit_intercept is False else np.mean(group))
        if fit_intercept == "shrunk":
            total += 0.5 * alpha * intercept_strength * sum(apart**2)
        elif fit_intercept in ("shared", False) and fit_intercept is not True:
            if max(abs(apart)) > 1e-10 * (1 + max(map(abs, group))):
                return np.inf
    return total


def own_units(V, c, activation, X, codes):
    """Hidden units of every row by the input layer of its task, unit by unit."""
    H = np.empty((len(X), V.shape[2]))
    for i, t in enumerate(codes):
        for k in range(V.shape[2]):
            H[i, k] = activate(activation, sum(X[i] * V[t, :, k]) + c[t, k])
    return H


def shared_output_objective(
    loss,
    coefs,
    intercepts,
    activation,
    X,
    y,
    codes,
    weight,
    alpha,
    fit_intercept=True,
    intercept_strength=1.0,
):
    """sum_i c_i loss(y_i, u act(V_t x_i + c_t) + b) + 1/2 alpha (|u|^2 + Omega(V)).

    Omega(V) = min_M |M|^2 + sum_t |V_t - M|^2. Biases are free, but for "shrunk": 1/2
    alpha times the intercept strength, sum_t |c_t - mean c|^2. Labels are -1 and +1, or
    numbers of classes, of which every task has all.

    Returns
    -------
    float, infinite where biases are not what ``fit_intercept`` says
    """
    (V, U), (c, b) = coefs, intercepts
    H, total = own_units(V, c, activation, X, codes), 0.0
    for i in range(len(y)):
        f = [sum(U[:, k] * H[i]) + b[k] for k in range(len(b))]
        if loss == "softmax":
            classes = range(len(f))
            total += weight[i] * row_loss("softmax", int(y[i]), f, classes=classes)
        else:
            total += weight[i] * row_loss(loss, y[i], f[0])
    # what is squared around M, itself among it: zero and every V_t
    M = sum(V) / (len(V) + 1)
    total += 0.5 * alpha * (np.sum(M**2) + sum(np.sum((A - M) ** 2) for A in V))
    total += 0.5 * alpha * np.sum(U**2)
    mean = sum(c) / len(c)
    if fit_intercept == "shrunk":
        total += 0.5 * alpha * intercept_strength * np.sum((c - mean) ** 2)
    elif fit_intercept == "shared" and np.max(abs(c - mean)) > 1e-10:
        return np.inf
    elif fit_intercept is False and np.max(abs(c)) > 0:
        return np.inf
    return total
