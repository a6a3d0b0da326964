"""Races of shared layers to the best objective that any peer reaches in its budget.

All solvers end in local minima: a solver that does not get to the target from one start
goes on with the next, and its seconds add up.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median

import numpy as np
from data import open_data
from mapping_peers import MENDED, mapping_peers
from races import timed
from report import Table, draw, mean_ratio
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from mtlearn import SharedMappingRegressor

NOTE = """\
Objective 1/2 sum (y - f)^2 + 1/2 alpha (all weights squared, biases free), one layer
of tanh units, computed by one function from the weights of every solver, in double
precision. Ours runs once from every start to a tolerance of 1e-6, the fastest of three
fits; the first call, which compiles, is left out. A peer has a budget of ten
times our fit's time, at least 2 s and at most `--cap`, and its weights along the way
are recorded (not timed). What it has to tune it tunes on its first start with a
third of the budget for every setting, and that is not counted either.

The target of a problem is where the median start of the best peer ends. "end" and
"worst" are ends relative to it, median and worst over the starts. "seconds" is the
time to within 0.1 % of the target, median over starts; where a start does not get
there, the next one goes on and its time is added ("never": none does). "reach it"
counts starts. "ratio" is the fastest peer's seconds over ours, 0 where ours does not
get there; for ours the whole fit counts, for the peers the moment at which they pass
the level. Which minimum a start ends in is chance: compare "end" with "worst".

The picture shows the first start, ours by fits that are cut short after more and more
iterations, each a fit of its own. The "least ratio to any objective" is taken from
there: over all points of the peers' curves, the time of the point over that of our
first such fit that ends no higher.

torch: Adam (fused, single precision) with a cosine that falls to zero as the budget
ends, with random batches or all rows, or at a constant rate; L-BFGS (strong Wolfe,
double precision, 30 pairs). MLPRegressor's gradient is that of the sum over outputs,
while the value that its L-BFGS sees is the mean over them (its issue 8349): with
alpha = ours, checked by comparing stationary points, the gradient is that of our
objective, but the line search is misled. "value put right" is the same solver with
the value that belongs to the gradient, which no user has: it is shown, has ratios of
its own, and does not set the target ("inf": it does not get there). Its Adam adds
alpha / batch to every batch: it gets alpha times batch / n. Setting up tensors is
not timed. Data: teachers are networks of the same size, with noise of a third of the
signal; the larger one is twice the size, with noise of a tenth; "correlated" has most
of the variance of its features in a few axes; "smooth" are mixtures of four functions
of Friedman's; "arm" are the torques in the joints of a chain of links; real sets have
means imputed, features and targets standardised."""

OURS, TIGHT = "mtlearn", "mtlearn, tol=1e-8"
BUDGET = 10.0  # times the seconds of our fit
LEAST = 2.0  # seconds of a budget, at least
TUNING = 3.0  # part of the budget for every setting that is tried
TOL = 1e-6  # of our fits, ten times as tight as the default
NEAR = 1e-3  # relative distance from the target at which it counts as reached
EXACT = 1e-6  # the same, for the target itself
SMALL, MANY = (2000, 50, 32, 20), (20_000, 100, 64, 50)  # rows, features, units, tasks
FEW, ARM = (20_000, 100, 64, 10), (4449, 21, 64, 7)
REAL = {"osales": 32, "scpf": 32}  # units
ALPHAS = (1.0, 30.0)
CUTS = np.unique((1.6 ** np.arange(18)).astype(int))  # iterations of fits cut short
EARLY = 1.0  # seconds from which curves are compared


# ---------------------------------------------------------------- problems


@dataclass(frozen=True, eq=False)
class MappingProblem:
    """1/2 sum (y - f)^2 + 1/2 alpha (all weights squared), one layer of tanh units."""

    name: str
    X: np.ndarray
    Y: np.ndarray
    units: int
    alpha: float = 1.0

    def objective(self, weights, biases):
        """Value at lists of weights (fan_in, fan_out) and biases, in double."""
        H = self.X
        for W, b in zip(weights[:-1], biases[:-1]):
            H = np.tanh(H @ W.astype(float) + b.astype(float))
        R = self.Y - H @ weights[-1].astype(float) - biases[-1].astype(float)
        squares = sum(float(np.vdot(W, W)) for W in weights)
        return 0.5 * float(np.vdot(R, R)) + 0.5 * self.alpha * squares


def problems(quick=False):
    """The makers of made and of real problems."""
    sizes = {teacher: (SMALL, MANY, FEW), larger_teacher: (FEW,), smooth: (FEW,)}
    sizes |= {correlated: (FEW,), arm: (ARM,)}
    made = [(make, size) for make, some in sizes.items() for size in some]
    made = made[:1] if quick else made
    makers = {name_of(make, *size): partial(make, *size) for make, size in made}
    for (data, units), alpha in product(() if quick else REAL.items(), ALPHAS):
        makers[f"{data}, alpha={alpha:g}"] = partial(real, data, units, alpha)
    return makers


def name_of(make, n, d, units, n_tasks):
    """The name of a made problem."""
    kind = make.__name__.replace("_", " ")
    return f"{kind}: {n} x {d}, {units} units, {n_tasks} tasks"


def real(data, units, alpha):
    """A multi-target set."""
    X, Y = prepared(data)
    title = f"{data}: {len(X)} x {X.shape[1]}, {units} units, {Y.shape[1]} tasks"
    return MappingProblem(f"{title}, alpha={alpha:g}", X, Y, units, alpha)


def teacher(n, d, units, n_tasks):
    """Gaussian features; targets of a network of that size, a tenth of it noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    Y = taught(X, units, n_tasks, 1 / 3, rng)
    return MappingProblem(name_of(teacher, n, d, units, n_tasks), X, Y, units)


