import pytest

from mcp_keys_server import UnusableDatabaseError
from mcp_keys_server.stores.sql.checksum_secrets import new_checksum_secret, whole_checksum_secrets, with_digest


def test_each_is_another_and_is_known_to_be_whole() -> None:
    first, second = new_checksum_secret(), new_checksum_secret()
    assert len({first, second, first[:32], second[:32]}) == 4
    assert whole_checksum_secrets("it", first + second) == [first, second]


WHOLE = with_digest(b"s" * 32)


@pytest.mark.parametrize(
    "found",
    [
        None,
        b"",
        b"\0",
        bytes(100),
        bytes(40),
        WHOLE + bytes(40),
        bytes(40) + WHOLE,
        WHOLE[:32],
        WHOLE[:-1],
        WHOLE + b"\0",
        b"t" + WHOLE[1:],
        with_digest(b""),
    ],
)
def test_what_is_not_as_it_was_made_is_lost(found: bytes | None) -> None:
    with pytest.raises(UnusableDatabaseError, match=r"^keys\.db has lost its checksum secret; restore a backup$"):
        whole_checksum_secrets("keys.db", found)
