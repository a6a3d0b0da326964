"""Minima of small convex problems whatever their units: Newton, or a quadratic program.

The twin for thousands of random problems, where those of ``reference`` are too slow or
lose digits to units and levels. A problem is

    sum_i c_i loss(y_i, P_i theta + E_i beta) + 1/2 strength |theta|^2

with scores (n, q), q = 1 but for the softmax. What the free ``E`` explains of ``P`` and
``y`` is taken out first, so that levels cost no digits; columns are divided by their
size, so that units do not either.
"""

import numpy as np
from scipy import linalg, optimize, sparse
from scipy.special import expit, logsumexp

from . import (
    cvxpy_loss,
    cvxpy_penalty,
    default_private,
    factor,
    intercept_maps,
    solved,
)

KINKED = ("hinge", "epsilon_insensitive")


def loss_values(loss, y, z, epsilon=0.0, allowed=None):
    """Loss of every row (n,) at scores (n, q); ``allowed`` (n, q) classes of a row."""
    if loss == "softmax":
        z = np.where(allowed, z, -np.inf)
        return logsumexp(z, axis=1) - z[np.arange(len(y)), y]
    z = z[:, 0]
    if loss == "squared":
        return 0.5 * (y - z) ** 2
    if loss == "logistic":
        return np.logaddexp(0.0, -y * z)
    miss = 1 - y * z if loss.endswith("hinge") else abs(y - z) - epsilon
    miss = np.maximum(miss, 0.0)
    return miss**2 if loss.startswith("squared") else miss


def _slopes(loss, y, z, epsilon, allowed):
    """Gradient (n, q) and a root of the Hessian (n, q, q) of every row's loss."""
    n, q = z.shape
    if loss == "softmax":
        z = np.where(allowed, z, -np.inf)
        p = np.exp(z - logsumexp(z, axis=1)[:, None])
        root = np.sqrt(p)[:, :, None] * (np.eye(q) - p[:, None, :])
        return p - np.eye(q)[y], root
    z = z[:, 0]
    if loss == "squared":
        g, h = z - y, np.ones(n)
    elif loss == "logistic":
        g, h = -y * expit(-y * z), expit(z) * expit(-z)
    else:
        hinge = loss.endswith("hinge")
        side = -y if hinge else np.sign(z - y)
        miss = 1 - y * z if hinge else abs(y - z) - epsilon
        g, h = 2 * np.maximum(miss, 0) * side, 2.0 * (miss > 0)
    return g[:, None], np.sqrt(h)[:, None, None]


def _without(E, c, columns):
    """What the columns of ``E`` do not explain, by rows' weights ``c``; twice, for
    digits."""
    if not E.shape[1] or not columns.shape[1]:
        return columns
    root = np.sqrt(c)[:, None]
    for _ in range(2):
        columns = columns - E @ linalg.lstsq(root * E, root * columns)[0]
    return columns


def least(loss, P, E, y, c, strength, epsilon=0.0, allowed=None):
    """The least value of the problem of this module's head.

    Parameters
    ----------
    P : ndarray of shape (n, n_penalised)
    E : ndarray of shape (n, n_free)
    y, c : ndarray of shape (n,)
    strength : float, greater than 0
    """
    seen = c > 0
    P, E, y, c = P[seen], E[seen], y[seen], c[seen]
    allowed = None if allowed is None else allowed[seen]
    unit = 1.0
    if loss in ("squared", "squared_epsilon_insensitive", "epsilon_insensitive"):
        y = _without(E, c, y.astype(float)[:, None])[:, 0]
        unit = abs(y).max() or 1.0
        y, epsilon = y / unit, epsilon / unit
    P = _without(E, c, P)
    power = 1 if loss in KINKED else 2
    mass = c.sum()
    c = c / mass
    # theta = S phi: a unit of phi costs about as much as one of the scores
    price = strength * unit ** (2 - power) / mass
    S = 1 / np.sqrt(price + (c[:, None] * P**2).sum(axis=0))
    P, price = P * S, price * S**2
    if not P.shape[1] + E.shape[1]:
        return c @ _at_zero(loss, y, epsilon, allowed) * mass * unit**power
    solve = _program if loss in KINKED else _newton
    return solve(loss, P, E, y, c, price, epsilon, allowed) * mass * unit**power


