"""What a user may demand of the coefficients W, as data that any solver can read.

A constraint is bound to the tasks and features of a fit by `demand`: sparse rows over
the coefficients between two limits, and balls. Only a callable needs cvxpy's language.
"""

import numbers
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone

from .problem.demands import Demand
from .problem.ids import as_floats, shorten


@dataclass(frozen=True)
class ConstraintDual:
    """What one constraint costs in a fitted model: an entry of `constraint_duals_`.

    Parameters
    ----------
    constraint : object
        As it was given.
    price : ndarray or list of ndarray
        Derivative of the smallest objective by the limit, in the shape that the
        constraint's own page gives; a callable has cvxpy's dual values in a list.
    binding : ndarray of bool or list of ndarray
        Where the price is not zero.
    """

    constraint: object
    price: object
    binding: object

    def __repr__(self):
        several = isinstance(self.binding, list)
        binding = self.binding if several else [self.binding]
        prices = self.price if several else [self.price]
        n_binding, size = sum(map(np.sum, binding)), sum(map(np.size, binding))
        highest = max((np.max(np.abs(p), initial=0.0) for p in prices), default=0.0)
        return (
            f"<{describe(self.constraint)}: binds in {n_binding} of {size} places, "
            f"highest price {highest:.4g}>"
        )


class Constraint(BaseEstimator):
    """Base of the constraints: parameters as in scikit-learn, bound by `demand`."""

    def demand(self, scope):
        """Check the parameters and bind them to the tasks and features of a fit.

        Parameters
        ----------
        scope : Scope
            The ids of the tasks, and the names and number of features.

        Returns
        -------
        demand : Demand
            The constraint as sparse rows, limits and balls.

        Raises
        ------
        ValueError
            If a name, a position or a limit is not possible.
        """
        raise NotImplementedError

    def tidy(self, W, scope):
        """Remove what rounding has left of a violation.

        Parameters
        ----------
        W : ndarray of shape (n_tasks, n_features)
            Coefficients that obey the constraint up to rounding.
        scope : Scope
            As in `demand`.

        Returns
        -------
        W : ndarray of shape (n_tasks, n_features)
            The same, up to rounding.
        """
        return W

    def _features(self, scope):
        return _positions(type(self).__name__, self.features, scope)


class Bounds(Constraint):
    r"""Coefficients between two limits, in every task.

    .. math:: l_j \le w_{tj} \le u_j \quad \text{for all tasks } t
              \text{ and the listed features } j

    Parameters
    ----------
    lower : float, array-like or None, default=None
        Lower limit, one for all or one per listed feature, in the units of the
        coefficients; None or minus infinity: no limit.
    upper : float, array-like or None, default=None
        Upper limit, alike.
    features : str, int or sequence of these, default=None
        Names of columns, or positions in `coef_` (the column of ids does not count;
        negative ones from the end). None: all features.

    See Also
    --------
    NonNegative : The lower limit 0.

    Notes
    -----
    Its price in `constraint_duals_` has shape (n_tasks, n_features): the derivative of
    the smallest objective by the limit that binds. It is positive at a lower limit,
    negative at an upper one and zero where neither binds.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.constraints import Bounds
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    >>> y = np.array([0.0, 3.0, 6.0, 0.0, -1.0, -2.0])
    >>> model = PerTaskRegressor(alpha=0, constraints=[Bounds(0, 2)])
    >>> model.fit(X, y, task=list("aaabbb")).coef_.tolist()
    [[2.0], [0.0]]
    >>> model.constraint_duals_[0].price.round(6).tolist()
    [[-2.0], [2.0]]
    """

    def __init__(self, lower=None, upper=None, features=None):
        self.lower = lower
        self.upper = upper
        self.features = features

    def _limits(self, positions):
        """Lower and upper limits of the listed features, checked."""
        name, size = type(self).__name__, len(positions)
        lower = _limit(f"`lower` of {name}", self.lower, size, -np.inf)
        upper = _limit(f"`upper` of {name}", self.upper, size, np.inf)
        if np.any(lower > upper):
            at = int(np.argmax(lower > upper))
            raise ValueError(
                f"`lower` of {name} must not exceed `upper`, got {lower[at]:g} > "
                f"{upper[at]:g}: no coefficient could obey (infeasible)."
            )
        return lower, upper

    def demand(self, scope):
        """Check the parameters and bind them to the tasks and features of a fit.

        Parameters
        ----------
        scope : Scope
            The ids of the tasks, and the names and number of features.

        Returns
        -------
        demand : Demand
            A row per task and listed feature.

        Raises
        ------
        ValueError
            If a name, a position or a limit is not possible.
        """
        positions = self._features(scope)
        lower, upper = self._limits(positions)
        n_tasks, d = len(scope.tasks), scope.n_features
        place = (np.arange(n_tasks)[:, None] * d + positions).ravel()
        return Demand(
            _entries(place, n_tasks * d),
            np.tile(lower, n_tasks),
            np.tile(upper, n_tasks),
            (n_tasks, d),
            place,
        )

    def tidy(self, W, scope):
        """Clip what rounding has left beyond the limits.

        Parameters
        ----------
        W : ndarray of shape (n_tasks, n_features)
            Coefficients that obey the constraint up to rounding.
        scope : Scope
            As in `demand`.

        Returns
        -------
        W : ndarray of shape (n_tasks, n_features)
            The same within the limits.
        """
        positions = self._features(scope)
        W = W.copy()
        W[:, positions] = np.clip(W[:, positions], *self._limits(positions))
        return W


