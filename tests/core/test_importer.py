"""Rows of another system that stand in each other's way, or in the way of what is here."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from mcp_keys_server import InvalidApiKeyError, Refusal, UserExistsError
from mcp_keys_server.core import importer
from mcp_keys_server.core.changes import Decide
from mcp_keys_server.core.import_plan import ImportPlan, RemarkKind, plan
from mcp_keys_server.core.imported_key import ScopeRule, System
from mcp_keys_server.core.importer import Importer, ImportReport
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import Event, EventKind
from mcp_keys_server.core.records import KeyStatus, Person, UserRecord
from mcp_keys_server.core.source_row import SourceRow
from tests.imported_keys import fleetmind_key, hub_key
from tests.sources import fleetmind_columns, fleetmind_user_id, hub_columns
from tests.world import World

pytestmark = pytest.mark.anyio

Result = TypeVar("Result")


def of_hub(key: str, row: str, user: str = "4b0c", **columns: Any) -> SourceRow:  # noqa: ANN401 - strange ones
    return hub_columns(key, id=row, user_id=user, **columns)


def of_fleetmind(key: str, row: int, email: str, **columns: Any) -> SourceRow:  # noqa: ANN401 - strange ones
    return {"key_id": row, "is_active": True, "created_at": "2026-01-02 03:04:05"} | fleetmind_columns(
        key, email, **columns
    )


async def take(
    world: World, system: System, *rows: SourceRow, write: bool = True, store: KeyStore | None = None
) -> ImportReport:
    """What a dry run says and what is then done, which must be the same."""
    planned = plan(rows, system, world.clock(), ScopeRule())
    before = everything_in(world)
    report = await Importer(world.ring.store, system, write=False, clock=world.clock).take(planned)
    assert everything_in(world) == before
    if write:
        dry = report
        report = await Importer(store or world.ring.store, system, write=True, clock=world.clock).take(planned)
        if store is None:
            dry.applied = True
            assert report == dry
    assert report.rows_read == len(rows) == report.taken + report.already_there + report.skipped
    return report


def everything_in(world: World) -> list[list[tuple[object, ...]]]:
    return [world.sql(f"SELECT * FROM {table}") for table in ("users", "keys", "secrets", "events")]


def remarks(report: ImportReport, kind: RemarkKind = RemarkKind.SKIPPED) -> dict[str, str]:
    return {remark.source_id: remark.reason for remark in report.remarks if remark.kind is kind}


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.taken, report.already_there, report.skipped, report.users_added


async def owner(world: World, key: str) -> str:
    return (await world.ring.verifier.verify(key)).user_id


async def refusal(world: World, key: str) -> Refusal:
    with pytest.raises(InvalidApiKeyError) as refused:
        await world.ring.verifier.verify(key)
    return refused.value.refusal


async def test_of_two_e_mails_that_differ_in_case_both_users_come_and_one_has_it(world: World) -> None:
    first, second = fleetmind_key(), fleetmind_key()
    rows = of_fleetmind(first, 1, "Eve@x.org"), of_fleetmind(second, 2, "eve@x.org")
    report = await take(world, System.FLEETMIND, *rows)
    assert counts(report) == (2, 0, 0, 2)
    assert "in case only" in remarks(report, RemarkKind.NOTED)["2"]
    assert await owner(world, first) == fleetmind_user_id("Eve@x.org")
    assert await owner(world, second) == fleetmind_user_id("eve@x.org")
    users = {user.user_id: user.email for user in await world.ring.administration.list_users()}
    assert users[fleetmind_user_id("Eve@x.org")] == "eve@x.org"
    assert users[fleetmind_user_id("eve@x.org")] is None


async def test_the_e_mail_is_for_the_user_whose_key_is_good(world: World) -> None:
    ended, good = fleetmind_key(), fleetmind_key()
    rows = of_fleetmind(ended, 1, "Eve@x.org", is_active=False), of_fleetmind(good, 2, "eve@x.org")
    await take(world, System.FLEETMIND, *rows)
    found = await world.ring.store.find_user("eve@x.org")
    assert found is not None
    assert found.user_id == await owner(world, good)


async def test_an_e_mail_that_is_somebodys_here_stays_theirs(world: World) -> None:
    key = fleetmind_key()
    report = await take(world, System.FLEETMIND, of_fleetmind(key, 1, "Ada@Example.com"))
    assert "somebody else's here" in remarks(report, RemarkKind.NOTED)["1"]
    assert await owner(world, key) == fleetmind_user_id("Ada@Example.com")
    found = await world.ring.store.find_user("ada@example.com")
    assert found is not None
    assert found.user_id == "ada"


async def test_a_user_who_did_not_come_from_there_gets_none_of_its_keys(world: World) -> None:
    key = hub_key()
    for _ in range(2):
        report = await take(world, System.HUB, of_hub(key, "1", "Ada"))
        assert counts(report) == (0, 0, 1, 0)
        assert "came from elsewhere" in remarks(report)["1"]
    assert await refusal(world, key) is Refusal.UNMATCHED


async def test_nobody_says_of_themselves_that_they_came_from_there(world: World) -> None:
    record, _ = await world.key()
    await world.ring.manager.revoke_key(Person("ada"), key_id=record.key_id, reason="from=hub user_id='ada'")
    (entry, *_) = await world.ring.administration.list_events()
    assert entry.event.detail == "from=hub user_id='ada'"
    key = hub_key()
    assert counts(await take(world, System.HUB, of_hub(key, "1", "ada"))) == (0, 0, 1, 0)
    assert await refusal(world, key) is Refusal.UNMATCHED


async def test_a_user_who_has_a_key_from_there_is_the_same_in_whatever_spelling(world: World) -> None:
    keys = [hub_key() for _ in range(2)]
    row = of_hub(keys[0], "1", "4B0C")
    await take(world, System.HUB, row)
    report = await take(world, System.HUB, {**row, "user_id": "4b0c"}, of_hub(keys[1], "2", "4b0c"))
    assert counts(report) == (1, 1, 0, 0)
    assert {await owner(world, key) for key in keys} == {"4b0c"}


async def test_a_user_of_one_system_gets_no_keys_of_the_other(world: World) -> None:
    hubs, fleetminds = hub_key(), fleetmind_key()
    await take(world, System.HUB, of_hub(hubs, "1", "user_1"))
    report = await take(world, System.FLEETMIND, of_fleetmind(fleetminds, 1, "e@x.org", user_id="user_1"))
    assert counts(report) == (0, 0, 1, 0)
    assert await refusal(world, fleetminds) is Refusal.UNMATCHED


async def test_of_two_user_ids_that_differ_in_case_one_is_taken(world: World) -> None:
    keys = [hub_key() for _ in range(3)]
    rows = of_hub(keys[0], "1", "4B0C"), of_hub(keys[1], "2", "4b0c"), of_hub(keys[2], "3", "4B0C")
    report = await take(world, System.HUB, *rows)
    assert (counts(report), set(remarks(report))) == ((1, 0, 2, 1), {"1", "3"})
    assert await owner(world, keys[1]) == "4b0c"
    for key in (keys[0], keys[2]):
        assert await refusal(world, key) is Refusal.UNMATCHED


async def test_a_user_id_that_differs_in_case_and_comes_later_is_somebody_else(world: World) -> None:
    first, later = hub_key(), hub_key()
    row = of_hub(first, "1", "4B0C")
    await take(world, System.HUB, row)
    report = await take(world, System.HUB, row, of_hub(later, "2", "4b0c"))
    assert (counts(report), set(remarks(report))) == ((0, 0, 2, 0), {"1", "2"})
    assert await owner(world, first) == "4b0c"
    assert await refusal(world, later) is Refusal.UNMATCHED


async def test_a_secret_that_was_replaced_here_does_not_come_back_from_another_row(world: World) -> None:
    key = hub_key()
    row = of_hub(key, "1")
    await take(world, System.HUB, row)
    principal = await world.ring.verifier.verify(key)
    await world.ring.administration.rotate_key(principal.key_id, overlap_hours=0)
    report = await take(world, System.HUB, {**row, "id": "2"})  # a row of the same key in a database that was moved
    assert counts(report) == (0, 1, 0, 0)
    assert await refusal(world, key) is Refusal.UNMATCHED


async def test_a_row_that_is_there_twice_is_taken_once(world: World) -> None:
    key = hub_key()
    row = of_hub(key, "1")
    report = await take(world, System.HUB, row, {**row, "key_prefix": "another1"}, row)
    assert counts(report) == (1, 0, 2, 1)
    assert remarks(report) == {"1": "it is in the source twice"}


async def test_an_upper_case_user_id_alone_is_lower_case_here(world: World) -> None:
    keys = [hub_key() for _ in range(2)]
    report = await take(world, System.HUB, of_hub(keys[0], "1", "4B0C-D"), of_hub(keys[1], "2", "4B0C-D"))
    assert counts(report) == (2, 0, 0, 1)
    assert {await owner(world, key) for key in keys} == {"4b0c-d"}


async def test_of_two_keys_with_one_prefix_the_one_that_is_good_is_taken(world: World) -> None:
    expired = hub_key()
    good = expired[:12] + hub_key()[12:]
    later = expired[:12] + hub_key()[12:]
    rows = (
        of_hub(expired, "1", expires_at="2020-01-01T00:00:00Z"),
        of_hub(good, "2"),
        of_hub(later, "3", user="other"),
    )
    report = await take(world, System.HUB, *rows)
    assert (counts(report), set(remarks(report))) == ((1, 0, 2, 1), {"1", "3"})
    assert await owner(world, good) == "4b0c"
    for key in (expired, later):
        assert await refusal(world, key) is Refusal.UNMATCHED


async def test_a_key_with_the_prefix_of_one_that_is_here_is_skipped(world: World) -> None:
    _, native = await world.key()
    key = "mhu_" + native.prefix + hub_key()[12:]
    other = hub_key()
    report = await take(world, System.HUB, of_hub(key, "1"), of_hub(other, "2"))
    assert (counts(report), list(remarks(report))) == ((1, 0, 1, 1), ["1"])
    assert await refusal(world, key) is Refusal.UNMATCHED
    assert await owner(world, native.reveal()) == "ada"
    assert await owner(world, other) == "4b0c"


class Racing:
    """A store in which somebody else is faster, once."""

    def __init__(self, store: KeyStore, first: Callable[[], Awaitable[object]], before: str) -> None:
        self._store = store
        self._first: Callable[[], Awaitable[object]] | None = first
        self._before = before

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return getattr(self._store, name)

    async def change(self, user_id: str, decide: Decide[Result]) -> Result:
        await self._go_first("change")
        return await self._store.change(user_id, decide)

    async def add_user(self, user: UserRecord, event: Event) -> None:
        await self._go_first("add_user")
        await self._store.add_user(user, event)

    async def _go_first(self, method: str) -> None:
        if self._before == method and self._first is not None:
            first, self._first = self._first, None
            await first()


class OnlyRead:
    """A store in which nothing is to be written."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        assert name in ("find_owner", "find_user", "find_key", "read_secret", "list_events")
        return getattr(self._store, name)


