"""Heads: losses against loops, derivatives against differences, the best ones exactly.

`Case` is a problem in one layout with whatever the reference wants of it.
"""

from dataclasses import replace
from itertools import pairwise as consecutive

import numpy as np
import pytest
import reference
from cases import INTERCEPTS, pairwise
from cases_heads import ALPHA, MODES, N_TASKS, NAMES, OWN, case
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn import PerTaskRegressor
from mtlearn.problem.intercepts import FREE, NONE, SHARED
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.mapping.heads import Heads, head_sizes
from mtlearn.solvers.mapping.ridge import ridge_heads

LAYOUTS = ("wide", "holes", "long")
LOSSES = ("squared", "binary", "softmax")
WEIGHTS = ("none", "rows", "labels", "tasks")
COLUMNS = {"squared": 5, "binary": 5, "softmax": 4 + 3 + 1 + 1 + 3}

every_case = pytest.mark.parametrize(
    "layout, loss, mode, weights", pairwise(LAYOUTS, LOSSES, MODES, WEIGHTS)
)


def twin(c, V, b, mode="free", alpha=ALPHA):
    """The reference's objective where the rows themselves are the shared features."""
    loss, *rows = c.twin
    size = 0.5 * alpha * rows[0].shape[1]
    eye = np.eye(rows[0].shape[1]), np.zeros(rows[0].shape[1])
    value = reference.mapping_objective(
        loss, [eye[0], V.T], [eye[1], b], "identity", *rows, alpha, NAMES[mode], N_TASKS
    )
    return value - size


def point(loss, mode, n_features=4):
    rng = np.random.default_rng(1)
    n = COLUMNS[loss]
    b = np.zeros(n) if mode == "none" else rng.normal(size=n)
    return rng.normal(size=(n, n_features)), np.full(n, 0.3) if mode == "shared" else b


def features(c):
    return np.ascontiguousarray(c.data.X)


@every_case
def test_values_against_loops(layout, loss, mode, weights):
    c = case(layout, loss, weights)
    heads = Heads.of(c.data, c.own, ALPHA, INTERCEPTS[mode])
    assert heads.n_columns == COLUMNS[loss]
    V, b = point(loss, mode)
    value = heads.evaluate(features(c), V, b)[0] + heads.penalty(V, b)[0]
    if loss == "softmax" and mode == "shrunk":
        # the level of a task that has nothing to learn is no one's but counts here
        b[8] = b[7]
        value = heads.evaluate(features(c), V, b)[0] + heads.penalty(V, b)[0]
        pair = 0.5 * ALPHA * np.var(b[7:9]) * 2
        value -= pair
    assert_allclose(value, twin(c, V, b, mode), rtol=1e-12)
    zero = twin(c, 0 * V, 0 * b, mode)
    assert_allclose(heads.zero_objective(), zero, rtol=1e-12)


@every_case
def test_derivatives_against_differences(layout, loss, mode, weights):
    c = case(layout, loss, weights)
    heads, H = Heads.of(c.data, c.own, ALPHA, INTERCEPTS[mode]), features(c)
    V, b = point(loss, mode)
    before = H.copy(), V.copy(), b.copy()
    _, dV, db, D = heads.evaluate(H, V, b)
    for array, old in zip((H, V, b), before):
        assert_array_equal(array, old)

    def whole(V, b):
        return heads.evaluate(H, V, b)[0] + heads.penalty(V, b)[0]

    _, pV, pb = heads.penalty(V, b)
    expected = reference.finite_difference(lambda V: whole(V, b), V)
    assert_allclose(dV + pV, expected, rtol=1e-6, atol=1e-7)
    expected = reference.finite_difference(lambda b: whole(V, b), b)
    assert_allclose(db + pb, expected, rtol=1e-6, atol=1e-7)
    expected = reference.finite_difference(lambda H: heads.evaluate(H, V, b)[0], H)
    assert_allclose(D, expected, rtol=1e-6, atol=1e-7)
    # a direction in which the intercepts may move
    free = heads.confine(db + pb)
    if mode == "none":
        assert_array_equal(free, 0)
    elif mode == "shared":
        for group in np.unique(heads.label_of):
            members = heads.label_of == group
            assert_allclose(free[members], (db + pb)[members].mean(), rtol=1e-12)
    else:
        assert_array_equal(free, db + pb)


