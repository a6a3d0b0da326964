"""Margin losses + relation, dense rows: sweeps of coordinate descent over the dual.

One sweep visits the tasks in random order, and in each its rows in random order, with
an exact step in every dual variable. While a task is visited only its own coefficients
move; what the other tasks have of it, by the task kernel, they get at the end of the
visit. Rows that sit at a bound with room to spare are left out of the following sweeps
(Hsieh et al. 2008), until the scores of all rows, which the duality gap needs anyway,
tell which of them to visit again. Unpenalised intercepts are held by a penalty around
their last values, which are moved on from time to time.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from sklearn.utils import check_random_state

from .envelope import BoxDual, best_dual, spare_slope


class Sides(NamedTuple):
    """How rows are coupled across tasks: `common` + `private` on the diagonal, or K.

    kernel has no entries where the first two say it all.
    """

    common: float
    private: float
    kernel: np.ndarray


def sides(form, intercept, spread):
    """Coupling of the coefficients, and of the intercepts."""
    none = np.zeros((0, 0))
    if form.arrow is not None:
        a2, b2 = np.square(form.arrow).tolist()
        like = intercept.square
        common = like * a2 + spread * intercept.common
        private = like * b2 + spread * intercept.own
        return Sides(a2, b2, none), Sides(common, private, none)
    K = np.ascontiguousarray(form.kernel())
    M = form.intercept_map(intercept)
    extra = spread * (M @ M.T).toarray()
    if intercept.shrunk:
        extra = extra + intercept.square * K
    return Sides(0.0, 1.0, K), Sides(0.0, 1.0, np.ascontiguousarray(extra))


def _own(sides, n_tasks):
    """How strongly rows of a task are coupled with each other, for every task."""
    if sides.kernel.shape[0]:
        return sides.kernel.diagonal()
    return np.full(n_tasks, sides.common + sides.private)


class Sweeps:
    """Dual variables of all rows, and the model that goes with them.

    Parameters
    ----------
    data : TaskData
        Dense features.
    box : BoxDual
    form : ArrowForm, MatrixForm or ComposedForm
    intercept : Intercepts
    seed : int
        Of the order in which tasks and rows are visited.

    Attributes
    ----------
    beta : ndarray of shape (n,)
        W = K X' beta at any time; in units in which Omega has the factor 1/2.
    active : ndarray of shape (n_tasks,)
        How many rows of each task the next sweep visits.
    """

    def __init__(self, data, box, form, intercept, seed=0):
        X, d = data.features, data.n_features
        self.data, self.box, self.intercept = data, box, intercept
        self.X, self.place = np.ascontiguousarray(X), data.place
        self.starts = np.ascontiguousarray(data.starts)
        square = np.einsum("ij,ij->i", self.X, self.X)
        spread = 0.1 * float(square.mean()) or 1.0
        self.spread, self.data_map = spread, form.intercept_map(intercept)
        self.coef_sides, self.free_sides = sides(form, intercept, spread)
        first, second = (
            _own(s, data.n_tasks) for s in (self.coef_sides, self.free_sides)
        )
        self.bends = square[self.place] * np.repeat(first, data.sizes)
        self.bends += np.repeat(second, data.sizes) + box.diagonal
        # a row without features, under a kinked loss, goes straight to a bound
        inverse = 1.0 / np.maximum(self.bends, 1e-300)
        n = data.n_tasks
        self.common, self.own = np.zeros(d), np.zeros((n, d))
        self.level = np.zeros(1 + n)
        self.offset = np.zeros(n)
        self.beta = np.zeros(len(data.rows))
        self.rng = check_random_state(seed)
        self.order = np.arange(len(data.rows))
        self.active = data.sizes.copy()
        self.noise = self.rng.randint(1, 2**31, size=1).astype(np.uint64)
        self.limit = np.inf
        self._rows = _Rows(
            self.X, self.place, box, self.bends, inverse, self.order, self.beta
        )
        coupling = self.coef_sides, self.free_sides
        self._model = _Model(*coupling, self.common, self.own, self.level, self.offset)

    def sweep(self):
        """One sweep; returns how many rows it visited and what the dual gained."""
        visits = int(self.active.sum())
        tasks = self.rng.permutation(len(self.active))
        state = self.starts, tasks, self.active, self.limit, self.noise
        gain, self.limit = _sweep(self._rows, self._model, *state)
        return visits, gain

    def wake(self, z):
        """Decide by the scores `z` of the model which rows are visited next."""
        self.limit = _wake(self._rows, self.starts, z, self.active)

    def settle(self):
        """Move on the values around which the intercepts are held.

        Returns by how much the scores rise, of shape (n,).
        """
        levels = self._levels()
        self.offset += levels
        return np.repeat(levels, self.data.sizes)

    def held(self):
        """What holding the intercepts adds to the objective; 0 where they balance."""
        if not self.intercept.present:
            return 0.0
        M = self.data_map
        sums = M.T @ self.data.sums(self.beta)
        return 0.5 * self.spread * float(sums @ sums)

    def _levels(self):
        return self.level[0] + self.free_sides.private * self.level[1:]

    def model(self):
        """Coefficients (n_tasks, n_features), intercepts (n_tasks,)."""
        W = self.common + self.coef_sides.private * self.own
        return W, self.offset + self._levels()

    def coordinates(self, form):
        """Coefficients in the coordinates of the form."""
        if form.arrow is None:
            return form.coordinates(self.own.copy())
        head = self.common / form.shared if form.shared > 0 else 0.0 * self.common
        return np.vstack([head, form.private * self.own])


class _Rows(NamedTuple):
    """What one sweep reads, and the variables of the rows.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    place : ndarray of shape (n,)
        Row of X of every observation.
    box : BoxDual
    bends, inverse : ndarray of shape (n,)
        Curvature of every dual variable alone, and one over it.
    order : ndarray of shape (n,)
        Observations, those that are visited first in each task.
    beta : ndarray of shape (n,)
    """

    X: np.ndarray
    place: np.ndarray
    box: BoxDual
    bends: np.ndarray
    inverse: np.ndarray
    order: np.ndarray
    beta: np.ndarray


class _Model(NamedTuple):
    """Coefficients and levels of the tasks, and how rows are coupled in both."""

    coef: Sides
    free: Sides
    common: np.ndarray
    own: np.ndarray
    level: np.ndarray
    offset: np.ndarray


@njit(cache=True)
def _sweep(rows, model, starts, tasks, active, limit, noise):
    coef, free, common, own, level, offset = model
    w, before = np.empty(len(common)), np.empty(len(common))
    gain, worst = 0.0, 0.0
    dense = coef.kernel.shape[0] > 0
    for t in tasks:
        if active[t] == 0:
            continue
        own_coef = coef.kernel[t, t] if dense else coef.common + coef.private
        own_free = free.kernel[t, t] if dense else free.common + free.private
        for j in range(len(w)):
            w[j] = common[j] + coef.private * own[t, j]
            before[j] = w[j]
        b = offset[t] + level[0] + free.private * level[1 + t]
        active[t], gained, most, total = _visit(
            rows, starts[t], active[t], limit, noise, own_coef, own_free, w, b
        )
        gain += gained
        worst = max(worst, most)
        if own_coef == 0.0:
            continue
        for j in range(len(w)):
            before[j] = (w[j] - before[j]) / own_coef
        if dense:
            # to all tasks, by the task kernel
            for u in range(coef.kernel.shape[0]):
                c = coef.kernel[u, t]
                if c != 0.0:
                    for j in range(len(w)):
                        own[u, j] += c * before[j]
                level[1 + u] += free.kernel[u, t] * total
            continue
        for j in range(len(w)):
            own[t, j] += before[j]
            common[j] += coef.common * before[j]
        level[0] += free.common * total
        level[1 + t] += total
    return gain, worst


# Reassociation lets the products with a row run in vector registers.
@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _visit(rows, s, size, limit, noise, own_coef, own_free, w, b):
    """Steps in the first `size` rows of a task, in random order; moves its `w`.

    Returns how many of them the next sweep visits, what the dual gained, the largest
    step times its bend, and the sum of all steps.
    """
    X, place, box, bends, inverse, order, beta = rows
    gain, worst, total, k, state = 0.0, 0.0, 0.0, 0, noise[0]
    while k < size:
        # a random row of those not yet visited: xorshift, and the upper half of its
        # state times their number, which spares a division
        state ^= (state << np.uint64(13)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        state ^= state >> np.uint64(7)
        state ^= (state << np.uint64(17)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        pick = int(((state >> np.uint64(32)) * np.uint64(size - k)) >> np.uint64(32))
        i = order[s + k + pick]
        order[s + k + pick] = order[s + k]
        order[s + k] = i
        x, z = X[place[i]], 0.0
        for j in range(x.shape[0]):
            z += x[j] * w[j]
        slope = box.linear[i] - z - b - box.diagonal[i] * beta[i]
        best = best_dual(box, i, slope + bends[i] * beta[i], inverse[i])
        step = best - beta[i]
        if step == 0.0:
            if spare_slope(box, i, beta[i], slope) > limit:
                size -= 1
                order[s + k] = order[s + size]
                order[s + size] = i
            else:
                k += 1
            continue
        k += 1
        worst = max(worst, abs(step) * bends[i])
        gain += step * (slope - 0.5 * bends[i] * step)
        gain -= box.width[i] * (abs(best) - abs(beta[i]))
        beta[i] = best
        push = own_coef * step
        for j in range(x.shape[0]):
            w[j] += push * x[j]
        b += own_free * step
        total += step
    noise[0] = state
    return size, gain, worst, total


# Loops over all rows without a branch: who moves and who rests is hard to predict.
@njit(cache=True, fastmath={"reassoc", "contract", "nsz", "nnan"})
def _wake(rows, starts, z, active):
    """Rows that may move to the front of their task, as in `spare_slope`.

    Returns the largest step that a row would make alone, times its bend.
    """
    _, _, box, bends, inverse, order, beta = rows
    limit = 0.0
    for i in range(z.shape[0]):
        slope = box.linear[i] - z[i] + (bends[i] - box.diagonal[i]) * beta[i]
        best = best_dual(box, i, slope, inverse[i])
        limit = max(limit, abs(best - beta[i]) * bends[i])
    for t in range(starts.shape[0] - 1):
        front, back = starts[t], starts[t + 1] - 1
        for i in range(starts[t], starts[t + 1]):
            slope = box.linear[i] - z[i] - box.diagonal[i] * beta[i]
            room = box.width[i] + limit
            rests = (beta[i] == box.upper[i]) & (slope > room)
            rests |= (beta[i] == box.lower[i]) & (slope < -room)
            inside = (box.lower[i] < 0.0) & (0.0 < box.upper[i]) & (beta[i] == 0.0)
            rests |= inside & (box.width[i] - abs(slope) > limit)
            order[front] = i
            order[back] = i
            front += 1 - rests
            back -= rests
        active[t] = front - starts[t]
    return limit
