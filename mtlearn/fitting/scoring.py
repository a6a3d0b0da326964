"""A metric by which tasks are compared: its name, and the responses that it takes."""

import inspect
from typing import NamedTuple

import numpy as np
from sklearn.base import is_classifier

from ..metrics import task_scores


class Scoring(NamedTuple):
    """A metric, its name for the reader, and the responses that it takes."""

    metric: object
    name: str
    methods: tuple = ("predict",)

    def overall(self, y, z):
        """Score all labels as if they were one task's."""
        return task_scores(self.metric, y, z, np.zeros(len(y), dtype=np.int64))


# scikit-learn's own checks would cost more than the score of a small task
def _root_mean_squared_error(y, z):
    return float(np.sqrt(np.mean((y - z) ** 2)))


def _accuracy(y, z):
    return float(np.mean(y == z))


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
            return Scoring(_accuracy, "accuracy")
        return Scoring(_root_mean_squared_error, "RMSE")
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
    methods = tuple(method for method in methods if hasattr(model, method))
    if not methods:
        raise TypeError(
            f"`scoring`: {name} needs probabilities or decisions, which "
            f"{type(model).__name__} does not have."
        )
    return Scoring(scoring, name, methods)
