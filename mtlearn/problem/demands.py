"""What a constraint asks of the coefficients W: plain data that any solver can read."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp


class Scope(NamedTuple):
    """What the names in a constraint refer to.

    `tasks` holds the ids in the order of the rows of W, `names` those of its columns
    (None where the data had none).
    """

    tasks: np.ndarray
    names: list | None
    n_features: int


@dataclass(frozen=True)
class Demand:
    """A constraint on the flattened W (task after task), as plain data.

    lower <= rows @ W <= upper, and the k-th of equally long parts of balls @ W is no
    farther than radius[k] from centre @ W.

    Attributes
    ----------
    rows : csr_array of shape (n_rows, n_tasks * n_features)
    lower, upper : ndarray of shape (n_rows,)
    shape : tuple
        Shape of the prices.
    place : ndarray of shape (n_rows,), int, or None
        Flat position of each row's price; None where the price is the force of all rows
        on each coefficient, or minus its length where `shape` has a single axis.
    balls : csr_array of shape (n_balls * n_features, n_tasks * n_features) or None
    centre : csr_array of shape (n_features, n_tasks * n_features) or None
    radius : ndarray of shape (n_balls,)
    """

    rows: sp.csr_array
    lower: np.ndarray
    upper: np.ndarray
    shape: tuple
    place: np.ndarray | None
    balls: sp.csr_array | None = None
    centre: sp.csr_array | None = None
    radius: np.ndarray | None = None

    def prices(self, multipliers, ball_prices):
        """Prices of this demand, of `shape`, by its rows' multipliers.

        A multiplier is the derivative of the least objective by the limit of its row.
        """
        if self.balls is not None:
            return np.array(ball_prices, dtype=float)
        if self.place is None:
            force = (self.rows.T @ multipliers).reshape(self.shape[0], -1)
            return force if len(self.shape) == 2 else -np.linalg.norm(force, axis=1)
        price = np.zeros(int(np.prod(self.shape)))
        price[self.place] = multipliers
        return price.reshape(self.shape)
