"""What the caller passed stays as it was, in every container and by every estimator."""

import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from cases import ESTIMATORS, quick
from numpy.testing import assert_array_equal
from sklearn.base import is_regressor
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    Composition,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskRegressor,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedMappingRegressor,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.compose import features_only
from mtlearn.constraints import Bounds, SumTo
from mtlearn.inspection import compare_sharing
from mtlearn.metrics import average_relative_rmse, task_scores
from mtlearn.model_selection import LeaveTasksOut, TaskShuffleSplit, TaskStratifiedKFold

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

N_TASKS = 3

OTHERS = [
    MultiTaskSVM(loss="hinge"),
    MultiTaskSVM(kernel="rbf"),
    MultiTaskSVM(kernel="poly", loss="hinge"),
    MultiTaskSVR(loss="epsilon_insensitive", epsilon=0.1),
    MultiTaskSVR(kernel="rbf"),
    SharedFeatureRegressor(penalty="l21"),
    SharedFeatureRegressor(penalty="nuclear"),
    SharedFeatureRegressor(penalty="dirty"),
    SharedFeatureClassifier(penalty="l21"),
    SharedMappingRegressor((4,), early_stopping=True, random_state=0),
    PerTaskRegressor(constraints=[Bounds(-0.5, 0.5)]),
]
# how far they go does not matter here
MODELS = [quick(one) for one in ESTIMATORS] + OTHERS
MODELS = [model.set_params(tol=1e-3) for model in MODELS]


def set_if_there(model, **params):
    """Set parameters that not every estimator has."""
    known = model.get_params(deep=False)
    return model.set_params(**{k: v for k, v in params.items() if k in known})


every_model = pytest.mark.parametrize("model", MODELS, ids=repr)


@pytest.fixture
def p():
    """24 rows, 4 features (a third of the entries zero), 3 tasks, both layouts."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 4)) * (rng.random(size=(24, 4)) < 0.7)
    codes = rng.permutation(np.repeat(np.arange(N_TASKS), 8))
    f = X @ np.array([[1.0, 0.8, 1.2], [0.0, 0.2, -0.2], [1.0, 1.0, 1.0], [0, 0, 1]])
    Y = f + 0.3 * rng.normal(size=f.shape)
    return SimpleNamespace(
        X=X,
        Y=Y,
        y=Y[np.arange(24), codes],
        task=np.array(["a", "b", "c"])[codes],
        codes=codes,
        weight=rng.uniform(0.5, 2.0, size=24),
        weights=rng.uniform(0.5, 2.0, size=Y.shape),
        task_weight=np.array([1.0, 0.5, 2.0]),
    )


def unsorted_csr(X):
    """As `X[:, permutation]` or a product leave it."""
    X = sp.csr_array(X)
    for i in range(X.shape[0]):
        row = slice(X.indptr[i], X.indptr[i + 1])
        X.data[row], X.indices[row] = X.data[row][::-1].copy(), X.indices[row][::-1]
    return sp.csr_array((X.data, X.indices, X.indptr), X.shape)


def repeated_csr(X):
    """Every entry in two halves, the second behind the whole row."""
    rows = [np.flatnonzero(row) for row in X]
    indices = np.concatenate([np.tile(row, 2) for row in rows])
    data = np.concatenate([np.tile(X[i, row] / 2, 2) for i, row in enumerate(rows)])
    indptr = np.cumsum([0, *(2 * len(row) for row in rows)])
    return sp.csr_array((data, indices, indptr), X.shape)


def repeated_coo(X):
    """A COO array with entries in two halves."""
    X = sp.coo_array(X)
    place = np.tile(X.row, 2), np.tile(X.col, 2)
    return sp.coo_array((np.tile(X.data / 2, 2), place), X.shape)


def long_indices(X):
    """Unsorted, with indices of 64 bits."""
    X = unsorted_csr(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def frame(X):
    return pd.DataFrame(X, columns=list("uvwx"))


DENSE = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strides": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "float32": lambda X: X.astype(np.float32),
    "objects": lambda X: X.astype(object),
    "list": lambda X: X.tolist(),
    "pandas": frame,
    "polars": lambda X: pl.DataFrame(frame(X)),
    "pyarrow": lambda X: pa.Table.from_pandas(frame(X)),
}
SPARSE = {
    "csr": sp.csr_array,
    "unsorted": unsorted_csr,
    "unsorted matrix": lambda X: sp.csr_matrix(unsorted_csr(X)),
    "repeated": repeated_csr,
    "long indices": long_indices,
    "csc": sp.csc_array,
    "unsorted csc": lambda X: unsorted_csr(X.T).T,
    "coo": repeated_coo,
    "coo matrix": lambda X: sp.coo_matrix(repeated_coo(X)),
    "lil": sp.lil_array,
    "bsr": sp.bsr_array,
}
CONTAINERS = DENSE | SPARSE


def parts(data):
    """Every array that an object holds, by name."""
    if isinstance(data, np.ndarray):
        return {"": data}
    if sp.issparse(data) and data.format != "lil":
        return {k: v for k, v in vars(data).items() if isinstance(v, np.ndarray)} | {
            f"coords {k}": v for k, v in enumerate(getattr(data, "coords", ()))
        }
    if sp.issparse(data):
        return {"rows": data.rows, "data": data.data}
    return {"": np.asarray(data)}


def snapshot(data):
    """What must be the same afterwards: values, order, types, flags."""
    arrays = {key: (v.copy(), v.dtype) for key, v in parts(data).items()}
    if not sp.issparse(data):
        return arrays, None
    flags = {k: v for k, v in vars(data).items() if not isinstance(v, np.ndarray)}
    return arrays, {k: v for k, v in flags.items() if k not in ("coords", "_shape")}


def check_untouched(data, before):
    arrays, flags = before
    now = parts(data)
    assert now.keys() == arrays.keys()
    for key, (values, dtype) in arrays.items():
        assert now[key].dtype == dtype
        assert_array_equal(now[key], values)
    if flags is not None:
        assert snapshot(data)[1] == flags


def freeze(data):
    """Write-protect every array, as joblib's memory maps are."""
    for array in parts(data).values():
        array.flags.writeable = False
    return data


