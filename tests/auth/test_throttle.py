import pytest
from limits import parse

from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.networks import network_of
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


@pytest.mark.parametrize(
    ("one", "another", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_all_addresses_of_one_ipv6_network_are_one_visitor(one: str, another: str, *, are_one: bool) -> None:
    assert (network_of(one) == network_of(another)) is are_one
