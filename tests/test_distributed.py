"""Dask collections: the same models as of rows in one place, and what goes wrong."""

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from cases import cover
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from mtlearn import (
    Composition,
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskClassifier,
    PerTaskClassifierCV,
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMappingRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.constraints import NonNegative
from mtlearn.solvers.related import passes
from mtlearn.solvers.related.newton import solve_newton

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

dask = pytest.importorskip("dask", reason="Dask is not installed")
pytest.importorskip("dask.dataframe", reason="Dask's data frames are not installed")
distributed = pytest.importorskip(
    "distributed", reason="Dask's distributed scheduler is not installed"
)
da, dd = pytest.importorskip("dask.array"), pytest.importorskip("dask.dataframe")

TASKS = ("east", "mid", "north", "south", "west")
N, D = 400, 4
SHARP = 1e-12  # a tolerance at which logistic models agree to many digits
CHUNK = 90


class Rows:
    """Rows of tasks, ids scattered over all of them; the last task has one class."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.codes = rng.choice(len(TASKS), N, p=(0.3, 0.02, 0.3, 0.3, 0.08))
        self.task = np.array(TASKS)[self.codes]
        self.X = rng.normal(size=(N, D)) + 2.0
        W = rng.normal(size=(len(TASKS), D)) + 0.5
        z = ((self.X - 2.0) * W[self.codes]).sum(axis=1) + rng.normal(size=N)
        self.number = z + 5.0
        self.two = np.where((z > 0) | (self.codes == 4), "yes", "no")
        self.three = np.digitize(z, [-1.0, 1.0]) + 10
        self.weight = rng.uniform(0.5, 2.0, N)
        self.weight[::17] = 0.0
        columns = {name: x for name, x in zip("abcd", self.X.T, strict=True)}
        self.frame = pd.DataFrame(columns)
        self.frame.insert(2, "site", self.task)

    def split(self, values, chunk=CHUNK):
        """An array in chunks."""
        return da.from_array(values, chunks=(chunk, *values.shape[1:]))


@pytest.fixture(scope="module")
def rows():
    return Rows()


@pytest.fixture
def here():
    """No processes: partitions one after the other."""
    with dask.config.set(scheduler="synchronous"):
        yield


ESTIMATORS = {
    "regressor": (PerTaskRegressor(2.0), "number"),
    "two classes": (PerTaskClassifier(0.7), "two"),
    "three classes": (PerTaskClassifier(0.7), "three"),
    "machine": (MultiTaskSVM(0.7), "two"),
    "machine of three": (MultiTaskSVM(0.7, class_weight="balanced"), "three"),
    "tube": (MultiTaskSVR(0.7, epsilon=0.4), "number"),
    "no tube": (MultiTaskSVR(0.7), "number"),
}
RELATIONS = {
    "independent": "independent",
    "shared mean": SharedMean(0.7),
    "pooled": "pooled",
    "graph": TaskGraph(np.ones((5, 5)) - np.eye(5)),
    "covariance": TaskCovariance(0.5 * np.eye(5) + 0.5),
    "composition": Composition({"west": {"east": 0.5, "north": 0.5}}, SharedMean(0.5)),
}
MODES = (True, "shrunk", "shared", False)


def assert_same_model(one, two, rtol=1e-8):
    """Equal up to what sums in another order leave."""
    assert_array_equal(one.tasks_, two.tasks_)
    scale = np.abs(two.coef_).max()
    for name in ("coef_", "intercept_", "shared_coef_", "shared_intercept_"):
        atol = rtol * max(1.0, scale)
        assert_allclose(
            getattr(one, name), getattr(two, name), rtol=rtol, atol=atol, err_msg=name
        )
    # where contributions are counted from
    assert_allclose(one._centre, two._centre)
    assert one.n_features_in_ == two.n_features_in_


# ---------------------------------------------------------------- the same model


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "relation", "mode"), cover(tuple(ESTIMATORS), tuple(RELATIONS), MODES)
)
def test_same_as_in_one_place(rows, name, relation, mode):
    estimator, target = ESTIMATORS[name]
    how = {"relation": RELATIONS[relation], "fit_intercept": mode}
    if mode == "shrunk":
        how["intercept_strength"] = 0.3
    estimator = clone(estimator).set_params(**how)
    y = getattr(rows, target)
    plain = clone(estimator)
    plain.fit(rows.X, y, rows.weight, task=rows.task)
    split = [rows.split(one) for one in (rows.X, y, rows.weight, rows.task)]
    X, y, weight, task = split
    spread = estimator.fit(X, y, weight, task=task)
    assert_same_model(spread, plain)
    assert spread.n_iter_ == plain.n_iter_
    assert spread.optimality_ <= spread._tolerance()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("weights", ["balanced", {"east": 3.0}])
def test_task_weights(rows, name, weights):
    estimator, target = ESTIMATORS[name]
    estimator = clone(estimator).set_params(task_weight=weights)
    y = getattr(rows, target)
    plain = clone(estimator)
    plain.fit(rows.X, y, task=rows.codes if weights == "balanced" else rows.task)
    task = rows.split(rows.codes if weights == "balanced" else rows.task)
    estimator.fit(rows.split(rows.X), rows.split(y), task=task)
    assert_same_model(estimator, plain)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (PerTaskRegressor(relation="learned"), "number"),
        (PerTaskRegressor(constraints=[NonNegative()]), "number"),
        (SharedFeatureRegressor(2), "number"),
        (SharedFeatureRegressor(alpha=5.0, penalty="l21"), "number"),
        (MultiTaskBayesianRidge(), "number"),
        (MultiTaskBayesianRidge("full", noise="task"), "number"),
    ],
)
def test_what_moments_serve(rows, estimator, target):
    y = getattr(rows, target)
    plain = clone(estimator).fit(rows.X, y, task=rows.task)
    split = clone(estimator)
    split.fit(rows.split(rows.X), rows.split(y), task=rows.split(rows.task))
    assert_same_model(split, plain, rtol=1e-6)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "estimator",
    [
        PerTaskRegressorCV(alphas=5),
        PerTaskRegressorCV(alphas=[1.0, 10.0], cv=3, relation=SharedMean(0.5)),
        SharedFeatureRegressorCV(alphas=4, penalty="l21"),
    ],
)
def test_folds_of_partitions(rows, estimator, weighted):
    """A row's fold follows from its position among all, as in a stream."""
    weight = rows.weight if weighted else None
    stream = clone(estimator).partial_fit(rows.X, rows.number, weight, task=rows.task)
    what = rows.split(rows.X), rows.split(rows.number)
    how = {"task": rows.split(rows.task)}
    if weighted:
        how["sample_weight"] = rows.split(weight)
    split = clone(estimator).fit(*what, **how)
    assert_allclose(split.mse_path_, stream.mse_path_, rtol=1e-8)
    assert split.alpha_ == pytest.approx(stream.alpha_, rel=1e-8)
    assert_same_model(split, stream, rtol=1e-6)
    half = slice(0, 2 * CHUNK)
    how = {k: v[half] for k, v in how.items()}
    first = clone(estimator).fit(*(one[half] for one in what), **how)
    rest = None if weight is None else weight[2 * CHUNK :]
    first.partial_fit(
        rows.X[2 * CHUNK :], rows.number[2 * CHUNK :], rest, task=rows.task[2 * CHUNK :]
    )
    assert_same_model(first, stream, rtol=1e-6)


@pytest.mark.usefixtures("here")
def test_curves_of_partitions(rows):
    """With knots given for every feature, their terms add up like lines."""
    knots = {j: [0.0, 2.0, 4.0] for j in range(D)}
    model = MultiTaskAdditiveRegressor(knots=knots, interactions=False)
    plain = clone(model).fit(rows.X, rows.number, task=rows.task)
    what = rows.split(rows.X), rows.split(rows.number)
    split = clone(model).fit(*what, task=rows.split(rows.task))
    assert_same_model(split, plain, rtol=1e-6)
    part = clone(model).partial_fit(*what, task=rows.split(rows.task))
    assert_same_model(part, plain, rtol=1e-6)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_data_frames(rows, name):
    """Columns keep their names; string ids, some partitions without some tasks."""
    estimator, target = ESTIMATORS[name]
    estimator = clone(estimator).set_params(
        task_column="site", relation=SharedMean(0.6)
    )
    whole = rows.frame.assign(y=getattr(rows, target)).sort_values("site")
    frame = dd.from_pandas(whole, npartitions=5, sort=False)
    columns = list(rows.frame)
    plain = clone(estimator)
    plain.fit(whole[columns], whole["y"])
    estimator.fit(frame[columns], frame["y"])
    assert_same_model(estimator, plain)
    assert_array_equal(estimator.feature_names_in_, plain.feature_names_in_)
    fitted = estimator.predict(frame[columns])
    assert isinstance(fitted, da.Array)
    expected = plain.predict(whole[columns])
    if expected.dtype.kind == "f":
        assert_allclose(fitted.compute(), expected, rtol=1e-7, atol=1e-7)
    else:
        assert_array_equal(fitted.compute(), expected)
    score = estimator.score(frame[columns], frame["y"])
    assert score == pytest.approx(plain.score(whole[columns], whole["y"]), abs=1e-7)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["regressor", "two classes", "three classes", "tube"])
