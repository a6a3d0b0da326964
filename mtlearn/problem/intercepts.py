"""Intercepts of the tasks: which there are, which a penalty sees, where they are best.

Four choices, written down once: what depends on the choice asks the object for it.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

SATURATED = 20.0  # score at which the logistic loss of a row is 2e-9


@dataclass(frozen=True)
class Intercepts:
    """FREE, SHRUNK (or `shrunken` at another strength), SHARED (or `priced`), NONE.

    To whatever counts coefficients, the deviation of a shrunken intercept is that of a
    feature that is `unit` in every row: with a square cost of 1, it costs `strength` in
    the units of the intercept.

    Attributes
    ----------
    name : str
    own : bool
        Each task has an intercept of its own that no penalty sees.
    common : bool
        One unpenalised intercept serves all tasks, alone or as their centre.
    shrunk : bool
        Each task deviates from the common one, at the cost of a penalty.
    strength : float
        What that penalty is multiplied by, beside that of the coefficients.
    price : float
        Each task deviates from the common one by what is left of its own level at this
        cost, which is counted in rows: it goes with the loss, not with the penalty, and
        nothing else is an unknown than where intercepts are shared.
    """

    name: str
    own: bool = False
    common: bool = False
    shrunk: bool = False
    strength: float = 1.0
    price: float = np.inf

    @property
    def present(self):
        """Whether there are any."""
        return self.own or self.common

    @property
    def unit(self):
        """Value of the constant feature whose coefficients are the deviations."""
        return self.strength**-0.5

    @property
    def square(self):
        """Its square: what shrunken intercepts add to an inner product of rows."""
        return 1.0 / self.strength if self.shrunk else 0.0

    def at(self, strength):
        """What shrunken ones are under a penalty of none at all, or of infinity."""
        if not self.shrunk or 0.0 < strength < np.inf:
            return self
        return FREE if strength == 0.0 else SHARED

    def with_constant(self, X):
        """Rows with what the penalty sees of the intercepts as a last feature."""
        return np.hstack([X, np.full((len(X), 1), self.unit)]) if self.shrunk else X

    # ------------------------------------------------------------ unpenalised unknowns

    def map(self, n_tasks):
        """Intercepts of the tasks by the unpenalised unknowns, (n_tasks, n_free)."""
        if self.own:
            return sp.eye_array(n_tasks).tocsr()
        return sp.csr_array(np.ones((n_tasks, int(self.common))))

    def n_free(self, n_tasks):
        """Number of unpenalised unknowns."""
        return n_tasks if self.own else int(self.common)

    def stretches(self, starts):
        """Where the rows of each unpenalised unknown start, task after task."""
        if self.own:
            return starts
        return starts[[0, -1]] if self.common else starts[:1]

    def gather(self, per_task):
        """Quantities of the tasks, summed to the unpenalised unknowns."""
        if self.own:
            return per_task
        total = per_task.sum(axis=0, keepdims=True)
        return total if self.common else total[:0]

    def spread(self, unknowns, n_tasks):
        """The unknown of every task, zero without any: the adjoint of `gather`."""
        shape = (n_tasks, *unknowns.shape[1:])
        return np.broadcast_to(unknowns if self.present else 0.0, shape)

    # ------------------------------------------------------------ the best ones

    def left(self, mass, strength):
        r"""Curvature of 1/2 m_t (f_t - b_t)^2 that the tasks' own parts leave.

        Minimised over deviations at the cost of 1/2 s d_t^2, s the strength times that
        of the intercepts, or their price, it is m_t s / (m_t + s).
        """
        if self.at(strength).own:
            return np.zeros_like(mass)
        cost = self._cost(strength)
        return mass if cost == np.inf else mass * cost / (mass + cost)

    def _cost(self, strength):
        """What a deviation costs, if the penalty has this strength."""
        if self.shrunk and self.at(strength).shrunk:
            return self.strength * strength
        return self.price

    def best(self, aim, mass, strength=np.inf):
        r"""argmin_b 1/2 sum_t m_t (f_t - b_t)^2 + 1/2 s sum_t (b_t - mean b)^2.

        Parameters
        ----------
        aim : ndarray of shape (n_tasks,) or (n_tasks, q)
            f, the best intercepts if each task had its own.
        mass : ndarray of shape (n_tasks,)
        strength : float, default=inf
            For shrunken ones: s is this times their own strength.

        Returns
        -------
        b : ndarray of the shape of `aim`
        """
        mode, cost = self.at(strength), self._cost(strength)
        if mode.own:
            return aim
        if not mode.common:
            return np.zeros_like(aim)
        level = weighted_mean(aim, self.left(mass, strength))
        if cost == np.inf:
            return np.broadcast_to(level, aim.shape).copy()
        share = mass / (mass + cost)
        return level + (share * (aim - level).T).T


FREE = Intercepts("free", own=True)
SHRUNK = Intercepts("shrunk", common=True, shrunk=True)
SHARED = Intercepts("shared", common=True)
NONE = Intercepts("none")


def shrunken(strength):
    """Shrunken intercepts whose deviations cost `strength` times as much."""
    return replace(SHRUNK, strength=float(strength))


def priced(cost):
    """Shrunken intercepts by the cost of a deviation: free at 0, shared at infinity."""
    return FREE if cost == 0.0 else replace(SHARED, price=float(cost))


def weighted_mean(values, mass):
    """Mean of the rows; of equal ones, to the last bit, that row; 0 without a mass."""
    total = mass.sum()
    if not total > 0:
        return np.zeros(values.shape[1:])
    origin = values[np.argmax(mass)]
    rest = ((mass > 0) * (values - origin).T).T
    return origin + mass @ rest / total


def saturated(data, y):
    """Intercepts at which the logistic loss of tasks with one class is next to nothing.

    Their loss has no minimum in an intercept of the task's own, only an infimum; from
    zero Newton's method would walk there in unit steps.

    Parameters
    ----------
    data : TaskData
    y : ndarray of shape (n_observations,)
        Labels -1 and +1.

    Returns
    -------
    b : ndarray of shape (n_tasks,)
        Zero where a task has both classes, or no row.
    """
    total, size = data.sums(y), data.sizes
    one = (np.abs(total) == size) & (size > 0)
    return np.where(one, SATURATED * np.sign(total), 0.0)


class FreeUnknowns:
    """The unpenalised unknowns of the intercepts under a form, for Newton steps.

    Every task's by itself, or one for all; where tasks are made of others, whose
    intercepts follow the same rules, all of them in one block.

    Attributes
    ----------
    separate : bool
        Whether each concerns one task only.
    rules : csr_array of shape (n_tasks, n_free) or None
        How intercepts follow from the unknowns where tasks are made of others.
    shape : (n_blocks, size)
        Of the unknowns, of q scores.
    """

    def __init__(self, intercept, form, q):
        self.intercept, self.free, self.q = intercept, form.free, q
        self.n_tasks, self.separate = form.n_tasks, form.separates(intercept)
        mixed = form.composed and intercept.present
        self.rules = form.intercept_map(intercept) if mixed else None
        self.shape = intercept.n_free(self.n_tasks), q
        if mixed:
            self.shape = 1, self.rules.shape[1] * q

    def __len__(self):
        return self.shape[0]

    def of(self, b):
        """The unknowns of given intercepts (n_tasks, q)."""
        if not self.intercept.present:
            return np.zeros(self.shape)
        own = b[self.free]
        if not self.intercept.own:
            own = own.mean(axis=0, keepdims=True)
        return own.reshape(self.shape).copy()

    def gather(self, per_task):
        """Quantities of the tasks' intercepts, summed to the unknowns."""
        if self.rules is not None:
            return (self.rules.T @ per_task).reshape(1, -1)
        return self.intercept.gather(per_task)

    def spread(self, beta):
        """Intercepts of the tasks, (n_tasks, q): the adjoint of `gather`."""
        if self.rules is not None:
            return self.rules @ beta.reshape(-1, self.q)
        return self.intercept.spread(beta, self.n_tasks)
