"""Small seeded problems: both layouts, regression and classification, five tasks.

Each fixture is a fresh ``SimpleNamespace``, so that a test may change it. The long ones
have ``X, y, task, codes, tasks, weight, n_tasks``: shuffled rows, string ids in
``task``, ``tasks`` the sorted ids, ``codes`` each row's position among them. The wide
ones have ``X, Y, weight, weights`` (1-D and 2-D sample weights) and ``n_tasks``.
"""

import functools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from cases_cli import Shell
from cases_features import problems, rows  # noqa: F401
from reference import data_dir
from threadpoolctl import threadpool_limits

from mtlearn import SharedMean, TaskCovariance, TaskGraph, inspection
from mtlearn.cli import commands
from mtlearn.problem.margins import MARGIN_LOSSES as LOSSES

TASKS = ("east", "mid", "north", "south", "west")
SIZES = (18, 2, 13, 9, 10)  # "mid" has two rows
N_FEATURES = 5


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of tests marked `sampled(k)` every k-th combination stays; the rest are slow."""
    met = Counter()
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None and hasattr(item, "callspec"):
            name = item.nodeid.partition("[")[0]
            if met[name] % mark.args[0]:
                item.add_marker(pytest.mark.slow)
            met[name] += 1


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread for BLAS: on problems this small threads wait more than they work."""
    with threadpool_limits(1):
        yield


def _coefficients(rng, n_tasks, n_features):
    """Coefficients of shape (n_tasks, n_features) around a common vector."""
    return rng.normal(size=n_features) + 0.5 * rng.normal(size=(n_tasks, n_features))


def _long(seed):
    """Rows, ids and weights, with the noiseless prediction of every row in ``f``."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(TASKS)), SIZES))
    X = rng.normal(size=(len(codes), N_FEATURES))
    W = _coefficients(rng, len(TASKS), N_FEATURES)
    b = rng.normal(size=len(TASKS))
    problem = SimpleNamespace(
        X=X,
        task=np.array(TASKS)[codes],
        codes=codes,
        tasks=np.array(TASKS),
        n_tasks=len(TASKS),
        weight=rng.uniform(0.5, 2.0, size=len(codes)),
    )
    return problem, (X * W[codes]).sum(axis=1) + b[codes], rng


def _wide(seed, n_samples=30, n_features=6):
    """Shared inputs, a pattern of missing labels, weights and noiseless predictions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    W = _coefficients(rng, len(TASKS), n_features)
    missing = rng.uniform(size=(n_samples, len(TASKS))) < 0.3
    missing[:, 0] = False  # complete
    missing[:, 2] = missing[:, 1]  # the same pattern
    missing[2:, 4] = True  # two labels
    missing[:2, 4] = False
    problem = SimpleNamespace(
        X=X,
        n_tasks=len(TASKS),
        weight=rng.uniform(0.5, 2.0, size=n_samples),
        weights=rng.uniform(0.5, 2.0, size=(n_samples, len(TASKS))),
    )
    return problem, X @ W.T + rng.normal(size=len(TASKS)), missing, rng


@pytest.fixture
def long_regression():
    """52 rows, 5 features; the task "mid" has two rows."""
    problem, f, rng = _long(0)
    problem.y = f + 0.5 * rng.normal(size=len(f)) + 3.0
    return problem


