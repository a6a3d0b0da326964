"""Smooth functions for classes, with nothing to choose."""

from sklearn.utils.validation import check_is_fitted

from .fitting.curves import AdditiveModel
from .learned_classifier import MultiTaskBayesianClassifier


class MultiTaskAdditiveClassifier(AdditiveModel, MultiTaskBayesianClassifier):
    """TODO"""
