"""The same objectives for cvxpy: twins, free and constrained."""

import contextlib
import warnings

import numpy as np

from .data import task_classes
from .losses import LOSSES, data_loss, row_loss
from .penalties import default_private
from .relations import design, factor, intercept_maps, kernel, maps

ONE_SIDED = ("logistic", "squared_hinge", "hinge")


def twin(
    loss,
    X,
    y,
    codes,
    weight,
    strength,
    K,
    fit_intercept=True,
    n_tasks=None,
    n_classes=None,
    epsilon=0.0,
    bound=40.0,
    penalty=None,
    private=None,
    rules=None,
    intercept_strength=1.0,
):
    """Minimiser of ``objective`` by cvxpy, with W = F U and F F' = K.

    Parameters
    ----------
    loss : one of ``LOSSES``
    X : ndarray of shape (n_samples, n_features)
    y, codes, weight : ndarray of shape (n_samples,)
    strength : float, alpha
    K : ndarray of shape (n_tasks, n_tasks), or a name that ``kernel`` knows
    n_tasks, n_classes : int or None, by default one more than the largest seen
    bound : float
        Least margin of the rows of a task with one class and a free intercept. Their
        loss has the infimum 0, whatever the task's coefficients, so that they are left
        out of the problem; what is left of it is of the order exp(-bound).
    penalty : None or one of ``PENALTIES``
        "rank" is the convex case of as many components as its matrix allows.
    private : float or None, alpha_private of "dirty"
    rules : None or ndarray of shape (n_tasks, n_free)
        Tasks made of the others; the free ones come first, and K is theirs. The rows
        of tasks with one class stay in the problem.

    Returns
    -------
    coef : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
    intercept : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
        Where the objective leaves them open: 0 for a free intercept of a task, or of
        a class of a task, without rows; those of a softmax sum to zero.
    value : float, as cvxpy gives it, to about 1e-9 of the value of the zero model
    """
    import cvxpy as cp

    if loss not in LOSSES:
        raise ValueError(f"no loss {loss!r}; one of {LOSSES}")
    n_tasks = _count_tasks(codes, K, n_tasks) if rules is None else len(rules)
    K = kernel(K, n_tasks if rules is None else rules.shape[1])
    y = np.asarray(y, dtype=int) if loss == "softmax" else y
    free = fit_intercept is True or fit_intercept == "free"
    classes = task_classes(y, codes, weight, n_tasks)
    every_X, every_code = X, codes
    alone = free and rules is None
    keep = rows_that_matter(loss, codes, weight, classes, alone)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    n_outputs = 1
    if loss == "softmax":
        n_outputs = int(y.max()) + 1 if n_classes is None else n_classes

    # 1) predictions, one column per class
    F, B, V = maps(K, fit_intercept, rules, intercept_strength)
    D = design(X, codes, F)
    U = cp.Variable((D.shape[1], n_outputs))
    shape = F.shape[1], X.shape[1]
    f, b, constraints = D @ U, None, []
    if penalty is None:
        cost = 0.5 * strength * cp.sum_squares(U)
    else:
        W = [F @ cp.reshape(U[:, k], shape, order="C") for k in range(n_outputs)]
        private = default_private(strength, n_tasks, private)
        cost = cvxpy_penalty(penalty, cp.vstack(W), strength, private)
    if B.shape[1]:
        beta = cp.Variable((B.shape[1], n_outputs))
        b = B @ beta
        if V.shape[1]:
            v = cp.Variable((V.shape[1], n_outputs))
            b = b + V @ v
            cost = cost + 0.5 * strength * cp.sum_squares(v)
        f = f + b[codes]
        if loss == "softmax":
            constraints.append(cp.sum(beta, axis=1) == 0)
    if alone:
        for t in range(n_tasks):
            seen = classes[t] if loss == "softmax" else [0] * (t in codes)
            for k in set(range(n_outputs)) - set(seen):
                constraints.append(beta[t, k] == 0)

    # 2) the objective, divided by its value at zero
    zero = np.zeros((len(y), n_outputs) if loss == "softmax" else len(y))
    scale = data_loss(loss, zero, y, codes, weight, n_tasks, epsilon) or 1.0
    fit = cvxpy_loss(loss, f, y, codes, weight / scale, epsilon, classes)
    goal = cp.Minimize(fit + cost / scale)
    value = solved(cp.Problem(goal, constraints)) * scale

    # 3) back to tasks
    coef = np.stack([F @ u.reshape(shape) for u in U.value.T], axis=1)
    intercept = np.zeros((n_tasks, n_outputs)) if b is None else b.value
    if alone and loss in ONE_SIDED:
        _raise_one_class(intercept, coef, every_X, every_code, classes, bound)
    if loss != "softmax":
        coef, intercept = coef[:, 0], intercept[:, 0]
    return coef, intercept, value


