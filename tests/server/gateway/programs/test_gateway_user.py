"""One user of a program that is taken away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Message

from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.programs.gateway_user import GatewayUser

if TYPE_CHECKING:
    from mcp_keys_server.server.gateway.programs.program_relay import Relay
    from mcp_keys_server.server.gateway.programs.user_process import UserProcess

pytestmark = pytest.mark.anyio


async def test_a_request_that_finds_it_running_and_then_gone_is_told_so() -> None:
    @asynccontextmanager
    async def in_use() -> AsyncIterator[None]:
        yield

    process = SimpleNamespace(in_use=in_use, let_down=lambda _: None)
    relay = SimpleNamespace(server=lambda _: None)
    user = GatewayUser(cast("UserProcess", process), cast("Relay", relay), TransportSecuritySettings())
    user.leave()

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    with pytest.raises(UpstreamError, match="taken this server away"):
        await user.answer({"method": "POST"}, receive, send)
    assert not user.is_waiting
