"""The squared loss of tasks with common rows; the Gram grows as features enter.

Few features are ever in use where a penalty selects them: a row of the Gram is made for
those, and the gradient of all the others comes from it without the rows of X.
"""

import numpy as np

from ...moments import gather_moments
from ...problem.intercepts import FREE
from .smooth import Point, Quadratic

_FEW = 64  # features whose Gram is made at once
_SHARE = 3  # of the features, whose rows cost as much as the whole Gram
_ALL = 0.75  # of the features pulled at zero, from which most will be in use


def lazy_loss(data, intercept, penalty):
    """The loss with a growing Gram where it may save work, else None."""
    if not grows(data, intercept):
        return None
    loss = LazyLoss(data)
    if np.mean(penalty.gauges(loss.target) > 1.0) > _ALL:
        loss.fill()
    return loss


def grows(data, intercept):
    """Whether a Gram may grow: the loss must be of one Gram, and that no small one."""
    suits = intercept.own and not data.sparse
    suits = suits and _FEW < data.n_features <= data.X.shape[0]
    return suits and data.common


class LazyLoss:
    """Squared loss, free intercepts, complete labels; looks like a `MomentLoss`.

    Parameters
    ----------
    data : TaskData
        Wide layout, dense, every label observed, one weight per row at most.
    """

    intercept, shrinkage, coupling, squared = FREE, 0.0, None, True

    def __init__(self, data):
        self._data = data
        n, self.n_features = data.X.shape
        self.n_rows = data.n_tasks
        weight = self._weight = data.sample_weight
        heavy = np.ones(n) if weight is None else weight
        self._total = float(heavy.sum())
        self._y_mean = heavy @ data.y / self._total
        task_weight = data.task_weight
        self.scale = np.ones(self.n_rows) if task_weight is None else task_weight
        # centring one side of a product is enough; the means of X come with it
        beside = np.empty((self.n_rows + 1, n))
        np.subtract(data.y.T, self._y_mean[:, None], out=beside[:-1])
        squares = (beside[:-1] * beside[:-1]) @ heavy
        beside[-1] = 1.0
        if weight is not None:
            beside *= weight
        cross = beside @ data.X
        self._mean = cross[-1] / self._total
        self.target = self.scale[:, None] * cross[:-1]
        self.constant = 0.5 * float(self.scale @ squares)
        self.zero_objective = self.constant
        self._place = np.full(self.n_features, -1)
        self._gram = np.empty((0, self.n_features))

    def fill(self):
        """Make the whole Gram: the moments of one task, as all have its rows."""
        one = np.arange(self.n_rows) == 0
        self._gram = gather_moments(self._data.only(one)).gram[0]
        self._place = np.arange(self.n_features)

    def _enter(self, features):
        """Make the rows of the Gram of these features, where they are missing."""
        new = features[self._place[features] < 0]
        if len(new) == 0:
            return
        if _SHARE * (len(self._gram) + len(new)) > self.n_features:
            self.fill()
            return
        X = self._data.X
        part = X.take(new, axis=1)
        part -= self._mean[new]
        if self._weight is not None:
            part *= self._weight[:, None]
        self._place[new] = len(self._gram) + np.arange(len(new))
        self._gram = np.vstack([self._gram, part.T @ X])

    def columns(self, chosen):
        """The same loss of the chosen features only, the others zero."""
        self._enter(chosen)
        return Quadratic(
            self._gram[self._place[chosen]][:, chosen][None],
            np.zeros(self.n_rows, dtype=np.int64),
            self.scale,
            np.ascontiguousarray(self.target[:, chosen]),
            None,
            self.constant,
            self.zero_objective,
        )

    def at(self, W):
        """Value and gradient at W."""
        used = np.flatnonzero(W.any(axis=0))
        self._enter(used)
        gradient = W[:, used] @ self._gram[self._place[used]]
        gradient *= self.scale[:, None]
        gradient -= self.target
        value = np.vdot(W, gradient) - np.vdot(W, self.target)
        return Point(W, max(self.constant + 0.5 * float(value), 0.0), gradient)

    dual = Quadratic.dual

    def intercepts(self, W, point=None):
        """The best intercepts, of shape (n_tasks,)."""
        return self._y_mean - W @ self._mean
