"""A database copied into another one, row by row and batch by batch, and compared with it afterwards.

Each batch is compared before it is written, so that a copy that was cut short goes on where it was, and one whose
source has changed meanwhile catches up. Until the copy is like its source it bears a mark, with which nobody else opens
it. The database's own guards stay as they are: a revocation that was copied is never undone, no event is changed.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mcp_keys_server.core.errors import CopyNotFinishedError, UnusableDatabaseError
from mcp_keys_server.core.ledger import BEGINNING, Head, follow_all
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql import statements as shared
from mcp_keys_server.stores.sql import table_statements as sql
from mcp_keys_server.stores.sql.checksum_secrets import CHECKSUM_SECRET, share_a_secret
from mcp_keys_server.stores.sql.tables import TABLES, Digest, Table, TableReader, TableWriter
from mcp_keys_server.stores.sql.unfinished_copy import COPYING_FROM, COPYING_RUN, refuse_unfinished
from mcp_keys_server.stores.whole.moving import Place, open_source, open_target

Tell = Callable[[int, int], None]
"""Told how many steps are done, of how many."""

_NOT_COPIED = frozenset({COPYING_FROM, COPYING_RUN, "schema_version"})


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in both of them now."""

    rows: dict[str, int]
    head: Head
    was_there: bool
    """Whether nothing had to be written."""


async def copy_database(source: Place, target: Place, tell: Tell = lambda *_: None) -> Copied:
    """Make the target, which holds nothing yet or a part of it, a copy of the source. The source is not changed.

    Raises:
        UnusableDatabaseError: One of them cannot be used so; the message says what to do.
        CopyNotFinishedError: The source has changed meanwhile; the copy cannot be used yet.
        BrokenLedgerError: The ledger is not what was written.
        StoreUnavailableError: One of them stopped answering; the copy cannot be used yet.
    """
    _check_are_two(source, target)
    async with open_source(source) as snapshot:
        refuse_unfinished(source, await _meta(snapshot, COPYING_FROM))
        if not await snapshot.fetch(sql.ANYTHING):
            raise UnusableDatabaseError(f"{source} holds nothing to copy; begin with {target} as it is")
        async with open_target(target) as copy:
            run = secrets.token_bytes(16)
            was_there = not await _begin(source, snapshot, target, copy, run)
            copying = _Copying(source, snapshot, target, copy, run, tell)
            copied = await copying.run(was_there=was_there)
            if not was_there:
                await _check_unchanged(source, copied.head)
                await copying.finish()
            return copied


def _check_are_two(source: Place, target: Place) -> None:
    if isinstance(source, PostgresUrl) or isinstance(target, PostgresUrl):
        same = source == target
    else:
        same = source == target or (source.exists() and target.exists() and source.samefile(target))
    if same:
        raise UnusableDatabaseError(f"{source} cannot be copied into itself; name another database as TARGET")


async def _begin(source: Place, snapshot: TableReader, target: Place, copy: TableWriter, run: bytes) -> bool:
    """Mark the target as a copy that is not finished and is this run's; False: it holds something and has no mark."""
    secret = await _meta(snapshot, CHECKSUM_SECRET)
    async with copy.transaction():
        begun = await _meta(copy, COPYING_FROM)
        is_of_source = share_a_secret(await _meta(copy, CHECKSUM_SECRET), secret)
        if begun is not None and not is_of_source:
            raise UnusableDatabaseError(
                f"{target} is a copy that is not finished of {begun.decode()}, which is another database or has "
                f"forgotten its checksum secrets since; {_start_anew(target)}"
            )
        if begun is None and await copy.fetch(sql.ANYTHING):
            if not is_of_source:
                raise UnusableDatabaseError(f"{target} is not empty; name a database that holds nothing as TARGET")
            return False
        # By its checksum secrets, of which no two databases share one, the source is known again.
        await copy.fetch(shared.PUT_META, CHECKSUM_SECRET, secret)
        await copy.fetch(shared.PUT_META, COPYING_FROM, str(source).encode())
        await copy.fetch(shared.PUT_META, COPYING_RUN, run)
        return True


