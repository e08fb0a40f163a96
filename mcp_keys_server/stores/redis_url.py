"""Where a Redis or Valkey server is: its URL, which may hold a password."""

import re
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from mcp_keys_server.core.errors import InvalidFieldError

# Valkey's scheme is its own and its protocol that of Redis.
_SCHEMES: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
_TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_DATABASE = re.compile(r"(/[0-9]{0,5})?")
_RULE: Final = "a URL such as redis://HOST:6379/0, or rediss:// for TLS; in a password, %40 stands for '@'"


class RedisUrl:
    """``redis://USER:PASSWORD@HOST:PORT/DATABASE``, or the same with ``rediss``, ``valkey`` or ``valkeys``.

    Printing it leaves the password out; only ``reveal()`` gives it away.
    """

    __slots__ = ("_shown", "_url")

    def __init__(self, text: str) -> None:
        """
        Raises:
            InvalidFieldError: It is no such URL.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
            asked = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise InvalidFieldError("rate_limit_storage", _RULE) from None
        if parts.scheme not in _SCHEMES or not parts.hostname or port == 0 or parts.fragment:
            raise InvalidFieldError("rate_limit_storage", _RULE)
        if not _DATABASE.fullmatch(parts.path) or not _TLS_FILES.issuperset(name for name, _ in asked):
            raise InvalidFieldError(
                "rate_limit_storage",
                f"after the host, a port and the number of a database; of options, there are {', '.join(_TLS_FILES)}",
            )
        self._url = urlunsplit(parts._replace(scheme=_SCHEMES[parts.scheme]))
        user, at, host = parts.netloc.rpartition("@")
        self._shown = f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"

    def reveal(self) -> str:
        """The URL for the driver, with its password."""
        return self._url

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"RedisUrl({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisUrl) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a URL with a password is never pickled or copied")
