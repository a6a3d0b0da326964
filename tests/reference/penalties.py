"""Penalties on the coefficients of all tasks and on intercepts."""

import numpy as np

from .relations import omega, precision

PENALTIES = ("rank", "nuclear", "l21", "dirty")


def shared_penalty(name, W, alpha, private=None):
    """What shared features cost: P(W), a row of W per task or (task, class).

    l21: alpha sum_j |W[:, j]|_2; nuclear: alpha |W|_*, which is also the least of
    1/2 alpha (|A|_F^2 + |B|_F^2) over all factors A B = W ("rank"); dirty: the least of
    alpha sum_j |S[:, j]|_2 + private sum |P|_1 over all S + P = W.
    """
    W = W.reshape(-1, W.shape[-1])
    if name in ("rank", "nuclear"):
        return alpha * sum(np.linalg.svd(W, compute_uv=False))
    if name == "l21":
        return alpha * sum(np.sqrt(sum(w**2)) for w in W.T)
    if name == "dirty":
        return sum(_dirty_column(np.abs(w), alpha, private) for w in W.T)
    raise ValueError(f"no penalty {name!r}; one of {PENALTIES}")


def default_private(alpha, n_tasks, private=None):
    """alpha_private as given, or alpha / n_tasks^(1/4)."""
    return alpha / n_tasks**0.25 if private is None else private


def _dirty_column(w, alpha, private):
    """min over s + p = w of alpha |s|_2 + private |p|_1, for w >= 0.

    s is w cut off at a level tau. Between two entries of w, with the k largest cut and
    c the sum of squares of the others, the cost is stationary where alpha tau = private
    sqrt(c + k tau^2). Every level is allowed, so that the least cost is the answer.
    """
    levels = [0.0, *w]
    for tau in w:
        k, c = (w >= tau).sum(), (w[w < tau] ** 2).sum()
        if alpha**2 > k * private**2:
            levels.append(private * np.sqrt(c / (alpha**2 - k * private**2)))
    cut = [np.minimum(w, tau) for tau in levels]
    return min(alpha * np.sqrt((s**2).sum()) + private * (w - s).sum() for s in cut)


def intercept_penalty(intercept, K, fit_intercept=True, intercept_strength=1.0):
    """What the intercepts add to Omega; infinite where their mode forbids them.

    "shrunk": ``intercept_strength`` times the min over b0 of (b - b0)'A(b - b0),
    reached at b0 = 1'Ab / 1'A1 (so infinite for K = 11' unless all are equal);
    "shared": 0 where all are equal; False: 0 where all are zero; "free" or True: 0.
    """
    if intercept.ndim == 2:
        rest = K, fit_intercept, intercept_strength
        return sum(intercept_penalty(b, *rest) for b in intercept.T)
    if fit_intercept is True or fit_intercept == "free":
        return 0.0
    if fit_intercept == "shrunk":
        A = precision(K)
        b0 = (A @ intercept).sum() / A.sum()
        return intercept_strength * omega((intercept - b0)[:, None], K)
    target = intercept.mean() if fit_intercept == "shared" else 0.0
    allowed = np.abs(intercept - target).max() <= 1e-8 * (1 + abs(target))
    return 0.0 if allowed else np.inf


def shared_gauge(name, G, alpha, private=None):
    """Least c for which G / c is a subgradient of ``shared_penalty`` at zero."""
    if name in ("rank", "nuclear"):
        return np.linalg.svd(G, compute_uv=False).max() / alpha
    gauge = max(np.sqrt(sum(g**2)) for g in G.T) / alpha
    return max(gauge, np.abs(G).max() / private) if name == "dirty" else gauge
