"""Races: the time that each library takes to a given suboptimality.

A library is a function `fit(problem, tol, max_iter)` that returns a `Run`; ours, called
"mtlearn", comes first and has default values for both.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from report import Table, draw
from sklearn.exceptions import ConvergenceWarning

# processor time, which other work on the machine leaves alone; of several threads it
# would be the sum, and the runner sets the wall clock instead
clock = time.process_time

TARGET = 1e-6  # relative suboptimality to which the race goes
TOLERANCES = 10.0 ** np.arange(0.0, -10.5, -0.5)
OURS = "mtlearn"


@dataclass(frozen=True)
class Run:
    """Seconds of one fit, and the model."""

    seconds: float
    coef: np.ndarray
    intercept: np.ndarray | float = 0.0
    n_iter: int = 1


def timed(fit, *args, **kwargs):
    """Result and seconds of one call; warnings of early stops are expected here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = clock()
        result = fit(*args, **kwargs)
        return result, clock() - start


def suboptimality(value, best):
    """Distance from the best objective known, relative to it."""
    return (value - best) / best


@dataclass(frozen=True)
class Contest:
    """Who races, and how they are measured.

    Attributes
    ----------
    libraries : dict of callable
    objective : callable
        Value of the objective, of the problem and a `Run`.
    tight : dict of (tol, max_iter)
        By library: fits whose objective is as good as the optimum. Empty where
        `objective` is how far a fit is from it, at most: a relative duality gap.
    target, floor : float
        The suboptimality that is raced for, and that below which a curve ends.
    tolerances : ndarray
        What the libraries are given, from loose to tight.
    again : bool
        Whether fast fits are repeated on the way there too.
    beside : tuple of str
        Libraries that are shown, but do not count as peers.
    by_steps : bool
        Whether our curve is that of fits cut short after 1, 2, ... iterations, and not
        that of fits to looser tolerances.
    """

    libraries: dict
    objective: Callable
    tight: dict
    target: float = TARGET
    floor: float = 1e-9
    tolerances: np.ndarray = field(default_factory=lambda: TOLERANCES)
    again: bool = True
    beside: tuple = ()
    by_steps: bool = False

    @property
    def ours(self):
        """Our fit."""
        return self.libraries[OURS]

    @property
    def peers(self):
        """Names of those that ours is compared with."""
        return [n for n in self.libraries if n != OURS and n not in self.beside]

    def distance(self, value, best):
        """Relative suboptimality, not below zero."""
        far = suboptimality(value, best) if self.tight else value
        return max(far, 0.0)


@dataclass
class Race:
    """What one problem showed.

    Attributes
    ----------
    scans : dict of list of (seconds, objective, (tol, max_iter))
        Fits from loose to tight tolerances, by library.
    short : list of (seconds, objective, (None, max_iter))
        Ours after one iteration, two, and so on: only to be drawn.
    seconds : dict of float
        Median time to the target by library, infinite where none got there.
    default : (seconds, objective)
        Ours at the default tolerance.
    """

    contest: Contest
    problem: object
    scans: dict
    short: list
    best: float
    seconds: dict = field(default_factory=dict)
    default: tuple = (np.nan, np.nan)

    def gap(self, value):
        """Relative suboptimality, not below zero."""
        return self.contest.distance(value, self.best)

    @property
    def curves(self):
        """Points (seconds, suboptimality) to draw, by library."""
        scans = self.scans | ({OURS: self.short} if self.short else {})
        return {
            name: [(seconds, self.gap(value)) for seconds, value, _ in points]
            for name, points in scans.items()
        }

    def spent(self, name):
        """Time of the tightest fit that a library was given."""
        return self.scans[name][-1][0]

    @property
    def bound(self):
        """Whether the ratio is only a lower bound: no peer got there."""
        return all(self.seconds[name] == np.inf for name in self.contest.peers)

    @property
    def ratio(self):
        """Time of the fastest of the peers over ours."""
        return self.ratio_to(self.contest.peers)

    def ratio_to(self, names):
        """Time of the fastest of some libraries over ours, or a bound of it."""
        seconds = min(self.seconds[name] for name in names)
        if seconds == np.inf:
            seconds = min(self.spent(name) for name in names)
        return seconds / self.seconds[OURS]


# ---------------------------------------------------------------- one race


