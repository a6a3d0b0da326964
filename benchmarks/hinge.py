"""The losses without a square: MultiTaskSVM and MultiTaskSVR against LIBLINEAR's dual.

Both targets are reached by the loosest tolerance of a schedule that does so.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from data import CLASSES, gaussian_tasks, real_data, scores
from races import TOLERANCES, Run, fit_again, suboptimality, timed
from report import Table, draw, mean_ratio
from sklearn.svm import LinearSVC, LinearSVR
from svm import SVMProblem

from mtlearn import MultiTaskSVM, MultiTaskSVR, SharedMean

TITLE = "Hinge and epsilon-insensitive loss against LIBLINEAR"
NOTE = """\
Seconds of `fit` to a relative suboptimality of 1e-4 and of 1e-6, computed from the
coefficients by one function, at the loosest tolerance of a schedule that reaches it (of
decades for us, of half decades for LIBLINEAR); a fit of less than a second counts with
the fastest of three runs. MultiTaskSVM(loss="hinge") for classes and
MultiTaskSVR(loss="epsilon_insensitive") for numbers (epsilon a tenth of their spread).
LIBLINEAR (scikit-learn's LinearSVC and LinearSVR, dual coordinate descent) gets the
sparse features [sqrt(rho) x, sqrt(1 - rho) x e_t], whose plain machine is the same
problem; making them is not timed, while our time includes checking and sorting the
rows. No intercepts, which LIBLINEAR would penalise. The first call, which compiles, is
left out.

"ratio" is LIBLINEAR's time over ours; ">" marks where it did not get there with as many
passes as fit into a second, and how long it tried. "default" is our `fit` with its
default tolerance, and how far from the optimum it ends; the last column is the same
with a free intercept for every task, which has no peer.
"""

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
CORRELATION = 0.5
TARGETS = (1e-4, 1e-6)
FLOOR = 1e-8  # where the curves are drawn, at the least
MOST = 1.0  # seconds of one fit of LIBLINEAR: the whole table in a few minutes
OURS, PEER, FREE = "mtlearn", "LIBLINEAR dual", "mtlearn, own intercepts"

HEAD = [
    "problem",
    *(f"{name} {target:.0e}" for target in TARGETS for name in (OURS, PEER, "ratio")),
    "default",
    "suboptimality at default",
    FREE,
]


@dataclass(frozen=True, eq=False)
class KinkedProblem(SVMProblem):
    """C sum of the hinge, or of max(0, |y - x.w_t| - epsilon), plus 1/2 Omega(W).

    epsilon is None for the hinge.
    """

    epsilon: float | None = None

    def model(self, **options):
        """Our estimator."""
        options |= {"C": self.C, "relation": SharedMean(self.correlation)}
        if self.epsilon is None:
            return MultiTaskSVM(loss="hinge", **options)
        options["epsilon"] = self.epsilon
        return MultiTaskSVR(loss="epsilon_insensitive", **options)

    def peer(self, **options):
        """LIBLINEAR's dual coordinate descent."""
        options |= {"C": self.C, "dual": True, "fit_intercept": False}
        if self.epsilon is None:
            return LinearSVC(loss="hinge", random_state=0, **options)
        options["epsilon"] = self.epsilon
        return LinearSVR(loss="epsilon_insensitive", random_state=0, **options)

    def objective(self, W):
        """Value of the objective at the coefficients `W`, the same for both."""
        f = scores(self.X, self.task, W)
        if self.epsilon is None:
            loss = np.maximum(0.0, 1.0 - self.y * f)
        else:
            loss = np.maximum(0.0, np.abs(self.y - f) - self.epsilon)
        omega = SharedMean(self.correlation).omega(W)
        return self.C * float(loss.sum()) + 0.5 * omega


def ours(problem, tol=None, max_iter=1000, intercept=False):
    """Fit on the rows as they come; `tol` None is the default."""
    model = problem.model(fit_intercept=intercept, tol=tol, max_iter=max_iter)
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.coef_, n_iter=model.n_iter_)


def liblinear(problem, tol, max_iter):
    """Fit on the augmented features."""
    model = problem.peer(tol=tol, max_iter=max_iter)
    model, seconds = timed(model.fit, problem.augmented, problem.y)
    coef = problem.coefficients(model.coef_.ravel())
    return Run(seconds, coef, n_iter=int(np.max(model.n_iter_)))


