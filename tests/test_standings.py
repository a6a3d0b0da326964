"""Every comparison of the page of comparisons finds its figures in the kept tables."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

standings = pytest.importorskip("standings")


@pytest.mark.parametrize("one", standings.COMPARED, ids=lambda one: one.job + one.peer)
def test_ratios_are_found(one):
    ratios = [ratio for _, ratio in one.pairs()]
    assert ratios and min(ratios) > 0


def test_the_page_is_that_of_the_tables():
    assert (standings.RESULTS / "standings.md").read_text() == standings.page()
