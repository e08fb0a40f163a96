"""The README's question about a key, as a shell asks it."""

import json
import shutil
import subprocess

import pytest

from tests.embedding.conftest import Keys
from tests.embedding.readme_examples import example
from tests.running_server import running_server

pytestmark = pytest.mark.anyio


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_a_shell_learns_what_a_key_is_worth(keys: Keys) -> None:
    _, asker = await keys.key("bob", scopes=("keys:introspect",))
    record, key = await keys.key()

    def ask(base_url: str) -> dict[str, object]:
        changes = {"https://keys.example.com": base_url, "YOUR_INTROSPECTION_KEY": asker, "YOUR_KEY": key}
        command = example("introspection", changes)
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
        said: dict[str, object] = json.loads(done.stdout)
        return said

    with running_server(keys.database) as server:
        said = ask(server.base_url)
        assert said["active"] is True
        assert (said["sub"], said["client_id"], said["scope"], said["aud"]) == (
            "ada",
            record.key_id,
            "orders:read",
            ["orders"],
        )
        await keys.ring.administration.revoke_key(record.key_id, reason=None)
        assert ask(server.base_url) == {"active": False}
