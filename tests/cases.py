"""Cases that several test files share: coverings of products, ways to pass data.

`Case` is the same problem as an estimator and as `reference` want it; `cover` chooses
from all combinations of options those that the default run tries.
"""

import inspect
from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from sklearn.base import BaseEstimator, MetaEstimatorMixin

import mtlearn
from mtlearn import SharedMean, TaskCovariance, TaskGraph
from mtlearn.problem.demands import Scope
from mtlearn.problem.intercepts import FREE, NONE, SHARED, SHRUNK
from mtlearn.solvers.constrained.conic import Limits
from mtlearn.solvers.constrained.squares import solve_constrained

RELATIONS = (
    "independent",
    "SharedMean(0)",
    "SharedMean(0.6)",
    "SharedMean(1)",
    "pooled",
    "graph",
    "covariance",
)
INTERCEPTS = {mode.name: mode for mode in (FREE, SHRUNK, SHARED, NONE)}
RELATION_FIXTURES = (
    "SharedMean(0)",
    "SharedMean(0.6)",
    "pooled",
    "graph",
    "covariance",
)
LAYOUTS = ("column", "task", "wide")
MODES = (True, "shrunk", "shared", False)
WEIGHTS = ("none", "rows", "labels", "balanced", "dict", "array")
SOLVERS = ("newton-cholesky", "newton-dual", "newton-cg")
C = 0.7


def pairwise(*factors):
    """Cases of the product of which every pair of values is in one.

    Greedy: each case holds the most pairs that none before it had.
    """
    every = list(product(*factors))
    levels = np.indices([len(factor) for factor in factors]).reshape(len(factors), -1)
    # every pair of values of two factors has a number; a column for each case
    width = levels.max() + 1
    pairs = [
        (k * width + levels[i]) * width + levels[j]
        for k, (i, j) in enumerate(combinations(range(len(factors)), 2))
    ]
    missing = np.zeros(len(pairs) * width**2, dtype=bool)
    missing[pairs] = True
    chosen = []
    while missing.any():
        best = missing[pairs].sum(axis=0).argmax()
        missing[[pair[best] for pair in pairs]] = False
        chosen.append(every[best])
    return chosen


def cover(*factors):
    """The whole product as parameters; all but a pairwise choice are slow."""
    quick = set(pairwise(*factors))
    return [
        pytest.param(*case, marks=() if case in quick else pytest.mark.slow)
        for case in product(*factors)
    ]


FACTORS = RELATIONS, LAYOUTS, MODES, WEIGHTS
NAMES = "name, layout, mode, weights"
every_pair = pytest.mark.parametrize(NAMES, cover(*FACTORS))
every_case = pytest.mark.parametrize(NAMES, list(product(*FACTORS)))


class Case:
    """The same problem as an estimator and as `reference` want it.

    Attributes
    ----------
    X, y, fit : what `fit` gets, `fit` its keywords
    params : parameters of the estimator that go with the data
    rows : X, y, codes, weight of the long form, weights times C
    predict : keywords of predict
    """

    def __init__(self, long, wide, name, layout, weights, matrices, strength=1.0):
        p = wide if layout == "wide" else long
        tasks = np.arange(5) if layout == "wide" else p.tasks
        self.n_tasks, self.fit, self.predict, self.params = 5, {}, {}, {}
        s, lam = self._weights(p, tasks, weights, layout)
        if layout == "wide":
            self.X, self.y = p.X, p.Y
            rows, y, codes, s = reference.to_long(p.X, p.Y, s)
            keep = s > 0
            rows, y, codes, s = rows[keep], y[keep], codes[keep], s[keep]
        else:
            self.X, self.y = p.X, p.y
            rows, y, codes = p.X, p.y, p.codes
        if layout == "task":
            self.fit["task"] = self.predict["task"] = p.task
        if layout == "column":
            self.X = pd.DataFrame(p.X, columns=list("abcde"))
            self.X.insert(2, "school", p.task)
            self.params["task_column"] = "school"
        self.rows = rows, y, codes, reference.row_weights(codes, s, lam, strength)
        self.params["relation"], self.K = related(name, tasks, *matrices)

    def _weights(self, p, tasks, weights, layout):
        """Sample weights and task weights for `reference`; sets those of `fit`."""
        lam = np.array([2.0, 0.5, 1.0, 1.5, 0.3])
        s = p.weight.copy()
        s[::7] = 0.0
        if weights == "none":
            return None, None
        if weights == "labels" and layout == "wide":
            s = p.weights.copy()
            s[::4, 1] = 0.0
        self.fit["sample_weight"] = s
        if weights in ("rows", "labels"):
            return s, None
        if weights == "balanced":
            self.params["task_weight"] = "balanced"
            return s, "balanced"
        if weights == "array":
            self.params["task_weight"] = lam
            return s, lam
        some = dict(zip(tasks[[0, 3]].tolist(), lam[[0, 3]].tolist()))
        self.params["task_weight"] = some
        return s, np.array([2.0, 1.0, 1.0, 1.5, 1.0])

    def twin(self, loss, mode, labels=None, **options):
        """Minimum of the objective by cvxpy."""
        X, y, codes, weight = self.rows
        y = y if labels is None else labels(y)
        return reference.twin(loss, X, y, codes, weight, 1.0, self.K, mode, **options)

    def check(self, loss, model, mode, value, labels=None, strength=1.0, **options):
        """The model's objective is within 1e-6 of `value`; its certificate holds."""
        X, y, codes, weight = self.rows
        y = y if labels is None else labels(y)
        check_objective(
            loss,
            model,
            value,
            X,
            y,
            codes,
            weight,
            strength,
            self.K,
            mode,
            **options,
        )


