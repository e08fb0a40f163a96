"""The file in which a head of the ledger is kept, for a job that verifies it every night."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mcp_keys_server.settings import SettingsError

LONGEST_TEXT = 1_000


def read_head(path: Path) -> str | None:
    """What the file holds; None when there is none.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_TEXT).decode("latin-1")  # which reads anything; what is no head is refused as such
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"--head-file: {path} cannot be read: {error.strerror}") from None


def write_head(path: Path, head: str) -> None:
    """Put the head in the place of what the file held, whole or not at all, readable for its user only.

    Raises:
        SettingsError: It cannot be written.
    """
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(f"{head}\n")
                file.flush()
                os.fsync(handle)
            os.replace(draft, path)  # noqa: PTH105 - beside the descriptor's other calls
        except OSError:
            with suppress(OSError):
                os.unlink(draft)  # noqa: PTH108
            raise
    except OSError as error:
        raise SettingsError(f"--head-file: {path} cannot be written: {error.strerror}") from None