def _newton(loss, P, E, y, c, price, epsilon, allowed):
    """Newton with an exact search along the line, to the limits of rounding."""
    A = np.hstack([P, E])
    price = np.append(price, np.zeros(E.shape[1]))
    q = 1 if allowed is None else allowed.shape[1]
    n, m = A.shape
    x = np.zeros((m, q))

    def value(x):
        rows = loss_values(loss, y, A @ x, epsilon, allowed)
        return c @ rows + 0.5 * (price[:, None] * x**2).sum()

    ridge = np.kron(np.diag(np.sqrt(price)), np.eye(q))[np.repeat(price > 0, q)]
    best, damping = value(x), 0.0
    for _ in range(200):
        slope, root = _slopes(loss, y, A @ x, epsilon, allowed)
        g = A.T @ (c[:, None] * slope) + price[:, None] * x
        root = np.sqrt(c)[:, None, None] * root
        stack = np.einsum("nab,nm->namb", root, A).reshape(n * q, m * q)
        stack = np.vstack([stack, ridge, np.sqrt(damping) * np.eye(m * q)])
        _, s, V = linalg.svd(stack, full_matrices=False, check_finite=False)
        # a softmax does not mind what is added to all of its scores
        keep = s > (1e-15 if q == 1 else 1e-12) * s[0]
        step = -(V[keep].T @ ((V[keep] @ g.ravel()) / s[keep] ** 2)).reshape(m, q)
        decrement = -(g * step).sum()
        if decrement <= 1e-15 * best:
            break

        def along(t, x=x, step=step):
            at = x + t * step
            slope = _slopes(loss, y, A @ at, epsilon, allowed)[0]
            return (A @ step * c[:, None] * slope).sum() + (
                price[:, None] * at * step
            ).sum()

        end = 1.0
        while along(end) < -1e-12 * decrement and end < 1e3:
            end *= 2.0
        t = end
        if along(0.0) >= 0:
            t = 0.0
        elif along(end) > 0:
            t = optimize.brentq(along, 0.0, end, xtol=1e-14, rtol=1e-14)
        found = value(x + t * step)
        stuck = not found < best
        if stuck and damping > 1.0:
            break
        # where rows without curvature leave directions open, steps are kept short
        damping = max(100 * damping, 1e-9) if stuck or t < 1e-2 else damping / 100
        damping *= damping > 1e-12
        if not stuck:
            x, best = x + t * step, found
    return best


