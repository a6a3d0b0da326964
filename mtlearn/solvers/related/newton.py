"""Smooth loss + relation: semismooth Newton steps with an exact line search.

    minimise  L(X W + b) + 1/2 alpha Omega(W)  over W and the intercepts b,

L a weighted sum over observations. The certificate bounds the distance from the
minimum: Omega makes the objective strongly convex, so with g the gradient in the
coordinates of the form and the intercepts minimised out to second order,

    objective - minimum <= |g|_*^2 / (2 alpha) + 1/2 g_b' H_bb^-1 g_b.
"""

import numpy as np

from ...problem.baseline import base_objective
from ...problem.intercepts import FREE, FreeUnknowns, saturated
from ...problem.losses import Logistic
from ...problem.solution import Solution, Status, goal
from ...problem.threads import inner
from ..linalg import ground, ground_whole
from ..linesearch import find_step
from .coupled import sum_blocks
from .least_squares import augmented, fits_one_factor
from .steps import STEPPERS, LazyStep, Point, State, choose_solver

_PATIENCE = 30  # steps after which a small problem is given to the QR of its rows


# ---------------------------------------------------------------- the problem


class Unknowns:
    """Relation, intercept and shapes of one fit; knows no rows.

    Coefficients are carried as W of shape (n_tasks, p): the q * d coefficients (class
    after class), then with shrunken intercepts the q deviations from the common one, in
    units of the intercepts' constant feature.
    """

    def __init__(self, form, alpha, intercept, q, d):
        self.form, self.alpha, self.intercept = form, alpha, intercept
        self.q, self.d = q, d
        self.n_coef = q * d
        self.p = self.n_coef + q * intercept.shrunk
        self.free = FreeUnknowns(intercept, form, q)

    def state(self, coef=None, intercept=None):
        """State of a given model, by default the zero model."""
        n = self.form.n_tasks
        W = np.zeros((n, self.p))
        beta = np.zeros(self.free.shape)
        if coef is not None:
            W[:, : self.n_coef] = coef.reshape(n, -1)
            b = intercept.reshape(n, self.q)
            beta = self.free.of(b)
            if self.intercept.shrunk:
                W[:, self.n_coef :] = (b - self.free.spread(beta)) / self.intercept.unit
        return State(self.form.coordinates(W), beta)

    def model(self, state):
        """Coefficients (n_tasks, q * d) and intercepts (n_tasks, q) of a state."""
        W = self.form.lift(state.theta)
        b = self.free.spread(state.beta)
        if self.intercept.shrunk:
            b = b + self.intercept.unit * W[:, self.n_coef :]
        return W[:, : self.n_coef], b

    def penalty(self, state):
        """1/2 alpha Omega."""
        return 0.5 * self.alpha * inner(state.theta, self.form.metric(state.theta))

    def corner(self, sums):
        """H_bb of curvatures (n_tasks, q, q), made definite: a block per unknown."""
        rules = self.free.rules
        if not self.free:
            return np.zeros((0, self.q, self.q))
        if rules is None:
            return ground(self.free.gather(sums))
        return ground_whole(sum_blocks(rules, rules, sums))[None]


