"""What each of the servers can be asked, and what it answers."""

from dataclasses import dataclass, field

import pytest


@dataclass(frozen=True)
class SampleCall:
    alias: str
    tool: str
    arguments: dict[str, object] = field(default_factory=dict)
    answer: str = ""
    """What is in it; {folder} is where the programs keep what they write."""


CALLS = [
    SampleCall("everything", "get-sum", {"a": 2, "b": 40}, "The sum of 2 and 40 is 42."),
    SampleCall("everything-http", "get-sum", {"a": 2, "b": 40}, "The sum of 2 and 40 is 42."),
    SampleCall("filesystem", "list_allowed_directories", {}, "{folder}/filesystem/ada"),
    SampleCall("memory", "open_nodes", {"names": ["nobody"]}, '"entities": []'),
    SampleCall(
        "time",
        "convert_time",
        {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
        "T21:00:00+09:00",
    ),
    SampleCall("fastmcp", "add", {"a": 2, "b": 40}, "42"),
    SampleCall("fastmcp-http", "add", {"a": 2, "b": 40}, "42"),
]
OF_EACH_SERVER = pytest.mark.parametrize("sample", CALLS, ids=lambda sample: sample.alias)
