"""Shared layers: data sets and objective, computed from the weights alone.

Real sets come from the folder in the variable MTLEARN_DATA.
"""

from dataclasses import dataclass

import numpy as np
from data import open_data
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

SIZES = ((2000, 50, 32, 20), (20_000, 100, 64, 50))
REAL = {"osales": 32, "scpf": 32}  # units
ALPHAS = (1.0, 30.0)


@dataclass(frozen=True, eq=False)
class MappingProblem:
    """1/2 sum (y - f)^2 + 1/2 alpha (all weights squared), one layer of tanh units."""

    name: str
    X: np.ndarray
    Y: np.ndarray
    units: int
    alpha: float = 1.0

    def objective(self, weights, biases):
        """Value at lists of weights (fan_in, fan_out) and biases, in double."""
        H = self.X
        for W, b in zip(weights[:-1], biases[:-1]):
            H = np.tanh(H @ W.astype(float) + b.astype(float))
        R = self.Y - H @ weights[-1].astype(float) - biases[-1].astype(float)
        squares = sum(float(np.vdot(W, W)) for W in weights)
        return 0.5 * float(np.vdot(R, R)) + 0.5 * self.alpha * squares


def mapping_problems(quick=False, name=None):
    """Yield the problems whose name contains `name`; print what is left out."""
    for size in SIZES[: 1 if quick else None]:
        problem = teacher(*size)
        if not name or name.lower() in problem.name.lower():
            yield problem
    for data, units in REAL.items():
        if quick or (name and name.lower() not in data):
            continue
        try:
            X, Y = prepared(data)
        except FileNotFoundError as reason:
            print(f"{data}: left out, {reason}")
            continue
        title = f"{data}: {len(X)} x {X.shape[1]}, {units} units, {Y.shape[1]} tasks"
        for alpha in ALPHAS:
            yield MappingProblem(f"{title}, alpha={alpha:g}", X, Y, units, alpha)


def teacher(n, d, units, n_tasks):
    """Gaussian features; targets of a network of that size, a tenth of it noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    W = 1.5 * rng.standard_normal((d, units)) / np.sqrt(d)
    Y = np.tanh(X @ W) @ rng.standard_normal((units, n_tasks)) / np.sqrt(units)
    Y += Y.std() / 3 * rng.standard_normal(Y.shape)
    return MappingProblem(
        f"teacher: {n} x {d}, {units} units, {n_tasks} tasks", X, Y, units
    )


def prepared(data):
    """A multi-target set, means imputed, features and targets standardised."""
    with open_data(data) as file:
        X, Y = file["X"].astype(float), file["Y"].astype(float)
    X = SimpleImputer(keep_empty_features=True).fit_transform(X)
    return StandardScaler().fit_transform(X), StandardScaler().fit_transform(Y)
