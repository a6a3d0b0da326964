"""Squared loss + a penalty of falling strength: every solution starts from the last.

For penalties of single features the working set follows the strong rule (Tibshirani et
al., JRSS B 74, 2012), the solution is extrapolated along the path, and moments of the
working set are kept as long as they serve. The certificates are those of the solvers of
one strength.
"""

import numpy as np

from ..penalties import Nuclear
from ..solution import Solution, Status
from .block_descent import GramPart, solve_block_descent, solve_part
from .low_rank import solve_low_rank, solve_nuclear
from .newton import goal
from .smooth import MomentLoss, duality_gap

_RHYTHM = 3  # passes between two looks at the gap
_NEAR = 0.5  # of the last strength: smaller ones are too far to be extrapolated to
_SPARE = 4  # times the features needed that a working set may have
_FAINT = 1e-9  # singular values, relative to the largest, that do not count as rank


def follow_features(losses, penalties, *, tol=1e-8, max_iter=1000):
    """Minimise the squared loss plus penalties of single features, one after the other.

    Parameters
    ----------
    losses : iterable of MomentLoss or RowLoss
        One for each penalty; mostly the same object.
    penalties : iterable of L21 or Dirty
        The strongest first.
    tol, max_iter
        As in `solve_block_descent`, of each.

    Yields
    ------
    Solution
    """
    path, start = None, None
    for loss, penalty in zip(losses, penalties):
        if isinstance(loss, MomentLoss):
            path = path or _Path(loss)
            yield path.solve(loss, penalty, tol, max_iter)
        else:
            how = {"tol": tol, "max_iter": max_iter, "start": start}
            solution = solve_block_descent(loss, penalty, **how)
            start = solution.coef
            yield solution


class _Path:
    """Where the path is, what it has passed, and the moments of the working set."""

    def __init__(self, loss):
        self.loss = loss
        self.W = np.zeros((loss.n_rows, loss.n_features))
        self.inside = np.zeros(loss.n_features, dtype=bool)
        self.part, self.passed = None, []

    def solve(self, loss, penalty, tol, max_iter):
        """The solution of the next strength."""
        if loss is not self.loss:
            self.loss, self.part = loss, None
        scale = loss.zero_objective
        point = loss.at(self._extrapolate(penalty.alpha))
        before = self.passed[-1][0] if self.passed else penalty.alpha
        # the strong rule: the gradient of a feature moves no faster than the strength
        pull = 2.0 - before / penalty.alpha
        n_iter, history, best = 0, [], (np.inf, np.inf)
        while True:
            gauges = penalty.gauges(point.gradient)
            gauge = gauges.max(initial=0.0)
            value, gap = duality_gap(loss, penalty, point, gauge)
            history.append((value, gap / max(scale, 1e-300)))
            enough = goal(tol, scale, value)
            status = Status.CONVERGED if gap <= enough else Status.MAX_ITER
            if gap <= enough or n_iter >= max_iter:
                break
            if not (gap < best[0] or value < best[1]):
                status = Status.STALLED
                break
            best = min(gap, best[0]), value
            chosen = self._choose(gauges, pull)
            self.W[:, chosen], used = solve_part(
                self.part,
                penalty,
                self.W[:, chosen],
                0.5 * enough,
                max_iter - n_iter,
            )
            n_iter, pull = n_iter + used, 1.0
            point = loss.at(self.W)
        W = self.W.copy()
        # three points on the path; of equal strengths the last
        passed = [one for one in self.passed[-2:] if one[0] != penalty.alpha]
        self.passed = [*passed, (penalty.alpha, W, W.any(axis=0))]
        b, certificate = loss.intercepts(W, point), history[-1][1]
        return Solution(W, b, value, certificate, max(n_iter, 1), status, None, history)

    def _extrapolate(self, alpha):
        """Go on along the parabola through the last solutions, where all are in."""
        if len(self.passed) < 2 or alpha < _NEAR * self.passed[-1][0]:
            return self.W
        both = np.all([used for _, _, used in self.passed], axis=0)
        self.W = np.where(both, _parabola(self.passed, alpha), self.W)
        return self.W

    def _choose(self, gauges, pull):
        """Features of the working set; its moments are taken anew if it has changed."""
        needed = self.W.any(axis=0) | (gauges >= pull)
        few = np.count_nonzero(self.inside) <= _SPARE * max(needed.sum(), 8)
        if self.part is None or not few or np.any(needed & ~self.inside):
            self.inside = needed | (self.inside & few)
            self.part = GramPart(self.loss.columns(np.flatnonzero(self.inside)))
            self.part.rhythm = _RHYTHM
        return np.flatnonzero(self.inside)


def follow_nuclear(losses, alphas, *, tol=1e-8, max_iter=1000):
    """Minimise the squared loss plus the nuclear norm, the largest strength first.

    Parameters
    ----------
    losses : iterable of MomentLoss or RowLoss
        One for each strength.
    alphas : iterable of float
    tol, max_iter
        As in `solve_nuclear`, of each.

    Yields
    ------
    Solution
    """
    passed = []
    for loss, alpha in zip(losses, alphas):
        penalty, start = Nuclear(alpha), _ahead(loss, passed, alpha)
        solution = solve_nuclear(loss, penalty, tol=tol, max_iter=max_iter, start=start)
        passed = [one for one in passed[-2:] if one[0] != alpha]
        passed.append((alpha, solution.coef))
        yield solution


def _ahead(loss, passed, alpha):
    """Where the path leads: on a parabola, with no more rank than it had last.

    Where that is worse than the last solution, that.
    """
    if not passed:
        return None
    last = passed[-1][1]
    if len(passed) < 2 or alpha < _NEAR * passed[-1][0]:
        return last
    U, s, V = np.linalg.svd(_parabola(passed, alpha), full_matrices=False)
    before = np.linalg.svd(last, compute_uv=False)
    s[before <= _FAINT * before[0]] = 0.0
    W = (U * s) @ V
    ends = (W, alpha * s.sum()), (last, alpha * before.sum())
    values = [loss.at(end).value + size for end, size in ends]
    return W if values[0] < values[1] else last


def _parabola(passed, alpha):
    """The polynomial through pairs (strength, matrix, ...), at another strength."""
    ahead = 0.0
    for at, W, *_ in passed:
        others = [other for other, *_ in passed if other != at]
        ahead += W * np.prod([(alpha - other) / (at - other) for other in others])
    return ahead


def follow_low_rank(losses, alphas, n_components, convex, *, tol=1e-8, max_iter=1000):
    """The same with factors of at most `n_components` columns.

    While the nuclear-norm solution has no more singular values, it is the answer. From
    there on the path is followed at that rank; there are local minima, but falling
    strengths lead past them.

    Parameters
    ----------
    losses : iterable of MomentLoss or RowLoss
    alphas : iterable of float
    n_components : int
    convex : iterator of Solution
        Those of `follow_nuclear`; no more of them are asked for than needed.
    tol, max_iter
        As in `solve_low_rank`, of each.

    Yields
    ------
    Solution
    """
    last = None
    for loss, alpha in zip(losses, alphas):
        if last is None:
            solution = next(convex)
            sizes = np.linalg.svd(solution.coef, compute_uv=False)
            if np.sum(sizes > _FAINT * sizes.max(initial=0.0)) <= n_components:
                yield solution
                continue
        solution = solve_low_rank(
            loss, n_components, alpha, tol=tol, max_iter=max_iter, start=last
        )
        last = solution.coef
        yield solution
