"""A small problem of every family against a peer: has anything become slow?"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import constraints
import cv_path
import evidence
import kernel_svm
import numpy as np
import per_task
import report
import shared_features
import svm
from data import gaussian_tasks
from peers import liblinear_primal, numpy_arrow, numpy_batched, sklearn_l21
from races import Run, timed
from report import Table
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor

from mtlearn import PerTaskClassifier, SharedMappingRegressor, SharedMean

TITLE = "Guard: has anything become slow?"
NOTE = """\
A problem of a fraction of a second for every family, at default tolerances, and a peer
that does about the same work: "ratio" is the peer's processor time over ours, medians
of turns. It says nothing of who is faster (the other tables do, at equal accuracy); it
is compared with "stored", the ratio of the last table that was kept. Ratios of small
problems move by a tenth or two from machine to machine; one that falls by more than a
third is named below the table, and nothing fails.
"""
FELL = 2.0 / 3.0
HEAD = ["problem", "mtlearn", "peer", "ratio", "stored"]


@dataclass(frozen=True, eq=False)
class Pair:
    """A problem, our fit and the peer's."""

    name: str
    problem: object
    ours: Callable
    peer: Callable


MACHINE = "1000 rows, 20 tasks, 10% noise, rho=0.5, C=1, gamma=0.1"


def problems(quick=False):
    """The makers of all pairs."""
    squares = per_task.problems(True)
    sizes = "200 tasks, 20k x 20"
    rows = "139 tasks, 15k x 28, C=1, rho=0.5"
    found = {
        "PerTaskRegressor, NumPy": (squares[sizes], per_task.ours, numpy_batched),
        "PerTaskRegressor, shared mean, NumPy": (
            squares[f"{sizes}, SharedMean(0.5)"],
            per_task.ours,
            numpy_arrow,
        ),
        "PerTaskClassifier, LogisticRegression": (
            svm.problems(True)[rows],
            logistic,
            logistic_augmented,
        ),
        "MultiTaskSVM, LIBLINEAR": (
            svm.problems(True)[rows],
            svm.ours,
            partial(liblinear_primal, tol=1e-4),
        ),
        "MultiTaskSVM, kernel, libsvm": (
            kernel_svm.problems(True)[MACHINE],
            kernel_svm.ours,
            kernel_svm.fit_libsvm,
        ),
        "constraints, cvxpy": (
            constraints.problems(True)["squares, n=500, NonNegative"],
            constraints.ours,
            constraints.plain,
        ),
        "SharedFeatureRegressor, l21, MultiTaskLasso": (
            shared_features.problems(True)["500 x 50, 10 tasks, 0.01 of largest"],
            shared_features.ours,
            partial(sklearn_l21, tol=1e-6, max_iter=10_000),
        ),
        "PerTaskRegressorCV, GridSearchCV": (
            few_strengths,
            cv_path.ours,
            cv_path.sklearn_grid,
        ),
        "MultiTaskBayesianRidge, NumPy's moments": (
            evidence.problems(True)["2000 x 20, 2 slopes"],
            evidence.ours,
            evidence_moments,
        ),
        "SharedMappingRegressor, MLPRegressor": (teacher, mapping, perceptrons),
    }
    return {name: partial(_pair, name, *what) for name, what in found.items()}


def _pair(name, make, ours, peer):
    return Pair(name, make(), ours, peer)


# ---------------------------------------------------------------- libraries


def ours(pair):
    """Our fit."""
    return pair.ours(pair.problem)


def logistic(problem):
    """PerTaskClassifier on the rows of a machine."""
    relation = SharedMean(problem.correlation)
    model = PerTaskClassifier(problem.C, relation, fit_intercept=False)
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.coef_)


def logistic_augmented(problem):
    """scikit-learn's on the features that say the same."""
    model = LogisticRegression(C=problem.C, fit_intercept=False, max_iter=1000)
    model, seconds = timed(model.fit, problem.augmented, problem.y)
    return Run(seconds, problem.coefficients(model.coef_[0]))


def evidence_moments(problem):
    """Moments of every task in NumPy, on sorted rows."""
    return Run(timed(evidence.numpy_moments, problem)[1], np.zeros(0))


def few_strengths():
    """A grid that GridSearchCV is through with in a second."""
    problem = cv_path.problems(True)["ridge, 200 x 20, 5 tasks, AR(0.6)"]()
    return replace(problem, alphas=problem.alphas[::10])


def teacher():
    """Rows of ten tasks, of labels that are smooth in a few directions."""
    X, _, task = gaussian_tasks(10, 2000, 10)
    rng = np.random.default_rng(0)
    heads = rng.standard_normal((10, 4))
    hidden = np.tanh(X @ rng.standard_normal((10, 4)) / 2.0)
    return X, np.einsum("ij,ij->i", hidden, heads[task]), task


def mapping(problem):
    """Heads of all tasks on one layer."""
    X, y, task = problem
    model = SharedMappingRegressor((16,), alpha=1.0, random_state=0, max_iter=50)
    model, seconds = timed(model.fit, X, y, task=task)
    return Run(seconds, model.coefs_[0])


def perceptrons(problem):
    """A perceptron of scikit-learn for every task."""
    X, y, task = problem

    def loop():
        for t in range(task.max() + 1):
            model = MLPRegressor(
                hidden_layer_sizes=(16,), activation="tanh", solver="lbfgs", max_iter=50
            )
            model.set_params(random_state=0).fit(X[task == t], y[task == t])

    return Run(timed(loop)[1], np.zeros(0))


# ---------------------------------------------------------------- the table


def stored():
    """Ratios of the table that was kept, by problem."""
    path = report.RESULTS / "guard.md"
    text = path.read_text() if path.exists() else ""
    number = r"([\d.]+)"
    line = rf"^\| (.+?) \| {number} \| {number} \| {number} \|"
    return {name: float(ratio) for name, _, _, ratio in re.findall(line, text, re.M)}


def tables(problems, args):
    """Time every pair, and say what fell."""
    table, known, fallen = Table(HEAD), stored(), []
    for pair in problems:
        fits = ours, lambda pair: pair.peer(pair.problem)
        turns = [[fit(pair).seconds for fit in fits] for _ in range(args.repeats + 1)]
        own, peer = (median(spent) for spent in zip(*turns[1:]))  # the first compiles
        ratio, before = peer / own, known.get(pair.name)
        if before is not None and ratio < FELL * before:
            fallen.append(f"{pair.name} (from {before:.2f} to {ratio:.2f})")
        before = "" if before is None else f"{before:.2f}"
        table.add(pair.name, f"{own:.4f}", f"{peer:.4f}", f"{ratio:.2f}", before)
    table.say(f"Fell by more than a third: {'; '.join(fallen) or 'none'}.")
    yield table
