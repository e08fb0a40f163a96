import re

import pytest

from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings


def allows(patterns: tuple[str, ...], value: str) -> bool:
    return value in patterns or any(p.endswith(":*") and value.startswith(p[:-1]) for p in patterns)


def test_the_public_url_is_what_clients_are_told() -> None:
    assert host_policy(Settings(), port=8000).public_url == "http://127.0.0.1:8000"
    assert host_policy(Settings(host="0.0.0.0"), port=80).public_url == "http://localhost:80"  # noqa: S104
    assert host_policy(Settings(host="::1"), port=8000).public_url == "http://[::1]:8000"
    assert (
        host_policy(Settings(public_url="https://keys.example.com/"), port=1).public_url == "https://keys.example.com"
    )


def test_the_public_host_and_origin_are_answered() -> None:
    policy = host_policy(Settings(public_url="https://keys.example.com"), port=8000)
    for host in ("keys.example.com", "keys.example.com:443", "localhost:8000"):
        assert allows(policy.hosts, host)
    for host in ("example.com", "keys.example.com:8000", "evil.example"):
        assert not allows(policy.hosts, host)
    assert allows(policy.origins, "https://keys.example.com")
    assert not allows(policy.origins, "http://keys.example.com")


def test_a_public_url_with_a_port_is_answered_with_it() -> None:
    policy = host_policy(Settings(public_url="http://keys.example.com:8080"), port=8000)
    assert allows(policy.hosts, "keys.example.com:8080")
    assert not allows(policy.hosts, "keys.example.com")


def test_the_address_that_is_listened_on_is_answered_unless_it_is_all_of_them() -> None:
    assert allows(host_policy(Settings(host="192.0.2.1"), port=8000).hosts, "192.0.2.1:8000")
    assert not allows(host_policy(Settings(host="0.0.0.0"), port=8000).hosts, "0.0.0.0:8000")  # noqa: S104


def test_more_hosts_and_origins_are_the_operators_choice() -> None:
    settings = Settings(allowed_hosts=("lan.example:*",), allowed_origins=("https://chat.example",))
    policy = host_policy(settings, port=8000)
    assert allows(policy.hosts, "lan.example:1234")
    assert policy.for_sdk().allowed_hosts == list(policy.hosts)
    assert "https://chat.example" in policy.plain_origins()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:6274", True),
        ("http://[::1]:6274", True),
        ("http://127.0.0.1:1", True),
        ("http://127a0b0c1:1", False),
        ("http://localhost:6274.evil.example", False),
        ("http://localhost:", False),
        ("https://localhost:6274", False),
    ],
)
def test_origins_of_any_port_are_of_any_port_only(origin: str, *, allowed: bool) -> None:
    pattern = host_policy(Settings(), port=8000).origins_of_any_port()
    assert bool(re.fullmatch(pattern, origin)) is allowed
