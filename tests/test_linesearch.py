"""The search along a line ends where the slope is nearly zero."""

import numpy as np
import pytest

from mtlearn.solvers.linesearch import find_step


def counted(slope, bend):
    """A function from a step to slope and curvature, and the list of its steps."""
    steps = []

    def along(step):
        steps.append(step)
        return slope(step), bend(step)

    return along, steps


def test_a_quadratic_takes_one_newton_step():
    along, steps = counted(lambda s: 3.0 * s - 12.0, lambda s: 3.0)
    assert find_step(along, -12.0, 1e-12) == 4.0
    assert steps == [1.0, 4.0]


def test_the_first_step_is_taken_where_it_is_good_enough():
    along, steps = counted(lambda s: s - 1.01, lambda s: 1.0)
    assert find_step(along, -1.01, 0.1) == 1.0
    assert steps == [1.0]


@pytest.mark.parametrize("slope0", [0.0, 1.0, np.nan])
def test_a_slope_that_does_not_fall_is_not_followed(slope0):
    along, steps = counted(lambda s: s, lambda s: 1.0)
    assert find_step(along, slope0, 1e-6) == 0.0
    assert steps == []


@pytest.mark.parametrize("root", [1e-6, 0.3, 50.0])
@pytest.mark.parametrize("power", [1 / 3, 3.0])
def test_slopes_on_which_newton_alone_runs_away_or_creeps(root, power):
    def slope(s):
        return np.sign(s - root) * abs(s - root) ** power

    def bend(s):
        return power * abs(s - root) ** (power - 1.0) if s != root else 0.0

    along, _ = counted(slope, bend)
    found = find_step(along, slope(0.0), 1e-3, most=100)
    assert abs(slope(found)) <= 1e-3 * abs(slope(0.0))


def test_no_step_is_longer_than_the_longest():
    along, steps = counted(lambda s: s - 50.0, lambda s: 1.0)
    assert find_step(along, -50.0, 1e-6, longest=1.0) == 1.0
    assert find_step(along, -50.0, 1e-6, longest=8.0) == 8.0
    assert max(steps) == 8.0
    assert find_step(along, -50.0, 1e-6, longest=64.0) == 50.0


def test_a_jump_is_found_from_the_left():
    # the slope jumps past zero at 0.7, and no step has a slope of zero
    along, _ = counted(lambda s: -1.0 if s < 0.7 else 2.0, lambda s: 0.0)
    found = find_step(along, -1.0, 1e-6, most=100)
    assert 0.7 - 1e-11 <= found < 0.7


def test_it_ends_after_the_most_calls():
    along, steps = counted(lambda s: -1.0, lambda s: 0.0)
    assert find_step(along, -1.0, 1e-6, most=7) == steps[-1]
    assert len(steps) == 7
