"""The options that say which keys are meant."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

import click

from mcp_keys_server.cli.options import Command
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.field_rules import check_days, parse_key_id, parse_prefix
from mcp_keys_server.core.key_filter import KeyFilter

_DAYS_AGO = re.compile(r"([0-9]{1,4})d")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which keys somebody means by the filters that they gave."""

    user: str | None
    fitting: KeyFilter

    def is_everything(self) -> bool:
        return self == Chosen(None, KeyFilter())


def with_filters(command: Command) -> Command:
    """Give a command what its filters choose as the keyword argument ``chosen``."""

    @_filter("--user", metavar="USER", help="Only this user's keys: a user id or e-mail.")
    @_filter("--prefix", metavar="P", help="Only keys whose prefix starts so.")
    @_filter(
        "--last-used-before",
        metavar="WHEN",
        help="Only keys not used since: a date, a date and time (UTC), or days ago, such as 90d.",
    )
    @_filter("--created-by", metavar="KEY_ID", help="Only keys that this key made.")
    @_filter(
        "--expiring-within",
        type=float,
        metavar="DAYS",
        help="Only keys that expire within these days, or have expired.",
    )
    @wraps(command)
    def with_its_filters(
        *positional: object,
        user: str | None,
        prefix: str | None,
        last_used_before: str | None,
        created_by: str | None,
        expiring_within: float | None,
        **given: Any,  # noqa: ANN401 - whatever options the command has
    ) -> object:
        now = utc_now()
        fitting = KeyFilter(
            prefix=None if prefix is None else parse_prefix(prefix),
            last_used_before=None if last_used_before is None else parse_when(last_used_before, now),
            created_by=None if created_by is None else parse_key_id(created_by),
            expiring_before=None if expiring_within is None else now + check_days("expiring_within", expiring_within),
        )
        return command(*positional, chosen=Chosen(user, fitting), **given)

    return with_its_filters


def parse_when(text: str, now: datetime) -> datetime:
    """A moment in the past: a date, a date with a time, or so many days ago.

    Raises:
        InvalidFieldError: It is none of these. What was typed is not quoted, because it might be a pasted key.
    """
    ago = _DAYS_AGO.fullmatch(text)
    try:
        moment = now - timedelta(days=int(ago[1])) if ago else datetime.fromisoformat(text)
    except ValueError:
        moment = None
    # A time without its zone is in UTC, like all that is printed. A time to come would choose every key there is.
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment is None or moment > now:
        rule = "a date that has been, such as 2026-05-31 or 2026-05-31T12:00, or a number of days ago, such as 90d"
        raise InvalidFieldError("last_used_before", rule)
    return moment


def _filter(name: str, **about: Any) -> Callable[[Command], Command]:  # noqa: ANN401 - as click.option takes it
    return click.option(name, **about)
