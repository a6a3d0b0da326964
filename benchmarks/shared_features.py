"""The L2,1 penalty: SharedFeatureRegressor against scikit-learn, celer, skglm."""

from dataclasses import dataclass
from functools import partial
from itertools import groupby, product

import numpy as np
from data import Rows, complete, half_squares, own_rows, rows_name
from peers import (
    celer_group,
    celer_group_kernel,
    celer_l21,
    skglm_group,
    skglm_l21,
    sklearn_l21,
    sklearn_l21_prepared,
)
from races import Contest, Run, race_all, timed
from report import mean_ratio

from mtlearn import SharedFeatureRegressor

TITLE = "SharedFeatureRegressor, L2,1, against its peers"
NOTE = """\
Seconds of `fit` of SharedFeatureRegressor(penalty="l21") to a relative suboptimality of
1e-6, computed from the coefficients by one function, at the loosest tolerance of a
schedule of half decades that reaches it; medians over repeats in which the libraries
take turns. Every task has its own free intercept. All libraries get the same arrays, in
NumPy's order and not centred, and what they need to do with them is timed: checks,
means, copies. scikit-learn's MultiTaskLasso; celer's `mtl_path` on one strength;
skglm's solver with residuals in the order that suits it (its class takes up to five
times as long). The column "scikit-learn, prepared" is the same MultiTaskLasso on arrays
that were centred and turned to Fortran order beforehand, without its own intercept and
copy; it does not count in "ratio", and has a line of its own under the table. The first
call, which compiles, is left out.

Tasks with rows of their own are a group lasso on one block-diagonal design, a group for
every feature. It is sparse (dense it is slower for both, and 1.2 GB). celer's function
for it spends most of its time setting up in a loop of Python: the column beside it is
its compiled solver alone, with that made beforehand; it does not count in "ratio".

Gaussian features, independent or AR: each correlated with the one before it. A tenth as
many features are relevant as there are rows or features, the same ones for all tasks;
noise of a third of the signal. The strength is given as a fraction of the one from
which on all coefficients are zero. "ratio" is the fastest peer's time over ours; ">"
marks a library that did not get there in the time that it was given. "default" is our
`fit` with its default tolerance, and how far from the optimum it ends.
"""

SIZES = ((5000, 200, 50), (20_000, 500, 20), (300, 2000, 20), (500, 5000, 100))
OWN_ROWS = (50, 300, 200)
NEIGHBOURS = (0.0, 0.6)  # correlation of each feature with the one before it
FRACTIONS = (0.1, 0.01)  # of the strength from which on all coefficients are zero


@dataclass(frozen=True, eq=False)
class SharedFeatureProblem:
    """1/2 sum (y - x.w_t - b_t)^2 + alpha sum_j |W[:, j]|_2, intercepts free.

    `alpha` is `fraction` of the strength from which on all coefficients are zero.
    """

    rows: Rows
    fraction: float

    @property
    def name(self):
        """Name of the rows with the strength."""
        return f"{self.rows.name}, {self.fraction:g} of largest"

    @property
    def alpha(self):
        """Strength of the penalty."""
        return self.fraction * self.rows.largest

    def intercept(self, W):
        """The best intercepts for `W`, for libraries that saw centred rows."""
        x_mean, y_mean = self.rows.means
        return y_mean - (W * x_mean).sum(axis=1)


def problems(quick=False):
    """The makers of all problems: complete Y, and rows of their own."""
    sizes = [(500, 50, 10), (60, 300, 10)] if quick else SIZES
    own = [(10, 50, 30)] if quick else [OWN_ROWS]
    neighbours = NEIGHBOURS[:1] if quick else NEIGHBOURS
    makers = {}
    for make, some in ((complete, sizes), (own_rows, own)):
        for size, neighbour, fraction in product(some, neighbours, FRACTIONS):
            title = rows_name(make is own_rows, *size, neighbour)
            maker = partial(_problem, make, (*size, neighbour), fraction)
            makers[f"{title}, {fraction:g} of largest"] = maker
    return makers


def _problem(make, size, fraction):
    return SharedFeatureProblem(make(*size), fraction)


def ours(problem, tol=None, max_iter=1000):
    """Fit SharedFeatureRegressor on the rows as they come."""
    options = {} if tol is None else {"tol": tol}
    model = SharedFeatureRegressor(
        alpha=problem.alpha, penalty="l21", max_iter=max_iter, **options
    )
    rows = problem.rows
    model, seconds = timed(model.fit, rows.X, rows.y, task=rows.task)
    return Run(seconds, model.coef_, model.intercept_, model.n_iter_)


def objective(problem, run):
    """Value of the objective, for every library."""
    penalty = float(np.linalg.norm(run.coef, axis=0).sum())
    return half_squares(problem.rows, run) + problem.alpha * penalty


def l21_contest(libraries, peer, beside=()):
    """Contest under the L2,1 penalty; `peer` finds the optimum beside ours."""
    return Contest(
        libraries,
        objective,
        tight={"mtlearn": (1e-11, 100_000), peer: (1e-7, 1000)},
        floor=1e-8,
        beside=beside,
    )


KERNEL = "celer, setup not timed"
PREPARED = "scikit-learn, prepared"
COMPLETE = l21_contest(
    {
        "mtlearn": ours,
        "scikit-learn": sklearn_l21,
        "celer": celer_l21,
        "skglm": skglm_l21,
        PREPARED: sklearn_l21_prepared,
    },
    "celer",
    beside=(PREPARED,),
)
OWN = l21_contest(
    {
        "mtlearn": ours,
        "celer": celer_group,
        KERNEL: celer_group_kernel,
        "skglm": skglm_group,
    },
    KERNEL,
    beside=(KERNEL,),
)


def tables(problems, args):
    """Time the L2,1 penalty against its peers."""
    for own, some in groupby(problems, lambda problem: problem.rows.task is not None):
        contest = OWN if own else COMPLETE
        name = "shared_features" + "_own_rows" * own
        heading = "Rows of their own" if own else "Complete Y"
        table, races = race_all(contest, some, args, name, heading)
        table.say(*summary(races))
        yield table


def summary(races):
    """A line for every kind of problem."""
    kinds = {}
    for race in races:
        rows = race.problem.rows
        tall = "n > d" if rows.X.shape[0] > rows.X.shape[1] else "d > n"
        kind = tall if rows.task is None else "rows of their own"
        kinds.setdefault(kind, []).append(race.ratio)
        if race.contest.beside:
            kind = f"{kind}, to {race.contest.beside[0]}"
            kinds.setdefault(kind, []).append(race.ratio_to(race.contest.beside))
    return [
        f"Geometric mean of the ratios, {kind}: {mean_ratio(ratios)}."
        for kind, ratios in kinds.items()
    ]
