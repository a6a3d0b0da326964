"""Low-rank factors W = A B: reduced rank regression, and the nuclear norm through them.

    minimise  L(A B) + 1/2 alpha (|A|^2 + |B|^2)

by a trust-region Newton method whose linear systems are solved by conjugate gradients,
preconditioned with the two blocks that alternating least squares would solve. With
enough columns the minimum is that of L(W) + alpha |W|_* (Srebro, Rennie and Jaakkola,
NIPS 2004), and the duality gap of that convex problem says how many are enough.
"""

import numpy as np
from scipy import linalg

from ..penalties import Nuclear
from ..solution import Solution, Status
from .coupled import conjugate_gradient, factor_spd, solve_spd
from .newton import goal
from .smooth import MomentLoss, duality_gap, sharper_gap

_MORE = 5  # columns added to the factors at once, at least
_EASE = 1e-3  # accuracy of the factors, in gaps, while columns are still missing
_POLISH = 10  # proximal steps where the gap no longer falls
_POWERS = 30  # products that find the largest curvature
_PATIENCE = 4  # rounds without a smaller gap
_FAINT = 1e-13  # share of the objective that a singular value is dropped for
_WHITEN = 700  # features up to which an eigendecomposition of their Gram pays
_DENSE = 1500  # unknowns of B up to which a dense system is solved
_CG_STEPS = 300
_PATH = 5  # strengths on the way to a second start
_TRIES = 15
_OPEN = 1e-12  # relative eigenvalue below which a direction of the features is open


# ---------------------------------------------------------------- nuclear norm


