"""Features as the terms of an additive model: curves, plain lines, and levels.

A group is what shares a variance: the line of a feature, its wiggles, its levels.
"""

from dataclasses import dataclass

import numpy as np

from .splines import make_curve

_FEW = 5  # distinct values up to which a feature is taken as it is
_MOST_LEVELS = 100  # levels with a column of their own; rarer ones are the mean level

LINE, WIGGLE, LEVEL = 0, 1, 2


@dataclass(frozen=True)
class Levels:
    """One categorical feature: a column for every level, two levels as one contrast.

    Attributes
    ----------
    codes : ndarray of shape (n_levels,)
        Sorted codes of the levels with a column; every other code is a row of zeros.
    """

    codes: np.ndarray

    @property
    def width(self):
        return 1 if len(self.codes) == 2 else len(self.codes)

    def columns(self, x):
        """Indicators of the levels at codes, (n, width)."""
        seen = (x[:, None] == self.codes).astype(np.float64)
        return 0.5 * (seen[:, 1:] - seen[:, :1]) if len(self.codes) == 2 else seen


def make_levels(x, mass):
    """The `Levels` of a feature of codes, the most frequent ones first to be kept."""
    codes, place = np.unique(x, return_inverse=True)
    often = np.argsort(-np.bincount(place, weights=mass), kind="stable")
    return Levels(codes[np.sort(often[:_MOST_LEVELS])])


@dataclass(frozen=True)
class Terms:
    """All features as terms.

    Attributes
    ----------
    parts : tuple of Curve and Levels, one for each feature
    feature : ndarray of shape (n_columns,), int
        The feature that each column is of.
    kind : ndarray of shape (n_columns,), int
        `LINE`, `WIGGLE` or `LEVEL`.
    """

    parts: tuple
    feature: np.ndarray
    kind: np.ndarray

    def columns(self, X):
        """The columns of all terms at rows of dense features, (n_rows, n_columns)."""
        blocks = [part.columns(x) for part, x in zip(self.parts, X.T, strict=True)]
        return np.ascontiguousarray(np.hstack(blocks))

    @property
    def groups(self):
        """Group of each column, numbered from 0 in the order of the columns."""
        both = 3 * self.feature + self.kind
        return np.unique(both, return_inverse=True)[1]

    def of(self, j):
        """The columns of feature j, a slice."""
        places = np.flatnonzero(self.feature == j)
        return slice(int(places[0]), int(places[-1]) + 1)


def make_terms(X, mass, categorical, n_knots):
    """The `Terms` of dense rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Categorical features as codes.
    mass : ndarray of shape (n_rows,)
        How often each row counts; those of none are not looked at.
    categorical : ndarray of shape (n_features,), bool
    n_knots : ndarray of shape (n_features,), int
        Of each curve.

    Returns
    -------
    Terms
    """
    seen = mass > 0
    X, mass = X[seen], mass[seen]
    parts = []
    for x, is_categorical, most in zip(X.T, categorical, n_knots, strict=True):
        if is_categorical:
            parts.append(make_levels(x, mass))
            continue
        few = len(np.unique(x)) <= _FEW
        parts.append(make_curve(x, mass, 2 if few else int(most)))
    feature = np.repeat(np.arange(len(parts)), [part.width for part in parts])
    kind = [
        np.full(part.width, LEVEL)
        if isinstance(part, Levels)
        else np.array([LINE] + [WIGGLE] * (part.width - 1))
        for part in parts
    ]
    return Terms(tuple(parts), feature, np.concatenate(kind))
