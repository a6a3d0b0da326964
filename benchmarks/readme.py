"""Put the figures of README.md where they stand: `python benchmarks/readme.py`.

The demonstration is run; the benchmarks' figures are read from `results/`.
"""

import re
import subprocess
import sys
from pathlib import Path

from written import contents, tables

ROOT = Path(__file__).parent.parent


def demonstration():
    """What `python -m mtlearn compare` prints, without the tasks one by one."""
    done = subprocess.run(
        [sys.executable, "-m", "mtlearn", "compare"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    blocks = done.stdout.strip().split("\n\n")
    table = next(block for block in blocks if block.startswith("RMSE"))
    verdict = next(block for block in blocks if "Recommended:" in block)
    return "\n".join(["```text", table, "...", verdict, "```"])


def benchmarks():
    """A bullet for every claim, from the tables that the benchmarks wrote."""
    claims = [svm(), hinge(), kernel_svm(), per_task(), constraints()]
    claims += [shared_features(), cv_path(), multi_target(), shared_mapping()]
    claims += [evidence(), *worth(), first_fits()]
    return "\n".join(f"* {claim}" for claim in claims)


def svm():
    """MultiTaskSVM against LIBLINEAR."""
    return (
        "`MultiTaskSVM` to a relative suboptimality of 1e-6, against the faster of "
        "LIBLINEAR's primal and dual on the same problem: times as fast, geometric "
        f"mean {ratios('svm')}."
    )


def hinge():
    """The losses without a square against LIBLINEAR's dual."""
    rough, fine = (
        ratios("hinge", f" to {target}").split(";")[0] for target in ("1e-04", "1e-06")
    )
    return (
        "The hinge and the epsilon-insensitive loss, against LIBLINEAR's dual at equal "
        f"accuracy: times as fast, geometric mean {rough}, to 1e-4; {fine}, to 1e-6."
    )


def kernel_svm():
    """Kernel machines against libsvm."""
    text = contents("kernel_svm")
    mean, lowest, slower = re.search(
        r"^Geometric mean of the ratios: (.*), lowest (.*), highest .*\. Ours is "
        r"slower on: (.*?)\.",
        text,
        re.M,
    ).groups()
    return (
        "Kernel machines of 3,000 to 6,000 rows against libsvm, to a relative duality "
        "gap of 1e-5 and with the Gram matrix included on both sides: times as fast, "
        f"geometric mean {mean}, lowest {lowest}; slower on: {slower}."
    )


def constraints():
    """Constrained estimators against plain cvxpy models."""
    text = contents("constraints")
    found = dict(re.findall(r"^\* (.*): (.*, lowest .*)$", text, re.M))
    return (
        "Constrained least squares on 100,000 rows and 20 tasks against the plain "
        "cvxpy model: times as fast, geometric mean "
        f"{found['squares, n=100,000']}; on 500 rows {found['squares, n=500']}."
    )


def per_task():
    """PerTaskRegressor against Ridge: many tasks, and a complete Y."""
    rows = table_rows("per_task")
    seconds = {(row[0], row[1]): float(row[2]) for row in rows}
    many, wide = "2000 tasks, 200k x 20", "500 outputs, 20k x 200"
    loop = seconds[many, "loop of scikit-learn Ridge"] / seconds[many, "mtlearn"]
    limit = seconds[many, "mtlearn"] / seconds[many, "batched NumPy"]
    ridge = seconds[wide, "mtlearn"] / seconds[wide, "scikit-learn Ridge"]
    return (
        f"`PerTaskRegressor` on 2,000 tasks with 200,000 rows: {loop:.0f} times as "
        f"fast as a loop of scikit-learn's Ridge, {limit:.1f} times the time of plain "
        "batched NumPy that checks and sorts nothing. On a complete `Y` of 500 columns "
        f"it takes {ridge:.2f} times the time of scikit-learn's Ridge."
    )


def shared_features():
    """The L2,1 penalty against scikit-learn, celer and skglm."""
    tall, wide, own = (
        ratios("shared_features", f", {kind}")
        for kind in ("n > d", "d > n", "rows of their own")
    )
    return (
        '`SharedFeatureRegressor(penalty="l21")` to 1e-6, against the fastest of '
        "scikit-learn's MultiTaskLasso, celer and skglm: times as fast, geometric "
        f"mean {tall}, on a complete `Y` with more rows than features; {wide}, with "
        f"more features than rows; {own}, where tasks have rows of their own."
    )


def cv_path():
    """Whole grids against GridSearchCV."""
    return (
        "100 strengths on 5 folds, against GridSearchCV over the same estimator with "
        f"the same scores: times as fast, geometric mean {ratios('cv_path')}."
    )


def multi_target():
    """Held-out errors on multi-target sets."""
    text = contents("multi_target")
    few, every = (
        re.search(rf"^\* {rows} rows, SharedFeatureRegressorCV: (\S+),", text, re.M)[1]
        for rows in ("few", "all")
    )
    loses = re.search(
        r"^SharedFeatureRegressorCV loses by the mean on: (.*)\.$", text, re.M
    )
    return (
        "Held-out aRRMSE of `SharedFeatureRegressorCV` on three multi-target sets, "
        f"relative to RidgeCV with an alpha per target: {few} with few rows, {every} "
        f"with all of them (geometric means); it loses on {loses[1]}."
    )


def shared_mapping():
    """Shared layers against the best of torch and scikit-learn."""
    text = contents("shared_mapping")
    mean, reached = re.search(
        r"^\* Geometric mean of the ratios to within 0.01 of the target: (.*); (.*)\.$",
        text,
        re.M,
    ).groups()
    return (
        "`SharedMappingRegressor` to within 1 % of the lowest objective that torch "
        "(Adam, L-BFGS) or scikit-learn's MLP reaches in its budget, against that one: "
        f"times as fast, geometric mean {mean}; {reached}."
    )


def evidence():
    """Mixed models against statsmodels, lme4 and NumPy."""
    text = contents("evidence")
    found = {
        name: re.search(rf"^\* Time of {name} over ours, (.*?); it", text, re.M)
        for name in ("statsmodels", "lme4")
    }
    told = "; ".join(f"{name} {one[1]}" for name, one in found.items() if one)
    large = [row for row in table_rows("evidence") if len(row) == 6]
    highest = max(float(row[4]) for row in large)
    return (
        "`MultiTaskBayesianRidge` on classical mixed models, the time of others over "
        f"ours at the same likelihood: {told}. On up to 125,066 tasks at most "
        f"{highest:.2f} times what NumPy takes for the moments and 12 evaluations of "
        "the likelihood."
    )


def worth():
    """Held-out errors of the learned models, relative to the best of tuned peers."""
    text = contents("worth")
    for what, score in (("numbers", "RMSE"), ("two classes", "log loss")):
        told = []
        for part in ("A quarter of the rows", "All rows"):
            block = text.split(f"## {part}, {what}\n")[1].split("\n## ")[0]
            means = re.findall(
                r"^\* (MultiTask\w+): geometric mean (\S+), highest (\S+);", block, re.M
            )
            told.append(", ".join(f"`{name}` {a} (up to {b})" for name, a, b in means))
        n_sets = len(re.findall(r"^\| [a-z]", block, re.M)) - 1
        yield (
            f"Held-out {score} on {n_sets} real grouped sets, relative to the lowest "
            "of tuned ridges or logistic models, a mixed model, LightGBM and CatBoost "
            f"on each: with a quarter of the rows {told[0]}; with all {told[1]} "
            "(geometric means, and the worst set). Nothing of ours was tuned."
        )


def first_fits():
    """What a new process waits for."""
    rows = [row for row in table_rows("import") if len(row) == 3]
    cold, warm = ([float(row[k]) for row in rows] for k in (1, 2))
    return (
        f"The first fit of an estimator in a new process takes {max(warm):.1f} s at "
        f"most; {min(cold):.0f} to {max(cold):.0f} s where nothing is compiled yet."
    )


def ratios(name, kind=""):
    """What a results file says of its geometric mean."""
    pattern = rf"^Geometric mean of the ratios{re.escape(kind)}: (.*)\.$"
    return re.search(pattern, contents(name), re.M)[1]


def table_rows(name):
    """Cells of the body of all tables of a results file."""
    return [row for table in tables(contents(name)) for row in table.rows]


def fill(text, name, content):
    """Replace what stands between the two marks of `name`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = fill(readme.read_text(), "demonstration", demonstration())
    readme.write_text(fill(text, "benchmarks", benchmarks()))
