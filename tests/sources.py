"""Databases of the two systems whose keys are imported, with their own tables and with keys by their own rules."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.imported_keys import bcrypt_of, fleetmind_key, hub_key, sha256_of

HUB_TABLES = """
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, name TEXT);
CREATE TABLE user_api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    key_hash TEXT NOT NULL,
    key_prefix TEXT,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL DEFAULT 'read write',
    last_used TEXT,
    use_count INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    expires_at TEXT
);
"""
FLEETMIND_TABLE = """
CREATE TABLE api_keys (
    key_id SERIAL PRIMARY KEY,
    user_id VARCHAR(100) NOT NULL,
    email VARCHAR(255) NOT NULL,
    name VARCHAR(255),
    api_key_hash VARCHAR(64) NOT NULL UNIQUE,
    api_key_prefix VARCHAR(20) NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_used_at TIMESTAMP,
    is_active BOOLEAN DEFAULT true,
    UNIQUE(user_id)
)
"""

Columns = dict[str, Any]


def hub_columns(key: str, **others: Any) -> Columns:  # noqa: ANN401 - strange ones, too
    """The row of a key of the hub."""
    return {
        "id": str(uuid4()),
        "user_id": str(uuid4()),
        "key_hash": bcrypt_of(key),
        "key_prefix": key[4:12],
        "name": "Claude Desktop",
        "scopes": "read write",
        "last_used": None,
        "use_count": 0,
        "created_at": "2026-01-02T03:04:05.678901+00:00",
        "expires_at": None,
    } | others


def fleetmind_columns(key: str, email: str, **others: Any) -> Columns:  # noqa: ANN401 - strange ones, too
    """The row of a key of FleetMind, without what its database fills in."""
    return {
        "user_id": fleetmind_user_id(email),
        "email": email,
        "name": None,
        "api_key_hash": sha256_of(key),
        "api_key_prefix": key[:12],
    } | others


def fleetmind_user_id(email: str) -> str:
    from hashlib import md5

    return f"user_{md5(email.encode(), usedforsecurity=False).hexdigest()[:12]}"


def insert(path: Path, table: str, row: Columns) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


class Hub:
    """The SQLite file of a hub."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(HUB_TABLES)

    def add_user(self, email: str, name: str | None = None) -> str:
        user_id = str(uuid4())
        insert(self.path, "users", {"id": user_id, "email": email, "name": name})
        return user_id

    def add_key(self, **columns: Any) -> str:  # noqa: ANN401 - strange ones, too
        key = hub_key()
        insert(self.path, "user_api_keys", hub_columns(key, **columns))
        return key


class FleetmindFile:
    """The SQLite file of a FleetMind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(FLEETMIND_TABLE.replace("SERIAL", "INTEGER"))

    def add_key(self, email: str, **columns: Any) -> str:  # noqa: ANN401 - strange ones, too
        key = fleetmind_key()
        insert(self.path, "api_keys", fleetmind_columns(key, email, **columns))
        return key
