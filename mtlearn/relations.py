"""How tasks are related, as a quadratic form Omega(W) with structure.

A relation is what the user writes; `form` binds it to the tasks of a fit. A form knows
the coordinates theta in which its penalty is plain, and nothing of rows or losses.
"""

import numbers

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.sparse.linalg import splu
from sklearn.base import BaseEstimator

from .tasks import as_floats, column_names, shorten

# ---------------------------------------------------------------- forms


class ArrowForm:
    r"""W_t = a u_0 + b u_t with Omega = \|u_0\|^2 + sum_t \|u_t\|^2.

    The task kernel is b^2 I + a^2 11'. A common part u_0 and private parts u_t: the
    system of the unknowns is an arrowhead. `a` or `b` may be zero, so that independent
    tasks and one common model are exact members and not limits.

    Parameters
    ----------
    n_tasks : int
    shared, private : float
        a and b.
    """

    def __init__(self, n_tasks, shared, private):
        self.n_tasks, self.shared, self.private = n_tasks, shared, private

    def lift(self, theta):
        """W of theta; theta has a first row for the common part."""
        return self.shared * theta[0] + self.private * theta[1:]

    def pull(self, G):
        """Gradient in theta of a function whose gradient in W is `G`."""
        return np.vstack([self.shared * G.sum(axis=0), self.private * G])

    def metric(self, theta):
        """Half the gradient of Omega in theta."""
        return theta

    def dual_norm2(self, g):
        """max over theta of 2 <g, theta> - Omega(theta)."""
        return float(np.vdot(g, g))

    def precision_dot(self, W):
        """A W; only where the tasks have private parts."""
        a2, b2 = self.shared**2, self.private**2
        return (W - a2 / (b2 + a2 * self.n_tasks) * W.sum(axis=0)) / b2

    def coordinates(self, W):
        """The theta of smallest norm with lift(theta) = W."""
        a, b, n = self.shared, self.private, self.n_tasks
        head = a * W.sum(axis=0) / (b * b + a * a * n)
        rest = (W - a * head) / b if b > 0 else np.zeros_like(W)
        return np.vstack([head, rest])

    def kernel(self):
        """Task kernel K of shape (n_tasks, n_tasks)."""
        return self.private**2 * np.eye(self.n_tasks) + self.shared**2

    def lift_matrix(self):
        """`lift` as a matrix of shape (n_tasks, n_tasks + 1)."""
        common = sp.csr_array(np.full((self.n_tasks, 1), self.shared))
        return sp.hstack([common, self.private * sp.eye_array(self.n_tasks)]).tocsr()

    def root(self):
        """A matrix P with Omega = |P theta|^2."""
        return sp.eye_array(self.n_tasks + 1).tocsr()

    def intercept_map(self, intercept):
        """Intercepts of the tasks by the unpenalised unknowns, (n_tasks, n_free)."""
        return _plain_intercepts(self.n_tasks, intercept)

    def omega(self, W):
        """Omega(W); rows that differ cost infinity where only a common part exists."""
        theta = self.coordinates(W)
        if not np.allclose(self.lift(theta), W, rtol=1e-8, atol=1e-12):
            return np.inf
        return float(np.vdot(theta, theta))


