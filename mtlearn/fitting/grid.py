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

from ..model_selection import TaskStratifiedKFold
from ..problem.ids import LARGEST, as_floats, shorten
from ..problem.intercepts import NONE, SHARED
from ..problem.solution import reached, warn_unless_converged
from ..problem.span import RowSpan
from ..problem.tasks import TaskData
from . import checks
from .base import _report
from .choice import best_point, best_strength, is_ahead, within_one_standard_error
from .compiling import tell_when_compiling
from .folds import FoldMoments, HeldOut, moments_of
from .judge import Given, Judge
from .part import Part, take_part
from .partitions import is_collection, refuse_partitions

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
    """What the cross-validated estimators add to their base estimators.

    A family writes `_variants` (what is tried beside strengths and intercepts),
    `_paths` (batches of models of a part along the strengths, for each variant),
    `_base` (the base estimator at one point of the grid), `_largest` (where a default
    grid begins), `_by_moments` (whether moments are better than rows), `_taking_part`
    (which tasks are part of the problem), `_turns` (whether the penalty allows for
    other axes), and `_keep_choice`. It may write `_modes` (several intercepts to try)
    and `_plain` (what another model must be ahead of by more than chance). What follows
    is for squared errors; `ClassGrid` writes it anew for a log-loss: `_lowered`,
    `_tested`, `_tells`, `_errors`, `_filled`, `_fitted`.
    """

    _strengths_name, _strength_name = "alphas", "alpha"  # of the parameter, of a choice
    _errors_name = "mse"
    _span = 1e-3  # smallest strength of a default grid, in units of the largest
    _own_rows = False  # whether other axes are worth it for rows of the tasks' own
    _coarse = 20  # strengths at which several intercepts are compared

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
        found = self._unfitted()
        solution = found._search(X, y, sample_weight, task, self._warm_model)
        if self.verbose:
            _report(type(self).__name__, solution)
        warn_unless_converged(solution, type(self).__name__, self.tol)
        return self._become(found)

    def _fit_partitions(self, X, y, sample_weight, task):
        refuse_partitions(self)

    def _search(self, X, y, sample_weight, task, warm_model):
        """Choose the strength and keep the model of all rows; return its solution."""
        fit, rows = self._prepare(X, y, sample_weight, task)
        start = warm_model(fit)
        given_rows = rows
        fit, rows, level = self._lowered(fit, rows)
        # 1) the folds and what is known of them
        given = Given(self, X, y, sample_weight, task)
        folds = given.folds(self.cv, rows, partial(self._dealt, rows, fit.labels))
        space = RowSpan(rows, self._turns(), self._own_rows)
        moments = (
            FoldMoments(space.rows, folds) if self._by_moments(space.rows) else None
        )
        total = None if moments is None else moments.total
        whole = self._part(space.rows, np.arange(rows.X.shape[0]), total, fit.labels)
        judge = Judge(self, given, space, level.flat[0])
        parts = partial(self._fold_parts, space.rows, folds, moments, fit.labels)
        search = Search(fit, whole, parts, space, judge, start, level)
        solution = self._chosen(search)
        of_folds = None
        if moments is not None and space.basis is None:
            of_folds = moments.raised(level.flat[0])
        self._keep_folds(given_rows, folds, of_folds)
        return solution

    def _keep_folds(self, rows, folds, moments):
        """Keep what later rows may be added to.

        Parameters
        ----------
        rows : TaskData
        folds : list of (train, test)
        moments : list of Moments or None
            Of the tested rows of each fold, if they are known.
        """

    def _chosen(self, search):
        """Choose the strength, keep the model of all rows and return its solution."""
        fit, whole, space, level = search.fit, search.whole, search.space, search.level
        # 2) the grid, 3) every fold along it
        table = self._table(whole)
        results = self._fill(table, search.parts, search.judge)
        # 4) the choice, 5) the model of all rows
        mode, chosen = self._choose(table, results)
        whole = replace(whole, intercept=mode)
        self._keep_choice(table.variants, chosen)
        self._keep_path(whole, space, table.variants[chosen])
        start = search.start
        start = None if start is None else (start[0], start[1] - level)
        strength = getattr(self, f"{self._strength_name}_")
        model = self._model(table.variants[chosen], strength)
        fit = replace(fit, intercept=self._settle(model, whole))
        solution = self._solve_whole(model, fit, whole, space, start)
        solution = replace(solution, intercept=solution.intercept + level)
        model._keep(fit, solution)
        self._adopt(model)
        return solution

    def _lowered(self, fit, rows):
        """Fit and rows with labels less their level, and that level."""
        level = self._common_level(fit)
        return fit.lowered(level), rows.relabel(rows.y - level[0]), level

    def _common_level(self, fit):
        """One level for all, which folds without rows of a task know as well."""
        common = SHARED if fit.intercept.present and not fit.form.composed else NONE
        return replace(fit, intercept=common).levels()

    def _bind(self, relation, X, y, codes, weight, *rest):
        """The fit of all rows, and those rows with all tasks."""
        fit = super()._bind(relation, X, y, codes, weight, *rest)
        self._check_fit(fit)
        if weight is not None and weight.ndim == 2:
            y = np.where(weight > 0, y, np.nan)
        return fit, TaskData(X, y, len(self.tasks_), codes, weight)

    def _check_fit(self, fit):
        """Check what the family asks of the tasks and features."""

    # ------------------------------------------------------------ parameters

    def _check_parameters(self):
        strengths, name = self._given_strengths(), self._strengths_name
        if isinstance(strengths, numbers.Number):
            checks.check_number(name, strengths, 1, whole=True)
        else:
            check_strengths(name, strengths, self._strict)
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

    _strict = False  # whether a strength of zero is refused

    def _given_strengths(self):
        return getattr(self, self._strengths_name)

    def _strengths(self, whole, variant):
        """The strengths to try, that of the strongest penalty first."""
        given = self._given_strengths()
        if not isinstance(given, numbers.Number):
            return np.sort(check_strengths(self._strengths_name, given))[::-1]
        falling = np.geomspace(1.0, self._span, given)
        return self._largest(whole, variant) * falling

    def _modes(self, whole, variants):
        """The intercepts to try."""
        return [self._intercepts()]

    def _plain(self, table):
        """Which mode and variant must be beaten by more than chance, or None."""
        return None

    def _table(self, whole):
        """All that is tried, but for the folds."""
        variants = self._variants()
        modes = self._modes(whole, variants)
        grids = []
        for variant in variants:
            each = [
                self._strengths(replace(whole, intercept=mode), variant)
                for mode in modes
            ]
            grids.append(max(each, key=np.max))
        return _Table(modes, variants, grids)

    def _settle(self, model, whole):
        """Tell the chosen model of its intercepts; return them."""
        return whole.intercept

    def _model(self, variant, strength):
        """The base estimator at one point of the grid, knowing the data as we do."""
        model = self._base(variant, strength)
        for name in _FITTED:
            if hasattr(self, name):
                setattr(model, name, getattr(self, name))
        return model

    def _adopt(self, model):
        """Take over what the base estimator has set."""
        fitted = {k: v for k, v in vars(model).items() if k[0] == "_" or k[-1] == "_"}
        vars(self).update(fitted)

    # ------------------------------------------------------------ folds

    def _dealt(self, rows, labels, n_splits):
        """As many folds, each with its share of every task."""
        splitter = TaskStratifiedKFold(n_splits, shuffle=True, random_state=0)
        if not rows.wide:
            codes = np.unique(rows.codes, return_inverse=True)[1]
            return list(splitter.split(rows.y, rows.y, groups=codes))
        # tasks that only the relation names have no part in the dealing
        return list(splitter.split(rows.y, rows.y[:, : self._n_columns]))

    def _tells(self, part):
        """Whether there is something to learn from a training part."""
        return True

    def _part(self, rows, index, moments=None, labels=None):
        """A training part: which tasks have labels there, and how much they count."""
        if rows.wide:
            counts = rows.observed[index].sum(axis=0)
        else:
            counts = np.bincount(rows.codes[index], minlength=rows.n_tasks)
        weight, part, settled = self._counted(counts)
        known = rows.n_tasks if rows.wide else len(np.unique(rows.codes[index]))
        if moments is not None and weight is not None:
            moments = replace(moments, scale=weight)
        return Part(
            partial(take_part, rows, index, weight, part),
            None,
            self._intercepts(),
            self.tasks_,
            part,
            settled,
            labels,
            moments=None if moments is None else moments_of(moments, part),
            n_known=known,
            counts=counts,
        )

    def _counted(self, counts):
        """Weights of the tasks of a training part, which take part, which are settled.

        Parameters
        ----------
        counts : ndarray of shape (n_tasks,)
            Labelled rows.
        """
        weight = checks.check_task_weight(self.task_weight, self.tasks_, counts)
        labelled = counts > 0 if weight is None else (counts > 0) & (weight > 0)
        if not labelled.any():
            raise ValueError(
                "`cv` has a fold with nothing to train on: every training part needs "
                "a label of positive weight."
            )
        return weight, *self._taking_part(labelled)

    def _fold_parts(self, rows, folds, moments, labels=None):
        """Yield every fold, one at a time."""
        known = [(None, None)] * len(folds) if moments is None else moments
        for (train, test), (inner, outer) in zip(folds, known, strict=True):
            part = self._part(rows, train, inner, labels)
            yield Fold(part, self._tested(rows, test, outer), test)

    def _tested(self, rows, index, moments):
        """What the models of a fold are to predict."""
        return HeldOut(rows, index, moments)

    def _errors(self, fold, part, point, batch):
        """Mean error of every model of a batch, on what the fold is tested on."""
        return fold.test.errors(*self._filled(part, point, batch))

    def _filled(self, part, point, batch):
        """Coefficients and intercepts of all tasks, of several models."""
        return part.fill_models(batch.coef, batch.intercept)

    def _fitted(self, part, point, coef, intercept):
        """The base estimator at one point of the grid, with a model that was found."""
        model = self._model(*point)
        model.coef_, model.intercept_ = part.fill_models(coef, intercept)
        model.shared_coef_ = model.coef_.mean(axis=0)
        model.shared_intercept_ = model.intercept_.mean()
        return model

    # ------------------------------------------------------------ the whole table

    def _fill(self, table, parts, judge):
        """Errors and scores of all folds along the grid.

        Where several intercepts are tried, some variants and strengths tell which are
        best; all are tried with those alone.

        Returns
        -------
        _Results
        """
        every, variants = np.arange(len(table.grids[0])), np.arange(len(table.variants))
        modes = range(len(table.modes))
        if len(modes) == 1:
            whole = dict.fromkeys(variants, every)
            return self._tried(table, modes, whole, parts, judge)
        some = _some(every, self._coarse)
        few = dict.fromkeys(_some(variants, 1 + len(variants) // 2), some)
        found = self._tried(table, modes, few, parts, judge)
        mode = self._mode_of(table, found)
        open_points = np.isnan(found.errors[mode]).all(axis=-1)
        rest = {v: np.flatnonzero(open_points[v]) for v in variants}
        rest = {v: picked for v, picked in rest.items() if len(picked)}
        return found.joined(self._tried(table, [mode], rest, parts, judge))

    def _tried(self, table, modes, picked, parts, judge):
        """Results of some intercepts, with some variants at some strengths each."""
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_cross_validate)(self, fold, table, modes, picked, judge)
            for fold in parts()
        )
        errors, scores, stuck = zip(*results, strict=True)
        return _Results(
            np.stack(errors, axis=-1), np.stack(scores, axis=-1), sum(stuck)
        )

    def _quality(self, found):
        """What the choice is made by: the larger the better."""
        return -found.errors if self.scoring is None else found.scores

    def _mode_of(self, table, found):
        """Position of the intercepts of the best point."""
        return self._point_of(table, self._quality(found))[0]

    def _point_of(self, table, quality):
        """Positions of mode, variant and strength of the best point of the grid.

        Or those of the plain model, unless that is beaten by more than chance.
        """
        n_modes, n_variants = quality.shape[:2]
        flat = quality.reshape(n_modes * n_variants, *quality.shape[2:])
        chosen, best = best_point(flat)
        plain = self._plain(table)
        if plain is not None:
            mode, variant = plain
            place = mode * n_variants + variant
            simple = best_strength(flat[place])
            points = flat[chosen, best], flat[place, simple]
            if simple is not None and not is_ahead(*points, self.margin):
                chosen, best = place, simple
        return *divmod(chosen, n_variants), best

    # ------------------------------------------------------------ choice and refit

    def _choose(self, table, found):
        """Set what was found; return the chosen intercepts and variant's position."""
        quality = self._quality(found)
        mode, chosen, best = self._point_of(table, quality)
        names, strengths = self._errors_name, table.grids[chosen]
        path = quality[mode, chosen]
        if self.one_standard_error:
            paired = self.one_standard_error == "paired"
            best = within_one_standard_error(path, best, paired)
        stored = {
            f"{names}_grid_": found.errors[mode],
            f"{names}_path_": found.errors[mode, chosen],
            f"{self._strengths_name}_": strengths,
            f"{self._strength_name}_": float(strengths[best]),
            "best_index_": int(best),
        }
        if self.scoring is not None:
            stored["score_path_"] = path
        vars(self).update(stored)
        self._keep_modes(table, quality, mode)
        if found.stuck:
            warnings.warn(
                f"{type(self).__name__}: at {found.stuck} of "
                f"{int(np.sum(~np.isnan(found.errors)))} points of "
                "the grid and its folds the solver did not converge. Scale the "
                "features (StandardScaler), increase `max_iter`, or try larger "
                f"`{self._strengths_name}`.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return table.modes[mode], chosen

    def _keep_modes(self, table, quality, mode):
        """Set what was found of the intercepts."""

    def _keep_path(self, whole, space, variant):
        """Keep the coefficients along the path on all rows, if there is room."""
        self.coef_path_ = None
        strengths = getattr(self, f"{self._strengths_name}_")
        size = 8.0 * len(strengths) * len(self.tasks_) * space.n_features
        if size * self._n_scores(whole) <= _PATH_BYTES:
            (path,) = self._paths(whole, [variant], [strengths])
            filled = [
                self._filled(whole, (variant, strengths[0]), batch)[0] for batch in path
            ]
            self.coef_path_ = space.back(np.concatenate(filled))

    def _n_scores(self, whole):
        """How many coefficients a task has for a feature."""
        return 1

    def _solve_whole(self, model, fit, whole, space, start):
        """The solution for all rows; by default as the base estimator does it."""
        return model._solution(fit, start)

    def _of_base(self, base, **chosen):
        """A base estimator with our parameters and the chosen ones."""
        names = base().get_params(deep=False)
        ours = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return base(**{**ours, **chosen})


def check_strengths(name, given, strict=False):
    """Strengths of a grid as an array: finite, none negative, or none but positive."""
    values = as_floats(name, given)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"`{name}` must be a number of strengths or a one-dimensional sequence of "
            f"at least one, got shape {values.shape}."
        )
    least = values > 0 if strict else values >= 0
    if not np.all(least & (values <= LARGEST)):
        bound = "greater than 0" if strict else "at least 0"
        raise ValueError(
            f"`{name}` must be finite, {bound} and no larger than {LARGEST:g}, got "
            f"{shorten(values)}."
        )
    return values


