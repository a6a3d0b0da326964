"""Links from an estimator's picture in a notebook to its page of the documentation."""

from importlib import import_module

from ..problem.documentation import documentation


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
        for place in ("mtlearn", ".".join(kind.__module__.split(".")[:2])):
            public = getattr(import_module(place), kind.__name__, None) is kind
            if public and not kind.__name__.startswith("_"):
                return f"{place}.{kind.__name__}"
        return None

    def _get_doc_link(self):
        ours = type(self).__module__.partition(".")[0] == self._doc_link_module
        linked = ours and documentation() and self._page()
        return super()._get_doc_link() if linked else ""
