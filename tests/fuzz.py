"""Random problems: layouts, sizes, units, levels, intercepts, relations and weights.

``draw(family, seed)`` gives a `Problem`: the estimator, what to call it with, and the
same problem in the long form of ``optimum``. Everything follows from the two arguments.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.sparse as sp
from reference import row_weights, to_long
from reference.optimum import Tied

import mtlearn
from mtlearn import Composition, SharedMean, TaskCovariance, TaskGraph

# estimator and loss of every family
LINEAR = {
    "squared": ("PerTaskRegressor", "squared"),
    "logistic": ("PerTaskClassifier", "logistic"),
    "softmax": ("PerTaskClassifier", "softmax"),
    "squared_hinge": ("MultiTaskSVM", "squared_hinge"),
    "hinge": ("MultiTaskSVM", "hinge"),
    "squared_epsilon": ("MultiTaskSVR", "squared_epsilon_insensitive"),
    "epsilon": ("MultiTaskSVR", "epsilon_insensitive"),
}
MACHINES = {
    "kernel squared_hinge": ("MultiTaskSVM", "squared_hinge"),
    "kernel hinge": ("MultiTaskSVM", "hinge"),
    "kernel squared_epsilon": ("MultiTaskSVR", "squared_epsilon_insensitive"),
    "kernel epsilon": ("MultiTaskSVR", "epsilon_insensitive"),
}
FEATURES = {
    f"{penalty} {loss}": (f"SharedFeature{name}", loss)
    for penalty in ("l21", "nuclear", "rank", "dirty")
    for name, loss in (("Regressor", "squared"), ("Classifier", "logistic"))
}
FAMILIES = LINEAR | MACHINES | FEATURES
MODES = (True, "free", "shrunk", "shared", False)
RELATIONS = (
    "independent",
    "shared_mean",
    "pooled",
    "SharedMean",
    "TaskGraph",
    "TaskCovariance",
    "Composition",
)


@dataclass
class Problem:
    """One call of `fit`, and what it means.

    ``X`` (n, n_features), ``y``, ``codes`` and ``c`` (n,) are the rows in the long
    form, ``c`` the factor of each row's loss without C; ``tied`` the relation of the
    tasks in ``part``, positions in ``tasks``.
    """

    family: str
    seed: int
    loss: str
    estimator: object
    call: dict
    layout: str
    tasks: list
    X: np.ndarray
    y: np.ndarray
    codes: np.ndarray
    c: np.ndarray
    part: np.ndarray
    tied: Tied
    mode: object
    strength: float
    C: float = 1.0
    epsilon: float = 0.0
    n_classes: int = 2
    hard: bool = False
    bare: bool = False
    gram: np.ndarray | None = None
    notes: dict = field(default_factory=dict)

    def __str__(self):
        return f"fuzz.draw({self.family!r}, {self.seed})  # {self.notes}"

    @property
    def allowed(self):
        """Classes of each row's task, (n, n_classes), for the softmax."""
        if self.loss != "softmax":
            return None
        own = np.zeros((len(self.part), self.n_classes), dtype=bool)
        seen = self.c > 0
        own[self.codes[seen], self.y[seen]] = True
        return own[self.codes]

    @property
    def one_class(self):
        """Which of the tasks in ``part`` have one class."""
        seen = self.c > 0
        return np.array(
            [
                len(set(self.y[seen & (self.codes == t)])) == 1
                for t in range(len(self.part))
            ]
        )


def power(rng, low, high):
    """Ten to a uniform number."""
    return float(10.0 ** rng.uniform(low, high))


def one_of(rng, *choices):
    """One of a few objects, whatever they are."""
    return choices[rng.integers(len(choices))]


