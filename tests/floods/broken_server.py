"""The program with a defect, for the floods to find: ``python -m tests.floods.broken_server DEFECT serve ...``."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Final

from mcp_keys_server import InvalidApiKeyError, KeyVerifier, Principal, Refusal
from mcp_keys_server.auth.open_responses import OpenResponses
from mcp_keys_server.cli.program import main
from mcp_keys_server.core.api_key import ApiKey, prefix_of
from mcp_keys_server.core.key_hasher import KeyHasher

PROGRAM: Final = (sys.executable, "-m", "tests.floods.broken_server")
LETS_IN: Final = "lets-in"
LOCKS_OUT: Final = "locks-out"
GOES_ON: Final = "goes-on"
MOST_FAILURES: Final = 60


def let_everybody_in_whose_checksum_is_right() -> None:
    async def fits(self: KeyHasher, key: ApiKey, key_hash: str, *, crowd: str = "") -> bool:
        del self, key, key_hash, crowd
        return True

    KeyHasher.prove = fits  # type: ignore[method-assign]


def lock_prefixes_with_too_many_failures() -> None:
    verify, failures = KeyVerifier.verify, Counter[str]()

    async def counted(
        self: KeyVerifier, presented: str, *, client: str | None = None, over_socket: bool = False
    ) -> Principal:
        prefix = prefix_of(presented)
        if failures[prefix] >= MOST_FAILURES:
            raise InvalidApiKeyError(Refusal.UNMATCHED)
        try:
            return await verify(self, presented, client=client, over_socket=over_socket)
        except InvalidApiKeyError:
            failures[prefix] += 1
            raise

    KeyVerifier.verify = counted  # type: ignore[method-assign]


def let_what_is_open_go_on() -> None:
    async def never_look(self: OpenResponses) -> None:
        del self

    OpenResponses.keep_looking = never_look  # type: ignore[method-assign]


DEFECTS: Final[dict[str, Callable[[], None]]] = {
    LETS_IN: let_everybody_in_whose_checksum_is_right,
    LOCKS_OUT: lock_prefixes_with_too_many_failures,
    GOES_ON: let_what_is_open_go_on,
}

if __name__ == "__main__":
    DEFECTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
