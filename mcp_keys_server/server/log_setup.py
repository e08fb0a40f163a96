"""What is logged, and what never is."""

import logging
import sys

from mcp_keys_server.core.api_key import redact

# They print payloads and parameters, and with them keys and hashes, at DEBUG.
PRINT_PAYLOADS = ("sse_starlette", "aiosqlite", "httpx2", "httpcore2", "asyncio")
# They print a line or more for every request at INFO.
PRINT_REQUESTS = ("mcp", "uvicorn")


class RedactingFormatter(logging.Formatter):
    """Takes keys and key hashes out of the finished text: message, arguments and traceback alike, of every logger."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up_logging(level: str) -> None:
    """Log to standard error; standard output belongs to what commands print and to MCP."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in PRINT_PAYLOADS:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.root.level))
    for name in PRINT_REQUESTS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.root.level))
