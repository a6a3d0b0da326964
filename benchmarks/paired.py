"""Our fits in this and in another checkout, in turns within one run.

A process for each version has this folder's problems and the package of its checkout.
What it is asked comes as one line, a problem's name or nothing for another turn; what
it answers is a line of seconds.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
LEAST, MOST = 3, 40  # rounds
ENOUGH = 2.0  # seconds of our fits on one problem; fast ones have more rounds
TURN = 0.05  # seconds of a turn, in which fast fits are repeated
NOTABLE = 0.05  # a ratio this far from one is marked


def against(args, makers):
    """Print the ratio of the median seconds, of every problem in `makers`."""
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(_Version(checkout.resolve()))
            for checkout in (HERE.parent, args.against)
        ]
        print("| problem | here | there | here / there | |\n|---|---:|---:|---:|---|")
        for name in makers:
            if None in [side.seconds(name) for side in sides]:  # compiles
                continue
            here, there = map(median, zip(*_rounds(sides, max(LEAST, args.repeats))))
            mark = "" if abs(here / there - 1.0) <= NOTABLE else "beyond 5 %"
            row = f"| {name} | {here:.4f} | {there:.4f} | {here / there:.3f} | {mark} |"
            print(row, flush=True)


def _rounds(sides, least):
    """Seconds of both sides in every round, each of them first in every other one."""
    rounds, start = [], time.perf_counter()
    while len(rounds) < least or (
        time.perf_counter() - start < 2 * ENOUGH and len(rounds) < MOST
    ):
        first = len(rounds) % 2
        spent = [side.seconds() for side in (sides[first], sides[1 - first])]
        rounds.append(spent[::-1] if first else spent)
    return rounds


class _Version:
    """A process that fits with the package of one checkout."""

    def __init__(self, checkout):
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv, "--serve"],
            env=os.environ | {"PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = Path(self.process.stdout.readline().strip())
        if not found.is_relative_to(checkout):
            raise RuntimeError(f"no package in {checkout}: found {found}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def seconds(self, name=""):
        """Seconds of a turn on a problem, or on the last one; None: left out."""
        print(name, file=self.process.stdin, flush=True)
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError(f"the process for {name!r} ended")
        return float(told) if told.strip() else None


def serve(benchmark, makers):
    """Answer the questions of `_Version`."""
    import mtlearn

    answers, problem = sys.stdout, None
    with contextlib.redirect_stdout(sys.stderr):
        print(mtlearn.__file__, file=answers, flush=True)
        for name in map(str.strip, sys.stdin):
            try:
                problem = makers[name]() if name else problem
                told = _turn(benchmark.ours, problem)
            except FileNotFoundError as reason:
                print(f"{name}: left out, {reason}")
                told = ""
            print(told, file=answers, flush=True)


def _turn(ours, problem):
    """Seconds of the fastest fit among those of one turn."""
    spent = [ours(problem).seconds]
    while sum(spent) < TURN and len(spent) < 50:
        spent.append(ours(problem).seconds)
    return min(spent)
