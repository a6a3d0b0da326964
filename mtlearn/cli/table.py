"""A table with its target and its tasks: what is used of it, and what was done."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..compose.columns import Numbers, find_numbers, is_missing, is_number, texts
from ..compose.tables import TablePreparer, nearest_name
from ..problem.alike import likely_typos, tell_typos
from .reading import need_pandas

_MOST_CLASSES = 20
_MOST_NAMED = 12
_LEAST_OF_TASK = 10  # rows of each task that a sample keeps, as far as there are
_SEED = 0


# ---------------------------------------------------------------- target and ids


@dataclass(frozen=True)
class Target:
    """How the labels are read.

    Attributes
    ----------
    name : str
    numbers : Numbers or None
        None where they are texts.
    classes : bool
    """

    name: str
    numbers: Numbers | None
    classes: bool

    def read(self, column):
        """Labels, and which rows have one."""
        if self.numbers is None:
            said, known = texts(column)
            labels = np.full(len(column), "", dtype=object)
            labels[known] = said
            return labels, known
        values, _ = self.numbers.read(column)
        if np.isinf(values).any():
            raise ValueError(f"The target {self.name!r} has infinite values.")
        known = ~np.isnan(values)
        if self.classes and np.all(values[known] == np.rint(values[known])):
            return np.where(known, values, 0).astype(np.int64), known
        return values, known


def find_target(column, classify):
    """Decide whether a column holds numbers or classes.

    Parameters
    ----------
    column : Series
    classify : bool
        Whether the user asks for classes.

    Returns
    -------
    Target
    """
    numbers = find_numbers(column)
    if column.dtype == bool or set(map(str.casefold, set(texts(column)[0]))) <= {
        "true",
        "false",
    }:
        numbers = None
    labels, known = Target(column.name, numbers, False).read(column)
    values = np.unique(labels[known])
    if len(values) < 2:
        held = f"{values[0]!s} in every row" if len(values) else "empty"
        raise ValueError(
            f"The target {column.name!r} is {held}: there is nothing to learn."
        )
    number = numbers is not None
    two = len(values) == 2 and (not number or bool(np.all(values == np.rint(values))))
    if number and not classify and not two:
        return Target(column.name, numbers, False)
    if len(values) > _MOST_CLASSES:
        why = "--classify asks for classes" if number else "it is not numeric"
        raise ValueError(
            f"The target {column.name!r} cannot be used: {why}, but it has "
            f"{len(values):,} different values, such as {values[0]!s}."
        )
    return Target(column.name, numbers, True)


def are_whole(column):
    """Whether all ids are whole numbers, written without zeros before them."""
    if is_number(column):
        values = column.dropna().astype(float)
        return bool((values == values.round()).all())
    return all(_is_whole(text) for text in set(texts(column)[0]))


def _is_whole(text):
    head, point, tail = text.lstrip("-").partition(".")
    plain = head.isascii() and head.isdigit() and (head == "0" or head[0] != "0")
    return plain and not (tail.strip("0") if point else "") and len(head) < 18


def read_ids(column, whole):
    """Ids of one kind: whole numbers, or texts; and which rows have one.

    An id that is no whole number where the others are stays a text.
    """
    said, known = texts(column)
    if whole:
        said = [
            int(text.partition(".")[0]) if _is_whole(text) else text for text in said
        ]
    ids = np.full(len(column), None, dtype=object)
    ids[known] = said
    return ids, known


# ---------------------------------------------------------------- the table


@dataclass
class Table:
    """A table ready to be fitted, and what was done to it.

    Attributes
    ----------
    X : DataFrame
        The task column and the features, as they were read.
    y : ndarray
    source : str
    task : str
    target : Target
    preparer : TablePreparer
        Fitted to all of X.
    whole_ids : bool
    notes : list of str
        Sentences for the user.
    n_rows : int
        Of the table, where X is a sample; else those of X.
    """

    X: object
    y: np.ndarray
    source: str
    task: str
    target: Target
    preparer: TablePreparer
    whole_ids: bool
    notes: list = field(default_factory=list)
    n_rows: int = 0

    def describe(self):
        """Sentences about the data and what was done to them."""
        kind = "a number"
        if self.target.classes:
            kind = f"{len(np.unique(self.y))} classes"
        features = len(self.preparer.features_)
        first = (
            f"{self.source}: {self.n_rows:,} rows, {self.X[self.task].nunique():,} "
            f"tasks ({self.task}), {features} features; the target is "
            f"{self.target.name} ({kind})."
        )
        return [first, *self.notes]

    def make_preparer(self, categories=None):
        """The first step of a pipeline, with the features that were decided upon."""
        return TablePreparer(
            self.task,
            features=self.preparer.features_,
            categories=categories or self.preparer.categories,
        )


def check_columns(frame, arguments):
    """Refuse names of columns that are none; they are those of the first rows."""
    columns = [str(name) for name in frame.columns]
    there = _listed(columns)
    if arguments.target is None or arguments.task is None:
        raise ValueError(
            f"{arguments.file}: name the columns with --target and --task; there are "
            f"{there}."
        )
    given = [("target", [arguments.target]), ("task", [arguments.task])]
    given += [("features", arguments.features or []), ("drop", arguments.drop or [])]
    for option, names in given:
        for name in names:
            if name in columns:
                continue
            meant = nearest_name(name, columns)
            hint = "" if meant is None else f"; did you mean {meant!r}?"
            raise ValueError(
                f"{arguments.file} has no column {name!r} (--{option}){hint or ';'} "
                f"{'T' if hint else 't'}here are {there}."
            )
    if arguments.target == arguments.task:
        raise ValueError("--target and --task name the same column.")
    for option in ("features", "drop"):
        for role in ("target", "task"):
            if getattr(arguments, role) in (getattr(arguments, option) or []):
                raise ValueError(
                    f"--{option} names {getattr(arguments, role)!r}, which is the "
                    f"--{role}."
                )


def make_table(frame, source, arguments, survey=None, categories="onehot"):
    """Decide on target, ids and features, drop what has none, say what was done.

    Parameters
    ----------
    frame : DataFrame
        All rows, or a sample of them.
    source : str
        Name of the file.
    arguments : Namespace
        With `target`, `task`, `classify`, `features` and `drop`.
    survey : Survey, default=None
        What all rows have shown, where the frame is a sample.
    categories : {"keep", "onehot"}, default="onehot"
        What the model takes.

    Returns
    -------
    Table
    """
    survey = survey or _survey_of(frame, arguments)
    target, task, notes = survey.target, arguments.task, []
    y, labelled = target.read(frame[target.name])
    ids, known = read_ids(frame[task], survey.whole_ids)
    if survey.unlabelled or survey.nameless:
        notes.append(
            f"Dropped: {survey.unlabelled:,} rows without a target, "
            f"{survey.nameless:,} without a task."
        )
    counts = survey.counts
    _check_tasks(source, task, counts)
    kept = labelled & known
    X = frame.drop(columns=target.name)[kept].reset_index(drop=True)
    X[task] = ids[kept].astype(np.int64) if survey.whole_ids else ids[kept]
    notes += [said] if (said := _typos(counts)) else []
    drop = [name for name in arguments.drop or [] if name in X.columns]
    chosen = {"features": arguments.features, "drop": drop, "categories": categories}
    preparer = TablePreparer(task, **chosen).fit(X)
    notes += preparer.describe()
    n_rows = sum(counts.values())
    return Table(
        X, y[kept], source, task, target, preparer, survey.whole_ids, notes, n_rows
    )


def _typos(counts):
    return tell_typos(likely_typos(list(counts), list(counts.values())))


def _check_tasks(source, task, counts):
    if len(counts) < 2:
        raise ValueError(
            f"{source}: the column {task!r} names {len(counts)} task; at least two are "
            "needed to compare."
        )
    if len(counts) == sum(counts.values()):
        raise ValueError(
            f"{source}: the column {task!r} has another value in every row and cannot "
            "be the task, which has several rows."
        )


def _listed(names):
    names = list(names)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


# ---------------------------------------------------------------- all rows, once


@dataclass
class Survey:
    """What all rows have shown.

    Attributes
    ----------
    target : Target
    whole_ids : bool
    counts : dict
        Rows of each task, by its id.
    unlabelled, nameless : int
        Rows without a target, and others without a task.
    """

    target: Target
    whole_ids: bool
    counts: dict
    unlabelled: int
    nameless: int


def _survey_of(frame, arguments):
    target = find_target(frame[arguments.target], arguments.classify)
    labelled = target.read(frame[target.name])[1]
    column = frame[arguments.task]
    known = ~is_missing(column)
    whole = are_whole(column[labelled & known])
    ids, _ = read_ids(column[labelled & known], whole)
    counts = Counter(ids.tolist())
    return Survey(
        target,
        whole,
        dict(counts),
        int((~labelled).sum()),
        int((labelled & ~known).sum()),
    )


def sample_rows(source, arguments):
    """Read all rows once, keep a random part of them, count the rest.

    Parameters
    ----------
    source : Source
        That is larger than memory.
    arguments : Namespace

    Returns
    -------
    frame : DataFrame
        Rows drawn at random, and the first ten of each task.
    survey : Survey
    """
    rng, share = np.random.default_rng(_SEED), source.share()
    kept, counts = [], Counter()
    unlabelled = nameless = 0
    target, whole = None, True
    for piece in source.batches(arguments.task):
        if target is None:
            check_columns(piece, arguments)
            numbers = find_numbers(piece[arguments.target])
            target = Target(arguments.target, numbers, False)
        labelled = target.read(piece[target.name])[1]
        ids, known = read_ids(piece[arguments.task], whole=False)
        both = labelled & known
        unlabelled += int((~labelled).sum())
        nameless += int((labelled & ~known).sum())
        piece, ids = piece[both], ids[both]
        whole = whole and are_whole(piece[arguments.task])
        drawn = rng.random(len(piece)) < share
        drawn |= _number_in_task(ids, counts) < _LEAST_OF_TASK
        counts.update(ids.tolist())
        kept.append(piece[drawn])
    frame = need_pandas().concat(kept, ignore_index=True)
    target = find_target(frame[arguments.target], arguments.classify)
    if whole:
        counts = Counter({int(id.partition(".")[0]): n for id, n in counts.items()})
    return frame, Survey(target, whole, dict(counts), unlabelled, nameless)


def _number_in_task(ids, before):
    """How many rows of its task come before each row."""
    pandas = need_pandas()
    ids = pandas.Series(ids, dtype=object)
    seen = np.array([before[id] for id in ids], dtype=int)
    return seen + ids.groupby(ids).cumcount().to_numpy()


def stream(source, table):
    """Yield all rows in pieces (X, y), as the `Table` of a sample reads them."""
    target, task = table.target, table.task
    for piece in source.batches(task):
        y, labelled = target.read(piece[target.name])
        ids, known = read_ids(piece[task], table.whole_ids)
        kept = labelled & known
        X = piece.drop(columns=target.name)[kept].reset_index(drop=True)
        X[task] = ids[kept].astype(np.int64) if table.whole_ids else ids[kept]
        yield X, y[kept]
