"""The mark of a database into which another one is being copied, and which is not to be used before that is done."""

from typing import Final

from mcp_keys_server.core.errors import UnusableDatabaseError

COPYING_FROM: Final = "copying_from"
"""The name of the entry of ``meta`` that says from where."""
COPYING_RUN: Final = "copying_run"
"""That of the entry that only the latest run of the copy knows, so that an earlier one writes nothing any more."""


def refuse_unfinished(where: object, source: bytes | None) -> None:
    """
    Raises:
        UnusableDatabaseError: There is such a mark.
    """
    if source is not None:
        raise UnusableDatabaseError(
            f"{where} is a copy of {source.decode()} that is not finished: run 'mcp-keys-server database copy' with "
            "these two again"
        )
