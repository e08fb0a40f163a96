"""Looking a key up among few and among very many."""

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.keys_at_hand import OpenedRing, opened_ring
from tests.benchmarks.rounds import Contestant, run_rounds
from tests.benchmarks.stopwatch import timed
from tests.databases import Database, SqliteDatabase, a_database, has_postgres

_USERS = 1_000
_LOOKED_UP = 1_000
"""Keys, spread evenly over all there are: as many as a process meets in a while."""
_NOON = "2026-01-01T12:00:00.000000+00:00"


def lookups(bench: Bench) -> Sequence[Row]:
    kinds = ("sqlite", "postgres") if has_postgres() else ("sqlite",)
    return [row for kind in kinds for row in _lookups(bench, kind)]


def _lookups(bench: Bench, kind: str) -> Sequence[Row]:
    few, many = bench.effort.few_keys, bench.effort.many_keys
    # A round trip to a server takes as long as some tens of reads of a file.
    calls = bench.effort.calls // (1 if kind == "sqlite" else 20)
    with ExitStack() as stack:
        contestants: dict[str, Contestant] = {}
        for count in (few, many):
            bench.progress.show(f"look-up: making {count:,} keys ({kind})")
            filled = stack.enter_context(_filled(kind, bench.folder / f"{kind}-{count}", count))
            contestants[str(count)] = _looking_up(*filled, calls=calls, waits=kind == "postgres")
        rounds = run_rounds(f"look-up ({kind})", bench, contestants)
    goal = goals.MANY_KEYS_SQLITE if kind == "sqlite" else goals.MANY_KEYS_POSTGRES
    what = f"look-up of a key among {many:,} ({'SQLite' if kind == 'sqlite' else 'PostgreSQL'})"
    return [
        rounds.compare(what, Quantity.CALL, str(many), str(few), compared_with=f"the same among {few:,}", goal=goal)
    ]


def _looking_up(opened: OpenedRing, prefixes: Sequence[str], *, calls: int, waits: bool) -> Contestant:
    read = opened.ring.store.read_secret
    asked = list(islice(cycle(prefixes), calls))

    async def look_up() -> None:
        for prefix in asked:
            assert await read(prefix) is not None

    return timed(lambda: opened.runner.run(look_up()), calls=calls, waits=waits)


@contextmanager
def _filled(kind: str, folder: Path, count: int) -> Iterator[tuple[OpenedRing, Sequence[str]]]:
    """A database with so many keys, and the prefixes of some of them."""
    prefixes = [secrets.token_urlsafe(6) for _ in range(count)]
    with a_database(kind, folder) as database:
        with opened_ring(str(database), bcrypt_cost=4):
            pass  # which makes the tables
        _fill(database, prefixes)
        with opened_ring(str(database), bcrypt_cost=4) as opened:
            yield opened, prefixes[:: max(1, count // _LOOKED_UP)]


def _fill(database: Database, prefixes: Sequence[str]) -> None:
    users = [f"('user{number}', '{_NOON}')" for number in range(_USERS)]
    database.sql(f"INSERT INTO users (user_id, created_at) VALUES {', '.join(users)}")
    if isinstance(database, SqliteDatabase):
        with closing(sqlite3.connect(database.path)) as connection, connection:
            connection.executemany(
                "INSERT INTO keys (key_id, user_id, name, scopes, created_at) "
                f"VALUES ('key_' || ?1, 'user' || (?1 % {_USERS}), 'x', 'keys:read', '{_NOON}')",
                ((number,) for number in range(len(prefixes))),
            )
            connection.executemany(
                f"INSERT INTO secrets (prefix, key_id, key_hash, created_at) VALUES (?, 'key_' || ?, 'x', '{_NOON}')",
                ((prefix, number) for number, prefix in enumerate(prefixes)),
            )
            connection.execute("ANALYZE")
        return
    noon = datetime.fromisoformat(_NOON)
    database.copy(
        "keys",
        ("key_id", "user_id", "name", "scopes", "created_at"),
        ((f"key_{number}", f"user{number % _USERS}", "x", "keys:read", noon) for number in range(len(prefixes))),
    )
    database.copy(
        "secrets",
        ("prefix", "key_id", "key_hash", "created_at"),
        ((prefix, f"key_{number}", "x", noon) for number, prefix in enumerate(prefixes)),
    )
    database.sql("VACUUM ANALYZE keys", "VACUUM ANALYZE secrets", "ANALYZE users")
