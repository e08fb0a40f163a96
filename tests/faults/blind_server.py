"""The program that never looks which checksum secrets there are: ``python -m tests.faults.blind_server serve``.

It is there to be found out.
"""

import sys

import pytest

from mcp_keys_server.cli.program import main
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets


async def _see_nothing(_: ChecksumSecrets) -> None:
    pass


if __name__ == "__main__":
    pytest.MonkeyPatch().setattr(ChecksumSecrets, "look", _see_nothing)
    sys.exit(main())
