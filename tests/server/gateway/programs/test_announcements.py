"""What an upstream says unasked, and to whom it goes."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    LoggingLevel,
    LoggingMessageNotificationParams,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
)

from mcp_keys_server.server.gateway.programs.announcements import MOST_LISTENERS, Announcements
from mcp_keys_server.server.gateway.programs.questions import Context

if TYPE_CHECKING:
    from mcp.client.client import Client

pytestmark = pytest.mark.anyio


class Session:
    """What of a session is needed to tell it something."""

    def __init__(self, *, is_gone: bool = False) -> None:
        self.told: list[object] = []
        self._is_gone = is_gone

    async def send_notification(self, notification: object) -> None:
        if self._is_gone:
            raise RuntimeError("gone")
        self.told.append(notification)


def asked(method: str, session: Session, session_id: str) -> Context:
    request = SimpleNamespace(headers={"mcp-session-id": session_id})
    return cast("Context", SimpleNamespace(method=method, session=session, request=request))


def changed(uri: str) -> ResourceUpdatedNotification:
    return ResourceUpdatedNotification(params=ResourceUpdatedNotificationParams(uri=uri))


async def test_one_session_that_is_gone_keeps_nothing_from_the_others() -> None:
    announcements, gone, there = Announcements(), Session(is_gone=True), Session()
    for session_id, session in (("1", gone), ("2", there)):
        announcements.note(asked("resources/subscribe", session, session_id), {"uri": "a:b"})
    await announcements.on_message(changed("a:b"))
    await announcements.on_message(changed("a:other"))
    await announcements.on_message(ValueError("no message at all"))
    assert there.told == [changed("a:b")]


async def test_of_listeners_that_never_end_so_many_are_kept_and_no_more() -> None:
    announcements, session = Announcements(), Session()
    for number in range(MOST_LISTENERS + 1):
        announcements.note(asked("resources/subscribe", session, str(number)), {"uri": "a:b"})
        announcements.note(asked("logging/setLevel", session, str(number)), {"level": "info"})
    await announcements.on_message(changed("a:b"))
    await announcements.on_log(LoggingMessageNotificationParams(level="error", data="x"))
    assert len(session.told) == 2 * MOST_LISTENERS


@pytest.mark.parametrize(("first", "second", "asked_of_it"), [("info", "error", "info"), ("error", "info", "info")])
async def test_an_upstream_is_asked_for_what_all_sessions_want(
    first: LoggingLevel, second: LoggingLevel, asked_of_it: str
) -> None:
    announcements = Announcements()
    announcements.note(asked("logging/setLevel", Session(), "1"), {"level": first})
    assert announcements.agreed("logging/setLevel", {"level": second}) == {"level": asked_of_it}


async def test_an_upstream_that_does_not_go_on_after_a_restart_is_left_alone() -> None:
    class Refusing:
        class session:  # noqa: N801 - an attribute
            @staticmethod
            async def send_request(*_: object, **__: object) -> None:
                raise MCPError(-32602, "no such resource")

    announcements = Announcements()
    announcements.note(asked("resources/subscribe", Session(), "1"), {"uri": "a:b"})
    await announcements.on_start(cast("Client", Refusing))
