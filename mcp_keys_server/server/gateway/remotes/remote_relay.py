"""One request on its way to a server somewhere else, and the answer on its way back."""

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

import anyio
from starlette.responses import JSONResponse

from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.gateway.remotes.event_stream import Event, EventReader, EventTooLargeError, IdSealer
from mcp_keys_server.server.gateway.remotes.posted_message import LARGEST_MESSAGE, TOOLS_LIST, Message
from mcp_keys_server.server.gateway.remotes.relay_trouble import RequestId, Trouble, TroubleError, unexplained
from mcp_keys_server.server.gateway.remotes.relayed_answer import EVENT_STREAM, RelayedAnswer
from mcp_keys_server.server.gateway.remotes.relayed_headers import Headers, RelayedHeaders
from mcp_keys_server.server.gateway.remotes.remote_connection import RemoteAnswer, RemoteConnection
from mcp_keys_server.server.gateway.remotes.shown_tools import less_hidden_tools
from mcp_keys_server.server.gateway.tool_rules import ToolRules

LARGEST_EXPLANATION: Final = 64 * 1024
"""Bytes, of an answer that says why there is none."""
SECONDS_TO_CANCEL: Final = 2.0
_JSON: Final = "application/json"
_EXPLAINED: Final = frozenset({400, 404, 405, 406, 409, 413, 415, 422, 429})
_WITHOUT_BODY: Final = frozenset({202, 204})
_OF_EXPLANATIONS: Final = frozenset({b"allow", b"retry-after"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it goes out."""

    principal: Principal
    alias: str
    http_method: str
    message: Message | None
    headers: Headers
    modern: bool

    @property
    def request_id(self) -> RequestId | None:
        return None if self.message is None else self.message.request_id

    @property
    def fields(self) -> Mapping[str, str]:
        return {"user_id": self.principal.user_id, "alias": self.alias, "key_id": self.principal.key_id}

    @property
    def is_call(self) -> bool:
        """Whether it has an answer, and soon."""
        return self.message is not None and self.message.is_request and not self.is_long

    @property
    def is_long(self) -> bool:
        """Whether its answer is a stream on which there may be nothing for hours, in either era of the protocol."""
        return self.http_method == "GET" or (
            self.message is not None and self.message.is_request and self.message.method == "subscriptions/listen"
        )

    @property
    def is_listing(self) -> bool:
        """Whether tools may be in its answer. A stream of the legacy era may repeat what another one broke off in."""
        return self.http_method == "GET" or (self.message is not None and self.message.method == TOOLS_LIST)

    @property
    def needs_cancelling(self) -> bool:
        """Whether the server goes on with it when nobody reads the answer any more."""
        message = self.message
        return message is not None and message.is_request and not self.modern and message.method != "initialize"


class Relay:
    """Between one alias and the server behind it."""

    def __init__(
        self, connection: RemoteConnection, headers: RelayedHeaders, rules: ToolRules, *, call_seconds: float
    ) -> None:
        self._connection = connection
        self._headers = headers
        self._rules = rules
        self._call_seconds = call_seconds

    async def pass_on(self, asked: Asked, answer: RelayedAnswer) -> None:
        """
        Raises:
            TroubleError: There is no answer, or it does not come to its end.
        """
        content = None if asked.message is None else asked.message.text
        async with self._connection.opened(
            asked.http_method, asked.fields, asked.headers, content, seconds=self._call_seconds
        ) as got:
            self._refuse_what_is_not_for_clients(got)
            if got.status in _EXPLAINED:
                await self._explain(asked, got, answer)
            elif got.status in _WITHOUT_BODY or not (asked.is_call or asked.is_long):
                headers = self._headers.of_answer(asked.principal, got.headers)
                await answer.begin(got.status, [(name, value) for name, value in headers if name != b"content-type"])
                await answer.end()
            else:
                await self._pass_on_body(asked, got, answer)

    async def cancel(self, asked: Asked) -> None:
        """Tell the server that nobody waits any more, as far as it can be told; in the modern era the end of the
        connection has said so.
        """
        if not asked.needs_cancelling:
            return
        params = {"requestId": asked.request_id, "reason": "the call was ended"}
        content = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        with anyio.CancelScope(shield=True), suppress(TroubleError):
            async with self._connection.opened("POST", asked.fields, asked.headers, content, seconds=SECONDS_TO_CANCEL):
                pass  # whatever it answers

    def _refuse_what_is_not_for_clients(self, got: RemoteAnswer) -> None:
        status = got.status
        if status in (401, 403):
            # Their own status would make clients ask us for a way to sign in, which there is not.
            raise TroubleError(Trouble.CREDENTIALS, f"it answered with HTTP {status}: are its headers right?")
        if status in _EXPLAINED or status in _WITHOUT_BODY:
            return
        if status // 100 == 3:  # noqa: PLR2004 - a class of statuses
            to = got.header(b"location")
            raise TroubleError(
                Trouble.GARBAGE, f"it answered with HTTP {status} and points to {to}: put that as its url"
            )
        if status != 200:  # noqa: PLR2004
            raise TroubleError(Trouble.GARBAGE, f"it answered with HTTP {status}")
        if got.header(b"content-encoding").lower() not in ("", "identity"):
            raise TroubleError(Trouble.GARBAGE, "it compressed its answer, which it was not asked to do")

    async def _explain(self, asked: Asked, got: RemoteAnswer, answer: RelayedAnswer) -> None:
        explanation: Mapping[str, object] | None = None
        if got.content_type == _JSON:
            body = await got.whole(LARGEST_EXPLANATION, seconds=self._call_seconds)
            explanation = _explanation(body or b"")
        if explanation is None:
            response = unexplained(got.status, asked.alias, asked.request_id)
        else:
            response = JSONResponse(explanation, got.status, {"cache-control": "no-store"})
        for name, value in self._headers.of_answer(asked.principal, got.headers):
            if name in _OF_EXPLANATIONS:
                response.headers[name.decode()] = value.decode("latin-1")
        await answer.all_at_once(response)

    async def _pass_on_body(self, asked: Asked, got: RemoteAnswer, answer: RelayedAnswer) -> None:
        of_events = got.content_type == EVENT_STREAM
        if not of_events and (got.content_type != _JSON or asked.is_long):
            raise TroubleError(Trouble.GARBAGE, f"it answered with the content type {got.content_type!r}")
        headers = self._headers.of_answer(asked.principal, got.headers)
        if asked.is_listing and not of_events:
            body = await got.whole(LARGEST_MESSAGE, seconds=self._call_seconds)
            if body is None:
                raise TroubleError(Trouble.GARBAGE, "it lists tools at a length that nobody reads")
            shown = await less_hidden_tools(self._rules, asked.principal, body)
            await answer.begin(200, headers)
            await answer.pass_on(shown)
        else:
            await answer.begin(200, headers, of_events=of_events)
            await self._pass_on_chunks(asked, got, answer, of_events=of_events)
        await answer.end()

    async def _pass_on_chunks(self, asked: Asked, got: RemoteAnswer, answer: RelayedAnswer, *, of_events: bool) -> None:
        reader = EventReader(LARGEST_MESSAGE)
        sealer = IdSealer(lambda value: self._headers.event_id(asked.principal, value))
        async with aclosing(got.chunks(seconds=None if asked.is_long else self._call_seconds)) as chunks:
            async for chunk in chunks:
                try:
                    if not of_events:
                        await answer.pass_on(chunk)
                    elif asked.is_listing:
                        for event in reader.read(chunk):
                            await answer.pass_on(await self._less_hidden(asked.principal, event))
                    else:
                        await answer.pass_on(sealer.read(chunk))
                except EventTooLargeError:
                    raise TroubleError(Trouble.GARBAGE, "an event of its answer is too large") from None

    async def _less_hidden(self, principal: Principal, event: Event) -> bytes:
        fields: Sequence[tuple[bytes, bytes]] = [
            (name, self._headers.event_id(principal, value) if name == b"id" and value else value)
            for name, value in event.fields
        ]
        # One without data only says where the stream begins.
        data = await less_hidden_tools(self._rules, principal, event.data) if event.data else event.data
        return Event(fields, data).encoded()


def _explanation(body: bytes) -> Mapping[str, object] | None:
    """What the JSON says; None: nothing that is an explanation."""
    try:
        parsed = json.loads(body.decode("utf-8"))
        json.dumps(parsed, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) and "result" not in parsed else None
