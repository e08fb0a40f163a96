"""How far it is."""

from collections.abc import Callable
from typing import TypeAlias

Tell: TypeAlias = Callable[[float, str], None]
"""Told what begins, and which share of all is done before it."""


def part_of(tell: Tell, begins: float, ends: float) -> Tell:
    """For a part of the whole, which tells of itself as if it were one."""
    return lambda done, what: tell(begins + (ends - begins) * done, what)
