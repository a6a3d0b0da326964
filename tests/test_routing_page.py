"""The pages on `task=`, on contributions and on intervals run, line by line."""

import doctest
from pathlib import Path

import pytest
import sklearn

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize(
    ("page", "least"),
    [("routing.rst", 40), ("explain.rst", 12), ("intervals.rst", 9)],
)
def test_the_page_runs(page, least):
    config = sklearn.get_config()
    try:
        found = doctest.testfile(
            str(GUIDE / page), module_relative=False, optionflags=FLAGS
        )
    finally:
        sklearn.set_config(**config)
    assert found.failed == 0 and found.attempted >= least