class MatrixForm:
    """Omega(W) = sum_st A_st w_s . w_t for a task precision A, dense or sparse.

    Parameters
    ----------
    precision : ndarray or csr_array of shape (n_tasks, n_tasks)
    kernel : ndarray of shape (n_tasks, n_tasks), default=None
        The inverse, where it is known.
    """

    def __init__(self, precision, kernel=None):
        self.precision = precision
        self.n_tasks = precision.shape[0]
        self._kernel = kernel
        self._factor = None

    def lift(self, theta):
        """W is its own coordinate."""
        return theta

    def pull(self, G):
        """Gradient in theta: G itself."""
        return G

    def metric(self, theta):
        """Half the gradient of Omega: A theta."""
        return self.precision @ theta

    precision_dot = metric

    def dual_norm2(self, g):
        """<g, K g>."""
        return float(np.vdot(g, self.kernel_dot(g)))

    def kernel_dot(self, g):
        """K g, without the inverse of a sparse precision."""
        if self._kernel is not None:
            return self._kernel @ g
        if self._factor is None:
            self._factor = splu(sp.csc_matrix(self.precision))
        return self._factor.solve(np.ascontiguousarray(g))

    def coordinates(self, W):
        """theta of W."""
        return W.copy()

    def kernel(self):
        """Task kernel K of shape (n_tasks, n_tasks)."""
        return self.kernel_dot(np.eye(self.n_tasks))

    def lift_matrix(self):
        """`lift` as a matrix: the identity."""
        return sp.eye_array(self.n_tasks).tocsr()

    def root(self):
        """A matrix P with Omega = |P theta|^2."""
        A = self.precision
        A = A.toarray() if sp.issparse(A) else A
        return sp.csr_array(linalg.cholesky(A))

    def intercept_map(self, intercept):
        """Intercepts of the tasks by the unpenalised unknowns, (n_tasks, n_free)."""
        return _plain_intercepts(self.n_tasks, intercept)

    def omega(self, W):
        """Omega(W)."""
        return float(np.vdot(W, self.precision @ W))


def _plain_intercepts(n_tasks, intercept):
    """One unknown per task ("free"), one for all ("shared", "shrunk"), or none."""
    if intercept == "free":
        return sp.eye_array(n_tasks).tocsr()
    n_free = 0 if intercept == "none" else 1
    return sp.csr_array(np.ones((n_tasks, n_free)))


# ---------------------------------------------------------------- relations


