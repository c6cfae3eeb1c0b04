"""Keys in Postgres, as hashes. Each write is announced to every replica when it commits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from libs.errors import NotFound, Precondition
from libs.postgres import Connection, Database
from services.routing.domain.keys import ADMIN, StoredKey
from services.routing.domain.policy import ApiKey
from services.routing.stores.rereading import reread

CHANNEL = "api_key"
INSERT = """
INSERT INTO api_key (id, sha256, tenant, principal, roles, description, creator, create_time, revoker, revoke_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
LIST = "SELECT * FROM api_key WHERE ($1 = '' OR tenant = $1) AND id > $2 ORDER BY id LIMIT $3"
OTHER_ADMIN = "SELECT EXISTS (SELECT FROM api_key WHERE id <> $1 AND revoke_time IS NULL AND $2 = ANY(roles))"
# of two that look whether there is another key, each would see the state before both; readers go on
ALONE = "LOCK TABLE api_key IN SHARE ROW EXCLUSIVE MODE"


class PostgresKeys:
    """Make it before the database's `keep_open` runs: it listens for other replicas' writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        database.on_notification(CHANNEL, lambda _: self._changed.set())

    async def create(self, stored: StoredKey) -> None:
        async with self._database.transaction() as connection:
            await self._insert(connection, stored)

    async def create_first(self, stored: StoredKey, keep: Callable[[], None]) -> bool:
        async with self._database.transaction() as connection:
            await connection.execute(ALONE)
            if await connection.fetchval("SELECT EXISTS (SELECT FROM api_key)"):
                return False
            await self._insert(connection, stored)
            keep()
        return True

    async def get(self, key_id: str) -> StoredKey:
        async with self._database.connection() as connection:
            return await _found(connection, key_id)

    async def list(self, tenant: str, after: str, most: int) -> Sequence[StoredKey]:
        async with self._database.connection() as connection:
            return [_stored(row) for row in await connection.fetch(LIST, tenant, after, most)]

    async def revoke(self, key_id: str, revoker: str, now: datetime) -> StoredKey:
        async with self._database.transaction() as connection:
            await connection.execute(ALONE)
            stored = await _found(connection, key_id)
            if stored.revoke_time is not None:
                return stored
            if ADMIN in stored.key.roles and not await connection.fetchval(OTHER_ADMIN, key_id, ADMIN):
                message = f"key {key_id!r} is the last one with the role {ADMIN}: nobody could make another"
                raise Precondition("LAST_ADMIN_KEY", message, id=key_id)
            query = "UPDATE api_key SET revoker = $2, revoke_time = $3 WHERE id = $1"
            await connection.execute(query, key_id, revoker, now)
            await self._database.notify(CHANNEL)
        return replace(stored, revoker=revoker, revoke_time=now)

    def watch(self) -> AsyncIterator[tuple[ApiKey, ...]]:
        return reread("API keys", self._changed, self._live)

    async def _insert(self, connection: Connection, stored: StoredKey) -> None:
        await connection.execute(INSERT, *_values(stored))
        await self._database.notify(CHANNEL)

    async def _live(self) -> tuple[ApiKey, ...]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM api_key WHERE revoke_time IS NULL ORDER BY id")
        return tuple(_stored(row).key for row in rows)


async def _found(connection: Connection, key_id: str) -> StoredKey:
    row = await connection.fetchrow("SELECT * FROM api_key WHERE id = $1", key_id)
    if row is None:
        raise NotFound("API_KEY_NOT_FOUND", f"there is no key {key_id!r}", id=key_id)
    return _stored(row)


def _stored(row: Any) -> StoredKey:
    return StoredKey(
        key=ApiKey(
            id=row["id"],
            sha256=row["sha256"],
            tenant=row["tenant"],
            principal=row["principal"],
            roles=tuple(row["roles"]),
        ),
        description=row["description"],
        creator=row["creator"],
        create_time=row["create_time"],
        revoker=row["revoker"],
        revoke_time=row["revoke_time"],
    )


def _values(stored: StoredKey) -> tuple[Any, ...]:
    key = stored.key
    return (
        key.id,
        key.sha256,
        key.tenant,
        key.principal,
        list(key.roles),
        stored.description,
        stored.creator,
        stored.create_time,
        stored.revoker,
        stored.revoke_time,
    )
