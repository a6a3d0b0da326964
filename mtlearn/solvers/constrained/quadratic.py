r"""A squared loss plus a relation as one least squares system in all unknowns.

    1/2 |F x - g|^2 + 1/2 x' Q x - c' x + rest,   vec(W) = lift x,  b = shift x + base.

The rows enter by a short factor of every task (|R_t w - r_t|^2), so that nothing here
grows with their number. x holds the coordinates of the form, then the intercepts; a
free intercept of a task's own is minimised out by centring unless it is asked for.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from ...moments import gather_moments, grams_fit, same_rows
from ..related.least_squares import centred_rows, task_rows

_COARSE = 1e-9  # 1 - R^2 of a column given others below which moments lose digits
_PRIVATE = 1e-3  # size of the private parts below which W is no coordinate
_EMPTY = 1e-13  # the same below which nothing is left of a column of the rows, squared


@dataclass(frozen=True)
class Factors:
    """Every task's rows in short: |R_t w - r_t|^2 + mass_t (b + mean_t w - y_mean_t)^2.

    Tasks with the same rows share an entry of R and mean. Task weights are inside of
    `weight` (the root of which multiplies R) and `mass`.

    Attributes
    ----------
    R : ndarray of shape (n_groups, q, n_features)
    r : ndarray of shape (n_tasks, q)
    mean : ndarray of shape (n_groups, n_features)
    group : ndarray of shape (n_tasks,), int
    y_mean, mass, weight : ndarray of shape (n_tasks,)
    rest : float
        Half of the squares that no model explains.
    zero : float
        The objective of the zero model.
    full : bool
        Whether the columns of every task are independent.
    """

    R: np.ndarray
    r: np.ndarray
    mean: np.ndarray
    group: np.ndarray
    y_mean: np.ndarray
    mass: np.ndarray
    weight: np.ndarray
    rest: float
    zero: float
    full: bool

    @property
    def squares(self):
        """Sum of squares of every feature, tasks that share rows counted once."""
        R = self.R * np.sqrt(self.weight.max(initial=0.0))
        return np.einsum("gqj,gqj->j", R, R)

    def system(self, unknowns):
        """F and g of the least squares, and the means for what is minimised out.

        Parameters
        ----------
        unknowns : Unknowns

        Returns
        -------
        F : csr_array of shape (n_rows, n_unknowns)
        g : ndarray of shape (n_rows,)
        mean : csr_array of shape (n_tasks, n_unknowns)
            Scores of the tasks' mean rows.
        """
        root = np.sqrt(self.weight)[:, None, None]
        F = diagonal_blocks(root * self.R[self.group]) @ unknowns.lift
        g = (root[:, :, 0] * self.r).ravel()
        mean = diagonal_blocks(self.mean[self.group][:, None, :]) @ unknowns.lift
        if not unknowns.centred:
            heavy = sp.diags_array(np.sqrt(self.mass))
            F = sp.vstack([F, heavy @ (mean + unknowns.shift)])
            g = np.concatenate([g, np.sqrt(self.mass) * self.y_mean])
        return F.tocsr(), g, mean


@dataclass(frozen=True)
class SparseRows:
    """Few sparse rows as they are, |X w - y|^2, with all intercepts as unknowns.

    Attributes
    ----------
    X : csr_array of shape (n_rows, n_tasks * n_features)
        Over the flattened coefficients, times the roots of the weights.
    y : ndarray of shape (n_rows,)
        Labels, alike.
    owner : csr_array of shape (n_rows, n_tasks)
        The root of a row's weight in the column of its task.
    n_features : int
    zero : float
        The objective of the zero model.
    """

    X: sp.csr_array
    y: np.ndarray
    owner: sp.csr_array
    n_features: int
    zero: float
    rest: float = 0.0
    full: bool = False

    @classmethod
    def from_data(cls, data):
        """The rows of positive weight of sparse data.

        Parameters
        ----------
        data : TaskData

        Returns
        -------
        SparseRows
        """
        kept = np.flatnonzero(data.weights > 0)
        root, task = np.sqrt(data.weights[kept]), data.task_of[kept]
        d, T = data.n_features, data.n_tasks
        rows = sp.csr_array(data.features)[data.place[kept]]
        size = np.diff(rows.indptr)
        columns = rows.indices + d * np.repeat(task.astype(np.int64), size)
        values = rows.data * np.repeat(root, size)
        X = sp.csr_array((values, columns, rows.indptr), shape=(len(kept), T * d))
        where = np.arange(len(kept) + 1)
        owner = sp.csr_array((root, task, where), shape=(len(kept), T))
        y = root * data.labels[kept]
        return cls(X, y, owner, d, 0.5 * float(y @ y))

    @property
    def squares(self):
        """Sum of squares of every feature."""
        return self.X.multiply(self.X).sum(axis=0).reshape(-1, self.n_features).sum(0)

    def system(self, unknowns):
        """F and g; no intercept is minimised out.

        Parameters
        ----------
        unknowns : Unknowns
            With every intercept among them.

        Returns
        -------
        F : csr_array of shape (n_rows, n_unknowns)
        g : ndarray of shape (n_rows,)
        mean : None
        """
        F = self.X @ unknowns.lift + self.owner @ unknowns.shift
        return F.tocsr(), self.y, None


def factorise(data):
    """Short factors of all tasks, by their moments, or the rows where those are coarse.

    Parameters
    ----------
    data : TaskData

    Returns
    -------
    Factors
    """
    d, T = data.n_features, data.n_tasks
    short = data.sizes.max(initial=0) <= d
    if short or not grams_fit(data, copies=8):
        return _from_rows(data)
    moments = gather_moments(data)
    firsts = np.unique(moments.group, return_index=True)[1]
    factors, full = {}, True
    for u, t in zip(moments.group[firsts], firsts, strict=True):
        members = np.flatnonzero(moments.group == u) if len(firsts) < T else [t]
        factor = _cholesky(moments.gram[u], moments.cross[members])
        if factor is None:
            factor = _qr_of_rows(data, members)
        full &= len(factor[0]) == d
        factors[u] = (*factor, members)
    R, r = _pad(factors, len(moments.weight), T, d)
    explained = np.einsum("tq,tq->t", r, r)
    left = np.maximum(moments.y_square - explained, 0.0)
    return Factors(
        R,
        r,
        moments.mean,
        moments.group,
        moments.y_mean,
        moments.task_weights,
        moments.scale,
        0.5 * float(moments.scale @ left),
        moments.zero_objective,
        full,
    )


def _pad(factors, n_groups, n_tasks, d):
    """Factors of all groups in one array, short ones with rows of zeros below."""
    q = max((len(one[0]) for one in factors.values()), default=0)
    R, r = np.zeros((n_groups, q, d)), np.zeros((n_tasks, q))
    for u, (part, right, members) in factors.items():
        R[u, : len(part)] = part
        r[np.asarray(members), : len(part)] = right
    return R, r


def _cholesky(gram, cross):
    """R with R'R = gram and the r with R'r = cross, or None where digits are lost."""
    size = np.sqrt(np.diag(gram))
    alive = size > 0
    if not alive.any():
        return np.zeros((0, len(gram))), np.zeros((len(cross), 0))
    scaled = gram[np.ix_(alive, alive)] / np.outer(size[alive], size[alive])
    L, info = linalg.lapack.dpotrf(scaled, lower=1, clean=1)
    if info != 0 or np.diag(L).min() ** 2 < _COARSE:
        return None
    right = linalg.solve_triangular(L, (cross[:, alive] / size[alive]).T, lower=True)
    R = np.zeros((alive.sum(), len(gram)))
    R[:, alive] = L.T * size[alive]
    return R, right.T


def _qr_of_rows(data, members):
    """The same by a QR of the rows of `members`, tasks that share them."""
    Z, y, _ = _centred_rows(data, members[0])
    size = np.sqrt(np.einsum("ij,ij->j", Z, Z))
    size = np.where(size > 0, size, 1.0)
    Q, R, order = linalg.qr(Z / size, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(R))
    rank = int(np.sum(diagonal**2 > _EMPTY * max(1.0, diagonal.max(initial=0.0))))
    factor = np.zeros((rank, Z.shape[1]))
    factor[:, order] = R[:rank]
    right = [Q[:, :rank].T @ y]
    right += [Q[:, :rank].T @ _centred_rows(data, t)[1] for t in members[1:]]
    return factor * size, np.array(right)


def _centred_rows(data, t):
    """Rows and labels of a task, means out, times the roots of the sample weights.

    Also returns (mean, y_mean, mass), the task weight not counted.
    """
    rows, y, weight = task_rows(data, t)
    mass = weight.sum()
    if mass <= 0:
        return rows[:0], y[:0], (np.zeros(data.n_features), 0.0, 0.0)
    rows, y, mean, y_mean = centred_rows(rows, y, weight)
    root = np.sqrt(weight)
    return rows * root[:, None], y * root, (mean, y_mean, mass)


def _from_rows(data):
    """Factors that are the rows themselves, or their QR where they are many."""
    T, d = data.n_tasks, data.n_features
    group = same_rows(data)[0] if data.wide else np.arange(T)
    factors, n_groups = {}, int(group.max(initial=-1)) + 1
    mean, y_mean, mass = np.zeros((n_groups, d)), np.zeros(T), np.zeros(T)
    scale = np.ones(T) if data.task_weight is None else data.task_weight
    square = np.zeros(T)
    for u in range(n_groups):
        members = np.flatnonzero(group == u)
        labels = []
        for t in members:
            Z, y, (mean[u], y_mean[t], mass[t]) = _centred_rows(data, t)
            square[t] = y @ y
            labels.append(y)
        labels = np.array(labels)
        if len(Z) > d:
            Z, labels = _qr_of_rows(data, members)
        factors[u] = (Z, labels, members)
    R, r = _pad(factors, n_groups, T, d)
    rest = np.maximum(square - np.einsum("tq,tq->t", r, r), 0.0)
    return Factors(
        R,
        r,
        mean,
        group,
        y_mean,
        scale * mass,
        scale,
        0.5 * float(scale @ rest),
        0.5 * float(scale @ (square + mass * y_mean**2)),
        False,
    )


# ---------------------------------------------------------------- all unknowns


@dataclass(frozen=True)
class Quadratic:
    """The system of the module's head, and what its unknowns mean."""

    F: sp.csr_array
    g: np.ndarray
    Q: sp.csr_array
    c: np.ndarray
    rest: float
    lift: sp.csr_array
    shift: sp.csr_array
    base: np.ndarray
    shape: tuple | None = None

    @property
    def size(self):
        """Number of unknowns."""
        return self.F.shape[1]

    def loss(self, x):
        """The squared loss."""
        r = self.F @ x - self.g
        return 0.5 * float(r @ r) + self.rest

    def value(self, x):
        """The objective."""
        return self.loss(x) + 0.5 * float(x @ (self.Q @ x)) - float(self.c @ x)

    def gradient(self, x):
        """Its gradient."""
        return self.F.T @ (self.F @ x - self.g) + self.Q @ x - self.c

    def model(self, x):
        """Coefficients (n_tasks, n_features) and intercepts (n_tasks,)."""
        b = self.shift @ x + self.base
        return (self.lift @ x).reshape(len(b), -1), b


