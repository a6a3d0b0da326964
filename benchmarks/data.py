"""The problems' data: generators, real sets, and what several benchmarks make of them.

Every data set is `(X, y, task)` with its rows in no particular order, and depends on
nothing but a seed; the real ones come from the folder in the variable MTLEARN_DATA.
"""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse as sp


def asked(makers, name=None):
    """Those of {name: function that makes a problem} with `name` in theirs."""
    name = (name or "").lower()
    return {title: make for title, make in makers.items() if name in title.lower()}


def made(makers):
    """Yield what they make; print what is left out."""
    for title, make in makers.items():
        try:
            problem = make()
        except FileNotFoundError as reason:
            print(f"{title}: left out, {reason}")
            continue
        yield problem


# ---------------------------------------------------------------- rows with classes


@lru_cache(maxsize=1)
def gaussian_tasks(n_tasks, n_rows, d, seed=0):
    """Gaussian features, a common model and deviations, labels with noise."""
    rng = np.random.default_rng(seed)
    share = rng.gamma(4.0, size=n_tasks)
    task = rng.choice(n_tasks, size=n_rows, p=share / share.sum())
    task[:n_tasks] = np.arange(n_tasks)
    X = rng.standard_normal((n_rows, d))
    W = rng.standard_normal(d) + 0.7 * rng.standard_normal((n_tasks, d))
    z = scores(X, task, W) / np.sqrt(d)
    order = rng.permutation(n_rows)
    y = np.where(z + 0.5 * rng.standard_normal(n_rows) > 0, 1.0, -1.0)
    return X[order], y[order], task[order]


@lru_cache(maxsize=1)
def text(n_tasks=20, n_rows=10_000, d=20_000, words=53, seed=0):
    """Texts of several sources: Zipf-like words, tf-idf, rows of length one.

    Words are drawn with repetition: about 50 of the 53 are distinct.
    """
    rng = np.random.default_rng(seed)
    frequency = 1.0 / (10.0 + np.arange(d))
    drawn = rng.choice(d, size=(n_rows, words), p=frequency / frequency.sum())
    place = np.repeat(np.arange(n_rows), words)
    counts = sp.coo_matrix((np.ones(place.size), (place, drawn.ravel())), (n_rows, d))
    X = counts.tocsr()
    X.sum_duplicates()
    documents = np.bincount(X.indices, minlength=d)
    X.data = (1.0 + np.log(X.data)) * np.log(n_rows / np.maximum(documents, 1))[
        X.indices
    ]
    X = sp.csr_matrix(X.multiply(1.0 / np.sqrt(X.multiply(X).sum(axis=1))))
    task = rng.integers(n_tasks, size=n_rows)
    task[:n_tasks] = np.arange(n_tasks)
    W = rng.standard_normal(d) + 0.7 * rng.standard_normal((n_tasks, d))
    z = scores(X, task, W)
    return X, np.where(z + 0.5 * rng.standard_normal(n_rows) > 0, 1.0, -1.0), task


def school():
    """Exam scores of 139 schools, above their median or not; features scaled."""
    X, y, task = real_data("school")
    return X, np.where(y > np.median(y), 1.0, -1.0), task


def landmine():
    """Radar images of 29 fields, 6 % of them mines."""
    X, y, task = real_data("landmine")
    return X, np.where(y > 0, 1.0, -1.0), task


def open_data(name):
    """The arrays of a real data set, as `np.load` gives them."""
    folder = os.environ.get("MTLEARN_DATA")
    if not folder:
        raise FileNotFoundError("the variable MTLEARN_DATA names no folder")
    path = Path(folder) / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(f"MTLEARN_DATA has no {path.name}")
    return np.load(path)


@lru_cache(maxsize=1)
def real_data(name):
    """A real data set with its features scaled, its rows shuffled."""
    with open_data(name) as file:
        X, y, task = file["X"].astype(float), file["y"].astype(float), file["task"]
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order], task[order].astype(np.int64)


CLASSES = {
    "139 tasks, 15k x 28": lambda: gaussian_tasks(139, 15_140, 28),
    "29 tasks, 13.5k x 9": lambda: gaussian_tasks(29, 13_500, 9),
    "1000 tasks, 50k x 50": lambda: gaussian_tasks(1000, 50_000, 50),
    "School": school,
    "Landmine": landmine,
    "Text, 20 tasks, 10k x 20k": text,
}


