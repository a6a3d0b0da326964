"""Fits to more tasks than one machine holds: moments stay with the workers, by task."""

from dataclasses import dataclass

import numpy as np

from ..constraints import check_constraints
from ..moments.tasks import add_moments, some_tasks
from ..problem.ids import UNKNOWN, find_tasks
from ..problem.tasks import TaskData
from ..relations import Independent, SharedMean
from ..solvers.related.shards import Head, Tail, Ties, shard_of, solve_shards
from .part import Part
from .partitions import Counts, open_partitions, read_moments, refuse_partitions
from .streams import FromMoments, total_moments, whole_moments

_SHARD_BYTES = 1 << 27  # matrices of moments of one shard


class FromShards(FromMoments):
    """What a ridge regression adds, whose tasks can be eliminated where they are."""

    def _fit_partitions(self, X, y, sample_weight, task):
        if not hasattr(self, "fit_moments"):
            refuse_partitions(self)
        model = self._unfitted()
        rows, wanted = open_partitions(model, X, y, sample_weight, task, True)
        found = total_moments(rows, wanted)
        if not isinstance(found, Counts) or not model._eliminates():
            return self._learn(model, whole_moments(found))
        fit = model._prepare_shards(rows.map(read_moments, wanted), found)
        return self._fit_to(model, fit)

    def _eliminates(self):
        """Whether only a common part ties the tasks, and a penalty is there."""
        tied = isinstance(self._relation(), (Independent, SharedMean))
        bound = bool(check_constraints(self.constraints))
        return tied and not bound and self.alpha > 0

    def _prepare_shards(self, parts, found):
        """Check everything, and send the moments of each task to its shard."""
        self._check_parameters()
        self._check_common()
        relation = self._relation()
        intercept = self._intercepts()
        self._layout, self._n_columns = found.layout, len(found.tasks)
        tasks = self.tasks_ = found.tasks
        task_weight, labelled = self._weigh_tasks(relation, found.counts, False)
        part = relation.taking_part(tasks, labelled)
        mass, d = found.mass[part], self.n_features_in_ - (self.task_column is not None)
        stand_in = TaskData(
            np.broadcast_to(np.zeros(d), (len(mass), d)),
            found.y_sum[part] / mass,
            len(mass),
            np.arange(len(mass)),
            mass,
            None if task_weight is None else task_weight[part],
        )
        nbytes = 8 * len(tasks) * (d + 2) ** 2
        n_shards = min(max(2, nbytes // _SHARD_BYTES), len(tasks))
        ends = np.arange(1, n_shards) * len(tasks) // n_shards
        how = n_shards, nbytes, tasks[ends]
        shards = parts.shuffle(split_moments, join_moments, *how).persist()
        what = relation.form(tasks[part]), intercept, tasks, part, labelled
        elsewhere = Shards(shards)
        return Part(stand_in, *what, counts=found.counts, elsewhere=elsewhere)


def split_moments(moments, bounds):
    """Moments of a partition, apart by the shards of their tasks; None for none."""
    if moments is None:
        return [None] * (len(bounds) + 1)
    shard = np.searchsorted(bounds, moments.tasks, side="right")
    return [some_tasks(moments, shard == j) for j in range(len(bounds) + 1)]


def join_moments(parts):
    """Moments of a shard."""
    parts = [part for part in parts if part is not None]
    return add_moments(parts) if parts else None


@dataclass(frozen=True)
class Shards:
    """Moments of tasks with the workers.

    Attributes
    ----------
    parts : Partitions
        Of `TaskMoments`, in the order of the tasks.
    """

    parts: object

    def solve(self, fit, alpha, tol):
        """Minimise the squared loss plus 1/2 alpha Omega.

        Parameters
        ----------
        fit : Part
        alpha, tol : float

        Returns
        -------
        Solution
        """
        ties = Ties(*fit.form.arrow, alpha, fit.intercept)
        plan = fit.part_ids, fit.level, fit.data.task_weight

        def heads():
            return self.parts.total(_head, Head.add, plan, ties)

        def tails(common):
            return self.parts.total(_tail, Tail.add, plan, ties, common)

        p = fit.n_features + fit.intercept.shrunk
        return solve_shards(heads, tails, ties, p, tol)

    def column_means(self, fit):
        """Means of the features over the labels, by their sample weights alone."""
        total = self.parts.total(_mass, sum, fit.part_ids)
        return total[:-1] / total[-1]


def _head(moments, plan, ties):
    return Head.of(_shard(moments, plan), ties)


def _mass(moments, tasks):
    """Sums of the features over the labels of some tasks, and of their weights last."""
    if moments is None:
        return 0.0
    sums = moments.sums
    known = find_tasks(tasks, moments.tasks) != UNKNOWN
    weight = np.where(known, sums.weight[sums.group], 0.0)
    return np.append(weight @ sums.mean[sums.group], weight.sum())


def _tail(moments, plan, ties, common):
    return Tail.of(_shard(moments, plan), ties, common)


def _shard(moments, plan):
    tasks, level, scale = plan
    return shard_of(moments.sums, find_tasks(tasks, moments.tasks), level, scale)
