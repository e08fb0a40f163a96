"""Keys from elsewhere, added to the store: each user with their keys in one change, and no key twice."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mcp_keys_server.core.changes import AddKey, AddSecret, Change, Decision, Holdings
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.deed import Deed, described
from mcp_keys_server.core.errors import PrefixTakenError
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.core.import_plan import ImportedUser, ImportPlan, Remark, RemarkKind
from mcp_keys_server.core.imported_key import ImportedKey, System
from mcp_keys_server.core.issuance import MOST_HELD_KEYS
from mcp_keys_server.core.key_manager import NEWEST
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import OPERATOR, Event, EventKind
from mcp_keys_server.core.records import KeyRecord, Use, UserRecord
from mcp_keys_server.core.upkeep import revocations

EVENTS_AT_A_TIME = 1_000


@dataclass
class ImportReport:
    """What became of the rows: read are as many as taken, already there and skipped together."""

    system: System
    applied: bool
    rows_read: int = 0
    taken: int = 0
    already_there: int = 0
    skipped: int = 0
    users_added: int = 0
    remarks: tuple[Remark, ...] = ()

    def add(self, other: "ImportReport") -> None:
        self.taken += other.taken
        self.already_there += other.already_there
        self.users_added += other.users_added
        self.remarks += other.remarks


class Importer:
    """Takes what a plan says, or, when it is not to write, says what it would take."""

    def __init__(self, store: KeyStore, system: System, *, write: bool, clock: Clock = utc_now) -> None:
        self._store = store
        self._system = system
        self._write = write
        self._clock = clock

    async def take(self, plan: ImportPlan, *, after_each: Callable[[int], object] = lambda _: None) -> ImportReport:
        """Take it all, and say after each user how many rows were of theirs.

        Cut off at any point, it has taken whole users with their keys, and the next time takes the rest.

        Raises:
            StoreUnavailableError, UserExistsError: The store does not answer, or somebody else was just adding the same
                user. Trying again is right, and goes on where this ended.
        """
        report = ImportReport(plan.system, self._write, plan.rows, remarks=tuple(plan.remarks))
        for user in plan.users:
            report.add(await self._take_user(user))
            after_each(len(user.keys))
        report.skipped = sum(remark.kind is RemarkKind.SKIPPED for remark in report.remarks)
        return report

    async def _take_user(self, user: ImportedUser) -> ImportReport:
        report = ImportReport(self._system, self._write)
        owners = {key.key_id: await self._store.find_owner(key.key_id) for key in user.keys}
        new = [key for key in user.keys if owners[key.key_id] is None]
        for key in user.keys:
            owner = owners[key.key_id]
            if owner is not None:
                report.already_there += 1
                report.remarks += await self._look_at_old(key, owner)
        here = await self._store.find_user(user.user_id)
        if here is None:
            await self._take_keys(await self._add_user(user, report), new, report)
        elif user.user_id in owners.values() or await self._was_imported(user):
            await self._take_keys(here, new, report)
        else:
            reason = "a user with this id is here who came from elsewhere, and nobody's keys are given to somebody else"
            report.remarks += tuple(_skipped(key, reason) for key in new)
        return report

    async def _add_user(self, user: ImportedUser, report: ImportReport) -> UserRecord:
        """
        Raises:
            UserExistsError: Somebody else was faster with this user id or e-mail; trying again is right.
        """
        email = user.email
        if email is not None and await self._store.find_user(email) is not None:
            email = None
            reason = "its e-mail is somebody else's here; its user is without one"
            report.remarks += (Remark(user.keys[0].source_id, RemarkKind.NOTED, reason),)
        added = UserRecord(user.user_id, email, user.name, self._clock())
        if self._write:
            origin = self._origin_of(user)
            event = Event(EventKind.USER_IMPORTED, added.created_at, added.user_id, None, OPERATOR, origin)
            await self._store.add_user(added, event)
        report.users_added += 1
        return added

    @property
    def _origin(self) -> str:
        return f"from={self._system}"

    def _origin_of(self, user: ImportedUser) -> str:
        # With the spelling there, because one that differs in case is somebody else, and may come later.
        return f"{self._origin} user_id={user.user_id_there!r}"

    async def _was_imported(self, user: ImportedUser) -> bool:
        """Whether the user here is this one, of whose keys none was taken yet."""
        before, origin = NEWEST, self._origin_of(user)
        while entries := await self._store.list_events(user.user_id, before=before, limit=EVENTS_AT_A_TIME):
            if any(it.event.kind is EventKind.USER_IMPORTED and it.event.detail == origin for it in entries):
                return True
            before = entries[-1].number
        return False

    async def _look_at_old(self, key: ImportedKey, owner: str) -> tuple[Remark, ...]:
        """A key that was taken before. What it is here stays as it is."""
        here = await self._store.find_key(owner, key.key_id)
        assert here is not None  # noqa: S101 - keys are revoked, and never removed
        if here.last_used_at is None:  # the import was cut off just before this
            await self._note_use([key])
        if key.revoked and here.revoked_at is None:
            return (Remark(key.source_id, RemarkKind.NOTED, f"revoked there since; here {key.key_id} is still good"),)
        return ()

    async def _take_keys(self, user: UserRecord, new: list[ImportedKey], report: ImportReport) -> None:
        while True:
            free = [key for key in new if await self._store.read_secret(key.prefix) is None]
            try:
                taken = await self._change(user, free)
            except PrefixTakenError:
                continue  # by somebody who was faster
            break
        taken_prefix = "a key here begins with the same characters, by which one key is found"
        too_many = f"its user would have more than {MOST_HELD_KEYS} keys"
        report.remarks += tuple(
            _skipped(key, too_many if key in free else taken_prefix) for key in new if key not in taken
        )
        report.taken += len(taken)
        await self._note_use(taken)

    async def _change(self, user: UserRecord, keys: list[ImportedKey]) -> list[ImportedKey]:
        """Those that were taken, or would be."""

        def decide(holdings: Holdings) -> Decision[list[ImportedKey]]:
            decision = _taking(holdings, Deed(OPERATOR, self._clock()), keys, self._origin)
            return decision if self._write else Decision(decision.answer)

        if not keys or await self._store.find_user(user.user_id) is None:  # who would have been added
            return decide(Holdings(user, {}, {})).answer
        return await self._store.change(user.user_id, decide)

    async def _note_use(self, keys: Iterable[ImportedKey]) -> None:
        uses = {key.prefix: Use(key.use_count, key.last_used_at) for key in keys if key.last_used_at is not None}
        if uses and self._write:
            await self._store.record_use(uses)


def _taking(holdings: Holdings, deed: Deed, keys: list[ImportedKey], origin: str) -> Decision[list[ImportedKey]]:
    """As many of the keys as one user may have."""
    room = max(0, MOST_HELD_KEYS - len(holdings.keys))
    taken = keys[:room]
    changes: list[Change] = []
    events: list[Event] = []
    for key in taken:
        record = KeyRecord(
            key.key_id,
            holdings.user.user_id,
            key.name,
            Grant(key.scopes, None, key.expires_at),
            None,
            key.created_at,
        )
        changes += (AddKey(record), AddSecret(key.key_id, key.prefix, key.key_hash, key.created_at))
        detail = f"{origin} prefix={key.prefix} {described(record)}"
        events.append(deed.event(EventKind.KEY_IMPORTED, record, detail))
        if key.revoked:
            ended = revocations([record], deed, f"revoked in {origin.removeprefix('from=')}")
            changes += ended.changes
            events += ended.events
    return Decision(taken, tuple(changes), tuple(events))


def _skipped(key: ImportedKey, reason: str) -> Remark:
    return Remark(key.source_id, RemarkKind.SKIPPED, reason)
