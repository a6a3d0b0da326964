"""Squared loss + relation: one linear system, from moments or from the rows."""

import numpy as np

from ...moments import gather_moments, grams_fit
from ...problem.intercepts import FREE, NONE, FreeUnknowns
from ...problem.losses import Squared
from ...problem.solution import Solution, Status, goal
from ..linalg import ground_whole
from .coupled import Blocks, coupled_solver, sum_blocks
from .least_squares import solve_least_norm
from .newton import solve_newton
from .steps import choose_solver

COLLINEAR = 1e-11  # 1 - R^2 of a feature given others, at which moments are too coarse
_DEPENDENT = 1e-8  # the same without a penalty, which would hide what is lost
_REFINEMENTS = 4


def solve_squared(data, form, alpha, *, intercept, tol, max_iter, solver, start):
    """Squared loss: from moments where those are less work, or from the rows.

    Parameters
    ----------
    data, form, alpha, intercept, tol, max_iter, solver, start
        As in `solve_newton`; alpha may be 0.

    Returns
    -------
    Solution
    """
    if moments_serve(data, alpha, intercept, solver):
        moments = gather_moments(data)
        solution = solve_moments(moments, form, alpha, intercept=intercept, tol=tol)
        if solution.status is Status.CONVERGED:
            return solution
    how = {"max_iter": max_iter, "solver": solver, "start": start}
    return solve_rows(data, form, alpha, intercept=intercept, tol=tol, **how)


def moments_serve(data, alpha, intercept, solver):
    """Whether moments are less work than the rows."""
    if alpha == 0:
        return grams_fit(data)
    if solver == "auto":
        solver = choose_solver(data, 1, intercept, squared=True)
    return solver == "newton-cholesky"


def solve_rows(data, form, alpha, *, intercept, tol, max_iter, solver, start):
    """Squared loss from the rows, as accurately as they have it.

    Parameters
    ----------
    data, form, alpha, intercept, tol, max_iter, solver, start
        As in `solve_squared`. Without a penalty: where the rows leave coefficients
        open, those of smallest Omega.

    Returns
    -------
    Solution
    """
    if alpha == 0:
        return solve_least_norm(data, form, intercept=intercept)
    if solver == "auto":
        solver = choose_solver(data, 1, intercept, squared=True)
    how = {"max_iter": max_iter, "solver": solver, "start": start}
    loss = Squared()
    return solve_newton(data, loss, form, alpha, intercept=intercept, tol=tol, **how)


# ---------------------------------------------------------------- from moments


def solve_moments(moments, form, alpha, *, intercept=FREE, tol=1e-8):
    """Minimise the squared loss plus 1/2 alpha Omega(W): one linear system.

    Parameters
    ----------
    moments : Moments
    form, alpha, intercept, tol
        As in `solve_newton`; alpha may be 0: where every task's columns are
        independent the relation has no say.

    Returns
    -------
    Solution
        Its status is STALLED where the moments have lost the answer (columns collinear
        to eleven digits); solve from the rows then.
    """
    if alpha == 0:
        intercept = intercept.at(np.inf if form.pooled else 0.0)
        form = form.untied()
    mixed = FreeUnknowns(intercept, form, 1).rules
    blocks, target, border_target = normal_equations(moments, intercept, mixed)
    solver = coupled_solver(form, alpha)
    solver.update(blocks)
    rules, border, corner = _border(form, intercept, blocks)
    scale = moments.base_objective(NONE if form.composed else intercept)
    theta, beta = solver.solve(form.adjoint(target), border_target)
    history = []
    for n_iter in range(1, _REFINEMENTS + 1):
        W = form.lift(theta)
        left = target - blocks.dot(blocks.hessian, W)
        if border is not None:
            left -= border * (rules @ beta)[:, None]
        descent = form.adjoint(left) - alpha * form.metric(theta)
        short, reduced, bound = border_target, descent, 0.0
        if border is not None:
            short = short - rules.T @ np.einsum("tp,tp->t", border, W) - corner @ beta
            shift = np.linalg.solve(ground_whole(corner), short)
            reduced = descent - form.adjoint(border * (rules @ shift)[:, None])
            bound = 0.5 * float(short @ shift)
        step, beta_step = solver.solve(descent, short)
        if alpha > 0:
            bound += form.dual_norm2(reduced) / (2 * alpha)
        else:
            bound = 0.5 * float(np.vdot(descent, step) + short @ beta_step)
        coef, b = from_extended(moments, W, beta, intercept, mixed)
        penalty = 0.5 * alpha * np.vdot(theta, form.metric(theta))
        value = moments.objective(coef, b) + float(penalty)
        history.append((value, bound / max(scale, 1e-300)))
        enough = goal(tol, scale, value)
        if bound <= 1e-3 * enough or n_iter == _REFINEMENTS:
            break
        theta, beta = theta + step, beta + beta_step
    coarse = COLLINEAR if alpha > 0 else _DEPENDENT
    lost = solver.pivot < coarse or not bound <= enough
    status = Status.STALLED if lost else Status.CONVERGED
    certificate = bound / max(scale, 1e-300)
    return Solution(coef, b, value, certificate, n_iter, status, history=history)


