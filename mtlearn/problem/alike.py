"""Ids that look like a misspelling of another id."""

import re

_SHORTEST = 5  # letters of a word in which a slip can be told from another name
_LONGEST = 64  # letters of an id that somebody has typed
_RARER = 5  # times as many rows must the other id have
_WORD = re.compile(r"[^\W\d_]+")


def likely_typos(ids, counts):
    """Pairs (id, the id that was probably meant).

    Two ids are taken for one if they differ in capitals and spaces alone, or by one
    slip of the keyboard in one of their words: a letter too many, too few, wrong, or
    two that have changed places. Digits never differ by a slip ("ward 11" is not
    "ward 12"), nor do short words, and the misspelt id must be the much rarer one.

    Parameters
    ----------
    ids : sequence
        The different ids; only strings of up to 64 letters are looked at.
    counts : sequence of int
        Rows of each.

    Returns
    -------
    list of tuple (str, str)
        In the order of `ids`, an id at most once.

    Examples
    --------
    >>> likely_typos(["District 101", "Distirct 101", "District 102"], [40, 1, 38])
    [('Distirct 101', 'District 101')]
    """
    rows = {id: n for id, n in zip(ids, counts) if _typed(id)}
    near = {}
    for id in rows:
        for key in _neighbours(_plain(id)):
            near.setdefault(key, []).append(id)
    meant = {}
    for group in near.values():
        for id in group if len(group) > 1 else ():
            best = max(group, key=rows.get)
            known = meant.get(id)
            if _mistaken(id, best, rows) and (
                known is None or rows[known] < rows[best]
            ):
                meant[id] = best
    return [(id, meant[id]) for id in rows if id in meant]


def tell_typos(pairs, most=3):
    """One sentence that names the pairs of `likely_typos`; empty without any."""
    if not pairs:
        return ""
    named = [f"{id!r} looks like {other!r}" for id, other in pairs[:most]]
    more = f", and {len(pairs) - most} more" if len(pairs) > most else ""
    return f"Ids that may be misspelt: {'; '.join(named)}{more}."


def _typed(id):
    return isinstance(id, str) and len(id) <= _LONGEST


def _plain(id):
    return " ".join(id.casefold().split())


def _neighbours(text):
    """The text, and what it is without one of its letters."""
    yield text
    for place, sign in enumerate(text):
        if sign.isalpha() and (not place or text[place - 1] != sign):
            yield text[:place] + text[place + 1 :]


def _mistaken(id, other, rows):
    """Whether an id can be a slip of the other: both share a neighbour."""
    a, b = _plain(id), _plain(other)
    if id == other or rows[other] < _RARER * rows[id]:
        return False
    if a == b:
        return True
    if re.sub(r"\D", "", a) != re.sub(r"\D", "", b):
        return False
    words, others = _WORD.findall(a), _WORD.findall(b)
    if len(words) != len(others):
        return False
    apart = [max(w, o, key=len) for w, o in zip(words, others) if w != o]
    return len(apart) == 1 and len(apart[0]) >= _SHORTEST
