"""Fisher scoring on variances that may not be negative.

A step minimises the quadratic model of the deviance, with the expected information for
its curvature, over all variances of zero or more: those that belong at zero are there
exactly, after a step or two, and come back where the likelihood wants them.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import linalg
from scipy.optimize import nnls

from ...problem.solution import Status
from .noise import OwnNoise

_TRIES = 20
_RIDGE = 1e-9  # of the information: below it variances cannot be told apart
_PAIRS = 400  # entries of a covariance up to which they have the exact information
_IDLE = 15  # steps without a gain, after which there will be none
_NEAR = 1.0  # gain in the deviance of a step that is short
_CONVEX = 0.1  # least curvature, over the expected one, that is taken as it is
_GONE = 1e-10  # eigenvalue, against the largest, that is none
_UNKNOWN = 1e-9  # information, against the columns' squares, that is rounding
_SECANTS = 8  # steps of which the curvature is remembered
_FURTHER = 1e-4  # of the tolerance, to which steps by secants go on if they can
_TRIED = 0.1  # and where only what the likelihood gains is wanted
_STARTS = 0.01, 0.1, 1.0  # information of a task's rows in its deviations at the start


@dataclass
class Local:
    """The likelihood around some variances, in the coordinates of a step.

    Attributes
    ----------
    slope : ndarray of shape (m,)
        Derivatives of the deviance.
    info : ndarray of shape (m, m)
        Expected information: half its expected curvature.
    noise : ndarray of shape (m,)
        Expected information that is in common with log s2.
    low : ndarray of shape (m,)
        The least that may be added; minus infinity without a bound.
    slack : float
        Largest derivative in the logarithms; for zeros, what going up would gain.
    move : callable
        From a step to the new variances, and what the deviance gains to first order.
    gradient : ndarray
        Derivatives of the deviance in the variances as they are.
    along : callable
        From a difference of variances and one of gradients to those of these
        coordinates.
    bends : ndarray of shape (m,)
        Curvature of the coordinates themselves, to be added to the information.
    """

    slope: np.ndarray
    info: np.ndarray
    noise: np.ndarray
    low: np.ndarray
    slack: float
    move: object
    gradient: np.ndarray
    along: object
    bends: np.ndarray


def _curvature(expected, observed, positive, noise, seen):
    """The observed information where it is given and is one, else the expected one.

    Far from the optimum the expected one goes further; it is exact if all tasks are
    alike.

    Variances of zero keep the expected one for themselves: where they stay, the
    steps of the others are Newton's.

    Parameters
    ----------
    expected, observed : ndarray of shape (m, m)
    positive : ndarray of shape (m,), bool
    noise, seen : ndarray of shape (m,)
        What is in common with log s2, expected and observed.
    """
    inside = np.flatnonzero(positive & (np.diag(expected) > 0))
    if observed is None or len(inside) == 0:
        return expected, noise
    size, block = np.sqrt(np.diag(expected)[inside]), np.ix_(inside, inside)
    if np.linalg.eigvalsh(observed[block] / np.outer(size, size))[0] < _CONVEX:
        return expected, noise
    info = expected.copy()
    info[inside] = 0.0
    info[:, inside] = 0.0
    info[block] = observed[block]
    return info, np.where(positive, seen, noise)


def _of_variances(theta, slope, expected, observed, bends, seen):
    """`Local` of plain variances."""
    size = np.sqrt(np.maximum(np.diag(expected), 1e-300))
    info, noise = _curvature(expected, observed, theta > 0, 0.5 * bends, 0.5 * seen)
    slack = np.where(theta > 0, np.abs(theta * slope), np.maximum(-slope, 0.0) / size)

    def move(step):
        new = theta + step
        new[new <= 1e-14 * theta] = 0.0  # a step to zero, but for rounding
        return new, float(slope @ (new - theta))

    slack = float(slack.max(initial=0.0))
    none = np.zeros(len(theta))
    return Local(
        slope, info, noise, -theta, slack, move, slope, lambda *pair: pair, none
    )


class Shared:
    """Variances of the shared coefficients, one per group.

    Parameters
    ----------
    groups : ndarray of shape (q,), int
        Group of each shared coefficient, -1 where it is flat or held at zero.
    units : ndarray of shape (q,)
        Shared coefficients have the standard deviation sqrt(tau) times these.
    size : int
        Number of groups.
    """

    def __init__(self, groups, units, size):
        self.own, self.units = groups >= 0, units[groups >= 0] ** 2
        self.groups, self.size = groups[self.own], size
        self.take = np.zeros((size, len(self.groups)))
        self.take[self.groups, np.arange(len(self.groups))] = self.units

    def start(self):
        """Each group's part of the labels is as large as the noise."""
        total = self.take.sum(axis=1)
        return np.where(total > 0, 1.0, 0.0) / np.where(total > 0, total, 1.0)

    def prior(self, tau):
        """Variances of all columns, of shape (q,)."""
        prior = np.zeros(len(self.own))
        prior[self.own] = tau[self.groups] * self.units
        return prior

    def around(self, tau, point, near=False):
        """`Local` at a point."""
        lent = point.factor @ point.total
        rest = (point.total - lent.T @ lent)[np.ix_(self.own, self.own)]
        e = (point.target - point.total @ point.beta)[self.own]
        bends = np.diag(rest)
        bends = self.take @ bends
        seen = self.take @ point.shared_squares()[self.own]
        expected = 0.5 * self.take @ rest**2 @ self.take.T
        mixed = self.take @ (rest * np.outer(e, e) / point.noise) @ self.take.T
        return _of_variances(tau, bends - seen, expected, mixed - expected, bends, seen)


