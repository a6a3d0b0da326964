"""Directive `report-page`: a script of docs/code that makes a report, and its page."""

import runpy
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

CODE = Path(__file__).resolve().parents[1] / "code"


class ReportPage(Directive):
    """Run the script, and show the report in a frame."""

    required_arguments = 1

    def run(self):
        path = CODE / self.arguments[0]
        self.state.document.settings.env.note_dependency(str(path))
        report = runpy.run_path(str(path))["report"]
        return [nodes.raw("", report._repr_html_(), format="html")]


def setup(app):
    """Register the directive."""
    app.add_directive("report-page", ReportPage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
