"""The shell command on files that are larger than --memory: samples and streams."""

import os
import re

import numpy as np
import pandas as pd
import pytest
from cases_cli import is_sentence, pupils
from sklearn.base import clone

from mtlearn.cli import SavedModel, models
from mtlearn.cli.reading import _TIMES
from mtlearn.compose import TablePreparer

N = 2400


def many(n=N):
    """Pupils of four large schools, a small one and one of a single row."""
    frame = pupils(n)
    frame.loc[n - 13 : n - 2, "school"] = "small"
    frame.loc[n - 1, "school"] = "single"
    frame.loc[[5, 700], "score"] = np.nan
    frame.loc[900, "school"] = None
    frame["tested"] = "12.03.2019"
    frame.loc[::3, "tested"] = "01.10.2023"
    return frame


def sampled(out):
    """Rows of the sample and of the table, as they are told."""
    found = re.search(r"([\d,]+) of ([\d,]+) rows, drawn at random", out)
    return [int(number.replace(",", "")) for number in found.groups()]


@pytest.mark.parametrize("model", ["additive", "bayesian"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_stream_is_fitted_as_in_memory(shell, model, kind):
    frame, path = many(), shell.path(f"many.{kind}")
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    kept = shell.path("model.joblib")
    named = ["--target", "score", "--task", "school", "--model", model]
    code, out, err = shell.run("fit", path, *named, "--save", kept, "--memory", "200kB")
    assert code == 0, err
    n_sample, n_rows = sampled(out)
    assert 100 < n_sample < 0.6 * N and n_rows == N - 3
    assert "Dropped: 2 rows without a target, 1 without a task." in out
    assert f"from {n_rows:,} rows." in out

    estimator = SavedModel.load(kept).estimator
    frame = frame.dropna().reset_index(drop=True)
    again = clone(estimator[-1]).fit(estimator[0].transform(frame), frame["score"])
    assert estimator[-1].tasks_.tolist() == again.tasks_.tolist()
    assert "single" in again.tasks_
    np.testing.assert_allclose(
        estimator.predict(frame), again.predict(estimator[0].transform(frame)), 1e-5
    )


def test_strengths_of_a_stream(shell):
    path, kept = shell.write(many()), shell.path("model.joblib")
    named = ["--target", "score", "--task", "school", "--model", "pertask"]
    code, _, err = shell.run("fit", path, *named, "--save", kept, "--memory", "200kB")
    assert code == 0, err
    found = SavedModel.load(kept).predict(many().dropna())
    assert np.corrcoef(found["estimate"], many().dropna()["score"])[0, 1] > 0.9


def test_compare_takes_a_sample(shell, quick, tmp_path):
    output = tmp_path / "scores.csv"
    code, out, err = shell.on(many(), "--memory", "200kB", "--output", output)
    assert code == 0 and err == ""
    n_sample, n_rows = sampled(out)
    assert "compared on" in out and "`fit` streams all rows" in out
    rows = pd.read_csv(output).set_index("task")["n_samples"]
    assert rows.sum() == n_sample and rows["single"] == 1 and rows["small"] >= 10
    assert 0.5 < rows["north"] / rows["south"] < 2.0 and n_rows == N - 3
    assert shell.on(many(), "--memory", "200kB", "--output", output)[1] == out


def test_predictions_in_batches(shell, tmp_path):
    path, kept = shell.write(many()), shell.path("model.joblib")
    named = ["--target", "score", "--task", "school", "--model", "bayesian"]
    assert shell.run("fit", path, *named, "--save", kept)[0] == 0
    outputs = [tmp_path / name for name in ("a.csv", "b.csv", "c.parquet")]
    for output, memory in zip(outputs, ("1GB", "200kB", "200kB"), strict=True):
        argv = ["predict", kept, path, "--output", output, "--memory", memory]
        code, out, _ = shell.run(*argv)
        assert code == 0 and f"{N:,} rows" in out and "1 rows are of 0 tasks" in out
    whole, pieces = (pd.read_csv(output) for output in outputs[:2])
    pd.testing.assert_frame_equal(whole, pieces, check_exact=False)
    parquet = pd.read_parquet(outputs[2])
    # a text has six digits of each number
    np.testing.assert_allclose(whole["estimate"], parquet["estimate"], rtol=1e-5)


def test_what_cannot_be_streamed(shell, tmp_path):
    frame = many().assign(score=np.where(many()["score"] > 0, "yes", "no"))
    kept = ["--save", shell.path("model.joblib"), "--memory", "200kB"]
    code, _, err = shell.on(frame, *kept, command="fit")
    assert code == 2 and is_sentence(err)
    assert "classes cannot be learned from batches" in err and "Dask" in err


def test_knots_are_of_the_sample():
    frame = pd.DataFrame(
        {
            "school": ["a", "b"] * 20,
            "x": np.arange(40.0) ** 2,
            "few": np.arange(40) % 3,
            "sex": ["F", "M", None, "F"] * 10,
        }
    )
    preparer = TablePreparer("school", features=["x", "few", "sex"]).fit(frame)
    knots = models.find_knots(preparer, preparer.transform(frame))
    assert knots["x"][0] == 0.0 and knots["x"][-1] == 39.0**2 and len(knots["x"]) == 8
    assert knots["few"] == [0.0, 1.0, 2.0]
    assert knots["sex"] == ["F", "M", "(missing)"]


def test_the_sample_is_as_large_as_memory_allows(shell, quick):
    text = shell.write(many())
    size = os.path.getsize(text)
    code, out, _ = shell.on(many(), "--memory", f"{_TIMES * size / 4:.0f}")
    assert code == 0
    n_sample, n_rows = sampled(out)
    assert abs(n_sample - n_rows / 4) < 80
