"""A metric by which tasks are compared: its name, and the responses that it takes."""

import inspect
from typing import NamedTuple

import numpy as np
from sklearn import metrics as sklearn_metrics
from sklearn.base import is_classifier

from ..metrics import find_metric, task_scores


class Scoring(NamedTuple):
    """A metric, its name for the reader, and the responses that it takes."""

    metric: object
    name: str
    methods: tuple = ("predict",)
    loss: object = None  # of labels and responses, row by row, if the metric is a mean
    root: bool = False  # of that mean, if the metric is one

    @property
    def function(self):
        """The metric itself, where it was given by its name."""
        return find_metric(self.metric)

    def method(self, model):
        """The response of a model that the metric takes; the first that there is."""
        return next(one for one in self.methods if hasattr(model, one))

    def overall(self, y, z, weight=None):
        """Score all labels as if they were one task's."""
        one = np.zeros(len(y), dtype=np.int64)
        return task_scores(self.metric, y, z, one, sample_weight=weight)


# scikit-learn's own checks would cost more than the score of a small task
def _root_mean_squared_error(y, z, sample_weight=None):
    return float(np.sqrt(np.average((y - z) ** 2, weights=sample_weight)))


def _accuracy(y, z, sample_weight=None):
    return float(np.average(y == z, weights=sample_weight))


def squared_errors(y, z):
    """Squared errors, row by row."""
    return (y - z) ** 2


def _distances(y, z):
    return np.abs(y - z)


def _mistakes(y, z):
    return (y != z).astype(float)


# losses of rows that the metric of this name is the mean of, or the root of the mean
_LOSSES = {
    "mean_squared_error": (squared_errors, False),
    "root_mean_squared_error": (squared_errors, True),
    "mean_absolute_error": (_distances, False),
    "accuracy_score": (_mistakes, False),
}


_METHODS = {
    "roc_auc": ("decision_function", "predict_proba"),
    "average_precision": ("decision_function", "predict_proba"),
    "log_loss": ("predict_proba",),
    "brier_score_loss": ("predict_proba",),
}


def check_scoring(scoring, model):
    """Turn the parameter `scoring` into a metric that this model can be scored by."""
    if scoring is None:
        if is_classifier(model):
            return Scoring(_accuracy, "accuracy", loss=_mistakes)
        return Scoring(_root_mean_squared_error, "RMSE", loss=squared_errors, root=True)
    if callable(scoring):
        function = getattr(scoring, "func", scoring)  # of a functools.partial
        name = getattr(function, "__name__", type(function).__name__)
        if "estimator" in inspect.signature(scoring).parameters:
            raise TypeError(
                f"`scoring` must be a metric, a function of (y_true, y_pred), or the "
                f"name of one; {name} is a scorer. Pass the metric that it was made of."
            )
    elif isinstance(scoring, str):
        scoring = name = scoring.removeprefix("neg_")
    else:
        raise TypeError(
            "`scoring` must be a function of (y_true, y_pred), the name of one in "
            f"sklearn.metrics, or None, got {scoring!r}."
        )
    methods = _METHODS.get(name.removesuffix("_score"), ("predict",))
    if not any(hasattr(model, method) for method in methods):
        raise TypeError(
            f"`scoring`: {name} needs probabilities or decisions, which "
            f"{type(model).__name__} does not have."
        )
    return Scoring(scoring, name, methods, *_row_loss(scoring))


def _row_loss(scoring):
    """Loss of a row, and whether a root is taken; None for other metrics."""
    function = find_metric(scoring)
    name = getattr(function, "__name__", "")
    if function is getattr(sklearn_metrics, name, None):
        return _LOSSES.get(name, (None, False))
    return None, False
