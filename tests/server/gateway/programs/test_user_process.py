"""A user's process before it is wanted, and after it is not any more."""

from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.programs.announcements import Announcements
from mcp_keys_server.server.gateway.programs.child_process import Child
from mcp_keys_server.server.gateway.programs.open_calls import OpenCalls
from mcp_keys_server.server.gateway.programs.process_habits import Habits, State
from mcp_keys_server.server.gateway.programs.user_process import UserProcess

pytestmark = pytest.mark.anyio


def never_spawned() -> AbstractAsyncContextManager[Child]:
    raise AssertionError


def a_process() -> UserProcess:
    async def make_room() -> None:
        raise AssertionError

    habits = Habits(never_spawned, make_room, print, start_seconds=1, idle_seconds=1)
    calls = OpenCalls("notes", seconds=1, holds_key=lambda _: False)
    return UserProcess("notes of ada", calls, Announcements(), habits)


async def test_one_that_does_not_run_is_stopped_already() -> None:
    process = a_process()
    with anyio.fail_after(5):
        await process.stop()
    assert process.state is State.STOPPED


async def test_one_that_is_kept_no_longer_is_not_started() -> None:
    process = a_process()
    with anyio.move_on_after(0.01):
        await process.keep()
    with pytest.raises(UpstreamError, match="another configuration now, or ends"):
        async with process.in_use():
            raise AssertionError
    assert not process.is_in_use
