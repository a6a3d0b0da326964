"""Intervals by held-out errors: shares of new labels inside, by sizes of tasks."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from races import timed
from report import Table

from mtlearn import MultiTaskBayesianRidge, PerTaskRegressor, TaskConformal
from mtlearn.datasets import load_exam
from mtlearn.model_selection import TaskShuffleSplit, TaskStratifiedKFold
from mtlearn.solvers.evidence.spreads import covering

TITLE = "Intervals of 90 % by held-out errors"
NOTE = """\
Shares of new labels inside, in percent, by how many rows of a task were learned from,
and the mean width over that of the widths of "TaskConformal". Simulated: linear tasks
whose coefficients and levels differ, with standard deviations of the noise that differ
by a factor of e^0.6; 12 tasks of each size, 200 new labels of each, {draws} draws. The
mean over tasks of a size has a standard error of about one to two points for 2 and 5
rows, less for more. Real: half of the rows of every school of `load_exam`, ten times.

"one width" is the quantile of all held-out errors, "apart" that of each task's own,
infinite where they are too few (width not shown). The other two are intervals of the
model itself.
"""

COVERAGE = 0.9
SIZES = (2, 5, 20, 100, 1000)
OURS = "TaskConformal"
HALF = (25, 50)  # rows learned from, at which schools are small or large
_FOLDS = TaskStratifiedKFold(5, shuffle=True, random_state=0)


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows to learn from and new ones; the class of each task."""

    X: np.ndarray
    y: np.ndarray
    task: np.ndarray
    X_new: np.ndarray
    y_new: np.ndarray
    task_new: np.ndarray
    kind: np.ndarray


@dataclass(frozen=True, eq=False)
class Samples:
    """A problem, drawn several times."""

    name: str
    kinds: tuple
    draws: list


def problems(quick=False):
    """The makers of the problems."""
    draws = 3 if quick else 20
    sizes = SIZES[:4] if quick else SIZES
    return {
        "normal noise": partial(simulated, "normal noise", sizes, draws),
        "heavy tails": partial(simulated, "heavy tails", sizes, draws),
        "exam": partial(exam, 2 if quick else 10),
    }


def simulated(name, sizes, draws):
    """Tasks of several sizes whose noise differs."""
    return Samples(name, sizes, [_simulate(name, sizes, seed) for seed in range(draws)])


def _simulate(name, sizes, seed):
    rng = np.random.default_rng(seed)
    n = np.repeat(sizes, 12)
    W = rng.normal(size=3) + 0.3 * rng.normal(size=(len(n), 3))
    b, scale = rng.normal(size=len(n)), np.exp(0.6 * rng.normal(size=len(n)))

    def rows(counts):
        task = np.repeat(np.arange(len(n)), counts)
        X = rng.normal(size=(len(task), 3))
        noise = rng.normal(size=len(task))
        if name == "heavy tails":
            noise = rng.standard_t(3, size=len(task))
        return X, (X * W[task]).sum(axis=1) + b[task] + scale[task] * noise, task

    return Sample(*rows(n), *rows(np.full(len(n), 200)), n)


def exam(draws):
    """Pupils of schools of 2 to 198."""
    X, y = load_exam(return_X_y=True)
    task = np.unique(X["school"], return_inverse=True)[1]
    X = X.drop(columns="school").to_numpy(dtype=float)
    y = np.asarray(y, dtype=float)
    cv = TaskShuffleSplit(draws, test_size=0.5, random_state=0)
    out = []
    for train, test in cv.split(X, groups=task):
        n = np.bincount(task[train], minlength=task.max() + 1)
        kind = np.digitize(n, HALF)
        rows = X[train], y[train], task[train], X[test], y[test], task[test]
        out.append(Sample(*rows, kind))
    return Samples("exam", (0, 1, 2), out)


# ---------------------------------------------------------------- intervals


