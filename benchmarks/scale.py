"""What any amount of rows costs: rows per second, memory, and what grows with what."""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from data import scores
from races import Run, timed
from report import Table
from threadpoolctl import threadpool_limits

TITLE = "Rows, tasks, features: what grows with what"
NOTE = """\
Fits on rows in no order of tasks that each have their own coefficients and intercept.
Every size has a process of its own, in which each library gets few rows first (which
compiles) and then all: wall clock, and the largest memory beside the rows.
NumPy's limit gets the rows sorted beforehand, checks nothing, and solves batched normal
equations of sums by `np.add.reduceat`. DuckDB and Polars add up the same sums of
products by task, from Arrow columns, and solve nothing; polars-ds and polars-ols fit
the coefficients by group, where they are installed.
"""

THREADS = 2
OURS = ("PerTaskRegressor", "MultiTaskBayesianRidge", "PerTaskClassifier")
OPTIONAL = {
    "DuckDB, sums": ("duckdb", "pyarrow"),
    "Polars, sums": ("polars",),
    "polars-ds": ("polars_ds",),
    "polars-ols": ("polars_ols",),
}
NETWORK = 1e9  # bytes per second between workers, assumed on paper
SIZE = 8  # bytes of a number
_WARM = 150_000  # rows of a first fit, as many as make it compile what many rows need
_SLOW = 2_000_000  # rows up to which regressions by group are asked


@dataclass(frozen=True)
class Rows:
    """How many rows, tasks and features."""

    n: int
    tasks: int
    d: int = 5

    @property
    def name(self):
        """In words."""
        return f"{self.n:.0e} rows, {self.tasks} tasks, {self.d} features"

    @property
    def bytes(self):
        """Of the features."""
        return SIZE * self.n * self.d

    def make(self):
        """Features, numbers, and tasks in no order."""
        rng = np.random.default_rng(0)
        X, task = (
            rng.standard_normal((self.n, self.d)),
            rng.integers(0, self.tasks, self.n),
        )
        W = rng.standard_normal(self.d) + 0.5 * rng.standard_normal(
            (self.tasks, self.d)
        )
        y = scores(X, task, W) + 2.0 * rng.standard_normal(self.n)
        return X, y, task


def problems(quick=False):
    """The makers of all sizes."""
    sizes = [
        Rows(n, tasks)
        for n in (100_000, 1_000_000, 10_000_000)[: 2 if quick else 3]
        for tasks in (10, 1_000, 100_000)
        if n >= 10 * tasks
    ]
    sizes += [Rows(300_000, 1_000, d) for d in (10, 20, 40)]
    return {rows.name: partial(Rows, rows.n, rows.tasks, rows.d) for rows in sizes}


def ours(rows):
    """One fit of PerTaskRegressor."""
    return Run(_fitter("PerTaskRegressor")(*rows.make()), None)


# ---------------------------------------------------------------- who is timed


def contenders():
    """Names of those that there are."""
    found = importlib.util.find_spec
    there = [name for name, needs in OPTIONAL.items() if all(map(found, needs))]
    return [*OURS, "NumPy, sorted", *there]


def _fitter(name):
    """A function of X, y and task that returns seconds."""
    if name in OURS:
        return partial(_model, name)
    return {
        "NumPy, sorted": _numpy,
        "DuckDB, sums": _duckdb,
        "Polars, sums": _polars,
        "polars-ds": _polars_ds,
        "polars-ols": _polars_ols,
    }[name]


def _model(name, X, y, task):
    import mtlearn

    model = getattr(mtlearn, name)()
    y = np.where(y > 0.0, 1, -1) if name == "PerTaskClassifier" else y
    return timed(model.fit, X, y, task=task)[1]


def _numpy(X, y, task):
    order = np.argsort(task, kind="stable")
    Z = np.column_stack([X, np.ones(len(y)), y])[order]
    starts = np.flatnonzero(np.diff(task[order], prepend=-1))
    return timed(_batched, np.ascontiguousarray(Z.T), starts)[1]


