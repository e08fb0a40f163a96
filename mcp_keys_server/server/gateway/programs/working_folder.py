"""The folder in which a program works for one user: nobody else's, and no way out of its place."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.core.field_rules import parse_alias, parse_user_id

LOCK: Final = ".lock"
_PRIVATE: Final = 0o700
_PASSABLE: Final = 0o711
"""Others come through, to what is theirs, and see no names."""
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class WorkingFolderError(McpKeysError):
    """There is no folder to work in. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class WorkingFolder:
    path: Path
    uid: int | None
    """Whose it is, where that is a user of its own."""


def working_folder(root: Path, alias: str, user_id: str, uids: range | None) -> WorkingFolder:
    """``root/alias/user_id``, made if it is not there. With ``uids`` it belongs to one of those and to no second
    folder: whose it is, is recorded nowhere but in the folder's owner.

    Raises:
        WorkingFolderError: It cannot be had.
        InvalidFieldError: This is no alias, or no user id.
    """
    path = root / parse_alias(alias) / parse_user_id(user_id)
    mode = _PRIVATE if uids is None else _PASSABLE
    try:
        root.mkdir(mode=mode, parents=True, exist_ok=True)
        with (
            _opened(root, mode) as in_root,
            _locked(in_root),
            _made(in_root, alias, mode) as in_alias,
            _made(in_alias, user_id, _PRIVATE) as folder,
        ):
            owner = os.fstat(folder).st_uid
            if uids is None:
                _require_ours(path, owner)
                return WorkingFolder(path, None)
            _require_way(root)
            if owner not in uids:
                owner = _give(path, folder, _lowest_free(root, uids))
            return WorkingFolder(path, owner)
    except OSError as error:
        raise WorkingFolderError(
            f"{path} cannot be used: {error.strerror}; all of its folders must be folders, no links, that this server "
            "can write to"
        ) from error


@contextmanager
def _opened(folder: str | Path, mode: int, *, within: int | None = None) -> Iterator[int]:
    # By handles from here on: what a name stands for could be exchanged between two looks.
    handle = os.open(folder, _OPEN_FOLDER, dir_fd=within)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) != mode:
            os.fchmod(handle, mode)  # the system's mask took some away, or whose it is has given some to others
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _made(within: int, name: str, mode: int) -> Iterator[int]:
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=within)
    with _opened(name, mode, within=within) as handle:
        yield handle


@contextmanager
def _locked(root: int) -> Iterator[None]:
    """So that of two processes no two give the same user."""
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _require_ours(path: Path, owner: int) -> None:
    if owner != os.geteuid():
        raise WorkingFolderError(
            f"{path} belongs to uid {owner}, not to this server; let each user's program run as a user of its own as "
            "before, or give the folder and all in it to this server"
        )


def _require_way(root: Path) -> None:
    closed = next((folder for folder in (*root.parents,) if not folder.stat().st_mode & stat.S_IXOTH), None)
    if closed:
        raise WorkingFolderError(f"{closed} is closed to the programs' own users; run: chmod o+x '{closed}'")


def _lowest_free(root: Path, uids: range) -> int:
    taken = {folder.stat(follow_symlinks=False).st_uid for folder in root.glob("*/*")}
    free = next((uid for uid in uids if uid not in taken), None)
    if free is None:
        raise WorkingFolderError(
            f"all {len(uids)} users for programs are taken, one for each folder under {root}; allow for more of them, "
            "or remove folders that nobody needs"
        )
    return free


def _give(path: Path, folder: int, uid: int) -> int:
    # Not if there is anything in it: that would stay another's, or is what somebody else should not have.
    if os.fstat(folder).st_uid != os.geteuid() or os.listdir(folder):
        raise WorkingFolderError(
            f"{path} belongs to none of the users for programs; give the folder and all in it to one that has no other "
            "folder, or move it away"
        )
    os.fchown(folder, uid, uid)
    return uid
