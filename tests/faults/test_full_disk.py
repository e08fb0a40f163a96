"""On a disk that is full, everybody is let in as before, and what cannot be written is said to have failed."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mcp_keys_server import InvalidApiKeyError, StoreUnavailableError, UnusableDatabaseError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.sqlite.reserve import RESERVED_BYTES
from tests.databases import SqliteDatabase
from tests.faults.full_disk import Disk, a_small_disk
from tests.server.calls import call, post
from tests.server.conftest import client_of, started
from tests.world import World, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["mounted where that may be", "limited"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with a_small_disk(tmp_path / "disk", mounted=request.param) as small:
        yield small


@pytest.fixture
async def world(disk: Disk) -> AsyncIterator[World]:
    async with open_world(SqliteDatabase(disk.folder / "data" / "keys.db")) as opened:
        yield opened


async def test_everybody_is_let_in_and_what_fails_is_said_and_left_out_until_there_is_room(
    world: World, disk: Disk
) -> None:
    keys = [await world.key() for _ in range(10)]
    (ended, ended_key), (_, key) = keys[0], keys[1]
    async with started(world, Settings()) as app, client_of(app) as http:
        assert [(await post(http, warm)).status_code for _, warm in keys] == [200] * 10
        disk.fill()
        for _ in range(3):
            assert [(await post(http, warm)).status_code for _, warm in keys] == [200] * 10
            refused = await call(http, key, "create_key", {"name": "x"})
            assert (refused.is_error, "Try again" in refused.text) == (True, True)
            with pytest.raises(StoreUnavailableError, match="full|disk I/O error"):  # which the log says, too
                await world.key()
        if not disk.gives_room:
            revoked = await call(http, key, "revoke_key", {"key_id": ended.key_id})
            assert (revoked.is_error, "Try again" in revoked.text) == (True, True)
            assert (await post(http, ended_key)).status_code == 200
        await world.ring.verifier.verify(key.reveal())
        with pytest.raises(StoreUnavailableError):  # and nothing is written of uses, of which none is lost
            await world.ring.verifier._usage.write()
        disk.free()
        assert not (await call(http, key, "create_key", {"name": "x"})).is_error
        assert not (await call(http, key, "revoke_key", {"key_id": ended.key_id})).is_error
        assert (await post(http, ended_key)).status_code == 401
    await world.ring.verifier._usage.write()
    kept = {one.key_id: one for one in await world.ring.administration.list_keys(include_ended=True)}
    assert len(kept) == 11
    assert {kept[record.key_id].use_count for record, _ in keys[2:]} == {4}
    await world.ring.administration.verify_events()


@pytest.mark.parametrize("disk", [True], indirect=True)
async def test_keys_are_ended_on_a_full_disk_and_none_is_made_in_the_room_for_it(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    if not disk.gives_room:  # as in tests/stores/sqlite/test_reserve.py
        pytest.xfail("nothing can be mounted here")
    async with open_world(SqliteDatabase(disk.folder / "data" / "keys.db")) as world:
        keys = [await world.key() for _ in range(16)]
        disk.fill()
        for record, key in keys[:-1]:
            assert (await world.ring.administration.revoke_key(record.key_id, reason="stolen")).revoked_at is not None
            with pytest.raises(InvalidApiKeyError):
                await world.ring.verifier.verify(key.reveal())
            with pytest.raises(StoreUnavailableError):
                await world.key()
        assert (await world.ring.administration.disable_user("ada")).disabled_at is not None
        assert "the disk is full" in caplog.text
        disk.free()
        await world.key("bob")
        assert reserve_of(disk).stat().st_size >= RESERVED_BYTES
        await world.ring.administration.verify_events()


async def test_without_what_was_kept_no_key_is_ended_and_that_is_said(disk: Disk) -> None:
    async with open_world(SqliteDatabase(disk.folder / "data" / "keys.db")) as world:
        record, key = await world.key()
        reserve_of(disk).unlink()
        disk.fill()
        with pytest.raises(StoreUnavailableError, match="full|disk I/O error"):
            await world.ring.administration.revoke_key(record.key_id, reason=None)
        await world.ring.verifier.verify(key.reveal())
        disk.free()
        await world.ring.administration.revoke_key(record.key_id, reason=None)


def reserve_of(disk: Disk) -> Path:
    return disk.folder / "data" / "keys.db.reserve"


async def test_a_start_on_a_full_disk_is_a_sentence_or_a_server_that_reads(world: World, disk: Disk) -> None:
    database = SqliteDatabase(disk.folder / "data" / "at rest.db")
    async with open_world(database) as there:
        _, key = await there.key()
    disk.fill()
    try:
        async with open_key_ring(database.path, bcrypt_cost=CHEAPEST_COST) as ring:
            await ring.verifier.verify(key.reveal())
    except UnusableDatabaseError as error:
        assert "cannot be opened" in str(error)
    disk.free()
    async with open_key_ring(database.path, bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.verifier.verify(key.reveal())
    await world.key()
