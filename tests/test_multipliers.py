"""The method of multipliers: on its own, with parts of the rows, with mixed levels."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cases import INTERCEPTS
from numpy.testing import assert_allclose, assert_array_equal

from mtlearn import SharedMean
from mtlearn.problem.forms import ArrowForm, ComposedForm
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.margins import MARGIN_LOSSES as LOSSES
from mtlearn.problem.margins import margin_loss
from mtlearn.problem.solution import Status
from mtlearn.problem.tasks import TaskData
from mtlearn.solvers.margins.envelope import Envelope
from mtlearn.solvers.margins.kinked import solve_kinked
from mtlearn.solvers.margins.multipliers import Levels, Multipliers
from mtlearn.solvers.related.newton import Problem

EPSILON = 0.3
KINDS = ("free", "shrunk", "shared", "none")


def bound(margin_problems, loss, kind, **options):
    X, y, codes, weight = margin_problems[loss]
    data = TaskData(X, y, 5, codes, weight)
    box = margin_loss(loss, EPSILON).box(data.labels, data.weights)
    form = SharedMean(0.6).form(np.arange(5))
    beta = np.zeros(len(y))
    args = data, box, data.weights, form, 1.0, INTERCEPTS[kind], "auto"
    return Multipliers(*args, beta=beta, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_all_four_losses_from_zero(margin_problems, loss, kind):
    run = bound(margin_problems, loss, kind)
    X, y, codes, weight = margin_problems[loss]
    zero = reference.data_loss(loss, 0 * y, y, codes, weight, 5, EPSILON)
    assert run.run(1e-10 * zero, 100) is Status.CONVERGED
    mode = {"free": True, "none": False}.get(kind, kind)
    args = X, y, codes, weight, 1.0, reference.shared_mean(0.6, 5), mode
    value = reference.twin(loss, *args, epsilon=EPSILON)[2]
    assert_allclose(run.value, value, rtol=1e-7)
    assert run.gap <= 1e-10 * zero
    # multipliers in their box, balanced; scores those of the coefficients
    box = run.problem.loss.box
    assert np.all((run.beta >= box.lower) & (run.beta <= box.upper))
    assert_allclose(run.z, run.problem.scores(run.state), atol=1e-9)
    if kind != "none":
        assert abs(run.beta.sum()) <= 1e-8 * np.abs(run.beta).sum()


@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
def test_the_last_updates_converge_fast(margin_problems, loss):
    # superlinear: each of the last gaps is a small part of the one before
    run, gaps = bound(margin_problems, loss, "shared"), []
    for n_outer in range(1, 40):
        run.run(0.0, n_outer)
        gaps.append(run.gap)
        if run.gap <= 1e-13 * run.value:
            break
    assert run.gap <= 1e-13 * run.value
    assert run.n_outer <= 12
    assert gaps[-1] <= 0.05 * gaps[-2]


def test_from_the_right_multipliers_there_is_nothing_to_do(margin_problems):
    run = bound(margin_problems, "hinge", "free")
    run.run(1e-12 * run.value, 100)
    again = bound(margin_problems, "hinge", "free", state=run.state)
    box = run.problem.loss.box
    again.problem.loss = Envelope(box, run.beta, again.problem.loss.penalty)
    again._look()
    assert again.run(1e-9 * run.value, 100) is Status.CONVERGED
    assert again.n_steps == 0


def test_a_limit_of_updates_is_kept(margin_problems):
    run = bound(margin_problems, "hinge", "free")
    assert run.run(0.0, 2) is Status.MAX_ITER
    assert run.n_outer == 2


def test_curvature_is_lent_where_steps_are_far_too_long(margin_problems):
    # two rows, five features, and a penalty that is nothing beside the rows
    X, y, codes, weight = margin_problems["hinge"]
    data = TaskData(1e6 * X, y, 5, codes, weight)
    box = margin_loss("hinge").box(data.labels, data.weights)
    form = SharedMean(0.6).form(np.arange(5))
    beta = np.zeros(len(y))
    run = Multipliers(
        data, box, data.weights, form, 1.0, FREE, "newton-cholesky", beta=beta
    )
    lent = []
    look = run._look
    run._look = lambda: (lent.append(run.lent), look())[1]
    run.run(1e-7 * weight.sum(), 20)
    assert max(lent) > 0
    # further than without: three digits and more
    assert run.gap <= 1e-3 * weight.sum()


# ---------------------------------------------------------------- levels


def mixed():
    """A fourth task that is half of the first plus half of the second."""
    M = np.vstack([np.eye(3), [0.5, 0.5, 0.0]])
    return ComposedForm(ArrowForm(3, 0.0, 1.0), sp.csr_array(M), np.arange(3))


@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
@pytest.mark.parametrize("sharpness", [1.0, 1e3])
def test_levels_that_tasks_share_in_parts(loss, sharpness):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), 12)
    y = rng.choice([-1.0, 1.0], 48) if loss == "hinge" else rng.normal(size=48)
    data = TaskData(np.zeros((48, 1)), y, 4, codes)
    box = margin_loss(loss, 0.1).box(data.labels, data.weights)
    envelope = Envelope(box, np.zeros(48), sharpness * data.weights)
    problem = Problem(data, envelope, mixed(), 1.0, FREE)
    levels, state = Levels(problem), problem.start()
    assert levels.starts is None
    z = levels.balance(state, problem.zeros())
    assert_allclose(z, problem.scores(state), atol=1e-9)
    beta = -envelope.gradient(None, z, None)
    sums = mixed().mix.T @ data.sums(beta)
    assert_allclose(sums, 0, atol=1e-9 * np.abs(beta).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_plain_forms_have_one_level_per_row(margin_problems, kind):
    X, y, codes, weight = margin_problems["hinge"]
    data = TaskData(X, y, 5, codes, weight)
    box = margin_loss("hinge").box(data.labels, data.weights)
    envelope = Envelope(box, np.zeros(len(y)), data.weights)
    form = SharedMean(0.6).form(np.arange(5))
    levels = Levels(Problem(data, envelope, form, 1.0, INTERCEPTS[kind]))
    if kind == "none":
        z = np.arange(3.0)
        assert levels.balance(None, z) is z
    else:
        expected = data.starts if kind == "free" else [0, len(y)]
        assert_array_equal(levels.starts, expected)


@pytest.mark.parametrize("solver", ["newton-cholesky", "newton-dual", "newton-cg"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
def test_a_form_with_a_singular_kernel(loss, kind, solver):
    rng = np.random.default_rng(1)
    codes = np.repeat(np.arange(4), 15)
    X = rng.normal(size=(60, 3))
    y = X @ rng.normal(size=3) + 0.5 * rng.normal(size=60)
    y = np.sign(y) if loss == "hinge" else y
    form = mixed()
    data = TaskData(X, y, 4, codes)
    solution = solve_kinked(
        data,
        margin_loss(loss, EPSILON),
        form,
        0.5,
        intercept=INTERCEPTS[kind],
        tol=1e-8,
        solver=solver,
    )
    assert solution.status is Status.CONVERGED
    mode = {"free": True, "none": False}.get(kind, kind)
    args = X, y, codes, np.ones(60), 0.5, np.eye(3), mode
    rules = form.mix.toarray()
    value = reference.twin(loss, *args, epsilon=EPSILON, rules=rules)[2]
    assert_allclose(solution.objective, value, rtol=1e-6)
    W = solution.coef
    assert_allclose(W[3], 0.5 * W[0] + 0.5 * W[1], atol=1e-12)
