"""Links from an estimator's picture in a notebook to its page of the documentation.

Where the documentation is, `[project.urls]` of pyproject.toml says under
"Documentation"; as long as it does not, there are no links.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata

_DISTRIBUTION = "scikit-multitask"


@cache
def documentation():
    """Address of the documentation, with a slash at its end; empty if there is none."""
    try:
        urls = metadata(_DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        urls = []
    for one in urls:
        name, _, url = one.partition(",")
        if name.strip().lower() == "documentation" and url.strip():
            return url.strip().rstrip("/") + "/"
    return ""


class DocLinks:
    """Adds to an estimator where scikit-learn's picture of it links to."""

    _doc_link_module = "mtlearn"

    @property
    def _doc_link_template(self):
        return documentation() + "generated/{page}.html"

    def _doc_link_url_param_generator(self):
        return {"page": self._page()}

    def _page(self):
        """Public name of the class, whose page is called so; None if it has none."""
        kind = type(self)
        for place in ("mtlearn", kind.__module__):
            public = getattr(import_module(place), kind.__name__, None) is kind
            if public and place.count(".") < 2 and not kind.__name__.startswith("_"):
                return f"{place}.{kind.__name__}"
        return None

    def _get_doc_link(self):
        ours = type(self).__module__.partition(".")[0] == self._doc_link_module
        linked = ours and documentation() and self._page()
        return super()._get_doc_link() if linked else ""
