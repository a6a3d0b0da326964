"""A warm fit of 200 rows: where do the milliseconds go?"""

import sys
import time
import types
import warnings
from functools import partial, wraps
from statistics import median

import numpy as np
import threads
from data import scores
from races import Run, timed
from report import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_X_y

from mtlearn import (
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedFeatureRegressor,
    SharedMappingRegressor,
)
from mtlearn.problem.tasks import TaskData

N_ROWS, N_TASKS, N_FEATURES = 200, 10, 5
FITS = 20  # of each turn, of which the fastest counts
STAGES = ("validation", "checks", "sorting", "moments", "solve", "rest")
TITLE = "Small warm fits"
NOTE = f"""\
Milliseconds of processor time of one `fit` to {N_ROWS} rows of {N_TASKS} tasks in no
order, {N_FEATURES} features, in a process that has fitted before: the fastest of {FITS}
in a turn, medians over turns. "check_X_y" is what scikit-learn's validation of the same
input takes by itself, "beyond" the difference. The others are parts of a fit, timed
where a call goes from one part of the library to another: scikit-learn's functions that
we call, our own checks of rows, ids and parameters, sorting rows into tasks, sums over
rows, the solver, and the rest. They are slowed by their clocks and scaled to the whole.
"""

# by the module in which a function is written; the first that fits
WHERE = {
    "sklearn.": "validation",
    "mtlearn.fitting.checks": "checks",
    "mtlearn.problem.values": "checks",
    "mtlearn.problem.ids": "checks",
    "mtlearn.problem.tasks": "sorting",
    "mtlearn.problem.alike": "sorting",
    "mtlearn.moments": "moments",
    "mtlearn.solvers": "solve",
}


