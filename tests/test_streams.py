"""Streams: TaskMoments of batches, and estimators that learn from moments."""

import datetime
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

import mtlearn
from mtlearn import (
    Composition,
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMean,
    TaskGraph,
    TaskMoments,
)
from mtlearn.constraints import NonNegative
from mtlearn.model_selection import TaskStratifiedKFold
from mtlearn.moments import gather_moments, replay, stream_folds

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

NUMBERS = ("weight", "mean", "gram", "y_mean", "y_square", "cross")
D = 4


class Rows:
    """Rows of tasks that come one after the other: the last ids are new to the end."""

    def __init__(self, n=400, tasks="abcdef", seed=0, level=0.0):
        rng = np.random.default_rng(seed)
        task = np.sort(rng.choice(list(tasks), n))
        half = n // 2
        task[:half] = rng.permutation(task[:half])
        task[half:] = rng.permutation(task[half:])
        self.task = np.where(rng.random(n) < 0.3, tasks[0], task)
        self.X = rng.normal(size=(n, D)) + level
        W = {t: rng.normal(size=D) + 1.0 for t in tasks}
        z = [x @ W[t] for x, t in zip(self.X - level, self.task, strict=True)]
        self.y = np.array(z) + 0.5 * rng.normal(size=n) + level
        self.weight = rng.uniform(0.5, 2.0, n)
        self.weight[::17] = 0.0

    def parts(self, size=90):
        for low in range(0, len(self.y), size):
            s = slice(low, low + size)
            yield self.X[s], self.y[s], self.task[s], self.weight[s]

    @property
    def frame(self):
        columns = {f"x{j}": self.X[:, j] for j in range(D)}
        frame = pd.DataFrame(columns)
        frame.insert(2, "site", self.task)
        return frame.assign(y=self.y, w=self.weight)

    @property
    def moments(self):
        return TaskMoments.from_rows(self.X, self.y, self.task, self.weight)


@pytest.fixture
def rows():
    return Rows()


def assert_same(one, two, rtol=1e-12):
    assert_array_equal(one.tasks, two.tasks)
    assert_array_equal(one.counts, two.counts)
    assert one.n_samples == two.n_samples
    assert one.layout == two.layout
    first, second = one.sums.expand(), two.sums.expand()
    for name in NUMBERS:
        expected = getattr(second, name)
        size = np.abs(expected).max(initial=0.0)
        assert_allclose(getattr(first, name), expected, rtol=0, atol=rtol * size)


# ---------------------------------------------------------------- batches


NAMED = {"target": "y", "task": "site", "sample_weight": "w"}


def _pandas(frame, _):
    return (frame[low : low + 70] for low in range(0, len(frame), 70))


def _polars(frame, _):
    return pl.from_pandas(frame).iter_slices(70)


def _arrow(frame, _):
    return pa.Table.from_pandas(frame).to_batches(max_chunksize=70)


def _reader(frame, _):
    table = pa.Table.from_pandas(frame)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(70))


def _categories(frame, _):
    table = pa.Table.from_pandas(frame)
    place = table.column_names.index("site")
    return [table.set_column(place, "site", table["site"].dictionary_encode())]


def _parquet(frame, path):
    pa.parquet.write_table(pa.Table.from_pandas(frame), path / "f", row_group_size=99)
    return pa.parquet.ParquetFile(path / "f")


def _data_set(frame, path):
    for k in range(3):
        table = pa.Table.from_pandas(frame[k::3])
        pa.parquet.write_table(table, path / f"{k}.parquet")
    return pa.dataset.dataset(path)


def _parquet_data_set(frame, path):
    _data_set(frame, path)
    return pa.parquet.ParquetDataset(path)


def _duckdb(frame, _):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("rows", frame)
    return connection.sql("select * from rows")


def _duckdb_reader(frame, _):
    return _duckdb(frame, _).to_arrow_reader(128)


def _one_frame(frame, _):
    return frame


