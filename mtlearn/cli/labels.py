"""Targets and task ids, as the columns of a file hold them."""

from dataclasses import dataclass

import numpy as np

from ..compose.values import Numbers, find_numbers, is_number, levels_of

_MOST_CLASSES = 20


@dataclass(frozen=True)
class Target:
    """How the labels are read.

    Attributes
    ----------
    name : str
    numbers : Numbers or None
        None where they are texts.
    classes : bool
    """

    name: str
    numbers: Numbers | None
    classes: bool

    def read(self, column):
        """Labels, and which rows have one."""
        if self.numbers is None:
            levels = levels_of(column)
            return _spread(levels, levels.names), levels.place >= 0
        values, _ = self.numbers.read(column)
        if np.isinf(values).any():
            raise ValueError(f"The target {self.name!r} has infinite values.")
        known = ~np.isnan(values)
        if self.classes and np.all(values[known] == np.rint(values[known])):
            return np.where(known, values, 0).astype(np.int64), known
        return values, known


def find_target(column, classify):
    """Decide whether a column holds numbers or classes.

    Parameters
    ----------
    column : Series
    classify : bool
        Whether the user asks for classes.

    Returns
    -------
    Target
    """
    numbers = find_numbers(column)
    if _is_boolean(column):
        numbers = None
    labels, known = Target(column.name, numbers, False).read(column)
    values = np.unique(labels[known])
    if len(values) < 2:
        held = f"{values[0]!s} in every row" if len(values) else "empty"
        raise ValueError(
            f"The target {column.name!r} is {held}: there is nothing to learn."
        )
    number = numbers is not None
    two = len(values) == 2 and (not number or bool(np.all(values == np.rint(values))))
    if number and not classify and not two:
        return Target(column.name, numbers, False)
    if len(values) > _MOST_CLASSES:
        why = "--classify asks for classes" if number else "it is not numeric"
        raise ValueError(
            f"The target {column.name!r} cannot be used: {why}, but it has "
            f"{len(values):,} different values, such as {values[0]!s}."
        )
    return Target(column.name, numbers, True)


def _is_boolean(column):
    if is_number(column):
        return column.dtype.kind == "b"
    return {name.casefold() for name in levels_of(column).names} <= {"true", "false"}


def are_whole(column):
    """Whether all ids are whole numbers, written without zeros before them."""
    if is_number(column):
        values = column.dropna().astype(float)
        return bool((values == values.round()).all())
    return all(_is_whole(name) for name in levels_of(column).names)


def _is_whole(text):
    head, point, tail = text.lstrip("-").partition(".")
    plain = head.isascii() and head.isdigit() and (head == "0" or head[0] != "0")
    return plain and not (tail.strip("0") if point else "") and len(head) < 18


def read_ids(column, whole):
    """Ids of one kind: whole numbers, or texts; and which rows have one.

    An id that is no whole number where the others are stays a text.
    """
    levels = levels_of(column)
    names = levels.names
    if whole:
        names = [int(n.partition(".")[0]) if _is_whole(n) else n for n in names]
    return _spread(levels, names), levels.place >= 0


def _spread(levels, values):
    """Objects for the rows; None for those without one."""
    each = np.empty(len(values) + 1, dtype=object)
    each[:-1], each[-1] = values, None
    return each[levels.place]
