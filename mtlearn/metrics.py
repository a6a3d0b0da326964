"""Scores per task, and their reductions to one number.

One metric over all rows hides the tasks: its largest part can be the differences
between their levels, and one bad task disappears among many. Both layouts are scored
alike: rows with ids, or a 2-D `Y` in which NaN marks a label that was not observed.
"""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from sklearn import metrics as sklearn_metrics
from sklearn.base import BaseEstimator
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.metadata_routing import UNUSED

from .problem.ids import column_names, index_tasks, missing_labels, split_task_column

# scikit-learn's own convention: what ends so is better when smaller
LOSS_ENDINGS = ("_error", "_loss", "_deviance")
AVERAGES = ("macro", "weighted", "worst")


# ---------------------------------------------------------------- scores per task


class TaskScores(Mapping):
    """A score for every task: a mapping from task id to score, with its reductions.

    `scores["north"]` is the score of one task; `dict(scores)` and
    `pandas.Series(scores)` convert all of them. Tasks in which the metric is undefined
    hold NaN, and every reduction leaves them out; if nothing is left, it is NaN.

    Parameters
    ----------
    tasks : array-like of shape (n_tasks,)
        Task ids.
    scores : array-like of shape (n_tasks,)
        Score of each task; NaN where undefined.
    n_samples : array-like of shape (n_tasks,)
        Number of labels of each task that were scored.
    weight : array-like of shape (n_tasks,), default=None
        Size of each task in `weighted`; None: `n_samples`.
    greater_is_better : bool, default=True
        What `worst` means.

    Examples
    --------
    >>> scores = TaskScores(["north", "south", "west"], [0.5, 0.8, 0.2], [10, 30, 20])
    >>> scores["south"], scores.macro(), scores.worst()
    (0.8, 0.5, 0.2)
    >>> round(scores.weighted(), 3)
    0.55
    """

    def __init__(
        self, tasks, scores, n_samples, *, weight=None, greater_is_better=True
    ):
        self.tasks = np.asarray(tasks)
        self.scores = np.asarray(scores, dtype=np.float64)
        self.n_samples = np.asarray(n_samples)
        self.weight = np.asarray(n_samples if weight is None else weight, dtype=float)
        self.greater_is_better = greater_is_better
        self._place = {task: t for t, task in enumerate(self.tasks.tolist())}

    def __getitem__(self, task):
        return float(self.scores[self._place[task]])

    def __iter__(self):
        return iter(self._place)

    def __len__(self):
        return len(self._place)

    def __repr__(self):
        return (
            f"TaskScores({len(self)} tasks: macro={self.macro():.4g}, "
            f"weighted={self.weighted():.4g}, worst={self.worst():.4g})"
        )

    def macro(self):
        """Return the mean over tasks, each counted once.

        Returns
        -------
        float
            Without the tasks that hold NaN.
        """
        scores = self.scores[~np.isnan(self.scores)]
        return float(scores.mean()) if scores.size else np.nan

    def weighted(self):
        """Return the mean over tasks, each counted by its size.

        Returns
        -------
        float
            Without the tasks that hold NaN.
        """
        defined = ~np.isnan(self.scores) & (self.weight > 0)
        if not defined.any():
            return np.nan
        return float(np.average(self.scores[defined], weights=self.weight[defined]))

    def worst(self):
        """Return the score of the task that fares worst.

        Returns
        -------
        float
            The smallest score, or the largest if smaller is better; without the tasks
            that hold NaN.
        """
        scores = self.scores[~np.isnan(self.scores)]
        if not scores.size:
            return np.nan
        return float(scores.min() if self.greater_is_better else scores.max())


