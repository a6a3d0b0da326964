"""Tasks: both data layouts in, task-major blocks out, rows back in the caller's order.

Ids become codes here, rows of weight zero and missing labels disappear here, and the
rows are sorted into blocks here; nobody above asks again which layout the data had.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numba import njit

from .threads import in_threads, row_blocks, task_ranges
from .values import is_complete

_THREADLESS = 9000  # entries of a matrix up to which BLAS multiplies it on one thread
_PIECE = 1 << 18  # observations that are looked at together


# ---------------------------------------------------------------- task-major blocks


@dataclass(frozen=True)
class TaskData:
    """Labelled observations of several tasks, in either layout.

    The same `X` serves both: in the long layout every row belongs to the one task in
    `codes`; in the wide one `y` has a column per task and NaN where a label is missing.
    The solvers see the observations task after task: `rows[starts[t]:starts[t + 1]]`
    are the rows of `X` of task `t`, and `labels` and `weights` go with them.

    Attributes
    ----------
    X : ndarray (C order) or csr_array of shape (n_samples, n_features), float64
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
    n_tasks : int
    codes : ndarray of shape (n_samples,) or None
        Task of each row; None in the wide layout.
    sample_weight : ndarray of shape (n_samples,) or (n_samples, n_tasks), or None
    task_weight : ndarray of shape (n_tasks,) or None
    """

    X: object
    y: np.ndarray
    n_tasks: int
    codes: np.ndarray | None = None
    sample_weight: np.ndarray | None = None
    task_weight: np.ndarray | None = None
    _shared: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def wide(self):
        return self.codes is None

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def sparse(self):
        return sp.issparse(self.X)

    @property
    def observed(self):
        """Wide layout: which entries of `y` count, of shape (n_samples, n_tasks)."""
        # found once, and the same for every relabelling
        if "observed" not in self._shared:
            self._shared["observed"] = self._find_observed()
        return self._shared["observed"]

    def _find_observed(self):
        whole = self._shared.get("whole") or is_complete(self.y)
        observed = np.ones(self.y.shape, dtype=bool) if whole else ~np.isnan(self.y)
        if self.sample_weight is not None:
            weight = self.sample_weight
            observed &= (weight if weight.ndim == 2 else weight[:, None]) > 0
        if self.task_weight is not None:
            observed &= self.task_weight > 0
        return observed

    @property
    def common(self):
        """Whether all tasks have the same rows, with the same weights but for a factor.

        That is, one complete `y` in the wide layout.
        """
        weight = self.sample_weight
        one = weight is None or weight.ndim == 1
        return self.wide and one and bool(self.observed.all())

    @property
    def _blocks(self):
        """(rows, starts), found once and shared by every relabelling."""
        if "blocks" not in self._shared:
            if self.wide:
                tasks, rows = np.nonzero(self.observed.T)
                starts = np.searchsorted(tasks, np.arange(self.n_tasks + 1))
            else:
                rows, starts = sort_codes(self.codes, self.n_tasks)
            self._shared["blocks"] = rows.astype(np.int64), starts.astype(np.int64)
        return self._shared["blocks"]

    @property
    def rows(self):
        return self._blocks[0]

    @property
    def starts(self):
        return self._blocks[1]

    @property
    def sizes(self):
        """Number of labelled rows of each task."""
        return np.diff(self.starts)

    @cached_property
    def task_of(self):
        """Task of each observation, task-major."""
        return np.repeat(np.arange(self.n_tasks), self.sizes)

    @cached_property
    def labels(self):
        """Label of each observation, task-major."""
        return self.take(self.y)

    @cached_property
    def weights(self):
        """Sample weight times task weight of each observation, task-major."""
        if self.task_weight is None:
            weight = np.ones(len(self.rows))
        else:
            weight = np.repeat(self.task_weight.astype(float), self.sizes)
        if self.sample_weight is not None:
            weight *= self.take(self.sample_weight)
        return weight

    def take(self, values):
        """Values per row, or per row and task, as values per observation."""
        if values.ndim == 2 and self.wide:
            return values[self.rows, self.task_of]
        return values[self.rows]

    def pieces(self):
        """Yield tasks, labels and sample weights of the observations, some at a time.

        In no order, so that rows in the long layout need not be sorted; weights are
        None where all are one.
        """
        if self.wide:
            weight = self.sample_weight
            weight = None if weight is None else self.take(weight)
            columns = self.task_of, self.labels, weight
        else:
            columns = self.codes, self.y, self.sample_weight
        for low in range(0, len(columns[0]), _PIECE):
            part = slice(low, low + _PIECE)
            yield tuple(None if one is None else one[part] for one in columns)

    def relabel(self, y):
        """Return the same rows with other labels: sorting is not done again."""
        return replace(self, y=y, _shared=self._shared)

    def only(self, part):
        """The tasks marked in `part`, a bool array of shape (n_tasks,)."""
        task_weight = None if self.task_weight is None else self.task_weight[part]
        n_tasks = int(part.sum())
        if self.wide:
            weight = self.sample_weight
            if weight is not None and weight.ndim == 2:
                weight = weight[:, part]
            return TaskData(self.X, self.y[:, part], n_tasks, None, weight, task_weight)
        keep = np.flatnonzero(part[self.codes])
        X, y, weight = self.X, self.y, self.sample_weight
        if len(keep) < len(y):
            X, y = X[keep], y[keep]
            weight = None if weight is None else weight[keep]
        codes = (np.cumsum(part) - 1)[self.codes[keep]]
        return TaskData(X, y, n_tasks, codes, weight, task_weight)

    @property
    def features(self):
        """Rows of `X` as `forward` uses them: long rows sorted into blocks (once)."""
        if self.wide:
            return self.X
        if "features" not in self._shared:
            in_order = len(self.rows) == self.X.shape[0] and bool(
                np.all(np.diff(self.rows) == 1)
            )
            if in_order:
                self._shared["features"] = self.X
            elif self.sparse:
                self._shared["features"] = self.X[self.rows]
            else:
                self._shared["features"] = self.X.take(self.rows, axis=0)
        return self._shared["features"]

    @property
    def place(self):
        """Row of `features` of each observation, task-major."""
        return self.rows if self.wide else np.arange(len(self.rows))

    def centred(self, together=False):
        """The same observations with the means of the features taken out.

        Only a free intercept per task allows this, and dense features.

        Parameters
        ----------
        together : bool
            Whether all tasks must have the same means taken out.

        Returns
        -------
        data : TaskData
        means : ndarray of shape (n_tasks, n_features)
            What was subtracted: each task's own means, or the overall ones where the
            tasks share their rows.
        """
        shared = {key: v for key, v in self._shared.items() if key != "features"}
        if self.wide or together:
            mean = self.X.mean(axis=0)
            data = replace(self, X=self.X - mean, _shared=shared)
            return data, np.broadcast_to(mean, (self.n_tasks, self.n_features))
        means = np.zeros((self.n_tasks, self.n_features))
        shared["blocks"] = self._blocks
        shared["features"] = np.empty((len(self.rows), self.n_features))
        out, rows, starts = shared["features"], self.rows, self.starts
        worth = len(self._spans) > 1
        in_threads(
            lambda tasks: _gather_centred(self.X, rows, starts, *tasks, means, out),
            task_ranges(starts, worth),
        )
        return replace(self, _shared=shared), means

    def column_means(self):
        """Means of the features over the labels, by their sample weights alone."""
        weight, lam = self.sample_weight, self.task_weight
        if self.wide:
            mass = self.observed.astype(np.float64)
            if weight is not None:
                mass *= weight if weight.ndim == 2 else weight[:, None]
            mass = mass.sum(axis=1)
        else:
            mass = np.ones(len(self.y)) if weight is None else weight
            mass = mass if lam is None else mass * (lam[self.codes] > 0)
        # not by BLAS, whose threads would show in the last digits
        total = self.X.T @ mass if self.sparse else np.einsum("i,ij->j", mass, self.X)
        return total / mass.sum()

    def with_constant(self, value=1.0):
        """The same observations with a last feature of one value."""
        column = np.full((self.X.shape[0], 1), value)
        if self.sparse:
            X = sp.hstack([self.X, sp.csr_array(column)]).tocsr()
        else:
            X = np.hstack([self.X, column])
        shared = {k: v for k, v in self._shared.items() if k != "features"}
        return replace(self, X=X, _shared=shared)

    def squared(self):
        """The same observations with every entry of the features squared."""
        features = self.features
        square = features.multiply(features) if self.sparse else features**2
        shared = {"blocks": self._blocks, "features": square}
        return replace(self, X=square, _shared=shared)

    @cached_property
    def _spans(self):
        """Blocks of the sorted rows: (first row, last row, first task, last task).

        How they are cut does not depend on threads; a task may lie in several.
        """
        spans = []
        for rows in row_blocks(len(self.rows), self.n_features, 1):
            ends = rows.start, rows.stop
            first = np.searchsorted(self.starts, ends[0], side="right") - 1
            last = np.searchsorted(self.starts, ends[1], side="left")
            spans.append((*ends, max(int(first), 0), int(last)))
        return spans

    @property
    def _step(self):
        """Rows of a task to multiply at once: BLAS is to do it on one thread."""
        return max(1, _THREADLESS // max(self.n_features, 1))

    @property
    def _flat(self):
        """Wide: position of each observation in the (n_tasks, n_samples) table."""
        return self.task_of * self.X.shape[0] + self.rows

    def forward(self, W, b=None):
        """Linear scores x_i . w_t + b_t of all observations.

        Parameters
        ----------
        W : ndarray of shape (n_tasks, n_features)
        b : ndarray of shape (n_tasks,), default=None
            Zero by default.

        Returns
        -------
        z : ndarray of shape (n_observations,)
        """
        X = self.features
        if self.wide:
            table = np.ascontiguousarray((X @ W.T).T) if self.sparse else W @ X.T
            if b is not None:
                table += b[:, None]
            complete = len(self.rows) == table.size
            return table.ravel() if complete else table.ravel()[self._flat]
        W = np.ascontiguousarray(W)
        z = np.empty(len(self.rows))
        if self.sparse:
            _score_csr(X.data, X.indices, X.indptr, self.task_of, W, z)
            return z if b is None else z + np.repeat(b, self.sizes)
        b = np.zeros(self.n_tasks) if b is None else np.ascontiguousarray(b)
        step, starts = self._step, self.starts
        in_threads(
            lambda span: _forward_dense(X, starts, *span, step, W, b, z), self._spans
        )
        return z

    def adjoint(self, g):
        """Carry one number per observation back: sum_i g_i x_i for every task.

        Parameters
        ----------
        g : ndarray of shape (n_observations,)

        Returns
        -------
        G : ndarray of shape (n_tasks, n_features)
        """
        X = self.features
        if self.wide:
            table = np.zeros((self.n_tasks, X.shape[0]))
            table.ravel()[self._flat] = g
            return np.ascontiguousarray((X.T @ table.T).T) if self.sparse else table @ X
        G = np.zeros((self.n_tasks, self.n_features))
        if self.sparse:
            _adjoint_csr(X.data, X.indices, X.indptr, self.starts, g, G)
        else:
            self._adjoint_spans(X, g, G)
        return G

    def _adjoint_spans(self, X, g, G):
        """Each span has its own sums, which are put together in their order."""
        step, starts, spans = self._step, self.starts, self._spans

        def one(span):
            part = np.zeros((span[3] - span[2], G.shape[1]))
            _adjoint_dense(X, starts, *span, step, g, part)
            return part

        for span, part in zip(spans, in_threads(one, spans), strict=True):
            G[span[2] : span[3]] += part

    def sums(self, g):
        """Sum one number per observation over each task, of shape (n_tasks,)."""
        total, some = np.zeros(self.n_tasks, dtype=g.dtype), self.sizes > 0
        total[some] = np.add.reduceat(g, self.starts[:-1][some])
        return total


def some_rows(data, index):
    """Some of the rows, in either layout."""
    codes, weight = data.codes, data.sample_weight
    return TaskData(
        data.X[index],
        data.y[index],
        data.n_tasks,
        None if codes is None else codes[index],
        None if weight is None else weight[index],
        data.task_weight,
    )


def score_rows(X, codes, W, b):
    """Linear score of every row with its own task's coefficients.

    Parameters
    ----------
    X : ndarray (C order) or csr_array of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,), int64
    W : ndarray of shape (n_models, n_features)
    b : ndarray of shape (n_models,)

    Returns
    -------
    z : ndarray of shape (n_samples,)
    """
    W, b = np.ascontiguousarray(W), np.ascontiguousarray(b)
    z, models = np.empty((X.shape[0], 1)), np.arange(len(W) + 1)
    blocks = row_blocks(X.shape[0], X.shape[1], 1)
    if not sp.issparse(X):
        in_threads(
            lambda rows: score_dense(X[rows], codes[rows], models, W, b, z[rows]),
            blocks,
        )
        return z[:, 0]
    z = z[:, 0]
    _score_csr(X.data, X.indices, X.indptr, codes, W, z)
    return z + b[codes]


def sort_codes(codes, n_tasks):
    """Stable order of the rows by task, and where each task starts."""
    counts = np.bincount(codes, minlength=n_tasks)
    starts = np.concatenate(([0], np.cumsum(counts)))
    # NumPy sorts short numbers in linear time
    short = codes.astype(np.uint16) if n_tasks <= 1 << 16 else codes
    return np.argsort(short, kind="stable"), starts


# ---------------------------------------------------------------- compiled passes


def gram_chunk(width):
    """Rows of a buffer whose product with itself BLAS does on one thread.

    Threads cost small products more than they give; wide ones are worth them.
    """
    if width > 128:
        return 512
    return max(16, min(512, 260_000 // (width * width)))


@njit(cache=True, nogil=True)
def _gather_centred(X, rows, starts, low, high, means, out):
    d = X.shape[1]
    for t in range(low, high):
        s, e = starts[t], starts[t + 1]
        m = means[t]
        for i in range(s, e):
            row = X[rows[i]]
            for j in range(d):
                out[i, j] = row[j]
                m[j] += row[j]
        for j in range(d):
            m[j] /= max(e - s, 1)
        for i in range(s, e):
            for j in range(d):
                out[i, j] -= m[j]


@njit(cache=True, nogil=True)
def _forward_dense(X, starts, low, high, first, last, step, W, b, z):
    for t in range(first, last):
        end = min(starts[t + 1], high)
        for s in range(max(starts[t], low), end, step):
            e = min(s + step, end)
            np.dot(X[s:e], W[t], z[s:e])
            for i in range(s, e):
                z[i] += b[t]


@njit(cache=True, nogil=True)
def _adjoint_dense(X, starts, low, high, first, last, step, g, G):
    part = np.empty(X.shape[1])
    for t in range(first, last):
        end = min(starts[t + 1], high)
        for s in range(max(starts[t], low), end, step):
            e = min(s + step, end)
            np.dot(g[s:e], X[s:e], part)
            for j in range(X.shape[1]):
                G[t - first, j] += part[j]


@njit(cache=True)
def _adjoint_csr(data, indices, indptr, starts, g, G):
    for t in range(starts.shape[0] - 1):
        for i in range(starts[t], starts[t + 1]):
            for k in range(indptr[i], indptr[i + 1]):
                G[t, indices[k]] += data[k] * g[i]


@njit(cache=True, nogil=True)
def score_dense(X, codes, starts, W, b, Z):
    """Scores of every row by its task's models, `starts[t]` to `starts[t + 1]`."""
    for i in range(X.shape[0]):
        first = starts[codes[i]]
        for c in range(first, starts[codes[i] + 1]):
            total = b[c]
            for j in range(X.shape[1]):
                total += X[i, j] * W[c, j]
            Z[i, c - first] = total


@njit(cache=True)
def _score_csr(data, indices, indptr, codes, W, z):
    for i in range(codes.shape[0]):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += data[k] * W[codes[i], indices[k]]
        z[i] = total