class NonNegative(Bounds):
    r"""Coefficients that are not negative, in every task.

    .. math:: w_{tj} \ge 0 \quad \text{for all tasks } t
              \text{ and the listed features } j

    Parameters
    ----------
    features : str, int or sequence of these, default=None
        Names of columns, or positions in `coef_` (the column of ids does not count;
        negative ones from the end). None: all features.

    See Also
    --------
    Bounds : Any limits.

    Notes
    -----
    Its price in `constraint_duals_` has shape (n_tasks, n_features): how much the
    smallest objective would rise per unit that the limit rises, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.constraints import NonNegative
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    >>> y = np.array([0.0, 3.0, 6.0, 0.0, -1.0, -2.0])
    >>> model = PerTaskRegressor(alpha=0, constraints=[NonNegative()])
    >>> model.fit(X, y, task=list("aaabbb")).coef_.round(6).tolist()
    [[3.0], [0.0]]
    """

    lower, upper = 0.0, None

    def __init__(self, features=None):
        self.features = features


class SharedCoefficients(Constraint):
    r"""The same coefficient in every task.

    .. math:: w_{sj} = w_{tj} \quad \text{for all tasks } s, t
              \text{ and the listed features } j

    Parameters
    ----------
    features : str, int, sequence of these or None
        Names of columns, or positions in `coef_` (the column of ids does not count;
        negative ones from the end). None: all features.

    Notes
    -----
    Its price in `constraint_duals_` has shape (n_tasks, n_features), zero for features
    that are not listed: the derivative of the smallest objective by an offset of this
    task's coefficient from the common one. The prices of a feature sum to zero; tasks
    of negative price would have a larger coefficient if they might.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.constraints import SharedCoefficients
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    >>> y = np.array([0.0, 3.0, 6.0, 5.0, 6.0, 7.0])
    >>> model = PerTaskRegressor(alpha=0, constraints=[SharedCoefficients([0])])
    >>> model.fit(X, y, task=list("aaabbb")).coef_.round(6).tolist()
    [[2.0], [2.0]]
    """

    def __init__(self, features):
        self.features = features

    def demand(self, scope):
        """Check the parameters and bind them to the tasks and features of a fit.

        Parameters
        ----------
        scope : Scope
            The ids of the tasks, and the names and number of features.

        Returns
        -------
        demand : Demand
            A row per listed feature and pair of neighbours among the tasks.

        Raises
        ------
        ValueError
            If a name or a position is not possible.
        """
        positions, n_tasks = self._features(scope), len(scope.tasks)
        rows = _steps(np.arange(n_tasks), positions, scope)
        none = np.zeros(rows.shape[0])
        return Demand(rows, none, none, (n_tasks, scope.n_features), None)

    def tidy(self, W, scope):
        """Give every task the mean of what rounding has left different.

        Parameters
        ----------
        W : ndarray of shape (n_tasks, n_features)
            Coefficients that obey the constraint up to rounding.
        scope : Scope
            As in `demand`.

        Returns
        -------
        W : ndarray of shape (n_tasks, n_features)
            The same with equal coefficients.
        """
        positions = self._features(scope)
        W = W.copy()
        W[:, positions] = W[:, positions].mean(axis=0)
        return W