def run_race(contest, problem, repeats, cap):
    """Look for the loosest tolerances that reach the target, then repeat those.

    A library that has used up `cap` seconds is not repeated any more.
    """
    contest.ours(problem)
    for fit in contest.libraries.values():
        fit(problem, contest.tolerances[0], 1)  # compiles
    tight = [
        contest.libraries[name](problem, *how) for name, how in contest.tight.items()
    ]
    best = min((contest.objective(problem, run) for run in tight), default=0.0)
    scans = {
        name: scan(contest, name, problem, best, cap) for name in contest.libraries
    }
    best = min(best, *(value for points in scans.values() for _, value, _ in points))
    short = short_fits(contest, problem) if contest.by_steps else []
    race = Race(contest, problem, scans, short, best)
    repeat(race, repeats, cap)
    return race


def scan(contest, name, problem, best, cap):
    """Fits from loose to tight: list of (seconds, objective, (tol, max_iter)).

    Ends at the optimum, or with the first fit that `cap` seconds do not suffice for: it
    is cut short by its number of iterations.
    """
    fit, points, max_iter = contest.libraries[name], [], 1000
    for tol in contest.tolerances:
        args = problem, tol, max_iter
        run = fit_again(fit, *args) if contest.again else fit(*args)
        value = contest.objective(problem, run)
        points.append((run.seconds, value, (tol, max_iter)))
        cut = run.n_iter >= max_iter and run.seconds > cap / 2
        if cut or run.seconds > cap or contest.distance(value, best) < contest.floor:
            break
        max_iter = max(1000, int(cap * run.n_iter / max(run.seconds, 1e-6)))
    return points


def fit_again(fit, *args):
    """Fit; a fast fit thrice, of which the fastest counts."""
    runs = [fit(*args)]
    while runs[0].seconds < 1.0 and len(runs) < 3:
        runs.append(fit(*args))
    return min(runs, key=lambda run: run.seconds)


def short_fits(contest, problem):
    """Our fit cut short at `max_iter` 1, 2, ..., until more changes nothing."""
    points, last = [], np.inf
    for max_iter in range(1, 50):
        run = fit_again(contest.ours, problem, None, max_iter)
        value = contest.objective(problem, run)
        points.append((run.seconds, value, (None, max_iter)))
        if last - value <= 1e-12 * value:
            break
        last = value
    return points


def repeat(race, repeats, cap):
    """Median times at the chosen tolerances, libraries taking turns."""
    contest, chosen = race.contest, {"default": ()}
    for name, points in race.scans.items():
        reached = [how for _, value, how in points if race.gap(value) <= contest.target]
        race.seconds[name] = np.inf
        if reached:
            chosen[name] = reached[0]
    times, values = {name: [] for name in chosen}, {}
    for _ in range(repeats):
        for name, how in chosen.items():
            if sum(times[name]) > cap:
                continue
            run = contest.libraries.get(name, contest.ours)(race.problem, *how)
            times[name].append(run.seconds)
            values[name] = contest.objective(race.problem, run)
    race.default = median(times.pop("default")), values["default"]
    race.seconds |= {name: median(spent) for name, spent in times.items()}


# ---------------------------------------------------------------- in words


def race_all(contest, problems, args, name, heading=""):
    """Race on every problem: the table, the races, and their picture."""
    head = ["problem", *contest.libraries, "ratio", "default"]
    table = Table([*head, "suboptimality at default"], heading)
    races = []
    for problem in problems:
        races.append(run_race(contest, problem, args.repeats, args.cap))
        table.add(*cells(races[-1]))
    if races:
        panels = [(race.problem.name, race.curves) for race in races]
        path, label = args.output / f"{name}.png", "relative suboptimality"
        draw(path, panels, label, contest.floor, contest.target)
    return table, races


def cells(race):
    """Cells of one problem, for a row of the table."""
    times = []
    for name, seconds in race.seconds.items():
        late = seconds == np.inf
        times.append(f"> {race.spent(name):.3g}" if late else f"{seconds:.4f}")
    ratio = f"{'> ' * race.bound}{race.ratio:.1f}"
    seconds, value = race.default
    return [
        race.problem.name,
        *times,
        ratio,
        f"{seconds:.4f}",
        f"{race.gap(value):.0e}",
    ]
