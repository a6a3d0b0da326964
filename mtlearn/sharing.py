"""What sharing does: four ways to fit many tasks, compared on held-out rows."""

import numbers
import warnings
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from .constraints import by_position
from .fitting import checks
from .fitting.constrained import feature_names
from .fitting.scoring import check_scoring
from .metrics import task_scores
from .model_selection import TaskStratifiedKFold
from .problem.demands import Scope
from .problem.ids import index_tasks, shorten
from .problem.values import check_targets
from .relations import SharedMean

STRATEGIES = ("multitask", "pooled", "pooled_offset", "independent")

# What the inner cross-validation chooses from, the simplest first: it wins ties.
# Penalties are in units of the features' summed variance, those of offsets in rows.
_PENALTIES = tuple((10.0 ** np.arange(2.0, -3.0, -0.5)).tolist())
_CORRELATIONS = (1.0, 0.999, 0.99, 0.97, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0)
_INTERCEPTS = ("shrunk", "free")
_OFFSETS = tuple((10.0 ** np.arange(3.0, -1.5, -0.5)).tolist())
_INNER_SPLITS = 5

# 1 - correlation of coefficients that are to be the same in all tasks: between tasks of
# n rows they differ by about this times n / penalty. A power of two, so that the
# correlation is exact.
_TIED = 2.0**-40


# ---------------------------------------------------------------- the comparison


def compare_sharing(
    estimator, X, y, *, task=None, cv=None, scoring=None, progress=None
):
    r"""Does learning my tasks together help, and for which of them?

    Four strategies are fitted to the same training folds and scored on the same
    held-out rows:

    - multitask: coefficients around a common model, the relation `SharedMean`; its
      correlation, the strength and whether intercepts are "free" or "shrunk" are
      chosen;
    - pooled: one model with one intercept for all tasks; the strength is chosen;
    - pooled_offset: one model and an offset of its own for each task, shrunk towards
      the common intercept; both strengths are chosen;
    - independent: every task alone, with its own intercept; the strength is chosen.

    What is chosen is chosen inside each training fold, by cross-validation over the
    same inner folds and with the same score for all four. Nothing of it sees the
    held-out rows.

    Parameters
    ----------
    estimator : estimator or Pipeline
        `PerTaskRegressor`, `PerTaskClassifier`, `MultiTaskSVM` or `MultiTaskSVR`, or a
        pipeline that ends in one. It is cloned. Its own relation, intercept and
        strength (`alpha` or `C`) do not matter; everything else (loss, weights, the
        steps before) is kept.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
        As for the estimator's `fit`: with the ids, if it has a `task_column`.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; in two dimensions NaN where a label was not observed.
    task : array-like of shape (n_samples,), default=None
        Task ids, where no column of X holds them.
    cv : int, splitter or iterable, default=None
        The outer folds. None: ``TaskStratifiedKFold(5, shuffle=True, random_state=0)``,
        which has its share of every task in every fold; an int: the same with as many
        folds.
    scoring : callable or str, default=None
        A function ``metric(y_true, y_pred)`` or its name in `sklearn.metrics`, with or
        without "neg\_" and its ending: "r2", "roc_auc", "neg_log_loss". Metrics of
        rankings and probabilities get decisions and probabilities. None: the root
        mean squared error, or the accuracy of a classifier.
    progress : callable, default=None
        Called as ``progress(done, total)`` after every step.

    Returns
    -------
    SharingComparison
        With `table` (a row per task), `summary` and `parameters`.

    Raises
    ------
    TypeError
        If the estimator is none of those above, or `scoring` is a scorer.
    ValueError
        If the data are not as described, or have a single task.

    Notes
    -----
    The search goes from grid point to grid point, one parameter after the other, until
    none improves. That of multitask starts at the best of a coarser grid and of the
    chosen pooled and independent models, which are points of its own grid (correlation
    1 and 0).
    Penalties are measured in the features' summed variance. Scale the features in a
    pipeline all the same: a strength counts for all of them alike, and for shrunken
    intercepts, too.

    The offsets of pooled_offset are the coefficients of a constant feature, of which
    the tasks have each their own, while all others are tied (correlation 1 - 1e-12).
    With a kernel or constraints they are free intercepts, which are not shrunk.

    A fold in which a task has no rows to train on predicts it by the shared model.

    Examples
    --------
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(
    ...     8, 20, 5, correlation=0.8, return_X_y=True, random_state=0
    ... )
    >>> comparison = compare_sharing(PerTaskRegressor(), X, y, task=task, cv=3)
    >>> comparison.summary.loc["overall"].round(2).to_dict()
    {'multitask': 1.29, 'pooled': 1.52, 'pooled_offset': 1.52, 'independent': 1.48}
    >>> comparison.table["n_samples"].tolist()
    [20, 20, 20, 20, 20, 20, 20, 20]
    """
    problem = _open(estimator, X, y, task)
    scoring = check_scoring(scoring, problem.model)
    folds = _outer_folds(cv, X, problem)
    chosen, held = [], []
    with warnings.catch_warnings():
        # a task whose rows are all held out is predicted by the shared model
        warnings.filterwarnings("ignore", ".* have no labels in this fit", UserWarning)
        for fold, (train, test) in enumerate(folds):
            whole = _Part(problem, train, test, scoring)
            search = _Search(problem, train, whole, scoring)
            responses = {}
            for name in STRATEGIES:
                setting = search.best(name)
                chosen.append(_row(fold, name, search, setting))
                responses[name] = whole.respond(setting)
                if progress is not None:
                    progress(len(chosen), len(folds) * len(STRATEGIES))
            held.append((whole, responses))
    return _compared(problem, scoring, held, chosen)


