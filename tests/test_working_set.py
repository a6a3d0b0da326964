"""Steps in the multipliers of a box dual: they keep what they must, and get there."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtlearn.problem.margins import MARGIN_LOSSES as LOSSES
from mtlearn.problem.margins import margin_loss
from mtlearn.solvers.kernels.working_set import (
    descend_alone,
    descend_pairs,
    violations,
)


def problem(loss, seed=0, n=24):
    """A dual with two groups of multipliers, zero at first, and its matrix."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    y = np.where(y > 0, 1.0, -1.0) if loss.endswith("hinge") else 2.0 * y
    dual = margin_loss(loss, 0.3).box(y, np.full(n, 2.0))
    A = rng.normal(size=(n, n))
    return dual, A @ A.T / n, np.repeat([0, 1], n // 2)


def worst(dual, beta, G, group):
    """The largest violation."""
    n_groups = max(group.max() + 1, 1)
    low, high = np.empty(n_groups), np.empty(n_groups)
    rise, fall = np.empty_like(beta), np.empty_like(beta)
    return violations(dual, beta, G @ beta, group, low, high, rise, fall)


def objective(dual, beta, G):
    bend = G + np.diag(dual.diagonal)
    linear = beta @ dual.linear - np.abs(beta) @ dual.width
    return 0.5 * beta @ (bend @ beta) - linear


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_keep_the_sums_of_their_groups(loss):
    dual, G, group = problem(loss)
    sub, beta, g = G + np.diag(dual.diagonal), np.zeros(24), -dual.linear
    box = dual.lower, dual.upper, dual.width
    before = worst(dual, beta, G, group)
    done = descend_pairs(sub, beta, g, *box, np.array([0, 12, 24]), 1e-8, 100_000)
    assert 0 < done < 100_000
    assert worst(dual, beta, G, group) <= 2e-8 < before
    assert_allclose(np.bincount(group, beta), 0.0, atol=1e-12)
    assert np.all(dual.lower <= beta) and np.all(beta <= dual.upper)
    assert_allclose(g, sub @ beta - dual.linear, atol=1e-10)
    assert objective(dual, beta, G) < 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_single_steps_without_groups(loss):
    dual, G, _ = problem(loss)
    sub, beta, g = G + np.diag(dual.diagonal), np.zeros(24), -dual.linear
    box = dual.lower, dual.upper, dual.width
    done = descend_alone(sub, beta, g, *box, 1e-8, 100_000)
    assert 0 < done < 100_000
    assert worst(dual, beta, G, np.full(24, -1)) <= 2e-8
    assert np.all(dual.lower <= beta) and np.all(beta <= dual.upper)
    assert_allclose(g, sub @ beta - dual.linear, atol=1e-10)


@pytest.mark.parametrize("descend, more", [(descend_pairs, True), (descend_alone, 0)])
def test_no_more_steps_than_asked_for_and_each_goes_down(descend, more):
    dual, G, _ = problem("epsilon_insensitive")
    sub, beta, g = G + np.diag(dual.diagonal), np.zeros(24), -dual.linear
    starts = (np.array([0, 12, 24]),) if more else ()
    values = [0.0]
    for _ in range(10):
        box = dual.lower, dual.upper, dual.width
        assert descend(sub, beta, g, *box, *starts, 1e-8, 1) == 1
        values.append(objective(dual, beta, G))
    assert np.all(np.diff(values) < 0.0)
