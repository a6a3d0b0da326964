"""Formulas as MathML, which browsers draw by themselves: no script, no network."""

import re

from docutils import nodes
from latex2mathml.converter import convert


def _markup(node, display):
    """MathML of a formula; a command that was not understood is an error."""
    source = node.astext().strip()
    markup = convert(source, display=display)
    if unknown := re.findall(r"\\[A-Za-z]+", markup):
        raise ValueError(f"no MathML for {unknown} in the formula {source!r}")
    return markup


def visit_inline(self, node):
    """A formula in a line."""
    self.body.append(_markup(node, "inline"))
    raise nodes.SkipNode


def visit_block(self, node):
    """A formula by itself; it scrolls where the window is narrower."""
    self.body.append(f'<div class="formula">{_markup(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
