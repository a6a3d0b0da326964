"""Low-rank factors W = A B: reduced rank regression, and the nuclear norm through them.

    minimise  L(A B) + 1/2 alpha (|A|^2 + |B|^2)

by a trust-region Newton method whose linear systems are solved by conjugate gradients,
preconditioned with the two blocks that alternating least squares would solve. With
enough columns the minimum is that of L(W) + alpha |W|_* (Srebro, Rennie and Jaakkola,
NIPS 2004), and the duality gap of that convex problem says how many are enough. Where
it is a quadratic from moments, `metric` solves it.
"""

from dataclasses import dataclass

import numpy as np

from ...problem.penalties import Nuclear
from ...problem.solution import Solution, Status, goal
from ..linalg import conjugate_gradient, svd
from .factored import CG_STEPS, WHITEN, Factored, average, minimise
from .metric import descend
from .smooth import MomentLoss, Point, aligned_gap, duality_gap

_MARGIN = 1e-5  # of what the gap may be
_PLAIN = 1e-10  # gaps, relative to the objective, at which a second opinion is sought
_MORE = 5  # columns added to the factors at once, at least
_STEPS = 30  # over the factors, until columns are counted again
_EASE = 1e-3  # accuracy of the factors, in gaps, while columns are still missing
_ROUGH = 1e-6  # gap of such a step
_CONVEX = 20  # Newton steps of the convex problem at once
_HALVINGS = 20
_POLISH = 10  # proximal steps where the gap no longer falls
_POWERS = 30  # products that find the largest curvature
_PATIENCE = 4  # rounds without a smaller gap
_FAINT = 1e-13  # share of the objective that a singular value is dropped for
_PATH = 5  # strengths on the way to a second start
_LARGE = 2000  # features whose one matrix of moments may be inverted
_PER_TASK = 25  # of them for a task, where it is inverted for a single fit
_TOGETHER = 1 << 23  # entries of all matrices of moments, worked on together
_OPEN = 1e-12  # relative eigenvalue below which a direction of the features is open


# ---------------------------------------------------------------- nuclear norm


