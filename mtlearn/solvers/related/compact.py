"""Smooth loss of a few rows: a whole fit in one compiled call.

Where a Newton step takes microseconds, the calls of Python and NumPy around it take
most of the time. The steps are those of `newton.py`, for tasks with a common part and
private ones: with P a task's unknowns, intercepts last, a task is eliminated by a
Cholesky factor of P x P numbers, and what is left is solved for the common part. A
problem that this does not solve well is handed back, to be solved there.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ...problem.baseline import base_objective
from ...problem.forms import ArrowForm
from ...problem.intercepts import saturated
from ...problem.losses import Logistic, Softmax, point_loss
from ...problem.solution import Solution, Status
from ...problem.threads import WORTH
from ..linalg import _SMALL, _factor_small

_SOFTMAX = -1  # in place of the code of a loss of one score
_WORK = 1 << 21  # numbers that go into the Hessians: beyond, BLAS is faster
_NARROW = 16  # features up to which they are no faster
_PATIENCE = 60  # steps after which a problem is handed back
_CAREFUL = 1e-9  # squared pivots, relative, below which it is
_CONVERGED, _MAX_ITER, _HANDED_BACK = range(3)
_SEARCH_STEPS = 40


class Rows(NamedTuple):
    """Observations task after task, and their loss.

    X (n, d), y (n,), weight (n,), starts (n_tasks + 1,); allowed (n, q) says which
    classes an observation may have.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    starts: np.ndarray
    allowed: np.ndarray
    code: int
    width: float


class Tie(NamedTuple):
    """How coefficients and intercepts follow from the unknowns, and what they cost.

    Task t has common * u_0 + private * u_t, arrays of shape (P,): the coefficients
    class after class, then the intercepts. Unknowns in the ranges are there; those
    without a cost are unpenalised.
    """

    private: np.ndarray
    common: np.ndarray
    private_cost: np.ndarray
    common_cost: np.ndarray
    private_range: tuple
    common_range: tuple
    q: int
    own: bool
    shared: bool
    alpha: float


