"""Replicas share nothing but Postgres, and each knows of the other's writes."""

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

import services.routing
from libs.postgres import Database
from services.routing.domain.policy import Route
from services.routing.stores.routes import PostgresRoutes
from tests.polling import eventually_async

MIGRATIONS = Path(services.routing.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE = Route("one", "1")
TWO = Route("two", "1")


@asynccontextmanager
async def replica(dsn):
    database = Database(dsn, "routing", MIGRATIONS)
    store = PostgresRoutes(database)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    try:
        yield store
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await database.close()


async def next_like(watch, *models):
    """Notifications may repeat what is known: the snapshot that counts is the one with these models."""
    async with asyncio.timeout(15):
        async for routes in watch:
            if [route.model for route in routes] == list(models):
                return


async def test_a_replica_hears_of_the_others_writes(fresh_database):
    async with AsyncExitStack() as stack:
        mine, other = [await stack.enter_async_context(replica(fresh_database)) for _ in range(2)]
        async with aclosing(mine.watch()) as watch:
            await next_like(watch)
            await other.create(ONE, NOON)
            await next_like(watch, "one")
            await other.delete("one", "")
            await next_like(watch)


async def test_what_was_written_while_the_connection_was_lost_is_heard(fresh_database):
    async with AsyncExitStack() as stack:
        mine, other = [await stack.enter_async_context(replica(fresh_database)) for _ in range(2)]
        async with aclosing(mine.watch()) as watch:
            await mine.create(ONE, NOON)
            await next_like(watch, "one")
            administrator = await asyncpg.connect(fresh_database)
            try:
                await administrator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            finally:
                await administrator.close()
            await eventually_async(lambda: other.create(TWO, NOON), message="the pool has connected again")
            await next_like(watch, "one", "two")
