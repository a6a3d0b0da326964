"""Smooth loss of many narrow rows: read where they lie, by passes that keep nothing.

A row of few features costs less to read again than what is known of it costs to keep:
scores, derivatives, a copy of the rows in the order of their tasks. One compiled pass
centres a row, scores it and adds its share of gradient and Hessian to its task's; the
Newton steps are those of `passes.py`.
"""

import numpy as np

from ...problem.baseline import base_objective
from ...problem.intercepts import FREE
from ...problem.tasks import TaskData
from ...problem.threads import WORTH
from .compact import CompactRows
from .newton import solve_newton
from .passes import solve_by_passes
from .steps import choose_solver
from .sums import Look, NarrowRows, n_numbers

_NARROW = 6  # features up to which reading rows again is faster than keeping things
_CACHED = 300_000  # numbers that tasks may gather in: with more, each row misses caches


def solve_smooth(
    data,
    loss,
    form,
    alpha,
    *,
    intercept=FREE,
    tol=1e-8,
    max_iter=100,
    solver="auto",
    start=None,
    lazy=None,
):
    """Minimise a smooth loss plus 1/2 alpha Omega(W), by what suits the rows.

    Parameters
    ----------
    data, loss, form, alpha, intercept, tol, max_iter, solver, start, lazy
        As in `solve_newton`.

    Returns
    -------
    Solution
    """
    if solver in ("auto", "newton-cholesky") and CompactRows.fits(data, loss, form):
        rows = CompactRows(data, loss, intercept)
        found, solved = rows.solve(form, alpha, intercept, tol, max_iter, start)
        if solved:
            return found
        start = found.coef, found.intercept
    if solver == "auto":
        solver = choose_solver(data, loss.n_scores, intercept)
    how = {"intercept": intercept, "tol": tol, "max_iter": max_iter, "start": start}
    if solver != "newton-cholesky" or not are_many(data, loss):
        how |= {"solver": solver, "lazy": lazy}
        return solve_newton(data, loss, form, alpha, **how)
    rows = NarrowRows.of(data, loss, intercept, together=form.composed)
    at_zero = rows.sums(_zero_model(data))
    how["scale"] = base_objective(data, loss, form, intercept, at_zero.value)
    means = rows.means if intercept.own else None

    def sweep(look):
        same = not (look.coef.any() or look.intercept.any())
        return at_zero if same else rows.sums(look)

    labels = _one_of_each(data)
    return solve_by_passes(sweep, labels, loss, form, alpha, means=means, **how)


def are_many(data, loss):
    """Whether the rows are worth passes: many and narrow, with a compiled loss."""
    n, d = data.X.shape
    compiled = hasattr(loss, "code") and not (data.wide or data.sparse)
    few = d <= _NARROW and data.n_tasks * n_numbers(d) <= _CACHED
    return compiled and few and n * d >= WORTH


def _zero_model(data):
    shape = data.n_tasks, data.n_features
    return Look(np.zeros(shape), np.zeros((data.n_tasks, 1)))


def _one_of_each(data):
    """A row for each sign of the labels of each task, all zero."""
    seen = np.zeros((data.n_tasks, 3), dtype=bool)
    for tasks, labels, _ in data.pieces():
        seen[tasks, np.sign(labels).astype(np.intp) + 1] = True
    codes, sign = np.nonzero(seen)
    X = np.zeros((len(codes), data.n_features))
    return TaskData(X, sign - 1.0, data.n_tasks, codes)