class Relation(BaseEstimator):
    """Base of the relations: parameters as in scikit-learn, bound by `form`.

    `spreads` says whether a task without labels still has a model of its own by its
    relation to the others; otherwise it gets the shared model.
    """

    spreads = False

    def model_tasks(self, tasks):
        """Ids of all tasks of the model, sorted.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of the tasks of the data.

        Returns
        -------
        tasks : ndarray
            Those, or all that the relation names.
        """
        return tasks

    def form(self, tasks):
        """Bind the relation to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        raise NotImplementedError

    def kernel(self, tasks):
        """Task kernel.

        Parameters
        ----------
        tasks : int or ndarray of ids
            The tasks, or how many.

        Returns
        -------
        K : ndarray of shape (n_tasks, n_tasks)
            The inverse of the task precision.
        """
        return self.form(_ids(tasks)).kernel()

    def omega(self, W, tasks=None):
        """Penalty of given coefficients.

        Parameters
        ----------
        W : array-like of shape (n_tasks, n_features)
            Coefficients, a row per task.
        tasks : ndarray of ids, default=None
            The tasks of the rows; needed where the relation names tasks.

        Returns
        -------
        omega : float
            Omega(W).
        """
        W = np.asarray(W, dtype=np.float64)
        return self.form(_ids(len(W) if tasks is None else tasks)).omega(W)


def _ids(tasks):
    return (
        np.arange(tasks) if isinstance(tasks, numbers.Integral) else np.asarray(tasks)
    )


class Independent(Relation):
    r"""Nothing is shared.

    .. math:: \Omega(W) = \sum_t |w_t|^2

    Examples
    --------
    >>> Independent().kernel(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        return ArrowForm(len(tasks), 0.0, 1.0)


class SharedMean(Relation):
    r"""Tasks vary around a common model: w_t = w_0 + v_t.

    .. math:: \Omega(W) = \min_{w_0} \frac{|w_0|^2}{\rho}
              + \sum_t \frac{|w_t - w_0|^2}{1 - \rho}

    which is the task kernel K = (1 - rho) I + rho 11'. Both ends are exact: rho = 0 is
    `Independent`, rho = 1 one common w with penalty \|w\|^2.

    Parameters
    ----------
    correlation : float, default=0.5
        rho, between 0 and 1.

    References
    ----------
    Evgeniou and Pontil, Regularized multi-task learning, KDD 2004.

    Examples
    --------
    >>> SharedMean(0.25).kernel(2).round(6).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """

    def __init__(self, correlation=0.5):
        self.correlation = correlation

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        rho = self.correlation
        number = isinstance(rho, numbers.Real) and not isinstance(rho, bool)
        if not number or not 0 <= rho <= 1:
            raise ValueError(
                f"`correlation` of SharedMean must be a number in [0, 1], got {rho!r}."
            )
        return ArrowForm(len(tasks), float(np.sqrt(rho)), float(np.sqrt(1.0 - rho)))


class _MatrixRelation(Relation):
    """A relation given by a matrix over named, or at least ordered, tasks."""

    spreads = True

    def _names(self):
        """Ids in the order of the matrix; None if it comes without."""
        given = getattr(self, self._parameter)
        tasks = self.tasks
        if tasks is None:
            frame = column_names(given) if hasattr(given, "iloc") else None
            if frame is None:
                return None
            if list(given.index) != frame:
                raise ValueError(
                    f"`{self._parameter}` of {type(self).__name__} must name the same "
                    "tasks in its rows and columns, in the same order."
                )
            tasks = frame
        names = list(np.asarray(tasks, dtype=object).ravel().tolist())
        if len(set(names)) != len(names):
            raise ValueError(
                f"`tasks` of {type(self).__name__} names a task twice: "
                f"{shorten(names)}."
            )
        return names

    def model_tasks(self, tasks):
        """Ids of all tasks of the model, sorted.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of the tasks of the data.

        Returns
        -------
        tasks : ndarray
            Those, or all that the relation names.
        """
        names = self._names()
        if names is None:
            return tasks
        missing = [t for t in tasks.tolist() if t not in set(names)]
        if missing:
            raise ValueError(
                f"{type(self).__name__} does not name {shorten(missing, 4)}, which "
                f"the data have; its tasks are {shorten(names)}."
            )
        try:
            return np.unique(np.array(sorted(names)))
        except TypeError:
            raise TypeError(
                f"`tasks` of {type(self).__name__} cannot be sorted: use ids of one "
                "type."
            ) from None

    def _ordered(self, tasks):
        """The matrix, checked, in the order of `tasks`."""
        name, given = self._parameter, getattr(self, self._parameter)
        sparse = sp.issparse(given)
        matrix = (
            sp.csr_array(given, dtype=np.float64) if sparse else as_floats(name, given)
        )
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be a square matrix, got shape "
                f"{matrix.shape}."
            )
        names = self._names()
        expected = len(tasks) if names is None else len(names)
        if matrix.shape[0] != expected:
            raise ValueError(
                f"`{name}` of {type(self).__name__} has {matrix.shape[0]} rows, but "
                f"there are {expected} tasks."
            )
        entries = matrix.data if sp.issparse(matrix) else matrix
        if not np.all(np.isfinite(entries)):
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be finite, got NaN or "
                "infinity."
            )
        gap = abs(matrix - matrix.T).max() if matrix.size else 0.0
        if gap > 1e-8 * max(1e-300, abs(matrix).max()):
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be symmetric; it differs from "
                f"its transpose by {gap:.3g}."
            )
        if names is not None:
            place = {task: i for i, task in enumerate(names)}
            order = [place[t] for t in tasks.tolist()]
            matrix = matrix[order][:, order]
        return matrix