def larger_teacher(n, d, units, n_tasks):
    """Targets of a network of twice that size, a hundredth of it noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    Y = taught(X, 2 * units, n_tasks, 0.1, rng)
    return MappingProblem(name_of(larger_teacher, n, d, units, n_tasks), X, Y, units)


def correlated(n, d, units, n_tasks):
    """The teacher's targets of features most of whose variance is in a few axes."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = rng.standard_normal((n, d)) / np.arange(1, d + 1) @ turn
    X = StandardScaler().fit_transform(X)
    Y = taught(X, units, n_tasks, 1 / 3, rng)
    return MappingProblem(name_of(correlated, n, d, units, n_tasks), X, Y, units)


def taught(X, units, n_tasks, noise, rng):
    """Targets of a network with random weights, and noise in units of their spread."""
    W = 1.5 * rng.standard_normal((X.shape[1], units)) / np.sqrt(X.shape[1])
    Y = np.tanh(X @ W) @ rng.standard_normal((units, n_tasks)) / np.sqrt(units)
    return Y + noise * Y.std() * rng.standard_normal(Y.shape)


def smooth(n, d, units, n_tasks):
    """Tasks that mix four functions of Friedman's, each of five features of its own.

    Friedman, J., Multivariate adaptive regression splines, Annals of Statistics 19,
    1991.
    """
    rng = np.random.default_rng(0)
    X, functions = rng.uniform(size=(n, d)), []
    for _ in range(4):
        a, b, c, e, f = X[:, rng.permutation(d)[:5]].T
        curve = 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * e + 5 * f
        functions.append(StandardScaler().fit_transform(curve[:, None]))
    Y = np.hstack(functions) @ rng.standard_normal((4, n_tasks)) / 2
    Y += Y.std() / 3 * rng.standard_normal(Y.shape)
    X = StandardScaler().fit_transform(X)
    return MappingProblem(name_of(smooth, n, d, units, n_tasks), X, Y, units)


def arm(n, d, units, n_tasks):
    """Torques in the joints of a chain of links in a plane, by how it moves.

    Features are angles, their velocities and accelerations.
    """
    rng = np.random.default_rng(0)
    angle, speed, push = np.split(rng.standard_normal((n, d)), 3, axis=1)
    inertia = np.minimum.outer(*2 * [n_tasks - np.arange(n_tasks)]) / n_tasks
    bend = angle[:, :, None] - angle[:, None, :]
    Y = np.einsum("jk,ijk,ik->ij", inertia, np.cos(bend), push)
    Y += np.einsum("jk,ijk,ik->ij", inertia, np.sin(bend), speed**2)
    Y += 9.81 * np.diag(inertia) * np.sin(angle)
    X = np.hstack([angle, speed, push])
    Y = StandardScaler().fit_transform(Y)
    return MappingProblem(name_of(arm, n, d, units, n_tasks), X, Y, units)