class Job(threads.Job):
    """A model, rows in no order, and labels."""

    def fit(self):
        """Fit a new model."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return self.make().fit(self.X, self.y, task=self.task)


def problems(quick=False):
    """The makers of all jobs, one or more of a family."""
    shared = {"relation": "shared_mean"}
    models = {
        "PerTaskRegressor": partial(PerTaskRegressor, **shared),
        "PerTaskClassifier": partial(PerTaskClassifier, **shared),
        "MultiTaskSVM": MultiTaskSVM,
        "SharedFeatureRegressor, l21": partial(SharedFeatureRegressor, penalty="l21"),
        "SharedFeatureRegressor, rank": SharedFeatureRegressor,
        "SharedMappingRegressor, 8 units": partial(SharedMappingRegressor, (8,)),
        "MultiTaskBayesianRidge": MultiTaskBayesianRidge,
    }
    chosen = list(models.items())[: 3 if quick else None]
    return {name: partial(rows, name, make) for name, make in chosen}


def rows(name, make):
    """Rows of all tasks in no order."""
    rng = np.random.default_rng(0)
    X, task = (
        rng.standard_normal((N_ROWS, N_FEATURES)),
        rng.integers(N_TASKS, size=N_ROWS),
    )
    W = rng.standard_normal(N_FEATURES)
    W = W + 0.5 * rng.standard_normal((N_TASKS, N_FEATURES))
    y = scores(X, task, W) + rng.standard_normal(N_ROWS)
    if name.startswith(("PerTaskClassifier", "MultiTaskSVM")):
        y = np.where(y > 0.0, 1, -1)
    return Job(name, make, X, y, task)


def ours(job):
    """Fit once."""
    model, seconds = timed(job.fit)
    return Run(seconds, getattr(model, "coef_", None))


# ---------------------------------------------------------------- parts of a fit


class Stages:
    """A clock for every part: what a call takes less what it calls in other parts."""

    def __init__(self):
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.now, self.since = "rest", time.process_time()

    def enter(self, stage):
        """Begin another part; return the one that it interrupts."""
        before, moment = self.now, time.process_time()
        self.seconds[before] += moment - self.since
        self.now, self.since = stage, moment
        return before

    def timed(self, function, stage):
        """The function with its clock."""

        @wraps(function)
        def inside(*args, **kwargs):
            before = self.enter(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.enter(before)

        return inside


def stage_of(module):
    """The part that a module belongs to."""
    return next((s for name, s in WHERE.items() if module.startswith(name)), "rest")


def watch(stages):
    """Give a clock to every function that is called from another part; return undo."""
    undo = []

    def replace(owner, name, found):
        undo.append((owner, name, vars(owner)[name]))
        setattr(owner, name, found)

    for module in [m for n, m in sys.modules.items() if n.startswith("mtlearn")]:
        here = stage_of(module.__name__)
        for name, found in list(vars(module).items()):
            if not isinstance(found, types.FunctionType) or name.startswith("__"):
                continue
            stage = stage_of(found.__module__ or "")
            if stage not in ("rest", here):
                replace(module, name, stages.timed(found, stage))
            elif stage == here != "rest" and found.__module__ == module.__name__:
                # those who call it through its module
                replace(module, name, stages.timed(found, stage))
    for name in ("centred", "relabel", "only", "take"):
        replace(TaskData, name, stages.timed(getattr(TaskData, name), "sorting"))
    for name in ("_blocks", "features", "place"):
        getter = vars(TaskData)[name].fget
        replace(TaskData, name, property(stages.timed(getter, "sorting")))

    def back():
        for owner, name, found in reversed(undo):
            setattr(owner, name, found)

    return back


def parts(job):
    """Seconds of each part of the fastest of some fits."""
    best = None
    for _ in range(FITS):
        stages = Stages()
        back = watch(stages)
        try:
            stages.since = time.process_time()
            job.fit()
            stages.enter("rest")
        finally:
            back()
        if best is None or sum(stages.seconds.values()) < sum(best.values()):
            best = stages.seconds
    return best


# ---------------------------------------------------------------- the table


def fastest(function):
    """Seconds of the fastest of some calls."""
    return min(timed(function)[1] for _ in range(FITS))


def tables(jobs, args):
    """Time every family, and draw where the time goes."""
    head = ["model", "fit", "check_X_y", "beyond", *STAGES]
    table, bars, floors = Table(head), {}, []
    for job in jobs:
        job.fit()
        turns = [
            (fastest(job.fit), fastest(partial(check_X_y, job.X, job.y)), parts(job))
            for _ in range(args.repeats)
        ]
        whole = median(turn[0] for turn in turns)
        floor = median(turn[1] for turn in turns)
        each = np.array([median(turn[2][s] for turn in turns) for s in STAGES])
        each *= whole / each.sum()
        cells = np.array([whole, floor, whole - floor, *each])
        table.add(job.name, *(f"{1e3 * cell:.2f}" for cell in cells))
        bars[job.name] = 1e3 * each
        floors.append(1e3 * floor)
    if bars:
        draw(args.output / "small_fits.png", bars, median(floors))
        table.say("![Where the time goes](small_fits.png)")
    yield table


def draw(path, bars, floor):
    """Stacked bars of milliseconds, and a line at scikit-learn's validation."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names, values = list(bars)[::-1], np.array(list(bars.values()))[::-1]
    size = 8.6, 0.45 * len(names) + 1.6
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    left = np.zeros(len(names))
    for k, stage in enumerate(STAGES):
        axis.barh(names, values[:, k], left=left, height=0.62, label=stage)
        left += values[:, k]
    longest = min(left.max(), 4.0)
    axis.set_xlim(0.0, 1.12 * longest)
    for place, whole in enumerate(left):
        inside = whole <= longest
        where = whole if inside else 1.12 * longest
        how = {"ha": "left" if inside else "right", "va": "center", "fontsize": 8}
        text = axis.text(where, place, f" {whole:.2f} ", **how)
        if not inside:
            text.set_bbox({"facecolor": "white", "pad": 1.0, "lw": 0.5})
    axis.axvline(floor, color="0.3", lw=0.9, ls="--", label="check_X_y alone")
    axis.axvline(floor + 1.0, color="0.6", lw=0.9, ls=":", label="1 ms beyond")
    axis.set_xlabel("milliseconds of one fit")
    axis.tick_params(labelsize=8)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path.name}")
