"""What a new process waits for: the import, and the first fit of every estimator."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from races import Run
from report import Table

import mtlearn

TITLE = "Import and first fit"
NOTE = """\
Seconds of processor time in fresh processes. The first fit is one of a small problem
(300 rows of seven tasks), the import not included: with an empty cache, where all that
it needs is compiled (one run), and with the compiled code on disk. The imports and the
latter are medians over repeats that take turns.
"""

CHECKOUT = str(Path(mtlearn.__file__).parents[1])
OURS, PEERS = "import mtlearn", "import sklearn.linear_model, numba"
WAYS = {"SharedFeatureRegressor": ('penalty="l21"', 'penalty="rank"')}
TIMED = """{}
import time
start = time.process_time()
{}
print(time.process_time() - start)
"""
DATA = """
import numpy as np
from sklearn.base import is_classifier
from mtlearn import {}

rng = np.random.default_rng(0)
X, task = rng.standard_normal((300, 5)), np.arange(300) % 7
model = {}
y = (X[:, 0] > 0.0) if is_classifier(model) else X[:, 0]"""


@dataclass(frozen=True)
class Script:
    """A line that is timed in a process of its own."""

    name: str
    before: str
    line: str

    def run(self, **environment):
        """Seconds of the line."""
        script = TIMED.format(self.before, self.line)
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", script],
            env=os.environ | {"PYTHONPATH": CHECKOUT} | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)


def problems(quick=False):
    """The makers of the imports, and of the estimators' first fits."""
    makers = {line: partial(Script, line, "", line) for line in (OURS, PEERS)}
    names = [n for n in mtlearn.__all__ if hasattr(getattr(mtlearn, n), "fit")]
    for name in names[: 2 if quick else None]:
        for settings in WAYS.get(name, ("",)):
            model = f"{name}({settings})"
            title, before = model.removesuffix("()"), DATA.format(name, model)
            maker = partial(Script, title, before, "model.fit(X, y, task=task)")
            makers[title] = maker
    return makers


def ours(script):
    """Run a script with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        return Run(script.run(NUMBA_CACHE_DIR=folder), None)


def tables(problems, args):
    """Time the imports, and every first fit with a cold and with a warm cache."""
    scripts = list(problems)
    for script in scripts:
        script.run()  # fills the caches
    turns = [[script.run() for script in scripts] for _ in range(args.repeats)]
    warms = {own.name: median(spent) for own, spent in zip(scripts, zip(*turns))}
    imports = Table(["what", "seconds"])
    for script in scripts:
        if not script.before:
            imports.add(script.name, f"{warms[script.name]:.3f}")
    if {OURS, PEERS} <= warms.keys():
        ratio = warms[OURS] / warms[PEERS]
        imports.say(f"The first import takes {ratio:.2f} times the second.")
    yield imports
    fits = Table(["first fit", "cold cache", "compiled code on disk"])
    for script in scripts:
        if script.before:
            cold, warm = ours(script).seconds, warms[script.name]
            fits.add(script.name, f"{cold:.1f}", f"{warm:.2f}")
    yield fits
