"""Objectives of linear models, least squares, duals, in plain NumPy."""

import numpy as np
from scipy import optimize

from .conic import _count_tasks, rows_that_matter
from .data import task_classes
from .losses import data_loss, predict, row_conjugate, row_loss, row_slope
from .penalties import default_private, intercept_penalty, shared_gauge, shared_penalty
from .relations import design, intercept_maps, kernel, maps, omega


def objective(
    loss,
    coef,
    intercept,
    X,
    y,
    codes,
    weight,
    strength,
    K,
    fit_intercept=True,
    epsilon=0.0,
    penalty=None,
    private=None,
    rules=None,
    intercept_strength=1.0,
):
    """sum_i c_i loss(y_i, f_i) + 1/2 strength (Omega(W) + what the intercepts add).

    With a ``penalty``, strength P(W) takes the place of 1/2 strength Omega(W); what the
    intercepts add is that of independent tasks.

    Parameters
    ----------
    loss : one of ``LOSSES``
    coef : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
    intercept : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
    weight : ndarray of shape (n_samples,), c_i = C s_i lambda_t
    strength : float, alpha; 1 where C multiplies the loss
    K : ndarray of shape (n_tasks, n_tasks), or a name that ``kernel`` knows
    penalty : None or one of ``PENALTIES``
    private : float or None, alpha_private of "dirty"
    rules : None or ndarray of shape (n_tasks, n_free)
        Tasks made of the others; the free ones come first, and K is theirs.

    Returns
    -------
    float, infinite where coefficients or intercepts break an equality of the model
    """
    coef, intercept = np.asarray(coef), np.asarray(intercept)
    n_free = len(coef) if rules is None else rules.shape[1]
    K = kernel(K, n_free)
    shrinks = fit_intercept, intercept_strength
    square = intercept_penalty(intercept[:n_free], K, *shrinks)
    if penalty is None:
        square += omega(coef[:n_free], K)
    if rules is not None and max(
        np.abs(m - np.tensordot(rules, m[:n_free], 1)).max() for m in (coef, intercept)
    ) > 1e-8 * (1 + np.abs(coef).max()):
        return np.inf
    if np.isinf(square):
        return np.inf
    cost = 0.5 * strength * square
    if penalty is not None:
        private = default_private(strength, len(coef), private)
        cost += shared_penalty(penalty, coef, strength, private)
    f = predict(coef, intercept, X, codes)
    return data_loss(loss, f, y, codes, weight, len(coef), epsilon) + cost


def least_squares(
    X,
    y,
    codes,
    weight,
    strength,
    K,
    fit_intercept=True,
    n_tasks=None,
    rcond=1e-10,
    rules=None,
    intercept_strength=1.0,
):
    """Minimiser of 1/2 sum_i c_i (y_i - f_i)^2 + 1/2 strength Omega, without cvxpy.

    In theta = (U, v, beta) with W = F U and b = B beta + V v this is
    |D theta - r|^2 + strength |S theta|^2, S keeping the penalised (U, v). Strength 0
    is the limit: of all least squares solutions D^+ r + N z, N the null space of D,
    the one of smallest |S theta|.

    Returns
    -------
    coef, intercept, value
        The free intercept of a task without rows is 0.
    """
    n_tasks = _count_tasks(codes, K, n_tasks)
    K = kernel(K, n_tasks if rules is None else rules.shape[1])
    F, B, V = maps(K, fit_intercept, rules, intercept_strength)
    root = np.sqrt(weight)
    D = root[:, None] * np.hstack([design(X, codes, F), V[codes], B[codes]])
    r = root * y
    n_penalised = D.shape[1] - B.shape[1]
    S = np.eye(n_penalised, D.shape[1])
    if strength > 0:
        stacked = np.vstack([D, np.sqrt(strength) * S])
        theta = np.linalg.pinv(stacked, rcond) @ np.append(r, np.zeros(n_penalised))
    else:
        _, values, rows = np.linalg.svd(D)
        rank = int((values > rcond * values.max()).sum())
        N = rows[rank:].T
        theta = np.linalg.pinv(D, rcond) @ r
        theta = theta - N @ (np.linalg.pinv(S @ N, rcond) @ (S @ theta))
    n_u = F.shape[1] * X.shape[1]
    coef = F @ theta[:n_u].reshape(F.shape[1], X.shape[1])
    intercept = V @ theta[n_u:n_penalised] + B @ theta[n_penalised:]
    args = X, y, codes, weight, strength, K, fit_intercept
    more = {"rules": rules, "intercept_strength": intercept_strength}
    value = objective("squared", coef, intercept, *args, **more)
    return coef, intercept, value


