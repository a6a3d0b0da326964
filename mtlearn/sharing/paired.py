"""Held-out responses of several strategies to the same labels, compared in pairs."""

import warnings
from functools import cached_property

import numpy as np

from ..fitting.scoring import squared_errors
from ..metrics import task_scores
from .gains import Gains

_GROUPS = 10  # of a task's labels, of which one at a time is left out
_CLOSE = 1e-6  # logarithms of ratios that are as good as none
_FLOOR = 1e-9  # losses, relative to the mean, that are as good as none


class HeldOut:
    """Held-out labels of all tasks, and what each strategy makes of them.

    Parameters
    ----------
    scoring : Scoring
    y : ndarray of shape (n_held,)
        Labels; those of a row that several folds test come several times.
    codes : ndarray of shape (n_held,), int
        Their tasks.
    labels : ndarray of shape (n_held,), int
        Which label of the data each is.
    responses : dict of ndarray
        For each strategy what `scoring` takes.
    n_tasks : int
    inflation : float
        By which the variance of a mean over the labels is larger than if models of
        different folds were independent.
    weight : ndarray of shape (n_held,), default=None
        How often each label counts.
    fold : ndarray of shape (n_held,), int, default=None
        The fold that holds each out.
    """

    def __init__(
        self,
        scoring,
        y,
        codes,
        labels,
        responses,
        n_tasks,
        inflation,
        weight=None,
        fold=None,
    ):
        self.scoring, self.y, self.codes, self.labels = scoring, y, codes, labels
        self.responses, self.n_tasks, self.inflation = responses, n_tasks, inflation
        self.weight, self.fold = weight, fold
        self._scores = {}

    @cached_property
    def greater_is_better(self):
        """Whether the metric is a score or an error."""
        return self._whole[1]

    @property
    def overall(self):
        """Score of all labels at once, for each strategy."""
        return self._whole[0]

    @cached_property
    def _whole(self):
        found = {
            name: self.scoring.overall(self.y, z, self.weight)
            for name, z in self.responses.items()
        }
        greater = next(iter(found.values())).greater_is_better
        return {name: one.macro() for name, one in found.items()}, greater

    def scores(self, name):
        """Score of each task, of shape (n_tasks,); NaN where it is undefined."""
        if name not in self._scores:
            with warnings.catch_warnings():
                if self._scores:  # what is undefined was said for the first strategy
                    warnings.simplefilter("ignore")
                z = self.responses[name]
                found = task_scores(
                    self.scoring.metric,
                    self.y,
                    z,
                    self.codes,
                    sample_weight=self.weight,
                )
            scores = [found.get(t, np.nan) for t in range(self.n_tasks)]
            self._scores[name] = np.array(scores)
        return self._scores[name]

    def better(self, name, over):
        """How much better one strategy scores than another, overall."""
        sign = 1.0 if self.greater_is_better else -1.0
        return sign * (self.overall[name] - self.overall[over])

    def some(self, rows):
        """The same for some of the labels."""
        return HeldOut(
            self.scoring,
            self.y[rows],
            self.codes[rows],
            self.labels[rows],
            {name: z[rows] for name, z in self.responses.items()},
            self.n_tasks,
            self.inflation,
            None if self.weight is None else self.weight[rows],
        )

    # ------------------------------------------------------------ pairs

    def gains(self, name, over):
        """Gains of the tasks on the scale on which they are compared.

        That is the logarithm of the ratio where losses of rows are positive numbers,
        so that tasks with much and with little noise can be told together, else the
        difference of the scores.

        Returns
        -------
        Gains
        """
        return self._pair(name, over, self.codes, self.n_tasks)

    def overall_gain(self, name, over):
        """The same for all labels at once, as if they were one task's: mean, error."""
        gains = self._pair(name, over, np.zeros_like(self.codes), 1)
        variance = gains.inflation * gains.variance[0] / max(gains.n_rows[0], 1)
        return float(gains.mean[0]), float(np.sqrt(variance))

    def errors(self, name, over):
        """Standard errors of the differences of the tasks' scores."""
        gains = self.gains(name, over)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(gains.inflation * gains.variance / gains.n_rows)
        return self.in_metric(error, name, over)

    def in_metric(self, steps, name, over):
        """Small steps of the tasks on the scale of `gains`, in the metric."""
        return steps * self._unit(self.scores(name), self.scores(over))

    def _unit(self, one, two):
        """What a small step on the scale of `gains` is in the metric."""
        if not self.by_ratio:
            return 1.0
        # between two scores: (a - b) / log(a / b), and twice that for squares
        middle = 0.5 * (one + two)
        return middle * (0.5 if self.scoring.root else 1.0)

    @property
    def by_ratio(self):
        """Whether gains are logarithms of ratios of errors."""
        return self.scoring.loss is not None and not self.greater_is_better

    def _pair(self, name, over, codes, n_tasks):
        if self.scoring.loss is None:
            return self._leave_out(name, over, codes, n_tasks)
        z, loss, once = self.responses, self.scoring.loss, self._once
        ours, theirs = once(loss(self.y, z[name])), once(loss(self.y, z[over]))
        apart = None
        if loss is squared_errors:
            apart = once(z[name] - z[over]), once(self.y - z[over])
        first = self._distinct[0]
        weight = np.ones(len(first)) if self.weight is None else self.weight[first]
        pair = _Losses(ours, theirs, codes[first], n_tasks, weight, apart)
        mean, variance = pair.by_ratio() if self.by_ratio else pair.by_difference()
        return Gains(mean, variance, pair.n, self.inflation)

    @cached_property
    def _distinct(self):
        """Where each distinct label is first, and which of them each is."""
        _, first, place = np.unique(self.labels, return_index=True, return_inverse=True)
        return first, place

    def _once(self, values):
        """Mean of the values of each distinct label."""
        place = self._distinct[1]
        return np.bincount(place, values) / np.bincount(place)

    def _leave_out(self, name, over, codes, n_tasks):
        """Gains in any metric, their variances by leaving out groups of labels."""
        mean, variance = np.full(n_tasks, np.nan), np.full(n_tasks, np.nan)
        n_groups = np.zeros(n_tasks)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=n_tasks))
        for t, rows in enumerate(np.split(order, ends[:-1])):
            group = _deal(self.labels[rows])
            n_groups[t] = group.max() + 1 if len(group) else 0
            if n_groups[t] > 1:
                mean[t], variance[t] = self._jackknife(name, over, rows, group)
        return Gains(mean, variance, n_groups, self.inflation)

    def _jackknife(self, name, over, rows, group):
        """Difference of two scores of some rows; variance of its pseudo-values."""
        n_groups = group.max() + 1
        whole = self._difference(name, over, rows)
        without = np.array(
            [self._difference(name, over, rows[group != g]) for g in range(n_groups)]
        )
        return whole, np.var((n_groups - 1) * without, ddof=1)

    def _difference(self, name, over, rows):
        """Difference of two scores of some rows, NaN where one is undefined."""
        sign = 1.0 if self.greater_is_better else -1.0
        metric, z, weight = self.scoring.function, self.responses, {}
        if self.weight is not None:
            weight = {"sample_weight": self.weight[rows]}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one, two = (
                    metric(self.y[rows], z[n][rows], **weight) for n in (name, over)
                )
        except ValueError:
            return np.nan
        return sign * (one - two)