def test_wide(rows, name):
    """A column of labels for each task, NaN where one is missing."""
    estimator, target = ESTIMATORS[name]
    estimator = clone(estimator)
    rng = np.random.default_rng(3)
    label = getattr(rows, target)
    label = np.unique(label, return_inverse=True)[1] if name != "regressor" else label
    Y = np.column_stack([label, rng.permutation(label), label]).astype(float)
    Y[rng.random(Y.shape) < 0.3] = np.nan
    plain = clone(estimator).fit(rows.X, Y)
    split = estimator.fit(rows.split(rows.X), rows.split(Y))
    assert_same_model(split, plain)


@pytest.mark.usefixtures("here")
def test_many_features():
    """More than are compiled as a whole."""
    rng = np.random.default_rng(1)
    X, task = rng.normal(size=(300, 20)), rng.integers(0, 3, 300)
    y = (X[:, 0] + rng.normal(size=300) > 0).astype(int)
    plain = PerTaskClassifier(0.1, tol=SHARP).fit(X, y, task=task)
    split = PerTaskClassifier(0.1, tol=SHARP).fit(
        da.from_array(X, chunks=(80, 7)),
        da.from_array(y, chunks=50),
        task=da.from_array(task, chunks=300),
    )
    assert_same_model(split, plain)


