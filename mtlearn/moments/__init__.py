"""Moments of tasks: what a squared loss sees of the rows, gathered, added, kept."""

from .choice import GRAM_BYTES, grams_fit, moments_pay
from .gather import gather_moments, same_rows
from .sums import Moments

__all__ = [
    "GRAM_BYTES",
    "Moments",
    "gather_moments",
    "grams_fit",
    "moments_pay",
    "same_rows",
]
