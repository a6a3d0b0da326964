"""Limited-memory quasi-Newton steps for smooth functions without structure.

Nocedal, J. and Wright, S., Numerical Optimization, 2006, algorithms 7.4 and 3.5.
"""

from dataclasses import dataclass, field

import numpy as np

_MEMORY = 30  # pairs of steps and changes of the gradient
_CALM = 3  # iterations in a row that promise and bring next to nothing
_ARMIJO, _WOLFE = 1e-4, 0.9
_TRIALS = 20


@dataclass
class End:
    """Where a minimisation ended.

    Attributes
    ----------
    x : ndarray
    value : float
    promised : float
        Decrease that the last quasi-Newton step promised.
    n_iter : int
    converged, stopped : bool
        By the tolerance, by the caller.
    history : list of (value, promised)
    """

    x: np.ndarray
    value: float
    promised: float = np.inf
    n_iter: int = 0
    converged: bool = False
    stopped: bool = False
    history: list = field(default_factory=list)


def minimise(function, x, enough, max_iter, watch=None):
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

    Returns
    -------
    End
    """
    value, g = function(x)
    end, memory, calm, gain = End(x, value), _Memory(), 0, np.inf
    while True:
        direction = -memory.apply(g)
        end.promised = -0.5 * float(g @ direction)
        end.history.append((end.value, end.promised))
        calm = calm + 1 if max(end.promised, gain) <= enough(end.value) else 0
        end.converged = calm >= _CALM or end.promised == 0.0
        if end.converged or end.n_iter >= max_iter:
            return end
        found = _search(function, end.x, end.value, g, direction, memory.empty)
        if found is None and not memory.empty:
            memory = _Memory()
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


class _Memory:
    """The last steps s and changes y of the gradient: an inverse Hessian."""

    def __init__(self):
        self.pairs = []

    @property
    def empty(self):
        return not self.pairs

    def add(self, s, y):
        """Keep a pair that has curvature; where the function has none there is none."""
        curvature = float(s @ y)
        if curvature > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y):
            self.pairs = [*self.pairs[1 - _MEMORY :], (s, y, curvature)]

    def apply(self, g):
        """The inverse Hessian times g."""
        q = g.copy()
        if not self.pairs:
            return q
        shares = []
        for s, y, curvature in reversed(self.pairs):
            shares.append(float(s @ q) / curvature)
            q -= shares[-1] * y
        s, y, curvature = self.pairs[-1]
        q *= curvature / float(y @ y)
        for (s, y, curvature), share in zip(self.pairs, reversed(shares)):
            q += (share - float(y @ q) / curvature) * s
        return q


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
