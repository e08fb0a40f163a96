"""The tables as they are moved from one database to another, in the order in which they depend on each other."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.core.ledger import OLDEST, Entry
from mcp_keys_server.stores.sql import table_statements as sql
from mcp_keys_server.stores.sql.database import Row
from mcp_keys_server.stores.sql.rows import to_text

Key: TypeAlias = str | bytes | int

ROWS_AT_A_TIME: Final = 1_000
_EVERY: Final = 2**31


class TableReader(Protocol):
    """A database as it is read whole. Either method raises StoreUnavailableError when it does not answer."""

    async def fetch(self, statement: str, *values: object) -> list[Row]: ...

    async def entries(self, first: int) -> Sequence[Entry]:
        """Some entries of the ledger from that number on; none after the last."""


class Snapshot(TableReader, Protocol):
    """A database that knows its own troubles."""

    own_guards: frozenset[str]
    """The names of the triggers with which it refuses what must not happen."""

    async def troubles(self, clock: Clock) -> list[str]:
        """What is not as it should be, in words."""

    async def guards(self) -> set[str]:
        """The names of the triggers that are at work."""

    async def server(self, clock: Clock) -> dict[str, object]:
        """What is to be known of the server that keeps it."""


class TableWriter(TableReader, Protocol):
    """One that is written as well."""

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """What is written within it takes effect together or not at all."""

    async def do_for_each(self, statement: str, several: Iterable[Sequence[object]]) -> None:
        """Do it with each of these sequences of values."""


@dataclass(frozen=True, slots=True)
class Table:
    """How the rows of one table are read, counted and put down. Its first column is the one that orders them."""

    name: str
    beginning: Key
    """Below all that the first column holds."""
    end: Key
    """Above it."""
    times: tuple[int, ...]
    """Which columns are times: datetimes, or the text of them in SQLite."""
    count: str
    read: str
    put: str
    remove: str | None = None
    """Removes what is to be put again; without it, to put a row replaces it, as far as it may be changed at all."""
    key_hash: int | None = None
    """Which column is the hash of a key, if one is."""

    async def rows(self, reader: TableReader, after: Key, upto: Key, *, most: int = _EVERY) -> list[Row]:
        """In order, those after the one key and up to the other."""
        return [self._plain(row) for row in await reader.fetch(self.read, after, upto, most)]

    async def pages(self, reader: TableReader) -> AsyncIterator[tuple[Key, Key, list[Row]]]:
        """All rows, so many at a time, each page with the keys after and up to which it holds all; the last one may be
        empty, and reaches to the end.
        """
        after, is_last = self.beginning, False
        while not is_last:
            page = await self.rows(reader, after, self.end, most=ROWS_AT_A_TIME)
            is_last = len(page) < ROWS_AT_A_TIME
            upto = self.end if is_last else page[-1][0]
            yield after, upto, page
            after = upto

    def _plain(self, row: Row) -> Row:
        """The row with its times as datetimes.

        Raises:
            UnusableDatabaseError: One of them is none.
        """
        values = list(row)
        for column in self.times:
            if isinstance(values[column], str):
                values[column] = self._moment(row, values[column])
        return tuple(values)

    def _moment(self, row: Row, text: str) -> datetime:
        moment = None
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
        if moment is None or moment.tzinfo is None:
            raise UnusableDatabaseError(f"{self.named(row)} is damaged: one of its times is none; restore a backup")
        return moment

    def named(self, row: Row) -> str:
        """Which one it is, by its first column."""
        return f"the row {row[0].hex() if isinstance(row[0], bytes) else row[0]!r} of {self.name}"


_IDS: Final[tuple[str, str]] = ("", "\U0010ffff")

TABLES: Final = (
    Table("users", *_IDS, (3, 4), sql.COUNT_USERS, sql.READ_USERS, sql.PUT_USER),
    Table("keys", *_IDS, (5, 6, 7, 8, 11), sql.COUNT_KEYS, sql.READ_KEYS, sql.PUT_KEY),
    # By which key a key was made, afterwards: a clock that was put back may have made it the older one.
    Table("makers of keys", *_IDS, (), sql.COUNT_MAKERS, sql.READ_MAKERS, sql.PUT_MAKER),
    Table(
        "secrets", *_IDS, (3, 4, 5), sql.COUNT_SECRETS, sql.READ_SECRETS, sql.PUT_SECRET, sql.REMOVE_SECRETS, key_hash=2
    ),
    # A claim that was spent and put anew, and spent again since it was copied, is none that may be changed so.
    Table("claims", *_IDS, (1, 4), sql.COUNT_CLAIMS, sql.READ_CLAIMS, sql.PUT_CLAIM, sql.REMOVE_CLAIMS),
    Table(
        "sessions", b"", b"\xff" * 33, (2, 3), sql.COUNT_SESSIONS, sql.READ_SESSIONS, sql.PUT_SESSION,
        sql.REMOVE_SESSIONS,
    ),
    Table(
        "tool_pins", *_IDS, (3,), sql.COUNT_TOOL_PINS, sql.READ_TOOL_PINS, sql.PUT_TOOL_PIN, sql.REMOVE_TOOL_PINS
    ),
    Table("events", OLDEST, 2**63 - 1, (2,), sql.COUNT_EVENTS, sql.READ_EVENTS, sql.PUT_EVENT),
)  # fmt: skip

GUARDS: Final = frozenset(
    {
        "a_revocation_is_never_undone",
        "a_claim_is_spent_once",
        "an_event_is_never_changed",
        "an_event_is_never_removed",
    }
)
"""The triggers with which every database itself refuses what must not happen."""


class Digest:
    """The number of rows and the SHA-256 over all of them, written in one way whichever database they are from."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.count += 1
            self._hash.update(json.dumps(row, default=_in_text, separators=(",", ":")).encode("ascii") + b"\n")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and (self.count, self._hash.digest()) == (other.count, other._hash.digest())

    __hash__ = None  # type: ignore[assignment]  # it changes


def _in_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    assert isinstance(value, datetime)  # noqa: S101 - no column holds anything else
    return to_text(value)
