"""Marginal likelihood against a dense normal twin, differences, and planted truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference.evidence import DenseModel, differences

from mtlearn.moments import gather_moments
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.evidence.columns import Rows, gather_rows
from mtlearn.solvers.evidence.noise import OwnNoise
from mtlearn.solvers.evidence.partial import PartialEvidence
from mtlearn.solvers.evidence.profile import OWN_NOISE, Evidence
from mtlearn.solvers.evidence.scoring import Diagonal, Shared, Unstructured
from mtlearn.solvers.evidence.solve import solve_evidence

FLAT = {"none": [0, 0, 0, 0], "level": [0, 0, 0, 1], "all": [1, 1, 1, 1]}
every_flat = pytest.mark.parametrize("flat", FLAT)
both_methods = pytest.mark.parametrize("restricted", [True, False])
TAU = np.array([0.7, 0.2, 0.0, 0.5])


def problem(flat="level", restricted=True, seed=0):
    """Seven tasks of one to eight rows, the dense twin, and the evidence."""
    rng = np.random.default_rng(seed)
    sizes = [1, 8, 3, 5, 2, 6, 4]
    U = [np.c_[rng.normal(size=(n, 3)), np.ones(n)] for n in sizes]
    y = [V @ rng.normal(size=4) + rng.normal(size=len(V)) for V in U]
    B = np.eye(4)[:, [0, 2, 3]]
    B[3, 0] = 0.6  # a raw column that is not centred
    rows = Rows(
        np.array([V.T @ V for V in U]),
        np.arange(7),
        np.array([V.T @ z for V, z in zip(U, y)]),
        np.array([z @ z for z in y]),
        np.array(sizes, dtype=float),
    )
    flat = np.array(FLAT[flat], dtype=bool)
    return DenseModel(U, y, B, flat), Evidence(rows, B, flat, restricted)


def covariance():
    R = np.random.default_rng(1).normal(size=(3, 2))
    return R @ R.T, R


# ---------------------------------------------------------------- the likelihood


@every_flat
@both_methods
@pytest.mark.parametrize("own_noise", [False, True])
def test_likelihood_of_the_dense_twin(flat, restricted, own_noise):
    twin, evidence = problem(flat, restricted)
    Theta, R = covariance()
    rho = np.linspace(-0.8, 0.6, 7) if own_noise else None
    point = evidence.at(R, TAU, rho)
    expected, noise = twin.deviance(Theta, TAU, restricted, rho)
    if own_noise:
        expected += OWN_NOISE * np.sum(rho + np.exp(-rho) - 1)
    # a hundred-millionth of the squares of the labels is taken for noise
    assert_allclose([point.deviance, point.noise], [expected, noise], rtol=1e-6)


def test_shared_coefficients_of_the_dense_twin():
    twin, evidence = problem("level")
    Theta, R = covariance()
    V = twin.covariance(Theta, TAU)
    prior = np.diag(np.where(twin.flat, 1e5, TAU))
    V = twin.covariance(Theta, np.zeros(4)) + twin.U @ prior @ twin.U.T
    gain = prior @ twin.U.T @ np.linalg.inv(V)
    point = evidence.at(R, TAU)
    assert_allclose(point.beta, gain @ twin.y, rtol=1e-4, atol=1e-6)
    C = prior - gain @ twin.U @ prior
    assert_allclose(point.spread.T @ point.spread, C, rtol=1e-3, atol=1e-5)


@every_flat
@both_methods
def test_slopes_against_differences(flat, restricted):
    twin, evidence = problem(flat, restricted)
    groups = np.where(twin.flat, -1, [0, 1, 1, 2])
    shared = Shared(groups, np.array([1.0, 2.0, 0.5, 1.0]), 3)
    theta, tau = np.array([0.5, 0.8]), np.array([0.7, 0.2, 0.4])
    shape = Diagonal(np.array([0, 1, 0]))
    point = evidence.at(shape.root(theta), shared.prior(tau))
    star, outer = point.scores()
    slope = shape.around(theta, point, star, outer).slope
    found = shared.around(tau, point).slope

    def deviance(x):
        return twin.deviance(shape.matrix(x[:2]), shared.prior(x[2:]), restricted)[0]

    expected = differences(deviance, np.concatenate([theta, tau]))
    assert_allclose(slope, expected[:2], rtol=1e-5, atol=1e-6)
    used = np.isin([0, 1, 2], groups)
    assert_allclose(found[used], expected[2:][used], rtol=1e-5, atol=1e-6)
    assert_array_equal(found[~used], 0.0)


@both_methods
def test_slopes_of_a_whole_covariance(restricted):
    twin, evidence = problem("level", restricted)
    Theta, R = covariance()
    point = evidence.at(R, TAU)
    star, outer = point.scores()
    slope = star - outer / point.noise
    E = np.random.default_rng(2).normal(size=(3, 3))
    E = E @ E.T

    def deviance(x):
        return twin.deviance(Theta + x[0] * E, TAU, restricted)[0]

    expected = differences(deviance, np.zeros(1), 1e-6)[0]
    assert_allclose(np.sum(slope * E), expected, rtol=1e-5)


@every_flat
@both_methods
def test_slopes_of_the_tasks_noise(flat, restricted):
    twin, evidence = problem(flat, restricted)
    Theta, R = covariance()
    rho = np.linspace(-0.8, 0.6, 7)
    point = evidence.at(R, TAU, rho)
    point.scores()

    def deviance(x):
        pull = OWN_NOISE * np.sum(x + np.exp(-x))
        return twin.deviance(Theta, TAU, restricted, x)[0] + pull

    slope = OwnNoise(point, rho).slope
    assert_allclose(slope, differences(deviance, rho), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- the information


@every_flat
def test_information_of_the_dense_twin(flat):
    twin, evidence = problem(flat)
    theta, shape = np.array([0.5, 0.3, 0.8]), Diagonal(np.arange(3))
    shared = Shared(np.where(twin.flat, -1, np.arange(4)), np.ones(4), 4)
    tau = np.array([0.7, 0.2, 0.4, 0.3])
    point = evidence.at(shape.root(theta), shared.prior(tau))
    star, outer = point.scores()
    P = twin.projection(twin.covariance(np.diag(theta), shared.prior(tau)))
    blocks = np.array(twin.within(P))
    local = shape.around(theta, point, star, outer)
    assert_allclose(local.info, 0.5 * (blocks**2).sum(axis=0), rtol=1e-8)
    assert_allclose(local.noise, 0.5 * np.einsum("tjj->j", blocks), rtol=1e-8)
    whole = twin.U.T @ P @ twin.U * np.outer(~twin.flat, ~twin.flat)
    local = shared.around(tau, point)
    assert_allclose(local.info, 0.5 * whole**2, rtol=1e-8, atol=1e-12)


def test_steps_of_a_whole_covariance_are_in_its_own_coordinates():
    twin, evidence = problem("level")
    Theta, _ = covariance()
    Theta = Theta + 0.1 * np.eye(3)
    shape = Unstructured()
    point = evidence.at(np.linalg.cholesky(Theta), TAU)
    star, outer = point.scores()
    shape.starts(star, np.diag(star), 7)
    local = shape.around(Theta, point, star, outer)
    blocks = twin.within(twin.projection(twin.covariance(Theta, TAU)))
    for a in range(6):
        step = np.zeros(6)
        step[a] = 1e-3
        there, gain = local.move(step)
        assert_allclose(gain, local.slope @ step, rtol=1e-6, atol=1e-9)
        E = (there - Theta) / 1e-3
        slope = star - outer / point.noise
        assert_allclose(local.slope[a], np.sum(slope * E), rtol=1e-6, atol=1e-8)
        info = 0.5 * sum(np.trace(E @ Q @ E @ Q) for Q in blocks)
        assert_allclose(local.info[a, a], info, rtol=1e-6)
    # a long step ends at a covariance
    there, _ = local.move(np.full(6, -50.0))
    assert np.linalg.eigvalsh(there).min() > -1e-12


# ---------------------------------------------------------------- few columns vary


@every_flat
@both_methods
def test_cheap_steps_are_those_of_whole_matrices(flat, restricted):
    _, whole = problem(flat, restricted)
    B = whole.lift
    half = np.matmul(B.T, whole.rows.gram)
    part = PartialEvidence(whole.rows, B, half, whole.flat, restricted)
    R = covariance()[1]
    a, b = (evidence.at(R, TAU) for evidence in (whole, part))
    assert_allclose(b.deviance, a.deviance, rtol=1e-12)
    assert_allclose(b.beta, a.beta, rtol=1e-9, atol=1e-12)
    assert_allclose(b.total, a.total, rtol=1e-9, atol=1e-12)
    for M, N in zip(a.scores(), b.scores()):
        assert_allclose(N, M, rtol=1e-8, atol=1e-10)
    found = (point.informations(point.evidence.basis, True) for point in (a, b))
    for M, N in zip(*found):
        assert_allclose(N, M, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("common", [False, True])
def test_the_optimum_of_cheap_steps(common, monkeypatch):
    rng = np.random.default_rng(8)
    X, varying = rng.normal(size=(60, 9)), np.arange(9) < 2
    Y = X @ np.ones((9, 5)) + X[:, :2] @ rng.normal(size=(2, 5))
    Y += rng.normal(size=Y.shape)
    if not common:
        Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    m = gather_moments(TaskData(X, Y, 5))
    cheap = solve_evidence(m, varying=varying, tol=1e-8)
    assert isinstance(cheap.posterior.rows, Rows)
    monkeypatch.setattr("mtlearn.solvers.evidence.solve._FEW", 0.0)
    whole = solve_evidence(m, varying=varying, tol=1e-8)
    assert_allclose(cheap.objective, whole.objective, rtol=1e-10)
    assert_allclose(cheap.coef, whole.coef, rtol=1e-5, atol=1e-6)
    errors = cheap.posterior.effect_errors(), whole.posterior.effect_errors()
    assert_allclose(*errors, rtol=1e-4)


@pytest.mark.parametrize("many", [False, True])
def test_columns_vary_where_the_likelihood_gains(many, monkeypatch):
    if many:  # the tasks with most labels say which
        monkeypatch.setattr("mtlearn.solvers.evidence.growth._TASKS", 15)
    X, y, codes = drawn(T=40, n=12, d=6, own=(1.0, 0, 0, 0.6, 0, 0))
    groups, none = np.array([0, 1, 1, 2, 3, 4]), np.zeros(6, dtype=bool)
    m = moments(X, y, codes)
    grown = solve_evidence(m, varying=none, groups=groups, optional=np.ones(6))
    assert_array_equal(np.diag(grown.covariance)[:6] > 0, [1, 0, 0, 1, 0, 0])
    every = solve_evidence(m, varying=np.isin(groups, [0, 2]), groups=groups)
    assert grown.status is Status.CONVERGED
    assert_allclose(grown.objective, every.objective, rtol=1e-7)
    # it may cost more, and what is not optional stays as it is
    dear = np.array([1.0, 1, 1, 1e6, 1, 1])
    some = solve_evidence(m, varying=none, groups=groups, optional=dear)
    assert_array_equal(np.diag(some.covariance)[:6] > 0, [1, 0, 0, 0, 0, 0])
    fixed = solve_evidence(m, varying=none, groups=groups, optional=np.zeros(6))
    assert not np.diag(fixed.covariance)[:6].any()


def test_variances_are_paid_for_with_labels_of_the_noise():
    X, y, codes = drawn(T=6, n=5, d=8, own=np.zeros(8))
    m = moments(X, y, codes)
    free, paid = (solve_evidence(m, variance_cost=cost) for cost in (0.0, 0.5))
    assert paid.posterior.noise > free.posterior.noise
    assert_allclose(free.log_likelihood, -free.objective)
    assert paid.log_likelihood < free.log_likelihood + 1e-6
    # minus the objective is the log-likelihood and the logarithm of the prior
    assert_allclose(
        -paid.objective,
        paid.log_likelihood + 0.5 * 9.0 * np.log(2 * np.pi * paid.posterior.noise),
    )


# ---------------------------------------------------------------- the optimum


def drawn(T=40, n=12, d=3, own=(1.0, 0.5, 0.0), level=1.0, seed=0):
    """Moments of tasks whose coefficients vary with given standard deviations."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(T), n))
    X = rng.normal(size=(T * n, d))
    W = rng.normal(size=d) + rng.normal(size=(T, d)) * own
    y = (X * W[codes]).sum(axis=1) + level * rng.normal(size=T)[codes]
    return X, y + rng.normal(size=T * n), codes


