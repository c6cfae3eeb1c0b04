"""Rate limits in Postgres. Each write is announced to every replica when it commits."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any

from libs.errors import AlreadyExists, Conflict, NotFound
from libs.postgres import Connection, Database
from services.routing.domain.limits import StoredLimit, require_room
from services.routing.domain.policy import RateLimit, Scope
from services.routing.stores.rereading import reread

CHANNEL = "rate_limit"
INSERT = """
INSERT INTO rate_limit (name, tenant, scope, requests_per_second, burst, shadow, etag, create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING true
"""
UPDATE = """
UPDATE rate_limit SET tenant = $2, scope = $3, requests_per_second = $4, burst = $5, shadow = $6, etag = $7,
    create_time = $8, update_time = $9
WHERE name = $1
"""
# of two that count, each would count the state before both
ALONE = "SELECT pg_advisory_xact_lock(hashtext('routing.rate_limit'))"
MET = """
SELECT coalesce(sum(count) FILTER (WHERE tenant = ''), 0) + coalesce(max(count) FILTER (WHERE tenant <> ''), 0)
FROM (SELECT tenant, count(*) FROM rate_limit WHERE $1 = '' OR tenant IN ('', $1) GROUP BY tenant) AS counted
"""
LIST = "SELECT * FROM rate_limit WHERE ($1 = '' OR tenant = $1) AND name > $2 ORDER BY name LIMIT $3"


class PostgresLimits:
    """Make it before the database's `keep_open` runs: it listens for other replicas' writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        database.on_notification(CHANNEL, lambda _: self._changed.set())

    async def create(self, limit: RateLimit, now: datetime) -> StoredLimit:
        stored = StoredLimit(limit, _new_etag(), now, now)
        async with self._database.transaction() as connection:
            await connection.execute(ALONE)
            if not await connection.fetchval(INSERT, *_values(stored)):
                raise AlreadyExists("RATE_LIMIT_EXISTS", f"there is a limit {limit.name!r} already", name=limit.name)
            require_room(limit.tenant, await connection.fetchval(MET, limit.tenant))
            await self._database.notify(CHANNEL)
        return stored

    async def get(self, name: str) -> StoredLimit:
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM rate_limit WHERE name = $1", name)
        return _found(row, name)

    async def list(self, tenant: str, after: str, most: int) -> Sequence[StoredLimit]:
        async with self._database.connection() as connection:
            return [_stored(row) for row in await connection.fetch(LIST, tenant, after, most)]

    async def change(
        self, name: str, etag: str, now: datetime, change: Callable[[RateLimit], RateLimit]
    ) -> StoredLimit:
        async with self._database.transaction() as connection:
            current = await _locked(connection, name, etag)
            stored = StoredLimit(change(current.limit), _new_etag(), current.create_time, now)
            await connection.execute(UPDATE, *_values(stored))
            await self._database.notify(CHANNEL)
        return stored

    async def delete(self, name: str, etag: str) -> None:
        async with self._database.transaction() as connection:
            await _locked(connection, name, etag)
            await connection.execute("DELETE FROM rate_limit WHERE name = $1", name)
            await self._database.notify(CHANNEL)

    def watch(self) -> AsyncIterator[tuple[RateLimit, ...]]:
        return reread("rate limits", self._changed, self._all)

    async def _all(self) -> tuple[RateLimit, ...]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM rate_limit ORDER BY name")
        return tuple(_stored(row).limit for row in rows)


async def _locked(connection: Connection, name: str, etag: str) -> StoredLimit:
    row = await connection.fetchrow("SELECT * FROM rate_limit WHERE name = $1 FOR UPDATE", name)
    stored = _found(row, name)
    if etag and etag != stored.etag:
        message = f"limit {name!r} was changed since etag {etag!r}; read it again"
        raise Conflict("ETAG_MISMATCH", message, etag=stored.etag)
    return stored


def _new_etag() -> str:
    return secrets.token_hex(8)


def _found(row: Any, name: str) -> StoredLimit:
    if row is None:
        raise NotFound("RATE_LIMIT_NOT_FOUND", f"there is no limit {name!r}", name=name)
    return _stored(row)


def _stored(row: Any) -> StoredLimit:
    limit = RateLimit(
        name=row["name"],
        tenant=row["tenant"],
        scope=Scope(row["scope"]),
        requests_per_second=row["requests_per_second"],
        burst=row["burst"],
        shadow=row["shadow"],
    )
    return StoredLimit(limit, row["etag"], row["create_time"], row["update_time"])


def _values(stored: StoredLimit) -> tuple[Any, ...]:
    limit = stored.limit
    return (
        limit.name,
        limit.tenant,
        limit.scope.value,
        limit.requests_per_second,
        limit.burst,
        limit.shadow,
        stored.etag,
        stored.create_time,
        stored.update_time,
    )
