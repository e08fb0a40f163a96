import pytest

from tests.databases import Database
from tests.stores.whole.lives import Lives, live
from tests.world import open_world


@pytest.fixture
async def lives(database: Database) -> Lives:
    """Written to the database, which is closed again."""
    async with open_world(database) as world:
        return await live(world)
