"""The keys of a hub, whose table is ``user_api_keys`` in an SQLite file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mcp_keys_server.core.source_row import SourceRow
from mcp_keys_server.stores.sources.file import columns, open_source, require_columns, rows

NEEDED: Final = frozenset({"id", "user_id", "key_hash", "key_prefix", "name", "scopes", "created_at", "expires_at"})

READ_KEYS: Final = "SELECT * FROM user_api_keys ORDER BY rowid"
READ_KEYS_WITH_OWNERS: Final = """
SELECT user_api_keys.*, users.email AS owner_email, users.name AS owner_name
FROM user_api_keys
LEFT JOIN users ON users.id = user_api_keys.user_id
ORDER BY user_api_keys.rowid
"""


def read_hub(path: Path) -> Sequence[SourceRow]:
    """All rows, with the e-mail and the name of the owner where the file has them.

    Raises:
        UnusableSourceError: It cannot be read; the message says why and what to do.
    """
    with open_source(path) as connection:
        require_columns(columns(connection, "user_api_keys"), NEEDED, table="user_api_keys", where=str(path))
        knows_owners = {"id", "email", "name"} <= columns(connection, "users")
        return rows(connection, READ_KEYS_WITH_OWNERS if knows_owners else READ_KEYS)
