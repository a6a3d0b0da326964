"""Kernels of the features against scikit-learn's, dense and sparse."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC

from mtlearn.problem.kernels import (
    Kernel,
    Rows,
    _exponentials,
    check_square,
    settle_kernel,
)

CASES = [
    ("linear", {}),
    ("rbf", {"gamma": 0.3}),
    ("poly", {"gamma": 0.3, "degree": 3, "coef0": 1.0}),
    ("poly", {"gamma": 0.3, "degree": 2, "coef0": 0.0}),
    ("poly", {"gamma": 0.3, "degree": 4, "coef0": 0.5}),
    ("poly", {"gamma": 0.3, "degree": 0, "coef0": 0.5}),
    ("sigmoid", {"gamma": 0.3, "coef0": 0.2}),
]
every_kernel = pytest.mark.parametrize(
    "kind, params", CASES, ids=[f"{kind}{i}" for i, (kind, _) in enumerate(CASES)]
)


@pytest.fixture
def X():
    X = np.random.default_rng(0).normal(size=(9, 4))
    return np.where(np.abs(X) > 0.3, X, 0.0)


@pytest.fixture
def Z():
    return np.random.default_rng(1).normal(size=(6, 4))


@every_kernel
@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
def test_values_are_scikit_learns(X, Z, kind, params, build):
    found = Kernel(kind, **params).between(build(X), build(Z))
    assert_allclose(found, pairwise_kernels(X, Z, metric=kind, **params), atol=1e-12)


@every_kernel
@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
def test_diagonal(X, kind, params, build):
    kernel = Kernel(kind, **params)
    whole = kernel.between(build(X), build(X))
    assert_allclose(Rows(kernel, build(X)).diagonal(build(X)), np.diag(whole))


def test_diagonal_of_a_function_and_of_a_matrix():
    X = np.random.default_rng(0).normal(size=(150, 3))
    kernel = Kernel(lambda A, B: np.cosh(A @ B.T))
    whole = np.cosh(X @ X.T)
    assert_allclose(Rows(kernel, X).diagonal(X), np.diag(whole))
    columns = np.array([4, 0, 7])
    for build in (np.asarray, sp.csr_array):
        rows = Rows(Kernel("precomputed"), None, columns)
        assert_array_equal(
            rows.diagonal(build(whole[columns])), np.diag(whole)[columns]
        )
        out = np.empty((3, 3))
        rows.fill(build(whole[columns]), out)
        assert_array_equal(out, whole[np.ix_(columns, columns)])


def test_exponentials_to_the_last_digits():
    x = -np.geomspace(1e-20, 680.0, 1000)
    found = np.append(x, [0.0, 3.0, -700.0, -np.inf, np.nan])[None]
    _exponentials(found, np.zeros(1), np.zeros(found.size))
    assert_allclose(found[0, :1000], np.exp(x), rtol=1e-15)
    assert_array_equal(found[0, 1000:], [1.0, 1.0, 0.0, 0.0, np.nan])


def test_distances_far_from_the_origin(X, Z):
    kernel = Kernel("rbf", 0.3)
    assert_allclose(kernel.between(X + 1e6, Z + 1e6), kernel.between(X, Z), atol=1e-8)


def test_equal_rows_are_at_distance_zero(X):
    k = Kernel("rbf", 1e8).between(X, X)
    assert (k <= 1.0).all()
    assert_allclose(np.diag(k), 1.0, atol=1e-5)


@pytest.mark.parametrize("build", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("gamma", ["scale", "auto", 0.7])
def test_gamma_is_that_of_an_svc(X, build, gamma):
    y = np.arange(9) % 2
    svc = SVC(gamma=gamma).fit(sp.csr_matrix(X) if build is sp.csr_array else X, y)
    kernel = settle_kernel("rbf", build(X), gamma, 3, 0.0)
    assert_allclose(kernel.gamma, svc._gamma)


def test_gamma_of_constant_features():
    assert settle_kernel("rbf", np.ones((3, 2)), "scale", 3, 0.0).gamma == 1.0


def test_what_is_not_finite_is_named(X):
    with pytest.raises(ValueError, match="`kernel`='poly' gives values that are not"):
        Kernel("poly", 1e200, 3, 0.0).between(X, X)


def test_functions_are_checked(X, Z):
    for function, words in [
        (lambda A, B: np.zeros(3), r"expected shape \(9, 6\), got \(3,\)"),
        (lambda A, B: (A @ B.T).astype(complex), "real numbers, got an array of type"),
        (lambda A, B: np.full((9, 6), np.inf), "not finite"),
    ]:
        with pytest.raises(ValueError, match=words):
            Kernel(function).between(X, Z)
    sparse = Kernel(lambda A, B: sp.csr_array(A @ B.T))
    assert_allclose(sparse.between(X, Z), X @ Z.T)


def test_squares_only(X):
    with pytest.raises(ValueError, match=r"square matrix .* got shape \[9, 4\]"):
        check_square(X)
    check_square(np.eye(3))
