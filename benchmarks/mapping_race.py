"""Races of shared layers to the best objective that any peer reaches in its budget.

All solvers end in local minima: a solver that does not get to the target from one start
goes on with the next, and its seconds add up.
"""

from dataclasses import dataclass
from itertools import product
from statistics import median

import numpy as np
from mapping_peers import MENDED, mapping_peers, mtlearn_mapping

OURS, TIGHT = "mtlearn", "mtlearn, tol=1e-8"
BUDGET = 10.0  # times the seconds of our fit
LEAST = 2.0  # seconds of a budget, at least
TUNING = 3.0  # part of the budget for every setting that is tried
NEAR = 1e-3  # relative distance from the target at which it counts as reached
EXACT = 1e-6  # the same, for the target itself
TOLERANCES = 10.0 ** np.arange(-1.0, -8.5, -1.0)


@dataclass
class MappingRace:
    """What one problem showed.

    Attributes
    ----------
    curves : dict of list of list of (seconds, objective)
        By solver and start; of our fits with the default tolerance the end alone.
    settings : dict of dict
        What was tuned, by peer.
    drawn : list of (seconds, objective)
        Ours from the first start, from loose to tight tolerances.
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
    mtlearn_mapping(problem, 0)  # compiles
    ours = [[_fastest(problem, seed)] for seed in range(n_starts)]
    tight = [[mtlearn_mapping(problem, s, tol=1e-8)] for s in range(n_starts)]
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
    drawn = [mtlearn_mapping(problem, 0, tol=tol) for tol in TOLERANCES]
    return MappingRace(
        problem, budget, {OURS: ours, TIGHT: tight} | curves, settings, drawn
    )


def _fastest(problem, seed):
    """Of three fits, which all end alike, the fastest."""
    return min(mtlearn_mapping(problem, seed) for _ in range(3))


def _tuned(fit, problem, budget, grid):
    """The setting that ends lowest, from the first start."""
    tried = [dict(zip(grid, values)) for values in product(*grid.values())]
    if len(tried) < 2:
        return tried[0]
    return min(tried, key=lambda s: fit(problem, 0, budget, **s)[-1][1])


# ---------------------------------------------------------------- in words

HEAD = ["problem", "solver", "end", "worst", "seconds", "reach it", "tuned"]


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
    mended = ", ".join(f"{race.ratio(near, peers=[MENDED]):.1f}" for near in nears)
    return (
        f"* {race.problem.name}: target {race.target:.5g} ({race.best_peer}, budget "
        f"{race.budget:.1f} s); our fit takes {fit:.2f} s and ends at "
        f"{race.behind:.4f} of it, its best start at "
        f"{ours.min() / race.lowest:.4f} of the best start of any peer; ratios to the "
        f"target, to 0.1 % and to 1 % of it: {ratios}; those of the mended "
        f"L-BFGS: {mended}; of tol=1e-8 to the target: {race.ratio(EXACT, TIGHT):.1f}."
    )


# ---------------------------------------------------------------- in a picture


def draw_mapping(races, path):
    """Objective above the lowest known against time, from the first start."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_columns = min(3, len(races))
    shape = -(-len(races) // n_columns), n_columns
    size = 4.0 * n_columns, 3.0 * shape[0] + 0.9
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="tight")
    for axis, race in zip(axes.ravel(), races):
        _draw_race(axis, race)
    for axis in axes.ravel()[len(races) :]:
        axis.set_axis_off()
    figure.supxlabel("seconds of fit")
    figure.supylabel("objective relative to the lowest of this start, less 1")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=3, frameon=False)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.9 / size[1]))
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path.name}")


def _draw_race(axis, race):
    first = {name: curves[0] for name, curves in race.curves.items()}
    first[OURS] = race.drawn
    del first[TIGHT]
    lowest = min(value for curve in first.values() for _, value in curve)
    for name, curve in first.items():
        seconds, values = zip(*curve)
        gaps = np.maximum(np.array(values) / lowest - 1.0, 1e-5)
        width = 2.4 if name == OURS else 1.2
        marker = "o" if name == OURS else None
        axis.loglog(seconds, gaps, lw=width, marker=marker, ms=4, label=name)
    axis.set_ylim(1e-5, 20)
    axis.set_title(race.problem.name, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
