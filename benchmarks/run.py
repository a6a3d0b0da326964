"""Run the benchmarks: `python benchmarks/run.py svm`, and so on; see RUNNERS below.

Times are of `fit` alone and medians over repeats, the libraries taking turns within one
run; all of them on the same number of threads. Compilation is left out by a first call.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import kernel_svm
import mapping_notes
import numpy as np
import peers
from constraints import (
    CONSTRAINTS_HEAD,
    CONSTRAINTS_NOTE,
    constraint_problems,
    constraint_row,
)
from data import (
    grid_problems,
    ridge_objective,
    ridge_problems,
    shared_feature_objective,
    shared_feature_problems,
    suboptimality,
    svm_objective,
    svm_problems,
)
from hinge import run_hinge
from mapping_held_out import (
    HELD_OUT_HEAD,
    held_out_errors,
    held_out_lines,
    held_out_rows,
    held_out_sets,
)
from mapping_iris import IRIS_HEAD, iris_rows
from mapping_problems import mapping_problems
from mapping_race import (
    EXACT,
    HEAD,
    NEAR,
    draw_mapping,
    race_line,
    race_rows,
    run_mapping_race,
)
from multi_target import (
    BASELINE,
    MODELS,
    OURS,
    held_out,
    multi_target_problems,
)
from peers import (
    COMPLETE_LIBRARIES,
    OWN_ROWS_LIBRARIES,
    SVM_LIBRARIES,
    mtlearn_grid,
    ridge_libraries,
    sklearn_grid,
)
from races import Contest, cells, draw, mean_ratio, run_race, table
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parent / "results"


# ---------------------------------------------------------------- svm


SVM = Contest(
    SVM_LIBRARIES,
    lambda problem, run: svm_objective(problem, run.coef),
    tight={"mtlearn": (1e-14, 100), "LIBLINEAR primal": (1e-9, 1000)},
    by_steps=True,
)

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


def run_svm(args):
    """Time every library to the target on every problem; print, write, draw."""
    races = race_all(SVM, svm_problems(args.quick, args.problem), args)
    if not races:
        return
    ratios = [race.ratio for race in races]
    text = f"Geometric mean of the ratios: {mean_ratio(ratios)}"
    dense = [race.ratio for race in races if isinstance(race.problem.X, np.ndarray)]
    if 0 < len(dense) < len(ratios):
        text += f"; over the dense problems {mean_ratio(dense)}"
    lines = [*table(races), "", text + ".", "", *facts(args)]
    write(args, "svm.md", "# MultiTaskSVM against LIBLINEAR", SVM_NOTE, lines)
    draw(races, args.output / "svm.png")


def race_all(contest, problems, args):
    """Races over all problems, printed as they end."""
    races = []
    for problem in problems:
        races.append(run_race(contest, problem, args.repeats, args.cap))
        print(" | ".join(cells(races[-1])), flush=True)
    return races


# ---------------------------------------------------------------- shared_features


def l21_contest(libraries, peer, beside=()):
    """Contest under the L2,1 penalty; `peer` finds the optimum beside ours."""
    return Contest(
        libraries,
        lambda problem, run: shared_feature_objective(problem, run.coef, run.intercept),
        tight={"mtlearn": (1e-11, 100_000), peer: (1e-7, 1000)},
        floor=1e-8,
        beside=beside,
    )


KERNEL = "celer, setup not timed"
PREPARED = "scikit-learn, prepared"
COMPLETE = l21_contest(COMPLETE_LIBRARIES, "celer", beside=(PREPARED,))
OWN_ROWS = l21_contest(OWN_ROWS_LIBRARIES, KERNEL, beside=(KERNEL,))

SHARED_FEATURES_NOTE = """\
Seconds of `fit` of SharedFeatureRegressor(penalty="l21") to a relative suboptimality of
1e-6, computed from the coefficients by one function, at the loosest tolerance of a
schedule of half decades that reaches it; medians over repeats in which the libraries
take turns. Every task has its own free intercept. All libraries get the same arrays, in
NumPy's order and not centred, and what they need to do with them is timed: checks,
means, copies. scikit-learn's MultiTaskLasso; celer's `mtl_path` on one strength;
skglm's solver with residuals in the order that suits it (its class takes up to five
times as long). The column "scikit-learn, prepared" is the same MultiTaskLasso on arrays
that were centred and turned to Fortran order beforehand, without its own intercept and
copy; it does not count in "ratio", and has a line of its own under the table. The first
call, which compiles, is left out.

