"""Losses row by row, slopes, conjugates; differences."""

import numpy as np

from .data import task_classes

LOSSES = (
    "squared",
    "logistic",
    "softmax",
    "squared_hinge",
    "squared_epsilon_insensitive",
    "hinge",
    "epsilon_insensitive",
)


def row_loss(loss, y, f, epsilon=0.0, classes=None):
    """Loss of one label y at its prediction f (a vector over classes for softmax).

    squared 1/2 (y - f)^2; logistic log(1 + exp(-y f)); squared_hinge
    max(0, 1 - y f)^2; squared_epsilon_insensitive max(0, |y - f| - epsilon)^2; hinge
    and epsilon_insensitive the same without the square; softmax log(sum over k in
    classes of exp(f_k)) - f_y.
    """
    if loss == "squared":
        return 0.5 * (y - f) ** 2
    if loss == "logistic":
        return np.logaddexp(0.0, -y * f)
    if loss == "squared_hinge":
        return max(0.0, 1 - y * f) ** 2
    if loss == "squared_epsilon_insensitive":
        return max(0.0, abs(y - f) - epsilon) ** 2
    if loss == "hinge":
        return max(0.0, 1 - y * f)
    if loss == "epsilon_insensitive":
        return max(0.0, abs(y - f) - epsilon)
    if loss == "softmax":
        return np.logaddexp.reduce([f[k] for k in classes]) - f[y]
    raise ValueError(f"no loss {loss!r}; one of {LOSSES}")


def row_slope(loss, y, f, classes=None):
    """Derivative of ``row_loss`` in f, for the losses of shared features."""
    if loss == "squared":
        return f - y
    if loss == "logistic":
        return -y * np.exp(-np.logaddexp(0.0, y * f))
    slope = np.zeros(len(f))
    slope[classes] = np.exp(f[classes] - np.logaddexp.reduce(f[classes]))
    slope[y] -= 1.0
    return slope


def row_conjugate(loss, y, u, classes=None):
    """sup over f of u f - ``row_loss``: what one label takes from a dual value."""
    if loss == "squared":
        return u * y + 0.5 * u**2
    if loss == "logistic":
        p = np.array([-u * y, 1 + u * y])
    else:
        p = u[classes] + (np.array(classes) == y)
    p = np.clip(p, 1e-300, 1.0)
    return (p * np.log(p)).sum()


def predict(coef, intercept, X, codes):
    """f_i = x_i.w_t + b_t, t the task of row i; (n, n_classes) where coef is 3-D."""
    return np.array([coef[t] @ x + intercept[t] for x, t in zip(X, codes, strict=True)])


def data_loss(loss, f, y, codes, weight, n_tasks, epsilon=0.0):
    """sum_i c_i loss(y_i, f_i)."""
    y = np.asarray(y, dtype=int) if loss == "softmax" else y
    classes = task_classes(y, codes, weight, n_tasks)
    total = 0.0
    for i in range(len(y)):
        if weight[i] > 0:
            total += weight[i] * row_loss(loss, y[i], f[i], epsilon, classes[codes[i]])
    return total


def finite_difference(function, point, step=1e-5):
    """Gradient (f(p + h e_j) - f(p - h e_j)) / 2h of a function of an array."""
    gradient = np.zeros(np.shape(point))
    for index in np.ndindex(*np.shape(point)):
        shift = np.zeros(np.shape(point))
        shift[index] = step
        gradient[index] = (function(point + shift) - function(point - shift)) / (
            2 * step
        )
    return gradient