class CompactRows:
    """Rows of a problem that is small, made ready for any number of fits.

    Parameters
    ----------
    data : TaskData
    loss : object of `mtlearn.problem.losses`
    intercept : Intercepts
        Of the kind that all fits have: whether each task has its own, and shares none.
    """

    def __init__(self, data, loss, intercept):
        self.data, self.loss, self.q = data, loss, loss.n_scores
        X = data.features.toarray() if data.sparse else data.features
        X = X[data.place] if data.wide else X
        self.means = np.zeros((data.n_tasks, X.shape[1]))
        if intercept.own:
            sizes = np.maximum(data.sizes, 1)[:, None]
            filled = data.sizes > 0
            begins = data.starts[:-1][filled]
            self.means[filled] = np.add.reduceat(X, begins) / sizes[filled]
            X = X - self.means[data.task_of]
        X = np.ascontiguousarray(X)
        soft = isinstance(loss, Softmax)
        allowed = loss.allowed if soft else None
        if allowed is None:
            allowed = np.ones((len(X), self.q), dtype=np.bool_)
        code, width = (_SOFTMAX, 0.0) if soft else (loss.code, loss.width)
        rest = data.weights, data.starts, allowed, code, width
        self.rows = Rows(X, data.labels.astype(float), *rest)
        self._scales = {}

    @staticmethod
    def fits(data, loss, form):
        """Whether a problem is one of these."""
        compiled = isinstance(loss, Softmax) or hasattr(loss, "code")
        if type(form) is not ArrowForm or not compiled:
            return False
        n, d = len(data.rows), data.n_features
        p = loss.n_scores * (d + 1)
        if p > _SMALL or n * d >= WORTH or data.n_tasks * p * p > _WORK:
            return False
        return d <= _NARROW or n * p * p <= _WORK

    def scale(self, form, intercept):
        """What `tol` is relative to."""
        key = intercept.own, intercept.present
        if key not in self._scales:
            n = len(self.rows.y)
            zero = np.zeros(n if self.q == 1 else (n, self.q))
            value = self.loss.value(self.data.labels, zero, self.data.weights)
            found = base_objective(self.data, self.loss, form, intercept, value)
            self._scales[key] = found
        return self._scales[key]

    def solve(self, form, alpha, intercept, tol, max_iter, start=None):
        """Minimise the loss plus 1/2 alpha Omega(W).

        Returns
        -------
        solution : Solution
        solved : bool
            False where the solution is no more than a start for others.
        """
        n_coef = self.q * self.rows.X.shape[1]
        tie = tie_of(form, alpha, intercept, n_coef, self.q)
        U = self._unknowns(form, intercept, tie, start)
        scale, history = self.scale(form, intercept), np.empty((max_iter + 1, 2))
        value, bound, n_iter, status = _iterate(
            self.rows, tie, U, tol, scale, max_iter, history
        )
        W = tie.common * U[0] + tie.private * U[1:]
        n = len(W)
        coef, b = W[:, :n_coef], W[:, n_coef:]
        if not intercept.present:
            b = np.zeros((n, self.q))
        if self.q > 1 and intercept.common:
            # what all classes have in common is open, and was left to rounding
            b = b - b.mean(axis=1, keepdims=True)
        coef = coef.reshape(n, self.q, -1)
        if intercept.own:
            b = b - np.einsum("tkd,td->tk", coef, self.means)
        if self.q == 1:
            coef, b = coef[:, 0], b[:, 0]
        least = max(scale, 1e-300)
        done = Status.MAX_ITER if status == _MAX_ITER else Status.CONVERGED
        steps = [(one, gap / least) for one, gap in history[: n_iter + 1].tolist()]
        found = coef.copy(), b.copy(), value, bound / least, max(n_iter, 1), done
        return Solution(*found, history=steps), status != _HANDED_BACK

    def _unknowns(self, form, intercept, tie, start):
        """Where to begin: a given model, or zero."""
        n, d, q = form.n_tasks, self.rows.X.shape[1], self.q
        n_coef, U = q * d, np.zeros((form.n_tasks + 1, len(tie.private)))
        if start is None:
            if intercept.own and isinstance(self.loss, Logistic):
                U[1:, n_coef] = saturated(self.data, self.data.labels)
            return U
        coef = start[0].reshape(n, q, d)
        U[:, :n_coef] = form.coordinates(coef.reshape(n, n_coef))
        if not intercept.present:
            return U
        b = start[1].reshape(n, q)
        if intercept.own:
            U[1:, n_coef:] = b + np.einsum("tkd,td->tk", coef, self.means)
            return U
        U[0, n_coef:] = b.mean(axis=0)
        if intercept.shrunk and form.private > 0:
            U[1:, n_coef:] = (b - U[0, n_coef:]) / tie.private[n_coef:]
        return U


def tie_of(form, alpha, intercept, n_coef, q):
    """The `Tie` of a form and its intercepts."""
    a, b, present = form.shared, form.private, intercept.present
    P = n_coef + q * present
    private, common = np.full(P, b), np.full(P, a)
    private_cost, common_cost = np.full(P, float(alpha)), np.full(P, float(alpha))
    own, shared = intercept.own, intercept.common
    low, high = (0 if b > 0 else n_coef), n_coef
    if own:
        private[n_coef:], private_cost[n_coef:], high = 1.0, 0.0, P
    elif intercept.shrunk and b > 0:
        private[n_coef:], high = b * intercept.unit, P
    else:
        private[n_coef:] = 0.0
    first, last = (0 if a > 0 else n_coef), n_coef
    common[n_coef:] = 0.0
    if shared:
        common[n_coef:], common_cost[n_coef:], last = 1.0, 0.0, P
    maps, costs = (private, common), (private_cost, common_cost)
    ranges, modes = ((low, high), (first, last)), (own, shared)
    return Tie(*maps, *costs, *ranges, q, *modes, float(alpha))


# ---------------------------------------------------------------- rows


@njit(cache=True, nogil=True)
def _scores(rows, tie, U, z):
    """Scores of all observations; linear in the unknowns."""
    X, starts, q = rows.X, rows.starts, tie.q
    d = X.shape[1]
    P = U.shape[1]
    w = np.empty(P)
    for t in range(starts.shape[0] - 1):
        for j in range(P):
            w[j] = tie.common[j] * U[0, j] + tie.private[j] * U[t + 1, j]
        for i in range(starts[t], starts[t + 1]):
            for k in range(q):
                total = w[q * d + k] if P > q * d else 0.0
                for j in range(d):
                    total += X[i, j] * w[k * d + j]
                z[i, k] = total


