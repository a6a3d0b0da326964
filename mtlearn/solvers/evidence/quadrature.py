r"""The likelihood of labels where only levels vary, by adaptive quadrature.

A task's level is one number, and its likelihood given the shared coefficients an
integral over it,

.. math:: L_t = \int \prod_i \sigma(y_i (u_i \cdot \beta + v))^{s_i} N(v; 0, D) dv,

taken at equal steps around its mode: of one posterior standard deviation, at most a
half. On such smooth functions that is as good as Gauss-Hermite nodes, eight digits with
some fifteen nodes, and stays so where all labels of a task agree and the level's
distribution is far from a normal one, which takes Gauss and Hermite hundreds. Shared
coefficients are at the mode of the product, with Laplace's determinant. Derivatives are
cumulants over the nodes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from .columns import Rows
from .laplace import LabelPoint, LaplaceEvidence
from .profile import shared_posterior

MOST_LABELS = 100.0  # a task in the mean: beyond it Laplace's approximation is as good
_NODES = 512  # at most
_WIDEST = 1200.0  # variance up to which they are close enough
_LONGEST = 0.5  # step between nodes, on the scale of the logistic function
_DEPTH = 21.0  # of the logarithm of the integrand under its mode, where it is cut off
_LEAST = 1e-6  # variance that none is told from
_STEPS = 60
_HALVINGS = 30


class QuadratureEvidence(LaplaceEvidence):
    """`LaplaceEvidence` where the constant alone differs between tasks."""

    def __init__(self, labels, lift, flat, restricted, hyper, start=None):
        super().__init__(labels, lift, flat, restricted, hyper)
        self.basis = lift  # scores are those of all columns
        self._beta, self._centres = np.zeros(len(lift)), np.zeros(len(self.rows.counts))

    def over_tasks(self, function, *parameters):
        """A compiled pass over the integrals of all tasks."""
        labels = self.labels
        rows = labels.U, labels.place, labels.starts, labels.sign, labels.weight
        return function(*rows, self._centres, *parameters)

    def at(self, root, prior, log_noise=None):
        """The likelihood where D is the square of `root`."""
        self.hyper.refuse(self.basis @ root, prior)
        prior = np.where(self.flat, self.wide, prior)
        D = max(float((root**2).sum()), _LEAST)
        if D > _WIDEST:
            raise np.linalg.LinAlgError("nodes would be too far apart")
        here = self._integrated(np.where(prior > 0, self._beta, 0.0), D, prior)
        for _ in range(_STEPS):
            there = self._newton(here, D, prior)
            if there is None:
                break
            gain, here = here.value - there.value, there
            if gain <= self._rounding:
                break
        self._beta = here.beta
        return self._end(here, root, D, prior)

    def _newton(self, here, D, prior):
        """The Newton step, halved until it gains; None if none does."""
        spread, _ = self.spread(here.hessian, prior)
        beta = spread.T @ (spread @ (here.score + here.hessian @ here.beta))
        for _ in range(_HALVINGS):
            there = self._integrated(beta, D, prior)
            if there.value <= here.value + self._rounding:
                return there
            beta = 0.5 * (beta + here.beta)
        return None

    def _integrated(self, beta, D, prior):
        """All tasks' integrals at given shared coefficients."""
        q, n_tasks = len(beta), len(self._centres)
        score, hessian = np.zeros(q), np.zeros((q, q))
        moments, bound = np.empty((n_tasks, 3)), np.empty((n_tasks, q))
        found = beta, D, score, hessian, moments, bound
        total = self.over_tasks(integrate_levels, *found)
        seen = prior > 0
        value = 0.5 * float(np.sum(beta[seen] ** 2 / prior[seen])) - total
        return Integrals(beta, value, score, hessian, moments, bound)

    def _end(self, found, root, D, prior):
        """The point at the mode."""
        spread, log_det = self.spread(found.hessian, prior)
        lent = spread
        if self.restricted:
            log_det -= float(np.log(2 * np.pi * self.wide[self.flat]).sum())
        else:
            open_ = (prior > 0) & ~self.flat
            none = np.zeros_like(self.flat)
            lent, log_det = shared_posterior(found.hessian, prior, none, open_)
        value = 2.0 * found.value + log_det
        rows = self._normal_rows(found)
        return QuadraturePoint(
            self,
            rows,
            root,
            value + self.hyper.value(self.basis @ root, prior),
            1e-12 * max(abs(value), rows.count),
            1.0,
            found.beta,
            spread,
            lent,
            found.hessian,
            found.score + found.hessian @ found.beta,
            None,
            None,
            prior,
            None,
            value,
            found,
            D,
        )

    def _normal_rows(self, found):
        """Rows of normal labels that would tell as much of the levels.

        What depends on the levels is right in them: means, variances, and how the means
        move with the shared coefficients.
        """
        mean, variance = found.moments[:, 0], found.moments[:, 1]
        n_tasks, q = found.bound.shape
        gram, cross = np.zeros((n_tasks, q, q)), np.zeros((n_tasks, q))
        pull = -found.bound / variance[:, None]
        gram[:, -1, :] = gram[:, :, -1] = pull
        cross[:, -1] = mean / variance + pull @ found.beta
        rows = self.rows
        return Rows(gram, rows.group, cross, rows.squares, rows.counts)


