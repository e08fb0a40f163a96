"""Where a PostgreSQL database is: its URL, which may hold a password, and the schema in it that is ours."""

import re
from typing import Final, NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from mcp_keys_server.core.errors import InvalidFieldError

_SCHEMES: Final = ("postgresql", "postgres")
OUR_SCHEMA: Final = "mcp_keys"

_BEGINNING = re.compile(r"[a-z][a-z0-9+.-]+://|postgres(ql)?:/", re.IGNORECASE)
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,54}")
_HOSTS = re.compile(r"([^:,\[\]]*|\[[^\[\]]*\])(:[0-9]{0,5})?(,([^:,\[\]]*|\[[^\[\]]*\])(:[0-9]{0,5})?)*")


class PostgresUrl:
    """``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`` and whatever else libpq's URLs may say.

    Printing it leaves the password out; only ``reveal()`` gives it away.
    """

    __slots__ = ("_dsn", "_shown", "schema")

    def __init__(self, text: str) -> None:
        """
        Raises:
            InvalidFieldError: It is no such URL.
        """
        try:
            parts = urlsplit(text)
            asked = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            others = urlencode([(name, value) for name, value in asked if name != "schema"], quote_via=quote)
        except ValueError:  # also of bytes of a command line that are no text
            raise InvalidFieldError("database", "a URL such as postgresql://USER@HOST/DATABASE") from None
        if parts.scheme not in _SCHEMES:
            raise InvalidFieldError("database", "the path of a file, or a URL that starts with postgresql://")
        if parts.fragment:
            raise InvalidFieldError(
                "database", "a URL such as postgresql://USER@HOST/DATABASE; in a password, %23 stands for '#'"
            )
        user, at, host = parts.netloc.rpartition("@")
        # Where '/' or '?' in a password ended it too early, the rest of it would be shown as part of something else.
        if "@" in parts.path + parts.query or not _HOSTS.fullmatch(host):
            raise InvalidFieldError(
                "database",
                "a URL such as postgresql://USER@HOST/DATABASE; in a password, %2F stands for '/' and %3F for '?', and "
                "behind the host, %40 for '@'",
            )
        self.schema = dict(asked).get("schema", OUR_SCHEMA)
        if not _SCHEMA.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise InvalidFieldError("database", "its schema: a lower-case name of letters, digits and '_'")
        self._dsn = urlunsplit(parts._replace(query=others))
        self._shown = f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"

    def reveal(self) -> str:
        """The URL for the driver, with its password and without the schema."""
        return self._dsn

    def reveal_each(self) -> list[str]:
        """The same for each of the hosts that it names, so that all of them can be asked at once."""
        parts = urlsplit(self._dsn)
        user, at, hosts = parts.netloc.rpartition("@")
        if {"host", "port"} & dict(parse_qsl(parts.query)).keys():
            return [self._dsn]  # these are lists of their own, which the driver makes sense of
        return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]

    @property
    def shown(self) -> str:
        """The URL without its password, its schema and what else it says."""
        return self._shown

    def __str__(self) -> str:
        return self._shown if self.schema == OUR_SCHEMA else f"{self._shown}?schema={self.schema}"

    def __repr__(self) -> str:
        return f"PostgresUrl({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and (self._dsn, self.schema) == (other._dsn, other.schema)

    def __hash__(self) -> int:
        return hash((self._dsn, self.schema))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a database URL is never pickled or copied")


def is_url(text: str) -> bool:
    """Whether it is no path. One of another kind is too: as a path, it would be shown, and with it its password."""
    return bool(_BEGINNING.match(text))