def task_scores(
    metric, y, y_pred, task=None, *, sample_weight=None, greater_is_better=None
):
    """Score every task on its own.

    For each task t, ``metric(y[rows of t], y_pred[rows of t])``. In the wide layout
    each column of `y` is a task and its NaN labels are left out: so this is also how to
    score a 2-D target with missing labels, `task_scores("r2", Y, Y_pred).macro()`.

    Parameters
    ----------
    metric : callable or str
        A function ``metric(y_true, y_pred)``, such as scikit-learn's, or the name of
        one in `sklearn.metrics`, with or without its ending: "r2", "accuracy_score",
        "root_mean_squared".
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        True labels; NaN in two dimensions: not observed.
    y_pred : array-like of shape (n_samples,), (n_samples, n_classes) or like `y`
        Predictions in the form that `metric` takes.
    task : array-like of shape (n_samples,), default=None
        Task id of each row; None if `y` has a column per task.
    sample_weight : array-like of shape (n_samples,), default=None
        Handed to `metric` as its `sample_weight`; rows of weight zero are left out. For
        a 2-D `y` also of the shape of `y`.
    greater_is_better : bool, default=None
        What the worst score is. None: False for functions whose name ends in "_error",
        "_loss" or "_deviance", else True.

    Returns
    -------
    TaskScores
        Mapping from task id (or column name, or column number) to score, with
        `macro()`, `weighted()` and `worst()`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a 1-D `y` comes without `task`, values are
        missing where they may not be, or the metric fails in every task.
    TypeError
        If `metric` is neither a function nor a name.

    Warns
    -----
    UndefinedMetricWarning
        Once, if the metric is undefined in some tasks (one class for an AUC, one row
        for R2, no label at all) or refuses their data with a ValueError: NaN there.

    Examples
    --------
    >>> scores = task_scores(
    ...     "mean_absolute_error",
    ...     [1.0, 2.0, 3.0, 4.0],
    ...     [1.0, 2.0, 3.0, 2.0],
    ...     task=["north", "north", "south", "south"],
    ... )
    >>> dict(scores)
    {'north': 0.0, 'south': 1.0}
    >>> scores.worst()
    1.0
    """
    score_func = find_metric(metric)
    labelled = _labelled(y, y_pred, task, sample_weight)
    scores = np.full(len(labelled.tasks), np.nan)
    reason, n_scored = None, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        for t, rows in labelled.blocks():
            weight = {} if sample_weight is None else {"sample_weight": rows.weight}
            try:
                scores[t] = score_func(rows.y, rows.z, **weight)
                n_scored += 1
            except ValueError as error:
                reason = error
    if reason is not None and not n_scored:
        raise reason
    _warn_undefined(_name(score_func), labelled.tasks, scores, reason)
    if greater_is_better is None:
        greater_is_better = not _name(score_func).endswith(LOSS_ENDINGS)
    return TaskScores(
        labelled.tasks,
        scores,
        labelled.sum_by_task(np.ones(len(labelled.y))).astype(np.int64),
        weight=labelled.sum_by_task(labelled.weight),
        greater_is_better=greater_is_better,
    )


def find_metric(metric):
    """Return a metric function, itself or by its name in scikit-learn.

    Parameters
    ----------
    metric : callable or str
        The function, or its name in `sklearn.metrics`, with or without its ending.

    Returns
    -------
    callable
        Of (y_true, y_pred).

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If scikit-learn has none of that name.
    """
    if callable(metric):
        return metric
    if not isinstance(metric, str):
        raise TypeError(
            "The metric must be a function of (y_true, y_pred) or the name of one in "
            f"sklearn.metrics, got {metric!r}."
        )
    endings = ("_score", *LOSS_ENDINGS)
    names = [metric] if metric.endswith(endings) else [metric + end for end in endings]
    for name in names:
        if callable(function := getattr(sklearn_metrics, name, None)):
            return function
    raise ValueError(
        f"sklearn.metrics has no function called {' or '.join(map(repr, names))}. "
        'Expected a name such as "r2", "accuracy" or "root_mean_squared_error", or the '
        "function itself."
    )


def _name(function):
    """Name of a metric for a message, also of a functools.partial."""
    function = getattr(function, "func", function)
    return getattr(function, "__name__", type(function).__name__)


def _warn_undefined(name, tasks, scores, reason=None):
    undefined = np.flatnonzero(np.isnan(scores))
    if not len(undefined):
        return
    shown = ", ".join(str(task) for task in tasks[undefined[:5]])
    warnings.warn(
        f"{name} is undefined in {len(undefined)} of {len(tasks)} tasks "
        f"({shown}{', ...' if len(undefined) > 5 else ''}): NaN there, and averages "
        f"leave them out.{f' It said: {reason}' if reason is not None else ''}",
        UndefinedMetricWarning,
        stacklevel=3,
    )


# ---------------------------------------------------------------- for `scoring=`


