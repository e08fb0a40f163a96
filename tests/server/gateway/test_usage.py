"""What is kept about how upstreams are used."""

import pytest

from mcp_keys_server.server.gateway import usage
from mcp_keys_server.server.gateway.usage import UsageBook
from tests.world import SettableClock


def test_calls_are_counted_with_what_came_of_them() -> None:
    clock = SettableClock()
    book = UsageBook(clock=clock)
    with book.calling("notes", "ada"):
        assert book.open_calls("notes", "ada") == 1
        assert book.open_calls("notes", "bob") == 0
    clock.advance(seconds=5)
    with book.calling("notes", "ada") as call:
        call.failed("the tool answered with an error")
    with pytest.raises(ValueError, match="no"), book.calling("notes", "ada"):
        raise ValueError("no")
    use = book.uses["notes", "ada"]
    assert (use.calls, use.open_calls, use.errors) == (3, 0, 2)
    assert (use.last_error, use.last_error_at, use.last_used_at) == ("no", clock.now, clock.now)
    assert 0 < use.longest_seconds <= use.seconds


def test_who_has_not_called_for_the_longest_is_forgotten_and_nobody_who_is_calling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "MOST_PAIRS", 2)
    book = UsageBook()
    with book.calling("notes", "first"):
        for user in ("second", "third"):
            book.note_error("notes", user, "it ended")
        assert [user for _, user in book.uses] == ["first", "third"]
        with book.calling("notes", "third"), book.calling("notes", "fourth"):
            assert len(book.uses) == 3