@dataclass
class Integrals:
    """All tasks' integrals at given shared coefficients.

    Attributes
    ----------
    beta : ndarray of shape (q,)
    value : float
        Minus the logarithm of their product and of the prior of `beta`.
    score : ndarray of shape (q,)
        Derivative of the logarithm of the product.
    hessian : ndarray of shape (q, q)
        Minus its second derivative.
    moments : ndarray of shape (n_tasks, 3)
        Mean and variance of each level; derivative of log L_t in D.
    bound : ndarray of shape (n_tasks, q)
        How the mean level moves with `beta`.
    """

    beta: np.ndarray
    value: float
    score: np.ndarray
    hessian: np.ndarray
    moments: np.ndarray
    bound: np.ndarray


@dataclass
class QuadraturePoint(LabelPoint):
    """That of a `QuadratureEvidence`."""

    found: Integrals
    variance: float

    def scores(self):
        """The information that labels have in levels, and it less the slope in D."""
        evidence, found = self.evidence, self.found
        C = self.factor.T @ self.factor
        pull, sums = np.zeros(len(self.beta)), np.zeros(len(self.beta) + 1)
        evidence.over_tasks(bend_levels, self.beta, self.variance, C, pull, sums)
        shift = self.spread.T @ (self.spread @ pull)
        e = found.score
        self._drift = (pull - self.total @ shift) * e
        slope = sums[-1] + float(sums[:-1] @ shift)
        slope -= 2.0 * float(found.moments[:, 2].sum())
        slope += float(evidence.hyper.own_slope(evidence.basis @ self.root)[-1])
        star, outer = np.zeros_like(self.total), np.zeros_like(self.total)
        known = self._known()
        lent = self.rows.gram[:, -1] * (known / self.rows.gram[:, -1, -1])[:, None]
        star[-1, -1] = known.sum() - float(((lent @ self.factor.T) ** 2).sum())
        outer[-1, -1] = star[-1, -1] - slope
        return star, outer

    def means(self):
        """As `LaplacePoint.means`: the levels are means already."""
        return self.rows, self.beta

    def _known(self):
        """What a task's labels tell of its level, the variance counted as noise."""
        precision = np.maximum(self.rows.gram[:, -1, -1], 1e-300)
        return precision / (1.0 + self.variance * precision)

    def shared_squares(self):
        """Squares of the shared scores, less what the moving mode adds."""
        slope = self.evidence.hyper.shared_slope(self.prior)
        return self.found.score**2 - self._drift - slope

    def informations(self, B, near, pairs=None):
        """Information in D: squares of the tasks' own scores."""
        info = np.array([[float((self.found.moments[:, 2] ** 2).sum())]])
        info = np.maximum(info, 1e-3 * 0.5 * float((self._known() ** 2).sum()))
        return info, info if near else None


@njit(cache=True)
def _mode(low, high, sign, weight, m, D, mode):
    """Mode of a level, by Newton's method, and minus the curvature there."""
    bend = 1.0 / D
    for _ in range(60):
        slope, bend = -mode / D, 1.0 / D
        for i in range(low, high):
            z = m[i - low] + mode
            e = math.exp(-abs(z))
            p = 1.0 / (1.0 + e) if z * sign[i] < 0 else e / (1.0 + e)
            slope += weight[i] * sign[i] * p
            bend += weight[i] * e / (1.0 + e) ** 2
        # the curvature may be next to none where the slope is not
        most = 2.0 + 0.5 * abs(mode)
        step = min(max(slope / bend, -most), most)
        mode += step
        if abs(step) < 1e-7 / math.sqrt(bend):
            break
    return mode, bend


