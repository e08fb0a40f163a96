"""A program that floods a server with requests, and says how they were answered.

It reads a job from standard input, a line of JSON, and says ``begun`` when all its connections are open. It ends when
the time is over or so many were answered, whichever is later, and not before.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import TypedDict

from tests.floods.cores import yield_to_others
from tests.floods.talking import Talk, request


class Job(TypedDict):
    port: int
    user: str
    keys: list[str]
    connections: int
    seconds: float
    at_least: int
    yields: bool
    """It does so to whoever else needs its core."""


class Answered(TypedDict):
    statuses: dict[str, int]
    """How many of each."""
    seconds: float


class Flood:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._statuses: Counter[str] = Counter()
        self._end = 0.0

    async def run(self) -> Answered:
        job = self._job
        requests = [request(job["user"], key) for key in job["keys"]]
        talks = [await Talk(job["port"]).__aenter__() for _ in range(job["connections"])]
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        begun = time.monotonic()
        self._end = begun + job["seconds"]
        # Each begins elsewhere, so that no two ever ask about the same key at once.
        apart = max(1, len(requests) // len(talks))
        turns = (cycle(requests[first:] + requests[:first]) for first in range(0, apart * len(talks), apart))
        await asyncio.gather(*(self._keep_asking(talk, turn) for talk, turn in zip(talks, turns, strict=True)))
        return {"statuses": dict(self._statuses), "seconds": time.monotonic() - begun}

    async def _keep_asking(self, talk: Talk, requests: Iterator[bytes]) -> None:
        while time.monotonic() < self._end or self._statuses.total() < self._job["at_least"]:
            status = await talk.ask(next(requests))
            self._statuses[str(status)] += 1
        await talk.__aexit__(None, None, None)


def main() -> None:
    job: Job = json.loads(sys.stdin.readline())
    if job["yields"]:
        yield_to_others()
    sys.stdout.write(json.dumps(asyncio.run(Flood(job).run())) + "\n")


if __name__ == "__main__":
    main()
