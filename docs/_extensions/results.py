"""Directive `results`: a table that the benchmarks wrote, where there is one.

``.. results:: import`` shows the table of `benchmarks/results/import.md` below the
directive's own text, and nothing at all if the benchmarks were not run.
"""

from pathlib import Path

from sphinx.util.docutils import SphinxDirective


class Results(SphinxDirective):
    """Include a table of `benchmarks/results`; the content introduces it."""

    required_arguments = 1
    has_content = True

    def run(self):
        """Return the introduction, the table and the lines after it, or nothing."""
        folder = Path(self.env.srcdir, self.config.results_folder)
        path = (folder / f"{self.arguments[0]}.md").resolve()
        if not path.exists():
            return []
        self.env.note_dependency(str(path))
        lines = [line.strip() for line in path.read_text().splitlines()]
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in lines
            if line.startswith("|") and set(line) - set("|-: ")
        ]
        text = "\n".join([*self.content, "", *_table(rows)])
        return self.parse_text_to_nodes(text)


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
