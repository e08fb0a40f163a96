"""Counters as the databases give them."""

from collections.abc import Iterable, Mapping

from mcp_keys_server.core.counters import Count
from mcp_keys_server.stores.sql.database import Row


def sums_of_present_windows(rows: Iterable[Row], counts: Mapping[str, Count]) -> Mapping[str, int]:
    """Of rows of name, end and sum, those of the windows that these counts are of.

    Others are there of processes whose clocks are a little behind or ahead.
    """
    return {name: int(total) for name, ends_at, total in rows if counts[name].ends_at == ends_at}
