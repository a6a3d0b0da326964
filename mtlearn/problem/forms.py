"""Quadratic forms Omega(W) with structure: what solvers see of a relation.

A form knows the coordinates theta in which its penalty is plain, how they make the
coefficients of the tasks, and nothing of rows or losses.
"""

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.sparse.linalg import splu

from .threads import inner

_CANCELLED = 1e-14  # sums below this share of their terms are rounding


class Form:
    """What forms have in common: every task is free, and knows nothing of composing."""

    composed = False  # whether tasks are made of others
    learned = False  # whether it is found with the coefficients
    arrow = None  # (shared, private) where only a common part ties the tasks
    free = slice(None)  # positions of the free tasks

    @property
    def base(self):
        """The form of the free tasks."""
        return self

    @property
    def pooled(self):
        """Whether all tasks have the same coefficients."""
        return False

    @property
    def mix(self):
        """How all tasks are made of the free ones: the identity."""
        return sp.eye_array(self.n_tasks).tocsr()

    def expand(self, own):
        """What all tasks have of what is given for the free ones, (n_free, ...)."""
        return own

    def separates(self, intercept):
        """Whether each task has an intercept that is nobody else's, and unpenalised."""
        return intercept.own

    def intercept_map(self, intercept):
        """Intercepts of the tasks by the unpenalised unknowns, (n_tasks, n_free)."""
        return intercept.map(self.n_tasks)

    def untied(self):
        """The same tasks with nothing that ties them; of pooled ones, the same."""
        return ArrowForm(self.n_tasks, 0.0, 1.0)


class ArrowForm(Form):
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

    @property
    def arrow(self):
        """a and b."""
        return self.shared, self.private

    @property
    def pooled(self):
        """Whether there is the common part only."""
        return self.private == 0

    def untied(self):
        """Private parts only; the common one where there is no other."""
        return ArrowForm(self.n_tasks, float(self.pooled), float(not self.pooled))

    def lift(self, theta):
        """W of theta; theta has a first row for the common part."""
        return self.shared * theta[0] + self.private * theta[1:]

    def adjoint(self, G):
        """Gradient in theta of a function whose gradient in W is `G`."""
        return np.vstack([self.shared * G.sum(axis=0), self.private * G])

    def metric(self, theta):
        """Half the gradient of Omega in theta."""
        return theta

    def dual_norm2(self, g):
        """max over theta of 2 <g, theta> - Omega(theta)."""
        return inner(g, g)

    def inverse_metric(self, g):
        """The theta whose `metric` is g."""
        return g

    def diagonal(self):
        """Omega of the unit vectors of theta."""
        return np.ones(self.n_tasks + 1)

    def solve_features(self, alpha, H):
        """A solver of alpha `metric` + `adjoint` H `lift`, every feature by itself.

        Parameters
        ----------
        alpha : float
        H : ndarray of shape (n_tasks, p)
            Curvatures of the coefficients.
        """
        a, b = self.shared, self.private
        bottom = alpha + b * b * H
        damped = alpha * H / bottom
        head = alpha + a * a * damped.sum(axis=0)

        def solve(r):
            out = np.empty_like(r)
            out[0] = (r[0] - a * b * (H / bottom * r[1:]).sum(axis=0)) / head
            out[1:] = (r[1:] - a * b * H * out[0]) / bottom
            return out

        return solve

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
        """A matrix P; Omega is the squared length of P theta."""
        return sp.eye_array(self.n_tasks + 1).tocsr()

    def omega(self, W):
        """Omega(W); rows that differ cost infinity where only a common part exists."""
        theta = self.coordinates(W)
        if not np.allclose(self.lift(theta), W, rtol=1e-8, atol=1e-12):
            return np.inf
        return float(np.vdot(theta, theta))


class LearnedForm(Form):
    """A covariance of the tasks that is found with the coefficients; none is known yet.

    Parameters
    ----------
    n_tasks : int
    """

    learned = True

    def __init__(self, n_tasks):
        self.n_tasks = n_tasks

    def omega(self, W):
        """The least of tr(W' K^-1 W) over K of trace n_tasks."""
        return float(np.linalg.svd(W, compute_uv=False).sum()) ** 2 / self.n_tasks


