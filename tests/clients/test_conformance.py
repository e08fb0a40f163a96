"""The conformance suite of the protocol's own project, against an endpoint as it is: with a key, and with our tools
only. The suite is written for a server that has its fixtures beside (tools that give images, ask for sampling, and so
on); what needs one of those says nothing about this server and is set aside by name below.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tests.clients.connections import LEGACY, MODERN, REVISION
from tests.clients.key_adding_proxy import key_adding_proxy
from tests.clients.node_clients import NodeClients
from tests.running_server import RunningServer, environment

pytestmark = pytest.mark.anyio

# It knows both revisions; 0.1.16, the last that is not an alpha, has no scenario that this one lacks.
CONFORMANCE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
SECONDS = 60


@dataclass(frozen=True)
class Scenario:
    """What a scenario finds: the number of checks that pass, so that none of them is lost unseen, and the checks that
    fail because they ask for what a server of key tools does not have.
    """

    revision: str
    name: str
    passed: int
    not_ours: frozenset[str] = frozenset()


SCENARIOS = [
    Scenario(REVISION[LEGACY], "server-initialize", 2),
    Scenario(REVISION[LEGACY], "ping", 2),
    Scenario(REVISION[LEGACY], "tools-list", 3),
    Scenario(REVISION[LEGACY], "dns-rebinding-protection", 2),
    Scenario(REVISION[MODERN], "tools-list", 4),
    Scenario(REVISION[MODERN], "dns-rebinding-protection", 2),
    Scenario(REVISION[MODERN], "server-sse-multiple-streams", 1),
    Scenario(REVISION[MODERN], "http-header-validation", 14),
    Scenario(REVISION[MODERN], "input-required-result-unsupported-methods", 2),
    Scenario(
        REVISION[MODERN],
        "server-stateless",
        21,
        not_ours=frozenset(
            {
                # Their tools: test_missing_capability, test_streaming_elicitation, test_logging_tool.
                "sep-2575-server-rejects-undeclared-capability",
                "sep-2575-missing-capability-http-400",
                "sep-2575-http-server-no-independent-requests-on-stream",
                "sep-2575-server-no-log-without-loglevel",
            }
        ),
    ),
    Scenario(
        REVISION[MODERN],
        "caching",
        4,
        not_ours=frozenset(
            {
                # We have no prompts and no resources, and say so: -32601.
                "sep-2549-prompts-list-caching-hints",
                "sep-2549-resources-list-caching-hints",
                "sep-2549-resources-templates-list-caching-hints",
            }
        ),
    ),
]

SET_ASIDE = {
    "they call a tool of the suite's own (test_simple_text, test_image_content, json_schema_2020_12_tool ...)": {
        "tools-call-simple-text",
        "tools-call-image",
        "tools-call-audio",
        "tools-call-embedded-resource",
        "tools-call-mixed-content",
        "tools-call-with-logging",
        "tools-call-error",
        "tools-call-with-progress",
        "tools-call-sampling",
        "tools-call-elicitation",
        "json-schema-2020-12",
        "elicitation-sep1034-defaults",
        "elicitation-sep1330-enums",
        "http-custom-header-server-validation",
        "input-required-result-basic-elicitation",
        "input-required-result-basic-sampling",
        "input-required-result-basic-list-roots",
        "input-required-result-request-state",
        "input-required-result-multiple-input-requests",
        "input-required-result-multi-round",
        "input-required-result-result-type",
        "input-required-result-tampered-state",
        "input-required-result-capability-check",
    },
    "the same, and they pass here because a tool that is not there is an error, which proves nothing": {
        "input-required-result-missing-input-response",
        "input-required-result-ignore-extra-params",
        "input-required-result-validate-input",
    },
    "they need prompts, resources, completions or log levels, of which this server has none and declares none": {
        "logging-set-level",
        "completion-complete",
        "resources-list",
        "resources-read-text",
        "resources-read-binary",
        "resources-templates-read",
        "resources-subscribe",
        "resources-unsubscribe",
        "prompts-list",
        "prompts-get-simple",
        "prompts-get-with-args",
        "prompts-get-embedded-resource",
        "prompts-get-with-image",
        "input-required-result-non-tool-request",
    },
    "the same, and it passes here because a method that is not there is an error, which proves nothing": {
        "sep-2164-resource-not-found",
    },
    "they need a session or a stream of server-sent events, and pass without one, having checked nothing": {
        "server-session-lifecycle",
        "server-sse-polling",
    },
    "they are about extensions that this server does not offer: skills and tasks": {
        "sep-2640-skills-directory",
        "sep-2640-skills-enumeration",
        "sep-2640-skills-manifest",
        "tasks-lifecycle",
        "tasks-capability-negotiation",
        "tasks-wire-fields",
        "tasks-request-state-removal",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-dispatch-and-envelope",
        "tasks-status-notifications",
        "tasks-required-task-error",
        "tasks-mrtr-composition",
    },
}


def checks_in(folder: Path) -> list[dict[str, str]]:
    (file,) = folder.glob("*/checks.json")
    checks: list[dict[str, str]] = json.loads(file.read_text())
    return checks


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.name}-{scenario.revision}")
async def test_the_endpoint_conforms(
    server: RunningServer, node_clients: NodeClients, tmp_path: Path, scenario: Scenario
) -> None:
    async with key_adding_proxy(server.endpoint(), server.first_key) as url:
        command = [
            *node_clients.program(CONFORMANCE),
            *("server", "--url", url, "--scenario", scenario.name, "--spec-version", scenario.revision),
            *("--output-dir", str(tmp_path)),
        ]
        with anyio.fail_after(SECONDS):
            ended = await anyio.run_process(command, env=environment(HOME=str(tmp_path)), check=False)
    checks = checks_in(tmp_path)
    said = ended.stdout.decode()
    statuses = Counter(check["status"] for check in checks)
    assert {check["id"] for check in checks if check["status"] == "FAILURE"} == scenario.not_ours, said
    assert statuses["SUCCESS"] == scenario.passed, said
    assert not statuses["WARNING"], said


async def test_every_scenario_is_either_run_or_set_aside(node_clients: NodeClients) -> None:
    ended = await anyio.run_process([*node_clients.program(CONFORMANCE), "list", "--server"], env=environment())
    offered = {line.split()[1] for line in ended.stdout.decode().splitlines() if line.startswith("  - ")}
    assert offered == {scenario.name for scenario in SCENARIOS}.union(*SET_ASIDE.values())
