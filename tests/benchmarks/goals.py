"""The goals, each a ratio of two contestants in one run; the README has them with what was reached."""

from typing import Final

from tests.benchmarks.figures import Goal


def _at_most(number: int, ratio: float) -> Goal:
    return Goal(number, ratio, at_least=False)


def _absolute(number: int, most: float) -> Goal:
    return Goal(number, most, at_least=False, is_absolute=True)


def _at_least(number: int, ratio: float) -> Goal:
    return Goal(number, ratio, at_least=True)


WARM_SQLITE: Final = _at_most(1, 1.5)
WARM_POSTGRES: Final = _at_most(2, 1.5)
TOOL_CALL_SQLITE: Final = _at_least(3, 0.95)
TOOL_CALL_POSTGRES: Final = _at_least(4, 0.90)
TOOL_CALL_POSTGRES_P99: Final = _at_most(4, 1.5)
TOOL_CALL_KEYSHIELD: Final = _at_least(5, 7)
STORM_ALONE: Final = _at_least(6, 0.95)
STORM_BESIDE_WARM: Final = _at_least(6, 0.65)
WARM_BESIDE_STORM: Final = _at_least(6, 0.85)
WARM_P99_BESIDE_STORM: Final = _at_most(6, 2)
FORGERY: Final = _absolute(7, 5)
"""Microseconds."""
FORGED_REQUESTS: Final = _at_least(7, 0.8)
USAGE: Final = _at_least(8, 0.97)
MANY_KEYS_SQLITE: Final = _at_most(9, 2)
MANY_KEYS_POSTGRES: Final = _at_most(9, 1.2)
STDIO_START: Final = _at_most(10, 1.15)
MEMORY: Final = _absolute(11, 250)
"""Bytes."""
TWO_WORKERS: Final = _at_least(12, 1.7)
RESTART: Final = _at_most(13, 1.3)
CREATION: Final = _at_most(14, 1.05)
PLAIN_SDK_LEGACY: Final = _at_least(15, 1.3)
PLAIN_SDK_MODERN: Final = _at_least(15, 1.1)
FIRST_USES: Final = _at_most(16, 1.3)
DJANGO_API_KEY: Final = _at_least(17, 30)
KEYSHIELD_MEMORY: Final = _at_least(17, 4)
BETTER_AUTH_MEMORY: Final = _at_least(17, 50)