class TaskGraph(_MatrixRelation):
    r"""Neighbours are alike.

    .. math:: \Omega(W) = \sum_t |w_t|^2
              + \frac{strength}{2} \sum_{st} adjacency_{st} |w_s - w_t|^2

    which is the task precision A = I + strength * (degrees - adjacency).

    Parameters
    ----------
    adjacency : array-like, sparse matrix or data frame of shape (n_tasks, n_tasks)
        Symmetric, weights >= 0; the diagonal is ignored.
    strength : float, default=1.0
        How much neighbours are pulled together, at least 0.
    tasks : sequence of ids, default=None
        The order of the matrix; a pandas frame brings its own, and without either it is
        the order of `tasks_`. A task named here is part of the model even without rows.

    Examples
    --------
    >>> TaskGraph([[0, 1], [1, 0]], strength=1.0).kernel(2).round(3).tolist()
    [[0.667, 0.333], [0.333, 0.667]]
    """

    _parameter = "adjacency"

    def __init__(self, adjacency, strength=1.0, tasks=None):
        self.adjacency = adjacency
        self.strength = strength
        self.tasks = tasks

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        strength = self.strength
        number = isinstance(strength, numbers.Real) and not isinstance(strength, bool)
        if not number or not 0 <= strength < np.inf:
            raise ValueError(
                f"`strength` of TaskGraph must be a number >= 0, got {strength!r}."
            )
        adjacency = sp.csr_array(self._ordered(tasks), dtype=np.float64)
        adjacency.setdiag(0.0)
        adjacency.eliminate_zeros()
        if adjacency.nnz and adjacency.data.min() < 0:
            raise ValueError(
                "`adjacency` of TaskGraph must have weights >= 0, got "
                f"{adjacency.data.min():.3g}."
            )
        degrees = np.asarray(adjacency.sum(axis=1)).ravel()
        laplacian = sp.diags_array(degrees) - adjacency
        return MatrixForm(
            sp.csr_array(sp.eye_array(len(tasks)) + float(strength) * laplacian)
        )


class TaskCovariance(_MatrixRelation):
    """Known covariance of the tasks' coefficients: K = covariance, A = K^-1.

    Parameters
    ----------
    covariance : array-like or data frame of shape (n_tasks, n_tasks)
        Symmetric and positive definite.
    tasks : sequence of ids, default=None
        The order of the matrix; a pandas frame brings its own, and without either it is
        the order of `tasks_`. A task named here is part of the model even without rows.

    Examples
    --------
    >>> round(TaskCovariance([[2.0, 0.0], [0.0, 1.0]]).omega([[2.0], [1.0]]), 6)
    3.0
    """

    _parameter = "covariance"

    def __init__(self, covariance, tasks=None):
        self.covariance = covariance
        self.tasks = tasks

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        K = self._ordered(tasks)
        K = K.toarray() if sp.issparse(K) else K
        try:
            factor = linalg.cho_factor(K)
        except linalg.LinAlgError:
            lowest = linalg.eigvalsh(K)[0]
            raise ValueError(
                "`covariance` of TaskCovariance must be positive definite; its "
                f"smallest eigenvalue is {lowest:.3g}."
            ) from None
        A = linalg.cho_solve(factor, np.eye(len(K)))
        return MatrixForm(0.5 * (A + A.T), 0.5 * (K + K.T))


RELATIONS = [Independent(), SharedMean(0.0), SharedMean(), SharedMean(1.0)]

_NAMES = {
    "independent": Independent,
    "shared_mean": SharedMean,
    "pooled": lambda: SharedMean(1.0),
}


def check_relation(relation):
    """Turn the parameter `relation` of an estimator into a relation object.

    Raises
    ------
    ValueError
        If it is a string that names none.
    TypeError
        If it is neither a string nor a relation.
    """
    if isinstance(relation, Relation):
        return relation
    if isinstance(relation, str):
        if relation in _NAMES:
            return _NAMES[relation]()
        raise ValueError(
            f"`relation` must be one of {', '.join(map(repr, _NAMES))} or a relation "
            f"object, got {relation!r}."
        )
    raise TypeError(
        "`relation` must be a string or a relation such as SharedMean(0.5), got "
        f"{relation!r} of type {type(relation).__name__}."
        + (" Did you forget the parentheses?" if isinstance(relation, type) else "")
    )