class Unknowns:
    """The unknowns of a form and its intercepts; they know nothing of the data.

    Parameters
    ----------
    form : ArrowForm or MatrixForm
        Or any with `lift_matrix`, `metric` and `intercept_map`.
    intercept : Intercepts
    n_features : int
    explicit : bool
        Whether a free intercept of a task's own is an unknown; else it is minimised
        out.
    """

    def __init__(self, form, intercept, n_features, explicit=False):
        self.coordinates = _Coordinates(form)
        self.L, self.metric = self.coordinates.L, self.coordinates.metric
        self.root = self.coordinates.root
        B = sp.csr_array(form.intercept_map(intercept))
        self.shrunk, self.unit = intercept.shrunk, intercept.unit
        self.maps = B
        self.centred = form.separates(intercept) and not explicit
        self.B = B = (B[:, :0] if self.centred else B).tocsr()
        self.d, self.n_tasks = n_features, form.n_tasks
        self.p = n_features + self.shrunk
        width = self.L.shape[1] * self.p
        coordinates = sp.kron(self.L, sp.eye_array(self.p)).tocsr()
        coef_rows = (
            np.arange(self.n_tasks)[:, None] * self.p + np.arange(self.d)
        ).ravel()
        self.lift = _widen(coordinates[coef_rows], B.shape[1])
        self.shift = sp.hstack([sp.csr_array((self.n_tasks, width)), B]).tocsr()
        if self.shrunk:
            last = np.arange(self.n_tasks) * self.p + self.d
            own = self.unit * coordinates[last]
            self.shift = self.shift + _widen(own, B.shape[1])
        free = sp.csr_array((B.shape[1], B.shape[1]))
        omega = sp.kron(self.metric, sp.eye_array(self.p))
        self.omega = sp.block_diag([omega, free]).tocsr()
        self.n_theta = width

    def gradient(self, G, gb):
        """Gradient in the unknowns of a function with gradients G (W) and gb (b)."""
        return self.lift.T @ G.ravel() + self.shift.T @ gb

    def full_theta(self, r):
        """A flat gradient in the form's own coordinates (n_theta, p)."""
        return self.coordinates.back(r.reshape(-1, self.p))

    def quadratic(self, factors, alpha, b=None, x=None, linear=None):
        """The system of a squared loss.

        Parameters
        ----------
        factors : Factors or SparseRows
        alpha : float
        b : ndarray of shape (n_tasks,), default=None
            Intercepts of tasks without rows, where they are minimised out.
        x : ndarray of shape (n_unknowns,), default=None
            Unknowns that nothing determines stay as they are here.
        linear : ndarray of shape (n_unknowns,), default=None
            What else c is to hold.

        Returns
        -------
        Quadratic
        """
        F, g, mean = factors.system(self)
        shift, base = self.shift, np.zeros(self.n_tasks)
        if self.centred:
            empty = factors.mass <= 0
            shift = (sp.diags_array(np.where(empty, 0.0, -1.0)) @ mean).tocsr()
            base = np.where(empty, 0.0 if b is None else b, factors.y_mean)
        Q = (alpha * self.omega).tocsr()
        loose = F.multiply(F).sum(axis=0) + Q.diagonal() <= 0
        Q = Q + sp.diags_array(loose.astype(float))
        c = np.zeros(F.shape[1]) if x is None else np.where(loose, x, 0.0)
        if linear is not None:
            c += linear
        shape = self.L.shape[1], self.p
        Q, rest = Q.tocsr(), factors.rest
        return Quadratic(F, g, Q, c, rest, self.lift, shift, base, shape)


