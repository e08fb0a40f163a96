"""Errors of the SDK without what it repeats of a message: somebody may have pasted a key where none belongs."""

import json
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NO_MESSAGE: Final = (
    "The body is not one JSON-RPC 2.0 message: a request with an id and a method, a notification or a response."
)


class PlainErrors:
    """An answer in JSON waits until it is whole, and no other does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None

        async def send_plain(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_json(message):
                start = message  # until it is known how long the body is
                return
            if start is not None:
                if not message.get("more_body", False):  # or else it is none of the SDK's, which are whole
                    message = {**message, "body": _plain(message.get("body", b""))}
                    MutableHeaders(raw=start["headers"])["content-length"] = str(len(message["body"]))
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_plain)


def _is_json(start: Message) -> bool:
    return (b"content-type", b"application/json") in start["headers"]


def _plain(body: bytes) -> bytes:
    if b'"error":{' not in body:
        return body
    answer = json.loads(body)
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):  # of a result that has such a text in it
        return body
    if isinstance(error.get("data"), str):
        del error["data"]
    if error["message"].startswith("Validation error"):
        error["message"] = _NO_MESSAGE
    return json.dumps(answer, separators=(",", ":")).encode()