def _batched(columns, starts):
    """Coefficients of all tasks; products of a pair of columns at a time."""
    p = len(columns)
    G = np.empty((len(starts), p, p))
    for j in range(p):
        for k in range(j + 1):
            G[:, j, k] = np.add.reduceat(columns[j] * columns[k], starts)
            G[:, k, j] = G[:, j, k]
    A = G[:, :-1, :-1] + np.diag([1.0] * (p - 2) + [0.0])
    return np.linalg.solve(A, G[:, :-1, -1:])


def _named(X, y, task):
    columns = {f"x{j}": np.ascontiguousarray(column) for j, column in enumerate(X.T)}
    return columns | {"y": y, "task": task}


def _pairs(d):
    names = [*(f"x{j}" for j in range(d)), "y"]
    return names, [(a, b) for k, a in enumerate(names) for b in names[: k + 1]]


def _duckdb(X, y, task):
    import duckdb
    import pyarrow

    base = duckdb.connect(config={"threads": THREADS})
    base.register("data", pyarrow.table(_named(X, y, task)))
    names, pairs = _pairs(X.shape[1])
    sums = [f"sum({name})" for name in names] + [f"sum({a} * {b})" for a, b in pairs]
    query = f"select task, count(*), {', '.join(sums)} from data group by task"
    return timed(lambda: base.sql(query).to_arrow_table())[1]


def _polars(X, y, task):
    import polars

    frame = polars.DataFrame(_named(X, y, task))
    names, pairs = _pairs(X.shape[1])
    sums = [polars.col(names).sum()]
    sums += [(polars.col(a) * polars.col(b)).sum().alias(f"{a}_{b}") for a, b in pairs]
    return timed(lambda: frame.group_by("task").agg(polars.len(), *sums))[1]


def _polars_ds(X, y, task):
    import polars
    import polars_ds

    frame = polars.DataFrame(_named(X, y, task))
    names = _pairs(X.shape[1])[0][:-1]
    fit = polars_ds.lin_reg(*names, target="y", add_bias=True, l2_reg=1.0)
    return timed(lambda: frame.group_by("task").agg(fit.alias("coef")))[1]


def _polars_ols(X, y, task):
    import polars
    import polars_ols  # noqa: F401, gives expressions a namespace

    frame = polars.DataFrame(_named(X, y, task))
    names = _pairs(X.shape[1])[0][:-1]
    target = polars.col("y").least_squares
    fit = target.ridge(*names, alpha=1.0, mode="coefficients", add_intercept=True)
    return timed(lambda: frame.group_by("task").agg(fit.alias("coef").first()))[1]


# ---------------------------------------------------------------- a process for each


def _measure(rows, names, repeats):
    """Yield (name, seconds, bytes beside the rows), found in a new process."""
    script = "import scale, sys; scale.tell(*sys.argv[1:])"
    asked = json.dumps([asdict(rows), names, repeats])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, asked],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(_folders())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        if line.startswith("["):
            yield json.loads(line)


def _folders():
    here = Path(__file__).resolve().parent
    return [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]


def tell(asked):
    """Print name, seconds and bytes of every contender, measured in this process."""
    import races

    races.clock = time.perf_counter
    os.environ["POLARS_MAX_THREADS"] = str(THREADS)
    sizes, names, repeats = json.loads(asked)
    rows = Rows(**sizes)
    data, few = rows.make(), Rows(_WARM, 30, rows.d).make()
    with threadpool_limits(THREADS):
        for name in names:
            try:
                fit = _fitter(name)
                fit(*few)  # compiles
                told = _seconds_and_bytes(fit, data, repeats)
            except Exception as reason:
                print(f"{name}: left out, {reason}", file=sys.stderr)
                continue
            print(json.dumps([name, *told]), flush=True)


def _seconds_and_bytes(fit, data, repeats):
    if sys.platform == "linux":  # what was freed before does not hide what is taken
        ctypes.CDLL(None).malloc_trim(0)
    before = _memory("VmRSS", reset=True)
    seconds = [fit(*data)]
    beside = _memory("VmHWM") - before
    seconds += [fit(*data) for _ in range(repeats - 1)]
    return median(seconds), beside


