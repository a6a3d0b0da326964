"""Blocks, forward and adjoint: everything in any order comes back in place."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.tasks import TaskData, score_rows

quick = settings(max_examples=50, deadline=None, derandomize=True)


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