def test_far_scores_are_finite():
    for loss in ("binary", "softmax"):
        for layout in ("wide", "long"):
            c = case(layout, loss)
            V, b = point(loss, "free")
            for size in (1e3, 1e150):
                heads = Heads.of(c.data, c.own, ALPHA, FREE)
                value, *slopes = heads.evaluate(features(c), size * V, size * b)
                assert np.isfinite(value) and value > 0
                assert all(np.isfinite(part).all() for part in slopes)
                assert np.abs(slopes[1]).max() <= len(c.twin[2])


def test_sizes_of_heads():
    sizes, numbers = head_sizes(OWN, N_TASKS)
    assert sizes.tolist() == [4, 3, 1, 1, 3]
    assert numbers.tolist() == [1, 2, 3, 4, 1, 2, 3, 0, 0, 2, 3, 4]
    for own in (None, np.ones((3, 2), dtype=bool)):
        sizes, numbers = head_sizes(own, 3)
        assert sizes.tolist() == [1, 1, 1] and numbers.tolist() == [0, 0, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_task_with_one_class_of_several_has_nothing_to_learn(layout):
    c = case(layout, "softmax")
    heads = Heads.of(c.data, c.own, 0.0, FREE)
    V, b = point("softmax", "free")
    _, dV, db, _ = heads.evaluate(features(c), V, b)
    single = heads.task_of_column == 3
    assert single.sum() == 1
    assert_array_equal(dV[single], 0)
    assert_array_equal(db[single], 0)
    assert np.abs(dV[~single]).min() > 0


# ---------------------------------------------------------------- the best heads


@pytest.mark.parametrize(
    "layout, mode, weights, alpha",
    pairwise(LAYOUTS, MODES, WEIGHTS, (0.7, 1e-6, 50.0)),
)
def test_the_best_heads_are_those_of_separate_ridge_regressions(
    layout, mode, weights, alpha
):
    c = case(layout, "squared", weights)
    heads, H = Heads.of(c.data, None, alpha, INTERCEPTS[mode]), features(c)
    V, b = heads.project(H)
    _, *rows = c.twin
    coef, intercept, value = reference.least_squares(
        *rows, alpha, "independent", NAMES[mode]
    )
    assert_allclose(V, coef, atol=1e-7)
    assert_allclose(b, intercept, atol=1e-7)
    found = heads.evaluate(H, V, b)[0] + heads.penalty(V, b)[0]
    assert_allclose(found, value, rtol=1e-9)
    # nothing is left to gain in the directions that are allowed
    _, dV, db, _ = heads.evaluate(H, V, b)
    _, pV, pb = heads.penalty(V, b)
    assert_allclose(dV + pV, 0, atol=1e-6)
    assert_allclose(heads.confine(db + pb), 0, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
def test_the_best_heads_on_features_that_repeat(layout, mode):
    # a dead unit, and a twin of another one
    c = case(layout, "squared")
    H = features(c)
    H[:, 1] = 0.0
    H[:, 2] = H[:, 3]
    for alpha in (0.0, 1e-8, 1.0):
        heads = Heads.of(c.data, None, alpha, INTERCEPTS[mode])
        V, b = heads.project(H)
        assert np.isfinite(V).all() and np.isfinite(b).all()
        assert_allclose(V[:, 1], 0, atol=1e-6)
        assert_allclose(V[:, 2], V[:, 3], atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_heads_on_a_part_of_the_rows_count_for_all(layout):
    for loss in LOSSES:
        c = case(layout, loss, "rows")
        heads, H = Heads.of(c.data, c.own, ALPHA, FREE), features(c)
        V, b = point(loss, "free")
        every = heads.rows(np.arange(len(H)), np.float64)
        assert_allclose(every.evaluate(H, V, b)[0], heads.evaluate(H, V, b)[0])
        index = np.arange(0, len(H), 2)
        part = heads.rows(index, np.float32)
        few = part.evaluate(H[index].astype(np.float32), V, b)
        assert few[3].dtype == np.float32
        weight = heads.weight[index]
        scale = heads.weight.sum() / weight.sum()
        assert_allclose(part.weight, scale * weight, rtol=1e-6)
        if loss == "squared":
            # the best heads there are those of the weights there
            V, b = part.project(H[index])
            found = part.evaluate(H[index], V, b)
            penalty = part.penalty(V, b)
            assert_allclose(found[1] + penalty[1], 0, atol=2e-5)
            assert_allclose(found[2], 0, atol=2e-5)
        else:
            one = Heads.of(c.data, c.own, ALPHA, FREE)
            inside = np.isin(np.arange(len(H)), index).astype(np.float64)
            inside = inside.reshape(-1, *[1] * (heads.weight.ndim - 1))
            one = replace(one, weight=inside * scale * heads.weight)
            assert_allclose(few[0], one.evaluate(H, V, b)[0], rtol=1e-5)


def test_a_task_without_rows_in_a_part_has_a_zero_head():
    c = case("long", "squared")
    heads, H = Heads.of(c.data, None, ALPHA, FREE), features(c)
    index = np.flatnonzero(c.data.codes != 1)
    V, b = heads.rows(index, np.float64).project(H[index])
    assert np.isfinite(b).all()
    assert_allclose(V[1], 0, atol=1e-12)
    full = heads.project(H)[0]
    assert np.abs(V[0] - full[0]).max() < 0.2 * np.abs(full[0]).max()


# ---------------------------------------------------------------- where to begin


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_first_intercepts_are_the_best_without_features(layout, loss):
    c = case(layout, loss, "rows")
    heads = Heads.of(c.data, c.own, 0.0, FREE)
    b = heads.start()
    H = np.zeros((len(c.data.X), 1))
    db = heads.evaluate(H, np.zeros((len(b), 1)), b)[2]
    assert_allclose(db, 0, atol=1e-6)
    assert_array_equal(Heads.of(c.data, c.own, 0.0, NONE).start(), 0)
    one = Heads.of(c.data, c.own, 0.0, SHARED)
    for group in np.unique(one.label_of):
        assert np.ptp(one.start()[one.label_of == group]) < 1e-12


def test_first_intercepts_of_one_class_are_bounded():
    codes = np.repeat([0, 1], 4)
    data = TaskData(np.ones((8, 1)), np.repeat([1.0, 0.0], 4), 2, codes, None, None)
    b = Heads.of(data, np.ones((2, 2), dtype=bool), 1.0, FREE).start()
    assert b[0] == -b[1] and 10 < b[0] < 50
    assert_array_equal(Heads.of(data, None, 1.0, FREE).start(), [0, 0])


def test_the_estimator_of_the_heads():
    c = case("long", "squared")
    V, b = Heads.of(c.data, None, ALPHA, FREE).project(features(c))
    model = PerTaskRegressor(ALPHA).fit(c.data.X, c.data.y, task=c.data.codes)
    assert_allclose(V, model.coef_, atol=1e-8)
    assert_allclose(b, model.intercept_, atol=1e-8)


@pytest.mark.parametrize("free", [True, False])
def test_ridge_regressions_by_rows_and_by_features(free):
    # tasks of fewer rows than features and of more, one of them without rows
    rng = np.random.default_rng(0)
    sizes = [3, 0, 1, 40, 15, 12]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    H, y = rng.normal(size=(starts[-1], 20)), rng.normal(size=starts[-1])
    weight = rng.uniform(0.5, 2.0, size=len(y))
    given = H.copy(), y.copy()
    V, b = ridge_heads(H, y, weight, starts, ALPHA, free)
    for t, (first, last) in enumerate(consecutive(starts)):
        rows = slice(first, last)
        residual = weight[rows] * (H[rows] @ V[t] + b[t] - y[rows])
        assert_allclose(H[rows].T @ residual + ALPHA * V[t], 0, atol=1e-12)
        assert_allclose(residual.sum() if free else b[t], 0, atol=1e-12)
    assert_array_equal(H, given[0])
    assert_array_equal(y, given[1])


def test_ridge_regressions_that_rounding_would_spoil_are_left_to_others():
    H = 1e8 * np.column_stack([np.ones(4), 1.0 + 1e-9 * np.arange(4.0)])
    for n in (2, 4):
        rows = H[:n], np.arange(float(n)), np.ones(n), np.array([0, n])
        assert ridge_heads(*rows, 1e-6, False) is None
