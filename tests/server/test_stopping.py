"""What becomes of those who wait for an answer when the server stops."""

import asyncio
from contextlib import closing

import anyio
import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from mcp_keys_server.server import http_service
from mcp_keys_server.server.http_service import http_server, listen

pytestmark = pytest.mark.anyio


class Endless:
    """An application that never finishes what it has begun."""

    def __init__(self, *, begins: bool) -> None:
        self._begins = begins
        self.is_asked = asyncio.Event()
        self.is_over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.is_over.set()
        elif self._begins:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        if scope["type"] == "http":
            self.is_asked.set()
        await asyncio.Event().wait()


async def answer_of(application: Endless) -> httpx2.Response:
    """To a request that was under way when the server stopped."""
    with closing(listen("127.0.0.1", 0)) as listener:
        server = http_server(application)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx2.AsyncClient(timeout=60) as http:
            asking = asyncio.create_task(http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
            await application.is_asked.wait()
            server.should_exit = True
            try:
                return await asking
            finally:
                serving.cancel()
                await asyncio.wait([serving])


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "SECONDS_TO_FINISH", 0)


async def test_who_has_no_answer_yet_is_told_to_try_again() -> None:
    answer = await answer_of(Endless(begins=False))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "The server is being stopped" in answer.json()["error"]["message"]


async def test_an_answer_that_has_begun_is_cut() -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        await answer_of(Endless(begins=True))


async def test_who_comes_when_all_is_closed_is_told_to_try_again() -> None:
    application = Endless(begins=False)
    with closing(listen("127.0.0.1", 0)) as listener:
        server = http_server(application)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0)
        app = server.config.loaded_app
        server.should_exit = True
        await application.is_over.wait()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            with anyio.fail_after(20):
                answer = await http.get("/")
        serving.cancel()
        await asyncio.wait([serving])
    assert (answer.status_code, application.is_asked.is_set()) == (503, False)


class Stubborn(Endless):
    """One that goes on when it is cut, and then misses what is closed, or not."""

    def __init__(self, *, misses_it: bool) -> None:
        super().__init__(begins=False)
        self._misses_it = misses_it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            await self.is_over.wait()
            await send({"type": "http.response.start", "status": 500 if self._misses_it else 200, "headers": []})
            await send({"type": "http.response.body", "body": b"what happened"})
            if self._misses_it:
                raise RuntimeError from None


async def test_what_fails_because_all_is_closed_is_told_to_try_again() -> None:
    answer = await answer_of(Stubborn(misses_it=True))
    assert (answer.status_code, "what happened" in answer.text) == (503, False)


async def test_what_is_done_all_the_same_is_answered() -> None:
    answer = await answer_of(Stubborn(misses_it=False))
    assert (answer.status_code, answer.text) == (200, "what happened")


async def test_what_fails_at_any_other_time_has_failed() -> None:
    class Broken(Endless):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                raise RuntimeError
            await super().__call__(scope, receive, send)

    with closing(listen("127.0.0.1", 0)) as listener:
        server = http_server(Broken(begins=False))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx2.AsyncClient(timeout=60) as http:
            answer = await http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        serving.cancel()
        await asyncio.wait([serving])
    assert answer.status_code == 500
