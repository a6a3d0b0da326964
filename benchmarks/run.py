"""Run the benchmarks: `python benchmarks/run.py svm | per_task | import`.

Times are of `fit` alone and medians over repeats, the libraries taking turns within one
run; all of them on the same number of threads. Compilation is left out by a first call.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from libraries import SVM_LIBRARIES, mtlearn_svm, ridge_libraries
from problems import (
    ridge_objective,
    ridge_problems,
    suboptimality,
    svm_objective,
    svm_problems,
)
from threadpoolctl import threadpool_limits

TARGET = 1e-6  # relative suboptimality to which the race goes
FLOOR = 1e-9  # a curve ends below it
TOLERANCES = 10.0 ** np.arange(0.0, -10.5, -0.5)
TIGHT = {"mtlearn": (1e-14, 100), "LIBLINEAR primal": (1e-9, 1000)}  # (tol, max_iter)
PEERS = ("LIBLINEAR primal", "LIBLINEAR dual")
RESULTS = Path(__file__).parent / "results"


# ---------------------------------------------------------------- svm


@dataclass
class Race:
    """What one problem showed.

    Attributes
    ----------
    scans : dict of list of (seconds, objective, (tol, max_iter))
        Fits from loose to tight tolerances, by library.
    short : list of (seconds, objective, (None, max_iter))
        Ours after one iteration, two, and so on: only to be drawn.
    seconds : dict of float
        Median time to the target by library, infinite where none got there.
    default : (seconds, objective)
        Ours at the default tolerance.
    """

    problem: object
    scans: dict
    short: list
    best: float
    seconds: dict = field(default_factory=dict)
    default: tuple = (np.nan, np.nan)

    def gap(self, value):
        """Relative suboptimality, not below zero."""
        return max(suboptimality(value, self.best), 0.0)

    def spent(self, name):
        """Time of the tightest fit that a library was given."""
        return self.scans[name][-1][0]

    @property
    def bound(self):
        """Whether the ratio is only a lower bound: no peer got there."""
        return all(self.seconds[name] == np.inf for name in PEERS)

    @property
    def ratio(self):
        """Time of the faster of the peers over ours."""
        peers = [self.spent(n) if self.bound else self.seconds[n] for n in PEERS]
        return min(peers) / self.seconds["mtlearn"]


def run_svm(args):
    """Time every library to the target on every problem; print, write, draw."""
    races = []
    for problem in svm_problems(args.quick, args.problem):
        races.append(run_race(problem, args))
        print(" | ".join(svm_row(races[-1])), flush=True)
    if not races:
        return
    lines = [*svm_table(races), "", svm_summary(races), "", *facts(args)]
    write(args, "svm.md", "# MultiTaskSVM against LIBLINEAR", SVM_NOTE, lines)
    draw(races, args.output / "svm.png")


def run_race(problem, args):
    """Look for the loosest tolerances that reach the target, then repeat those."""
    mtlearn_svm(problem)  # compiles
    tight = [SVM_LIBRARIES[name](problem, *how) for name, how in TIGHT.items()]
    best = min(svm_objective(problem, run.coef) for run in tight)
    scans = {
        name: scan(fit, problem, best, args.cap) for name, fit in SVM_LIBRARIES.items()
    }
    best = min(best, *(value for points in scans.values() for _, value, _ in points))
    race = Race(problem, scans, short_fits(problem), best)
    repeat(race, args.repeats)
    return race


def scan(fit, problem, best, cap):
    """Fits from loose to tight: list of (seconds, objective, (tol, max_iter)).

    Ends at the optimum, or with the first fit that `cap` seconds do not suffice for: it
    is cut short by its number of iterations.
    """
    points, max_iter = [], 1000
    for tol in TOLERANCES:
        run = fit_again(fit, problem, tol, max_iter)
        value = svm_objective(problem, run.coef)
        points.append((run.seconds, value, (tol, max_iter)))
        cut = run.n_iter >= max_iter and run.seconds > cap / 2
        if cut or run.seconds > cap or suboptimality(value, best) < FLOOR:
            break
        max_iter = max(1000, int(cap * run.n_iter / max(run.seconds, 1e-6)))
    return points


def fit_again(fit, *args):
    """Fit; a fast fit thrice, of which the fastest counts."""
    runs = [fit(*args)]
    while runs[0].seconds < 1.0 and len(runs) < 3:
        runs.append(fit(*args))
    return min(runs, key=lambda run: run.seconds)


def short_fits(problem):
    """Our fit cut short at `max_iter` 1, 2, ..., until more changes nothing."""
    points, last = [], np.inf
    for max_iter in range(1, 50):
        run = fit_again(mtlearn_svm, problem, None, max_iter)
        value = svm_objective(problem, run.coef)
        points.append((run.seconds, value, (None, max_iter)))
        if last - value <= 1e-12 * value:
            break
        last = value
    return points


def repeat(race, repeats):
    """Median times at the chosen tolerances, libraries taking turns."""
    chosen = {"default": ()}
    for name, points in race.scans.items():
        reached = [how for _, value, how in points if race.gap(value) <= TARGET]
        race.seconds[name] = np.inf
        if reached:
            chosen[name] = reached[0]
    times, values = {name: [] for name in chosen}, {}
    for _ in range(repeats):
        for name, how in chosen.items():
            run = SVM_LIBRARIES.get(name, mtlearn_svm)(race.problem, *how)
            times[name].append(run.seconds)
            values[name] = svm_objective(race.problem, run.coef)
    race.default = median(times.pop("default")), values["default"]
    race.seconds |= {name: median(spent) for name, spent in times.items()}


SVM_NOTE = """\
Seconds of `fit` to a relative suboptimality of 1e-6, computed from the coefficients by
one function, at the loosest tolerance of a schedule of half decades that reaches it;
medians over repeats in which the libraries take turns. LIBLINEAR (scikit-learn's
LinearSVC) gets the sparse features [sqrt(rho) x, sqrt(1 - rho) x e_t], whose plain SVM
is the same problem; making them is not timed, while our time includes checking and
sorting the rows. No intercepts. The first call, which compiles, is left out.

