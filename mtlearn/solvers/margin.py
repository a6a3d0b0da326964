"""Margin losses + relation: which solver suits the loss and the data."""

from ..problem.forms import ArrowForm
from ..problem.losses import SquaredEpsilonInsensitive, SquaredHinge
from ..problem.solution import Status
from .dual import penalised_start, solve_dual
from .kinked import solve_kinked
from .newton import solve_newton
from .steps import choose_solver

_PASSES_PER_STEP = 3  # passes that one step of `max_iter` stands for
_FEW, _MANY = 12, 60  # passes for a start, by what they save afterwards
_PATIENCE = 30  # fewer passes than this are a user's wish to stop early


def solve_margin(
    data,
    loss,
    form,
    alpha,
    *,
    epsilon=0.0,
    intercept,
    tol,
    max_iter,
    solver,
    start=None,
):
    """Minimise a margin loss plus 1/2 alpha Omega(W), by what suits the data.

    Smooth losses go to `solve_newton`, kinked ones to `solve_kinked`. Wide sparse rows
    go to `solve_dual` before: alone without intercepts, otherwise (and where it is
    slow) to give the others a start.

    Parameters
    ----------
    data : TaskData
        With labels -1 and +1 for the hinges.
    loss : str
        One of `solvers.box.LOSSES`.
    form, alpha, intercept, tol, max_iter, start
        As in `solve_newton`.
    epsilon : float
        Errors up to this size cost nothing; not used by the hinges.
    solver : {"auto", "dual-descent", "newton-cholesky", "newton-dual", "newton-cg"}

    Returns
    -------
    Solution
    """
    suits = data.sparse and not data.wide and isinstance(form, ArrowForm)
    if solver == "dual-descent" and not (suits and intercept == "none"):
        raise ValueError(
            "`solver`='dual-descent' is for sparse X in the long layout with "
            "fit_intercept=False and a relation that is 'independent', 'shared_mean' "
            "or 'pooled'; use 'auto'."
        )
    chosen = choose_solver(data, 1, intercept) if solver == "auto" else solver
    descend = solver == "dual-descent" or (
        solver == "auto" and suits and chosen == "newton-cg"
    )
    chosen = "newton-cg" if descend else chosen
    named = {"loss": loss, "epsilon": epsilon}
    dual = None
    if descend and intercept == "none":
        passes = _PASSES_PER_STEP * max_iter
        solution = solve_dual(data, form, alpha, tol=tol, max_iter=passes, **named)
        if solution.status is Status.CONVERGED or passes < _PATIENCE:
            return solution
        start, dual = (solution.coef, solution.intercept), solution.dual
    elif descend and start is None:
        passes = _FEW if loss.startswith("squared") else _MANY
        start, dual = penalised_start(data, form, alpha, max_iter=passes, **named)
    options = {"intercept": intercept, "tol": tol, "max_iter": max_iter}
    options |= {"solver": chosen, "start": start}
    if loss.startswith("squared"):
        hinge = loss == "squared_hinge"
        smooth = SquaredHinge() if hinge else SquaredEpsilonInsensitive(epsilon)
        return solve_newton(data, smooth, form, alpha, **options)
    # of the rows that it works on there may be few enough for another way
    options["solver"] = "auto" if solver == "dual-descent" else solver
    return solve_kinked(data, form=form, alpha=alpha, dual=dual, **named, **options)
