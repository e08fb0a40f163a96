"""The search finds what it is for: a line of a log that says the header, however it writes it."""

import base64
import json
import logging
from collections.abc import Callable
from urllib.parse import quote_from_bytes

import pytest

from tests.leaks.forms import Secrets
from tests.mints import mint_of

WRITTEN: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "a part of it": lambda header: header[30:50].encode(),
    "another part of it": lambda header: header[41:57].encode(),
    "base64": lambda header: base64.b64encode(header.encode()),
    "base64 behind one letter": lambda header: base64.b64encode(f"x{header}".encode()),
    "base64 behind two letters": lambda header: base64.b64encode(f"xy{header}".encode()),
    "base64 for addresses": lambda header: base64.urlsafe_b64encode(header.encode()),
    "hexadecimal": lambda header: header.encode().hex().encode(),
    "hexadecimal in capitals": lambda header: header.encode().hex().upper().encode(),
    "in an address": lambda header: quote_from_bytes(header.encode()).encode(),
    "in an address, all of it": lambda header: "".join(f"%{byte:02X}" for byte in header.encode()).encode(),
    "UTF-16": lambda header: header.encode("utf-16"),
    "UTF-16 of the other kind": lambda header: header.encode("utf-16-be"),
    "UTF-32": lambda header: header.encode("utf-32"),
    "JSON": lambda header: json.dumps({"header": header}).encode(),
    "JSON in JSON": lambda header: json.dumps(json.dumps({"header": header})).encode(),
    "a list of numbers": lambda header: repr(list(header.encode())).encode(),
    "a repr": lambda header: repr([(b"authorization", header.encode())]).encode(),
    "backwards": lambda header: header[::-1].encode(),
}


@pytest.fixture
def key() -> str:
    return mint_of(b"a secret of these tests").mint().reveal()


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_logger_that_says_the_header_is_found(
    key: str, written: Callable[[str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    secrets = Secrets()
    secrets.add("a key", key)
    logging.getLogger("careless").warning("%s", written(f"Bearer {key}").decode("latin-1"))
    assert {trace.of for trace in secrets.traces_in(caplog.text.encode("latin-1"))} == {"a key"}
    caplog.clear()  # where else no test may leave a key


def test_what_is_no_part_of_it_is_not_found(key: str) -> None:
    secrets = Secrets()
    secrets.add("a key", key)
    other = mint_of(b"a secret of these tests").mint().reveal()
    assert secrets.traces_in(f"{key[:12]} {other} {key[12:19]} {key[-3:]}".encode()) == set()
