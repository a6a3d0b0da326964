"""Cross-validation from moments of folds: of rows that need not be there any more."""

import numbers
from dataclasses import replace

import numpy as np

from ..moments import TaskMoments, stream_folds
from ..problem.solution import warn_unless_converged
from ..problem.span import NoSpan
from ..problem.tasks import TaskData
from .base import _report
from .compiling import tell_when_compiling
from .folds import HeldOutMoments, KnownFolds, moments_of, part_the_rows
from .grid import Fold, Search
from .part import Part
from .partitions import is_collection, open_partitions
from .streams import SMALL, placed, total_folds


class FromFolds:
    """What a cross-validated estimator adds to a base that is `FromMoments`.

    It goes before `GridFit`.
    """

    def fit_moments(self, moments):
        """Choose the strength and fit the model from moments of folds.

        Parameters
        ----------
        moments : list of TaskMoments
            Of the rows of every fold, two or more: ``TaskMoments.from_batches(...,
            folds=5)``, or sums of such lists, fold by fold. A training part is all
            folds but one. Weighted rows must have been gathered with `folds`.

        Returns
        -------
        self : object
            The fitted estimator, as `fit` would leave it after all those rows, with
            these folds as `cv`.

        Raises
        ------
        ValueError
            If the moments or a parameter are not as described; the message names it.
        TypeError
            If a parameter has the wrong type.
        """
        tell_when_compiling()
        return self._learn(self._unfitted(), moments)

    def _learn(self, model, moments):
        """Search by the folds, keep them in `model`, and take it over."""
        folds = model._check_folds(moments)
        solution = model._search_folds(folds, self._warm_model)
        model._moments = folds
        if self.verbose:
            _report(type(self).__name__, solution)
        warn_unless_converged(solution, type(self).__name__, self.tol)
        return self._become(model)

    def _moments_with(self, seen, X, y, sample_weight, task):
        """Moments of the folds, those of more rows added to what was seen."""
        self._check_cv()
        n_folds = self._n_folds() if seen is None else len(seen)
        start = 0 if seen is None else sum(one.n_samples for one in seen)
        what = X, y, sample_weight, task, seen is None
        if is_collection(X, y, sample_weight, task):
            new = total_folds(*open_partitions(self, *what), n_folds, start)
        else:
            rows = self._read(*what)
            fold = stream_folds(rows.X.shape[0], n_folds, start)
            data = TaskData(rows.X, rows.y, len(rows.tasks), rows.codes, rows.weight)
            of = rows.tasks, self._layout, *self._columns(), fold, n_folds
            new = TaskMoments.folds_from_data(data, *of)
        if seen is None:
            return new
        return [one + other for one, other in zip(seen, new, strict=True)]

    def _fit_partitions(self, X, y, sample_weight, task):
        model = self._unfitted()
        return self._learn(model, model._moments_with(None, X, y, sample_weight, task))

    _kept_none = "as they are larger than its rows, or its folds do not part these"

    def _keep_folds(self, rows, folds, moments):
        n, d = rows.X.shape
        weighted = rows.sample_weight is not None
        size = 8.0 * rows.n_tasks * d * d * len(folds) * (1 + weighted)
        if size > max(SMALL, 8.0 * n * d) or not part_the_rows(folds, n):
            return
        wide = self._layout == "wide"
        # not those that the relation alone names
        named = np.arange(rows.n_tasks) < self._n_columns
        if not wide:
            named = np.bincount(rows.codes, minlength=rows.n_tasks) > 0
        what = self.tasks_[named], self._layout, *self._columns()
        if moments is None or weighted:
            fold = np.empty(n, dtype=np.int64)
            for k, (_, test) in enumerate(folds):
                fold[test] = k
            data = rows.only(named)
            self._moments = TaskMoments.folds_from_data(data, *what, fold, len(folds))
            return
        self._moments = [
            _of_fold(rows, test, named, one, what)
            for (_, test), one in zip(folds, moments, strict=True)
        ]

    # ------------------------------------------------------------ check

    def _n_folds(self):
        return 5 if self.cv is None else int(self.cv)

    def _check_cv(self):
        """Refuse what only rows can tell."""
        self._check_parameters()
        if not (self.cv is None or isinstance(self.cv, numbers.Number)):
            raise ValueError(
                "`cv` must be a number of folds or None where moments are fitted, got "
                f"{self.cv!r}: rows that are gone cannot be dealt into other folds."
            )
        if self.scoring is not None:
            raise ValueError(
                f"`scoring` must be None where moments are fitted, got {self.scoring!r}"
                ": they tell the mean squared error of held-out rows, and no other."
            )

    def _check_folds(self, moments):
        """The folds as a list."""
        self._check_cv()
        what = type(self).__name__
        if isinstance(moments, TaskMoments):
            raise TypeError(
                f"{what} needs the moments of each fold, got those of all rows: make a "
                "list with TaskMoments.from_batches(..., folds=5)."
            )
        if not isinstance(moments, (list, tuple)) or not all(
            isinstance(one, TaskMoments) for one in moments
        ):
            raise TypeError(
                "`moments` must be a list of TaskMoments, one for each fold, got an "
                f"object of type {type(moments).__name__}."
            )
        if len(moments) < 2:
            raise ValueError(
                f"`moments` must be of at least 2 folds, got {len(moments)}."
            )
        if self.cv is not None and len(moments) != self.cv:
            raise ValueError(
                f"`cv`={self.cv!r}, but `moments` are of {len(moments)} folds."
            )
        if any(one.unweighted is None for one in moments):
            raise ValueError(
                "`moments` are of weighted rows and do not tell their errors: gather "
                "them with folds=, as TaskMoments.from_batches(..., folds=5)."
            )
        return list(moments)

    # ------------------------------------------------------------ search

    def _search_folds(self, folds, warm_model):
        """Choose the strength and keep the model of all rows; return its solution."""
        fit = self._prepare_moments(sum(folds))
        self._check_fit(fit)
        level, start = self._common_level(fit), warm_model(fit)
        found = [placed(one, fit.tasks) for one in folds]
        counts = [one for one, _ in found]
        trained = KnownFolds([sums.lowered(level.flat[0]) for _, sums in found])
        tested = [self._held_out(one, fit.tasks, level.flat[0]) for one in folds]

        def parts():
            for n, (sums, _), test in zip(counts, trained, tested, strict=True):
                yield Fold(self._part_of(sums, sum(counts) - n), test, None)

        whole = self._part_of(trained.total, sum(counts))
        space = NoSpan(fit.n_features)
        fit = fit.lowered(level)
        return self._chosen(Search(fit, whole, parts, space, None, start, level))

    def _held_out(self, one, tasks, level):
        """What the models are to predict of a fold."""
        counts, sums = placed(replace(one, sums=one.unweighted), tasks)
        return HeldOutMoments(sums.lowered(level), int(counts.sum()))

    def _part_of(self, sums, counts):
        """A training part of moments of all tasks."""
        weight, part, settled = self._counted(counts)
        if weight is not None:
            sums = replace(sums, scale=weight)
        wide = self._layout == "wide"
        return Part(
            None,
            None,
            self._intercepts(),
            self.tasks_,
            part,
            settled,
            moments=moments_of(sums, part),
            n_known=len(counts) if wide else int((counts > 0).sum()),
            counts=counts,
        )


def _of_fold(rows, index, named, sums, what):
    """Moments that are known of some rows, as `TaskMoments`."""
    if rows.wide:
        counts = rows.observed[index].sum(axis=0)
    else:
        counts = np.bincount(rows.codes[index], minlength=rows.n_tasks)
    tasks, *rest = what
    sums = sums.only(named)
    return TaskMoments(tasks, counts[named], len(index), *rest, sums)
