"""Every comparison with another library in one place: `python benchmarks/standings.py`.

Nothing is measured here: the tables in `results/` are read, and `results/standings.md`
is written, from which a page of the documentation is made.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from report import Table
from written import RESULTS, contents, facts, tables

LEVEL = {"time": 0.05, "error": 0.005}  # this close to 1 is neither ahead nor behind
TITLES = {"time": "Time", "error": "Held-out error"}
NOTE = """\
Made by `python benchmarks/standings.py` from the tables of the other files; nothing was
run for it. A ratio is the other's seconds over ours, or the other's held-out error over
ours: above 1 we are ahead. Seconds within 5 % and errors within 0.5 % are level. A
library that did not reach the accuracy in the time that it was given counts with that
time."""


@dataclass(frozen=True)
class Comparison:
    """A job, who else does it, and a function of the file's name that reads ratios.

    The function gives pairs, a problem's name and its ratio; NaN is left out.
    """

    kind: str
    job: str
    peer: str
    file: str
    read: Callable

    def pairs(self):
        """What was measured."""
        return [pair for pair in self.read(self.file) if np.isfinite(pair[1])]


# ---------------------------------------------------------------- reading ratios


def number(cell):
    """A cell's number; "> 3" is 3, an empty cell is not a number."""
    cell = cell.removeprefix(">").strip()
    return float(cell) if cell else np.nan


def column(name, accept=None, heading=None, upside_down=False):
    """Ratios that stand in a column, of the problems that `accept` takes."""

    def read(file):
        for table in tables(contents(file)):
            if name not in table.head or heading not in (None, table.heading):
                continue
            for row in table.records():
                ratio = number(row[name])
                if accept is None or accept(row["problem"]):
                    yield row["problem"], 1 / ratio if upside_down else ratio

    return read


def seconds(ours, peer):
    """The peer's seconds over ours, where a table has a row for every library."""

    def read(file):
        taken = {}
        for table in tables(contents(file)):
            if table.head[:3] == ["problem", "library", "seconds"]:
                for problem, library, time, *_ in table.rows:
                    taken.setdefault(problem, {})[library] = number(time)
        for problem, row in taken.items():
            if {ours, peer} <= row.keys():
                yield problem, row[peer] / row[ours]

    return read


def after(name):
    """The column "times" that follows the seconds of `name`."""

    def read(file):
        for table in tables(contents(file)):
            if name in table.head:
                place = table.head.index(name) + 1
                yield from ((row[0], number(row[place])) for row in table.rows)

    return read


def best_in_budget(file):
    """The seconds that the best network takes to 1 % above its end, over ours."""
    found = re.findall(
        r"^\* (.*): target .*?1 % of it: .*?, .*?, (.*?);", contents(file), re.M
    )
    return [(problem, float(ratio)) for problem, ratio in found]


def best_error(model, what):
    """The error of the best peer of every set over ours."""

    def read(file):
        for table in tables(contents(file)):
            part, _, kind = table.heading.rpartition(", ")
            if kind == what and model in table.head:
                for row in table.records():
                    yield f"{row['set']}, {part.lower()}", 1 / number(row[model])

    return read


def relative_error(model, set_of, heading=None):
    """What stands in the column "ratio" of a model, over which the peer's is 1."""

    def read(file):
        for table in tables(contents(file)):
            if "ratio" in table.head and heading in (None, table.heading):
                for row in table.records():
                    if row.get("model") == model:
                        yield row[set_of], 1 / number(row["ratio"])

    return read


def tall(problem):
    """Has it more rows than features?"""
    rows, _, rest = problem.partition(" x ")
    return rows.isdigit() and int(rows) > int(rest.split(",")[0])


def wide(problem):
    """Has it more features than rows?"""
    return problem.partition(" x ")[0].isdigit() and not tall(problem)


# ---------------------------------------------------------------- what is compared