@pytest.fixture
def long_classification():
    """Labels "no" and "yes" (``sign`` -1 and +1); all rows of "south" are "yes"."""
    problem, f, rng = _long(1)
    sign = np.where(f + rng.logistic(size=len(f)) > 0, 1, -1)
    sign[problem.task == "south"] = 1
    sign[problem.task == "mid"] = [-1, 1]
    problem.sign = sign
    problem.y = np.array(["no", "yes"])[(sign + 1) // 2]
    return problem


@pytest.fixture
def long_multiclass():
    """Labels "a", "b", "c" (``label`` 0, 1, 2), ``classes`` the three.

    "west" has no "c", "mid" no "b", "south" nothing but "b".
    """
    problem, f, rng = _long(2)
    label = np.digitize(f + rng.logistic(size=len(f)), np.quantile(f, [0.3, 0.7]))
    label[(problem.task == "west") & (label == 2)] = 1
    label[problem.task == "south"] = 1
    label[problem.task == "mid"] = [0, 2]
    problem.label = label
    problem.classes = np.array(["a", "b", "c"])
    problem.y = problem.classes[label]
    return problem


@pytest.fixture
def wide_regression():
    """30 rows, 6 features, NaN labels: columns 1 and 2 miss the same, 4 all but two."""
    problem, f, missing, rng = _wide(3)
    problem.Y = np.where(missing, np.nan, f + 0.5 * rng.normal(size=f.shape) + 3.0)
    return problem


@pytest.fixture
def wide_complete():
    """30 rows, 6 features, every label observed."""
    problem, f, _, rng = _wide(4)
    problem.Y = f + 0.5 * rng.normal(size=f.shape) + 3.0
    return problem


@pytest.fixture
def wide_classification():
    """Labels 0 and 1 with NaN; column 3 has only ones, column 4 one label of each."""
    problem, f, missing, rng = _wide(5)
    Y = np.where(f + rng.logistic(size=f.shape) > 0, 1.0, 0.0)
    Y[:, 3] = 1.0
    Y[:2, 4] = [0.0, 1.0]
    problem.Y = np.where(missing, np.nan, Y)
    return problem


@pytest.fixture
def adjacency():
    """Symmetric weights between the five tasks: a chain and one longer edge."""
    adjacency = np.zeros((len(TASKS), len(TASKS)))
    for s, t, w in [(0, 1, 1.0), (1, 2, 0.5), (2, 3, 2.0), (3, 4, 1.0), (0, 4, 0.3)]:
        adjacency[s, t] = adjacency[t, s] = w
    return adjacency


@pytest.fixture
def task_covariance():
    """Positive definite 5 by 5 covariance, unequal variances, signs of both kinds."""
    L = np.random.default_rng(6).normal(size=(len(TASKS), len(TASKS)))
    return L @ L.T / len(TASKS) + 0.2 * np.eye(len(TASKS))


@pytest.fixture
def matrices(adjacency, task_covariance):
    """The two matrices that `cases.related` makes relations of."""
    return adjacency, task_covariance


@pytest.fixture
def relation(request, adjacency, task_covariance):
    """One of `cases.RELATION_FIXTURES`, by name: for indirect parameters."""
    return {
        "SharedMean(0)": SharedMean(0.0),
        "SharedMean(0.6)": SharedMean(0.6),
        "pooled": SharedMean(1.0),
        "graph": TaskGraph(adjacency, 1.5),
        "covariance": TaskCovariance(task_covariance),
    }[request.param]


@pytest.fixture
def canvas():
    """The pyplot module, without windows; its figures are closed afterwards."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def real_data():
    """Folder of optional real data; the test is skipped where there is none."""
    folder = data_dir()
    if folder is None:
        pytest.skip("MTLEARN_DATA names no folder")
    return folder


@pytest.fixture
def margin_problems(long_regression, long_classification):
    """(X, labels, codes, weight) of the long problem that suits each margin loss."""
    p, q = long_regression, long_classification
    return {
        loss: (q.X, q.sign * 1.0, q.codes, q.weight)
        if "hinge" in loss
        else (p.X, p.y, p.codes, p.weight)
        for loss in LOSSES
    }


@pytest.fixture
def shell(tmp_path, capsys):
    """The shell command, with files in a folder of its own."""
    return Shell(tmp_path, capsys)


@pytest.fixture
def quick(monkeypatch):
    """Two folds and two strategies in `compare`: for tests that are about the rest."""
    few = functools.partial(
        inspection.compare_sharing, cv=2, strategies=("pooled_offset",)
    )
    monkeypatch.setattr(commands, "compare_sharing", few)
