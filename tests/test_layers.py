"""Shared layers: forward against loops, backward against differences."""

from itertools import pairwise

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn.solvers.mapping.layers import ACTIVATIONS, Layers

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_depth = pytest.mark.parametrize("hidden", [(3,), (4, 3), (2, 5, 3)])


def drawn(hidden, activation, n_samples=7, n_features=4):
    """Layers, weights and rows."""
    rng = np.random.default_rng(0)
    layers = Layers((n_features, *hidden), activation)
    return layers, layers.draw(rng), rng.normal(size=(n_samples, n_features))


@every_depth
def test_a_long_vector_is_unpacked_into_views(hidden):
    layers, theta, _ = drawn(hidden, "tanh")
    parts = layers.unpack(theta)
    sizes = (4, *hidden)
    assert [W.shape for W, _ in parts] == list(pairwise(sizes))
    assert [b.shape for _, b in parts] == [(size,) for size in hidden]
    assert layers.n_params == len(theta) == sum(W.size + b.size for W, b in parts)
    pieces = [part.ravel() for pair in parts for part in pair]
    assert_array_equal(np.concatenate(pieces), theta)
    for number, (W, b) in enumerate(parts):
        W[:], b[:] = number, -number
    assert_array_equal(np.unique(theta), np.arange(1 - len(hidden), len(hidden)))


@every_activation
@every_depth
def test_forward_against_loops(activation, hidden):
    layers, theta, X = drawn(hidden, activation)
    outputs = layers.forward(theta, X)
    assert outputs[0] is X and len(outputs) == len(hidden) + 1
    pairs = layers.unpack(theta)
    for k in range(1, len(outputs)):
        # of the weights after the last layer the reference makes no use
        coefs = [W for W, _ in pairs[:k]] + [None]
        intercepts = [b for _, b in pairs[:k]] + [None]
        expected = reference.mapped(coefs, intercepts, activation, X)
        assert_allclose(outputs[k], expected, rtol=1e-12, atol=1e-15)


@every_activation
@every_depth
def test_backward_against_differences(activation, hidden):
    layers, theta, X = drawn(hidden, activation)
    D = np.random.default_rng(1).normal(size=(len(X), hidden[-1]))
    gradient = layers.backward(theta, layers.forward(theta, X), D.copy())
    expected = reference.finite_difference(
        lambda theta: (D * layers.forward(theta, X)[-1]).sum(), theta, 1e-6
    )
    assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@every_activation
def test_values_far_out_are_finite(activation):
    layers = Layers((1, 1), activation)
    X = np.array([[-1e4], [-40.0], [0.0], [40.0], [1e4]])
    theta = np.array([1.0, 0.0])
    H = layers.forward(theta, X)[-1]
    ends = {
        "tanh": [-1, -1, 0, 1, 1],
        "relu": [0, 0, 0, 40, 1e4],
        "logistic": [0, 0, 0.5, 1, 1],
        "softplus": [0, 0, np.log(2), 40, 1e4],
        "identity": X.ravel(),
    }[activation]
    assert_allclose(H.ravel(), ends, atol=1e-12)
    slopes = {
        "tanh": [0, 0, 1, 0, 0],
        "relu": [0, 0, 0, 1, 1],
        "logistic": [0, 0, 0.25, 0, 0],
        "softplus": [0, 0, 0.5, 1, 1],
        "identity": [1, 1, 1, 1, 1],
    }[activation]
    for i, slope in enumerate(slopes):
        row = layers.forward(theta, X[i : i + 1])
        bias = layers.backward(theta, row, np.ones((1, 1)))[1]
        assert_allclose(bias, slope, atol=1e-12)


@every_activation
@pytest.mark.parametrize("build", [sp.csr_array, sp.csc_array, sp.csr_matrix])
def test_sparse_rows_are_rows(activation, build):
    layers, theta, X = drawn((4, 3), activation)
    X[np.abs(X) < 0.7] = 0.0
    outputs = layers.forward(theta, build(X))
    for k, expected in enumerate(layers.forward(theta, X)[1:], 1):
        assert type(outputs[k]) is np.ndarray
        assert_allclose(outputs[k], expected, rtol=1e-12, atol=1e-15)
    D = np.ones((len(X), 3))
    gradient = layers.backward(theta, outputs, D.copy())
    expected = layers.backward(theta, layers.forward(theta, X), D.copy())
    assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


@every_activation
def test_single_precision_stays_single(activation):
    layers, theta, X = drawn((4, 3), activation)
    few = theta.astype(np.float32), X.astype(np.float32)
    outputs = layers.forward(*few)
    assert all(H.dtype == np.float32 for H in outputs)
    D = np.ones((len(X), 3))
    gradient = layers.backward(few[0], outputs, D.astype(np.float32))
    assert gradient.dtype == np.float32
    expected = layers.backward(theta, layers.forward(theta, X), D)
    assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


@every_activation
def test_first_weights_are_those_of_glorot_and_bengio(activation):
    layers = Layers((50, 40, 30), activation)
    thetas = [layers.draw(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert_array_equal(thetas[0], thetas[1])
    assert (thetas[0] != thetas[2]).all()
    factor = 2 if activation == "logistic" else 6
    for W, b in layers.unpack(thetas[0]):
        bound = np.sqrt(factor / sum(W.shape))
        for part in (W, b):
            assert 0.8 * bound < np.abs(part).max() <= bound
        assert_allclose(W.std(), bound / np.sqrt(3), rtol=0.1)
        assert abs(W.mean()) < 0.1 * bound
