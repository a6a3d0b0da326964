"""Held-out errors on multi-target sets: the draws, the models, their scores.

The sets are Mulan's `osales`, `scpf` and `andro` (arrays `X` with NaN, `Y`), from the
folder in the variable MTLEARN_DATA.
"""

import time
import warnings
from dataclasses import dataclass

import numpy as np
from data import open_data
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlearn import PerTaskRegressorCV, SharedFeatureRegressorCV
from mtlearn.metrics import average_relative_rmse

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


def multi_target_problems(quick=False, name=None):
    """Yield every set with few rows and with all; print what is left out."""
    for data, few in SETS.items():
        if name and name.lower() not in data:
            continue
        try:
            with open_data(data) as file:
                X, Y = file["X"].astype(float), file["Y"].astype(float)
        except FileNotFoundError as reason:
            print(f"{data}: left out, {reason}")
            continue
        draws = [
            draw_rows(len(X), few, seed) for seed in range(2 if quick else N_DRAWS)
        ]
        yield MultiTarget(data, f"{few} rows", X, Y, draws)
        if not quick:
            folds = list(KFold(10, shuffle=True, random_state=0).split(X))
            yield MultiTarget(data, "all rows", X, Y, folds)


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
    errors, chosen, start = [], [], time.perf_counter()
    for train, test in problem.parts:
        imputer = SimpleImputer(keep_empty_features=True)
        model = make_pipeline(imputer, StandardScaler(), make())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(problem.X[train], problem.Y[train])
        predicted = model.predict(problem.X[test])
        Y_train, Y_test = problem.Y[train], problem.Y[test]
        errors.append(average_relative_rmse(Y_test, predicted, y_train=Y_train))
        inner = getattr(model[-1], "regressor_", model[-1])
        chosen.append(getattr(inner, "penalty_", None))
    return Scores(np.array(errors), time.perf_counter() - start, chosen)
