"""Squared loss + a penalty of falling strength: every solution starts from the last.

For penalties of single features the working set follows the strong rule (Tibshirani et
al., JRSS B 74, 2012), the solution is extrapolated along the path, and moments of the
working set are kept as long as they serve; where many features come and go, steps are
those of `lengths`. The certificates are those of the solvers of
one strength.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ...problem.penalties import L21, Nuclear
from ...problem.solution import Solution, Status, goal
from .block_descent import GramPart, solve_block_descent, solve_part
from .columns import Chord, affordable
from .lengths import Lengths, square_of
from .low_rank import solve_low_rank, solve_nuclear
from .smooth import MomentLoss, Point, duality_gap

_RHYTHM = 3  # passes between two looks at the gap
_NEAR = 0.5  # of the last strength: smaller ones are too far to be extrapolated to
_FAILURES = 2  # of chords, after which passes and Newton steps are left alone
_FAR = 1e3  # times the gap to reach: old factors would lead nowhere
_EASY = 0.1  # of the gap to reach: a step less would do next time
_SPARE = 4  # times the features needed that a working set may have
_MANY = 64  # features, from which on changes of those in use are dear
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
    path = None
    for loss, penalty in zip(losses, penalties):
        if path is None:
            path = _Path(loss) if isinstance(loss, MomentLoss) else _RowPath()
        yield path.solve(loss, penalty, tol, max_iter)


class _RowPath:
    """Where a path on the rows is."""

    def __init__(self):
        self.loss, self.lengths, self.W = None, None, None

    def solve(self, loss, penalty, tol, max_iter):
        """The solution of the next strength."""
        if loss is not self.loss:
            self.loss, square = loss, square_of(loss)
            W = np.zeros((loss.n_rows, loss.n_features)) if self.W is None else self.W
            self.lengths = None if square is None else Lengths(square, W)
        solution = None
        if self.lengths is not None and isinstance(penalty, L21):
            solution = self.lengths.solve(loss, penalty, tol, max_iter)
        if solution is None:
            how = {"tol": tol, "max_iter": max_iter, "start": self.W}
            solution = solve_block_descent(loss, penalty, **how)
            if self.lengths is not None:
                self.lengths = Lengths(self.lengths.square, solution.coef)
        self.W = solution.coef
        return solution


class _Look(NamedTuple):
    """What a point is worth: gauges of the gradient, objective, gap, gap to reach."""

    point: Point
    gauges: np.ndarray
    value: float
    gap: float
    enough: float


class _Path:
    """Where the path is, what it has passed, and the moments of the working set."""

    def __init__(self, loss):
        self.loss = loss
        self.trail = Trail(loss.n_rows, loss.n_features)
        self.inside = np.zeros(loss.n_features, dtype=bool)
        self.part, self.chord, self.usual = None, None, 1
        self.lengths, self.square = None, square_of(loss)

    def solve(self, loss, penalty, tol, max_iter):
        """The solution of the next strength."""
        alike = loss is self.loss
        if not alike:
            self.loss, self.part, self.chord = loss, None, None
            self.lengths, self.square = None, square_of(loss)
        before = self.trail.last(penalty.alpha)
        # the strong rule: the gradient of a feature moves no faster than the strength
        self.threshold = 2.0 - before / penalty.alpha
        self.failures, self.steps, self.before = 0, 0, None
        n_iter, history, last, least = 0, [], None, np.inf
        W = self._begin(penalty, alike)
        while True:
            look = self._look(W, penalty, tol)
            history.append((look.value, look.gap / max(loss.zero_objective, 1e-300)))
            status = Status.CONVERGED if look.gap <= look.enough else Status.MAX_ITER
            if look.gap <= look.enough or n_iter >= max_iter:
                break
            if last and not (look.gap < least or look.value < last.value):
                look, status = last, Status.STALLED
                if self.failures >= _FAILURES:
                    break
                # chords have led astray: from where they left, without them
                self.failures = _FAILURES
            last, least = look, min(look.gap, least)
            if self._changes(look, penalty):
                solution = self._by_lengths(look, penalty, tol, max_iter)
                if solution is not None:
                    return solution
            W, used = self._improve(look, penalty, max_iter - n_iter)
            n_iter += used
        self.usual = max(self.steps - (look.gap < _EASY * look.enough), 1)
        self.trail.add(penalty.alpha, W, look.point.gradient)
        b, certificate = loss.intercepts(W, look.point), history[-1][1]
        n_iter = max(n_iter, 1)
        return Solution(W, b, look.value, certificate, n_iter, status, None, history)

    def _changes(self, look, penalty):
        """Whether many features are in use, and not those of the last strength."""
        if self.square is None or not isinstance(penalty, L21):
            return False
        used = look.point.W.any(axis=0)
        if np.count_nonzero(used | (look.gauges > 1.0)) < _MANY:
            return False
        lost = self.before is None and look.gap > _FAR * look.enough
        return lost or self.failures > 0 or np.any(look.gauges[~used] > 1.0)

    def _by_lengths(self, look, penalty, tol, max_iter):
        """The solution by steps of the lengths; None if they fail."""
        lengths, last = self.lengths, self.trail.last(penalty.alpha)
        if lengths is None or lengths.strength != last:
            # others have gone on: from where they are
            lengths = Lengths(self.square, look.point.W)
        solution = lengths.solve(self.loss, penalty, tol, max_iter)
        self.lengths = None if solution is None else lengths
        if solution is not None:
            self.trail.add(penalty.alpha, solution.coef, solution.dual)
        return solution

    def _begin(self, penalty, alike):
        """Where the path leads, and from there by chords as often as it took last."""
        W, gradient = self.trail.ahead(penalty.alpha)
        ready = alike and gradient is not None and self.chord is not None
        if not ready or not self.chord.serves(self.trail.used, 1):
            return W
        moved = self.chord.step(W, gradient, penalty.alpha, self.usual)
        if moved is None:
            return W
        self.steps = self.usual
        return moved

    def _look(self, W, penalty, tol):
        """Gradient and duality gap."""
        point = self.loss.at(W)
        gauges = penalty.gauges(point.gradient)
        gauge = gauges.max(initial=0.0)
        value, gap = duality_gap(self.loss, penalty, point, gauge)
        enough = goal(tol, self.loss.zero_objective, value)
        return _Look(point, gauges, value, gap, enough)

    def _improve(self, look, penalty, max_iter):
        """A better W, and how many passes that took."""
        W, n_iter = look.point.W, 0
        used = W.any(axis=0)
        chords = isinstance(penalty, L21) and self.loss.coupling is None
        chords = chords and self.failures < _FAILURES and used.any()
        chords = chords and affordable(self.loss, np.count_nonzero(used))
        lost = self.before is None and look.gap > _FAR * look.enough
        if chords and (lost or np.any(look.gauges[~used] > 1.0)):
            # chords take over once passes have found the features
            W, n_iter = self._by_passes(look, used, penalty, np.inf, max_iter)
        moved = self._by_chord(W, look, penalty.alpha) if chords else None
        if moved is None:
            self.failures, self.before = self.failures + chords, None
            if n_iter == 0:
                return self._by_passes(look, used, penalty, 0.5 * look.enough, max_iter)
            return W, n_iter
        return moved, n_iter

    def _by_passes(self, look, used, penalty, enough, max_iter):
        """W after passes, and how many."""
        chosen = self._choose(look, used)
        W = look.point.W.copy()
        W[:, chosen], n_iter = solve_part(
            self.part, penalty, W[:, chosen], enough, max_iter
        )
        self.threshold = 1.0
        return W, n_iter

    def _by_chord(self, W, look, alpha):
        """W after steps with the factors there are, or new ones; None if they fail."""
        far, used, chord = look.gap / look.enough, W.any(axis=0), self.chord
        times = _steps_left(far, *self.before) if self.before else 1
        passed = W is not look.point.W
        if passed or chord is None or not chord.serves(used, times):
            self.chord = chord = Chord(self.loss, W, alpha)
            if not chord.sound:
                self.chord = None
                return None
            # the first steps of new factors converge as Newton's do
            self.steps, times = 0, 1 + (far > 30.0) + (far > 3e4)
        self.before = far, times
        self.steps += times
        gradient = self.loss.at(W).gradient if passed else look.point.gradient
        return chord.step(W, gradient, alpha, times)

    def _choose(self, look, used):
        """Features of the working set; its moments are taken anew if it has changed."""
        needed = used | (look.gauges >= self.threshold)
        few = np.count_nonzero(self.inside) <= _SPARE * max(needed.sum(), 8)
        if self.part is None or not few or np.any(needed & ~self.inside):
            self.inside = needed | (self.inside & few)
            # the whole serves to the end of the path
            self.inside |= len(used) <= _SPARE * needed.sum()
            self.part = GramPart(self.loss.columns(np.flatnonzero(self.inside)))
            self.part.rhythm = _RHYTHM
        return np.flatnonzero(self.inside)


def _steps_left(far, before, times):
    """How many more steps it takes if the next ones do as the last did.

    far, before : the gap in units of the one to be reached, and before the last steps.
    """
    rate = far / before
    if not rate < 1.0:
        return np.inf
    return max(int(np.ceil(times * np.log(2.0 * far) / -np.log(rate))), 1)


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


# ---------------------------------------------------------------- the trail

# Solutions of falling strengths, and the polynomial that leads on from them.

_ORDER = 5  # of the polynomial, at most
_FALL = 0.5  # of a term's square: a next one above it tells nothing


class Trail:
    """Divided differences of the solutions passed and of their gradients.

    Newton's polynomial through the last ones is followed as far as its terms fall. A
    gradient is affine in W: that of a combination of solutions is that of theirs.

    Attributes
    ----------
    W : ndarray of shape (n_rows, n_features)
        The last solution.
    used : ndarray of bool of shape (n_features,)
        Features that it uses.
    """

    def __init__(self, n_rows, n_features):
        self.W = np.zeros((n_rows, n_features))
        self.used = np.zeros(n_features, dtype=bool)
        # strengths for which a feature has been in, or out
        self._since = np.zeros(n_features, dtype=np.int64)
        self._alphas = np.zeros(0)
        self._differences = np.zeros((_ORDER + 1, 2, n_rows, n_features))

    def last(self, alpha):
        """The last strength, or the given one if there is none."""
        return self._alphas[0] if len(self._alphas) else alpha

    def add(self, alpha, W, gradient):
        """Go on to the solution of the next strength."""
        self.W = W
        if len(self._alphas) and alpha == self._alphas[0]:
            return
        used = W.any(axis=0)
        self._since = np.where(used == self.used, self._since + 1, 0)
        self.used = used
        _add(self._differences, alpha - self._alphas[:_ORDER], W, gradient)
        self._alphas = np.append(alpha, self._alphas[:_ORDER])

    def ahead(self, alpha):
        """W at another strength, and its gradient where that is known."""
        if not len(self._alphas) or alpha < _NEAR * self._alphas[0]:
            return self.W, None
        ahead = np.empty(self._differences.shape[1:])
        order = _follow(self._differences, alpha - self._alphas, self._since, ahead)
        return ahead[0], ahead[1] if order <= self._since.min() else None


@njit(cache=True)
def _add(differences, steps, W, gradient):
    """Bring the differences (order, 2, n_rows, n_features) up to a new point."""
    n, d = W.shape
    value = np.empty(d)
    for part in range(2):
        for t in range(n):
            for j in range(d):
                value[j] = W[t, j] if part == 0 else gradient[t, j]
            for q in range(len(steps)):
                inverse, old = 1.0 / steps[q], differences[q, part, t]
                for j in range(d):
                    before = old[j]
                    old[j] = value[j]
                    value[j] = inverse * (value[j] - before)
            for j in range(d):
                differences[len(steps), part, t, j] = value[j]


@njit(cache=True)
def _follow(differences, steps, since, out):
    """Write the polynomial's value; returns its order.

    A feature that came in or went out on the way takes part in as many terms as there
    are strengths since.
    """
    _, n, d = out.shape
    for part in range(2):
        for t in range(n):
            for j in range(d):
                out[part, t, j] = differences[0, part, t, j]
    factor, last = 1.0, np.inf
    for q in range(1, len(steps)):
        factor *= steps[q - 1]
        size = 0.0
        for t in range(n):
            for j in range(d):
                if since[j] >= q:
                    size += (factor * differences[q, 0, t, j]) ** 2
        if not size < _FALL * last:
            return q - 1
        last = size
        for t in range(n):
            for j in range(d):
                if since[j] >= q:
                    out[0, t, j] += factor * differences[q, 0, t, j]
                out[1, t, j] += factor * differences[q, 1, t, j]
    return max(len(steps) - 1, 0)
