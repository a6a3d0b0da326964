"""What is left to a conic solver, by cvxpy: callables, and where other ways do not end.

A squared loss comes as short factors, never as rows, and all its numbers are
parameters: problems of the same structure (a grid of strengths, the folds of a
cross-validation) are compiled once and kept in a small cache.
"""

import hashlib
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from ...constraints import call
from .quadratic import diagonal_blocks

_KEPT = 8  # compiled problems in the cache
_MANY = 300  # most tasks of a problem that is compiled for later
_TABLE = 100_000_000  # the same for squares of the sizes of parameters: bytes, nearly
_BY_TASK = ("R", "mean")  # numbers that are a parameter per task
# Tolerances of Clarabel: what it aims at, and what it may settle for; then once more,
# with shorter steps towards the boundary of the cones
_CLARABEL = (
    {"aim": 1e-11, "settle": 1e-8, "max_step_fraction": 0.99},
    {"aim": 1e-9, "settle": 1e-6, "max_step_fraction": 0.95},
)


class Infeasible(Exception):
    """No coefficients obey all constraints; the estimators say which."""


class Unbounded(Exception):
    """The objective falls without end."""


class Failed(Exception):
    """The conic solver has no answer; the message is what it says itself."""


@dataclass(frozen=True)
class Limits:
    """All constraints of a fit, over the flattened W of the tasks that take part.

    lower <= rows @ vec(W) <= upper; the parts of balls @ vec(W) within `radius` of
    centre @ vec(W); callables see spread @ W and spread_b @ b + level.

    Attributes
    ----------
    rows : csr_array of shape (n_rows, n_tasks * n_features)
    lower, upper : ndarray of shape (n_rows,)
    balls : csr_array of shape (n_balls * n_features, n_tasks * n_features)
    centre : csr_array of shape (n_features, n_tasks * n_features), or no rows
    radius : ndarray of shape (n_balls,)
    callables : list
    spread, spread_b : csr_array of shape (n_all_tasks, n_tasks)
    level : ndarray of shape (n_all_tasks,) or float
    """

    rows: sp.csr_array
    lower: np.ndarray
    upper: np.ndarray
    balls: sp.csr_array
    centre: sp.csr_array
    radius: np.ndarray
    callables: list
    spread: sp.csr_array
    spread_b: sp.csr_array
    level: np.ndarray | float = 0.0

    @property
    def plain(self):
        """Whether rows are all there is."""
        return not len(self.radius) and not self.callables

    def called(self, W, b):
        """The constraints that each callable makes of expressions W and b."""
        W, b = self.spread @ W, self.spread_b @ b + self.level
        return [call(one, W, b) for one in self.callables]


@dataclass(frozen=True)
class Answer:
    """What the conic solver said.

    Attributes
    ----------
    x : ndarray of shape (n_unknowns,)
    multipliers : ndarray of shape (n_rows,)
        Positive at an upper limit, negative at a lower one.
    tensions : ndarray of shape (n_balls,)
        Multipliers of the balls, at least 0.
    calls : list of list of ndarray
        cvxpy's dual values of every callable.
    gap : float
        The solver's own duality gap, where it tells.
    """

    x: np.ndarray
    multipliers: np.ndarray
    tensions: np.ndarray
    calls: list
    gap: float


# ---------------------------------------------------------------- squared losses


def solve_conic(unknowns, factors, alpha, limits, options, linear=None):
    """Minimise a squared loss plus 1/2 alpha Omega under any constraints.

    Parameters
    ----------
    unknowns : Unknowns
    factors : Factors
    alpha : float
    limits : Limits
    options : dict
        Keywords of ``Problem.solve``.
    linear : ndarray of shape (n_unknowns,), default=None
        What is subtracted is its product with the unknowns.

    Returns
    -------
    Answer

    Raises
    ------
    Infeasible, Unbounded, Failed
    """
    numbers = _Numbers(unknowns, factors, alpha, limits, linear)
    R = numbers.values["R"]
    table = len(R) * float(R[:1].size) ** 2
    if limits.callables or unknowns.n_tasks > _MANY or table > _TABLE:
        program = _Program(unknowns, limits, numbers, fixed=True)
        program.add_callables(limits, numbers)
        return program.solve(numbers, options)
    key = _key(unknowns, limits, numbers)
    program = CACHE.take(key)
    if program is None:
        program = CACHE.count(_Program(unknowns, limits, numbers, fixed=False))
    try:
        return program.solve(numbers, options)
    finally:
        CACHE.put(key, program)


