"""Solvers: functions from data, loss and relation to a `Solution`."""

from .least_squares import solve_least_norm
from .newton import solve_moments, solve_newton, solve_squared

__all__ = ["solve_least_norm", "solve_moments", "solve_newton", "solve_squared"]
