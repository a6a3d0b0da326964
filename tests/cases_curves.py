"""Rows with planted curves, and a frame with categories."""

import numpy as np
import pandas as pd
import pytest


def waves(T=30, n=30, *, new=0, own=0.0, level=1.0, noise=0.3, seed=0):
    """Rows of f(x0) + own_t g(x1) + level; the third feature says nothing."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(T + new), n)
    X = rng.uniform(-1.0, 1.0, size=(len(task), 3))
    truth = np.sin(3.0 * X[:, 0])
    truth += own * rng.normal(size=T + new)[task] * np.cos(4.0 * X[:, 1])
    truth += level * rng.normal(size=T + new)[task]
    return X, truth + noise * rng.normal(size=len(task)), task, truth


def shops(library=None, n=400, seed=5):
    """A frame with string ids, categories, a bool, and a number; and its labels."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "shop": np.array(["a", "b", "c", "d", "e"])[rng.integers(0, 5, size=n)],
            "kind": pd.Categorical(
                np.array(["tea", "coffee", "milk"])[rng.integers(0, 3, size=n)]
            ),
            "town": np.array(["x", "y"])[rng.integers(0, 2, size=n)],
            "open": rng.uniform(size=n) < 0.5,
            "size": rng.uniform(size=n),
        }
    )
    y = np.sin(6 * frame["size"]) + frame["kind"].map(len).astype(float)
    y = y + 0.5 * (frame["town"] == "x") + frame["open"] + 0.1 * rng.normal(size=n)
    if library == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    elif library == "pyarrow":
        frame = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    return frame, y.to_numpy()