class Problem(Unknowns):
    """Loss, rows, relation and intercept of one fit; knows no iteration."""

    def __init__(self, data, loss, form, alpha, intercept):
        super().__init__(form, alpha, intercept, loss.n_scores, data.n_features)
        self.data, self.loss = data, loss
        self.y, self.weight = data.labels, data.weights

    def start(self, coef=None, intercept=None):
        """Where to begin: a given model, or zero."""
        state = self.state(coef, intercept)
        if coef is None and self.free.separate and isinstance(self.loss, Logistic):
            state.beta[:, 0] = saturated(self.data, self.y)
        return state

    def zeros(self):
        """Scores of the zero model."""
        return np.zeros(len(self.y) if self.q == 1 else (len(self.y), self.q))

    def scores(self, state):
        """Scores of all observations; linear in the state."""
        return self.apply(*self.model(state))

    def apply(self, W, b):
        """X W + b, of shape (n,) or (n, q)."""
        data, d = self.data, self.d
        present = self.intercept.present
        columns = [
            data.forward(W[:, k * d : (k + 1) * d], b[:, k] if present else None)
            for k in range(self.q)
        ]
        return columns[0] if self.q == 1 else np.column_stack(columns)

    def carry(self, g):
        """Adjoint of `scores`: (n_tasks, p), and (n_tasks, q) for the intercepts."""
        columns = self._columns(g)
        G = np.concatenate([self.data.adjoint(column) for column in columns], axis=1)
        gb = self.sums(g)
        if not self.intercept.shrunk:
            return G, gb
        return np.concatenate([G, self.intercept.unit * gb], axis=1), gb

    def sums(self, g):
        """Sums over each task, (n_tasks, q); zero without intercepts."""
        if not self.intercept.present:
            return np.zeros((self.data.n_tasks, self.q))
        return np.column_stack([self.data.sums(column) for column in self._columns(g)])

    def _columns(self, g):
        if self.q == 1:
            return [g]
        return [np.ascontiguousarray(g[:, k]) for k in range(self.q)]

    def spread(self, beta):
        """Intercepts at every observation: the adjoint of `sums`, then `gather`."""
        u = np.repeat(self.free.spread(beta), self.data.sizes, axis=0)
        return u[:, 0] if self.q == 1 else u

    def bend(self, h, u):
        """Curvature times a change of the scores."""
        return h * u if self.q == 1 else np.einsum("ikl,il->ik", h, u)

    def mixed(self, h, shift):
        """Change of the gradient, (n_tasks, p), by a change of the intercepts."""
        if self.q == 1:
            return self.carry(h)[0] * self.free.spread(shift)
        return self.carry(self.bend(h, self.spread(shift)))[0]

    def intercept_curvature(self, h):
        """H_bb, made definite: (n_free, q, q), or one block of all unknowns."""
        q, data = self.q, self.data
        if not self.free:
            return np.zeros((0, q, q))
        flat = h.reshape(len(h), -1)
        sums = np.column_stack([data.sums(column) for column in flat.T])
        return self.corner(sums.reshape(-1, q, q))


# ---------------------------------------------------------------- the loop


def solve_newton(
    data,
    loss,
    form,
    alpha,
    *,
    intercept=FREE,
    tol=1e-8,
    max_iter=100,
    solver="auto",
    start=None,
    lazy=None,
):
    """Minimise a smooth loss plus 1/2 alpha Omega(W) by (semismooth) Newton steps.

    Parameters
    ----------
    data : TaskData
    loss : object of `mtlearn.problem.losses`
    form : ArrowForm or MatrixForm
    alpha : float
        Strength, greater than 0.
    intercept : Intercepts
    tol : float
        The certificate, a bound on the distance from the minimum, is compared with
        tol times the objective of the best model without features, or a hundred times
        the objective itself, whichever is smaller.
    max_iter : int
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}
        How the linear system of a step is solved: blocks of the size of the features,
        of the rows, or matrix-free.
    start : (coef, intercept), default=None
        Where to begin; the zero model by default.
    lazy : LazyStep, default=None
        With blocks of an earlier fit to the same rows, which it goes on from.

    Returns
    -------
    Solution
    """
    means = None
    if intercept.own and not data.sparse:
        data, means = data.centred(together=form.composed)
    problem = Problem(data, loss, form, alpha, intercept)
    if solver == "auto":
        solver = choose_solver(data, problem.q, intercept)
    if solver == "newton-cholesky" and LazyStep.suits(data, loss, form):
        stepper = LazyStep() if lazy is None else lazy
    else:
        stepper = STEPPERS[solver](problem)
    if start is not None:
        start = shift_intercepts(start, means, 1.0, problem.q)
    state = problem.start(*(start or ()))
    zero = loss.value(problem.y, problem.zeros(), problem.weight)
    scale = base_objective(data, loss, form, intercept, zero)
    state, value, bound, n_iter, status, history = _iterate(
        problem, stepper, state, scale, tol, max_iter
    )
    coef, b = problem.model(state)
    if problem.q > 1 and intercept.common:
        # what all classes have in common is open, and was left to rounding
        b = b - b.mean(axis=1, keepdims=True)
    coef, b = shift_intercepts((coef, b), means, -1.0, problem.q)
    return Solution(
        *as_user(coef, b, problem),
        value,
        bound / max(scale, 1e-300),
        n_iter,
        status,
        history=history,
    )


def _iterate(problem, stepper, state, scale, tol, max_iter):
    """Evaluate, certify, step, search, until the certificate says enough."""
    loss, y, weight = problem.loss, problem.y, problem.weight
    z, history, status = problem.scores(state), [], Status.MAX_ITER
    for n_iter in range(max_iter + 1):
        # 1) value, gradient, certificate
        value, g, h = loss.evaluate(y, z, weight)
        value += problem.penalty(state)
        gradient = Gradient(problem, state, g, h)
        bound = gradient.bound(problem)
        history.append((value, bound / max(scale, 1e-300)))
        if bound <= goal(tol, scale, value):
            status = Status.CONVERGED
            break
        if n_iter == max_iter:
            break
        # 2) direction, and the exact minimum along it
        accuracy = bound / max(value, 1e-300)
        point = Point(state, z, g, h, gradient, accuracy)
        direction = stepper.direction(problem, point)
        dz = problem.scores(direction)
        step = line_search(problem, state, direction, z, dz, gradient)
        if step == 0.0 or n_iter == _PATIENCE:
            last_resort = RowsStep.instead_of(stepper, problem)
            if step == 0.0 and last_resort is None:
                status = Status.STALLED
                break
            stepper = last_resort or stepper
        state = state.move(step, direction)
        # scores are summed up afresh now and then: rounding must not pile up
        if n_iter % 10 == 9:
            z = problem.scores(state)
        else:
            dz *= step
            z += dz
    return state, value, bound, max(n_iter, 1), status, history


