"""Where the proof secret comes from: whoever gave it, or a file beside an SQLite database, which is made by itself."""

import logging
import os
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Final

from mcp_keys_server.core.errors import InvalidFieldError

logger = logging.getLogger(__name__)

SECRET_BYTES: Final = 32
RULE: Final = "64 hexadecimal digits, as 'openssl rand -hex 32' prints them"
_DIGITS = re.compile(r"[0-9a-fA-F]{64}")
_MOST_READ: Final = 1_000
"""Characters of a file: more than there are in one that holds a secret, with white space around it."""


def parse_secret(text: str) -> bytes:
    """
    Raises:
        InvalidFieldError: It is none. The message does not hold it.
    """
    if not _DIGITS.fullmatch(text.strip()):
        raise InvalidFieldError("proof_secret", RULE)
    return bytes.fromhex(text.strip())


def given_secret(given: bytes | str | PathLike[str]) -> bytes:
    """The secret, or what this file holds, which was asked for by name and so has to be one.

    Raises:
        InvalidFieldError: It is none, or the file cannot be read.
    """
    if isinstance(given, bytes):
        if len(given) != SECRET_BYTES:
            raise InvalidFieldError("proof_secret", f"{SECRET_BYTES} random bytes")
        return given
    # Whoever else may read it is for the operator to say: what mounts secrets into containers sets modes of its own.
    try:
        return parse_secret(_read(Path(given)))
    except OSError as error:
        raise InvalidFieldError("proof_secret_file", f"it cannot be read: {error.strerror}") from None
    except InvalidFieldError:
        raise InvalidFieldError("proof_secret_file", f"the file has to hold {RULE}") from None


def secret_beside(database: Path) -> bytes | None:
    """What the file beside this database holds, which is made when there is none. None, with a warning: it cannot be
    used. It makes restarts faster and nothing else, so nobody has to go without a server for it.
    """
    path = database.with_name(f"{database.name}.proof-secret")
    try:
        if not path.exists():
            _make(path, database)
        trouble = _trouble(path, database)
        if trouble is None:
            return parse_secret(_read(path))
    except OSError as error:
        trouble = f"it cannot be used: {error.strerror}; make it and its folder readable and writable for this user"
    except InvalidFieldError:
        trouble = "it holds no proof secret; remove it, and a new one is made at the next start"
    logger.warning("%s: %s. Until then every key takes one bcrypt after each start", path, trouble)
    return None


def _make(path: Path, database: Path) -> None:
    # Finished under another name and linked to its own, so that nobody ever reads half a secret and, of two processes
    # that start at once, both use the one that was first.
    handle, draft_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    draft = Path(draft_name)
    try:
        os.write(handle, f"{secrets.token_hex(SECRET_BYTES)}\n".encode())
        _give_to_owner_of(database, handle)
        os.fsync(handle)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        os.close(handle)
        draft.unlink()


def _give_to_owner_of(database: Path, handle: int) -> None:
    # Or else the servers could not read what a command made that root ran. Not by its name, under which somebody who
    # may write to the folder can put another file.
    if os.name == "posix":  # pragma: no branch - elsewhere files have no such owner
        os.fchown(handle, database.stat().st_uid, -1)


def _trouble(path: Path, database: Path) -> str | None:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        return "it is not a file; remove it, and one is made at the next start"
    if os.name == "posix" and stat.S_IMODE(about.st_mode) & 0o077:
        return f"it can be read by other users of this machine; run: chmod 600 '{path}'"
    if os.name == "posix" and about.st_uid not in (database.stat().st_uid, os.geteuid()):
        return "it is another user's, who may know it; remove it, and one is made at the next start"
    return None


def _read(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        return file.read(_MOST_READ)
