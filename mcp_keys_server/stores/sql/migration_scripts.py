"""The numbered scripts that make the tables."""

from importlib.resources import files
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["postgres", "sqlite"]


def migrations(database: Kind) -> list[tuple[int, str]]:
    """Those of this database with their numbers, in order."""
    folder = files(f"mcp_keys_server.stores.{database}") / "migrations"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [(int(entry.name.partition("_")[0]), entry.read_text(encoding="utf-8")) for entry in scripts]


def newest_schema(database: Kind) -> int:
    """The number of the last of them."""
    return migrations(database)[-1][0]
