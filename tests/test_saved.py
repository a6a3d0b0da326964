"""The commands `fit`, `predict` and `report`, and the file between them."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from cases_cli import is_sentence, pupils

from mtlearn.cli import SavedModel


def fitted(shell, frame, *options, **columns):
    """Fit, and return the model and what was printed."""
    path = shell.path("model.joblib")
    code, out, err = shell.on(frame, "--save", path, *options, command="fit", **columns)
    assert code == 0, err
    return SavedModel.load(path), out


# ---------------------------------------------------------------- fit


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("additive", "MultiTaskAdditiveRegressor"),
        ("bayesian", "MultiTaskBayesianRidge"),
        ("pertask", "PerTaskRegressorCV"),
    ],
)
def test_models(shell, model, name):
    kept, out = fitted(shell, pupils(), "--model", model)
    assert f"Learned: {name}, from 80 rows." in out
    assert type(kept.estimator[-1]).__name__ == name
    assert (kept.target, kept.task, kept.classes) == ("score", "school", [])
    assert kept.reading[0].endswith("the target is score (a number).")
    assert set(kept.versions) == {"mtlearn", "numpy", "scikit-learn", "python"}
    found = kept.predict(pupils())
    intervals = ["lower", "upper"] if model != "pertask" else []
    assert list(found) == ["estimate", *intervals, "new_task"]
    assert np.corrcoef(found["estimate"], pupils()["score"])[0, 1] > 0.8


def test_the_file_holds_no_rows(shell, quick):
    path = shell.path("model.joblib")
    assert shell.on(pupils(), "--save", path)[0] == 0
    kept = SavedModel.load(path)
    assert kept.comparison._refit is None
    assert kept.comparison.best_estimator_ is kept.estimator
    assert "Recommended:" in kept.comparison.verdict("score")


# ---------------------------------------------------------------- predict


def test_predict(shell, tmp_path):
    fitted(shell, pupils(), "--model", "bayesian")
    new = pupils(8).drop(columns="score").assign(note=["é", None] * 4, count=1.0)
    new.loc[0, "school"] = "elsewhere"
    new.loc[1, "school"] = None
    new.loc[2, "count"] = np.nan
    path = shell.write(new, "new.csv", sep=";", decimal=",", encoding="latin-1")
    output = tmp_path / "out.csv"
    code, out, err = shell.run(
        *("predict", shell.path("model.joblib"), path, "--output", output)
    )
    assert code == 0 and err == ""
    assert "8 rows, each with an estimate of score and an interval that holds 90" in out
    assert "2 rows are of 1 tasks that the model has not seen (new_task)" in out
    found = pd.read_csv(output, sep=";", decimal=",", encoding="latin-1")
    assert list(found) == [*new, "estimate", "lower", "upper", "new_task"]
    assert found["note"].tolist()[0] == "é"
    assert found["new_task"].tolist() == [True, True] + 6 * [False]
    assert ";1;" in output.read_text("latin-1") and ";1,0;" not in output.read_text(
        "latin-1"
    )
    inside = (found["lower"] < found["estimate"]) & (found["estimate"] < found["upper"])
    assert inside.all()
    width = (found["upper"] - found["lower"])[4]
    argv = ["predict", shell.path("model.joblib"), path, "--output", output]
    shell.run(*argv, "--coverage", "0.5")
    found = pd.read_csv(output, sep=";", decimal=",", encoding="latin-1")
    assert (found["upper"] - found["lower"])[4] < 0.5 * width


def test_predict_classes(shell, tmp_path):
    frame = pupils().assign(passed=np.where(pupils()["score"] > 0, "yes", "no"))
    frame = frame.drop(columns="score")
    kept, _ = fitted(shell, frame, "--model", "bayesian", target="passed")
    assert kept.classes == ["no", "yes"]
    output = tmp_path / "out.parquet"
    code, out, _ = shell.run(
        *("predict", shell.path("model.joblib"), shell.path("pupils.csv")),
        *("--output", output),
    )
    assert code == 0 and "each with its class and the probability of each." in out
    found = pd.read_parquet(output)
    assert list(found)[-4:] == [
        *("class", "probability_no", "probability_yes", "new_task")
    ]
    np.testing.assert_allclose(found["probability_no"] + found["probability_yes"], 1)
    assert (found["class"] == frame["passed"]).mean() > 0.85


def test_whole_numbers_as_ids(shell):
    frame = pupils().assign(school=np.arange(80) % 4 + 8)
    kept, _ = fitted(shell, frame, "--model", "bayesian")
    assert kept.estimator[-1].tasks_.tolist() == [8, 9, 10, 11]
    new = frame.head(3).assign(school=["8", "12", "north"])
    assert kept.predict(new)["new_task"].tolist() == [False, True, True]
    estimate = kept.estimator.predict(frame.head(1))[0]
    np.testing.assert_allclose(kept.predict(new)["estimate"][0], estimate)


def test_columns_that_are_there_already(shell, tmp_path):
    fitted(shell, pupils(), "--model", "bayesian")
    path = shell.write(pupils().assign(estimate=1), "new.csv")
    output = tmp_path / "out.csv"
    shell.run("predict", shell.path("model.joblib"), path, "--output", output)
    assert {"estimate", "mtlearn_estimate"} <= set(pd.read_csv(output))


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (pupils().drop(columns="age"), "X lacks ['age']: the column that fit used"),
        (pupils().drop(columns="school"), "X lacks ['school']"),
        (pupils().assign(age="old"), "held numbers in fit, and now 80 of 80"),
        (pupils().head(0), "has no rows below its header"),
    ],
)
def test_other_tables(shell, tmp_path, new, words):
    fitted(shell, pupils(), "--model", "bayesian")
    path = shell.write(new, "new.csv")
    output = tmp_path / "out.csv"
    argv = ["predict", shell.path("model.joblib"), path, "--output", output]
    code, out, err = shell.run(*argv)
    assert code == 2 and out == "" and words in err and is_sentence(err)
    assert not list(tmp_path.glob("out.csv*"))


def test_no_intervals_are_told(shell, tmp_path):
    fitted(shell, pupils(), "--model", "pertask")
    output = tmp_path / "out.csv"
    argv = ["predict", shell.path("model.joblib"), shell.path("pupils.csv")]
    _, out, _ = shell.run(*argv, "--output", output)
    assert "PerTaskRegressorCV has no intervals" in out


# ---------------------------------------------------------------- the file


def test_another_version_is_told(shell, tmp_path):
    kept, _ = fitted(shell, pupils(), "--model", "bayesian")
    kept.versions["numpy"] = "1.0"
    kept.save(shell.path("model.joblib"))
    output = tmp_path / "out.csv"
    argv = ["predict", shell.path("model.joblib"), shell.path("pupils.csv")]
    code, _, err = shell.run(*argv, "--output", output)
    assert code == 0 and is_sentence(err)
    assert f"was saved with numpy 1.0, and is read with numpy {np.__version__}" in err


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\x80\x04K", {"a": 1}])
def test_what_is_no_model(shell, tmp_path, content):
    path = tmp_path / "model.joblib"
    if isinstance(content, dict):
        joblib.dump(content, path)
    else:
        path.write_bytes(content)
    data = shell.write(pupils())
    output = tmp_path / "out.csv"
    code, _, err = shell.run("predict", path, data, "--output", output)
    assert code == 2 and is_sentence(err)
    assert "is no model that --save has written" in err
    code, _, err = shell.run("predict", "none.joblib", data, "--output", output)
    assert code == 2 and err == "mtlearn: none.joblib: No such file or directory.\n"


# ---------------------------------------------------------------- effects, report


def test_effects(shell, tmp_path):
    path = tmp_path / "effects.csv"
    frame = pupils()
    frame["score"] += 3.0 * (frame["school"] == "north")
    _, out = fitted(shell, frame, "--model", "bayesian", "--effects", path)
    assert f"Written: {path} (levels of the tasks)" in out
    effects = pd.read_csv(path)
    assert sorted(effects["task"]) == ["east", "north", "south", "west"]
    assert (effects["lower"] < effects["upper"]).all()
    verdicts = effects.set_index("task")["verdict"]
    assert verdicts["north"] == "higher than expected"
    _, out = fitted(shell, frame, "--model", "pertask", "--effects", path)
    assert "(levels of the tasks, by learned strengths of sharing)" in out


def test_reports(shell):
    path = shell.path("r.md")
    fitted(shell, pupils(), "--model", "bayesian", "--report", path)
    again, page = shell.path("again.md"), shell.path("r.html")
    for report in (again, page):
        code, out, _ = shell.run("report", shell.path("model.joblib"), report)
        assert code == 0 and out == f"Written: {report}\n"
    texts = [Path(one).read_text("utf-8") for one in (path, again)]
    assert texts[0] == texts[1] and "One-hot encoded: sex (2 levels)." in texts[0]
    assert "score" in Path(page).read_text("utf-8")
    code, _, err = shell.run("report", shell.path("model.joblib"), "r.pdf")
    assert code == 2 and "must end in one of .html" in err