@njit(cache=True)
def _integrand(low, high, sign, weight, m, D, v, r, w):
    """Logarithm of the integrand at a level, residuals and curvatures there."""
    value, product = -v * v / (2.0 * D), 1.0
    for i in range(low, high):
        z, s = m[i - low] + v, weight[i]
        e = math.exp(-abs(z))
        share = 1.0 / (1.0 + e)
        if z * sign[i] < 0:
            value -= s * abs(z)
            p = share
        else:
            p = e * share
        r[i - low] = s * sign[i] * p
        w[i - low] = s * e * share * share
        # one logarithm for many labels
        if s == 1.0:
            product *= 1.0 + e
            if product > 1e250:
                value -= math.log(product)
                product = 1.0
        else:
            value -= s * math.log1p(e)
    return value - math.log(product)


@njit(cache=True)
def _node_values(low, high, sign, weight, m, D, centre, v, share, r, w):
    """Nodes, their posterior weights, residuals and curvatures of one task's labels.

    Parameters
    ----------
    low, high : int
        Its labels.
    m : ndarray of shape (high - low,)
        Scores without the level.
    centre : float
        Where to begin to look for the mode.
    v, share : ndarray of shape (n_nodes,)
        Nodes and their weights, written.
    r, w : ndarray of shape (n_nodes, high - low)
        Written.

    Returns
    -------
    log_integral, mode : float
    size : int
        How many nodes there are.
    """
    mode, bend = _mode(low, high, sign, weight, m, D, centre)
    most = len(v)
    step = min(_LONGEST, 1.0 / math.sqrt(bend))
    step = max(step, 14.0 * math.sqrt(D) / most)
    v[0] = mode
    top = _integrand(low, high, sign, weight, m, D, mode, r[0], w[0])
    share[0], size, total = 1.0, 1, 1.0
    for side in (-1.0, 1.0):
        place = mode
        while size < most:
            place += side * step
            value = _integrand(low, high, sign, weight, m, D, place, r[size], w[size])
            v[size], share[size] = place, math.exp(value - top)
            total += share[size]
            size += 1
            if value < top - _DEPTH:
                break
    for k in range(size):
        share[k] /= total
    return top + math.log(total * step / math.sqrt(2.0 * math.pi * D)), mode, size


@njit(cache=True)
def integrate_levels(
    U,
    place,
    starts,
    sign,
    weight,
    centres,
    beta,
    D,
    score,
    hessian,
    moments,
    bound,
):
    """Sum of log L_t, and its derivatives in the shared coefficients.

    Parameters
    ----------
    U, place, starts, sign, weight : the labels, as `Labels` has them
    centres : ndarray of shape (n_tasks,)
        Modes of the levels: starts, replaced.
    beta : ndarray of shape (q,)
    D : float
    score, hessian : ndarray of shape (q,) and (q, q)
        Gain the derivative and minus the second one.
    moments : ndarray of shape (n_tasks, 3)
        Mean and variance of the level, derivative of log L_t in D, written.
    bound : ndarray of shape (n_tasks, q)
        Covariance of the level and the score, written.
    """
    q, n_nodes, total, most = len(beta), _NODES, 0.0, 0
    for t in range(len(starts) - 1):
        most = max(most, starts[t + 1] - starts[t])
    m, v, share = np.empty(most), np.empty(n_nodes), np.empty(n_nodes)
    r, w = np.empty((n_nodes, most)), np.empty((n_nodes, most))
    s, mean = np.empty(q), np.empty(q)
    for t in range(len(starts) - 1):
        low, high = starts[t], starts[t + 1]
        n = high - low
        for i in range(n):
            m[i] = 0.0
            for j in range(q):
                m[i] += U[place[low + i], j] * beta[j]
        value, centres[t], size = _node_values(
            low, high, sign, weight, m, D, centres[t], v, share, r, w
        )
        total += value
        level = 0.0
        for k in range(size):
            level += share[k] * v[k]
        for j in range(q):
            mean[j], bound[t, j] = 0.0, 0.0
        spread = 0.0
        for k in range(size):
            off = v[k] - level
            spread += share[k] * off * off
            for j in range(q):
                s[j] = 0.0
            for i in range(n):
                for j in range(q):
                    s[j] += U[place[low + i], j] * r[k, i]
            for j in range(q):
                mean[j] += share[k] * s[j]
                bound[t, j] += share[k] * off * s[j]
                for c in range(j + 1):
                    hessian[j, c] -= share[k] * s[j] * s[c]
        moments[t, 0], moments[t, 1] = level, spread
        moments[t, 2] = ((spread + level * level) / D - 1.0) / (2.0 * D)
        for j in range(q):
            score[j] += mean[j]
            for c in range(j + 1):
                hessian[j, c] += mean[j] * mean[c]
        for i in range(n):
            a = 0.0
            for k in range(size):
                a += share[k] * w[k, i]
            for j in range(q):
                b = a * U[place[low + i], j]
                for c in range(j + 1):
                    hessian[j, c] += b * U[place[low + i], c]
    for j in range(q):
        for c in range(j):
            hessian[c, j] = hessian[j, c]
    return total