def moments(X, y, codes):
    return gather_moments(TaskData(X, y, codes.max() + 1, codes=codes))


def never_worse(solution):
    values = np.array([value for value, _ in solution.history])
    return np.all(np.diff(values) <= 1e-9 * np.abs(values[1:]) + 1e-9)


@pytest.mark.parametrize("kind", ["diag", "scalar", "intercept", "full"])
@pytest.mark.parametrize("flat", [False, True])
@both_methods
def test_it_ends_where_the_likelihood_is_stationary(kind, flat, restricted):
    X, y, codes = drawn(T=12, n=8)
    settings = {"covariance": kind, "flat": flat, "restricted": restricted}
    solution = solve_evidence(moments(X, y, codes), tol=1e-8, **settings)
    assert solution.status is Status.CONVERGED and solution.n_iter <= 60
    assert never_worse(solution)
    # the shared part sees the features less their means, as its level is flat
    mean, B = X.mean(axis=0), np.eye(4)
    B[3, :3] = mean
    U = [np.c_[X - mean, np.ones(len(X))][codes == t] for t in range(12)]
    twin = DenseModel(
        U, [y[codes == t] for t in range(12)], B, np.array([flat] * 3 + [True])
    )
    noise = solution.posterior.noise
    Theta, tau = solution.covariance / noise, np.append(solution.shared_variance, 0)
    tau = np.zeros(4) if flat else tau / noise
    best, s2 = twin.deviance(Theta, tau, restricted)
    assert_allclose(0.5 * best, solution.objective, rtol=1e-6)
    assert_allclose(s2, noise, rtol=1e-5)
    for scale in (0.97, 1.03):
        assert twin.deviance(scale * Theta, tau, restricted)[0] > best - 1e-6
        assert twin.deviance(Theta, scale * tau, restricted)[0] > best - 1e-6
        worse = Theta.copy()
        worse[3, 3] *= scale
        worse[3, :3] *= np.sqrt(scale)
        worse[:3, 3] *= np.sqrt(scale)
        assert twin.deviance(worse, tau, restricted)[0] > best - 1e-6


