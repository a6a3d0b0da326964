"""Random problems of every family against their minima, and what every fit promises."""

import copy
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from fuzz import FAMILIES, FEATURES, draw
from reference import default_private, factor, intercept_penalty, shared_penalty
from reference.optimum import KINKED, least, least_shared, loss_values
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from mtlearn.solvers.linesearch import find_step
from mtlearn.solvers.margins import multipliers

SEEDS = 6  # problems of every family in the default run


def fitted(problem):
    """The fitted estimator, and whether it says that it did not converge."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = clone(problem.estimator).fit(**problem.call)
    unexpected = [
        w.message
        for w in caught
        if not issubclass(w.category, ConvergenceWarning)
        and not ("no labels" in str(w.message) and problem.bare)
    ]
    assert not unexpected, unexpected
    return model, any(issubclass(w.category, ConvergenceWarning) for w in caught)


def value(problem, W, b):
    """The objective of W (n_tasks, n_classes, n_features) and b, in long doubles."""
    wide = np.longdouble
    X, b_rows = problem.X.astype(wide), b[problem.codes].astype(wide)
    z = np.einsum("nd,nqd->nq", X, W[problem.codes].astype(wide)) + b_rows
    loss = loss_values(problem.loss, problem.y, z, problem.epsilon, problem.allowed)
    omega = sum(problem.tied.omega(W[:, k], b[:, k]) for k in range(W.shape[1]))
    scale = problem.strength / 2 if problem.family == "squared" else 0.5
    return float(problem.C * (problem.c @ loss) + scale * omega)


def shared_value(problem, W, b):
    """The objective of shared features, W (n_tasks, n_features) and b (n_tasks,)."""
    p = problem
    z = (p.X.astype(np.longdouble) * W[p.codes]).sum(axis=1) + b[p.codes]
    price = intercept_penalty(b, np.eye(len(b)), p.mode)
    own = default_private(p.strength, len(W))
    penalty = shared_penalty(p.family.split()[0], W, p.strength, own)
    rows = loss_values(p.loss, p.y, z[:, None])
    return float(p.c @ rows + 0.5 * p.strength * price + penalty)


def machine_value(problem, model):
    """The objective of a kernel machine by its dual coefficients, and its scores."""
    p, K = problem, problem.tied.kernel
    if p.layout == "wide":
        # the rows of the long form by column, then by row
        numbers = np.concatenate([np.flatnonzero(~np.isnan(y)) for y in p.call["y"].T])
        all_beta = np.zeros((len(p.tasks), len(p.call["y"])))
        all_beta[:, model.support_] = model.dual_coef_
        beta = all_beta[p.codes, numbers]
    else:
        beta = np.zeros(len(p.y))
        beta[model.support_] = model.dual_coef_[0]
    tie = K[np.ix_(p.codes, p.codes)]
    z = (tie * p.gram) @ beta + model.intercept_[p.codes]
    G = tie * (p.gram + (p.mode == "shrunk"))
    loss = loss_values(p.loss, p.y, z[:, None], p.epsilon)
    return float(p.C * (p.c @ loss) + 0.5 * beta @ G @ beta)


def minima(problem):
    """The least objective; that without features; what rounding leaves of a loss."""
    p, tied = problem, problem.tied
    features = p.family in FEATURES
    if p.gram is None:
        D, V = tied.penalised(p.X, p.codes)
    else:
        V = tied.V[p.codes]
        D = factor(p.gram * tied.kernel[np.ix_(p.codes, p.codes)])
    E, strength = tied.free(p.codes), 1.0
    if features or p.family == "squared":
        strength = p.strength
    args = E, p.y, p.C * p.c, strength, p.epsilon, p.allowed
    if features:
        try:
            name, d = p.family.split()[0], p.X.shape[1]
            if p.loss == "logistic" and p.mode == "free":
                # the loss of a task with one class has the infimum 0
                args = E, p.y, p.c * ~p.one_class[p.codes], *args[3:]
            best = least_shared(p.loss, name, D, V, *args[:-2], d)
        except RuntimeError:
            best = np.inf  # where cvxpy fails: no worse than without features
    else:
        best = least(p.loss, np.hstack([D, V]), *args)
    base = least(p.loss, V, *args)
    best = min(best, base)
    if "y_unit" in p.notes:
        power = 1 if p.loss in KINKED else 2
        floor = p.C * p.c.sum() * (1e-12 * abs(p.y).max()) ** power
    else:
        floor = 1e-9 * p.C * p.c.sum()
    return best, base, floor


def check_optimal(problem):
    """The excess over the minimum is what `tol` promises, unless a warning says no."""
    model, warned = fitted(problem)
    assert np.array_equal(np.asarray(model.tasks_), np.asarray(problem.tasks))
    if not (warned and problem.hard):
        if problem.family in FEATURES:
            found = shared_value(problem, model.coef_, model.intercept_)
        elif problem.gram is None:
            W, b = model.coef_, model.intercept_
            W, b = (W[:, None], b[:, None]) if W.ndim == 2 else (W, b)
            found = value(problem, W, b)
        else:
            found = machine_value(problem, model)
        best, base, floor = minima(problem)
        tol = 1e-4 if problem.loss in KINKED else 1e-6
        excess = (found - best) / max(base, floor)
        slack = floor / max(base, floor)
        rough = problem.hard or problem.family in FEATURES  # twins may be a bit above
        assert rough or excess > -tol - slack, "the twin is not at the minimum"
        assert excess <= tol + slack, f"excess {excess:.2g}" + " warned" * warned
        assert not warned, (
            f"a warning at an excess of {excess:.2g}, {model.optimality_:.2g}"
        )
    return model


def scores(model, X, task=None):
    """Scores of all rows, (n, ...)."""
    task = {} if task is None else {"task": task}
    method = getattr(model, "decision_function", model.predict)
    return method(X, **task)


def check_predictions(problem, model):
    """Predictions are X @ coef + b."""
    if problem.loss == "softmax" or problem.gram is not None:
        return
    z = scores(model, problem.call["X"], problem.call.get("task"))
    X = problem.call["X"]
    if problem.layout == "wide":
        expected = X @ model.coef_.T + model.intercept_
        size = abs(X) @ abs(model.coef_.T) + abs(model.intercept_)
    else:
        X, t = problem.X, problem.codes
        expected = (X * model.coef_[t]).sum(axis=1) + model.intercept_[t]
        size = (abs(X) * abs(model.coef_[t])).sum(axis=1) + abs(model.intercept_[t])
    assert (abs(z - expected) <= 1e-12 * size + 1e-300).all()


def check_new_task(problem, model):
    """A task that no row belongs to gets the shared model, which is finite."""
    if problem.layout == "wide" or problem.loss == "softmax":
        return
    name = "never seen" if isinstance(problem.tasks[0], str) else 5000
    X, t = problem.call["X"], np.full(len(problem.y), name)
    if problem.layout == "column":
        X, column = X.copy(), problem.estimator.task_column
        if hasattr(X, "iloc"):
            X[column] = t
        else:
            X = X.tolil() if sp.issparse(X) else X
            X[:, [column]] = t[:, None]
            X = X.tocsr() if sp.issparse(X) else X
        z = scores(model, X)
    else:
        z = scores(model, X, t)
    assert np.isfinite(z).all()
    if problem.gram is None:
        expected = problem.X @ model.shared_coef_ + model.shared_intercept_
        size = abs(problem.X) @ abs(model.shared_coef_) + abs(model.shared_intercept_)
        assert (abs(z - expected) <= 1e-12 * size).all()
    check_shared_intercept(problem, model)


def check_shared_intercept(problem, model):
    """One-class tasks with an own intercept have no say in that of a new task."""
    if problem.loss != "logistic" or problem.mode != "free":
        return
    known = model.intercept_[~problem.one_class]
    if len(known) and problem.tied.rules is None:
        size = 1e-9 * abs(known).max()
        assert known.min() - size <= model.shared_intercept_ <= known.max() + size


def raw(container):
    """All numbers of a container, in their order."""
    if sp.issparse(container):
        return [container.data, container.indices, container.indptr]
    return [np.asarray(container)]


def check_repeats(problem, model):
    """A second fit agrees to the last bit, and the caller's arrays are as they were."""
    before = copy.deepcopy(problem.call)
    again = fitted(problem)[0]
    name = "coef_" if problem.gram is None else "dual_coef_"
    assert np.array_equal(getattr(again, name), getattr(model, name))
    assert np.array_equal(again.intercept_, model.intercept_)
    for name, own in problem.call.items():
        if own is not None:
            for a, b in zip(raw(before[name]), raw(own)):
                assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name


def check_problem(family, seed):
    """All promises on one problem; a failure says how to draw it again."""
    problem = draw(family, seed)
    try:
        model = check_optimal(problem)
        check_predictions(problem, model)
        check_new_task(problem, model)
        check_repeats(problem, model)
    except Exception as error:
        raise AssertionError(f"{problem}: {error!r}") from error


@pytest.mark.parametrize("family", FAMILIES)
def test_random_problems(family):
    for seed in range(SEEDS // 2 if family in FEATURES else SEEDS):
        check_problem(family, seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
@pytest.mark.parametrize("family", FAMILIES)
def test_many_random_problems(family, block):
    for seed in range(100 * block + SEEDS, 100 * (block + 1) + SEEDS):
        check_problem(family, seed)


def test_levels_of_composed_tasks_end_at_rounding(monkeypatch):
    """Intercepts are balanced until steps are rounding, and no further."""
    problem, calls = draw("epsilon", 44), []

    def counted(*args):
        calls.append(None)
        return find_step(*args)

    monkeypatch.setattr(multipliers, "find_step", counted)
    model, warned = fitted(problem)
    assert not warned and model.optimality_ <= 1e-4
    assert len(calls) < 5000  # 600; without that end 36,000
