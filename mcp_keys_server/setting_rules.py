"""What the settings may hold, where their type alone does not say it."""

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from mcp_keys_server.core.errors import InvalidFieldError

_HOST = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5}|:\*)?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_ORIGIN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_UIDS = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_MOST_UIDS: Final = 2**32 - 2


def by_rule(parse: Callable[[str], object]) -> BeforeValidator:
    """A rule of the layers below as a rule of a setting."""

    def validate(value: object) -> object:
        try:
            return parse(value) if isinstance(value, str) else value
        except InvalidFieldError as error:
            raise ValueError(error.rule) from None

    return BeforeValidator(validate)


def expanded(path: Path) -> Path:
    """
    Raises:
        ValueError: Its home is nobody's.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("'~' stands for the home of a user who does not exist") from None


def is_root() -> bool:
    """Whether this process may do everything here, and become anybody."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _words(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _hosts_only(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_HOST.fullmatch(host) for host in value):
        raise ValueError("host names, each perhaps with a port or with ':*' for any")
    return value


def _origins_only(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_ORIGIN.fullmatch(origin.removesuffix(":*")) for origin in value):
        raise ValueError("origins such as https://chat.example.com, without a path")
    return value


def _networks_only(value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for address in value:
            ipaddress.ip_network(address)
    except ValueError:
        raise ValueError("IP addresses or networks such as 10.0.0.0/8, whose host bits are zero") from None
    return value


_WRITTEN_BY_CLIENTS = frozenset(
    {"authorization", "connection", "content-length", "content-type", "cookie", "host", "origin", "transfer-encoding"}
    | {"user-agent", "x-api-key", "x-forwarded-for"}
)


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value) or value.lower() in _WRITTEN_BY_CLIENTS:
        raise ValueError("the name of a header that nothing else is said in, such as X-Forwarded-User")
    return value


def _origin_only(value: str) -> str:
    url = value.removesuffix("/").lower()
    if not _ORIGIN.fullmatch(url):
        raise ValueError("http:// or https://, a host and perhaps a port, and no path")
    return url


def _uids(value: object) -> object:
    if value is None or isinstance(value, range):
        return value
    if value == "none":
        return None
    found = _UIDS.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found[1]) <= int(found[2]) <= _MOST_UIDS:
        raise ValueError("FIRST-LAST, two user ids, neither of them 0, or 'none'")
    return range(int(found[1]), int(found[2]) + 1) if is_root() else None


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Hosts = Annotated[Words, AfterValidator(_hosts_only)]
Origins = Annotated[Words, AfterValidator(_origins_only)]
Networks = Annotated[Words, AfterValidator(_networks_only)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
PublicUrl = Annotated[str, AfterValidator(_origin_only)]
ExpandedPath = Annotated[Path, AfterValidator(expanded)]
Uids = Annotated[range | None, BeforeValidator(_uids)]
"""User ids. None: a process that is not root's has its own for all that it starts."""
