"""A table with its target and its tasks: what is used of it, and what was done."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..compose.tables import TablePreparer, nearest_name
from ..compose.values import is_missing
from ..problem.alike import likely_typos, tell_typos
from .labels import Target, are_whole, find_target, read_ids

_MOST_NAMED = 12


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
    if survey.unlabelled or survey.nameless:
        notes.append(
            f"Dropped: {survey.unlabelled:,} rows without a target, "
            f"{survey.nameless:,} without a task."
        )
    counts = survey.counts
    _check_tasks(source, task, counts)
    X, y = usable_rows(frame, target, task, survey.whole_ids)
    notes += [said] if (said := _typos(counts)) else []
    drop = [name for name in arguments.drop or [] if name in X.columns]
    chosen = {"features": arguments.features, "drop": drop, "categories": categories}
    preparer = TablePreparer(task, **chosen).fit(X)
    notes += preparer.describe()
    n_rows = sum(counts.values())
    return Table(X, y, source, task, target, preparer, survey.whole_ids, notes, n_rows)


def usable_rows(frame, target, task, whole_ids):
    """Rows with a label and an id: the columns but the target, and the labels."""
    y, labelled = target.read(frame[target.name])
    ids, known = read_ids(frame[task], whole_ids)
    kept = labelled & known
    X = frame.drop(columns=target.name)[kept].reset_index(drop=True)
    X[task] = ids[kept].astype(np.int64) if whole_ids else ids[kept]
    return X, y[kept]


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