def test_planted_variances_are_found_and_zeros_are_exact():
    X, y, codes = drawn(T=1500, n=10)
    diag = solve_evidence(moments(X, y, codes))
    full = solve_evidence(moments(X, y, codes), covariance="full")
    for solution in (diag, full):
        D = np.diag(solution.covariance)
        assert_allclose(D, [1.0, 0.25, 0.0, 1.0], atol=0.08)
        assert_allclose(solution.posterior.noise, 1.0, atol=0.04)
        assert solution.n_iter <= 25
    # without features that vary at all, about half of the variances are zero
    zeros = 0
    for seed in range(6):
        data = drawn(T=60, n=10, own=(0.0, 0.0, 0.0), level=0.0, seed=seed)
        zeros += np.sum(np.diag(solve_evidence(moments(*data)).covariance) == 0.0)
    assert 6 <= zeros <= 20


def test_a_whole_covariance_of_low_rank():
    rng = np.random.default_rng(0)
    T, n, d = 60, 15, 6
    codes = np.repeat(np.arange(T), n)
    X = rng.normal(size=(T * n, d))
    W = rng.normal(size=(T, 1)) @ rng.normal(size=(1, d))
    y = (X * W[codes]).sum(axis=1) + rng.normal(size=T * n)
    solution = solve_evidence(moments(X, y, codes), covariance="full", tol=1e-7)
    assert solution.status is Status.CONVERGED and solution.n_iter <= 60
    values = np.linalg.eigvalsh(solution.covariance)
    assert values[-1] > 1.0 and values[-2] < 0.1
    assert np.sum(values > 1e-10 * values[-1]) <= 4


