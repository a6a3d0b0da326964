"""The command line: its words, and how a command ends."""

import argparse
import os
import re
import sys

from . import commands
from .files import PICTURES, REPORTS, TABLES
from .models import MODELS

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def main(argv=None):
    """Run the command.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0, or 2 after one sentence on stderr.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(argv)
    arguments.given = argv
    try:
        arguments.run(arguments)
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, ImportError) as error:
        print(f"mtlearn: {_one_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _one_sentence(error):
    """The first line of an error's message, with the name of the file if it has one."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error).strip().partition("\n")[0] or type(error).__name__


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line."""

    def error(self, message):
        self.exit(2, f"mtlearn: {message} (see {self.prog} --help)\n")


def _parser():
    parser = _Parser(
        prog="python -m mtlearn",
        description="Many related prediction problems, learned together: "
        "from a file to predictions.",
    )
    of = parser.add_subparsers(metavar="command", required=True)
    _add_compare(of)
    _add_fit(of)
    _add_predict(of)
    _add_report(of)
    return parser


# ---------------------------------------------------------------- the commands


def _add_compare(of):
    command = of.add_parser(
        "compare",
        help="does learning my tasks together help, and for which of them?",
        description=(
            "Does learning my tasks together help, and for which of them? Fits several "
            "models (together in three ways, one model for all, the same with an "
            "offset per task, each task alone), chooses what there is to choose inside "
            "the training folds, and scores them on held-out rows. Without a FILE: on "
            "the exam results of 4,059 pupils of 65 London schools."
        ),
        epilog="example: python -m mtlearn compare pupils.csv --target score "
        "--task school --save pupils.joblib --plot gain.png",
    )
    command.add_argument(
        "file", nargs="?", metavar="FILE", help="a table: .csv, .xlsx or .parquet"
    )
    _add_columns(command)
    add = command.add_argument_group("results").add_argument
    add("--save", metavar="MODEL.joblib", help="keep the recommended model")
    add("--plot", metavar="FILE.png", help=f"what each task gains ({_or(PICTURES)})")
    add("--output", metavar="FILE.csv", help="the table with a row per task")
    _add_results(add)
    _add_reading(command)
    command.set_defaults(run=commands.compare)


def _add_fit(of):
    command = of.add_parser(
        "fit",
        help="learn a model from all rows, and keep it",
        description="Learn a model from all rows, without a comparison, and keep it.",
        epilog="example: python -m mtlearn fit pupils.csv --target score "
        "--task school --save pupils.joblib",
    )
    command.add_argument("file", metavar="FILE", help="a table with a header line")
    _add_columns(command)
    add = command.add_argument_group("results").add_argument
    add("--save", metavar="MODEL.joblib", required=True, help="where the model is kept")
    add(
        "--model",
        choices=MODELS,
        default="additive",
        help="additive: curves, with strengths of sharing that are learned (default); "
        "bayesian: the same with straight lines; pertask: one strength, chosen by "
        "cross-validation",
    )
    _add_results(add)
    _add_reading(command)
    command.set_defaults(run=commands.fit)


def _add_predict(of):
    command = of.add_parser(
        "predict",
        help="predict the rows of a file with a model that was kept",
        description="Predict the rows of a file with a model that was kept. Load no "
        "model from somebody whom you do not trust: it may hold any program.",
        epilog="example: python -m mtlearn predict pupils.joblib new.csv "
        "--output predicted.csv",
    )
    add = command.add_argument
    add("model", metavar="MODEL.joblib", help="what --save has written")
    add("file", metavar="FILE", help="a table with the columns of the fit")
    add(
        "--output",
        metavar="FILE.csv",
        required=True,
        help="all columns of FILE, and the predictions",
    )
    add(
        "--coverage",
        type=_share,
        default=0.9,
        metavar="SHARE",
        help="of the intervals of a learned model (default 0.9)",
    )
    _add_reading(command)
    command.set_defaults(run=commands.predict)


def _add_report(of):
    command = of.add_parser(
        "report",
        help="write a report on a model that was kept",
        description="Write a report on a model that was kept.",
        epilog="example: python -m mtlearn report pupils.joblib pupils.html",
    )
    command.add_argument("model", metavar="MODEL.joblib")
    command.add_argument("report", metavar="FILE.html", help=_or(REPORTS))
    command.set_defaults(run=commands.report)


# ---------------------------------------------------------------- their options


def _add_columns(command):
    add = command.add_argument_group("columns").add_argument
    add("--target", metavar="COLUMN", help="the column to predict")
    add("--task", metavar="COLUMN", help="the column that names each row's task")
    add(
        "--features",
        type=_names,
        metavar="COLUMNS",
        help="the columns to predict from, with commas between them (default: all that "
        "say something)",
    )
    add(
        "--drop",
        type=_names,
        metavar="COLUMNS",
        help="columns to leave out, with commas between them",
    )
    add(
        "--classify",
        action="store_true",
        help="treat a numeric target as classes (text, and numbers of two values, are)",
    )


def _add_results(add):
    add("--report", metavar="FILE.html", help=f"a report ({_or(REPORTS)})")
    add(
        "--effects",
        metavar="FILE.csv",
        help="which tasks are higher or lower than their rows explain, with intervals: "
        f"a table ({_or(TABLES)}) or a picture ({_or(PICTURES)})",
    )


def _add_reading(command):
    add = command.add_argument_group("reading (found out, if not given)").add_argument
    add("--sep", metavar="SIGN", help='between the columns: ",", ";", "tab"')
    add("--decimal", choices=(".", ","), help="in numbers")
    add("--encoding", metavar="NAME", help="of the text, such as utf-8 or cp1252")
    add(
        "--memory",
        type=_bytes,
        metavar="SIZE",
        help="what the work may take, such as 2GB (default: half of what is free); "
        "larger tables are read in batches",
    )


def _or(endings):
    return ", ".join(endings)


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _bytes(text):
    found = re.fullmatch(r"([\d.]+)\s*([kmgt]?)i?b?", text.strip().lower())
    size = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not size > 0:
        raise argparse.ArgumentTypeError(f"expected a size such as 2GB, got {text!r}")
    return size


def _share(text):
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 1), got {text}")
    return share
