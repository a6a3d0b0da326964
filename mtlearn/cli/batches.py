"""Files larger than memory: a sample of their rows, and all of them in a stream."""

from collections import Counter

import numpy as np

from ..compose.values import find_numbers
from .labels import Target, are_whole, find_target, read_ids
from .reading import need_pandas
from .table import Survey, check_columns, usable_rows

_LEAST_OF_TASK = 10  # rows of each task that a sample keeps, as far as there are
_SEED = 0


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
    for piece in source.batches(table.task):
        X, y = usable_rows(piece, table.target, table.task, table.whole_ids)
        if len(X):
            yield X, y
