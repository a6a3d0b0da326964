"""Kernel machines: decomposition of the box dual, and its exact end.

    minimise  1/2 beta' G beta + 1/2 sum diagonal beta^2 - sum linear beta
              + sum width |beta|    over   lower <= beta <= upper,

beta summing to zero for every unpenalised intercept. A working set of a few hundred
observations is chosen by how much they violate the optimality conditions, solved in
cache by steps in pairs, and its change is carried to all others at once: the Gram
matrix is read once for hundreds of steps. Where few observations still change between
free and fixed, and solving for the free is cheaper than going on, `finish` ends it. The
certificate is the duality gap at the best intercepts, divided by the objective without
features.

Joachims, T., Making large-scale SVM learning practical, Advances in Kernel Methods,
1999. Fan, R.-E., Chen, P.-H. and Lin, C.-J., Working set selection using second order
information for training support vector machines, JMLR 6, 2005.
"""

from dataclasses import dataclass, field

import numpy as np

from ...problem.solution import Solution, Status, goal
from ..margins.envelope import excess
from ..margins.gap import Gap, duality_gap, zero_objective
from .finish import finish
from .working_set import descend_alone, descend_pairs, violations

WORKING_SET = 256
_KEEP = 0.5  # share of a working set that may stay in the next
_INNER = 0.1  # violation at which a working set is left, relative to the outer one
_STEPS = 20  # most steps in a working set, per observation in it
_PASSES = 10  # passes that one step of `max_iter` stands for
_LOOK = 8  # working sets between two looks at the gap
# what a number costs, in nanoseconds: in a factorisation, in a pass over rows of the
# Gram matrix, picked out of it, in a step of a working set, and in choosing one
_SOLVE, _PASS, _PICK, _STEP, _CHOICE = 0.03, 0.45, 6.0, 3.5, 100.0
_AGAIN = 5  # passes of the exact end over the free rows
_NEAR = 0.1  # share of the first gap at which the free observations may be known
_RIPE = 0.3  # fixed ones that want to be free, relative to the free
_TRIES = 0.8  # factorisations that the end takes
_CHEAP = 3e6  # nanoseconds that an exact end is worth in any case
_TINY = 1e-15  # violations below this share of the slopes are rounding


@dataclass
class BoxProblem:
    """A box dual with its Gram matrix, and what the iteration knows of it.

    Attributes
    ----------
    gram : LongGram or WideGram
    dual : BoxDual
    group : ndarray of shape (n,), int64
        Intercept of each observation, -1 without.
    n_groups : int
    """

    gram: object
    dual: object
    group: np.ndarray
    n_groups: int
    order: np.ndarray = field(init=False)
    starts: np.ndarray = field(init=False)

    def __post_init__(self):
        self.order = np.argsort(self.group, kind="stable")
        groups = np.arange(self.n_groups + 1)
        self.starts = np.searchsorted(self.group[self.order], groups)

    @property
    def n(self):
        """Number of observations."""
        return len(self.group)

    def gap(self, beta, f):
        """Primal value, duality gap and best intercepts."""
        return duality_gap(self.dual, beta, f, self.order, self.starts)


@dataclass
class BoxPoint:
    """Where the iteration is: beta, and f = G beta."""

    beta: np.ndarray
    f: np.ndarray


