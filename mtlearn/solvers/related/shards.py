"""Squared loss + common and private parts, where the tasks are on several machines.

The tasks are cut into shards, and the moments of a shard are in one place. There every
task is eliminated from the arrowhead system; what is left for the common part and a
common intercept is a matrix of the size of the features, the Schur complement, and a
vector. Those add up and are solved once; then every shard finds its own coefficients.
Two passes over the shards, of which the second certifies as `squared.py` does.
"""

from dataclasses import dataclass, replace

import numpy as np

from ...problem.forms import ArrowForm
from ...problem.solution import Solution, Status, goal
from ..linalg import factor_spd, solve_spd
from .coupled import ArrowSolver
from .squared import COLLINEAR, from_extended, normal_equations


@dataclass(frozen=True)
class Ties:
    """What all shards are told: the relation, its strength, the intercepts.

    Attributes
    ----------
    shared, private : float
        Of `ArrowForm`.
    alpha : float
    intercept : Intercepts
    """

    shared: float
    private: float
    alpha: float
    intercept: object

    def system(self, moments):
        """Blocks and sides of a shard, and a solver that has eliminated its tasks."""
        form = ArrowForm(moments.n_tasks, self.shared, self.private)
        blocks, target, border_target = normal_equations(moments, self.intercept)
        solver = ArrowSolver(form, self.alpha)
        head = solver.eliminate(blocks)
        return form, blocks, target, border_target, solver, head


@dataclass(frozen=True, eq=False)
class Head:
    """What is left of a shard when its tasks are eliminated.

    Attributes
    ----------
    matrix : ndarray of shape (p + q, p + q) or None
        Without the alpha on the diagonal of the common part.
    side : ndarray of shape (p + q,)
    pivot : float
        The smallest, squared and relative, that was met.
    base : float
        Objective of the best model without features.
    """

    matrix: np.ndarray | None
    side: np.ndarray
    pivot: float
    base: float

    @classmethod
    def of(cls, moments, ties):
        """Eliminate the tasks of a shard."""
        form, blocks, target, border_target, solver, matrix = ties.system(moments)
        _, side = solver.forward(form.adjoint(target), border_target)
        if matrix is not None:
            p = blocks.p
            matrix[:p, :p] -= ties.alpha * np.eye(p)
        # targets come without their levels: the best model without features is zero
        return cls(matrix, side, solver.pivot, moments.zero_objective)

    @classmethod
    def add(cls, parts):
        """What is left of several shards."""
        matrices = [part.matrix for part in parts if part.matrix is not None]
        return cls(
            sum(matrices) if matrices else None,
            sum(part.side for part in parts),
            min(part.pivot for part in parts),
            sum(part.base for part in parts),
        )


@dataclass(frozen=True, eq=False)
class Tail:
    """The coefficients of a shard, and how good they are.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    loss : float
    size : float
        Squared length of the private parts.
    slope : float
        The same of the objective's gradient in them.
    left : ndarray of shape (p,)
        Residual of the normal equations, summed over the tasks.
    short : ndarray of shape (q,)
        That of the border, without the right-hand side.
    border : ndarray of shape (p, q)
        Mixed derivatives, summed over the tasks.
    width : float
        Squared length of those.
    corner : ndarray of shape (q, q)
    target : ndarray of shape (q,)
    """

    coef: np.ndarray
    intercept: np.ndarray
    loss: float
    size: float
    slope: float
    left: np.ndarray
    short: np.ndarray
    border: np.ndarray
    width: float
    corner: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, moments, ties, head):
        """Find the coefficients of a shard's tasks from the common unknowns."""
        form, blocks, target, border_target, solver, _ = ties.system(moments)
        theta, _ = solver.forward(form.adjoint(target), border_target)
        theta, beta = solver.back(theta, head)
        W = form.lift(theta)
        border, corner = blocks.each(blocks.border), blocks.each(blocks.corner)
        left = target - blocks.dot(blocks.hessian, W) - border @ beta
        slope = ties.private * left - ties.alpha * theta[1:]
        coef, b = from_extended(moments, W, beta, ties.intercept)
        return cls(
            coef,
            b,
            moments.objective(coef, b),
            float(np.vdot(theta[1:], theta[1:])),
            float(np.vdot(slope, slope)),
            left.sum(axis=0),
            np.einsum("tpq,tp->q", border, W),
            border.sum(axis=0),
            float(np.vdot(border, border)),
            corner.sum(axis=0),
            border_target,
        )

    @classmethod
    def add(cls, parts):
        """Several shards, one after the other."""
        total = {
            name: sum(getattr(part, name) for part in parts)
            for name in cls.__dataclass_fields__
            if name not in ("coef", "intercept")
        }
        for name in ("coef", "intercept"):
            total[name] = np.concatenate([getattr(part, name) for part in parts])
        return cls(**total)


def solve_shards(heads, tails, ties, p, tol):
    """Minimise the squared loss plus 1/2 alpha Omega(W) over tasks in shards.

    Parameters
    ----------
    heads : callable
        Returns the `Head` of all shards.
    tails : callable
        From the common unknowns to the `Tail` of all shards.
    ties : Ties
        Its alpha is greater than 0.
    p : int
        Penalised unknowns of a task.
    tol : float
        As in `solve_moments`.

    Returns
    -------
    Solution
        Its status is STALLED where the moments have lost the answer.
    """
    alpha, head = ties.alpha, heads()
    common, pivot = np.zeros(len(head.side)), head.pivot
    if head.matrix is not None:
        matrix = head.matrix.copy()
        matrix[:p, :p] += alpha * np.eye(p)
        factor = factor_spd(matrix)
        common = solve_spd(factor, head.side)
        if ties.private == 0:
            cholesky = factor[1]
            lowest = 0.0 if cholesky is None else float(np.diag(cholesky).min())
            pivot = lowest * lowest
    tail = tails(common)
    value = tail.loss + 0.5 * alpha * (tail.size + float(common[:p] @ common[:p]))
    bound = _bound(tail, ties, common, p)
    sound = pivot >= COLLINEAR and bound <= goal(tol, head.base, value)
    status = Status.CONVERGED if sound else Status.STALLED
    certificate = bound / max(head.base, 1e-300)
    history = [(value, certificate)]
    return Solution(
        tail.coef, tail.intercept, value, certificate, 1, status, history=history
    )


def _bound(tail, ties, common, p):
    """Distance from the minimum, at most, as in `newton.py`; border terms apart."""
    alpha, a, b = ties.alpha, ties.shared, ties.private
    first = a * tail.left - alpha * common[:p]
    squares = float(first @ first) + tail.slope
    short = tail.target - tail.short - tail.corner @ common[p:]
    if not len(short) or not np.any(short):
        return squares / (2 * alpha)
    shift = np.linalg.solve(tail.corner, short)
    pulled = a * (tail.border @ shift)
    # |u - v|^2 is at most 2 |u|^2 + 2 |v|^2
    moved = float(pulled @ pulled) + b * b * tail.width * float(shift @ shift)
    return (squares + moved) / alpha + 0.5 * float(short @ shift)


def shard_of(moments, where, level, scale):
    """The tasks of a shard that take part, without the levels of their targets.

    Parameters
    ----------
    moments : Moments
    where : ndarray of shape (n_tasks,), int
        Their places among all tasks that take part, -1 for none.
    level : ndarray of shape (n_part,)
    scale : ndarray of shape (n_part,) or None
        Task weights.
    """
    moments = moments.only(where >= 0)
    where = where[where >= 0]
    weight = np.ones(len(where)) if scale is None else scale[where]
    return replace(moments.lowered(level[where]), scale=weight)
