"""A new secret in a private file."""

import os
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.to_thread

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.server.delivery import Call, log_delivered
from mcp_keys_server.server.tool_results import KeyInFile, KeyView


class KeyFileError(McpKeysError):
    """The file for a new key cannot be written. The key was revoked; the message says why and what to do."""


class FileDelivery:
    """The key is written to a file that only the user of this machine can read."""

    result: ClassVar[type[KeyView]] = KeyInFile
    told_to_the_model: ClassVar[str] = (
        "You are not told the key: it is written to the file key_file on the user's machine. Tell them the path, and "
        "do not read the file yourself."
    )

    def __init__(self, manager: KeyManager, folder: Path, *, clock: Clock = utc_now) -> None:
        self._manager = manager
        self._folder = folder
        self._clock = clock

    async def create(self, call: Call, *, name: str, requested: RequestedGrant) -> KeyInFile:
        draft = await self._draft()
        made = self._manager.create_key(call.principal, name=name, requested=requested, client=call.client)
        return await self._deliver(call, draft, made, "created")

    async def rotate(self, call: Call, *, key_id: str, overlap_hours: float) -> KeyInFile:
        draft = await self._draft()
        made = self._manager.rotate_key(call.principal, key_id=key_id, overlap_hours=overlap_hours, client=call.client)
        return await self._deliver(call, draft, made, "rotated")

    async def _draft(self) -> Path:
        """An empty private file, made first: where nothing can be written, no secret is made and none is replaced."""
        try:
            return await anyio.to_thread.run_sync(_private_file, self._folder)
        except OSError as error:
            raise KeyFileError(
                f"no file can be made for the key, so nothing was done: {self._folder}: {error.strerror}"
            ) from error

    async def _deliver(
        self, call: Call, draft: Path, made: Awaitable[tuple[KeyRecord, ApiKey]], done: str
    ) -> KeyInFile:
        # Not cut short by whoever called: a secret that is made must not be lost between the database and the file.
        delivered = []
        with anyio.CancelScope(shield=True):
            delivered.append(await self._fill(call, draft, made, done))
        return delivered[0]

    async def _fill(self, call: Call, draft: Path, made: Awaitable[tuple[KeyRecord, ApiKey]], done: str) -> KeyInFile:
        try:
            record, key = await made
        except BaseException:
            os.unlink(draft)  # noqa: PTH108 - at once
            raise
        path = draft.with_name(f"{record.key_id}.{key.prefix}.txt")
        try:
            await anyio.to_thread.run_sync(_fill, draft, path, f"{key.reveal()}\n")
        except OSError as error:
            await self._manager.revoke_key(
                call.principal, key_id=record.key_id, reason="its file cannot be written", client=call.client
            )
            raise KeyFileError(
                f"the file for the key cannot be written, so the key was revoked: {path}: {error.strerror}"
            ) from error
        log_delivered(done, record, call)
        what_to_do = "Tell the user that their new key is in this file, and that they may move or delete it."
        return KeyInFile.of(record, call.principal.key_id, self._clock(), key_file=str(path), what_to_do=what_to_do)


def _private_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=".key.", dir=folder)  # 0600
    os.close(handle)
    return Path(name)


def _fill(draft: Path, path: Path, text: str) -> None:
    # Synced, because the database outlasts a loss of power with the key, and its plaintext is nowhere else.
    try:
        draft.write_text(text, encoding="ascii")
        _sync(draft, os.O_RDWR)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every system syncs folders
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