def _program(loss, P, E, y, c, price, epsilon, allowed):
    """A quadratic program in (theta, beta, xi) by Clarabel."""
    import clarabel

    n, m, k = len(y), P.shape[1], E.shape[1]
    Q = sparse.diags_array(np.concatenate([price, np.zeros(k + n)])).tocsc()
    cost = np.concatenate([np.zeros(m + k), c])
    A, one = np.hstack([P, E]), np.eye(n)
    if loss == "hinge":
        sides, limits = [-y[:, None] * A], [-np.ones(n)]
    else:
        sides, limits = [A, -A], [y + epsilon, epsilon - y]
    # A x - xi <= limit, xi >= 0
    rows = np.vstack(
        [*(np.hstack([s, -one]) for s in sides), np.eye(n, m + k + n, m + k) * -1]
    )
    limits = np.concatenate([*limits, np.zeros(n)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    cones = [clarabel.NonnegativeConeT(len(limits))]
    found = clarabel.DefaultSolver(
        Q, cost, sparse.csc_array(rows), limits, cones, settings
    ).solve()
    if str(found.status) not in ("Solved", "AlmostSolved"):
        raise RuntimeError(f"the quadratic program ended {found.status}")
    x = np.array(found.x[: m + k])
    z = (A @ x)[:, None]
    return c @ loss_values(loss, y, z, epsilon) + 0.5 * price @ x[:m] ** 2


def least_shared(loss, penalty, P, V, E, y, c, strength, n_features):
    """The least value with a penalty on shared features in place of a square, by cvxpy.

    Parameters
    ----------
    loss : "squared" or "logistic"
    P : ndarray of shape (n, n_tasks * n_features)
        Columns of the coefficients, task after task.
    V : ndarray of shape (n, n_deviations)
        Those of the intercepts' deviations, which cost 1/2 strength |v|^2.
    """
    import cvxpy as cp

    seen = c > 0
    P, V, E, y, c = P[seen], V[seen], E[seen], y[seen], c[seen]
    unit = 1.0
    if loss == "squared":
        y = _without(E, c, y.astype(float)[:, None])[:, 0]
        unit = abs(y).max() or 1.0
    y, mass = y / unit, c.sum()
    P, V = _without(E, c, P), _without(E, c, V)
    c, n_tasks = c / mass, P.shape[1] // n_features
    size = np.sqrt((c[:, None] * P**2).sum(axis=0).reshape(n_tasks, -1).max(axis=0))
    size[size == 0] = 1.0
    Z = cp.Variable((n_tasks, n_features))
    f = (P / np.tile(size, n_tasks)) @ cp.vec(Z, order="C")
    price = strength / mass
    cost = 0.0
    for block, weight in ((E, 0.0), (V, price)):
        if block.shape[1]:
            beta = cp.Variable(block.shape[1])
            f, cost = f + block @ beta, cost + 0.5 * weight * cp.sum_squares(beta)
    price /= unit
    own = default_private(price, n_tasks)
    cost += cvxpy_penalty(penalty, Z @ np.diag(1 / size), price, own)
    fit = cvxpy_loss(loss, f[:, None], y, None, c, 0.0, None)
    return solved(cp.Problem(cp.Minimize(fit + cost))) * mass * unit**2


def _at_zero(loss, y, epsilon, allowed=None):
    zero = np.zeros((len(y), 1) if allowed is None else allowed.shape)
    return loss_values(loss, y, zero, epsilon, allowed)


class Tied:
    """The problem of tasks tied by a kernel ``K`` and perhaps by ``rules``.

    Parameters
    ----------
    K : ndarray of shape (n_free, n_free)
    mode : "free", "shrunk", "shared" or False
    rules : ndarray of shape (n_tasks, n_free) or None
        Every task as a combination of the free ones.
    """

    def __init__(self, K, mode, rules=None):
        self.F = factor(K)
        B, V = intercept_maps(self.F, mode)
        rules = np.eye(len(K)) if rules is None else rules
        self.rules, self.mode = rules, mode
        self.kernel = rules @ K @ rules.T
        self.W_map, self.B, self.V = rules @ self.F, rules @ B, rules @ V

    def penalised(self, X, codes):
        """Columns of the coefficients, and of the intercepts' deviations."""
        F = self.W_map[codes]
        columns = (F[:, :, None] * X[:, None, :]).reshape(len(X), -1)
        return columns, self.V[codes]

    def free(self, codes):
        """Columns of the free intercepts."""
        return self.B[codes]

    def omega(self, W, b):
        """Penalty of W (n_tasks, n_features) and b; infinite where a rule is broken."""
        inverse = np.linalg.pinv(self.W_map)
        U = inverse @ W
        size = abs(W).max(axis=0) + 1e-300
        if (abs(self.W_map @ U - W) / size).max(initial=0.0) > 1e-8:
            return np.inf
        ends = np.hstack([self.B, self.V])
        beta = np.linalg.pinv(ends) @ b if ends.shape[1] else np.zeros(0)
        if abs(ends @ beta - b).max() > 1e-8 * (abs(b).max() + 1e-300):
            return np.inf
        if self.V.shape[1]:
            # the cheapest deviations that, with a common intercept, give b
            at, one = inverse @ b, inverse @ self.B[:, 0]
            at = at - one * (one @ at) / (one @ one)
            return (U**2).sum() + at @ at
        return (U**2).sum()
