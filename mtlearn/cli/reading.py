"""Tables in files: how they are written is found out, and they are read."""

import csv
import gzip
import os
import re
from pathlib import Path
from zipfile import BadZipFile

from ..problem.extras import need

_HEAD = 1 << 16  # bytes by which the style of a text is judged
_LINES = 200  # of them, at most
_SIGNS = (",", ";", "\t", "|")
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NOT_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+")
_POINT = re.compile(r"[+-]?\d*\.\d+")
_TIMES = 8  # memory of the work, over the size of the file
_PACKED = 5  # size of a text over that of its gzip file
_FREE = 4e9  # bytes, where the system does not tell
_LEAST_BATCH, _MOST_BATCH = 500, 200_000  # rows


def need_pandas():
    """pandas, or one sentence where it is not installed."""
    return need("pandas", "Reading a table needs", "examples")


def need_parquet():
    """pyarrow.parquet, or one sentence where it is not installed."""
    return need("pyarrow.parquet", "Parquet needs", "parquet")


def open_source(arguments):
    """The table of a command: a CSV, Excel or Parquet file.

    Parameters
    ----------
    arguments : Namespace
        With `file`, `sep`, `decimal`, `encoding` and `memory`.

    Returns
    -------
    Source
    """
    need_pandas()
    kinds = {".parquet": ParquetSource, ".xlsx": ExcelSource}
    kind = kinds.get(Path(arguments.file).suffix.lower(), TextSource)
    if kind is not TextSource:
        for option in ("sep", "decimal", "encoding"):
            if getattr(arguments, option) is not None:
                raise ValueError(f"--{option} goes with a text file such as .csv.")
    return kind(arguments.file, arguments)


class Source:
    """A table in a file.

    Attributes
    ----------
    path : str
    limit : float
        Bytes that the work may take.
    notes : list of str
        How it is read, where that is not plain.
    style : dict
        Keywords of pandas' `to_csv` by which a table is written likewise.
    """

    def __init__(self, path, arguments):
        os.stat(path)  # whether it is there
        self.path, self.notes, self.style = path, [], {}
        self.limit = arguments.memory or 0.5 * _free_memory()

    def share(self):
        """Which part of the rows fits into memory, 1 if all do."""
        return min(1.0, self.limit / max(_TIMES * self.size(), 1.0))

    def size(self):
        """Bytes of the table when it is read, about."""
        return os.path.getsize(self.path)

    def frame(self, task):
        """The whole table, with the column of ids as it is written."""
        return _not_empty(self.path, self._read(task))

    def batches(self, task):
        """Yield the table in pieces of some rows."""
        raise ValueError(
            f"{self.path} is larger than what memory may take, and a file of this kind "
            "is read as a whole: raise --memory, or store it as .csv or .parquet."
        )

    def _rows_at_once(self, row_bytes):
        most = 0.1 * self.limit / (_TIMES * max(row_bytes, 1.0))
        return int(min(max(most, _LEAST_BATCH), _MOST_BATCH))


class TextSource(Source):
    """Text with a header line and a sign between the columns."""

    def __init__(self, path, arguments):
        super().__init__(path, arguments)
        encoding = arguments.encoding or find_encoding(path)
        self.lines = _first_lines(path, encoding)
        sep = _sign(arguments.sep) or find_separator(self.lines)
        decimal = arguments.decimal or find_decimal(self.lines, sep)
        self._how = {"sep": sep, "decimal": decimal, "encoding": encoding}
        self.style = self._how
        plain = {"sep": ",", "decimal": ".", "encoding": "utf-8"}
        told = [
            word
            for word, one in (
                (f"{_spell(sep)} between columns", "sep"),
                ("decimal commas", "decimal"),
                (f"encoding {encoding}", "encoding"),
            )
            if self._how[one] != plain[one]
        ]
        if told:
            self.notes = [f"Read with {', '.join(told)}."]

    def size(self):
        """Bytes of the text, about."""
        size = os.path.getsize(self.path)
        return _PACKED * size if _is_packed(self.path) else size

    def _read(self, task, **more):
        pandas = need_pandas()
        try:
            return pandas.read_csv(
                self.path,
                dtype={} if task is None else {task: str},
                skipinitialspace=True,
                low_memory=False,
                **self._how,
                **more,
            )
        except (ValueError, LookupError) as error:  # empty, no table, or no text
            first = str(error).strip().partition("\n")[0]
            raise ValueError(f"{self.path} is no CSV table: {first}") from None

    def batches(self, task):
        """Yield the table in pieces of some rows."""
        row = sum(map(len, self.lines)) / max(len(self.lines), 1)
        with self._read(task, chunksize=self._rows_at_once(row)) as pieces:
            yield from pieces


