import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mcp_keys_server.stores.sources.file import open_source, rows


def test_one_odd_letter_is_no_reason_to_read_none(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE api_keys AS SELECT CAST(x'ff41' AS TEXT) AS name, 7 AS id")
    with open_source(path) as source:
        assert rows(source, "SELECT * FROM api_keys") == [{"name": "\N{REPLACEMENT CHARACTER}A", "id": 7}]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            source.execute("DROP TABLE api_keys")
