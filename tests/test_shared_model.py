"""What a new task, and a task of one class, get where intercepts are free."""

import numpy as np
import pytest
from sklearn.base import clone

from mtlearn import (
    Composition,
    MultiTaskSVM,
    PerTaskClassifier,
    SharedFeatureClassifier,
    SharedMappingClassifier,
    SharedMean,
    TaskGraph,
)

N_TASKS, N_ROWS, N_FEATURES, RATE = 20, 30, 4, 0.02

LOGISTIC = [
    PerTaskClassifier(),
    PerTaskClassifier(relation=SharedMean(0.9)),
    PerTaskClassifier(relation="pooled"),
    *(SharedFeatureClassifier(penalty=p) for p in ("rank", "nuclear", "l21", "dirty")),
    SharedMappingClassifier((4,), random_state=0, max_iter=100),
]
LINEAR = LOGISTIC[:-1]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def rare():
    """X (T, n, d), Y (T, n): an event of two in a hundred, so most tasks have none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_TASKS, N_ROWS, N_FEATURES))
    Y = np.zeros((N_TASKS, N_ROWS), dtype=int)
    for t in (2, 3, 7, 8, 11, 12, 15, 16, 18):
        Y[t, X[t, :, 0].argmax()] = 1
    Y[[3, 8, 15], [4, 5, 6]] = 1
    assert Y.mean() == RATE
    return X, Y


def _long(X, Y):
    return X.reshape(-1, N_FEATURES), Y.ravel(), np.repeat(np.arange(len(Y)), N_ROWS)


def _log_loss(p, rate):
    """Expected log-loss of probabilities where events come at a rate."""
    return -np.mean(rate * np.log(p) + (1 - rate) * np.log1p(-p))


@pytest.mark.parametrize("model", LOGISTIC)
def test_a_new_task_is_near_the_rate_of_events(model, rare):
    X, y, task = _long(*rare)
    model = clone(model).fit(X, y, task=task)
    new = np.random.default_rng(1).normal(size=(500, N_FEATURES))
    p = model.predict_proba(new, task=np.full(500, 99))[:, 1]
    assert RATE / 4 < p.mean() < RATE * 4
    assert _log_loss(p, RATE) < 2.0 * _log_loss(np.array([RATE]), RATE)
    # a task of one class is certain of it
    lone = np.isin(task, np.flatnonzero(rare[1].sum(axis=1) == 0))
    assert model.predict_proba(X[lone], task=task[lone])[:, 1].max() < 1e-3


@pytest.mark.parametrize("model", LINEAR)
def test_the_shared_model_is_the_mean_of_tasks_with_two_classes(model, rare):
    X, y, task = _long(*rare)
    two = rare[1].any(axis=1)
    for mode in ("free", "shrunk", "shared"):
        model = clone(model).set_params(fit_intercept=mode).fit(X, y, task=task)
        own = two if mode == "free" else np.ones(N_TASKS, dtype=bool)
        np.testing.assert_allclose(model.shared_coef_, model.coef_[own].mean(axis=0))
        np.testing.assert_allclose(
            model.shared_intercept_, model.intercept_[own].mean()
        )


@pytest.mark.parametrize("model", LINEAR)
def test_a_column_without_labels_gets_the_shared_model(model, rare):
    X, Y = rare[0][0], rare[1].T.astype(float)[:, :6].copy()
    Y[:, 4:] = np.where(X[:, :2] > 0, 1.0, 0.0)
    Y[:, 1] = np.nan
    with pytest.warns(UserWarning, match="1 of 6 tasks have no labels"):
        model = clone(model).fit(X, Y)
    own = [2, 3, 4, 5]
    for values, shared in (
        (model.coef_, model.shared_coef_),
        (model.intercept_, model.shared_intercept_),
    ):
        np.testing.assert_allclose(shared, values[own].mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(values[1], shared, atol=1e-12)


@pytest.mark.parametrize("model", LINEAR)
def test_weights_make_tasks_of_one_class(model, rare):
    """Events of weight zero, by rows, by entries, and whole tasks."""
    X, y, task = _long(*rare)
    plain = clone(model).fit(X, np.where(task == 2, 0, y), task=task)
    weight = np.where((task == 2) & (y == 1), 0.0, 1.0)
    model = clone(model).fit(X, y, sample_weight=weight, task=task)
    np.testing.assert_allclose(
        model.shared_intercept_, plain.shared_intercept_, rtol=0.05
    )
    X, Y = rare[0][0], (rare[0][0][:, :3] > 1.0).astype(float)
    weight = np.where(np.arange(3) == 1, 1.0 - Y, 1.0)
    model = clone(model).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(model.shared_intercept_, model.intercept_[[0, 2]].mean())


@pytest.mark.parametrize("model", LOGISTIC)
def test_no_task_has_two_classes(model, rare):
    """One in four is all events: the rates of the classes are all that is known."""
    X, _, task = _long(*rare)
    model = clone(model).fit(X, (task % 4 == 0).astype(int), task=task)
    p = model.predict_proba(X[:50], task=np.full(50, 99))[:, 1]
    np.testing.assert_allclose(p, 0.25, atol=0.02)


@pytest.mark.parametrize("model", LOGISTIC)
def test_classes_that_most_tasks_do_not_have(model, rare):
    X, y, task = _long(*rare)
    other = (X[:, 1] + np.random.default_rng(2).logistic(size=len(y)) > 0).astype(int)
    label = np.where(y == 1, 2, np.where(task == 0, 1, other))
    model = clone(model).fit(X, label, task=task)
    p = model.predict_proba(X, task=np.full(len(y), 99)).mean(axis=0)
    np.testing.assert_allclose(p, [0.49, 0.49, 0.02], atol=0.06)
    if hasattr(model, "intercept_"):
        has = (label.reshape(N_TASKS, -1)[:, :, None] == np.arange(3)).any(axis=1)
        has[0] = False  # one class
        mean = [model.intercept_[has[:, k], k].mean() for k in range(3)]
        np.testing.assert_allclose(model.shared_intercept_, mean)


def test_a_task_that_only_the_relation_knows(rare):
    X, y, task = _long(*rare)
    ids = np.arange(N_TASKS + 1)
    ring = np.roll(np.eye(len(ids)), 1, axis=0)
    model = PerTaskClassifier(relation=TaskGraph(ring + ring.T, tasks=ids))
    model.fit(X, y, task=task)
    two = np.append(rare[1].any(axis=1), False)
    level = model.intercept_[two].mean()
    np.testing.assert_allclose(model.intercept_[-1], level)
    np.testing.assert_allclose(model.shared_intercept_, level)


@pytest.mark.parametrize("total_has_rows", [False, True])
def test_compositions_of_tasks_of_one_class(rare, total_has_rows):
    """A sum runs away with its parts, but for labels of its own."""
    X, y, task = _long(*rare)
    keep = task < 9
    X, y, task = X[keep], y[keep], task[keep]
    names = np.array([f"t{k}" for k in range(9)])[task]
    rules = {"both": {"t0": 0.5, "t2": 0.5}, "fine": {"t3": 0.5, "t7": 0.5}}
    if total_has_rows:
        X, names = np.vstack([X, X[:60]]), np.append(names, ["both"] * 60)
        y = np.append(y, (X[:60, 0] > 0.5).astype(int))
    model = PerTaskClassifier(relation=Composition(rules)).fit(X, y, task=names)
    own = ["fine", "t2", "t3", "t7", "t8"]
    if total_has_rows:  # then t0 follows from t2 and the total
        own += ["both", "t0"]
    own = np.isin(model.tasks_, own)
    np.testing.assert_allclose(model.shared_intercept_, model.intercept_[own].mean())
    assert -8 < model.shared_intercept_ < 1


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_margins_do_not_run_away(loss, kernel, rare):
    """One-class tasks end at the margin, so that all of them may enter the mean."""
    X, y, task = _long(*rare)
    model = MultiTaskSVM(loss=loss, kernel=kernel).fit(X, y, task=task)
    assert -6 < model.intercept_.min()
    assert -3 < model.shared_intercept_ < 0
    np.testing.assert_allclose(model.shared_intercept_, model.intercept_.mean())
