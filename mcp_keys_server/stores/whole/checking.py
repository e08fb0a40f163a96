"""What there is to say of a database without changing it."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mcp_keys_server.core.checksum_secret_store import MOST_SECRETS
from mcp_keys_server.core.checksum_secrets import id_of
from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.core.key_hash import is_key_hash
from mcp_keys_server.core.ledger import BrokenLedgerError, Head, follow_all
from mcp_keys_server.stores.sql import table_statements as sql
from mcp_keys_server.stores.sql.checksum_secrets import (
    ANNOUNCED_SECRET,
    CHECKSUM_SECRET,
    check_announced_secret,
    whole_checksum_secrets,
)
from mcp_keys_server.stores.sql.statements import READ_META
from mcp_keys_server.stores.sql.tables import TABLES, Snapshot
from mcp_keys_server.stores.sql.unfinished_copy import COPYING_FROM, refuse_unfinished
from mcp_keys_server.stores.whole.moving import Place, newest_schema_of, open_snapshot, schema_version


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a database; it is fit for use when there are no problems."""

    kind: str
    where: str
    schema: int
    counts: dict[str, int]
    head: Head | None
    """Of its ledger, when that holds."""
    server: dict[str, object]
    problems: tuple[str, ...]


async def check_database(place: Place, clock: Clock) -> Report:
    """
    Raises:
        UnusableDatabaseError: There is none, or none that can be looked into; the message says what to do.
        StoreUnavailableError: It does not answer, or is too damaged to be read.
    """
    schema, newest = await schema_version(place), newest_schema_of(place)
    kind = "sqlite" if isinstance(place, Path) else "postgres"
    async with open_snapshot(place) as database:
        server, problems = await database.server(clock), await database.troubles(clock)
        if schema < newest:
            problems.append(f"it is of schema {schema} and not of {newest} yet: run 'mcp-keys-server database migrate'")
            return Report(kind, str(place), schema, {}, None, server, tuple(problems))
        problems += [*await _contradictions(place, database), *await _damaged_rows(database)]
        problems += await _keys_without_checksum(database, clock)
        counts = {
            "users": (await database.fetch(sql.COUNT_USERS))[0][0],
            "keys": (await database.fetch(sql.COUNT_KEYS))[0][0],
            "live_keys": (await database.fetch(sql.COUNT_LIVE_KEYS, clock()))[0][0],
            "events": (await database.fetch(sql.COUNT_EVENTS))[0][0],
        }
        head = None
        try:
            head = await follow_all(database.entries)
        except BrokenLedgerError as error:
            problems.append(str(error))
        return Report(kind, str(place), schema, counts, head, server, tuple(problems))


async def _damaged_rows(database: Snapshot) -> list[str]:
    """Of each table the first row that nobody can read, and all hashes that no key can fit."""
    found = []
    await database.fetch(sql.ANY_COUNTER)
    for table in TABLES:
        try:
            async for _, _, page in table.pages(database):
                odd = [row for row in page if table.key_hash is not None and not is_key_hash(row[table.key_hash])]
                found += [f"{table.named(row)} is damaged: its hash is none; revoke its key" for row in odd]
        except UnusableDatabaseError as error:
            found.append(str(error))
    return found


async def _keys_without_checksum(database: Snapshot, clock: Clock) -> list[str]:
    """The first of those whose checksum nobody can recognise, where anybody's can be recognised."""
    found = await database.fetch(READ_META, CHECKSUM_SECRET)
    with suppress(UnusableDatabaseError):
        known = [id_of(secret) for secret in whole_checksum_secrets("it", bytes(found[0][0]) if found else None)]
        lost = await database.fetch(sql.LOST_CHECKSUMS, clock(), *(known * MOST_SECRETS)[:MOST_SECRETS])
        return [f"a checksum secret of {it} is not there, and what has it opens nothing; rotate it" for (it,) in lost]
    return []


async def _contradictions(place: Place, database: Snapshot) -> list[str]:
    own, at_work = database.own_guards, await database.guards()
    found = [f"its guard is missing or off: {guard}" for guard in sorted(own - at_work)]
    found += [f"a trigger is there that is not its own: {other!r}" for other in sorted(at_work - own)]
    for entry, look in (
        (CHECKSUM_SECRET, partial(whole_checksum_secrets, "it")),
        (ANNOUNCED_SECRET, check_announced_secret),
        (COPYING_FROM, partial(refuse_unfinished, place)),
    ):
        rows = await database.fetch(READ_META, entry)
        try:
            look(bytes(rows[0][0]) if rows else None)
        except UnusableDatabaseError as error:
            found.append(str(error))
    return found
