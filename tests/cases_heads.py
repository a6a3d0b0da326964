"""Cases of linear heads on shared features."""

from types import SimpleNamespace

import numpy as np
import reference

from mtlearn.problem.tasks import TaskData

MODES = ("free", "shrunk", "shared", "none")


NAMES = {"free": True, "shrunk": "shrunk", "shared": "shared", "none": False}


TWINS = {"squared": "squared", "binary": "logistic", "softmax": "softmax"}


N_TASKS, ALPHA = 5, 0.7


# of five tasks one has two classes of four, one a single one
OWN = np.array(
    [
        [1, 1, 1, 1],
        [1, 1, 1, 0],
        [0, 1, 0, 1],
        [0, 0, 1, 0],
        [0, 1, 1, 1],
    ],
    dtype=bool,
)


def labels(loss, codes, rng):
    """A label for every task in `codes`, as `TaskData` holds them."""
    if loss == "squared":
        return rng.normal(size=len(codes))
    if loss == "binary":
        return rng.integers(2, size=len(codes)).astype(float)
    # every class of a task at least once
    seen, y = {}, np.empty(len(codes))
    for i, t in enumerate(codes):
        own = np.flatnonzero(OWN[t])
        seen[t] = seen.get(t, rng.integers(9)) + 1
        y[i] = own[seen[t] % len(own)]
    return y


def case(layout, loss, weights="none", n_features=4, seed=0):
    """data, own; X, y, codes, weight of the long form for `reference`."""
    rng = np.random.default_rng(seed)
    lam = np.array([2.0, 0.5, 1.0, 1.5, 0.3]) if weights == "tasks" else None
    if layout == "long":
        codes = np.repeat(np.arange(N_TASKS), [9, 4, 8, 2, 7])
        X, y = rng.normal(size=(len(codes), n_features)), labels(loss, codes, rng)
        s = None if weights == "none" else rng.uniform(0.5, 2.0, size=len(y))
        data = TaskData(X, y, N_TASKS, codes, s, lam)
        rows = X, y, codes, s
    else:
        n = 12
        X = rng.normal(size=(n, n_features))
        Y = labels(loss, np.tile(np.arange(N_TASKS), n), rng).reshape(n, N_TASKS)
        if layout == "holes":
            hole = rng.uniform(size=Y.shape) < 0.3
            hole[:5] = False
            Y[hole] = np.nan
        s = None if weights == "none" else rng.uniform(0.5, 2.0, size=n)
        if weights == "labels":
            s = rng.uniform(0.5, 2.0, size=Y.shape)
        data = TaskData(X, Y, N_TASKS, None, s, lam)
        rows = reference.to_long(X, Y, s)
    X, y, codes, s = rows
    own = None if loss == "squared" else np.ones((N_TASKS, 2), dtype=bool)
    if loss == "softmax":
        own = OWN
    if loss == "binary":
        y = 2 * y - 1
    return SimpleNamespace(
        data=data,
        own=own,
        twin=(TWINS[loss], X, y, codes, reference.row_weights(codes, s, lam)),
    )
