"""Just enough HTTP to send one request after the other on a connection, and to know how each was answered."""

import asyncio
import json
from types import TracebackType
from typing import Self

_BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}})


def request(user: str, key: str, *, body: str = _BODY) -> bytes:
    lines = (
        f"POST /u/{user}/keys/mcp HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-API-Key: {key}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "",
        body,
    )
    return "\r\n".join(lines).encode("ascii")


class Talk:
    """A connection to a server of this machine, from one of its addresses."""

    def __init__(self, port: int, *, address: str = "127.0.0.1") -> None:
        self._port = port
        self._address = address

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._address, 0)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> int:
        """The status of the answer, all of which has arrived."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
        length = head.split("content-length: ", 1)[1].split("\r\n", 1)[0]
        await self._reader.readexactly(int(length))
        return int(head.split(" ", 2)[1])
