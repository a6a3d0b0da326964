"""Smooth losses of rows in Dask partitions: Newton steps of one pass each."""

from dataclasses import dataclass, field

import numpy as np

from ..moments import GRAM_BYTES
from ..problem.baseline import base_objective
from ..problem.ids import UNKNOWN, find_tasks, positions
from ..problem.tasks import TaskData
from ..problem.values import require_a_label
from ..relations import LearnedCovariance
from ..solvers.related.passes import Piece, solve_by_passes
from ..solvers.related.sums import TaskSums
from . import checks
from .base import model_tasks
from .part import Part
from .partitions import Census, open_partitions, read_rows

_SOLVERS = ("auto", "newton-cholesky")


class FromPartitions:
    """What an estimator of a smooth loss adds to take Dask collections."""

    def _fit_partitions(self, X, y, sample_weight, task):
        model = self._unfitted()
        fit = model._prepare_partitions(X, y, sample_weight, task)
        return self._fit_to(model, model._weigh(fit))

    def _refuse_partitions(self, relation):
        """Say what there is instead where rows must be in one place."""
        if isinstance(relation, LearnedCovariance):
            _refuse("relation", self.relation, "a relation that is known")
        if getattr(self, "constraints", None):
            raise _refusal("`constraints` need", "leave them out")
        if self.solver not in _SOLVERS:
            _refuse("solver", self.solver, "'auto'")

    def _prepare_partitions(self, X, y, sample_weight, task):
        """Check everything, and count; as `_prepare` does with rows at hand."""
        self._check_parameters()
        self._check_common()
        relation = self._relation()
        self._refuse_partitions(relation)
        intercept = self._intercepts()
        classes = hasattr(self, "decision_function")
        what = X, y, sample_weight, task, True, classes
        rows, wanted = open_partitions(self, *what)
        source = rows.map(read_rows, wanted)
        read = source.persist()
        census = read.total(Census.of, Census.add)
        _check_census(self, census, classes)
        long = task is not None or self.task_column is not None
        self._layout = "wide" if census.wide else "long" if long else "single"
        self._n_columns = len(census.tasks)
        tasks = self.tasks_ = model_tasks(relation, census.tasks, census.wide)
        if not long and not census.wide:
            self._mention_ids(relation)
        where = positions(census.tasks, tasks)
        counts = np.where(where >= 0, census.counts[where], 0)
        task_weight, labelled = self._weigh_tasks(relation, counts, census.wide)
        checks.check_row_weights(np.array([census.heaviest]), task_weight)
        part = relation.taking_part(tasks, labelled)
        form = relation.form(tasks[part])
        weight = None if task_weight is None else task_weight[part]
        stand_in = _stand_in(census, where[part], weight)
        return Part(
            stand_in,
            form,
            intercept,
            tasks,
            part,
            labelled,
            census.labels,
            counts=counts,
            elsewhere=Elsewhere(source, census, kept={"rows": read}),
        )

    def _solve_partitions(self, fit, loss, start, signs=None):
        """The solution for a loss of one label per row."""
        d, q = fit.n_features, loss.n_scores
        size = 8.0 * fit.n_part * (q * (d + 1)) ** 2
        if size > GRAM_BYTES:
            raise ValueError(
                f"The Hessians of {fit.n_part} tasks with {q * d} coefficients take "
                f"{size / 1e9:.3g} GB, more than Newton steps over Dask partitions are "
                "made for: fewer features, or rows that fit into memory "
                "(solver='newton-cg')."
            )
        how = {"tol": self._tolerance(), "max_iter": self.max_iter, "start": start}
        return fit.elsewhere.solve(fit, loss, signs, **how)


def _refuse(name, value, instead):
    raise _refusal(f"`{name}`={value!r} needs", f"use {instead}")


def _refusal(what, instead):
    return ValueError(
        f"{what} all rows in one place, but got a Dask collection: {instead}, or pass "
        "what its compute() returns."
    )


def refuse_margins(estimator):
    """Refuse kernels and losses with kinks, which have no Newton step of one pass."""
    if estimator._is_machine:
        _refuse("kernel", estimator.kernel, "'linear'")
    if not estimator._margin.squared:
        _refuse("loss", estimator.loss, repr(f"squared_{estimator.loss}"))


def _check_census(estimator, census, classes):
    if census.n_samples == 0:
        raise ValueError("`X` has no row of positive weight: there is nothing to fit.")
    require_a_label(census.counts)
    if classes:
        estimator._require_classes(census.labels)


def _stand_in(census, where, task_weight):
    """Rows of the same labels and weights: one for each class of a task, or a mean."""
    mass = np.where((where >= 0)[:, None], census.mass[where], 0.0)
    codes, labels = np.nonzero(mass)
    weight = mass[codes, labels]
    y = labels.astype(np.float64)
    if census.labels is None:
        y = census.y_sum[where][codes] / weight
    X = np.zeros((len(codes), census.x_sum.shape[1]))
    return TaskData(X, y, len(where), codes, weight, task_weight)


# ---------------------------------------------------------------- the rows


