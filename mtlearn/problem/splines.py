r"""Natural cubic splines in a basis in which line and wiggle separate.

A natural cubic spline is a line plus the twice integrated hats of its second
derivative, which is piecewise linear and zero outside the inner knots. With the hats'
Gram matrix M, a wiggle h of coefficients c has

.. math:: \int h''(x)^2 dx = c^\top M c

and here M is turned into the identity, and what is left of freedom to turn is used up
by making the columns orthogonal over the rows, to one another and to all lines. Beyond
the outer knots everything is a line.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import linalg

_GONE = 1e-9  # variance of a wiggle, against the largest, that is rounding
_LONG_TAIL = 4.0  # of a normal distribution's thousand values the tail is about 2.5
_BETWEEN = 20  # values between two given knots that stand for all rows there
_CLOSE = 1e-4  # distance of two knots, against the mean one, that makes them one


@dataclass(frozen=True)
class Curve:
    """One feature as a line, and wiggles whose coefficients all cost the same.

    Attributes
    ----------
    axis : Axis
        The scale on which the feature is read.
    center, scale : float
        Mean and standard deviation on that scale: the line is what is left.
    knots : ndarray of shape (n_knots,)
        In units of the line.
    turn : ndarray of shape (n_knots - 2, n_wiggles)
        From hats to wiggles.
    plane : ndarray of shape (2, n_wiggles)
        Level and slope that are taken out of each wiggle.
    has_all_knots : bool
        Whether there were values enough for the knots that were asked for, so that
        there may be finer ones.
    """

    axis: object
    center: float
    scale: float
    knots: np.ndarray
    turn: np.ndarray
    plane: np.ndarray
    has_all_knots: bool = True

    @property
    def width(self):
        """How many columns there are, the line included."""
        return 1 + self.turn.shape[1]

    @property
    def n_plain(self):
        """How many of the columns are no wiggles."""
        return 1

    def grid(self, n_values=100):
        """Values of the feature between the ends of the data."""
        return np.linspace(self.axis.low, self.axis.high, n_values)

    def columns(self, x):
        """The line and the wiggles at values of the feature, (n, width)."""
        z = (self.axis.read(x) - self.center) / self.scale
        wiggles = integrated_hats(z, self.knots) @ self.turn
        wiggles -= self.plane[0] + z[:, None] * self.plane[1]
        return np.column_stack([z, wiggles])


@dataclass(frozen=True)
class Axis:
    """The scale on which a feature is read: its own, or one that shortens long tails.

    Beyond the values that were seen it goes on as a line.

    Attributes
    ----------
    kind : {"plain", "log", "asinh"}
    center, unit : float
        For "asinh", which is linear within about one unit of the center.
    low, high : float
        The values that were seen.
    """

    kind: str
    center: float = 0.0
    unit: float = 1.0
    low: float = 0.0
    high: float = 0.0

    def read(self, x):
        """Values of the feature on this scale."""
        if self.kind == "plain":
            return x
        inside = np.clip(x, self.low, self.high)
        if self.kind == "log":
            return np.log(inside) + (x - inside) / inside
        z = (inside - self.center) / self.unit
        return np.arcsinh(z) + (x - inside) / self.unit / np.sqrt(1.0 + z**2)


def find_axis(values, free=True):
    """The scale for sorted distinct values: their own, unless a tail is long."""
    low, high = float(values[0]), float(values[-1])
    plain = Axis("plain", low=low, high=high)
    if not free or len(values) < 3 or _tail(values) <= _LONG_TAIL:
        return plain
    axes = [plain, Axis("asinh", *_middle(values), low, high)]
    if low > 0:
        axes.append(Axis("log", low=low, high=high))
    return min(axes, key=lambda axis: _tail(axis.read(values)))


def _middle(values):
    """Median and distance of the quartiles."""
    quarter, half, most = np.quantile(values, [0.25, 0.5, 0.75])
    return float(half), float(most - quarter)


def _tail(values):
    """Distance of the farthest value from the median, in distances of the quartiles."""
    center, spread = _middle(values)
    return max(values[-1] - center, center - values[0]) / spread


def make_curve(x, mass, n_knots):
    """The `Curve` of a feature with knots at the quantiles of its distinct values.

    Parameters
    ----------
    x : ndarray of shape (n,)
    mass : ndarray of shape (n,)
        How often each row counts.
    n_knots : int
        The two ends included; fewer where distinct values are. With two knots there are
        no wiggles.

    Returns
    -------
    Curve
        The mean square of the line over the rows is one, and the sum of those of the
        wiggles, too.
    """
    values = np.unique(x)
    axis = find_axis(values, n_knots > 2)
    x = axis.read(x)
    center = float(np.average(x, weights=mass))
    scale = float(np.sqrt(np.average((x - center) ** 2, weights=mass)))
    scale = scale if scale > 1e-12 * abs(center) else 1.0
    z = (x - center) / scale
    knots = place_knots((axis.read(values) - center) / scale, n_knots)
    return _with_wiggles(axis, center, scale, z, mass, knots, len(knots) == n_knots)


def curve_at(knots):
    """The `Curve` with given knots, whatever the rows are.

    What is orthogonal and of variance one over the rows elsewhere is so here over
    values that are spread evenly between the knots, as many between any two.

    Parameters
    ----------
    knots : ndarray of shape (n_knots,)
        Increasing, the two ends included.

    Returns
    -------
    Curve
    """
    inside = (np.arange(_BETWEEN) + 0.5) / _BETWEEN
    x = (knots[:-1, None] + np.diff(knots)[:, None] * inside).ravel()
    axis = Axis("plain", low=float(knots[0]), high=float(knots[-1]))
    center, scale = float(x.mean()), float(x.std())
    z, mass = (x - center) / scale, np.ones_like(x)
    return _with_wiggles(axis, center, scale, z, mass, (knots - center) / scale, False)


def _with_wiggles(axis, center, scale, z, mass, knots, full):
    """The curve of a line z, with knots in its units."""
    if len(knots) < 3:
        return Curve(axis, center, scale, knots, np.zeros((0, 0)), np.zeros((2, 0)))
    root = linalg.cholesky(hat_products(knots), lower=True)
    turn = linalg.solve_triangular(root, np.eye(len(root)), lower=True).T
    lines = np.column_stack([np.ones_like(z), z])
    half = np.sqrt(mass / mass.sum())[:, None]
    wiggles = half * (integrated_hats(z, knots) @ turn)
    plane = linalg.lstsq(half * lines, wiggles)[0]
    wiggles -= half * (lines @ plane)
    values, vectors = linalg.eigh(wiggles.T @ wiggles)
    keep = np.flatnonzero(values > _GONE * values[-1])[::-1]
    vectors = vectors[:, keep] / np.sqrt(values[keep].sum())
    return Curve(axis, center, scale, knots, turn @ vectors, plane @ vectors, full)


def place_knots(values, n_knots):
    """Quantiles of sorted distinct values, of which no two are too close."""
    n_knots = min(n_knots, len(values))
    knots = np.quantile(values, np.linspace(0.0, 1.0, n_knots))
    near = _CLOSE * (knots[-1] - knots[0]) / max(len(knots) - 1, 1)
    chosen = [0]
    for j in range(1, len(knots)):
        if knots[j] - knots[chosen[-1]] > near:
            chosen.append(j)
    return knots[chosen]


def hat_products(knots):
    """Integrals of the products of the hats at the inner knots."""
    h = np.diff(knots)
    M = np.diag((h[:-1] + h[1:]) / 3.0)
    side = h[1:-1] / 6.0
    return M + np.diag(side, 1) + np.diag(side, -1)


def integrated_hats(x, knots):
    """The twice integrated hats at the inner knots, (n, n_knots - 2).

    They and their slopes are zero at the first knot; beyond the ends they are lines.
    """
    out = np.empty((len(x), max(len(knots) - 2, 0)))
    _integrate(np.ascontiguousarray(x), knots, out)
    return out


@njit(cache=True)
def _integrate(x, knots, out):
    """Hats made of cubes that start at the knots; `out` is written."""
    last = knots[-1]
    for i in range(len(x)):
        inside = min(max(x[i], knots[0]), last)
        beyond = max(x[i] - last, 0.0)
        start = before = 0.0
        for j in range(len(knots)):
            past, end = max(inside - knots[j], 0.0), last - knots[j]
            power = past * past * past / 6.0 + 0.5 * beyond * end * end
            if j > 0:
                slope = (start - power) / (knots[j] - knots[j - 1])
                if j > 1:
                    out[i, j - 2] = before - slope
                before = slope
            start = power
