"""Servers in Postgres, and which replica is in charge of them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from libs.errors import AlreadyExists, NotFound, Precondition
from libs.paging import Page
from libs.postgres import Connection, Database
from services.model_serving.domain.deployment import Server
from services.model_serving.stores import rows

# the session lock of the one replica whose loops act on servers
LEADER_LOCK = "penstock:model_serving:control"
HELD_EVERY_SECONDS = 1.0


class ServerStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_server(self, server: Server) -> Server:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "INSERT INTO server (name, address, repository_path, metrics_address) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT DO NOTHING RETURNING *",
                server.name,
                server.address,
                server.repository_path,
                server.metrics_address,
            )
            if row is None:
                raise await _taken(connection, server)
            await self._database.notify(rows.CHANGED)
        return rows.server(row)

    async def seed(self, addresses: Mapping[str, str], metrics: Mapping[str, str]) -> None:
        """Have these servers, at these addresses: configuration wins over what was stored of them."""
        async with self._database.transaction() as connection:
            for name, address in addresses.items():
                # two servers may have exchanged addresses
                await connection.execute(
                    "UPDATE server SET address = name || ' moved' WHERE address = $2 AND name <> $1", name, address
                )
            for name, address in addresses.items():
                await connection.execute(
                    "INSERT INTO server (name, address, repository_path, metrics_address) VALUES ($1, $2, '', $3)"
                    " ON CONFLICT (name) DO UPDATE SET address = $2, metrics_address = $3",
                    name,
                    address,
                    metrics.get(name, ""),
                )
            await self._database.notify(rows.CHANGED)

    async def servers(self) -> Sequence[Server]:
        async with self._database.connection() as connection:
            return [rows.server(row) for row in await connection.fetch("SELECT * FROM server ORDER BY name")]

    async def list_servers(self, page: Page) -> tuple[Sequence[Server], str]:
        after = page.after[0] if page.after else ""
        async with self._database.connection() as connection:
            found = await connection.fetch(
                "SELECT * FROM server WHERE name > $1 ORDER BY name LIMIT $2", after, page.lookahead
            )
        return page.split([rows.server(row) for row in found], lambda server: (server.name,))

    async def delete_server(self, name: str) -> None:
        """What is only waiting to be unloaded from it is forgotten with it; of one that is not reachable, all."""
        async with self._database.transaction() as connection:
            reachable = await connection.fetchval("SELECT reachable FROM server WHERE name = $1 FOR UPDATE", name)
            if reachable is None:
                raise NotFound("SERVER_NOT_FOUND", f"no server is named {name!r}", server=name)
            used = await connection.fetch(
                "SELECT model, version FROM placement WHERE server = $1 AND state <> 'unloading' AND $2"
                " ORDER BY model, version LIMIT 10",
                name,
                reachable,
            )
            if used:
                those = ", ".join(f"{row['model']} {row['version']}" for row in used)
                raise Precondition("SERVER_IN_USE", f"server {name!r} still has deployments: {those}", server=name)
            await connection.execute(
                "SELECT FROM deployment WHERE (model, version) IN"
                " (SELECT model, version FROM placement WHERE server = $1) ORDER BY model, version FOR UPDATE",
                name,
            )
            await connection.execute("DELETE FROM placement WHERE server = $1", name)
            await drop_empty(connection)
            await connection.execute("DELETE FROM server WHERE name = $1", name)
            await self._database.notify(rows.CHANGED)

    async def observe_server(self, server: str, *, reachable: bool, version: str) -> None:
        """An unreachable server keeps the version that it last told."""
        async with self._database.transaction() as connection:
            changed = await connection.fetchval(
                "UPDATE server SET reachable = $2, server_version = CASE WHEN $3 = '' THEN server_version ELSE $3 END"
                " WHERE name = $1 AND (reachable <> $2 OR ($3 <> '' AND server_version <> $3)) RETURNING true",
                server,
                reachable,
                version,
            )
            if changed:
                await self._database.notify(rows.CHANGED)

    async def lead(self, work: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Run the work for as long as no other replica does; False at once when another one leads.

        Raises Unavailable, the work cancelled, when Postgres can no longer say who leads.
        """
        async with self._database.connection() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", LEADER_LOCK):
                return False
            task = asyncio.create_task(work())
            try:
                while not (await asyncio.wait({task}, timeout=HELD_EVERY_SECONDS))[0]:
                    await connection.execute("SELECT 1", timeout=5)
                await task
            finally:
                task.cancel()
                await asyncio.wait({task})
        return True


async def drop_empty(connection: Connection) -> None:
    """A deployment is gone with its last placement."""
    await connection.execute(
        "DELETE FROM deployment d WHERE NOT EXISTS"
        " (SELECT FROM placement p WHERE p.model = d.model AND p.version = d.version)"
    )


async def _taken(connection: Connection, server: Server) -> AlreadyExists:
    other = await connection.fetchval("SELECT name FROM server WHERE address = $1", server.address)
    message = f"server {server.name!r} exists already"
    if other is not None and other != server.name:
        message = f"{server.address} is registered already, as server {other!r}"
    return AlreadyExists("SERVER_EXISTS", message, server=other or server.name)
