"""Multitask learning for many small, related prediction problems.

One problem per school, store, hospital, patient or sensor, learned together, in the
shape of scikit-learn estimators.
"""

from .additive import MultiTaskAdditiveRegressor
from .additive_classifier import MultiTaskAdditiveClassifier
from .best_sharing import BestSharing
from .conformal import TaskConformal
from .learned import MultiTaskBayesianRidge
from .learned_classifier import MultiTaskBayesianClassifier
from .moments import TaskMoments
from .per_task import PerTaskClassifier, PerTaskRegressor, PerTaskRegressorCV
from .per_task_classes import PerTaskClassifierCV
from .relations import (
    Composition,
    Independent,
    LearnedCovariance,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from .shared_feature import (
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
)
from .shared_mapping import SharedMappingClassifier, SharedMappingRegressor
from .shared_mapping_cv import SharedMappingClassifierCV, SharedMappingRegressorCV
from .svm import MultiTaskSVM, MultiTaskSVR

__version__ = "0.1.0.dev0"

__all__ = [
    "BestSharing",
    "Composition",
    "Independent",
    "LearnedCovariance",
    "MultiTaskAdditiveClassifier",
    "MultiTaskAdditiveRegressor",
    "MultiTaskBayesianClassifier",
    "MultiTaskBayesianRidge",
    "MultiTaskSVM",
    "MultiTaskSVR",
    "PerTaskClassifier",
    "PerTaskClassifierCV",
    "PerTaskRegressor",
    "PerTaskRegressorCV",
    "SharedFeatureClassifier",
    "SharedFeatureRegressor",
    "SharedFeatureRegressorCV",
    "SharedMappingClassifier",
    "SharedMappingClassifierCV",
    "SharedMappingRegressor",
    "SharedMappingRegressorCV",
    "SharedMean",
    "TaskConformal",
    "TaskCovariance",
    "TaskGraph",
    "TaskMoments",
]
