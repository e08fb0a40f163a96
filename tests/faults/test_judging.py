"""That each thing which can go wrong is told apart from the others, and none is told of what went well."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mcp_keys_server.core.records import Person
from tests.databases import Database
from tests.faults.history import History
from tests.faults.judging import Verdict, judge
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
ADA = Person("ada")


@dataclass
class Told:
    """What ada was told of two keys, of which one was revoked and the other one rotated."""

    database: Database
    rotated: str
    plaintexts: list[str]
    revoked: str
    history: History = field(default_factory=History)

    async def judged(self) -> Verdict:
        return await judge(self.database.setting, self.history)


@pytest.fixture
async def told(world: World) -> Told:
    manager = world.ring.manager
    made, key = await manager.create_key(ADA, name="rotated", requested=NOTHING_SPECIAL)
    _, newer = await manager.rotate_key(ADA, key_id=made.key_id, overlap_hours=0)
    ended, its_key = await manager.create_key(ADA, name="revoked", requested=NOTHING_SPECIAL)
    await manager.revoke_key(ADA, key_id=ended.key_id, reason=None)
    plaintexts = [key.reveal(), newer.reveal(), its_key.reveal()]
    told = Told(world.database, made.key_id, plaintexts, ended.key_id)
    told.history.created |= {made.key_id, ended.key_id}
    told.history.handed_over |= dict(zip(plaintexts, [made.key_id, made.key_id, ended.key_id], strict=True))
    told.history.perhaps_replaced.add(plaintexts[0])
    told.history.replaced.add(plaintexts[0])
    told.history.perhaps_revoked.add(ended.key_id)
    told.history.revoked.add(ended.key_id)
    return told


async def test_nothing_is_wrong_when_all_is_as_it_was_told(told: Told) -> None:
    told.history.note_use(told.plaintexts[0], accepted=False)
    told.history.note_use(told.plaintexts[1], accepted=True)
    told.history.note_use(told.plaintexts[2], accepted=False)
    assert (await told.judged()).wrong == {}


def lose_a_key(told: Told) -> None:
    told.history.created.add("key_0123456789abcdef")


def lose_a_secret(told: Told) -> None:
    told.database.sql(f"DELETE FROM secrets WHERE key_id = '{told.rotated}'")


def revoke_no_key(told: Told) -> None:
    told.history.perhaps_revoked.add(told.rotated)
    told.history.revoked.add(told.rotated)


def replace_no_secret(told: Told) -> None:
    told.history.perhaps_replaced.add(told.plaintexts[1])
    told.history.replaced.add(told.plaintexts[1])


def accept_too_late(told: Told) -> None:
    told.history.note_use(told.plaintexts[0], accepted=True)
    told.history.note_use(told.plaintexts[2], accepted=True)


def refuse_too_early(told: Told) -> None:
    told.history.note_use(told.plaintexts[1], accepted=False)


def tell_nobody(told: Told) -> None:
    del told.history.handed_over[told.plaintexts[1]]
    told.history.created.remove(told.rotated)


def note_nothing(told: Told) -> None:
    told.database.tamper(f"DELETE FROM events WHERE key_id = '{told.revoked}'")


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lose_a_key, {"lost_creates": 1}),
        (lose_a_secret, {"lost_secrets": 1}),
        (revoke_no_key, {"undone_ends": 1}),
        (replace_no_secret, {"undone_ends": 1}),
        (accept_too_late, {"accepted_after_end": 2}),
        (refuse_too_early, {"refused_before_end": 1}),
        (tell_nobody, {"ghosts_that_open_or_stay": 1}),
    ],
)
async def test_what_is_not_as_it_was_told_is_wrong(
    told: Told, spoil: Callable[[Told], None], wrong: dict[str, object]
) -> None:
    spoil(told)
    assert (await told.judged()).wrong == wrong


async def test_what_is_not_in_the_ledger_is_wrong(told: Told) -> None:
    note_nothing(told)
    wrong = (await told.judged()).wrong
    assert wrong["untold"] == 2
    assert wrong["problems"]


async def test_a_key_that_nobody_was_told_of_is_a_ghost_and_not_wrong(told: Told, world: World) -> None:
    await world.ring.manager.create_unclaimed_key(ADA, name="unclaimed", requested=NOTHING_SPECIAL)
    told.history.good_at_once.add("good at once")
    await world.ring.manager.create_key(ADA, name="good at once", requested=NOTHING_SPECIAL)
    verdict = await told.judged()
    assert (verdict.ghosts, verdict.wrong) == (2, {})


async def test_what_failed_and_what_cannot_be_judged_is_wrong(told: Told) -> None:
    told.history.failures.add("create_key: 500")
    assert (await told.judged()).wrong == {"problems": ("create_key: 500",)}
    told.database.spoil()
    assert (await told.judged()).wrong.keys() & {"problems", "lost_creates"}
