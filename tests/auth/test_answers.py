"""What a refusal is, to the byte where clients go by it."""

from collections.abc import Callable

import httpx2
import pytest
from starlette.responses import JSONResponse

from mcp_keys_server.auth import answers

pytestmark = pytest.mark.anyio


async def sent(answer: JSONResponse) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(answer), base_url="http://localhost") as http:
        return await http.get("/")


async def test_a_refusal_is_an_error_of_json_rpc_without_an_id_that_nobody_keeps() -> None:
    answer = await sent(answers.refusal(503, "No.", code=answers.TRY_AGAIN, retry_after="5"))
    assert (answer.status_code, answer.json()) == (
        503,
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No."}},
    )
    headers = {"cache-control": "no-store", "retry-after": "5", "content-type": "application/json"}
    assert headers.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    ("answer", "status", "code", "header", "said"),
    [
        (lambda: answers.NO_KEY, 401, -32001, ("www-authenticate", 'Bearer realm="mcp-keys"'), "Send one as"),
        (lambda: answers.SEVERAL_KEYS, 400, -32600, ("cache-control", "no-store"), "More than one credential"),
        (lambda: answers.WRONG_ENDPOINT, 403, -32001, ("cache-control", "no-store"), "/u/USER_ID/ALIAS/mcp"),
        (lambda: answers.NOT_OPENED, 403, -32001, ("cache-control", "no-store"), "does not open what is here"),
        (lambda: answers.SESSION_NOT_FOUND, 404, -32600, ("cache-control", "no-store"), "Session not found"),
        (lambda: answers.UNAVAILABLE, 503, -32000, ("retry-after", "5"), "Try again in a few seconds."),
        (lambda: answers.STOPPING, 503, -32000, ("retry-after", "5"), "being stopped"),
        (lambda: answers.TOO_BUSY, 503, -32000, ("retry-after", "5"), "for the first time"),
        (lambda: answers.only({"POST", "GET"}), 405, -32600, ("allow", "GET, POST"), "answers GET, POST only."),
        (
            lambda: answers.lacks_scopes("files", ["a", "b"]),
            403,
            -32001,
            ("cache-control", "no-store"),
            "the scope a, b.",
        ),
        (lambda: answers.too_many(7), 429, -32000, ("retry-after", "7"), "in 7 seconds"),
        (lambda: answers.too_many_failures(8), 429, -32000, ("retry-after", "8"), "in 8 seconds"),
    ],
)
async def test_each_has_its_status_its_code_and_its_words(
    answer: Callable[[], JSONResponse], status: int, code: int, header: tuple[str, str], said: str
) -> None:
    got = await sent(answer())
    assert (got.status_code, got.json()["error"]["code"], got.headers[header[0]]) == (status, code, header[1])
    assert said in got.json()["error"]["message"]
