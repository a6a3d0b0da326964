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
from scipy import linalg

_GONE = 1e-9  # variance of a wiggle, against the largest, that is rounding
_CLOSE = 1e-4  # distance of two knots, against the mean one, that makes them one


@dataclass(frozen=True)
class Curve:
    """One feature as a line, and wiggles whose coefficients all cost the same.

    Attributes
    ----------
    center, scale : float
        Mean and standard deviation of the feature: the line is what is left of it.
    knots : ndarray of shape (n_knots,)
        In units of the line.
    turn : ndarray of shape (n_knots - 2, n_wiggles)
        From hats to wiggles.
    plane : ndarray of shape (2, n_wiggles)
        Level and slope that are taken out of each wiggle.
    """

    center: float
    scale: float
    knots: np.ndarray
    turn: np.ndarray
    plane: np.ndarray

    @property
    def width(self):
        """How many columns there are, the line included."""
        return 1 + self.turn.shape[1]

    def columns(self, x):
        """The line and the wiggles at values of the feature, (n, width)."""
        z = (x - self.center) / self.scale
        wiggles = integrated_hats(z, self.knots) @ self.turn
        wiggles -= self.plane[0] + z[:, None] * self.plane[1]
        return np.column_stack([z, wiggles])


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
    center = float(np.average(x, weights=mass))
    scale = float(np.sqrt(np.average((x - center) ** 2, weights=mass)))
    scale = scale if scale > 1e-12 * abs(center) else 1.0
    z = (x - center) / scale
    knots = place_knots(np.unique(z), n_knots)
    if len(knots) < 3:
        return Curve(center, scale, knots, np.zeros((0, 0)), np.zeros((2, 0)))
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
    return Curve(center, scale, knots, turn @ vectors, plane @ vectors)


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
    h = np.diff(knots)
    inside = np.clip(x, knots[0], knots[-1])
    beyond = np.maximum(x - knots[-1], 0.0)[:, None]
    past = np.maximum(inside[:, None] - knots, 0.0)
    ends = knots[-1] - knots
    return _second(past**3 / 6.0, h) + beyond * _second(ends[None] ** 2 / 2.0, h)


def _second(powers, h):
    """Hats made of powers that start at the knots."""
    slopes = np.diff(powers, axis=1) / -h
    return slopes[:, :-1] - slopes[:, 1:]
