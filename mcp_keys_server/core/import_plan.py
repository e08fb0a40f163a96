"""All rows of a source together: who gets which keys, and which rows stand in each other's way."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from mcp_keys_server.core.imported_key import ID_COLUMN, ImportedKey, ScopeRule, System, read_key
from mcp_keys_server.core.source_row import SourceRow, UnusableRowError, shown_identity


class RemarkKind(StrEnum):
    SKIPPED = "skipped"
    """The row was left out; there is one such remark for each."""
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Remark:
    """What there is to say about a row."""

    source_id: str
    kind: RemarkKind
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A user with all of their keys that can be taken, those that are good first."""

    user_id: str
    user_id_there: str
    email: str | None
    name: str | None
    keys: Sequence[ImportedKey]


@dataclass
class ImportPlan:
    """What is to be taken, as far as the source alone decides it."""

    system: System
    rows: int = 0
    users: list[ImportedUser] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    has_naive_times: bool = False


def plan(rows: Sequence[SourceRow], system: System, now: datetime, rule: ScopeRule) -> ImportPlan:
    made = ImportPlan(system, rows=len(rows))
    keys: list[ImportedKey] = []
    for row in rows:
        try:
            keys.append(read_key(row, system, now, rule))
        except UnusableRowError as error:
            made.remarks.append(Remark(shown_identity(row, ID_COLUMN[system]), RemarkKind.SKIPPED, str(error)))
    # Those that are good first: of two that want the same, it is for one that can still be used.
    keys.sort(key=lambda key: not key.is_live(now))
    keys = _one_spelling_of_each_user(keys, made)
    keys = _one_for_each(lambda key: key.key_id, keys, made, "it is in the source twice")
    same_prefix = "another key of the source begins with the same characters, by which one key is found"
    keys = _one_for_each(lambda key: key.prefix, keys, made, same_prefix)
    for key in keys:
        made.has_naive_times |= key.has_naive_times
        made.remarks += (Remark(key.source_id, RemarkKind.NOTED, note) for note in key.notes)
    made.users = _one_user_for_each_email(keys, made)
    return made


def _one_spelling_of_each_user(keys: list[ImportedKey], made: ImportPlan) -> list[ImportedKey]:
    """Two that differ in case only are two people there, and would be one here."""
    spellings: dict[str, str] = {}
    for key in keys:
        if key.user_id not in spellings or key.user_id_there == key.user_id:
            spellings[key.user_id] = key.user_id_there
    reason = "its user id differs from another one in case only, and nobody's keys are given to somebody else"
    return _kept(keys, made, reason, lambda key: spellings[key.user_id] == key.user_id_there)


def _one_for_each(
    of: Callable[[ImportedKey], str], keys: list[ImportedKey], made: ImportPlan, reason: str
) -> list[ImportedKey]:
    first: dict[str, ImportedKey] = {}
    for key in keys:
        first.setdefault(of(key), key)
    return _kept(keys, made, reason, lambda key: first[of(key)] is key)


def _kept(
    keys: Sequence[ImportedKey], made: ImportPlan, reason: str, is_kept: Callable[[ImportedKey], bool]
) -> list[ImportedKey]:
    made.remarks += (Remark(key.source_id, RemarkKind.SKIPPED, reason) for key in keys if not is_kept(key))
    return [key for key in keys if is_kept(key)]


def _one_user_for_each_email(keys: Iterable[ImportedKey], made: ImportPlan) -> list[ImportedUser]:
    keys_of: dict[str, list[ImportedKey]] = {}
    for key in keys:
        keys_of.setdefault(key.user_id, []).append(key)
    whose: dict[str, str] = {}
    users = []
    for user_id, theirs in keys_of.items():
        first = theirs[0]
        user = ImportedUser(user_id, first.user_id_there, first.email, first.user_name, theirs)
        if user.email is not None and whose.setdefault(user.email, user_id) != user_id:
            user = replace(user, email=None)
            reason = "its e-mail differs from another user's in case only, or not at all; its user is without one here"
            made.remarks.append(Remark(first.source_id, RemarkKind.NOTED, reason))
        users.append(user)
    return users
