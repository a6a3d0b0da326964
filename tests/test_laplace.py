"""Laplace's likelihood and quadrature against dense twins, integrals, planted truth."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference.evidence import differences
from reference.laplace import DenseLabels
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import norm

from mtlearn import PerTaskClassifier, SharedMean
from mtlearn.problem.logistic import mixed_score, normal_site
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.evidence.columns import gather_labels
from mtlearn.solvers.evidence.hyperprior import Hyperprior
from mtlearn.solvers.evidence.laplace import LaplaceEvidence
from mtlearn.solvers.evidence.quadrature import QuadratureEvidence
from mtlearn.solvers.evidence.scoring import Diagonal, Shared
from mtlearn.solvers.evidence.solve import _LabelModel, solve_laplace

SIZES = [1, 8, 1, 3, 5, 2, 6, 1, 4]
FLAT = {"level": [0, 0, 0, 1], "all": [1, 1, 1, 1]}
every_flat = pytest.mark.parametrize("flat", FLAT)
both_methods = pytest.mark.parametrize("restricted", [True, False])


def labels(seed=0):
    """Nine tasks of one to eight labels, some of which count twice."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(SIZES)), SIZES)
    X = rng.normal(size=(len(codes), 3)) + 0.5
    z = X[:, 0] + rng.normal(size=len(SIZES))[codes]
    y = np.where(rng.uniform(size=len(codes)) < expit(z), 1.0, -1.0)
    weight = rng.integers(1, 3, size=len(codes)).astype(float)
    weight[[0, 9]] = 1.0  # of single labels; the third has the weight of two
    weight[-5] = 2.0
    data = TaskData(X, y, len(SIZES), codes=codes, sample_weight=weight)
    return gather_labels(data, True)


def evidence(
    flat="level", restricted=True, hyper=None, kind=LaplaceEvidence, basis=None
):
    found, columns = labels()
    basis = columns.basis(np.array([True, False, True])) if basis is None else basis
    none = Hyperprior(np.arange(4) == 3, np.zeros(4), np.zeros(4))
    mask = np.array(FLAT[flat], dtype=bool)
    return kind(found, basis, mask, restricted, none if hyper is None else hyper)


def twin(e):
    r = e.labels
    return DenseLabels(r.U, r.task, r.sign, r.weight, e.lift, e.flat)


def covariance(rank=2, seed=1):
    R = np.random.default_rng(seed).normal(size=(3, rank))
    return R @ R.T, R


TAU = np.array([0.7, 0.2, 0.5, 0.0])


# ---------------------------------------------------------------- normal scores


@pytest.mark.parametrize(
    ("m", "s2"),
    [(0.0, 0.0), (1.0, 0.5), (-3.0, 4.0), (-25.0, 1.0), (5.0, 100.0), (-30.0, 0.0)],
)
def test_the_logistic_function_of_a_normal_score(m, s2):
    s = np.sqrt(s2)

    def mean(m):
        def f(z):
            return expit(m + s * z) * norm.pdf(z)

        inside = [-12.0, -s, 0.0, s, 12.0]
        return sum(
            quad(f, a, b, epsabs=0, epsrel=1e-12)[0] for a, b in pairwise(inside)
        )

    expected = np.log(mean(m)) - np.log(mean(-m))
    found = mixed_score(np.array([m]), np.array([s2]))[0]
    assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    assert_allclose(
        normal_site(np.array([m]), np.array([s2])).value, np.log(mean(m)), rtol=2e-5
    )


def test_derivatives_of_a_single_label():
    m, s2, h = np.array([0.7, -2.0, 4.0]), np.array([1.5, 0.3, 20.0]), 1e-4
    site = normal_site(m, s2)
    for k in range(4):
        bent = normal_site(m + h, s2)[k] - normal_site(m - h, s2)[k]
        assert_allclose(site[k + 1], bent / (2 * h), rtol=1e-5, atol=1e-8)


def test_far_scores_stay_what_they_are():
    m = np.array([800.0, -800.0, 60.0, 0.0])
    found = mixed_score(m, np.array([0.0, 9.0, 2.0, 5.0]))
    assert_allclose(found, [800.0, -795.5, 59.0, 0.0], atol=1e-9)


