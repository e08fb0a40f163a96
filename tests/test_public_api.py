import subprocess
import sys
from pathlib import Path

import mcp_keys_server

PACKAGE = Path(mcp_keys_server.__file__).parent


def test_the_public_names_are_these() -> None:
    assert mcp_keys_server.__all__ == [
        "ApiKey",
        "Grant",
        "InvalidApiKeyError",
        "InvalidFieldError",
        "KeyManager",
        "KeyNotFoundError",
        "KeyRecord",
        "KeyRing",
        "KeyStatus",
        "KeyVerifier",
        "McpKeysError",
        "NotPermittedError",
        "Principal",
        "Refusal",
        "RequestedGrant",
        "StoreUnavailableError",
        "TooBusyError",
        "UnusableDatabaseError",
        "UserExistsError",
        "UserNotFoundError",
        "UserRecord",
        "open_key_ring",
    ]
    for name in mcp_keys_server.__all__:
        assert getattr(mcp_keys_server, name).__doc__


def test_importing_the_package_is_light() -> None:
    heavy = {"mcp", "mcp_types", "pydantic", "starlette", "uvicorn", "click"}
    code = f"import sys, mcp_keys_server; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_modules_are_small() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 250} == {}