Tasks with rows of their own are a group lasso on one block-diagonal design, a group for
every feature. It is sparse (dense it is slower for both, and 1.2 GB). celer's function
for it spends most of its time setting up in a loop of Python: the column beside it is
its compiled solver alone, with that made beforehand; it does not count in "ratio".

Gaussian features, independent or AR: each correlated with the one before it. A tenth as
many features are relevant as there are rows or features, the same ones for all tasks;
noise of a third of the signal. The strength is given as a fraction of the one from
which on all coefficients are zero. "ratio" is the fastest peer's time over ours; ">"
marks a library that did not get there in the time that it was given. "default" is our
`fit` with its default tolerance, and how far from the optimum it ends.
"""


def run_shared_features(args):
    """Time the L2,1 penalty against its peers; print, write, draw."""
    lines = []
    for own, contest in ((False, COMPLETE), (True, OWN_ROWS)):
        problems = shared_feature_problems(own, args.quick, args.problem)
        races = race_all(contest, problems, args)
        if not races:
            continue
        title = "Rows of their own" if own else "Complete Y"
        lines += [f"## {title}", "", *table(races), "", *l21_summary(races), ""]
        draw(races, args.output / f"shared_features{'_own_rows' * own}.png")
    if lines:
        title = "# SharedFeatureRegressor, L2,1, against its peers"
        lines += facts(args, "celer", "skglm")
        write(args, "shared_features.md", title, SHARED_FEATURES_NOTE, lines)


def l21_summary(races):
    """A line for every kind of problem."""
    kinds = {}
    for race in races:
        rows = race.problem.rows
        tall = "n > d" if rows.X.shape[0] > rows.X.shape[1] else "d > n"
        kind = tall if rows.task is None else "rows of their own"
        kinds.setdefault(kind, []).append(race.ratio)
        if race.contest.beside:
            kind = f"{kind}, to {race.contest.beside[0]}"
            kinds.setdefault(kind, []).append(race.ratio_to(race.contest.beside))
    return [
        f"Geometric mean of the ratios, {kind}: {mean_ratio(ratios)}."
        for kind, ratios in kinds.items()
    ]


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


# ---------------------------------------------------------------- cv_path


CV_PATH_NOTE = """\
Seconds of `fit` of a CV estimator over 100 strengths and 5 folds, and of scikit-learn's
GridSearchCV over the same estimator with the same strengths and the same folds, the
last fit to all rows included in both. "ratio" is how many times longer the latter
takes. "difference" is the largest relative difference of the held-out mean squared
errors, over the whole grid and all folds. GridSearchCV is run once, the other takes the
median over repeats; both estimators have their default tolerances. "l21" is
SharedFeatureRegressorCV(penalty="l21") down to a thousandth of the largest strength;
"ridge" is PerTaskRegressorCV, over rows of their own with 3 correlations as well: 300
points of a grid.
"""


def run_cv_path(args):
    """Time whole grids against GridSearchCV; print and write."""
    head = ["problem", "CV estimator", "GridSearchCV", "ratio", "difference"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * 4 + "|"]
    ratios = []
    for problem in grid_problems(args.quick, args.problem):
        runs = [mtlearn_grid(problem) for _ in range(args.repeats + 1)]
        search = sklearn_grid(problem)
        ours = median(run.seconds for run in runs[1:])  # the first compiles
        ratios.append(search.seconds / ours)
        difference = np.abs(runs[0].errors / search.errors - 1.0).max()
        times = [f"{ours:.4f}", f"{search.seconds:.2f}", f"{ratios[-1]:.0f}"]
        row = [problem.name, *times, f"{difference:.0e}"]
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    if not ratios:
        return
    mean = f"Geometric mean of the ratios: {mean_ratio(ratios)}."
    lines += ["", mean, "", *facts(args)]
    title = "# A whole grid against GridSearchCV"
    write(args, "cv_path.md", title, CV_PATH_NOTE, lines)


# ---------------------------------------------------------------- multi_target


MULTI_TARGET_NOTE = """\
Mean aRRMSE on the test rows: over targets, the root of the squared error relative to
that of the target's training mean; 1 is as good as that mean, smaller is better. Small
training parts are 8 random draws of 50 rows (andro, which has 49 in all: 25), tested on
the rest; "all rows" are 10 folds, KFold(10, shuffle=True, random_state=0). Every model
is a Pipeline that imputes means and standardises X, fitted to the training rows alone,
and sees the same rows. What is left open is chosen from those rows too, by RidgeCV
leaving out one at a time, by ours in 10 folds (with the default 5, of 44 rows of andro
only 35 are left to learn from, and it loses more there).