# ---------------------------------------------------------------- the approximation


@every_flat
@both_methods
def test_likelihood_of_the_dense_twin(flat, restricted):
    e = evidence(flat, restricted)
    Theta, R = covariance(3)
    prior = np.where(e.flat, e.wide, np.append(TAU[:3] + 0.1, 0.0))
    point = e.at(R, np.where(e.flat, 0.0, prior))
    expected = twin(e).deviance(Theta, prior, restricted)
    assert_allclose(point.deviance, expected, rtol=1e-7)
    assert point.likelihood == point.deviance  # no hyperprior here
    x = twin(e).mode(Theta, prior)[0]
    assert_allclose(point.beta, x[:4], rtol=1e-5, atol=1e-7)
    effects = point.mode.effects[1] @ R.T
    assert_allclose(effects, x[7:10], rtol=1e-5, atol=1e-7)


@every_flat
@both_methods
@pytest.mark.parametrize("strong", [False, True])
def test_slopes_against_differences(flat, restricted, strong):
    share, mask = np.array([1.0, 0.0, 0.5, 1.0]) * strong, np.array(FLAT[flat])
    hyper = Hyperprior(np.arange(4) == 3, share, share * (1 - mask), 0.3)
    e = evidence(flat, restricted, hyper)
    groups = np.where(e.flat, -1, [0, 1, 1, -1])
    shared = Shared(groups, np.array([1.0, 2.0, 0.5, 1.0]), 2)
    theta, tau = np.array([0.5, 0.8]), np.array([0.7, 0.2])
    shape = Diagonal(np.array([0, 0, 1]))

    def at(x):
        return e.at(shape.root(x[:2]), shared.prior(x[2:]))

    point = at(np.concatenate([theta, tau]))
    star, outer = point.scores()
    slope = shape.around(theta, point, star, outer).slope
    found = shared.around(tau, point).slope
    expected = differences(lambda x: at(x).deviance, np.concatenate([theta, tau]))
    assert_allclose(slope, expected[:2], rtol=1e-5, atol=1e-5)
    used = np.isin([0, 1], groups)
    assert_allclose(found[used], expected[2:][used], rtol=1e-5, atol=1e-5)


def test_slopes_of_a_whole_covariance():
    e = evidence()
    Theta, R = covariance(3)
    point = e.at(R, TAU)
    star, outer = point.scores()
    slope = e.basis.T @ (star - outer) @ e.basis
    E = np.random.default_rng(2).normal(size=(3, 3))
    E = E @ E.T

    def deviance(x):
        return e.at(np.linalg.cholesky(Theta + x[0] * E), TAU).deviance

    assert_allclose(np.sum(slope * E), differences(deviance, np.zeros(1))[0], rtol=1e-5)


def test_a_step_to_zero_ends_there():
    # else what is next to zero would be moved as if it were more
    e, shape = evidence(), Diagonal(np.array([0, 1, 2]))
    theta = np.array([0.5, 0.3, 0.7])
    point = e.at(shape.root(theta), TAU)
    local = shape.around(theta, point, *point.scores())
    assert_array_equal(local.move(local.low * (1.0 - 1e-15))[0], 0.0)


def test_slope_at_a_variance_of_zero():
    e = evidence()
    shape = Diagonal(np.array([0, 1, 2]))
    theta = np.array([0.5, 0.0, 0.0])
    point = e.at(shape.root(theta), TAU)
    slope = shape.around(theta, point, *point.scores()).slope
    for j in (1, 2):
        h = 1e-4 * (np.arange(3) == j)
        ahead = [e.at(shape.root(theta + k * h), TAU).deviance for k in (1, 2)]
        forward = (-3 * point.deviance + 4 * ahead[0] - ahead[1]) / 2e-4
        assert_allclose(slope[j], forward, rtol=1e-4, atol=1e-5)