class Diagonal:
    """A variance for every group of varying columns.

    Parameters
    ----------
    groups : ndarray of shape (r,), int
    """

    def __init__(self, groups):
        self.groups, self.size = groups, int(groups.max(initial=-1)) + 1
        self.pick = np.zeros((self.size, len(groups)))
        self.pick[groups, np.arange(len(groups))] = 1.0

    def starts(self, A, raw, n_tasks):
        """Variances worth a part of a task's own information, of which A is the sum."""
        known = self.hold(A, raw, np.zeros(self.size))
        each = np.where(known, self.pick @ np.diag(A), 1.0)
        some = n_tasks * self.pick.sum(axis=1) / each
        return [scale * some for scale in _STARTS]

    def hold(self, A, raw, theta):
        """Hold at zero what the rows cannot tell from shared coefficients.

        Of those A is next to nothing against `raw`, their squares; what has a variance
        was told before. Returns which groups are known.
        """
        known = self.pick @ np.diag(A) > _UNKNOWN * (self.pick @ raw)
        known |= theta > 0
        self.pick *= known[:, None]
        return known

    def root(self, theta):
        """A root of Theta, without columns of zeros."""
        size = np.sqrt(theta[self.groups])
        return np.ascontiguousarray(np.diag(size)[:, size > 0])

    def matrix(self, theta):
        """Theta, (r, r)."""
        return np.diag(theta[self.groups])

    def around(self, theta, point, star, outer, near=False):
        """`Local` at a point."""
        B = point.evidence.basis
        bends = np.einsum("ij,ik,kj->j", B, star, B)
        outer = np.einsum("ij,ik,kj->j", B, outer, B)
        bends, seen = self.pick @ bends, self.pick @ outer / point.noise
        expected, observed = point.informations(B, near)
        expected = self.pick @ expected @ self.pick.T
        observed = self.pick @ observed @ self.pick.T if near else None
        return _of_variances(theta, bends - seen, expected, observed, bends, seen)


