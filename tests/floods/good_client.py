"""A program that is a client in good order: one call after the other, each over a connection of its own.

It reads a job from standard input, a line of JSON, calls until the input ends, and says what came of it. It is a
process by itself, or it would wait for what those do beside whom it is measured.
"""

import asyncio
import json
import sys
import time
from typing import TypedDict

from tests.floods.talking import Talk, request

PAUSE = 0.1
SECONDS_TO_ANSWER = 60


class Job(TypedDict):
    port: int
    user: str
    key: str


class Calls(TypedDict):
    seconds: list[float]
    """Of each that was answered."""
    bad: list[str]
    """What became of those that failed."""


async def call_until_the_input_ends(job: Job) -> Calls:
    asked, calls = request(job["user"], job["key"]), Calls(seconds=[], bad=[])
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER), Talk(job["port"]) as talk:
                status = await talk.ask(asked)
        except (OSError, EOFError) as error:
            calls["bad"].append(repr(error))
        else:
            calls["seconds"].append(time.perf_counter() - begun)
            if status != 200:
                calls["bad"].append(str(status))
        await asyncio.wait([ended], timeout=PAUSE)
    return calls


def main() -> None:
    job: Job = json.loads(sys.stdin.readline())
    sys.stdout.write(json.dumps(asyncio.run(call_until_the_input_ends(job))) + "\n")


if __name__ == "__main__":
    main()
