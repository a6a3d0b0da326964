"""Per-task second moments: all that a squared loss ever sees of the rows.

They are centred task by task, so that an intercept costs no digits, and they add,
subtract and merge: a fold is the total less its own rows.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Centred second moments of each task.

    Tasks that see the same rows with the same weights share one entry of `weight`,
    `mean` and `gram` (complete `Y` has a single one). With sample weights s and the
    weighted means taken out, task t of group u has

        gram[u] = sum_i s_i (x_i - mean[u]) (x_i - mean[u])',
        cross[t] = sum_i s_i (x_i - mean[u]) (y_i - y_mean[t]),
        y_square[t] = sum_i s_i (y_i - y_mean[t])^2,

    and its task weight stands beside them in `scale`, not inside.

    Attributes
    ----------
    weight : ndarray of shape (n_groups,)
        Sum of the sample weights.
    mean : ndarray of shape (n_groups, n_features)
    gram : ndarray of shape (n_groups, n_features, n_features)
    group : ndarray of shape (n_tasks,), int
        The group of each task.
    scale : ndarray of shape (n_tasks,)
        Task weights.
    y_mean, y_square : ndarray of shape (n_tasks,)
    cross : ndarray of shape (n_tasks, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn.moments import gather_moments
    >>> from mtlearn.problem.tasks import TaskData
    >>> X, y = np.array([[0.0], [2.0], [5.0]]), np.array([1.0, 3.0, 2.0])
    >>> both = gather_moments(TaskData(X, y, 2, codes=np.array([0, 0, 1])))
    >>> both.gram.ravel().tolist(), both.cross.ravel().tolist()
    ([2.0, 0.0], [2.0, 0.0])
    """

    weight: np.ndarray
    mean: np.ndarray
    gram: np.ndarray
    group: np.ndarray
    scale: np.ndarray
    y_mean: np.ndarray
    y_square: np.ndarray
    cross: np.ndarray

    @property
    def n_tasks(self):
        return len(self.group)

    @property
    def n_features(self):
        return self.cross.shape[1]

    @property
    def task_weights(self):
        """Total weight of each task's rows, task weight included."""
        return self.scale * self.weight[self.group]

    @property
    def zero_objective(self):
        """`objective` of the zero model."""
        return self._constant(0.0)

    def base_objective(self, intercept):
        """`objective` of the best intercepts alone, shrunken ones all alike."""
        return self._constant(intercept.best(self.y_mean, self.task_weights))

    def _constant(self, level):
        """`objective` of constants."""
        raw = self.y_square + self.weight[self.group] * (self.y_mean - level) ** 2
        return 0.5 * float(self.scale @ raw)

    def expand(self):
        """Return the same moments with a group for every task."""
        if len(self.weight) == self.n_tasks and np.all(
            self.group == np.arange(self.n_tasks)
        ):
            return self
        u = self.group
        return Moments(
            self.weight[u],
            self.mean[u],
            self.gram[u],
            np.arange(self.n_tasks),
            self.scale,
            self.y_mean,
            self.y_square,
            self.cross,
        )

    def with_constant(self):
        """The same moments with a last feature of ones."""
        one = ((0, 0), (0, 1))
        return Moments(
            self.weight,
            np.pad(self.mean, one, constant_values=1.0),
            np.pad(self.gram, ((0, 0), (0, 1), (0, 1))),
            self.group,
            self.scale,
            self.y_mean,
            self.y_square,
            np.pad(self.cross, one),
        )

    def __add__(self, other):
        """Moments of both sets of rows of the same tasks."""
        return _combine(self, other, 1.0)

    def __sub__(self, other):
        """Moments of the rows that are left when `other`'s are taken away."""
        return _combine(self, other, -1.0)

    @classmethod
    def merge(cls, parts):
        """Moments of all rows of several sets: streams, files, workers."""
        parts = list(parts)
        if not parts:
            raise ValueError("`parts` is empty: expected at least one Moments.")
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def objective(self, coef, intercept):
        """1/2 sum_t lambda_t sum_i s_i (y_i - x_i . w_t - b_t)^2."""
        u = self.group
        fitted = np.einsum("tj,tj->t", self._gram_dot(coef), coef)
        spread = self.y_square - 2 * np.einsum("tj,tj->t", self.cross, coef) + fitted
        offset = self.y_mean - intercept - np.einsum("tj,tj->t", self.mean[u], coef)
        return 0.5 * float(
            self.scale @ (np.maximum(spread, 0.0) + self.weight[u] * offset**2)
        )

    def gradient(self, coef, intercept):
        """Gradient of `objective`: (n_tasks, n_features) and (n_tasks,)."""
        u = self.group
        mean = self.mean[u]
        offset = intercept + np.einsum("tj,tj->t", mean, coef) - self.y_mean
        g_intercept = self.scale * self.weight[u] * offset
        g_coef = self.scale[:, None] * (self._gram_dot(coef) - self.cross)
        return g_coef + g_intercept[:, None] * mean, g_intercept

    def _gram_dot(self, coef):
        """gram[group[t]] @ coef[t] for every task."""
        if len(self.weight) == 1:
            return coef @ self.gram[0]
        if len(self.weight) == self.n_tasks:
            return np.matmul(self.gram[self.group], coef[:, :, None])[:, :, 0]
        product = np.empty_like(coef)
        for u in range(len(self.weight)):
            tasks = self.group == u
            product[tasks] = coef[tasks] @ self.gram[u]
        return product


def _combine(one, two, sign):
    """Pool (sign 1) or take apart (sign -1) two sets of moments, group by group."""
    if one.cross.shape != two.cross.shape:
        raise ValueError(
            "Moments of different problems: expected the same n_tasks and n_features, "
            f"got {one.cross.shape} and {two.cross.shape}."
        )
    if not np.array_equal(one.group, two.group):
        one, two = one.expand(), two.expand()
    u = one.group
    weight = np.maximum(one.weight + sign * two.weight, 0.0)
    # rows left over from rounding only are no rows
    weight[weight <= 1e-12 * np.maximum(one.weight, two.weight)] = 0.0
    share = np.divide(
        sign * two.weight, weight, out=np.zeros_like(weight), where=weight > 0
    )
    shift, y_shift = two.mean - one.mean, two.y_mean - one.y_mean
    # with m the new mean, the pooled scatter gains w1 w2 / w times the squared shift
    between = one.weight * share
    alive, alive_t = weight > 0, (weight > 0)[u]
    gram = one.gram + sign * two.gram
    gram += between[:, None, None] * shift[:, :, None] * shift[:, None, :]
    cross = one.cross + sign * two.cross + (between[u] * y_shift)[:, None] * shift[u]
    y_square = one.y_square + sign * two.y_square + between[u] * y_shift**2
    return Moments(
        weight,
        np.where(alive[:, None], one.mean + share[:, None] * shift, 0.0),
        np.where(alive[:, None, None], gram, 0.0),
        u,
        np.maximum(one.scale, two.scale),
        np.where(alive_t, one.y_mean + share[u] * y_shift, 0.0),
        np.where(alive_t, np.maximum(y_square, 0.0), 0.0),
        np.where(alive_t[:, None], cross, 0.0),
    )
