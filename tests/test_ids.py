"""Ids in any container become codes, and what cannot be an id is refused."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mtlearn.problem.ids import (
    UNKNOWN,
    column_names,
    find_tasks,
    index_tasks,
    shorten,
    split_task_column,
)

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
