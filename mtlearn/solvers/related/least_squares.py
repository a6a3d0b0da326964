"""Least squares from the rows themselves, where products of rows lose the answer.

Without a penalty: among the minimisers of the squared loss the one of smallest Omega.
Every task (or, where only a common model exists, all of them at once) is solved by a QR
of its scaled columns, and what the rows leave open is filled in so that Omega is least.
With a penalty, and small: a QR of the rows with the penalty's appended.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ...moments import same_rows
from ...problem.intercepts import FREE, SHARED
from ...problem.solution import Solution, Status
from ..linalg import conjugate_gradient

_DENSE = 2000  # most unknowns of one dense factorisation
_RANK = 1e-11  # a scaled column whose remainder is shorter depends on the others


def solve_least_norm(data, form, *, intercept=FREE):
    """Minimise the squared loss, and among its minimisers Omega(W).

    Parameters
    ----------
    data : TaskData
    form : ArrowForm or MatrixForm
    intercept : Intercepts

    Returns
    -------
    Solution
        Its certificate is half the squared length of the part of the residual that the
        columns could still explain, over the objective of the zero model.
    """
    if form.composed:
        return _solve_composed(data, form, intercept)
    pooled = form.pooled
    intercept = intercept.at(np.inf) if pooled else intercept
    units = _units(data, pooled, intercept)
    beta, open_beta = _shared_intercept(units) if intercept == SHARED else (0.0, False)
    W = np.array([unit.solve(beta) for unit in units])
    null = [unit.columns.null for unit in units]
    # moving the common intercept moves the deviations, or the coefficients, against it
    against = np.zeros_like(W)
    if intercept.shrunk:
        against[:, -1] = 1.0 / intercept.unit
    elif open_beta:
        against = np.array([-unit.columns.solve(unit.columns.ones) for unit in units])
    dot = (lambda V: V) if pooled else form.precision_dot
    if np.any(against) or any(basis.shape[1] for basis in null):
        moved, shift = _least_omega(dot, W, null, against)
        W = W + moved
        if open_beta:
            W, beta = W + shift * against, beta + shift
    explained = sum(unit.left_over(w, beta) for unit, w in zip(units, W, strict=True))
    W = np.repeat(W, data.n_tasks, axis=0) if pooled else W
    d = data.n_features
    coef = np.ascontiguousarray(W[:, :d])
    b = intercept.unit * W[:, -1] if intercept.shrunk else np.full(data.n_tasks, beta)
    b = _means_left(data, coef) if intercept.own else b
    z = data.forward(coef, b)
    value = 0.5 * float(data.weights @ (data.labels - z) ** 2)
    scale = 0.5 * float(data.weights @ data.labels**2)
    bound = explained / max(scale, 1e-300)
    return Solution(
        coef, b, value, bound, 1, Status.CONVERGED, history=[(value, bound)]
    )


def fits_one_factor(data, form, intercept):
    """Whether `augmented` is small enough to be worth its robustness."""
    p = data.n_features + intercept.shrunk
    n_rows, n_unknowns = len(data.rows), (data.n_tasks + 1) * (p + 1)
    return n_unknowns <= _DENSE and n_rows <= 4 * _DENSE


def augmented(data, form, alpha, intercept, labels, weights):
    """Minimise weighted squares plus 1/2 alpha Omega by one dense QR.

    The loss is 1/2 sum_i weights_i (labels_i - f_i)^2; the rows of the penalty are
    appended to those of the data. The error grows with the
    condition of the rows, not with its square.

    Parameters
    ----------
    data : TaskData
        Its labels and weights do not count.
    form : ArrowForm or MatrixForm
    alpha : float
    intercept : Intercepts
    labels, weights : ndarray of shape (n_observations,)

    Returns
    -------
    W : ndarray of shape (n_tasks, p)
        With shrunken intercepts, their deviations are the last column.
    beta : ndarray of shape (n_free,)
        The unpenalised intercepts.
    """
    mix, design, free = _design(data, form, intercept)
    size = design.shape[1]
    root = np.sqrt(weights)[:, None]
    bottom = np.hstack([np.sqrt(alpha) * np.eye(size), np.zeros((size, free.shape[1]))])
    A = np.vstack([root * np.hstack([design, free]), bottom])
    y = np.concatenate([root[:, 0] * labels, np.zeros(size)])
    solved = linalg.lstsq(A, y, cond=1e-15, lapack_driver="gelsy")[0]
    return mix @ solved[:size].reshape(mix.shape[1], -1), solved[size:]


def _design(data, form, intercept):
    """The rows as linear functions of v, with Omega = |v|^2, and of the intercepts.

    Returns
    -------
    mix : ndarray of shape (n_tasks, n)
        Makes coefficients of the rows of v.
    design : ndarray of shape (n_observations, n * p)
    free : ndarray of shape (n_observations, n_free)
    """
    n = len(data.rows)
    mix = _plain_coordinates(form)
    X = data.features[data.place]
    X = X.toarray() if data.sparse else X
    X = intercept.with_constant(X)
    design = (mix[data.task_of][:, :, None] * X[:, None, :]).reshape(n, -1)
    return mix, design, form.intercept_map(intercept).toarray()[data.task_of]


def _solve_composed(data, form, intercept):
    """Least squares of smallest Omega where tasks are made of others: all at once."""
    mix, design, free = _design(data, form, intercept)
    root = np.sqrt(data.weights)
    y = root * data.labels
    levels = _Columns(free * root[:, None], root)
    design = design * root[:, None]
    size = np.abs(design).max(axis=0)
    rest = levels.unexplained(design)
    # what the intercepts leave of a constant column is rounding, not a feature
    rest[:, np.abs(rest).max(axis=0) <= 1e-14 * len(y) * size] = 0.0
    columns = _Columns(rest, root)
    v = columns.solve(levels.unexplained(y))
    beta = levels.solve(y - design @ v)
    residual = y - design @ v - levels.Z @ beta
    left = np.concatenate([columns.Q.T @ residual, levels.Q.T @ residual])
    scale = max(0.5 * float(y @ y), 1e-300)
    value, bound = 0.5 * float(residual @ residual), 0.5 * float(left @ left) / scale
    W, d = mix @ v.reshape(mix.shape[1], -1), data.n_features
    b = form.intercept_map(intercept) @ beta + intercept.unit * W[:, d:].sum(axis=1)
    return Solution(
        np.ascontiguousarray(W[:, :d]),
        b,
        value,
        bound,
        1,
        Status.CONVERGED,
        history=[(value, bound)],
    )


def _plain_coordinates(form):
    """A matrix of shape (n_tasks, n) that makes W of coordinates with Omega = |v|^2."""
    mix = form.lift_matrix() @ linalg.inv(form.root().toarray())
    return mix[:, np.any(mix != 0, axis=0)]


class _Columns:
    """A factorised matrix of rows (times the roots of their weights).

    Attributes
    ----------
    Z : ndarray of shape (n_rows, p)
    ones : ndarray of shape (n_rows,)
        A constant column, weighted alike.
    null : ndarray of shape (p, n_open)
        Orthonormal basis of what the rows leave open.
    """

    def __init__(self, Z, ones):
        self.Z, self.ones = Z, ones
        p = Z.shape[1]
        size = np.sqrt(np.einsum("ij,ij->j", Z, Z))
        self.size = np.where(size > 0, size, 1.0)
        if len(Z) == 0 or not size.any():
            self.Q, self.rank = np.zeros((len(Z), 0)), 0
            self.order, self.R = np.arange(p), np.zeros((0, p))
        else:
            self.Q, self.R, self.order = linalg.qr(
                Z / self.size, mode="economic", pivoting=True
            )
            diagonal = np.abs(np.diag(self.R))
            self.rank = int(np.sum(diagonal > _RANK * max(1.0, diagonal[0])))
        self.Q = self.Q[:, : self.rank]
        self.null = self._null_space(p)

    def _null_space(self, p):
        r = self.rank
        basis = np.zeros((p, p - r))
        if r < p:
            if r:
                inner = linalg.solve_triangular(self.R[:r, :r], self.R[:r, r:])
                basis[self.order[:r]] = -inner
            basis[self.order[r:]] = np.eye(p - r)
            basis = np.linalg.qr(basis / self.size[:, None])[0]
        return basis

    def solve(self, y):
        """Coefficients of smallest norm that explain y best."""
        w = np.zeros(self.Z.shape[1])
        r = self.rank
        if r:
            w[self.order[:r]] = linalg.solve_triangular(self.R[:r, :r], self.Q.T @ y)
            w /= self.size
        return w - self.null @ (self.null.T @ w)

    def unexplained(self, v):
        """The part of v outside the span of the columns."""
        return v - self.Q @ (self.Q.T @ v)


@dataclass
class _Unit:
    """Least squares problem of one coefficient vector: columns, labels, weight."""

    columns: _Columns
    y: np.ndarray
    weight: float

    def solve(self, beta):
        """Coefficients of smallest norm for labels less beta."""
        return self.columns.solve(self.y - beta * self.columns.ones)

    def left_over(self, w, beta):
        """1/2 |part of the residual inside the span of the columns|^2."""
        columns = self.columns
        residual = self.y - columns.Z @ w - beta * columns.ones
        return 0.5 * self.weight * float(np.sum((columns.Q.T @ residual) ** 2))


def _units(data, pooled, intercept):
    """One unit per task, or a single one of all rows."""
    if pooled:
        blocks = [_block(data, t, intercept) for t in range(data.n_tasks)]
        root = np.repeat(np.sqrt(_task_weights(data)), data.sizes)
        Z, y, ones = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return [_Unit(_Columns(Z * root[:, None], ones * root), y * root, 1.0)]
    group = same_rows(data)[0] if data.wide else np.arange(data.n_tasks)
    known, units = {}, []
    for t, (u, weight) in enumerate(zip(group, _task_weights(data), strict=True)):
        Z, y, ones = _block(data, t, intercept)
        if u not in known:
            known[u] = _Columns(Z, ones)
        units.append(_Unit(known[u], y, weight))
    return units


def _task_weights(data):
    return np.ones(data.n_tasks) if data.task_weight is None else data.task_weight


def _block(data, t, intercept):
    """Rows, labels and a constant of one task, times the roots of the row weights."""
    rows, y, weight = task_rows(data, t)
    rows = intercept.with_constant(rows)
    if intercept.own and len(y):
        rows, y, _, _ = centred_rows(rows, y, weight)
    root = np.sqrt(weight)
    return rows * root[:, None], y * root, root


def task_rows(data, t):
    """Rows of one task, dense, their labels and sample weights."""
    part = slice(data.starts[t], data.starts[t + 1])
    rows = data.features[data.place[part]]
    rows = rows.toarray() if data.sparse else rows
    weight = np.ones(len(rows))
    if data.sample_weight is not None:
        weight = data.take(data.sample_weight)[part]
    return rows, data.labels[part], weight


def centred_rows(rows, y, weight):
    """Rows and labels without their weighted means, and the means."""
    mean = np.average(rows, axis=0, weights=weight)
    y_mean = float(np.average(y, weights=weight))
    level, rows = np.abs(rows).max(axis=0), rows - mean
    # what centring leaves of a constant column is rounding, not a feature
    rows[:, np.abs(rows).max(axis=0) <= 1e-14 * len(y) * level] = 0.0
    return rows, y - y_mean, mean, y_mean


def _shared_intercept(units):
    """The one intercept that leaves the least unexplained, and whether it is open."""
    top = bottom = 0.0
    for unit in units:
        rest = unit.columns.unexplained(unit.columns.ones)
        top += unit.weight * (rest @ unit.y)
        bottom += unit.weight * (rest @ rest)
    total = sum(unit.weight * np.sum(unit.columns.ones**2) for unit in units)
    settled = bottom > 1e-12 * total
    return (top / bottom, False) if settled else (0.0, True)


def _least_omega(precision_dot, W, null, against):
    """What to add to W within the open directions so that Omega is least.

    The common intercept is one more open direction: a unit of it adds `against` to what
    Omega counts.

    Returns
    -------
    moved : ndarray of shape (n_units, p)
        The change within `null`.
    shift : float
        The change of the common intercept.
    """
    cuts = np.cumsum([0, *(basis.shape[1] for basis in null)])
    bound = bool(np.any(against))

    def within(c):
        return np.array([N @ c[cuts[t] : cuts[t + 1]] for t, N in enumerate(null)])

    def spread(c):
        return within(c) + c[-1] * against if bound else within(c)

    def gather(G):
        parts = [N.T @ G[t] for t, N in enumerate(null)]
        parts.append([np.vdot(against, G)] if bound else [])
        return np.concatenate(parts)

    c = conjugate_gradient(
        lambda c: gather(precision_dot(spread(c))),
        -gather(precision_dot(W)),
        lambda r: r,
        max_iter=10 * (cuts[-1] + 10),
    )
    return within(c), float(c[-1]) if bound else 0.0


def _means_left(data, coef):
    """Means of what the coefficients leave of each task's labels."""
    weight, residual = data.weights, data.labels - data.forward(coef)
    total = data.sums(weight)
    sums = data.sums(weight * residual)
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
