"""Margin losses: the hinge, tubes of errors, and the squares of both.

One word for each, and what follows from it: the five arrays of its dual problem, and
the smooth function that it is where it is a square.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .losses import SquaredEpsilonInsensitive, SquaredHinge


class BoxDual(NamedTuple):
    """The separable part of a dual problem; every array is of shape (n,)."""

    lower: np.ndarray
    upper: np.ndarray
    diagonal: np.ndarray
    linear: np.ndarray
    width: np.ndarray


@dataclass(frozen=True)
class MarginLoss:
    """A loss that costs nothing beyond a margin, or within a tube.

    Attributes
    ----------
    of_classes : bool
        Whether labels are -1 and +1 and the loss is that of max(0, 1 - y z); else it is
        that of max(0, abs(y - z) - epsilon).
    squared : bool
    epsilon : float
    """

    of_classes: bool
    squared: bool
    epsilon: float = 0.0

    @property
    def is_square(self):
        """Whether it is the squared error, whatever its name."""
        return self.squared and not self.of_classes and self.epsilon == 0.0

    def smooth(self):
        """The smooth loss that a squared one is, an object of `problem.losses`."""
        if self.of_classes:
            return SquaredHinge()
        return SquaredEpsilonInsensitive(self.epsilon)

    def box(self, y, weight):
        """Describe the dual of the weighted sum of the loss.

        Parameters
        ----------
        y : ndarray of shape (n,)
        weight : ndarray of shape (n,)
            What each observation's loss is multiplied by, greater than 0.

        Returns
        -------
        BoxDual
        """
        bound, diagonal = weight.copy(), np.zeros(len(y))
        if self.squared:
            bound, diagonal = np.full(len(y), np.inf), 0.5 / weight
        linear, width = y.astype(float), np.full(len(y), float(self.epsilon))
        if not self.of_classes:
            return BoxDual(-bound, bound, diagonal, linear, width)
        lower = np.where(y > 0, 0.0, -bound)
        upper = np.where(y > 0, bound, 0.0)
        return BoxDual(lower, upper, diagonal, linear, 0.0 * width)


_NAMED = {
    "hinge": MarginLoss(True, False),
    "squared_hinge": MarginLoss(True, True),
    "epsilon_insensitive": MarginLoss(False, False),
    "squared_epsilon_insensitive": MarginLoss(False, True),
}
MARGIN_LOSSES = tuple(_NAMED)


def margin_loss(name, epsilon=0.0):
    """The loss of a name in `MARGIN_LOSSES`; those of classes have no `epsilon`."""
    loss = _NAMED[name]
    return loss if loss.of_classes else replace(loss, epsilon=epsilon)
