"""Pictures of paths: what is drawn is what was fitted."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer, mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline

from mtlearn import (
    PerTaskRegressor,
    PerTaskRegressorCV,
    SharedFeatureRegressorCV,
)
from mtlearn.datasets import make_task_regression
from mtlearn.fitting import grid
from mtlearn.inspection import PathDisplay, paths
from mtlearn.metrics import TaskScorer

N_ROWS = 94


def regression():
    return make_task_regression(
        6,
        [30, 1, 18, 24, 9, 12],
        4,
        correlation=0.8,
        noise=0.7,
        return_X_y=True,
        random_state=0,
    )


def followed(**params):
    X, y, task = regression()
    params = {"alphas": 60, "correlations": 0.7, **params}
    return PerTaskRegressorCV(**params).fit(X, y, task=task)


def drawn(line):
    """What a line shows, (n, 2)."""
    return np.column_stack(line.get_data())


def test_paths(canvas):
    model = followed()
    display = PathDisplay.from_estimator(model)
    assert len(display.lines_) == 4
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "alpha"
    for j, line in enumerate(display.lines_):
        lengths = np.linalg.norm(model.coef_path_[:, :, j], axis=1)
        assert_allclose(drawn(line), np.column_stack([model.alphas_, lengths]))
    mean = model.mse_path_.mean(axis=1)
    expected = np.column_stack([model.alphas_, mean])
    assert_allclose(drawn(display.error_line_), expected)
    assert display.error_ax_.get_ylabel() == "mean squared error"
    assert display.band_ is not None
    # the chosen strength, and that within one standard error, on both axes
    places = sorted({line.get_xdata()[0] for line in display.marks_})
    assert len(places) == 2 and len(display.marks_) == 4
    assert places[0] == model.alpha_
    assert places[1] == followed(one_standard_error=True).alpha_
    texts = [text.get_text() for text in display.texts_]
    assert sorted(texts) == ["x0", "x1", "x2", "x3"]
    assert texts[0] == f"x{np.linalg.norm(model.coef_, axis=0).argmax()}"
    display.figure_.canvas.draw()


def test_the_path_of_one_feature(canvas):
    X, y, task = regression()
    frame = pd.DataFrame(X, columns=list("wxyz")).assign(school=task)
    model = PerTaskRegressorCV(6, 0.7, task_column="school", cv=2).fit(frame, y)
    pipe = make_pipeline(model)
    by_name = PathDisplay.from_estimator(pipe, feature="x", n_labels=2, errors=False)
    assert by_name.error_ax_ is None and by_name.error_line_ is None
    assert len(by_name.lines_) == 6
    assert by_name.ax_.get_ylabel() == "coefficient of x"
    for t, line in enumerate(by_name.lines_):
        assert_allclose(drawn(line)[:, 1], model.coef_path_[:, t, 1])
    largest = np.argsort(-np.abs(model.coef_[:, 1]))[:2]
    texts = [text.get_text() for text in by_name.texts_]
    assert texts[:2] == [str(task) for task in largest]
    _, ax = canvas.subplots()
    again = by_name.plot(feature=1, ax=ax, n_labels=0)
    assert again is by_name and again.ax_ is ax and again.error_ax_ is None


def test_paths_of_scores(canvas):
    up = followed(scoring="r2", one_standard_error=True)
    display = PathDisplay.from_estimator(up)
    assert display.error_ax_.get_ylabel() == "r2" and display.greater_is_better
    mean = up.score_path_.mean(axis=1)
    assert_allclose(drawn(display.error_line_)[:, 1], mean)
    labels = [line.get_label() for line in display.marks_]
    assert labels[0].startswith("chosen: ") and labels[1].startswith("best: ")
    cv = [(np.arange(50), np.arange(50, N_ROWS))]
    down = followed(scoring="neg_mean_absolute_error", cv=cv)
    display = PathDisplay.from_estimator(down)
    assert display.error_ax_.get_ylabel() == "mean absolute error"
    assert_allclose(drawn(display.error_line_)[:, 1], -down.score_path_[:, 0])
    assert display.band_ is None
    scorer = TaskScorer(mean_absolute_error, task_column=0, greater_is_better=False)
    assert paths._name_score(scorer) == ("mean absolute error", False)
    assert paths._name_score(make_scorer(r2_score)) == ("r2 score", True)
    assert paths._name_score(lambda e, X, y: 0.0)[1]


def test_paths_down_to_no_penalty(canvas):
    model = followed(alphas=[1.0, 0.1, 0.0], relation="pooled")
    display = PathDisplay.from_estimator(model)
    assert len(drawn(display.lines_[0])) == 2
    shared = SharedFeatureRegressorCV(alphas=8, penalty="l21", cv=2)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    shared.fit(X, X[:, :1] + 0.1 * rng.normal(size=(40, 2)))
    assert len(PathDisplay.from_estimator(shared).lines_) == 3


def test_paths_that_are_not_there(canvas, monkeypatch):
    X, y, task = regression()
    with pytest.raises(NotFittedError):
        PathDisplay.from_estimator(PerTaskRegressorCV())
    with pytest.raises(ValueError, match="`estimator` has no `coef_path_`.*got PerT"):
        PathDisplay.from_estimator(PerTaskRegressor().fit(X, y, task=task))
    model = followed()
    with pytest.raises(ValueError, match="`feature`='w' is not a feature; there are"):
        PathDisplay.from_estimator(model, feature="w")
    with pytest.raises(ValueError, match="`feature` must be finite and >= 0 and <= 3"):
        PathDisplay.from_estimator(model, feature=4)
    monkeypatch.setattr(grid, "_PATH_BYTES", 1)
    with pytest.raises(ValueError, match="whose path was not too large to keep"):
        PathDisplay.from_estimator(followed())
