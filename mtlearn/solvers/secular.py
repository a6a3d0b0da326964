"""The minimum of a quadratic as a function of the multipliers of balls |v_k| <= r_k.

It is concave, and Newton's method on r_k / |v_k| = 1, nearly linear in the multipliers,
climbs it (the secular equation of More and Sorensen, SIAM J. Scientific and Statistical
Computing 4, 1983).
"""

import numpy as np

_CENTRE = 1e-9  # share of the radius below which a point is at its ball's centre


def climb(problem, here, most):
    """A Newton step in the multipliers, shortened until the minimum does not fall.

    Parameters
    ----------
    problem : object
        `at(pulls)` is the minimum at some multipliers, or None; `step(here)` Newton's
        change of them.
    here : object with `pulls` and `value`
        As `at` returns it.
    most : int
        Most lengths that are tried.

    Returns
    -------
    ahead : as `at` returns it
    """
    change, ahead = problem.step(here), None
    for _ in range(most):
        ahead = problem.at(np.maximum(here.pulls + change, 0.0))
        if ahead is None or ahead.value >= here.value - 1e-10 * abs(here.value):
            break
        change = 0.3 * change
    return ahead


def take_part(length, radius, pulls):
    """Which balls a Newton step is about, and the change of the others' multipliers.

    What is at the centre has no direction in which to be held: a multiplier that is
    left from another quadratic goes to zero.

    Returns
    -------
    tight : ndarray of int
    change : ndarray of shape (n_balls,)
    """
    centred = length <= _CENTRE * radius
    tight = ((pulls > 0) | (length > radius)) & ~centred
    return np.flatnonzero(tight), np.where(centred, -pulls, 0.0)


def are_there(length, radius, pulls, off_by):
    """Whether all balls are where they should be: on the edge where they pull."""
    off = length / radius - 1.0
    return np.all(np.where(pulls > 0, np.abs(off), off) <= off_by)
