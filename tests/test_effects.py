"""The picture of the tasks' effects shows what `task_effects` says."""

import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mtlearn import (
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    PerTaskRegressor,
)
from mtlearn.datasets import make_task_classification, make_task_regression
from mtlearn.inspection import TaskEffectsDisplay


def regression(n_tasks=8, n_rows=15):
    """Rows of tasks with long names, in a data frame."""
    X, y, task = make_task_regression(
        n_tasks, n_rows, 2, correlation=0.7, return_X_y=True, random_state=0
    )
    X = pd.DataFrame(X, columns=["price", "promotion"])
    return X.assign(shop=[f"shop {t:03d}" for t in task]), y


def fitted(*args, **params):
    return MultiTaskBayesianRidge(task_column="shop", **params).fit(*regression(*args))


def names(display):
    return [text.get_text() for text in display.texts_]


@pytest.mark.parametrize("effect", ["intercept", "price"])
@pytest.mark.parametrize("coverage", [0.95, 0.5])
def test_dots_and_intervals(canvas, effect, coverage):
    model = fitted()
    display = TaskEffectsDisplay.from_estimator(model, effect, coverage=coverage)
    table = model.task_effects(coverage)
    table = table[table["effect"] == effect]
    assert (np.diff(display.estimate) >= 0).all()
    assert_array_equal(display.points_.get_xdata(), table["estimate"])
    assert_array_equal(display.points_.get_ydata(), np.arange(8))
    segments = np.array(display.intervals_.get_segments())
    assert_array_equal(segments[:, :, 0], table[["lower", "upper"]])
    assert_array_equal(segments[:, :, 1], np.arange(8)[:, None] * [1, 1])
    assert names(display) == table["task"].tolist()
    assert f"{100 * coverage:.3g} % intervals" in display.ax_.get_title()
    assert ("price" in display.ax_.get_xlabel()) == (effect == "price")


def test_colour_says_which_intervals_hold_zero(canvas):
    display = TaskEffectsDisplay.from_estimator(fitted(), coverage=0.8)
    apart = (display.lower > 0) | (display.upper < 0)
    assert 0 < apart.sum() < 8
    colours = display.intervals_.get_colors()
    assert len(np.unique(colours[apart], axis=0)) == 1
    assert len(np.unique(colours[~apart], axis=0)) == 1
    assert (colours[apart][0] != colours[~apart][0]).any()
    assert f"{apart.sum()} of 8 tasks" in display.ax_.get_title()


def test_names_only_where_they_fit(canvas):
    model = fitted(500, 4)
    display = TaskEffectsDisplay.from_estimator(model, n_labels=3)
    assert display.ax_.get_yticks().size == 0
    order = [str(task) for task in display.tasks]
    high, low = names(display)
    assert high.split("\n") == ["highest", *order[::-1][:3]]
    assert low.split("\n") == [*order[:3][::-1], "lowest"]
    assert names(TaskEffectsDisplay.from_estimator(model, n_labels=0)) == []
    for n_tasks in (8, 30, 45):  # every name has a line of its own
        display = TaskEffectsDisplay.from_estimator(fitted(n_tasks, 6))
        assert len(display.texts_) == n_tasks
        display.figure_.canvas.draw()
        boxes = [text.get_window_extent() for text in display.texts_]
        assert all(a.y1 <= b.y0 + 1.0 for a, b in pairwise(boxes))


def test_the_corners_are_empty(canvas):
    display = TaskEffectsDisplay.from_estimator(fitted(500, 30))
    display.figure_.canvas.draw()
    high, low = (text.get_window_extent() for text in display.texts_)
    ends = display.ax_.transData.transform(
        np.array(display.intervals_.get_segments()).reshape(-1, 2)
    ).reshape(-1, 2, 2)
    beside = ends[:, 0, 1] >= high.y0
    assert beside.any() and (ends[beside, 0, 0] > high.x1).mean() > 0.9
    below = ends[:, 0, 1] <= low.y1
    assert below.any() and (ends[below, 1, 0] < low.x0).mean() > 0.9