def conformal(sample, model):
    """Half widths by `TaskConformal`, and predictions."""
    model.set_params(new_tasks=False).fit(sample.X, sample.y, task=sample.task)
    return model.predict_interval(sample.X_new, COVERAGE, task=sample.task_new)


def bayesian(sample, noise):
    """What the model itself says."""
    model = MultiTaskBayesianRidge(noise=noise)
    model.fit(sample.X, sample.y, task=sample.task)
    return model.predict_interval(sample.X_new, COVERAGE, task=sample.task_new)


def quantiles(sample, apart):
    """The quantile of the held-out errors, of all tasks or of each."""
    folds = list(_FOLDS.split(sample.X, groups=sample.task))
    model = TaskConformal(cv=folds, new_tasks=False)
    model.fit(sample.X, sample.y, task=sample.task)
    order = np.concatenate([test for _, test in folds])
    errors, task = np.abs(model.errors_), sample.task[order]
    width = np.full(len(sample.kind), covering(errors, np.ones(len(errors)), 0.9, 1.0))
    if apart:
        for t in range(len(width)):
            own = errors[task == t]
            width[t] = covering(own, np.ones(len(own)), COVERAGE, 1.0)
    mean = model.predict(sample.X_new, task=sample.task_new)
    half = width[sample.task_new]
    return np.stack([mean - half, mean + half], axis=-1)


MODELS = {
    OURS: lambda s: conformal(s, TaskConformal()),
    "TaskConformal, split": lambda s: conformal(s, TaskConformal(method="split")),
    "TaskConformal, normalize": lambda s: conformal(s, TaskConformal(normalize=True)),
    "TaskConformal, PerTaskRegressor": lambda s: conformal(
        s, TaskConformal(PerTaskRegressor(relation="shared_mean"))
    ),
    "one width": partial(quantiles, apart=False),
    "apart": partial(quantiles, apart=True),
    "MultiTaskBayesianRidge": partial(bayesian, noise="common"),
    'MultiTaskBayesianRidge(noise="task")': partial(bayesian, noise="task"),
}


@dataclass(frozen=True)
class Found:
    """Shares inside and widths by class of the tasks, a row per draw; seconds."""

    inside: np.ndarray
    width: np.ndarray
    seconds: float


def measured(problem, make):
    """Shares and widths of one way to make intervals."""
    inside, width, spent = [], [], 0.0
    for sample in problem.draws:
        interval, seconds = timed(make, sample)
        spent += seconds
        low, high = interval.T
        hit = (low <= sample.y_new) & (sample.y_new <= high)
        kind = sample.kind[sample.task_new]
        inside.append([hit[kind == k].mean() for k in problem.kinds])
        width.append([(high - low)[kind == k].mean() for k in problem.kinds])
    return Found(np.array(inside), np.array(width), spent)


def ours(problem):
    """Intervals by ours."""
    return measured(problem, MODELS[OURS])


# ---------------------------------------------------------------- the table


def tables(problems, args):
    """Shares inside, a table for each kind of sizes."""
    for problem in problems:
        heads = [str(k) for k in problem.kinds]
        if problem.name == "exam":
            heads = [f"below {HALF[0]}", f"below {HALF[1]}", "more"]
        table = Table(["model", *heads, "width", "seconds"], problem.name, once=True)
        found = {name: measured(problem, make) for name, make in MODELS.items()}
        for name, one in found.items():
            ratio = np.mean(one.width / found[OURS].width)
            shares = [f"{100 * share:.1f}" for share in one.inside.mean(axis=0)]
            width = f"{ratio:.2f}" if np.isfinite(ratio) else ""
            table.add(name, *shares, width, f"{one.seconds:.1f}")
        worst = np.abs(found[OURS].inside.mean(axis=0) - COVERAGE).max()
        table.say(f"{OURS}: at most {100 * worst:.1f} points from 90 % in any class.")
        yield table


NOTE = NOTE.format(draws=20)
