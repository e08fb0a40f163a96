"""Keys go through the whole product, right and wrong, and afterwards stand nowhere but where they were revealed."""

from collections.abc import Iterator

import pytest

from tests.leaks.hunt import Hunt, hunted
from tests.leaks.wrong_places import OWN_WORDS

REVEALING = {"the file of a key", OWN_WORDS}
"""Where a key has to be: the file in which it was delivered, and what the SDK quotes to its sender alone."""


@pytest.fixture(scope="module")
def hunt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    with hunted(tmp_path_factory.mktemp("hunt")) as over:
        yield over


def test_no_part_of_a_key_is_left_in_any_form(hunt: Hunt) -> None:
    assert len(hunt.secrets) == 10
    found = {place: hunt.secrets.traces_in(content) for place, content in hunt.places.items()}
    assert {place: traces for place, traces in found.items() if traces and place not in REVEALING} == {}


def test_everything_was_there_to_be_searched(hunt: Hunt) -> None:
    """Or nothing would have been found in it either."""
    places = hunt.places
    assert {trace.of for trace in hunt.secrets.traces_in(places["the file of a key"])} == {"a key in its file"}
    assert {trace.of for trace in hunt.secrets.traces_in(hunt.witness)} == {"the first key", "an imported key"}
    assert b"aiosqlite" in hunt.witness
    assert b"$2b$" in hunt.witness
    assert b"crashed over" in places["the log"]
    assert b"[redacted]" in places["the log"]
    assert b"upstream" in places["the log"]
    assert b"tools/call" in places["traces"]
    assert b"echo" in places["what the server elsewhere heard"].replace(b"echoing", b"")
    assert b"serve" in places["the cmdline of a process"]
    assert b"echoing.py" in places["the cmdline of a process"]
    assert b"HTTP/1.1 400" in places["what the server says to garbage"]
    assert b"key_claimed" in places["the database"]
    assert any(place.endswith("keys.db-wal") for place in places)
    assert b"key_claimed" in places["left behind: backup.db"]


def test_no_key_hash_is_in_what_was_logged_told_or_traced(hunt: Hunt) -> None:
    for place, content in hunt.places.items():
        if not place.startswith(("the database", "left behind: ")):
            assert b"$2b$" not in content, place
