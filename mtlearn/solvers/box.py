"""Dual problems of the margin losses: five arrays describe them all.

The dual of  min_W,b  sum_i loss_i(z_i) + 1/2 Omega(W)  has one number per observation,
the weight beta_i of its row in the model (signed: beta_i = y_i a_i for a label y_i and
the usual a_i >= 0 of a classifier). With G the Gram matrix under the task kernel,

    minimise  1/2 beta' G beta + 1/2 sum diagonal beta^2 - sum linear beta
              + sum width |beta|    over   lower <= beta <= upper,

where beta sums to zero over the rows of every unpenalised intercept.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

LOSSES = (
    "hinge",
    "squared_hinge",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
)


class BoxDual(NamedTuple):
    """The separable part of a dual problem; every array is of shape (n,)."""

    lower: np.ndarray
    upper: np.ndarray
    diagonal: np.ndarray
    linear: np.ndarray
    width: np.ndarray


def box_dual(loss, y, weight, epsilon=0.0):
    """Describe the dual of a weighted sum of one of `LOSSES`.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    y : ndarray of shape (n,)
        Labels: -1 and +1 for the hinges, numbers for the others.
    weight : ndarray of shape (n,)
        What each observation's loss is multiplied by, greater than 0.
    epsilon : float
        Errors up to this size cost nothing; not used by the hinges.

    Returns
    -------
    BoxDual
    """
    endless = np.full(len(y), np.inf)
    bound, diagonal = weight.copy(), np.zeros(len(y))
    if loss.startswith("squared"):
        bound, diagonal = endless, 0.5 / weight
    if loss.endswith("hinge"):
        lower = np.where(y > 0, 0.0, -bound)
        upper = np.where(y > 0, bound, 0.0)
        return BoxDual(lower, upper, diagonal, y.astype(float), np.zeros(len(y)))
    width = np.full(len(y), float(epsilon))
    return BoxDual(-bound, bound, diagonal, y.astype(float), width)


@njit(cache=True)
def best_dual(box, i, pull, bend):
    """Best beta of row i alone, where the smooth part is pull beta - 1/2 bend beta^2.

    That part includes linear and diagonal of the row, but not its width.
    """
    room = box.width[i]
    pull = max(pull - room, 0.0) + min(pull + room, 0.0)
    # a row without features, under a kinked loss: straight to a bound
    bend = max(bend, 1e-300)
    return min(max(pull / bend, box.lower[i]), box.upper[i])


@njit(cache=True)
def spare_slope(box, i, beta, slope):
    """By how much the slope may change before a row moves that rests where it is."""
    if beta == 0.0 and box.lower[i] < 0.0 < box.upper[i]:
        return box.width[i] - abs(slope)
    if beta == box.upper[i]:
        return slope - box.width[i]
    return -slope - box.width[i]