def features(rng, n, codes, notes):
    """Features (n, d) with oddities, units and levels; all that is odd is noted."""
    d = int(one_of(rng, 1, 2, 3, 5, 8, 24))
    X = rng.normal(size=(n, d))
    odd = one_of(rng, "", "", "", "constant", "duplicate", "by task", "rare")
    if odd == "constant":
        X[:, rng.integers(d)] = 1.0
    elif odd == "duplicate":
        X[:, rng.integers(d)] = X[:, 0]
    elif odd == "by task" and codes is not None:
        X[:, rng.integers(d)] = rng.normal(size=codes.max() + 1)[codes]
    elif odd == "rare":
        X = X * (rng.uniform(size=X.shape) < 0.3)
    units = one_of(rng, "plain", "plain", "common", "wild")
    unit = {"plain": 1.0, "common": power(rng, -6, 6)}.get(units)
    if unit is None:
        unit = 10.0 ** rng.uniform(-3, 3, size=d)
    level = 0.0
    if one_of(rng, 0, 0, 1):
        level = 10.0 ** rng.uniform(0, 4, size=d) * rng.choice([-1, 1], size=d)
    notes.update(d=d, odd=odd, units=units, level=float(np.abs(level).max()))
    return (X + level) * unit, X, np.median(unit)


def signal(rng, Z, codes, n_tasks):
    """Noisy scores of plain features, alike in all tasks."""
    d = Z.shape[1]
    W = rng.normal(size=d) + 0.5 * rng.normal(size=(n_tasks, d))
    b = rng.normal(size=n_tasks)
    return (Z * W[codes]).sum(axis=1) / np.sqrt(d) + b[codes]


def labels(rng, f, codes, loss, n_classes, notes):
    """Labels of the scores f as numbers: targets, signs or classes."""
    if loss in ("squared", "squared_epsilon_insensitive", "epsilon_insensitive"):
        unit = one_of(rng, 1.0, 1.0, power(rng, -6, 6))
        level = one_of(rng, 0.0, 0.0, power(rng, 0, 8))
        noise = one_of(rng, 1.0, 0.1, 0.0)
        notes.update(y_unit=unit, y_level=level, noise=noise)
        return unit * (f + noise * rng.normal(size=len(f)) + level)
    f = f + one_of(rng, 0.3, 1.0) * rng.logistic(size=len(f))
    cuts = np.quantile(f, np.arange(1, n_classes) / n_classes * one_of(rng, 1.0, 0.3))
    y = np.digitize(f, cuts)
    for t in np.unique(codes):
        if rng.uniform() < 0.15:
            y[codes == t] = y[codes == t][0]
    missing = [k for k in range(n_classes) if k not in y]
    y[rng.choice(len(y), len(missing), replace=False)] = missing
    return y if n_classes > 2 else 2 * y - 1


def relation(rng, tasks, notes):
    """A relation of the tasks, its kernel K, and rules or None."""
    T = len(tasks)
    name = one_of(rng, *RELATIONS)
    if name == "Composition" and T < 3:
        name = "SharedMean"
    notes["relation"] = name
    ones, eye = np.ones((T, T)), np.eye(T)
    if name in ("independent", "shared_mean", "pooled"):
        rho = {"independent": 0.0, "shared_mean": 0.5, "pooled": 1.0}[name]
        return name, (1 - rho) * eye + rho * ones, None
    if name == "SharedMean":
        rho = notes["rho"] = one_of(rng, 0.0, 0.3, 0.9, 0.999, 1.0)
        return SharedMean(rho), (1 - rho) * eye + rho * ones, None
    if name == "TaskGraph":
        A = np.triu(rng.uniform(size=(T, T)) * (rng.uniform(size=(T, T)) < 0.5), 1)
        A, strength = A + A.T, power(rng, -2, 2)
        K = np.linalg.inv(eye + strength * (np.diag(A.sum(axis=0)) - A))
        return TaskGraph(A, strength, tasks=tasks), (K + K.T) / 2, None
    if name == "TaskCovariance":
        L = rng.normal(size=(T, T))
        K = L @ L.T / T + 0.1 * eye
        K = (K + K.T) / 2
        return TaskCovariance(K, tasks=tasks), K, None
    composed = int(rng.integers(T))
    others = [t for t in range(T) if t != composed]
    factors = np.round(rng.normal(size=T - 1), 2)
    if one_of(rng, 0, 1):
        factors[0] = 0.0
    rules = np.zeros((T, T - 1))
    rules[others] = np.eye(T - 1)
    rules[composed] = factors
    rule = {tasks[t]: float(m) for t, m in zip(others, factors)}
    inner = one_of(rng, "independent", "shared_mean")
    K = np.eye(T - 1) if inner == "independent" else 0.5 * np.eye(T - 1) + 0.5
    return Composition({tasks[composed]: rule}, inner), K, rules