@pytest.mark.usefixtures("here")
def test_features_far_from_zero(rows):
    X = rows.X + 1e6
    plain = MultiTaskSVM().fit(X, rows.two, task=rows.task)
    split = MultiTaskSVM().fit(
        rows.split(X), rows.split(rows.two), task=rows.split(rows.task)
    )
    assert_same_model(split, plain, rtol=1e-6)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["two classes", "tube"])
def test_warm_start(rows, name):
    estimator, target = ESTIMATORS[name]
    model = clone(estimator).set_params(warm_start=True, relation=SharedMean(0.5))
    y = getattr(rows, target)
    model.fit(rows.X, y, task=rows.task)
    before = model.coef_.copy()
    model.fit(rows.split(rows.X), rows.split(y), task=rows.split(rows.task))
    assert model.n_iter_ == 1
    assert_allclose(model.coef_, before, rtol=1e-4)


@pytest.mark.usefixtures("here")
def test_partial_fit(rows):
    model = PerTaskRegressor()
    X, y, task = (rows.split(one) for one in (rows.X, rows.number, rows.task))
    model.partial_fit(X[:180], y[:180], task=task[:180])
    model.partial_fit(rows.X[180:], rows.number[180:], task=rows.task[180:])
    assert_same_model(
        model, PerTaskRegressor().fit(rows.X, rows.number, task=rows.task)
    )


