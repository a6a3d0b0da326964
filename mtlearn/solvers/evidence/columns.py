"""The columns in which the likelihood is worked out, and the way back to the features.

U has the features, centred and scaled over all rows, and the constant: sums over the
tasks lose no digits to the features' levels. Z, the columns that differ between tasks,
are the raw features and the constant.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from .passes import gather_cross

_CHUNK = 64  # Gram matrices that are rescaled at once
_CONSTANT = 1e-24  # variance of a feature, against its square, that is rounding


@dataclass(frozen=True)
class Rows:
    """Moments of all tasks in the columns U.

    Attributes
    ----------
    gram : ndarray of shape (n_groups, q, q)
    group : ndarray of shape (n_tasks,), int
        The Gram matrix of each task.
    cross : ndarray of shape (n_tasks, q)
    squares : ndarray of shape (n_tasks,)
        Sums of the squared labels.
    counts : ndarray of shape (n_tasks,)
        Numbers of labels; the sums of their weights.
    """

    gram: np.ndarray
    group: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    counts: np.ndarray

    def __post_init__(self):
        order = np.argsort(self.group, kind="stable")
        edges = np.arange(len(self.gram) + 1)
        starts = np.searchsorted(self.group[order], edges)
        self.__dict__.update(
            members=order,
            starts=starts,
            times=np.diff(starts).astype(np.float64),
            count=float(self.counts.sum()),
            square=float(self.squares.sum()),
        )

    @cached_property
    def total(self):
        """Sum of the Gram matrices over the tasks, (q, q)."""
        return np.tensordot(self.times, self.gram, 1)

    def weighted(self, weight):
        """The same rows with a weight for each task, a Gram matrix each."""
        gram = self.gram[self.group] * weight[:, None, None]
        return Rows(
            gram,
            np.arange(len(weight)),
            self.cross * weight[:, None],
            self.squares * weight,
            self.counts,
        )

    def only(self, tasks):
        """Some of the tasks, by their numbers, a Gram matrix each."""
        gram = self.gram[self.group[tasks]]
        squares, counts = self.squares[tasks], self.counts[tasks]
        return Rows(gram, np.arange(len(tasks)), self.cross[tasks], squares, counts)


@dataclass(frozen=True)
class Labels:
    """Labelled rows, task after task.

    Attributes
    ----------
    U : ndarray of shape (n_rows, q)
    place : ndarray of shape (n_labels,), int
        Row of U of each label.
    starts : ndarray of shape (n_tasks + 1,), int
    sign : ndarray of shape (n_labels,)
        -1 or +1.
    weight : ndarray of shape (n_labels,)
    """

    U: np.ndarray
    place: np.ndarray
    starts: np.ndarray
    sign: np.ndarray
    weight: np.ndarray

    def __post_init__(self):
        first = self.starts[:-1][np.diff(self.starts) == 1]
        self.__dict__.update(
            # a label of weight two is two labels
            single=first[self.weight[first] == 1.0],
            task=np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts)),
        )

    @property
    def counts(self):
        """Labels of each task, by weight."""
        return np.add.reduceat(self.weight, self.starts[:-1])

    @property
    def count(self):
        """All labels, by weight."""
        return float(self.weight.sum())

    def spread_inside(self):
        """Mean squares of the columns around their means in each task, (q,)."""
        sums = np.zeros((len(self.starts) - 1, self.U.shape[1]))
        gather_cross(self.U, self.place, self.starts, self.weight, sums)
        squares = self.of_rows(self.weight) @ self.U**2
        squares -= (sums**2 / self.counts[:, None]).sum(axis=0)
        return squares / self.count

    def only(self, tasks):
        """Those of some of the tasks, by their sorted numbers."""
        keep = np.isin(self.task, tasks)
        sizes = np.diff(self.starts)[tasks]
        starts = np.append(0, np.cumsum(sizes))
        rows = self.place[keep], starts, self.sign[keep], self.weight[keep]
        return Labels(self.U, *rows)

    def of_rows(self, values):
        """Sums of the labels' values for each row of U."""
        return np.bincount(self.place, weights=values, minlength=len(self.U))


