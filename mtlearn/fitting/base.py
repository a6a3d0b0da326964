"""What every estimator shares: check, TaskData, solve, keep; predict, score, tags."""

import inspect
import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import (
    BaseEstimator,
    MultiOutputMixin,
    RegressorMixin,
)
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from ..problem.ids import LARGEST, UNKNOWN, find_tasks, index_tasks, shorten
from ..problem.solution import warn_unless_converged
from ..problem.span import RowSpan
from ..problem.tasks import TaskData, score_rows
from ..problem.values import (
    check_sample_weight,
    check_size,
    check_targets,
    drop_weightless,
    is_complete,
)
from ..relations import Independent, Related, check_relation
from . import checks
from .compiling import tell_when_compiling
from .part import Part
from .partitions import by_partition, in_memory, is_collection, refuse_partitions
from .reports import Reported
from .shared_model import intercepts_of_all_tasks, of_all_tasks
from .whole import WholeFit


class _Rows(NamedTuple):
    """Checked rows and their tasks.

    `labels` are the classes, `kept` the numbers of rows of positive weight.
    """

    X: object
    y: np.ndarray
    ids: np.ndarray | None
    weight: np.ndarray | None
    labels: np.ndarray | None
    kept: np.ndarray | None
    tasks: np.ndarray
    codes: np.ndarray | None


class NeedsRows:
    """A method that there is not, as the loss needs its rows at every step."""

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, estimator, owner):
        raise AttributeError(
            f"{owner.__name__} has no `{self._name}`: it needs the rows at every step. "
            "Moments are enough for PerTaskRegressor and SharedFeatureRegressor, their "
            "CV, and MultiTaskBayesianRidge."
        )


