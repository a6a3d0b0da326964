"""Where the documentation is: what `[project.urls]` says under "Documentation"."""

from functools import cache
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