def prepared(data):
    """A multi-target set, means imputed, features and targets standardised."""
    with open_data(data) as file:
        X, Y = file["X"].astype(float), file["Y"].astype(float)
    X = SimpleImputer(keep_empty_features=True).fit_transform(X)
    return StandardScaler().fit_transform(X), StandardScaler().fit_transform(Y)


def fit_ours(problem, seed, **options):
    """Seconds and objective of our fit."""
    options = {"tol": TOL, "random_state": seed, **options}
    model = SharedMappingRegressor((problem.units,), alpha=problem.alpha, **options)
    model, seconds = timed(model.fit, problem.X, problem.Y)
    return seconds, problem.objective(model.coefs_, model.intercepts_)


# ---------------------------------------------------------------- one race


@dataclass
class MappingRace:
    """What one problem showed.

    Attributes
    ----------
    curves : dict of list of list of (seconds, objective)
        By solver and start; of our fits the end alone.
    settings : dict of dict
        What was tuned, by peer.
    drawn : list of (seconds, objective)
        Ours from the first start, cut short after more and more iterations.
    """

    problem: object
    budget: float
    curves: dict
    settings: dict
    drawn: list

    def ends(self, name):
        """Objectives at the end of every start."""
        return np.array([curve[-1][1] for curve in self.curves[name]])

    @property
    def peers(self):
        """Names of all that a user has, but ours."""
        return [n for n in self.curves if n not in (OURS, TIGHT, MENDED)]

    @property
    def best_peer(self):
        """Name of the peer whose median start ends lowest."""
        return min(self.peers, key=lambda name: np.median(self.ends(name)))

    @property
    def target(self):
        """What the best peer's median start ends with."""
        return float(np.median(self.ends(self.best_peer)))

    @property
    def behind(self):
        """The end of our median start relative to the target."""
        return float(np.median(self.ends(OURS))) / self.target

    @property
    def lowest(self):
        """The lowest end of any peer's start."""
        return min(float(self.ends(name).min()) for name in self.peers)

    def seconds(self, name, near=NEAR):
        """Median over starts of the time to the target, further starts included."""
        curves, level = self.curves[name], self.target * (1.0 + near)
        return median(
            _until(curves[k:] + curves[:k], level) for k in range(len(curves))
        )

    def reached(self, name, near=NEAR):
        """Number of starts that reach the target."""
        return int(np.sum(self.ends(name) <= self.target * (1.0 + near)))

    def ratio(self, near=NEAR, ours=OURS, peers=None):
        """Time of the fastest peer over ours; 0 where ours does not get there."""
        names = self.peers if peers is None else peers
        return min(self.seconds(n, near) for n in names) / self.seconds(ours, near)

    @property
    def lead(self):
        """Least time of a peer over ours to one objective, that time, and the peer.

        Of all points of the peers' first curves from `EARLY` on; 0 where ours does not
        get there.
        """
        found = [
            (seconds / _until([self.drawn], value), seconds, name)
            for name in self.peers
            for seconds, value in self.curves[name][0]
            if seconds >= EARLY
        ]
        return min(found, default=(np.nan, np.nan, "none"))


def _until(curves, level):
    """Seconds until the first of the curves gets to a level, one after the other."""
    spent = 0.0
    for curve in curves:
        for seconds, value in curve:
            if value <= level:
                return spent + seconds
        spent += curve[-1][0]
    return np.inf


def run_mapping_race(problem, n_starts, cap):
    """Tune every peer on its first start, then all of them from every start."""
    fit_ours(problem, 0)  # compiles
    ours = [[_fastest(problem, seed)] for seed in range(n_starts)]
    tight = [[fit_ours(problem, s, tol=1e-8)] for s in range(n_starts)]
    seconds = median(curve[0][0] for curve in ours)
    budget = min(max(BUDGET * seconds, LEAST), cap)
    found = mapping_peers()
    settings = {
        name: _tuned(fit, problem, budget / TUNING, grid)
        for name, (fit, grid) in found.items()
    }
    curves = {name: [] for name in found}
    for seed in range(n_starts):
        for name, (fit, _) in found.items():
            curves[name].append(fit(problem, seed, budget, **settings[name]))
    drawn = cut_short(problem)
    return MappingRace(
        problem, budget, {OURS: ours, TIGHT: tight} | curves, settings, drawn
    )


