"""The losses without a square: MultiTaskSVM and MultiTaskSVR against LIBLINEAR's dual.

Both targets are reached by the loosest tolerance of a schedule that does so.
"""

from dataclasses import dataclass, replace

import numpy as np
from data import (
    SVM_DATA,
    SVMProblem,
    gaussian_tasks,
    made_data,
    real_data,
    scores,
    suboptimality,
)
from peers import Run, timed
from races import TOLERANCES, fit_again, mean_ratio
from sklearn.svm import LinearSVC, LinearSVR

from mtlearn import MultiTaskSVM, MultiTaskSVR, SharedMean

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
CORRELATION = 0.5
TARGETS = (1e-4, 1e-6)
MOST = 1.0  # seconds of one fit of LIBLINEAR: the whole table in a few minutes
OURS, PEER, FREE = "mtlearn", "LIBLINEAR dual", "mtlearn, own intercepts"

HEAD = [
    "problem",
    *(f"{name} {target:.0e}" for target in TARGETS for name in (OURS, PEER, "ratio")),
    "default",
    "suboptimality at default",
    FREE,
]

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


def kinked_problems(quick=False, name=None):
    """Yield every problem whose name contains `name`."""
    for data, (X, y, task) in made_data(SVM_DATA | SVR_DATA, name):
        epsilon = 0.1 * float(y.std()) if data in SVR_DATA else None
        for C in (1.0,) if quick else STRENGTHS:
            yield KinkedProblem(data, X, y, task, C, CORRELATION, epsilon)


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


SVR_DATA = {
    "School scores": school_scores,
    "Numbers, 139 tasks, 15k x 28": lambda: gaussian_numbers(139, 15_140, 28),
}


# ---------------------------------------------------------------- one race


def race(problem, cap):
    """Cells of one problem, and LIBLINEAR's time over ours for each target."""
    best = problem.objective(ours(problem, 1e-11).coef)
    found = {
        OURS: ours_to_targets(problem, best),
        PEER: peer_to_targets(problem, best, cap),
    }
    row, ratios = [problem.name], []
    for target in TARGETS:
        mine, (theirs, there) = found[OURS][target][0], found[PEER][target]
        ratios.append(theirs / mine)
        late = "" if there else "> "
        row += [f"{mine:.4f}", f"{late}{theirs:.4f}", f"{late}{ratios[-1]:.1f}"]
    default = fit_again(ours, problem)
    gap = max(suboptimality(problem.objective(default.coef), best), 0.0)
    free = fit_again(ours, problem, None, 1000, True)
    row += [f"{default.seconds:.4f}", f"{gap:.0e}", f"{free.seconds:.4f}"]
    return row, ratios


def ours_to_targets(problem, best):
    """{target: (seconds, True)}."""
    found = {}
    for tol in TOLERANCES[4::2]:
        run = fit_again(ours, problem, tol)
        gap = suboptimality(problem.objective(run.coef), best)
        for target in TARGETS:
            if gap <= target:
                found.setdefault(target, (run.seconds, True))
        if len(found) == len(TARGETS):
            return found
    raise RuntimeError(f"{problem.name}: our own fit ended {gap:.1e} from the optimum")


def peer_to_targets(problem, best, cap):
    """{target: (seconds, whether it got there)}; passes that take `cap` seconds."""
    found, max_iter, spent = {}, 1000, 0.0
    for tol in TOLERANCES:
        run = fit_again(liblinear, problem, tol, max_iter)
        gap = suboptimality(problem.objective(run.coef), best)
        spent = max(spent, run.seconds)
        for target in TARGETS:
            if gap <= target:
                found.setdefault(target, (run.seconds, True))
        cut = run.n_iter >= max_iter and run.seconds > cap / 2
        if cut or run.seconds > cap or len(found) == len(TARGETS):
            break
        max_iter = max(1000, int(cap * run.n_iter / max(run.seconds, 1e-6)))
    return {target: found.get(target, (spent, False)) for target in TARGETS}


def run_hinge(args, facts, write):
    """Race on every problem; print, write."""
    rows, ratios = [], []
    for problem in kinked_problems(args.quick, args.problem):
        for tol in (1e-2, None):  # compiles
            ours(replace(problem, C=1.0), tol)
        row, ratio = race(problem, min(args.cap, MOST))
        rows.append("| " + " | ".join(row) + " |")
        ratios.append(ratio)
        print(rows[-1], flush=True)
    if not rows:
        return
    lines = ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    lines += [*rows, ""]
    for target, column in zip(TARGETS, np.transpose(ratios), strict=True):
        lines.append(
            f"Geometric mean of the ratios to {target:.0e}: {mean_ratio(column)}; "
            f"below 3 in {int(np.sum(column < 3))} of {len(column)}."
        )
    print("\n".join(lines[-2:]))
    title = "# Hinge and epsilon-insensitive loss against LIBLINEAR"
    write(args, "hinge.md", title, NOTE, [*lines, "", *facts(args, once=True)])
