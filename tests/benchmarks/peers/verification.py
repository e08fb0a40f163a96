"""Warm verifications per second: ours, and what other people made for the same work."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import Child, child, child_program
from tests.benchmarks.figures import Goal, Quantity, Row
from tests.benchmarks.keys_at_hand import OpenedRing, opened_ring
from tests.benchmarks.peers.environment import Peers
from tests.benchmarks.peers.verifying import Taken
from tests.benchmarks.rounds import Contestant, Figures, run_rounds
from tests.benchmarks.stopwatch import timed

_OURS: Final = "ours"
_NODE_PROGRAM: Final = Path(__file__).with_name("better_auth.mjs")
_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class Compared:
    name: str
    """Of its program."""
    label: str
    compared_with: str
    goal: Goal | None = None
    waits: bool = False
    """For a thread, a file or a time, so that its share of a core says nothing."""


_JUDGED: Final = (
    Compared(
        "django-api-key",
        "djangorestframework-api-key",
        "djangorestframework-api-key, SQLite in memory",
        goals.DJANGO_API_KEY,
    ),
    Compared("keyshield", "keyshield", "keyshield in memory, cached, its delay off", goals.KEYSHIELD_MEMORY),
    Compared("better-auth", "better-auth", "@better-auth/api-key on Node, in memory", goals.BETTER_AUTH_MEMORY),
)
_TOLD: Final = (
    Compared(
        "keyshield-sqlite-cached",
        "keyshield, SQLite, cached",
        "keyshield on SQLite, cached, its delay off",
        waits=True,
    ),
    Compared("keyshield-sqlite", "keyshield, SQLite", "keyshield on SQLite, its delay off", waits=True),
    Compared(
        "keyshield-as-it-comes", "keyshield, its delay on", "keyshield in memory, cached, as it comes", waits=True
    ),
    Compared(
        "mcphub", "mcphub-server", "mcphub-server's key manager, which may be five minutes behind, SQLite", waits=True
    ),
    Compared(
        "fastmcp-static", "FastMCP's static tokens", "FastMCP's StaticTokenVerifier, a dictionary that never changes"
    ),
    Compared("fastmcp-guard", "fastmcp-guard", "fastmcp-guard in memory, a bcrypt check each time", waits=True),
)


def peers_in_process(bench: Bench, peers: Peers) -> Sequence[Row]:
    """Those of goal 17, and some that are told beside them; ours has its database in a file."""
    with opened_ring(bench.folder / "keys.db", bcrypt_cost=CHEAPEST_COST) as opened:
        # In as long a stretch as the others, because a scheduler is kinder to short ones.
        ours = _verifying(opened, max(1, bench.effort.calls // 4))
        return [
            row
            for title, group in (("peers", _JUDGED), ("more peers", _TOLD))
            for row in _compare(title, bench, peers, ours, group)
        ]


def _compare(title: str, bench: Bench, peers: Peers, ours: Contestant, group: Sequence[Compared]) -> Sequence[Row]:
    with ExitStack() as stack:
        contestants = {_OURS: ours}
        for one in group:
            bench.progress.show(f"{title}: starting {one.label}")
            program = stack.enter_context(_program(one.name, bench.folder, peers))
            program.hear()  # that it is ready
            contestants[one.name] = _of(program, bench, waits=one.waits)
        rounds = run_rounds(title, bench, contestants)
    return [
        rounds.compare(
            "warm verifications, the live record read each time",
            Quantity.VERIFICATIONS,
            _OURS,
            one.name,
            compared_with=one.compared_with,
            goal=one.goal,
            peer=one.label,
        )
        for one in group
    ]


def _verifying(opened: OpenedRing, calls: int) -> Contestant:
    verifier = opened.ring.verifier
    presented = list(islice(cycle(key.reveal() for key in opened.add_keys(_KEYS)), calls))

    async def verify() -> None:
        for one in presented:
            await verifier.verify(one)

    taking = timed(lambda: opened.runner.run(verify()), calls=calls)

    def contestant() -> Figures:
        figures = taking()
        return {**figures, Quantity.VERIFICATIONS: 1e6 / figures[Quantity.CALL]}

    return contestant


def _program(name: str, folder: Path, peers: Peers) -> AbstractContextManager[Child]:
    if name == "better-auth":
        # Given as text, because Node looks for packages where a program's file is.
        text = _NODE_PROGRAM.read_text("utf-8")
        return child_program([str(peers.node), "--input-type=module", "--eval", text], peers.node_folder)
    own = folder / name
    own.mkdir()
    return child("tests.benchmarks.peers.verifying", name, str(own), interpreter=peers.python)


def _of(program: Child, bench: Bench, *, waits: bool) -> Contestant:
    """As many calls a round as take about as long as all others take for theirs, so that the slow ones end too."""

    def take(calls: int) -> Taken:
        program.tell(calls)
        taken: Taken = program.hear()
        return taken

    few = 3
    seconds = bench.effort.peer_seconds
    calls = min(bench.effort.calls, max(1, int(seconds * few / take(few)["seconds"])))
    calls = min(bench.effort.calls, max(1, int(seconds * calls / take(calls)["seconds"])))

    def contestant() -> Figures:
        taken = take(calls)
        return {
            Quantity.VERIFICATIONS: calls / taken["seconds"],
            Quantity.SHARE: 1.0 if waits else taken["processor_seconds"] / taken["seconds"],
        }

    return contestant
