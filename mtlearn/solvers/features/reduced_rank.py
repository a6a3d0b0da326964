"""Reduced rank regression in closed form, where all tasks have their rows in common."""

import numpy as np

from ...problem.intercepts import SHARED
from ...problem.solution import Solution, Status
from ..linalg import svd

_SEEN = 1e-12  # singular value, relative to the largest, that counts


def solve_reduced_rank(data, intercept, n_components):
    """Least squares of a given rank where all tasks have their rows in common.

    With U S V' the (weighted, centred) rows and lambda the task weights, the best W has
    sqrt(lambda) W V S = the leading singular triplets of sqrt(lambda) Y' U (Izenman,
    Journal of Multivariate Analysis 5, 1975).

    Parameters
    ----------
    data : TaskData
    intercept : Intercepts
    n_components : int

    Returns
    -------
    Solution, or None
        None where labels are missing, weights differ by task or one intercept serves
        several tasks: there is no closed form.
    """
    weight = data.sample_weight
    if not data.common or intercept == SHARED:
        return None
    X = data.X.toarray() if data.sparse else data.X
    root = np.ones(len(X)) if weight is None else np.sqrt(weight)
    mean, level = np.zeros(data.n_features), np.zeros(data.n_tasks)
    if intercept.present:
        mean = np.average(X, axis=0, weights=weight)
        level = np.average(data.y, axis=0, weights=weight)
    tasks = np.sqrt(
        np.ones(data.n_tasks) if data.task_weight is None else data.task_weight
    )
    U, s, V = svd((X - mean) * root[:, None])
    open_ = s > _SEEN * s.max(initial=0.0)
    U, s, V = U[:, open_], s[open_], V[open_]
    target = ((data.y - level) * root[:, None] * tasks).T
    L, size, R = svd(target @ U)
    k = n_components
    W = (L[:, :k] * size[:k] / tasks[:, None]) @ (R[:k] / s) @ V
    b = level - W @ mean
    residual = (data.y - X @ W.T - b) * root[:, None] * tasks
    scale = 0.5 * float(np.sum((data.y * root[:, None] * tasks) ** 2))
    # of the part that W explains nothing may be left within its own two spaces
    left = target @ U - tasks[:, None] * (W @ V.T) * s
    gap = 0.5 * float(
        max(np.sum((L[:, :k].T @ left) ** 2), np.sum((left @ R[:k].T) ** 2))
    )
    certificate = gap / max(scale, 1e-300)
    value = 0.5 * float(np.sum(residual**2))
    history = [(value, certificate)]
    return Solution(W, b, value, certificate, 1, Status.CONVERGED, history=history)
