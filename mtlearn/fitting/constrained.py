"""The fit under constraints that the linear families share."""

import numpy as np
import scipy.sparse as sp

from ..constraints import Constraint, ConstraintDual, check_constraints, describe
from ..problem.demands import Scope
from ..problem.ids import feature_names
from ..problem.margins import MarginLoss
from ..problem.solution import Solution, stack_classes
from ..solvers.constrained.conic import (
    Failed,
    Infeasible,
    Limits,
    Unbounded,
    is_possible,
)
from ..solvers.constrained.kinks import solve_constrained_kinks
from ..solvers.constrained.quadratic import Unknowns
from ..solvers.constrained.squares import solve_constrained
from .classifiers import against_the_rest
from .shared_model import settle_intercepts

_BINDING = 1e-6  # prices below this, relative to the highest, are rounding
_SILENT = 1e-11  # the same, relative to what a price can be


class Constrained:
    """What an estimator with the parameter `constraints` adds to its family.

    The family says by `_loss_under_constraints` which loss and alpha it means.
    """

    def _solved(self, fit, start):
        """Solve: under the constraints, if there are any."""
        constraints = check_constraints(getattr(self, "constraints", None))
        if not constraints:
            if hasattr(self, "constraints"):
                self.constraint_duals_ = []
            return super()._solved(fit, start)
        if fit.form.learned:
            raise ValueError(
                "`constraints` need a relation that is known, got `relation`='learned'."
            )
        bound = _Bound(self, fit, constraints)
        if fit.labels is None:
            solution = bound.solve(self, fit, fit.data)
            self.constraint_duals_ = bound.duals([solution])
            return bound.tidy(solution)
        solutions = [bound.solve(self, fit, data) for data in against_the_rest(fit)]
        self.constraint_duals_ = bound.duals(solutions)
        solutions = [bound.tidy(solution) for solution in solutions]
        return solutions[0] if len(solutions) == 1 else stack_classes(solutions)


