"""Kernel machines against libsvm: the problems, the two libraries, the table's lines.

libsvm (scikit-learn's SVC and SVR) gets the Gram matrix under the task kernel as a
precomputed one; making it is timed, as ours makes its own.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from statistics import median

import numpy as np
from data import open_data
from races import Run, timed
from report import Table, mean_ratio
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from mtlearn import MultiTaskSVM, MultiTaskSVR, SharedMean

TITLE = "Kernel machines against libsvm"
NOTE = """\
Seconds of `fit` with a radial basis function and one shared intercept, each library at
its default tolerance; medians over repeats in which the two take turns. libsvm
(scikit-learn's SVC with the hinge, SVR with the epsilon-insensitive loss) gets the Gram
matrix k(x, z) K[s, t] in double precision as kernel="precomputed"; the time to make it
(rbf_kernel, times K of the rows' tasks) counts, as ours counts its own. Our tolerance
is a duality gap of a millionth of the objective of the zero model, libsvm's a violation
of 1e-3. The first call, which compiles, is left out.

"dual" is how far our dual objective is from the better of the two, relative to it; 0 is
the better. "ratio" is the time of libsvm over ours: above 1, ours is faster. "free" is
the share of rows whose beta is inside its bounds: what makes a problem hard. Made
problems: 20 tasks around a common nonlinear function of 10 Gaussian features, labels
flipped with the given probability; real ones: rows drawn from `landmine` (one mine in
16 rows) and `school` (scores from 1 to 70), features scaled.
"""


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


# ---------------------------------------------------------------- problems


def problems(quick=False):
    """The makers of all problems, made and real."""
    return made_problems(quick) | real_problems(quick)


def made_problems(quick):
    """A grid of strengths and widths, over two correlations and noises."""
    strengths, gammas = (0.1, 1.0, 10.0, 100.0), (0.02, 0.1, 0.5)
    settings = [(3000, 0.0, 0.5), (4500, 0.1, 0.9), (6000, 0.2, 0.5)]
    if quick:
        strengths, gammas, settings = (1.0, 100.0), (0.1,), [(1000, 0.1, 0.5)]
    makers = {}
    for (n, noise, rho), C, gamma in product(settings, strengths, gammas):
        name = f"{n} rows, {noise:.0%} noise, rho={rho:g}, C={C:g}, gamma={gamma:g}"
        makers[name] = partial(_made, name, n, noise, C, gamma, rho)
    return makers


def _made(name, n, noise, *settings):
    return Machine(name, *draw_rows(n, noise), *settings)


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


def ours(problem):
    """Our beta of every row."""
    options = {"kernel": "rbf", "gamma": problem.gamma, "fit_intercept": "shared"}
    options |= {"relation": SharedMean(problem.correlation), "loss": problem.loss}
    if problem.epsilon is None:
        model = MultiTaskSVM(problem.C, **options)
    else:
        model = MultiTaskSVR(problem.C, problem.epsilon, **options)
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, spread(model, len(problem.y)))


def fit_libsvm(problem):
    """Libsvm's beta of every row, the Gram matrix included in the seconds."""
    if problem.epsilon is None:
        model = SVC(C=problem.C, kernel="precomputed")
    else:
        model = SVR(C=problem.C, kernel="precomputed", epsilon=problem.epsilon)
    model, seconds = timed(lambda: model.fit(problem.gram(), problem.y))
    return Run(seconds, spread(model, len(problem.y)))


def spread(model, n):
    """Beta of all rows."""
    beta = np.zeros(n)
    beta[model.support_] = model.dual_coef_[0]
    return beta


def dual_objective(problem, beta):
    """What the dual maximises."""
    from mtlearn.problem.margins import margin_loss

    y, epsilon = problem.y, problem.epsilon or 0.0
    dual = margin_loss(problem.loss, epsilon).box(y, np.full(len(y), problem.C))
    linear = beta @ dual.linear - np.abs(beta) @ dual.width
    return linear - 0.5 * beta @ (problem.gram() @ beta)


# ---------------------------------------------------------------- the table

HEAD = ["problem", "mtlearn", "libsvm", "ratio", "dual", "dual, libsvm", "free"]


def race(problem, repeats):
    """Cells of one problem, its ratio, and our distance in the dual."""
    fits, turns = (ours, fit_libsvm), []
    for _ in range(repeats + 1):
        turns.append([fit(problem) for fit in fits])
    betas = [run.coef for run in turns.pop(0)]  # compiles and touches memory
    values = [dual_objective(problem, beta) for beta in betas]
    gaps = [(max(values) - value) / abs(max(values)) for value in values]
    inside = (betas[0] != 0.0) & (np.abs(betas[0]) < problem.C * (1 - 1e-9))
    own, peer = (median(run.seconds for run in runs) for runs in zip(*turns))
    cells = [problem.name, f"{own:.3f}", f"{peer:.3f}", f"{peer / own:.2f}"]
    cells += [*(f"{gap:.0e}" for gap in gaps), f"{inside.mean():.0%}"]
    return cells, peer / own, gaps[0]


def tables(problems, args):
    """Time kernel machines against libsvm."""
    table, ratios, gaps = Table(HEAD), {}, []
    for problem in problems:
        cells, ratios[problem.name], gap = race(problem, args.repeats)
        gaps.append(gap)
        table.add(*cells)
    if gaps:
        found = ratios.values()
        slow = "; ".join(name for name, ratio in ratios.items() if ratio < 1.0)
        table.say(
            f"Geometric mean of the ratios: {mean_ratio(found, 2)}, highest "
            f"{max(found):.2f}. Ours is slower on: {slow or 'none'}. Its dual "
            f"objective is within {max(gaps):.0e} of the better of the two everywhere."
        )
    yield table