class MatrixForm(Form):
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

    def adjoint(self, G):
        """Gradient in theta: G itself."""
        return G

    def metric(self, theta):
        """Half the gradient of Omega: A theta."""
        return self.precision @ theta

    precision_dot = metric

    def solve_features(self, alpha, H):
        """As that of `ArrowForm`, what ties the tasks left out: a preconditioner."""
        bottom = alpha * self.diagonal()[:, None] + H
        return lambda r: r / bottom

    def dual_norm2(self, g):
        """<g, K g>."""
        return inner(g, self.kernel_dot(g))

    def kernel_dot(self, g):
        """K g, without the inverse of a sparse precision."""
        if self._kernel is not None:
            return self._kernel @ g
        if self._factor is None:
            self._factor = splu(sp.csc_matrix(self.precision))
        return self._factor.solve(np.ascontiguousarray(g))

    def inverse_metric(self, g):
        """The theta whose `metric` is g: K g."""
        return self.kernel_dot(g)

    def diagonal(self):
        """Omega of the unit vectors of theta."""
        return self.precision.diagonal()

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
        """A matrix P; Omega is the squared length of P theta."""
        A = self.precision
        A = A.toarray() if sp.issparse(A) else A
        return sp.csr_array(linalg.cholesky(A))

    def omega(self, W):
        """Omega(W)."""
        return float(np.vdot(W, self.precision @ W))


class ComposedForm(Form):
    r"""Some tasks are combinations of the others: W = M V, Omega(W) = Omega_free(V).

    The rows of V are the free tasks, and theta are the coordinates of their form.
    Intercepts follow the same rule.

    Parameters
    ----------
    base : ArrowForm or MatrixForm
        The form of the free tasks.
    mix : csr_array of shape (n_tasks, n_free)
        M; the row of a free task is a unit vector.
    free : ndarray of shape (n_free,), int
        Positions of the free tasks among all.
    """

    composed = True
    base = mix = None

    def __init__(self, base, mix, free):
        self.base, self.mix, self.free = base, sp.csr_array(mix), free
        self.n_tasks = self.mix.shape[0]
        self._back = self.mix.T.tocsr()

    def lift(self, theta):
        """W of theta."""
        return self.mix @ self.base.lift(theta)

    @property
    def pooled(self):
        """Whether the free tasks are all one."""
        return self.base.pooled

    def separates(self, intercept):
        """Never: intercepts follow the rules."""
        return False

    def untied(self):
        """The same rules, of free tasks that nothing ties."""
        return ComposedForm(self.base.untied(), self.mix, self.free)

    def solve_features(self, alpha, H):
        """Every free task with the rows in which it has a part: a preconditioner."""
        return self.base.solve_features(alpha, self.mix.multiply(self.mix).T @ H)

    def expand(self, own):
        """What all tasks have of what is given for the free ones, (n_free, ...)."""
        flat = self.mix @ own.reshape(len(own), -1)
        return flat.reshape(self.n_tasks, *own.shape[1:])

    def adjoint(self, G):
        """Gradient in theta of a function whose gradient in W is `G`."""
        return self.base.adjoint(self._back @ G)

    def metric(self, theta):
        """Half the gradient of Omega in theta."""
        return self.base.metric(theta)

    def inverse_metric(self, g):
        """The theta whose `metric` is g."""
        return self.base.inverse_metric(g)

    def diagonal(self):
        """Omega of the unit vectors of theta."""
        return self.base.diagonal()

    def dual_norm2(self, g):
        """max over theta of 2 <g, theta> - Omega(theta)."""
        return self.base.dual_norm2(g)

    def coordinates(self, W):
        """theta of the free tasks' rows of W."""
        return self.base.coordinates(W[self.free])

    def kernel(self):
        """Task kernel M K M' of shape (n_tasks, n_tasks)."""
        return self.mix @ (self.mix @ self.base.kernel()).T

    def lift_matrix(self):
        """`lift` as a matrix."""
        return (self.mix @ self.base.lift_matrix()).tocsr()

    def root(self):
        """A matrix P; Omega is the squared length of P theta."""
        return self.base.root()

    def intercept_map(self, intercept):
        """Intercepts of the tasks by the unpenalised unknowns, (n_tasks, n_free)."""
        own = self.base.intercept_map(intercept)
        terms = (abs(self.mix) @ abs(own)).tocsr()
        total = self.mix @ own
        # factors that cancel leave nothing, not rounding
        total = total.multiply(abs(total) > _CANCELLED * terms).tocsr()
        total.eliminate_zeros()
        return total

    def omega(self, W):
        """Omega(W); infinity where a composed row does not follow its rule."""
        V = W[self.free]
        if not np.allclose(self.mix @ V, W, rtol=1e-8, atol=1e-12):
            return np.inf
        return self.base.omega(V)
