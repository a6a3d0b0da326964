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
