"""Does learning many tasks together help: strategies compared on held-out rows."""

from functools import cached_property

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..fitting.scoring import check_scoring
from .contenders import LABELS, SIMPLEST_FIRST, make_contenders
from .door import open_problem, outer_folds
from .folds import held_out, inner_folds
from .gains import FEW, judge, shrink
from .words import say

_NOISE = 1.0  # standard errors within which a simpler strategy is as good
_NOTHING = 1e-3  # difference of scores, relative, that is none whatever its error
_RATIO_MARGIN = 0.25  # logarithm of a ratio of errors (of squares) that would matter
_SCORE_MARGIN = 0.1  # difference of other scores that would


# ---------------------------------------------------------------- the comparison


def compare_sharing(
    estimator,
    X,
    y,
    *,
    task=None,
    strategies=None,
    cv=None,
    scoring=None,
    progress=None,
):
    r"""Does learning my tasks together help, and for which of them?

    Up to six strategies are fitted to the same training folds and scored on the same
    held-out rows:

    - multitask: coefficients around a common model, the relation `SharedMean`, with one
      strength of sharing, chosen by cross-validation;
    - learned: strengths of sharing learned by marginal likelihood, one for each feature
      and for the levels: `MultiTaskBayesianRidge` or `MultiTaskBayesianClassifier`;
    - additive: the same with smooth functions: `MultiTaskAdditiveRegressor` or
      `MultiTaskAdditiveClassifier`;
    - pooled: one model with one intercept for all tasks;
    - pooled_offset: one model and an offset of its own for each task, shrunk towards
      the common intercept;
    - independent: every task alone, with its own intercept.

    What is chosen is chosen inside each training fold. Nothing of it sees the held-out
    rows.

    Parameters
    ----------
    estimator : estimator or Pipeline
        `PerTaskRegressor`, `PerTaskClassifier`, `MultiTaskSVM`, `MultiTaskSVR`, a
        learned model, or a pipeline that ends in one. It is cloned. Its own relation,
        intercept and strength (`alpha` or `C`) do not matter; everything else (loss,
        weights, the steps before) is kept. A learned model stands for itself, and the
        others are then of `PerTaskRegressor` or `PerTaskClassifier`.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
        As for the estimator's `fit`: with the ids, if it has a `task_column`.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; in two dimensions NaN where a label was not observed.
    task : array-like of shape (n_samples,), default=None
        Task ids, where no column of X holds them.
    strategies : sequence of str, default=None
        Names of those that are compared; independent, against which gains are counted,
        is always one of them. None: all that there are for the estimator. The learned
        ones are then left out where they would take long: from 5e8 on of the tasks
        times the cubed features, where a curve counts as seven, and no sparse ones have
        curves.
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
        With `table` (a row per task), `summary`, `verdict()` and `best_estimator_`.

    Raises
    ------
    TypeError
        If the estimator is none of those above, or `scoring` is a scorer.
    ValueError
        If the data are not as described, or have a single task; if a strategy does not
        exist for the estimator (learned ones know no constraints).

    See Also
    --------
    BestSharing : A model that gives each task what its folds preferred.

    Notes
    -----
    With `PerTaskRegressor` the strengths of multitask, pooled and independent are those
    of `PerTaskRegressorCV`, whatever `scoring` is, and pooled_offset is
    ``MultiTaskBayesianRidge("intercept")``; with `PerTaskClassifier`, of
    `PerTaskClassifierCV`, and ``MultiTaskBayesianClassifier("intercept")``; their grids
    are somewhat coarser than the defaults. Otherwise (other losses, constraints,
    weights of tasks) the search goes from grid point to grid point, one parameter after
    the other, and chooses by inner cross-validation with the same score. Offsets are
    then the coefficients of a constant feature, of which the tasks have each their
    own, while all others are tied (correlation 1 - 1e-12); with a kernel or constraints
    they are free intercepts, which are not shrunk.

    A fold in which a task has no rows to train on predicts it by the shared model.
    Scale the features in a pipeline: a strength counts for all of them alike.

    How gains are judged is told in the guide, :ref:`should_i_share`.

    Examples
    --------
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(
    ...     40, 20, 4, correlation=0.9, return_X_y=True, random_state=0
    ... )
    >>> comparison = compare_sharing(PerTaskRegressor(), X, y, task=task)
    >>> comparison.winner
    'learned'
    >>> comparison.table["verdict"].value_counts().to_dict()
    {'gains': 33, 'no difference': 7}
    >>> comparison.best_estimator_.predict(X[:2], task=task[:2]).shape
    (2,)
    """
    problem = open_problem(estimator, X, y, task)
    scoring = check_scoring(scoring, problem.model)
    contenders = make_contenders(
        problem.model, scoring, strategies, len(problem.tasks), problem.X
    )
    folds = outer_folds(cv, X, problem)
    found = held_out(problem, contenders, scoring, folds, progress)
    refit = _Refit(contenders, problem, (y, task), folds)
    return SharingComparison(problem.tasks, problem.sizes(), *found, refit)


