import gc
import logging

import httpx2
import pytest
from limits import RateLimitItemPerMinute
from starlette.types import Message, Receive, Scope, Send

from mcp_keys_server import InvalidApiKeyError, Principal, StoreUnavailableError, TooBusyError
from mcp_keys_server.auth import line_budget
from mcp_keys_server.auth.credential import NoCredentialError
from mcp_keys_server.auth.guard import KeyGuard, principal_of
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.open_responses import CURRENT
from mcp_keys_server.auth.throttle import Throttle
from tests.world import World

pytestmark = pytest.mark.anyio


class Behind:
    """What the guard stands before: it notes what reaches it."""

    def __init__(self) -> None:
        self.reached: list[Scope] = []

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.reached.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})


async def ask(world: World, *headers: tuple[str, str], query: str = "") -> tuple[httpx2.Response, Behind]:
    behind = Behind()
    transport = httpx2.ASGITransport(
        KeyGuard(behind, world.ring.verifier, world.ring.open_responses), client=("192.0.2.7", 4711)
    )
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(f"/anything{query}", headers=list(headers)), behind


async def test_a_good_key_goes_through_with_its_principal(world: World) -> None:
    record, key = await world.key()
    for header in (("Authorization", f"Bearer {key.reveal()}"), ("X-API-Key", key.reveal())):
        answer, behind = await ask(world, header)
        assert answer.status_code == 204
        assert principal_of(behind.reached[0]).key_id == record.key_id


async def test_every_bad_key_gets_the_same_answer_to_the_byte(world: World) -> None:
    _, good = await world.key()
    revoked, revoked_key = await world.key()
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    answers = set()
    answer, _ = await ask(world, ("X-API-Key", "y"))
    for presented in (
        "x",
        "mhu_",
        good.reveal()[:-1],
        good.reveal() + "a",
        revoked_key.reveal(),
        "mhu_" + "A" * 51,
    ):
        answer, behind = await ask(world, ("X-API-Key", presented))
        assert behind.reached == []
        answers.add((answer.status_code, answer.content, str(answer.headers.raw)))
    assert len(answers) == 1
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="mcp-keys", error="invalid_token"')
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["jsonrpc"], body["id"], body["error"]["code"]) == ("2.0", None, -32001)
    assert "Authorization: Bearer" in body["error"]["message"]


async def test_a_missing_key_gets_the_same_body_and_no_error_code(world: World) -> None:
    missing, behind = await ask(world)
    bad, _ = await ask(world, ("X-API-Key", "x"))
    assert behind.reached == []
    assert (missing.status_code, missing.content) == (bad.status_code, bad.content)
    assert missing.headers["www-authenticate"] == 'Bearer realm="mcp-keys"'


async def test_two_credentials_are_a_bad_request_even_when_both_are_good(world: World) -> None:
    _, key = await world.key()
    answer, behind = await ask(world, ("X-API-Key", key.reveal()), ("Authorization", f"Bearer {key.reveal()}"))
    assert (answer.status_code, answer.json()["error"]["code"], behind.reached) == (400, -32600, [])


@pytest.mark.parametrize("name", ["api_key", "key", "token", "access_token", "authorization"])
async def test_a_key_in_the_url_never_counts(world: World, name: str) -> None:
    _, key = await world.key()
    answer, behind = await ask(world, query=f"?{name}={key.reveal()}")
    assert (answer.status_code, behind.reached) == (401, [])


async def test_a_store_that_does_not_answer_is_503_and_no_access(world: World) -> None:
    _, key = await world.key()
    world.sql("ALTER TABLE secrets RENAME TO gone")
    answer, behind = await ask(world, ("X-API-Key", key.reveal()))
    assert (answer.status_code, answer.json()["error"]["code"], behind.reached) == (503, -32000, [])
    assert int(answer.headers["retry-after"]) > 0
    assert "www-authenticate" not in answer.headers


async def test_each_refusal_is_one_line_that_says_who_and_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    record, key = await world.key()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    caplog.clear()
    await ask(world, ("X-API-Key", key.reveal()))
    await ask(world, ("X-API-Key", "forged"))
    await ask(world)
    await ask(world, ("X-API-Key", "a"), ("X-API-Key", "b"))
    assert [line for name, _, line in caplog.record_tuples if name == "mcp_keys_server.auth.guard"] == [
        f"refused: revoked key_id={record.key_id} user_id=ada client=192.0.2.7",
        "refused: malformed client=192.0.2.7",
        "refused: no key client=192.0.2.7",
        "refused: several credentials client=192.0.2.7",
    ]


async def test_an_accepted_request_is_not_a_line_of_the_guards(world: World, caplog: pytest.LogCaptureFixture) -> None:
    _, key = await world.key()
    caplog.clear()
    await ask(world, ("X-API-Key", key.reveal()))
    assert [
        record for record in caplog.records if record.name.startswith("mcp_keys") and record.levelno > logging.DEBUG
    ] == []


async def test_the_start_and_the_end_of_an_application_need_no_key(world: World) -> None:
    behind = Behind()

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(_: Message) -> None:
        raise AssertionError

    await KeyGuard(behind, world.ring.verifier, world.ring.open_responses)({"type": "lifespan"}, receive, send)
    assert len(behind.reached) == 1