def kernel(rng, rows, notes, settings):
    """Choose a kernel; its values (n, n) between the rows of the long form."""
    X, unit, d = rows["X"], rows["unit"], rows["X"].shape[1]
    name = notes["kernel"] = one_of(rng, "rbf", "poly", "linear in a function")
    if name == "linear in a function":
        settings["kernel"] = _linear
        return X @ X.T
    settings.update(kernel=name, gamma=power(rng, -1, 1) / (d * unit**2))
    if name == "rbf":
        apart = ((X[:, None] - X[None]) ** 2).sum(axis=2)
        return np.exp(-settings["gamma"] * apart)
    settings.update(degree=int(one_of(rng, 1, 2, 3)), coef0=one_of(rng, 0.0, 1.0))
    return (settings["gamma"] * (X @ X.T) + settings["coef0"]) ** settings["degree"]


def _linear(X, Z):
    return X @ Z.T


def weights(rng, n, codes):
    """Sample weights (n,) or None; each task keeps a row."""
    kind = one_of(rng, None, None, "uniform", "zeros", "counts")
    if kind is None:
        return None
    if kind == "counts":
        s = rng.integers(0, 4, size=n).astype(float)
    else:
        s = rng.uniform(0.2, 3.0, size=n)
        s[rng.uniform(size=n) < (0.3 if kind == "zeros" else 0.0)] = 0.0
    for t in np.unique(codes):
        rows = np.flatnonzero(codes == t)
        s[rows[0]] = max(s[rows[0]], 0.5)
    return s


def task_weights(rng, tasks):
    """A task_weight as users give it, and as ``row_weights`` wants it."""
    kind = one_of(rng, None, None, "balanced", "dict", "array")
    own = rng.uniform(0.2, 3.0, size=len(tasks))
    if kind == "dict":
        return dict(zip(tasks, own.tolist())), own
    return (own, own) if kind == "array" else (kind, kind)


def draw(family, seed):
    """The problem of a family (a key of ``FAMILIES``) and a seed."""
    name, loss = FAMILIES[family]
    rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
    notes, layout = {}, one_of(rng, "column", "keyword", "wide")
    n_classes = 3 if loss == "softmax" else 2
    notes["layout"] = layout
    make = _wide if layout == "wide" else _long
    rows = make(rng, loss, n_classes, layout, notes)
    tasks, T = rows["tasks"], len(rows["tasks"])
    tie, K, rules = relation(rng, tasks, notes)
    if family in FEATURES:
        tie, K, rules, notes["relation"] = None, np.eye(T), None, None
    mode = one_of(rng, *MODES)
    given, lam = task_weights(rng, tasks)
    strength = power(rng, -4, 4) * one_of(rng, 1.0, rows["unit"] ** 2)
    notes.update(mode=mode, task_weight=type(given).__name__)
    settings = {"fit_intercept": mode, "task_weight": given}
    C, epsilon = 1.0, 0.0
    if family in FEATURES:
        settings.update(penalty=family.split()[0], alpha=strength)
    else:
        settings["relation"] = tie
    if family in FEATURES:
        pass
    elif name == "PerTaskRegressor":
        settings["alpha"] = strength
    else:
        settings["C"] = C = 1.0 / strength
    if name.startswith("MultiTask"):
        settings["loss"] = loss
    if name == "MultiTaskSVR":
        size = notes["y_unit"]
        settings["epsilon"] = epsilon = size * one_of(rng, 0.0, 0.1, 1.0)
    if layout == "column":
        settings["task_column"] = rows["column"]
    gram = kernel(rng, rows, notes, settings) if family in MACHINES else None
    notes.update(strength=strength, T=T, n=len(rows["y"]))
    s = rows["s"]
    return Problem(
        family=family,
        seed=seed,
        loss=loss,
        estimator=getattr(mtlearn, name)(**settings),
        call=rows["call"],
        layout=layout,
        tasks=tasks,
        X=rows["X"],
        y=rows["y"],
        codes=rows["codes"],
        c=row_weights(rows["codes"], s, lam),
        part=np.arange(T),
        tied=Tied(K, "free" if mode is True else mode, rules),
        mode="free" if mode is True else mode,
        strength=strength,
        C=C,
        epsilon=epsilon,
        n_classes=n_classes,
        gram=gram,
        hard=notes["units"] == "wild"
        or notes["level"] > 100
        or (gram is not None and C * gram.max() > 1e4),
        notes=notes,
    )


