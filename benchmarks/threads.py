"""One thread against two: what the second core is worth, and that no bit changes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from data import scores
from races import Run, timed
from report import Table
from threadpoolctl import threadpool_limits

from mtlearn import (
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
)

THREADS = 2
TITLE = "One thread and two"
NOTE = f"""\
Seconds of wall clock of `fit`, or of `predict` where the row says so, with one thread
and with {THREADS}, medians over repeats that take turns. "gain" is the first over the
second; "same" says whether both gave the same numbers to the last bit. Threads are
allowed by `threadpoolctl`, as a user would. On a busy machine the gain is at most what
other work leaves over; "work" is the ratio of processor times, two threads over one,
which it leaves alone: {THREADS} over it is the gain that idle cores could show.
"""


@dataclass(frozen=True, eq=False)
class Job:
    """A model and rows in no order, and what is done with them."""

    name: str
    make: Callable
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray | None
    predicts: bool = False

    def run(self, model=None):
        """Seconds of one fit, or of a prediction by a fitted model, and its numbers."""
        if model is not None:
            found, seconds = timed(model.predict, self.X, task=self.task)
            return Run(seconds, found)
        model, seconds = timed(self.make().fit, self.X, self.y, task=self.task)
        return Run(seconds, model.coef_, model.intercept_)


def problems(quick=False):
    """The makers of all jobs."""
    small = 10 if quick else 1
    many, some, few = 3_000_000 // small, 300_000 // small, 100_000 // small
    jobs = {
        "PerTaskRegressor": (PerTaskRegressor, many, 10_000 // small, 5),
        "MultiTaskBayesianRidge": (MultiTaskBayesianRidge, many, 1_000, 5),
        "MultiTaskSVM": (MultiTaskSVM, many, 10_000 // small, 5),
        "MultiTaskSVR": (MultiTaskSVR, many // 3, 1_000, 5),
        "PerTaskClassifier": (PerTaskClassifier, many // 3, 1_000, 5),
        "MultiTaskSVM, more features": (MultiTaskSVM, some, 1_000, 30),
        "PerTaskClassifier, more features": (PerTaskClassifier, few, 500, 50),
    }
    makers = {}
    for title, (make, n_rows, n_tasks, d) in jobs.items():
        name = f"{title}, {n_rows} rows, {n_tasks} tasks, {d} features"
        makers[name] = partial(long_rows, name, make, n_rows, n_tasks, d)
    name = f"predict of MultiTaskSVM, {many} rows"
    predicts = {"predicts": True}
    makers[name] = partial(long_rows, name, MultiTaskSVM, many, 1_000, 5, **predicts)
    name = f"PerTaskRegressor, {few} rows x 50, 20 columns of labels with NaN"
    makers[name] = partial(holes, name, few)
    return makers


def long_rows(name, make, n_rows, n_tasks, d, predicts=False):
    """Rows of all tasks in no order."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, d))
    task = rng.integers(0, n_tasks, n_rows)
    W = rng.standard_normal(d) + 0.5 * rng.standard_normal((n_tasks, d))
    y = scores(X, task, W) + 2.0 * rng.standard_normal(n_rows)
    if make in (MultiTaskSVM, PerTaskClassifier):
        y = np.where(y > 0.0, 1, -1)
    return Job(name, make, X, y, task, predicts)


def holes(name, n_rows, d=50, n_tasks=20):
    """Two-dimensional `y`, three labels in ten missing."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, d))
    Y = X @ rng.standard_normal((d, n_tasks)) + rng.standard_normal((n_rows, n_tasks))
    Y[rng.random(Y.shape) < 0.3] = np.nan
    return Job(name, PerTaskRegressor, X, Y, None)


def ours(job):
    """Fit as the job says."""
    return job.run()


def tables(jobs, args):
    """Time every job with one thread and with more."""
    args.threads = THREADS  # what the foot of the file says
    head = ["problem", "one thread", f"{THREADS} threads", "gain", "work", "same"]
    table = Table(head)
    for job in jobs:
        with _wall_clock():
            table.add(job.name, *_cells(job, args.repeats))
    yield table


def _cells(job, repeats):
    counts = (1, THREADS)
    fitted = job.make().fit(job.X, job.y, task=job.task) if job.predicts else None
    runs, work = {count: [] for count in counts}, {count: [] for count in counts}
    for turn in range(repeats + 1):
        for count in counts if turn % 2 else counts[::-1]:
            with threadpool_limits(count):
                before = time.process_time()
                runs[count].append(job.run(fitted))
                work[count].append(time.process_time() - before)
    one, more = (median(run.seconds for run in runs[k][1:]) for k in counts)
    ratio = median(work[THREADS][1:]) / median(work[1][1:])
    same = np.array_equal(runs[1][-1].coef, runs[THREADS][-1].coef)
    return (
        f"{one:.3f}",
        f"{more:.3f}",
        f"{one / more:.2f}",
        f"{ratio:.2f}",
        "yes" if same else "no",
    )


class _wall_clock:
    """Seconds are those of the wall meanwhile: those of threads would be added up."""

    def __enter__(self):
        import races

        self._before, races.clock = races.clock, time.perf_counter

    def __exit__(self, *_):
        import races

        races.clock = self._before
