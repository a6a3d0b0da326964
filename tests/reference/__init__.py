"""Slow and obvious twins of the library: loops in plain NumPy, and cvxpy.

Everything takes the long form: ``X`` (n_samples, n_features), ``y``, the task of each
row as an integer in ``codes``, and one weight c_i = C s_i lambda_t per row. A relation
is its task kernel ``K`` (n_tasks, n_tasks); where a ``penalty`` on shared features is
named instead, tasks are independent otherwise. Labels are -1 and +1 for the margin
losses, 0 .. n_classes - 1 for the softmax. Meant for problems of a hundred rows.
"""

from .conic import (
    ONE_SIDED,
    constrained_twin,
    cvxpy_loss,
    cvxpy_penalty,
    rows_that_matter,
    solved,
    twin,
)
from .data import data_dir, row_weights, task_classes, to_long
from .kernels import (
    kernel_ends,
    kernel_gram,
    kernel_loss,
    kernel_objective,
    kernel_twin,
)
from .linear import best_intercepts, dual_value, least_norm, least_squares, objective
from .losses import (
    LOSSES,
    data_loss,
    finite_difference,
    predict,
    row_conjugate,
    row_loss,
    row_slope,
)
from .low_rank import low_rank, reduced_rank
from .mapping import (
    activate,
    head_columns,
    mapped,
    mapping_objective,
    own_units,
    shared_output_objective,
)
from .metrics import arrmse, scores_by_task, within_task_r2
from .penalties import (
    PENALTIES,
    default_private,
    intercept_penalty,
    shared_gauge,
    shared_penalty,
)
from .relations import (
    INTERCEPTS,
    covariance,
    design,
    factor,
    graph,
    independent,
    intercept_maps,
    kernel,
    maps,
    omega,
    pooled,
    precision,
    shared_mean,
)

__all__ = [
    "INTERCEPTS",
    "LOSSES",
    "ONE_SIDED",
    "PENALTIES",
    "activate",
    "arrmse",
    "best_intercepts",
    "constrained_twin",
    "covariance",
    "cvxpy_loss",
    "cvxpy_penalty",
    "data_dir",
    "data_loss",
    "default_private",
    "design",
    "dual_value",
    "factor",
    "finite_difference",
    "graph",
    "head_columns",
    "independent",
    "intercept_maps",
    "intercept_penalty",
    "kernel",
    "kernel_ends",
    "kernel_gram",
    "kernel_loss",
    "kernel_objective",
    "kernel_twin",
    "least_norm",
    "least_squares",
    "low_rank",
    "mapped",
    "mapping_objective",
    "maps",
    "objective",
    "omega",
    "own_units",
    "pooled",
    "precision",
    "predict",
    "reduced_rank",
    "row_conjugate",
    "row_loss",
    "row_slope",
    "row_weights",
    "rows_that_matter",
    "scores_by_task",
    "shared_gauge",
    "shared_mean",
    "shared_output_objective",
    "shared_penalty",
    "solved",
    "task_classes",
    "to_long",
    "twin",
    "within_task_r2",
]
