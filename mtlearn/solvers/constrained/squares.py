"""Smooth losses + relation + constraints: quadratics whose rows are short factors.

The squared loss is one quadratic. A margin loss is squared on the rows that are active
now: a semismooth Newton step is the same quadratic of those rows, and an exact search
along the line to its solution, which never leaves the constraints, goes on from there.

The certificate is a duality gap. With multipliers y of the constraints and r what is
left of the Lagrangian's gradient,

    objective - minimum <= sum |y| slack + 1/2 r' H^-1 r

for a quadratic of Hessian H; a margin loss has alpha Omega in place of H.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from ...problem.baseline import base_objective
from ...problem.losses import Squared
from ...problem.solution import Solution, Status, goal
from .active_set import Merged, remainder, solve_binding
from .balls import fits, polish, solve_balls, solve_close
from .conic import Infeasible, is_feasible, solve_conic
from .quadratic import SparseRows, Unknowns, factorise, unpenalised
from .structured import are_few, is_short

_OPEN = 1e-7  # share of the smallest curvature that stands in for no penalty at all
_PROXIMAL = 12  # most steps from there to none
_SETTLED = 1e-10  # what the last of them may change, relative to the zero model
_SEARCH_STEPS = 60


@dataclass(frozen=True)
class ConstrainedSolution(Solution):
    """A Solution with what the constraints cost.

    Attributes
    ----------
    prices : ndarray of shape (n_rows,)
        Derivative of the minimum by the limit of each row of the limits.
    tensions : ndarray of shape (n_balls,)
        Multipliers of the balls: minus the derivative by the radius.
    calls : list of list of ndarray
        Dual values of the callables.
    x : ndarray of shape (n_unknowns,) or None
        The unknowns themselves.
    """

    prices: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tensions: np.ndarray = field(default_factory=lambda: np.zeros(0))
    calls: list = field(default_factory=list)
    x: np.ndarray | None = None


def solve_constrained(
    data, loss, form, alpha, limits, *, intercept, tol, max_iter, options
):
    """Minimise a squared or piecewise squared loss + relation under constraints.

    Parameters
    ----------
    data : TaskData
    loss : object of `mtlearn.problem.losses`
        `Squared`, or one that is zero or a square, row by row.
    form : ArrowForm or MatrixForm
    alpha : float
        At least 0; greater than 0 unless the loss is `Squared`.
    limits : Limits
    intercept : Intercepts
    tol : float
        What the certificate must reach, relative to the best model without features.
    max_iter : int
    options : dict
        Keywords of cvxpy's ``Problem.solve``, where it is needed.

    Returns
    -------
    ConstrainedSolution

    Raises
    ------
    Infeasible
        If no coefficients obey the constraints.
    """
    if isinstance(loss, Squared):
        return _solve_squared(data, form, alpha, limits, intercept, tol, options)
    sparse = stay_sparse(data, form, limits)
    inner = Inner(form, intercept, data.n_features, alpha, limits, options, sparse)
    return solve_margins(inner, data, loss, tol, max_iter)


def _solve_squared(data, form, alpha, limits, intercept, tol, options):
    """One quadratic."""
    sparse = stay_sparse(data, form, limits)
    factors = SparseRows.from_data(data) if sparse else factorise(data)
    if alpha == 0 and factors.full and not limits.callables:
        form = unpenalised(form)
    problem = Inner(form, intercept, data.n_features, alpha, limits, options, sparse)
    point, open_bound = problem.solve(factors), 0.0
    if alpha == 0:
        point, open_bound = _without_penalty(problem, factors, point)
    quadratic, x = point.quadratic, point.x
    r, loose = problem.residual(point, quadratic.gradient(x))
    bound = loose + remainder(quadratic, point.system, r) + open_bound
    if limits.callables:
        bound = point.gap + open_bound
    coef, b = quadratic.model(x)
    omega = float(x @ (problem.unknowns.omega @ x))
    value = quadratic.loss(x) + 0.5 * alpha * omega
    certificate = bound / max(factors.zero, 1e-300)
    enough = bound <= goal(tol, factors.zero, value)
    status = Status.CONVERGED if enough else Status.STALLED
    return problem.solution(point, coef, b, value, certificate, point.n_iter, status)


def _without_penalty(problem, factors, point):
    """Proximal steps from the solution with a very small penalty to one without.

    The first solution is nearly that of smallest Omega among them, and what the small
    penalty takes from the loss is gone after a step or two (Rockafellar, SIAM J.
    Control and Optimization 14, 1976). Also returns how far the loss may be from its
    minimum.
    """
    omega, alpha = problem.unknowns.omega, problem.strength(factors)
    before, bound = np.zeros(len(point.x)), np.inf
    for _ in range(_PROXIMAL):
        step, size = point.x - before, float(point.x @ (omega @ point.x))
        bound = 2.0 * alpha * np.sqrt(max(float(step @ (omega @ step)) * size, 0.0))
        if bound <= _SETTLED * factors.zero:
            break
        before = point.x
        point = problem.solve(factors, anchor=before)
    return point, bound


def stay_sparse(data, form, limits):
    """Whether rows are sparse, and too few beside the unknowns to be made short.

    Parameters
    ----------
    data : TaskData
    form : ArrowForm or MatrixForm
    limits : Limits

    Returns
    -------
    sparse : bool
    """
    few = are_few(len(data.labels), form.n_tasks, data.n_features)
    return few and data.sparse and limits.plain


# ---------------------------------------------------------------- one quadratic


@dataclass(frozen=True)
class _Point:
    """The solution of one quadratic, with the constraints' multipliers."""

    quadratic: object
    x: np.ndarray
    multipliers: np.ndarray
    tensions: np.ndarray
    calls: list
    n_iter: int
    system: object = None
    gap: float = 0.0