@njit(cache=True, nogil=True)
def _evaluate(rows, z, g, h):
    """The loss, its gradient, and its curvature: of softmax the probabilities."""
    y, weight, allowed, code = rows.y, rows.weight, rows.allowed, rows.code
    value = 0.0
    if code != _SOFTMAX:
        for i in range(y.shape[0]):
            v, slope, bend = point_loss(code, rows.width, y[i], z[i, 0])
            value += weight[i] * v
            g[i, 0] = weight[i] * slope
            h[i, 0] = weight[i] * bend
        return value
    q = z.shape[1]
    for i in range(y.shape[0]):
        top = -np.inf
        for k in range(q):
            if allowed[i, k]:
                top = max(top, z[i, k])
        total = 0.0
        for k in range(q):
            h[i, k] = np.exp(z[i, k] - top) if allowed[i, k] else 0.0
            total += h[i, k]
        for k in range(q):
            h[i, k] /= total
            g[i, k] = weight[i] * h[i, k]
        right = int(y[i])
        g[i, right] -= weight[i]
        value += weight[i] * (top + np.log(total) - z[i, right])
    return value


@njit(cache=True, nogil=True)
def _along(rows, z, dz, step, there, g, h):
    """Value, slope and curvature at a step along a line, where it ends."""
    n, q = z.shape
    for i in range(n):
        for k in range(q):
            there[i, k] = z[i, k] + step * dz[i, k]
    value = _evaluate(rows, there, g, h)
    slope = 0.0
    bend = 0.0
    for i in range(n):
        mean = 0.0
        square = 0.0
        for k in range(q):
            slope += g[i, k] * dz[i, k]
            mean += h[i, k] * dz[i, k]
            square += h[i, k] * dz[i, k] * dz[i, k]
        if rows.code == _SOFTMAX:
            square = rows.weight[i] * (square - mean * mean)
        bend += square
    return value, slope, bend


@njit(cache=True, nogil=True)
def _slopes_of(g, k, low, high, where, c):
    """Those of the observations low to high that have a gradient in a score, and it.

    Written to `where` and `c`; returns their number, filled up to a multiple of four.
    """
    size = 0
    for i in range(low, high):
        if g[i, k] != 0.0:
            where[size], c[size] = i, g[i, k]
            size += 1
    return _in_fours(size, low, where, c)


@njit(cache=True, nogil=True)
def _curvatures_of(rows, h, k, m, low, high, where, c):
    """The same of second derivatives in two of the scores."""
    soft, weight, size = rows.code == _SOFTMAX, rows.weight, 0
    for i in range(low, high):
        bend = h[i, k]
        if soft:
            bend = -bend * h[i, m]
            if k == m:
                bend += h[i, k]
            bend *= weight[i]
        if bend != 0.0:
            where[size], c[size] = i, bend
            size += 1
    return _in_fours(size, low, where, c)


@njit(cache=True, nogil=True)
def _in_fours(size, low, where, c):
    """A number of rows, filled up to a multiple of four with one of no weight."""
    while size % 4 > 0:
        where[size], c[size] = low, 0.0
        size += 1
    return size


@njit(cache=True, nogil=True)
def _add_rows(X, where, c, size, out, first):
    """Add some rows times their factors: four for one look at what is there."""
    for i in range(0, size, 4):
        p, q, r, s = where[i], where[i + 1], where[i + 2], where[i + 3]
        e, f, g, h = c[i], c[i + 1], c[i + 2], c[i + 3]
        for j in range(X.shape[1]):
            out[first + j] += e * X[p, j] + f * X[q, j] + g * X[r, j] + h * X[s, j]


@njit(cache=True, nogil=True)
def _add_squares(X, where, c, size, out, first, second):
    """Add the outer products of some rows with themselves, times their factors."""
    d = X.shape[1]
    for i in range(0, size, 4):
        p, q, r, s = where[i], where[i + 1], where[i + 2], where[i + 3]
        for j in range(d):
            e, f = c[i] * X[p, j], c[i + 1] * X[q, j]
            g, h = c[i + 2] * X[r, j], c[i + 3] * X[s, j]
            for k in range(d):
                out[first + j, second + k] += (
                    e * X[p, k] + f * X[q, k] + g * X[r, k] + h * X[s, k]
                )


