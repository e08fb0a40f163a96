"""Every endpoint, whoever asks, with every method, in both eras: in is who the table says, and nobody else."""

from collections import defaultdict
from itertools import product
from typing import Any

import httpx2
import pytest

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


async def test_whoever_asks_is_answered_as_the_table_says(site: Site) -> None:
    wrong, answers = [], defaultdict(set)
    got_through = 0
    for caller, endpoint in product(await all_callers(site.world), [*ENDPOINTS, NOBODYS]):
        for user, (method, modern) in product(USERS, [*((method, False) for method in METHODS), ("POST", True)]):
            path = f"/u/{user}/{endpoint.alias}/mcp"
            before = len(site.upstream.requests)
            answer = await ask(site, caller, method, path, modern=modern)
            should = expected(caller, endpoint, user, method)
            reaches = should == IN and endpoint.alias in ELSEWHERE
            if told(answer) != should or len(site.upstream.requests) - before != reaches:
                wrong.append((str(caller), method, path, modern, should, answer.status_code, answer.text[:200]))
            got_through += should == IN
            if should != IN:
                answers[should, method == "HEAD"].add((answer.status_code, answer.content, tuple(answer.headers.raw)))
    assert not wrong
    assert got_through > 50
    # Nobody learns from a refusal who and what there is: of each kind there is one, to the byte.
    assert {kind: len(different) for kind, different in answers.items() if len(different) > 1} == {}
    kinds = {kind for kind, _ in answers}
    assert kinds >= {"401", "401 nothing sent", "400", "403", "403 lacks a scope", "405 POST", "405 DELETE, GET, POST"}


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
