"""Directive `gallery-picture`: a picture of an example, where examples were run.

``.. gallery-picture:: plot_schools 1`` shows the first picture of that example and
links to it; in a build that does not run the gallery the link stands alone.
"""

from pathlib import Path

from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


class GalleryPicture(SphinxDirective):
    """Name of the example and number of its picture; the content is a caption."""

    required_arguments = 2
    has_content = True
    option_spec = {"alt": directives.unchanged_required}

    def run(self):
        """Return the figure, or a line with the link."""
        example, number = self.arguments
        image = f"/auto_gallery/images/sphx_glr_{example}_{int(number):03d}.png"
        if not Path(self.env.srcdir, image[1:]).exists():
            alt = self.options["alt"]
            text = f"(A picture: {alt}, in :doc:`/auto_gallery/{example}`.)"
            return self.parse_text_to_nodes(text)
        self.env.note_dependency(image[1:])
        target = self.env.app.builder.get_relative_uri(
            self.env.docname, f"auto_gallery/{example}"
        )
        lines = [f".. figure:: {image}", f"   :alt: {self.options['alt']}"]
        lines += [f"   :target: {target}", "", *(f"   {line}" for line in self.content)]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    """Register the directive."""
    app.add_directive("gallery-picture", GalleryPicture)
    return {"parallel_read_safe": True}