@pytest.mark.usefixtures("here")
def test_memory_is_not_enough(rows, monkeypatch):
    """Rows that workers cannot keep are read again by every pass."""
    monkeypatch.setattr("mtlearn.distributed._memory", lambda: 1000)
    frame = dd.from_pandas(rows.frame.assign(y=rows.two), npartitions=4)
    model = MultiTaskSVM(task_column="site")
    model.fit(frame[list(rows.frame)], frame["y"])
    plain = MultiTaskSVM(task_column="site").fit(rows.frame, rows.two)
    assert_same_model(model, plain)


# ---------------------------------------------------------------- more tasks than room


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("relation", "mode", "weights", "ids"),
    cover(
        ("independent", "shared mean", "pooled"),
        MODES,
        (None, "balanced", "some"),
        ("names", "numbers"),
    ),
)
def test_tasks_eliminated_by_the_workers(
    rows, relation, mode, weights, ids, monkeypatch
):
    """Moments stay where they are; what comes back is the same model."""
    monkeypatch.setattr("mtlearn.fitting.streams.MOST_BYTES", 3 * 8 * D * D)
    task = rows.task if ids == "names" else 7 * rows.codes - 5
    if weights == "some":
        weights = {task[0]: 3.0, task[1]: 0.0}
    model = PerTaskRegressor(
        2.0, RELATIONS[relation], fit_intercept=mode, task_weight=weights, tol=1e-10
    )
    if mode == "shrunk":
        model.set_params(intercept_strength=0.3)
    plain = clone(model)
    split = [rows.split(one) for one in (rows.X, rows.number, rows.weight)]
    with warnings.catch_warnings():
        # of weight zero
        warnings.filterwarnings("ignore", "1 of 5 tasks have no labels", UserWarning)
        plain.fit(rows.X, rows.number, rows.weight, task=task)
        model.fit(*split, task=rows.split(task))
    assert not hasattr(model, "_moments")
    assert_same_model(model, plain, rtol=1e-9)
    assert model.optimality_ <= 1e-10
    assert model.score(rows.X, rows.number, task=task) == pytest.approx(
        plain.score(rows.X, rows.number, task=task)
    )


@pytest.mark.usefixtures("here")
def test_shards_that_are_too_coarse(monkeypatch):
    """Columns that depend on each other: the user is told."""
    monkeypatch.setattr("mtlearn.fitting.streams.MOST_BYTES", 8)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    X = np.column_stack([X, 1e7 * X.sum(axis=1)])
    y, task = X[:, 0] + rng.normal(size=60), np.arange(60) % 3
    model = PerTaskRegressor(1e-12)
    with pytest.warns(ConvergenceWarning, match="PerTaskRegressor did not converge"):
        model.fit(*(da.from_array(one, chunks=20) for one in (X, y)), task=chunks(task))


def chunks(values):
    return da.from_array(values, chunks=20)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "estimator",
    [
        MultiTaskBayesianRidge(),
        SharedFeatureRegressor(),
        PerTaskRegressor(0.0),
        PerTaskRegressor(constraints=[NonNegative()]),
        PerTaskRegressor(relation=TaskCovariance(np.eye(5))),
    ],
)
def test_moments_without_a_place(rows, estimator, monkeypatch):
    monkeypatch.setattr("mtlearn.fitting.streams.MOST_BYTES", 100)
    X, y, task = (rows.split(one) for one in (rows.X, rows.number, rows.task))
    with pytest.raises(ValueError, match="The moments of 5 tasks take more than"):
        estimator.fit(X, y, task=task)


# ---------------------------------------------------------------- passes without Dask


def sweep_over(pieces, loss, intercept, log):
    def sweep(look):
        log.append(look)
        parts = [piece.sums(look, loss, intercept) for piece in pieces]
        return passes.TaskSums.add(parts)

    return sweep