async def test_where_all_keys_are_here_nothing_is_written(world: World) -> None:
    rows = of_hub(hub_key(), "1"), of_hub(hub_key(), "2", last_used="2026-03-04T05:06:07+00:00", use_count=7)
    await take(world, System.HUB, *rows)
    store: Any = OnlyRead(world.ring.store)
    assert counts(await take(world, System.HUB, *rows, store=store)) == (0, 2, 0, 0)


async def test_a_prefix_that_is_taken_meanwhile_costs_its_own_row_only(world: World) -> None:
    taken, other = hub_key(), hub_key()

    async def somebody_else() -> None:
        twin = taken[:12] + hub_key()[12:]
        planned = plan([of_hub(twin, "9", "elsewhere")], System.HUB, world.clock(), ScopeRule())
        await Importer(world.ring.store, System.HUB, write=True).take(planned)

    store: Any = Racing(world.ring.store, somebody_else, "change")
    report = await take(world, System.HUB, of_hub(taken, "1"), of_hub(other, "2"), store=store)
    assert (counts(report), list(remarks(report))) == ((1, 0, 1, 1), ["1"])
    assert await owner(world, other) == "4b0c"


async def test_a_user_who_is_added_meanwhile_ends_it_and_it_can_go_on(world: World) -> None:
    key = hub_key()

    async def somebody_else() -> None:
        await world.ring.administration.add_user("4b0c")

    store: Any = Racing(world.ring.store, somebody_else, "add_user")
    with pytest.raises(UserExistsError):
        await take(world, System.HUB, of_hub(key, "1"), store=store)
    assert counts(await take(world, System.HUB, of_hub(key, "1"))) == (0, 0, 1, 0)


