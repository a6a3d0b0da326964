"""Ids, blocks, forward and adjoint: everything in any order comes back in place."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import reference
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.ids import (
    UNKNOWN,
    column_names,
    find_tasks,
    index_tasks,
    shorten,
    split_task_column,
)
from mtlearn.problem.tasks import TaskData, score_rows

quick = settings(max_examples=50, deadline=None, derandomize=True)


# ---------------------------------------------------------------- ids and codes

ids_of_one_kind = st.one_of(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30),
    st.lists(st.text("abé ", max_size=3), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30),
    st.lists(st.dates(), min_size=1, max_size=30),
)


@quick
@given(ids_of_one_kind)
def test_codes_point_back_to_their_ids(ids):
    column = np.empty(len(ids), dtype=object)
    column[:] = ids
    tasks, codes = index_tasks(column)
    assert list(tasks.tolist()) == sorted(set(ids))
    assert [tasks.tolist()[c] for c in codes] == ids
    assert codes.dtype == np.int64
    assert_array_equal(find_tasks(tasks, column), codes)


@quick
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), st.randoms())
def test_the_order_of_rows_does_not_change_the_tasks(ids, random):
    order = list(range(len(ids)))
    random.shuffle(order)
    tasks, codes = index_tasks(ids)
    tasks_, codes_ = index_tasks([ids[i] for i in order])
    assert_array_equal(tasks, tasks_)
    assert_array_equal(codes[order], codes_)


@quick
@given(
    st.sets(st.integers(-50, 50), min_size=1, max_size=10),
    st.lists(st.integers(-50, 50), max_size=20),
)
def test_ids_that_are_not_known_are_found_out(known, ids):
    tasks = np.array(sorted(known))
    codes = find_tasks(tasks, np.array(ids, dtype=np.int64))
    for code, task in zip(codes, ids):
        assert code == (tasks.tolist().index(task) if task in known else UNKNOWN)


CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "object array": lambda ids: np.array(ids, dtype=object),
    "column vector": lambda ids: np.array(ids)[:, None],
    "series": pd.Series,
    "odd index": lambda ids: pd.Series(ids, index=range(7, 7 + len(ids))),
    "index": pd.Index,
    "categorical": pd.Categorical,
    "categorical series": lambda ids: pd.Series(ids, dtype="category"),
    "polars": pl.Series,
    "pyarrow": pa.array,
    "chunked": lambda ids: pa.chunked_array([ids[:2], ids[2:]]),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("ids", [["s", "é", "a b", "s"], [7, -1, 2**40, 7]])
def test_ids_come_in_any_container(container, ids):
    tasks, codes = index_tasks(CONTAINERS[container](ids))
    assert tasks.tolist() == sorted(set(ids))
    assert tasks[codes].tolist() == ids
    assert tasks.dtype.kind in "iU"


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int32, np.uint64, np.float32, np.float64, bool]
)
def test_numbers_of_any_dtype_are_ids(dtype):
    tasks, codes = index_tasks(np.array([1, 0, 1], dtype=dtype))
    assert tasks.tolist() == [0, 1]
    assert codes.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "ids",
    [
        np.array([2**53, 2**53 + 1]),
        [2**53, 2**53 + 1],
        np.array([2**53, 2**53 + 1], dtype=object),
        np.array([-1, 2**62 + 1, 2**62], dtype=object),
        np.array([2**63, 2**63 + 1], dtype=np.uint64),
        np.array([0, 2**64 - 1, 2**64 - 2], dtype=np.uint64),
        [2**63 + 1, 1, 2],
        np.array([2**63 + 1, 1, 2], dtype=object),
        [2**63 + 1, -1, 2**63],
        [2**70 + 1, 2**70],
    ],
    ids=repr,
)
def test_large_integers_stay_apart(ids):
    tasks, codes = index_tasks(ids)
    assert tasks.tolist() == sorted(int(v) for v in ids)
    assert [tasks.tolist()[c] for c in codes] == [int(v) for v in ids]
    assert_array_equal(find_tasks(tasks, ids), codes)


def test_pandas_strings_and_integers_with_room_for_missing_ones():
    for dtype in ("string", "object", "str"):
        tasks, _ = index_tasks(pd.Series(["b", "a"], dtype=dtype))
        assert tasks.tolist() == ["a", "b"]
    tasks, codes = index_tasks(pd.Series([3, 1, 3], dtype="Int64"))
    assert tasks.tolist() == [1, 3] and codes.tolist() == [1, 0, 1]


def test_categories_without_rows_are_no_tasks():
    ids = pd.Categorical(["b", "a"], categories=["a", "b", "c"])
    assert index_tasks(ids)[0].tolist() == ["a", "b"]


def test_dates_are_ids():
    days = np.array(["2024-02-01", "2024-01-01", "2024-02-01"], dtype="datetime64[D]")
    tasks, codes = index_tasks(days)
    assert codes.tolist() == [1, 0, 1]
    assert_array_equal(find_tasks(tasks, days[1:]), [0, 1])


def test_integers_found_by_floats_and_objects_and_the_other_way_round():
    tasks, _ = index_tasks([1, 2, 3])
    for ids in (
        np.array([3.0, 1.0]),
        np.array([3, 1], dtype=object),
        pd.Series([3, 1], dtype="category"),
        [np.int32(3), np.float64(1.0)],
    ):
        assert find_tasks(tasks, ids).tolist() == [2, 0]


@pytest.mark.parametrize(
    "ids",
    [
        [1.0, np.nan],
        ["a", None],
        [None, None],
        ["a", np.nan],
        ["a", float("nan")],
        ["a", pd.NA],
        [1, None],
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(["a", None], dtype="category"),
        pd.Series(pd.to_datetime(["2024-01-01", None])),
        pl.Series([1, None]),
        pl.Series(["a", None]),
        pa.array(["a", None]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_missing_ids_are_refused(ids):
    with pytest.raises(ValueError, match="`task` has missing ids"):
        index_tasks(ids)
    with pytest.raises(ValueError, match="`task` has missing ids"):
        find_tasks(np.array(["a"]), ids)


@pytest.mark.parametrize(
    "ids, words",
    [
        ([0.5, 1.0], "floats that are not integers, such as 0.5.*a scaler"),
        (np.array([0.5, 1.0], dtype=object), "floats that are not integers"),
        ([1.0, np.inf], "infinite"),
        (np.zeros((2, 2), dtype=int), r"one-dimensional.*\(2, 2\)"),
        ([1j, 2j], "complex"),
    ],
)
def test_ids_that_cannot_be_are_refused(ids, words):
    for call in (index_tasks, lambda ids: find_tasks(np.array([1]), ids)):
        with pytest.raises(ValueError, match=f"`task`.*{words}"):
            call(ids)


def test_ids_of_mixed_types_are_refused():
    with pytest.raises(TypeError, match="`school` holds ids of types.*int, str"):
        index_tasks(["a", 1], name="school")
    with pytest.raises(TypeError, match="`task` holds an id that cannot be one"):
        index_tasks([["a"], ["b"], ["c", "d"]])


@pytest.mark.parametrize("known, ids", [([1, 2], ["1", "2"]), (["1", "2"], [1, 2])])
def test_numbers_are_not_looked_up_among_strings(known, ids):
    with pytest.raises(ValueError, match="`task` holds.*but the tasks of the fit are"):
        find_tasks(np.array(known), ids)


def test_shorten_cuts_long_lists():
    assert shorten(np.arange(3)) == "[0, 1, 2]"
    assert shorten(range(10), most=2) == "[0, 1, ...]"
    assert shorten(np.array(["a"])) == "['a']"


# ---------------------------------------------------------------- the column of ids

ROWS = [[0.5, "a", 1.5], [2.5, "b", 3.5]]
NAMES = ["u", "school", "v"]

TABLES = {
    "list": lambda: ROWS,
    "object": lambda: np.array(ROWS, dtype=object),
    "pandas": lambda: pd.DataFrame(ROWS, columns=NAMES),
    "polars": lambda: pl.DataFrame(ROWS, schema=NAMES, orient="row"),
    "pyarrow": lambda: pa.table(pd.DataFrame(ROWS, columns=NAMES)),
}


@pytest.mark.parametrize("position", [1, -2, np.int64(1)])
@pytest.mark.parametrize("table", TABLES)
def test_the_column_is_found_by_position(table, position):
    X, ids = split_task_column(TABLES[table](), position)
    assert_array_equal(np.array(X, dtype=float), [[0.5, 1.5], [2.5, 3.5]])
    assert index_tasks(ids)[0].tolist() == ["a", "b"]


@pytest.mark.parametrize("table", ["pandas", "polars", "pyarrow"])
def test_the_column_is_found_by_name(table):
    whole = TABLES[table]()
    assert column_names(whole) == NAMES
    X, ids = split_task_column(whole, "school")
    assert column_names(X) == ["u", "v"]
    assert type(X) is type(whole)
    assert index_tasks(ids)[0].tolist() == ["a", "b"]
    assert column_names(whole) == NAMES


@pytest.mark.parametrize("build", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_the_column_of_a_sparse_matrix_holds_codes(build):
    table = np.array([[0.0, 3, 1], [2, 0, 0], [0, 3, 4]])
    X, ids = split_task_column(build(table), 1)
    assert sp.issparse(X)
    assert_array_equal(X.toarray(), table[:, [0, 2]])
    tasks, codes = index_tasks(ids)
    assert tasks.tolist() == [0, 3] and codes.tolist() == [1, 0, 1]


def test_numbers_stay_numbers_and_ids_strings():
    X, ids = split_task_column([[1.25, "a"], [10.0, "bb"]], -1)
    assert np.asarray(X, dtype=float).tolist() == [[1.25], [10.0]]
    assert list(ids) == ["a", "bb"]


def test_a_table_that_is_none_is_refused():
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        split_task_column([1.0, 2.0], 0)


@pytest.mark.parametrize(
    "table, column, error, words",
    [
        ("pandas", "scool", ValueError, "'scool' is not a column of X.*'school'"),
        ("polars", "scool", ValueError, "'scool' is not a column of X"),
        ("pyarrow", "scool", ValueError, "'scool' is not a column of X"),
        ("object", "school", ValueError, "X has no column names.*set_output"),
        ("list", "school", ValueError, "X has no column names.*integer position"),
        ("pandas", 3, ValueError, "`task_column`=3 is out of range: X has 3 columns"),
        ("list", -4, ValueError, "`task_column`=-4 is out of range"),
        ("pandas", 1.0, TypeError, "`task_column` must be a column name or an integer"),
        ("pandas", True, TypeError, "`task_column` must be a column name or an int"),
        ("pandas", ["school"], TypeError, "`task_column` must be a column name"),
    ],
)
def test_a_column_that_is_not_there(table, column, error, words):
    with pytest.raises(error, match=words):
        split_task_column(TABLES[table](), column)


def test_a_renamed_column_is_recognised():
    X = pd.DataFrame(ROWS, columns=["remainder__u", "ids__school", "remainder__v"])
    with pytest.raises(ValueError, match="'ids__school'.*verbose_feature_names_out"):
        split_task_column(X, "school")


# ---------------------------------------------------------------- task-major blocks

N_TASKS, D = 4, 3


@st.composite
def long_data(draw):
    """TaskData in the long layout; a task may have no rows."""
    codes = draw(st.lists(st.integers(0, N_TASKS - 1), min_size=1, max_size=25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X, y = rng.normal(size=(len(codes), D)), rng.normal(size=len(codes))
    weight = rng.uniform(0.5, 2.0, size=len(codes)) if draw(st.booleans()) else None
    task_weight = rng.uniform(0.5, 2.0, N_TASKS) if draw(st.booleans()) else None
    if draw(st.booleans()):
        X = sp.csr_array(np.where(rng.uniform(size=X.shape) < 0.5, X, 0.0))
    return TaskData(X, y, N_TASKS, np.array(codes), weight, task_weight)


@st.composite
def wide_data(draw):
    """TaskData in the wide layout with missing labels, one of them observed."""
    n = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X, Y = rng.normal(size=(n, D)), rng.normal(size=(n, N_TASKS))
    if draw(st.booleans()):
        Y[rng.uniform(size=Y.shape) < 0.4] = np.nan
        Y[0, 0] = 1.0
    shape = draw(st.sampled_from([None, (n,), (n, N_TASKS)]))
    weight = None if shape is None else rng.uniform(0.5, 2.0, size=shape)
    if weight is not None and weight.ndim == 2:
        weight[rng.uniform(size=shape) < 0.2] = 0.0
        weight[0, 0] = 1.0
    task_weight = rng.uniform(0.5, 2.0, N_TASKS) if draw(st.booleans()) else None
    if draw(st.booleans()):
        X = sp.csr_array(np.where(rng.uniform(size=X.shape) < 0.5, X, 0.0))
    return TaskData(X, Y, N_TASKS, None, weight, task_weight)


def observations(data):
    """(task, row, label, weight) of every observation, task after task, by loops."""
    found = []
    for t in range(data.n_tasks):
        for i in range(data.X.shape[0]):
            y = data.y[i, t] if data.wide else data.y[i]
            if np.isnan(y) or (not data.wide and data.codes[i] != t):
                continue
            weight = 1.0
            if data.sample_weight is not None:
                s = data.sample_weight
                weight *= s[i, t] if s.ndim == 2 else s[i]
            if data.task_weight is not None:
                weight *= data.task_weight[t]
            if weight > 0:
                found.append((t, i, y, weight))
    return found


@quick
@given(st.one_of(long_data(), wide_data()))
def test_blocks_hold_every_observation_in_place(data):
    found = observations(data)
    assert data.task_of.tolist() == [t for t, _, _, _ in found]
    assert data.rows.tolist() == [i for _, i, _, _ in found]
    assert data.labels.tolist() == [y for _, _, y, _ in found]
    assert_allclose(data.weights, [w for _, _, _, w in found], rtol=1e-15)
    assert data.sizes.sum() == len(found) == data.starts[-1]
    X = data.X.toarray() if data.sparse else data.X
    features = data.features.toarray() if data.sparse else data.features
    assert_array_equal(features[data.place], X[data.rows])


@quick
@given(st.one_of(long_data(), wide_data()))
def test_forward_is_the_score_of_each_observation(data):
    W = np.random.default_rng(0).normal(size=(N_TASKS, D))
    X = data.X.toarray() if data.sparse else data.X
    expected = [X[i] @ W[t] for t, i, _, _ in observations(data)]
    assert_allclose(data.forward(W), expected, atol=1e-13)
    assert_allclose(data.forward(np.asfortranarray(W)), expected, atol=1e-13)


@quick
@given(st.one_of(long_data(), wide_data()))
def test_forward_and_adjoint_are_adjoint(data):
    rng = np.random.default_rng(0)
    W, g = rng.normal(size=(N_TASKS, D)), rng.normal(size=len(data.rows))
    assert_allclose(
        g @ data.forward(W), np.vdot(data.adjoint(g), W), rtol=1e-10, atol=1e-12
    )
    sums = [g[data.task_of == t].sum() for t in range(N_TASKS)]
    assert_allclose(data.sums(g), sums, atol=1e-13)


@quick
@given(long_data(), st.randoms())
def test_any_permutation_of_rows_gives_the_same_adjoint(data, random):
    order = list(range(len(data.codes)))
    random.shuffle(order)
    weight = None if data.sample_weight is None else data.sample_weight[order]
    other = TaskData(
        data.X[order],
        data.y[order],
        N_TASKS,
        data.codes[order],
        weight,
        data.task_weight,
    )
    assert_array_equal(data.sizes, other.sizes)
    assert_allclose(
        data.adjoint(data.weights * data.labels),
        other.adjoint(other.weights * other.labels),
        atol=1e-12,
    )


@quick
@given(long_data(), st.permutations(range(N_TASKS)))
def test_relabelling_the_tasks_permutes_their_blocks(data, names):
    names = np.array(names)
    weight = data.task_weight
    if weight is not None:
        weight = np.empty(N_TASKS)
        weight[names] = data.task_weight
    other = TaskData(
        data.X, data.y, N_TASKS, names[data.codes], data.sample_weight, weight
    )
    G = data.adjoint(data.weights * data.labels)
    assert_allclose(other.adjoint(other.weights * other.labels)[names], G, atol=1e-13)


@quick
@given(wide_data())
def test_wide_data_agree_with_their_long_form(data):
    X = data.X.toarray() if data.sparse else data.X
    weight = np.ones(data.y.shape)
    if data.sample_weight is not None:
        s = data.sample_weight
        weight = s if s.ndim == 2 else np.tile(s[:, None], (1, N_TASKS))
    X, y, codes, weight = reference.to_long(X, data.y, weight)
    keep = weight > 0
    other = TaskData(
        X[keep], y[keep], N_TASKS, codes[keep], weight[keep], data.task_weight
    )
    W = np.random.default_rng(0).normal(size=(N_TASKS, D))
    assert_array_equal(data.labels, other.labels)
    assert_allclose(data.weights, other.weights)
    assert_allclose(data.forward(W), other.forward(W), atol=1e-13)
    g = data.forward(W)
    assert_allclose(data.adjoint(g), other.adjoint(g), atol=1e-12)


@quick
@given(st.one_of(long_data(), wide_data()), st.integers(1, 2**N_TASKS - 1))
def test_only_keeps_the_marked_tasks(data, mask):
    part = np.array([bool(mask >> t & 1) for t in range(N_TASKS)])
    only = data.only(part)
    place = np.cumsum(part) - 1
    expected = [o for o in observations(data) if part[o[0]]]
    assert only.task_of.tolist() == [place[t] for t, _, _, _ in expected]
    assert only.labels.tolist() == [y for _, _, y, _ in expected]
    assert_allclose(only.weights, [w for _, _, _, w in expected], rtol=1e-15)
    W = np.random.default_rng(0).normal(size=(N_TASKS, D))
    X = data.X.toarray() if data.sparse else data.X
    scores = [X[i] @ W[t] for t, i, _, _ in expected]
    assert_allclose(only.forward(W[part]), scores, atol=1e-13)


@quick
@given(st.one_of(long_data(), wide_data()))
def test_relabel_changes_the_labels_and_nothing_else(data):
    data.forward(np.zeros((N_TASKS, D)))
    other = data.relabel(2 * data.y)
    assert_array_equal(other.labels, 2 * data.labels)
    assert_array_equal(other.rows, data.rows)
    assert_array_equal(other.weights, data.weights)
    assert other.features is data.features


@quick
@given(st.one_of(long_data(), wide_data()))
def test_centred_scores_differ_by_a_constant_of_the_task(data):
    if data.sparse:
        data = TaskData(
            data.X.toarray(),
            data.y,
            N_TASKS,
            data.codes,
            data.sample_weight,
            data.task_weight,
        )
    W = np.random.default_rng(0).normal(size=(N_TASKS, D))
    centred, means = data.centred()
    offset = np.einsum("tj,tj->t", means, W)
    scores = centred.forward(W) + offset[data.task_of]
    assert_allclose(scores, data.forward(W), atol=1e-12)
    assert_array_equal(centred.labels, data.labels)
    if not data.wide:
        ones = np.ones(len(data.rows))
        assert_allclose(centred.adjoint(ones), 0, atol=1e-12)


@quick
@given(st.one_of(long_data(), wide_data()))
def test_squared_squares_the_features(data):
    g = np.random.default_rng(0).normal(size=len(data.rows))
    X = data.X.toarray() if data.sparse else data.X
    expected = np.zeros((N_TASKS, D))
    for t, i, value in zip(data.task_of, data.rows, g):
        expected[t] += value * X[i] ** 2
    assert_allclose(data.squared().adjoint(g), expected, atol=1e-12)
    assert_array_equal(data.squared().labels, data.labels)


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_are_scored_by_their_own_model(sparse):
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(20, D)), rng.integers(0, 3, size=20)
    W, b = rng.normal(size=(3, D)), rng.normal(size=3)
    expected = [X[i] @ W[c] + b[c] for i, c in enumerate(codes)]
    X = sp.csr_array(X) if sparse else X
    assert_allclose(score_rows(X, codes, W, b), expected)
    assert_allclose(score_rows(X, codes, np.asfortranarray(W), b), expected)


def test_rows_in_order_are_not_copied():
    X, y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    data = TaskData(X, y, 2, codes=np.array([0, 0, 1]))
    assert data.features is X