class _Bound:
    """The constraints of one fit, bound to its tasks and features."""

    def __init__(self, estimator, fit, constraints):
        n_features = fit.data.n_features
        self.constraints = constraints
        self.scope = Scope(estimator.tasks_, feature_names(estimator), n_features)
        self.demands = [
            one.demand(self.scope) if isinstance(one, Constraint) else None
            for one in constraints
        ]
        self.form = fit.form
        self.spread, self.spread_b = _spread(fit)
        self.level = 0.0 if fit.level is None else self.spread_b @ fit.level
        self.silent = _silent(fit)
        self.limits = self._limits(range(len(constraints)))

    def _limits(self, chosen):
        """Those of the chosen constraints, over the tasks that take part."""
        chosen, d = list(chosen), self.scope.n_features
        demands = [self.demands[k] for k in chosen if self.demands[k] is not None]
        lift = sp.kron(self.spread, sp.eye_array(d)).tocsr()
        none = sp.csr_array((0, len(self.scope.tasks) * d))
        balls = [one for one in demands if one.balls is not None]

        def joined(parts):
            return np.concatenate([np.zeros(0), *parts])

        return Limits(
            (sp.vstack([none, *(one.rows for one in demands)]) @ lift).tocsr(),
            joined(one.lower for one in demands),
            joined(one.upper for one in demands),
            (sp.vstack([none, *(one.balls for one in balls)]) @ lift).tocsr(),
            ((balls[0].centre if balls else none) @ lift).tocsr(),
            joined(one.radius for one in balls),
            [self.constraints[k] for k in chosen if self.demands[k] is None],
            self.spread,
            self.spread_b,
            self.level,
        )

    def solve(self, estimator, fit, data):
        """The solution for one set of labels."""
        loss, alpha = estimator._loss_under_constraints()
        options = {} if estimator.solver_options is None else estimator.solver_options
        if not isinstance(options, dict):
            raise TypeError(
                "`solver_options` must be a dict of keywords of cvxpy's Problem.solve, "
                f"got {options!r}."
            )
        settings = {
            "intercept": fit.intercept,
            "tol": estimator._tolerance(),
            "max_iter": estimator.max_iter,
            "options": options,
        }
        try:
            problem = fit.form, alpha, self.limits
            if not isinstance(loss, MarginLoss):
                return solve_constrained(data, loss, *problem, **settings)
            if loss.squared:
                return solve_constrained(data, loss.smooth(), *problem, **settings)
            return solve_constrained_kinks(data, loss, *problem, **settings)
        except Infeasible:
            raise ValueError(self._conflict(fit)) from None
        except Unbounded:
            raise ValueError(
                "The problem is unbounded under `constraints`=["
                f"{', '.join(map(describe, self.constraints))}]: strengthen the "
                "penalty."
            ) from None
        except Failed as error:
            raise ValueError(
                f"The conic solver failed under `constraints` ({error}): try another "
                "one by `solver_options`, or scale the features (StandardScaler)."
            ) from None

    def _conflict(self, fit):
        """One sentence that names constraints which contradict each other."""
        chosen = list(range(len(self.constraints)))
        unknowns = Unknowns(fit.form, fit.intercept, fit.data.n_features, explicit=True)
        # linear ones last: without the others they need no conic solver
        linear = [
            self.demands[k] is not None and self.demands[k].balls is None
            for k in chosen
        ]
        for k in sorted(chosen, key=lambda k: linear[k]):
            fewer = [j for j in chosen if j != k]
            if fewer and not is_possible(unknowns, self._limits(fewer)):
                chosen = fewer
        named = ", ".join(describe(self.constraints[k]) for k in chosen)
        if len(chosen) == 1:
            return f"`constraints` are infeasible: no coefficients obey {named}."
        return (
            "`constraints` are infeasible: no coefficients obey all of "
            f"{named} at once."
        )

    def tidy(self, solution):
        """The solution without what rounding has left of a violation."""
        coef = solution.coef
        for one in self.constraints:
            if isinstance(one, Constraint):
                coef = one.tidy(coef, self.scope)
        # the rules come first: a limit at a composed task may keep its rounding
        coef = self.form.expand(coef[self.form.free])
        return Solution(
            coef,
            solution.intercept,
            solution.objective,
            solution.certificate,
            solution.n_iter,
            solution.status,
            history=solution.history,
        )

    def duals(self, solutions):
        """A `ConstraintDual` per constraint; with classes, on the second axis."""
        prices = [self._prices(solution) for solution in solutions]
        floor = self.silent * max(solution.objective for solution in solutions)
        found = []
        for k, constraint in enumerate(self.constraints):
            every = [one[k] for one in prices]
            if self.demands[k] is None:
                price = [p for own in every for p in own]
                binding = [_binding(p, floor) for p in price]
            else:
                price = every[0] if len(every) == 1 else np.stack(every, axis=1)
                binding = _binding(price, floor)
            found.append(ConstraintDual(constraint, price, binding))
        return found

    def _prices(self, solution):
        """Prices of every constraint in one solution."""
        rows = balls = calls = 0
        prices = []
        for demand in self.demands:
            if demand is None:
                prices.append(solution.calls[calls])
                calls += 1
                continue
            n_rows = len(demand.lower)
            n_balls = 0 if demand.radius is None else len(demand.radius)
            own = solution.prices[rows : rows + n_rows]
            tensions = solution.tensions[balls : balls + n_balls]
            prices.append(demand.prices(own, -tensions))
            rows, balls = rows + n_rows, balls + n_balls
        return prices


def _binding(price, floor):
    """Where a price is more than rounding."""
    size = np.abs(price)
    return size > max(_BINDING * np.max(size, initial=0.0), floor)


def _silent(fit):
    """Prices below this times the objective are rounding.

    A coefficient that moves the scores by a label costs about the objective.
    """
    X = fit.data.X.data if sp.issparse(fit.data.X) else fit.data.X
    label = 1.0 if fit.labels is not None else np.abs(fit.data.labels).max()
    return _SILENT * max(X.max(initial=0.0), -X.min(initial=0.0)) / max(label, 1e-300)


def _spread(fit):
    """Coefficients and intercepts of all tasks by those of the tasks that take part.

    A task without a model of its own has the mean of those that have one.
    """
    n_part = int(fit.part.sum())
    means = sp.csr_array(np.full((1, n_part), 1.0 / n_part))
    spread = sp.lil_array((len(fit.part), n_part))
    spread[np.flatnonzero(fit.part), np.arange(n_part)] = 1.0
    spread = spread.tocsr() + sp.csr_array((~fit.part)[:, None].astype(float)) @ means
    if not fit.intercept.own or fit.labelled[fit.part].all():
        return spread, spread
    return spread, spread @ sp.csr_array(settle_intercepts(fit, np.eye(n_part)))
