"""The documentation's links lead somewhere, and its pages need no network."""

import re
from pathlib import Path

import pytest

import mtlearn

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [*DOCS.glob("*.rst"), *(DOCS / "guide").glob("*.rst")]
PAGES = [path for path in PAGES if not path.name.startswith("sg_")]  # the gallery's
EXAMPLES = list((DOCS / "gallery").glob("plot_*.py"))
TEXTS = {path: path.read_text() for path in [*PAGES, *EXAMPLES]}
LABELS = {
    label
    for text in TEXTS.values()
    for label in re.findall(r"^\.\. _(.+?):$", text, re.M)
}
MADE = {"auto_gallery/index"} | {f"auto_gallery/{path.stem}" for path in EXAMPLES}


def targets(role, text):
    """What a role points to in a text."""
    found = re.findall(rf":{role}:`([^`]+)`", text)
    return [
        re.sub(r"\s+", " ", re.sub(r"^.*<|>$", "", one, flags=re.S)) for one in found
    ]


def exists(page, target):
    """Whether a page of the documentation is there, or is made by the gallery."""
    here = DOCS if target.startswith("/") else page.parent
    path = (here / target.lstrip("/")).resolve()
    name = path.relative_to(DOCS.resolve()).as_posix()
    return path.with_name(path.name + ".rst").exists() or name in MADE


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_links_between_pages(page):
    text = TEXTS[page]
    base = page if page.suffix == ".rst" else DOCS / "auto_gallery" / page.name
    assert [one for one in targets("doc", text) if not exists(base, one)] == []
    assert [one for one in targets("ref", text) if one not in LABELS] == []


def test_terms_are_in_the_glossary():
    glossary = TEXTS[DOCS / "glossary.rst"]
    known = set(re.findall(r"^   (\S.*)$", glossary, re.M))
    used = {term for text in TEXTS.values() for term in targets("term", text)}
    assert used and used - known == set()


def test_pictures_of_examples():
    for page, text in TEXTS.items():
        for name in re.findall(r"gallery-picture:: (\w+) \d", text):
            assert (DOCS / "gallery" / f"{name}.py").exists(), (page, name)


def test_links_of_the_chart():
    chart = (DOCS / "_static" / "which_estimator.svg").read_text()
    links = re.findall(r'href="([^"]+)"', chart)
    assert len(links) > 5
    for link in links:
        page, _, anchor = link.partition("#")
        text = TEXTS[DOCS / page.replace(".html", ".rst")]
        assert not anchor or f".. _{anchor}:" in text, link


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page, text in TEXTS.items():
        for block in re.findall(r"\.\. toctree::\n((?:\n|   .*\n?)+)", text):
            entries = [
                re.sub(r"^.*<|>$", "", line.strip()) for line in block.splitlines()
            ]
            listed |= {(page.parent / f"{one}.rst").resolve() for one in entries if one}
    assert {path.resolve() for path in PAGES} - listed == {
        DOCS.resolve() / "index.rst",
    }


def test_formulas_become_mathml():
    convert = pytest.importorskip("latex2mathml.converter").convert
    for page, text in TEXTS.items():
        for formula in targets("math", text):
            assert "\\" not in convert(formula), (page, formula)


def test_the_reference_lists_every_name_once():
    lines = [line.strip() for line in (DOCS / "api.rst").read_text().splitlines()]
    assert [lines.count(name) for name in mtlearn.__all__] == [1] * len(mtlearn.__all__)


def test_no_page_asks_the_network():
    conf = (DOCS / "conf.py").read_text()
    assert "sphinx.ext.mathjax" not in conf
    assert "http" not in (DOCS / "_static" / "mtlearn.css").read_text()
