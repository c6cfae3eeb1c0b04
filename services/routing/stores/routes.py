"""Routes in Postgres. Each write is announced to every replica when it commits."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from libs.errors import PASSING, AlreadyExists, Conflict, NotFound
from libs.postgres import Connection, Database
from services.routing.domain.policy import Limits, LoadBalancing, Mirror, ModelVersion, Retries, Route
from services.routing.domain.rollback import Plan
from services.routing.domain.routes import StoredRoute

log = logging.getLogger(__name__)

CHANNEL = "route"
AGAIN_SECONDS = 0.5
EVERY_ROUTE = ""
"""What is notified when anything may have changed; no model has this name."""
INSERT = """
INSERT INTO route (model, default_version, fallback_versions, load_balancing, timeout_seconds, per_try_timeout_seconds,
    max_retries, etag, create_time, update_time, mirror_version, mirror_basis_points,
    max_calls, max_waiting, retry_back_off_seconds, max_message_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING RETURNING true
"""
UPDATE = """
UPDATE route SET default_version = $2, fallback_versions = $3, load_balancing = $4, timeout_seconds = $5,
    per_try_timeout_seconds = $6, max_retries = $7, etag = $8, create_time = $9, update_time = $10,
    mirror_version = $11, mirror_basis_points = $12, max_calls = $13, max_waiting = $14,
    retry_back_off_seconds = $15, max_message_bytes = $16
WHERE model = $1
"""


class PostgresRoutes:
    """Make it before the database's `keep_open` runs: it listens for other replicas' writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        self._stale: set[str] = set()
        database.on_notification(CHANNEL, self._hear)

    async def create(self, route: Route, now: datetime) -> StoredRoute:
        stored = StoredRoute(route, _new_etag(), now, now)
        async with self._database.transaction() as connection:
            if not await connection.fetchval(INSERT, *_values(stored)):
                raise AlreadyExists("ROUTE_EXISTS", f"model {route.model!r} has a route already", model=route.model)
            await self._database.notify(CHANNEL, route.model)
        return stored

    async def get(self, model: str) -> StoredRoute:
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM route WHERE model = $1", model)
        return _found(row, model)

    async def list(self, after: str, most: int) -> Sequence[StoredRoute]:
        query = "SELECT * FROM route WHERE model > $1 ORDER BY model LIMIT $2"
        async with self._database.connection() as connection:
            return [_stored(row) for row in await connection.fetch(query, after, most)]

    async def change(self, model: str, etag: str, now: datetime, change: Callable[[Route], Route]) -> StoredRoute:
        async with self._database.transaction() as connection:
            current = await _locked(connection, model, etag)
            stored = StoredRoute(change(current.route), _new_etag(), current.create_time, now)
            await connection.execute(UPDATE, *_values(stored))
            await self._database.notify(CHANNEL, model)
        return stored

    async def delete(self, model: str, etag: str) -> None:
        async with self._database.transaction() as connection:
            await _locked(connection, model, etag)
            await connection.execute("DELETE FROM route WHERE model = $1", model)
            await self._database.notify(CHANNEL, model)

    async def restore(self, now: datetime, plan: Callable[[Sequence[Route]], Plan]) -> Plan:
        async with self._database.transaction() as connection:
            # nobody may write between the plan and its writes, nor hold a row (FOR UPDATE) that they need and wait for
            # this lock himself; readers go on
            await connection.execute("LOCK TABLE route IN EXCLUSIVE MODE")
            current = {row["model"]: _stored(row) for row in await connection.fetch("SELECT * FROM route")}
            planned = plan([stored.route for stored in current.values()])
            written = [
                StoredRoute(
                    route, _new_etag(), current[route.model].create_time if route.model in current else now, now
                )
                for route in planned.puts
            ]
            fresh = [_values(stored) for stored in written if stored.route.model not in current]
            changed = [_values(stored) for stored in written if stored.route.model in current]
            await connection.executemany(INSERT, fresh)
            await connection.executemany(UPDATE, changed)
            await connection.execute("DELETE FROM route WHERE model = ANY($1::text[])", list(planned.deletes))
            if written or planned.deletes:
                await self._database.notify(CHANNEL, EVERY_ROUTE)
        return planned

    async def watch(self) -> AsyncIterator[tuple[Route, ...]]:
        """The first snapshot comes once Postgres can be reached. Afterwards only the routes that were written are read
        again: at 10,000 all of them would take longer than to compile them."""
        known: dict[str, Route] | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            stale, self._stale = self._stale, set()
            try:
                if known is None or EVERY_ROUTE in stale:
                    known = {route.model: route for route in await self.all()}
                else:
                    found = {route.model: route for route in await self._some(stale)}
                    known = {model: route for model, route in known.items() if model not in stale} | found
            except PASSING as error:
                log.warning("routes were not read, the last ones stay in force: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
                self._stale |= stale
                self._changed.set()
                continue
            yield tuple(known[model] for model in sorted(known))

    def _hear(self, model: str) -> None:
        self._stale.add(model)
        self._changed.set()

    async def _some(self, models: Iterable[str]) -> tuple[Route, ...]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM route WHERE model = ANY($1::text[])", list(models))
        return tuple(_stored(row).route for row in rows)

    async def all(self) -> tuple[Route, ...]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM route ORDER BY model")
        return tuple(_stored(row).route for row in rows)


async def _locked(connection: Connection, model: str, etag: str) -> StoredRoute:
    row = await connection.fetchrow("SELECT * FROM route WHERE model = $1 FOR UPDATE", model)
    stored = _found(row, model)
    if etag and etag != stored.etag:
        message = f"the route of {model!r} was changed since etag {etag!r}; read it again"
        raise Conflict("ETAG_MISMATCH", message, etag=stored.etag)
    return stored


def _new_etag() -> str:
    return secrets.token_hex(8)


def _found(row: Any, model: str) -> StoredRoute:
    if row is None:
        raise NotFound("ROUTE_NOT_FOUND", f"model {model!r} has no route", model=model)
    return _stored(row)


def _stored(row: Any) -> StoredRoute:
    route = Route(
        model=row["model"],
        default_version=row["default_version"],
        fallbacks=tuple(ModelVersion(row["model"], version) for version in row["fallback_versions"]),
        load_balancing=LoadBalancing(row["load_balancing"]),
        timeout=row["timeout_seconds"],
        retries=Retries(row["max_retries"], row["per_try_timeout_seconds"], row["retry_back_off_seconds"]),
        mirror=Mirror(row["mirror_version"], row["mirror_basis_points"]) if row["mirror_version"] else None,
        limits=Limits(row["max_calls"], row["max_waiting"], row["max_message_bytes"]),
    )
    return StoredRoute(route, row["etag"], row["create_time"], row["update_time"])


def _values(stored: StoredRoute) -> tuple[Any, ...]:
    route = stored.route
    return (
        route.model,
        route.default_version,
        [target.version for target in route.fallbacks],
        route.load_balancing.value,
        route.timeout,
        route.retries.per_try_timeout,
        route.retries.attempts,
        stored.etag,
        stored.create_time,
        stored.update_time,
        route.mirror.version if route.mirror else None,
        route.mirror.basis_points if route.mirror else None,
        route.limits.max_calls,
        route.limits.max_waiting,
        route.retries.back_off,
        route.limits.max_message_bytes,
    )
