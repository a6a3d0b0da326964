"""The problems: data and objective, one function each.

Every data set is `(X, y, task)` with its rows in no particular order, and depends on
nothing but a seed; the real ones come from the folder in the variable MTLEARN_DATA.
"""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from mtlearn import SharedMean
from mtlearn.model_selection import TaskStratifiedKFold

STRENGTHS = (0.1, 1.0)
CORRELATIONS = (0.5, 0.9)
SIZES = ((5000, 200, 50), (20_000, 500, 20), (300, 2000, 20), (500, 5000, 100))
OWN_ROWS = (50, 300, 200)
NEIGHBOURS = (0.0, 0.6)  # correlation of each feature with the one before it
FRACTIONS = (0.1, 0.01)  # of the strength from which on all coefficients are zero


# ---------------------------------------------------------------- multitask SVM


@dataclass(frozen=True, eq=False)
class SVMProblem:
    """C sum max(0, 1 - y x.w_t)^2 + 1/2 Omega(W), Omega of SharedMean(correlation).

    No intercepts: so the objectives of all libraries coincide.
    """

    data: str
    X: object
    y: np.ndarray
    task: np.ndarray
    C: float
    correlation: float

    @property
    def name(self):
        """Name with the strength and the correlation."""
        return f"{self.data}, C={self.C:g}, rho={self.correlation:g}"

    @cached_property
    def n_tasks(self):
        """Number of tasks."""
        return int(self.task.max()) + 1

    @cached_property
    def augmented(self):
        """Sparse features [sqrt(rho) x, sqrt(1 - rho) x e_t]: a plain SVM on them."""
        a, b = np.sqrt(self.correlation), np.sqrt(1.0 - self.correlation)
        return augment(self.X, self.task, self.n_tasks, a, b)

    def coefficients(self, u):
        """W of the coefficients of the augmented features."""
        a, b = np.sqrt(self.correlation), np.sqrt(1.0 - self.correlation)
        u = u.reshape(self.n_tasks + 1, -1)
        return a * u[0] + b * u[1:]


def svm_objective(problem, W):
    """Value of the objective at the coefficients `W`, the same for every library."""
    margins = problem.y * scores(problem.X, problem.task, W)
    slack = np.maximum(0.0, 1.0 - margins)
    omega = SharedMean(problem.correlation).omega(W)
    return problem.C * float(slack @ slack) + 0.5 * omega


def suboptimality(value, best):
    """Distance from the best objective known, relative to it."""
    return (value - best) / best


def svm_problems(quick=False, name=None):
    """Yield every problem whose name contains `name`; print what is left out."""
    settings = [(1.0, 0.5)] if quick else list(product(STRENGTHS, CORRELATIONS))
    for data, made in made_data(SVM_DATA, name):
        for C, correlation in settings:
            yield SVMProblem(data, *made, C, correlation)


def made_data(makers, name=None):
    """Yield name and (X, y, task) of data with `name` in theirs; print what is not."""
    for data, make in makers.items():
        if name and name.lower() not in data.lower():
            continue
        try:
            made = make()
        except FileNotFoundError as reason:
            print(f"{data}: left out, {reason}")
            continue
        yield data, made


@lru_cache
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


@lru_cache
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


@lru_cache
def school():
    """Exam scores of 139 schools, above their median or not; features scaled."""
    X, y, task = real_data("school")
    return X, np.where(y > np.median(y), 1.0, -1.0), task


@lru_cache
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


def real_data(name):
    """A real data set with its features scaled, its rows shuffled."""
    with open_data(name) as file:
        X, y, task = file["X"].astype(float), file["y"].astype(float), file["task"]
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order], task[order].astype(np.int64)


SVM_DATA = {
    "139 tasks, 15k x 28": lambda: gaussian_tasks(139, 15_140, 28),
    "29 tasks, 13.5k x 9": lambda: gaussian_tasks(29, 13_500, 9),
    "1000 tasks, 50k x 50": lambda: gaussian_tasks(1000, 50_000, 50),
    "School": school,
    "Landmine": landmine,
    "Text, 20 tasks, 10k x 20k": text,
}


# ---------------------------------------------------------------- per-task ridge


