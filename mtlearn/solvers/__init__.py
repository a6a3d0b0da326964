"""Solvers: functions from data, loss and relation to a `Solution`."""

from .features.block_descent import solve_block_descent
from .features.low_rank import solve_low_rank, solve_nuclear
from .features.proximal import solve_proximal
from .features.reduced_rank import solve_reduced_rank
from .kernels.decomposition import solve_kernel_dual
from .margins.dual import solve_dual
from .margins.kinked import solve_kinked, solve_margin
from .related.least_squares import solve_least_norm
from .related.newton import solve_newton
from .related.squared import solve_moments, solve_squared

__all__ = [
    "solve_block_descent",
    "solve_dual",
    "solve_kernel_dual",
    "solve_kinked",
    "solve_least_norm",
    "solve_low_rank",
    "solve_margin",
    "solve_moments",
    "solve_newton",
    "solve_nuclear",
    "solve_proximal",
    "solve_reduced_rank",
    "solve_squared",
]
