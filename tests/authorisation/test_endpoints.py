"""Every endpoint, whoever asks, with every method, in both eras: in is who the table says, and nobody else."""

from itertools import product
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mcp_keys_server.core.records import SecretRecord
from mcp_keys_server.server.endpoints import Endpoints
from tests.authorisation.callers import Caller, Standing, all_callers
from tests.authorisation.conftest import Site, request
from tests.authorisation.table import ROUTES, OwnEndpoint

pytestmark = pytest.mark.anyio

METHODS = ["POST", "GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"]
ENDPOINTS = [rule for rule in ROUTES.values() if isinstance(rule, OwnEndpoint)]
NOBODYS = OwnEndpoint(frozenset(METHODS), "ghost")
ELSEWHERE = {"elsewhere", "tickets"}
USERS = ["ada", "bob", "nobody"]

IN = "in"
"""Past all that decides who may enter."""


def expected(caller: Caller, endpoint: OwnEndpoint, user: str, method: str) -> str:
    """What the table says: in, or which refusal."""
    if caller.standing is not Standing.GOOD:
        return {Standing.BAD: "401", Standing.NONE: "401 nothing sent", Standing.SEVERAL: "400"}[caller.standing]
    if endpoint is NOBODYS or caller.user != user or not caller.opens(endpoint.alias):
        return "403"
    if method not in endpoint.methods:
        return f"405 {', '.join(sorted(endpoint.methods))}"
    if not caller.has(endpoint.required_scope):
        return "403 lacks a scope"
    return IN


def told(answer: httpx2.Response) -> str:
    """Which refusal an answer is, by all that tells them apart; to HEAD that is its head alone."""
    status = str(answer.status_code)
    challenge = answer.headers.get("www-authenticate")
    if status == "401" and challenge is not None:
        return "401" if "error=" in challenge else "401 nothing sent"
    if challenge is not None:
        return "a challenge where none belongs"
    if status == "405" and (answer.request.method == "HEAD" or "This endpoint answers " in answer.text):
        return f"405 {answer.headers['allow']}"
    if status == "403" and "lacks the scope" in answer.text:
        return "403 lacks a scope"
    if status == "400" and answer.request.method != "HEAD" and "More than one credential" not in answer.text:
        return IN  # it is a server behind it that misses something, a session for example
    return status if status in {"400", "403"} else IN


Answers = dict[tuple[str, bool], set[object]]
"""All different answers of each kind of refusal, those to HEAD by themselves."""


async def asked(site: Site, callers: list[Caller]) -> tuple[list[object], Answers]:
    """The cells that are not answered as the table says, and all refusals."""
    wrong, answers = list[object](), Answers()
    for caller, endpoint in product(callers, [*ENDPOINTS, NOBODYS]):
        for user, (method, modern) in product(USERS, [*((method, False) for method in METHODS), ("POST", True)]):
            path = f"/u/{user}/{endpoint.alias}/mcp"
            before = len(site.upstream.requests)
            answer = await ask(site, caller, method, path, modern=modern)
            should = expected(caller, endpoint, user, method)
            reaches = should == IN and endpoint.alias in ELSEWHERE
            if told(answer) != should or len(site.upstream.requests) - before != reaches:
                wrong.append((str(caller), method, path, should, told(answer)))
            if should != IN:
                kind = (should, method == "HEAD")
                answers.setdefault(kind, set()).add((answer.status_code, answer.content, tuple(answer.headers.raw)))
    return wrong, answers


async def test_whoever_asks_is_answered_as_the_table_says(site: Site) -> None:
    wrong, answers = await asked(site, await all_callers(site.world))
    assert wrong == []
    # Nobody learns from a refusal who and what there is: of each kind there is one, to the byte.
    assert {kind: len(different) for kind, different in answers.items() if len(different) > 1} == {}
    kinds = {kind for kind, _ in answers}
    assert kinds >= {"401", "401 nothing sent", "400", "403", "403 lacks a scope", "405 POST", "405 DELETE, GET, POST"}


async def test_records_that_refuse_nothing_are_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [caller for caller in await all_callers(site.world) if caller.name == "a revoked key"]
    monkeypatch.setattr(SecretRecord, "refusal", lambda *_: None)
    wrong, _ = await asked(site, callers)
    assert ("a revoked key", "POST", "/u/ada/keys/mcp", "401", IN) in wrong


async def test_an_answer_that_tells_who_there_is_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def told_apart(_: Endpoints, scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"not": scope["path"]}, 403)(scope, receive, send)

    monkeypatch.setattr(Endpoints, "__call__", told_apart)
    callers = [caller for caller in await all_callers(site.world) if caller.name == "a full key of bob"]
    _, answers = await asked(site, callers)
    assert len(answers["403", False]) > 1


async def ask(site: Site, caller: Caller, method: str, path: str, *, modern: bool) -> httpx2.Response:
    message = request("tools/list", modern=modern) if method == "POST" else None
    more = {"mcp-method": "tools/list"} if modern else {}
    return await site.send(caller, method, path, message, modern=modern, headers=more)


async def test_what_the_program_and_the_server_elsewhere_hear_is_whose_request_it_is(site: Site) -> None:
    seen: dict[str, Any] = {}
    for caller in await all_callers(site.world):
        before = len(site.upstream.requests)
        for user in USERS:
            await ask(site, caller, "POST", f"/u/{user}/elsewhere/mcp", modern=True)
        seen[str(caller)] = {heard.header("x-user") for heard in site.upstream.requests[before:]}
        assert seen[str(caller)] <= {caller.user}
    assert seen["a full key of ada"] == {"ada"}
    assert seen["a full key of bob"] == {"bob"}
