"""Held-out errors on multi-target sets: the draws, the models, their scores.

The sets are Mulan's `osales`, `scpf` and `andro` (arrays `X` with NaN, `Y`), from the
folder in the variable MTLEARN_DATA.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
from data import open_data
from races import timed
from report import Table
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import PerTaskRegressorCV, SharedFeatureRegressorCV
from mtlearn.metrics import average_relative_rmse

TITLE = "SharedFeatureRegressorCV against RidgeCV on multi-target sets"
NOTE = """\
Mean aRRMSE on the test rows: over targets, the root of the squared error relative to
that of the target's training mean; 1 is as good as that mean, smaller is better. Small
training parts are 8 random draws of 50 rows (andro, which has 49 in all: 25), tested on
the rest; "all rows" are 10 folds, KFold(10, shuffle=True, random_state=0). Every model
is a Pipeline that imputes means and standardises X, fitted to the training rows alone,
and sees the same rows. What is left open is chosen from those rows too, by RidgeCV
leaving out one at a time, by ours in 10 folds (with the default 5, of 44 rows of andro
only 35 are left to learn from, and it loses more there).

"ratio" is the mean relative to that of RidgeCV with an alpha per target; "by part" is
the geometric mean of that ratio in every draw or fold, to which a draw with a large
error (scpf has one, of 4.4 for RidgeCV) is one of many. RidgeCV tries 46 strengths from
1e-3 to 1e6; with one alpha for all targets it gets them standardised, and so do ours
(TransformedTargetRegressor). SharedFeatureRegressorCV tries the penalties "nuclear",
"rank" (1, 2 and 3), "l21" and "dirty" at 15 strengths each, tol=1e-3, and chooses by
scoring="neg_root_mean_squared_error" with one_standard_error="paired"; "nuclear" alone
and PerTaskRegressorCV (25 strengths, and correlations) do so as well, and "default
choice" is by the smallest mean squared error. "chosen" counts what was chosen. How to
choose was settled with these sets in view.
"""

SETS = {"osales": 50, "scpf": 50, "andro": 25}  # rows of a small training part
N_DRAWS = 8
RIDGE_ALPHAS = np.logspace(-3, 6, 46)
PENALTIES = ("nuclear", "rank", "l21", "dirty")
RANKS = (1, 2, 3)
CHOICE = {"scoring": "neg_root_mean_squared_error", "one_standard_error": "paired"}
BASELINE = "RidgeCV, an alpha per target"
OURS = "SharedFeatureRegressorCV"


@dataclass(frozen=True, eq=False)
class MultiTarget:
    """A set and its (train, test) parts."""

    data: str
    what: str
    X: np.ndarray
    Y: np.ndarray
    parts: list

    @property
    def name(self):
        """Name with what is trained on."""
        return f"{self.data}, {self.what}"


def problems(quick=False):
    """The makers of every set with few rows, and with all."""
    makers = {}
    for name, few in SETS.items():
        makers[f"{name}, {few} rows"] = partial(_problem, name, few, quick)
        if not quick:
            makers[f"{name}, all rows"] = partial(_problem, name, None, quick)
    return makers


def _problem(name, few, quick):
    with open_data(name) as file:
        X, Y = file["X"].astype(float), file["Y"].astype(float)
    if few is None:
        folds = list(KFold(10, shuffle=True, random_state=0).split(X))
        return MultiTarget(name, "all rows", X, Y, folds)
    draws = [draw_rows(len(X), few, seed) for seed in range(2 if quick else N_DRAWS)]
    return MultiTarget(name, f"{few} rows", X, Y, draws)


def draw_rows(n_rows, few, seed):
    """Some rows to train on; the rest are tested."""
    order = np.random.default_rng(seed).permutation(n_rows)
    return order[:few], order[few:]


# ---------------------------------------------------------------- models


def shared_features(penalty=PENALTIES, **choice):
    """Our estimator, with the accuracy that a choice needs."""
    return SharedFeatureRegressorCV(
        n_components=RANKS, penalty=penalty, alphas=15, cv=10, tol=1e-3, **choice
    )


def scaled(model):
    """A regressor on targets of variance one."""
    return TransformedTargetRegressor(model, transformer=StandardScaler())


MODELS = {
    BASELINE: lambda: RidgeCV(RIDGE_ALPHAS, alpha_per_target=True),
    "RidgeCV, one alpha": lambda: scaled(RidgeCV(RIDGE_ALPHAS)),
    OURS: lambda: scaled(shared_features(**CHOICE)),
    '"nuclear" alone': lambda: scaled(shared_features("nuclear", **CHOICE)),
    '"nuclear", default choice': lambda: scaled(shared_features("nuclear")),
    "PerTaskRegressorCV": lambda: scaled(PerTaskRegressorCV(25, cv=10, **CHOICE)),
}


@dataclass(frozen=True)
class Scores:
    """The aRRMSE of a model on every part, its seconds in all, and what it chose."""

    errors: np.ndarray
    seconds: float
    chosen: list


def held_out(problem, make):
    """Scores of one model, imputation and scaling learned with it."""
    errors, chosen, spent = [], [], 0.0
    for train, test in problem.parts:
        imputer = SimpleImputer(keep_empty_features=True)
        model = make_pipeline(imputer, StandardScaler(), make())
        Y_train, Y_test = problem.Y[train], problem.Y[test]
        _, seconds = timed(model.fit, problem.X[train], Y_train)
        spent += seconds
        predicted = model.predict(problem.X[test])
        errors.append(average_relative_rmse(Y_test, predicted, y_train=Y_train))
        inner = getattr(model[-1], "regressor_", model[-1])
        chosen.append(getattr(inner, "penalty_", None))
    return Scores(np.array(errors), spent, chosen)


def ours(problem):
    """Scores of our estimator."""
    return held_out(problem, MODELS[OURS])


# ---------------------------------------------------------------- the table


def tables(problems, args):
    """Score the choice of shared features against ridge."""
    head = ["problem", "model", "aRRMSE", "ratio", "by part", "better in", "seconds"]
    table, ratios, lost = Table([*head, "chosen"], once=True), {}, []
    for problem in problems:
        scores = {name: held_out(problem, make) for name, make in MODELS.items()}
        kind = "all rows" if problem.what == "all rows" else "few rows"
        for name, own in scores.items():
            cells = row(own, scores[BASELINE])
            ratios.setdefault((kind, name), []).append([float(c) for c in cells[1:3]])
            table.add(problem.name, name, *cells)
            if name == OURS and own.errors.mean() > scores[BASELINE].errors.mean():
                lost.append(f"{problem.name} ({cells[1]})")
    table.say(*summary(ratios, lost))
    yield table


def summary(ratios, lost):
    """What all sets come to."""
    said = "Geometric means over the sets, of the ratios and of those by part; largest"
    yield f"{said} ratio of a set:"
    yield ""
    for (kind, name), values in sorted(ratios.items()):
        mean, by_part = np.exp(np.log(values).mean(axis=0))
        worst = np.max(values, axis=0)[0]
        if name != BASELINE:
            yield f"* {kind}, {name}: {mean:.3f}, {by_part:.3f}; {worst:.3f}"
    yield ""
    yield f"{OURS} loses by the mean on: {'; '.join(lost) or 'none'}."


def row(own, base):
    """Cells of one model on one problem."""
    mean = own.errors.mean()
    better = np.count_nonzero(own.errors < base.errors)
    counts = Counter(name for name in own.chosen if name)
    return [
        f"{mean:.4f}",
        f"{mean / base.errors.mean():.3f}",
        f"{np.exp(np.log(own.errors / base.errors).mean()):.3f}",
        "" if own is base else f"{better} of {len(own.errors)}",
        f"{own.seconds:.1f}",
        ", ".join(f"{name} {count}" for name, count in counts.most_common()),
    ]
