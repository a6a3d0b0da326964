"""How tasks are related, as a quadratic form Omega(W) with structure.

A relation is what the user writes; `form` binds it to the tasks of a fit.
"""

import numbers

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from sklearn.base import BaseEstimator

from .problem.forms import ArrowForm, ComposedForm, LearnedForm, MatrixForm
from .problem.ids import (
    LARGEST,
    as_floats,
    column_names,
    id_array,
    index_tasks,
    shorten,
)
from .problem.rules import check_rules, resolve_rules


class Related:
    """What has a parameter `relation`, which may be a name; goes before BaseEstimator.

    A name stands for the relation with its default parameters, so that these are
    reached as `relation__...` too.
    """

    def set_params(self, **params):
        """Set parameters, those of the relation as `relation__...`.

        Parameters
        ----------
        **params : dict
            Parameters and their values. Where `relation` is a name and one of its
            parameters is set, the object takes the place of the name: "shared_mean"
            becomes `SharedMean(...)`.

        Returns
        -------
        self : object
            With the new parameters.
        """
        own = "relation__"
        inner = {k[len(own) :]: v for k, v in params.items() if k.startswith(own)}
        relation = params.get("relation", getattr(self, "relation", None))
        if inner and isinstance(relation, str):
            params = {k: v for k, v in params.items() if not k.startswith(own)}
            params["relation"] = check_relation(relation).set_params(**inner)
        return super().set_params(**params)


