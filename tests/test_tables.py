"""TablePreparer: what each kind of column becomes, and what is said of it."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtlearn import MultiTaskAdditiveRegressor, MultiTaskBayesianRidge, PerTaskRegressor
from mtlearn.compose import TablePreparer

N = 40


def table(**columns):
    """Four schools, a number and a text; other columns as given."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "school": np.array(["a", "b", "c", "d"])[np.arange(N) % 4],
            "hours": rng.normal(5, 2, N).round(2),
            "sex": np.array(["F", "M"])[rng.integers(0, 2, N)],
        }
    )
    return frame.assign(**columns)


def fitted(frame, **settings):
    return TablePreparer("school", **settings).fit(frame)


def sentence(preparer, start):
    """The one sentence that begins so."""
    (found,) = [said for said in preparer.describe() if said.startswith(start)]
    return found


# ---------------------------------------------------------------- kinds of columns


def test_what_is_plain_stays_as_it_is():
    frame = table()
    preparer = fitted(frame)
    out = preparer.transform(frame)
    assert list(out) == ["school", "hours", "sex"]
    assert preparer.get_feature_names_out().tolist() == list(out)
    np.testing.assert_array_equal(out["hours"], frame["hours"])
    assert str(out["sex"].dtype) == "category"
    assert out["sex"].astype(str).tolist() == frame["sex"].tolist()
    assert out["school"].tolist() == frame["school"].tolist()
    assert preparer.describe() == ["Categories: sex (2 levels)."]


def test_what_says_nothing_is_left_out():
    shuffled = np.random.default_rng(1).permutation(N)
    frame = table(
        row=np.arange(N) * 10,
        key=shuffled,
        name=[f"pupil {i}" for i in range(N)],
        country="UK",
        one=1.0,
        note=np.nan,
        blank=" ",
    )
    preparer = fitted(frame)
    assert preparer.features_ == ["hours", "sex"]
    assert preparer.left_out_ == {
        "row": "numbers the rows",
        "key": "numbers the rows",
        "name": "40 different texts",
        "country": "constant",
        "one": "constant",
        "note": "empty",
        "blank": "empty",
    }
    assert "key (numbers the rows), name (40" in sentence(preparer, "Left out")


def test_columns_that_are_asked_for_stay():
    frame = table(row=np.arange(N), name=[f"pupil {i}" for i in range(N)], one=1.0)
    preparer = fitted(frame, features=["name", "row", "one"])
    assert preparer.features_ == ["name", "row", "one"]
    assert fitted(frame, drop=["sex"]).features_ == ["hours"]
    assert fitted(frame, max_levels=N - 1).features_ == ["hours", "sex"]


@pytest.mark.parametrize("mark", [["-"], ["unknown", "n/a"], ["(illegible)"]])
def test_words_in_numbers_are_missing_and_said(mark):
    hours = table()["hours"].astype(str).to_numpy(dtype=object)
    hours[: len(mark)] = mark
    preparer = fitted(table(hours=hours))
    out = preparer.transform(table(hours=hours))["hours"]
    rest = table()["hours"].to_numpy()[len(mark) :]
    assert (out[: len(mark)] == np.median(rest)).all()
    np.testing.assert_array_equal(out[len(mark) :], rest)
    said = ", ".join(map(repr, sorted(mark)))
    assert f": hours ({said})." in sentence(preparer, "Words in numbers")
    assert f"hours ({len(mark)})" in sentence(preparer, "Missing values, filled")


def test_numbers_with_commas():
    hours = table()["hours"]
    comma = hours.astype(str).str.replace(".", ",")
    pay = pd.Series([f"{i},{i:03}" for i in range(1, N + 1)])[::-1].to_numpy()
    frame = table(hours=comma, pay=pay)
    preparer = fitted(frame)
    out = preparer.transform(frame)
    np.testing.assert_array_equal(out["hours"], hours)
    np.testing.assert_array_equal(out["pay"], 1001 * np.arange(N, 0, -1))
    assert "hours." in sentence(preparer, "Read with decimal commas")
    assert "pay." in sentence(preparer, "Read with commas between thousands")
    # learned from numbers, applied to texts
    np.testing.assert_array_equal(fitted(table()).transform(frame)["hours"], hours)


