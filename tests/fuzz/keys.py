"""Parsers of what is presented, named and asked for: keys, fields, scopes, patterns, stored hashes, rows of others."""

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import bcrypt

from mcp_keys_server.core import field_rules, key_hash
from mcp_keys_server.core.api_key import contains_api_key, parse_tag, redact
from mcp_keys_server.core.errors import InvalidApiKeyError, InvalidFieldError
from mcp_keys_server.core.grant import Grant, RequestedGrant
from mcp_keys_server.core.imported_key import ScopeRule, System, read_key
from mcp_keys_server.core.ledger import Head
from mcp_keys_server.core.source_row import UnusableRowError
from mcp_keys_server.core.tool_patterns import covered, is_pattern, matches, meet
from mcp_keys_server.stores.proof_secret import parse_secret
from tests.fuzz.parser import of_text
from tests.mints import mint_of

NOW = datetime(2026, 11, 28, tzinfo=UTC)
MINT = mint_of(b"of nobody")
A_KEY = MINT.mint().reveal()
AN_IMPORTED_KEY = f"fm_{secrets.token_urlsafe(32)}"
A_BCRYPT_STRING = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()


def _api_key(text: str) -> None:
    key = MINT.parse(text)
    assert key.reveal() == text
    assert key.prefix in text
    assert key.imported or text == A_KEY, "a forgery"
    assert contains_api_key(text)
    assert MINT.occurs_in(text)


def _redacted(text: str) -> None:
    shown = redact(text)
    assert redact(shown) == shown
    assert not contains_api_key(shown)
    MINT.occurs_in(text)


def _same_again(parse: Callable[[str], str]) -> Callable[[str], None]:
    def take(text: str) -> None:
        parsed = parse(text)
        assert parse(parsed) == parsed
        assert parsed.isprintable()
        assert not contains_api_key(parsed)

    return take


def _requested(text: str) -> None:
    """Scopes, aliases, tools and a life, a line each."""
    scopes, aliases, tools, life = (*text.split("\n"), "", "", "", "")[:4]
    requested = RequestedGrant(
        scopes=frozenset(scopes.split(",")) if scopes else None,
        aliases=frozenset(aliases.split(",")) if aliases else None,
        tools=frozenset(tools.split(",")) if tools else None,
        expires_in_days=_number(life),
    )
    grant = requested.root(NOW)
    assert grant.covers(grant)
    assert grant.expires_at is None or grant.expires_at > NOW
    _calls(grant)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _calls(grant: Grant) -> None:
    for pattern in grant.tools or ():
        alias, _, tool = pattern.partition(":")
        called = grant.may_call("a" if alias == "*" else alias, tool.replace("*", ""))
        assert called == grant.opens("a" if alias == "*" else alias)


def _patterns(text: str) -> None:
    one, other = (*text.split("\n"), "")[:2]
    matches(one, "notes", other)
    if is_pattern(one) and is_pattern(other):
        assert covered(one, {one})
        for pattern in meet({one}, {other}):
            assert covered(pattern, {one})
            assert covered(pattern, {other})


def _bcrypt_string(text: str) -> None:
    if key_hash.cost_of_bcrypt(text) == 4:
        bcrypt.checkpw(b"x", text.encode())  # raises for what is none
    key_hash.is_imported(text)
    key_hash.sha256_within(text)


def _head(text: str) -> None:
    head = Head.parse(text)
    assert Head.parse(str(head)) == head


def _row(system: System) -> Callable[[str], None]:
    def take(text: str) -> None:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(row, dict):
            key = read_key(row, system, NOW, ScopeRule())
            assert key.created_at.tzinfo is UTC
            assert key.name.isprintable()
            assert not contains_api_key(key.name + key.source_id)

    return take


HUB_ROW = {
    "id": 7,
    "key_hash": A_BCRYPT_STRING,
    "key_prefix": "abcdefgh",
    "user_id": "ada",
    "owner_email": "ada@example.com",
    "name": "Laptop",
    "scopes": "read write",
    "created_at": "2026-01-02T03:04:05",
    "expires_at": "2027-01-02T03:04:05+02:00",
    "last_used": "2026-02-02",
    "use_count": 3,
}
FLEETMIND_ROW = {
    "key_id": "x",
    "api_key_hash": "0" * 64,
    "api_key_prefix": "fm_abcdefghi",
    "user_id": "ada",
    "email": "ada@example.com",
    "name": "Ada",
    "created_at": "2026-01-02T03:04:05Z",
    "last_used_at": None,
    "is_active": 1,
}

FIELD = (InvalidFieldError,)
PARSERS = (
    of_text("api_key", _api_key, (InvalidApiKeyError,), A_KEY, AN_IMPORTED_KEY),
    of_text("redaction", _redacted, (), f"a {A_KEY} b", A_BCRYPT_STRING, f"sha256:{'0' * 64}", f'"\\n{A_KEY}"'),
    of_text("key_tag", _same_again(parse_tag), FIELD, "mhu_"),
    of_text("user_id", _same_again(field_rules.parse_user_id), FIELD, "ada", "a-b_c"),
    of_text("alias", _same_again(field_rules.parse_alias), FIELD, "notes"),
    of_text("name", _same_again(field_rules.parse_name), FIELD, " Ada's laptop ", "名前", "\u202e", A_KEY),
    of_text("reason", _same_again(field_rules.parse_reason), FIELD, "", "lost"),
    of_text("email", _same_again(field_rules.parse_email), FIELD, "Ada@Example.com", "\u0130@example.com"),
    of_text("user", _same_again(field_rules.parse_user), FIELD, "ada", "ada@example.com"),
    of_text("key_id", _same_again(field_rules.parse_key_id), FIELD, f"key_{'0' * 16}"),
    of_text("cursor", _same_again(field_rules.parse_cursor), FIELD, f"key_{'f' * 16}"),
    of_text("prefix", _same_again(field_rules.parse_prefix), FIELD, "abcDEF_-"),
    of_text("grant", _requested, FIELD, "keys:read,a\nnotes\nnotes:read_*,*:*\n0.5", "\n\n\nnan", "a,,b"),
    of_text("tool_patterns", _patterns, (), "notes:read_*\n*:*_a", "a:a*b*c\na:*b*"),
    of_text("key_hash", _bcrypt_string, (), A_BCRYPT_STRING, f"imported:{A_BCRYPT_STRING}", f"sha256:{'0' * 64}"),
    of_text("ledger_head", _head, (ValueError,), f"0:{'0' * 64}", f"17:{'a' * 64}\n"),
    of_text("proof_secret", parse_secret, FIELD, "0" * 64),
    of_text("row_of_hub", _row(System.HUB), (UnusableRowError,), json.dumps(HUB_ROW)),
    of_text("row_of_fleetmind", _row(System.FLEETMIND), (UnusableRowError,), json.dumps(FLEETMIND_ROW)),
)
