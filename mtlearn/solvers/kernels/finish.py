"""The exact end of a box dual: which beta are free is guessed, solved for, corrected.

If the free observations were known, a linear system would give their beta and the
intercepts,

    (G + diagonal) beta + b = linear - width sign(beta)   on the free,
    sum of beta = 0   in every group.

Beta that leave their box by it are fixed at its edge, fixed ones whose slope pulls them
inside become free; when nothing changes, all optimality conditions hold. That takes a
handful of rounds from a point of moderate accuracy. One Cholesky factor serves them
all: what has changed since borders it (a Schur complement).

Hintermueller, M., Ito, K. and Kunisch, K., The primal-dual active set strategy as a
semismooth Newton method, SIAM Journal on Optimization 13, 2002.
"""

import warnings

import numpy as np
from scipy import linalg

from .working_set import violations

_ROUNDS = 20
# of the mean diagonal, by precision of the factor: equal rows are no obstacle
_JITTER = {np.float32: 1e-6, np.float64: 1e-11}
_SHRINK = 0.7  # changes of a round, relative to the last, above which it leads nowhere
_EDGE = 1e-11  # slopes and excesses below this share of their scale are rounding
_LAST = 1e-13  # misses that are as good as none
# misses, by precision of the factor, that do where solving again makes nothing better
_ACCEPT = {np.float32: 1e-11, np.float64: 1e-8}
_ROUGH = 1e-3  # misses after which single precision is given up
_BORDER = 0.1  # changes, relative to the free, from which a new factor is cheaper


def finish(problem, point):
    """Solve a box dual exactly from a point near its solution.

    Parameters
    ----------
    problem : BoxProblem
    point : BoxPoint
        Changed only if the solution was found.

    Returns
    -------
    done : bool
    """
    state = _ActiveSet(problem, point)
    before, missed = problem.n, np.inf
    for _ in range(_ROUNDS):
        if not np.any(state.free) or not state.solve():
            return False
        if not state.miss() <= _ROUGH and state.sharpen():
            continue
        changed = state.correct()
        if changed == 0:
            last, missed = missed, state.miss()
            slow = missed > 0.5 * last
            if missed <= _LAST or (slow and missed <= state.allowed):
                point.beta, point.f = state.beta, state.f
                return True
            if slow and not state.sharpen():
                return False
            continue
        if changed < 0 or changed > max(_SHRINK * before, 8):
            return False
        before = changed
    return False