class RowsStep:
    """Newton steps by a QR of the rows: slow, small problems only, and hard to shake.

    A step minimises the squares of h^1/2 (z + dz - (z - g / h)) plus the penalty.
    """

    @classmethod
    def instead_of(cls, stepper, problem):
        """A step of this kind where it can help, else None."""
        small = fits_one_factor(problem.data, problem.form, problem.intercept)
        again = isinstance(stepper, cls)
        return cls() if small and problem.q == 1 and not again else None

    def direction(self, problem, point):
        """Newton direction."""
        state = point.state
        # a saturated row (logistic) pulls without curvature: lend it a little
        h = np.where(
            point.g != 0.0, np.maximum(point.h, 1e-12 * point.h.max()), point.h
        )
        aim = point.z - point.g / np.where(h > 0.0, h, 1.0)
        W, beta = augmented(
            problem.data,
            problem.form,
            problem.alpha,
            problem.intercept,
            aim,
            h,
        )
        theta = problem.form.coordinates(W)
        beta = beta.reshape(state.beta.shape)
        return State(theta - state.theta, beta - state.beta)


class Gradient:
    """Gradient in all unknowns, and reduced to those of the form.

    Sets: coef (theta), beta (intercepts), corner (H_bb), shift (H_bb^-1 g_b), reduced
    (theta, once the intercepts are minimised out).
    """

    def __init__(self, problem, state, g, h):
        G, gb = problem.carry(g)
        self.coef = problem.alpha * problem.form.metric(state.theta)
        self.coef += problem.form.adjoint(G)
        self.beta = problem.free.gather(gb)
        self.corner = problem.intercept_curvature(h)
        self.shift = np.zeros_like(self.beta)
        if problem.free:
            self.shift = np.linalg.solve(self.corner, self.beta[:, :, None])[:, :, 0]
        self.reduced = self._reduce(problem, h)

    def _reduce(self, problem, h):
        """Gradient in theta once the intercepts are minimised out."""
        if not problem.free or not np.any(self.shift):
            return self.coef
        return self.coef - problem.form.adjoint(problem.mixed(h, self.shift))

    def bound(self, problem):
        """Distance from the minimum, at most (see the module's head)."""
        own = problem.form.dual_norm2(self.reduced) / (2 * problem.alpha)
        return own + 0.5 * inner(self.beta, self.shift)

    def slope(self, direction):
        """Derivative of the objective along a direction."""
        coef = inner(self.coef, direction.theta)
        return coef + inner(self.beta, direction.beta)


def line_search(
    problem, state, direction, z, dz, gradient, accuracy=0.1, longest=np.inf
):
    """Minimise the convex objective along the direction by safeguarded Newton steps.

    Returns
    -------
    step : float
        0 where the direction does not descend in double precision.
    """
    loss, y, weight, alpha = problem.loss, problem.y, problem.weight, problem.alpha
    metric = problem.form.metric(direction.theta)
    omega1 = alpha * inner(state.theta, metric)
    omega2 = alpha * inner(direction.theta, metric)
    slope0 = gradient.slope(direction)

    def along(step):
        _, slope, bend = loss.along(y, z, dz, weight, step)
        return slope + omega1 + step * omega2, bend + omega2

    return find_step(along, slope0, accuracy, longest=longest)


def shift_intercepts(model, means, sign, q):
    """Move intercepts between features as given and features with means taken out."""
    coef, b = model
    if means is None:
        return coef, b
    n, d = means.shape
    moved = np.einsum("tkd,td->tk", np.reshape(coef, (n, q, d)), means)
    return coef, np.reshape(b, (n, q)) + sign * moved


def as_user(coef, b, problem):
    """coef_ and intercept_ as the user sees them."""
    n, q = problem.form.n_tasks, problem.q
    if q == 1:
        return coef.copy(), b[:, 0].copy()
    return coef.reshape(n, q, problem.d).copy(), b.copy()
