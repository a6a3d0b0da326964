"""A model that gives each task the strategy that its own rows prefer."""

import inspect
from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .fitting import checks
from .fitting.reports import Reported
from .fitting.scoring import check_scoring
from .fitting.whole import WholeFit
from .metrics import task_scores
from .per_task import PerTaskRegressor
from .problem.ids import (
    UNKNOWN,
    find_tasks,
    shorten,
    split_task_column,
)
from .sharing.contenders import Contender, call, make_contenders
from .sharing.door import (
    KINDS,
    Door,
    as_arrays,
    bare_problem,
    counted_folds,
    enter,
    take_rows,
    told,
    without_weightless,
)
from .sharing.folds import held_out, inner_folds
from .sharing.gains import shrink

# probability of a gain, less that of a loss, that a task must exceed to depart; the
# most careful first: nobody does
_LEVELS = (1.0, 0.99, 0.95, 0.9, 0.8, 0.5)


def _all_have(method):
    """Whether every strategy in use has a method; before the fit, whether any has."""

    def check(self):
        if hasattr(self, "estimators_"):
            return all(hasattr(model, method) for model in self.estimators_.values())
        return any(hasattr(one, method) for _, one in self._named())

    return check


class BestSharing(WholeFit, Reported, MetaEstimatorMixin, BaseEstimator):
    """Choose for each task the strategy that predicts its held-out rows best.

    Strategies are compared on folds, as by `mtlearn.inspection.compare_sharing`. A task
    gets the strategy with the best overall score unless another one is probably better
    for it. That probability takes the gains of all tasks into account, so that a task
    with a few rows does not choose at random. A task that sharing would hurt is fitted
    on its own, which bounds the cost of sharing.

    Parameters
    ----------
    estimators : estimator, list of (str, estimator), dict or None, default=None
        The candidates. An estimator that `compare_sharing` takes, such as
        ``PerTaskClassifier()``: the strategies of its kind. A list or a dict of named
        estimators: these, of whatever kind; those that know no ids see their column as
        a feature. None: the strategies of ``PerTaskRegressor()``.
    strategies : sequence of str, default=None
        With an estimator or None: names of the strategies, as in `compare_sharing`.
    cv : int, splitter or iterable, default=None
        The folds. None: ``TaskStratifiedKFold(5, shuffle=True, random_state=0)``; an
        int: the same with as many folds.
    scoring : callable or str, default=None
        A metric, as in `compare_sharing`. None: the root mean squared error, or the
        accuracy of a classifier.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids. None: that of the
        estimator, if there is one.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    choice_ : ndarray of shape (n_tasks,)
        Name of each task's strategy.
    winner_ : str
        The strategy with the best overall score, which unseen tasks get.
    scores_ : dict
        The overall held-out score of each strategy.
    estimators_ : dict
        The strategies in use, fitted to all rows.
    classes_ : ndarray or list of ndarray
        Of a classifier.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    mtlearn.inspection.compare_sharing : Compares, and says why.

    Notes
    -----
    How sure a task must be of another strategy to leave the winner, from a gain three
    times as probable as a loss to never, is chosen by what the choices from all folds
    but one make of that one. It is a regressor or a classifier as its estimators are.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import BestSharing
    >>> rng = np.random.default_rng(0)
    >>> X, shop = rng.normal(size=(1200, 2)), np.repeat(np.arange(60), 20)
    >>> slope = np.where(shop == 7, -4.0, 1.0)
    >>> y = slope * X[:, 0] + 0.5 * rng.normal(size=1200)
    >>> model = BestSharing(strategies=["pooled_offset"]).fit(X, y, task=shop)
    >>> print(model.choice_[6], model.choice_[7])
    pooled_offset independent
    """

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__score = {"task": True}

    def __init__(
        self,
        estimators=None,
        *,
        strategies=None,
        cv=None,
        scoring=None,
        task_column=None,
    ):
        self.estimators = estimators
        self.strategies = strategies
        self.cv = cv
        self.scoring = scoring
        self.task_column = task_column

    # ------------------------------------------------------------ parameters

    def get_params(self, deep=True):
        """Parameters, with `deep` those of the named estimators, too.

        Parameters
        ----------
        deep : bool, default=True
            Whether to add `name__parameter` of every named estimator.

        Returns
        -------
        params : dict
            Values by name.
        """
        params = super().get_params(deep=deep)
        if deep and _listed(self.estimators):
            for name, one in self._named():
                params[name] = one
                inner = one.get_params(deep=True)
                params.update({f"{name}__{key}": v for key, v in inner.items()})
        return params

    def set_params(self, **params):
        """Set parameters, also of named estimators, and whole ones by their name.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : object
            The estimator.
        """
        if _listed(self.estimators):
            if "estimators" in params:
                super().set_params(estimators=params.pop("estimators"))
            own = {name for name, _ in self._named()}
            new = {name: params.pop(name) for name in list(params) if name in own}
            if new:
                pairs = [(name, new.get(name, one)) for name, one in self._named()]
                as_given = dict if isinstance(self.estimators, Mapping) else list
                self.estimators = as_given(pairs)
        return super().set_params(**params)

    def _named(self):
        """Pairs of name and estimator, as far as they are known before the fit."""
        given = self.estimators
        if given is None:
            return [("estimator", PerTaskRegressor())]
        if isinstance(given, Mapping):
            return list(given.items())
        if _listed(given):
            return [pair for pair in given if np.ndim(pair) == 1 and len(pair) == 2]
        return [("estimator", given)]

    def _checked(self):
        """Those pairs, once they are known to be such."""
        given = self.estimators
        if not _listed(given):
            kinds = type(None), *KINDS
            if not isinstance(given, kinds):
                raise TypeError(
                    "`estimators` must be an estimator such as PerTaskRegressor, a "
                    f"list of (name, estimator), a dict or None, got {given!r}."
                )
            return self._named()
        if self.strategies is not None:
            raise ValueError(
                "`strategies` are those of one estimator: with several `estimators` "
                "leave it None."
            )
        pairs = self._named()
        fits = all(isinstance(n, str) and hasattr(one, "fit") for n, one in pairs)
        names = {name for name, _ in pairs} if fits else ()
        if not pairs or not fits or len(names) < len(given):
            raise ValueError(
                "`estimators` must hold pairs of a name, each another, and an "
                f"estimator, got {given!r}."
            )
        if len({is_classifier(one) for _, one in pairs}) > 1:
            raise ValueError(
                "`estimators` must all be regressors or all classifiers, got "
                f"{shorten([type(one).__name__ for _, one in pairs])}."
            )
        return pairs

    # ------------------------------------------------------------ fit

    def fit(self, X, y, sample_weight=None, *, task=None):
        """Compare the strategies, choose for each task, fit what is in use.

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
        pairs = self._checked()
        X, y = enter(self, [one for _, one in pairs], X, y)
        whole = self._problem(pairs, X, y, task)
        problem, weight, kept = without_weightless(whole, sample_weight)
        scoring = check_scoring(self.scoring, pairs[0][1])
        contenders = self._contenders(pairs, scoring, problem)
        folds = counted_folds(self.cv, whole, problem, kept)
        held, _ = held_out(problem, contenders, scoring, folds, None, weight)
        self.tasks_, self.scores_ = problem.tasks, dict(held.overall)
        self._layout = problem.layout
        self.winner_, self.choice_ = _choose(held)
        every = np.arange(len(problem.y))
        inner, task = inner_folds(folds, every, len(every)), problem.keyword(every)
        self.estimators_ = {
            name: contenders[name].fit(
                problem.given, problem.y, task, weight, folds=inner
            )
            for name in contenders
            if name == self.winner_ or name in self.choice_
        }
        if is_classifier(self):
            self.classes_ = self.estimators_[self.winner_].classes_

    def _problem(self, pairs, X, y, task):
        """The data, checked as far as all estimators agree what they must be."""
        door = Door(self._column, pairs[0][1])
        ours = all(isinstance(one, KINDS) for _, one in pairs)
        if ours and not hasattr(X, "dtypes"):
            checks.check_features(door, X, task, reset=True)
        problem = bare_problem(door, X, y, task)
        if len(problem.y) < 2:
            raise ValueError(
                "BestSharing needs at least two rows to compare, got n_samples=1."
            )
        return problem

    def _contenders(self, pairs, scoring, problem):
        """The strategies as they are fitted."""
        column = {} if self._column is None else {"task_column": self._column}
        if _listed(self.estimators):
            return {name: Contender(told(clone(one), column)) for name, one in pairs}
        model = told(clone(pairs[0][1]), column)
        X = problem.given if hasattr(problem.given, "shape") else None
        X = X if isinstance(X, np.ndarray) and X.dtype.kind in "iuf" else None
        return make_contenders(model, scoring, self.strategies, len(problem.tasks), X)

    # ------------------------------------------------------------ predict

    def predict(self, X, return_std=False, *, task=None):
        """Predict the labels, each task's by its strategy.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        return_std : bool, default=False
            Whether to return standard deviations of new labels, too, which all
            strategies in use must have.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Two-dimensional if `fit` had a two-dimensional `y`.
        std : ndarray of the same shape
            With `return_std`.
        """
        check_is_fitted(self)
        if not return_std:
            return self._by_task("predict", X, task)
        for name, model in self.estimators_.items():
            if "return_std" not in inspect.signature(model.predict).parameters:
                raise ValueError(
                    f"`return_std`: {name}, which some tasks chose, has no standard "
                    "deviations. Take estimators that all have them."
                )
        both = self._by_task("predict", X, task, _beside, return_std=True)
        return both[..., 0], both[..., 1]

    @available_if(_all_have("predict_proba"))
    def predict_proba(self, X, *, task=None):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes), or as the estimators have it
        """
        check_is_fitted(self)
        return self._by_task("predict_proba", X, task)

    @available_if(_all_have("decision_function"))
    def decision_function(self, X, *, task=None):
        """Scores by which the classes are chosen; of each task's own strategy.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        score : ndarray of shape (n_samples,) or (n_samples, n_classes), or as the
            estimators have it
        """
        check_is_fitted(self)
        return self._by_task("decision_function", X, task)

    def score(self, X, y, sample_weight=None, *, task=None):
        """R2 of a regressor, accuracy of a classifier.

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
        metric = accuracy_score if is_classifier(self) else r2_score
        z = self.predict(X, task=task)
        if z.ndim == 1:
            return float(metric(y, z, sample_weight=sample_weight))
        return task_scores(metric, y, z, sample_weight=sample_weight).macro()

    def _by_task(self, method, X, task, part=lambda z: z, **keywords):
        """Responses of each task's strategy."""
        X = as_arrays(X)
        if self._layout == "wide":
            return self._by_column(method, X, part, keywords)
        names, place = self._strategy_of_rows(X, task)
        out = None
        for k, name in enumerate(names):
            rows = np.flatnonzero(place == k)
            if not len(rows) and len(place):
                continue
            ids = None if task is None else np.asarray(task)[rows]
            some = X if len(rows) == len(place) else take_rows(X, rows)
            z = part(call(self.estimators_[name], method, some, ids, **keywords))
            if len(rows) == len(place):
                return z
            if out is None:
                out = np.empty((len(place), *z.shape[1:]), dtype=z.dtype)
            out = out if out.dtype == z.dtype else out.astype(np.result_type(out, z))
            out[rows] = z
        return out

    def _strategy_of_rows(self, X, task):
        """The strategies in use, and which of them each row has."""
        if self._layout == "single" or len(self.estimators_) == 1:
            return [self.winner_], np.zeros(X.shape[0], dtype=np.int64)
        validate_data(self, X, reset=False, skip_check_array=True)
        ids = task
        if self._column is not None:
            _, ids = split_task_column(X, self._column)
        if ids is None:
            raise ValueError(
                "`task` is missing: this estimator was fitted with task ids by "
                "`task=`, so predict and score need the task of every row too."
            )
        codes = find_tasks(self.tasks_, ids)
        names = list(self.estimators_)
        place = np.array([names.index(name) for name in self.choice_])
        other = names.index(self.winner_)
        return names, np.where(codes == UNKNOWN, other, place[codes])

    def _by_column(self, method, X, part, keywords):
        """Responses for all tasks of a two-dimensional `y`."""
        each = {
            name: part(call(model, method, X, **keywords))
            for name, model in self.estimators_.items()
        }
        first = each[self.winner_]
        if isinstance(first, list):
            return [each[name][t] for t, name in enumerate(self.choice_)]
        columns = [each[name][:, t] for t, name in enumerate(self.choice_)]
        return np.stack(columns, axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = [get_tags(one) for _, one in self._named() if hasattr(one, "fit")]
        if not inner:
            return tags
        tags.estimator_type = inner[0].estimator_type
        tags.classifier_tags = inner[0].classifier_tags
        tags.regressor_tags = inner[0].regressor_tags
        tags.target_tags = inner[0].target_tags
        tags.input_tags = inner[0].input_tags
        tags.input_tags.sparse = all(one.input_tags.sparse for one in inner)
        return tags


def _beside(both):
    """Predictions and their standard deviations as one array."""
    return np.stack(both, axis=-1)


def _listed(estimators):
    """Whether several estimators were given by their names."""
    return isinstance(estimators, (Mapping, list, tuple))


def _choose(held):
    """The strategy with the best overall score, and that of each task.

    How sure a task must be of another is chosen, too: each fold is predicted by what
    the others' held-out rows choose.
    """
    names = list(held.responses)
    # of equals the first
    winner = max(names, key=lambda name: held.better(name, names[0]))
    mixed = {level: held.responses[winner].copy() for level in _LEVELS}
    for k in np.unique(held.fold):
        here = held.fold == k
        gains = _gains(held.some(~here), winner)
        for level in _LEVELS:
            choice = _departures(gains, winner, level, held.n_tasks)[held.codes]
            for name in gains:
                rows = here & (choice == name)
                mixed[level][rows] = held.responses[name][rows]
    sign = 1.0 if held.greater_is_better else -1.0
    scores = {
        level: sign * held.scoring.overall(held.y, z, held.weight).macro()
        for level, z in mixed.items()
    }
    # of equals the most careful
    level = max(_LEVELS, key=scores.get)
    choice = _departures(_gains(held, winner), winner, level, held.n_tasks)
    return winner, choice.astype(str)


def _gains(held, winner):
    """What the tasks gain by each of the other strategies, in the light of all."""
    others = [name for name in held.responses if name != winner]
    return {name: shrink(held.gains(name, winner)) for name in others}


def _departures(gains, winner, level, n_tasks):
    """Each task's strategy if it must be so sure to leave the winner."""
    best, choice = np.zeros(n_tasks), np.full(n_tasks, winner, dtype=object)
    for name, over in gains.items():
        with np.errstate(invalid="ignore"):
            departs = (over.sure > level) & (over.mean > best)
        choice[departs], best[departs] = name, over.mean[departs]
    return choice
