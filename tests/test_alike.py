"""Ids that look like a misspelling of another."""

import pytest

from mtlearn.problem.alike import likely_typos, tell_typos


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("Distirct 101", "District 101"),
        ("Distrct 101", "District 101"),
        ("Disstrict 101", "District 101"),
        ("Diztrict 101", "District 101"),
        ("district 101", "District 101"),
        ("District  101 ", "District 101"),
        ("Münchn", "München"),
    ],
)
def test_slips_are_found(wrong, right):
    assert likely_typos([right, wrong, "Other"], [50, 2, 50]) == [(wrong, right)]


@pytest.mark.parametrize(
    "id, other",
    [
        ("District 101", "District 102"),
        ("District 101", "District 11"),
        ("Ward A", "Ward B"),
        ("Ana", "Anna"),
        ("North", "South"),
        ("red", "blue"),
        (101, 110),
        ("District 101 a", "District 101"),
    ],
)
def test_names_that_differ_are_left(id, other):
    assert likely_typos([id, other], [1, 100]) == []


def test_a_common_id_is_no_slip():
    assert likely_typos(["Stanton", "Staunton"], [30, 40]) == []


def test_the_larger_of_two_candidates_is_meant():
    ids, counts = ["Hamburg", "Hamborg", "Hamburk"], [90, 1, 3]
    assert likely_typos(ids, counts) == [("Hamborg", "Hamburg"), ("Hamburk", "Hamburg")]


def test_many_ids():
    ids = [f"station {n:05d}" for n in range(20_000)] + ["sattion 00007"]
    assert likely_typos(ids, [20] * 20_000 + [1]) == [
        ("sattion 00007", "station 00007")
    ]


def test_nobody_types_long_ids():
    long = "x" * 60 + "station"
    assert likely_typos([long, long[1:]], [90, 1]) == []


def test_the_sentence():
    assert tell_typos([]) == ""
    pairs = [(f"nmae {n}", f"name {n}") for n in range(5)]
    said = tell_typos(pairs)
    assert "'nmae 0' looks like 'name 0'" in said and said.endswith("and 2 more.")