def solve_nuclear(loss, penalty, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise a smooth loss plus the nuclear norm of W.

    Parameters
    ----------
    loss : MomentLoss or RowLoss
    penalty : Nuclear
    tol : float
        The duality gap is compared with tol times the objective of the zero model, or a
        hundred times the objective itself, whichever is smaller.
    max_iter : int
        Most Newton steps, over all numbers of columns.
    start : ndarray of shape (n_rows, n_features), default=None

    Returns
    -------
    Solution
    """
    scale, alpha = loss.zero_objective, penalty.alpha
    A, B = _factors(
        np.zeros((loss.n_rows, loss.n_features)) if start is None else start
    )
    n_iter, history, status = 0, [], Status.MAX_ITER
    reached, best, stuck = np.inf, np.inf, 0
    while True:
        # 1) gap
        point = loss.at(A @ B)
        gauge = penalty.gauge(point.gradient)
        sharp = isinstance(loss, MomentLoss) and loss.hessian.size <= _WHITEN**2
        measure = sharper_gap if sharp and A.shape[1] else duality_gap
        value, gap = measure(loss, penalty, point, gauge)
        stuck = 0 if not history or gap < 0.9 * best else stuck + 1
        best = gap if not history else min(best, gap)
        history.append((value, gap / max(scale, 1e-300)))
        enough = goal(tol, scale, value)
        if gap <= enough:
            status = Status.CONVERGED
            break
        if stuck > _PATIENCE:
            status = Status.STALLED
            break
        if n_iter >= max_iter:
            break
        # 2) columns along which the objective still falls
        A, B, grown = _grow(loss, point, A, B, alpha)
        # 3) minimise over the factors; the gap falls with the root of what is left
        aim = reached * min(0.1, 0.3 * enough / gap) ** 2
        aim = _EASE * gap if grown and not stuck else min(_EASE * gap, aim)
        problem = _Factored(loss, alpha, A.shape[1])
        x, used, reached, _ = _minimise(
            problem, problem.pack(A, B), aim, max_iter - n_iter
        )
        n_iter += max(used, 1)
        W = problem.product(x)
        if stuck:
            W = _polish(loss, penalty, W)
        A, B = _factors(W, least=_FAINT * value / alpha)
    W = A @ B
    b = loss.intercepts(W, point)
    return Solution(
        W, b, value, history[-1][1], max(n_iter, 1), status, history=history
    )


def _polish(loss, penalty, W):
    """A few steps of proximal gradient from a point that is nearly the minimum.

    A small singular value hardly moves the objective of the factors, which ends with
    more of the gap than rounding leaves of the singular values themselves.
    """
    point = loss.at(W)
    V = np.random.default_rng(0).standard_normal(W.shape)
    for _ in range(_POWERS):
        V = loss.bend(V / max(np.linalg.norm(V), 1e-300), point)
    bound = 1.1 * np.linalg.norm(V)  # of the curvature
    if not bound > 0:
        return W
    for _ in range(_POLISH):
        W = penalty.prox(W - point.gradient / bound, 1.0 / bound)
        point = loss.at(W)
    return W


def _factors(W, most=None, least=0.0):
    """Balanced factors of W by its singular values above `least`, at most `most`."""
    U, s, V = _svd(W)
    keep = s > max(least, 1e-14 * s.max(initial=0.0))
    if most is not None:
        keep[most:] = False
    root = np.sqrt(s[keep])
    return U[:, keep] * root, root[:, None] * V[keep]


def _svd(W):
    try:
        return np.linalg.svd(W, full_matrices=False)
    except (
        np.linalg.LinAlgError
    ):  # the faster driver may fail where the slower does not
        return linalg.svd(W, full_matrices=False, lapack_driver="gesvd")


def _grow(loss, point, A, B, alpha):
    """Add the singular vectors of the gradient whose values exceed alpha.

    Returns
    -------
    A, B : ndarray
    grown : bool
        Whether any exceeds it by more than the factors' own inaccuracy.
    """
    left, sizes, right = _leading(point.gradient)
    # those in use already have values about alpha
    out = int(np.sum(sizes > alpha * (1.0 + 1e-9)))
    more = min(out, max(_MORE, A.shape[1]))
    if more == 0:
        return A, B, False
    left, sizes, right = left[:, :more], sizes[:more], right[:more]
    bends = np.array(
        [
            np.vdot(np.outer(u, v), loss.bend(np.outer(u, v), point))
            for u, v in zip(left.T, right, strict=True)
        ]
    )
    size = (sizes - alpha) / np.maximum(bends, 1e-300)
    size = np.where(bends > 0, size, 0.0) / more
    root = np.sqrt(size)
    grown = out > A.shape[1] or sizes[0] > 1.01 * alpha
    A, B = np.hstack([A, -left * root]), np.vstack([B, root[:, None] * right])
    if A.shape[1] > min(A.shape[0], B.shape[1]):
        A, B = _factors(A @ B)
    return A, B, grown


def _leading(G):
    """Singular vectors and values of G, largest first, by the smaller Gram."""
    tall = G.shape[0] > G.shape[1]
    small = G.T @ G if tall else G @ G.T
    squares, basis = np.linalg.eigh(small)
    sizes = np.sqrt(np.maximum(squares[::-1], 0.0))
    basis = basis[:, ::-1]
    safe = np.maximum(sizes, 1e-300)
    if tall:
        return (G @ basis) / safe, sizes, basis.T
    return basis, sizes, (basis.T @ G) / safe[:, None]


# ---------------------------------------------------------------- a given rank


def solve_low_rank(loss, n_components, alpha, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise a smooth loss over factors with `n_components` columns.

    Below full rank the problem is not convex. It starts from the nuclear-norm solution
    of the same strength: if that has no more than `n_components` singular values it is
    the global minimum, and its duality gap the certificate; else it is truncated, and
    the end is a stationary point no higher than that start.

    Parameters
    ----------
    loss : MomentLoss or RowLoss
    n_components : int
    alpha : float
        At least 0.
    tol : float
        Compared, relative to the objective of the zero model, with the decrease that a
        step still promises (weaker than a bound on the distance from the minimum) or,
        where the minimum is global, with the duality gap.
    max_iter : int
        Most Newton steps.
    start : ndarray of shape (n_rows, n_features), default=None

    Returns
    -------
    Solution
    """
    scale, n_iter = loss.zero_objective, 0
    k = min(n_components, loss.n_rows, loss.n_features)
    given = start is not None and bool(np.any(start))
    full = k == min(loss.n_rows, loss.n_features)
    W = start
    if alpha > 0 and (full or not given):
        convex = solve_nuclear(
            loss, Nuclear(alpha), tol=tol, max_iter=max_iter, start=start
        )
        rank = _factors(convex.coef)[0].shape[1]
        if rank <= k:
            return convex
        n_iter, W = convex.n_iter, convex.coef
    elif not given:
        W = _least_squares_start(loss)
    ends = []
    for A, B in [_factors(start, k)] if given else _starts(loss, W, k, alpha):
        problem = _Factored(loss, alpha, A.shape[1])
        x = problem.pack(A, B)
        enough = goal(tol, scale, problem.at(x).value)
        x, used, bound, history = _minimise(problem, x, enough, max_iter - n_iter)
        n_iter += used
        ends.append((history[-1][0], bound, problem.product(x), history))
    value, bound, W, history = min(ends, key=lambda end: end[0])
    status = Status.STALLED if n_iter < max_iter else Status.MAX_ITER
    if bound <= goal(tol, scale, value):
        status = Status.CONVERGED
    return Solution(
        W,
        loss.intercepts(W),
        value,
        bound / max(scale, 1e-300),
        max(n_iter, 1),
        status,
        history=[(v, d / max(scale, 1e-300)) for v, d in history],
    )


def _starts(loss, W, k, alpha):
    """Factors of rank k to begin at: there are local minima.

    The spectral truncation of the convex solution; and the end of a path of falling
    strengths, from one that leaves about k singular values.
    """
    yield _truncate(loss, W, k)
    G = loss.at(np.zeros((loss.n_rows, loss.n_features))).gradient
    sizes = _leading(G)[1]
    strong = max(sizes[min(k, len(sizes) - 1)], alpha, 1e-3 * sizes[0])
    if strong == 0:
        return
    A, B = _factors(solve_nuclear(loss, Nuclear(strong), tol=1e-3).coef, k)
    for strength in np.geomspace(strong, max(alpha, 1e-3 * strong), _PATH)[1:]:
        problem = _Factored(loss, strength, A.shape[1])
        x = problem.pack(A, B)
        x = _minimise(problem, x, _EASE * problem.at(x).value, _CG_STEPS)[0]
        A, B = problem.unpack(x)
    yield A, B


def _least_squares_start(loss):
    """Coefficients with next to no penalty: conjugate gradients from zero."""
    point = loss.at(np.zeros((loss.n_rows, loss.n_features)))
    diagonal = loss.diagonal
    floor = 1e-10 * diagonal.max(initial=1e-300)
    return conjugate_gradient(
        lambda V: loss.bend(V, point) + floor * V,
        -point.gradient,
        lambda R: R / (diagonal + floor),
        tol=1e-8,
        max_iter=500,
    )


def _truncate(loss, W, k):
    """Rank k by the singular values of the fitted values, all tasks taken alike."""
    H = _average(loss)
    if H is None:
        return _factors(W, k)
    if H.ndim == 1:
        root = np.sqrt(H)
        inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        U, s, V = _svd(W * root)
        return _balance((U[:, :k] * s[:k]), V[:k] * inverse)
    squares, basis = np.linalg.eigh(H)
    keep = squares > _OPEN * squares[-1]
    root = np.sqrt(squares[keep])
    U, s, V = _svd((W @ basis[:, keep]) * root)
    return _balance(U[:, :k] * s[:k], (V[:k] / root) @ basis[:, keep].T)


def _balance(A, B):
    return _factors(A @ B, A.shape[1])


def _average(loss):
    """Mean curvature of the tasks: (d, d), or its diagonal where d is large."""
    if isinstance(loss, MomentLoss) and loss.n_features <= _WHITEN:
        share = np.bincount(loss.block, weights=loss.scale, minlength=len(loss.hessian))
        return np.tensordot(share, loss.hessian, axes=1) / loss.n_rows
    return loss.diagonal.mean(axis=0)


# ---------------------------------------------------------------- closed form


def solve_reduced_rank(data, intercept, n_components):
    """Least squares of a given rank where all tasks have their rows in common.

    With U S V' the (weighted, centred) rows and lambda the task weights, the best W has
    sqrt(lambda) W V S = the leading singular triplets of sqrt(lambda) Y' U (Izenman,
    Journal of Multivariate Analysis 5, 1975).

    Parameters
    ----------
    data : TaskData
    intercept : {"free", "shrunk", "shared", "none"}
    n_components : int

    Returns
    -------
    Solution, or None
        None where labels are missing, weights differ by task or one intercept serves
        several tasks: there is no closed form.
    """
    weight = data.sample_weight
    common = data.wide and bool(data.observed.all())
    common &= weight is None or weight.ndim == 1
    if not common or intercept == "shared":
        return None
    X = data.X.toarray() if data.sparse else data.X
    root = np.ones(len(X)) if weight is None else np.sqrt(weight)
    mean, level = np.zeros(data.n_features), np.zeros(data.n_tasks)
    if intercept != "none":
        mean = np.average(X, axis=0, weights=weight)
        level = np.average(data.y, axis=0, weights=weight)
    tasks = np.sqrt(
        np.ones(data.n_tasks) if data.task_weight is None else data.task_weight
    )
    U, s, V = _svd((X - mean) * root[:, None])
    open_ = s > _OPEN * s.max(initial=0.0)
    U, s, V = U[:, open_], s[open_], V[open_]
    target = ((data.y - level) * root[:, None] * tasks).T
    L, size, R = _svd(target @ U)
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


# ---------------------------------------------------------------- Newton on factors


class _Factored:
    """L(A B) + 1/2 alpha (|A|^2 + |B|^2) as a function of one long vector."""

    def __init__(self, loss, alpha, k):
        self.loss, self.alpha, self.k = loss, alpha, k
        self.cut = loss.n_rows * k
        self._spectrum = None

    def pack(self, A, B):
        return np.concatenate([A.ravel(), B.ravel()])

    def unpack(self, x):
        A = x[: self.cut].reshape(self.loss.n_rows, self.k)
        return A, x[self.cut :].reshape(self.k, self.loss.n_features)

    def product(self, x):
        A, B = self.unpack(x)
        return A @ B

    def at(self, x):
        """Point of the loss with the value and gradient of the whole."""
        A, B = self.unpack(x)
        point = self.loss.at(A @ B)
        value = point.value + 0.5 * self.alpha * float(x @ x)
        G = point.gradient
        gradient = self.pack(G @ B.T, A.T @ G) + self.alpha * x
        return _Place(x, value, gradient, point)

    def bend(self, place, v):
        """Second derivative along v."""
        A, B = self.unpack(place.x)
        dA, dB = self.unpack(v)
        G = place.point.gradient
        H = self.loss.bend(dA @ B + A @ dB, place.point)
        return self.pack(H @ B.T + G @ dB.T, A.T @ H + dA.T @ G) + self.alpha * v

    @property
    def settles(self):
        """Whether B can be minimised exactly with A held."""
        small = self.k * self.loss.n_features <= _DENSE
        return small and isinstance(self.loss, MomentLoss)

    def settle(self, place):
        """The place with the best B for its A: one system of k * d unknowns."""
        A, _ = self.unpack(place.x)
        loss, size = self.loss, self.k * self.loss.n_features
        pairs = (A * loss.scale[:, None])[:, :, None] * A[:, None, :]
        mixed = np.zeros((len(loss.hessian), self.k, self.k))
        np.add.at(mixed, loss.block, pairs)
        H = np.einsum("ukl,uij->kilj", mixed, loss.hessian, optimize=True)
        H = H.reshape(size, size)
        if loss.coupling is not None:
            tied = (A.T @ loss.coupling).ravel()
            H -= np.outer(tied, tied)
        H[np.diag_indices(size)] += self.alpha + 1e-14 * np.abs(np.diag(H)).max()
        B = solve_spd(factor_spd(H), (A.T @ loss.target).ravel())
        return self.at(self.pack(A, B.reshape(self.k, -1)))

    def preconditioner(self, place):
        """Apply the inverse of the two blocks of alternating least squares."""
        A, B = self.unpack(place.x)
        left = self._left_blocks(B, place)
        spread, turn = np.linalg.eigh(A.T @ A)
        if isinstance(self.loss, MomentLoss) and self.loss.n_features <= _WHITEN:
            if self._spectrum is None:
                self._spectrum = np.linalg.eigh(_average(self.loss))
            level, basis = self._spectrum
        else:
            level, basis = self._diagonal(place).mean(axis=0), None
        bottom = np.maximum(spread, 0.0)[:, None] * np.maximum(level, 0.0) + self.alpha
        bottom += max(1e-12 * bottom.max(initial=0.0), 1e-300)

        def apply(v):
            dA, dB = self.unpack(v)
            dA = np.matmul(left, dA[:, :, None])[:, :, 0]
            dB = turn.T @ dB
            if basis is None:
                dB = dB / bottom
            else:
                dB = ((dB @ basis) / bottom) @ basis.T
            return self.pack(dA, turn @ dB)

        return apply

    def _diagonal(self, place):
        if isinstance(self.loss, MomentLoss):
            return self.loss.diagonal
        return self.loss.diagonal_at(place.point)

    def _left_blocks(self, B, place):
        """Inverses of B H_t B' + alpha, (n_rows, k, k)."""
        loss = self.loss
        if isinstance(loss, MomentLoss):
            inner = np.matmul(np.matmul(B, loss.hessian), B.T)
            M = loss.scale[:, None, None] * inner[loss.block]
        else:
            M = np.einsum("kj,tj,lj->tkl", B, self._diagonal(place), B, optimize=True)
        index = np.arange(self.k)
        M[:, index, index] += self.alpha
        level = np.abs(M[:, index, index]).max(axis=1, initial=0.0)
        M[:, index, index] += np.maximum(1e-12 * level, 1e-300)[:, None]
        return np.linalg.inv(M)


class _Place:
    """Where a step starts: x, value, gradient, and the loss's own point."""

    def __init__(self, x, value, gradient, point):
        self.x, self.value, self.gradient, self.point = x, value, gradient, point


def _minimise(problem, x, enough, max_iter):
    """Trust-region Newton steps; the objective never rises.

    Returns
    -------
    x : ndarray
    n_iter : int
    bound : float
        The decrease that a preconditioned step promises, 1/2 g' P^-1 g.
    history : list of (objective, bound)
    """
    place, radius, history = problem.at(x), None, []
    n_iter = 0
    while True:
        apply = problem.preconditioner(place)
        z = apply(place.gradient)
        bound = 0.5 * float(place.gradient @ z)
        history.append((place.value, bound))
        if bound <= enough or n_iter >= max_iter or not np.isfinite(bound):
            break
        n_iter += 1
        if radius is None:
            radius = 3.0 * np.sqrt(2.0 * max(bound, 0.0))
        place, radius, moved = _trust_region_step(problem, place, apply, z, radius)
        if not moved:
            break
    return place.x, n_iter, bound, history


def _trust_region_step(problem, place, apply, z, radius):
    """Shrink the region until the objective falls as the model says.

    Returns
    -------
    place : _Place
    radius : float
    moved : bool
    """
    noise = 1e-14 * abs(place.value)
    for _ in range(_TRIES):
        step, length, promised = _truncated_cg(problem, place, apply, z, radius)
        new = problem.at(place.x + step)
        gain = place.value - new.value
        if promised <= noise:
            # the objective has no digits left to judge by: the gradient has
            before = float(place.gradient @ z)
            after = float(new.gradient @ apply(new.gradient))
            better = gain >= -noise and after < 0.5 * before
            return (new if better else place), radius, better
        ratio = gain / promised
        if ratio < 0.5 and problem.settles:
            # the valley of good factors is curved: back to its floor
            new = problem.settle(new)
            ratio = (place.value - new.value) / promised
        if ratio > 0.75:
            radius = max(radius, 2.0 * length)
        elif not ratio > 0.25:
            radius = 0.25 * length
        if ratio > 1e-4:
            return new, radius, True
    return place, radius, False


def _truncated_cg(problem, place, apply, z, radius):
    """Steihaug's conjugate gradients: stop at negative curvature or at the radius.

    Lengths are in the norm of the preconditioner, so that units do not matter.

    Returns
    -------
    step : ndarray
    length : float
    promised : float
        Decrease of the quadratic model.
    """
    r, direction = place.gradient.copy(), -z
    step, promised = np.zeros_like(r), 0.0
    rz = float(r @ z)
    limit = min(0.1, np.sqrt(rz / max(abs(place.value), 1e-300))) ** 2 * rz
    # squared lengths of the step and of the direction, and their product
    whole, along, mixed = 0.0, rz, 0.0
    for _ in range(_CG_STEPS):
        bent = problem.bend(place, direction)
        curvature = float(direction @ bent)
        size = rz / curvature if curvature > 0 else np.inf
        out = size == np.inf
        out = out or whole + 2.0 * size * mixed + size * size * along >= radius**2
        if out:
            root = np.sqrt(max(mixed * mixed + along * (radius**2 - whole), 0.0))
            size = (root - mixed) / along
        promised += size * rz - 0.5 * size * size * curvature
        step = step + size * direction
        whole += 2.0 * size * mixed + size * size * along
        if out:
            break
        r = r + size * bent
        z = apply(r)
        now = float(r @ z)
        if now <= limit:
            break
        turn = now / rz
        direction = -z + turn * direction
        mixed = turn * (mixed + size * along)
        along = now + turn * turn * along
        rz = now
    return step, np.sqrt(max(whole, 0.0)), promised
