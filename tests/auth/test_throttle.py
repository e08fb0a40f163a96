import time

import pytest
from limits import parse

from mcp_keys_server.auth.throttle import FEWEST_TO_LOOK_THROUGH, Throttle, network_of

pytestmark = pytest.mark.anyio


async def test_after_so_many_times_one_waits_and_others_do_not() -> None:
    throttle = Throttle(parse("2 per minute"))
    for _ in range(2):
        assert await throttle.seconds_to_wait("192.0.2.1") == 0
        assert await throttle.take("192.0.2.1") == 0
    assert 0 < await throttle.seconds_to_wait("192.0.2.1") <= 60
    assert 0 < await throttle.take("192.0.2.1") <= 60
    assert await throttle.seconds_to_wait("192.0.2.2") == 0


async def test_counters_that_have_ended_are_dropped_and_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle, now = Throttle(parse("1 per minute")), time.time()
    for number in range(FEWEST_TO_LOOK_THROUGH - 1):
        await throttle.take(str(number))
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert await throttle.take("one more") == 0
    assert await throttle.seconds_to_wait("0") == 0
    counters = throttle._limiter.storage
    assert await counters.check()
    assert await counters.get_expiry("never seen") == now + 61
    assert await counters.reset() == 1
    await throttle.take("a")
    await throttle._limiter.clear(throttle._allowed, "a")
    assert await throttle.take("a") == 0
    assert counters.base_exceptions is MemoryError


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