def learnt(model):
    """Everything that a fit found out, as one vector."""
    if hasattr(model, "coefs_"):
        parts = [*model.coefs_, *model.intercepts_]
    else:
        parts = [model.coef_, model.intercept_]
    return np.concatenate([part.ravel() for part in parts])


def check_objective(loss, model, value, *args, precision=1e-9, **options):
    """The objective at coef_ and intercept_ is `value` to 1e-6, and not below it."""
    coef, intercept = model.coef_, model.intercept_
    zero = reference.objective(loss, 0 * coef, 0 * intercept, *args, **options)
    found = reference.objective(loss, coef, intercept, *args, **options)
    slack = precision * zero
    assert found - value <= 1e-6 * value + slack
    assert found - value >= -10 * slack
    assert found - value <= model.optimality_ * zero + slack
    assert model.optimality_ <= model._tolerance()


def related(name, tasks, adjacency, task_covariance):
    """The relation of that name, its tasks in mixed order, and its kernel."""
    order = np.array([3, 1, 4, 0, 2])
    mixed = np.ix_(order, order)
    if name == "graph":
        relation = TaskGraph(adjacency[mixed], 2.0, tasks=tasks[order])
        return relation, reference.graph(adjacency, 2.0)
    if name == "covariance":
        relation = TaskCovariance(task_covariance[mixed], tasks=tasks[order])
        return relation, reference.covariance(task_covariance)
    if name.startswith("SharedMean"):
        rho = float(name[11:-1])
        return SharedMean(rho), reference.shared_mean(rho, len(tasks))
    return name, reference.kernel(name, len(tasks))


def signs(y):
    """Labels -1 and +1, the larger one positive."""
    return np.where(y == np.unique(y)[1], 1, -1)


def positions(y):
    return np.unique(y, return_inverse=True)[1]


def wide_multiclass(p):
    """A table of labels with holes; task 3 has one class, task 0 all three."""
    rng, n = np.random.default_rng(0), len(p.X) // 2
    Y = rng.choice(p.classes, size=(n, 5)).astype(object)
    Y[:, 3] = "b"
    Y[rng.uniform(size=Y.shape) < 0.5] = None
    Y[:3, 0] = p.classes
    weights = rng.uniform(0.5, 2.0, size=Y.shape)
    return SimpleNamespace(X=p.X[:n], Y=Y, weight=p.weight[:n], weights=weights)


TASKS = np.array(list("abcdef"))


N_TASKS, N_ROWS, N_FEATURES = 6, 60, 4