class SharingComparison:
    """What `compare_sharing` returns.

    Attributes
    ----------
    table : DataFrame or structured ndarray of length n_tasks
        A row per task with the columns task (its id), n_samples (its labelled rows),
        the held-out scores multitask, pooled, pooled_offset and independent, and gain.
        A data frame where pandas is installed.
    summary : DataFrame or structured ndarray of length 2
        The same scores in two averages: overall, all held-out rows scored at once; and
        task_mean, the plain mean of the tasks' scores. The averages' names are the
        index of the frame, or the field "average".
    parameters : DataFrame or structured ndarray
        What was chosen: a row per fold and strategy with the inner score, `alpha` or
        `C`, correlation, fit_intercept and the strength of the offsets' penalty in
        rows (an offset of a task of n rows keeps n / (n + that) of its size).
    baseline : str
        "pooled" or "independent", whichever has the better overall score.
    gain : ndarray of shape (n_tasks,)
        How much better multitask is than the baseline, task by task: positive is
        better, whatever the metric.
    metric : str
        Name of the score.
    greater_is_better : bool
        Whether it is a score or an error.

    See Also
    --------
    SharingDisplay : Draws it.
    """

    def __init__(self, tasks, n_samples, scores, overall, parameters, metric, greater):
        self.metric, self.greater_is_better = metric, greater
        self._overall = overall
        self._sign = 1.0 if greater else -1.0
        self.baseline = max(
            ("pooled", "independent"), key=lambda name: self._sign * overall[name]
        )
        self.gain = self._sign * (scores["multitask"] - scores[self.baseline])
        self.table = _frame(
            {"task": tasks, "n_samples": n_samples, **scores, "gain": self.gain}
        )
        means = {name: _mean(scores[name]) for name in STRATEGIES}
        self.summary = _frame(
            {
                "average": np.array(["overall", "task_mean"]),
                **{name: np.array([overall[name], means[name]]) for name in STRATEGIES},
            },
            index="average",
        )
        self.parameters = _frame(parameters)

    def __repr__(self):
        scores = ", ".join(f"{n}={self._overall[n]:.3g}" for n in STRATEGIES)
        n_tasks = len(self.table)
        return f"SharingComparison({n_tasks} tasks, {self.metric}: {scores})"

    def extremes(self, n=5):
        """Return the tasks that gain and that lose most by learning together.

        Parameters
        ----------
        n : int, default=5
            At most so many of each.

        Returns
        -------
        gaining, losing : DataFrame or structured ndarray
            Rows of `table`; the largest gain first, the largest loss first.
        """
        return tuple(_take(self.table, rows) for rows in self._extremes(n))

    def _extremes(self, n):
        """Positions in `table` of the tasks that gain and that lose most."""
        order = np.argsort(self.gain, kind="stable")
        order = order[~np.isnan(self.gain[order])]
        gaining = [t for t in order[::-1] if self.gain[t] > 0]
        return gaining[:n], [t for t in order if self.gain[t] < 0][:n]

    def verdict(self):
        """Say in plain words whether learning together helps, and which tasks.

        A difference counts if the mean of the tasks' gains, weighted by their rows, is
        more than twice its standard error and the overall score agrees.

        Returns
        -------
        str
            Two or three sentences.
        """
        return " ".join([self._answer(), *self._rival(), self._for_whom()])

    def _answer(self):
        ours, theirs = self._overall["multitask"], self._overall[self.baseline]
        other = _ALONE if self.baseline == "independent" else _AS_ONE
        scores = f"{self.metric} {ours:.4g} against {theirs:.4g} with {other.model}"
        if not self._clear():
            return (
                f"Learning the tasks together makes no clear difference: {scores}, "
                f"{other.consequence}."
            )
        if self._sign * (ours - theirs) > 0:
            return f"Yes, learning the tasks together helps: {scores}."
        return f"No, learning the tasks together does not help: {scores}."

    def _clear(self):
        """Whether the weighted mean gain is more than two standard errors from 0."""
        defined = ~np.isnan(self.gain)
        gain = self.gain[defined]
        share = np.asarray(self.table["n_samples"], dtype=float)[defined]
        share /= share.sum()
        mean = share @ gain
        spread = np.sum((share * (gain - mean)) ** 2)
        error = np.sqrt(spread / max(1.0 - np.sum(share**2), 1e-12))
        overall = self._overall["multitask"] - self._overall[self.baseline]
        return abs(mean) > 2 * error and mean * self._sign * overall > 0

    def _rival(self):
        """A sentence where the cheaper model with offsets is as good, and needed."""
        offset = self._overall["pooled_offset"]
        over = {
            name: self._sign * (offset - self._overall[name])
            for name in ("multitask", self.baseline)
        }
        if over["multitask"] >= 0 and over[self.baseline] > 0:
            yield (
                f"One model with an offset for each task does as well or better "
                f"({offset:.4g}): the tasks seem to differ in level, not in slope."
            )

    def _for_whom(self):
        defined = ~np.isnan(self.gain)
        gain, size = self.gain[defined], np.asarray(self.table["n_samples"])[defined]
        text = (
            f"Of {len(self.gain)} tasks {int(np.sum(gain > 0))} gain and "
            f"{int(np.sum(gain < 0))} lose"
        )
        middle = np.median(size) if len(size) else 0
        small = size <= middle
        if small.all():
            return f"{text}."
        return (
            f"{text}; the mean gain in {self.metric} is {gain[small].mean():.2g} in "
            f"the smaller half (up to {middle:.0f} rows) and "
            f"{gain[~small].mean():.2g} in the larger half."
        )