def test_many_columns_with_a_whole_covariance(monkeypatch):
    X, y, codes = drawn(T=60, n=20, d=4, own=(1.0, 0.5, 0.0, 0.2))
    m = moments(X, y, codes)
    exact = solve_evidence(m, covariance="full", tol=1e-7)
    monkeypatch.setattr("mtlearn.solvers.evidence.scoring._PAIRS", 0)
    quick = solve_evidence(m, covariance="full", tol=1e-7)
    assert quick.status is Status.CONVERGED
    assert_allclose(quick.objective, exact.objective, rtol=1e-7)
    assert_allclose(quick.covariance, exact.covariance, atol=2e-3)


# ---------------------------------------------------------------- awkward data


@pytest.mark.parametrize("kind", ["diag", "full"])
@pytest.mark.parametrize("flat", [False, True])
def test_awkward_columns(kind, flat):
    X, y, codes = drawn(T=15, n=5, d=2, own=(0.5, 0.0))
    rng = np.random.default_rng(3)
    within = rng.normal(size=15)[codes]  # constant within tasks
    X = np.c_[X, X[:, 0] + X[:, 1], np.full(len(X), 3.0), within, np.zeros(len(X))]
    solution = solve_evidence(moments(X, y, codes), covariance=kind, flat=flat)
    assert solution.status is Status.CONVERGED and never_worse(solution)
    assert np.all(np.isfinite(solution.coef)) and np.all(np.isfinite(solution.pooled))
    # what is constant over all rows is no column
    assert_array_equal(solution.coef[:, [3, 5]], 0.0)
    assert_array_equal(solution.covariance[[3, 5]], 0.0)
    assert np.linalg.eigvalsh(solution.covariance).min() > -1e-9


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_more_features_than_rows_of_a_task_and_tasks_of_one_row(kind):
    rng = np.random.default_rng(4)
    codes = np.concatenate([np.arange(30), np.repeat(np.arange(10), 4)])
    X = rng.normal(size=(70, 8))
    y = X[:, 0] + rng.normal(size=30)[codes] + 0.3 * rng.normal(size=70)
    solution = solve_evidence(moments(X, y, codes), covariance=kind)
    # 45 variances and covariances from 70 rows: a long flat valley
    assert solution.certificate < (1e-6 if kind == "diag" else 1e-3)
    assert never_worse(solution)
    assert 0.3 < solution.covariance[-1, -1] < 3.0
    # one row each: levels and noise are one, and nobody can tell them apart
    alone = np.arange(70)
    solution = solve_evidence(moments(X, y, alone), covariance=kind)
    assert np.isfinite(solution.objective) and np.all(np.isfinite(solution.coef))


