import logging
from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect

from mcp_keys_server.auth.line_budget import MOST_LINES
from mcp_keys_server.server.log_setup import PRINT_PAYLOADS, PRINT_REQUESTS, set_up_logging
from tests.mints import mint_of

KEY = mint_of(b"secret").mint().reveal()
HASH = "$2b$12$" + "abcdefghijklmnopqrstuv" + "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDE"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.root
    loggers = [logging.getLogger(name) for name in (*PRINT_PAYLOADS, *PRINT_REQUESTS)]
    before = [(logger, logger.level) for logger in (root, *loggers)]
    handlers = root.handlers[:]
    root.handlers = []
    yield
    root.handlers = handlers
    for logger, level in before:
        logger.setLevel(level)


def test_keys_and_hashes_are_taken_out_of_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug")
    logger = logging.getLogger("anything")
    logger.debug("a message with %s", KEY)
    logger.debug("parameters %r", {"hash": HASH, "header": f"Bearer {KEY}"})
    try:
        raise ValueError(KEY)
    except ValueError:
        logger.exception("a crash")
    logger.debug("a stack", stack_info=True)
    printed = capsys.readouterr()
    assert KEY[12:] not in printed.err
    assert HASH[8:] not in printed.err
    assert f"{KEY[:12]}[redacted]" in printed.err
    assert "ValueError" in printed.err
    assert printed.out == ""


def test_what_a_terminal_would_obey_is_escaped_and_what_never_ends_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    logging.getLogger("anything").info("Host: \x1b[31m\x9b31m\rforged %s", "x" * 1_000_000)
    printed = capsys.readouterr().err
    assert r"\x1b[31m\x9b31m\rforged" in printed
    assert len(printed) < 20_000


def test_libraries_that_print_payloads_are_held_back_even_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug")
    for name in ("sse_starlette", "aiosqlite", "httpx2", "httpcore2", "asyncio"):
        logging.getLogger(f"{name}.inner").debug("payload")
    for name in ("mcp", "uvicorn"):
        logging.getLogger(f"{name}.inner").info("request")
    assert capsys.readouterr().err == ""


def test_a_higher_level_holds_for_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("error")
    for name in (*PRINT_PAYLOADS, *PRINT_REQUESTS, "mcp_keys_server"):
        logging.getLogger(name).warning("a warning")
    assert capsys.readouterr().err == ""


def test_what_uvicorn_says_of_each_response_that_was_cut_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug")
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
    assert capsys.readouterr().err == ""
    logging.getLogger("uvicorn.error").error("ASGI callable returned without starting response.")
    assert "without starting" in capsys.readouterr().err


def test_who_goes_away_amid_a_request_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    for error in (ClientDisconnect(), RuntimeError("a crash")):
        try:
            raise error
        except Exception:
            logging.getLogger("mcp.server.streamable_http").exception("Error handling POST request")
    printed = capsys.readouterr().err
    assert "ClientDisconnect" not in printed
    assert printed.count("Error handling POST request") == printed.count("RuntimeError: a crash") == 1


def test_of_what_the_sdk_says_there_are_so_many_lines_in_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    for number in range(MOST_LINES + 10):
        logging.getLogger("mcp.server.lowlevel").warning("odd request %d", number)
        logging.getLogger("mcp_keys_server.auth.guard").info("line %d", number)
    printed = capsys.readouterr().err
    assert printed.count("odd request") == MOST_LINES
    assert printed.count("refused: very many lines logger=mcp; those of the next") == 1
    assert printed.count("guard line") == MOST_LINES + 10
