"""The program with a store that answers before it commits: ``python -m tests.faults.hasty_server serve``.

It is there to be found out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mcp_keys_server.cli.program import main
from mcp_keys_server.stores.sqlite.connections import SqliteConnections
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction

SECONDS_BEFORE_COMMIT = 0.1

Work = Callable[[SqliteTransaction], Awaitable[Any]]
_write = SqliteConnections.write
_running: set[asyncio.Task[Any]] = set()


async def _write_hastily(self: SqliteConnections, work: Work) -> Any:  # noqa: ANN401 - what the work gives
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def work_and_answer(transaction: SqliteTransaction) -> None:
        answer.set_result(await work(transaction))
        await asyncio.sleep(SECONDS_BEFORE_COMMIT)

    def forget(written: asyncio.Task[None]) -> None:
        _running.discard(written)
        error = written.exception()
        if error is not None and not answer.done():
            answer.set_exception(error)

    writing = asyncio.create_task(_write(self, work_and_answer))
    _running.add(writing)
    writing.add_done_callback(forget)
    return await answer


if __name__ == "__main__":
    SqliteConnections.write = _write_hastily  # type: ignore[method-assign] # for whatever is written
    main()