def is_feasible(C, lower, upper):
    """Whether some x has lower <= C x <= upper, by linear programming."""
    fixed = lower == upper
    above, below = ~fixed & np.isfinite(upper), ~fixed & np.isfinite(lower)
    A = sp.vstack([C[above], -C[below]])
    found = linprog(
        np.zeros(C.shape[1]),
        A_ub=sp.csc_matrix(A),
        b_ub=np.concatenate([upper[above], -lower[below]]),
        A_eq=sp.csc_matrix(C[fixed]),
        b_eq=lower[fixed],
        bounds=(None, None),
        method="highs",
    )
    return found.status != 2


def solve_rows(system, lower, upper):
    """Minimise a quadratic under linear constraints too degenerate for a guess.

    Parameters
    ----------
    system : object with F, g, Q, c, C
        1/2 |F x - g|^2 + 1/2 x' Q x - c' x, of unknowns with curvature near one.
    lower, upper : ndarray of shape (n_rows,)
        Limits of C x.

    Returns
    -------
    (x, multipliers) or None
        None where the solver failed.
    """
    import cvxpy as cp

    level = max(np.linalg.norm(system.g), np.abs(system.c).max(initial=0.0), 1e-300)
    x = cp.Variable(len(system.c))
    loss = cp.sum_squares(system.F @ x - system.g / level)
    bend = cp.quad_form(x, cp.psd_wrap(system.Q))
    goal = cp.Minimize(0.5 * (loss + bend) - system.c @ x / level)
    rows = _Rows(system.C, lower, upper, x)
    rows.set(lower / level, upper / level)
    try:
        run(cp.Problem(goal, rows.constraints), {})
    except (Infeasible, Unbounded, Failed):
        return None
    return level * x.value, level * rows.duals()


def is_possible(unknowns, limits):
    """Whether any coefficients obey all constraints.

    Parameters
    ----------
    unknowns : Unknowns
        With every intercept among them.
    limits : Limits

    Returns
    -------
    possible : bool
    """
    rows = limits.rows @ unknowns.lift
    possible = is_feasible(rows, limits.lower, limits.upper)
    if limits.plain or not possible:
        return possible
    import cvxpy as cp

    model = _Model(unknowns)
    flat = cp.reshape(model.V, (unknowns.n_tasks * unknowns.d,), order="C")
    demands = _Demands(limits, flat, limits.radius)
    demands.set(limits.lower, limits.upper)
    calls = chain.from_iterable(limits.called(model.V, model.intercepts(1.0)))
    try:
        run(cp.Problem(cp.Minimize(0), [*demands.constraints, *calls]), {})
    except Infeasible:
        return False
    except Failed:
        # nobody knows
        return True
    return True


class _Cache:
    """The last few compiled problems by their structure; one is in use only once."""

    def __init__(self):
        self.kept, self.n_compiled = OrderedDict(), 0

    def take(self, key):
        """A compiled problem of this structure, or None; it leaves the cache."""
        return self.kept.pop(key, None)

    def put(self, key, program):
        """Keep a problem, and let the oldest go."""
        self.kept[key] = program
        while len(self.kept) > _KEPT:
            self.kept.popitem(last=False)

    def count(self, program):
        """Count a new problem."""
        self.n_compiled += 1
        return program


CACHE = _Cache()


