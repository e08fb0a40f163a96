"""What the stores have in common: all but what is on the way of a request, which each does in its own way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio

from mcp_keys_server.core.changes import AddSecret, Decide
from mcp_keys_server.core.errors import StoreUnavailableError, UserExistsError
from mcp_keys_server.core.ledger import Entry, Event
from mcp_keys_server.core.records import KeyRecord, UserRecord
from mcp_keys_server.stores.sql import changes, rows
from mcp_keys_server.stores.sql import statements as sql
from mcp_keys_server.stores.sql.checksum_secrets import require_making
from mcp_keys_server.stores.sql.database import SqlDatabase, Transaction

Result = TypeVar("Result")

SECONDS_TO_WAIT_FOR_A_TURN = 10
PUBLIC_URL = "public_url"


class SqlStore:
    """Users, keys, secrets and the ledger in any database that understands the shared SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of each user whose keys are being changed."""

    async def note_public_url(self, url: str) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.PUT_META, PUBLIC_URL, url.encode())

        await self._database.write(work)

    async def noted_public_url(self) -> str | None:
        found = await self._database.read(tuple, sql.READ_META, PUBLIC_URL)
        return found[0][0].decode() if found else None

    async def replace_key_hash(self, prefix: str, *, old: str, new: str, proof: bytes | None) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.REPLACE_KEY_HASH, new, proof, prefix, old)

        await self._database.write(work)

    async def change(self, user_id: str, decide: Decide[Result]) -> Result:
        async def work(transaction: Transaction) -> Result:
            decision = decide(await changes.hold_holdings(transaction, user_id))
            # Before the first is written, so that the transaction knows what for.
            if any(isinstance(change, changes.ENDING) for change in decision.changes):
                await transaction.tell_processes()
            for change in decision.changes:
                await changes.write_change(transaction, user_id, change)
            await changes.write_events(transaction, decision.events)
            made_with = {it.made_with for it in decision.changes if isinstance(it, AddSecret) and it.made_with}
            if made_with:
                await require_making(transaction, made_with)
            return decision.answer

        # One after the other, before there is a writer or a connection for it: all of a user's changes wait for each
        # other anyway, and whoever makes very many keeps nobody else waiting for more than one.
        async with self._turn_of(user_id):
            return await self._database.write(work)

    @asynccontextmanager
    async def _turn_of(self, user_id: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(user_id, asyncio.Lock())
        try:
            with anyio.fail_after(SECONDS_TO_WAIT_FOR_A_TURN):
                await turn.acquire()
        except TimeoutError:
            raise StoreUnavailableError("too many changes of one user are waiting") from None
        try:
            yield
        finally:
            turn.release()

    async def add_event(self, event: Event) -> None:
        async def work(transaction: Transaction) -> None:
            await changes.write_events(transaction, [event])

        await self._database.write(work)

    async def list_events(self, user_id: str | None, *, before: int, limit: int) -> Sequence[Entry]:
        return await self._database.read(rows.entry, sql.LIST_EVENTS, user_id, before, limit)

    async def add_user(self, user: UserRecord, event: Event) -> None:
        async def work(transaction: Transaction) -> None:
            if not await transaction.fetch(sql.ADD_USER, user.user_id, user.email, user.name, user.created_at):
                raise UserExistsError
            await changes.write_events(transaction, [event])

        await self._database.write(work)

    async def find_user(self, user_id_or_email: str) -> UserRecord | None:
        return next(iter(await self._database.read(rows.user_record, sql.FIND_USER, user_id_or_email)), None)

    async def list_users(self) -> Sequence[UserRecord]:
        return await self._database.read(rows.user_record, sql.LIST_USERS)

    async def find_invitation(self, digest: bytes) -> KeyRecord | None:
        return next(iter(await self._database.read(rows.key_record, sql.FIND_INVITATION, digest)), None)

    async def has_secrets(self) -> bool:
        return bool(await self._database.read(tuple, sql.ANY_SECRET))

    async def find_key(self, user_id: str, key_id: str) -> KeyRecord | None:
        return next(iter(await self._database.read(rows.key_record, sql.FIND_KEY, user_id, key_id)), None)

    async def find_owner(self, key_id: str) -> str | None:
        return next(iter(await self._database.read(rows.only_text, sql.FIND_OWNER, key_id)), None)

    async def list_keys(
        self, user_id: str, *, include_ended: bool, now: datetime, after: str | None, limit: int
    ) -> Sequence[KeyRecord]:
        return await self._database.read(rows.key_record, sql.LIST_KEYS, user_id, include_ended, now, after, limit)

    async def list_all_keys(self, user_id: str | None, *, include_ended: bool, now: datetime) -> Sequence[KeyRecord]:
        return await self._database.read(rows.key_record, sql.LIST_ALL_KEYS, user_id, include_ended, now)