SOURCES = [
    _pandas,
    _polars,
    _arrow,
    _reader,
    _categories,
    _parquet,
    _data_set,
    _parquet_data_set,
    _duckdb,
    _duckdb_reader,
    _one_frame,
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("chosen", [False, True])
def test_batches_of_every_kind(rows, source, chosen, tmp_path):
    features = ["x3", "x0"] if chosen else None
    batches = source(rows.frame, tmp_path)
    found = TaskMoments.from_batches(batches, features=features, **NAMED)
    X = rows.X[:, [3, 0]] if chosen else rows.X
    assert_same(found, TaskMoments.from_rows(X, rows.y, rows.task, rows.weight))
    names = features or [f"x{j}" for j in range(D)]
    assert found.feature_names.tolist() == names
    assert found.columns[found.task_column] == "site"
    assert found.task_column == 2


@pytest.mark.parametrize("sparse", [False, True])
def test_batches_of_tuples(rows, sparse):
    parts = rows.parts()
    if sparse:
        parts = ((sp.csr_array(X), *rest) for X, *rest in parts)
    found = TaskMoments.from_batches(parts, target=None, task=None)
    assert_same(found, rows.moments)


def test_several_targets_in_batches(rows):
    rng = np.random.default_rng(3)
    Y = np.column_stack([rows.y, -rows.y, rows.y**2])
    Y[rng.random(Y.shape) < 0.3] = np.nan
    Y[:60, 1] = np.nan
    frame = pd.DataFrame(rows.X, columns=list("pqrs")).assign(
        one=Y[:, 0], two=Y[:, 1], three=Y[:, 2]
    )
    found = TaskMoments.from_batches(
        (frame[low : low + 60] for low in range(0, len(frame), 60)),
        target=["one", "two", "three"],
        task=None,
    )
    expected = TaskMoments.from_rows(
        rows.X, pd.DataFrame(Y, columns=["one", "two", "three"])
    )
    assert_same(found, expected)
    assert found.layout == "wide" and found.tasks.tolist() == ["one", "two", "three"]


def test_columns_of_labels_may_come_later(rows):
    early = pd.DataFrame({"one": rows.y[:200]})
    late = pd.DataFrame({"two": -rows.y[200:], "one": rows.y[200:]})
    found = TaskMoments.from_rows(rows.X[:200], early)
    found = found + TaskMoments.from_rows(rows.X[200:], late)
    Y = pd.concat([early, late])
    assert_same(found, TaskMoments.from_rows(rows.X, Y))


def test_complete_labels_keep_one_gram(rows):
    Y = np.column_stack([rows.y, -rows.y])
    parts = [(rows.X[k::3], Y[k::3]) for k in range(3)]
    found = TaskMoments.from_batches(parts, target=None, task=None)
    assert found.sums.gram.shape == (1, D, D)
    assert_same(found, TaskMoments.from_rows(rows.X, Y))


def test_empty_batches_change_nothing(rows):
    frame = rows.frame
    batches = [frame[:0], frame[:150], frame[:0], frame[150:], frame[:0]]
    assert_same(TaskMoments.from_batches(batches, **NAMED), rows.moments)
    nothing = TaskMoments.from_batches([frame[:0]], **NAMED)
    assert nothing.n_samples == 0 and nothing.n_tasks == 0
    assert_same(nothing + rows.moments, rows.moments)
    with pytest.raises(ValueError, match="of no row"):
        PerTaskRegressor().fit_moments(nothing)
    with pytest.raises(ValueError, match="`batches` is empty"):
        TaskMoments.from_batches([], **NAMED)


def test_one_batch_at_a_time(rows):
    alive = []

    def batches():
        for part in rows.parts(40):
            frame = pd.DataFrame(part[0]).rename(columns=str)
            frame = frame.assign(y=part[1], site=part[2], w=part[3])
            alive.append(sys.getrefcount(frame))
            yield frame
            # nobody but this generator still holds the batch of the last round
            assert sys.getrefcount(frame) <= alive[0] + 2

    TaskMoments.from_batches(batches(), **NAMED)
    assert len(alive) == 10


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f.drop(columns="y"), "Batch 1: `target` names 'y'"),
        (lambda f: f.drop(columns="site"), "Batch 1: `task` names 'site'"),
        (lambda f: f.drop(columns="w"), "Batch 1: `sample_weight` names 'w'"),
        (lambda f: f.drop(columns="x1"), "Batch 1: .*different features"),
        (lambda f: f.rename(columns={"x1": "z"}), "Batch 1: .*different features"),
        (lambda f: f.assign(x1=np.nan), "Batch 1: .*NaN"),
        (lambda f: f.assign(y=np.nan), "Batch 1: .*NaN"),
        (lambda f: f.assign(w=-1.0), "Batch 1: `sample_weight` must be non-neg"),
        (lambda f: f.assign(site=None), "Batch 1: `task` has missing ids"),
        (lambda f: f.assign(x1="a"), "Batch 1: .*could not convert"),
        (lambda f: f[["y", "site", "w"]], "Batch 1: no column is left"),
        (lambda f: (f, 1, 2, 3, 4), "Batch 1: expected a data frame"),
        (lambda f: 3.0, "Batch 1: expected a data frame"),
        (lambda f: f.assign(site=1), "types that cannot be sorted together"),
    ],
)
def test_a_bad_batch_is_named(rows, change, message):
    good = rows.frame
    with pytest.raises((ValueError, TypeError), match=message):
        TaskMoments.from_batches([good, change(good)], **NAMED)


@pytest.mark.parametrize("bad", ["rows.parquet", 3, None])
def test_what_brings_no_batches(bad):
    with pytest.raises(TypeError, match="`batches` must be an iterable"):
        TaskMoments.from_batches(bad, **NAMED)