class TaskEstimator(WholeFit, Reported, Related, MultiOutputMixin, BaseEstimator):
    """Base of all estimators: both data layouts in, predictions out.

    A family writes `_check_parameters`, `_loss_strength` and `_solve`; the rest is
    here.
    """

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__score = {"task": True}

    # ------------------------------------------------------------ fit

    fit_moments, partial_fit = NeedsRows(), NeedsRows()

    def fit(self, X, y, sample_weight=None, *, task=None):
        """Fit the model to the labels of all tasks.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            Features; in the long layout one column may hold the task ids
            (`task_column`).
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            One label per row (long layout, or a single task), or one column per task
            with NaN where a label was not observed.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Non-negative weights; rows with weight zero are ignored. Two-dimensional
            only with a two-dimensional `y`.
        task : array-like of shape (n_samples,), default=None
            Task ids, if no column of `X` holds them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or a parameter are not as described; the message names it.
        TypeError
            If a parameter has the wrong type.
        """
        tell_when_compiling()
        if is_collection(X, y, task, sample_weight):
            return self._fit_partitions(X, y, sample_weight, task)
        model = self._unfitted()
        fit = model._weigh(model._prepare(X, y, sample_weight, task))
        return self._fit_to(model, model._gather(fit))

    def _fit_partitions(self, X, y, sample_weight, task):
        """Fit to Dask collections, where the family has a way."""
        refuse_partitions(self)

    def _fit_to(self, model, fit):
        """Solve what was prepared in `model`, keep it there, and take it over."""
        solution = model._solution(fit, self._warm_model(fit))
        model._keep(fit, solution)
        if self.verbose:
            _report(type(self).__name__, solution)
        warn_unless_converged(solution, type(self).__name__, self._tolerance())
        return self._become(model)

    def _prepare(self, X, y, sample_weight, task):
        """Check everything and sort it into tasks.

        Sets `n_features_in_`, `feature_names_in_`, `tasks_`, `_n_columns`, `_layout`:
        what predictions need to know of the data.
        """
        self._check_parameters()
        self._check_common()
        relation = self._relation()
        intercept = self._intercepts()
        rows = self._read(X, y, sample_weight, task)
        if rows.codes is not None and rows.ids is None:
            self._mention_ids(relation)
        tasks, codes, y, weight = _align(
            relation, rows.tasks, rows.codes, rows.y, rows.weight
        )
        self.tasks_ = tasks
        return self._bind(
            relation, rows.X, y, codes, weight, intercept, rows.labels, rows.kept
        )

    def _read(self, X, y, sample_weight, task, reset=True):
        """Check the rows, and know their tasks.

        Sets `n_features_in_`, `feature_names_in_`, `_n_columns`, `_layout`.
        """
        X, ids = checks.check_features(self, X, task, reset=reset)
        self._check_rows(X)
        y, names = checks.check_labels(self, X, y, long=ids is not None)
        weight = check_sample_weight(sample_weight, y.shape)
        X, y, ids, weight, kept = drop_weightless(X, y, ids, weight)
        check_size("X", X.data if sp.issparse(X) else X, 1.0 / LARGEST)
        y, labels = self._encode(y)
        if y.ndim == 2:
            tasks, codes = np.arange(y.shape[1]) if names is None else names, None
        elif ids is None:
            tasks, codes = np.arange(1), np.zeros(len(y), dtype=np.int64)
        else:
            name = "task" if self.task_column is None else f"X[{self.task_column!r}]"
            tasks, codes = index_tasks(ids, name)
        self._n_columns = y.shape[-1]
        self._layout = "wide" if codes is None else "single" if ids is None else "long"
        return _Rows(X, y, ids, weight, labels, kept, tasks, codes)

    def _bind(self, relation, X, y, codes, weight, intercept, labels, kept):
        """Weights per task, tasks without labels, the relation's form."""
        counts = _count_labels(y, codes, weight, len(self.tasks_))
        task_weight, labelled = self._weigh_tasks(relation, counts, codes is None)
        checks.check_row_weights(weight, task_weight)
        part = relation.taking_part(self.tasks_, labelled)
        # where every label counts, nobody needs to look for missing ones again
        whole = {"whole": True} if codes is None and counts.min() == len(y) else {}
        data = TaskData(X, y, len(self.tasks_), codes, weight, task_weight, whole)
        if not part.all():
            data = data.only(part)
            if codes is not None:
                rows = np.flatnonzero(part[codes])
                kept = rows if kept is None else kept[rows]
        form = relation.form(self.tasks_[part])
        what = data, form, intercept, self.tasks_, part, labelled, labels, kept
        return Part(*what, counts=counts)

    def _weigh_tasks(self, relation, counts, wide):
        """Weights of the tasks in the loss, and which of them have labels that count.

        Parameters
        ----------
        relation : Relation
        counts : ndarray of shape (n_tasks,)
            Labelled rows of each task.
        wide : bool
            Whether a task may be there by its column alone.

        Returns
        -------
        task_weight : ndarray of shape (n_tasks,) or None
        labelled : ndarray of shape (n_tasks,), bool
        """
        tasks = self.tasks_
        task_weight = checks.check_task_weight(self.task_weight, tasks, counts)
        labelled = counts > 0
        if task_weight is not None:
            labelled &= task_weight > 0
        if not labelled.any():
            raise ValueError("No label is left: the labelled rows have weight 0.")
        bare = ~labelled & ~relation.given(tasks) & (wide or not relation.spreads)
        if bare.any():
            whose = "model of their neighbours" if relation.spreads else "shared model"
            warnings.warn(
                f"{int(bare.sum())} of {len(tasks)} tasks have no labels in this fit "
                f"and get the {whose}: {shorten(tasks[bare])}.",
                UserWarning,
                stacklevel=5,
            )
        strength = self._loss_strength()
        if strength != 1.0:
            task_weight = strength * (
                np.ones(len(tasks)) if task_weight is None else task_weight
            )
        return task_weight, labelled

    def _check_common(self):
        checks.check_choice("handle_unknown", self.handle_unknown, ("shared", "error"))
        checks.check_number("tol", self._tolerance(), 0, strict=True)
        checks.check_number("max_iter", self.max_iter, 1, whole=True)
        if self.verbose not in (False, True):
            checks.check_number("verbose", self.verbose, 0, whole=True)
        if self.warm_start not in (False, True):
            raise TypeError(f"`warm_start` must be a bool, got {self.warm_start!r}.")

    def _tolerance(self):
        """What the certificate must reach."""
        return self.tol

    def _intercepts(self):
        """Which intercepts there are."""
        strength = getattr(self, "intercept_strength", 1.0)
        return checks.check_intercept(self.fit_intercept, strength)

    def _relation(self):
        """How the tasks are tied by a quadratic form."""
        return check_relation(self.relation)

    def _mention_ids(self, relation):
        """Warn who ties tasks by a relation of choice and has a single one."""
        parameter = inspect.signature(type(self)).parameters.get("relation")
        if parameter is None or isinstance(relation, Independent):
            return
        if not isinstance(self.relation, str) or self.relation != parameter.default:
            warnings.warn(
                f"`relation`={self.relation!r} ties tasks, but all rows are of one "
                "task: name the column of ids in `task_column`, or pass them as "
                "`task=`.",
                UserWarning,
                stacklevel=4,
            )

    def _check_parameters(self):
        """Check the family's own parameters."""

    def _check_rows(self, X):
        """Check what the family asks of the features of `fit`."""

    def _solution(self, fit, start):
        """The solution for the labels as they are."""
        return self._solved(fit, start)

    def _solved(self, fit, start):
        """Solve; where rows in common are fewer than features, in their span."""
        if fit.form.composed and not fit.composed_rows:
            inner = None if start is None else tuple(m[fit.form.free] for m in start)
            solution = self._solved(fit.of_free_tasks(), inner)
            coef, b = map(fit.form.expand, (solution.coef, solution.intercept))
            return replace(solution, coef=coef, intercept=b)
        return self._in_span(fit, start)

    def _in_span(self, fit, start, own_rows=False):
        """Solve in the span of the rows, where it has fewer dimensions."""
        if fit.moments is not None or fit.elsewhere is not None:
            # of the features as they are
            return self._solve(fit, start)
        span = RowSpan(fit.data, own_rows=own_rows)
        if span.basis is None:
            return self._solve(fit, start)
        solution = self._solve(fit.with_rows(span.rows), span.start(start))
        return replace(solution, coef=span.back(solution.coef))

    def _weigh(self, fit):
        """Change the sample weights, if the family's parameters say so."""
        return fit

    def _gather(self, fit):
        """Gather moments of the rows, where the family learns from those."""
        return fit

    def _loss_strength(self):
        """Factor in front of the loss; the penalty's is in `_solve`."""
        return 1.0

    def _warm_model(self, fit):
        """The last fit's model as a start, where it is one of the same problem."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        same = np.array_equal(self.tasks_, fit.tasks)
        same &= np.array_equal(getattr(self, "_labels", None), fit.labels)
        if not same or self.coef_.shape[-1] != fit.n_features:
            return None
        return self.coef_[fit.part], self.intercept_[fit.part]

    def _keep(self, fit, solution):
        """Store the model and how it was found."""
        self._keep_model(fit, solution)
        self.n_iter_ = solution.n_iter
        if fit.form is not None and fit.form.learned:
            self.task_covariance_ = _covariance(fit, solution)
        self.optimality_ = solution.certificate

    def _keep_model(self, fit, solution):
        """Store the model; tasks that took no part get the shared one."""
        known = self._determined(fit), self._featureless(fit)
        model = of_all_tasks(fit, solution.coef, solution.intercept, *known)
        self.coef_, self.shared_coef_ = model[:2]
        self.intercept_, self.shared_intercept_ = model[2:]

    def _keep_intercepts(self, fit, found):
        """Store the intercepts; undetermined ones are the mean of the others."""
        known = self._determined(fit), self._featureless(fit)
        levels = intercepts_of_all_tasks(fit, found, *known)
        self.intercept_, self.shared_intercept_ = levels

    def _determined(self, fit):
        """Models that enter the shared one: (n_part,), or (n_part, n_classes)."""
        return np.ones(fit.n_part, dtype=bool)

    def _featureless(self, fit):
        """The shared intercept where no task's own is determined."""
        return 0.0

    # ------------------------------------------------------------ predict

    def _scores(self, X, task=None):
        """Linear scores: (n_samples,) or, wide, (n_samples, n_tasks); classes last.

        Also returns the position of each row's task, None without ids.
        """
        check_is_fitted(self)
        X, ids = self._checked(X, task)
        codes = self._codes(ids, X.shape[0])
        return self._evaluate(X, codes), codes

    def _checked(self, X, task):
        """Features as `fit` had them, and ids, of rows to predict."""
        return checks.check_features(self, X, task, reset=False)

    def _evaluate(self, X, codes):
        """Scores of checked features, of the rows' own tasks or of all."""
        return self._apply(self._represent(X), codes, *self._models())

    def _apply(self, X, codes, coef, intercept):
        """Scores of linear models, those of an unknown task last."""
        if coef.ndim == 2:
            return self._linear(X, codes, coef, intercept)
        columns = [
            self._linear(X, codes, coef[:, k], intercept[:, k])
            for k in range(coef.shape[1])
        ]
        return np.stack(columns, axis=-1)

    def _represent(self, X):
        """What the linear models see of the features."""
        return X

    def _models(self):
        """Coefficients and intercepts of all tasks; those of an unknown one last."""
        coef = np.concatenate([self.coef_, self.shared_coef_[None]])
        return coef, np.concatenate([self.intercept_, self.shared_intercept_[None]])

    def _linear(self, X, codes, coef, intercept):
        if self._layout == "wide":
            return X @ coef[:-1].T + intercept[:-1]
        if self._layout == "single":
            return X @ coef[0] + intercept[0]
        return score_rows(X, codes, coef, intercept)

    def _codes(self, ids, n_rows):
        """Position of each row's task; one past the last for an unknown one."""
        if self._layout != "long":
            if ids is not None:
                raise ValueError(
                    "`task` was given, but this estimator was fitted without task ids"
                    + (
                        ": every column of its `y` is a task, and predict returns one "
                        "column for each."
                        if self._layout == "wide"
                        else " on a single task."
                    )
                )
            return None
        if ids is None:
            raise ValueError(
                "`task` is missing: this estimator was fitted with task ids by "
                "`task=`, so predict and score need the task of every row too. (With "
                "`task_column` the ids travel inside X.)"
            )
        name = "task" if self.task_column is None else f"X[{self.task_column!r}]"
        codes = find_tasks(self.tasks_, ids, name)
        unknown = codes == UNKNOWN
        if unknown.any():
            if self.handle_unknown == "error":
                new = ids[unknown]
                raise ValueError(
                    f"{int(unknown.sum())} rows belong to tasks that fit never saw: "
                    f"{shorten(dict.fromkeys(new.tolist()), 4)}. With "
                    "handle_unknown='shared' they get the shared model."
                )
            codes[unknown] = len(self.tasks_)
        return codes

    def _beside(self, y, fitted):
        """The columns of the predictions that a 2-D `y` has."""
        if y.shape[1] not in (self._n_columns, fitted.shape[1]):
            raise ValueError(
                f"`y` must have a column for each of the {self._n_columns} tasks of "
                f"the fit, got {y.shape[1]}."
            )
        return fitted[:, : y.shape[1]]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wide = self.task_column is None
        tags.input_tags.sparse = True
        tags.input_tags.categorical = not wide
        tags.target_tags.required = True
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = wide
        return tags


