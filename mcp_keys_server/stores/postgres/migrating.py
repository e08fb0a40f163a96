"""The tables in PostgreSQL made and changed by their owner, and what another role that only serves may do with them."""

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.stores.postgres import schema as postgres_schema
from mcp_keys_server.stores.postgres.connecting import Connection, refusal_explained
from mcp_keys_server.stores.postgres.tables import connection_to
from mcp_keys_server.stores.postgres.url import PostgresUrl

# Entries of the ledger are added and never changed, users and keys never removed: the role could not if it wanted to.
_GRANTS = """
SELECT format(statement, $1::text, $2::text)
FROM unnest(ARRAY[
    'REVOKE ALL ON ALL TABLES IN SCHEMA %1$I FROM %2$I',
    'REVOKE ALL ON SCHEMA %1$I FROM %2$I',
    'GRANT USAGE ON SCHEMA %1$I TO %2$I',
    'GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO %2$I',
    'GRANT INSERT, UPDATE ON %1$I.meta, %1$I.users, %1$I.keys, %1$I.claims TO %2$I',
    'GRANT INSERT, UPDATE, DELETE ON %1$I.secrets, %1$I.sessions, %1$I.counters TO %2$I',
    'GRANT INSERT, DELETE ON %1$I.tool_pins TO %2$I',
    'GRANT INSERT ON %1$I.events TO %2$I'
]) AS statement
"""
_IS_POWERFUL = """
SELECT rolsuper OR pg_has_role(rolname, current_user, 'MEMBER') FROM pg_roles WHERE rolname = $1
"""


async def migrate(url: PostgresUrl, *, create: bool, grant_to: str | None) -> None:
    """
    Raises:
        UnusableDatabaseError: It cannot be done; the message says what to do.
    """
    async with connection_to(url) as connection:
        with refusal_explained(url):
            await postgres_schema.prepare(connection, url, create=create)
            if grant_to is not None:
                await _grant(connection, url, grant_to)


async def _grant(connection: Connection, url: PostgresUrl, role: str) -> None:
    is_powerful = await connection.fetchval(_IS_POWERFUL, role)
    if is_powerful is None:
        raise UnusableDatabaseError("--grant-to: there is no such role; make it with CREATE ROLE NAME LOGIN")
    if is_powerful:
        raise UnusableDatabaseError(
            "--grant-to: this role is a superuser or the owner of the tables, and may do everything already; name one "
            "that is not"
        )
    statements = await connection.fetch(_GRANTS, url.schema, role)
    async with connection.transaction():
        for (statement,) in statements:
            await connection.execute(statement)
