"""What is open ends with its key."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from time import monotonic

import anyio
import httpx2
import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from mcp_keys_server import ApiKey, KeyRecord, RequestedGrant, StoreUnavailableError
from mcp_keys_server.auth.guard import KeyGuard, principal_of
from mcp_keys_server.auth.open_responses import CURRENT, Ending, OpenResponse, OpenResponses, only_while_open
from mcp_keys_server.core.records import Person
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.server.http_service import listen
from tests.world import World, prefix_of

pytestmark = pytest.mark.anyio
LOG = "mcp_keys_server.auth.open_responses"


@dataclass(eq=False)
class Request:
    """A request to the application below, in a task of its own, with what was sent in answer to it."""

    key: ApiKey
    path: str
    sent: list[Message] = field(default_factory=list)
    closed: bool = False

    async def run(self, guard: KeyGuard) -> "Request":
        headers = [(b"x-api-key", self.key.reveal().encode())]
        scope: Scope = {"type": "http", "method": "GET", "path": self.path, "headers": headers}
        await guard(scope, self._receive, self._send)
        self.closed = True
        return self

    async def _receive(self) -> Message:
        raise AssertionError

    async def _send(self, message: Message) -> None:
        assert not self.closed, "something came after the end"
        self.sent.append(message)

    @property
    def status(self) -> int:
        status = self.sent[0]["status"]
        assert isinstance(status, int)
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_whole(self) -> bool:
        return self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body")


START: Message = {"type": "http.response.start", "status": 200, "headers": []}


class Application:
    """By path: one response that does not begin, one that streams, one that does what a test says, and others."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.deed: Callable[[Scope], Awaitable[object]] | None = None
        self.cancelled = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        only_while_open("keys")
        try:
            await self._begin(scope, send)
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await self._say_more(scope, send)
            raise
        await send({"type": "http.response.body", "body": b"the end"})

    async def _begin(self, scope: Scope, send: Send) -> None:
        match scope["path"]:
            case "/streams" | "/lingers" | "/fails":
                await send(START)
                await send({"type": "http.response.body", "body": b"more ", "more_body": True})
            case "/acts":
                assert self.deed
                await self.deed(scope)
                await send(START)
            case _:
                pass

    async def _say_more(self, scope: Scope, send: Send) -> None:
        if scope["path"] == "/lingers":  # in a task of its own, which outlives the response
            self._tasks.add(asyncio.create_task(self._linger(send)))
        if scope["path"] == "/fails":
            raise RuntimeError("half of it was not sent")
        await send({"type": "http.response.body", "body": b"last words"})

    async def _linger(self, send: Send) -> None:
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"too late", "more_body": True})


@dataclass
class Site:
    application: Application
    guard: KeyGuard
    open_responses: OpenResponses

    def ask(self, key: ApiKey, *paths: str) -> list[asyncio.Task[Request]]:
        return [asyncio.create_task(Request(key, path).run(self.guard)) for path in paths]

    async def until_open(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.open_responses) != count:
                await asyncio.sleep(0)
            for _ in range(5):  # and the application has said what it says at first
                await asyncio.sleep(0)


@pytest.fixture
def site(world: World) -> Site:
    application = Application()
    guard = KeyGuard(application, world.ring.verifier, world.ring.open_responses)
    return Site(application, guard, world.ring.open_responses)


@asynccontextmanager
async def impatient_site(world: World, seconds_without_store: float = 0.2) -> AsyncIterator[Site]:
    """One that waits for the store for a moment only."""
    application = Application()
    watched = OpenResponses(
        world.ring.verifier, seconds_between_looks=0.01, seconds_without_store=seconds_without_store
    )
    looking = asyncio.create_task(watched.keep_looking())
    yield Site(application, KeyGuard(application, world.ring.verifier, watched), watched)
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking


async def ended(tasks: list[asyncio.Task[Request]]) -> list[Request]:
    with anyio.fail_after(30):
        return await asyncio.gather(*tasks)


KINDS = ("/waits", "/streams", "/lingers", "/fails")


def assert_ended(requests: list[Request], status_of_the_refused: int = 401) -> None:
    for request in requests:
        if request.path == "/waits":
            assert (request.status, request.is_whole) == (status_of_the_refused, True)
        else:
            assert (request.status, request.body, request.is_whole) == (200, b"more ", False)


