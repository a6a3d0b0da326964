"""The penalty of columns around a point: its two derivatives, and where they end."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.problem.penalties import L21, Dirty
from mtlearn.solvers.features.columns import smooth_penalty, turning_points

PENALTIES = [L21(0.8), Dirty(0.8, 0.5), Dirty(0.8, 0.7)]
V = np.random.default_rng(0).normal(size=(5, 4)) * [1.0, 0.3, 2.0, 1e-2]


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_derivatives(penalty):
    here = smooth_penalty(penalty, V)
    numeric = reference.finite_difference(penalty.value, V, 1e-7)
    assert_allclose(here.gradient[here.moving], numeric[here.moving], atol=1e-5)
    diagonal = np.broadcast_to(here.diagonal, V.shape)
    for j in range(V.shape[1]):
        own = here.unit[:, j]
        H = np.diag(diagonal[:, j]) - here.nu[j] * np.outer(own, own)
        for t in np.flatnonzero(here.moving[:, j]):
            step = 1e-6 * np.eye(5)[t]
            ends = np.column_stack([V[:, j] + step, V[:, j] - step])
            up, down = smooth_penalty(penalty, ends).gradient.T
            column = (up - down) / 2e-6
            size = 1e-4 * (1.0 + here.nu[j])
            assert_allclose(
                H[here.moving[:, j], t], column[here.moving[:, j]], atol=size
            )


def test_a_column_that_has_all_but_vanished_stays():
    small = V * [1.0, 1e-9, 1.0, 1.0]
    here = smooth_penalty(L21(0.8), small, most=np.full(4, 1e6))
    assert_array_equal(here.moving.all(axis=0), [True, False, True, True])
    assert_array_equal(here.nu[1], 0.0)


def test_a_column_turns_round_where_its_length_is_least():
    here = smooth_penalty(L21(0.8), V)
    direction = -0.5 * V
    direction[:, 1] *= -1.0  # away from zero: never
    steps = turning_points(V, here, direction)
    assert_allclose(steps[:, [0, 2, 3]], 2.0)
    assert_array_equal(steps[:, 1], np.inf)


def test_a_private_entry_turns_round_at_zero():
    penalty = Dirty(0.8, 0.5)
    here = smooth_penalty(penalty, V)
    single = here.moving & (here.unit == 0)
    assert single.any() and not single.all()
    steps = turning_points(V, here, -0.25 * V)
    assert_allclose(steps[single], 4.0)
    assert_array_equal(steps[~single & single.any(axis=0)], np.inf)