@dataclass(frozen=True)
class Elsewhere:
    """Rows in partitions, and what of them a fit knows.

    Attributes
    ----------
    source : Partitions
        Of `PartRows`, read anew.
    census : Census
    factor : ndarray of shape (n_labels,) or None
        Of the weights of each class.
    kept : dict
        What workers keep for now: "rows", the source as it was read for the census,
        until there are pieces, and those of the last problem.
    """

    source: object
    census: Census
    factor: np.ndarray | None = None
    kept: dict = field(default_factory=dict, repr=False, compare=False)

    def solve(self, fit, loss, signs, *, tol, max_iter, start):
        """Minimise a smooth loss by passes.

        Parameters
        ----------
        fit : Part
        loss : object of `mtlearn.problem.losses`
        signs : ndarray of shape (n_labels,) or None
            -1 or +1 for each class.
        tol, max_iter, start
            As in `solve_newton`.

        Returns
        -------
        Solution
        """
        stand_in, intercept = fit.data, fit.intercept
        means = self._means(fit)
        pieces = self._pieces(fit, means)
        scale = None
        if self.census.labels is not None:
            zeros = np.zeros((len(stand_in.rows), loss.n_scores))
            zeros = zeros[:, 0] if loss.n_scores == 1 else zeros
            zero = loss.value(stand_in.labels, zeros, stand_in.weights)
            scale = base_objective(stand_in, loss, fit.form, intercept, zero)

        def sweep(look):
            return pieces.total(_sweep, TaskSums.add, (look, loss, intercept, signs))

        how = {"tol": tol, "max_iter": max_iter, "scale": scale, "start": start}
        how |= {"intercept": intercept, "means": means}
        return solve_by_passes(sweep, stand_in, loss, fit.form, 1.0, **how)

    def column_means(self, fit):
        """Means of the features over the labels, by their sample weights alone."""
        census, lam = self.census, fit.data.task_weight
        where = positions(census.tasks, fit.part_ids)
        counted = where >= 0 if lam is None else (where >= 0) & (lam > 0)
        where = where[counted]
        return census.x_mass[where].sum(axis=0) / census.mass[where].sum()

    def _means(self, fit):
        """What is taken out of the features of each task that takes part."""
        if not fit.intercept.own:
            return None
        census = self.census
        where = positions(census.tasks, fit.part_ids)
        if fit.form.composed or census.wide:
            total = census.x_sum[0] if census.wide else census.x_sum.sum(axis=0)
            mean = total / census.n_samples
            return np.broadcast_to(mean, (len(where), len(mean)))
        counts = np.maximum(census.counts, 1)[:, None]
        return np.where((where >= 0)[:, None], (census.x_sum / counts)[where], 0.0)

    def _pieces(self, fit, means):
        """Pieces for passes; those of the last problem again, if they are the same."""
        level = b"" if fit.level is None else fit.level.tobytes()
        key = fit.part.tobytes(), level
        if key not in self.kept:
            rows = self.kept.get("rows", self.source)
            self.kept.clear()
            census = self.census
            present = None
            if census.labels is not None:
                where = positions(census.tasks, fit.part_ids)
                present = (where >= 0)[:, None] & (census.mass[where] > 0)
            plan = Plan(
                fit.part_ids,
                fit.data.task_weight,
                fit.level,
                means,
                census.labels,
                self.factor,
                present,
            )
            self.kept[key] = rows.map(make_piece, plan).persist()
        return self.kept[key]


@dataclass(frozen=True, eq=False)
class Plan:
    """What pieces are made by: of the tasks that take part, and of the classes."""

    tasks: np.ndarray
    task_weight: np.ndarray | None
    level: np.ndarray | None
    means: np.ndarray | None
    labels: np.ndarray | None
    factor: np.ndarray | None
    present: np.ndarray | None


def make_piece(rows, plan):
    """The rows of a partition that take part, ready for passes.

    Parameters
    ----------
    rows : PartRows
    plan : Plan

    Returns
    -------
    Piece
    """
    X, y, weight, codes = rows.X, rows.y, rows.weight, rows.codes
    where = find_tasks(plan.tasks, rows.tasks)
    known = where != UNKNOWN
    place = where[known]
    if codes is None:
        y = y[:, known]
        if weight is not None and weight.ndim == 2:
            weight = weight[:, known]
    elif not known.all():
        keep = known[codes]
        X, y, codes = X[keep], y[keep], (np.cumsum(known) - 1)[codes[keep]]
        weight = None if weight is None else weight[keep]
    if plan.level is not None:
        y = y - (plan.level[place] if codes is None else plan.level[place][codes])
    if plan.means is not None and len(place):
        X = X - (plan.means[0] if codes is None else plan.means[place][codes])
    if plan.labels is not None:
        y, weight = _classes(y, weight, rows.labels, plan)
    task_weight = None if plan.task_weight is None else plan.task_weight[place]
    data = TaskData(X, y, len(place), codes, weight, task_weight)
    present = None if plan.present is None else plan.present[place]
    piece = Piece(data, place, present)
    piece.data.labels, piece.data.weights  # noqa: B018 - found once for all passes
    return piece


def _classes(y, weight, labels, plan):
    """Codes of the classes of all partitions, and weights times their factors."""
    table = np.searchsorted(plan.labels, labels).astype(np.float64)
    seen = ~np.isnan(y)
    code = np.where(seen, y, 0.0).astype(np.intp)
    if len(table):
        y = np.where(seen, table[code], np.nan)
    if plan.factor is not None and len(table):
        factor = np.where(seen, plan.factor[table[code].astype(np.intp)], 1.0)
        if weight is not None and weight.ndim < factor.ndim:
            weight = weight[:, None]
        weight = factor if weight is None else weight * factor
    return y, weight


def _sweep(piece, asked):
    """What a pass brings back of a piece."""
    return piece.sums(*asked)