async def test_a_revocation_ends_a_thousand_open_responses_and_no_others(
    world: World, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (record, key), (_, other), (_, bobs) = await world.key(), await world.key(), await world.key("bob")
    going_on = site.ask(other, *KINDS) + site.ask(bobs, *KINDS)
    ending = site.ask(key, *KINDS * 250)
    await site.until_open(1_008)
    caplog.clear()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    assert_ended(await ended(ending))
    assert len(site.open_responses) == 8
    assert site.application.cancelled == 1_000
    assert [line for name, _, line in caplog.record_tuples if name == LOG] == [
        f"ended: revoked key_id={record.key_id} user_id=ada open_responses=1000"
    ]
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    site.application.go_on.set()
    for request in await ended(going_on):
        assert (request.status if request.path != "/waits" else 200, request.body[-7:]) == (200, b"the end")
    assert len(site.open_responses) == 0


async def disable_key(world: World, key: KeyRecord) -> None:
    owner = await world.principal()
    await world.ring.manager.disable_key(owner, key_id=key.key_id)


async def disable_owner(world: World, _: KeyRecord) -> None:
    world.disable("ada")


async def expire(world: World, _: KeyRecord) -> None:
    world.clock.advance(days=1)


async def narrow(world: World, key: KeyRecord) -> None:
    owner = await world.principal()
    await world.ring.manager.update_key(
        owner, key_id=key.key_id, requested=RequestedGrant(aliases=frozenset({"other"}))
    )


async def replace_secret(world: World, key: KeyRecord) -> None:
    await world.ring.manager.rotate_key(Person(key.user_id), key_id=key.key_id, overlap_hours=1)
    world.clock.advance(hours=1)


async def remove_secret(world: World, key: KeyRecord) -> None:
    world.sql(f"DELETE FROM secrets WHERE prefix = '{prefix_of(key)}'")


@pytest.mark.parametrize(
    ("end", "reason", "status"),
    [
        (disable_key, "disabled", 401),
        (disable_owner, "owner_disabled", 401),
        (expire, "expired", 401),
        (replace_secret, "replaced", 401),
        (remove_secret, "unmatched", 401),
        (narrow, "endpoint", 403),
    ],
)
async def test_whatever_ends_a_key_ends_what_is_open(
    world: World,
    site: Site,
    caplog: pytest.LogCaptureFixture,
    *,
    end: Callable[[World, KeyRecord], Awaitable[None]],
    reason: str,
    status: int,
) -> None:
    record, key = await world.key(requested=RequestedGrant(expires_in_days=1))
    asked = site.ask(key, *KINDS)
    await site.until_open(4)
    await end(world, record)
    assert_ended(await ended(asked), status)
    assert len(site.open_responses) == 0
    assert f"ended: {reason} key_id={record.key_id} user_id=ada open_responses=4" in caplog.messages


async def test_narrowing_that_leaves_the_endpoint_open_ends_nothing(world: World, site: Site) -> None:
    record, key = await world.key()
    asked = site.ask(key, "/streams")
    await site.until_open(1)
    owner = await world.principal()
    both = RequestedGrant(aliases=frozenset({"keys", "other"}), scopes=frozenset())
    await world.ring.manager.update_key(owner, key_id=record.key_id, requested=both)
    revoked, of_another = await world.key()
    until = site.ask(of_another, "/waits")
    await site.until_open(2)
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    await ended(until)  # so there was a look since
    site.application.go_on.set()
    (request,) = await ended(asked)
    assert request.body == b"more the end"


async def test_the_answer_to_what_ends_its_own_key_arrives_whole_and_no_other_does(world: World, site: Site) -> None:
    async def act(scope: Scope) -> None:
        mine = principal_of(scope)
        await world.ring.manager.revoke_with_descendants(mine, key_id=mine.key_id, reason=None)
        acted.set()

    acted = asyncio.Event()
    site.application.deed = act
    _, key = await world.key()
    maker = await world.ring.verifier.verify(key.reveal())
    _, child = await world.ring.manager.create_key(maker, name="x", requested=RequestedGrant())
    others = site.ask(key, *KINDS) + site.ask(child, *KINDS)
    await site.until_open(8)
    acting = site.ask(key, "/acts")
    await acted.wait()
    assert_ended(await ended(others))  # so there was a look since
    assert len(site.open_responses) == 1
    site.application.go_on.set()
    (request,) = await ended(acting)
    assert (request.status, request.body, request.is_whole) == (200, b"the end", True)


async def test_what_ended_its_own_key_does_not_go_on_for_ever(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scope: Scope) -> None:
        mine = principal_of(scope)
        await world.ring.manager.revoke_key(mine, key_id=mine.key_id, reason=None)

    monkeypatch.setattr("mcp_keys_server.auth.open_responses.SECONDS_TO_ANSWER", 0.1)
    site.application.deed = act
    _, key = await world.key()
    (request,) = await ended(site.ask(key, "/acts"))
    assert (request.status, request.body) == (200, b"")
    assert not request.is_whole


async def test_what_changed_something_else_is_ended_by_others_like_everything(world: World, site: Site) -> None:
    async def act(scope: Scope) -> None:
        await world.ring.manager.create_key(principal_of(scope), name="x", requested=RequestedGrant())

    site.application.deed = act
    record, key = await world.key()
    acting = site.ask(key, "/acts")
    revoked, of_another = await world.key()
    with anyio.fail_after(30):
        while len(await world.ring.administration.list_keys()) < 3:
            await asyncio.sleep(0)
    until = site.ask(of_another, "/waits")
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    await ended(until)  # so there was a look since
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    (request,) = await ended(acting)
    assert request.body == b""


async def test_a_store_that_does_not_answer_for_long_ends_them_and_is_forgiven(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    record, key = await world.key()
    async with impatient_site(world) as site:
        asked = site.ask(key, *KINDS)
        await site.until_open(4)
        world.sql("ALTER TABLE secrets RENAME TO gone")
        assert_ended(await ended(asked), 503)
        said = re.compile(rf"ended: store key_id={record.key_id} user_id=ada open_responses=(\d+)")
        # In one look or in several, because each was last known to be good at a moment of its own.
        assert sum(int(found[1]) for message in caplog.messages if (found := said.fullmatch(message))) == 4
        world.sql("ALTER TABLE gone RENAME TO secrets")
        asked = site.ask(key, *KINDS)
        await site.until_open(4)
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        assert_ended(await ended(asked), 401)


async def test_a_short_trouble_of_the_store_ends_nothing(world: World, site: Site) -> None:
    _, key = await world.key()
    asked = site.ask(key, "/streams")
    await site.until_open(1)
    world.sql("ALTER TABLE secrets RENAME TO gone")
    site.open_responses.look_soon()
    for _ in range(5):
        await asyncio.sleep(0)
    world.sql("ALTER TABLE gone RENAME TO secrets")
    site.application.go_on.set()
    (request,) = await ended(asked)
    assert request.body == b"more the end"


async def test_a_look_that_crashes_or_hangs_ends_them_too(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    _, key = await world.key()
    async with impatient_site(world) as site:
        for trouble in (crash, hang):
            with monkeypatch.context() as patch:
                patch.setattr(KeyVerifier, "look_again", trouble)
                asked = site.ask(key, *KINDS)
                assert_ended(await ended(asked), 503)
    assert "crashed: the look at open responses" in caplog.messages


async def test_a_look_that_hangs_goes_on_no_longer_than_what_is_open_may(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await world.key()
    async with impatient_site(world, seconds_without_store=3600) as site:
        looks: list[int] = []

        async def fail_once_and_hang(*_: object) -> None:
            looks.append(1)
            if len(looks) > 1:
                await asyncio.Event().wait()
            for response in site.open_responses._open:
                response.good_at -= 3599
            raise StoreUnavailableError

        asked = site.ask(key, "/waits")
        await site.until_open(1)
        monkeypatch.setattr(KeyVerifier, "look_again", fail_once_and_hang)
        assert_ended(await ended(asked), 503)


async def test_keys_by_the_hundred_are_looked_at_in_parts(world: World, site: Site) -> None:
    made = [await world.key() for _ in range(60)]
    asked = [site.ask(key, "/waits")[0] for _, key in made]
    await site.until_open(60)
    world.disable("ada")
    assert {request.status for request in await ended(asked)} == {401}


async def test_a_change_is_looked_at_at_once_where_anything_is_open(world: World) -> None:
    response = OpenResponse("a prefix", await world.principal())
    responses = OpenResponses(world.ring.verifier)
    with responses.changing():
        assert not responses._opened.is_set()
    assert not responses._changed.is_set()
    responses.add(response)
    with responses.changing():
        assert responses._opened.is_set()
    assert responses._changed.is_set()
    responses.remove(response)
    assert not responses._opened.is_set()


async def test_what_the_store_says_nothing_of_ends_when_that_has_lasted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(world.ring.verifier, "look_again", fail)
    responses = OpenResponses(world.ring.verifier, seconds_without_store=3600)
    principal = await world.principal()
    older, newer = OpenResponse("one", principal), OpenResponse("another", principal)
    older.good_at -= 3601
    responses.add(older)
    responses.add(newer)
    await responses._look()
    assert (older.ending, newer.ending) == (Ending.STORE, None)


async def test_a_look_that_finds_it_good_counts_anew_how_long_it_may_go_on_without_the_store(world: World) -> None:
    _, key = await world.key()
    responses = OpenResponses(world.ring.verifier, seconds_without_store=3600)
    principal = await world.ring.verifier.verify(key.reveal())
    response = OpenResponse(key.prefix, principal)
    response.good_at -= 3601
    responses.add(response)
    await responses._look()
    world.sql("ALTER TABLE secrets RENAME TO gone")
    await responses._look()
    assert response.ending is None


async def test_what_was_not_entered_by_an_alias_goes_on_whatever_its_key_opens(world: World) -> None:
    _, key = await world.key(requested=RequestedGrant(aliases=frozenset({"other"})))
    responses = OpenResponses(world.ring.verifier)
    principal = await world.ring.verifier.verify(key.reveal())
    anywhere, entered = OpenResponse(key.prefix, principal), OpenResponse(key.prefix, principal)
    entered.alias = "keys"
    responses.add(anywhere)
    responses.add(entered)
    await responses._look()
    assert (anywhere.ending, entered.ending) == (None, Ending.ENDPOINT)


async def test_what_ended_its_own_key_may_be_answered_although_the_store_was_away_for_long_before(world: World) -> None:
    record, key = await world.key()
    responses = OpenResponses(world.ring.verifier, seconds_without_store=3600)
    response = OpenResponse(key.prefix, await world.ring.verifier.verify(key.reveal()))
    response.good_at -= 3601
    response.changed_at = monotonic()
    responses.add(response)
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    await responses._look()
    assert response.ending is None


async def test_a_look_may_take_as_long_as_the_last_of_them_may_go_on(world: World) -> None:
    responses = OpenResponses(world.ring.verifier, seconds_between_looks=7, seconds_without_store=3600)
    assert 3500 < responses._seconds_to_look() <= 3600
    principal = await world.principal()
    older, newer = OpenResponse("a prefix", principal), OpenResponse("a prefix", principal)
    older.good_at -= 4000
    responses.add(older)
    assert responses._seconds_to_look() == 7
    responses.add(newer)
    assert 3500 < responses._seconds_to_look() <= 3600


@pytest.mark.parametrize(("is_open", "seconds_between_looks"), [(False, 0), (True, 3600)])
async def test_nothing_is_looked_at_while_nothing_is_open_or_it_is_too_soon(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_open: bool, seconds_between_looks: float
) -> None:
    responses = OpenResponses(world.ring.verifier, seconds_between_looks=seconds_between_looks)
    response, looked = OpenResponse("a prefix", await world.principal()), asyncio.Event()

    async def look() -> None:
        looked.set()

    monkeypatch.setattr(responses, "_look", look)
    if is_open:
        responses.add(response)
    looking = asyncio.create_task(responses.keep_looking())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not looked.is_set()
    responses.add(response)
    responses.look_soon()
    await asyncio.wait_for(looked.wait(), 20)
    looked.clear()
    for _ in range(20):
        await asyncio.sleep(0)
    assert looked.is_set() is not is_open  # else it is too soon again
    looking.cancel()
    await asyncio.wait([looking])


@pytest.mark.parametrize(
    ("changed_at", "good_at", "now", "may"),
    [(10, 9, 14, True), (10, 10, 14, True), (10, 11, 14, False), (10, 9, 15, False), (10, 10, 10, True)],
)
async def test_a_response_that_ended_its_own_key_may_be_answered_for_a_while_unless_it_was_good_since(
    world: World, *, changed_at: float, good_at: float, now: float, may: bool
) -> None:
    response = OpenResponse("a prefix", await world.principal())
    response.changed_at, response.good_at = changed_at, good_at
    assert response.may_answer_yet(now) is may
    response.changes = 1
    assert response.may_answer_yet(now)


async def test_an_error_of_an_application_stays_its_error(world: World, site: Site) -> None:
    async def act(_: Scope) -> None:
        raise ZeroDivisionError

    site.application.deed = act
    _, key = await world.key()
    with pytest.raises(ZeroDivisionError):
        await ended(site.ask(key, "/acts"))
    assert len(site.open_responses) == 0


async def test_an_error_of_one_that_was_ended_is_told_to_nobody_but_those_who_look(
    world: World, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(_: Scope) -> None:
        response = CURRENT.get()
        assert response is not None
        response.end(Ending.KEY)
        raise ZeroDivisionError

    caplog.set_level(logging.DEBUG, "mcp_keys_server.auth.guard")
    site.application.deed = act
    _, key = await world.key()
    (request,) = await ended(site.ask(key, "/acts"))
    assert (request.status, request.is_whole) == (401, True)
    said = [record for record in caplog.records if record.name == "mcp_keys_server.auth.guard"]
    assert [(it.levelno, it.message) for it in said] == [(logging.DEBUG, "an ended response left an error behind")]


async def test_what_a_client_leaves_is_cancelled_as_ever(world: World, site: Site) -> None:
    _, key = await world.key()
    (asked,) = site.ask(key, "/streams")
    await site.until_open(1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert len(site.open_responses) == 0


async def test_outside_of_a_guard_there_is_nothing_to_keep_open() -> None:
    only_while_open("keys")


async def test_over_the_wire_a_stream_is_cut_and_another_request_gets_its_answer(world: World, site: Site) -> None:
    record, key = await world.key()
    with closing(listen("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(site.guard, log_config=None, lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key.reveal()}) as http:
            waiting = asyncio.create_task(http.get("/waits"))
            async with http.stream("GET", "/streams") as stream:
                chunks = stream.aiter_raw()
                assert await anext(chunks) == b"more "
                await site.until_open(2)
                await world.ring.administration.revoke_key(record.key_id, reason=None)
                with pytest.raises(httpx2.RemoteProtocolError):
                    await anext(chunks)
            assert (await waiting).status_code == 401
        server.should_exit = True
        await serving


async def test_a_look_while_a_change_is_being_made_ends_nothing_of_whoever_makes_it(world: World, site: Site) -> None:
    """Nobody can tell yet whose the change is that the look has seen: its own, committed and not yet known to be."""
    record, key = await world.key()
    asked = site.ask(key, "/streams")
    await site.until_open(1)
    (response,) = site.open_responses._open
    outer = CURRENT.set(response)
    with site.open_responses.changing():
        CURRENT.reset(outer)
        world.sql(f"UPDATE keys SET revoked_at = created_at WHERE key_id = '{record.key_id}'")
        await site.open_responses._look()
        assert response.ending is None
    await site.open_responses._look()
    assert response.ending is None  # its answer is on its way
    site.application.go_on.set()
    (request,) = await ended(asked)
    assert request.body == b"more the end"


async def test_of_several_changes_of_one_request_the_first_counts(world: World, site: Site) -> None:
    _, key = await world.key()
    asked = site.ask(key, "/waits")
    await site.until_open(1)
    (response,) = site.open_responses._open
    outer = CURRENT.set(response)
    with site.open_responses.changing():
        pass
    first = response.changed_at
    with site.open_responses.changing():
        pass
    CURRENT.reset(outer)
    assert first >= response.good_at
    assert response.changed_at == first
    site.application.go_on.set()
    await ended(asked)


async def test_work_for_nobodys_response_is_bound_to_no_key(world: World) -> None:
    with world.ring.open_responses.working():
        assert len(world.ring.open_responses) == 0


async def test_work_for_a_response_ends_with_its_key_and_its_alias(world: World, site: Site) -> None:
    record, key = await world.key()
    asked = site.ask(key, "/waits")
    await site.until_open(1)
    (response,) = site.open_responses._open
    outer = CURRENT.set(response)
    with site.open_responses.working():
        (work,) = site.open_responses._open - {response}
        assert (work.prefix, work.principal, work.alias) == (response.prefix, response.principal, "keys")
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        with anyio.fail_after(30):
            await anyio.sleep_forever()
    CURRENT.reset(outer)
    await ended(asked)
    assert not site.open_responses._open
