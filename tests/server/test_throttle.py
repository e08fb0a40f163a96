import pytest
from limits import parse

from mcp_keys_server.server.throttle import FailureThrottle

pytestmark = pytest.mark.anyio


async def test_after_so_many_failures_one_waits_and_others_do_not() -> None:
    throttle = FailureThrottle(parse("2 per minute"))
    for _ in range(2):
        assert await throttle.seconds_to_wait("192.0.2.1") == 0
        await throttle.note_failure("192.0.2.1")
    assert 0 < await throttle.seconds_to_wait("192.0.2.1") <= 60
    assert await throttle.seconds_to_wait("192.0.2.2") == 0


async def test_all_addresses_of_one_ipv6_network_are_one_visitor() -> None:
    throttle = FailureThrottle(parse("2 per minute"))
    for address in ("2001:db8::1", "2001:db8::ffff:1"):
        await throttle.note_failure(address)
    assert await throttle.seconds_to_wait("2001:db8::2") > 0
    assert await throttle.seconds_to_wait("2001:db8:0:1::1") == 0


async def test_who_has_no_address_is_one_visitor_too() -> None:
    throttle = FailureThrottle(parse("1 per minute"))
    await throttle.note_failure("unknown")
    assert await throttle.seconds_to_wait("unknown") > 0
