"""Smooth loss + a task covariance that is learned with the coefficients.

    minimise  L(W, b) + 1/2 alpha tr(W' K^-1 W)  over W, b and K,  tr K = n_tasks.

The best K for given W is (W W')^1/2, scaled to that trace (Zhang and Yeung, UAI 2010),
and leaves 1/2 alpha / n_tasks times the square of the nuclear norm of W. The minimum is
that of the nuclear norm itself at some strength beta, the one with beta = alpha
|W(beta)|_* / n_tasks: a root of one variable, each value of which is a convex problem
with a certificate.
"""

import numpy as np

from ...problem.intercepts import SHARED
from ...problem.penalties import Nuclear
from ...problem.solution import Solution, Status, goal
from .low_rank import solve_nuclear
from .smooth import MomentLoss, RowLoss, squared_loss

_STEPS = 10  # Newton steps that each of `max_iter` stands for
_ROUNDS = 40  # strengths that are tried, at most
_FIRST = 0.1  # share of the largest strength at which to begin
_EASE = 1e-2  # accuracy of a strength's solution, in what the root still lacks


def solve_learned(part, loss, alpha, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise a smooth loss under a learned covariance of the tasks.

    Parameters
    ----------
    part : object with `data`, `moments` and `intercept`
        What is learned from; rows suffice.
    loss : object of `mtlearn.problem.losses` of one score, or None
        None is the squared loss, from moments where those are known or pay.
    alpha : float
        Greater than 0.
    tol : float
        The certificate, a duality gap, is compared with tol times the objective of the
        best model without features, or a hundred times the objective itself, whichever
        is smaller.
    max_iter : int
        Most tens of Newton steps, over all strengths.
    start : (coef, intercept), default=None

    Returns
    -------
    Solution

    Notes
    -----
    With s the nuclear norm of W, solved at beta to a duality gap g, the gap of the
    problem itself is at most g + n_tasks (beta - alpha s / n_tasks)^2 / (2 alpha).
    """
    smooth = _loss_of(part, loss)
    intercept, n_tasks = part.intercept, smooth.n_rows
    W = None if start is None else _extended(*start, intercept)
    search = _Search(smooth, alpha / n_tasks, W)
    history, n_iter, status = [], 0, Status.MAX_ITER
    most = _STEPS * max_iter
    for _ in range(_ROUNDS):
        # 1) the nuclear norm at a strength, as closely as its root is known
        ease = max(tol, _EASE * search.lacks / max(smooth.zero_objective, 1e-300))
        found = search.solve(min(ease, 1e-3), most - n_iter)
        n_iter += found.n_iter
        # 2) what that leaves of the problem itself
        value, gap = search.value(found), search.gap(found)
        history.append((value, gap / max(smooth.zero_objective, 1e-300)))
        if gap <= goal(tol, smooth.zero_objective, value):
            status = Status.CONVERGED
            break
        if n_iter >= most:
            break
        # 3) the next strength
        search.move(found)
    status = found.status if len(history) == _ROUNDS else status
    return _as_user(found, intercept, n_tasks, history, n_iter, status)


def _loss_of(part, loss):
    """The loss with what the covariance ties: the shrunken intercepts are a feature."""
    by_moments = loss is None and part.moments is not None
    source, intercept = part.moments if by_moments else part.data, part.intercept
    if intercept.shrunk:
        source, intercept = source.with_constant(intercept.unit), SHARED
    if by_moments:
        return MomentLoss(source, intercept)
    if loss is None:
        return squared_loss(source, intercept, 0.0)
    return RowLoss(source, loss, intercept)


class _Search:
    """The strength of the nuclear norm, between one too weak and one too strong."""

    def __init__(self, smooth, share, W):
        self.smooth, self.share, self.W = smooth, share, W
        largest = Nuclear(1.0).zero_strength(smooth.target)
        self.low, self.high = 0.0, max(largest, 1e-300)
        self.beta = _FIRST * self.high
        self.last, self.lacks = None, np.inf
        if W is not None and np.any(W):
            # the last fit's strength may be the one: nothing is gained by a rough start
            self.beta, self.lacks = min(share * _size(W), self.high), 0.0

    def solve(self, tol, max_iter):
        """The best W at the present strength."""
        return solve_nuclear(
            self.smooth, Nuclear(self.beta), tol=tol, max_iter=max_iter, start=self.W
        )

    def value(self, found):
        """The objective at what was found, its certificate's penalty replaced."""
        size = _size(found.coef)
        return found.objective - self.beta * size + 0.5 * self.share * size * size

    def gap(self, found):
        """A bound on its distance from the minimum."""
        short = self.beta - self.share * _size(found.coef)
        self.lacks = short * short / (2.0 * self.share)
        return found.certificate * self.smooth.zero_objective + self.lacks

    def move(self, found):
        """Newton's method by secants in the logarithms, kept between the bounds."""
        self.W, ahead = found.coef, self.share * _size(found.coef)
        if ahead > self.beta:
            self.low = self.beta
        else:
            self.high = self.beta
        here = np.log(self.beta), np.log(max(ahead, 1e-300) / self.beta)
        if self.last is None or self.last[0] == here[0]:
            step = 0.5 * here[1]
        else:
            slope = (here[1] - self.last[1]) / (here[0] - self.last[0])
            step = -here[1] / slope if slope < 0 else 0.5 * here[1]
        self.last, beta = here, np.exp(here[0] + np.clip(step, -5.0, 5.0))
        if not self.low < beta < self.high:
            beta = np.sqrt(max(self.low, 1e-3 * self.high) * self.high)
        self.beta = beta


def _size(W):
    """Nuclear norm."""
    return float(np.linalg.svd(W, compute_uv=False).sum())


def _extended(coef, b, intercept):
    """W with the intercepts' deviations as a last feature, where they are tied too."""
    if not intercept.shrunk:
        return coef
    return np.column_stack([coef, (b - b.mean()) / intercept.unit])


def _as_user(found, intercept, n_tasks, history, n_iter, status):
    """The solution in coefficients and intercepts, and its covariance."""
    W, b = found.coef, found.intercept
    U, s, _ = np.linalg.svd(W, full_matrices=False)
    total = s.sum()
    # without a model nothing is known of how tasks are related
    K = n_tasks / total * (U * s) @ U.T if total > 0 else np.eye(n_tasks)
    coef = W
    if intercept.shrunk:
        coef, b = W[:, :-1].copy(), b + intercept.unit * W[:, -1]
    return Solution(
        coef,
        b,
        *history[-1],
        max(n_iter, 1),
        status,
        history=history,
        task_covariance=0.5 * (K + K.T),
    )