async def test_what_is_cut_off_after_the_user_goes_on_with_the_keys(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hub_key()

    async def cut_off() -> None:
        raise ConnectionError

    store: Any = Racing(world.ring.store, cut_off, "change")
    with pytest.raises(ConnectionError):
        await take(world, System.HUB, of_hub(key, "1"), store=store)
    monkeypatch.setattr(importer, "EVENTS_AT_A_TIME", 1)
    await world.ring.administration.disable_user("4b0c")  # entries after that of the import
    await world.ring.administration.enable_user("4b0c")
    assert counts(await take(world, System.HUB, of_hub(key, "1"))) == (1, 0, 0, 0)
    assert await owner(world, key) == "4b0c"


async def test_what_is_cut_off_before_the_use_is_noted_notes_it_the_next_time(world: World) -> None:
    key = hub_key()
    row = of_hub(key, "1", last_used="2026-03-04T05:06:07+00:00", use_count=7)
    await take(world, System.HUB, row)
    world.sql("UPDATE keys SET use_count = 0, last_used_at = NULL")
    for _ in range(2):
        assert counts(await take(world, System.HUB, row)) == (0, 1, 0, 0)
        (here,) = await world.ring.administration.list_keys("4b0c")
        assert (here.use_count, here.last_used_at) == (7, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))