class Close(Constraint):
    r"""No task far from the mean of all.

    .. math:: \Bigl| w_t - \frac1T \sum_s w_s \Bigr|_2 \le r
              \quad \text{for all tasks } t

    Parameters
    ----------
    radius : float
        r, at least 0, in the units of the coefficients; 0 makes all tasks equal.

    Notes
    -----
    Its price in `constraint_duals_` has shape (n_tasks,): the derivative of the
    smallest objective by this task's radius, at most 0. (With radius 0, which has no
    such derivative, minus the length of the force on the task.)

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.constraints import Close
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    >>> y = np.array([0.0, 3.0, 6.0, 5.0, 6.0, 7.0])
    >>> model = PerTaskRegressor(alpha=0, constraints=[Close(0.5)])
    >>> model.fit(X, y, task=list("aaabbb")).coef_.round(6).tolist()
    [[2.5], [1.5]]
    """

    def __init__(self, radius):
        self.radius = radius

    def demand(self, scope):
        """Check the parameters and bind them to the tasks and features of a fit.

        Parameters
        ----------
        scope : Scope
            The ids of the tasks, and the names and number of features.

        Returns
        -------
        demand : Demand
            A ball per task; equal coefficients if the radius is 0.

        Raises
        ------
        ValueError
            If the radius is not a number of at least 0.
        """
        radius = _number("`radius` of Close", self.radius)
        if radius < 0:
            raise ValueError(f"`radius` of Close must be >= 0, got {radius:g}.")
        n_tasks, d = len(scope.tasks), scope.n_features
        if radius == 0:
            rows = _steps(np.arange(n_tasks), np.arange(d), scope)
            none = np.zeros(rows.shape[0])
            return Demand(rows, none, none, (n_tasks,), None)
        mean = sp.csr_array(np.full((1, n_tasks), 1.0 / n_tasks))
        nothing = sp.csr_array((0, n_tasks * d))
        return Demand(
            nothing,
            np.zeros(0),
            np.zeros(0),
            (n_tasks,),
            np.zeros(0, dtype=np.intp),
            sp.eye_array(n_tasks * d).tocsr(),
            sp.kron(mean, sp.eye_array(d)).tocsr(),
            np.full(n_tasks, radius),
        )