def least_norm(
    X,
    y,
    codes,
    weight,
    K,
    fit_intercept=True,
    n_tasks=None,
    rcond=1e-10,
    intercept_strength=1.0,
):
    """Of all minimisers of sum_i c_i (y_i - f_i)^2 the one of smallest Omega.

    With shrunken intercepts Omega includes their term. Returns coef, intercept, value.
    """
    more = {"rcond": rcond, "intercept_strength": intercept_strength}
    return least_squares(
        X, y, codes, weight, 0.0, K, fit_intercept, n_tasks=n_tasks, **more
    )


def dual_value(
    loss,
    coef,
    intercept,
    X,
    y,
    codes,
    weight,
    strength,
    fit_intercept=True,
    penalty="l21",
    private=None,
    intercept_strength=1.0,
):
    """Lower bound of the least ``objective`` of a convex penalty on shared features.

    The dual point is the slope of the loss at ``coef`` and the intercepts that are best
    beside it, shrunk until it is a subgradient of the penalty.
    """
    n_tasks, q = len(coef), int(np.prod(coef.shape[1:-1], dtype=int))
    y = np.asarray(y, dtype=int) if loss == "softmax" else y
    private = default_private(strength, n_tasks, private)
    free = fit_intercept is True or fit_intercept == "free"
    classes = task_classes(y, codes, weight, n_tasks)
    keep = rows_that_matter(loss, codes, weight, classes, free)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    fixed = predict(coef, 0 * intercept, X, codes)
    price = intercept_strength * strength
    b = best_intercepts(loss, fixed, y, codes, weight, price, classes, fit_intercept)
    slopes, G = np.zeros((len(y), q)), np.zeros((n_tasks, q, X.shape[1]))
    for i, t in enumerate(codes):
        f = fixed[i] + (b[t] if loss == "softmax" else b[t, 0])
        slopes[i] = row_slope(loss, y[i], f, classes[t])
        G[t] += weight[i] * np.multiply.outer(slopes[i], X[i])
    gauge = shared_gauge(penalty, G.reshape(n_tasks * q, -1), strength, private)
    slopes /= max(1.0, gauge)
    value, sums = 0.0, np.zeros((n_tasks, q))
    for i, t in enumerate(codes):
        u = slopes[i] if loss == "softmax" else slopes[i, 0]
        value -= weight[i] * row_conjugate(loss, y[i], u, classes[t])
        sums[t] += weight[i] * slopes[i]
    if fit_intercept == "shrunk":
        value -= 0.5 * (sums**2).sum() / price
    return value


def best_intercepts(
    loss, fixed, y, codes, weight, strength, classes, fit_intercept=True
):
    """Intercepts (n_tasks, n_outputs) that are best beside scores that are fixed."""
    n_tasks, q = len(classes), int(np.prod(fixed.shape[1:], dtype=int))
    B, V = intercept_maps(np.eye(n_tasks), fit_intercept)
    ends = np.hstack([B, V])
    priced = np.repeat([0.0, strength], [B.shape[1], V.shape[1]])[:, None]

    def value(beta):
        beta = beta.reshape(-1, q)
        b, g = ends @ beta, np.zeros((n_tasks, q))
        total = 0.5 * (priced * beta**2).sum()
        for i, t in enumerate(codes):
            f = fixed[i] + (b[t] if loss == "softmax" else b[t, 0])
            total += weight[i] * row_loss(loss, y[i], f, classes=classes[t])
            g[t] += weight[i] * row_slope(loss, y[i], f, classes[t])
        return total, (ends.T @ g + priced * beta).ravel()

    start = np.zeros(ends.shape[1] * q)
    if not len(start):
        return np.zeros((n_tasks, q))
    found = optimize.minimize(value, start, jac=True, options={"gtol": 1e-12})
    return ends @ found.x.reshape(-1, q)
