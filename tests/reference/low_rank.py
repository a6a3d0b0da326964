"""Reduced-rank regression and the factored penalty."""

import numpy as np
from scipy import optimize

from .conic import _raise_one_class, rows_that_matter
from .data import task_classes
from .losses import row_loss, row_slope
from .relations import intercept_maps


def reduced_rank(X, Y, n_components, weight=None, task_weight=None, centre=True):
    """Weighted reduced rank regression of complete labels, in closed form.

    Minimises 1/2 sum_it s_i lambda_t (y_it - x_i.w_t - b_t)^2 over W of rank at most
    ``n_components``: with rows times sqrt(s_i) and columns times sqrt(lambda_t), the
    least squares fit projected on its leading right singular vectors (Eckart-Young).

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples, n_tasks), without NaN
    weight : None or ndarray of shape (n_samples,)
    task_weight : None or ndarray of shape (n_tasks,)
    centre : bool, an intercept of its own for every task

    Returns
    -------
    coef, intercept, value
    """
    s = np.ones(len(X)) if weight is None else weight
    lam = np.ones(Y.shape[1]) if task_weight is None else task_weight
    x_mean = s @ X / s.sum() if centre else np.zeros(X.shape[1])
    y_mean = s @ Y / s.sum() if centre else np.zeros(Y.shape[1])
    rows, columns = np.sqrt(s)[:, None], np.sqrt(lam)
    A, B = rows * (X - x_mean), rows * (Y - y_mean) * columns
    ols = np.linalg.pinv(A) @ B
    V = np.linalg.svd(A @ ols)[2][:n_components]
    coef = (ols @ V.T @ V / columns).T
    intercept = y_mean - coef @ x_mean
    residual = rows * (Y - X @ coef.T - intercept) * columns
    return coef, intercept, 0.5 * (residual**2).sum()


def low_rank(
    loss,
    X,
    y,
    codes,
    weight,
    strength,
    n_components,
    fit_intercept=True,
    n_tasks=None,
    n_outputs=1,
    n_starts=8,
    seed=0,
    intercept_strength=1.0,
):
    """Best of several local minima of loss + 1/2 strength (|A|_F^2 + |B|_F^2).

    The coefficients are A B with ``n_components`` columns in A (n_tasks * n_outputs
    rows); every start is random, every descent BFGS. An upper bound of the minimum.

    Returns
    -------
    coef, intercept, value
    """
    n_tasks = int(np.max(codes)) + 1 if n_tasks is None else n_tasks
    y = np.asarray(y, dtype=int) if loss == "softmax" else y
    free = fit_intercept is True or fit_intercept == "free"
    classes = task_classes(y, codes, weight, n_tasks)
    every_X, every_code = X, codes
    keep = rows_that_matter(loss, codes, weight, classes, free)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    B_map, V_map = intercept_maps(np.eye(n_tasks), fit_intercept)
    ends = np.hstack([B_map, V_map])
    price = intercept_strength * strength
    priced = np.repeat([0.0, price], [B_map.shape[1], V_map.shape[1]])[:, None]
    q, d, k = n_outputs, X.shape[1], n_components
    sizes = np.cumsum([n_tasks * q * k, k * d])

    def parts(theta):
        A, B, beta = np.split(theta, sizes)
        return A.reshape(-1, k), B.reshape(k, d), beta.reshape(-1, q)

    def model(theta):
        A, B, beta = parts(theta)
        return (A @ B).reshape(n_tasks, q, d), ends @ beta

    def value(theta):
        A, B, beta = parts(theta)
        coef, intercept = model(theta)
        G, g = np.zeros_like(coef), np.zeros_like(intercept)
        total = 0.5 * strength * ((A**2).sum() + (B**2).sum())
        total += 0.5 * (priced * beta**2).sum()
        for x, label, t, c in zip(X, y, codes, weight, strict=True):
            f = coef[t] @ x + intercept[t]
            f = f if loss == "softmax" else f[0]
            total += c * row_loss(loss, label, f, classes=classes[t])
            slope = c * np.atleast_1d(row_slope(loss, label, f, classes[t]))
            G[t] += slope[:, None] * x
            g[t] += slope
        G = G.reshape(-1, d)
        slopes = G @ B.T + strength * A, A.T @ G + strength * B
        slopes += (ends.T @ g + priced * beta,)
        return total, np.concatenate([slope.ravel() for slope in slopes])

    rng, best = np.random.default_rng(seed), None
    for _ in range(n_starts):
        start = rng.normal(size=sizes[-1] + ends.shape[1] * q)
        found = optimize.minimize(value, start, jac=True, options={"gtol": 1e-9})
        best = found if best is None or found.fun < best.fun else best
    coef, intercept = model(best.x)
    if free and loss == "logistic":
        _raise_one_class(intercept, coef, every_X, every_code, classes)
    if loss != "softmax":
        coef, intercept = coef[:, 0], intercept[:, 0]
    return coef, intercept, best.fun