async def test_a_websocket_needs_a_key_like_everything_else(world: World) -> None:
    behind = Behind()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {}}
    await KeyGuard(behind, world.ring.verifier, world.ring.open_responses)(scope, receive, send)
    assert behind.reached == []
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)


async def test_what_middleware_adds_to_an_answer_is_for_that_time_only(world: World) -> None:
    guard = KeyGuard(Behind(), world.ring.verifier, world.ring.open_responses)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-request-id", b"1"))
            await send(message)

        await guard(scope, receive, adding)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as http:
        answers = [await http.get("/") for _ in range(2)]
    assert [answer.headers.get_list("x-request-id") for answer in answers] == [["1"], ["1"]]


@pytest.mark.parametrize("client", [None, ("a\nb", 1), ("", 1)])
def test_what_is_no_address_is_unknown(client: tuple[str, int] | None) -> None:
    assert client_address({"type": "http", "client": client}) == "unknown"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("fe80::7%", "fe80::7"),
    ],
)
def test_an_address_has_one_spelling(host: str, address: str) -> None:
    assert client_address({"type": "http", "client": (host, 80)}) == address


async def test_requests_without_a_key_are_no_failures_of_their_address(world: World) -> None:
    failures = Throttle("failures", RateLimitItemPerMinute(1), world.ring.counters)
    guarded = KeyGuard(Behind(), world.ring.verifier, world.ring.open_responses, failures)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guarded), base_url="http://localhost") as http:
        statuses = [(await http.get("/")).status_code for _ in range(5)]
        statuses += [(await http.get("/", headers={"X-API-Key": "bad"})).status_code for _ in range(3)]
    assert statuses == [401] * 5 + [401, 429, 429]


async def test_a_refusal_leaves_nothing_behind_for_the_collector(world: World) -> None:
    guarded = KeyGuard(Behind(), world.ring.verifier, world.ring.open_responses)
    gc.collect()
    gc.disable()
    try:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guarded), base_url="http://localhost") as http:
            for headers in ({"X-API-Key": "bad"}, {"X-API-Key": "mhu_" + "A" * 51}, {}):
                assert (await http.get("/", headers=headers)).status_code == 401
        left = [it for it in gc.get_objects() if isinstance(it, InvalidApiKeyError | NoCredentialError)]
    finally:
        gc.enable()
    assert left == []


@pytest.mark.parametrize("is_good", [True, False])
async def test_whoever_is_served_is_preferred_until_the_response_begins(world: World, *, is_good: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        assert len(guarded._turns._preferred) == 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert not guarded._turns._preferred
        await send({"type": "http.response.body"})

    async def noting(message: Message) -> None:
        statuses.append(message.get("status"))
        assert is_good or not guarded._turns._preferred

    async def receive() -> Message:
        return {"type": "http.request"}

    _, key = await world.key()
    guarded = KeyGuard(app, world.ring.verifier, world.ring.open_responses)
    statuses = list[int | None]()
    presented = key.reveal() if is_good else "bad"
    scope: Scope = {"type": "http", "headers": [(b"x-api-key", presented.encode())], "client": ("192.0.2.7", 1)}
    await guarded(scope, receive, noting)
    assert statuses == [200 if is_good else 401, None]
    assert not guarded._turns._preferred


async def test_what_answers_nothing_is_left_at_that_and_nothing_goes_on_being_its_response(world: World) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        assert CURRENT.get() is not None

    _, key = await world.key()
    guarded = KeyGuard(silent, world.ring.verifier, world.ring.open_responses)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope: Scope = {"type": "http", "headers": [(b"x-api-key", key.reveal().encode())], "client": ("192.0.2.7", 1)}
    await guarded(scope, receive, send)
    assert (sent, CURRENT.get()) == ([], None)


async def test_of_a_flood_there_is_one_line_until_its_time_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked_at = [1_000.0]
    monkeypatch.setattr(line_budget, "monotonic", lambda: asked_at[-1])
    failures = Throttle("failures", RateLimitItemPerMinute(1), world.ring.counters)
    guarded = KeyGuard(Behind(), world.ring.verifier, world.ring.open_responses, failures)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guarded), base_url="http://localhost") as http:
        for moment in (1_000.0, 1_001.0, 1_002.0, 1_100.0):
            asked_at.append(moment)
            await http.get("/", headers={"X-API-Key": "bad"})
    lines = [line for line in caplog.messages if line.startswith("refused: too many failures client=127.0.0.1; ")]
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("error", "level", "line"),
    [
        (
            StoreUnavailableError("the disk is gone"),
            logging.ERROR,
            "nobody is let in: the disk is gone client=192.0.2.7",
        ),
        (TooBusyError(), logging.WARNING, f"not let in yet: {TooBusyError()} client=192.0.2.7"),
    ],
)
async def test_who_cannot_be_judged_is_a_line_that_says_why(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    error: Exception,
    level: int,
    line: str,
) -> None:
    async def fail(*_: object, **__: object) -> Principal:
        raise error

    monkeypatch.setattr(world.ring.verifier, "verify", fail)
    answer, _ = await ask(world, ("X-API-Key", "x"))
    assert answer.status_code == 503
    assert [it[1:] for it in caplog.record_tuples if it[0] == "mcp_keys_server.auth.guard"] == [(level, line)]
