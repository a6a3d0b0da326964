"""Rows in an order of their own, against dictionaries of what they hold."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.mapping import distinct as module
from mtlearn.solvers.mapping.distinct import digest, distinct

LAYOUTS = ("long", "wide")
N_TASKS = 3


def problem(layout, build=np.asarray, weighted=True, seed=0):
    """Few values, so that many rows are equal; some labels missing in the wide one."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 2, size=(60, 2)).astype(float)
    wide = layout == "wide"
    y = rng.integers(2, size=(60, N_TASKS) if wide else 60).astype(float)
    codes = None if wide else rng.integers(N_TASKS, size=60)
    if wide:
        y[rng.uniform(size=y.shape) < 0.3] = np.nan
    weight = rng.integers(1, 4, size=60).astype(float) if weighted else None
    return TaskData(build(X), y, N_TASKS, codes, weight, None)


def mass(data):
    """{(task, features, label): sum of weights} of all labels."""
    X = data.X.toarray() if data.sparse else data.X
    found = {}
    for i, t, y, w in zip(data.rows, data.task_of, data.labels, data.weights):
        key = int(t), *(X[i] + 0.0), float(y)
        found[key] = found.get(key, 0.0) + w
    return found


def same(a, b):
    for name in ("y", "codes", "sample_weight", "task_weight"):
        assert_array_equal(getattr(a, name), getattr(b, name))
    assert_array_equal(*(d.X.toarray() if d.sparse else d.X for d in (a, b)))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_label_keeps_its_weight(layout, build, weighted):
    data = problem(layout, build, weighted)
    few = distinct(data)
    assert mass(few) == mass(data)
    if layout == "long":
        assert len(few.y) == len(mass(few))
        assert (np.diff(few.codes) >= 0).all()
    assert len(few.y) < len(data.y)
    # again changes nothing
    same(few, distinct(few))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neither_order_nor_repetition_nor_container_is_seen(layout):
    data = problem(layout)
    rows = np.repeat(np.arange(60), data.sample_weight.astype(int))
    rows = np.random.default_rng(1).permutation(rows)
    codes = None if data.wide else data.codes[rows]
    copies = TaskData(data.X[rows], data.y[rows], N_TASKS, codes, None, None)
    same(distinct(data), distinct(copies))
    sparse = TaskData(sp.csr_array(data.X), data.y, N_TASKS, data.codes)
    dense = TaskData(data.X, data.y, N_TASKS, data.codes)
    same(distinct(sparse), distinct(dense))


def test_weights_of_all_labels():
    X, Y = np.zeros((3, 1)), np.array([[1.0, np.nan], [1.0, 2.0], [1.0, 2.0]])
    weight = np.array([[1.0, 5.0], [2.0, 0.0], [4.0, 3.0]])
    few = distinct(TaskData(X, Y, 2, None, weight, None))
    # a label of weight zero is one that is missing: the first two rows are one
    assert len(few.y) == 2
    assert_allclose(np.where(few.observed, few.sample_weight, 0.0).sum(axis=0), [7, 3])


def test_rows_without_labels_are_left_out_unless_there_are_no_others():
    X, nothing = np.arange(4.0)[:, None], np.full((4, 2), np.nan)
    assert len(distinct(TaskData(X, nothing, 2)).y) == 4
    some = nothing.copy()
    some[2, 1] = 5.0
    assert_array_equal(distinct(TaskData(X, some, 2)).X, [[2.0]])


def test_weights_of_one_are_no_weights():
    X, y, codes = np.arange(4.0)[:, None], np.ones(4), np.zeros(4, dtype=int)
    assert distinct(TaskData(X, y, 1, codes, np.ones(4))).sample_weight is None
    assert_array_equal(distinct(TaskData(X // 2, y, 1, codes)).sample_weight, [2, 2])


def test_numbers_that_collide_merge_nothing_that_differs(monkeypatch):
    def constant(values):
        return np.zeros(values.shape[0], dtype=np.uint64)

    monkeypatch.setattr(module, "digest", constant)
    for layout in LAYOUTS:
        for build in (np.asarray, sp.csr_array):
            data = problem(layout, build)
            assert mass(distinct(data)) == mass(data)


def test_digest():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [np.nan, 2.0], [2.0, np.nan]])
    with np.errstate(all="raise"):
        found = digest(X)
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 4
    assert_array_equal(digest(sp.csr_array(X)), found)
    assert digest(np.zeros((2, 0))).tolist() == [0, 0]
    values = np.random.default_rng(0).integers(0, 4, size=(4000, 8)).astype(float)
    assert len(np.unique(digest(values))) == len(np.unique(values, axis=0))