class _Other(NamedTuple):
    """How the verdict speaks of a baseline."""

    model: str
    consequence: str


_ALONE = _Other("a model of its own for each", "so each can as well be learned alone")
_AS_ONE = _Other("one model for all", "which is then enough")


def _mean(scores):
    """Mean of what is defined."""
    scores = scores[~np.isnan(scores)]
    return float(scores.mean()) if scores.size else np.nan


def _frame(columns, index=None):
    """A data frame where pandas is installed, else a structured array."""
    try:
        import pandas as pd
    except ImportError:
        columns = {name: np.asarray(values) for name, values in columns.items()}
        table = np.empty(
            len(next(iter(columns.values()))),
            dtype=[(name, values.dtype) for name, values in columns.items()],
        )
        for name, values in columns.items():
            table[name] = values
        return table
    frame = pd.DataFrame(columns)
    return frame if index is None else frame.set_index(index)


def _take(table, rows):
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]


def _compared(problem, scoring, held, chosen):
    """Score the held-out responses of all folds, task by task and overall."""
    y = np.concatenate([part.labels for part, _ in held])
    codes = np.concatenate([part.codes for part, _ in held])
    scores, overall = {}, {}
    for name in STRATEGIES:
        z = np.concatenate([responses[name] for _, responses in held])
        with warnings.catch_warnings():
            if scores:  # what is undefined was said for the first strategy
                warnings.simplefilter("ignore")
            found = task_scores(scoring.metric, y, z, codes)
            total = scoring.overall(y, z)
        n_tasks = len(problem.tasks)
        scores[name] = np.array([found.get(t, np.nan) for t in range(n_tasks)])
        overall[name] = total.macro()
    return SharingComparison(
        problem.tasks,
        problem.sizes(),
        scores,
        overall,
        {key: np.array([row[key] for row in chosen]) for key in chosen[0]},
        scoring.name,
        total.greater_is_better,
    )