@dataclass(frozen=True, eq=False)
class RidgeProblem:
    """1/2 sum (y - x.w_t - b_t)^2 + 1/2 alpha Omega(W).

    Long rows with `task`, or a two-dimensional `y` and no `task`. `correlation` None is
    independent tasks; `intercept` says whether each task has a free one.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray | None = None
    alpha: float = 1.0
    correlation: float | None = None
    intercept: bool = True

    @cached_property
    def blocks(self):
        """Rows sorted into tasks of one size: X (T, m, d) and y (T, m)."""
        order = np.argsort(self.task, kind="stable")
        n_tasks = int(self.task.max()) + 1
        d = self.X.shape[1]
        X = self.X[order].reshape(n_tasks, -1, d)
        return X, self.y[order].reshape(n_tasks, -1)

    @cached_property
    def augmented(self):
        """As in `SVMProblem`."""
        a, b = np.sqrt(self.correlation), np.sqrt(1.0 - self.correlation)
        return augment(self.X, self.task, int(self.task.max()) + 1, a, b)

    def coefficients(self, u):
        """W of the coefficients of the augmented features."""
        a, b = np.sqrt(self.correlation), np.sqrt(1.0 - self.correlation)
        u = u.reshape(-1, self.X.shape[1])
        return a * u[0] + b * u[1:]


def ridge_objective(problem, W, b):
    """Value of the objective at coefficients and intercepts, for every library."""
    if problem.task is None:
        residual = problem.y - problem.X @ W.T - b
    else:
        fitted = scores(problem.X, problem.task, W) + b[problem.task]
        residual = problem.y - fitted
    loss = 0.5 * float(np.vdot(residual, residual))
    omega = SharedMean(problem.correlation or 0.0).omega(W)
    return loss + 0.5 * problem.alpha * omega


def ridge_problems(quick=False, name=None):
    """Yield the problems of the squared loss whose name contains `name`."""
    tasks, rows, outputs = (200, 20_000, 50) if quick else (2000, 200_000, 500)
    for make in (many_tasks, tied_tasks, many_outputs):
        problem = make(outputs) if make is many_outputs else make(tasks, rows)
        if not name or name.lower() in problem.name.lower():
            yield problem


def many_tasks(n_tasks, n_rows, d=20):
    """Tasks of equally many rows (so that NumPy can batch them), rows shuffled."""
    rng = np.random.default_rng(0)
    task = rng.permutation(np.repeat(np.arange(n_tasks), n_rows // n_tasks))
    X = rng.standard_normal((n_rows, d)) + rng.standard_normal(d)
    W = rng.standard_normal(d) + 0.5 * rng.standard_normal((n_tasks, d))
    y = scores(X, task, W) + rng.standard_normal(n_rows) + task % 7
    return RidgeProblem(f"{n_tasks} tasks, {n_rows // 1000}k x {d}", X, y, task)


def tied_tasks(n_tasks, n_rows, d=20):
    """The same rows with tasks tied by SharedMean(0.5); no intercepts."""
    problem = many_tasks(n_tasks, n_rows, d)
    return RidgeProblem(
        problem.name + ", SharedMean(0.5)",
        problem.X,
        problem.y,
        problem.task,
        correlation=0.5,
        intercept=False,
    )


def many_outputs(n_outputs, n_rows=20_000, d=200):
    """Complete Y: every task sees the same rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, d))
    Y = X @ rng.standard_normal((d, n_outputs))
    Y += rng.standard_normal((n_rows, n_outputs))
    return RidgeProblem(f"{n_outputs} outputs, {n_rows // 1000}k x {d}", X, Y)


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
    def largest(self):
        """The strength from which on all coefficients are zero."""
        if self.task is None:
            X, Y = self.centred
            return float(np.linalg.norm(X.T @ Y, axis=1).max())
        D, y = self.design
        return float(
            np.linalg.norm((D.T @ y).reshape(self.X.shape[1], -1), axis=1).max()
        )


@dataclass(frozen=True, eq=False)
class SharedFeatureProblem:
    """1/2 sum (y - x.w_t - b_t)^2 + alpha sum_j |W[:, j]|_2, intercepts free.

    `alpha` is `fraction` of the strength from which on all coefficients are zero.
    """

    rows: Rows
    fraction: float

    @property
    def name(self):
        """Name of the rows with the strength."""
        return f"{self.rows.name}, {self.fraction:g} of largest"

    @property
    def alpha(self):
        """Strength of the penalty."""
        return self.fraction * self.rows.largest

    def intercept(self, W):
        """The best intercepts for `W`, for libraries that saw centred rows."""
        x_mean, y_mean = self.rows.means
        return y_mean - (W * x_mean).sum(axis=1)