def test_few_numbers_among_texts_are_levels():
    frame = table(age=np.array(["1", "2", "3", "4 and more"])[np.arange(N) // 10])
    assert fitted(frame).columns_["age"].levels == ("1", "2", "3", "4 and more")


def test_true_and_false():
    member = np.arange(N) % 3 == 0
    for column in (member, member.astype(str), pd.array(member, dtype="boolean")):
        out = fitted(table(member=member)).transform(table(member=column))["member"]
        np.testing.assert_array_equal(out, member.astype(float))


DAYS = pd.Timestamp("2019-01-01") + pd.to_timedelta(np.arange(N)[::-1] * 40, unit="D")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (DAYS, "and the day of the year"),
        (DAYS.tz_localize("UTC"), "and the day of the year"),
        (DAYS.strftime("%Y-%m-%d"), "and the day of the year"),
        (DAYS.strftime("%d.%m.%Y"), "day.month.year, and the day of the year"),
        (DAYS.strftime("%m/%d/%Y"), "month/day/year, and the day of the year"),
        (DAYS.strftime("%Y-%m-%dT%H:%M:%S"), "and the day of the year"),
        (list(DAYS.date), "and the day of the year"),
    ],
)
def test_dates_become_years(column, said):
    frame = table(tested=column)
    preparer = fitted(frame)
    out = preparer.transform(frame)
    assert list(out)[-2:] == ["tested_year", "tested_day_of_year"]
    first = N - 1  # the rows go back in time
    assert out["tested_year"][first] == 2019.0 and out["tested_day_of_year"][first] == 1
    assert out["tested_day_of_year"][first - 1] == 41.0
    np.testing.assert_allclose(out["tested_year"][first - 1], 2019 + 40 / 365)
    assert sentence(preparer, "Dates") == f"Dates, taken as years: tested ({said})."