@njit(cache=True, nogil=True)
def _gather(rows, tie, g, h, G, H, where, c):
    """Gradients of the tasks, and their Hessians but for two coefficients."""
    X, starts, q = rows.X, rows.starts, tie.q
    d, P = X.shape[1], G.shape[1]
    n_coef = q * d
    for t in range(starts.shape[0] - 1):
        low, high = starts[t], starts[t + 1]
        for j in range(P):
            G[t, j] = 0.0
            for k in range(n_coef, P):
                H[t, k, j] = 0.0
        for k in range(q):
            size = _slopes_of(g, k, low, high, where, c)
            _add_rows(X, where, c, size, G[t], k * d)
            if P == n_coef:
                continue
            for i in range(size):
                G[t, n_coef + k] += c[i]
            for m in range(q):
                size = _curvatures_of(rows, h, k, m, low, high, where, c)
                _add_rows(X, where, c, size, H[t, n_coef + m], k * d)
                for i in range(size):
                    H[t, n_coef + m, n_coef + k] += c[i]


@njit(cache=True, nogil=True)
def _complete(rows, tie, h, H, where, c):
    """The Hessians' entries of two coefficients, and what mirrors the others."""
    X, starts, q = rows.X, rows.starts, tie.q
    d, P = X.shape[1], H.shape[1]
    for t in range(starts.shape[0] - 1):
        low, high = starts[t], starts[t + 1]
        block = H[t]
        for i in range(q * d):
            for j in range(q * d):
                block[i, j] = 0.0
        for k in range(q):
            for m in range(k + 1):
                size = _curvatures_of(rows, h, k, m, low, high, where, c)
                _add_squares(X, where, c, size, block, k * d, m * d)
        for i in range(P):
            for j in range(i):
                block[j, i] = block[i, j]


# ---------------------------------------------------------------- one step


@njit(cache=True, nogil=True)
def _ground(M, first):
    """Curvature for unpenalised unknowns, the last ones, where they have none.

    As `ground` of `linalg`: the gradient vanishes there as well.
    """
    q = M.shape[0] - first
    level = 0.0
    for i in range(first, M.shape[0]):
        level += M[i, i] / q
    least = 1e-14 * max(level, 1e-300)
    for i in range(first, M.shape[0]):
        if q > 1 and M[i, i] > least:
            for j in range(first, i):
                if M[j, j] > least:
                    M[i, j] += level / q
    for i in range(first, M.shape[0]):
        if not M[i, i] > least:
            M[i, i] += 1.0
        elif q > 1:
            M[i, i] += level / q


@njit(cache=True, nogil=True)
def _factor(M, n_shifted):
    """Cholesky in place of a lower triangle; the smallest pivot ratio."""
    full = np.empty(M.shape[0])
    for i in range(M.shape[0]):
        full[i] = M[i, i]
    return _factor_small(M, full, n_shifted)


@njit(cache=True, nogil=True)
def _forward(L, v):
    """L^-1 v in place."""
    for i in range(L.shape[0]):
        total = v[i]
        for k in range(i):
            total -= L[i, k] * v[k]
        v[i] = total / L[i, i]


@njit(cache=True, nogil=True)
def _backward(L, v):
    """L'^-1 v in place."""
    for i in range(L.shape[0] - 1, -1, -1):
        v[i] /= L[i, i]
        for k in range(i):
            v[k] -= L[i, k] * v[i]


@njit(cache=True, nogil=True)
def _bound(tie, U, G, H, n_coef):
    """Distance from the minimum, at most: see the head of `newton.py`."""
    n, P = G.shape
    q = P - n_coef
    total, square = 0.0, 0.0
    shift, corner = np.zeros(q), np.zeros((q, q))
    head = np.zeros(P)
    whole = tie.shared
    for t in range(n if whole else 0):
        for k in range(q):
            shift[k] += G[t, n_coef + k]
            for m in range(k + 1):
                corner[k, m] += H[t, n_coef + k, n_coef + m]
    if whole:
        total += _settle(corner, shift)
    for t in range(n):
        if tie.own:
            for k in range(q):
                shift[k] = G[t, n_coef + k]
                for m in range(k + 1):
                    corner[k, m] = H[t, n_coef + k, n_coef + m]
            total += _settle(corner, shift)
        for j in range(P):
            left = G[t, j]
            for k in range(q):
                left -= H[t, n_coef + k, j] * shift[k]
            if j < n_coef:
                head[j] += tie.common[j] * left
            if tie.private_range[0] <= j < tie.private_range[1]:
                if tie.private_cost[j] > 0.0:
                    left = tie.private[j] * left + tie.private_cost[j] * U[t + 1, j]
                    square += left * left
    for j in range(tie.common_range[0], n_coef):
        left = head[j] + tie.common_cost[j] * U[0, j]
        square += left * left
    return 0.5 * total + 0.5 * square / tie.alpha


