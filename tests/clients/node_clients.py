"""The clients that are written for Node, as ``.ci/install-node-clients`` installed them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NodeClients:
    folder: Path

    def program(self, package: str) -> list[str]:
        """How the program of this package, given as NAME@VERSION, is started."""
        name, _, version = package.rpartition("@")
        manifest_file = self.folder / "node_modules" / name / "package.json"
        manifest = json.loads(manifest_file.read_text())
        assert manifest["version"] == version, f"{package} is wanted; see to .ci/install-node-clients and run it again"
        program = manifest_file.parent / manifest["bin"][name.rpartition("/")[2]]
        return [str(self.folder / "node"), str(program)]

    def without_npx(self, command: Sequence[str]) -> list[str]:
        """``npx -y NAME@VERSION ...``, which would fetch the package, with the installed one in its place."""
        npx, yes, package, *arguments = command
        assert (npx, yes) == ("npx", "-y"), command
        return [*self.program(package), *arguments]
