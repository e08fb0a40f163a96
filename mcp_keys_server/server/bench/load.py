"""The load generator, run beside the server that it keeps busy."""

import asyncio
import json
import subprocess
import sys

from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.bench import load_generator
from mcp_keys_server.server.bench.load_generator import Job, Outcome


class LoadError(McpKeysError):
    """The server could not be measured; the message says why."""


async def run_load(job: Job) -> Outcome:
    """
    Raises:
        LoadError: It cannot be run, or was not answered as expected.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # so that nothing of the folder in which an operator happens to be is imported
            load_generator.__file__,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl+C is this program's business alone
        )
    except OSError as error:
        raise LoadError(f"the client to measure with cannot be started: {error.strerror}") from None
    try:
        printed, _ = await process.communicate(json.dumps(job).encode("ascii"))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise LoadError(f"the client to measure with ended with code {process.returncode}")
    outcome: Outcome = json.loads(printed)
    if "failure" in outcome:
        raise LoadError(f"the server did not answer as it should: {outcome['failure']}")
    return outcome