def test_bad_rows(rows):
    for X, y, task, message in [
        (rows.X, rows.y[1:], rows.task, "inconsistent numbers of samples"),
        (rows.X, rows.y, rows.task[1:], "399 ids, but X has 400 rows"),
        (rows.X, None, rows.task, "`y` is missing"),
        (rows.X, np.tile(rows.y, (2, 1)).T, rows.task, "`y` must have shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            TaskMoments.from_rows(X, y, task)
    with pytest.raises(ValueError, match="came twice"):
        TaskMoments.from_rows(rows.frame, rows.y, rows.task, task_column="site")


def test_the_library_brings_no_frames():
    # scikit-learn itself looks for pandas
    script = """
import sys, sklearn.utils.estimator_checks
before = {*sys.modules}
import mtlearn
known = {'pandas', 'polars', 'pyarrow', 'duckdb', 'dask'}
print(known & ({*sys.modules} - before))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


# ---------------------------------------------------------------- arithmetic


def test_tasks_of_both_sides(rows):
    early = rows.task < "d"
    one = TaskMoments.from_rows(rows.X[early], rows.y[early], rows.task[early])
    two = TaskMoments.from_rows(rows.X[~early], rows.y[~early], rows.task[~early])
    every = TaskMoments.from_rows(rows.X, rows.y, rows.task)
    assert_same(one + two, every)
    assert_same(two + one, every)
    assert_same(sum([two, one]), every)
    assert_same(every - one, two, 1e-10)
    assert_same(
        one, TaskMoments.from_rows(rows.X[early], rows.y[early], rows.task[early])
    )
    assert (every - every).n_tasks == 0


@pytest.mark.parametrize("level", [1e6, -1e8])
def test_far_from_zero_nothing_is_lost(level):
    rows = Rows(3000, level=level)
    rows.X[:, 0] += np.linspace(0.0, 30.0, 3000)  # batches differ in their means
    # numbers near zero, exactly those that the rows hold
    near = TaskMoments.from_rows(rows.X - level, rows.y - level, rows.task, rows.weight)
    parts = rows.parts(37)
    found = TaskMoments.from_batches(parts, target=None, task=None)
    for moments in (rows.moments, found, found + rows.moments - rows.moments):
        for name in ("gram", "y_square", "cross"):
            expected = getattr(near.sums, name)
            size = np.abs(expected).max()
            got = getattr(moments.sums, name)
            assert_allclose(got, expected, rtol=0, atol=1e-12 * size)
    X, y = rows.X - level, rows.y - level
    expected = PerTaskRegressor().fit(X, y, rows.weight, task=rows.task).coef_
    coef = PerTaskRegressor().fit_moments(found).coef_
    assert_allclose(coef, expected, rtol=1e-10)


def test_debts_are_refused(rows):
    some = TaskMoments.from_rows(rows.X[:100], rows.y[:100], rows.task[:100])
    with pytest.raises(ValueError, match="more rows, or more weight"):
        some - (some + some)
    other = TaskMoments.from_rows(rows.X[:1], rows.y[:1], ["z"])
    with pytest.raises(ValueError, match=r"tasks that the others do not: \['z'\]"):
        some - other
    heavy = TaskMoments.from_rows(
        rows.X[:100], rows.y[:100], rows.task[:100], np.full(100, 2.0)
    )
    with pytest.raises(ValueError, match="more rows, or more weight"):
        some - heavy


def test_wide_moments_are_taken_away(rows):
    Y = np.column_stack([rows.y, -rows.y, rows.y])
    Y[::5, 1] = np.nan
    every = TaskMoments.from_rows(rows.X, Y)
    first = TaskMoments.from_rows(rows.X[:150], Y[:150])
    assert_same(every - first, TaskMoments.from_rows(rows.X[150:], Y[150:]), 1e-10)


def test_different_moments_do_not_mix(rows):
    long = rows.moments
    wide = TaskMoments.from_rows(rows.X, np.column_stack([rows.y, rows.y]))
    single = TaskMoments.from_rows(rows.X, rows.y)
    narrow = TaskMoments.from_rows(rows.X[:, :2], rows.y, rows.task)
    for other, message in [
        (wide, "an id for every row, and .* a column of labels"),
        (single, "an id for every row, and .* single task"),
        (narrow, "expected 4, got 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            long + other
        with pytest.raises(ValueError, match="different"):
            long - other
    three = TaskMoments.from_rows(rows.X, np.column_stack([rows.y] * 3))
    with pytest.raises(ValueError, match="a column for each of the 2 tasks, got 3"):
        wide + three
    with pytest.raises(TypeError):
        long + 1


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "ids",
    [
        ["north", "süd", "x" * 50],
        [3, -1, 2**62],
        [datetime.date(2026, 1, d) for d in (1, 2, 3)],
        [datetime.datetime(2026, 1, d, 5, 30) for d in (1, 2, 3)],
        pd.to_datetime(["2026-01-01 01:00", "2026-01-02 02:00", "2026-01-03 03:00"]),
    ],
)
def test_a_file_holds_everything(rows, ids, tmp_path):
    task = np.asarray(ids, dtype=object)[np.arange(400) % 3]
    frame = rows.frame.drop(columns=["y", "w"]).assign(site=task)
    moments = TaskMoments.from_rows(frame, rows.y, task_column="site")
    path = tmp_path / "moments"
    moments.save(path)
    loaded = TaskMoments.load(path)
    assert_same(loaded, moments, 0.0)
    assert [type(a) for a in loaded.tasks.tolist()] == [
        type(a) for a in moments.tasks.tolist()
    ]
    assert loaded.columns.tolist() == moments.columns.tolist()
    assert loaded.task_column == moments.task_column == 2
    assert_same(loaded + moments, moments + moments, 0.0)
    assert_same(pickle.loads(pickle.dumps(moments)), moments, 0.0)


def test_files_that_are_none(rows, tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="holds no moments"):
        TaskMoments.load(tmp_path / "other.npz")
    mixed = TaskMoments.from_rows(
        rows.X[:3], rows.y[:3], [("a", 1), ("b", 2), ("a", 1)]
    )
    with pytest.raises(TypeError, match="strings, integers or dates"):
        mixed.save(tmp_path / "mixed")


def test_wide_moments_in_a_file(rows, tmp_path):
    moments = TaskMoments.from_rows(rows.X, np.column_stack([rows.y, rows.y]))
    moments.save(tmp_path / "m.npz")
    loaded = TaskMoments.load(tmp_path / "m.npz")
    assert_same(loaded, moments, 0.0)
    assert loaded.columns is None and loaded.sums.gram.shape == (1, D, D)


# ---------------------------------------------------------------- rows again


@pytest.mark.parametrize("layout", ["long", "wide", "common"])
def test_replayed_rows_leave_the_same_moments(rows, layout):
    Y = np.column_stack([rows.y, -rows.y, rows.y])
    if layout == "wide":
        Y[::5, 1] = np.nan
    rows.X[:, 1] = 2.0 * rows.X[:, 0] + 1.0  # dependent
    rows.X[:, 2] = 3.0  # constant
    rows.X[:, 3] *= 1e-9
    moments = rows.moments
    if layout != "long":
        moments = TaskMoments.from_rows(rows.X, Y)
    again = gather_moments(replay(moments.sums))
    expected = moments.sums.expand()
    again = again.expand()
    scale = np.sqrt(np.einsum("ujj->uj", expected.gram))
    assert_allclose(
        again.gram,
        expected.gram,
        rtol=0,
        atol=1e-12 * (scale[:, :, None] * scale[:, None, :]).max(),
    )
    for name in ("weight", "mean", "y_mean", "y_square", "cross"):
        assert_allclose(
            getattr(again, name), getattr(expected, name), rtol=1e-9, atol=1e-12
        )


# ---------------------------------------------------------------- estimators


ESTIMATORS = [
    PerTaskRegressor(),
    PerTaskRegressor(alpha=0.0),
    PerTaskRegressor(alpha=3.0, relation=SharedMean(0.7), fit_intercept="shrunk"),
    PerTaskRegressor(relation="pooled", fit_intercept="shared"),
    PerTaskRegressor(relation="shared_mean", fit_intercept=False),
    PerTaskRegressor(relation="learned", tol=1e-12),
    PerTaskRegressor(relation="shared_mean", task_weight="balanced"),
    PerTaskRegressor(constraints=[NonNegative([0, 1])]),
    SharedFeatureRegressor(tol=1e-12),
    SharedFeatureRegressor(2, tol=1e-12),
    SharedFeatureRegressor(alpha=20.0, penalty="nuclear", tol=1e-12),
    SharedFeatureRegressor(alpha=20.0, penalty="l21", tol=1e-12),
    SharedFeatureRegressor(alpha=20.0, penalty="dirty", tol=1e-12),
    SharedFeatureRegressor(alpha=0.0, penalty="l21", tol=1e-12),
    MultiTaskBayesianRidge(tol=1e-8),
    MultiTaskBayesianRidge("full", shared_prior="flat", tol=1e-8),
    MultiTaskBayesianRidge(noise="task", max_iter=500),
]


def assert_same_model(found, expected, rtol=1e-8):
    for name in ("coef_", "intercept_", "shared_coef_", "shared_intercept_"):
        one, two = getattr(found, name), getattr(expected, name)
        assert_allclose(one, two, rtol=0, atol=rtol * np.abs(two).max(initial=1e-3))
    assert_array_equal(found.tasks_, expected.tasks_)
    assert found.n_features_in_ == expected.n_features_in_
    names = getattr(expected, "feature_names_in_", None)
    assert_array_equal(getattr(found, "feature_names_in_", None), names)
    assert found.optimality_ <= max(found.tol, expected.optimality_)
    fitted = {k for k in vars(expected) if k.endswith("_")}
    assert {k for k in vars(found) if k.endswith("_")} == fitted


@pytest.mark.parametrize("model", ESTIMATORS, ids=repr)
def test_all_ways_to_all_rows(rows, model):
    expected = _like(model).fit(rows.X, rows.y, rows.weight, task=rows.task)
    found = _like(model)
    for X, y, task, weight in rows.parts():
        found.partial_fit(X, y, weight, task=task)
    assert_same_model(found, expected)
    assert_same_model(_like(model).fit_moments(rows.moments), expected)


def _like(model):
    return type(model)(**model.get_params(deep=False))


@pytest.mark.parametrize("model", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("missing", [False, True])
def test_all_ways_to_several_targets(rows, model, missing):
    Y = np.column_stack([rows.y, rows.X @ [1.0, 2.0, 0.0, 0.0] + rows.y, -rows.y])
    if missing:
        Y[::3, 0] = Y[1::4, 1] = np.nan
    expected = _like(model).fit(rows.X, Y, rows.weight)
    found = _like(model)
    for low in range(0, 400, 90):
        s = slice(low, low + 90)
        found.partial_fit(rows.X[s], Y[s], rows.weight[s])
    assert_same_model(found, expected)
    assert_array_equal(found.predict(rows.X).shape, Y.shape)


@pytest.mark.parametrize(
    "model",
    [
        PerTaskRegressor(),
        PerTaskRegressor(constraints=[NonNegative([0])]),
        SharedFeatureRegressor(tol=1e-12),
        MultiTaskBayesianRidge(),
    ],
    ids=repr,
)
def test_a_fit_goes_on(rows, model):
    first, rest = slice(0, 200), slice(200, 400)
    found = _like(model).fit(rows.X[first], rows.y[first], task=rows.task[first])
    assert len(found.tasks_) < 6
    found = pickle.loads(pickle.dumps(found))
    found.partial_fit(rows.X[rest], rows.y[rest], task=rows.task[rest])
    assert_same_model(found, _like(model).fit(rows.X, rows.y, task=rows.task))


def test_task_weights_are_not_in_what_is_kept(rows):
    model = PerTaskRegressor(5.0, "shared_mean", task_weight={"a": 3.0})
    first, rest = slice(0, 200), slice(200, 400)
    found = _like(model).fit(rows.X[first], rows.y[first], task=rows.task[first])
    found.partial_fit(rows.X[rest], rows.y[rest], task=rows.task[rest])
    assert_same_model(found, _like(model).fit(rows.X, rows.y, task=rows.task))
    # a task that counts nothing in this fit may in the next one
    none = PerTaskRegressor(task_weight={"a": 0.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        none.fit(rows.X, rows.y, task=rows.task)
    with pytest.raises(ValueError, match="kept no moments"):
        none.partial_fit(rows.X, rows.y, task=rows.task)


def test_names_and_ids_of_frames(rows):
    frame = rows.frame.drop(columns=["y", "w"])
    expected = PerTaskRegressor(task_column="site").fit(frame, rows.y, rows.weight)
    found = PerTaskRegressor(task_column="site")
    for low in range(0, 400, 130):
        s = slice(low, low + 130)
        found.partial_fit(frame[s], rows.y[s], rows.weight[s])
    assert_same_model(found, expected)
    moments = TaskMoments.from_batches(rows.frame, **NAMED)
    for column in ("site", 2):
        model = PerTaskRegressor(task_column=column).fit_moments(moments)
        assert_same_model(model, expected)
        assert_allclose(model.predict(frame), expected.predict(frame))
    apart = PerTaskRegressor().fit_moments(moments)
    assert apart.feature_names_in_.tolist() == [f"x{j}" for j in range(D)]
    X = frame.drop(columns="site")
    assert_allclose(apart.predict(X, task=rows.task), expected.predict(frame))
    with pytest.raises(ValueError, match="not the column that the ids"):
        PerTaskRegressor(task_column=0).fit_moments(moments)
    with pytest.raises(ValueError, match="of ids beside no names"):
        PerTaskRegressor(task_column="site").fit_moments(rows.moments)
    with pytest.raises(ValueError, match="rows without ids"):
        single = TaskMoments.from_rows(rows.X, rows.y)
        PerTaskRegressor(task_column=0).fit_moments(single)
    by_place = PerTaskRegressor(task_column=0).fit_moments(rows.moments)
    mixed = np.column_stack([rows.task.astype(object), rows.X])
    assert_allclose(by_place.predict(mixed), expected.predict(frame))


def test_other_columns_are_refused(rows):
    frame = rows.frame.drop(columns=["y", "w"])
    model = PerTaskRegressor(task_column="site").partial_fit(frame, rows.y)
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame.rename(columns={"x0": "z"}), rows.y)
    bare = PerTaskRegressor().partial_fit(rows.X, rows.y, task=rows.task)
    with pytest.raises(ValueError, match="3 features, but PerTaskRegressor is exp"):
        bare.partial_fit(rows.X[:, :3], rows.y, task=rows.task)
    with pytest.raises(ValueError, match="different layouts"):
        bare.partial_fit(rows.X, rows.y)


@pytest.mark.parametrize("model", ESTIMATORS[::3], ids=repr)
def test_a_failed_step_changes_nothing(rows, model):
    model = _like(model).partial_fit(rows.X, rows.y, task=rows.task)
    before = pickle.dumps(model)
    bad = rows.X.copy()
    bad[3, 1] = np.nan
    for X, y, task in [
        (bad, rows.y, rows.task),
        (rows.X, rows.y[1:], rows.task),
        (rows.X, rows.y, np.arange(400)),
    ]:
        with pytest.raises((ValueError, TypeError)):
            model.partial_fit(X, y, task=task)
        assert pickle.dumps(model) == before
    with pytest.raises(TypeError, match="must be TaskMoments"):
        model.fit_moments(rows.X)
    assert pickle.dumps(model) == before


def test_moments_are_not_changed_by_what_comes_later(rows):
    moments = rows.moments
    copied = pickle.loads(pickle.dumps(moments))
    model = PerTaskRegressor(task_weight="balanced").fit_moments(moments)
    model.partial_fit(rows.X, rows.y, task=rows.task)
    assert_same(moments, copied, 0.0)


def test_relations_that_name_tasks_without_rows(rows):
    adjacency = np.ones((7, 7)) - np.eye(7)
    graph = TaskGraph(adjacency, tasks=list("abcdefz"))
    rules = Composition({"both": {"a": 1.0, "b": -0.5}})
    for relation in (graph, rules):
        model = PerTaskRegressor(relation=relation)
        expected = _like(model).fit(rows.X, rows.y, task=rows.task)
        found = _like(model)
        for low in range(0, 400, 200):
            s = slice(low, low + 200)
            found.partial_fit(rows.X[s], rows.y[s], task=rows.task[s])
        assert_same_model(found, expected)


def test_coefficients_that_the_rows_leave_open(rows):
    rows.X[:, 1] = rows.X[:, 0]
    rows.X[:, 2] = 5.0
    two = np.flatnonzero(rows.task == "c")[:2]
    keep = np.concatenate([np.flatnonzero(rows.task != "c"), two])
    X, y, task = rows.X[keep], rows.y[keep], rows.task[keep]
    for relation in ("independent", SharedMean(0.5)):
        model = PerTaskRegressor(0.0, relation)
        expected = _like(model).fit(X, y, task=task)
        found = _like(model).fit_moments(TaskMoments.from_rows(X, y, task))
        assert_same_model(found, expected, 1e-7)


def test_rows_that_were_chosen_instead_of_moments(rows):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 300)), rng.normal(size=40)
    task = np.arange(40) % 4
    model = PerTaskRegressor().fit(X, y, task=task)
    with pytest.raises(ValueError, match="kept no moments to go on from"):
        model.partial_fit(X, y, task=task)
    # from the beginning they may be had
    half = PerTaskRegressor().partial_fit(X[:20], y[:20], task=task[:20])
    half.partial_fit(X[20:], y[20:], task=task[20:])
    assert_same_model(half, model)


@pytest.mark.parametrize("model", [PerTaskClassifier(), MultiTaskSVM()], ids=repr)
def test_losses_that_need_the_rows_say_so(model):
    for name in ("fit_moments", "partial_fit"):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match="needs the rows .* PerTaskRegressor"):
            getattr(model, name)


def test_every_estimator_with_a_partial_fit_is_tested_here():
    known = {type(model).__name__ for model in ESTIMATORS + SEARCHES + CURVES}
    public = [getattr(mtlearn, name) for name in mtlearn.__all__]
    streams = {one.__name__ for one in public if hasattr(one, "partial_fit")}
    assert streams == known


# ---------------------------------------------------------------- folds


SEARCHES = [
    PerTaskRegressorCV(alphas=20),
    PerTaskRegressorCV(alphas=[1.0, 0.0], relation="pooled", fit_intercept=False),
    PerTaskRegressorCV(
        np.geomspace(1e3, 1e-2, 9), [0.0, 0.7], task_weight="balanced", margin=0.0
    ),
    SharedFeatureRegressorCV(
        alphas=[30.0, 3.0, 0.0], penalty=("l21", "nuclear"), tol=1e-12
    ),
    SharedFeatureRegressorCV((1, 2), alphas=6, fit_intercept="shrunk", tol=1e-12),
]


def hashed(weight, n_folds=5):
    """Pairs (train, test) of the rows that count."""
    counted = np.flatnonzero(weight)
    fold = stream_folds(len(counted), n_folds)
    return [(counted[fold != k], counted[fold == k]) for k in range(n_folds)]


def assert_same_search(found, expected):
    # below full rank the certificate promises less
    low = getattr(expected, "n_components_", None) is not None
    assert_same_model(found, expected, 1e-4 if low else 1e-8)
    assert_allclose(found.alphas_, expected.alphas_, rtol=1e-10)
    assert found.best_index_ == expected.best_index_
    assert_allclose(found.mse_grid_, expected.mse_grid_, rtol=1e-7)
    size = np.abs(expected.coef_path_).max()
    assert_allclose(found.coef_path_, expected.coef_path_, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("model", SEARCHES, ids=repr)
@pytest.mark.parametrize(("wide", "weighted"), [(False, True), (True, False)])
def test_folds_of_a_stream(rows, model, wide, weighted):
    weight = rows.weight if weighted else np.ones(400)
    y, task = rows.y, rows.task
    if wide:
        y = np.column_stack([y, rows.X @ [1.0, 2.0, 0.0, 0.0] + y, -y])
        y[::3, 0] = y[1::4, 1] = np.nan
    expected = _like(model).set_params(cv=hashed(weight))
    expected.fit(rows.X, y, weight, task=None if wide else task)
    found, parts = _like(model), []
    for low in range(0, 400, 90):
        s = slice(low, low + 90)
        parts.append((rows.X[s], y[s], None if wide else task[s], weight[s]))
        X, labels, ids, w = parts[-1]
        found.partial_fit(X, labels, w, task=ids)
    assert_same_search(found, expected)
    moments = TaskMoments.from_batches(parts, target=None, task=None, folds=5)
    again = _like(model).set_params(cv=5).fit_moments(moments)
    assert_same_search(again, expected)
    assert again.predict(rows.X, task=None if wide else task).shape == y.shape


GRID = np.geomspace(1e2, 1e-2, 5)


@pytest.mark.parametrize(
    "model",
    [
        PerTaskRegressorCV(GRID, n_jobs=2),
        PerTaskRegressorCV(GRID, one_standard_error="paired", warm_start=True),
        PerTaskRegressorCV(
            GRID, relation=TaskGraph(np.ones((7, 7)) - np.eye(7), tasks=[*"abcdefz"])
        ),
        PerTaskRegressorCV(GRID, relation=Composition({"both": {"a": 1.0, "b": -0.5}})),
        PerTaskRegressorCV(GRID, task_weight={"a": 0.0, "b": 3.0}),
        SharedFeatureRegressorCV(
            alphas=GRID, penalty="dirty", warm_start=True, tol=1e-12
        ),
        SharedFeatureRegressorCV(
            alphas=GRID, penalty="l21", fit_intercept="shared", tol=1e-12
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:1 of . tasks have no labels")
def test_folds_of_a_frame(rows, model):
    frame = rows.frame.drop(columns=["y", "w"])
    model = _like(model).set_params(task_column="site")
    expected = _like(model).set_params(cv=hashed(rows.weight))
    expected.fit(frame, rows.y, rows.weight)
    found = _like(model)
    for low in range(0, 400, 150):
        s = slice(low, low + 150)
        found.partial_fit(frame[s], rows.y[s], rows.weight[s])
    assert_same_search(found, expected)
    folds = TaskMoments.from_batches(rows.frame, folds=5, **NAMED)
    again = _like(model).fit_moments(folds)
    assert_same_search(again, expected)
    assert_allclose(again.predict(frame), expected.predict(frame), rtol=1e-6)


def test_weights_of_labels_in_folds(rows):
    rng = np.random.default_rng(5)
    Y = np.column_stack([rows.y, -rows.y])
    weight = rng.uniform(0.5, 2.0, Y.shape) * (rng.random(Y.shape) > 0.2)
    model = PerTaskRegressorCV(alphas=np.geomspace(1e2, 1e-2, 5))
    expected = _like(model).set_params(cv=hashed(np.ones(400)))
    expected.fit(rows.X, Y, weight)
    moments = TaskMoments.from_rows(rows.X, Y, sample_weight=weight, folds=5)
    assert_same_search(_like(model).fit_moments(moments), expected)


def test_folds_as_the_caller_has_them(rows):
    fold = TaskStratifiedKFold(4).split(rows.X, rows.y, groups=rows.task)
    tests = [test for _, test in fold]
    number = np.empty(400, dtype=int)
    for k, test in enumerate(tests):
        number[test] = k
    dealt = TaskMoments.from_rows(rows.X, rows.y, rows.task, rows.weight, folds=number)
    model = PerTaskRegressorCV(np.geomspace(1e2, 1e-2, 5))
    cv = TaskStratifiedKFold(4)
    expected = _like(model).set_params(cv=cv)
    expected.fit(rows.X, rows.y, rows.weight, task=rows.task)
    assert_same_search(_like(model).fit_moments(dealt), expected)
    # without weights, moments of any rows will do
    by_hand = [
        TaskMoments.from_rows(rows.X[test], rows.y[test], rows.task[test])
        for test in tests
    ]
    expected = _like(model).set_params(cv=cv).fit(rows.X, rows.y, task=rows.task)
    assert_same_search(_like(model).fit_moments(by_hand), expected)


def test_folds_of_machines_are_added(rows):
    whole = TaskMoments.from_rows(rows.X, rows.y, rows.task, rows.weight, folds=3)
    parts = [
        TaskMoments.from_rows(
            rows.X[s], rows.y[s], rows.task[s], rows.weight[s], folds=3
        )
        for s in (slice(0, 250), slice(250, 400))
    ]
    both = [one + two for one, two in zip(*parts, strict=True)]
    total = sum(both[1:], both[0])
    assert_same(total, sum(whole))
    plain = TaskMoments.from_rows(*(a[rows.weight > 0] for a in (rows.X, rows.y)))
    assert_allclose(total.plain.weight.sum(), plain.sums.weight.sum())
    # what is taken away is taken from both
    left = total - both[0]
    assert_allclose(left.plain.gram, (both[1] + both[2]).plain.gram, atol=1e-9)
    assert_allclose(left.plain.weight, left.counts)


def test_a_fold_in_a_file(rows, tmp_path):
    one, _ = TaskMoments.from_rows(rows.X, rows.y, rows.task, rows.weight, folds=2)
    one.save(tmp_path / "fold")
    loaded = TaskMoments.load(tmp_path / "fold")
    assert_same(loaded, one, 0.0)
    assert loaded.weighted
    assert_array_equal(loaded.plain.gram, one.plain.gram)
    rows.moments.save(tmp_path / "all")
    loaded = TaskMoments.load(tmp_path / "all")
    assert loaded.weighted and loaded.plain is None


def test_weights_that_come_late_leave_folds_whole(rows):
    one, two = slice(0, 150), slice(150, 400)
    X, y, task, weight = rows.X, rows.y, rows.task, rows.weight
    bare = TaskMoments.from_rows(X[one], y[one], task[one], folds=2)
    heavy = TaskMoments.from_rows(X[two], y[two], task[two], weight[two], folds=2)
    for total in (bare[0] + heavy[0], heavy[0] + bare[0]):
        assert total.weighted
        assert_allclose(total.plain.weight, total.counts)
    lost = TaskMoments.from_rows(X[two], y[two], task[two], weight[two])
    for total in (bare[0] + lost, lost + bare[0], lost + heavy[0], heavy[0] + lost):
        assert total.weighted and total.plain is None


def test_folds_without_rows_and_tasks_of_one_fold(rows):
    # few folds tell nothing apart: a single relation
    model = PerTaskRegressorCV(np.geomspace(1e2, 1e-2, 5), 0.7, fit_intercept="shared")
    X, y, task = rows.X[:12], rows.y[:12], np.arange(12) // 2
    first = slice(0, 4)
    assert len(np.unique(stream_folds(4))) < 5
    for s in (first, slice(4, 12)):
        model.partial_fit(X[s], y[s], task=task[s])
        n = s.stop
        expected = _like(model).set_params(cv=hashed(np.ones(n)))
        assert_same_search(model, expected.fit(X[:n], y[:n], task=task[:n]))
    with pytest.raises(ValueError, match="a fold with nothing to train on"):
        _like(model).partial_fit(X[:1], y[:1], task=task[:1])


def test_labels_that_are_met_exactly(rows):
    y = rows.X @ np.arange(1.0, D + 1.0) + 3.0
    model = PerTaskRegressorCV([1e-9, 0.0], relation="independent", fit_intercept=True)
    moments = TaskMoments.from_rows(rows.X, y, rows.task, folds=5)
    found = _like(model).fit_moments(moments)
    assert np.all(found.mse_path_ <= 1e-15 * y.var())
    assert_allclose(found.coef_, np.tile(np.arange(1.0, D + 1.0), (6, 1)), rtol=1e-8)


@pytest.mark.parametrize("model", [SEARCHES[0], SEARCHES[3]], ids=repr)
def test_folds_that_moments_do_not_have(rows, model):
    folds = TaskMoments.from_rows(rows.X, rows.y, rows.task, folds=3)
    heavy = rows.moments
    changed = [
        ({}, rows.moments, TypeError, "needs the moments of each fold"),
        ({}, rows.X, TypeError, "must be a list of TaskMoments"),
        ({}, [rows.X] * 3, TypeError, "must be a list of TaskMoments"),
        ({}, folds[:1], ValueError, "at least 2 folds, got 1"),
        ({}, [heavy, heavy], ValueError, "weighted rows and do not tell"),
        ({"cv": 4}, folds, ValueError, "`cv`=4, but `moments` are of 3 folds"),
        ({"cv": TaskStratifiedKFold(3)}, folds, ValueError, "`cv` must be a number"),
        ({"scoring": "r2"}, folds, ValueError, "`scoring` must be None"),
    ]
    for parameters, moments, error, message in changed:
        one = _like(model).set_params(**parameters)
        with pytest.raises(error, match=message):
            one.fit_moments(moments)
        if parameters and "of 3" not in message:
            with pytest.raises(error, match=message):
                one.partial_fit(rows.X, rows.y, task=rows.task)
    # folds that test rows twice, or not at all
    twice = _like(model).set_params(cv=[(np.arange(99), np.arange(50, 400))])
    twice.fit(rows.X, rows.y, task=rows.task).set_params(cv=None)
    with pytest.raises(ValueError, match="or its folds do not part these: begin"):
        twice.partial_fit(rows.X, rows.y, task=rows.task)


@pytest.mark.parametrize("model", [SEARCHES[0], SEARCHES[3]], ids=repr)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_search_goes_on(rows, model, wide, weighted):
    """Rows that are new join the folds of the fit, by the hash of their positions."""
    first, rest = slice(0, 250), slice(250, 400)
    weight = rows.weight if weighted else np.ones(400)
    y, task = rows.y, rows.task
    if wide:
        y = np.column_stack([y, rows.X @ [1.0, 2.0, 0.0, 0.0] + y, -y])
        y[::3, 0] = np.nan
    used = [rows.X, y, None if wide else task, weight]

    def some(s):
        X, y, task, weight = (None if one is None else one[s] for one in used)
        return {"X": X, "y": y, "sample_weight": weight, "task": task}

    counted = np.flatnonzero(weight[first])
    fold, n = np.arange(len(counted)) % 5, len(counted)
    dealt = [(counted[fold != k], counted[fold == k]) for k in range(5)]
    found = _like(model).set_params(cv=dealt).fit(**some(first)).set_params(cv=None)
    found = pickle.loads(pickle.dumps(found)).partial_fit(**some(rest))
    more = 250 + np.flatnonzero(weight[rest])
    later = stream_folds(len(more), 5, start=n)
    rows_, fold = np.append(counted, more), np.append(fold, later)
    both = [(rows_[fold != k], rows_[fold == k]) for k in range(5)]
    expected = _like(model).set_params(cv=both).fit(**some(slice(0, 400)))
    assert_same_search(found, expected)


def test_bad_folds(rows):
    what = rows.X, rows.y, rows.task
    for folds in (1, 0, True, 2.5, "five"):
        with pytest.raises(ValueError, match="`folds` must be a whole number"):
            TaskMoments.from_rows(*what, folds=folds)
        with pytest.raises(ValueError, match="`folds` must be a whole number"):
            TaskMoments.from_batches([what], target=None, task=None, folds=folds)
    with pytest.raises(ValueError, match="`folds` has 3 numbers, but X has 400"):
        TaskMoments.from_rows(*what, folds=[0, 1, 2])
    with pytest.raises(ValueError, match="the fold of each row, numbered from 0"):
        TaskMoments.from_rows(*what, folds=np.full(400, -1))
    with pytest.raises(ValueError, match="`batches` is empty"):
        TaskMoments.from_batches([], target=None, task=None, folds=2)


def test_a_hash_deals_evenly():
    fold = stream_folds(100_000, 7)
    assert_allclose(np.bincount(fold), 100_000 / 7, rtol=0.03)
    # rows that come in turns do not stay together
    for period in (2, 5, 7, 64):
        assert np.bincount(fold[::period], minlength=7).min() > 0.1 * 100_000 / period
    assert_array_equal(stream_folds(10, 7, start=90), fold[90:100])


# ---------------------------------------------------------------- curves


KNOTS = {j: np.linspace(-2.0, 2.0, 4 + j) for j in range(D)}
CURVES = [
    MultiTaskAdditiveRegressor(knots=KNOTS, interactions=False),
    MultiTaskAdditiveRegressor(
        knots=list(KNOTS.values()), interactions=[(0, 2)], own_curves=[1]
    ),
    MultiTaskAdditiveRegressor(
        knots=[[-1.0, 1.0]] * D, interactions=False, fit_intercept=False
    ),
]


@pytest.fixture
def bent():
    """Rows of which one feature bends."""
    rows = Rows()
    rows.y = rows.y + 2.0 * np.sin(2.0 * rows.X[:, 1])
    return rows


def assert_same_curves(found, expected, X, task):
    assert_same_model(found, expected)
    assert_array_equal(found.term_names_, expected.term_names_)
    assert found.own_curves_ == expected.own_curves_
    assert found.interactions_ == expected.interactions_
    assert_allclose(found.log_likelihood_, expected.log_likelihood_, rtol=1e-9)
    for one, two in zip(
        found.predict(X, return_std=True, task=task),
        expected.predict(X, return_std=True, task=task),
        strict=True,
    ):
        assert_allclose(one, two, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("model", CURVES, ids=["curves", "pairs", "lines"])
@pytest.mark.parametrize("wide", [False, True])
def test_curves_of_a_stream(bent, model, wide):
    X, y, task, weight = bent.X, bent.y, bent.task, bent.weight
    if wide:
        y, task = np.column_stack([y, X @ [1.0, 2.0, 0.0, 0.0] + y, -y]), None
        y[::3, 0] = y[1::4, 1] = np.nan
    expected = _like(model).fit(X, y, weight, task=task)
    found, parts = _like(model), []
    for low in range(0, 400, 90):
        s = slice(low, low + 90)
        what = X[s], y[s], weight[s]
        ids = None if wide else task[s]
        found.partial_fit(*what, task=ids)
        parts.append(model.term_moments(*what, task=ids))
    assert not hasattr(model, "tasks_")
    assert_same_curves(found, expected, X, task)
    assert_same_curves(_like(model).fit_moments(sum(parts)), expected, X, task)


@pytest.mark.parametrize("column", ["site", 2])
def test_curves_and_levels_of_frames(bent, column, tmp_path):
    kind = np.array(["wood", "stone", "clay"])[np.arange(400) % 3]
    frame = bent.frame.drop(columns=["y", "w"])
    frame.insert(4, "kind", kind)
    y = bent.y + (kind == "clay")
    knots = {f"x{j}": KNOTS[j] for j in (2, 3, 0, 1)}
    knots["kind"] = ["clay", "stone", "wood", "straw"]
    model = MultiTaskAdditiveRegressor(
        knots=knots, interactions=[("x0", "kind")], task_column=column
    )
    expected = _like(model).fit(frame, y)
    assert "kind=straw" in expected.term_names_
    found, total = _like(model), 0
    for low in range(0, 400, 130):
        s = slice(low, low + 130)
        found.partial_fit(frame[s], y[s])
        total = total + model.term_moments(frame[s], y[s])
    assert_same_curves(found, expected, frame, None)
    total.save(tmp_path / "terms")
    again = _like(model).fit_moments(TaskMoments.load(tmp_path / "terms"))
    assert_same_curves(again, expected, frame, None)
    curve, same = again.curve("kind"), expected.curve("kind")
    assert curve.values.tolist() == knots["kind"]
    assert_allclose(curve.tasks, same.tasks, rtol=1e-7)


def test_given_knots_are_about_as_good(bent):
    knots = dict.fromkeys(range(D), np.linspace(-2.5, 2.5, 10))
    given = MultiTaskAdditiveRegressor(knots=knots, interactions=False)
    given.fit(bent.X, bent.y, task=bent.task)
    free = MultiTaskAdditiveRegressor(interactions=False)
    free.fit(bent.X, bent.y, task=bent.task)
    one, two = (m.predict(bent.X, task=bent.task) - bent.y for m in (given, free))
    assert np.std(one) < 1.1 * np.std(two)
    line = MultiTaskBayesianRidge().fit(bent.X, bent.y, task=bent.task)
    assert np.std(one) < 0.7 * np.std(line.predict(bent.X, task=bent.task) - bent.y)
    # of one feature, the others as ever
    some = MultiTaskAdditiveRegressor(knots={1: [-2, 0, 2]}, interactions=False)
    some.fit(bent.X, bent.y, task=bent.task)
    assert sum("x1 (" in name for name in some.term_names_) == 1
    assert sum("x2 (" in name for name in some.term_names_) > 1


def test_curves_need_knots(bent):
    what = {"X": bent.X, "y": bent.y, "task": bent.task}
    for name in ("fit_moments", "partial_fit", "term_moments"):
        assert not hasattr(MultiTaskAdditiveRegressor(), name)
        with pytest.raises(AttributeError, match="only with `knots` given"):
            getattr(MultiTaskAdditiveRegressor(), name)
    for changed, message in [
        ({"interactions": "auto"}, "`interactions`='auto' looks at single rows"),
        ({"knots": {0: [0, 1], 3: [0, 1]}}, r"none are for \[1, 2\]"),
        ({"knots": [[0, 1], None, [0, 1], [0, 1]]}, r"none are for \[1\]"),
    ]:
        model = _like(CURVES[0]).set_params(**changed)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(**what)
    for moments in (
        bent.moments,
        _like(CURVES[2]).term_moments(**what),
        TaskMoments.from_rows(np.ones((9, 14)), np.ones(9)),
    ):
        with pytest.raises(ValueError, match="make them with term_moments"):
            _like(CURVES[0]).fit_moments(moments)
    knots = {0: [0, 1]}
    fitted = _like(CURVES[0]).set_params(knots=knots).fit(**what)
    with pytest.raises(ValueError, match="or its terms depend on these: begin"):
        fitted.partial_fit(**what)


def test_a_fit_of_curves_goes_on(bent):
    for X in (bent.X, bent.frame[[f"x{j}" for j in range(D)]]):
        first, rest = slice(0, 200), slice(200, 400)
        found = _like(CURVES[0]).fit(X[first], bent.y[first], task=bent.task[first])
        assert len(found.tasks_) < 6
        found = pickle.loads(pickle.dumps(found))
        found.partial_fit(X[rest], bent.y[rest], task=bent.task[rest])
        expected = _like(CURVES[0]).fit(X, bent.y, task=bent.task)
        assert_same_curves(found, expected, X, bent.task)


def test_given_knots_need_no_stream(bent):
    # by the rows, as pairs are looked for there
    kinds = [_like(CURVES[0]).set_params(interactions=i) for i in (False, "auto")]
    one, two = (m.fit(bent.X, bent.y, task=bent.task) for m in kinds)
    assert two.interactions_ == []
    assert_same_curves(one, two, bent.X, bent.task)


@pytest.mark.parametrize(
    "knots, error, message",
    [
        (3, TypeError, "`knots` must be a dict"),
        ("x0", TypeError, "`knots` must be a dict"),
        ({0: [1.0]}, ValueError, "`knots` of 0 must be two or more finite"),
        ({0: [0, 1, 1]}, ValueError, "that increase"),
        ({0: [2, 1]}, ValueError, "that increase"),
        ({0: [0, np.inf]}, ValueError, "finite"),
        ({0: 5}, ValueError, "two or more"),
        ({9: [0, 1]}, ValueError, "`knots` must hold names, or positions"),
        ({"z": [0, 1]}, ValueError, "`knots` names 'z'"),
        ({0: [0, 1], -4: [0, 1]}, ValueError, "two entries for the feature -4"),
        ([[0, 1]], ValueError, "one entry for each of the 4 features"),
        ({0: ["a", "b"]}, ValueError, "only columns of data frames"),
        ({"x": ["a", "a"]}, ValueError, "levels twice for 'x'"),
        ({"x": ["a", "b"]}, ValueError, "X has no such columns"),
    ],
)
def test_bad_knots(rows, knots, error, message):
    model = MultiTaskAdditiveRegressor(knots=knots)
    with pytest.raises(error, match=message):
        model.fit(rows.X, rows.y, task=rows.task)


def test_a_category_has_no_knots(rows):
    frame = pd.DataFrame({"kind": np.where(rows.X[:, 0] > 0, "a", "b")})
    model = MultiTaskAdditiveRegressor(knots={"kind": [0.0, 1.0]})
    with pytest.raises(ValueError, match="numbers for the category 'kind'"):
        model.fit(frame, rows.y, task=rows.task)


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("n, tasks", [(400_000, 50), (200_000, 40_000)])
def test_sums_do_not_depend_on_the_number_of_threads(n, tasks, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 3)), rng.normal(size=n)
    task = rng.integers(0, tasks, n)
    found = []
    for n_threads in (1, 2, 5):
        counted = "mtlearn.problem.threads.count_threads"
        monkeypatch.setattr(counted, lambda k=n_threads: k)
        found.append(TaskMoments.from_rows(X, y, task))
    for other in found[1:]:
        for name in NUMBERS:
            one, two = getattr(found[0].sums, name), getattr(other.sums, name)
            assert_array_equal(one, two)
    one = TaskMoments.from_rows(X[::2], y[::2], task[::2])
    assert_same(one + TaskMoments.from_rows(X[1::2], y[1::2], task[1::2]), found[0])


def test_no_more_threads_than_the_caller_allows():
    from threading import Thread

    from threadpoolctl import threadpool_limits

    from mtlearn.problem.threads import count_threads, in_threads

    with threadpool_limits(1):
        assert count_threads() == 1
    found = []
    thread = Thread(target=lambda: found.append(count_threads()))
    thread.start()
    thread.join()
    assert found == [1]
    assert in_threads(lambda k: k * k, list(range(9))) == [k * k for k in range(9)]


def test_threads_follow_numba_and_joblib():
    script = """
import numba
from joblib import Parallel, delayed
from mtlearn.problem.threads import count_threads

print(numba.np.ufunc.parallel._is_initialized, end=" ")
count_threads()
print(numba.np.ufunc.parallel._is_initialized, end=" ")
numba.set_num_threads(1)
print(count_threads(), end=" ")
cores = __import__("os").cpu_count()
print(*Parallel(n_jobs=cores)(delayed(count_threads)() for _ in range(2)))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    # asking starts no threads; a limit is kept; workers share the cores
    assert run.stdout.split() == ["False", "False", "1", "1", "1"], run.stderr