def _names(rng, T):
    """Sorted ids of T tasks: strings or integers with gaps."""
    if one_of(rng, 0, 1):
        return sorted(f"task {k}" for k in rng.choice(1000, T, replace=False))
    return sorted(rng.choice(1000, T, replace=False).tolist())


def _long(rng, loss, n_classes, layout, notes):
    """Rows that belong to one task each."""
    T = int(one_of(rng, 1, 2, 3, 5, 12))
    sizes = rng.choice([1, 2, 4, 9, 15], size=T)
    sizes[0] = max(sizes[0], n_classes)
    codes = rng.permutation(np.repeat(np.arange(T), sizes))
    n, tasks = len(codes), _names(rng, T)
    X, Z, unit = features(rng, n, codes, notes)
    y = labels(rng, signal(rng, Z, codes, T), codes, loss, n_classes, notes)
    s = weights(rng, n, codes)
    if n_classes > 1 and "y_unit" not in notes and s is not None:
        s = np.maximum(s, 0.1)  # no class is lost
    ids = np.array(tasks)[codes]
    shown = y
    if "y_unit" not in notes and one_of(rng, 0, 1):
        shown = np.array(["no", "yes", "zebra"])[y if n_classes > 2 else (y + 1) // 2]
    call = {"X": X, "y": shown, "sample_weight": s}
    sparse, column = bool(one_of(rng, 0, 0, 1)), None
    if layout == "keyword":
        call["task"] = ids if one_of(rng, 0, 1) else ids.tolist()
        if sparse:
            call["X"] = sp.csr_array(X)
    elif isinstance(tasks[0], str):
        sparse, column = False, "the id"
        frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
        frame.insert(int(rng.integers(X.shape[1] + 1)), column, ids)
        call["X"] = frame
    else:
        column = int(rng.integers(X.shape[1] + 1))
        call["X"] = np.insert(X, column, ids, axis=1)
        if sparse:
            call["X"] = sp.csr_array(call["X"])
    notes["sparse"] = sparse
    return {
        "tasks": tasks,
        "X": X,
        "y": y,
        "codes": codes,
        "s": s,
        "call": call,
        "column": column,
        "unit": unit,
        "sparse": sparse,
    }


def _wide(rng, loss, n_classes, layout, notes):
    """Rows that all tasks share, some of their labels missing."""
    n, T = int(one_of(rng, 3, 6, 12, 25)), int(one_of(rng, 1, 2, 3, 5))
    X, Z, unit = features(rng, n, None, notes)
    missing = rng.uniform(size=(n, T)) < one_of(rng, 0.0, 0.3, 0.7)
    missing[rng.integers(n, size=T), np.arange(T)] = False
    missing[:, 0] = False
    Y = np.column_stack([signal(rng, Z, np.zeros(n, dtype=int), 1) for _ in range(T)])
    codes = np.tile(np.arange(T), n)
    y = labels(rng, Y.ravel(), codes, loss, n_classes, notes)
    Y = y.reshape(n, T).astype(float)
    if "y_unit" not in notes:
        # all classes in the first column, which is complete
        least = np.arange(n_classes) if n_classes > 2 else np.array([-1, 1])
        Y[:n_classes, 0] = least
    Y = np.where(missing, np.nan, Y)
    s = one_of(rng, None, rng.uniform(0.2, 3, n), rng.uniform(0.2, 3, (n, T)))
    long_X, y, codes, long_s = to_long(X, Y, s)
    shown = Y if "y_unit" in notes or n_classes > 2 else (Y + 1) / 2
    sparse = bool(one_of(rng, 0, 0, 1))
    notes["sparse"] = sparse
    call = {"X": sp.csr_array(X) if sparse else X, "y": shown, "sample_weight": s}
    return {
        "tasks": list(range(T)),
        "X": long_X,
        "y": y if "y_unit" in notes else y.astype(int),
        "codes": codes,
        "s": long_s,
        "call": call,
        "column": None,
        "unit": unit,
        "sparse": sparse,
    }
