import pytest

from mcp_keys_server.core.networks import network_of


@pytest.mark.parametrize(
    ("one", "another", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_all_addresses_of_one_ipv6_network_are_one_visitor(one: str, another: str, *, are_one: bool) -> None:
    assert (network_of(one) == network_of(another)) is are_one
