"""All strengths from one eigendecomposition, against the solver of one strength."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from mtlearn.moments import gather_moments
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK
from mtlearn.problem.tasks import TaskData
from mtlearn.relations import (
    Independent,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.solvers import solve_moments
from mtlearn.solvers.related import spectral as module
from mtlearn.solvers.related.least_squares import augmented
from mtlearn.solvers.related.spectral import MomentSpectrum, RowSpectrum

# every third combination of parameters; all of them with -m "slow or not slow"
pytestmark = pytest.mark.sampled(3)

N_TASKS = 6
INTERCEPTS = (FREE, SHRUNK, SHARED, NONE)
ARROWS = {
    "independent": Independent(),
    "0.3": SharedMean(0.3),
    "0.999": SharedMean(0.999),
    "almost pooled": SharedMean(1.0 - 1e-9),
    "pooled": SharedMean(1.0),
}
MATRICES = {
    "graph": TaskGraph(np.ones((N_TASKS, N_TASKS)), strength=0.7),
    "covariance": TaskCovariance(np.diag(np.arange(1.0, 7.0)) + 0.5),
}


def problem(layout, weighted=False, d=5, n=15):
    """TaskData with features away from zero, in units of their own."""
    rng = np.random.default_rng(len(layout))
    W = rng.normal(size=d) + 0.5 * rng.normal(size=(N_TASKS, d))
    rows = n if layout != "long" else n * N_TASKS
    X = rng.normal(size=(rows, d)) * np.geomspace(0.3, 3.0, d) + rng.normal(size=d)
    codes, Y = None, X @ W.T + np.arange(N_TASKS) + rng.normal(size=(rows, N_TASKS))
    if layout == "long":
        codes = rng.integers(N_TASKS, size=rows)
        Y = Y[np.arange(rows), codes]
    if layout == "patterns":
        Y[:3, :2], Y[5:8, 2:5] = np.nan, np.nan
    if layout == "missing":
        Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    weights = (None, None)
    if weighted:
        weights = rng.uniform(0.5, 2.0, size=rows), rng.uniform(0.5, 2.0, size=N_TASKS)
    return TaskData(X, Y, N_TASKS, codes, *weights)


def whole(path):
    """Coefficients and intercepts of all batches."""
    coef, intercept = zip(*path)
    return np.concatenate(coef), np.concatenate(intercept)


def gap(data, coef, intercept, other):
    """Largest difference of the predictions, in units of the largest label."""
    z = data.forward(coef - other[0])
    z += np.repeat(intercept - other[1], data.sizes)
    return np.abs(z).max() / np.abs(data.labels).max()


def compare(data, intercept, relation, alphas):
    """Check a path against one solution after the other."""
    moments, form = gather_moments(data), relation.form(np.arange(N_TASKS))
    spectrum = MomentSpectrum(moments, intercept)
    alphas = alphas[alphas >= spectrum.lowest(form)]
    coef, b = whole(spectrum.path(form, alphas))
    assert coef.shape == (len(alphas), N_TASKS, data.n_features)
    for k, alpha in enumerate(alphas):
        one = solve_moments(moments, form, alpha, intercept=intercept, tol=1e-14)
        assert gap(data, coef[k], b[k], (one.coef, one.intercept)) < 1e-9


# ---------------------------------------------------------------- moments


@pytest.mark.parametrize("intercept", INTERCEPTS, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", ARROWS)
@pytest.mark.parametrize("layout", ["long", "wide", "patterns", "missing"])
def test_arrowheads(layout, name, intercept):
    for weighted in (False, True):
        data = problem(layout, weighted)
        compare(data, intercept, ARROWS[name], np.geomspace(1e3, 1e-4, 5))


@pytest.mark.parametrize("intercept", INTERCEPTS, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", MATRICES)
def test_any_relation_where_the_rows_are_common(name, intercept):
    compare(problem("wide"), intercept, MATRICES[name], np.geomspace(1e3, 1e-4, 5))


def test_other_relations_are_left_to_others():
    moments = gather_moments(problem("long"))
    spectrum = MomentSpectrum(moments, FREE)
    form = MATRICES["graph"].form(np.arange(N_TASKS))
    assert spectrum.lowest(form) == np.inf


@pytest.mark.parametrize("intercept", INTERCEPTS, ids=lambda mode: mode.name)
@pytest.mark.parametrize("layout", ["long", "patterns"])
def test_interpolated_heads(layout, intercept, monkeypatch):
    # so many strengths that the matrices come from nodes, shared by correlations
    data = problem(layout, weighted=True)
    moments, alphas = gather_moments(data), np.geomspace(1e4, 1e-4, 60)
    nodes = MomentSpectrum(moments, intercept)
    found = {}
    for name in ("0.3", "0.999", "almost pooled"):
        form = ARROWS[name].form(np.arange(N_TASKS))
        found[name] = whole(nodes.path(form, alphas))
    assert 0 < len(nodes.tasks.nodes) < 150
    monkeypatch.setattr(module, "_DENSITY", 10**6)
    for name, (coef, b) in found.items():
        exact = MomentSpectrum(moments, intercept)
        form = ARROWS[name].form(np.arange(N_TASKS))
        exact_coef, exact_b = whole(exact.path(form, alphas))
        assert not exact.tasks.nodes
        for k in range(len(alphas)):
            assert gap(data, coef[k], b[k], (exact_coef[k], exact_b[k])) < 1e-10


def test_interpolation_is_what_it_claims():
    # the relative error of e / (alpha + e), at once for all e
    rng = np.random.default_rng(0)
    e = np.sort(10.0 ** rng.uniform(-12, 6, size=40))[None]
    system = module._Diagonal(
        e, np.eye(40)[None], np.zeros(1, int), np.ones(1), e, None, None, 0.0, 0.0
    )
    alphas = np.geomspace(1e3, 1e-5, 80)
    found = np.einsum("kjj->kj", module._heads(system, alphas))
    assert 20 < len(system.nodes) < 40
    exact = e / (alphas[:, None] + e)
    # a refinement squares it
    assert np.abs(found / exact - 1.0).max() < 5e-3


@pytest.mark.parametrize("name", ["independent", "0.3", "pooled"])
@pytest.mark.parametrize("intercept", INTERCEPTS, ids=lambda mode: mode.name)
def test_tasks_of_few_rows_and_of_none(name, intercept):
    data = problem("long")
    few = np.concatenate([np.flatnonzero(data.codes == t)[:t] for t in range(N_TASKS)])
    data = TaskData(data.X[few], data.y[few], N_TASKS, data.codes[few])
    compare(data, intercept, ARROWS[name], np.geomspace(10.0, 1e-3, 50))


@pytest.mark.parametrize("intercept", INTERCEPTS, ids=lambda mode: mode.name)
def test_features_without_variance(intercept):
    codes = np.arange(12) % N_TASKS
    X, y = np.zeros((12, 3)), np.arange(12.0)
    data = TaskData(X, y, N_TASKS, codes)
    compare(data, intercept, SharedMean(0.5), np.geomspace(10.0, 1e-3, 3))
    compare(data, intercept, SharedMean(0.5), np.geomspace(10.0, 1e-3, 80))


def test_digits_of_small_strengths():
    # the exact answer by a QR of the rows, where moments begin to hurt
    data = problem("long")
    moments = gather_moments(data)
    for relation, intercept in product((Independent(), SharedMean(0.6)), INTERCEPTS):
        if intercept.own:
            continue
        form = relation.form(np.arange(N_TASKS))
        spectrum = MomentSpectrum(moments, intercept)
        alpha = spectrum.lowest(form)
        coef, b = whole(spectrum.path(form, np.array([alpha])))
        W, beta = augmented(data, form, alpha, intercept, data.labels, data.weights)
        exact = W[:, -1] + beta if intercept.shrunk else np.zeros(N_TASKS)
        exact = exact + beta if intercept == SHARED else exact
        assert gap(data, coef[0], b[0], (W[:, : data.n_features], exact)) < 1e-6


def test_batches(monkeypatch):
    moments = gather_moments(problem("long"))
    form, alphas = SharedMean(0.4).form(np.arange(N_TASKS)), np.geomspace(10, 0.1, 7)
    at_once = whole(MomentSpectrum(moments, FREE).path(form, alphas))
    monkeypatch.setattr(module, "_BATCH_BYTES", 8 * 2 * N_TASKS * 5)
    batches = list(MomentSpectrum(moments, FREE).path(form, alphas))
    assert [len(coef) for coef, _ in batches] == [2, 2, 2, 1]
    assert_allclose(whole(batches)[0], at_once[0], rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("intercept", INTERCEPTS, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", [*ARROWS, *MATRICES])
@pytest.mark.parametrize("layout", ["long", "missing"])
def test_rows(layout, name, intercept):
    form = {**ARROWS, **MATRICES}[name].form(np.arange(N_TASKS))
    for weighted, sparse in product((False, True), repeat=2):
        data = problem(layout, weighted, d=7, n=6)
        moments = gather_moments(data)
        if sparse:
            X = sp.csr_array(data.X)
            weights = data.sample_weight, data.task_weight
            data = TaskData(X, data.y, N_TASKS, data.codes, *weights)
        spectrum = RowSpectrum(data, intercept)
        alphas = np.geomspace(1e3, 1e-3, 5)
        assert spectrum.lowest(form) < 1e-3
        coef, b = whole(spectrum.path(form, alphas))
        for k, alpha in enumerate(alphas):
            one = solve_moments(moments, form, alpha, intercept=intercept, tol=1e-14)
            assert gap(data, coef[k], b[k], (one.coef, one.intercept)) < 1e-9
