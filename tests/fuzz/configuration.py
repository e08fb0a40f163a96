"""Parsers of what the operator writes: addresses of databases, settings, upstreams, moments; and rows of our own."""

import json
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from mcp_keys_server.cli.configuration import load_settings
from mcp_keys_server.cli.key_filters import parse_when
from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.ledger import BEGINNING, BrokenLedgerError, follow
from mcp_keys_server.settings import Settings, SettingsError
from mcp_keys_server.stores.postgres.url import PostgresUrl, is_url
from mcp_keys_server.stores.redis_url import RedisUrl
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql.database import Row
from mcp_keys_server.template import Template
from mcp_keys_server.upstreams import parse_upstreams
from tests.fuzz.keys import NOW
from tests.fuzz.parser import Parser, of_text

FIELDS = frozenset({"user_id", "alias"})
UPSTREAMS = """
[upstreams.notes]
command = ["notes", "--for={user_id}"]
env = { TOKEN = "${TOKEN}" }
[upstreams.tickets]
url = "https://tickets.example.com/{user_id}/mcp"
headers = { Authorization = "Bearer ${TOKEN}" }
allow = ["tickets_*"]
"""
SETTINGS = """
public_url = "https://keys.example.com"
port = 8000
allowed_hosts = ["keys.example.com:*"]
trusted_proxy_addresses = ["10.0.0.0/8"]
database = "postgresql://ada:hunter2@db.example.com/keys"
rate_limit_storage = "redis://:hunter2@127.0.0.1:6379/0"
"""


def _postgres_url(text: str) -> None:
    is_url(text)
    url = PostgresUrl(text)
    _hides(text, str(url), repr(url), url.shown)
    assert PostgresUrl(f"{url.reveal()}{'&' if '?' in url.reveal() else '?'}schema={url.schema}").schema == url.schema


def _redis_url(text: str) -> None:
    url = RedisUrl(text)
    _hides(text, str(url), repr(url))
    assert RedisUrl(url.reveal()) == url


def _hides(text: str, *shown: str) -> None:
    """The password, of which a part long enough to be no coincidence must not be shown."""
    scheme, _, authority = text.partition("://")
    about_the_user, _, host = authority.rpartition("@")
    user, _, password = about_the_user.partition(":")
    rest = f"{scheme}://{user}@{host}"
    assert len(password) < 8 or password in rest or not any(password in it for it in shown), "a password is shown"


def _when(text: str) -> None:
    moment = parse_when(text, NOW)
    assert moment.tzinfo is not None
    assert moment <= NOW


def _template(text: str) -> None:
    template = Template(text, fields=FIELDS, environment={"HOME": "/home"})
    filled = template.filled(user_id="", alias="")
    assert len(filled) <= len(text) + text.count("${HOME}") * len("/home")
    assert repr(template) == "Template(...)"


def _upstreams(text: str) -> None:
    try:
        described = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    parse_upstreams(described.get("upstreams", {}))


def _settings_file(given: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(given)
        file.flush()
        try:
            settings = load_settings(config=Path(file.name))
        except SettingsError as error:
            assert "hunter2" not in str(error)
            raise
    assert "hunter2" not in repr(settings)


def _setting(name: str) -> Callable[[str], None]:
    def take(text: str) -> None:
        Settings.model_validate({"trusted_proxy_addresses": "::1", name: text})

    return take


def _row(make: Callable[[Row], object]) -> Callable[[str], None]:
    """Values of a row as JSON has them, which are those that the columns can hold."""

    def take(text: str) -> None:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(values, list):
            make(tuple(values))

    return take


def _ledger(row: Row) -> None:
    number, kind, at, *texts = row
    if not isinstance(number, int) or not all(isinstance(text, str) for text in (kind, at, *texts)):
        return  # tables are strict, so what is there is of the type of its column
    follower = follow(BEGINNING)
    next(follower)
    with suppress(BrokenLedgerError):  # as each of them is here, whose digest is nothing
        follower.send(rows.entry((number, kind, at, *texts, b"")))


AT = NOW.isoformat()
EVENT = [1, "user_added", AT, "ada", "key_1", "operator", "", "", ""]
AT_THE_END = json.dumps([1, "user_added", "9999-12-31T23:59:59-14:00", "ada", "", "operator", "", "", ""])
USER = ["ada", "ada@example.com", "Ada", AT, None]
URLS = (
    "postgresql://ada:hunter2secret@db:5432/keys?schema=x&sslmode=require",
    "postgres://[::1],b/k",
    "postgres://:postgres:@h",
)
PARSERS = (
    of_text("postgres_url", _postgres_url, (InvalidFieldError,), *URLS),
    of_text("redis_url", _redis_url, (InvalidFieldError,), "redis://:hunter2secret@127.0.0.1:6379/0", "valkeys://h"),
    of_text(
        "when", _when, (InvalidFieldError,), "2026-05-31", "2026-05-31T12:00-14:00", "90d", "0001-01-01T00:00+14:00"
    ),
    of_text("template", _template, (ValueError,), "a{user_id}b${HOME}c{x", "{other}", may_repeat=True),
    of_text("upstreams", _upstreams, (ValueError,), UPSTREAMS, may_repeat=True),  # names of fields, and no values
    Parser("settings_file", _settings_file, (SettingsError,), (SETTINGS.encode(), UPSTREAMS.encode()), may_repeat=True),
    *(
        of_text(f"setting_{name}", _setting(name), (ValidationError,), *seeds)
        for name, seeds in {
            "public_url": ("https://keys.example.com", "http://[::1]:8000/"),
            "allowed_hosts": ("a.example:*, b.example",),
            "allowed_origins": ("https://a.example http://[::1]:*",),
            "trusted_proxy_addresses": ("10.0.0.0/8, ::1",),
            "trusted_user_header": ("X-User",),
            "upstream_uids": ("61184-65519", "none"),
            "database": ("~/keys.db", URLS[0]),
        }.items()
    ),
    of_text(
        "row_of_user",
        _row(rows.user_record),
        (ValueError, TypeError, OverflowError),
        json.dumps(USER),
        '["a", "", "", 1, null]',
        may_repeat=True,
    ),
    of_text(
        "row_of_ledger",
        _row(_ledger),
        (ValueError, TypeError, OverflowError),
        json.dumps(EVENT),
        AT_THE_END,
        may_repeat=True,
    ),
)