def labels(model, y):
    return y if is_regressor(model) else np.where(y > 0, 1.0, 0.0)


def use(model, X, y, weight, **ids):
    """Fit and everything that a fitted model does with rows."""
    model.fit(X, y, weight, **ids)
    for name in ("decision_function", "predict_proba"):
        if hasattr(model, name):
            getattr(model, name)(X, **ids)
    if hasattr(model, "transform"):
        model.transform(X)
    model.score(X, y, weight, **ids)
    return model.predict(X, **ids)


# ---------------------------------------------------------------- untouched


@every_model
def test_the_features_are_untouched(model, p):
    y = labels(model, p.y)
    expected = None
    few = {k: CONTAINERS[k] for k in ("C", "pandas", "csr", "unsorted")}
    for name, build in (few if model in OTHERS else CONTAINERS).items():
        X = build(p.X)
        before = snapshot(X)
        fitted = use(model, X, y, p.weight, task=p.task)
        check_untouched(X, before)
        # halves add up exactly
        if name == "C" or expected is None or name == next(iter(SPARSE)):
            expected = fitted
        elif name != "float32":
            assert_array_equal(fitted, expected, err_msg=name)


@every_model
@pytest.mark.parametrize("wide", [False, True])
def test_labels_ids_and_weights_are_untouched(model, wide, p):
    y, weight = (p.Y, p.weights) if wide else (p.y, p.weight)
    y = labels(model, y)
    if wide:
        y[::5, 0] = np.nan
    given = [p.X, y, weight, p.task_weight, *([] if wide else [p.task])]
    before = [snapshot(values) for values in given]
    set_if_there(model, task_weight=p.task_weight)
    try:
        use(model, *given[:3], **({} if wide else {"task": p.task}))
    finally:
        set_if_there(model, task_weight=None)
    for values, was in zip(given, before, strict=True):
        check_untouched(values, was)


@every_model
def test_buffers_that_cannot_be_written_are_read(model, p):
    y = labels(model, p.y)
    rest = [freeze(v) for v in (y, p.weight, p.task)]
    dense = freeze(p.X.copy())
    assert np.isfinite(use(model, dense, *rest[:2], task=rest[2])).all()
    fitted = use(model, freeze(unsorted_csr(p.X)), *rest[:2], task=rest[2])
    assert_array_equal(fitted, use(model, unsorted_csr(p.X), y, p.weight, task=p.task))


def test_memory_maps_are_read(p, tmp_path):
    def mapped(name, values):
        np.save(tmp_path / name, values)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    dense, sparse = mapped("dense", p.X), unsorted_csr(p.X)
    buffers = [mapped(k, getattr(sparse, k)) for k in ("data", "indices", "indptr")]
    for X in (dense, sp.csr_array(tuple(buffers), sparse.shape)):
        model = PerTaskRegressor().fit(X, mapped("y", p.y), task=mapped("task", p.task))
        expected = PerTaskRegressor().fit(p.X, p.y, task=p.task)
        fitted = model.predict(X, task=p.task)
        np.testing.assert_allclose(fitted, expected.predict(p.X, task=p.task))


