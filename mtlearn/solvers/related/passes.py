"""Smooth loss + relation, of rows that are elsewhere: one pass over them is one step.

The rows are cut into pieces, by files or machines. What a Newton step needs of a piece
are, for each of its tasks, the gradient and the Hessian in the task's own coefficients
and intercept; they add up over the pieces. The objective, the certificate and the step
are those of `newton.py`.

A pass looks at one point: the end of the step that was just computed. Mostly that is
near enough to the minimum along the step, and the pass has already found what the next
step needs. Otherwise the search looks where slope and curvature say that it is, as
`newton.py` does: both go the same way, and end with the same numbers.
"""

from dataclasses import dataclass, replace

import numpy as np

from ...problem.forms import ArrowForm
from ...problem.losses import Softmax
from ...problem.solution import Solution, Status, goal
from ...problem.tasks import TaskData
from ...problem.threads import inner
from ..linesearch import find_step
from .coupled import coupled_solver
from .newton import Gradient, Problem, Unknowns, as_user, shift_intercepts
from .steps import RowHessians, block_step
from .sums import Look, NarrowRows, TaskSums

_NARROW = 16  # coefficients of a task up to which a pass is compiled as a whole
_ACCURACY = 0.1  # share of the slope that may be left at the end of a step


# ---------------------------------------------------------------- one piece


@dataclass(frozen=True, eq=False)
class Piece:
    """Some of the rows, in the order of their tasks.

    Attributes
    ----------
    data : TaskData
        Of the tasks that the rows are of; labels are numbers, or codes of classes.
    place : ndarray of shape (n_tasks,), int
        Which of all tasks they are, sorted.
    present : ndarray of shape (n_tasks, n_labels), bool, or None
        Classes of each task, by its rows in all pieces.
    """

    data: TaskData
    place: np.ndarray
    present: np.ndarray | None = None

    def sums(self, look, loss, intercept, signs=None):
        """What a pass brings back of these rows.

        Parameters
        ----------
        look : Look
        loss : object of `mtlearn.problem.losses`
        intercept : Intercepts
        signs : ndarray of shape (n_labels,), default=None
            -1 or +1 for each class.

        Returns
        -------
        TaskSums
        """
        data, place = self.data, self.place
        here = Look(look.coef[place], look.intercept[place])
        size = loss.n_scores * (data.n_features + intercept.present)
        if not len(place):
            G, H = np.zeros((0, size)), np.zeros((0, size, size))
            return TaskSums(0.0, place, G, H)
        if loss.n_scores == 1 and size <= _NARROW and not (data.wide or data.sparse):
            if signs is not None:
                data = data.relabel(signs[data.y.astype(np.intp)])
            rows = NarrowRows(data, loss, intercept.present, np.zeros(here.coef.shape))
            return replace(rows.sums(here), place=place)
        y = data.labels if signs is None else signs[data.labels.astype(np.intp)]
        return TaskSums(*self._wider(*here, y, loss, intercept))

    def _wider(self, W, b, y, loss, intercept):
        """The same by products of matrices: of many features, or several scores."""
        data = self.data
        if isinstance(loss, Softmax):
            loss = Softmax(loss.n_scores, self.present[data.task_of])
        apart, plain = (
            ArrowForm(data.n_tasks, 0.0, 1.0),
            replace(intercept, strength=1.0),
        )
        problem = Problem(data, loss, apart, 1.0, plain)
        value, g, h = loss.evaluate(y, problem.apply(W, b), data.weights)
        G, gb = problem.carry(g)
        if intercept.present and not intercept.shrunk:
            G = np.concatenate([G, gb], axis=1)
        rows = RowHessians(problem)
        rows.compare(problem, h)
        rows.refresh(np.ones(rows.n_tasks, dtype=np.bool_))
        return value, self.place, G, rows.full


# ---------------------------------------------------------------- all pieces


