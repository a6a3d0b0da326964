"""Kernel machines against libsvm: the problems, the two libraries, the table's lines.

libsvm (scikit-learn's SVC and SVR) gets the Gram matrix under the task kernel as a
precomputed one; making it is timed, as ours makes its own.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import product

import numpy as np
from data import open_data
from races import OURS, TOLERANCES, Contest, Run, run_race, timed
from report import Table, draw, mean_ratio
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from mtlearn import MultiTaskSVM, MultiTaskSVR, SharedMean

TITLE = "Kernel machines against libsvm"
NOTE = """\
Seconds of `fit` with a radial basis function and one shared intercept, to a duality gap
of 1e-5 of the primal objective. One function computes both objectives from the dual
coefficients of either library; each is given the loosest tolerance of a schedule of
half decades that reaches the target; medians over repeats in which the two take turns.
libsvm (scikit-learn's SVC with the hinge, SVR with the epsilon-insensitive loss) gets
the Gram matrix k(x, z) K[s, t] in double precision as kernel="precomputed"; the time to
make it (rbf_kernel, times K of the rows' tasks) counts, as ours counts its own. The
first call, which compiles, is left out.

"ratio" is the time of libsvm over ours: above 1, ours is faster; ">" marks a library
that did not get there in the time that it was given. "default" is a fit at the
library's own default tolerance, beside the gap at which it ends: ours is a gap of a
millionth of the objective of the best constants, libsvm's a violation of 1e-3. "free"
is the share of rows whose beta is inside its bounds: what makes a problem hard. Made
problems: tasks around a common nonlinear function of 10 Gaussian features, labels
flipped with the given probability; real ones: rows drawn from `landmine` (one mine in
16 rows) and `school` (scores from 1 to 70), features scaled.
"""

TARGET = 1e-5
FLOOR = 1e-8  # of the curves that are drawn
MOST = 10.0  # seconds of one fit: libsvm's rows, in single precision, may not get there


@dataclass(frozen=True, eq=False)
class Machine:
    """Rows with labels and tasks, and the parameters of a machine."""

    name: str
    X: np.ndarray
    y: np.ndarray
    task: np.ndarray
    C: float
    gamma: float
    correlation: float
    epsilon: float | None = None

    @property
    def loss(self):
        """Name of the loss."""
        return "hinge" if self.epsilon is None else "epsilon_insensitive"

    def gram(self):
        """Gram matrix as a user of scikit-learn would make it."""
        K = SharedMean(self.correlation).kernel(self.task.max() + 1)
        return rbf_kernel(self.X, gamma=self.gamma) * K[self.task][:, self.task]

    @cached_property
    def kept_gram(self):
        """The Gram matrix by which answers are measured."""
        return self.gram()


# ---------------------------------------------------------------- problems


def problems(quick=False):
    """The makers of all problems, made and real."""
    return made_problems(quick) | real_problems(quick)


def made_problems(quick):
    """Grids of strengths and widths, over correlations, noises and numbers of tasks."""
    wide, few = (0.1, 1.0, 10.0, 100.0), (1.0, 10.0, 100.0)
    grids = [
        ([(3000, 20, 0.0, 0.5)], wide, (0.02, 0.1, 0.5)),
        ([(4500, 20, 0.1, 0.9)], wide, (0.02, 0.1, 0.5)),
        ([(6000, 20, 0.2, 0.5)], wide, (0.02, 0.1, 0.5)),
        ([(3000, 30, 0.1, 0.5), (4000, 60, 0.1, 0.5)], few, (0.02, 0.1)),
        ([(5000, 100, 0.1, 0.5)], few, (0.02, 0.1)),
    ]
    if quick:
        grids = [([(1000, 20, 0.1, 0.5)], (1.0, 100.0), (0.1,))]
    makers = {}
    for settings, strengths, gammas in grids:
        for (n, T, noise, rho), C, gamma in product(settings, strengths, gammas):
            name = f"{n} rows, {T} tasks, {noise:.0%} noise, rho={rho:g}"
            name += f", C={C:g}, gamma={gamma:g}"
            makers[name] = partial(_made, name, n, T, noise, C, gamma, rho)
    return makers


def _made(name, n, n_tasks, noise, *settings):
    return Machine(name, *draw_rows(n, noise, n_tasks), *settings)


@lru_cache(maxsize=1)
def draw_rows(n, noise, n_tasks=20, d=10):
    """Rows whose label is the sign of a nonlinear function of their task."""
    rng = np.random.default_rng(n)
    X, task = rng.normal(size=(n, d)), rng.integers(n_tasks, size=n)
    hidden, common = rng.normal(size=(8, d)), rng.normal(size=8)
    own = common + 0.7 * rng.normal(size=(n_tasks, 8))
    f = np.sum(np.tanh(X @ hidden.T) * own[task], axis=1)
    y = np.where(f + 0.3 * rng.normal(size=n_tasks)[task] > 0, 1.0, -1.0)
    return X, np.where(rng.random(n) < noise, -y, y), task


def real_problems(quick):
    """Landmine and school."""
    n, strengths = (1000, (1.0, 100.0)) if quick else (4000, (0.1, 1.0, 10.0, 100.0))
    makers = {}
    for data, C in product(("landmine", "school"), strengths):
        name = f"{data}, {n} rows, C={C:g}"
        makers[name] = partial(_real, name, data, n, C)
    return makers


def _real(name, data, n, C):
    with open_data(data) as file:
        X, y, task = (file[key] for key in ("X", "y", "task"))
    rows = np.random.default_rng(0).permutation(len(y))[:n]
    X = StandardScaler().fit_transform(X[rows].astype(float))
    y, task = y[rows].astype(float), np.unique(task[rows], return_inverse=True)[1]
    y = np.where(y > 0, 1.0, -1.0) if data == "landmine" else y
    epsilon = None if data == "landmine" else 2.0
    return Machine(name, X, y, task, C, 1.0 / X.shape[1], 0.5, epsilon)


# ---------------------------------------------------------------- libraries


def ours(problem, tol=None, max_iter=1000):
    """Our beta of every row; `tol` None is the default."""
    options = {"kernel": "rbf", "gamma": problem.gamma, "fit_intercept": "shared"}
    options |= {"relation": SharedMean(problem.correlation), "loss": problem.loss}
    options |= {"tol": tol, "max_iter": max_iter}
    if problem.epsilon is None:
        model = MultiTaskSVM(problem.C, **options)
    else:
        model = MultiTaskSVR(problem.C, problem.epsilon, **options)
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, spread(model, len(problem.y)), n_iter=model.n_iter_)


def fit_libsvm(problem, tol=1e-3, max_iter=-1):
    """Libsvm's beta of every row, the Gram matrix included in the seconds."""
    options = {"C": problem.C, "kernel": "precomputed"}
    options |= {"tol": tol, "max_iter": max_iter}
    if problem.epsilon is None:
        model = SVC(**options)
    else:
        model = SVR(epsilon=problem.epsilon, **options)
    model, seconds = timed(lambda: model.fit(problem.gram(), problem.y))
    n_iter = int(np.max(model.n_iter_))
    return Run(seconds, spread(model, len(problem.y)), n_iter=n_iter)


def spread(model, n):
    """Beta of all rows."""
    beta = np.zeros(n)
    beta[model.support_] = model.dual_coef_[0]
    return beta


def relative_gap(problem, run):
    """Primal minus dual objective, over the primal one, of the beta of all rows."""
    y, C, beta, epsilon = problem.y, problem.C, run.coef, problem.epsilon
    f = problem.kept_gram @ beta
    half = 0.5 * float(beta @ f)
    dual = float(beta @ y) - (epsilon or 0.0) * float(np.abs(beta).sum()) - half
    # the intercept: as many kinks below it as slopes would fall without any
    if epsilon is None:
        b = _kth(y - f, int(np.sum(y > 0)))
        loss = np.maximum(0.0, 1.0 - y * (f + b))
    else:
        b = _kth(np.concatenate([y - f - epsilon, y - f + epsilon]), len(y))
        loss = np.maximum(0.0, np.abs(y - f - b) - epsilon)
    primal = C * float(loss.sum()) + half
    return max(primal - dual, 0.0) / primal


def _kth(values, k):
    """The k-th smallest."""
    return np.partition(values, k - 1)[k - 1]


# ---------------------------------------------------------------- the table

LIBSVM = "libsvm"
CONTEST = Contest(
    {OURS: ours, LIBSVM: fit_libsvm},
    relative_gap,
    tight={},
    target=TARGET,
    floor=TARGET,
    tolerances=TOLERANCES[4:15],
    again=False,
)
HEAD = ["problem", OURS, LIBSVM, "ratio", "default", "gap"]
HEAD += ["libsvm, default", "gap, libsvm", "ratio of defaults", "free"]
# whose curves are drawn, to a smaller gap, at two strengths and one width
DRAWN = ("3000 rows, 30", "5000 rows, 100", "landmine", "school")


def race(problem, args):
    """What a problem shows, its cells, and the ratio of the defaults."""
    drawn = problem.name.startswith(DRAWN) and problem.C in (1.0, 100.0)
    drawn = drawn and (problem.gamma == 0.1 or "tasks" not in problem.name)
    contest = replace(CONTEST, floor=FLOOR) if drawn else CONTEST
    found = run_race(contest, problem, args.repeats, min(args.cap, MOST))
    peer, (own, gap) = fit_libsvm(problem), found.default
    beta = ours(problem).coef
    inside = (beta != 0.0) & (np.abs(beta) < problem.C * (1 - 1e-9))
    times = []
    for name, seconds in found.seconds.items():
        late = seconds == np.inf
        times.append(f"> {found.spent(name):.3g}" if late else f"{seconds:.3f}")
    cells = [problem.name, *times, f"{'> ' * found.bound}{found.ratio:.2f}"]
    cells += [f"{own:.3f}", f"{gap:.0e}", f"{peer.seconds:.3f}"]
    cells += [f"{relative_gap(problem, peer):.0e}", f"{peer.seconds / own:.2f}"]
    return found, [*cells, f"{inside.mean():.0%}"], peer.seconds / own, drawn


def tables(problems, args):
    """Time kernel machines against libsvm."""
    table, ratios, defaults, panels = Table(HEAD), {}, [], []
    for problem in problems:
        found, cells, default, drawn = race(problem, args)
        problem.__dict__.pop("kept_gram", None)  # up to 288 MB each
        ratios[problem.name] = found.ratio
        defaults.append(default)
        table.add(*cells)
        if drawn:
            panels.append((problem.name.replace(", C=", "\nC="), found.curves))
    if ratios:
        slow = "; ".join(name for name, ratio in ratios.items() if ratio < 1.0)
        table.say(
            f"Geometric mean of the ratios: {mean_ratio(ratios.values(), 2)}, highest "
            f"{max(ratios.values()):.2f}; of the defaults {mean_ratio(defaults, 2)}. "
            f"Ours is slower on: {slow or 'none'}."
        )
    if panels:
        path = args.output / "kernel_svm.png"
        draw(path, panels, "relative duality gap", FLOOR, TARGET)
    yield table