def _border(form, intercept, blocks):
    """How intercepts follow from unknowns, mixed and second derivatives in them.

    Returns
    -------
    rules : csr_array of shape (n_tasks, n_free)
    border : ndarray of shape (n_tasks, p)
    corner : ndarray of shape (n_free, n_free)
        All None without unpenalised unknowns.
    """
    if not blocks.border.shape[2]:
        return None, None, None
    rules = form.intercept_map(intercept)
    corner = sum_blocks(rules, rules, blocks.each(blocks.corner))
    return rules, blocks.each(blocks.border)[:, :, 0], corner


def normal_equations(moments, intercept, rules=None):
    """Blocks and right-hand sides: (n_tasks, p) for the tasks, (q,) for the border.

    A free intercept is minimised out, but where those of tasks follow from others by
    `rules`, an array of shape (n_tasks, n_free): there the mean of all rows is
    subtracted, and the intercepts stay unknowns.
    """
    first, which = np.arange(moments.n_tasks), None
    if len(moments.weight) < moments.n_tasks:
        # tasks with the same rows and the same weight share one block
        pairs = np.column_stack([moments.group, moments.scale])
        _, first, which = np.unique(
            pairs, axis=0, return_index=True, return_inverse=True
        )
        which = which.ravel()
    group, scale = moments.group[first], moments.scale[first]
    gram = (
        moments.gram
        if np.array_equal(group, np.arange(len(moments.gram)))
        else (moments.gram[group])
    )
    H = gram if np.all(scale == 1.0) else scale[:, None, None] * gram
    target = moments.scale[:, None] * moments.cross
    if intercept.own and rules is None:
        return Blocks(H, which=which), target, np.zeros(0)
    mass = scale * moments.weight[group]
    left = mass if intercept.own else intercept.left(mass, np.inf)
    means = moments.mean - _centre(moments) if intercept.own else moments.mean
    mean = means[group]
    column = left[:, None] * mean
    H = H + column[:, :, None] * mean[:, None, :]
    each = moments.task_weights
    each = (each if intercept.own else intercept.left(each, np.inf)) * moments.y_mean
    target = target + each[:, None] * means[moments.group]
    if not intercept.present:
        return Blocks(H, which=which), target, np.zeros(0)
    border, corner = column[:, :, None], left[:, None, None]
    if intercept.shrunk:
        # what the deviations add is a feature of the intercepts' unit
        c = intercept.unit
        side = c * border
        H = np.block([[H, side], [side.transpose(0, 2, 1), c * c * corner]])
        border = np.concatenate([border, c * corner], axis=1)
        target = np.column_stack([target, c * each])
    border_target = np.array([each.sum()]) if rules is None else rules.T @ each
    return Blocks(H, border, corner, which, rules=rules), target, border_target


def _centre(moments):
    """Mean of the features over all labelled rows."""
    mass = moments.task_weights
    return mass @ moments.mean[moments.group] / max(mass.sum(), 1e-300)


def from_extended(moments, W, beta, intercept, rules=None):
    """Coefficients and intercepts of the unknowns of `normal_equations`.

    W (..., n_tasks, p) and beta (..., q) may have axes in front, of several solutions,
    where there are no rules.
    """
    d = moments.cross.shape[1]
    coef = W[..., :d]
    if rules is not None:
        b = rules @ beta
        b = b - coef @ _centre(moments) if intercept.own else b
    elif intercept.own:
        mean = moments.mean[moments.group]
        b = moments.y_mean - np.einsum("tj,...tj->...t", mean, coef)
    elif intercept.price < np.inf:
        mean = moments.mean[moments.group]
        aim = moments.y_mean - np.einsum("tj,...tj->...t", mean, coef)
        return coef, intercept.best(aim.T, moments.task_weights).T
    else:
        b = np.zeros(W.shape[:-1]) + (beta[..., :1] if beta.shape[-1] else 0.0)
    return coef, b + intercept.unit * W[..., d] if intercept.shrunk else b
