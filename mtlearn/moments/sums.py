"""Per-task second moments: all that a squared loss ever sees of the rows.

They are centred task by task, so that an intercept costs no digits, and they add,
subtract and merge: a fold is the total less its own rows.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit


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
    mean_rest, y_rest : ndarray of the shapes of `mean` and `y_mean`, or None
        What the means lack by being rounded; a sum of moments far from zero needs it.

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
    mean_rest: np.ndarray | None = None
    y_rest: np.ndarray | None = None

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
        return self.at(np.arange(self.n_tasks), apart=True)

    def only(self, part):
        """Moments of the tasks marked in `part`, a bool array of shape (n_tasks,)."""
        if part.all():
            return self
        return self.at(np.flatnonzero(part))

    def at(self, tasks, apart=False):
        """Moments of some tasks in a given order; -1 is one without rows.

        Parameters
        ----------
        tasks : ndarray of shape (n_chosen,), int
        apart : bool
            Whether each gets a group of its own.
        """
        used = _or_empty(self.group, tasks, -1)
        group = np.arange(len(used))
        if not apart:
            used, group = np.unique(used, return_inverse=True)

        def of_groups(values):
            return None if values is None else _or_empty(values, used)

        def of_tasks(values, empty=0.0):
            return None if values is None else _or_empty(values, tasks, empty)

        return Moments(
            of_groups(self.weight),
            of_groups(self.mean),
            of_groups(self.gram),
            group.ravel(),
            of_tasks(self.scale, 1.0),
            of_tasks(self.y_mean),
            of_tasks(self.y_square),
            of_tasks(self.cross),
            of_groups(self.mean_rest),
            of_tasks(self.y_rest),
        )

    def regrouped(self, source, group):
        """The same tasks in other groups, each of them one of ours.

        Parameters
        ----------
        source : ndarray of shape (n_groups,), int
            Which of our groups each of them is.
        group : ndarray of shape (n_tasks,), int
        """
        rest = self.mean_rest
        return replace(
            self,
            weight=self.weight[source],
            mean=self.mean[source],
            gram=self.gram[source],
            mean_rest=None if rest is None else rest[source],
            group=group,
        )

    def lowered(self, level):
        """The same rows with targets from which the level of each task is taken."""
        return replace(self, y_mean=self.y_mean - level)

    def with_rests(self):
        """The same moments, the means' rests zero where they are not known."""
        if self.mean_rest is not None:
            return self
        rests = np.zeros_like(self.mean), np.zeros_like(self.y_mean)
        return replace(self, mean_rest=rests[0], y_rest=rests[1])

    def with_constant(self, value=1.0):
        """The same moments with a last feature of one value."""
        one = ((0, 0), (0, 1))
        return Moments(
            self.weight,
            np.pad(self.mean, one, constant_values=value),
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


def _or_empty(values, where, empty=0.0):
    """Values at some places, `empty` at those below zero."""
    if not len(values):
        return np.full((len(where), *values.shape[1:]), empty)
    out = values[where]
    out[where < 0] = empty
    return out


def _combine(one, two, sign):
    """Pool (sign 1) or take apart (sign -1) two sets of moments, group by group."""
    if one.cross.shape != two.cross.shape:
        raise ValueError(
            "Moments of different problems: expected the same n_tasks and n_features, "
            f"got {one.cross.shape} and {two.cross.shape}."
        )
    if not np.array_equal(one.group, two.group):
        one, two = _refine(one, two)
    u = one.group
    weight = np.maximum(one.weight + sign * two.weight, 0.0)
    # rows left over from rounding only are no rows
    weight[weight <= 1e-12 * np.maximum(one.weight, two.weight)] = 0.0
    share = np.divide(
        sign * two.weight, weight, out=np.zeros_like(weight), where=weight > 0
    )
    one, two = _placed(one.with_rests(), two.with_rests()), two.with_rests()
    shift = two.mean - one.mean + (two.mean_rest - one.mean_rest)
    y_shift = two.y_mean - one.y_mean + (two.y_rest - one.y_rest)
    # with m the new mean, the pooled scatter gains w1 w2 / w times the squared shift
    between = one.weight * share
    alive, alive_t = weight > 0, (weight > 0)[u]
    gram = one.gram + sign * two.gram
    gram += between[:, None, None] * shift[:, :, None] * shift[:, None, :]
    cross = one.cross + sign * two.cross + (between[u] * y_shift)[:, None] * shift[u]
    y_square = one.y_square + sign * two.y_square + between[u] * y_shift**2
    mean = two_sum(one.mean, share[:, None] * shift + one.mean_rest)
    y_mean = two_sum(one.y_mean, share[u] * y_shift + one.y_rest)
    return Moments(
        weight,
        np.where(alive[:, None], mean[0], 0.0),
        np.where(alive[:, None, None], gram, 0.0),
        u,
        np.maximum(one.scale, two.scale),
        np.where(alive_t, y_mean[0], 0.0),
        np.where(alive_t, np.maximum(y_square, 0.0), 0.0),
        np.where(alive_t[:, None], cross, 0.0),
        np.where(alive[:, None], mean[1], 0.0),
        np.where(alive_t, y_mean[1], 0.0),
    )


def _placed(one, two):
    """Groups without rows have the means of the other side: nothing moves there."""
    empty, empty_t = one.weight <= 0, (one.weight <= 0)[one.group]
    return replace(
        one,
        mean=np.where(empty[:, None], two.mean, one.mean),
        mean_rest=np.where(empty[:, None], two.mean_rest, one.mean_rest),
        y_mean=np.where(empty_t, two.y_mean, one.y_mean),
        y_rest=np.where(empty_t, two.y_rest, one.y_rest),
    )


def two_sum(a, b):
    """The rounded sum of two arrays, and what it lacks (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _refine(one, two):
    """Both with one group for all tasks that share their rows in both."""
    pairs = np.column_stack([one.group, two.group])
    _, first, group = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    return tuple(side.regrouped(side.group[first], group) for side in (one, two))


# ---------------------------------------------------------------- sums in place


def pool_into(total, where, part, sign=1.0):
    """Add moments to others in place, task by task; or take them away.

    Parameters
    ----------
    total : Moments
        With a group for every task, and rests of the means.
    where : ndarray of shape (n_part,), int
        Place in it of each task of `part`.
    part : Moments
        With a group for every task, too.
    sign : {1.0, -1.0}
    """
    arrays = [
        getattr(side, name) for side in (total, part.with_rests()) for name in _POOLED
    ]
    _pool(where, sign, *arrays)


_POOLED = (
    "weight",
    "mean",
    "gram",
    "y_mean",
    "y_square",
    "cross",
    "mean_rest",
    "y_rest",
)


@njit(cache=True, nogil=True)
def _pool(
    where,
    sign,
    weight,
    mean,
    gram,
    y_mean,
    y_square,
    cross,
    mean_rest,
    y_rest,
    weight_2,
    mean_2,
    gram_2,
    y_mean_2,
    y_square_2,
    cross_2,
    mean_rest_2,
    y_rest_2,
):
    """Pool the scatters of two sets of rows about their common mean, task by task."""
    d = mean.shape[1]
    shift = np.empty(d)
    for k in range(where.shape[0]):
        t = where[k]
        total = weight[t] + sign * weight_2[k]
        if weight_2[k] <= 0.0 or total <= 0.0:
            continue
        if weight[t] <= 0.0:  # there the shift is none, and keeps its digits
            y_mean[t], y_rest[t] = y_mean_2[k], y_rest_2[k]
            for j in range(d):
                mean[t, j], mean_rest[t, j] = mean_2[k, j], mean_rest_2[k, j]
        share = sign * weight_2[k] / total
        between = weight[t] * share
        y_shift = y_mean_2[k] - y_mean[t] + (y_rest_2[k] - y_rest[t])
        for j in range(d):
            shift[j] = mean_2[k, j] - mean[t, j] + (mean_rest_2[k, j] - mean_rest[t, j])
        for i in range(d):
            for j in range(d):
                # in this order, so that both triangles agree
                gram[t, i, j] += sign * gram_2[k, i, j] + between * (
                    shift[i] * shift[j]
                )
            cross[t, i] += sign * cross_2[k, i] + between * y_shift * shift[i]
            mean[t, i], mean_rest[t, i] = _two_sum(
                mean[t, i], share * shift[i] + mean_rest[t, i]
            )
            # a difference may be a rounding below zero, a square is not
            gram[t, i, i] = max(gram[t, i, i], 0.0)
        y_square[t] += sign * y_square_2[k] + between * y_shift * y_shift
        y_square[t] = max(y_square[t], 0.0)
        y_mean[t], y_rest[t] = _two_sum(y_mean[t], share * y_shift + y_rest[t])
        weight[t] = total


@njit(cache=True, nogil=True)
def _two_sum(a, b):
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)