class TaskScorer(BaseEstimator):
    """Score an estimator per task, for the `scoring=` of scikit-learn's tools.

    The value is the chosen average over tasks of ``score_func(y, y_pred)``, negated if
    smaller is better, as scikit-learn's tools maximise.

    Parameters
    ----------
    score_func : callable or str
        A function ``score_func(y_true, y_pred)`` or the name of one, as in
        `task_scores`.
    task_column : str or int, default=None
        Name or position of the column of X that holds the task ids. None: the target
        has one column per task, or `task` comes with the data (metadata routing).
    average : {"macro", "weighted", "worst"}, default="macro"
        Each task counts once, each by its number of rows, or the worst one alone.
        Tasks in which the metric is undefined are left out, with a warning.
    greater_is_better : bool, default=True
        Whether `score_func` is a score or, False, a loss.
    response_method : str or list of str, default="predict"
        Method that gives `y_pred`; of several, the first that the estimator has. For an
        AUC take ["decision_function", "predict_proba"]. Of a 1-D target's two columns
        of probabilities, the second goes to `score_func`.

    Raises
    ------
    ValueError
        When called: if `average` is not one of the three, if there are no ids for a 1-D
        target, or if they come by column and by `task=`.
    AttributeError
        When called: if the estimator has no such response method.

    Notes
    -----
    With metadata routing enabled, `task` is requested and is passed on to the
    estimator's response method; `sample_weight` is requested by
    `set_score_request(sample_weight=True)`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.metrics import mean_absolute_error
    >>> X = np.array([[1, 0.0], [1, 1.0], [2, 0.0], [2, 1.0]])
    >>> y = np.array([0.0, 1.0, 1.0, 4.0])
    >>> scorer = TaskScorer(mean_absolute_error, task_column=0, greater_is_better=False)
    >>> round(scorer(LinearRegression().fit(X, y), X, y), 3)
    -0.5
    """

    # `score` exists so that scikit-learn can route metadata to it and offers
    # `set_score_request`; the estimator is no metadata.
    __metadata_request__score = {"estimator": UNUSED, "task": True}

    def __init__(
        self,
        score_func,
        *,
        task_column=None,
        average="macro",
        greater_is_better=True,
        response_method="predict",
    ):
        self.score_func = score_func
        self.task_column = task_column
        self.average = average
        self.greater_is_better = greater_is_better
        self.response_method = response_method

    def score(self, estimator, X, y, *, task=None, sample_weight=None):
        """Return the average score of a fitted estimator; the same as calling.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
            What the estimator predicts from, ids included.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            True labels; NaN in two dimensions: not observed.
        task : array-like of shape (n_samples,), default=None
            Task id of each row, if it is not in X.
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to `score_func`.

        Returns
        -------
        float
            Greater is better.
        """
        scores = self.by_task(estimator, X, y, task=task, sample_weight=sample_weight)
        score = getattr(scores, self.average)()
        return score if self.greater_is_better else -score

    __call__ = score

    def by_task(self, estimator, X, y, *, task=None, sample_weight=None):
        """Return the score of every task.

        Parameters
        ----------
        estimator, X, y, task, sample_weight : object
            As in `score`.

        Returns
        -------
        TaskScores
            As `score_func` gives them: a loss is not negated.
        """
        if self.average not in AVERAGES:
            raise ValueError(
                f"`average` must be one of {', '.join(map(repr, AVERAGES))}, got "
                f"{self.average!r}."
            )
        known = {} if task is None else {"task": task}
        if self.task_column is not None:
            if known:
                raise ValueError(
                    f"TaskScorer got `task` as well as `task_column`="
                    f"{self.task_column!r}. Give the ids once."
                )
            _, task = split_task_column(X, self.task_column)
        elif task is None and np.ndim(y) < 2:
            raise ValueError(
                "TaskScorer needs the task of every row: name the column of X that "
                "holds the ids, `task_column=...`, or route `task=...` to it."
            )
        return task_scores(
            self.score_func,
            y,
            _response(estimator, self.response_method, X, np.ndim(y), known),
            task,
            sample_weight=sample_weight,
            greater_is_better=self.greater_is_better,
        )

    def _accept_sample_weight(self):
        # asked of every scorer of several by scikit-learn 1.9's searches
        return True


def _response(estimator, methods, X, target_ndim, known):
    """Predictions by the first of the methods that the estimator has."""
    methods = [methods] if isinstance(methods, str) else list(methods)
    for method in methods:
        if hasattr(estimator, method):
            y_pred = getattr(estimator, method)(X, **known)
            binary = method == "predict_proba" and target_ndim == 1
            return y_pred[:, 1] if binary and y_pred.shape[1] == 2 else y_pred
    raise AttributeError(
        f"`response_method`: {type(estimator).__name__} has no "
        f"{' or '.join(map(repr, methods))}."
    )


# ---------------------------------------------------------------- regression