@njit(cache=True, nogil=True)
def _settle(corner, v):
    """Newton step of unpenalised unknowns in place of their gradient; its square."""
    _ground(corner, 0)
    _factor(corner, 0)
    _forward(corner, v)
    square = 0.0
    for k in range(v.shape[0]):
        square += v[k] * v[k]
    _backward(corner, v)
    return square


@njit(cache=True, nogil=True)
def _eliminate(tie, u, g, H, L, Y, s, S, R):
    """Take the private unknowns of one task out of the system of the common ones."""
    low, high = tie.private_range
    first, last = tie.common_range
    m, c = high - low, last - first
    for i in range(m):
        for j in range(i + 1):
            L[i, j] = tie.private[low + i] * tie.private[low + j] * H[low + i, low + j]
        L[i, i] += tie.private_cost[low + i]
    if tie.own:
        _ground(L, m - tie.q)
    lowest = _factor(L, m - tie.q if tie.own else m)
    for i in range(m):
        s[i] = (
            -tie.private[low + i] * g[low + i] - tie.private_cost[low + i] * u[low + i]
        )
        for j in range(c):
            scale = tie.private[low + i] * tie.common[first + j]
            Y[i, j] = scale * H[low + i, first + j]
        for k in range(i):
            f = L[i, k]
            for j in range(c):
                Y[i, j] -= f * Y[k, j]
        for j in range(c):
            Y[i, j] /= L[i, i]
    _forward(L, s)
    for k in range(m):
        for i in range(c):
            f = Y[k, i]
            R[i] -= f * s[k]
            for j in range(i + 1):
                S[i, j] -= f * Y[k, j]
    return lowest


@njit(cache=True, nogil=True)
def _direction(tie, U, G, H, L, Y, s, D):
    """Newton direction; the smallest ratio of a squared pivot to its diagonal entry."""
    low, high = tie.private_range
    first, last = tie.common_range
    m, c = high - low, last - first
    S, R = np.zeros((c, c)), np.empty(c)
    lowest = 1.0
    for i in range(c):
        R[i] = -tie.common_cost[first + i] * U[0, first + i]
    for t in range(G.shape[0]):
        for i in range(c):
            f = tie.common[first + i]
            R[i] -= f * G[t, first + i]
            for j in range(i + 1):
                S[i, j] += f * tie.common[first + j] * H[t, first + i, first + j]
        if m > 0:
            one = _eliminate(tie, U[t + 1], G[t], H[t], L[t], Y[t], s[t], S, R)
            lowest = min(lowest, one)
    if c > 0:
        for i in range(c):
            S[i, i] += tie.common_cost[first + i]
        free = tie.q if tie.shared else 0
        if free > 0:
            _ground(S, c - free)
        lowest = min(lowest, _factor(S, c - free))
        _forward(S, R)
        _backward(S, R)
    for i in range(c):
        D[0, first + i] = R[i]
    for t in range(G.shape[0] if m > 0 else 0):
        for i in range(m):
            for j in range(c):
                s[t, i] -= Y[t, i, j] * R[j]
        _backward(L[t], s[t])
        for i in range(m):
            D[t + 1, low + i] = s[t, i]
    return lowest


# ---------------------------------------------------------------- the loop


