"""Cross-validation over a whole grid of strengths for about the price of a few fits.

A squared loss sees its rows through their moments only: one pass over the rows serves
every fold, and solvers that follow a path of strengths every point of the grid.
"""

import numbers
import warnings
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import Parallel, delayed

from ..problem.ids import LARGEST, as_floats, shorten
from ..problem.intercepts import NONE, SHARED
from ..problem.solution import reached, warn_unless_converged
from ..problem.span import RowSpan
from ..problem.tasks import TaskData
from ..solvers.margins.level import best_levels
from . import checks
from .base import _report
from .choice import best_point, within_one_standard_error
from .compiling import tell_when_compiling
from .folds import FoldMoments, HeldOut, moments_of
from .judge import Given, Judge
from .part import Part, take_part

_BATCH = 16  # solutions of a path that are tested at once
_PATH_BYTES = 1 << 28  # of the coefficients along a path that a model keeps

# what a model needs to predict, beside its coefficients
_FITTED = ("tasks_", "n_features_in_", "feature_names_in_", "_layout", "_n_columns")


class Batch(NamedTuple):
    """Models of neighbouring strengths, and how many solves did not converge.

    coef (n_batch, n_part, n_features), intercept (n_batch, n_part).
    """

    coef: np.ndarray
    intercept: np.ndarray
    stuck: int = 0


def in_batches(solutions, tol):
    """Solutions of one strength each, a few at a time."""
    solutions = iter(solutions)
    while some := list(islice(solutions, _BATCH)):
        yield Batch(
            np.array([one.coef for one in some]),
            np.array([one.intercept for one in some]),
            sum(not reached(one, tol) for one in some),
        )