@every_model
@pytest.mark.parametrize("build", [np.ascontiguousarray, sp.csr_array])
def test_a_model_keeps_nothing_of_the_callers(model, build, p):
    new, ids = build(p.X.copy()), p.task.copy()
    X, y = build(p.X), labels(model, p.y)
    model.fit(X, y, p.weight, task=p.task)
    before = model.predict(new, task=ids)
    for array in (X.data if sp.issparse(X) else X, y, p.weight):
        array[...] = 7.0
    p.task[...] = "a"
    assert_array_equal(model.predict(new, task=ids), before)


@every_model
def test_a_warm_start_leaves_the_last_model_alone(model, p):
    y = labels(model, p.y)
    set_if_there(model, warm_start=True).fit(p.X, y, task=p.task)
    kept = [v for v in vars(model).values() if isinstance(v, np.ndarray)]
    kept += [v for name in ("coefs_", "intercepts_") for v in getattr(model, name, [])]
    before = [v.copy() for v in kept]
    model.fit(p.X + 0.1, y, p.weight, task=p.task)
    set_if_there(model, warm_start=False)
    for values, was in zip(kept, before, strict=True):
        assert_array_equal(values, was)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("build", [np.array, *SPARSE.values()])
@pytest.mark.parametrize("relation", [TaskGraph, TaskCovariance])
def test_the_matrix_of_a_relation_is_untouched(relation, build, p):
    # a diagonal that a graph ignores, and entries in two halves
    matrix = build(np.array([[2.0, 0.5, 0.0], [0.5, 2.0, 0.1], [0.0, 0.1, 2.0]]))
    before = snapshot(matrix)
    for names in (None, ["a", "b", "c"], ["c", "a", "b"]):
        bound = relation(matrix, tasks=names)
        for tied in (bound, Composition({"d": {"a": 1}}, bound)):
            PerTaskRegressor(relation=tied).fit(p.X, p.y, task=p.task)
        bound.omega(np.ones((3, 2)), tasks=np.array(["a", "b", "c"]))
    check_untouched(matrix, before)


def test_the_limits_of_constraints_are_untouched(p):
    lower, upper = np.full(4, -0.5), np.full(4, 0.4)
    given = [lower, upper]
    before = [snapshot(values) for values in given]
    constraints = [Bounds(lower, upper), SumTo(0.3)]
    for estimator in (PerTaskRegressor, MultiTaskSVR):
        estimator(constraints=constraints).fit(p.X, p.y, task=p.task)
    for values, was in zip(given, before, strict=True):
        check_untouched(values, was)


# ---------------------------------------------------------------- around the estimators


def test_metrics_splitters_and_transformers_change_nothing(p):
    predicted, codes = p.Y + 0.1, p.codes * 1.0
    X = np.column_stack([codes, p.X])
    graph = unsorted_csr(X)
    Y = p.Y.copy()
    Y[::3, 1] = np.nan
    given = [X, graph, Y, predicted, p.y, p.task, p.weight, p.weights]
    before = [snapshot(values) for values in given]
    task_scores("r2", p.y, predicted[:, 0], p.task, sample_weight=p.weight)
    task_scores("r2", Y, predicted, sample_weight=p.weights)
    average_relative_rmse(Y, predicted)
    for splitter in (TaskStratifiedKFold(3), LeaveTasksOut(3), TaskShuffleSplit(2)):
        list(splitter.split(p.X, p.y, groups=p.task))
        list(type(splitter)(2, task_column=0).split(graph))
    list(TaskStratifiedKFold(2).split(p.X, Y))
    features_only(StandardScaler(), 0).fit_transform(X)
    features_only(StandardScaler(with_mean=False), 0).fit_transform(graph)
    compare_sharing(PerTaskRegressor(), p.X, p.y, task=p.task, cv=2)
    compare_sharing(PerTaskRegressor(), unsorted_csr(p.X), p.y, task=p.task, cv=2)
    for values, was in zip(given, before, strict=True):
        check_untouched(values, was)


# ---------------------------------------------------------------- several threads


@every_model
def test_fits_of_two_threads_on_one_matrix_agree_with_one(model, p):
    y = labels(model, p.y)
    expected = use(model, unsorted_csr(p.X), y, p.weight, task=p.task)
    for _ in range(2):
        X, found = unsorted_csr(p.X), [None, None]
        together = threading.Barrier(2)

        def work(k, X=X, found=found, together=together):
            own = type(model)(**model.get_params(deep=False))
            together.wait()
            found[k] = use(own, X, y, p.weight, task=p.task)

        threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for fitted in found:
            assert_array_equal(fitted, expected)
