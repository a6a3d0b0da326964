"""Directive `results`: the tables that the benchmarks wrote, where there are some.

``.. results:: import`` shows the tables of `benchmarks/results/import.md` below the
directive's own text, and nothing at all if the benchmarks were not run. With the
option ``:in-words:`` it shows what is said below the tables, under their headings;
with ``:below: HEADING`` only the table below that heading.
"""

from pathlib import Path

from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective
from written import tables


class Results(SphinxDirective):
    """Include the tables of `benchmarks/results`; the content introduces them."""

    required_arguments = 1
    has_content = True
    option_spec = {"in-words": directives.flag, "below": directives.unchanged}

    def run(self):
        """Return the introduction and the tables, or nothing."""
        folder = Path(self.env.srcdir, self.config.results_folder)
        path = (folder / f"{self.arguments[0]}.md").resolve()
        if not path.exists():
            return []
        self.env.note_dependency(str(path))
        text, written = list(self.content), path.read_text()
        if "in-words" in self.options:
            text += _in_words(written.splitlines())
            return self.parse_text_to_nodes("\n".join(text))
        for table in tables(written):
            if self.options.get("below", table.heading) == table.heading:
                text += ["", *_table([table.head, *table.rows])]
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


def _table(rows):
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in rows:
        for place, cell in enumerate(row):
            yield f"   {' ' if place else '*'} - {cell}"


def setup(app):
    """Register the directive."""
    app.add_config_value("results_folder", "../benchmarks/results", "env")
    app.add_directive("results", Results)
    return {"parallel_read_safe": True}
