"""That a disk which is really full leaves room for revocations is in ``tests/faults/test_full_disk.py``."""

from pathlib import Path
from typing import Any

import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.stores.sqlite.connections import SqliteConnections
from mcp_keys_server.stores.sqlite.reserve import RESERVED_BYTES, Reserve
from mcp_keys_server.stores.sqlite.store import SqliteStore
from tests.world import World

pytestmark = pytest.mark.anyio


async def allow_pages(world: World, most: int) -> None:
    """So many has the file at the most, and no fewer than it has."""
    store = world.ring.store
    assert isinstance(store, SqliteStore)
    await store._connections._writer.execute(f"PRAGMA max_page_count = {most}")


async def until_it_is_full(world: World) -> None:
    await allow_pages(world, 1)
    for number in range(1_000):
        try:
            await world.ring.administration.add_user(f"user{number}")
        except StoreUnavailableError as error:
            assert "full" in str(error)
            return
    raise AssertionError


def reserve_of(world: World) -> Path:
    return Path(f"{world.address}.reserve")


async def test_it_is_given_up_for_what_ends_a_key_and_for_nothing_else(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, give_up = sqlite_world, Reserve.give_up
    keys = [(await world.key())[0] for _ in range(40)]
    given_up: list[Path] = []

    def give_up_and_tell(reserve: Reserve) -> bool:
        given_up.append(reserve._path)
        return give_up(reserve)

    monkeypatch.setattr(Reserve, "give_up", give_up_and_tell)
    await until_it_is_full(world)
    assert (given_up, reserve_of(world).stat().st_size) == ([], RESERVED_BYTES)
    for record in keys:
        try:
            await world.ring.administration.revoke_key(record.key_id, reason="x" * 200)
        except StoreUnavailableError:  # still, because here it is not the disk that is full
            break
    assert given_up == [reserve_of(world)]
    assert "the disk is full" in caplog.text
    assert not reserve_of(world).exists()
    await allow_pages(world, 10_000)
    for record in keys:
        await world.ring.administration.revoke_key(record.key_id, reason=None)
    assert reserve_of(world).stat().st_size == RESERVED_BYTES


async def test_what_ends_a_key_is_done_again_in_the_room_that_was_kept(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, give_up, tries = sqlite_world, Reserve.give_up, SqliteConnections._try
    keys = [(await world.key())[0] for _ in range(40)]
    has_room = False

    def give_up_and_tell(reserve: Reserve) -> bool:
        nonlocal has_room
        has_room = give_up(reserve)
        return has_room

    async def try_with_what_room_there_is(connections: SqliteConnections, *arguments: Any) -> object:  # noqa: ANN401 - its own
        if has_room:
            await allow_pages(world, 10_000)
        return await tries(connections, *arguments)

    await until_it_is_full(world)
    monkeypatch.setattr(Reserve, "give_up", give_up_and_tell)
    monkeypatch.setattr(SqliteConnections, "_try", try_with_what_room_there_is)
    for record in keys:
        await world.ring.administration.revoke_key(record.key_id, reason="x" * 200)
    assert has_room
    assert await world.ring.administration.list_keys() == []
    await world.ring.administration.verify_events()
    assert reserve_of(world).stat().st_size == RESERVED_BYTES


async def test_where_none_can_be_kept_everything_else_goes_on(sqlite_world: World) -> None:
    sqlite_world.database.folder.joinpath("elsewhere").touch()
    reserve_of(sqlite_world).unlink()
    reserve_of(sqlite_world).symlink_to("elsewhere")
    reserve = Reserve(Path(sqlite_world.address))
    reserve.keep()
    assert (reserve.is_whole, sqlite_world.database.folder.joinpath("elsewhere").stat().st_size) == (False, 0)
