"""The examples of the README, as they stand there."""

import re
from collections.abc import Mapping
from pathlib import Path

import mcp_keys_server

README = (Path(mcp_keys_server.__file__).parent.parent / "README.md").read_text()


def example(name: str, changes: Mapping[str, str]) -> str:
    """The block behind the comment with this name, with what whoever pastes it changes: ports, that is, and keys."""
    found = re.search(rf"^<!-- {name} -->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, name
    text = found[1]
    for part, other in changes.items():
        assert part in text, part
        text = text.replace(part, other)
    return text