@dataclass(frozen=True)
class Columns:
    """What the columns U are.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
    level : float
        What is taken away from the labels.
    constant : bool
        Whether U ends with the constant.
    moves : ndarray of shape (n_features,), bool
        Features that are not constant over all rows.
    """

    mean: np.ndarray
    scale: np.ndarray
    level: float
    constant: bool
    moves: np.ndarray

    def basis(self, varying):
        """B of shape (q, r): the raw `varying` features, and the constant, by U."""
        chosen = np.flatnonzero(varying)
        B = np.zeros((len(self.scale) + self.constant, len(chosen) + self.constant))
        B[chosen, np.arange(len(chosen))] = self.scale[chosen]
        if self.constant:
            B[-1, : len(chosen)] = self.mean[chosen]
            B[-1, -1] = 1.0
        return B

    def pulled(self, varying, gram):
        """B' G of every Gram matrix, (n_groups, r, q)."""
        chosen = np.flatnonzero(varying)
        out = np.empty((len(gram), len(chosen) + self.constant, gram.shape[2]))
        out[:, : len(chosen)] = gram[:, chosen] * self.scale[chosen, None]
        if self.constant:
            out[:, : len(chosen)] += self.mean[chosen, None] * gram[:, -1:]
            out[:, -1] = gram[:, -1]
        return out

    def back(self):
        """Matrix of shape (d + 1, q) from coefficients of U to those of the features.

        The intercept is the last row.
        """
        d, q = len(self.scale), len(self.scale) + self.constant
        out = np.zeros((d + 1, q))
        out[np.arange(d), np.arange(d)] = 1.0 / self.scale
        if self.constant:
            out[d, :d], out[d, d] = -self.mean / self.scale, 1.0
        return out

    def of(self, X):
        """U of dense rows."""
        U = (X - self.mean) / self.scale
        return np.hstack([U, np.ones((len(X), 1))]) if self.constant else U


def gather_rows(moments, constant):
    """`Rows` and `Columns` of `Moments`, with a constant or without."""
    group, d = moments.group, moments.mean.shape[1]
    times = np.bincount(group, minlength=len(moments.weight)).astype(np.float64)
    mass, counts = times * moments.weight, moments.weight[group]
    total = mass.sum()
    mean, level = np.zeros(d), 0.0
    if constant:
        mean, level = mass @ moments.mean / total, counts @ moments.y_mean / total
    off, y_off = moments.mean - mean, moments.y_mean - level
    var = times @ np.einsum("ujj->uj", moments.gram) + mass @ off**2
    moves = var > _CONSTANT * total * mean**2
    scale = np.sqrt(np.where(moves, var / total, 1.0))
    off = np.where(moves, off / scale, 0.0)
    q = d + constant
    gram, cross = np.empty((len(mass), q, q)), np.empty((len(group), q))
    w = moments.weight
    unit = moves / scale
    for low in range(0, len(w), _CHUNK):  # copies of all matrices would be large
        u = slice(low, low + _CHUNK)
        gram[u, :d, :d] = moments.gram[u] * np.outer(unit, unit)
        gram[u, :d, :d] += (w[u, None] * off[u])[:, :, None] * off[u, None, :]
    cross[:, :d] = (
        moments.cross / scale * moves + (counts * y_off)[:, None] * off[group]
    )
    if constant:
        gram[:, :d, d] = gram[:, d, :d] = w[:, None] * off
        gram[:, d, d], cross[:, d] = w, counts * y_off
    squares = moments.y_square + counts * y_off**2
    rows = Rows(gram, group, cross, squares, counts)
    return rows, Columns(mean, scale, float(level), constant, moves)


def gather_labels(data, constant):
    """`Labels` and `Columns` of rows with labels of -1 and +1."""
    place, weight = data.place.astype(np.int64), data.weights
    X = data.features.toarray() if sp.issparse(data.features) else data.features
    mass = np.bincount(place, weights=weight, minlength=len(X))
    total = mass.sum()
    mean = mass @ X / total if constant else np.zeros(X.shape[1])
    off = X - mean
    var = mass @ off**2 / total
    moves = var > _CONSTANT * mean**2
    scale = np.sqrt(np.where(moves, var, 1.0))
    columns = Columns(mean, scale, 0.0, constant, moves)
    U = np.zeros((len(X), len(scale) + constant))
    np.divide(off, scale, out=U[:, : len(scale)])
    U[:, : len(scale)][:, ~moves] = 0.0
    if constant:
        U[:, -1] = 1.0
    return Labels(U, place, data.starts, data.labels, weight), columns