@njit(cache=True, nogil=True)
def _slopes(tie, U, G, D):
    """Slope of the objective along D, and slope and curvature of the penalty."""
    low, high = tie.private_range
    first, last = tie.common_range
    slope, one, two = 0.0, 0.0, 0.0
    for t in range(G.shape[0]):
        for j in range(low, high):
            slope += tie.private[j] * G[t, j] * D[t + 1, j]
            one += tie.private_cost[j] * U[t + 1, j] * D[t + 1, j]
            two += tie.private_cost[j] * D[t + 1, j] * D[t + 1, j]
        for j in range(first, last):
            slope += tie.common[j] * G[t, j] * D[0, j]
    for j in range(first, last):
        one += tie.common_cost[j] * U[0, j] * D[0, j]
        two += tie.common_cost[j] * D[0, j] * D[0, j]
    return slope + one, one, two


@njit(cache=True, nogil=True)
def _search(rows, z, dz, slope0, one, two, there, g, h):
    """Minimise along the direction, as `find_step`; step and loss where it ends."""
    low, high, step = 0.0, np.inf, 1.0
    value = 0.0
    if not slope0 < 0.0:
        return 0.0, value
    for _ in range(_SEARCH_STEPS):
        value, slope, bend = _along(rows, z, dz, step, there, g, h)
        slope += one + step * two
        bend += two
        if abs(slope) <= 0.1 * abs(slope0):
            return step, value
        if slope < 0.0:
            low = step
        else:
            high = step
        step -= slope / bend if bend > 0.0 else 0.0
        if not low < step < high:
            step = 2.0 * low if high == np.inf else 0.5 * (low + high)
        if high < np.inf and high - low <= 1e-12 * high:
            break
    value, slope, bend = _along(rows, z, dz, low, there, g, h)
    return low, value


@njit(cache=True, nogil=True)
def _penalty(tie, U):
    """1/2 alpha Omega."""
    total = 0.0
    for t in range(U.shape[0]):
        cost = tie.common_cost if t == 0 else tie.private_cost
        for j in range(U.shape[1]):
            total += cost[j] * U[t, j] * U[t, j]
    return 0.5 * total


@njit(cache=True, nogil=True)
def _iterate(rows, tie, U, tol, scale, max_iter, history):
    """Evaluate, certify, step, search, until the certificate says enough.

    Changes `U`. Returns the objective, its bound, the steps and how it ended.
    """
    (n, d), (n_tasks, P), q = rows.X.shape, (U.shape[0] - 1, U.shape[1]), tie.q
    m = tie.private_range[1] - tie.private_range[0]
    c = tie.common_range[1] - tie.common_range[0]
    z, dz, there = np.empty((n, q)), np.empty((n, q)), np.empty((n, q))
    g, h, D = np.empty((n, q)), np.empty((n, q)), np.zeros((n_tasks + 1, P))
    G, H = np.empty((n_tasks, P)), np.empty((n_tasks, P, P))
    L, Y, s = (
        np.empty((n_tasks, m, m)),
        np.empty((n_tasks, m, c)),
        np.empty((n_tasks, m)),
    )
    where, factors = np.empty(n + 3, np.int64), np.empty(n + 3)
    _scores(rows, tie, U, z)
    loss = _evaluate(rows, z, g, h)
    for n_iter in range(max_iter + 1):
        value = loss + _penalty(tie, U)
        _gather(rows, tie, g, h, G, H, where, factors)
        bound = _bound(tie, U, G, H, q * d)
        history[n_iter, 0] = value
        history[n_iter, 1] = bound
        if bound <= tol * max(min(scale, 100.0 * value), 1e-7 * scale):
            return value, bound, n_iter, _CONVERGED
        if n_iter == max_iter:
            return value, bound, n_iter, _MAX_ITER
        _complete(rows, tie, h, H, where, factors)
        lowest = _direction(tie, U, G, H, L, Y, s, D)
        _scores(rows, tie, D, dz)
        slope, one, two = _slopes(tie, U, G, D)
        step, loss = _search(rows, z, dz, slope, one, two, there, g, h)
        if step == 0.0 or lowest < _CAREFUL or n_iter == _PATIENCE:
            return value, bound, n_iter, _HANDED_BACK
        for t in range(n_tasks + 1):
            for j in range(P):
                U[t, j] += step * D[t, j]
        if n_iter % 10 == 9:
            # rounding must not pile up
            _scores(rows, tie, U, z)
            loss = _evaluate(rows, z, g, h)
        else:
            z, there = there, z
    return value, bound, n_iter, _HANDED_BACK
