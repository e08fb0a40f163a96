"""The clients and servers that are written for Node, as ``.ci/install-node-clients`` installed them."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NODE_CLIENTS = "MCP_KEYS_TEST_NODE_CLIENTS"


@dataclass(frozen=True)
class NodeClients:
    folder: Path

    def program(self, package: str) -> list[str]:
        """How the program of this package, given as NAME@VERSION, is started."""
        manifest, folder = self._installed(package)
        programs = manifest["bin"]
        program = programs.get(folder.name) or programs[f"mcp-{folder.name}"]
        return [str(self.folder / "node"), str(folder / program)]

    def file(self, package: str, name: str) -> Path:
        """The file of this name in this package, given as NAME@VERSION."""
        _, folder = self._installed(package)
        return folder / name

    def without_npx(self, command: Sequence[str]) -> list[str]:
        """``npx -y NAME@VERSION ...``, which would fetch the package, with the installed one in its place."""
        npx, yes, package, *arguments = command
        assert (npx, yes) == ("npx", "-y"), command
        return [*self.program(package), *arguments]

    def _installed(self, package: str) -> tuple[dict[str, Any], Path]:
        name, _, version = package.rpartition("@")
        folder = self.folder / "node_modules" / name
        manifest = json.loads((folder / "package.json").read_text())
        assert manifest["version"] == version, f"{package} is wanted; see to .ci/install-node-clients and run it again"
        return manifest, folder


def installed_node_clients() -> NodeClients:
    """Those in the folder that the environment names; without one, the test that asks is skipped."""
    folder = os.getenv(NODE_CLIENTS)
    if not folder:
        pytest.skip(f"set {NODE_CLIENTS}; .ci/install-node-clients makes it")
    return NodeClients(Path(folder).resolve(strict=True))