class _ActiveSet:
    """Which beta are free, on which side of zero, and where the others are fixed.

    Attributes
    ----------
    beta, f : ndarray of shape (n,)
        A point, and G beta.
    free : ndarray of shape (n,), bool
    low, high : ndarray of shape (n,)
        Edges of each beta's box; on the side of zero where it is, if that matters.
    side : ndarray of shape (n,)
        Slope of |beta|.
    """

    def __init__(self, problem, point):
        dual = problem.dual
        self.problem, self.dual = problem, dual
        self.beta, self.f = point.beta.copy(), point.f.copy()
        self.low, self.high = dual.lower.copy(), dual.upper.copy()
        self.side = np.zeros(problem.n)
        bent = dual.width > 0.0
        self._take_side(np.flatnonzero(bent & (self.beta > 0.0)), 1.0)
        self._take_side(np.flatnonzero(bent & (self.beta < 0.0)), -1.0)
        inside = (self.beta > self.low) & (self.beta < self.high)
        self.free = inside & ~(bent & (self.beta == 0.0))
        self.factor, self.precision = None, np.float32
        self.b = np.zeros(problem.n_groups)
        self.size = _EDGE * max(np.abs(self.beta).max(initial=0.0), 1e-300)
        self.flat = _EDGE * float(np.abs(dual.linear).max(initial=0.0) + 1e-300)

    def _take_side(self, rows, side):
        """Let |beta| be beta or -beta."""
        dual = self.dual
        self.side[rows] = side
        self.low[rows] = 0.0 if side > 0 else dual.lower[rows]
        self.high[rows] = dual.upper[rows] if side > 0 else 0.0

    def _ends(self, rows, groups):
        """Indicator of the groups, (len(rows), len(groups))."""
        return (self.problem.group[rows][:, None] == groups).astype(np.float64)

    # ------------------------------------------------------------ the linear system

    def solve(self):
        """Move beta, f and b to the solution for the present guess.

        Returns
        -------
        done : bool
            Whether the matrix was definite.
        """
        free = np.flatnonzero(self.free)
        changed = self._changed() if self.factor is not None else None
        if changed is None or len(changed) > max(32, _BORDER * len(free)):
            if not self._factorise(free):
                return False
            changed = self._changed()
        p, dual = self.problem, self.dual
        groups = np.unique(p.group[free])
        groups = groups[groups >= 0]
        slope = self.f + dual.diagonal * self.beta + dual.width * self.side
        b = np.nan_to_num(self.b)
        # only what is new is solved for, and errs by digits of that
        aim = dual.linear - slope - np.append(b, 0.0)[p.group]
        sums = self._sums(self.beta)
        step, own = self._bordered(changed, groups, aim, -sums[groups])
        if step is None and len(changed) and self._factorise(free):
            # what left may have made the old matrix regular: without it, start anew
            step, own = self._bordered(changed[:0], groups, aim, -sums[groups])
        if step is None:
            return False
        if not np.all(np.isfinite(step)):
            return self.sharpen() and self.solve()
        rows = np.flatnonzero(step)
        p.gram.push(rows, step[rows], self.f)
        self.beta += step
        self.b = np.full(p.n_groups, np.nan)
        self.b[groups] = b[groups] + own
        return True

    def _sums(self, values):
        """Sums by group; who is in none comes first and is left out."""
        p = self.problem
        return np.bincount(p.group + 1, values, minlength=p.n_groups + 1)[1:]

    def miss(self):
        """How far sums are from zero and slopes of the free from their intercepts.

        Relative; of a matrix that is nearly singular the first solution has few digits,
        and solving once more, from there, adds some.
        """
        dual, free = self.dual, self.free
        level = np.maximum(self._sums(np.abs(self.beta)), 1e-300)
        off = np.max(np.abs(self._sums(self.beta)) / level, initial=0.0)
        slope = self.f + dual.diagonal * self.beta + dual.width * self.side
        slope += np.append(self.b, 0.0)[self.problem.group] - dual.linear
        top = _EDGE * np.abs(slope[free]).max(initial=0.0) / self.flat
        return max(off, top)

    def _factorise(self, free):
        """Factor of the free block, to be bordered from now on.

        In single precision at first: what its solutions miss, those after them add.
        """
        while not self._cholesky(free):
            if not self.sharpen():
                return False
        self.base = free
        self.place = np.full(self.problem.n, -1)
        self.place[free] = np.arange(len(free))
        self.columns, self.cornered = {}, None
        return True

    def _cholesky(self, free):
        """Factor of the free block; whether it is definite in this precision."""
        # what is too large for single precision is not definite there
        with np.errstate(over="ignore", invalid="ignore"):
            H = self.problem.gram.below(free, self.precision)
            diagonal = np.diag_indices(len(free))
            H[diagonal] += self.dual.diagonal[free].astype(self.precision)
            H[diagonal] += _JITTER[self.precision] * np.abs(H[diagonal]).mean()
        if not np.all(np.isfinite(H[diagonal])):
            return False
        try:
            # of the transpose, which is in the order of columns: nothing is copied
            self.factor = linalg.cho_factor(
                H.T, lower=False, overwrite_a=True, check_finite=False
            )
        except linalg.LinAlgError:
            return False
        return True

    @property
    def allowed(self):
        """What may be missed at the end."""
        return _ACCEPT[self.precision]

    def sharpen(self):
        """Factorise in double precision from now on; whether that is something new."""
        new = self.precision is np.float32
        self.precision, self.factor = np.float64, None
        return new

    def _apart(self, right):
        """Solution for the factorised block."""
        with np.errstate(over="ignore"):
            right = right.astype(self.precision, order="F")
        found = linalg.cho_solve(
            self.factor, right, overwrite_b=True, check_finite=False
        )
        return found.astype(np.float64, copy=False)

    def _changed(self):
        """Observations that are free now and were not, or the other way round."""
        return np.flatnonzero(self.free != (self.place >= 0))

    def _borders(self, changed, groups):
        """Borders and solved borders, (len(base), n_borders) each.

        A border is a row of the Gram matrix for who became free, a unit vector for who
        is so no more, an indicator for a group. What is there already is not solved
        for again.
        """
        keys = [*changed.tolist(), *(-1 - groups).tolist()]
        fresh = np.array([k for k in keys if k not in self.columns], dtype=np.int64)
        if len(fresh):
            new = np.zeros((len(self.base), len(fresh)))
            own = np.where(fresh >= 0, self.place[fresh], 0)
            entered = np.flatnonzero((fresh >= 0) & (own < 0))
            new[:, entered] = self.problem.gram.block(fresh[entered], self.base).T
            left = np.flatnonzero((fresh >= 0) & (own >= 0))
            new[own[left], left] = 1.0
            ends = np.flatnonzero(fresh < 0)
            new[:, ends] = self._ends(self.base, -1 - fresh[ends])
            solved = self._apart(new)
            pairs = zip(new.T, solved.T, strict=True)
            self.columns.update(zip(fresh.tolist(), pairs, strict=True))
        if not keys:
            return np.empty((len(self.base), 0)), np.empty((len(self.base), 0))
        pairs = [self.columns[key] for key in keys]
        return tuple(np.column_stack(part) for part in zip(*pairs, strict=True))

    def _corner(self, changed, groups):
        """Borders, solved borders and factor of what they leave of the corner.

        The same as last time where the same rows have changed: then it is only the
        right side that is new.
        """
        keys = changed.tobytes(), groups.tobytes()
        if self.cornered is not None and self.cornered[0] == keys:
            return self.cornered[1:]
        n_changed = len(changed)
        U, V = self._borders(changed, groups)
        where = np.flatnonzero(self.place[changed] < 0)
        added = changed[where]
        corner = np.zeros((U.shape[1], U.shape[1]))
        block = self.problem.gram.block(added, added)
        block[np.diag_indices(len(added))] += self.dual.diagonal[added]
        corner[np.ix_(where, where)] = block
        ends = self._ends(added, groups)
        corner[where, n_changed:] = ends
        corner[n_changed:, where] = ends.T
        corner -= U.T @ V
        with warnings.catch_warnings():
            # one that is singular has a zero in its factor
            warnings.simplefilter("ignore", linalg.LinAlgWarning)
            factor = linalg.lu_factor(corner, overwrite_a=True, check_finite=False)
        self.cornered = keys, V, U.T, factor
        return self.cornered[1:]

    def _bordered(self, changed, groups, aim, sums):
        """Step of the free beta, and intercepts of the groups."""
        base, n_changed = self.base, len(changed)
        aim = np.where(self.free, aim, 0.0)
        plain = self._apart(aim[base])
        step = np.zeros(self.problem.n)
        own = np.empty(0)
        if n_changed + len(groups):
            V, across, factor = self._corner(changed, groups)
            where = np.flatnonzero(self.place[changed] < 0)
            right = np.zeros(len(across))
            right[where] = aim[changed[where]]
            right[n_changed:] = sums
            if not np.all(np.diag(factor[0])):
                return None, own
            found = linalg.lu_solve(factor, right - across @ plain, check_finite=False)
            plain = plain - V @ found
            step[changed[where]], own = found[where], found[n_changed:]
        step[base] = plain
        step[changed[self.place[changed] >= 0]] = 0.0
        return step, own

    # ------------------------------------------------------------ the guess

    def correct(self):
        """Fix what left its box, free what pulls inside.

        Returns
        -------
        changed : int
            How many; -1 where a group has lost its last free member.
        """
        p = self.problem
        under = self.free & (self.beta < self.low - self.size)
        over = self.free & (self.beta > self.high + self.size)
        pulled, side = self._pulled()
        out = np.flatnonzero(under | over)
        target = np.where(under, self.low, self.high)[out]
        lost = set(p.group[out].tolist()) - {-1}
        p.gram.push(out, target - self.beta[out], self.f)
        # the rest stays inside to the last digit
        self.beta = np.clip(self.beta, self.low, self.high)
        self.free[out] = False
        bent = out[(self.dual.width[out] > 0.0) & (self.beta[out] == 0.0)]
        self.side[bent] = 0.0
        for one in (1.0, -1.0):
            # only who leaves zero chooses a side
            rows = pulled[(side == one) & (self.beta[pulled] == 0.0)]
            self._take_side(rows[self.dual.width[rows] > 0.0], one)
        self.free[pulled] = True
        alive = set(p.group[self.free].tolist()) if lost else lost
        return -1 if lost - alive else len(out) + len(pulled)

    def _pulled(self):
        """Fixed observations with a slope into their box, and its direction."""
        p, dual, beta = self.problem, self.dual, self.beta
        slope = self.f + dual.diagonal * beta - dual.linear
        slope += np.append(self._intercepts(), 0.0)[p.group]
        rise = slope + np.where(beta >= 0.0, dual.width, -dual.width)
        fall = slope + np.where(beta > 0.0, dual.width, -dual.width)
        up = ~self.free & (beta < dual.upper) & (rise < -self.flat)
        down = ~self.free & (beta > dual.lower) & (fall > self.flat)
        pulled = np.flatnonzero(up | down)
        return pulled, np.where(up, 1.0, -1.0)[pulled]

    def _intercepts(self):
        """Solved intercepts; of groups without free members any that suits them."""
        p, shut = self.problem, np.isnan(self.b)
        if not shut.any():
            return self.b
        rise, fall = np.empty(p.n), np.empty(p.n)
        low, high = np.empty(p.n_groups), np.empty(p.n_groups)
        violations(self.dual, self.beta, self.f, p.group, low, high, rise, fall)
        low = np.where(np.isfinite(low), low, high)
        high = np.where(np.isfinite(high), high, low)
        low = np.where(np.isfinite(low), low, 0.0)
        high = np.where(np.isfinite(high), high, 0.0)
        own = -0.5 * (low + high)
        return np.where(shut, own, self.b)