class _Refit:
    """Fits a strategy to all rows, as the user passed them."""

    def __init__(self, contenders, problem, labels, folds):
        self.contenders, self.problem, self.folds = contenders, problem, folds
        self.y, self.task = labels

    def __call__(self, name):
        X, head = self.problem.given, self.problem.head
        steps = []
        if head is not None:
            head = clone(head)
            X = head.fit_transform(X, self.y)
            steps = list(head.steps)
        n_rows = len(self.problem.y)
        folds = inner_folds(self.folds, np.arange(n_rows), n_rows)
        model = self.contenders[name].fit(X, self.y, self.task, folds=folds)
        steps += model.steps if isinstance(model, Pipeline) else [(name, model)]
        return Pipeline(steps) if len(steps) > 1 else model


class SharingComparison:
    """What `compare_sharing` returns.

    Attributes
    ----------
    table : DataFrame or structured ndarray of length n_tasks
        A row per task: task (its id), n_samples (its labelled rows), the held-out score
        of each strategy, gain and its standard_error, from the task's own rows;
        expected_gain, in the light of all tasks' gains; and verdict: "gains", "no
        difference", "hurt by sharing" or "too few rows to say". A data frame where
        pandas is installed.
    summary : DataFrame or structured ndarray of length 2
        The same scores in two averages: overall, all held-out rows scored at once; and
        task_mean, the plain mean of the tasks' scores. The averages' names are the
        index of the frame, or the field "average".
    parameters : DataFrame or structured ndarray
        What was chosen: a row per fold and strategy with `alpha` or `C`, correlation,
        fit_intercept and intercept_strength, where it has them.
    winner : str
        The recommended strategy: that of the best overall score, or the simplest whose
        score is within one standard error of it.
    best : str
        The strategy of the best overall score.
    judged : str
        The strategy whose gains are in the table: the winner, or if that is
        "independent" the best of the others.
    baseline : str
        What they are counted against: "independent".
    gain : ndarray of shape (n_tasks,)
        How much better the judged strategy scores than the baseline, task by task:
        positive is better, whatever the metric.
    standard_error : ndarray of shape (n_tasks,)
        Of the gain, from the task's own rows.
    best_estimator_ : estimator or Pipeline
        The winner, fitted to all rows when it is first asked for. It predicts from data
        in the form in which `compare_sharing` got them.
    metric : str
        Name of the score.
    greater_is_better : bool
        Whether it is a score or an error.
    strategies : tuple of str
        Names of those that were compared.
    labels : dict
        What each of them is, in words.

    See Also
    --------
    SharingDisplay : Draws it.
    """

    baseline = "independent"

    def __init__(self, tasks, n_samples, held, parameters, refit=None):
        self._held, self._refit = held, refit
        self.metric = held.scoring.name
        self.greater_is_better = held.greater_is_better
        self.strategies = tuple(held.responses)
        self.labels = {name: LABELS[name] for name in self.strategies}
        self.best, self.winner, self.judged = _rank(held)
        scores = {name: held.scores(name) for name in self.strategies}
        sign = 1.0 if self.greater_is_better else -1.0
        self.gain = sign * (scores[self.judged] - scores[self.baseline])
        self.standard_error = held.errors(self.judged, self.baseline)
        gains = held.gains(self.judged, self.baseline)
        margin = _RATIO_MARGIN if held.by_ratio else _SCORE_MARGIN
        shrunk = shrink(gains)
        expected = held.in_metric(shrunk.mean, self.judged, self.baseline)
        self._verdicts = judge(gains, shrunk, n_samples, margin)
        self.table = _frame(
            {
                "task": tasks,
                "n_samples": n_samples,
                **scores,
                "gain": self.gain,
                "standard_error": self.standard_error,
                "expected_gain": expected,
                "verdict": self._verdicts,
            }
        )
        averages = {n: np.array([held.overall[n], _mean(scores[n])]) for n in scores}
        names = np.array(["overall", "task_mean"])
        self.summary = _frame({"average": names, **averages}, index="average")
        self.parameters = _frame(parameters)

    def __repr__(self):
        overall = self._held.overall
        scores = ", ".join(f"{name}={overall[name]:.3g}" for name in overall)
        n_tasks = len(self.table)
        return f"SharingComparison({n_tasks} tasks, {self.metric}: {scores})"

    @cached_property
    def best_estimator_(self):
        """The winner, fitted to all rows."""
        return self._refit(self.winner)

    def extremes(self, n=5):
        """Return the tasks that gain and that lose most by learning together.

        Parameters
        ----------
        n : int, default=5
            At most so many of each.

        Returns
        -------
        gaining, losing : DataFrame or structured ndarray
            Rows of `table`; the largest gain first, the largest loss first. Tasks with
            too few rows to say are in neither.
        """
        return tuple(_take(self.table, rows) for rows in self._extremes(n))

    def _extremes(self, n):
        """Positions in `table` of the tasks that gain and that lose most."""
        order = np.argsort(self.gain, kind="stable")
        order = order[~np.isnan(self.gain[order]) & (self._verdicts[order] != FEW)]
        gaining = [t for t in order[::-1] if self.gain[t] > 0]
        return gaining[:n], [t for t in order if self.gain[t] < 0][:n]

    def verdict(self, target="the target"):
        """Say in plain words whether learning together helps, what to use, for whom.

        Parameters
        ----------
        target : str, default="the target"
            What is predicted, as the sentences are to call it.

        Returns
        -------
        str
            A few sentences.
        """
        return " ".join(self.sentences(target))

    def sentences(self, target="the target"):
        """Return the sentences of the verdict, the answer first.

        Parameters
        ----------
        target : str, default="the target"
            What is predicted, as the sentences are to call it.

        Returns
        -------
        list of str
            One or more.
        """
        return list(say(self, self._held, target))

    def report(self, title=None):
        """Put what was compared on a page: HTML, Markdown or JSON.

        Parameters
        ----------
        title : str, default=None
            Of the report.

        Returns
        -------
        report : TaskReport
            Shown as a page in a notebook; ``report.save("report.html")`` writes it.

        See Also
        --------
        mtlearn.report.make_report : The same with a model, and checks of the data.
        """
        from ..report import make_report

        return make_report(comparison=self, title=title)


def _rank(held):
    """Strategies: of the best score, recommended, and judged against independent."""
    ranked = sorted(held.responses, key=lambda n: held.better(n, "independent"))
    best = ranked[-1]
    winner = next(n for n in SIMPLEST_FIRST if n in ranked and _as_good(held, n, best))
    others = [name for name in ranked if name != "independent"]
    judged = others[-1] if winner == "independent" else winner
    return best, winner, judged


def _as_good(held, name, best):
    """Whether the best strategy is better only by what may be noise."""
    if name == best:
        return True
    mean, error = held.overall_gain(best, name)
    close = held.better(best, name) <= _NOTHING * abs(held.overall[best])
    return bool(close or mean <= _NOISE * error)


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