def within_task_r2(y, y_pred, task=None, *, sample_weight=None):
    """Return the part of the variation within tasks that is predicted.

    1 - sum_ti s_ti (y_ti - z_ti)^2 / sum_ti s_ti (y_ti - m_t)^2, with m_t the mean
    label of task t. A model that knows nothing but the tasks' means scores 0, however
    far apart these are; the usual R2 of such a model can be close to 1.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        True labels; NaN in two dimensions: not observed.
    y_pred : array-like of the shape of `y`
        Predictions.
    task : array-like of shape (n_samples,), default=None
        Task id of each row; None if `y` has a column per task.
    sample_weight : array-like of shape (n_samples,), default=None
        The s_ti; for a 2-D `y` also of the shape of `y`.

    Returns
    -------
    float
        At most 1; NaN, with a warning, if no task has two different labels.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a 1-D `y` comes without `task`, or values are
        missing where they may not be.

    Notes
    -----
    Errors are summed before the division, so that large tasks count more; a task with a
    single row adds its error and no variation.

    Examples
    --------
    >>> y, task = [1.0, 2.0, 11.0, 12.0], ["a", "a", "b", "b"]
    >>> within_task_r2(y, [1.5, 1.5, 11.5, 11.5], task)
    0.0
    >>> within_task_r2(y, [1.0, 2.0, 11.5, 11.5], task)
    0.5
    """
    labelled = _labelled(y, y_pred, task, sample_weight).as_numbers()
    total = labelled.squares_around(labelled.means()).sum()
    error = labelled.squares_around(labelled.z).sum()
    if total > 0:
        return float(1 - error / total)
    warnings.warn(
        "within_task_r2 is undefined: no task has two different labels.",
        UndefinedMetricWarning,
        stacklevel=2,
    )
    return np.nan


def average_relative_rmse(
    y, y_pred, task=None, *, y_train=None, task_train=None, sample_weight=None
):
    """Return the aRRMSE: each task's RMSE relative to its training mean, averaged.

    1/T sum_t sqrt( sum_i s_ti (y_ti - z_ti)^2 / sum_i s_ti (y_ti - m_t)^2 ), with m_t
    the mean label of task t in training. The usual measure of multi-target regression,
    as it does not depend on the targets' units: 1 is as good as the training mean,
    smaller is better.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        True labels; NaN in two dimensions: not observed.
    y_pred : array-like of the shape of `y`
        Predictions.
    task : array-like of shape (n_samples,), default=None
        Task id of each row; None if `y` has a column per task.
    y_train : array-like of shape (n_train,) or (n_train, n_tasks), default=None
        Labels of the training part, in the same layout. None: m_t is the mean of `y`
        itself, and a task's part of the sum is sqrt(1 - R2).
    task_train : array-like of shape (n_train,), default=None
        Task id of each label of a 1-D `y_train`.
    sample_weight : array-like of shape (n_samples,), default=None
        The s_ti; for a 2-D `y` also of the shape of `y`.

    Returns
    -------
    float
        At least 0; NaN if it is undefined in every task.

    Raises
    ------
    ValueError
        If the shapes do not fit together, ids are absent where they are needed, or
        values are missing where they may not be.

    Warns
    -----
    UndefinedMetricWarning
        If tasks are left out: those without labels, in `y` or in training, and those
        whose labels all equal the training mean.

    Examples
    --------
    >>> Y_train = [[0.0, 10.0], [2.0, float("nan")]]
    >>> Y = [[0.0, 14.0], [2.0, 14.0]]
    >>> Y_pred = [[0.0, 12.0], [2.0, 12.0]]
    >>> average_relative_rmse(Y, Y_pred, y_train=Y_train)
    0.25
    """
    labelled = _labelled(y, y_pred, task, sample_weight).as_numbers()
    if y_train is None:
        means = labelled.means()
    else:
        train = _labelled(y_train, y_train, task_train, None).as_numbers()
        if task is None:
            train = _same_columns(labelled, train)
        means = labelled.means_from(train)
    error = labelled.sum_by_task(labelled.squares_around(labelled.z))
    total = labelled.sum_by_task(labelled.squares_around(means))
    relative = np.full(len(total), np.nan)
    np.divide(error, total, out=relative, where=total > 0)
    _warn_undefined("average_relative_rmse", labelled.tasks, relative)
    relative = relative[~np.isnan(relative)]
    return float(np.sqrt(relative).mean()) if relative.size else np.nan


def _same_columns(labelled, train):
    """The training labels under the tasks of the others; columns go by position."""
    if len(train.tasks) != len(labelled.tasks):
        raise ValueError(
            f"`y_train` has {len(train.tasks)} tasks, but `y` has "
            f"{len(labelled.tasks)} columns."
        )
    return train._replace(tasks=labelled.tasks)


# ---------------------------------------------------------------- both layouts


