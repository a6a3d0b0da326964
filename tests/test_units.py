"""Units of features: the same objective, in better coordinates."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from mtlearn.solvers.mapping.units import Units


def rows(n=40, d=5):
    """Correlated features in wild units, one of them constant."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    X *= 10.0 ** np.arange(-4, d - 4)
    X[:, 2] = 7.0
    return X + rng.normal(size=d), rng.uniform(0.5, 2.0, size=n)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 10.0])
@pytest.mark.parametrize("turned", [True, False])
def test_scores_and_penalty_stay_what_they_are(alpha, turned):
    X, mass = rows()
    rng = np.random.default_rng(1)
    units = Units(X, mass, alpha, turned)
    V, b = rng.normal(size=(5, 3)), rng.normal(size=3)
    (W,), (c,) = units.back([V], [b])
    constant = np.full((len(X), 1), 1.0)
    free = units.rows(X) @ V + constant * b
    assert_allclose(X @ W + c, free, atol=1e-7 * np.abs(free).max())
    penalty = float(units.penalty @ (V * V).sum(axis=1))
    assert penalty == pytest.approx(alpha * float(np.sum(W * W)), rel=1e-6)
    there = units.there([W], [c])
    assert_allclose(there[0][0], V, atol=1e-6)
    assert_allclose(there[1][0], b, atol=1e-6)


def test_directions_are_alike():
    X, mass = rows()
    units = Units(X, mass, 1e-6)
    Z = units.rows(X)
    spread = (Z * mass[:, None]).T @ Z / mass.sum()
    seen = spread + np.diag(units.penalty) / mass.sum()
    assert_allclose(seen, np.eye(5), atol=1e-4 + 1e-7)


def test_sparse_rows_keep_their_zeros():
    X, mass = rows()
    X[np.abs(X) < 1] = 0.0
    units = Units(sp.csr_array(X), mass, 1.0)
    Z = units.rows(sp.csr_array(X))
    assert sp.issparse(Z) and Z.nnz == np.count_nonzero(X)
    assert_allclose(Z.toarray(), X / units.size)
