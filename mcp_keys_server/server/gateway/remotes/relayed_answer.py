"""The answer to one client: begun once, passed on as it comes, and ended in words when it cannot go on."""

import json
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_keys_server.server.gateway.remotes.relay_trouble import RequestId, Trouble, answer, error_of
from mcp_keys_server.server.gateway.remotes.relayed_headers import Headers

EVENT_STREAM: Final = "text/event-stream"
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class RelayedAnswer:
    """What a client has got so far."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._begun = False
        self._of_events = False
        self._tail = b""
        self._held = b""

    async def begin(self, status: int, headers: Headers, *, of_events: bool = False) -> None:
        self._begun, self._of_events = True, of_events
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def pass_on(self, chunk: bytes) -> None:
        """Wait until the client has taken it, or most of it: nothing is heaped up for one that does not read."""
        if chunk:
            self._tail = (self._tail + chunk[-4:])[-4:]
            if not self._of_events:
                # Of what nobody can read before its end, the latest waits for the next, because the last goes out
                # together with the end: to write is what costs most in a short answer.
                chunk, self._held = self._held, chunk
        if chunk:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": self._held, "more_body": False})

    async def all_at_once(self, response: Response) -> None:
        await response(self._scope, self._receive, self._send)

    async def fail(self, trouble: Trouble, alias: str, request_id: RequestId | None) -> None:
        """Say so if there is a way to. A body that has begun is otherwise left incomplete, upon which the server closes
        the connection: nobody takes it for the whole.
        """
        if not self._begun:
            await self.all_at_once(answer(trouble, alias, request_id))
        elif self._of_events and request_id is not None and self._between_events():
            await self.pass_on(encoded_event(error_of(trouble, alias, request_id)))
            await self.end()

    def _between_events(self) -> bool:
        return not self._tail or self._tail.endswith(_EVENT_ENDS)


def encoded_event(message: Mapping[str, object]) -> bytes:
    return b"event: message\ndata: " + json.dumps(message).encode("ascii") + b"\n\n"
