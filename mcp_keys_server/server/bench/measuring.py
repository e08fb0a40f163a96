"""All that is measured, one thing after the other."""

from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.server.bench.bcrypt_costs import measure_costs
from mcp_keys_server.server.bench.findings import Findings
from mcp_keys_server.server.bench.looked_up import looked_up
from mcp_keys_server.server.bench.progress import Tell, part_of
from mcp_keys_server.server.bench.served_calls import measure_calls
from mcp_keys_server.server.bench.throw_away import throw_away
from mcp_keys_server.server.bench.warm_verification import measure_verification
from mcp_keys_server.settings import Settings

USERS = 16
"""Who call at once."""
_OF_BCRYPT, _OF_VERIFICATION = 0.4, 0.1
"""Shares of the time; the rest is that of requests."""


async def measure(store: KeyStore, settings: Settings, seconds: float, tell: Tell) -> Findings:
    """Measure for about so long. The store is only read.

    Raises:
        UnusableDatabaseError: There is no place for a database to throw away.
        StoreUnavailableError: The store does not answer.
        LoadError, PortTakenError: There can be no server or no client on this machine.
    """
    there = await looked_up(store)
    async with throw_away(USERS) as other:
        costs = await measure_costs(settings.bcrypt_cost, seconds * _OF_BCRYPT, part_of(tell, 0, _OF_BCRYPT))
        tell(_OF_BCRYPT, "verification")
        verification = await measure_verification(there, other, seconds * _OF_VERIFICATION)
        before = _OF_BCRYPT + _OF_VERIFICATION
        of_calls = part_of(tell, before, 1)
        calls = await measure_calls(there, other, settings, seconds=seconds * (1 - before), tell=of_calls)
    return Findings(costs, verification, USERS, calls)
