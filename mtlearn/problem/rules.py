"""Rules that make tasks of others: what they must be, and what they come to."""

import numbers
from graphlib import CycleError, TopologicalSorter

import numpy as np


def check_rules(composition):
    """The rules of a `Composition`: a dict of dicts of finite numbers.

    Raises
    ------
    TypeError, ValueError
        With a sentence that names the task.
    """
    if not isinstance(composition, dict):
        raise TypeError(
            "`composition` must be a dict by composed task, such as {'total': "
            f"{{'north': 1, 'south': 1}}}}, got {composition!r}."
        )
    for task, components in composition.items():
        if not isinstance(components, dict) or not components:
            raise ValueError(
                f"`composition` of {task!r} must be a dict of components and factors "
                f"with at least one entry, got {components!r}."
            )
        for name, factor in components.items():
            number = isinstance(factor, numbers.Real) and not isinstance(factor, bool)
            if not number or not np.isfinite(factor):
                raise ValueError(
                    f"`composition` of {task!r} must have finite factors, got "
                    f"{factor!r} for {name!r}."
                )
    return composition


def _in_order(rules):
    """The composed tasks, each after its components; circles are refused."""
    components = {task: list(parts) for task, parts in rules.items()}
    try:
        order = TopologicalSorter(components).static_order()
        return [task for task in order if task in rules]
    except CycleError as error:
        circle = error.args[1]
        raise ValueError(
            "`composition` must not go in a circle, got "
            f"{' <- '.join(repr(task) for task in circle)}."
        ) from None


def resolve_rules(rules, free):
    """Factors of the free tasks in every composed one, through all chains."""
    total = {}
    for task in _in_order(rules):
        own = total[task] = {}
        for name, factor in rules[task].items():
            if name not in total and name not in free:
                raise ValueError(
                    f"`composition` makes {task!r} of {name!r}, which is no task of "
                    "the model."
                )
            for leaf, part in total.get(name, {name: 1.0}).items():
                own[leaf] = own.get(leaf, 0.0) + float(factor) * part
    return total
