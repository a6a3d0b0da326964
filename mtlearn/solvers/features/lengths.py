"""Squared loss + L2,1 where tasks share their rows: Newton steps on columns' lengths.

    min over W of L(W) + alpha sum_j |W_j|
        = min over eta >= 0, W of L(W) + alpha / 2 sum_j (|W_j|^2 / eta_j + eta_j)

(Argyriou, Evgeniou and Pontil, Convex multi-task feature learning, Machine Learning
73, 2008). For given lengths eta the best W is a ridge solution, one factorization for
all tasks: W_j = eta_j Z_j with Z = -gradient / alpha. What is left is smooth and convex
in eta, a length of zero included: its derivative is alpha / 2 (1 - |Z_j|^2), its
Hessian alpha times the entrywise product of Z' Z and Q = (alpha + H diag(eta))^-1 H. So
a step moves all lengths, lets columns in and takes others out at once. Along a path its
factors serve as long as they lead on.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ...problem.solution import Solution, Status, goal
from ..linalg import conjugate_gradient, take
from .smooth import RowLoss, duality_gap, residual_dual

_RATE = 0.15  # of convergence, above which new factors are made
_DAMPINGS = (1e-11, 1e-9, 1e-7, 1e-5, 1e-3)  # of the diagonal
_ROUNDING = 1e-12  # of the objective, by which it may rise
_HALVINGS = 8
_TURNS = 3  # rounds in which columns that would turn round are held
_AIM = 0.9  # of the gap to reach
_PATIENCE = 4  # steps without a smaller gap
_EASE = 0.1  # accuracy of a step by conjugate gradients
_LEAST = 1e-4
_CG_STEPS = 40
_STRIDE = 0.3  # of the last strength, on the way to a smaller one


def solve_lengths(loss, penalty, *, tol=1e-8, max_iter=1000, start=None):
    """Minimise the squared loss of alike tasks plus L2,1, more features than rows.

    Parameters
    ----------
    loss : RowLoss
    penalty : L21
    tol, max_iter, start
        As in `solve_block_descent`; `max_iter` counts steps.

    Returns
    -------
    Solution, or None
        None where tasks are not alike, or steps fail.
    """
    square = square_of(loss)
    if square is None:
        return None
    W = np.zeros(square.target.shape) if start is None else start
    lengths = Lengths(square, W)
    if start is None:
        strong = _STRIDE * square.unit * penalty.zero_strength(square.target)
        while strong > penalty.alpha:
            lengths.approach(strong)
            strong *= _STRIDE
    return lengths.solve(loss, penalty, tol, max_iter)


class Lengths:
    """Lengths of the columns of W along strengths, and the factors of the last step.

    Parameters
    ----------
    square : GramSquare or RowSquare
        The quadratic.
    W : ndarray of shape (n_rows, n_features)
        Where to begin.
    """

    def __init__(self, square, W):
        self.square, self.eta = square, np.sqrt(np.einsum("tj,tj->j", W, W))
        self.alpha, self.strength, self.core = None, None, None

    def solve(self, loss, penalty, tol, max_iter):
        """The solution at a strength; None where it is not reached."""
        alpha, unit = penalty.alpha / self.square.unit, self.square.unit
        scale, history = loss.zero_objective, []
        place = self.square.at(self.ahead(alpha), alpha)
        least, stuck, last = np.inf, 0, np.inf
        while True:
            value, gap = unit * place.value, unit * place.gap
            history.append((value, gap / max(scale, 1e-300)))
            # the gap of the coefficients themselves may differ by rounding
            if gap <= _AIM * goal(tol, scale, value) or len(history) >= max_iter:
                break
            stuck = 0 if gap < 0.9 * least else stuck + 1
            least = min(gap, least)
            error = place.error
            place = self._step(place, error < _RATE * last)
            if place is None or stuck > _PATIENCE:
                self.alpha = self.core = None
                return None
            last = error
        self.eta, self.alpha, self.strength = place.eta, alpha, penalty.alpha
        # the certificate is that of the coefficients alone
        point = loss.at(place.W)
        value, gap = duality_gap(loss, penalty, point, penalty.gauge(point.gradient))
        history[-1] = value, gap / max(scale, 1e-300)
        status = Status.CONVERGED
        if gap > goal(tol, scale, value):
            status = Status.MAX_ITER
            if len(history) < max_iter:
                return None
        b = loss.intercepts(place.W, point)
        return Solution(
            place.W,
            b,
            *history[-1],
            len(history),
            status,
            dual=point.gradient,
            history=history,
        )

    def approach(self, strength):
        """A step at a strength on the way, which only tells where to go on."""
        place = self.square.at(self.eta, strength / self.square.unit)
        place = self._step(place, False)
        self.core = None
        if place is not None:
            self.eta = place.eta

    def ahead(self, alpha):
        """Lengths at another strength, along the tangent of the path."""
        core = self.core
        if self.alpha is None or core is None or self.alpha == alpha:
            return self.eta
        here = self.eta[core.columns]
        slope = here - core.solve(np.ones(len(here)), here > 0)
        return self._moved(self.eta, (alpha / self.alpha - 1.0) * slope)

    def _step(self, place, near):
        """The next place, None if there is none; `near` keeps the factors."""
        free = (place.eta > 0) | (place.sizes > 1.0)
        if not (near and self.core is not None and self.core.serves(free)):
            self.core = self.square.core(place, free)
            if self.core is None:
                return None
        core = self.core
        sizes = place.sizes[core.columns]
        # of Newton's methods that for 1 / |Z| - 1, which is linear for one column alone
        step = core.solve(sizes * sizes * (sizes - 1.0), free[core.columns])
        most = place.bound + _ROUNDING * abs(place.bound)
        for _ in range(_HALVINGS):
            there = self.square.at(self._moved(place.eta, step), place.alpha)
            if there.bound <= most:
                return there
            step = 0.5 * step
        return None

    def _moved(self, eta, step):
        """Lengths after a step; where they would be negative, the others step anew."""
        core = self.core
        here = eta[core.columns]
        out = np.zeros(len(here), dtype=bool)
        for _ in range(_TURNS):
            new = (here + step < 0) & ~out
            if not new.any():
                break
            out |= new
            step = core.held(step, out, -here[out])
        moved = eta.copy()
        moved[core.columns] = np.where(out, 0.0, np.maximum(here + step, 0.0))
        return moved


@dataclass
class _Place:
    """Where given lengths lead.

    Attributes
    ----------
    eta : ndarray of shape (n_features,)
    alpha : float
    used : ndarray of int
        Columns with a length.
    factor : ndarray
        Cholesky factor of the ridge.
    W, Z : ndarray of shape (n_rows, n_features)
    sizes : ndarray of shape (n_features,)
        |Z_j|: 1 where a length is right, at most 1 where it is zero.
    bound : float
        What the lengths make of the objective, from above.
    value, gap : float
        The objective at W, and the duality gap.
    """

    eta: np.ndarray
    alpha: float
    used: np.ndarray
    factor: np.ndarray
    W: np.ndarray
    Z: np.ndarray
    sizes: np.ndarray
    bound: float
    value: float
    gap: float

    @property
    def error(self):
        """How far the lengths are from right."""
        free = (self.eta > 0) | (self.sizes > 1.0)
        return float(np.abs(self.sizes[free] - 1.0).max(initial=0.0))


def _place(square, eta, alpha, used, factor, Z, inner):
    """The place of lengths whose ridge is solved; inner: <target, W>."""
    W = Z * eta
    sizes = np.sqrt(np.einsum("tj,tj->j", Z, Z))
    # gradient -alpha Z: <W, H W> = inner - alpha sum_j eta_j |Z_j|^2
    bend = alpha * float(eta @ (sizes * sizes))
    loss = max(square.constant - 0.5 * (inner + bend), 0.0)
    value = loss + alpha * float(eta @ sizes)
    gauge = sizes.max(initial=0.0)
    most = 1.0 / gauge if gauge > 0 else np.inf
    gap = value - residual_dual(2.0 * loss, 2.0 * square.constant - inner, most)
    bound = square.constant - 0.5 * inner + 0.5 * alpha * float(eta.sum())
    return _Place(eta, alpha, used, factor, W, Z, sizes, bound, value, gap)


def square_of(loss):
    """The quadratic of a loss whose tasks are alike; None where they are not."""
    if isinstance(loss, RowLoss):
        data, mode = loss.data, loss.intercept
        alike = loss.squared and data.wide and data.common and not data.sparse
        alike = alike and not mode.common and data.sample_weight is None
        scale = loss.weight[:: data.X.shape[0]]
    else:
        alike, scale = loss.coupling is None and len(loss.hessian) == 1, loss.scale
    if not alike or np.any(scale != scale[0]) or not scale[0] > 0:
        return None
    return RowSquare(loss) if isinstance(loss, RowLoss) else GramSquare(loss)


# ---------------------------------------------------------------- on a Gram


class GramSquare:
    """The quadratic on the Gram that all tasks share.

    Parameters
    ----------
    loss : Quadratic
    """

    def __init__(self, loss):
        self.unit = float(loss.scale[0])
        self.hessian = loss.hessian[0]
        self.target = loss.target / self.unit
        self.constant = loss.constant / self.unit
        diagonal = np.diagonal(self.hessian)
        self._diagonal = np.maximum(diagonal, 1e-300)
        self._used = None

    def at(self, eta, alpha):
        """Solve the ridge."""
        used = np.flatnonzero(eta)
        root = np.sqrt(eta[used])
        K = self._square(used) * root
        K *= root[:, None]
        K[np.diag_indices(len(used))] += alpha
        factor, target = np.zeros((0, 0)), self.target[:, used]
        V = np.zeros(target.shape)
        if len(used):
            factor = _factor(K)
            V = linalg.lapack.dpotrs(factor, (target * root).T, lower=1)[0].T * root
        W = np.zeros(self.target.shape)
        W[:, used] = V
        Z = (self.target - self._bend(W, V)) / alpha
        inner = float(np.vdot(target, V))
        return _place(self, eta, alpha, used, factor, Z, inner)

    def _bend(self, W, V):
        """H W, where V are the columns in use."""
        if 2 * len(self._used) > len(self.hessian):
            return W @ self.hessian
        return V @ self.hessian[self._used]

    def _square(self, used):
        """The Gram of the columns in use, kept while these are the same."""
        if self._used is None or not np.array_equal(used, self._used):
            self._used, self._inside = used, np.empty((len(used), len(used)))
            take(self.hessian, used, used, self._inside, True)
        return self._inside

    def core(self, place, free):
        """Factors of the Hessian of the free lengths; None if it is not definite."""
        used, alpha = place.used, place.alpha
        new = np.flatnonzero(free & (place.eta == 0.0))
        size, columns = len(used), np.concatenate([used, new])
        root = np.sqrt(place.eta[used])
        # a column that comes in has the curvature that it has alone
        unit = np.concatenate([root, np.sqrt(alpha / self._diagonal[new])])
        M = np.zeros((len(columns), len(columns)), order="F")
        if size:
            inverse = linalg.lapack.dpotri(place.factor, lower=1)[0]
            inverse *= -alpha
            inverse[np.diag_indices(size)] += 1.0
            M[:size, :size] = inverse
        if len(new):
            beside = self.hessian[np.ix_(used, new)] * root[:, None]
            reply = beside
            if size:
                reply = linalg.lapack.dpotrs(place.factor, beside, lower=1)[0]
            M[size:, :size] = (reply * unit[size:]).T
            corner = self.hessian[np.ix_(new, new)] - beside.T @ reply
            M[size:, size:] = corner * unit[size:] * unit[size:, None] / alpha
        Z = place.Z[:, columns]
        M *= Z.T @ Z
        return _definite(columns, unit, M)


def _factor(K):
    """Cholesky factor of a symmetric matrix in C order, which is overwritten."""
    return linalg.lapack.dpotrf(K.T, lower=1, overwrite_a=1, clean=0)[0]


def _definite(columns, unit, M):
    """The core of a matrix whose lower triangle is given, damped as it needs it."""
    index = np.diag_indices(len(columns))
    diagonal = M[index]
    for damping in _DAMPINGS:
        M[index] = diagonal * (1.0 + damping)
        factor, info = linalg.lapack.dpotrf(M, lower=1, clean=0)
        if info == 0:
            return _Core(columns, unit, factor)
    return None


class _Core:
    """Factors of the Hessian of some lengths."""

    def __init__(self, columns, unit, factor):
        self.columns, self._unit, self._factor = columns, unit, factor

    def serves(self, free):
        """Whether all that are free are among the columns."""
        return np.count_nonzero(free) == np.count_nonzero(free[self.columns])

    def solve(self, right, free):
        """The step of those that are free; the others stay."""
        step = self._unit * self._inverted(self._unit * right)
        return self.held(step, ~free, np.zeros(np.count_nonzero(~free)))

    def held(self, step, out, values):
        """The step with some entries at given values, the others at their best."""
        place = np.flatnonzero(out)
        if len(place) == 0:
            return step
        right = np.zeros((len(step), len(place)), order="F")
        right[place, np.arange(len(place))] = self._unit[place]
        replies = self._unit[:, None] * self._inverted(right)
        share = np.linalg.lstsq(replies[place], values - step[place], rcond=None)[0]
        step = step + replies @ share
        step[place] = values
        return step

    def _inverted(self, right):
        return linalg.lapack.dpotrs(self._factor, right, lower=1)[0]


# ---------------------------------------------------------------- on the rows


class RowSquare:
    """The quadratic on rows, fewer than features: systems are of their number.

    Parameters
    ----------
    loss : RowLoss
        Squared, complete labels of one weight; free intercepts, or none.
    """

    def __init__(self, loss):
        self.unit = float(loss.weight[0])
        self._X = loss.data.X
        self._y = np.ascontiguousarray(loss.y.reshape(loss.n_rows, -1).T)
        self._square = float(np.vdot(self._y, self._y))
        self.target = self._y.T @ self._X
        self.constant = 0.5 * self._square
        lengths = np.sqrt(np.einsum("ij,ij->j", self._X, self._X))
        self._lengths = np.maximum(lengths, 1e-150)

    def at(self, eta, alpha):
        """Solve the ridge."""
        used = np.flatnonzero(eta)
        part = self._X.take(used, axis=1) * np.sqrt(eta[used])
        K = part @ part.T
        K[np.diag_indices(len(K))] += alpha
        factor = _factor(K)
        dual = linalg.lapack.dpotrs(factor, self._y, lower=1)[0]
        inner = self._square - alpha * float(np.vdot(self._y, dual))
        return _place(self, eta, alpha, used, factor, dual.T @ self._X, inner)

    def core(self, place, free):
        """What solves with the Hessian of the free lengths."""
        columns = np.flatnonzero(free)
        lengths = self._lengths[columns]
        part = self._X.take(columns, axis=1) / lengths
        return _Products(columns, part.astype(np.float32), lengths, place)


class _Products:
    """Conjugate gradients with the Hessian of some lengths.

    A step is rough anyway: its products are of single precision, in units in which
    features are of length one and the ridge is the identity where they do not matter.
    """

    def __init__(self, columns, X, lengths, place):
        self.columns, self._X, self._lengths = columns, X, lengths
        root = self._root = np.sqrt(place.alpha)
        self._factor = (place.factor / root).astype(np.float32)
        self._Z = place.Z[:, columns].astype(np.float32)
        # the curvature of each column, if it were alone
        scaled = 1.0 + (place.eta[columns] * lengths / place.alpha) * lengths
        self._inverse = scaled / np.maximum(place.sizes[columns] ** 2, 1e-300)
        self._ease = min(_EASE, max(place.error, _LEAST))

    def serves(self, free):
        """Whether it is worth while once more: it is made anew at no cost."""
        return False

    def solve(self, right, free):
        """The step of those that are free; the others stay."""
        unit = self._root / self._lengths
        step = conjugate_gradient(
            lambda x: np.where(free, self._bend(x), 0.0),
            np.where(free, unit * right, 0.0),
            lambda r: self._inverse * r,
            tol=self._ease,
            max_iter=_CG_STEPS,
        )
        return unit * step

    def _bend(self, x):
        size = max(np.abs(x).max(initial=0.0), 1e-300)
        moved = self._X @ ((x / size).astype(np.float32) * self._Z).T
        moved = linalg.lapack.spotrs(self._factor, moved, lower=1)[0]
        out = np.einsum("tj,tj->j", moved.T @ self._X, self._Z)
        return size * out.astype(np.float64)

    def held(self, step, out, values):
        """The step with some entries at given values."""
        step = step.copy()
        step[out] = values
        return step
