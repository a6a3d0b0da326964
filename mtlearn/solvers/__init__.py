"""Solvers: functions from data, loss and relation to a `Solution`."""

from .dual import solve_dual, solve_squared_hinge
from .least_squares import solve_least_norm
from .newton import solve_newton
from .squared import solve_moments, solve_squared

__all__ = [
    "solve_dual",
    "solve_least_norm",
    "solve_moments",
    "solve_newton",
    "solve_squared",
    "solve_squared_hinge",
]
