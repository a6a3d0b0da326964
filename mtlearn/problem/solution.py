"""What every solver returns, and the one place that turns a bad end into a warning."""

import enum
import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class Status(enum.Enum):
    """How a solver ended; the value is the sentence for the user."""

    CONVERGED = "the certificate is below the tolerance."
    MAX_ITER = (
        "it ran out of iterations. Increase `max_iter`, scale the features "
        "(StandardScaler), or strengthen the penalty."
    )
    STALLED = (
        "no step improves the objective in double precision any more. The features may "
        "be collinear or in very different units: scale them (StandardScaler), "
        "strengthen the penalty, or accept a larger `tol`."
    )


@dataclass(frozen=True)
class Solution:
    """The answer of a solver, with its certificate.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        None for a kernel machine.
    intercept : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
    objective : float
        Value of the objective at the answer.
    certificate : float
        Bound on the objective's distance from its minimum, divided by the least one
        without features: coefficients zero, intercepts at their best.
    n_iter : int
    status : Status
    dual : ndarray or None
        One number per observation where the solver has them.
    history : list of (objective, certificate)
        One entry per iteration.
    gap : float or None
        The certificate in units of the objective, where a model is to show it.
    task_covariance : ndarray of shape (n_tasks, n_tasks) or None
        Of the tasks, where it was learned.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    certificate: float
    n_iter: int
    status: Status
    dual: np.ndarray | None = None
    history: list = field(default_factory=list)
    gap: float | None = None
    task_covariance: np.ndarray | None = None


def reached(solution, tol):
    """Whether an answer is what `tol` promises, relative to no features.

    Solvers ask for more where the fit is much better than the best one without
    features, and may stall on the way there.
    """
    return solution.status is Status.CONVERGED or solution.certificate <= tol


def warn_unless_converged(solution, name, tol):
    """Tell the user once if the solver did not reach `tol`."""
    if reached(solution, tol):
        return
    warnings.warn(
        f"{name} did not converge in {solution.n_iter} iterations: certificate "
        f"{solution.certificate:.2g}, asked for {tol:.2g}; {solution.status.value}",
        ConvergenceWarning,
        stacklevel=3,
    )


def stack_classes(solutions):
    """One Solution of several one-vs-rest problems: classes on the second axis."""
    statuses = [s.status for s in solutions if s.status is not Status.CONVERGED]
    parts = [(s.coef, s.dual) for s in solutions]
    coef, dual = (
        None if part[0] is None else np.stack(part, axis=1)
        for part in zip(*parts, strict=True)
    )
    return Solution(
        coef=coef,
        intercept=np.stack([s.intercept for s in solutions], axis=1),
        objective=sum(s.objective for s in solutions),
        certificate=max(s.certificate for s in solutions),
        n_iter=max(s.n_iter for s in solutions),
        status=statuses[0] if statuses else Status.CONVERGED,
        dual=dual,
        history=[step for s in solutions for step in s.history],
        task_covariance=None
        if solutions[0].task_covariance is None
        else np.stack([s.task_covariance for s in solutions]),
    )


def goal(tol, scale, value):
    """What the bound must reach.

    That is `tol` times `scale`, the objective without features; less where the
    objective itself is below a hundredth of that, so that the default is a millionth of
    it at most.
    """
    return tol * max(min(scale, 100.0 * value), 1e-7 * scale)