def test_a_single_task_has_no_deviations():
    X, y, _ = drawn(T=1, n=50)
    solution = solve_evidence(moments(X, y, np.zeros(50, dtype=np.int64)))
    assert_array_equal(solution.covariance, 0.0)
    assert_array_equal(solution.pooled, 1.0)


def test_common_rows_share_their_matrix():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(30, 3))
    Y = X @ rng.normal(size=(3, 6)) + rng.normal(size=(30, 6))
    Y[:10, 4] = np.nan
    wide = gather_moments(TaskData(X, Y, 6))
    assert len(wide.weight) == 2
    seen = ~np.isnan(Y)
    codes = np.nonzero(seen.T)[0]
    long = moments(X[np.nonzero(seen.T)[1]], Y.T[seen.T], codes)
    for kind, own_noise in (("diag", False), ("full", False), ("diag", True)):
        a, b = (
            solve_evidence(m, covariance=kind, own_noise=own_noise, tol=1e-8)
            for m in (wide, long)
        )
        assert_allclose(a.objective, b.objective, rtol=1e-9)
        assert_allclose(a.coef, b.coef, rtol=1e-5, atol=1e-6)


def test_units_and_origins():
    X, y, codes = drawn()
    base = solve_evidence(moments(X, y, codes), tol=1e-9)
    scale = np.array([1e6, 1e-6, 1.0])
    other = solve_evidence(moments(X * scale, 1e3 * y + 1e5, codes), tol=1e-9)
    assert_allclose(other.coef * scale, 1e3 * base.coef, rtol=1e-4, atol=1e-2)
    # without correlations the origin matters, with them it does not
    X[:, 0] += 2000.0
    full = [
        solve_evidence(moments(X - shift, y, codes), covariance="full", tol=1e-8)
        for shift in (0.0, [2000.0, 0.0, 0.0])
    ]
    assert_allclose(full[0].objective, full[1].objective, rtol=1e-6)
    assert_allclose(full[0].coef, full[1].coef, atol=1e-2)
    diag = solve_evidence(moments(X, y, codes))
    assert diag.status is Status.CONVERGED and never_worse(diag)


def test_sums_over_tasks_are_those_of_the_rows():
    X, y, codes = drawn(T=6, n=4)
    X[:, 1] += 1e6
    rows, columns = gather_rows(moments(X, y, codes), True)
    U = columns.of(X)
    for t in range(6):
        u, label = U[codes == t], y[codes == t] - columns.level
        assert_allclose(rows.gram[t], u.T @ u, atol=1e-8)
        assert_allclose(rows.cross[t], u.T @ label, atol=1e-8)
    assert_allclose(U @ columns.basis(np.ones(3, dtype=bool)), np.c_[X, np.ones(24)])


