"""Natural gradients: an exact metric where there is one, steps that go down."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtlearn.problem.intercepts import FREE
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.mapping.heads import Heads
from mtlearn.solvers.mapping.layers import Layers
from mtlearn.solvers.mapping.natural import Metric, descend_naturally
from mtlearn.solvers.mapping.solve import Network

N, D = 400, 3


def network(sizes, layout="wide", activation="identity", alpha=1e-6):
    """Features with moments of exactly one, heads among the unknowns."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D))
    X -= X.mean(axis=0)
    X = np.linalg.qr(X)[0] * np.sqrt(N)
    Y = np.tanh(X[:, :2]) + 0.1 * rng.normal(size=(N, 2))
    if layout == "wide":
        data = TaskData(X, Y, 2)
    else:
        data = TaskData(X, Y[:, 0], 2, np.repeat([0, 1], N // 2))
    layers = Layers((D, *sizes), activation)
    heads = Heads.of(data, None, alpha, FREE)
    decay = layers.decay(alpha, np.full(D, alpha))
    return Network(layers, heads, X, decay, False), rng


def block(net, x, step):
    """The Hessian times a step, of a function that is quadratic along it."""
    return net(x + step)[1] - net(x)[1]


@pytest.mark.parametrize("part", ["layer", "heads"])
def test_it_is_exact_where_units_are_linear(part):
    h = 4 if part == "layer" else 3
    net, rng = network((h,))
    cut = net.layers.n_params
    x, step = rng.normal(size=(2, cut + 2 * h + 2))
    step[slice(cut, None) if part == "layer" else slice(cut)] = 0.0
    where = slice(cut) if part == "layer" else slice(cut, None)
    if part == "layer":
        # two tasks see two of the four directions of the units
        W = step[:cut].reshape(D + 1, 4)
        V = x[cut:-2].reshape(2, 4)
        step[:cut] = (W @ np.linalg.pinv(V) @ V).ravel()
    metric = Metric()
    metric.update(net, x)
    assert_allclose(metric(block(net, x, step))[where], step[where], atol=1e-4)


@pytest.mark.parametrize("layout", ["wide", "long"])
@pytest.mark.parametrize("sizes", [(4,), (5, 4)])
def test_it_is_symmetric_and_positive(layout, sizes):
    net, rng = network(sizes, layout, "tanh")
    size = net.layers.n_params + 2 * 4 + 2
    x, a, b = rng.normal(size=(3, size))
    metric = Metric(damping=0.1)
    metric.update(net, x)
    metric.update(net, x + 0.1 * a)
    assert_allclose(a @ metric(b), b @ metric(a), rtol=1e-8)
    assert a @ metric(a) > 0 and b @ metric(b) > 0


def test_heads_that_are_zero_have_one_too():
    net, rng = network((4,))
    x = np.concatenate([net.layers.draw(rng), np.zeros(2 * 4 + 2)])
    metric = Metric(0.1, np.float32)
    metric.update(net, x)
    assert np.isfinite(metric(net(x)[1])).all()


@pytest.mark.parametrize("layout", ["wide", "long"])
@pytest.mark.parametrize("sizes", [(8,), (8, 6)])
def test_steps_go_down(layout, sizes):
    net, rng = network(sizes, layout, "tanh", 0.01)
    x = np.concatenate([net.layers.draw(rng), np.zeros(2 * sizes[-1] + 2)])
    before = x.copy()
    end = descend_naturally(net, x, rng, 40)
    assert net(end)[0] < 0.3 * net(x)[0]
    assert (x == before).all()
