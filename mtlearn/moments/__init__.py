"""Moments of tasks: what a squared loss sees of the rows, gathered, added, kept."""

from .choice import GRAM_BYTES, grams_fit, moments_pay
from .deal import stream_folds
from .gather import gather_moments, same_rows
from .replay import replay
from .sums import Moments
from .tasks import Origin, TaskMoments

__all__ = [
    "GRAM_BYTES",
    "Moments",
    "Origin",
    "TaskMoments",
    "gather_moments",
    "grams_fit",
    "moments_pay",
    "replay",
    "same_rows",
    "stream_folds",
]
