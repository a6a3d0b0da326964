"""Moments against loops; they add, subtract and merge like the rows they stand for."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import finite_difference, objective

from mtlearn.moments import Moments, gather_moments
from mtlearn.moments import gather as gather_module
from mtlearn.problem.tasks import TaskData

quick = settings(max_examples=50, deadline=None, derandomize=True)

T, D = 3, 2


def long(rng, n, weighted=True, n_tasks=T, d=D):
    """Long data of n rows with weights of rows and tasks."""
    return TaskData(
        rng.normal(size=(n, d)) + 5.0,
        rng.normal(size=n) - 3.0,
        n_tasks,
        rng.integers(n_tasks, size=n),
        rng.uniform(0.5, 2.0, size=n) if weighted else None,
        np.linspace(0.5, 2.0, n_tasks) if weighted else None,
    )


def part_of(data, rows):
    """The same data with these rows only."""
    weight = None if data.sample_weight is None else data.sample_weight[rows]
    codes = None if data.wide else data.codes[rows]
    return TaskData(
        data.X[rows], data.y[rows], data.n_tasks, codes, weight, data.task_weight
    )


def wide(rng, n, missing=0.3, weight_ndim=0, n_tasks=T, d=D):
    """Wide data; the first two tasks miss the same labels."""
    Y = rng.normal(size=(n, n_tasks)) - 3.0
    if missing:
        holes = rng.uniform(size=Y.shape) < missing
        holes[:, 1] = holes[:, 0]
        Y[holes] = np.nan
    shape = [None, (n,), (n, n_tasks)][weight_ndim]
    weight = None if shape is None else rng.uniform(0.5, 2.0, size=shape)
    return TaskData(rng.normal(size=(n, d)) + 5.0, Y, n_tasks, None, weight)


def check_moments(moments, data, atol=1e-10):
    """Compare with a loop over every observation of every task."""
    X = data.X.toarray() if data.sparse else data.X
    scale = np.ones(data.n_tasks) if data.task_weight is None else data.task_weight
    assert_array_equal(moments.scale, scale)
    for t in range(data.n_tasks):
        rows = [i for i, s in zip(data.rows, data.task_of) if s == t]
        u = moments.group[t]
        if not rows:
            assert moments.weight[u] == 0
            assert_array_equal(moments.gram[u], 0)
            assert_array_equal(moments.cross[t], 0)
            continue
        y = data.labels[data.task_of == t]
        s = data.weights[data.task_of == t] / scale[t]
        mean, y_mean = s @ X[rows] / s.sum(), s @ y / s.sum()
        gram, cross, square = 0.0, 0.0, 0.0
        for x, label, weight in zip(X[rows], y, s):
            gram += weight * np.outer(x - mean, x - mean)
            cross += weight * (x - mean) * (label - y_mean)
            square += weight * (label - y_mean) ** 2
        assert_allclose(moments.weight[u], s.sum())
        assert_allclose(moments.mean[u], mean, atol=atol)
        assert_allclose(moments.gram[u], gram, atol=atol)
        assert_allclose(moments.y_mean[t], y_mean, atol=atol)
        assert_allclose(moments.cross[t], cross, atol=atol)
        assert_allclose(moments.y_square[t], square, atol=atol)
    expected = np.bincount(data.task_of, weights=data.weights, minlength=data.n_tasks)
    assert_allclose(moments.task_weights, expected)


def assert_same(one, two, atol=1e-9):
    one, two = one.expand(), two.expand()
    names = ("weight", "mean", "gram", "scale", "y_mean", "y_square", "cross")
    for name in names:
        assert_allclose(getattr(one, name), getattr(two, name), atol=atol, err_msg=name)


# ---------------------------------------------------------------- against loops


@quick
@given(st.integers(1, 30), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_long_moments(n, weighted, sparse, seed):
    data = long(np.random.default_rng(seed), n, weighted)
    if sparse:
        data = TaskData(
            sp.csr_array(np.where(data.X > 5, data.X, 0.0)),
            data.y,
            T,
            data.codes,
            data.sample_weight,
            data.task_weight,
        )
    check_moments(gather_moments(data), data)


@quick
@given(
    st.integers(1, 15),
    st.sampled_from([0.0, 0.4, 0.95]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_wide_moments(n, missing, weight_ndim, sparse, seed):
    data = wide(np.random.default_rng(seed), n, missing, weight_ndim)
    if sparse:
        X = sp.csr_array(np.where(data.X > 5, data.X, 0.0))
        data = TaskData(X, data.y, T, None, data.sample_weight)
    check_moments(gather_moments(data), data)


@pytest.mark.parametrize("n", [511, 512, 513, 1500])
def test_tasks_longer_than_a_chunk(n):
    data = long(np.random.default_rng(0), n, n_tasks=1)
    check_moments(gather_moments(data), data, atol=1e-9)


@pytest.mark.parametrize("layout", [long, wide])
def test_sparse_rows_are_made_dense_in_batches(layout, monkeypatch):
    data = layout(np.random.default_rng(1), 40)
    monkeypatch.setattr(gather_module, "_DENSE_BYTES", 8 * D * 7)
    sparse = TaskData(
        sp.csr_array(data.X),
        data.y,
        T,
        data.codes,
        data.sample_weight,
        data.task_weight,
    )
    assert_same(gather_moments(sparse), gather_moments(data))


def test_means_cost_no_digits():
    rng = np.random.default_rng(2)
    data = long(rng, 60)
    far = TaskData(
        np.round(data.X * 2**20) / 2**20 + 1e9,
        np.round(data.y * 2**20) / 2**20 - 1e9,
        T,
        data.codes,
        data.sample_weight,
    )
    near = TaskData(far.X - 1e9, far.y + 1e9, T, data.codes, data.sample_weight)
    far, near = gather_moments(far), gather_moments(near)
    for name in ("gram", "cross", "y_square"):
        assert_allclose(getattr(far, name), getattr(near, name), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- shared Grams


def test_complete_labels_share_one_gram():
    data = wide(np.random.default_rng(3), 20, missing=0.0)
    moments = gather_moments(data)
    assert moments.gram.shape == (1, D, D)
    weighted = wide(np.random.default_rng(3), 20, missing=0.0, weight_ndim=1)
    assert gather_moments(weighted).gram.shape == (1, D, D)


def test_the_same_pattern_of_missing_labels_shares_a_gram():
    data = wide(np.random.default_rng(4), 20)
    moments = gather_moments(data)
    assert moments.gram.shape == (2, D, D)
    assert_array_equal(moments.group, [0, 0, 1])
    # the same rows, weighted unequally
    weight = np.ones(data.y.shape)
    weight[:, 1] = 2.0
    uneven = TaskData(data.X, data.y, T, None, weight)
    assert len(gather_moments(uneven).gram) == 3
    even = TaskData(data.X, data.y, T, None, np.ones(data.y.shape))
    assert len(gather_moments(even).gram) == 2


def test_a_zero_weight_is_a_missing_label():
    data = wide(np.random.default_rng(5), 20)
    complete = wide(np.random.default_rng(5), 20, missing=0.0)
    weight = (~np.isnan(data.y)).astype(float)
    masked = TaskData(complete.X, complete.y, T, None, weight)
    hidden = TaskData(
        complete.X, np.where(weight > 0, complete.y, np.nan), T, None, None
    )
    assert_same(gather_moments(masked), gather_moments(hidden))
    assert len(gather_moments(masked).gram) == 2


def test_expand_gives_every_task_its_own():
    moments = gather_moments(wide(np.random.default_rng(6), 20))
    expanded = moments.expand()
    assert expanded.gram.shape == (T, D, D)
    assert_array_equal(expanded.gram[0], expanded.gram[1])
    assert expanded.expand() is expanded
    assert_same(moments, expanded)


# ---------------------------------------------------------------- arithmetic


@quick
@given(
    st.sampled_from(["long", "wide", "complete"]),
    st.lists(st.integers(0, 2), min_size=2, max_size=25),
    st.integers(0, 2**32 - 1),
)
def test_moments_add_subtract_and_merge_like_rows(layout, parts, seed):
    rng, n, parts = np.random.default_rng(seed), len(parts), np.array(parts)
    if layout == "long":
        data = long(rng, n)
    else:
        data = wide(rng, n, missing=0.4 if layout == "wide" else 0.0, weight_ndim=1)
    total = gather_moments(data)
    pieces = [
        gather_moments(part_of(data, parts == k))
        for k in range(3)
        if (parts == k).any()
    ]
    assert_same(Moments.merge(pieces), total)
    assert_same(Moments.merge(iter(pieces[::-1])), total)
    if len(pieces) > 1:
        rest = Moments.merge(pieces[1:])
        assert_same(pieces[0] + rest, total)
        assert_same(total - pieces[0], rest)
        assert_same(total - rest, pieces[0])


def test_complete_parts_keep_one_gram():
    data = wide(np.random.default_rng(7), 20, missing=0.0)
    first = gather_moments(part_of(data, slice(0, 12)))
    second = gather_moments(part_of(data, slice(12, 20)))
    assert len((first + second).gram) == 1
    assert len((first + second - first).gram) == 1


def test_taking_everything_away_leaves_nothing():
    moments = gather_moments(long(np.random.default_rng(8), 20))
    nothing = moments - moments
    for name in ("weight", "mean", "gram", "y_mean", "y_square", "cross"):
        assert_array_equal(getattr(nothing, name), 0)
    assert_same(nothing + moments, moments)


def test_a_part_without_rows_of_a_task_changes_nothing_there():
    rng = np.random.default_rng(9)
    data = long(rng, 30)
    others = part_of(data, data.codes != 1)
    total, rest = gather_moments(data), gather_moments(others)
    alone = total - rest
    assert_allclose(alone.weight[[0, 2]], 0)
    assert_allclose(alone.gram[1], total.gram[1], atol=1e-12)
    assert_allclose(alone.mean[1], total.mean[1], atol=1e-12)


def test_a_whole_cross_validation_from_one_pass():
    data = long(np.random.default_rng(10), 60)
    total = gather_moments(data)
    for fold in range(5):
        test = np.arange(60) % 5 == fold
        train = total - gather_moments(part_of(data, test))
        check_moments(train, part_of(data, ~test))


def test_moments_of_different_problems_do_not_mix():
    rng = np.random.default_rng(11)
    one = gather_moments(long(rng, 10))
    for other in (long(rng, 10, n_tasks=4), long(rng, 10, d=3)):
        with pytest.raises(ValueError, match="the same n_tasks and n_features"):
            one + gather_moments(other)
    with pytest.raises(ValueError, match="`parts` is empty"):
        Moments.merge([])


# ---------------------------------------------------------------- objective


@pytest.mark.parametrize(
    "layout", ["long", "wide", "complete", "weights of every label"]
)
def test_objective_and_gradient(layout):
    rng = np.random.default_rng(12)
    data = {
        "long": lambda: long(rng, 25),
        "wide": lambda: wide(rng, 12, weight_ndim=1),
        "complete": lambda: wide(rng, 12, missing=0.0),
        "weights of every label": lambda: wide(rng, 12, weight_ndim=2),
    }[layout]()
    moments = gather_moments(data)
    W, b = rng.normal(size=(T, D)), rng.normal(size=T)
    expected = objective(
        "squared",
        W,
        b,
        data.X[data.rows],
        data.labels,
        data.task_of,
        data.weights,
        0.0,
        "independent",
    )
    assert_allclose(moments.objective(W, b), expected, rtol=1e-12)
    g_coef, g_intercept = moments.gradient(W, b)
    numeric = finite_difference(lambda V: moments.objective(V, b), W, 1e-4)
    assert_allclose(g_coef, numeric, rtol=1e-6, atol=1e-6)
    numeric = finite_difference(lambda c: moments.objective(W, c), b, 1e-4)
    assert_allclose(g_intercept, numeric, rtol=1e-6, atol=1e-6)


def test_from_data_leaves_the_rows_alone():
    data = long(np.random.default_rng(13), 20)
    X, y = data.X.copy(), data.y.copy()
    data.X.flags.writeable = data.y.flags.writeable = False
    gather_moments(data)
    assert_array_equal(data.X, X)
    assert_array_equal(data.y, y)