def shared_feature_objective(problem, W, b):
    """Value of the objective at coefficients and intercepts, for every library."""
    rows = problem.rows
    if rows.task is None:
        residual = rows.y - rows.X @ W.T - b
    else:
        residual = rows.y - scores(rows.X, rows.task, W) - b[rows.task]
    penalty = problem.alpha * float(np.linalg.norm(W, axis=0).sum())
    return 0.5 * float(np.vdot(residual, residual)) + penalty


def shared_feature_problems(own, quick=False, name=None):
    """Yield those whose name contains `name`: complete Y, or rows of their own."""
    if own:
        sizes = [(10, 50, 30)] if quick else [OWN_ROWS]
    else:
        sizes = [(500, 50, 10), (60, 300, 10)] if quick else SIZES
    for size, neighbour in product(sizes, NEIGHBOURS[:1] if quick else NEIGHBOURS):
        rows = None
        for fraction in FRACTIONS:
            title = rows_name(own, *size, neighbour)
            if name and name.lower() not in title.lower():
                continue
            rows = rows or (own_rows if own else complete)(*size, neighbour)
            yield SharedFeatureProblem(rows, fraction)


def rows_name(own, first, second, third, neighbour):
    """Sizes in words, and how the features are correlated."""
    if own:
        text = f"{first} tasks x {second} rows, {third} features"
    else:
        text = f"{first} x {second}, {third} tasks"
    return text + (f", AR({neighbour:g})" if neighbour else "")


def complete(n_rows, d, n_tasks, neighbour):
    """Complete Y, a tenth as many relevant features as `X` could tell apart."""
    rng = np.random.default_rng(0)
    X = ar_features(rng, n_rows, d, neighbour)
    W = row_sparse(rng, n_tasks, d, min(n_rows, d) // 10)
    Y = X @ W.T
    Y += Y.std() / 3 * rng.standard_normal(Y.shape) + rng.standard_normal(n_tasks)
    return Rows(rows_name(False, n_rows, d, n_tasks, neighbour), X, Y)


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


# ---------------------------------------------------------------- grids of strengths


@dataclass(frozen=True, eq=False)
class GridProblem:
    """100 strengths on 5 folds: complete Y, or the ids of the tasks as column 0 of X.

    `penalty` None is ridge, with each of the `correlations` of SharedMean.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    alphas: np.ndarray
    penalty: str | None = None
    correlations: tuple = ()

    @property
    def task_column(self):
        """Position of the column of ids."""
        return 0 if self.y.ndim == 1 else None

    @cached_property
    def folds(self):
        """Pairs (train, test) of row numbers; every task in all of them."""
        cv = TaskStratifiedKFold(5, task_column=0, shuffle=True, random_state=0)
        ids = np.zeros(len(self.y)) if self.task_column is None else self.X[:, 0]
        return list(cv.split(np.column_stack([ids, ids]), self.y))


def grid_problems(quick=False, name=None):
    """Yield the grids whose name contains `name`."""
    table, own = (
        ((200, 20, 5), (5, 40, 10)) if quick else ((5000, 100, 20), (50, 200, 50))
    )
    for make, size in ((complete, table), (own_rows, own)):
        rows = make(*size, 0.6)
        X = rows.X if rows.task is None else np.column_stack([rows.task, rows.X])
        ridge = np.geomspace(1e5, 1e-2, 100)
        l21 = rows.largest * np.geomspace(1.0, 1e-3, 100)
        tied = () if rows.task is None else (0.0, 0.5, 0.9)
        for problem in (
            GridProblem(f"ridge, {rows.name}", X, rows.y, ridge, None, tied),
            GridProblem(f"l21, {rows.name}", X, rows.y, l21, "l21"),
        ):
            if not name or name.lower() in problem.name.lower():
                yield problem


# ---------------------------------------------------------------- shared


def scores(X, task, W):
    """x_i . w_(task of i) for every row."""
    if sp.issparse(X):
        return np.asarray(X @ W.T)[np.arange(X.shape[0]), task]
    return np.einsum("ij,ij->i", X, W[task])


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
