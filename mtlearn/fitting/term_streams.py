"""Additive models from moments: of terms that do not depend on the rows."""

from dataclasses import replace
from functools import update_wrapper
from types import MethodType, SimpleNamespace

import numpy as np
from sklearn.base import clone

from ..moments import Origin, TaskMoments
from ..problem.ids import feature_names, shorten
from ..problem.tasks import TaskData
from ..problem.terms import terms_of
from .compiling import tell_when_compiling
from .curves import dense
from .knots import given_levels
from .partitions import is_collection, open_partitions
from .streams import total_moments, whole_moments


class _WithKnots:
    """A method that there is where `knots` are given."""

    def __init__(self, method):
        self._method = method
        update_wrapper(self, method)

    def __get__(self, estimator, owner):
        if estimator is None:
            return self._method
        if estimator.knots is None:
            raise AttributeError(
                f"{owner.__name__} has `{self._method.__name__}` only with `knots` "
                "given: so that its terms do not depend on the rows."
            )
        return MethodType(self._method, estimator)


class TermStreams:
    """What an additive model adds to a model of lines that is `FromMoments`.

    It goes before `AdditiveModel`.
    """

    _kept_none = "as they are larger than its rows or its terms depend on these"

    @_WithKnots
    def fit_moments(self, moments):
        """Fit the model to the moments of rows that need not be there any more.

        Only with `knots` for every feature, and `interactions` that are no "auto".

        Parameters
        ----------
        moments : TaskMoments
            Of all rows: what `term_moments` returns, added over batches.

        Returns
        -------
        self : object
            The fitted estimator, as `fit` would leave it after all those rows.

        Raises
        ------
        ValueError
            If the moments or a parameter are not as described; the message names it.
        TypeError
            If a parameter has the wrong type.
        """
        return super().fit_moments(moments)

    @_WithKnots
    def partial_fit(self, X, y, sample_weight=None, *, task=None):
        """Go on from the rows that were seen already: fit the model to all of them.

        Only with `knots` for every feature, and `interactions` that are no "auto". What
        is kept of the rows are the moments of their terms.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            As in `fit`.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks)
            As in `fit`.
        task : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or a parameter are not as described, or the last step was a
            `fit`; the message names it.
        TypeError
            If a parameter has the wrong type.
        """
        return super().partial_fit(X, y, sample_weight, task=task)

    @_WithKnots
    def term_moments(self, X, y, sample_weight=None, *, task=None):
        """Moments of rows, of the terms that the given `knots` make of their features.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            As in `fit`.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks)
            As in `fit`.
        task : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        moments : TaskMoments
            For `fit_moments`, of models with the same `knots` and `interactions`; those
            of several batches are added.
        """
        tell_when_compiling()
        return self._unfitted()._moments_with(None, X, y, sample_weight, task)

    def _moments_with(self, seen, X, y, sample_weight, task):
        new = self._terms_of(X, y, sample_weight, task, reset=seen is None)
        return new if seen is None else seen + new

    def _terms_of(self, X, y, sample_weight, task, reset):
        """Moments of the terms of rows."""
        self._check_parameters()
        what = y, sample_weight, task, reset
        if is_collection(X, y, task, sample_weight):
            rows, wanted = open_partitions(self, X, *what)
            found = total_moments(rows, wanted, _read_terms, clone(self))
            return whole_moments(found)
        rows = self._read(self._encoded(X), *what)
        d = rows.X.shape[1]
        self._categories = self._categories or [None] * d
        self._terms = self._known_terms()
        columns = self._terms.columns(dense(rows.X))
        data = TaskData(columns, rows.y, len(rows.tasks), rows.codes, rows.weight)
        return self._as_terms(TaskMoments.from_data(data, rows.tasks, self._layout))

    def _known_terms(self):
        """The terms, of which all are known."""
        if isinstance(self.interactions, str):
            raise ValueError(
                "`interactions`='auto' looks at single rows: with moments give False "
                "or a list of pairs."
            )
        absent = self._absent()
        if absent:
            names = feature_names(self)
            raise ValueError(
                "With moments `knots` must be given for every feature (the levels, for "
                "a category), none are for "
                f"{shorten([names[j] for j in absent] if names else absent)}."
            )
        parts = self._known_parts()
        ordered = [parts[j] for j in range(len(parts))]
        return terms_of(ordered).with_pairs(self._given_pairs())

    def _absent(self):
        """Numbers of the features without knots."""
        parts = self._known_parts()
        return [j for j in range(len(self._categories)) if j not in parts]

    # ------------------------------------------------------------ from moments

    def _take_columns(self, moments):
        """Set what rows would tell of the features; the columns must be the terms."""
        names, place = moments.origin or (None, None)
        beside = place is None
        free = names if names is None or beside else np.delete(names, place)
        d = len(self.knots or ()) if names is None else len(free)
        features = SimpleNamespace(
            columns=names,
            task_column=place,
            feature_names=free,
            n_features=d,
            layout=moments.layout,
        )
        super()._take_columns(features)
        free = [] if free is None else free.tolist()
        self._levels = given_levels(self.knots, free)
        self._categories = [self._levels.get(name) for name in free] or [None] * d
        self._terms = self._known_terms()
        expected, found = self._name_terms(), moments.feature_names
        if moments.origin is None or not np.array_equal(found, expected):
            raise ValueError(
                f"`moments` must be of the {len(expected)} terms of these `knots` and "
                "`interactions`: make them with term_moments."
            )

    def _solution(self, fit, start):
        if fit.rows is not None:
            self._categories = self._categories or [None] * fit.n_features
            if isinstance(self.interactions, str) or self._absent():
                return super()._solution(fit, start)
            fit = self._of_terms(fit)
        solution = self._learn_columns(fit, self._may_vary)
        self.term_names_ = self._name_terms()
        return solution

    def _of_terms(self, fit):
        """The fit of all terms, which are known; its moments are kept."""
        self._terms = self._known_terms()
        fit = self._in_terms(fit, dense(fit.data.X)).with_moments()
        self._keep_moments(fit)
        if hasattr(self, "_moments"):
            self._moments = self._as_terms(self._moments)
        return fit

    def _as_terms(self, moments):
        """Moments of the columns of the terms, with what these are of."""
        return replace(
            moments,
            columns=self._name_terms(),
            task_column=None,
            origin=Origin(*self._columns()),
        )


def _read_terms(part, wanted, estimator):
    """Moments of the terms of a partition; None where there are no rows."""
    X, y, task, weight = part
    wanted.check(X)
    return estimator.term_moments(X, y, weight, task=task) if len(X) else None