def _row(fold, strategy, search, setting):
    """One row of `SharingComparison.parameters`."""
    name, value = _strength(search.parts[0].model, setting)
    return {
        "fold": fold,
        "strategy": strategy,
        "inner_score": search.sign * search.score(setting),
        name: value,
        "correlation": setting.correlation,
        "fit_intercept": setting.intercept,
        "offset_penalty": np.nan if setting.offset is None else setting.offset,
    }


# ---------------------------------------------------------------- the door


@dataclass(frozen=True)
class _Problem:
    """Data of either layout, and the estimator taken apart.

    Attributes
    ----------
    head : Pipeline or None
        The steps before the model.
    model : estimator
        Unfitted, quiet; its `task_column` is that of what comes out of the head.
    X : ndarray, csr_array or, with a head, as given
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
    observed : ndarray of the shape of `y`, bool
    tasks : ndarray of shape (n_tasks,)
    codes : ndarray of shape (n_samples,) or None
    task_weight : ndarray of shape (n_tasks,) or None
        Where the estimator's parameter is an array or a dict.
    """

    head: object
    model: object
    X: object
    y: np.ndarray
    observed: np.ndarray
    tasks: np.ndarray
    codes: np.ndarray | None
    task_weight: np.ndarray | None = None

    def sizes(self):
        """Labelled rows of each task."""
        if self.codes is None:
            return self.observed.sum(axis=0)
        return np.bincount(self.codes, minlength=len(self.tasks))

    def among(self, rows):
        """Positions of the tasks that an estimator finds in these rows."""
        if self.codes is None:
            return np.arange(len(self.tasks))
        return np.unique(self.codes[rows])

    def task(self, rows):
        """The keyword `task` of fit and predict, if the layout has ids."""
        return {} if self.codes is None else {"task": self.tasks[self.codes[rows]]}

    def features(self, train, test):
        """Numeric features of both parts, through a head fitted to the first."""
        X, X_test = _rows(self.X, train), _rows(self.X, test)
        if self.head is None:
            return X, X_test
        head, model = clone(self.head), clone(self.model)
        X, X_test = head.fit_transform(X, self.y[train]), head.transform(X_test)
        X, _ = checks.check_features(model, X, None, reset=True)
        return X, checks.check_features(model, X_test, None, reset=False)[0]


def _open(estimator, X, y, task):
    """Check what the user passed and take it apart."""
    head, model = _take_apart(estimator)
    # the ids are where the model looks for them: behind the head
    seen = X if head is None else clone(head).fit_transform(X, y)
    probe = clone(model)
    features, ids = checks.check_features(probe, seen, task, reset=True)
    _refuse_precomputed(model)
    if getattr(model, "constraints", None):
        # the folds are arrays, which have no names
        scope = Scope(None, feature_names(probe), features.shape[1])
        model.set_params(constraints=by_position(model.constraints, scope))
    y, names = checks.check_labels(model, features, y, long=ids is not None)
    if is_classifier(model):
        observed = ~np.isnan(checks.check_classes(y)[0])
    else:
        y = check_targets(y)
        observed = ~np.isnan(y)
    tasks, codes = _name_tasks(ids, y, names)
    X = features if head is None else X
    problem = _Problem(head, model, X, y, observed, tasks, codes)
    if model.task_weight is None or isinstance(model.task_weight, str):
        return problem
    weight = checks.check_task_weight(model.task_weight, tasks, problem.sizes())
    return replace(problem, task_weight=weight)


def _refuse_precomputed(model):
    if getattr(model, "kernel", None) == "precomputed":
        raise ValueError(
            "compare_sharing needs the features, to take parts of the rows, got "
            "`kernel`='precomputed': pass the features and the kernel as a function."
        )


