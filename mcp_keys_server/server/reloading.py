"""SIGHUP: the configuration file read again, and what stands behind the aliases taken over from it."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mcp_keys_server.server.gateway.gateway import Gateway, Upstreams
from mcp_keys_server.server.workers import check_workers
from mcp_keys_server.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


@contextmanager
def reloading(gateway: Gateway, settings: Settings, read: Callable[[], Settings] | None) -> Iterator[None]:
    """Within it, SIGHUP makes the gateway what the settings say now; None: they are in no file that could change.

    Afterwards the signal does nothing any more: a server that is about to end shall end in order.
    """
    loop = asyncio.get_running_loop()
    reload = _Reload(gateway, settings, read)
    signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(reload))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Reload:
    def __init__(self, gateway: Gateway, settings: Settings, read: Callable[[], Settings] | None) -> None:
        self._gateway = gateway
        self._settings = settings
        self._read = read
        self._upstreams: Upstreams = settings.upstreams

    def __call__(self) -> None:
        if self._read is None:
            logger.info(
                "SIGHUP: there is nothing to reload; start with --config FILE to have upstreams that can change"
            )
            return
        try:
            new = self._read()
            check_workers(self._settings.workers, new.upstreams)
        except SettingsError as error:
            logger.error("SIGHUP: nothing was taken over: %s", error)  # noqa: TRY400 - a sentence is enough
            return
        self._gateway.reconfigure(new.upstreams)
        _tell(self._upstreams, new.upstreams)
        self._upstreams = new.upstreams
        others = [
            name
            for name in Settings.model_fields
            if name != "upstreams" and getattr(new, name) != getattr(self._settings, name)
        ]
        if others:
            logger.warning("SIGHUP: restart to take over: %s", ", ".join(others))


def _tell(before: Upstreams, after: Upstreams) -> None:
    """Which aliases are affected; nothing of what stands there, which may be a secret."""
    both = before.keys() & after.keys()
    logger.info(
        "SIGHUP: upstreams that came: %s; went: %s; changed: %s",
        _listed(after.keys() - both),
        _listed(before.keys() - both),
        _listed({alias for alias in both if before[alias] != after[alias]}),
    )


def _listed(aliases: set[str]) -> str:
    return ", ".join(sorted(aliases)) or "none"
