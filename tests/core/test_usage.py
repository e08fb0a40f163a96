import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from mcp_keys_server import RequestedGrant, StoreUnavailableError, open_key_ring
from mcp_keys_server.core import usage, write_behind
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Use
from mcp_keys_server.core.usage import UsageLog
from mcp_keys_server.core.write_behind import keep_writing
from tests.world import World

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def test_uses_are_counted_and_written_when_the_database_is_closed(world: World) -> None:
    record, key = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        for _ in range(3):
            world.clock.advance(minutes=1)
            await ring.verifier.verify(key.reveal())
    used = (await world.ring.administration.list_keys())[0]
    assert (used.use_count, used.last_used_at) == (3, record.created_at + timedelta(minutes=3))


async def test_uses_are_written_while_the_database_is_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "SECONDS_BETWEEN_WRITES", 0)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        _, key = await ring.administration.create_key("ada", name="x", requested=RequestedGrant())
        await ring.verifier.verify(key.reveal())
        with anyio.fail_after(10):
            while not (await world.ring.administration.list_keys())[0].use_count:
                await asyncio.sleep(0)


async def test_a_refused_key_is_not_counted(world: World) -> None:
    record, key = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        await ring.administration.revoke_key(record.key_id, reason=None)
        with pytest.raises(Exception, match="revoked"):
            await ring.verifier.verify(key.reveal())
    assert (await world.ring.administration.list_keys(include_ended=True))[0].use_count == 0


async def test_writing_a_use_does_not_bring_back_a_revoked_key(world: World) -> None:
    record, key = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
        await other.verifier.verify(key.reveal())
        await world.ring.administration.revoke_key(record.key_id, reason="lost")
    written = (await world.ring.administration.list_keys(include_ended=True))[0]
    assert (written.use_count, written.revoked_reason) == (1, "lost")


class Tape:
    """A store that takes uses, or does not."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Use]] = []
        self.broken = False

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        if self.broken:
            raise StoreUnavailableError("full")
        self.written.append(uses)


async def test_what_could_not_be_written_is_written_later_with_what_came_since() -> None:
    tape = Tape()
    log = UsageLog(tape.record_use)
    tape.broken = True
    log.note("a", NOON, None)
    log.note("b", NOON, None)
    with pytest.raises(StoreUnavailableError):
        await log.write()
    tape.broken = False
    log.note("a", NOON + timedelta(hours=1), "::1")
    await log.write()
    await log.write()
    assert tape.written == [{"a": Use(2, NOON + timedelta(hours=1), "::1"), "b": Use(1, NOON)}]


async def test_trouble_does_not_end_the_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "SECONDS_BETWEEN_WRITES", 0)
    tape = Tape()
    tape.broken = True
    log = UsageLog(tape.record_use)
    log.note("a", NOON, None)
    writing = asyncio.create_task(keep_writing(log.write))
    with anyio.fail_after(10):
        for _ in range(10):
            await asyncio.sleep(0)
        tape.broken = False
        while not tape.written:
            await asyncio.sleep(0)
    writing.cancel()
    assert tape.written == [{"a": Use(1, NOON)}]


async def test_only_so_many_keys_wait_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_KEYS_WAITING", 2)
    tape = Tape()
    log = UsageLog(tape.record_use)
    for key_id in ("a", "b", "c", "a"):
        log.note(key_id, NOON, None)
    await log.write()
    assert tape.written == [{"a": Use(2, NOON), "b": Use(1, NOON)}]


async def test_the_newest_use_says_where_it_came_from_and_nothing_earlier_does() -> None:
    tape = Tape()
    log = UsageLog(tape.record_use)
    for key_id, client in (("a", "192.0.2.1"), ("a", "::1"), ("b", "192.0.2.1"), ("b", None)):
        log.note(key_id, NOON, client)
    await log.write()
    assert tape.written == [{"a": Use(2, NOON, "::1"), "b": Use(2, NOON)}]


async def test_what_could_not_be_written_keeps_its_address_until_a_newer_use_has_one() -> None:
    tape = Tape()
    log = UsageLog(tape.record_use)
    tape.broken = True
    for key_id in ("a", "b"):
        log.note(key_id, NOON, "192.0.2.1")
    with pytest.raises(StoreUnavailableError):
        await log.write()
    tape.broken = False
    log.note("b", NOON + timedelta(hours=1), None)
    await log.write()
    assert tape.written == [{"a": Use(1, NOON, "192.0.2.1"), "b": Use(2, NOON + timedelta(hours=1))}]


async def test_what_came_while_writing_failed_is_newer_than_what_failed() -> None:
    written: list[Mapping[str, Use]] = []

    async def fail_once(uses: Mapping[str, Use]) -> None:
        if not written:
            written.append({})
            log.note("a", NOON + timedelta(hours=1), "::1")
            raise StoreUnavailableError("full")
        written.append(uses)

    log = UsageLog(fail_once)
    log.note("a", NOON, "192.0.2.1")
    with pytest.raises(StoreUnavailableError):
        await log.write()
    await log.write()
    assert written[1:] == [{"a": Use(2, NOON + timedelta(hours=1), "::1")}]