async def _check_unchanged(source: Place, head: Head) -> None:
    async with open_source(source) as later:
        now = await _head(later)
    if now != head:
        raise CopyNotFinishedError(
            f"the source has changed while it was copied: its ledger went on from entry {head.number} to {now.number}. "
            "Stop its servers and run the same command again: it catches up. The copy cannot be used before"
        )


@dataclass
class _Copying:
    """One run from a snapshot of the source."""

    source: Place
    snapshot: TableReader
    target: Place
    copy: TableWriter
    mark: bytes
    """Of this run, in the target."""
    tell: Tell
    steps: int = 0
    most: int = 0

    async def run(self, *, was_there: bool) -> Copied:
        counts = [(await self.snapshot.fetch(table.count))[0][0] for table in TABLES]
        self.most = sum(counts) * (2 if was_there else 3)  # to write, and to compare
        if not was_there:
            for table in TABLES:
                await self._bring(table)
            await self._bring_meta()
        found = {table.name: await self._compare(table, was_there=was_there) for table in TABLES}
        if await _all_meta(self.snapshot) != await _all_meta(self.copy):
            raise self._differs("meta", was_there=was_there)
        return Copied(found, await follow_all(self.copy.entries), was_there)

    async def finish(self) -> None:
        async with self._writing():
            await self.copy.fetch(sql.REMOVE_META, COPYING_FROM)
            await self.copy.fetch(sql.REMOVE_META, COPYING_RUN)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """A transaction, as long as no later run has begun: what that has brought is newer, and perhaps in use."""
        async with self.copy.transaction():
            if not await self.copy.fetch(sql.HOLD_META, COPYING_RUN, self.mark):
                raise UnusableDatabaseError(
                    f"another copy into {self.target} was begun after this one, which therefore ends here; see how "
                    "that one ends"
                )
            yield

    async def _bring(self, table: Table) -> None:
        async for after, upto, page in table.pages(self.snapshot):
            there = await table.rows(self.copy, after, upto)
            if there != page:
                async with self._writing():
                    if there and table.remove is not None:
                        await self.copy.fetch(table.remove, after, upto)
                    await self.copy.do_for_each(table.put, page)
            self._step(len(page))

    async def _bring_meta(self) -> None:
        async with self._writing():
            for name, value in (await _all_meta(self.snapshot)).items():
                await self.copy.fetch(shared.PUT_META, name, value)

    async def _compare(self, table: Table, *, was_there: bool) -> int:
        digests = []
        for reader in (self.snapshot, self.copy):
            digest = Digest()
            async for _, _, page in table.pages(reader):
                digest.add(page)
                self._step(len(page))
            digests.append(digest)
        if digests[0] != digests[1]:
            raise self._differs(table.name, was_there=was_there)
        return digests[0].count

    def _step(self, steps: int) -> None:
        self.steps += steps
        self.tell(self.steps, self.most)

    def _differs(self, table: str, *, was_there: bool) -> UnusableDatabaseError:
        if was_there:
            return UnusableDatabaseError(
                f"{self.target} was copied from {self.source} before, and one of them has changed since "
                f"({table}); it is left as it is: {_start_anew(self.target)}"
            )
        return UnusableDatabaseError(
            f"{self.target} is not like {self.source} ({table}): something else writes to it, or the source is older "
            f"than what was copied before; {_start_anew(self.target)}"
        )


def _start_anew(target: Place) -> str:
    how = f"run: DROP SCHEMA {target.schema} CASCADE" if isinstance(target, PostgresUrl) else "remove that file"
    return f"name another TARGET, or {how} when nobody needs what is in it, and copy again"


async def _meta(reader: TableReader, name: str) -> bytes | None:
    found = await reader.fetch(shared.READ_META, name)
    return bytes(found[0][0]) if found else None


async def _all_meta(reader: TableReader) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in await reader.fetch(sql.ALL_META) if name not in _NOT_COPIED}


async def _head(reader: TableReader) -> Head:
    found = await reader.fetch(shared.LAST_EVENT)
    return Head(*found[0]) if found else BEGINNING
