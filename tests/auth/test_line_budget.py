import logging

import pytest

from mcp_keys_server import KeyVerifier, Principal, RequestedGrant, TooBusyError
from mcp_keys_server.auth import line_budget
from mcp_keys_server.auth.line_budget import MOST_LINES, SECONDS, LineBudget
from mcp_keys_server.auth.token_verifier import ApiKeyTokenVerifier
from mcp_keys_server.settings import Settings
from tests.server.conftest import client_of, started
from tests.world import World

pytestmark = pytest.mark.anyio
GUARD, BUDGET = "mcp_keys_server.auth.guard", "mcp_keys_server.auth.line_budget"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    set_by_hand = Clock()
    monkeypatch.setattr(line_budget, "monotonic", set_by_hand)
    return set_by_hand


async def test_a_network_has_so_many_lines_and_one_that_says_so(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    budget = LineBudget()
    assert [budget.take("client=192.0.2.1") for _ in range(MOST_LINES + 1)] == [True] * MOST_LINES + [False]
    assert budget.take("client=192.0.2.2")
    said = [line for name, level, line in caplog.record_tuples if (name, level) == (BUDGET, logging.WARNING)]
    assert said == ["refused: very many client=192.0.2.1; those of the next 60 seconds are not logged"]
    assert not budget.take("client=192.0.2.1")
    clock.now += SECONDS
    assert budget.take("client=192.0.2.1")


async def test_of_some_things_there_is_only_the_line_that_says_how_many(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    del clock
    budget = LineBudget(0, of="too many failures")
    assert not any(budget.take("client=192.0.2.1") for _ in range(3))
    assert [line for name, _, line in caplog.record_tuples if name == BUDGET] == [
        "refused: too many failures client=192.0.2.1; those of the next 60 seconds are not logged"
    ]


async def test_very_many_networks_take_no_more_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    del clock
    monkeypatch.setattr(line_budget, "MOST_KNOWN", 3)
    budget = LineBudget()
    for number in range(10):
        assert budget.take(f"client=192.0.2.{number}")
        assert len(budget._lines) <= 4


async def test_whoever_has_very_many_addresses_begins_no_new_count(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(line_budget, "MOST_KNOWN", 2)
    budget = LineBudget()
    assert [budget.take("client=192.0.2.1") for _ in range(MOST_LINES + 1)][-1] is False
    assert budget.take("client=192.0.2.2")
    caplog.clear()
    others = [budget.take(f"client=198.51.100.{number}") for number in range(2 * MOST_LINES)]
    assert others == [True] * MOST_LINES + [False] * MOST_LINES
    assert caplog.messages == [
        "refused: very many of others, too many to be told apart; those of the next 60 seconds are not logged"
    ]
    assert not budget.take("client=192.0.2.1")
    assert budget.take("client=192.0.2.2")
    clock.now += SECONDS
    assert budget.take("client=198.51.100.1")
    assert list(budget._lines) == ["client=198.51.100.1"]


async def test_requests_without_a_key_and_those_that_have_to_wait_do_not_fill_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await world.key()

    async def too_busy(
        self: KeyVerifier, presented: str, *, client: str | None = None, over_socket: bool = False
    ) -> Principal:
        del self, presented, client, over_socket
        raise TooBusyError

    monkeypatch.setattr(KeyVerifier, "verify", too_busy)
    caplog.clear()
    async with started(world, Settings()) as app, client_of(app) as http:
        for status, headers in (
            (401, {}),
            (400, {"X-API-Key": "a", "Authorization": "Bearer b"}),
            (503, {"X-API-Key": key.reveal()}),
        ):
            answers = [await http.post("/u/ada/keys/mcp", headers=headers) for _ in range(50)]
            assert {answer.status_code for answer in answers} == {status}
    lines = [name for name, _, _ in caplog.record_tuples if name in (GUARD, BUDGET)]
    assert (lines.count(GUARD), lines.count(BUDGET)) == (MOST_LINES, 1)


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("/u/ada/files/mcp", 403, "not this key's endpoint"),
        ("/u/ada/keys/mcp", 429, "too many calls"),
        ("/verify?alias=files", 403, "not opened by this key"),
        ("/verify?alias=keys", 429, "too many calls"),
        ("/introspect", 403, "may not introspect"),
    ],
)
async def test_what_good_keys_of_one_user_are_refused_does_not_fill_the_log(
    world: World, caplog: pytest.LogCaptureFixture, path: str, status: int, named: str
) -> None:
    keys = [(await world.key(requested=RequestedGrant(aliases=frozenset({"keys"}))))[1] for _ in range(2)]
    bob, of_bob = await world.key("bob", RequestedGrant(aliases=frozenset({"other"})))
    async with started(world, Settings(calls_per_minute=1)) as app, client_of(app) as http:
        asked = [{"X-API-Key": keys[number % 2].reveal()} for number in range(2 * MOST_LINES)]
        assert [await http.post(path, headers=headers) for headers in asked][-1].status_code == status
        await http.post("/u/ada/keys/mcp", headers={"X-API-Key": of_bob.reveal()})
    lines = [line for line in caplog.messages if line.startswith("refused: ")]
    of_ada = [line for line in lines if "user_id=ada" in line]
    assert of_ada[0].startswith(f"refused: {named} key_id=")
    assert "very many user_id=ada" in of_ada[-1]
    assert len(of_ada) == MOST_LINES + 1
    assert f"key_id={bob.key_id} user_id=bob client=" in lines[-1]


async def test_what_proxies_ask_unclearly_does_not_fill_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    keys = [(await world.key())[1] for _ in range(2)]
    _, of_bob = await world.key("bob")
    async with started(world, Settings()) as app, client_of(app) as http:
        for number in range(2 * MOST_LINES):
            assert (await http.get("/verify", headers={"X-API-Key": keys[number % 2].reveal()})).status_code == 400
        of_ada = [line for line in caplog.messages if line.startswith("cannot answer a proxy: ")]
        await http.get("/verify", headers={"X-API-Key": of_bob.reveal()})
    lines = [line for line in caplog.messages if line.startswith("cannot answer a proxy: ")]
    assert (len(of_ada), len(lines)) == (MOST_LINES, MOST_LINES + 1)
    assert sum("very many user_id=ada" in line for line in caplog.messages) == 1


async def test_what_is_introspected_as_inactive_does_not_fill_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    asker, key = await world.key("bob", RequestedGrant(frozenset({"keys:introspect"}), frozenset({"orders"})))
    other, elsewhere = await world.key(requested=RequestedGrant(aliases=frozenset({"notes"})))
    async with started(world, Settings()) as app, client_of(app) as http:
        for number in range(2 * MOST_LINES):
            token = elsewhere.reveal() if number % 2 else "forged"
            answer = await http.post("/introspect", headers={"X-API-Key": key.reveal()}, data={"token": token})
            assert answer.json() == {"active": False}
    lines = [line for line in caplog.messages if line.startswith("introspected as inactive: ")]
    of_another_alias = f"introspected as inactive: of another alias key_id={other.key_id} asked_by={asker.key_id}"
    assert (len(lines), lines.count(of_another_alias)) == (MOST_LINES, MOST_LINES // 2)
    assert sum("very many user_id=bob" in line for line in caplog.messages) == 1


async def test_bad_keys_that_come_through_the_sdk_do_not_fill_the_log(
    world: World, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    del clock
    verifier = ApiKeyTokenVerifier(world.ring.verifier, alias="keys")
    for _ in range(2 * MOST_LINES):
        assert await verifier.verify_token("forged") is None
    lines = [line for line in caplog.messages if line.startswith("refused: ")]
    assert lines[:MOST_LINES] == ["refused: malformed"] * MOST_LINES
    assert lines[MOST_LINES:] == ["refused: very many bad keys; those of the next 60 seconds are not logged"]