@njit(cache=True)
def bend_levels(
    U,
    place,
    starts,
    sign,
    weight,
    centres,
    beta,
    D,
    C,
    pull,
    sums,
):
    """Derivatives of tr C H, H minus the second derivative of the sum of log L_t.

    Parameters
    ----------
    C : ndarray of shape (q, q)
    pull : ndarray of shape (q,)
        Gains those in the shared coefficients.
    sums : ndarray of shape (q + 1,)
        Gains the derivative of the score in D, and that of tr C H last.
    """
    q, n_nodes, most = len(beta), _NODES, 0
    for t in range(len(starts) - 1):
        most = max(most, starts[t + 1] - starts[t])
    m, h, v, share = (
        np.empty(most),
        np.empty(most),
        np.empty(n_nodes),
        np.empty(n_nodes),
    )
    r, w = np.empty((n_nodes, most)), np.empty((n_nodes, most))
    s, mean, lent = np.empty((n_nodes, q)), np.empty(q), np.empty(q)
    traces = np.empty(n_nodes)
    for t in range(len(starts) - 1):
        low, high = starts[t], starts[t + 1]
        n = high - low
        for i in range(n):
            u = U[place[low + i]]
            m[i], h[i] = 0.0, 0.0
            for j in range(q):
                m[i] += u[j] * beta[j]
                for c in range(q):
                    h[i] += u[j] * C[j, c] * u[c]
        _, _, size = _node_values(
            low, high, sign, weight, m, D, centres[t], v, share, r, w
        )
        square, trace = 0.0, 0.0
        for j in range(q):
            mean[j] = 0.0
        for k in range(size):
            square += share[k] * v[k] * v[k]
            traces[k] = 0.0
            for j in range(q):
                s[k, j] = 0.0
            for i in range(n):
                traces[k] += w[k, i] * h[i]
                for j in range(q):
                    s[k, j] += U[place[low + i], j] * r[k, i]
            trace += share[k] * traces[k]
            for j in range(q):
                mean[j] += share[k] * s[k, j]
        for k in range(size):
            norm = 0.0
            for j in range(q):
                lent[j] = 0.0
                for c in range(q):
                    lent[j] += C[j, c] * (s[k, c] - mean[c])
            for j in range(q):
                norm += lent[j] * (s[k, j] - mean[j])
            own = traces[k] - trace - norm
            for j in range(q):
                pull[j] += share[k] * own * (s[k, j] - mean[j])
            psi = share[k] * (v[k] * v[k] - square) / (2.0 * D * D)
            for j in range(q):
                sums[j] += psi * (s[k, j] - mean[j])
            sums[q] += psi * own
            for i in range(n):
                u = U[place[low + i]]
                inner = 0.0
                for j in range(q):
                    inner += u[j] * lent[j]
                e = math.exp(-abs(m[i] + v[k]))
                third = w[k, i] * (e - 1.0) / (1.0 + e) * h[i]
                third = third if m[i] + v[k] > 0 else -third
                a = share[k] * (third + 2.0 * w[k, i] * inner)
                for j in range(q):
                    pull[j] += a * u[j]
