import numpy as np

from mtlearn import PerTaskRegressor
from mtlearn.problem.baseline import base_objective
from mtlearn.problem.intercepts import FREE
from mtlearn.problem.losses import Squared
from mtlearn.problem.solution import Solution, Status, goal
from mtlearn.solvers.related.newton import Gradient, Problem, as_user


def solve_gradient(data, loss, form, alpha, *, intercept=FREE, tol=1e-8, max_iter=1000):
    """Gradient descent for curvatures up to one: slow, and certified all the same."""
    problem = Problem(data, loss, form, alpha, intercept)
    state, history, status = problem.start(), [], Status.MAX_ITER
    zero = loss.value(problem.y, problem.zeros(), problem.weight)
    scale = max(base_objective(data, loss, form, intercept, zero), 1e-300)
    rows = data.X.shape[0] + (data.X * data.X).sum()  # the intercept is a column too
    steepest = problem.weight.max() * np.linalg.norm(form.kernel(), 2) * rows
    for _ in range(max_iter + 1):
        value, g, h = loss.evaluate(problem.y, problem.scores(state), problem.weight)
        gradient = Gradient(problem, state, g, h)
        value += problem.penalty(state)
        bound = gradient.bound(problem)
        history.append((value, bound / scale))
        if bound <= goal(tol, scale, value):
            status = Status.CONVERGED
            break
        down = form.inverse_metric(gradient.reduced)
        state.theta = state.theta - down / (alpha + steepest)
        state.beta = state.beta - gradient.shift
    coef, b = as_user(*problem.model(state), problem)
    return Solution(coef, b, *history[-1], len(history), status, history=history)


class SlowRegressor(PerTaskRegressor):
    """`PerTaskRegressor` by gradient descent."""

    def _solve(self, fit, start):
        options = {"tol": self.tol, "max_iter": self.max_iter}
        return solve_gradient(
            fit.data,
            Squared(),
            fit.form,
            float(self.alpha),
            intercept=fit.intercept,
            **options,
        )