def solve_nuclear(loss, penalty, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise a smooth loss plus the nuclear norm of W.

    Parameters
    ----------
    loss : MomentLoss or RowLoss
    penalty : Nuclear
    tol : float
        The duality gap is compared with tol times the objective of the best model
        without features, or a hundred times the objective itself, whichever is smaller.
    max_iter : int
        Most Newton steps, over all numbers of columns.
    start : ndarray of shape (n_rows, n_features), default=None

    Returns
    -------
    Solution
    """
    scale, alpha = loss.zero_objective, penalty.alpha
    shape = loss.n_rows, loss.n_features
    sharp = _invertible(loss, start is not None)
    look = _look_closely if sharp else _look
    n_iter, history, status = 0, [], Status.MAX_ITER
    best, stuck, done = np.inf, 0, np.inf
    reached, used = np.inf, 0
    if (sharp or _many_of_few(loss)) and loss.coupling is None:
        start, n_iter = descend(loss, alpha, start, tol, max_iter)
    here = look(loss, penalty, np.zeros(shape) if start is None else start)
    while True:
        # 1) gap
        value, gap = here.value, here.gap
        halted = used < _STEPS and gap >= 0.9 * best
        stuck = stuck + 1 if halted else 0
        best = min(gap, best)
        history.append((value, gap / max(scale, 1e-300)))
        enough = goal(tol, scale, value)
        # one step more costs little, and squares the error of the coefficients
        wanted = _MARGIN * enough if sharp and done > enough else enough
        done = gap
        if gap <= wanted:
            status = Status.CONVERGED
            break
        if stuck > _PATIENCE:
            status = Status.STALLED
            break
        if n_iter >= max_iter:
            break
        # 2) columns along which the objective still falls
        A, B, grown = _grow(loss, here.point, here.A, here.B, alpha)
        # 3) minimise over the factors
        aim = _aim(gap, wanted, reached, sharp, grown and not stuck)
        problem = Factored(loss, alpha, A.shape[1])
        most = min(max_iter - n_iter, _STEPS)
        x, used, reached, _ = minimise(problem, problem.pack(A, B), aim, most)
        n_iter += max(used, 1)
        W = problem.product(x)
        if used == _STEPS and problem.exact and not problem.moments:
            n_iter, W = n_iter + 1, _convex_steps(loss, penalty, W)
        elif stuck and not sharp:
            W = _polish(loss, penalty, W)
        here = look(loss, penalty, W, _FAINT * value / alpha)
    status = Status.CONVERGED if gap <= enough else status
    W = here.point.W
    b = loss.intercepts(W, here.point)
    return Solution(
        W, b, value, history[-1][1], max(n_iter, 1), status, history=history
    )


def _invertible(loss, begun):
    """Whether there are moments, few enough to be inverted.

    One matrix for all tasks may be larger, if there are many tasks or it serves a path.
    """
    if not isinstance(loss, MomentLoss):
        return False
    if loss.hessian.size <= WHITEN**2:
        return True
    alike = len(loss.hessian) == 1 and loss.n_features <= _LARGE
    return alike and (begun or loss.n_features <= _PER_TASK * loss.n_rows)


def _many_of_few(loss):
    """Whether there are moments of each task, not too large together."""
    if not isinstance(loss, MomentLoss):
        return False
    whole = loss.n_rows * loss.n_features**2
    return len(loss.hessian) > 1 and whole <= _TOGETHER


def _aim(gap, wanted, reached, sharp, grown):
    """How closely to minimise over the factors.

    The gap falls with what is left, or with its root where it is not a sharp one.
    """
    if grown:
        return _EASE * gap
    share = min(0.1, 0.3 * wanted / gap) ** (1 if sharp else 2)
    return min(_EASE * gap, reached * share, wanted if sharp else np.inf)


@dataclass
class _Here:
    """A point with its balanced factors, the objective and the duality gap."""

    point: Point
    A: np.ndarray
    B: np.ndarray
    value: float
    gap: float


def _look(loss, penalty, W, least=0.0):
    """Where W is, by scaling the residual; lesser singular values are dropped."""
    A, B = _factors(W, least=least)
    point = loss.at(A @ B)
    gauge = penalty.gauge(point.gradient)
    return _Here(point, A, B, *duality_gap(loss, penalty, point, gauge))


def _look_closely(loss, penalty, W, least=0.0):
    """Where one step of proximal gradient leads from W, with the sharper gap.

    Such a step has the rank of the solution where W is close to it, and knows a
    subgradient of the penalty.
    """
    step = 1.0 / max(loss.largest_curvature, 1e-300)
    start = loss.at(W)
    U, s, V = svd(W - step * start.gradient)
    sizes = np.maximum(s - step * penalty.alpha, 0.0)
    inside = (U * (np.minimum(s, step * penalty.alpha) / step)) @ V
    keep = sizes > 1e-14 * s.max(initial=0.0)
    root = np.sqrt(sizes[keep])
    A, B = U[:, keep] * root, root[:, None] * V[keep]
    point = loss.at(A @ B)
    value = point.value + penalty.alpha * float(sizes.sum())
    gap = aligned_gap(loss, penalty, point, value, inside, _PLAIN * value)
    if gap > _PLAIN * value:
        gauge = penalty.gauge(point.gradient)
        gap = min(gap, duality_gap(loss, penalty, point, gauge)[1])
    return _Here(point, A, B, value, max(gap, 0.0))


def _convex_steps(loss, penalty, W):
    """Newton steps of the convex problem itself: each a squared loss and the penalty.

    The valley of good factors can be long and curved; W knows nothing of it.
    """
    every = np.arange(loss.n_features)
    point = loss.at(W)
    value = point.value + penalty.value(W)
    for _ in range(_CONVEX):
        model = loss.quadratic(point, every)
        how = {"tol": _ROUGH, "max_iter": 10 * _STEPS, "start": point.W}
        direction = solve_nuclear(model, penalty, **how).coef - point.W
        before = value
        for _ in range(_HALVINGS):
            new = loss.at(point.W + direction)
            reached = new.value + penalty.value(new.W)
            if reached < value:
                point, value = new, reached
                break
            direction *= 0.5
        if value > (1.0 - _EASE) * before:
            break
    return point.W


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
    U, s, V = svd(W)
    keep = s > max(least, 1e-14 * s.max(initial=0.0))
    if most is not None:
        keep[most:] = False
    root = np.sqrt(s[keep])
    return U[:, keep] * root, root[:, None] * V[keep]


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
    safe = np.maximum(sizes, max(1e-14 * sizes.max(initial=0.0), 1e-150))
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
        problem = Factored(loss, alpha, A.shape[1])
        x = problem.pack(A, B)
        enough = goal(tol, scale, problem.at(x).value)
        x, used, bound, history = minimise(problem, x, enough, max_iter - n_iter)
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
        problem = Factored(loss, strength, A.shape[1])
        x = problem.pack(A, B)
        x = minimise(problem, x, _EASE * problem.at(x).value, CG_STEPS)[0]
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
    H = average(loss)
    if H is None:
        return _factors(W, k)
    if H.ndim == 1:
        root = np.sqrt(H)
        inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        U, s, V = svd(W * root)
        return _balance((U[:, :k] * s[:k]), V[:k] * inverse)
    squares, basis = np.linalg.eigh(H)
    keep = squares > _OPEN * squares[-1]
    root = np.sqrt(squares[keep])
    U, s, V = svd((W @ basis[:, keep]) * root)
    return _balance(U[:, :k] * s[:k], (V[:k] / root) @ basis[:, keep].T)


def _balance(A, B):
    return _factors(A @ B, A.shape[1])