def test_dates_of_a_short_time_have_no_season():
    frame = table(tested=np.tile(DAYS[: N // 4], 4))
    frame.loc[0, "tested"] = pd.NaT
    preparer = fitted(frame)
    out = preparer.transform(frame)
    assert list(out)[-1] == "tested_year"
    assert out["tested_year"][0] == np.median(out["tested_year"][1:])
    assert "tested (1)" in sentence(preparer, "Missing values, filled")


def test_missing_levels_are_a_level():
    frame = table()
    frame.loc[3, "sex"] = None
    preparer = fitted(frame)
    assert preparer.transform(frame)["sex"][3] == "(missing)"
    assert "sex (1)" in sentence(preparer, "Missing values, taken as a level")
    onehot = fitted(frame, categories="onehot")
    assert list(onehot.transform(frame))[2:] == ["sex_F", "sex_M", "sex_(missing)"]


def test_onehot_and_scaled():
    frame = table()
    out = fitted(frame, categories="onehot").transform(frame)
    assert list(out) == ["school", "hours", "sex_F", "sex_M"]
    moments = out["hours"].mean(), out["hours"].std(ddof=0)
    np.testing.assert_allclose(moments, [0, 1], atol=1e-12)
    np.testing.assert_array_equal(out["sex_F"], (frame["sex"] == "F").astype(float))


def test_new_levels():
    new = table(sex=["F", None, "X", "M"] * 10)
    out = fitted(table(), categories="onehot").transform(new)
    assert out[["sex_F", "sex_M"]][:4].to_numpy().tolist() == [
        *([1, 0], [0, 0], [0, 0], [0, 1])
    ]
    out = fitted(table()).transform(new)["sex"].astype(str)
    assert out[:4].tolist() == ["F", "(other)", "(other)", "M"]


def test_the_models_know_nothing_of_new_levels():
    frame = table()
    y = 3.0 * (frame["sex"] == "F") + frame["hours"]
    model = make_pipeline(
        TablePreparer("school"), MultiTaskAdditiveRegressor(task_column="school")
    ).fit(frame, y)
    female, male, new = (
        model.predict(frame.head(1).assign(sex=sex))[0] for sex in ("F", "M", "X")
    )
    assert male < new < female


# ---------------------------------------------------------------- checks at transform


def test_columns_of_other_tables():
    preparer = fitted(table())
    out = preparer.transform(table(more=1)[["more", "sex", "hours", "school"]])
    pd.testing.assert_frame_equal(out, preparer.transform(table()))
    with pytest.raises(ValueError, match=r"lacks \['hours'\]: the column that"):
        preparer.transform(table().drop(columns="hours"))
    with pytest.raises(ValueError, match="did you mean 'Hours'"):
        preparer.transform(table().rename(columns={"hours": "Hours"}))
    with pytest.raises(ValueError, match=r"lacks \['school'\]"):
        preparer.transform(table().drop(columns="school"))


def test_kinds_of_other_tables():
    preparer = fitted(table())
    with pytest.raises(ValueError, match="held numbers in fit, and now 40 of 40"):
        preparer.transform(table(hours="many"))
    some = table()["hours"].astype(object)
    some[0] = "many"
    with pytest.warns(UserWarning, match=r"and 1 of 40 values are none.*\['many'\]"):
        out = preparer.transform(table(hours=some))
    assert out["hours"][0] == np.median(table()["hours"])
    some[0] = "unknown"  # the usual word is no surprise
    preparer.transform(table(hours=some))
    with pytest.raises(ValueError, match="infinite values in the column 'hours'"):
        preparer.transform(table(hours=np.inf))


@pytest.mark.parametrize(
    ("settings", "frame", "words"),
    [
        ({"task_column": "schol"}, table(), "names 'schol'.*did you mean 'school'"),
        ({"features": ["hour"]}, table(), "`features` names 'hour'"),
        ({"drop": ["nothing"]}, table(), "`drop` names 'nothing'"),
        ({"categories": "both"}, table(), "`categories`"),
        ({"max_levels": 0}, table(), "`max_levels`"),
        ({"drop": ["hours", "sex"]}, table(), "No column is left to predict from"),
        ({}, table().head(0), "X has no rows"),
        ({}, pd.concat([table(), table()], axis=1), "two columns of the name 'school'"),
        (
            {"categories": "onehot"},
            table(sex_F=np.arange(N) % 5),
            "Two columns of the name 'sex_F'",
        ),
    ],
)
def test_bad_input(settings, frame, words):
    with pytest.raises(ValueError, match=words):
        TablePreparer(**{"task_column": "school", **settings}).fit(frame)


@parametrize_with_checks([TablePreparer(), TablePreparer(categories="onehot")])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_arrays():
    """Their columns have numbers for names, the ids' included."""
    X = np.array([["a", 1.5, "F"], ["a", 2.0, "M"], ["b", np.nan, "F"]], dtype=object)
    preparer = TablePreparer("x0").fit(X)
    ready = preparer.transform(X)
    assert list(ready.columns) == ["x0", "x1", "x2"]
    assert ready["x1"].tolist() == [1.5, 2.0, 1.75]
    assert not hasattr(preparer, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 2 features, but TablePreparer"):
        preparer.transform(X[:, :2])


def test_what_is_no_table():
    with pytest.raises(ValueError, match="Expected 2D array"):
        TablePreparer().fit(["a", "b"])
    with pytest.raises(TypeError, match="`drop` must be a list"):
        TablePreparer(drop="sex").fit(table())


def test_a_failed_fit_changes_nothing():
    preparer = fitted(table())
    before = preparer.transform(table())
    with pytest.raises(ValueError, match="infinite"):
        preparer.fit(table(hours=np.inf))
    pd.testing.assert_frame_equal(preparer.transform(table()), before)


def test_the_callers_table_is_not_changed():
    frame = table(hours=["1,5"] * 20 + ["-"] * 2 + ["2"] * 18)
    before = frame.copy()
    fitted(frame).transform(frame)
    pd.testing.assert_frame_equal(frame, before)


# ---------------------------------------------------------------- among other tools


def test_other_frames():
    frame = table()
    frame.loc[3, "sex"] = None
    want = fitted(frame).transform(frame)
    for other in (pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        preparer = fitted(other)
        pd.testing.assert_frame_equal(
            preparer.transform(other), want, check_dtype=False
        )


def test_as_scikit_learn_expects():
    preparer = TablePreparer("school", drop=["sex"], categories="onehot")
    again = clone(preparer)
    assert again.get_params() == preparer.get_params()
    assert again.set_params(max_levels=5).max_levels == 5
    preparer.fit(table())
    assert preparer.n_features_in_ == 3
    assert preparer.feature_names_in_.tolist() == ["school", "hours", "sex"]
    copy = pickle.loads(pickle.dumps(preparer))
    pd.testing.assert_frame_equal(copy.transform(table()), preparer.transform(table()))
    preparer.set_output(transform="polars")
    assert isinstance(preparer.transform(table()), pl.DataFrame)
    with pytest.raises(ValueError, match="input_features"):
        preparer.get_feature_names_out(["a", "b", "c"])
    preparer.get_feature_names_out(["school", "hours", "sex"])


def test_without_ids():
    out = TablePreparer().fit_transform(table())
    assert list(out) == ["school", "hours", "sex"]
    assert str(out["school"].dtype) == "category"


def test_in_a_grid_search():
    frame = table(hours=table()["hours"].astype(str).str.replace(".", ","))
    y = table()["hours"] + (frame["sex"] == "F")
    model = make_pipeline(
        TablePreparer("school", categories="onehot"),
        PerTaskRegressor(task_column="school", relation="shared_mean"),
    )
    grid = {
        "tablepreparer__drop": [None, ["hours"]],
        "pertaskregressor__alpha": [0.1, 10.0],
    }
    search = GridSearchCV(model, grid, cv=KFold(3)).fit(frame, y)
    assert search.best_params_["tablepreparer__drop"] is None
    assert search.best_score_ > 0.9
    ridge = make_pipeline(
        TablePreparer("school", categories="onehot"),
        MultiTaskBayesianRidge(task_column="school"),
    )
    assert cross_val_score(ridge, frame, y, cv=KFold(3)).min() > 0.9