class _Coordinates:
    """Coordinates of a form of which W itself is a part, where that is possible.

    A form with private parts, W = L_c u_c + L_p u_p with L_p diagonal, is as well
    described by (u_c, W): bounds then bind single unknowns, and a task's rows concern
    nobody else. Not so close to one common model, where u_p = (W - L_c u_c) / L_p
    loses digits, and not where a task has no private part.
    """

    def __init__(self, form):
        L = sp.csc_array(form.lift_matrix())
        self.size = L.shape[1]
        count = np.diff(L.indptr)
        self.keep = np.flatnonzero(abs(L).sum(axis=0) > 0)
        metric = sp.csr_array(form.metric(np.eye(self.size)))
        root = sp.csr_array(form.root())
        private = np.flatnonzero(count == 1)
        rows = L.indices[L.indptr[private]]
        sizes = L.data[L.indptr[private]]
        self.own = len(rows) == form.n_tasks == len(np.unique(rows)) and bool(
            np.abs(sizes).min() > _PRIVATE
        )
        if not self.own:
            keep = self.keep
            self.L, self.root = L[:, keep].tocsr(), root[:, keep]
            self.metric = metric[keep][:, keep]
            return
        private, self.sizes = private[np.argsort(rows)], sizes[np.argsort(rows)]
        common = np.setdiff1d(self.keep, private)
        self.private, self.common, self.across = private, common, L[:, common].tocsr()
        n_common, T = len(common), form.n_tasks
        self.L = sp.hstack([sp.csr_array((T, n_common)), sp.eye_array(T)]).tocsr()
        inverse = sp.diags_array(1.0 / self.sizes)
        lower = sp.hstack([-(inverse @ self.across), inverse])
        upper = sp.hstack([sp.eye_array(n_common), sp.csr_array((n_common, T))])
        order = np.concatenate([common, private])
        place = sp.csr_array(
            (np.ones(len(order)), (order, np.arange(len(order)))),
            shape=(self.size, len(order)),
        )
        change = (place @ sp.vstack([upper, lower])).tocsr()
        self.root = (root @ change).tocsr()
        self.metric = (change.T @ metric @ change).tocsr()

    def back(self, r):
        """A gradient (n, p) in these coordinates, in the form's own."""
        full = np.zeros((self.size, r.shape[1]))
        if not self.own:
            full[self.keep] = r
            return full
        n_common = len(self.common)
        full[self.common] = r[:n_common] + self.across.T @ r[n_common:]
        full[self.private] = self.sizes[:, None] * r[n_common:]
        return full


def unpenalised(form):
    """The form whose coordinates are W itself, where only sums of squares count."""
    return form if form.arrow is None else form.untied()


def _widen(matrix, n_columns):
    """Append empty columns."""
    empty = sp.csr_array((matrix.shape[0], n_columns))
    return sp.hstack([matrix, empty]).tocsr()


def diagonal_blocks(A):
    """Block diagonal matrix of A (n, q, d)."""
    n, q, d = A.shape
    if q == 0:
        return sp.csr_array((0, n * d))
    return sp.bsr_array(
        (A, np.arange(n), np.arange(n + 1)), shape=(n * q, n * d)
    ).tocsr()
