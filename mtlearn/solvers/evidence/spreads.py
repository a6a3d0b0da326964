"""How far the errors of each task spread, in the light of all tasks.

The errors of task t are normal with a variance of its own, the variances are scaled
inverse chi-squares around that of a task of its size, and what is common to the tasks
maximises the marginal likelihood. A task of few errors has nearly the common spread,
and a new error of it a Student distribution. How far that holds is seen from errors
themselves, with spreads by as few others of their tasks as the task at hand has.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln, stdtr, stdtrit

_BOUNDS = ((-12.0, 12.0), (np.log(1.0), np.log(1e4)), (0.0, 4.0))
_MOST_SIZES = 16  # of tasks that are calibrated each by itself
_MOST_ERRORS = 50_000  # by which they are calibrated
_HOW = {"method": "L-BFGS-B", "jac": True, "options": {"ftol": 1e-13, "gtol": 1e-9}}
_STARTS = ((0.0, np.log(4.0), 0.0), (0.0, np.log(50.0), 1.0))


@dataclass(frozen=True)
class Spreads:
    """Spreads of tasks, and of all.

    Attributes
    ----------
    degrees : float
        How many errors what is common to the tasks is worth in each.
    common : ndarray of shape (n_tasks,)
        Variance of a task of that size.
    squares : ndarray of shape (n_tasks,)
        Sums of the squared errors.
    counts : ndarray of shape (n_tasks,)
        Their numbers.
    spent : int
        Errors of a task that say nothing new: one, where errors of the same task are
        about a level that the others had a say in.
    """

    degrees: float
    common: np.ndarray
    squares: np.ndarray
    counts: np.ndarray
    spent: int = 0

    def known(self, common, squares, counts):
        """Degrees and scale of a new error of tasks with such errors."""
        free = np.maximum(counts - self.spent, 0)
        degrees = self.degrees + free
        total = self.degrees * common + squares * (free / np.maximum(counts, 1))
        return degrees, np.sqrt(total / degrees)

    def scale(self):
        """Scale of a new error of each task, (n_tasks,)."""
        return self.known(self.common, self.squares, self.counts)[1]

    def half_widths(self, p):
        """What a new error exceeds with a probability of each task, (n_tasks,)."""
        degrees, scale = self.known(self.common, self.squares, self.counts)
        far = -stdtrit(degrees, 0.5 * np.where(p > 0, p, 0.5))
        return np.where(p > 0, far * scale, np.inf)


def find_spreads(errors, codes, sizes, spent=0):
    """The `Spreads` of tasks.

    Parameters
    ----------
    errors : ndarray of shape (n_errors,)
    codes : ndarray of shape (n_errors,), int
        Task of each.
    sizes : ndarray of shape (n_tasks,)
        Rows that each task's model learned from: of few the errors are larger.
    spent : int, default=0
        As in `Spreads`.

    Returns
    -------
    Spreads
    """
    counts = np.bincount(codes, minlength=len(sizes)).astype(np.float64)
    unit = np.sqrt(np.mean(errors**2)) or 1.0
    squares = np.bincount(codes, (errors / unit) ** 2, len(sizes))
    few = 1.0 / (1.0 + sizes)
    seen = counts > spent
    free = counts[seen] - spent
    what = squares[seen] * free / counts[seen], free, few[seen]
    fits = [minimize(_loss, x, what, bounds=_BOUNDS, **_HOW) for x in _STARTS]
    level, degrees, slope = min(fits, key=lambda fit: fit.fun).x
    common = unit**2 * np.exp(level + slope * few)
    return Spreads(float(np.exp(degrees)), common, unit**2 * squares, counts, spent)


def _loss(x, squares, counts, few):
    """Minus the marginal log-likelihood but for a constant, and its gradient."""
    level, degrees, slope = x
    nu = np.exp(degrees)
    prior = nu * np.exp(level + slope * few)
    half, whole = 0.5 * (nu + counts), prior + squares
    each = gammaln(half) - gammaln(0.5 * nu)
    each += 0.5 * nu * np.log(prior) - half * np.log(whole)
    by_level = 0.5 * nu - half * prior / whole
    by_nu = digamma(half) - digamma(0.5 * nu) + np.log(prior / whole)
    by_degrees = 0.5 * nu * by_nu + by_level
    gradient = by_level.sum(), by_degrees.sum(), few @ by_level
    return -float(each.sum()), -np.array(gradient)


class Calibration:
    """What the errors themselves say of tasks with so many of them.

    Parameters
    ----------
    spreads : Spreads
    errors : ndarray of shape (n_errors,)
    codes : ndarray of shape (n_errors,), int
        Task of each.
    weight : ndarray of shape (n_errors,)
    """

    def __init__(self, spreads, errors, codes, weight):
        self.spreads = spreads
        # the tasks one after the other, the errors of each in random order
        rng = np.random.default_rng(0)
        order = np.lexsort((rng.permutation(len(errors)), codes))
        each = errors[order], codes[order], weight[order]
        some = np.arange(0, len(order), max(1, len(order) // _MOST_ERRORS))
        sizes, self.place = _some_sizes(spreads.counts)
        self.tails = [self._tails(m, some, *each) for m in sizes]

    def half_widths(self, coverage):
        """Half the width of each task's interval, (n_tasks,)."""
        p = np.array(
            [
                -covering(-tails, weight, coverage, weight.mean())
                for tails, weight in self.tails
            ]
        )
        return self.spreads.half_widths(p[self.place])

    def _tails(self, m, some, errors, codes, weight):
        """Probabilities of larger errors than some, as of tasks of m; their weights.

        Every task counts the same if it has so many, else in proportion.
        """
        spreads = self.spreads
        sizes = spreads.counts.astype(np.int64)
        starts, total = np.cumsum(sizes) - sizes, np.append(0.0, np.cumsum(errors**2))
        mass = np.bincount(codes, weight, len(sizes))
        errors, codes, weight = errors[some], codes[some], weight[some]
        low, high = starts[codes], (starts + sizes)[codes]
        few = np.minimum(m, sizes[codes] - 1)
        # the next few of its task, going on from the first after the last
        first = some + 1
        last = first + few
        squares = total[np.minimum(last, high)] - total[first]
        squares += total[low + np.maximum(last - high, 0)] - total[low]
        # sums of which others were taken away
        others = np.maximum(squares, 0.0), few
        degrees, scale = spreads.known(spreads.common[codes], *others)
        weight = weight / mass[codes] * np.minimum(sizes[codes], m + 1) / (m + 1)
        return 2.0 * stdtr(degrees, -np.abs(errors) / scale), weight


def _some_sizes(counts):
    """A few of the numbers of errors, and which of them is nearest below for each."""
    found = np.unique(counts).astype(np.int64)
    if len(found) > _MOST_SIZES:
        share = np.linspace(0.0, 1.0, _MOST_SIZES)
        wanted = np.exp(np.interp(share, [0, 1], np.log1p(found[[0, -1]]))) - 1.0
        found = np.unique(
            found[np.searchsorted(found, wanted - 1e-9).clip(max=len(found) - 1)]
        )
    return found, np.searchsorted(found, counts, side="right") - 1


def covering(values, weight, coverage, new):
    """The smallest value that covers so much of all weight, a new one's included.

    Parameters
    ----------
    values : ndarray of shape (n,)
    weight : ndarray of shape (n,)
    coverage : float
    new : float
        Weight of the new one, which may be any value.

    Returns
    -------
    float
        Infinite where the values that there are do not weigh enough.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    # sums that are equal but for rounding
    wanted = coverage * (below[-1] + new) * (1.0 - 1e-12)
    place = np.searchsorted(below, wanted)
    return float(values[order[place]]) if place < len(order) else np.inf
