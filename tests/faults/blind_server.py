"""The program that never looks which checksum secrets there are: ``python -m tests.faults.blind_server serve``.

It is there to be found out.
"""

import sys

import pytest

from mcp_keys_server.cli.program import main
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets


async def _see_nothing(self: ChecksumSecrets) -> None:
    self._known_at = self._clock()


if __name__ == "__main__":
    pytest.MonkeyPatch().setattr(ChecksumSecrets, "_learn", _see_nothing)
    sys.exit(main())
