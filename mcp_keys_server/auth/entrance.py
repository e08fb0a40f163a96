"""What a key has to open, and whose it has to be, where others than the server itself stand behind the guard."""

import re
from typing import Final

from starlette.types import Scope

from mcp_keys_server.core.field_rules import parse_alias
from mcp_keys_server.core.records import Principal

_FIELDS: Final = {"user_id": "(?P<user_id>[a-z0-9_-]+)", "alias": "(?P<alias>[a-z0-9_-]+)"}


class Entrance:
    """The one alias that is opened here, or the paths that say which one and whose.

    A path is compared as it was sent, so that there is one spelling of each and nothing to decode or to disagree about.

    Raises:
        InvalidFieldError: The alias breaks the rule of its field.
        ValueError: Neither the alias nor the path says which alias a key has to open, or the path has other fields.
    """

    def __init__(self, *, alias: str | None = None, path: str | None = None) -> None:
        self._alias = None if alias is None else parse_alias(alias)
        self._paths = None if path is None else _pattern(path)
        if self._alias is None and (self._paths is None or "alias" not in self._paths.groupindex):
            raise ValueError("name the alias that a key has to open, or a path with {alias} in it")

    def opened_alias(self, path: str, principal: Principal) -> str | None:
        """The alias that this principal enters on this path; None: it may not."""
        alias = self._alias
        if self._paths is not None:
            found = self._paths.fullmatch(path)
            if found is None:
                return None
            fields = found.groupdict()
            if fields.get("user_id", principal.user_id) != principal.user_id:
                return None
            named = fields.get("alias", alias)
            if alias is not None and named != alias:
                return None
            alias = named
        return alias if alias is not None and principal.grant.opens(alias) else None


def path_as_sent(scope: Scope) -> str:
    """The path of a request before anything was decoded, where the server keeps it, as the usual ones do."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(.*?)\}", path)
    literals, fields = parts[::2], parts[1::2]
    if len(set(fields)) < len(fields) or not set(fields) <= _FIELDS.keys():
        raise ValueError("path: the fields that it may have are {user_id} and {alias}, each of them once")
    pattern = re.escape(literals[0])
    for field, literal in zip(fields, literals[1:], strict=True):
        pattern += _FIELDS[field] + re.escape(literal)
    return re.compile(pattern)
