"""How far levels are apart: against the variances of a random-intercept model."""

import numpy as np
import pytest
from cases import P

from mtlearn import MultiTaskBayesianRidge
from mtlearn.moments import gather_moments
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.related.levels import level_price


def draw(spread, n_tasks=25, sizes=(3, 12), seed=0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_tasks), rng.integers(*sizes, size=n_tasks))
    X = rng.normal(size=(len(codes), 3)) + 5.0
    y = X.sum(axis=1) + spread * rng.normal(size=n_tasks)[codes]
    return X, y + rng.normal(size=len(codes)), codes


def price(X, y, codes=None, weight=None):
    n_tasks = y.shape[1] if codes is None else codes.max() + 1
    data = TaskData(X, y, n_tasks, codes, weight)
    return level_price(gather_moments(data), len(data.rows))


def ratio(X, y, **ids):
    mixed = MultiTaskBayesianRidge(covariance="intercept", shared_prior="flat")
    mixed.fit(X, y, **ids)
    return mixed.noise_variance_ / mixed.covariance_[-1, -1]


@pytest.mark.parametrize("spread", [0.5, 1.0, 5.0])
def test_it_is_the_ratio_of_two_variances(spread):
    X, y, codes = draw(spread)
    assert price(X, y, codes) == pytest.approx(ratio(X, y, task=codes), rel=0.02)


@pytest.mark.parametrize("layout", ["wide", "missing"])
def test_tasks_in_columns(layout):
    Y = P.wide[layout]
    assert price(P.X, Y) == pytest.approx(ratio(P.X, Y), rel=0.02)


def test_columns_that_say_nothing_new_are_left_out():
    X, y, codes = draw(1.0)
    more = np.hstack([X, X[:, :1] + X[:, 1:2], np.full((len(X), 1), 3.0)])
    assert price(more, y, codes) == pytest.approx(price(X, y, codes), rel=1e-6)


def test_levels_that_do_not_differ_have_no_price():
    X, y, codes = draw(0.0, n_tasks=8, sizes=(40, 41))
    for t in range(8):
        y[codes == t] -= y[codes == t].mean() - X[codes == t].sum(axis=1).mean()
    assert price(X, y, codes) == np.inf


def test_a_weight_of_two_is_a_row_twice():
    X, y, codes = draw(1.0)
    weight = np.random.default_rng(1).integers(1, 4, size=len(y))
    twice = np.repeat(np.arange(len(y)), weight)
    again = price(X[twice], y[twice], codes[twice])
    assert price(X, y, codes, 1.0 * weight) == pytest.approx(again, rel=1e-9)


def test_too_few_rows_do_not_tell():
    X, y, codes = draw(1.0, n_tasks=3, sizes=(2, 3))
    assert price(np.hstack([X, X**2, X**3]), y, codes) is None
    one = codes == 0
    assert price(X[one], y[one], codes[one]) is None