def constrained_twin(
    loss,
    X,
    y,
    codes,
    weight,
    strength,
    K,
    demands,
    fit_intercept=True,
    epsilon=0.0,
    intercept_strength=1.0,
):
    """Minimiser of ``objective`` under constraints: every row and all of W in cvxpy.

    Parameters
    ----------
    loss : "squared", "hinge", "squared_hinge", "epsilon_insensitive" or
        "squared_epsilon_insensitive"
    demands : callable, from the expressions (W, b) to a list of cvxpy constraints

    Returns
    -------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    value : float
    """
    import cvxpy as cp

    keep = np.asarray(weight) > 0
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    F = factor(kernel(K, len(K)))
    B, V = intercept_maps(F, fit_intercept, intercept_strength)
    U = cp.Variable((F.shape[1], X.shape[1]))
    v, beta = cp.Variable(max(V.shape[1], 1)), cp.Variable(max(B.shape[1], 1))
    W, b = F @ U, cp.Constant(np.zeros(len(K)))
    cost = 0.5 * strength * (cp.sum_squares(U) + cp.sum_squares(v))
    if B.shape[1]:
        b = b + B @ beta
    if V.shape[1]:
        b = b + V @ v
    f = cp.sum(cp.multiply(X, W[codes]), axis=1) + b[codes]
    size = weight @ np.array([row_loss(loss, one, 0.0, epsilon) for one in y])
    scale = size or 1.0
    if loss == "squared":
        fit = 0.5 * cp.sum_squares(cp.multiply(np.sqrt(weight / scale), y - f))
    else:
        hinge = loss.endswith("hinge")
        miss = 1 - cp.multiply(y, f) if hinge else cp.abs(y - f) - epsilon
        squared = loss.startswith("squared")
        root = np.sqrt(weight / scale) if squared else weight / scale
        excess = cp.multiply(root, cp.pos(miss))
        fit = cp.sum_squares(excess) if squared else cp.sum(excess)
    value = solved(cp.Problem(cp.Minimize(fit + cost / scale), demands(W, b))) * scale
    return W.value, np.broadcast_to(b.value, len(K)), value


def _count_tasks(codes, K, n_tasks):
    """Number of tasks: as given, by the kernel, or one more than the largest code."""
    if n_tasks is not None:
        return n_tasks
    return int(np.max(codes)) + 1 if isinstance(K, str) else len(K)


def rows_that_matter(loss, codes, weight, classes, free):
    """Rows of positive weight, less those of tasks of one class with an own intercept.

    Those have a loss of infimum 0, whatever the task's coefficients.
    """
    keep = np.asarray(weight) > 0
    if free and loss in ONE_SIDED:
        keep = keep & np.array([len(classes[t]) > 1 for t in codes], dtype=bool)
    return keep


def _raise_one_class(intercept, coef, X, codes, classes, bound=40.0):
    """Give tasks of one class an intercept at which the margins are ``bound``."""
    for t, own in enumerate(classes):
        if len(own) == 1:
            reach = np.abs(X[codes == t] @ coef[t, 0]).max()
            intercept[t] = (bound + reach) * own[0]


def cvxpy_penalty(name, W, strength, private):
    """P(W) as an expression, W of shape (n_tasks * n_classes, n_features)."""
    import cvxpy as cp

    if name in ("rank", "nuclear"):
        return strength * cp.normNuc(W)
    if name == "l21":
        return strength * cp.sum(cp.norm(W, 2, axis=0))
    P = cp.Variable(W.shape)
    shared = strength * cp.sum(cp.norm(W - P, 2, axis=0))
    return shared + private * cp.sum(cp.abs(P))


def cvxpy_loss(loss, f, y, codes, weight, epsilon, classes):
    """sum_i c_i loss(y_i, f_i) as an expression; f of shape (n_samples, n_outputs)."""
    import cvxpy as cp

    if loss == "softmax":
        total = 0.0
        for t, own in enumerate(classes):
            rows = np.flatnonzero(codes == t)
            if len(own) > 1:
                log_sum = cp.log_sum_exp(f[rows][:, own], axis=1)
                total += weight[rows] @ (log_sum - f[rows, y[rows]])
        return total
    f = f[:, 0]
    if loss == "logistic":
        return weight @ cp.logistic(cp.multiply(-y, f))
    if loss == "squared":
        return 0.5 * cp.sum_squares(cp.multiply(np.sqrt(weight), y - f))
    if loss.endswith("hinge"):
        excess = cp.pos(1 - cp.multiply(y, f))
    else:
        excess = cp.pos(cp.abs(y - f) - epsilon)
    if not loss.startswith("squared"):
        return weight @ excess
    return cp.sum_squares(cp.multiply(np.sqrt(weight), excess))


def solved(problem):
    """Value at the solution by Clarabel, to 1e-11, or to what it stalls at.

    Where it fails, shorter steps towards the boundary of the cones may not.
    """
    import cvxpy as cp

    names = ("gap_abs", "gap_rel", "feas")
    for goal, step in [(1e-11, 0.99), (1e-11, 0.95), (1e-9, 0.99), (1e-8, 0.9)]:
        settings = {f"tol_{name}": goal for name in names}
        settings |= {f"reduced_tol_{name}": max(goal, 1e-9) for name in names}
        settings |= {"max_step_fraction": step, "max_iter": 500, "warm_start": False}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            with contextlib.suppress(cp.SolverError):
                problem.solve(solver=cp.CLARABEL, **settings)
                if problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
                    return problem.value
    raise RuntimeError(f"cvxpy ended with status {problem.status!r}")
