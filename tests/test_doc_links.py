"""Pictures of estimators link to their pages, once it is known where these are."""

import re
from email.message import Message
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from cases import ESTIMATORS
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from mtlearn import BestSharing, PerTaskRegressor, TaskConformal
from mtlearn.compose import FeaturesOnly
from mtlearn.fitting import doc_links
from mtlearn.problem import documentation

API = (Path(__file__).parents[1] / "docs" / "api.rst").read_text()


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setattr(doc_links, "documentation", lambda: "https://docs.test/v1/")


def listed(name):
    """Whether a name stands in the API's pages, in the module before it."""
    module, _, last = name.rpartition(".")
    after = API.split(f".. currentmodule:: {module}\n")[1:]
    blocks = [one.split(".. currentmodule::")[0] for one in after]
    return any(re.search(rf"^   {last}$", one, re.MULTILINE) for one in blocks)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "model",
    [
        *(estimator() for estimator in ESTIMATORS),
        BestSharing(),
        TaskConformal(),
        FeaturesOnly("passthrough", 0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_public_estimator_links_to_its_page(model):
    link = model._get_doc_link()
    page = re.fullmatch(r"https://docs\.test/v1/generated/(mtlearn[\w.]*)\.html", link)
    assert page and listed(page[1])
    assert link in estimator_html_repr(model) and link in model._repr_html_()


@pytest.mark.usefixtures("published")
def test_in_a_pipeline_with_others():
    picture = estimator_html_repr(make_pipeline(LinearRegression(), PerTaskRegressor()))
    assert "https://docs.test/v1/generated/mtlearn.PerTaskRegressor.html" in picture
    assert "sklearn.linear_model.LinearRegression.html" in picture


@pytest.mark.usefixtures("published")
def test_what_has_no_page_has_no_link():
    class Mine(PerTaskRegressor):
        pass

    assert Mine()._get_doc_link() == ""
    Mine.__module__ = "mtlearn.per_task"
    assert Mine()._get_doc_link() == ""


def test_no_address_no_link(monkeypatch):
    monkeypatch.setattr(doc_links, "documentation", lambda: "")
    assert PerTaskRegressor()._get_doc_link() == ""
    picture = estimator_html_repr(PerTaskRegressor())
    assert "generated/" not in picture and "PerTaskRegressor" in picture


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([], ""),
        (["Source, https://code.test"], ""),
        (["Source, https://code.test", "Documentation, https://a.test/b"], "a.test/b/"),
        (["documentation, https://a.test/"], "a.test/"),
        (None, ""),
    ],
)
def test_where_the_address_comes_from(monkeypatch, urls, expected):
    def metadata(name):
        assert name == "scikit-multitask"
        if urls is None:
            raise PackageNotFoundError(name)
        message = Message()
        for url in urls:
            message["Project-URL"] = url
        return message

    monkeypatch.setattr(documentation, "metadata", metadata)
    found = documentation.documentation.__wrapped__()
    assert found == (f"https://{expected}" if expected else "")
