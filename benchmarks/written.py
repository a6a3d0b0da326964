"""Read back what the benchmarks wrote: tables of results, and what they ran on."""

import re
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Written:
    """A table of a results file: the heading above it, its columns, its rows."""

    heading: str
    head: list
    rows: list

    def records(self):
        """Every row by the names of the columns."""
        return [dict(zip(self.head, row)) for row in self.rows]


def contents(name):
    """All that `results/NAME.md` says."""
    return (RESULTS / f"{name}.md").read_text()


def tables(text):
    """All tables of a text, from the top to the bottom."""
    found, heading, block = [], "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            block.append(cells(line))
            continue
        if block:
            found.append(Written(heading, block[0], block[2:]))
        block = []
        if line.startswith("#"):
            heading = line.lstrip("# ")
    return found


def cells(line):
    """Cells of a line; a bar with a backslash before it is part of one."""
    parts = re.split(r"(?<!\\)\|", line.strip()[1:-1])
    return [part.strip().replace("\\|", "|") for part in parts]


def facts(name):
    """What `results/NAME.md` says of versions and machine."""
    lines = contents(name).splitlines()
    return [line for line in lines if line.startswith("numpy ")][-1]
