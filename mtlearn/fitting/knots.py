"""Knots and levels that the caller gives: terms that do not depend on the rows."""

from collections.abc import Mapping

import numpy as np

from ..problem.ids import shorten
from ..problem.terms import known_part
from .learned import feature_position

_CLOSE = 1e-4  # distance of two knots, against the mean one, that makes them one


def check_knots(knots):
    """Check the parameter `knots`, as far as it goes without features."""
    for feature, given in _items(knots):
        if not _is_levels(given):
            _as_knots(feature, given)
        elif not isinstance(feature, str):
            raise ValueError(
                f"`knots` has levels for the feature {feature!r}: only columns of data "
                "frames are categories, name one."
            )
        elif len(set(given)) < len(given):
            raise ValueError(
                f"`knots` has levels twice for {feature!r}: {shorten(given)}."
            )


def given_levels(knots, names):
    """Levels of the categories that `knots` names, (n_levels,) lists by name.

    Parameters
    ----------
    knots : dict, list or None
    names : list of str
        Of the features.
    """
    found = {f: list(given) for f, given in _items(knots) if _is_levels(given)}
    absent = [feature for feature in found if feature not in names]
    if absent:
        raise ValueError(
            f"`knots` has levels for {shorten(absent)}, but X has no such columns."
        )
    return found


def known_parts(knots, names, categories):
    """What `knots` says of the features, by their numbers: curves and levels.

    Parameters
    ----------
    knots : dict, list or None
    names : list of str or None
        Of the features.
    categories : list
        Levels of each feature that is a category, None of others.

    Returns
    -------
    parts : dict
        From numbers of features to `Curve` and `Levels`.
    """
    d = len(categories)
    if knots is not None and not isinstance(knots, Mapping) and len(knots) != d:
        raise ValueError(
            f"`knots` must have one entry for each of the {d} features (None: from the "
            f"rows), got {len(knots)}."
        )
    parts = {}
    for feature, given in _items(knots):
        j = feature_position(feature, names, d, "knots") % d
        if j in parts:
            raise ValueError(f"`knots` has two entries for the feature {feature!r}.")
        if categories[j] is not None and not _is_levels(given):
            raise ValueError(
                f"`knots` has numbers for the category {feature!r}: give its levels."
            )
        known = len(given) if _is_levels(given) else _as_knots(feature, given)
        parts[j] = known_part(known)
    return parts


def _items(knots):
    """Pairs of a feature and what is given of it."""
    if knots is None:
        return []
    if isinstance(knots, Mapping):
        return list(knots.items())
    if isinstance(knots, (str, bytes)) or not hasattr(knots, "__iter__"):
        raise TypeError(
            "`knots` must be a dict from features to their knots, a list with an entry "
            f"for each feature, or None, got {knots!r}."
        )
    return [(j, given) for j, given in enumerate(knots) if given is not None]


def _is_levels(given):
    """Whether these are names of levels, not knots."""
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        return False
    return any(isinstance(one, str) for one in given)


def _as_knots(feature, given):
    """Knots of one feature as an array."""
    try:
        knots = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        knots = np.zeros(0)
    apart = knots.ndim == 1 and len(knots) > 1 and np.all(np.isfinite(knots))
    if apart:
        least = _CLOSE * (knots[-1] - knots[0]) / (len(knots) - 1)
        apart = least > 0 and bool(np.all(np.diff(knots) > least))
    if not apart:
        raise ValueError(
            f"`knots` of {feature!r} must be two or more finite numbers that increase, "
            f"the two ends included, got {given!r}."
        )
    return knots
