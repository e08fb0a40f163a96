"""Events as they are read and passed on."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server.server.gateway.remotes.event_stream import (
    LONGEST_ID,
    Event,
    EventReader,
    EventTooLargeError,
    IdSealer,
)

STREAM = (
    b"\xef\xbb\xbf: hello\n\nid: 1\r\nevent: message\r\ndata: a\r\ndata:b\r\n\r\n"
    b"data\r\rid\nretry:  5\n\n\n\ndata: lost"
)
EVENTS = [
    Event(((b"", b"hello"),), None),
    Event(((b"id", b"1"), (b"event", b"message")), b"a\nb"),
    Event((), b""),
    Event(((b"id", b""), (b"retry", b" 5")), None),
]
PIECES = st.lists(
    st.sampled_from(
        [b"id:", b"id", b"i", b"d", b": ", b"data: x", b"\n", b"\r", b"\r\n", b"\n\n", b"1", b"idle", b"\xc3"]
    ),
    max_size=30,
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[begin:end] for begin, end in pairwise(at)]


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_a_stream_is_read_alike_wherever_it_is_cut(places: list[int]) -> None:
    reader = EventReader(1000)
    assert [event for chunk in cut(STREAM, places) for event in reader.read(chunk)] == EVENTS


def test_an_event_is_written_as_it_was_read() -> None:
    written = b"".join(event.encoded() for event in EVENTS)
    assert list(EventReader(1000).read(written)) == EVENTS


def test_an_event_has_its_bounds() -> None:
    assert len(list(EventReader(200).read(b"data: " + b"a" * 100 + b"\n\n"))) == 1
    for large in (b"data: " + b"a" * 200 + b"\n\n", b"data: " + b"a" * 200, b"data: a\n" * 3, b":\n" * 4, b"a" * 201):
        with pytest.raises(EventTooLargeError):
            list(EventReader(200).read(large))
    many = EventReader(200)
    assert len([event for _ in range(1000) for event in many.read(b"data: " + b"a" * 100 + b"\n\n")]) == 1000


@given(PIECES, st.lists(st.integers(min_value=0), max_size=10))
def test_only_the_ids_of_a_stream_are_changed(pieces: list[bytes], places: list[int]) -> None:
    stream = b"".join(pieces)
    expected = bytearray()
    for line in (stream + b"\n").splitlines(keepends=True):  # of bytes, at these ends and no others
        text = line.rstrip(b"\r\n")
        value = text.removeprefix(b"id:").removeprefix(b" ")
        sealed = b"id: <" + value + b">" if text.startswith(b"id:") and value else text
        expected += sealed + line[len(text) :]
    sealer = IdSealer(lambda value: b"<" + value + b">")
    written = b"".join(sealer.read(chunk) for chunk in cut(stream + b"\n", places))
    assert written == bytes(expected)


def test_nothing_but_an_id_is_held() -> None:
    sealer = IdSealer(lambda value: b"<" + value + b">")
    assert [sealer.read(piece) for piece in (b"d", b"ata", b"\ni", b"dle", b"\ni", b"d", b":1", b"\n")] == [
        *(b"d", b"ata", b"\n", b"idle", b"\n", b"", b"", b"id: <1>\n")
    ]


def test_an_id_has_its_bounds() -> None:
    for pieces in ([b"1" * LONGEST_ID], [b"1"] * LONGEST_ID):
        sealer = IdSealer(lambda value: value)
        with pytest.raises(EventTooLargeError):
            b"".join(map(sealer.read, (b"id:", *pieces)))
    assert IdSealer(lambda value: value).read(b"data: " + b"1" * 5000) == b"data: " + b"1" * 5000