"ratio" is the faster of the two LIBLINEARs over ours; ">" marks a library that did not
get there in the time that it was given. "default" is our `fit` with its default
tolerance, and how far from the optimum it ends.
"""


def svm_table(races):
    """Markdown table, a row per problem."""
    head = ["problem", *SVM_LIBRARIES, "ratio", "default", "suboptimality at default"]
    rows = ["| " + " | ".join(svm_row(race)) + " |" for race in races]
    return ["| " + " | ".join(head) + " |", "|---" + "|---:" * 6 + "|", *rows]


def svm_row(race):
    """Cells of one problem."""
    cells = [race.problem.name]
    for name, seconds in race.seconds.items():
        late = seconds == np.inf
        cells.append(f"> {race.spent(name):.3g}" if late else f"{seconds:.4f}")
    ratio = f"{'> ' * race.bound}{race.ratio:.1f}"
    seconds, value = race.default
    return [*cells, ratio, f"{seconds:.4f}", f"{race.gap(value):.0e}"]


def svm_summary(races):
    """Geometric mean of the ratios, over all problems and over the dense ones."""

    def mean(chosen):
        ratios = [race.ratio for race in chosen]
        return f"{np.exp(np.mean(np.log(ratios))):.1f}, lowest {min(ratios):.1f}"

    dense = [race for race in races if isinstance(race.problem.X, np.ndarray)]
    text = f"Geometric mean of the ratios: {mean(races)}"
    if 0 < len(dense) < len(races):
        text += f"; over the dense problems {mean(dense)}"
    return text + "."


def draw(races, path):
    """Suboptimality against time, one small picture per problem."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_columns = min(4, len(races))
    n_rows = -(-len(races) // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(max(6.6, 3.3 * n_columns), 2.5 * n_rows + 0.6),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axis, race in zip(axes.ravel(), races):
        draw_race(axis, race)
    for axis in axes.ravel()[len(races) :]:
        axis.set_axis_off()
    axes[0, 0].set_ylim(FLOOR / 2, 2)
    low, high = np.log10(axes[0, 0].get_xlim())
    axes[0, 0].set_xlim(10 ** np.floor(low), 10 ** np.ceil(high))
    figure.supxlabel("seconds of fit")
    figure.supylabel("relative suboptimality")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    print(f"wrote {path.name}")


def draw_race(axis, race):
    """Draw the curves of one problem; what is below the floor is drawn on it."""
    curves = race.scans | {"mtlearn": race.short}
    for (name, points), marker in zip(curves.items(), "osD"):
        seconds, values, _ = zip(*points)
        gaps = [max(race.gap(value), FLOOR) for value in values]
        axis.loglog(seconds, gaps, marker=marker, ms=3.5, lw=1.2, label=name)
    axis.axhline(TARGET, color="0.6", lw=0.8, ls="--", label="target")
    axis.set_title(race.problem.name, fontsize=8)
    axis.tick_params(labelsize=7, labelbottom=True)
    axis.tick_params(which="minor", labelbottom=False)
    axis.grid(alpha=0.25)


# ---------------------------------------------------------------- per_task


PER_TASK_NOTE = """\
Seconds of `fit` of PerTaskRegressor, medians over repeats in which the libraries take
turns. Ours gets the rows in no order and its time includes checks and sorting; a loop
of scikit-learn's Ridge and plain batched NumPy (equal tasks as one three-dimensional
array, nothing checked: the physical limit) get them sorted beforehand, and the
augmented features of the tied problem are made beforehand. "ratio" is the peer's time
over ours: above 1, ours is faster. "objective" is the relative distance from the lowest
objective of the row's problem.
"""


def run_per_task(args):
    """Time the squared loss against its peers; print and write."""
    head = ["problem", "library", "seconds", "ratio", "objective"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---:|---:|---:|"]
    for problem in ridge_problems(args.quick, args.problem):
        for row in ridge_rows(problem, args.repeats):
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    write(
        args,
        "per_task.md",
        "# PerTaskRegressor against Ridge",
        PER_TASK_NOTE,
        [*lines, "", *facts(args)],
    )


def ridge_rows(problem, repeats):
    """Cells of every library on one problem."""
    fits = ridge_libraries(problem)
    runs = {name: fit(problem) for name, fit in fits.items()}  # compiles
    values = {
        name: ridge_objective(problem, run.coef, run.intercept)
        for name, run in runs.items()
    }
    times = {name: [] for name in fits}
    for _ in range(repeats):
        for name, fit in fits.items():
            times[name].append(fit(problem).seconds)
    ours, best = median(times["mtlearn"]), min(values.values())
    for name, spent in times.items():
        gap = suboptimality(values[name], best)
        ratio = f"{median(spent) / ours:.2f}"
        yield [problem.name, name, f"{median(spent):.4f}", ratio, f"{gap:.0e}"]


# ---------------------------------------------------------------- import


IMPORT_NOTE = """\
Seconds in fresh processes, medians over repeats that take turns. The first fit is one
small MultiTaskSVM and one small PerTaskRegressor after the import, with the compiled
code on disk, and with a cold cache (everything that they need is compiled).
"""

PEER_IMPORT = "import sklearn.linear_model, numba"
TIMED = "import time; s = time.perf_counter(); {}; print(time.perf_counter() - s)"
FIRST_FIT = """
import time
import numpy as np
from mtlearn import MultiTaskSVM, PerTaskRegressor
rng = np.random.default_rng(0)
X, task = rng.standard_normal((300, 5)), np.arange(300) % 7
start = time.perf_counter()
MultiTaskSVM().fit(X, X[:, 0] > 0, task=task)
PerTaskRegressor().fit(X, X[:, 0], task=task)
print(time.perf_counter() - start)
"""


def run_import(args):
    """Time the import, and the first fit with a warm and with a cold cache."""
    scripts = {
        "import mtlearn": TIMED.format("import mtlearn"),
        PEER_IMPORT: TIMED.format(PEER_IMPORT),
        "first fit, compiled code on disk": FIRST_FIT,
    }
    for script in scripts.values():
        in_new_process(script)  # fills the caches
    times = {name: [] for name in scripts}
    for _ in range(args.repeats):
        for name, script in scripts.items():
            times[name].append(in_new_process(script))
    seconds = {name: median(spent) for name, spent in times.items()}
    ratio = seconds["import mtlearn"] / seconds[PEER_IMPORT]
    with tempfile.TemporaryDirectory() as folder:
        cold = in_new_process(FIRST_FIT, NUMBA_CACHE_DIR=folder)
    seconds["first fit, cold cache"] = cold
    rows = [f"| {name} | {spent:.3f} |" for name, spent in seconds.items()]
    said = f"The first import takes {ratio:.2f} times the second."
    lines = ["| what | seconds |", "|---|---:|", *rows, "", said]
    print("\n".join(lines))
    lines += ["", *facts(args)]
    write(args, "import.md", "# Import and first fit", IMPORT_NOTE, lines)


def in_new_process(script, **environment):
    """Run a script that prints its seconds."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


# ---------------------------------------------------------------- what it ran on


def facts(args):
    """Versions and processor, for under a table."""
    names = ("numpy", "scipy", "scikit-learn", "numba")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return [
        f"{packages}, Python {platform.python_version()}; {processor()}, "
        f"{os.cpu_count()} cores, {args.threads} thread(s); medians of {args.repeats}."
    ]


def processor():
    """Model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor() or platform.machine()


def write(args, name, title, note, lines):
    """Write one results file."""
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / name
    path.write_text("\n".join([title, "", note, *lines, ""]))
    print(f"wrote {path.name}")


def parse():
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("svm", "per_task", "import"))
    parser.add_argument("--quick", action="store_true", help="fewer, smaller problems")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--problem", metavar="NAME", help="only those with this name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cap", type=float, default=30.0, help="seconds of one fit")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    return parser.parse_args()


def main():
    """Run what the command line asks for."""
    args = parse()
    runners = {"svm": run_svm, "per_task": run_per_task, "import": run_import}
    with threadpool_limits(args.threads):
        runners[args.what](args)


if __name__ == "__main__":
    main()