class Inner:
    """Quadratics of one form under the same constraints, one after the other."""

    def __init__(
        self,
        form,
        intercept,
        n_features,
        alpha,
        limits,
        options,
        sparse=False,
        explicit=False,
    ):
        explicit = explicit or bool(limits.callables) or sparse
        self.sparse = sparse
        self.form, self.alpha, self.limits = form, alpha, limits
        self.intercept = intercept
        self.options = options
        self.unknowns = Unknowns(form, intercept, n_features, explicit)
        self.C = (limits.rows @ self.unknowns.lift).tocsr()
        self.balls = (limits.balls @ self.unknowns.lift).tocsr()
        self.centre = (limits.centre @ self.unknowns.lift).tocsr()
        self.merged = Merged(self.C, limits.lower, limits.upper)
        if len(self.merged.empty):
            raise Infeasible
        self.state = self.tensions = None

    def factors(self, data):
        """Rows in the shape in which `solve` wants them."""
        return SparseRows.from_data(data) if self.sparse else factorise(data)

    def strength(self, factors):
        """alpha, or what stands in for none."""
        if self.alpha > 0:
            return self.alpha
        square = factors.squares
        square = square[square > 0]
        return _OPEN * square.min(initial=1.0) if len(square) else 1.0

    def solve(self, factors, b=None, x=None, anchor=None, slope=None):
        """Minimise one quadratic; `b`, `x` of before where nothing determines them.

        Omega is that of the distance from `anchor`, if there is one; `slope` the
        gradient of a linear term.
        """
        alpha = self.strength(factors)
        linear = None if slope is None else -slope
        if anchor is not None:
            linear = alpha * (self.unknowns.omega @ anchor)
        quadratic = self.unknowns.quadratic(factors, alpha, b, x, linear)
        if self.limits.plain:
            return self._solve_rows(quadratic)
        if not self.limits.callables:
            point = self._solve_balls(quadratic)
            if point is not None:
                return point
        answer = solve_conic(
            self.unknowns, factors, alpha, self.limits, self.options, linear
        )
        point = _Point(
            quadratic,
            answer.x,
            answer.multipliers,
            answer.tensions,
            answer.calls,
            1,
            gap=answer.gap,
        )
        if self.limits.callables:
            return point
        return self._polish(point)

    def _solve_rows(self, quadratic):
        """Linear constraints: exactly."""
        merged = self.merged
        binding = solve_binding(
            quadratic, merged.C, merged.lower, merged.upper, self.state
        )
        if not binding.optimal and not is_feasible(
            merged.C, merged.lower, merged.upper
        ):
            raise Infeasible
        self.state = binding.state
        return _Point(
            quadratic,
            binding.x,
            merged.spread(binding.multipliers),
            np.zeros(0),
            [],
            binding.n_iter,
            binding.system,
        )

    def _solve_balls(self, quadratic):
        """Linear constraints and balls, without a conic solver; None if that failed."""
        merged, radius = self.merged, self.limits.radius
        small = fits(quadratic, merged)
        if not small and not is_short(quadratic, merged.C):
            return self._solve_close(quadratic)
        balls = self.dense_balls()
        found = solve_balls(
            quadratic, merged, balls, radius, self.state, self.tensions, small
        )
        if found is None:
            self.state = self.tensions = None
            if not is_feasible(merged.C, merged.lower, merged.upper):
                raise Infeasible
            return None
        x, multipliers, self.tensions, self.state, n_iter = found
        return _Point(
            quadratic, x, merged.spread(multipliers), self.tensions, [], n_iter
        )

    def _solve_close(self, quadratic):
        """Very many tasks near their centre, and nothing else; None if that failed."""
        if self.merged.C.shape[0]:
            return None
        balls, radius = self.balls, self.limits.radius
        found = solve_close(quadratic, balls, self.centre, radius, self.tensions)
        self.tensions = None if found is None else found[1]
        if found is None:
            return None
        x, tensions, n_iter = found
        none = np.zeros(len(self.limits.lower))
        return _Point(quadratic, x, none, tensions, [], n_iter)

    def dense_balls(self):
        """The balls with their centre at zero."""
        n = len(self.limits.radius)
        return (self.balls - sp.kron(np.ones((n, 1)), self.centre)).tocsr()

    def _polish(self, point):
        """Newton steps on the optimality conditions, where they improve the gap."""
        merged, limits = self.merged, self.limits
        if not fits(point.quadratic, merged):
            return point
        better = polish(
            point.quadratic,
            merged,
            self.dense_balls(),
            limits.radius,
            point.x,
            merged.gather(point.multipliers),
            point.tensions,
        )
        if better is None:
            return point
        x, multipliers, tensions = better
        return replace(
            point, x=x, multipliers=merged.spread(multipliers), tensions=tensions
        )

    def residual(self, point, gradient):
        """Gradient of the Lagrangian, and sum |y| slack."""
        x, y = point.x, point.multipliers
        reach = self.C @ x
        with np.errstate(invalid="ignore"):
            slack = np.where(
                y > 0, self.limits.upper - reach, reach - self.limits.lower
            )
        loose = float(np.abs(y)[y != 0] @ np.maximum(slack[y != 0], 0.0))
        r = gradient + self.C.T @ y
        if self.limits.callables:
            return gradient, 0.0
        if len(point.tensions):
            parts = (self.balls @ x).reshape(len(point.tensions), -1) - self.centre @ x
            length = np.linalg.norm(parts, axis=1)
            loose += float(
                point.tensions @ np.maximum(self.limits.radius - length, 0.0)
            )
            ways = parts / np.where(length > 0, length, 1.0)[:, None]
            ways *= point.tensions[:, None]
            r = r + self.balls.T @ ways.ravel() - self.centre.T @ ways.sum(axis=0)
        return r, loose

    def solution(
        self, point, coef, b, value, certificate, n_iter, status, history=(), x=None
    ):
        """Pack an answer."""
        return ConstrainedSolution(
            coef,
            b,
            value,
            certificate,
            n_iter,
            status,
            history=list(history) or [(value, certificate)],
            prices=0.0 - point.multipliers,
            tensions=point.tensions,
            calls=point.calls,
            x=point.x if x is None else x,
        )


