"""Limited-memory quasi-Newton steps for smooth functions without structure.

Nocedal, J. and Wright, S., Numerical Optimization, 2006, chapters 3 and 7.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.lapack import dtrtrs  # without the checks of scipy.linalg

_MEMORY = 30  # pairs of steps and changes of the gradient
_CALM = 2  # iterations in a row that promise and bring next to nothing
_ARMIJO, _WOLFE = 1e-4, 0.9
_TRIALS = 20


@dataclass
class End:
    """Where a minimisation ended.

    Attributes
    ----------
    x : ndarray
    value : float
    memory : Memory
    promised : float
        Decrease that the last quasi-Newton step promised.
    n_iter : int
    converged, stopped : bool
        By the tolerance, by the caller.
    history : list of (value, promised)
    """

    x: np.ndarray
    value: float
    memory: object = None
    promised: float = np.inf
    n_iter: int = 0
    converged: bool = False
    stopped: bool = False
    history: list = field(default_factory=list)


def minimise(function, x, enough, max_iter, watch=None, memory=None):
    """Minimise a function from x on; its value never rises.

    Parameters
    ----------
    function : callable
        Value and gradient of a point.
    x : ndarray of shape (n,)
    enough : callable
        Decrease, at a given value, that is not worth another step.
    max_iter : int
    watch : callable, default=None
        Called with the point after every iteration; true ends the search.
    memory : Memory, default=None
        What is known of the curvature, from a function that was much the same.

    Returns
    -------
    End
    """
    value, g = function(x)
    memory = Memory(len(x)) if memory is None else memory
    end, calm, gain = End(x, value, memory), 0, np.inf
    while True:
        direction = -memory.apply(g)
        end.promised = max(-0.5 * float(g @ direction), 0.0)
        end.history.append((end.value, end.promised))
        calm = calm + 1 if max(end.promised, gain) <= enough(end.value) else 0
        end.converged = calm >= _CALM or end.promised == 0.0
        if end.converged or end.n_iter >= max_iter:
            return end
        first = memory.empty and memory.metric is None
        found = _search(function, end.x, end.value, g, direction, first)
        if found is None and not memory.empty:
            memory.clear()
            continue
        if found is None:
            end.converged = end.promised <= enough(end.value)
            return end
        new, value, after = found
        memory.add(new - end.x, after - g)
        gain, g = end.value - value, after
        end.x, end.value, end.n_iter = new, value, end.n_iter + 1
        if watch is not None and watch(end.x):
            end.stopped = True
            return end


class Memory:
    """The last steps s and changes y of the gradient: an inverse Hessian.

    In the compact form of Byrd, Nocedal and Schnabel (Mathematical Programming 63,
    1994): two products with all pairs at once.

    Parameters
    ----------
    size : int
    metric : callable, default=None
        The inverse Hessian, up to a factor, of which nothing is known yet: a symmetric
        matrix times a vector. The identity if None.
    """

    def __init__(self, size, metric=None):
        self.empty, self.metric, self._n = True, metric, 0
        self._S, self._Y = np.empty((_MEMORY, size)), np.empty((_MEMORY, size))
        self._SY, self._YY = np.zeros((_MEMORY, _MEMORY)), np.zeros((_MEMORY, _MEMORY))

    def _first(self, g):
        return g if self.metric is None else self.metric(g)

    def clear(self):
        """Forget all pairs."""
        self.empty, self._n = True, 0

    def add(self, s, y):
        """Keep a pair that has curvature; where the function has none there is none."""
        if not float(s @ y) > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y):
            return
        if self._n == _MEMORY:
            for rows in (self._S, self._Y):
                rows[:-1] = rows[1:]
            for table in (self._SY, self._YY):
                table[:-1, :-1] = table[1:, 1:]
            self._n -= 1
        k = self._n
        # changes of the gradient are kept as the metric turns them
        self._S[k], self._Y[k] = s, self._first(y)
        self._n, self.empty = k + 1, False
        self._SY[: k + 1, k] = self._S[: k + 1] @ y
        self._YY[: k + 1, k] = self._YY[k, : k + 1] = self._Y[: k + 1] @ y

    def apply(self, g):
        """The inverse Hessian times g."""
        if self.empty:
            return self._first(g).copy()
        n = self._n
        S, Y, R, YY = self._S[:n], self._Y[:n], self._SY[:n, :n], self._YY[:n, :n]
        curvature = np.diag(R)
        level = curvature[-1] / YY[-1, -1]
        u = dtrtrs(R, S @ g)[0]
        v = curvature * u + level * (YY @ u - Y @ g)
        v = dtrtrs(R, v, trans=1)[0]
        return level * self._first(g) + v @ S - level * (u @ Y)


def _search(function, x, value, g, direction, first):
    """A point on the line with less value and slope; None where there is none."""
    slope = float(g @ direction)
    if not slope < 0:
        return None
    step = min(1.0, 1.0 / np.linalg.norm(direction)) if first else 1.0
    low, high, best = 0.0, np.inf, None
    for _ in range(_TRIALS):
        trial = x + step * direction
        there, after = function(trial)
        if not there <= value + _ARMIJO * step * slope:
            high = step
            # the parabola through value, slope and what was found
            bend = there - value - step * slope
            down = -0.5 * slope * step * step / bend if np.isfinite(bend) else 0.0
            if best is not None:
                return best
            step = min(max(down, 0.1 * step), 0.5 * step)
            continue
        if best is None or there < best[1]:
            best = trial, there, after
        if float(after @ direction) >= _WOLFE * slope:
            return trial, there, after
        low = step
        step = 2.0 * step if high == np.inf else 0.5 * (low + high)
    return best


# ---------------------------------------------------------------- batches of rows

# Steps on random batches of rows, for data of which a pass over all is dear.
#
# Adam (Kingma and Ba, ICLR 2015) with a rate that falls to zero along half a cosine.
# Rates are in the units of what they move, so that none has to be chosen.

_RATE = 0.01  # of the first steps
_BATCH = 256  # rows
_MEANS = 0.9, 0.999  # of gradients and of their squares
_TINY = 1e-30


def descend(function, x, units, n_rows, rng, n_epochs):
    """Go down a sum over rows that is seen a batch at a time.

    Parameters
    ----------
    function : callable
        Value and gradient, of the numbers of some rows and a point; an estimate of
        those of all rows.
    x : ndarray of shape (n,)
    units : ndarray of shape (n,)
        What is a step of size one.
    n_rows : int
    rng : numpy.random.Generator
    n_epochs : int
        Passes over the rows.

    Returns
    -------
    x : ndarray of shape (n,)
    """
    x, mean, square = x.copy(), np.zeros_like(x), np.zeros_like(x)
    n_batches, step = max(1, n_rows // _BATCH), 0
    n_steps = n_epochs * n_batches
    for _ in range(n_epochs):
        for rows in np.array_split(rng.permutation(n_rows), n_batches):
            _, g = function(np.sort(rows), x)
            g *= units
            step += 1
            mean += (1.0 - _MEANS[0]) * (g - mean)
            square += (1.0 - _MEANS[1]) * (g * g - square)
            level = square / (1.0 - _MEANS[1] ** step)
            move = mean / (1.0 - _MEANS[0] ** step) / (np.sqrt(level) + _TINY)
            rate = 0.5 * _RATE * (1.0 + np.cos(np.pi * step / n_steps))
            x -= rate * units * move
    return x
