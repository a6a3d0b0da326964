"""Intervals around the predictions of any regressor that hold in every task."""

import inspect

import numpy as np
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
    is_regressor,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .fitting import checks
from .fitting.whole import WholeFit
from .learned import MultiTaskBayesianRidge
from .model_selection import LeaveTasksOut
from .problem.ids import UNKNOWN, find_tasks, split_task_column
from .sharing.contenders import Contender, call
from .sharing.door import (
    Door,
    as_arrays,
    bare_problem,
    counted_folds,
    enter,
    told,
    without_weightless,
)
from .sharing.folds import Fold, inner_folds, quietly
from .solvers.evidence.spreads import Calibration, covering, find_spreads

_TINY = 1e-300


class TaskConformal(WholeFit, MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Prediction intervals from held-out errors; small tasks borrow their width.

    The errors on rows that a model has not seen tell how wide an interval must be. One
    width for all tasks covers quiet tasks too often and noisy ones too rarely; a
    separate width needs many rows of each task. Here each task has its own width,
    shrunk towards that of all tasks; the fewer its rows, the stronger the shrinkage.

    Parameters
    ----------
    estimator : estimator or Pipeline, default=None
        Any regressor; it is cloned. None: `MultiTaskBayesianRidge()`.
    method : {"cv", "split"}, default="cv"
        "cv": errors of all rows, each by a model of the other folds, around a model of
        all rows. "split": errors of the rows that the first fold tests, around the
        model of its other rows; one fit, fewer rows to learn from.
    cv : None, int, splitter or iterable, default=None
        The folds. None means 5; an integer gives that many folds, each with its share
        of every task; splitters and (train, test) pairs refer to the rows as passed,
        and splitters get the ids as groups.
    normalize : bool, default=False
        Whether errors are divided by the standard deviations that the estimator's
        ``predict(X, return_std=True)`` gives, so that intervals are wider where the
        model knows less.
    new_tasks : bool, default=True
        Whether intervals of tasks that `fit` never saw come from models that have left
        their tasks out: as many more fits as folds. False: such tasks are refused by
        `predict_interval`. Nothing is done for them where all rows are of one task, or
        `y` has two dimensions.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids. None: that of the
        estimator, if it has one.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one that predicts.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    task_scale_ : ndarray of shape (n_tasks,)
        Scale of a new error of each task, in the units of `y` or, with `normalize`, of
        the standard deviations.
    errors_ : ndarray of shape (n_errors,)
        Held-out labels less predictions, with `normalize` over standard deviations.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    MultiTaskBayesianRidge.predict_interval : Intervals by a model of the noise.

    Notes
    -----
    The errors of a task are taken as normal with a variance of its own, and the
    variances of all tasks as draws of one distribution, which maximises their marginal
    likelihood (Smyth 2004); its mean may be larger for small tasks. From this each
    error has a probability of larger ones, by the *other* errors of its task. If the
    model were right these would be uniform; how they are distributed instead is counted
    for tasks with as many errors as the one at hand, from all tasks, with spreads by as
    few others as that one has. The half width is the error with the probability that
    the asked share of them exceeds, so that no shape of the errors is taken for
    granted: what is counted is exchangeable with a new row of a task of that size.
    Errors by models of other folds are not independent where a task has few rows (two
    rows that set each other's level have the same error but for its sign); there one
    error of every task is not counted.

    Shares that were measured stand in ``benchmarks/results/conformal.md``: within 4
    points of 90 % for tasks of 2 to 1000 rows, but for noise with very long tails
    around models whose levels are not shrunk: there the smallest are covered less.

    `sample_weight` says how much a row counts in its task.

    For "split" this is split conformal prediction, up to what one row changes in a
    scale, and to that tasks are seen as draws from one population; an interval for one
    given task holds as far as its scale can be known. With "cv" the models of the folds
    learn from fewer rows than the one that predicts, so that intervals are rather too
    wide; that is what Barber et al. (2021) call cross-validation without a plus, of
    which no general guarantee is known.

    A new task's width is a quantile of the errors of models that have left whole tasks
    out, every task counted the same and one more of infinite errors (Lee, Barber and
    Willett 2023). Of fewer than 9 tasks no finite interval of 90 % follows, and none is
    given.

    Libraries of conformal prediction such as MAPIE know rows, and groups for which they
    calibrate apart; they do not know that small groups can borrow from the others.

    References
    ----------
    Vovk, V., Gammerman, A. and Shafer, G., Algorithmic Learning in a Random World,
    Springer 2005.

    Lei, J., G'Sell, M., Rinaldo, A., Tibshirani, R. J. and Wasserman, L.,
    Distribution-free predictive inference for regression, Journal of the American
    Statistical Association 113, 2018.

    Barber, R. F., Candes, E. J., Ramdas, A. and Tibshirani, R. J., Predictive inference
    with the jackknife+, Annals of Statistics 49, 2021.

    Romano, Y., Patterson, E. and Candes, E. J., Conformalized quantile regression,
    NeurIPS 2019.

    Lee, Y., Barber, R. F. and Willett, R., Distribution-free inference with
    hierarchical data, arXiv:2306.06342, 2023.

    Smyth, G. K., Linear models and empirical Bayes methods for assessing differential
    expression in microarray experiments, Statistical Applications in Genetics and
    Molecular Biology 3, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import PerTaskRegressor, TaskConformal
    >>> rng = np.random.default_rng(0)
    >>> task = np.repeat(np.arange(20), 30)
    >>> X, noise = rng.normal(size=(600, 2)), np.where(task < 10, 0.1, 1.0)
    >>> y = X[:, 0] + noise * rng.normal(size=600)
    >>> model = TaskConformal(PerTaskRegressor(relation="shared_mean"))
    >>> model.fit(X, y, task=task).predict_interval(X, 0.9, task=task).shape
    (600, 2)
    >>> bool(model.task_scale_[:10].max() < model.task_scale_[10:].min())
    True
    """

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__score = {"task": True}

    def __init__(
        self,
        estimator=None,
        *,
        method="cv",
        cv=None,
        normalize=False,
        new_tasks=True,
        task_column=None,
    ):
        self.estimator = estimator
        self.method = method
        self.cv = cv
        self.normalize = normalize
        self.new_tasks = new_tasks
        self.task_column = task_column

    # ------------------------------------------------------------ fit

    def fit(self, X, y, sample_weight=None, *, task=None):
        """Fit the estimator, and find its errors on rows that it has not seen.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            Features; in the long layout one column may hold the task ids
            (`task_column`).
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            One label per row (long layout, or a single task), or one column per task
            with NaN where a label was not observed.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; rows with weight zero are ignored.
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
        model = self._unfitted()
        model._fit(X, y, sample_weight, task)
        return self._become(model)

    def _fit(self, X, y, sample_weight, task):
        inner = self._checked()
        X, y = enter(self, [inner], X, y)
        whole = bare_problem(Door(self._column, inner), X, y, task)
        problem, weight, kept = without_weightless(whole, sample_weight)
        if len(problem.y) < 2:
            raise ValueError(
                "TaskConformal needs at least two rows, to learn from one and to see "
                "the error of the other, got n_samples=1."
            )
        self.tasks_ = problem.tasks
        self._layout = problem.layout
        contender = Contender(told(clone(inner), {"task_column": self._column}))
        folds = counted_folds(self.cv, whole, problem, kept)
        folds = folds[:1] if self.method == "split" else folds
        every = np.arange(len(problem.y))
        learn = folds[0][0] if self.method == "split" else every
        # the model of all rows first: it says best what is wrong with them
        part = Fold(problem, learn, every, weight)
        chosen = None if self.method == "split" else inner_folds(folds, every, len(y))
        what = part.X, part.y, part.task, part.weight
        self.estimator_ = contender.fit(*what, folds=chosen)
        self._calibrate(problem, contender, folds, weight)
        self._calibrate_new(problem, contender, len(folds), weight)

    def _checked(self):
        """The estimator, unfitted, once the parameters are known to be right."""
        inner = self.estimator
        if inner is None:
            inner = MultiTaskBayesianRidge()
        if isinstance(inner, type) or not is_regressor(inner):
            raise TypeError(f"`estimator` must be a regressor, got {inner!r}.")
        checks.check_choice("method", self.method, ("cv", "split"))
        for name in ("normalize", "new_tasks"):
            checks.check_choice(name, getattr(self, name), (True, False))
        last = inner[-1] if isinstance(inner, Pipeline) else inner
        parameters = inspect.signature(last.predict).parameters
        if self.normalize and "return_std" not in parameters:
            raise ValueError(
                "`normalize` needs an estimator whose predict has `return_std`, such "
                f"as MultiTaskBayesianRidge; {type(last).__name__} has none."
            )
        return inner

    def _calibrate(self, problem, contender, folds, weight):
        """Keep what the errors say of the tasks."""
        models = [self.estimator_] if self.method == "split" else None
        errors, codes, counts = self._held_out(
            problem, contender, folds, weight, models
        )
        # errors by models of the other folds have seen each other's labels
        spent = int(self.method == "cv")
        spreads = find_spreads(errors, codes, problem.sizes(), spent)
        self.errors_, self.task_scale_ = errors, spreads.scale()
        self._calibration = Calibration(spreads, errors, codes, counts)

    def _calibrate_new(self, problem, contender, n_folds, weight):
        """Keep the errors of models that have left tasks out, with their weights."""
        self._new = None
        n_tasks = len(problem.tasks)
        if not self.new_tasks or self._layout != "long" or n_tasks < 2:
            return
        splitter = LeaveTasksOut(
            min(max(n_folds, 5), n_tasks), shuffle=True, random_state=0
        )
        folds = list(splitter.split(problem.y, groups=problem.codes))
        errors, codes, counts = self._held_out(problem, contender, folds, weight)
        mass = np.bincount(codes, counts, n_tasks)
        self._new = np.abs(errors), counts / mass[codes]

    def _held_out(self, problem, contender, folds, weight, models=None):
        """Errors of the tested labels, their tasks, and weights."""
        found = []
        with quietly():
            for k, (train, test) in enumerate(folds):
                part = Fold(problem, train, test, weight)
                part.inner = inner_folds(folds, train, len(problem.y))
                model = part.fit(contender) if models is None else models[k]
                mean, std = self._respond(model, part.X_test, part.task_test)
                errors = (part.labels - mean[part.seen]) / std[part.seen]
                n = len(errors)
                counts = np.ones(n) if weight is None else part.counts
                found.append((errors, np.broadcast_to(part.codes, n), counts))
        return [np.concatenate(one) for one in zip(*found, strict=True)]

    def _respond(self, model, X, task):
        """Predictions, and standard deviations or ones."""
        if self.normalize:
            mean, std = call(model, "predict", X, task, return_std=True)
        else:
            mean = np.asarray(call(model, "predict", X, task))
            std = np.ones(mean.shape)
        if self._layout == "wide":
            # of a single column some predict a vector
            mean, std = (one.reshape(len(mean), -1) for one in (mean, std))
        return mean, np.maximum(std, _TINY)

    # ------------------------------------------------------------ predict

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
            As the estimator predicts them.
        """
        check_is_fitted(self)
        return call(self.estimator_, "predict", as_arrays(X), task)

    def predict_interval(self, X, coverage=0.9, *, task=None):
        """Intervals for new labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        coverage : float, default=0.9
            Share of new labels that are inside.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, n_tasks, 2)
            Lower and upper ends; infinite where the rows are too few to say.

        Raises
        ------
        ValueError
            If the data are not as described, or tasks are new and nothing was found out
            about such.
        """
        check_is_fitted(self)
        checks.check_number("coverage", coverage, 0, 1, strict=True)
        if coverage == 1:
            raise ValueError("`coverage` must be less than 1, got 1.")
        X = as_arrays(X)
        mean, std = self._respond(self.estimator_, X, task)
        width = self._calibration.half_widths(float(coverage))
        if self._layout == "long":
            width = self._of_rows(width, float(coverage), X, task)
        half = width * std
        return np.stack([mean - half, mean + half], axis=-1)

    def _of_rows(self, width, coverage, X, task):
        """Half the width of each row's interval, before standard deviations."""
        name = "task"
        if self._column is not None:
            _, task = split_task_column(X, self._column)
            name = f"X[{self._column!r}]"
        if task is None:
            raise ValueError(
                "`task` is missing: this estimator was fitted with task ids by "
                "`task=`, so predict_interval needs the task of every row too."
            )
        codes = find_tasks(self.tasks_, task, name)
        if np.any(codes == UNKNOWN):
            width = np.append(width, self._width_of_new(coverage))
        return width[codes]

    def _width_of_new(self, coverage):
        """Half the width of the interval of a task that `fit` never saw."""
        if self._new is None:
            raise ValueError(
                "Rows belong to tasks that fit never saw, and nothing is known of the "
                "errors in such: fit with new_tasks=True, to several tasks."
            )
        return covering(*self._new, coverage, 1.0)

    def score(self, X, y, sample_weight=None, *, task=None):
        """R2 of the predictions, as the estimator has it.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        score : float
            The higher the better.
        """
        check_is_fitted(self)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return call(self.estimator_, "score", as_arrays(X), task, y=y, **weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = self.estimator
        inner = MultiTaskBayesianRidge() if inner is None else inner
        if hasattr(inner, "fit") and not isinstance(inner, type):
            inner = get_tags(inner)
            tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
            tags.regressor_tags = inner.regressor_tags
        return tags
