"""A PostgreSQL server of a test's own, to be stopped, frozen and configured as none should be that others use."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SECONDS_TO_START = 60
POSTGRES_URL = "MCP_KEYS_TEST_POSTGRES_URL"
"""A variable of the environment: a database for schemas of tests."""


def _programs() -> Path | None:
    """Where initdb and the others are, which Debian keeps off the PATH."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders = sorted(debian, key=lambda folder: int(folder.parent.name), reverse=True)
    found = shutil.which("pg_ctl")
    folders += [Path(found).resolve().parent] if found else []
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


PROGRAMS = _programs()
needs_postgres_programs = pytest.mark.skipif(PROGRAMS is None, reason="needs PostgreSQL's programs: initdb and pg_ctl")
# PostgreSQL refuses to run as root, and its package has made a user for it.
ACCOUNT = {"user": "postgres", "group": "postgres"} if os.name == "posix" and os.geteuid() == 0 else {}


@dataclass(frozen=True)
class PostgresServer:
    folder: Path
    port: int

    def url(self, *, user: str = "postgres", password: str = "", query: str = "") -> str:
        return f"postgresql://{user}{password and ':' + password}@127.0.0.1:{self.port}/postgres{query}"

    def start(self) -> None:
        try:
            self._control("start", "-w", "-t", str(SECONDS_TO_START), "-l", str(self.folder / "log"))
        except AssertionError as error:
            error.add_note((self.folder / "log").read_text()[-2000:])
            raise

    def stop(self, mode: str = "immediate") -> None:
        self._control("stop", "-w", "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        self._control("restart", "-w", "-t", str(SECONDS_TO_START), "-m", mode, "-l", str(self.folder / "log"))

    def is_running(self) -> bool:
        return self._file("postmaster.pid").exists()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still, and its connections stay as they are."""
        processes = self._freeze()
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):  # it has been killed
                    os.kill(process, signal.SIGCONT)

    def kill(self) -> None:
        """As when the machine is gone."""
        for process in reversed(self._freeze()):
            os.kill(process, signal.SIGKILL)
        # Which name a process that may be there until its parent asks for it, and would be taken for a running server.
        self._file("postmaster.pid").unlink()
        (self.folder / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def promote(self) -> None:
        """From a standby to a primary."""
        self._control("promote", "-w", "-t", str(SECONDS_TO_START))

    def follow(self, primary: "PostgresServer") -> None:
        """Begin anew, as a copy of this one that follows it."""
        data = self.folder / "data"
        if data.exists():
            shutil.rmtree(data)
        _run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-N", "-D", str(data), "-d", primary.url())
        self.begin()

    def begin(self, settings: Mapping[str, str] | None = None) -> None:
        own = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder)}
        self.configure(**own, **(settings or {}))
        self.start()

    def configure(self, **settings: str) -> None:
        """In force after a restart at the latest."""
        with self._file("postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        if self.is_running():
            self._control("reload")

    def let_in(self, *lines: str) -> None:
        """Who may connect, and how: the lines of pg_hba.conf."""
        self._file("pg_hba.conf").write_text("\n".join([*lines, ""]))
        if self.is_running():
            self._control("reload")

    def sql(self, statement: str) -> None:
        """Done by the superuser; ``psql`` is among the programs."""
        _run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", self.url(), "-c", statement)

    def own(self, *files: Path) -> None:
        """Make these the server's, private to it."""
        for file in files:
            file.chmod(0o600)
            if ACCOUNT:
                shutil.chown(file, **ACCOUNT)

    def _file(self, name: str) -> Path:
        return self.folder / "data" / name

    def _freeze(self) -> list[int]:
        """First the one that would start others."""
        keeper = int(self._file("postmaster.pid").read_text().split("\n")[0])
        os.kill(keeper, signal.SIGSTOP)
        children = map(int, Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split())
        return [keeper, *filter(_stop, children)]

    def _control(self, *arguments: str) -> None:
        _run("pg_ctl", "-D", str(self.folder / "data"), *arguments)


@contextmanager
def a_postgres_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Running, and let go of at the end; it trusts everybody on this machine until told otherwise."""
    with _a_place() as server:
        data = str(server.folder / "data")
        _run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        server.begin(settings)
        yield server


@contextmanager
def a_standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """A copy of this server that follows it."""
    with _a_place() as standby:
        standby.follow(primary)
        yield standby


def _free_port() -> int:
    """One that the system gives to nobody of its own accord while the server is away: it begins those at 32,768."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def _a_place() -> Iterator[PostgresServer]:
    """A folder and a port. Not below pytest's folder, into which another account cannot look."""
    port = _free_port()
    folder = Path(tempfile.mkdtemp(prefix="mcp-keys-postgres-"))
    server = PostgresServer(folder, port)
    try:
        if ACCOUNT:
            shutil.chown(folder, **ACCOUNT)
        yield server
    finally:
        if server.is_running():
            server.stop()
        shutil.rmtree(folder)


def _stop(process: int) -> bool:
    """False: it has ended meanwhile."""
    try:
        os.kill(process, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    return True


def _run(program: str, *arguments: str) -> None:
    assert PROGRAMS is not None
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # which a server that was started would keep open, and so no pipe
        stderr=subprocess.DEVNULL,
        cwd="/",
        check=False,
        **ACCOUNT,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)} ended with {done.returncode}"
