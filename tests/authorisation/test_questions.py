"""What stands outside of all endpoints: questions of proxies and of other servers, and what is open to everybody."""

from itertools import product

import pytest

from mcp_keys_server.core.grant import KEYS_INTROSPECT
from tests.authorisation.callers import Caller, Standing, all_callers
from tests.authorisation.conftest import Site
from tests.authorisation.table import ROUTES, Open

pytestmark = pytest.mark.anyio

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ALIASES = ["keys", "elsewhere", "ghost"]
USERS = ["ada", "bob", "nobody"]
REFUSED = {Standing.BAD: 401, Standing.NONE: 401, Standing.SEVERAL: 400}


def asked_of_alias(alias: str) -> list[str]:
    return [f"/verify?alias={alias}", f"/verify/alias/{alias}", f"/verify/alias/{alias}/any/thing"]


async def test_a_proxy_is_told_of_each_key_what_it_opens(site: Site) -> None:
    refusals = set()
    for caller, alias, method in product(await all_callers(site.world), ALIASES, METHODS):
        may = caller.standing is Standing.GOOD and caller.opens(alias)
        for path in asked_of_alias(alias):
            answer = await site.send(caller, method, path)
            assert answer.status_code == (200 if may else REFUSED.get(caller.standing, 403)), (caller, path)
            assert answer.headers.get("x-user-id") == (caller.user if may else None)
            if not may:
                refusals.add((caller.standing, answer.status_code, answer.content, tuple(answer.headers.raw)))
    assert len(refusals) == len(Standing)  # one for each, to the byte


async def test_a_proxy_is_told_whose_endpoint_it_is(site: Site) -> None:
    refusals = set()
    for caller, alias, user in product(await all_callers(site.world), ALIASES, USERS):
        may = caller.standing is Standing.GOOD and caller.opens(alias) and caller.user == user
        endpoint = f"/u/{user}/{alias}/mcp"
        asked: list[tuple[str, dict[str, str]]] = [
            ("/verify?endpoint=X-Original-URI", {"x-original-uri": endpoint}),
            (f"/verify/endpoint{endpoint}", {}),
        ]
        asked.append((f"/verify/endpoint-of/{alias}{endpoint}", {}))
        for path, headers in asked:
            answer = await site.send(caller, "GET", path, headers=headers)
            assert answer.status_code == (200 if may else REFUSED.get(caller.standing, 403)), (caller, path)
            if not may:
                refusals.add((caller.standing, answer.status_code, answer.content, tuple(answer.headers.raw)))
    assert len(refusals) == len(Standing)


async def test_only_a_key_that_may_ask_is_told_what_another_is_worth(site: Site) -> None:
    callers = await all_callers(site.world)
    answers = set()
    for asking, about in product(callers, callers):
        if not about.presented or (asking.standing is not Standing.GOOD and about.user != "bob"):
            continue
        form = [*asking.headers, ("content-type", "application/x-www-form-urlencoded")]
        answer = await site.http.post("/introspect", data={"token": about.presented}, headers=form)
        if asking.standing is not Standing.GOOD:
            assert answer.status_code == REFUSED[asking.standing]
        elif not asking.has(KEYS_INTROSPECT):
            assert answer.status_code == 403
        elif about.standing is Standing.GOOD:
            assert (answer.json()["active"], answer.json()["sub"]) == (True, about.user)
        else:
            answers.add(answer.content)
    assert answers == {b'{"active":false}'}


async def test_what_is_open_is_the_same_for_everybody(site: Site) -> None:
    callers = [*await all_callers(site.world), Caller("nobody at all", Standing.NONE)]
    for path, rule in ROUTES.items():
        if not isinstance(rule, Open):
            continue
        for method in METHODS:
            sent = [await site.send(caller, method, path.replace("{rest:path}", "x")) for caller in callers]
            assert {answer.status_code for answer in sent} == {rule.statuses.get(method, 405)}, (method, path)
            assert len({(answer.content, tuple(answer.headers.raw)) for answer in sent}) == 1