def test_the_mode_is_that_of_given_penalties():
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(6), 15)
    X = rng.normal(size=(90, 3))
    y = np.where(rng.uniform(size=90) < expit(X.sum(axis=1)), 1.0, -1.0)
    found, columns = gather_labels(TaskData(X, y, 6, codes=codes), False)
    basis, units = columns.basis(np.ones(3, dtype=bool)), columns.scale
    none = Hyperprior(np.zeros(3, dtype=bool), np.zeros(3), np.zeros(3))
    e = LaplaceEvidence(found, basis, np.zeros(3, dtype=bool), True, none)
    C, rho = 0.8, 0.6
    point = e.at(np.sqrt(C * (1 - rho)) * np.eye(3), C * rho * units**2)
    coef = point.beta / units + np.sqrt(C * (1 - rho)) * point.mode.effects
    model = PerTaskClassifier(C, SharedMean(rho), fit_intercept=False, tol=1e-12)
    assert_allclose(coef, model.fit(X, y, task=codes).coef_, atol=1e-5)


def test_means_are_beyond_the_modes_where_labels_agree():
    # one task of ten labels that agree among others of both classes
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(40), 10)
    y = np.where(rng.uniform(size=400) < 0.5, 1.0, -1.0)
    y[:10] = 1.0
    found, columns = gather_labels(
        TaskData(np.zeros((400, 0)), y, 40, codes=codes), True
    )
    none = Hyperprior(np.array([True]), np.zeros(1), np.zeros(1))
    e = LaplaceEvidence(
        found, columns.basis(np.zeros(0, bool)), np.array([True]), True, none
    )
    point = e.at(np.array([[1.5]]), np.zeros(1))
    rows, beta = point.means()
    mode = 1.5 * point.mode.effects[0, 0] + point.beta[0]
    own = rows.cross[0, 0] - rows.gram[0, 0, 0] * beta[0]
    mean = beta[0] + 2.25 * own / (1 + 2.25 * rows.gram[0, 0, 0])

    def weight(v, k=0):
        return v**k * np.exp(10 * log_expit(point.beta[0] + v) - v**2 / 4.5)

    exact = quad(lambda v: weight(v, 1), -5, 15)[0] / quad(weight, -5, 15)[0]
    exact += point.beta[0]
    assert exact > mode + 0.1
    assert abs(mean - exact) < 0.3 * (exact - mode)


# ---------------------------------------------------------------- quadrature


def by_integration(r, beta, D):
    """Sum of log L_t by SciPy."""
    total, eta = 0.0, r.U[r.place] @ beta
    for a, b in zip(r.starts[:-1], r.starts[1:]):

        def f(v, a=a, b=b):
            z = r.sign[a:b] * (eta[a:b] + v)
            return np.exp(r.weight[a:b] @ log_expit(z)) * norm.pdf(v, 0, np.sqrt(D))

        ends = np.linspace(-9, 9, 7) * np.sqrt(D)
        parts = [quad(f, p, q, epsabs=1e-14)[0] for p, q in pairwise(ends)]
        total += np.log(sum(parts))
    return total


LEVEL = np.array([[0.0], [0.0], [0.0], [1.0]])


@pytest.mark.parametrize("D", [0.05, 1.0, 9.0, 60.0])
def test_integrals_of_levels(D):
    e = evidence("all", False, kind=QuadratureEvidence, basis=LEVEL)
    beta = np.array([0.4, -0.3, 0.2, 0.1])
    found = e._integrated(beta, D, np.zeros(4))
    assert_allclose(-found.value, by_integration(e.labels, beta, D), rtol=1e-7)


def test_likelihood_of_shared_coefficients_that_are_maximised():
    e = evidence("all", False, kind=QuadratureEvidence, basis=LEVEL)
    point = e.at(np.array([[1.2]]), np.zeros(4))
    best = minimize(lambda b: -by_integration(e.labels, b, 1.44), point.beta, tol=1e-8)
    assert_allclose(point.deviance, 2 * best.fun, rtol=1e-5)
    assert_allclose(point.beta, best.x, atol=1e-2)


@every_flat
@both_methods
def test_slopes_of_quadrature_against_differences(flat, restricted):
    share = np.ones(4)
    hyper = Hyperprior(np.arange(4) == 3, share, 1.0 - np.array(FLAT[flat]))
    e = evidence(flat, restricted, hyper, QuadratureEvidence, LEVEL)
    groups = np.where(e.flat, -1, [0, 1, 1, -1])
    shared, shape = Shared(groups, np.ones(4), 2), Diagonal(np.array([0]))
    x = np.array([0.7, 0.6, 0.3])

    def at(x):
        return e.at(shape.root(x[:1]), shared.prior(x[1:]))

    point = at(x)
    slope = shape.around(x[:1], point, *point.scores()).slope
    found = shared.around(x[1:], point).slope
    expected = differences(lambda x: at(x).deviance, x, 1e-4)
    assert_allclose(slope, expected[:1], rtol=1e-5, atol=1e-5)
    used = np.isin([0, 1], groups)
    assert_allclose(found[used], expected[1:][used], rtol=1e-5, atol=1e-5)