def _memory(what, reset=False):
    """Bytes of this process; NaN where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return np.nan
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = dict(line.split(":") for line in status.read_text().splitlines())
    return 1024 * int(lines[what].split()[0])


# ---------------------------------------------------------------- tables


def tables(problems, args):
    """Measure every contender on every size; then what follows from it."""
    args.threads = THREADS  # what the foot of the file says
    sizes, names, found = list(problems), contenders(), {}
    table = Table(
        ["problem", "library", "seconds", "rows/s, million", "memory / X"],
        heading="Rows per second",
        once=args.repeats == 1,
    )
    for rows in sizes:
        repeats = 1 if rows.n > 1e6 else min(args.repeats, 3)
        asked = names if rows.d == 5 else list(OURS)
        slow = () if rows.n <= _SLOW else ("polars-ds", "polars-ols")
        asked = [name for name in asked if name not in slow]
        for name, seconds, beside in _measure(rows, asked, repeats):
            found[name, rows] = seconds
            table.add(rows.name, name, *_cells(rows, seconds, beside))
    yield table
    yield _growth(found)
    yield _on_paper(found)


def _cells(rows, seconds, beside):
    rate = rows.n / seconds / 1e6
    share = f"{beside / rows.bytes:.2f}" if rows.n >= 1e6 else ""
    return f"{seconds:.3f}", f"{rate:.2f}", share


def _growth(found):
    """Seconds by a product of powers of rows, tasks and features, fitted to all."""
    note = "Exponents of a law `seconds ~ rows^a tasks^b features^c` through our fits "
    note += "of at least a million numbers: how cost grows, not what it is."
    table = Table(["model", "rows", "tasks", "features"], "What grows with what", note)
    for name in OURS:
        points = [
            (r, s) for (n, r), s in found.items() if n == name and r.n * r.d >= 1e6
        ]
        if len({rows.d for rows, _ in points}) < 2 or len(points) < 4:
            continue
        design = [[1.0, *np.log([r.n, r.tasks, r.d])] for r, _ in points]
        power = np.linalg.lstsq(design, np.log([s for _, s in points]))[0]
        table.add(name, *(f"{p:.2f}" for p in power[1:]))
    table.once = True
    return table


def _on_paper(found):
    """What more rows cost on several workers, from the largest that were measured."""
    note = "Nothing here was run. Seconds of the largest fit above with a thousand "
    note += f"tasks and five features, per row, over the workers ({THREADS} threads "
    note += "each), and of sums that go up a tree of workers at "
    note += (
        f"{NETWORK / 1e9:.0f} GB/s; not of reading the rows. A classifier sends its "
    )
    note += "sums once in every pass, of which eight are counted."
    head = ["rows", "tasks", "workers", "PerTaskRegressor", "PerTaskClassifier"]
    table = Table([*head, "sums, MB"], "On paper", note, once=True)
    largest = {
        name: max(
            (r for n, r in found if n == name and r.tasks == 1000 and r.d == 5),
            key=lambda r: r.n,
            default=None,
        )
        for name in OURS
    }
    if None in largest.values():
        return table
    for n, tasks, workers in [
        (10**9, 10**4, 1), (10**9, 10**4, 16), (10**9, 10**6, 16),
        (10**11, 10**4, 16), (10**11, 10**4, 256), (10**11, 10**6, 256),
    ]:  # fmt: skip
        sums = SIZE * tasks * (5 + 2) ** 2
        cells = []
        for name, passes in (("PerTaskRegressor", 1), ("PerTaskClassifier", 8)):
            each = found[name, largest[name]] / largest[name].n
            tree = passes * np.ceil(np.log2(workers)) * sums / NETWORK
            cells.append(f"{each * n / workers + tree:.0f}")
        table.add(f"{n:.0e}", f"{tasks:.0e}", str(workers), *cells, f"{sums / 1e6:.0f}")
    return table