def cut_short(problem):
    """Our fits from the first start after more and more iterations, until they end."""
    points = []
    for max_iter in CUTS.tolist():
        points.append(fit_ours(problem, 0, max_iter=max_iter))
        if len(points) > 1 and points[-1][1] == points[-2][1]:
            break
    return sorted(points)


def _fastest(problem, seed):
    """Of three fits, which all end alike, the fastest."""
    return min(fit_ours(problem, seed) for _ in range(3))


def _tuned(fit, problem, budget, grid):
    """The setting that ends lowest, from the first start."""
    tried = [dict(zip(grid, values)) for values in product(*grid.values())]
    if len(tried) < 2:
        return tried[0]
    return min(tried, key=lambda s: fit(problem, 0, budget, **s)[-1][1])


# ---------------------------------------------------------------- in words

HEAD = ["problem", "solver", "end", "worst", "seconds", "reach it", "tuned"]


def table(problems, args):
    """The table, a sentence per problem, and means over the problems."""
    made = Table(HEAD, "Time to the best objective of any peer", NOTE)
    races = []
    for problem in problems:
        races.append(run_mapping_race(problem, args.repeats, args.cap))
        for cells in race_rows(races[-1]):
            made.add(*cells)
    made.say(*map(race_line, races), "")
    for near in (EXACT, NEAR, 0.01):
        ratios = [race.ratio(near) for race in races]
        reached = [ratio for ratio in ratios if ratio > 0]
        mean = mean_ratio(reached) if reached else "none"
        made.say(
            f"* Geometric mean of the ratios to within {near:g} of the target: {mean}; "
            f"ours gets there on {len(reached)} of {len(ratios)} problems."
        )
    behind = "; ".join(race.problem.name for race in races if race.behind > 1.01)
    said = "Our median start ends more than 1 % above the target on"
    made.say("", f"{said}: {behind or 'none'}.")
    label = "objective relative to the lowest of this start, less 1"
    panels = [(race.problem.name, curves(race)) for race in races]
    draw(args.output / "shared_mapping.png", panels, label, 1e-5)
    return made


def race_rows(race):
    """Cells of every solver on one problem."""
    for name in race.curves:
        ends = race.ends(name) / race.target
        setting = race.settings.get(name, {})
        tuned = [f"{k} {v:g}" for k, v in setting.items() if not isinstance(v, bool)]
        seconds = race.seconds(name)
        yield [
            race.problem.name,
            name,
            f"{np.median(ends):.4f}",
            f"{ends.max():.4f}",
            "never" if seconds == np.inf else f"{seconds:.3f}",
            f"{race.reached(name)} of {len(ends)}",
            ", ".join(tuned),
        ]


def race_line(race):
    """What one problem comes to, in a sentence."""
    ours = race.ends(OURS)
    fit = median(curve[0][0] for curve in race.curves[OURS])
    nears = EXACT, NEAR, 0.01
    ratios = ", ".join(f"{race.ratio(near):.1f}" for near in nears)
    lead, at, peer = race.lead
    mended = ", ".join(f"{race.ratio(near, peers=[MENDED]):.1f}" for near in nears)
    return (
        f"* {race.problem.name}: target {race.target:.5g} ({race.best_peer}, budget "
        f"{race.budget:.1f} s); our fit takes {fit:.2f} s and ends at "
        f"{race.behind:.4f} of it, its best start at "
        f"{ours.min() / race.lowest:.4f} of the best start of any peer; ratios to the "
        f"target, to 0.1 % and to 1 % of it: {ratios}; those of the mended "
        f"L-BFGS: {mended}; of tol=1e-8 to the target: {race.ratio(EXACT, TIGHT):.1f}. "
        f"From {EARLY:g} s on the least ratio to any objective is {lead:.1f} ({peer}, "
        f"{at:.1f} s)."
    )


def curves(race):
    """What to draw of the first start: objectives above the lowest, relative to it."""
    first = {name: own[0] for name, own in race.curves.items()} | {OURS: race.drawn}
    del first[TIGHT]
    lowest = min(value for curve in first.values() for _, value in curve)
    return {
        name: [(seconds, value / lowest - 1.0) for seconds, value in curve]
        for name, curve in first.items()
    }
