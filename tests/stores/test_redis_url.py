import copy

import pytest

from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.stores.redis_url import RedisUrl


@pytest.mark.parametrize(
    ("text", "shown", "revealed"),
    [
        ("redis://localhost", "redis://localhost", "redis://localhost"),
        ("redis://:Hunter2@10.0.0.7:6380/3", "redis://@10.0.0.7:6380/3", "redis://:Hunter2@10.0.0.7:6380/3"),
        ("valkey://ada:Hunter2@cache", "valkey://ada@cache", "redis://ada:Hunter2@cache"),
        ("valkeys://ada:Hunter2@cache/", "valkeys://ada@cache/", "rediss://ada:Hunter2@cache/"),
        ("rediss://[::1]/0?ssl_ca_certs=/ca.pem", "rediss://[::1]/0", "rediss://[::1]/0?ssl_ca_certs=/ca.pem"),
        (
            "rediss://cache?ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            "rediss://cache",
            "rediss://cache?ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
        ),
    ],
)
def test_a_url_is_shown_without_its_password(text: str, shown: str, revealed: str) -> None:
    url = RedisUrl(text)
    assert (str(url), repr(url), url.reveal()) == (shown, f"RedisUrl({shown})", revealed)
    assert (url == RedisUrl(text), hash(url) == hash(RedisUrl(text)), url == text) == (True, True, False)
    assert url != RedisUrl("redis://elsewhere")
    with pytest.raises(TypeError, match="never pickled or copied"):
        copy.copy(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:6379",
        "http://:Hunter2@localhost",
        "redis://",
        "redis://:Hunter2@",
        "redis://localhost:Hunter2",
        "redis://localhost:0",
        "redis://localhost:65536",
        "redis://[Hunter2",
        "redis://:Hunt#er2@localhost",
        "redis://localhost/Hunter2",
        "redis://localhost/0#Hunter2",
        "redis://localhost?password=Hunter2",
        "redis://localhost?Hunter2",
        "redis://localhost?Hunter2=",
    ],
)
def test_what_is_no_such_url_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        RedisUrl(text)
    assert "Hunt" not in str(refused.value)