async def test_a_key_that_was_revoked_here_stays_so(world: World) -> None:
    key = fleetmind_key()
    row = of_fleetmind(key, 1, "eve@x.org")
    await take(world, System.FLEETMIND, row)
    key_id = (await world.ring.verifier.verify(key)).key_id
    await world.ring.administration.revoke_key(key_id, reason="stolen")
    assert counts(await take(world, System.FLEETMIND, row)) == (0, 1, 0, 0)
    assert await refusal(world, key) is Refusal.REVOKED


async def test_a_key_that_was_revoked_there_since_is_pointed_out(world: World) -> None:
    key = fleetmind_key()
    for _ in range(2):
        report = await take(world, System.FLEETMIND, of_fleetmind(key, 1, "eve@x.org"))
        assert remarks(report, RemarkKind.NOTED) == {}
    report = await take(world, System.FLEETMIND, of_fleetmind(key, 1, "eve@x.org", is_active=False))
    key_id = (await world.ring.verifier.verify(key)).key_id
    assert remarks(report, RemarkKind.NOTED)["1"] == f"revoked there since; here {key_id} is still good"
    await world.ring.administration.revoke_key(key_id, reason=None)
    report = await take(world, System.FLEETMIND, of_fleetmind(key, 1, "eve@x.org", is_active=False))
    assert remarks(report, RemarkKind.NOTED) == {}


