from pathlib import Path

import pytest

from mcp_keys_server.stores.sqlite.tables import SqliteTables, open_snapshot, open_target
from tests.world import World

pytestmark = pytest.mark.anyio
USERS = "SELECT count(*) FROM users"


@pytest.fixture
def kind() -> str:
    return "sqlite"


async def test_a_snapshot_is_of_the_moment_in_which_it_is_opened(world: World) -> None:
    async with open_snapshot(Path(world.address)) as tables:
        await world.ring.administration.add_user("eve")
        assert await tables.fetch(USERS) == [(2,)]
    assert world.sql(USERS) == [(3,)]


async def test_of_what_failed_nothing_is_left_to_the_next_transaction(world: World) -> None:
    async def fail(tables: SqliteTables) -> None:
        async with tables.transaction():
            await tables.fetch("INSERT INTO users (user_id, created_at) VALUES ('left', 'now')")
            raise ZeroDivisionError

    async with open_target(Path(world.address)) as tables:
        with pytest.raises(ZeroDivisionError):
            await fail(tables)
        async with tables.transaction():
            assert await tables.fetch(USERS) == [(2,)]
