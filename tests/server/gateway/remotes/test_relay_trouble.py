"""What the operator is told of trouble, and how often."""

import logging

import pytest

from mcp_keys_server.server.gateway.remotes.relay_trouble import (
    LONGEST_REASON,
    SECONDS_BETWEEN_WARNINGS,
    Trouble,
    TroubleError,
    TroubleLog,
    answer,
    sentence,
)
from tests.server.gateway.remotes.remote_upstreams import A_KEY


@pytest.mark.parametrize("trouble", Trouble)
def test_each_trouble_has_an_answer(trouble: Trouble) -> None:
    assert answer(trouble, "tickets", 1).status_code >= 200
    assert answer(trouble, "tickets", None).status_code >= 400
    assert "{" not in sentence(trouble, "tickets")


def test_the_same_trouble_is_told_once_in_a_while_with_how_often_it_was_not(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = TroubleLog("tickets", now=lambda: now)
    for _ in range(3):
        log.tell(TroubleError(Trouble.BROKEN, "it broke"))
    log.tell(TroubleError(Trouble.SILENT, "it fell silent"))
    log.tell(TroubleError(Trouble.NO_TOOL))
    for _ in range(2):
        now += SECONDS_BETWEEN_WARNINGS
        log.tell(TroubleError(Trouble.BROKEN, "it broke again"))
    assert [(it.levelno, it.getMessage()) for it in caplog.records] == [
        (logging.WARNING, "upstream tickets: it broke"),
        (logging.WARNING, "upstream tickets: it fell silent"),
        (logging.WARNING, "upstream tickets: it broke again (2 more times since this was told last)"),
        (logging.WARNING, "upstream tickets: it broke again"),
    ]


def test_what_a_stranger_wrote_neither_begins_a_line_nor_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    TroubleLog("tickets").tell(TroubleError(Trouble.GARBAGE, f"it said\n\u2028{A_KEY}" + "a" * 1000))
    (told,) = (it.getMessage() for it in caplog.records)
    assert told.startswith("upstream tickets: it said\\n\\u2028")
    assert A_KEY not in told
    assert len(told) < LONGEST_REASON + 50
