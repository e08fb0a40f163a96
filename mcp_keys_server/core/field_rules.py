"""What each field that people fill in may hold, through whatever door it comes."""

import re
from collections.abc import Collection
from datetime import timedelta

from mcp_keys_server.core.api_key import PREFIX_LENGTH, contains_api_key
from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.tool_patterns import MOST_TOOLS, is_pattern

LONGEST_WORD = 64
LONGEST_NAME = 64
LONGEST_REASON = 200
SHORTEST_LIFE_DAYS = 1 / 86_400
LONGEST_LIFE_DAYS = 3650
LONGEST_OVERLAP_HOURS = 30 * 24
MOST_SCOPES = 32
MOST_ALIASES = 64

_WORD = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{LONGEST_WORD - 1}}}")
_SCOPE = re.compile(r"[a-z][a-z0-9_.:/-]{0,63}")
_KEY_ID = re.compile(r"key_[0-9a-f]{16}")
_PREFIX = re.compile(rf"[A-Za-z0-9_-]{{1,{PREFIX_LENGTH}}}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PASTED_KEY = "this holds an API key, which belongs in no field; if it has been shown to anybody, revoke it"


def parse_user_id(text: str) -> str:
    """A user id. Lower-case ASCII only, so that no two spellings are two tenants."""
    return _parse_word("user_id", text)


def parse_alias(text: str) -> str:
    """An alias: the name of an endpoint among those of its user."""
    return _parse_word("alias", text)


def check_aliases(aliases: Collection[str]) -> None:
    if not 1 <= len(aliases) <= MOST_ALIASES:
        raise InvalidFieldError("aliases", f"1 to {MOST_ALIASES} of them; leave the field out for every alias")
    for alias in aliases:
        _parse_word("aliases", alias)


def check_tools(tools: Collection[str]) -> None:
    if not 1 <= len(tools) <= MOST_TOOLS:
        raise InvalidFieldError("tools", f"1 to {MOST_TOOLS} of them; leave the field out for every tool")
    for tool in tools:
        _refuse_pasted_key("tools", tool)
        if not is_pattern(tool):
            rule = (
                "each is ALIAS:TOOL, for example notes:read_*, where TOOL is up to 128 of 'A-Z a-z 0-9 . _ -' and of "
                "'*' for any characters, and ALIAS may be '*' for every one"
            )
            raise InvalidFieldError("tools", rule)


def check_scopes(scopes: Collection[str]) -> None:
    if len(scopes) > MOST_SCOPES:
        raise InvalidFieldError("scopes", f"at most {MOST_SCOPES} of them")
    for scope in scopes:
        _refuse_pasted_key("scopes", scope)
        if not _SCOPE.fullmatch(scope):
            rule = "each is a lower-case letter, then up to 63 of 'a-z 0-9 _ . : / -', for example keys:read"
            raise InvalidFieldError("scopes", rule)


def parse_name(text: str) -> str:
    """A key's or a user's name, without white space around it.

    ``str.isprintable`` leaves out controls, bidirectional overrides, invisible characters and lone surrogates, so
    that a name can neither forge a line of a log or a terminal nor look like another name.
    """
    return _parse_line("name", text, shortest=1, longest=LONGEST_NAME)


def parse_reason(text: str) -> str:
    return _parse_line("reason", text, shortest=0, longest=LONGEST_REASON)


def parse_email(text: str) -> str:
    """An e-mail address in the one spelling under which it is stored and found: trimmed and lower-case."""
    _refuse_pasted_key("email", text)
    email = text.strip().lower()
    if not (_EMAIL.fullmatch(email) and email.isprintable()):
        raise InvalidFieldError("email", "an address such as ada@example.com, at most 254 characters")
    return email


def parse_user(text: str) -> str:
    """A user, named by user id or e-mail."""
    return parse_email(text) if "@" in text else _parse_word("user", text)


def parse_key_id(text: str) -> str:
    return _parse_key_id(
        "key_id", text, "'key_' and 16 hexadecimal digits, which a list of keys shows beside each name"
    )


def parse_cursor(text: str) -> str:
    """Where a page of keys begins: behind the key with this id."""
    return _parse_key_id("cursor", text, "the next_cursor of an earlier page; leave it out for the first one")


def check_life(days: float) -> None:
    """How long a key lives, in days; a part of a day counts."""
    if not SHORTEST_LIFE_DAYS <= days <= LONGEST_LIFE_DAYS:  # false for NaN as well
        raise InvalidFieldError("expires_in_days", f"a number of days, from a second to {LONGEST_LIFE_DAYS} days")


def check_overlap(hours: float) -> timedelta:
    """How long the secret before stays good beside a new one, in hours."""
    if not 0 <= hours <= LONGEST_OVERLAP_HOURS:  # false for NaN as well
        raise InvalidFieldError("overlap_hours", f"a number of hours, from 0 (at once) to {LONGEST_OVERLAP_HOURS}")
    return timedelta(hours=hours)


def check_days(field: str, days: float) -> timedelta:
    """So many days from now, or ago."""
    if not 0 < days <= LONGEST_LIFE_DAYS:  # false for NaN as well
        raise InvalidFieldError(field, f"a number of days above 0, {LONGEST_LIFE_DAYS} at most")
    return timedelta(days=days)


def parse_prefix(text: str) -> str:
    """The beginning of the prefix of a key, or all of it."""
    _refuse_pasted_key("prefix", text)
    if not _PREFIX.fullmatch(text):
        rule = f"the first characters of a key after its tag, 1 to {PREFIX_LENGTH}, as a list of keys shows them"
        raise InvalidFieldError("prefix", rule)
    return text


def _parse_word(field: str, text: str) -> str:
    _refuse_pasted_key(field, text)
    if not _WORD.fullmatch(text):
        raise InvalidFieldError(field, "1 to 64 of 'a-z 0-9 _ -', starting with a letter or digit")
    return text


def _parse_key_id(field: str, text: str, rule: str) -> str:
    _refuse_pasted_key(field, text)
    if not _KEY_ID.fullmatch(text):
        raise InvalidFieldError(field, rule)
    return text


def _parse_line(field: str, text: str, *, shortest: int, longest: int) -> str:
    _refuse_pasted_key(field, text)
    line = text.strip()
    if not (shortest <= len(line) <= longest and line.isprintable()):
        raise InvalidFieldError(field, f"{shortest} to {longest} printable characters in one line")
    return line


def _refuse_pasted_key(field: str, text: str) -> None:
    if contains_api_key(text):
        raise InvalidFieldError(field, _PASTED_KEY)