class TaskRegressor(RegressorMixin, TaskEstimator):
    """What regressors add: numeric labels, predictions, R2."""

    _margin = None  # what `best_levels` is told of the loss

    def _encode(self, y):
        return check_targets(y), None

    def _solution(self, fit, start):
        """Solve for what is left of the targets above their best level."""
        level = self._best_levels(fit)
        if start is not None:
            start = start[0], self._raised(start[1], fit, -level)
        solution = self._solved(fit.lowered(level), start)
        b = self._raised(solution.intercept, fit, level)
        return replace(solution, intercept=b)

    def _best_levels(self, fit):
        """What is taken away from the targets of each task."""
        return fit.levels(self._margin)

    def _raised(self, intercept, fit, level):
        """Intercepts of targets that are higher by the level of each task."""
        return intercept + level

    @by_partition
    def predict(self, X, *, task=None):
        """Predict the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Two-dimensional if `fit` had a two-dimensional `y`.
        """
        return self._scores(X, task)[0]

    def score(self, X, y, sample_weight=None, *, task=None):
        """Coefficient of determination R2 of the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            With two dimensions, NaN entries do not count and the result is the plain
            mean over the tasks.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        score : float
            The higher the better.
        """
        fitted, sample_weight = in_memory(self.predict(X, task=task), sample_weight)
        y = check_targets(np.asarray(y))
        if y.ndim == 1 or fitted.ndim == 1:
            return float(r2_score(y, fitted, sample_weight=sample_weight))
        fitted = self._beside(y, fitted)
        scores = [
            r2_score(*columns[:2], sample_weight=columns[2])
            for columns in _observed_columns(y, fitted, sample_weight)
        ]
        return float(np.mean(scores))