def problems(quick=False):
    """The makers of all problems."""
    return {
        f"{name}, C={C:g}, rho={CORRELATION:g}": partial(_problem, name, C)
        for name, C in product(CLASSES | NUMBERS, (1.0,) if quick else STRENGTHS)
    }


def _problem(name, C):
    X, y, task = (CLASSES | NUMBERS)[name]()
    epsilon = 0.1 * float(y.std()) if name in NUMBERS else None
    return KinkedProblem(name, X, y, task, C, CORRELATION, epsilon)


def school_scores():
    """Exam scores of 139 schools, as numbers of mean zero and spread one."""
    X, y, task = real_data("school")
    return X, (y - y.mean()) / y.std(), task


def gaussian_numbers(n_tasks, n_rows, d, seed=0):
    """The features of `gaussian_tasks`, and numbers with heavy-tailed noise."""
    X, _, task = gaussian_tasks(n_tasks, n_rows, d, seed)
    rng = np.random.default_rng(seed + 1)
    W = rng.standard_normal(d) + 0.7 * rng.standard_normal((n_tasks, d))
    f = scores(X, task, W) / np.sqrt(d)
    return X, f + 0.5 * rng.standard_t(2, size=n_rows), task


NUMBERS = {
    "School scores": school_scores,
    "Numbers, 139 tasks, 15k x 28": lambda: gaussian_numbers(139, 15_140, 28),
}


# ---------------------------------------------------------------- one race


def race(problem, cap):
    """Cells, LIBLINEAR's time over ours for each target, and curves of one problem."""
    best = problem.objective(ours(problem, 1e-11).coef)
    found, curves = {}, {OURS: [], PEER: []}
    schedules = (ours, TOLERANCES[4::2], np.inf), (liblinear, TOLERANCES, cap)
    for (name, curve), (fit, tolerances, most) in zip(curves.items(), schedules):
        found[name] = to_targets(fit, problem, tolerances, best, most, curve)
    row, ratios = [problem.name], []
    for target in TARGETS:
        (mine, here), (theirs, there) = found[OURS][target], found[PEER][target]
        if not here:
            raise RuntimeError(f"{problem.name}: our own fit is not within {target:g}")
        ratios.append(theirs / mine)
        late = "" if there else "> "
        row += [f"{mine:.4f}", f"{late}{theirs:.4f}", f"{late}{ratios[-1]:.1f}"]
    default = fit_again(ours, problem)
    gap = max(suboptimality(problem.objective(default.coef), best), 0.0)
    free = fit_again(ours, problem, None, 1000, True)
    row += [f"{default.seconds:.4f}", f"{gap:.0e}", f"{free.seconds:.4f}"]
    return row, ratios, curves


def to_targets(fit, problem, tolerances, best, cap, curve):
    """{target: (seconds, whether it got there)}; iterations that take `cap` seconds.

    Appends (seconds, suboptimality) of every fit to `curve`.
    """
    found, max_iter, spent = {}, 1000, 0.0
    for tol in tolerances:
        run = fit_again(fit, problem, tol, max_iter)
        gap = suboptimality(problem.objective(run.coef), best)
        curve.append((run.seconds, gap))
        spent = max(spent, run.seconds)
        for target in TARGETS:
            if gap <= target:
                found.setdefault(target, (run.seconds, True))
        cut = run.n_iter >= max_iter and run.seconds > cap / 2
        if cut or run.seconds > cap or len(found) == len(TARGETS):
            break
        if cap < np.inf:
            max_iter = max(1000, int(cap * run.n_iter / max(run.seconds, 1e-6)))
    return {target: found.get(target, (spent, False)) for target in TARGETS}


def tables(problems, args):
    """Race on every problem."""
    table, ratios, panels = Table(HEAD, once=True), [], []
    for problem in problems:
        for tol in (1e-2, None):  # compiles
            ours(replace(problem, C=1.0), tol)
        cells, ratio, curves = race(problem, min(args.cap, MOST))
        table.add(*cells)
        panels.append((problem.name, curves))
        ratios.append(ratio)
    for target, column in zip(TARGETS, np.transpose(ratios)):
        table.say(
            f"Geometric mean of the ratios to {target:.0e}: {mean_ratio(column)}; "
            f"below 3 in {int(np.sum(column < 3))} of {len(column)}."
        )
    if panels:
        path = args.output / "hinge.png"
        draw(path, panels, "relative suboptimality", FLOOR, TARGETS[-1])
    yield table
