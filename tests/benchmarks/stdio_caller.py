"""A program that starts the noop program with the SDK's client and calls its tool, in the era that its argument names.

It reads jobs from standard input, a line of JSON each, and ends with it.
"""

import asyncio
import gc
import json
import sys
import time
from typing import Any, TypedDict

from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import TextContent

from tests.benchmarks.mcp_requests import ANSWER, LEGACY, TOOL
from tests.benchmarks.noop_tool import PROGRAM, PROGRAM_ENVIRONMENT
from tests.benchmarks.outcome import Outcome, outcome


class StdioJob(TypedDict):
    callers: int
    """Each of which makes one call at a time."""
    seconds: float


async def keep_busy(client: Client, job: StdioJob) -> Outcome:
    times: list[int] = []
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter_ns()
        end = started + int(job["seconds"] * 1e9)
        await asyncio.gather(*(_call_until(client, end, times) for _ in range(job["callers"])))
        taken = time.perf_counter_ns() - started
    finally:
        gc.enable()
    return outcome(times, taken)


async def _call_until(client: Client, end: int, times: list[int]) -> None:
    now = time.perf_counter_ns()
    while now < end:
        sent = now
        result: Any = await client.call_tool(TOOL, {})
        if result.content != [TextContent(text=ANSWER)]:
            raise RuntimeError("a tool call was not answered as it should be")
        now = time.perf_counter_ns()
        times.append(now - sent)


async def main(era: str) -> None:
    command, *arguments = PROGRAM
    program = stdio_client(StdioServerParameters(command=command, args=arguments, env=dict(PROGRAM_ENVIRONMENT)))
    async with Client(program, mode="legacy" if era == LEGACY else "auto", cache=None) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            sys.stdout.write(json.dumps(await keep_busy(client, json.loads(line))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