class GridFit:
    """What the cross-validated regressors add to their base estimators.

    A family writes `_variants` (what is tried beside the strengths), `_paths` (batches
    of models of a part along the strengths, for each variant), `_base` (the base
    estimator at one point of the grid), `_largest` (where a default grid begins),
    `_by_moments` (whether moments are better than rows), `_taking_part` (which tasks
    are part of the problem), `_turns` (whether the penalty allows for other axes), and
    `_keep_choice`.
    """

    _span = 1e-3  # smallest strength of a default grid, in units of the largest
    _own_rows = False  # whether other axes are worth it for rows of the tasks' own

    def fit(self, X, y, sample_weight=None, *, task=None):
        """Choose the strength by cross-validation, then fit the model to all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            Features; in the long layout one column may hold the task ids
            (`task_column`).
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            One label per row (long layout, or a single task), or one column per task
            with NaN where a label was not observed.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Non-negative weights; rows of weight zero are as if absent. Two-dimensional
            only with a two-dimensional `y`.
        task : array-like of shape (n_samples,), default=None
            Task ids, where no column of `X` holds them.

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
        found = self._unfitted()
        solution = found._search(X, y, sample_weight, task, self._warm_model)
        if self.verbose:
            _report(type(self).__name__, solution)
        warn_unless_converged(solution, type(self).__name__, self.tol)
        return self._become(found)

    def _search(self, X, y, sample_weight, task, warm_model):
        """Choose the strength and keep the model of all rows; return its solution."""
        fit, rows = self._prepare(X, y, sample_weight, task)
        start = warm_model(fit)
        # one level for all, which folds without rows of a task know as well
        common = SHARED if fit.intercept.present and not fit.form.composed else NONE
        level = best_levels(fit.data, fit.form, common)
        fit, rows = fit.lowered(level), rows.relabel(rows.y - level[0])
        start = None if start is None else (start[0], start[1] - level)
        # 1) the folds and what is known of them
        given = Given(self, X, y, sample_weight, task)
        folds = given.folds(self.cv, rows)
        space = RowSpan(rows, self._turns(), self._own_rows)
        moments = (
            FoldMoments(space.rows, folds) if self._by_moments(space.rows) else None
        )
        total = None if moments is None else moments.total
        whole = self._part(space.rows, np.arange(rows.X.shape[0]), total)
        # 2) the grid, 3) every fold along it
        variants = self._variants()
        grids = [self._strengths(whole, variant) for variant in variants]
        judge = Judge(self, given, space, level[0])
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_cross_validate)(self, fold, variants, grids, judge)
            for fold in self._fold_parts(space.rows, folds, moments)
        )
        # 4) the choice, 5) the model of all rows
        chosen = self._choose(results, grids)
        self._keep_choice(variants, chosen)
        self._keep_path(whole, space, variants[chosen])
        model = self._model(variants[chosen], self.alpha_)
        solution = self._solve_whole(model, fit, whole, space, start)
        solution = replace(solution, intercept=solution.intercept + level)
        model._keep(fit, solution)
        self._adopt(model)
        return solution

    def _bind(self, relation, X, y, codes, weight, *rest):
        """The fit of all rows, and those rows with all tasks."""
        fit = super()._bind(relation, X, y, codes, weight, *rest)
        if weight is not None and weight.ndim == 2:
            y = np.where(weight > 0, y, np.nan)
        return fit, TaskData(X, y, len(self.tasks_), codes, weight)

    # ------------------------------------------------------------ parameters

    def _check_parameters(self):
        if isinstance(self.alphas, numbers.Number):
            checks.check_number("alphas", self.alphas, 1, whole=True)
        else:
            _check_strengths(self.alphas)
        if isinstance(self.cv, numbers.Number):
            checks.check_number("cv", self.cv, 2, whole=True)
        if self.one_standard_error not in (False, True, "paired"):
            raise TypeError(
                "`one_standard_error` must be a bool or 'paired', got "
                f"{self.one_standard_error!r}."
            )
        scoring = self.scoring
        if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
            raise TypeError(
                "`scoring` must be None, the name of a scorer or a callable "
                f"(estimator, X, y), got {scoring!r}."
            )

    def _strengths(self, whole, variant):
        """The strengths to try, the largest first."""
        if not isinstance(self.alphas, numbers.Number):
            return np.sort(_check_strengths(self.alphas))[::-1]
        falling = np.geomspace(1.0, self._span, self.alphas)
        return self._largest(whole, variant) * falling

    def _model(self, variant, alpha):
        """The base estimator at one point of the grid, knowing the data as we do."""
        model = self._base(variant, alpha)
        for name in _FITTED:
            if hasattr(self, name):
                setattr(model, name, getattr(self, name))
        return model

    def _adopt(self, model):
        """Take over what the base estimator has set."""
        fitted = {k: v for k, v in vars(model).items() if k[0] == "_" or k[-1] == "_"}
        vars(self).update(fitted)

    # ------------------------------------------------------------ folds

    def _part(self, rows, index, moments=None):
        """A training part: which tasks have labels there, and how much they count."""
        if rows.wide:
            counts = rows.observed[index].sum(axis=0)
        else:
            counts = np.bincount(rows.codes[index], minlength=rows.n_tasks)
        weight = checks.check_task_weight(self.task_weight, self.tasks_, counts)
        labelled = counts > 0 if weight is None else (counts > 0) & (weight > 0)
        if not labelled.any():
            raise ValueError(
                "`cv` has a fold with nothing to train on: every training part needs "
                "a label of positive weight."
            )
        part, settled = self._taking_part(labelled)
        intercept = self._intercepts()
        known = rows.n_tasks if rows.wide else len(np.unique(rows.codes[index]))
        if moments is not None and weight is not None:
            moments = replace(moments, scale=weight)
        return Part(
            partial(take_part, rows, index, weight, part),
            None,
            intercept,
            self.tasks_,
            part,
            settled,
            moments=None if moments is None else moments_of(moments, part),
            n_known=known,
        )

    def _fold_parts(self, rows, folds, moments):
        """Yield every fold, one at a time."""
        known = [(None, None)] * len(folds) if moments is None else moments
        for (train, test), (inner, outer) in zip(folds, known, strict=True):
            part = self._part(rows, train, inner)
            yield _Fold(part, HeldOut(rows, test, outer), test)

    # ------------------------------------------------------------ choice and refit

    def _choose(self, results, grids):
        """Set what was found; return the position of the chosen variant."""
        errors, scores, stuck = zip(*results, strict=True)
        self.mse_grid_ = np.stack(errors, axis=-1)
        quality = -self.mse_grid_
        if self.scoring is not None:
            quality = np.stack(scores, axis=-1)
        chosen, best = best_point(quality)
        self.alphas_, self.mse_path_ = grids[chosen], self.mse_grid_[chosen]
        if self.scoring is not None:
            self.score_path_ = quality[chosen]
        if self.one_standard_error:
            paired = self.one_standard_error == "paired"
            best = within_one_standard_error(quality[chosen], best, paired)
        self.best_index_, self.alpha_ = best, float(self.alphas_[best])
        if sum(stuck):
            warnings.warn(
                f"{type(self).__name__}: at {sum(stuck)} of {quality.size} points of "
                "the grid and its folds the solver did not converge. Scale the "
                "features (StandardScaler), increase `max_iter`, or try larger "
                "`alphas`.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return chosen

    def _keep_path(self, whole, space, variant):
        """Keep the coefficients along the path on all rows, if there is room."""
        self.coef_path_ = None
        size = 8.0 * len(self.alphas_) * len(self.tasks_) * space.n_features
        if size <= _PATH_BYTES:
            (path,) = self._paths(whole, [variant], [self.alphas_])
            filled = [
                whole.fill_models(batch.coef, batch.intercept)[0] for batch in path
            ]
            self.coef_path_ = space.back(np.concatenate(filled))

    def _solve_whole(self, model, fit, whole, space, start):
        """The solution for all rows; by default as the base estimator does it."""
        return model._solution(fit, start)

    def _of_base(self, base, **chosen):
        """A base estimator with our parameters and the chosen ones."""
        names = base().get_params(deep=False)
        ours = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return base(**{**ours, **chosen})


def _check_strengths(alphas):
    values = as_floats("alphas", alphas)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            "`alphas` must be a number of strengths or a one-dimensional sequence of "
            f"at least one, got shape {values.shape}."
        )
    if not np.all((values >= 0) & (values <= LARGEST)):
        raise ValueError(
            f"`alphas` must be finite, at least 0 and no larger than {LARGEST:g}, got "
            f"{shorten(values)}."
        )
    return values


# ---------------------------------------------------------------- one fold


class _Fold(NamedTuple):
    """A training part, what it is tested on, and the numbers of the tested rows."""

    train: Part
    test: HeldOut
    index: np.ndarray


def _cross_validate(estimator, fold, variants, grids, judge):
    """Errors and scores of one fold, (n_variants, n_alphas), and failed solves."""
    errors = np.empty((len(variants), len(grids[0])))
    scores, stuck = np.empty_like(errors), 0
    paths = estimator._paths(fold.train, variants, grids)
    for v, path in enumerate(paths):
        at = 0
        for batch in path:
            coef, intercept = fold.train.fill_models(batch.coef, batch.intercept)
            errors[v, at : at + len(coef)] = fold.test.errors(coef, intercept)
            for k in range(len(coef) if judge.scorer is not None else 0):
                point = variants[v], grids[v][at + k]
                scores[v, at + k] = judge.score(
                    estimator, point, coef[k], intercept[k], fold.index
                )
            at += len(coef)
            stuck += batch.stuck
    return errors, scores, stuck
