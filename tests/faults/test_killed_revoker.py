import asyncio
import signal
import sys

import pytest

from mcp_keys_server import InvalidApiKeyError
from mcp_keys_server.auth.guard import KeyGuard
from tests.faults.callers import Callers, application, until_ended
from tests.world import World

pytestmark = pytest.mark.anyio


async def killed_amid_revoking(world: World, key_id: str) -> None:
    command = (sys.executable, "-m", "tests.faults.killed_revoker", world.address, key_id)
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("looks", [True, False])
async def test_what_is_open_ends_although_its_revoker_could_tell_nobody(
    world: World, kind: str, *, looks: bool
) -> None:
    """PostgreSQL tells of what is committed, whatever becomes of who did it. With SQLite only the looks are left, and
    without them it goes on: that is why there are any."""
    record, key = await world.key()
    ring = world.ring
    if not looks:
        ring.open_responses._seconds_between_looks = 3600
    callers = Callers([KeyGuard(application, ring.verifier, ring.open_responses)], key, key)
    async with callers.open_responses(3) as responses:
        await killed_amid_revoking(world, record.key_id)
        with pytest.raises(InvalidApiKeyError):
            await ring.verifier.verify(key.reveal())
        if looks or kind == "postgres":
            await until_ended(responses)
        else:
            assert not any(response.done() for response in responses)