def _some(positions, most):
    """About as many of the positions, at equal distances, with both ends."""
    some = positions[:: -(-len(positions) // most)]
    return np.union1d(some, positions[-1:])


class _Table(NamedTuple):
    """Intercepts, variants, and the strengths of each variant."""

    modes: list
    variants: list
    grids: list


class _Results(NamedTuple):
    """Errors and scores (n_modes, n_variants, n_strengths, n_folds), and failed solves.

    NaN where nothing was tried.
    """

    errors: np.ndarray
    scores: np.ndarray
    stuck: int

    def joined(self, others):
        """With those of others where there are none here."""
        pairs = zip(self[:2], others[:2], strict=True)
        both = [np.where(np.isnan(one), two, one) for one, two in pairs]
        return _Results(*both, self.stuck + others.stuck)


# ---------------------------------------------------------------- one fold


class Fold(NamedTuple):
    """A training part, what it is tested on, and the numbers of the tested rows."""

    train: Part
    test: object
    index: np.ndarray | None


class Search(NamedTuple):
    """What is known of the data when a grid is searched.

    Attributes
    ----------
    fit, whole : Part
        All rows, as the base estimator and as the folds have them.
    parts : callable
        Yields every `Fold`.
    space : RowSpan
    judge : Judge or None
        None where there is no scorer and no row.
    start : (coef, intercept) or None
    level : ndarray of shape (n_part,)
        What was taken away from the targets.
    """

    fit: Part
    whole: Part
    parts: object
    space: RowSpan
    judge: Judge | None
    start: tuple | None
    level: np.ndarray


def _cross_validate(estimator, fold, table, modes, picked, judge):
    """Errors and scores of one fold, and failed solves; NaN where nothing is tried.

    `picked` has positions of strengths for each position of a variant.
    """
    shape = len(table.modes), len(table.variants), len(table.grids[0])
    errors, scores, stuck = np.full(shape, np.nan), np.full(shape, np.nan), 0
    variants = [table.variants[v] for v in picked]
    grids = [table.grids[v][places] for v, places in picked.items()]
    train = fold.train.read()
    scored = judge is not None and judge.scorer is not None
    for m in modes if estimator._tells(train) else ():
        part = replace(train, intercept=table.modes[m])
        paths = zip(picked, variants, grids, estimator._paths(part, variants, grids))
        for v, variant, grid, path in paths:
            at = 0
            for batch in path:
                here = picked[v][at : at + len(batch.coef)]
                point = variant, grid[at]
                errors[m, v, here] = estimator._errors(fold, part, point, batch)
                for k in range(len(here) if scored else 0):
                    point = variant, grid[at + k]
                    found = batch.coef[k], batch.intercept[k]
                    model = estimator._fitted(part, point, *found)
                    scores[m, v, here[k]] = judge.score(model, fold.index)
                at += len(here)
                stuck += batch.stuck
    return errors, scores, stuck