class Monotone(Constraint):
    r"""Coefficients that do not fall along a list of tasks.

    .. math:: w_{o_1 j} \le w_{o_2 j} \le \dots \quad
              \text{for the listed features } j

    Parameters
    ----------
    features : str, int, sequence of these or None
        Names of columns, or positions in `coef_` (the column of ids does not count;
        negative ones from the end). None: all features.
    order : sequence of ids
        The tasks o_1, o_2, ..., at least two; others are not touched.

    Notes
    -----
    Its price in `constraint_duals_` has shape (len(order) - 1, n_features): how much
    the smallest objective would rise per unit by which the coefficient had to rise from
    a task to the next, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.constraints import Monotone
    >>> X = np.array([[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    >>> y = np.array([0.0, 3.0, 6.0, 5.0, 6.0, 7.0])
    >>> model = PerTaskRegressor(alpha=0, constraints=[Monotone([0], ["a", "b"])])
    >>> model.fit(X, y, task=list("aaabbb")).coef_.round(6).tolist()
    [[2.0], [2.0]]
    """

    def __init__(self, features, order):
        self.features = features
        self.order = order

    def _places(self, scope):
        """Rows of W of the tasks in `order`, checked."""
        order = self.order
        if isinstance(order, (str, bytes)) or not hasattr(order, "__iter__"):
            raise TypeError(
                f"`order` of Monotone must be a list of task ids, got {order!r}."
            )
        order = [getattr(task, "item", lambda t=task: t)() for task in order]
        place = {task: t for t, task in enumerate(scope.tasks.tolist())}
        unknown = [task for task in order if task not in place]
        if unknown:
            raise ValueError(
                f"`order` of Monotone names unknown tasks {shorten(unknown, 4)}; the "
                f"tasks are {shorten(scope.tasks)}."
            )
        if len(set(order)) < len(order) or len(order) < 2:
            what = "two different tasks or more, each once"
            raise ValueError(
                f"`order` of Monotone must name {what}, got {shorten(order)}."
            )
        return np.array([place[task] for task in order])

    def demand(self, scope):
        """Check the parameters and bind them to the tasks and features of a fit.

        Parameters
        ----------
        scope : Scope
            The ids of the tasks, and the names and number of features.

        Returns
        -------
        demand : Demand
            A row per step of the order and listed feature.

        Raises
        ------
        ValueError
            If a task, a name or a position is not possible.
        """
        positions, places = self._features(scope), self._places(scope)
        rows = _steps(places, positions, scope)
        steps = np.arange(len(places) - 1)[:, None] * scope.n_features
        return Demand(
            rows,
            np.zeros(rows.shape[0]),
            np.full(rows.shape[0], np.inf),
            (len(places) - 1, scope.n_features),
            (steps + positions).ravel(),
        )


class SumTo(Constraint):
    r"""Coefficients that sum to a given value, within each task.

    .. math:: \sum_j w_{tj} = v \quad \text{for all tasks } t,
              \text{ over the listed features } j

    Parameters
    ----------
    value : float
        v, in the units of the coefficients.
    features : str, int or sequence of these, default=None
        Names of columns, or positions in `coef_` (the column of ids does not count;
        negative ones from the end). None: all features.

    Notes
    -----
    Its price in `constraint_duals_` has shape (n_tasks,): the derivative of the
    smallest objective by this task's value.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.constraints import NonNegative, SumTo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(40, 3))
    >>> y = X @ [0.9, 0.6, -0.2]
    >>> shares = [NonNegative(), SumTo(1)]
    >>> model = PerTaskRegressor(alpha=0, constraints=shares).fit(X, y)
    >>> round(float(model.coef_.sum()), 9), bool(model.coef_.min() >= 0)
    (1.0, True)
    """

    def __init__(self, value, features=None):
        self.value = value
        self.features = features

    def demand(self, scope):
        """Check the parameters and bind them to the tasks and features of a fit.

        Parameters
        ----------
        scope : Scope
            The ids of the tasks, and the names and number of features.

        Returns
        -------
        demand : Demand
            A row per task.

        Raises
        ------
        ValueError
            If a name, a position or the value is not possible.
        """
        value = _number("`value` of SumTo", self.value)
        positions, n_tasks = self._features(scope), len(scope.tasks)
        listed = np.zeros((1, scope.n_features))
        listed[0, positions] = 1.0
        rows = sp.kron(sp.eye_array(n_tasks), sp.csr_array(listed)).tocsr()
        total = np.full(n_tasks, value)
        return Demand(rows, total, total, (n_tasks,), np.arange(n_tasks))


def check_constraints(constraints):
    """Return the parameter `constraints` as a list; None is an empty one.

    Raises
    ------
    TypeError
        If it is not a list, or an entry neither a constraint nor callable.
    """
    if constraints is None:
        return []
    if not isinstance(constraints, (list, tuple)):
        raise TypeError(
            "`constraints` must be a list of objects of mtlearn.constraints or "
            f"callables, got {constraints!r}."
        )
    for one in constraints:
        if isinstance(one, type) or not (isinstance(one, Constraint) or callable(one)):
            raise TypeError(
                "`constraints` must hold objects of mtlearn.constraints or callables, "
                f"got {one!r}."
                + (" Did you forget the parentheses?" if isinstance(one, type) else "")
            )
    return list(constraints)