def _deal(labels):
    """Distinct labels dealt to groups at random, the same for the same labels."""
    distinct, place = np.unique(labels, return_inverse=True)
    rng = np.random.default_rng(0)
    group = rng.permutation(len(distinct)) % max(min(_GROUPS, len(distinct)), 1)
    return group[place] if len(distinct) else place


class _Losses:
    """Losses of the same labels under two models, ours and theirs.

    apart : for squared errors, how far our predictions are from theirs, and the labels.
    """

    def __init__(self, ours, theirs, codes, n_tasks, weight, apart=None):
        self.ours, self.theirs, self.apart = ours, theirs, apart
        self.codes, self.n_tasks, self.weight = codes, n_tasks, weight
        self.n = self.sum(np.ones(len(codes)))

    def sum(self, values):
        """Sums over the labels of each task."""
        return np.bincount(self.codes, self.weight * values, self.n_tasks)

    def by_difference(self):
        """Mean differences of losses between none and one, and their variances."""
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = self.theirs - self.ours
            mean = self.sum(difference) / self.n
            squares = self.sum((difference - mean[self.codes]) ** 2)
            # of a few rows that agree it is not sure that all would
            squares += 2.0 / (1.0 + self.n)
            return mean, np.where(self.n > 1, squares / (self.n - 1.0), np.nan)

    def by_ratio(self):
        """Logarithms of the ratios of mean losses, and variances of a row's part."""
        floor = _FLOOR * 0.5 * (self.ours.mean() + self.theirs.mean()) + 1e-300
        with np.errstate(invalid="ignore", divide="ignore"):
            a, b = (self.sum(x) / self.n + floor for x in (self.ours, self.theirs))
            mean = np.log(b) - np.log(a)
            if self.apart is not None:
                # (b - a) / mean, or a where they are equal
                middle = np.where(np.abs(mean) > _CLOSE, (b - a) / mean, a)
                return mean, self._noise() / middle**2
            # to first order log b - log a moves by what a row does to both means
            change = (self.theirs + floor) / b[self.codes]
            change -= (self.ours + floor) / a[self.codes]
            squares = self.sum(change**2)
            return mean, np.where(self.n > 1, squares / (self.n - 1.0), np.nan)

    def _noise(self):
        """Variance of a row's difference of squares, given both predictions.

        That difference is d (2 r - d), where r is the label and d our prediction, both
        counted from theirs. It is uncertain as r is, whose variance around its line in
        d is the noise; the differences themselves would vary with d as well.
        """
        d, r = self.apart
        squares = self.sum(d**2)
        slope = np.divide(self.sum(d * r), squares, where=squares > 0, out=0 * squares)
        noise = self.sum((r - slope[self.codes] * d) ** 2) / (self.n - 1.0)
        return np.where(self.n > 1, 4.0 * noise * squares / self.n, np.nan)