def _name_tasks(ids, y, names):
    """The tasks, and in the long layout the code of each row; at least two."""
    if ids is not None:
        tasks, codes = index_tasks(ids)
    elif y.ndim == 2:
        tasks, codes = np.arange(y.shape[1]) if names is None else names, None
    else:
        raise ValueError(
            "compare_sharing needs tasks: name the column of ids in the estimator's "
            "`task_column`, pass `task=`, or give a `y` with one column per task."
        )
    if len(tasks) < 2:
        raise ValueError(
            "compare_sharing needs at least two tasks to compare, got "
            f"{shorten(tasks)}."
        )
    return tasks, codes


def _take_apart(estimator):
    """The steps before the model (or None), and the model, unfitted and quiet."""
    head, model = None, estimator
    if isinstance(estimator, Pipeline):
        head = estimator[:-1] if len(estimator) > 1 else None
        model = estimator[-1]
    needed = ("relation", "fit_intercept", "task_column", "warm_start")
    if isinstance(model, type) or not all(hasattr(model, name) for name in needed):
        raise TypeError(
            "`estimator` must be a PerTaskRegressor, PerTaskClassifier, MultiTaskSVM "
            f"or MultiTaskSVR, or a Pipeline that ends in one, got {model!r}."
        )
    # a task may have all its rows in the test part; that must not end the comparison
    model = clone(model).set_params(verbose=0, handle_unknown="shared")
    return head, model


def _outer_folds(cv, X, problem):
    """Row numbers (train, test) of the outer folds."""
    if cv is None or (isinstance(cv, numbers.Integral) and not isinstance(cv, bool)):
        splits = 5 if cv is None else cv
        cv = TaskStratifiedKFold(splits, shuffle=True, random_state=0)
    cv = check_cv(cv)
    finds_ids = getattr(cv, "task_column", None) is not None
    groups = None if finds_ids else problem.codes
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(cv.split(X, problem.y, groups=groups))
    rows = np.arange(len(problem.y))
    folds = [(rows[train], rows[test]) for train, test in folds]
    if not folds:
        raise ValueError("`cv` gives no fold: expected at least one.")
    return folds


def _rows(X, rows):
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "take") and hasattr(X, "column_names"):
        return X.take(rows)
    return X[rows] if hasattr(X, "shape") else [X[i] for i in rows]


# ---------------------------------------------------------------- the search


class _Setting(NamedTuple):
    """A point of the grids.

    penalty is alpha, or 1 / C; offset, of pooled_offset alone, the penalty of a squared
    offset over that of a squared residual.
    """

    penalty: float
    correlation: float
    intercept: str
    offset: float | None = None


class _Search:
    """Cross-validation inside one training fold; a point is scored once."""

    def __init__(self, problem, train, whole, scoring):
        self.scoring, self.known = scoring, {}
        model = problem.model
        linear = getattr(model, "kernel", "linear") == "linear"
        self.carries_offsets = linear and not getattr(model, "constraints", None)
        variance = whole.variance()
        self.penalties = tuple(variance * penalty for penalty in _PENALTIES)
        self.parts = [
            _Part(problem, train[inner], train[outer], scoring)
            for inner, outer in _inner_folds(problem, train)
        ]
        self.labels = np.concatenate([part.labels for part in self.parts])

    def score(self, setting):
        """Score of the inner held-out rows, the greater the better."""
        if setting not in self.known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                z = np.concatenate([part.respond(setting) for part in self.parts])
                found = self.scoring.overall(self.labels, z)
            self.sign = 1.0 if found.greater_is_better else -1.0
            score = self.sign * found.macro()
            self.known[setting] = -np.inf if np.isnan(score) else score
        return self.known[setting]

    def best(self, strategy):
        """The chosen setting of a strategy."""
        strongest, grid = self.penalties[0], {"penalty": self.penalties}
        if strategy == "pooled":
            return self._climb(_Setting(strongest, 1.0, "shared"), grid)
        if strategy == "independent":
            return self._climb(_Setting(strongest, 0.0, "free"), grid)
        pooled = self.best("pooled")
        if strategy == "pooled_offset" and not self.carries_offsets:
            return self._climb(pooled._replace(intercept="free"), grid)
        if strategy == "pooled_offset":
            start = pooled._replace(intercept="offset", offset=_OFFSETS[0])
            return self._climb(start, {"offset": _OFFSETS, **grid})
        # strength and correlation trade off: lines alone could end on a ridge
        coarse = [
            _Setting(*point)
            for point in product(self.penalties[::2], _CORRELATIONS[::2], _INTERCEPTS)
        ]
        # with correlation 1 shrunken intercepts are all the same, as pooled ones are
        simple = [self.best("independent"), pooled._replace(intercept="shrunk")]
        grid |= {"intercept": _INTERCEPTS, "correlation": _CORRELATIONS}
        return self._climb(max(simple + coarse, key=self.score), grid)

    def _climb(self, at, grid):
        """Line searches, one parameter after the other, until none improves."""
        before = None
        while at != before:
            before = at
            for name, values in grid.items():
                line = [at, *(at._replace(**{name: value}) for value in values)]
                at = max(line, key=self.score)
        return at