class Unstructured:
    """Any covariance of the varying columns.

    A step is taken in coordinates in which the columns' summed information is a
    multiple of the identity, so that the features' units do not matter, and projected:
    eigenvalues below zero become zero. Directions of variance zero take part where the
    likelihood would gain by them.
    """

    def __init__(self):
        self._known = None

    def starts(self, A, raw, n_tasks):
        """Balanced: each direction is worth a part of a task's information."""
        size = np.sqrt(np.where(raw > 0, raw, 1.0))
        values, vectors = linalg.eigh(A / np.outer(size, size))
        self._known = (vectors / size[:, None])[:, values > _UNKNOWN]
        L = self._whiten(A, n_tasks)[0]
        return [scale * L @ L.T for scale in _STARTS]

    def _whiten(self, A, n_tasks):
        """L with L' A L = n_tasks I, and its inverse, on what the rows can tell."""
        W = self._known
        values, vectors = linalg.eigh(W.T @ A @ W)
        values = np.maximum(values, 1e-14 * values.max(initial=0.0)) / n_tasks
        L = W @ (vectors / np.sqrt(values))
        return L, (np.sqrt(values)[:, None] * vectors.T) @ linalg.pinv(W)

    def root(self, theta):
        """A root of Theta, without the directions that have no variance."""
        size = np.sqrt(np.maximum(np.diag(theta), 1e-300))
        values, vectors = linalg.eigh(theta / np.outer(size, size))
        keep = values > 1e-13 * max(values.max(initial=0.0), 1e-300)
        root = (vectors[:, keep] * np.sqrt(values[keep])) * size[:, None]
        return np.ascontiguousarray(root * (np.diag(theta) > 0)[:, None])

    def matrix(self, theta):
        """Theta, (r, r)."""
        return theta

    def around(self, theta, point, star, outer, near=False):
        """`Local` at a point."""
        B, n_tasks = point.evidence.basis, len(point.rows.counts)
        L, inverse = self._whiten(B.T @ star @ B, n_tasks)
        outer = B.T @ outer @ B / point.noise
        S, G = n_tasks * np.eye(L.shape[1]) - L.T @ outer @ L, B.T @ star @ B - outer
        values, V = linalg.eigh(inverse @ theta @ inverse.T)
        gone = values <= _GONE * max(values.max(initial=0.0), 1e-300)
        values = np.where(gone, 0.0, values)
        V[:, gone] = V[:, gone] @ linalg.eigh(V[:, gone].T @ S @ V[:, gone])[1]
        lift = np.ascontiguousarray((B @ L @ V).T)
        frame = L @ V, V.T @ inverse
        return _of_covariance(values, V.T @ S @ V, frame, G, lift, point, near)


def _of_covariance(values, S, frame, G, lift, point, near):
    """`Local` of a covariance L C L', where C is diagonal and S its slope.

    The frame is L and its inverse, G the slope of the covariance itself.

    A direction without variance takes part with the others, by turning them, and for
    itself where the likelihood gains.
    """
    (L, inverse), n_tasks = frame, len(point.rows.counts)
    gone = values == 0.0
    first, second = np.triu_indices(len(values))
    out = gone & (np.diag(S) >= 0)
    use = ~(gone[first] & gone[second]) | ((first == second) & ~out[first])
    first, second = first[use], second[use]
    factors = np.where(first == second, np.sqrt(0.5), 1.0)
    same, scale = first == second, np.sqrt(2.0) * factors
    slope, noise = scale * S[first, second], 0.5 * n_tasks * same
    if len(first) <= _PAIRS:
        inside = ~(gone[first] | gone[second])
        seen = noise - 0.5 * slope
        info, observed = point.informations(lift.T, near, (first, second, factors))
        info, noise = _curvature(info, observed, inside, noise, seen)
    else:
        info = 0.5 * n_tasks * np.eye(len(first))
    bends = _bends(values, np.diag(S), first, second)
    slack = _slacks(values, slope, np.diag(info) + bends, first, second)

    def move(step):
        D = np.zeros_like(S)
        D[first, second] = step / scale
        found, V = linalg.eigh(np.diag(values) + D + np.triu(D, 1).T)
        new = (V * np.maximum(found, 0.0)) @ V.T
        gain = float(np.sum(S * (new - np.diag(values))))
        return L @ new @ L.T, gain

    def along(change, bend):
        D, S = inverse @ change @ inverse.T, L.T @ bend @ L
        return D[first, second] * scale, S[first, second] * scale

    low, slack = np.full(len(slope), -np.inf), float(slack.max(initial=0.0))
    return Local(slope, info, noise, low, slack, move, G, along, bends)