def test_few_labels_are_no_proof_of_boundless_variances():
    # with one or two labels each the approximation has a second, higher optimum
    rng = np.random.default_rng(2)
    rows = [rng.permutation(3)[:k] for k in rng.integers(1, 3, size=600)]
    codes = np.repeat(np.arange(600), [len(one) for one in rows])
    turn = np.concatenate(rows).astype(float)
    first = (6 + 2.0 * rng.integers(0, 5, size=600))[codes]
    z = 3.0 * rng.normal(size=600)[codes] - 2.0
    y = np.where(rng.uniform(size=len(z)) < expit(z), 1.0, -1.0)
    X = np.column_stack([first, first + 2 * turn, turn])
    found, columns = gather_labels(TaskData(X, y, 600, codes=codes), True)
    model = _LabelModel(found, columns, "diag", None, False, True)
    usual = model.fit(np.ones(3, dtype=bool), None, 1e-6, 200)
    start = np.array([0.0, 300.0, 300.0]), usual.best.tau
    far = model.fit(np.ones(3, dtype=bool), start, 1e-6, 200)
    assert far.best.point.deviance < usual.best.point.deviance - 10
    assert far.best.theta.max() > 100
    assert model.refined(usual, 1e-6, 200) is usual
    refined = model.refined(far, 1e-6, 200).best
    assert len(refined.theta) == 1 and 1 < refined.theta[0] < 15