def test_axes_of_the_caller(canvas):
    _, ax = canvas.subplots(figsize=(3, 2))
    display = TaskEffectsDisplay.from_estimator(fitted(30, 6), ax=ax, n_labels=20)
    assert display.ax_ is ax and display.figure_ is ax.figure
    # no more names than have room
    assert 1 < len(names(display)[0].split("\n")) < 8


def test_a_long_name_is_cut(canvas):
    X, y = regression()
    X["shop"] = "a shop that has a name of many words " + X["shop"]
    model = MultiTaskBayesianRidge(task_column="shop").fit(X, y)
    cut = names(TaskEffectsDisplay.from_estimator(model))
    assert set(map(len, cut)) == {22} and all(name.endswith("…") for name in cut)


def test_the_same_in_all_tasks(canvas):
    X, y = regression()
    rng = np.random.default_rng(0)
    y = X["price"] + rng.normal(size=len(y))  # no task has a level of its own
    model = MultiTaskBayesianRidge("intercept", task_column="shop").fit(X, y)
    display = TaskEffectsDisplay.from_estimator(model)
    assert_allclose(display.estimate, 0.0, atol=0.2)
    assert "0 of 8 tasks" in display.ax_.get_title()
    display.figure_.canvas.draw()


def test_additive_models_and_pipelines(canvas):
    X, y = regression()
    model = MultiTaskAdditiveRegressor(task_column="shop")
    model = make_pipeline(FunctionTransformer(), model).fit(X, y)
    display = TaskEffectsDisplay.from_estimator(model, "promotion")
    table = model[-1].task_effects()
    expected = table.loc[table["effect"] == "promotion", "estimate"]
    assert_array_equal(display.estimate, expected)


def test_classes(canvas):
    X, y, task = make_task_classification(
        6, 40, 2, n_classes=3, return_X_y=True, random_state=0
    )
    two = MultiTaskBayesianClassifier().fit(X, y > 0, task=task)
    assert len(TaskEffectsDisplay.from_estimator(two, "x1").tasks) == 6
    with pytest.raises(ValueError, match="`label` must be None, got 1"):
        TaskEffectsDisplay.from_estimator(two, label=1)
    three = MultiTaskBayesianClassifier().fit(X, y, task=task)
    display = TaskEffectsDisplay.from_estimator(three, label=2)
    table = three.task_effects()
    chosen = (table["class"] == 2) & (table["effect"] == "intercept")
    assert_array_equal(display.estimate, table.loc[chosen, "estimate"])
    with pytest.raises(ValueError, match=r"one of the classes \[0, 1, 2\], got None"):
        TaskEffectsDisplay.from_estimator(three)


def test_without_pandas(canvas, monkeypatch):
    X, y, task = make_task_regression(5, 10, 2, return_X_y=True, random_state=0)
    model = MultiTaskBayesianRidge().fit(X, y, task=task)
    expected = TaskEffectsDisplay.from_estimator(model, "x1").estimate
    monkeypatch.setitem(sys.modules, "pandas", None)
    display = TaskEffectsDisplay.from_estimator(model, "x1")
    assert_array_equal(display.estimate, expected)


def test_bad_input(canvas):
    model = fitted(varying=["price"])
    with pytest.raises(
        ValueError, match=r"`effect`='promotion'.*\['price', 'intercept'\]"
    ):
        TaskEffectsDisplay.from_estimator(model, "promotion")
    with pytest.raises(ValueError, match="`effect`=0"):
        TaskEffectsDisplay.from_estimator(model, 0)
    with pytest.raises(ValueError, match="`coverage`"):
        TaskEffectsDisplay.from_estimator(model, coverage=95)
    with pytest.raises(ValueError, match="`n_labels`"):
        TaskEffectsDisplay.from_estimator(model, n_labels=-1)
    with pytest.raises(TypeError, match="as MultiTaskBayesianRidge has, got PerTask"):
        TaskEffectsDisplay.from_estimator(PerTaskRegressor())
    with pytest.raises(NotFittedError):
        TaskEffectsDisplay.from_estimator(MultiTaskBayesianRidge())


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "scikit-multitask\[plot\]"'):
        TaskEffectsDisplay.from_estimator(fitted())
