import pytest
from limits import parse

from mcp_keys_server.auth.throttle import Throttle
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_after_so_many_times_one_waits_and_others_do_not(world: World) -> None:
    throttle = Throttle("calls", parse("2 per minute"), world.ring.counters)
    world.clock.advance(seconds=12.5)
    assert [await throttle.take("192.0.2.1") for _ in range(4)] == [0, 0, 48, 48]
    assert await throttle.take("192.0.2.2") == 0
    world.clock.advance(seconds=48)
    assert await throttle.take("192.0.2.1") == 0


async def test_what_one_thing_was_counted_for_does_not_count_for_another(world: World) -> None:
    calls = Throttle("calls", parse("1 per minute"), world.ring.counters)
    claims = Throttle("claims", parse("1 per hour"), world.ring.counters)
    assert [await calls.take("key_1"), await claims.take("key_1")] == [0, 0]
    assert [await calls.take("key_1"), await claims.take("key_1")] == [60, 3600]
