"""Slow and obvious twins of the library: loops in plain NumPy, and cvxpy.

Everything takes the long form: ``X`` (n_samples, n_features), ``y``, the task of each
row as an integer in ``codes``, and one weight c_i = C s_i lambda_t per row. A relation
is its task kernel ``K`` (n_tasks, n_tasks); where a ``penalty`` on shared features is
named instead, tasks are independent otherwise. Labels are -1 and +1 for the margin
losses, 0 .. n_classes - 1 for the softmax. Meant for problems of a hundred rows.
"""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
from scipy import optimize

LOSSES = (
    "squared",
    "logistic",
    "softmax",
    "squared_hinge",
    "squared_epsilon_insensitive",
    "hinge",
    "epsilon_insensitive",
)
ONE_SIDED = ("logistic", "squared_hinge", "hinge")
INTERCEPTS = (True, "free", "shrunk", "shared", False)
PENALTIES = ("rank", "nuclear", "l21", "dirty")


# Data


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


# Relations


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


# Objectives


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


def intercept_penalty(intercept, K, fit_intercept=True):
    """What the intercepts add to Omega; infinite where their mode forbids them.

    "shrunk": min over b0 of (b - b0)'A(b - b0), reached at b0 = 1'Ab / 1'A1 (so
    infinite for K = 11' unless all are equal); "shared": 0 where all are equal;
    False: 0 where all are zero; "free" or True: 0.
    """
    if intercept.ndim == 2:
        return sum(intercept_penalty(b, K, fit_intercept) for b in intercept.T)
    if fit_intercept is True or fit_intercept == "free":
        return 0.0
    if fit_intercept == "shrunk":
        A = precision(K)
        b0 = (A @ intercept).sum() / A.sum()
        return omega((intercept - b0)[:, None], K)
    target = intercept.mean() if fit_intercept == "shared" else 0.0
    allowed = np.abs(intercept - target).max() <= 1e-8 * (1 + abs(target))
    return 0.0 if allowed else np.inf


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
    square = intercept_penalty(intercept[:n_free], K, fit_intercept)
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


# Minimisers


def design(X, codes, F):
    """Rows kron(F[t_i], x_i), so that x_i.w_t = row_i . vec(U) where W = F U."""
    rows = [np.kron(F[t], x) for x, t in zip(X, codes, strict=True)]
    return np.array(rows).reshape(len(X), F.shape[1] * X.shape[1])


def intercept_maps(F, fit_intercept=True):
    """(B, V) with b = B beta + V v, beta free of penalty and v penalised by |v|^2.

    free: b = beta; shared: b = beta 1; shrunk: b = beta 1 + F v; False: b = 0.
    """
    n_tasks = len(F)
    nothing = np.zeros((n_tasks, 0))
    if fit_intercept is True or fit_intercept == "free":
        return np.eye(n_tasks), nothing
    if fit_intercept == "shared":
        return np.ones((n_tasks, 1)), nothing
    if fit_intercept == "shrunk":
        return np.ones((n_tasks, 1)), F
    if fit_intercept is False:
        return nothing, nothing
    raise ValueError(f"no fit_intercept {fit_intercept!r}; one of {INTERCEPTS}")


def maps(K, fit_intercept=True, rules=None):
    """(F, B, V): ``factor`` and ``intercept_maps``, for tasks made of others too."""
    F = factor(K)
    B, V = intercept_maps(F, fit_intercept)
    return (F, B, V) if rules is None else (rules @ F, rules @ B, rules @ V)


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
    F, B, V = maps(K, fit_intercept, rules)
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
    value = objective("squared", coef, intercept, *args, rules=rules)
    return coef, intercept, value


def least_norm(X, y, codes, weight, K, fit_intercept=True, n_tasks=None, rcond=1e-10):
    """Of all minimisers of sum_i c_i (y_i - f_i)^2 the one of smallest Omega.

    With shrunken intercepts Omega includes their term. Returns coef, intercept, value.
    """
    return least_squares(
        X, y, codes, weight, 0.0, K, fit_intercept, n_tasks=n_tasks, rcond=rcond
    )


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
    keep = _rows_that_matter(loss, codes, weight, classes, alone)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    n_outputs = 1
    if loss == "softmax":
        n_outputs = int(y.max()) + 1 if n_classes is None else n_classes

    # 1) predictions, one column per class
    F, B, V = maps(K, fit_intercept, rules)
    D = design(X, codes, F)
    U = cp.Variable((D.shape[1], n_outputs))
    shape = F.shape[1], X.shape[1]
    f, b, constraints = D @ U, None, []
    if penalty is None:
        cost = 0.5 * strength * cp.sum_squares(U)
    else:
        W = [F @ cp.reshape(U[:, k], shape, order="C") for k in range(n_outputs)]
        private = default_private(strength, n_tasks, private)
        cost = _cvxpy_penalty(penalty, cp.vstack(W), strength, private)
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
    fit = _cvxpy_loss(loss, f, y, codes, weight / scale, epsilon, classes)
    goal = cp.Minimize(fit + cost / scale)
    value = _solve(cp.Problem(goal, constraints)) * scale

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
    B, V = intercept_maps(F, fit_intercept)
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
    value = _solve(cp.Problem(cp.Minimize(fit + cost / scale), demands(W, b))) * scale
    return W.value, np.broadcast_to(b.value, len(K)), value