class Relation(BaseEstimator):
    """Base of the relations: parameters as in scikit-learn, bound by `form`.

    `spreads` says whether a task without labels still has a model of its own by its
    relation to the others; otherwise it gets the shared model.
    """

    spreads = False

    def taking_part(self, tasks, labelled):
        """Which tasks are part of the problem, and not given the shared model.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model.
        labelled : ndarray of shape (n_tasks,), bool
            Which of them have labels.

        Returns
        -------
        part : ndarray of shape (n_tasks,), bool
            Those with labels, or all where the relation makes models of neighbours'.
        """
        return np.ones(len(tasks), dtype=bool) if self.spreads else labelled

    def given(self, tasks):
        """Which tasks follow from others by a rule, labels or not.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model.

        Returns
        -------
        given : ndarray of shape (n_tasks,), bool
            None, but in a `Composition`.
        """
        return np.zeros(len(tasks), dtype=bool)

    def model_tasks(self, tasks):
        """Ids of all tasks of the model, sorted.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of the tasks of the data.

        Returns
        -------
        tasks : ndarray
            Those, or all that the relation names.
        """
        return tasks

    def form(self, tasks):
        """Bind the relation to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        raise NotImplementedError

    def kernel(self, tasks):
        """Task kernel.

        Parameters
        ----------
        tasks : int or ndarray of ids
            The tasks, or how many.

        Returns
        -------
        K : ndarray of shape (n_tasks, n_tasks)
            The inverse of the task precision.
        """
        return self.form(_ids(tasks)).kernel()

    def omega(self, W, tasks=None):
        """Penalty of given coefficients.

        Parameters
        ----------
        W : array-like of shape (n_tasks, n_features)
            Coefficients, a row per task.
        tasks : ndarray of ids, default=None
            The tasks of the rows; needed where the relation names tasks.

        Returns
        -------
        omega : float
            Omega(W).
        """
        W = np.asarray(W, dtype=np.float64)
        return self.form(_ids(len(W) if tasks is None else tasks)).omega(W)


def _ids(tasks):
    return (
        np.arange(tasks) if isinstance(tasks, numbers.Integral) else np.asarray(tasks)
    )


class Independent(Relation):
    r"""Nothing is shared.

    .. math:: \Omega(W) = \sum_t |w_t|^2

    Examples
    --------
    >>> Independent().kernel(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        return ArrowForm(len(tasks), 0.0, 1.0)


class SharedMean(Relation):
    r"""Tasks vary around a common model: w_t = w_0 + v_t.

    .. math:: \Omega(W) = \min_{w_0} \frac{|w_0|^2}{\rho}
              + \sum_t \frac{|w_t - w_0|^2}{1 - \rho}

    which is the task kernel K = (1 - rho) I + rho 11'. Both ends are exact: rho = 0 is
    `Independent`, rho = 1 one common w with penalty \|w\|^2.

    Parameters
    ----------
    correlation : float, default=0.5
        rho, between 0 and 1.

    References
    ----------
    Evgeniou and Pontil, Regularized multi-task learning, KDD 2004.

    Examples
    --------
    >>> SharedMean(0.25).kernel(2).round(6).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """

    def __init__(self, correlation=0.5):
        self.correlation = correlation

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        rho = self.correlation
        number = isinstance(rho, numbers.Real) and not isinstance(rho, bool)
        if not number or not 0 <= rho <= 1:
            raise ValueError(
                f"`correlation` of SharedMean must be a number in [0, 1], got {rho!r}."
            )
        return ArrowForm(len(tasks), float(np.sqrt(rho)), float(np.sqrt(1.0 - rho)))


class LearnedCovariance(Relation):
    r"""How the tasks are related is found with the coefficients.

    .. math:: \Omega(W) = \min_K \operatorname{tr}(W^\top K^{-1} W),
              \qquad K \succeq 0, \; \operatorname{tr} K = n_{tasks}

    which is the squared nuclear norm of W over n_tasks: tasks that need the same few
    directions are related, and K may have any rank and negative covariances. It is for
    smooth losses of one score (numbers, two classes, the squared margin losses) and up
    to some hundreds of tasks. `task_covariance_` of the estimator is what was found.

    References
    ----------
    Zhang and Yeung, A convex formulation for learning task relationships in multi-task
    learning, UAI 2010.

    Examples
    --------
    >>> LearnedCovariance().omega([[3.0, 0.0], [0.0, 1.0]])
    8.0
    """

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : LearnedForm
            Says that there is no quadratic form yet.
        """
        return LearnedForm(len(tasks))

    def kernel(self, tasks):
        """There is none before a fit.

        Parameters
        ----------
        tasks : int or ndarray of ids
            The tasks, or how many.

        Raises
        ------
        ValueError
            Always: the estimator has it after `fit`, as `task_covariance_`.
        """
        raise ValueError(
            "LearnedCovariance has no kernel of its own: it is `task_covariance_` of "
            "the estimator after `fit`."
        )


class _MatrixRelation(Relation):
    """A relation given by a matrix over named, or at least ordered, tasks."""

    spreads = True

    def _names(self):
        """Ids in the order of the matrix; None if it comes without."""
        given = getattr(self, self._parameter)
        tasks = self.tasks
        if tasks is None:
            frame = column_names(given) if hasattr(given, "iloc") else None
            if frame is None:
                return None
            if list(given.index) != frame:
                raise ValueError(
                    f"`{self._parameter}` of {type(self).__name__} must name the same "
                    "tasks in its rows and columns, in the same order."
                )
            tasks = frame
        names = id_array(tasks, "tasks").tolist()
        if len(set(names)) != len(names):
            raise ValueError(
                f"`tasks` of {type(self).__name__} names a task twice: "
                f"{shorten(names)}."
            )
        return names

    def model_tasks(self, tasks):
        """Ids of all tasks of the model, sorted.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of the tasks of the data.

        Returns
        -------
        tasks : ndarray
            Those, or all that the relation names.
        """
        names = self._names()
        if names is None:
            return tasks
        missing = [t for t in tasks.tolist() if t not in set(names)]
        if missing:
            raise ValueError(
                f"{type(self).__name__} does not name {shorten(missing, 4)}, which "
                f"the data have; its tasks are {shorten(names)}."
            )
        try:
            return index_tasks(names)[0]
        except TypeError:
            raise TypeError(
                f"`tasks` of {type(self).__name__} cannot be sorted: use ids of one "
                "type."
            ) from None

    def _ordered(self, tasks):
        """A copy of the matrix, checked, in the order of `tasks`."""
        name, given = self._parameter, getattr(self, self._parameter)
        sparse = sp.issparse(given)
        if sparse:
            matrix = sp.csr_array(given, dtype=np.float64, copy=True)
        else:
            matrix = as_floats(name, given)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be a square matrix, got shape "
                f"{matrix.shape}."
            )
        names = self._names()
        expected = len(tasks) if names is None else len(names)
        if matrix.shape[0] != expected:
            raise ValueError(
                f"`{name}` of {type(self).__name__} has {matrix.shape[0]} rows, but "
                f"there are {expected} tasks."
            )
        entries = matrix.data if sp.issparse(matrix) else matrix
        if not np.all(np.abs(entries) <= LARGEST):
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be finite and no larger than "
                f"{LARGEST:g}, got {np.abs(entries).max():.3g}."
            )
        gap = abs(matrix - matrix.T).max() if matrix.size else 0.0
        if gap > 1e-8 * max(1e-300, abs(matrix).max()):
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be symmetric; it differs from "
                f"its transpose by {gap:.3g}."
            )
        if names is not None:
            place = {task: i for i, task in enumerate(names)}
            order = [place[t] for t in tasks.tolist()]
            matrix = matrix[order][:, order]
        return matrix


class TaskGraph(_MatrixRelation):
    r"""Neighbours are alike.

    .. math:: \Omega(W) = \sum_t |w_t|^2
              + \frac{strength}{2} \sum_{st} adjacency_{st} |w_s - w_t|^2

    which is the task precision A = I + strength * (degrees - adjacency).

    Parameters
    ----------
    adjacency : array-like, sparse matrix or data frame of shape (n_tasks, n_tasks)
        Symmetric, weights >= 0; the diagonal is ignored.
    strength : float, default=1.0
        How much neighbours are pulled together, at least 0.
    tasks : sequence of ids, default=None
        The order of the matrix; a pandas frame brings its own, and without either it is
        the order of `tasks_`. A task named here is part of the model even without rows.

    Examples
    --------
    >>> TaskGraph([[0, 1], [1, 0]], strength=1.0).kernel(2).round(3).tolist()
    [[0.667, 0.333], [0.333, 0.667]]
    """

    _parameter = "adjacency"

    def __init__(self, adjacency, strength=1.0, tasks=None):
        self.adjacency = adjacency
        self.strength = strength
        self.tasks = tasks

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        strength = self.strength
        number = isinstance(strength, numbers.Real) and not isinstance(strength, bool)
        if not number or not 0 <= strength <= LARGEST:
            raise ValueError(
                "`strength` of TaskGraph must be a number >= 0 and no larger than "
                f"{LARGEST:g}, got {strength!r}."
            )
        adjacency = sp.csr_array(self._ordered(tasks), dtype=np.float64)
        adjacency.setdiag(0.0)
        adjacency.eliminate_zeros()
        if adjacency.nnz and adjacency.data.min() < 0:
            raise ValueError(
                "`adjacency` of TaskGraph must have weights >= 0, got "
                f"{adjacency.data.min():.3g}."
            )
        degrees = np.asarray(adjacency.sum(axis=1)).ravel()
        laplacian = sp.diags_array(degrees) - adjacency
        return MatrixForm(
            sp.csr_array(sp.eye_array(len(tasks)) + float(strength) * laplacian)
        )


class TaskCovariance(_MatrixRelation):
    """Known covariance of the tasks' coefficients: K = covariance, A = K^-1.

    Parameters
    ----------
    covariance : array-like or data frame of shape (n_tasks, n_tasks)
        Symmetric and positive definite.
    tasks : sequence of ids, default=None
        The order of the matrix; a pandas frame brings its own, and without either it is
        the order of `tasks_`. A task named here is part of the model even without rows.

    Examples
    --------
    >>> round(TaskCovariance([[2.0, 0.0], [0.0, 1.0]]).omega([[2.0], [1.0]]), 6)
    3.0
    """

    _parameter = "covariance"

    def __init__(self, covariance, tasks=None):
        self.covariance = covariance
        self.tasks = tasks

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ArrowForm or MatrixForm
            The quadratic form Omega.
        """
        K = self._ordered(tasks)
        K = K.toarray() if sp.issparse(K) else K
        try:
            factor = linalg.cho_factor(K)
        except linalg.LinAlgError:
            lowest = linalg.eigvalsh(K)[0]
            raise ValueError(
                "`covariance` of TaskCovariance must be positive definite; its "
                f"smallest eigenvalue is {lowest:.3g}."
            ) from None
        A = linalg.cho_solve(factor, np.eye(len(K)))
        return MatrixForm(0.5 * (A + A.T), 0.5 * (K + K.T))


class Composition(Related, Relation):
    r"""Dependent tasks: a task's model is a given combination of others'.

    With a composition of task t from components c, coefficients and intercepts obey

    .. math:: w_t = \sum_c m_{tc} w_c, \qquad b_t = \sum_c m_{tc} b_c

    exactly: composed tasks are eliminated, not penalised. Omega counts the other, free
    tasks only, by `relation`. Components may be composed themselves, but not in a
    circle. A composed task may have rows, which then speak for its components, or none.

    Parameters
    ----------
    composition : dict
        For every composed task its components and their factors, such as ``{"total":
        {"north": 1, "south": 1}}``. Factors may be negative or zero; where all that a
        task has of others is zero, its model is zero too, intercept included.
    relation : str or relation, default="independent"
        How the free tasks are tied.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import Composition, PerTaskRegressor
    >>> X = np.array([[1.0], [2.0], [1.0], [2.0]])
    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> region = ["north", "north", "south", "south"]
    >>> relation = Composition({"total": {"north": 1, "south": 1}})
    >>> model = PerTaskRegressor(alpha=0, relation=relation).fit(X, y, task=region)
    >>> model.predict([[3.0]], task=["total"]).round(6)
    array([12.])
    """

    def __init__(self, composition, relation="independent"):
        self.composition = composition
        self.relation = relation

    @property
    def spreads(self):
        """Whether the relation of the free tasks gives a model to all of them."""
        return self._base().spreads

    def _base(self):
        base = check_relation(self.relation)
        if isinstance(base, Composition):
            raise TypeError(
                "`relation` of Composition says how the free tasks are tied and cannot "
                "be a Composition itself: put all rules into one."
            )
        if isinstance(base, LearnedCovariance):
            raise TypeError(
                "`relation` of Composition must be known before the fit, got 'learned'."
            )
        return base

    def model_tasks(self, tasks):
        """Ids of all tasks of the model, sorted.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of the tasks of the data.

        Returns
        -------
        tasks : ndarray
            Those, the composed ones, and all that the relation of the free ones names.
        """
        rules = check_rules(self.composition)
        kept = np.array([task not in rules for task in tasks.tolist()], dtype=bool)
        free = self._base().model_tasks(tasks[kept])
        names = [*free.tolist(), *rules]
        try:
            return index_tasks(names)[0]
        except TypeError:
            raise TypeError(
                f"`composition` names tasks such as {shorten(rules, 2)} that cannot be "
                f"sorted with the others, such as {shorten(free, 2)}: use ids of one "
                "type."
            ) from None

    def taking_part(self, tasks, labelled):
        """Which tasks are part of the problem, and not given the shared model.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model.
        labelled : ndarray of shape (n_tasks,), bool
            Which of them have labels.

        Returns
        -------
        part : ndarray of shape (n_tasks,), bool
            The composed tasks, and of the free ones those that their relation takes.

        Raises
        ------
        ValueError
            If a component is neither part of the problem nor composed.
        """
        given = self.given(tasks)
        part = given.copy()
        part[~given] = self._base().taking_part(tasks[~given], labelled[~given])
        known = set(tasks[part].tolist())
        for task, components in check_rules(self.composition).items():
            missing = [c for c in components if c not in known]
            if missing:
                raise ValueError(
                    f"`composition` makes {task!r} of {shorten(missing, 4)}, which "
                    "neither have labelled rows nor are composed themselves."
                )
        return part

    def given(self, tasks):
        """Which tasks follow from others by a rule, labels or not.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model.

        Returns
        -------
        given : ndarray of shape (n_tasks,), bool
            The composed ones.
        """
        rules = check_rules(self.composition)
        return np.array([task in rules for task in tasks.tolist()], dtype=bool)

    def form(self, tasks):
        """Bind to the tasks of a fit.

        Parameters
        ----------
        tasks : ndarray of shape (n_tasks,)
            Ids of all tasks of the model, in the order of the rows of W.

        Returns
        -------
        form : ComposedForm
            The quadratic form Omega of the free tasks, and the rules of the others.
        """
        given = self.given(tasks)
        free = np.flatnonzero(~given)
        rules = check_rules(self.composition)
        place = {task: k for k, task in enumerate(tasks[free].tolist())}
        mix = sp.lil_array((len(tasks), len(free)))
        factors = resolve_rules(rules, place)
        for i, task in enumerate(tasks.tolist()):
            for name, factor in factors.get(task, {task: 1.0}).items():
                mix[i, place[name]] = factor
        return ComposedForm(self._base().form(tasks[free]), mix.tocsr(), free)


RELATIONS = [Independent(), SharedMean(0.0), SharedMean(), SharedMean(1.0)]

_NAMES = {
    "independent": Independent,
    "shared_mean": SharedMean,
    "pooled": lambda: SharedMean(1.0),
    "learned": LearnedCovariance,
}


def check_relation(relation):
    """Turn the parameter `relation` of an estimator into a relation object.

    Raises
    ------
    ValueError
        If it is a string that names none.
    TypeError
        If it is neither a string nor a relation.
    """
    if isinstance(relation, Relation):
        return relation
    if isinstance(relation, str):
        if relation in _NAMES:
            return _NAMES[relation]()
        raise ValueError(
            f"`relation` must be one of {', '.join(map(repr, _NAMES))} or a relation "
            f"object, got {relation!r}."
        )
    raise TypeError(
        "`relation` must be a string or a relation such as SharedMean(0.5), got "
        f"{relation!r} of type {type(relation).__name__}."
        + (" Did you forget the parentheses?" if isinstance(relation, type) else "")
    )