def solve_box(problem, tol, max_iter, scale, point=None):
    """Minimise a box dual whose intercepts belong to groups.

    Parameters
    ----------
    problem : BoxProblem
    tol, scale : float
        The gap is compared with what `goal` makes of them.
    max_iter : int
        Most steps, of ten passes each: a pass is as many working sets as have room for
        all observations.
    point : BoxPoint, default=None
        Where to begin, changed in place; zero by default.

    Returns
    -------
    point : BoxPoint
    found : Gap
    n_iter : int
    status : Status
    history : list of (objective, certificate)
    """
    if point is None:
        point = BoxPoint(np.zeros(problem.n), np.zeros(problem.n))
    sets = _WorkingSets(problem)
    per_step = _PASSES * -(-problem.n // sets.size)
    history, status = [], Status.MAX_ITER
    for n_sets in range(per_step * max_iter + 1):
        worst = sets.look(point)
        due = n_sets % _LOOK == 0 or n_sets == per_step * max_iter
        if due or worst <= sets.settled:
            found = problem.gap(point.beta, point.f)
            history.append((found.value, found.gap / scale))
            aim = goal(tol, scale, found.value)
            sets.note(point, found, aim)
            if found.gap <= aim:
                status = Status.CONVERGED
                if sets.end_is_cheap and finish(problem, point):
                    found = problem.gap(point.beta, point.f)
                break
            if worst <= _TINY * sets.size_of_slopes:
                status = Status.STALLED
                break
            # the gap falls about as fast as the violation
            sets.settled = worst * max(0.1, min(0.5, aim / found.gap))
            if sets.end_is_near and finish(problem, point):
                sets.ended = True
                continue
        if n_sets == per_step * max_iter:
            break
        sets.improve(point)
    n_iter = max(1, -(-n_sets // per_step))
    return point, found, n_iter, status, history


class _WorkingSets:
    """Chooses working sets and solves them."""

    def __init__(self, problem):
        n, self.problem = problem.n, problem
        self.size = min(n, WORKING_SET, problem.gram.at_once)
        self.rise, self.fall = np.empty(n), np.empty(n)
        self.low = np.empty(problem.n_groups)
        self.high = np.empty(problem.n_groups)
        curvature = np.maximum(problem.gram.diagonal, 0.0) + problem.dual.diagonal
        if problem.n_groups:
            # a pair's curvature is that of both: a tiny one alone means little
            curvature += curvature.mean()
        self.weight = 1.0 / np.sqrt(np.maximum(curvature, 1e-300))
        self.previous = np.empty(0, dtype=np.int64)
        self.settled, self.worst = 0.0, np.inf
        self.size_of_slopes = float(np.abs(problem.dual.linear).max() + 1e-300)
        self.spent, self.near = 0.0, _NEAR
        self.gap = self.first = self.aim = np.nan
        self.ripe, self.cost, self.ended = False, np.inf, False

    def look(self, point):
        """Measure the violations; returns the largest."""
        p = self.problem
        self.worst = violations(
            p.dual,
            point.beta,
            point.f,
            p.group,
            self.low,
            self.high,
            self.rise,
            self.fall,
        )
        return self.worst

    def note(self, point, found, aim):
        """Note how fast the gap falls, and what the exact end would cost."""
        if np.isnan(self.first):
            self.first = found.gap
        self.gap, self.aim = found.gap, aim
        p, dual, beta = self.problem, self.problem.dual, point.beta
        inside = (beta > dual.lower) & (beta < dual.upper) & (beta != 0.0)
        slope = point.f + dual.diagonal * beta - dual.linear
        slope += np.append(found.b, 0.0)[p.group]
        out = np.abs(slope) > dual.width + 1e-6 * self.size_of_slopes
        wrong = (beta == 0.0) & out & (np.where(slope < 0, dual.upper, dual.lower) != 0)
        wrong |= (beta == dual.upper) & (beta != 0.0) & (slope + dual.width > 0.0)
        wrong |= (beta == dual.lower) & (beta != 0.0) & (slope - dual.width < 0.0)
        n_free, n_wrong = np.count_nonzero(inside), np.count_nonzero(wrong)
        self.ripe = n_wrong <= _RIPE * n_free + 8
        n_free += n_wrong
        self.cost = _SOLVE * n_free**3 / 3 + _AGAIN * _PASS * n_free * p.n
        if n_free > p.gram.at_once:
            self.cost = np.inf

    @property
    def end_is_cheap(self):
        """Whether an exact end is worth it although the gap is small enough."""
        return not self.ended and self.cost <= _CHEAP

    @property
    def end_is_near(self):
        """Whether solving for the free costs less than more working sets."""
        near = self.ripe and self.gap < self.near * self.first
        if not near or not np.isfinite(self.cost):
            return False
        decades = np.log10(self.first / self.gap)
        rest = self.spent * np.log10(self.gap / self.aim) / decades
        if rest < _TRIES * self.cost and self.cost > _CHEAP:
            return False
        self.near = 0.1 * self.gap / self.first
        return True

    def improve(self, point):
        """Choose a working set, solve it, carry its change to all observations."""
        p, dual = self.problem, self.problem.dual
        rows = self._choose(point.beta)
        sub = p.gram.sub(rows)
        sub[np.diag_indices(len(rows))] += dual.diagonal[rows]
        beta = point.beta[rows]
        g = point.f[rows] + dual.diagonal[rows] * beta - dual.linear[rows]
        box = dual.lower[rows], dual.upper[rows], dual.width[rows]
        eps, most = _INNER * self.worst, max(_STEPS * len(rows), 2000)
        starts = np.searchsorted(p.group[rows], np.arange(p.n_groups + 1))
        done = self._descend_alone(starts[0], sub, beta, g, box, eps, most)
        if starts[0] < len(rows):
            starts = np.unique(starts)
            done += descend_pairs(sub, beta, g, *box, starts, eps, most)
        change = beta - point.beta[rows]
        moved = np.flatnonzero(change)
        p.gram.push(rows[moved], change[moved], point.f)
        point.beta[rows] = beta
        self.spent += len(rows) * (_PASS * p.n + _PICK * len(rows) + _STEP * done)
        self.spent += _CHOICE * p.n

    def _descend_alone(self, n_loose, sub, beta, g, box, eps, most):
        """Steps in the first `n_loose`, which are in no group; returns how many."""
        if n_loose == 0:
            return 0
        if n_loose == len(beta):
            return descend_alone(sub, beta, g, *box, eps, most)
        own, slope = beta[:n_loose].copy(), g[:n_loose].copy()
        inner = np.ascontiguousarray(sub[:n_loose, :n_loose])
        box = tuple(edge[:n_loose] for edge in box)
        done = descend_alone(inner, own, slope, *box, eps, most)
        g += sub[:, :n_loose] @ (own - beta[:n_loose])
        beta[:n_loose] = own
        return done

    def _choose(self, beta):
        """Violators that want up and down, beside free members of the last set."""
        dual, n = self.problem.dual, self.problem.n
        if self.size == n:
            return self.problem.order
        last = self.previous
        free = (beta[last] > dual.lower[last]) & (beta[last] < dual.upper[last])
        stay = last[free][: int(_KEEP * self.size)]
        chosen = np.zeros(n, dtype=bool)
        chosen[stay] = True
        room = (self.size - len(stay)) // 2
        for wish in (self.rise, self.fall):
            gain = self.weight * wish
            gain[stay] = -np.inf
            first = np.argpartition(gain, n - room)[n - room :]
            chosen[first[gain[first] > 0.0]] = True
        rows = np.flatnonzero(chosen)
        chosen[stay] = False
        self.previous = np.concatenate([np.flatnonzero(chosen), stay])
        if self.problem.n_groups:
            rows = rows[np.argsort(self.problem.group[rows], kind="stable")]
        return rows


# ---------------------------------------------------------------- intercepts


def solve_kernel_dual(
    make_gram, dual, task_of, form, intercept, *, tol, max_iter, base=None
):
    """Fit a kernel machine under a relation.

    Parameters
    ----------
    make_gram : callable
        From E of shape (n_tasks, n_tasks), what is added to the Gram matrix by task,
        and from units (n_tasks,), by which rows and columns of each task are divided
        then, to a `LongGram` or `WideGram`.
    dual : BoxDual
    task_of : ndarray of shape (n,)
    form : ArrowForm or MatrixForm, or any with `kernel` and `intercept_map`
    intercept : Intercepts
    tol : float
        Duality gap at which to stop, relative to `base` (and to the objective itself
        where that is much smaller).
    max_iter : int
        Most steps of ten passes over the observations.
    base : float, default=None
        The objective without features; by default that of the zero model.

    Returns
    -------
    Solution
        Its dual has one number per observation; there are no coefficients.
    """
    K = form.kernel()
    E = intercept.square * K
    ends = form.intercept_map(intercept).tocsr()
    zero = max(zero_objective(dual), 1e-300)
    scale = zero if base is None else max(base, 1e-300)
    given, dual = dual, _bounded(dual, zero)
    here = np.unique(task_of)
    solve = _solve_grouped
    if np.any(np.diff(ends[here].indptr) > 1):
        solve = _solve_mixed
    point, found, n_iter, status, history = solve(
        make_gram, dual, task_of, E, ends.toarray(), tol, max_iter, scale
    )
    if np.any(np.abs(point.beta) >= _bound(given, zero)):
        # only a kernel that is not positive definite gets there
        value, gap = excess(given, point.f + (ends @ found.b)[task_of], point.beta)
        found = Gap(value + 0.5 * float(point.beta @ point.f), gap, found.b)
        status = Status.STALLED
    diagonal = make_gram(E, np.ones(len(E))).diagonal
    blind = _rounding(diagonal, given, point.beta) > scale
    if blind or (status is not Status.CONVERGED and found.value > scale):
        # kernel values without a digit left of what tells the rows apart
        point, found = _without_features(dual, task_of, ends)
        status = Status.STALLED
    b = ends @ found.b
    if intercept.shrunk:
        b = b + E @ np.bincount(task_of, weights=point.beta, minlength=len(K))
    return Solution(
        None,
        b,
        found.value,
        found.gap / scale,
        n_iter,
        status,
        dual=point.beta,
        history=history,
    )


def _rounding(diagonal, dual, beta):
    """About what the rounding of the scores G beta may change in the loss."""
    root = np.sqrt(np.maximum(diagonal, 0.0))
    noise = np.finfo(float).eps * root * float(root @ np.abs(beta))
    kinked = dual.diagonal == 0.0
    slopes = np.where(kinked, np.maximum(dual.upper, -dual.lower), np.abs(beta))
    return float(noise @ slopes)


def _without_features(dual, task_of, ends):
    """The best intercepts alone, with the gap to the dual at zero."""
    zeros = np.zeros(len(task_of))
    group = np.zeros(len(task_of), dtype=np.int64)
    plain = ends.shape[1] and np.all(np.diff(ends.indptr) == 1)
    if not plain or np.any(ends.data != 1.0):
        found = duality_gap(dual, zeros, zeros, group, np.zeros(1, dtype=np.int64))
        return BoxPoint(zeros, zeros), found._replace(b=np.zeros(ends.shape[1]))
    group = ends.indices[task_of].astype(np.int64)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(ends.shape[1] + 1))
    return BoxPoint(zeros, zeros), duality_gap(dual, zeros, zeros, order, starts)


def _bound(dual, scale):
    """What no |beta| of a squared loss exceeds where the Gram matrix is definite.

    Its own loss, beta^2 diagonal / 2, is below the objective of the zero model; twice
    that leaves room.
    """
    with np.errstate(divide="ignore"):
        return 2.0 * np.sqrt(2.0 * scale / dual.diagonal)


def _bounded(dual, scale):
    """The same problem with a finite box, so that it has a solution for any kernel."""
    bound = _bound(dual, scale)
    return dual._replace(
        lower=np.maximum(dual.lower, -bound), upper=np.minimum(dual.upper, bound)
    )


def _solve_grouped(make_gram, dual, task_of, E, ends, tol, max_iter, scale):
    """Intercepts of which every task has one, times a factor of its own, or none.

    In units of that factor the beta of every intercept sum to zero.
    """
    known = ends != 0.0
    group = np.where(known.any(axis=1), known.argmax(axis=1), -1) if known.size else -1
    group = np.broadcast_to(group, len(E))[task_of].astype(np.int64)
    unit = np.where(known, ends, 0.0).sum(axis=1)
    unit[unit == 0.0] = 1.0
    own = unit[task_of]
    ends_of_box = np.sort([own * dual.lower, own * dual.upper], axis=0)
    scaled = dual._replace(
        lower=ends_of_box[0],
        upper=ends_of_box[1],
        diagonal=dual.diagonal / own**2,
        linear=dual.linear / own,
        width=dual.width / np.abs(own),
    )
    problem = BoxProblem(make_gram(E, unit), scaled, group, ends.shape[1])
    point, *rest = solve_box(problem, tol, max_iter, scale)
    return BoxPoint(point.beta / own, point.f * own), *rest


_ROUNDS = 100  # most rounds of the method of multipliers
_HELD = 10.0  # how strongly a round holds sums at zero, relative to the kernel


def _solve_mixed(make_gram, dual, task_of, E, ends, tol, max_iter, scale):
    """Intercepts that are combinations of unknowns: the method of multipliers.

    A round minimises without groups, with half of a weight times the squared sums
    added; the sums then move the intercepts (Bertsekas, 1982). A lower bound of the
    minimum needs to know how large the unknowns are: twice what was found is assumed.
    """
    n_tasks = len(E)
    spread = np.square(ends).sum(axis=1)[task_of].mean()
    plain = np.ones(n_tasks)
    weight = _HELD * make_gram(E, plain).diagonal.mean() / max(spread, 1e-300)
    gram = make_gram(E + weight * (ends @ ends.T), plain)
    group = np.full(len(task_of), -1, dtype=np.int64)
    b, point, n_iter, history = np.zeros(ends.shape[1]), None, 0, []
    unit = float(np.abs(dual.linear).max())
    for _ in range(_ROUNDS):
        shifted = dual._replace(linear=dual.linear - (ends @ b)[task_of])
        problem = BoxProblem(gram, shifted, group, 0)
        left = max(max_iter - n_iter, 1)
        point, found, n, status, _ = solve_box(problem, 0.5 * tol, left, scale, point)
        n_iter += n
        sums = ends.T @ np.bincount(task_of, weights=point.beta, minlength=n_tasks)
        # f holds the weight: without it, and with the intercepts moved, z is the same
        b = b + weight * sums
        open_sums = float(np.abs(sums) @ (np.abs(b) + unit))
        value = found.value - 0.5 * weight * float(sums @ sums)
        history.append((value, (found.gap + open_sums) / scale))
        if status is not Status.CONVERGED or n_iter >= max_iter:
            break
        if found.gap + open_sums <= goal(tol, scale, value):
            return point, Gap(value, found.gap + open_sums, b), n_iter, status, history
    status = Status.MAX_ITER if status is Status.CONVERGED else status
    return point, Gap(value, found.gap + open_sums, b), n_iter, status, history