def call(constraint, W, b):
    """The cvxpy constraints that a callable demands of the expressions W and b.

    Raises
    ------
    TypeError
        If it does not return cvxpy constraints.
    """
    import cvxpy as cp

    found = constraint(W, b)
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    for one in found:
        if not isinstance(one, cp.constraints.constraint.Constraint):
            raise TypeError(
                f"{describe(constraint)} in `constraints` must return a list of cvxpy "
                f"constraints, got {type(one).__name__}."
            )
    return found


def describe(constraint):
    """Print a constraint for a message, on one line."""
    if isinstance(constraint, Constraint):
        text = " ".join(repr(constraint).split())
    else:
        text = getattr(constraint, "__name__", type(constraint).__name__) + "(W, b)"
    return text if len(text) <= 80 else text[:76] + " ..."


def by_position(constraints, scope):
    """The same constraints with positions in the place of the features' names.

    Parameters
    ----------
    constraints : list
    scope : Scope

    Returns
    -------
    constraints : list
    """
    return [
        clone(one).set_params(features=one._features(scope))
        if hasattr(one, "features")
        else one
        for one in constraints
    ]


# ---------------------------------------------------------------- parts


def _positions(owner, features, scope):
    """Columns of W that `features` names, in its order."""
    d = scope.n_features
    if features is None:
        return np.arange(d)
    single = isinstance(features, (str, bytes, numbers.Integral))
    if not single and not hasattr(features, "__iter__"):
        raise TypeError(
            f"`features` of {owner} must be names or positions, got {features!r}."
        )
    listed = [features] if single else list(features)
    found = [_position(owner, one, scope) for one in listed]
    if not found or len(set(found)) < len(found):
        what = "names a feature twice" if found else "names no feature"
        raise ValueError(f"`features` of {owner} {what}: {shorten(listed)}.")
    return np.array(found)


def _position(owner, feature, scope):
    """Column of W of one name or position."""
    d = scope.n_features
    if isinstance(feature, numbers.Integral) and not isinstance(
        feature, (bool, np.bool_)
    ):
        if not -d <= feature < d:
            raise ValueError(
                f"`features` of {owner} has position {feature}, but `coef_` has {d} "
                "columns (that of the ids does not count)."
            )
        return int(feature) % d
    if not isinstance(feature, str):
        raise TypeError(
            f"`features` of {owner} must hold names or integer positions, got "
            f"{feature!r}."
        )
    if scope.names is None:
        raise ValueError(
            f"`features` of {owner} names {feature!r}, but X has no column names: "
            "pass a data frame, or positions in `coef_`."
        )
    if feature not in scope.names:
        raise ValueError(
            f"`features` of {owner} names {feature!r}, which is not a feature; the "
            f"features are {shorten(scope.names)}."
        )
    return scope.names.index(feature)


def _number(name, value):
    """A finite number, or one sentence."""
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return float(value)


def _limit(name, value, size, default):
    """One limit per listed feature."""
    limit = as_floats(name.strip("`"), default if value is None else value)
    if limit.ndim > 1 or (limit.ndim == 1 and len(limit) != size):
        raise ValueError(
            f"{name} must be a number or one per listed feature ({size}), got shape "
            f"{limit.shape}."
        )
    if np.any(np.isnan(limit)) or np.any(limit == -default):
        raise ValueError(f"{name} must be a number or {default:g}, got {value!r}.")
    return np.broadcast_to(limit, (size,))


def _entries(place, size):
    """A row for every place, with a one there."""
    ones, count = np.ones(len(place)), len(place)
    return sp.csr_array((ones, place, np.arange(count + 1)), shape=(count, size))


def _steps(places, positions, scope):
    """Rows w_next - w_this along a list of tasks, for every listed feature."""
    d, size = scope.n_features, len(scope.tasks) * scope.n_features
    here = (places[:-1, None] * d + positions).ravel()
    there = (places[1:, None] * d + positions).ravel()
    return (_entries(there, size) - _entries(here, size)).tocsr()