class _Numbers:
    """All numbers of a problem in units in which they are near one."""

    def __init__(self, unknowns, factors, alpha, limits, linear):
        T, d = unknowns.n_tasks, unknowns.d
        root = np.sqrt(factors.weight)
        R = root[:, None, None] * factors.R[factors.group]
        r = root[:, None] * factors.r
        if R.shape[1] < d and T * d * d <= 1_000_000:
            # the same shape whatever the rank of the rows
            short = d - R.shape[1]
            R = np.pad(R, ((0, 0), (0, short), (0, 0)))
            r = np.pad(r, ((0, 0), (0, short)))
        mass, mean = np.sqrt(factors.mass), factors.mean[factors.group]
        if unknowns.centred:
            mass = np.zeros(T)
        top = mass[:, None] * mean
        square = np.einsum("tqj,tqj->j", R, R) + np.einsum("tj,tj->j", top, top)
        unit = np.sqrt(square + alpha)
        self.unit = np.where(unit > 0, unit, 1.0)
        self.level = np.sqrt(2.0 * factors.zero) if factors.zero > 0 else 1.0
        spread = np.sqrt(factors.mass.sum() + alpha)
        self.b_unit = spread if spread > 0 else 1.0
        units = np.append(self.unit, self.b_unit)[: unknowns.p]
        n_theta, n_beta = unknowns.L.shape[1], unknowns.B.shape[1]
        every = np.append(np.tile(units, n_theta), np.full(n_beta, self.b_unit))
        linear = (np.zeros(len(every)) if linear is None else linear) / every
        self.level = max(self.level, np.abs(linear).max(initial=0.0))
        self.values = {
            "R": R / self.unit,
            "r": r.ravel() / self.level,
            "mean": top / self.unit,
            "mass": mass / self.b_unit,
            "target": mass * factors.y_mean / self.level,
            "penalty": np.sqrt(alpha) / units,
            "unit": 1.0 / self.unit,
            "lower": limits.lower / self.level,
            "upper": limits.upper / self.level,
            "radius": limits.radius / self.level,
        }
        self.units = units
        self.values["linear"] = linear / self.level


def _key(unknowns, limits, numbers):
    """What a compiled problem depends on: shapes and constant matrices."""
    text = hashlib.sha256()
    fixed = limits.lower == limits.upper
    parts = (
        *_arrays(unknowns.L, unknowns.root, unknowns.B),
        *_arrays(limits.rows, limits.balls, limits.centre),
        fixed,
        np.isfinite(limits.lower),
        np.isfinite(limits.upper),
    )
    for part in parts:
        part = np.ascontiguousarray(part)
        text.update(f"{part.shape}{part.dtype}".encode())
        text.update(part.tobytes())
    shapes = numbers.values["R"].shape, unknowns.p, unknowns.centred
    kinds = unknowns.shrunk, unknowns.unit
    return (*shapes, *kinds, limits.radius.shape, text.hexdigest())


def _arrays(*matrices):
    for matrix in matrices:
        yield from (matrix.data, matrix.indices, matrix.indptr)


