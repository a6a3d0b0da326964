"""Shared layers against neural networks: a race, a practice, errors on other rows."""

from itertools import groupby

import mapping_held_out
import mapping_iris
import mapping_race
from mapping_race import MappingProblem
from races import Run

TITLE = "Shared mapping against neural networks"
NOTE = "Four measurements, each with its note.\n"


def problems(quick=False):
    """The makers of the races, of iris (its number of starts), of the held-out sets."""
    makers = mapping_race.problems(quick) | {"iris": lambda: 3 if quick else 10}
    return makers | mapping_held_out.problems(quick)


def ours(problem):
    """One fit of ours, or one search."""
    if isinstance(problem, MappingProblem):
        return Run(*mapping_race.fit_ours(problem, 0))
    if isinstance(problem, int):
        X, X_test, y, _ = mapping_iris.iris()
        return Run(*mapping_iris.ours(1.0)(X, y, X_test, 0))
    if isinstance(problem, mapping_held_out.Small):
        scores, seconds, _ = mapping_held_out.small_scores(problem)
        return Run(seconds, scores)
    errors, seconds, _ = mapping_held_out.ours(problem)
    return Run(seconds, errors)


def tables(problems, args):
    """A table of each kind."""
    for kind, some in groupby(problems, type):
        if kind is MappingProblem:
            yield mapping_race.table(some, args)
        elif kind is int:
            yield mapping_iris.table(*some)
        elif kind is mapping_held_out.Small:
            yield mapping_held_out.small_table(some)
        else:
            yield mapping_held_out.table(some)
