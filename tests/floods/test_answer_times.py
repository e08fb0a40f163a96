"""That a difference would be seen. How large it is, is nothing for a test: ``python -m tests.floods.answer_times``."""

import pytest

from tests.databases import SqliteDatabase
from tests.floods.answer_times import DIFFERENT, Pair, compare, table

pytestmark = pytest.mark.anyio


async def test_that_bcrypt_looks_at_a_key_is_seen(sqlite_database: SqliteDatabase) -> None:
    pairs = await compare(sqlite_database, samples=20, bcrypt_cost=10)
    assert pairs[DIFFERENT].chance < 0.001
    assert len("".join(table(pairs)).splitlines()) == 2 + 3


def test_what_is_the_same_is_likely_and_what_is_apart_is_not() -> None:
    one = [float(number % 97) + number / 1e6 for number in range(1_000)]
    assert Pair(one, [it + 1e-7 for it in one]).chance > 0.9
    assert Pair(one, [it + 20 for it in one]).chance < 0.001
    assert Pair([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).effect == 0.5
