"""Bad inputs: one clear sentence each, that names the parameter, and no LinAlgError."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    Independent,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.fitting.checks import (
    check_choice,
    check_intercept,
    check_number,
    check_task_weight,
)
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK
from mtlearn.problem.values import check_sample_weight

ESTIMATORS = (PerTaskRegressor, PerTaskClassifier, MultiTaskSVM, MultiTaskSVR)


def long(p, **params):
    """Fit the regressor to ids by keyword."""
    return PerTaskRegressor(**params).fit(p.X, p.y, task=p.task)


def column(p, **params):
    """Fit the regressor to ids in a column."""
    return PerTaskRegressor(task_column="school", **params).fit(p.df, p.y)


def svm(p, **params):
    return MultiTaskSVM(**params).fit(p.X, p.label, task=p.task)


def svr(p, **params):
    return MultiTaskSVR(**params).fit(p.X, p.y, task=p.task)


def logistic(p, **params):
    return PerTaskClassifier(**params).fit(p.X, p.label, task=p.task)


def labels(p, y, model=None, **ids):
    return (model or PerTaskRegressor()).fit(p.X, y, **ids)


def ids(p, values):
    return PerTaskRegressor().fit(p.X, p.y, task=values)


def predicted(p, values):
    return long(p).predict(p.X, task=values)


def weights(p, values):
    return PerTaskRegressor().fit(p.X, p.y, values, task=p.task)


def table_weights(p, values):
    return PerTaskRegressor().fit(p.X, p.Y, values)


def put(values, place, value, dtype=None):
    """A copy with one entry changed."""
    values = np.array(values, dtype=dtype)
    values[place] = value
    return values


def square(n=5, **changes):
    """A valid adjacency or covariance with entries changed by their place."""
    matrix = np.eye(n)
    for place, value in changes.items():
        matrix[int(place[1]), int(place[2])] = value
    return matrix


@pytest.fixture
def p():
    """A small problem in every form: 20 rows, 3 features, 5 tasks."""
    rng = np.random.default_rng(0)
    task = np.repeat(list("abcde"), 4)
    X = rng.normal(size=(20, 3))
    df = pd.DataFrame(X, columns=["u", "v", "w"])
    df.insert(1, "school", task)
    Y = rng.normal(size=(20, 5))
    return SimpleNamespace(
        X=X,
        y=rng.normal(size=20),
        label=np.tile([0, 1], 10),
        task=task,
        codes=np.repeat(np.arange(5), 4),
        df=df,
        Y=Y,
        T=(Y > 0).astype(float),
    )


V, E = ValueError, TypeError

PARAMETERS = {
    # relation
    "relation misspelt": (
        lambda p: long(p, relation="shared"),
        V,
        "`relation` must be one of 'independent', 'shared_mean'.*got 'shared'",
    ),
    "relation is a number": (
        lambda p: long(p, relation=0.5),
        E,
        "`relation` must be a string or a relation.*0.5",
    ),
    "relation is None": (
        lambda p: long(p, relation=None),
        E,
        "`relation` must be a string or a relation.*None",
    ),
    "relation is a class": (
        lambda p: long(p, relation=SharedMean),
        E,
        "`relation`.*forget the parentheses",
    ),
    "another relation is a class": (
        lambda p: svm(p, relation=Independent),
        E,
        "`relation`.*forget the parentheses",
    ),
    "correlation above 1": (
        lambda p: long(p, relation=SharedMean(1.5)),
        V,
        r"`correlation` of SharedMean.*\[0, 1\].*1.5",
    ),
    "correlation below 0": (
        lambda p: svm(p, relation=SharedMean(-0.1)),
        V,
        r"`correlation` of SharedMean.*\[0, 1\].*-0.1",
    ),
    "correlation is a string": (
        lambda p: svr(p, relation=SharedMean("high")),
        V,
        "`correlation` of SharedMean.*'high'",
    ),
    "correlation is NaN": (
        lambda p: long(p, relation=SharedMean(np.nan)),
        V,
        "`correlation` of SharedMean.*nan",
    ),
    "strength below 0": (
        lambda p: long(p, relation=TaskGraph(square(), -1.0)),
        V,
        "`strength` of TaskGraph.*>= 0.*-1",
    ),
    "adjacency negative": (
        lambda p: long(p, relation=TaskGraph(square(_01=-1, _10=-1))),
        V,
        "`adjacency` of TaskGraph.*weights >= 0.*-1",
    ),
    "adjacency not symmetric": (
        lambda p: long(p, relation=TaskGraph(square(_01=1))),
        V,
        "`adjacency` of TaskGraph must be symmetric",
    ),
    "adjacency of another size": (
        lambda p: long(p, relation=TaskGraph(square(4))),
        V,
        "`adjacency` of TaskGraph has 4 rows.*5 tasks",
    ),
    "adjacency not square": (
        lambda p: long(p, relation=TaskGraph(square()[:3])),
        V,
        r"`adjacency` of TaskGraph must be a square.*\(3, 5\)",
    ),
    "adjacency with NaN": (
        lambda p: long(p, relation=TaskGraph(square(_01=np.nan, _10=np.nan))),
        V,
        "`adjacency` of TaskGraph must be finite",
    ),
    "adjacency of strings": (
        lambda p: long(p, relation=TaskGraph([["a", "b"], ["b", "a"]])),
        V,
        "`adjacency`.*'a'",
    ),
    "covariance not symmetric": (
        lambda p: long(p, relation=TaskCovariance(square(_01=0.5))),
        V,
        "`covariance` of TaskCovariance must be symmetric",
    ),
    "covariance not definite": (
        lambda p: long(p, relation=TaskCovariance(square(_01=2, _10=2))),
        V,
        "`covariance` of TaskCovariance must be positive definite.*-1",
    ),
    "covariance singular": (
        lambda p: long(p, relation=TaskCovariance(np.ones((5, 5)))),
        V,
        "`covariance` of TaskCovariance must be positive definite",
    ),
    "covariance of another size": (
        lambda p: long(p, relation=TaskCovariance(square(6))),
        V,
        "`covariance` of TaskCovariance has 6 rows.*5 tasks",
    ),
    "covariance with infinity": (
        lambda p: long(p, relation=TaskCovariance(square(_00=np.inf))),
        V,
        "`covariance` of TaskCovariance must be finite",
    ),
    "tasks of another length": (
        lambda p: long(p, relation=TaskCovariance(square(), tasks=list("abcdef"))),
        V,
        "`covariance`.*has 5 rows.*6 tasks",
    ),
    "tasks named twice": (
        lambda p: long(p, relation=TaskGraph(square(), tasks=list("abcda"))),
        V,
        "`tasks` of TaskGraph names a task twice",
    ),
    "a task that is not named": (
        lambda p: long(p, relation=TaskGraph(square(), tasks=list("abcdf"))),
        V,
        r"TaskGraph does not name \['e'\]",
    ),
    # numbers
    "alpha negative": (
        lambda p: long(p, alpha=-1.0),
        V,
        "`alpha` must be finite and >= 0, got -1.0",
    ),
    "alpha infinite": (lambda p: long(p, alpha=np.inf), V, "`alpha` must be finite"),
    "alpha NaN": (lambda p: long(p, alpha=np.nan), V, "`alpha` must be finite"),
    "alpha is a string": (
        lambda p: long(p, alpha="1"),
        E,
        "`alpha` must be a number, got '1' of type str",
    ),
    "alpha is an array": (
        lambda p: long(p, alpha=np.ones(5)),
        E,
        "`alpha` must be a number.*ndarray",
    ),
    "alpha is None": (
        lambda p: long(p, alpha=None),
        E,
        "`alpha` must be a number, got None",
    ),
    "C zero": (lambda p: svm(p, C=0), V, "`C` must be finite and > 0, got 0"),
    "C negative": (
        lambda p: logistic(p, C=-2.5),
        V,
        "`C` must be finite and > 0, got -2.5",
    ),
    "C is a bool": (lambda p: svr(p, C=True), E, "`C` must be a number, got True"),
    "epsilon negative": (
        lambda p: svr(p, epsilon=-0.1),
        V,
        "`epsilon` must be finite and >= 0, got -0.1",
    ),
    "epsilon is a string": (
        lambda p: svr(p, epsilon="small"),
        E,
        "`epsilon` must be a number",
    ),
    "tol zero": (lambda p: long(p, tol=0), V, "`tol` must be finite and > 0, got 0"),
    "tol negative": (lambda p: svm(p, tol=-1e-4), V, "`tol` must be finite and > 0"),
    "max_iter zero": (
        lambda p: svm(p, max_iter=0),
        V,
        "`max_iter` must be finite and >= 1, got 0",
    ),
    "max_iter not whole": (
        lambda p: long(p, max_iter=10.5),
        E,
        "`max_iter` must be an integer, got 10.5",
    ),
    "verbose negative": (
        lambda p: long(p, verbose=-1),
        V,
        "`verbose` must be finite and >= 0",
    ),
    # choices
    "solver misspelt": (
        lambda p: long(p, solver="cholesky"),
        V,
        "`solver` must be one of 'auto', 'newton-cholesky'.*got 'cholesky'",
    ),
    "solver of the svm misspelt": (
        lambda p: svm(p, solver="newton"),
        V,
        "`solver` must be one of.*got 'newton'",
    ),
    "fit_intercept misspelt": (
        lambda p: long(p, fit_intercept="common"),
        V,
        "`fit_intercept` must be one of True, 'free', 'shrunk'.*got 'common'",
    ),
    "fit_intercept is None": (
        lambda p: svm(p, fit_intercept=None),
        V,
        "`fit_intercept` must be one of.*None",
    ),
    "fit_intercept is a number": (
        lambda p: svm(p, fit_intercept=1),
        V,
        "`fit_intercept` must be one of.*got 1",
    ),
    "handle_unknown misspelt": (
        lambda p: long(p, handle_unknown="ignore"),
        V,
        "`handle_unknown` must be one of 'shared', 'error', got 'ignore'",
    ),
    "loss misspelt": (
        lambda p: svm(p, loss="squared_hinges"),
        V,
        "`loss` must be one of 'squared_hinge', 'hinge', got 'squared_hinges'",
    ),
    "loss of the other machine": (
        lambda p: svr(p, loss="squared_hinge"),
        V,
        "`loss` must be one of 'squared_epsilon_insensitive'",
    ),
    "kernel misspelt": (
        lambda p: svm(p, kernel="gaussian"),
        V,
        "`kernel` must be one of 'linear', 'rbf'.*got 'gaussian'",
    ),
    # weights of tasks and classes
    "task_weight misspelt": (
        lambda p: long(p, task_weight="equal"),
        V,
        "`task_weight` must be one of 'balanced', got 'equal'",
    ),
    "task_weight of unknown tasks": (
        lambda p: long(p, task_weight={"a": 1, "z": 2}),
        V,
        r"`task_weight` names unknown tasks \['z'\]",
    ),
    "task_weight too short": (
        lambda p: long(p, task_weight=[1, 2]),
        V,
        r"`task_weight`.*each of the 5 tasks, got shape \(2,\)",
    ),
    "task_weight negative": (
        lambda p: long(p, task_weight=[1, 1, 1, 1, -1]),
        V,
        "`task_weight` must be finite, non-negative",
    ),
    "task_weight NaN": (
        lambda p: long(p, task_weight={"a": np.nan}),
        V,
        "`task_weight` must be finite",
    ),
    "task_weight all zero": (
        lambda p: long(p, task_weight=np.zeros(5)),
        V,
        "`task_weight`.*not zero everywhere",
    ),
    "class_weight misspelt": (
        lambda p: svm(p, class_weight="equal"),
        V,
        "`class_weight` must be one of 'balanced', got 'equal'",
    ),
    "class_weight of unknown classes": (
        lambda p: svm(p, class_weight={2: 1.0}),
        V,
        r"`class_weight` names unknown classes \[2\].*\[0, 1\]",
    ),
    "class_weight negative": (
        lambda p: svm(p, class_weight={1: -1.0}),
        V,
        "`class_weight` must be finite and > 0, got -1.0",
    ),
    "class_weight is a list": (
        lambda p: svm(p, class_weight=[1, 2]),
        E,
        "`class_weight` must be None, 'balanced' or a dict",
    ),
}

COLUMNS = {
    "no such column": (
        lambda p: PerTaskRegressor(task_column="scool").fit(p.df, p.y),
        V,
        "`task_column`='scool' is not a column of X.*'school'",
    ),
    "a name for an array": (
        lambda p: PerTaskRegressor(task_column="school").fit(p.X, p.y),
        V,
        "`task_column`='school' is a column name, but X has no.*set_output",
    ),
    "a position out of range": (
        lambda p: PerTaskRegressor(task_column=4).fit(p.df, p.y),
        V,
        "`task_column`=4 is out of range: X has 4 columns",
    ),
    "a position that is a float": (
        lambda p: PerTaskRegressor(task_column=1.0).fit(p.df, p.y),
        E,
        "`task_column` must be a column name or an integer position, got 1.0",
    ),
    "the only column": (
        lambda p: PerTaskRegressor(task_column="school").fit(p.df[["school"]], p.y),
        V,
        "1 feature.*beside the column of ids `task_column`='school'",
    ),
    "ids twice": (
        lambda p: (
            column(p)
            and PerTaskRegressor(task_column="school").fit(p.df, p.y, task=p.task)
        ),
        V,
        "twice.*`task`.*`task_column`='school'",
    ),
    "renamed on the way": (
        lambda p: renamed(p).fit(p.df, p.y),
        V,
        "'task__school': set verbose_feature_names_out=False",
    ),
    "names lost on the way": (
        lambda p: lost(p).fit(p.df, p.y),
        V,
        "X has no column names.*set_output",
    ),
    "scaled on the way": (
        lambda p: make_pipeline(StandardScaler(), PerTaskRegressor(task_column=0)).fit(
            np.c_[p.codes, p.X], p.y
        ),
        V,
        r"`X\[0\]` holds floats that are not integers.*scaler",
    ),
    "missing in the column": (
        lambda p: PerTaskRegressor(task_column="school").fit(
            p.df.assign(school=put(p.task, 3, None, object)), p.y
        ),
        V,
        r"`X\['school'\]` has missing ids",
    ),
    "missing in the column of predict": (
        lambda p: column(p).predict(p.df.assign(school=put(p.task, 3, np.nan, object))),
        V,
        r"`X\['school'\]` has missing ids",
    ),
    "NaN in the column of an array": (
        lambda p: PerTaskRegressor(task_column=0).fit(
            np.c_[put(p.codes, 0, np.nan, float), p.X], p.y
        ),
        V,
        r"`X\[0\]` has missing ids",
    ),
    "column absent in predict": (
        lambda p: (
            PerTaskRegressor(task_column=-1).fit(np.c_[p.X, p.codes], p.y).predict(p.X)
        ),
        V,
        "3 features.*expecting 4",
    ),
    "numbers for strings in predict": (
        lambda p: column(p).predict(p.df.assign(school=p.codes)),
        V,
        r"`X\['school'\]` holds numbers but the tasks of the fit are strings",
    ),
    "unseen and refused": (
        lambda p: column(p, handle_unknown="error").predict(p.df.assign(school="z")),
        V,
        "20 rows belong to tasks that fit never saw.*'z'",
    ),
}


def renamed(p):
    scale = ColumnTransformer(
        [("task", "passthrough", ["school"]), ("scale", StandardScaler(), ["u", "v"])]
    ).set_output(transform="pandas")
    return make_pipeline(scale, PerTaskRegressor(task_column="school"))


def lost(p):
    scale = ColumnTransformer(
        [("task", "passthrough", ["school"]), ("scale", StandardScaler(), ["u", "v"])]
    )
    return make_pipeline(scale, PerTaskRegressor(task_column="school"))


IDS = {
    "NaN": (
        lambda p: ids(p, put(p.codes, 2, np.nan, float)),
        V,
        "`task` has missing ids",
    ),
    "None": (
        lambda p: ids(p, put(p.task, 2, None, object)),
        V,
        "`task` has missing ids",
    ),
    "NaN among strings": (
        lambda p: ids(p, put(p.task, 2, np.nan, object)),
        V,
        "`task` has missing ids",
    ),
    "pandas NA": (
        lambda p: ids(p, pd.Series(put(p.task, 2, pd.NA, object), dtype="string")),
        V,
        "`task` has missing ids",
    ),
    "pandas NA among integers": (
        lambda p: ids(p, pd.Series(put(p.codes, 2, None, object), dtype="Int64")),
        V,
        "`task` has missing ids",
    ),
    "no category": (
        lambda p: ids(p, pd.Categorical(put(p.task, 2, None, object))),
        V,
        "`task` has missing ids",
    ),
    "null of polars": (
        lambda p: ids(p, pl.Series(put(p.task, 2, None, object).tolist())),
        V,
        "`task` has missing ids",
    ),
    "null of pyarrow": (
        lambda p: ids(p, pa.array(put(p.task, 2, None, object).tolist())),
        V,
        "`task` has missing ids",
    ),
    "not integers": (
        lambda p: ids(p, p.codes / 3),
        V,
        "`task` holds floats that are not integers, such as 0.333",
    ),
    "not integers in objects": (
        lambda p: ids(p, (p.codes / 3).astype(object)),
        V,
        "`task` holds floats that are not integers",
    ),
    "infinite": (
        lambda p: ids(p, put(p.codes, 0, np.inf, float)),
        V,
        "`task` holds infinite values",
    ),
    "too few": (lambda p: ids(p, p.task[:7]), V, "`task` has 7 ids, but X has 20 rows"),
    "a single string": (
        lambda p: ids(p, 20 * "a"),
        E,
        "`task` must be array-like with one id per row, got 'aaa.*of type str",
    ),
    "a number": (
        lambda p: ids(p, 5),
        E,
        "`task` must be array-like with one id per row, got 5 of type int",
    ),
    "a number in predict": (
        lambda p: predicted(p, 5),
        E,
        "`task` must be array-like with one id per row, got 5 of type int",
    ),
    "no dimension": (
        lambda p: ids(p, np.array("a")),
        E,
        "`task` must be array-like with one id per row",
    ),
    "a dict": (
        lambda p: ids(p, dict(enumerate(p.task))),
        E,
        "`task` must be array-like with one id per row, got {.*of type dict",
    ),
    "a set": (lambda p: ids(p, set(range(20))), E, "one id per row, got .*type set"),
    "a generator": (
        lambda p: ids(p, (one for one in p.task)),
        E,
        "one id per row, got .*type generator",
    ),
    "floats that merge": (
        lambda p: ids(p, p.codes * 1e30),
        V,
        r"`task` holds floats such as 4e\+30: from 2\*\*53 on float64",
    ),
    "floats that merge in predict": (
        lambda p: (
            PerTaskRegressor()
            .fit(p.X, p.y, task=p.codes)
            .predict(p.X, task=p.codes * 1e30)
        ),
        V,
        "`task` holds floats such as",
    ),
    "short floats that merge": (
        lambda p: ids(p, (2**24 + p.codes).astype(np.float32)),
        V,
        r"from 2\*\*24 on float32",
    ),
    "two columns": (
        lambda p: ids(p, np.c_[p.codes, p.codes]),
        V,
        r"`task` must be one-dimensional.*\(20, 2\)",
    ),
    "mixed types": (
        lambda p: ids(p, put(p.task, 0, 3, object)),
        E,
        "`task` holds ids of types that cannot be sorted.*int, str",
    ),
    "lists": (
        lambda p: ids(p, [[c] * (1 + c % 2) for c in p.codes]),
        E,
        "`task` holds an id that cannot be one",
    ),
    "complex": (
        lambda p: ids(p, p.codes + 1j),
        V,
        "`task` must hold task ids, got complex",
    ),
    "none in predict": (
        lambda p: predicted(p, None),
        V,
        "`task` is missing: this estimator was fitted with task ids",
    ),
    "NaN in predict": (
        lambda p: predicted(p, put(p.task, 0, np.nan, object)),
        V,
        "`task` has missing ids",
    ),
    "None in predict": (
        lambda p: predicted(p, put(p.task, 0, None, object)),
        V,
        "`task` has missing ids",
    ),
    "too few in predict": (
        lambda p: predicted(p, p.task[:3]),
        V,
        "`task` has 3 ids, but X has 20 rows",
    ),
    "numbers for strings": (
        lambda p: predicted(p, p.codes),
        V,
        "`task` holds numbers but the tasks of the fit are strings",
    ),
    "strings for numbers": (
        lambda p: (
            PerTaskRegressor().fit(p.X, p.y, task=p.codes).predict(p.X, task=p.task)
        ),
        V,
        "`task` holds strings but the tasks of the fit are numbers",
    ),
    "a model without ids": (
        lambda p: PerTaskRegressor().fit(p.X, p.y).predict(p.X, task=p.task),
        V,
        "`task` was given, but this estimator was fitted without",
    ),
    "a table without ids": (
        lambda p: PerTaskRegressor().fit(p.X, p.Y).predict(p.X, task=p.task),
        V,
        "`task` was given, but.*every column of its `y` is a task",
    ),
}

FEATURES = {
    "too large": (
        lambda p: PerTaskRegressor().fit(p.X * 1e160, p.y),
        V,
        r"largest value of X must be no larger than 1e\+50, got .*e\+160",
    ),
    "too large and sparse": (
        lambda p: PerTaskRegressor().fit(sp.csr_array(p.X * 1e160), p.y),
        V,
        "largest value of X must be no larger",
    ),
    "too small": (
        lambda p: PerTaskRegressor().fit(p.X * 1e-160, p.y),
        V,
        "largest value of X must be no smaller than 1e-50",
    ),
    "dates": (
        lambda p: PerTaskRegressor().fit(np.c_[p.codes, p.codes].astype("M8[D]"), p.y),
        V,
        "X must hold numbers, got dates",
    ),
    "a column of dates": (
        lambda p: column(p).predict(p.df.assign(v=p.codes.astype("M8[s]"))),
        V,
        r"the columns \['v'\] hold dates",
    ),
    "a column of dates in polars": (
        lambda p: PerTaskRegressor().fit(
            pl.DataFrame({"a": p.y, "b": p.codes.astype("M8[D]")}), p.y
        ),
        V,
        r"the columns \['b'\] hold dates",
    ),
    "a column of dates in pyarrow": (
        lambda p: PerTaskRegressor().fit(
            pa.table({"a": p.y, "b": p.codes.astype("M8[s]")}), p.y
        ),
        V,
        r"the columns \['b'\] hold dates",
    ),
    "an empty list": (lambda p: PerTaskRegressor().fit([], []), V, "Expected 2D array"),
    "a dict": (lambda p: PerTaskRegressor().fit({}, p.y), V, "Expected 2D array"),
    "NaN": (
        lambda p: PerTaskRegressor().fit(put(p.X, (0, 0), np.nan), p.y),
        V,
        "Input X contains NaN",
    ),
    "infinity": (
        lambda p: PerTaskRegressor().fit(put(p.X, (0, 0), np.inf), p.y),
        V,
        "Input X contains infinity",
    ),
    "NaN in a frame": (
        lambda p: column(p).predict(p.df.assign(u=np.nan)),
        V,
        "Input X contains NaN",
    ),
    "NaN in a sparse matrix": (
        lambda p: PerTaskRegressor().fit(sp.csr_array(put(p.X, (0, 0), np.nan)), p.y),
        V,
        "Input X contains NaN",
    ),
    "NaN in predict": (
        lambda p: long(p).predict(put(p.X, (0, 0), np.nan), task=p.task),
        V,
        "Input X contains NaN",
    ),
    "strings": (
        lambda p: PerTaskRegressor().fit(p.df, p.y),
        V,
        r"could not convert.*the columns \['school'\].*`task_column`",
    ),
    "strings beside the ids": (
        lambda p: PerTaskRegressor(task_column="school").fit(
            p.df.assign(town="x"), p.y
        ),
        V,
        r"could not convert.*the columns \['town'\].*OneHotEncoder",
    ),
    "strings in polars": (
        lambda p: PerTaskRegressor().fit(pl.from_pandas(p.df), p.y),
        V,
        "could not convert.*school",
    ),
    "one dimension": (
        lambda p: PerTaskRegressor().fit(p.X[:, 0], p.y),
        V,
        "Expected 2D array, got 1D array",
    ),
    "three dimensions": (lambda p: PerTaskRegressor().fit(p.X[None], p.y), V, "dim 3"),
    "no columns": (
        lambda p: PerTaskRegressor().fit(p.X[:, :0], p.y),
        V,
        r"0 feature\(s\)",
    ),
    "no rows": (
        lambda p: PerTaskRegressor().fit(p.X[:0], p.y[:0]),
        V,
        r"0 sample\(s\)",
    ),
    "complex": (
        lambda p: PerTaskRegressor().fit(p.X + 1j, p.y),
        V,
        "Complex data not supported",
    ),
    "another number in predict": (
        lambda p: long(p).predict(p.X[:, :2], task=p.task),
        V,
        "2 features.*expecting 3",
    ),
    "other names in predict": (
        lambda p: column(p).predict(p.df.rename(columns={"u": "q"})),
        V,
        "feature names should match",
    ),
}

LABELS = {
    "None": (
        lambda p: labels(p, None),
        V,
        "requires y to be passed, but the target y is None",
    ),
    "NaN": (
        lambda p: labels(p, put(p.y, 0, np.nan), task=p.task),
        V,
        "Input y contains NaN",
    ),
    "infinity": (
        lambda p: labels(p, put(p.y, 0, np.inf), task=p.task),
        V,
        "Input y contains infinity",
    ),
    "infinity in a table": (
        lambda p: labels(p, put(p.Y, (0, 0), np.inf)),
        V,
        "Input y contains infinity",
    ),
    "nothing but NaN": (
        lambda p: labels(p, np.full((20, 3), np.nan)),
        V,
        "`y` has no label at all",
    ),
    "too few": (
        lambda p: labels(p, p.y[:-1], task=p.task),
        V,
        "inconsistent numbers of samples: 20 and 19",
    ),
    "no tasks": (lambda p: labels(p, p.Y[:, :0]), V, r"`y` must have shape.*\(20, 0\)"),
    "three dimensions": (
        lambda p: labels(p, p.Y[..., None]),
        V,
        r"`y` must have shape.*\(20, 5, 1\)",
    ),
    "sparse": (
        lambda p: labels(p, sp.csr_array(p.Y)),
        E,
        "Sparse `y` is not supported.*toarray",
    ),
    "complex": (lambda p: labels(p, p.y + 1j), V, "Complex data not supported"),
    "strings": (
        lambda p: labels(p, p.task),
        V,
        "`y` must be numeric for a regression, got strings such as 'a'",
    ),
    "a table with ids": (
        lambda p: labels(p, p.Y, task=p.task),
        V,
        "`y` has 5 columns, but every row of X names its task",
    ),
    "a table with a column of ids": (
        lambda p: PerTaskRegressor(task_column="school").fit(p.df, p.Y),
        V,
        "`y` has 5 columns, but every row of X names its task",
    ),
    "dates": (
        lambda p: labels(p, p.codes.astype("M8[D]")),
        V,
        "`y` must hold numbers, got dates or durations such as '1970-01-01'",
    ),
    "durations": (
        lambda p: labels(p, pd.Series(p.codes.astype("m8[s]"))),
        V,
        "`y` must hold numbers, got dates or durations",
    ),
    "dates among objects": (
        lambda p: labels(p, np.array(list(p.codes.astype("M8[D]")), dtype=object)),
        V,
        "`y` must hold numbers, got dates or durations",
    ),
    "stamps": (
        lambda p: labels(p, list(pd.Series(p.codes.astype("M8[s]")))),
        V,
        "`y` must hold numbers: .*Timestamp",
    ),
    "no number that large": (
        lambda p: labels(p, [10**400] * 20),
        V,
        "`y` must hold numbers: int too large",
    ),
    "too large": (
        lambda p: labels(p, p.y * 1e160),
        V,
        r"largest value of `y` must be no larger than 1e\+50, got .*e\+160",
    ),
    "one class": (
        lambda p: labels(p, np.ones(20), PerTaskClassifier(), task=p.task),
        V,
        "PerTaskClassifier needs at least two classes.*only one class: .?1",
    ),
    "one class in a table": (
        lambda p: labels(p, np.ones((20, 3)), MultiTaskSVM()),
        V,
        "MultiTaskSVM needs at least two classes",
    ),
    "one class with any weight": (
        lambda p: MultiTaskSVM().fit(p.X, p.label, 1.0 * p.label),
        V,
        "at least two classes over all tasks.*only one class: .?1",
    ),
    "numbers of a regression": (
        lambda p: labels(p, p.y, PerTaskClassifier(), task=p.task),
        V,
        "Unknown label type: continuous",
    ),
    "numbers of a regression in a table": (
        lambda p: labels(p, p.Y, MultiTaskSVM()),
        V,
        "Unknown label type: continuous",
    ),
    "NaN of a classification": (
        lambda p: labels(p, put(p.label, 0, np.nan, float), MultiTaskSVM()),
        V,
        "Input y contains NaN",
    ),
    "None of a classification": (
        lambda p: labels(p, put(p.task, 0, None, object), MultiTaskSVM()),
        V,
        "Input y contains NaN",
    ),
    "nothing but None": (
        lambda p: labels(p, np.full((20, 3), None), MultiTaskSVM()),
        V,
        "`y` has no label at all",
    ),
    "mixed labels": (
        lambda p: labels(p, put(p.task, 0, 3, object), MultiTaskSVM()),
        (V, E),
        "cannot be sorted|[Uu]nknown label type|mix",
    ),
}

WEIGHTS = {
    "dates": (
        lambda p: weights(p, p.codes.astype("m8[D]")),
        V,
        "`sample_weight` must hold numbers, got dates or durations",
    ),
    "too large": (
        lambda p: weights(p, np.full(20, 1e300)),
        V,
        r"weight of a row, .* must be no larger than 1e\+50, got 1e\+300",
    ),
    "too large together": (
        lambda p: MultiTaskSVM(C=1e40).fit(p.X, p.label, np.full(20, 1e40)),
        V,
        "weight of a row",
    ),
    "a strength too large": (
        lambda p: long(p, alpha=1e300),
        V,
        r"`alpha` must be no larger than 1e\+50, got 1e\+300",
    ),
    "negative": (
        lambda p: weights(p, put(np.ones(20), 0, -1)),
        V,
        "`sample_weight` must be non-negative, got -1",
    ),
    "NaN": (
        lambda p: weights(p, put(np.ones(20), 0, np.nan)),
        V,
        "`sample_weight` must be finite",
    ),
    "infinite": (
        lambda p: weights(p, put(np.ones(20), 0, np.inf)),
        V,
        "`sample_weight` must be finite",
    ),
    "too few": (
        lambda p: weights(p, np.ones(7)),
        V,
        r"`sample_weight` must have shape \(20,\), got \(7,\)",
    ),
    "a table for a vector": (
        lambda p: weights(p, np.ones((20, 5))),
        V,
        r"`sample_weight` must have shape \(20,\), got \(20, 5\)",
    ),
    "another table": (
        lambda p: table_weights(p, np.ones((20, 4))),
        V,
        r"`sample_weight` must have shape \(20,\) or \(20, 5\), got \(20, 4\)",
    ),
    "negative in a table": (
        lambda p: table_weights(p, put(np.ones((20, 5)), (3, 3), -1)),
        V,
        "`sample_weight` must be non-negative",
    ),
    "all zero": (
        lambda p: weights(p, np.zeros(20)),
        V,
        "`sample_weight` is zero everywhere",
    ),
    "strings": (lambda p: weights(p, p.task), V, "`sample_weight`"),
    "zero on every label": (
        lambda p: table_weights(p, put(np.zeros((20, 5)), (0, 0), 1) * np.isnan(p.Y)),
        V,
        "zero everywhere",
    ),
}

BAD = {
    f"{group}: {name}": case
    for group, cases in [
        ("parameter", PARAMETERS),
        ("task_column", COLUMNS),
        ("ids", IDS),
        ("X", FEATURES),
        ("y", LABELS),
        ("sample_weight", WEIGHTS),
    ]
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(p, name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words) as caught:
        call(p)
    assert not isinstance(caught.value, np.linalg.LinAlgError)
    assert "LinAlgError" not in repr(caught.value.__cause__)


def test_there_is_enough_bad_input():
    assert len(BAD) >= 100


@pytest.mark.parametrize("name", [name for name in BAD if "not definite" in name])
def test_the_message_of_a_matrix_is_not_that_of_lapack(p, name):
    with pytest.raises(ValueError) as caught:
        BAD[name][0](p)
    assert "leading minor" not in str(caught.value)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_failed_fit_leaves_no_model(p, estimator):
    model = estimator(relation="misspelt")
    with pytest.raises(ValueError):
        model.fit(p.X, p.label, task=p.task)
    assert not hasattr(model, "coef_")


# ---------------------------------------------------------------- what is accepted


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2), np.int64(3)])
def test_numbers_of_any_kind(value):
    assert check_number("C", value, 0, strict=True) is value


def test_limits_of_numbers():
    assert check_number("alpha", 0, 0) == 0
    assert check_number("rho", 1, 0, 1) == 1
    with pytest.raises(ValueError, match="`rho` must be finite and >= 0 and <= 1"):
        check_number("rho", 1.01, 0, 1)
    with pytest.raises(TypeError, match="`n` must be an integer"):
        check_number("n", 1.0, whole=True)


def test_choices_are_of_their_own_type():
    assert check_choice("mode", "a", ("a", "b")) == "a"
    assert check_choice("mode", np.array(["a"])[0], ("a", "b")) == "a"
    with pytest.raises(ValueError, match="`flag` must be one of True, False, got 1"):
        check_choice("flag", 1, (True, False))


def test_intercepts():
    modes = [check_intercept(value) for value in (True, "free", "shrunk", "shared")]
    assert modes == [FREE, FREE, SHRUNK, SHARED]
    assert check_intercept(False) == check_intercept(np.False_) == NONE


def test_sample_weights():
    assert check_sample_weight(None, (3,)) is None
    assert check_sample_weight(2, (3,)).tolist() == [2, 2, 2]
    assert check_sample_weight([True, False, True], (3,)).tolist() == [1, 0, 1]
    assert check_sample_weight(np.ones((3, 2), dtype=int), (3, 2)).shape == (3, 2)


def test_task_weights():
    tasks, counts = np.array(["a", "b", "c"]), np.array([6, 0, 2])
    assert check_task_weight(None, tasks, counts) is None
    assert check_task_weight({"b": 3}, tasks, counts).tolist() == [1, 3, 1]
    # n / (T n_t), T the tasks with labels
    balanced = check_task_weight("balanced", tasks, counts)
    assert balanced[[0, 2]].tolist() == [8 / (2 * 6), 8 / (2 * 2)]


def test_numpy_bools_and_whole_floats_are_what_they_say(p):
    model = PerTaskRegressor(fit_intercept=np.True_, warm_start=np.False_)
    model.fit(p.X, p.y, task=p.codes.astype(float))
    assert model.tasks_.dtype.kind == "i"
