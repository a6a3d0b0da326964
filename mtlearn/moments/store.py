"""Files of moments: NumPy's archives of arrays, without pickles."""

import datetime
import json

import numpy as np

from ..problem.ids import shorten

_VERSION = 1
_DATES = {"date": datetime.date, "datetime": datetime.datetime}


def save_arrays(path, arrays, *, tasks, layout, columns, task_column, origin):
    """Write numbers, ids and names.

    Parameters
    ----------
    path : str, path or file
    arrays : dict of numeric arrays
    tasks : ndarray of shape (n_tasks,)
    layout : str
    columns : ndarray of str, or None
    task_column : int or None
    origin : (columns, task_column) or None
    """
    kind, tasks = _plain(tasks)
    about = {
        "version": _VERSION,
        "ids": kind,
        "layout": layout,
        "columns": _listed(columns),
        "task_column": task_column,
        "origin": None if origin is None else [_listed(origin[0]), origin[1]],
    }
    everything = {**arrays, "tasks": tasks, "about": np.array(json.dumps(about))}
    if hasattr(path, "write"):
        np.savez(path, **everything)
        return
    # an open file, as NumPy would add an ending to a name
    with open(path, "wb") as file:
        np.savez(file, **everything)


def load_arrays(path, names, more=()):
    """Read what `save_arrays` has written: a dict of its keywords and its arrays.

    Those named in `more` need not be there.
    """
    with np.load(path, allow_pickle=False) as file:
        if "about" not in file or not {*names, "tasks"} <= {*file.files}:
            raise ValueError(f"{path!r} holds no moments of tasks.")
        about = json.loads(str(file["about"]))
        if about["version"] > _VERSION:
            raise ValueError(
                f"{path!r} was written by a newer version of mtlearn: expected format "
                f"{_VERSION}, got {about['version']}."
            )
        there = [name for name in more if name in file]
        found = {name: file[name] for name in (*names, *there)}
        tasks = file["tasks"]
    found["tasks"] = _as_ids(about["ids"], tasks)
    found["layout"], found["task_column"] = about["layout"], about["task_column"]
    found["columns"] = _as_names(about["columns"])
    origin = about["origin"]
    found["origin"] = None if origin is None else (_as_names(origin[0]), origin[1])
    return found


def _listed(names):
    return None if names is None else names.tolist()


def _as_names(names):
    return None if names is None else np.array(names, dtype=object)


def _plain(tasks):
    """Ids as an array that needs no pickle, and what they are."""
    if tasks.dtype.kind != "O":
        return "plain", tasks
    for kind, date in _DATES.items():
        if all(type(one) is date for one in tasks):
            return kind, np.array([one.isoformat() for one in tasks], dtype=str)
    other = [one for one in tasks if not isinstance(one, str)]
    if other:
        raise TypeError(
            "Ids in a file must be strings, integers or dates, got "
            f"{shorten(other, 3)} of type {type(other[0]).__name__}."
        )
    return "plain", tasks.astype(str)


def _as_ids(kind, tasks):
    if kind == "plain":
        return tasks
    ids = np.empty(len(tasks), dtype=object)
    ids[:] = [_DATES[kind].fromisoformat(one) for one in tasks.tolist()]
    return ids
