import pytest
from limits import parse

from mcp_keys_server.auth.throttle import Throttle, network_of

pytestmark = pytest.mark.anyio


async def test_after_so_many_times_one_waits_and_others_do_not() -> None:
    throttle = Throttle(parse("2 per minute"))
    for _ in range(2):
        assert await throttle.seconds_to_wait("192.0.2.1") == 0
        assert await throttle.take("192.0.2.1") == 0
    assert 0 < await throttle.seconds_to_wait("192.0.2.1") <= 60
    assert 0 < await throttle.take("192.0.2.1") <= 60
    assert await throttle.seconds_to_wait("192.0.2.2") == 0


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