def test_a_pass_for_a_step():
    """Full steps are found good by the pass that the next step needs anyway."""
    from mtlearn.problem.forms import ArrowForm
    from mtlearn.problem.intercepts import FREE
    from mtlearn.problem.losses import Squared
    from mtlearn.problem.tasks import TaskData

    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(60, 2)), np.repeat([0, 1], 30)
    data = TaskData(X, X @ [1.0, 2.0] + rng.normal(size=60), 2, codes)
    form, log = ArrowForm(2, 0.5, 1.0), []
    sweep = sweep_over([passes.Piece(data, np.arange(2))], Squared(), FREE, log)
    how = {"intercept": FREE, "tol": 1e-10, "max_iter": 20}
    found = passes.solve_by_passes(sweep, data, Squared(), form, 1.0, **how)
    assert found.n_iter == 1 and len(log) == 2
    plain = solve_newton(data, Squared(), form, 1.0, **how)
    assert_allclose(found.coef, plain.coef, rtol=1e-10)
    assert_allclose(found.objective, plain.objective, rtol=1e-12)


def test_sums_of_parts_with_tasks_of_their_own():
    one = passes.TaskSums(1.0, np.array([0, 2]), np.ones((2, 3)), np.ones((2, 3, 3)))
    two = passes.TaskSums(2.0, np.array([1, 2]), np.ones((2, 3)), np.ones((2, 3, 3)))
    total = passes.TaskSums.add([one, two])
    assert total.value == 3.0
    assert_array_equal(total.place, [0, 1, 2])
    assert_array_equal(total.gradient[:, 0], [1.0, 1.0, 2.0])
    assert_array_equal(total.of_all(4).hessian[:, 0, 0], [1.0, 1.0, 2.0, 0.0])
    assert_array_equal(one.gradient, np.ones((2, 3)))  # what was added is as it was


# ---------------------------------------------------------------- predictions


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "method",
    ["predict", "decision_function", "predict_proba", "predict_log_proba"],
)
@pytest.mark.parametrize("target", ["two", "three"])
def test_predictions_are_lazy(rows, method, target):
    """Unseen tasks get the shared model; nothing is computed before it is asked for."""
    model = PerTaskClassifier().fit(rows.X, getattr(rows, target), task=rows.task)
    task = rows.task.copy()
    task[::5] = "nowhere"
    reads = []

    def read(block):
        reads.append(len(block))
        return block

    X = rows.split(rows.X).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    found = getattr(model, method)(X, task=rows.split(task))
    assert isinstance(found, da.Array) and not reads
    expected = getattr(model, method)(rows.X, task=task)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert_array_equal(found.compute(), expected)
    assert len(reads) == len(X.chunks[0])


@pytest.mark.usefixtures("here")
def test_intervals_are_lazy(rows):
    model = MultiTaskBayesianRidge(task_column="site").fit(rows.frame, rows.number)
    frame = dd.from_pandas(rows.frame, npartitions=3)
    for lazy, plain in zip(
        model.predict(frame, return_std=True),
        model.predict(rows.frame, return_std=True),
        strict=True,
    ):
        assert_array_equal(lazy.compute(), plain)
    curves = MultiTaskAdditiveRegressor(task_column="site").fit(rows.frame, rows.number)
    assert_array_equal(curves.predict(frame).compute(), curves.predict(rows.frame))
    interval = model.predict_interval(frame, 0.5)
    assert_array_equal(interval.compute(), model.predict_interval(rows.frame, 0.5))


@pytest.mark.usefixtures("here")
def test_predictions_that_fail(rows):
    model = PerTaskClassifier(handle_unknown="error")
    model.fit(rows.X, rows.two, task=rows.task)
    task = rows.task.copy()
    task[200] = "nowhere"
    found = model.predict(rows.split(rows.X), task=rows.split(task))
    with pytest.raises(ValueError, match=r"Partition 2: 1 rows belong to tasks that"):
        found.compute()
    with pytest.raises(ValueError, match="`task` is missing"):
        model.predict(rows.split(rows.X))
    with pytest.raises(TypeError, match="`task` must be a Dask data frame"):
        model.predict(rows.split(rows.X), task=rows.task)
    Y = np.tile(rows.three[:, None], (1, 2))
    wide = PerTaskClassifier().fit(rows.X, Y)
    with pytest.raises(ValueError, match="not there for Dask collections"):
        wide.predict_proba(rows.split(rows.X))


# ---------------------------------------------------------------- what goes wrong


