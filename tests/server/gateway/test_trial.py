from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from mcp_keys_server.server.gateway import trial
from mcp_keys_server.server.gateway.tool_listing import MOST_PAGES
from mcp_keys_server.server.gateway.trial import TRIAL_USER, Bench, Trial, tried
from mcp_keys_server.upstreams import ProgramUpstream, RemoteUpstream
from tests.cli.upstream_files import PROGRAM

pytestmark = pytest.mark.anyio


async def nothing_pinned(_: str) -> Mapping[str, str]:
    return {}


async def of_a_program(folder: Path, *words: str, user_id: str = TRIAL_USER) -> Trial:
    upstream = ProgramUpstream.model_validate({"command": [*PROGRAM, *words]})
    return await tried("small", upstream, user_id, Bench(folder, None, nothing_pinned))


async def test_what_a_program_answers_is_counted_to_a_bound(tmp_path: Path) -> None:
    found = await of_a_program(tmp_path)
    assert (found.error, found.tools, found.resources, found.prompts) == (None, 1, 1, None)
    assert await of_a_program(tmp_path, "endless") == replace(found, resources=MOST_PAGES)


async def test_a_folder_that_was_there_before_is_kept(tmp_path: Path) -> None:
    mine = tmp_path / "small" / TRIAL_USER / "mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert (await of_a_program(tmp_path)).error is None
    assert mine.exists()


async def test_an_answer_that_is_none_or_does_not_come_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await of_a_program(tmp_path, "odd") == Trial("small", error="it answered with what is no answer")
    assert await of_a_program(tmp_path, "refusing") == Trial("small", error="Method not found")
    monkeypatch.setattr(trial, "SECONDS_TO_LIST", 0.3)
    assert await of_a_program(tmp_path, "slow") == Trial("small", error="it gave no answer in time")


def test_of_an_answer_over_http_the_status_is_told_and_not_the_address() -> None:
    request = httpx2.Request("POST", "https://notes.example/mcp?key=hunter2hunter2")
    error = httpx2.HTTPStatusError(f"Client error for {request.url}", request=request, response=httpx2.Response(418))
    assert trial._sentence(error) == "it answered with HTTP 418"


def test_of_what_cannot_be_sent_nothing_is_told() -> None:
    error = httpx2.LocalProtocolError("Illegal header value b'Bearer hunter2'")
    assert trial._sentence(error) == "its address or a header for it, as configured, cannot be sent"


async def test_an_address_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    upstream = RemoteUpstream.model_validate({"url": "https://notes.example/\x7f"})
    found = await tried("notes", upstream, TRIAL_USER, Bench(tmp_path, None, nothing_pinned))
    assert found.error == "its address or a header for it, as configured, cannot be sent"
