"""The squared hinge: MultiTaskSVM against LIBLINEAR."""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from data import CLASSES, Tied, scores
from peers import liblinear_dual, liblinear_primal
from races import Contest, Run, race_all, timed
from report import mean_ratio

from mtlearn import MultiTaskSVM, SharedMean

TITLE = "MultiTaskSVM against LIBLINEAR"
NOTE = """\
Seconds of `fit` to a relative suboptimality of 1e-6, computed from the coefficients by
one function, at the loosest tolerance of a schedule of half decades that reaches it;
medians over repeats in which the libraries take turns. LIBLINEAR (scikit-learn's
LinearSVC) gets the sparse features [sqrt(rho) x, sqrt(1 - rho) x e_t], whose plain SVM
is the same problem; making them is not timed, while our time includes checking and
sorting the rows. No intercepts. The first call, which compiles, is left out.

"ratio" is the faster of the two LIBLINEARs over ours; ">" marks a library that did not
get there in the time that it was given. "default" is our `fit` with its default
tolerance, and how far from the optimum it ends.
"""

STRENGTHS = (0.1, 1.0)
CORRELATIONS = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class SVMProblem(Tied):
    """C sum max(0, 1 - y x.w_t)^2 + 1/2 Omega(W), Omega of SharedMean(correlation).

    No intercepts: so the objectives of all libraries coincide.
    """

    data: str
    X: object
    y: np.ndarray
    task: np.ndarray
    C: float
    correlation: float

    @property
    def name(self):
        """Name with the strength and the correlation."""
        return f"{self.data}, C={self.C:g}, rho={self.correlation:g}"


def problems(quick=False):
    """The makers of all problems."""
    settings = [(1.0, 0.5)] if quick else list(product(STRENGTHS, CORRELATIONS))
    return {
        f"{name}, C={C:g}, rho={rho:g}": partial(_problem, name, C, rho)
        for name, (C, rho) in product(CLASSES, settings)
    }


def _problem(name, C, correlation):
    return SVMProblem(name, *CLASSES[name](), C, correlation)


def ours(problem, tol=None, max_iter=100):
    """Fit MultiTaskSVM on the rows as they come; `tol` None is the default."""
    options = {} if tol is None else {"tol": tol}
    model = MultiTaskSVM(
        C=problem.C,
        relation=SharedMean(problem.correlation),
        fit_intercept=False,
        max_iter=max_iter,
        **options,
    )
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.coef_, n_iter=model.n_iter_)


def objective(problem, run):
    """Value of the objective, the same function for every library."""
    W = run.coef
    margins = problem.y * scores(problem.X, problem.task, W)
    slack = np.maximum(0.0, 1.0 - margins)
    omega = SharedMean(problem.correlation).omega(W)
    return problem.C * float(slack @ slack) + 0.5 * omega


CONTEST = Contest(
    {
        "mtlearn": ours,
        "LIBLINEAR primal": liblinear_primal,
        "LIBLINEAR dual": liblinear_dual,
    },
    objective,
    tight={"mtlearn": (1e-14, 100), "LIBLINEAR primal": (1e-9, 1000)},
    by_steps=True,
)


def tables(problems, args):
    """Time every library to the target on every problem."""
    table, races = race_all(CONTEST, problems, args, "svm")
    if races:
        ratios = [race.ratio for race in races]
        text = f"Geometric mean of the ratios: {mean_ratio(ratios)}"
        dense = [race.ratio for race in races if isinstance(race.problem.X, np.ndarray)]
        if 0 < len(dense) < len(ratios):
            text += f"; over the dense problems {mean_ratio(dense)}"
        table.say(text + ".")
    yield table