def parts_of(frame, *ends):
    """A Dask frame of pieces that end there."""
    pieces = np.split(np.arange(len(frame)), ends)
    # calls, whose results are verified: arrays of plain values lose some in Dask itself
    read = dask.delayed(lambda one: frame.iloc[one], pure=False)
    return dd.from_delayed([read(one) for one in pieces], meta=frame.iloc[:0])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_empty_partitions(rows, name):
    estimator, target = ESTIMATORS[name]
    estimator = clone(estimator).set_params(task_column="site", relation="shared_mean")
    whole = rows.frame.assign(y=getattr(rows, target))
    frame, columns = parts_of(whole, 0, 150, 150, 400), list(rows.frame)
    plain = clone(estimator)
    plain.fit(whole[columns], whole["y"])
    estimator.fit(frame[columns], frame["y"])
    assert_same_model(estimator, plain)
    assert len(estimator.predict(frame[columns]).compute()) == N
    nothing = parts_of(whole.iloc[:0], 0)
    with pytest.raises(ValueError, match="has no row"):
        estimator.fit(nothing[columns], nothing["y"])
    assert_same_model(estimator, plain)  # as before the fit that failed


def spoil(rows, what):
    X, y, task, weight = rows.X.copy(), rows.two.copy(), rows.task, rows.weight.copy()
    if what == "NaN":
        X[200, 1] = np.nan
    elif what == "infinity":
        X[200, 1] = np.inf
    elif what == "a negative weight":
        weight[200] = -1.0
    else:
        task = task.astype(object)
        task[200] = None
    return [rows.split(one) for one in (X, y, weight, task)]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("NaN", "Input X contains NaN"),
        ("infinity", "Input X contains infinity"),
        ("a negative weight", "`sample_weight` must be non-negative"),
        ("a missing id", "`task` has missing ids"),
    ],
)
@pytest.mark.parametrize("estimator", [PerTaskClassifier(), PerTaskRegressor()])
def test_bad_values_name_the_partition(rows, what, message, estimator):
    X, y, weight, task = spoil(rows, what)
    if isinstance(estimator, PerTaskRegressor):
        y = rows.split(rows.number)
    with pytest.raises(ValueError, match=f"^Partition 2: {message}"):
        estimator.fit(X, y, weight, task=task)
    assert not hasattr(estimator, "coef_")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("estimator", [PerTaskClassifier(), PerTaskRegressor()])
def test_other_columns_name_the_partition(rows, estimator):
    estimator = type(estimator)(task_column="site")
    swapped = rows.frame[["b", "a", "site", "c", "d"]]
    parts = [dask.delayed(rows.frame[:200]), dask.delayed(swapped[200:])]
    X = dd.from_delayed(parts, meta=rows.frame[:0], verify_meta=False)
    y = da.from_array(rows.codes % 2, chunks=200)
    with pytest.raises(ValueError, match=r"^Partition 1: its columns are \['b', 'a'"):
        estimator.fit(X, y)