class _Labelled(NamedTuple):
    """Observed labels of either layout, one entry each.

    `y`, `codes` and `weight` have shape (n_labels,), `z` also (n_labels, n_classes).
    """

    y: np.ndarray
    z: np.ndarray
    codes: np.ndarray
    weight: np.ndarray
    tasks: np.ndarray

    def take(self, rows):
        return _Labelled(
            self.y[rows], self.z[rows], self.codes[rows], self.weight[rows], self.tasks
        )

    def blocks(self):
        """Yield (t, labels of task t) for every task that has some."""
        sorted_ = self.take(np.argsort(self.codes, kind="stable"))
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.tasks)))
        for t in np.unique(self.codes):
            yield t, sorted_.take(slice(ends[t - 1] if t else 0, ends[t]))

    def sum_by_task(self, values):
        return np.bincount(self.codes, weights=values, minlength=len(self.tasks))

    def squares_around(self, centre):
        return self.weight * (self.y - centre) ** 2

    def means(self):
        """Mean label of each entry's task, of shape (n_labels,)."""
        return self.means_from(self)

    def means_from(self, train):
        """The same, but the mean in other data; NaN for a task that has none there."""
        total = train.sum_by_task(train.weight)
        mean = np.full(len(total), np.nan)
        sums = train.sum_by_task(train.weight * train.y)
        np.divide(sums, total, out=mean, where=total > 0)
        known = dict(zip(train.tasks.tolist(), mean))
        return np.array([known.get(t, np.nan) for t in self.tasks.tolist()])[self.codes]

    def as_numbers(self):
        if self.z.ndim != 1:
            raise ValueError(
                "`y_pred` must have one prediction per label, got shape "
                f"{self.z.shape} for {len(self.y)} labels."
            )
        return self._replace(y=self.y.astype(float), z=self.z.astype(float))


def _labelled(y, y_pred, task, sample_weight):
    """Check both layouts at the door and keep what was observed and has weight."""
    z = np.asarray(y_pred)
    if len(z) != len(y):
        raise ValueError(f"`y` has {len(y)} rows, but `y_pred` has {len(z)}.")
    keep = _labelled_columns if task is None else _labelled_rows
    labelled = keep(y, z, task, sample_weight)
    labelled = labelled.take(labelled.weight != 0)
    if labelled.z.dtype.kind == "f":
        wrong = np.isnan if labelled.z.ndim > 1 else lambda z: ~np.isfinite(z)
        if wrong(labelled.z).any():
            raise ValueError("`y_pred` has missing or infinite values.")
    return labelled._replace(y=_plain(labelled.y), z=_plain(labelled.z))


def _labelled_columns(y, z, task, sample_weight):
    if np.ndim(y) != 2:
        raise ValueError(
            "A 1-D `y` needs `task`, the task id of every row; only in a 2-D `y` is "
            "each column a task."
        )
    Y = np.asarray(y)
    if z.shape != Y.shape:
        raise ValueError(f"`y` has shape {Y.shape}, but `y_pred` has {z.shape}.")
    codes, rows = np.nonzero(~missing_labels(y).T)
    names = column_names(y)
    tasks = np.arange(Y.shape[1]) if names is None else np.asarray(names)
    weight = np.ones(len(rows))
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=float)
        _check_length(weight, Y, "sample_weight")
        weight = weight[rows, codes] if weight.ndim == 2 else weight[rows]
    return _Labelled(Y[rows, codes], z[rows, codes], codes, weight, tasks)


def _labelled_rows(y, z, task, sample_weight):
    tasks, codes = index_tasks(task)
    Y = np.asarray(y)
    if Y.ndim == 2 and Y.shape[1] == 1:
        Y, z = Y[:, 0], z.reshape(len(z), -1)[:, 0]
    if Y.ndim != 1:
        raise ValueError(
            f"With `task`, `y` must be one-dimensional, got shape {Y.shape}; in a 2-D "
            "`y` the columns are the tasks."
        )
    if missing_labels(y).any():
        raise ValueError("A 1-D `y` must not have missing labels.")
    _check_length(codes, Y, "task")
    weight = np.ones(len(Y))
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=float)
        _check_length(weight, Y, "sample_weight")
    return _Labelled(Y, z, codes, weight, tasks)


def _check_length(values, Y, name):
    if values.shape not in ((len(Y),), Y.shape):
        raise ValueError(
            f"`{name}` must have one value per row of `y`, {len(Y)}, got shape "
            f"{values.shape}."
        )


def _plain(values):
    """Objects that are all strings or all numbers in an array of that kind."""
    return np.array(values.tolist()) if values.dtype == object else values
