"""Directive `results`: the tables that the benchmarks wrote, where there are some.

``.. results:: import`` shows the tables of `benchmarks/results/import.md` below the
directive's own text, and nothing at all if the benchmarks were not run. With the
option ``:in-words:`` it shows what is said below the tables, under their headings.
"""

import re
from itertools import groupby
from pathlib import Path

from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


class Results(SphinxDirective):
    """Include the tables of `benchmarks/results`; the content introduces them."""

    required_arguments = 1
    has_content = True
    option_spec = {"in-words": directives.flag}

    def run(self):
        """Return the introduction and the tables, or nothing."""
        folder = Path(self.env.srcdir, self.config.results_folder)
        path = (folder / f"{self.arguments[0]}.md").resolve()
        if not path.exists():
            return []
        self.env.note_dependency(str(path))
        lines = [line.strip() for line in path.read_text().splitlines()]
        text = list(self.content)
        if "in-words" in self.options:
            return self.parse_text_to_nodes("\n".join([*text, *_in_words(lines)]))
        for is_table, block in groupby(lines, lambda line: line.startswith("|")):
            if is_table:
                text += ["", *_table([_cells(line) for line in block])]
        return self.parse_text_to_nodes("\n".join(text))


def _in_words(lines):
    """The points below each table, after its heading."""
    heading = ""
    for line in lines:
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("* "):
            yield from ["", f"{heading}:", ""] if heading else []
            yield line
            heading = ""


def _cells(line):
    """Cells of a line; a bar with a backslash before it is part of one."""
    cells = re.split(r"(?<!\\)\|", line[1:-1])
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _table(rows):
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in rows:
        if not set("".join(row)) - set("-: "):
            continue  # the line under the heads
        for place, cell in enumerate(row):
            yield f"   {' ' if place else '*'} - {cell}"


def setup(app):
    """Register the directive."""
    app.add_config_value("results_folder", "../benchmarks/results", "env")
    app.add_directive("results", Results)
    return {"parallel_read_safe": True}
