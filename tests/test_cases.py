"""The coverings that choose among all combinations of options."""

from itertools import combinations, product

import pytest
from cases import FACTORS, cover, pairwise

SHAPES = ([3, 3, 3, 3], [2, 7, 1, 4], [7, 3, 4, 6], [2, 2, 5, 3, 4, 2], [4, 1], [5])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pair_of_values_is_in_a_case(shape):
    factors = [[(k, level) for level in range(n)] for k, n in enumerate(shape)]
    chosen = pairwise(*factors)
    assert set(chosen) <= set(product(*factors))
    assert len(chosen) == len(set(chosen))
    for i, j in combinations(range(len(shape)), 2):
        seen = {(case[i], case[j]) for case in chosen}
        assert seen == set(product(factors[i], factors[j]))


def test_a_cover_is_small_and_always_the_same():
    chosen = pairwise(*FACTORS)
    assert len(chosen) < 60  # 42 pairs of the two longest, of 504 cases
    assert chosen == pairwise(*FACTORS)
    # values are told apart by place: they may be equal, and need not be hashable
    assert len(pairwise([1, 1], [[], {}])) == 4


def test_cases_that_are_not_chosen_are_slow():
    params = cover(*FACTORS)
    assert [param.values for param in params] == list(product(*FACTORS))
    quick = [param.values for param in params if not param.marks]
    assert set(quick) == set(pairwise(*FACTORS))
