"""The program as it must not be: it keeps every key that was presented to it."""

import sys
from collections.abc import Callable
from typing import Any

from mcp_keys_server.cli.program import main
from mcp_keys_server.core.verifier import KeyVerifier

kept: list[str] = []


def keeping(verify: Callable[..., Any]) -> Callable[..., Any]:
    async def verify_and_keep(self: KeyVerifier, presented: str, **more: Any) -> object:  # noqa: ANN401 - as it is
        kept.append(presented)
        return await verify(self, presented, **more)

    return verify_and_keep


if __name__ == "__main__":
    KeyVerifier.verify = keeping(KeyVerifier.verify)  # type: ignore[method-assign]
    sys.exit(main())
