"""Kernel machines: Gram matrices, objectives, twins."""

import numpy as np

from .conic import solved


def kernel_gram(k, codes, K, fit_intercept=True, intercept_strength=1.0):
    """G_ij = K[t_i, t_j] k_ij; with shrunk intercepts plus K[t_i, t_j] / strength."""
    n, own = len(codes), 0.0
    if fit_intercept == "shrunk":
        own = 1.0 / intercept_strength
    G = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            tie = K[codes[i], codes[j]]
            G[i, j] = tie * k[i, j] + tie * own
    return G


def kernel_ends(codes, n_tasks, fit_intercept=True):
    """Columns of the unpenalised intercepts, (n, n_free)."""
    if fit_intercept is True or fit_intercept == "free":
        return np.eye(n_tasks)[codes]
    return np.ones((len(codes), 0 if fit_intercept is False else 1))


def kernel_loss(loss, y, f, epsilon=0.0):
    """Loss of one row of a margin machine."""
    error = 1 - y * f if loss.endswith("hinge") else abs(y - f) - epsilon
    return max(0.0, error) ** (2 if loss.startswith("squared") else 1)


def kernel_objective(loss, f, beta, G, y, weight, epsilon=0.0):
    """sum_i c_i loss(y_i, f_i) + 1/2 beta' G beta."""
    total = 0.5 * beta @ G @ beta
    for i in range(len(y)):
        total += weight[i] * kernel_loss(loss, y[i], f[i], epsilon)
    return total


def kernel_twin(loss, G, ends, y, weight, epsilon=0.0):
    """Least ``kernel_objective`` by cvxpy, f = G beta + ends b.

    Returns f and the value. G is factored, beta' G beta = |theta|^2.
    """
    import cvxpy as cp

    values, vectors = np.linalg.eigh(G)
    keep = values > 1e-13 * values[-1]
    theta = cp.Variable(keep.sum())
    f = (vectors[:, keep] * np.sqrt(values[keep])) @ theta
    if ends.shape[1]:
        f = f + ends @ cp.Variable(ends.shape[1])
    hinge = loss.endswith("hinge")
    error = cp.pos(1 - cp.multiply(y, f) if hinge else cp.abs(y - f) - epsilon)
    zero = sum(weight[i] * kernel_loss(loss, y[i], 0.0, epsilon) for i in range(len(y)))
    if loss.startswith("squared"):
        cost = cp.sum_squares(cp.multiply(np.sqrt(weight / zero), error))
    else:
        cost = (weight / zero) @ error
    goal = cp.Minimize(cost + 0.5 / zero * cp.sum_squares(theta))
    value = solved(cp.Problem(goal)) * zero
    return f.value, value
