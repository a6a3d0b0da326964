"""Three users, from the table that they have to what they need."""

import functools

import numpy as np
import pandas as pd
import pytest
from cases_cli import Shell
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from mtlearn import MultiTaskAdditiveRegressor, MultiTaskBayesianClassifier
from mtlearn.cli import SavedModel, commands
from mtlearn.compose import TablePreparer
from mtlearn.inspection import TaskEffectsDisplay, compare_sharing
from mtlearn.model_selection import TaskStratifiedKFold

N_DISTRICTS = 40


def export(n=480):
    """Scores of pupils in forty districts, as an office exports them."""
    rng = np.random.default_rng(0)
    district = np.arange(n) % N_DISTRICTS
    reading, hours = rng.normal(50, 10, n), rng.gamma(2.0, 2.0, n)
    days = pd.to_timedelta(rng.integers(0, 1400, n), unit="D")
    sex = np.array(["männlich", "weiblich"])[rng.integers(0, 2, n)]
    level, slope = rng.normal(0, 4, N_DISTRICTS), rng.normal(0.6, 0.15, N_DISTRICTS)
    score = level[district] + slope[district] * reading + 2 * np.sqrt(hours)
    frame = pd.DataFrame(
        {
            "Nr": np.arange(1, n + 1),
            "district": [f"District {100 + k}" for k in district],
            "Name": [f"Schüler {i}" for i in range(n)],
            "reading": reading.round(1),
            "hours": [f"{h:.2f}".replace(".", ",") for h in hours],
            "tested": (pd.Timestamp("2019-09-01") + days).strftime("%d.%m.%Y"),
            "sex": sex,
            "country": "Österreich",
            "score": (score + rng.normal(0, 3, n)).round(1),
        }
    )
    frame.loc[[3, 99, 200], "hours"] = "unknown"
    frame.loc[[7, 8], "score"] = np.nan
    frame.loc[5, "sex"] = None
    frame.loc[11, "district"] = "Distirct 101"
    return frame


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A folder with the export of the school office."""
    folder = tmp_path_factory.mktemp("office")
    how = {"sep": ";", "decimal": ",", "encoding": "latin-1"}
    export().to_csv(folder / "pupils.csv", index=False, **how)
    return folder


# ---------------------------------------------------------------- a school analyst


def test_an_analyst_compares_and_predicts(office, capsys, canvas, monkeypatch):
    few = functools.partial(compare_sharing, cv=3, strategies=("learned",))
    monkeypatch.setattr(commands, "compare_sharing", few)
    shell = Shell(office, capsys)
    named = ["--target", "score", "--task", "district"]
    model, picture = shell.path("pupils.joblib"), shell.path("effects.png")
    kept = ["--save", model, "--effects", picture, "--plot", shell.path("gain.png")]
    kept += ["--report", shell.path("report.md")]
    code, out, err = shell.run("compare", shell.path("pupils.csv"), *named, *kept)
    assert code == 0 and err == ""
    for words in (
        "478 rows, 41 tasks (district), 4 features; the target is score (a number).",
        "Read with semicolons between columns, decimal commas, encoding cp1252.",
        "Dropped: 2 rows without a target, 0 without a task.",
        "Ids that may be misspelt: 'Distirct 101' looks like 'District 101'.",
        "Left out: Nr (numbers the rows), Name (478 different texts), country (con",
        "Words in numbers or dates, taken as missing: hours ('unknown').",
        "Dates, taken as years: tested (day.month.year, and the day of the year).",
        "One-hot encoded: sex (3 levels).",
        "Yes, learning the tasks together helps:",
        "closer to score on average (RMSE, too, is in the unit of score)",
        "too few rows to say",
        f"python -m mtlearn predict {model} NEW.csv --output predicted.csv",
    ):
        assert words in out, words
    found = SavedModel.load(model)
    assert found.comparison.winner in out.split("Recommended: ")[1].split(":")[0]

    code, out, _ = shell.run("report", model, shell.path("report.html"))
    assert code == 0 and "District 103" in (office / "report.html").read_text("utf-8")
    output = shell.path("predicted.csv")
    code, out, _ = shell.run(
        *("predict", model, shell.path("pupils.csv"), "--output", output)
    )
    assert code == 0 and "480 rows, each with an estimate of score" in out
    table = pd.read_csv(output, sep=";", decimal=",", encoding="latin-1")
    known = table["score"].notna()
    error = (table["estimate"] - table["score"])[known]
    assert error.std() < 0.5 * table["score"].std() and not table["new_task"].any()


def test_an_analyst_fits_at_once(office, capsys):
    shell = Shell(office, capsys)
    named = ["--target", "score", "--task", "district", "--drop", "tested,sex"]
    model, effects = shell.path("fitted.joblib"), shell.path("effects.csv")
    kept = ["--save", model, "--effects", effects]
    code, out, err = shell.run("fit", shell.path("pupils.csv"), *named, *kept)
    assert code == 0 and err == "" and "MultiTaskAdditiveRegressor" in out
    table = pd.read_csv(effects, sep=";", decimal=",")
    assert len(table) == 41 and {"lower", "upper", "verdict"} <= set(table)


# ---------------------------------------------------------------- a data scientist


def test_a_scientist_builds_a_pipeline():
    frame = export(240).dropna(subset=["score"])
    X, y = frame.drop(columns=["score", "tested"]), frame["score"]
    model = make_pipeline(
        TablePreparer("district"),
        MultiTaskAdditiveRegressor(task_column="district", interactions=False),
    )
    cv = TaskStratifiedKFold(2, task_column="district", shuffle=True, random_state=0)
    assert cross_val_score(model, X, y, cv=cv).mean() > 0.4
    grid = {"tablepreparer__drop": [None, ["reading"]]}
    search = GridSearchCV(model, grid, cv=cv).fit(X, y)
    assert search.best_params_ == {"tablepreparer__drop": None}
    best = search.best_estimator_
    assert "Left out: Nr (numbers the rows)" in best[0].describe()[0]
    new = X.head(2).assign(district=["District 100", "District 999"])
    lower, upper = best[-1].predict_interval(best[0].transform(new)).T
    assert upper[1] - lower[1] > upper[0] - lower[0]  # a new district is less sure


# ---------------------------------------------------------------- a statistician


def test_a_statistician_asks_which_hospitals_differ(canvas):
    rng = np.random.default_rng(1)
    hospital = np.repeat([f"H{k:02}" for k in range(12)], 40)
    severity = rng.normal(size=480)
    level = np.linspace(-1.5, 1.5, 12)[np.repeat(np.arange(12), 40)]
    died = rng.random(480) < 1 / (1 + np.exp(-(level + severity)))
    X = pd.DataFrame(
        {
            "hospital": hospital,
            "severity": np.where(severity > 2.5, np.nan, severity),
            "ward": np.array(["A", "B", "C"])[rng.integers(0, 3, 480)],
        }
    )
    model = make_pipeline(
        TablePreparer("hospital", categories="onehot"),
        MultiTaskBayesianClassifier("intercept", task_column="hospital"),
    ).fit(X, np.where(died, "died", "lived") == "died")
    effects = model[-1].task_effects()
    effects = effects[effects["effect"] == "intercept"].set_index("task")
    assert effects["upper"]["H00"] < 0 < effects["lower"]["H11"]
    inside = effects[(effects["lower"] < 0) & (effects["upper"] > 0)]
    assert 3 <= len(inside) <= 9
    display = TaskEffectsDisplay.from_estimator(model)
    assert len(display.tasks) == 12
    assert "Missing values, filled in with the median" in model[0].describe()[1]
