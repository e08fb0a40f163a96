"""What is logged, and what never is."""

import logging
import sys

from starlette.requests import ClientDisconnect

from mcp_keys_server.auth.line_budget import LineBudget
from mcp_keys_server.core.api_key import redact

# They print payloads and parameters, and with them keys and hashes, at DEBUG.
PRINT_PAYLOADS = ("sse_starlette", "aiosqlite", "httpx2", "httpcore2", "asyncio")
# They print a line or more at INFO for every request, and uvicorn at WARNING for every odd one.
PRINT_REQUESTS = {"httpx2": logging.WARNING, "mcp": logging.WARNING, "uvicorn": logging.ERROR}
# What uvicorn says, as an error, of each response that was cut because its key ended; the guard has one line for all.
_CUT = "ASGI callable returned without completing response."

LONGEST_ENTRY = 16_000
"""Characters: of a traceback, too, that is enough."""


class RedactingFormatter(logging.Formatter):
    """Takes keys and key hashes out of the finished text: message, arguments and traceback alike, of every logger.

    What a terminal would take for a command is escaped, since some libraries print what they were sent, and an endless
    text is cut.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = redact(super().format(record))[:LONGEST_ENTRY]
        return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


class News(logging.Filter):
    """Leaves out what is none, and of the lines of the SDK those beyond its budget: it has one for each odd request of
    a good key, of which a user may send hundreds in a minute.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines_of_sdk = LineBudget(of="very many lines")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == _CUT or (record.exc_info and isinstance(record.exc_info[1], ClientDisconnect)):
            return False
        return not record.name.startswith("mcp.") or self._lines_of_sdk.take("logger=mcp")


def set_up_logging(level: str) -> None:
    """Log to standard error; standard output belongs to what commands print and to MCP."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(News())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in PRINT_PAYLOADS:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.root.level))
    for name, lowest in PRINT_REQUESTS.items():
        logging.getLogger(name).setLevel(max(lowest, logging.root.level))
