"""What is run for one user of a program, as the configuration describes it."""

from pathlib import Path

from mcp_keys_server.server.gateway.programs.child_start import MEBIBYTE, Spawn
from mcp_keys_server.server.gateway.programs.working_folder import working_folder
from mcp_keys_server.upstreams import ProgramUpstream


def program_spawn(alias: str, upstream: ProgramUpstream, user_id: str, folder: Path, uids: range | None) -> Spawn:
    """With the working folder made, below the folder in which all programs keep what they write.

    Raises:
        WorkingFolderError: It cannot be had.
        InvalidFieldError: This is no alias, or no user id.
    """
    place = working_folder(folder, alias, user_id, uids)
    fields = {"user_id": user_id, "alias": alias, "data_dir": str(place.path.parent)}
    return Spawn(
        command=tuple(part.filled(**fields) for part in upstream.command),
        environment=upstream.environment(str(place.path), **fields),
        folder=place.path,
        uid=place.uid,
        label=f"{alias} of {user_id}",
        largest_line=upstream.max_line_mb * MEBIBYTE,
        memory_bytes=upstream.max_memory_mb * MEBIBYTE,
    )


def era(upstream: ProgramUpstream) -> str:
    """What the SDK's client calls the era in which it is spoken to first."""
    return "legacy" if upstream.protocol == "2025-11-25" else "auto"
