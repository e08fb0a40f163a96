import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from tests.running_server import environment
from tests.world import World

pytestmark = pytest.mark.anyio
PROCESSES = 2
KEYS = 250
VERIFICATIONS = 10_000


async def test_no_process_accepts_a_key_after_another_has_revoked_it(world: World) -> None:
    """At least 10,000 verifications in two processes race with the revocations of a third: none that began after a
    revocation had returned is accepted."""
    made = [await world.key() for _ in range(KEYS)]
    verifications = 0
    accepted_late = 0
    with ExitStack() as stack:
        racing = [stack.enter_context(a_verifying_process(world)) for _ in range(PROCESSES)]
        for process in racing:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n".join(key.reveal() for _, key in made))
            process.stdin.close()
            assert process.stdout.readline() == "ready\n"
        revoked_at = []
        for record, _ in made:
            await world.ring.administration.revoke_key(record.key_id, reason=None)
            revoked_at.append(time.monotonic_ns())
        for process in racing:
            assert process.stdout
            lines = process.stdout.read().splitlines()
            assert len(lines) == KEYS
            for line, end in zip(lines, revoked_at, strict=True):
                accepted, _, refused = line.partition(";")
                verifications += len(accepted.split()) + int(refused)
                accepted_late += sum(int(begun) > end for begun in accepted.split())
    assert accepted_late == 0
    assert verifications >= VERIFICATIONS


def a_verifying_process(world: World) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.verifying_process", world.address]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