# ---------------------------------------------------------------- margin losses


def solve_margins(inner, data, loss, tol, max_iter):
    """Quadratics of the active rows, and exact searches on the way to their minima.

    Parameters
    ----------
    inner : Inner
    data : TaskData
    loss : object of `mtlearn.problem.losses`
    tol : float
    max_iter : int

    Returns
    -------
    ConstrainedSolution
    """
    y, weight = data.labels, data.weights
    zero = loss.value(y, np.zeros(len(y)), weight)
    scale = base_objective(data, loss, inner.form, inner.intercept, zero)
    point = inner.solve(inner.factors(weighted(data, y, weight)))
    x, (coef, b) = point.x, point.quadratic.model(point.x)
    z, history, status = data.forward(coef, b), [], Status.MAX_ITER
    model, whole, stuck = weight * (z - y), True, False
    for _ in range(max_iter):
        # 1) value, gradient, certificate
        value, g, h = loss.evaluate(y, z, weight)
        omega = inner.unknowns.omega @ x
        value += 0.5 * inner.alpha * float(x @ omega)
        here = replace(point, x=x)
        if not inner.limits.callables:
            bound = _bound(inner, data, here, inner.alpha * omega, g, h)
        else:
            # the solver's gap, and the loss's gradient less the quadratic's, X'(g - m)
            bound = point.gap if whole else np.inf
            bound += _bound(inner, data, here, 0.0 * omega, g - model, h)
        history.append((value, bound / max(scale, 1e-300)))
        if bound <= goal(tol, scale, value):
            status = Status.CONVERGED
            break
        # 2) the minimum of the rows that are active now
        aims = z - g / np.where(h > 0, h, 1.0)
        point = inner.solve(inner.factors(weighted(data, aims, h)), b, x)
        ahead, (coef_ahead, b_ahead) = point.x, point.quadratic.model(point.x)
        dz = data.forward(coef_ahead, b_ahead) - z
        step = search(inner, loss, y, z, dz, weight, x, ahead - x, 1e-6)
        if step == 0.0:
            if stuck:
                status = Status.STALLED
                break
            # here up to rounding: the quadratic's own solution has its certificate
            stuck, step = True, 1.0
        x, b = x + step * (ahead - x), b + step * (b_ahead - b)
        coef = coef + step * (coef_ahead - coef)
        z = data.forward(coef, b)
        model, whole = h * (z - aims), step == 1.0
    value, certificate = history[-1]
    return inner.solution(
        point, coef, b, value, certificate, len(history), status, history, x
    )