class ParquetSource(Source):
    """A Parquet file."""

    def __init__(self, path, arguments):
        super().__init__(path, arguments)
        parquet = need_parquet()
        try:
            self._file = parquet.ParquetFile(path)
        except ValueError:  # Arrow's errors are of its kind
            raise ValueError(f"{path} is no Parquet file.") from None

    def size(self):
        """Bytes of the columns, unpacked."""
        about = self._file.metadata
        groups = map(about.row_group, range(about.num_row_groups))
        return sum(group.total_byte_size for group in groups)

    def _read(self, task):
        return self._file.read().to_pandas()

    def batches(self, task):
        """Yield the table in pieces of some rows."""
        row = self.size() / max(self._file.metadata.num_rows, 1)
        for batch in self._file.iter_batches(batch_size=self._rows_at_once(row)):
            yield batch.to_pandas()


class ExcelSource(Source):
    """The first sheet of an Excel file."""

    def share(self):
        """All rows: a sheet has no more than a million."""
        return 1.0

    def _read(self, task):
        pandas = need_pandas()
        need("openpyxl", "Excel files need", "excel")
        dtype = {} if task is None else {task: str}
        try:
            frame = pandas.read_excel(self.path, dtype=dtype, engine="openpyxl")
        except (ValueError, KeyError, BadZipFile):
            raise ValueError(f"{self.path} is no Excel file (.xlsx).") from None
        frame.columns = frame.columns.map(str)  # of numbers, too
        return frame


def _not_empty(path, frame):
    if not len(frame):
        raise ValueError(f"{path} has no rows below its header.")
    return frame


# ---------------------------------------------------------------- finding out


def _open(path):
    return gzip.open(path, "rb") if _is_packed(path) else open(path, "rb")


def _is_packed(path):
    return Path(path).suffix.lower() == ".gz"


def find_encoding(path):
    """The encoding of a text file: by its first bytes, or what all of them allow."""
    with _open(path) as file:
        head = file.read(_HEAD)
        for bom, encoding in _BOMS:
            if head.startswith(bom):
                return encoding
        if b"\x00" in head:
            raise ValueError(f"{path} is no CSV table: it does not hold text.")
        file.seek(0)
        pieces = iter(lambda: file.read(_HEAD << 4), b"")
        return _encoding_of(pieces)


def _encoding_of(pieces):
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8, western = True, True
    for piece in pieces:
        try:
            if utf8:
                decoder.decode(piece)
        except UnicodeDecodeError:
            utf8 = False
        western = western and not _NOT_CP1252.search(piece)
    return "utf-8" if utf8 else "cp1252" if western else "latin-1"


def _first_lines(path, encoding):
    with _open(path) as file:
        head = file.read(_HEAD)
        whole = len(head) < _HEAD
    try:
        lines = head.decode(encoding, errors="ignore").splitlines()
    except LookupError:
        raise ValueError(f"--encoding: there is no encoding {encoding!r}.") from None
    lines = lines if whole else lines[:-1]  # the last may be cut off
    return [line for line in lines[:_LINES] if line.strip()]


def find_separator(lines):
    """The sign that cuts most lines into as many cells as the header."""
    best = max(_SIGNS, key=lambda sign: _cuts(lines, sign))
    return best if _cuts(lines, best)[0] else ","


def _cuts(lines, sign):
    """Share of the lines with as many cells as the header, and how many these are."""
    if not lines:
        return 0.0, 0
    counts = [len(cells) for cells in csv.reader(lines, delimiter=sign)]
    if not counts or counts[0] < 2:
        return 0.0, 0
    return sum(n == counts[0] for n in counts) / len(counts), counts[0]


def find_decimal(lines, sep):
    """A comma, if more numbers have one than a point."""
    if sep == ",":
        return "."
    cells = [cell.strip() for row in csv.reader(lines, delimiter=sep) for cell in row]
    commas = sum(bool(_COMMA.fullmatch(cell)) for cell in cells)
    points = sum(bool(_POINT.fullmatch(cell)) for cell in cells)
    return "," if commas > points else "."


def _sign(given):
    """The separator that was asked for."""
    if given is None:
        return None
    sign = {"tab": "\t", "\\t": "\t"}.get(given.lower(), given)
    if len(sign) != 1:
        raise ValueError(f'--sep must be one sign, or "tab", got {given!r}.')
    return sign


def _spell(sign):
    return {"\t": "tabs", ";": "semicolons", "|": "bars"}.get(sign, repr(sign))


def _free_memory():
    """Bytes that are free, as far as the system tells."""
    names = getattr(os, "sysconf_names", {})
    if "SC_AVPHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return _FREE
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