async def test_a_key_that_was_rotated_here_does_not_come_back_with_its_old_secret(world: World) -> None:
    key = hub_key()
    row = of_hub(key, "1")
    await take(world, System.HUB, row)
    key_id = (await world.ring.verifier.verify(key)).key_id
    await world.ring.administration.rotate_key(key_id, overlap_hours=0)
    assert counts(await take(world, System.HUB, row)) == (0, 1, 0, 0)
    assert await refusal(world, key) is Refusal.UNMATCHED


async def test_a_user_gets_as_many_keys_as_one_may_have_and_the_good_ones_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "MOST_HELD_KEYS", 2)
    keys = [hub_key() for _ in range(4)]
    rows = [of_hub(key, str(number)) for number, key in enumerate(keys)]
    rows[0] = of_hub(keys[0], "0", expires_at="2020-01-01T00:00:00Z")
    report = await take(world, System.HUB, *rows)
    assert (counts(report), set(remarks(report))) == ((2, 0, 2, 1), {"3", "0"})
    assert "more than 2 keys" in remarks(report)["3"]
    assert counts(await take(world, System.HUB, *rows)) == (0, 2, 2, 0)


async def test_every_key_is_an_entry_of_the_ledger_that_holds_no_secret(world: World) -> None:
    good, ended = fleetmind_key(), fleetmind_key()
    rows = of_fleetmind(good, 1, "eve@x.org"), of_fleetmind(ended, 2, "bob@x.org", is_active=False)
    await take(world, System.FLEETMIND, *rows)
    entries = [entry.event for entry in await world.ring.administration.list_events("eve@x.org")]
    assert [event.kind for event in entries] == [EventKind.KEY_IMPORTED, EventKind.USER_IMPORTED]
    assert entries[0].detail.startswith(f"from=fleetmind prefix={good[3:11]} name='FleetMind key' scopes=")
    entries = [entry.event for entry in await world.ring.administration.list_events("bob@x.org")]
    kinds = [EventKind.KEY_REVOKED, EventKind.KEY_IMPORTED, EventKind.USER_IMPORTED]
    assert [event.kind for event in entries] == kinds
    assert "sha256" not in str(entries)
    await world.ring.administration.verify_events()


async def test_an_expired_key_comes_as_an_expired_one(world: World) -> None:
    key = hub_key()
    end = (world.clock() - timedelta(days=1)).isoformat()
    await take(world, System.HUB, of_hub(key, "1", expires_at=end))
    assert await refusal(world, key) is Refusal.EXPIRED
    (here,) = await world.ring.administration.list_keys("4b0c")
    assert here.status(world.clock()) is KeyStatus.EXPIRED


async def test_a_row_that_cannot_be_taken_stops_no_other(world: World) -> None:
    keys = [hub_key() for _ in range(3)]
    rows = [of_hub(key, str(number), f"user{number}") for number, key in enumerate(keys)]
    report = await take(world, System.HUB, rows[0], {**rows[1], "key_hash": "?"}, {}, rows[2])
    assert (counts(report), set(remarks(report))) == ((2, 0, 2, 2), {"1", "?"})


async def test_an_empty_source_is_nothing_to_do(world: World) -> None:
    report = await take(world, System.HUB)
    assert (counts(report), report.remarks) == ((0, 0, 0, 0), ())


async def test_it_is_said_how_far_it_has_come(world: World) -> None:
    rows = [of_hub(hub_key(), str(number), f"user{number % 2}") for number in range(5)]
    planned = plan(rows, System.HUB, world.clock(), ScopeRule())
    steps: list[int] = []
    await Importer(world.ring.store, System.HUB, write=True).take(planned, after_each=steps.append)
    assert sorted(steps) == [2, 3]


def test_a_plan_and_a_report_begin_with_nothing() -> None:
    assert ImportPlan(System.HUB) == ImportPlan(System.HUB, 0, [], [], has_naive_times=False)
    report = ImportReport(System.HUB, applied=False)
    assert report == ImportReport(System.HUB, False, 0, 0, 0, 0, 0, ())  # noqa: FBT003 - all of them, in order
