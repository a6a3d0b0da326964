"""Look at fitted models: what sharing does to each task, and which tasks are alike.

The public path of `compare_sharing`, and the pictures; matplotlib is imported when one
is drawn.
"""

from ..sharing.comparison import SharingComparison, compare_sharing
from ..sharing.contenders import STRATEGIES
from .curves import CurveDisplay
from .effects import TaskEffectsDisplay
from .paths import PathDisplay
from .sharing import SharingDisplay
from .similarity import TaskSimilarityDisplay

__all__ = [
    "STRATEGIES",
    "CurveDisplay",
    "PathDisplay",
    "SharingComparison",
    "SharingDisplay",
    "TaskEffectsDisplay",
    "TaskSimilarityDisplay",
    "compare_sharing",
]