"ratio" is the mean relative to that of RidgeCV with an alpha per target; "by part" is
the geometric mean of that ratio in every draw or fold, to which a draw with a large
error (scpf has one, of 4.4 for RidgeCV) is one of many. RidgeCV tries 46 strengths from
1e-3 to 1e6; with one alpha for all targets it gets them standardised, and so do ours
(TransformedTargetRegressor). SharedFeatureRegressorCV tries the penalties "nuclear",
"rank" (1, 2 and 3), "l21" and "dirty" at 15 strengths each, tol=1e-3, and chooses by
scoring="neg_root_mean_squared_error" with one_standard_error="paired"; "nuclear" alone
and PerTaskRegressorCV (25 strengths, and correlations) do so as well, and "default
choice" is by the smallest mean squared error. "chosen" counts what was chosen. How to
choose was settled with these sets in view.
"""


def run_multi_target(args):
    """Score the choice of shared features against ridge; print and write."""
    head = ["problem", "model", "aRRMSE", "ratio", "by part", "better in", "seconds"]
    lines = ["| " + " | ".join([*head, "chosen"]) + " |"]
    lines += ["|---|---" + "|---:" * 5 + "|---|"]
    ratios, lost = {}, []
    for problem in multi_target_problems(args.quick, args.problem):
        scores = {name: held_out(problem, make) for name, make in MODELS.items()}
        for name, own in scores.items():
            row = multi_target_row(own, scores[BASELINE])
            kind = "all rows" if problem.what == "all rows" else "few rows"
            ratios.setdefault((kind, name), []).append([float(row[1]), float(row[2])])
            lines.append("| " + " | ".join([problem.name, name, *row]) + " |")
            print(lines[-1], flush=True)
            if name == OURS and own.errors.mean() > scores[BASELINE].errors.mean():
                lost.append(f"{problem.name} ({row[1]})")
    if not ratios:
        return
    said = "Geometric means over the sets, of the ratios and of those by part; largest"
    lines += ["", f"{said} ratio of a set:", ""]
    for (kind, name), values in sorted(ratios.items()):
        mean, by_part = np.exp(np.log(values).mean(axis=0))
        worst = np.max(values, axis=0)[0]
        if name != BASELINE:
            lines.append(f"* {kind}, {name}: {mean:.3f}, {by_part:.3f}; {worst:.3f}")
    title = f"# {OURS} against RidgeCV on multi-target sets"
    lines += ["", f"{OURS} loses by the mean on: {'; '.join(lost) or 'none'}."]
    lines += ["", *facts(args, once=True)]
    write(args, "multi_target.md", title, MULTI_TARGET_NOTE, lines)


def multi_target_row(own, base):
    """Cells of one model on one problem."""
    mean = own.errors.mean()
    better = np.count_nonzero(own.errors < base.errors)
    counts = Counter(name for name in own.chosen if name)
    return [
        f"{mean:.4f}",
        f"{mean / base.errors.mean():.3f}",
        f"{np.exp(np.log(own.errors / base.errors).mean()):.3f}",
        "" if own is base else f"{better} of {len(own.errors)}",
        f"{own.seconds:.1f}",
        ", ".join(f"{name} {count}" for name, count in counts.most_common()),
    ]


# ---------------------------------------------------------------- shared_mapping


def run_shared_mapping(args):
    """Race shared layers against neural networks; iris; held-out errors."""
    tables = [
        ("Time to the best objective of any peer", mapping_notes.RACE, mapping_races),
        ("The iris practice", mapping_notes.IRIS, mapping_iris_table),
        ("Held out", mapping_notes.HELD_OUT, mapping_held_out_table),
    ]
    lines = []
    for title, note, make in tables:
        found = make(args)
        if found:
            lines += [f"## {title}", "", note, "", *found, ""]
    if lines:
        title = "# Shared mapping against neural networks"
        intro = "Three measurements, each with its note.\n"
        peers = [name for name in ("torch", "keras") if find_spec(name)]
        write(args, "shared_mapping.md", title, intro, [*lines, *facts(args, *peers)])


def mapping_races(args):
    """Lines of the race, and its picture."""
    races = []
    for problem in mapping_problems(args.quick, args.problem):
        races.append(run_mapping_race(problem, args.repeats, args.cap))
        print_rows(race_rows(races[-1]))
        print(race_line(races[-1]), flush=True)
    if not races:
        return []
    args.output.mkdir(parents=True, exist_ok=True)
    draw_mapping(races, args.output / "shared_mapping.png")
    return mapping_race_lines(races)


def mapping_race_lines(races):
    """The table, a sentence per problem, and means over the problems."""
    lines = start_table(HEAD, 2)
    for race in races:
        lines += ["| " + " | ".join(row) + " |" for row in race_rows(race)]
    lines += ["", *(race_line(race) for race in races), ""]
    for near in (EXACT, NEAR, 0.01):
        ratios = [race.ratio(near) for race in races]
        reached = [ratio for ratio in ratios if ratio > 0]
        mean = mean_ratio(reached) if reached else "none"
        lines.append(
            f"* Geometric mean of the ratios to within {near:g} of the target: {mean}; "
            f"ours gets there on {len(reached)} of {len(ratios)} problems."
        )
    behind = [race.problem.name for race in races if race.behind > 1.01]
    said = "Our median start ends more than 1 % above the target on"
    return [*lines, "", f"{said}: {'; '.join(behind) or 'none'}."]


def mapping_iris_table(args):
    """Lines of the iris practice."""
    if args.problem and args.problem.lower() not in "iris":
        return []
    return start_table(IRIS_HEAD, 1) + print_rows(iris_rows(3 if args.quick else 10))


def mapping_held_out_table(args):
    """Lines of the held-out errors."""
    lines, scores = start_table(HELD_OUT_HEAD, 2), {}
    for problem in held_out_sets(args.quick, args.problem):
        scores[problem.name] = held_out_errors(problem)
        lines += print_rows(held_out_rows(problem, scores[problem.name]))
    return [*lines, "", *held_out_lines(scores)] if scores else []


def start_table(head, n_words):
    """Head of a Markdown table, the first columns of words."""
    rule = "|" + "---|" * n_words + "---:|" * (len(head) - n_words)
    return ["| " + " | ".join(head) + " |", rule]


def print_rows(rows):
    """Rows of a Markdown table, printed as they come."""
    lines = []
    for row in rows:
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    return lines


# ---------------------------------------------------------------- kernel_svm


def run_kernel_svm(args):
    """Time kernel machines against libsvm; print and write."""
    lines, names, ratios, gaps = start_table(kernel_svm.HEAD, 1), [], [], []
    for problem in kernel_svm.machine_problems(args.quick, args.problem):
        row, ratio, gap = kernel_svm.race(problem, args.repeats)
        lines += print_rows([row])
        names.append(problem.name)
        ratios.append(ratio)
        gaps.append(gap)
    if names:
        lines += ["", *kernel_svm.summary(ratios, gaps, names), "", *facts(args)]
        title = "# Kernel machines against libsvm"
        write(args, "kernel_svm.md", title, kernel_svm.NOTE, lines)


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


# ---------------------------------------------------------------- constraints


def run_constraints(args):
    """Time constrained fits against plain cvxpy models; print and write."""
    lines = ["| " + " | ".join(CONSTRAINTS_HEAD) + " |", "|---|---" + "|---:" * 6 + "|"]
    ratios = {}
    for problem in constraint_problems(args.quick, args.problem):
        row, ratio = constraint_row(problem, args.repeats)
        ratios.setdefault(problem.name, []).append(ratio)
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    if not ratios:
        return
    lines += ["", "Geometric means of the ratios:", ""]
    lines += [f"* {name}: {mean_ratio(own)}" for name, own in ratios.items()]
    title = "# Constraints against plain cvxpy models"
    lines += ["", *facts(args, "cvxpy", "clarabel")]
    write(args, "constraints.md", title, CONSTRAINTS_NOTE, lines)


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


def facts(args, *peers, once=False):
    """Versions and processor, for under a table; `once`: nothing was repeated."""
    names = ("numpy", "scipy", "scikit-learn", "numba", *peers)
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    clock = "processor time" if args.threads == 1 else "wall clock"
    return [
        f"{packages}, Python {platform.python_version()}; {processor()}, "
        f"{os.cpu_count()} cores, {args.threads} thread(s), seconds of {clock}; "
        f"{'one run' if once else f'medians of {args.repeats}'}."
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


RUNNERS = {
    "svm": run_svm,
    "hinge": lambda args: run_hinge(args, facts, write),
    "kernel_svm": run_kernel_svm,
    "shared_features": run_shared_features,
    "per_task": run_per_task,
    "cv_path": run_cv_path,
    "multi_target": run_multi_target,
    "shared_mapping": run_shared_mapping,
    "constraints": run_constraints,
    "import": run_import,
}


def parse():
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=RUNNERS)
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
    if args.threads > 1:
        peers.clock = time.perf_counter
    with threadpool_limits(args.threads):
        RUNNERS[args.what](args)


if __name__ == "__main__":
    main()
