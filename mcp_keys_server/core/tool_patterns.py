"""Patterns of the tools that a key may call: ``ALIAS:TOOL``, in which ``*`` stands for any run of characters, or none.

The part before the colon is an alias, or ``*`` alone for every one of them. What a tool is called is up to whoever
offers it, so a pattern is compared with names of any kind. It is no regular expression, because whoever makes one and
chooses the name could have it take for ever.
"""

import re
from collections.abc import Collection
from typing import Final

MOST_TOOLS: Final = 64
"""Patterns of one key."""
LONGEST_PATTERN: Final = 192

_PATTERN: Final = re.compile(r"(?:\*|[a-z0-9][a-z0-9_-]{0,63}):[A-Za-z0-9._*-]{1,128}")


def is_pattern(text: str) -> bool:
    return len(text) <= LONGEST_PATTERN and _PATTERN.fullmatch(text) is not None


def matches(pattern: str, alias: str, tool: str) -> bool:
    of_alias, _, of_tool = pattern.partition(":")
    return of_alias in ("*", alias) and _fits(of_tool, tool)


def covered(pattern: str, by: Collection[str]) -> bool:
    """Whether one of these patterns matches all that this one does."""
    # Taken as a name, its stars are matched by stars alone, and a star matches whatever comes in their place.
    alias, _, tool = pattern.partition(":")
    return any(matches(wide, alias, tool) for wide in by)


def meet(some: Collection[str], others: Collection[str]) -> frozenset[str]:
    """Patterns of what is matched both by one of these and by one of the others, and of nothing else.

    Two that overlap and of which neither covers the other may have less in common than they could: ``a*b`` is what
    ``a*`` and ``*b`` have, and of ``aa*`` and ``*aa`` the name ``aaa`` is lost. Of very many, those that are left over
    are lost as well: a key that is narrowed may lose more than it had to, and never gets more.
    """
    met = (_met(one, other) for one in some for other in others)
    return frozenset(sorted({pattern for pattern in met if pattern is not None and is_pattern(pattern)})[:MOST_TOOLS])


def _met(one: str, other: str) -> str | None:
    (alias, _, tool), (other_alias, _, other_tool) = one.partition(":"), other.partition(":")
    if "*" not in (alias, other_alias) and alias != other_alias:
        return None
    both = _in_common(tool, other_tool)
    return None if both is None else f"{other_alias if alias == '*' else alias}:{both}"


def _in_common(one: str, other: str) -> str | None:
    if _fits(one, other):
        return other
    if _fits(other, one):
        return one
    (begin, *rest), (other_begin, *other_rest) = one.split("*"), other.split("*")
    if not rest or not other_rest:
        return None  # it is one name, which the other does not match
    short_begin, long_begin = sorted((begin, other_begin), key=len)
    short_end, long_end = sorted((rest[-1], other_rest[-1]), key=len)
    if not long_begin.startswith(short_begin) or not long_end.endswith(short_end):
        return None
    return "*".join((long_begin, *rest[:-1], *other_rest[:-1], long_end))


def _fits(pattern: str, name: str) -> bool:
    begin, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *within, end = rest
    at, stop = len(begin), len(name) - len(end)
    if at > stop or not name.startswith(begin) or not name.endswith(end):
        return False
    for part in within:
        # The first place is the right one: it leaves the most to what comes after.
        at = name.find(part, at, stop)
        if at < 0:
            return False
        at += len(part)
    return True
