"""What pytest prints of a test that fails with a key in its hands, which ends up in the log of somebody's CI."""

import os
import subprocess
import sys
from pathlib import Path

from tests.leaks.forms import Secrets

FAILING = """
import logging
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets

def test_that_fails(tmp_path_factory):
    key = KeyMint(ChecksumSecrets([b"of a test"])).mint()
    held, told = {"key": [key]}, f"{key} {key!r}"
    (tmp_path_factory.getbasetemp() / "the-key").write_text(REVEALED)
    logging.getLogger("a test").warning("made %s and %r", key, held)
    print(key, held)
    assert held == {"key": [told]}
"""


def what_pytest_prints(folder: Path, revealed: str) -> tuple[str, str]:
    """Of that test, with the key that it had."""
    file = folder / "test_failing.py"
    file.write_text(FAILING.replace("REVEALED", revealed))
    arguments = ["--showlocals", "-vv", "-p", "no:cacheprovider", f"--basetemp={folder / 'base'}", str(file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr, (folder / "base" / "the-key").read_text()


def test_a_test_that_fails_shows_no_key(tmp_path: Path) -> None:
    printed, key = what_pytest_prints(tmp_path, "key.reveal()")
    secrets = Secrets()
    secrets.add("the key", key)
    assert f"ApiKey({key[:12]}...)" in printed
    assert secrets.traces_in(printed.encode()) == set()


def test_one_that_reveals_it_is_found(tmp_path: Path) -> None:
    printed, key = what_pytest_prints(tmp_path, "(told := key.reveal())")
    secrets = Secrets()
    secrets.add("the key", key)
    assert secrets.traces_in(printed.encode())