class _Program:
    """A cvxpy problem in which all numbers of the data are parameters.

    Where it will not be used again (callables, very many tasks) they are constants.
    """

    def __init__(self, unknowns, limits, numbers, fixed):
        import cvxpy as cp

        self.model, self.parameters = _Model(unknowns), {}
        T, d = unknowns.n_tasks, unknowns.d
        get = dict(numbers.values)
        if not fixed:
            self.parameters = {
                name: [cp.Parameter(one.shape) for one in value]
                if name in _BY_TASK
                else cp.Parameter(value.shape)
                for name, value in numbers.values.items()
                if name not in ("lower", "upper") and value.size
            }
            get |= self.parameters
        # parameters one task at a time: cvxpy's tables grow with their square
        parts = self._residuals(unknowns, get, fixed)
        parts.append(self.model.omega @ cp.diag(get["penalty"]))
        squares = 0.5 * sum(cp.sum_squares(part) for part in parts)
        self.goal = cp.Minimize(squares - get["linear"] @ self.model.x)
        W = self.model.V @ cp.diag(get["unit"])
        W = cp.reshape(W, (T * d,), order="C")
        self.demands = _Demands(limits, W, get.get("radius"))
        self.calls = []
        self.problem = cp.Problem(self.goal, self.demands.constraints)

    def _residuals(self, unknowns, get, fixed):
        """What is squared: by the short factors, and by the means if not out."""
        import cvxpy as cp

        V, b, parts = self.model.V, self.model.b, []
        flat = cp.reshape(V, (V.size,), order="C")
        if len(get["R"]) and get["R"][0].size:
            if fixed:
                each = diagonal_blocks(get["R"]) @ flat
            else:
                each = cp.hstack([R @ V[t] for t, R in enumerate(get["R"])])
            parts.append(each - get["r"])
        if not unknowns.centred:
            if fixed:
                score = diagonal_blocks(get["mean"][:, None, :]) @ flat
            else:
                score = cp.hstack([m @ V[t] for t, m in enumerate(get["mean"])])
            if b is not None:
                score = score + cp.multiply(get["mass"], b)
            parts.append(score - get["target"])
        return parts

    def add_callables(self, limits, numbers):
        """Let the callables speak, in the user's units."""
        import cvxpy as cp

        W = cp.multiply(self.model.V, numbers.level / numbers.unit[None, :])
        b = self.model.intercepts(numbers.level / numbers.b_unit)
        self.calls = limits.called(W, b)
        every = [*self.demands.constraints, *chain.from_iterable(self.calls)]
        self.problem = cp.Problem(self.goal, every)

    def solve(self, numbers, options):
        """Put the numbers in, solve, and read the answer in the user's units."""
        for name, parameter in self.parameters.items():
            value = numbers.values[name]
            if name in _BY_TASK:
                for own, part in zip(parameter, value, strict=True):
                    own.value = part
            else:
                parameter.value = value
        self.demands.set(numbers.values["lower"], numbers.values["upper"])
        gap = run(self.problem, options)
        level = numbers.level
        x = self.model.read(level / numbers.units, level / numbers.b_unit)
        multipliers, tensions = self.demands.duals()
        calls = _dual_values(self.calls, level**2)
        multipliers, tensions = multipliers * level, tensions * level
        return Answer(x, multipliers, tensions, calls, gap * level**2)


class _Model:
    """Variables of cvxpy for the unknowns, in units near one, and what they make."""

    def __init__(self, unknowns):
        import cvxpy as cp

        self.unknowns = unknowns
        k, p, d = unknowns.L.shape[1], unknowns.p, unknowns.d
        self.theta = cp.Variable((k, p))
        Z = unknowns.L @ self.theta
        self.V, self.omega = Z[:, :d], unknowns.root @ self.theta
        self.beta = cp.Variable(unknowns.B.shape[1]) if unknowns.B.shape[1] else None
        self.b = unknowns.unit * Z[:, d] if unknowns.shrunk else None
        self.x = cp.reshape(self.theta, (k * p,), order="C")
        if self.beta is not None:
            self.x = cp.hstack([self.x, self.beta])
            own = unknowns.B @ self.beta
            self.b = own if self.b is None else self.b + own

    def intercepts(self, factor):
        """The intercepts in the user's units, zero where there are none."""
        import cvxpy as cp

        if self.b is None:
            return cp.Constant(np.zeros(self.unknowns.n_tasks))
        return factor * self.b

    def read(self, units, b_unit):
        """The unknowns as a flat array, times their units."""
        theta = (self.theta.value * units).ravel()
        if self.beta is None:
            return theta
        return np.concatenate([theta, self.beta.value * b_unit])


