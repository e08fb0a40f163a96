"""A parser, what it may refuse with, and what holds whatever it is given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

SHORTEST_ECHO = 32
"""Characters: no rule of ours has so many in a row by chance."""


class EchoError(AssertionError):
    """A refusal repeats what was refused."""


@dataclass(frozen=True)
class Parser:
    """Takes any bytes, as text where it takes text: then it may hold lone surrogates, as arguments of programs do."""

    name: str
    take: Callable[[bytes], object]
    """Parses them, and fails where something does not hold that should."""
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    """From which others are made; the first of them is taken."""
    may_repeat: bool = False
    """What it takes is never a secret, and a refusal may quote it."""

    def try_it(self, given: bytes) -> None:
        """
        Raises:
            Exception: It is broken: what it raises is none of its refusals, or repeats what it refuses.
        """
        try:
            self.take(given)
        except AssertionError:
            raise
        except self.refusals as refusal:
            said = f"{refusal} {refusal!r} {refusal.__cause__!r}"
            if not self.may_repeat and any(echo in said for echo in _windows(as_text(given))):
                raise EchoError(self.name) from None


def as_text(given: bytes) -> str:
    return given.decode("utf-8", "surrogateescape")


def _windows(text: str) -> Iterator[str]:
    for start in range(min(len(text), 1_000) - SHORTEST_ECHO + 1):
        yield text[start : start + SHORTEST_ECHO]


def of_text(
    name: str,
    take: Callable[[str], object],
    refusals: tuple[type[Exception], ...],
    *seeds: str,
    may_repeat: bool = False,
) -> Parser:
    encoded = tuple(seed.encode("utf-8", "surrogateescape") for seed in seeds)
    return Parser(name, lambda given: take(as_text(given)), refusals, encoded, may_repeat)
