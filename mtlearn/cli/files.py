"""Files that are written: whether they can be, before the work, and how."""

import os
from pathlib import Path

import numpy as np

from ..problem.extras import need
from .reading import need_pandas, need_parquet

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
TABLES = (".csv", ".parquet")
REPORTS = (".html", ".json", ".md")
_MODELS = (".joblib",)
ENDINGS = {
    "plot": PICTURES,
    "output": TABLES,
    "effects": (*TABLES, *PICTURES),
    "report": REPORTS,
    "save": _MODELS,
}


def check_paths(arguments):
    """Refuse what could not be written before the work is done, not after it."""
    given = {option: getattr(arguments, option, None) for option in ENDINGS}
    given = {option: path for option, path in given.items() if path is not None}
    for option, path in given.items():
        _check_path(f"--{option}", path, ENDINGS[option])
    pictures = [option for option, path in given.items() if is_picture(path)]
    if pictures:
        need("matplotlib", f"--{pictures[0]} needs", "plot")
    if any(Path(path).suffix.lower() == ".parquet" for path in given.values()):
        need_parquet()
    if str(given.get("report", "")).lower().endswith(".html"):
        need("jinja2", "A report in HTML needs", "report")
    whole = [Path(path).resolve() for path in given.values()]
    source = getattr(arguments, "file", None)
    if source is not None:
        whole.append(Path(source).resolve())
    twice = [path for path in whole if whole.count(path) > 1]
    if twice:
        raise ValueError(f"{twice[0].name} is named twice: each file needs its own.")


def _check_path(option, path, endings):
    folder = Path(path).parent
    if not folder.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {folder}.")
    old = Path(path)
    locked = old.exists() and not os.access(old, os.W_OK)
    if old.is_dir() or locked or not os.access(folder, os.W_OK):
        raise ValueError(f"{option} {path}: cannot write there.")
    if old.suffix.lower() not in endings:
        raise ValueError(
            f"{option} {path}: the name must end in one of {', '.join(endings)}."
        )


def is_picture(path):
    """Whether a name is that of a picture."""
    return Path(path).suffix.lower() in PICTURES


class TableWriter:
    """Writes a table in pieces, CSV or Parquet, which is there when it is whole.

    Parameters
    ----------
    path : str
    style : dict
        Keywords of pandas' `to_csv`: separator, decimal sign, encoding.
    """

    def __init__(self, path, style=None):
        need_pandas()
        self.path, self.style = Path(path), style or {}
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._writer = None
        self._started = False

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if self._writer is not None:
            self._writer.close()
        if error is None:
            os.replace(self._part, self.path)
        else:
            self._part.unlink(missing_ok=True)

    def write(self, frame):
        """Add rows."""
        if self._is_parquet:
            self._write_parquet(frame)
        else:
            how = {"mode": "a" if self._started else "w", "header": not self._started}
            frame.to_csv(self._part, index=False, **how, **self.style)
        self._started = True

    def legible(self, found):
        """What was found, for a text with six digits of each number.

        No more of them are known, and a reader has to look at all.
        """
        if self._is_parquet:
            return found
        found = found.copy(deep=False)
        for name in found.select_dtypes("floating").columns:
            values = found[name].to_numpy()
            short = np.array([float(f"{value:.6g}") for value in values])
            whole = np.all(short == np.rint(short))
            found[name] = short.astype(np.int64) if whole else short
        return found

    @property
    def _is_parquet(self):
        return self.path.suffix.lower() == ".parquet"

    def _write_parquet(self, frame):
        import pyarrow
        from pyarrow import parquet

        if self._writer is None:
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
            self._writer = parquet.ParquetWriter(self._part, table.schema)
        else:
            table = pyarrow.Table.from_pandas(
                frame, schema=self._writer.schema, preserve_index=False
            )
        self._writer.write_table(table)


def write_table(frame, path, style=None):
    """Write a whole table of what was found."""
    with TableWriter(path, style) as writer:
        writer.write(writer.legible(frame))