class Summed(Unknowns):
    """The problem as passes see it: what rows are asked for is known by task.

    Sums are in intercepts as they are; deviations of shrunken ones are in units.
    """

    def carry(self, sums):
        """Gradients of the tasks, (n_tasks, p), and those in intercepts."""
        G = sums.gradient
        gb = G[:, self.n_coef :]
        if not self.intercept.present:
            gb = np.zeros((len(G), self.q))
        return G[:, : self.p] * self._units[: self.p], gb

    def full(self, sums):
        """Hessians of the tasks in the unknowns' units."""
        units = self._units[: sums.hessian.shape[1]]
        return sums.hessian * units[:, None] * units

    @property
    def _units(self):
        units = np.ones(self.n_coef + self.q)
        if self.intercept.shrunk:
            units[self.n_coef :] = self.intercept.unit
        return units

    def intercept_curvature(self, sums):
        """H_bb, made definite."""
        H = sums.hessian[:, self.n_coef :, self.n_coef :]
        return self.corner(np.ascontiguousarray(H))

    def mixed(self, sums, shift):
        """Change of the gradient, (n_tasks, p), by a change of the intercepts."""
        H = sums.hessian[:, : self.p, self.n_coef :]
        moved = np.einsum("tpq,tq->tp", H, self.free.spread(shift))
        return moved * self._units[: self.p]

    def bend(self, sums, direction):
        """Second derivative of the objective along a direction."""
        W, b = self.model(direction)
        u = np.concatenate([W, b], axis=1) if self.intercept.present else W
        loss = inner(u, np.matmul(sums.hessian, u[:, :, None])[:, :, 0])
        return float(loss + 2.0 * self.penalty(direction))


def solve_by_passes(
    sweep,
    stand_in,
    loss,
    form,
    alpha,
    *,
    intercept,
    tol,
    max_iter,
    means=None,
    scale=None,
    start=None,
):
    """Minimise a smooth loss plus 1/2 alpha Omega(W) by passes over rows elsewhere.

    Parameters
    ----------
    sweep : callable
        From a `Look` to the `TaskSums` of all rows.
    stand_in : TaskData
        Rows with the classes that each task has.
    loss : object of `mtlearn.problem.losses`
    form, alpha, intercept, tol, max_iter
        As in `solve_newton`.
    means : ndarray of shape (n_tasks, n_features), default=None
        What was subtracted from the features of the rows.
    scale : float, default=None
        Objective that `tol` is relative to; by default that of the zero model.
    start : (coef, intercept), default=None
        Where to begin.

    Returns
    -------
    Solution
    """
    rows = Problem(stand_in, loss, form, alpha, intercept)
    q = rows.q
    if scale is None and start is not None:
        none = np.zeros((form.n_tasks, q * rows.d)), np.zeros((form.n_tasks, q))
        scale = sweep(Look(*none)).value
    if start is not None:
        start = shift_intercepts(start, means, 1.0, q)
    state = rows.start(*(start or ()))
    problem = Summed(form, alpha, intercept, q, rows.d)
    point = _look(problem, sweep, state)
    scale = point.value if scale is None else scale
    found = _iterate(problem, sweep, point, scale, tol, max_iter)
    state, value, bound, n_iter, status, history = found
    coef, b = shift_intercepts(problem.model(state), means, -1.0, q)
    certificate = bound / max(scale, 1e-300)
    coef, b = as_user(coef, b, problem)
    return Solution(coef, b, value, certificate, n_iter, status, history=history)


@dataclass(frozen=True, eq=False)
class _Point:
    """A state, and what a pass has found there."""

    state: object
    sums: TaskSums
    value: float
    gradient: Gradient
    bound: float


def _iterate(problem, sweep, point, scale, tol, max_iter):
    """Certify, step, look, until the certificate says enough."""
    solver = coupled_solver(problem.form, problem.alpha)
    history, status = [], Status.MAX_ITER
    for n_iter in range(max_iter + 1):
        history.append((point.value, point.bound / max(scale, 1e-300)))
        if point.bound <= goal(tol, scale, point.value):
            status = Status.CONVERGED
            break
        if n_iter == max_iter:
            break
        hessian = problem.full(point.sums)
        direction = block_step(solver, problem, point.gradient, hessian)
        after = _search(problem, sweep, point, direction)
        if after is None:
            status = Status.STALLED
            break
        point = after
    return point.state, point.value, point.bound, max(n_iter, 1), status, history


def _look(problem, sweep, state):
    """What a pass finds at a state."""
    sums = sweep(Look(*problem.model(state))).of_all(problem.form.n_tasks)
    gradient = Gradient(problem, state, sums, sums)
    value = sums.value + problem.penalty(state)
    return _Point(state, sums, value, gradient, gradient.bound(problem))


def _search(problem, sweep, point, direction):
    """About the minimum along a direction; None where the objective does not fall."""
    seen = {}

    def along(step):
        seen[step] = _look(problem, sweep, point.state.move(step, direction))
        slope = seen[step].gradient.slope(direction)
        return slope, problem.bend(seen[step].sums, direction)

    step = find_step(along, point.gradient.slope(direction), _ACCURACY)
    return seen.get(step)
