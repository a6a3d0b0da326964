"""What is learned from: rows, or the moments that they leave behind."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..moments import Moments, gather_moments, replay
from ..problem.intercepts import Intercepts
from ..problem.tasks import some_rows
from ..solvers.margins.level import best_levels, mean_levels


@dataclass(frozen=True)
class Part:
    """All rows of a fit, or the training part of a fold, and what ties its tasks.

    Attributes
    ----------
    rows : TaskData, callable or None
        Of the tasks that take part; a callable makes them when they are first asked
        for. None where moments are all that is known: rows that have these are made.
    form : ArrowForm, MatrixForm or ComposedForm, or None
        None where a grid tries several.
    intercept : Intercepts
    tasks : ndarray of shape (n_tasks,)
        Ids of all tasks of the model.
    part : ndarray of shape (n_tasks,), bool
        Which of `tasks` take part: those with labels, or all if the relation says
        something about the others.
    labelled : ndarray of shape (n_tasks,), bool
    labels : ndarray or None
        Classifiers: the sorted union of the labels.
    kept : ndarray or None
        Row numbers, as given to `fit`, of the rows of `data`; None if all are there.
    level : ndarray of shape (n_part,) or None
        What was taken away from the targets of each task.
    moments : Moments or None
        Of the tasks that take part, where rows need not be read again.
    n_known : int or None
        How many tasks an estimator fitted to these rows would know; None if all.
    counts : ndarray of shape (n_tasks,) or None
        Labelled rows of each task, if they were counted.
    elsewhere : Elsewhere or None
        Rows that only passes reach. Those in `rows` stand for them: of the same labels
        and weights, for classes one for each of a task, for numbers their mean.
    """

    rows: object
    form: object
    intercept: Intercepts
    tasks: np.ndarray
    part: np.ndarray
    labelled: np.ndarray
    labels: np.ndarray | None = None
    kept: np.ndarray | None = None
    level: np.ndarray | None = None
    moments: Moments | None = None
    n_known: int | None = None
    counts: np.ndarray | None = None
    elsewhere: object = None

    # ------------------------------------------------------------ rows and moments

    @cached_property
    def data(self):
        """The rows themselves, or others that leave the same moments behind."""
        if self.rows is None:
            return replay(self.moments)
        return self.rows() if callable(self.rows) else self.rows

    def tied(self, relation):
        """The same with the form of a relation."""
        return replace(self, form=relation.form(self.part_ids))

    def read(self):
        """The same, its rows at hand: without moments, every use of it needs them."""
        return self if self.moments is not None else replace(self, rows=self.data)

    def gathered(self):
        """The moments: those that are known, or else of the rows."""
        return gather_moments(self.data) if self.moments is None else self.moments

    @property
    def n_features(self):
        known = self.data if self.moments is None else self.moments
        return known.n_features

    def with_moments(self):
        """The same problem, the moments of its rows known."""
        return replace(self, moments=self.gathered())

    def levels(self, margin=None):
        """The best intercepts without features, one for each task that takes part."""
        moments = self.moments
        if moments is None:
            return best_levels(self.data, self.form, self.intercept, margin)
        mass = moments.task_weights
        return mean_levels(mass, moments.y_mean, self.form, self.intercept)

    def column_means(self):
        """Means of the features over the labels, by their sample weights alone."""
        if self.elsewhere is not None:
            return self.elsewhere.column_means(self)
        moments = self.moments
        if moments is None:
            return self.data.column_means()
        weight = moments.weight[moments.group] * (moments.scale > 0)
        mass = np.bincount(moments.group, weight, len(moments.weight))
        return mass @ moments.mean / mass.sum()

    def with_rows(self, data):
        """The same problem with other rows, of which no moments are known."""
        return replace(self, rows=data, moments=None)

    @property
    def row_numbers(self):
        """Number, as given to `fit`, of every row of `data`."""
        return np.arange(self.data.X.shape[0]) if self.kept is None else self.kept

    def lowered(self, level):
        """The same fit with targets from which the level of each task is taken away."""
        if self.moments is None:
            return replace(self.with_rows(_lower(self.data, level)), level=level)
        # rows are looked at only where moments have lost the answer
        rows = None if self.rows is None else lambda: _lower(self.data, level)
        return replace(
            self, rows=rows, moments=self.moments.lowered(level), level=level
        )

    # ------------------------------------------------------------ tasks

    @property
    def n_part(self):
        """How many tasks take part."""
        return int(self.part.sum())

    @property
    def part_ids(self):
        """Ids of the tasks that take part."""
        return self.tasks[self.part]

    @property
    def composed_rows(self):
        """Whether a task that is made of others has labels of its own."""
        own = np.ones(self.n_part, dtype=bool)
        own[self.form.free] = False
        return bool(np.any(self.labelled[self.part] & own))

    def of_free_tasks(self):
        """The problem of the free tasks alone, where no other has labels."""
        chosen = np.zeros(self.n_part, dtype=bool)
        chosen[self.form.free] = True
        part, level = self.part.copy(), self.level
        part[self.part] = chosen
        level = None if level is None else level[chosen]
        inner = replace(self, form=self.form.base, part=part, level=level)
        if self.moments is None:
            return inner.with_rows(self.data.only(chosen))
        rows = None if self.rows is None else lambda: self.data.only(chosen)
        return replace(inner, rows=rows, moments=self.moments.only(chosen))

    # ------------------------------------------------------------ models of all tasks

    def fill(self, found, shared):
        """What was found for the tasks that took part, and `shared` for the others."""
        every = np.empty((len(self.part), *found.shape[1:]))
        every[self.part], every[~self.part] = found, shared
        return every

    def fill_models(self, coef, intercept):
        """Give tasks without a model of their own the mean of the others'.

        Parameters
        ----------
        coef : ndarray of shape (..., n_part, n_features)
        intercept : ndarray of shape (..., n_part)

        Returns
        -------
        coef : ndarray of shape (..., n_tasks, n_features)
        intercept : ndarray of shape (..., n_tasks)
        """
        own = self.labelled if self.intercept.own else self.part
        if self.part.all() and own.all():
            return coef, intercept
        shape = (*coef.shape[:-2], len(self.part), coef.shape[-1])
        all_coef, all_intercept = np.empty(shape), np.empty(shape[:-1])
        all_coef[..., self.part, :] = coef
        all_coef[..., ~self.part, :] = coef.mean(axis=-2, keepdims=True)
        all_intercept[..., self.part] = intercept
        level = all_intercept[..., own].mean(axis=-1, keepdims=True)
        all_intercept[..., ~own] = level
        return all_coef, all_intercept


def _lower(rows, level):
    """Rows with targets from which the level of each task is taken away."""
    return rows.relabel(rows.y - (level if rows.wide else level[rows.codes]))


def take_part(rows, index, task_weight, part):
    """Some of the rows, of some of the tasks, with weights for the tasks."""
    everything = np.array_equal(index, np.arange(rows.X.shape[0]))
    data = rows if everything else some_rows(rows, index)
    data = replace(data, task_weight=task_weight, _shared={})
    return data if part.all() else data.only(part)