def _observed_columns(y, fitted, sample_weight):
    """Yield labels, predictions and weights of every column with two labels or more."""
    weight = check_sample_weight(sample_weight, y.shape)
    for t, (column, prediction) in enumerate(zip(y.T, fitted.T, strict=True)):
        seen = ~np.isnan(column)
        own = weight if weight is None or weight.ndim == 1 else weight[:, t]
        if seen.sum() > 1:
            yield column[seen], prediction[seen], None if own is None else own[seen]


def _covariance(fit, solution):
    """What was learned of the tasks that took part; NaN for the others."""
    found = solution.task_covariance
    found = np.eye(fit.n_part) if found is None else found
    every = np.full((*found.shape[:-2], len(fit.part), len(fit.part)), np.nan)
    every[(..., *np.ix_(fit.part, fit.part))] = found
    return every


def model_tasks(relation, tasks, wide):
    """Ids of the tasks of the data and of those that the relation names.

    Sorted in the long layout; in the wide one after the columns, which keep their
    order.
    """
    model = relation.model_tasks(tasks)
    if not wide:
        return model
    known = set(tasks.tolist())
    extra = [task for task in model.tolist() if task not in known]
    return np.concatenate([tasks, np.array(extra)]) if extra else tasks


def _align(relation, tasks, codes, y, weight):
    """Give the model the tasks that its relation names."""
    model = model_tasks(relation, tasks, codes is None)
    if len(model) == len(tasks) and np.array_equal(model, tasks):
        return tasks, codes, y, weight
    if codes is not None:
        place = {task: position for position, task in enumerate(model.tolist())}
        position = np.array([place[task] for task in tasks.tolist()], dtype=np.int64)
        return model, position[codes], y, weight
    empty = np.full((len(y), len(model) - len(tasks)), np.nan)
    if weight is not None and weight.ndim == 2:
        weight = np.hstack([weight, np.zeros(empty.shape)])
    return model, None, np.hstack([y, empty]), weight


def _count_labels(y, codes, weight, n_tasks):
    """Labelled rows of positive weight of each task."""
    if codes is not None:
        return np.bincount(codes, minlength=n_tasks)
    weighted = weight is not None and weight.ndim == 2
    if not weighted and is_complete(y):
        return np.full(n_tasks, len(y))
    seen = ~np.isnan(y)
    if weighted:
        seen &= weight > 0
    return seen.sum(axis=0)


def _report(name, solution):
    """Print the history of a fit."""
    for step, (objective, certificate) in enumerate(solution.history):
        print(f"{name}: step {step}, objective {objective:.8g}, gap {certificate:.2g}")