def test_levels_by_quadrature_and_by_approximation():
    # with many labels they are the same; with pairs the approximation is far too small
    for n, near in ((60, 0.06), (2, None)):
        rng = np.random.default_rng(5)
        codes = np.repeat(np.arange(3000 // n), n)
        z = 1.5 * rng.normal(size=codes.max() + 1)[codes]
        y = np.where(rng.uniform(size=len(z)) < expit(z), 1.0, -1.0)
        data = TaskData(np.zeros((len(y), 0)), y, codes.max() + 1, codes=codes)
        exact = solve_laplace(data, covariance="intercept").covariance[-1, -1]
        found, columns = gather_labels(data, True)
        one = np.ones(1)
        hyper = Hyperprior(one > 0, one, 0 * one)
        basis = columns.basis(np.zeros(0, bool))
        e = LaplaceEvidence(found, basis, one > 0, True, hyper)
        grid = np.linspace(0.05, 4.0, 80)
        values = [e.at(np.array([[np.sqrt(D)]]), np.zeros(1)).deviance for D in grid]
        rough = grid[np.argmin(values)]
        if near:
            assert abs(rough - exact) < near * exact + 0.05
        else:
            assert rough < 0.6 * exact and abs(exact - 2.25) < 0.7


# ---------------------------------------------------------------- the optimum


def drawn(T=60, n=12, d=3, own=(1.0, 0.5, 0.0), level=1.0, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(T), n))
    X = rng.normal(size=(T * n, d))
    W = np.resize([1.0, -1.0, 0.5], d) + rng.normal(size=(T, d)) * np.resize(own, d)
    z = (X * W[codes]).sum(axis=1) + level * rng.normal(size=T)[codes]
    return X, np.where(rng.uniform(size=T * n) < expit(z), 1.0, -1.0), codes


def solved(X, y, codes, **settings):
    return solve_laplace(TaskData(X, y, codes.max() + 1, codes=codes), **settings)


def never_worse(solution):
    values = np.array([value for value, _ in solution.history])
    return np.all(np.diff(values) <= 1e-9 * np.abs(values[1:]) + 1e-9)


@pytest.mark.parametrize("kind", ["diag", "scalar", "intercept", "full"])
@pytest.mark.parametrize("flat", [False, True])
@both_methods
def test_it_ends_where_the_likelihood_is_stationary(kind, flat, restricted):
    solution = solved(*drawn(), covariance=kind, flat=flat, restricted=restricted)
    assert solution.status is Status.CONVERGED and solution.n_iter <= 40
    assert solution.certificate < 1e-6 and never_worse(solution)
    assert np.linalg.eigvalsh(solution.covariance).min() > -1e-12
    assert np.all((solution.pooled >= 0) & (solution.pooled <= 1 + 1e-12))


def test_planted_variances_are_found_and_zeros_are_exact():
    data = drawn(T=1000, n=40)
    for kind in ("diag", "full"):
        solution = solved(*data, covariance=kind)
        # Laplace's are somewhat too small
        D = np.diag(solution.covariance)
        assert_allclose(D, [1.0, 0.25, 0.0, 1.0], atol=0.15)
        assert solution.n_iter <= 25
    levels = [
        solved(*drawn(T=1500, n=6, own=(0.0,), seed=s), covariance="intercept")
        for s in range(4)
    ]
    assert_allclose(np.mean([s.covariance[-1, -1] for s in levels]), 1.0, atol=0.15)
    zeros = [
        np.diag(solved(*drawn(n=10, own=(0.0,), level=0.0, seed=s)).covariance)[:3] == 0
        for s in range(6)
    ]
    assert 5 <= np.sum(zeros) <= 18


def test_single_labels_leave_levels_where_the_prior_has_them():
    for level in (0.0, 2.0):
        X, y, _ = drawn(T=1500, n=1, own=(0.0,), level=level)
        for kind in ("diag", "intercept"):
            solution = solved(X, y, np.arange(1500), covariance=kind)
            assert 0.15 < solution.covariance[-1, -1] < 1.0
            assert np.diag(solution.covariance)[:3].max() < 0.6


def test_units_and_origins():
    X, y, codes = drawn()
    base = solved(X, y, codes, tol=1e-8)
    scale = np.array([1e6, 1e-6, 1.0])
    other = solved(X * scale, y, codes, tol=1e-8)
    assert_allclose(other.coef * scale, base.coef, rtol=1e-3, atol=1e-4)
    full = [
        solved(X + shift, y, codes, covariance="full", tol=1e-7)
        for shift in (0.0, [50.0, 0.0, 0.0])
    ]
    assert_allclose(full[0].objective, full[1].objective, rtol=1e-6)
    assert_allclose(full[0].coef, full[1].coef, atol=1e-2)


def test_awkward_columns_and_tasks():
    X, y, codes = drawn(T=15, n=5, d=2, own=(0.5, 0.0))
    within = np.random.default_rng(3).normal(size=15)[codes]
    X = np.c_[X, X[:, 0] + X[:, 1], np.full(len(X), 3.0), within, np.zeros(len(X))]
    y[codes == 2] = 1.0
    for kind in ("diag", "full", "intercept"):
        solution = solved(X, y, codes, covariance=kind)
        assert solution.certificate < 1e-6 and never_worse(solution)
        assert_array_equal(solution.coef[:, [3, 5]], 0.0)
        assert_array_equal(solution.covariance[[3, 5]], 0.0)
    alone = solved(X, y, np.zeros(75, dtype=np.int64))
    assert_array_equal(alone.covariance, 0.0)


def test_a_bad_end_is_told():
    solution = solved(*drawn(), max_iter=1)
    assert solution.status is Status.MAX_ITER and solution.certificate > 1e-6


def test_many_columns_with_a_whole_covariance(monkeypatch):
    X, y, codes = drawn(T=60, n=20, d=4, own=(1.0, 0.5, 0.0, 0.2))
    exact = solved(X, y, codes, covariance="full")
    monkeypatch.setattr("mtlearn.solvers.evidence.scoring._PAIRS", 0)
    quick = solved(X, y, codes, covariance="full")
    assert quick.certificate < 1e-6
    assert_allclose(quick.objective, exact.objective, rtol=1e-5)


def test_steps_teach_the_curvature_of_a_whole_covariance():
    # the information of a linear model is far too large for pairs of labels
    X, y, codes = drawn(T=400, n=2)
    solution = solved(X, y, codes, covariance="full")
    assert solution.certificate < 1e-6 and solution.n_iter <= 40
