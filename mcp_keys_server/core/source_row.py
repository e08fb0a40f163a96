"""A row of a database whose keys are imported, read column by column.

Nobody has checked what is in it. A column that is strange is left out with a note, or else the row cannot be taken.
Whatever is in doubt is decided so that a key opens less, and never more.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from mcp_keys_server.core.api_key import contains_api_key, redact
from mcp_keys_server.core.errors import InvalidFieldError, McpKeysError
from mcp_keys_server.core.field_rules import LONGEST_NAME, check_scopes, parse_email, parse_name, parse_user_id
from mcp_keys_server.core.grant import KEYS_INTROSPECT, MANAGEMENT_SCOPES

OUR_SCOPES: Final = MANAGEMENT_SCOPES | {KEYS_INTROSPECT}
"""Rights over keys, which the operator gives, and no row of another system."""
SourceRow = Mapping[str, object]

LONGEST_SOURCE_ID: Final = 64
MOST_USES: Final = 2**31 - 1


class UnusableRowError(McpKeysError):
    """A row cannot be taken. The message says why, and holds nothing of it."""


class Reading:
    """Gives one column after the other, and notes what was strange about it. Each may raise UnusableRowError."""

    def __init__(self, row: SourceRow, now: datetime) -> None:
        self._row = row
        self._now = now
        self.notes: list[str] = []
        self.has_naive_times = False

    def value(self, column: str) -> object:
        return self._row.get(column)

    def text(self, column: str) -> str:
        value = self._row.get(column)
        if value is not None and not isinstance(value, str):
            raise UnusableRowError(f"{column} is no text")
        return value or ""

    def flag(self, column: str) -> bool:
        value = self._row.get(column)
        if value not in (None, 0, 1):  # True is 1
            raise UnusableRowError(f"{column} is neither true nor false")
        return bool(value)

    def user_id(self) -> tuple[str, str]:
        there = self.text("user_id")
        try:
            here = parse_user_id(there.lower())
        except InvalidFieldError as error:
            raise UnusableRowError(f"user_id cannot be used here: {error.rule}") from None
        if here != there:
            self.notes.append("its user id is in lower case here")
        return here, there

    def email(self, column: str) -> str | None:
        value = self._row.get(column)
        if value is None:
            return None
        try:
            return parse_email(value if isinstance(value, str) else "")
        except InvalidFieldError:
            self.notes.append("its e-mail is none, and was left out")
            return None

    def name(self, column: str) -> str | None:
        """As much of it as is a name here."""
        value = self._row.get(column)
        if not isinstance(value, str) or not value.strip():
            return None
        fitted = " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())
        try:
            name = None if contains_api_key(value) else parse_name(fitted[:LONGEST_NAME])
        except InvalidFieldError:
            name = None
        if name != value.strip():
            self.notes.append(f"{column} is no name here, and was {'left out' if name is None else 'shortened'}")
        return name

    def moment(self, column: str) -> datetime | None:
        """
        Raises:
            ValueError: It is no time that can be told.
        """
        value = self._row.get(column)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value if isinstance(value, str) else "")
            self.has_naive_times |= moment.tzinfo is None
            return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
        except OverflowError as error:
            raise ValueError("beyond the calendar") from error

    def created_at(self) -> datetime:
        try:
            created_at = self.moment("created_at")
        except ValueError:
            created_at = None
        if created_at is None:
            self.notes.append("created_at is no time; taken as now")
        return created_at or self._now

    def expires_at(self) -> datetime | None:
        try:
            return self.moment("expires_at")
        except ValueError:  # for ever would be more than it had
            raise UnusableRowError("expires_at is no time, so nobody can say how long it is good") from None

    def last_used_at(self, *columns: str) -> datetime | None:
        column = next((name for name in columns if self._row.get(name) is not None), columns[0])
        try:
            return self.moment(column)
        except ValueError:
            self.notes.append(f"{column} is no time, and was left out")
            return None

    def use_count(self, *columns: str) -> int:
        value = next((self._row[name] for name in columns if self._row.get(name) is not None), 0)
        if isinstance(value, int) and 0 <= value <= MOST_USES:
            return value
        self.notes.append("its count of uses is none, and was left out")
        return 0

    def scopes(self, column: str) -> frozenset[str]:
        scopes: set[str] = set()
        for scope in self.text(column).split():
            if scope in OUR_SCOPES:
                self.notes.append(f"the scope {scope} means something else here, and was left out")
                continue
            try:
                check_scopes([scope])
                scopes.add(scope)
            except InvalidFieldError:
                self.notes.append(f"{column} holds what is no scope here, which was left out")
        return frozenset(scopes)


def shown_identity(row: SourceRow, column: str) -> str:
    """How the row is called in a report, which shows nothing that it should not, whatever is in that column."""
    value = row.get(column)
    text = redact(str(value)) if isinstance(value, str | int) else ""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST_SOURCE_ID] or "?"