def weighted(data, aims, curvature):
    """The same rows as a squared loss towards `aims`, weighted by their curvature."""
    shape = data.y.shape
    at = (data.rows, data.task_of) if data.wide else data.rows
    y, weight = np.full(shape, np.nan if data.wide else 0.0), np.zeros(shape)
    y[at], weight[at] = aims, curvature
    return replace(data, y=y, sample_weight=weight, task_weight=None, _shared={})


def _bound(inner, data, point, slope, g, h):
    """Distance from the minimum, at most: intercepts out, then Omega's own metric.

    `slope` is the part of the gradient in the unknowns that no row has.
    """
    unknowns, form = inner.unknowns, inner.form
    B = unknowns.maps
    G, gb = data.adjoint(g), data.sums(g)
    free, shift = B.T @ gb, np.zeros(B.shape[1])
    if B.shape[1]:
        corner = (B.T @ sp.diags_array(data.sums(h)) @ B).tocsc()
        level = corner.diagonal()
        # where active rows determine nothing there is no gradient either
        empty = level <= 1e-14 * level.max(initial=0.0)
        lift = np.where(empty, 1.0, 1e-13 * level)
        corner = corner + sp.diags_array(lift)
        shift = np.atleast_1d(spsolve(sp.csc_matrix(corner), free))
        u = h * np.repeat(B @ shift, data.sizes)
        G, gb = G - data.adjoint(u), gb - data.sums(u)
    full, loose = inner.residual(point, slope)
    r = unknowns.gradient(G, gb) + full
    norm2 = form.dual_norm2(unknowns.full_theta(r[: unknowns.n_theta]))
    return loose + norm2 / (2 * inner.alpha) + 0.5 * float(free @ shift)


def search(inner, loss, y, z, dz, weight, x, dx, accuracy):
    """Minimise along the line within [0, 1]; 0 where it does not descend."""
    omega = inner.unknowns.omega @ dx
    first, second = inner.alpha * float(x @ omega), inner.alpha * float(dx @ omega)

    def slope(step):
        _, bend, curve = loss.along(y, z, dz, weight, step)
        return bend + first + step * second, curve + second

    start = slope(0.0)[0]
    if not start < 0:
        return 0.0
    if slope(1.0)[0] <= accuracy * abs(start):
        return 1.0
    low, high, step = 0.0, 1.0, 0.5
    for _ in range(_SEARCH_STEPS):
        here, curve = slope(step)
        if abs(here) <= accuracy * abs(start) or high - low <= 1e-14:
            break
        low, high = (step, high) if here < 0 else (low, step)
        step -= here / curve if curve > 0 else 0.0
        if not low < step < high:
            step = 0.5 * (low + high)
    return step