def _count_tasks(codes, K, n_tasks):
    """Number of tasks: as given, by the kernel, or one more than the largest code."""
    if n_tasks is not None:
        return n_tasks
    return int(np.max(codes)) + 1 if isinstance(K, str) else len(K)


def _rows_that_matter(loss, codes, weight, classes, free):
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


def _cvxpy_penalty(name, W, strength, private):
    """P(W) as an expression, W of shape (n_tasks * n_classes, n_features)."""
    import cvxpy as cp

    if name in ("rank", "nuclear"):
        return strength * cp.normNuc(W)
    if name == "l21":
        return strength * cp.sum(cp.norm(W, 2, axis=0))
    P = cp.Variable(W.shape)
    shared = strength * cp.sum(cp.norm(W - P, 2, axis=0))
    return shared + private * cp.sum(cp.abs(P))


def _cvxpy_loss(loss, f, y, codes, weight, epsilon, classes):
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


def _solve(problem):
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


# Lower bounds


def shared_gauge(name, G, alpha, private=None):
    """Least c for which G / c is a subgradient of ``shared_penalty`` at zero."""
    if name in ("rank", "nuclear"):
        return np.linalg.svd(G, compute_uv=False).max() / alpha
    gauge = max(np.sqrt(sum(g**2)) for g in G.T) / alpha
    return max(gauge, np.abs(G).max() / private) if name == "dirty" else gauge


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
    keep = _rows_that_matter(loss, codes, weight, classes, free)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    fixed = predict(coef, 0 * intercept, X, codes)
    b = best_intercepts(loss, fixed, y, codes, weight, strength, classes, fit_intercept)
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
        value -= 0.5 * (sums**2).sum() / strength
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


# Low rank


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
    keep = _rows_that_matter(loss, codes, weight, classes, free)
    X, y, codes, weight = X[keep], y[keep], codes[keep], weight[keep]
    B_map, V_map = intercept_maps(np.eye(n_tasks), fit_intercept)
    ends = np.hstack([B_map, V_map])
    priced = np.repeat([0.0, strength], [B_map.shape[1], V_map.shape[1]])[:, None]
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


# Metrics


def arrmse(Y, Y_pred, train_mean=None):
    """aRRMSE = mean over targets of sqrt(SSE_t / SSE_t of the training mean).

    Unobserved (NaN) entries of ``Y`` are left out, and so are targets without any.
    ``train_mean`` has one entry per target; by default the mean of ``Y`` itself.
    """
    ratios = []
    for t in range(Y.shape[1]):
        observed = [i for i in range(len(Y)) if not np.isnan(Y[i, t])]
        if not observed:
            continue
        if train_mean is None:
            mean = sum(Y[i, t] for i in observed) / len(observed)
        else:
            mean = train_mean[t]
        model = sum((Y[i, t] - Y_pred[i, t]) ** 2 for i in observed)
        constant = sum((Y[i, t] - mean) ** 2 for i in observed)
        ratios.append(np.sqrt(model / constant))
    return sum(ratios) / len(ratios)


def within_task_r2(y, y_pred, task, sample_weight=None):
    """1 - sum_t sum_i s_i (y - y_pred)^2 / sum_t sum_i s_i (y - ybar_t)^2.

    ybar_t is the weighted mean of the labels of task t that are scored.
    """
    s = np.ones(len(y)) if sample_weight is None else sample_weight
    residual, total = 0.0, 0.0
    for name in set(task):
        rows = [i for i in range(len(y)) if task[i] == name]
        mean = sum(s[i] * y[i] for i in rows) / sum(s[i] for i in rows)
        residual += sum(s[i] * (y[i] - y_pred[i]) ** 2 for i in rows)
        total += sum(s[i] * (y[i] - mean) ** 2 for i in rows)
    return 1 - residual / total


def scores_by_task(metric, y, y_pred, task):
    """{id: metric(y, y_pred) over the rows of that task}."""
    scores = {}
    for name in sorted(set(task)):
        rows = [i for i in range(len(y)) if task[i] == name]
        scores[name] = metric(
            np.array([y[i] for i in rows]), np.array([y_pred[i] for i in rows])
        )
    return scores


# Shared mappings


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
):
    """sum_i c_i loss(y_i, V_t h(x_i) + b_t) + 1/2 alpha (all weights squared).

    The biases of layers and heads are free, but for "shrunk": 1/2 alpha sum (b - mean
    b)^2 over the columns that stand for the same label, or for a pair of labels.

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
            total += 0.5 * alpha * sum(apart**2)
        elif fit_intercept in ("shared", False) and fit_intercept is not True:
            if max(abs(apart)) > 1e-10 * (1 + max(map(abs, group))):
                return np.inf
    return total


# Kernel machines


def kernel_gram(k, codes, K, fit_intercept=True):
    """G_ij = K[t_i, t_j] k_ij, plus K[t_i, t_j] where intercepts are shrunk."""
    n = len(codes)
    G = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            tie = K[codes[i], codes[j]]
            G[i, j] = tie * k[i, j] + (tie if fit_intercept == "shrunk" else 0.0)
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
    value = _solve(cp.Problem(goal)) * zero
    return f.value, value
