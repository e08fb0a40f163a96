import json
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from mcp_keys_server.server.gateway import control
from mcp_keys_server.server.gateway.control import FOLDER, StatusUnreadableError, read_status, status_socket
from mcp_keys_server.server.gateway.upstream_status import UpstreamStatus

pytestmark = pytest.mark.anyio


def a_status(alias: str = "notes", user_id: str = "ada") -> UpstreamStatus:
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    return UpstreamStatus(alias, user_id, "running", now, 7, 3, 1, 2, 0.5, 1.5, now, "it ended", None)


def socket_in(folder: Path) -> Path:
    return folder / FOLDER / f"{os.getpid()}.sock"


def bound_socket(folder: Path, name: str) -> socket.socket:
    """As a process of that number would have it that hears nobody."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / FOLDER / name))
    return bound


@contextmanager
def as_somebody_else(folder: Path) -> Iterator[None]:
    """Without a right to the folder, also where the tests run as root."""
    uid = os.geteuid()
    folder.chmod(0o000)
    if uid == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(uid)
        folder.chmod(0o700)


async def test_every_status_is_read_as_it_is_at_that_moment(tmp_path: Path) -> None:
    statuses: list[UpstreamStatus] = []
    async with status_socket(tmp_path, lambda: statuses):
        assert (await read_status(tmp_path)).statuses == []
        statuses += [a_status("tickets"), a_status(user_id="bob"), a_status()]
        serving = await read_status(tmp_path)
        assert serving.pids == [os.getpid()]
        assert serving.statuses == [a_status(), a_status(user_id="bob"), a_status("tickets")]


async def test_what_is_told_is_json_with_times_as_text(tmp_path: Path) -> None:
    async with status_socket(tmp_path, lambda: [a_status()]), await anyio.connect_unix(socket_in(tmp_path)) as stream:
        (told,) = json.loads(await stream.receive(100_000))
    assert (told["alias"], told["since"], told["last_error_at"]) == ("notes", "2026-11-21T12:00:00Z", None)


async def test_the_socket_is_for_its_user_alone_and_gone_in_the_end(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(mode=0o755)
    async with status_socket(tmp_path, list):
        assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_in(tmp_path).stat().st_mode) == 0o600
    assert not socket_in(tmp_path).exists()


async def test_without_a_place_for_a_socket_all_else_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for folder, reason in ((tmp_path / "file", "Not a directory"), (tmp_path / ("x" * 120), "AF_UNIX path too long")):
        caplog.clear()
        async with status_socket(folder, list):
            pass
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage().startswith("'upstreams list' will not show this process: ")
        assert record.getMessage().endswith(f"cannot be made: {reason}")
        assert (await read_status(folder)).pids == []


async def test_who_asks_and_leaves_or_does_not_listen_keeps_nobody_waiting(tmp_path: Path) -> None:
    many = [a_status(user_id=f"u{number}") for number in range(10_000)]
    async with status_socket(tmp_path, lambda: many):
        with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as gone:
            deaf.connect(str(socket_in(tmp_path)))
            gone.connect(str(socket_in(tmp_path)))
            gone.close()
            assert len((await read_status(tmp_path)).statuses) == 10_000
            assert len((await read_status(tmp_path)).statuses) == 10_000


async def test_a_socket_whose_process_is_gone_is_removed_and_no_other_file(tmp_path: Path) -> None:
    bound_socket(tmp_path, "77.sock").close()
    (tmp_path / FOLDER / "notes.sock").touch()
    (tmp_path / FOLDER / "78").touch()
    serving = await read_status(tmp_path)
    assert (serving.pids, serving.silent_pids, serving.statuses) == ([], [], [])
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["78", "notes.sock"]


async def test_a_process_that_says_nothing_or_nonsense_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SECONDS_TO_ANSWER", 0.2)
    with bound_socket(tmp_path, "1.sock") as silent, bound_socket(tmp_path, "2.sock") as odd:
        silent.listen()
        odd.listen()
        odd.settimeout(20)

        def say_nonsense() -> None:
            asking, _ = odd.accept()
            with asking:
                asking.sendall(b"[{}]")

        async with status_socket(tmp_path, lambda: [a_status()]), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, say_nonsense)
            serving = await read_status(tmp_path)
    assert serving.silent_pids == [1, 2]
    assert (serving.pids, serving.statuses) == ([os.getpid()], [a_status()])


async def test_the_folder_of_another_user_is_a_sentence(tmp_path: Path) -> None:
    async with status_socket(tmp_path, list):
        with as_somebody_else(tmp_path / FOLDER), pytest.raises(StatusUnreadableError) as refused:
            await read_status(tmp_path)
    assert str(refused.value).endswith("may not be read; run this as the user whose server it is")