@pytest.mark.usefixtures("here")
def test_collections_that_do_not_match(rows):
    X, y, task = (rows.split(one) for one in (rows.X, rows.two, rows.task))
    model = PerTaskClassifier()
    with pytest.raises(TypeError, match="`y` must be a Dask data frame, series or arr"):
        model.fit(X, rows.two, task=task)
    with pytest.raises(TypeError, match="`X` must be a Dask data frame, series or arr"):
        model.fit(rows.X, y, task=task)
    with pytest.raises(ValueError, match="`y` has 2 partitions, but X has 5"):
        model.fit(X, y[:180], task=task)
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit(X, None, task=task)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        model.fit(X[:, 0], y, task=task)
    with pytest.raises(ValueError, match="at least two classes over all tasks"):
        model.fit(X, da.ones(N, chunks=CHUNK, dtype=int), task=task)
    mixed = np.array(["a"] * 200 + [1] * 200, dtype=object)
    with pytest.raises(TypeError, match="types that cannot be sorted together"):
        model.fit(X, y, task=rows.split(mixed, 100).rechunk(CHUNK))
    with pytest.raises(ValueError, match="The task ids came twice"):
        PerTaskClassifier(task_column=0).fit(X, y, task=task)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (MultiTaskSVM(loss="hinge"), "use 'squared_hinge'"),
        (MultiTaskSVR(loss="epsilon_insensitive"), "use 'squared_epsilon_insensitive'"),
        (MultiTaskSVM(kernel="rbf"), "use 'linear'"),
        (MultiTaskSVM(constraints=[NonNegative()]), "leave them out"),
        (MultiTaskSVM(relation="learned"), "use a relation that is known"),
        (PerTaskClassifier(solver="newton-cg"), "use 'auto'"),
        (PerTaskClassifierCV(), "needs all rows in one place"),
        (PerTaskRegressorCV(cv=[([0], [1])]), "`cv` must be a number of folds"),
        (PerTaskRegressorCV(scoring="r2"), "`scoring` must be None"),
        (SharedFeatureClassifier(), "needs all rows in one place"),
        (SharedMappingRegressor(), "needs all rows in one place"),
        (MultiTaskAdditiveRegressor(), "needs all rows in one place"),
        (MultiTaskBayesianClassifier(), "needs all rows in one place"),
    ],
)
def test_what_to_use_instead(rows, estimator, message):
    y = getattr(rows, "two" if hasattr(estimator, "decision_function") else "number")
    X, y, task = (rows.split(one) for one in (rows.X, y, rows.task))
    with pytest.raises((TypeError, ValueError), match=message):
        estimator.fit(X, y, task=task)


def test_import_brings_no_dask():
    code = """
import sys
import numpy as np
import mtlearn
X, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
mtlearn.PerTaskClassifier().fit(X, y).predict(X)
assert not {"dask", "distributed"} & {name.split(".")[0] for name in sys.modules}
assert "mtlearn.distributed" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- two processes


@pytest.fixture(scope="module")
def client():
    """Two processes of one thread each."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(silence_logs=50, **options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def there(client):
    """The processes are who computes."""
    with client.as_current(), dask.config.set(scheduler=client):
        yield client


@pytest.mark.parametrize("name", ["regressor", "two classes", "machine of three"])
def test_two_processes(rows, there, name):
    estimator, target = ESTIMATORS[name]
    estimator = clone(estimator).set_params(
        fit_intercept=True, relation=SharedMean(0.7)
    )
    y = getattr(rows, target)
    plain = clone(estimator)
    plain.fit(rows.X, y, task=rows.task)
    X, y, task = dask.persist(*(rows.split(one) for one in (rows.X, y, rows.task)))
    estimator.fit(X, y, task=task)
    assert_same_model(estimator, plain)
    found = estimator.predict(X, task=task).compute()
    if found.dtype.kind == "f":
        assert_allclose(found, plain.predict(rows.X, task=rows.task), rtol=1e-7)
    else:
        assert_array_equal(found, plain.predict(rows.X, task=rows.task))


def test_bad_values_of_a_process(rows, there):
    X, y, weight, task = spoil(rows, "NaN")
    with pytest.raises(ValueError, match="^Partition 2: Input X contains NaN"):
        MultiTaskSVM().fit(X, y, weight, task=task)


def test_a_worker_that_dies(rows, there, monkeypatch):
    """What it had kept is made again, and the fit goes on to the same model."""
    from mtlearn import distributed as ours

    compute, asked = ours._compute, []

    def killing(part):
        asked.append(part)
        if len(asked) == 3:
            pids = there.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)
        return compute(part)

    monkeypatch.setattr(ours, "_compute", killing)
    plain = PerTaskClassifier(relation="shared_mean", tol=SHARP)
    plain.fit(rows.X, rows.two, task=rows.task)
    model = PerTaskClassifier(relation="shared_mean", tol=SHARP)
    split = [rows.split(one) for one in (rows.X, rows.two, rows.task)]
    X, y, task = dask.persist(*split)
    distributed.wait([X, y, task])
    model.fit(X, y, task=task)
    assert len(asked) > 4
    assert_same_model(model, plain)