def _inner_folds(problem, train):
    """Positions in `train` to fit to and to score on."""
    cv = TaskStratifiedKFold(_INNER_SPLITS, shuffle=True, random_state=0)
    groups = None if problem.codes is None else problem.codes[train]
    return cv.split(train, problem.y[train], groups=groups)


class _Part:
    """Rows to train on and rows to predict, ready for many fits.

    Attributes
    ----------
    labels : ndarray of shape (n_labels,)
        Observed labels of the rows to predict, in either layout.
    codes : ndarray of shape (n_labels,), int
        Their tasks.
    """

    def __init__(self, problem, train, test, scoring):
        self.methods = scoring.methods
        self.model = clone(problem.model).set_params(task_column=None, warm_start=True)
        if problem.task_weight is not None:
            self.model.set_params(task_weight=problem.task_weight[problem.among(train)])
        self.X, self.X_test = problem.features(train, test)
        self.y = problem.y[train]
        self.task, self.task_test = problem.task(train), problem.task(test)
        self.seen = problem.observed[test]
        self.labels = problem.y[test][self.seen]
        if problem.codes is None:
            self.codes = np.nonzero(self.seen)[1]
        else:
            self.codes = problem.codes[test]

    def variance(self):
        """Summed variance of the features, of the rows to train on."""
        total = StandardScaler(with_mean=False).fit(self.X).var_.sum()
        return float(total) if total > 0 else 1.0

    def respond(self, setting):
        """Fit the model with this setting and return its response to each label."""
        model = self.model.set_params(**_parameters(self.model, setting))
        X, X_test = _beside(self.X, setting), _beside(self.X_test, setting)
        model.fit(X, self.y, **self.task)
        z = getattr(model, self.methods[0])(X_test, **self.task_test)
        if isinstance(z, list):
            raise ValueError(
                "`scoring` by probabilities or decisions is not possible with a 2-D "
                "`y` of more than two classes: choose one by predictions."
            )
        if z.ndim == 2 and self.seen.ndim == 1 and z.shape[1] == 2:
            z = z[:, 1]
        return z[self.seen]


def _parameters(model, setting):
    """The model's parameters for a setting."""
    name, value = _strength(model, setting)
    if setting.intercept == "offset":
        relation, intercept = SharedMean(1.0 - _TIED), False
    else:
        relation, intercept = SharedMean(setting.correlation), setting.intercept
    return {name: value, "relation": relation, "fit_intercept": intercept}


def _strength(model, setting):
    """Name and value of the model's strength."""
    if hasattr(model, "alpha"):
        return "alpha", float(setting.penalty)
    return "C", float(1.0 / setting.penalty)


def _beside(X, setting):
    """The features, and for offsets the constant one that carries them.

    With K = (1 - e) I + e' 11' (here e = `_TIED`, e' = 1 - e) a task's own part of a
    coefficient v costs penalty v^2 / e. On a constant feature of size s / sqrt(e) an
    offset d costs penalty d^2 / s^2, and the common level next to nothing.
    """
    if setting.offset is None:
        return X
    size = np.sqrt(setting.penalty / setting.offset / _TIED)
    column = np.full((X.shape[0], 1), size)
    return sp.hstack([X, column], "csr") if sp.issparse(X) else np.hstack([X, column])
