"""What the browser tests need and a machine may lack. Nothing of it is imported here, so that this can be asked."""

import os
import shutil
from importlib.util import find_spec

CHROMIUM = "MCP_KEYS_TEST_CHROMIUM"
HOW_TO_GET_IT = f"install Chromium (.ci/install-chromium) or name one in {CHROMIUM}; the extra 'test' has playwright"


def chromium() -> str | None:
    """The path of the program: the one that the environment names, else Debian's."""
    return os.getenv(CHROMIUM) or shutil.which("chromium")


def all_there() -> bool:
    return bool(chromium()) and find_spec("playwright") is not None
