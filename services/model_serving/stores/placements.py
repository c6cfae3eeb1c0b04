"""Deployments and placements in Postgres."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

import asyncpg

from libs.errors import AlreadyExists, NotFound
from libs.paging import Page
from libs.postgres import Connection, Database
from services.model_serving.domain.catalogue import Deployed
from services.model_serving.domain.deployment import Deployment, Wanted
from services.model_serving.domain.reconcile import Change
from services.model_serving.domain.signature import Signature
from services.model_serving.stores import rows
from services.model_serving.stores.servers import drop_empty

MOVE = """
UPDATE placement SET state = $6, message = $7, update_time = $8, attempts = $9, retry_time = $10
WHERE model = $1 AND version = $2 AND server = $3 AND state = $4 AND update_time = $5
AND (NOT $11 OR EXISTS (SELECT FROM placement other WHERE other.model = $1 AND other.version = $2
                        AND other.server <> $3 AND other.state = 'ready')) RETURNING true
"""
FORGET = """
DELETE FROM placement
WHERE model = $1 AND version = $2 AND server = $3 AND state = $4 AND update_time = $5 RETURNING true
"""


class DeploymentStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_deployment(self, model: str, version: str, servers: Sequence[str], now: datetime) -> Deployment:
        """No servers means all of them."""
        async with self._database.transaction() as connection:
            await _require_version(connection, model, version)
            chosen = await _chosen(connection, servers)
            created = await connection.fetchval(
                "INSERT INTO deployment (model, version, create_time) VALUES ($1, $2, $3)"
                " ON CONFLICT DO NOTHING RETURNING true",
                model,
                rows.number(version),
                now,
            )
            if not created:
                raise _exists(await self.get_deployment(model, version))
            await connection.execute(
                "INSERT INTO placement (model, version, server, state, update_time)"
                " SELECT $1, $2, unnest($3::text[]), 'pending', $4",
                model,
                rows.number(version),
                chosen,
                now,
            )
            await self._database.notify(rows.CHANGED)
            return await self.get_deployment(model, version)

    async def get_deployment(self, model: str, version: str) -> Deployment:
        async with self._database.connection() as connection:
            found = await connection.fetch(
                "SELECT * FROM placed WHERE model = $1 AND version = $2 ORDER BY server", model, rows.number(version)
            )
        if not found:
            message = f"version {version!r} of model {model!r} is not deployed"
            raise NotFound("DEPLOYMENT_NOT_FOUND", message, model=model, version=version)
        return _deployments(found)[0]

    async def list_deployments(self, model: str, page: Page) -> tuple[Sequence[Deployment], str]:
        """An empty model means all."""
        after_model, after_version = page.after or ("", "0")
        async with self._database.connection() as connection:
            found = await connection.fetch(
                "SELECT * FROM placed WHERE (model, version) IN"
                " (SELECT model, version FROM deployment WHERE ($1 = '' OR model = $1) AND (model, version) > ($2, $3)"
                " ORDER BY model, version LIMIT $4) ORDER BY model, version, server",
                model,
                after_model,
                rows.number(after_version),
                page.lookahead,
            )
        return page.split(_deployments(found), lambda d: (d.model, d.version))

    async def delete_deployment(self, model: str, version: str, now: datetime) -> Deployment:
        """As it stands then: DELETING. Deleting it again changes nothing."""
        async with self._database.transaction() as connection:
            key = model, rows.number(version)
            await connection.execute("UPDATE deployment SET deleting = true WHERE model = $1 AND version = $2", *key)
            await connection.execute(
                "UPDATE placement SET state = 'unloading', message = '', update_time = $3, attempts = 0,"
                " retry_time = NULL WHERE model = $1 AND version = $2 AND state <> 'unloading'",
                *key,
                now,
            )
            await self._database.notify(rows.CHANGED)
            return await self.get_deployment(model, version)

    async def deployed(self) -> Deployed:
        """Everything that callers of models need to know, at one moment."""
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            placed = await connection.fetch("SELECT * FROM placed ORDER BY model, version, server")
            versions = await connection.fetch(
                "SELECT mv.* FROM model_version mv JOIN deployment USING (model, version)"
            )
            servers = await connection.fetch("SELECT * FROM server ORDER BY name")
        return Deployed(
            tuple(_deployments(placed)), tuple(map(rows.version, versions)), tuple(map(rows.server, servers))
        )

    async def wanted(self, server: str) -> Sequence[Wanted]:
        async with self._database.connection() as connection:
            found = await connection.fetch("SELECT * FROM wanted WHERE server = $1 ORDER BY model, version", server)
        return [Wanted(rows.version(row), rows.placement(row)) for row in found]

    async def move(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Together. Those that were made: the others' placements are no longer what they were before, or the last."""
        async with self._database.transaction() as connection:
            # two servers that take a deployment's last placements away must see each other do it
            for model, version in sorted({c.key for c in changes if c.after is None or c.unless_last}):
                key = model, rows.number(version)
                await connection.execute("SELECT FROM deployment WHERE model = $1 AND version = $2 FOR UPDATE", *key)
            moved = [change for change in changes if await _moved(connection, change)]
            await drop_empty(connection)
            if moved:
                await self._database.notify(rows.CHANGED)
        return moved

    async def learn(self, model: str, version: str, signature: Signature, max_batch_size: int) -> None:
        """Fill in what an external version was registered without; what it has stays."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "UPDATE model_version SET revision = revision + 1, max_batch_size = coalesce(max_batch_size, $4),"
                " signature = CASE WHEN signature = $5::jsonb THEN $3::jsonb ELSE signature END"
                " WHERE model = $1 AND version = $2 AND (max_batch_size IS NULL OR signature = $5::jsonb)",
                model,
                rows.number(version),
                rows.stored(signature),
                max_batch_size,
                rows.stored(Signature()),
            )
            await self._database.notify(rows.CHANGED)


def _deployments(found: Iterable[asyncpg.Record]) -> list[Deployment]:
    """Of rows in the order of their deployments."""
    made: list[Deployment] = []
    for (model, version), group in groupby(found, key=lambda row: (row["model"], row["version"])):
        those = list(group)
        placements = tuple(map(rows.placement, those))
        made.append(Deployment(model, str(version), those[0]["deleting"], those[0]["create_time"], placements))
    return made


async def _moved(connection: Connection, change: Change) -> bool:
    model, version = change.key
    before, after = change.before, change.after
    key = model, rows.number(version), before.server, before.state.value, before.update_time
    if after is None:
        return bool(await connection.fetchval(FORGET, *key))
    message = after.message.replace("\0", "")
    entered = after.state.value, message, after.update_time, after.attempts, after.retry_time
    return bool(await connection.fetchval(MOVE, *key, *entered, change.unless_last))


async def _require_version(connection: Connection, model: str, version: str) -> None:
    number = rows.number(version)
    if not await connection.fetchval("SELECT true FROM model_version WHERE model = $1 AND version = $2", model, number):
        message = f"model {model!r} has no version {version!r}"
        raise NotFound("MODEL_VERSION_NOT_FOUND", message, model=model, version=version)


async def _chosen(connection: Connection, servers: Sequence[str]) -> list[str]:
    known = [row["name"] for row in await connection.fetch("SELECT name FROM server ORDER BY name FOR KEY SHARE")]
    unknown = sorted(set(servers) - set(known))
    if unknown or not known:
        message = f"no server is named {', '.join(unknown)}" if unknown else "no server is registered"
        raise NotFound("SERVER_NOT_FOUND", f"{message}; servers: {', '.join(known) or 'none'}")
    return sorted(servers) if servers else known


def _exists(deployment: Deployment) -> AlreadyExists:
    named = f"version {deployment.version} of model {deployment.model!r}"
    message = f"{named} is deployed already"
    if deployment.deleting:
        left = ", ".join(placement.server for placement in deployment.placements)
        message = f"{named} is still being taken off {left}: try again when it is gone"
    return AlreadyExists("DEPLOYMENT_EXISTS", message, model=deployment.model, version=deployment.version)
