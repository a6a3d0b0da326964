"""Task kernels, their factors, and Omega."""

import numpy as np

INTERCEPTS = (True, "free", "shrunk", "shared", False)


def independent(n_tasks):
    """Task kernel of tasks that share nothing: K = I."""
    return np.eye(n_tasks)


def shared_mean(correlation, n_tasks):
    """K = (1 - rho) I + rho 11'; at rho = 1 the kernel of one common w."""
    return (1 - correlation) * np.eye(n_tasks) + correlation * np.ones(
        (n_tasks, n_tasks)
    )


def pooled(n_tasks):
    """K = 11': one common w, penalised by |w|^2."""
    return np.ones((n_tasks, n_tasks))


def graph(adjacency, strength=1.0):
    """K = A^-1 with A = I + strength (degrees - adjacency), diagonal ignored."""
    adjacency = np.array(adjacency, dtype=float)
    n_tasks = len(adjacency)
    A = np.eye(n_tasks)
    for s in range(n_tasks):
        for t in range(n_tasks):
            if s != t:
                A[s, t] -= strength * adjacency[s, t]
                A[s, s] += strength * adjacency[s, t]
    return np.linalg.inv(A)


def covariance(K):
    """Task kernel as given."""
    return np.array(K, dtype=float)


def kernel(relation, n_tasks):
    """Task kernel of a name ("independent", "shared_mean", "pooled") or of itself."""
    if not isinstance(relation, str):
        return np.array(relation, dtype=float)
    named = {
        "independent": independent(n_tasks),
        "shared_mean": shared_mean(0.5, n_tasks),
        "pooled": pooled(n_tasks),
    }
    return named[relation]


def factor(K):
    """F of shape (n_tasks, rank) with F F' = K, so that W = F U has Omega = |U|^2."""
    values, vectors = np.linalg.eigh(K)
    keep = values > 1e-12 * values.max()
    return vectors[:, keep] * np.sqrt(values[keep])


def precision(K):
    """A = K^-1, the pseudo-inverse where K is singular: A = sum_r v_r v_r' / e_r."""
    values, vectors = np.linalg.eigh(K)
    keep = values > 1e-12 * values.max()
    return (vectors[:, keep] / values[keep]) @ vectors[:, keep].T


def omega(W, K):
    """Omega(W) = sum_st A_st w_s.w_t with A = K^-1, a sum over classes if 3-D.

    Where K is singular the rows of W must lie in its range, else Omega is infinite:
    with K = 11' they must be equal, and Omega = |w|^2.
    """
    if W.ndim == 3:
        return sum(omega(W[:, k], K) for k in range(W.shape[1]))
    A = precision(K)
    if np.abs(K @ A @ W - W).max() > 1e-8 * (1 + np.abs(W).max()):
        return np.inf
    total = 0.0
    for s in range(len(K)):
        for t in range(len(K)):
            total += A[s, t] * sum(W[s] * W[t])
    return total


def design(X, codes, F):
    """Rows kron(F[t_i], x_i), so that x_i.w_t = row_i . vec(U) where W = F U."""
    rows = [np.kron(F[t], x) for x, t in zip(X, codes, strict=True)]
    return np.array(rows).reshape(len(X), F.shape[1] * X.shape[1])


def intercept_maps(F, fit_intercept=True, intercept_strength=1.0):
    """(B, V) with b = B beta + V v, beta free of penalty and v penalised by |v|^2.

    free: b = beta; shared: b = beta 1; shrunk: b = beta 1 + F v, v over the root of
    ``intercept_strength``; False: b = 0.
    """
    n_tasks = len(F)
    nothing = np.zeros((n_tasks, 0))
    if fit_intercept is True or fit_intercept == "free":
        return np.eye(n_tasks), nothing
    if fit_intercept == "shared":
        return np.ones((n_tasks, 1)), nothing
    if fit_intercept == "shrunk":
        return np.ones((n_tasks, 1)), F / np.sqrt(intercept_strength)
    if fit_intercept is False:
        return nothing, nothing
    raise ValueError(f"no fit_intercept {fit_intercept!r}; one of {INTERCEPTS}")


def maps(K, fit_intercept=True, rules=None, intercept_strength=1.0):
    """(F, B, V): ``factor`` and ``intercept_maps``, for tasks made of others too."""
    F = factor(K)
    B, V = intercept_maps(F, fit_intercept, intercept_strength)
    return (F, B, V) if rules is None else (rules @ F, rules @ B, rules @ V)