def test_labels_without_noise():
    rng = np.random.default_rng(6)
    codes = np.repeat(np.arange(8), 20)
    X = rng.normal(size=(160, 3))
    W = rng.normal(size=(8, 3))
    y = (X * W[codes]).sum(axis=1)
    solution = solve_evidence(moments(X, y, codes))
    assert np.isfinite(solution.objective)
    assert_allclose(solution.coef, W, atol=1e-3)


def test_labels_that_are_all_alike():
    X, _, codes = drawn()
    solution = solve_evidence(moments(X, np.full(len(X), 7.0), codes))
    assert_array_equal(solution.coef, 0.0)
    assert_array_equal(solution.intercept, 7.0)
    assert max(solution.posterior.noise, solution.covariance.max()) < 1e-200


def test_a_bad_end_is_told():
    X, y, codes = drawn()
    solution = solve_evidence(moments(X, y, codes), max_iter=1)
    assert solution.status is Status.MAX_ITER and solution.certificate > 1e-6
    with pytest.raises(ValueError, match="too few labels, n_samples = 3 by weight"):
        solve_evidence(moments(X[:3], y[:3], np.arange(3)), flat=True)


def test_each_task_has_its_own_noise():
    rng = np.random.default_rng(7)
    T, n = 40, 60
    codes, X = np.repeat(np.arange(T), n), rng.normal(size=(T * n, 2))
    size = np.exp(rng.normal(size=T) * 0.7)
    y = (
        X @ [1.0, 2.0]
        + rng.normal(size=T)[codes]
        + size[codes] * rng.normal(size=T * n)
    )
    solution = solve_evidence(moments(X, y, codes), own_noise=True, tol=1e-6)
    assert solution.status is Status.CONVERGED and never_worse(solution)
    found = solution.posterior.noise * solution.posterior.ratio
    assert np.corrcoef(np.log(found), np.log(size))[0, 1] > 0.95
    common = solve_evidence(moments(X, y, codes))
    assert solution.objective < common.objective - 100.0


# ---------------------------------------------------------------- what is known then


@pytest.mark.parametrize("own_noise", [False, True])
def test_posterior_of_the_dense_twin(own_noise):
    X, y, codes = drawn(T=8, n=6)
    solution = solve_evidence(
        moments(X, y, codes), covariance="full", own_noise=own_noise
    )
    posterior, noise = solution.posterior, solution.posterior.noise
    Z = np.c_[X, np.ones(len(X))]
    # all coefficients at once: the shared ones, then those of eight tasks and a new one
    wide = np.hstack([Z, *(Z * (codes == t)[:, None] for t in range(9))])
    tau = np.append(solution.shared_variance, 1e4)
    prior = np.zeros((40, 40))
    prior[:4, :4] = np.diag(tau)
    for t in range(9):
        prior[4 * t + 4 : 4 * t + 8, 4 * t + 4 : 4 * t + 8] = solution.covariance
    ratio = posterior.ratio[codes]
    V = wide @ prior @ wide.T + noise * np.diag(ratio)
    gain = prior @ wide.T @ np.linalg.inv(V)
    mean, C = gain @ y, prior - gain @ wide @ prior
    effects, _ = posterior.effects()
    assert_allclose(effects, mean[4:36].reshape(8, 4), rtol=1e-5, atol=1e-5)
    assert_allclose(solution.coef, (mean[:4] + effects)[:, :3], rtol=1e-5, atol=1e-5)
    errors = np.sqrt(np.diag(C)[4:36]).reshape(8, 4)
    assert_allclose(posterior.effect_errors(), errors, rtol=1e-4)
    shared, covariance = posterior.shared()
    assert_allclose(shared, mean[:4], rtol=1e-4, atol=1e-4)
    assert_allclose(covariance, C[:4, :4], rtol=1e-3, atol=1e-4)
    places = np.array([0, 3, 8, 3, 8])
    rows = np.hstack([Z[:5], *(Z[:5] * (places == t)[:, None] for t in range(9))])
    var = np.einsum("ij,jk,ik->i", rows, C, rows)
    var += noise * np.append(posterior.ratio, 1.0)[places]
    assert_allclose(posterior.label_variance(X[:5], places), var, rtol=1e-5)
