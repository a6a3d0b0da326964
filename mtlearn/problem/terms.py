"""Features as the terms of an additive model: curves, plain lines, and levels.

A group is what shares a variance: the line of a feature, its wiggles, its levels.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .splines import curve_at, make_curve

_MOST_LEVELS = 100  # levels with a column of their own; rarer ones are the mean level
_BENDS = 3  # wiggles of a curve that are multiplied with another feature

LINE, WIGGLE, LEVEL, PRODUCT = 0, 1, 2, 3


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

    @property
    def n_plain(self):
        """How many of the columns are no wiggles."""
        return self.width

    def columns(self, x):
        """Indicators of the levels at codes, (n, width)."""
        seen = (x[:, None] == self.codes).astype(np.float64)
        return 0.5 * (seen[:, 1:] - seen[:, :1]) if len(self.codes) == 2 else seen


def make_levels(x, mass):
    """The `Levels` of a feature of codes, the most frequent ones first to be kept."""
    codes, place = np.unique(x, return_inverse=True)
    often = np.argsort(-np.bincount(place, weights=mass), kind="stable")
    return Levels(codes[np.sort(often[:_MOST_LEVELS])])


class Pair(NamedTuple):
    """Two features that act together: products of their columns.

    Attributes
    ----------
    first, second : int
    bent : bool
        Whether it is the products in which a wiggle is, or those of lines and levels.
    """

    first: int
    second: int
    bent: bool


@dataclass(frozen=True)
class Terms:
    """All features as terms, and pairs of them.

    Attributes
    ----------
    parts : tuple of Curve and Levels, one for each feature
    feature : ndarray of shape (n_columns,), int
        The feature that each column is of; pairs are numbered after them.
    kind : ndarray of shape (n_columns,), int
        `LINE`, `WIGGLE` or `LEVEL`; `PRODUCT` of lines and levels, and again `WIGGLE`
        for those of wiggles.
    pairs : tuple of Pair
    """

    parts: tuple
    feature: np.ndarray
    kind: np.ndarray
    pairs: tuple = ()

    def blocks(self, X):
        """The columns of each feature at rows of dense features."""
        return [part.columns(x) for part, x in zip(self.parts, X.T, strict=True)]

    def columns(self, X):
        """The columns of all terms, (n_rows, n_columns)."""
        return self.assembled(self.blocks(X))

    def assembled(self, blocks):
        """All columns by those of the features."""
        more = [self.products(pair, blocks) for pair in self.pairs]
        return np.ascontiguousarray(np.hstack(blocks + more))

    def products(self, pair, blocks):
        """The columns of a pair by those of the features."""
        a, b = blocks[pair.first], blocks[pair.second]
        keep = self._chosen(pair)
        a, b = a[:, : keep.shape[0]], b[:, : keep.shape[1]]
        return (a[:, :, None] * b[:, None, :])[:, keep]

    def width(self, pair):
        """How many columns a pair has."""
        return int(self._chosen(pair).sum())

    def plain(self, pair):
        """How many columns of each of the two features are no wiggles."""
        return [self.parts[j].n_plain for j in pair[:2]]

    def _chosen(self, pair):
        """Which products of the two features' first columns a pair is."""
        plain = self.plain(pair)
        if not pair.bent:
            return np.ones(plain, dtype=bool)
        bent = [
            min(self.parts[j].width, self.parts[j].n_plain + _BENDS) for j in pair[:2]
        ]
        chosen = np.ones(bent, dtype=bool)
        chosen[: plain[0], : plain[1]] = False
        return chosen

    def with_pairs(self, pairs):
        """The same features with these pairs."""
        own = self.feature < len(self.parts)
        pairs = [pair for pair in pairs if self.width(pair)]
        width = [self.width(pair) for pair in pairs]
        new = np.repeat(len(self.parts) + np.arange(len(pairs)), width)
        kind = np.repeat([WIGGLE if pair.bent else PRODUCT for pair in pairs], width)
        return replace(
            self,
            feature=np.append(self.feature[own], new).astype(np.int64),
            kind=np.append(self.kind[own], kind).astype(np.int64),
            pairs=tuple(pairs),
        )

    @property
    def groups(self):
        """Group of each column, numbered from 0 in the order of the columns."""
        both = 4 * self.feature + self.kind
        return np.unique(both, return_inverse=True)[1]

    def of(self, j):
        """The columns of feature j, a slice."""
        places = np.flatnonzero(self.feature == j)
        return slice(int(places[0]), int(places[-1]) + 1)


def make_terms(X, mass, categorical, n_knots, given=None):
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
    given : dict, default=None
        Parts that are known, by the numbers of their features.

    Returns
    -------
    Terms
    """
    seen = mass > 0
    X, mass = X[seen], mass[seen]
    parts, given = [], given or {}
    for j, (x, most) in enumerate(zip(X.T, n_knots, strict=True)):
        if j in given:
            parts.append(given[j])
        elif categorical[j]:
            parts.append(make_levels(x, mass))
        else:
            parts.append(make_curve(x, mass, int(most)))
    return terms_of(parts)


def known_part(knots):
    """The `Curve` with these knots; or `Levels`, of a number of them."""
    return Levels(np.arange(knots)) if np.ndim(knots) == 0 else curve_at(knots)


def terms_of(parts):
    """The `Terms` of features whose parts are known."""
    feature = np.repeat(np.arange(len(parts)), [part.width for part in parts])
    kind = [
        np.full(part.width, LEVEL)
        if isinstance(part, Levels)
        else np.array([LINE] + [WIGGLE] * (part.width - 1))
        for part in parts
    ]
    return Terms(tuple(parts), feature, np.concatenate(kind))