def _bends(values, slopes, first, second):
    """Curvature of turning into directions without variance: they get some by it."""
    gone = values == 0.0
    turned = gone[first] != gone[second]
    size = np.where(gone[first], values[second], values[first])
    price = np.where(gone[first], slopes[first], slopes[second])
    bend = np.where(turned, 0.5 * price / np.where(turned, size, 1.0), 0.0)
    return np.maximum(bend, 0.0)


def _slacks(values, slope, info, first, second):
    """Derivatives in the logarithms; where there is no variance, over their errors."""
    gone = values == 0.0
    root = np.sqrt(values[first] * values[second])
    gain = np.where(first == second, np.maximum(-slope, 0.0), np.abs(slope))
    outside = gone[first] | gone[second]
    return np.where(outside, gain / np.sqrt(info), root * np.abs(slope))


@dataclass
class Optimum:
    """Where the scoring ended.

    Attributes
    ----------
    theta : ndarray
        Variances of the tasks' deviations, in the form of their shape.
    tau : ndarray of shape (n_groups,)
    log_noise : ndarray of shape (n_tasks,) or None
    point : Point
    certificate : float
    n_iter : int
    status : Status
    history : list of (deviance, certificate)
    """

    theta: np.ndarray
    tau: np.ndarray
    log_noise: np.ndarray | None
    point: object
    certificate: float
    n_iter: int
    status: Status
    history: list


def maximise(
    evidence,
    shape,
    shared,
    *,
    own_noise=False,
    start=None,
    tried=False,
    tol,
    max_iter,
):
    """Find variances at which the likelihood is stationary; it never gets worse.

    Parameters
    ----------
    evidence : Evidence
    shape : Diagonal or Unstructured
    shared : Shared
    own_noise : bool
        Whether each task has a noise of its own.
    start : tuple of ndarray, default=None
        Variances (theta, tau) to begin with; None: the likeliest of a few.
    tried : bool
        Whether it is tried what the likelihood gains: then `tol` is enough.
    tol : float
        Largest derivative of the log-likelihood in the logarithms of the variances,
        divided by the number of labels, at which to stop.
    max_iter : int
        Most steps.

    Returns
    -------
    Optimum
    """
    theta, tau, point, scores = _start(evidence, shape, shared, start)
    rho = np.zeros(len(evidence.rows.counts)) if own_noise else None
    history, status, damping = [], Status.CONVERGED, evidence.ridge
    path = deque(maxlen=_SECANTS + 1)
    # where secants steer, rounding decides the way, but the end should not depend on it
    further = _TRIED if tried else _FURTHER
    enough = (further if evidence.secants else 1.0) * tol
    for n_iter in range(max_iter + 1):
        near = n_iter > 0 and history[-1][0] - point.deviance < _NEAR
        star, outer = scores or point.scores()
        scores = None
        parts = (
            shape.around(theta, point, star, outer, near),
            shared.around(tau, point, near),
        )
        own = OwnNoise(point, rho) if own_noise else None
        slack = [part.slack for part in parts] + ([own.slack] if own_noise else [])
        certificate = 0.5 * max(slack) / evidence.rows.count
        history.append((point.deviance, certificate))
        if certificate <= enough:
            break
        if n_iter == max_iter:
            status = Status.CONVERGED if certificate <= tol else Status.MAX_ITER
            break
        if not near:  # curvatures change along a long step
            path.clear()
        path.append((theta, parts[0].gradient, tau, parts[1].gradient))
        info = _information(parts, path if evidence.secants else [])
        found = None
        if not _idle(history, point.rounding):
            found = _search(evidence, shape, shared, parts, info, own, point, damping)
        if found is None:
            # labels without noise leave no digits for a smaller certificate
            done = point.noiseless or certificate <= tol
            status = Status.CONVERGED if done else Status.STALLED
            break
        theta, tau, rho, point, damping = found
    return Optimum(theta, tau, rho, point, certificate, n_iter, status, history)


def _idle(history, rounding):
    """Whether many steps have gained nothing but rounding."""
    return len(history) > _IDLE and history[-_IDLE - 1][0] - history[-1][0] < rounding