MIXED = "MultiTaskBayesianRidge, same likelihood"
L21 = "SharedFeatureRegressor, L2,1, to 1e-6"
COLUMNS = "MultiTaskLasso, celer, skglm: the fastest"
TREES = "ridges, a mixed model, LightGBM, CatBoost, tuned: the best"
LOGISTIC = "logistic and mixed models, LightGBM, CatBoost, tuned: the best"
TIMES = [
    ("MultiTaskSVM, squared hinge, to 1e-6", "LIBLINEAR", "svm", column("ratio")),
    (
        "Hinge, epsilon-insensitive, to 1e-4",
        "LIBLINEAR",
        "hinge",
        column("ratio 1e-04"),
    ),
    (
        "Hinge, epsilon-insensitive, to 1e-6",
        "LIBLINEAR",
        "hinge",
        column("ratio 1e-06"),
    ),
    ("Kernel machines, to a gap of 1e-5", "libsvm", "kernel_svm", column("ratio")),
    (f"{L21}, rows > features", COLUMNS, "shared_features", column("ratio", tall)),
    (f"{L21}, features > rows", COLUMNS, "shared_features", column("ratio", wide)),
    (
        f"{L21}, rows of their own",
        "celer, skglm: the faster",
        "shared_features",
        column("ratio", heading="Rows of their own"),
    ),
    (
        "SharedMappingRegressor, to 1 %",
        "torch, MLP: the fastest",
        "shared_mapping",
        best_in_budget,
    ),
    ("Cross-validated grids", "GridSearchCV", "cv_path", column("ratio")),
    ("Constrained estimators", "plain cvxpy models", "constraints", column("ratio")),
    (MIXED, "statsmodels", "evidence", after("statsmodels")),
    (MIXED, "lme4", "evidence", after("lme4")),
    (
        "MultiTaskBayesianRidge, many tasks",
        "moments, 12 evaluations in NumPy",
        "evidence",
        column("ours over it", upside_down=True),
    ),
    *(
        ("PerTaskRegressor", peer, "per_task", seconds("mtlearn", peer))
        for peer in (
            "loop of scikit-learn Ridge",
            "scikit-learn Ridge, augmented",
            "scikit-learn Ridge",
            "batched NumPy",
        )
    ),
    *(
        (
            "PerTaskRegressor, two threads",
            peer,
            "scale",
            seconds("PerTaskRegressor", peer),
        )
        for peer in (
            "NumPy, sorted",
            "DuckDB, sums",
            "Polars, sums",
            "polars-ds",
            "polars-ols",
        )
    ),
]
ERRORS = [
    *(
        (model, TREES, "worth", best_error(model, "numbers"))
        for model in ("MultiTaskBayesianRidge", "MultiTaskAdditiveRegressor")
    ),
    *(
        (model, LOGISTIC, "worth", best_error(model, "two classes"))
        for model in ("MultiTaskBayesianClassifier", "MultiTaskAdditiveClassifier")
    ),
    *(
        (model, "RidgeCV", "multi_target", relative_error(model, "problem"))
        for model in ("SharedFeatureRegressorCV", "PerTaskRegressorCV")
    ),
    (
        "SharedMapping*, strength searched",
        "MLP, strength searched",
        "shared_mapping",
        relative_error("mtlearn", "set", "Held out"),
    ),
]
COMPARED = [
    *(Comparison("time", *one) for one in TIMES),
    *(Comparison("error", *one) for one in ERRORS),
]


# ---------------------------------------------------------------- the file


def short(ratio):
    """Three digits, without an exponent."""
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"


def standing(ratio, kind):
    """Ahead, level or behind."""
    if abs(np.log(ratio)) <= np.log1p(LEVEL[kind]):
        return "level"
    return "ahead" if ratio > 1 else "behind"


def summary(kind):
    """A line for every job and peer."""
    head = ("job", "against", "problems", "geometric mean", "lowest", "highest")
    table = Table((*head, "ahead", "level", "behind"), TITLES[kind])
    for one in (one for one in COMPARED if one.kind == kind):
        ratios = np.array([ratio for _, ratio in one.pairs()])
        where = [standing(ratio, kind) for ratio in ratios]
        mean = np.exp(np.log(ratios).mean())
        counts = (str(where.count(word)) for word in ("ahead", "level", "behind"))
        told = map(short, (mean, ratios.min(), ratios.max()))
        table.add(one.job, one.peer, str(len(ratios)), *told, *counts)
    return table


def extremes(kind):
    """Every problem on which we are behind, and as many on which we are most ahead."""
    found = [
        (ratio, one.job, problem, one.peer)
        for one in COMPARED
        if one.kind == kind
        for problem, ratio in one.pairs()
    ]
    found.sort()
    behind = [one for one in found if standing(one[0], kind) == "behind"]
    ahead = [one for one in found[::-1] if standing(one[0], kind) == "ahead"]
    for rows, word in ((behind, "behind"), (ahead[: len(behind)], "most ahead")):
        head = ("job", "problem", "against", "ratio")
        table = Table(head, f"{TITLES[kind]}: {word}")
        for ratio, *words in rows:
            table.add(*words, short(ratio))
        yield table


def measured():
    """On what, with which versions, by which command."""
    table = Table(("results", "measured with"), "Measured with")
    for file in dict.fromkeys(one.file for one in COMPARED):
        table.add(f"`{file}`", facts(file))
    return table


def page():
    """All of it."""
    kinds = ("time", "error")
    parts = [part for kind in kinds for part in (summary(kind), *extremes(kind))]
    lines = ["# Side by side with other libraries", "", NOTE, ""]
    lines += [line for part in [*parts, measured()] for line in part.lines()]
    return "\n".join(lines)


if __name__ == "__main__":
    (RESULTS / "standings.md").write_text(page())