class _Rows:
    """lower <= C x <= upper as cvxpy constraints, with limits that may change."""

    def __init__(self, C, lower, upper, x):
        import cvxpy as cp

        differ, self.n_rows = lower != upper, len(lower)
        self.constraints, self.limits = [], []
        for sign, chosen in (
            (0, ~differ),
            (1, differ & np.isfinite(upper)),
            (-1, differ & np.isfinite(lower)),
        ):
            rows = np.flatnonzero(chosen)
            if len(rows):
                bound, reach = cp.Parameter(len(rows)), C[rows] @ x
                one = reach == bound if sign == 0 else sign * (bound - reach) >= 0
                self.constraints.append(one)
                self.limits.append((sign, rows, bound))

    def set(self, lower, upper):
        """Limits as numbers."""
        for sign, rows, bound in self.limits:
            bound.value = (lower if sign < 0 else upper)[rows]

    def duals(self):
        """Multipliers of the rows, positive at an upper limit."""
        multipliers = np.zeros(self.n_rows)
        for one, (sign, rows, _) in zip(self.constraints, self.limits, strict=True):
            multipliers[rows] += (sign or 1) * np.atleast_1d(one.dual_value)
        return multipliers


class _Demands:
    """Rows between limits and balls, as cvxpy constraints."""

    def __init__(self, limits, W, radius):
        import cvxpy as cp

        self.rows = _Rows(limits.rows, limits.lower, limits.upper, W)
        self.set, self.n_balls = self.rows.set, len(limits.radius)
        self.constraints = list(self.rows.constraints)
        if self.n_balls:
            # with the centre as a variable of its own the cones stay sparse
            centre = cp.Variable((1, limits.centre.shape[0]))
            width = limits.balls.shape[0] // self.n_balls
            parts = cp.reshape(limits.balls @ W, (self.n_balls, width), order="C")
            parts = parts - np.ones((self.n_balls, 1)) @ centre
            self.constraints.append(centre[0] == limits.centre @ W)
            self.constraints.append(cp.norm(parts, 2, axis=1) <= radius)

    def duals(self):
        """Multipliers of the rows, signed, and of the balls."""
        tensions = np.zeros(self.n_balls)
        if self.n_balls:
            tensions += np.atleast_1d(self.constraints[-1].dual_value)
        return self.rows.duals(), tensions


def _dual_values(calls, factor):
    """Dual values of what each callable demands, times a factor."""
    return [[np.asarray(c.dual_value, float) * factor for c in own] for own in calls]


def run(problem, options):
    """Solve a cvxpy problem, or say why not.

    Returns
    -------
    gap : float
        What the solver leaves of the duality gap, as it says itself.
    """
    import cvxpy as cp

    attempts, told = list(_settings(options)), ""
    for settings, aim, settle in attempts:
        with warnings.catch_warnings():
            # the certificate tells how accurate it is
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            try:
                value = problem.solve(**settings)
            except cp.SolverError as error:
                told = str(error).strip().splitlines()[0].rstrip(".")
                continue
        status = problem.status
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            raise Infeasible
        if status in (cp.UNBOUNDED, cp.UNBOUNDED_INACCURATE):
            raise Unbounded
        if status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            reached = aim if status == cp.OPTIMAL else settle
            return _told_gap(problem, reached * max(1.0, abs(value)))
        told = f"status {status!r}"
    raise Failed(told)


def _settings(options):
    """Yield keywords of ``Problem.solve`` and the accuracies that they stand for."""
    if options.get("solver", "CLARABEL") != "CLARABEL":
        yield dict(options), 1e-8, 1e-5
        return
    for one in _CLARABEL:
        own = {"solver": "CLARABEL", "max_iter": 300}
        own["max_step_fraction"] = one["max_step_fraction"]
        for name in ("gap_abs", "gap_rel", "feas"):
            own[f"tol_{name}"] = one["aim"]
            own[f"reduced_tol_{name}"] = one["settle"]
        yield own | options, 10.0 * one["aim"], one["settle"]


def _told_gap(problem, gap):
    """The duality gap that a solver reports, or the given one."""
    stats = problem.solver_stats.extra_stats
    told = stats.get("info", {}).get("gap") if isinstance(stats, dict) else None
    return gap if told is None else abs(float(told))