def _start(evidence, shape, shared, given):
    """Variances and their point: those given, or the likeliest of a few scales.

    With what its `scores` are where they are known.
    """
    if given is not None:
        theta, tau = given
        point = evidence.at(shape.root(theta), shared.prior(tau))
        scores = point.scores()
        shape.hold(_own(evidence, scores), evidence.raw, theta)
        return theta, tau, point, scores
    tau = shared.start()
    r = evidence.basis.shape[1]
    pooled = evidence.at(np.zeros((r, 0)), shared.prior(tau))
    A = _own(evidence, pooled.scores())
    starts = shape.starts(A, evidence.raw, len(evidence.rows.counts))
    points = [evidence.at(shape.root(theta), shared.prior(tau)) for theta in starts]
    best = int(np.argmin([point.deviance for point in points]))
    return starts[best], tau, points[best], None


def _own(evidence, scores):
    """What the rows tell of the tasks' own columns, summed over the tasks."""
    return evidence.basis.T @ scores[0] @ evidence.basis


def _information(parts, path):
    """That of all variances, made to agree with the steps of the path."""
    info = _bent(linalg.block_diag(*[part.info for part in parts]), parts, path)
    return info + np.diag(np.concatenate([part.bends for part in parts]))


def _bent(info, parts, path):
    """The information, made to agree with the last steps (by BFGS, damped)."""
    for before, after in pairwise(path):
        change = [b - a for a, b in zip(before, after, strict=True)]
        ends = parts[0].along(*change[:2]), parts[1].along(*change[2:])
        step, bend = (np.concatenate(end) for end in zip(*ends, strict=True))
        bend, bent = 0.5 * bend, info @ step
        size, seen = float(step @ bent), float(step @ bend)
        if size <= 0.0:
            continue
        if seen < _CONVEX * size:
            share = (1.0 - _CONVEX) * size / (size - seen)
            bend = share * bend + (1.0 - share) * bent
        info = info - np.outer(bent, bent) / size
        info += np.outer(bend, bend) / float(step @ bend)
    return info


def _search(evidence, shape, shared, parts, info, own, point, damping):
    """The first step, of ever more damped ones, that the likelihood gains by."""
    slope, noise, low = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("slope", "noise", "low")
    )
    cut = len(parts[0].slope)
    for _ in range(_TRIES):
        step = _step(low, slope, info, noise, 0.5 * evidence.freedom, damping)
        theta, expected = parts[0].move(step[:cut])
        tau, gain = parts[1].move(step[cut:])
        expected += gain
        rho = None
        if own is not None:
            rho, gain = own.move(damping)
            expected += gain
        try:
            there = evidence.at(shape.root(theta), shared.prior(tau), rho)
        except linalg.LinAlgError:  # so far out that rounding is all there is
            damping = max(10.0 * damping, 1e-3)
            continue
        most = point.deviance + 1e-2 * min(expected, 0.0) + point.rounding
        if there.deviance <= most:
            damping = 0.1 * damping if damping > 1e-6 else evidence.ridge
            return theta, tau, rho, there, damping
        damping = max(10.0 * damping, 1e-3)
    return None


def _step(low, slope, info, noise, freedom, damping):
    """The step, at least `low`, that minimises the quadratic model.

    The noise is minimised over, and so are unbounded unknowns before the others.
    """
    step, alive = np.zeros(len(low)), np.diag(info) > 0
    size = np.sqrt(np.diag(info)[alive])
    M = info[np.ix_(alive, alive)] - np.outer(noise[alive], noise[alive]) / freedom
    M = M / np.outer(size, size) + damping * np.eye(len(size))
    values, vectors = linalg.eigh(M)
    inverse = (vectors / np.maximum(values, _RIDGE)) @ vectors.T
    low, best = low[alive] * size, inverse @ (-0.5 * slope[alive] / size)
    bound = np.flatnonzero(np.isfinite(low))
    if np.any(best[bound] < low[bound]):
        # minimised over the free unknowns, the model of the others has this curvature
        reduced = inverse[np.ix_(bound, bound)]
        A = linalg.inv(linalg.cholesky(reduced, lower=True))
        x = low[bound] + nnls(A, A @ (best[bound] - low[bound]))[0]
        change = linalg.solve(reduced, x - best[bound], assume_a="pos")
        best = best + inverse[:, bound] @ change
        best[bound] = x
    step[alive] = best / size
    return step
