"""What sharing does: four ways to fit many tasks, compared on held-out rows."""

import warnings
from typing import NamedTuple

import numpy as np

from ..fitting.scoring import check_scoring
from ..metrics import task_scores
from .door import open_problem, outer_folds
from .search import Part, Search, strength_of

STRATEGIES = ("multitask", "pooled", "pooled_offset", "independent")


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
    problem = open_problem(estimator, X, y, task)
    scoring = check_scoring(scoring, problem.model)
    folds = outer_folds(cv, X, problem)
    chosen, held = [], []
    with warnings.catch_warnings():
        # a task whose rows are all held out is predicted by the shared model
        warnings.filterwarnings("ignore", ".* have no labels in this fit", UserWarning)
        for fold, (train, test) in enumerate(folds):
            whole = Part(problem, train, test, scoring)
            search = Search(problem, train, whole, scoring)
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
    name, value = strength_of(search.parts[0].model, setting)
    return {
        "fold": fold,
        "strategy": strategy,
        "inner_score": search.sign * search.score(setting),
        name: value,
        "correlation": setting.correlation,
        "fit_intercept": setting.intercept,
        "offset_penalty": np.nan if setting.offset is None else setting.offset,
    }
