"""Run a benchmark: `python benchmarks/run.py svm` runs svm.py, and so on."""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

import data
import paired
import races
import report
from threadpoolctl import threadpool_limits

SHARED = ("data", "paired", "peers", "races", "readme", "report", "run")
SHARED += ("contenders", "grouped")


def names():
    """The benchmarks there are."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(n for n in found if n not in SHARED and not n.startswith("mapping_"))


def parse():
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=names())
    parser.add_argument("--quick", action="store_true", help="fewer, smaller problems")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--problem", metavar="NAME", help="only those with this name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cap", type=float, default=30.0, help="seconds of one fit")
    parser.add_argument("--output", type=Path, default=report.RESULTS, metavar="FOLDER")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="time our fits in turns with those of another checkout, and write nothing",
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    """Run what the command line asks for."""
    args = parse()
    if args.threads > 1:
        races.clock = time.perf_counter
    if not args.serve:  # else the checkout is that of PYTHONPATH
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    benchmark = import_module(args.what)
    makers = data.asked(benchmark.problems(args.quick), args.problem)
    with threadpool_limits(args.threads):
        if args.serve:
            paired.serve(benchmark, makers)
        elif args.against:
            paired.against(args, makers)
        else:
            tables = [t for t in benchmark.tables(data.made(makers), args) if t.rows]
            if tables:
                report.write(benchmark, tables, args)


if __name__ == "__main__":
    main()
