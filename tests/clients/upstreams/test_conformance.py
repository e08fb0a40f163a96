"""Whatever a server does right on its own, it does right behind an alias too, in the judgement of the protocol's own
project; but for what is named here. All that passes on its own and is named nowhere must pass.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from tests.clients.connections import LEGACY, MODERN, REVISION
from tests.clients.key_adding_proxy import key_adding_proxy
from tests.clients.node_clients import NodeClients
from tests.clients.test_conformance import CONFORMANCE
from tests.clients.upstreams.aliases import Behind
from tests.running_server import environment

pytestmark = pytest.mark.anyio

SECONDS = 120
HANDSHAKE, CURRENT = REVISION[LEGACY], REVISION[MODERN]
Checks = set[tuple[str, str]]
"""Scenarios, each with one of its checks."""

ALIASES = {
    "everything": ("everything", "everything-http"),
    "conformance": ("conformance", "conformance-current", "conformance-http"),
}
"""Behind which each of the servers is: as a program, which may know two eras, and somewhere else."""

PASSED_ALONE = {
    ("everything", HANDSHAKE): 40,
    ("everything", CURRENT): 5,
    ("conformance", HANDSHAKE): 60,
    ("conformance", CURRENT): 130,
}
"""How many checks there are at the least, so that it cannot happen that nothing is compared."""

NEVER_OF_PROGRAMS = {
    # Folders of the client's machine mean nothing on this one.
    "input-required-result-basic-list-roots": ".*",
    "input-required-result-multiple-input-requests": ".*",
    # The program is told what the gateway can be asked, and the gateway answers what the client cannot.
    "input-required-result-capability-check": ".*",
    # The same, and for each user there is one stream of announcements, which no request opens.
    "server-stateless": "sep-2575-(missing-capability-http-400|server-(rejects-undeclared-capability|.*"
    "(subscription|notification).*)|http-server-no-independent-requests-on-stream)",
    # In which argument such a header repeats, only the program knows.
    "http-custom-header-server-validation": ".*",
}
LOST = {
    # It keeps what it has said, for clients that come back, and the gateway does not.
    ("everything", HANDSHAKE): {"server-sse-polling": "server-sse-priming-event"},
    # This server speaks nothing newer than 2025-11-25, so its own refusals of 2026-07-28 pass as checks of it.
    ("everything", CURRENT): {
        "input-required-result-validate-input": "sep-2322-error-on-protocol-error",
        "server-stateless": "sep-2575-server-honors-notification-filter",
    },
    # Its tools that ask by their result can do so only where the program is spoken to in the later era ...
    ("conformance", CURRENT): NEVER_OF_PROGRAMS
    | {
        "input-required-result-basic-elicitation": ".*",
        "input-required-result-basic-sampling": ".*",
        "input-required-result-missing-input-response": ".*",
        "input-required-result-multi-round": ".*",
        "input-required-result-non-tool-request": ".*",
        "input-required-result-request-state": ".*",
        "input-required-result-result-type": ".*",
        "input-required-result-tampered-state": ".*",
    },
    # ... and those that ask in the middle of a call only where it is not.
    ("conformance-current", HANDSHAKE): {
        "tools-call-sampling": ".*",
        "tools-call-elicitation": ".*",
        "elicitation-sep1034-defaults": ".*",
        "elicitation-sep1330-enums": ".*",
    },
    ("conformance-current", CURRENT): NEVER_OF_PROGRAMS,
}
"""Checks, as expressions, by scenario."""


@pytest.mark.parametrize("revision", [HANDSHAKE, CURRENT])
@pytest.mark.parametrize("server", ["everything", "conformance"])
async def test_behind_an_alias_it_conforms_as_it_does_alone(
    behind: Behind, node_clients: NodeClients, tmp_path: Path, server: str, revision: str
) -> None:
    suite = [*node_clients.program(CONFORMANCE), "server", "--requirements", revision]
    alone = await passed_by(behind.urls[f"{server}-http"], suite, tmp_path / "alone")
    assert len(alone) >= PASSED_ALONE[server, revision]
    for alias in ALIASES[server]:
        async with key_adding_proxy(behind.endpoint(alias), behind.adas_key) as url:
            behind_it = await passed_by(url, suite, tmp_path / alias)
        lost = LOST.get((alias, revision), {})
        assert {
            (name, check) for name, check in alone - behind_it if not re.fullmatch(lost.get(name, ""), check)
        } == set()
        assert {name for name, _ in alone - behind_it} == lost.keys()


async def passed_by(url: str, suite: Sequence[str], folder: Path) -> Checks:
    command = [*suite, "--url", url, "--output-dir", str(folder)]
    with anyio.fail_after(SECONDS):
        await anyio.run_process(command, env=environment(HOME=str(folder.parent)), check=False)
    statuses: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for file in folder.glob("server-*/checks.json"):
        scenario = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT.*", file.parent.name)
        assert scenario
        for check in json.loads(file.read_text()):
            statuses[scenario[1], check["id"]].add(check["status"])
    return {check for check, found in statuses.items() if "SUCCESS" in found and not found & {"FAILURE", "WARNING"}}