# ---------------------------------------------------------------- shared features


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as a user has them, and what peers get made beforehand.

    Every task has `n_rows` of its own, in no order, with `task`; or `y` is a complete
    table of shape (n_rows, n_tasks) and there is no `task`.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray | None = None

    @cached_property
    def blocks(self):
        """Rows of their own: X (T, m, d) and y (T, m), task after task."""
        order = np.argsort(self.task, kind="stable")
        shape = (int(self.task.max()) + 1, -1)
        X = self.X[order].reshape(*shape, self.X.shape[1])
        return X, self.y[order].reshape(shape)

    @cached_property
    def means(self):
        """Means that intercepts take out: of X, (d,) or (T, d), and of y, (T,)."""
        if self.task is None:
            return self.X.mean(axis=0), self.y.mean(axis=0)
        X, y = self.blocks
        return X.mean(axis=1), y.mean(axis=1)

    @cached_property
    def centred(self):
        """Complete Y: X and Y less their means, in Fortran order."""
        x_mean, y_mean = self.means
        return np.asfortranarray(self.X - x_mean), np.asfortranarray(self.y - y_mean)

    @cached_property
    def design(self):
        """Rows of their own: one sparse design for all tasks, and its labels.

        Centred, block-diagonal in csc format; the T columns of a feature side by side.
        """
        x_mean, y_mean = self.means
        X, y = self.blocks
        n_tasks, m, d = X.shape
        data = np.ascontiguousarray((X - x_mean[:, None]).transpose(2, 0, 1)).ravel()
        indices = np.tile(np.arange(n_tasks * m, dtype=np.int32), d)
        indptr = np.arange(0, data.size + 1, m, dtype=np.int32)
        shape = (n_tasks * m, n_tasks * d)
        return (
            sp.csc_matrix((data, indices, indptr), shape),
            (y - y_mean[:, None]).ravel(),
        )

    @cached_property
    def column_norms(self):
        """Rows of their own: largest singular value of a feature's columns, (d,)."""
        D, _ = self.design
        square = np.asarray(D.multiply(D).sum(axis=0)).reshape(self.X.shape[1], -1)
        return np.sqrt(square.max(axis=1))

    @cached_property
    def pull(self):
        """Minus the gradient of the squared loss at zero, a row per feature."""
        if self.task is None:
            X, Y = self.centred
            return X.T @ Y
        D, y = self.design
        return (D.T @ y).reshape(self.X.shape[1], -1)

    @cached_property
    def largest(self):
        """The strength of L2,1 from which on all coefficients are zero."""
        return float(np.linalg.norm(self.pull, axis=1).max())

    @cached_property
    def largest_nuclear(self):
        """That of the nuclear norm."""
        return float(np.linalg.norm(self.pull, 2))


def rows_name(own, first, second, third, neighbour):
    """Sizes in words, and how the features are correlated."""
    if own:
        text = f"{first} tasks x {second} rows, {third} features"
    else:
        text = f"{first} x {second}, {third} tasks"
    return text + (f", AR({neighbour:g})" if neighbour else "")


@lru_cache(maxsize=1)
def complete(n_rows, d, n_tasks, neighbour):
    """Complete Y, a tenth as many relevant features as `X` could tell apart."""
    rng = np.random.default_rng(0)
    X = ar_features(rng, n_rows, d, neighbour)
    W = row_sparse(rng, n_tasks, d, min(n_rows, d) // 10)
    Y = X @ W.T
    Y += Y.std() / 3 * rng.standard_normal(Y.shape) + rng.standard_normal(n_tasks)
    return Rows(rows_name(False, n_rows, d, n_tasks, neighbour), X, Y)


@lru_cache(maxsize=1)
def own_rows(n_tasks, n_rows, d, neighbour):
    """Equally many rows of their own for all tasks, in no order."""
    rng = np.random.default_rng(0)
    X = ar_features(rng, n_tasks * n_rows, d, neighbour)
    W = row_sparse(rng, n_tasks, d, min(n_rows, d) // 10)
    task = rng.permutation(np.repeat(np.arange(n_tasks), n_rows))
    y = scores(X, task, W)
    y += y.std() / 3 * rng.standard_normal(len(y)) + rng.standard_normal(n_tasks)[task]
    return Rows(rows_name(True, n_tasks, n_rows, d, neighbour), X, y, task)


def ar_features(rng, n_rows, d, neighbour):
    """Features of variance one, each correlated with the one before it, and means."""
    X = rng.standard_normal((n_rows, d))
    for j in range(1, d if neighbour else 0):
        X[:, j] *= np.sqrt(1.0 - neighbour**2)
        X[:, j] += neighbour * X[:, j - 1]
    return X + rng.standard_normal(d)


def row_sparse(rng, n_tasks, d, n_relevant):
    """Coefficients of the relevant features, the same ones for all tasks."""
    W = np.zeros((n_tasks, d))
    relevant = rng.choice(d, n_relevant, replace=False)
    W[:, relevant] = rng.standard_normal((n_tasks, n_relevant))
    return W


# ---------------------------------------------------------------- tied tasks


def scores(X, task, W):
    """x_i . w_(task of i) for every row."""
    if sp.issparse(X):
        return np.asarray(X @ W.T)[np.arange(X.shape[0]), task]
    return np.einsum("ij,ij->i", X, W[task])


def half_squares(rows, run):
    """1/2 sum (y - x.w_t - b_t)^2 of long rows with `task`, or of a complete Y."""
    W, b = run.coef, run.intercept
    if rows.task is None:
        residual = rows.y - rows.X @ W.T - b
    else:
        residual = rows.y - scores(rows.X, rows.task, W) - b[rows.task]
    return 0.5 * float(np.vdot(residual, residual))


class Tied:
    """Tasks tied by SharedMean(self.correlation), as one task with more features."""

    @cached_property
    def augmented(self):
        """Sparse features [sqrt(rho) x, sqrt(1 - rho) x e_t]: untied they are this."""
        return augment(self.X, self.task, int(self.task.max()) + 1, *self._shares)

    def coefficients(self, u):
        """W of the coefficients of the augmented features."""
        a, b = self._shares
        u = u.reshape(-1, self.X.shape[1])
        return a * u[0] + b * u[1:]

    @property
    def _shares(self):
        return np.sqrt(self.correlation), np.sqrt(1.0 - self.correlation)


def augment(X, task, n_tasks, shared, private):
    """Sparse [shared x, private x e_t] of shape (n, (n_tasks + 1) d)."""
    X = sp.csr_matrix(X)
    d = X.shape[1]
    entry_task = np.repeat(task, np.diff(X.indptr))
    columns = X.indices + d * entry_task
    block = sp.csr_matrix((X.data, columns, X.indptr), (X.shape[0], n_tasks * d))
    both = sp.hstack([shared * X, private * block], format="csr")
    both.indices = both.indices.astype(np.int32)
    both.indptr = both.indptr.astype(np.int32)
    return both
