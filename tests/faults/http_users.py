"""Users who make, claim, use, rotate and revoke keys over HTTP, whatever becomes of the server meanwhile."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from mcp_keys_server import KeyRing, RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.faults.history import History

SECONDS_TO_ANSWER: Final = 60
"""Also while there is no server at all."""
ONE_STAYS_OF: Final = 20
"""Of so many keys one is not revoked, and makes the next ones in the place of the one before it: of one key, only so
many claims are taken in an hour.
"""
ONE_IS_ROTATED_OF: Final = 3

_LENGTH = re.compile(r"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_COOKIE = re.compile(r"\r\nset-cookie: *([^;\r]+)", re.IGNORECASE)
_SHOWN = re.compile(r'<pre id="the-key"[^>]*>([^<]+)</pre>')


class NoAnswerError(Exception):
    """Nobody knows whether it was done; its words are what came instead."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: str
    body: str


class Line:
    """A connection, made anew when it broke, to whichever worker accepts it."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: str, headers: Mapping[str, str]) -> Answer:
        """
        Raises:
            NoAnswerError: The connection was lost before the answer was whole.
        """
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                return await self._post(path, body, headers)
        except (OSError, EOFError) as error:
            self.close()
            raise NoAnswerError(f"{error!r}") from error

    async def _post(self, path: str, body: str, headers: Mapping[str, str]) -> Answer:
        reader = await self.send(path, body, headers)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = _LENGTH.search(head)
        content = await reader.readexactly(int(length[1]) if length else 0)
        return Answer(int(head.split(" ", 2)[1]), head, content.decode())

    async def send(self, path: str, body: str, headers: Mapping[str, str], *, all_but: int = 0) -> asyncio.StreamReader:
        """A request, but for so many bytes at its end; what is read is the answer."""
        reader, writer = await self._connected()
        fields = {"host": f"127.0.0.1:{self._port()}", **headers, "content-length": f"{len(body)}"}
        lines = (f"{name}: {value}" for name, value in fields.items())
        request = "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", body]).encode()
        writer.write(request[: len(request) - all_but])
        return reader

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[0].exception()):
            self.close()  # it broke while nothing was under way
        while self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port())
            except OSError:
                await asyncio.sleep(0.01)  # until there is a server again
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def first_keys(
    database: Path, users: int, history: History, *, bcrypt_cost: int = CHEAPEST_COST
) -> dict[str, str]:
    """Of so many new users each has a key, by whose user ids they are."""
    keys = {}
    async with open_key_ring(database, bcrypt_cost=bcrypt_cost) as ring:
        for number in range(users):
            user = await ring.administration.add_user(f"user{number}")
            keys[user.user_id] = await key_from_operator(ring, user.user_id, history)
    return keys


async def key_from_operator(ring: KeyRing, user_id: str, history: History) -> str:
    made, key = await ring.administration.create_key(user_id, name="first", requested=RequestedGrant())
    history.created.add(made.key_id)
    history.handed_over[key.reveal()] = made.key_id
    return key.reveal()


class HttpUser:
    """Does one thing after the other; a key is used over another line than all the rest."""

    def __init__(self, user_id: str, key: str, port: Callable[[], int], history: History) -> None:
        self._user_id = user_id
        self._key = key
        self._history = history
        self._line, self._other_line = Line(port), Line(port)
        self._cookie = ""
        self._made = 0
        """With that key."""

    async def live(self) -> None:
        try:
            while True:
                try:
                    await self._take_turn()
                except NoAnswerError as error:
                    self._history.unknown += 1
                    self._history.unanswered.add(f"{error}")
        finally:
            self._line.close()
            self._other_line.close()

    async def use_first_key(self) -> None:
        """Over a connection of its own, and nothing else."""
        try:
            await self._use(self._key)
        finally:
            self._other_line.close()

    async def _take_turn(self) -> None:
        history = self._history
        if not self._cookie:
            await self._sign_in()
        made = await self._call("create_key", name="x", scopes=["keys:read", "keys:write"])
        key_id = str(made["key_id"])
        history.created.add(key_id)
        self._made += 1
        plaintext = await self._claim(key_id)
        await self._use(plaintext)
        if self._made % ONE_IS_ROTATED_OF == 0:
            history.perhaps_replaced.add(plaintext)
            await self._call("rotate_key", key_id=key_id, overlap_hours=0)
            newer = await self._claim(key_id)
            history.replaced.add(plaintext)
            await self._use(plaintext)
            plaintext = newer
            await self._use(plaintext)
        if self._made >= ONE_STAYS_OF:
            older, self._key, self._cookie, self._made = self._key, plaintext, "", 0
            key_id, plaintext = history.handed_over[older], older
        history.perhaps_revoked.add(key_id)
        await self._call("revoke_key", key_id=key_id)
        history.revoked.add(key_id)
        await self._use(plaintext)

    async def _sign_in(self) -> None:
        answer = await self._send_form("/keys/sign-in", {"key": self._key}, good=303)
        found = _COOKIE.search(answer.head)
        assert found, answer
        self._cookie = found[1]

    async def _claim(self, key_id: str) -> str:
        answer = await self._send_form(f"/keys/{key_id}/claim", {}, good=200)
        found = _SHOWN.search(answer.body)
        assert found, answer
        self._history.handed_over[found[1]] = key_id
        return found[1]

    async def _send_form(self, path: str, form: dict[str, str], *, good: int) -> Answer:
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "sec-fetch-site": "same-origin",
            "cookie": self._cookie,
        }
        answer = await self._line.post(path, urlencode(form), headers)
        if answer.status != good:
            self._cookie = ""
            raise self._failed(path.rpartition("/")[2], answer)
        self._history.acknowledged += 1
        return answer

    async def _use(self, plaintext: str) -> None:
        answer = await self._post_call(self._other_line, plaintext, "whoami")
        if answer.status not in (200, 401):
            raise self._failed("use", answer)
        self._history.acknowledged += 1
        self._history.note_use(plaintext, accepted=answer.status == 200)

    async def _call(self, tool: str, **arguments: object) -> dict[str, Any]:
        answer = await self._post_call(self._line, self._key, tool, **arguments)
        if answer.status != 200:
            raise self._failed(tool, answer)
        result: dict[str, Any] = json.loads(answer.body)["result"]
        if result.get("isError"):
            raise self._failed(tool, answer)
        self._history.acknowledged += 1
        content: dict[str, Any] = result["structuredContent"]
        return content

    async def _post_call(self, line: Line, key: str, tool: str, **arguments: object) -> Answer:
        return await line.post(*self._request(key, "tools/call", name=tool, arguments=arguments))

    def _request(self, key: str, method: str, **params: object) -> tuple[str, str, dict[str, str]]:
        """Path, body and header fields."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {"x-api-key": key, "accept": "application/json", "content-type": "application/json"}
        return f"/u/{self._user_id}/keys/mcp", json.dumps(body), headers

    def _failed(self, what: str, answer: Answer) -> NoAnswerError:
        """An answer that is neither yes nor no; and, unless it is that the database does not answer, a failure."""
        found = f"{what}: {answer.status} {answer.body[:200]}"
        if answer.status != 503 and "does not answer" not in answer.body:
            self._history.failures.add(found)
        return NoAnswerError(found)