def problem():
    """Rows of six tasks of very different sizes; labels in both layouts."""
    rng = np.random.default_rng(0)
    codes = rng.choice(N_TASKS, size=N_ROWS, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
    X = rng.normal(size=(N_ROWS, N_FEATURES)) * [1.0, 3.0, 0.3, 5.0] + [0, 5, 0, -3]
    W = rng.normal(size=N_FEATURES) + 0.3 * rng.normal(size=(N_TASKS, N_FEATURES))
    Y = X @ W.T + np.arange(N_TASKS) + rng.normal(size=(N_ROWS, N_TASKS))
    missing = np.where(rng.uniform(size=Y.shape) < 0.3, np.nan, Y)
    patterns = Y.copy()
    patterns[:20, :3], patterns[30:35, 3:] = np.nan, np.nan
    some = rng.uniform(0.3, 2.0, size=N_ROWS)
    zeros = np.where(rng.uniform(size=N_ROWS) < 0.1, 0.0, some)
    table = rng.uniform(0.3, 2.0, size=Y.shape)
    table[rng.uniform(size=Y.shape) < 0.1] = 0.0
    return SimpleNamespace(
        X=X,
        y=Y[np.arange(N_ROWS), codes],
        task=TASKS[codes],
        codes=codes,
        wide={"wide": Y, "missing": missing, "patterns": patterns},
        weight={"none": None, "rows": some, "zeros": zeros, "labels": table},
    )


P = problem()


def hard_features(name, X, codes):
    """Features in wildly different units, far from zero, or hard to tell apart."""
    rng = np.random.default_rng(0)
    X = X.copy()
    if name == "units":
        return X * np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])
    if name == "small":
        return 1e-6 * X
    if name == "large":
        return 1e6 * X
    if name == "a year":
        return X + np.array([2000.0, 0, 0, 0, 0])
    if name == "far":
        # three digits after the point: whole in the sum
        return np.round(X * 1024) / 1024 + 1e9
    if name == "one far":
        X[:, 0] = np.round(X[:, 0] * 1024) / 1024 + 1e9
        return X
    if name == "duplicated":
        return np.column_stack([X, X[:, :2]])
    if name == "nearly duplicated":
        return np.column_stack([X, X[:, :1] + 1e-7 * rng.normal(size=(len(X), 1))])
    if name == "constant":
        return np.column_stack([X, np.full(len(X), 7.3), np.zeros(len(X))])
    if name == "constant in a task":
        X[codes == 0] = 1.5
        return X
    if name == "wide":
        return rng.normal(size=(len(X), len(X) + 8))
    return X


FEATURES = (
    "units",
    "small",
    "large",
    "a year",
    "duplicated",
    "nearly duplicated",
    "constant",
    "constant in a task",
    "wide",
)


T, D = 5, 4


def limits_of(constraints, n_tasks=T, n_features=D):
    """Constraints over the tasks of a fit in which all take part."""
    scope, size = Scope(np.arange(n_tasks), None, n_features), n_tasks * n_features
    demands = [one.demand(scope) for one in constraints]
    balls = [one for one in demands if one.balls is not None]
    none, every = sp.csr_array((0, size)), sp.eye_array(n_tasks).tocsr()
    return Limits(
        sp.vstack([none, *(one.rows for one in demands)]).tocsr(),
        np.concatenate([[], *(one.lower for one in demands)]),
        np.concatenate([[], *(one.upper for one in demands)]),
        sp.vstack([none, *(one.balls for one in balls)]).tocsr(),
        balls[0].centre if balls else none,
        np.concatenate([[], *(one.radius for one in balls)]),
        [],
        every,
        every,
    )


def solve(data, loss, form, alpha, limits, intercept="free", tol=1e-8, **options):
    return solve_constrained(
        data,
        loss,
        form,
        alpha,
        limits,
        intercept=INTERCEPTS[intercept],
        tol=tol,
        max_iter=100,
        options=options,
    )


PUBLIC = [getattr(mtlearn, name) for name in mtlearn.__all__]


# what wraps others has tests of its own
ESTIMATORS = [
    c
    for c in PUBLIC
    if issubclass(c, BaseEstimator)
    and hasattr(c, "fit")
    and not issubclass(c, MetaEstimatorMixin)
]


def quick(estimator, **params):
    """An instance for the checks: grids of a hundred strengths would take minutes.

    Where there is chance, always the same.
    """
    known = inspect.signature(estimator).parameters
    if "alphas" in known:
        params = {"alphas": 4, "cv": 2, **params}
    if "Cs" in known:
        params = {"Cs": 2, "correlations": (0.0, 0.9), "cv": 2, **params}
    if "random_state" in inspect.signature(estimator).parameters:
        params = {"hidden_layer_sizes": (8,), "random_state": 0, **params}
    return estimator(**params)
